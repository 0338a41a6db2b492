"""CPython's own asyncio tests on cloop, module by module, against stock.

The tool is ../shared/conformance (beside this repository). A test that stock passes and
cloop does not is a failure.
"""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from launch import STRICT

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT.parent / "shared" / "conformance" / "stdlib_suite.py"

MODULES = {
    "test_base_events": (3, 8),
    "test_buffered_proto": (3, 8),
    "test_context": (3, 8),
    "test_eager_task_factory": (3, 12),
    "test_events": (3, 8),
    "test_futures": (3, 8),
    "test_futures2": (3, 8),
    "test_locks": (3, 8),
    "test_pep492": (3, 8),
    "test_protocols": (3, 8),
    "test_queues": (3, 8),
    "test_runners": (3, 8),
    "test_sendfile": (3, 8),
    "test_server": (3, 8),
    "test_sock_lowlevel": (3, 8),
    "test_ssl": (3, 11),
    "test_sslproto": (3, 8),
    "test_streams": (3, 8),
    "test_subprocess": (3, 8),
    "test_taskgroups": (3, 11),
    "test_tasks": (3, 8),
    "test_threads": (3, 9),
    "test_timeouts": (3, 11),
    "test_transports": (3, 8),
    "test_unix_events": (3, 8),
    "test_waitfor": (3, 8),
}


def require_suite():
    """The tool and Python's own test package, or a skip; under .ci/run a failure."""
    missing = None
    if not TOOL.exists():
        missing = "needs ../shared/conformance beside the repository"
    else:
        try:
            import test.test_asyncio  # noqa: F401
        except ImportError:
            missing = "this Python came without its test package"
    if missing is None:
        return
    if STRICT and not TOOL.exists():
        pytest.fail(missing)
    pytest.skip(missing)


def run_module(module, folder):
    """The tool's record of stock and cloop on one module."""
    import cloop

    record = folder / "cloop.json"
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(Path(cloop.__file__).resolve().parent.parent)]
        + environment.get("PYTHONPATH", "").split(os.pathsep)
    ).rstrip(os.pathsep)
    command = [sys.executable, str(TOOL), "--loop", "cloop", "--modules", module]
    command += ["--json", str(record), "--recheck", "-v"]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=str(folder),
        timeout=880,
    )
    assert record.exists(), done.stdout
    return json.loads(record.read_text()), done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("module", sorted(MODULES))
def test_module(module, tmp_path):
    require_suite()
    if sys.version_info < MODULES[module]:
        pytest.skip("this Python has no " + module)
    data, output = run_module(module, tmp_path)
    compared = data["compare"]
    assert compared["common"] > 0, output

    divergences = set(compared["divergences"])
    flaky = set(compared.get("flaky", ()))
    for name in sorted(flaky):
        warnings.warn(f"{name} failed once and passed alone", stacklevel=1)
    assert not sorted(divergences - flaky), output
