"""Serving: create_server and create_unix_server.

As in connect.py, stock's own coroutines and its Server class run here; a server tells
the loop to accept on a socket by _start_serving and to stop by _stop_serving, which are
ours.
"""

import os
from asyncio import unix_events
from asyncio.base_events import BaseEventLoop
from asyncio.log import logger
from functools import cached_property

from . import _cloop

_UnixEventLoop = unix_events._UnixSelectorEventLoop


class _UnixSockets(dict):
    """Listening Unix sockets -> the file that each has made, for cleanup_socket (3.13
    on). Stock remembers the inode alone; another file system can have the same number.
    """

    def __setitem__(self, sock, inode):
        super().__setitem__(sock, _identify(sock.getsockname()))


def _identify(path):
    found = os.stat(path)
    return found.st_dev, found.st_ino


class ServeMixin:
    create_server = BaseEventLoop.create_server
    create_unix_server = _UnixEventLoop.create_unix_server

    _create_server_getaddrinfo = BaseEventLoop._create_server_getaddrinfo

    @cached_property
    def _listeners(self):
        return {}

    @cached_property
    def _unix_server_sockets(self):
        return _UnixSockets()

    def _start_serving(
        self,
        protocol_factory,
        sock,
        sslcontext=None,
        server=None,
        backlog=100,
        *timeouts,
        context=None,
    ):
        if sslcontext is not None:
            protocol_factory = self._tls_factory(
                protocol_factory, sslcontext, *timeouts
            )
        self._listeners[sock] = _cloop.Listener(
            self, sock, protocol_factory, server, backlog, context
        )

    def _stop_serving(self, sock):
        listener = self._listeners.pop(sock, None)
        if listener is not None:
            listener.stop()
        made = self._unix_server_sockets.pop(sock, None)
        path = sock.getsockname() if made is not None else None
        sock.close()
        if made is None:
            return
        try:
            if _identify(path) == made:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as exc:
            logger.error("Unable to clean up listening UNIX socket %r: %r", path, exc)
