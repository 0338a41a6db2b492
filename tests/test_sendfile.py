"""loop.sendfile() on transports: TCP, Unix sockets, pipes (cloop/sendfile.py).

(loop.sock_sendfile() is tested with the other socket operations.)
"""

import asyncio
import io
import os
import socket
from asyncio import unix_events

import pytest
from support import cloop_only

pytestmark = pytest.mark.timeout(60)
DATA = bytes(range(256)) * 4096


class Sender(asyncio.Protocol):
    def __init__(self, loop):
        self.calls = []
        self.lost = loop.create_future()

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def data_received(self, data):
        self.calls.append(data)

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)


class Receiver:
    """Reads all that comes out of a descriptor, in the loop; may leave early."""

    def __init__(self, loop, end, most=None):
        self.loop, self.end, self.most = loop, end, most
        self.data = bytearray()
        self.over = loop.create_future()
        os.set_blocking(end.fileno(), False)
        loop.add_reader(end.fileno(), self.read)

    def read(self):
        data = os.read(self.end.fileno(), 65536)
        self.data += data
        if not data or (self.most and len(self.data) >= self.most):
            self.leave()

    def leave(self):
        if not self.over.done():
            self.loop.remove_reader(self.end.fileno())
            self.end.close()
            self.over.set_result(None)


async def connect(loop, kind, most=None):
    """(transport, its protocol, a Receiver of what it sends)"""
    if kind == "pipe":
        read_fd, write_fd = os.pipe()
        transport, protocol = await loop.connect_write_pipe(
            lambda: Sender(loop), open(write_fd, "wb", 0)
        )
        return transport, protocol, Receiver(loop, open(read_fd, "rb", 0), most)
    if kind == "unix":
        a, b = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            a = socket.create_connection(server.getsockname())
            b, _ = server.accept()
    for each in a, b:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        each.setblocking(False)
    transport, protocol = await loop.create_connection(lambda: Sender(loop), sock=a)
    return transport, protocol, Receiver(loop, b, most)


@pytest.fixture(params=["tcp", "unix", "pipe"])
def kind(request, impl):
    if request.param == "pipe":
        cloop_only(impl, "stock's pipes cannot")
    return request.param


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with open(path, "rb") as file:
        yield file


def run(loop, awaitable):
    return loop.run_until_complete(asyncio.wait_for(awaitable, 30))


class Unknown(io.BytesIO):
    """What the kernel cannot send from."""


@pytest.mark.parametrize("over", ["transport", "socket"])
@pytest.mark.parametrize("native", [True, False])
def test_where_the_file_stands_when_there_is_nothing_to_send(loop, over, native, file):
    async def main():
        source = file if native else Unknown(DATA)
        source.seek(2)
        if over == "socket":
            a, b = socket.socketpair()
            a.setblocking(False)
            with a, b:
                return await loop.sock_sendfile(a, source, len(DATA)), source.tell()
        transport, _, receiver = await connect(loop, "tcp")
        sent = await loop.sendfile(transport, source, len(DATA))
        transport.close()
        await receiver.over
        return sent, source.tell()

    # Stock's own code tells which patch releases it moves in.
    update = unix_events._UnixSelectorEventLoop._sock_sendfile_update_filepos
    moved = not native or update.__code__.co_argcount == 3
    assert run(loop, main()) == (0, len(DATA) if moved else 2)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    "offset, count",
    [(0, None), (5, None), (0, 1000), (7, 100000), (0, len(DATA)), (10, 1 << 30)],
)
def test_every_byte_is_sent(loop, impl, kind, file, native, offset, count):
    async def main():
        transport, protocol, receiver = await connect(loop, kind)
        source = file if native else Unknown(DATA)
        wanted = DATA[offset:] if count is None else DATA[offset : offset + count]
        sent = await loop.sendfile(transport, source, offset, count)
        assert sent == len(wanted)
        assert source.tell() == offset + sent
        transport.close()
        await receiver.over
        assert receiver.data == wanted
        assert await protocol.lost is None
        if impl.is_cloop:  # stock's tells nobody that it left the transport paused
            assert protocol.calls.count("pause") == protocol.calls.count("resume")

    run(loop, main())


@pytest.mark.parametrize("native", [True, False])
def test_between_writes(loop, impl, kind, file, native):
    """What was queued goes first, what is written later last."""

    async def main():
        transport, protocol, receiver = await connect(loop, kind)
        before, after = b"b" * 300000, b"a" * 300000
        transport.write(before)
        limits = transport.get_write_buffer_limits()
        await loop.sendfile(transport, file if native else Unknown(DATA))
        assert transport.get_protocol() is protocol
        assert transport.get_write_buffer_limits() == limits
        transport.write(after)
        transport.close()
        await receiver.over
        assert receiver.data == before + DATA + after
        await protocol.lost
        if impl.is_cloop:  # stock's tells nobody that it left the transport paused
            assert protocol.calls.count("pause") == protocol.calls.count("resume")

    run(loop, main())


def test_nobody_writes_meanwhile(loop, kind, file):
    async def main():
        transport, protocol, receiver = await connect(loop, kind)
        task = asyncio.ensure_future(loop.sendfile(transport, file))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="unable to write; sendfile"):
            transport.write(b"data")
        assert await task == len(DATA)
        transport.close()
        await receiver.over
        await protocol.lost
        assert receiver.data == DATA

    run(loop, main())


@pytest.mark.parametrize("native", [True, False])
def test_the_peer_leaves_in_the_middle(loop, kind, file, native):
    async def main():
        transport, protocol, _receiver = await connect(loop, kind, most=20000)
        source = file if native else Unknown(DATA)
        with pytest.raises(ConnectionError):
            await loop.sendfile(transport, source)
        assert 20000 <= source.tell() < len(DATA)
        transport.abort()
        await protocol.lost

    run(loop, main())


@pytest.mark.parametrize("native", [True, False])
def test_cancelled(loop, kind, file, native):
    """What was sent was sent; the transport goes on."""

    async def main():
        transport, protocol, receiver = await connect(loop, kind)
        loop.remove_reader(receiver.end.fileno())
        task = asyncio.ensure_future(
            loop.sendfile(transport, file if native else Unknown(DATA))
        )
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert transport.get_protocol() is protocol
        loop.add_reader(receiver.end.fileno(), receiver.read)
        transport.write(b"the end")
        transport.close()
        await receiver.over
        await protocol.lost
        assert receiver.data.endswith(b"the end")
        assert DATA.startswith(receiver.data[: -len(b"the end")])

    run(loop, main())


@pytest.mark.parametrize("noticed", ["by the poll", "by the write"])
def test_the_reader_left_before(loop, impl, file, noticed):
    """The first sendfile fails, so that the file is read and written. Whether the poll
    or that write notices first depends on how long the reading takes."""
    cloop_only(impl, "stock's pipes cannot")

    async def main():
        transport, protocol, receiver = await connect(loop, "pipe")

        async def read(executor, function, *args):
            if noticed == "by the poll":
                await asyncio.wait([protocol.lost])
            return function(*args)

        loop.run_in_executor = read
        receiver.leave()
        with pytest.raises(ConnectionError):
            await loop.sendfile(transport, file)
        lost = await protocol.lost
        if noticed == "by the poll":
            assert lost is None
        else:
            assert isinstance(lost, BrokenPipeError)
        with pytest.raises(RuntimeError, match="Transport is closing"):
            await loop.sendfile(transport, file)

    run(loop, main())


def test_the_pipe_is_closed_meanwhile(loop, impl, file):
    cloop_only(impl, "stock's pipes cannot")

    async def main():
        transport, protocol, receiver = await connect(loop, "pipe")
        task = asyncio.ensure_future(loop.sendfile(transport, file))
        await asyncio.sleep(0)
        transport.close()
        assert await task == len(DATA)
        await protocol.lost
        await receiver.over
        assert receiver.data == DATA

    run(loop, main())


def test_reading_goes_on_afterwards(loop, file):
    async def main():
        transport, protocol, receiver = await connect(loop, "unix")
        receiver.end.send(b"data")
        await loop.sendfile(transport, file)
        while b"data" not in protocol.calls:
            await asyncio.sleep(0.001)
        receiver.leave()
        await protocol.lost

    run(loop, main())


def test_without_fallback(loop, kind):
    async def main():
        transport, protocol, receiver = await connect(loop, kind)
        with pytest.raises(asyncio.SendfileNotAvailableError):
            await loop.sendfile(transport, Unknown(DATA), fallback=False)
        transport.write(b"goes on")
        transport.close()
        await receiver.over
        await protocol.lost
        assert receiver.data == b"goes on"

    run(loop, main())


@pytest.mark.parametrize(
    "options, error",
    [
        ({"count": 0}, ValueError),
        ({"count": -1}, ValueError),
        ({"count": "x"}, TypeError),
        ({"offset": -1}, ValueError),
        ({"offset": 1.5}, TypeError),
    ],
)
def test_bad_arguments(loop, kind, file, options, error):
    async def main():
        transport, protocol, receiver = await connect(loop, kind)
        with pytest.raises(error, match="must be a"):
            await loop.sendfile(transport, file, **options)
        assert not transport.is_closing()
        transport.close()
        await protocol.lost
        await receiver.over

    run(loop, main())


def test_where_it_is_not_supported(loop, file):
    async def main():
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        read_fd, write_fd = os.pipe()
        os.close(write_fd)
        pipe, _ = await loop.connect_read_pipe(
            lambda: Sender(loop), open(read_fd, "rb", 0)
        )
        for each in transport, pipe:
            if each.is_closing():
                continue
            with pytest.raises(RuntimeError, match="sendfile is not supported"):
                await loop.sendfile(each, file)
            each.close()
        await asyncio.sleep(0.01)

    run(loop, main())
