"""What tests of connections share: protocols that remember, and connected pairs."""

import asyncio
import contextlib
import socket
import sys
import weakref

TIMEOUT = 20


def run(loop, main):
    """The result of a coroutine, or a failure when it hangs."""
    return loop.run_until_complete(asyncio.wait_for(main, TIMEOUT))


async def turns(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition, step=0.001):
    """Waits until condition() is true."""
    while not condition():
        await asyncio.sleep(step)


class Recorder(asyncio.Protocol):
    """Notes every call; `lost` and `eof` are futures' events to wait for."""

    keep_open = False

    def __init__(self):
        self.calls = []
        self.data = b""
        self.transport = None
        self.lost = asyncio.get_event_loop_policy().get_event_loop().create_future()
        self.lost_with = "not yet"
        self.paused = 0
        self.resumed = 0

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data
        self.calls.append("data")

    def eof_received(self):
        self.calls.append("eof")
        return self.keep_open

    def pause_writing(self):
        self.paused += 1
        self.calls.append("pause")

    def resume_writing(self):
        self.resumed += 1
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.calls.append("lost")
        assert self.lost_with == "not yet", "connection_lost came twice"
        self.lost_with = exc
        if not self.lost.done():
            self.lost.set_result(exc)


class BufferedRecorder(asyncio.BufferedProtocol):
    size = 1000

    def __init__(self):
        self.calls = []
        self.data = b""
        self.buffer = bytearray(self.size)
        self.lost = asyncio.get_event_loop_policy().get_event_loop().create_future()
        self.lost_with = "not yet"

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def get_buffer(self, sizehint):
        assert sizehint == -1
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data += bytes(self.buffer[:nbytes])
        self.calls.append("data")

    def eof_received(self):
        self.calls.append("eof")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost_with = exc
        if not self.lost.done():
            self.lost.set_result(exc)


def tcp_pair():
    """Two connected TCP sockets."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    return near, far


def pair(kind="tcp"):
    return tcp_pair() if kind == "tcp" else socket.socketpair()


@contextlib.contextmanager
def connected(loop, protocol=Recorder, kind="tcp"):
    """A transport of `loop` with its protocol, and the socket of the other side."""
    near, far = pair(kind)
    far.settimeout(TIMEOUT)
    transport = None
    try:
        transport, made = run(loop, loop.create_connection(protocol, sock=near))
        yield transport, made, far
    finally:
        far.close()
        if transport is None:
            near.close()
        elif not loop.is_closed():
            if not transport.is_closing():
                transport.abort()
            run(loop, turns(5))


def read_all(sock):
    """Everything until the end of file, by blocking reads."""
    parts = []
    while True:
        part = sock.recv(1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)


async def read_some(loop, sock, count):
    """Exactly count bytes, read without blocking the loop."""
    sock.setblocking(False)
    data = bytearray()
    while len(data) < count:
        part = await loop.sock_recv(sock, 1 << 16)
        assert part, f"end of file after {len(data)} of {count} bytes"
        data += part
    return data


async def read_to_eof(loop, sock):
    sock.setblocking(False)
    parts = []
    while True:
        part = await loop.sock_recv(sock, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)


def reset(sock):
    """Closes with a reset instead of an end of file."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


_sockets = weakref.WeakKeyDictionary()  # asking for one sends what is held back


def count_segments(transport):
    """How many segments with data the kernel has sent (tcpi_data_segs_out)."""
    sock = _sockets.get(transport)
    if sock is None:
        sock = _sockets[transport] = transport.get_extra_info("socket")
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return int.from_bytes(info[156:160], sys.byteorder)
