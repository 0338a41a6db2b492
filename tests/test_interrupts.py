"""KeyboardInterrupt and SystemExit raised anywhere leave a loop that runs or closes."""

import asyncio
import concurrent.futures
import contextlib
import gc
import random
import signal
import socket
import sys
import threading

import pytest
from support import cloop_only, run_program, turn

KINDS = [KeyboardInterrupt, SystemExit]


def check_usable(loop):
    """Everything that run_forever changes has been put back."""
    assert asyncio._get_running_loop() is None
    assert not loop.is_running()
    assert loop._thread_id is None
    assert sys.get_asyncgen_hooks() == (None, None)
    assert asyncio.current_task(loop) is None
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_later(0.001, seen.append, 2)
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert seen == [1, 2]
    assert loop.run_until_complete(asyncio.sleep(0, "again")) == "again"


def raiser(kind):
    def leave(*args, **kwargs):
        raise kind

    return leave


class RaisingCallable:
    def __init__(self, kind):
        self.kind = kind

    def __call__(self, *args):
        raise self.kind


PLACES = {}


def place(function):
    PLACES[function.__name__] = function
    return function


@place
def callback(loop, leave):
    loop.call_soon(leave)
    loop.run_forever()


@place
def timer(loop, leave):
    loop.call_later(0.001, leave)
    loop.run_forever()


@place
def threadsafe(loop, leave):
    threading.Timer(0.005, loop.call_soon_threadsafe, [leave]).start()
    loop.run_forever()


@place
def task(loop, leave):
    async def main():
        leave()

    loop.run_until_complete(main())


@place
def task_after_waiting(loop, leave):
    async def main():
        await asyncio.sleep(0.001)
        leave()

    loop.run_until_complete(main())


@place
def other_task(loop, leave):
    async def other():
        leave()

    async def main():
        asyncio.ensure_future(other())
        await asyncio.sleep(100)

    loop.run_until_complete(main())


@place
def stock_task(loop, leave):
    async def main():
        leave()

    loop.run_until_complete(asyncio.Task(main(), loop=loop))


@place
def done_callback(loop, leave):
    future = loop.create_future()
    future.add_done_callback(leave)
    future.set_result(1)
    loop.run_forever()


@place
def exception_handler(loop, leave):
    loop.set_exception_handler(leave)
    loop.call_soon(lambda: 1 / 0)
    loop.run_forever()


@place
def reader(loop, leave):
    a, b = socket.socketpair()
    with a, b:
        loop.add_reader(a, leave)
        b.send(b"x")
        try:
            loop.run_forever()
        finally:
            loop.remove_reader(a)


@place
def loop_signal_handler(loop, leave):
    loop.add_signal_handler(signal.SIGUSR1, leave)
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    try:
        loop.run_forever()
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


@place
def python_signal_handler(loop, leave):
    old = signal.signal(signal.SIGUSR1, leave)
    try:
        loop.call_soon(signal.raise_signal, signal.SIGUSR1)
        loop.run_forever()
    finally:
        signal.signal(signal.SIGUSR1, old)


@place
def while_polling(loop, leave):
    import os

    old = signal.signal(signal.SIGUSR1, leave)
    try:
        threading.Timer(0.02, os.kill, [os.getpid(), signal.SIGUSR1]).start()
        loop.run_forever()
    finally:
        signal.signal(signal.SIGUSR1, old)


@place
def async_generator(loop, leave):
    async def agen():
        yield 1
        leave()

    async def main():
        async for _ in agen():
            pass

    loop.run_until_complete(main())


@place
def inside_gather(loop, leave):
    async def child(n):
        await asyncio.sleep(0)
        if n == 3:
            leave()

    async def main():
        await asyncio.gather(*[child(n) for n in range(6)])

    loop.run_until_complete(main())


@place
def awaitable(loop, leave):
    class Awaitable:
        def __await__(self):
            yield
            leave()

    async def main():
        await Awaitable()

    loop.run_until_complete(main())


@place
def task_factory(loop, leave):
    loop.set_task_factory(leave)
    coro = asyncio.sleep(0)
    try:
        loop.run_until_complete(coro)
    finally:
        coro.close()
        loop.set_task_factory(None)


@place
def while_cancelling(loop, leave):
    async def main():
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            leave()

    task = loop.create_task(main())
    loop.call_soon(task.cancel)
    loop.run_until_complete(task)


@place
def connection_made(loop, leave):
    interrupted_protocol(loop, "connection_made", leave)


@place
def data_received(loop, leave):
    interrupted_protocol(loop, "data_received", leave)


@place
def eof_received(loop, leave):
    interrupted_protocol(loop, "eof_received", leave)


@place
def connection_lost(loop, leave):
    interrupted_protocol(loop, "connection_lost", leave)


@place
def pause_writing(loop, leave):
    interrupted_protocol(loop, "pause_writing", leave)


def interrupted_protocol(loop, name, leave):
    class Protocol(asyncio.Protocol):
        def data_received(self, data):
            if name == "pause_writing":
                transport.set_write_buffer_limits(high=0)
                transport.write(bytes(4_000_000))

    async def main():
        nonlocal transport
        transport, _ = await loop.create_connection(Protocol, sock=a)
        b.send(b"x")
        await asyncio.sleep(0.001)
        b.shutdown(socket.SHUT_WR)
        await asyncio.sleep(100)

    transport = None
    setattr(Protocol, name, leave)
    a, b = socket.socketpair()
    with a, b:
        try:
            loop.run_until_complete(main())
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            for _ in range(4):
                with contextlib.suppress(KeyboardInterrupt, SystemExit):
                    turn(loop)
            if transport is not None:
                transport.abort()
            for _ in range(4):
                with contextlib.suppress(KeyboardInterrupt, SystemExit):
                    turn(loop)


@place
def clock(loop, leave):
    def time():
        calls.append(1)
        if len(calls) == 3:
            leave()
        return ordinary()

    calls = []
    ordinary = loop.time
    loop.time = time
    loop.call_later(0.001, loop.stop)
    try:
        loop.run_forever()
    finally:
        del loop.time


@place
def overridden_call_soon(loop, leave):
    def call_soon(*args, **kwargs):
        calls.append(1)
        if len(calls) == 5:
            leave()
        return ordinary(*args, **kwargs)

    async def main():
        for _ in range(10):
            await asyncio.sleep(0)

    calls = []
    ordinary = loop.call_soon
    loop.call_soon = call_soon
    try:
        loop.run_until_complete(main())
    finally:
        del loop.call_soon


@place
def callback_of_an_executors_future(loop, leave):
    class Executor:
        def submit(self, function, *args):
            return future

    future = concurrent.futures.Future()
    waiting = loop.run_in_executor(Executor(), len, "")
    waiting.add_done_callback(leave)
    loop.call_soon(future.set_result, 5)
    loop.run_until_complete(waiting)


@place
def default_exception_handler(loop, leave):
    loop.default_exception_handler = leave
    loop.call_soon(lambda: 1 / 0)
    try:
        loop.run_forever()
    finally:
        del loop.default_exception_handler


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("name", PLACES)
def test_interrupted_in(loop, name, kind, debug):
    loop.set_debug(debug)
    loop.slow_callback_duration = 100
    with pytest.raises(kind):
        PLACES[name](loop, raiser(kind))
    loop.set_exception_handler(lambda loop, context: None)
    for _ in range(4):
        # what awaits the interrupted task is interrupted too, in its own turn
        with contextlib.suppress(kind):
            turn(loop)
    check_usable(loop)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    turn(loop, 4)
    gc.collect()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PLACES)
def test_closed_right_after(impl, name, kind):
    if name == "while_polling":
        pytest.skip("in the test above")
    loop = impl.new_event_loop()
    with pytest.raises(kind):
        PLACES[name](loop, raiser(kind))
    loop.set_exception_handler(lambda loop, context: None)
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False
    loop.close()
    assert loop.is_closed()
    assert asyncio._get_running_loop() is None
    del loop
    gc.collect()


@pytest.mark.parametrize("kind", KINDS)
def test_task_keeps_the_interrupt_as_its_exception(loop, kind):
    error = kind("once")

    async def main():
        raise error

    task = loop.create_task(main())
    with pytest.raises(kind):
        loop.run_forever()
    assert task.done()
    assert task.exception() is error
    check_usable(loop)


def test_what_was_left_on_the_ring_runs_in_the_next_run(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon(raiser(KeyboardInterrupt))
    loop.call_soon(seen.append, 2)
    loop.call_soon(seen.append, 3)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert seen == [1]
    turn(loop)
    assert seen == [1, 2, 3]


def test_many_interrupts_in_one_turn(loop):
    for _ in range(10):
        loop.call_soon(raiser(KeyboardInterrupt))
    for _ in range(10):
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
    check_usable(loop)


def test_waiting_task_goes_on_after_an_interrupt(loop):
    async def main():
        await asyncio.sleep(0.01)
        return "survived"

    task = loop.create_task(main())
    loop.call_soon(raiser(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert loop.run_until_complete(task) == "survived"


def test_interrupt_in_a_destructor_is_unraisable(loop):
    """It cannot leave a destructor: the loop goes on."""
    seen = []
    hook, sys.unraisablehook = sys.unraisablehook, seen.append

    class Evil:
        def __del__(self):
            raise KeyboardInterrupt

    try:
        loop.call_soon(lambda evil: None, Evil())
        turn(loop, 2)
    finally:
        sys.unraisablehook = hook
    assert [u.exc_type for u in seen] == [KeyboardInterrupt]
    seen.clear()
    check_usable(loop)


@pytest.mark.parametrize("method", ["default", "custom"])
def test_other_base_exceptions_are_reported(loop, method):
    class Mine(BaseException):
        pass

    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    loop.call_soon(raiser(Mine))
    turn(loop)
    assert isinstance(contexts[0]["exception"], Mine)


@pytest.mark.parametrize("doing", ["tasks", "streams"])
def test_interrupted_at_random_moments(impl, doing):
    """An interval timer raises KeyboardInterrupt between any two bytecodes."""
    cloop_only(impl, "stock's own Python code is interrupted half way")
    seed = random.randrange(10**6)
    done = run_program(
        impl,
        """
        import random
        rng = random.Random(int(sys.argv[1]))

        def handler(*args):
            if loop.is_running():
                raise KeyboardInterrupt

        async def child(n):
            await asyncio.sleep(0)
            future = loop.create_future()
            loop.call_soon(lambda: future.done() or future.set_result(n))
            return await future

        async def tasks():
            while True:
                await asyncio.gather(*[child(n) for n in range(5)])

        async def echo(reader, writer):
            try:
                while True:
                    data = await reader.read(1000)
                    if not data:
                        break
                    writer.write(data)
                    await writer.drain()
            finally:
                writer.close()

        async def streams():
            server = await asyncio.start_server(echo, '127.0.0.1', 0)
            address = server.sockets[0].getsockname()
            try:
                while True:
                    reader, writer = await asyncio.open_connection(*address)
                    try:
                        writer.write(b'a line\\n' * 20)
                        for _ in range(20):
                            assert await reader.readline() == b'a line\\n'
                        loop.call_later(0.0002, writer.write, b'late')
                        assert await reader.readexactly(4) == b'late'
                    finally:
                        writer.close()
            finally:
                server.close()

        main = {'tasks': tasks, 'streams': streams}[sys.argv[2]]
        loop = new_event_loop()
        signal.signal(signal.SIGALRM, handler)
        rounds = 0
        end = time.monotonic() + 1.5
        while time.monotonic() < end and rounds < 300:
            loop = new_event_loop()
            loop.set_exception_handler(lambda loop, context: None)
            for attempt in range(3):
                try:
                    # again and again: a destructor may swallow one
                    signal.setitimer(signal.ITIMER_REAL, rng.random() * 0.005 + 1e-4,
                                     0.002)
                    loop.run_until_complete(main())
                except KeyboardInterrupt:
                    rounds += 1
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert asyncio._get_running_loop() is None
                assert not loop.is_running()
                assert loop._thread_id is None
                assert sys.get_asyncgen_hooks() == (None, None)
            for task in asyncio.all_tasks(loop):
                task._log_destroy_pending = False
            loop.close()
        print('rounds', rounds)
        """,
        str(seed),
        doing,
        options=("-W", "ignore"),
        timeout=50,
    )
    assert done.stdout.startswith("rounds "), seed


def test_system_exit_status(impl):
    run_program(
        impl,
        """
        async def main():
            sys.exit(7)
        loop = new_event_loop()
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()
        """,
        status=7,
    )


def test_keyboard_interrupt_status(impl):
    done = run_program(
        impl,
        """
        async def main():
            await asyncio.sleep(0.001)
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(1)
        loop = new_event_loop()
        loop.run_until_complete(main())
        """,
        status=-signal.SIGINT,
    )
    assert done.stderr.strip().endswith("KeyboardInterrupt")
