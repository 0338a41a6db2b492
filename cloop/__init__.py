"""cloop: an asyncio event loop written in C.

cloop.run(main())                                      one coroutine
asyncio.Runner(loop_factory=cloop.new_event_loop)      3.11 on
cloop.install()                                        the whole process
asyncio.set_event_loop_policy(cloop.EventLoopPolicy()) the same, by policy
python -m cloop program.py                             an unchanged program
"""

from asyncio import unix_events

try:
    from ._cloop import Future, Handle, Task, TimerHandle
except ModuleNotFoundError as exc:
    if exc.name != __name__ + "._cloop":
        raise
    # Started in a clone into which nothing was built: this folder comes first on
    # sys.path then, and the extension lies with the installed package.
    from pkgutil import extend_path

    __path__ = extend_path(__path__, __name__)
    from ._cloop import Future, Handle, Task, TimerHandle

from ._version import __version__ as __version__
from .loop import Loop, new_event_loop
from .run import install, run
from .tls import tls_backend

__all__ = [
    "EventLoopPolicy",
    "Future",
    "Handle",
    "Loop",
    "Task",
    "TimerHandle",
    "install",
    "legacy",
    "new_event_loop",
    "run",
    "tls_backend",
]
if not hasattr(unix_events, "_UnixDefaultEventLoopPolicy"):  # 3.16 on
    __all__.remove("EventLoopPolicy")


def __getattr__(name):
    if name == "legacy":
        from importlib import import_module

        return import_module(".legacy", __name__)
    if name == "EventLoopPolicy":
        try:
            from .policy import EventLoopPolicy
        except ImportError as exc:
            raise AttributeError(
                f"{exc}: use cloop.run(), cloop.install() or "
                "asyncio.Runner(loop_factory=cloop.new_event_loop)"
            ) from None
        globals()[name] = EventLoopPolicy
        return EventLoopPolicy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__} - {"unix_events"})
