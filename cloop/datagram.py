"""Datagrams: create_datagram_endpoint.

Stock's coroutine and its transport run here, over our descriptor watching.
"""

import weakref
from asyncio import selector_events
from asyncio.base_events import BaseEventLoop
from functools import cached_property

__all__ = ("DatagramMixin",)


class DatagramMixin:
    """The part of cloop.Loop that makes datagram transports."""

    create_datagram_endpoint = BaseEventLoop.create_datagram_endpoint

    @cached_property
    def _transports(self):
        return weakref.WeakValueDictionary()

    def _make_datagram_transport(
        self, sock, protocol, address=None, waiter=None, extra=None
    ):
        return selector_events._SelectorDatagramTransport(
            self, sock, protocol, address, waiter, extra
        )
