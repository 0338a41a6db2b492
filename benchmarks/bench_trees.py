"""gather, task groups, and trees of tasks: idle leaves, sleeping leaves, mixed work."""

from __future__ import annotations

import asyncio
from itertools import repeat
from time import perf_counter as clock

from benchmarks.scenario import NotSupported, core

_BRANCHES = 6
_LEVELS = 4
_NODES = sum(_BRANCHES**level for level in range(1, _LEVELS + 1))
_NAP_S = 1e-4


async def nothing():
    return None


@core("trees", "gather of 1k coroutines", ops=1_000, stock=2.0, uvloop=1.6)
async def gather_1k(loop, n):
    start = clock()
    for _ in repeat(None, n):
        await asyncio.gather(*[nothing() for _ in repeat(None, 1_000)])
    return clock() - start


@core(
    "trees",
    "TaskGroup tree, 6 branches, 4 levels",
    ops=_NODES,
    since=(3, 11),
    stock=2.0,
    uvloop=1.6,
)
async def task_group_tree(loop, n):
    if not hasattr(asyncio, "TaskGroup"):
        raise NotSupported("needs asyncio.TaskGroup")

    async def grow(level):
        if level == 0:
            return
        async with asyncio.TaskGroup() as group:
            for _ in range(_BRANCHES):
                group.create_task(grow(level - 1))

    start = clock()
    for _ in repeat(None, n):
        await grow(_LEVELS)
    return clock() - start


def tree(leaf):
    """A coroutine function that grows n trees by gather, with leaf(i) at the tips."""

    async def run(loop, n):
        count = 0

        async def grow(level):
            nonlocal count
            if level == 0:
                count += 1
                return await leaf(count)
            return await asyncio.gather(*[grow(level - 1) for _ in range(_BRANCHES)])

        start = clock()
        for _ in repeat(None, n):
            await grow(_LEVELS)
        return clock() - start

    return run


async def idle(i):
    return i


async def nap(i):
    await asyncio.sleep(_NAP_S)
    return i


async def mixed(i):
    """Two of five leaves wait, one computes, two remember."""
    kind = i % 5
    if kind < 2:
        await asyncio.sleep(_NAP_S)
        return i
    if kind == 2:
        return sum(range(200))
    return _seen.setdefault(i % 97, i)


_seen = {}

_TREE = {"ops": _NODES, "stock": 2.0, "uvloop": 1.6}
core("trees", "async tree, leaves return", name="tree_none", **_TREE)(tree(idle))
core("trees", "async tree, leaves sleep", name="tree_io", **_TREE)(tree(nap))
core("trees", "async tree, mixed leaves", name="tree_mixed", **_TREE)(tree(mixed))
