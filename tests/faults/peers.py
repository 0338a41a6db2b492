"""Ends of connections in the scenarios of syscalls.py, and what an attempt is about."""

import asyncio

# Set by each attempt.
one_byte = False  # reads and writes move one byte each
injected = 0  # the errno of the fault

DATA = bytes(range(256)) * 2000


def set_result(future):
    if not future.done():
        future.set_result(None)


class Side(asyncio.Protocol):
    """One end of a connection: what came, and how it ended."""

    def __init__(self, loop):
        self.loop = loop
        self.data = bytearray()
        self.transport = None
        self.lost = loop.create_future()
        self.enough = loop.create_future()
        self.wanted = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        if len(self.data) == self.wanted:
            set_result(self.enough)

    def connection_lost(self, exc):
        assert not self.lost.done()
        self.lost.set_result(exc)


class EchoSide(Side):
    def data_received(self, data):
        self.transport.write(data)


def raise_injected(errors):
    for error in errors:
        if getattr(error, "errno", None) == injected:
            raise error


def raise_lost(sides):
    """Raises what a connection ended with: the injected error rather than what the
    peer made of it."""
    errors = [side.lost.result() for side in sides if side.lost.done()]
    errors = [error for error in errors if error is not None]
    raise_injected(errors)
    for error in errors:
        raise error


async def until_enough(side, *others):
    """Until side has all that it wants; raises when a connection was lost before."""
    sides = [side, *others]
    futures = [side.enough, *[each.lost for each in sides]]
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    if not side.enough.done():
        for each in sides:
            if each.transport is not None:
                each.transport.close()
        await asyncio.wait([each.lost for each in sides if each.transport is not None])
        raise_lost(sides)
    assert side.enough.done(), "lost without a reason"


async def close_all(*sides):
    for side in sides:
        side.transport.close()
    await asyncio.wait([side.lost for side in sides])
    raise_lost(sides)
