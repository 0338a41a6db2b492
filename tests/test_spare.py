"""What protocols receive is theirs, whatever memory the loop makes it in."""

import asyncio

import pytest
from wire import connected, run, until

SIZES = [600, 1024, 1024, 1000, 900, 1024, 5000, 1, 1024, 70_000, 65_000, 70_000, 64]


class Keeper(asyncio.Protocol):
    """Keeps of each arrival what `keep` makes of it; `come` counts bytes."""

    def __init__(self, keep):
        self.keep = keep
        self.kept = []
        self.come = 0

    def data_received(self, data):
        self.come += len(data)
        self.kept.append(self.keep(data))


def messages(sizes):
    return [(b"%d" % (i % 10)) * size for i, size in enumerate(sizes, 1)]


def feed(loop, keep, sent):
    """Sends one after the other. What the protocol has kept."""
    with connected(loop, lambda: Keeper(keep), kind="unix") as (_, protocol, far):
        for end, message in enumerate(sent, 1):
            far.sendall(message)
            size = sum(map(len, sent[:end]))
            run(loop, until(lambda size=size: protocol.come == size))
        return protocol.kept


@pytest.mark.parametrize("every", [1, 2, 3])
def test_data_that_is_kept_stays_as_it_came(loop, every):
    count = 0

    def keep(data):
        nonlocal count
        count += 1
        return data if count % every == 0 else bytes(bytearray(data))

    sent = messages(SIZES)
    assert b"".join(feed(loop, keep, sent)) == b"".join(sent)


def test_data_that_a_view_or_a_slice_of_is_kept_stays_as_it_came(loop):
    sent = messages(SIZES)
    assert b"".join(feed(loop, memoryview, sent)) == b"".join(sent)
    assert b"".join(feed(loop, lambda data: data[:], sent)) == b"".join(sent)


def test_data_that_is_dropped_is_whole_each_time(loop):
    """Length, hash and the byte behind the last are of this arrival, not of the one
    before: int() looks for the end by the latter."""

    def keep(data):
        copy = bytes(bytearray(data))
        assert hash(data) == hash(copy)
        assert data == copy
        assert {copy: True}[data]
        assert int(data) == int(data.decode())
        return copy

    sent = messages([600, 1024, 1000, 1024, 960, 1023, 600, 601])
    assert feed(loop, keep, sent) == sent


def test_data_kept_by_an_exception_stays_as_it_came(loop):
    """What a traceback's frames refer to is not reused either."""
    caught = []
    sent = messages([1024] * 6)

    def keep(data):
        try:
            raise ValueError
        except ValueError as error:
            caught.append(error)

    feed(loop, keep, sent)
    frames = [error.__traceback__.tb_frame for error in caught]
    assert [frame.f_locals["data"] for frame in frames] == sent


def test_the_loops_own_reading_within_data_received(loop):
    """A protocol that reads on by itself, within what it was called with."""
    with connected(loop, lambda: Keeper(keep), kind="unix") as (transport, _, far):
        protocol = transport.get_protocol()

        def nested(data):
            if protocol.come == 1024:
                far.sendall(b"2" * 1024)
                transport._read_ready()
                far.sendall(b"3" * 1000)
                transport._read_ready()
            return data == data[:1] * len(data) and data[:1]

        protocol.keep = nested
        far.sendall(b"1" * 1024)
        run(loop, until(lambda: protocol.come == 3048))
        assert protocol.kept == [b"2", b"3", b"1"]


def keep(data):
    return data


def test_one_made_where_a_kept_one_has_died(loop):
    """The room it has is its own, not that of the one before at its address."""
    kept = []

    def hold(data):
        kept.clear()  # what was kept dies, and its memory is free for the next
        if len(data) == 1000:
            kept.append(data)
        return data == data[:1] * len(data)

    sent = messages([1000, 490, 480, 1000, 490, 505, 960] * 60)
    assert feed(loop, hold, sent) == [True] * len(sent)
