"""The transport of TCP and Unix streams."""

import asyncio
import contextlib
import contextvars
import gc
import inspect
import logging
import os
import signal
import socket
import sys
import time
import warnings
import weakref
from asyncio import selector_events, trsock

import pytest
from support import PY, cloop_only, is_fast
from wire import (
    BufferedRecorder,
    Recorder,
    connected,
    count_segments,
    read_some,
    read_to_eof,
    reset,
    run,
    tcp_pair,
    turns,
    until,
)

KINDS = ["tcp", "unix"]
BOTH = [Recorder, BufferedRecorder]
VAR = contextvars.ContextVar("VAR", default="none")


# -- what it is ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_is_an_asyncio_transport_and_takes_attributes(loop, kind):
    with connected(loop, kind=kind) as (transport, protocol, _far):
        assert isinstance(transport, asyncio.Transport)
        assert transport.get_protocol() is protocol
        assert transport._protocol is protocol
        assert transport._loop is loop
        assert protocol.transport is transport
        transport.mine = 1
        assert transport.mine == 1
        assert transport.__dict__["mine"] == 1
        assert weakref.ref(transport)() is transport
        assert {transport: 1}[transport] == 1
        assert transport._paused is False
        assert transport._closing is False
        assert transport._conn_lost == 0
        assert transport._sock.fileno() == transport._sock_fd
        assert transport.can_write_eof() is True


@pytest.mark.parametrize("kind", KINDS)
def test_extra_info_is_the_sockets_and_stays_after_the_close(loop, kind):
    with connected(loop, kind=kind) as (transport, protocol, far):
        sock = transport.get_extra_info("socket")
        assert isinstance(sock, trsock.TransportSocket)
        assert transport.get_extra_info("socket") is sock
        assert transport._extra["socket"] is sock
        assert sock._sock is transport._sock
        names = far.getpeername(), far.getsockname()
        assert transport.get_extra_info("sockname") == names[0]
        assert transport.get_extra_info("peername") == names[1]
        assert transport.get_extra_info("nothing") is None
        assert transport.get_extra_info("nothing", 5) == 5
        assert transport.get_extra_info(name="nothing", default=6) == 6
        transport.close()
        run(loop, protocol.lost)
        assert transport.get_extra_info("sockname") == names[0]
        assert transport.get_extra_info("peername") == names[1]
        assert transport.get_extra_info("socket") is sock
        assert sock.fileno() == -1


@pytest.mark.parametrize("kind", KINDS)
def test_the_socket_can_be_asked_for_after_the_close(loop, kind):
    with connected(loop, kind=kind) as (transport, protocol, far):
        transport.close()
        run(loop, protocol.lost)
        sock = transport.get_extra_info("socket")
        assert sock.fileno() == -1
        assert (sock.family, sock.type) == (far.family, far.type)
        assert "fd=-1" in repr(sock)
        assert transport._sock is None


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_names_of_ipv6_have_four_parts(loop):
    with socket.socket(socket.AF_INET6) as listening:
        try:
            listening.bind(("::1", 0))
        except OSError:
            pytest.skip("no ::1")
        listening.listen()
        near = socket.create_connection(listening.getsockname()[:2])
        far, _ = listening.accept()
    transport, protocol = run(loop, loop.create_connection(Recorder, sock=near))
    assert transport.get_extra_info("peername") == far.getsockname()
    assert transport.get_extra_info("sockname") == far.getpeername()
    assert len(transport.get_extra_info("peername")) == 4
    transport.close()
    run(loop, protocol.lost)
    far.close()


def test_repr_tells_the_state(loop):
    with connected(loop) as (transport, protocol, _far):
        fd = transport._sock_fd
        assert f" fd={fd} read=polling write=<idle, bufsize=0>>" in repr(transport)
        transport.pause_reading()
        assert " read=idle " in repr(transport)
        transport.resume_reading()
        transport.write(b"x" * 10_000_000)
        assert " write=<polling, bufsize=" in repr(transport)
        transport.abort()
        assert " closing " in repr(transport)
        run(loop, protocol.lost)
        assert repr(transport).endswith(f" closed fd={fd}>")


def test_nodelay_is_on_for_every_tcp_socket(loop):
    # socket.socket() has proto 0: stock leaves such a one alone.
    with connected(loop) as (transport, _protocol, _far):
        sock = transport.get_extra_info("socket")
        on = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        if type(transport).__module__ == "cloop":
            assert on
        else:
            assert bool(on) == (sock.proto == socket.IPPROTO_TCP)


def test_add_reader_on_its_descriptor_is_refused(loop):
    with connected(loop) as (transport, _protocol, _far):
        for call in (loop.add_reader, loop.add_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                call(transport._sock_fd, print)
        for call in (loop.remove_reader, loop.remove_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                call(transport._sock_fd)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="stock replaces it")
def test_two_transports_on_one_socket_are_refused(loop):
    with connected(loop) as (transport, _protocol, _far):
        with pytest.raises(RuntimeError, match="is used by transport"):
            run(loop, loop.create_connection(Recorder, sock=transport._sock))


# -- reading ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("size", [1, 1000, 65536, 3_000_000])
def test_all_that_is_sent_arrives_in_order(loop, kind, protocol, size):
    data = os.urandom(size)

    async def main(transport, protocol, far):
        far.setblocking(False)
        await loop.sock_sendall(far, data)
        far.shutdown(socket.SHUT_WR)
        assert await protocol.lost is None
        assert protocol.data == data
        assert protocol.calls[0] == "made"
        assert protocol.calls[-2:] == ["eof", "lost"]

    with connected(loop, protocol, kind) as ends:
        run(loop, main(*ends))


def test_connection_made_comes_before_the_data_and_create_connection_returns_after_it(
    loop,
):
    near, far = tcp_pair()
    far.sendall(b"early")
    transport, protocol = run(loop, loop.create_connection(Recorder, sock=near))
    assert protocol.calls[0] == "made"
    run(loop, until(lambda: protocol.data == b"early"))
    transport.close()
    run(loop, protocol.lost)
    far.close()


def test_pause_reading_holds_back_and_resume_goes_on(loop):
    async def main(transport, protocol, far):
        assert transport.is_reading()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        far.sendall(b"abc")
        await asyncio.sleep(0.02)
        assert protocol.data == b""
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        await until(lambda: protocol.data == b"abc")
        transport.close()
        assert not transport.is_reading()
        transport.pause_reading()
        transport.resume_reading()
        await protocol.lost

    with connected(loop) as ends:
        run(loop, main(*ends))


def test_paused_in_connection_made_it_reads_nothing(impl, loop):
    if not impl.is_cloop and sys.version_info < (3, 11):
        pytest.skip("stock starts to read all the same")

    class Paused(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main(transport, protocol, far):
        far.sendall(b"abc")
        await asyncio.sleep(0.02)
        assert protocol.calls == ["made"]
        transport.resume_reading()
        await until(lambda: protocol.data == b"abc")

    with connected(loop, Paused) as ends:
        run(loop, main(*ends))


def test_hang_up_with_unread_data_gives_all_data_then_eof_then_lost(loop):
    async def main(transport, protocol, far):
        transport.pause_reading()
        far.sendall(b"x" * 4000)
        far.close()
        await asyncio.sleep(0.01)
        transport.resume_reading()
        assert await protocol.lost is None
        assert len(protocol.data) == 4000
        assert protocol.calls[-2:] == ["eof", "lost"]

    with connected(loop) as ends:
        run(loop, main(*ends))


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_hang_up_while_paused_costs_no_cpu(loop, how):
    async def main(transport, protocol, far):
        transport.pause_reading()
        far.sendall(b"x")
        if how == "reset":
            reset(far)
        else:
            far.close()
        began = time.process_time()
        await asyncio.sleep(0.5)
        assert time.process_time() - began < 0.05
        transport.resume_reading()
        exc = await protocol.lost
        if how == "close":
            assert exc is None
        else:
            assert isinstance(exc, ConnectionResetError)

    with connected(loop) as ends:
        run(loop, main(*ends))


def test_a_half_open_connection_costs_no_cpu(loop):
    class Open(Recorder):
        keep_open = True

    async def main(transport, protocol, far):
        far.shutdown(socket.SHUT_WR)
        await until(lambda: "eof" in protocol.calls)
        began = time.process_time()
        await asyncio.sleep(0.5)
        assert time.process_time() - began < 0.05
        assert protocol.calls.count("eof") == 1
        transport.write(b"still here")
        transport.close()
        assert await read_to_eof(loop, far) == b"still here"
        assert await protocol.lost is None

    with connected(loop, Open) as ends:
        run(loop, main(*ends))


def test_a_reset_arrives_as_connection_lost_with_it(loop, reports):
    async def main(transport, protocol, far):
        reset(far)
        assert isinstance(await protocol.lost, ConnectionResetError)
        assert "eof" not in protocol.calls

    with connected(loop) as ends:
        run(loop, main(*ends))
    assert reports == []


@pytest.mark.parametrize("protocol", BOTH)
def test_the_protocol_can_be_changed_between_two_arrivals(loop, protocol):
    async def main(transport, first, far):
        far.sendall(b"one")
        await until(lambda: first.data == b"one")
        for cls in (Recorder, BufferedRecorder, Recorder):
            other = cls()
            transport.set_protocol(other)
            assert transport.get_protocol() is other
            far.sendall(b"two")
            await until(lambda other=other: other.data == b"two")
            assert other.calls == ["data"]
        assert first.data == b"one"
        transport.close()
        await other.lost
        assert "lost" not in first.calls

    with connected(loop, protocol) as ends:
        run(loop, main(*ends))


class GetBufferOnly:
    """Buffered, but no BufferedProtocol: it is not asked for its buffer."""

    connection_made = Recorder.connection_made
    connection_lost = Recorder.connection_lost
    __init__ = Recorder.__init__

    def get_buffer(self, sizehint):
        self.calls.append("get_buffer")
        return bytearray(100)

    def buffer_updated(self, nbytes):
        self.calls.append("buffer_updated")


class Both(GetBufferOnly):
    data_received = Recorder.data_received


@pytest.mark.parametrize("how", ["create_connection", "set_protocol"])
def test_who_is_no_bufferedprotocol_needs_data_received(loop, reports, how):
    async def main(transport, protocol, far):
        if how == "set_protocol":
            protocol = GetBufferOnly()
            transport.set_protocol(protocol)
        far.sendall(b"x")
        exc = await protocol.lost
        assert isinstance(exc, AttributeError)
        assert "data_received" in str(exc)
        assert protocol.calls[-1] == "lost"
        assert "get_buffer" not in protocol.calls

    cls = Recorder if how == "set_protocol" else GetBufferOnly
    with connected(loop, cls) as ends:
        run(loop, main(*ends))
    assert [report["message"] for report in reports] == [
        "Fatal error: protocol.data_received() call failed."
    ]


def test_who_has_both_and_is_no_bufferedprotocol_gets_data(loop):
    async def main(transport, protocol, far):
        far.sendall(b"abc")
        await until(lambda: protocol.data == b"abc")
        assert protocol.calls == ["made", "data"]

    with connected(loop, Both) as ends:
        run(loop, main(*ends))


def test_who_says_that_it_is_a_bufferedprotocol_is_one(loop):
    """isinstance decides, as on stock."""

    class Disguised(GetBufferOnly):
        __class__ = asyncio.BufferedProtocol

    async def main(transport, protocol, far):
        far.sendall(b"abc")
        await until(lambda: "buffer_updated" in protocol.calls)
        assert protocol.calls == ["made", "get_buffer", "buffer_updated"]

    with connected(loop, Disguised) as ends:
        run(loop, main(*ends))


def test_a_bufferedprotocol_without_get_buffer_fails(loop, reports):
    class Nothing(asyncio.BufferedProtocol):
        __init__ = Recorder.__init__
        connection_made = Recorder.connection_made
        connection_lost = Recorder.connection_lost

    async def main(transport, protocol, far):
        far.sendall(b"x")
        assert isinstance(await protocol.lost, TypeError)  # get_buffer() is None

    with connected(loop, Nothing) as ends:
        run(loop, main(*ends))
    assert [report["message"] for report in reports] == [
        "Fatal error: protocol.get_buffer() call failed."
    ]


class Pieces(BufferedRecorder):
    """Ten bytes at a time; does something in the third delivery."""

    size = 10
    action = None

    def buffer_updated(self, nbytes):
        super().buffer_updated(nbytes)
        if self.calls.count("data") == 3 and self.action:
            self.action()


def test_a_small_buffer_gets_everything_in_pieces(loop):
    async def main(transport, protocol, far):
        for size in (10, 20, 160, 170, 5000, 15):
            data = os.urandom(size)
            protocol.data = b""
            far.sendall(data)
            await until(lambda data=data: len(protocol.data) >= len(data))
            assert protocol.data == data
        far.shutdown(socket.SHUT_WR)
        await protocol.lost
        assert protocol.calls[-2:] == ["eof", "lost"]

    with connected(loop, Pieces) as ends:
        run(loop, main(*ends))


def test_between_the_pieces_it_can_be_paused_closed_and_replaced(loop):
    async def main(transport, protocol, far):
        protocol.action = transport.pause_reading
        far.sendall(bytes(range(100)))
        await until(lambda: len(protocol.data) >= 30)
        await turns(5)
        assert protocol.data == bytes(range(30))
        other = Recorder()
        second = Pieces()
        second.action = lambda: transport.set_protocol(other)
        transport.set_protocol(second)
        transport.resume_reading()
        await until(lambda: len(other.data) >= 40)
        assert second.data == bytes(range(30, 60))
        assert other.data == bytes(range(60, 100))
        third = Pieces()
        third.action = transport.close
        transport.set_protocol(third)
        far.sendall(bytes(100))
        await third.lost
        assert third.calls == ["data"] * 3 + ["lost"]

    with connected(loop, Pieces) as ends:
        run(loop, main(*ends))


@pytest.mark.parametrize("size", [10, 7, 25, 1000])
def test_what_each_piece_writes_goes_out_in_order(loop, size):
    """(The buffer is written to again as soon as nothing is queued.)"""

    class Echo(Pieces):
        def buffer_updated(self, nbytes):
            self.transport.write(memoryview(self.buffer)[:nbytes])
            if self.transport.get_write_buffer_size():
                self.buffer = bytearray(self.size)

    async def main(transport, protocol, far):
        for _ in range(20):
            data = os.urandom(size)
            far.sendall(data)
            assert await read_some(loop, far, size) == data
            far.setblocking(True)

    with connected(loop, Echo) as ends:
        run(loop, main(*ends))


def test_a_flood_into_a_small_buffer_leaves_others_their_turn(loop):
    class Flooded(Pieces):
        def buffer_updated(self, nbytes):
            self.calls.append("data")

    async def main(transport, protocol, far):
        transport.pause_reading()
        far.sendall(bytes(20000))
        transport.resume_reading()
        counts = []
        while sum(counts) < 2000:
            before = len(protocol.calls)
            await asyncio.sleep(0)
            counts.append(len(protocol.calls) - before)
        assert max(counts) <= 100

    with connected(loop, Flooded) as ends:
        run(loop, main(*ends))


def test_a_replaced_data_received_is_the_one_that_is_called(loop):
    async def main(transport, protocol, far):
        seen = []
        protocol.data_received = seen.append
        far.sendall(b"abc")
        await until(lambda: seen == [b"abc"])

    with connected(loop) as ends:
        run(loop, main(*ends))


# -- exceptions of the protocol --------------------------------------------------------


def failing(cls, *methods, error=ZeroDivisionError):
    def method(self, *args):
        self.calls.append("failed")
        raise error("oops")

    return type("Failing", (cls,), {name: method for name in methods})


@pytest.mark.parametrize(
    "cls, method, message",
    [
        (
            Recorder,
            "data_received",
            "Fatal error: protocol.data_received() call failed.",
        ),
        (
            BufferedRecorder,
            "get_buffer",
            "Fatal error: protocol.get_buffer() call failed.",
        ),
        (
            BufferedRecorder,
            "buffer_updated",
            "Fatal error: protocol.buffer_updated() call failed.",
        ),
        (Recorder, "eof_received", "Fatal error: protocol.eof_received() call failed."),
    ],
)
def test_an_exception_of_a_reading_callback_is_fatal(
    loop, reports, cls, method, message
):
    async def main(transport, protocol, far):
        far.sendall(b"x")
        far.shutdown(socket.SHUT_WR)
        exc = await protocol.lost
        assert isinstance(exc, ZeroDivisionError)
        assert protocol.calls[-1] == "lost"
        assert protocol.calls.count("failed") == 1
        assert [report["message"] for report in reports] == [message]
        assert reports[0]["exception"] is exc
        assert reports[0]["transport"] is transport
        assert reports[0]["protocol"] is protocol
        assert transport.is_closing()

    with connected(loop, failing(cls, method)) as ends:
        run(loop, main(*ends))


def test_an_oserror_of_data_received_is_fatal_and_silent(loop, reports):
    async def main(transport, protocol, far):
        far.sendall(b"x")
        assert isinstance(await protocol.lost, OSError)

    with connected(loop, failing(Recorder, "data_received", error=OSError)) as ends:
        run(loop, main(*ends))
    assert reports == []


def test_an_exception_of_connection_made_is_reported_and_the_connection_goes_on(
    loop, reports
):
    async def main(transport, protocol, far):
        far.sendall(b"abc")
        await until(lambda: protocol.data == b"abc")
        transport.close()
        await protocol.lost

    with connected(loop, failing(Recorder, "connection_made")) as ends:
        run(loop, main(*ends))
    assert len(reports) == 1
    assert reports[0]["message"].startswith("Exception in callback ")
    assert isinstance(reports[0]["exception"], ZeroDivisionError)


def test_an_exception_of_connection_lost_is_reported_and_all_is_closed(loop, reports):
    with connected(loop, failing(Recorder, "connection_lost")) as (
        transport,
        _protocol,
        far,
    ):
        transport.close()
        run(loop, turns())
        assert transport._sock is None
        far.settimeout(5)
        assert far.recv(1) == b""
    assert [type(report["exception"]) for report in reports] == [ZeroDivisionError]
    assert reports[0]["message"].startswith("Exception in callback ")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exit_in_data_received_leaves_the_loop_which_can_go_on(loop, error):
    class Exit(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if data == b"x":
                raise error

    with connected(loop, Exit) as (_transport, protocol, far):
        far.sendall(b"x")
        with pytest.raises(error):
            loop.run_until_complete(asyncio.sleep(5))
        far.sendall(b"more")
        run(loop, until(lambda: protocol.data == b"xmore"))
        assert protocol.lost_with == "not yet"


@pytest.mark.parametrize("buffer", [b"readonly", bytearray(), None, 5])
def test_a_useless_buffer_is_fatal(loop, reports, buffer):
    class Useless(BufferedRecorder):
        def get_buffer(self, sizehint):
            return buffer

    async def main(transport, protocol, far):
        far.sendall(b"x")
        return await protocol.lost

    with connected(loop, Useless) as ends:
        exc = run(loop, main(*ends))
    assert isinstance(exc, (TypeError, RuntimeError))
    if buffer == bytearray():
        assert str(exc) == "get_buffer() returned an empty buffer"
    assert len(reports) == 1


# -- what a callback can do to us ------------------------------------------------------


ACTIONS = {
    "close": lambda p: p.transport.close(),
    "abort": lambda p: p.transport.abort(),
    "pause": lambda p: p.transport.pause_reading(),
    "write": lambda p: p.transport.write(b"answer"),
    "write and close": lambda p: (p.transport.write(b"answer"), p.transport.close()),
    "write eof": lambda p: p.transport.write_eof(),
    "collect": lambda p: gc.collect(),
    "other protocol": lambda p: p.transport.set_protocol(Recorder()),
    "no protocol": lambda p: p.transport.set_protocol(asyncio.Protocol()),
    "stop": lambda p: asyncio.get_running_loop().stop(),
    "pause and resume": lambda p: (
        p.transport.pause_reading(),
        p.transport.resume_reading(),
    ),
    "close socket": lambda p: p.transport._sock.close(),
    "close loop": lambda p: asyncio.get_running_loop().close(),  # RuntimeError
}


@pytest.mark.parametrize("base", BOTH)
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("when", ["made", "data", "eof", "lost"])
def test_a_callback_may_do_anything(loop, base, action, when):
    act = ACTIONS[action]

    class Acting(base):
        def connection_made(self, transport):
            super().connection_made(transport)
            if when == "made":
                act(self)

        def data_received(self, data):
            super().data_received(data)
            act(self) if when == "data" else None

        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            act(self) if when == "data" else None

        def eof_received(self):
            super().eof_received()
            act(self) if when == "eof" else None

        def connection_lost(self, exc):
            super().connection_lost(exc)
            act(self) if when == "lost" else None

    loop.set_exception_handler(lambda loop, context: None)
    near, far = tcp_pair()
    task = loop.create_task(loop.create_connection(Acting, sock=near))
    far.sendall(b"x" * 5000)
    far.shutdown(socket.SHUT_WR)
    for _ in range(100):
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        if task.done() and not task.result()[0].is_reading():
            break
    transport, _protocol = task.result()
    transport.abort()
    for _ in range(10):
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert transport._sock is None or action == "close socket"
    far.close()


@pytest.mark.parametrize("action", ["close", "abort", "pause", "drop"])
def test_events_of_the_same_poll_are_dropped_for_who_was_closed(loop, action):
    # Both are readable in the same poll; the first to hear of it deals with the other.
    both = []

    class First(Recorder):
        def data_received(self, data):
            super().data_received(data)
            for other in both:
                if other is not self and other.transport is not None:
                    if action == "drop":
                        other.transport = None
                        gc.collect()
                    elif action == "pause":
                        other.transport.pause_reading()
                    else:
                        getattr(other.transport, action)()

    pairs = [tcp_pair() for _ in range(2)]
    transports = []
    for near, _far in pairs:
        transport, protocol = run(loop, loop.create_connection(First, sock=near))
        transports.append(transport)
        both.append(protocol)
    for _near, far in pairs:
        far.sendall(b"x")
    time.sleep(0.01)
    run(loop, turns(5))
    if action != "drop":
        heard = [len(protocol.data) for protocol in both]
        assert sorted(heard) in ([0, 1], [1, 1])
        if type(transports[0]).__module__ == "cloop":
            assert sorted(heard) == [0, 1]
    for transport in transports:
        transport.abort()
    run(loop, turns())
    for _near, far in pairs:
        far.close()


def test_everything_dies_without_the_collector(impl, loop):
    if not impl.is_cloop and sys.version_info < (3, 12):
        pytest.skip("stock has a cycle")

    async def main(near, far):
        transport, protocol = await loop.create_connection(Recorder, sock=near)
        far.sendall(b"x")
        await until(lambda: protocol.data)
        transport.close()
        await protocol.lost
        await turns()
        protocol.transport = None
        return [weakref.ref(transport), weakref.ref(protocol), weakref.ref(near)]

    gc.collect()
    gc.disable()
    try:
        near, far = tcp_pair()
        refs = run(loop, main(near, far))
        del near
        assert [ref() for ref in refs] == [None, None, None]
    finally:
        gc.enable()
    far.close()


def test_an_unclosed_transport_warns_when_it_dies(loop_factory):
    loop = loop_factory()
    near, far = tcp_pair()
    asyncio.set_event_loop(loop)
    transport, protocol = run(loop, loop.create_connection(Recorder, sock=near))
    loop.close()
    protocol.transport = None
    del near
    with pytest.warns(ResourceWarning, match="unclosed transport <.*fd="):
        del transport, protocol
        gc.collect()
    asyncio.set_event_loop(None)
    far.settimeout(5)
    assert far.recv(1) == b""
    far.close()


def test_a_paused_transport_without_users_dies_and_warns(loop):
    near, far = tcp_pair()

    async def main():
        transport, protocol = await loop.create_connection(Recorder, sock=near)
        transport.pause_reading()
        protocol.transport = None

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        run(loop, main())
        run(loop, turns())
        gc.collect()
    assert "unclosed transport" in "".join(str(warning.message) for warning in seen)
    far.close()
    near.close()


def test_methods_after_the_loop_is_closed(loop_factory):
    loop = loop_factory()
    asyncio.set_event_loop(loop)
    near, far = tcp_pair()
    transport, _protocol = run(loop, loop.create_connection(Recorder, sock=near))
    loop.close()
    asyncio.set_event_loop(None)
    assert "read=" not in repr(transport)
    transport.pause_reading()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.resume_reading()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.abort()
    far.close()
    near.close()


# -- writing ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [1, 600, 5_000_000])
def test_what_is_written_arrives(loop, kind, make, size):
    data = os.urandom(size)

    async def main(transport, protocol, far):
        transport.write(make(data))
        transport.write(make(b""))
        transport.write(make(data))
        assert await read_some(loop, far, 2 * size) == 2 * data

    with connected(loop, kind=kind) as ends:
        run(loop, main(*ends))


def test_a_queued_bytearray_may_be_changed_and_resized(impl, loop):
    if not impl.is_cloop and sys.version_info >= (3, 12):
        pytest.skip("stock keeps a view of it")

    async def main(transport, protocol, far):
        sent = bytearray()
        for size in (10, 2_000_000, 5, 700, 100_000):
            data = bytearray(os.urandom(size))
            sent += data
            transport.write(data)
            data[:] = b"!" * size
            del data[1:]
            data = bytearray(os.urandom(size))
            sent += data
            transport.write(memoryview(data)[: size // 2])
            transport.write(memoryview(data)[size // 2 :])
            data[:] = b"?" * size
        assert await read_some(loop, far, len(sent)) == sent

    with connected(loop, kind="unix") as ends:
        run(loop, main(*ends))


@pytest.mark.parametrize("make", [list, tuple, iter, set, dict.fromkeys])
@pytest.mark.parametrize("count", [1, 2])
def test_writelines_takes_any_iterable(loop, make, count):
    async def main(transport, protocol, far):
        pieces = [b"abc", b"xyz"][:count]
        transport.writelines(make(pieces))
        transport.write(b"!")
        got = await read_some(loop, far, 3 * count + 1)
        assert sorted(got) == sorted(b"".join(pieces) + b"!")

    with connected(loop, kind="unix") as ends:
        run(loop, main(*ends))


def test_a_released_memoryview_is_the_callers_fault(loop, reports):
    """The connection lives on."""
    view = memoryview(b"released")
    view.release()

    async def main(transport, protocol, far):
        with pytest.raises(ValueError, match="released memoryview"):
            transport.write(view)
        transport.write(memoryview(b"")[::2])
        transport.write(b"next")
        assert await read_some(loop, far, 4) == b"next"

    with connected(loop, kind="unix") as ends:
        run(loop, main(*ends))
    assert not reports


@pytest.mark.parametrize("size", [10, 3000])
def test_more_pieces_than_one_call_takes(loop, size):
    async def main(transport, protocol, far):
        pieces = [os.urandom(size) for _ in range(3000)]
        transport.set_write_buffer_limits(high=1 << 30)
        for piece in pieces:
            transport.write(piece)
        transport.writelines(pieces)
        transport.writelines(bytearray(piece) for piece in pieces)
        data = b"".join(pieces)
        assert await read_some(loop, far, 3 * len(data)) == 3 * data

    with connected(loop, kind="unix") as ends:
        run(loop, main(*ends))


def test_many_small_writes_of_a_turn_leave_before_the_next(loop):
    async def main(transport, protocol, far):
        for i in range(100):
            transport.write(b"%03d" % i)
        await turns(2)
        with far.makefile("rb") as file:  # without the loop
            assert len(file.read(300)) == 300

    with connected(loop) as ends:
        run(loop, main(*ends))


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_to_the_same_loop_arrives_in_the_next_turns_of_a_busy_one(loop, kind):
    """(Programs that talk to themselves count turns: aiohttp's tests do.)"""

    async def main(transport, protocol, far):
        other, heard = await loop.create_connection(Recorder, sock=far.dup())
        await asyncio.sleep(0.01)
        needed = []
        for count in range(1, 21):
            transport.write(b"x")
            needed.append(0)
            while len(heard.data) < count and needed[-1] < 1000:
                await asyncio.sleep(0)
                needed[-1] += 1
        assert sorted(needed)[10] <= 3, needed
        other.close()
        await heard.lost

    with connected(loop, kind=kind) as ends:
        run(loop, main(*ends))


def test_what_is_written_as_the_loop_goes_to_sleep_leaves_before(impl, loop):
    """Here by a weak reference to a timer that the loop lets go of just then."""
    cloop_only(impl, "stock lets go of the timer after its sleep")

    async def main(transport, protocol, far):
        cancelled = loop.call_later(10, print)
        later = loop.call_later(2000, print)
        watched = weakref.ref(
            cancelled, lambda _: [transport.write(b"abc") for _ in range(3)]
        )
        cancelled.cancel()
        del cancelled
        assert watched() is not None
        far.settimeout(5)
        with far.makefile("rb") as file:
            assert await loop.run_in_executor(None, file.read, 9) == b"abcabcabc"
        assert watched() is None
        later.cancel()

    with connected(loop) as ends:
        run(loop, main(*ends))


def test_many_small_writes_of_each_turn_leave_in_it(loop):
    """Of turns in which the first write found nothing queued, and of others."""

    async def main(transport, protocol, far):
        with far.makefile("rb") as file:  # it blocks the loop
            for turn in range(20):
                pieces = [b"%d.%d " % (turn, i) for i in range(turn % 3)]
                for piece in pieces:
                    transport.write(piece)
                await turns(2)
                sent = b"".join(pieces)
                assert file.read(len(sent)) == sent

    with connected(loop) as ends:
        run(loop, main(*ends))


def test_a_head_and_a_body_leave_together(impl, loop):
    """From the second time on: once a turn had two writes, the first of the next waits
    for the second. When there is none, the one after that leaves at once again."""

    async def main(transport, protocol, far):
        sent = []
        for pieces in [2, 2, 2, 1, 1, 2, 2]:
            before = count_segments(transport)
            for i in range(pieces):
                transport.write(b"%d" % i)
            at_once = count_segments(transport) - before
            await turns(2)
            assert transport.get_write_buffer_size() == 0
            assert await read_some(loop, far, pieces) == b"01"[:pieces]
            sent.append((at_once, count_segments(transport) - before))
        return sent

    with connected(loop) as ends:
        sent = run(loop, main(*ends))
    if is_fast(impl):
        held, first = (0, 1), (1, 2)
        assert sent == [first, held, held, held, (1, 1), first, held]
    elif not impl.is_cloop:
        assert sent == [(n, n) for n in (2, 2, 2, 1, 1, 2, 2)]


def test_a_large_head_does_not_wait(loop):
    async def main(transport, protocol, far):
        for size in [1, 40_000, 40_000]:
            before = count_segments(transport)
            transport.write(b"h" * size)
            assert size == 1 or count_segments(transport) > before
            transport.write(b"b")
            assert await read_some(loop, far, size + 1) == b"h" * size + b"b"

    with connected(loop) as ends:
        run(loop, main(*ends))


@pytest.mark.parametrize("end", ["close", "abort", "write_eof", "stop", "exit"])
def test_a_head_whose_body_never_comes_survives_the_end(loop, end):
    async def main(transport, protocol, far):
        transport.write(b"head")
        transport.write(b"body")
        assert await read_some(loop, far, 8) == b"headbody"
        if end in ("stop", "exit"):
            return
        transport.write(b"head")
        getattr(transport, end)()
        assert await read_to_eof(loop, far) == b"head"
        far.close()
        assert await protocol.lost is None

    def last(transport):
        transport.write(b"head")
        if end == "exit":
            raise KeyboardInterrupt
        loop.stop()

    with connected(loop) as ends:
        run(loop, main(*ends))
        if end in ("stop", "exit"):
            transport, _, far = ends
            loop.call_soon(last, transport)
            with contextlib.suppress(KeyboardInterrupt):
                loop.run_forever()
            assert far.recv(100) == b"head"


def test_writes_of_a_turn_survive_the_loops_stop(loop):
    with connected(loop) as (transport, _protocol, far):

        def work():
            for _ in range(3):
                transport.write(b"abc")
            loop.stop()

        loop.call_soon(work)
        loop.run_forever()
        assert far.recv(100) == b"abcabcabc"
        transport.write(b"1")
        transport.write(b"2")
        assert far.recv(100) == b"12"


def test_writes_of_a_turn_survive_an_exit_and_the_loops_close(loop):
    near, far = tcp_pair()
    transport, _protocol = run(loop, loop.create_connection(Recorder, sock=near))

    def work():
        for _ in range(3):
            transport.write(b"abc")
        raise KeyboardInterrupt

    loop.call_soon(work)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.close()
    far.settimeout(5)
    assert far.recv(100) == b"abcabcabc"
    near.close()
    far.close()


@pytest.mark.parametrize("end", ["close", "abort", "write_eof"])
def test_writes_of_a_turn_survive_the_end(loop, end):
    async def main(transport, protocol, far):
        for _ in range(3):
            transport.write(b"abc")
        getattr(transport, end)()
        assert await read_to_eof(loop, far) == b"abcabcabc"
        far.close()
        assert await protocol.lost is None

    with connected(loop) as ends:
        run(loop, main(*ends))


def test_close_sends_a_large_queue_first(loop):
    data = os.urandom(4_000_000)

    async def main(transport, protocol, far):
        transport.write(data[:1000])
        transport.write(data[1000:])
        transport.close()
        transport.close()
        assert transport.is_closing()
        await asyncio.sleep(0.01)
        assert protocol.lost_with == "not yet"
        assert await read_to_eof(loop, far) == data
        assert await protocol.lost is None
        assert transport.get_write_buffer_size() == 0

    with connected(loop, kind="unix") as ends:
        run(loop, main(*ends))


def test_write_eof_comes_after_the_queue(loop):
    data = os.urandom(3_000_000)

    async def main(transport, protocol, far):
        transport.write(data)
        transport.write_eof()
        transport.write_eof()
        with pytest.raises(
            RuntimeError, match=r"Cannot call write\(\) after write_eof"
        ):
            transport.write(b"x")
        with pytest.raises(RuntimeError, match=r"after write_eof\(\)"):
            transport.writelines([b"x"])
        assert await read_to_eof(loop, far) == data
        far.sendall(b"answer")
        await until(lambda: protocol.data == b"answer")
        assert not transport.is_closing()

    with connected(loop, kind="unix") as ends:
        run(loop, main(*ends))


def test_abort_drops_the_queue(loop):
    async def main(transport, protocol, far):
        transport.write(b"x" * 10_000_000)
        assert transport.get_write_buffer_size() > 0
        transport.abort()
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        assert await protocol.lost is None
        assert len(await read_to_eof(loop, far)) < 10_000_000
        transport.abort()
        transport.close()
        await turns()
        assert protocol.calls.count("lost") == 1

    with connected(loop, kind="unix") as ends:
        run(loop, main(*ends))


def test_writes_after_the_close_are_dropped_and_warned_about_from_the_fifth_on(
    loop, caplog
):
    async def main(transport, protocol, far):
        transport.close()
        with caplog.at_level(logging.WARNING, "asyncio"):
            for _ in range(4):
                transport.write(b"x")
            assert transport._conn_lost == 5
            assert caplog.messages == []
            transport.write(b"x")
            transport.write(bytearray(b"x"))
            assert caplog.messages == ["socket.send() raised exception."] * 2
        await protocol.lost
        transport.write(b"x")
        assert await read_to_eof(loop, far) == b""

    with connected(loop) as ends:
        run(loop, main(*ends))


def test_writing_to_a_connection_that_was_reset_is_silent_and_lost_has_the_error(
    loop, reports
):
    async def main(transport, protocol, far):
        transport.pause_reading()
        reset(far)
        await asyncio.sleep(0.01)
        for _ in range(3):
            transport.write(b"x")
        assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))

    with connected(loop) as ends:
        run(loop, main(*ends))
    assert reports == []


def test_a_reset_while_blocked_ends_the_connection(loop):
    async def main(transport, protocol, far):
        transport.pause_reading()
        transport.write(b"x" * 10_000_000)
        assert protocol.paused == 1
        await turns()
        reset(far)
        exc = await protocol.lost
        assert isinstance(exc, (ConnectionResetError, BrokenPipeError))
        assert protocol.resumed == 0
        assert transport.get_write_buffer_size() == 0

    with connected(loop) as ends:
        run(loop, main(*ends))


@pytest.mark.parametrize("data", ["text", 5, None, [b"x"]])
def test_write_takes_bytes_like_objects_only(loop, data):
    with connected(loop) as (transport, _protocol, _far):
        with pytest.raises(TypeError) as caught:
            transport.write(data)
        source = inspect.getsource(selector_events._SelectorSocketTransport.write)
        kinds = "bytes-like object"  # "bytes, ...": in some patch releases
        if kinds not in source:
            kinds = "bytes, bytearray, or memoryview object"
        assert str(caught.value) == (
            f"data argument must be a {kinds}, not {type(data).__name__!r}"
        )
        with pytest.raises(TypeError):
            transport.writelines([b"sent?", data or 5])
        run(loop, turns())
        _far.setblocking(False)
        with pytest.raises(BlockingIOError):
            _far.recv(10)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="TypeError before")
def test_writelines_leaves_out_what_is_false(loop):
    async def main(transport, protocol, far):
        transport.writelines([None, b"a", 0, b"", bytearray(), "", bytearray(b"b")])
        transport.writelines([None])
        transport.writelines([b"c"])

    with connected(loop) as ends:
        run(loop, main(*ends))
        assert ends[2].recv(10) == b"abc"


def test_a_view_that_is_not_contiguous_is_fatal(loop, reports):
    async def main(transport, protocol, far):
        transport.write(memoryview(b"abcdef")[::2])
        assert isinstance(await protocol.lost, (BufferError, TypeError))

    with connected(loop) as ends:
        run(loop, main(*ends))
    assert [r["message"] for r in reports] == ["Fatal write error on socket transport"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="__buffer__ is new in 3.12")
def test_a_piece_of_writelines_may_change_the_list_of_them(loop):
    class Piece:
        def __buffer__(self, flags):
            for each in gc.get_referrers(self):
                if type(each) is list:
                    each.clear()
            return memoryview(b"abc")

        def __len__(self):
            return 3

    async def main(transport, protocol, far):
        try:
            transport.writelines(piece for piece in [Piece(), Piece()])
        except IndexError:
            pass  # the list was the transport's
        transport.write(b"end")
        data = await read_some(loop, far, 3)
        while not data.endswith(b"end"):
            data += await read_some(loop, far, 1)

    with connected(loop) as ends:
        run(loop, main(*ends))


def test_a_subclass_of_bytes_is_sent(loop):
    class Bytes(bytes):
        def __len__(self):
            raise AssertionError

        __iter__ = __getitem__ = __len__

    async def main(transport, protocol, far):
        for _ in range(2):
            try:
                transport.write(Bytes(b"x" * 1000))
            except AssertionError:
                pass  # stock asks for its length
        transport.close()
        await protocol.lost

    with connected(loop) as ends:
        run(loop, main(*ends))


# -- flow control ----------------------------------------------------------------------


def test_limits(loop):
    with connected(loop) as (transport, _protocol, _far):
        assert transport.get_write_buffer_limits() == (16384, 65536)
        for args, limits in [
            ({}, (16384, 65536)),
            ({"high": 1000}, (250, 1000)),
            ({"low": 1000}, (1000, 4000)),
            ({"high": 10, "low": 10}, (10, 10)),
            ({"high": 0}, (0, 0)),
            ({"high": 2**70, "low": 0}, (0, 2**70)),
            ({"high": 10.5, "low": 2}, (2, 10.5)),
        ]:
            transport.set_write_buffer_limits(**args)
            assert transport.get_write_buffer_limits() == limits
            assert (transport._low_water, transport._high_water) == limits
        for args in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}):
            with pytest.raises(ValueError, match="must be >= low"):
                transport.set_write_buffer_limits(**args)
        transport.set_write_buffer_limits(5, 2)
        assert transport.get_write_buffer_limits() == (2, 5)
        with pytest.raises(TypeError):
            transport.set_write_buffer_limits("a")


def test_pause_and_resume_writing(loop):
    async def main(transport, protocol, far):
        transport.set_write_buffer_limits(high=1000, low=100)
        transport.write(b"x" * 3_000_000)
        assert protocol.paused == 1
        assert transport._protocol_paused
        transport.write(b"y" * 3_000_000)
        assert protocol.paused == 1
        assert transport.get_write_buffer_size() > 3_000_000
        await read_some(loop, far, 6_000_000)
        await until(lambda: protocol.resumed)
        assert protocol.resumed == 1
        assert not transport._protocol_paused
        assert transport.get_write_buffer_size() <= 100

    with connected(loop, kind="unix") as ends:
        run(loop, main(*ends))


def test_writelines_pauses_the_protocol(impl, loop):
    if not impl.is_cloop and sys.version_info >= (3, 12):
        pytest.skip("gh-127655")

    async def main(transport, protocol, far):
        transport.writelines([b"x" * 1_000_000] * 5)
        assert protocol.paused == 1
        await read_some(loop, far, 5_000_000)
        await until(lambda: protocol.resumed == 1)

    with connected(loop, kind="unix") as ends:
        run(loop, main(*ends))


def test_small_writes_do_not_pause_while_the_kernel_takes_them(loop):
    async def main(transport, protocol, far):
        transport.set_write_buffer_limits(high=0)
        for _ in range(20):
            transport.write(b"x" * 100)
            assert protocol.paused == 0
        assert len(await read_some(loop, far, 2000)) == 2000

    with connected(loop) as ends:
        run(loop, main(*ends))


@pytest.mark.parametrize("held", [False, True])
def test_limits_set_amid_a_turns_writes_pause_nobody(loop, held):
    async def main(transport, protocol, far):
        if held:
            transport.writelines([b"a"])
            transport.write(b"b")
            await turns(2)
        transport.write(b"c")
        if not held:
            transport.write(b"d")
        transport.set_write_buffer_limits(high=0)
        await turns(2)
        assert (protocol.paused, protocol.resumed) == (0, 0)
        transport.write(b"e")
        assert (await read_some(loop, far, 4 if held else 3))[-1:] == b"e"

    with connected(loop) as ends:
        run(loop, main(*ends))


@pytest.mark.parametrize("debug", [False, True])
def test_what_a_turn_has_sent_arrives_in_the_next(loop, debug):
    async def main():
        near, far = socket.socketpair()
        transport, _ = await loop.create_connection(Recorder, sock=near)
        other, protocol = await loop.create_connection(Recorder, sock=far)
        await turns(2)
        transport.write(b"x")
        await turns(2)
        data = bytes(protocol.data)
        transport.abort()
        other.abort()
        await turns(3)
        return data

    loop.set_debug(debug)
    assert run(loop, main()) == b"x"


def test_pause_and_resume_may_call_each_other(loop):
    class Nested(Recorder):
        def pause_writing(self):
            super().pause_writing()
            if self.paused < 3:
                self.transport.write(b"z" * 100_000)

        def resume_writing(self):
            super().resume_writing()
            if self.resumed < 3:
                self.transport.write(b"z" * 3_000_000)

    async def main(transport, protocol, far):
        transport.write(b"x" * 3_000_000)
        await read_some(loop, far, 9_000_000)
        await until(lambda: protocol.resumed == 3)
        assert protocol.paused == 3

    with connected(loop, Nested, kind="unix") as ends:
        run(loop, main(*ends))


@pytest.mark.parametrize("how", ["close", "abort"])
def test_closing_in_resume_writing_gives_lost_once(impl, loop, how):
    if not impl.is_cloop and how == "close":
        pytest.skip("stock calls connection_lost and then fails to do so again")

    class Closing(Recorder):
        def resume_writing(self):
            super().resume_writing()
            getattr(self.transport, how)()

    async def main(transport, protocol, far):
        transport.write(b"x" * 3_000_000)
        await read_to_eof(loop, far)
        assert await protocol.lost is None
        await turns()
        assert protocol.calls.count("lost") == 1

    with connected(loop, Closing, kind="unix") as ends:
        run(loop, main(*ends))


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_an_exception_of_flow_control_is_reported(loop, reports, method):
    async def main(transport, protocol, far):
        transport.write(b"x" * 3_000_000)
        await read_some(loop, far, 3_000_000)
        await turns()
        assert not transport.is_closing()

    with connected(loop, failing(Recorder, method), kind="unix") as ends:
        run(loop, main(*ends))
    assert [report["message"] for report in reports] == [f"protocol.{method}() failed"]


# -- contexts --------------------------------------------------------------------------


def test_protocol_callbacks_run_in_the_contexts_that_stock_uses(loop):
    class Watching(Recorder):
        def note(self, name):
            self.calls.append((name, VAR.get()))

        def connection_made(self, transport):
            super().connection_made(transport)
            self.note("made")
            VAR.set("made")

        def data_received(self, data):
            self.note("data")
            VAR.set("data")

        def pause_writing(self):
            self.note("pause")

        def resume_writing(self):
            self.note("resume")

        def connection_lost(self, exc):
            self.note("lost")
            super().connection_lost(exc)

    async def main(far, near):
        VAR.set("creator")
        transport, protocol = await loop.create_connection(Watching, sock=near)
        seen = protocol.calls
        far.sendall(b"1")
        await until(lambda: len(seen) == 3)
        far.sendall(b"2")
        await until(lambda: len(seen) == 4)
        VAR.set("resumer")
        transport.pause_reading()
        transport.resume_reading()
        far.sendall(b"3")
        await until(lambda: len(seen) == 5)
        VAR.set("writer")
        transport.write(b"x" * 3_000_000)
        await read_some(loop, far, 3_000_000)
        await until(lambda: len(seen) == 7)
        VAR.set("closer")
        transport.close()
        VAR.set("later")
        await protocol.lost
        return [call for call in seen if isinstance(call, tuple)]

    near, far = socket.socketpair()
    shared = PY >= (3, 15)  # all but pause_writing happens in one context
    assert run(loop, main(far, near)) == [
        ("made", "creator"),
        ("data", "made" if shared else "creator"),
        ("data", "data"),
        ("data", "data" if shared else "resumer"),
        ("pause", "writer"),
        ("resume", "data" if shared else "writer"),
        ("lost", "data" if shared else "closer"),
    ]
    far.close()


# -- debug mode ------------------------------------------------------------------------


def test_debug_mode_logs_slow_callbacks_by_their_handle(loop, caplog):
    class Slow(Recorder):
        def data_received(self, data):
            super().data_received(data)
            time.sleep(0.05)

    loop.set_debug(True)
    loop.slow_callback_duration = 0.02
    with connected(loop, Slow) as (_transport, protocol, far):
        with caplog.at_level(logging.WARNING, "asyncio"):
            far.sendall(b"x")
            run(loop, until(lambda: protocol.data))
            run(loop, turns())
    assert any(
        text.startswith("Executing <Handle ") and "_read_ready" in text
        for text in caplog.messages
    )


def test_debug_mode_logs_pausing_and_the_end_of_file(loop, caplog):
    loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        with connected(loop) as (transport, protocol, far):
            transport.pause_reading()
            transport.resume_reading()
            far.close()
            run(loop, protocol.lost)
    text = "\n".join(caplog.messages)
    for part in ("pauses reading", "resumes reading", "received EOF"):
        assert part in text


def test_all_works_in_debug_mode(loop):
    loop.set_debug(True)
    data = os.urandom(2_000_000)

    async def main(transport, protocol, far):
        transport.write(data)
        assert await read_some(loop, far, len(data)) == data
        await loop.sock_sendall(far, data)
        far.close()
        assert await protocol.lost is None
        assert protocol.data == data

    with connected(loop, kind="unix") as ends:
        run(loop, main(*ends))


# -- streams of asyncio on top ---------------------------------------------------------


def test_stream_reader_and_writer_work_on_top(loop):
    async def serve(reader, writer):
        async for line in reader:
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for i in range(50):
            writer.write(b"line %d\n" % i)
            assert await reader.readline() == b"LINE %d\n" % i
        writer.writelines([b"a" * 40_000, b"\n"])
        await writer.drain()
        assert await reader.readexactly(40_001) == b"A" * 40_000 + b"\n"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_a_signal_does_not_tear_a_write(loop):
    # EINTR is tried again: the bytes are exact.
    data = os.urandom(2_000_000)
    old = signal.signal(signal.SIGALRM, lambda *args: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)

    async def main(transport, protocol, far):
        transport.write(data)
        assert await read_some(loop, far, len(data)) == data

    try:
        with connected(loop, kind="unix") as ends:
            run(loop, main(*ends))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
