"""Legacy mode: what asyncio had in Python 3.4 to 3.9 and has no longer.

enable() puts it back into the asyncio module (whatever loop is used), disable() takes
it out again; without enable() nothing of asyncio is changed. Only what the running
Python lacks is added, so that on 3.8 there is next to nothing to do. Names that a
program has imported from asyncio before enable() are not reached.

Each place of a program that uses something of this warns once, with a
DeprecationWarning that names the modern form.
"""

import asyncio
import collections.abc
import functools
import inspect
import sys
import threading
import types
import warnings
from asyncio import coroutines, events, locks, queues, streams, subprocess, tasks

__all__ = ("disable", "enable", "is_enabled")

_PY = sys.version_info[:2]
_ABSENT = object()

_undo: list = []  # (owner, name, what was there or _ABSENT), in order of changes
_warned: set = set()  # (message, file, line)


def enable() -> None:
    """Switch legacy mode on for this process. A second call does nothing."""
    if _undo:
        return
    _put_joinable_queue()
    _put_async()
    if _PY >= (3, 9):
        _put_task_methods()
        _put_lock_contexts()
    if _PY >= (3, 10):
        _put_loop_parameters()
        _put_wait()
    if _PY >= (3, 11):
        _put_coroutine()
    if _PY >= (3, 12):
        _put_generators()
    if _PY >= (3, 14):
        _put_implicit_loop()
        _put_child_watchers()


def disable() -> None:
    """Put asyncio back as it was before enable()."""
    while _undo:
        owner, name, old = _undo.pop()
        if old is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, old)
    # What iscoroutine() has learned in the meantime (3.12 on).
    getattr(coroutines, "_iscoroutine_typecache", set()).discard(types.GeneratorType)
    _warned.clear()


def is_enabled() -> bool:
    """True between enable() and disable()."""
    return bool(_undo)


def _put(value, name, *owners):
    for owner in owners:
        _undo.append((owner, name, vars(owner).get(name, _ABSENT)))
        setattr(owner, name, value)


# -- warnings --------------------------------------------------------------------------


def _user_frame():
    """The innermost frame that is neither ours nor asyncio's."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_globals.get("__name__") or ""
        if name not in (__name__, "asyncio") and not name.startswith("asyncio."):
            break
        frame = frame.f_back
    return frame


def _warn(message, frame=None):
    if frame is None:
        frame = _user_frame()
    names = frame.f_globals
    place = (message, frame.f_code.co_filename, frame.f_lineno)
    if place in _warned:
        return
    warnings.warn_explicit(
        message,
        DeprecationWarning,
        *place[1:],
        module=names.get("__name__") or "<unknown>",
        registry=names.setdefault("__warningregistry__", {}),
        source=None,
    )
    _warned.add(place)


# -- coroutines of generators ----------------------------------------------------------


def _mark_coroutine_function(function):
    """Makes asyncio.iscoroutinefunction say yes."""
    marker = getattr(coroutines, "_is_coroutine", None)
    if marker is not None:
        function._is_coroutine = marker
    else:
        inspect.markcoroutinefunction(function)
    return function


def coroutine(func):
    """The decorator asyncio.coroutine of Python 3.4 to 3.10.

    func is a generator function, or a function that returns a future, an awaitable or
    a plain result.
    """
    _warn("@asyncio.coroutine is legacy: write 'async def' and 'await'")
    if inspect.iscoroutinefunction(func):
        return func
    if inspect.isgeneratorfunction(func):
        body = func
    else:

        @functools.wraps(func)
        def body(*args, **kwargs):
            result = func(*args, **kwargs)
            if asyncio.isfuture(result) or inspect.isgenerator(result):
                result = yield from result
            elif isinstance(result, collections.abc.Awaitable):
                result = yield from result.__await__()
            return result

    return _mark_coroutine_function(types.coroutine(body))


def _put_coroutine():
    _put(coroutine, "coroutine", asyncio, coroutines)


def _put_generators():
    """3.12 took generators from what a task runs and iscoroutine() accepts."""
    kinds = coroutines._COROUTINE_TYPES
    if types.GeneratorType not in kinds:
        _put((*kinds, types.GeneratorType), "_COROUTINE_TYPES", coroutines)


@types.coroutine
def _await_generator(generator):
    return (yield from generator)


# -- loop= -----------------------------------------------------------------------------


def _call_on(loop, function, args, kwargs):
    """function(...) as if the loop ran, when no other does."""
    if loop is None or events._get_running_loop() is not None:
        return function(*args, **kwargs)
    events._set_running_loop(loop)
    try:
        return function(*args, **kwargs)
    finally:
        events._set_running_loop(None)


def _with_loop(stock, name):
    """stock, and it takes loop= again."""
    message = (
        f"asyncio.{name}(loop=...) is legacy: leave loop out, the running loop is used"
    )

    @functools.wraps(stock)
    def function(*args, **kwargs):
        if "loop" not in kwargs:
            return stock(*args, **kwargs)
        _warn(message)
        return _call_on(kwargs.pop("loop"), stock, args, kwargs)

    if inspect.iscoroutinefunction(stock):
        _mark_coroutine_function(function)
    return function


def _init_with_loop(cls):
    """The __init__ of a lock or a queue, and it takes loop= again."""
    stock = cls.__init__
    message = (
        f"asyncio.{cls.__name__}(loop=...) is legacy: leave loop out, "
        "the running loop is used"
    )

    @functools.wraps(stock)
    def __init__(self, *args, **kwargs):
        loop = kwargs.pop("loop", _ABSENT)
        stock(self, *args, **kwargs)
        if loop is _ABSENT:
            return
        _warn(message)
        if loop is not None:
            self._loop = loop

    return __init__


def _put_loop_parameters():
    for name in ("sleep", "gather", "shield", "as_completed"):
        _put(_with_loop(getattr(tasks, name), name), name, asyncio, tasks)
    _put(_wait_for(), "wait_for", asyncio, tasks)
    for name in (
        "open_connection",
        "start_server",
        "open_unix_connection",
        "start_unix_server",
    ):
        if hasattr(streams, name):
            _put(_with_loop(getattr(streams, name), name), name, asyncio, streams)
    for name in ("create_subprocess_exec", "create_subprocess_shell"):
        _put(_with_loop(getattr(subprocess, name), name), name, asyncio, subprocess)
    for cls in (
        locks.Lock,
        locks.Event,
        locks.Condition,
        locks.Semaphore,
        locks.BoundedSemaphore,
        queues.Queue,
    ):
        _put(_init_with_loop(cls), "__init__", cls)


def _wait_for():
    stock = _with_loop(tasks.wait_for, "wait_for")

    @functools.wraps(stock)
    def wait_for(fut, *args, **kwargs):
        if inspect.isgenerator(fut):  # 3.12 awaits it as it is
            fut = _await_generator(fut)
        return stock(fut, *args, **kwargs)

    return _mark_coroutine_function(wait_for)


def _put_wait():
    stock = tasks.wait

    async def run(frame, fs, loop, options):
        if not asyncio.isfuture(fs) and not coroutines.iscoroutine(fs):
            fs = dict.fromkeys(fs)
            if any(coroutines.iscoroutine(f) for f in fs):
                _warn(
                    "asyncio.wait() of coroutines is legacy: pass tasks, "
                    "made with asyncio.create_task()",
                    frame,
                )
            fs = {asyncio.ensure_future(f, loop=loop) for f in fs}
        return await stock(fs, **options)

    @functools.wraps(stock)
    def wait(fs, *, loop=_ABSENT, **options):
        if loop is _ABSENT:
            loop = None
        else:
            _warn(
                "asyncio.wait(loop=...) is legacy: leave loop out, "
                "the running loop is used"
            )
        return run(_user_frame(), fs, loop, options)

    _put(_mark_coroutine_function(wait), "wait", asyncio, tasks)


# -- names that are gone ---------------------------------------------------------------


def _put_async():
    def async_(coro_or_future, *, loop=None):
        """The ensure_future of Python 3.4."""
        _warn("asyncio.async() is legacy: use asyncio.ensure_future()")
        return asyncio.ensure_future(coro_or_future, loop=loop)

    async_.__name__ = async_.__qualname__ = "async"
    _put(async_, "async", asyncio, tasks)


def _put_joinable_queue():
    class JoinableQueue(queues.Queue):
        """The Queue with join() and task_done() of Python 3.4: every Queue now."""

        def __init__(self, *args, **kwargs):
            _warn("asyncio.JoinableQueue is legacy: use asyncio.Queue")
            super().__init__(*args, **kwargs)

    _put(JoinableQueue, "JoinableQueue", asyncio, queues)


def _put_task_methods():
    """asyncio.Task with its two class methods. The C type takes no attributes, so a
    class that stands for it takes its name: calls make the real type, instance and
    subclass checks are the real type's."""
    stock = tasks.Task

    class Meta(type):
        def __call__(cls, *args, **kwargs):
            if cls is Task:
                return stock(*args, **kwargs)
            return super().__call__(*args, **kwargs)

        def __instancecheck__(cls, obj):
            return (
                isinstance(obj, stock)
                if cls is Task
                else super().__instancecheck__(obj)
            )

        def __subclasscheck__(cls, other):
            return (
                issubclass(other, stock)
                if cls is Task
                else super().__subclasscheck__(other)
            )

    class Task(stock, metaclass=Meta):
        __doc__ = stock.__doc__

        @classmethod
        def current_task(cls, loop=None):
            """The task that runs on the loop, or None."""
            _warn("asyncio.Task.current_task() is legacy: use asyncio.current_task()")
            return asyncio.current_task(
                events.get_event_loop() if loop is None else loop
            )

        @classmethod
        def all_tasks(cls, loop=None):
            """The loop's tasks that are not done."""
            _warn("asyncio.Task.all_tasks() is legacy: use asyncio.all_tasks()")
            return asyncio.all_tasks(events.get_event_loop() if loop is None else loop)

    Task.__qualname__ = "Task"
    Task.__module__ = stock.__module__
    _put(Task, "Task", asyncio, tasks)


class _Held:
    """What `with (yield from lock)` enters."""

    def __init__(self, lock):
        self._lock = lock

    def __enter__(self):
        return None

    def __exit__(self, *exc_info):
        self._lock.release()


def _put_lock_contexts():
    def __iter__(self):
        _warn("'with (yield from lock)' is legacy: write 'async with lock'")
        yield from self.acquire().__await__()
        return _Held(self)

    for cls in (locks.Lock, locks.Condition, locks.Semaphore):
        if not hasattr(cls, "__await__"):
            _put(__iter__, "__iter__", cls)
            _put(__iter__, "__await__", cls)


# -- 3.14 on ---------------------------------------------------------------------------


def _put_implicit_loop():
    """get_event_loop(), and with it Future() and ensure_future(), makes the main
    thread's loop when none was ever set."""
    policy = getattr(events, "_BaseDefaultEventLoopPolicy", None)
    if policy is None:
        return  # no policies, no implicit loop: 3.16
    stock = policy.get_event_loop

    @functools.wraps(stock)
    def get_event_loop(self):
        if (
            "_loop" not in vars(self._local)
            and threading.current_thread() is threading.main_thread()
        ):
            _warn(
                "asyncio without a current event loop is legacy: use asyncio.run(), "
                "or asyncio.set_event_loop(asyncio.new_event_loop())"
            )
            self.set_event_loop(self.new_event_loop())
        return stock(self)

    _put(get_event_loop, "get_event_loop", policy)


class _ChildWatcher:
    """A child watcher of before 3.14, as far as programs made and attached one. The
    loop watches its children by itself."""

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        return None

    def attach_loop(self, loop):
        """Nothing to attach."""

    def close(self):
        """Nothing to close."""

    def is_active(self):
        """True."""
        return True


def _put_child_watchers():
    message = "asyncio's child watchers are legacy: leave them out"

    def get_child_watcher():
        _warn(message)
        return _ChildWatcher()

    def set_child_watcher(watcher):
        _warn(message)

    for function in (get_child_watcher, set_child_watcher):
        if not hasattr(asyncio, function.__name__):
            _put(function, function.__name__, asyncio, events)
    for name in (
        "AbstractChildWatcher",
        "SafeChildWatcher",
        "FastChildWatcher",
        "MultiLoopChildWatcher",
        "ThreadedChildWatcher",
        "PidfdChildWatcher",
    ):
        if not hasattr(asyncio, name):
            _put(type(name, (_ChildWatcher,), {}), name, asyncio)
