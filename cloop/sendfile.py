"""sock_sendfile and sendfile: checks, the choice of the way, and the slow way.

The kernel's sendfile is a state machine in C (Loop._sock_sendfile_native). Where it
cannot be used it raises SendfileNotAvailableError, and the file is read block by block
in the default executor and sent by sock_sendall. A transport's sendfile is stock's
coroutine over the same; write pipes can do it too, which stock's cannot.
"""

import os
import socket
from asyncio.base_events import BaseEventLoop, _SendfileFallbackProtocol
from asyncio.exceptions import SendfileNotAvailableError
from asyncio.unix_events import _UnixSelectorEventLoop

from . import _cloop

try:
    from ssl import SSLSocket
except ImportError:  # a Python without OpenSSL has no such sockets

    class SSLSocket:
        pass


_BLOCK_SIZE = 256 * 1024  # asyncio.constants.SENDFILE_FALLBACK_READBUFFER_SIZE
# What a transport is given at a time: as little as by stock, so that a peer that leaves
# is noticed before the file's position has run away from it.
_PIECE_SIZE = 16 * 1024
# Patch releases differ (3.13.14 does, 3.13.13 does not): their own code tells.
_update_position = _UnixSelectorEventLoop._sock_sendfile_update_filepos
_ALWAYS_SEEKS = _update_position.__code__.co_argcount == 3  # no total_sent any more


def check_sendfile_params(sock, file, offset, count):
    """Raise what stock raises for arguments that no sendfile can work with. sock: None
    for a pipe.
    """
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError("file should be opened in binary mode")
    if sock is not None and sock.type != socket.SOCK_STREAM:
        raise ValueError("only SOCK_STREAM type sockets are supported")
    for name, value, least, wording in (
        ("count", count, 1, "positive"),
        ("offset", offset, 0, "non-negative"),
    ):
        if name == "count" and value is None:
            continue
        message = f"{name} must be a {wording} integer (got {value!r})"
        if not isinstance(value, int):
            raise TypeError(message)
        if value < least:
            raise ValueError(message)


async def read_blocks(loop, file, offset, count):
    """Yield the file's bytes from offset on, at most count of them (None: all) as
    memoryviews of one buffer. Whoever gets a block is done with it before the next.
    Reading is done in the default executor.
    """
    if hasattr(file, "seek") if _ALWAYS_SEEKS else offset:
        file.seek(offset)
    size = _BLOCK_SIZE if not count else min(count, _BLOCK_SIZE)
    block = memoryview(bytearray(size))
    left = count
    while left is None or left > 0:
        part = block if left is None else block[: min(size, left)]
        length = await loop.run_in_executor(None, file.readinto, part)
        if not length:
            return
        if left is not None:
            left -= length
        yield part[:length]


async def sock_sendfile_fallback(loop, sock, file, offset, count):
    """Send the file by reading it; return the number of bytes sent. The file's position
    ends behind them.
    """
    total = 0
    blocks = read_blocks(loop, file, offset, count)
    try:
        async for block in blocks:
            await loop.sock_sendall(sock, block)
            total += len(block)
        return total
    finally:
        await blocks.aclose()
        if total > 0 and hasattr(file, "seek"):
            file.seek(offset + total)


async def sock_sendfile(loop, sock, file, offset=0, count=None, *, fallback=True):
    """Send a file over a socket; return the number of bytes sent."""
    if loop.get_debug() and sock.gettimeout() != 0:
        raise ValueError("the socket must be non-blocking")
    if isinstance(sock, SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket")
    check_sendfile_params(sock, file, offset, count)
    try:
        return await loop._sock_sendfile_native(sock, file, offset, count)
    except SendfileNotAvailableError:
        if not fallback:
            raise
    return await loop._sock_sendfile_fallback(sock, file, offset, count)


class _SendfileProtocol(_SendfileFallbackProtocol):
    """Stock's, which hears pause_writing in the user's place; made for our transports
    too, which stock's own __init__ refuses.
    """

    def __init__(self, transport):
        self._transport = transport
        self._proto = transport.get_protocol()
        self._should_resume_writing = transport._protocol_paused
        self._should_resume_reading = False
        if not isinstance(transport, _cloop.WritePipeTransport):
            self._should_resume_reading = transport.is_reading()
            transport.pause_reading()
        transport.set_protocol(self)
        self._write_ready_fut = (
            transport._loop.create_future() if self._should_resume_writing else None
        )

    async def restore(self):
        """The user's protocol takes over, and hears of a change it has missed."""
        transport = self._transport
        transport.set_protocol(self._proto)
        if self._should_resume_reading:
            transport.resume_reading()
        if self._write_ready_fut is not None:
            self._write_ready_fut.cancel()  # nobody waits for it any more
        is_paused = transport._protocol_paused and not transport.is_closing()
        if self._should_resume_writing and not is_paused:
            self._proto.resume_writing()
        elif is_paused and not self._should_resume_writing:
            self._proto.pause_writing()


class _PipeEnd:
    """A write pipe's descriptor, duplicated, as a socket operation wants it."""

    def __init__(self, transport):
        self._fd = os.dup(transport._fileno)

    def fileno(self):
        return self._fd

    def gettimeout(self):
        return 0

    def close(self):
        os.close(self._fd)


async def _send_into_pipe(loop, transport, file, offset, count):
    """The kernel moves the file into the pipe, once all before it is written."""
    check_sendfile_params(None, file, offset, count)
    low, high = transport.get_write_buffer_limits()
    protocol = _SendfileProtocol(transport)
    transport._sending_file = True
    end = _PipeEnd(transport)
    try:
        transport.set_write_buffer_limits(0)
        await protocol.drain()
        transport._leave_poller()
        return await loop._sock_sendfile_native(end, file, offset, count)
    finally:
        end.close()
        transport._sending_file = False
        await protocol.restore()
        transport.set_write_buffer_limits(high, low)
        transport._start_reading()


class SendfileMixin:
    """The part of cloop.Loop that sends files."""

    __slots__ = ()

    sendfile = BaseEventLoop.sendfile

    async def _sendfile_fallback(self, transport, file, offset, count):
        """The file is read and written; its position ends behind what was sent."""
        total = 0
        protocol = _SendfileProtocol(transport)
        blocks = read_blocks(self, file, offset, count)
        try:
            async for block in blocks:
                for start in range(0, len(block), _PIECE_SIZE):
                    piece = block[start : start + _PIECE_SIZE]
                    await protocol.drain()
                    transport.write(piece)
                    total += len(piece)
            return total
        finally:
            await blocks.aclose()
            if total > 0 and hasattr(file, "seek"):
                file.seek(offset + total)
            await protocol.restore()

    async def _sendfile_native(self, transport, file, offset, count):
        """The kernel sends to the transport's socket, once all is written."""
        if isinstance(transport, _cloop.WritePipeTransport):
            return await _send_into_pipe(self, transport, file, offset, count)
        was_reading = transport.is_reading()
        transport.pause_reading()
        await transport._make_empty_waiter()
        transport._leave_poller()
        try:
            return await self.sock_sendfile(
                transport._sock, file, offset, count, fallback=False
            )
        finally:
            transport._reset_empty_waiter()
            if was_reading:
                transport.resume_reading()

    async def sock_sendfile(self, sock, file, offset=0, count=None, *, fallback=True):
        """Send the file (open in binary mode) from offset on, count bytes or all, over
        the stream socket sock; return the number of bytes sent. The kernel does it when
        it can; when it cannot, the file is read and sent, unless fallback is False:
        asyncio.SendfileNotAvailableError then. See the asyncio documentation, section
        "Working with socket objects directly".
        """
        return await sock_sendfile(self, sock, file, offset, count, fallback=fallback)

    async def _sock_sendfile_fallback(self, sock, file, offset, count):
        return await sock_sendfile_fallback(self, sock, file, offset, count)
