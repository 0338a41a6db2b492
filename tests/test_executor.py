"""run_in_executor, the default executor and its end."""

import asyncio
import concurrent.futures
import contextvars
import functools
import multiprocessing
import threading
import time
import warnings

import pytest
from support import PY, outcome, run_program


def test_result_and_arguments(loop):
    def work(a, b, *, c):
        return a, b, c, threading.current_thread() is threading.main_thread()

    call = functools.partial(work, 1, c=3)
    assert loop.run_until_complete(loop.run_in_executor(None, call, 2)) == (
        1,
        2,
        3,
        False,
    )


def test_returns_a_future_at_once(loop):
    future = loop.run_in_executor(None, lambda: 5)
    assert asyncio.isfuture(future)
    assert isinstance(future, asyncio.Future)
    assert not asyncio.iscoroutine(future)
    assert loop.run_until_complete(future) == 5


def test_exception(loop):
    def fail():
        raise ValueError("in the thread")

    with pytest.raises(ValueError, match="in the thread"):
        loop.run_until_complete(loop.run_in_executor(None, fail))


def test_own_executor(loop):
    with concurrent.futures.ThreadPoolExecutor(1, "mine") as executor:
        name = loop.run_until_complete(
            loop.run_in_executor(executor, lambda: threading.current_thread().name)
        )
    assert name.startswith("mine")
    assert loop._default_executor is None


def test_any_object_with_submit(loop):
    class Executor:
        def submit(self, function, *args):
            future = concurrent.futures.Future()
            future.set_result(("submitted", function, args))
            return future

    assert loop.run_until_complete(
        loop.run_in_executor(Executor(), "anything", 1, 2)
    ) == ("submitted", "anything", (1, 2))


def test_default_executor_is_made_once(loop):
    async def main():
        await asyncio.gather(*[loop.run_in_executor(None, len, "x") for _ in range(10)])
        return loop._default_executor

    executor = loop.run_until_complete(main())
    assert isinstance(executor, concurrent.futures.ThreadPoolExecutor)
    assert loop.run_until_complete(main()) is executor
    if PY >= (3, 9):
        loop.run_until_complete(loop.shutdown_default_executor())


def test_many(loop):
    async def main():
        return await asyncio.gather(
            *[loop.run_in_executor(None, lambda n=n: n * n) for n in range(500)]
        )

    assert loop.run_until_complete(main()) == [n * n for n in range(500)]


def test_cancelled_future(loop):
    gate = threading.Event()

    async def main():
        future = loop.run_in_executor(None, gate.wait, 10)
        await asyncio.sleep(0.001)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        gate.set()
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())


def test_cancelled_before_it_started(loop):
    gate = threading.Event()
    ran = []
    with concurrent.futures.ThreadPoolExecutor(1) as executor:

        async def main():
            first = loop.run_in_executor(executor, gate.wait, 10)
            second = loop.run_in_executor(executor, ran.append, 1)
            await asyncio.sleep(0)
            second.cancel()
            await asyncio.sleep(0)
            gate.set()
            await first

        loop.run_until_complete(main())
    assert ran == []


def test_close_does_not_wait(impl):
    loop = impl.new_event_loop()
    gate = threading.Event()
    loop.run_in_executor(None, gate.wait, 20)
    executor = loop._default_executor
    before = time.monotonic()
    loop.close()
    assert time.monotonic() - before < 5
    gate.set()
    executor.shutdown(wait=True)


def test_job_that_ends_after_close(impl):
    """The thread finds the loop closed; nothing is printed."""
    done = run_program(
        impl,
        """
        loop = new_event_loop()
        gate = threading.Event()
        loop.run_in_executor(None, gate.wait, 20)
        executor = loop._default_executor
        loop.close()
        gate.set()
        executor.shutdown(wait=True)
        print('done')
        """,
    )
    assert done.stdout == "done\n"
    if impl.is_cloop or PY >= (3, 10):  # stock logs "Event loop is closed" before
        assert done.stderr == ""


def test_exit_with_a_busy_default_executor(impl):
    run_program(
        impl,
        """
        loop = new_event_loop()
        loop.run_in_executor(None, time.sleep, 0.1)
        loop.run_until_complete(asyncio.sleep(0))
        """,
    )


def test_set_default_executor(loop):
    with concurrent.futures.ThreadPoolExecutor(1, "chosen") as executor:
        loop.set_default_executor(executor)
        assert loop._default_executor is executor
        name = loop.run_until_complete(
            loop.run_in_executor(None, lambda: threading.current_thread().name)
        )
        assert name.startswith("chosen")


class NotAThreadPool(concurrent.futures.Executor):
    def submit(self, function, *args):
        future = concurrent.futures.Future()
        future.set_result("submitted")
        return future

    def shutdown(self, wait=True):
        pass


def test_set_default_executor_refuses_what_stock_refuses(loop):
    if PY >= (3, 11):
        with pytest.raises(TypeError) as caught:
            loop.set_default_executor(NotAThreadPool())
        assert str(caught.value) == "executor must be ThreadPoolExecutor instance"
    else:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop.set_default_executor(NotAThreadPool())
        assert [w.category for w in caught] == [DeprecationWarning]
        future = loop.run_in_executor(None, print)
        assert loop.run_until_complete(future) == "submitted"


def test_shutdown(loop):
    if PY < (3, 9):
        pytest.skip("3.9 and newer")

    async def main():
        future = loop.run_in_executor(None, time.sleep, 0.02)
        before = loop.time()
        await loop.shutdown_default_executor()
        assert loop.time() - before > 0.01
        assert future.done()
        assert outcome(loop.run_in_executor, None, print) == (
            "raised",
            "RuntimeError",
            "Executor shutdown has been called",
        )

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_shutdown_without_an_executor(loop):
    if PY < (3, 9):
        pytest.skip("3.9 and newer")
    loop.run_until_complete(loop.shutdown_default_executor())
    with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
        loop.run_in_executor(None, print)
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert loop.run_until_complete(loop.run_in_executor(executor, len, "x")) == 1


def test_shutdown_timeout(impl, loop):
    if PY < (3, 12):
        pytest.skip("3.12 and newer")
    if not impl.is_cloop and PY[:2] == (3, 12):
        pytest.skip("stock is at fault: 3.12 waits for the threads all the same")
    gate = threading.Event()

    async def main():
        loop.run_in_executor(None, gate.wait, 20)
        before = loop.time()
        with pytest.warns(
            RuntimeWarning, match="The executor did not finishing joining its threads"
        ):
            await loop.shutdown_default_executor(timeout=0.05)
        assert 0.04 < loop.time() - before < 5

    loop.run_until_complete(main())
    gate.set()


def test_shutdown_in_time(loop):
    if PY < (3, 12):
        pytest.skip("3.12 and newer")

    async def main():
        future = loop.run_in_executor(None, time.sleep, 0.01)
        await loop.shutdown_default_executor(timeout=20)
        await future

    loop.run_until_complete(main())


def test_to_thread(loop):
    if PY < (3, 9):
        pytest.skip("3.9 and newer")
    var = contextvars.ContextVar("var")

    async def main():
        var.set("carried")
        return await asyncio.to_thread(lambda *a, **k: (var.get(), a, k), 1, b=2)

    assert loop.run_until_complete(main()) == ("carried", (1,), {"b": 2})


def test_wait_for_a_slow_job(loop):
    async def main():
        gate = threading.Event()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.run_in_executor(None, gate.wait, 20), 0.01)
        gate.set()

    loop.run_until_complete(main())


def test_process_pool(loop):
    # Not by a server of forks, 3.14's default, which stays and keeps its pipes open.
    fork = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=fork) as executor:
        results = loop.run_until_complete(
            asyncio.gather(
                *[loop.run_in_executor(executor, pow, 2, n) for n in range(5)]
            )
        )
    assert results == [1, 2, 4, 8, 16]


def test_asyncio_run_waits_for_the_executor(impl):
    if PY < (3, 9):
        pytest.skip("3.9 and newer")
    done = run_program(
        impl,
        """
        def work():
            time.sleep(0.05)
            print('worked')
        async def main():
            asyncio.get_running_loop().run_in_executor(None, work)
        if IMPL == 'cloop':
            cloop.run(main())
        else:
            asyncio.run(main())
        print('ended')
        """,
    )
    assert done.stdout == "worked\nended\n"
