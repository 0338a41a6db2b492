"""Every allocation of the core's operations fails once: MemoryError or success, never a
crash, a hang or a loop that cannot go on (see nomemory.py).
"""

import os
import subprocess
import sys

import pytest
from support import PY, cloop_only, program_env

_testcapi = pytest.importorskip("_testcapi")

import nomemory  # noqa: E402

SLOW = {"call_soon_many", "timers_many", "debug_mode", "future_repr", "task_attributes"}

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        "CLOOP_SANITIZED" in os.environ, reason="the sanitizer's allocator is another"
    ),
]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in nomemory.OPERATIONS
    ],
)
def test_operation(impl, name):
    cloop_only(impl, "stock loses wakeups, and hangs")
    if PY == (3, 12) and name == "spawn":
        pytest.skip("a function that gets no memory frees its code object")
    if PY == (3, 13):
        pytest.skip("dict.setdefault() without memory spoils the dict")
    done = subprocess.run(
        [sys.executable, nomemory.__file__, impl.name, name],
        env=program_env(impl),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=280,
        text=True,
    )
    assert done.returncode == 0, done.stdout
