"""python -m cloop: programs run as python runs them, but on cloop."""

import os
import signal
import subprocess
import sys
import textwrap
import zipfile

import pytest
from launch import environment, python

import cloop

WHAT_MAIN_IS = """\
import sys, __main__
names = {name: value for name, value in vars(__main__).items() if name[:2] == "__"}
for name in sorted(names):
    value = names[name]
    if name == "__loader__":
        value = value if isinstance(value, type) else type(value)
    if name == "__spec__" and value is not None:
        value = value.name, type(value.loader), value.origin, value.cached
    print(name, repr(value)[:300])
print(sys.argv, sys.path[0], [p for p in sys.path if p == sys.path[0]])
print(sys.modules["__main__"].__dict__ is globals())
"""

FAILURES = {
    "raise": "def f():\n    1 / 0\n\nf()\n",
    "chained": "try:\n    1 / 0\nexcept Exception as e:\n    raise KeyError from e\n",
    "in a coroutine": """
        import asyncio
        async def main():
            await asyncio.sleep(0)
            raise ValueError("inner")
        loop = asyncio.new_event_loop()
        task = main()
        try:
            task.send(None)
            task.send(None)
        finally:
            loop.close()
    """,
    "syntax": "x = 1\nif x\n    pass\n",
    "indentation": "if True:\npass\n",
    "import of nothing": "import no_such_module_at_all\n",
    "exit 3": "raise SystemExit(3)\n",
    "exit None": "import sys\nsys.exit()\n",
    "exit text": "import sys\nsys.exit('no more')\n",
    "own hook": """
        import sys, traceback
        def hook(kind, value, frames):
            print("hook:", kind.__name__, traceback.extract_tb(frames)[0].name)
            print(value.__traceback__ is frames, sys.last_value is value)
            print(sys.last_traceback is frames)
        sys.excepthook = hook
        1 / 0
    """,
    "base exception": "class Odd(BaseException): pass\nraise Odd('odd')\n",
    "recursion": """
        def f(n):
            f(n + 1)
        try:
            f(0)
        except RecursionError:
            print("deep enough")
            raise LookupError("x") from None
    """,
}


def write(folder, source, name="program.py"):
    path = folder / name
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


def same(*args, options=(), **how):
    """Runs `python ARGS` and `python -m cloop ARGS`, which must do the same; the
    former."""
    stock = python(*options, *args, **how)
    ours = python(*options, "-m", "cloop", *args, **how)
    assert ours.stdout == stock.stdout
    assert ours.stderr == stock.stderr
    assert ours.returncode == stock.returncode
    return stock


def alike(path):
    """As same(), but python may word its SyntaxError another way than compile()."""
    for runner in ([], ["-m", "cloop"]):
        done = python(*runner, path)
        assert (done.returncode, done.stdout) == (1, "")
        assert "SyntaxError" in done.stderr
        assert "Traceback" not in done.stderr


# -- what the program sees -------------------------------------------------------------


def test_a_file_sees_what_python_shows_it(tmp_path):
    path = write(tmp_path, WHAT_MAIN_IS)
    same(path, "-a", "--debug", "b c")
    same("program.py", "x", cwd=tmp_path)
    same("./program.py", "x", cwd=tmp_path)
    (tmp_path / "link.py").symlink_to(path)
    (tmp_path / "other").mkdir()
    same("../link.py", cwd=tmp_path / "other")


def test_code_sees_what_python_shows_it(tmp_path):
    same("-c", WHAT_MAIN_IS, "-m", "x", cwd=tmp_path)


def test_stdin_sees_what_python_shows_it(tmp_path):
    same("-", "x", stdin=WHAT_MAIN_IS, cwd=tmp_path)


def test_a_module_sees_what_python_shows_it(tmp_path):
    write(tmp_path, WHAT_MAIN_IS, "alone.py")
    (tmp_path / "pack").mkdir()
    write(tmp_path, "print('package')\n", "pack/__init__.py")
    write(tmp_path, WHAT_MAIN_IS + "print(__package__)\n", "pack/part.py")
    write(tmp_path, WHAT_MAIN_IS, "pack/__main__.py")
    same("-m", "alone", "x", "-y", cwd=tmp_path)
    same("-malone", "x", cwd=tmp_path)
    same("-m", "pack.part", cwd=tmp_path)
    same("-m", "pack", "--help", cwd=tmp_path)
    same("-m", "pack.missing", cwd=tmp_path)
    same("-m", "alone.py", cwd=tmp_path)


def test_a_folder_and_a_zip_file_are_programs(tmp_path):
    (tmp_path / "folder").mkdir()
    write(tmp_path, "import helper\n" + WHAT_MAIN_IS, "folder/__main__.py")
    write(tmp_path, "print('helped')\n", "folder/helper.py")
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.write(tmp_path / "folder/__main__.py", "__main__.py")
        archive.write(tmp_path / "folder/helper.py", "helper.py")
    same(tmp_path / "folder", "x")
    same("folder", cwd=tmp_path)
    same(tmp_path / "program.zip", "x")
    (tmp_path / "empty").mkdir()
    same(tmp_path / "empty")


def test_a_compiled_file_is_a_program(tmp_path):
    import py_compile

    path = write(tmp_path, "print(__file__, __cached__, __name__)\n1 / 0\n")
    compiled = py_compile.compile(str(path), cfile=str(tmp_path / "program.pyc"))
    same(compiled)


def test_a_file_imports_its_neighbours_and_not_those_of_the_current_folder(tmp_path):
    (tmp_path / "here").mkdir()
    write(tmp_path, "WHERE = 'beside the program'\n", "neighbour.py")
    write(tmp_path, "WHERE = 'in the current folder'\n", "here/neighbour.py")
    write(tmp_path, "import neighbour\nprint(neighbour.WHERE)\n")
    done = same("../program.py", cwd=tmp_path / "here")
    assert done.stdout == "beside the program\n"


@pytest.mark.parametrize("options", [["-I"], ["-E"], ["-P"]], ids=str)
def test_safe_paths_stay_safe(tmp_path, options):
    if options == ["-P"] and sys.version_info < (3, 11):
        pytest.skip("this Python has no -P")
    if options != ["-P"] and python(*options, "-c", "import cloop").returncode:
        pytest.skip("cloop is found by PYTHONPATH here, which these options forbid")
    path = write(tmp_path, "import sys\nprint(sys.path, sys.flags)\n")
    same(path, options=options)


def test_interpreter_options_hold(tmp_path):
    path = write(tmp_path, "assert False\nprint(__debug__, __doc__)\n")
    assert same(path, options=["-O"]).stdout == "False None\n"
    path = write(tmp_path, "import warnings\nwarnings.warn('beware')\n")
    assert same(path, options=["-W", "error"]).returncode == 1


def test_source_is_decoded_as_python_decodes_it(tmp_path):
    latin = tmp_path / "latin.py"
    latin.write_bytes("# coding: latin-1\nprint(ascii('é'))\n".encode("latin-1"))
    same(latin)
    marked = tmp_path / "marked.py"
    marked.write_bytes(b"\xef\xbb\xbfprint(ascii('\xc3\xa9'))\r\n")
    same(marked)
    wrong = tmp_path / "wrong.py"
    wrong.write_bytes(b"print('\xe9')\n")
    alike(wrong)
    alike(write(tmp_path, "# coding: nonsense\n"))


def test_futures_of_this_package_do_not_leak_into_the_program(tmp_path):
    same(write(tmp_path, "def f(x: unknown_name): pass\n"))


# -- how the program ends --------------------------------------------------------------


@pytest.mark.parametrize("name", FAILURES)
def test_failures_look_as_under_python(tmp_path, name):
    same(write(tmp_path, FAILURES[name]))


@pytest.mark.parametrize("name", ["raise", "chained", "exit 3", "exit text"])
def test_failures_of_code_look_as_under_python(tmp_path, name):
    same("-c", textwrap.dedent(FAILURES[name]))
    same("-", stdin=textwrap.dedent(FAILURES[name]))


def test_failures_of_modules_look_as_under_python(tmp_path):
    write(tmp_path, FAILURES["raise"], "alone.py")
    write(tmp_path, FAILURES["syntax"], "broken.py")
    same("-m", "alone", cwd=tmp_path)
    same("-m", "broken", cwd=tmp_path)
    (tmp_path / "folder").mkdir()
    write(tmp_path, FAILURES["raise"], "folder/__main__.py")
    same("folder", cwd=tmp_path)


def test_a_missing_file_is_reported_as_by_python(tmp_path):
    assert same("nothing.py", cwd=tmp_path).returncode == 2


def test_frames_of_cloop_do_not_show_under_asyncio_run(tmp_path):
    path = write(
        tmp_path,
        """\
        import asyncio
        async def main():
            await asyncio.sleep(0)
            raise ValueError("inner")
        asyncio.run(main())
        """,
    )
    done = python("-m", "cloop", path)
    assert done.returncode == 1
    assert os.path.dirname(cloop.__file__) not in done.stderr
    assert "runpy" not in done.stderr
    assert done.stderr.startswith("Traceback (most recent call last):\n  File ")
    assert str(path) in done.stderr.splitlines()[1]
    assert done.stderr.endswith("ValueError: inner\n")


def test_atexit_and_buffers_are_served(tmp_path):
    same(
        write(
            tmp_path,
            """\
            import atexit, sys
            atexit.register(print, "at exit")
            sys.stdout.write("no newline, ")
            raise SystemExit(7)
            """,
        )
    )


@pytest.mark.parametrize("where", ["busy", "loop", "run", "handled"])
def test_an_interrupt_ends_the_process_by_its_signal(tmp_path, where):
    path = write(
        tmp_path,
        """\
        import asyncio, sys, time
        async def wait():
            try:
                print("ready", flush=True)
                await asyncio.sleep(30)
            finally:
                print("cleaned up", flush=True)
        how = sys.argv[1]
        if how == "busy":
            print("ready", flush=True)
            # In short sleeps: a signal just before one is noticed after it.
            for _ in range(600):
                time.sleep(0.05)
        elif how == "loop":
            asyncio.new_event_loop().run_until_complete(wait())
        elif how == "run":
            asyncio.run(wait())
        else:
            try:
                asyncio.run(wait())
            except KeyboardInterrupt:
                print("handled", flush=True)
        """,
    )
    child = subprocess.Popen(
        [sys.executable, "-m", "cloop", str(path), where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env=environment(),
    )
    try:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
    if where == "handled":
        assert (child.returncode, out, err) == (0, "cleaned up\nhandled\n", "")
    else:
        assert child.returncode == -signal.SIGINT
        assert err.rstrip().endswith("KeyboardInterrupt")
        assert os.path.dirname(cloop.__file__) not in err


# -- cloop is in place -----------------------------------------------------------------


def test_every_way_to_a_loop_leads_to_cloop():
    code = """
import asyncio, sys
loops = [asyncio.new_event_loop(), asyncio.get_event_loop()]
async def main():
    loops.append(asyncio.get_running_loop())
asyncio.run(main())
if sys.version_info >= (3, 11):
    with asyncio.Runner() as runner:
        runner.run(main())
if sys.version_info >= (3, 14):
    loops.append(asyncio.EventLoop())
import unittest
if hasattr(unittest, "IsolatedAsyncioTestCase"):
    class Case(unittest.IsolatedAsyncioTestCase):
        async def test(self):
            await main()
    assert unittest.TextTestRunner(sys.stdout).run(Case("test")).wasSuccessful()
print(set(type(loop).__module__ for loop in loops), len(loops) >= 4)
for loop in loops:
    loop.close()
"""
    done = python("-W", "ignore", "-m", "cloop", "-c", code)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "{'cloop'} True"


def test_without_legacy_asyncio_is_as_it_was():
    code = "import asyncio; print(sorted(vars(asyncio)), asyncio.sleep, asyncio.Task)"
    stock = python("-c", code).stdout.split(" at 0x")[0]
    assert python("-m", "cloop", "-c", code).stdout.split(" at 0x")[0] == stock


def test_legacy_mode():
    code = """
import asyncio
@asyncio.coroutine
def main():
    yield from asyncio.sleep(0)
    print("done")
asyncio.get_event_loop().run_until_complete(main())
"""
    done = python("-W", "ignore", "-m", "cloop", "--legacy", "-c", code)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_debug_mode():
    code = "import asyncio; print(asyncio.new_event_loop().get_debug())"
    plain = python("-W", "ignore", "-m", "cloop", "-c", code)
    debug = python("-W", "ignore", "-m", "cloop", "--debug", "-c", code)
    assert (plain.stdout, debug.stdout) == ("False\n", "True\n")


def test_multiprocessing_finds_the_program_again(tmp_path):
    path = write(
        tmp_path,
        """\
        import multiprocessing, pickle
        class Thing:
            def __eq__(self, other):
                return type(self) is type(other)
        def work(thing):
            return type(thing).__module__
        if __name__ == "__main__":
            assert pickle.loads(pickle.dumps(Thing())) == Thing()
            for method in ("fork", "spawn"):
                with multiprocessing.get_context(method).Pool(1) as pool:
                    print(method, pool.map(work, [Thing()]))
        """,
    )
    done = python("-W", "ignore", "-m", "cloop", path)
    assert done.stderr == ""
    assert done.stdout == "fork ['__main__']\nspawn ['__mp_main__']\n"


# -- the command itself ----------------------------------------------------------------


def test_version():
    for option in ("--version", "-V"):
        done = python("-m", "cloop", option)
        assert done.returncode == 0
        assert done.stdout.startswith(f"cloop {cloop.__version__} ")


def test_help_names_every_option():
    for option in ("--help", "-h"):
        done = python("-m", "cloop", option)
        assert done.returncode == 0
        for word in ("--legacy", "--debug", "--version", "-m", "-c", "FILE", "REPL"):
            assert word in done.stdout


@pytest.mark.parametrize(
    "args", [["--nonsense"], ["-x"], ["-m"], ["-c"], ["--legacy", "-q", "x.py"]]
)
def test_a_wrong_command_line_is_refused(args):
    done = python("-m", "cloop", *args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "usage: python -m cloop" in done.stderr


def test_options_behind_the_program_are_its_own(tmp_path):
    path = write(tmp_path, "import sys; print(sys.argv[1:])")
    done = python("-m", "cloop", "--", path, "--legacy", "--help")
    assert done.stdout == "['--legacy', '--help']\n"


# -- the REPL --------------------------------------------------------------------------

SESSION = """\
await asyncio.sleep(0, "slept")
type(asyncio.get_running_loop()).__module__
x = 20
async def twice(x): return 2 * x

await twice(x) + 2
1 / 0
"still here"
"""


def test_the_repl_awaits_at_the_top_level():
    done = python("-m", "cloop", stdin=SESSION, PYTHON_BASIC_REPL="1")
    assert done.returncode == 0
    for text in ("'slept'", "'cloop'", "42", "'still here'"):
        assert text in done.stdout
    assert "ZeroDivisionError" in done.stderr
    assert os.path.dirname(cloop.__file__) not in done.stderr


def test_the_repl_is_that_of_python():
    stock = python("-m", "asyncio", stdin="1 + 1\n", PYTHON_BASIC_REPL="1")
    ours = python("-m", "cloop", stdin="1 + 1\n", PYTHON_BASIC_REPL="1")
    assert (ours.stdout, ours.stderr) == (stock.stdout, stock.stderr)


def test_the_repl_ends_with_the_status_given_to_exit():
    session = "import sys\nsys.exit(5)\n"
    stock = python("-m", "asyncio", stdin=session, PYTHON_BASIC_REPL="1")
    ours = python("-m", "cloop", stdin=session, PYTHON_BASIC_REPL="1")
    assert ours.returncode == stock.returncode


def test_the_repl_knows_legacy_mode():
    done = python(
        *("-W", "ignore", "-m", "cloop", "--legacy"),
        stdin="asyncio.Task.all_tasks().__class__\n",
        PYTHON_BASIC_REPL="1",
    )
    assert "set" in done.stdout
