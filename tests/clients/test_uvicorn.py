"""uvicorn with a Starlette application, as a process of its own."""

import signal
import socket

import pytest
import real

real.need("uvicorn")
real.need("starlette")
real.need("httptools")
real.need("wsproto")
real.need("websockets")
from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

LOOPS = {"cloop": "cloop:new_event_loop", "stock": "asyncio"}


@pytest.fixture
def uvicorn(impl, program):
    """Starts uvicorn with these options; the port is told by uvicorn itself."""

    def start(*options):
        command = [real.sys.executable, "-m", "uvicorn", "starlette_app:app"]
        command += ["--loop", LOOPS[impl.name], "--port", "0", *options]
        server = program(command)
        found = server.wait_for_output(r"running on https?://127.0.0.1:(\d+)")
        server.port = int(found.group(1))
        return server

    return start


@pytest.fixture(params=["h11", "httptools"])
def server(request, uvicorn):
    return uvicorn("--http", request.param, "--no-access-log")


def test_the_loop(server, expected_loop):
    assert real.http_json(server.port, "/loop")["loop"] == expected_loop
    assert real.http_json(server.port, "/seen") == ["startup " + expected_loop]
    assert server.stop() in (0, -signal.SIGTERM)
    assert "shutdown on " + expected_loop in server.output()
    assert "Finished server process" in server.output()


def test_http(server, expected_loop):
    port = server.port
    assert real.http_json(port, "/loop")["loop"] == expected_loop
    assert real.http_request(port) == (200, b"Hello, world!")
    for size in (0, 1, 65536, 3_000_000):
        body = (b"0123456789" * (size // 10 + 1))[:size]
        assert real.http_request(port, "POST", "/echo", body) == (200, body)
    status, body = real.http_request(port, path="/stream?count=3000")
    assert status == 200
    assert body == b"".join(b"%08d" % n * 128 for n in range(3000))
    status, body = real.http_request(port, path="/file")
    assert body == (real.APPS / "starlette_app.py").read_bytes()
    assert real.http_request(port, path="/thread") == (200, b"from a thread")
    assert real.http_request(port, path="/later") == (200, b"will do")
    server.wait_until(lambda: "worked" in real.http_json(port, "/seen"))


def test_client_that_leaves(server, expected_loop):
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(b"GET /endless HTTP/1.1\r\nHost: here\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    server.wait_until(lambda: "endless ended" in real.http_json(server.port, "/seen"))
    assert real.http_json(server.port, "/loop")["loop"] == expected_loop


def test_pipelined_and_byte_by_byte(server, expected_loop):
    request = b"GET /loop HTTP/1.1\r\nHost: here\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        for number in range(len(request)):
            sock.send(request[number : number + 1])
        sock.sendall(request * 19)
        got = b""
        while got.count(b"HTTP/1.1 200 OK") < 20 or not got.endswith(b"}"):
            chunk = sock.recv(65536)
            assert chunk, got
            got += chunk
    assert got.count(expected_loop.encode()) == 20


@pytest.mark.parametrize("library", ["websockets", "websockets-sansio", "wsproto"])
def test_websocket(uvicorn, expected_loop, library):
    server = uvicorn("--ws", library)
    url = f"ws://127.0.0.1:{server.port}/ws"
    with connect(url, subprotocols=["echo"]) as ws:
        assert ws.subprotocol == "echo"
        assert ws.recv(timeout=10) == expected_loop
        for size in (0, 1, 125, 126, 65536, 500_000):
            ws.send("ab" * size)
            assert ws.recv(timeout=10) == "ba" * size
        for number in range(100):
            ws.send(str(number))
        for number in range(100):
            assert ws.recv(timeout=10) == str(number)[::-1]
        assert ws.ping().wait(10)
        ws.send("close")
        with pytest.raises(ConnectionClosed) as caught:
            ws.recv(timeout=10)
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "as asked")
    with connect(url) as ws:
        ws.recv(timeout=10)
    server.wait_until(lambda: "websocket left" in real.http_json(server.port, "/seen"))


def test_under_load(server, expected_loop):
    assert real.http_load(f"http://127.0.0.1:{server.port}/", connections=64) > 100
    assert real.http_json(server.port, "/loop")["loop"] == expected_loop
    assert server.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in server.output()


def test_workers(impl, program, expected_loop):
    """Two processes that share a listening socket, each with a loop of its own."""
    port = real.free_port()
    command = [real.sys.executable, "-m", "uvicorn", "starlette_app:app"]
    command += ["--loop", LOOPS[impl.name], "--port", str(port), "--workers", "2"]
    server = program(command)
    server.wait_for_port(port)

    def pids():
        found = {}
        for _ in range(20):
            answer = real.http_json(port, "/loop")
            found[answer["pid"]] = answer["loop"]
        return found if len(found) == 2 else None

    assert set(server.wait_until(pids).values()) == {expected_loop}
    server.stop()
    assert server.output().count("shutdown on " + expected_loop) == 2


def test_unix_socket(impl, program, expected_loop, tmp_path):
    path = str(tmp_path / "socket")
    command = [real.sys.executable, "-m", "uvicorn", "starlette_app:app"]
    command += ["--loop", LOOPS[impl.name], "--uds", path]
    server = program(command)
    server.wait_for_output("running on unix socket")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(path)
        sock.sendall(b"GET /loop HTTP/1.0\r\n\r\n")
        got = b"".join(iter(lambda: sock.recv(65536), b""))
    assert expected_loop.encode() in got


@pytest.fixture(params=["h11", "httptools"])
def https_server(request, uvicorn, certificates):
    return uvicorn(
        *("--http", request.param, "--no-access-log"),
        *("--ssl-certfile", certificates.chain, "--ssl-keyfile", certificates.key),
    )


def test_https(https_server, expected_loop, expected_tls, certificates):
    port, tls = https_server.port, certificates.client()
    assert real.http_json(port, "/loop", tls)["loop"] == expected_loop
    assert real.http_json(port, "/tls", tls) == expected_tls
    for size in (0, 1, 65536, 3_000_000):
        body = (b"0123456789" * (size // 10 + 1))[:size]
        assert real.http_request(port, "POST", "/echo", body, tls=tls) == (200, body)
    _, body = real.http_request(port, path="/stream?count=3000", tls=tls)
    assert body == b"".join(b"%08d" % n * 128 for n in range(3000))
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        with tls.wrap_socket(plain, server_hostname="localhost") as sock:
            sock.sendall(b"GET /endless HTTP/1.1\r\nHost: here\r\n\r\n")
            assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    https_server.wait_until(
        lambda: "endless ended" in real.http_json(port, "/seen", tls)
    )
    assert real.http_load(f"https://127.0.0.1:{port}/", connections=10) > 20
    assert https_server.stop() in (0, -signal.SIGTERM)
    assert "shutdown on " + expected_loop in https_server.output()
    assert "Traceback" not in https_server.output()


@pytest.mark.parametrize("library", ["websockets", "websockets-sansio", "wsproto"])
def test_websocket_over_tls(uvicorn, expected_loop, certificates, library):
    server = uvicorn(
        *("--ws", library),
        *("--ssl-certfile", certificates.chain, "--ssl-keyfile", certificates.key),
    )
    url = f"wss://localhost:{server.port}/ws"
    with connect(url, ssl=certificates.client()) as ws:
        assert ws.recv(timeout=10) == expected_loop
        for size in (0, 1, 16384, 500_000):
            ws.send("ab" * size)
            assert ws.recv(timeout=10) == "ba" * size
