"""What handlers see while a failure is reported: it is being handled, as in an except
block."""

import asyncio
import logging
import os
import signal
import socket
import sys

import pytest
from support import turn

LIMIT = 20.0


class Failure(Exception):
    pass


def fail(*args):
    raise Failure("told")


# -- what fails -----------------------------------------------------------------------


async def a_callback(loop):
    loop.call_soon(fail)


async def a_timer(loop):
    loop.call_later(0, fail)


async def a_threadsafe_callback(loop):
    loop.call_soon_threadsafe(fail)


async def a_futures_done_callback(loop):
    future = loop.create_future()
    future.add_done_callback(fail)
    future.set_result(None)


async def a_tasks_done_callback(loop):
    loop.create_task(asyncio.sleep(0)).add_done_callback(fail)


async def a_reader_callback(loop):
    near, far = socket.socketpair()

    def ready():
        loop.remove_reader(near)
        near.close()
        fail()

    loop.add_reader(near, ready)
    far.send(b"x")
    far.close()


async def a_signal_handler(loop):
    loop.add_signal_handler(signal.SIGUSR1, fail)
    os.kill(os.getpid(), signal.SIGUSR1)


async def connect(loop, **methods):
    protocol = type("Protocol", (asyncio.Protocol,), methods)()
    near, far = socket.socketpair()
    near.setblocking(False)
    transport, _ = await loop.create_connection(lambda: protocol, sock=near)
    return transport, far


async def data_received(loop):
    _, far = await connect(loop, data_received=fail)
    far.send(b"x")
    far.close()


async def eof_received(loop):
    _, far = await connect(loop, eof_received=fail)
    far.close()


async def connection_lost(loop):
    transport, far = await connect(loop, connection_lost=fail)
    transport.close()
    far.close()


async def pause_writing(loop):
    transport, far = await connect(loop, pause_writing=fail)
    transport.set_write_buffer_limits(0, 0)
    transport.write(bytes(4_000_000))
    transport.abort()
    far.close()


class DatagramProtocol(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.abort()
        fail()


async def datagram_received(loop):
    transport, _ = await loop.create_datagram_endpoint(
        DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", transport.get_extra_info("sockname"))


async def a_pipes_data_received(loop):
    protocol = type("Protocol", (asyncio.Protocol,), {"data_received": fail})
    inward, outward = os.pipe()
    await loop.connect_read_pipe(protocol, os.fdopen(inward, "rb", 0))
    os.write(outward, b"x")
    os.close(outward)


SOURCES = [
    a_callback,
    a_timer,
    a_threadsafe_callback,
    a_futures_done_callback,
    a_tasks_done_callback,
    a_reader_callback,
    a_signal_handler,
    data_received,
    eof_received,
    connection_lost,
    pause_writing,
    datagram_received,
    a_pipes_data_received,
]
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda f: f.__name__)


def provoke(loop, source, reported):
    """Runs until the report has been made, and what follows it."""

    async def main():
        await source(loop)
        while not reported():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)

    loop.run_until_complete(asyncio.wait_for(main(), LIMIT))


@each_source
def test_the_failure_is_being_handled_in_the_handler(loop, source):
    seen = []

    def handler(loop, context):
        seen.append((context["exception"], sys.exc_info()))

    loop.set_exception_handler(handler)
    provoke(loop, source, lambda: seen)
    assert sys.exc_info() == (None, None, None)
    ((failure, (kind, value, traceback)),) = seen
    assert type(failure) is Failure
    assert kind is Failure and value is failure
    assert traceback is failure.__traceback__ is not None


@each_source
def test_the_failure_is_being_handled_where_it_is_logged(loop, source, caplog):
    seen = []

    class Seeing(logging.Handler):
        def emit(self, record):
            seen.append((record.exc_info[1], sys.exc_info()[1]))

    logger, seeing = logging.getLogger("asyncio"), Seeing(logging.ERROR)
    logger.addHandler(seeing)
    try:
        provoke(loop, source, lambda: seen)
    finally:
        logger.removeHandler(seeing)
    ((logged, handled),) = seen
    assert type(logged) is Failure and handled is logged


@each_source
def test_what_a_handler_raises_has_the_failure_as_its_context(loop, source, caplog):
    seen = []

    def handler(loop, context):
        seen.append(context["exception"])
        raise KeyError("broken handler")

    loop.set_exception_handler(handler)
    provoke(loop, source, lambda: seen)
    (record,) = [r for r in caplog.records if r.name == "asyncio"]
    assert record.getMessage().startswith("Unhandled error in exception handler")
    assert record.exc_info[0] is KeyError
    assert record.exc_info[1].__context__ is seen[0]
    assert record.exc_info[1].__cause__ is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_leaves_the_loop_has_the_failure_as_its_context(loop, kind):
    def handler(loop, context):
        raise kind

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    with pytest.raises(kind) as caught:
        loop.run_forever()
    assert type(caught.value.__context__) is Failure


def test_what_is_handled_around_the_loop_is_so_again_afterwards(loop):
    seen = []
    loop.set_exception_handler(lambda *args: seen.append(sys.exc_info()[1]))
    try:
        raise LookupError("outer")
    except LookupError as outer:
        loop.call_soon(fail)
        loop.call_soon(lambda: seen.append(sys.exc_info()[1]))
        turn(loop)
        assert type(seen[0]) is Failure
        assert seen[0].__context__ is outer
        assert seen[1] is outer and sys.exc_info()[1] is outer


def test_without_an_exception_none_is_handled(loop):
    seen = []
    loop.set_exception_handler(lambda *args: seen.append(sys.exc_info()[1]))
    future = loop.create_future()
    future.set_exception(Failure())
    del future
    assert seen == [None]


def test_a_callback_whose_repr_fails_has_the_failure_as_its_context(loop):
    class Callback:
        def __call__(self):
            fail()

        def __repr__(self):
            raise KeyError("no repr")

    loop.call_soon(Callback())
    with pytest.raises(KeyError) as caught:
        loop.run_forever()
    assert type(caught.value.__context__) is Failure
