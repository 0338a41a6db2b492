"""An ASGI application for uvicorn and hypercorn: HTTP, streams, WebSocket, lifespan."""

import asyncio
import contextlib
import os

from real import loop_name, tls_transports
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    StreamingResponse,
)
from starlette.routing import Route, WebSocketRoute

events = []


@contextlib.asynccontextmanager
async def lifespan(app):
    events.append("startup " + loop_name())
    yield
    print("shutdown on", loop_name(), flush=True)


async def plain(request):
    return PlainTextResponse("Hello, world!")


async def which_loop(request):
    return JSONResponse({"loop": loop_name(), "pid": os.getpid()})


async def which_tls(request):
    return JSONResponse(tls_transports())


async def seen(request):
    return JSONResponse(events)


async def echo(request):
    return PlainTextResponse(await request.body())


async def stream(request):
    count = int(request.query_params["count"])

    async def chunks():
        for number in range(count):
            yield b"%08d" % number * 128
            if number % 100 == 0:
                await asyncio.sleep(0.001)

    return StreamingResponse(chunks())


async def endless(request):
    async def chunks():
        try:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)
        finally:
            events.append("endless ended")

    return StreamingResponse(chunks())


async def later(request):
    async def work():
        await asyncio.sleep(0.01)
        events.append("worked")

    return PlainTextResponse("will do", background=BackgroundTask(work))


async def thread(request):
    return PlainTextResponse(await run_in_threadpool(lambda: "from a thread"))


async def file(request):
    return FileResponse(__file__)


async def websocket(ws):
    await ws.accept(subprotocol="echo" if "echo" in ws["subprotocols"] else None)
    await ws.send_text(loop_name())
    async for text in ws.iter_text():
        if text == "close":
            await ws.close(4001, "as asked")
            return
        await ws.send_text(text[::-1])
    events.append("websocket left")


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/", plain),
        Route("/loop", which_loop),
        Route("/tls", which_tls),
        Route("/seen", seen),
        Route("/echo", echo, methods=["POST"]),
        Route("/stream", stream),
        Route("/endless", endless),
        Route("/later", later),
        Route("/thread", thread),
        Route("/file", file),
        WebSocketRoute("/ws", websocket),
    ],
)
