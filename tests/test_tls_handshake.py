"""TLS handshakes that fail, and what is left of them: nothing."""

import asyncio
import gc
import os
import socket
import ssl

import pytest

pytest.importorskip("trustme")

import tls_support
from support import cloop_only
from tls_support import (
    TLS12,
    Echo,
    Peer,
    Recorder,
    connect,
    only,
    openssl_error,
    port_of,
    read_all,
    run,
)

impl = tls_support.impl
contexts = tls_support.contexts
version = tls_support.version


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


def check_failed_handshakes(loop, contexts, warm_up, count, bytes_more):
    """Memory, descriptors and OpenSSL's error queue are as before."""
    psutil = pytest.importorskip("psutil")
    process = psutil.Process()
    failed_handshakes(loop, contexts, warm_up)
    gc.collect()
    before = process.memory_info().rss
    descriptors = process.num_fds()
    failed_handshakes(loop, contexts, count)
    gc.collect()
    assert process.num_fds() == descriptors
    assert openssl_error() == 0
    if "CLOOP_SANITIZED" not in os.environ:  # the sanitizer keeps freed blocks
        assert process.memory_info().rss - before < bytes_more


def test_failed_handshakes_leave_nothing_behind(impl, loop, reports, contexts):
    cloop_only(impl, "takes long")
    check_failed_handshakes(loop, contexts, 400, 600, 2_000_000)
    assert not reports


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_failed_handshakes(impl, loop, contexts):
    cloop_only(impl, "takes long")
    if not os.environ.get("CLOOP_SLOW_TESTS"):
        pytest.skip("CLOOP_SLOW_TESTS is not set")
    check_failed_handshakes(loop, contexts, 1000, 10_000, 4_000_000)
