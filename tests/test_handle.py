"""Handle and TimerHandle: what call_soon, call_later and call_at give."""

import asyncio
import contextvars
import gc
import sys
import types
import weakref

import pytest
from support import PY, Probe, Reports, cloop_only, outcome, turn, without_gc

pytestmark = pytest.mark.timeout(60)


def callback(*args):
    pass


def stock_twin(handle, loop):
    """A stock handle made of the same parts."""
    if isinstance(handle, asyncio.TimerHandle):
        return asyncio.TimerHandle(handle._when, handle._callback, handle._args, loop)
    return asyncio.Handle(handle._callback, handle._args, loop)


def same_repr(handle, twin):
    return repr(handle).split("> ")[0] == repr(twin).split("> ")[0]


# -- types ---------------------------------------------------------------------------


def test_types(impl, loop):
    soon = loop.call_soon(callback)
    later = loop.call_later(10, callback)
    at = loop.call_at(loop.time() + 10, callback)
    threadsafe = loop.call_soon_threadsafe(callback)
    for handle in soon, threadsafe:
        assert isinstance(handle, asyncio.Handle)
        assert not isinstance(handle, asyncio.TimerHandle)
    assert isinstance(soon, impl.Handle)
    for handle in later, at:
        assert isinstance(handle, asyncio.TimerHandle)
        assert isinstance(handle, asyncio.Handle)
        assert isinstance(handle, impl.TimerHandle)
    assert issubclass(impl.Handle, asyncio.Handle)
    assert issubclass(impl.TimerHandle, asyncio.TimerHandle)


def test_zero_and_past_are_timer_handles(loop):
    for handle in (
        loop.call_later(0, callback),
        loop.call_later(-5, callback),
        loop.call_at(0, callback),
        loop.call_at(loop.time() - 100, callback),
    ):
        assert isinstance(handle, asyncio.TimerHandle)
        assert isinstance(handle.when(), (int, float))


def test_weakref_and_hash(loop):
    for handle in loop.call_soon(callback), loop.call_later(5, callback):
        assert weakref.ref(handle)() is handle
        assert {handle: 1}[handle] == 1
    timer = loop.call_at(12345.5, callback)
    assert hash(timer) == hash(12345.5)


def test_no_instance_dict(loop):
    # stock handles have slots
    for handle in loop.call_soon(callback), loop.call_later(5, callback):
        with pytest.raises(AttributeError):
            handle.something = 1


# -- the public face -----------------------------------------------------------------


def test_attributes(loop):
    handle = loop.call_soon(callback, 1, "two")
    assert handle._callback is callback
    assert handle._args == (1, "two")
    assert handle._loop is loop
    assert handle._cancelled is False
    assert isinstance(handle._context, contextvars.Context)
    assert handle._source_traceback is None
    timer = loop.call_at(77.5, callback, 1, 2, 3, 4, 5)
    assert timer._when == 77.5
    assert timer._scheduled is True
    assert timer._args == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("nargs", range(9))
def test_any_number_of_arguments(loop, nargs):
    seen = []
    args = tuple(object() for _ in range(nargs))
    handles = [
        loop.call_soon(lambda *a: seen.append(a), *args),
        loop.call_later(0, lambda *a: seen.append(a), *args),
        loop.call_soon_threadsafe(lambda *a: seen.append(a), *args),
    ]
    assert all(h._args == args for h in handles)
    turn(loop, 3)
    assert seen == [args] * 3
    assert all(h._args == args for h in handles)


def test_cancel(loop):
    seen = []
    handles = [
        loop.call_soon(seen.append, 1),
        loop.call_later(0, seen.append, 2),
        loop.call_soon_threadsafe(seen.append, 3),
    ]
    for handle in handles:
        assert handle.cancelled() is False
        assert handle.cancel() is None
        assert handle.cancelled() is True
        assert handle._callback is None
        assert handle._args is None
        assert handle.cancel() is None
    turn(loop, 3)
    assert seen == []


def test_cancelled_stays_false_after_the_run(loop):
    handles = [loop.call_soon(callback), loop.call_later(0, callback)]
    turn(loop, 2)
    assert [h.cancelled() for h in handles] == [False, False]
    for handle in handles:
        handle.cancel()
        assert handle.cancelled() is True


def test_cancel_from_inside_its_own_callback(loop):
    seen = []

    def run():
        handle.cancel()
        seen.append(handle.cancelled())

    handle = loop.call_soon(run)
    turn(loop)
    assert seen == [True]


def test_cancel_of_the_next_in_the_same_turn(loop):
    seen = []
    loop.call_soon(lambda: second.cancel())
    second = loop.call_soon(seen.append, "second")
    loop.call_soon(seen.append, "third")
    turn(loop)
    assert seen == ["third"]


def test_cancel_releases_at_once(loop):
    for schedule in (
        lambda f, a: loop.call_soon(f, a),
        lambda f, a: loop.call_later(1000, f, a),
    ):
        with without_gc():
            probe = Probe()
            ref = weakref.ref(probe)
            handle = schedule(callback, probe)
            del probe
            assert ref() is not None
            handle.cancel()
            assert ref() is None


def test_when_survives(loop):
    fired = loop.call_at(1.25, callback)
    cancelled = loop.call_at(1e9, callback)
    cancelled.cancel()
    turn(loop, 2)
    assert fired.when() == 1.25
    assert cancelled.when() == 1e9


@pytest.mark.parametrize("when", [5, 5.5, True, 2**70])
def test_when_is_what_was_given(loop, when):
    timer = loop.call_at(when, callback)
    assert timer.when() == when
    assert type(timer.when()) is type(when)
    timer.cancel()


def test_call_later_when(loop):
    before = loop.time()
    timer = loop.call_later(100, callback)
    assert before + 100 <= timer.when() <= loop.time() + 100


# -- repr ----------------------------------------------------------------------------


def test_repr(loop):
    twin_loop = asyncio.SelectorEventLoop()
    try:
        handles = [
            loop.call_soon(callback),
            loop.call_soon(callback, 1, "x" * 5),
            loop.call_later(100, callback),
            loop.call_later(100, callback, None),
            loop.call_soon(print, 1),
            loop.call_soon(types.MethodType(callback, 5)),
            loop.call_soon(lambda: 1),
        ]
        for handle in handles:
            assert repr(handle) == repr(stock_twin(handle, twin_loop))
        for handle in handles:
            handle.cancel()
        assert repr(handles[0]) == "<Handle cancelled>"
        assert repr(handles[2]) == "<TimerHandle cancelled when=%s>" % (
            handles[2].when(),
        )
    finally:
        twin_loop.close()


def test_repr_in_debug_mode(loop):
    loop.set_debug(True)
    handle = loop.call_soon(callback, 7)
    line = sys._getframe().f_lineno - 1
    text = repr(handle)
    assert text.startswith("<Handle callback(7) at ")
    assert "created at %s:%d" % (__file__, line) in text
    handle.cancel()
    cancelled = repr(handle)
    assert cancelled.startswith("<Handle cancelled callback(7) at ")
    assert "created at %s:%d" % (__file__, line) in cancelled
    timer = loop.call_later(50, callback, 8)
    timer.cancel()
    assert repr(timer).startswith("<TimerHandle cancelled when=")
    assert "callback(8) at" in repr(timer)


def test_source_traceback(loop):
    loop.set_debug(True)
    handles = [
        loop.call_soon(callback),
        loop.call_later(1, callback),
        loop.call_at(1, callback),
        loop.call_soon_threadsafe(callback),
    ]
    first = sys._getframe().f_lineno - 5
    for number, handle in enumerate(handles):
        last = handle._source_traceback[-1]
        assert (last[0], last[2]) == (__file__, "test_source_traceback")
        assert last[1] == first + number
        handle.cancel()


# -- made by the user ----------------------------------------------------------------


class MockLoop:
    def __init__(self, debug=False):
        self.debug = debug
        self.contexts = []
        self.timers = []

    def get_debug(self):
        return self.debug

    def call_exception_handler(self, context):
        self.contexts.append(context)

    def _timer_handle_cancelled(self, handle):
        self.timers.append(handle)


def test_constructor(impl):
    mock = MockLoop()
    seen = []
    handle = impl.Handle(seen.append, (1,), mock)
    assert handle._args == (1,)
    handle._run()
    assert seen == [1]
    assert handle._loop is mock
    handle = impl.Handle(callback=seen.append, args=[2], loop=mock, context=None)
    assert list(handle._args) == [2]
    handle._run()
    assert seen == [1, 2]


def test_constructor_context(impl):
    var = contextvars.ContextVar("var", default=0)
    context = contextvars.copy_context()
    context.run(var.set, 5)
    seen = []
    handle = impl.Handle(lambda: seen.append(var.get()), (), MockLoop(), context)
    assert handle._context is context
    handle._run()
    handle = impl.Handle(lambda: seen.append(var.get()), (), MockLoop())
    handle._run()
    assert seen == [5, 0]
    if PY >= (3, 12):
        assert handle.get_context() is handle._context


def test_bad_constructor_arguments(impl):
    for args, kwargs in [
        ((), {}),
        ((callback,), {}),
        ((callback, ()), {}),
        ((callback, (), MockLoop(), None, 5), {}),
        ((callback, (), MockLoop()), {"zzz": 1}),
        ((callback, (), MockLoop()), {"args": ()}),
    ]:
        with pytest.raises(TypeError):
            impl.Handle(*args, **kwargs)
        with pytest.raises(TypeError):
            impl.TimerHandle(*((1,) + args if args else args), **kwargs)


def test_run_reports(impl):
    mock = MockLoop()
    handle = impl.Handle(lambda: 1 / 0, (), mock)
    handle._run()
    (context,) = mock.contexts
    assert sorted(context) == ["exception", "handle", "message"]
    assert context["handle"] is handle
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["message"].startswith("Exception in callback ")
    assert "test_run_reports" in context["message"]


def test_run_reports_where_it_was_made_in_debug_mode(impl):
    mock = MockLoop(debug=True)
    handle = impl.Handle(lambda: 1 / 0, (), mock)
    handle._run()
    (context,) = mock.contexts
    assert context["source_traceback"] is handle._source_traceback


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_run_lets_interrupts_out(impl, kind):
    def leave():
        raise kind

    mock = MockLoop()
    with pytest.raises(kind):
        impl.Handle(leave, (), mock)._run()
    assert mock.contexts == []


def test_run_reports_cancelled_error(impl):
    def leave():
        raise asyncio.CancelledError("x")

    mock = MockLoop()
    impl.Handle(leave, (), mock)._run()
    assert isinstance(mock.contexts[0]["exception"], asyncio.CancelledError)


def test_timer_constructor(impl):
    mock = MockLoop()
    timer = impl.TimerHandle(5, callback, (1,), mock)
    assert timer.when() == 5
    assert timer._scheduled is False
    timer.cancel()
    assert mock.timers == [timer]
    timer.cancel()
    assert mock.timers == [timer]


def test_timer_comparison(impl):
    mock = MockLoop()
    one = impl.TimerHandle(1, callback, (), mock)
    two = impl.TimerHandle(2, callback, (), mock)
    again = impl.TimerHandle(1, callback, (), mock)
    other = impl.TimerHandle(1, print, (), mock)
    assert one < two and one <= two and not one > two and not one >= two
    assert two > one and two >= one and not two < one
    assert one <= again and one >= again
    assert one == again and not one != again
    assert one != other and one != two
    assert hash(one) == hash(again)
    again.cancel()
    assert one != again
    assert one != 1 and not one == 1
    with pytest.raises(AttributeError if PY == (3, 8) else TypeError):
        assert one < 1
    with pytest.raises(AttributeError if PY == (3, 8) else TypeError):
        assert one > "x"
    assert sorted([two, one])[0] is one
    # against a stock handle, both ways
    stock = asyncio.TimerHandle(1.5, callback, (), mock)
    assert one < stock < two
    assert two > stock > one
    assert asyncio.TimerHandle(1, callback, (), mock) == one


def test_handle_identity(impl):
    mock = MockLoop()
    assert impl.Handle(callback, (), mock) != impl.Handle(callback, (), mock)


def test_subclass(impl, loop):
    class MyHandle(impl.Handle):
        def __init__(self, *args):
            super().__init__(*args)
            self.extra = 5

        def _run(self):
            ran.append(self.extra)
            return super()._run()

    ran = []
    handle = MyHandle(ran.append, ("x",), loop)
    assert handle.extra == 5
    handle._run()
    assert ran == [5, "x"]
    assert repr(handle).startswith("<MyHandle ")
    del handle

    class MyTimer(impl.TimerHandle):
        pass

    assert MyTimer(1, callback, (), loop) < MyTimer(2, callback, (), loop)


def test_uninitialized(impl):
    cloop_only(impl, "stock raises AttributeError from Python code")

    def use(handle):
        for name in "cancel", "cancelled", "_run", "__repr__":
            outcome(getattr(handle, name))
        for name in "_callback", "_args", "_context", "_loop", "_cancelled", "_repr":
            outcome(getattr, handle, name)
        outcome(hash, handle)
        outcome(lambda: handle < handle)
        outcome(lambda: handle == handle)
        if hasattr(handle, "when"):
            outcome(lambda: handle.when())

    for cls in impl.Handle, impl.TimerHandle:
        use(cls.__new__(cls))
    gc.collect()


def test_init_twice(impl):
    mock = MockLoop()
    seen = []
    handle = impl.Handle(seen.append, (1,), mock)
    handle.__init__(seen.append, (2,), mock)
    handle._run()
    assert seen == [2]


# -- contexts ------------------------------------------------------------------------


def test_runs_in_the_context_of_the_call(loop):
    var = contextvars.ContextVar("var", default="unset")
    seen = []
    schedule = [
        lambda f, **kw: loop.call_soon(f, **kw),
        lambda f, **kw: loop.call_soon_threadsafe(f, **kw),
        lambda f, **kw: loop.call_later(0, f, **kw),
        lambda f, **kw: loop.call_at(0, f, **kw),
    ]

    def note():
        seen.append(var.get())
        var.set("changed by the callback")

    var.set("at the call")
    for call in schedule:
        call(note)
    var.set("after the call")
    given = contextvars.copy_context()
    given.run(var.set, "given")
    for call in schedule:
        given.run(var.set, "given")
        call(note, context=given)
    turn(loop, 3)
    assert seen[:1] == ["at the call"]
    assert seen.count("at the call") == 4
    # all four share `given`: the first change stays in it
    assert seen.count("given") == 1
    assert seen.count("changed by the callback") == 3
    assert var.get() == "after the call"
    assert given[var] == "changed by the callback"


def test_context_none_is_a_copy(loop):
    var = contextvars.ContextVar("var")
    var.set(1)
    handle = loop.call_soon(callback, context=None)
    assert handle._context[var] == 1
    assert handle._context is not contextvars.copy_context()
    if PY >= (3, 12):
        assert handle.get_context() is handle._context


def test_entered_context_is_reported(loop, caplog):
    # Context.run refuses to be entered twice: the callback cannot run, and from 3.12
    # on neither can the exception handler, which is to run in the same context
    reports = Reports(loop)
    context = contextvars.copy_context()

    def inside():
        loop.call_soon(callback, context=context)
        turn(loop)

    context.run(inside)
    if PY < (3, 12):
        assert "cannot enter context" in str(reports.exceptions[0])
    else:
        assert "Unhandled error in exception handler" in caplog.text
        assert "cannot enter context" in caplog.text


def test_wrong_context(loop):
    # in stock's C Context.run is called as a method: what fails is reported
    reports = Reports(loop)
    seen = []
    try:
        loop.call_soon(seen.append, 1, context=5)
    except TypeError:
        return
    turn(loop)
    assert seen == []
    assert isinstance(reports.exceptions[0], (AttributeError, TypeError))


# -- release -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["soon", "later", "threadsafe"])
@pytest.mark.parametrize("raises", [False, True])
def test_released_right_after_the_run(impl, loop, how, raises):
    if raises:
        cloop_only(impl, "stock's Handle._run leaves a cycle through its frame")

    class Callback:
        def __call__(self, *args):
            if raises:
                raise ValueError

    loop.set_exception_handler(lambda loop, context: None)
    call = {
        "soon": loop.call_soon,
        "later": lambda f, *a, **k: loop.call_later(0, f, *a, **k),
        "threadsafe": loop.call_soon_threadsafe,
    }[how]
    with without_gc():
        var = contextvars.ContextVar("var")
        objects = [Callback(), Probe(), Probe(), Probe(), Probe(), Probe()]
        context = contextvars.copy_context()
        context.run(var.set, Probe())
        refs = [weakref.ref(o) for o in objects] + [weakref.ref(context[var])]
        call(*objects, context=context)
        del objects, context
        alive = []
        # the next callback of the same turn already finds them gone
        call(lambda: alive.append([r() is not None for r in refs]))
        turn(loop, 2)
        assert alive == [[False] * 7]


def test_handle_freed_after_the_run(loop):
    with without_gc():
        refs = [
            weakref.ref(loop.call_soon(callback)),
            weakref.ref(loop.call_later(0, callback)),
            weakref.ref(loop.call_soon_threadsafe(callback)),
        ]
        assert all(ref() is not None for ref in refs)
        turn(loop, 3)
        assert [ref() for ref in refs] == [None] * 3


def test_cycle_is_collectable(loop):
    handle_refs = []
    for schedule in loop.call_soon, lambda f: loop.call_later(0, f):
        box = []

        def cycle(box=box):
            pass

        handle = schedule(cycle)
        box.append(handle)
        handle_refs.append(weakref.ref(handle))
        del handle, box, cycle
    turn(loop, 2)
    gc.collect()
    assert [ref() for ref in handle_refs] == [None, None]


def test_unrun_callbacks_are_freed_with_the_loop(impl):
    loop = impl.new_event_loop()
    probe = Probe()
    ref = weakref.ref(probe)
    loop.call_soon(callback, probe, loop)
    loop.call_later(10, callback, probe, loop)
    loop.call_soon_threadsafe(callback, probe, loop)
    del probe
    loop.close()
    del loop
    gc.collect()
    assert ref() is None


def test_callback_that_drops_the_last_reference_to_its_handle(loop):
    seen = []
    box = []

    def run():
        box.clear()
        gc.collect()
        seen.append(1)

    box.append(loop.call_soon(run))
    del run
    turn(loop)
    assert seen == [1]


def test_a_handle_of_the_loop_made_once_more(impl):
    if not impl.is_cloop:
        pytest.skip("cloop only: stock's handles are Python objects")
    first, second = impl.new_event_loop(), impl.new_event_loop()
    argument = object()
    before = sys.getrefcount(argument)
    handle = first.call_soon(print, argument)
    handle.__init__(print, (), second)
    timer = first.call_later(100, print, argument)
    with pytest.raises(RuntimeError, match="the timer is scheduled"):
        timer.__init__(1.0, print, (), second)
    timer.cancel()
    first.close()
    second.close()
    del handle, timer
    assert sys.getrefcount(argument) == before
