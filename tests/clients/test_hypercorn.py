"""hypercorn with a Starlette application: its command, and serve() on our own loop."""

import asyncio

import pytest
import real

real.need("hypercorn")
real.need("starlette")
h2 = real.need("h2")
h2_connection = real.need("h2.connection")
real.need("websockets")
from websockets.sync.client import connect  # noqa: E402


@pytest.fixture
def server(impl, program):
    port = real.free_port()
    command = real.python_on(impl, "-m", "hypercorn", "--workers", "0")
    server = program([*command, "starlette_app:app", "--bind", f"127.0.0.1:{port}"])
    server.wait_for_port(port)
    server.port = port
    return server


def test_http_and_websocket(server, expected_loop):
    port = server.port
    assert real.http_json(port, "/loop")["loop"] == expected_loop
    body = b"0123456789" * 100_000
    assert real.http_request(port, "POST", "/echo", body) == (200, body)
    _, body = real.http_request(port, path="/stream?count=1000")
    assert body == b"".join(b"%08d" % n * 128 for n in range(1000))
    with connect(f"ws://127.0.0.1:{port}/ws") as ws:
        assert ws.recv(timeout=10) == expected_loop
        ws.send("ab" * 100_000)
        assert ws.recv(timeout=10) == "ba" * 100_000
    assert real.http_load(f"http://127.0.0.1:{port}/", connections=20) > 20
    server.stop()
    assert "shutdown on " + expected_loop in server.output()
    assert "Traceback" not in server.output()


async def http2_get(port, path, count):
    """count requests at once on one HTTP/2 connection (prior knowledge): the bodies."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = h2_connection.H2Connection()
    connection.initiate_connection()
    bodies = {}
    for _ in range(count):
        stream = connection.get_next_available_stream_id()
        headers = [(":method", "GET"), (":path", path), (":scheme", "http")]
        headers += [(":authority", "here")]
        connection.send_headers(stream, headers, end_stream=True)
        bodies[stream] = b""
    open_streams = set(bodies)
    writer.write(connection.data_to_send())
    while open_streams:
        data = await reader.read(65536)
        assert data
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                bodies[event.stream_id] += event.data
                connection.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
            elif isinstance(event, h2.events.StreamEnded):
                open_streams.discard(event.stream_id)
        writer.write(connection.data_to_send())
    writer.close()
    await writer.wait_closed()
    return list(bodies.values())


def test_http2_on_our_loop(impl, run):
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    names = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                kind = (await receive())["type"]
                await send({"type": kind + ".complete"})
                if kind.endswith("shutdown"):
                    return
        names.append((scope["http_version"], real.loop_name()))
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(10):
            await send(
                {
                    "type": "http.response.body",
                    "body": b"0123456789" * 1000,
                    "more_body": True,
                }
            )
        await send({"type": "http.response.body", "body": b"end"})

    async def main():
        config = Config()
        port = real.free_port()
        config.bind = [f"127.0.0.1:{port}"]
        config.errorlog = None
        done = asyncio.Event()
        server = asyncio.ensure_future(serve(app, config, shutdown_trigger=done.wait))
        for _ in range(100):
            try:
                bodies = await http2_get(port, "/", 20)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
        assert bodies == [b"0123456789" * 10_000 + b"end"] * 20
        done.set()
        await server

    run(main)
    assert names == [("2", real.LOOP_NAMES[impl.name])] * 20
