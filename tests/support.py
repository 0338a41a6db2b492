"""What the behaviour tests share: outcomes to compare, reports, programs."""

import asyncio
import gc
import os
import re
import subprocess
import sys
import sysconfig
import textwrap
import time

import pytest

PY = sys.version_info[:2]
HAS_GIL = not sysconfig.get_config_var("Py_GIL_DISABLED")


def cloop_only(impl, why):
    """Skips on stock, where cloop promises more than stock does."""
    if not impl.is_cloop:
        pytest.skip("cloop only: " + why)


def stock_fault(impl, condition, why):
    """Skips where the stock asyncio of this version is known to be broken."""
    if not impl.is_cloop and condition:
        pytest.skip("stock is at fault: " + why)


def is_fast(impl):
    return impl.is_cloop and sys.modules["cloop._cloop"]._fastpath


def fast_only(impl, why):
    """Skips where the shortcuts of cloop are not: on stock, and in builds without."""
    cloop_only(impl, why)
    if not is_fast(impl):
        pytest.skip("built with CLOOP_NO_FASTPATH: " + why)


def outcome(function, *args, **kwargs):
    """What a call did, so that two implementations can be compared.

    Function names in messages lose their class (Loop.f() and BaseEventLoop.f()), and
    addresses go.
    """
    try:
        value = function(*args, **kwargs)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:
        return "raised", type(exc).__name__, plain(str(exc))
    if asyncio.iscoroutine(value) or hasattr(value, "cr_frame"):
        value.close()
        return ("returned", "coroutine")
    if hasattr(value, "close") and hasattr(value, "send"):
        value.close()
        return ("returned", "coroutine")
    if isinstance(value, (bool, int, float, str, type(None))):
        return "returned", value
    return ("returned", [c.__name__ for c in type(value).__mro__ if is_asyncio(c)])


def is_asyncio(cls):
    """Whether it is a class of asyncio's that has a public name."""
    return cls.__module__.startswith(("asyncio", "_asyncio")) and cls.__name__[0] != "_"


def plain(text):
    text = re.sub(r"0x[0-9a-fA-F]+", "0x", text)
    text = re.sub(r"\b(?:\w+\.)+(\w+\(\))", r"\1", text)
    text = re.sub(r"'(?:cloop|_asyncio)\.(Future|Task)'", r"'\1'", text)
    # C functions word the number of their arguments differently in each version
    text = re.sub(r"takes (?:exactly |at most )?(?:no|one|\d) .*", "takes other", text)
    return re.sub(r"<(?:cloop\.(?:\w+\.)?Loop|\w+EventLoop) [^>]*>", "<loop>", text)


class Reports(list):
    """The contexts a loop's exception handler was called with."""

    def __init__(self, loop):
        super().__init__()
        loop.set_exception_handler(lambda loop, context: self.append(context))

    @property
    def messages(self):
        return [context.get("message") for context in self]

    @property
    def exceptions(self):
        return [context.get("exception") for context in self]


def turn(loop, count=1):
    """Runs exactly `count` turns of the loop."""
    for _ in range(count):
        loop.call_soon(loop.stop)
        loop.run_forever()


def until(condition, seconds=10.0, step=0.005):
    """Waits (blocking) until condition() holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("condition not met in %s s" % seconds)
        time.sleep(step)


class Probe:
    """Something weakly referable to watch die."""


class without_gc:
    """Within it nothing dies but by reference count."""

    def __enter__(self):
        gc.collect()
        self.was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *exc_info):
        if self.was_enabled:
            gc.enable()


PRELUDE = """\
import asyncio, os, signal, sys, threading, time
IMPL = {impl!r}
if IMPL == 'cloop':
    import cloop
    from cloop import new_event_loop, Loop, Future, Task
else:
    from asyncio import Future, Task, SelectorEventLoop as Loop
    new_event_loop = Loop
"""


def program_command(impl, source, *args, options=()):
    source = PRELUDE.format(impl=impl.name) + textwrap.dedent(source)
    return [sys.executable, *options, "-c", source, *args]


def program_env(impl, **extra):
    env = dict(os.environ, **extra)
    paths = [env.get("PYTHONPATH", "")]
    if impl.is_cloop:
        import cloop

        paths.insert(0, os.path.dirname(os.path.dirname(cloop.__file__)))
    env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return env


def run_program(impl, source, *args, options=(), status=0, timeout=60, **env):
    """Runs source in a Python of its own, with new_event_loop of impl; its stdout.

    The status must be as given (None: any); stderr stands in the failure's message.
    """
    done = subprocess.run(
        program_command(impl, source, *args, options=options),
        env=program_env(impl, **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
        text=True,
    )
    if status is not None and done.returncode != status:
        raise AssertionError(
            "exit status %s, wanted %s\n--- stdout\n%s\n--- stderr\n%s"
            % (done.returncode, status, done.stdout, done.stderr)
        )
    return done
