"""asyncio's own building blocks over our futures and tasks, stock's, and both mixed."""

import asyncio
import concurrent.futures
import contextvars
import gc
import threading
import time

import pytest
from support import PY, turn

MIXES = ["own", "stock", "mixed"]


@pytest.fixture(params=MIXES)
def spawn(request, loop):
    """Makes tasks: the loop's own, stock ones, or one of each in turn."""
    count = [0]

    def make(coro):
        count[0] += 1
        if request.param == "own" or (request.param == "mixed" and count[0] % 2):
            return loop.create_task(coro)
        return asyncio.Task(coro, loop=loop)

    return make


@pytest.fixture(params=MIXES)
def future(request, loop):
    count = [0]

    def make():
        count[0] += 1
        if request.param == "own" or (request.param == "mixed" and count[0] % 2):
            return loop.create_future()
        return asyncio.Future(loop=loop)

    return make


async def value(result, delay=0):
    await asyncio.sleep(delay)
    return result


async def fail(error, delay=0):
    await asyncio.sleep(delay)
    raise error


# -- awaiting ------------------------------------------------------------------------


def test_chain_of_tasks(loop, spawn):
    async def link(n):
        if n == 0:
            await asyncio.sleep(0)
            return 0
        return 1 + await spawn(link(n - 1))

    assert loop.run_until_complete(spawn(link(60))) == 60


def test_chain_of_failures(loop, spawn):
    error = ValueError("from the end")

    async def link(n):
        if n == 0:
            raise error
        await spawn(link(n - 1))

    with pytest.raises(ValueError) as caught:
        loop.run_until_complete(spawn(link(20)))
    assert caught.value is error


def test_task_waits_for_future(loop, spawn, future):
    async def wait(f):
        return await f

    futures = [future() for _ in range(4)]
    tasks = [spawn(wait(f)) for f in futures for _ in range(3)]
    turn(loop)
    for number, f in enumerate(futures):
        f.set_result(number)
    loop.run_until_complete(asyncio.wait(tasks))
    assert [t.result() for t in tasks] == [n for n in range(4) for _ in range(3)]


def test_future_exception_and_cancel(loop, spawn, future):
    async def wait(f):
        try:
            return await f
        except (ValueError, asyncio.CancelledError) as exc:
            return type(exc).__name__

    futures = [future() for _ in range(4)]
    tasks = [spawn(wait(f)) for f in futures]
    turn(loop)
    for f in futures[:2]:
        f.set_exception(ValueError("x"))
    for f in futures[2:]:
        f.cancel()
    turn(loop, 3)
    names = [t.result() for t in tasks]
    assert names == ["ValueError"] * 2 + ["CancelledError"] * 2


def test_cancel_reaches_the_innermost(loop, spawn, future):
    innermost = future()

    async def link(n):
        if n == 0:
            await innermost
        await spawn(link(n - 1))

    task = spawn(link(10))
    turn(loop, 12)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert innermost.cancelled()


def test_done_futures_do_not_wait(loop, spawn, future):
    done = future()
    done.set_result(5)

    async def main():
        return [await done, await done, await done]

    assert loop.run_until_complete(spawn(main())) == [5, 5, 5]


def test_one_future_awaited_by_many(loop, spawn, future):
    f = future()

    async def wait(n):
        return n, await f

    tasks = [spawn(wait(n)) for n in range(50)]
    turn(loop)
    f.set_result("x")
    turn(loop, 2)
    assert [t.result() for t in tasks] == [(n, "x") for n in range(50)]


def test_awaiting_a_future_of_another_loop(impl, loop, spawn):
    other = impl.new_event_loop()
    foreign = other.create_future()

    async def main():
        await foreign

    with pytest.raises(RuntimeError, match="attached to a different loop"):
        loop.run_until_complete(spawn(main()))
    other.close()


def test_awaiting_oneself(loop, spawn):
    async def main():
        await asyncio.current_task()

    with pytest.raises(RuntimeError, match="Task cannot await on itself"):
        loop.run_until_complete(spawn(main()))


@pytest.mark.parametrize("thing", [5, "x", object()])
def test_yielding_nonsense(loop, spawn, thing):
    class Awaitable:
        def __await__(self):
            yield thing

    async def main():
        await Awaitable()

    with pytest.raises(RuntimeError, match="Task got bad yield"):
        loop.run_until_complete(spawn(main()))


def test_yielding_a_future_without_await(loop, spawn, future):
    f = future()

    class Awaitable:
        def __await__(self):
            yield f

    async def main():
        await Awaitable()

    with pytest.raises(RuntimeError, match="yield was used instead of yield from"):
        loop.run_until_complete(spawn(main()))


def test_current_task(loop, spawn):
    seen = []

    async def child():
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    tasks = [spawn(child()) for _ in range(3)]
    loop.run_until_complete(asyncio.wait(tasks))
    assert seen == tasks * 2
    assert asyncio.current_task(loop) is None


def test_all_tasks_sees_both_kinds(loop, spawn):
    tasks = [spawn(value(n)) for n in range(4)]
    assert asyncio.all_tasks(loop) == set(tasks)
    loop.run_until_complete(asyncio.wait(tasks))
    assert asyncio.all_tasks(loop) == set()


# -- gather --------------------------------------------------------------------------


def test_gather(loop, spawn, future):
    async def main():
        f = future()
        loop.call_soon(f.set_result, "future")
        return await asyncio.gather(
            spawn(value(1)), value(2), f, spawn(value(4, 0.001)), asyncio.sleep(0, 5)
        )

    assert loop.run_until_complete(main()) == [1, 2, "future", 4, 5]


def test_gather_of_none_and_same(loop, spawn):
    async def main():
        assert await asyncio.gather() == []
        task = spawn(value(1))
        assert await asyncio.gather(task, task, value(2), task) == [1, 1, 2, 1]

    loop.run_until_complete(main())


def test_gather_failure(loop, spawn):
    async def main():
        slow = spawn(value("slow", 0.002))
        with pytest.raises(ValueError):
            await asyncio.gather(spawn(fail(ValueError())), slow)
        assert not slow.done()
        assert await slow == "slow"

    loop.run_until_complete(main())


def test_gather_return_exceptions(loop, spawn):
    async def main():
        error = ValueError()
        cancelled = spawn(asyncio.sleep(10))
        loop.call_soon(cancelled.cancel)
        results = await asyncio.gather(
            spawn(value(1)), fail(error), cancelled, return_exceptions=True
        )
        assert results[:2] == [1, error]
        assert isinstance(results[2], asyncio.CancelledError)

    loop.run_until_complete(main())


def test_gather_cancel(loop, spawn):
    async def main():
        children = [spawn(asyncio.sleep(10)) for _ in range(4)]
        group = asyncio.gather(*children)
        await asyncio.sleep(0)
        assert group.cancel()
        with pytest.raises(asyncio.CancelledError):
            await group
        assert all(c.cancelled() for c in children)

    loop.run_until_complete(main())


def test_nested_gather(loop, spawn):
    async def tree(depth):
        if depth == 0:
            await asyncio.sleep(0)
            return 1
        return sum(await asyncio.gather(spawn(tree(depth - 1)), tree(depth - 1)))

    assert loop.run_until_complete(tree(7)) == 128


def test_gather_of_many(loop):
    async def main():
        return await asyncio.gather(*[value(n) for n in range(3000)])

    assert loop.run_until_complete(main()) == list(range(3000))


# -- wait ----------------------------------------------------------------------------


def test_wait_modes(loop, spawn):
    async def main():
        quick, slow = spawn(value(1)), spawn(value(2, 0.01))
        done, pending = await asyncio.wait(
            [quick, slow], return_when=asyncio.FIRST_COMPLETED
        )
        assert (done, pending) == ({quick}, {slow})
        broken, slower = spawn(fail(ValueError())), spawn(value(3, 0.02))
        done, pending = await asyncio.wait(
            [broken, slower], return_when=asyncio.FIRST_EXCEPTION
        )
        assert (done, pending) == ({broken}, {slower})
        done, pending = await asyncio.wait([slow, slower])
        assert (done, pending) == ({slow, slower}, set())
        late = spawn(asyncio.sleep(10))
        done, pending = await asyncio.wait([late], timeout=0.002)
        assert (done, pending) == (set(), {late})
        late.cancel()
        done, pending = await asyncio.wait([late])
        assert late.cancelled()

    loop.run_until_complete(main())


def test_as_completed(loop, spawn):
    async def main():
        tasks = [spawn(value(n, n / 500)) for n in (3, 1, 2)]
        results = [await each for each in asyncio.as_completed(tasks)]
        assert results == [1, 2, 3]
        with pytest.raises(asyncio.TimeoutError):
            for each in asyncio.as_completed([spawn(value(1, 10))], timeout=0.005):
                await each

    loop.run_until_complete(main())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    turn(loop, 2)


def test_wait_for(loop, spawn, future):
    async def main():
        assert await asyncio.wait_for(spawn(value(1)), 10) == 1
        assert await asyncio.wait_for(value(2), None) == 2
        task = spawn(asyncio.sleep(10))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(task, 0.002)
        assert task.cancelled()
        pending = future()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pending, 0)
        assert pending.cancelled()
        done = future()
        done.set_result(3)
        assert await asyncio.wait_for(done, 0) == 3
        with pytest.raises(ValueError):
            await asyncio.wait_for(spawn(fail(ValueError())), 10)

    loop.run_until_complete(main())


def test_wait_for_cancelled_from_outside(loop, spawn):
    async def main():
        inner = spawn(asyncio.sleep(10))
        outer = spawn(asyncio.wait_for(inner, 10))
        await asyncio.sleep(0.001)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert inner.cancelled()

    loop.run_until_complete(main())


def test_wait_for_swallowed_cancel(loop, spawn):
    async def stubborn():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return "kept"

    async def main():
        try:
            return await asyncio.wait_for(spawn(stubborn()), 0.002)
        except asyncio.TimeoutError:
            return "timed out"

    stock = asyncio.SelectorEventLoop()
    try:
        expected = stock.run_until_complete(_wait_for_stubborn(stubborn))
    finally:
        stock.close()
    assert loop.run_until_complete(main()) == expected


async def _wait_for_stubborn(stubborn):
    try:
        return await asyncio.wait_for(stubborn(), 0.002)
    except asyncio.TimeoutError:
        return "timed out"


# -- shield, timeout, TaskGroup ------------------------------------------------------


def test_shield(loop, spawn):
    async def main():
        inner = spawn(value("inner", 0.005))
        outer = asyncio.shield(inner)
        await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert not inner.cancelled()
        assert await inner == "inner"
        assert await asyncio.shield(spawn(value(1))) == 1
        with pytest.raises(ValueError):
            await asyncio.shield(spawn(fail(ValueError())))

    loop.run_until_complete(main())


def test_shielded_failure_after_cancel_is_reported_once(loop, spawn, reports):
    async def main():
        inner = spawn(fail(ValueError("late"), 0.002))
        outer = asyncio.shield(inner)
        await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())
    gc.collect()
    messages = [c["message"] for c in reports]
    assert len(messages) <= 1


def test_timeout(loop, spawn):
    if PY < (3, 11):
        pytest.skip("3.11 and newer")

    async def main():
        async with asyncio.timeout(10):
            assert await spawn(value(1)) == 1
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002) as scope:
                await spawn(asyncio.sleep(10))
        assert scope.expired()
        assert asyncio.current_task().cancelling() == 0
        async with asyncio.timeout(None) as scope:
            scope.reschedule(loop.time() + 10)
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                async with asyncio.timeout_at(loop.time() - 1):
                    await asyncio.sleep(10)

    loop.run_until_complete(spawn(main()))


def test_task_group(loop):
    if PY < (3, 11):
        pytest.skip("3.11 and newer")

    async def main():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(value(n)) for n in range(10)]
        assert [t.result() for t in tasks] == list(range(10))
        sleeper = None
        with pytest.raises(BaseException) as caught:
            async with asyncio.TaskGroup() as group:
                sleeper = group.create_task(asyncio.sleep(10))
                group.create_task(fail(ValueError("one")))
                group.create_task(fail(KeyError("two")))
        assert sorted(type(e).__name__ for e in caught.value.exceptions) == [
            "KeyError",
            "ValueError",
        ]
        assert sleeper.cancelled()
        if PY >= (3, 13):
            assert asyncio.current_task().cancelling() == 0
        async with asyncio.TaskGroup() as outer:
            for _ in range(3):
                outer.create_task(_tree(3))

    loop.run_until_complete(main())


async def _tree(depth):
    if depth:
        async with asyncio.TaskGroup() as group:
            group.create_task(_tree(depth - 1))
            group.create_task(_tree(depth - 1))


def test_task_group_cancelled_from_outside(loop, spawn):
    if PY < (3, 11):
        pytest.skip("3.11 and newer")
    cancelled = []

    async def child(n):
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(n)
            raise

    async def main():
        async with asyncio.TaskGroup() as group:
            for n in range(3):
                group.create_task(child(n))

    task = spawn(main())
    turn(loop, 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert sorted(cancelled) == [0, 1, 2]


def test_uncancel(loop, spawn):
    if PY < (3, 11):
        pytest.skip("3.11 and newer")

    async def main():
        task = asyncio.current_task()
        task.cancel()
        task.cancel()
        assert task.cancelling() == 2
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            assert task.uncancel() == 1
            assert task.uncancel() == 0
            assert task.uncancel() == 0
        return "went on"

    assert loop.run_until_complete(spawn(main())) == "went on"


def test_cancel_message(loop, spawn):
    if PY < (3, 9):
        pytest.skip("3.9 and newer")

    async def main():
        inner = spawn(asyncio.sleep(10))
        await asyncio.sleep(0)
        inner.cancel("the reason")
        try:
            await inner
        except asyncio.CancelledError as exc:
            return exc.args

    expected = ("the reason",) if PY >= (3, 11) else ()
    assert loop.run_until_complete(spawn(main())) in (expected, ("the reason",))


# -- synchronisation -----------------------------------------------------------------


def test_lock(loop, spawn):
    order = []

    async def worker(lock, n):
        async with lock:
            order.append(("in", n))
            await asyncio.sleep(0)
            order.append(("out", n))

    async def main():
        lock = asyncio.Lock()
        await asyncio.wait([spawn(worker(lock, n)) for n in range(6)])
        assert not lock.locked()

    loop.run_until_complete(main())
    assert order == [(side, n) for n in range(6) for side in ("in", "out")]


def test_lock_waiter_cancelled(loop, spawn):
    async def main():
        lock = asyncio.Lock()
        await lock.acquire()
        waiters = [spawn(lock.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        lock.release()
        await asyncio.sleep(0.001)
        assert waiters[0].cancelled()
        assert waiters[1].done() and not waiters[2].done()
        lock.release()
        assert await waiters[2]
        lock.release()

    loop.run_until_complete(main())


def test_event(loop, spawn):
    async def main():
        event = asyncio.Event()
        waiters = [spawn(event.wait()) for _ in range(5)]
        await asyncio.sleep(0)
        assert not any(w.done() for w in waiters)
        event.set()
        assert await asyncio.gather(*waiters) == [True] * 5

    loop.run_until_complete(main())


def test_condition(loop, spawn):
    woken = []

    async def wait(condition, n):
        async with condition:
            await condition.wait()
            woken.append(n)

    async def main():
        condition = asyncio.Condition()
        tasks = [spawn(wait(condition, n)) for n in range(4)]
        await asyncio.sleep(0)
        async with condition:
            condition.notify(2)
        await asyncio.sleep(0.001)
        assert woken == [0, 1]
        async with condition:
            condition.notify_all()
        await asyncio.wait(tasks)

    loop.run_until_complete(main())
    assert sorted(woken) == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["Semaphore", "BoundedSemaphore"])
def test_semaphore(loop, spawn, kind):
    inside = [0, 0]

    async def worker(semaphore):
        async with semaphore:
            inside[0] += 1
            inside[1] = max(inside)
            await asyncio.sleep(0)
            inside[0] -= 1

    async def main():
        semaphore = getattr(asyncio, kind)(3)
        await asyncio.wait([spawn(worker(semaphore)) for _ in range(20)])

    loop.run_until_complete(main())
    assert inside == [0, 3]


def test_barrier(loop, spawn):
    if PY < (3, 11):
        pytest.skip("3.11 and newer")

    async def main():
        barrier = asyncio.Barrier(4)

        async def arrive():
            async with barrier as position:
                return position

        positions = await asyncio.gather(*[spawn(arrive()) for _ in range(8)])
        assert sorted(positions) == sorted(list(range(4)) * 2)

    loop.run_until_complete(main())


@pytest.mark.parametrize("kind", ["Queue", "LifoQueue", "PriorityQueue"])
@pytest.mark.parametrize("size", [0, 1, 5])
def test_queue(loop, spawn, kind, size):
    got = []

    async def producer(queue):
        for n in range(60):
            await queue.put(n)

    async def consumer(queue):
        while True:
            got.append(await queue.get())
            queue.task_done()

    async def main():
        queue = getattr(asyncio, kind)(size)
        consumers = [spawn(consumer(queue)) for _ in range(3)]
        await asyncio.gather(*[spawn(producer(queue)) for _ in range(2)])
        await queue.join()
        for task in consumers:
            task.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)

    loop.run_until_complete(main())
    assert sorted(got) == sorted(list(range(60)) * 2)


def test_queue_getter_cancelled(loop, spawn):
    async def main():
        queue = asyncio.Queue()
        first, second = spawn(queue.get()), spawn(queue.get())
        await asyncio.sleep(0)
        first.cancel()
        queue.put_nowait("x")
        assert await second == "x"

    loop.run_until_complete(main())


# -- threads -------------------------------------------------------------------------


def test_run_coroutine_threadsafe(loop):
    results = []

    def run():
        ok = asyncio.run_coroutine_threadsafe(value(5, 0.001), loop)
        results.append(ok.result(10))
        broken = asyncio.run_coroutine_threadsafe(fail(ValueError("x")), loop)
        results.append(type(broken.exception(10)))
        slow = asyncio.run_coroutine_threadsafe(asyncio.sleep(100), loop)
        time.sleep(0.005)
        slow.cancel()
        try:
            slow.result(10)
        except concurrent.futures.CancelledError:
            results.append("cancelled")
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=run)
    thread.start()
    loop.run_forever()
    thread.join()
    turn(loop, 3)
    assert results == [5, ValueError, "cancelled"]
    assert asyncio.all_tasks(loop) == set()


def test_wrap_future(loop):
    outside = [concurrent.futures.Future() for _ in range(3)]
    threading.Timer(0.005, outside[0].set_result, [1]).start()
    threading.Timer(0.005, outside[1].set_exception, [ValueError()]).start()

    async def main():
        wrapped = [asyncio.wrap_future(f) for f in outside]
        assert all(isinstance(w, asyncio.Future) for w in wrapped)
        assert await wrapped[0] == 1
        with pytest.raises(ValueError):
            await wrapped[1]
        wrapped[2].cancel()
        await asyncio.sleep(0)
        assert outside[2].cancelled()

    loop.run_until_complete(main())


def test_future_result_set_from_a_thread_through_the_loop(loop, future):
    f = future()
    threading.Timer(0.005, loop.call_soon_threadsafe, [f.set_result, 1]).start()
    assert loop.run_until_complete(f) == 1


# -- contexts ------------------------------------------------------------------------


def test_context_of_tasks_and_callbacks(loop, spawn, future):
    var = contextvars.ContextVar("var", default="outside")
    seen = []

    async def child(name):
        var.set(name)
        await asyncio.sleep(0)
        f = future()
        f.add_done_callback(lambda f: seen.append(("callback", var.get())))
        f.set_result(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen.append(("task", var.get()))

    async def main():
        await asyncio.wait([spawn(child(n)) for n in "abc"])
        return var.get()

    assert loop.run_until_complete(main()) == "outside"
    assert sorted(seen) == [(k, n) for k in ("callback", "task") for n in "abc"]


def test_done_callback_in_a_given_context(loop, future):
    context = contextvars.copy_context()
    var = contextvars.ContextVar("var", default="default")
    context.run(var.set, "given")
    seen = []
    f = future()
    f.add_done_callback(lambda f: seen.append(var.get()), context=context)
    f.set_result(1)
    f.add_done_callback(lambda f: seen.append(var.get()), context=context)
    turn(loop)
    assert seen == ["given", "given"]


# -- subclasses ----------------------------------------------------------------------


def test_subclasses(impl, loop):
    class MyFuture(impl.Future):
        def set_result(self, result):
            super().set_result(("mine", result))

    class MyTask(impl.Task):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.steps = "kept"

        def set_name(self, name):
            super().set_name("my-%s" % name)

    async def main():
        f = MyFuture(loop=loop)
        loop.call_soon(f.set_result, 1)
        assert await f == ("mine", 1)
        task = MyTask(value(2), loop=loop)
        assert task.steps == "kept"
        task.set_name("x")
        assert task.get_name() == "my-x"
        assert await task == 2
        return await asyncio.gather(MyTask(value(3), loop=loop), value(4))

    loop.set_task_factory(lambda loop, coro, **kw: MyTask(coro, loop=loop, **kw))
    assert loop.run_until_complete(main()) == [3, 4]


def test_duck_typed_future(loop, spawn):
    """Anything with _asyncio_future_blocking is a future."""

    class Duck:
        _asyncio_future_blocking = False

        def __init__(self):
            self.callbacks = []
            self.value = None

        def get_loop(self):
            return loop

        def add_done_callback(self, callback, *, context=None):
            self.callbacks.append((callback, context))

        def remove_done_callback(self, callback):
            return 0

        def done(self):
            return self.value is not None

        def result(self):
            return self.value

        def cancel(self, msg=None):
            return False

        def finish(self, value):
            self.value = value
            for callback, context in self.callbacks:
                loop.call_soon(callback, self, context=context)

        def __await__(self):
            self._asyncio_future_blocking = True
            yield self
            return self.result()

    duck = Duck()

    async def main():
        return await duck

    loop.call_later(0.001, duck.finish, "quack")
    assert loop.run_until_complete(spawn(main())) == "quack"


def test_eager_tasks(impl, loop):
    if PY < (3, 12):
        pytest.skip("3.12 and newer")
    order = []

    async def child(n, waits):
        order.append(("start", n))
        if waits:
            await asyncio.sleep(0)
        order.append(("end", n))
        return n

    async def main():
        factory = asyncio.create_eager_task_factory(impl.Task)
        loop.set_task_factory(factory)
        first = asyncio.create_task(child(1, False))
        second = asyncio.create_task(child(2, True))
        order.append("main")
        assert first.done() and not second.done()
        assert second in asyncio.all_tasks() and first not in asyncio.all_tasks()
        assert asyncio.current_task() not in (first, second)
        return await asyncio.gather(first, second, child(3, True))

    assert loop.run_until_complete(main()) == [1, 2, 3]
    assert order[:4] == [("start", 1), ("end", 1), ("start", 2), "main"]
