"""start_tls: a connection goes over to TLS, or into another one."""

import asyncio
import inspect
import os
from asyncio.base_events import BaseEventLoop

import pytest

pytest.importorskip("trustme")

import tls_support
from support import PY, cloop_only, stock_fault
from tls_support import (
    OLD,
    TLS12,
    TLS13,
    BufferedRecorder,
    Echo,
    Peer,
    Recorder,
    connect,
    only,
    port_of,
    read_all,
    run,
)

impl = tls_support.impl
contexts = tls_support.contexts
version = tls_support.version


class StartServer(Recorder):
    """Answers STARTTLS by going over to TLS, in which it echoes."""

    def __init__(self, loop, context):
        super().__init__(loop)
        self.context = context
        self.early = b""  # stock delivers before start_tls has returned
        self.upgrade = None

    def data_received(self, data):
        if self.upgrade is None and data == b"STARTTLS\n":
            self.transport.write(b"OK\n")
            self.upgrade = asyncio.ensure_future(self.go())
        elif not self.upgrade.done():
            self.early += data
        else:
            self.transport.write(data)

    async def go(self):
        self.transport = await self.loop.start_tls(
            self.transport, self, self.context, server_side=True
        )
        self.transport.write(self.early)


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
def test_start_tls(loop, reports, contexts, kind):
    async def main():
        server, port = await port_of(
            loop, lambda: StartServer(loop, contexts.server()), None
        )
        first = Recorder(loop)
        plain, _ = await loop.create_connection(lambda: first, "127.0.0.1", port)
        plain.write(b"STARTTLS\n")
        assert await first.have(3) == b"OK\n"
        protocol = kind(loop)
        transport = await loop.start_tls(
            plain, protocol, contexts.client(), server_hostname="localhost"
        )
        assert transport is not plain
        assert protocol.calls == []
        assert transport.get_protocol() is protocol
        assert transport.get_extra_info("ssl_object").version()
        assert transport.get_extra_info("peercert")
        assert transport.get_extra_info("peername") == ("127.0.0.1", port)
        transport.write(b"x" * 10_000)
        assert await protocol.have(10_000) == b"x" * 10_000
        other = Recorder(loop)
        transport.set_protocol(other)
        assert transport.get_protocol() is other
        transport.write(b"again")
        assert await other.have(5) == b"again"
        transport.close()
        assert await other.lost is None
        assert other.calls == ["data", "eof", "lost"] or other.calls == ["data", "lost"]
        assert first.calls == ["made", "data"]
        server.close()

    run(loop, main())
    assert not reports


@pytest.mark.parametrize("end", ["close", "abort"])
def test_start_tls_of_a_closed_transport_returns_none(
    impl, loop, reports, contexts, end
):
    """(aiohttp counts on it.)"""
    stock_fault(impl, PY < (3, 11), "its older engine waits for ever")

    async def main():
        server, port = await port_of(loop, lambda: Recorder(loop), None)
        plain, protocol = await loop.create_connection(
            lambda: Recorder(loop), "127.0.0.1", port
        )
        getattr(plain, end)()
        transport = await loop.start_tls(
            plain, protocol, contexts.client(), server_hostname="localhost"
        )
        assert transport is None
        assert await protocol.lost is None
        assert protocol.calls == ["made", "lost"]
        server.close()

    run(loop, main())
    assert not reports


def test_start_tls_returns_none_when_it_is_aborted_meanwhile(loop, contexts):
    async def main():
        server, port = await port_of(loop, lambda: Recorder(loop), None)
        plain, protocol = await loop.create_connection(
            lambda: Recorder(loop), "127.0.0.1", port
        )
        loop.call_later(0.01, plain.abort)
        transport = await loop.start_tls(
            plain, protocol, contexts.client(), server_hostname="localhost"
        )
        assert transport is None
        assert protocol.calls == ["made"]
        server.close()

    run(loop, main())


@pytest.mark.skipif(PY < (3, 11), reason="3.11 on")
def test_start_tls_of_streams(loop, reports, contexts):
    async def serve(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"OK\n")
        await writer.drain()
        await writer.start_tls(contexts.server())
        while True:
            line = await reader.readline()
            if not line:
                break
            writer.write(line)
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"OK\n"
        await writer.start_tls(contexts.client(), server_hostname="localhost")
        for _ in range(3):
            writer.write(b"over tls\n")
            assert await reader.readline() == b"over tls\n"
        assert writer.get_extra_info("cipher")
        writer.close()
        await writer.wait_closed()
        server.close()

    run(loop, main())
    assert not reports


@pytest.mark.skipif(
    "_incoming" not in inspect.getsource(BaseEventLoop.start_tls),
    reason="since some 3.14.x: the bytes are lost before",
)
def test_start_tls_takes_what_the_reader_has_read_already(loop, reports, contexts):
    """The client begins with TLS before the server has decided on it."""

    async def serve(reader, writer):
        while not reader._buffer:
            await asyncio.sleep(0.001)
        await writer.start_tls(contexts.server())
        writer.write(await reader.readline())
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=contexts.client(), server_hostname="localhost"
        )
        writer.write(b"over tls\n")
        assert await reader.read() == b"over tls\n"
        writer.close()
        await writer.wait_closed()
        server.close()

    run(loop, main())
    assert not reports


def test_what_comes_with_the_last_flight(impl, loop, contexts):
    """A server that speaks first: its data stands behind its Finished."""
    cloop_only(impl, "stock delivers before start_tls has returned")
    for version in (TLS12, TLS13):

        def serve(sock, version=version):
            tls = contexts.server(**only(version)).wrap_socket(sock, server_side=True)
            with tls:
                tls.sendall(b"welcome")
                read_all(tls)

        async def main(version=version):
            with Peer(serve) as peer:
                plain, _ = await loop.create_connection(
                    lambda: Recorder(loop), "127.0.0.1", peer.port
                )
                protocol = Recorder(loop)
                transport = await loop.start_tls(
                    plain,
                    protocol,
                    contexts.client(**only(version)),
                    server_hostname="localhost",
                )
                assert protocol.calls == []
                assert await protocol.have(7) == b"welcome"
                transport.close()
                await protocol.lost

        run(loop, main())


def test_start_tls_refuses_what_stock_refuses(loop, contexts):
    async def main():
        server, port = await port_of(loop, Echo, None)
        transport, protocol = await loop.create_connection(
            lambda: Recorder(loop), "127.0.0.1", port
        )
        with pytest.raises(TypeError, match="sslcontext is expected to be an instance"):
            await loop.start_tls(transport, protocol, None)
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await loop.start_tls(object(), protocol, contexts.client())
        transport.close()
        await protocol.lost
        server.close()

    run(loop, main())


def test_tls_inside_tls(impl, loop, reports, contexts):
    stock_fault(impl, OLD, "no TLS in TLS")

    async def main():
        server, port = await port_of(
            loop, lambda: StartServer(loop, contexts.server()), contexts.server()
        )
        first = Recorder(loop)
        outer, _ = await connect(loop, port, contexts.client(), lambda: first)
        outer.write(b"STARTTLS\n")
        assert await first.have(3) == b"OK\n"
        protocol = Recorder(loop)
        inner = await loop.start_tls(
            outer, protocol, contexts.client(), server_hostname="localhost"
        )
        data = os.urandom(1_000_000)
        inner.write(data)
        assert await protocol.have(len(data)) == data
        assert inner.get_extra_info("peername") == ("127.0.0.1", port)
        assert inner.get_extra_info("ssl_object") is not outer.get_extra_info(
            "ssl_object"
        )
        inner.close()
        await protocol.lost
        server.close()
        await asyncio.sleep(0.05)

    run(loop, main())
    assert not reports


@pytest.mark.parametrize("inside", [False, True])
def test_start_tls_on_a_lost_connection(impl, loop, contexts, inside):
    cloop_only(impl, "stock waits for the handshake's timeout")

    async def main():
        server, port = await port_of(loop, Echo, contexts.server() if inside else None)
        options = {"ssl": contexts.client(), "server_hostname": "localhost"}
        transport, protocol = await loop.create_connection(
            lambda: Recorder(loop), "127.0.0.1", port, **(options if inside else {})
        )
        transport.abort()
        await protocol.lost
        started = loop.time()
        with pytest.raises(ConnectionResetError):
            await loop.start_tls(
                transport, protocol, contexts.client(), server_hostname="localhost"
            )
        assert loop.time() - started < 5
        assert protocol.calls == ["made", "lost"]
        server.close()

    run(loop, main())
