"""The command `python -m cloop`: a program, run as `python` runs it, on cloop's loop.

The program gets a __main__ module of its own that is indistinguishable from the one
the interpreter makes (multiprocessing and pickle look at it), sys.argv and sys.path as
it would have them, and its uncaught exceptions leave through the interpreter's own
way out, so that the exit status, sys.excepthook, `python -i` and the death by SIGINT
after a KeyboardInterrupt are the interpreter's. Only the frames of this file and of
runpy above it are taken off the traceback first.
"""

import builtins
import importlib.machinery
import io
import os
import pkgutil
import runpy
import sys
import types

from . import __version__
from .run import install

USAGE = "python -m cloop [--legacy] [--debug] [-m MODULE | -c CODE | FILE | -] [ARGS]"

HELP = f"""\
usage: {USAGE}

Runs a Python program with cloop as asyncio's event loop, and otherwise as python
would. With nothing to run, a REPL in which await works at the top level.

  FILE         a program, or a folder or zip file with a __main__.py; - is stdin
  -m MODULE    a module, as python -m
  -c CODE      the program itself, as python -c
  ARGS         the program's own arguments

  --legacy     allow what asyncio had in Python 3.4 to 3.9 and has no longer
  --debug      asyncio's debug mode, as PYTHONASYNCIODEBUG=1
  --version    cloop's version and Python's
  --help       this text
"""


# Gone from modules in 3.15.
_CACHED = {"__cached__": None} if sys.version_info < (3, 15) else {}


class Request:
    """What the command line asks for."""

    def __init__(self):
        self.legacy = False
        self.debug = False
        self.kind = "repl"  # repl, file, module, code, stdin
        self.what = None
        self.args = []


def parse(argv):
    """argv (without the program's name) as a Request. SystemExit 0 for --help and
    --version, 2 for a wrong command line."""
    request = Request()
    rest = list(argv)
    while rest:
        arg = rest.pop(0)
        if arg == "--legacy":
            request.legacy = True
        elif arg == "--debug":
            request.debug = True
        elif arg in ("--help", "-h"):
            print(HELP, end="")
            raise SystemExit(0)
        elif arg in ("--version", "-V"):
            print(f"cloop {__version__} (Python {sys.version.split()[0]})")
            raise SystemExit(0)
        elif arg[:2] in ("-m", "-c"):
            request.kind = "module" if arg[1] == "m" else "code"
            if arg[2:]:
                request.what = arg[2:]
            elif rest:
                request.what = rest.pop(0)
            else:
                _refuse(f"argument expected for the {arg} option")
            break
        elif arg == "-":
            request.kind = "stdin"
            request.what = arg
            break
        elif arg == "--":
            if rest:
                request.kind, request.what = "file", rest.pop(0)
            break
        elif arg.startswith("-"):
            _refuse(f"unknown option {arg}")
        else:
            request.kind, request.what = "file", arg
            break
    request.args = rest
    return request


def _refuse(why):
    print(
        f"{why}\nusage: {USAGE}\nTry `python -m cloop --help' for more information.",
        file=sys.stderr,
    )
    raise SystemExit(2)


def main():
    """Never returns normally to a program: what it runs ends the process as it will."""
    request = parse(sys.argv[1:])
    if request.debug:
        os.environ["PYTHONASYNCIODEBUG"] = "1"
    install()
    if request.legacy:
        from . import legacy

        legacy.enable()
    run = globals()["_run_" + request.kind]
    try:
        run(request)
    except SystemExit:
        raise
    except BaseException:
        _hide_our_frames()
        raise


# -- the five kinds of program ---------------------------------------------------------


def _run_repl(request):
    sys.argv[:] = [sys.argv[0]]
    _new_main()
    runpy._run_module_as_main("asyncio")


def _run_module(request):
    # sys.path[0] is the current folder already: we were started with -m too.
    sys.argv[:] = ["-m", *request.args]
    _new_main()
    runpy._run_module_as_main(request.what)


def _run_code(request):
    sys.argv[:] = ["-c", *request.args]
    _set_path0("")
    source = request.what
    if sys.version_info >= (3, 14):
        import textwrap

        source = textwrap.dedent(source)
    _run_source(source, "<string>")


def _run_stdin(request):
    if sys.stdin is None or sys.stdin.isatty():
        _run_repl(request)
        return
    sys.argv[:] = ["-", *request.args]
    _set_path0("")
    _run_source(sys.stdin.buffer.read(), "<stdin>", __file__="<stdin>", **_CACHED)


def _run_file(request):
    given = request.what
    path = _full_path(given) if sys.version_info >= (3, 9) else given
    sys.argv[:] = [given, *request.args]
    if pkgutil.get_importer(path) is not None:  # a folder or a zip file
        _set_path0(path, always=True)
        _new_main()
        runpy._run_module_as_main("__main__", alter_argv=False)
        return
    try:
        with io.open_code(_full_path(path)) as file:
            code = pkgutil.read_code(file)  # of a .pyc, else None
        if code is None:
            with io.open_code(_full_path(path)) as file:
                source = file.read()
    except OSError as exc:
        shown = repr(path) if sys.version_info >= (3, 9) else f"'{path}'"
        print(
            f"{sys.executable}: can't open file {shown}: "
            f"[Errno {exc.errno}] {exc.strerror}",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    _set_path0(os.path.dirname(os.path.realpath(path)))
    loaders = importlib.machinery
    if code is None:
        loader = loaders.SourceFileLoader("__main__", path)
    else:
        loader = loaders.SourcelessFileLoader("__main__", path)
    module = _new_main(loader, __file__=path, **_CACHED)
    if code is None:
        code = compile(source, path, "exec", dont_inherit=True)
    exec(code, module.__dict__)


# -- the surroundings of a program -----------------------------------------------------


def _full_path(path):
    """path as the interpreter makes it absolute: nothing in it is resolved."""
    return os.path.join(os.getcwd(), path)


def _run_source(source, name, **names):
    module = _new_main(**names)
    code = compile(source, name, "exec", dont_inherit=True)
    if sys.version_info >= (3, 13) and name == "<string>":
        _show_source(code, source, name)
    exec(code, module.__dict__)


def _show_source(code, source, name):
    """Tracebacks of 3.13 show the lines of -c, not those of stdin."""
    import linecache

    register = getattr(linecache, "_register_code", None)
    if register is None:
        return
    # 3.13.0 keeps such lines by file name, later ones by code object.
    register(code if hasattr(linecache, "_interactive_cache") else name, source, name)


def _new_main(loader=importlib.machinery.BuiltinImporter, **names):
    """A fresh __main__ in sys.modules, as the interpreter makes one."""
    module = types.ModuleType("__main__")
    module.__builtins__ = builtins
    module.__loader__ = loader
    if sys.version_info < (3, 14):
        module.__annotations__ = {}
    vars(module).update(names)
    sys.modules["__main__"] = module
    return module


def _set_path0(path, always=False):
    """Puts the program's folder where `python -m cloop` has put the current one. With
    -I, -P and PYTHONSAFEPATH there is none, and only a program that is itself a path
    entry gets one."""
    if sys.flags.isolated or getattr(sys.flags, "safe_path", False):
        if always:
            sys.path.insert(0, path)
    else:
        sys.path[0] = path


def _hide_our_frames():
    """Has the traceback of the exception in flight printed from the program's first
    frame on, by whatever sys.excepthook the program has left."""
    hook = sys.excepthook

    def trimmed_hook(kind, value, frames):
        sys.excepthook = hook
        frames = _without_our_frames(frames)
        value.__traceback__ = sys.last_traceback = frames
        hook(kind, value, frames)

    sys.excepthook = trimmed_hook


def _without_our_frames(frames):
    """frames (a traceback) from behind the last leading frame of this file."""
    ours = None
    frame = frames
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == __file__:
            ours = frame
        elif ours is not None:
            break
        frame = frame.tb_next
    return frames if ours is None else ours.tb_next
