"""websockets, server and client on one loop."""

import asyncio
import os

import pytest
import real

websockets = real.need("websockets")
from websockets.asyncio.client import connect, unix_connect  # noqa: E402
from websockets.asyncio.server import broadcast, serve, unix_serve  # noqa: E402
from websockets.exceptions import (  # noqa: E402
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidStatus,
)


async def echo(ws):
    async for message in ws:
        await ws.send(message)


def address(server, scheme="ws"):
    port = next(iter(server.sockets)).getsockname()[1]
    return f"{scheme}://127.0.0.1:{port}/"


def test_echo(run):
    async def main():
        async with serve(echo, "127.0.0.1", 0) as server:
            async with connect(address(server)) as ws:
                for size in (0, 1, 125, 126, 65535, 65536, 900_000):
                    message = os.urandom(size)
                    await ws.send(message)
                    assert await ws.recv() == message
                await ws.send("né" * 1000)
                assert await ws.recv() == "né" * 1000
                await (await ws.ping())
            assert ws.close_code == 1000

    run(main)


def test_fragments(run):
    async def main():
        async with serve(echo, "127.0.0.1", 0) as server:
            async with connect(address(server), compression=None) as ws:

                async def pieces():
                    for number in range(100):
                        yield "%05d" % number
                        await asyncio.sleep(0)

                await ws.send(pieces())
                assert await ws.recv() == "".join("%05d" % n for n in range(100))

    run(main)


def test_many_clients(run):
    async def main():
        async with serve(echo, "127.0.0.1", 0) as server:

            async def client(number):
                async with connect(address(server)) as ws:
                    for turn in range(10):
                        await ws.send(f"{number} {turn}")
                        assert await ws.recv() == f"{number} {turn}"

            await asyncio.gather(*map(client, range(50)))

    run(main)


def test_flow_control(run):
    """The server writes far ahead of a client that reads slowly: both are held back,
    and everything arrives."""

    async def main():
        async def flood(ws):
            for number in range(200):
                await ws.send(b"%08d" % number * 4096)

        async with serve(flood, "127.0.0.1", 0, compression=None) as server:
            async with connect(address(server), compression=None, max_queue=2) as ws:
                await asyncio.sleep(0.1)
                number = 0
                async for message in ws:
                    assert message == b"%08d" % number * 4096
                    number += 1
                assert number == 200

    run(main)


def test_closing(run):
    async def main():
        async def refuse(ws):
            await ws.close(4000, "no")

        async def broken(ws):
            raise RuntimeError("as the test wants")

        async with serve(refuse, "127.0.0.1", 0) as server:
            async with connect(address(server)) as ws:
                with pytest.raises(ConnectionClosedError) as caught:
                    await ws.recv()
                assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (
                    4000,
                    "no",
                )
        async with serve(broken, "127.0.0.1", 0) as server:
            async with connect(address(server)) as ws:
                with pytest.raises(ConnectionClosedError) as caught:
                    await ws.recv()
                assert caught.value.rcvd.code == 1011
        async with serve(echo, "127.0.0.1", 0) as server:
            ws = await connect(address(server))
            server.close(close_connections=True)
            with pytest.raises(ConnectionClosedOK) as caught:
                await ws.recv()
            assert caught.value.rcvd.code == 1001
            await server.wait_closed()
            await ws.wait_closed()

    run(main)


def test_lost_connections(run):
    """A transport aborted under a client, and the server's side of it."""

    async def main():
        ends = asyncio.Queue()

        async def wait(ws):
            try:
                await ws.recv()
            except ConnectionClosedError as exc:
                ends.put_nowait(exc)

        async with serve(wait, "127.0.0.1", 0) as server:
            ws = await connect(address(server))
            ws.transport.abort()
            with pytest.raises(ConnectionClosedError):
                await ws.recv()
            assert (await asyncio.wait_for(ends.get(), 5)).rcvd is None

    run(main)


def test_keepalive_times_out(run):
    async def main():
        stopped = asyncio.Event()

        async def deaf(reader, writer):
            key = None
            while True:
                line = await reader.readline()
                if line.lower().startswith(b"sec-websocket-key:"):
                    key = line.split(b":")[1].strip().decode()
                if line == b"\r\n":
                    break
            from websockets.utils import accept_key

            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                + accept_key(key).encode()
                + b"\r\n\r\n"
            )
            await stopped.wait()
            writer.close()

        server = await asyncio.start_server(deaf, "127.0.0.1", 0)
        url = "ws://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        options = {"ping_interval": 0.05, "ping_timeout": 0.05, "close_timeout": 0.1}
        async with connect(url, **options) as ws:
            with pytest.raises(ConnectionClosedError) as caught:
                await ws.recv()
            assert caught.value.sent.code == 1011
        stopped.set()
        server.close()
        await server.wait_closed()

    run(main)


def test_broadcast(run):
    async def main():
        async def wait(ws):
            await ws.wait_closed()

        async with serve(wait, "127.0.0.1", 0) as server:
            clients = [await connect(address(server)) for _ in range(20)]
            while len(server.connections) < 20:
                await asyncio.sleep(0.01)
            for number in range(50):
                broadcast(server.connections, str(number))
            for ws in clients:
                assert [await ws.recv() for _ in range(50)] == list(map(str, range(50)))
            await asyncio.gather(*(ws.close() for ws in clients))

    run(main)


def test_refused_handshake(run):
    async def main():
        def process_request(connection, request):
            return connection.respond(403, "not you")

        async with serve(
            echo, "127.0.0.1", 0, process_request=process_request
        ) as server:
            with pytest.raises(InvalidStatus) as caught:
                await connect(address(server))
            assert caught.value.response.status_code == 403

    run(main)


def test_unix_socket(run, tmp_path):
    async def main():
        path = str(tmp_path / "socket")
        async with unix_serve(echo, path):
            async with unix_connect(path) as ws:
                await ws.send("over a path")
                assert await ws.recv() == "over a path"

    run(main)


def test_tls(run, impl, certificates):
    """wss: echoes, flow control, and an abort under the client."""

    async def main():
        ends = asyncio.Queue()

        async def handler(ws):
            real.check_tls(impl, ws.transport)
            try:
                await echo(ws)
            finally:
                ends.put_nowait(ws.close_code)

        async with serve(handler, "127.0.0.1", 0, ssl=certificates.server()) as server:
            url, context = address(server, "wss"), certificates.client()
            async with connect(url, ssl=context) as ws:
                real.check_tls(impl, ws.transport)
                for size in (0, 1, 125, 16384, 65536, 900_000):
                    message = os.urandom(size)
                    await ws.send(message)
                    assert await ws.recv() == message
                await (await ws.ping())
            assert await asyncio.wait_for(ends.get(), 5) == 1000

            async def client(number):
                async with connect(url, ssl=context) as ws:
                    for turn in range(5):
                        await ws.send(f"{number} {turn}")
                        assert await ws.recv() == f"{number} {turn}"

            await asyncio.gather(*map(client, range(20)))
            for _ in range(20):
                assert await asyncio.wait_for(ends.get(), 5) == 1000
            ws = await connect(url, ssl=context)
            ws.transport.abort()
            with pytest.raises(ConnectionClosedError):
                await ws.recv()
            assert await asyncio.wait_for(ends.get(), 5) == 1006

    run(main)


def test_tls_flow_control(run, certificates):
    async def main():
        async def flood(ws):
            for number in range(200):
                await ws.send(b"%08d" % number * 4096)

        options = {"compression": None, "ssl": certificates.server()}
        async with serve(flood, "127.0.0.1", 0, **options) as server:
            options = {"compression": None, "ssl": certificates.client()}
            url = address(server, "wss")
            async with connect(url, max_queue=2, **options) as ws:
                await asyncio.sleep(0.1)
                number = 0
                async for message in ws:
                    assert message == b"%08d" % number * 4096
                    number += 1
                assert number == 200

    run(main)
