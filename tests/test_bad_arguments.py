"""Wrong calls of every public loop method: the same exception and message as stock's.

Each case runs on a stock loop and on the implementation under test, and what came of it
is compared. What Python's own argument checks say is generated from the signatures of
stock's methods; the rest is written out.
"""

import asyncio
import functools
import inspect
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import PY, outcome, turn

pytestmark = pytest.mark.filterwarnings("ignore")

METHODS = sorted(
    name for name in dir(asyncio.AbstractEventLoop) if not name.startswith("_")
)


def callback(*args, **kwargs):
    pass


async def coroutine_function(*args):
    pass


@pytest.fixture
def stock_loop():
    loop = asyncio.SelectorEventLoop()
    yield loop
    loop.close()


def compare(loop, stock_loop, call):
    expected = outcome(call, stock_loop)
    found = outcome(call, loop)
    assert found == expected


# -- generated -----------------------------------------------------------------------


def wrong_calls(name):
    """(label, args, kwargs) of calls that do not fit stock's signature."""
    method = getattr(asyncio.SelectorEventLoop, name)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    keyword_only = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    required = [p for p in positional if p.default is p.empty]
    required_keywords = [p for p in keyword_only if p.default is p.empty]
    kinds = {p.kind for p in parameters}
    for count in range(len(required)):
        yield "%d of %d" % (count, len(required)), (None,) * count, {}
    for left_out in required:
        kwargs = {p.name: None for p in required if p is not left_out}
        kwargs.update((p.name, None) for p in required_keywords)
        yield "without " + left_out.name, (), kwargs
    for left_out in required_keywords:
        kwargs = {p.name: None for p in required_keywords if p is not left_out}
        yield "without " + left_out.name, (None,) * len(required), kwargs
    enough = (None,) * len(required)
    others = {p.name: None for p in required_keywords}
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        most = (None,) * len(positional)
        yield "one too many", most + (None,), others
        yield "three too many", most + (None,) * 3, others
        if keyword_only:
            yield "too many and a keyword", most + (None,), {keyword_only[0].name: 1}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        yield "unknown keyword", enough, dict(others, qqqqqqqq=None)
        yield "two unknown keywords", enough, dict(others, qqqqqqqq=1, zzzzzzzz=2)
    for number, parameter in enumerate(positional):
        args = (None,) * (number + 1)
        yield "twice " + parameter.name, args, {parameter.name: None}


@pytest.mark.parametrize("name", METHODS)
def test_calls_that_do_not_fit(loop, stock_loop, name):
    for label, args, kwargs in wrong_calls(name):

        def call(loop, args=args, kwargs=kwargs):
            return getattr(loop, name)(*args, **kwargs)

        expected = outcome(call, stock_loop)
        assert expected[:2] == ("raised", "TypeError"), label
        assert outcome(call, loop) == expected, label


@pytest.mark.parametrize("name", METHODS)
def test_signature(loop, name):
    """inspect.signature answers as for stock's method (defaults too)."""
    expected = inspect.signature(getattr(asyncio.SelectorEventLoop, name))
    found = inspect.signature(getattr(type(loop), name))

    def facts(signature):
        return [
            (p.name, p.kind, repr(p.default)) for p in signature.parameters.values()
        ][1:]

    assert facts(found) == facts(expected)
    assert next(iter(found.parameters)) == "self"
    assert list(inspect.signature(getattr(loop, name)).parameters)[:1] != ["self"]


@pytest.mark.parametrize("name", METHODS)
def test_is_coroutine_function_as_stock(loop, name):
    """What stock makes a coroutine function gives an awaitable with close() here."""
    if not asyncio.iscoroutinefunction(getattr(asyncio.SelectorEventLoop, name)):
        return
    args = {
        "getaddrinfo": ("127.0.0.1", 80),
        "getnameinfo": (("127.0.0.1", 80),),
        "shutdown_asyncgens": (),
        "shutdown_default_executor": (),
    }.get(name)
    if args is None:
        return
    awaitable = getattr(loop, name)(*args)
    assert inspect.isawaitable(awaitable)
    awaitable.close()


@pytest.mark.parametrize("name", METHODS)
def test_method_has_a_docstring(impl, loop, name):
    method = getattr(type(loop), name)
    if impl.is_cloop and "asyncio" not in (getattr(method, "__module__", None) or ""):
        assert inspect.getdoc(method)


# -- written out ---------------------------------------------------------------------

OBJECT = "not callable"
PARTIAL = functools.partial(coroutine_function, 1)

CALLS = {
    "call_soon(None)": lambda loop: loop.call_soon(None),
    "call_soon(5)": lambda loop: loop.call_soon(5),
    "call_soon(coroutine function)": lambda loop: loop.call_soon(coroutine_function),
    "call_soon keyword": lambda loop: loop.call_soon(callback=callback),
    "call_later(None)": lambda loop: loop.call_later(None, callback),
    "call_later(str)": lambda loop: loop.call_later("1", callback),
    "call_later(list)": lambda loop: loop.call_later([], callback),
    "call_later(huge)": lambda loop: loop.call_later(10**400, callback),
    "call_later(object)": lambda loop: loop.call_later(object, callback),
    "call_at(None)": lambda loop: loop.call_at(None, callback),
    "call_soon_threadsafe(None)": lambda loop: loop.call_soon_threadsafe(None),
    "create_task(None)": lambda loop: loop.create_task(None),
    "create_task(5)": lambda loop: loop.create_task(5),
    "create_task(function)": lambda loop: loop.create_task(coroutine_function),
    "create_task(future)": lambda loop: loop.create_task(loop.create_future()),
    "set_task_factory(5)": lambda loop: loop.set_task_factory(5),
    "set_task_factory(str)": lambda loop: loop.set_task_factory("x"),
    "set_exception_handler(5)": lambda loop: loop.set_exception_handler(5),
    "set_exception_handler(str)": lambda loop: loop.set_exception_handler("abc"),
    "set_debug(object)": lambda loop: (loop.set_debug([1]), repr(loop.get_debug())),
    "run_until_complete(None)": lambda loop: loop.run_until_complete(None),
    "run_until_complete(5)": lambda loop: loop.run_until_complete(5),
    "run_until_complete(function)": lambda loop: loop.run_until_complete(
        coroutine_function
    ),
    "run_until_complete([])": lambda loop: loop.run_until_complete([]),
    "call_exception_handler(None)": lambda loop: loop.call_exception_handler({}),
    "run_in_executor(None, None)": lambda loop: loop.run_in_executor(None, None),
    "run_in_executor(5, f)": lambda loop: loop.run_in_executor(5, callback),
    "run_in_executor(str, f)": lambda loop: loop.run_in_executor("x", callback),
    "set_default_executor(5)": lambda loop: loop.set_default_executor(5),
    "set_default_executor(None)": lambda loop: loop.set_default_executor(None),
    "add_reader(-1)": lambda loop: loop.add_reader(-1, callback),
    "add_reader(str)": lambda loop: loop.add_reader("x", callback),
    "add_reader(None)": lambda loop: loop.add_reader(None, callback),
    "add_reader(float)": lambda loop: loop.add_reader(1.5, callback),
    "add_reader(object)": lambda loop: loop.add_reader(object, callback),
    "add_reader(huge)": lambda loop: loop.add_reader(10**9, callback),
    "add_reader(2**31)": lambda loop: loop.add_reader(2**31, callback),
    "add_reader(2**70)": lambda loop: loop.add_reader(2**70, callback),
    "add_reader(closed)": lambda loop: loop.add_reader(closed_fd(), callback),
    "add_reader(closed socket)": lambda loop: loop.add_reader(
        closed_socket(), callback
    ),
    "add_writer(-1)": lambda loop: loop.add_writer(-1, callback),
    "add_writer(str)": lambda loop: loop.add_writer("x", callback),
    "add_writer(None)": lambda loop: loop.add_writer(None, callback),
    "add_writer(huge)": lambda loop: loop.add_writer(10**9, callback),
    "add_writer(closed)": lambda loop: loop.add_writer(closed_fd(), callback),
    "remove_reader(-1)": lambda loop: loop.remove_reader(-1),
    "remove_reader(str)": lambda loop: loop.remove_reader("x"),
    "remove_reader(None)": lambda loop: loop.remove_reader(None),
    "remove_reader(unknown)": lambda loop: loop.remove_reader(10**6),
    "remove_reader(2**70)": lambda loop: loop.remove_reader(2**70),
    "remove_reader(closed socket)": lambda loop: loop.remove_reader(closed_socket()),
    "remove_writer(-1)": lambda loop: loop.remove_writer(-1),
    "remove_writer(str)": lambda loop: loop.remove_writer("x"),
    "remove_writer(unknown)": lambda loop: loop.remove_writer(10**6),
    "add_signal_handler(str)": lambda loop: loop.add_signal_handler("INT", callback),
    "add_signal_handler(None)": lambda loop: loop.add_signal_handler(None, callback),
    "add_signal_handler(0)": lambda loop: loop.add_signal_handler(0, callback),
    "add_signal_handler(-1)": lambda loop: loop.add_signal_handler(-1, callback),
    "add_signal_handler(1000)": lambda loop: loop.add_signal_handler(1000, callback),
    "add_signal_handler(KILL)": lambda loop: loop.add_signal_handler(
        signal.SIGKILL, callback
    ),
    "add_signal_handler(STOP)": lambda loop: loop.add_signal_handler(
        signal.SIGSTOP, callback
    ),
    "add_signal_handler(coroutine function)": lambda loop: loop.add_signal_handler(
        signal.SIGUSR1, coroutine_function
    ),
    "remove_signal_handler(str)": lambda loop: loop.remove_signal_handler("INT"),
    "remove_signal_handler(None)": lambda loop: loop.remove_signal_handler(None),
    "remove_signal_handler(0)": lambda loop: loop.remove_signal_handler(0),
    "remove_signal_handler(1000)": lambda loop: loop.remove_signal_handler(1000),
    "remove_signal_handler(unset)": lambda loop: loop.remove_signal_handler(
        signal.SIGUSR1
    ),
}


def closed_fd():
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    return fd


def closed_socket():
    sock = socket.socket()
    sock.close()
    return sock


def quiet(loop):
    loop.set_exception_handler(lambda loop, context: None)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("label", CALLS)
def test_wrong_values(loop, stock_loop, label, debug):
    for each in loop, stock_loop:
        quiet(each)
        each.set_debug(debug)
    call = CALLS[label]
    expected = outcome(call, stock_loop)
    found = outcome(call, loop)
    if "create_task" in label or "run_until_complete" in label:
        # the names of types in the message are the implementation's own
        assert found[:2] == expected[:2]
    else:
        assert found == expected
    for each in loop, stock_loop:
        each.set_debug(False)
        turn(each, 2)
        if isinstance(each._default_executor, ThreadPoolExecutor):
            each._default_executor.shutdown(wait=True)
        each._default_executor = None


def test_create_task_message(loop):
    with pytest.raises(TypeError) as caught:
        loop.create_task(None)
    assert str(caught.value) == "a coroutine was expected, got None"


SOCKET_CALLS = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, b"data"),
    "sock_connect": lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 1)),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "sock_recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(
        sock, bytearray(10)
    ),
    "sock_sendto": lambda loop, sock: loop.sock_sendto(sock, b"data", ("127.0.0.1", 1)),
}
if PY < (3, 11):
    for _name in "sock_recvfrom", "sock_recvfrom_into", "sock_sendto":
        del SOCKET_CALLS[_name]


@pytest.mark.parametrize("name", SOCKET_CALLS)
def test_blocking_socket_in_debug_mode(loop, stock_loop, name):
    with socket.socket() as sock:

        def call(loop):
            return loop.run_until_complete(SOCKET_CALLS[name](loop, sock))

        for each in loop, stock_loop:
            each.set_debug(True)
        expected = outcome(call, stock_loop)
        assert expected == ("raised", "ValueError", "the socket must be non-blocking")
        assert outcome(call, loop) == expected


# -- closed --------------------------------------------------------------------------

CLOSED_CALLS = dict(
    {
        "call_soon": lambda loop: loop.call_soon(callback),
        "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(callback),
        "call_later": lambda loop: loop.call_later(1, callback),
        "call_at": lambda loop: loop.call_at(1, callback),
        "run_forever": lambda loop: loop.run_forever(),
        "run_until_complete": lambda loop: run_coroutine(loop),
        "run_until_complete future": lambda loop: loop.run_until_complete(
            asyncio.Future(loop=loop)
        ),
        "create_task": lambda loop: create_task(loop),
        "create_future": lambda loop: loop.create_future() and None,
        "run_in_executor": lambda loop: loop.run_in_executor(None, callback),
        "stop": lambda loop: loop.stop(),
        "close": lambda loop: loop.close(),
        "is_closed": lambda loop: loop.is_closed(),
        "is_running": lambda loop: loop.is_running(),
        "time": lambda loop: loop.time() and None,
        "get_debug": lambda loop: loop.get_debug(),
        "set_debug": lambda loop: loop.set_debug(True),
        "set_exception_handler": lambda loop: loop.set_exception_handler(None),
        "get_exception_handler": lambda loop: loop.get_exception_handler(),
        "set_task_factory": lambda loop: loop.set_task_factory(None),
        "get_task_factory": lambda loop: loop.get_task_factory(),
        "add_reader": lambda loop: loop.add_reader(0, callback),
        "add_writer": lambda loop: loop.add_writer(1, callback),
        "remove_reader": lambda loop: loop.remove_reader(0),
        "remove_writer": lambda loop: loop.remove_writer(0),
        "add_signal_handler": lambda loop: loop.add_signal_handler(
            signal.SIGUSR1, callback
        ),
        "remove_signal_handler": lambda loop: loop.remove_signal_handler(
            signal.SIGUSR1
        ),
        "getaddrinfo": lambda loop: drive(loop.getaddrinfo("localhost", 80)),
        "getnameinfo": lambda loop: drive(loop.getnameinfo(("127.0.0.1", 80))),
        "set_default_executor": lambda loop: loop.set_default_executor(5),
        "_check_closed": lambda loop: loop._check_closed(),
        "_check_running": lambda loop: loop._check_running(),
    },
)


def drive(awaitable):
    """One step of a coroutine, outside any loop."""
    iterator = awaitable.__await__()
    try:
        return iterator.send(None)
    except StopIteration:
        return "finished"
    finally:
        awaitable.close()


def run_coroutine(loop):
    coro = coroutine_function()
    try:
        loop.run_until_complete(coro)
    finally:
        coro.close()


def create_task(loop):
    coro = coroutine_function()
    try:
        loop.create_task(coro)
    finally:
        coro.close()


@pytest.mark.parametrize("label", CLOSED_CALLS)
def test_closed_loop(loop, stock_loop, label):
    loop.close()
    stock_loop.close()
    compare(loop, stock_loop, CLOSED_CALLS[label])


@pytest.mark.parametrize("name", SOCKET_CALLS)
def test_closed_loop_socket_operations(loop, stock_loop, name):
    if name == "sock_connect":
        pytest.skip("stock tries to connect before it looks")
    loop.close()
    stock_loop.close()
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with a, b:
        a.setblocking(False)
        if name in ("sock_sendall", "sock_sendto"):
            return  # succeeds at once, or is for another family
        compare(loop, stock_loop, lambda loop: drive(SOCKET_CALLS[name](loop, a)))


# -- the wrong thread ----------------------------------------------------------------

THREAD_CALLS = {
    "call_soon": lambda loop: loop.call_soon(callback),
    "call_later": lambda loop: loop.call_later(1, callback),
    "call_at": lambda loop: loop.call_at(1, callback),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(callback),
    "create_task": lambda loop: create_task(loop),
    "future callback": lambda loop: done_future(loop).add_done_callback(callback),
}


def done_future(loop):
    future = loop.create_future()
    future.set_result(None)
    return future


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("label", THREAD_CALLS)
def test_wrong_thread(loop, stock_loop, label, debug):
    def result(loop):
        found = []

        def run():
            found.append(outcome(THREAD_CALLS[label], loop))

        async def main():
            thread = threading.Thread(target=run)
            thread.start()
            while thread.is_alive():
                await asyncio.sleep(0.001)

        loop.set_debug(debug)
        loop.run_until_complete(main())
        loop.set_debug(False)
        return found

    expected = result(stock_loop)
    if debug and label != "call_soon_threadsafe":
        assert expected == [
            (
                "raised",
                "RuntimeError",
                "Non-thread-safe operation invoked on an event loop other than the "
                "current one",
            )
        ]
    assert result(loop) == expected


# -- futures and tasks ---------------------------------------------------------------

FUTURE_CALLS = {
    "result pending": lambda f: f.result(),
    "exception pending": lambda f: f.exception(),
    "set_result none": lambda f: f.set_result(),
    "set_result two": lambda f: f.set_result(1, 2),
    "set_exception none": lambda f: f.set_exception(),
    "set_exception int": lambda f: f.set_exception(5),
    "set_exception str": lambda f: f.set_exception("x"),
    "set_exception None": lambda f: f.set_exception(None),
    "set_exception type int": lambda f: f.set_exception(int),
    "set_exception StopIteration": lambda f: f.set_exception(StopIteration),
    "set_exception StopIteration()": lambda f: f.set_exception(StopIteration()),
    "set_result twice": lambda f: (f.set_result(1), f.set_result(2)),
    "set_exception twice": lambda f: (f.set_result(1), f.set_exception(ValueError)),
    "set_result cancelled": lambda f: (f.cancel(), f.set_result(2)),
    "result cancelled": lambda f: (f.cancel(), f.result()),
    "exception cancelled": lambda f: (f.cancel(), f.exception()),
    "cancel keyword": lambda f: f.cancel(zzz=1),
    "cancel two": lambda f: f.cancel(1, 2),
    "add_done_callback none": lambda f: f.add_done_callback(),
    "add_done_callback two": lambda f: f.add_done_callback(1, 2),
    "add_done_callback keyword": lambda f: f.add_done_callback(callback, zzz=1),
    "remove_done_callback none": lambda f: f.remove_done_callback(),
    "remove_done_callback": lambda f: f.remove_done_callback(5),
    "done one": lambda f: f.done(1),
    "await by hand": lambda f: (
        next(f.__await__()),
        f.__await__().send(None),
    ),
    "await twice by hand": lambda f: resume_pending(f),
    "throw nothing": lambda f: f.__await__().throw(),
    "throw int": lambda f: f.__await__().throw(5),
    "throw class": lambda f: f.__await__().throw(ValueError),
    "send none": lambda f: f.__await__().send(),
    "delete _asyncio_future_blocking": lambda f: delattr(f, "_asyncio_future_blocking"),
    "set _state": lambda f: setattr(f, "_state", "x"),
    "set _log_traceback true": lambda f: setattr(f, "_log_traceback", True),
    "set _log_traceback false": lambda f: setattr(f, "_log_traceback", False),
    "delete _log_traceback": lambda f: delattr(f, "_log_traceback"),
    "get_loop one": lambda f: f.get_loop(1) and None,
}


def resume_pending(future):
    iterator = future.__await__()
    next(iterator)
    next(iterator)


@pytest.mark.parametrize("label", FUTURE_CALLS)
def test_wrong_future_calls(loop, stock_loop, label):
    call = FUTURE_CALLS[label]
    expected = outcome(call, asyncio.Future(loop=stock_loop))
    assert outcome(call, loop.create_future()) == expected


CONSTRUCTOR_CALLS = {
    "none": lambda cls, loop: cls(),
    "position": lambda cls, loop: cls(loop),
    "unknown": lambda cls, loop: cls(loop=loop, zzz=1),
}


@pytest.mark.parametrize("label", CONSTRUCTOR_CALLS)
@pytest.mark.parametrize("kind", ["Future", "Task"])
def test_wrong_constructors(impl, loop, label, kind):
    if (kind, label) == ("Future", "none"):
        pytest.skip("makes a loop")
    call = CONSTRUCTOR_CALLS[label]
    expected = outcome(call, getattr(asyncio, kind), loop)
    found = outcome(call, getattr(impl, kind), loop)
    if label == "unknown" and expected[0] == "raised":
        assert found[:2] == expected[:2]
    else:
        assert found == expected


@pytest.mark.parametrize(
    "name, args",
    [
        ("set_result", (1,)),
        ("set_exception", (ValueError(),)),
        ("set_result", ()),
        ("set_exception", ()),
        ("set_name", ()),
        ("get_stack", (1,)),
        ("print_stack", (1, 2, 3)),
        ("cancel", (1, 2)),
        ("get_coro", (1,)),
        ("result", ()),
        ("exception", ()),
    ],
)
def test_wrong_task_calls(impl, loop, stock_loop, name, args):
    def call(task):
        return getattr(task, name)(*args)

    mine = impl.Task(coroutine_function(), loop=loop)
    stock = asyncio.Task(coroutine_function(), loop=stock_loop)
    assert outcome(call, mine) == outcome(call, stock)
    turn(loop, 2)
    turn(stock_loop, 2)
