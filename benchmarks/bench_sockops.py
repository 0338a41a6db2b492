"""Sockets without transports: loop.sock_* and add_reader, over a socketpair."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from itertools import repeat
from time import perf_counter as clock

from benchmarks.scenario import core

_BLOCK = b"x" * 1024


@contextlib.contextmanager
def pair():
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


@core("sockets", "sock_sendall, then sock_recv of it, 1 KiB", uvloop=2.0)
async def sock_ready(loop, n):
    """Neither has to wait, so stock too makes just the two system calls: these are
    most of its time, and no target against it would say anything about the loop."""
    with pair() as (left, right):
        start = clock()
        for _ in repeat(None, n):
            await loop.sock_sendall(left, _BLOCK)
            await loop.sock_recv(right, 4096)
        return clock() - start


@core("sockets", "sock_* echo between two tasks, 1 KiB", stock=3.0, uvloop=2.0)
async def sock_echo(loop, n):
    with pair() as (left, right):

        async def partner():
            while True:
                data = await loop.sock_recv(right, 4096)
                if not data:
                    return
                await loop.sock_sendall(right, data)

        task = loop.create_task(partner())
        await asyncio.sleep(0)
        start = clock()
        for _ in repeat(None, n):
            await loop.sock_sendall(left, _BLOCK)
            await loop.sock_recv(left, 4096)
        elapsed = clock() - start
        left.shutdown(socket.SHUT_WR)
        await task
        return elapsed


@core("sockets", "sock_recv_into + sock_sendall echo, 1 KiB")
async def sock_into_echo(loop, n):
    with pair() as (left, right):

        async def partner():
            buffer = bytearray(4096)
            view = memoryview(buffer)
            while True:
                size = await loop.sock_recv_into(right, buffer)
                if not size:
                    return
                await loop.sock_sendall(right, view[:size])

        task = loop.create_task(partner())
        await asyncio.sleep(0)
        answer = bytearray(4096)
        start = clock()
        for _ in repeat(None, n):
            await loop.sock_sendall(left, _BLOCK)
            await loop.sock_recv_into(left, answer)
        elapsed = clock() - start
        left.shutdown(socket.SHUT_WR)
        await task
        return elapsed


@core(
    "sockets",
    "add_reader + remove_reader, 16 pairs a turn",
    ops=16,
    stock=8.0,
    uvloop=3.0,
)
async def reader_add_remove(loop, n):
    with pair() as (left, _):
        fd = left.fileno()

        def ready():
            pass

        start = clock()
        for _ in repeat(None, n):
            for _ in repeat(None, 16):
                loop.add_reader(fd, ready)
                loop.remove_reader(fd)
            await asyncio.sleep(0)
        return clock() - start


@core("sockets", "add_reader, one byte arrives, callback, remove_reader")
async def reader_event(loop, n):
    with pair() as (left, right):
        left_fd = left.fileno()
        waiter = None

        def ready():
            left.recv(1)
            loop.remove_reader(left_fd)
            waiter.set_result(None)

        start = clock()
        for _ in repeat(None, n):
            waiter = loop.create_future()
            loop.add_reader(left_fd, ready)
            right.send(b"x")
            await waiter
        return clock() - start
