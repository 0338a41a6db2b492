"""getaddrinfo and getnameinfo: socket's answers; no thread for literals."""

import asyncio
import socket
import threading

import pytest
from support import cloop_only, outcome

HOSTS = [
    "127.0.0.1",
    "::1",
    "localhost",
    b"127.0.0.1",
    b"localhost",
    None,
    "",
    "0.0.0.0",
    "::",
    "255.255.255.255",
    "fe80::1%lo",
    "fe80::1%1",
    "::ffff:127.0.0.1",
    "127.1",
    "0x7f000001",
    "2130706433",
    "1.2.3.4",
    "2001:db8::1",
    "[::1]",
    "127.0.0.1 ",
    "256.1.1.1",
    "fe80::1%no-such-interface",
    "<broadcast>",
    bytearray(b"127.0.0.1"),
    5,
    1.5,
    "a" * 265,
    "x\0y",
    "\udcff",
]

PORTS = [80, 0, 65535, "80", b"80", "http", b"http", None, "", "no-such-service", 65536]

KEYWORDS = [
    {},
    {"type": socket.SOCK_STREAM},
    {"type": socket.SOCK_DGRAM},
    {"type": socket.SOCK_RAW},
    {"family": socket.AF_INET},
    {"family": socket.AF_INET6},
    {"proto": socket.IPPROTO_TCP},
    {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_UDP},
    {"flags": socket.AI_PASSIVE, "type": socket.SOCK_STREAM},
    {"flags": socket.AI_NUMERICHOST, "type": socket.SOCK_STREAM},
    {"flags": socket.AI_CANONNAME, "type": socket.SOCK_STREAM},
    {"family": 12345},
    {"flags": -1},
    {"type": socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)},
]


def compare(loop, host, port, **keywords):
    def ours():
        return repr(loop.run_until_complete(loop.getaddrinfo(host, port, **keywords)))

    def theirs():
        return repr(socket.getaddrinfo(host, port, **keywords))

    assert outcome(ours) == outcome(theirs), (host, port, keywords)


def end_executor(loop):
    if loop._default_executor is not None:
        loop._default_executor.shutdown(wait=True)


@pytest.mark.parametrize("host", HOSTS, ids=repr)
def test_hosts(loop, host):
    compare(loop, host, 80)
    compare(loop, host, 80, type=socket.SOCK_STREAM)
    compare(loop, host, None, type=socket.SOCK_STREAM)
    end_executor(loop)


@pytest.mark.parametrize("port", PORTS, ids=repr)
def test_ports(loop, port):
    for host in "127.0.0.1", "::1", None, b"127.0.0.1", "localhost":
        compare(loop, host, port)
        compare(loop, host, port, type=socket.SOCK_STREAM)
    end_executor(loop)


@pytest.mark.parametrize("keywords", KEYWORDS, ids=repr)
def test_keywords(loop, keywords):
    for host in "127.0.0.1", "::1", None, "localhost":
        compare(loop, host, 80, **keywords)
        compare(loop, host, "http", **keywords)
    end_executor(loop)


def test_numbers_of_other_types(loop):
    for port in 1.5, 2**40, -1, [], object, True:
        compare(loop, "127.0.0.1", port, type=socket.SOCK_STREAM)
    end_executor(loop)


def test_literals_need_no_thread(impl, loop):
    cloop_only(impl, "stock always asks a thread")
    for host, port in [
        ("127.0.0.1", 80),
        ("::1", 443),
        (b"127.0.0.1", 80),
        ("fe80::1%lo", 80),
        ("1.2.3.4", "80"),
    ]:
        before = threading.active_count()
        compare(loop, host, port, type=socket.SOCK_STREAM)
        assert threading.active_count() == before
    assert loop._default_executor is None


def test_names_do_not_block_the_loop(loop, monkeypatch):
    gate = threading.Event()
    original = socket.getaddrinfo

    def slow(*args, **kwargs):
        gate.wait(10)
        return original("127.0.0.1", 80)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    ticks = []

    async def main():
        task = asyncio.ensure_future(loop.getaddrinfo("some.name.invalid", 80))
        for _ in range(5):
            await asyncio.sleep(0.001)
            ticks.append(1)
        gate.set()
        return await task

    assert loop.run_until_complete(main())
    assert len(ticks) == 5
    end_executor(loop)


def test_close_with_a_query_in_flight(impl, monkeypatch):
    loop = impl.new_event_loop()
    gate = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: gate.wait(10) and [])

    async def main():
        task = asyncio.ensure_future(loop.getaddrinfo("some.name.invalid", 80))
        await asyncio.sleep(0.005)
        task.cancel()

    loop.run_until_complete(main())
    executor = loop._default_executor
    loop.close()
    gate.set()
    executor.shutdown(wait=True)


def test_cancel(loop, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: gate.wait(10) and [])

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.getaddrinfo("some.name.invalid", 80), 0.01)
        gate.set()

    loop.run_until_complete(main())
    end_executor(loop)


@pytest.mark.parametrize(
    "address, flags",
    [
        (("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        (("127.0.0.1", 80), socket.NI_NUMERICHOST),
        (("::1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        (("::1", 80, 0, 0), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        (("fe80::1", 80, 0, 1), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        (("127.0.0.1", 80), 0),
        (("127.0.0.1",), 0),
        (("not an address", 80), 0),
        (("127.0.0.1", "80"), 0),
        ("127.0.0.1", 0),
        (None, 0),
        (["127.0.0.1", 80], 0),
        (("127.0.0.1", 80), socket.NI_DGRAM | socket.NI_NUMERICHOST),
    ],
    ids=repr,
)
def test_getnameinfo(loop, address, flags):
    def ours():
        return repr(loop.run_until_complete(loop.getnameinfo(address, flags)))

    assert outcome(ours) == outcome(lambda: repr(socket.getnameinfo(address, flags)))
    end_executor(loop)


def test_getnameinfo_default_flags(loop):
    assert loop.run_until_complete(
        loop.getnameinfo(("127.0.0.1", 80))
    ) == socket.getnameinfo(("127.0.0.1", 80), 0)
    end_executor(loop)


def test_in_debug_mode(loop, caplog):
    import logging

    caplog.set_level(logging.DEBUG, "asyncio")
    loop.set_debug(True)
    compare(loop, "localhost", 80, type=socket.SOCK_STREAM)
    text = caplog.text
    assert "Get address info localhost:80, type=<SocketKind.SOCK_STREAM: 1>" in text
    assert "Getting address info localhost:80, type=<SocketKind.SOCK_STREAM" in text
    end_executor(loop)


def test_many_at_once(loop):
    async def main():
        return await asyncio.gather(
            *[
                loop.getaddrinfo("127.0.0.1", n, type=socket.SOCK_STREAM)
                for n in range(1, 200)
            ],
            *[loop.getaddrinfo("localhost", n) for n in range(1, 30)],
        )

    results = loop.run_until_complete(main())
    assert [r[0][4][1] for r in results] == [*range(1, 200), *range(1, 30)]
    end_executor(loop)
