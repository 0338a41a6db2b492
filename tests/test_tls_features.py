"""What TLS can do: SNI, ALPN, client certificates, sessions, renegotiation."""

import asyncio
import os
import socket
import ssl
import sys
import time
import warnings

import pytest

pytest.importorskip("trustme")

import tls_support
from tls_support import (
    TLS13,
    Echo,
    Recorder,
    connect,
    needs_openssl,
    old_stock,
    only,
    port_of,
    run,
    s_client,
)

impl = tls_support.impl
contexts = tls_support.contexts
version = tls_support.version


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


def test_sni_changes_the_context(loop, reports, contexts, version):
    """To one with another certificate, in the middle of the handshake."""
    other = contexts.server(**version)
    contexts.authority.issue_cert("other.example").configure_cert(other)

    def choose(sslobj, name, context):
        if name == "other.example":
            sslobj.context = other

    async def main():
        server_context = contexts.server(**version)
        server_context.sni_callback = choose
        server, port = await port_of(loop, Echo, server_context)
        for name in "localhost", "other.example":
            transport, protocol = await connect(
                loop, port, contexts.client(**version), server_hostname=name
            )
            names = transport.get_extra_info("peercert")["subjectAltName"]
            assert ("DNS", name) in names
            data = bytes(range(256)) * 1000
            transport.write(data)
            assert await protocol.have(len(data)) == data
            transport.close()
            assert await protocol.lost is None
        server.close()

    run(loop, main())
    assert not reports


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
