"""Pipes: connect_read_pipe and connect_write_pipe.

Stock's coroutines and transports run here, over our descriptor watching: a pipe is
rarely a program's bottleneck, and theirs are right in every corner (ptys, FIFOs,
sockets, the reader that leaves).
"""

from asyncio import unix_events
from asyncio.base_events import BaseEventLoop

__all__ = ("PipeMixin",)


class PipeMixin:
    """The part of cloop.Loop that makes pipe transports."""

    __slots__ = ()

    connect_read_pipe = BaseEventLoop.connect_read_pipe
    connect_write_pipe = BaseEventLoop.connect_write_pipe

    def _make_read_pipe_transport(self, pipe, protocol, waiter=None, extra=None):
        return unix_events._UnixReadPipeTransport(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(self, pipe, protocol, waiter=None, extra=None):
        return unix_events._UnixWritePipeTransport(self, pipe, protocol, waiter, extra)

    # What these transports call.

    def _add_reader(self, fd, callback, *args):
        self.add_reader(fd, callback, *args)

    def _remove_reader(self, fd):
        return False if self.is_closed() else self.remove_reader(fd)

    def _add_writer(self, fd, callback, *args):
        self.add_writer(fd, callback, *args)

    def _remove_writer(self, fd):
        return False if self.is_closed() else self.remove_writer(fd)
