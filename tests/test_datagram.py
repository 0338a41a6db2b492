"""Datagram transports: UDP over IPv4 and IPv6, Unix sockets; on cloop and on stock."""

import asyncio
import errno
import gc
import os
import socket
import struct
import sys
import time
import weakref

import pytest


class Recorder(asyncio.DatagramProtocol):
    """Keeps what it hears; `heard` is set at each datagram or error."""

    def __init__(self):
        self.received = []
        self.errors = []
        self.calls = []
        self.lost = None
        self.heard = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def datagram_received(self, data, addr):
        self.received.append((data, addr))
        self.heard.set()

    def error_received(self, exc):
        self.errors.append(exc)
        self.heard.set()

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost = exc

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    async def wait_for(self, count):
        while len(self.received) + len(self.errors) < count:
            self.heard.clear()
            await asyncio.wait_for(self.heard.wait(), 5)


@pytest.fixture
def run(loop):
    def run(coro):
        return loop.run_until_complete(asyncio.wait_for(coro, 20))

    return run


async def endpoint(**kwargs):
    loop = asyncio.get_running_loop()
    return await loop.create_datagram_endpoint(Recorder, **kwargs)


async def pair(host="127.0.0.1"):
    """A server endpoint and a client connected to it."""
    server, heard = await endpoint(local_addr=(host, 0))
    name = server.get_extra_info("sockname")
    client, echoed = await endpoint(remote_addr=name[:2])
    return server, heard, client, echoed


async def settle():
    for _ in range(3):
        await asyncio.sleep(0)


def test_echo(run):
    async def main():
        server, heard, client, echoed = await pair()
        client.sendto(b"hello")
        await heard.wait_for(1)
        data, addr = heard.received[0]
        assert (data, addr) == (b"hello", client.get_extra_info("sockname"))
        server.sendto(bytearray(b"back"), addr)
        await echoed.wait_for(1)
        assert echoed.received == [(b"back", server.get_extra_info("sockname"))]
        assert client.get_extra_info("peername") == server.get_extra_info("sockname")
        client.close()
        server.close()
        await settle()
        assert heard.calls == echoed.calls == ["made", "lost"]
        assert heard.lost is None

    run(main())


def test_many_arrive_in_order(run):
    async def main():
        server, heard, client, _ = await pair()
        for i in range(100):
            client.sendto(b"%d" % i)
        await heard.wait_for(100)
        assert [data for data, _ in heard.received] == [b"%d" % i for i in range(100)]
        client.close()
        server.close()

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_answer_reaches_who_asked_however_many_ask(run, host):
    """At once and later, when others have been heard since, by the address as it was
    given and by an equal one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if family == socket.AF_INET6 and not socket.has_ipv6:
        pytest.skip("no IPv6")

    class Answering(Recorder):
        def datagram_received(self, data, addr):
            self.transport.sendto(b"at once " + data, addr)
            super().datagram_received(data, addr)

    async def main():
        loop = asyncio.get_running_loop()
        server, heard = await loop.create_datagram_endpoint(
            Answering, local_addr=(host, 0)
        )
        name = server.get_extra_info("sockname")
        clients = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(200)]
        for client in clients:
            client.settimeout(5)
            client.connect(name)
        for turn in range(2):
            for i, client in enumerate(clients):
                client.send(b"%d" % i)
                if i % 20 == 19:
                    await heard.wait_for(turn * len(clients) + i + 1)
        for i, (data, addr) in enumerate(heard.received):
            client = clients[i % len(clients)]
            assert (data, addr) == (b"%d" % (i % len(clients)), client.getsockname())
        for data, addr in reversed(heard.received[len(clients) :]):
            server.sendto(b"later " + data, addr)
        for data, addr in heard.received[: len(clients)]:
            server.sendto(b"again " + data, (*addr,))
            server.sendto(b"copy " + data, tuple(list(addr)))
        for i, client in enumerate(clients):
            words = b"at once", b"at once", b"later", b"again", b"copy"
            for word in words:
                assert client.recv(100) == word + b" %d" % i
            client.close()
        server.close()

    run(main())


def test_many_in_one_go_end_with_the_close(run):
    """Of a burst that waits in the kernel nothing is delivered after close()."""

    class Closing(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if len(self.received) == 9:
                self.transport.close()

    async def main():
        loop = asyncio.get_running_loop()
        server, heard = await loop.create_datagram_endpoint(
            Closing, local_addr=("127.0.0.1", 0)
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(server.get_extra_info("sockname"))
            for i in range(40):
                sock.send(b"%d" % i)
            await heard.wait_for(9)
            await settle()
        assert [data for data, _ in heard.received] == [b"%d" % i for i in range(9)]
        assert heard.calls == ["made", "lost"]

    run(main())


@pytest.mark.parametrize("size", [1, 8192, 65507])
def test_sizes(run, size):
    async def main():
        server, heard, client, _ = await pair()
        data = os.urandom(size)
        client.sendto(memoryview(data))
        await heard.wait_for(1)
        assert heard.received[0][0] == data
        client.close()
        server.close()

    run(main())


def test_a_unix_datagram_longer_than_the_buffer_is_cut(run):
    """At 256 KiB and in silence; the next one is whole."""
    so_sndbufforce = 32

    async def main():
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            far.setsockopt(socket.SOL_SOCKET, so_sndbufforce, 1 << 20)
        except PermissionError:
            near.close()
            far.close()
            pytest.skip("needs CAP_NET_ADMIN")
        transport, protocol = await endpoint(sock=near)
        for size in (256 * 1024, 256 * 1024 + 1, 500_000, 10):
            far.send(os.urandom(size))
            await protocol.wait_for(len(protocol.received) + 1)
        sizes = [len(data) for data, _ in protocol.received]
        assert sizes == [256 * 1024] * 3 + [10]
        assert protocol.errors == []
        transport.close()
        far.close()

    run(main())


def test_an_empty_datagram_is_received(run):
    async def main():
        server, heard = await endpoint(local_addr=("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", server.get_extra_info("sockname"))
            await heard.wait_for(1)
            assert heard.received[0] == (b"", ("127.0.0.1", sock.getsockname()[1]))
        server.close()

    run(main())


def test_an_empty_datagram_is_sent_where_the_version_sends_it(run):
    async def main():
        server, heard, client, _ = await pair()
        client.sendto(b"")
        client.sendto(b"end")
        await heard.wait_for(1)
        await settle()
        got = [data for data, _ in heard.received]
        if sys.version_info >= (3, 13):
            await heard.wait_for(2)
            got = [data for data, _ in heard.received]
            assert got == [b"", b"end"]
        else:
            assert got[-1] == b"end"
        client.close()
        server.close()

    run(main())


def test_what_was_scheduled_before_a_run_comes_before_what_arrived(loop):
    """The task's first step makes the future that the datagram is to set."""

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            self.received.set_result(data)

        async def wait(self):
            self.received = loop.create_future()
            return await asyncio.wait_for(self.received, 5)

    transport, receiver = loop.run_until_complete(
        loop.create_datagram_endpoint(Receiver, local_addr=("127.0.0.1", 0))
    )
    address = transport.get_extra_info("sockname")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for data in (b"1", b"2", b"3"):
            sender.sendto(data, address)
            assert loop.run_until_complete(receiver.wait()) == data
    transport.close()
    loop.run_until_complete(asyncio.sleep(0))


def test_ipv6_addresses_have_four_parts(run):
    async def main():
        try:
            server, heard, client, _ = await pair("::1")
        except OSError as exc:
            pytest.skip(f"no IPv6 here: {exc}")
        client.sendto(b"x")
        await heard.wait_for(1)
        addr = heard.received[0][1]
        assert len(addr) == 4 and addr == client.get_extra_info("sockname")
        server.sendto(b"y", addr)
        client.close()
        server.close()

    run(main())


def test_unix_datagrams_with_and_without_names(run, tmp_path):
    async def main():
        path = str(tmp_path / "server")
        server, heard = await endpoint(local_addr=path, family=socket.AF_UNIX)
        named, _ = await endpoint(
            local_addr=str(tmp_path / "client"), family=socket.AF_UNIX
        )
        named.sendto(b"named", path)
        await heard.wait_for(1)
        assert heard.received[0] == (b"named", str(tmp_path / "client"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"no name", path)
            await heard.wait_for(2)
            data, addr = heard.received[1]
            assert data == b"no name" and not addr
            sock.sendto(b"b" * 100_000, path)
            await heard.wait_for(3)
            assert len(heard.received[2][0]) == 100_000
        named.close()
        server.close()

    run(main())


def test_a_refused_datagram_is_heard_and_is_not_fatal(run):
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            gone = sock.getsockname()
        client, heard = await endpoint(remote_addr=gone)
        client.sendto(b"x")
        await heard.wait_for(1)
        assert isinstance(heard.errors[0], ConnectionRefusedError)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(gone)
            sock.setblocking(True)
            sock.settimeout(5)
            client.sendto(b"again")
            assert sock.recv(100) == b"again"
        client.close()

    run(main())


def test_an_error_for_one_peer_is_not_anothers(run):
    async def main():
        server, heard = await endpoint(local_addr=("127.0.0.1", 0))
        other, echoed = await endpoint(local_addr=("127.0.0.1", 0))
        with socket.socket(type=socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            nobody = gone.getsockname()
        for _ in range(3):
            server.sendto(b"lost", nobody)
            server.sendto(b"found", other.get_extra_info("sockname"))
            await settle()
        await echoed.wait_for(3)
        assert [data for data, _ in echoed.received] == [b"found"] * 3
        assert heard.errors == echoed.errors == []
        server.abort()
        other.abort()
        await settle()

    run(main())


def test_the_socket_can_be_asked_for_after_the_close(run):
    async def main():
        transport, _recorder = await endpoint(local_addr=("127.0.0.1", 0))
        transport.close()
        await settle()
        sock = transport.get_extra_info("socket")
        assert sock.fileno() == -1
        assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_DGRAM)
        assert sock.proto == socket.IPPROTO_UDP

    run(main())


def test_broadcasts(run):
    async def main():
        receiver, heard = await endpoint(local_addr=("0.0.0.0", 0))
        address = ("127.255.255.255", receiver.get_extra_info("sockname")[1])
        sender, sent = await endpoint(local_addr=("127.0.0.1", 0))
        sender.sendto(b"refused", address)
        await settle()
        assert [type(error) for error in sent.errors] == [PermissionError]
        sender.abort()
        sender, sent = await endpoint(local_addr=("127.0.0.1", 0), allow_broadcast=True)
        sock = sender.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
        sender.sendto(b"to all", address)
        await heard.wait_for(1)
        assert heard.received == [(b"to all", sender.get_extra_info("sockname"))]
        assert sent.errors == []
        sender.abort()
        receiver.abort()
        await settle()

    run(main())


def test_a_failed_bind_or_connect_closes_the_socket(loop, run, monkeypatch):
    """(no_fd_leak looks.)"""

    async def main():
        with socket.socket(type=socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            with pytest.raises(OSError):
                await endpoint(local_addr=taken.getsockname())
            with pytest.raises(PermissionError):
                await endpoint(remote_addr=("127.255.255.255", 1))
            with pytest.raises(OSError):
                await endpoint(local_addr=taken.getsockname(), reuse_port=True)
        monkeypatch.setattr(socket, "SO_REUSEPORT", 9999)
        with pytest.raises(ValueError, match="defined but not implemented"):
            await endpoint(local_addr=("127.0.0.1", 0), reuse_port=True)
        monkeypatch.delattr(socket, "SO_REUSEPORT")
        with pytest.raises(ValueError, match="not supported by socket module"):
            await endpoint(local_addr=("127.0.0.1", 0), reuse_port=True)

        async def getaddrinfo(*args, **kwargs):
            return []

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        with pytest.raises(OSError, match="returned empty list"):
            await endpoint(local_addr=("a name", 0))

    run(main())


def test_an_error_of_send_is_heard(run):
    async def main():
        server, heard, client, errors = await pair()
        client.sendto(b"x" * 70_000)
        assert [type(e) for e in errors.errors] == [OSError]
        client.sendto(b"y")
        await heard.wait_for(1)
        client.close()
        server.close()

    run(main())


@pytest.fixture
def full_kernel(impl):
    """Makes the next `times` sends of a transport's fail with `code`."""
    if not impl.is_cloop:

        class Full:
            def __init__(self, sock, times, code):
                self.sock, self.times, self.code = sock, times, code

            def __getattr__(self, name):
                return getattr(self.sock, name)

            def send(self, *args):
                self.times -= 1
                if self.times >= 0:
                    raise OSError(self.code, os.strerror(self.code))
                return self.sock.send(*args)

        def fail(transport, times, code):
            transport._sock = Full(transport._sock, times, code)

        yield fail
        return
    from cloop import _cloop

    if not hasattr(_cloop, "_fault_set"):
        pytest.skip("needs a build with CLOOP_DEBUG=1")
    yield lambda transport, times, code: _cloop._fault_set("send", 1, code, times)
    _cloop._fault_clear()


def test_a_kernel_without_buffers_is_heard_of_at_no_cost(run, full_kernel):
    """Each refused datagram once; nothing is queued, nobody spins, the next goes."""

    async def main():
        server, heard, client, errors = await pair()
        full_kernel(client, 3, errno.ENOBUFS)
        for _ in range(3):
            client.sendto(b"lost")
        assert [e.errno for e in errors.errors] == [errno.ENOBUFS] * 3
        assert client.get_write_buffer_size() == 0
        before = time.process_time()
        await asyncio.sleep(0.5)
        assert time.process_time() - before < 0.1
        client.sendto(b"sent")
        await heard.wait_for(1)
        assert [data for data, _ in heard.received] == [b"sent"]
        assert len(errors.errors) == 3
        client.close()
        server.close()

    run(main())


def test_sendto_without_address_on_a_nameless_pair_is_fatal(loop, run, reports):
    """The peer has no name, so that it does not count as one: stock calls sendto(data,
    None), which is a TypeError. (uvloop sends; its test_udp tests that.)"""

    async def main():
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with b:
            transport, protocol = await endpoint(sock=a)
            assert transport.get_extra_info("peername") == ""
            b.send(b"hello")
            await protocol.wait_for(1)
            assert protocol.received == [(b"hello", None)]
            transport.sendto(b"data")
            await settle()
            assert isinstance(protocol.lost, TypeError)
            assert protocol.errors == []
            b.setblocking(False)
            with pytest.raises(BlockingIOError):
                b.recv(100)

    run(main())
    assert [report["message"] for report in reports] == [
        "Fatal write error on datagram transport"
    ]


def test_what_is_sent_after_close_leaves_until_the_connection_is_lost(run):
    async def main():
        server, heard = await endpoint(local_addr=("127.0.0.1", 0))
        client, sender = await endpoint(local_addr=("127.0.0.1", 0))
        name = server.get_extra_info("sockname")
        client.close()
        client.sendto(b"late", name)
        client.sendto(bytes(70000), name)
        client.sendto(b"later", name)
        assert [type(error) for error in sender.errors] == [OSError]
        await heard.wait_for(2)
        assert [data for data, _ in heard.received] == [b"late", b"later"]
        assert sender.calls == ["made", "lost"]
        server.close()

    run(main())


def test_addresses_are_checked(run):
    async def main():
        server, heard, client, _ = await pair()
        name = server.get_extra_info("sockname")
        client.sendto(b"1", name)
        with pytest.raises(ValueError, match="Invalid address: must be None or"):
            client.sendto(b"2", ("127.0.0.1", 1))
        await heard.wait_for(1)
        client.close()
        server.close()

    run(main())


@pytest.mark.parametrize("data", ["text", 1, None, [b"x"]])
def test_only_bytes_are_sent(run, data):
    async def main():
        server, _ = await endpoint(local_addr=("127.0.0.1", 0))
        with pytest.raises(TypeError) as caught:
            server.sendto(data, ("127.0.0.1", 9))
        assert str(caught.value) == (
            f"data argument must be a bytes-like object, not {type(data).__name__!r}"
        )
        server.close()

    run(main())


def test_host_names_are_resolved(run):
    async def main():
        server, heard = await endpoint(local_addr=("127.0.0.1", 0))
        other, _ = await endpoint(local_addr=("127.0.0.1", 0))
        other.sendto(b"x", ("localhost", server.get_extra_info("sockname")[1]))
        await heard.wait_for(1)
        other.close()
        server.close()

    run(main())


def test_sendto_after_close_is_silent_on_a_connected_socket(run, caplog):
    async def main():
        server, _, client, heard = await pair()
        client.close()
        for _ in range(8):
            client.sendto(b"x")
        await settle()
        assert heard.calls == ["made", "lost"] and not heard.errors
        server.close()

    run(main())
    assert "socket.send() raised exception." in caplog.text


def test_close_sends_what_is_queued(run, tmp_path):
    async def main():
        right = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        right.bind(str(tmp_path / "right"))
        right.settimeout(5)
        transport, heard = await endpoint(
            remote_addr=str(tmp_path / "right"), family=socket.AF_UNIX
        )
        count = 0
        while not transport.get_write_buffer_size():
            transport.sendto(b"%4d" % count + b"x" * 10_000)
            count += 1
        assert count > 1
        transport.close()
        assert transport.is_closing()
        got = []
        while "lost" not in heard.calls:
            got.append(right.recv(20_000)[:4])
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
        right.setblocking(False)
        try:
            while True:
                got.append(right.recv(20_000)[:4])
        except BlockingIOError:
            pass
        assert got == [b"%4d" % i for i in range(count)]
        right.close()

    run(main())


def test_flow_control(impl, run, tmp_path):
    if not impl.is_cloop and sys.version_info >= (3, 13):
        pytest.skip("stock's 3.13 never takes back the header it counts")

    async def main():
        right = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        right.bind(str(tmp_path / "right"))
        right.setblocking(False)
        transport, heard = await endpoint(
            remote_addr=str(tmp_path / "right"), family=socket.AF_UNIX
        )
        transport.set_write_buffer_limits(high=20_000, low=0)
        while "pause" not in heard.calls:
            transport.sendto(b"x" * 10_000)
        while "resume" not in heard.calls:
            try:
                right.recv(20_000)
            except BlockingIOError:
                pass
            await asyncio.sleep(0.001)
        assert heard.calls == ["made", "pause", "resume"]
        transport.abort()
        await settle()
        assert heard.calls[-1] == "lost"
        right.close()

    run(main())


def test_an_exception_in_datagram_received_is_reported(loop, run):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))

    async def main():
        server, heard, client, _ = await pair()

        def fail(data, addr):
            if data == b"bad":
                raise ZeroDivisionError
            Recorder.datagram_received(heard, data, addr)

        heard.datagram_received = fail
        client.sendto(b"bad")
        client.sendto(b"good")
        await heard.wait_for(1)
        assert heard.received[0][0] == b"good"
        client.close()
        server.close()

    run(main())
    assert [type(r["exception"]) for r in reports] == [ZeroDivisionError]
    assert reports[0]["message"].startswith("Exception in callback ")
    assert "_read_ready" in reports[0]["message"]


def test_a_close_in_datagram_received_is_the_last_one(run):
    async def main():
        server, heard, client, _ = await pair()

        def close(data, addr):
            heard.received.append((data, addr))
            server.abort()

        heard.datagram_received = close
        for _ in range(5):
            client.sendto(b"x")
        while heard.calls != ["made", "lost"]:
            await asyncio.sleep(0.001)
        assert len(heard.received) == 1
        client.close()

    run(main())


ACTIONS = {
    "close": lambda p: p.transport.close(),
    "abort": lambda p: p.transport.abort(),
    "close twice": lambda p: (p.transport.close(), p.transport.abort()),
    "send": lambda p: p.transport.sendto(b"again", p.peer),
    "send and close": lambda p: (
        p.transport.sendto(b"again", p.peer),
        p.transport.close(),
    ),
    "collect": lambda p: gc.collect(),
    "other protocol": lambda p: p.transport.set_protocol(Recorder()),
    "close socket": lambda p: p.transport._sock.close(),
    "close loop": lambda p: asyncio.get_running_loop().close(),  # RuntimeError
    "stop": lambda p: asyncio.get_running_loop().stop(),
    "raise": lambda p: 1 / 0,
}


@pytest.mark.parametrize("when", ["made", "received", "error", "lost"])
@pytest.mark.parametrize("action", list(ACTIONS))
@pytest.mark.parametrize("family", ["inet", "unix"])
def test_a_callback_may_do_anything(loop, action, when, family, tmp_path):
    """Three datagrams of one batch; whatever happens, connection_lost comes once."""
    act = ACTIONS[action]
    lost = []

    class Acting(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            act(self) if when == "made" else None

        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            act(self) if when == "received" else None

        def error_received(self, exc):
            super().error_received(exc)
            if when == "error" and len(self.errors) == 1:
                act(self)

        def connection_lost(self, exc):
            lost.append(exc)
            act(self) if when == "lost" else None

    def spin(count):
        for _ in range(count):
            loop.call_later(0.001, loop.stop)
            loop.run_forever()

    loop.set_exception_handler(lambda loop, context: None)
    kind = socket.AF_INET if family == "inet" else socket.AF_UNIX
    near, far = (socket.socket(kind, socket.SOCK_DGRAM) for _ in range(2))
    for name, sock in (("near", near), ("far", far)):
        sock.bind(("127.0.0.1", 0) if family == "inet" else str(tmp_path / name))
    near.setblocking(False)
    if when == "error":
        near.connect(far.getsockname())
    name = near.getsockname()
    Acting.peer = far.getsockname()
    protocol = Acting()
    task = loop.create_task(loop.create_datagram_endpoint(lambda: protocol, sock=near))
    if when == "error":
        far.close()
        while not (task.done() or protocol.calls):
            spin(1)
        loop.call_soon(lambda: protocol.transport.sendto(b"to nobody"))
        loop.call_soon(lambda: protocol.transport.sendto(b"to nobody"))
    else:
        for data in (b"one", b"two", b"three"):
            far.sendto(data, name)
    spin(5)
    if action == "other protocol" and when != "lost":
        protocol.transport.set_protocol(protocol)
    protocol.transport.abort()
    spin(3)
    assert len(lost) <= 1
    assert protocol.errors or when != "error"
    assert task.done() and not task.cancelled()
    assert protocol.transport.is_closing()
    far.close()
    near.close()


def test_a_cancel_at_any_await_leaks_nothing(loop, run):
    """(no_fd_leak looks.)"""

    async def main():
        for count in range(100):
            task = loop.create_task(endpoint(local_addr=("127.0.0.1", 0)))
            for _ in range(count):
                await asyncio.sleep(0)
            finished = task.done()
            task.cancel()
            try:
                transport, _ = await task
            except asyncio.CancelledError:
                assert not finished
            else:
                transport.abort()
            for _ in range(5):
                await asyncio.sleep(0)
            if finished:
                break
        else:
            raise AssertionError("never done")

    run(main())
    gc.collect()


def test_objects_die_without_gc(run):
    async def main():
        gc.disable()
        try:
            server, heard, client, echoed = await pair()
            client.sendto(b"x")
            await heard.wait_for(1)
            refs = [weakref.ref(x) for x in (server, heard, client, echoed)]
            client.close()
            server.close()
            await settle()
            del server, heard, client, echoed
            await settle()
            return [ref() for ref in refs]
        finally:
            gc.enable()

    assert run(main()) == [None] * 4


def test_debug_mode(loop, run):
    loop.set_debug(True)

    async def main():
        server, heard, client, _ = await pair()
        client.sendto(b"x")
        await heard.wait_for(1)
        client.close()
        server.close()
        await settle()

    run(main())


@pytest.mark.parametrize("then", ["close", "resume"])
def test_the_end_comes_when_the_last_queued_datagram_fails(impl, run, tmp_path, then):
    if then == "resume" and not impl.is_cloop and sys.version_info >= (3, 13):
        pytest.skip("stock's 3.13 never takes back the header it counts")

    async def main():
        right = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        right.bind(str(tmp_path / "right"))
        transport, heard = await endpoint(
            remote_addr=str(tmp_path / "right"), family=socket.AF_UNIX
        )
        transport.set_write_buffer_limits(high=9_000, low=0)
        while not transport.get_write_buffer_size():
            transport.sendto(b"x" * 10_000)
        assert heard.calls == ["made", "pause"]
        if then == "close":
            transport.close()
        right.close()
        await heard.wait_for(1)
        assert isinstance(heard.errors[0], ConnectionRefusedError)
        deadline = time.monotonic() + 5
        while len(heard.calls) < 3 and time.monotonic() < deadline:
            await asyncio.sleep(0.001)
        if then == "close":
            assert heard.calls[-1] == "lost" and heard.lost is None
        else:
            assert heard.calls == ["made", "pause", "resume"]
            transport.close()
            await settle()
            assert heard.calls[-1] == "lost"

    run(main())


def test_nothing_is_received_after_close_with_a_queue(run, full_kernel):
    class Closing(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.close()

    async def main():
        loop = asyncio.get_running_loop()
        server, heard = await endpoint(local_addr=("127.0.0.1", 0))
        client, echoed = await loop.create_datagram_endpoint(
            Closing, remote_addr=server.get_extra_info("sockname")
        )
        for i in range(20):
            server.sendto(b"%d" % i, client.get_extra_info("sockname"))
        full_kernel(client, 1, errno.EAGAIN)
        client.sendto(b"queued")
        assert client.get_write_buffer_size()
        await heard.wait_for(1)
        await settle()
        assert [data for data, _ in echoed.received] == [b"0"]
        assert echoed.calls == ["made", "lost"] and echoed.lost is None
        assert [data for data, _ in heard.received] == [b"queued"]
        server.close()

    run(main())


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="Linux only")
def test_another_family_has_the_addresses_that_its_socket_says(run):
    refusals = [BlockingIOError(), InterruptedError()]

    class Refusing(socket.socket):
        def recvfrom(self, *args):
            if refusals:
                raise refusals.pop()
            return super().recvfrom(*args)

    async def main():
        sock = Refusing(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)
        sock.setblocking(False)
        sock.bind((0, 0))
        loop = asyncio.get_running_loop()
        transport, heard = await loop.create_datagram_endpoint(Recorder, sock=sock)
        assert transport.get_extra_info("sockname") == sock.getsockname()
        assert transport.get_extra_info("peername") == sock.getpeername()
        # RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP; struct ifinfomsg: the kernel answers.
        ask = struct.pack("=IHHII", 32, 18, 0x301, 1, 0) + bytes(16)
        transport.sendto(ask, (0, 0))
        await heard.wait_for(1)
        data, addr = heard.received[0]
        assert addr == (0, 0) and not refusals
        assert struct.unpack_from("=IHHII", data)[3] == 1
        transport.close()
        await settle()
        assert heard.calls == ["made", "lost"] and heard.errors == []

    run(main())
