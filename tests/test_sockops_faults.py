"""Failing system calls under the socket operations, in debug builds (CLOOP_DEBUG): each
use of each call fails once with each error. The bytes are exact, or a documented
exception comes; nothing hangs, no descriptor is left open."""

import asyncio
import errno
import gc
import os
import socket

import pytest

_cloop = pytest.importorskip("cloop._cloop")
import cloop  # noqa: E402

pytestmark = pytest.mark.skipif(
    not hasattr(_cloop, "_fault_set"), reason="needs a build with CLOOP_DEBUG=1"
)

PAYLOAD = bytes(range(256)) * 40
TRANSIENT = (errno.EINTR, errno.EAGAIN)
# What may come out of the operations for an error that is no EINTR and no EAGAIN.
ERRORS = (OSError, MemoryError, asyncio.SendfileNotAvailableError)


@pytest.fixture(autouse=True)
def no_faults():
    _cloop._fault_clear()
    yield
    _cloop._fault_clear()


def tune(sock):
    sock.setblocking(False)
    return sock


async def receive(loop, sock, size, chunk=1000):
    data = b""
    while len(data) < size:
        part = await loop.sock_recv(sock, chunk)
        if not part:
            break
        data += part
    return data


async def program(loop, made, path):
    """Every operation, each at once and after waiting. Returns what was received."""
    got = []
    listener = socket.socket()
    made.append(listener)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    tune(listener)
    client = tune(socket.socket())
    made.append(client)
    accepting = loop.create_task(loop.sock_accept(listener))
    try:
        await asyncio.sleep(0)
        await loop.sock_connect(client, listener.getsockname())
        conn, _ = await accepting
    finally:
        if not accepting.done():
            accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
    made.append(conn)
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    receiving = loop.create_task(receive(loop, client, len(PAYLOAD)))
    try:
        await asyncio.sleep(0)
        await loop.sock_sendall(conn, PAYLOAD)
        got.append(await receiving)
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)

    buffer = bytearray(10)
    receiving = loop.create_task(loop.sock_recv_into(conn, buffer))
    try:
        await asyncio.sleep(0.001)
        await loop.sock_sendall(client, b"0123456789")
        count = await receiving
        while count < 10:
            count += await loop.sock_recv_into(conn, memoryview(buffer)[count:])
        got.append(bytes(buffer))
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)

    receiving = loop.create_task(receive(loop, client, 5000, 100_000))
    try:
        with open(path, "rb") as file:
            got.append(await loop.sock_sendfile(conn, file))
        got.append(await receiving)
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)

    one, two = (tune(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2))
    made.extend((one, two))
    one.bind(("127.0.0.1", 0))
    two.bind(("127.0.0.1", 0))
    receiving = loop.create_task(loop.sock_recvfrom(one, 100))
    try:
        await asyncio.sleep(0.001)
        await loop.sock_sendto(two, b"first", one.getsockname())
        got.append((await receiving)[0])
        await loop.sock_sendto(two, b"second", one.getsockname())
        await loop.sock_sendto(two, b"third", one.getsockname())
        for _ in range(2):
            count, _ = await loop.sock_recvfrom_into(one, buffer)
            got.append(bytes(buffer[:count]))
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
    return got


EXPECTED = [
    PAYLOAD,
    b"0123456789",
    5000,
    PAYLOAD[:5000],
    b"first",
    b"second",
    b"third",
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(PAYLOAD[:5000])
    return path


def run_program(path, fault=None):
    """The result, or the exception. Descriptors are accounted for."""
    before = len(os.listdir("/proc/self/fd"))
    made = []
    loop = cloop.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    try:
        if fault is not None:
            _cloop._fault_set(*fault)
        try:
            main = asyncio.wait_for(program(loop, made, path), 5)
            return loop.run_until_complete(main)
        except asyncio.TimeoutError:
            raise
        except ERRORS as exc:
            return exc.with_traceback(None)
    finally:
        _cloop._fault_clear()
        for sock in made:
            sock.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.001))
        try:
            loop.run_until_complete(loop.shutdown_default_executor())
        except AttributeError:  # 3.8
            pass
        loop.close()
        del loop, made
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before


def uses(path):
    _cloop._fault_clear()
    loop = cloop.new_event_loop()
    made = []
    try:
        assert loop.run_until_complete(program(loop, made, path)) == EXPECTED
        return {name: count for name, (count, _) in _cloop._fault_counts().items()}
    finally:
        for sock in made:
            sock.close()
        loop.close()


CALLS = {
    "recv": (errno.EINTR, errno.EAGAIN, errno.ECONNRESET, errno.ENOMEM),
    "recvfrom": (errno.EINTR, errno.EAGAIN, errno.ECONNREFUSED, errno.ENOMEM),
    "send": (errno.EINTR, errno.EAGAIN, errno.EPIPE, errno.ENOBUFS),
    "sendto": (errno.EINTR, errno.EAGAIN, errno.ENOBUFS, errno.EPERM),
    "sendfile": (errno.EINTR, errno.EAGAIN, errno.EINVAL, errno.ENOTCONN),
    "accept4": (errno.EINTR, errno.EAGAIN, errno.EMFILE, errno.ECONNABORTED),
    "connect": (errno.EAGAIN, errno.ECONNREFUSED, errno.ENETUNREACH),
    "getsockopt": (errno.EINTR, errno.ENOMEM),
    "epoll_ctl": (errno.EINTR, errno.ENOMEM, errno.ENOSPC),
    "epoll_wait": (errno.EINTR,),
    "epoll_create1": (errno.EMFILE,),
}


def test_the_program_uses_the_calls(path):
    counts = uses(path)
    for name in CALLS:
        if name not in ("getsockopt",):
            assert counts[name] > 0, name


@pytest.mark.parametrize("name", CALLS)
def test_nth_use_fails(path, name):
    total = uses(path)[name]
    for error in CALLS[name]:
        # The first uses are where the operations begin; then some of the rest.
        for nth in [n for n in range(1, total + 2) if n <= 12 or n % 7 == 0]:
            result = run_program(path, (name, nth, error))
            what = f"{name} #{nth} {errno.errorcode[error]}"
            if error in TRANSIENT and name != "connect":
                assert result == EXPECTED, what
            elif isinstance(result, Exception):
                if isinstance(result, OSError):
                    assert result.errno is not None, what
            elif name != "sendfile":  # the fallback may have done it
                assert result == EXPECTED, what


def test_byte_by_byte(path):
    _cloop._fault_one_byte(True)
    loop = cloop.new_event_loop()
    made = []
    try:
        assert loop.run_until_complete(program(loop, made, path)) == EXPECTED
    finally:
        _cloop._fault_clear()
        for sock in made:
            sock.close()
        loop.close()
