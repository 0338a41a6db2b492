"""The turn of a busy loop: what the loop itself has sent is seen as on stock."""

import asyncio
import os
import socket
import threading

import pytest

LIMIT = 20.0
ROUNDS = 20


class Seen(asyncio.Protocol, asyncio.DatagramProtocol):
    """Counts what comes."""

    def __init__(self):
        self.count = 0

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.count += 1

    def datagram_received(self, data, addr):
        self.count += 1

    def eof_received(self):
        self.count += 1

    def connection_lost(self, exc):
        pass


def run(loop, main):
    return loop.run_until_complete(asyncio.wait_for(main, LIMIT))


# -- ways to send ---------------------------------------------------------------------


class Streams:
    async def begin(self, loop, seen):
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
        await loop.create_connection(lambda: seen, sock=near)
        self.transport, _ = await loop.create_connection(Seen, sock=far)

    def end(self):
        self.transport.abort()


class Write(Streams):
    async def send(self):
        self.transport.write(b"x")


class GatheredWrite(Streams):
    async def send(self):
        self.transport.write(b"x")
        self.transport.write(b"y")


class WriteEof(Streams):
    async def send(self):
        self.transport.write_eof()


class Close(Streams):
    async def send(self):
        self.transport.close()


class Datagram:
    async def begin(self, loop, seen):
        self.reader, _ = await loop.create_datagram_endpoint(
            lambda: seen, local_addr=("127.0.0.1", 0)
        )
        self.name = self.reader.get_extra_info("sockname")
        self.transport, _ = await loop.create_datagram_endpoint(
            Seen, local_addr=("127.0.0.1", 0)
        )

    async def send(self):
        self.transport.sendto(b"x", self.name)

    def end(self):
        self.transport.abort()
        self.reader.abort()


class Pipe:
    async def begin(self, loop, seen):
        inward, outward = os.pipe()
        await loop.connect_read_pipe(lambda: seen, os.fdopen(inward, "rb", 0))
        self.transport, _ = await loop.connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(outward, "wb", 0)
        )

    async def send(self):
        self.transport.write(b"x")

    def end(self):
        self.transport.abort()


class ClosePipe(Pipe):
    async def send(self):
        self.transport.close()

    def end(self):
        pass


class Sendall:
    async def begin(self, loop, seen):
        near, self.far = socket.socketpair()
        for sock in (near, self.far):
            sock.setblocking(False)
        self.loop = loop
        await loop.create_connection(lambda: seen, sock=near)

    async def send(self):
        await self.loop.sock_sendall(self.far, b"x")

    def end(self):
        self.far.close()


class Connect:
    async def begin(self, loop, seen):
        def accepted():
            seen.count += 1
            return asyncio.Protocol()

        self.loop = loop
        self.server = await loop.create_server(accepted, "127.0.0.1", 0)
        self.sock = socket.socket()
        self.sock.setblocking(False)

    async def send(self):
        name = self.server.sockets[0].getsockname()
        await self.loop.sock_connect(self.sock, name)

    def end(self):
        self.sock.close()
        self.server.close()


WAYS = [
    Write,
    GatheredWrite,
    WriteEof,
    Close,
    Datagram,
    Pipe,
    ClosePipe,
    Sendall,
    Connect,
]


@pytest.mark.parametrize("way", WAYS)
def test_a_busy_loop_sees_what_it_has_sent(loop, way):
    async def main():
        for _ in range(ROUNDS):
            ends, seen = way(), Seen()
            await ends.begin(loop, seen)
            for _ in range(5):
                await asyncio.sleep(0)
            before = seen.count
            await ends.send()
            for _ in range(5):
                await asyncio.sleep(0)
            assert seen.count == before + 1
            ends.end()
            await asyncio.sleep(0.001)

    run(loop, main())


def test_servers_see_their_clients_leave_before_the_program_ends(impl, no_fd_leak):
    """3.11 and 3.12 report each handler of start_server that is cancelled then."""
    reports, ended = [], []

    async def serve(reader, writer):
        while await reader.readline():
            writer.write(b"answer\n")
        writer.close()
        ended.append(asyncio.current_task())

    async def client(name):
        reader, writer = await asyncio.open_connection(*name)
        writer.write(b"question\n")
        assert await reader.readline() == b"answer\n"
        writer.close()
        await writer.wait_closed()

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        name = server.sockets[0].getsockname()
        await asyncio.gather(*[client(name) for _ in range(10)])

    threads = [threading.Thread(target=impl.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == 20 and reports == []
