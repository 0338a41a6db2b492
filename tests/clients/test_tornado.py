"""tornado: its servers and clients on the running loop, and its own IOLoop."""

import asyncio
import signal
import threading

import pytest
import real

tornado = real.need("tornado")
from tornado import gen, locks  # noqa: E402
from tornado.httpclient import AsyncHTTPClient, HTTPClientError  # noqa: E402
from tornado.httpserver import HTTPServer  # noqa: E402
from tornado.ioloop import IOLoop, PeriodicCallback  # noqa: E402
from tornado.iostream import StreamClosedError  # noqa: E402
from tornado.netutil import bind_sockets  # noqa: E402
from tornado.process import Subprocess  # noqa: E402
from tornado.tcpclient import TCPClient  # noqa: E402
from tornado.tcpserver import TCPServer  # noqa: E402
from tornado.web import Application, RequestHandler  # noqa: E402
from tornado.websocket import WebSocketHandler, websocket_connect  # noqa: E402


class Echo(RequestHandler):
    async def get(self):
        self.write({"loop": real.loop_name()})

    async def post(self):
        self.write(self.request.body)


class Chunks(RequestHandler):
    async def get(self):
        for number in range(300):
            self.write(b"%08d" % number * 128)
            await self.flush()


class Slow(RequestHandler):
    @gen.coroutine
    def get(self):
        yield gen.sleep(20)


class Socket(WebSocketHandler):
    async def on_message(self, message):
        await self.write_message(message[::-1])


class Served:
    """An application on the running loop."""

    def __init__(self):
        paths = [("/", Echo), ("/chunks", Chunks), ("/slow", Slow), ("/ws", Socket)]
        self.server = HTTPServer(Application(paths))

    async def __aenter__(self):
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.server.add_sockets(sockets)
        self.client = AsyncHTTPClient(force_instance=True)
        return self

    async def __aexit__(self, *exc):
        self.client.close()
        self.server.stop()
        await self.server.close_all_connections()


def test_http(impl, run, expected_loop):
    async def main():
        assert type(IOLoop.current().asyncio_loop) is impl.Loop
        async with Served() as served:
            response = await served.client.fetch(served.url + "/")
            assert expected_loop in response.body.decode()
            body = b"0123456789" * 100_000
            response = await served.client.fetch(
                served.url + "/", method="POST", body=body
            )
            assert response.body == body
            response = await served.client.fetch(served.url + "/chunks")
            assert response.body == b"".join(b"%08d" % n * 128 for n in range(300))
            with pytest.raises(HTTPClientError):
                await served.client.fetch(served.url + "/slow", request_timeout=0.1)
            fetches = [served.client.fetch(served.url + "/") for _ in range(50)]
            assert all(r.code == 200 for r in await asyncio.gather(*fetches))

    run(main)


def test_websocket(run):
    async def main():
        async with Served() as served:
            ws = await websocket_connect(f"ws://127.0.0.1:{served.port}/ws")
            for size in (0, 1, 126, 70_000):
                await ws.write_message("ab" * size)
                assert await ws.read_message() == "ba" * size
            ws.close(1000)
            assert await ws.read_message() is None

    run(main)


def test_iostreams(run):
    class Server(TCPServer):
        async def handle_stream(self, stream, address):
            try:
                while True:
                    line = await stream.read_until(b"\n")
                    await stream.write(line[::-1].strip() + b"\n")
            except StreamClosedError:
                pass

    async def main():
        server = Server()
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        port = sockets[0].getsockname()[1]

        async def client(number):
            stream = await TCPClient().connect("127.0.0.1", port)
            for turn in range(20):
                word = b"%d-%d" % (number, turn)
                await stream.write(word + b"\n")
                assert await stream.read_until(b"\n") == word[::-1] + b"\n"
            stream.close()

        await asyncio.gather(*map(client, range(20)))
        server.stop()
        await asyncio.sleep(0.05)

    run(main)


def test_timers_and_threads(run):
    async def main():
        loop = IOLoop.current()
        ticks = []
        periodic = PeriodicCallback(lambda: ticks.append(loop.time()), 10)
        periodic.start()
        await gen.sleep(0.1)
        periodic.stop()
        assert len(ticks) >= 3
        done = asyncio.Event()
        thread = threading.Thread(target=lambda: loop.add_callback(done.set))
        thread.start()
        await asyncio.wait_for(done.wait(), 5)
        thread.join()
        assert await loop.run_in_executor(None, threading.get_ident)
        with pytest.raises(gen.TimeoutError):
            await gen.with_timeout(loop.time() + 0.02, locks.Event().wait())

    run(main)


def test_subprocess(run):
    async def main():
        child = Subprocess(["cat"], stdin=Subprocess.STREAM, stdout=Subprocess.STREAM)
        await child.stdin.write(b"through a pipe\n")
        assert await child.stdout.read_until(b"\n") == b"through a pipe\n"
        child.stdin.close()
        # Tornado keeps to the loop of its first Subprocess, which the next run closes.
        try:
            assert await child.wait_for_exit() == 0
        finally:
            Subprocess.uninitialize()
        child.stdout.close()

    run(main)


def test_an_ioloop_of_its_own(impl, no_fd_leak):
    """IOLoop() makes its loop by asyncio.new_event_loop, as cloop.install gives it."""
    seen = []

    def work():
        loop = IOLoop(make_current=False, asyncio_loop=impl.new_event_loop())

        async def main():
            seen.append(real.loop_name())

        loop.run_sync(main)
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [real.LOOP_NAMES[impl.name]]


def test_server_under_load(impl, program, expected_loop):
    port = real.free_port()
    server = program(real.python_on(impl, real.APPS / "tornado_app.py", port))
    server.wait_for_port(port)
    assert real.http_json(port, "/loop") == {"loop": expected_loop}
    assert real.http_load(f"http://127.0.0.1:{port}/") > 100
    assert server.stop(signal.SIGTERM) == 0
    assert "ended" in server.output()
