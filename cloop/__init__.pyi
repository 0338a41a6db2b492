import asyncio
import sys
from typing import Any, Callable, Coroutine, TypeVar

from . import _cloop
from . import legacy as legacy
from ._cloop import Future as Future
from ._cloop import Handle as Handle
from ._cloop import Task as Task
from ._cloop import TimerHandle as TimerHandle

_T = TypeVar("_T")

__version__: str

class Loop(_cloop.Loop, asyncio.AbstractEventLoop): ...  # type: ignore[misc]

if sys.version_info < (3, 16):
    class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
        def get_event_loop(self) -> asyncio.AbstractEventLoop: ...
        def new_event_loop(self) -> Loop: ...

def new_event_loop() -> Loop: ...
def tls_backend() -> str: ...
def install() -> None: ...
def run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> _T: ...
