"""Starting Pythons for tests that look at a whole process."""

import os
import subprocess
import sys
from pathlib import Path

import cloop

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
# .ci/run sets it: what a test needs must be there, or the test fails.
STRICT = "CLOOP_STRICT" in os.environ


def environment(**changes):
    """os.environ in which `import cloop` finds the cloop of this process, with what
    would colour or decorate a program's output taken out."""
    env = dict(os.environ)
    home = str(Path(cloop.__file__).resolve().parent.parent)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [home, env.get("PYTHONPATH")]))
    for name in ("PYTHONASYNCIODEBUG", "PYTHONWARNINGS", "PYTHONSTARTUP"):
        env.pop(name, None)
    env.update(PYTHON_COLORS="0", PYTHONIOENCODING="utf-8")
    env.update(changes)
    return env


def python(*args, stdin="", cwd=None, timeout=60, **changes):
    """Runs sys.executable with args to its end; text in stdout and stderr."""
    return subprocess.run(
        [os.path.abspath(sys.executable), *map(str, args)],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        env=environment(**changes),
        timeout=timeout,
    )
