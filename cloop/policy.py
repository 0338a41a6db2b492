"""EventLoopPolicy: the running Python's own policy, making cloop's loops.

Imported only when somebody asks for cloop.EventLoopPolicy. On a Python without
policies the import raises ImportError and cloop says what to use instead.

Up to 3.13 asyncio.get_event_loop() in the main thread makes a loop when there is none,
and stock's policy class is inherited as it is, its child watchers and warnings too. On
3.14 stock's raises instead; this one still makes a loop, with the warning of 3.12 and
3.13: who chooses a policy by hand has a program that was written for that.
"""

import sys
import threading
import warnings
from asyncio import unix_events

from .loop import Loop

try:
    # The public name warns on 3.14.
    _Base = unix_events._UnixDefaultEventLoopPolicy
except AttributeError:
    raise ImportError("this Python has no event loop policies") from None


def _asyncio_frames():
    """How many frames of asyncio lie between the caller's caller and the user's."""
    count = 0
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__") or ""
        if name != "asyncio" and not name.startswith("asyncio."):
            break
        count += 1
        frame = frame.f_back
    return count


class EventLoopPolicy(_Base):
    """An event loop policy whose loops are cloop's. See the asyncio documentation,
    section "Policies".
    """

    _loop_factory = Loop

    if sys.version_info >= (3, 14):

        def get_event_loop(self):
            """The current thread's loop; the main thread is given one if need be."""
            if (
                "_loop" not in vars(self._local)  # never set, not even to None
                and threading.current_thread() is threading.main_thread()
            ):
                warnings.warn(
                    "There is no current event loop",
                    DeprecationWarning,
                    stacklevel=2 + _asyncio_frames(),
                )
                self.set_event_loop(self.new_event_loop())
            return super().get_event_loop()


EventLoopPolicy.__module__ = "cloop"
