"""Handles of call_soon_threadsafe, which any thread may cancel (3.14 on)."""

import asyncio
import gc
import sys
import threading
import time
import weakref

import pytest
from support import run_program, turn

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="new in 3.14")


class Callback:
    """Tells when it has begun, and ends when it is let."""

    def __init__(self):
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.ended = False

    def __call__(self):
        self.begun.set()
        assert self.may_end.wait(20)
        self.ended = True


@pytest.fixture
def asked(loop):
    """Runs ask(handle) in a thread while the callback of `handle` runs in the loop's;
    returns what ask gave, and whether the callback had ended by then."""

    def run(ask):
        callback, found = Callback(), []
        handle = loop.call_soon_threadsafe(callback)

        def other():
            callback.begun.wait(20)
            timer = threading.Timer(0.1, callback.may_end.set)
            timer.start()
            found.append(ask(handle))
            found.append(callback.ended)
            timer.join()
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=other)
        thread.start()
        loop.run_forever()
        thread.join()
        return tuple(found), handle

    return run


def test_type(loop):
    handle = loop.call_soon_threadsafe(print)
    assert isinstance(handle, asyncio.events._ThreadSafeHandle)
    assert type(handle).__name__ == "_ThreadSafeHandle"
    assert not isinstance(loop.call_soon(print), asyncio.events._ThreadSafeHandle)
    assert loop._ready[0] is handle


def test_repr(loop):
    handle = loop.call_soon_threadsafe(print, 1)
    assert repr(handle).startswith("<_ThreadSafeHandle print(")
    handle.cancel()
    assert repr(handle) == "<_ThreadSafeHandle cancelled>"


def test_cancel_waits_for_the_callback(asked):
    found, handle = asked(lambda handle: handle.cancel())
    assert found == (None, True)
    assert handle.cancelled()


def test_cancelled_waits_for_the_callback(asked):
    found, _ = asked(lambda handle: handle.cancelled())
    assert found == (False, True)


def test_run_waits_for_the_callback(loop):
    """Two threads never are in the callback at once."""
    inside, most = [], []

    def callback():
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()

    handle = loop.call_soon_threadsafe(callback)
    threads = [threading.Thread(target=handle._run) for _ in range(4)]
    for thread in threads:
        thread.start()
    turn(loop)
    for thread in threads:
        thread.join()
    assert most == [1] * 5


def test_attributes_do_not_wait(asked):
    found, _ = asked(lambda handle: handle._cancelled)
    assert found == (False, False)


def test_a_callback_cancels_itself(loop):
    seen = []

    def callback():
        handle.cancel()
        seen.append(handle.cancelled())

    handle = loop.call_soon_threadsafe(callback)
    turn(loop)
    assert seen == [True]
    assert handle.cancelled()


def test_what_a_callback_took_again_it_gives_back(loop):
    seen = []
    handle = loop.call_soon_threadsafe(
        lambda: seen.extend([handle.cancelled(), handle.cancelled(), handle.cancel()])
    )
    turn(loop)
    assert seen == [False, False, None]
    thread = threading.Thread(target=lambda: seen.append(handle.cancelled()))
    thread.start()
    thread.join(20)
    assert seen[3:] == [True]


def test_cancelled_before_the_run(loop):
    seen = []
    handle = loop.call_soon_threadsafe(seen.append, 1)
    thread = threading.Thread(target=handle.cancel)
    thread.start()
    thread.join()
    handle._run()
    turn(loop)
    assert seen == []
    assert handle.cancelled()


def test_cancelled_while_it_waits_to_run(loop):
    """Whoever has the lock when the loop comes to the handle can still cancel it."""
    seen, has_lock = [], threading.Event()

    class Slow:
        """An argument whose repr cancel() wants in debug mode, under the lock."""

        def __repr__(self):
            has_lock.set()
            time.sleep(0.1)
            return "slow"

    loop.set_debug(True)
    handle = loop.call_soon_threadsafe(seen.append, Slow())
    thread = threading.Thread(target=handle.cancel)
    thread.start()
    has_lock.wait(20)
    handle._run()
    assert handle._repr is not None  # cancel() had come to its end
    thread.join()
    assert seen == []


def test_the_lock_is_free_after_an_exception(loop, reports):
    def fail():
        raise ValueError("of the callback")

    handle = loop.call_soon_threadsafe(fail)
    turn(loop)
    assert [str(context["exception"]) for context in reports] == ["of the callback"]
    assert reports[0]["handle"] is handle
    thread = threading.Thread(target=handle.cancel)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_the_lock_is_held_while_the_exception_is_reported(loop):
    begun, found = threading.Event(), []

    def handler(loop, context):
        begun.set()
        time.sleep(0.1)
        found.append("reported")

    def other():
        begun.wait(20)
        handle.cancel()
        found.append("cancelled")

    loop.set_exception_handler(handler)
    handle = loop.call_soon_threadsafe(lambda: 1 / 0)
    thread = threading.Thread(target=other)
    thread.start()
    turn(loop)
    thread.join()
    assert found == ["reported", "cancelled"]


def test_the_lock_is_free_after_an_exit(loop):
    def leave():
        raise SystemExit(3)

    handle = loop.call_soon_threadsafe(leave)
    with pytest.raises(SystemExit):
        loop.run_forever()
    thread = threading.Thread(target=handle.cancel)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_a_signal_ends_the_wait(impl):
    """Ctrl-C while the main thread waits for another thread's callback."""
    program = """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        loop = new_event_loop()
        begun, may_end = threading.Event(), threading.Event()

        def callback():
            begun.set()
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            may_end.wait(20)

        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        handle = loop.call_soon_threadsafe(callback)
        begun.wait(20)
        before = time.monotonic()
        try:
            handle.cancel()
        except KeyboardInterrupt:
            print("interrupted", handle._cancelled, time.monotonic() - before < 10)
        may_end.set()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        handle.cancel()
        print(handle.cancelled())
        loop.close()
    """
    done = run_program(impl, program)
    assert done.stdout.splitlines() == ["interrupted False True", "True"]


def test_made_by_hand(loop):
    cls = type(loop.call_soon_threadsafe(print))
    seen = []
    handle = cls(seen.append, (1,), loop)
    handle._run()
    handle.__init__(seen.append, (2,), loop)
    handle._run()
    handle.cancel()
    handle._run()
    assert seen == [1, 2]
    with pytest.raises(AttributeError):
        cls.__new__(cls).cancel()
    with pytest.raises(AttributeError):
        cls.__new__(cls).cancelled()
    with pytest.raises(AttributeError):
        cls.__new__(cls)._run()


def test_dies_with_what_it_holds(loop):
    class Probe:
        pass

    probe = Probe()
    ref = weakref.ref(probe)
    handle = loop.call_soon_threadsafe(lambda p: None, probe)
    handle_ref = weakref.ref(handle)
    del probe
    # What only the loop holds is seen by the collector all the same.
    loop.call_soon_threadsafe(lambda h: None, handle)
    del handle
    gc.collect()
    assert ref() is not None
    turn(loop, 2)
    assert ref() is None and handle_ref() is None


def test_a_cycle_is_collected(new_loop):
    class Probe:
        pass

    loop = new_loop()
    probe = Probe()
    probe.handle = loop.call_soon_threadsafe(lambda p: None, probe)
    turn(loop)
    ref = weakref.ref(probe)
    del probe
    gc.collect()
    assert ref() is None


def test_cancelled_by_threads_while_it_runs(loop):
    """Each callback has either run to its end or not begun when cancel() returns."""
    wrong = []

    def post():
        for _ in range(300):
            state = []

            def callback(state=state):
                state.append("begun")
                for _ in range(20):
                    pass
                state.append("ended")

            handle = loop.call_soon_threadsafe(callback)
            handle.cancel()
            found = list(state)
            if len(found) == 1 or found != state:
                wrong.append(found)

    threads = [threading.Thread(target=post) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        threading.Thread(
            target=lambda: (
                [thread.join() for thread in threads],
                loop.call_soon_threadsafe(loop.stop),
            )
        ).start()
        loop.run_forever()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
