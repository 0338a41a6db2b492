"""asyncio's streams on a loop: the same answers from C as from stock's code."""

import asyncio
import collections.abc
import contextlib
import copy
import fcntl
import gc
import inspect
import pickle
import random
import socket
import sys
import sysconfig
import termios
import types
import warnings
import weakref
from asyncio import streams
from unittest import mock

import pytest
from support import (
    PY,
    Reports,
    cloop_only,
    fast_only,
    is_fast,
    plain,
    run_program,
    without_gc,
)
from tls_support import Contexts

import cloop

LIMIT = 20.0


# -- connections -----------------------------------------------------------------------


def count_unread(sock):
    answer = fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0" * 4)
    return int.from_bytes(answer, sys.byteorder)


class Pair:
    """A reader and a writer of the loop, and the plain socket at the other end."""

    def __init__(self, loop, reader, writer, far):
        self.loop = loop
        self.reader = reader
        self.writer = writer
        self.far = far

    async def settle(self):
        """Until what was sent to us has come, and who waited for it has run."""
        transport = self.writer._transport
        sock = transport.get_extra_info("socket")
        for _ in range(2):  # what runs after the first may have resumed the transport
            for _ in range(4):
                await asyncio.sleep(0)
            while transport.is_reading() and count_unread(sock):
                await asyncio.sleep(0.0005)
        for _ in range(4):
            await asyncio.sleep(0)

    async def send(self, data):
        self.far.send(data)
        await self.settle()


@contextlib.asynccontextmanager
async def client(loop, limit=2**16):
    near, far = socket.socketpair()
    near.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=near, limit=limit)
    try:
        yield Pair(loop, reader, writer, far)
    finally:
        writer.transport.abort()
        far.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def accepted(loop, limit=2**16):
    """The server's side: its writer was made by client_connected_cb's caller."""
    near, far = socket.socketpair()
    near.setblocking(False)
    made = loop.create_future()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(
        reader, lambda *pair: made.set_result(pair), loop=loop
    )
    await loop.connect_accepted_socket(lambda: protocol, near)
    reader, writer = await made
    try:
        yield Pair(loop, reader, writer, far)
    finally:
        writer.transport.abort()
        far.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


SIDES = [client, accepted]
both_sides = pytest.mark.parametrize("side", SIDES, ids=["client", "accepted"])


def run(loop, main):
    return loop.run_until_complete(asyncio.wait_for(main, LIMIT))


def with_pair(loop, body, side=client, **options):
    async def main():
        async with side(loop, **options) as pair:
            return await body(pair)

    return run(loop, main())


async def result_of(awaitable):
    """What came of it, in words that are the same for both implementations."""
    try:
        return "returned", await awaitable
    except asyncio.IncompleteReadError as exc:
        return "incomplete", exc.partial, exc.expected, str(exc)
    except asyncio.LimitOverrunError as exc:
        return "limit", exc.consumed, str(exc)
    except (Exception, asyncio.CancelledError) as exc:
        return type(exc).__name__, str(exc)


# -- the native path is taken ----------------------------------------------------------


@both_sides
def test_no_python_function_of_the_streams_runs_for_what_comes(impl, loop, side):
    fast_only(impl, "stock's code is Python")

    async def body(pair):
        called = []
        if side is client:  # whose writer shows itself by writing
            pair.writer.write(b"first")
            assert pair.far.recv(100) == b"first"

        def profile(frame, event, arg):
            if event == "call" and frame.f_code.co_filename == streams.__file__:
                called.append(frame.f_code.co_name)

        sys.setprofile(profile)
        try:
            await pair.send(b"one\ntwo\nthree four")
            assert await pair.reader.readline() == b"one\n"
            assert await pair.reader.readuntil(b"\n") == b"two\n"
            assert await pair.reader.readexactly(5) == b"three"
            waiting = asyncio.ensure_future(pair.reader.readexactly(20))
            await pair.send(b"much more than that, surely")
            assert await waiting == b" fourmuch more than "
            assert await pair.reader.read(100) == b"that, surely"
            pair.writer.write(b"answer")
            await pair.writer.drain()
        finally:
            sys.setprofile(None)
        assert called == []
        assert pair.far.recv(100) == b"answer"

    with_pair(loop, body, side)


def test_a_clients_writer_is_native_once_it_has_written(impl, loop):
    fast_only(impl, "there is no other class")

    async def body(pair):
        writer = pair.writer
        assert type(writer) is asyncio.StreamWriter
        writer.transport.write(b"by another way; ")
        assert type(writer) is asyncio.StreamWriter
        writer.write(b"by itself")
        assert type(writer) is not asyncio.StreamWriter
        await writer.drain()
        await asyncio.sleep(0)  # the second write of a turn leaves at its end
        assert pair.far.recv(100) == b"by another way; by itself"

    with_pair(loop, body)


@pytest.mark.parametrize("how", ["subclass", "two", "lambda", "wrapped", "patched"])
def test_other_writers_of_a_clients_transport(loop, how, monkeypatch):
    class Mine(asyncio.StreamWriter):
        def write(self, data):
            return super().write(data.upper())

    async def body(pair):
        writer, transport = pair.writer, pair.writer.transport
        if how == "subclass":
            writer.__class__ = Mine
        elif how == "two":
            writer = asyncio.StreamWriter(
                transport, writer._protocol, pair.reader, loop
            )
            writer.write(b"first ")
        elif how == "lambda":
            writer.write = lambda data, self=None: transport.write(data)
        elif how == "wrapped":
            inner, writer._transport = writer._transport, mock.Mock()
            writer._transport.write = inner.write
            writer._transport.is_closing = inner.is_closing
        else:
            stock = asyncio.StreamWriter.write

            def write(self, data):
                stock(self, data + b"!")

            monkeypatch.setattr(asyncio.StreamWriter, "write", write)
        for _ in range(4):
            writer.write(b"x")
            await writer.drain()
        pair.writer.write(b"y")
        expected = {"subclass": b"XXXXY", "patched": b"x!x!x!x!y!"}
        expected["two"] = b"first xxxxy"
        await asyncio.sleep(0)
        assert pair.far.recv(100) == expected.get(how, b"xxxxy")
        if how == "wrapped":
            writer._transport = inner

    with_pair(loop, body)


def test_servers_connections_are_native(impl, loop):
    fast_only(impl, "there is no other class")

    async def main():
        seen = loop.create_future()

        async def connected(reader, writer):
            seen.set_result((type(reader), type(writer), writer._protocol))
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        name = server.sockets[0].getsockname()
        _, writer = await asyncio.open_connection(*name)
        reader_type, writer_type, protocol = await seen
        assert reader_type is not asyncio.StreamReader
        assert writer_type is not asyncio.StreamWriter
        assert protocol._client_connected_cb is connected
        writer.close()
        server.close()

    run(loop, main())


# -- what they are ---------------------------------------------------------------------


@both_sides
def test_they_look_like_asyncios_own(loop, side):
    async def body(pair):
        reader, writer = pair.reader, pair.writer
        assert isinstance(reader, asyncio.StreamReader)
        assert isinstance(writer, asyncio.StreamWriter)
        assert reader.__class__ is asyncio.StreamReader
        assert writer.__class__ is asyncio.StreamWriter
        assert set(vars(reader)) == {
            "_limit",
            "_loop",
            "_buffer",
            "_eof",
            "_waiter",
            "_exception",
            "_transport",
            "_paused",
        }
        assert type(reader._buffer) is bytearray
        assert reader._transport is writer.transport is writer._transport
        assert writer._reader is reader
        assert reader._loop is loop
        assert (reader._limit, reader._eof, reader._paused) == (65536, False, False)
        assert reader._waiter is None and reader._exception is None
        assert repr(reader).startswith("<StreamReader transport=<")
        assert repr(writer).startswith("<StreamWriter transport=<")
        await pair.send(b"abc")
        assert repr(reader).startswith("<StreamReader 3 bytes transport=<")
        assert reader._buffer == b"abc"
        assert {reader: 1, writer: 2}[reader] == 1
        assert isinstance(reader, collections.abc.AsyncIterable)
        for method in ("read", "readline", "readuntil", "readexactly"):
            ours = inspect.signature(getattr(reader, method))
            assert ours == inspect.signature(
                types.MethodType(getattr(asyncio.StreamReader, method), reader)
            )
        stand_in = mock.Mock(spec=reader)
        assert isinstance(stand_in, asyncio.StreamReader)

    with_pair(loop, body, side)


def test_they_cannot_be_pickled_and_copies_read_on(loop):
    async def body(pair):
        with pytest.raises((TypeError, pickle.PicklingError)):
            pickle.dumps(pair.reader)
        await pair.send(b"one\ntwo\n")
        twin = copy.copy(pair.reader)
        assert isinstance(twin, asyncio.StreamReader)
        assert await twin.readline() == b"one\n"
        assert await pair.reader.readline() == b"two\n"

    with_pair(loop, body)


def test_the_class_can_be_assigned(loop):
    class Mine(asyncio.StreamReader):
        async def readline(self):
            return b"mine"

    async def body(pair):
        pair.reader.__class__ = Mine
        assert type(pair.reader) is Mine and pair.reader.__class__ is Mine
        await pair.send(b"theirs\n")
        assert await pair.reader.readline() == b"mine"
        pair.reader.__class__ = asyncio.StreamReader
        assert type(pair.reader) is asyncio.StreamReader
        assert await pair.reader.readline() == b"theirs\n"
        with pytest.raises(TypeError):
            pair.reader.__class__ = int

    with_pair(loop, body)


# -- what is made when it is asked for -------------------------------------------------


@both_sides
def test_protocol_and_writer_have_all_their_attributes(loop, side):
    async def body(pair):
        protocol, writer = pair.writer._protocol, pair.writer
        assert protocol.__class__ is asyncio.StreamReaderProtocol
        assert plain(repr(protocol)) == plain(object.__repr__(protocol))
        assert repr(protocol).startswith("<asyncio.streams.StreamReaderProtocol object")
        made = asyncio.StreamReaderProtocol(
            pair.reader, (lambda *pair: None) if side is accepted else None, loop=loop
        )
        for name in set(vars(made)) | set(dir(made)):
            assert hasattr(protocol, name), name
        assert set(dir(protocol)) >= set(dir(made))
        assert set(vars(protocol)) == set(vars(made))
        plain_writer = asyncio.StreamWriter(
            writer.transport, protocol, pair.reader, loop
        )
        assert set(vars(writer)) == set(vars(plain_writer))
        for op in (protocol, writer):
            for name, value in vars(op).items():
                assert getattr(op, name) is value

    with_pair(loop, body, side)


@both_sides
def test_attributes_that_come_late(loop, side):
    async def body(pair):
        protocol, writer = pair.writer._protocol, pair.writer
        closed = protocol._closed
        assert asyncio.isfuture(closed) and not closed.done()
        assert protocol._closed is closed
        assert protocol._get_close_waiter(writer) is closed
        if hasattr(protocol, "_drain_waiters"):  # 3.8 has one waiter only
            waiters = protocol._drain_waiters
            assert type(waiters) is collections.deque and not waiters
            assert protocol._drain_waiters is waiters
            protocol._drain_waiters = other = collections.deque()
            assert protocol._drain_waiters is other
            del protocol._drain_waiters
            protocol._drain_waiters = other
        if hasattr(writer, "_complete_fut"):
            assert writer._complete_fut.result() is None
            assert writer._complete_fut is writer._complete_fut
        writer.close()
        assert await asyncio.wait_for(writer.wait_closed(), LIMIT) is None
        assert closed.done() and protocol._closed is closed

    with_pair(loop, body, side)


@both_sides
def test_wait_closed_before_and_after_the_end(loop, side):
    async def body(pair):
        early = [asyncio.ensure_future(pair.writer.wait_closed()) for _ in range(2)]
        await asyncio.sleep(0)
        pair.writer.close()
        await asyncio.gather(*early)
        await pair.writer.wait_closed()
        assert pair.writer._protocol._closed.result() is None

    with_pair(loop, body, side)


def test_what_somebody_holds_stays_the_same(loop):
    async def main():
        near, far = socket.socketpair()
        near.setblocking(False)
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        closed = protocol._closed
        waiters = getattr(protocol, "_drain_waiters", None)
        transport, _ = await loop.create_connection(lambda: protocol, sock=near)
        assert protocol._closed is closed
        assert getattr(protocol, "_drain_waiters", None) is waiters
        transport.abort()
        await closed
        far.close()

    run(loop, main())


def test_late_attributes_survive_another_class(loop):
    class Protocol(asyncio.StreamReaderProtocol):
        pass

    class Writer(asyncio.StreamWriter):
        pass

    async def body(pair):
        protocol, writer = pair.writer._protocol, pair.writer
        protocol.__class__ = Protocol
        writer.__class__ = Writer
        assert type(protocol) is Protocol and type(writer) is Writer
        assert not protocol._closed.done()
        assert not getattr(protocol, "_drain_waiters", None)
        await pair.send(b"line\n")
        assert await pair.reader.readline() == b"line\n"
        writer.write(b"answer")
        await writer.drain()
        assert pair.far.recv(10) == b"answer"
        writer.close()
        await writer.wait_closed()

    with_pair(loop, body, accepted)


def test_an_idle_connection_holds_one_future(impl, loop):
    fast_only(impl, "stock makes them at once")
    if PY < (3, 11) or sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("dicts that can lose an attribute and stay small: 3.11, with a GIL")

    def count():
        gc.collect()
        kinds = (cloop.Future, collections.deque)
        return [sum(type(x) is kind for x in gc.get_objects()) for kind in kinds]

    async def body(pair):
        before = count()
        async with contextlib.AsyncExitStack() as stack:
            reads = []
            for _ in range(10):
                other = await stack.enter_async_context(accepted(loop))
                reads.append(loop.create_task(other.reader.read(1)))
            await asyncio.sleep(0)
            futures, deques = count()
            assert futures - before[0] <= 2 * 10  # one is the fixture's own
            assert deques - before[1] < 10
            for read in reads:
                read.cancel()

    with_pair(loop, body)


# -- what the methods return -----------------------------------------------------------


CALLS = {
    "read": lambda reader: reader.read(),
    "readline": lambda reader: reader.readline(),
    "readuntil": lambda reader: reader.readuntil(b";"),
    "readexactly": lambda reader: reader.readexactly(4),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_coroutine_by_all_accounts(loop, name):
    async def body(pair):
        coro = CALLS[name](pair.reader)
        assert asyncio.iscoroutine(coro)
        assert inspect.isawaitable(coro)
        assert isinstance(coro, collections.abc.Coroutine)
        assert coro.__name__ == name
        assert coro.__qualname__ == "StreamReader." + name
        assert repr(coro).startswith("<coroutine object StreamReader." + name)
        assert coro.cr_running is False and coro.cr_await is None
        assert coro.cr_origin is None
        with pytest.raises(TypeError, match="just-started"):
            coro.send(1)
        coro.close()
        coro.close()
        with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
            coro.send(None)
        with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
            await coro

    with_pair(loop, body)


WAYS = {
    "await": lambda coro: coro,
    "create_task": lambda coro: asyncio.get_running_loop().create_task(coro),
    "ensure_future": asyncio.ensure_future,
    "wait_for": lambda coro: asyncio.wait_for(coro, LIMIT),
    "gather": lambda coro: first_of(asyncio.gather(coro)),
    "shield": asyncio.shield,
    "wait": lambda coro: waited_for(coro),
    "as_completed": lambda coro: next(iter(asyncio.as_completed([coro]))),
    "threadsafe": lambda coro: asyncio.wrap_future(
        asyncio.run_coroutine_threadsafe(coro, asyncio.get_running_loop())
    ),
    "yield from": lambda coro: old_style(coro),
}


async def first_of(awaitable):
    return (await awaitable)[0]


async def waited_for(coro):
    done, _ = await asyncio.wait({asyncio.ensure_future(coro)})
    return done.pop().result()


@types.coroutine
def old_style(coro):
    return (yield from coro)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waits"])
def test_every_way_to_wait_for_one(loop, way, waits):
    async def body(pair):
        if not waits:
            await pair.send(b"one\n")
        waiting = WAYS[way](pair.reader.readline())
        if waits:
            waiting = asyncio.ensure_future(waiting)
            await pair.settle()
            assert pair.reader._waiter is not None
            await pair.send(b"one\n")
        assert await waiting == b"one\n"
        assert pair.reader._waiter is None

    with_pair(loop, body)


def test_the_loop_runs_one_until_complete(loop):
    async def begin():
        near, far = socket.socketpair()
        near.setblocking(False)
        return (*await asyncio.open_connection(sock=near), far)

    reader, writer, far = loop.run_until_complete(begin())
    far.send(b"all")
    far.close()
    assert loop.run_until_complete(reader.read()) == b"all"
    writer.close()
    loop.run_until_complete(asyncio.sleep(0))


def test_nothing_is_done_before_it_is_awaited(loop):
    async def body(pair):
        wrong = pair.reader.readexactly(-1)
        second = pair.reader.readline()
        first = pair.reader.readline()
        await pair.send(b"1\n2\n")
        assert await first == b"1\n"
        assert await second == b"2\n"
        with pytest.raises(ValueError, match="can not be less than zero"):
            await wrong

    with_pair(loop, body)


@both_sides
def test_a_warning_when_it_is_never_awaited(loop, side):
    async def body(pair):
        names = ["StreamReader.readline", "StreamReader.read"]
        makers = [pair.reader.readline, pair.reader.read]
        if side is accepted:
            names.append("StreamWriter.drain")
            makers.append(pair.writer.drain)
        gc.collect()  # what other tests have left warns elsewhere
        for name, make in zip(names, makers):
            for _ in range(2):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    make()
                    gc.collect()
                assert [str(w.message) for w in caught] == [
                    f"coroutine '{name}' was never awaited"
                ]
                assert caught[0].category is RuntimeWarning

    with_pair(loop, body, side)


@pytest.mark.parametrize(
    "call",
    [
        lambda reader: reader.read(1, 2),
        lambda reader: reader.read(m=1),
        lambda reader: reader.readline(1),
        lambda reader: reader.readexactly(),
        lambda reader: reader.readexactly(1, n=1),
        lambda reader: reader.readuntil(b"a", b"b"),
    ],
)
def test_wrong_arguments_are_refused_at_once(loop, call):
    async def body(pair):
        with pytest.raises(TypeError) as ours:
            call(pair.reader)
        with pytest.raises(TypeError) as stocks:
            call(asyncio.StreamReader(loop=loop))
        assert str(ours.value) == str(stocks.value)

    with_pair(loop, body)


@pytest.mark.parametrize(
    "call",
    [
        lambda reader: reader.read(n=2),
        lambda reader: reader.read(None),
        lambda reader: reader.read("x"),
        lambda reader: reader.read(2.0),
        lambda reader: reader.read(True),
        lambda reader: reader.read(2**70),
        lambda reader: reader.readexactly(n=3),
        lambda reader: reader.readexactly(0),
        lambda reader: reader.readexactly(True),
        lambda reader: reader.readexactly(-1),
        lambda reader: reader.readexactly("x"),
        lambda reader: reader.readexactly(None),
        lambda reader: reader.readuntil(separator=b";"),
        lambda reader: reader.readuntil(b""),
        lambda reader: reader.readuntil(";"),
        lambda reader: reader.readuntil(None),
        lambda reader: reader.readuntil(bytearray(b";")),
        lambda reader: reader.readuntil(memoryview(b"c;")),
        lambda reader: reader.readuntil(()),
        lambda reader: reader.readuntil((b";", b"bc")),
    ],
)
def test_unusual_arguments_do_what_they_do_on_stock(loop, call):
    async def body(pair):
        stocks = asyncio.StreamReader(loop=loop)
        stocks.feed_data(b"abc;def")
        await pair.send(b"abc;def")
        wanted = await result_of(call(stocks))
        assert await result_of(call(pair.reader)) == wanted
        assert pair.reader._buffer == stocks._buffer

    with_pair(loop, body)


def test_task_names_and_stacks_of_a_read_on_its_own(loop):
    async def body(pair):
        task = asyncio.ensure_future(pair.reader.readline())
        await pair.settle()
        assert "StreamReader.readline" in repr(task)
        assert isinstance(task.get_stack(), list)
        task.print_stack(file=mock.Mock())
        assert task.get_coro().cr_await is not None
        await pair.send(b"x\n")
        assert await task == b"x\n"

    with_pair(loop, body)


def test_driven_by_hand(loop):
    async def body(pair):
        coro = pair.reader.readline()
        future = coro.send(None)
        assert future is pair.reader._waiter
        assert future._asyncio_future_blocking is True
        with pytest.raises(RuntimeError, match="being awaited already"):
            await coro
        with pytest.raises(KeyError):
            coro.throw(KeyError("mine"))
        assert pair.reader._waiter is None
        coro = pair.reader.readline()
        coro.send(None)
        coro.close()
        assert pair.reader._waiter is None
        coro = pair.reader.readline()
        coro.send(None)
        with pytest.raises(RuntimeError, match="await wasn't used with future"):
            coro.send(None)
        assert pair.reader._waiter is None
        coro = pair.reader.readline()
        coro.send(None)
        del coro
        gc.collect()
        assert pair.reader._waiter is None
        await pair.send(b"x\n")
        with pytest.raises(StopIteration) as stop:
            pair.reader.readline().send(None)
        assert stop.value.value == b"x\n"

    with_pair(loop, body)


# -- reading ---------------------------------------------------------------------------


@both_sides
def test_lines_one_by_one(loop, side):
    async def body(pair):
        await pair.send(b"one\n\nthree")
        pair.far.shutdown(socket.SHUT_WR)
        assert [line async for line in pair.reader] == [b"one\n", b"\n", b"three"]
        assert [line async for line in pair.reader] == []
        assert pair.reader.at_eof()
        assert await pair.reader.readline() == b""
        assert await pair.reader.read() == b""
        assert await pair.reader.read(5) == b""
        with pytest.raises(asyncio.IncompleteReadError) as error:
            await pair.reader.readexactly(1)
        assert (error.value.partial, error.value.expected) == (b"", 1)
        with pytest.raises(asyncio.IncompleteReadError) as error:
            await pair.reader.readuntil()
        assert (error.value.partial, error.value.expected) == (b"", None)

    with_pair(loop, body, side)


def test_all_of_a_large_stream(loop):
    data = random.Random(5).getrandbits(8 * 1_000_000).to_bytes(1_000_000, "big")

    async def body(pair):
        pair.far.setblocking(False)

        async def send():
            await loop.sock_sendall(pair.far, data)
            pair.far.shutdown(socket.SHUT_WR)

        sending = asyncio.ensure_future(send())
        assert await pair.reader.readexactly(300_000) == data[:300_000]
        assert await pair.reader.read(10) == data[300_000:300_010]
        assert await pair.reader.read() == data[300_010:]
        await sending

    with_pair(loop, body, limit=1000)


def test_reading_pauses_at_twice_the_limit_and_goes_on(loop):
    async def body(pair):
        reader, transport = pair.reader, pair.writer.transport
        await pair.send(b"x" * 20)
        assert not reader._paused and transport.is_reading()
        await pair.send(b"y")
        assert reader._paused and not transport.is_reading()
        assert "paused" in repr(reader)
        await pair.send(b"z" * 30)
        assert len(reader._buffer) == 21
        assert await reader.readexactly(10) == b"x" * 10
        assert reader._paused
        assert await reader.read(1) == b"x"
        assert not reader._paused and transport.is_reading()
        await pair.settle()
        assert reader._paused
        # more than is there: it must read on or wait for ever
        assert await reader.readexactly(40) == b"x" * 9 + b"y" + b"z" * 30

    with_pair(loop, body, limit=10)


def test_lines_beyond_the_limit(loop):
    async def body(pair):
        reader = pair.reader
        await pair.send(b"0123456789abc\nrest\n")
        with pytest.raises(asyncio.LimitOverrunError) as error:
            await reader.readuntil()
        assert error.value.consumed == 13
        assert reader._buffer == b"0123456789abc\nrest\n"
        with pytest.raises(ValueError, match="chunk is longer than limit"):
            await reader.readline()
        assert await reader.readline() == b"rest\n"
        await pair.send(b"0123456789abcdef")
        with pytest.raises(asyncio.LimitOverrunError) as error:
            await reader.readuntil(b"xyz")
        assert error.value.consumed == 14
        with pytest.raises(ValueError, match="Separator is not found"):
            await reader.readline()
        assert reader._buffer == b""
        waiting = asyncio.ensure_future(result_of(reader.readuntil(b"--")))
        for piece in (b"0123456789", b"-", b"0"):
            await pair.send(piece)
        assert (await waiting)[:2] == ("limit", 11)

    with_pair(loop, body, limit=10)


def test_separators_in_pieces(loop):
    async def body(pair):
        waiting = asyncio.ensure_future(pair.reader.readuntil(b"SEP"))
        for piece in (b"aSE", b"SE", b"P", b"SEPb"):
            await pair.send(piece)
        assert await waiting == b"aSESEP"
        assert await pair.reader.readuntil(b"SEP") == b"SEP"
        assert pair.reader._buffer == b"b"

    with_pair(loop, body)


@pytest.mark.parametrize("first", CALLS)
@pytest.mark.parametrize("second", CALLS)
def test_two_at_once_are_refused(loop, first, second):
    async def body(pair):
        waiting = asyncio.ensure_future(CALLS[first](pair.reader))
        await asyncio.sleep(0)
        name = {"readline": "readuntil"}.get(second, second)
        with pytest.raises(RuntimeError) as error:
            await CALLS[second](pair.reader)
        assert str(error.value) == (
            name + "() called while another coroutine is already waiting for "
            "incoming data"
        )
        await pair.send(b"abcd;\n")
        pair.far.shutdown(socket.SHUT_WR)
        assert (await waiting)[:4] == b"abcd"

    with_pair(loop, body)


@pytest.mark.parametrize("name", CALLS)
def test_cancelled_while_it_waits(loop, name):
    async def body(pair):
        waiting = asyncio.ensure_future(CALLS[name](pair.reader))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert pair.reader._waiter is None
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(CALLS[name](pair.reader), 0.001)
        assert pair.reader._waiter is None
        await pair.send(b"abcd;\n")
        pair.far.shutdown(socket.SHUT_WR)
        assert (await CALLS[name](pair.reader))[:4] == b"abcd"

    with_pair(loop, body)


def test_cancelled_just_as_data_came_loses_none(loop):
    async def body(pair):
        waiting = asyncio.ensure_future(pair.reader.readline())
        await asyncio.sleep(0)
        pair.reader.feed_data(b"kept\n")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await pair.reader.readline() == b"kept\n"

    with_pair(loop, body)


# -- the attributes, and feeding by hand -----------------------------------------------


def test_fed_by_hand(loop):
    async def body(pair):
        reader = pair.reader
        waiting = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        reader.feed_data(b"by ")
        reader.feed_data(b"")
        await pair.send(b"both\n")
        assert await waiting == b"by both\n"
        with pytest.raises(AssertionError):
            reader.set_transport(pair.writer.transport)
        waiting = asyncio.ensure_future(reader.read())
        await asyncio.sleep(0)
        reader.feed_data(b"end")
        reader.feed_eof()
        assert await waiting == b"end"
        with pytest.raises(AssertionError):
            reader.feed_data(b"too late")

    with_pair(loop, body)


def test_data_after_feed_eof_ends_the_connection(loop):
    async def body(pair):
        reports = Reports(loop)
        pair.reader.feed_eof()
        await pair.send(b"late")
        assert reports.messages == [
            "Fatal error: protocol.data_received() call failed."
        ]
        assert isinstance(reports.exceptions[0], AssertionError)
        assert pair.writer.is_closing()
        return str(reports.exceptions[0])

    assert with_pair(loop, body) == "feed_data after feed_eof"


@pytest.mark.parametrize("name", CALLS)
def test_an_exception_that_was_set(loop, name):
    async def body(pair):
        waiting = asyncio.ensure_future(CALLS[name](pair.reader))
        await asyncio.sleep(0)
        pair.reader.set_exception(KeyError("mine"))
        with pytest.raises(KeyError):
            await waiting
        assert pair.reader._waiter is None
        with pytest.raises(KeyError):
            await CALLS[name](pair.reader)
        with pytest.raises(KeyError):
            await pair.writer.drain()
        pair.reader._exception = None
        await pair.send(b"abcd;\n")
        pair.reader.feed_eof()
        assert (await CALLS[name](pair.reader))[:4] == b"abcd"

    with_pair(loop, body)


@pytest.mark.parametrize(
    "buffer", [bytearray, type("Mine", (bytearray,), {})], ids=["plain", "subclass"]
)
def test_another_buffer(loop, buffer):
    async def body(pair):
        pair.reader._buffer = mine = buffer(b"mine ")
        await pair.send(b"theirs\nmore\n")
        assert await pair.reader.readline() == b"mine theirs\n"
        assert await pair.reader.readexactly(2) == b"mo"
        assert await pair.reader.read(10) == b"re\n"
        assert pair.reader._buffer is mine and mine == b""

    with_pair(loop, body)


def test_an_emptied_buffer_holds_no_memory(loop):
    async def body(pair):
        buffer = pair.reader._buffer
        for size in (1, 100, 1000, 20000, 300, 60000, 2):
            for _ in range(3):
                await pair.send(b"x" * size)
                assert await pair.reader.readexactly(size) == b"x" * size
                assert buffer == b"" and buffer.__alloc__() <= 1
                buffer += b"abc"
                assert await pair.reader.read(100) == b"abc"
        await pair.send(b"y" * 50000)
        assert await pair.reader.readexactly(49990) == b"y" * 49990
        assert buffer == b"y" * 10 and buffer.__alloc__() < 50000 / 2

    with_pair(loop, body, limit=2**17)


def test_many_buffers_filled_and_emptied_at_once(loop):
    async def main():
        async with contextlib.AsyncExitStack() as stack:
            pairs = [await stack.enter_async_context(client(loop)) for _ in range(150)]
            for size in (100, 9000, 30):
                for i, pair in enumerate(pairs):
                    pair.far.send(b"%d\n" % i * size)
                for pair in pairs:
                    await pair.settle()
                for i, pair in enumerate(pairs):
                    assert await pair.reader.readline() == b"%d\n" % i
                for i, pair in enumerate(pairs):
                    rest = b"%d\n" % i * (size - 1)
                    assert await pair.reader.readexactly(len(rest)) == rest
                    assert pair.reader._buffer == b""

    run(loop, main())


def test_attributes_in_another_order(impl):
    """What __init__ makes first stands elsewhere when others were there before."""
    done = run_program(
        impl,
        """
        import asyncio, socket
        for cls, names in (
            (asyncio.StreamReader, "_paused _transport _buffer _eof"),
            (asyncio.StreamReaderProtocol, "_stream_reader_wr _paused"),
        ):
            instance = object.__new__(cls)
            for name in names.split():
                setattr(instance, name, name)

        async def main():
            loop = asyncio.get_running_loop()
            near, far = socket.socketpair()
            near.setblocking(False)
            made = loop.create_future()
            reader = asyncio.StreamReader(loop=loop)
            protocol = asyncio.StreamReaderProtocol(
                reader, lambda *pair: made.set_result(pair), loop=loop
            )
            await loop.connect_accepted_socket(lambda: protocol, near)
            reader, writer = await made
            far.send(b"one\\ntwo")
            assert await reader.readline() == b"one\\n"
            assert await reader.readexactly(3) == b"two"
            writer.write(b"answer")
            await writer.drain()
            assert far.recv(10) == b"answer"
            far.close()
            assert await reader.read() == b""
            writer.close()

        loop = new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        print("ok")
        """,
    )
    assert done.stdout == "ok\n"


def test_a_buffer_that_is_exported_cannot_grow_or_shrink(loop):
    async def body(pair):
        reports = Reports(loop)
        await pair.send(b"one\ntwo\n")
        with memoryview(pair.reader._buffer):
            with pytest.raises(BufferError):
                await pair.reader.readline()
            with pytest.raises(BufferError):
                await pair.reader.readexactly(8)
            await pair.send(b"three\n")
        assert [type(e) for e in reports.exceptions] == [BufferError]
        assert pair.reader._buffer == b"one\ntwo\n"

    with_pair(loop, body)


@pytest.mark.parametrize("limit", [3, 2.5, 10**30])
def test_another_limit(loop, limit):
    async def body(pair):
        pair.reader._limit = limit
        await pair.send(b"abcdefgh\n")
        assert pair.reader._paused is (limit < 5)
        first = await result_of(pair.reader.readline())
        assert first[0] == ("ValueError" if limit < 5 else "returned")
        assert not pair.reader._paused

    with_pair(loop, body)


@pytest.mark.parametrize("name", ["read", "readline", "readuntil", "readexactly"])
def test_a_patched_class_is_heard(loop, name):
    async def patched(self, *args):
        return name, args

    async def body(pair):
        await pair.send(b"abc\ndef\n")
        with mock.patch.object(asyncio.StreamReader, name, patched):
            assert await getattr(pair.reader, name)(5) == (name, (5,))
            assert await getattr(pair.reader, name)() == (name, ())
        with mock.patch.object(pair.reader, name, lambda *args: patched(None, *args)):
            assert await getattr(pair.reader, name)(5) == (name, (5,))
        assert await pair.reader.readexactly(4) == b"abc\n"
        assert await pair.reader.readline() == b"def\n"

    with_pair(loop, body)


def test_patched_inner_methods_are_heard(loop):
    async def body(pair):
        reader = pair.reader
        fed = []
        original = asyncio.StreamReader.feed_data

        def feed_data(self, data):
            fed.append(data)
            original(self, data)

        with mock.patch.object(asyncio.StreamReader, "feed_data", feed_data):
            await pair.send(b"one\n")
        reader.feed_data = lambda data: feed_data(reader, data)
        await pair.send(b"two\n")
        del reader.feed_data
        await pair.send(b"three\n")
        assert fed == [b"one\n", b"two\n"]

        async def readuntil(separator):
            return b"mine"

        reader.readuntil = readuntil
        assert await reader.readline() == b"mine"
        del reader.readuntil
        reader.mine = "an attribute"
        assert await reader.readline() == b"one\n"
        protocol = pair.writer.transport.get_protocol()
        protocol.data_received = fed.append
        await pair.send(b"four\n")
        del protocol.data_received
        await pair.send(b"five\n")
        assert fed[2:] == [b"four\n"]
        assert await reader.readexactly(15) == b"two\nthree\nfive\n"
        with mock.patch.object(
            asyncio.StreamReaderProtocol, "data_received", lambda self, d: fed.append(d)
        ):
            await pair.send(b"six\n")
        assert fed[3:] == [b"six\n"]

    with_pair(loop, body)


@pytest.mark.parametrize("name", ["write", "drain"])
def test_a_patched_writer_is_heard(loop, name):
    async def body(pair):
        with mock.patch.object(asyncio.StreamWriter, name, lambda *args: args):
            assert getattr(pair.writer, name)(1) == (pair.writer, 1)
        setattr(pair.writer, name, lambda: "mine")
        assert getattr(pair.writer, name)() == "mine"
        delattr(pair.writer, name)
        pair.writer.write(b"x")
        await pair.writer.drain()
        assert pair.far.recv(5) == b"x"

    with_pair(loop, body, accepted)


def test_subclasses_take_the_ordinary_way(loop):
    class Reader(asyncio.StreamReader):
        def feed_data(self, data):
            super().feed_data(data.upper())

    class Protocol(asyncio.StreamReaderProtocol):
        def data_received(self, data):
            super().data_received(data + b"!")

    async def body(reader_class, protocol_class):
        near, far = socket.socketpair()
        near.setblocking(False)
        reader = reader_class(loop=loop)
        protocol = protocol_class(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, sock=near)
        assert protocol_class is not asyncio.StreamReaderProtocol or (
            type(reader) is reader_class
        )
        far.send(b"abc")
        far.close()
        data = await reader.read()
        transport.close()
        return data

    plain_reader, plain = asyncio.StreamReader, asyncio.StreamReaderProtocol
    assert run(loop, body(Reader, plain)) == b"ABC"
    assert run(loop, body(plain_reader, Protocol)) == b"abc!"
    assert run(loop, body(Reader, Protocol)) == b"ABC!"


def test_another_protocol_and_back(loop):
    async def body(pair):
        transport = pair.writer.transport
        protocol = transport.get_protocol()
        heard = []

        class Other(asyncio.Protocol):
            def data_received(self, data):
                heard.append(data)

        await pair.send(b"one")
        transport.set_protocol(Other())
        await pair.send(b"two")
        transport.set_protocol(protocol)
        await pair.send(b"three")
        assert heard == [b"two"]
        assert await pair.reader.readexactly(8) == b"onethree"

    with_pair(loop, body)


def test_a_reader_that_is_gone_hears_nothing(loop):
    async def main():
        near, far = socket.socketpair()
        near.setblocking(False)
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, sock=near)
        reports = Reports(loop)
        del reader
        gc.collect()
        assert protocol._stream_reader is None
        far.send(b"abc")
        await asyncio.sleep(0.01)
        far.close()
        await asyncio.sleep(0.01)
        transport.abort()
        await asyncio.sleep(0)
        assert reports == []

    run(loop, main())


# -- writing ---------------------------------------------------------------------------


@both_sides
def test_drain_waits_until_the_peer_takes_more(loop, side):
    async def body(pair):
        writer, transport = pair.writer, pair.writer.transport
        transport.set_write_buffer_limits(high=1000)
        pair.far.setblocking(False)
        await writer.drain()
        size = 0
        while not transport.get_write_buffer_size() > 1000:
            writer.write(b"x" * 10_000)
            size += 10_000
        waiting = asyncio.ensure_future(writer.drain())
        await pair.settle()
        assert not waiting.done()
        got = 0
        while got < size:
            got += len(await loop.sock_recv(pair.far, 1_000_000))
        assert await waiting is None
        assert await writer.drain() is None

    with_pair(loop, body, side)


@both_sides
def test_drain_after_the_end(loop, side):
    async def body(pair):
        writer = pair.writer
        writer.close()
        with pytest.raises(ConnectionResetError):
            await writer.drain()
            await writer.drain()
        writer.write(b"lost")
        assert writer.is_closing()
        await writer.wait_closed()

    with_pair(loop, body, side)


@both_sides
@pytest.mark.parametrize("bad", ["text", None, 5])
def test_bad_data_to_write(loop, side, bad):
    async def body(pair):
        with pytest.raises(TypeError):
            pair.writer.write(bad)
        with pytest.raises(TypeError):
            pair.writer.write()
        assert pair.writer.write(data=bytearray(b"by name")) is None
        assert pair.far.recv(100) == b"by name"

    with_pair(loop, body, side)


@both_sides
def test_a_lost_connection_is_heard_by_reader_and_writer(loop, side):
    async def main():
        server = socket.create_server(("127.0.0.1", 0))
        if side is client:
            reader, writer = await asyncio.open_connection(*server.getsockname())
            far, _ = server.accept()
        else:
            far = socket.create_connection(server.getsockname())
            near, _ = server.accept()
            near.setblocking(False)
            made = loop.create_future()
            reader = asyncio.StreamReader(loop=loop)
            protocol = asyncio.StreamReaderProtocol(
                reader, lambda *pair: made.set_result(pair), loop=loop
            )
            await loop.connect_accepted_socket(lambda: protocol, near)
            reader, writer = await made
        waiting = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        with pytest.raises(ConnectionResetError):
            await waiting
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        with pytest.raises(ConnectionResetError):
            await writer.drain()
        writer.close()
        server.close()

    run(loop, main())


# -- servers ---------------------------------------------------------------------------


async def serve_one(loop, connected):
    """Serves connected(reader, writer) to one client; what the client has read."""
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write_eof()
    data = await reader.read()
    writer.close()
    server.close()
    await asyncio.sleep(0.01)
    return data


@pytest.mark.parametrize("asynchronous", [False, True], ids=["function", "coroutine"])
def test_client_connected_cb_that_raises(loop, asynchronous):
    def connected(reader, writer):
        writers.append(writer)
        raise KeyError("mine")

    async def connected_async(reader, writer):
        try:
            connected(reader, writer)
        finally:
            loop.call_later(0.01, writer.close)

    async def main():
        reports = Reports(loop)
        serving = serve_one(loop, connected_async if asynchronous else connected)
        serving = asyncio.ensure_future(serving)
        while not reports:
            await asyncio.sleep(0.005)
            gc.collect()
        assert isinstance(reports.exceptions[0], KeyError)
        writers[0].close()
        assert await serving == b""
        return reports[0]

    writers = []
    report = run(loop, main())
    message = report["message"]
    made = inspect.getsource(asyncio.StreamReaderProtocol.connection_made)
    # Since some 3.11.x that of a coroutine, since some 3.14.x that of a function too.
    if made.count("Unhandled exception") > (not asynchronous):
        assert message == "Unhandled exception in client_connected_cb"
    elif asynchronous:
        assert message == "Task exception was never retrieved"
    else:
        assert message.startswith(
            "Exception in callback StreamReaderProtocol.connection_made("
        )
    # the report holds the writer
    writers.clear()


def test_client_connected_cb_of_every_kind(loop):
    class Connected:
        async def method(self, reader, writer):
            writer.write(await reader.read(1) or b"method")
            writer.close()

        def __call__(self, reader, writer):
            writer.write(b"call")
            writer.close()

    async def main():
        assert await serve_one(loop, Connected()) == b"call"
        assert await serve_one(loop, Connected().method) == b"method"

    run(loop, main())


# -- TLS -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contexts():
    return Contexts()


def test_streams_over_tls(impl, loop, contexts):
    async def main():
        kinds = []

        async def connected(reader, writer):
            kinds.extend([type(reader), type(writer)])
            assert isinstance(writer, asyncio.StreamWriter)
            async for line in reader:
                writer.write(line)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(
            connected, "127.0.0.1", 0, ssl=contexts.server(), limit=100_000
        )
        name = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(
            *name, ssl=contexts.client(), server_hostname="localhost", limit=300_000
        )
        for size in (1, 100, 16_385, 90_000):
            writer.write(b"x" * size + b"\n")
            await writer.drain()
            assert await reader.readexactly(size) == b"x" * size
            assert await reader.readline() == b"\n"
        writer.close()
        server.close()
        await asyncio.sleep(0.01)
        return kinds + [type(reader)]

    kinds = run(loop, main())
    plain = {asyncio.StreamReader, asyncio.StreamWriter}
    assert set(kinds).isdisjoint(plain) if is_fast(impl) else set(kinds) == plain


@pytest.mark.skipif(PY < (3, 11), reason="StreamWriter.start_tls is 3.11's")
def test_start_tls_in_the_middle(impl, loop, contexts):
    async def main():
        async def connected(reader, writer):
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"OK\n")
            await writer.start_tls(contexts.server())
            async for line in reader:
                writer.write(line)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"OK\n"
        await writer.start_tls(contexts.client(), server_hostname="localhost")
        for _ in range(3):
            writer.write(b"secret\n")
            await writer.drain()
            assert await reader.readline() == b"secret\n"
        writer.close()
        server.close()
        await asyncio.sleep(0.01)

    run(loop, main())


# -- debug mode ------------------------------------------------------------------------


@both_sides
def test_in_debug_mode(new_loop, side):
    loop = new_loop(debug=True)
    loop.slow_callback_duration = 1000

    async def body(pair):
        coro = pair.reader.readline()
        assert inspect.iscoroutine(coro)
        assert coro.cr_origin is not None
        coro.close()
        assert pair.reader._source_traceback
        waiting = asyncio.ensure_future(pair.reader.readline())
        await pair.send(b"a line\nand more")
        assert await waiting == b"a line\n"
        pair.writer.write(b"x")
        await pair.writer.drain()
        assert pair.far.recv(5) == b"x"
        pair.far.close()
        assert await pair.reader.read() == b"and more"

    with_pair(loop, body, side)


def test_debug_mode_switched_on_in_the_middle(loop):
    async def body(pair):
        early = pair.reader.readline()
        loop.set_debug(True)
        late = pair.reader.readline()
        await pair.send(b"one\ntwo\n")
        assert [await early, await late] == [b"one\n", b"two\n"]
        loop.set_debug(False)

    with_pair(loop, body)


# -- life ------------------------------------------------------------------------------


@both_sides
def test_all_dies_without_the_collector(impl, loop, side):
    async def main():
        near, far = socket.socketpair()
        near.setblocking(False)
        made = []
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(
            reader,
            None if side is client else lambda *pair: made.append(pair),
            loop=loop,
        )
        if side is client:
            transport, _ = await loop.create_connection(lambda: protocol, sock=near)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        else:
            await loop.connect_accepted_socket(lambda: protocol, near)
            reader, writer = made.pop()
        waiting = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        far.send(b"one\nrest")
        assert await waiting == b"one\n"
        far.close()
        assert await reader.read() == b"rest"
        writer.close()
        await writer.wait_closed()
        return [weakref.ref(x) for x in (reader, writer, protocol)]

    with without_gc():
        refs = loop.run_until_complete(main())
        loop.run_until_complete(asyncio.sleep(0))
        assert [ref() for ref in refs] == [None, None, None]


def test_reads_leave_no_references_behind(impl, loop):
    async def body(pair):
        reader, separator = pair.reader, bytes(bytearray(b";"))

        async def use():
            await pair.send(b"one\n1234tw;o;")
            await reader.readline()
            await reader.readexactly(4)
            await reader.readuntil(separator)
            await reader.read(100)
            waiting = asyncio.ensure_future(reader.readuntil(separator))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            del waiting
            await result_of(reader.readuntil(b""))
            await pair.writer.drain()

        await use()
        gc.collect()
        objects = (reader, separator, pair.writer, reader._buffer)
        before = [sys.getrefcount(x) for x in objects]
        for _ in range(20):
            await use()
        gc.collect()
        assert [sys.getrefcount(x) for x in objects] == before

    with_pair(loop, body, accepted)


SIZES = [600, 1024, 1024, 1024, 1000, 1024, 1024, 511, 511, 5000, 5000, 5000, 1024]


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("keep", [lambda data: data, memoryview], ids=["it", "view"])
def test_what_was_read_and_kept_stays_as_it_came(loop, keep, every):
    """Whatever memory the next result is made in."""

    async def body(pair):
        kept = []
        for i, size in enumerate(SIZES):
            await pair.send(bytes([48 + i]) * size)
            data = await pair.reader.readexactly(size)
            if i % every == 0:
                kept.append(keep(data))
            del data
        return kept

    sent = [bytes([48 + i]) * size for i, size in enumerate(SIZES)]
    assert with_pair(loop, body) == sent[::every]


@pytest.mark.parametrize("waits", [False, True])
def test_what_was_read_and_dropped_leaves_no_trace(loop, waits):
    """Length, hash and the byte behind the last are of this result, not of the one
    before: int() looks for the end by the latter."""

    async def body(pair):
        for i, size in enumerate(SIZES):
            copy = bytes([49 + i % 9]) * size
            if waits:
                loop.call_later(0.001, pair.far.send, copy)
            else:
                await pair.send(copy)
            data = await pair.reader.readexactly(size)
            assert data == copy
            assert hash(data) == hash(copy)
            assert int(data[:600]) == int(copy[:600].decode())
            assert {copy: True}[data]
            if size <= 1024:
                assert int(data) == int(copy.decode())
            del data

    with_pair(loop, body)


def test_a_result_held_by_its_stop_iteration_stays(loop):
    async def body(pair):
        stops, other = [], None
        for i, size in enumerate(SIZES):
            await pair.send(bytes([48 + i]) * (2 * size))
            stepped = pair.reader.readexactly(size)
            with pytest.raises(StopIteration) as caught:
                stepped.send(None)
            stops.append(caught.value)
            other = await pair.reader.readexactly(size)
            assert other == bytes([48 + i]) * size
        assert [stop.value[:1] * len(stop.value) for stop in stops] == sent
        assert [stop.args for stop in stops] == [(data,) for data in sent]

    sent = [bytes([48 + i]) * size for i, size in enumerate(SIZES)]
    with_pair(loop, body)


def test_a_cycle_through_a_waiting_read_is_collected(impl, new_loop):
    loop = new_loop()

    async def main():
        near, far = socket.socketpair()
        near.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=near)
        coro = reader.readline()
        coro.send(None)
        reader.mine = coro
        ref = weakref.ref(reader)
        writer.transport.abort()
        far.close()
        await asyncio.sleep(0)
        return ref

    ref = loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0))
    gc.collect()
    assert ref() is None


# -- at random -------------------------------------------------------------------------


class Program:
    """A random program of one connection; what it saw is the same on every loop."""

    def __init__(self, seed, side):
        self.random = random.Random(seed)
        self.side = side
        self.trace = []
        self.tasks = []

    def text(self):
        size = self.random.choice([1, 2, 3, 7, 20, 60])
        return bytes(self.random.choice(b"ab\n;") for _ in range(size))

    def read(self, reader):
        name = self.random.choice(
            ["read", "readline", "readuntil", "readexactly", "read all", "next"]
        )
        size = self.random.choice([-2, 0, 1, 3, 9, 30])
        if name == "next":
            return name, reader.__anext__()
        if name == "readline":
            return name, reader.readline()
        if name == "readuntil":
            separator = self.random.choice([b"\n", b";", b"a;", b"ab;b", b""])
            return f"{name} {separator}", reader.readuntil(separator)
        if name == "read all":
            return name, reader.read()
        return f"{name} {size}", getattr(reader, name)(size)

    async def step(self, pair):
        reader = pair.reader
        kind = self.random.choice(
            ["send"] * 6 + ["read"] * 5 + ["start"] * 3 + ["cancel", "feed", "limit"]
        )
        if kind == "send":
            await pair.send(self.text())
        elif kind == "read":
            name, coro = self.read(reader)
            waiting = asyncio.ensure_future(result_of(coro))
            await pair.settle()
            if not waiting.done():
                waiting.cancel()
            self.trace.append((name, await waiting))
        elif kind == "start":
            name, coro = self.read(reader)
            self.tasks.append((name, asyncio.ensure_future(result_of(coro))))
            await asyncio.sleep(0)
        elif kind == "cancel" and self.tasks:
            self.random.choice(self.tasks)[1].cancel()
        elif kind == "feed" and not reader._eof:
            reader.feed_data(self.text())
        elif kind == "limit":
            reader._limit = self.random.choice([1, 5, 40])
        await pair.settle()
        for name, task in self.tasks[:]:
            if task.done():
                self.tasks.remove((name, task))
                self.trace.append((name, task.result()))
        self.trace.append(
            (
                kind,
                bytes(reader._buffer),
                reader._eof,
                reader._paused,
                reader._waiter is None,
                repr(reader).split("transport=")[0].split("waiter=")[0],
            )
        )

    async def main(self, loop):
        async with self.side(loop, limit=self.random.choice([3, 10, 64])) as pair:
            for _ in range(self.random.choice([5, 15, 30])):
                await self.step(pair)
            pair.far.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.01)
            for _ in range(4):
                await self.step_at_end(pair)
            for name, task in self.tasks:
                self.trace.append((name, await task))
        return self.trace

    async def step_at_end(self, pair):
        name, coro = self.read(pair.reader)
        result = await result_of(coro)
        await asyncio.sleep(0.01)
        self.trace.append((name, result, bytes(pair.reader._buffer)))


@both_sides
@pytest.mark.parametrize("seed", range(25))
def test_random_programs_see_what_they_see_on_stock(new_loop, impl, side, seed):
    cloop_only(impl, "it is what is compared with")
    traces = []
    for make in (new_loop, asyncio.SelectorEventLoop):
        loop = make()
        traces.append(run(loop, Program(seed, side).main(loop)))
        loop.close()
    assert traces[0] == traces[1]
