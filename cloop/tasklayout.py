"""Where asyncio.Task keeps what debuggers read, from Python 3.14 on.

`python -m asyncio ps PID` finds coroutine and name of another process's tasks in fields
of asyncio.Task's C struct, whose place differs between versions and builds. Once per
process a task of stock's is made and looked at; cloop's tasks then fill in the same
fields. When the struct is not understood they stay empty, and only such tools notice.
"""

import _asyncio

from . import _cloop

__all__ = ("learn_task_layout",)


class _Nowhere:
    """As much of a loop as it takes to make a task that never runs."""

    def get_debug(self):
        return False

    def call_soon(self, callback, *args, context):
        pass


async def _nothing():
    pass


def learn_task_layout():
    loop = _Nowhere()
    coro = _nothing()
    coro.close()
    name = "cloop's look at the layout"
    task = _asyncio.Task(coro, loop=loop, name=name)
    task._log_destroy_pending = False
    future = _asyncio.Future(loop=loop)
    return _cloop._learn_task_layout(task, future, coro, name)
