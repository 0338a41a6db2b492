"""Child processes: subprocess_exec, subprocess_shell, asyncio.create_subprocess_*."""

import asyncio
import contextvars
import gc
import logging
import mmap
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest
from support import PY, cloop_only, outcome, run_program, stock_fault, turn

pytestmark = pytest.mark.timeout(120)
PIPE = subprocess.PIPE
STDOUT = subprocess.STDOUT
DEVNULL = subprocess.DEVNULL


@pytest.fixture(autouse=True)
def watcher(impl):
    """Stock up to 3.11 waits in a thread for each child, whose end it may not hear."""
    yield
    if PY < (3, 14):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asyncio.set_child_watcher(None)


@pytest.fixture
def children(monkeypatch):
    """The Popen objects of all children started."""
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    return started


def is_reaped(popen):
    try:
        os.waitpid(popen.pid, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def run(loop, awaitable, timeout=60):
    return loop.run_until_complete(asyncio.wait_for(awaitable, timeout))


async def output(*command, **options):
    """Runs a program: (return code, what it printed)."""
    options.setdefault("stdout", PIPE)
    child = await asyncio.create_subprocess_exec(*command, **options)
    printed, _ = await child.communicate()
    return child.returncode, printed


class Recorder(asyncio.SubprocessProtocol):
    def __init__(self, loop):
        self.calls = []
        self.data = {1: b"", 2: b""}
        self.over = loop.create_future()

    def connection_made(self, transport):
        self.calls.append("made")

    def pipe_data_received(self, fd, data):
        self.data[fd] += data
        if ("data", fd) not in self.calls:
            self.calls.append(("data", fd))

    def pipe_connection_lost(self, fd, exc):
        self.calls.append(("pipe lost", fd, exc))

    def process_exited(self):
        self.calls.append("exited")

    def connection_lost(self, exc):
        self.calls.append(("lost", exc))
        self.over.set_result(None)


# -- running programs ------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_return_codes(loop, code):
    async def main():
        child = await asyncio.create_subprocess_shell(f"exit {code}")
        assert await child.wait() == code
        assert child.returncode == code
        assert await child.wait() == code

    run(loop, main())


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGINT", "SIGUSR1"])
def test_a_child_that_ends_by_a_signal(loop, name):
    number = getattr(signal, name)

    async def main():
        child = await asyncio.create_subprocess_exec("sleep", "100")
        {"SIGTERM": child.terminate, "SIGKILL": child.kill}.get(
            name, lambda: child.send_signal(number)
        )()
        assert await child.wait() == -number

    run(loop, main())


def test_a_megabyte_through_a_child(loop):
    data = os.urandom(1 << 20)

    async def main():
        child = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        assert await child.communicate(data) == (data, None)
        assert child.returncode == 0

    run(loop, main())


def test_output_that_nobody_reads_pauses_its_pipe(impl, loop):
    stock_fault(impl, PY < (3, 11), "its pipes do not say whether they are read")

    async def main():
        child = await asyncio.create_subprocess_exec(
            "head", "-c", "1000000", "/dev/zero", stdout=PIPE, limit=1000
        )
        pipe = child._transport.get_pipe_transport(1)
        while pipe.is_reading():
            await asyncio.sleep(0.001)
        assert child.returncode is None
        assert await child.stdout.read() == bytes(1000000)
        assert await child.wait() == 0

    run(loop, main())


def test_a_spawn_runs_no_fork_hooks(impl):
    """(Other libraries' hooks take locks; and a fork costs what the parent is big.)"""
    run_program(
        impl,
        """
        called = []
        os.register_at_fork(
            before=lambda: called.append("before"),
            after_in_parent=lambda: called.append("parent"),
        )

        async def main():
            child = await asyncio.create_subprocess_exec("true")
            await child.wait()
            child = await asyncio.create_subprocess_shell("exit 3")
            return await child.wait()

        loop = new_event_loop()
        asyncio.set_event_loop(loop)
        assert loop.run_until_complete(main()) == 3
        loop.close()
        assert called == [], called
        """,
    )


@pytest.mark.skipif(PY < (3, 10), reason="subprocess forks")
def test_a_spawn_copies_no_page_tables(loop):
    """vfork: its cost is the same however much memory the parent has.

    After a fork each first write to a page is a fault, even when the child is gone.
    """
    pages = 4096
    memory = mmap.mmap(-1, pages * mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)

    def write_everywhere():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for page in range(pages):
            memory[page * mmap.PAGESIZE] = 1
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with memory:
        assert write_everywhere() >= pages
        assert run(loop, output("true")) == (0, b"")
        assert write_everywhere() < pages // 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # there are threads, but it does nothing
            child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        assert write_everywhere() >= pages  # were it a fork, this would see it


def test_lines_both_ways(loop):
    async def main():
        child = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        for n in range(50):
            child.stdin.write(b"line %d\n" % n)
            await child.stdin.drain()
            assert await child.stdout.readline() == b"line %d\n" % n
        child.stdin.close()
        assert await child.stdout.read() == b""
        assert await child.wait() == 0

    run(loop, main())


def test_a_child_that_does_not_read_its_input(loop):
    async def main():
        child = await asyncio.create_subprocess_exec("true", stdin=PIPE)
        await child.communicate(b"x" * (1 << 20))
        assert child.returncode == 0

    run(loop, main())


def test_standard_error(loop):
    async def main():
        script = "echo out; echo err >&2"
        child = await asyncio.create_subprocess_shell(script, stdout=PIPE, stderr=PIPE)
        assert await child.communicate() == (b"out\n", b"err\n")
        child = await asyncio.create_subprocess_shell(
            script, stdout=PIPE, stderr=STDOUT
        )
        assert await child.communicate() == (b"out\nerr\n", None)

    run(loop, main())


OPTIONS = {
    "cwd": ("pwd", {"cwd": "/"}, b"/"),
    "env": ("echo $ONE", {"env": {"ONE": "1"}}, b"1"),
    "executable": ("echo $0", {"executable": "/bin/sh"}, b"/bin/sh"),
    "start_new_session": (
        f"{sys.executable} -c 'import os; print(os.getsid(0) == os.getppid())'",
        {"start_new_session": True},
        b"True",
    ),
    "preexec_fn": ("pwd", {"preexec_fn": lambda: os.chdir("/")}, b"/"),
    "restore_signals": ("echo 1", {"restore_signals": False}, b"1"),
    "close_fds": ("echo 1", {"close_fds": False}, b"1"),
    "stdin": ("cat", {"stdin": DEVNULL}, b""),
}
if PY >= (3, 9):
    OPTIONS["umask"] = ("umask", {"umask": 0o77}, b"0077")
    OPTIONS["user"] = ("id -u", {"user": os.getuid()}, str(os.getuid()).encode())
if PY >= (3, 10):
    OPTIONS["pipesize"] = ("echo 1", {"pipesize": 8192}, b"1")
if PY >= (3, 11):
    OPTIONS["process_group"] = (
        f"{sys.executable} -c 'import os; print(os.getpgid(0) == os.getppid())'",
        {"process_group": 0},
        b"True",
    )


@pytest.mark.parametrize("name", OPTIONS)
def test_keywords_of_popen(loop, name):
    script, options, wanted = OPTIONS[name]
    if name == "user" and os.getuid() != 0:
        pytest.skip("only root may change users")

    async def main():
        child = await asyncio.create_subprocess_shell(script, stdout=PIPE, **options)
        printed, _ = await child.communicate()
        assert child.returncode == 0
        assert printed.strip() == wanted

    run(loop, main())


def test_pass_fds(loop):
    read_fd, write_fd = os.pipe()
    try:

        async def main():
            child = await asyncio.create_subprocess_shell(
                f"echo through > /dev/fd/{write_fd}", pass_fds=[write_fd]
            )
            assert await child.wait() == 0

        run(loop, main())
        assert os.read(read_fd, 100) == b"through\n"
    finally:
        os.close(read_fd)
        os.close(write_fd)


@pytest.mark.parametrize("kind", ["number", "file"])
def test_files_as_standard_streams(loop, tmp_path, kind):
    with open(tmp_path / "in", "w+b") as source, open(tmp_path / "out", "w+b") as sink:
        source.write(b"content")
        source.seek(0)
        streams = source, sink
        if kind == "number":
            streams = source.fileno(), sink.fileno()

        async def main():
            child = await asyncio.create_subprocess_exec(
                "cat", stdin=streams[0], stdout=streams[1]
            )
            assert child.stdin is None and child.stdout is None
            assert await child.wait() == 0

        run(loop, main())
        sink.seek(0)
        assert sink.read() == b"content"


BAD = {
    "shell": lambda loop, f: loop.subprocess_exec(f, "true", shell=True),
    "no shell": lambda loop, f: loop.subprocess_shell(f, "true", shell=False),
    "no string": lambda loop, f: loop.subprocess_shell(f, ["true"]),
    "newlines": lambda loop, f: loop.subprocess_exec(
        f, "true", universal_newlines=True
    ),
    "bufsize": lambda loop, f: loop.subprocess_exec(f, "true", bufsize=5),
    "encoding": lambda loop, f: loop.subprocess_exec(f, "true", encoding="utf-8"),
    "errors": lambda loop, f: loop.subprocess_shell(f, "true", errors="strict"),
    "text": lambda loop, f: loop.subprocess_exec(f, "true", text=True),
    "keyword": lambda loop, f: loop.subprocess_exec(f, "true", nothing=5),
    "no program": lambda loop, f: loop.subprocess_exec(f, "/nowhere/nothing"),
    "directory": lambda loop, f: loop.subprocess_exec(f, "/"),
    "cwd": lambda loop, f: loop.subprocess_exec(f, "true", cwd="/nowhere"),
    "type": lambda loop, f: loop.subprocess_exec(f, 5),
    "null byte": lambda loop, f: loop.subprocess_exec(f, "a\0b"),
    "preexec": lambda loop, f: loop.subprocess_exec(f, "true", preexec_fn=(1).__add__),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_started(loop, children, name):
    """Each error is stock's, and nothing is left behind."""
    protocol = Recorder(loop)
    stock = asyncio.SelectorEventLoop()
    try:
        found, wanted = (
            outcome(
                lambda one: one.run_until_complete(BAD[name](one, lambda: protocol)),
                each,
            )
            for each in (loop, stock)
        )
    finally:
        stock.close()
    assert found == wanted
    assert found[0] == "raised"
    assert protocol.calls == []
    assert all(map(is_reaped, children))
    gc.collect()


def test_from_another_thread(impl, no_fd_leak):
    results = []

    def work():
        loop = impl.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            results.append(run(loop, output("echo", "1")))
        finally:
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [(0, b"1\n")]


# -- the transport ---------------------------------------------------------------------


def test_callbacks_come_once_and_in_order(loop):
    async def main():
        transport, protocol = await loop.subprocess_shell(
            lambda: Recorder(loop), "echo out; echo err >&2; exit 3"
        )
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert protocol.calls[0] == "made"
        await protocol.over
        assert transport.get_returncode() == 3
        return protocol

    protocol = run(loop, main())
    calls = protocol.calls
    assert protocol.data == {1: b"out\n", 2: b"err\n"}
    assert sorted(map(str, calls)) == sorted(
        map(
            str,
            [
                "made",
                ("data", 1),
                ("data", 2),
                ("pipe lost", 0, None),
                ("pipe lost", 1, None),
                ("pipe lost", 2, None),
                "exited",
                ("lost", None),
            ],
        )
    )
    assert calls[0] == "made" and calls[-1] == ("lost", None)
    for fd in 1, 2:
        assert calls.index(("data", fd)) < calls.index(("pipe lost", fd, None))


def test_process_exited_does_not_wait_for_the_pipes(loop):
    """A grandchild has inherited them."""

    async def main():
        transport, protocol = await loop.subprocess_shell(
            lambda: Recorder(loop), "sleep 100 & echo $!", stdin=None, stderr=None
        )
        while "exited" not in protocol.calls or not protocol.data[1]:
            await asyncio.sleep(0.01)
        assert ("lost", None) not in protocol.calls
        os.kill(int(protocol.data[1]), signal.SIGKILL)
        await protocol.over
        assert protocol.calls[-2:] == [("pipe lost", 1, None), ("lost", None)]
        transport.close()

    run(loop, main())


def test_attributes_and_pipes(loop):
    async def main():
        transport, protocol = await loop.subprocess_exec(lambda: Recorder(loop), "cat")
        pid = transport.get_pid()
        assert transport._pid == pid and transport._proc.pid == pid
        assert transport.get_extra_info("subprocess") is transport._proc
        assert transport.get_returncode() is None
        assert transport.get_protocol() is protocol
        assert f"pid={pid} running" in repr(transport)
        assert isinstance(transport.get_pipe_transport(0), asyncio.WriteTransport)
        for fd in 1, 2:
            pipe = transport.get_pipe_transport(fd)
            assert isinstance(pipe, asyncio.ReadTransport)
        assert transport.get_pipe_transport(3) is None
        transport.get_pipe_transport(0).write(b"data")
        transport.get_pipe_transport(0).close()
        await protocol.over
        assert protocol.data[1] == b"data"
        assert transport.get_returncode() == 0
        with pytest.raises(ProcessLookupError):
            transport.send_signal(signal.SIGTERM)
        transport.close()
        assert transport.is_closing()
        assert "closed" in repr(transport)

    run(loop, main())


def test_close_kills(loop, children):
    async def main():
        transport, protocol = await loop.subprocess_exec(
            lambda: Recorder(loop), "sleep", "100"
        )
        transport.close()
        transport.close()
        await protocol.over
        assert transport.get_returncode() == -signal.SIGKILL
        assert protocol.calls.count("exited") == 1

    run(loop, main())
    assert is_reaped(children[0])


VAR = contextvars.ContextVar("VAR", default="none")


def test_contexts(loop):
    seen = {}

    class Seeing(Recorder):
        def __getattribute__(self, name):
            if name.startswith(("pipe_", "process_", "connection_")):
                seen[name] = VAR.get()
            return super().__getattribute__(name)

    async def main():
        VAR.set("spawn")
        _, protocol = await loop.subprocess_shell(lambda: Seeing(loop), "echo 1")
        VAR.set("later")
        await protocol.over

    run(loop, main())
    assert seen.pop("connection_made") == "spawn"
    assert seen["pipe_data_received"] == seen["pipe_connection_lost"] == "spawn"


# -- many, and others who wait ---------------------------------------------------------


def test_two_hundred_at_once(loop):
    async def main():
        codes = await asyncio.gather(
            *[output("sh", "-c", f"echo {n}; exit {n}") for n in range(200)]
        )
        assert codes == [(n, b"%d\n" % n) for n in range(200)]

    run(loop, main())


@pytest.mark.parametrize("how", ["signal", "loop"])
def test_the_user_handles_sigchld(loop, how):
    seen = []
    former = signal.getsignal(signal.SIGCHLD)
    if how == "signal":
        signal.signal(signal.SIGCHLD, lambda *args: seen.append(1))
    else:
        loop.add_signal_handler(signal.SIGCHLD, seen.append, 1)
    try:

        async def main():
            return await asyncio.gather(
                *[output("sh", "-c", f"exit {n}") for n in range(30)]
            )

        assert run(loop, main()) == [(n, b"") for n in range(30)]
        assert seen
    finally:
        if how == "loop":
            loop.remove_signal_handler(signal.SIGCHLD)
        signal.signal(signal.SIGCHLD, former)


def steal(pid):
    """Waits for any child until pid's end was seen; False when its owner was faster."""
    while True:
        found, _ = os.waitpid(-1, os.WNOHANG)
        if found == pid:
            return True
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:
            return False


def test_a_thief_takes_the_status_only(loop, impl):
    """Somebody waits for any child: its end is still heard of."""

    async def main():
        first, second = [
            await asyncio.create_subprocess_exec("sleep", "100") for _ in range(2)
        ]
        os.kill(first.pid, signal.SIGKILL)
        stolen = steal(first.pid)
        if impl.is_cloop:
            assert stolen
            first.send_signal(signal.SIGTERM)
        assert await first.wait() == (255 if stolen else -signal.SIGKILL)
        second.kill()
        assert await second.wait() == -signal.SIGKILL

    run(loop, main())


def test_sigchld_is_ignored(impl):
    """The kernel reaps; the status is lost, the end is not."""
    stock_fault(impl, True, "it cannot open a pidfd when the child was faster")
    done = run_program(
        impl,
        """
        import logging
        logging.disable(logging.CRITICAL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        async def main():
            child = await asyncio.create_subprocess_exec('true')
            print(await asyncio.wait_for(child.wait(), 20))
        loop = new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        """,
    )
    assert done.stdout in ("255\n", "0\n")


def test_children_of_others_are_left_alone(loop):
    popen = subprocess.Popen(["sh", "-c", "exit 7"])

    async def main():
        for _ in range(5):
            assert await output("true") == (0, b"")

    run(loop, main())
    assert popen.wait() == 7


def test_a_signal_never_goes_to_a_recycled_number(loop, impl, monkeypatch):
    cloop_only(impl, "stock asks the number")

    async def main():
        child = await asyncio.create_subprocess_exec("sleep", "100")
        kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)  # the number is free now
        child.send_signal(signal.SIGKILL)
        child.kill()
        await child.wait()

    kill = os.kill
    monkeypatch.setattr(os, "kill", None)
    run(loop, main())


def test_popen_was_asked_first(loop, impl):
    """poll() on the Popen object reaps; the right code arrives all the same."""

    async def main():
        child = await asyncio.create_subprocess_shell("exit 9")
        popen = child._transport.get_extra_info("subprocess")
        end = time.monotonic() + 20
        while popen.poll() is None and time.monotonic() < end:
            time.sleep(0.001)  # blocks the loop
        assert await child.wait() in (9, 255)
        return child.returncode

    assert run(loop, main()) == 9 or not impl.is_cloop


def test_a_child_that_cannot_be_waited_for(impl, loop, reports, monkeypatch):
    """It is reported once: what says that it has ended would say so for ever."""
    stock_fault(impl, sys.version_info < (3, 14, 10), "it leaves the pidfd open")

    def refuse(pid, options):
        raise PermissionError("no waiting here")

    async def main():
        child = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        with monkeypatch.context() as patch:
            patch.setattr(os, "waitpid", refuse)
            child.stdin.close()
            while not reports:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
        os.waitpid(child.pid, 0)
        child._transport._process_exited(0)
        return await child.wait()

    assert run(loop, main()) == 0
    assert [str(report["exception"]) for report in reports] == ["no waiting here"]


def test_an_interrupt_while_the_child_is_waited_for(impl, loop, monkeypatch):
    """The loop goes on afterwards, and still hears of the child's end."""
    stock_fault(impl, True, "it forgets the child, or waits in a thread")

    def interrupt(pid, options):
        patch.undo()
        raise KeyboardInterrupt

    child = run(loop, asyncio.create_subprocess_exec("cat", stdin=PIPE))
    patch = pytest.MonkeyPatch()
    patch.setattr(os, "waitpid", interrupt)
    child.stdin.close()
    with pytest.raises(KeyboardInterrupt):
        run(loop, asyncio.sleep(60))
    assert run(loop, child.wait()) == 0


# -- without pidfds --------------------------------------------------------------------


@pytest.fixture
def no_pidfd(impl, monkeypatch):
    cloop_only(impl, "it is about our own fallback")
    import cloop._cloop

    monkeypatch.setattr(cloop._cloop, "_pidfd_open", lambda pid: None)


def test_fallback(loop, no_pidfd, children):
    async def main():
        codes = await asyncio.gather(
            *[output("sh", "-c", f"exit {n}") for n in range(50)]
        )
        assert codes == [(n, b"") for n in range(50)]
        child = await asyncio.create_subprocess_exec("sleep", "100")
        child.terminate()
        assert await child.wait() == -signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            child.kill()

    other = subprocess.Popen(["sh", "-c", "exit 7"])
    run(loop, main())
    assert other.wait() == 7
    assert all(map(is_reaped, children))


def test_fallback_with_a_thief(loop, no_pidfd, caplog):
    async def main():
        child = await asyncio.create_subprocess_exec("sleep", "100")
        os.kill(child.pid, signal.SIGKILL)
        assert os.waitpid(child.pid, 0) == (child.pid, signal.SIGKILL)
        assert await child.wait() == 255

    run(loop, main())
    assert "Unknown child process" in caplog.text


def test_fallback_on_a_closed_loop(impl, no_pidfd, new_loop, children, caplog):
    loop = new_loop()
    child = run(loop, asyncio.create_subprocess_exec("sleep", "100"))
    loop.close()
    child._transport.close()
    for thread in threading.enumerate():
        if thread.name.startswith("cloop-waitpid"):
            thread.join(20)
    assert is_reaped(children[0])
    assert "is closed" in caplog.text


def test_fallback_without_threads(loop, no_pidfd, monkeypatch, children):
    """The child does not outlive a failure to watch it."""

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start"):
        run(loop, asyncio.create_subprocess_exec("sleep", "100", stdout=PIPE))
    turn(loop, 3)
    assert len(children) == 1 and is_reaped(children[0])


def test_pipes_are_connected_by_the_programs_own_method(loop, monkeypatch):
    calls = []

    def wrap(name):
        method = getattr(loop, name)

        async def connect(factory, pipe):
            calls.append(name)
            return await method(factory, pipe)

        monkeypatch.setattr(loop, name, connect, raising=False)

    wrap("connect_read_pipe")
    wrap("connect_write_pipe")

    async def main():
        child = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        return await child.communicate(b"through the pipes")

    assert run(loop, main()) == (b"through the pipes", None)
    assert calls == ["connect_write_pipe", "connect_read_pipe"]


# -- failures and cancellation ---------------------------------------------------------


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
def test_a_pipe_that_the_program_does_not_connect(
    loop, impl, monkeypatch, children, error
):
    before = sys.version_info < (3, 13, 10)
    stock_fault(impl, before, "it waits for the pipe (gh-103847)")

    async def connect(factory, pipe):
        pipe.close()
        raise error

    monkeypatch.setattr(loop, "connect_read_pipe", connect, raising=False)

    async def main():
        with pytest.raises(error):
            await asyncio.create_subprocess_exec("sleep", "100", stdout=PIPE)

    loop.run_until_complete(main())
    turn(loop, 3)
    assert len(children) == 1 and children[0].returncode == -signal.SIGKILL


@pytest.mark.parametrize("where", ["pidfd", "pipe", "task", "reader"])
def test_a_spawn_that_fails_midway(loop, impl, monkeypatch, children, where):
    cloop_only(impl, "stock leaves a zombie")
    import cloop._cloop

    def fail(*args, **kwargs):
        for argument in args:
            if asyncio.iscoroutine(argument):
                argument.close()
        raise ZeroDivisionError

    async def main():
        if where == "pidfd":
            monkeypatch.setattr(cloop._cloop, "_pidfd_open", fail)
        elif where == "pipe":
            monkeypatch.setattr(loop, "_make_read_pipe_transport", fail)
        elif where == "task":
            loop.set_task_factory(fail)
        else:
            monkeypatch.setattr(loop, "add_reader", fail)
        with pytest.raises(ZeroDivisionError):
            await loop.subprocess_exec(lambda: Recorder(loop), "sleep", "100")
        loop.set_task_factory(None)
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())
    turn(loop, 3)
    assert len(children) == 1 and is_reaped(children[0])
    gc.collect()


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("script", ["sleep 100", "sleep 101 & wait"])
def test_a_cancelled_spawn_leaves_no_child(loop, impl, children, turns, script):
    """At whatever point; though a grandchild keeps the pipes open."""
    stock_fault(impl, "wait" in script, "it waits until the pipes are closed")

    async def main():
        task = asyncio.ensure_future(
            asyncio.create_subprocess_shell(
                "exec " + script if "wait" not in script else script,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                start_new_session=True,
            )
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            child = await task
        except asyncio.CancelledError:
            return
        child.kill()
        child._transport.close()
        await child.wait()

    try:
        run(loop, main(), 20)
        turn(loop, 3)
        assert all(map(is_reaped, children))
    finally:
        for child in children:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def test_all_tasks_are_cancelled_during_the_spawn(impl, children, no_fd_leak):
    """As asyncio.run() does at its end."""
    stock_fault(impl, True, "its task that connects pipes must not be cancelled")

    async def spawn():
        await asyncio.create_subprocess_exec("sleep", "100", stdin=PIPE, stdout=PIPE)

    async def main():
        asyncio.ensure_future(spawn())
        await asyncio.sleep(0)

    impl.run(main())
    assert len(children) == 1 and is_reaped(children[0])


def test_wait_is_cancelled(loop, children):
    async def main():
        child = await asyncio.create_subprocess_exec("sleep", "100")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(child.wait(), 0.01)
        child.kill()
        assert await child.wait() == -signal.SIGKILL

    run(loop, main())


# -- the end of the loop ---------------------------------------------------------------


def test_the_loop_is_closed_while_a_child_runs(impl, children, no_fd_leak, recwarn):
    cloop_only(impl, "stock's close() fails, up to 3.12")
    loop = impl.new_event_loop()
    child = run(loop, loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "100"))
    loop.close()
    child[0].close()
    assert children[0].wait() == -signal.SIGKILL
    del child
    gc.collect()


def test_nothing_is_printed_at_exit(impl):
    done = run_program(
        impl,
        """
        async def main():
            child = await asyncio.create_subprocess_exec('sleep', '0.1', stdout=-1)
            await child.communicate()
            child = await asyncio.create_subprocess_exec('true')
            await child.wait()
        loop = new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        """,
        options=["-X", "dev"],
    )
    assert done.stderr == ""


# -- child watchers (up to 3.13) -------------------------------------------------------


@pytest.mark.skipif(PY >= (3, 14), reason="no child watchers")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["FastChildWatcher", "SafeChildWatcher"])
def test_a_watcher_that_was_set_is_used(loop, name):
    watcher = getattr(asyncio, name)()
    watcher.attach_loop(loop)
    asyncio.set_child_watcher(watcher)
    try:

        async def main():
            codes = await asyncio.gather(
                *[output("sh", "-c", f"exit {n}") for n in range(20)]
            )
            assert codes == [(n, b"") for n in range(20)]
            child = await asyncio.create_subprocess_exec("sleep", "100")
            child.terminate()
            assert await child.wait() == -signal.SIGTERM

        run(loop, main())
    finally:
        asyncio.set_child_watcher(None)
        watcher.close()


@pytest.mark.skipif(PY >= (3, 14), reason="no child watchers")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_watcher_that_is_not_active_is_refused(loop):
    watcher = asyncio.SafeChildWatcher()
    asyncio.set_child_watcher(watcher)
    try:
        with pytest.raises(RuntimeError, match="is not activated"):
            run(loop, asyncio.create_subprocess_exec("true"))
    finally:
        asyncio.set_child_watcher(None)
        watcher.close()


# -- debug mode, subinterpreters -------------------------------------------------------


def test_debug_mode(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 100
    with caplog.at_level(logging.DEBUG, "asyncio"):
        run(loop, output("sh", "-c", "exit 3"))
        child = run(loop, asyncio.create_subprocess_exec("sleep", "100"))
        child._transport.close()
        run(loop, child.wait())
    text = caplog.text
    for wanted in (
        "execute program 'sh'",
        "process 'sh' created: pid ",
        "exited with return code 3",
        "Close running child process: kill ",
    ):
        assert wanted in text


def test_beside_subinterpreters(impl):
    done = run_program(
        impl,
        """
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            import _interpreters as interpreters
        one = interpreters.create()
        interpreters.run_string(one, 'import os')
        async def main():
            child = await asyncio.create_subprocess_shell('echo 1; exit 4', stdout=-1)
            print(await child.communicate(), child.returncode)
        loop = new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        interpreters.destroy(one)
        """,
    )
    assert done.stdout == "(b'1\\n', None) 4\n"
