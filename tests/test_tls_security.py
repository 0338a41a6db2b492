"""What SECURITY.md promises for TLS, as far as other files of tests do not show it."""

import asyncio
import os
import socket
import ssl

import pytest

pytest.importorskip("trustme")

import tls_support
from support import HAS_GIL, cloop_only, run_program
from tls_support import (
    Echo,
    Peer,
    Recorder,
    connect,
    libcrypto,
    only,
    openssl_error,
    port_of,
    read_all,
    run,
)

impl = tls_support.impl
contexts = tls_support.contexts
version = tls_support.version


def leave_an_error():
    """In OpenSSL's queue, as code of others may."""
    new_file = libcrypto().BIO_new_file
    new_file(b"/nonexistent/nowhere", b"r")
    assert openssl_error() != 0


def test_errors_of_others_are_not_ours(impl, loop, reports, contexts, version):
    """What stands in OpenSSL's error queue already is no error of this connection."""
    cloop_only(impl, "the ssl module's own methods take them for theirs")
    if impl.way == "portable":
        pytest.skip("it goes through those methods")

    async def main():
        server, port = await port_of(loop, Echo, contexts.server(**version))
        transport, protocol = await connect(loop, port, contexts.client(**version))
        for count in range(1, 6):
            leave_an_error()
            transport.write(b"x" * 1000)
            leave_an_error()
            await protocol.have(count * 1000)
        assert openssl_error() == 0
        transport.close()
        assert await protocol.lost is None
        server.close()

    run(loop, main())
    assert not reports


def test_a_failed_connection_leaves_no_error(loop, contexts, version):
    def serve(sock):
        tls = contexts.server(**version).wrap_socket(sock, server_side=True)
        with socket.socket(fileno=tls.detach()) as rest:
            rest.sendall(b"\x17\x03\x03\x00\x40" + os.urandom(64))
            rest.settimeout(5)
            try:
                read_all(rest)
            except ConnectionResetError:
                pass

    async def main():
        with Peer(serve) as peer:
            _, protocol = await connect(loop, peer.port, contexts.client(**version))
            assert isinstance(await protocol.lost, ssl.SSLError)
            assert openssl_error() == 0

    run(loop, main())


def test_the_context_stays_as_it_is(loop, contexts):
    def state(context):
        names = "options", "verify_mode", "verify_flags", "check_hostname"
        names += "minimum_version", "maximum_version", "security_level"
        values = [getattr(context, name, None) for name in names]
        return values, context.get_ciphers(), len(context.get_ca_certs())

    async def main():
        both = contexts.server(), contexts.client()
        before = list(map(state, both))
        server, port = await port_of(loop, Echo, both[0])
        transport, protocol = await connect(loop, port, both[1])
        transport.write(b"x")
        await protocol.have(1)
        transport.close()
        await protocol.lost
        server.close()
        assert list(map(state, both)) == before

    run(loop, main())


@pytest.mark.parametrize("server_side", [False, True])
def test_no_version_below_the_context_s(loop, contexts, server_side):
    """Whichever side insists."""

    async def main():
        new = only(ssl.TLSVersion.TLSv1_3)
        old = only(ssl.TLSVersion.TLSv1_2)
        above = Recorder(loop)
        server, port = await port_of(
            loop, lambda: above, contexts.server(**(new if server_side else old))
        )
        client = contexts.client(**(old if server_side else new))
        below = Recorder(loop)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await connect(loop, port, client, lambda: below)
        await asyncio.sleep(0)
        assert above.calls == below.calls == []
        server.close()

    run(loop, main())


# The program's own copies of the secret are in bytearrays, which it overwrites; nothing
# but the connection makes others. OpenSSL is told to clear what it has decrypted.
SECRETS = """
import asyncio, gc, ssl, sys
import trustme
from cloop import _cloop

HEAD = bytes(range(100, 116))
TAIL = bytes(range(16))  # of which each byte is to be turned over

def fill(view):
    view[:16] = HEAD
    for i in range(16):
        view[16 + i] = TAIL[i] ^ 0xA5
    for at in range(32, len(view), 32):
        view[at : at + 32] = view[:32]

def count_secrets():
    found = 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            place, flags = line.split()[:2]
            if not flags.startswith("rw"):
                continue
            low, high = (int(part, 16) for part in place.split("-"))
            memory.seek(low)
            try:
                chunk = bytearray(memory.read(high - low))
            except OSError:
                continue
            at = chunk.find(HEAD)
            while at >= 0:
                rest = chunk[at + 16 : at + 32]
                found += all(b ^ 0xA5 == t for b, t in zip(rest, TAIL))
                at = chunk.find(HEAD, at + 1)
            wipe(chunk)
            del chunk
    return found

def wipe(buffer):
    with memoryview(buffer) as view:
        for at in range(0, len(view), 4096):
            view[at : at + 4096] = ZEROS[: len(view) - at]

ZEROS = bytes(4096)

class Receiver(asyncio.BufferedProtocol):
    def __init__(self):
        self.buffer = bytearray(100_000)
        self.count = 0

    def connection_made(self, transport):
        self.transport = transport
        transport.pause_reading()

    def get_buffer(self, hint):
        return self.buffer

    def buffer_updated(self, count):
        self.count += count
        wipe(self.buffer)
        if self.count == WANTED:
            done.set_result(None)

async def main():
    global done
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(server_context)
    authority.configure_trust(client_context)
    for context in server_context, client_context:
        context.options |= 2  # OP_CLEANSE_PLAINTEXT
    receiver = Receiver()
    server = await loop.create_server(
        lambda: receiver, "127.0.0.1", 0, ssl=server_context
    )
    transport, _ = await loop.create_connection(
        asyncio.Protocol,
        *server.sockets[0].getsockname(),
        ssl=client_context,
        server_hostname="localhost",
    )
    while not hasattr(receiver, "transport"):
        await asyncio.sleep(0)
    for size in SIZES:
        secret = bytearray(size)
        with memoryview(secret) as view:
            fill(view)
        transport.write(secret)
        wipe(secret)
    queued = transport.get_write_buffer_size()
    assert queued > 1_000_000, queued
    assert count_secrets() > 1000  # they wait
    receiver.transport.resume_reading()
    await done
    transport.close()
    receiver.transport.close()
    server.close()
    await asyncio.sleep(0.1)

SIZES = [32, 320, 3200, 32_000, 320_000] + [3200] * 100 + [64] * 1000 + [1_600_000] * 5
WANTED = sum(SIZES)
_cloop._tls_backend(sys.argv[1])
loop = new_event_loop()
loop.run_until_complete(main())
loop.close()
gc.collect()
print(count_secrets())
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="reads its own memory")
@pytest.mark.skipif(
    "CLOOP_SANITIZED" in os.environ, reason="of which there is too much"
)
@pytest.mark.skipif(
    ssl.OPENSSL_VERSION_INFO < (3, 0), reason="OpenSSL keeps what it has decrypted"
)
@pytest.mark.skipif(not HAS_GIL, reason="such builds cannot use malloc")
def test_no_secret_is_left_in_freed_memory(impl):
    cloop_only(impl, "stock's copies are Python objects")
    done = run_program(impl, SECRETS, impl.way, PYTHONMALLOC="malloc")
    assert int(done.stdout) == 0
