"""Pipes: connect_read_pipe and connect_write_pipe.

As in connect.py, stock's own coroutines run here; the transports they end in are ours.
"""

from asyncio.base_events import BaseEventLoop

from . import _cloop

__all__ = ("PipeMixin",)


class PipeMixin:
    """The part of cloop.Loop that makes pipe transports."""

    __slots__ = ()

    connect_read_pipe = BaseEventLoop.connect_read_pipe
    connect_write_pipe = BaseEventLoop.connect_write_pipe

    def _make_read_pipe_transport(self, pipe, protocol, waiter=None, extra=None):
        return _cloop.ReadPipeTransport(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(self, pipe, protocol, waiter=None, extra=None):
        return _cloop.WritePipeTransport(self, pipe, protocol, waiter, extra)
