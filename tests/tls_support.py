"""For the TLS tests: certificates made for the run, peers in threads, a proxy."""

import asyncio
import contextlib
import ctypes
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

pytest.importorskip("trustme")

import trustme
from impls import Cloop, Stock
from support import PY, stock_fault

LIMIT = 30.0
TLS12 = ssl.TLSVersion.TLSv1_2
TLS13 = ssl.TLSVersion.TLSv1_3
OLD = PY < (3, 11)  # stock has another engine there

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the openssl command"
)


@pytest.fixture(params=["direct", "portable", "stock"])
def impl(request):
    if request.param == "stock":
        yield Stock()
        return
    from cloop import _cloop

    impl = Cloop()
    impl.way = request.param
    if _cloop._tls_backend(request.param)[0] != request.param:
        pytest.skip("no direct way here")
    yield impl
    _cloop._tls_backend("")


@pytest.fixture(params=[TLS12, TLS13], ids=["1.2", "1.3"])
def version(request):
    return only(request.param)


def old_stock(impl, why):
    """Skips where stock before 3.11 does less."""
    stock_fault(impl, OLD, why)


@pytest.fixture(scope="module")
def contexts():
    return Contexts()


class Contexts:
    """An authority, a certificate for "localhost", one for a client, and contexts."""

    def __init__(self):
        self.authority = trustme.CA()
        self.certificate = self.authority.issue_cert("localhost", "127.0.0.1")
        self.client_certificate = self.authority.issue_cert("client@example.org")

    def server(self, **options):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate.configure_cert(context)
        return self._set(context, options)

    def client(self, **options):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return self._set(context, options)

    def with_client_certificate(self, context):
        self.client_certificate.configure_cert(context)
        return context

    def asking_for_certificates(self, context):
        self.authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    @staticmethod
    def _set(context, options):
        for name, value in options.items():
            setattr(context, name, value)
        return context


def only(version):
    """The options of a context that speaks this version alone."""
    return {"minimum_version": version, "maximum_version": version}


class Recorder(asyncio.Protocol):
    """Writes down what it hears; `lost` is a future of connection_lost's argument."""

    def __init__(self, loop):
        self.loop = loop
        self.calls = []
        self.data = bytearray()
        self.made = loop.create_future()
        self.ended = loop.create_future()
        self.lost = loop.create_future()
        self.wanted = None

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport
        self.made.set_result(transport)

    def data_received(self, data):
        assert type(data) is bytes
        self._take(data)

    def _take(self, data):
        if self.calls[-1:] != ["data"]:
            self.calls.append("data")
        self.data += data
        if self.wanted and not self.wanted[1].done():
            if len(self.data) >= self.wanted[0]:
                self.wanted[1].set_result(None)

    def eof_received(self):
        self.calls.append("eof")
        if not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, exc):
        self.calls.append("lost")
        if not self.lost.done():
            self.lost.set_result(exc)

    async def have(self, count):
        if len(self.data) < count:
            self.wanted = (count, self.loop.create_future())
            await self.wanted[1]
        return bytes(self.data)


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):
    data_received = None

    def __init__(self, loop, size=4096):
        super().__init__(loop)
        self.buffer = bytearray(size)

    def get_buffer(self, sizehint):
        assert isinstance(sizehint, int)
        return memoryview(self.buffer)

    def buffer_updated(self, count):
        assert 0 < count <= len(self.buffer)
        self._take(self.buffer[:count])


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class Peer:
    """A blocking server (or, with port, client) in a thread: function(sock)."""

    def __init__(self, function, port=None):
        self.function = function
        self.error = None
        self.listener = None
        if port is None:
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.listener.settimeout(LIMIT)
            self.port = self.listener.getsockname()[1]
        else:
            self.port = port
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            if self.listener is None:
                sock = socket.create_connection(("127.0.0.1", self.port), LIMIT)
            else:
                sock = self.listener.accept()[0]
            sock.settimeout(LIMIT)
            with sock:
                self.function(sock)
        except BaseException as exc:
            self.error = exc

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc_info):
        self.thread.join(LIMIT)
        if self.listener is not None:
            self.listener.close()
        if exc_info[0] is None:
            assert not self.thread.is_alive(), "the peer still runs"
            if self.error is not None:
                raise self.error


def read_all(sock, count=None):
    """What comes until the end of the stream, or `count` bytes."""
    found = bytearray()
    while count is None or len(found) < count:
        part = sock.recv(65536)
        if not part:
            break
        found += part
    return bytes(found)


class Proxy:
    """Hands bytes from a client on to a server as `change(data)` says: a list of pieces
    to be sent one by one. `segments` holds the sizes of what came from the server."""

    def __init__(self, port, change=lambda data: [data]):
        self.target = port
        self.change = change
        self.segments = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self._run, daemon=True)]

    def _run(self):
        with contextlib.suppress(OSError):
            client = self.listener.accept()[0]
            server = socket.create_connection(("127.0.0.1", self.target))
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(
                target=self._pump, args=(server, client, self.segments), daemon=True
            )
            self.threads.append(back)
            back.start()
            self._pump(client, server, [])
            back.join(LIMIT)
            client.close()
            server.close()

    def _pump(self, source, target, sizes):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                sizes.append(len(data))
                for piece in self.change(data):
                    target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *exc_info):
        self.listener.close()
        for thread in self.threads:
            thread.join(LIMIT)


def libcrypto():
    """The one that the ssl module has loaded: the name leads to no second copy."""
    import _ssl  # a module of its own, or linked into the interpreter

    return ctypes.CDLL(getattr(_ssl, "__file__", None))


def openssl_error():
    """What stands first in this thread's error queue of OpenSSL; 0: it is empty."""
    peek = libcrypto().ERR_peek_error
    peek.restype = ctypes.c_ulong
    return peek()


def run(loop, coroutine, limit=LIMIT):
    return loop.run_until_complete(asyncio.wait_for(coroutine, limit))


async def port_of(loop, factory, context, **options):
    """(server, port) of a TLS server; without a context a plain one."""
    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context, **options)
    return server, server.sockets[0].getsockname()[1]


async def connect(loop, port, context, factory=None, **options):
    """(transport, protocol) of a connection to localhost."""
    options.setdefault("server_hostname", "localhost")
    return await loop.create_connection(
        factory or (lambda: Recorder(loop)), "127.0.0.1", port, ssl=context, **options
    )


def s_client(port, *options):
    return subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", *options][:4]
        + list(options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
