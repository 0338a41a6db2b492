"""Running a loop for one coroutine; making a loop and closing it."""

from __future__ import annotations

import asyncio
from itertools import repeat
from time import perf_counter as clock

from benchmarks.scenario import core


async def nothing():
    return None


@core("lifecycle", "run_until_complete of a coroutine", stock=1.5, uvloop=6.0)
def run_until_complete(loop, n):
    run = loop.run_until_complete
    start = clock()
    for _ in repeat(None, n):
        run(nothing())
    return clock() - start


@core("lifecycle", "loop made and closed", bare=True, stock=2.0, uvloop=3.0)
def create_close(factory, n):
    start = clock()
    for _ in repeat(None, n):
        factory().close()
    return clock() - start


@core(
    "lifecycle", "Runner with a loop factory, one coroutine", bare=True, since=(3, 12)
)
def runner(factory, n):
    start = clock()
    for _ in repeat(None, n):
        with asyncio.Runner(loop_factory=factory) as one:
            one.run(nothing())
    return clock() - start
