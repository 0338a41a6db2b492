"""PostgreSQL and Redis of our own: on free ports, in folders of their own."""

import contextlib
import os
import shutil
import signal
import socket
import tempfile

import real


class Postgres:
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
            "max_connections": "100",
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
            self.program.stop(signal.SIGINT)  # ends open sessions
        finally:
            self.program.close()


class Redis:
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


@contextlib.contextmanager
def running(kind):
    """A server of this class, as long as the block lasts."""
    folder = tempfile.mkdtemp(prefix=kind.__name__.lower() + "-")
    try:
        server = kind(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
