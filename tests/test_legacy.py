"""cloop.legacy: what asyncio had in Python 3.4 to 3.9, on every Python."""

import asyncio
import asyncio.subprocess
import sys
import types
import warnings

import pytest
from launch import python

from cloop import legacy

PY = sys.version_info[:2]


@pytest.fixture
def enabled():
    """Legacy mode, its warnings silenced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        legacy.enable()
        yield
        legacy.disable()


@pytest.fixture
def old(enabled, loop):
    """A loop, current, in legacy mode."""
    return loop


def everything():
    """All that legacy mode could have changed."""
    from asyncio import coroutines, events, locks, queues, streams, tasks

    owners = [asyncio, coroutines, events, locks, queues, streams, tasks]
    owners += [asyncio.subprocess, asyncio.Queue, asyncio.Lock, asyncio.Condition]
    owners += [asyncio.Event, asyncio.Semaphore, asyncio.BoundedSemaphore]
    policy = "BaseDefaultEventLoopPolicy"
    owners.append(getattr(events, policy, None) or getattr(events, "_" + policy))
    return [dict(vars(owner)) for owner in owners]


# -- switching it on and off -----------------------------------------------------------


def test_off_it_leaves_nothing_behind():
    before = everything()
    legacy.enable()
    assert legacy.is_enabled()
    assert everything() != before
    legacy.enable()
    legacy.disable()
    assert everything() == before
    assert not legacy.is_enabled()
    legacy.disable()
    assert everything() == before


def test_off_is_how_it_starts():
    done = python("-c", "import cloop; print(cloop.legacy.is_enabled())")
    assert done.stdout == "False\n"


@pytest.mark.skipif(PY < (3, 11), reason="stock has asyncio.coroutine")
def test_off_the_old_names_are_gone():
    legacy.enable()
    legacy.disable()
    for name in ("coroutine", "async", "JoinableQueue"):
        assert not hasattr(asyncio, name)
    assert not hasattr(asyncio.Task, "all_tasks")


@pytest.mark.skipif(PY < (3, 12), reason="stock runs generators")
def test_off_generators_are_refused_again(impl, loop):
    def generator():
        yield

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        legacy.enable()
        loop.run_until_complete(loop.create_task(generator()))
        legacy.disable()
    assert not asyncio.iscoroutine(generator())
    if impl.is_cloop:
        with pytest.raises(TypeError, match="a coroutine was expected"):
            loop.create_task(generator())


# -- warnings --------------------------------------------------------------------------


def uses(count=1):
    for _ in range(count):
        asyncio.JoinableQueue()


def test_each_place_warns_once(loop):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        legacy.enable()
        try:
            uses(3)
            uses()
            asyncio.JoinableQueue()
        finally:
            legacy.disable()
    found = [w for w in caught if "JoinableQueue" in str(w.message)]
    assert len(found) == 2
    for warning in found:
        assert warning.category is DeprecationWarning
        assert warning.filename == __file__
        assert "use asyncio.Queue" in str(warning.message)


def test_a_filter_may_make_errors_of_them(loop):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        legacy.enable()
        try:
            for _ in range(2):
                with pytest.raises(DeprecationWarning):
                    uses()
        finally:
            legacy.disable()


WARNED = """
import asyncio, sys, warnings
warnings.simplefilter("ignore")
import cloop
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
cloop.legacy.enable()
warnings.simplefilter("always")
shown = []
warnings.showwarning = lambda message, kind, name, line, *rest: shown.append(
    (line, kind.__name__, str(message)))
async def nothing(): pass
def check(line, *modern):
    for number, kind, message in shown:
        assert kind == "DeprecationWarning", shown
        assert number == line, (number, line, shown)
    assert len(shown) == 1, shown
    assert any(word in shown[0][2] for word in modern), shown
    shown.clear()
def here(): return sys._getframe(1).f_lineno
async def main():
    await asyncio.sleep(0, loop=loop); check(here(), "leave loop out")
    await asyncio.wait_for(nothing(), 1, loop=loop); check(here(), "loop")
    await asyncio.gather(nothing(), loop=loop); check(here(), "loop")
    await asyncio.wait([nothing()]); check(here(), "create_task()")
    await asyncio.wait([loop.create_task(nothing())], loop=loop); check(here(), "loop")
    asyncio.Lock(loop=loop); check(here(), "loop")
    asyncio.Queue(loop=loop); check(here(), "loop")
    asyncio.Task.current_task(); check(here(), "current_task()")
    asyncio.Task.all_tasks(); check(here(), "all_tasks()")
    await getattr(asyncio, "async")(nothing()); check(here(), "ensure_future()")
loop.run_until_complete(main())
@asyncio.coroutine
def decorated(): yield
shown = [(0,) + shown[0][1:]]; check(0, "async def")
loop.close()
print("ok")
"""


@pytest.mark.skipif(PY < (3, 11), reason="stock has much of it, and its own warnings")
def test_each_use_warns_at_its_place_and_names_the_modern_form():
    done = python("-c", WARNED)
    assert (done.stdout, done.stderr) == ("ok\n", "")


# -- generators as coroutines ----------------------------------------------------------


def test_coroutine_of_a_generator(old):
    @asyncio.coroutine
    def inner(value):
        """Docs."""
        yield
        yield from asyncio.sleep(0)
        return value * 2

    @asyncio.coroutine
    def outer():
        result = yield from inner(4)
        return result + 1

    assert old.run_until_complete(outer()) == 9
    assert asyncio.iscoroutinefunction(inner)
    assert inner.__name__ == "inner"
    assert inner.__doc__ == "Docs."
    waiting = inner(1)
    assert asyncio.iscoroutine(waiting)
    waiting.close()

    async def modern():
        return await inner(5)

    assert old.run_until_complete(modern()) == 10
    assert old.run_until_complete(asyncio.gather(inner(1), inner(2))) == [2, 4]


def test_coroutine_of_a_plain_function(old):
    @asyncio.coroutine
    def plain(value):
        return value

    @asyncio.coroutine
    def future():
        made = asyncio.Future()
        made.set_result(3)
        return made

    async def native():
        await asyncio.sleep(0)
        return 4

    @asyncio.coroutine
    def awaitable():
        return native()

    @asyncio.coroutine
    def generator():
        def body():
            yield
            return 5

        return body()

    run = old.run_until_complete
    assert run(plain(2)) == 2
    assert run(future()) == 3
    assert run(awaitable()) == 4
    assert run(generator()) == 5
    assert asyncio.iscoroutinefunction(plain)


def test_coroutine_of_a_coroutine_function(old):
    async def native():
        return 1

    assert asyncio.coroutine(native) is native


def test_coroutine_on_methods(old):
    class Thing:
        def __init__(self):
            self.value = 7

        @asyncio.coroutine
        def get(self):
            yield from asyncio.sleep(0)
            return self.value

        @staticmethod
        @asyncio.coroutine
        def static():
            yield
            return 8

    assert old.run_until_complete(Thing().get()) == 7
    assert old.run_until_complete(Thing.static()) == 8


def test_exceptions_and_cancelling_reach_generators(old):
    seen = []

    @asyncio.coroutine
    def fails():
        yield
        raise LookupError("inside")

    @asyncio.coroutine
    def sleeps():
        try:
            yield from asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with pytest.raises(LookupError, match="inside"):
        old.run_until_complete(fails())
    task = old.create_task(sleeps())
    old.call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        old.run_until_complete(task)
    assert seen == ["cancelled"]


def test_undecorated_generators_are_run(old):
    def generator(value):
        yield
        future = old.create_future()
        old.call_soon(future.set_result, value)
        return (yield from future)

    assert asyncio.iscoroutine(generator(0))
    assert old.run_until_complete(generator(1)) == 1
    assert old.run_until_complete(old.create_task(generator(2))) == 2
    assert old.run_until_complete(asyncio.ensure_future(generator(3))) == 3
    assert old.run_until_complete(asyncio.Task(generator(4))) == 4
    both = asyncio.gather(generator(5), generator(6))
    assert old.run_until_complete(both) == [5, 6]
    assert old.run_until_complete(asyncio.wait_for(generator(7), 5)) == 7
    done, _ = old.run_until_complete(asyncio.wait([generator(8)]))
    assert [task.result() for task in done] == [8]


def test_asyncio_run_takes_generators(enabled):
    @asyncio.coroutine
    def main():
        yield from asyncio.sleep(0)
        return 3

    assert asyncio.run(main()) == 3


# -- loop= -----------------------------------------------------------------------------


async def give(value):
    await asyncio.sleep(0)
    return value


def test_functions_take_a_loop(old):
    run = old.run_until_complete

    async def main():
        assert await asyncio.sleep(0, 1, loop=old) == 1
        assert await asyncio.wait_for(give(2), 5, loop=old) == 2
        assert await asyncio.wait_for(give(2), timeout=5, loop=None) == 2
        assert await asyncio.gather(give(3), give(4), loop=old) == [3, 4]
        assert await asyncio.shield(give(5), loop=old) == 5
        done, pending = await asyncio.wait([give(6)], loop=old, timeout=5)
        assert not pending
        assert [task.result() for task in done] == [6]
        found = []
        for next_one in asyncio.as_completed([give(7)], loop=old):
            found.append(await next_one)
        assert found == [7]
        return True

    assert run(main())
    assert asyncio.iscoroutinefunction(asyncio.sleep)
    assert asyncio.iscoroutinefunction(asyncio.wait)
    assert asyncio.iscoroutinefunction(asyncio.wait_for)
    assert not asyncio.iscoroutinefunction(asyncio.gather)


def test_the_loop_given_is_the_one_that_runs_it(enabled, new_loop):
    """Nothing is current: only loop= says where it belongs."""
    asyncio.set_event_loop(None)
    loop = new_loop()
    run = loop.run_until_complete
    assert run(asyncio.gather(give(1), give(2), loop=loop)) == [1, 2]
    assert run(asyncio.gather(loop=loop)) == []
    assert run(asyncio.shield(give(3), loop=loop)) == 3
    assert run(asyncio.sleep(0, 4, loop=loop)) == 4
    done, _ = run(asyncio.wait([give(5)], loop=loop))
    assert [task.result() for task in done] == [5]
    assert asyncio._get_running_loop() is None


def test_the_return_exceptions_option_is_left_alone(old):
    async def fails():
        raise LookupError

    both = asyncio.gather(fails(), give(1), loop=old, return_exceptions=True)
    first, second = old.run_until_complete(both)
    assert isinstance(first, LookupError)
    assert second == 1


@pytest.mark.parametrize(
    "name, args",
    [
        ("Lock", ()),
        ("Event", ()),
        ("Condition", ()),
        ("Semaphore", (2,)),
        ("BoundedSemaphore", (2,)),
        ("Queue", (3,)),
        ("PriorityQueue", (3,)),
        ("LifoQueue", (3,)),
        ("JoinableQueue", (3,)),
    ],
)
def test_locks_and_queues_take_a_loop(old, name, args):
    kind = getattr(asyncio, name)
    for loop in (old, None):
        thing = kind(*args, loop=loop)
        assert isinstance(thing, kind)

    class Own(kind):
        def __init__(self, loop=None):
            super().__init__(*args, loop=loop)
            self.mine = True

    own = Own(loop=old)
    assert own.mine

    async def use():
        if isinstance(own, asyncio.Queue):
            await own.put(1)
            return await own.get()
        if isinstance(own, asyncio.Event):
            own.set()
            return int(await own.wait())
        async with own:
            return 1

    assert old.run_until_complete(use()) == 1


def test_a_condition_takes_a_lock_and_a_loop(old):
    async def main():
        lock = asyncio.Lock(loop=old)
        condition = asyncio.Condition(lock, loop=old)
        async with condition:
            assert lock.locked()

    old.run_until_complete(main())


def test_contended_locks_work_with_their_loop(old):
    async def main():
        lock = asyncio.Lock(loop=old)
        queue = asyncio.Queue(1, loop=old)

        async def worker(number):
            async with lock:
                await asyncio.sleep(0, loop=old)
                await queue.put(number)

        tasks = [asyncio.ensure_future(worker(i), loop=old) for i in range(4)]
        found = [await queue.get() for _ in tasks]
        await asyncio.wait(tasks, loop=old)
        return found

    assert old.run_until_complete(main()) == [0, 1, 2, 3]


def test_wrong_keywords_are_still_wrong(old):
    for call in (
        lambda: asyncio.Lock(lop=old),
        lambda: asyncio.sleep(0, lop=old),
        lambda: asyncio.gather(lop=old),
    ):
        with pytest.raises(TypeError):
            call()


def test_streams_and_processes_take_a_loop(enabled, monkeypatch):
    """That is: it does not reach loop.create_connection and the like."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    seen = []

    def refuse(name):
        async def method(*args, **kwargs):
            seen.append((name, "loop" in kwargs))
            raise LookupError(name)

        return method

    for name in ("create_connection", "create_server", "create_unix_connection"):
        setattr(loop, name, refuse(name))
    for name in ("create_unix_server", "subprocess_exec", "subprocess_shell"):
        setattr(loop, name, refuse(name))

    def nothing(*args):
        pass

    async def main():
        for call in (
            lambda: asyncio.open_connection("127.0.0.1", 1, loop=loop),
            lambda: asyncio.start_server(nothing, "127.0.0.1", 0, loop=loop),
            lambda: asyncio.open_unix_connection("path", loop=loop),
            lambda: asyncio.start_unix_server(nothing, "path", loop=loop),
            lambda: asyncio.create_subprocess_exec("true", loop=loop),
            lambda: asyncio.create_subprocess_shell("true", loop=loop),
        ):
            with pytest.raises(LookupError):
                await call()

    try:
        loop.run_until_complete(main())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert len(seen) == 6
    assert not any(given for _, given in seen)


# -- wait ------------------------------------------------------------------------------


def test_wait_takes_coroutines(old):
    async def main():
        once = give(1)
        done, pending = await asyncio.wait(
            [once, once, give(2), old.create_task(give(3))]
        )
        assert not pending
        return sorted(task.result() for task in done)

    assert old.run_until_complete(main()) == [1, 2, 3]


def test_wait_at_module_level(old):
    waiting = asyncio.wait([give(1)], timeout=5, return_when=asyncio.FIRST_COMPLETED)
    done, pending = old.run_until_complete(waiting)
    assert [task.result() for task in done] == [1]
    assert pending == set()


def test_wait_refuses_what_it_always_refused(old):
    with pytest.raises(TypeError):
        old.run_until_complete(asyncio.wait(old.create_future()))
    with pytest.raises(ValueError):
        old.run_until_complete(asyncio.wait([]))
    with pytest.raises(ValueError):
        task = old.create_task(give(1))
        try:
            old.run_until_complete(asyncio.wait([task], return_when="never"))
        finally:
            old.run_until_complete(task)


# -- names -----------------------------------------------------------------------------


def test_task_has_its_class_methods(old):
    async def main():
        here = asyncio.current_task()
        other = old.create_task(asyncio.sleep(10))
        assert asyncio.Task.current_task() is here
        assert asyncio.Task.current_task(loop=old) is here
        assert asyncio.Task.current_task(old) is here
        assert asyncio.Task.all_tasks() == {here, other}
        assert asyncio.Task.all_tasks(loop=old) == {here, other}
        other.cancel()

    old.run_until_complete(main())
    assert asyncio.Task.current_task(loop=old) is None
    assert asyncio.Task.all_tasks(loop=old) in (set(), asyncio.all_tasks(old))


def test_task_is_still_the_type_of_tasks(impl, old):
    task = old.create_task(give(1))
    assert isinstance(task, asyncio.Task)
    assert isinstance(task, asyncio.tasks.Task)
    assert issubclass(impl.Task, asyncio.Task)
    assert issubclass(asyncio.Task, asyncio.Future)
    assert not isinstance(old.create_future(), asyncio.Task)
    stock = asyncio.Task(give(2), loop=old)
    assert isinstance(stock, asyncio.Task)
    assert old.run_until_complete(asyncio.gather(task, stock)) == [1, 2]

    class Own(asyncio.Task):
        pass

    own = Own(give(3), loop=old)
    assert type(own) is Own
    assert isinstance(own, asyncio.Task)
    assert not isinstance(task, Own)
    assert not issubclass(impl.Task, Own)
    assert old.run_until_complete(own) == 3


def test_async_is_ensure_future(old):
    ensure = getattr(asyncio, "async")
    assert old.run_until_complete(ensure(give(1))) == 1
    assert old.run_until_complete(ensure(give(2), loop=old)) == 2


def test_joinable_queue(old):
    async def main():
        queue = asyncio.JoinableQueue()
        queue.put_nowait(1)
        assert await queue.get() == 1
        queue.task_done()
        await queue.join()

    assert issubclass(asyncio.JoinableQueue, asyncio.Queue)
    old.run_until_complete(main())


def test_with_yield_from_a_lock(old):
    @asyncio.coroutine
    def main(lock):
        with (yield from lock):
            assert lock.locked()
        assert not lock.locked()

    async def modern(lock):
        with await lock:
            return lock.locked()

    for make in (asyncio.Lock, asyncio.Semaphore, asyncio.Condition):
        lock = make() if make is not asyncio.Semaphore else make(1)
        old.run_until_complete(main(lock))
        assert old.run_until_complete(modern(lock))
        assert not lock.locked()


# -- the implicit loop -----------------------------------------------------------------

IMPLICIT = """
import asyncio, sys, warnings
warnings.simplefilter("ignore")
import cloop
cloop.legacy.enable()
future = asyncio.Future()
async def main():
    await asyncio.sleep(0)
    return 1
task = asyncio.ensure_future(main())
queue = asyncio.Queue(loop=asyncio.get_event_loop())
reader = asyncio.StreamReader()
loop = asyncio.get_event_loop()
loop.call_soon(future.set_result, 2)
print(loop.run_until_complete(asyncio.gather(task, future)))
loop.close()
asyncio.set_event_loop(None)
try:
    asyncio.get_event_loop()
except RuntimeError as exc:
    print(exc)
"""


def test_the_main_thread_has_a_loop():
    done = python("-c", IMPLICIT)
    assert done.stderr == ""
    assert done.stdout == (
        "[1, 2]\nThere is no current event loop in thread 'MainThread'.\n"
    )


def test_child_watchers_can_be_attached():
    """As programs did that start processes; from 3.14 on there is nothing to attach."""
    code = """
import asyncio, warnings
warnings.simplefilter("ignore")
import cloop
cloop.legacy.enable()
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
watcher = asyncio.get_child_watcher()
watcher.attach_loop(loop)
watcher = asyncio.ThreadedChildWatcher()
asyncio.set_child_watcher(watcher)
watcher.attach_loop(loop)
watcher.close()
asyncio.set_event_loop(None)
loop.close()
print("ok")
"""
    done = python("-c", code)
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_generator_coroutines_are_generators(enabled):
    @asyncio.coroutine
    def body():
        yield

    assert isinstance(body(), types.GeneratorType)
