"""What libraries look at besides the documented interface."""

import asyncio
import contextvars
import inspect
import socket
import weakref

import pytest
from support import PY, cloop_only, turn


async def nothing():
    pass


# -- the loop ------------------------------------------------------------------------


def test_types(impl, loop):
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert isinstance(loop, impl.Loop)


def test_instance_attributes(loop):
    loop.anything = 5
    loop._marker = "x"
    assert (loop.anything, loop._marker) == (5, "x")
    assert loop.__dict__["anything"] == 5
    del loop.anything
    assert not hasattr(loop, "anything")


def test_hash_and_weakref(loop):
    assert {loop: 1}[loop] == 1
    assert weakref.ref(loop)() is loop
    table = weakref.WeakKeyDictionary()
    table[loop] = 1
    assert len(table) == 1
    assert loop == loop and loop != 5


def test_class_attributes_can_be_patched(impl, monkeypatch):
    class MyLoop(impl.Loop):
        pass

    MyLoop.extra = lambda self: "patched"
    loop = MyLoop()
    assert loop.extra() == "patched"
    loop.close()


def test_underscore_names(loop):
    assert loop._closed is False
    assert loop._thread_id is None
    assert loop._default_executor is None
    assert loop._check_closed() is None
    assert loop._check_running() is None
    assert loop._debug is False
    assert not loop._signal_handlers
    assert isinstance(loop._clock_resolution, float)
    assert isinstance(loop.slow_callback_duration, float)
    assert loop.slow_callback_duration == 0.1
    loop.slow_callback_duration = 1
    assert loop.slow_callback_duration == 1


def test_ready_and_scheduled_views(loop):
    assert len(loop._ready) == 0
    assert len(loop._scheduled) == 0
    handle = loop.call_soon(print)
    timers = [loop.call_later(n, print) for n in (3, 1, 2)]
    assert list(loop._ready) == [handle]
    assert sorted(loop._scheduled) == sorted(timers)
    assert len(loop._ready) == 1 and len(loop._scheduled) == 3
    assert min(loop._scheduled) is timers[1]
    assert loop._scheduled[0] is timers[1]
    handle.cancel()
    for timer in timers:
        timer.cancel()


def test_ready_shows_tasks(loop):
    task = loop.create_task(nothing())
    assert len(loop._ready) == 1
    (entry,) = loop._ready
    assert isinstance(entry, asyncio.Handle)
    assert not entry.cancelled()
    loop.run_until_complete(task)
    assert len(loop._ready) == 0


def test_signal_handlers_table(loop):
    import signal

    loop.add_signal_handler(signal.SIGUSR1, print)
    assert list(loop._signal_handlers) == [signal.SIGUSR1]
    assert isinstance(loop._signal_handlers[signal.SIGUSR1], asyncio.Handle)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert not loop._signal_handlers


def test_default_executor_name(loop):
    loop.run_until_complete(loop.run_in_executor(None, len, ""))
    assert loop._default_executor is not None
    if PY >= (3, 9):
        assert loop._default_executor._thread_name_prefix == "asyncio"
    loop._default_executor.shutdown(wait=True)


def test_every_abstract_method_is_there(loop):
    for name, value in vars(asyncio.AbstractEventLoop).items():
        if not name.startswith("_") and callable(value):
            assert callable(getattr(loop, name)), name
            assert getattr(type(loop), name) is not value, name


def test_what_tornado_and_others_do(loop):
    """`asyncio_loop.call_soon_threadsafe(...)` kept as bound methods, compared."""
    assert loop.call_soon == loop.call_soon
    bound = loop.call_soon
    seen = []
    bound(seen.append, 1)
    turn(loop)
    assert seen == [1]


@pytest.mark.parametrize("name", ["nest_asyncio", "nest_asyncio2"])
def test_nest_asyncio_is_told_what_to_do(impl, loop, name):
    """nest_asyncio.apply(loop) first asks hasattr(loop, "_nest_patched")."""
    cloop_only(impl, "nest_asyncio can patch stock")
    module = {"__name__": name}
    exec("def patched(loop): return hasattr(loop, '_nest_patched')", module)
    told = name + " cannot patch .* Await the inner coroutine"
    with pytest.raises(RuntimeError, match=told):
        module["patched"](loop)
    assert not hasattr(loop, "_nest_patched")


def test_uvloop_like_probes(loop):
    assert not hasattr(loop, "print_debug_info")
    assert getattr(loop, "_selector", None) is not loop


def test_time(loop):
    import time

    before = time.monotonic()
    now = loop.time()
    assert before <= now <= time.monotonic()
    assert isinstance(now, float)


# -- tasks ---------------------------------------------------------------------------


def test_task_attributes(loop):
    future = loop.create_future()

    async def wait():
        await future

    coro = wait()
    task = loop.create_task(coro)
    assert task._coro is coro and task.get_coro() is coro
    assert task._state == "PENDING"
    assert task._loop is loop
    assert task._must_cancel is False
    assert task._fut_waiter is None
    assert task._log_destroy_pending is True
    assert task._source_traceback is None
    assert task._exception is None and task._result is None
    turn(loop)
    assert task._fut_waiter is future
    assert future._asyncio_future_blocking is False
    ((wakeup, context),) = future._callbacks
    assert wakeup.__self__ is task
    assert isinstance(context, contextvars.Context)
    assert task.get_stack()[0].f_code is wait.__code__
    task.cancel()
    assert future.cancelled()
    assert task._must_cancel is False
    turn(loop, 2)
    assert task._state == "CANCELLED"
    assert task._fut_waiter is None
    if PY >= (3, 12):
        assert isinstance(task.get_context(), contextvars.Context)


def test_must_cancel(loop):
    task = loop.create_task(nothing())
    task.cancel()
    assert task._must_cancel is True
    turn(loop, 2)
    assert task.cancelled()


def test_callbacks_list(loop):
    future = loop.create_future()
    assert not future._callbacks

    def one(future):
        pass

    def two(future):
        pass

    future.add_done_callback(one)
    future.add_done_callback(two)
    future.add_done_callback(one)
    assert [entry[0] for entry in future._callbacks] == [one, two, one]
    assert all(isinstance(entry[1], contextvars.Context) for entry in future._callbacks)
    assert future.remove_done_callback(one) == 2
    assert [entry[0] for entry in future._callbacks] == [two]
    assert future.remove_done_callback(two) == 1
    assert future.remove_done_callback(two) == 0
    assert not future._callbacks


def test_log_destroy_pending_can_be_switched_off(loop, reports):
    import gc

    async def wait():
        await loop.create_future()

    task = loop.create_task(wait())
    turn(loop)
    task._log_destroy_pending = False
    del task
    gc.collect()
    assert reports == []


def test_source_traceback_last_entry_can_be_deleted(loop):
    loop.set_debug(True)
    task = loop.create_task(nothing())
    count = len(task._source_traceback)
    del task._source_traceback[-1]
    assert len(task._source_traceback) == count - 1
    loop.run_until_complete(task)


def test_future_attributes(loop):
    future = loop.create_future()
    assert future._state == "PENDING"
    assert future._loop is loop
    assert future._asyncio_future_blocking is False
    assert future._result is None and future._exception is None
    future._asyncio_future_blocking = True
    assert future._asyncio_future_blocking is True
    future._asyncio_future_blocking = False
    future.set_result(5)
    assert (future._state, future._result) == ("FINISHED", 5)
    failed = loop.create_future()
    error = ValueError()
    failed.set_exception(error)
    assert failed._exception is error
    assert failed._log_traceback is True
    failed._log_traceback = False
    assert failed._log_traceback is False
    if PY >= (3, 9):
        cancelled = loop.create_future()
        cancelled.cancel("why")
        assert cancelled._cancel_message == "why"
    if PY >= (3, 9):
        assert type(future)[int]


def test_is_coroutine_probes(loop):
    task = loop.create_task(nothing())
    assert inspect.isawaitable(task)
    assert not asyncio.iscoroutine(task)
    assert asyncio.isfuture(task)
    loop.run_until_complete(task)


def test_tasks_and_futures_take_attributes(loop):
    task = loop.create_task(nothing())
    task.anything = 1
    future = loop.create_future()
    future.anything = 2
    assert (task.anything, future.anything) == (1, 2)
    loop.run_until_complete(task)


def test_current_and_all_tasks(loop):
    async def main():
        task = asyncio.current_task()
        assert task is asyncio.current_task(loop)
        other = loop.create_task(nothing())
        assert asyncio.all_tasks() == {task, other}
        assert other in asyncio.all_tasks(loop)
        await other
        assert asyncio.all_tasks() == {task}
        return task

    task = loop.run_until_complete(main())
    assert asyncio.all_tasks(loop) == set()
    assert asyncio.current_task(loop) is None
    assert task.done()


def test_get_stack_and_print_stack(loop):
    import io

    async def wait():
        await asyncio.sleep(10)

    task = loop.create_task(wait())
    turn(loop)
    out = io.StringIO()
    task.print_stack(file=out)
    assert "in wait" in out.getvalue()
    assert len(task.get_stack(limit=1)) == 1
    task.cancel()
    turn(loop, 2)


# -- descriptors through the loop ----------------------------------------------------


def test_add_reader_returns_what_stock_returns(loop):
    a, b = socket.socketpair()
    with a, b:
        handle = loop.add_reader(a, print)
        if PY >= (3, 9):
            assert handle is None or isinstance(handle, asyncio.Handle)
        assert loop.remove_reader(a) is True
        assert loop.remove_reader(a) is False
        assert loop.remove_writer(a) is False
