"""OpenSSL's own s_client and s_server, with odd options, as peers of our TLS."""

import asyncio
import contextlib
import functools
import ssl
import subprocess

import pytest
import real
from tls_support import Echo, connect, port_of

OPENSSL = real.need_program("openssl")
VERSIONS = {"1.2": "-tls1_2", "1.3": "-tls1_3"}
ALLOW_RENEGOTIATION = 1 << 8  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION


@pytest.fixture(params=sorted(VERSIONS))
def version(request):
    return VERSIONS[request.param]


@pytest.fixture
def openssl(program, certificates):
    """Starts the command; `trust` is added where it is to verify us."""

    def start(*args):
        return program([OPENSSL, *args], stdin=subprocess.PIPE)

    start.trust = ["-CAfile", certificates.authority_file, "-verify_return_error"]
    return start


async def in_thread(function, *args):
    """So that the loop serves what a blocking wait is for."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, functools.partial(function, *args))


class Serving:
    """An echo server on the running loop; `made` has the transports of its connections,
    `ends` what connection_lost was told."""

    def __init__(self, impl, context):
        self.impl = impl
        self.context = context
        self.made = []
        self.ends = asyncio.Queue()

    def _protocol(self):
        serving = self

        class Protocol(Echo):
            def connection_made(self, transport):
                super().connection_made(transport)
                real.check_tls(serving.impl, transport)
                serving.made.append(transport)

            def connection_lost(self, exc):
                serving.ends.put_nowait(exc)

        return Protocol()

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self.server, self.port = await port_of(loop, self._protocol, self.context)
        self.address = ["-connect", f"127.0.0.1:{self.port}"]
        return self

    async def __aexit__(self, *exc_info):
        self.server.close()
        for transport in self.made:
            transport.abort()
        if exc_info[0] is None:
            await self.server.wait_closed()

    async def ended(self):
        return await asyncio.wait_for(self.ends.get(), 20)

    async def still_serves(self, certificates):
        """To a client of ours."""
        loop = asyncio.get_running_loop()
        transport, protocol = await connect(loop, self.port, certificates.client())
        transport.write(b"still here")
        assert await asyncio.wait_for(protocol.have(10), 20) == b"still here"
        transport.close()
        await protocol.lost
        await self.ended()


async def echoed(client, *lines):
    """It says them and prints what we answer, perhaps amidst other output."""
    for line in lines:
        client.say(line + "\n")
        await in_thread(client.wait_for_output, f"(?m){line}$")


# -- s_client against our server -------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-no_ticket"],
        ["-servername", "localhost", "-alpn", "h2,http/1.1"],
        ["-max_send_frag", "512", "-split_send_frag", "512"],
        ["-read_buf", "65536", "-nbio"],
        ["-mtu", "1400", "-legacy_renegotiation"],
        ["-groups", "P-256", "-sigalgs", "ECDSA+SHA256"],
    ],
    ids=lambda options: options[0] if options else "plain",
)
def test_options(run, impl, openssl, certificates, version, options):
    async def main():
        context = certificates.server()
        context.set_alpn_protocols(["http/1.1"])
        async with Serving(impl, context) as serving:
            client = openssl(
                "s_client", *serving.address, version, *options, *openssl.trust
            )
            await in_thread(client.wait_for_output, "Verify return code: 0")
            await echoed(client, "first", "x" * 10_000, "last")
            if "-alpn" in options:
                assert "ALPN protocol: http/1.1" in client.output()
            client.say("Q\n")
            assert await serving.ended() is None
            assert await in_thread(client.process.wait, 20) == 0

    run(main)


def test_reconnect(run, impl, openssl, certificates):
    """One session, resumed five times."""

    async def main():
        async with Serving(impl, certificates.server()) as serving:
            client = openssl("s_client", *serving.address, "-tls1_2", "-reconnect")
            await in_thread(client.wait_for_output, "(?s)(Reused, TLSv1.2.*){5}")
            await echoed(client, "after it all")
            client.say("Q\n")
            for _ in range(6):
                await serving.ended()
            assert await in_thread(client.process.wait, 20) == 0

    run(main)


@pytest.mark.parametrize("ticket", [[], ["-no_ticket"]], ids=["ticket", "no ticket"])
def test_session_files(run, impl, openssl, certificates, version, ticket, tmp_path):
    """A session that one process saves and another resumes."""
    path = str(tmp_path / "session")

    async def main():
        async with Serving(impl, certificates.server()) as serving:
            for options in (["-sess_out", path], ["-sess_in", path]):
                client = openssl(
                    "s_client", *serving.address, version, *ticket, *options
                )
                await in_thread(client.wait_for_output, "(New|Reused), ")
                await echoed(client, "hello")
                client.say("Q\n")
                await serving.ended()
                assert await in_thread(client.process.wait, 20) == 0
            assert "Reused, " in client.output()

    run(main)


def test_client_certificate(run, impl, openssl, certificates, version):
    async def main():
        context = certificates.asking_for_certificates(certificates.server())
        options = ["-cert", certificates.client_chain, "-key", certificates.client_key]
        async with Serving(impl, context) as serving:
            client = openssl("s_client", *serving.address, version, *options)
            await echoed(client, "it is me")
            (transport,) = serving.made
            names = transport.get_extra_info("peercert")["subjectAltName"]
            assert ("email", "client@example.org") in names
            client.say("Q\n")
            await serving.ended()
            # And one without: it is told so, and no protocol hears of it.
            client = openssl("s_client", *serving.address, version)
            assert await in_thread(client.process.wait, 20) != 0
            if impl.is_cloop:  # stock closes without a word
                assert "alert" in client.output()
            assert len(serving.made) == 1

    run(main)


@pytest.mark.parametrize("command", ["k", "K"])
def test_key_update(run, impl, openssl, certificates, command):
    """k: of the client's keys; K: and of ours."""

    async def main():
        async with Serving(impl, certificates.server()) as serving:
            client = openssl("s_client", *serving.address, "-tls1_3")
            await echoed(client, "before")
            for number in range(3):
                client.say(command + "\n")
                seen = f"(?s)(KEYUPDATE.*){{{number + 1}}}"
                await in_thread(client.wait_for_output, seen)
                await echoed(client, f"after {number}", "y" * 5_000 + str(number))
            client.say("Q\n")
            assert await serving.ended() is None

    run(main)


def test_renegotiation(run, impl, openssl, certificates):
    """In the middle of a connection, where the user's context allows it."""

    async def main():
        context = certificates.server()
        context.options |= ALLOW_RENEGOTIATION
        async with Serving(impl, context) as serving:
            client = openssl("s_client", *serving.address, "-tls1_2")
            await echoed(client, "before")
            for number in range(3):
                client.say("R\n")
                seen = f"(?s)(RENEGOTIATING.*){{{number + 1}}}"
                await in_thread(client.wait_for_output, seen)
                await echoed(client, f"after {number}")
            client.say("Q\n")
            assert await serving.ended() is None

    run(main)


def test_renegotiation_refused(run, impl, openssl, certificates):
    async def main():
        context = certificates.server()
        context.options &= ~ALLOW_RENEGOTIATION
        async with Serving(impl, context) as serving:
            client = openssl("s_client", *serving.address, "-tls1_2")
            await echoed(client, "before")
            client.say("R\n")
            assert await in_thread(client.process.wait, 20) != 0
            assert "no renegotiation" in client.output()
            await serving.ended()
            await serving.still_serves(certificates)

    run(main)


def test_early_close(run, impl, openssl, certificates, version):
    """The end of input, a kill in mid-stream, and a kill of one that says nothing."""

    async def main():
        async with Serving(impl, certificates.server()) as serving:
            client = openssl("s_client", *serving.address, version)
            await echoed(client, "hello")
            client.process.stdin.close()
            assert await serving.ended() is None
            assert await in_thread(client.process.wait, 20) == 0
            client = openssl("s_client", *serving.address, version)
            await echoed(client, "hello")
            client.process.kill()
            # Without a close_notify: stock before 3.11 and 3.12 differ in how they
            # say it, what counts is that it ends.
            await serving.ended()
            await serving.still_serves(certificates)

    run(main)


def test_wrong_peers(run_loosely, impl, openssl, certificates):
    """Clients that share no version or no cipher with us, or speak no TLS."""

    async def main():
        context = certificates.server(minimum_version=ssl.TLSVersion.TLSv1_3)
        async with Serving(impl, context) as serving:
            client = openssl("s_client", *serving.address, "-tls1_2")
            client.process.stdin.close()
            assert await in_thread(client.process.wait, 20) != 0
            if impl.is_cloop:  # stock closes without a word
                assert "protocol version" in client.output()
            reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 20)
            writer.close()
            assert serving.made == []
            await serving.still_serves(certificates)

    run_loosely(main)


# -- our client against s_server -------------------------------------------------------


@pytest.fixture
def s_server(openssl, certificates):
    """Starts s_server with its certificate; its port is told by itself."""

    def start(*options):
        server = openssl(
            *("s_server", "-accept", "127.0.0.1:0"),
            *("-cert", certificates.chain, "-key", certificates.key, *options),
        )
        found = server.wait_for_output(r"ACCEPT 127\.0\.0\.1:(\d+)")
        server.port = int(found.group(1))
        return server

    return start


class Connected:
    """A connection of ours to s_server."""

    def __init__(self, impl, server, context):
        self.impl, self.server, self.context = impl, server, context
        self.done = 0

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self.transport, self.protocol = await connect(
            loop, self.server.port, self.context
        )
        real.check_tls(self.impl, self.transport)
        return self

    async def __aexit__(self, *exc_info):
        self.transport.abort()
        await asyncio.wait_for(self.protocol.lost, 20)

    async def commands(self, letter):
        """One of the server's commands, as its input. It looks there before it looks at
        its connection, so when it hears us again it has read the command."""
        self.done += 1
        self.server.say(letter + "\n")
        await self.hears(f"command {self.done}")

    async def hears(self, line):
        """The server prints what we say."""
        self.transport.write(line.encode() + b"\n")
        await in_thread(self.server.wait_for_output, f"(?m){line}$")

    async def says(self, line):
        """The server sends what stands in its input."""
        wanted = len(self.protocol.data) + len(line) + 1
        self.server.say(line + "\n")
        data = await asyncio.wait_for(self.protocol.have(wanted), 20)
        assert data.endswith(line.encode() + b"\n")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-no_ticket"],
        ["-num_tickets", "7"],
        ["-max_send_frag", "512", "-split_send_frag", "512"],
        ["-serverpref", "-no_resumption_on_reneg"],
        ["-nbio"],
    ],
    ids=lambda options: options[0] if options else "plain",
)
def test_server_options(run, impl, s_server, certificates, version, options):
    async def main():
        server = s_server(version, *options)
        async with Connected(impl, server, certificates.client()) as ours:
            await ours.hears("hello")
            await ours.says("good day")
            await ours.hears("z" * 20_000)
            await ours.says("last")
            server.say("q\n")  # ends the connection
            assert await asyncio.wait_for(ours.protocol.lost, 20) is None

    run(main)


def test_reversed_lines(run, impl, s_server, certificates, version):
    async def main():
        async with Connected(
            impl, s_server(version, "-rev"), certificates.client()
        ) as ours:
            for number in range(50):
                line = b"%d " % number * 100
                before = len(ours.protocol.data)
                ours.transport.write(line + b"\n")
                data = await asyncio.wait_for(
                    ours.protocol.have(before + len(line) + 1), 20
                )
                assert data[before:] == line[::-1] + b"\n"

    run(main)


def test_status_page(run, impl, s_server, certificates, version):
    """By streams: the answer ends with the connection."""

    async def main():
        port = s_server(version, "-www").port
        for _ in range(3):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                port,
                ssl=certificates.client(),
                server_hostname="localhost",
            )
            real.check_tls(impl, writer.transport)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            page = await asyncio.wait_for(reader.read(), 20)
            assert page.startswith(b"HTTP/1.0 200 ok")
            assert page.endswith(b"</html>\r\n\r\n") or b"</pre>" in page
            writer.close()
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await writer.wait_closed()

    run(main)


@pytest.mark.parametrize("command", ["k", "K"])
def test_key_update_by_the_server(run, impl, s_server, certificates, command):
    async def main():
        server = s_server("-tls1_3")
        async with Connected(impl, server, certificates.client()) as ours:
            await ours.hears("before")
            for number in range(3):
                await ours.commands(command)
                await ours.says(f"said after {number}")
                await ours.hears(f"heard after {number}")

    run(main)


@pytest.mark.parametrize("command", ["r", "R"])
def test_renegotiation_by_the_server(run, impl, s_server, certificates, command):
    """R: and it asks for our certificate. (We hear of the end by what it says then:
    stock before 3.11 forgets what is written while it negotiates.)"""

    async def main():
        server = s_server("-tls1_2", "-state")
        context = certificates.with_client_certificate(certificates.client())
        async with Connected(impl, server, context) as ours:
            await ours.hears("before")
            await ours.commands(command)
            seen = "(?s)(SSL_accept:SSLv3/TLS read finished.*){2}"
            await in_thread(server.wait_for_output, seen)
            await ours.says("said after")
            await ours.hears("heard after")

    run(main)


def test_certificate_asked_for_later(run, impl, s_server, certificates):
    """TLS 1.3's authentication after the handshake."""

    async def main():
        server = s_server(
            "-tls1_3", "-Verify", "1", "-CAfile", certificates.authority_file
        )
        server_without = s_server("-tls1_3")
        context = certificates.with_client_certificate(certificates.client())
        context.post_handshake_auth = True
        async with Connected(impl, server, context) as ours:
            await ours.hears("with a certificate")
        async with Connected(impl, server_without, context) as ours:
            await ours.hears("before")
            await ours.commands("c")
            await ours.hears("heard after")
            await ours.says("said after")

    run(main)


def test_server_that_ends(run, impl, s_server, certificates, version):
    """Killed in mid-stream: no clean end where stock says so; and plain text in between
    the records."""

    async def main():
        server = s_server(version)
        async with Connected(impl, server, certificates.client()) as ours:
            await ours.hears("hello")
            server.process.kill()
            await asyncio.wait_for(ours.protocol.lost, 20)
            assert "lost" in ours.protocol.calls
        server = s_server(version)
        async with Connected(impl, server, certificates.client()) as ours:
            await ours.hears("hello")
            server.say("P\n")
            lost = await asyncio.wait_for(ours.protocol.lost, 20)
            assert isinstance(lost, ssl.SSLError)
            assert b"print" not in ours.protocol.data

    run(main)
