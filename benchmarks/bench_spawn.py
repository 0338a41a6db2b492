"""Child processes."""

from __future__ import annotations

import asyncio
from itertools import repeat
from time import perf_counter as clock

from benchmarks.scenario import core

_TRUE = "/bin/true"


@core(
    "processes",
    "create_subprocess_exec of /bin/true, wait",
    stock=1.0,
    uvloop=1.05,
)
async def spawn(loop, n):
    start = clock()
    for _ in repeat(None, n):
        child = await asyncio.create_subprocess_exec(_TRUE)
        await child.wait()
    return clock() - start


@core("processes", "create_subprocess_exec of /bin/true with a pipe, communicate")
async def spawn_communicate(loop, n):
    start = clock()
    for _ in repeat(None, n):
        child = await asyncio.create_subprocess_exec(
            _TRUE, stdout=asyncio.subprocess.PIPE
        )
        await child.communicate()
    return clock() - start
