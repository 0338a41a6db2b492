"""Asynchronous generators of a loop: which ones it has started, and their end.

run_forever (in C) installs the two hooks for as long as it runs.
"""

import asyncio
import sys
import warnings
import weakref

if sys.version_info >= (3, 10):

    def _gather(loop, awaitables):
        return asyncio.gather(*awaitables, return_exceptions=True)
else:
    # There the public gather() warns about a loop; without one it asks the policy.
    _stock_gather = getattr(asyncio.tasks, "_gather", asyncio.gather)

    def _gather(loop, awaitables):
        return _stock_gather(*awaitables, return_exceptions=True, loop=loop)


class AsyncgenMixin:
    __slots__ = ()

    _asyncgens = None  # a WeakSet from the first generator on
    _asyncgens_shutdown_called = False

    def _asyncgen_firstiter_hook(self, agen):
        if self._asyncgens_shutdown_called:
            warnings.warn(
                f"asynchronous generator {agen!r} was scheduled after "
                f"loop.shutdown_asyncgens() call",
                ResourceWarning,
                stacklevel=1,
                source=self,
            )
        if self._asyncgens is None:
            self._asyncgens = weakref.WeakSet()
        self._asyncgens.add(agen)

    def _asyncgen_finalizer_hook(self, agen):
        # May run on any thread: wherever the last reference went.
        if self._asyncgens is not None:
            self._asyncgens.discard(agen)
        if not self.is_closed():
            self.call_soon_threadsafe(self.create_task, agen.aclose())

    async def shutdown_asyncgens(self):
        """Close every asynchronous generator that was started on this loop and still
        lives. An error of one is reported to the exception handler and does not keep
        the others open. See the asyncio documentation, section "Running and stopping
        the loop".
        """
        self._asyncgens_shutdown_called = True
        if not self._asyncgens:
            return
        closing = list(self._asyncgens)
        self._asyncgens.clear()
        results = await _gather(self, [agen.aclose() for agen in closing])
        for agen, result in zip(closing, results):
            if isinstance(result, Exception):
                self.call_exception_handler(
                    {
                        "message": f"an error occurred during closing of "
                        f"asynchronous generator {agen!r}",
                        "exception": result,
                        "asyncgen": agen,
                    }
                )
