"""Fails the n-th use of a system call in one scenario, for n = 1, 2 ... until it is not
used that often. Needs a build with CLOOP_DEBUG, which has the fault table.

    python syscalls.py SCENARIO [CALL ERRNO [N]]

Each attempt has a process of its own (a fork of this one), with a time limit. What may
come of it: the scenario's right outcome, or an OSError of that number (never one for
what a program need not know of: EINTR and EAGAIN); then a loop that works and closes.
"""

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings

import peers
from peers import (
    DATA,
    EchoSide,
    Side,
    close_all,
    raise_lost,
    set_result,
    until_enough,
)

import cloop
import tls
from cloop import _cloop

LIMIT_SECONDS = 5
MOST = 40

# -- scenarios -----------------------------------------------------------------------


async def timers(loop):
    for _ in range(3):
        await asyncio.sleep(0.0005)
    await asyncio.sleep(0)
    await asyncio.wait_for(asyncio.sleep(0.0001), 5)


async def threads(loop):
    seen = []
    done = loop.create_future()

    def post():
        for number in range(3):
            loop.call_soon_threadsafe(seen.append, number)
            threading.Event().wait(0.002)
        loop.call_soon_threadsafe(set_result, done)

    thread = threading.Thread(target=post)
    thread.start()
    try:
        await done
    finally:
        thread.join()
    assert seen == [0, 1, 2], seen


async def readers(loop):
    a, b = socket.socketpair()
    with a, b:
        seen = []
        readable, writable = loop.create_future(), loop.create_future()
        loop.add_reader(a, lambda: (seen.append(a.recv(1)), set_result(readable)))
        loop.add_writer(a, lambda: (loop.remove_writer(a), set_result(writable)))
        try:
            b.send(b"x")
            await readable
            await writable
        finally:
            loop.remove_reader(a)
            loop.remove_writer(a)
        assert seen == [b"x"], seen


async def stream(loop):
    data = DATA[: 3000 if peers.one_byte else None]
    a, b = socket.socketpair()
    with a, b:
        a.setblocking(False)
        b.setblocking(False)

        async def receive():
            got = bytearray()
            buffer = bytearray(60000)
            while len(got) < len(data):
                if len(got) % 2:
                    part = await loop.sock_recv(b, 50000)
                else:
                    count = await loop.sock_recv_into(b, buffer)
                    part = buffer[:count]
                assert part
                got += part
            return got

        sender = asyncio.ensure_future(loop.sock_sendall(a, data))
        receiver = asyncio.ensure_future(receive())
        try:
            await asyncio.wait([sender, receiver], return_when=asyncio.FIRST_EXCEPTION)
            if sender.done():
                sender.result()
            assert receiver.result() == data
        finally:
            sender.cancel()
            receiver.cancel()
            await asyncio.wait([sender, receiver])


async def connections(loop):
    with socket.socket() as listener, socket.socket() as client:
        listener.setblocking(False)
        client.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        accepting = asyncio.ensure_future(loop.sock_accept(listener))
        try:
            await asyncio.sleep(0)
            await loop.sock_connect(client, listener.getsockname())
            peer, address = await accepting
        finally:
            accepting.cancel()
        with peer:
            assert address == client.getsockname()
            await loop.sock_sendall(peer, b"hello")
            got = b""
            while len(got) < 5:
                got += await loop.sock_recv(client, 10)
            assert got == b"hello"


async def datagrams(loop):
    if sys.version_info < (3, 11):
        return
    a, b = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    with a, b:
        for each in a, b:
            each.setblocking(False)
            each.bind(("127.0.0.1", 0))
        receiving = asyncio.ensure_future(loop.sock_recvfrom(b, 100))
        try:
            await asyncio.sleep(0)
            assert await loop.sock_sendto(a, b"data", b.getsockname()) == 4
            assert await receiving == (b"data", a.getsockname())
        finally:
            receiving.cancel()


async def file(loop):
    data = DATA[: 3000 if peers.one_byte else 100000]
    a, b = socket.socketpair()
    with a, b, tempfile.TemporaryFile() as source:
        source.write(data)
        source.seek(0)
        a.setblocking(False)
        b.setblocking(False)

        async def receive():
            got = bytearray()
            while len(got) < len(data):
                got += await loop.sock_recv(b, len(data))
            return got

        receiver = asyncio.ensure_future(receive())
        try:
            assert await loop.sock_sendfile(a, source) == len(data)
            assert await receiver == data
        finally:
            receiver.cancel()


async def signals(loop):
    done = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, set_result, done)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        await done
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


async def executor(loop):
    assert await loop.run_in_executor(None, time.sleep, 0.005) is None


# -- transports ------------------------------------------------------------------------


async def echo(loop):
    """A server, a client, 100 KB there and back in pieces."""
    data = DATA[: 300 if peers.one_byte else 100000]
    sides = []

    def accepted():
        sides.append(EchoSide(loop))
        return sides[-1]

    server = await loop.create_server(accepted, "127.0.0.1", 0)
    try:
        address = server.sockets[0].getsockname()
        client = Side(loop)
        client.wanted = len(data)
        await loop.create_connection(lambda: client, *address)
        sides.append(client)
        try:
            for start in range(0, len(data), 30000):
                client.transport.write(data[start : start + 10000])
                client.transport.writelines(
                    [data[start + 10000 : start + 20000], data[start + 20000 :][:10000]]
                )
                await asyncio.sleep(0)
            await until_enough(client, *[side for side in sides if side is not client])
            assert client.data == data
        finally:
            await close_all(*[side for side in sides if side.transport is not None])
    finally:
        server.close()


async def lines(loop):
    """asyncio's streams over a Unix socket."""
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "socket")
    failed = []

    async def serve(reader, writer):
        try:
            while True:
                line = await reader.readline()
                if not line:
                    break
                writer.write(line)
                await writer.drain()
        except OSError as exc:
            failed.append(exc)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            for n in range(3):
                writer.write(b"line %d\n" % n)
                await writer.drain()
                line = await reader.readline()
                if line != b"line %d\n" % n:
                    raise OSError("the server left")
        finally:
            writer.close()
            await writer.wait_closed()
    except OSError as exc:
        await asyncio.sleep(0.001)
        if failed:  # StreamWriter does not say why the connection was lost
            raise OSError(peers.injected, "the server has seen it") from exc
        raise
    finally:
        server.close()
        await asyncio.sleep(0.001)
        os.unlink(path) if os.path.exists(path) else None
        os.rmdir(folder)


async def accepts(loop):
    """Three plain clients are greeted."""
    sides = []

    class Greeting(Side):
        def connection_made(self, transport):
            super().connection_made(transport)
            sides.append(self)
            transport.write(b"hello")
            transport.close()

    server = await loop.create_server(lambda: Greeting(loop), "127.0.0.1", 0)
    clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in "123"]
    try:
        for client in clients:
            client.setblocking(False)
            got = b""
            while len(got) < 5:
                part = await loop.sock_recv(client, 10)
                if not part:
                    raise_lost(sides)
                assert part
                got += part
            assert got == b"hello"
    finally:
        for client in clients:
            client.close()
        server.close()
        for side in sides:
            await side.lost


def name_of(transport):
    name = transport.get_extra_info("sockname")
    if name is None:  # getsockname() has failed when the transport was made
        name = transport.get_extra_info("socket").getsockname()
    return name


async def endpoints(loop):
    """Datagrams between two endpoints, one of them connected."""

    class Endpoint(asyncio.DatagramProtocol):
        def __init__(self):
            self.got = []
            self.errors = []
            self.changed = asyncio.Event()

        def datagram_received(self, data, address):
            self.got.append(data)
            self.changed.set()

        def error_received(self, exc):
            self.errors.append(exc)
            self.changed.set()

        def connection_lost(self, exc):
            self.changed.set()
            if exc is not None:
                self.errors.append(exc)

    one, one_protocol = await loop.create_datagram_endpoint(
        Endpoint, local_addr=("127.0.0.1", 0)
    )
    other = None
    try:
        address = name_of(one)
        other, other_protocol = await loop.create_datagram_endpoint(
            Endpoint, remote_addr=address
        )
        peer = name_of(other)
        protocols = one_protocol, other_protocol
        for n in range(3):
            other.sendto(b"to one %d" % n)
            one.sendto(b"to other %d" % n, peer)
        while min(len(protocol.got) for protocol in protocols) < 3:
            for protocol in protocols:
                protocol.changed.clear()
            waits = [asyncio.ensure_future(p.changed.wait()) for p in protocols]
            await asyncio.wait(waits, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            lost = [error for protocol in protocols for error in protocol.errors]
            if lost and not any(protocol.changed.is_set() for protocol in protocols):
                raise lost[0]
        assert one_protocol.got == [b"to one %d" % n for n in range(3)]
        assert other_protocol.got == [b"to other %d" % n for n in range(3)]
    finally:
        one.close()
        if other is not None:
            other.close()
        await asyncio.sleep(0)


async def pipes(loop):
    data = DATA[: 300 if peers.one_byte else 300000]
    read_fd, write_fd = os.pipe()
    ends = open(read_fd, "rb", 0), open(write_fd, "wb", 0)
    reading, writing = sides = Side(loop), Side(loop)
    reading.wanted = len(data)
    try:
        await loop.connect_read_pipe(lambda: reading, ends[0])
        await loop.connect_write_pipe(lambda: writing, ends[1])
        for start in range(0, len(data), 50000):
            writing.transport.write(data[start : start + 50000])
        await until_enough(reading, writing)
        assert reading.data == data
        writing.transport.close()
        await reading.lost
        await close_all(*sides)
    finally:
        for side in sides:
            if side.transport is not None:
                side.transport.close()
        await asyncio.sleep(0)
        for end in ends:
            end.close()


async def spawn(loop):
    """Children: one that copies, one that is killed."""
    data = DATA[: 300 if peers.one_byte else 100000]
    child = await asyncio.create_subprocess_exec(
        "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        got, _ = await child.communicate(data)
        if got != data:  # the pipe was lost, which Process only logs
            raise OSError(peers.injected, "the pipe was lost")
        assert await child.wait() == 0
    finally:
        if child.returncode is None:
            child._transport.close()
            await child.wait()
    child = await asyncio.create_subprocess_exec("sleep", "100")
    try:
        child.terminate()
    except OSError:
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
        raise
    assert await child.wait() == -signal.SIGTERM


async def send_files(loop):
    """A file into a TCP connection and into a pipe."""
    data = DATA[: 3000 if peers.one_byte else 200000]
    with tempfile.TemporaryFile() as source:
        source.write(data)
        a, b = socket.socketpair()
        read_fd, write_fd = os.pipe()
        ends = [a, b, open(read_fd, "rb", 0), open(write_fd, "wb", 0)]
        sides = [Side(loop) for _ in ends]
        sending, receiving, reading, writing = sides
        receiving.wanted = reading.wanted = len(data)
        try:
            await loop.create_connection(lambda: sending, sock=a)
            await loop.create_connection(lambda: receiving, sock=b)
            await loop.connect_read_pipe(lambda: reading, ends[2])
            await loop.connect_write_pipe(lambda: writing, ends[3])
            for source_side, sink in (sending, receiving), (writing, reading):
                source.seek(0)
                sent = await loop.sendfile(source_side.transport, source)
                assert sent == len(data)
                await until_enough(sink, source_side)
                assert sink.data == data
        except (OSError, RuntimeError):  # a consequence, perhaps
            await asyncio.sleep(0.01)
            raise_lost(sides)
            raise
        finally:
            for side in sides:
                if side.transport is not None:
                    side.transport.abort() if hasattr(
                        side.transport, "abort"
                    ) else side.transport.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for end in ends:
                end.close()


SCENARIOS = {
    function.__name__: function
    for function in (
        timers,
        threads,
        readers,
        stream,
        connections,
        datagrams,
        file,
        signals,
        executor,
        echo,
        lines,
        accepts,
        endpoints,
        pipes,
        spawn,
        send_files,
        *tls.SCENARIOS,
    )
}
# Their registrations are level-triggered: an EAGAIN at any time is no lie.
LEVEL = {"echo", "lines", "endpoints", "pipes", "spawn", *tls.NAMES}

# what the program may see, and what it may not
SEEN = {
    "read": ["EIO", "ENOMEM"],
    "write": ["EPIPE", "ENOMEM"],
    "recv": ["ECONNRESET", "ENOMEM"],
    "recvfrom": ["ECONNREFUSED", "ENOMEM"],
    "recvmmsg": ["ECONNREFUSED", "ENOMEM"],
    "sendmsg": ["EPIPE", "ENOBUFS"],
    "shutdown": ["ENOTCONN"],
    "fcntl": ["EMFILE"],
    "pidfd_send_signal": ["EPERM"],
    "send": ["EPIPE", "ENOBUFS"],
    "sendto": ["ENOBUFS", "EPERM"],
    "sendfile": ["EIO", "EINVAL"],
    "accept4": ["EMFILE", "ENFILE", "ENOMEM", "ECONNABORTED"],
    "connect": ["ECONNREFUSED", "ENETUNREACH"],
    "eventfd": ["EMFILE", "ENFILE", "ENOMEM"],
    "epoll_create1": ["EMFILE", "ENOMEM"],
    "epoll_ctl": ["ENOMEM", "ENOSPC"],
    "epoll_wait": ["ENOMEM"],
    "epoll_pwait2": ["ENOMEM"],
    "pipe2": ["EMFILE"],
    "socketpair": ["EMFILE"],
    "getsockopt": ["ENOBUFS"],
}
# (EAGAIN once only, before the socket is watched: later it would be a lie, which the
# kernel does not tell and an edge-triggered registration does not survive. A connect
# that was interrupted has begun.)
HIDDEN = {
    "recv": ["EINTR", "EAGAIN"],
    "recvfrom": ["EINTR", "EAGAIN"],
    "send": ["EINTR", "EAGAIN"],
    "sendto": ["EINTR", "EAGAIN"],
    "sendfile": ["EINTR", "EAGAIN"],
    "sendmsg": ["EINTR", "EAGAIN"],
    "recvmmsg": ["EINTR", "EAGAIN"],
    "accept4": ["EINTR", "EAGAIN"],
    "read": ["EINTR", "EAGAIN"],
    "write": ["EINTR", "EAGAIN"],
    "ioctl": ["EINTR", "EINVAL"],
    "close": ["EINTR", "EIO"],
    "getsockname": ["EINTR", "ENOBUFS"],
    "getpeername": ["EINTR", "ENOTCONN"],
    "setsockopt": ["EINTR", "ENOMEM"],
    "pidfd_open": ["ENOSYS", "EPERM", "EMFILE", "ESRCH"],
    "epoll_wait": ["EINTR"],
    "epoll_pwait2": ["EINTR", "ENOSYS"],
}

# -- one attempt ---------------------------------------------------------------------


def attempt(scenario, call, name, nth):
    """In the child: its exit status: 0 fine, 1 not, 2 the call is not used so often."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LIMIT_SECONDS)
    peers.injected = number = getattr(errno, name)
    before = len(os.listdir("/proc/self/fd"))
    loop = cloop.new_event_loop()
    reported = []
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    if call == "one byte":
        peers.one_byte = True
        _cloop._fault_one_byte(True)
    else:
        _cloop._fault_set(call, nth, number)
    problem = None
    try:
        loop.run_until_complete(scenario(loop))
    except OSError as exc:
        if exc.errno != number or name in HIDDEN.get(call, ()):
            problem = "raised %r" % exc
    except BaseException as exc:
        problem = "raised %r" % exc
    if call == "one byte":
        hits = 1
    else:
        hits = _cloop._fault_counts()[call][1]
    _cloop._fault_clear()
    for context in reported:
        error = context.get("exception")
        if getattr(error, "errno", None) != number:
            problem = problem or "reported %r" % context
    error = context = None
    reported.clear()  # they hold what would die otherwise
    try:
        task = None
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.call_soon(loop.stop)  # what is left of the first run runs
        loop.run_forever()
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.run_until_complete(readers(loop))
        if loop._default_executor is not None:
            loop._default_executor.shutdown(wait=True)
        loop.close()
        del loop, task  # a server whose making was cancelled dies with the loop
        reported.clear()  # 3.11 and 3.12 tell of the cancelled handler of a server
        gc.collect()
    except BaseException as exc:
        problem = (problem or "") + " then %r" % exc
    after = len(os.listdir("/proc/self/fd"))
    if after > before:
        problem = (problem or "") + " %d descriptors left" % (after - before)
    if problem is not None:
        print("%s %s at use %d: %s" % (call, name, nth, problem), flush=True)
        return 1
    return 0 if hits else 2


def run(scenario, call, name, nth):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            code = attempt(scenario, call, name, nth)
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        what = "hung" if number == signal.SIGALRM else "died of signal %d" % number
        print("%s %s at use %d: %s" % (call, name, nth, what))
        return 1
    return os.WEXITSTATUS(status)


def sweep(scenario, call, name):
    problems = attempts = 0
    once = name == "EAGAIN" and scenario.__name__ not in LEVEL
    for nth in range(1, 2 if once else MOST):
        code = run(scenario, call, name, nth)
        if code == 2 and nth > 1:
            break
        attempts += code != 2
        problems += code not in (0, 2)
        if code == 2 or problems > 5:
            break
    return attempts, problems


def main():
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    scenario = SCENARIOS[sys.argv[1]]
    if sys.argv[1] in tls.NAMES:
        tls.make_contexts()
    gc.freeze()
    if len(sys.argv) > 4:
        return run(scenario, sys.argv[2], sys.argv[3], int(sys.argv[4]))
    problems = 1 if run(scenario, "one byte", "EIO", 1) else 0
    total = 1
    for table in SEEN, HIDDEN:
        for call, names in table.items():
            if call == "write" and table is SEEN and sys.argv[1] not in LEVEL:
                continue  # the wake-up's own, which the kernel does not refuse
            for name in names:
                if len(sys.argv) > 3 and [call, name] != sys.argv[2:4]:
                    continue
                attempts, wrong = sweep(scenario, call, name)
                problems += wrong
                total += attempts
                if attempts:
                    print(call, name, attempts, "faults")
    print(sys.argv[1], "in all:", total, "faults,", problems, "problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
