"""The parts of the loop that are Python: executor, resolver, reports, the class."""

import asyncio
import concurrent.futures
import gc
import logging
import socket
import threading
import time
import warnings
import weakref

import pytest
from support import HAS_GIL, PY

import cloop


@pytest.fixture
def no_threads(impl, monkeypatch):
    """Fails the test when it starts a thread; on cloop alone, stock always does."""
    if impl.is_cloop:

        def start(thread):
            raise AssertionError("a thread was started")

        monkeypatch.setattr(threading.Thread, "start", start)


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.DEBUG, logger="asyncio")
    return caplog


# -- run_in_executor -------------------------------------------------------------------


def test_a_call_in_the_executor_gives_its_result(loop):
    def work(a, b):
        return a + b, threading.current_thread() is threading.main_thread()

    future = loop.run_in_executor(None, work, 1, 2)
    assert isinstance(future, asyncio.Future)
    assert loop.run_until_complete(future) == (3, False)


def test_a_call_in_the_executor_gives_its_exception(loop):
    error = OSError("no")

    def work():
        raise error

    with pytest.raises(OSError) as caught:
        loop.run_until_complete(loop.run_in_executor(None, work))
    assert caught.value is error


@pytest.mark.parametrize(
    "kind, becomes",
    [
        (concurrent.futures.CancelledError, asyncio.CancelledError),
        (concurrent.futures.TimeoutError, asyncio.TimeoutError),
        (concurrent.futures.InvalidStateError, asyncio.InvalidStateError),
    ],
)
def test_exceptions_of_concurrent_futures_become_those_of_asyncio(loop, kind, becomes):
    def work():
        raise kind("text")

    with pytest.raises(becomes):
        loop.run_until_complete(loop.run_in_executor(None, work))


def test_cancelling_reaches_a_call_that_has_not_begun(loop):
    ran = []
    gate = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = loop.run_in_executor(pool, gate.wait, 10)
        second = loop.run_in_executor(pool, ran.append, 1)
        second.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        gate.set()
        assert loop.run_until_complete(first) is True
    assert second.cancelled()
    assert ran == []


def test_a_result_after_cancelling_is_dropped(loop):
    gate = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = loop.run_in_executor(pool, gate.wait, 10)
        loop.run_until_complete(asyncio.sleep(0.01))
        future.cancel()
        gate.set()
    loop.run_until_complete(asyncio.sleep(0.01))
    assert future.cancelled()


def test_a_call_cancelled_by_its_executor_cancels_the_future(loop):
    class Executor(concurrent.futures.Executor):
        def submit(self, func, *args, **kwargs):
            self.made = concurrent.futures.Future()
            return self.made

    executor = Executor()
    future = loop.run_in_executor(executor, print)
    threading.Thread(target=executor.made.cancel).start()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(future)


def test_an_executor_may_have_futures_of_its_own(loop):
    class OwnFuture(concurrent.futures.Future):
        pass

    class Executor(concurrent.futures.Executor):
        def submit(self, func, *args, **kwargs):
            future = OwnFuture()
            future.set_result(func(*args))
            return future

    future = loop.run_in_executor(Executor(), divmod, 7, 2)
    assert loop.run_until_complete(future) == (3, 1)


def test_threads_of_the_default_executor_have_their_name(loop):
    def name():
        return threading.current_thread().name

    found = loop.run_until_complete(loop.run_in_executor(None, name))
    assert found.startswith("asyncio" if PY >= (3, 9) else "ThreadPoolExecutor")


def test_a_closed_loop_runs_nothing_in_an_executor(loop):
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_in_executor(None, print)


def test_debug_mode_refuses_what_cannot_be_called(loop):
    async def coroutine_function():
        pass

    loop.set_debug(True)
    with pytest.raises(TypeError) as caught:
        loop.run_in_executor(None, coroutine_function)
    assert str(caught.value) == "coroutines cannot be used with run_in_executor()"
    with pytest.raises(TypeError) as caught:
        loop.run_in_executor(None, 3)
    assert str(caught.value) == (
        "a callable object was expected by run_in_executor(), got 3"
    )


@pytest.mark.skipif(not HAS_GIL, reason="the pool's thread owns the result's count")
def test_nothing_of_a_finished_call_is_left_for_the_collector(impl, loop):
    class Result:
        pass

    def work():
        return Result()

    gc.collect()
    gc.disable()
    try:
        future = loop.run_in_executor(None, work)
        result = weakref.ref(loop.run_until_complete(future))
        seen = weakref.ref(future)
        # The pool's thread lets go of its work item a little later.
        end = time.monotonic() + 5
        del future
        while (seen() or result()) and time.monotonic() < end:
            loop.run_until_complete(asyncio.sleep(0.001))
        assert seen() is None
        assert result() is None
    finally:
        gc.enable()


def test_a_loop_closes_with_a_call_in_flight(loop, logged):
    gate = threading.Event()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    loop.set_default_executor(pool)
    future = loop.run_in_executor(None, gate.wait, 10)
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    gate.set()
    pool.shutdown(wait=True)
    assert not future.done()
    if isinstance(loop, cloop.Loop):
        assert logged.records == []


def test_many_calls_from_many_threads_all_arrive(loop):
    async def main():
        calls = [loop.run_in_executor(None, pow, i, 2) for i in range(2000)]
        return await asyncio.gather(*calls)

    assert loop.run_until_complete(main()) == [i * i for i in range(2000)]


# -- the default executor --------------------------------------------------------------


def test_only_a_thread_pool_may_be_the_default_executor(loop):
    class Other(concurrent.futures.Executor):
        pass

    if PY >= (3, 11):
        with pytest.raises(TypeError) as caught:
            loop.set_default_executor(Other())
        assert str(caught.value) == "executor must be ThreadPoolExecutor instance"
    else:
        with pytest.warns(DeprecationWarning, match="not an instance of Thread"):
            loop.set_default_executor(Other())
    loop._default_executor = None


def test_the_default_executor_that_was_set_is_used(loop):
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine")
    loop.set_default_executor(pool)
    assert loop._default_executor is pool
    name = loop.run_in_executor(None, lambda: threading.current_thread().name)
    assert loop.run_until_complete(name).startswith("mine")
    loop.close()
    assert loop._default_executor is None
    with pytest.raises(RuntimeError):
        pool.submit(print)


@pytest.mark.skipif(PY < (3, 9), reason="stock has it from 3.9 on")
class TestShutdown:
    def test_without_an_executor_there_is_nothing_to_do(self, loop):
        loop.run_until_complete(loop.shutdown_default_executor())

    def test_it_waits_for_the_threads(self, loop):
        ended = []

        def work():
            time.sleep(0.05)
            ended.append(True)

        async def main():
            loop.run_in_executor(None, work)
            await loop.shutdown_default_executor()
            return list(ended)

        assert loop.run_until_complete(main()) == [True]

    def test_afterwards_calls_are_refused(self, loop):
        loop.run_until_complete(loop.shutdown_default_executor())
        with pytest.raises(RuntimeError) as caught:
            loop.run_in_executor(None, print)
        assert str(caught.value) == "Executor shutdown has been called"
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            assert loop.run_until_complete(loop.run_in_executor(pool, int)) == 0

    def test_an_error_of_the_executor_is_raised(self, loop):
        class Pool(concurrent.futures.ThreadPoolExecutor):
            def shutdown(self, wait=True):
                if wait:
                    raise LookupError("stuck")

        loop.set_default_executor(Pool())
        with pytest.raises(LookupError, match="stuck"):
            loop.run_until_complete(loop.shutdown_default_executor())
        loop._default_executor = None

    @pytest.mark.skipif(PY < (3, 12), reason="timeout is new in 3.12")
    def test_the_timeout_is_honoured(self, impl, loop):
        if not impl.is_cloop and PY == (3, 12):
            pytest.skip("stock is at fault: 3.12 waits for the threads all the same")
        gate = threading.Event()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        loop.set_default_executor(pool)

        async def main():
            loop.run_in_executor(None, gate.wait, 10)
            began = time.monotonic()
            with pytest.warns(RuntimeWarning) as caught:
                await loop.shutdown_default_executor(0.05)
            return time.monotonic() - began, str(caught[0].message)

        try:
            took, message = loop.run_until_complete(main())
        finally:
            gate.set()
            pool.shutdown(wait=True)
        assert 0.05 <= took < 5
        assert message == (
            "The executor did not finishing joining its threads within 0.05 seconds."
        )


# -- getaddrinfo and getnameinfo -------------------------------------------------------

LITERALS = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "::ffff:1.2.3.4",
    "fe80::1%lo",
    "fe80::1%1",
    "ff02::1%no-such-interface",
    b"127.0.0.1",
    b"::1",
    None,
]

# What cannot be a name either, or is answered by no server that is there.
OTHERS = [
    "",
    b"",
    "localhost",
    b"localhost",
    "256.1.1.1",
    "1.2.3.4.5",
    "1.2.3.4 ",
    "1.2.3.4\0",
    "1.2.3.4%lo",
    "%lo",
    "*",
    ":::",
    "a" * 64,
    ("a" * 60 + ".") * 4 + "toolong" * 4,
    ".",
    "ä" * 300,
    "\ud800",
    127,
    b"\xff",
    bytearray(b"127.0.0.1"),
]

QUERIES = [
    (0, {}),
    (80, {"type": socket.SOCK_STREAM}),
    ("80", {"family": socket.AF_INET}),
    (b"80", {"family": socket.AF_INET6, "type": socket.SOCK_DGRAM}),
    ("http", {"type": socket.SOCK_STREAM}),
    ("", {"proto": socket.IPPROTO_UDP}),
    (None, {"flags": socket.AI_PASSIVE, "type": socket.SOCK_STREAM}),
    (1, {"flags": socket.AI_CANONNAME, "type": socket.SOCK_STREAM}),
    (1, {"flags": socket.AI_NUMERICHOST}),
    (1, {"flags": socket.AI_ADDRCONFIG, "type": socket.SOCK_STREAM}),
]

ODD_QUERIES = [
    ("no-such-service", {"type": socket.SOCK_STREAM}),
    ("65536", {}),
    (65536, {}),
    (-1, {}),
    (2**70, {}),
    (1.5, {}),
    (80, {"family": 999}),
    (80, {"type": 999}),
    (80, {"proto": 999}),
    (80, {"flags": 1 << 30}),
    (80, {"family": "x"}),
    ("8\0", {}),
]


def answer(query):
    try:
        return query()
    except Exception as exc:
        return type(exc), str(exc)


def check_query(loop, host, port, options):
    wanted = answer(lambda: socket.getaddrinfo(host, port, **options))
    found = answer(
        lambda: loop.run_until_complete(loop.getaddrinfo(host, port, **options))
    )
    assert found == wanted


@pytest.mark.parametrize("host", LITERALS, ids=repr)
def test_literals_are_answered_without_a_thread(loop, no_threads, host):
    for port, options in QUERIES + ODD_QUERIES:
        check_query(loop, host, port, options)


@pytest.mark.parametrize("host", OTHERS, ids=lambda host: repr(host)[:30])
def test_other_hosts_get_the_answer_of_the_socket_module(loop, host):
    # AI_NUMERICHOST: no name server is asked by a test.
    for flags in (socket.AI_NUMERICHOST, socket.AI_NUMERICHOST | socket.AI_PASSIVE):
        check_query(loop, host, 80, {"flags": flags, "type": socket.SOCK_STREAM})
    if host in ("localhost", b"localhost", "", b""):
        check_query(loop, host, 80, {"type": socket.SOCK_STREAM})


def test_a_replaced_getaddrinfo_is_called(loop, monkeypatch):
    calls = []

    def replaced(*args, **kwargs):
        calls.append(args)
        return ["answer"]

    monkeypatch.setattr(socket, "getaddrinfo", replaced)
    for host in ("127.0.0.1", "example.invalid"):
        query = loop.getaddrinfo(host, 1, family=2, type=3, proto=4, flags=5)
        assert loop.run_until_complete(query) == ["answer"]
    wanted = [("127.0.0.1", 1, 2, 3, 4, 5), ("example.invalid", 1, 2, 3, 4, 5)]
    assert calls == wanted


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_debug_mode_logs_queries(loop, logged, host):
    loop.set_debug(True)
    query = loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
    loop.slow_callback_duration = 1000
    found = loop.run_until_complete(query)
    texts = [
        record.getMessage()
        for record in logged.records
        if "ddress info" in record.getMessage()
    ]
    assert texts[0] == f"Get address info {host}:80, type={socket.SOCK_STREAM!r}"
    assert texts[1].startswith(f"Getting address info {host}:80, type=")
    assert texts[1].endswith(f"ms: {found!r}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_closed_loop_answers_no_query(loop_factory, host):
    loop, other = loop_factory(), loop_factory()
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        other.run_until_complete(loop.getaddrinfo(host, 80))
    other.close()


def test_numeric_addresses_are_put_into_words_without_a_thread(loop, no_threads):
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    for address in (
        ("127.0.0.1", 80),
        ("::1", 80),
        ("::1", 80, 0, 0),
        ("127.0.0.1", -1),
        ("127.0.0.1",),
        ("localhost.invalid", 80),
        "127.0.0.1",
    ):
        wanted = answer(lambda address=address: socket.getnameinfo(address, flags))
        found = answer(
            lambda address=address: loop.run_until_complete(
                loop.getnameinfo(address, flags)
            )
        )
        assert found == wanted


def test_other_addresses_are_put_into_words(loop):
    flags = socket.NI_NUMERICHOST
    wanted = socket.getnameinfo(("127.0.0.1", 80), flags)
    assert loop.run_until_complete(loop.getnameinfo(("127.0.0.1", 80), flags)) == wanted
    with pytest.raises(TypeError):
        loop.run_until_complete(loop.getnameinfo(("127.0.0.1", 80), "flags"))


# -- reports ---------------------------------------------------------------------------


def texts(logged):
    return [record.getMessage() for record in logged.records if record.levelno >= 40]


def test_the_default_handler_logs_all_of_the_context(loop, logged):
    error = ValueError("reason")
    frames = traceback_of(3)
    context = {
        "message": "it broke",
        "exception": error,
        "zebra": [1],
        "apple": "a",
        "source_traceback": frames,
    }
    loop.default_exception_handler(context)
    (record,) = logged.records
    assert record.name == "asyncio"
    assert record.exc_info == (ValueError, error, None)
    lines = record.getMessage().splitlines()
    assert lines[:3] == [
        "it broke",
        "apple: 'a'",
        "source_traceback: Object created at (most recent call last):",
    ]
    assert lines[-1] == "zebra: [1]"
    loop.default_exception_handler({})
    assert logged.records[-1].getMessage() == "Unhandled exception in event loop"
    assert not logged.records[-1].exc_info


def traceback_of(depth):
    import traceback

    return traceback_of(depth - 1) if depth else traceback.extract_stack()


def test_a_handler_that_fails_is_reported_with_what_it_had(loop, logged):
    def handler(loop, context):
        raise LookupError("handler")

    loop.set_exception_handler(handler)
    loop.call_exception_handler({"message": "original"})
    assert texts(logged) == [
        "Unhandled error in exception handler\ncontext: {'message': 'original'}"
    ]
    assert logged.records[0].exc_info[0] is LookupError


def test_a_default_handler_that_fails_is_reported(impl, logged):
    class Loop(impl.Loop):
        def default_exception_handler(self, context):
            raise LookupError("default")

    loop = Loop()
    loop.call_exception_handler({"message": "original"})
    loop.set_exception_handler(lambda loop, context: 1 / 0)
    loop.call_exception_handler({"message": "original"})
    loop.close()
    assert texts(logged) == [
        "Exception in default exception handler",
        "Exception in default exception handler while handling an unexpected error "
        "in custom exception handler",
    ]
    errors = [record for record in logged.records if record.levelno >= 40]
    assert [record.exc_info[0] for record in errors] == [LookupError] * 2


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("which", ["custom", "default", "nested"])
def test_interrupts_pass_through_handlers(impl, kind, which):
    class Loop(impl.Loop):
        def default_exception_handler(self, context):
            raise kind()

    def handler(loop, context):
        raise kind() if which == "custom" else ValueError()

    loop = Loop()
    if which != "default":
        loop.set_exception_handler(handler)
    with pytest.raises(kind):
        loop.call_exception_handler({"message": "x"})
    loop.close()


@pytest.mark.skipif(PY < (3, 12), reason="new in 3.12")
def test_a_custom_handler_runs_in_the_context_of_its_subject(loop):
    import contextvars

    variable = contextvars.ContextVar("variable", default="outside")
    context = contextvars.copy_context()
    context.run(variable.set, "inside")
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(variable.get()))

    class WithContext:
        def get_context(self):
            return context

    class Without:
        pass

    for report in (
        {"task": WithContext()},
        {"future": WithContext()},
        {"handle": WithContext()},
        {"task": None, "future": WithContext()},
        {"task": Without(), "future": WithContext()},
        {},
    ):
        loop.call_exception_handler({"message": "x", **report})
    assert seen == ["inside"] * 4 + ["outside"] * 2


# -- the class itself ------------------------------------------------------------------


def test_an_unclosed_loop_warns_and_closes(impl):
    loop = impl.Loop()
    text = repr(loop)
    with pytest.warns(ResourceWarning) as caught:
        del loop
        gc.collect()
    found = [str(w.message) for w in caught if "unclosed event loop" in str(w.message)]
    assert found == [f"unclosed event loop {text}"]


def test_a_closed_loop_goes_in_silence(impl):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop = impl.Loop()
        loop.close()
        seen = weakref.ref(loop)
        gc.collect()
        del loop
        gc.collect()
        assert seen() is None


def test_a_closed_loop_needs_no_collector():
    gc.collect()
    gc.disable()
    try:
        loop = cloop.Loop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        seen = weakref.ref(loop)
        del loop
        assert seen() is None
    finally:
        gc.enable()


def test_the_class_says_what_it_is():
    assert cloop.Loop.__module__ == "cloop"
    assert cloop.Loop.__qualname__ == "Loop"
    assert issubclass(cloop.Loop, asyncio.AbstractEventLoop)
    with cloop_loop() as loop:
        assert repr(loop) == "<Loop running=False closed=False debug=False>"


class cloop_loop:
    def __enter__(self):
        self.loop = cloop.new_event_loop()
        return self.loop

    def __exit__(self, *exc_info):
        self.loop.close()


def test_every_method_of_an_asyncio_loop_is_there():
    stock = {
        name
        for name in dir(asyncio.AbstractEventLoop)
        if not name.startswith("_")
        and callable(getattr(asyncio.AbstractEventLoop, name))
    }
    for name in sorted(stock):
        found = getattr(cloop.Loop, name)
        assert found is not getattr(asyncio.AbstractEventLoop, name), name
