"""More than 2 GiB at once: counts beyond an int, beyond what one system call takes.

Needs 10 GB of memory; runs with CLOOP_SLOW_TESTS=1."""

import asyncio
import mmap
import os
import threading
import zlib

import pytest
from wire import Recorder, connected, tcp_pair

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not os.environ.get("CLOOP_SLOW_TESTS"), reason="CLOOP_SLOW_TESTS is not set"
    ),
]

GIB = 1 << 30
SIZE = 3 * GIB + 12345
# Where an int, an unsigned and a system call's count end.
EDGES = (0, 0x7FFFF000, 2 * GIB, 3 * GIB, SIZE)


def fill(buffer):
    """Something else than zero around each edge."""
    for number, edge in enumerate(EDGES, 1):
        for at in range(max(edge - 5, 0), min(edge + 5, SIZE)):
            buffer[at] = number
    return buffer


@pytest.fixture(scope="module")
def data():
    """SIZE bytes, nearly all of them pages that the kernel keeps once."""
    with mmap.mmap(-1, SIZE) as mapped:
        with memoryview(fill(mapped)) as view:
            yield view


@pytest.fixture(scope="module")
def expected(data):
    return SIZE, zlib.crc32(data)


class Reader(threading.Thread):
    """Reads a socket to its end; what came is in `got`."""

    def __init__(self, sock):
        super().__init__()
        self.sock = sock
        self.got = 0, 0
        sock.settimeout(60)
        self.start()

    def run(self):
        size, crc, block = 0, 0, memoryview(bytearray(1 << 20))
        while True:
            count = self.sock.recv_into(block)
            if not count:
                break
            size += count
            crc = zlib.crc32(block[:count], crc)
            self.got = size, crc


def write(transport, data, how):
    if how == "bytes":
        transport.write(bytes(data))
    elif how == "memoryview":
        transport.write(data)
    elif how == "small before":
        transport.write(b"")
        transport.write(data[:10])
        transport.write(data[10:])
    elif how == "writelines":
        transport.writelines([data[:10], data[10 : 2 * GIB + 7], data[2 * GIB + 7 :]])


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("how", ["bytes", "memoryview", "small before", "writelines"])
def test_a_transport_sends_it(loop, data, expected, kind, how):
    class Protocol(Recorder):
        async def wait_until_sent(self):
            while self.transport.get_write_buffer_size():
                await asyncio.sleep(0.01)

    with connected(loop, Protocol, kind=kind) as (transport, protocol, far):
        reader = Reader(far)
        write(transport, data, how)
        size = transport.get_write_buffer_size()
        assert 2 * GIB < size <= SIZE or kind == "tcp"
        loop.run_until_complete(protocol.wait_until_sent())
        transport.close()
        loop.run_until_complete(protocol.lost)
        reader.join()
        assert reader.got == expected
        assert protocol.paused == protocol.resumed


def test_sock_sendall_sends_it(loop, data, expected):
    near, far = tcp_pair()
    near.setblocking(False)
    reader = Reader(far)
    with near:
        loop.run_until_complete(loop.sock_sendall(near, data))
    reader.join()
    far.close()
    assert reader.got == expected


def test_a_write_pipe_sends_it(loop, data, expected):
    async def main():
        read_end, write_end = os.pipe()
        got = []

        def read():
            size = crc = 0
            while True:
                part = os.read(read_end, 1 << 20)
                if not part:
                    break
                size += len(part)
                crc = zlib.crc32(part, crc)
            got.append((size, crc))
            os.close(read_end)

        thread = threading.Thread(target=read)
        thread.start()
        transport, protocol = await loop.connect_write_pipe(
            Recorder, os.fdopen(write_end, "wb", 0)
        )
        transport.write(data)
        transport.close()
        await protocol.lost
        thread.join()
        assert got == [expected]

    loop.run_until_complete(main())


def test_a_stream_reader_with_a_huge_limit_reads_it(impl, loop, data, expected):
    async def main():
        near, far = tcp_pair()
        sender = threading.Thread(target=lambda: (far.sendall(data), far.close()))
        sender.start()
        reader, writer = await asyncio.open_connection(sock=near, limit=SIZE)
        got = await reader.readexactly(SIZE)
        assert (len(got), zlib.crc32(got)) == expected
        del got
        assert await reader.read() == b""
        writer.close()
        sender.join()

    loop.run_until_complete(main())
