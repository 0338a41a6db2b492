"""Connecting: create_connection, create_unix_connection, connect_accepted_socket.

Stock's own coroutines run here, as functions taken from the classes of the Python that
runs: they check arguments, resolve names, race addresses and word errors exactly as
that version does, and they work on any loop that has sock_connect, getaddrinfo and the
methods below. What is ours is the transport that they end in.
"""

from asyncio import unix_events
from asyncio.base_events import BaseEventLoop

from . import _cloop

_UnixEventLoop = unix_events._UnixSelectorEventLoop


class ConnectMixin:
    __slots__ = ()

    create_connection = BaseEventLoop.create_connection
    connect_accepted_socket = BaseEventLoop.connect_accepted_socket
    create_unix_connection = _UnixEventLoop.create_unix_connection

    _connect_sock = BaseEventLoop._connect_sock
    _create_connection_transport = BaseEventLoop._create_connection_transport
    _ensure_resolved = BaseEventLoop._ensure_resolved

    def _make_socket_transport(
        self, sock, protocol, waiter=None, *, extra=None, server=None, context=None
    ):
        return _cloop.StreamTransport(
            self, sock, protocol, waiter, extra, server, context
        )
