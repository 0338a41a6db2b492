"""Reports of errors that have no caller to go to.

The C loop, futures, tasks and transports call loop.call_exception_handler(context).
The handler that the user has set lives in C and reads as `_exception_handler`.
Messages are stock's, letter by letter: programs match on them.
"""

import sys
import traceback
from asyncio.log import logger

# 3.12 on: a custom handler runs in the context of what the report is about.
_IN_CONTEXT = sys.version_info >= (3, 12)

_TRACEBACKS = {
    "source_traceback": "Object created at (most recent call last):\n",
    "handle_traceback": "Handle created at (most recent call last):\n",
}


def _context_of(report):
    """The contextvars context of the task, future or handle of a report, or None."""
    for key in ("task", "future", "handle"):
        subject = report.get(key)
        if subject is not None:
            get_context = getattr(subject, "get_context", None)
            context = None if get_context is None else get_context()
            return context if hasattr(context, "run") else None
    return None


class ReportMixin:
    __slots__ = ()

    def default_exception_handler(self, context):
        """Log a report at level ERROR on the logger "asyncio". See the asyncio
        documentation, section "Error Handling API".
        """
        message = context.get("message") or "Unhandled exception in event loop"
        exception = context.get("exception")
        if exception is None:
            exc_info = False
        else:
            exc_info = (type(exception), exception, exception.__traceback__)
        handle = self._current_handle
        if "source_traceback" not in context and handle is not None:
            frames = handle._source_traceback
            if frames:
                context["handle_traceback"] = frames
        lines = [message]
        for key in sorted(context):
            if key == "message" or key == "exception":
                continue
            heading = _TRACEBACKS.get(key)
            if heading is None:
                text = repr(context[key])
            else:
                frames = "".join(traceback.format_list(context[key]))
                text = heading + frames.rstrip()
            lines.append(f"{key}: {text}")
        logger.error("\n".join(lines), exc_info=exc_info)

    def call_exception_handler(self, context):
        """Hand a report to the loop's exception handler, the default one when none is
        set. A handler that fails is reported itself; only SystemExit and
        KeyboardInterrupt leave here. See the asyncio documentation, section "Error
        Handling API".
        """
        handler = self._exception_handler
        if handler is None:
            self._report_by_default(context, "Exception in default exception handler")
            return
        try:
            where = _context_of(context) if _IN_CONTEXT else None
            if where is None:
                handler(self, context)
            else:
                where.run(handler, self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._report_by_default(
                {
                    "message": "Unhandled error in exception handler",
                    "exception": exc,
                    "context": context,
                },
                "Exception in default exception handler while handling an "
                "unexpected error in custom exception handler",
            )

    def _report_by_default(self, context, failure):
        try:
            self.default_exception_handler(context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            logger.error(failure, exc_info=True)
