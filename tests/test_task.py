"""cloop.Task is asyncio.Task, as far as anybody can see."""

import asyncio
import contextvars
import gc
import io
import re
import sys
import types
import weakref

import pytest

import cloop

PY39 = sys.version_info >= (3, 9)
PY311 = sys.version_info >= (3, 11)
PY312 = sys.version_info >= (3, 12)
PY313 = sys.version_info >= (3, 13)
PY314 = sys.version_info >= (3, 14)
PY315 = sys.version_info >= (3, 15)

FUTURES = {"cloop": cloop.Future, "stock": asyncio.Future}
TASKS = {"cloop": cloop.Task, "stock": asyncio.Task}


def run_ready(loop):
    """Runs what is scheduled now."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def run_on(loop, function, *args):
    """function(*args) while loop runs: 3.14 has tasks step in a running loop only."""

    def call():
        try:
            outcome.append(("returned", function(*args)))
        except Exception as exc:
            outcome.append(("raised", exc))

    outcome = []
    loop.call_soon(call)
    run_ready(loop)
    ((how, value),) = outcome
    if how == "raised":
        raise value
    return value


async def nothing():
    pass


async def forever():
    await asyncio.sleep(3600)


@pytest.fixture
def make(impl, loop):
    def make(coro, **kwargs):
        return impl.Task(coro, loop=loop, **kwargs)

    return make


# -- making ------------------------------------------------------------------------

CALLS = {
    "no coroutine": lambda cls, loop: cls(loop=loop),
    "garbage": lambda cls, loop: cls(5, loop=loop),
    "function": lambda cls, loop: cls(nothing, loop=loop),
    "generator": lambda cls, loop: cls((i for i in ()), loop=loop),
    "positional": lambda cls, loop: cls(5, loop),
    "unknown": lambda cls, loop: cls(5, loops=loop),
    "bad loop": lambda cls, loop: cls(5, loop=5),
    "set_result": lambda cls, loop: cls.__new__(cls).set_result(1),
    "set_result none": lambda cls, loop: cls.__new__(cls).set_result(),
    "set_exception": lambda cls, loop: cls.__new__(cls).set_exception(OSError()),
    "raw result": lambda cls, loop: cls.__new__(cls).result(),
    "raw done": lambda cls, loop: cls.__new__(cls).done(),
    "raw name": lambda cls, loop: cls.__new__(cls).get_name(),
    "raw set name": lambda cls, loop: cls.__new__(cls).set_name("x"),
    "raw repr": lambda cls, loop: repr(cls.__new__(cls)),
    "raw waiter": lambda cls, loop: cls.__new__(cls)._fut_waiter,
    "raw must": lambda cls, loop: cls.__new__(cls)._must_cancel,
    "raw log": lambda cls, loop: cls.__new__(cls)._log_destroy_pending,
    "raw await": lambda cls, loop: cls.__new__(cls).__await__(),
    "log del": lambda cls, loop: delattr(cls.__new__(cls), "_log_destroy_pending"),
    "stack args": lambda cls, loop: cls.__new__(cls).get_stack(5),
    "stack unknown": lambda cls, loop: cls.__new__(cls).get_stack(lim=5),
    "print args": lambda cls, loop: cls.__new__(cls).print_stack(5),
    "set name none": lambda cls, loop: cls.__new__(cls).set_name(),
    "raw cancelling": lambda cls, loop: cls.__new__(cls).cancelling(),
    "raw uncancel": lambda cls, loop: cls.__new__(cls).uncancel(),
}


@pytest.mark.parametrize("name", list(CALLS))
def test_answers_and_errors_are_those_of_stock(name):
    if name == "generator" and "cloop.legacy" in sys.modules:
        pytest.skip("stock's task remembers the generators of legacy mode's tests")
    answers = []
    for cls in (asyncio.Task, cloop.Task):
        loop = cloop.new_event_loop()
        try:
            answers.append(("value", CALLS[name](cls, loop)))
        except Exception as exc:
            answers.append((type(exc), str(exc)))
        finally:
            loop.close()

    def neutral(answer):
        text = re.sub(r"0x\w+|Task-\d+", "", str(answer))
        return re.sub(r"'?_?(asyncio|cloop)\.Task'?", "T", text)

    stock, ours = answers
    assert ours[0] == stock[0]
    assert neutral(ours[1]) == neutral(stock[1])


def test_a_task_runs_its_coroutine(loop, make):
    async def main():
        await asyncio.sleep(0)
        return 42

    coro = main()
    task = make(coro)
    assert task.get_coro() is coro is task._coro
    assert not task.done()
    assert loop.run_until_complete(task) == 42
    assert task.result() == 42
    assert task.get_coro() is coro
    assert task.get_loop() is loop


def test_names(loop, make):
    tasks = [make(nothing(), **kwargs) for kwargs in ({}, {"name": "x"}, {"name": 5})]
    assert re.fullmatch(r"Task-\d+", tasks[0].get_name())
    assert [task.get_name() for task in tasks[1:]] == ["x", "5"]
    tasks[0].set_name(8)
    assert tasks[0].get_name() == "8"
    following = [make(nothing()) for _ in range(2)]
    numbers = [int(task.get_name()[5:]) for task in following]
    assert numbers[1] == numbers[0] + 1
    loop.run_until_complete(asyncio.wait(tasks + following))


def test_a_str_subclass_as_a_name_becomes_a_str(loop, make):
    class Name(str):
        def __str__(self):
            return "other"

    task = make(nothing(), name=Name("x"))
    assert task.get_name() == "other"
    loop.run_until_complete(task)


def test_coroutine_like_objects(impl, loop, make):
    class Coro(types.SimpleNamespace):
        def __await__(self):
            return self

        def send(self, value):
            self.sent = getattr(self, "sent", 0) + 1
            if self.sent == 3:
                raise StopIteration("end")

        def throw(self, *args):
            raise args[0]

        def close(self):
            pass

    import collections.abc

    collections.abc.Coroutine.register(Coro)
    task = make(Coro())
    assert loop.run_until_complete(task) == "end"
    task = make(Coro())
    run_ready(loop)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_context(loop, make):
    var = contextvars.ContextVar("var", default=0)
    var.set(1)
    seen = []

    async def main():
        seen.append(var.get())
        var.set(5)
        await asyncio.sleep(0)
        seen.append(var.get())

    task = make(main())
    var.set(2)
    loop.run_until_complete(task)
    assert seen == [1, 5]
    assert var.get() == 2


@pytest.mark.skipif(not PY311, reason="3.11")
def test_given_context(loop, make):
    var = contextvars.ContextVar("var", default=0)
    context = contextvars.copy_context()

    async def main():
        await asyncio.sleep(0)
        var.set(5)

    task = make(main(), context=context)
    if PY312:
        assert task.get_context() is context
    loop.run_until_complete(task)
    assert context[var] == 5


@pytest.mark.skipif(not PY311, reason="3.11")
def test_a_context_that_is_no_context(loop, make, caplog):
    ran = []

    class Odd:
        def run(self, callback, *args):
            ran.append(callback)
            return callback(*args)

    async def main():
        await asyncio.sleep(0)
        future = loop.create_future()
        loop.call_soon(future.set_result, 5)
        return await future

    if PY315:
        coro = main()
        with pytest.raises(TypeError, match=r"Context was expected, got .*Odd$"):
            make(coro, context=Odd())
        coro.close()
        return
    assert loop.run_until_complete(make(main(), context=Odd())) == 5
    assert len(ran) >= 3
    task = make(main(), context=Odd)
    run_ready(loop)
    assert "TypeError" in caplog.text
    task._log_destroy_pending = False
    task.get_coro().close()


@pytest.mark.skipif(not PY311, reason="3.11")
def test_an_entered_context_is_reported(loop, make, caplog):
    context = contextvars.copy_context()
    task = make(nothing(), context=context)
    context.run(run_ready, loop)
    assert "already entered" in caplog.text
    assert not task.done()
    task._log_destroy_pending = False
    task.get_coro().close()


# -- awaiting ----------------------------------------------------------------------


@pytest.mark.parametrize("future_kind", FUTURES)
@pytest.mark.parametrize("task_kind", TASKS)
def test_any_task_awaits_any_future(loop, future_kind, task_kind):
    future = FUTURES[future_kind](loop=loop)

    async def main():
        return await future

    task = TASKS[task_kind](main(), loop=loop)
    run_ready(loop)
    assert task._fut_waiter is future
    ((callback, context),) = future._callbacks
    assert callback.__self__ is task or task_kind == "stock"
    assert isinstance(context, contextvars.Context)
    assert not future._asyncio_future_blocking
    future.set_result(1)
    assert loop.run_until_complete(task) == 1
    assert task._fut_waiter is None


@pytest.mark.parametrize("kinds", ["cloop stock cloop", "stock cloop stock"])
def test_mixed_chains(loop, kinds):
    future = loop.create_future()

    async def wait(awaitable):
        try:
            return await awaitable + 1
        except ZeroDivisionError as exc:
            raise KeyError("outer") from exc

    def chain():
        inner = future
        for kind in kinds.split():
            inner = TASKS[kind](wait(inner), loop=loop)
        return inner

    outer = chain()
    run_ready(loop)
    future.set_result(1)
    assert loop.run_until_complete(outer) == 4

    future = loop.create_future()
    outer = chain()
    run_ready(loop)
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(outer)
    assert future.cancelled()

    future = loop.create_future()
    outer = chain()
    run_ready(loop)
    future.set_exception(ZeroDivisionError())
    with pytest.raises(KeyError):
        loop.run_until_complete(outer)


def test_many_tasks_await_one_future(loop, make):
    future = loop.create_future()
    order = []

    async def wait(i):
        await future
        order.append(i)

    tasks = [make(wait(i)) for i in range(10)]
    run_ready(loop)
    assert len(future._callbacks) == 10
    future.add_done_callback(lambda f: order.append("callback"))
    future.set_result(None)
    run_ready(loop)
    assert order == [*range(10), "callback"]
    assert all(task.done() for task in tasks)


def test_a_task_waiting_twice_equals_itself_as_callback(loop, make):
    future = loop.create_future()

    async def wait():
        await future

    task = make(wait())
    run_ready(loop)
    callback = future._callbacks[0][0]
    assert future.remove_done_callback(callback) == 1
    assert not future._callbacks
    future.add_done_callback(callback)
    future.set_result(None)
    loop.run_until_complete(task)


def test_bare_yields_take_turns(loop, make):
    order = []

    async def turn(name):
        for _ in range(3):
            order.append(name)
            await asyncio.sleep(0)

    tasks = [make(turn("a")), make(turn("b"))]
    loop.run_until_complete(asyncio.wait(tasks))
    assert order == list("ababab")


class Yields:
    def __init__(self, value):
        self.value = value

    def __await__(self):
        return (yield self.value)


def awaiting_fails(loop, make, value, **kwargs):
    async def main():
        try:
            await Yields(value)
        except RuntimeError as exc:
            return str(exc)

    return loop.run_until_complete(make(main(), **kwargs))


def test_bad_yields(impl, loop, make, new_loop):
    assert awaiting_fails(loop, make, 5) == "Task got bad yield: 5"
    generator = (i for i in ())
    text = awaiting_fails(loop, make, generator, **({"name": "n"}))
    assert text.startswith(
        "yield was used instead of yield from for generator in task <Task pending"
    )
    assert text.endswith(repr(generator))
    for cls in FUTURES.values():
        future = cls(loop=loop)
        text = awaiting_fails(loop, make, future)
        assert text.startswith("yield was used instead of yield from in task <Task")
        assert text.endswith(f"with {future!r}")
        other = cls(loop=new_loop())
        other._asyncio_future_blocking = True
        text = awaiting_fails(loop, make, other)
        assert re.fullmatch("Task .* got Future .* attached to a different loop", text)


def test_a_task_cannot_await_itself(loop, make):
    async def main():
        with pytest.raises(RuntimeError, match="Task cannot await on itself: <Task"):
            await task
        return 1

    task = make(main())
    assert loop.run_until_complete(task) == 1


def test_future_like_objects(loop, make):
    log = []

    class Like:
        _asyncio_future_blocking = False
        value = 5

        def get_loop(self):
            return loop

        def add_done_callback(self, callback, *, context):
            log.append(context)
            loop.call_soon(callback, self, context=context)

        def result(self):
            if isinstance(self.value, BaseException):
                raise self.value
            return self.value

        def cancel(self, *args, **kwargs):
            log.append("cancel")
            return True

        def __await__(self):
            self._asyncio_future_blocking = True
            yield self
            return self.result()

    async def main(like):
        return await like

    like = Like()
    assert loop.run_until_complete(make(main(like))) == 5
    assert like._asyncio_future_blocking is False
    like.value = KeyError(1)
    with pytest.raises(KeyError):
        loop.run_until_complete(make(main(like)))
    Like.add_done_callback = lambda self, callback, *, context: 1 / 0
    errors = []
    loop.set_exception_handler(lambda loop, context: errors.append(context))
    task = make(main(like))
    run_ready(loop)
    assert isinstance(errors[0]["exception"], ZeroDivisionError)
    task._log_destroy_pending = False


@pytest.mark.parametrize("base", FUTURES)
def test_future_subclasses_are_asked(loop, make, base):
    log = []

    class Logged(FUTURES[base]):
        def add_done_callback(self, callback, *, context=None):
            log.append("add")
            super().add_done_callback(callback, context=context)

        def get_loop(self):
            log.append("loop")
            return super().get_loop()

        def result(self):
            log.append("result")
            return super().result()

        def cancel(self, *args, **kwargs):
            log.append("cancel")
            return False

    async def main():
        return await future

    future = Logged(loop=loop)
    task = make(main())
    run_ready(loop)
    assert task.cancel() is True
    assert task._must_cancel
    future.set_result(1)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert log == ["loop", "add", "cancel", "result"]


def test_awaiting_a_done_future_does_not_suspend(loop, make):
    future = loop.create_future()
    future.set_result(1)

    async def main():
        return await future + await future

    task = make(main())
    run_ready(loop)
    assert task.result() == 2


def test_yielding_a_done_future_that_blocks(loop, make):
    future = loop.create_future()
    future.set_result(7)
    future._asyncio_future_blocking = True

    async def main():
        await Yields(future)
        return future.result()

    assert loop.run_until_complete(make(main())) == 7


# -- ends --------------------------------------------------------------------------


def test_exceptions(loop, make):
    async def main():
        await asyncio.sleep(0)
        raise KeyError(1)

    task = make(main())
    with pytest.raises(KeyError):
        loop.run_until_complete(task)
    assert isinstance(task.exception(), KeyError)
    stack = io.StringIO()
    task.print_stack(file=stack)
    assert "raise KeyError(1)" in stack.getvalue()
    assert task.get_stack()[-1].f_code.co_name == "main"


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
def test_exits_leave_the_loop_and_stay_in_the_task(loop, make, exception):
    async def main():
        await asyncio.sleep(0)
        raise exception(3)

    task = make(main())
    with pytest.raises(exception):
        loop.run_until_complete(task)
    assert isinstance(task.exception(), exception)
    assert asyncio.current_task(loop) is None
    assert loop.run_until_complete(make(asyncio.sleep(0, 5))) == 5


def test_get_stack_of_a_waiting_task(loop, make):
    async def inner():
        await forever()

    task = make(inner())
    run_ready(loop)
    assert [frame.f_code.co_name for frame in task.get_stack()] == ["inner"]
    assert task.get_stack(limit=0) == [] or True
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert task.get_stack() == []


def test_a_finished_task_refuses_to_step(loop, make, reports):
    future = loop.create_future()

    async def wait():
        await future

    task = make(wait())
    run_ready(loop)
    wakeup = future._callbacks[0][0]
    future.set_result(None)
    loop.run_until_complete(task)
    with pytest.raises(asyncio.InvalidStateError, match=r"step.*: already done"):
        run_on(loop, wakeup, future)


def test_the_refusal_is_worded_as_stocks(loop):
    async def wait(future):
        await future

    texts = []
    for cls in (asyncio.Task, cloop.Task):
        future = loop.create_future()
        task = cls(wait(future), loop=loop, name="n")
        run_ready(loop)
        wakeup = future._callbacks[0][0]
        future.set_result(None)
        loop.run_until_complete(task)
        with pytest.raises(asyncio.InvalidStateError) as caught:
            run_on(loop, wakeup, future)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_destroyed_but_pending(loop, make, reports):
    future = loop.create_future()

    async def wait():
        await future

    task = make(wait())
    run_ready(loop)
    name = task.get_name()
    loop.set_exception_handler(
        lambda loop, context: reports.append(dict(context, task=repr(context["task"])))
    )
    del task
    future = None
    gc.collect()
    (report,) = reports
    assert report["message"] == "Task was destroyed but it is pending!"
    assert report["task"].startswith(f"<Task pending name='{name}'")
    assert set(report) == {"message", "task"}


def test_log_destroy_pending_can_be_switched_off(loop, make, reports):
    future = loop.create_future()

    async def wait():
        await future

    task = make(wait())
    run_ready(loop)
    assert task._log_destroy_pending is True
    task._log_destroy_pending = False
    del task
    future = None
    gc.collect()
    assert not reports


def test_never_retrieved(loop, make, reports):
    async def main():
        raise KeyError(1)

    make(main())
    run_ready(loop)
    gc.collect()
    assert [report["message"] for report in reports] == [
        "Task exception was never retrieved"
    ]


def test_repr(loop, make):
    future = loop.create_future()

    async def wait():
        await future

    task = make(wait(), name="n")
    run_ready(loop)
    text = repr(task)
    assert text.startswith("<Task pending name='n' coro=<")
    assert "wait() running at" in text
    assert re.search(r"wait_for=<Future pending cb=\[.*[Ww]akeup.*\]>>$", text)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert repr(task).startswith("<Task cancelled name='n' coro=<")


@pytest.mark.skipif(not PY312, reason="wakeups have other types before")
def test_repr_is_stocks(loop):
    async def wait(future):
        await future

    texts = []
    for cls in (asyncio.Task, cloop.Task):
        future = loop.create_future()
        task = cls(wait(future), loop=loop, name="n")
        run_ready(loop)
        texts.append(repr(task))
        future.set_result(None)
        loop.run_until_complete(task)
    assert texts[0] == texts[1]


def test_source_traceback(impl, new_loop):
    loop = new_loop(debug=True)
    task = impl.Task(nothing(), loop=loop)
    assert task._source_traceback[-1].name == "test_source_traceback"
    loop.run_until_complete(task)
    task = loop.create_task(nothing())
    assert task._source_traceback[-1].name == "test_source_traceback"
    loop.run_until_complete(task)


# -- cancelling --------------------------------------------------------------------


def test_cancel_before_the_start(loop, make):
    started = []

    async def main():
        started.append(1)

    task = make(main())
    assert task.cancel() is True
    assert task._must_cancel
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert not started
    assert task.cancelled()
    assert task.cancel() is False


def test_cancel_while_waiting(loop, make):
    future = loop.create_future()

    async def main():
        try:
            await future
        except asyncio.CancelledError:
            return "caught"

    task = make(main())
    run_ready(loop)
    assert task.cancel()
    assert not task._must_cancel
    assert future.cancelled()
    assert loop.run_until_complete(task) == "caught"


def test_cancel_just_before_the_end(loop, make):
    async def main():
        task.cancel()
        return 5

    task = make(main())
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert task.cancelled()


def test_cancel_between_await_and_suspension(loop, make):
    future = loop.create_future()

    async def main():
        task.cancel()
        await future

    task = make(main())
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert future.cancelled()
    assert not task._must_cancel


def test_cancel_takes_the_place_of_another_exception(loop, make):
    future = loop.create_future()

    async def main():
        await future

    task = make(main())
    run_ready(loop)
    future.set_exception(KeyError())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


@pytest.mark.skipif(not PY39, reason="3.9")
@pytest.mark.parametrize("when", ["before", "waiting", "inside", "end"])
def test_cancel_messages_are_those_of_stock(loop, when):
    async def main(get):
        if when == "inside":
            get().cancel("inside")
        if when == "end":
            get().cancel("end")
            return
        await loop.create_future()

    answers = []
    for cls in (asyncio.Task, cloop.Task):
        task = cls(main(asyncio.current_task), loop=loop)
        if when == "before":
            task.cancel("before")
        if when == "waiting":
            run_ready(loop)
            task.cancel(msg="waiting")
        with pytest.raises(asyncio.CancelledError) as caught:
            loop.run_until_complete(task)
        with pytest.raises(asyncio.CancelledError) as again:
            task.result()
        answers.append((caught.value.args, again.value.args, task._cancel_message))
    assert answers[0] == answers[1]


def test_the_context_of_a_cancelled_error_is_as_on_stock(loop):
    async def inner():
        try:
            await loop.create_future()
        except asyncio.CancelledError as exc:
            raise exc

    async def outer():
        task = loop.create_task(inner())
        await asyncio.sleep(0)
        task.cancel()
        await task

    def shape(exc):
        depth = 0
        while exc is not None:
            depth += 1
            exc = exc.__context__
        return depth

    answers = []
    for cls in (asyncio.Task, cloop.Task):
        loop.set_task_factory(
            lambda loop, coro, cls=cls, **kw: cls(coro, loop=loop, **kw)
        )
        task = loop.create_task(outer())
        with pytest.raises(asyncio.CancelledError) as caught:
            loop.run_until_complete(task)
        answers.append(shape(caught.value))
    assert answers[0] == answers[1]


@pytest.mark.skipif(not PY311, reason="3.11")
def test_cancelling_and_uncancel(loop, make):
    async def main():
        counts = []
        for _ in range(2):
            try:
                await forever()
            except asyncio.CancelledError:
                counts.append(task.cancelling())
        counts.append(task.uncancel())
        counts.append(task.uncancel())
        counts.append(task.uncancel())
        return counts

    task = make(main())
    run_ready(loop)
    task.cancel()
    run_ready(loop)
    task.cancel()
    assert loop.run_until_complete(task) == [1, 2, 1, 0, 0]


@pytest.mark.skipif(not PY311, reason="3.11")
def test_uncancel_before_the_delivery(loop, make):
    task = make(asyncio.sleep(0, 5))
    task.cancel()
    assert task.cancelling() == 1
    assert task.uncancel() == 0
    if PY313:
        assert not task._must_cancel
        assert loop.run_until_complete(task) == 5
    else:
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)


def test_tasks_that_await_each_other(loop, make):
    async def wait(get):
        await get()

    first = make(wait(lambda: second))
    second = make(wait(lambda: first))
    run_ready(loop)
    with pytest.raises(RecursionError):
        first.cancel()
    for task in (first, second):
        task._log_destroy_pending = False
        task.get_coro().close()


def test_cancelling_a_long_chain(loop):
    async def wait(inner):
        await inner

    future = loop.create_future()
    tasks = [cloop.Task(wait(future), loop=loop)]
    loop.set_exception_handler(lambda loop, context: None)
    if not isinstance(loop, cloop.Loop):
        pytest.skip("stock's recursion does not reach that deep")
    for _ in range(50_000):
        tasks.append(cloop.Task(wait(tasks[-1]), loop=loop))
    run_ready(loop)
    assert tasks[-1].cancel() is True
    assert future.cancelled()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(tasks[-1])
    assert all(task.cancelled() for task in tasks)


# -- current_task, all_tasks -------------------------------------------------------


def test_current_task(loop, make):
    seen = []

    async def main():
        seen.append(asyncio.current_task())
        loop.call_soon(lambda: seen.append(asyncio.current_task()))
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    task = make(main())
    loop.run_until_complete(task)
    assert seen == [task, None, task]
    assert asyncio.current_task(loop) is None


def test_all_tasks(loop, make):
    async def main():
        return asyncio.all_tasks()

    others = [make(forever()) for _ in range(3)]
    task = make(main())
    assert asyncio.all_tasks(loop) == {task, *others}
    assert loop.run_until_complete(task) == {task, *others}
    for other in others:
        other.cancel()
    loop.run_until_complete(asyncio.wait(others))
    assert asyncio.all_tasks(loop) == set()


def test_dead_tasks_leave_nothing_in_the_registry(loop, make):
    if PY314:
        pytest.skip("a linked list there; the WeakSet is for foreign tasks")
    registry = getattr(asyncio.tasks, "_scheduled_tasks", None)
    if registry is None:
        registry = asyncio.tasks._all_tasks
    for _ in range(100):
        loop.run_until_complete(make(nothing()))
    gc.collect()
    registry.data.clear()  # of other tests' tasks, which may die in between
    before = 0

    for _ in range(100):
        loop.run_until_complete(make(nothing()))
    gc.collect()
    assert len(registry.data) <= before
    tasks = [make(nothing()) for _ in range(3)]
    assert set(tasks) <= set(registry)
    loop.run_until_complete(asyncio.wait(tasks))
    for _ in registry:
        tasks.clear()  # dies while somebody iterates
        gc.collect()
    del _
    make(nothing())
    run_ready(loop)
    gc.collect()
    assert len(list(registry)) <= before
    assert len(registry.data) <= before


def test_entering_while_another_task_is_current(loop, make, reports):
    future = loop.create_future()

    async def wait():
        await future

    inner = make(wait())
    run_ready(loop)
    wakeup = future._callbacks[0][0]

    async def main():
        future.remove_done_callback(wakeup)
        future.set_result(None)
        with pytest.raises(
            RuntimeError, match=r"Cannot enter into task <Task.* while "
        ):
            wakeup(future)
        assert asyncio.current_task() is outer

    outer = make(main())
    loop.run_until_complete(outer)
    run_on(loop, wakeup, future)
    assert inner.done()


def test_leaving_what_is_not_current(loop, make):
    async def main():
        asyncio.tasks._leave_task(loop, task)

    task = make(main())
    errors = []
    loop.set_exception_handler(lambda loop, context: errors.append(context))
    run_ready(loop)
    assert task.done()
    (error,) = errors
    expected = "does not match the current task None"
    if PY314:
        expected = "while task None is entered"
    assert expected in str(error["exception"])


def test_odd_hashes_and_equality(impl, loop):
    class Odd(impl.Task):
        def __eq__(self, other):
            return isinstance(other, Odd)

        def __hash__(self):
            return 5

    tasks = [Odd(asyncio.sleep(0, i), loop=loop) for i in range(3)]
    assert len(asyncio.all_tasks(loop)) == 1
    for i, task in enumerate(tasks):
        assert loop.run_until_complete(task) == i


# -- eager tasks -------------------------------------------------------------------

eager = pytest.mark.skipif(not PY312, reason="3.12")


@eager
def test_eager_start(loop, impl):
    async def inner():
        seen.append(asyncio.current_task())
        return 5

    async def suspends():
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())
        return 6

    async def main():
        me = asyncio.current_task()
        task = impl.Task(inner(), loop=loop, eager_start=True)
        assert task.done() and task.result() == 5
        if impl.is_cloop:  # early 3.12's own crashes
            assert task.get_coro() is None
        assert asyncio.current_task() is me
        assert task not in asyncio.all_tasks()
        other = impl.Task(suspends(), loop=loop, eager_start=True)
        assert not other.done()
        assert asyncio.current_task() is me
        assert other in asyncio.all_tasks()
        assert await other == 6
        return seen == [task, other, other]

    seen = []
    assert loop.run_until_complete(main())


@eager
def test_eager_start_without_a_running_loop(loop, impl):
    task = impl.Task(asyncio.sleep(0, 5), loop=loop, eager_start=True)
    assert not task.done()
    assert loop.run_until_complete(task) == 5


@eager
def test_eager_exceptions(loop, impl):
    async def fail(exc):
        raise exc

    async def main():
        task = impl.Task(fail(KeyError()), loop=loop, eager_start=True)
        assert isinstance(task.exception(), KeyError)
        task = impl.Task(fail(asyncio.CancelledError()), loop=loop, eager_start=True)
        assert task.cancelled()
        with pytest.raises(SystemExit):
            impl.Task(fail(SystemExit()), loop=loop, eager_start=True)
        assert asyncio.current_task() is not None

    loop.run_until_complete(main())


@eager
def test_eager_context(loop, impl):
    var = contextvars.ContextVar("var", default=0)

    async def inner():
        var.set(var.get() + 1)
        return var.get()

    async def main():
        var.set(5)
        task = impl.Task(inner(), loop=loop, eager_start=True)
        return task.result(), var.get()

    assert loop.run_until_complete(main()) == (6, 5)


@eager
def test_eager_factory(loop):
    loop.set_task_factory(asyncio.eager_task_factory)

    async def main():
        return await asyncio.gather(*(asyncio.sleep(0, i) for i in range(10)))

    assert loop.run_until_complete(main()) == list(range(10))


# -- foreign loops and overridden methods ------------------------------------------


def test_a_task_on_any_loop_object(impl):
    class Loop:
        def __init__(self):
            self.calls = []

        def get_debug(self):
            return False

        def call_soon(self, callback, *args, context):
            self.calls.append((callback, args, context))

        def call_exception_handler(self, context):
            raise AssertionError(context)

    loop = Loop()
    future = impl.Future(loop=loop)

    async def main():
        await asyncio.sleep(0)
        return await future

    task = impl.Task(main(), loop=loop)

    def run_one():
        callback, args, context = loop.calls.pop(0)
        asyncio._set_running_loop(loop)
        try:
            context.run(callback, *args)
        finally:
            asyncio._set_running_loop(None)
        return callback

    first = run_one()
    assert first.__self__ is task or not impl.is_cloop
    run_one()
    assert task._fut_waiter is future
    future.set_result(5)
    run_one()
    assert task.result() == 5
    assert not loop.calls


def test_an_overridden_call_soon_sees_every_step(impl):
    class Loop(impl.Loop):
        count = 0

        def call_soon(self, callback, *args, context=None):
            self.count += 1
            return super().call_soon(callback, *args, context=context)

    loop = Loop()
    try:

        async def main():
            for _ in range(10):
                await asyncio.sleep(0)

        loop.run_until_complete(main())
        assert loop.count == 12
    finally:
        loop.close()


@pytest.mark.parametrize("task_kind", TASKS)
def test_our_tasks_run_on_a_stock_loop(task_kind):
    loop = asyncio.SelectorEventLoop()
    loop.set_task_factory(
        lambda loop, coro, **kwargs: TASKS[task_kind](coro, loop=loop, **kwargs)
    )
    try:

        async def child(i):
            await asyncio.sleep(0)
            return i

        async def main():
            future = cloop.Future(loop=loop)
            loop.call_soon(future.set_result, 5)
            assert await asyncio.gather(*(child(i) for i in range(5))) == [*range(5)]
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(forever(), 0.01)
            return await future

        assert loop.run_until_complete(main()) == 5
    finally:
        loop.close()


# -- subclasses --------------------------------------------------------------------


def test_subclass(impl, loop):
    log = []

    class Mixin:
        pass

    class Logged(impl.Task, Mixin):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.note = 1

        def set_result(self, result):
            log.append("never asked")

        def cancel(self, *args, **kwargs):
            log.append("cancel")
            return super().cancel(*args, **kwargs)

        def add_done_callback(self, callback, *, context=None):
            log.append("add")
            super().add_done_callback(callback, context=context)

        def __del__(self):
            log.append("del")
            super().__del__()

    async def wait(inner):
        await inner

    inner = Logged(forever(), loop=loop)
    outer = loop.create_task(wait(inner))
    run_ready(loop)
    assert inner in asyncio.all_tasks(loop)
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(outer)
    assert inner.cancelled()
    inner = None
    del outer
    gc.collect()
    assert log == ["add", "cancel", "del"]


def test_a_task_that_is_never_initialised(impl, loop):
    class Lazy(impl.Task):
        def __init__(self):
            pass

    task = Lazy()
    assert not task.done()
    ref = weakref.ref(task)
    del task
    gc.collect()
    assert ref() is None


@pytest.mark.skipif(not PY315, reason="3.15")
def test_a_task_is_initialized_once(loop, make):
    async def main():
        return 5

    task = make(main())
    other = main()
    with pytest.raises(RuntimeError, match="Task object is already init"):
        task.__init__(other, loop=loop)
    other.close()
    assert loop.run_until_complete(task) == 5


# -- evil objects ------------------------------------------------------------------


@pytest.fixture
def sturdy(impl):
    if not impl.is_cloop:
        pytest.skip("stock crashes, in some versions")


def test_reinit_while_running(sturdy, loop, make):
    # gh-126138 and its kin: the coroutine is replaced while it runs
    async def other():
        return "other"

    async def main():
        task.__init__(other(), loop=loop)
        return "main"

    task = make(main())
    run_ready(loop)
    run_ready(loop)
    assert task.done()


def test_an_await_that_frees_its_future(sturdy, loop, make):
    class Evil:
        _asyncio_future_blocking = True

        def get_loop(self):
            return loop

        def add_done_callback(self, callback, *, context):
            task.__init__(nothing(), loop=loop)
            gc.collect()

        def cancel(self, *args):
            task.__init__(nothing(), loop=loop)
            return True

    async def main():
        await Yields(Evil())

    task = make(main())
    run_ready(loop)
    task.cancel()
    loop.set_exception_handler(lambda loop, context: None)
    run_ready(loop)
    run_ready(loop)
    task._log_destroy_pending = False


def test_evil_attributes(sturdy, loop, make):
    # gh-142556, gh-126080: getters that drop what is being looked at
    class Evil:
        @property
        def _asyncio_future_blocking(self):
            task.cancel()
            gc.collect()
            return True

        @_asyncio_future_blocking.setter
        def _asyncio_future_blocking(self, value):
            task.cancel()

        @property
        def get_loop(self):
            task.cancel()
            return lambda: loop

        @property
        def add_done_callback(self):
            return lambda callback, context: loop.call_soon(callback, self)

        def cancel(self, *args, **kwargs):
            task.cancel()
            return False

        def result(self):
            task.cancel()

    async def main():
        await Yields(Evil())

    loop.set_exception_handler(lambda loop, context: None)
    task = make(main())
    with pytest.raises((asyncio.CancelledError, RecursionError)):
        loop.run_until_complete(task)


def test_a_loop_that_cancels_the_task_it_schedules(sturdy, impl):
    # gh-126405: call_soon runs while the task is being made
    class Evil:
        def get_debug(self):
            return False

        def call_soon(self, callback, *args, context):
            for task in list(asyncio.tasks.all_tasks(self)):
                task.__init__(nothing(), loop=Quiet())

        def call_exception_handler(self, context):
            pass

    class Quiet(Evil):
        def call_soon(self, callback, *args, context):
            pass

    task = impl.Task(forever(), loop=Evil())
    task._log_destroy_pending = False
    task.get_coro().close()


# -- memory ------------------------------------------------------------------------


def test_a_long_chain_of_tasks_dies(sturdy, loop, make):
    async def hold(inner):
        await loop.create_future()

    inner = None
    for _ in range(100_000):
        inner = make(hold(inner))
        inner._log_destroy_pending = False
    run_ready(loop)
    ref = weakref.ref(inner)
    del inner
    gc.collect()
    assert ref() is None


def test_a_long_chain_of_finished_tasks_dies(sturdy, loop, make):
    async def give(inner):
        return inner

    inner = None
    for _ in range(100_000):
        inner = make(give(inner))
    run_ready(loop)
    ref = weakref.ref(inner)
    del inner
    gc.collect()
    assert ref() is None


def test_objects_are_free_without_gc(loop, make):
    class Canary:
        pass

    async def main(canary):
        await asyncio.sleep(0)
        future = loop.create_future()
        loop.call_soon(future.set_result, canary)
        return await future

    gc.collect()
    gc.disable()
    try:
        canary = Canary()
        ref = weakref.ref(canary)
        task = make(main(canary))
        task_ref = weakref.ref(task)
        del canary
        loop.run_until_complete(task)
        assert task.result() is ref()
        del task
        assert ref() is None
        assert task_ref() is None
    finally:
        gc.enable()


def test_nothing_grows(loop):
    async def child(future):
        try:
            await future
        except KeyError:
            pass

    async def round():
        futures = [loop.create_future() for _ in range(10)]
        tasks = [loop.create_task(child(future)) for future in futures]
        await asyncio.sleep(0)
        for i, future in enumerate(futures):
            if i % 3 == 0:
                future.set_result(i)
            elif i % 3 == 1:
                future.set_exception(KeyError(i))
            else:
                tasks[i].cancel()
        await asyncio.wait(tasks)

    def count():
        gc.collect()
        return len(gc.get_objects())

    for _ in range(5):
        loop.run_until_complete(round())
    before = count()
    for _ in range(50):
        loop.run_until_complete(round())
    assert count() - before < 20


def test_recycled_tasks_are_new(loop):
    async def main():
        for i in range(1000):
            task = loop.create_task(nothing(), name="x" if i % 2 else None)
            assert not task.done()
            assert task._fut_waiter is None
            assert task._callbacks is None
            assert not task._must_cancel
            assert task._log_destroy_pending
            assert not hasattr(task, "note")
            task.note = 1
            if i % 3 == 0:
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                assert i % 3 == 0

    loop.run_until_complete(main())
