"""Accepting connections."""

import asyncio
import contextvars
import gc
import logging
import resource
import socket
import time
import warnings

import pytest
from support import PY, cloop_only
from wire import Recorder, reset, run, turns, until

VAR = contextvars.ContextVar("VAR", default="none")


async def start(loop, factory, **options):
    server = await loop.create_server(factory, "127.0.0.1", 0, **options)
    return server, server.sockets[0].getsockname()


async def stop(server, *protocols):
    server.close()
    for protocol in protocols:
        protocol.transport.abort()
        await protocol.lost
    await server.wait_closed()


class Keeping:
    """A factory that remembers its protocols."""

    def __init__(self, cls=Recorder):
        self.cls = cls
        self.made = []

    def __call__(self):
        self.made.append(self.cls())
        return self.made[-1]

    def connected(self, count):
        return sum(p.transport is not None for p in self.made) == count


def test_connections_of_one_poll_are_all_accepted_in_order(loop):
    async def main():
        factory = Keeping()
        server, address = await start(loop, factory)
        socks = [socket.create_connection(address) for _ in range(50)]
        await until(lambda: factory.connected(50))
        names = [p.transport.get_extra_info("peername") for p in factory.made]
        assert names == [sock.getsockname() for sock in socks]
        for i, sock in enumerate(socks):
            sock.sendall(b"%d" % i)
        await until(lambda: all(p.data for p in factory.made))
        assert [p.data for p in factory.made] == [b"%d" % i for i in range(50)]
        for sock in socks:
            sock.close()
        await stop(server, *factory.made)

    run(loop, main())


def test_a_crowd_comes_in_by_groups(impl, loop):
    cloop_only(impl, "stock makes all the protocols before one of them hears of it")
    waiting = []

    class Crowded(Recorder):
        def __init__(self):
            super().__init__()
            waiting.append(len(factory.made) + 1 - told)

        def connection_made(self, transport):
            nonlocal told
            told += 1
            super().connection_made(transport)

    told = 0
    factory = Keeping(Crowded)

    async def main():
        server, address = await start(loop, factory, backlog=1000)
        socks = [socket.create_connection(address) for _ in range(400)]
        await until(lambda: factory.connected(400))
        assert 100 <= max(waiting) <= 130
        names = [p.transport.get_extra_info("peername") for p in factory.made]
        assert names == [sock.getsockname() for sock in socks]
        for sock in socks:
            sock.close()
        await stop(server, *factory.made)

    run(loop, main())


@pytest.mark.parametrize("how", ["close", "reset"])
def test_the_peername_is_right_when_the_client_is_already_gone(impl, loop, how):
    async def main():
        factory = Keeping()
        server, address = await start(loop, factory)
        sock = socket.create_connection(address)
        name = sock.getsockname()
        if how == "reset":
            reset(sock)
        else:
            sock.close()
        await until(lambda: factory.connected(1))
        (protocol,) = factory.made
        assert protocol.transport.get_extra_info("peername") == name
        await protocol.lost
        assert protocol.transport.get_extra_info("peername") == name
        await stop(server)

    run(loop, main())


def test_the_accepted_socket_is_set_up(loop):
    async def main():
        factory = Keeping()
        server, address = await start(loop, factory)
        with socket.create_connection(address):
            await until(lambda: factory.connected(1))
            transport = factory.made[0].transport
            sock = transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert not sock.get_inheritable()
            assert sock.gettimeout() == 0
            assert transport._sock.gettimeout() == 0
            assert sock.family == socket.AF_INET
            assert sock.type == socket.SOCK_STREAM
            assert sock.proto == server.sockets[0].proto
            assert transport.get_extra_info("sockname") == address
            assert transport._server is server
        await stop(server, *factory.made)

    run(loop, main())


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
def test_a_factory_that_raises_drops_the_connection(loop, reports, debug, error):
    loop.set_debug(debug)
    called = []

    def factory():
        called.append(1)
        raise error("oops")

    async def main():
        server, address = await start(loop, factory)
        with socket.create_connection(address) as sock:
            await until(lambda: called)
            await turns()
            seen = [
                (report["message"], type(report["exception"])) for report in reports
            ]
            reports.clear()
            gc.collect()  # stock's socket lives in the traceback
            sock.setblocking(False)
            assert await loop.sock_recv(sock, 10) == b""
        await stop(server)
        return seen

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        seen = run(loop, main())
        gc.collect()
    message = "Error on transport creation for incoming connection"
    assert seen == ([(message, error)] if debug else [])


def test_a_factory_that_returns_no_protocol_drops_the_connection(impl, loop, reports):
    if not impl.is_cloop:
        pytest.skip("stock's server keeps counting the connection")
    loop.set_debug(True)

    async def main():
        server, address = await start(loop, lambda: None)
        with socket.create_connection(address) as sock:
            sock.setblocking(False)
            assert await loop.sock_recv(sock, 10) == b""
        await stop(server)

    run(loop, main())
    assert [type(report["exception"]) for report in reports] == [AttributeError]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exit_in_the_factory_leaves_the_loop(impl, loop, error):
    once = []

    class Failing(Keeping):
        def __call__(self):
            if not once:
                once.append(1)
                raise error
            return super().__call__()

    factory = Failing()
    server, address = run(loop, start(loop, factory))
    with socket.create_connection(address), socket.create_connection(address):
        with pytest.raises(error), warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            loop.run_until_complete(asyncio.sleep(5))
        run(loop, until(lambda: factory.connected(1)))
        run(loop, stop(server, *factory.made))
    if not impl.is_cloop:
        gc.collect()


def test_a_server_may_be_closed_by_the_factory_and_by_connection_made(loop):
    async def main(closer):
        class Closing(Recorder):
            def __init__(self):
                super().__init__()
                if closer == "factory":
                    loop.call_soon(server.close)

            def connection_made(self, transport):
                super().connection_made(transport)
                if closer == "made":
                    server.close()

        factory = Keeping(Closing)
        server, address = await start(loop, factory)
        socks = [socket.create_connection(address) for _ in range(3)]
        await until(lambda: factory.made and factory.made[0].transport is not None)
        assert not server.is_serving()
        for sock in socks:
            sock.close()
        for protocol in factory.made:
            if protocol.transport is not None:
                protocol.transport.abort()
        await turns()

    for closer in ("factory", "made"):
        run(loop, main(closer))


def test_the_factory_runs_in_a_copy_of_the_context_in_which_serving_began(loop):
    seen = []

    class Watching(Recorder):
        def __init__(self):
            super().__init__()
            seen.append(("factory", VAR.get()))
            VAR.set("factory")

        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(("made", VAR.get()))
            VAR.set("made")

        def data_received(self, data):
            super().data_received(data)
            seen.append(("data", VAR.get()))

    async def main():
        VAR.set("server")
        factory = Keeping(Watching)
        server, address = await start(loop, factory)
        VAR.set("later")
        for count in (1, 2):
            with socket.create_connection(address) as sock:
                sock.sendall(b"x")
                await until(lambda count=count: len(factory.made) == count)
                await until(lambda: factory.made[-1].data)
                factory.made[-1].transport.abort()
                await factory.made[-1].lost
        await stop(server)

    run(loop, main())
    once = [("factory", "server"), ("made", "factory")]
    once += [("data", "made" if PY >= (3, 15) else "factory")]
    assert seen == once * 2


def test_a_server_lives_without_a_reference_by_the_user(loop):
    factory = Keeping()

    async def main():
        server, address = await start(loop, factory)
        del server
        gc.collect()
        with socket.create_connection(address):
            await until(lambda: factory.connected(1))
            server = factory.made[0].transport._server
            assert server.is_serving()
            await stop(server, *factory.made)

    run(loop, main())


class limited:
    """No more than `spare` further descriptors can be opened."""

    def __init__(self, spare):
        self.spare = spare

    def __enter__(self):
        self.old = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as probe:
            first = probe.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (first + self.spare, self.old[1]))

    def __exit__(self, *args):
        resource.setrlimit(resource.RLIMIT_NOFILE, self.old)


def test_out_of_descriptors_it_backs_off_and_comes_back(impl, loop, reports):
    async def main():
        factory = Keeping()
        server, address = await start(loop, factory)
        with socket.create_connection(address) as early:
            await until(lambda: factory.connected(1))
            waiting = [socket.socket() for _ in range(4)]
            with limited(0):
                for sock in waiting:
                    sock.connect(address)
                cpu = time.process_time()
                await asyncio.sleep(1.0)
                assert time.process_time() - cpu < 0.1
                assert len(factory.made) == 1
                early.sendall(b"still served")
                await until(lambda: factory.made[0].data)
            began = time.monotonic()
            await until(lambda: factory.connected(5))
            assert time.monotonic() - began < 1.1
            for sock in waiting:
                sock.close()
        await stop(server, *factory.made)

    run(loop, main())
    assert reports
    if not impl.is_cloop:
        # Stock may try again a moment after the server has closed its socket.
        reports = [r for r in reports if "_start_serving" not in r["message"]]
    for report in reports:
        assert report["message"] == "socket.accept() out of system resource"
        assert isinstance(report["exception"], OSError)
        assert report["socket"].type == socket.SOCK_STREAM
    if impl.is_cloop:
        assert len(reports) <= 2


def test_a_server_that_backs_off_can_be_closed(loop, reports):
    async def main():
        server, address = await start(loop, Recorder)
        with socket.socket() as sock:
            with limited(0):
                sock.connect(address)
                await until(lambda: reports)
                server.close()
            await asyncio.sleep(0.7)
            await server.wait_closed()

    run(loop, main())
    assert len({report["message"] for report in reports}) == 1


def test_debug_mode_logs_new_connections(loop, caplog):
    loop.set_debug(True)

    async def main():
        factory = Keeping()
        server, address = await start(loop, factory)
        with socket.create_connection(address):
            await until(lambda: factory.connected(1))
        await stop(server, *factory.made)

    with caplog.at_level(logging.DEBUG, "asyncio"):
        run(loop, main())
    assert any(" got a new connection from ('127" in text for text in caplog.messages)


def test_a_closed_listening_socket_does_not_spin(loop, reports):
    async def main():
        server, _address = await start(loop, Recorder)
        server.sockets[0]._sock.shutdown(socket.SHUT_RDWR)
        cpu = time.process_time()
        await asyncio.sleep(0.3)
        assert time.process_time() - cpu < 0.1
        await stop(server)

    if type(loop).__module__ != "cloop":
        pytest.skip("stock spins")
    run(loop, main())
    assert len(reports) == 1
