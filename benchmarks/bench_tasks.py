"""Tasks and futures: made, awaited, switched between."""

from __future__ import annotations

import asyncio
from itertools import repeat
from time import perf_counter as clock

from benchmarks.scenario import core


async def nothing():
    return None


@core("tasks", "create_task + await", stock=12.0, uvloop=6.0)
async def create_task_await(loop, n):
    create_task = loop.create_task
    start = clock()
    for _ in repeat(None, n):
        await create_task(nothing())
    return clock() - start


@core("tasks", "asyncio.create_task, 1k at a time", ops=1_000)
async def create_task_batch(loop, n):
    create_task = asyncio.create_task
    start = clock()
    for _ in repeat(None, n):
        for task in [create_task(nothing()) for _ in repeat(None, 1_000)]:
            await task
    return clock() - start


@core("tasks", "future ping-pong between two tasks", stock=7.0, uvloop=3.5)
async def future_ping_pong(loop, n):
    create_future = loop.create_future
    ping, pong = create_future(), None

    async def partner():
        nonlocal ping
        for _ in repeat(None, n):
            await ping
            ping = create_future()
            pong.set_result(None)

    task = loop.create_task(partner())
    await asyncio.sleep(0)
    start = clock()
    for _ in repeat(None, n):
        pong = create_future()
        ping.set_result(None)
        await pong
    elapsed = clock() - start
    await task
    return elapsed


@core("tasks", "future made, resolved and awaited")
async def future_done(loop, n):
    create_future = loop.create_future
    start = clock()
    for _ in repeat(None, n):
        future = create_future()
        future.set_result(None)
        await future
    return clock() - start


@core("tasks", "task cancelled and awaited")
async def task_cancel(loop, n):
    create_task = loop.create_task

    async def forever():
        await loop.create_future()

    start = clock()
    for _ in repeat(None, n):
        task = create_task(forever())
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
    return clock() - start


def switching(count):
    """`count` tasks that do sleep(0) n times each; making them is not counted."""

    async def run(loop, n):
        gate, done = loop.create_future(), loop.create_future()
        left = count

        async def member():
            nonlocal left
            await gate
            sleep = asyncio.sleep
            for _ in repeat(None, n):
                await sleep(0)
            left -= 1
            if not left:
                done.set_result(None)

        tasks = [loop.create_task(member()) for _ in range(count)]
        await asyncio.sleep(0)
        start = clock()
        gate.set_result(None)
        await done
        elapsed = clock() - start
        for task in tasks:
            await task
        return elapsed

    return run


core(
    "tasks",
    "sleep(0) switching, 1 task",
    name="switch_1",
)(switching(1))

core(
    "tasks",
    "sleep(0) switching, 100 tasks",
    name="switch_100",
    ops=100,
    stock=3.2,
    uvloop=2.0,
)(switching(100))

core(
    "tasks",
    "sleep(0) switching, 10k tasks",
    name="switch_10k",
    ops=10_000,
    heavy=True,
)(switching(10_000))
