"""call_soon in its forms, and call_soon_threadsafe."""

from __future__ import annotations

import threading
from itertools import repeat
from time import perf_counter as clock

from benchmarks.scenario import core

_IN_A_TURN = 10_000
_FROM_A_THREAD = 1_000


def noop(*args):
    pass


@core("callbacks", "call_soon, each callback makes the next", stock=6.0, uvloop=2.5)
def call_soon_chain(loop, n):
    call_soon = loop.call_soon
    left = n

    def step():
        nonlocal left
        left -= 1
        if left:
            call_soon(step)
        else:
            loop.stop()

    call_soon(step)
    start = clock()
    loop.run_forever()
    return clock() - start


@core("callbacks", "call_soon, 10k in a turn", ops=_IN_A_TURN, stock=4.0, uvloop=1.8)
def call_soon_batch(loop, n):
    call_soon = loop.call_soon

    def turn(left):
        if not left:
            loop.stop()
            return
        for _ in repeat(None, _IN_A_TURN):
            call_soon(noop)
        call_soon(turn, left - 1)

    call_soon(turn, n)
    start = clock()
    loop.run_forever()
    return clock() - start


@core("callbacks", "call_soon with three arguments, 1k in a turn", ops=1_000)
def call_soon_args(loop, n):
    call_soon = loop.call_soon

    def turn(left):
        if not left:
            loop.stop()
            return
        for _ in repeat(None, 1_000):
            call_soon(noop, loop, 1, "two")
        call_soon(turn, left - 1)

    call_soon(turn, n)
    start = clock()
    loop.run_forever()
    return clock() - start


@core(
    "callbacks",
    "call_soon_threadsafe from a thread",
    ops=_FROM_A_THREAD,
    stock=8.0,
    uvloop=1.1,
)
def call_soon_threadsafe(loop, n):
    """A thread makes 1k calls, waits until the loop has run them, and goes on."""
    ran = threading.Event()
    elapsed = []

    def produce():
        post = loop.call_soon_threadsafe
        start = clock()
        for _ in range(n):
            ran.clear()
            for _ in repeat(None, _FROM_A_THREAD - 1):
                post(noop)
            post(ran.set)
            ran.wait()
        elapsed.append(clock() - start)
        post(loop.stop)

    thread = threading.Thread(target=produce)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    return elapsed[0]


@core("callbacks", "call_soon_threadsafe from the loop's own thread", ops=1_000)
def call_soon_threadsafe_own(loop, n):
    post = loop.call_soon_threadsafe

    def turn(left):
        if not left:
            loop.stop()
            return
        for _ in repeat(None, 1_000):
            post(noop)
        post(turn, left - 1)

    post(turn, n)
    start = clock()
    loop.run_forever()
    return clock() - start
