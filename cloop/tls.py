"""TLS: start_tls, and the transports of create_connection(ssl=...) and the like.

asyncio's own TLS protocol, in Python over ssl.MemoryBIO, stands on our streams.
"""

from asyncio import sslproto
from asyncio.base_events import BaseEventLoop

from . import _cloop

__all__ = ("TLSMixin",)


class TLSMixin:
    """The part of cloop.Loop that makes TLS transports."""

    __slots__ = ()

    start_tls = BaseEventLoop.start_tls

    def _make_ssl_transport(
        self,
        rawsock,
        protocol,
        sslcontext,
        waiter=None,
        *,
        server_side=False,
        server_hostname=None,
        extra=None,
        server=None,
        **timeouts,
    ):
        ssl_protocol = sslproto.SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            **timeouts,
        )
        _cloop.StreamTransport(self, rawsock, ssl_protocol, None, extra, server)
        return ssl_protocol._app_transport
