"""aiohttp, server and client on one loop, and a server under a load tool; TLS too."""

import asyncio
import json
import signal
from pathlib import Path

import pytest
import real

aiohttp = real.need("aiohttp")
from aiohttp import web  # noqa: E402


async def echo(request):
    return web.Response(body=await request.read())


async def stream(request):
    """Sends the request's body back chunk by chunk as it comes."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for chunk in request.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response


async def websocket(request):
    ws = web.WebSocketResponse(compress=True)
    await ws.prepare(request)
    async for message in ws:
        if message.type == aiohttp.WSMsgType.TEXT:
            await ws.send_str(message.data[::-1])
        elif message.type == aiohttp.WSMsgType.BINARY:
            await ws.send_bytes(message.data[::-1])
    return ws


async def slow(request):
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        request.app["cancelled"].set()
        raise


async def serve(runner, path, context):
    await runner.setup()
    if path is not None:
        await web.UnixSite(runner, path).start()
        return "http://unix"
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    scheme = "http" if context is None else "https"
    return "%s://127.0.0.1:%d" % (scheme, runner.addresses[0][1])


class Served:
    """An application on the running loop, with a client for it."""

    def __init__(self, *routes, path=None, certificates=None):
        self.app = web.Application(client_max_size=2**26)
        self.app["cancelled"] = asyncio.Event()
        self.app.add_routes(routes)
        self.path = path
        self.certificates = certificates

    async def __aenter__(self):
        self.runner = web.AppRunner(
            self.app, handler_cancellation=True, shutdown_timeout=1
        )
        tls = self.certificates
        self.url = await serve(self.runner, self.path, tls and tls.server())
        connector = aiohttp.UnixConnector(self.path) if self.path else None
        if tls:
            connector = aiohttp.TCPConnector(ssl=tls.client())
        self.client = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(self, *exc):
        await self.client.close()
        await self.runner.cleanup()


pytestmark = pytest.mark.filterwarnings(
    "ignore::aiohttp.web_exceptions.NotAppKeyWarning"
)


def test_round_trips(run):
    async def main():
        async with Served(web.post("/echo", echo)) as served:
            url = served.url + "/echo"
            for size in (0, 1, 1000, 65536, 5_000_000):
                body = bytes(range(256)) * (size // 256 + 1)
                async with served.client.post(url, data=body[:size]) as response:
                    assert response.status == 200
                    assert await response.read() == body[:size]

            async def one(number):
                async with served.client.post(url, data=b"%d" % number) as response:
                    return int(await response.text())

            assert await asyncio.gather(*map(one, range(200))) == list(range(200))

    run(main)


def test_transports_are_asyncios(run):
    """aiohttp asserts it of its own transports in places."""

    async def main():
        seen = []

        async def handler(request):
            seen.append(request.transport)
            return web.json_response(
                {
                    "peer": request.transport.get_extra_info("peername"),
                    "sock": request.transport.get_extra_info("sockname"),
                    "remote": request.remote,
                }
            )

        async with Served(web.get("/", handler)) as served:
            async with served.client.get(served.url) as response:
                names = await response.json()
            assert isinstance(seen[0], asyncio.Transport)
            assert names["remote"] == names["peer"][0] == "127.0.0.1"
            assert names["sock"][1] == served.runner.addresses[0][1]

    run(main)


def test_streams_both_ways(run):
    async def main():
        blocks = [bytes([number]) * 100_000 for number in range(100)]

        async def body():
            for block in blocks:
                yield block
                await asyncio.sleep(0)

        async with Served(web.post("/stream", stream)) as served:
            url = served.url + "/stream"
            async with served.client.post(url, data=body()) as response:
                assert await response.read() == b"".join(blocks)

    run(main)


def test_files_are_sent(run, tmp_path):
    """FileResponse hands the transport to loop.sendfile."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 8192)

    async def main():
        async def handler(request):
            return web.FileResponse(path)

        async with Served(web.get("/", handler)) as served:
            async with served.client.get(served.url) as response:
                assert await response.read() == path.read_bytes()
            some = {"Range": "bytes=1000-70000"}
            async with served.client.get(served.url, headers=some) as response:
                assert response.status == 206
                assert await response.read() == path.read_bytes()[1000:70001]

    run(main)


def test_websocket(run):
    async def main():
        async with Served(web.get("/ws", websocket)) as served:
            async with served.client.ws_connect(served.url + "/ws") as ws:
                for size in (0, 1, 125, 126, 70_000, 300_000):
                    await ws.send_str("ab" * size)
                    assert (await ws.receive_str()) == "ba" * size
                await ws.send_bytes(b"\0\1\2")
                assert await ws.receive_bytes() == b"\2\1\0"
                await ws.ping()
                for number in range(200):
                    await ws.send_str(str(number))
                for number in range(200):
                    assert await ws.receive_str() == str(number)[::-1]
            assert ws.close_code == 1000

    run(main)


def test_timeouts_and_lost_clients(run):
    async def main():
        async with Served(web.get("/slow", slow)) as served:
            short = aiohttp.ClientTimeout(total=0.1)
            with pytest.raises(asyncio.TimeoutError):
                await served.client.get(served.url + "/slow", timeout=short)
            # The handler's task is cancelled, because the connection is gone.
            await asyncio.wait_for(served.app["cancelled"].wait(), 5)

    run(main)


def test_refused(run):
    async def main():
        url = "http://127.0.0.1:%d/" % real.free_port()
        async with aiohttp.ClientSession() as client:
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await client.get(url)
            assert isinstance(caught.value.os_error, ConnectionRefusedError)

    run(main)


def test_unix_socket(run, tmp_path):
    async def main():
        path = str(tmp_path / "socket")
        async with Served(web.post("/echo", echo), path=path) as served:
            async with served.client.post(served.url + "/echo", data=b"x") as response:
                assert await response.read() == b"x"

    run(main)


def test_crawl_of_the_document(run, capsys):
    """The crawl of document 004, as the document has it."""
    examples = real.SHARED / "documents" / "examples.json"
    if not examples.is_file():
        pytest.skip("../shared/documents is not there")
    example = next(
        e
        for e in json.loads(examples.read_text("utf-8"))["examples"]
        if e["id"] == "004-aiohttp-crawl"
    )
    text = Path(examples.parent, example["document"]).read_text("utf-8").split("\n")
    source = "\n".join("\n".join(text[a - 1 : b]) for a, b in example["lines"])
    namespace = {"aiohttp": aiohttp}
    exec(source, namespace)

    async def main():
        async def hello(request):
            return web.Response(text="hello")

        async with Served(web.get("/", hello)) as served:
            crawl = [namespace["detail_crawl"](served.url, n) for n in range(30)]
            await asyncio.gather(*map(asyncio.ensure_future, crawl))

    run(main)
    assert capsys.readouterr().out.count("Send request .. http://127.0.0.1:") == 30


def test_https(run, impl, certificates, tmp_path):
    """Bodies both ways, streams, a file by sendfile, a WebSocket: all in one server."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 8192)
    seen = set()

    async def post(request):
        seen.add(request.transport)
        real.check_tls(impl, request.transport)
        return await echo(request)

    async def file(request):
        return web.FileResponse(path)

    async def main():
        async with Served(
            web.post("/echo", post),
            web.post("/stream", stream),
            web.get("/file", file),
            web.get("/ws", websocket),
            certificates=certificates,
        ) as served:
            client, url = served.client, served.url
            for size in (0, 1, 1000, 16384, 65536, 5_000_000):
                body = (bytes(range(256)) * (size // 256 + 1))[:size]
                async with client.post(url + "/echo", data=body) as response:
                    if response.connection is not None:
                        real.check_tls(impl, response.connection.transport)
                    assert await response.read() == body

            async def one(number):
                data = b"%d" % number
                async with client.post(url + "/echo", data=data) as response:
                    return int(await response.text())

            assert await asyncio.gather(*map(one, range(200))) == list(range(200))
            assert seen
            blocks = [bytes([number]) * 100_000 for number in range(50)]

            async def body():
                for block in blocks:
                    yield block
                    await asyncio.sleep(0)

            async with client.post(url + "/stream", data=body()) as response:
                assert await response.read() == b"".join(blocks)
            async with client.get(url + "/file") as response:
                assert await response.read() == path.read_bytes()
            async with client.ws_connect(url + "/ws") as ws:
                real.check_tls(impl, ws._response.connection.transport)
                for size in (0, 1, 125, 126, 70_000, 300_000):
                    await ws.send_str("ab" * size)
                    assert (await ws.receive_str()) == "ba" * size
            assert ws.close_code == 1000

    run(main)


def test_https_of_a_stranger(run, certificates):
    """The server's certificate is of an authority that the client does not know."""

    async def main():
        async with Served(
            web.post("/echo", echo), certificates=certificates
        ) as served, aiohttp.ClientSession() as client:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await client.post(served.url + "/echo")

    run(main)


FACTORIES = {"cloop": "cloop:new_event_loop", "stock": "asyncio:SelectorEventLoop"}


@pytest.mark.parametrize("switch", ["runner", "argument"])
def test_server_under_load(impl, program, expected_loop, switch):
    port = real.free_port()
    script = real.APPS / "aiohttp_app.py"
    command = real.python_on(impl, script, port)
    if switch == "argument":
        command = [real.sys.executable, script, port, FACTORIES[impl.name]]
    server = program(command)
    server.wait_for_port(port)
    assert real.http_json(port, "/loop") == {"loop": expected_loop}
    assert real.http_load(f"http://127.0.0.1:{port}/") > 100
    assert server.stop(signal.SIGINT) == 0
    assert "cleanup on " + expected_loop in server.output()


def test_https_server_under_load(
    impl, program, expected_loop, expected_tls, certificates
):
    port = real.free_port()
    env = real.child_env(TLS_CHAIN=certificates.chain, TLS_KEY=certificates.key)
    command = real.python_on(impl, real.APPS / "aiohttp_app.py", port)
    server = program(command, env=env)
    server.wait_for_port(port)
    context = certificates.client()
    assert real.http_json(port, "/loop", context) == {"loop": expected_loop}
    assert real.http_json(port, "/tls", context) == expected_tls
    assert real.http_load(f"https://127.0.0.1:{port}/", connections=10) > 20
    assert server.stop(signal.SIGINT) == 0
    assert "cleanup on " + expected_loop in server.output()
    assert "Traceback" not in server.output()
