"""call_later and call_at: order, cancellation, odd deadlines, precision."""

import asyncio
import contextvars
import gc
import math
import random
import sys
import time
import weakref
from decimal import Decimal
from fractions import Fraction

import pytest
from support import Probe, cloop_only, outcome, turn, without_gc


def callback(*args):
    pass


def run_for(loop, seconds):
    loop.call_later(seconds, loop.stop)
    loop.run_forever()


# -- order ---------------------------------------------------------------------------


def test_order_of_deadlines(loop):
    seen = []
    base = loop.time()
    deadlines = [base + n / 5000 for n in range(100)]
    random.Random(1).shuffle(deadlines)
    for when in deadlines:
        loop.call_at(when, seen.append, when)
    run_for(loop, 0.06)
    assert seen == sorted(deadlines)


def test_equal_deadlines_run_in_order_of_their_making(impl, loop):
    cloop_only(impl, "stock's heap is not stable")
    seen = []
    when = loop.time() + 0.01
    for number in range(500):
        loop.call_at(when, seen.append, number)
    run_for(loop, 0.03)
    assert seen == list(range(500))


def test_many_past_deadlines_run_by_deadline(loop):
    seen = []
    for number in [5, 3, 9, 1, 7]:
        loop.call_at(number, seen.append, number)
    turn(loop)
    assert seen == [1, 3, 5, 7, 9]


def test_never_early(impl, loop):
    late = []

    def note(when):
        late.append(loop.time() - when)

    rng = random.Random(2)
    for _ in range(200):
        when = loop.time() + rng.random() * 0.05
        loop.call_at(when, note, when)
    run_for(loop, 0.07)
    assert len(late) == 200
    # stock lets timers fire up to a tick of the clock early
    assert min(late) >= (0 if impl.is_cloop else -loop._clock_resolution)


def test_sub_millisecond(impl, loop):
    cloop_only(impl, "stock rounds a wait up to the next millisecond")

    async def main():
        took = []
        for _ in range(50):
            before = loop.time()
            await asyncio.sleep(0.0002)
            took.append(loop.time() - before)
        return took

    took = sorted(loop.run_until_complete(main()))
    assert took[0] >= 0.0002
    assert took[len(took) // 4] < 0.001


def test_a_timer_that_makes_timers(loop):
    seen = []

    def again(depth):
        seen.append(depth)
        if depth < 50:
            loop.call_later(0, again, depth + 1)
        else:
            loop.stop()

    loop.call_later(0, again, 0)
    loop.run_forever()
    assert seen == list(range(51))


def test_zero_timer_made_in_a_timer_waits_for_the_next_turn(loop):
    seen = []

    def first():
        loop.call_later(0, seen.append, "second")
        seen.append("first")

    loop.call_later(0, first)
    turn(loop)
    assert seen == ["first"]
    turn(loop)
    assert seen == ["first", "second"]


def test_a_busy_ring_does_not_starve_timers(loop):
    seen = []

    def busy():
        if not seen:
            loop.call_soon(busy)

    loop.call_soon(busy)
    loop.call_later(0.01, seen.append, 1)
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert seen == [1]


# -- cancelling ----------------------------------------------------------------------


def test_cancelled_timers_do_not_fire(loop):
    seen = []
    timers = [loop.call_later(0.001, seen.append, n) for n in range(100)]
    for timer in timers[::2]:
        timer.cancel()
    run_for(loop, 0.02)
    assert seen == list(range(1, 100, 2)) or sorted(seen) == list(range(1, 100, 2))


def test_cancel_of_a_timer_that_is_due_by_one_before_it(loop):
    seen = []
    loop.call_at(1, lambda: second.cancel())
    second = loop.call_at(2, seen.append, "second")
    loop.call_at(3, seen.append, "third")
    turn(loop)
    assert seen == ["third"]


def test_cancel_of_itself_while_running(loop):
    def run():
        timer.cancel()
        seen.append(timer.cancelled())

    seen = []
    timer = loop.call_later(0, run)
    turn(loop, 2)
    assert seen == [True]


def test_cancel_after_firing(loop):
    timer = loop.call_later(0, callback)
    turn(loop, 2)
    assert timer._scheduled is False
    timer.cancel()
    assert timer.cancelled()
    turn(loop, 2)


def test_scheduled_flag(loop):
    timer = loop.call_later(0, callback)
    assert timer._scheduled is True
    turn(loop, 2)
    assert timer._scheduled is False


def test_cancelled_timers_do_not_stay_in_memory(loop):
    with without_gc():
        refs = []
        for _ in range(10000):
            timer = loop.call_later(3600, callback, Probe())
            refs.append(weakref.ref(timer))
            timer.cancel()
        del timer
        turn(loop, 2)
        alive = sum(ref() is not None for ref in refs)
        # stock keeps up to 50 and sweeps when half of at least 100 are cancelled
        assert alive <= 100
        assert len(loop._scheduled) <= 100


def test_cancelled_among_live_ones(loop):
    keep = [loop.call_later(3600 + n, callback) for n in range(1000)]
    drop = [loop.call_later(1800 + n, callback) for n in range(5000)]
    random.Random(3).shuffle(drop)
    for timer in drop:
        timer.cancel()
    turn(loop, 2)
    assert len(loop._scheduled) <= 2100
    assert set(keep) <= set(loop._scheduled)
    for timer in keep:
        timer.cancel()


def test_timer_churn_keeps_the_heap_small(loop):
    for _ in range(200):
        timers = [loop.call_later(1000, callback) for _ in range(50)]
        for timer in timers:
            timer.cancel()
        turn(loop)
        assert len(loop._scheduled) <= 250


def test_random_timers_against_a_model(loop):
    """Ten thousand timers, made and cancelled at random, on a clock of our own."""
    rng = random.Random(4)
    now = [0.0]
    loop.time = lambda: now[0]
    seen, model, timers = [], {}, {}

    def fire(number):
        seen.append(number)
        timers.pop(number)

    for number in range(10000):
        when = now[0] + rng.choice([0, 0.5, 1, 10, 100]) * rng.random()
        # stock's order among equal deadlines is open: make them differ
        when += number * 1e-9
        timers[number] = loop.call_at(when, fire, number)
        model[number] = when
        if rng.random() < 0.4 and timers:
            victim = rng.choice(list(timers)[-50:])
            timers.pop(victim).cancel()
            model.pop(victim, None)
        if rng.random() < 0.05:
            now[0] += rng.random()
            before = len(seen)
            turn(loop)
            due = sorted((when, n) for n, when in model.items() if when <= now[0])
            assert seen[before:] == [n for _, n in due]
            for _, n in due:
                del model[n]
    now[0] += 1000
    turn(loop)
    assert not model or set(model) <= set(seen)
    assert timers == {}


# -- odd deadlines -------------------------------------------------------------------


@pytest.mark.parametrize(
    "delay", [math.inf, sys.maxsize, 2**55, 1e300, 1e18, 365 * 24 * 3600.0]
)
def test_long_delays(loop, delay):
    timer = loop.call_later(delay, callback)
    assert timer.when() > 1e7
    run_for(loop, 0.005)
    assert timer._scheduled is True
    timer.cancel()

    async def main():
        task = asyncio.ensure_future(asyncio.sleep(delay))
        await asyncio.sleep(0.002)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.run_until_complete(main())
    turn(loop)


@pytest.mark.parametrize("delay", [-1, -0.0, -1e300, -math.inf, -sys.maxsize])
def test_negative_delays_fire_at_once(loop, delay):
    seen = []
    loop.call_later(delay, seen.append, 1)
    turn(loop)
    assert seen == [1]


def test_only_a_far_timer_does_not_spin(loop):
    loop.call_later(math.inf, callback)
    before = time.process_time()
    run_for(loop, 0.3)
    assert time.process_time() - before < 0.15


def test_nan_fires_as_on_stock(impl, loop):
    def result(loop):
        seen = []
        loop.call_later(math.nan, seen.append, 1)
        turn(loop, 2)
        return seen

    stock = asyncio.SelectorEventLoop()
    expected = result(stock)
    stock.close()
    assert result(loop) == expected


def test_nan_among_others(loop):
    seen = []
    for number in range(20):
        loop.call_at(number, seen.append, number)
    nan = loop.call_later(math.nan, callback)
    turn(loop, 3)
    nan.cancel()
    turn(loop)
    assert sorted(seen) == list(range(20))


@pytest.mark.parametrize(
    "delay", [0, True, 1, Fraction(1, 1000), Decimal("0.001"), "0", None, b"1", []]
)
def test_types_of_delays(impl, loop, delay):
    def result(loop, method):
        found = outcome(getattr(loop, method), delay, callback)
        for timer in list(loop._scheduled):
            timer.cancel()
        loop._scheduled and turn(loop)
        return found

    stock = asyncio.SelectorEventLoop()
    expected = result(stock, "call_later")
    stock.close()
    assert result(loop, "call_later") == expected


@pytest.mark.parametrize("when", [0, True, 5, Fraction(1, 3), Decimal("1.5"), -5])
def test_call_at_takes_any_number(loop, when):
    seen = []
    timer = loop.call_at(when, seen.append, 1)
    assert timer.when() == when and type(timer.when()) is type(when)
    turn(loop, 2)
    assert seen == [1]


def test_float_subclass(loop):
    class Seconds(float):
        pass

    seen = []
    timer = loop.call_at(Seconds(2.5), seen.append, 1)
    assert type(timer.when()) is Seconds
    turn(loop)
    assert seen == [1]


def test_delay_whose_addition_misbehaves(loop):
    class Evil:
        def __radd__(self, other):
            loop.call_soon(seen.append, "from __radd__")
            return 5.0

    seen = []
    loop.call_later(Evil(), seen.append, "timer")
    turn(loop, 2)
    assert sorted(seen) == ["from __radd__", "timer"]


# -- through asyncio -----------------------------------------------------------------


def test_sleep(loop):
    before = loop.time()
    assert loop.run_until_complete(asyncio.sleep(0.01, "result")) == "result"
    assert 0.009 <= loop.time() - before < 5
    assert loop.run_until_complete(asyncio.sleep(0, "zero")) == "zero"
    assert loop.run_until_complete(asyncio.sleep(-1, "negative")) == "negative"


def test_cancelled_sleep_leaves_no_timer(loop):
    async def main():
        tasks = [asyncio.ensure_future(asyncio.sleep(100)) for _ in range(500)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    loop.run_until_complete(main())
    turn(loop, 2)
    assert len(loop._scheduled) <= 100


def test_many_sleeps_at_once(loop):
    rng = random.Random(5)

    async def nap(number):
        await asyncio.sleep(rng.random() * 0.02)
        return number

    async def main():
        return await asyncio.gather(*[nap(n) for n in range(2000)])

    assert loop.run_until_complete(main()) == list(range(2000))


def test_sleeping_forever_and_a_thread(loop):
    """A loop that waits for a far timer is woken by a thread."""
    import threading

    loop.call_later(1000, callback)
    thread = threading.Timer(0.02, loop.call_soon_threadsafe, [loop.stop])
    thread.start()
    before = time.monotonic()
    loop.run_forever()
    thread.join()
    assert time.monotonic() - before < 10


def test_timers_of_two_loops(impl):
    loops = [impl.new_event_loop() for _ in range(2)]
    seen = []
    for name, each in zip("ab", loops):
        each.call_later(0.001, seen.append, name)
    for each in loops:
        run_for(each, 0.005)
        each.close()
    assert seen == ["a", "b"]


def test_timer_survives_its_loop(impl):
    loop = impl.new_event_loop()
    timer = loop.call_later(1000, callback)
    fired = loop.call_later(0, callback)
    turn(loop, 2)
    loop.close()
    del loop
    gc.collect()
    assert timer.when() > 0
    timer.cancel()
    assert timer.cancelled() and not fired.cancelled()
    repr(timer)


# -- contexts ------------------------------------------------------------------------


def test_each_timer_runs_in_a_context_of_its_own(loop):
    var = contextvars.ContextVar("var", default="unset")
    seen = []

    def note(value):
        seen.append(var.get())
        var.set(value)

    var.set("first")
    timers = [loop.call_later(0, note, n) for n in range(3)]
    var.set("second")
    timers += [loop.call_later(0, note, n) for n in range(3, 5)]
    var.set("third")
    run_for(loop, 0.01)
    assert seen == ["first"] * 3 + ["second"] * 2
    assert [timer._context[var] for timer in timers] == list(range(5))
    assert var.get() == "third"


def test_the_context_that_is_shown_is_the_one_entered(loop):
    var = contextvars.ContextVar("var")
    var.set("made")
    timers = [loop.call_later(0, var.set, n) for n in range(2)]
    shown = [timer._context for timer in timers]
    assert shown[0] is not shown[1]
    assert [context[var] for context in shown] == ["made", "made"]
    shown[1].run(var.set, "by hand")
    assert shown[0][var] == "made"
    run_for(loop, 0.01)
    assert [context[var] for context in shown] == [0, 1]
    assert [timer._context for timer in timers] == shown


def test_the_context_of_a_cancelled_timer_stays(loop):
    var = contextvars.ContextVar("var")
    var.set("made")
    timers = [loop.call_later(60, callback) for _ in range(200)]
    for timer in timers:
        timer.cancel()
    var.set("later")
    turn(loop)
    assert all(timer._context[var] == "made" for timer in timers)
    assert timers[0]._context is timers[0]._context


@pytest.mark.parametrize("end", ["cancelled", "fired", "closed"])
def test_timers_keep_no_value_of_a_variable_alive(loop, end):
    class Value:
        pass

    var = contextvars.ContextVar("var")
    value = Value()
    alive = weakref.ref(value)
    token = var.set(value)
    timers = [
        loop.call_later(0 if end == "fired" else 60, callback) for _ in range(199)
    ]
    var.reset(token)
    del value, token
    assert alive() is not None
    if end == "cancelled":
        for timer in timers:
            timer.cancel()
    run_for(loop, 0.01)
    del timers[:50], timers[:]
    timer = None
    if end == "closed":
        loop.close()
    if end == "cancelled":
        for _ in range(3):
            loop.call_later(0.0, callback)
            turn(loop)
    gc.collect()
    assert alive() is None


def test_initialising_a_timer_anew_replaces_its_context(impl, loop):
    var = contextvars.ContextVar("var")
    var.set(1)
    timer = loop.call_later(0, callback)
    run_for(loop, 0.01)
    var.set(2)
    other = impl.new_event_loop()
    timer.__init__(5.0, callback, (), other)
    assert timer._context[var] == 2
    timer.cancel()
    other.close()
