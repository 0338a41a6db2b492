"""Datagrams: create_datagram_endpoint.

As in connect.py, stock's own coroutine runs here; the transport it ends in is ours.
"""

from asyncio.base_events import BaseEventLoop

from . import _cloop

__all__ = ("DatagramMixin",)


class DatagramMixin:
    """The part of cloop.Loop that makes datagram transports."""

    __slots__ = ()

    create_datagram_endpoint = BaseEventLoop.create_datagram_endpoint

    def _make_datagram_transport(
        self, sock, protocol, address=None, waiter=None, extra=None
    ):
        return _cloop.DatagramTransport(self, sock, protocol, address, waiter, extra)
