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

    def _tls_factory(self, protocol_factory, sslcontext, *timeouts):
        """A factory of TLS protocols, each above one of protocol_factory's."""
        names = ("ssl_handshake_timeout", "ssl_shutdown_timeout")
        keywords = dict(zip(names, timeouts))

        def make():
            protocol = protocol_factory()
            waiter = self.create_future()
            tls = sslproto.SSLProtocol(
                self, protocol, sslcontext, waiter, True, None, **keywords
            )
            waiter.add_done_callback(lambda waiter: self._handshake_ended(waiter, tls))
            return tls

        return make

    def _handshake_ended(self, waiter, tls):
        if waiter.cancelled() or waiter.exception() is None:
            return
        tls._app_transport.close()
        if self.get_debug():
            self.call_exception_handler(
                {
                    "message": "Error on transport creation for incoming connection",
                    "exception": waiter.exception(),
                    "protocol": tls._app_protocol,
                    "transport": tls._app_transport,
                }
            )

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
