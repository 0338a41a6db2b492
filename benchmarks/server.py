"""The Python servers under load, one process each; started by `benchmarks.net`.

    python -m benchmarks.server --loop cloop --kind protocol --transport tcp

Binds a free loopback port (or a Unix path), prints {"ready": ADDRESS} or
{"not supported": WHY}, and serves until its stdin ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import ssl
import sys
import threading

from benchmarks import isolate, loops

_BACKLOG = 4096
_CHUNK = 256 * 1024
_PIECES = 100  # small writes per request of kind "writes"
_HTTP_BODY = b"Hello, World!"
_HTTP_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
    % (len(_HTTP_BODY), _HTTP_BODY)
)

KINDS = {}  # name -> coroutine function (loop, options) that returns an address


def kind(function):
    KINDS[function.__name__] = function
    return function


# ---- protocols ----


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """Echoes out of its own buffer, and takes another one while that is being sent."""

    def __init__(self, size):
        self.size = size
        self._renew()

    def _renew(self):
        self.view = memoryview(bytearray(self.size))

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        return self.view

    def buffer_updated(self, nbytes):
        transport = self.transport
        transport.write(self.view[:nbytes])
        if transport.get_write_buffer_size():
            self._renew()


class Reply(asyncio.Protocol):
    """For each `request` bytes, `reply` bytes; reads no more while it cannot write."""

    def __init__(self, request, reply):
        self.request = request
        self.answer = b"." * reply
        self.have = 0

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        have = self.have + len(data)
        count, self.have = divmod(have, self.request)
        for _ in range(count):
            self.transport.write(self.answer)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class SmallWrites(Reply):
    """For each request, many small writes in one turn."""

    def data_received(self, data):
        have = self.have + len(data)
        count, self.have = divmod(have, self.request)
        write, piece = self.transport.write, self.answer[: len(self.answer) // _PIECES]
        for _ in range(count):
            for _ in range(_PIECES):
                write(piece)


class Http(asyncio.Protocol):
    """The smallest plain-text HTTP answer; requests of the load arrive whole."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(_HTTP_ANSWER * data.count(b"\r\n\r\n"))


class DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


def _tls_context(options):
    """The context of a TLS server as programs make it; None without TLS."""
    if options.transport != "tls":
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.path)
    return context


async def _serve_protocol(loop, options, factory):
    if options.transport == "unix":
        server = await loop.create_unix_server(factory, options.path, backlog=_BACKLOG)
    else:
        server = await loop.create_server(
            factory, "127.0.0.1", 0, backlog=_BACKLOG, ssl=_tls_context(options)
        )
    return _address(server, options)


def _address(server, options):
    options.keep = server  # uvloop closes a Unix server that nobody holds
    if options.transport == "unix":
        return "unix:" + options.path
    return _ip_address(server.sockets[0].getsockname(), options)


def _ip_address(name, options):
    return f"{options.transport}:{name[0]}:{name[1]}"


@kind
async def protocol(loop, options):
    return await _serve_protocol(loop, options, Echo)


@kind
async def buffered(loop, options):
    size = min(max(4096, 2 * options.request * options.depth), _CHUNK)
    return await _serve_protocol(loop, options, lambda: BufferedEcho(size))


@kind
async def reply(loop, options):
    return await _serve_protocol(
        loop, options, lambda: Reply(options.request, options.reply)
    )


@kind
async def writes(loop, options):
    return await _serve_protocol(
        loop, options, lambda: SmallWrites(options.request, options.reply)
    )


@kind
async def http_protocol(loop, options):
    return await _serve_protocol(loop, options, Http)


@kind
async def datagram(loop, options):
    transport, _ = options.keep = await loop.create_datagram_endpoint(
        DatagramEcho, local_addr=("127.0.0.1", 0)
    )
    return _ip_address(transport.get_extra_info("sockname"), options)


# ---- streams ----


def _stream_kind(function):
    """A kind out of `async function(reader, writer, options)` for one connection."""

    async def start(loop, options):
        async def connected(reader, writer):
            try:
                await function(reader, writer, options)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        if options.transport == "unix":
            server = await asyncio.start_unix_server(
                connected, options.path, backlog=_BACKLOG
            )
        else:
            server = await asyncio.start_server(
                connected,
                "127.0.0.1",
                0,
                backlog=_BACKLOG,
                ssl=_tls_context(options),
            )
        return _address(server, options)

    KINDS[function.__name__] = start
    return start


@_stream_kind
async def streams_read(reader, writer, options):
    while True:
        data = await reader.read(65536)
        if not data:
            return
        writer.write(data)
        await writer.drain()


@_stream_kind
async def streams_readline(reader, writer, options):
    while True:
        line = await reader.readline()
        if not line:
            return
        writer.write(line)
        await writer.drain()


@_stream_kind
async def streams_readexactly(reader, writer, options):
    while True:
        writer.write(await reader.readexactly(options.request))
        await writer.drain()


@_stream_kind
async def streams_lines(reader, writer, options):
    """Short lines out of large blocks; one answer a block."""
    count, answer = options.request // options.line, b"." * options.reply
    while True:
        for _ in range(count):
            if not await reader.readline():
                return
        writer.write(answer)
        await writer.drain()


@_stream_kind
async def streams_frames(reader, writer, options):
    """Short frames of known length out of large blocks; one answer a block."""
    size, answer = options.line, b"." * options.reply
    count = options.request // size
    while True:
        for _ in range(count):
            await reader.readexactly(size)
        writer.write(answer)
        await writer.drain()


# ---- loop.sock_* ----


def _listening_socket(options):
    if options.transport == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(options.path)
    else:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _sock_kind(function):
    async def start(loop, options):
        listener = _listening_socket(options)
        tasks = set()

        async def accept():
            while True:
                peer, _ = await loop.sock_accept(listener)
                if options.transport == "tcp":
                    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                task = loop.create_task(one(peer))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        async def one(peer):
            try:
                with peer:
                    await function(loop, peer)
            except ConnectionError:
                pass

        tasks.add(loop.create_task(accept()))
        if options.transport == "unix":
            return "unix:" + options.path
        return _ip_address(listener.getsockname(), options)

    KINDS[function.__name__] = start
    return start


@_sock_kind
async def sock(loop, peer):
    while True:
        data = await loop.sock_recv(peer, 65536)
        if not data:
            return
        await loop.sock_sendall(peer, data)


@_sock_kind
async def sock_into(loop, peer):
    buffer = bytearray(65536)
    view = memoryview(buffer)
    while True:
        size = await loop.sock_recv_into(peer, buffer)
        if not size:
            return
        await loop.sock_sendall(peer, view[:size])


# ---- HTTP by other people's servers ----


@kind
async def uvicorn(loop, options):
    import uvicorn

    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(_HTTP_BODY)).encode()),
    ]

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": _HTTP_BODY})

    listener = _listening_socket(options)
    address = _ip_address(listener.getsockname(), options)  # a loop may take it over
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        loop="none",
        ssl_certfile=options.path if options.transport == "tls" else None,
    )
    server = uvicorn.Server(config)
    options.keep = loop.create_task(server.serve(sockets=[listener]))
    while not server.started:
        if options.keep.done():
            await options.keep
        await asyncio.sleep(0.01)
    return address


@kind
async def aiohttp(loop, options):
    from aiohttp import web

    async def hello(request):
        return web.Response(body=_HTTP_BODY, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = options.keep = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = _listening_socket(options)
    address = _ip_address(listener.getsockname(), options)
    site = web.SockSite(
        runner, listener, backlog=_BACKLOG, ssl_context=_tls_context(options)
    )
    await site.start()
    return address


# ---- the process ----


def _say(**line):
    print(json.dumps(line), flush=True)


def _end_with_stdin():
    def wait():
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


async def _main(loop, options):
    try:
        address = await KINDS[options.kind](loop, options)
    except (NotImplementedError, ImportError) as exc:
        _say(**{"not supported": str(exc) or type(exc).__name__})
        os._exit(0)
    isolate.prime()
    _say(ready=address)
    await loop.create_future()


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server")
    parser.add_argument("--loop", required=True, choices=list(loops.CONTESTANTS))
    parser.add_argument("--kind", required=True, choices=list(KINDS))
    parser.add_argument(
        "--transport", default="tcp", choices=["tcp", "unix", "udp", "tls"]
    )
    parser.add_argument(
        "--path", default="", help="of the Unix socket; of certificate and key"
    )
    parser.add_argument("--request", type=int, default=1024)
    parser.add_argument("--reply", type=int, default=1024)
    parser.add_argument("--line", type=int, default=64)
    parser.add_argument("--depth", type=int, default=1, help="requests under way")
    options = parser.parse_args(argv)

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _end_with_stdin()
    loop = loops.CONTESTANTS[options.loop].factory()()
    loop.run_until_complete(_main(loop, options))


if __name__ == "__main__":
    sys.exit(main())
