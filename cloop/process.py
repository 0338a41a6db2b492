"""Child processes: subprocess_exec(), subprocess_shell() and who waits for the child.

The transport is asyncio's own (its pipes are ours, by connect_read_pipe and
connect_write_pipe), and so are the argument checks of the running version; what differs
is how the end of a child is learned. Where the kernel has pidfds the loop watches one:
no thread, no SIGCHLD handler, nobody else's children touched. Elsewhere a thread waits
for exactly this child. asyncio's child watchers are not consulted.
"""

import os
import signal
import threading
from asyncio import base_events, unix_events
from asyncio.log import logger

__all__ = ("ProcessMixin",)

_UNKNOWN_RETURNCODE = 255  # stock's, for a child that somebody else has waited for


def _open_pidfd(pid):
    """A descriptor that becomes readable when the child ends, or None."""
    try:
        return os.pidfd_open(pid)
    except (
        AttributeError,
        OSError,
    ):  # Python 3.8; an old kernel, or no descriptor left
        return None


def _returncode(status):
    """The return code of a wait status, negative for a signal."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _wait(proc, blocking):
    """Reap the child of the Popen `proc`; its return code, or None while it runs."""
    while True:
        try:
            pid, status = os.waitpid(proc.pid, 0 if blocking else os.WNOHANG)
        except InterruptedError:
            continue
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


class SubprocessTransport(unix_events._UnixSubprocessTransport):
    """asyncio's subprocess transport; signals go to this very child or to nobody."""

    _pidfd = None

    def _watch(self):
        """Learn of the end of the child, which has just been started."""
        self._pidfd = _open_pidfd(self._pid)
        if self._pidfd is not None:
            self._loop.add_reader(self._pidfd, self._on_pidfd)
        else:
            threading.Thread(
                target=_wait_in_thread,
                args=(self._loop, self),
                name=f"cloop-waitpid-{self._pid}",
                daemon=True,
            ).start()

    def _on_pidfd(self):
        returncode = _wait(self._proc, blocking=False)
        if returncode is not None:
            self._close_pidfd()
            self._process_exited(returncode)

    def _close_pidfd(self):
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(pidfd)
            os.close(pidfd)

    def send_signal(self, signum):
        self._check_proc()
        if self._returncode is not None or self._proc.returncode is not None:
            return  # reaped: the number may be another process's by now
        try:
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signum)
            else:
                os.kill(self._pid, signum)
        except ProcessLookupError:
            pass

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def __del__(self):
        super().__del__()
        if self._pidfd is not None:
            self._close_pidfd()


def _wait_in_thread(loop, transport):
    returncode = _wait(transport._proc, blocking=True)
    try:
        loop.call_soon_threadsafe(transport._process_exited, returncode)
    except RuntimeError:
        logger.warning("Loop %r that handles pid %r is closed", loop, transport._pid)


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
        transport._watch()
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport
