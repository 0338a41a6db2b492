"""Signal handlers of the loop: add_signal_handler() and remove_signal_handler().

CPython's C handler writes the number of each signal into a pipe (its "wakeup fd") that
the loop watches; the user's callback then runs from the ready ring. The pipe is made
with the first handler and goes with the last; the wakeup fd that was there before is
put back, unless somebody else has set one meanwhile. Main thread only, as on stock.

A burst may fill the pipe, and then bytes are lost. The Python-level handler therefore
notes each kind of signal too: after a full pipe every kind noted is served at least
once.
"""

import errno
import os
import signal
import sys
import types
import warnings
from asyncio import coroutines
from asyncio.log import logger

from ._cloop import Handle

__all__ = ("SignalMixin",)

# asyncio's own test, where the public one warns (3.14 on).
_iscoroutinefunction = getattr(
    coroutines, "_iscoroutinefunction", coroutines.iscoroutinefunction
)
_PIPE_CAPACITY = 65536  # Linux's default; more than this cannot have waited unseen

_noted = set()  # kinds of signal since the pipe was last read


def _note_signal(signum, frame):
    _noted.add(signum)


class SignalMixin:
    """The part of cloop.Loop that handles signals."""

    _signal_handlers = types.MappingProxyType({})  # a dict from the first handler on
    _signal_pipe = None  # (read fd, write fd)
    _former_wakeup_fd = -1

    def add_signal_handler(self, sig, callback, *args):
        """Call callback(*args) in the loop whenever the signal `sig` arrives.

        Raises ValueError for an invalid signal number, RuntimeError when the signal
        cannot be caught or this is not the main thread, TypeError for a coroutine
        function. See the asyncio documentation, section "Unix signals".
        """
        if coroutines.iscoroutine(callback) or _iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        self._take_wakeup_fd()
        if not self._signal_handlers:
            self._signal_handlers = {}
        self._signal_handlers[sig] = Handle(callback, args, self, None)
        try:
            signal.signal(sig, _note_signal)
            signal.siginterrupt(sig, False)
        except OSError as exc:
            del self._signal_handlers[sig]
            if not self._signal_handlers:
                self._give_back_wakeup_fd()
            if exc.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught")
            raise

    def remove_signal_handler(self, sig):
        """Put back the default action of `sig`; True when there was a handler.

        See the asyncio documentation, section "Unix signals".
        """
        self._check_signal(sig)
        if sig not in self._signal_handlers:
            return False
        del self._signal_handlers[sig]
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught")
            raise
        if not self._signal_handlers:
            self._give_back_wakeup_fd()
        return True

    def _check_signal(self, sig):
        if not isinstance(sig, int):
            raise TypeError(f"sig must be an int, not {sig!r}")
        if sig not in signal.valid_signals():
            raise ValueError(f"invalid signal number {sig}")

    def _close_signals(self):
        """Remove all handlers; the loop is about to close."""
        if not self._signal_handlers:
            return
        if sys.is_finalizing():
            warnings.warn(
                f"Closing the loop {self!r} on interpreter shutdown stage, "
                "skipping signal handlers removal",
                ResourceWarning,
                source=self,
            )
            self._signal_handlers.clear()
            return
        for sig in list(self._signal_handlers):
            self.remove_signal_handler(sig)

    def _take_wakeup_fd(self):
        pipe = self._signal_pipe
        if pipe is None:
            pipe = os.pipe()
            os.set_blocking(pipe[0], False)
            os.set_blocking(pipe[1], False)
        try:
            former = signal.set_wakeup_fd(pipe[1], warn_on_full_buffer=False)
        except (ValueError, OSError) as exc:
            if self._signal_pipe is None:
                os.close(pipe[0])
                os.close(pipe[1])
            raise RuntimeError(str(exc))
        if former != pipe[1]:
            self._former_wakeup_fd = former
        if self._signal_pipe is None:
            self._signal_pipe = pipe
            try:
                self.add_reader(pipe[0], self._read_signals)
            except BaseException:
                self._give_back_wakeup_fd()
                raise

    def _give_back_wakeup_fd(self):
        read_fd, write_fd = self._signal_pipe
        try:
            current = signal.set_wakeup_fd(-1)
            mine = current == write_fd
            restored = self._former_wakeup_fd if mine else current
            if restored != -1:
                signal.set_wakeup_fd(restored)
        except (ValueError, OSError) as exc:
            logger.info("set_wakeup_fd(-1) failed: %s", exc)
        self._former_wakeup_fd = -1
        self._signal_pipe = None
        if not self.is_closed():
            self.remove_reader(read_fd)
        os.close(read_fd)
        os.close(write_fd)

    def _read_signals(self):
        pipe = self._signal_pipe
        total = 0
        while pipe is not None and pipe is self._signal_pipe:
            try:
                data = os.read(pipe[0], _PIPE_CAPACITY)
            except (InterruptedError, BlockingIOError):
                break
            total += len(data)
            for signum in data:
                self._handle_signal(signum)
            if len(data) < _PIPE_CAPACITY:
                break
        if total >= _PIPE_CAPACITY:
            for signum in sorted(_noted):
                self._handle_signal(signum)
        _noted.clear()

    def _handle_signal(self, sig):
        handle = self._signal_handlers.get(sig)
        if handle is None:
            return
        if handle.cancelled():
            self.remove_signal_handler(sig)
        else:
            self._add_callback(handle)
