"""create_connection, create_unix_connection, connect_accepted_socket."""

import asyncio
import errno
import gc
import os
import socket
import ssl
import sys
import warnings

import pytest
from wire import TIMEOUT, Recorder, run, tcp_pair, turns, until


@pytest.fixture
def listening():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        sock.settimeout(TIMEOUT)
        yield sock


@pytest.fixture
def refusing():
    """An address where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


async def done(*transports):
    for transport in transports:
        transport.abort()
    await turns(5)


def test_by_host_and_port(loop, listening):
    async def main():
        host, port = listening.getsockname()
        for where in ((host, port), (host, str(port)), ("localhost", port)):
            transport, protocol = await loop.create_connection(
                Recorder, *where, family=socket.AF_INET
            )
            far, name = listening.accept()
            assert protocol.transport is transport
            assert transport.get_extra_info("sockname") == name
            assert transport.get_extra_info("peername") == (host, port)
            transport.write(b"hello")
            assert far.recv(10) == b"hello"
            far.close()
            await done(transport)

    run(loop, main())
    loop.run_until_complete(loop.shutdown_default_executor()) if hasattr(
        loop, "shutdown_default_executor"
    ) else None


def test_a_local_address(loop, listening):
    async def main():
        transport, _ = await loop.create_connection(
            Recorder, *listening.getsockname(), local_addr=("127.0.0.3", 0)
        )
        far, name = listening.accept()
        assert name[0] == "127.0.0.3"
        far.close()
        await done(transport)
        with pytest.raises(OSError) as caught:
            await loop.create_connection(
                Recorder, *listening.getsockname(), local_addr=("192.0.2.1", 0)
            )
        return caught.value

    exc = run(loop, main())
    assert exc.errno == errno.EADDRNOTAVAIL
    assert "error while attempting to bind on address ('192.0.2.1', 0)" in str(exc)


def test_a_refused_connection(loop, refusing):
    async def main():
        with pytest.raises(ConnectionRefusedError) as caught:
            await loop.create_connection(Recorder, *refusing)
        return str(caught.value)

    assert run(loop, main()) == f"[Errno 111] Connect call failed {refusing}"


def replaced_getaddrinfo(loop, monkeypatch, addresses):
    async def getaddrinfo(*args, **kwargs):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)
            for address in addresses
        ]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)


def test_addresses_are_tried_in_turn(loop, monkeypatch, listening, refusing):
    replaced_getaddrinfo(loop, monkeypatch, [refusing, listening.getsockname()])

    async def main():
        for options in ({}, {"happy_eyeballs_delay": 0.1}, {"interleave": 1}):
            transport, _ = await loop.create_connection(
                Recorder, "a name", 1, **options
            )
            assert transport.get_extra_info("peername") == listening.getsockname()
            listening.accept()[0].close()
            await done(transport)

    run(loop, main())


@pytest.mark.parametrize(
    "where, address",
    [
        (("fe80::1%1", 80), ("fe80::1", 80, 0, 1)),
        (("::1", "http"), ("::1", 80, 0, 0)),
        (("127.0.0.1", "http"), ("127.0.0.1", 80)),
        (("127.0.0.1", b"80"), ("127.0.0.1", 80)),
    ],
)
def test_scope_ids_and_service_names_reach_the_socket(loop, where, address):
    asked = []

    async def sock_connect(sock, address):
        asked.append(address)
        raise OSError("not really")

    async def main():
        loop.sock_connect = sock_connect
        with pytest.raises(OSError, match="not really"):
            await loop.create_connection(Recorder, *where)

    run(loop, main())
    assert asked == [address]
    loop._default_executor and loop._default_executor.shutdown(wait=True)


def addresses_by_host(loop, monkeypatch, hosts):
    async def getaddrinfo(host, port, **kwargs):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)
            for address in hosts[host]
        ]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)


def test_local_addresses_are_tried_in_turn(loop, monkeypatch, listening):
    bad, worse, good = ("203.0.113.1", 0), ("203.0.113.2", 0), ("127.0.0.3", 0)
    hosts = {"there": [listening.getsockname()], "here": [bad, good]}
    addresses_by_host(loop, monkeypatch, hosts)

    def connect():
        return loop.create_connection(Recorder, "there", 1, local_addr=("here", 0))

    async def main():
        transport, _ = await connect()
        assert transport.get_extra_info("sockname")[0] == "127.0.0.3"
        listening.accept()[0].close()
        await done(transport)
        hosts["here"] = [bad, worse]
        with pytest.raises(OSError) as caught:
            await connect()
        assert "error while attempting to bind on address" in str(caught.value)
        hosts["here"] = []
        with pytest.raises(OSError, match="returned empty list"):
            await connect()

    run(loop, main())


@pytest.mark.parametrize("delay", [None, 0.01])
def test_errors_of_several_addresses_are_merged(loop, monkeypatch, refusing, delay):
    with socket.socket() as other:
        other.bind(("127.0.0.2", 0))
        addresses = [refusing, other.getsockname()]
        replaced_getaddrinfo(loop, monkeypatch, addresses)

        async def main(**options):
            with pytest.raises((OSError, Exception)) as caught:
                await loop.create_connection(
                    Recorder, "a name", 1, happy_eyeballs_delay=delay, **options
                )
            return caught.value

        exc = run(loop, main())
        assert type(exc) is OSError
        assert str(exc) == "Multiple exceptions: " + ", ".join(
            f"[Errno 111] Connect call failed {address}" for address in addresses
        )
        if sys.version_info >= (3, 12):
            exc = run(loop, main(all_errors=True))
            assert type(exc).__name__ == "ExceptionGroup"
            assert [type(e) for e in exc.exceptions] == [ConnectionRefusedError] * 2
        replaced_getaddrinfo(loop, monkeypatch, [refusing] * 2)
        assert isinstance(run(loop, main()), ConnectionRefusedError)
        replaced_getaddrinfo(loop, monkeypatch, [])
        assert "getaddrinfo() returned empty list" in str(run(loop, main()))


def test_happy_eyeballs_does_not_wait_for_a_silent_address(
    loop, monkeypatch, listening
):
    # The backlog of the first is full: it neither answers nor refuses.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        fill = [socket.socket() for _ in range(3)]
        for sock in fill:
            sock.setblocking(False)
            sock.connect_ex(silent.getsockname())
        addresses = [silent.getsockname(), listening.getsockname()]
        replaced_getaddrinfo(loop, monkeypatch, addresses)

        async def main():
            transport, _ = await loop.create_connection(
                Recorder, "a name", 1, happy_eyeballs_delay=0.05
            )
            assert transport.get_extra_info("peername") == listening.getsockname()
            listening.accept()[0].close()
            await done(transport)

        run(loop, main())
        for sock in fill:
            sock.close()


def test_by_socket_of_either_family(loop):
    async def main(near, far):
        transport, _protocol = await loop.create_connection(Recorder, sock=near)
        assert transport._sock is near
        assert near.gettimeout() == 0
        transport.write(b"x")
        assert far.recv(1) == b"x"
        transport.close()
        await turns()
        assert near.fileno() == -1
        assert far.recv(1) == b""
        far.close()

    run(loop, main(*tcp_pair()))
    run(loop, main(*socket.socketpair()))


def test_connect_accepted_socket(loop):
    async def main():
        near, far = tcp_pair()
        _transport, protocol = await loop.connect_accepted_socket(Recorder, near)
        far.sendall(b"x")
        await until(lambda: protocol.data == b"x")
        far.close()
        await protocol.lost
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            with pytest.raises(ValueError, match="A Stream Socket was expected"):
                await loop.connect_accepted_socket(Recorder, sock)

    run(loop, main())


@pytest.mark.parametrize(
    "kwargs, error",
    [
        ({}, ValueError),
        ({"host": "127.0.0.1", "port": 1, "sock": socket.SOCK_STREAM}, ValueError),
        ({"sock": socket.SOCK_DGRAM}, ValueError),
        ({"host": "127.0.0.1", "port": 1, "server_hostname": "x"}, ValueError),
        ({"host": "127.0.0.1", "port": 1, "ssl_handshake_timeout": 1}, ValueError),
        ({"sock": socket.SOCK_STREAM, "ssl": True}, ValueError),
        ({"host": "127.0.0.1", "port": 1, "nonsense": 1}, TypeError),
    ],
)
def test_wrong_arguments_of_create_connection(loop, kwargs, error):
    with socket.socket(type=kwargs.get("sock", socket.SOCK_STREAM)) as sock:
        if "sock" in kwargs:
            kwargs = {**kwargs, "sock": sock}

        async def main():
            await loop.create_connection(Recorder, **kwargs)

        with pytest.raises(error):
            run(loop, main())


@pytest.mark.skipif(sys.version_info < (3, 9), reason="stock does not look")
def test_a_tls_socket_is_refused(loop):
    near, far = tcp_pair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    wrapped = context.wrap_socket(near, do_handshake_on_connect=False)
    with pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
        run(loop, loop.create_connection(Recorder, sock=wrapped))
    wrapped.close()
    far.close()


@pytest.mark.parametrize("factory", [lambda: 1 / 0, lambda: None])
def test_a_factory_that_fails(loop, factory):
    near, far = tcp_pair()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises((ZeroDivisionError, AttributeError)):
            run(loop, loop.create_connection(factory, sock=near))
        gc.collect()
    near.close()
    far.close()


@pytest.mark.parametrize("by", ["address", "socket", "eyeballs"])
def test_a_cancel_at_any_await_leaks_nothing(loop, listening, by):
    # The fixture no_fd_leak looks. A cancel after n turns, for each n until it is done.
    async def main():
        for count in range(100):
            near = far = None
            if by == "socket":
                near, far = tcp_pair()
                options = {"sock": near}
            else:
                options = dict(zip(("host", "port"), listening.getsockname()))
            if by == "eyeballs":
                options["happy_eyeballs_delay"] = 0.001
            task = loop.create_task(loop.create_connection(Recorder, **options))
            await turns(count)
            finished = task.done()
            task.cancel()
            try:
                transport, _protocol = await task
            except asyncio.CancelledError:
                assert not finished
            else:
                transport.abort()
            await turns(5)
            if near is not None:
                near.close()
                far.close()
            if finished:
                break
        else:
            raise AssertionError("never done")

    run(loop, main())
    listening.setblocking(False)
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            break
    gc.collect()


def test_a_timeout_leaks_nothing(loop):
    async def main():
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(0)
            fill = [socket.socket() for _ in range(3)]
            for sock in fill:
                sock.setblocking(False)
                sock.connect_ex(silent.getsockname())
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(
                    loop.create_connection(Recorder, *silent.getsockname()), 0.05
                )
            for sock in fill:
                sock.close()

    run(loop, main())
    gc.collect()


def test_the_socket_is_closed_once(loop):
    # Its number may be somebody else's when the caller closes the socket again.
    async def main():
        near, far = tcp_pair()
        transport, _protocol = await loop.create_connection(Recorder, sock=near)
        number = near.fileno()
        transport.close()
        await turns(5)
        other = os.dup2(far.fileno(), number)
        near.close()
        del transport, near
        gc.collect()
        os.fstat(other)
        os.close(other)
        far.close()

    run(loop, main())


# -- Unix ------------------------------------------------------------------------------


def test_unix_connection_by_socket_and_its_errors(loop, tmp_path):
    async def main():
        near, far = socket.socketpair()
        transport, _protocol = await loop.create_unix_connection(Recorder, sock=near)
        transport.write(b"x")
        assert far.recv(1) == b"x"
        await done(transport)
        far.close()
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, str(tmp_path / "none"))
        for options, error in [
            ({}, ValueError),
            ({"path": "x", "sock": far}, ValueError),
            ({"path": "x", "server_hostname": "x"}, ValueError),
            ({"path": "x", "ssl_handshake_timeout": 1}, ValueError),
            ({"path": "x", "ssl": True}, ValueError),
        ]:
            with pytest.raises(error):
                await loop.create_unix_connection(Recorder, **options)
        with socket.socket() as tcp:
            with pytest.raises(ValueError, match="A UNIX Domain Stream Socket"):
                await loop.create_unix_connection(Recorder, sock=tcp)

    run(loop, main())


def test_debug_mode_logs_the_connection(loop, listening, caplog):
    loop.set_debug(True)

    async def main():
        transport, _ = await loop.create_connection(Recorder, *listening.getsockname())
        listening.accept()[0].close()
        await done(transport)

    with caplog.at_level("DEBUG", "asyncio"):
        run(loop, main())
    assert any(" connected to 127.0.0.1:" in text for text in caplog.messages)
