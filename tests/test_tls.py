"""TLS on cloop, by both ways to OpenSSL, and on stock."""

import asyncio
import gc
import os
import socket
import ssl
import struct
import sys
import tempfile
import time
import warnings

import pytest

pytest.importorskip("trustme")

import tls_support
from support import PY, cloop_only, stock_fault
from tls_support import (
    BufferedRecorder,
    Echo,
    Peer,
    Proxy,
    Recorder,
    connect,
    needs_openssl,
    only,
    port_of,
    read_all,
    run,
    s_client,
)

TLS12 = ssl.TLSVersion.TLSv1_2
TLS13 = ssl.TLSVersion.TLSv1_3
OLD = PY < (3, 11)  # stock has another engine there

impl = tls_support.impl
contexts = tls_support.contexts


@pytest.fixture(params=[TLS12, TLS13], ids=["1.2", "1.3"])
def version(request):
    return only(request.param)


def old_stock(impl, why):
    """Skips where stock before 3.11 does less."""
    stock_fault(impl, OLD, why)


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


def test_writing_is_paused_and_resumed(impl, loop, contexts):
    old_stock(impl, "other limits")
    log = []

    class Flow(Recorder):
        def pause_writing(self):
            log.append("pause")

        def resume_writing(self):
            log.append("resume")

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
                loop, peer.port, contexts.client(), lambda: Flow(loop)
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
        transport.resume_reading()
        assert await protocol.have(3) == b"abc"
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


# ---- handshakes that fail ----


def test_a_silent_server(loop, contexts):
    def serve(sock):
        assert read_all(sock) != b""

    async def main():
        protocol = Recorder(loop)
        with Peer(serve) as peer:
            with pytest.raises(
                ConnectionAbortedError,
                match=r"SSL handshake is taking longer than 0\.2 seconds: aborting",
            ):
                await connect(
                    loop,
                    peer.port,
                    contexts.client(),
                    lambda: protocol,
                    ssl_handshake_timeout=0.2,
                )
        await asyncio.sleep(0)
        assert protocol.calls == []

    run(loop, main())


def test_a_silent_client(loop, reports, contexts):
    async def main():
        protocol = Recorder(loop)
        server, port = await port_of(
            loop, lambda: protocol, contexts.server(), ssl_handshake_timeout=0.2
        )
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.setblocking(False)
            assert await asyncio.wait_for(drained(loop, sock), 5) is None
        assert protocol.calls == []
        server.close()

    run(loop, main())
    assert not reports


async def drained(loop, sock):
    try:
        while await loop.sock_recv(sock, 1000):
            pass
    except ConnectionResetError:
        pass


@pytest.mark.parametrize("count", [0, 1, 100])
def test_the_peer_hangs_up_in_the_handshake(loop, reports, contexts, count):
    """FIN after some bytes of the hello."""

    def serve(sock):
        sock.recv(10_000)
        sock.sendall(b"\x16\x03\x03\x10\x00\x02"[:count] + b"\0" * (count - 6))

    async def main():
        protocol = Recorder(loop)
        with Peer(serve) as peer:
            with pytest.raises(ConnectionResetError):
                await connect(loop, peer.port, contexts.client(), lambda: protocol)
        await asyncio.sleep(0)
        assert protocol.calls == []

    run(loop, main())
    assert not reports


def test_the_certificate_is_checked(loop, reports, contexts):
    async def main():
        protocol = Recorder(loop)
        above = Recorder(loop)
        server, port = await port_of(loop, lambda: above, contexts.server())
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local"):
            await connect(loop, port, ssl.create_default_context(), lambda: protocol)
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            await connect(
                loop, port, contexts.client(), server_hostname="elsewhere.org"
            )
        await asyncio.sleep(0.05)
        assert protocol.calls == above.calls == []
        server.close()

    run(loop, main())
    assert not reports


def test_no_tls_at_all(loop, reports, contexts):
    def serve(sock):
        sock.recv(10_000)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        read_all(sock)

    async def main():
        with Peer(serve) as peer:
            with pytest.raises(ssl.SSLError) as caught:
                await connect(loop, peer.port, contexts.client())
            assert caught.value.reason == "WRONG_VERSION_NUMBER"

    run(loop, main())
    assert not reports


def test_a_cancelled_handshake_says_nothing(loop, reports, caplog, contexts):
    def serve(sock):
        try:
            read_all(sock)
        except ConnectionResetError:
            pass

    async def main():
        protocol = Recorder(loop)
        with Peer(serve) as peer:
            task = asyncio.ensure_future(
                connect(loop, peer.port, contexts.client(), lambda: protocol)
            )
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.05)
        assert protocol.calls == []

    run(loop, main())
    assert not reports
    assert not caplog.records


def test_the_peer_hears_why(impl, loop, contexts):
    cloop_only(impl, "stock sends no alert")
    said = []

    def serve(sock):
        try:
            contexts.server(**only(TLS12)).wrap_socket(sock, server_side=True)
        except ssl.SSLError as exc:
            said.append(exc.reason)

    async def main():
        with Peer(serve) as peer:
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(loop, peer.port, ssl.create_default_context())

    run(loop, main())
    assert said == ["TLSV1_ALERT_UNKNOWN_CA"]


def test_debug_mode_reports_a_server_s_failed_handshake(new_loop, contexts):
    loop = new_loop(debug=True)
    contexts_seen = []
    loop.set_exception_handler(lambda loop, context: contexts_seen.append(context))

    async def main():
        server, port = await port_of(loop, lambda: Recorder(loop), contexts.server())
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(loop, port, ssl.create_default_context())
        for _ in range(100):
            if contexts_seen:
                break
            await asyncio.sleep(0.01)
        server.close()

    run(loop, main())
    assert [context["message"] for context in contexts_seen] == [
        "Error on transport creation for incoming connection"
    ]
    assert isinstance(contexts_seen[0]["exception"], OSError)
    assert isinstance(contexts_seen[0]["transport"], asyncio.Transport)


def failed_handshakes(loop, contexts, count):
    client_context = ssl.create_default_context()

    async def one(port):
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(loop, port, client_context)

    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        for _ in range(count // 20):
            await asyncio.gather(*(one(port) for _ in range(20)))
        good, protocol = await connect(loop, port, contexts.client())
        good.write(b"fine")
        assert await protocol.have(4) == b"fine"
        good.close()
        await protocol.lost
        server.close()

    run(loop, main(), 300)


def test_failed_handshakes_leave_nothing_behind(impl, loop, reports, contexts):
    cloop_only(impl, "takes long")
    psutil = pytest.importorskip("psutil")
    process = psutil.Process()
    failed_handshakes(loop, contexts, 400)
    gc.collect()
    before = process.memory_info().rss
    failed_handshakes(loop, contexts, 600)
    gc.collect()
    assert process.memory_info().rss - before < 2_000_000
    assert not reports


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_failed_handshakes(impl, loop, contexts):
    cloop_only(impl, "takes long")
    if not os.environ.get("CLOOP_SLOW_TESTS"):
        pytest.skip("CLOOP_SLOW_TESTS is not set")
    psutil = pytest.importorskip("psutil")
    process = psutil.Process()
    failed_handshakes(loop, contexts, 1000)
    before = process.memory_info().rss
    failed_handshakes(loop, contexts, 10_000)
    assert process.memory_info().rss - before < 4_000_000


# ---- the end ----


def test_close_sends_the_backlog_first(loop, contexts):
    got = []

    def serve(sock):
        with contexts.server().wrap_socket(sock, server_side=True) as tls:
            time.sleep(0.2)
            got.append(len(read_all(tls)))  # a ragged end would raise
            tls.unwrap()

    async def main():
        with Peer(serve) as peer:
            transport, protocol = await connect(loop, peer.port, contexts.client())
            for _ in range(40):
                transport.write(b"x" * 100_000)
            transport.close()
            assert transport.is_closing()
            await protocol.lost

    run(loop, main())
    assert got == [4_000_000]


def flood(contexts, options):
    def serve(sock):
        with contexts.server(**options).wrap_socket(sock, server_side=True) as tls:
            try:
                while True:
                    tls.sendall(b"x" * 100_000)
            except OSError:
                pass

    return serve


def test_close_ends_while_the_peer_floods(impl, loop, contexts):
    cloop_only(impl, "stock gives up with an error at once")
    options = {} if OLD else {"ssl_shutdown_timeout": 0.3}
    if OLD:
        pytest.skip("no ssl_shutdown_timeout before 3.11")

    async def main():
        with Peer(flood(contexts, {})) as peer:
            transport, protocol = await connect(
                loop, peer.port, contexts.client(), **options
            )
            await protocol.have(100_000)
            size = len(protocol.data)
            started = loop.time()
            transport.close()
            error = await protocol.lost
            assert isinstance(error, asyncio.TimeoutError)
            assert str(error) == "SSL shutdown timed out"
            assert 0.25 < loop.time() - started < 3
            assert len(protocol.data) - size < 500_000

    run(loop, main())


def test_the_peer_s_close_notify_with_a_backlog_of_ours(impl, loop, contexts):
    old_stock(impl, "loses the backlog")
    got = []

    def serve(sock):
        with contexts.server().wrap_socket(sock, server_side=True) as tls:
            assert read_all(tls, 1) == b"?"
            tls.sendall(b"!")
            # close_notify, then all of what the other side still sends
            tls.settimeout(0.3)
            try:
                tls.unwrap()
            except (ssl.SSLError, OSError):
                pass
            sock_left = tls.detach()
            rest = socket.socket(fileno=sock_left)
            rest.settimeout(10)
            with rest:
                got.append(len(read_all(rest)))

    async def main():
        with Peer(serve) as peer:
            transport, protocol = await connect(loop, peer.port, contexts.client())
            transport.write(b"?")
            await protocol.have(1)
            for _ in range(40):
                transport.write(b"x" * 100_000)
            await protocol.lost
        assert protocol.calls[-2:] == ["eof", "lost"]

    run(loop, main())


def test_abort_is_immediate(loop, contexts):
    def serve(sock):
        with contexts.server().wrap_socket(sock, server_side=True) as tls:
            try:
                time.sleep(0.3)
                read_all(tls)
            except OSError:
                pass

    async def main():
        with Peer(serve) as peer:
            transport, protocol = await connect(loop, peer.port, contexts.client())
            transport.write(b"x" * 10_000_000)
            started = loop.time()
            transport.abort()
            assert await protocol.lost is None
            assert loop.time() - started < 0.25
            assert transport.is_closing()
            assert protocol.calls == ["made", "lost"]

    run(loop, main())


def test_fin_without_close_notify(loop, reports, contexts):
    def serve(sock):
        tls = contexts.server().wrap_socket(sock, server_side=True)
        tls.sendall(b"data")
        with socket.socket(fileno=tls.detach()):
            pass

    async def main():
        with Peer(serve) as peer:
            _, protocol = await connect(loop, peer.port, contexts.client())
            assert await protocol.lost is None
        assert protocol.calls == ["made", "data", "eof", "lost"]
        assert protocol.data == b"data"

    run(loop, main())
    assert not reports


@pytest.mark.parametrize("notify", [True, False])
def test_the_end_comes_while_reading_is_paused(impl, loop, reports, contexts, notify):
    old_stock(impl, "loses data")

    def serve(sock):
        tls = contexts.server().wrap_socket(sock, server_side=True)
        assert read_all(tls, 1) == b"?"
        tls.sendall(b"x" * 5000)
        if notify:
            tls.setblocking(False)
            try:
                tls.unwrap()
            except OSError:
                pass
        with socket.socket(fileno=tls.detach()) as rest:
            rest.setblocking(True)
            rest.settimeout(5)
            rest.shutdown(socket.SHUT_WR)
            try:
                read_all(rest)
            except ConnectionResetError:
                pass

    async def main():
        with Peer(serve) as peer:
            transport, protocol = await connect(loop, peer.port, contexts.client())
            transport.write(b"?")
            transport.pause_reading()
            await asyncio.sleep(0.2)
            assert protocol.calls == ["made"]
            transport.resume_reading()
            assert await protocol.lost is None
        assert protocol.data == b"x" * 5000
        assert protocol.calls == ["made", "data", "eof", "lost"]

    run(loop, main())
    assert not reports


def test_close_while_reading_is_paused(impl, loop, contexts):
    old_stock(impl, "waits for ever")

    def serve(sock):
        with contexts.server().wrap_socket(sock, server_side=True) as tls:
            tls.sendall(b"x" * 1000)
            try:
                read_all(tls)
            except OSError:
                pass

    async def main():
        with Peer(serve) as peer:
            transport, protocol = await connect(loop, peer.port, contexts.client())
            transport.pause_reading()
            await asyncio.sleep(0.1)
            transport.close()
            await protocol.lost
        assert protocol.calls[-1] == "lost"

    run(loop, main())


def test_a_corrupt_record(loop, reports, contexts, version):
    def serve(sock):
        tls = contexts.server(**version).wrap_socket(sock, server_side=True)
        tls.sendall(b"fine")
        with socket.socket(fileno=tls.detach()) as rest:
            rest.settimeout(5)
            rest.sendall(b"\x17\x03\x03" + struct.pack("!H", 64) + os.urandom(64))
            try:
                read_all(rest)
            except ConnectionResetError:
                pass

    async def main():
        with Peer(serve) as peer:
            _, protocol = await connect(loop, peer.port, contexts.client(**version))
            error = await protocol.lost
        assert type(error) is ssl.SSLError
        assert error.library == "SSL"
        assert error.reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
        assert error.args[0] == ssl.SSL_ERROR_SSL == error.errno
        assert str(error).startswith(
            "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC] "
            "decryption failed or bad record mac"
        )

    run(loop, main())
    assert not reports


def test_errors_of_the_protocol_are_fatal(impl, loop, reports, contexts):
    old_stock(impl, "other messages")

    class Broken(Recorder):
        def data_received(self, data):
            raise ZeroDivisionError("mine")

    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        transport, protocol = await connect(
            loop, port, contexts.client(), lambda: Broken(loop)
        )
        transport.write(b"x")
        assert isinstance(await protocol.lost, ZeroDivisionError)
        server.close()

    run(loop, main())
    assert [context["message"] for context in reports] == [
        "Fatal error on SSL protocol"
    ]
    assert isinstance(reports[0]["exception"], ZeroDivisionError)


def test_writes_after_close_are_dropped(impl, loop, caplog, contexts):
    old_stock(impl, "keeps them")

    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        transport, protocol = await connect(loop, port, contexts.client())
        transport.close()
        for _ in range(7):
            transport.write(b"late")
        transport.writelines([b"later"])
        await protocol.lost
        assert protocol.data == b""
        server.close()

    run(loop, main())
    assert "SSL connection is closed" in caplog.text


def test_an_unclosed_transport_warns(loop, contexts):
    async def main():
        server, port = await port_of(loop, Echo, contexts.server())
        _ = await connect(loop, port, contexts.client())
        server.close()
        return port

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(loop, main())
        loop.close()
        gc.collect()
    assert any("unclosed transport" in str(w.message) for w in caught)


# ---- what TLS can do ----


def test_sni_and_alpn(loop, contexts):
    seen = []

    async def main():
        server_context = contexts.server()
        server_context.set_alpn_protocols(["h2", "http/1.1"])
        server_context.sni_callback = lambda obj, name, context: seen.append(name)
        client_context = contexts.client()
        client_context.set_alpn_protocols(["http/1.1"])
        server, port = await port_of(loop, Echo, server_context)
        transport, protocol = await connect(loop, port, client_context)
        sslobj = transport.get_extra_info("ssl_object")
        assert sslobj.selected_alpn_protocol() == "http/1.1"
        transport.write(b"x")
        await protocol.have(1)
        transport.close()
        await protocol.lost
        server.close()

    run(loop, main())
    assert seen == ["localhost"]


def test_a_failing_sni_callback(impl, loop, contexts):
    def fail(sslobj, name, context):
        raise ZeroDivisionError

    async def main():
        server_context = contexts.server()
        server_context.sni_callback = fail
        server, port = await port_of(loop, Echo, server_context)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await connect(loop, port, contexts.client())
        server.close()
        await asyncio.sleep(0.05)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hook = getattr(sys, "unraisablehook", None)
        sys.unraisablehook = lambda arg: None
        try:
            run(loop, main())
        finally:
            sys.unraisablehook = hook


def test_a_missing_client_certificate(loop, reports, contexts, version):
    """With 1.3 the client hears of it after its handshake."""

    async def main():
        above = Recorder(loop)
        server, port = await port_of(
            loop,
            lambda: above,
            contexts.asking_for_certificates(contexts.server(**version)),
        )
        try:
            _, protocol = await connect(loop, port, contexts.client(**version))
        except OSError as exc:
            error = exc
        else:
            error = await protocol.lost
        assert error is None or isinstance(error, OSError)
        assert above.calls == []
        server.close()

    run(loop, main())
    assert not reports


def test_session_resumption(impl, loop, contexts, version):
    old_stock(impl, "now and then it closes before it has answered close_notify")
    reused = []

    def client(port):
        context = contexts.client(**version)

        def go(sock):
            session = None
            for _ in range(2):
                with socket.create_connection(("127.0.0.1", port), 10) as sock:
                    with context.wrap_socket(
                        sock, server_hostname="localhost", session=session
                    ) as tls:
                        tls.sendall(b"x")
                        assert tls.recv(1) == b"x"
                        session = tls.session
                        reused.append(tls.session_reused)
                        tls.unwrap()

        return lambda: go(None)

    async def main():
        server, port = await port_of(loop, Echo, contexts.server(**version))
        await loop.run_in_executor(None, client(port))
        server.close()

    run(loop, main())
    assert reused == [False, True]


def test_post_handshake_authentication(impl, loop, contexts):
    async def main():
        server_context = contexts.server(**only(TLS13), post_handshake_auth=True)
        contexts.asking_for_certificates(server_context)
        client_context = contexts.client(**only(TLS13), post_handshake_auth=True)
        contexts.with_client_certificate(client_context)
        accepted = loop.create_future()

        class Server(Echo):
            def connection_made(self, transport):
                super().connection_made(transport)
                accepted.set_result(transport)

        server, port = await port_of(loop, Server, server_context)
        transport, protocol = await connect(loop, port, client_context)
        other = (await accepted).get_extra_info("ssl_object")
        assert not other.getpeercert()
        transport.write(b"1")
        await protocol.have(1)
        other.verify_client_post_handshake()
        transport.write(b"2")
        await protocol.have(2)
        transport.write(b"3")
        await protocol.have(3)
        assert other.getpeercert(True)
        transport.close()
        await protocol.lost
        server.close()

    run(loop, main())


class LineServer(asyncio.Protocol):
    """Answers each line by its length, and a lot."""

    def connection_made(self, transport):
        self.transport = transport
        self.rest = b""

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.transport.write(b"<%d>" % len(line) + b"." * 50_000 + b"\n")


@needs_openssl
@pytest.mark.parametrize(
    "option, command", [("-tls1_3", b"K\n"), ("-tls1_3", b"k\n"), ("-tls1_2", b"R\n")]
)
def test_key_update_and_renegotiation(impl, loop, reports, contexts, option, command):
    async def main():
        context = contexts.server()
        context.options |= 0x100  # OP_ALLOW_CLIENT_RENEGOTIATION of OpenSSL 3
        server, port = await port_of(loop, LineServer, context)
        client = s_client(port, option)
        try:
            out = await loop.run_in_executor(None, talk, client)
        finally:
            client.kill()
            client.wait()
            client.stdin.close()
            client.stdout.close()
        assert out.count(b"<5>") == 4
        assert out.count(b".") >= 200_000
        server.close()

    def talk(client):
        out = b""
        for _ in range(4):
            client.stdin.write(b"hello\n")
            client.stdin.flush()
            want = out.count(b".") + 50_000
            while out.count(b".") < want:
                part = os.read(client.stdout.fileno(), 65536)
                if not part:
                    return out
                out += part
            client.stdin.write(command)
            client.stdin.flush()
            time.sleep(0.1)
        return out

    run(loop, main())
    assert not reports


# ---- start_tls ----


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
