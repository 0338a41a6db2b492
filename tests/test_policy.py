"""cloop.EventLoopPolicy: the running Python's policy, with cloop's loops."""

import asyncio
import sys
import threading
import warnings

import pytest
from launch import python

import cloop

PY = sys.version_info[:2]

pytestmark = pytest.mark.skipif(
    not hasattr(cloop, "EventLoopPolicy"), reason="this Python has no policies"
)


@pytest.fixture
def policy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        before = asyncio.get_event_loop_policy()
        policy = cloop.EventLoopPolicy()
        asyncio.set_event_loop_policy(policy)
        yield policy
        loop = policy._local._loop
        if loop is not None:
            loop.close()
        asyncio.set_event_loop_policy(before)


def test_it_is_a_policy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert issubclass(cloop.EventLoopPolicy, asyncio.AbstractEventLoopPolicy)
        assert issubclass(cloop.EventLoopPolicy, asyncio.DefaultEventLoopPolicy)
    assert cloop.EventLoopPolicy.__module__ == "cloop"


def test_new_loops_are_of_cloop(policy):
    loop = asyncio.new_event_loop()
    assert type(loop) is cloop.Loop
    loop.close()


def test_the_main_thread_has_a_loop_without_asking(policy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loop = asyncio.get_event_loop()
    assert type(loop) is cloop.Loop
    assert asyncio.get_event_loop() is loop
    assert loop.run_until_complete(asyncio.sleep(0, 3)) == 3


@pytest.mark.skipif(PY < (3, 12), reason="stock warns from 3.12 on")
def test_making_that_loop_warns_where_it_was_asked_for(policy):
    with pytest.warns(DeprecationWarning, match="There is no current") as caught:
        asyncio.get_event_loop()
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.get_event_loop()


def test_a_loop_that_was_taken_away_is_not_replaced(policy):
    asyncio.set_event_loop(None)
    with pytest.raises(RuntimeError, match="There is no current event loop"):
        asyncio.get_event_loop()


def test_other_threads_have_no_loop(policy):
    caught = []

    def work():
        try:
            asyncio.get_event_loop()
        except RuntimeError as exc:
            caught.append(str(exc))

    thread = threading.Thread(target=work, name="other")
    thread.start()
    thread.join()
    assert caught == ["There is no current event loop in thread 'other'."]


def test_a_thread_may_set_its_own(policy):
    seen = []

    def work():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        seen.append(asyncio.get_event_loop() is loop)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]


def test_only_loops_may_be_set(policy):
    kind = TypeError if PY >= (3, 11) else AssertionError
    with pytest.raises(kind):
        asyncio.set_event_loop(object())


def test_asyncio_run_runs_on_cloop(policy):
    async def main():
        return asyncio.get_running_loop(), asyncio.get_event_loop()

    running, current = asyncio.run(main())
    assert type(running) is cloop.Loop
    assert running is current


def test_futures_and_tasks_find_the_implicit_loop(policy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        future = asyncio.Future()
        task = asyncio.ensure_future(asyncio.sleep(0, 1))
        loop = asyncio.get_event_loop()
    assert future.get_loop() is loop
    assert task.get_loop() is loop
    assert isinstance(task, cloop.Task)
    assert loop.run_until_complete(task) == 1


@pytest.mark.skipif(PY >= (3, 14), reason="there are none from 3.14 on")
def test_child_watchers_are_those_of_the_running_python(policy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        watcher = asyncio.get_child_watcher()
        assert isinstance(watcher, asyncio.AbstractChildWatcher)
        assert asyncio.get_child_watcher() is watcher
        other = asyncio.ThreadedChildWatcher()
        asyncio.set_child_watcher(other)
        assert asyncio.get_child_watcher() is other


def test_a_program_of_old_runs_at_module_level():
    code = """
import asyncio
import cloop
asyncio.set_event_loop_policy(cloop.EventLoopPolicy())
loop = asyncio.get_event_loop()
print(type(loop).__module__)
async def main():
    await asyncio.sleep(0)
    return "done"
print(loop.run_until_complete(main()))
loop.close()
"""
    done = python("-W", "ignore", "-c", code)
    assert (done.stdout, done.stderr) == ("cloop\ndone\n", "")


def test_it_can_be_subclassed():
    class Loop(cloop.Loop):
        pass

    class Policy(cloop.EventLoopPolicy):
        _loop_factory = Loop

    loop = Policy().new_event_loop()
    assert type(loop) is Loop
    loop.close()
