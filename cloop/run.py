"""run and install: cloop for one coroutine, and cloop for the whole process."""

import asyncio
import sys
from asyncio import coroutines, events, runners

from .loop import Loop, new_event_loop

__all__ = ("install", "run")


def _finish(loop):
    """What asyncio.run of this Python does before it closes the loop (to 3.10)."""
    runners._cancel_all_tasks(loop)
    loop.run_until_complete(loop.shutdown_asyncgens())
    if sys.version_info >= (3, 9):
        loop.run_until_complete(loop.shutdown_default_executor())


def run(main, *, debug=None, loop_factory=None):
    """asyncio.run on a new cloop.Loop: run the coroutine main, finish what it left
    behind, close the loop and return the result. loop_factory makes another loop.
    See the asyncio documentation, section "Runners".
    """
    if events._get_running_loop() is not None:
        raise RuntimeError("cloop.run() cannot be called from a running event loop")
    factory = new_event_loop if loop_factory is None else loop_factory
    if sys.version_info >= (3, 11):
        with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
            return runner.run(main)
    if not coroutines.iscoroutine(main):
        raise ValueError(f"a coroutine was expected, got {main!r}")
    loop = factory()
    try:
        events.set_event_loop(loop)
        if debug is not None:
            loop.set_debug(debug)
        return loop.run_until_complete(main)
    finally:
        try:
            _finish(loop)
        finally:
            events.set_event_loop(None)
            loop.close()


def install():
    """Make cloop the loop of this process: asyncio.run, asyncio.Runner,
    asyncio.new_event_loop and (where it makes loops) asyncio.get_event_loop give
    cloop's from here on, and from 3.14 on asyncio.EventLoop is cloop.Loop. Loops that
    exist already stay what they are. Calling it again changes nothing.
    """
    try:
        from .policy import EventLoopPolicy
    except ImportError:
        EventLoopPolicy = None
    if EventLoopPolicy is None:
        asyncio.new_event_loop = events.new_event_loop = new_event_loop
    else:
        # The public names warn on 3.14, and it is not the caller who uses them.
        get = getattr(events, "_get_event_loop_policy", events.get_event_loop_policy)
        if not isinstance(get(), EventLoopPolicy):
            put = getattr(
                events, "_set_event_loop_policy", events.set_event_loop_policy
            )
            put(EventLoopPolicy())
    if sys.version_info >= (3, 14):
        asyncio.EventLoop = Loop
