"""Running, stopping and closing a loop; what it reports; async generators."""

import asyncio
import contextvars
import gc
import itertools
import logging
import sys
import threading
import weakref

import pytest
from support import PY, Probe, Reports, cloop_only, run_program, stock_fault, turn

pytestmark = pytest.mark.timeout(60)


async def nothing():
    pass


# -- call_soon -----------------------------------------------------------------------


def test_call_soon_runs_in_order(loop):
    seen = []
    for number in range(1000):
        loop.call_soon(seen.append, number)
    turn(loop)
    assert seen == list(range(1000))


def test_what_is_scheduled_in_a_turn_runs_in_the_next(loop):
    seen = []

    def first(depth):
        seen.append(depth)
        if depth < 3:
            loop.call_soon(first, depth + 1)

    loop.call_soon(first, 0)
    loop.call_soon(seen.append, "a")
    turn(loop)
    assert seen == [0, "a"]
    turn(loop)
    assert seen == [0, "a", 1]
    turn(loop, 3)
    assert seen == [0, "a", 1, 2, 3]


def test_the_ring_grows_while_it_is_drained(loop):
    seen = []

    def more(number):
        seen.append(number)
        if number < 5:
            for _ in range(300):
                loop.call_soon(seen.append, number)
            loop.call_soon(more, number + 1)

    loop.call_soon(more, 0)
    turn(loop, 7)
    assert len(seen) == 6 + 5 * 300
    assert seen[1:301] == [0] * 300


def test_call_soon_from_outside_between_runs(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.run_until_complete(nothing())
    loop.call_soon(seen.append, 2)
    loop.run_until_complete(nothing())
    assert seen == [1, 2]


def test_call_later_zero_and_call_soon(impl):
    """The order of call_later(0) and call_soon is stock's, whatever it is."""

    def trace(loop):
        seen = []
        past = itertools.count(1)

        def note(name, depth):
            seen.append(name)
            if depth:
                loop.call_soon(note, name + "s", depth - 1)
                loop.call_later(0, note, name + "t", depth - 1)
                loop.call_soon(note, name + "u", depth - 1)
                loop.call_at(next(past), note, name + "v", depth - 1)

        loop.call_soon(note, "A", 3)
        loop.call_later(0, note, "B", 3)
        loop.call_soon(note, "C", 2)
        loop.call_later(-1, note, "D", 2)
        for _ in range(12):
            seen.append("|")
            turn(loop)
        loop.close()
        return seen

    # no two deadlines are equal: stock's heap is not stable
    stock = trace(asyncio.SelectorEventLoop())
    assert trace(impl.new_event_loop()) == stock


def test_timer_due_and_call_soon(loop):
    # a due timer comes behind what is on the ring already
    seen = []
    loop.call_later(0, seen.append, "timer")
    loop.call_soon(seen.append, "soon")
    turn(loop)
    assert seen == ["soon", "timer"]


# -- stop ----------------------------------------------------------------------------


def test_stop_before_run_runs_one_turn(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon(lambda: loop.call_soon(seen.append, 2))
    loop.stop()
    loop.run_forever()
    assert seen == [1]
    loop.stop()
    loop.run_forever()
    assert seen == [1, 2]


def test_stop_lets_the_turn_finish(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, 2)
    loop.call_soon(lambda: loop.call_soon(seen.append, 3))
    loop.run_forever()
    assert seen == [1, 2]


def test_stop_twice_counts_once(loop):
    seen = []
    loop.stop()
    loop.stop()
    loop.run_forever()
    loop.call_soon(seen.append, 1)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert seen == [1]


def test_stop_does_not_block(loop):
    loop.call_later(3600, lambda: None)
    before = loop.time()
    loop.stop()
    loop.run_forever()
    assert loop.time() - before < 5


def test_stop_from_a_timer(loop):
    loop.call_later(0.001, loop.stop)
    loop.run_forever()


def test_stop_from_a_thread_through_threadsafe(loop):
    thread = threading.Timer(0.02, loop.call_soon_threadsafe, [loop.stop])
    thread.start()
    loop.run_forever()
    thread.join()


def test_a_stop_can_be_taken_back(loop):
    """Sanic does it, after the run that stop() ended and before its last coroutines."""
    loop.stop()
    loop._stopping = False
    assert loop.run_until_complete(asyncio.sleep(0.001, 5)) == 5
    assert loop._stopping is False


def test_a_loop_can_be_told_to_stop_by_its_attribute(loop):
    seen = []
    loop.call_soon(lambda: loop.call_soon(seen.append, 1))
    loop._stopping = True
    loop.run_forever()
    assert seen == [] and loop._stopping is False
    loop.call_soon(setattr, loop, "_stopping", 1)
    loop.run_forever()
    assert seen == [1]


def test_private_attributes_that_programs_set(loop):
    def factory(loop, coro, **options):
        return asyncio.Task(coro, loop=loop, **options)

    reports = []
    loop._task_factory = factory
    loop._exception_handler = lambda loop, context: reports.append(context["message"])
    assert loop.get_task_factory() is factory
    loop.call_exception_handler({"message": "seen"})
    assert reports == ["seen"]
    loop._task_factory = loop._exception_handler = None
    assert loop.get_task_factory() is None and loop.get_exception_handler() is None
    before = loop.get_debug()
    loop._debug = not before
    assert loop.get_debug() is not before
    loop._debug = before


@pytest.mark.parametrize(
    "name", ["_debug", "_task_factory", "_exception_handler", "_stopping"]
)
def test_private_attributes_stay(impl, loop, name):
    cloop_only(impl, "stock lets one break its loop")
    with pytest.raises(AttributeError, match=f"^{name}$"):
        delattr(loop, name)
    getattr(loop, name)


def test_pending_stop_does_not_survive_an_exception(loop):
    def leave():
        loop.stop()
        raise KeyboardInterrupt

    loop.call_soon(leave)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    seen = []
    loop.call_later(0.01, seen.append, 1)
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert seen == [1]


# -- re-entrancy ---------------------------------------------------------------------


# 3.13.0 "cleans up" after a run_forever that was refused
BROKEN_CLEANUP = sys.version_info[:3] == (3, 13, 0)


def test_running_a_running_loop(impl, loop):
    stock_fault(impl, BROKEN_CLEANUP, "a refused run_forever resets the running loop")

    async def main():
        assert loop.is_running()
        with pytest.raises(RuntimeError, match="This event loop is already running"):
            loop.run_forever()
        coro = nothing()
        with pytest.raises(RuntimeError, match="This event loop is already running"):
            loop.run_until_complete(coro)
        coro.close()
        assert asyncio.get_running_loop() is loop
        return 5

    assert loop.run_until_complete(main()) == 5
    assert not loop.is_running()


def test_running_another_loop_inside(impl, loop):
    stock_fault(impl, BROKEN_CLEANUP, "a refused run_forever resets the running loop")

    other = impl.new_event_loop()

    async def main():
        with pytest.raises(
            RuntimeError,
            match="Cannot run the event loop while another loop is running",
        ):
            other.run_forever()
        assert asyncio.get_running_loop() is loop
        assert not other.is_running()

    loop.run_until_complete(main())
    assert other.run_until_complete(asyncio.sleep(0, "usable")) == "usable"
    other.close()


def test_stock_loop_inside_and_around(impl):
    ours, stock = impl.new_event_loop(), asyncio.SelectorEventLoop()

    async def inner(loop):
        coro = nothing()
        with pytest.raises(RuntimeError):
            loop.run_until_complete(coro)
        coro.close()

    ours.run_until_complete(inner(stock))
    stock.run_until_complete(inner(ours))
    ours.close()
    stock.close()


def test_closing_a_running_loop(loop):
    async def main():
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()

    loop.run_until_complete(main())
    assert not loop.is_closed()


def test_two_threads_one_loop(impl, loop):
    stock_fault(impl, BROKEN_CLEANUP, "a refused run_forever resets the running loop")

    errors = []

    def run():
        for call in loop.run_forever, lambda: loop.run_until_complete(coro):
            try:
                call()
            except RuntimeError as exc:
                errors.append(str(exc))

    coro = nothing()
    thread = threading.Thread(target=run)

    async def main():
        thread.start()
        await loop.run_in_executor(None, thread.join)

    loop.run_until_complete(main())
    coro.close()
    assert errors == ["This event loop is already running"] * 2


def test_closing_from_another_thread_while_running(loop):
    errors = []

    def run():
        try:
            loop.close()
        except RuntimeError as exc:
            errors.append(str(exc))

    async def main():
        thread = threading.Thread(target=run)
        thread.start()
        await loop.run_in_executor(None, thread.join)

    loop.run_until_complete(main())
    assert errors == ["Cannot close a running event loop"]


def test_loop_moves_between_threads(loop):
    results = []

    def run():
        results.append(loop.run_until_complete(asyncio.sleep(0.001, "thread")))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    results.append(loop.run_until_complete(asyncio.sleep(0.001, "main")))
    assert results == ["thread", "main"]


def test_running_state(loop):
    assert loop._thread_id is None
    assert asyncio._get_running_loop() is None

    async def main():
        assert loop._thread_id == threading.get_ident()
        assert asyncio._get_running_loop() is loop

    loop.run_until_complete(main())
    assert loop._thread_id is None
    assert asyncio._get_running_loop() is None


def test_one_loop_in_each_of_many_threads(impl):
    results = []

    def run(number):
        loop = impl.new_event_loop()
        try:
            results.append(loop.run_until_complete(asyncio.sleep(0.01, number)))
        finally:
            loop.close()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(10))


# -- close ---------------------------------------------------------------------------


def test_close(loop):
    assert loop.is_closed() is False and loop._closed is False
    loop.close()
    assert loop.is_closed() is True and loop._closed is True
    loop.close()
    assert not loop.is_running()


def test_close_drops_what_was_scheduled(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_later(0, seen.append, 2)
    loop.call_soon_threadsafe(seen.append, 3)
    loop.close()
    assert seen == []
    assert len(loop._ready) == 0 and len(loop._scheduled) == 0


def test_handles_of_a_closed_loop(loop):
    handles = [
        loop.call_soon(print, 1),
        loop.call_later(1, print, 1),
        loop.call_soon_threadsafe(print, 1),
    ]
    loop.close()
    for handle in handles:
        repr(handle)
        handle.cancel()
        assert handle.cancelled()


def test_close_in_a_destructor_of_what_it_drops(impl):
    loop = impl.new_event_loop()

    class Evil:
        def __del__(self):
            try:
                loop.call_soon(print)
            except RuntimeError:
                deleted.append("closed")
            else:
                deleted.append("open")
            loop.close()

    deleted = []
    loop.call_soon(print, Evil())
    loop.call_later(100, print, Evil())
    loop.close()
    gc.collect()
    assert len(deleted) == 2
    assert loop.is_closed()


def test_unclosed_loop_warns(impl):
    done = run_program(
        impl,
        """
        import warnings
        warnings.simplefilter('always')
        loop = new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        repr_ = repr(loop)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            del loop
            import gc
            gc.collect()
        messages = [(w.category.__name__, str(w.message)) for w in caught
                    if 'event loop' in str(w.message)]
        wanted = [('ResourceWarning', 'unclosed event loop ' + repr_)]
        assert messages == wanted, messages
        """,
    )
    assert done.stderr == ""


def test_unclosed_loop_at_exit_prints_nothing(impl):
    done = run_program(
        impl,
        """
        loop = new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.call_later(10, print, loop)
        task = loop.create_task(asyncio.sleep(0))
        fut = loop.create_future()
        loop.run_until_complete(task)
        """,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_unclosed_running_loop_at_exit(impl):
    done = run_program(
        impl,
        """
        loop = new_event_loop()
        def leave():
            sys.exit(3)
        loop.call_soon(leave)
        loop.run_forever()
        """,
        status=3,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_daemon_thread_runs_a_loop_at_exit(impl):
    done = run_program(
        impl,
        """
        def run():
            loop = new_event_loop()
            loop.call_later(0.001, ready.set)
            loop.run_forever()
        ready = threading.Event()
        threading.Thread(target=run, daemon=True).start()
        ready.wait(10)
        """,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_deleted_loop_is_collected(impl):
    loop = impl.new_event_loop()
    loop.call_soon(lambda: loop2)  # noqa: F821
    loop2 = loop
    loop.run_until_complete(nothing())
    loop.close()
    ref = weakref.ref(loop)
    del loop, loop2
    gc.collect()
    assert ref() is None


# -- run_until_complete --------------------------------------------------------------


def test_result(loop):
    async def value():
        return 42

    assert loop.run_until_complete(value()) == 42
    future = loop.create_future()
    loop.call_soon(future.set_result, 43)
    assert loop.run_until_complete(future) == 43
    assert loop.run_until_complete(future) == 43  # done already
    assert loop.run_until_complete(loop.create_task(value())) == 42


def test_exception(loop):
    reports = Reports(loop)

    async def fail():
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        loop.run_until_complete(fail())
    gc.collect()
    assert reports == []
    assert not loop.is_running()


def test_cancelled(loop):
    future = loop.create_future()
    loop.call_soon(future.cancel)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(future)


def test_awaitables(loop):
    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "awaited"

    assert loop.run_until_complete(Awaitable()) == "awaited"


def test_stopped_before_done(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(
        RuntimeError, match=r"Event loop stopped before Future completed\."
    ):
        loop.run_until_complete(future)
    # the stale callback is gone: a later result does not stop the loop
    assert future._callbacks in (None, [])
    seen = []
    future.set_result(1)
    loop.call_later(0.02, seen.append, 1)
    loop.call_later(0.03, loop.stop)
    loop.run_forever()
    assert seen == [1]


def test_stale_done_callback_is_removed_after_an_interrupt(loop):
    future = loop.create_future()

    def leave():
        raise KeyboardInterrupt

    loop.call_soon(leave)
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(future)
    assert future._callbacks in (None, [])


def test_run_until_complete_cb_is_stocks_object(loop):
    """anyio finds the root task by this callback."""
    callback = asyncio.base_events._run_until_complete_cb

    async def main():
        task = asyncio.current_task()
        callbacks = [entry[0] for entry in task._callbacks]
        assert callback in callbacks
        assert any(entry is callback for entry in callbacks)
        return task

    task = loop.run_until_complete(main())
    assert not task._callbacks

    future = loop.create_future()
    seen = []

    def look():
        seen.extend(future._callbacks)
        future.set_result(None)

    loop.call_soon(look)
    loop.run_until_complete(future)
    assert seen[0][0] is callback
    assert isinstance(seen[0][1], contextvars.Context)
    assert not future._callbacks


def test_foreign_future(impl, loop):
    other = impl.new_event_loop()
    future = other.create_future()
    with pytest.raises(ValueError) as caught:
        loop.run_until_complete(future)
    assert "loop argument" in str(caught.value)
    other.close()


def test_stock_future_and_task(loop):
    future = asyncio.Future(loop=loop)
    loop.call_later(0.001, future.set_result, 1)
    assert loop.run_until_complete(future) == 1

    async def main():
        await asyncio.sleep(0.001)
        return 2

    assert loop.run_until_complete(asyncio.Task(main(), loop=loop)) == 2


def test_bad_argument(loop):
    for bad in None, 5, "x", nothing, [nothing]:
        with pytest.raises(TypeError) as caught:
            loop.run_until_complete(bad)
        assert "An asyncio.Future, a coroutine or an awaitable is required" in str(
            caught.value
        )


def test_no_future_exception_is_never_retrieved_after_an_interrupt(loop):
    """run_until_complete marks a coroutine's exception as seen when it is left by
    another: nothing is reported twice."""
    reports = Reports(loop)

    async def main():
        raise SystemExit(5)

    with pytest.raises(SystemExit):
        loop.run_until_complete(main())
    gc.collect()
    assert reports == []


def test_nested_run_until_complete_of_done_future_changes_nothing(loop):
    future = loop.create_future()
    future.set_result(5)
    seen = []
    loop.call_soon(seen.append, 1)
    assert loop.run_until_complete(future) == 5
    assert seen == [1]


def test_runner_and_asyncio_run(impl):
    async def main():
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    if PY >= (3, 11):
        with asyncio.Runner(loop_factory=impl.new_event_loop) as runner:
            loop = runner.run(main())
            assert isinstance(loop, impl.Loop)
        assert loop.is_closed()
        with asyncio.Runner(debug=True, loop_factory=impl.new_event_loop) as runner:
            assert runner.get_loop().get_debug()
            assert runner.run(main()) is runner.get_loop()


# -- exception handlers --------------------------------------------------------------


def test_default_handler_logs(loop, caplog):
    def fail():
        raise ValueError("told")

    loop.call_soon(fail)
    turn(loop)
    (record,) = [r for r in caplog.records if r.name == "asyncio"]
    assert record.levelno == logging.ERROR
    text = record.getMessage()
    assert text.startswith("Exception in callback ")
    assert "fail" in text and "\nhandle: <Handle " in text
    assert record.exc_info[0] is ValueError


def test_custom_handler(loop):
    seen = []

    def handler(*args):
        seen.append(args)

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    handle = loop.call_soon(lambda: 1 / 0)
    turn(loop)
    ((given, context),) = seen
    assert given is loop
    assert context["handle"] is handle
    assert isinstance(context["exception"], ZeroDivisionError)
    assert list(context) == ["message", "exception", "handle"]
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None


def test_custom_handler_that_raises(loop, caplog):
    def handler(loop, context):
        raise AttributeError("broken handler")

    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    (record,) = [r for r in caplog.records if r.name == "asyncio"]
    assert record.getMessage().startswith("Unhandled error in exception handler")
    assert "\ncontext: {" in record.getMessage()
    assert record.exc_info[0] is AttributeError


def test_custom_handler_that_raises_gets_the_original_nested(impl):
    seen = []

    class MyLoop(impl.Loop):
        def default_exception_handler(self, context):
            seen.append(context)

    loop = MyLoop()
    error = ValueError()
    original = {"message": "original", "exception": error}

    def handler(loop, context):
        raise KeyError("broken")

    loop.set_exception_handler(handler)
    loop.call_exception_handler(original)
    ((context),) = seen
    assert context["message"] == "Unhandled error in exception handler"
    assert isinstance(context["exception"], KeyError)
    assert context["context"] is original
    loop.close()


def test_overridden_default_handler_that_raises(impl, caplog):
    class MyLoop(impl.Loop):
        def default_exception_handler(self, context):
            raise KeyError("broken default")

    loop = MyLoop()
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    loop.close()
    (record,) = [r for r in caplog.records if r.name == "asyncio"]
    assert record.getMessage() == "Exception in default exception handler"


def test_both_handlers_raise(impl, caplog):
    class MyLoop(impl.Loop):
        def default_exception_handler(self, context):
            raise KeyError("broken default")

    def handler(loop, context):
        raise AttributeError("broken custom")

    loop = MyLoop()
    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    loop.close()
    (record,) = [r for r in caplog.records if r.name == "asyncio"]
    assert record.getMessage() == (
        "Exception in default exception handler while handling an unexpected error "
        "in custom exception handler"
    )


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("custom", [True, False])
def test_interrupt_in_a_handler_leaves_the_loop(impl, kind, custom):
    def handler(*args):
        raise kind

    class MyLoop(impl.Loop):
        default_exception_handler = handler

    loop = MyLoop()
    if custom:
        loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    with pytest.raises(kind):
        turn(loop)
    assert not loop.is_running()
    assert asyncio._get_running_loop() is None
    turn(loop)
    loop.close()


def test_overridden_call_exception_handler(impl):
    seen = []

    class MyLoop(impl.Loop):
        def call_exception_handler(self, context):
            seen.append(context["message"])

    loop = MyLoop()
    loop.call_soon(lambda: 1 / 0)
    task = loop.create_task(nothing())
    turn(loop, 2)
    future = loop.create_future()
    future.set_exception(ValueError())
    del future
    gc.collect()
    assert len(seen) == 2
    assert seen[0].startswith("Exception in callback")
    assert seen[1] == "Future exception was never retrieved"
    assert task.done()
    loop.close()


def test_instance_attribute_handlers(loop):
    seen = []
    loop.call_exception_handler = lambda context: seen.append(context["message"])
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    assert seen[0].startswith("Exception in callback")


def test_default_handler_wording(loop, caplog):
    loop.default_exception_handler({"message": "msg", "zeta": 1, "alpha": [2]})
    assert caplog.records[-1].getMessage() == "msg\nalpha: [2]\nzeta: 1"
    loop.default_exception_handler({})
    assert caplog.records[-1].getMessage() == "Unhandled exception in event loop"
    loop.default_exception_handler(
        {"message": "m", "source_traceback": [], "handle_traceback": []}
    )
    text = caplog.records[-1].getMessage()
    assert "Object created at (most recent call last):\n" in text
    assert "Handle created at (most recent call last):\n" in text


def test_exception_handler_context(impl):
    """From 3.12 on the handler runs in the context of what failed."""
    if PY < (3, 12):
        pytest.skip("3.12 and newer")
    var = contextvars.ContextVar("var", default="outside")
    loop = impl.new_event_loop()
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(var.get()))
    inner = contextvars.copy_context()
    inner.run(var.set, "inside")

    async def fail():
        raise ValueError

    loop.call_soon(lambda: 1 / 0, context=inner)
    loop.call_later(0, lambda: 1 / 0, context=inner)
    task = loop.create_task(fail(), context=inner)
    turn(loop, 3)
    del task
    gc.collect()
    loop.close()
    assert seen == ["inside"] * 3


def test_never_retrieved(loop):
    reports = Reports(loop)

    async def fail():
        raise ValueError("unseen")

    future = loop.create_future()
    future.set_exception(KeyError("unseen"))
    task = loop.create_task(fail())
    turn(loop, 2)
    del future, task
    gc.collect()
    assert sorted(reports.messages) == [
        "Future exception was never retrieved",
        "Task exception was never retrieved",
    ]
    for context in reports:
        key = "future"
        assert set(context) == {"message", "exception", key}


def test_destroyed_pending(loop):
    reports = Reports(loop)
    future = loop.create_future()

    async def wait():
        await future  # noqa: F821

    task = loop.create_task(wait())
    turn(loop)
    del task, future, wait
    gc.collect()
    assert reports.messages == ["Task was destroyed but it is pending!"]
    assert set(reports[0]) == {"message", "task"}


# -- async generators ----------------------------------------------------------------


def test_shutdown_asyncgens(loop):
    seen = []

    async def agen(name):
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            seen.append(name)

    async def main():
        generators = [agen(n) for n in "abc"]
        for generator in generators:
            await generator.__anext__()
        return generators

    generators = loop.run_until_complete(main())
    assert seen == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert sorted(seen) == ["a", "b", "c"]
    del generators


def test_asyncgen_is_closed_when_dropped(loop):
    seen = []

    async def agen():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            seen.append("closed")

    async def main():
        async for _ in agen():
            break
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)
        assert seen == ["closed"]

    loop.run_until_complete(main())


def test_asyncgen_shutdown_error_is_reported(loop):
    reports = Reports(loop)

    async def agen():
        try:
            yield 1
        finally:
            raise ValueError("in the generator")

    async def main():
        generator = agen()
        await generator.__anext__()
        return generator

    generator = loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    (context,) = reports
    assert context["message"].startswith(
        "an error occurred during closing of asynchronous generator "
    )
    assert isinstance(context["exception"], ValueError)
    assert context["asyncgen"] is generator


def test_asyncgen_after_shutdown_warns(loop):
    async def agen():
        yield 1

    async def main():
        await loop.shutdown_asyncgens()
        with pytest.warns(ResourceWarning, match="was scheduled after"):
            await agen().__anext__()

    loop.run_until_complete(main())


def test_asyncgen_hooks_are_restored(loop):
    def firstiter(agen):
        pass

    def finalizer(agen):
        pass

    old = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter, finalizer)
    try:
        loop.run_until_complete(nothing())
        assert sys.get_asyncgen_hooks() == (firstiter, finalizer)

        async def inside():
            assert sys.get_asyncgen_hooks() != (firstiter, finalizer)

        loop.run_until_complete(inside())

        def leave():
            raise KeyboardInterrupt

        loop.call_soon(leave)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert sys.get_asyncgen_hooks() == (firstiter, finalizer)
    finally:
        sys.set_asyncgen_hooks(*old)


def test_asyncgen_dropped_after_the_loop_closed(impl):
    done = run_program(
        impl,
        """
        async def agen():
            yield 1
        async def main():
            global kept
            kept = agen()
            await kept.__anext__()
        loop = new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        del kept
        """,
    )
    assert done.stdout == ""


# -- overriding ----------------------------------------------------------------------


def test_overridden_call_soon_is_used_by_all(impl):
    names = []

    class MyLoop(impl.Loop):
        def call_soon(self, callback, *args, context=None):
            names.append(getattr(callback, "__name__", type(callback).__name__))
            return super().call_soon(callback, *args, context=context)

    loop = MyLoop()

    def done(future):
        pass

    async def main():
        future = loop.create_future()
        future.add_done_callback(done)
        future.set_result(1)
        await future
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    loop.close()
    assert "done" in names
    assert "_run_until_complete_cb" in names
    assert len(names) >= 4  # the task's steps too


def test_call_soon_as_an_instance_attribute(loop):
    names = []
    original = loop.call_soon

    def call_soon(callback, *args, context=None):
        names.append(callback)
        return original(callback, *args, context=context)

    loop.call_soon = call_soon

    def done(future):
        pass

    future = loop.create_future()
    future.add_done_callback(done)
    future.set_result(1)
    assert names == [done]
    loop.run_until_complete(nothing())
    assert len(names) > 2
    del loop.call_soon
    count = len(names)
    loop.run_until_complete(nothing())
    assert len(names) == count


def test_overridden_call_at_is_used_by_call_later(impl):
    seen = []

    class MyLoop(impl.Loop):
        def call_at(self, when, callback, *args, context=None):
            seen.append(callback)
            return super().call_at(when, callback, *args, context=context)

    loop = MyLoop()
    handle = loop.call_later(5, print)
    handle.cancel()
    loop.close()
    assert seen == [print]


def test_overridden_create_task_and_future(impl):
    seen = []

    class MyLoop(impl.Loop):
        def create_task(self, coro, **kwargs):
            seen.append("task")
            return super().create_task(coro, **kwargs)

        def create_future(self):
            seen.append("future")
            return super().create_future()

    loop = MyLoop()

    async def main():
        asyncio.ensure_future(nothing())
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    loop.close()
    assert seen.count("task") == 2
    assert seen.count("future") >= 1


def test_overridden_time(impl):
    class MyLoop(impl.Loop):
        now = 1000.0

        def time(self):
            MyLoop.now += 0.5
            return MyLoop.now

    loop = MyLoop()
    seen = []
    handle = loop.call_later(3, seen.append, 1)
    assert 1003 <= handle.when() <= 1004
    turn(loop, 20)
    assert seen == [1]
    loop.close()


def test_methods_patched_into_the_class_of_a_loop_that_is_there(impl, monkeypatch):
    class MyLoop(impl.Loop):
        pass

    def call_soon(self, callback, *args, context=None):
        names.append(getattr(callback, "__name__", type(callback).__name__))
        return impl.Loop.call_soon(self, callback, *args, context=context)

    async def main(patch):
        with monkeypatch.context() as patched:
            if patch:
                patched.setattr(MyLoop, "call_soon", call_soon)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    names = []
    loop = MyLoop()
    loop.run_until_complete(nothing())
    loop.run_until_complete(main(patch=True))
    assert names
    names.clear()
    loop.run_until_complete(main(patch=False))
    assert names == []
    with monkeypatch.context() as patched:
        patched.setattr(MyLoop, "call_soon", call_soon)
        loop.run_until_complete(nothing())
    assert len(names) == 2  # the task's step and its callback
    loop.close()


def test_a_clock_patched_into_the_class_of_a_loop_that_is_there(impl, monkeypatch):
    class MyLoop(impl.Loop):
        pass

    now = [50.0]
    seen = []
    loop = MyLoop()
    ordinary = loop.call_later(1000, seen.append, "never")
    monkeypatch.setattr(MyLoop, "time", lambda self: now[0])
    handle = loop.call_later(10, seen.append, "timer")
    assert handle.when() == 60.0
    turn(loop, 2)
    assert seen == []
    now[0] = 60.0
    turn(loop, 2)
    assert seen == ["timer"]
    ordinary.cancel()
    loop.close()


def test_a_loop_given_another_class(impl):
    class MyLoop(impl.Loop):
        pass

    class Clocked(impl.Loop):
        def time(self):
            return super().time() + 1000

    seen = []
    loop = MyLoop()
    loop.call_later(500, seen.append, 1)
    turn(loop, 2)
    assert seen == []
    loop.__class__ = Clocked
    turn(loop, 2)
    assert seen == [1]
    loop.close()


def test_time_as_an_instance_attribute(loop):
    now = [50.0]
    loop.time = lambda: now[0]
    seen = []
    handle = loop.call_later(10, seen.append, "timer")
    assert handle.when() == 60.0
    turn(loop, 3)
    assert seen == []
    now[0] = 60.0
    turn(loop, 2)
    assert seen == ["timer"]


def test_subclass_with_init_and_super(impl):
    class MyLoop(impl.Loop):
        def __init__(self, extra):
            super().__init__()
            self.extra = extra

        def run_forever(self):
            seen.append("run_forever")
            super().run_forever()

    seen = []
    loop = MyLoop(5)
    assert loop.extra == 5
    assert loop.run_until_complete(asyncio.sleep(0, 7)) == 7
    assert seen == ["run_forever"]
    loop.close()


# -- tasks made by the loop ----------------------------------------------------------


def test_task_factory(loop):
    seen = []

    def factory(loop, coro, **kwargs):
        seen.append((loop, kwargs))
        return asyncio.Task(coro, loop=loop, **kwargs)

    assert loop.get_task_factory() is None
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    task = loop.create_task(nothing())
    assert type(task) is asyncio.Task
    assert seen == [(loop, {})]
    loop.run_until_complete(task)
    task = loop.create_task(nothing(), name="n")
    assert task.get_name() == "n"
    loop.run_until_complete(task)
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None


def test_task_factory_kwargs_equal_stock(impl):
    def gather_kwargs(loop):
        seen = []

        def factory(loop, coro, **kwargs):
            seen.append(sorted(kwargs))
            kwargs.pop("eager_start", None)
            return asyncio.Task(coro, loop=loop, **kwargs)

        loop.set_task_factory(factory)
        calls = [{}, {"name": "x"}, {"name": None}]
        if PY >= (3, 11):
            context = contextvars.copy_context()
            calls += [
                {"context": None},
                {"context": context},
                {"context": context, "name": "y"},
            ]
        for kwargs in calls:
            task = loop.create_task(nothing(), **kwargs)
            seen.append(task.get_name().startswith("Task-"))
            loop.run_until_complete(task)
        loop.close()
        return seen

    assert gather_kwargs(impl.new_event_loop()) == gather_kwargs(
        asyncio.SelectorEventLoop()
    )


def test_create_task_types(impl, loop):
    task = loop.create_task(nothing())
    assert isinstance(task, impl.Task) and isinstance(task, asyncio.Task)
    loop.run_until_complete(task)
    future = loop.create_future()
    assert isinstance(future, impl.Future) and isinstance(future, asyncio.Future)
    assert asyncio.isfuture(future) and asyncio.isfuture(task)
    assert future.get_loop() is loop and task.get_loop() is loop


def test_create_task_name_and_context(loop):
    task = loop.create_task(nothing(), name=123)
    assert task.get_name() == "123"
    loop.run_until_complete(task)
    if PY >= (3, 11):
        var = contextvars.ContextVar("var")

        async def change():
            var.set("set in the task")

        context = contextvars.copy_context()
        loop.run_until_complete(loop.create_task(change(), context=context))
        assert context[var] == "set in the task"


def test_eager_task_factory(loop):
    if PY < (3, 12):
        pytest.skip("3.12 and newer")
    loop.set_task_factory(asyncio.eager_task_factory)

    async def sync():
        seen.append("ran")
        return 5

    async def main():
        task = asyncio.create_task(sync())
        assert seen == ["ran"]
        assert task.done()
        assert await task == 5

    seen = []
    loop.run_until_complete(main())


# -- odd callbacks -------------------------------------------------------------------


def test_stop_iteration_from_a_callback(loop):
    reports = Reports(loop)

    def fail():
        raise StopIteration

    loop.call_soon(fail)
    turn(loop)
    assert isinstance(reports.exceptions[0], StopIteration)


def test_generator_exit_from_a_callback(loop):
    reports = Reports(loop)

    def fail():
        raise GeneratorExit

    loop.call_soon(fail)
    turn(loop)
    assert isinstance(reports.exceptions[0], GeneratorExit)


def test_base_exception_from_a_callback(loop):
    class Mine(BaseException):
        pass

    def fail():
        raise Mine

    reports = Reports(loop)
    loop.call_soon(fail)
    seen = []
    loop.call_soon(seen.append, 1)
    turn(loop)
    assert isinstance(reports.exceptions[0], Mine)
    assert seen == [1]


def test_deep_recursion_in_a_callback(loop):
    def recurse():
        recurse()

    reports = Reports(loop)
    loop.call_soon(recurse)
    turn(loop)
    assert isinstance(reports.exceptions[0], RecursionError)


def test_uncallable_callback_is_reported(loop):
    reports = Reports(loop)
    loop.call_soon(5)
    turn(loop)
    assert isinstance(reports.exceptions[0], TypeError)
    assert "not callable" in str(reports.exceptions[0])


def test_context_running_out_of_order(loop):
    """One context shared by many handles: each run enters and leaves it."""
    context = contextvars.copy_context()
    var = contextvars.ContextVar("var", default=0)

    def add():
        var.set(var.get() + 1)

    for _ in range(100):
        loop.call_soon(add, context=context)
        loop.call_later(0, add, context=context)
    turn(loop, 2)
    assert context[var] == 200
    assert var.get() == 0


def test_callbacks_that_collect(loop):
    seen = []

    def collect():
        gc.collect()
        seen.append(1)

    for _ in range(20):
        loop.call_soon(collect)
        loop.call_later(0, collect)
        loop.call_soon_threadsafe(collect)
    turn(loop, 3)
    assert len(seen) == 60


def test_probe_survives_until_its_callback(loop):
    seen = []
    loop.call_soon(lambda probe: seen.append(probe), Probe())
    gc.collect()
    turn(loop)
    assert isinstance(seen[0], Probe)


def test_uninitialized_loop(impl):
    cloop_only(impl, "stock's uninitialised loop fails in Python code")
    from support import outcome

    loop = impl.Loop.__new__(impl.Loop)
    outcome(loop.call_soon, print)
    outcome(loop.call_later, 1, print)
    outcome(loop.call_soon_threadsafe, print)
    outcome(loop.create_future)
    outcome(loop.run_forever) if False else None
    outcome(loop.add_reader, 0, print)
    outcome(loop.is_running)
    outcome(loop.close)
    del loop
    gc.collect()


def test_init_twice(impl):
    cloop_only(impl, "stock leaks its self-pipe")
    loop = impl.new_event_loop()
    seen = []
    loop.call_soon(seen.append, 1)
    try:
        loop.__init__()
    except RuntimeError:
        pass
    loop.run_until_complete(nothing())
    loop.close()


def test_repr(loop):
    assert "running=False" in repr(loop)
    assert "closed=False" in repr(loop)
    assert "debug=False" in repr(loop)
    loop.set_debug(True)
    assert "debug=True" in repr(loop)
    loop.set_debug(False)

    async def inside():
        return repr(loop)

    assert "running=True" in loop.run_until_complete(inside())
    loop.close()
    assert "closed=True" in repr(loop)
