"""create_server, create_unix_server and Server."""

import asyncio
import errno
import gc
import os
import socket
import ssl
import stat
import sys
import weakref

import pytest
from wire import Recorder, run, turns, until

HAS_IPV6 = socket.has_ipv6 and os.path.exists("/proc/net/if_inet6")


async def connect(address):
    return await asyncio.open_connection(*address[:2])


def test_a_server_is_asyncios(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        assert isinstance(server, asyncio.AbstractServer)
        assert isinstance(server, asyncio.base_events.Server)
        assert server.get_loop() is loop
        assert server.is_serving()
        assert repr(server).startswith("<Server sockets=(<asyncio.TransportSocket ")
        server.close()
        server.close()
        await server.wait_closed()
        assert not server.is_serving()
        assert tuple(server.sockets) == ()

    run(loop, main())


def test_port_0_gives_a_free_port_and_none_too(loop):
    async def main():
        for port in (0, None, "0", ""):
            server = await loop.create_server(Recorder, "127.0.0.1", port)
            assert server.sockets[0].getsockname()[1] > 0
            server.close()

    run(loop, main())


def test_several_hosts_and_none(loop):
    async def main():
        server = await loop.create_server(Recorder, ["127.0.0.1", "127.0.0.2"], 0)
        names = {sock.getsockname()[0] for sock in server.sockets}
        assert names == {"127.0.0.1", "127.0.0.2"}
        server.close()
        server = await loop.create_server(Recorder, ["127.0.0.1"] * 3, 0)
        assert len(server.sockets) == 1
        server.close()
        for host in (None, ""):
            server = await loop.create_server(Recorder, host, 0)
            families = {sock.family for sock in server.sockets}
            assert socket.AF_INET in families
            if HAS_IPV6:
                assert socket.AF_INET6 in families
            server.close()

    run(loop, main())


@pytest.mark.skipif(not HAS_IPV6, reason="no IPv6")
def test_ipv6_sockets_are_for_ipv6_only(loop):
    async def main():
        server = await loop.create_server(Recorder, "::", 0)
        (sock,) = server.sockets
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        server.close()

    run(loop, main())


def test_socket_options(loop):
    def option(server, name):
        return server.sockets[0].getsockopt(socket.SOL_SOCKET, name)

    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        assert option(server, socket.SO_REUSEADDR)
        assert not option(server, socket.SO_REUSEPORT)
        server.close()
        server = await loop.create_server(
            Recorder, "127.0.0.1", 0, reuse_address=False, reuse_port=True
        )
        assert not option(server, socket.SO_REUSEADDR)
        assert option(server, socket.SO_REUSEPORT)
        address = server.sockets[0].getsockname()
        other = await loop.create_server(Recorder, *address, reuse_port=True)
        other.close()
        server.close()
        if sys.version_info >= (3, 13):
            server = await loop.create_server(Recorder, "127.0.0.1", 0, keep_alive=True)
            assert option(server, socket.SO_KEEPALIVE)
            server.close()

    run(loop, main())


def test_an_address_in_use_is_named(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        with pytest.raises(OSError) as caught:
            await loop.create_server(Recorder, *address)
        server.close()
        return address, caught.value

    address, exc = run(loop, main())
    assert exc.errno == errno.EADDRINUSE
    assert f"error while attempting to bind on address {address!r}: " in str(exc)
    assert "address already in use" in str(exc)


def test_an_empty_host_is_every_interface(loop):
    async def main():
        for host in ("", None):
            server = await loop.create_server(Recorder, host, 0)
            names = {sock.getsockname()[0] for sock in server.sockets}
            assert "0.0.0.0" in names
            assert names <= {"0.0.0.0", "::"}
            server.close()

    run(loop, main())
    loop._default_executor and loop._default_executor.shutdown(wait=True)


def test_a_host_without_addresses(loop, monkeypatch):
    async def getaddrinfo(*args, **kwargs):
        return []

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    with pytest.raises(OSError, match=r"getaddrinfo\('a name'\) returned empty list"):
        run(loop, loop.create_server(Recorder, "a name", 0))


def test_reuse_port_where_there_is_none(loop, monkeypatch):
    """(no_fd_leak looks whether the socket is closed.)"""

    async def main():
        await loop.create_server(Recorder, "127.0.0.1", 0, reuse_port=True)

    monkeypatch.setattr(socket, "SO_REUSEPORT", 9999)
    with pytest.raises(ValueError, match="defined but not implemented"):
        run(loop, main())
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(ValueError, match="reuse_port not supported by socket module"):
        run(loop, main())


@pytest.mark.parametrize(
    "kwargs, error",
    [
        ({}, ValueError),
        ({"host": "127.0.0.1", "port": 0, "sock": "TCP"}, ValueError),
        ({"sock": "UDP"}, ValueError),
        ({"host": "127.0.0.1", "port": 0, "ssl": True}, TypeError),
        ({"host": "127.0.0.1", "port": 0, "ssl_handshake_timeout": 1}, ValueError),
        ({"host": "127.0.0.1", "port": 0, "nonsense": 1}, TypeError),
        ({"host": "127.0.0.1", "port": "no such service"}, OSError),
    ],
)
def test_wrong_arguments_of_create_server(loop, kwargs, error):
    kinds = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}
    with socket.socket(type=kinds.get(kwargs.get("sock"), socket.SOCK_STREAM)) as sock:
        if "sock" in kwargs:
            kwargs = {**kwargs, "sock": sock}

        async def main():
            await loop.create_server(Recorder, **kwargs)

        with pytest.raises(error):
            run(loop, main())
    loop.run_until_complete(asyncio.sleep(0))
    loop._default_executor and loop._default_executor.shutdown(wait=True)


def test_a_failed_bind_closes_the_sockets_that_were_bound(loop):
    # The fixture no_fd_leak looks.
    async def main():
        with socket.socket() as taken:
            taken.bind(("127.0.0.2", 0))
            port = taken.getsockname()[1]
            with pytest.raises(OSError):
                await loop.create_server(Recorder, ["127.0.0.1", "127.0.0.2"], port)

    run(loop, main())


def test_a_socket_of_the_users_can_serve(loop):
    async def main():
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        server = await loop.create_server(Recorder, sock=sock)
        reader, writer = await connect(sock.getsockname())
        writer.close()
        await writer.wait_closed()
        assert await reader.read() == b""
        server.close()
        assert sock.fileno() == -1
        await turns(5)

    run(loop, main())


def test_serving_can_start_later(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0, start_serving=False)
        address = server.sockets[0].getsockname()
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await connect(address)
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        _reader, writer = await connect(address)
        writer.close()
        await writer.wait_closed()
        server.close()
        await turns(5)

    run(loop, main())


def test_serve_forever_until_cancelled(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0, start_serving=False)
        task = loop.create_task(server.serve_forever())
        await turns()
        assert server.is_serving()
        with pytest.raises(RuntimeError, match="is already being awaited"):
            await server.serve_forever()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not server.is_serving()
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()

    run(loop, main())


def test_close_ends_serve_forever(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        task = loop.create_task(server.serve_forever())
        await turns()
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(loop, main())


def test_async_with_closes_the_server(loop):
    async def main():
        async with await loop.create_server(Recorder, "127.0.0.1", 0) as server:
            assert server.is_serving()
        assert not server.is_serving()

    run(loop, main())


def served(loop):
    """A server with one connection: server, protocol, socket of the client."""

    async def main():
        made = []

        def factory():
            made.append(Recorder())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        sock = socket.create_connection(server.sockets[0].getsockname())
        await until(lambda: made and made[0].transport is not None)
        return server, made[0], sock

    return run(loop, main())


def test_wait_closed_waits_as_the_version_does(loop):
    server, protocol, sock = served(loop)

    async def main():
        server.close()
        waiting = loop.create_task(server.wait_closed())
        await turns(5)
        # Up to 3.11 a closed server does not wait for its connections.
        assert waiting.done() == (sys.version_info < (3, 12))
        protocol.transport.close()
        await waiting

    run(loop, main())
    run(loop, turns())
    sock.close()


def test_connections_outlive_the_server(loop):
    server, protocol, sock = served(loop)

    async def main():
        server.close()
        await turns()
        sock.sendall(b"still")
        await until(lambda: protocol.data == b"still")
        protocol.transport.close()
        await protocol.lost

    run(loop, main())
    sock.close()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")
@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
def test_close_and_abort_of_clients(loop, method):
    server, protocol, sock = served(loop)

    async def main():
        server.close()
        if method == "close_clients":
            protocol.transport.write(b"bye")
        getattr(server, method)()
        assert await protocol.lost is None
        await server.wait_closed()

    run(loop, main())
    sock.settimeout(5)
    assert sock.recv(10) == (b"bye" if method == "close_clients" else b"")
    sock.close()


def test_a_closed_server_is_collected(loop):
    server, protocol, sock = served(loop)
    ref = weakref.ref(server)
    server.close()
    protocol.transport.close()
    run(loop, protocol.lost)
    run(loop, turns())
    del server, protocol
    gc.collect()
    assert ref() is None
    sock.close()


# -- Unix ------------------------------------------------------------------------------


def test_unix_server_by_path_bytes_and_pathlike(loop, tmp_path):
    async def main():
        for path in (tmp_path / "a", str(tmp_path / "b"), os.fsencode(tmp_path / "c")):
            server = await loop.create_unix_server(Recorder, path)
            transport, protocol = await loop.create_unix_connection(Recorder, path)
            assert os.fspath(transport.get_extra_info("peername")) == os.fsdecode(path)
            assert transport.get_extra_info("sockname") == ""
            transport.close()
            await protocol.lost
            server.close()

    run(loop, main())


def test_abstract_unix_addresses(loop):
    async def main():
        path = "\0cloop-test-%d" % os.getpid()
        server = await loop.create_unix_server(Recorder, path)
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        assert transport.get_extra_info("peername") == path.encode()
        transport.close()
        await protocol.lost
        server.close()

    run(loop, main())


def test_a_stale_socket_is_replaced_and_a_file_is_not(loop, tmp_path):
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)

    async def main():
        server = await loop.create_unix_server(Recorder, path)
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        server.close()
        file = tmp_path / "file"
        file.write_text("precious")
        with pytest.raises(OSError) as caught:
            await loop.create_unix_server(Recorder, file)
        assert caught.value.errno == errno.EADDRINUSE
        assert str(caught.value).endswith(f"Address {str(file)!r} is already in use")
        assert file.read_text() == "precious"

    run(loop, main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")
def test_the_socket_file_is_cleaned_up(loop, tmp_path):
    path = tmp_path / "sock"

    async def main():
        server = await loop.create_unix_server(Recorder, path)
        server.close()
        assert not path.exists()
        server = await loop.create_unix_server(Recorder, path, cleanup_socket=False)
        server.close()
        assert path.exists()
        server = await loop.create_unix_server(Recorder, path)
        path.unlink()
        server.close()
        server = await loop.create_unix_server(Recorder, path)
        # Somebody else's by now.
        other = tmp_path / "other"
        other.write_text("")
        os.replace(other, path)
        server.close()
        assert path.exists()

    run(loop, main())


@pytest.mark.parametrize(
    "kwargs, error",
    [
        ({}, ValueError),
        ({"path": "x", "sock": socket.AF_UNIX}, ValueError),
        ({"sock": socket.AF_INET}, ValueError),
        ({"path": "x", "ssl": True}, TypeError),
        ({"path": "x", "ssl_handshake_timeout": 1}, ValueError),
        ({"path": "x" * 200}, OSError),
        ({"path": 5}, TypeError),
    ],
)
def test_wrong_arguments_of_create_unix_server(loop, kwargs, error):
    with socket.socket(kwargs.get("sock", socket.AF_UNIX)) as sock:
        if "sock" in kwargs:
            kwargs = {**kwargs, "sock": sock}
        with pytest.raises(error):
            run(loop, loop.create_unix_server(Recorder, **kwargs))


def test_what_tls_is_given_is_checked_first(loop):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ValueError):
        run(loop, loop.create_server(Recorder, ssl=context))
