"""add_signal_handler and the wakeup descriptor; SIGINT; storms."""

import asyncio
import contextvars
import functools
import os
import signal
import socket
import threading
import time

import pytest
from support import PY, cloop_only, outcome, run_program, turn


def send(signum=signal.SIGUSR1):
    os.kill(os.getpid(), signum)


def run_for(loop, seconds):
    loop.call_later(seconds, loop.stop)
    loop.run_forever()


@pytest.fixture(autouse=True)
def signals_are_restored():
    kinds = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD, signal.SIGINT]
    old = [signal.getsignal(kind) for kind in kinds]
    yield
    left = signal.set_wakeup_fd(-1)
    for kind, handler in zip(kinds, old):
        signal.signal(kind, handler)
    assert left == -1, "the wakeup descriptor was left set"


# -- handling ------------------------------------------------------------------------


def test_handler_runs_in_the_loop(loop):
    seen = []

    def handler(*args):
        seen.append((args, asyncio.get_running_loop()))
        loop.stop()

    assert loop.add_signal_handler(signal.SIGUSR1, handler, 1, "two") is None
    loop.call_soon(send)
    loop.run_forever()
    assert seen == [((1, "two"), loop)]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


def test_signal_before_the_loop_runs(loop):
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    send()
    run_for(loop, 0.02)
    assert seen == [1]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_signal_wakes_an_idle_loop(loop):
    took = []

    def handler():
        took.append(time.monotonic() - sent[0])
        loop.stop()

    sent = []

    def later():
        time.sleep(0.02)
        sent.append(time.monotonic())
        send()

    loop.add_signal_handler(signal.SIGUSR1, handler)
    thread = threading.Thread(target=later)
    thread.start()
    loop.run_forever()
    thread.join()
    assert took[0] < 5
    loop.remove_signal_handler(signal.SIGUSR1)


def test_replacing_a_handler(loop):
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "first")
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "second")
    send()
    run_for(loop, 0.02)
    assert seen == ["second"]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_handler_removes_itself(loop):
    seen = []

    def handler():
        seen.append(1)
        assert loop.remove_signal_handler(signal.SIGUSR1)

    loop.add_signal_handler(signal.SIGUSR1, handler)
    send()
    run_for(loop, 0.02)
    assert seen == [1]
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert not loop._signal_handlers


def test_a_handler_replaces_itself(loop):
    seen = []

    def handler():
        seen.append(1)
        loop.add_signal_handler(signal.SIGUSR1, seen.append, 2)
        send()

    loop.add_signal_handler(signal.SIGUSR1, handler)
    send()
    run_for(loop, 0.05)
    assert seen == [1, 2]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_handler_that_raises_is_reported(loop, reports):
    def handler():
        raise ValueError("in the handler")

    loop.add_signal_handler(signal.SIGUSR1, handler)
    send()
    run_for(loop, 0.02)
    send()
    run_for(loop, 0.02)
    assert [type(c["exception"]) for c in reports] == [ValueError, ValueError]
    loop.remove_signal_handler(signal.SIGUSR1)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_handler_that_interrupts(loop, kind):
    def handler():
        raise kind

    loop.add_signal_handler(signal.SIGUSR1, handler)
    send()
    with pytest.raises(kind):
        run_for(loop, 5)
    assert not loop.is_running()
    turn(loop)
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_handler_closes_the_room_for_the_next(loop):
    """Both signals come in one read; the first handler removes the second."""
    seen = []
    loop.add_signal_handler(
        signal.SIGUSR1, lambda: loop.remove_signal_handler(signal.SIGUSR2)
    )
    loop.add_signal_handler(signal.SIGUSR2, seen.append, 2)
    send(signal.SIGUSR1)
    send(signal.SIGUSR2)
    run_for(loop, 0.02)
    assert seen in ([], [2])
    loop.remove_signal_handler(signal.SIGUSR1)


def test_context(loop):
    var = contextvars.ContextVar("var", default="default")
    seen = []
    var.set("when it was added")
    loop.add_signal_handler(signal.SIGUSR1, lambda: seen.append(var.get()))
    var.set("later")
    send()
    run_for(loop, 0.02)
    send()
    run_for(loop, 0.02)
    assert seen == ["when it was added"] * 2
    loop.remove_signal_handler(signal.SIGUSR1)


def test_from_a_coroutine(loop):
    async def main():
        event = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, event.set)
        loop.call_later(0.005, send)
        await asyncio.wait_for(event.wait(), 10)
        loop.remove_signal_handler(signal.SIGUSR1)

    loop.run_until_complete(main())


def test_several_kinds(loop):
    seen = []
    for kind in signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD:
        loop.add_signal_handler(kind, seen.append, kind)
    for kind in signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD:
        send(kind)
        run_for(loop, 0.01)
    assert seen == [signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD]
    for kind in signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD:
        assert loop.remove_signal_handler(kind)


def test_sigchld_is_the_users(loop):
    import subprocess

    seen = []
    loop.add_signal_handler(signal.SIGCHLD, seen.append, 1)
    subprocess.run(["true"], check=True)
    run_for(loop, 0.05)
    assert seen
    loop.remove_signal_handler(signal.SIGCHLD)


def test_numbers_and_enums(loop):
    seen = []
    loop.add_signal_handler(int(signal.SIGUSR1), seen.append, 1)
    send()
    run_for(loop, 0.02)
    assert seen == [1]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True


# -- the disposition -----------------------------------------------------------------


def test_disposition_after_removal(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    assert callable(signal.getsignal(signal.SIGUSR1))
    loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    loop.add_signal_handler(signal.SIGINT, print)
    loop.remove_signal_handler(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_close_removes_handlers(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGUSR2, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
    assert not loop._signal_handlers


def test_previous_wakeup_descriptor_is_restored(impl, loop):
    """gunicorn sets its own."""
    cloop_only(impl, "stock sets it to -1")
    a, b = socket.socketpair()
    with a, b:
        a.setblocking(False)
        b.setblocking(False)
        signal.set_wakeup_fd(b.fileno())
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.add_signal_handler(signal.SIGUSR2, print)
        loop.remove_signal_handler(signal.SIGUSR1)
        loop.remove_signal_handler(signal.SIGUSR2)
        assert signal.set_wakeup_fd(-1) == b.fileno()
        signal.set_wakeup_fd(b.fileno())
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.close()
        assert signal.set_wakeup_fd(-1) == b.fileno()


def test_running_a_loop_leaves_the_wakeup_descriptor_alone(impl, loop):
    a, b = socket.socketpair()
    with a, b:
        b.setblocking(False)
        signal.set_wakeup_fd(b.fileno())
        run_for(loop, 0.001)
        assert signal.set_wakeup_fd(-1) == b.fileno()


def test_add_and_remove_leaks_nothing(loop):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.remove_signal_handler(signal.SIGUSR1)
    assert len(os.listdir("/proc/self/fd")) <= before + 4


def test_siginterrupt_is_off(loop):
    """System calls of the rest of the program are restarted."""
    loop.add_signal_handler(signal.SIGUSR1, lambda: None)
    a, b = socket.socketpair()
    with a, b:
        threading.Timer(0.01, send).start()
        threading.Timer(0.03, b.send, [b"x"]).start()
        assert os.read(a.fileno(), 1) == b"x"
    loop.remove_signal_handler(signal.SIGUSR1)


# -- errors --------------------------------------------------------------------------


def test_other_thread(loop):
    result = []
    thread = threading.Thread(
        target=lambda: result.append(
            outcome(loop.add_signal_handler, signal.SIGUSR1, print)
        )
    )
    thread.start()
    thread.join()
    ((raised, kind, message),) = result
    assert (raised, kind) == ("raised", "RuntimeError")
    assert message.startswith("set_wakeup_fd only works in main thread")


def test_coroutine_functions_are_refused(loop):
    async def handler():
        pass

    coro = handler()
    for bad in handler, coro, functools.partial(handler):
        if bad is not coro and PY < (3, 8):
            continue
        result = outcome(loop.add_signal_handler, signal.SIGUSR1, bad)
        assert result == (
            "raised",
            "TypeError",
            "coroutines cannot be used with add_signal_handler()",
        )
    coro.close()


def test_uncatchable(loop):
    for kind in signal.SIGKILL, signal.SIGSTOP:
        with pytest.raises(RuntimeError, match="sig %d cannot be caught" % kind):
            loop.add_signal_handler(kind, print)
    assert not loop._signal_handlers
    # the failed attempts left no half of a set-up
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    send()
    run_for(loop, 0.02)
    assert seen == [1]
    loop.remove_signal_handler(signal.SIGUSR1)


# -- storms --------------------------------------------------------------------------


@pytest.mark.slow
def test_storm(impl):
    """A hundred thousand mixed signals: no kind is lost, the last one least of all."""
    done = run_program(
        impl,
        """
        kinds = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP]
        counts = dict.fromkeys(kinds, 0)
        loop = new_event_loop()

        def handler(kind):
            counts[kind] += 1

        for kind in kinds:
            loop.add_signal_handler(kind, handler, kind)
        pid = os.fork()
        if pid == 0:
            parent = os.getppid()
            for n in range(100000):
                os.kill(parent, kinds[n % 3])
            os._exit(0)

        async def wait_for(condition):
            end = time.monotonic() + 20
            while not condition():
                assert time.monotonic() < end, counts
                await asyncio.sleep(0.001)

        async def main():
            await wait_for(lambda: os.waitpid(pid, os.WNOHANG)[0])
            if IMPL == 'cloop':  # stock loses what finds its wake-up socket full
                await wait_for(lambda: all(counts.values()))
            await asyncio.sleep(0.05)
            before = dict(counts)
            for kind in kinds:
                os.kill(os.getpid(), kind)
            await wait_for(lambda: all(counts[k] > before[k] for k in kinds))

        loop.run_until_complete(main())
        for kind in kinds:
            loop.remove_signal_handler(kind)
        loop.close()
        """,
        timeout=60,
    )
    assert done.stdout == ""


def test_signals_and_threadsafe_calls(impl, loop):
    # stock's wake-up socket holds 278 bytes of one write each: it complains of more
    rounds = 200 if impl.is_cloop else 100
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "signal")

    def post():
        for _ in range(rounds):
            loop.call_soon_threadsafe(seen.append, "thread")
            send()
        loop.call_soon_threadsafe(loop.call_later, 0.02, loop.stop)

    thread = threading.Thread(target=post)
    thread.start()
    loop.run_forever()
    thread.join()
    assert seen.count("thread") == rounds
    assert 1 <= seen.count("signal") <= rounds
    loop.remove_signal_handler(signal.SIGUSR1)


# -- SIGINT --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "loop.run_forever()",
        "loop.call_later(1000, print); loop.run_forever()",
        "loop.run_until_complete(asyncio.sleep(1000))",
        "loop.call_soon(spin); loop.run_forever()",
        "loop.call_soon(respin); loop.run_forever()",
        "loop.run_until_complete(spin_coroutine())",
    ],
)
def test_sigint(impl, body):
    done = run_program(
        impl,
        """
        loop = new_event_loop()

        def spin():
            while True:
                pass

        def respin():
            loop.call_soon(respin)

        async def spin_coroutine():
            while True:
                await asyncio.sleep(0)

        def interrupt():
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        before = time.monotonic()
        try:
            BODY
        except KeyboardInterrupt:
            assert time.monotonic() - before < 10
            assert asyncio._get_running_loop() is None
            assert not loop.is_running() and loop._thread_id is None
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.call_soon(loop.stop)
            loop.run_forever()
            print('interrupted')
        loop.close()
        """.replace("BODY", body),
        timeout=30,
    )
    assert done.stdout == "interrupted\n"
    assert "Task was destroyed" not in done.stderr


def test_sigint_with_a_handler(impl):
    done = run_program(
        impl,
        """
        loop = new_event_loop()
        loop.add_signal_handler(signal.SIGINT, lambda: (print('handled'), loop.stop()))
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()
        loop.run_forever()
        loop.close()
        """,
    )
    assert done.stdout == "handled\n"


def test_sigint_under_the_runner(impl):
    if PY < (3, 11):
        pytest.skip("3.11 and newer")
    done = run_program(
        impl,
        """
        async def main():
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                print('cancelled')
                raise

        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(main())
        except KeyboardInterrupt:
            print('interrupted')
        """,
    )
    assert done.stdout == "cancelled\ninterrupted\n"


def test_python_signal_handler_runs_while_idle(loop):
    """signal.signal's handlers, with no handler of the loop's: run at once."""
    seen = []
    old = signal.signal(signal.SIGUSR1, lambda *a: seen.append(time.monotonic()))
    try:
        sent = []

        def later():
            time.sleep(0.02)
            sent.append(time.monotonic())
            send()

        thread = threading.Thread(target=later)
        thread.start()
        run_for(loop, 0.3)
        thread.join()
        assert seen[0] - sent[0] < 0.2
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_python_signal_handler_that_raises_while_idle(loop):
    class Mine(Exception):
        pass

    def handler(*args):
        raise Mine

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        threading.Timer(0.02, send).start()
        with pytest.raises(Mine):
            run_for(loop, 10)
        assert asyncio._get_running_loop() is None
        assert not loop.is_running()
        turn(loop)
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_alarm_interrupts_the_poll(loop):
    seen = []
    old = signal.signal(signal.SIGALRM, lambda *a: seen.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        before = loop.time()
        loop.run_until_complete(asyncio.sleep(0.1))
        assert loop.time() - before >= 0.099
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert len(seen) > 5
