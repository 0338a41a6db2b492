"""Every system call of a scenario fails once, in every way (see syscalls.py).

Only in debug builds, which have the fault table; and once with strace from outside, to
see that the table tells the truth.
"""

import os
import shutil
import subprocess
import sys

import pytest
from support import cloop_only, program_command, program_env

_cloop = pytest.importorskip("cloop._cloop")

HERE = os.path.dirname(os.path.abspath(__file__))

SCENARIOS = [
    "timers",
    "threads",
    "readers",
    "stream",
    "connections",
    "datagrams",
    "file",
    "signals",
    "executor",
    "echo",
    "lines",
    "accepts",
    "endpoints",
    "pipes",
    "spawn",
    "send_files",
    "tls_direct",
    "tls_portable",
    "start_tls_direct",
    "start_tls_portable",
]


@pytest.mark.timeout(300)
@pytest.mark.skipif(
    not hasattr(_cloop, "_fault_set"), reason="needs a build with CLOOP_DEBUG=1"
)
@pytest.mark.parametrize(
    "name, debug",
    [*((name, "") for name in SCENARIOS), ("echo", "1"), ("endpoints", "1")],
)
def test_scenario(impl, name, debug):
    cloop_only(impl, "stock has no fault table")
    done = subprocess.run(
        [sys.executable, os.path.join(HERE, "syscalls.py"), name],
        env=program_env(impl, PYTHONASYNCIODEBUG=debug),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=280,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "faults" in done.stdout


PROGRAM = """
async def main():
    import socket
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    loop = asyncio.get_running_loop()
    for n in range(20):
        await asyncio.sleep(0.0005)
        loop.call_later(0.0005, b.send, b'x')
        assert await loop.sock_recv(a, 1) == b'x'
    threading.Timer(0.005, loop.call_soon_threadsafe, [int]).start()
    await asyncio.sleep(0.01)
    print('done')

try:
    loop = new_event_loop()
    loop.run_until_complete(main())
except OSError as exc:
    print('OSError', exc.errno)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here")
@pytest.mark.skipif("CLOOP_SANITIZED" in os.environ, reason="not under a sanitizer")
@pytest.mark.parametrize(
    "inject, wanted",
    [
        ("epoll_wait,epoll_pwait2:error=EINTR:when=1+2", "done"),
        ("epoll_pwait2:error=ENOSYS", "done"),
        ("recvfrom,recvmsg:error=EINTR:when=1+2", "done"),
        ("eventfd2:error=EMFILE", ("done", "OSError 24")),
        ("epoll_create1:error=EMFILE", "OSError 24"),
        ("epoll_ctl:error=ENOMEM:when=2", ("done", "OSError 12")),
    ],
)
def test_from_outside(impl, inject, wanted):
    calls = inject.split(":")[0]
    cloop_only(impl, "it is about our own system calls")
    command = ["strace", "-f", "-o", os.devnull, "-e", "trace=" + calls]
    probe = subprocess.run(
        [*command, "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if probe.returncode != 0:
        pytest.skip("strace cannot trace here")
    done = subprocess.run(
        [*command, "-e", "inject=" + inject, *program_command(impl, PROGRAM)],
        env=program_env(impl),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        text=True,
    )
    wanted = (wanted,) if isinstance(wanted, str) else wanted
    assert done.stdout.strip() in wanted, done.stderr
