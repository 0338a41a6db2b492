"""run_in_executor and the default executor.

A call's outcome and its cancellation go through two partial objects that lead one way
each (stock's chained closures do the same), so that nothing is left for the garbage
collector once the call is done: a concurrent future keeps its callbacks for good.
"""

import asyncio
import concurrent.futures
import sys
import threading
import warnings
from asyncio import futures
from functools import partial

_PoolFuture = concurrent.futures.Future
_copy_state = futures._copy_future_state
_settle = futures._set_result_unless_cancelled
# 3.8 neither names the threads nor refuses work after a shutdown it does not have.
_PREFIX = {"thread_name_prefix": "asyncio"} if sys.version_info >= (3, 9) else {}


def _finished(loop, target, source):
    """Brings the outcome of a call to the loop. On the worker's thread, or on that of
    whoever cancelled it."""
    if loop.is_closed():
        return
    try:
        loop.call_soon_threadsafe(_copy_state, source, target)
    except RuntimeError:
        if not loop.is_closed():  # else it closed since we asked
            raise


def _settled(source, target):
    """Takes a cancellation of the loop's future to the call. On the loop's thread."""
    if target.cancelled():
        source.cancel()


class ExecutorMixin:
    __slots__ = ()

    _default_executor = None
    _executor_shutdown_called = False

    def _check_default_executor(self):
        if self._executor_shutdown_called:
            raise RuntimeError("Executor shutdown has been called")

    def run_in_executor(self, executor, func, *args):
        """Call func(*args) in an executor, None being the loop's own pool of threads.
        Returns a future. Cancelling it cancels the call if that has not begun. See
        the asyncio documentation, section "Executing code in thread or process
        pools".
        """
        self._check_closed()
        if self.get_debug():
            self._check_callback(func, "run_in_executor")
        if executor is None:
            executor = self._default_executor
            self._check_default_executor()
            if executor is None:
                executor = concurrent.futures.ThreadPoolExecutor(**_PREFIX)
                self._default_executor = executor
        source = executor.submit(func, *args)
        if type(source) is not _PoolFuture:
            return futures.wrap_future(source, loop=self)
        target = self.create_future()
        target.add_done_callback(partial(_settled, source))
        source.add_done_callback(partial(_finished, self, target))
        return target

    def set_default_executor(self, executor):
        """Make a ThreadPoolExecutor the one that run_in_executor(None) uses.

        See the asyncio documentation, section "Executing code in thread or process
        pools".
        """
        if not isinstance(executor, concurrent.futures.ThreadPoolExecutor):
            if sys.version_info >= (3, 11):
                raise TypeError("executor must be ThreadPoolExecutor instance")
            warnings.warn(
                "Using the default executor that is not an instance of "
                "ThreadPoolExecutor is deprecated and will be prohibited "
                "in Python 3.9",
                DeprecationWarning,
                2,
            )
        self._default_executor = executor

    def _start_executor_shutdown(self):
        """The thread that waits for the default executor, and a future of its end."""
        future = self.create_future()
        thread = threading.Thread(target=self._do_shutdown, args=(future,))
        thread.start()
        return thread, future

    def _do_shutdown(self, future):
        try:
            self._default_executor.shutdown(wait=True)
            if not self.is_closed():
                self.call_soon_threadsafe(_settle, future, None)
        except Exception as exc:
            if not self.is_closed() and not future.cancelled():
                self.call_soon_threadsafe(future.set_exception, exc)

    if sys.version_info >= (3, 12):

        async def shutdown_default_executor(self, timeout=None):
            """Wait until the threads of the default executor have ended, for at most
            timeout seconds; threads that then still run are left alone with a
            RuntimeWarning. See the asyncio documentation, section "Running and
            stopping the loop".
            """
            self._executor_shutdown_called = True
            if self._default_executor is None:
                return
            thread, future = self._start_executor_shutdown()
            try:
                async with asyncio.timeout(timeout):
                    await future
            except TimeoutError:
                warnings.warn(
                    "The executor did not finishing joining "
                    f"its threads within {timeout} seconds.",
                    RuntimeWarning,
                    stacklevel=2,
                )
                self._default_executor.shutdown(wait=False)
            else:
                thread.join()
    else:

        async def shutdown_default_executor(self):
            """Wait until the threads of the default executor have ended.

            See the asyncio documentation, section "Running and stopping the loop".
            """
            self._executor_shutdown_called = True
            if self._default_executor is None:
                return
            thread, future = self._start_executor_shutdown()
            try:
                await future
            finally:
                thread.join()
