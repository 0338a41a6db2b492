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

import cloop
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


def set_result(future):
    if not future.done():
        future.set_result(None)


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


one_byte = False
DATA = bytes(range(256)) * 2000


async def stream(loop):
    data = DATA[: 3000 if one_byte else None]
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
    data = DATA[: 3000 if one_byte else 100000]
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
    )
}

# what the program may see, and what it may not
SEEN = {
    "recv": ["ECONNRESET", "ENOMEM"],
    "recvfrom": ["ECONNREFUSED", "ENOMEM"],
    "send": ["EPIPE", "ENOBUFS"],
    "sendto": ["ENOBUFS", "EPERM"],
    "sendfile": ["EIO"],
    "accept4": ["EMFILE", "ECONNABORTED"],
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
    "accept4": ["EINTR", "EAGAIN"],
    "read": ["EINTR", "EAGAIN"],
    "write": ["EINTR"],
    "epoll_wait": ["EINTR"],
    "epoll_pwait2": ["EINTR", "ENOSYS"],
}

# -- one attempt ---------------------------------------------------------------------


def attempt(scenario, call, name, nth):
    """In the child: its exit status: 0 fine, 1 not, 2 the call is not used so often."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LIMIT_SECONDS)
    number = getattr(errno, name)
    before = len(os.listdir("/proc/self/fd"))
    loop = cloop.new_event_loop()
    reported = []
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    if call == "one byte":
        global one_byte
        one_byte = True
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
    try:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.call_soon(loop.stop)  # what is left of the first run runs
        loop.run_forever()
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.run_until_complete(readers(loop))
        if loop._default_executor is not None:
            loop._default_executor.shutdown(wait=True)
        loop.close()
        del loop
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
    for nth in range(1, 2 if name == "EAGAIN" else MOST):
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
    gc.freeze()
    if len(sys.argv) > 4:
        return run(scenario, sys.argv[2], sys.argv[3], int(sys.argv[4]))
    problems = 1 if run(scenario, "one byte", "EIO", 1) else 0
    for table in SEEN, HIDDEN:
        for call, names in table.items():
            for name in names:
                if len(sys.argv) > 3 and [call, name] != sys.argv[2:4]:
                    continue
                attempts, wrong = sweep(scenario, call, name)
                problems += wrong
                if attempts:
                    print(call, name, attempts, "faults")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
