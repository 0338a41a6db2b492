"""First writes of a turn, made while other callbacks wait: they may leave together.

Stock sends each at once. Whatever cloop holds back, nobody may be able to tell but by
counting segments, or by blocking the loop.
"""

import asyncio
import threading
import time

import pytest

pytest.importorskip("trustme")

import tls_support
from support import fast_only
from tls_support import Recorder, connect, port_of, run
from wire import count_segments, turns

impl = tls_support.impl
contexts = tls_support.contexts

MANY = 100
SLOW = 0.002  # of a callback: longer than writes wait for each other


class Ends:
    """MANY connections of a loop to a server on the same loop."""

    def __init__(self, loop, context=None):
        self.loop = loop
        self.context = context

    async def __aenter__(self):
        self.heard = []
        server_context = self.context and self.context.server()
        self.server, port = await port_of(self.loop, self.accept, server_context)
        self.transports = []
        for _ in range(MANY):
            self.transports.append(await self.connect(port))
        while len(self.heard) < MANY:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)  # session tickets
        return self

    async def __aexit__(self, *exc):
        for transport in self.transports:
            transport.abort()
        self.server.close()
        for protocol in self.heard:
            await protocol.lost

    def accept(self):
        protocol = Recorder(self.loop)
        self.heard.append(protocol)
        return protocol

    async def connect(self, port):
        if self.context is not None:
            return (await connect(self.loop, port, self.context.client()))[0]
        return (await self.loop.create_connection(asyncio.Protocol, "127.0.0.1", port))[
            0
        ]

    def counts(self):
        return [count_segments(transport) for transport in self.transports]

    async def write_all(self, write):
        """Calls write(transport, i) for each, all in one turn. Returns what had left
        after each call, and in the end, in segments."""
        before = self.counts()
        seen = []

        def work(i):
            write(self.transports[i], i)
            seen.append([now - then for now, then in zip(self.counts(), before)])

        for i in range(MANY):
            self.loop.call_soon(work, i)
        while len(seen) < MANY:
            await asyncio.sleep(0)
        await turns(2)
        return seen, [now - then for now, then in zip(self.counts(), before)]


@pytest.fixture(params=["tcp", "tls"])
def context(request):
    return request.getfixturevalue("contexts") if request.param == "tls" else None


def write_number(transport, i):
    transport.write(b"%03d" % i)


def write_lines(transport, i):
    transport.writelines([b"%d" % digit for digit in (i // 100, i // 10 % 10, i % 10)])


@pytest.mark.parametrize("write", [write_number, write_lines])
def test_they_leave_in_the_turn(impl, loop, context, write):
    async def main():
        async with Ends(loop, context) as ends:
            for attempt in range(10):
                seen, last = await ends.write_all(write)
                assert min(last) == 1  # (a probe for a late ACK counts as well)
                for protocol in ends.heard:
                    await protocol.have(3 * (attempt + 1))
            heard = sorted(bytes(protocol.data) for protocol in ends.heard)
            assert heard == [b"%03d" % i * 10 for i in range(MANY)]
            return seen

    seen = run(loop, main())
    if not impl.is_cloop:
        assert min(now[i] for i, now in enumerate(seen)) == 1


@pytest.mark.parametrize("lines", [False, True])
def test_they_leave_together(impl, loop, context, lines):
    fast_only(impl, "each leaves at once")
    write = write_lines if lines else write_number

    async def main():
        held = []
        async with Ends(loop, context) as ends:
            for transport in ends.transports:  # counting segments takes its time
                transport.write(b"x")
            for _ in range(20):  # a turn may be interrupted at any moment
                before = ends.counts()
                for i in range(20):
                    loop.call_soon(write, ends.transports[i], i)
                counted = loop.create_future()
                loop.call_soon(lambda done: done.set_result(ends.counts()), counted)
                after = await counted
                held.append(sum(a == b for a, b in zip(after[:20], before)))
                await asyncio.sleep(0.001)
        return held

    held = run(loop, main())
    assert max(held) == 17, held  # all but the first of a burst, and the last two


def test_a_long_turn_does_not_hold_them_to_its_end(loop, context):
    async def main():
        async with Ends(loop, context) as ends:
            seen, _ = await ends.write_all(write_number)
            for i in range(50, MANY):
                assert min(seen[i][: i - 40]) >= 1

    run(loop, main())


def test_slow_callbacks_do_not_wait_for_each_other(loop, context):
    def write_slowly(transport, i):
        if i < 20:
            time.sleep(SLOW)
        transport.write(b"x")

    async def main():
        async with Ends(loop, context) as ends:
            seen, _ = await ends.write_all(write_slowly)
            for i in range(20):
                assert seen[i][i] >= 1

    run(loop, main())


@pytest.mark.parametrize("several", [False, True])
def test_a_slow_callback_holds_none_beyond_its_end(loop, context, several):
    async def main():
        async with Ends(loop, context) as ends:
            if several:  # the turn before had several of each
                for transport in ends.transports[:20]:
                    transport.write(b"a")
                    transport.write(b"b")
                await turns(2)
            before = ends.counts()
            counted = loop.create_future()
            for i in range(20):
                loop.call_soon(write_number, ends.transports[i], i)
            loop.call_soon(time.sleep, SLOW)
            loop.call_soon(lambda: counted.set_result(ends.counts()))
            for _ in range(5):
                loop.call_soon(int)
            after = await counted
            assert min(now - then for now, then in list(zip(after, before))[:20]) >= 1

    run(loop, main())


@pytest.mark.parametrize("question", ["get_write_buffer_size", "abort", "close"])
def test_who_asks_or_ends_finds_them_sent(loop, context, question):
    answers = []

    def write_and_ask(transport, i):
        transport.write(b"x" * 10)
        if i % 2:
            answers.append(getattr(transport, question)())

    async def main():
        async with Ends(loop, context) as ends:
            if question == "get_write_buffer_size":
                seen, _ = await ends.write_all(write_and_ask)
                for i in range(1, MANY, 2):
                    assert seen[i][i] >= 1
                assert answers == [0] * (MANY // 2)
                return
            for i, transport in enumerate(ends.transports):
                loop.call_soon(write_and_ask, transport, i)
            for protocol in ends.heard:
                await protocol.have(10)
                assert protocol.data == b"x" * 10

    run(loop, main())


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
def test_an_exit_leaves_none_behind(loop, context, exception):
    ends = Ends(loop, context)
    run(loop, ends.__aenter__())
    before = ends.counts()

    def leave():
        raise exception

    for i in range(20):
        loop.call_soon(write_number, ends.transports[i], i)
    loop.call_soon(leave)
    for _ in range(5):
        loop.call_soon(int)
    with pytest.raises(exception):
        loop.run_forever()
    assert min(now - then for now, then in list(zip(ends.counts(), before))[:20]) >= 1
    run(loop, ends.__aexit__())


def test_writes_of_another_thread_do_not_wait_for_the_loop(loop, context):
    """Not allowed, but it works on stock as long as nothing else happens meanwhile."""

    async def main():
        async with Ends(loop, context) as ends:
            transport = ends.transports[0]
            before = count_segments(transport)

            def work():
                time.sleep(0.05)  # the loop sleeps
                for _ in range(3):
                    transport.write(b"x")
                counted.append(count_segments(transport) - before)

            counted = []
            thread = threading.Thread(target=work)
            thread.start()
            await asyncio.sleep(0.2)
            thread.join()
            assert counted[0] >= 3

    run(loop, main())
