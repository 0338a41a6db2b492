"""anyio on its asyncio backend, with the loop given as `loop_factory`."""

import asyncio
import math
import os
import signal
import socket
import sys

import pytest
import real

anyio = real.need("anyio")
from anyio.abc import SocketAttribute  # noqa: E402


@pytest.fixture
def run(impl, no_fd_leak):
    def run(function):
        async def main():
            real.check_loop(impl)
            with anyio.fail_after(30):
                await function()

        options = {"loop_factory": impl.new_event_loop}
        anyio.run(main, backend="asyncio", backend_options=options)

    return run


def test_tcp(run):
    async def main():
        async def echo(stream):
            async with stream:
                async for chunk in stream:
                    await stream.send(chunk)

        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            data = os.urandom(2_000_000)
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                assert stream.extra(SocketAttribute.remote_port) == port

                async def send():
                    await stream.send(data)
                    await stream.send_eof()

                group.start_soon(send)
                got = b"".join([chunk async for chunk in stream])
            assert got == data
            group.cancel_scope.cancel()

    run(main)


def test_connect_tries_all_addresses(run):
    """localhost has an address that nobody listens on: the other one is reached."""

    async def main():
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(SocketAttribute.local_port)
        async with listener, await anyio.connect_tcp("localhost", port) as stream:
            assert stream.extra(SocketAttribute.remote_address)[0] == "127.0.0.1"
        with pytest.raises(OSError):
            await anyio.connect_tcp("127.0.0.1", real.free_port())

    run(main)


def test_unix(run, tmp_path):
    async def main():
        path = str(tmp_path / "socket")
        listener = await anyio.create_unix_listener(path)

        async def serve(stream):
            async with stream:
                message, fds = await stream.receive_fds(100, 1)
                for fd in fds:
                    with os.fdopen(fd, "rb", closefd=True) as file:
                        await stream.send(message + file.read(5))

        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, serve)
            async with await anyio.connect_unix(path) as stream:
                with open(sys.executable, "rb") as file:
                    await stream.send_fds(b"has ", [file])
                    assert await stream.receive() == b"has \x7fELF\x02"
            group.cancel_scope.cancel()

    run(main)


def test_udp(run):
    async def main():
        async with await anyio.create_udp_socket(local_host="127.0.0.1") as one:
            port = one.extra(SocketAttribute.local_port)
            async with await anyio.create_connected_udp_socket(
                "127.0.0.1", port
            ) as two:
                for number in range(50):
                    await two.send(b"%d" % number)
                    packet, (host, sender) = await one.receive()
                    assert packet == b"%d" % number
                    await one.sendto(packet * 2, host, sender)
                    assert await two.receive() == packet * 2

    run(main)


def test_unix_datagrams(run, tmp_path):
    async def main():
        paths = str(tmp_path / "one"), str(tmp_path / "two")
        async with await anyio.create_unix_datagram_socket(local_path=paths[0]) as one:
            async with await anyio.create_connected_unix_datagram_socket(
                paths[0], local_path=paths[1]
            ) as two:
                await two.send(b"ping")
                assert await one.receive() == (b"ping", paths[1])
                await one.sendto(b"pong", paths[1])
                assert await two.receive() == b"pong"

    run(main)


def test_processes(run):
    async def main():
        result = await anyio.run_process(
            [sys.executable, "-c", "print(input()[::-1])"], input=b"hello\n"
        )
        assert result.stdout == b"olleh\n"
        assert (await anyio.run_process("exit 3", check=False)).returncode == 3
        async with await anyio.open_process(["cat"]) as process:
            for number in range(20):
                await process.stdin.send(b"%d\n" % number)
                assert await process.stdout.receive() == b"%d\n" % number
            await process.stdin.aclose()
            assert await process.wait() == 0
        async with await anyio.open_process(["sleep", "60"]) as process:
            process.terminate()
            assert await process.wait() == -signal.SIGTERM
        with anyio.move_on_after(0.1) as scope:
            await anyio.run_process(["sleep", "60"])
        assert scope.cancelled_caught

    run(main)


def test_threads(run):
    async def main():
        loop = asyncio.get_running_loop()

        def work(number):
            assert anyio.from_thread.run(anyio.sleep, 0) is None
            assert anyio.from_thread.run_sync(asyncio.get_running_loop) is loop
            return number * number

        results = {}

        async def one(number):
            results[number] = await anyio.to_thread.run_sync(work, number)

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(one, number)
        assert results == {number: number * number for number in range(100)}

    run(main)


def test_portal(impl, no_fd_leak):
    options = {"loop_factory": impl.new_event_loop}

    async def which():
        return real.loop_name()

    with anyio.from_thread.start_blocking_portal("asyncio", options) as portal:
        assert portal.call(which) == real.LOOP_NAMES[impl.name]
        futures = [portal.start_task_soon(anyio.sleep, 0.01) for _ in range(50)]
        assert [future.result(5) for future in futures] == [None] * 50


def test_scopes(run):
    async def main():
        with anyio.move_on_after(0.05) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.01):
                await anyio.sleep(10)
        ends = []

        async def child(number):
            try:
                await anyio.sleep(math.inf)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.01)
                    ends.append(number)

        with pytest.raises(BaseExceptionGroup) as caught:  # noqa: F821
            async with anyio.create_task_group() as group:
                for number in range(10):
                    group.start_soon(child, number)
                await anyio.sleep(0.01)
                raise RuntimeError("as the test wants")
        assert len(caught.value.exceptions) == 1
        assert sorted(ends) == list(range(10))

    run(main)


def test_signals(run):
    async def main():
        with anyio.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as signals:
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1):
                os.kill(os.getpid(), number)
                assert await signals.__anext__() == number

    run(main)


def test_readiness(run):
    async def main():
        left, right = socket.socketpair()
        with left, right:
            await anyio.wait_writable(left)
            with anyio.move_on_after(0.02) as scope:
                await anyio.wait_readable(left)
            assert scope.cancelled_caught
            right.send(b"x")
            await anyio.wait_readable(left)
            assert left.recv(10) == b"x"

    run(main)


def test_primitives(run):
    async def main():
        send, receive = anyio.create_memory_object_stream(10)
        seen = []

        async def consume(receive):
            async with receive:
                async for item in receive:
                    seen.append(item)
                    await anyio.sleep(0)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(consume, receive.clone())
            receive.close()
            async with send:
                for number in range(200):
                    await send.send(number)
        assert sorted(seen) == list(range(200))
        limiter = anyio.CapacityLimiter(3)
        most = 0

        async def limited():
            nonlocal most
            async with limiter:
                most = max(most, limiter.borrowed_tokens)
                await anyio.sleep(0.001)

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(limited)
        assert most == 3

    run(main)
