"""TLS: start_tls, and the transports of create_connection(ssl=...) and of TLS servers.

The engine is C (src/tls/); here is what happens once per connection: arguments are
checked as stock's SSLProtocol checks them, and the context is asked for an SSLObject.
"""

from asyncio import base_events, constants, sslproto
from functools import partial
from types import FunctionType, SimpleNamespace

from . import _cloop

ssl = sslproto.ssl

__all__ = ("TLSMixin", "tls_backend")

_TIMEOUTS = ("ssl_handshake_timeout", "ssl_shutdown_timeout")
_SHUTDOWN_TIMEOUT = getattr(constants, "SSL_SHUTDOWN_TIMEOUT", 30.0)  # 3.11 on


def tls_backend():
    """How TLS connections of this process reach OpenSSL, and why.

    A str that begins with "direct": cloop calls the OpenSSL library which Python's ssl
    module has loaded; or with "portable": it goes through the objects of that module,
    at some cost in speed. What stands behind is for humans.
    """
    if ssl is None:
        return "none: this Python has no ssl module"
    way, why = _cloop._tls_backend()
    return f"{way}: {ssl.OPENSSL_VERSION if why is None else why}"


def _check_timeout(name, value, default):
    if value is None:
        return default
    if value <= 0:
        raise ValueError(f"{name} should be a positive number, got {value}")
    return value


def make_tls(
    loop,
    protocol,
    sslcontext,
    waiter,
    server_side=False,
    server_hostname=None,
    call_connection_made=True,
    ssl_handshake_timeout=None,
    ssl_shutdown_timeout=None,
):
    """The TLS transport for protocol, which is itself the protocol of the transport
    below: its connection_made() begins the handshake."""
    if ssl is None:
        raise RuntimeError("stdlib ssl module not available")
    timeouts = (
        _check_timeout(
            "ssl_handshake_timeout",
            ssl_handshake_timeout,
            constants.SSL_HANDSHAKE_TIMEOUT,
        ),
        _check_timeout("ssl_shutdown_timeout", ssl_shutdown_timeout, _SHUTDOWN_TIMEOUT),
    )
    if not sslcontext:
        sslcontext = sslproto._create_transport_context(server_side, server_hostname)
    incoming = ssl.MemoryBIO()
    outgoing = ssl.MemoryBIO()
    sslobj = sslcontext.wrap_bio(
        incoming,
        outgoing,
        server_side=server_side,
        server_hostname=None if server_side else server_hostname or None,
    )
    return _cloop.SSLTransport(
        loop,
        protocol,
        sslcontext,
        sslobj,
        incoming,
        outgoing,
        waiter,
        call_connection_made,
        timeouts,
    )


def _report_failure(loop, protocol, transport, waiter):
    """Debug mode: stock reports a server's failed handshake."""
    if waiter.cancelled() or waiter.exception() is None:
        return
    loop.call_exception_handler(
        {
            "message": "Error on transport creation for incoming connection",
            "exception": waiter.exception(),
            "protocol": protocol,
            "transport": transport,
        }
    )


# Stock's own coroutine, of the Python that runs, with our engine in it.
_start_tls = base_events.BaseEventLoop.start_tls


class TLSMixin:
    """The part of cloop.Loop that makes TLS transports."""

    __slots__ = ()

    start_tls = FunctionType(
        _start_tls.__code__,
        {
            **vars(base_events),
            "sslproto": SimpleNamespace(SSLProtocol=make_tls),
        },
        _start_tls.__name__,
        _start_tls.__defaults__,
        _start_tls.__closure__,
    )
    start_tls.__kwdefaults__ = _start_tls.__kwdefaults__
    start_tls.__doc__ = _start_tls.__doc__
    start_tls.__qualname__ = "TLSMixin.start_tls"

    def _tls_factory(self, protocol_factory, sslcontext, *timeouts):
        """A factory of TLS transports (protocols to what is below), each below one of
        protocol_factory's protocols."""
        options = dict(zip(_TIMEOUTS, timeouts))

        def make():
            protocol = protocol_factory()
            if not self.get_debug():
                return make_tls(self, protocol, sslcontext, None, True, **options)
            waiter = self.create_future()
            tls = make_tls(self, protocol, sslcontext, waiter, True, **options)
            waiter.add_done_callback(partial(_report_failure, self, protocol, tls))
            return tls

        return make

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
        context=None,
        **timeouts,
    ):
        tls = make_tls(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            **timeouts,
        )
        _cloop.StreamTransport(self, rawsock, tls, None, extra, server, context)
        return tls
