"""PostgreSQL and Redis of our own: on free ports, in folders of their own, with TLS."""

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

    def __init__(self, folder, certificates):
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
            "listen_addresses": "127.0.0.1,127.0.0.2",
            "unix_socket_directories": folder,
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": "100",
            "ssl": "on",
            "ssl_cert_file": certificates.chain,
            "ssl_key_file": os.path.join(folder, "key.pem"),
        }
        shutil.copy(certificates.key, settings["ssl_key_file"])
        os.chmod(settings["ssl_key_file"], 0o600)
        if account:
            shutil.chown(settings["ssl_key_file"], account, account)
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

    def __init__(self, folder, certificates):
        self.port = real.free_port()
        self.tls_port = real.free_port()
        self.path = os.path.join(folder, "redis.sock")
        command = [real.need_program("redis-server"), "--port", self.port]
        command += ["--bind", self.host, "--unixsocket", self.path, "--dir", folder]
        command += ["--save", "", "--appendonly", "no"]
        command += ["--tls-port", self.tls_port, "--tls-auth-clients", "no"]
        command += ["--tls-cert-file", certificates.chain]
        command += ["--tls-key-file", certificates.key]
        command += ["--tls-ca-cert-file", certificates.authority_file]
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
def running(kind, certificates):
    """A server of this class, as long as the block lasts."""
    folder = tempfile.mkdtemp(prefix=kind.__name__.lower() + "-")
    try:
        server = kind(folder, certificates)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
