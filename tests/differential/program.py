"""Random asyncio programs with a trace: the same seed must give the same trace on every
loop.

A program is a list of steps of a few nested tasks, drawn from a seed alone. What runs
writes lines to the trace: who, what, with which result. Time is the loop's own clock
turned into a counter (each turn of the loop is one tick), so that timers take part
without making the trace depend on the machine.
"""

import asyncio
import contextvars
import gc
import random

VAR = contextvars.ContextVar("VAR", default="-")
WORDS = ("ant", "bee", "cat", "dog", "eel", "fox")


class Custom(Exception):
    pass


class Program:
    """One run of the program of `seed` on `loop`; `trace` is what came of it."""

    def __init__(self, loop, seed, classes, size=40):
        self.loop = loop
        self.classes = classes
        self.rng = random.Random(seed)
        self.size = size
        self.trace = []
        self.futures = []
        self.tasks = []
        self.getters = []
        self.handles = []
        self.count = 0
        self.budget = 150
        self.now = 0.0

    # -- trace -----------------------------------------------------------------------

    def note(self, *what):
        self.trace.append(" ".join(map(str, what)) + " in " + VAR.get())

    def name(self, kind):
        self.count += 1
        return "%s%d" % (kind, self.count)

    def outcome(self, future):
        if not future.done():
            return "pending"
        if future.cancelled():
            return "cancelled"
        error = future.exception()
        if error is not None:
            return "%s(%s)" % (type(error).__name__, error)
        return repr(future.result())[:60]

    def report(self, loop, context):
        error = context.get("exception")
        message = context["message"].split(" at 0x")[0].split(" <")[0].split("(")[0]
        keys = ",".join(sorted(context))
        self.note("report", message.split(".")[0][:30], type(error).__name__, keys)

    # -- ingredients -----------------------------------------------------------------

    def new_future(self):
        kind = self.rng.randrange(3)
        if kind == 0:
            return asyncio.Future(loop=self.loop)
        if kind == 1:
            return self.classes["Future"](loop=self.loop)
        return self.loop.create_future()

    def new_task(self, coro, name):
        kind = self.rng.randrange(4)
        if kind == 0:
            task = asyncio.Task(coro, loop=self.loop)
        elif kind == 1:
            task = self.classes["Task"](coro, loop=self.loop)
        else:
            task = self.loop.create_task(coro)
        task.set_name(name)
        return task

    def pick_future(self):
        return self.rng.choice(self.futures) if self.futures else None

    def pick_task(self):
        return self.rng.choice(self.tasks) if self.tasks else None

    def spend(self):
        self.budget -= 1
        return self.budget > 0

    # -- callbacks -------------------------------------------------------------------

    def callback(self, name, depth, *args):
        self.note("run", name, len(args))
        if depth and self.spend():
            for _ in range(self.rng.randrange(3)):
                self.act(depth - 1, name)
        if self.rng.random() < 0.12:
            raise Custom("from " + name)

    def done_callback(self, name, future):
        self.note("done", name, self.outcome(future))
        if self.rng.random() < 0.1:
            raise Custom("from " + name)
        if self.rng.random() < 0.3 and self.spend():
            self.act(1, name)

    def act(self, depth, who):
        """One thing that needs no await."""
        choice = self.rng.randrange(16)
        if choice == 0:
            name = self.name("soon")
            context = contextvars.copy_context() if self.rng.random() < 0.3 else None
            if context is not None:
                context.run(VAR.set, name)
            args = self.rng.randrange(5) * (1,)
            handle = self.loop.call_soon(
                self.callback, name, depth, *args, context=context
            )
            self.handles.append((name, handle))
        elif choice == 1:
            name = self.name("later")
            delay = self.rng.choice([0, 0, -1, 1, 2, 3, 5])
            # never two deadlines alike: stock's heap is not stable
            handle = self.loop.call_at(
                self.now + delay + self.count * 1e-6, self.callback, name, depth
            )
            self.handles.append((name, handle))
        elif choice == 2 and self.handles:
            name, handle = self.rng.choice(self.handles)
            handle.cancel()
            self.note(who, "cancels handle", name, handle.cancelled())
        elif choice == 3:
            name = self.name("threadsafe")
            self.loop.call_soon_threadsafe(self.callback, name, depth)
        elif choice == 4:
            future = self.new_future()
            self.futures.append(future)
            for _ in range(self.rng.randrange(3)):
                self.add_done_callback(future)
        elif choice == 5 and self.futures:
            self.finish(self.pick_future(), who)
        elif choice == 6 and self.futures:
            future = self.pick_future()
            self.note(who, "cancels future", self.cancel(future))
        elif choice == 7 and self.tasks:
            task = self.pick_task()
            self.note(who, "cancels", task.get_name(), self.cancel(task))
        elif choice == 8 and (self.futures or self.tasks):
            self.add_done_callback(self.rng.choice(self.futures + self.tasks))
        elif choice == 9 and self.futures:
            future = self.pick_future()
            callback = self.shared
            future.add_done_callback(callback)
            if self.rng.random() < 0.5:
                self.note(who, "removes", future.remove_done_callback(callback))
        elif choice == 10 and depth and self.spend():
            self.start_task(depth - 1)
        elif choice == 11:
            value = self.rng.choice(WORDS)
            VAR.set(value)
            self.note(who, "sets")
        elif choice == 12 and self.futures:
            shielded = asyncio.shield(self.pick_future())
            self.futures.append(shielded)
        elif choice == 13 and self.tasks:
            task = self.pick_task()
            self.note(who, "sees", task.get_name(), self.outcome(task))
        elif choice == 14 and len(self.futures) > 1:
            some = self.rng.sample(self.futures, 2)
            if self.rng.random() < 0.5:
                some += self.rng.sample(self.tasks, min(2, len(self.tasks)))
            group = asyncio.gather(*some, return_exceptions=self.rng.random() < 0.5)
            self.futures.append(group)
            self.add_done_callback(group)
        else:
            self.note(who, "counts", len(self.loop._ready) >= 0)

    def shared(self, future):
        self.note("shared", self.outcome(future))

    def add_done_callback(self, future):
        name = self.name("callback")
        callback = Callback(self, name)
        if self.rng.random() < 0.3:
            context = contextvars.copy_context()
            context.run(VAR.set, name)
            future.add_done_callback(callback, context=context)
        else:
            future.add_done_callback(callback)

    def cancel(self, future):
        return future.cancel()

    def finish(self, future, who):
        try:
            if self.rng.random() < 0.7:
                future.set_result(self.rng.choice(WORDS))
            else:
                future.set_exception(Custom(self.rng.choice(WORDS)))
        except (asyncio.InvalidStateError, RuntimeError) as exc:
            self.note(who, "cannot finish", type(exc).__name__)

    # -- tasks -----------------------------------------------------------------------

    def start_task(self, depth):
        name = self.name("task")
        task = self.new_task(self.body(name, depth), name)
        self.tasks.append(task)
        return task

    async def body(self, name, depth):
        self.note("start", name)
        for _ in range(self.rng.randrange(1, 6)):
            try:
                result = await self.wait(name, depth)
                if result is not None:
                    self.note(name, "got", repr(result)[:60])
            except Custom as exc:
                self.note(name, "caught", exc)
                if self.rng.random() < 0.3:
                    raise
            except asyncio.TimeoutError:
                self.note(name, "timed out")
            except asyncio.CancelledError:
                self.note(name, "cancelled")
                if self.rng.random() < 0.8:
                    raise
            self.act(depth, name)
        if self.rng.random() < 0.15:
            raise Custom("end of " + name)
        return name

    async def wait(self, name, depth):
        choice = self.rng.randrange(13)
        if choice <= 1:
            return await asyncio.sleep(0, "slept")
        if choice == 2:
            await self.tick_sleep(self.rng.randrange(1, 5))
        elif choice == 3 and self.futures:
            return await self.within(self.pick_future())
        elif choice == 4 and depth and self.spend():
            return await self.start_task(depth - 1)
        elif choice == 5 and depth and self.spend():
            children = [
                self.start_task(depth - 1) for _ in range(self.rng.randrange(4))
            ]
            return await asyncio.gather(
                *children, return_exceptions=self.rng.random() < 0.5
            )
        elif choice == 6 and depth and self.spend():
            children = [self.start_task(depth - 1) for _ in range(2)]
            done, pending = await asyncio.wait(
                children, return_when=asyncio.FIRST_COMPLETED
            )
            names = sorted(t.get_name() for t in done)
            return names, sorted(t.get_name() for t in pending)
        elif choice == 7 and depth and self.spend():
            return await asyncio.shield(self.start_task(depth - 1))
        elif choice == 8 and depth and self.spend():
            return await self.body(self.name("inner"), depth - 1)
        elif choice == 9:
            return await self.timed(self.tick_sleep(self.rng.randrange(1, 6)))
        elif choice == 10:
            lock = self.lock
            async with lock:
                await asyncio.sleep(0)
            return "locked"
        elif choice == 11:
            if self.rng.random() < 0.5:
                self.queue.put_nowait(name)
                return "put"
            getter = asyncio.ensure_future(self.queue.get())
            self.getters.append(getter)
            return await self.within(getter)
        elif choice == 12:
            return [n async for n in self.generate(name)]
        return None

    async def generate(self, name):
        try:
            for n in range(self.rng.randrange(3)):
                await asyncio.sleep(0)
                yield n
        finally:
            self.note(name, "generated")

    def tick_sleep(self, ticks):
        future = self.loop.create_future()
        self.count += 1
        handle = self.loop.call_at(
            self.now + ticks + self.count * 1e-6, set_unless_done, future
        )
        future.add_done_callback(lambda f: handle.cancel())
        return future

    async def timed(self, future):
        """wait_for, with a deadline on the program's clock."""
        self.count += 1
        handle = self.loop.call_at(
            self.now + 2.5 + self.count * 1e-6, lambda: future.cancel()
        )
        try:
            return await future
        finally:
            handle.cancel()

    async def within(self, future):
        """A wait that ends by itself: futures nobody finishes are many."""
        done, _ = await asyncio.wait(
            [future, self.tick_sleep(6)], return_when=asyncio.FIRST_COMPLETED
        )
        if future in done:
            return future.result()
        return "gave up"

    # -- the run ---------------------------------------------------------------------

    async def main(self):
        self.lock = asyncio.Lock()
        self.queue = asyncio.Queue()
        for _ in range(self.size):
            self.act(3, "main")
            if self.rng.random() < 0.3:
                await asyncio.sleep(0)
        for _ in range(60):
            await asyncio.sleep(0)

    def tick(self):
        self.now += 0.25

    def run(self):
        loop = self.loop
        loop.time = lambda: self.now
        loop.set_exception_handler(self.report)

        def turn():
            self.tick()
            if not main.done():
                loop.call_soon(turn)

        main = loop.create_task(self.main())
        loop.call_soon(turn)
        loop.run_until_complete(main)
        for number in range(40):
            if number % 10 == 0:  # a task may swallow one
                for task in self.tasks + self.getters:
                    task.cancel()
            self.tick()
            loop.call_soon(loop.stop)
            loop.run_forever()
        for task in self.tasks:
            self.note("end", task.get_name(), self.outcome(task))
            task._log_destroy_pending = False
        for number, future in enumerate(self.futures):
            self.note("end", "future", number, self.outcome(future))
        self.note("left", sum(not t.done() for t in asyncio.all_tasks(loop)))
        self.tasks.clear()
        self.futures.clear()
        return self.trace


class Callback:
    """A done-callback with an equality of its own, as bound methods have."""

    def __init__(self, program, name):
        self.program = program
        self.name = name

    def __call__(self, future):
        self.program.done_callback(self.name, future)


def set_unless_done(future):
    if not future.done():
        future.set_result(None)


def run_seed(make_loop, seed, classes, debug=False):
    """The trace of the program of `seed` on a loop of make_loop()'s."""
    loop = make_loop()
    loop.set_debug(debug)
    loop.slow_callback_duration = 1e9
    context = contextvars.Context()
    try:
        trace = context.run(Program(loop, seed, classes).run)
    finally:
        loop.close()
    gc.collect(0)
    return trace
