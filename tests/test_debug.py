"""Debug mode: slow callbacks, source tracebacks, checks, coroutine origins."""

import asyncio
import contextlib
import gc
import logging
import re
import sys
import time
import warnings

import pytest
from support import PY, Reports, run_program, turn


async def nothing():
    pass


@pytest.fixture
def debug_loop(loop):
    loop.set_debug(True)
    return loop


def asyncio_messages(caplog, level=logging.WARNING):
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "asyncio" and record.levelno >= level
    ]


def slow(*args):
    time.sleep(0.03)


# -- slow callbacks ------------------------------------------------------------------


def test_slow_handle(debug_loop, caplog):
    debug_loop.slow_callback_duration = 0.01
    debug_loop.call_soon(slow, 1)
    turn(debug_loop)
    (message,) = asyncio_messages(caplog)
    assert re.match(
        r"Executing <Handle slow\(1\) at .*test_debug.py:\d+ created at "
        r".*test_debug.py:\d+> took 0\.\d{3} seconds$",
        message,
    )


def test_slow_timer_handle(debug_loop, caplog):
    debug_loop.slow_callback_duration = 0.01
    debug_loop.call_later(0, slow)
    turn(debug_loop, 2)
    (message,) = asyncio_messages(caplog)
    assert message.startswith("Executing <TimerHandle when=")


def test_slow_task(debug_loop, caplog):
    debug_loop.slow_callback_duration = 0.01

    async def stall():
        slow()
        await asyncio.sleep(0)
        slow()

    debug_loop.run_until_complete(stall())
    messages = asyncio_messages(caplog)
    assert len(messages) == 2
    assert messages[0].startswith("Executing <Task pending name=")
    assert messages[1].startswith("Executing <Task finished name=")
    assert all(re.search(r"> took 0\.\d{3} seconds$", m) for m in messages)


def test_slow_wakeup_names_the_task(debug_loop, caplog):
    debug_loop.slow_callback_duration = 0.01
    future = debug_loop.create_future()

    async def wait():
        await future
        slow()

    debug_loop.call_soon(future.set_result, 1)
    debug_loop.run_until_complete(wait())
    (message,) = asyncio_messages(caplog)
    assert message.startswith("Executing <Task finished")


def test_slow_done_callback(debug_loop, caplog):
    debug_loop.slow_callback_duration = 0.01
    future = debug_loop.create_future()
    future.add_done_callback(slow)
    future.set_result(1)
    turn(debug_loop, 2)
    (message,) = asyncio_messages(caplog)
    assert message.startswith("Executing <Handle slow(<")


def test_stock_task_on_the_loop(debug_loop, caplog):
    debug_loop.slow_callback_duration = 0.01

    async def stall():
        slow()

    debug_loop.run_until_complete(asyncio.Task(stall(), loop=debug_loop))
    (message,) = asyncio_messages(caplog)
    assert message.startswith("Executing <Task finished")


def test_nothing_is_logged_below_the_limit(debug_loop, caplog):
    debug_loop.slow_callback_duration = 10
    debug_loop.call_soon(slow)
    turn(debug_loop)
    assert asyncio_messages(caplog) == []


def test_nothing_is_logged_without_debug_mode(loop, caplog):
    loop.slow_callback_duration = 0.001
    loop.call_soon(slow)
    turn(loop)
    assert asyncio_messages(caplog) == []


# -- source tracebacks ---------------------------------------------------------------


def test_future_source_traceback(debug_loop):
    future = debug_loop.create_future()
    line = sys._getframe().f_lineno - 1
    last = future._source_traceback[-1]
    assert last[2] in ("create_future", "test_future_source_traceback")
    last = [entry for entry in future._source_traceback if entry[0] == __file__][-1]
    assert (last[1], last[2]) == (line, "test_future_source_traceback")
    assert "created at " in repr(future)


def test_future_constructor_source_traceback(impl, debug_loop):
    future = impl.Future(loop=debug_loop)
    line = sys._getframe().f_lineno - 1
    assert tuple(future._source_traceback[-1])[:2] == (__file__, line)


def test_task_source_traceback(debug_loop):
    task = debug_loop.create_task(nothing())
    line = sys._getframe().f_lineno - 1
    last = task._source_traceback[-1]
    assert (last[0], last[1], last[2]) == (__file__, line, "test_task_source_traceback")
    assert "created at %s:%d" % (__file__, line) in repr(task)
    debug_loop.run_until_complete(task)


def test_asyncio_create_task_source_traceback(debug_loop):
    async def main():
        task = asyncio.create_task(nothing())
        last = task._source_traceback[-1]
        await task
        return last

    last = debug_loop.run_until_complete(main())
    assert last[0].endswith("tasks.py") and last[2] == "create_task"


def test_call_soon_in_debug_mode_of_done_callback(debug_loop):
    future = debug_loop.create_future()
    seen = []
    future.add_done_callback(lambda f: seen.append(f))
    future.set_result(1)
    turn(debug_loop)
    assert seen == [future]


def test_exception_never_retrieved_has_a_source_traceback(debug_loop):
    reports = Reports(debug_loop)
    future = debug_loop.create_future()
    future.set_exception(ValueError())
    traceback = future._source_traceback
    del future
    gc.collect()
    (context,) = reports
    assert context["source_traceback"] is traceback
    assert set(context) == {"message", "exception", "future", "source_traceback"}


def test_destroyed_pending_has_a_source_traceback(debug_loop):
    reports = Reports(debug_loop)
    future = debug_loop.create_future()

    async def wait():
        await future  # noqa: F821

    task = debug_loop.create_task(wait())
    turn(debug_loop)
    del task, future, wait
    gc.collect()
    assert sorted(reports[0]) == ["message", "source_traceback", "task"]


def test_callback_error_has_a_source_traceback(debug_loop):
    reports = Reports(debug_loop)
    handle = debug_loop.call_soon(lambda: 1 / 0)
    turn(debug_loop)
    (context,) = reports
    assert context["source_traceback"] is handle._source_traceback
    assert list(context) == ["message", "exception", "handle", "source_traceback"]


def test_a_report_from_within_a_handle_says_where_the_handle_was_made(
    debug_loop, caplog
):
    def report():
        seen.append(debug_loop._current_handle)
        debug_loop.call_exception_handler({"message": "from within"})

    async def main():
        report()

    seen = []
    handle = debug_loop.call_soon(report)
    turn(debug_loop)
    debug_loop.run_until_complete(main())
    debug_loop.call_exception_handler({"message": "from outside"})
    assert seen[0] is handle
    assert isinstance(seen[1], asyncio.Handle)
    assert debug_loop._current_handle is None
    first, second, third = asyncio_messages(caplog)
    for message in first, second:
        assert message.startswith(
            "from within\nhandle_traceback: Handle created at (most recent call last):"
        )
    assert re.search(r'test_debug.py", line \d+, in .*\n *handle = debug', first)
    assert third == "from outside"


@pytest.mark.parametrize("debug", [False, True])
def test_no_handle_is_current_after_an_exit_or_without_debug_mode(loop, debug):
    def leave():
        seen.append(loop._current_handle)
        raise SystemExit

    seen = []
    loop.set_debug(debug)
    handle = loop.call_soon(leave)
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert seen == [handle if debug else None]
    assert loop._current_handle is None


def test_closing_is_logged(debug_loop, caplog):
    caplog.set_level(logging.DEBUG, "asyncio")
    Reports(debug_loop)  # swallows that a running loop cannot be closed
    debug_loop.call_soon(debug_loop.close)
    turn(debug_loop)
    debug_loop.close()
    debug_loop.close()
    assert asyncio_messages(caplog, logging.DEBUG) == [f"Close {debug_loop!r}"]


# -- checks --------------------------------------------------------------------------


def test_coroutines_are_refused(debug_loop):
    coro = nothing()
    calls = {
        "call_soon": lambda c: debug_loop.call_soon(c),
        "call_soon_threadsafe": lambda c: debug_loop.call_soon_threadsafe(c),
        "call_at": lambda c: debug_loop.call_at(1, c),
        "call_later": lambda c: debug_loop.call_later(1, c),
        "run_in_executor": lambda c: debug_loop.run_in_executor(None, c),
    }
    for name, call in calls.items():
        shown = "call_at" if name == "call_later" else name
        for callback in coro, nothing:
            with pytest.raises(
                TypeError,
                match=r"coroutines cannot be used with %s\(\)" % shown,
            ):
                call(callback)
        with pytest.raises(
            TypeError,
            match=r"a callable object was expected by %s\(\), got 5" % shown,
        ):
            call(5)
    coro.close()


def test_refused_without_debug_mode_only_when_run(loop):
    reports = Reports(loop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loop.call_soon(nothing)
        turn(loop)
        gc.collect()
    assert reports == []


# -- switching -----------------------------------------------------------------------


def test_switching_inside_a_run(loop, caplog):
    loop.slow_callback_duration = 0.01
    seen = []

    async def main():
        loop.set_debug(True)
        for _ in range(3):
            await asyncio.sleep(0)
        future = loop.create_future()
        seen.append(future._source_traceback is not None)
        handle = loop.call_soon(slow)
        seen.append(handle._source_traceback is not None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        loop.set_debug(False)
        for _ in range(3):
            await asyncio.sleep(0)
        seen.append(loop.create_future()._source_traceback is None)

    loop.run_until_complete(main())
    assert seen == [True, True, True]
    slowed = [m for m in asyncio_messages(caplog) if "<Handle slow()" in m]
    assert len(slowed) == 1


def test_switching_with_entries_on_the_ring(loop):
    seen = []
    tasks = [loop.create_task(asyncio.sleep(0, n)) for n in range(5)]
    loop.call_soon(seen.append, 1)
    future = loop.create_future()
    future.add_done_callback(lambda f: seen.append(2))
    future.set_result(1)
    loop.set_debug(True)
    turn(loop, 3)
    assert seen == [1, 2]
    assert [t.result() for t in tasks] == list(range(5))


def test_coroutine_origin_tracking(loop):
    depth = sys.get_coroutine_origin_tracking_depth()

    async def main():
        return sys.get_coroutine_origin_tracking_depth()

    assert loop.run_until_complete(main()) == depth
    loop.set_debug(True)
    assert loop.run_until_complete(main()) > 0
    assert sys.get_coroutine_origin_tracking_depth() == depth

    async def switch():
        loop.set_debug(False)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        off = sys.get_coroutine_origin_tracking_depth()
        loop.set_debug(True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return off, sys.get_coroutine_origin_tracking_depth()

    off, on = loop.run_until_complete(switch())
    assert off == depth and on > 0
    assert sys.get_coroutine_origin_tracking_depth() == depth


def test_coroutine_origin_tracking_switched_by_another_thread(loop):
    async def depth_after(enabled):
        await loop.run_in_executor(None, loop.set_debug, enabled)
        await asyncio.sleep(0)
        return loop.get_debug(), sys.get_coroutine_origin_tracking_depth() > 0

    async def main():
        return await depth_after(True), await depth_after(False)

    assert loop.run_until_complete(main()) == ((True, True), (False, False))


def test_never_awaited_coroutine_names_its_origin(debug_loop):
    async def forgotten():
        pass

    async def main():
        forgotten()
        gc.collect()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        debug_loop.run_until_complete(main())
    (warning,) = [w for w in caught if "never awaited" in str(w.message)]
    assert "Coroutine created at (most recent call last)" in str(warning.message)
    assert "in main" in str(warning.message)


# -- how it is switched on -----------------------------------------------------------

SHOW = "loop = new_event_loop(); print(loop.get_debug()); loop.close()"


@pytest.mark.parametrize(
    "options, env, wanted",
    [
        ((), {}, "False"),
        (("-X", "dev"), {}, "True"),
        ((), {"PYTHONASYNCIODEBUG": "1"}, "True"),
        ((), {"PYTHONASYNCIODEBUG": ""}, "False"),
        (("-E",), {"PYTHONASYNCIODEBUG": "1"}, "False"),
        ((), {"PYTHONDEVMODE": "1"}, "True"),
    ],
)
def test_switches(impl, options, env, wanted):
    if "-E" in options and impl.is_cloop:
        source = "import sys; sys.path[:0] = sys.argv[1:]\n"
        import os
        import subprocess

        from support import PRELUDE

        import cloop

        done = subprocess.run(
            [
                sys.executable,
                "-E",
                "-c",
                source + PRELUDE.format(impl="cloop") + SHOW,
                os.path.dirname(os.path.dirname(cloop.__file__)),
            ],
            env=dict(os.environ, **env),
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    else:
        done = run_program(impl, SHOW, options=options, **env)
    assert done.stdout.strip() == wanted


def test_programs_in_development_mode(impl):
    """A whole program under -X dev with warnings as errors: nothing is printed."""
    done = run_program(
        impl,
        """
        async def child(n):
            await asyncio.sleep(0.001)
            return n

        async def main():
            queue = asyncio.Queue()
            results = await asyncio.gather(*[child(n) for n in range(5)])
            await queue.put(results)
            await asyncio.wait_for(asyncio.sleep(0), 1)
            return await queue.get()

        loop = new_event_loop()
        try:
            assert loop.run_until_complete(main()) == list(range(5))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
        """,
        options=("-X", "dev", "-W", "error"),
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_everything_else_works_in_debug_mode(debug_loop):
    async def main():
        lock = asyncio.Lock()
        async with lock:
            pass
        results = await asyncio.gather(*[asyncio.sleep(0.001, n) for n in range(10)])
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(5), 0.001)
        if PY >= (3, 11):
            async with asyncio.TaskGroup() as group:
                group.create_task(nothing())
        return results

    assert debug_loop.run_until_complete(main()) == list(range(10))
