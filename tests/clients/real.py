"""Real libraries and real programs: finding them, starting them, load on them.

A library or program that is missing skips the tests, and fails them in the leg of
.ci/run that is about them.
"""

import asyncio
import contextlib
import gc
import glob
import http.client
import importlib
import importlib.util
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
APPS = HERE / "apps"
SHARED = HERE.parent.parent.parent / "shared"
STRICT = "CLOOP_STRICT_CLIENTS" in os.environ

# What `loop_name()` says on each implementation.
LOOP_NAMES = {
    "cloop": "cloop.Loop",
    "stock": "asyncio.unix_events._UnixSelectorEventLoop",
}

# What `kind_of()` says of the transport of a TLS connection.
TLS_TRANSPORTS = {
    "cloop": "cloop.SSLTransport",
    "stock": "asyncio.sslproto._SSLProtocolTransport",
}


def _missing(what):
    if STRICT:
        raise RuntimeError(f"{what} is missing, and CLOOP_STRICT_CLIENTS is set")
    pytest.skip(f"{what} is not installed", allow_module_level=True)


def need(name):
    """The module of this name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name != name.split(".")[0]:
            raise
        _missing(f"the library {name}")


def need_program(name, *folders):
    """The path of this program, from PATH or the newest of the folders (patterns)."""
    found = shutil.which(name)
    for pattern in folders:
        for folder in sorted(glob.glob(pattern)):
            if os.access(os.path.join(folder, name), os.X_OK):
                found = os.path.join(folder, name)
    return found or _missing(f"the program {name}")


# -- which loop is it ------------------------------------------------------------------


def loop_name():
    """Asked in a coroutine, here or in a child: the class of the running loop. The task
    may be one that the library made itself of asyncio.Task, as aiohttp does.
    """
    return kind_of(asyncio.get_running_loop())


def kind_of(thing):
    """The full name of its class."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def tls_transports():
    """Asked in a child during a TLS connection: what transports its connections have,
    whichever objects of whatever library hold them."""
    return sorted(
        {
            kind_of(thing)
            for thing in gc.get_objects()
            if isinstance(thing, asyncio.Transport)
            and thing.get_extra_info("ssl_object") is not None
        }
    )


def check_loop(impl):
    """Asked in a coroutine: the running loop is impl's, and so is the task."""
    assert type(asyncio.get_running_loop()) is impl.Loop
    assert type(asyncio.current_task()) is impl.Task
    assert loop_name() == LOOP_NAMES[impl.name]


def check_tls(impl, *transports):
    """They are TLS transports of impl's, the engine in C if it is cloop's."""
    for transport in transports:
        assert kind_of(transport) == TLS_TRANSPORTS[impl.name]
        assert transport.get_extra_info("ssl_object").version().startswith("TLS")


# -- child processes -------------------------------------------------------------------


def child_env(**more):
    """The environment in which a child imports the cloop that we test, and apps/."""
    found = importlib.util.find_spec("cloop").origin
    path = [str(Path(found).resolve().parent.parent), str(APPS), str(HERE)]
    path += filter(None, [os.environ.get("PYTHONPATH")])
    return dict(os.environ, PYTHONPATH=os.pathsep.join(path), **more)


def python_on(impl, *args):
    """A command line: Python on this implementation, and args as python has them."""
    runner = ["-m", "cloop"] if impl.is_cloop else []
    return [sys.executable, *runner, *map(str, args)]


class Program:
    """A child process whose output is kept in a file."""

    def __init__(self, command, user=None, stdin=subprocess.DEVNULL, **options):
        self.command = [str(word) for word in command]
        self._output = tempfile.TemporaryFile()
        if user is not None:
            options["preexec_fn"] = lambda: become(user)
        self.process = subprocess.Popen(
            self.command,
            stdin=stdin,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            **options,
        )

    def output(self):
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode("utf-8", "replace")

    def say(self, text):
        """Writes to its standard input, which must be a pipe."""
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def wait_until(self, ready, timeout=20):
        """ready() is called until it returns something true, which is returned."""
        deadline = time.monotonic() + timeout
        while True:
            result = ready()
            if result:
                return result
            if self.process.poll() is not None:
                raise AssertionError(f"{self.command} ended: {self.output()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.command} not ready: {self.output()}")
            time.sleep(0.02)

    def wait_for_output(self, pattern, timeout=20):
        return self.wait_until(lambda: re.search(pattern, self.output()), timeout)

    def wait_for_port(self, port, timeout=20):
        def connects():
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True

        return self.wait_until(connects, timeout)

    def stop(self, number=signal.SIGTERM, timeout=15):
        """Ends it with a signal; the exit status. A child that outlives it is killed,
        which is a failure."""
        try:
            if self.process.poll() is None:
                self.process.send_signal(number)
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f"{self.command} survived signal {number}: {self.output()}"
            ) from None

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        self._output.close()


def become(user):
    """In a child before exec: give up root for this user."""
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# -- HTTP from outside -----------------------------------------------------------------


def http_request(port, method="GET", path="/", body=None, headers=(), tls=None):
    """One request by the standard library's blocking client, over TLS with a context:
    status and body."""
    if tls is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    else:
        connection = http.client.HTTPSConnection(
            "localhost", port, timeout=20, context=tls
        )
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def http_json(port, path, tls=None):
    status, body = http_request(port, path=path, tls=tls)
    assert status == 200, body
    return json.loads(body)


def http_load(url, connections=50, seconds=1):
    """Puts wrk's load on a server; the number of requests answered, all of them 2xx and
    none of them broken off."""
    result = subprocess.run(
        [
            need_program("wrk"),
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "5s",
            url,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds + 20,
    )
    assert result.returncode == 0, result.stdout
    assert "Socket errors" not in result.stdout, result.stdout
    assert "Non-2xx" not in result.stdout, result.stdout
    return int(re.search(r"(\d+) requests in", result.stdout).group(1))
