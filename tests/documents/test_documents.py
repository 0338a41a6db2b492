"""The programs of ../shared/documents, unchanged, run by the runner that lies beside
them: on stock where stock still can, on cloop, and on cloop in legacy mode."""

import importlib.util
import json
import re
import sys

import pytest
from launch import SHARED, STRICT, python

RUNNER = SHARED / "documents" / "run_documents.py"

# Each is run with the runner's --only; together they are all examples.
GROUPS = ["000-", "001-", "002-", "003-", "004-yield", "004-send", "004-countdown"]
CRAWL = "004-aiohttp-crawl"

CLOOP = ("--runner", "-m cloop")
LEGACY = (*CLOOP, "--legacy=--legacy")

pytestmark = pytest.mark.timeout(180)


def load():
    """The runner's examples, or none in a clone without ../shared."""
    try:
        text = RUNNER.with_name("examples.json").read_text(encoding="utf-8")
    except OSError:
        return []
    return json.loads(text)["examples"]


EXAMPLES = load()


@pytest.fixture(autouse=True)
def documents():
    if not EXAMPLES:
        why = "needs ../shared/documents beside the repository"
        (pytest.fail if STRICT else pytest.skip)(why)


def is_gone(example):
    """True when stock asyncio of this Python lacks what the example uses."""
    found = (
        re.search(r"(?:removed in|since) 3\.(\d+)", use)
        for use in example.get("legacy", ())
    )
    return any(m and sys.version_info >= (3, int(m.group(1))) for m in found)


def check(group, loop, *options):
    """Runs a group. Left out may be only what stock lacks, and only without legacy
    mode."""
    examples = [example for example in EXAMPLES if example["id"].startswith(group)]
    gone = 0 if options == LEGACY else sum(map(is_gone, examples))
    done = python(RUNNER, "--only", group, *options, timeout=150)
    report = done.stdout + done.stderr
    assert done.returncode == 0, report
    assert f"loop of {loop}" in report
    assert f"{len(examples) - gone} passed, 0 failed, {gone} skipped" in report, report


def test_the_groups_are_all_examples():
    names = [example["id"] for example in EXAMPLES]
    matched = [n for n in names for group in [*GROUPS, CRAWL] if n.startswith(group)]
    assert matched == names
    assert len(names) == 23


@pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="stock asyncio of this Python makes no implicit loop",
)
@pytest.mark.parametrize("group", GROUPS)
def test_on_stock(group):
    check(group, "asyncio")


@pytest.mark.parametrize("group", GROUPS)
def test_on_cloop(group):
    check(group, "cloop", *CLOOP)


@pytest.mark.parametrize("group", GROUPS)
def test_on_cloop_in_legacy_mode(group):
    check(group, "cloop", *LEGACY)


@pytest.mark.parametrize("options", [CLOOP, LEGACY], ids=["plain", "legacy"])
def test_the_crawl_on_cloop(options):
    if importlib.util.find_spec("aiohttp") is None:
        pytest.skip("needs aiohttp")
    check(CRAWL, "cloop", *options)
