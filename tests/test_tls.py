"""TLS on cloop, by both ways to OpenSSL, and on stock: bytes, and the transport."""

import asyncio
import contextvars
import gc
import os
import ssl
import tempfile
import time

import pytest

pytest.importorskip("trustme")

import tls_support
from support import PY, cloop_only, is_fast, run_program
from tls_support import (
    OLD,
    BufferedRecorder,
    Echo,
    Peer,
    Proxy,
    Recorder,
    connect,
    old_stock,
    port_of,
    read_all,
    run,
)
from wire import count_segments

impl = tls_support.impl
contexts = tls_support.contexts
version = tls_support.version


# ---- transfer ----


@pytest.mark.parametrize("size", [1, 100, 16383, 16384, 16385, 100_000, 3_000_000])
def test_echo(loop, contexts, version, size):
    async def main():
        server, port = await port_of(loop, Echo, contexts.server(**version))
        transport, protocol = await connect(loop, port, contexts.client(**version))
        data = os.urandom(size)
        transport.write(data)
        assert await protocol.have(size) == data
        transport.close()
        assert await protocol.lost is None
        assert protocol.calls[0] == "made"
        assert protocol.calls[-1] == "lost"
        server.close()
        await server.wait_closed()

    run(loop, main())


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_a_buffered_protocol_gets_all(loop, contexts, size):
    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        transport, protocol = await connect(
            loop, port, contexts.client(), lambda: BufferedRecorder(loop, size)
        )
        data = os.urandom(200_000)
        transport.write(data)
        assert await protocol.have(len(data)) == data
        transport.close()
        assert await protocol.lost is None
        server.close()

    run(loop, main())


def test_streams(loop, contexts):
    async def serve(reader, writer):
        while True:
            line = await reader.readline()
            if not line:
                break
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(
            serve, "127.0.0.1", 0, ssl=contexts.server()
        )
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=contexts.client(), server_hostname="localhost"
        )
        for i in range(50):
            writer.write(b"line %d\n" % i)
        for i in range(50):
            assert await reader.readline() == b"LINE %d\n" % i
        writer.close()
        await writer.wait_closed()
        server.close()

    run(loop, main())


def test_all_kinds_of_data_arrive_in_order(loop, contexts):
    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        transport, protocol = await connect(loop, port, contexts.client())
        changed = bytearray(b"c" * 700)
        pieces = [
            b"a",
            b"",
            bytearray(b"bb"),
            memoryview(b"ccc"),
            b"d" * 511,
            b"e" * 513,
            b"f" * 20_000,
            changed,
            memoryview(b"0123456789")[::1][2:5],
        ]
        wanted = b"".join(map(bytes, pieces))
        for piece in pieces:
            transport.write(piece)
        changed[:] = b"x" * 700
        transport.writelines([b"1", bytearray(b"22"), memoryview(b"333")])
        transport.writelines(iter([b"4" * 40_000, b"5"]))
        wanted += b"122333" + b"4" * 40_000 + b"5"
        assert await protocol.have(len(wanted)) == wanted
        with pytest.raises(TypeError, match="expecting a bytes-like instance, got str"):
            transport.write("text")
        with pytest.raises(TypeError, match="expecting a bytes-like instance, got int"):
            transport.write(3)
        assert not transport.can_write_eof()
        with pytest.raises(NotImplementedError):
            transport.write_eof()
        transport.close()
        await protocol.lost
        server.close()

    run(loop, main())


def test_small_writes_of_a_turn_leave_together(impl, loop, contexts):
    cloop_only(impl, "stock sends each write by itself")

    class Chatty(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            for _ in range(500):
                self.transport.write(b"0123456789")

    async def main():
        server, port = await port_of(loop, Chatty, contexts.server())
        with Proxy(port) as proxy:
            transport, protocol = await connect(loop, proxy.port, contexts.client())
            transport.write(b"?")
            assert await protocol.have(5000) == b"0123456789" * 500
            transport.close()
            await protocol.lost
        # The first write leaves at once, the other 499 in one record.
        assert sum(proxy.segments) < 5000 + 6000
        server.close()

    run(loop, main())


def test_a_head_and_a_body_leave_in_one_record(impl, loop, contexts):
    """From the second time on, as without TLS."""

    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        transport, protocol = await connect(loop, port, contexts.client())
        come, sent = 0, []
        for pieces in [2, 2, 2, 1, 1, 2, 2]:
            before = count_segments(transport)
            for i in range(pieces):
                transport.write(b"%d" % i)
            at_once = count_segments(transport) - before
            come += pieces
            await protocol.have(come)
            sent.append((at_once, count_segments(transport) - before))
        assert protocol.data == b"010101" + b"00" + b"0101"
        transport.abort()
        await protocol.lost
        server.close()
        return sent

    sent = run(loop, main())
    if is_fast(impl):
        held, first = (0, 1), (1, 2)
        assert sent == [first, held, held, held, (1, 1), first, held]
    elif not impl.is_cloop:
        assert sent == [(n, n) for n in (2, 2, 2, 1, 1, 2, 2)]


def test_many_connections_both_ways_at_once(loop, contexts):
    async def one(port):
        transport, protocol = await connect(loop, port, contexts.client())
        data = os.urandom(2_000_000)
        for at in range(0, len(data), 100_000):
            transport.write(data[at : at + 100_000])
        assert await protocol.have(len(data)) == data
        transport.close()
        await protocol.lost

    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        await asyncio.gather(*(one(port) for _ in range(25)))
        server.close()

    run(loop, main(), 60)


def test_single_byte_segments(loop, contexts, version):
    async def main():
        server, port = await port_of(loop, Echo, contexts.server(**version))
        with Proxy(port, lambda data: [data[i : i + 1] for i in range(len(data))]) as p:
            transport, protocol = await connect(
                loop, p.port, contexts.client(**version)
            )
            data = os.urandom(3000)
            transport.write(data)
            assert await protocol.have(3000) == data
            transport.close()
            assert await protocol.lost is None
        server.close()

    run(loop, main())


# ---- extra info, isinstance and the like ----


def test_extra_info(loop, contexts):
    async def main():
        server_context = contexts.asking_for_certificates(contexts.server())
        client_context = contexts.with_client_certificate(contexts.client())
        accepted = loop.create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport):
                accepted.set_result(transport)

        server, port = await port_of(loop, Server, server_context)
        transport, protocol = await connect(loop, port, client_context)
        other = await accepted
        for end, context in ((transport, client_context), (other, server_context)):
            assert end.get_extra_info("sslcontext") is context
            sslobj = end.get_extra_info("ssl_object")
            assert type(sslobj) is ssl.SSLObject
            assert end.get_extra_info("cipher") == sslobj.cipher()
            assert end.get_extra_info("compression") is None
            assert end.get_extra_info("peercert") == sslobj.getpeercert() != {}
            assert end.get_extra_info("nothing", 7) == 7
            assert isinstance(end, asyncio.Transport)
        assert transport.get_extra_info("peername") == ("127.0.0.1", port)
        assert transport.get_extra_info("sockname") == other.get_extra_info("peername")
        assert transport.get_extra_info("socket").fileno() >= 0
        assert transport.get_protocol() is protocol
        transport.close()
        assert transport.is_closing()
        await protocol.lost
        server.close()

    run(loop, main())


def test_limits(impl, loop, contexts):
    old_stock(impl, "none by default")

    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        transport, protocol = await connect(loop, port, contexts.client())
        low, high = transport.get_write_buffer_limits()
        assert high == 4 * low > 0
        transport.set_write_buffer_limits(high=1000)
        assert transport.get_write_buffer_limits() == (250, 1000)
        transport.set_write_buffer_limits(low=1000)
        assert transport.get_write_buffer_limits() == (1000, 4000)
        with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\)"):
            transport.set_write_buffer_limits(high=1, low=2)
        assert transport.get_write_buffer_size() == 0
        transport.close()
        await protocol.lost
        server.close()

    run(loop, main())


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
def test_timeouts_must_be_positive(loop, contexts, name):
    if OLD and name == "ssl_shutdown_timeout":
        pytest.skip("3.11 on")

    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        for value in (0, -1):
            with pytest.raises(
                ValueError, match=f"{name} should be a positive number, got {value}"
            ):
                await connect(loop, port, contexts.client(), **{name: value})
        server.close()
        await asyncio.sleep(0.05)

    run(loop, main())


class Flow(Recorder):
    def __init__(self, loop, log):
        super().__init__(loop)
        self.log = log

    def pause_writing(self):
        self.log.append("pause")

    def resume_writing(self):
        self.log.append("resume")


def test_writing_is_paused_and_resumed(impl, loop, contexts):
    old_stock(impl, "other limits")
    log = []
    start = loop.create_future()

    def serve(sock):
        with contexts.server().wrap_socket(sock, server_side=True) as tls:
            while not start.done():
                time.sleep(0.01)
            assert len(read_all(tls, 8_000_000)) == 8_000_000
            tls.sendall(b"!")
            read_all(tls)

    async def main():
        with Peer(serve) as peer:
            transport, protocol = await connect(
                loop, peer.port, contexts.client(), lambda: Flow(loop, log)
            )
            for _ in range(80):
                transport.write(b"x" * 100_000)
            assert log == ["pause"]
            assert transport.get_write_buffer_size() > 512 * 1024
            start.set_result(None)
            await protocol.have(1)
            assert log == ["pause", "resume"]
            assert transport.get_write_buffer_size() == 0
            transport.close()
            await protocol.lost

    run(loop, main())


@pytest.mark.parametrize("size", [1_000_000, 12_000_000])
def test_one_large_write_on_either_side_waits_for_nobody(impl, loop, contexts, size):
    """Both write, drain, and then read what the other has written."""
    old_stock(impl, "pauses as TCP does, and they wait for each other")

    async def side(reader, writer):
        writer.write(b"x" * size)
        await writer.drain()
        assert writer.transport.get_write_buffer_size() == 0
        assert await reader.readexactly(size) == b"x" * size
        writer.close()

    async def main():
        served = loop.create_future()

        async def serve(reader, writer):
            served.set_result(await side(reader, writer))

        server = await asyncio.start_server(
            serve, "127.0.0.1", 0, ssl=contexts.server()
        )
        port = server.sockets[0].getsockname()[1]
        await side(
            *await asyncio.open_connection("localhost", port, ssl=contexts.client())
        )
        await served
        server.close()

    run(loop, main())


def test_what_follows_a_large_write_pauses(impl, loop, contexts):
    """And goes on as soon as the transport below has room again for all of it."""
    old_stock(impl, "pauses as TCP does")
    log = []

    def serve(sock):
        with contexts.server().wrap_socket(sock, server_side=True) as tls:
            while not start.done():
                time.sleep(0.01)
            assert read_all(tls, 20_000_001) == b"x" * 20_000_000 + b"y"
            tls.sendall(b"!")
            read_all(tls)

    start = loop.create_future()

    async def main():
        with Peer(serve) as peer:
            transport, protocol = await connect(
                loop, peer.port, contexts.client(), lambda: Flow(loop, log)
            )
            transport.write(b"x" * 10_000_000)
            assert (log, transport.get_write_buffer_size()) == ([], 0)
            await asyncio.sleep(0.01)
            transport.write(b"x" * 10_000_000)
            assert log == ["pause"]
            assert transport.get_write_buffer_size() >= 10_000_000
            start.set_result(None)
            while len(log) == 1:
                await asyncio.sleep(0)
            assert log == ["pause", "resume"]
            assert transport.get_write_buffer_size() == 0
            transport.write(b"y")
            await protocol.have(1)
            assert log == ["pause", "resume"]
            transport.close()
            await protocol.lost

    run(loop, main())


def test_drain_with_a_limit_of_nothing(impl, loop, contexts):
    cloop_only(impl, "stock pauses for nothing, and waits for ever")

    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        reader, writer = await asyncio.open_connection(
            "localhost", port, ssl=contexts.client()
        )
        writer.transport.set_write_buffer_limits(0)
        for size in [1, 1000, 0, 5_000_000, 1] * 3:
            writer.write(b"x" * size)
            echoed = asyncio.ensure_future(reader.readexactly(size))
            await writer.drain()
            assert writer.transport.get_write_buffer_size() == 0
            assert await echoed == b"x" * size
        writer.close()
        server.close()

    run(loop, main())


def test_the_context_of_the_protocol_is_not_that_of_who_resumes(impl, loop, contexts):
    old_stock(impl, "pauses the transport below")
    where = contextvars.ContextVar("where", default="nowhere")
    heard = []

    class Hears(Recorder):
        def data_received(self, data):
            heard.append(where.get())
            super().data_received(data)

        def connection_lost(self, exc):
            heard.append(where.get())
            super().connection_lost(exc)

    def resume(transport):
        where.set("resumed")
        transport.resume_reading()

    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        where.set("connected")
        transport, protocol = await connect(
            loop, port, contexts.client(), lambda: Hears(loop)
        )
        for count in range(1, 4):
            transport.pause_reading()
            contextvars.copy_context().run(resume, transport)
            await asyncio.sleep(0.01)
            transport.write(b"x")
            await protocol.have(count)
        transport.close()
        await protocol.lost
        assert heard == ["connected"] * 4
        server.close()

    run(loop, main())


def test_reading_is_paused_and_resumed(loop, contexts):
    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        transport, protocol = await connect(loop, port, contexts.client())
        assert transport.is_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        transport.write(b"abc")
        await asyncio.sleep(0.1)
        assert protocol.data == b""
        if PY >= (3, 11):
            assert transport._ssl_protocol._app_reading_paused is True
        transport.resume_reading()
        assert await protocol.have(3) == b"abc"
        if PY >= (3, 11):
            assert transport._ssl_protocol._app_reading_paused is False
        transport.close()
        await protocol.lost
        server.close()

    run(loop, main())


def test_a_paused_connection_holds_little(impl, loop, contexts):
    cloop_only(impl, "stock reads 256 KiB ahead")

    def serve(sock):
        with contexts.server().wrap_socket(sock, server_side=True) as tls:
            tls.sendall(b"x" * 5_000_000)
            tls.unwrap()

    async def main():
        with Peer(serve) as peer:
            transport, protocol = await connect(loop, peer.port, contexts.client())
            transport.pause_reading()
            await asyncio.sleep(0.2)
            assert transport.get_read_buffer_size() <= 65536
            transport.resume_reading()
            await protocol.have(5_000_000)
            await protocol.lost

    run(loop, main())


IDLE = """
import asyncio, gc, ssl, sys
import trustme
from cloop import _cloop

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

class Client(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.count = 0
        self.done = asyncio.get_running_loop().create_future()
        transport.write(bytes(300_000))

    def data_received(self, data):
        self.count += len(data)
        if self.count == 300_000:
            self.done.set_result(None)

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

async def main():
    loop = asyncio.get_running_loop()
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(server_context)
    authority.configure_trust(client_context)
    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context)
    address = server.sockets[0].getsockname()
    kept = []

    async def connect(count):
        for _ in range(count):
            _, client = await loop.create_connection(
                Client, *address, ssl=client_context, server_hostname="localhost"
            )
            await client.done
            kept.append(client)

    await connect(100)
    before = resident()
    await connect(200)
    print((resident() - before) // 400)
    for client in kept:
        client.transport.abort()
    server.close()
    await asyncio.sleep(0)

_cloop._tls_backend(sys.argv[1])
loop = new_event_loop()
loop.run_until_complete(main())
loop.close()
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="/proc")
@pytest.mark.skipif("CLOOP_SANITIZED" in os.environ, reason="it keeps freed blocks")
def test_an_idle_connection_holds_little(impl):
    """After 300 KB each way. (A MemoryBIO keeps the memory it has once needed.)"""
    cloop_only(impl, "stock keeps a buffer of 256 KiB")
    done = run_program(impl, IDLE, impl.way)
    assert int(done.stdout) < {"direct": 64, "portable": 128}[impl.way] * 1024


def test_sendfile(loop, contexts, tmp_path):
    data = os.urandom(700_000)
    path = tmp_path / "file"
    path.write_bytes(data)

    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        transport, protocol = await connect(loop, port, contexts.client())
        transport.write(b"first")
        with open(path, "rb") as file:
            assert await loop.sendfile(transport, file) == len(data)
        transport.write(b"last")
        wanted = b"first" + data + b"last"
        assert await protocol.have(len(wanted)) == wanted
        transport.close()
        await protocol.lost
        server.close()

    run(loop, main())


# ---- the two ways ----


def test_backend():
    import cloop

    assert cloop.tls_backend().split(":")[0] in ("direct", "portable")
    assert len(cloop.tls_backend()) > 12


def test_each_connection_goes_the_way_it_should(impl, loop, contexts, tmp_path):
    cloop_only(impl, "two ways")

    class Own(ssl.SSLObject):
        def read(self, *args):
            log.append("read")
            return super().read(*args)

    log = []

    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        plain = contexts.client()
        own = contexts.client(sslobject_class=Own)
        logged = contexts.client(keylog_filename=str(tmp_path / "keys"))
        watched = contexts.client()
        messages = []
        watched._msg_callback = lambda *args: messages.append(args)
        ways = [
            (plain, impl.way),
            (own, "portable"),
            (logged, "portable"),
            (watched, "portable"),
        ]
        for context, way in ways:
            transport, protocol = await connect(loop, port, context)
            assert transport._way == way
            transport.write(b"x" * 1000)
            assert await protocol.have(1000) == b"x" * 1000
            transport.close()
            await protocol.lost
        assert log
        assert messages
        assert (tmp_path / "keys").read_text().count("\n") > 2
        server.close()

    run(loop, main())


def test_a_protocol_that_keeps_its_transport_keeps_no_memory(impl, loop, contexts):
    """Ten thousand bytes each way, and everything dies without the collector."""
    import weakref

    cloop_only(impl, "stock has cycles")

    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        transport, protocol = await connect(loop, port, contexts.client())
        transport.write(b"x" * 10_000)
        await protocol.have(10_000)
        transport.close()
        await protocol.lost
        server.close()
        found = weakref.ref(transport)
        del protocol.transport, protocol.made, transport, protocol
        await asyncio.sleep(0.05)
        return found

    gc.disable()
    try:
        assert run(loop, main())() is None
    finally:
        gc.enable()


def test_an_ssl_object_outlives_its_connection(loop, contexts):
    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        transport, protocol = await connect(loop, port, contexts.client())
        sslobj = transport.get_extra_info("ssl_object")
        transport.close()
        await protocol.lost
        server.close()
        return sslobj

    sslobj = run(loop, main())
    gc.collect()
    assert sslobj.version()
    with pytest.raises(ssl.SSLError):
        sslobj.read(1)
    with pytest.raises(ssl.SSLError):
        sslobj.write(b"x")


def test_unix_sockets(loop, contexts):
    async def main():
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            server = await loop.create_unix_server(Echo, path, ssl=contexts.server())
            transport, protocol = await loop.create_unix_connection(
                lambda: Recorder(loop),
                path,
                ssl=contexts.client(),
                server_hostname="localhost",
            )
            transport.write(b"x")
            assert await protocol.have(1) == b"x"
            transport.close()
            await protocol.lost
            server.close()

    run(loop, main())
