"""The os/ floor, tested as plain C: builds each tests/c/test_*.c with the sanitizers
into a temporary folder and runs it. No interpreter is involved below."""

import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = sorted((ROOT / "tests" / "c").glob("test_*.c"))
SOURCES = sorted((ROOT / "src" / "os").glob("*.c"))
FLAGS = [
    "-std=c11",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-g",
    "-O1",
    "-pthread",
    "-I",
    str(ROOT / "src"),
]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
BUILDS = {
    "release": [],
    "debug": ["-DCLOOP_DEBUG"],
}


def compiler():
    command = shlex.split(os.environ.get("CC", "cc"))
    return command if shutil.which(command[0]) else None


def run(command, **kwargs):
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        **kwargs,
    )


@pytest.fixture(scope="module")
def sanitize(tmp_path_factory):
    """The sanitizers' flags when this compiler can link and run with them."""
    if compiler() is None:
        pytest.skip("needs a C compiler (CC or cc)")
    folder = tmp_path_factory.mktemp("probe")
    source = folder / "probe.c"
    source.write_text("int main(void) { return 0; }\n")
    program = folder / "probe"
    built = run(compiler() + SANITIZE + [str(source), "-o", str(program)])
    if built.returncode != 0 or run([str(program)], env=environment()).returncode != 0:
        return []
    return SANITIZE


def environment():
    env = dict(os.environ)
    env.pop("LD_PRELOAD", None)
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    return env


@pytest.fixture(scope="module")
def objects(sanitize, tmp_path_factory):
    """For each build the floor's object files, compiled when first asked for."""
    made = {}

    def get(build):
        if build not in made:
            folder = tmp_path_factory.mktemp(build)
            made[build] = []
            for source in SOURCES:
                target = folder / (source.stem + ".o")
                flags = FLAGS + sanitize + BUILDS[build]
                command = compiler() + flags + ["-c", str(source), "-o", str(target)]
                result = run(command)
                assert result.returncode == 0, result.stdout
                made[build].append(str(target))
        return made[build]

    return get


@pytest.mark.parametrize("build", sorted(BUILDS))
@pytest.mark.parametrize("source", TESTS, ids=lambda path: path.stem)
def test_c(source, build, objects, sanitize, tmp_path):
    if source.stem == "test_faults" and build == "release":
        pytest.skip("the fault table is in debug builds only")
    program = tmp_path / source.stem
    command = compiler() + FLAGS + sanitize + BUILDS[build] + [str(source)]
    built = run(command + objects(build) + ["-o", str(program), "-lrt"])
    assert built.returncode == 0, built.stdout
    ran = run([str(program)], env=environment())
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.endswith("ok\n")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_python_on_this_floor(path):
    assert "Python.h" not in "".join(
        line for line in path.read_text().splitlines(True) if "#include" in line
    )
