/* What Future and Task have in common, shared by core/future*.c and core/task*.c only:
 * a Task begins with a Future, and has its methods and attributes. */
#ifndef CL_CORE_FUTURE_IMPL_H
#define CL_CORE_FUTURE_IMPL_H

#include "future.h"

/* -- future.c ---------------------------------------------------------------------- */

/* What Future.__init__ does. loop may be None: the current one. 0 or -1. */
int future_init(PyObject *self, State *state, PyObject *loop);

/* Makes a zeroed or recycled object a pending future of loop. 0, or -1 (debug mode's
 * traceback); the object is to be released then. */
static inline int
future_fill(PyObject *self, Loop *loop, bool is_task)
{
    Future *future = FUTURE(self);
    future->state = loop->state;
    future->loop = Py_NewRef((PyObject *)loop);
    future->native = loop;
    future->phase = CL_FUTURE_PENDING;
    future->is_task = is_task;
    if (CL_LIKELY(!(loop->guard & CL_GUARD_DEBUG))) {
        return 0;
    }
    future->source_traceback =
        PyObject_CallNoArgs(loop->state->traceback_extract_stack);
    return future->source_traceback != NULL ? 0 : -1;
}

/* RuntimeError and -1 when __init__ has not run. */
int future_check_alive(const Future *future);

static inline bool
future_is_alive(const Future *future)
{
    return CL_LIKELY(future->loop != NULL);
}

/* set_result(), set_exception() with all their checks. Steal nothing. 0 or -1. */
int future_set_result(PyObject *self, PyObject *result);
int future_set_exception(PyObject *self, PyObject *exception);

/* The outcome of a future that need not be done. 0: *outcome is the result; 1: it is
 * the exception that was set (New ref both); -1: cancelled or pending, raised. */
int future_take_outcome(PyObject *self, PyObject **outcome);

/* New ref: the CancelledError to be raised; taken from the future where that is what
 * the version does. */
PyObject *future_make_cancelled_error(Future *future);
/* The same, raised. */
void future_raise_cancelled(Future *future);

/* Calls loop.call_exception_handler with {"message": text about name, key: self, ...}
 * as a finalizer must: whatever is raised stays raised, a failure is written out.
 * format has one %s, for name. exception may be NULL. */
void future_report_unfinished(PyObject *self, PyObject *key, const char *format,
                              const char *name, PyObject *exception);

int future_traverse(PyObject *self, visitproc visit, void *arg);
/* All but the loop, which a dealloc needs to the end. */
void future_clear_fields(PyObject *self);
/* The inherited dict, and what asyncio itself keeps in the base's part. Before the
 * state is gone. */
void future_clear_base(PyObject *self);
/* What tp_finalize of both ends with: "exception was never retrieved". */
void future_finalize(PyObject *self);
/* The end of a dealloc: recycles into list, when given, or frees. */
void future_free(PyObject *self, FreeList *list, size_t struct_size);

/* -- future_iter.c ----------------------------------------------------------------- */

/* tp_iter and am_await of both. New ref. */
PyObject *future_iter_new(PyObject *self);

/* -- future_methods.c -------------------------------------------------------------- */

/* PyArg_ParseTupleAndKeywords on a vectorcall's arguments: the argument clinic's
 * messages for calls that the quick way does not take. Borrowed from args. 0 or -1. */
int future_parse(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                 const char *format, char **names, ...);

/* PyArg_ParseTupleAndKeywords says "at most", the argument clinic "exactly 1 positional
 * argument". Of at most `most` arguments in all. 0 or -1. */
int future_check_positional(const char *function, Py_ssize_t nargs,
                            Py_ssize_t nkeywords, Py_ssize_t most);

PyObject *Future_result(PyObject *self, PyObject *ignored);
PyObject *Future_exception(PyObject *self, PyObject *ignored);
PyObject *Future_add_done_callback(PyObject *self, PyObject *const *args,
                                   Py_ssize_t nargs, PyObject *kwnames);
PyObject *Future_remove_done_callback(PyObject *self, PyObject *callback);
PyObject *Future_cancelled(PyObject *self, PyObject *ignored);
PyObject *Future_done(PyObject *self, PyObject *ignored);
PyObject *Future_get_loop(PyObject *self, PyObject *ignored);
PyObject *Future_make_cancelled_error(PyObject *self, PyObject *ignored);

/* Takes the msg of cancel(msg=None). 0 or -1. */
int future_parse_cancel(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                        PyObject **msg);

extern const char Future_result_doc[];
extern const char Future_exception_doc[];
extern const char Future_add_done_callback_doc[];
extern const char Future_remove_done_callback_doc[];
extern const char Future_cancelled_doc[];
extern const char Future_done_doc[];
extern const char Future_get_loop_doc[];
extern const char Future_make_cancelled_error_doc[];

#if CL_ONE_ARGUMENT_BY_KEYWORDS
PyObject *Future_remove_done_callback_face(PyObject *self, PyObject *const *args,
                                           Py_ssize_t nargs, PyObject *kwnames);
#define CL_REMOVE_DONE_CALLBACK                                                        \
    {                                                                                  \
        "remove_done_callback",                                                        \
            (PyCFunction)(void (*)(void))Future_remove_done_callback_face,             \
            METH_FASTCALL | METH_KEYWORDS, Future_remove_done_callback_doc             \
    }
#else
#define CL_REMOVE_DONE_CALLBACK                                                        \
    {                                                                                  \
        "remove_done_callback", Future_remove_done_callback, METH_O,                   \
            Future_remove_done_callback_doc                                            \
    }
#endif

#define CL_FUTURE_METHODS                                                              \
    {"result", Future_result, METH_NOARGS, Future_result_doc},                         \
        {"exception", Future_exception, METH_NOARGS, Future_exception_doc},            \
        {"add_done_callback", (PyCFunction)(void (*)(void))Future_add_done_callback,   \
         METH_FASTCALL | METH_KEYWORDS, Future_add_done_callback_doc},                 \
        CL_REMOVE_DONE_CALLBACK,                                                       \
        {"cancelled", Future_cancelled, METH_NOARGS, Future_cancelled_doc},            \
        {"done", Future_done, METH_NOARGS, Future_done_doc},                           \
    {                                                                                  \
        "get_loop", Future_get_loop, METH_NOARGS, Future_get_loop_doc                  \
    }

/* Since 3.9. */
#define CL_FUTURE_METHODS_39                                                           \
    {                                                                                  \
        "_make_cancelled_error", Future_make_cancelled_error, METH_NOARGS,             \
            Future_make_cancelled_error_doc                                            \
    }

#define CL_CANCEL_MESSAGE_ARGUMENT "msg, if given, is what the CancelledError says.\n"

/* Getters and setters; the closure is unused. */
PyObject *Future_get_state(PyObject *self, void *closure);
PyObject *Future_get_blocking(PyObject *self, void *closure);
int Future_set_blocking(PyObject *self, PyObject *value, void *closure);
PyObject *Future_get_loop_attribute(PyObject *self, void *closure);
PyObject *Future_get_callbacks(PyObject *self, void *closure);
PyObject *Future_get_result_attribute(PyObject *self, void *closure);
PyObject *Future_get_exception_attribute(PyObject *self, void *closure);
PyObject *Future_get_log_traceback(PyObject *self, void *closure);
int Future_set_log_traceback(PyObject *self, PyObject *value, void *closure);
PyObject *Future_get_source_traceback(PyObject *self, void *closure);
PyObject *Future_get_cancel_message(PyObject *self, void *closure);
int Future_set_cancel_message(PyObject *self, PyObject *value, void *closure);

#define CL_FUTURE_GETSET                                                               \
    {"_state", Future_get_state, NULL, NULL, NULL},                                    \
        {"_asyncio_future_blocking", Future_get_blocking, Future_set_blocking, NULL,   \
         NULL},                                                                        \
        {"_loop", Future_get_loop_attribute, NULL, NULL, NULL},                        \
        {"_callbacks", Future_get_callbacks, NULL, NULL, NULL},                        \
        {"_result", Future_get_result_attribute, NULL, NULL, NULL},                    \
        {"_exception", Future_get_exception_attribute, NULL, NULL, NULL},              \
        {"_log_traceback", Future_get_log_traceback, Future_set_log_traceback, NULL,   \
         NULL},                                                                        \
    {                                                                                  \
        "_source_traceback", Future_get_source_traceback, NULL, NULL, NULL             \
    }

/* Since 3.9. */
#define CL_FUTURE_GETSET_39                                                            \
    {                                                                                  \
        "_cancel_message", Future_get_cancel_message, Future_set_cancel_message, NULL, \
            NULL                                                                       \
    }

/* repr: function is base_futures._future_repr or its like for tasks (3.11 on; NULL
 * before: self._repr_info() is asked). New ref. */
PyObject *future_repr(PyObject *self, PyObject *function);

#endif
