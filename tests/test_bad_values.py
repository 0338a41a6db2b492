"""A wrong value in each place where one goes: the same exception and message, or the
same result, as stock's.

VALUES has about seventy things that are of no use in most places; CASES are the places.
Each case is run with each value on a stock loop and on one of cloop's, each time in a
fresh loop, and what came of it (and what the exception handler heard) is compared.
"""

import asyncio
import functools
import gc
import logging
import operator
import re
import signal
import socket
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from impls import Cloop, Stock
from support import PY, outcome, plain, turn


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left():
    """What stock leaves half made is collected here, not amid other tests."""
    yield
    hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
    finally:
        sys.unraisablehook = hook


class Text(str):
    pass


class Number(int):
    pass


def method(name, result):
    """An object that has one method, which returns or raises `result`."""

    def call(self, *args):
        if isinstance(result, Exception):
            raise result
        return result

    return type(
        "With" + name.strip("_"), (), {name: call, "__hash__": object.__hash__}
    )()


class NoAttributes:
    def __getattribute__(self, name):
        if name in ("__class__", "__dict__"):
            return object.__getattribute__(self, name)
        raise ZeroDivisionError("attribute " + name)


async def coroutine_function(*args):
    pass


def function(*args, **kwargs):
    pass


def generator():
    yield


def closed_socket():
    sock = socket.socket()
    sock.close()
    return sock


def released():
    view = memoryview(b"released")
    view.release()
    return view


class Fault(Exception):
    """What the methods of bad objects raise."""


def value(text):
    return lambda: eval(text, {}, {})


VALUES = {
    text: value(text)
    for text in [
        *("None", "True", "...", "NotImplemented", "object()", "int", "1j"),
        *("-1", "0", "1", "5", "1.5", "-1.5"),
        *("float('nan')", "float('inf')", "float('-inf')"),
        *("2**31", "2**63", "-(2**63) - 1", "2**64", "10**400", "-(10**400)"),
        *("''", "'x'", r"'a\0b'", r"'\ud800'"),
        *("b''", "b'x'", "bytearray(b'abc')", "memoryview(b'abc')"),
        *("memoryview(b'abcdef')[::2]", "memoryview(bytes(4)).cast('B', (2, 2))"),
        *("[]", "()", "{}", "set()", "(None,)", "[b'x']", "[1]", "(1, 2)"),
        *("('127.0.0.1', 'x')", "('127.0.0.1', -1)", "('127.0.0.1', 70000)"),
        *("('127.0.0.1', 1, 2, 3, 4)", "ValueError", "ValueError('v')"),
        *("StopIteration", "BaseException('b')"),
    ]
}
VALUES.update(
    {
        "a str's subclass": lambda: Text("x"),
        "an int's subclass": lambda: Number(3),
        "a released view": released,
        "a function": lambda: function,
        "a coroutine function": lambda: coroutine_function,
        "a coroutine": lambda: coroutine_function(),
        "a generator": generator,
        "a partial": lambda: functools.partial(coroutine_function),
        "a closed socket": closed_socket,
        "without attributes": NoAttributes,
        "index 5": lambda: method("__index__", 5),
        "index -5": lambda: method("__index__", -5),
        "index huge": lambda: method("__index__", 10**30),
        "index str": lambda: method("__index__", "x"),
        "index raises": lambda: method("__index__", Fault("index")),
        "float 0.25": lambda: method("__float__", 0.25),
        "float raises": lambda: method("__float__", Fault("float")),
        "radd raises": lambda: method("__radd__", Fault("radd")),
        "eq raises": lambda: method("__eq__", Fault("eq")),
        "hash raises": lambda: method("__hash__", Fault("hash")),
        "bool raises": lambda: method("__bool__", Fault("bool")),
        "len raises": lambda: method("__len__", Fault("len")),
        "iter raises": lambda: method("__iter__", Fault("iter")),
        "call raises": lambda: method("__call__", Fault("call")),
        "fileno -1": lambda: method("fileno", -1),
        "fileno str": lambda: method("fileno", "x"),
        "fileno huge": lambda: method("fileno", 10**30),
        "fileno raises": lambda: method("fileno", Fault("fileno")),
    }
)


def normal(found):
    """An outcome without the names of classes that are the implementation's own."""
    text = re.sub(r"\b(cloop|_?asyncio(\.\w+)?)\.(?=\w)", "", plain(repr(found)))
    text = re.sub(r"\b_?\w+Transport\.(?=_call_connection_lost)", "", text)
    text = re.sub(r"SSL(?:Protocol|Transport)\.connection_made\(.*?\)", "made", text)
    text = re.sub(r"<TaskStepMethWrapper object at 0x>\(\)|task_step\(\)", "step", text)
    text = re.sub(r"/\S+\.(?=py:)", "", text)
    text = re.sub("'(Future|Task)' objects is not writable", "cannot be set", text)
    return re.sub(r"Task-\d+", "Task-N", text)


class Protocol(asyncio.Protocol, asyncio.DatagramProtocol):
    """Notes what it hears."""

    def __init__(self):
        self.heard = []

    def data_received(self, data):
        self.heard.append(data)

    def datagram_received(self, data, addr):
        self.heard.append((data, addr))

    def error_received(self, exc):
        self.heard.append(("error", type(exc).__name__, plain(str(exc))))

    def connection_lost(self, exc):
        self.heard.append(("lost", type(exc).__name__, plain(str(exc))))


CASES = {}


def case(name, since=(3, 8)):
    """Registers call(loop, value, impl), run outside the loop."""

    def register(call):
        if since <= PY:
            assert name not in CASES
            CASES[name] = call
        return call

    return register


def awaited(name, call, since=(3, 8)):
    """call(loop, value) gives an awaitable."""

    @case(name, since)
    def run(loop, value, impl):
        async def main():
            return await call(loop, value)

        return loop.run_until_complete(asyncio.wait_for(main(), 0.5))


# -- the loop --------------------------------------------------------------------------

for _name in "call_soon", "call_soon_threadsafe":
    case(_name + "(V)")(lambda loop, v, _, name=_name: getattr(loop, name)(v) and None)
    case(_name + "(f, context=V)")(
        lambda loop, v, _, name=_name: getattr(loop, name)(function, context=v) and None
    )
case("call_later(V)")(lambda loop, v, _: loop.call_later(v, function) and None)
case("call_later(0, V)")(lambda loop, v, _: loop.call_later(0, v) and None)
case("call_later(0, f, context=V)")(
    lambda loop, v, _: loop.call_later(0, function, context=v) and None
)
case("call_at(0, V)")(lambda loop, v, _: loop.call_at(0, v) and None)
case("create_task(V)")(lambda loop, v, _: loop.create_task(v) and None)
case("create_task(c, name=V)")(
    lambda loop, v, _: loop.create_task(coroutine_function(), name=v).get_name()
)
case("create_task(c, x=V)")(
    lambda loop, v, _: loop.create_task(coroutine_function(), x=v) and None
)
for _name in (
    *("set_task_factory", "set_exception_handler", "set_default_executor"),
    *("remove_reader", "remove_writer", "remove_signal_handler"),
    *("run_until_complete", "call_exception_handler", "default_exception_handler"),
    *("is_running", "close", "stop", "time", "get_debug"),
):
    case(_name + "(V)")(lambda loop, v, _, name=_name: getattr(loop, name)(v))
for _name in "add_reader", "add_writer":
    case(_name + "(V, f)")(
        lambda loop, v, _, name=_name: getattr(loop, name)(v, function) and None
    )
case("add_signal_handler(V, f)")(
    lambda loop, v, _: loop.add_signal_handler(v, function)
)
case("add_signal_handler(USR1, V)")(
    lambda loop, v, _: loop.add_signal_handler(signal.SIGUSR1, v)
)
awaited("run_in_executor(V, f)", lambda loop, v: loop.run_in_executor(v, function))
awaited("run_in_executor(None, V)", lambda loop, v: loop.run_in_executor(None, v))
awaited(
    "shutdown_default_executor(V)",
    lambda loop, v: loop.shutdown_default_executor(v),
    (3, 12),
)
awaited("getaddrinfo(h, V)", lambda loop, v: loop.getaddrinfo("127.0.0.1", v))
for _name in "family", "type", "proto", "flags":
    awaited(
        f"getaddrinfo({_name}=V)",
        lambda loop, v, name=_name: loop.getaddrinfo("127.0.0.1", 80, **{name: v}),
    )
awaited("getnameinfo(V)", lambda loop, v: loop.getnameinfo(v))
awaited("getnameinfo(a, V)", lambda loop, v: loop.getnameinfo(("127.0.0.1", 80), v))


# -- sockets ---------------------------------------------------------------------------


def on_socket(name, call, kind=socket.SOCK_STREAM, since=(3, 8)):
    """call(loop, sock, value) with a Unix socket that has something to be read."""

    @case(name, since)
    def run(loop, value, impl):
        near, far = socket.socketpair(socket.AF_UNIX, kind)
        near.setblocking(False)
        far.send(b"hello")
        with near, far:

            async def main():
                return await call(loop, near, value)

            return loop.run_until_complete(asyncio.wait_for(main(), 0.5))


def to_family(name, call, family, kind=socket.SOCK_STREAM, since=(3, 8)):
    """call(loop, sock, value) with a socket that is not connected."""

    @case(name, since)
    def run(loop, value, impl):
        with socket.socket(family, kind) as sock:
            sock.setblocking(False)

            async def main():
                return await call(loop, sock, value)

            return loop.run_until_complete(asyncio.wait_for(main(), 0.5))


DATAGRAM = socket.SOCK_DGRAM
awaited("sock_recv(V, 5)", lambda loop, v: loop.sock_recv(v, 5))
awaited("sock_sendall(V, b)", lambda loop, v: loop.sock_sendall(v, b"x"))
awaited("sock_connect(V, a)", lambda loop, v: loop.sock_connect(v, "/"))
awaited("sock_accept(V)", lambda loop, v: loop.sock_accept(v))
on_socket("sock_recv(s, V)", lambda loop, sock, v: loop.sock_recv(sock, v))
on_socket("sock_recv_into(s, V)", lambda loop, sock, v: loop.sock_recv_into(sock, v))
on_socket("sock_sendall(s, V)", lambda loop, sock, v: loop.sock_sendall(sock, v))
on_socket("sock_sendfile(s, V)", lambda loop, sock, v: loop.sock_sendfile(sock, v))
for _family in socket.AF_INET, socket.AF_INET6, socket.AF_UNIX:
    to_family(
        f"sock_connect({_family.name}, V)",
        lambda loop, sock, v: loop.sock_connect(sock, v),
        _family,
    )
to_family(
    "sock_sendto(s, b, V)",
    lambda loop, sock, v: loop.sock_sendto(sock, b"x", v),
    socket.AF_INET,
    DATAGRAM,
    (3, 11),
)
for _name, _call in {
    "sock_recvfrom(s, V)": lambda loop, sock, v: loop.sock_recvfrom(sock, v),
    "sock_recvfrom_into(s, V)": lambda loop, sock, v: loop.sock_recvfrom_into(sock, v),
    "sock_recvfrom_into(s, b, V)": lambda loop, sock, v: loop.sock_recvfrom_into(
        sock, bytearray(9), v
    ),
    "sock_sendto(s, V, a)": lambda loop, sock, v: loop.sock_sendto(sock, v, "/none"),
}.items():
    on_socket(_name, _call, DATAGRAM, (3, 11))


async def with_file(call):
    with open(__file__, "rb") as file:
        return await call(file)


for _name in "offset", "count", "fallback":
    on_socket(
        f"sock_sendfile(s, f, {_name}=V)",
        lambda loop, sock, v, name=_name: with_file(
            lambda file: loop.sock_sendfile(sock, file, **{name: v})
        ),
    )


# -- connections and servers -----------------------------------------------------------


def making(method, arguments, names):
    """loop.method(**arguments), one of `names` after the other being the value."""
    for name in names.split():

        @case(f"{method}({name}=V)")
        def run(loop, value, impl, name=name):
            given = arguments()
            with_sockets = [v for v in given.values() if isinstance(v, socket.socket)]
            given[name] = value

            async def main():
                made = None
                try:
                    made = await asyncio.wait_for(getattr(loop, method)(**given), 1)
                finally:
                    for end in made[:1] if isinstance(made, tuple) else [made]:
                        if end is not None:
                            getattr(end, "abort", end.close)()
                    for sock in with_sockets:
                        sock.close()
                    await asyncio.sleep(0)

            return loop.run_until_complete(main())


def refused_port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


PORT = refused_port()
making(
    "create_connection",
    lambda: {"protocol_factory": Protocol, "host": "127.0.0.1", "port": PORT},
    "protocol_factory port ssl family proto flags sock local_addr server_hostname "
    "ssl_handshake_timeout happy_eyeballs_delay interleave"
    + (" ssl_shutdown_timeout" if PY >= (3, 11) else "")
    + (" all_errors" if PY >= (3, 12) else ""),
)
making(
    "create_server",
    lambda: {"protocol_factory": Protocol, "host": "127.0.0.1", "port": 0},
    "protocol_factory port family flags sock backlog ssl reuse_address reuse_port "
    "ssl_handshake_timeout start_serving"
    + (" ssl_shutdown_timeout" if PY >= (3, 11) else "")
    + (" keep_alive" if PY >= (3, 13) else ""),
)
making(
    "create_unix_connection",
    lambda: {"protocol_factory": Protocol, "path": "/none"},
    "protocol_factory path ssl sock server_hostname ssl_handshake_timeout",
)
making(
    "create_unix_server",
    lambda: {"protocol_factory": Protocol, "path": "/none/none"},
    "protocol_factory sock backlog ssl ssl_handshake_timeout start_serving",
)
making(
    "create_datagram_endpoint",
    lambda: {"protocol_factory": Protocol, "local_addr": ("127.0.0.1", 0)},
    "protocol_factory local_addr family proto flags reuse_port allow_broadcast sock",
)
making(
    "connect_accepted_socket",
    lambda: {"protocol_factory": Protocol, "sock": socket.socketpair()[0]},
    "protocol_factory ssl ssl_handshake_timeout",
)
awaited("connect_read_pipe(V)", lambda loop, v: loop.connect_read_pipe(Protocol, v))
awaited("connect_write_pipe(V)", lambda loop, v: loop.connect_write_pipe(Protocol, v))
awaited("start_tls(V, p, c)", lambda loop, v: loop.start_tls(v, Protocol(), None))


# -- transports ------------------------------------------------------------------------


def on_transport(kind, name, call):
    """call(transport, value); whether it closes then, and what the protocol heard."""

    @case(f"{kind} transport.{name}")
    def run(loop, value, impl):
        kinds = {"datagram": DATAGRAM}
        near, far = socket.socketpair(
            socket.AF_UNIX, kinds.get(kind, socket.SOCK_STREAM)
        )
        makers = {
            "stream": lambda: loop.create_connection(Protocol, sock=near),
            "datagram": lambda: loop.create_datagram_endpoint(Protocol, sock=near),
            "read pipe": lambda: loop.connect_read_pipe(Protocol, near),
            "write pipe": lambda: loop.connect_write_pipe(Protocol, near),
        }

        async def main():
            transport, protocol = await makers[kind]()
            found = outcome(call, transport, value)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            closing = transport.is_closing()
            getattr(transport, "abort", transport.close)()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return repr((found, closing, protocol.heard))

        with far:
            return loop.run_until_complete(main())


for _kind, _names in {
    "stream": "write writelines set_write_buffer_limits set_protocol get_extra_info "
    "close abort write_eof can_write_eof is_closing get_write_buffer_size "
    "pause_reading resume_reading is_reading get_protocol",
    "datagram": "sendto get_extra_info set_write_buffer_limits set_protocol close "
    "abort",
    "read pipe": "set_protocol get_extra_info pause_reading resume_reading close",
    "write pipe": "write writelines set_write_buffer_limits set_protocol close abort "
    "write_eof",
}.items():
    for _name in _names.split():
        on_transport(
            _kind, _name + "(V)", lambda t, v, name=_name: getattr(t, name)(v) and None
        )
for _kind in "stream", "datagram", "write pipe":
    on_transport(
        _kind,
        "set_write_buffer_limits(V, 5)",
        lambda t, v: t.set_write_buffer_limits(v, 5),
    )
    on_transport(
        _kind,
        "set_write_buffer_limits(low=V)",
        lambda t, v: t.set_write_buffer_limits(low=v),
    )
on_transport("datagram", "sendto(b, V)", lambda t, v: t.sendto(b"x", v))
on_transport("stream", "get_extra_info(x, V)", lambda t, v: t.get_extra_info("x", v))


@case("udp transport.sendto(b, V)")
def _(loop, value, impl):
    async def main():
        transport, protocol = await loop.create_datagram_endpoint(
            Protocol, local_addr=("127.0.0.1", 0)
        )
        found = outcome(transport.sendto, b"x", value)
        closing = transport.is_closing()
        transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return repr((found, closing, protocol.heard))

    return loop.run_until_complete(main())


# -- futures, tasks, handles -----------------------------------------------------------

for _name in (
    *("set_result", "set_exception", "add_done_callback", "remove_done_callback"),
    *("cancel", "result", "exception", "done", "cancelled", "get_loop", "__await__"),
):
    case(f"future.{_name}(V)")(
        lambda loop, v, _, name=_name: (getattr(loop.create_future(), name)(v), 0)[1]
    )


@case("future.add_done_callback(f, context=V)")
def _(loop, value, impl):
    future = loop.create_future()
    future.add_done_callback(function, context=value)
    future.set_result(1)
    turn(loop)


@case("future.cancel(msg=V)", since=(3, 9))
def _(loop, value, impl):
    future = loop.create_future()
    future.cancel(msg=value)
    return future.result()


for _name in (
    *("_asyncio_future_blocking", "_log_traceback", "_cancel_message", "_state"),
    *("_source_traceback", "_loop", "_result", "_exception", "_callbacks"),
):
    case(f"future.{_name} = V")(
        lambda loop, v, _, name=_name: setattr(loop.create_future(), name, v)
    )
for _name in (
    *("set_result", "set_exception", "set_name", "cancel", "get_coro", "get_name"),
    *("get_stack", "print_stack", "uncancel", "cancelling", "get_context"),
):
    case(f"task.{_name}(V)")(
        lambda loop, v, _, name=_name: (
            getattr(loop.create_task(coroutine_function()), name)(v),
            0,
        )[1]
    )
for _name in "_log_destroy_pending", "_must_cancel", "_fut_waiter", "_coro", "_loop":
    case(f"task.{_name} = V")(
        lambda loop, v, _, name=_name: setattr(
            loop.create_task(coroutine_function()), name, v
        )
    )
case("Future(V)")(lambda loop, v, impl: impl.Future(v) and None)
case("Future(loop=V)")(lambda loop, v, impl: impl.Future(loop=v) and None)
case("Task(V)")(lambda loop, v, impl: impl.Task(v, loop=loop) and None)
case("Task(c, loop=V)")(
    lambda loop, v, impl: impl.Task(coroutine_function(), loop=v) and None
)
case("Handle(V, (), loop)")(lambda loop, v, impl: impl.Handle(v, (), loop)._run())
case("Handle(f, (), V)")(lambda loop, v, impl: impl.Handle(function, (), v) and None)
case("Handle(f, (), loop, V)")(
    lambda loop, v, impl: impl.Handle(function, (), loop, v)._run()
)
case("TimerHandle(V)")(
    lambda loop, v, impl: hash(impl.TimerHandle(v, function, (), loop)) and None
)
for _operation in operator.lt, operator.le, operator.eq:
    case(f"{_operation.__name__}(TimerHandle, V)")(
        lambda loop, v, impl, operation=_operation: operation(
            impl.TimerHandle(1, function, (), loop), v
        )
    )
    case(f"{_operation.__name__}(TimerHandle, TimerHandle(V))")(
        lambda loop, v, impl, operation=_operation: operation(
            impl.TimerHandle(1, function, (), loop),
            impl.TimerHandle(v, function, (), loop),
        )
    )
for _name in "cancel", "cancelled", "_run":
    case(f"handle.{_name}(V)")(
        lambda loop, v, _, name=_name: getattr(loop.call_soon(function), name)(v)
    )


class Yields:
    def __init__(self, value):
        self.value = value

    def __await__(self):
        yield self.value


async def await_it(value):
    await value


def first_turns(loop, coro):
    """What became of a task within a few turns."""
    task = loop.create_task(coro)
    turn(loop, 4)
    if not task.done():
        return "waits"
    return "cancelled" if task.cancelled() else repr(task.exception())


case("await V")(lambda loop, v, _: first_turns(loop, await_it(v)))
case("yield V")(lambda loop, v, _: first_turns(loop, await_it(Yields(v))))


# -- processes -------------------------------------------------------------------------


def spawning(call):
    def run(loop, value, impl):
        async def main():
            transport = None
            try:
                transport, _ = await call(loop, value)
                await asyncio.wait_for(transport._wait(), 10)
            finally:
                if transport is not None:
                    transport.close()
                await asyncio.sleep(0)

        return loop.run_until_complete(main())

    return run


case("subprocess_exec(V)")(
    spawning(lambda loop, v: loop.subprocess_exec(asyncio.SubprocessProtocol, v))
)
for _name in (
    *("bufsize", "universal_newlines", "shell", "text", "encoding", "errors", "cwd"),
    *("env", "close_fds", "executable", "pass_fds", "start_new_session", "umask"),
):
    case(f"subprocess_exec({_name}=V)")(
        spawning(
            lambda loop, v, name=_name: loop.subprocess_exec(
                asyncio.SubprocessProtocol,
                "/bin/true",
                stdin=subprocess.DEVNULL,
                **{name: v},
            )
        )
    )


# -- the comparison --------------------------------------------------------------------

# Where cloop is meant to differ, or stock's answer is an accident: (case, value).
DIFFERENT = {
    # Stock takes what is no number and never comes to it.
    ("call_later(V)", "1j"),
    # Stock waits for ever: the first piece of such a view is sent again and again.
    ("sock_sendall(s, V)", "memoryview(bytes(4)).cast('B', (2, 2))"),
    ("write pipe transport.write(V)", "memoryview(bytes(4)).cast('B', (2, 2))"),
    # Stock fails to fail: '_remove_reader' of None.
    ("write pipe transport.write(V)", "memoryview(b'abcdef')[::2]"),
    ("write pipe transport.writelines(V)", "memoryview(b'abcdef')[::2]"),
    # As add_reader, which takes what int() takes.
    ("connect_read_pipe(V)", "fileno str"),
    ("connect_write_pipe(V)", "fileno str"),
}


if PY < (3, 11):
    # Stock's old SSLProtocol reports what it raises, too.
    DIFFERENT.update(("connect_accepted_socket(ssl=V)", label) for label in VALUES)


def result(impl, name, make):
    loop = impl.new_event_loop()
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    asyncio.set_event_loop(loop)
    try:
        found = [outcome(lambda: CASES[name](loop, make(), impl))]
        if not loop.is_closed():
            for task in asyncio.all_tasks(loop):
                task.cancel()
            found.append(outcome(turn, loop, 3))
    finally:
        asyncio.set_event_loop(None)
        executor, loop._default_executor = loop._default_executor, None
        loop.close()
        if isinstance(executor, ThreadPoolExecutor):
            executor.shutdown(wait=True)
    reports = [
        [plain(str(context.get("message"))), plain(repr(context.get("exception")))]
        for context in contexts
        if isinstance(context, dict) and "destroyed" not in context.get("message", "")
    ]
    return normal((found, reports))


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_wrong_values(name, monkeypatch, tmp_path, no_fd_leak):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    logging.disable(logging.CRITICAL)
    differ = []
    try:
        for label, make in VALUES.items():
            if (name, label) in DIFFERENT:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = result(Stock(), name, make)
                found = result(Cloop(), name, make)
            if found != expected:
                differ.append(f"{label}\n    stock {expected}\n    cloop {found}")
    finally:
        logging.disable(logging.NOTSET)
    assert not differ, "\n".join(differ)
