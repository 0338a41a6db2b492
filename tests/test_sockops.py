"""loop.sock_* (src/io/sockops.c, sockcalls.c, sockconn.c, sockfile.c,
cloop/sendfile.py)."""

import array
import asyncio
import collections.abc
import errno
import gc
import inspect
import os
import socket
import struct
import sys
import time
import warnings
import weakref

import pytest

PY311 = sys.version_info >= (3, 11)


@pytest.fixture
def sockets():
    """Makes sockets that are closed after the test."""
    made = []

    class Make:
        @staticmethod
        def keep(sock):
            sock.setblocking(False)
            made.append(sock)
            return sock

        def pair(self, kind=socket.SOCK_STREAM):
            a, b = socket.socketpair(socket.AF_UNIX, kind)
            return self.keep(a), self.keep(b)

        def listener(self, backlog=10):
            sock = socket.socket()
            sock.bind(("127.0.0.1", 0))
            sock.listen(backlog)
            return self.keep(sock)

        def tcp(self):
            return self.keep(socket.socket())

        def udp(self):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
            return self.keep(sock)

        def tcp_pair(self):
            listener = self.listener()
            a = self.tcp()
            try:
                a.connect(listener.getsockname())
            except BlockingIOError:
                pass
            listener.setblocking(True)
            b, _ = listener.accept()
            return a, self.keep(b)

    yield Make()
    for sock in made:
        sock.close()


@pytest.fixture
def run(loop):
    def run(awaitable, timeout=20):
        async def main():
            return await asyncio.wait_for(awaitable, timeout)

        return loop.run_until_complete(main())

    return run


@pytest.fixture(autouse=True)
def datagram_methods(request, impl):
    if "datagram" in request.keywords and not impl.is_cloop and not PY311:
        pytest.skip("stock has it from 3.11 on")


datagram = pytest.mark.datagram


# -- each operation at once and after waiting ------------------------------------------


def test_recv(loop, run, sockets):
    a, b = sockets.pair()
    b.send(b"hello")
    assert run(loop.sock_recv(a, 3)) == b"hel"
    assert run(loop.sock_recv(a, 100)) == b"lo"

    async def main():
        task = loop.create_task(loop.sock_recv(a, 100))
        await asyncio.sleep(0)
        b.send(b"later")
        assert await task == b"later"
        task = loop.create_task(loop.sock_recv(a, 100))
        await asyncio.sleep(0.01)
        b.close()
        assert await task == b""

    run(main())


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 70000, 1 << 20, 1 << 28])
def test_recv_sizes(loop, run, sockets, size):
    a, b = sockets.pair()
    b.send(b"x" * 5000)
    data = run(loop.sock_recv(a, size))
    assert data == b"x" * min(size, 5000)
    assert sys.getsizeof(data) < 6000


def test_recv_large_blocks(loop, run, sockets):
    a, b = sockets.tcp_pair()
    payload = os.urandom(3_000_000)

    async def receive():
        parts = []
        left = len(payload)
        while left:
            part = await loop.sock_recv(a, 100_000)
            assert part
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    async def main():
        data, none = await asyncio.gather(receive(), loop.sock_sendall(b, payload))
        assert none is None
        assert data == payload

    run(main())


@pytest.mark.parametrize("make", [bytearray, lambda n: array.array("b", bytes(n))])
def test_recv_into(loop, run, sockets, make):
    a, b = sockets.pair()
    buffer = make(8)
    b.send(b"hello")
    assert run(loop.sock_recv_into(a, buffer)) == 5
    assert bytes(buffer)[:5] == b"hello"

    async def main():
        task = loop.create_task(loop.sock_recv_into(a, memoryview(buffer)[2:4]))
        await asyncio.sleep(0)
        b.send(b"XYZ")
        assert await task == 2

    run(main())
    assert bytes(buffer)[:5] == b"heXYo"


def test_recv_into_leaves_the_buffer_free_while_waiting(loop, run, sockets):
    a, b = sockets.pair()
    buffer = bytearray(4)

    async def main():
        task = loop.create_task(loop.sock_recv_into(a, buffer))
        await asyncio.sleep(0)
        buffer.extend(b"1234")  # BufferError if it were held
        b.send(b"abcdefgh")
        assert await task == 8
        buffer.extend(b"free again")

    run(main())
    assert buffer[:8] == b"abcdefgh"


@datagram
def test_recvfrom_and_sendto(loop, run, sockets):
    a, b = sockets.udp(), sockets.udp()
    assert run(loop.sock_sendto(b, b"hello", a.getsockname())) == 5
    assert run(loop.sock_recvfrom(a, 100)) == (b"hello", b.getsockname())

    async def main():
        task = loop.create_task(loop.sock_recvfrom(a, 2))
        await asyncio.sleep(0)
        await loop.sock_sendto(b, b"truncated", a.getsockname())
        assert await task == (b"tr", b.getsockname())
        await loop.sock_sendto(b, b"", a.getsockname())
        assert await loop.sock_recvfrom(a, 10) == (b"", b.getsockname())
        await loop.sock_sendto(b, b"z" * 60000, a.getsockname())
        data, _ = await loop.sock_recvfrom(a, 1 << 20)
        assert data == b"z" * 60000

    run(main())


@datagram
def test_recvfrom_into(loop, run, sockets):
    a, b = sockets.udp(), sockets.udp()
    buffer = bytearray(10)

    async def main():
        task = loop.create_task(loop.sock_recvfrom_into(a, buffer))
        await asyncio.sleep(0)
        await loop.sock_sendto(b, b"hello", a.getsockname())
        assert await task == (5, b.getsockname())
        assert buffer == b"hello\0\0\0\0\0"
        await loop.sock_sendto(b, b"HELLO", a.getsockname())
        assert await loop.sock_recvfrom_into(a, buffer, 2) == (2, b.getsockname())
        assert buffer == b"HEllo\0\0\0\0\0"
        await loop.sock_sendto(b, b"abc", a.getsockname())
        assert await loop.sock_recvfrom_into(a, buffer, nbytes=0) == (
            3,
            b.getsockname(),
        )

    run(main())


@pytest.mark.parametrize(
    "data",
    [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"a memoryview")[2:],
        b"",
        memoryview(b""),
    ],
)
def test_sendall(loop, run, sockets, data):
    a, b = sockets.pair()
    assert run(loop.sock_sendall(a, data)) is None
    a.close()
    assert run(loop.sock_recv(b, 100)) == bytes(data)


def test_sendall_of_wide_items(impl, loop, run, sockets):
    if not impl.is_cloop:
        pytest.skip("stock counts items where it should count bytes, and never ends")
    a, b = sockets.tcp_pair()
    data = array.array("i", range(500_000))

    async def receive():
        got = b""
        while len(got) < 2_000_000:
            got += await loop.sock_recv(b, 1 << 20)
        return got

    async def main():
        got, _ = await asyncio.gather(receive(), loop.sock_sendall(a, data))
        assert got == data.tobytes()

    run(main())


def test_sendall_holds_the_buffer_only_until_the_end(loop, run, sockets):
    a, b = sockets.tcp_pair()
    data = bytearray(8_000_000)

    async def main():
        task = loop.create_task(loop.sock_sendall(a, data))
        await asyncio.sleep(0.01)
        assert not task.done()
        with pytest.raises(BufferError):
            data.append(1)
        left = len(data)
        while left:
            left -= len(await loop.sock_recv(b, 1 << 20))
        while not task.done():
            await asyncio.sleep(0)
        data.append(1)
        await task

    run(main())


def test_connect_and_accept(loop, run, sockets):
    listener = sockets.listener()

    async def main():
        accepting = loop.create_task(loop.sock_accept(listener))
        await asyncio.sleep(0)
        client = sockets.tcp()
        assert await loop.sock_connect(client, listener.getsockname()) is None
        conn, address = await accepting
        sockets.keep(conn)
        assert type(conn) is socket.socket
        assert conn.gettimeout() == 0 and conn.getblocking() is False
        assert (conn.family, conn.type, conn.proto) == (
            listener.family,
            listener.type,
            listener.proto,
        )
        assert not os.get_inheritable(conn.fileno())
        assert address == client.getsockname() == conn.getpeername()
        second = sockets.tcp()
        await loop.sock_connect(second, listener.getsockname())
        conn, address = await loop.sock_accept(listener)
        sockets.keep(conn)
        assert address == second.getsockname()

    run(main())


@pytest.mark.parametrize("default", [None, 0.0, 5.0])
def test_accept_with_a_default_timeout(loop, run, sockets, default):
    listener = sockets.listener()
    client = sockets.tcp()
    socket.setdefaulttimeout(default)
    try:

        async def main():
            await loop.sock_connect(client, listener.getsockname())
            conn, _ = await loop.sock_accept(listener)
            assert sockets.keep(conn).gettimeout() == 0

        run(main())
    finally:
        socket.setdefaulttimeout(None)


def test_several_waiters_on_one_listener(impl, loop, run, sockets):
    if not impl.is_cloop:
        pytest.skip("stock forgets all but the last")
    listener = sockets.listener()

    async def main():
        accepting = [loop.create_task(loop.sock_accept(listener)) for _ in range(3)]
        await asyncio.sleep(0)
        clients = [sockets.tcp() for _ in range(3)]
        for client in clients:
            await loop.sock_connect(client, listener.getsockname())
        done = await asyncio.gather(*accepting)
        for conn, _ in done:
            sockets.keep(conn)
        assert {a for _, a in done} == {c.getsockname() for c in clients}

    run(main())


def test_reading_and_writing_at_once(loop, run, sockets):
    a, b = sockets.tcp_pair()
    payload = b"p" * 4_000_000

    async def receive(sock):
        left = len(payload)
        while left:
            part = await loop.sock_recv(sock, 65536)
            assert part
            left -= len(part)

    async def main():
        await asyncio.gather(
            loop.sock_sendall(a, payload),
            loop.sock_sendall(b, payload),
            receive(a),
            receive(b),
        )

    run(main())


# -- connecting ------------------------------------------------------------------------


def test_connect_refused(loop, run, sockets):
    listener = sockets.listener()
    address = listener.getsockname()
    listener.close()
    with pytest.raises(ConnectionRefusedError) as info:
        run(loop.sock_connect(sockets.tcp(), address))
    assert info.value.errno == errno.ECONNREFUSED


def test_connect_refused_names_the_address(loop, run):
    listener = socket.socket(socket.AF_INET6)
    listener.bind(("::1", 0))
    port = listener.getsockname()[1]
    listener.close()
    sock = socket.socket(socket.AF_INET6)
    sock.setblocking(False)
    try:
        with pytest.raises(ConnectionRefusedError) as info:
            run(loop.sock_connect(sock, ("::1", port)))
    finally:
        sock.close()
    if "Connect call" in str(info.value):
        assert str(info.value) == (
            f"[Errno {errno.ECONNREFUSED}] Connect call failed ('::1', {port}, 0, 0)"
        )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", b"127.0.0.1", "127.1"])
def test_connect_to_names(loop, run, sockets, host):
    listener = sockets.listener()
    port = listener.getsockname()[1]
    client = sockets.tcp()
    run(loop.sock_connect(client, (host, port)))
    assert client.getpeername() == listener.getsockname()
    other = sockets.tcp()
    run(loop.sock_connect(other, (host, str(port))))
    assert other.getpeername() == listener.getsockname()


def test_literals_touch_no_resolver(loop, run, sockets):
    listener = sockets.listener()

    async def getaddrinfo(*args, **kwargs):
        raise AssertionError("asked")

    loop.getaddrinfo = getaddrinfo
    run(loop.sock_connect(sockets.tcp(), listener.getsockname()))
    run(loop.sock_connect(sockets.tcp(), ("127.0.0.1", listener.getsockname()[1])))


def test_the_loops_own_getaddrinfo_is_asked(loop, run, sockets):
    listener = sockets.listener()
    asked = []

    async def getaddrinfo(host, port, **options):
        asked.append((host, port, options))
        await asyncio.sleep(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", listener.getsockname())]

    loop.getaddrinfo = getaddrinfo
    client = sockets.tcp()
    run(loop.sock_connect(client, ("cloop.invalid", 80)))
    assert client.getpeername() == listener.getsockname()
    host, port, options = asked[0]
    assert (host, port) == ("cloop.invalid", 80)
    assert options["family"] == socket.AF_INET and options["proto"] == 0


@pytest.mark.parametrize("answer", [[], [(1, 2)], None, ZeroDivisionError()])
def test_a_resolver_that_fails(loop, sockets, answer):
    async def getaddrinfo(host, port, **options):
        await asyncio.sleep(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    loop.getaddrinfo = getaddrinfo
    with pytest.raises((IndexError, ValueError, TypeError, ZeroDivisionError)):
        loop.run_until_complete(loop.sock_connect(sockets.tcp(), ("cloop.invalid", 1)))


def test_cancelled_while_resolving(loop, run, sockets):
    cancelled = []

    async def getaddrinfo(host, port, **options):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(host)
            raise

    loop.getaddrinfo = getaddrinfo

    async def main():
        task = loop.create_task(loop.sock_connect(sockets.tcp(), ("cloop.invalid", 1)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert cancelled == ["cloop.invalid"]


@pytest.mark.parametrize("address", ["x", None, 5, ("127.0.0.1",), ()])
def test_connect_bad_address(loop, run, sockets, address):
    with pytest.raises((TypeError, ValueError, OSError)):
        run(loop.sock_connect(sockets.tcp(), address))


@pytest.mark.parametrize("port", [-1, 65536, 2**70])
def test_connect_bad_port(loop, run, sockets, port):
    with pytest.raises((OverflowError, OSError)):
        run(loop.sock_connect(sockets.tcp(), ("127.0.0.1", port)))


def test_connect_cancelled_and_again(loop, run, sockets):
    """The listener's backlog is full, so that connecting waits."""
    listener = sockets.listener(0)
    fillers = []
    for _ in range(10):
        sock = sockets.tcp()
        try:
            sock.connect(listener.getsockname())
        except BlockingIOError:
            pass
        fillers.append(sock)

    async def main():
        client = sockets.tcp()
        task = loop.create_task(loop.sock_connect(client, listener.getsockname()))
        await asyncio.sleep(0.05)
        if task.done():
            pytest.skip("this kernel takes more than the backlog")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop.remove_writer(client) is False

    run(main())


def test_connect_unix(loop, run, sockets, tmp_path):
    path = str(tmp_path / "s")
    listener = sockets.keep(socket.socket(socket.AF_UNIX))
    listener.bind(path)
    listener.listen()

    async def main():
        client = sockets.keep(socket.socket(socket.AF_UNIX))
        await loop.sock_connect(client, path)
        conn, address = await loop.sock_accept(listener)
        sockets.keep(conn)
        assert address == ""
        assert conn.family == socket.AF_UNIX
        await loop.sock_sendall(client, b"x")
        assert await loop.sock_recv(conn, 1) == b"x"
        with pytest.raises(FileNotFoundError):
            await loop.sock_connect(
                sockets.keep(socket.socket(socket.AF_UNIX)), path + "-"
            )

    run(main())


# -- arguments -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, args, error, match",
    [
        ("sock_recv", ("x",), TypeError, "integer"),
        ("sock_recv", (1.0,), TypeError, "integer|float"),
        ("sock_recv", (None,), TypeError, "integer"),
        ("sock_recv", (-1,), ValueError, "negative buffersize in recv"),
        ("sock_recv", (2**80,), OverflowError, "too large"),
        ("sock_recv_into", (b"const",), TypeError, "read-write"),
        ("sock_recv_into", ("x",), TypeError, "read-write"),
        ("sock_recv_into", (5,), TypeError, "read-write"),
        ("sock_sendall", ("text",), TypeError, "bytes-like"),
        ("sock_sendall", (None,), TypeError, "bytes-like"),
        ("sock_sendall", (memoryview(b"abcd")[::2],), BufferError, "contiguous"),
    ],
)
def test_bad_arguments(loop, run, sockets, name, args, error, match):
    a, _ = sockets.pair()
    operation = getattr(loop, name)(a, *args)  # errors come when it is awaited
    with pytest.raises(error, match=match):
        run(operation)


@datagram
@pytest.mark.parametrize(
    "name, args, error, match",
    [
        ("sock_recvfrom", (-1,), ValueError, "negative buffersize in recvfrom"),
        ("sock_recvfrom", ("x",), TypeError, "integer"),
        ("sock_recvfrom_into", (bytearray(3), 4), ValueError, "nbytes is greater"),
        ("sock_recvfrom_into", (bytearray(3), -1), ValueError, "negative"),
        ("sock_recvfrom_into", (b"const",), TypeError, "read-write"),
        ("sock_recvfrom_into", (5,), TypeError, "len"),
        ("sock_sendto", (b"x", "nonsense"), TypeError, "address must be tuple"),
        ("sock_sendto", (b"x", ("127.0.0.1", 70000)), OverflowError, "0-65535"),
        ("sock_sendto", ("x", ("127.0.0.1", 9)), TypeError, "bytes-like"),
    ],
)
def test_bad_datagram_arguments(loop, run, sockets, name, args, error, match):
    operation = getattr(loop, name)(sockets.udp(), *args)
    with pytest.raises(error, match=match):
        run(operation)


@pytest.mark.parametrize(
    "name, count",
    [
        ("sock_recv", 2),
        ("sock_recv_into", 2),
        ("sock_sendall", 2),
        ("sock_connect", 2),
        ("sock_accept", 1),
        ("sock_sendfile", 2),
    ],
)
def test_missing_and_surplus_arguments(loop, name, count):
    method = getattr(loop, name)
    with pytest.raises(TypeError, match=f"{name}.* missing {count} required"):
        method()
    with pytest.raises(TypeError, match=f"{name}.* takes .* positional argument"):
        method(*range(9))
    with pytest.raises(TypeError, match=f"{name}.* unexpected keyword argument 'x'"):
        method(*range(count), x=1)


@pytest.mark.parametrize(
    "name, args",
    [
        ("sock_recv", (1,)),
        ("sock_recv_into", (bytearray(1),)),
        ("sock_sendall", (b"x",)),
        ("sock_accept", ()),
        ("sock_connect", (("127.0.0.1", 1),)),
    ],
)
class TestEveryOperation:
    def test_debug_mode_wants_a_non_blocking_socket(
        self, new_loop, name, args, sockets
    ):
        loop = new_loop(debug=True)
        sock = sockets.tcp()
        for timeout in (None, 5.0):
            sock.settimeout(timeout)
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                loop.run_until_complete(getattr(loop, name)(sock, *args))

    def test_no_ssl_sockets(self, loop, name, args, sockets):
        ssl = pytest.importorskip("ssl")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        sock = context.wrap_socket(sockets.tcp(), do_handshake_on_connect=False)
        try:
            with pytest.raises(TypeError, match="cannot be of type SSLSocket"):
                loop.run_until_complete(getattr(loop, name)(sock, *args))
        finally:
            sock.close()

    def test_closed_socket(self, loop, name, args, sockets):
        sock = sockets.tcp()
        sock.close()
        with pytest.raises(OSError) as info:
            loop.run_until_complete(getattr(loop, name)(sock, *args))
        assert info.value.errno == errno.EBADF

    def test_not_a_socket(self, loop, name, args):
        with pytest.raises(AttributeError, match="'object' object has no attribute"):
            loop.run_until_complete(getattr(loop, name)(object(), *args))

    def test_coroutine_protocol(self, impl, loop, name, args, sockets):
        a, _ = sockets.pair()
        operation = getattr(loop, name)(a, *args)
        assert isinstance(operation, collections.abc.Coroutine)
        assert asyncio.iscoroutine(operation)
        assert inspect.isawaitable(operation)
        assert operation.__name__ == name
        assert operation.__qualname__.endswith("." + name)
        assert operation.cr_running is False
        assert operation.cr_await is None
        assert f"<coroutine object {operation.__qualname__} at 0x" in repr(operation)
        with pytest.raises(TypeError, match="can't send non-None value"):
            operation.send(1)
        with pytest.raises(ZeroDivisionError):
            operation.throw(ZeroDivisionError("x"))
        for call in (lambda: operation.send(None), lambda: operation.throw(KeyError)):
            with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
                call()
        assert operation.close() is None

    def test_never_awaited(self, loop, name, args, sockets):
        a, _ = sockets.pair()
        operation = getattr(loop, name)(a, *args)
        with pytest.warns(RuntimeWarning, match=rf"'.*{name}' was never awaited"):
            del operation
            gc.collect()

    def test_closed_without_being_awaited(self, loop, name, args, sockets):
        a, _ = sockets.pair()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            operation = getattr(loop, name)(a, *args)
            operation.close()
            operation.close()
            del operation
            gc.collect()


def test_never_awaited_origin_in_debug_mode(new_loop, sockets):
    loop = new_loop(debug=True)
    a, _ = sockets.pair()

    async def make():
        loop.sock_recv(a, 1)

    with pytest.warns(RuntimeWarning) as caught:
        loop.run_until_complete(make())
        gc.collect()
    text = next(str(w.message) for w in caught if "sock_recv" in str(w.message))
    assert "Coroutine created at" in text and "in make" in text


# -- driving by hand -------------------------------------------------------------------


def test_send_by_hand(loop, sockets):
    a, b = sockets.pair()
    operation = loop.sock_recv(a, 10)
    future = operation.send(None)
    assert asyncio.isfuture(future) and future._asyncio_future_blocking is True
    assert future.get_loop() is loop
    with pytest.raises(RuntimeError, match="await wasn't used with future"):
        operation.send(None)
    operation.close()

    operation = loop.sock_recv(a, 10)
    future = operation.send(None)
    b.send(b"x")
    loop.run_until_complete(asyncio.wait([future]))
    with pytest.raises(StopIteration) as info:
        operation.send(None)
    assert info.value.value == b"x"


def test_results_that_are_tuples_survive_stopiteration(loop, sockets):
    listener = sockets.listener()
    client = sockets.tcp()
    client.setblocking(True)
    client.connect(listener.getsockname())
    with pytest.raises(StopIteration) as info:
        while True:
            loop.sock_accept(listener).send(None)
    conn, address = info.value.value
    sockets.keep(conn)
    assert address == client.getsockname()
    with pytest.raises(StopIteration) as info:
        loop.sock_sendall(client, b"x").send(None)
    assert info.value.value is None


def test_awaited_twice(loop, run, sockets):
    a, b = sockets.pair()

    async def main():
        operation = loop.sock_recv(a, 10)

        async def wait():
            return await operation

        first = loop.create_task(wait())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="being awaited already"):
            await operation
        b.send(b"x")
        assert await first == b"x"
        with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
            await operation

    run(main())


@pytest.mark.parametrize(
    "args, error",
    [
        ((ValueError,), ValueError),
        ((ValueError("v"),), ValueError),
        ((ValueError, "v"), ValueError),
        ((ValueError, ValueError("v")), ValueError),
        ((ValueError, ("a", "b")), ValueError),
        ((ValueError, None, None), ValueError),
        ((5,), TypeError),
        ((ValueError("v"), 5), TypeError),
        ((ValueError, "v", 5), TypeError),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_throw_forms(loop, sockets, args, error):
    a, b = sockets.pair()
    operation = loop.sock_recv(a, 10)
    operation.send(None)
    with pytest.raises(error):
        operation.throw(*args)
    operation.close()
    b.send(b"still usable")
    assert loop.run_until_complete(loop.sock_recv(a, 100)) == b"still usable"


def test_generators_of_the_old_style(impl, loop, sockets):
    import types

    a, b = sockets.pair()

    @types.coroutine
    def old():
        data = yield from loop.sock_recv(a, 10)
        return data

    async def main():
        loop.call_soon(b.send, b"x")
        return await old()

    assert loop.run_until_complete(main()) == b"x"


# -- combinations ----------------------------------------------------------------------


def test_gather_wait_for_and_threads(loop, run, sockets):
    a, b = sockets.pair()

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.sock_recv(a, 10), 0.02)
        b.send(b"1")
        assert await asyncio.wait_for(loop.sock_recv(a, 10), 5) == b"1"
        got = await asyncio.gather(loop.sock_recv(a, 10), loop.sock_sendall(b, b"2"))
        assert got == [b"2", None]
        done = await loop.run_in_executor(
            None,
            lambda: asyncio.run_coroutine_threadsafe(
                loop.sock_sendall(b, b"3"), loop
            ).result(5),
        )
        assert done is None
        assert await asyncio.shield(loop.sock_recv(a, 10)) == b"3"

    run(main())


def test_a_task_that_nobody_holds(loop, sockets):
    """The loop keeps what waits on a socket alive."""
    a, b = sockets.pair()
    got = []

    async def wait():
        got.append(await loop.sock_recv(a, 10))
        loop.stop()

    loop.create_task(wait())
    loop.call_soon(loop.stop)
    loop.run_forever()
    gc.collect()
    b.send(b"x")
    loop.call_later(5, loop.stop)
    loop.run_forever()
    assert got == [b"x"]


def test_stock_tasks(loop, run, sockets):
    a, b = sockets.pair()

    async def main():
        task = asyncio.Task(loop.sock_recv(a, 10), loop=loop)
        await asyncio.sleep(0)
        b.send(b"x")
        assert await task == b"x"

    run(main())


def test_in_debug_mode(new_loop, sockets):
    loop = new_loop(debug=True)
    a, b = sockets.pair()

    async def main():
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0.01)
        assert "sock_recv" in repr(task)
        await loop.sock_sendall(b, b"x")
        assert await task == b"x"
        assert "sock_recv" in repr(task)

    loop.run_until_complete(main())


def test_with_add_reader_on_the_same_socket(impl, loop, run, sockets):
    """Stock would let the operation take the callback's place for good."""
    if not impl.is_cloop:
        pytest.skip("stock drops the callback")
    a, b = sockets.pair()
    calls = []

    async def main():
        loop.add_reader(a, calls.append, 1)
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0)
        b.send(b"x")
        assert await task == b"x"
        del calls[:]
        b.send(b"y")
        await asyncio.sleep(0.01)
        assert calls
        assert loop.remove_reader(a) is True
        assert await loop.sock_recv(a, 10) == b"y"
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0.01)
        b.send(b"z")
        assert await task == b"z"

    run(main())


# -- cancellation ----------------------------------------------------------------------


def test_cancel_while_waiting(loop, run, sockets):
    a, b = sockets.pair()

    async def main():
        for _ in range(3):
            task = loop.create_task(loop.sock_recv(a, 10))
            await asyncio.sleep(0)
            task.cancel()
            b.send(b"x")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_reader(a) is False
            assert await asyncio.wait_for(loop.sock_recv(a, 10), 5) == b"x"

    run(main())


def test_cancel_before_the_first_step(loop, run, sockets):
    a, _ = sockets.pair()

    async def main():
        task = loop.create_task(loop.sock_recv(a, 10))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        run(main())


def test_cancel_and_close_then_reuse_of_the_number(loop, run):
    async def main():
        for _ in range(20):
            a, b = socket.socketpair()
            a.setblocking(False)
            task = loop.create_task(loop.sock_recv(a, 10))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            a.close()
            b.close()
            c, d = socket.socketpair()
            c.setblocking(False)
            d.setblocking(False)
            first = loop.create_task(loop.sock_recv(c, 10))
            second = loop.create_task(loop.sock_recv(d, 10))
            await asyncio.sleep(0)
            c.send(b"to d")
            d.send(b"to c")
            assert await asyncio.wait_for(first, 5) == b"to c"
            assert await asyncio.wait_for(second, 5) == b"to d"
            c.close()
            d.close()

    run(main())


def test_cancel_sendall_in_the_middle(loop, run, sockets):
    a, b = sockets.tcp_pair()

    async def main():
        data = bytearray(10_000_000)
        task = loop.create_task(loop.sock_sendall(a, data))
        await asyncio.sleep(0.02)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        data.append(1)  # released
        assert loop.remove_writer(a) is False
        while True:
            try:
                if not b.recv(1 << 20):
                    break
            except BlockingIOError:
                break
        await loop.sock_sendall(a, b"again")

    run(main())


def test_objects_are_released(loop, run, sockets):
    a, b = sockets.pair()

    class Buffer(bytearray):
        pass

    async def main():
        buffer = Buffer(10)
        ref = weakref.ref(buffer)
        task = loop.create_task(loop.sock_recv_into(a, buffer))
        del buffer
        await asyncio.sleep(0)
        assert ref() is not None
        b.send(b"x")
        await task
        assert ref() is None

    run(main())


def test_sockets_are_not_kept(loop, run):
    async def main():
        a, b = socket.socketpair()
        for sock in (a, b):
            sock.setblocking(False)
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0)
        await loop.sock_sendall(b, b"x")
        await task
        del task
        ref = weakref.ref(a)
        a.close()
        b.close()
        del a, sock
        await asyncio.sleep(0)
        assert ref() is None

    run(main())


# -- faults ----------------------------------------------------------------------------


def reset(sock):
    """Closes a TCP socket so that the peer gets a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_reset_while_receiving(loop, run, sockets):
    a, b = sockets.tcp_pair()

    async def main():
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0.01)
        reset(b)
        with pytest.raises(ConnectionResetError):
            await task

    run(main())


def test_reset_while_sending(loop, run, sockets):
    a, b = sockets.tcp_pair()

    async def main():
        task = loop.create_task(loop.sock_sendall(a, bytes(10_000_000)))
        await asyncio.sleep(0.01)
        reset(b)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await task

    run(main())


def test_broken_pipe(loop, run, sockets):
    a, b = sockets.pair()
    b.close()
    with pytest.raises(BrokenPipeError):
        run(loop.sock_sendall(a, b"x"))


@datagram
def test_refused_datagram(loop, run, sockets):
    a, b = sockets.udp(), sockets.udp()
    a.connect(b.getsockname())
    b.close()

    async def main():
        a.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            await loop.sock_recvfrom(a, 10)

    run(main())


@pytest.mark.parametrize("delay", [None, 0, 0.02])
def test_closed_during_the_call(loop, sockets, delay):
    """Whatever becomes of the operation, the loop lives on and does not spin."""
    a, _ = sockets.pair()

    async def main():
        task = loop.create_task(loop.sock_recv(a, 10))
        if delay is not None:
            await asyncio.sleep(delay)
        a.close()
        before = time.process_time()
        await asyncio.wait([task], timeout=0.3)
        assert time.process_time() - before < 0.1
        task.cancel()
        with pytest.raises((asyncio.CancelledError, OSError)):
            await task
        c, d = sockets.pair()
        other = loop.create_task(loop.sock_recv(c, 10))
        await asyncio.sleep(0)
        d.send(b"x")
        assert await asyncio.wait_for(other, 5) == b"x"

    loop.run_until_complete(main())


def test_closed_during_the_call_and_the_number_taken(impl, loop, run):
    if not impl.is_cloop:
        pytest.skip("stock never ends the first operation")

    async def main():
        a, b = socket.socketpair()
        a.setblocking(False)
        fd = a.fileno()
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0.01)
        a.close()
        c, d = socket.socketpair()
        mine, peer = (c, d) if c.fileno() == fd else (d, c)
        assert mine.fileno() == fd
        mine.setblocking(False)
        other = loop.create_task(loop.sock_recv(mine, 10))
        with pytest.raises(OSError) as info:
            await task
        assert info.value.errno == errno.EBADF
        peer.send(b"x")
        assert await other == b"x"
        for sock in (b, c, d):
            sock.close()

    run(main())


def test_detached_during_the_call(loop, sockets):
    a, b = sockets.pair()

    async def main():
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0.01)
        fd = a.detach()
        again = sockets.keep(socket.socket(fileno=fd))
        other = loop.create_task(loop.sock_recv(again, 10))
        await asyncio.sleep(0)
        b.send(b"x")
        assert await asyncio.wait_for(other, 5) == b"x"
        task.cancel()
        with pytest.raises((asyncio.CancelledError, OSError)):
            await task

    loop.run_until_complete(main())


def test_two_objects_for_one_number(loop, run, sockets):
    a, b = sockets.pair()
    twin = socket.socket(fileno=os.dup(a.fileno()))
    sockets.keep(twin)

    async def main():
        for sock in (a, twin, a, twin):
            task = loop.create_task(loop.sock_recv(sock, 10))
            await asyncio.sleep(0)
            b.send(b"x")
            assert await asyncio.wait_for(task, 5) == b"x"

    run(main())


def test_hang_up_without_anybody_waiting(loop, sockets):
    a, b = sockets.pair()

    async def main():
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0)
        b.send(b"x")
        await task
        b.close()
        before = time.process_time()
        await asyncio.sleep(0.3)
        assert time.process_time() - before < 0.05

    loop.run_until_complete(main())


def test_data_that_nobody_waits_for(loop, sockets):
    """The registration stays between operations; what arrives then is not lost, and a
    sender that goes on does not keep the loop busy."""
    a, b = sockets.pair()

    async def main():
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0)
        b.send(b"x")
        await task
        for _ in range(100):
            b.send(b"y")
            await asyncio.sleep(0)
        before = time.process_time()
        await asyncio.sleep(0.2)
        assert time.process_time() - before < 0.05
        got = await loop.sock_recv(a, 1000)
        assert got == b"y" * 100
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0.01)
        b.send(b"z")
        assert await asyncio.wait_for(task, 5) == b"z"

    loop.run_until_complete(main())


def test_loop_closed_while_waiting(impl, sockets):
    a, _ = sockets.pair()
    loop = impl.new_event_loop()
    operation = loop.sock_recv(a, 10)
    future = operation.send(None)
    loop.close()
    assert not future.done()
    operation.close()
    operation = loop.sock_recv(a, 10)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        operation.send(None)


def test_a_loop_with_a_waiting_task_is_collected(impl, sockets):
    a, _ = sockets.pair()
    loop = impl.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)

    class Mark:
        pass

    mark = Mark()
    ref = weakref.ref(mark)

    async def wait(loop, mark):
        await loop.sock_recv(a, 10)

    task = loop.create_task(wait(loop, mark))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    del task, mark, loop
    gc.collect()
    assert ref() is None


# -- sockets with methods of their own -------------------------------------------------


class Counting(socket.socket):
    """Calls made through Python, and errors on demand."""

    calls = ()
    failure = None

    def note(self, name):
        self.calls += (name,)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def recv(self, *args):
        self.note("recv")
        return super().recv(*args)

    def recv_into(self, *args):
        self.note("recv_into")
        return super().recv_into(*args)

    def send(self, data):
        self.note("send")
        return super().send(bytes(data[:7]))

    def connect(self, address):
        self.note("connect")
        return super().connect(address)

    def accept(self):
        self.note("accept")
        return super().accept()

    def getsockopt(self, *args):
        self.note("getsockopt")
        return super().getsockopt(*args)


@pytest.fixture
def counting(sockets):
    a, b = socket.socketpair()
    mine = Counting(fileno=a.detach())
    return sockets.keep(mine), sockets.keep(b)


def test_a_subclass_is_called_by_its_methods(loop, run, counting):
    a, b = counting

    async def main():
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0)
        b.send(b"x")
        assert await task == b"x"
        assert set(a.calls) == {"recv"}
        a.calls = ()
        b.send(b"y")
        buffer = bytearray(3)
        assert await loop.sock_recv_into(a, buffer) == 1
        assert a.calls == ("recv_into",)
        a.calls = ()
        await loop.sock_sendall(a, b"0123456789" * 3)
        assert a.calls == ("send",) * 5
        assert b.recv(100) == b"0123456789" * 3

    run(main())


@pytest.mark.parametrize("failure", [BlockingIOError, InterruptedError])
def test_a_subclass_that_would_block(loop, run, counting, failure):
    a, b = counting
    b.send(b"x")
    a.failure = failure()
    assert run(loop.sock_recv(a, 10)) == b"x"
    a.failure = failure()
    run(loop.sock_sendall(a, b"y"))
    assert b.recv(10) == b"y"


def test_a_subclass_that_fails_while_waiting(loop, run, counting):
    a, b = counting

    async def main():
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0)
        a.failure = ZeroDivisionError()
        b.send(b"x")
        with pytest.raises(ZeroDivisionError):
            await task
        assert await loop.sock_recv(a, 10) == b"x"

    run(main())


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit])
def test_an_exit_in_a_subclass_leaves_the_loop(loop, counting, failure):
    a, b = counting
    task = loop.create_task(loop.sock_recv(a, 10))
    loop.call_soon(loop.stop)
    loop.run_forever()
    a.failure = failure()
    b.send(b"x")
    with pytest.raises(failure):
        loop.run_forever()
    assert loop.run_until_complete(task) == b"x"


def test_a_subclass_connects_and_accepts(loop, run, sockets):
    listener = sockets.listener()
    mine = Counting(fileno=listener.detach())
    listener = sockets.keep(mine)

    async def main():
        client = sockets.keep(Counting())
        task = loop.create_task(loop.sock_accept(listener))
        await asyncio.sleep(0)
        await loop.sock_connect(client, ("localhost", listener.getsockname()[1]))
        assert client.calls[0] == "connect"
        conn, address = await task
        sockets.keep(conn)
        assert conn.gettimeout() == 0
        assert address == client.getsockname()
        assert set(listener.calls) == {"accept"}

    run(main())


def test_a_method_that_closes_its_own_operation(impl, loop, counting):
    if not impl.is_cloop:
        pytest.skip("stock's coroutine is not running then")
    a, b = counting
    operation = None

    class Evil(Counting):
        def recv(self, *args):
            if operation is not None:
                with pytest.raises(ValueError, match="already executing"):
                    operation.close()
                task.cancel()
                gc.collect()
            return super().recv(*args)

    evil = Evil(fileno=a.detach())
    evil.setblocking(False)
    operation = None
    op = loop.sock_recv(evil, 10)
    task = loop.create_task(op)
    loop.call_soon(loop.stop)
    loop.run_forever()
    operation = op
    b.send(b"x")
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    evil.close()


def test_a_method_that_closes_the_socket(loop, counting):
    a, b = counting

    class Evil(Counting):
        def recv(self, *args):
            data = super().recv(*args)
            self.close()
            return data

    evil = Evil(fileno=a.detach())
    evil.setblocking(False)

    async def main():
        task = loop.create_task(loop.sock_recv(evil, 10))
        await asyncio.sleep(0)
        b.send(b"x")
        assert await task == b"x"

    loop.run_until_complete(main())


def test_blocking_sockets_do_not_stop_the_loop(impl, loop, sockets):
    if not impl.is_cloop:
        pytest.skip("stock blocks")
    a, b = sockets.pair()
    a.setblocking(True)

    async def main():
        loop.call_later(0.02, b.send, b"x")
        assert await loop.sock_recv(a, 10) == b"x"

    loop.run_until_complete(main())


# -- sendfile --------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(range(256)) * 8192)  # 2 MiB
    with open(path, "rb") as file:
        yield file


async def receive_all(loop, sock):
    parts = []
    while True:
        part = await loop.sock_recv(sock, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    "offset, count",
    [(0, None), (1000, None), (0, 5000), (1000, 5000), (0, 10**9), (3 << 20, None)],
)
def test_sendfile(loop, run, sockets, file, offset, count, native):
    import io

    a, b = sockets.tcp_pair()
    content = file.read()
    expected = content[offset:][:count]
    source = file if native else io.BytesIO(content)
    source.seek(0)

    async def main():
        receiving = loop.create_task(receive_all(loop, b))
        sent = await loop.sock_sendfile(a, source, offset, count)
        assert sent == len(expected)
        a.close()
        assert await receiving == expected
        if sent:
            assert source.tell() == offset + sent

    run(main())


def test_sendfile_needs_the_kernel_without_fallback(loop, run, sockets):
    import io

    a, _ = sockets.tcp_pair()
    with pytest.raises(asyncio.SendfileNotAvailableError, match="not a regular file"):
        run(loop.sock_sendfile(a, io.BytesIO(b"x"), fallback=False))


@pytest.mark.parametrize(
    "options, error, match",
    [
        ({"offset": -1}, ValueError, r"offset must be a non-negative integer \(got -1"),
        ({"offset": "x"}, TypeError, r"offset must be a non-negative integer \(got 'x"),
        ({"count": 0}, ValueError, r"count must be a positive integer \(got 0\)"),
        ({"count": 1.5}, TypeError, r"count must be a positive integer \(got 1.5\)"),
    ],
)
def test_sendfile_bad_arguments(loop, run, sockets, file, options, error, match):
    a, _ = sockets.tcp_pair()
    with pytest.raises(error, match=match):
        run(loop.sock_sendfile(a, file, **options))


def test_sendfile_text_files_and_datagram_sockets(loop, run, sockets, file):
    a, _ = sockets.tcp_pair()
    with open(file.name) as text:
        with pytest.raises(ValueError, match="binary mode"):
            run(loop.sock_sendfile(a, text))
    with pytest.raises(ValueError, match="only SOCK_STREAM type sockets"):
        run(loop.sock_sendfile(sockets.udp(), file))


def test_sendfile_empty(loop, run, sockets, tmp_path):
    a, _ = sockets.tcp_pair()
    path = tmp_path / "empty"
    path.write_bytes(b"")
    with open(path, "rb") as empty:
        assert run(loop.sock_sendfile(a, empty)) == 0


def test_sendfile_cancelled(loop, run, sockets, tmp_path):
    a, _ = sockets.tcp_pair()
    path = tmp_path / "large"
    with open(path, "wb") as large:
        large.truncate(200_000_000)

    async def main():
        with open(path, "rb") as large:
            task = loop.create_task(loop.sock_sendfile(a, large))
            await asyncio.sleep(0.05)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_writer(a) is False

    run(main())


def test_sendfile_to_a_peer_that_goes(loop, run, sockets, tmp_path):
    a, b = sockets.tcp_pair()
    path = tmp_path / "large"
    with open(path, "wb") as large:
        large.truncate(200_000_000)

    async def main():
        with open(path, "rb") as large:
            task = loop.create_task(loop.sock_sendfile(a, large))
            await asyncio.sleep(0.05)
            reset(b)
            with pytest.raises(OSError):
                await task

    run(main())


# -- audit events ----------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(sys, "addaudithook"), reason="no audit hooks")
def test_audit_events(impl):
    import subprocess

    code = f"""
import asyncio, socket, sys
{"import cloop" if impl.is_cloop else ""}
events = []
sys.addaudithook(lambda e, a: e.startswith("socket.") and events.append(e))
loop = {"cloop" if impl.is_cloop else "asyncio"}.new_event_loop()
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
listener.setblocking(False)
client = socket.socket()
client.setblocking(False)
del events[:]
loop.run_until_complete(loop.sock_connect(client, listener.getsockname()))
conn, _ = loop.run_until_complete(loop.sock_accept(listener))
assert events == ["socket.connect", "socket.__new__"], events
for sock in (listener, client, conn):
    sock.close()
loop.close()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)
