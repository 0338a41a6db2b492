"""Allocations of OpenSSL's own fail, one in each connection (see openssl_memory.py)."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from support import program_env

pytest.importorskip("_testcapi")  # nomemory.py's

import openssl_memory

SHIM = os.path.join(os.path.dirname(__file__), "..", "c", "failing_malloc.c")

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        "CLOOP_SANITIZED" in os.environ, reason="the sanitizer's allocator is another"
    ),
]


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        pytest.skip("no C compiler")
    path = tmp_path_factory.mktemp("shim") / "failing_malloc.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", path, SHIM], check=True)
    return path


@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.slow), 23], ids=["each", "some"]
)
@pytest.mark.parametrize("way", ["direct", "portable"])
def test_tls(impl, shim, way, step):
    if not impl.is_cloop and way == "direct":
        pytest.skip("stock has no such way")
    which = [impl.name, "tls_" + way, shim, "0", "20000", str(step)]
    done = subprocess.run(
        [sys.executable, openssl_memory.__file__, *which],
        env=program_env(impl),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=580,
        text=True,
    )
    if done.returncode == openssl_memory.NOT_TAKEN:
        pytest.skip("this OpenSSL has allocated before, or is another")
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) allocations failed", done.stdout)[1]) > 50
