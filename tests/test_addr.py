"""Socket addresses between Python and the kernel (src/py/addr.c), seen through the
operations that take or tell one, with Python's own socket as the judge."""

import asyncio
import os
import random
import socket
import sys

import pytest

HAVE_IPV6 = socket.has_ipv6
try:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as _probe:
        _probe.bind(("::1", 0))
except OSError:
    HAVE_IPV6 = False

needs_ipv6 = pytest.mark.skipif(not HAVE_IPV6, reason="no IPv6 here")


@pytest.fixture(autouse=True)
def datagram_methods(impl):
    if not impl.is_cloop and sys.version_info < (3, 11):
        pytest.skip("stock has sock_recvfrom and sock_sendto from 3.11 on")


@pytest.fixture
def make(request):
    made = []

    def make(family, address=None, kind=socket.SOCK_DGRAM):
        sock = socket.socket(family, kind)
        made.append(sock)
        sock.setblocking(False)
        if address is not None:
            sock.bind(address)
        return sock

    yield make
    for sock in made:
        sock.close()


def exchange(loop, receiver, sender, address):
    """Sends to address; what the receiver hears and from whom."""

    async def main():
        hearing = loop.create_task(loop.sock_recvfrom(receiver, 100))
        await asyncio.sleep(0)
        await loop.sock_sendto(sender, b"x", address)
        data, source = await asyncio.wait_for(hearing, 5)
        assert data == b"x"
        return source

    return loop.run_until_complete(main())


def test_inet(loop, make):
    receiver = make(socket.AF_INET, ("127.0.0.1", 0))
    for host in ["127.0.0.1", "127.0.0.2", "127.255.255.254", "127.10.100.200"]:
        sender = make(socket.AF_INET, (host, 0))
        source = exchange(loop, receiver, sender, receiver.getsockname())
        assert source == sender.getsockname()
        assert source[0] == host
        assert [type(part) for part in source] == [str, int]


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "<broadcast>"])
def test_inet_names_are_left_to_python(loop, make, host):
    receiver = make(socket.AF_INET, ("127.0.0.1", 0))
    sender = make(socket.AF_INET, ("127.0.0.1", 0))
    port = receiver.getsockname()[1]
    if host == "<broadcast>":
        with pytest.raises(OSError):  # not allowed without SO_BROADCAST
            loop.run_until_complete(loop.sock_sendto(sender, b"x", (host, port)))
    else:
        assert exchange(loop, receiver, sender, (host, port)) == sender.getsockname()


WRONG = [
    None,
    5,
    "127.0.0.1",
    (),
    ("127.0.0.1",),
    ("127.0.0.1", "9"),
    ("127.0.0.1", 9.0),
    ("127.0.0.1", None),
    ("127.0.0.1", -1),
    ("127.0.0.1", 65536),
    ("127.0.0.1", 2**64),
    ("127.0.0.1", 9, 0),
    (None, 9),
    (5, 9),
    ("127.0.0.1\0", 9),
    ("127.0.0.1\0.example", 9),
    ("\u0661.1.1.1", 9),
    ["127.0.0.1", 9],
]


@pytest.mark.parametrize("address", WRONG, ids=repr)
def test_inet_wrong_addresses_fail_as_in_python(loop, make, address):
    sock = make(socket.AF_INET)
    with pytest.raises(Exception) as theirs:
        sock.sendto(b"x", address)
    with pytest.raises(type(theirs.value)) as ours:
        loop.run_until_complete(loop.sock_sendto(sock, b"x", address))
    assert str(ours.value) == str(theirs.value)


@needs_ipv6
def test_inet6(loop, make):
    receiver = make(socket.AF_INET6, ("::1", 0))
    sender = make(socket.AF_INET6, ("::1", 0))
    port = receiver.getsockname()[1]
    for address in [("::1", port), ("::1", port, 0), ("::1", port, 0, 0)]:
        source = exchange(loop, receiver, sender, address)
        assert source == sender.getsockname()
        assert len(source) == 4
    assert exchange(loop, receiver, sender, ("::1", port, 0xFFFFF)) is not None


@needs_ipv6
@pytest.mark.parametrize(
    "address",
    [
        ("::1", 9, -1),
        ("::1", 9, 0x100000),
        ("::1", 9, 0, 0, 0),
        ("::g", 9),
        ("::1", 70000),
        ("::1%nonsense0", 9),
        ("::1", 9, "x"),
    ],
    ids=repr,
)
def test_inet6_wrong_addresses_fail_as_in_python(loop, make, address):
    sock = make(socket.AF_INET6)
    with pytest.raises(Exception) as theirs:
        sock.sendto(b"x", address)
    with pytest.raises(type(theirs.value)) as ours:
        loop.run_until_complete(loop.sock_sendto(sock, b"x", address))
    assert str(ours.value) == str(theirs.value)


@needs_ipv6
def test_inet6_scope_ids_survive(loop, make):
    """A link-local address is heard with the number of its interface."""
    found = None
    try:
        with open("/proc/net/if_inet6") as table:
            for line in table:
                digits, index, _, scope, _, _ = line.split()
                if scope == "20":
                    parts = [digits[i : i + 4] for i in range(0, 32, 4)]
                    found = ":".join(parts), int(index, 16)
    except OSError:
        pass
    if found is None:
        pytest.skip("no link-local address here")
    host, index = found
    try:
        receiver = make(socket.AF_INET6, (host, 0, 0, index))
        sender = make(socket.AF_INET6, (host, 0, 0, index))
    except OSError:
        pytest.skip("link-local addresses cannot be used here")
    source = exchange(loop, receiver, sender, receiver.getsockname())
    assert source == sender.getsockname()
    assert source[3] == index


@needs_ipv6
def test_inet6_random_literals(loop, make):
    """What connect() on a datagram socket stores is what getpeername() tells."""
    rng = random.Random(6)
    for _ in range(50):
        packed = bytes(rng.randrange(256) for _ in range(16))
        host = socket.inet_ntop(socket.AF_INET6, b"\x20\x01" + packed[2:])
        port = rng.randrange(1, 65536)
        ours, theirs = make(socket.AF_INET6), make(socket.AF_INET6)
        try:
            theirs.connect((host, port))
        except OSError as exc:
            with pytest.raises(type(exc)):
                loop.run_until_complete(loop.sock_connect(ours, (host, port)))
        else:
            loop.run_until_complete(loop.sock_connect(ours, (host, port)))
            assert ours.getpeername() == theirs.getpeername()
        ours.close()
        theirs.close()


def test_inet_random_literals(loop, make):
    rng = random.Random(4)
    for _ in range(50):
        host = ".".join(str(rng.choice([0, 1, 9, 10, 99, 100, 255])) for _ in range(3))
        host = f"127.{host}"
        port = rng.randrange(1, 65536)
        ours, theirs = make(socket.AF_INET), make(socket.AF_INET)
        try:
            theirs.connect((host, port))
        except OSError as exc:
            with pytest.raises(type(exc)):
                loop.run_until_complete(loop.sock_connect(ours, (host, port)))
        else:
            loop.run_until_complete(loop.sock_connect(ours, (host, port)))
            assert ours.getpeername() == theirs.getpeername() == (host, port)
        ours.close()
        theirs.close()


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("name", ["plain", "n\u00e4me", "un\udcffdecodable"])
def test_unix_paths(loop, make, tmp_path, name, as_bytes):
    there, here = str(tmp_path / name), str(tmp_path / (name + "2"))
    try:
        receiver = make(socket.AF_UNIX, there)
        sender = make(socket.AF_UNIX, here)
    except (OSError, UnicodeError):
        pytest.skip("the file system does not take the name")
    address = os.fsencode(there) if as_bytes else there
    assert exchange(loop, receiver, sender, address) == here == sender.getsockname()


def test_unix_unnamed(loop, make, tmp_path):
    receiver = make(socket.AF_UNIX, str(tmp_path / "s"))
    sender = make(socket.AF_UNIX)
    assert exchange(loop, receiver, sender, str(tmp_path / "s")) is None


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
@pytest.mark.parametrize("suffix", [b"", b"\0", b"\0\xff x", b"x" * 80])
def test_unix_abstract_names(loop, make, suffix):
    name = b"\0cloop-test-%d" % os.getpid() + suffix
    receiver = make(socket.AF_UNIX, name + b"-1")
    sender = make(socket.AF_UNIX, name + b"-2")
    source = exchange(loop, receiver, sender, name + b"-1")
    assert source == name + b"-2"
    assert type(source) is bytes


@pytest.mark.skipif(sys.platform != "linux", reason="autobind is Linux's")
def test_unix_autobind(loop, make):
    receiver = make(socket.AF_UNIX, "")
    sender = make(socket.AF_UNIX, b"")
    source = exchange(loop, receiver, sender, receiver.getsockname())
    assert source == sender.getsockname()


@pytest.mark.parametrize(
    "address",
    ["x" * 108, "\0" + "x" * 108, b"y" * 200, 5, None, ("a", 1)],
    ids=lambda address: repr(address)[:12],
)
def test_unix_wrong_addresses_fail_as_in_python(loop, make, address):
    sock = make(socket.AF_UNIX)
    with pytest.raises(Exception) as theirs:
        sock.sendto(b"x", address)
    with pytest.raises(type(theirs.value)) as ours:
        loop.run_until_complete(loop.sock_sendto(sock, b"x", address))
    assert str(ours.value) == str(theirs.value)


def test_unix_longest_path(loop, make, tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        there = f"/proc/self/fd/{folder}/"
        there += "p" * (107 - len(there))
        receiver = make(socket.AF_UNIX, there)
        sender = make(socket.AF_UNIX, there[:-1])
        assert exchange(loop, receiver, sender, there) == there[:-1]
    finally:
        os.close(folder)


def test_a_stream_tells_no_address(loop):
    a, b = socket.socketpair()
    for sock in (a, b):
        sock.setblocking(False)
    b.send(b"x")
    theirs = a.recvfrom(10)
    b.send(b"x")
    assert loop.run_until_complete(loop.sock_recvfrom(a, 10)) == theirs
    a.close()
    b.close()


def test_accepted_addresses(loop, make, tmp_path):
    cases = [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, str(tmp_path / "l"))]
    if HAVE_IPV6:
        cases.append((socket.AF_INET6, ("::1", 0)))
    for family, address in cases:
        listener = make(family, address, socket.SOCK_STREAM)
        listener.listen()
        client = make(family, None, socket.SOCK_STREAM)

        async def main(listener=listener, client=client):
            await loop.sock_connect(client, listener.getsockname())
            conn, source = await loop.sock_accept(listener)
            assert source == client.getsockname() == conn.getpeername()
            conn.close()

        loop.run_until_complete(main())


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="no netlink")
def test_other_families_go_through_python(impl, loop, make):
    try:
        sock = make(socket.AF_NETLINK, (0, 0), socket.SOCK_RAW)
    except OSError:
        pytest.skip("no netlink here")

    async def main():
        # An RTM_GETLINK dump request for all interfaces: the kernel answers.
        request = (32).to_bytes(4, sys.byteorder)
        request += (18).to_bytes(2, sys.byteorder) + (0x301).to_bytes(2, sys.byteorder)
        request += bytes(24)
        assert await loop.sock_sendto(sock, request, (0, 0)) == 32
        data, source = await loop.sock_recvfrom(sock, 65536)
        assert data and source == (0, 0)

    loop.run_until_complete(asyncio.wait_for(main(), 5))
