"""The Loop class: the C loop, and the parts that are Python because they run once
per loop, query or report and not once per event.

Each part is a mixin in a module of its own, named for its job. The mixins keep no
state of their own at creation: what they need is a class attribute until somebody
sets it, so that making a loop costs nothing here.
"""

import asyncio
import os
import sys
import warnings
from asyncio.log import logger

from . import _cloop
from .asyncgens import AsyncgenMixin
from .connect import ConnectMixin
from .datagram import DatagramMixin
from .executor import ExecutorMixin
from .pipes import PipeMixin
from .process import ProcessMixin
from .report import ReportMixin
from .resolve import ResolveMixin
from .sendfile import SendfileMixin
from .serve import ServeMixin
from .signals import SignalMixin
from .tls import TLSMixin

if sys.version_info >= (3, 14):
    from .tasklayout import learn_task_layout

    learn_task_layout()

__all__ = ("Loop", "new_event_loop")


class Loop(
    ExecutorMixin,
    AsyncgenMixin,
    ConnectMixin,
    ServeMixin,
    DatagramMixin,
    PipeMixin,
    ProcessMixin,
    TLSMixin,
    ReportMixin,
    ResolveMixin,
    SendfileMixin,
    SignalMixin,
    _cloop.Loop,
    asyncio.AbstractEventLoop,
):
    """An asyncio event loop written in C.

    It belongs to the thread that runs it; of its methods only call_soon_threadsafe may
    be called from another. See the asyncio documentation, section "Event Loop Methods".
    """

    def close(self):
        """Close the loop; what is still queued is dropped and the default executor is
        told to end without being waited for. A second close does nothing.
        RuntimeError while the loop runs. See the asyncio documentation, section
        "Running and stopping the loop".
        """
        if self._debug and not self.is_closed() and not self.is_running():
            logger.debug("Close %r", self)
        super().close()
        if self._signal_handlers:
            self._close_signals()
        executor = self._default_executor
        if executor is not None:
            self._default_executor = None
            executor.shutdown(wait=False)

    @property
    def _nest_patched(self):
        """Absent, but for nest_asyncio and its successor nest_asyncio2, which look for
        it before they patch a loop: they would refuse this one with no word about what
        to do instead.
        """
        who = sys._getframe(1).f_globals.get("__name__")
        if who in ("nest_asyncio", "nest_asyncio2"):
            raise RuntimeError(
                f"{who} cannot patch a cloop loop. Await the inner coroutine, or "
                "run it on a loop in another thread with "
                "asyncio.run_coroutine_threadsafe(), or use stock asyncio's loop"
            )
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute '_nest_patched'"
        )

    def __del__(self, _warn=warnings.warn):
        if not self.is_closed():
            _warn(f"unclosed event loop {self!r}", ResourceWarning, source=self)
            if not self.is_running():
                self.close()


Loop.__module__ = "cloop"


def _before_fork():
    """What was written before os.fork() leaves now, and not from both processes."""
    loop = asyncio._get_running_loop()
    if isinstance(loop, Loop):
        loop._flush_writes()


os.register_at_fork(before=_before_fork)


def new_event_loop():
    """A new cloop.Loop, which is not made the current one."""
    return Loop()
