"""cloop.run and cloop.install."""

import asyncio
import sys

import pytest
from launch import python

import cloop

PY = sys.version_info[:2]


@pytest.fixture
def run(impl):
    return impl.run


def test_the_result_comes_back(run):
    async def main():
        await asyncio.sleep(0)
        return 5

    assert run(main()) == 5


def test_an_exception_comes_back(run):
    async def main():
        raise LookupError("main")

    with pytest.raises(LookupError, match="main"):
        run(main())


def test_the_loop_is_one_of_cloop_and_closed_afterwards():
    async def main():
        return asyncio.get_running_loop()

    loop = cloop.run(main())
    assert type(loop) is cloop.Loop
    assert loop.is_closed()


def test_another_loop_may_be_asked_for():
    class Loop(cloop.Loop):
        pass

    async def main():
        return type(asyncio.get_running_loop())

    assert cloop.run(main(), loop_factory=Loop) is Loop
    assert cloop.run(main(), loop_factory=None) is cloop.Loop


@pytest.mark.parametrize("debug", [True, False, None])
def test_debug_is_what_was_asked_for(run, debug):
    async def main():
        return asyncio.get_running_loop().get_debug()

    assert run(main(), debug=debug) is bool(debug or (debug is None and is_debug()))


def is_debug():
    return asyncio.coroutines._is_debug_mode()


def test_only_coroutines_are_run(run):
    expected = "awaitable is required" if PY >= (3, 14) else "coroutine was expected"
    for thing in (1, lambda: None, None):
        with pytest.raises((ValueError, TypeError), match=expected):
            run(thing)


def test_it_does_not_nest():
    async def main():
        inner = asyncio.sleep(0)
        try:
            with pytest.raises(RuntimeError) as caught:
                cloop.run(inner)
        finally:
            inner.close()
        return str(caught.value)

    wanted = "cloop.run() cannot be called from a running event loop"
    assert cloop.run(main()) == wanted


def test_what_is_left_is_cancelled_and_reported(run):
    seen = []

    async def left():
        try:
            await asyncio.sleep(10)
        finally:
            seen.append("cancelled")

    async def fails():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise LookupError("late") from None

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: seen.append(context))
        tasks = [loop.create_task(left()), loop.create_task(fails())]
        await asyncio.sleep(0)
        return tasks

    run(main())
    assert seen[0] == "cancelled"
    assert seen[1]["message"] == "unhandled exception during asyncio.run() shutdown"
    assert isinstance(seen[1]["exception"], LookupError)


def test_generators_that_are_left_are_closed(run):
    closed = []

    async def generator():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    async def main():
        kept.append(generator())
        await kept[0].__anext__()

    kept = []
    run(main())
    assert closed == [True]


@pytest.mark.skipif(PY < (3, 9), reason="new in 3.9")
def test_the_executor_is_waited_for(run):
    import time

    ended = []

    def work():
        time.sleep(0.05)
        ended.append(True)

    async def main():
        asyncio.get_running_loop().run_in_executor(None, work)

    run(main())
    assert ended == [True]


def test_several_runs_follow_each_other(run):
    async def main(value):
        await asyncio.sleep(0)
        return value

    assert [run(main(i)) for i in range(3)] == [0, 1, 2]


def test_the_runner_takes_a_loop_factory():
    if PY < (3, 11):
        pytest.skip("asyncio.Runner is new in 3.11")

    async def main():
        return type(asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=cloop.new_event_loop) as runner:
        assert runner.run(main()) is cloop.Loop
        assert runner.run(main()) is cloop.Loop


INSTALL = """
import asyncio, sys, warnings
warnings.simplefilter("error")
import cloop
cloop.install()
first = getattr(asyncio.events, "_get_event_loop_policy",
                getattr(asyncio.events, "get_event_loop_policy", None))()
cloop.install()
second = getattr(asyncio.events, "_get_event_loop_policy",
                 getattr(asyncio.events, "get_event_loop_policy", None))()
assert first is second
loop = asyncio.new_event_loop()
print(type(loop))
loop.close()
async def main():
    print(type(asyncio.get_running_loop()))
asyncio.run(main())
if sys.version_info >= (3, 11):
    with asyncio.Runner() as runner:
        runner.run(main())
else:
    asyncio.run(main())
if sys.version_info >= (3, 14):
    assert asyncio.EventLoop is cloop.Loop
"""


def test_install_puts_cloop_in_place_without_a_warning():
    done = python("-c", INSTALL)
    assert done.stderr == ""
    assert done.stdout == "<class 'cloop.Loop'>\n" * 3


def test_import_alone_changes_nothing_and_warns_of_nothing():
    code = (
        "import asyncio; before = dict(vars(asyncio)); policy = vars(asyncio.events)"
        "['_event_loop_policy']; import cloop; assert vars(asyncio) == before; "
        "assert vars(asyncio.events)['_event_loop_policy'] is policy; "
        "import sys; print('cloop.policy' in sys.modules, end=' '); "
        "print('cloop.legacy' in sys.modules)"
    )
    done = python("-W", "error", "-c", code)
    assert (done.stdout, done.stderr) == ("False False\n", "")


def test_public_names():
    for name in cloop.__all__:
        assert getattr(cloop, name) is not None
    assert set(cloop.__all__) <= set(dir(cloop))
    assert isinstance(cloop.__version__, str)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        cloop.nonsense  # noqa: B018


def test_a_python_without_policies_gets_a_clear_answer():
    code = """
import asyncio.unix_events
if hasattr(asyncio.unix_events, "_UnixDefaultEventLoopPolicy"):
    del asyncio.unix_events._UnixDefaultEventLoopPolicy
import cloop
try:
    cloop.EventLoopPolicy
except AttributeError as exc:
    print(exc)
from cloop import *
cloop.install()
print(type(asyncio.new_event_loop()))
print(hasattr(cloop, "EventLoopPolicy"))
"""
    done = python("-W", "ignore", "-c", code)
    assert done.stderr == ""
    assert done.stdout == (
        "this Python has no event loop policies: use cloop.run(), cloop.install() or "
        "asyncio.Runner(loop_factory=cloop.new_event_loop)\n"
        "<class 'cloop.Loop'>\nFalse\n"
    )
