"""The rules of the house (STYLE.md) that a machine can check."""

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
FLOORS = ["os", "py", "core", "io", "tls"]
FILE_LINES = 1200
FUNCTION_LINES = 120

C_FILES = sorted([*SRC.rglob("*.c"), *SRC.rglob("*.h")])
HEADERS = [path for path in C_FILES if path.suffix == ".h"]
PY_FILES = sorted((ROOT / "cloop").glob("*.py"))
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)


def name(path):
    return str(path.relative_to(ROOT))


def floor(path):
    """The floor's number; what lies in src/ itself stands above all."""
    folder = path.relative_to(SRC).parts[0]
    return FLOORS.index(folder) if folder in FLOORS else len(FLOORS)


def test_there_are_files():
    assert len(C_FILES) > 20
    assert len(PY_FILES) > 5
    folders = {path.name for path in SRC.iterdir() if path.is_dir()}
    assert folders <= set(FLOORS)


@pytest.mark.parametrize("path", C_FILES, ids=name)
def test_no_file_includes_upward(path):
    for quote, target in INCLUDE.findall(path.read_text()):
        if quote == "<":
            continue
        included = (path.parent / target).resolve()
        assert included.is_file(), f"{name(path)} includes {target}"
        assert floor(included) <= floor(path), f"{name(path)} includes {target}"


@pytest.mark.parametrize("path", [p for p in C_FILES if floor(p) > 0], ids=name)
def test_python_h_comes_before_the_systems_headers(path):
    """As its documentation demands: it says which of their features are wanted."""
    includes = INCLUDE.findall(path.read_text())
    if not includes or path.name == "compat.h":
        return
    quote, target = includes[0]
    assert quote != "<", f"{name(path)} begins with {target}"
    assert floor((path.parent / target).resolve()) > 0, f"{name(path)}: {target}"


def test_the_lowest_floor_knows_no_python():
    for path in (SRC / "os").iterdir():
        text = path.read_text()
        assert "Python.h" not in {target for _, target in INCLUDE.findall(text)}
        code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        names = set(re.findall(r"\b_?Py[A-Z_]\w*", code))
        assert names <= {"Py_GIL_DISABLED"}, f"{name(path)}: {names}"


def test_only_compat_looks_at_the_version():
    users = [name(p) for p in C_FILES if "PY_VERSION_HEX" in p.read_text()]
    assert users == ["src/py/compat.h"]


def test_every_system_call_stands_in_sys():
    """Above os/ nobody polls; the poller itself goes through sys.h."""
    calls = re.compile(
        r"\b(epoll_\w+|eventfd|kqueue|sendmsg|recvmsg|accept4|pidfd_open)\("
    )
    for path in C_FILES:
        if path.parent.name == "os" and path.stem in ("sys", "poller_epoll", "wake"):
            continue
        code = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        assert not calls.search(code), name(path)


@pytest.mark.parametrize("path", C_FILES + PY_FILES, ids=name)
def test_files_are_not_too_long(path):
    assert len(path.read_text().splitlines()) <= FILE_LINES


def functions(text):
    """(name, lines) of every function defined in C text of our style: its brace opens
    and closes in the first column, its name begins a line above."""
    title = None
    start = None
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r"^(\w+)\(", line)
        if match and start is None:
            title = match.group(1), number
        elif line == "{" and title is not None:
            start = title
        elif line == "}" and start is not None:
            yield start[0], number - start[1] + 1
            title = start = None


@pytest.mark.parametrize("path", C_FILES, ids=name)
def test_functions_fit(path):
    too_long = {f: n for f, n in functions(path.read_text()) if n > FUNCTION_LINES}
    assert not too_long


def test_functions_are_found():
    text = (SRC / "py" / "state.c").read_text()
    assert {"state_init", "state_of_type"} <= {found for found, _ in functions(text)}


@pytest.mark.parametrize("path", C_FILES, ids=name)
def test_files_begin_with_what_they_are(path):
    first = path.read_text().lstrip().splitlines()[0]
    assert first.startswith("/*"), f"{name(path)} begins with {first!r}"


# -- with the compiler ----------------------------------------------------------------


def compiler():
    wanted = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    command = shlex.split(wanted)
    if not shutil.which(command[0]):
        command = ["cc"]
    if not shutil.which(command[0]):
        pytest.skip("there is no C compiler")
    return command


@pytest.mark.parametrize("path", HEADERS, ids=name)
def test_each_header_compiles_alone(path, tmp_path):
    unit = tmp_path / "unit.c"
    # Twice: the guard is tested too.
    unit.write_text(f'#include "{path}"\n#include "{path}"\nint unit;\n')
    flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
    # A header alone has static functions that nobody calls.
    flags += ["-Wno-unused-function", "-fsyntax-only"]
    if floor(path) > 0:
        flags += ["-I", sysconfig.get_path("include")]
        if not Path(sysconfig.get_path("include"), "Python.h").exists():
            pytest.skip("Python's headers are not installed")
    done = subprocess.run(
        [*compiler(), *flags, str(unit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


def test_one_symbol_is_exported():
    from cloop import _cloop

    if not shutil.which("nm"):
        pytest.skip("there is no nm")
    output = subprocess.check_output(
        ["nm", "-D", "--defined-only", _cloop.__file__], universal_newlines=True
    )
    symbols = {line.split()[-1] for line in output.splitlines()}
    # Old linkers show where sections end.
    symbols -= {"_init", "_fini", "_end", "_edata", "__bss_start"}
    assert symbols == {"PyInit__cloop"}


def test_no_library_is_linked():
    from cloop import _cloop

    if not shutil.which("readelf"):
        pytest.skip("there is no readelf")
    output = subprocess.check_output(
        ["readelf", "-d", _cloop.__file__], universal_newlines=True
    )
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", output))
    foreign = {
        n
        for n in needed
        if not re.match(
            r"(libc|libpthread|libm|ld-linux|libasan|libubsan|libtsan"
            r"|libpython|libgcc_s)\b",
            n,
        )
    }
    assert not foreign
