"""Each program of examples/ prints what stands at its end, on stock and on cloop."""

import subprocess
import sys
from pathlib import Path

import pytest
from launch import ROOT, python

FOLDER = ROOT / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))

# What the documents teach, and where an example of ours shows it.
CONSTRUCTS = {
    "coroutine",
    "chain",
    "generator_coroutine",
    "call_soon",
    "call_later",
    "call_at",
    "future_callback",
    "future_await",
    "gather",
    "wait",
    "executor",
    "async_with",
    "async_for",
    "async_generator",
    "comprehensions",
    "callbacks_and_coroutines",
}

# Examples for the asyncio of old, and the first Python on which stock refuses them.
LEGACY = {"generator_coroutine": (3, 11)}


def promised(path):
    """The lines below "# prints:" at the end of an example."""
    _, _, tail = path.read_text(encoding="utf-8").partition("\n# prints:\n")
    assert tail, f"{path.name} does not say what it prints"
    return "".join(line[len("#   ") :] for line in tail.splitlines(keepends=True))


def check(path, *runner):
    try:
        done = python("-W", "ignore", *runner, path, timeout=30)
    except subprocess.TimeoutExpired as exc:
        pytest.fail(f"{path.name} did not end; it printed {exc.stdout!r}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == promised(path)


def test_every_construct_has_its_example():
    assert {path.stem for path in EXAMPLES} == CONSTRUCTS


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_on_stock(path):
    since = LEGACY.get(path.stem)
    if since is not None and sys.version_info >= since:
        pytest.skip("stock asyncio of this Python has no such coroutines")
    check(path)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_on_cloop(path):
    check(path, "-m", "cloop", *(["--legacy"] if path.stem in LEGACY else []))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_on_cloop_in_legacy_mode(path):
    """Legacy mode changes nothing for programs that do not need it."""
    check(path, "-m", "cloop", "--legacy")


def test_no_example_knows_of_cloop():
    for path in EXAMPLES:
        assert "import cloop" not in path.read_text(encoding="utf-8")
    assert Path(FOLDER / "README.md").exists()
