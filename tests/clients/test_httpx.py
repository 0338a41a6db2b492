"""httpx against uvicorn, both on one loop."""

import asyncio

import pytest
import real

httpx = real.need("httpx")
uvicorn = real.need("uvicorn")
real.need("starlette")
from starlette.applications import Starlette  # noqa: E402
from starlette.responses import JSONResponse, Response, StreamingResponse  # noqa: E402
from starlette.routing import Route  # noqa: E402


async def which_loop(request):
    return JSONResponse({"loop": real.loop_name()})


async def echo(request):
    return Response(await request.body())


async def lines(request):
    async def generate():
        for number in range(1000):
            yield f"line {number}\n"

    return StreamingResponse(generate())


async def slow(request):
    await asyncio.sleep(20)


class Server:
    """uvicorn in the running loop."""

    def __init__(self, **options):
        routes = [
            Route("/loop", which_loop),
            Route("/echo", echo, methods=["POST"]),
            Route("/lines", lines),
            Route("/slow", slow),
        ]
        self.config = uvicorn.Config(
            Starlette(routes=routes),
            port=0,
            log_level="error",
            timeout_graceful_shutdown=1,
            **options,
        )

    async def __aenter__(self):
        self.server = uvicorn.Server(self.config)
        self.server.install_signal_handlers = lambda: None
        self.task = asyncio.ensure_future(self.server.serve())
        while not self.server.started:
            await asyncio.sleep(0.01)
        sock = self.server.servers[0].sockets[0]
        self.url = "http://127.0.0.1:%d" % sock.getsockname()[1]
        return self

    async def __aexit__(self, *exc):
        self.server.should_exit = True
        await self.task


def test_requests(run, expected_loop):
    async def main():
        async with Server() as server:
            async with httpx.AsyncClient(base_url=server.url) as client:
                assert (await client.get("/loop")).json() == {"loop": expected_loop}
                for size in (0, 1, 65536, 3_000_000):
                    body = b"0123456789" * (size // 10)
                    assert (await client.post("/echo", content=body)).content == body

                async def one(number):
                    response = await client.post("/echo", content=b"%d" % number)
                    return int(response.text)

                numbers = list(range(100))
                assert await asyncio.gather(*map(one, numbers)) == numbers

    run(main)


def test_streams(run):
    async def main():
        async def pieces():
            for number in range(300):
                yield b"%08d" % number * 512

        async with Server() as server:
            async with httpx.AsyncClient(base_url=server.url) as client:
                async with client.stream("GET", "/lines") as response:
                    got = [line async for line in response.aiter_lines()]
                assert got == [f"line {number}" for number in range(1000)]
                response = await client.post("/echo", content=pieces())
                expected = b"".join(b"%08d" % number * 512 for number in range(300))
                assert response.content == expected

    run(main)


def test_failures(run):
    async def main():
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("http://127.0.0.1:%d/" % real.free_port())
            async with Server() as server:
                with pytest.raises(httpx.ReadTimeout):
                    await client.get(server.url + "/slow", timeout=0.1)
                task = asyncio.ensure_future(client.get(server.url + "/slow"))
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    run(main)


def test_through_anyio(impl, expected_loop, no_fd_leak):
    anyio = real.need("anyio")

    async def main():
        async with Server() as server:
            async with httpx.AsyncClient(base_url=server.url) as client:
                assert (await client.get("/loop")).json() == {"loop": expected_loop}

    options = {"loop_factory": impl.new_event_loop}
    anyio.run(main, backend="asyncio", backend_options=options)
