"""The Loop class: the C loop, and the parts that are Python because they run once
per loop, query or report and not once per event.

Each part is a mixin in a module of its own, named for its job. The mixins keep no
state of their own at creation: what they need is a class attribute until somebody
sets it, so that making a loop costs nothing here.
"""
import asyncio
import warnings

from . import _cloop
from .absent import Absent
from .asyncgens import AsyncGens
from .executor import Executor
from .report import Report
from .resolve import Resolve

__all__ = ("Loop", "new_event_loop")


class Loop(Executor, AsyncGens, Report, Resolve, _cloop.Loop, Absent,
           asyncio.AbstractEventLoop):
    """Loop()

    An asyncio event loop written in C.

    Belongs to the thread that runs it: only call_soon_threadsafe and stop's wish to
    be called through it cross threads. See the asyncio documentation, section "Event
    Loop Methods".
    """

    def close(self):
        """close()

        Close the loop; what is still queued is dropped and the default executor is
        told to end without being waited for. A second close does nothing.
        RuntimeError while the loop runs. See the asyncio documentation, section
        "Running and stopping the loop".
        """
        super().close()
        executor = self._default_executor
        if executor is not None:
            self._default_executor = None
            executor.shutdown(wait=False)

    def __del__(self, _warn=warnings.warn):
        if not self.is_closed():
            _warn(f"unclosed event loop {self!r}", ResourceWarning, source=self)
            if not self.is_running():
                self.close()


Loop.__module__ = "cloop"


def new_event_loop():
    """new_event_loop()

    A new cloop.Loop. It is not made the current one: asyncio.set_event_loop does that.
    """
    return Loop()
