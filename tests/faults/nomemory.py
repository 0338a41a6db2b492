"""Fails the n-th allocation of one operation, for n = 0, 1, 2 ... until none is left.

    [VERBOSE=1] python nomemory.py stock|cloop OPERATION [FIRST [LAST]]

Each n has a process of its own (a fork of this one, which has everything imported and
warmed up), with a time limit. What may come of it is success or MemoryError, and a loop
that closes afterwards; a crash, a hang or another exception is printed, and the exit
status is 1.
"""

import _testcapi
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import warnings

LIMIT_SECONDS = 3
ENOUGH_SUCCESSES = 25
MOST = 1500

# -- the operations: each takes a loop, and must be over soon ------------------------


def callback(*args):
    pass


async def nothing():
    pass


async def switch():
    for _ in range(3):
        await asyncio.sleep(0)
    return 5


def stop_soon(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def call_soon(loop):
    for _ in range(3):
        loop.call_soon(callback, 1, 2, 3, 4)
    stop_soon(loop)


def call_soon_many(loop):
    for _ in range(80):
        loop.call_soon(callback)
    stop_soon(loop)


def call_later(loop):
    for _ in range(3):
        loop.call_later(0, callback, 1)
    loop.call_later(100, callback).cancel()
    loop.call_soon(callback)
    stop_soon(loop)
    stop_soon(loop)


def timers_many(loop):
    timers = [loop.call_later(100, callback) for _ in range(70)]
    for timer in timers:
        timer.cancel()
    stop_soon(loop)


def call_soon_threadsafe(loop):
    for _ in range(3):
        loop.call_soon_threadsafe(callback, 1)
    stop_soon(loop)


def raising_callback(loop):
    loop.call_soon(raise_value_error)
    stop_soon(loop)


def raise_value_error():
    raise ValueError


def future(loop):
    for _ in range(2):
        one = loop.create_future()
        one.add_done_callback(callback)
        one.add_done_callback(callback)
        one.add_done_callback(callback)
        one.remove_done_callback(callback)
        one.add_done_callback(callback)
        one.set_result(1)
        one.result()
        two = loop.create_future()
        two.add_done_callback(callback)
        two.cancel()
        three = loop.create_future()
        three.set_exception(ERROR)
        three.exception()
    stop_soon(loop)


ERROR = ValueError("prepared")


def future_repr(loop):
    one = loop.create_future()
    one.add_done_callback(callback)
    repr(one)
    repr(loop.call_soon(callback, 1))
    repr(loop.call_later(5, callback, 1))
    one.cancel()
    repr(one)


def task(loop):
    loop.run_until_complete(nothing())


def task_switches(loop):
    loop.run_until_complete(switch())


def task_attributes(loop):
    one = loop.create_task(switch())
    stop_soon(loop)
    repr(one)
    one.get_name()
    one.get_stack()
    repr(one._callbacks)
    asyncio.all_tasks(loop)
    loop.run_until_complete(one)


def task_cancel(loop):
    one = loop.create_task(asyncio.sleep(100))
    loop.call_soon(one.cancel)
    try:
        loop.run_until_complete(one)
    except asyncio.CancelledError:
        pass


def task_await(loop):
    async def main():
        return await loop.create_task(switch())

    loop.run_until_complete(main())


def task_future(loop):
    async def main():
        one = loop.create_future()
        loop.call_soon(one.set_result, 1)
        await one

    loop.run_until_complete(main())


def tree(loop):
    """Tasks that await tasks. (Not asyncio.gather: it is Python code, which loses a
    wakeup when its list cannot grow.)"""

    async def main():
        children = [loop.create_task(switch()) for _ in range(3)]
        return [await child for child in children]

    loop.run_until_complete(main())


def sleep(loop):
    loop.run_until_complete(asyncio.sleep(0.001))


def debug_mode(loop):
    """(No coroutine is made in the run: tracking origins CPython 3.12 crashes.)"""
    loop.set_debug(True)
    loop.call_soon(callback)
    loop.call_later(0, callback)
    loop.call_soon(raise_value_error)
    one = loop.create_future()
    loop.call_soon(one.set_result, 1)
    loop.run_until_complete(wait_for(one))
    loop.set_debug(False)


async def wait_for(awaitable):
    return await awaitable


def add_reader(loop):
    a, b = socket.socketpair()
    try:
        loop.add_reader(a, callback)
        loop.add_writer(a, callback)
        b.send(b"x")
        stop_soon(loop)
        loop.remove_writer(a)
    finally:
        loop.remove_reader(a)
        loop.remove_writer(a)
        a.close()
        b.close()


def sock_recv(loop):
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    try:

        async def main():
            loop.call_soon(b.send, b"x")
            await loop.sock_recv(a, 10)
            await loop.sock_sendall(a, b"data")
            await loop.sock_recv_into(b, BUFFER)

        loop.run_until_complete(main())
    finally:
        a.close()
        b.close()


BUFFER = bytearray(10)


def async_generator(loop):
    async def generate():
        yield 1
        await asyncio.sleep(0)
        yield 2

    async def main():
        async for _ in generate():
            pass

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())


def new_loop(loop):
    other = NEW()
    try:
        if not STRAIGHT:
            stop_on_report(other)
        other.run_until_complete(nothing())
    finally:
        other.close()


def views(loop):
    loop.call_soon(callback)
    loop.create_task(nothing())
    loop.call_later(1, callback)
    len(loop._ready), len(loop._scheduled)
    stop_soon(loop)


# Transports. What a Python callback has raised is reported, and the operation then
# waits for what will not come: the report stops the loop (see stop_on_report).


class Ending(asyncio.Protocol):
    """Sends on connection_made, closes when all has come back."""

    def __init__(self, loop, data=b"", wanted=0):
        self.data, self.wanted, self.got = data, wanted, b""
        self.over = loop.create_future()
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        if self.data:
            transport.write(self.data)

    def data_received(self, data):
        self.got += data
        if len(self.got) >= self.wanted:
            self.transport.close()

    def connection_lost(self, exc):
        if exc is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(exc)


def stream_echo(loop):
    a, b = socket.socketpair()
    with a, b:
        client = Ending(loop, b"x" * 1000, 1000)
        server = Ending(loop)
        server.data_received = lambda data: server.transport.write(data)

        async def main():
            await loop.create_connection(lambda: client, sock=a)
            await loop.create_connection(lambda: server, sock=b)
            await client.over
            await server.over

        loop.run_until_complete(main())


async def open_streams(loop, sock, server):
    """As start_server and open_connection make them."""
    if not server:
        return await asyncio.open_connection(sock=sock)
    made = loop.create_future()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(
        reader, lambda *pair: made.set_result(pair), loop=loop
    )
    await loop.connect_accepted_socket(lambda: protocol, sock)
    return await made


def read_streams(loop, server):
    near, far = socket.socketpair()
    with near, far:

        async def main():
            reader, writer = await open_streams(loop, near, server)
            far.send(b"one\ntwo;three, four")
            assert await reader.readline() == b"one\n"
            assert await reader.readuntil(b";") == b"two;"
            assert await reader.readexactly(5) == b"three"
            assert await reader.read(10) == b", four"
            for wait, data in (
                (reader.readline, b"late\n"),
                (lambda: reader.readexactly(1000), b"x" * 1000),
                (lambda: reader.readuntil(b"--"), b"y" * 3000 + b"--"),
            ):
                waiting = loop.create_task(wait())
                await asyncio.sleep(0)
                far.send(data)
                assert await waiting == data
            for _ in range(2):
                writer.write(b"answer")
                await writer.drain()
            far.send(b"no newline")
            far.shutdown(socket.SHUT_WR)
            try:
                await reader.readuntil()
            except asyncio.IncompleteReadError as exc:
                assert exc.partial == b"no newline"
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

        loop.run_until_complete(main())


def stream_reads(loop):
    read_streams(loop, False)


def stream_reads_of_server(loop):
    read_streams(loop, True)


BLOCK = b"x" * 290000


def pipe(loop):
    read_fd, write_fd = os.pipe()
    with open(read_fd, "rb", 0) as read_end, open(write_fd, "wb", 0) as write_end:
        reader, writer = Ending(loop, wanted=200001), Ending(loop)

        async def main():
            await loop.connect_read_pipe(lambda: reader, read_end)
            await loop.connect_write_pipe(lambda: writer, write_end)
            writer.transport.write(b"y")
            writer.transport.write(BLOCK[:200000])
            writer.transport.close()
            await writer.over
            await reader.over

        loop.run_until_complete(main())


def exchange_over_tls(loop, connect):
    """Both ends hear of the end; what one has met with, the other sees as a loss."""
    a, b = socket.socketpair()
    with a, b:
        client = Ending(loop, BLOCK, len(BLOCK))
        server = Ending(loop)
        server.data_received = lambda data: server.transport.write(data)
        errors = []

        async def side(protocol, sock, **options):
            try:
                await connect(loop, protocol, sock, **options)
                await protocol.over
            except BaseException as exc:
                errors.append(exc)
                if sock.fileno() >= 0:
                    sock.shutdown(socket.SHUT_RDWR)

        async def main():
            accepting = loop.create_task(side(server, b, ssl=CONTEXTS[0]))
            await side(client, a, ssl=CONTEXTS[1], server_hostname="localhost")
            await accepting

        loop.run_until_complete(main())
        for error in errors:
            if isinstance(error, MemoryError):
                raise error
        for error in errors:
            raise error


async def connect_tls(loop, protocol, sock, **options):
    if "server_hostname" in options:
        await loop.create_connection(lambda: protocol, sock=sock, **options)
    else:
        await loop.connect_accepted_socket(lambda: protocol, sock, **options)


async def upgrade_to_tls(loop, protocol, sock, ssl, server_hostname=None):
    plain, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
    transport = await loop.start_tls(
        plain,
        protocol,
        ssl,
        server_side=server_hostname is None,
        server_hostname=server_hostname,
    )
    protocol.connection_made(transport)


def tls_direct(loop):
    exchange_over_tls(loop, connect_tls)


def tls_portable(loop):
    exchange_over_tls(loop, connect_tls)


def start_tls_direct(loop):
    exchange_over_tls(loop, upgrade_to_tls)


def start_tls_portable(loop):
    exchange_over_tls(loop, upgrade_to_tls)


CONTEXTS = []


def make_contexts(way):
    """Once, in the process whose forks make the attempts."""
    import ssl

    import trustme

    from cloop import _cloop

    assert _cloop._tls_backend(way)[0] == way
    authority = trustme.CA()
    CONTEXTS.append(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    CONTEXTS.append(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    authority.issue_cert("localhost").configure_cert(CONTEXTS[0])
    authority.configure_trust(CONTEXTS[1])


async def accepted(loop, count):
    """`count` clients at once, each of which sends, hears it again, and leaves. One of
    them may be turned away."""
    turned_away = 0
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = await loop.create_server(lambda: Echoing(loop), sock=listener)
        clients = []
        try:
            for _ in range(count):
                client = socket.socket()
                clients.append(client)
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
            for client in clients:
                try:
                    await loop.sock_sendall(client, b"x")
                    turned_away += await loop.sock_recv(client, 10) != b"x"
                except ConnectionResetError:
                    turned_away += 1
        finally:
            for client in clients:
                client.close()
            server.close()
    assert turned_away <= 1
    if turned_away:
        raise MemoryError


class Echoing(asyncio.Protocol):
    def __init__(self, loop):
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


def accept(loop):
    loop.run_until_complete(accepted(loop, 1))


def accept_backlog(loop):
    loop.run_until_complete(accepted(loop, 20))


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, loop):
        self.heard = loop.create_future()

    def datagram_received(self, data, addr):
        if not self.heard.done():
            self.heard.set_result(data)

    def error_received(self, exc):
        if not self.heard.done():
            self.heard.set_exception(exc)

    connection_lost = error_received


def datagrams(loop):
    async def main():
        server, heard = await loop.create_datagram_endpoint(
            lambda: Datagrams(loop), local_addr=("127.0.0.1", 0)
        )
        try:
            client, echoed = await loop.create_datagram_endpoint(
                lambda: Datagrams(loop), remote_addr=server.get_extra_info("sockname")
            )
            try:
                client.sendto(b"x")
                await heard.heard
                server.sendto(b"y", client.get_extra_info("sockname"))
                await echoed.heard
            finally:
                client.abort()
        finally:
            server.abort()

    loop.run_until_complete(main())


class Child(asyncio.SubprocessProtocol):
    def __init__(self, loop):
        self.over = loop.create_future()

    def connection_lost(self, exc):
        if not self.over.done():
            self.over.set_result(exc)


def spawn(loop):
    async def main():
        child = Child(loop)
        transport, _ = await loop.subprocess_exec(lambda: child, "/bin/cat")
        try:
            transport.get_pipe_transport(0).close()
            await child.over
        finally:
            transport.close()

    loop.run_until_complete(main())


OPERATIONS = {
    function.__name__: function
    for function in (
        call_soon,
        call_soon_many,
        call_later,
        timers_many,
        call_soon_threadsafe,
        raising_callback,
        future,
        future_repr,
        task,
        task_switches,
        task_attributes,
        task_cancel,
        task_await,
        task_future,
        tree,
        sleep,
        debug_mode,
        add_reader,
        sock_recv,
        async_generator,
        new_loop,
        views,
        stream_echo,
        stream_reads,
        stream_reads_of_server,
        pipe,
        accept,
        accept_backlog,
        datagrams,
        spawn,
        tls_direct,
        tls_portable,
        start_tls_direct,
        start_tls_portable,
    )
}
# Who waits for what a lost callback would have brought.
WAITING = {"stream_echo", "stream_reads", "stream_reads_of_server"}
WAITING |= {"pipe", "datagrams", "spawn"}
WAITING |= {name for name in OPERATIONS if "tls_" in name}
# In a build without fast paths everyone does: run_until_complete's callback is Python.
STRAIGHT = True
# Who must leave no descriptor open. (socket.socketpair() and Popen themselves do.)
TIDY = {"accept", "accept_backlog", "datagrams"}

# -- one attempt ---------------------------------------------------------------------

SUCCESS, NO_MEMORY, OTHER, UNUSABLE = 0, 10, 11, 12


def attempt(operation, n):
    """In the child: its exit status."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LIMIT_SECONDS)
    # what is reported, printed or unraisable is fine; only where the error goes matters
    sys.unraisablehook = callback
    reported = []
    fds = count_fds()
    loop = NEW()
    loop.set_exception_handler(stop_at_the_end)
    if os.environ.get("VERBOSE"):
        sys.unraisablehook = lambda *args: reported.append(args)
        loop.set_exception_handler(lambda *args: reported.append(args))
        signal.signal(signal.SIGALRM, lambda *args: show(reported))
    else:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
    if operation.__name__ in WAITING or not STRAIGHT:
        stop_on_report(loop)
    status = SUCCESS
    _testcapi.set_nomemory(n, n + 1)
    try:
        operation(loop)
    except MemoryError:
        _testcapi.remove_mem_hooks()
        status = NO_MEMORY
    except Exception as exc:
        _testcapi.remove_mem_hooks()
        text = str(exc)
        is_stop = isinstance(exc, RuntimeError) and "stopped before" in text
        # CPython's own words for it: coroutine.throw(), threading.Lock(), and of 3.12's
        # interpreter in asyncio's coroutines (on stock too).
        words = ["'throw' of", "can't allocate lock"]
        words += ["error return without exception set"]
        is_memory = any(part in text for part in words)
        status = NO_MEMORY if is_stop or is_memory else OTHER
        if status == OTHER:
            os.write(1, ("n=%d: %r\n" % (n, exc)).encode())
    else:
        _testcapi.remove_mem_hooks()
    try:
        # an interrupted operation may have left a loop in debug mode, or a stop
        loop.set_debug(False)
        for _ in range(3):
            stop_soon(loop)
        loop.run_until_complete(nothing())
        one = None
        for one in asyncio.all_tasks(loop):
            one._log_destroy_pending = False
        loop.close()
        del loop, one
        gc.collect()
        if operation.__name__ in TIDY:
            assert count_fds() <= fds, "descriptors are left open"
    except BaseException as exc:
        os.write(1, ("n=%d: afterwards %r\n" % (n, exc)).encode())
        status = UNUSABLE
    return status


def count_fds():
    return len(os.listdir("/proc/self/fd"))


def stop_at_the_end(loop, context):
    """Stock's own callback has failed to stop the run_until_complete that is over."""
    if "_run_until_complete_cb" in context["message"]:
        loop.stop()


def stop_on_report(loop):
    """What is reported or unraisable, perhaps ends what the operation waits for."""

    def stop(*args):
        _testcapi.remove_mem_hooks()
        if not loop.is_closed():
            loop.stop()

    loop.set_exception_handler(stop)
    sys.unraisablehook = stop


def show(reported):
    """With VERBOSE set: what a hung attempt had reported."""
    import traceback

    for args in reported:
        print(args)
        context = args[1] if len(args) > 1 else {"exception": args[0].exc_value}
        error = context.get("exception")
        traceback.print_exception(type(error), error, error.__traceback__)
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def run(operation, n):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os._exit(attempt(operation, n))
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        what = "hung" if number == signal.SIGALRM else "died of signal %d" % number
        print("n=%d: %s" % (n, what))
        return None
    code = os.WEXITSTATUS(status)
    return code if code in (SUCCESS, NO_MEMORY) else None


def sweep(name, first=0, last=MOST):
    operation = OPERATIONS[name]
    if "tls_" in name:
        make_contexts(name.split("_")[-1])
    for _ in range(3):
        loop = NEW()
        loop.set_exception_handler(callback)
        operation(loop)
        loop.close()
    gc.collect()
    gc.disable()
    gc.freeze()
    faults = failures = successes = 0
    for n in range(first, last):
        code = run(operation, n)
        if code is None:
            failures += 1
            if failures > 20:
                break
        if code == NO_MEMORY:
            faults += 1
        successes = successes + 1 if code == SUCCESS else 0
        if successes >= ENOUGH_SUCCESSES:
            break
    print("%s: %d allocations failed, %d faults" % (name, faults, failures))
    return failures


def main():
    global NEW, STRAIGHT
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    if sys.argv[1] == "cloop":
        import cloop

        NEW = cloop.new_event_loop
        STRAIGHT = cloop._cloop._fastpath
    else:
        NEW = asyncio.SelectorEventLoop
    names = list(OPERATIONS) if sys.argv[2] == "all" else [sys.argv[2]]
    bounds = list(map(int, sys.argv[3:]))
    return 1 if sum([sweep(name, *bounds) for name in names]) else 0


if __name__ == "__main__":
    sys.exit(main())
