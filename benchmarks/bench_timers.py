"""Timers made and cancelled, remade as timeouts are, and fired."""

from __future__ import annotations

import asyncio
import collections
import time
from itertools import repeat
from time import perf_counter as clock

from benchmarks.scenario import core

_DELAY_S = 60.0
_SHORT_S = 0.002


def noop():
    pass


def made_and_cancelled(count):
    """A coroutine function that makes `count` timers, cancels them, and turns."""

    async def run(loop, n):
        call_later = loop.call_later
        delays = [_DELAY_S + i * 1e-3 for i in range(count)]
        start = clock()
        for _ in range(n):
            handles = [call_later(delay, noop) for delay in delays]
            for handle in handles:
                handle.cancel()
            await asyncio.sleep(0)
        return clock() - start

    return run


def churn(standing):
    """With `standing` timers alive: cancel the oldest, make a new one, 100 a turn."""

    async def run(loop, n):
        call_later = loop.call_later
        handles = collections.deque(
            call_later(_DELAY_S + i * 1e-5, noop) for i in range(standing)
        )
        await asyncio.sleep(0)
        oldest, add = handles.popleft, handles.append
        start = clock()
        for _ in range(n):
            for _ in repeat(None, 100):
                oldest().cancel()
                add(call_later(_DELAY_S, noop))
            await asyncio.sleep(0)
        elapsed = clock() - start
        for handle in handles:
            handle.cancel()
        return elapsed

    return run


def fired(count):
    """Make `count` timers, let them fall due, run them; the wait is not counted."""

    delays = [_SHORT_S + i * 1e-7 for i in range(count)]

    async def once(loop):
        call_later = loop.call_later
        left = count
        done = loop.create_future()

        def fire():
            nonlocal left
            left -= 1
            if not left:
                done.set_result(None)

        start = clock()
        for delay in delays:
            call_later(delay, fire)
        made = clock() - start
        time.sleep(_SHORT_S + delays[-1])
        start = clock()
        await done
        return made + clock() - start

    async def run(loop, n):
        return sum([await once(loop) for _ in range(n)])

    return run


core(
    "timers",
    "1k timers made and cancelled",
    name="timers_cancel_1k",
    ops=1_000,
    stock=4.0,
    uvloop=3.0,
)(made_and_cancelled(1_000))

core(
    "timers",
    "100k timers made and cancelled",
    name="timers_cancel_100k",
    ops=100_000,
    heavy=True,
    stock=4.0,
    uvloop=3.0,
)(made_and_cancelled(100_000))

core(
    "timers",
    "timer churn: oldest of 1k cancelled, one made",
    name="timers_churn",
    ops=100,
    stock=6.0,
    uvloop=2.5,
)(churn(1_000))

core(
    "timers",
    "1k timers made and fired",
    name="timers_fire_1k",
    ops=1_000,
)(fired(1_000))

core(
    "timers",
    "100k timers made and fired",
    name="timers_fire_100k",
    ops=100_000,
    heavy=True,
)(fired(100_000))


@core("timers", "asyncio.sleep of a moment, 1k at a time", ops=1_000)
async def sleep_moment(loop, n):
    """Sleeping tasks; what is measured is CPU time, for they sleep for the rest."""

    async def sleeper():
        await asyncio.sleep(1e-6)

    start = time.process_time()
    for _ in range(n):
        await asyncio.gather(*[sleeper() for _ in repeat(None, 1_000)])
    return time.process_time() - start
