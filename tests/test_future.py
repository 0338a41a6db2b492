"""cloop.Future is asyncio.Future, as far as anybody can see."""

import asyncio
import contextlib
import contextvars
import gc
import inspect
import re
import sys
import traceback
import weakref

import pytest
from support import without_gc

import cloop

PY39 = sys.version_info >= (3, 9)
PY311 = sys.version_info >= (3, 11)
PY314 = sys.version_info >= (3, 14)
PY315 = sys.version_info >= (3, 15)

HIDDEN = {"__doc__", "__module__", "__cloop_module__"}


def run_ready(loop):
    """Runs what is scheduled now."""
    loop.call_soon(loop.stop)
    loop.run_forever()


@pytest.fixture
def future(impl, loop):
    return impl.Future(loop=loop)


# -- the type ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Future", "Task"])
def test_overrides_everything_that_stock_defines(name):
    ours, stock = getattr(cloop, name), getattr(asyncio, name)
    inherited = {
        "__class_getitem__",
        "_asyncio_awaited_by",
        "all_tasks",
        "current_task",
    }
    missing = set(vars(stock)) - set(vars(ours)) - inherited - HIDDEN
    assert not missing
    added = set(vars(ours)) - set(dir(stock)) - HIDDEN
    assert not added


@pytest.mark.parametrize("name", ["Future", "Task"])
def test_signatures_are_those_of_stock(name):
    ours, stock = getattr(cloop, name), getattr(asyncio, name)
    assert inspect.signature(ours) == inspect.signature(stock)
    for member, value in vars(stock).items():
        if type(value).__name__ != "method_descriptor":
            continue
        mine = vars(ours)[member]
        # A default that cannot be written is None here, so that inspect can read it.
        expected = value.__text_signature__.replace("<unrepresentable>", "None")
        assert mine.__text_signature__ == expected, member
        assert mine.__doc__


@pytest.mark.skipif(sys.version_info < (3, 10), reason="heap types can be changed")
def test_types_are_immutable():
    with pytest.raises(TypeError):
        cloop.Future.result = None


def test_is_a_subclass_of_the_stock_types(loop, impl):
    if not impl.is_cloop:
        pytest.skip("cloop only")
    assert issubclass(cloop.Future, asyncio.Future)
    assert issubclass(cloop.Task, asyncio.Task)
    assert issubclass(cloop.Task, cloop.Future)
    future = loop.create_future()
    assert type(future) is cloop.Future
    assert asyncio.isfuture(future)


def test_the_base_does_not_take_our_objects(loop, impl):
    if not impl.is_cloop:
        pytest.skip("cloop only")
    future = loop.create_future()
    future.set_result(1)
    with pytest.raises(asyncio.InvalidStateError, match="not initialized"):
        asyncio.Future.result(future)
    assert asyncio.Future.done(future) is False
    with pytest.raises(RuntimeError, match="not initialized"):
        asyncio.Future.get_loop(future)


@pytest.mark.skipif(not PY39, reason="3.9")
def test_can_be_subscripted(impl):
    alias = impl.Future[int]
    assert alias.__origin__ is impl.Future
    assert impl.Task[int].__args__ == (int,)


CALLS = {
    "new positional": lambda cls, loop: cls(loop),
    "new keyword": lambda cls, loop: cls(lop=loop),
    "new garbage": lambda cls, loop: cls(loop=object()),
    "result args": lambda cls, loop: cls(loop=loop).result(1),
    "result early": lambda cls, loop: cls(loop=loop).result(),
    "exception early": lambda cls, loop: cls(loop=loop).exception(),
    "set_result none": lambda cls, loop: cls(loop=loop).set_result(),
    "set_result keyword": lambda cls, loop: cls(loop=loop).set_result(result=1),
    "set_exception str": lambda cls, loop: cls(loop=loop).set_exception("no"),
    "set_exception type": lambda cls, loop: cls(loop=loop).set_exception(int),
    "callback none": lambda cls, loop: cls(loop=loop).add_done_callback(),
    "callback two": lambda cls, loop: cls(loop=loop).add_done_callback(1, 2),
    "callback keyword": lambda cls, loop: cls(loop=loop).add_done_callback(fn=1),
    "callback unknown": lambda cls, loop: cls(loop=loop).add_done_callback(1, ctx=2),
    "remove none": lambda cls, loop: cls(loop=loop).remove_done_callback(),
    "cancel two": lambda cls, loop: cls(loop=loop).cancel(1, 2),
    "cancel unknown": lambda cls, loop: cls(loop=loop).cancel(message=2),
    "log true": lambda cls, loop: setattr(cls(loop=loop), "_log_traceback", True),
    "log del": lambda cls, loop: delattr(cls(loop=loop), "_log_traceback"),
    "blocking del": lambda cls, loop: delattr(
        cls(loop=loop), "_asyncio_future_blocking"
    ),
    "state set": lambda cls, loop: setattr(cls(loop=loop), "_state", "PENDING"),
    "raw result": lambda cls, loop: cls.__new__(cls).result(),
    "raw exception": lambda cls, loop: cls.__new__(cls).exception(),
    "raw set_result": lambda cls, loop: cls.__new__(cls).set_result(1),
    "raw set_exception": lambda cls, loop: cls.__new__(cls).set_exception(OSError()),
    "raw callback": lambda cls, loop: cls.__new__(cls).add_done_callback(print),
    "raw remove": lambda cls, loop: cls.__new__(cls).remove_done_callback(print),
    "raw cancel": lambda cls, loop: cls.__new__(cls).cancel(),
    "raw cancelled": lambda cls, loop: cls.__new__(cls).cancelled(),
    "raw done": lambda cls, loop: cls.__new__(cls).done(),
    "raw loop": lambda cls, loop: cls.__new__(cls).get_loop(),
    "raw _loop": lambda cls, loop: cls.__new__(cls)._loop,
    "raw state": lambda cls, loop: cls.__new__(cls)._state,
    "raw callbacks": lambda cls, loop: cls.__new__(cls)._callbacks,
    "raw blocking": lambda cls, loop: cls.__new__(cls)._asyncio_future_blocking,
    "raw source": lambda cls, loop: cls.__new__(cls)._source_traceback,
    "raw repr": lambda cls, loop: repr(cls.__new__(cls)),
    "raw iter": lambda cls, loop: iter(cls.__new__(cls)),
    "raw await": lambda cls, loop: cls.__new__(cls).__await__(),
    "repr": lambda cls, loop: repr(cls(loop=loop)),
}


@pytest.mark.parametrize("name", list(CALLS))
def test_answers_and_errors_are_those_of_stock(name):
    answers = []
    for cls in (asyncio.Future, cloop.Future):
        loop = cloop.new_event_loop()
        try:
            answers.append(("value", CALLS[name](cls, loop)))
        except Exception as exc:
            answers.append((type(exc), str(exc)))
        finally:
            loop.close()

    def neutral(answer):
        return re.sub(
            r"'?_?(asyncio|cloop)\.Future'?", "F", re.sub("0x\\w+", "", answer)
        )

    stock, ours = answers
    assert ours[0] == stock[0]
    assert neutral(str(ours[1])) == neutral(str(stock[1]))


# -- results -----------------------------------------------------------------------


def test_result(loop, future):
    assert not future.done()
    assert future.set_result([1]) is None
    assert future.done() and not future.cancelled()
    assert future.result() == [1] == future._result
    assert future.exception() is None
    assert future._state == "FINISHED"
    assert future.get_loop() is loop is future._loop
    with pytest.raises(asyncio.InvalidStateError, match="invalid state"):
        future.set_result(2)
    with pytest.raises(asyncio.InvalidStateError, match="invalid state"):
        future.set_exception(OSError)
    assert not future.cancel()


def test_exception_from_instance_and_class(impl, loop):
    exc = ValueError(3)
    future = impl.Future(loop=loop)
    future.set_exception(exc)
    assert future._log_traceback is True
    assert future.exception() is exc
    assert future._log_traceback is False
    with pytest.raises(ValueError) as caught:
        future.result()
    assert caught.value is exc
    future = impl.Future(loop=loop)
    future.set_exception(KeyError)
    assert type(future.exception()) is KeyError


def test_stop_iteration(impl, loop):
    class Stop(StopIteration):
        pass

    for exc in (StopIteration, StopIteration(1), Stop()):
        answers = []
        for cls in (asyncio.Future, impl.Future):
            future = cls(loop=loop)
            try:
                future.set_exception(exc)
            except TypeError as error:
                answers.append(str(error))
            else:
                got = future.exception()
                answers.append((type(got), str(got), type(got.__cause__)))
        assert answers[0] == answers[1]


@pytest.mark.skipif(not PY311, reason="3.11")
def test_each_result_starts_from_the_traceback_as_it_was_set(impl, loop):
    future = impl.Future(loop=loop)
    try:
        raise ValueError
    except ValueError as exc:
        future.set_exception(exc)

    def depth():
        try:
            future.result()
        except ValueError as exc:
            return len(traceback.extract_tb(exc.__traceback__))

    depths = [depth() for _ in range(4)]
    stock = asyncio.Future(loop=loop)
    try:
        raise ValueError
    except ValueError as exc:
        stock.set_exception(exc)
    future = stock
    assert depths == [depth() for _ in range(4)]


def test_an_exception_class_that_finishes_the_future(impl, loop):
    future = impl.Future(loop=loop)

    class Evil(Exception):
        def __init__(self):
            future.set_result(1)

    with pytest.raises(asyncio.InvalidStateError):
        future.set_exception(Evil)
    assert future.result() == 1


def test_cancel(loop, future):
    assert future.cancel() is True
    assert future.cancel() is False
    assert future.cancelled() and future.done()
    assert future._state == "CANCELLED"
    with pytest.raises(asyncio.CancelledError):
        future.result()
    with pytest.raises(asyncio.CancelledError):
        future.exception()


@pytest.mark.skipif(not PY39, reason="3.9")
@pytest.mark.parametrize(
    "args, kwargs, expected",
    [
        ((), {}, ()),
        ((None,), {}, ()),
        (("why",), {}, ("why",)),
        ((), {"msg": 5}, (5,)),
        ((("a", "b"),), {}, (("a", "b"),)),
    ],
)
def test_cancel_message(loop, future, args, kwargs, expected):
    future.cancel(*args, **kwargs)
    assert future._cancel_message == (expected[0] if expected else None)
    with pytest.raises(asyncio.CancelledError) as caught:
        future.result()
    assert caught.value.args == expected
    future._cancel_message = "other"
    assert future._make_cancelled_error().args == ("other",)


def test_a_cancelled_error_raised_while_handling_has_its_context(loop, future):
    future.cancel()
    try:
        raise KeyError
    except KeyError as exc:
        with pytest.raises(asyncio.CancelledError) as caught:
            future.result()
        assert caught.value.__context__ is exc


# -- callbacks ---------------------------------------------------------------------


def test_callbacks_run_in_order_with_the_future(loop, future):
    seen = []
    for i in range(5):
        future.add_done_callback(lambda f, i=i: seen.append((i, f)))
    future.set_result(None)
    assert future._callbacks is None
    assert not seen
    run_ready(loop)
    assert seen == [(i, future) for i in range(5)]


def test_a_callback_of_a_done_future_runs_soon(loop, future):
    seen = []
    future.cancel()
    future.add_done_callback(seen.append)
    assert not seen
    run_ready(loop)
    assert seen == [future]


def test_the_callbacks_attribute(loop, future):
    assert future._callbacks is None
    context = contextvars.copy_context()
    future.add_done_callback(print, context=context)
    assert future._callbacks == [(print, context)]
    future.add_done_callback(len, context=context)
    future.add_done_callback(abs)
    assert [callback for callback, _ in future._callbacks] == [print, len, abs]
    assert isinstance(future._callbacks[2][1], contextvars.Context)


def test_callbacks_run_in_their_contexts(loop, future):
    var = contextvars.ContextVar("var", default=0)
    seen = []
    var.set(1)
    future.add_done_callback(lambda f: seen.append(var.get()))
    context = contextvars.copy_context()
    context.run(var.set, 2)
    future.add_done_callback(lambda f: seen.append(var.get()), context=context)
    var.set(3)
    future.set_result(None)
    run_ready(loop)
    assert seen == [1, 2]


def test_remove_done_callback(loop, future):
    class Same:
        def __init__(self, key):
            self.key = key

        def __eq__(self, other):
            return isinstance(other, Same) and self.key == other.key

        __hash__ = None

    assert future.remove_done_callback(print) == 0
    for key in (1, 1, 2, 1, 3):
        future.add_done_callback(Same(key))
    assert future.remove_done_callback(Same(1)) == 3
    assert [callback.key for callback, _ in future._callbacks] == [2, 3]
    assert future.remove_done_callback(Same(1)) == 0
    assert future.remove_done_callback(Same(3)) == 1
    assert future.remove_done_callback(Same(2)) == 1
    assert not future._callbacks
    future.add_done_callback(len)
    assert [callback for callback, _ in future._callbacks] == [len]


def test_exceptions_in_callbacks_are_reported(loop, future, reports):
    future.add_done_callback(lambda f: 1 / 0)
    future.set_result(None)
    run_ready(loop)
    (context,) = reports
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["message"].startswith("Exception in callback")


def test_a_loop_whose_call_soon_fails(impl):
    class Bad:
        calls = 0

        def get_debug(self):
            return False

        def call_soon(self, callback, *args, context=None):
            Bad.calls += 1
            raise KeyError("full")

    for finish in ("set_result", "cancel"):
        Bad.calls = 0
        future = impl.Future(loop=Bad())
        future.add_done_callback(print)
        future.add_done_callback(len)
        future.add_done_callback(abs)
        with pytest.raises(KeyError):
            getattr(future, finish)(*([1] if finish == "set_result" else []))
        assert future.done()
        assert Bad.calls == 1
        assert future._callbacks is None


def test_any_object_can_be_the_loop(impl):
    class Loop:
        def __init__(self):
            self.calls = []

        def get_debug(self):
            return False

        def call_soon(self, *args, context):
            self.calls.append((args, context))

    loop = Loop()
    future = impl.Future(loop=loop)
    context = contextvars.copy_context()
    future.add_done_callback(print, context=context)
    future.set_result(1)
    assert loop.calls == [((print, future), context)]


# -- awaiting ----------------------------------------------------------------------


def test_awaiting_gives_the_future_and_then_its_result(loop, future):
    it = iter(future)
    assert next(it) is future
    assert future._asyncio_future_blocking is True
    with pytest.raises(RuntimeError, match="await wasn't used with future"):
        next(it)
    future._asyncio_future_blocking = False
    future.set_result((1, 2))
    with pytest.raises(StopIteration) as stopped:
        next(it)
    assert stopped.value.value == (1, 2)
    with pytest.raises(StopIteration) as stopped:
        next(it)
    assert stopped.value.value == ((1, 2) if PY314 else None)


@pytest.mark.parametrize(
    "result", [None, 5, (), (1,), (1, 2, 3), KeyError(1), StopIteration(2), KeyError]
)
def test_all_results_come_through(loop, future, result):
    async def wait():
        return await future

    loop.call_soon(future.set_result, result)
    assert loop.run_until_complete(wait()) is result

    def drive():
        return (yield from future)

    with pytest.raises(StopIteration) as stopped:
        drive().send(None)
    assert stopped.value.value is result
    it = future.__await__()
    with pytest.raises(StopIteration) as stopped:
        it.send("ignored")
    assert stopped.value.value is result


def stop_of(loop, result):
    """The StopIteration with which a future's iterator ends."""
    future = loop.create_future()
    future.set_result(result)
    try:
        next(iter(future))
    except StopIteration as stop:
        return stop


def test_a_stop_iteration_that_is_kept_stays_as_it_is(loop):
    first = stop_of(loop, b"one")
    args = first.args
    second = stop_of(loop, b"two")
    assert first is not second
    assert (first.value, first.args, second.value) == (b"one", (b"one",), b"two")
    del first, second
    assert stop_of(loop, 3).args == (3,) and args == (b"one",)


@pytest.mark.parametrize(
    "change",
    [
        lambda stop: setattr(stop, "__cause__", KeyError()),
        lambda stop: setattr(stop, "__context__", KeyError()),
        lambda stop: setattr(stop, "__suppress_context__", True),
        lambda stop: setattr(stop, "mine", 1),
        lambda stop: setattr(stop, "args", (1, 2)),
        lambda stop: setattr(stop, "value", "other"),
        lambda stop: setattr(stop, "__class__", type("Mine", (StopIteration,), {})),
    ],
    ids=["cause", "context", "suppress", "dict", "args", "value", "class"],
)
def test_a_stop_iteration_is_as_new_each_time(loop, change):
    for result in (b"a", 7, "text", 2.5, True):
        with contextlib.suppress(TypeError):  # not every class can be assigned
            change(stop_of(loop, result))
        stop = stop_of(loop, result)
        assert type(stop) is StopIteration
        assert stop.value == result and stop.args == (result,)
        assert stop.__cause__ is stop.__context__ is None
        assert not stop.__suppress_context__ and stop.__dict__ == {}
        assert stop.__traceback__.tb_next is None


def test_a_stop_iteration_knows_what_was_being_handled(loop):
    stop_of(loop, b"plain")
    try:
        raise KeyError
    except KeyError as handled:
        context = None if PY314 else handled
        assert stop_of(loop, b"plain").__context__ is context
        assert stop_of(loop, (1, 2)).__context__ is context
    assert stop_of(loop, b"plain").__context__ is None


def test_no_result_outlives_its_await(loop):
    class Result:
        pass

    async def wait():
        future = loop.create_future()
        future.set_result(Result())
        result = await future
        ref = weakref.ref(result)
        del future, result
        return ref() is None

    with without_gc():
        assert loop.run_until_complete(wait())


def test_iterator_methods(impl, loop, future):
    it = future.__await__()
    assert iter(it) is it
    it.send(None)
    with pytest.raises(KeyError):
        it.throw(KeyError)
    if impl.is_cloop:  # stock forgets the exception: SystemError, or an abort
        with pytest.raises(StopIteration):
            it.send(None)
    it = iter(future)
    assert it.close() is None
    exc = KeyError("x")
    with pytest.raises(KeyError) as caught:
        it.throw(exc)
    assert caught.value is exc
    for args in ((), (1,), (KeyError(), 1), (KeyError, None, 5), (1, 2, 3, 4)):
        with pytest.raises(TypeError):
            iter(future).throw(*args)


def test_iterator_errors_are_those_of_stock(impl, loop):
    for args in ((), (1,), (KeyError(), 1), (KeyError, None, 5), (1, 2, 3, 4)):
        answers = []
        for cls in (asyncio.Future, impl.Future):
            with pytest.raises(TypeError) as caught:
                iter(cls(loop=loop)).throw(*args)
            answers.append(str(caught.value))
        assert answers[0] == answers[1]


def test_iterators_made_by_hand_do_no_harm(loop):
    cls = type(iter(loop.create_future()))
    try:
        it = cls()
    except TypeError:
        return  # 3.10 on
    assert list(it) == []


# -- repr, debug, reports ----------------------------------------------------------


def test_repr(impl, loop):
    future = impl.Future(loop=loop)
    assert repr(future) == "<Future pending>"
    future.add_done_callback(print)
    assert repr(future) == "<Future pending cb=[print()]>"
    future.set_result(5)
    assert repr(future) == "<Future finished result=5>"
    future = impl.Future(loop=loop)
    future.cancel()
    assert repr(future) == "<Future cancelled>"
    future = impl.Future(loop=loop)
    future.set_exception(KeyError(1))
    assert repr(future) == "<Future finished exception=KeyError(1)>"
    future.exception()

    class Named(impl.Future):
        pass

    assert repr(Named(loop=loop)) == "<Named pending>"


@pytest.mark.skipif(PY311, reason="to 3.10")
def test_repr_asks_repr_info(impl, loop):
    class Named(impl.Future):
        def _repr_info(self):
            return ["a", "b"]

    assert repr(Named(loop=loop)) == "<Named a b>"


def test_source_traceback(impl, new_loop):
    loop = new_loop(debug=True)
    future = impl.Future(loop=loop)
    assert future._source_traceback[-1].name == "test_source_traceback"
    del future._source_traceback[-1]
    assert "created at" in repr(future)
    loop.set_debug(False)
    assert impl.Future(loop=loop)._source_traceback is None


def test_never_retrieved(impl, loop, reports):
    future = impl.Future(loop=loop)
    exc = KeyError(1)
    future.set_exception(exc)
    text = repr(future)
    reports.clear()
    loop.set_exception_handler(
        lambda loop, context: reports.append(
            dict(context, future=repr(context["future"]))
        )
    )
    del future
    gc.collect()
    (context,) = reports
    assert context.pop("future") == text
    assert context == {
        "message": "Future exception was never retrieved",
        "exception": exc,
    }


def test_never_retrieved_in_a_cycle(impl, loop, reports):
    class MyFuture(impl.Future):
        pass

    future = MyFuture(loop=loop)
    future.set_exception(KeyError(1))
    future.cycle = future
    del future
    gc.collect()
    assert [context["message"] for context in reports] == [
        "MyFuture exception was never retrieved"
    ]


def test_a_retrieved_or_muted_exception_is_not_reported(impl, loop, reports):
    def retrieve(future):
        with pytest.raises(KeyError):
            future.result()

    for mute in (
        lambda f: f.exception(),
        retrieve,
        lambda f: setattr(f, "_log_traceback", False),
        lambda f: f.cancel(),
    ):
        future = impl.Future(loop=loop)
        future.set_exception(KeyError(1))
        mute(future)
        del future
    gc.collect()
    assert not reports


def test_the_handler_may_keep_the_dying_future(impl, loop):
    kept = []
    loop.set_exception_handler(lambda loop, context: kept.append(context["future"]))
    future = impl.Future(loop=loop)
    exc = KeyError(1)
    future.set_exception(exc)
    del future
    gc.collect()
    assert kept[0].exception() is exc
    assert kept[0].done()
    kept.clear()
    gc.collect()
    for _ in range(10):
        future = loop.create_future()
        future.set_exception(KeyError(2))
        del future  # a reused object reports as a new one does
    assert len(kept) == 10


def test_a_failing_handler_leaves_raised_exceptions_alone(impl, loop, capsys):
    class Bad:
        def get_debug(self):
            return False

        def call_exception_handler(self, context):
            raise KeyError("handler")

    unraisable = []
    former, sys.unraisablehook = sys.unraisablehook, unraisable.append
    try:
        future = impl.Future(loop=Bad())
        future.set_exception(ValueError())
        try:
            raise OSError("outer")
        except OSError:
            del future
            assert isinstance(sys.exc_info()[1], OSError)
    finally:
        sys.unraisablehook = former
    assert [type(item.exc_value) for item in unraisable] == [KeyError]


# -- subclasses --------------------------------------------------------------------


def test_subclass_with_overrides(impl, loop):
    log = []

    class Logged(impl.Future):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.extra = 1

        def add_done_callback(self, callback, *, context=None):
            log.append("add")
            super().add_done_callback(callback, context=context)

        def result(self):
            log.append("result")
            return super().result()

        def set_result(self, result):
            log.append("set")
            super().set_result(result)

        def cancel(self, *args, **kwargs):
            log.append("cancel")
            return super().cancel(*args, **kwargs)

        def __del__(self):
            log.append("del")
            super().__del__()

    async def wait(future):
        return await future

    future = Logged(loop=loop)
    task = loop.create_task(wait(future))
    run_ready(loop)
    future.set_result(7)
    assert loop.run_until_complete(task) == 7
    del future, task
    assert log == ["add", "set", "result", "del"]
    log.clear()

    future = Logged(loop=loop)
    task = loop.create_task(wait(future))
    run_ready(loop)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert log == ["add", "cancel", "result"]


def test_multiple_inheritance(impl, loop):
    class Mixin:
        def hello(self):
            return "hello"

    class Both(Mixin, impl.Future):
        __slots__ = ("slot",)

    class Other(impl.Future, Mixin):
        pass

    for cls in (Both, Other):
        future = cls(loop=loop)
        future.attribute = future.slot = 1
        assert future.hello() == "hello"
        ref = weakref.ref(future)
        future.set_result(1)
        assert future.result() == 1
        del future
        gc.collect()
        assert ref() is None


def test_a_resurrecting_del(impl, loop):
    saved = []

    class Phoenix(impl.Future):
        def __del__(self):
            saved.append(self)

    future = Phoenix(loop=loop)
    future.set_result(5)
    del future
    assert saved[0].result() == 5
    saved.clear()
    gc.collect()


def test_attributes_and_weakrefs(impl, loop):
    future = impl.Future(loop=loop)
    future.note = [1]
    assert future.note == [1]
    died = []
    ref = weakref.ref(future, died.append)
    assert ref() is future
    del future
    gc.collect()
    assert died == [ref]
    again = loop.create_future()
    assert not hasattr(again, "note")
    assert not weakref.getweakrefs(again)


def test_init_again_starts_afresh(impl, loop):
    future = impl.Future(loop=loop)
    future.add_done_callback(print)
    future.set_exception(KeyError(1))
    if PY315:
        with pytest.raises(RuntimeError, match="Future object is already init"):
            future.__init__(loop=loop)
        assert isinstance(future.exception(), KeyError)
        return
    future.__init__(loop=loop)
    assert not future.done()
    assert future._callbacks is None
    assert future._exception is None
    assert not future._log_traceback


# -- evil objects ------------------------------------------------------------------


@pytest.fixture
def sturdy(impl):
    if not impl.is_cloop:
        pytest.skip("stock crashes, in some versions")


def test_an_eq_that_empties_the_callbacks(sturdy, impl, loop):
    # gh-97592, gh-125984
    future = impl.Future(loop=loop)

    class Evil:
        def __init__(self, action):
            self.action = action

        def __eq__(self, other):
            self.action()
            return False

    def clear():
        future.cancel()

    future.add_done_callback(Evil(clear))
    future.add_done_callback(Evil(clear))
    future.add_done_callback(print)
    future.remove_done_callback(Evil(clear))
    assert future.cancelled()
    run_ready_quietly(loop)

    future = impl.Future(loop=loop)
    again = []

    def remove():
        if len(again) < 3:
            again.append(1)
            future.remove_done_callback(marker)

    marker = Evil(remove)
    for _ in range(4):
        future.add_done_callback(Evil(remove))
    future.remove_done_callback(marker)
    future.cancel()
    run_ready_quietly(loop)


def run_ready_quietly(loop):
    loop.set_exception_handler(lambda loop, context: None)
    run_ready(loop)


def test_an_eq_that_adds_callbacks(sturdy, impl, loop):
    future = impl.Future(loop=loop)
    count = 0

    class Grow:
        def __eq__(self, other):
            nonlocal count
            count += 1
            if count < 50:
                future.add_done_callback(Grow())
            return False

    future.add_done_callback(Grow())
    future.add_done_callback(Grow())
    assert future.remove_done_callback(Grow()) == 0
    assert len(future._callbacks) == 51


@pytest.mark.skipif(PY315, reason="initialized once from 3.15 on")
def test_a_get_loop_attribute_that_lies(sturdy, impl, loop):
    class Evil:
        def get_debug(self):
            future.__init__(loop=loop)
            return False

    future = impl.Future(loop=loop)
    future.__init__(loop=Evil())
    future.set_result(1)
    assert future.result() == 1


@pytest.mark.skipif(PY315, reason="initialized once from 3.15 on")
def test_a_call_soon_that_changes_the_future(sturdy, impl):
    # gh-126405 and its kin
    class Evil:
        def get_debug(self):
            return False

        def call_soon(self, callback, *args, context=None):
            future.remove_done_callback(callback)
            future.__init__(loop=Evil())
            gc.collect()

    future = impl.Future(loop=Evil())
    for callback in (print, len, abs):
        future.add_done_callback(callback)
    future.set_result(1)


def test_an_exception_whose_traceback_is_replaced_while_raised(sturdy, impl, loop):
    class Evil(Exception):
        @property
        def __traceback__(self):
            future.__init__(loop=loop)
            return None

    future = impl.Future(loop=loop)
    future.set_exception(Evil())
    with pytest.raises(Evil):
        future.result()


# -- memory ------------------------------------------------------------------------


def test_a_long_chain_of_futures_dies(sturdy, impl, loop):
    first = previous = impl.Future(loop=loop)
    for _ in range(100_000):
        following = impl.Future(loop=loop)
        previous.set_result(following)
        previous = following
    del previous, following
    ref = weakref.ref(first)
    del first
    gc.collect()
    assert ref() is None


def test_a_long_chain_of_callbacks_dies(sturdy, impl, loop):
    head = None
    for _ in range(100_000):
        future = impl.Future(loop=loop)
        if head is not None:
            future.add_done_callback(head.cancel)
        head = future
    ref = weakref.ref(head)
    del head, future
    gc.collect()
    assert ref() is None


def test_objects_are_free_without_gc(impl, loop):
    class Canary:
        pass

    gc.collect()
    gc.disable()
    try:
        for finish in ("result", "exception", "cancel", "drop"):
            canaries = [Canary() for _ in range(4)]
            refs = [weakref.ref(canary) for canary in canaries]
            future = loop.create_future()
            future.canary = canaries[0]
            future.add_done_callback(lambda f, c=canaries[1]: None)
            if finish == "result":
                future.set_result(canaries[2])
            elif finish == "exception":
                error = KeyError(canaries[2])
                future.set_exception(error)
                future.exception()
                error = None
            elif finish == "cancel":
                future.cancel(*([canaries[2]] if PY39 else []))
            run_ready(loop)
            del canaries
            future = None
            assert [ref() for ref in refs] == [None] * 4, finish
    finally:
        gc.enable()


def test_recycled_futures_are_new(loop, impl):
    for _ in range(1000):
        future = loop.create_future()
        assert not future.done()
        assert future._callbacks is future._result is future._exception is None
        assert future._asyncio_future_blocking is future._log_traceback is False
        future.x = 1
        future.add_done_callback(str)
        next(iter(future))
        future.set_exception(KeyError())
        future.exception()
        future.x = None


def test_more_futures_than_a_freelist_holds(loop):
    for _ in range(3):
        futures = [loop.create_future() for _ in range(1000)]
        for i, future in enumerate(futures):
            future.set_result(i)
        assert [future.result() for future in futures] == list(range(1000))
        del futures, future


def test_a_future_outlives_its_loop(impl):
    loop = impl.new_event_loop()
    future = loop.create_future()
    iterator = iter(future)
    future.set_result(1)
    loop.close()
    ref = weakref.ref(loop)
    del loop
    gc.collect()
    assert ref() is not None
    assert future.result() == 1
    del future, iterator
    gc.collect()
    assert ref() is None


def test_finishing_after_the_loop_was_closed(impl):
    loop = impl.new_event_loop()
    future = loop.create_future()
    quiet = loop.create_future()
    future.add_done_callback(print)
    loop.close()
    quiet.set_result(1)
    with pytest.raises(RuntimeError, match="closed"):
        future.set_result(1)
    assert future.done()


def test_add_done_callback_with_context_none(loop, reports):
    """As without: a copy of the current one."""
    seen = []
    future = loop.create_future()
    future.add_done_callback(seen.append, context=None)
    future.set_result(1)
    loop.run_until_complete(asyncio.sleep(0))
    future.add_done_callback(seen.append, context=None)
    loop.run_until_complete(asyncio.sleep(0))
    assert seen == [future, future]
    assert not reports
