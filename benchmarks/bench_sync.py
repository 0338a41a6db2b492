"""What asyncio's own Python code does with tasks: wait_for, Queue, Event, Lock ..."""

from __future__ import annotations

import asyncio
from itertools import repeat
from time import perf_counter as clock

from benchmarks.scenario import core


@core("primitives", "wait_for of a coroutine that yields once")
async def wait_for(loop, n):
    async def once():
        await asyncio.sleep(0)

    start = clock()
    for _ in repeat(None, n):
        await asyncio.wait_for(once(), 60.0)
    return clock() - start


@core("primitives", "wait of 100 tasks", ops=100)
async def wait_100(loop, n):
    async def once():
        await asyncio.sleep(0)

    start = clock()
    for _ in repeat(None, n):
        await asyncio.wait([loop.create_task(once()) for _ in repeat(None, 100)])
    return clock() - start


@core("primitives", "shield of a task")
async def shield(loop, n):
    async def once():
        await asyncio.sleep(0)

    start = clock()
    for _ in repeat(None, n):
        await asyncio.shield(once())
    return clock() - start


@core("primitives", "Queue of 8, one producer, one consumer")
async def queue(loop, n):
    shared = asyncio.Queue(8)

    async def produce():
        for i in range(n):
            await shared.put(i)

    start = clock()
    producer = loop.create_task(produce())
    for _ in repeat(None, n):
        await shared.get()
    await producer
    return clock() - start


@core("primitives", "Event ping-pong between two tasks")
async def event(loop, n):
    ping, pong = asyncio.Event(), asyncio.Event()

    async def partner():
        for _ in repeat(None, n):
            await ping.wait()
            ping.clear()
            pong.set()

    task = loop.create_task(partner())
    start = clock()
    for _ in repeat(None, n):
        ping.set()
        await pong.wait()
        pong.clear()
    await task
    return clock() - start


@core("primitives", "Lock contended by 10 tasks", ops=10)
async def lock(loop, n):
    shared = asyncio.Lock()

    async def contend():
        for _ in repeat(None, n):
            async with shared:
                await asyncio.sleep(0)

    start = clock()
    await asyncio.gather(*[contend() for _ in range(10)])
    return clock() - start


@core("primitives", "run_in_executor round trip")
async def executor(loop, n):
    def job():
        return None

    await loop.run_in_executor(None, job)
    start = clock()
    for _ in repeat(None, n):
        await loop.run_in_executor(None, job)
    return clock() - start
