"""What makes a measured process comparable with the next one.

`popen` starts a process in its own session, with its own autogroup's nice value and
on its own core; `Clock` reads how long a process ran and how long it waited for a
core; `prime` brings the allocator and the collector to the same state in each.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_AUTOGROUP_NICE = -10
_PRIMING_BYTES = 24 << 20  # below glibc's largest mmap threshold, 32 MiB

# What could switch on debug mode, tracing or another loop in a measured process.
_DROPPED_VARIABLES = (
    "PYTHONASYNCIODEBUG",
    "PYTHONDEVMODE",
    "PYTHONMALLOC",
    "PYTHONTRACEMALLOC",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONWARNINGS",
    "COVERAGE_PROCESS_START",
)


def cores():
    """(server's core, load's core) out of those we may use; equal if there is one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[-1], allowed[0]


def environment():
    """The environment of measured processes: the same for each."""
    env = {k: v for k, v in os.environ.items() if k not in _DROPPED_VARIABLES}
    env["PYTHONHASHSEED"] = "0"
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = env.get("PYTHONPATH")
    env["PYTHONPATH"] = root + (os.pathsep + path if path else "")
    return env


def _in_child(core):
    def prepare():
        os.setsid()
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        except (OSError, AttributeError):
            pass
        if core is not None:
            os.sched_setaffinity(0, {core})
        for nice in (_AUTOGROUP_NICE, 0):  # below 0 needs CAP_SYS_NICE
            try:
                with open("/proc/self/autogroup", "w") as file:
                    file.write(str(nice))
                break
            except OSError:
                continue

    return prepare


def popen(argv, *, core, **kwargs):
    """Start `argv` isolated on `core` (None: unpinned); ends when this process does."""
    kwargs.setdefault("env", environment())
    return subprocess.Popen(argv, preexec_fn=_in_child(core), **kwargs)


def python(module, *args):
    """The command line of a module of this package in a fresh interpreter."""
    return [sys.executable, "-X", "utf8", "-m", module, *map(str, args)]


def end(process, patience_s=3.0):
    """End a process that `popen` started: closes its stdin, then kills its session."""
    try:
        if process.stdin is not None:
            process.stdin.close()
    except OSError:
        pass
    try:
        return process.wait(patience_s)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        process.kill()
    return process.wait()


def run(argv, *, core, timeout_s):
    """Run isolated to the end: (returncode or None on time-out, stdout, stderr)."""
    process = popen(
        argv,
        core=core,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        end(process, 0.0)
        out, err = process.communicate()
        return None, out, err
    return process.returncode, out, err


def prime():
    """Bring malloc and the collector to the state that every contestant starts from.

    One large free raises glibc's mmap threshold; without it a fresh 256 KiB buffer
    costs two system calls and two page faults each time, or not, by accident.
    """
    block = bytearray(_PRIMING_BYTES)
    del block
    gc.collect()
    if hasattr(gc, "freeze"):
        gc.freeze()


class Clock:
    """CPU time used and time spent waiting for a core, of one thread or process."""

    def __init__(self, pid="self"):
        self._path = f"/proc/{pid}/schedstat"
        self.start()

    def _read(self):
        try:
            with open(self._path) as file:
                ran, waited = file.read().split()[:2]
            return int(ran), int(waited)
        except (OSError, ValueError):
            return None

    def start(self):
        self._begin = self._read()
        self._wall = time.monotonic_ns()

    def wait_share(self):
        """Time spent runnable without a core, as a share of the time since start()."""
        now = self._read()
        wall = time.monotonic_ns() - self._wall
        if self._begin is None or now is None or wall <= 0:
            return None
        return (now[1] - self._begin[1]) / wall
