"""What was written is with the kernel, whatever the callback does next.

On stock it is so at once. On cloop it may wait for the end of the turn: nothing that
ends a connection or the loop's run, no slow callback and no event may come before it.
"""

import asyncio
import contextvars
import os
import socket
import ssl
import sys
import threading
import time

import pytest

pytest.importorskip("trustme")

import tls_support
from support import cloop_only
from tls_support import Peer, Recorder, connect, port_of, read_all, run
from wire import count_segments

impl = tls_support.impl
contexts = tls_support.contexts

SLOW = 0.005  # of a callback: longer than writes wait for each other


@pytest.fixture(params=["tcp", "tls"])
def context(request):
    return request.getfixturevalue("contexts") if request.param == "tls" else None


class Ends:
    """Connections of a loop to its own server, whose last turn had two writes each: the
    first write of the next one waits for others. `near`: the server's protocols, `far`:
    those at the other ends, both in order."""

    def __init__(self, loop, context=None, count=1, near=Recorder):
        self.loop = loop
        self.context = context
        self.count = count
        self.make = near
        self.near, self.far = [], []

    async def __aenter__(self):
        server_context = self.context and self.context.server()
        client_context = self.context and self.context.client()
        names = {"server_hostname": "localhost" if self.context else None}
        self.server, port = await port_of(self.loop, self.accept, server_context)
        for i in range(self.count):
            far = await connect(self.loop, port, client_context, **names)
            self.far.append(far[1])
            while len(self.near) <= i or not self.near[i].made.done():
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)  # session tickets
        for protocol in self.near:
            count_segments(protocol.transport)
            protocol.transport.write(b"a")
            protocol.transport.write(b"b")
        for protocol in self.far:
            await protocol.have(2)
        return self

    def accept(self):
        self.near.append(self.make(self.loop))
        return self.near[-1]

    async def __aexit__(self, *exc):
        for protocol in self.far:
            protocol.transport.abort()
        self.server.close()
        for protocol in self.near:
            await protocol.lost


class Raises(Recorder):
    def data_received(self, data):
        self.transport.write(b"answer")
        raise ValueError("of the protocol")


class RaisesInTheEnd(Recorder):
    def eof_received(self):
        self.transport.write(b"answer")
        raise ValueError("of the protocol")


@pytest.mark.parametrize("near", [Raises, RaisesInTheEnd])
def test_the_protocol_raises(impl, loop, context, near):
    if context is not None and near is RaisesInTheEnd:
        tls_support.old_stock(impl, "what eof_received writes is lost")

    async def main():
        async with Ends(loop, context, 10, near) as ends:
            for protocol in ends.far:
                if near is Raises:
                    protocol.transport.write(b"?")
                elif context is None:
                    protocol.transport.write_eof()
                else:
                    protocol.transport.close()
            if near is Raises or context is None:
                for protocol in ends.far:
                    assert await protocol.have(8) == b"abanswer"
            for protocol in ends.near:
                assert isinstance(await protocol.lost, ValueError)

    reported = []
    loop.set_exception_handler(lambda loop, what: reported.append(what["exception"]))
    run(loop, main())
    assert len(reported) == 10


@pytest.mark.parametrize("how", ["close", "abort", "_force_close"])
def test_the_transport_is_given_up(loop, context, how):
    if how == "_force_close" and context is not None:
        pytest.skip("TypeError on stock, up to 3.12")

    async def main():
        async with Ends(loop, context) as ends:
            near, far = ends.near[0], ends.far[0]
            near.transport.write(b"head")
            near.transport.write(b"body")
            give_up = getattr(near.transport, how)
            _ = give_up() if how != "_force_close" else give_up(OSError("gone"))
            assert await far.have(10) == b"abheadbody"

    run(loop, main())


@pytest.mark.parametrize("how", ["close", "abort", "_force_close", "_fatal_error"])
def test_the_transport_below_is_given_up(loop, contexts, how):
    """The one that start_tls was given."""

    async def main():
        async with Ends(loop) as ends:
            near, far = ends.near[0], ends.far[0]
            raw = near.transport
            transport, other = await asyncio.gather(
                loop.start_tls(raw, near, contexts.server(), server_side=True),
                loop.start_tls(
                    far.transport, far, contexts.client(), server_hostname="localhost"
                ),
            )
            await asyncio.sleep(0.01)
            for _ in range(2):
                transport.write(b"head")
                transport.write(b"body")
                await asyncio.sleep(0.01)
            transport.write(b"first")
            transport.write(b"second")
            getattr(raw, how)(*([OSError("gone")] if how.startswith("_") else []))
            assert await far.have(29) == b"ab" + b"headbody" * 2 + b"firstsecond"
            other.abort()

    run(loop, main())


@pytest.mark.parametrize("how", ["stop", "interrupt"])
@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_the_loop_stops(loop, context, how, pieces):
    received = []
    all_there = threading.Event()

    def serve(sock):
        if context is not None:
            sock = context.server().wrap_socket(sock, server_side=True)
        received.append(read_all(sock, 2 + 6 * pieces))
        all_there.set()

    def work():
        for _ in range(pieces):
            transport.write(b"piece ")
        if how == "interrupt":
            raise KeyboardInterrupt
        loop.stop()

    async def start():
        if context is not None:
            return await connect(loop, peer.port, context.client())
        return await loop.create_connection(asyncio.Protocol, "127.0.0.1", peer.port)

    with Peer(serve) as peer:
        transport, _ = run(loop, start())
        loop.call_soon(transport.write, b"a")
        loop.call_soon(transport.write, b"b")
        run(loop, asyncio.sleep(0.05))
        loop.call_soon(work)
        if how == "interrupt":
            with pytest.raises(KeyboardInterrupt):
                loop.run_forever()
        else:
            loop.run_forever()
        assert all_there.wait(5)  # the loop does not run
        transport.abort()
        run(loop, asyncio.sleep(0))
    assert received == [b"ab" + b"piece " * pieces]


def test_the_run_does_not_end_before_its_peer_is_read(loop, context):
    """Whoever writes and then sets what ends the run: the other end hears it first."""

    class Answers(Recorder):
        def data_received(self, data):
            self.transport.write(b"answer")
            self.done.set_result(None)

    async def ready():
        ends = Ends(loop, context, near=Answers)
        await ends.__aenter__()
        await asyncio.sleep(0.01)
        return ends

    ends = run(loop, ready())
    near, far = ends.near[0], ends.far[0]
    near.done = loop.create_future()
    far.transport.write(b"?")
    loop.run_until_complete(near.done)
    assert bytes(far.data) == b"abanswer"
    run(loop, ends.__aexit__())


def test_slow_callbacks_do_not_hold_each_other(loop, context):
    """Each renews the time that writes wait for others, and none leaves."""

    async def main():
        async with Ends(loop, context, 10) as ends:
            transports = [protocol.transport for protocol in ends.near]
            before = [count_segments(transport) for transport in transports]
            left = []

            def work(i):
                left.append(count_segments(transports[0]) - before[0])
                time.sleep(SLOW)
                transports[i].write(b"head")
                transports[i].write(b"body")

            for i in range(10):
                loop.call_soon(work, i)
            while len(left) < 10:
                await asyncio.sleep(0)
            assert left[0] == 0
            assert all(left[2:])  # one slow callback later at most
            for protocol in ends.far:
                await protocol.have(10)

    run(loop, main())


def test_slow_events_do_not_hold_each_other(loop, context):
    """As above, in the callbacks of one poll."""
    order = []

    class Slow(Recorder):
        def data_received(self, data):
            first = order[0] if order else self
            order.append(self)
            left.append(count_segments(first.transport) - before[first])
            time.sleep(SLOW)
            self.transport.write(b"head")
            self.transport.write(b"body")

    left = []
    before = {}

    async def main():
        async with Ends(loop, context, 10, Slow) as ends:
            for protocol in ends.near:
                before[protocol] = count_segments(protocol.transport)
            for protocol in ends.far:
                protocol.transport.write(b"?")
            for protocol in ends.far:
                assert await protocol.have(10) == b"abheadbody"
        assert left[0] == 0
        assert all(left[3:])

    run(loop, main())


def test_the_socket_is_shut_down(loop):
    async def main():
        async with Ends(loop) as ends:
            near, far = ends.near[0], ends.far[0]
            near.transport.write(b"last")
            near.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
            assert await far.have(6) == b"ablast"
            await far.ended
            far.transport.close()
            assert await near.lost is None

    run(loop, main())


def test_limits_set_after_a_write_pause_nobody(loop, context):
    class Counts(Recorder):
        def pause_writing(self):
            self.calls.append("pause")

        def resume_writing(self):
            self.calls.append("resume")

    async def main():
        async with Ends(loop, context, near=Counts) as ends:
            near = ends.near[0]
            near.transport.write(b"c" * 100)
            near.transport.set_write_buffer_limits(high=10)
            await ends.far[0].have(102)
            assert "pause" not in near.calls

    run(loop, main())


def test_the_peer_sends_what_openssl_refuses(loop, contexts):
    """It has arrived before the writes: they are read for all that."""
    ready, go, gone = (threading.Event() for _ in range(3))
    received = []

    def talk(sock):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = contexts.client().wrap_bio(
            incoming, outgoing, server_hostname="localhost"
        )

        def until_done(function, *args):
            while True:
                try:
                    return function(*args)
                except ssl.SSLWantReadError:
                    if outgoing.pending:
                        sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))

        def read(size):
            data = b""
            while len(data) < size:
                data += until_done(tls.read, size - len(data))
            return data

        until_done(tls.do_handshake)
        sock.sendall(outgoing.read())
        assert read(2) == b"ab"
        ready.set()
        assert go.wait(5)
        sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        gone.set()
        received.append(read(13))

    def wait(protocol):
        go.set()
        assert gone.wait(5)
        loop.call_soon(
            write, protocol
        )  # the next poll comes before it, then its events

    def write(protocol):
        for piece in b"one ", b"two ", b"three":
            protocol.transport.write(piece)

    async def main():
        near = Recorder(loop)
        server, port = await port_of(loop, lambda: near, contexts.server())
        with Peer(talk, port):
            await near.made
            near.transport.write(b"a")
            near.transport.write(b"b")
            while not ready.is_set():
                await asyncio.sleep(0.001)
            loop.call_soon(wait, near)
            assert isinstance(await near.lost, ssl.SSLError)
        server.close()

    loop.set_exception_handler(lambda loop, what: None)
    run(loop, main())
    assert received == [b"one two three"]


def test_a_thread_that_asks_for_the_socket_sends_nothing(impl, loop):
    cloop_only(impl, "stock holds nothing back")

    async def main():
        async with Ends(loop) as ends:
            transport = ends.near[0].transport
            transport.write(b"c")
            transport.write(b"d")
            before = count_segments(transport)
            thread = threading.Thread(target=transport.get_extra_info, args=("socket",))
            thread.start()
            thread.join()
            assert count_segments(transport) == before
            assert await ends.far[0].have(4) == b"abcd"

    run(loop, main())


# -- forks -----------------------------------------------------------------------------

forking = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def fork(child=lambda: None):
    """Waits for a child that leaves the loop after child()."""
    pid = os.fork()
    if pid == 0:
        child()
        raise SystemExit
    assert os.waitpid(pid, 0)[1] == 0


def run_forking(loop, coroutine):
    """Ends the process where it is not the one that called."""
    parent = os.getpid()
    try:
        run(loop, coroutine)
    finally:
        if os.getpid() != parent:
            os._exit(0 if isinstance(sys.exc_info()[1], SystemExit) else 1)


def write_twice(transport, name):
    transport.write(b"%s1 " % name)
    transport.write(b"%s2 " % name)


def leave_at_once():
    os._exit(0)


@forking
@pytest.mark.parametrize("writes", [1, 3])
def test_once_when_the_process_forks(loop, context, writes):
    """The child leaves the loop, which flushes: nothing is sent by it."""

    def write_and_fork(protocol, done):
        for i in range(writes):
            protocol.transport.write(b"%d" % i)
        fork()
        done.set_result(None)

    async def main():
        async with Ends(loop, context) as ends:
            done = loop.create_future()
            loop.call_soon(write_and_fork, ends.near[0], done)
            await done
            await ends.far[0].have(2 + writes)
            await asyncio.sleep(0.01)
            ends.near[0].transport.write(b"end")
            got = await ends.far[0].have(5 + writes)
            assert got == b"ab" + b"012"[:writes] + b"end"

    run_forking(loop, main())


@forking
@pytest.mark.parametrize("then", [leave_at_once, fork], ids=["exit", "fork"])
def test_what_a_forked_child_writes_is_sent_by_it(loop, then):
    """Whether it goes without a word or forks again."""

    def write_and_fork(protocol):
        def child():
            write_twice(protocol.transport, b"child")
            then()

        write_twice(protocol.transport, b"parent")
        fork(child)

    async def main():
        async with Ends(loop) as ends:
            loop.call_soon(write_and_fork, ends.near[0])
            expected = b"abparent1 parent2 child1 child2 "
            assert await ends.far[0].have(len(expected)) == expected
            await asyncio.sleep(0.01)
            assert bytes(ends.far[0].data) == expected

    run_forking(loop, main())


@forking
def test_a_fork_in_the_context_of_the_transport(impl, loop):
    """Where it is one for all of a transport's callbacks: shared listeners, 3.15."""

    class Forks(Recorder):
        def data_received(self, data):
            write_twice(self.transport, b"x")
            fork()

    async def main():
        near, far = socket.socketpair()
        with far:
            for sock in near, far:
                sock.setblocking(False)
            context = {"context": contextvars.copy_context()} if impl.is_cloop else {}
            protocol = Forks(loop)
            transport = loop._make_socket_transport(near, protocol, **context)
            await protocol.made
            far.send(b"?")
            got = b""
            while len(got) < 6:
                got += await loop.sock_recv(far, 100)
            assert got == b"x1 x2 "
            await asyncio.sleep(0.01)
            with pytest.raises(BlockingIOError):
                far.recv(1)
            transport.close()
            await protocol.lost

    loop.set_exception_handler(lambda loop, what: pytest.fail(str(what)))
    run_forking(loop, main())


@forking
def test_a_fork_amid_the_flush(loop):
    """By a destructor that runs when a flushed transport lets go of its context: what
    others have written is not sent by both processes."""
    parent = os.getpid()
    status = []

    class Forks:
        def __del__(self):
            pid = os.fork()
            if pid == 0:
                loop.stop()
            else:
                status.append(os.waitpid(pid, 0)[1])

    variable = contextvars.ContextVar("variable")

    def write_first(transport):
        variable.set(Forks())
        write_twice(transport, b"x")

    def write_second(transport):
        if os.getpid() == parent:
            write_twice(transport, b"y")

    async def main():
        ends = []
        for _ in range(2):
            near, far = socket.socketpair()
            near.setblocking(False)
            far.settimeout(0.05)
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
            ends.append((transport, far))
        await asyncio.sleep(0.01)
        loop.call_soon(write_first, ends[0][0], context=contextvars.Context())
        loop.call_soon(write_second, ends[1][0])
        await asyncio.sleep(0.05)
        for (transport, far), expected in zip(ends, (b"x1 x2 ", b"y1 y2 ")):
            with far:
                assert far.recv(100) == expected
            transport.close()

    try:
        run(loop, main())
    finally:
        if os.getpid() != parent:
            os._exit(0)
    assert status == [0]
