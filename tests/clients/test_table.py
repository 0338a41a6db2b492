"""README's table of programs says what is really tested."""

import re
from importlib import metadata

import pytest
import real

ROOT = real.HERE.parent.parent
NOT_PROGRAMS = {"h2", "httptools", "nbclient", "wsproto", "cloop"}


def pins():
    """Name -> version, from the extra that CI installs."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    extra = re.search(r"^clients = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    found = re.findall(r'"([\w-]+)(?:\[[\w,]+\])?(?:==([\w.]+))?"', extra.group(1))
    return dict(found)


def table():
    text = (ROOT / "README.md").read_text("utf-8")
    start = text.index("### Programs that run on cloop")
    section = text[start : text.index("\n### ", start + 1)]
    rows = re.findall(r"^\| (.+?) \| .+ \| ([\d.]+) \|$", section, re.MULTILINE)
    names = {"Dask distributed": "distributed"}
    return {names.get(name, name.split(" (")[0]): version for name, version in rows}


def test_table_has_what_is_tested():
    expected = {n: v for n, v in pins().items() if n not in NOT_PROGRAMS}
    assert table() == expected


@pytest.mark.parametrize("name", sorted(set(pins()) - {"cloop"}))
def test_the_version_is_the_one_installed(name):
    if not real.STRICT:
        pytest.skip("for .ci/run: elsewhere other versions are welcome")
    assert metadata.version(name) == pins()[name]
