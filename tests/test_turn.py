"""The order of things in a turn of the loop (src/core/turn.c): what was scheduled
before, I/O, timers; then what those have scheduled. On cloop and on stock."""

import asyncio
import os
import socket

import pytest


class Logger(asyncio.Protocol):
    """Notes its calls in a log that others write to as well."""

    def __init__(self, name, log):
        self.name = name
        self.log = log

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.log.append(f"{self.name} data")

    def eof_received(self):
        self.log.append(f"{self.name} eof")

    def connection_lost(self, exc):
        self.log.append(f"{self.name} lost")


async def turns(log, count=8):
    """What the log gets in the next turns: [(turn, what), ...]."""
    seen = []
    log.clear()
    for turn in range(count):
        await asyncio.sleep(0)
        seen += [(turn, what) for what in log]
        log.clear()
    return seen


@pytest.fixture
def log():
    return []


@pytest.fixture
def connected(loop, log):
    """Runs main(client's transport, server's transport) on an idle connection."""

    def run(main):
        async def whole():
            accepted = loop.create_future()

            def serve():
                protocol = Logger("server", log)
                loop.call_soon(accepted.set_result, protocol)
                return protocol

            server = await loop.create_server(serve, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            client, _ = await loop.create_connection(
                lambda: Logger("client", log), *address
            )
            peer = (await accepted).transport
            await asyncio.sleep(0.001)
            try:
                return await main(client, peer)
            finally:
                client.abort()
                peer.abort()
                server.close()
                await asyncio.sleep(0.01)

        return loop.run_until_complete(asyncio.wait_for(whole(), 10))

    return run


def test_data_comes_after_what_was_scheduled_before_it(loop, log, connected):
    async def main(client, peer):
        client.write(b"x")
        loop.call_soon(log.append, "soon")
        assert await turns(log) == [(0, "soon"), (1, "server data")]

    connected(main)


@pytest.mark.parametrize("size", [1, 3000])
def test_eof_goes_back_and_forth_in_the_same_turns(log, connected, size):
    async def main(client, peer):
        client.write(b"x" * size)
        client.write_eof()
        assert await turns(log) == [
            (1, "server data"),
            (2, "server eof"),
            (3, "server lost"),
            (4, "client eof"),
            (5, "client lost"),
        ]

    connected(main)


def test_abort_is_seen_in_the_same_turns(log, connected):
    async def main(client, peer):
        client.abort()
        assert await turns(log) == [
            (0, "client lost"),
            (2, "server eof"),
            (3, "server lost"),
        ]

    connected(main)


def test_a_woken_coroutine_sets_up_its_protocol_before_data_arrives(loop):
    """asyncssh's forwarding of ports is written so."""

    class Peerless(asyncio.Protocol):
        peer = None

        def data_received(self, data):
            self.had_peer = self.peer is not None
            arrived.set_result(data)

    arrived = loop.create_future()

    async def main():
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(b"hello")
            connecting = loop.create_connection(Peerless, sock=ours)
            transport, protocol = await connecting
            protocol.peer = object()
            assert await asyncio.wait_for(arrived, 5) == b"hello"
            assert protocol.had_peer
            transport.close()
            await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_a_reader_comes_before_the_timers_of_its_turn(loop, log):
    a, b = socket.socketpair()
    a.setblocking(False)

    def readable():
        a.recv(10)
        log.append("reader")
        loop.call_soon(log.append, "scheduled by the reader")

    def timer(b=b):
        log.append("timer")
        loop.call_soon(log.append, "scheduled by the timer")

    async def main():
        loop.add_reader(a, readable)
        loop.call_later(0, log.append, "a turn earlier")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log.clear()
        b.send(b"x")
        loop.call_soon(log.append, "soon")
        loop.call_later(0, timer)
        assert await turns(log, 4) == [
            (0, "soon"),
            (1, "reader"),
            (1, "timer"),
            (2, "scheduled by the reader"),
            (2, "scheduled by the timer"),
        ]
        loop.remove_reader(a)

    with a, b:
        loop.run_until_complete(main())


def test_what_the_last_turn_brings_waits_for_the_next_run(loop, log):
    a, b = os.pipe()

    def readable():
        loop.remove_reader(a)
        loop.stop()
        loop.call_soon(log.append, "next run")

    loop.add_reader(a, readable)
    os.write(b, b"x")
    loop.run_forever()
    assert log == []
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert log == ["next run"]
    os.close(a)
    os.close(b)


def test_a_reader_removed_by_another_of_its_turn_is_not_called(loop, log):
    pairs = [socket.socketpair() for _ in range(2)]

    def readable(mine, other):
        log.append("reader")
        loop.remove_reader(other)
        loop.remove_reader(mine)

    (a, b), (c, d) = pairs
    loop.add_reader(a, readable, a, c)
    loop.add_reader(c, readable, c, a)
    b.send(b"x")
    d.send(b"x")
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert log == ["reader"]
    for pair in pairs:
        for end in pair:
            end.close()


def test_an_interrupt_in_a_reader_leaves_the_other_events_for_the_next_run(loop, log):
    pairs = [socket.socketpair() for _ in range(5)]

    def readable(number):
        loop.remove_reader(pairs[number][0])
        log.append(number)
        raise KeyboardInterrupt

    for number, (mine, other) in enumerate(pairs):
        loop.add_reader(mine, readable, number)
        other.send(b"x")
    for done in range(5):
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert len(log) == done + 1
    assert sorted(log) == [0, 1, 2, 3, 4]
    for pair in pairs:
        for end in pair:
            end.close()
