"""call_soon_threadsafe: nothing is lost, the loop always wakes."""

import asyncio
import contextvars
import gc
import os
import signal
import threading
import time
import weakref

import pytest
from support import Probe, outcome, turn, without_gc


def test_order_per_thread(loop):
    seen = []

    def post():
        for number in range(1000):
            loop.call_soon_threadsafe(seen.append, number)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=post)
    thread.start()
    loop.run_forever()
    thread.join()
    assert seen == list(range(1000))


@pytest.mark.timeout(120)
def test_eight_threads(impl, loop):
    count = 100_000 if impl.is_cloop else 3_000
    counts = [0] * 8
    finished = []

    def add(index):
        counts[index] += 1

    def end():
        finished.append(1)
        if len(finished) == 8:
            loop.stop()

    def post(index):
        for _ in range(count):
            loop.call_soon_threadsafe(add, index)
        loop.call_soon_threadsafe(end)

    threads = [threading.Thread(target=post, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert counts == [count] * 8


def test_every_single_call_wakes_an_idle_loop(loop):
    """One call at a time, each into a loop that has gone to sleep."""
    took = []

    def ping():
        for number in range(300):
            done = threading.Event()
            before = time.monotonic()
            loop.call_soon_threadsafe(done.set)
            assert done.wait(20)
            took.append(time.monotonic() - before)
            if number % 10 == 0:
                time.sleep(0.001)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=ping)
    thread.start()
    loop.run_forever()
    thread.join()
    assert len(took) == 300
    assert sorted(took)[150] < 0.1


def test_sleep_and_wake_race(loop):
    """The loop goes to sleep and is called at about the same time, over and over."""
    seen = []

    def post():
        for number in range(2000):
            loop.call_soon_threadsafe(seen.append, number)
            for _ in range(number % 50):
                pass
        loop.call_soon_threadsafe(loop.stop)

    threads = [threading.Thread(target=post)]
    for thread in threads:
        thread.start()
    loop.run_forever()
    assert len(seen) == 2000
    for thread in threads:
        thread.join()


def test_threads_and_the_loop_itself(loop):
    seen = []

    def post():
        for _ in range(1000):
            loop.call_soon_threadsafe(seen.append, "thread")

    async def main():
        threads = [threading.Thread(target=post) for _ in range(2)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) or "loop" not in seen:
            loop.call_soon_threadsafe(seen.append, "loop")
            loop.call_soon(seen.append, "soon")
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert seen.count("thread") == 2000
    assert seen.count("loop") == seen.count("soon") > 0


def test_before_the_loop_runs(loop):
    seen = []
    thread = threading.Thread(
        target=lambda: [loop.call_soon_threadsafe(seen.append, n) for n in range(10)]
    )
    thread.start()
    thread.join()
    assert seen == []
    turn(loop)
    assert seen == list(range(10))


def test_order_against_call_soon_from_the_same_thread(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon_threadsafe(seen.append, 2)
    loop.call_soon(seen.append, 3)
    loop.call_soon_threadsafe(seen.append, 4)
    turn(loop, 2)
    assert seen == [1, 2, 3, 4]


def test_order_inside_a_callback(loop):
    seen = []

    def inside():
        loop.call_soon(seen.append, 1)
        loop.call_soon_threadsafe(seen.append, 2)
        loop.call_soon(seen.append, 3)

    loop.call_soon(inside)
    turn(loop, 3)
    assert seen == [1, 2, 3]


def test_cancel_from_the_calling_thread(loop):
    seen = []

    def post():
        handle = loop.call_soon_threadsafe(seen.append, "cancelled")
        handle.cancel()
        loop.call_soon_threadsafe(seen.append, "kept")

    thread = threading.Thread(target=post)
    thread.start()
    thread.join()
    turn(loop, 2)
    assert seen == ["kept"]


def test_context(loop):
    var = contextvars.ContextVar("var", default="default")
    seen = []

    def post():
        var.set("of the thread")
        loop.call_soon_threadsafe(lambda: seen.append(var.get()))
        context = contextvars.Context()
        loop.call_soon_threadsafe(lambda: seen.append(var.get()), context=context)

    thread = threading.Thread(target=post)
    thread.start()
    thread.join()
    turn(loop)
    assert seen == ["of the thread", "default"]


def test_raises_after_close(loop):
    loop.close()
    result = []
    thread = threading.Thread(
        target=lambda: result.append(outcome(loop.call_soon_threadsafe, print))
    )
    thread.start()
    thread.join()
    assert result == [("raised", "RuntimeError", "Event loop is closed")]


def test_close_while_threads_call(impl):
    """Each call either succeeds or says that the loop is closed."""
    for _ in range(20):
        loop = impl.new_event_loop()
        errors, started = [], threading.Event()

        def post(loop=loop, errors=errors, started=started):
            for _ in range(100000):
                try:
                    loop.call_soon_threadsafe(print)
                except RuntimeError as exc:
                    errors.append(str(exc))
                    return
                started.set()

        threads = [threading.Thread(target=post) for _ in range(2)]
        for thread in threads:
            thread.start()
        started.wait(10)
        loop.close()
        for thread in threads:
            thread.join()
        assert set(errors) <= {"Event loop is closed"}
        assert errors


def test_arguments_die_after_the_run(loop):
    with without_gc():
        refs = []

        def post():
            probe = Probe()
            refs.append(weakref.ref(probe))
            loop.call_soon_threadsafe(lambda p: None, probe)

        threads = [threading.Thread(target=post) for _ in range(10)]
        for thread in threads:
            thread.start()
            thread.join()
        assert all(ref() is not None for ref in refs)
        turn(loop, 2)
        assert [ref() for ref in refs] == [None] * 10


def test_callbacks_that_raise(loop, reports):
    def fail():
        raise ValueError

    def post():
        for _ in range(100):
            loop.call_soon_threadsafe(fail)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=post)
    thread.start()
    loop.run_forever()
    thread.join()
    assert len(reports) == 100


def test_from_a_python_signal_handler(loop):
    """signal.signal's handlers run between bytecodes of the main thread, wherever."""
    seen = []
    old = signal.signal(
        signal.SIGUSR1, lambda *a: loop.call_soon_threadsafe(seen.append, 1)
    )
    try:

        def storm():
            for _ in range(50):
                os.kill(os.getpid(), signal.SIGUSR1)
                time.sleep(0.0005)
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=storm)
        thread.start()

        def busy():
            loop.call_soon(busy)
            loop.call_soon_threadsafe(lambda: None)

        handle = loop.call_soon(busy)
        loop.run_forever()
        thread.join()
        handle.cancel()
        turn(loop)
        assert seen
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_from_a_destructor(loop):
    """A collection may run inside call_soon_threadsafe itself."""
    seen = []

    class Evil:
        def __init__(self):
            self.me = self

        def __del__(self):
            loop.call_soon_threadsafe(seen.append, "destructor")

    threshold = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for _ in range(300):
            Evil()
            loop.call_soon_threadsafe(lambda: [[]])
        gc.collect()
        turn(loop, 2)
    finally:
        gc.set_threshold(*threshold)
    assert seen.count("destructor") == 300


def test_in_debug_mode(loop):
    loop.set_debug(True)
    seen = []

    def post():
        for number in range(100):
            loop.call_soon_threadsafe(seen.append, number)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=post)
    thread.start()
    loop.run_forever()
    thread.join()
    assert seen == list(range(100))


def test_overridden_call_soon_threadsafe(impl):
    seen = []

    class MyLoop(impl.Loop):
        def call_soon_threadsafe(self, callback, *args, context=None):
            seen.append(callback)
            return super().call_soon_threadsafe(callback, *args, context=context)

    loop = MyLoop()
    assert loop.run_until_complete(loop.run_in_executor(None, lambda: 5)) == 5
    loop._default_executor.shutdown(wait=True)
    loop.close()
    assert len(seen) == 1


def test_run_coroutine_threadsafe_from_many_threads(loop):
    async def double(n):
        await asyncio.sleep(0)
        return n * 2

    results = {}

    def ask(base):
        for n in range(base, base + 20):
            future = asyncio.run_coroutine_threadsafe(double(n), loop)
            results[n] = future.result(30)

    async def main():
        threads = [threading.Thread(target=ask, args=(n * 20,)) for n in range(5)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    assert results == {n: 2 * n for n in range(100)}
