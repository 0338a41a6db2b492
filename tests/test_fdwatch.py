"""add_reader, add_writer, remove_reader, remove_writer (src/io/fdwatch.c)."""

import asyncio
import gc
import os
import resource
import socket
import sys
import threading
import time
import weakref

import pytest


@pytest.fixture
def pair():
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    yield a, b
    a.close()
    b.close()


def turns(loop, count=1):
    """Run that many turns of the loop (each polls)."""
    for _ in range(count):
        loop.call_soon(loop.stop)
        loop.run_forever()


def test_reader_is_called_while_readable(loop, pair):
    a, b = pair
    calls = []
    assert loop.add_reader(a, calls.append, 1) is None
    turns(loop)
    assert calls == []
    b.send(b"x")
    turns(loop, 3)
    assert len(calls) >= 2  # level-triggered: nobody has read
    a.recv(10)
    turns(loop)
    del calls[:]
    turns(loop, 2)
    assert calls == []
    assert loop.remove_reader(a) is True
    assert loop.remove_reader(a) is False


def test_once_per_poll_and_in_a_later_step_than_polling(loop, pair):
    a, b = pair
    b.send(b"x")
    order = []
    loop.add_reader(a, order.append, "reader")
    loop.call_soon(order.append, "soon")
    turns(loop)
    assert order == ["soon", "reader"] or order == ["soon"]
    del order[:]
    turns(loop)
    assert order.count("reader") == 1
    loop.remove_reader(a)


def test_writer(loop, pair):
    a, _ = pair
    calls = []
    assert loop.add_writer(a.fileno(), calls.append, "w") is None
    turns(loop, 2)
    assert calls
    assert loop.remove_writer(a.fileno()) is True
    assert loop.remove_writer(a.fileno()) is False
    del calls[:]
    turns(loop, 2)
    assert calls == []


def test_reader_and_writer_are_apart(loop, pair):
    a, b = pair
    calls = []
    loop.add_reader(a, calls.append, "r")
    loop.add_writer(a, calls.append, "w")
    turns(loop, 2)
    assert set(calls) == {"w"}
    assert loop.remove_writer(a) is True
    del calls[:]
    b.send(b"x")
    turns(loop, 2)
    assert set(calls) == {"r"}
    assert loop.remove_writer(a) is False
    assert loop.remove_reader(a) is True


def test_replacing_cancels_the_former(loop, pair):
    a, b = pair
    calls = []

    def both():
        # Both callbacks may be on the ready queue already: the former must not run.
        loop.add_reader(a, calls.append, "new")

    loop.add_reader(a, calls.append, "old")
    loop.add_writer(a, both)
    b.send(b"x")
    loop.remove_reader(a)
    loop.add_reader(a, calls.append, "old")
    loop.add_reader(a, calls.append, "new")
    turns(loop, 2)
    assert calls and set(calls) == {"new"}
    loop.remove_reader(a)
    loop.remove_writer(a)


def test_a_callback_that_removes_another_in_the_same_turn(loop):
    pairs = [socket.socketpair() for _ in range(2)]
    calls = []

    def first(i):
        calls.append(i)
        for a, _ in pairs:
            loop.remove_reader(a)

    for i, (a, b) in enumerate(pairs):
        loop.add_reader(a, first, i)
        b.send(b"x")
    turns(loop, 2)
    assert len(calls) == 1
    for a, b in pairs:
        a.close()
        b.close()


@pytest.mark.parametrize("name", ["add_reader", "add_writer"])
def test_add_bad_arguments(loop, name):
    add = getattr(loop, name)
    with pytest.raises(ValueError, match=r"Invalid file object: 'x'"):
        add("x", print)
    with pytest.raises(ValueError, match=r"Invalid file object: 1\.5"):
        add(1.5, print)
    with pytest.raises(ValueError, match="Invalid file object: None"):
        add(None, print)
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        add(-1, print)
    with pytest.raises(OverflowError, match="too large to convert to C int"):
        add(2**40, print)
    with pytest.raises(OSError) as info:
        add(10**6, print)
    assert info.value.errno == 9
    with pytest.raises(TypeError):
        add(0)
    with pytest.raises(PermissionError), open(__file__) as file:
        add(file, print)


@pytest.mark.parametrize("name", ["remove_reader", "remove_writer"])
def test_remove_bad_arguments(loop, name):
    remove = getattr(loop, name)
    with pytest.raises(ValueError, match="Invalid file object: 'x'"):
        remove("x")
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        remove(-1)
    assert remove(10**6) is False
    assert remove(2**40) is False
    assert remove(0) is False
    with pytest.raises(TypeError):
        remove()


def test_an_enormous_number_sizes_no_array(loop):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        with pytest.raises(OSError):
            loop.add_reader(10**9, print)
        assert loop.remove_reader(10**9) is False
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 20_000


class Fileno:
    def __init__(self, result):
        self.result = result

    def fileno(self):
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@pytest.mark.parametrize("result", ["x", None, AttributeError("a"), TypeError("t")])
def test_fileno_that_fails(loop, result):
    bad = Fileno(result)
    for call in (
        lambda: loop.add_reader(bad, print),
        lambda: loop.remove_reader(bad),
    ):
        with pytest.raises(ValueError, match=r"Invalid file object: <.*Fileno object"):
            call()


def test_fileno_that_raises_something_else(loop):
    with pytest.raises(ZeroDivisionError):
        loop.add_reader(Fileno(ZeroDivisionError()), print)


def test_objects_with_fileno(loop, pair):
    a, b = pair
    calls = []
    b.send(b"x")
    loop.add_reader(Fileno(a.fileno()), calls.append, 1)
    turns(loop, 2)
    assert calls
    assert loop.remove_reader(a.fileno()) is True


def test_the_file_object_is_kept_alive(loop):
    a, b = socket.socketpair()
    ref = weakref.ref(a)
    fd = a.fileno()
    calls = []
    loop.add_reader(a, calls.append, 1)
    del a
    gc.collect()
    assert ref() is not None
    b.send(b"x")
    turns(loop, 2)
    assert calls
    assert loop.remove_reader(fd) is True
    turns(loop)
    gc.collect()
    assert ref() is None
    b.close()


@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_remove_by_a_closed_socket_object(loop, kind):
    add, remove = getattr(loop, "add_" + kind), getattr(loop, "remove_" + kind)
    a, b = socket.socketpair()
    add(a, print)
    a.close()
    assert remove(a) is True
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        remove(a)
    b.close()


def test_callback_arguments_context_and_release(loop, pair):
    a, b = pair

    class Thing:
        pass

    thing = Thing()
    ref = weakref.ref(thing)
    got = []
    loop.add_reader(a, lambda t: got.append(type(t)), thing)
    del thing
    b.send(b"x")
    turns(loop, 2)
    assert got and got[0] is Thing
    loop.remove_reader(a)
    turns(loop)
    assert ref() is None


def test_an_exception_in_a_callback_is_reported(loop, pair, reports):
    a, b = pair

    def fail():
        a.recv(10)
        raise ZeroDivisionError

    loop.add_reader(a, fail)
    b.send(b"x")
    turns(loop, 2)
    assert [type(c["exception"]) for c in reports] == [ZeroDivisionError]
    assert "handle" in reports[0] and "fail" in reports[0]["message"]
    loop.remove_reader(a)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_exits_leave_the_loop(loop, pair, error):
    a, b = pair

    def fail():
        loop.remove_reader(a)
        raise error

    loop.add_reader(a, fail)
    b.send(b"x")
    with pytest.raises(error):
        loop.run_forever()
    turns(loop)


def test_closed_loop(impl, pair):
    a, _ = pair
    loop = impl.new_event_loop()
    loop.add_reader(a, print)
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.add_reader(a, print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.add_writer(a, print)
    assert loop.remove_reader(a) is False
    assert loop.remove_writer(a) is False


def test_closing_the_loop_releases_callbacks(impl, pair):
    a, _ = pair
    loop = impl.new_event_loop()

    class Thing:
        def __call__(self):
            pass

    thing = Thing()
    ref = weakref.ref(thing)
    loop.add_reader(a, thing)
    del thing
    assert ref() is not None
    loop.close()
    gc.collect()
    assert ref() is None


def test_a_loop_that_its_callbacks_hold_is_collected(impl):
    a, b = socket.socketpair()
    loop = impl.new_event_loop()
    loop.mark = type("Mark", (), {})()
    ref = weakref.ref(loop.mark)
    loop.add_reader(a, loop.call_soon, print)
    loop.add_writer(b, lambda held=loop: held)
    loop.close()
    del loop
    gc.collect()
    assert ref() is None
    a.close()
    b.close()


def test_callbacks_from_within_callbacks(loop, pair):
    """What psycopg does: interest changes in each step."""
    a, b = pair
    steps = []

    def readable():
        steps.append("r")
        loop.remove_reader(a)
        loop.add_writer(a, writable)

    def writable():
        steps.append("w")
        loop.remove_writer(a)
        if len(steps) < 20:
            loop.add_reader(a, readable)
        else:
            loop.stop()

    b.send(b"x")
    loop.add_reader(a, readable)
    loop.run_forever()
    assert steps == ["r", "w"] * 10


# -- numbers that are closed and reused ------------------------------------------------


def test_closed_and_reused_without_remove(loop):
    """The user closes the socket and registers another one with the same number."""
    calls = []
    a, b = socket.socketpair()
    fd = a.fileno()
    loop.add_reader(fd, calls.append, "old")
    turns(loop)
    loop.remove_reader(fd)
    a.close()
    c, d = socket.socketpair()
    peer = d if c.fileno() == fd else c
    peer.send(b"x")
    loop.add_reader(fd, calls.append, "new")
    turns(loop, 2)
    assert calls and set(calls) == {"new"}
    loop.remove_reader(fd)
    for sock in (b, c, d):
        sock.close()


def test_closed_and_reused_with_the_old_callback_in_place(impl, loop):
    if not impl.is_cloop:
        pytest.skip("stock takes the former registration for granted")
    calls = []
    a, b = socket.socketpair()
    fd = a.fileno()
    loop.add_reader(fd, calls.append, "old")
    turns(loop)
    a.close()
    c, d = socket.socketpair()
    peer = d if c.fileno() == fd else c
    peer.send(b"x")
    loop.add_reader(fd, calls.append, "new")
    turns(loop, 2)
    assert calls and set(calls) == {"new"}
    loop.remove_reader(fd)
    for sock in (b, c, d):
        sock.close()


def test_closed_before_the_removal(loop):
    a, b = socket.socketpair()
    fd = a.fileno()
    loop.add_reader(fd, print)
    a.close()
    assert loop.remove_reader(fd) is True
    assert loop.remove_reader(fd) is False
    turns(loop, 2)
    b.close()


@pytest.mark.parametrize("by", ["number", "object"])
def test_the_loop_itself_does_not_take_a_closed_number(loop, by):
    """Nothing of its own is opened later than the registration, by the first sleep."""
    a, b = socket.socketpair()
    what = a if by == "object" else a.fileno()
    loop.add_reader(what, print)
    a.close()
    loop.run_until_complete(asyncio.sleep(0.002))
    assert loop.remove_reader(what) is True
    b.close()


def test_reused_in_the_same_turn(loop):
    for _ in range(5):
        calls = []
        a, b = socket.socketpair()
        fd = a.fileno()
        loop.add_reader(fd, calls.append, "old")
        loop.remove_reader(fd)
        a.close()
        c, d = socket.socketpair()
        assert c.fileno() == fd or d.fileno() == fd
        mine, peer = (c, d) if c.fileno() == fd else (d, c)
        peer.send(b"x")
        loop.add_reader(mine, calls.append, "new")
        turns(loop, 2)
        assert calls and set(calls) == {"new"}
        loop.remove_reader(mine)
        for sock in (b, c, d):
            sock.close()


def test_a_duplicate_keeps_a_closed_number_alive(impl, loop):
    """epoll goes on reporting a closed descriptor while a duplicate is open: no busy
    loop, and no call for the new owner of the number."""
    if not impl.is_cloop:
        pytest.skip("stock calls the new owner, again and again")
    calls = []
    a, b = socket.socketpair()
    fd = a.fileno()
    loop.add_reader(fd, calls.append, "old")
    turns(loop)
    copy = os.dup(fd)
    a.close()
    loop.remove_reader(fd)
    b.send(b"x")
    c, d = socket.socketpair()
    mine = c if c.fileno() == fd else d
    assert mine.fileno() == fd
    loop.add_reader(mine, calls.append, "new")
    before = time.process_time()
    loop.call_later(0.3, loop.stop)
    loop.run_forever()
    assert calls == []
    assert time.process_time() - before < 0.15
    loop.remove_reader(mine)
    os.close(copy)
    for sock in (b, c, d):
        sock.close()


# -- no busy loop ----------------------------------------------------------------------


def idle_cost(loop, seconds=0.5):
    before = time.process_time()
    loop.call_later(seconds, loop.stop)
    loop.run_forever()
    return time.process_time() - before


def test_hang_up_with_nobody_interested(loop, pair):
    a, b = pair
    loop.add_reader(a, print)
    turns(loop)
    loop.remove_reader(a)
    b.close()
    assert idle_cost(loop) < 0.05


def test_hang_up_is_readable_and_writable(loop, pair):
    a, b = pair
    calls = set()
    b.close()
    loop.add_reader(a, calls.add, "r")
    loop.add_writer(a, calls.add, "w")
    turns(loop, 2)
    assert calls == {"r", "w"}
    loop.remove_reader(a)
    loop.remove_writer(a)
    assert idle_cost(loop) < 0.05


def test_pipe_ends(loop):
    r, w = os.pipe()
    calls = []
    loop.add_reader(r, calls.append, "eof")
    turns(loop)
    os.close(w)
    turns(loop, 2)
    assert calls
    loop.remove_reader(r)
    assert idle_cost(loop, 0.2) < 0.05
    os.close(r)


# -- other threads, forks --------------------------------------------------------------


def test_added_from_another_thread_through_the_loop(loop, pair):
    a, b = pair

    def readable():
        a.recv(10)
        loop.remove_reader(a)
        loop.stop()

    def work():
        time.sleep(0.02)
        loop.call_soon_threadsafe(loop.add_reader, a, readable)
        time.sleep(0.02)
        b.send(b"x")

    thread = threading.Thread(target=work)
    thread.start()
    loop.run_forever()
    thread.join()


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="forking a running test")
def test_a_forked_child_leaves_the_parents_registration(impl, pair):
    a, b = pair
    loop = impl.new_event_loop()
    if not impl.is_cloop:
        loop.close()
        pytest.skip("stock's child unregisters the parent's descriptors")
    calls = []

    def readable():
        calls.append(a.recv(10))
        loop.stop()

    loop.add_reader(a, readable)
    turns(loop)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            loop.remove_reader(a)
            loop.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    b.send(b"x")
    loop.call_later(2, loop.stop)
    loop.run_forever()
    assert calls == [b"x"]
    loop.remove_reader(a)
    loop.close()


# -- debug mode, evil objects ----------------------------------------------------------


def test_debug_mode(new_loop, pair):
    loop = new_loop(debug=True)
    a, b = pair
    calls = []
    b.send(b"x")
    loop.add_reader(a, calls.append, 1)
    turns(loop, 2)
    assert calls
    assert loop.remove_reader(a) is True


def test_a_fileno_that_closes_the_loop(impl, pair):
    a, _ = pair
    loop = impl.new_event_loop()

    class Evil:
        def fileno(self):
            loop.close()
            return a.fileno()

    with pytest.raises(RuntimeError, match="closed"):
        loop.add_reader(Evil(), print)


def test_an_argument_whose_death_changes_the_registration(loop, pair):
    a, _ = pair

    class Evil:
        def __del__(self):
            loop.remove_reader(a)
            loop.add_writer(a, print)
            loop.remove_writer(a)

    for _ in range(3):
        loop.add_reader(a, print, Evil())
        loop.add_reader(a, print)
        loop.remove_reader(a)
        turns(loop)
    loop.remove_reader(a)


def test_a_file_object_whose_death_closes_the_loop(impl):
    loop = impl.new_event_loop()
    a, b = socket.socketpair()

    class Evil:
        def fileno(self):
            return a.fileno()

        def __del__(self):
            loop.close()

    loop.add_reader(Evil(), print)
    loop.remove_reader(a.fileno())
    loop.call_soon(loop.stop) if not loop.is_closed() else None
    gc.collect()
    if not loop.is_closed():
        loop.close()
    a.close()
    b.close()


def test_many(loop):
    """A thousand descriptors, all ready, each once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(1000, (soft - 100) // 2)
    pairs = [socket.socketpair() for _ in range(count)]
    calls = []

    def readable(i, a):
        a.recv(10)
        calls.append(i)
        if len(calls) == count:
            loop.stop()

    for i, (a, b) in enumerate(pairs):
        loop.add_reader(a, readable, i, a)
        b.send(b"x")
    loop.run_forever()
    assert sorted(calls) == list(range(count))
    for a, b in pairs:
        assert loop.remove_reader(a) is True
        a.close()
        b.close()


def test_async_use(loop, pair):
    a, b = pair

    async def wait_readable():
        future = loop.create_future()
        loop.add_reader(a, future.set_result, None)
        try:
            await future
        finally:
            loop.remove_reader(a)

    async def main():
        for _ in range(10):
            task = loop.create_task(wait_readable())
            await asyncio.sleep(0)
            b.send(b"x")
            await asyncio.wait_for(task, 5)
            assert a.recv(10) == b"x"

    loop.run_until_complete(main())


@pytest.mark.parametrize("before", [0, 1, 20, 50])
def test_readiness_is_seen_a_turn_or_two_later(loop, pair, before):
    # Also when it comes by a call that the loop knows nothing of, and the ring is busy.
    a, b = pair
    received = []
    loop.add_reader(a, lambda: received.append(a.recv(10)))

    async def main():
        await asyncio.sleep(0.001)
        for _ in range(before):
            await asyncio.sleep(0)
        b.send(b"x")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert received == [b"x"]

    loop.run_until_complete(main())
    loop.remove_reader(a)


def test_readiness_is_seen_while_the_ring_is_always_busy(loop, pair):
    a, b = pair
    received = []
    loop.add_reader(a, lambda: received.append(a.recv(10)))

    async def main():
        for _ in range(1000):
            await asyncio.sleep(0)
        b.send(b"x")
        for _ in range(100):
            await asyncio.sleep(0)
        assert received == [b"x"]

    loop.run_until_complete(main())
    loop.remove_reader(a)
