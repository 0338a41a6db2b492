"""Thousands of connections, endpoints, pipes and children leave as many blocks,
references and descriptors as a few do.
"""

import asyncio
import contextlib
import os
import socket
import ssl

import pytest
from counting import counts, grows
from support import cloop_only

try:
    from tls_support import Contexts
except pytest.skip.Exception:  # no trustme
    Contexts = None

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        "CLOOP_SANITIZED" in os.environ, reason="the sanitizer keeps freed blocks"
    ),
]


CONTEXTS = None  # made by tls_contexts


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Client(asyncio.Protocol):
    def __init__(self):
        loop = asyncio.get_running_loop()
        self.heard, self.lost = loop.create_future(), loop.create_future()

    def data_received(self, data):
        if not self.heard.done():
            self.heard.set_result(data)

    def connection_lost(self, error):
        self.lost.set_result(error)


class BufferedEcho(asyncio.BufferedProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.buffer = bytearray(1000)

    def get_buffer(self, hint):
        return self.buffer

    def buffer_updated(self, size):
        self.transport.write(memoryview(self.buffer)[:size])


class Broken(asyncio.Protocol):
    def data_received(self, data):
        raise ValueError("on purpose")


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.heard = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, address):
        self.heard.set_result((data, address))

    def error_received(self, error):
        self.heard.set_result((error, None))


@contextlib.asynccontextmanager
async def serving(loop, factory, **options):
    server = await loop.create_server(factory, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0)


async def ask(loop, port, **options):
    """One connection: a message, its echo, the end."""
    transport, client = await loop.create_connection(
        Client, "127.0.0.1", port, **options
    )
    repr(transport)
    transport.write(b"hello")
    transport.writelines([b"1", bytearray(b"2")])
    assert (await client.heard).startswith(b"hello")
    transport.get_extra_info("peername")
    transport.close()
    await client.lost


# -- rounds ----------------------------------------------------------------------------


async def protocols(loop):
    async with serving(loop, Echo) as port:
        await ask(loop, port)


async def buffered_protocols(loop):
    async with serving(loop, BufferedEcho) as port:
        await ask(loop, port)


async def sockets_of_transports(loop):
    async with serving(loop, Echo) as port:
        transport, client = await loop.create_connection(Client, "127.0.0.1", port)
        transport.get_extra_info("socket").getsockname()
        transport.anything = transport  # a cycle
        transport.pause_reading()
        transport.resume_reading()
        transport.set_protocol(client)
        transport.abort()
        await client.lost


async def large_writes(loop):
    async with serving(loop, Echo) as port:
        transport, client = await loop.create_connection(Client, "127.0.0.1", port)
        transport.write(bytes(3 << 20))
        transport.write(memoryview(bytearray(1 << 20)))
        await client.heard
        transport.abort()
        await client.lost


async def errors_of_protocols(loop):
    loop.set_exception_handler(lambda loop, context: None)
    async with serving(loop, Broken) as port:
        transport, client = await loop.create_connection(Client, "127.0.0.1", port)
        transport.write(b"x")
        await client.lost


async def refused(loop):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Client, *bound.getsockname())


async def cancelled_connecting(loop):
    task = loop.create_task(loop.create_connection(Client, "127.0.0.1", 9))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def streams(loop):
    async def connected(reader, writer):
        async for line in reader:
            writer.write(line)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"one\ntwo\nthree")
    await writer.drain()
    await reader.readline()
    await reader.readexactly(4)
    writer.write_eof()
    assert await reader.read() == b"three"
    with pytest.raises(asyncio.IncompleteReadError):
        await reader.readuntil(b"x")
    writer.close()
    await writer.wait_closed()
    server.close()
    await asyncio.sleep(0)


async def a_waiting_reader_is_cancelled(loop):
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_connection(sock=ours)
        task = loop.create_task(reader.readline())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        writer.close()
        await writer.wait_closed()


async def datagrams(loop):
    server, there = await loop.create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", 0)
    )
    address = server.get_extra_info("sockname")
    client, here = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
    client.sendto(b"hello")
    data, back = await there.heard
    server.sendto(data, back)
    await here.heard
    client.close()
    server.abort()
    await asyncio.sleep(0)


async def refused_datagrams(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        address = deaf.getsockname()
        deaf.connect(address)  # keeps the port, and hears nobody else
        client, here = await loop.create_datagram_endpoint(
            Datagrams, remote_addr=address
        )
        client.sendto(b"hello")
        assert isinstance((await here.heard)[0], ConnectionRefusedError)
        client.close()
        await asyncio.sleep(0)


async def pipes(loop):
    receiver, sender = os.pipe()
    reader = asyncio.StreamReader()
    incoming, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), open(receiver, "rb", 0)
    )
    outgoing, client = await loop.connect_write_pipe(Client, open(sender, "wb", 0))
    outgoing.write(b"hello")
    await reader.readexactly(5)
    outgoing.write(b"rest")
    outgoing.write_eof()
    assert await reader.read() == b"rest"
    await client.lost
    incoming.close()
    await asyncio.sleep(0)


async def children(loop):
    child = await asyncio.create_subprocess_exec(
        "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert (await child.communicate(b"hello"))[0] == b"hello"


async def tls(loop):
    async with serving(loop, Echo, ssl=CONTEXTS["server"]) as port:
        await ask(loop, port, ssl=CONTEXTS["client"], server_hostname="localhost")


async def portable_tls(loop):
    if isinstance(loop, asyncio.SelectorEventLoop):
        return
    from cloop import _cloop

    _cloop._tls_backend("portable")
    try:
        await tls(loop)
    finally:
        _cloop._tls_backend("")


async def failed_handshakes(loop):
    loop.set_exception_handler(lambda loop, context: None)
    async with serving(loop, Echo, ssl=CONTEXTS["server"]) as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.create_connection(
                Client, "127.0.0.1", port, ssl=CONTEXTS["strange"]
            )
        await asyncio.sleep(0.005)


ROUNDS = [
    protocols,
    buffered_protocols,
    sockets_of_transports,
    large_writes,
    errors_of_protocols,
    refused,
    cancelled_connecting,
    streams,
    a_waiting_reader_is_cancelled,
    datagrams,
    refused_datagrams,
    pipes,
    children,
    tls,
    portable_tls,
    failed_handshakes,
]
TLS = (tls, portable_tls, failed_handshakes)
SLOW = (children, large_writes, *TLS)


@pytest.fixture(scope="module", autouse=True)
def tls_contexts():
    """CONTEXTS: made once, so that they count for nothing."""
    global CONTEXTS
    if Contexts is not None:
        made = Contexts()
        strange = ssl.create_default_context()
        CONTEXTS = {
            "server": made.server(),
            "client": made.client(),
            "strange": strange,
        }
    yield
    CONTEXTS = None


def run(loop, one_round, rounds):
    if Contexts is None and one_round in TLS:
        pytest.skip("needs trustme")

    def run_round(loop):
        loop.run_until_complete(one_round(loop))

    for _ in range(20):
        run_round(loop)
    counts()
    grown = grows(loop, run_round, rounds)
    assert grown is None, f"grown in each of {rounds} rounds by {grown}"


@pytest.mark.parametrize("one_round", ROUNDS, ids=lambda f: f.__name__)
def test_flat(loop, one_round):
    run(loop, one_round, 10 if one_round in SLOW else 40)


@pytest.mark.slow
@pytest.mark.parametrize("one_round", ROUNDS, ids=lambda f: f.__name__)
def test_flat_over_thousands(impl, loop, one_round):
    cloop_only(impl, "it is our memory")
    if one_round in SLOW:
        pytest.skip("too slow for more than the test above")
    run(loop, one_round, 300)
