"""Scenarios of syscalls.py over TLS, by both ways to OpenSSL."""

import asyncio
import ssl

import peers
from peers import DATA, EchoSide, Side, close_all, until_enough

from cloop import _cloop

contexts = None  # (the server's, the client's)


def make_contexts():
    """Once, in the process whose forks make the attempts."""
    global contexts
    import trustme

    authority = trustme.CA()
    contexts = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    authority.issue_cert("localhost").configure_cert(contexts[0])
    authority.configure_trust(contexts[1])


async def handshake(awaitable):
    """A handshake that ends because the other side has met with the fault: a server
    tells nobody."""
    try:
        return await awaitable
    except (ConnectionError, ssl.SSLError) as exc:
        if exc.errno == peers.injected:
            raise
        raise OSError(peers.injected, "the other side has seen it") from exc


async def exchange(client, sides, data):
    """`data` there and back in pieces, and a close that both sides hear of."""
    try:
        for start in range(0, len(data), 30000):
            client.transport.write(data[start : start + 10000])
            client.transport.writelines(
                [data[start + 10000 : start + 20000], data[start + 20000 :][:10000]]
            )
            await asyncio.sleep(0)
        await until_enough(client, *[side for side in sides if side is not client])
        assert client.data == data
    finally:
        await close_all(*[side for side in sides if side.transport is not None])


async def exchange_if_connected(client, sides, data):
    """The same; a server whose handshake has failed (the client's is over before that
    with TLS 1.3) has met with the fault."""
    try:
        await exchange(client, sides, data)
    except ConnectionError as exc:
        if any(side.transport is not None for side in sides if side is not client):
            raise
        raise OSError(peers.injected, "the server's handshake has seen it") from exc


def make_client(loop):
    client = Side(loop)
    data = DATA[: 300 if peers.one_byte else 100000]
    client.wanted = len(data)
    return client, data


async def tls(loop):
    sides = []

    def accepted():
        sides.append(EchoSide(loop))
        return sides[-1]

    server = await loop.create_server(accepted, "127.0.0.1", 0, ssl=contexts[0])
    try:
        client, data = make_client(loop)
        sides.append(client)
        address = server.sockets[0].getsockname()
        await handshake(
            loop.create_connection(
                lambda: client, *address, ssl=contexts[1], server_hostname="localhost"
            )
        )
        await exchange_if_connected(client, sides, data)
    finally:
        server.close()


class Upgraded(EchoSide):
    """Goes over to TLS as soon as it is connected."""

    upgrade = None

    def connection_made(self, transport):
        super().connection_made(transport)
        if self.upgrade is None:
            self.upgrade = asyncio.ensure_future(self.start())

    async def start(self):
        plain, self.transport = self.transport, None
        self.transport = await self.loop.start_tls(
            plain, self, contexts[0], server_side=True
        )


async def start_tls(loop):
    sides = []

    def accepted():
        sides.append(Upgraded(loop))
        return sides[-1]

    server = await loop.create_server(accepted, "127.0.0.1", 0)
    try:
        client, data = make_client(loop)
        address = server.sockets[0].getsockname()
        plain, _ = await loop.create_connection(lambda: client, *address)
        try:
            client.transport = await handshake(
                loop.start_tls(plain, client, contexts[1], server_hostname="localhost")
            )
            if client.transport is None:
                raise OSError(peers.injected, "the connection was lost meanwhile")
            sides.append(client)
            await exchange_if_connected(client, sides, data)
        finally:
            plain.abort()
            upgrades = [side.upgrade for side in sides if side is not client]
            await asyncio.gather(*upgrades, return_exceptions=True)
    finally:
        server.close()


def by(way, scenario):
    async def run(loop):
        assert _cloop._tls_backend(way)[0] == way
        await scenario(loop)

    run.__name__ = f"{scenario.__name__}_{way}"
    return run


SCENARIOS = [
    by(way, each) for each in (tls, start_tls) for way in ("direct", "portable")
]
NAMES = [scenario.__name__ for scenario in SCENARIOS]
