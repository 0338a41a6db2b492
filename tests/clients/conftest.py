"""Fixtures for the tests against real libraries and servers: see real.py.

Every test runs on cloop and on stock asyncio through `impl`, and says on which loop the
library really ran.
"""

import asyncio
import os
import shutil
import socket
import tempfile

import pytest
import real


def cannot_serve():
    """Why cloop can't run these tests yet, or None. Asked once, by doing it: as soon as
    create_server is there, nothing is skipped any more."""
    import cloop

    async def serve():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        server.close()

    try:
        cloop.run(serve())
    except NotImplementedError as exc:
        return str(exc)
    return None


@pytest.fixture(scope="session")
def why_not_yet():
    return cannot_serve()


@pytest.fixture(autouse=True)
def skip_until_cloop_serves(request):
    if "impl" in request.fixturenames and request.getfixturevalue("impl").is_cloop:
        why = request.getfixturevalue("why_not_yet")
        if why:
            pytest.skip(why)


@pytest.fixture
def run_loosely(impl):
    """Runs a coroutine function on a new loop of the implementation under test."""

    def run(function, *args, timeout=30):
        reports = []

        async def main():
            real.check_loop(impl)
            asyncio.get_running_loop().set_exception_handler(
                lambda loop, context: reports.append(context)
            )
            return await asyncio.wait_for(function(*args), timeout)

        result = impl.run(main())
        assert not reports
        return result

    return run


@pytest.fixture
def run(run_loosely, no_fd_leak):
    """run_loosely for libraries that close what they open: every descriptor is."""
    return run_loosely


@pytest.fixture
def program():
    """Starts child processes; what still runs after the test is killed."""
    started = []

    def start(command, **options):
        options.setdefault("env", real.child_env())
        child = real.Program(command, **options)
        started.append(child)
        return child

    yield start
    for child in started:
        child.close()


@pytest.fixture
def expected_loop(impl):
    """What real.loop_name() says in a child that runs on the loop under test."""
    return real.LOOP_NAMES[impl.name]


class Postgres:
    """A PostgreSQL server of our own."""

    host = "127.0.0.1"
    user = "postgres"
    database = "postgres"

    def __init__(self, folder):
        binaries = "/usr/lib/postgresql/*/bin"
        self.port = real.free_port()
        self.folder = folder
        data = os.path.join(folder, "data")
        account = None
        if os.getuid() == 0:  # which postgres refuses to be
            account = "postgres"
            shutil.chown(folder, account, account)
        initdb = [real.need_program("initdb", binaries), "-D", data, "-U", self.user]
        initdb += ["-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        making = real.Program(initdb, account, cwd=folder)
        try:
            assert making.process.wait(60) == 0, making.output()
        finally:
            making.close()
        settings = {
            "listen_addresses": self.host,
            "unix_socket_directories": folder,
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": "60",
        }
        command = [real.need_program("postgres", binaries), "-D", data]
        command += ["-p", str(self.port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self.program = real.Program(command, account, cwd=folder)
        self.program.wait_for_output("ready to accept connections", 30)

    @property
    def dsn(self):
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.database}"

    def stop(self):
        try:
            self.program.stop(2)  # SIGINT: ends open sessions
        finally:
            self.program.close()


@pytest.fixture(scope="session")
def postgres():
    folder = tempfile.mkdtemp(prefix="postgres-")
    try:
        server = Postgres(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Redis:
    """A Redis server of our own."""

    host = "127.0.0.1"

    def __init__(self, folder):
        self.port = real.free_port()
        self.path = os.path.join(folder, "redis.sock")
        command = [real.need_program("redis-server"), "--port", self.port]
        command += ["--bind", self.host, "--unixsocket", self.path, "--dir", folder]
        command += ["--save", "", "--appendonly", "no"]
        self.program = real.Program(command)
        self.program.wait_until(self.answers)

    def answers(self):
        try:
            with socket.create_connection((self.host, self.port), 1) as sock:
                sock.sendall(b"PING\r\n")
                return sock.recv(100).startswith(b"+PONG")
        except OSError:
            return False

    def stop(self):
        try:
            assert self.program.stop() == 0
        finally:
            self.program.close()


@pytest.fixture(scope="session")
def redis_server():
    folder = tempfile.mkdtemp(prefix="redis-")
    try:
        server = Redis(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
