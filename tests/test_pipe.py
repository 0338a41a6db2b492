"""Pipe transports: connect_read_pipe and connect_write_pipe."""

import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import re
import socket
import time
import tty
import warnings

import pytest
from support import PY, cloop_only, outcome, stock_fault, turn, without_gc


class Recorder(asyncio.Protocol):
    """Notes each call; `lost` is done with connection_lost's argument."""

    def __init__(self, loop):
        self.calls = []
        self.data = bytearray()
        self.transport = None
        self.lost = loop.create_future()
        self.paused = loop.create_future()
        self.resumed = loop.create_future()

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport

    def data_received(self, data):
        assert type(data) is bytes
        if self.calls[-1] != "data":
            self.calls.append("data")
        self.data += data

    def eof_received(self):
        self.calls.append("eof")

    def connection_lost(self, exc):
        self.calls.append(("lost", exc))
        self.lost.set_result(exc)

    def pause_writing(self):
        self.calls.append("pause")
        if not self.paused.done():
            self.paused.set_result(None)

    def resume_writing(self):
        self.calls.append("resume")
        if not self.resumed.done():
            self.resumed.set_result(None)


def open_pipe():
    read_fd, write_fd = os.pipe()
    return open(read_fd, "rb", 0), open(write_fd, "wb", 0)


def open_sockets():
    return socket.socketpair()


def open_tty():
    master, slave = os.openpty()
    tty.setraw(slave)
    return open(slave, "rb", 0), open(master, "wb", 0)


KINDS = {"pipe": open_pipe, "socket": open_sockets, "tty": open_tty}


@pytest.fixture
def connect(loop):
    """Makes a reader or writer; what a test leaves open is closed after it."""
    made = []

    def connect(way, pipe, protocol=None):
        protocol = protocol or Recorder(loop)
        method = {"read": loop.connect_read_pipe, "write": loop.connect_write_pipe}
        transport, found = loop.run_until_complete(method[way](lambda: protocol, pipe))
        assert found is protocol
        made.append(transport)
        return transport, protocol

    yield connect
    if not loop.is_closed():
        for transport in made:
            if transport._pipe is not None:
                transport.abort() if hasattr(transport, "abort") else transport.close()
        turn(loop, 3)


def run(loop, awaitable, timeout=20):
    return loop.run_until_complete(asyncio.wait_for(awaitable, timeout))


def until(loop, condition, seconds=20):
    async def wait():
        end = loop.time() + seconds
        while not condition():
            assert loop.time() < end, "condition not met"
            await asyncio.sleep(0.001)

    loop.run_until_complete(wait())


# -- bytes -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_arrives_in_order(loop, connect, kind):
    read_end, write_end = KINDS[kind]()
    _reader, readings = connect("read", read_end)
    writer, _ = connect("write", write_end)
    sent = bytearray()
    for n in range(400):
        piece = os.urandom(n * 7 % 1500)
        sent += piece
        writer.write(piece)
    until(loop, lambda: len(readings.data) == len(sent))
    assert readings.data == sent


@pytest.mark.parametrize("size", [1, 4096, 65536, 65537, 3 * 1024 * 1024])
def test_close_sends_what_is_queued_first(loop, connect, size):
    read_end, write_end = open_pipe()
    _reader, readings = connect("read", read_end)
    writer, writings = connect("write", write_end)
    data = os.urandom(size)
    writer.write(data)
    writer.close()
    assert run(loop, readings.lost) is None
    assert readings.data == data
    assert run(loop, writings.lost) is None
    assert readings.calls == ["made", "data", "eof", ("lost", None)]
    assert read_end.closed and write_end.closed


def test_a_fifo(loop, connect, tmp_path):
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    read_end = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)
    write_end = open(path, "wb", 0)
    _reader, readings = connect("read", read_end)
    writer, _ = connect("write", write_end)
    writer.write(b"through a fifo")
    writer.close()
    run(loop, readings.lost)
    assert readings.data == b"through a fifo"


def test_one_descriptor_for_both_directions(loop, connect):
    """A terminal's, as pty programs use it."""
    master, slave = os.openpty()
    tty.setraw(slave)
    file = open(master, "r+b", 0)
    reader, readings = connect("read", file)
    writer, writings = connect("write", file)
    data = b"x" * 50000
    got = bytearray()
    writer.write(data)
    assert writer.get_write_buffer_size() > 0
    os.write(slave, b"answer")
    loop.add_reader(slave, lambda: got.extend(os.read(slave, 65536)))
    try:
        until(loop, lambda: len(got) == len(data) and len(readings.data) == 6)
    finally:
        loop.remove_reader(slave)
        os.close(slave)
    assert readings.data == b"answer" and got == data
    writer.close()
    run(loop, writings.lost)
    if reader._pipe is not None:
        reader.close()
    run(loop, readings.lost)
    assert file.closed


def test_a_socket_both_ways(loop, connect):
    a, b = socket.socketpair()
    reader, readings = connect("read", a)
    b.send(b"data")
    until(loop, lambda: readings.data == b"data")
    assert reader.get_extra_info("pipe") is a
    assert reader.get_extra_info("socket") is None
    b.close()
    assert run(loop, readings.lost) is None


def test_write_to_the_null_device(loop, connect):
    writer, writings = connect("write", open(os.devnull, "wb", 0))
    writer.write(b"x" * 1000000)
    assert writer.get_write_buffer_size() == 0
    writer.close()
    assert run(loop, writings.lost) is None


def test_a_device_that_cannot_be_polled_is_reported(loop, connect, reports):
    reader, readings = connect("read", open(os.devnull, "rb", 0))
    turn(loop, 2)
    [context] = reports
    assert context["message"].startswith("Exception in callback")
    assert type(context["exception"]) is PermissionError
    assert not reader.is_closing()
    reader.close()
    assert run(loop, readings.lost) is None


@pytest.mark.parametrize("view", [bytearray, memoryview, lambda data: data])
def test_kinds_of_data(loop, connect, view):
    read_end, write_end = open_pipe()
    _reader, readings = connect("read", read_end)
    writer, _ = connect("write", write_end)
    writer.write(view(b"abc"))
    writer.write(view(b""))
    writer.writelines([b"d", view(b"e")])
    until(loop, lambda: len(readings.data) == 5)
    assert readings.data == b"abcde"


def test_queued_data_goes_out_as_it_was(loop, connect):
    read_end, write_end = open_pipe()
    writer, _ = connect("write", write_end)
    data = bytearray(b"a" * 200000)
    writer.write(data)
    queued = writer.get_write_buffer_size()
    assert queued > 0
    later = bytearray(b"b" * 1000)
    writer.write(later)
    assert writer.get_write_buffer_size() == queued + 1000
    data[:] = b"z" * len(data)
    later.clear()
    _reader, readings = connect("read", read_end)
    until(loop, lambda: len(readings.data) == 201000)
    assert readings.data == b"a" * 200000 + b"b" * 1000


@pytest.mark.parametrize("data", ["text", 5, None, [1]])
def test_other_data_is_refused(loop, connect, data):
    read_end, write_end = open_pipe()
    with read_end:
        writer, _ = connect("write", write_end)
        assert outcome(writer.write, data) == (
            "raised",
            "AssertionError",
            repr(data),
        )
        assert not writer.is_closing()


def test_a_strided_memoryview_ends_the_pipe(loop, connect, reports):
    read_end, write_end = open_pipe()
    with read_end:
        writer, writings = connect("write", write_end)
        writer.write(memoryview(b"abcdef")[::2])
        error = run(loop, writings.lost)
        assert type(error) is BufferError
        assert reports[0]["message"] == "Fatal write error on pipe transport"


# -- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize("way", ["read", "write"])
def test_regular_files_are_refused(loop, connect, tmp_path, way):
    wanted = {
        "read": "Pipe transport is for pipes/sockets only.",
        "write": "Pipe transport is only for pipes, sockets and character devices",
    }
    with warnings.catch_warnings(), open(tmp_path / "file", "w+b", 0) as file:
        warnings.simplefilter("error")
        with pytest.raises(ValueError) as caught:
            connect(way, file)
        assert str(caught.value) == wanted[way]
        gc.collect()
        assert not file.closed
    turn(loop)


class NotAFile:
    def fileno(self):
        raise RuntimeError("no number")


class Closed:
    def fileno(self):
        return 1 << 20


# stock's own __del__ fails then
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("way", ["read", "write"])
@pytest.mark.parametrize("make", [NotAFile, Closed, object, int])
def test_what_is_no_file(loop, connect, way, make):
    wanted = {
        NotAFile: RuntimeError,
        Closed: OSError,
        object: AttributeError,
        int: AttributeError,
    }
    with pytest.raises(wanted[make]) as caught:
        connect(way, make())
    turn(loop)
    del caught
    gc.collect()


def test_the_descriptor_is_made_non_blocking(loop, connect):
    read_end, write_end = open_pipe()
    assert os.get_blocking(read_end.fileno()) and os.get_blocking(write_end.fileno())
    connect("read", read_end)
    connect("write", write_end)
    assert not os.get_blocking(read_end.fileno())
    assert not os.get_blocking(write_end.fileno())


def test_a_factory_that_raises_leaves_the_pipe_alone(loop):
    def factory():
        raise ZeroDivisionError

    read_end, write_end = open_pipe()
    with read_end, write_end:
        for method, end in (
            (loop.connect_read_pipe, read_end),
            (loop.connect_write_pipe, write_end),
        ):
            with pytest.raises(ZeroDivisionError):
                loop.run_until_complete(method(factory, end))
            assert not end.closed


@pytest.mark.parametrize("way", ["read", "write"])
def test_a_cancelled_connect_closes_the_pipe(loop, way):
    async def main():
        read_end, write_end = open_pipe()
        method = {"read": loop.connect_read_pipe, "write": loop.connect_write_pipe}
        mine = {"read": read_end, "write": write_end}[way]
        with read_end, write_end:
            task = asyncio.ensure_future(method[way](lambda: Recorder(loop), mine))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert mine.closed

    loop.run_until_complete(main())


# -- the face --------------------------------------------------------------------------


def test_types(loop, connect):
    read_end, write_end = open_pipe()
    reader, _ = connect("read", read_end)
    writer, _ = connect("write", write_end)
    assert isinstance(reader, asyncio.ReadTransport)
    assert not isinstance(reader, asyncio.WriteTransport)
    assert isinstance(writer, asyncio.Transport)
    assert not hasattr(reader, "write") and not hasattr(reader, "abort")
    with pytest.raises(NotImplementedError):
        writer.pause_reading()
    assert reader.max_size == 256 * 1024


def test_attributes(loop, connect):
    read_end, write_end = open_pipe()
    reader, readings = connect("read", read_end)
    writer, writings = connect("write", write_end)
    for transport, end, protocol in (
        (reader, read_end, readings),
        (writer, write_end, writings),
    ):
        assert transport._pipe is end
        assert transport._fileno == end.fileno()
        assert transport._loop is loop
        assert transport._protocol is protocol
        assert transport._closing is False
        assert transport.get_extra_info("pipe") is end
        assert transport._extra["pipe"] is end
        assert transport.get_extra_info("nothing", 5) == 5
        assert transport.get_protocol() is protocol
        transport.close()
        assert transport._closing is True
    run(loop, asyncio.gather(readings.lost, writings.lost))
    turn(loop)
    for transport in reader, writer:
        assert transport._pipe is None
        assert transport._loop is None
        assert transport._protocol is None
        assert transport.get_extra_info("pipe").closed
        assert transport.is_closing()


def normal(transport):
    """repr() (or a text) without what differs: the class's name and the number."""
    text = transport if isinstance(transport, str) else repr(transport)
    text = re.sub(r"^<\w+", "<T", text)
    return re.sub(r"fd=\d+", "fd=N", text)


def test_repr(loop, connect):
    read_end, write_end = open_pipe()
    reader, readings = connect("read", read_end)
    writer, writings = connect("write", write_end)
    turn(loop)
    assert normal(reader) == "<T fd=N polling>"
    assert normal(writer) == "<T fd=N idle bufsize=0>"
    reader.pause_reading()
    assert normal(reader) == "<T fd=N idle>"
    writer.write(b"x" * 1000000)
    size = writer.get_write_buffer_size()
    assert size > 0
    assert normal(writer) == "<T fd=N polling bufsize=%d>" % size
    writer.close()
    assert normal(writer) == "<T closing fd=N polling bufsize=%d>" % size
    reader.resume_reading()
    run(loop, asyncio.gather(readings.lost, writings.lost))
    turn(loop)
    assert normal(reader) == "<T closed fd=N closed>"
    assert normal(writer) == "<T closed fd=N closed>"


def test_weakrefs_and_attributes_of_the_users(loop, connect):
    import weakref

    read_end, write_end = open_pipe()
    with write_end:
        reader, _readings = connect("read", read_end)
        reader.mine = 5
        assert weakref.ref(reader)() is reader and reader.mine == 5


# -- flow control ----------------------------------------------------------------------


def test_flow_control(loop, connect):
    read_end, write_end = open_pipe()
    writer, writings = connect("write", write_end)
    assert writer.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
    writer.set_write_buffer_limits(high=1000, low=10)
    assert writer.get_write_buffer_limits() == (10, 1000)
    while not writer.get_write_buffer_size():
        writer.write(b"x" * 900)
    assert "pause" not in writings.calls
    writer.write(b"x" * 901)
    assert writings.calls == ["made", "pause"]
    writer.write(b"x")
    assert writings.calls == ["made", "pause"]
    _reader, _ = connect("read", read_end)
    run(loop, writings.resumed)
    assert writings.calls == ["made", "pause", "resume"]
    assert writer.get_write_buffer_size() <= 10


@pytest.mark.parametrize(
    "limits", [(None, None), (100, None), (None, 25), (10, 20), (-1, None), (0, 0)]
)
def test_limits(loop, connect, limits):
    read_end, write_end = open_pipe()
    with read_end:
        writer, _ = connect("write", write_end)
        high, low = limits
        if limits in ((10, 20), (-1, None)):
            with pytest.raises(ValueError, match="must be >= 0"):
                writer.set_write_buffer_limits(high, low)
        else:
            writer.set_write_buffer_limits(high, low)
            wanted = {
                (None, None): (16384, 65536),
                (100, None): (25, 100),
                (None, 25): (25, 100),
                (0, 0): (0, 0),
            }
            assert writer.get_write_buffer_limits() == wanted[limits]


def test_write_from_resume_writing(loop, connect):
    """What is written there is sent, and close() still waits for it."""
    read_end, write_end = open_pipe()

    class More(Recorder):
        def resume_writing(self):
            super().resume_writing()
            self.transport.write(b"more")
            self.transport.close()

    writer, writings = connect("write", write_end, More(loop))
    writer.set_write_buffer_limits(0)
    writer.write(b"x" * 200000)
    _reader, readings = connect("read", read_end)
    assert run(loop, readings.lost) is None
    assert readings.data == b"x" * 200000 + b"more"
    assert run(loop, writings.lost) is None


def test_pause_and_resume_reading(loop, connect, impl):
    stock_fault(impl, PY < (3, 11), "pipes have no is_reading()")
    read_end, write_end = open_pipe()
    with write_end:
        reader, readings = connect("read", read_end)
        assert reader.is_reading()
        reader.pause_reading()
        reader.pause_reading()
        assert not reader.is_reading()
        write_end.write(b"data")
        turn(loop, 3)
        assert readings.data == b""
        reader.resume_reading()
        reader.resume_reading()
        assert reader.is_reading()
        until(loop, lambda: readings.data == b"data")


def test_pause_in_connection_made(loop, connect, impl):
    stock_fault(impl, PY < (3, 11), "reading starts all the same")

    class Pausing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    read_end, write_end = open_pipe()
    with write_end:
        write_end.write(b"data")
        reader, readings = connect("read", read_end, Pausing(loop))
        turn(loop, 3)
        assert readings.data == b""
        reader.resume_reading()
        until(loop, lambda: readings.data == b"data")


def test_pause_in_data_received_holds_the_rest_back(loop, connect):
    class Pausing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    read_end, write_end = open_pipe()
    with write_end:
        reader, readings = connect("read", read_end, Pausing(loop))
        write_end.write(b"1")
        until(loop, lambda: readings.data == b"1")
        write_end.write(b"2")
        turn(loop, 3)
        assert readings.data == b"1"
        reader.resume_reading()
        until(loop, lambda: readings.data == b"12")


def test_set_protocol(loop, connect):
    read_end, write_end = open_pipe()
    reader, first = connect("read", read_end)
    writer, writings = connect("write", write_end)
    second = Recorder(loop)
    second.connection_made(reader)
    reader.set_protocol(second)
    assert reader.get_protocol() is second
    writer.write(b"data")
    writer.close()
    assert run(loop, second.lost) is None
    assert second.data == b"data" and first.calls == ["made"]
    run(loop, writings.lost)


# -- the end ---------------------------------------------------------------------------


def test_the_writer_notices_that_its_reader_left(loop, connect):
    for opener in open_pipe, open_sockets:
        read_end, write_end = opener()
        _writer, writings = connect("write", write_end)
        read_end.close()
        assert run(loop, writings.lost) is None
        assert writings.calls == ["made", ("lost", None)]


@pytest.mark.parametrize("opener", [open_pipe, open_sockets])
@pytest.mark.parametrize("closing", [False, True])
def test_the_reader_leaves_while_data_waits(loop, connect, opener, closing):
    read_end, write_end = opener()
    writer, writings = connect("write", write_end)
    writer.write(b"x" * 3000000)
    assert writer.get_write_buffer_size() > 0
    if closing:
        writer.close()
    read_end.close()
    error = run(loop, writings.lost)
    assert type(error) is BrokenPipeError
    assert error.args == ()
    assert writer.get_write_buffer_size() == 0


def test_a_write_that_fails_ends_the_pipe(loop, connect, reports):
    read_end, write_end = open_pipe()
    writer, writings = connect("write", write_end)
    read_end.close()
    writer.write(b"x")
    assert writer.is_closing() and writer._conn_lost == 1
    error = run(loop, writings.lost)
    assert type(error) is BrokenPipeError and error.errno == 32
    assert not reports


def lost_writes(loop, connect, caplog, end):
    """How many of ten writes were warned about, and what was logged."""
    read_end, write_end = open_pipe()
    writer, writings = connect("write", write_end)
    if end == "close":
        writer.close()
    else:
        read_end.close()
        writer.write(b"x")
    with caplog.at_level(logging.WARNING, "asyncio"):
        for _ in range(10):
            writer.write(b"x")
        writer.write(b"")
    run(loop, writings.lost)
    read_end.close()
    return [record.getMessage() for record in caplog.records], writer._conn_lost


@pytest.mark.parametrize("end, warned, count", [("close", 5, 10), ("error", 6, 11)])
def test_writes_after_the_end_are_dropped(loop, connect, caplog, end, warned, count):
    message = "pipe closed by peer or os.write(pipe, data) raised exception."
    logged, lost = lost_writes(loop, connect, caplog, end)
    assert logged == [message] * warned
    assert lost == count


def test_write_eof_is_close(loop, connect):
    read_end, write_end = open_pipe()
    _reader, readings = connect("read", read_end)
    writer, writings = connect("write", write_end)
    assert writer.can_write_eof()
    writer.write(b"all")
    writer.write_eof()
    writer.write_eof()
    writer.close()
    assert writer.is_closing()
    writer.write(b"nothing more")
    run(loop, readings.lost)
    assert readings.data == b"all"
    assert writings.calls == ["made", ("lost", None)]


def test_abort_drops_what_is_queued(loop, connect):
    read_end, write_end = open_pipe()
    writer, writings = connect("write", write_end)
    writer.write(b"x" * 3000000)
    writer.abort()
    assert writer.get_write_buffer_size() == 0
    assert run(loop, writings.lost) is None
    _reader, readings = connect("read", read_end)
    run(loop, readings.lost)
    assert 0 < len(readings.data) < 3000000


def test_connection_lost_comes_once(loop, connect, impl, reports):
    cloop_only(impl, "stock calls it again after each abort()")
    read_end, write_end = open_pipe()
    with read_end:
        writer, writings = connect("write", write_end)
        writer.close()
        writer.abort()
        writer.abort()
        run(loop, writings.lost)
        writer.abort()
        writer.close()
        turn(loop, 3)
        assert writings.calls == ["made", ("lost", None)]
        assert not reports


def test_close_in_connection_made(loop, connect, impl):
    stock_fault(impl, True, "a reader is left behind in the selector")

    class Closing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.close()

    read_end, write_end = open_pipe()
    _reader, readings = connect("read", read_end, Closing(loop))
    _writer, writings = connect("write", write_end, Closing(loop))
    run(loop, asyncio.gather(readings.lost, writings.lost))
    assert readings.calls == writings.calls == ["made", ("lost", None)]
    assert read_end.closed and write_end.closed


def test_eof_with_unread_data(loop, connect):
    read_end, write_end = open_pipe()
    reader, readings = connect("read", read_end)
    reader.pause_reading()
    write_end.write(b"d" * 60000)
    write_end.close()
    turn(loop, 3)
    assert readings.calls == ["made"]
    reader.resume_reading()
    assert run(loop, readings.lost) is None
    assert readings.calls == ["made", "data", "eof", ("lost", None)]
    assert len(readings.data) == 60000


def test_close_while_reading_tells_no_eof(loop, connect):
    read_end, write_end = open_pipe()
    with write_end:
        reader, readings = connect("read", read_end)
        write_end.write(b"unread")
        reader.close()
        reader.close()
        assert run(loop, readings.lost) is None
        assert readings.calls == ["made", ("lost", None)]


def test_an_exception_of_data_received_is_reported(loop, connect, reports):
    class Raising(Recorder):
        def data_received(self, data):
            super().data_received(data)
            raise ZeroDivisionError

    read_end, write_end = open_pipe()
    reader, readings = connect("read", read_end, Raising(loop))
    write_end.write(b"1")
    until(loop, lambda: readings.data == b"1")
    write_end.write(b"2")
    until(loop, lambda: readings.data == b"12")
    assert not reader.is_closing()
    write_end.close()
    assert run(loop, readings.lost) is None
    assert len(reports) == 2
    assert reports[0]["message"].startswith("Exception in callback")
    assert type(reports[0]["exception"]) is ZeroDivisionError


@pytest.mark.parametrize("method", ["connection_made", "eof_received"])
def test_an_exception_of_another_call_is_reported(loop, connect, reports, method):
    def fail(self, *args):
        raise ZeroDivisionError

    read_end, write_end = open_pipe()
    protocol = Recorder(loop)
    setattr(protocol, method, lambda *args: fail(protocol))
    protocol.calls.append("")
    _reader, readings = connect("read", read_end, protocol)
    write_end.write(b"data")
    write_end.close()
    assert run(loop, readings.lost) is None
    assert readings.data == b"data"
    assert [type(context["exception"]) for context in reports] == [ZeroDivisionError]


def test_an_exception_of_connection_lost_is_reported(loop, connect, reports):
    class Raising(Recorder):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            raise ZeroDivisionError

    for way in "read", "write":
        read_end, write_end = open_pipe()
        mine, other = (read_end, write_end) if way == "read" else (write_end, read_end)
        with other:
            transport, protocol = connect(way, mine, Raising(loop))
            transport.close()
            run(loop, protocol.lost)
            turn(loop)
            assert mine.closed
    assert len(reports) == 2


def test_a_read_error_is_reported(loop, connect, reports):
    """Of a TCP connection that is reset; with the exception for connection_lost."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
    reader, readings = connect("read", client)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    error = run(loop, readings.lost)
    assert type(error) is ConnectionResetError
    [context] = reports
    assert context["message"] == "Fatal read error on pipe transport"
    assert context["exception"] is error
    assert context["transport"] is reader and context["protocol"] is readings


def test_the_end_of_a_terminal_is_no_report(loop, connect, reports):
    master, slave = os.openpty()
    _reader, readings = connect("read", open(master, "rb", 0))
    os.write(slave, b"bye")
    os.close(slave)
    error = run(loop, readings.lost)
    assert error.errno == 5 and readings.data == b"bye"
    assert not reports


def test_keyboard_interrupt_of_a_protocol_leaves_the_loop(loop, connect):
    class Raising(Recorder):
        def data_received(self, data):
            raise KeyboardInterrupt

    read_end, write_end = open_pipe()
    with write_end:
        _reader, readings = connect("read", read_end, Raising(loop))
        write_end.write(b"data")
        with pytest.raises(KeyboardInterrupt):
            run(loop, readings.lost)
        loop.run_until_complete(asyncio.sleep(0))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("way", ["read", "write"])
def test_an_unclosed_transport_warns_and_closes(loop, way):
    """Once nothing refers to it: a paused reader, a writer to a device."""
    if way == "read":
        end, other = open_pipe()
    else:
        end, other = open(os.devnull, "wb", 0), open(os.devnull, "rb")
    with other:

        async def main():
            method = {"read": loop.connect_read_pipe, "write": loop.connect_write_pipe}
            transport, _ = await method[way](asyncio.Protocol, end)
            await asyncio.sleep(0)
            if way == "read":
                transport.pause_reading()

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop.run_until_complete(main())
            gc.collect()
        assert [w.category for w in caught] == [ResourceWarning]
        assert str(caught[0].message).startswith("unclosed transport <")
        assert end.closed


def test_dies_without_gc(loop, impl):
    import weakref

    async def main():
        read_end, write_end = open_pipe()
        readings, writings = Recorder(loop), Recorder(loop)
        reader, _ = await loop.connect_read_pipe(lambda: readings, read_end)
        writer, _ = await loop.connect_write_pipe(lambda: writings, write_end)
        writer.write(b"data")
        writer.close()
        await readings.lost
        refs = [weakref.ref(x) for x in (reader, writer, readings, writings)]
        readings.transport = writings.transport = None
        await asyncio.sleep(0)
        return refs

    with without_gc():
        refs = loop.run_until_complete(main())
        turn(loop, 2)
        assert [ref() for ref in refs] == [None] * 4


def test_the_loop_is_closed_first(new_loop, impl):
    loop = new_loop()
    read_end, write_end = open_pipe()
    reader, _ = loop.run_until_complete(
        loop.connect_read_pipe(lambda: Recorder(loop), read_end)
    )
    writer, _ = loop.run_until_complete(
        loop.connect_write_pipe(lambda: Recorder(loop), write_end)
    )
    writer.write(b"x" * 3000000)
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            reader.close()
        writer.close()
        assert reader.is_closing() and writer.is_closing()
        del reader, writer
        gc.collect()
    read_end.close()
    write_end.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("state", ["paused", "closing", "stuck", "half"])
def test_no_busy_loop(loop, connect, state):
    """Such a state costs next to nothing: one that spins takes all of the time."""
    read_end, write_end = open_sockets() if state == "half" else open_pipe()
    if state == "paused":  # the peer hung up, with data unread, and reading is paused
        reader, _ = connect("read", read_end)
        reader.pause_reading()
        write_end.write(b"data")
        write_end.close()
    elif state == "closing":  # the reader reads no more
        writer, _ = connect("write", write_end)
        writer.write(b"x" * 3000000)
        writer.close()
    elif state == "stuck":
        writer, _ = connect("write", write_end)
        writer.write(b"x" * 3000000)
    else:  # the peer sends no more, and still reads
        reader, readings = connect("read", read_end)
        write_end.shutdown(socket.SHUT_WR)
        run(loop, readings.lost)
    loop.run_until_complete(asyncio.sleep(0.01))
    start = time.process_time()
    loop.run_until_complete(asyncio.sleep(0.5))
    assert time.process_time() - start < 0.025
    read_end.close()
    if state == "half":
        write_end.close()
    loop.run_until_complete(asyncio.sleep(0.01))


# -- contexts, debug mode --------------------------------------------------------------

VAR = contextvars.ContextVar("VAR", default="none")


def test_contexts(loop, connect):
    seen = []

    class Seeing(Recorder):
        def note(self, name):
            if (name, VAR.get()) not in seen:
                seen.append((name, VAR.get()))

        def connection_made(self, transport):
            super().connection_made(transport)
            self.note("made")

        def data_received(self, data):
            super().data_received(data)
            self.note("data")

        def eof_received(self):
            self.note("eof")

        def resume_writing(self):
            self.note("resume")

        def connection_lost(self, exc):
            super().connection_lost(exc)
            self.note("lost")

    read_end, write_end = open_pipe()

    async def main():
        VAR.set("reader")
        readings, writings = Seeing(loop), Seeing(loop)
        reader, _ = await loop.connect_read_pipe(lambda: readings, read_end)
        reader.pause_reading()
        VAR.set("writer")
        writer, _ = await loop.connect_write_pipe(lambda: writings, write_end)
        VAR.set("writing")
        writer.write(b"x" * 300000)
        VAR.set("resuming")
        reader.resume_reading()
        VAR.set("after")
        while writer.get_write_buffer_size():
            await asyncio.sleep(0.001)
        writer.close()
        await readings.lost
        await writings.lost

    run(loop, main())
    assert sorted(seen) == sorted(
        [
            ("made", "reader"),
            ("made", "writer"),
            ("data", "resuming"),
            ("resume", "writing"),
            ("eof", "resuming"),
            ("lost", "resuming"),
            ("lost", "after"),
        ]
    )


@contextlib.contextmanager
def added_handler(handler):
    logger = logging.getLogger("asyncio")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def test_debug_mode_logs(loop, connect):
    loop.set_debug(True)
    loop.slow_callback_duration = 100
    logged = []

    class Handler(logging.Handler):
        def emit(self, record):  # now: repr() changes
            logged.append((record.levelname, normal(record.getMessage())))

    with added_handler(Handler()):
        read_end, write_end = open_pipe()
        reader, readings = connect("read", read_end)
        writer, writings = connect("write", write_end)
        reader.pause_reading()
        reader.resume_reading()
        writer.write(b"x" * 300000)
        writer.close()
        run(loop, asyncio.gather(readings.lost, writings.lost))
        other_end, write_end = open_pipe()
        writer, writings = connect("write", write_end)
        other_end.close()
        run(loop, writings.lost)
    logged = [entry for entry in logged if "connected" not in entry[1]]
    assert logged == [
        ("DEBUG", "<T fd=N idle> pauses reading"),
        ("DEBUG", "<T fd=N polling> resumes reading"),
        ("INFO", "<T fd=N polling> was closed by peer"),
        ("INFO", "<T fd=N idle bufsize=0> was closed by peer"),
    ]


def test_debug_mode_names_slow_callbacks(loop, connect, caplog):
    class Slow(Recorder):
        def data_received(self, data):
            super().data_received(data)
            time.sleep(0.05)

    loop.set_debug(True)
    loop.slow_callback_duration = 0.04
    read_end, write_end = open_pipe()
    with write_end, caplog.at_level(logging.WARNING, "asyncio"):
        _reader, readings = connect("read", read_end, Slow(loop))
        write_end.write(b"data")
        until(loop, lambda: readings.data)
        turn(loop)
    assert any(
        r.getMessage().startswith("Executing <Handle")
        and "_read_ready" in r.getMessage()
        for r in caplog.records
    )
