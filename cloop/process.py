"""Child processes: subprocess_exec(), subprocess_shell() and who waits for the child.

The transport is asyncio's own (its pipes are ours), and so are the argument checks of
the running version; what differs is how the end of a child is learned. Where the kernel
has pidfds the loop watches one: no thread, no SIGCHLD handler, nobody else's children
touched. Elsewhere a thread waits until exactly this child has ended. Either way it is
the loop's thread that reaps it, so that a signal never meets another process with the
child's number.

asyncio's child watchers (up to 3.13) are asked only when the program has set one that
does something else than its default does: such a one may reap every child there is.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from asyncio import base_events, unix_events
from asyncio.base_subprocess import ReadSubprocessPipeProto, WriteSubprocessPipeProto
from asyncio.futures import _set_result_unless_cancelled
from asyncio.log import logger

from . import _cloop

__all__ = ("ProcessMixin",)

_UNKNOWN_RETURNCODE = 255  # stock's, for a child that somebody else has waited for


def _returncode(status):
    """The return code of a wait status, negative for a signal."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _reap(proc, flags=os.WNOHANG):
    """Wait for the child of the Popen `proc`: the return code, None while it runs."""
    try:
        pid, status = os.waitpid(proc.pid, flags)
    except ChildProcessError:
        if proc.returncode is not None:  # Popen.poll() was first
            return proc.returncode
        logger.warning(
            "Unknown child process pid %d, will report returncode %d",
            proc.pid,
            _UNKNOWN_RETURNCODE,
        )
        return _UNKNOWN_RETURNCODE
    return _returncode(status) if pid else None


async def _nothing():
    pass


def _connects_pipes_itself(loop):
    """Does the program have a connect_read_pipe or connect_write_pipe of its own?"""
    return any(
        getattr(getattr(loop, name), "__func__", None)
        is not getattr(base_events.BaseEventLoop, name)
        for name in ("connect_read_pipe", "connect_write_pipe")
    )


class SubprocessTransport(unix_events._UnixSubprocessTransport):
    """asyncio's subprocess transport; signals go to this very child or to nobody."""

    _pidfd = None
    _exited = None
    # Until stock's __init__ has set them: nothing to be closed.
    _proc = None
    _closed = True

    def __init__(self, *args, **kwargs):
        try:
            super().__init__(*args, **kwargs)
        except BaseException:
            if self._proc is not None:  # started, but nobody will hear of it
                self._kill_now()
                self.close()
                for file in (self._proc.stdin, self._proc.stdout, self._proc.stderr):
                    if file is not None:
                        file.close()
            self._closed = True
            raise

    def _start(self, **kwargs):
        super()._start(**kwargs)
        self._pidfd = _cloop._pidfd_open(self._proc.pid)

    # -- the pipes ---------------------------------------------------------------------

    def _connect_pipes(self, waiter):
        """All at once, and not in the task that stock makes of what is returned: one
        that can be cancelled leaves pipes nobody closes, and a _wait() without end.
        """
        loop, proc = self._loop, self._proc
        if _connects_pipes_itself(loop):
            return self._connect_pipes_by_methods(waiter)
        for fd, file in enumerate((proc.stdin, proc.stdout, proc.stderr)):
            if file is None:
                continue
            if fd == 0:
                protocol = WriteSubprocessPipeProto(self, fd)
                protocol.pipe = loop._make_write_pipe_transport(file, protocol)
            else:
                protocol = ReadSubprocessPipeProto(self, fd)
                protocol.pipe = loop._make_read_pipe_transport(file, protocol)
            self._pipes[fd] = protocol
        self._pipes_connected = True  # 3.14 asks
        loop.call_soon(self._protocol.connection_made, self)
        self._pending_calls = None  # what is called from now on comes after that
        loop.call_soon(_set_result_unless_cancelled, waiter, None)
        return _nothing()

    async def _connect_pipes_by_methods(self, waiter):
        """Stock's way; what comes after close() is closed."""
        await super()._connect_pipes(waiter)
        if self._closed:
            for protocol in self._pipes.values():
                if protocol is not None:
                    protocol.pipe.close()

    # -- the end of the child ----------------------------------------------------------

    def _watch(self):
        """Learn of the end of the child, which has just been started."""
        if self._pidfd is not None:
            self._loop.add_reader(self._pidfd, self._on_end)
        else:
            threading.Thread(
                target=_wait_in_thread,
                args=(self._loop, self, self._proc),
                name=f"cloop-waitpid-{self._pid}",
                daemon=True,
            ).start()

    def _on_end(self):
        try:
            returncode = _reap(self._proc)
        except OSError:  # reported; the pidfd would call again at once
            self._close_pidfd()
            raise
        if returncode is not None:
            self._process_exited(returncode)

    def _process_exited(self, returncode):
        self._close_pidfd()
        super()._process_exited(returncode)
        if self._exited is not None and not self._exited.done():
            self._exited.set_result(None)

    async def _wait_for_exit(self):
        """Wait for the child alone: to 3.13.9 stock's _wait() waits for its pipes too,
        which may never have been connected.
        """
        if self._returncode is None:
            self._exited = self._loop.create_future()
            await self._exited

    def _kill_now(self):
        """Kill the child, of which nobody else will learn, and wait until it is gone;
        its return code, or None for one that may not be killed.
        """
        flags = 0
        try:
            self.kill()
        except PermissionError:
            flags = os.WNOHANG
        self._close_pidfd()
        if self._proc.returncode is None:
            self._proc.returncode = _reap(self._proc, flags)
        return self._proc.returncode

    def _close_pidfd(self):
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(pidfd)
            os.close(pidfd)

    # -- the face ----------------------------------------------------------------------

    def send_signal(self, signum):
        self._check_proc()
        if self._returncode is not None or self._proc.returncode is not None:
            return  # reaped: the number may be another process's by now
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd is not None:
                _cloop._pidfd_send_signal(self._pidfd, signum)
            else:
                os.kill(self._proc.pid, signum)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def close(self):
        if self._closed:
            return
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            for protocol in self._pipes.values():
                if protocol is not None:
                    protocol.pipe.close()
        if (
            self._proc is not None
            and self._returncode is None
            and self._proc.poll() is None
        ):
            if self._loop.get_debug():
                logger.warning("Close running child process: kill %r", self)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._proc.kill()  # which has just seen it unreaped

    def __del__(self):
        super().__del__()
        self._close_pidfd()


def _wait_in_thread(loop, transport, proc):
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, proc.pid, os.WEXITED | os.WNOWAIT)
    try:
        loop.call_soon_threadsafe(transport._on_end)
    except RuntimeError:
        logger.warning("Loop %r that handles pid %r is closed", loop, proc.pid)
        if proc.returncode is None:
            proc.returncode = _reap(proc)


def _find_watcher():
    """The child watcher to be asked, or None."""
    if sys.version_info >= (3, 14):
        return None
    watcher = getattr(asyncio.get_event_loop_policy(), "_watcher", None)
    ours = ["ThreadedChildWatcher", "PidfdChildWatcher"]
    if watcher is None or type(watcher) in [
        getattr(unix_events, name, None) for name in ours
    ]:
        return None
    return watcher


class ProcessMixin:
    """The part of cloop.Loop that starts processes."""

    subprocess_exec = base_events.BaseEventLoop.subprocess_exec
    subprocess_shell = base_events.BaseEventLoop.subprocess_shell
    _log_subprocess = base_events.BaseEventLoop._log_subprocess

    async def _make_subprocess_transport(
        self,
        protocol,
        args,
        shell,
        stdin,
        stdout,
        stderr,
        bufsize,
        extra=None,
        **kwargs,
    ):
        watcher = _find_watcher()
        with watcher if watcher is not None else contextlib.nullcontext():
            if watcher is not None and not watcher.is_active():
                raise RuntimeError(
                    "asyncio.get_child_watcher() is not activated, "
                    "subprocess support is not installed."
                )
            waiter = self.create_future()
            transport = SubprocessTransport(
                self,
                protocol,
                args,
                shell,
                stdin,
                stdout,
                stderr,
                bufsize,
                waiter=waiter,
                extra=extra,
                **kwargs,
            )
            try:
                if watcher is not None:
                    watcher.add_child_handler(
                        transport.get_pid(), self._child_watcher_callback, transport
                    )
                else:
                    transport._watch()
            except BaseException:
                returncode = transport._kill_now()
                if returncode is not None:
                    transport._process_exited(returncode)
                transport.close()
                raise
            try:
                await waiter
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                transport.close()
                await transport._wait_for_exit()
                raise
            return transport

    def _child_watcher_callback(self, pid, returncode, transport):
        self.call_soon_threadsafe(transport._process_exited, returncode)
