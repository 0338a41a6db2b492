"""Nothing is left behind: objects die without the garbage collector, and thousands of
rounds of anything leave as many blocks, references and descriptors as a few.

The loop, futures, tasks and sock_*; the transports are in test_leaks_transports.py.
"""

import asyncio
import concurrent.futures
import contextvars
import gc
import os
import socket
import threading
import weakref

import pytest
from counting import counts, grows
from support import PY, Probe, cloop_only, turn, without_gc

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        "CLOOP_SANITIZED" in os.environ, reason="the sanitizer keeps freed blocks"
    ),
]


def callback(*args):
    pass


async def nothing():
    pass


async def yielding():
    for _ in range(3):
        await asyncio.sleep(0)


def fail():
    raise ValueError("on purpose")


# -- rounds --------------------------------------------------------------------------


def call_soon(loop):
    for n in range(5):
        loop.call_soon(callback, *range(n))
    handle = loop.call_soon(callback, 1, context=contextvars.copy_context())
    handle.cancel()
    turn(loop)


def call_later(loop):
    for delay in 0, -1, 0.0001:
        loop.call_later(delay, callback, 1)
    loop.call_at(3, callback)
    loop.call_later(1000, callback).cancel()
    loop.call_later(0.0002, loop.stop)
    loop.run_forever()


def threadsafe(loop):
    for n in range(5):
        loop.call_soon_threadsafe(callback, *range(n))
    turn(loop)


def futures(loop):
    results = [loop.create_future() for _ in range(6)]
    for future in results:
        for _ in range(3):
            future.add_done_callback(callback)
        future.remove_done_callback(print)
        repr(future)
    results[0].set_result(1)
    results[1].set_exception(ValueError())
    results[1].exception()
    results[2].cancel()
    results[3].remove_done_callback(callback)
    results[4].anything = results[4]
    results[4].anything = None
    turn(loop)


def future_errors(loop):
    future = loop.create_future()
    for call in (
        future.result,
        future.exception,
        lambda: future.set_exception(5),
        lambda: future.set_exception(StopIteration),
        lambda: future.add_done_callback(),
        lambda: future.add_done_callback(1, zzz=2),
        lambda: loop.call_later("x", callback),
        lambda: loop.call_soon(),
        lambda: loop.call_soon(callback, zzz=1),
        lambda: loop.create_task(5),
        lambda: loop.add_reader(-1, callback),
        lambda: loop.run_until_complete(5),
        lambda: loop.set_exception_handler(5),
    ):
        try:
            call()
        except Exception:
            pass
    if future.done():  # 3.13: by a RuntimeError, and pytest keeps what is logged
        future.exception()


def tasks(loop):
    loop.run_until_complete(nothing())
    loop.run_until_complete(yielding())
    task = loop.create_task(yielding(), name="x")
    repr(task)
    task.get_stack()
    turn(loop)
    repr(task)
    loop.run_until_complete(task)
    task.get_name()


def cancelled_tasks(loop):
    many = [loop.create_task(asyncio.sleep(100)) for _ in range(5)]
    turn(loop)
    for task in many:
        task.cancel()
    loop.run_until_complete(asyncio.wait(many))
    early = loop.create_task(nothing())
    early.cancel()
    turn(loop, 2)


def failed_tasks(loop):
    async def broken():
        await asyncio.sleep(0)
        raise ValueError

    async def main():
        for _ in range(3):
            try:
                await loop.create_task(broken())
            except ValueError:
                pass
        await asyncio.gather(broken(), broken(), return_exceptions=True)

    loop.run_until_complete(main())


def never_retrieved(loop):
    loop.set_exception_handler(callback)
    future = loop.create_future()
    future.set_exception(ValueError())
    del future
    loop.call_soon(fail)
    turn(loop)
    loop.set_exception_handler(None)


def interrupted(loop):
    def leave():
        raise KeyboardInterrupt

    loop.call_soon(leave)
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        pass


def awaiting(loop):
    async def main():
        future = loop.create_future()
        loop.call_soon(future.set_result, 1)
        await future
        await asyncio.wait_for(loop.create_task(yielding()), 10)
        await asyncio.shield(nothing())
        await asyncio.gather(*[nothing() for _ in range(5)])
        event = asyncio.Event()
        loop.call_soon(event.set)
        await event.wait()

    loop.run_until_complete(main())


def stock_mixed(loop):
    async def main():
        future = asyncio.Future(loop=loop)
        loop.call_soon(future.set_result, 1)
        await future
        await asyncio.Task(yielding(), loop=loop)

    loop.run_until_complete(asyncio.Task(main(), loop=loop))


def debug_mode(loop):
    loop.set_debug(True)
    tasks(loop)
    futures(loop)
    call_soon(loop)
    loop.set_debug(False)


def async_generators(loop):
    async def agen():
        yield 1
        yield 2

    async def main():
        async for _ in agen():
            break
        async for _ in agen():
            pass

    loop.run_until_complete(main())
    turn(loop, 2)


def readers(loop):
    a, b = socket.socketpair()
    with a, b:
        loop.add_reader(a, callback, 1)
        loop.add_writer(a, callback)
        loop.add_reader(a, callback, 2)
        b.send(b"x")
        turn(loop, 2)
        loop.remove_reader(a)
        loop.remove_writer(a)


def forgotten_readers(loop):
    a, b = socket.socketpair()
    fd = a.fileno()
    loop.add_reader(a, callback, 1)
    turn(loop)
    a.close()
    b.close()
    loop.remove_reader(fd)
    turn(loop)


def sockets(loop):
    a, b = socket.socketpair()
    with a, b:
        a.setblocking(False)
        b.setblocking(False)

        async def main():
            receiving = loop.create_task(loop_recv(loop, b))
            await asyncio.sleep(0)
            await loop.sock_sendall(a, b"data")
            assert await receiving == b"data"
            waiting = loop.create_task(loop_recv(loop, b))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            loop.sock_recv(a, 5).close()

        loop.run_until_complete(main())


async def loop_recv(loop, sock):
    return await loop.sock_recv(sock, 100)


def executor(loop):
    if loop._default_executor is None:  # a larger one grows whenever no thread is idle
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
    loop.run_until_complete(loop.run_in_executor(None, len, "abc"))


def loops(loop):
    other = type(loop)()
    other.call_soon(callback, other)
    other.call_later(10, callback, other)
    other.call_soon_threadsafe(callback)
    other.create_future().add_done_callback(callback)
    other.run_until_complete(nothing())
    other.call_soon(callback, other)
    other.close()


def eager(loop):
    if PY < (3, 12):
        return
    loop.set_task_factory(asyncio.eager_task_factory)
    awaiting(loop)
    loop.set_task_factory(None)


def names(loop):
    loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80))
    loop.run_until_complete(loop.getaddrinfo("::1", "http"))


def attributes(loop):
    loop.something = [loop]
    loop.something.clear()
    del loop.something
    assert loop.time != loop.call_soon
    list(loop._ready), list(loop._scheduled)
    repr(loop)


ROUNDS = [
    call_soon,
    call_later,
    threadsafe,
    futures,
    future_errors,
    tasks,
    cancelled_tasks,
    failed_tasks,
    never_retrieved,
    interrupted,
    awaiting,
    stock_mixed,
    debug_mode,
    async_generators,
    readers,
    forgotten_readers,
    sockets,
    executor,
    loops,
    eager,
    names,
    attributes,
]


@pytest.mark.parametrize("one_round", ROUNDS, ids=lambda f: f.__name__)
def test_flat(loop, one_round):
    rounds = 30 if one_round in (executor, debug_mode, failed_tasks) else 60
    for _ in range(20):
        one_round(loop)
    counts()
    grown = grows(loop, one_round, rounds)
    assert grown is None, "grown in each of %d rounds by %s" % (rounds, grown)


@pytest.mark.slow
@pytest.mark.parametrize("one_round", ROUNDS, ids=lambda f: f.__name__)
def test_flat_over_thousands(impl, loop, one_round):
    cloop_only(impl, "it is our memory")
    if one_round in (executor, debug_mode):
        pytest.skip("too slow for more than the test above")
    for _ in range(100):
        one_round(loop)
    counts()
    grown = grows(loop, one_round, 300)
    assert grown is None, "grown in each of 300 rounds by %s" % (grown,)


# -- death without the collector -----------------------------------------------------


def test_results_die_with_their_future(loop):
    with without_gc():
        future = loop.create_future()
        probe = Probe()
        ref = weakref.ref(probe)
        future.set_result(probe)
        del probe
        assert ref() is not None
        del future
        assert ref() is None


def test_futures_die(loop):
    with without_gc():
        refs = []
        for finish in (
            lambda f: None,
            lambda f: f.set_result(1),
            lambda f: f.cancel(),
            lambda f: (f.set_exception(ValueError()), f.exception()),
            lambda f: f.add_done_callback(callback),
            lambda f: (f.add_done_callback(callback), f.set_result(1)),
        ):
            future = loop.create_future()
            finish(future)
            refs.append(weakref.ref(future))
            del future
        turn(loop, 2)
        assert [ref() for ref in refs] == [None] * len(refs)


def test_tasks_die_after_their_end(loop):
    async def main(probe):
        await asyncio.sleep(0)
        return None

    with without_gc():
        probe = Probe()
        probe_ref = weakref.ref(probe)
        task = loop.create_task(main(probe))
        ref = weakref.ref(task)
        del probe
        loop.run_until_complete(task)
        assert probe_ref() is None  # the coroutine's frame is gone with its end
        del task
        assert ref() is None


def test_awaited_chain_dies(loop):
    refs = []

    async def child(depth):
        refs.append(weakref.ref(asyncio.current_task()))
        if depth:
            await loop.create_task(child(depth - 1))
        else:
            future = loop.create_future()
            refs.append(weakref.ref(future))
            loop.call_soon(future.set_result, 1)
            await future

    with without_gc():
        loop.run_until_complete(child(5))
        turn(loop)
        assert [ref() for ref in refs] == [None] * len(refs)


def test_caught_exceptions_die(loop):
    refs = []

    class Error(Exception):
        pass

    async def fail():
        error = Error()
        refs.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    async def main():
        for _ in range(3):
            try:
                await loop.create_task(fail())
            except Error:
                pass

    with without_gc():
        loop.run_until_complete(main())
        turn(loop)
        assert [ref() for ref in refs] == [None] * 3


def test_reported_exceptions_die(impl, loop):
    cloop_only(impl, "stock's Handle._run leaves a cycle through its frame")
    refs = []

    class Error(Exception):
        pass

    def fail():
        error = Error()
        refs.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    loop.set_exception_handler(callback)
    with without_gc():
        for _ in range(3):
            loop.call_soon(fail)
            loop.call_later(0, fail)
        turn(loop, 2)
        assert [ref() for ref in refs] == [None] * 6


def test_cancelled_tasks_die(loop):
    with without_gc():
        refs = []
        for _ in range(3):
            task = loop.create_task(asyncio.sleep(100))
            turn(loop)
            task.cancel()
            turn(loop, 2)
            assert task.cancelled()
            refs.append(weakref.ref(task))
            del task
        turn(loop, 2)
        assert [ref() for ref in refs] == [None] * 3


def test_cancelled_timer_releases_its_future(loop):
    with without_gc():
        future = loop.create_future()
        ref = weakref.ref(future)
        handle = loop.call_later(1000, future.set_result, 1)
        del future
        assert ref() is not None
        handle.cancel()
        assert ref() is None


def test_closed_loop_dies(impl):
    cloop_only(impl, "stock's loops are parts of cycles")
    with without_gc():
        loop = impl.new_event_loop()
        loop.run_until_complete(yielding())
        loop.call_soon(callback)
        loop.call_later(10, callback)
        loop.close()
        ref = weakref.ref(loop)
        del loop
        assert ref() is None


def test_loop_in_cycles_is_collected(impl):
    class Evil:
        pass

    refs = []
    for _ in range(10):
        loop = impl.new_event_loop()
        evil = Evil()
        evil.loop = loop
        evil.handle = loop.call_soon(callback, evil)
        evil.timer = loop.call_later(5, callback, evil)
        evil.future = loop.create_future()
        evil.future.add_done_callback(lambda f, evil=evil: None)
        evil.future.evil = evil
        loop.evil = evil
        loop.set_exception_handler(lambda loop, context, evil=evil: None)
        loop.run_until_complete(nothing())
        evil.soon = loop.call_soon(callback, evil)
        refs += [weakref.ref(each) for each in (loop, evil, evil.future, evil.timer)]
        loop.close()
        del loop, evil
    gc.collect()
    gc.collect()
    assert [ref() for ref in refs] == [None] * len(refs)


def test_task_in_cycles_is_collected(loop):
    refs = []

    async def main(box):
        box.append(asyncio.current_task())
        await asyncio.sleep(0)
        return box

    for _ in range(10):
        box = []
        task = loop.create_task(main(box))
        loop.run_until_complete(task)
        refs.append(weakref.ref(task))
        del box, task
    gc.collect()
    assert [ref() for ref in refs] == [None] * 10


def test_pending_task_in_a_cycle_is_collected_and_reported(loop, reports):
    async def wait():
        future = loop.create_future()
        me = asyncio.current_task()
        await future
        return me

    task = loop.create_task(wait())
    ref = weakref.ref(task)
    turn(loop)
    del task
    gc.collect()
    gc.collect()
    assert len(reports) == 1
    reports.clear()
    turn(loop, 2)
    gc.collect()
    assert ref() is None


def test_exceptions_with_tracebacks_die_with_their_future(loop):
    class Error(Exception):
        pass

    async def fail():
        probe = Probe()
        refs.append(weakref.ref(probe))
        raise Error

    refs = []
    task = loop.create_task(fail())
    turn(loop, 2)
    with pytest.raises(Error):
        task.result()
    del task
    gc.collect()
    assert refs[0]() is None


def test_threads_leave_nothing(loop):
    def post():
        for _ in range(50):
            loop.call_soon_threadsafe(callback, Probe())

    def one_round(loop):
        thread = threading.Thread(target=post)
        thread.start()
        thread.join()
        turn(loop)

    for _ in range(5):
        one_round(loop)
    counts()
    assert grows(loop, one_round, 20) is None


@pytest.mark.slow
def test_memory_is_given_back_after_a_burst(impl, loop):
    """A hundred thousand entries at once do not stay as an empty ring and freelists."""
    cloop_only(impl, "it is our memory")
    import psutil

    process = psutil.Process()

    def burst():
        for _ in range(100000):
            loop.call_soon(callback)
        timers = [loop.call_later(1000, callback) for _ in range(100000)]
        for timer in timers:
            timer.cancel()
        del timers
        turn(loop, 2)

    burst()
    loop.run_until_complete(asyncio.sleep(0.05))
    first = process.memory_info().rss
    for _ in range(5):
        burst()
    loop.run_until_complete(asyncio.sleep(0.05))
    assert process.memory_info().rss < first + 30e6
