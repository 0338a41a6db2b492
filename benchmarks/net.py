"""Network scenarios: a server on one core, the C load generator on another.

A scenario's cost is the server's CPU time per request over all its threads, which is
what a request costs whether or not the load could ask for more; requests per second
and latencies are kept beside it.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib.util
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

from benchmarks import isolate
from benchmarks.scenario import Failed, NotSupported, Scenario, add

_HERE = os.path.dirname(os.path.abspath(__file__))
_CFLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra"]
_START_TIMEOUT_S = 30.0
_HOLD_S = 60.0

# What the plain C server does for the kinds of the Python servers.
_C_KINDS = {
    "protocol": "echo",
    "datagram": "echo",
    "reply": "reply",
    "writes": "reply",
    "streams_read": "echo",
    "streams_readline": "echo",
    "streams_readexactly": "echo",
    "streams_lines": "reply",
    "streams_frames": "reply",
    "sock": "echo",
    "sock_into": "echo",
    "buffered": "echo",
    "http_protocol": "http",
}
_PACKAGES = ("uvicorn", "aiohttp")  # kinds that need a package of their own name


def _compile(compiler, name, tls, path):
    source = os.path.join(_HERE, name + ".c")
    flags = [*_CFLAGS, "-DWITH_TLS"] if tls else _CFLAGS
    libraries = ["-lssl", "-lcrypto"] if tls else []
    built = subprocess.run(
        [*compiler, *flags, source, "-o", path, *libraries],
        capture_output=True,
        text=True,
    )
    if not built.returncode:
        return
    said = built.stderr.strip()
    if tls and ("openssl/" in said or "-lssl" in said or "-lcrypto" in said):
        raise NotSupported(f"no OpenSSL (Debian: libssl-dev) to build {name}.c with")
    raise Failed(f"{name}.c does not compile: {said[:500]}")


@functools.lru_cache(maxsize=None)
def program(name, tls=False):
    """The path of `name`.c of this folder, compiled once per source and flags."""
    mark = hashlib.sha256(" ".join(_CFLAGS).encode())
    for source in (name + ".c", "tls_io.h"):
        with open(os.path.join(_HERE, source), "rb") as file:
            mark.update(file.read())
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(cache, "cloop-benchmarks")
    path = os.path.join(folder, f"{name}{'-tls' * tls}-{mark.hexdigest()[:16]}")
    if os.path.exists(path):
        return path
    compiler = os.environ.get("CC", "cc").split()
    if shutil.which(compiler[0]) is None:
        raise NotSupported(f"no C compiler ({compiler[0]}) for {name}.c")
    os.makedirs(folder, exist_ok=True)
    unfinished = f"{path}.{os.getpid()}"
    _compile(compiler, name, tls, unfinished)
    os.replace(unfinished, path)
    return path


@functools.lru_cache(maxsize=None)
def certificate():
    """The path of a file with a new key (P-256) and its certificate, for this run."""
    if shutil.which("openssl") is None:
        raise NotSupported("no openssl command to make a certificate with")
    folder = tempfile.mkdtemp(prefix="cloop-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    key, signed, both = (os.path.join(folder, n) for n in ("key", "cert", "both.pem"))
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
        + ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        + ["-keyout", key, "-out", signed],
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise Failed(f"no certificate: {made.stderr.strip()[:500]}")
    with open(both, "w") as file:
        for part in (key, signed):
            with open(part) as source:
                file.write(source.read())
    return both


def read_line(process, timeout_s):
    """The next line of a process's stdout as JSON; Failed when none comes."""
    deadline = time.monotonic() + timeout_s
    line = b""
    fd = process.stdout.fileno()
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        ready = select.select([fd], [], [], max(left, 0.0))[0]
        piece = os.read(fd, 1) if ready else b""
        if not piece:
            isolate.end(process, 0.0)
            error = process.stderr.read().decode(errors="replace").strip()
            why = error.rpartition("\n")[2] or "no word"
            raise Failed(f"{os.path.basename(process.args[0])}: {why}")
        line += piece
    return json.loads(line)


def resident_bytes(pid):
    """Memory of a process that is its own and in RAM."""
    with open(f"/proc/{pid}/statm") as file:
        pages = file.read().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")


class NetScenario(Scenario):
    """A kind of server, a transport, and the load on it."""

    network = True

    def __init__(
        self,
        name,
        family,
        title,
        kind,
        *,
        transport="tcp",
        mode="echo",
        request=1024,
        reply=None,
        line=0,
        connections=100,
        depth=1,
        resume=False,
        extra=False,
        heavy=False,
        **targets,
    ):
        unit = "bytes" if mode == "hold" else "CPU ns"
        super().__init__(name, family, title, unit, targets, heavy=heavy or extra)
        self.kind = kind
        self.transport = transport
        self.mode = mode
        self.request = request
        self.reply = reply or request
        self.line = line
        self.connections = connections
        self.depth = depth
        self.resume = resume  # each TLS handshake resumes a session
        self.extra = extra  # runs only with --all

    def _server_argv(self, contestant, folder):
        tls = self.transport == "tls"
        path = certificate() if tls else os.path.join(folder, "s")
        if contestant.binary:
            if self.kind not in _C_KINDS:
                raise NotSupported("the C server has no such kind")
            if self.mode == "hold" and not tls:
                raise NotSupported("the C server keeps nothing for a connection")
            sizes = map(str, (self.request, self.reply))
            kind = _C_KINDS[self.kind]
            return [program("echo_server", tls), kind, self.transport, path, *sizes]
        if self.kind in _PACKAGES and importlib.util.find_spec(self.kind) is None:
            raise NotSupported(f"{self.kind} is not installed")
        return isolate.python(
            "benchmarks.server",
            "--loop", contestant.name,
            "--kind", self.kind,
            "--transport", self.transport,
            "--path", path,
            "--request", self.request,
            "--reply", self.reply,
            "--line", self.line or self.request,
            "--depth", self.depth,
        )  # fmt: skip

    def _load_argv(self, address, pid, settings, connections):
        hold = self.mode == "hold"
        argv = [
            program("loadgen", self.transport == "tls"),
            "--to", address,
            "--mode", self.mode,
            "--request", self.request,
            "--reply", self.reply,
            "--line", self.line,
            "--connections", connections,
            "--depth", self.depth,
            "--warmup", settings.warmup_s,
            "--duration", _HOLD_S if hold else settings.duration_s,
            "--server-pid", pid,
            *(["--resume"] if self.resume else []),
        ]  # fmt: skip
        return list(map(str, argv))

    def measure(self, contestant, settings):
        connections = min(self.connections, 100) if settings.quick else self.connections
        with tempfile.TemporaryDirectory(prefix="cloop-bench-") as folder:
            argv = self._server_argv(contestant, folder)
            pipe = subprocess.PIPE
            server = isolate.popen(
                argv, core=settings.server_core, stdin=pipe, stdout=pipe, stderr=pipe
            )
            try:
                said = read_line(server, _START_TIMEOUT_S)
                if "not supported" in said:
                    raise NotSupported(said["not supported"])
                load = self._load_argv(said["ready"], server.pid, settings, connections)
                if self.mode == "hold":
                    return self._memory(server, load, settings, connections)
                return self._load(load, settings)
            finally:
                isolate.end(server)
                server.stdout.close()
                server.stderr.close()

    def _load(self, argv, settings):
        code, out, err = isolate.run(
            argv, core=settings.load_core, timeout_s=settings.timeout_s
        )
        if code != 0:
            raise Failed(
                err.strip().rpartition("\n")[2] or f"loadgen ended with {code}"
            )
        report = json.loads(out)
        if not report["requests"]:
            raise Failed("no request was answered")
        if report["errors"] > report["requests"] / 100:
            raise Failed(f"{report['errors']} errors, {report['requests']} answers")
        if self.resume and report["resumed"] < report["requests"] * 0.9:
            raise Failed(f"{report['resumed']} of {report['requests']} resumed")
        window_ns = report["seconds"] * 1e9
        return {
            "value": report["server_cpu_ns"] / report["requests"],
            "rps": report["requests"] / report["seconds"],
            "requests": report["requests"],
            "mib_per_s": (report["bytes_in"] + report["bytes_out"])
            / report["seconds"]
            / (1 << 20),
            "server_busy": report["server_cpu_ns"] / window_ns,
            "load_busy": report["load_cpu_ns"] / window_ns,
            "wait_share": report["server_wait_ns"] / window_ns,
            "errors": report["errors"],
            "lost": report["lost"],
            "latency_us": report["latency_us"],
        }

    def _memory(self, server, argv, settings, connections):
        before = resident_bytes(server.pid)
        pipe = subprocess.PIPE
        load = isolate.popen(
            argv, core=settings.load_core, stdin=pipe, stdout=pipe, stderr=pipe
        )
        try:
            held = read_line(load, _HOLD_S)["held"]
            time.sleep(0.2)
            after = resident_bytes(server.pid)
        finally:
            isolate.end(load)
            load.stdout.close()
            load.stderr.close()
        if held < connections:
            raise Failed(f"only {held} of {connections} connections")
        return {"value": (after - before) / held, "connections": held}


def net(*args, **kwargs):
    """Enter a NetScenario in the register."""
    add(NetScenario(*args, **kwargs))


def size_label(size):
    """64 -> "64", 1024 -> "1k"."""
    return f"{size // 1024}k" if size >= 1024 else str(size)


def size_text(size):
    """64 -> "64 B", 1024 -> "1 KiB"."""
    return f"{size // 1024} KiB" if size >= 1024 else f"{size} B"
