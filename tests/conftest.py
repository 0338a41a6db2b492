"""What every behaviour test stands on: the same test, on cloop and on stock asyncio.

`impl` is the implementation under test, `loop` a fresh loop of it, `new_loop` makes
further ones. Whatever they make is closed after the test, and the descriptors that were
open before must be the ones that are open then.
"""

import asyncio
import gc
import os
import signal
import sys

import pytest
from impls import Cloop, Stock

# A shell that starts us in the background ignores SIGINT, and so would the tests' own
# child processes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """What is there before the first test is no business of the garbage collector: many
    tests call it, and it would walk through pytest and all modules each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=["cloop", "stock"])
def impl(request):
    """The implementation under test; every test that asks for it runs on both."""
    return Cloop() if request.param == "cloop" else Stock()


@pytest.fixture
def loop_factory(impl):
    """A callable that makes a loop which the test closes itself."""
    return impl.new_event_loop


@pytest.fixture
def new_loop(impl, no_fd_leak):
    """Makes loops, as many as are called for; they are closed after the test."""
    loops = []

    def make(**options):
        loop = impl.new_event_loop()
        for name, value in options.items():
            getattr(loop, "set_" + name)(value)
        loops.append(loop)
        return loop

    yield make
    for loop in loops:
        close_loop(loop)


@pytest.fixture
def loop(new_loop):
    """A fresh loop, current in the main thread, closed after the test."""
    loop = new_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)


@pytest.fixture
def reports(loop):
    """What reaches the exception handler of `loop`: a list of contexts."""
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    return contexts


def close_loop(loop):
    if loop.is_closed():
        return
    executor = getattr(loop, "_default_executor", None)
    loop.close()
    if executor is not None:
        executor.shutdown(wait=True)


def open_fds():
    """Descriptor -> what it is, of this process."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink("/proc/self/fd/" + name)
        except OSError:
            pass  # the descriptor of listdir itself
    return found


@pytest.fixture
def no_fd_leak():
    """Fails the test when it leaves more descriptors open than it found."""
    if not os.path.isdir("/proc/self/fd"):
        yield
        return
    before = open_fds()
    yield
    after = open_fds()
    if len(after) > len(before):
        gc.collect()
        after = open_fds()
    leaked = {fd: what for fd, what in after.items() if fd not in before}
    assert len(after) <= len(before), f"descriptors left open: {leaked}"


@pytest.fixture(autouse=True)
def clean_asyncio():
    """No test leaves a running loop, a policy or hooks behind for the next."""
    hooks = sys.get_asyncgen_hooks()
    yield
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    left = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(*hooks)
    if sys.version_info < (3, 14):
        # A policy that was told of a loop, or of None, makes none by itself any more.
        asyncio.set_event_loop_policy(None)
    assert running is None, f"the test left {running!r} as the running loop"
    assert left == hooks, f"the test left asyncgen hooks behind: {left}"
