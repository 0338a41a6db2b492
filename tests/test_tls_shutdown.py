"""How TLS connections end: close, abort, the peer's end, errors."""

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import struct
import threading
import time
import warnings

import pytest

pytest.importorskip("trustme")

import tls_support
from support import PY, cloop_only
from tls_support import (
    LIMIT,
    OLD,
    Echo,
    Peer,
    Recorder,
    connect,
    old_stock,
    port_of,
    read_all,
    run,
)

impl = tls_support.impl
contexts = tls_support.contexts
version = tls_support.version


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


@pytest.mark.skipif(PY < (3, 14), reason="no end before")
@pytest.mark.parametrize("closes", [False, True], ids=["peer", "both"])
def test_a_peer_that_ends_and_does_not_read_is_not_waited_for(
    loop, reports, contexts, closes
):
    filled, done = threading.Event(), threading.Event()

    def serve(sock):
        with contexts.server().wrap_socket(sock, server_side=True) as tls:
            filled.wait(LIMIT)
            tls.shutdown(socket.SHUT_WR)
            done.wait(LIMIT)

    async def main():
        with Peer(serve) as peer:
            transport, protocol = await connect(
                loop, peer.port, contexts.client(), ssl_shutdown_timeout=0.2
            )
            try:
                while not transport._ssl_protocol._transport.get_write_buffer_size():
                    transport.write(bytes(1 << 20))
                    await asyncio.sleep(0)
                if closes:
                    transport.close()
                filled.set()
                error = await protocol.lost
            finally:
                filled.set()
                done.set()
                transport.abort()
        assert isinstance(error, asyncio.TimeoutError)
        assert str(error) == "SSL shutdown timed out"

    run(loop, main())
    assert not reports


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
        reason = "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
        if ssl.OPENSSL_VERSION_INFO >= (3, 2):
            reason = "RECORD_LAYER_FAILURE"
        assert error.reason == reason
        assert error.args[0] == ssl.SSL_ERROR_SSL == error.errno
        words = reason.lower().replace("_", " ")
        assert str(error).startswith(f"[SSL: {reason}] {words}")

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


def handshake_by_hand(sock, context):
    """A server's side whose records the test moves itself: (object, incoming, out)."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65536))
        else:
            sock.sendall(outgoing.read())
            return tls, incoming, outgoing


def read_by_hand(sock, tls, incoming, to_the_end=True, count=None):
    """What comes up to close_notify, which must come; or what is there; or so much."""
    found = bytearray()
    while len(found) != count:
        try:
            part = tls.read(65536)
        except ssl.SSLZeroReturnError:
            return bytes(found)
        except ssl.SSLWantReadError:
            if not to_the_end:
                return bytes(found)
            data = sock.recv(65536)
            assert data, "FIN without close_notify"
            incoming.write(data)
        else:
            if not part:
                return bytes(found)
            found += part
    return bytes(found)


def test_the_peer_s_close_notify_while_a_stream_drains(impl, loop, contexts):
    """A writer whose peer does not read is full; the peer says close_notify, and then
    reads on: it gets all that was written, and our close_notify."""
    old_stock(impl, "loses the backlog")
    full = threading.Event()
    heard_end = threading.Event()
    got = []

    def serve(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        tls, incoming, outgoing = handshake_by_hand(sock, contexts.server())
        assert full.wait(LIMIT)
        found = read_by_hand(sock, tls, incoming, to_the_end=False)
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        sock.sendall(outgoing.read())
        assert heard_end.wait(LIMIT)
        got.append(found + read_by_hand(sock, tls, incoming))

    async def main():
        with Peer(serve) as peer:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                peer.port,
                ssl=contexts.client(),
                server_hostname="localhost",
            )
            count = 0
            with pytest.raises(asyncio.TimeoutError):
                while True:
                    writer.write(b"%8d" % count * 2048)
                    count += 1
                    await asyncio.wait_for(writer.drain(), 0.3)
            full.set()
            assert await reader.read() == b""
            heard_end.set()
            writer.close()
            await writer.wait_closed()
        return b"".join(b"%8d" % n * 2048 for n in range(count))

    sent = run(loop, main())
    assert len(got[0]) == len(sent)
    assert got[0] == sent


def test_fin_waits_for_the_user_who_has_paused_reading(impl, loop, reports, contexts):
    """Nothing is heard of what came before it, nor of itself, until reading goes on. No
    timer runs until then, and none is left afterwards; resume_reading() in
    eof_received() changes nothing. (uvloop drops the data and closes.)"""
    old_stock(impl, "loses data")

    def serve(sock):
        tls = contexts.server().wrap_socket(sock, server_side=True)
        with tls:
            tls.sendall(b"hello")
            assert read_all(tls, 5) == b"world"
            tls.sendall(b"more")
            tls.shutdown(socket.SHUT_WR)  # of the socket: no close_notify
            read_all(tls)

    class Pauses(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if data == b"hello":
                self.transport.write(b"world")
                self.transport.pause_reading()

        def eof_received(self):
            super().eof_received()
            self.transport.resume_reading()

    options = {} if OLD else {"ssl_shutdown_timeout": 0.2}

    async def main():
        with Peer(serve) as peer:
            transport, protocol = await connect(
                loop, peer.port, contexts.client(), lambda: Pauses(loop), **options
            )
            await protocol.have(5)
            await asyncio.sleep(0.4)
            assert protocol.calls == ["made", "data"]
            transport.resume_reading()
            assert await protocol.lost is None
        assert protocol.calls == ["made", "data", "eof", "lost"]
        assert protocol.data == b"hellomore"
        await asyncio.sleep(0)
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]
        assert len(timers) == 1  # of run()
        assert timers[0].when() > loop.time() + 10

    run(loop, main())
    assert not reports


@pytest.mark.parametrize("size", [0, 8_000_000])
def test_close_ends_when_the_peer_is_silent(impl, loop, contexts, size):
    """It reads nothing, be there a backlog or close_notify alone to be answered."""
    if OLD:
        pytest.skip("no ssl_shutdown_timeout before 3.11")
    closed = threading.Event()

    def serve(sock):
        tls = contexts.server().wrap_socket(sock, server_side=True)
        with tls:
            assert closed.wait(LIMIT)

    async def main():
        with Peer(serve) as peer:
            transport, protocol = await connect(
                loop, peer.port, contexts.client(), ssl_shutdown_timeout=0.3
            )
            transport.write(b"x" * size)
            started = loop.time()
            transport.close()
            error = await protocol.lost
            closed.set()
            assert isinstance(error, asyncio.TimeoutError)
            assert str(error) == "SSL shutdown timed out"
            assert 0.25 < loop.time() - started < 3
        assert protocol.calls == ["made", "lost"]

    run(loop, main())


def test_data_and_close_notify_and_fin_in_one_segment(impl, loop, reports, contexts):
    """While reading is paused: all is heard, in order, when it goes on."""
    old_stock(impl, "loses data")
    sent = threading.Event()

    def serve(sock):
        tls, incoming, outgoing = handshake_by_hand(sock, contexts.server())
        assert read_by_hand(sock, tls, incoming, count=1) == b"?"
        tls.write(b"x" * 500)
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        sock.send(outgoing.read(), socket.MSG_MORE)
        sock.shutdown(socket.SHUT_WR)
        sent.set()
        with contextlib.suppress(ConnectionResetError):
            read_all(sock)

    async def main():
        with Peer(serve) as peer:
            transport, protocol = await connect(loop, peer.port, contexts.client())
            transport.write(b"?")
            transport.pause_reading()
            await loop.run_in_executor(None, sent.wait, LIMIT)
            await asyncio.sleep(0.05)
            assert protocol.calls == ["made"]
            transport.resume_reading()
            assert await protocol.lost is None
        assert protocol.data == b"x" * 500
        assert protocol.calls == ["made", "data", "eof", "lost"]

    run(loop, main())
    assert not reports


@pytest.mark.parametrize("left", [1, 5, 6, 500])
def test_a_truncated_record(loop, reports, contexts, version, left):
    """FIN in its middle: what stood before it is delivered, of itself nothing."""

    def serve(sock):
        tls, _, outgoing = handshake_by_hand(sock, contexts.server(**version))
        tls.write(b"whole")
        tls.write(b"x" * 500)
        sock.sendall(outgoing.read()[:-left])
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            read_all(sock)

    async def main():
        with Peer(serve) as peer:
            _, protocol = await connect(loop, peer.port, contexts.client(**version))
            assert await protocol.lost is None
        assert protocol.data == b"whole"
        assert protocol.calls == ["made", "data", "eof", "lost"]

    run(loop, main())
    assert not reports
