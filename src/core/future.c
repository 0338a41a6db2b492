/* Future: its life, its outcome and its callbacks (see future.h). The Python face is in
 * future_methods.c, awaiting in future_iter.c.
 *
 * Called by tasks, handles, transports and the Python face, on the thread of the
 * future's loop (any thread that holds the GIL does no harm here).
 *
 * Invariants: `state` and `loop` are set from __init__ on and stay together; `native` is
 * `loop` or NULL; `callbacks` is a list that nobody else has; a future that is done has
 * neither waiter nor callbacks; `result` and `exception` are never both set. The base's
 * own fields stay zeroed, so that its methods refuse our objects. */
#include "future_impl.h"

#include <string.h>

#include "task_impl.h"

/* -- making ------------------------------------------------------------------------ */

PyObject *
future_new(Loop *loop)
{
    PyTypeObject *type = loop->state->FutureType;
    PyObject *self = freelist_take(&loop->free_futures);
    if (CL_LIKELY(self != NULL)) {
        PyObject_GC_Track(self);
    }
    else {
        self = type->tp_alloc(type, 0);
        if (self == NULL) {
            return NULL;
        }
    }
    if (CL_UNLIKELY(future_fill(self, loop, false) < 0)) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

/* loop.get_debug(): 1, 0 or -1. */
static int
loop_asks_for_debug(State *state, PyObject *loop)
{
    PyObject *debug = PyObject_CallMethodNoArgs(loop, state->str_get_debug);
    if (debug == NULL) {
        return -1;
    }
    int is_true = PyObject_IsTrue(debug);
    Py_DECREF(debug);
    return is_true;
}

int
future_init(PyObject *self, State *state, PyObject *loop)
{
    Future *future = FUTURE(self);
    if (CL_INITIALIZES_ONCE && future_is_alive(future)) {
        PyErr_Format(PyExc_RuntimeError, "%T object is already initialized", self);
        return -1;
    }
    future_clear_fields(self);
    future->state = state;
    future->native = NULL;
    Py_CLEAR(future->loop);
    future->phase = CL_FUTURE_PENDING;
    future->log_traceback = false;
    future->blocking = false;
    if (loop == Py_None) {
        loop = PyObject_CallNoArgs(state->get_event_loop);
        if (loop == NULL) {
            return -1;
        }
    }
    else {
        Py_INCREF(loop);
    }
    Py_XSETREF(future->loop, loop);
    future->native = loop_from(state, loop);

    int debug = loop_asks_for_debug(state, loop);
    if (debug <= 0) {
        return debug;
    }
    if (Py_IsFinalizing()) {
        return 0; /* the traceback module may be gone */
    }
    PyObject *traceback = PyObject_CallNoArgs(state->traceback_extract_stack);
    if (traceback == NULL) {
        return -1;
    }
    Py_XSETREF(future->source_traceback, traceback);
    return 0;
}

int
future_check_alive(const Future *future)
{
    if (future_is_alive(future)) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
    return -1;
}

/* -- callbacks --------------------------------------------------------------------- */

/* Schedules callback(self) in context. 0 or -1. */
static int
future_schedule(PyObject *self, PyObject *callback, PyObject *context)
{
    Future *future = FUTURE(self);
    Loop *native = future->native;
    if (native != NULL && loop_is_direct(native)) {
        PyObject *task = task_of_wakeup(callback);
        if (task != NULL && task_can_run_direct(task, native)
            && TASK(task)->context == context) {
            return loop_push(native, task_run_wakeup, Py_NewRef(task), Py_NewRef(self));
        }
    }
    if (future_check_alive(future) < 0) {
        return -1; /* cleared, or being made anew */
    }
    PyObject *loop = Py_NewRef(future->loop);
    int rc = loop_call_soon(future->state, loop, callback, self, context);
    Py_DECREF(loop);
    return rc;
}

/* Schedules the wakeup of a task of ours. Steals task. 0 or -1. */
static int
future_schedule_task(PyObject *self, PyObject *task)
{
    Loop *native = FUTURE(self)->native;
    if (native != NULL && loop_is_direct(native)) {
        return loop_push(native, task_run_wakeup, task, Py_NewRef(self));
    }
    PyObject *callable = task_wakeup_callable(task);
    int rc = -1;
    if (callable != NULL) {
        rc = future_schedule(self, callable, TASK(task)->context);
        Py_DECREF(callable);
    }
    Py_DECREF(task);
    return rc;
}

/* Schedules all callbacks of a future that has just been done. When one cannot be
 * scheduled the rest are dropped, as on stock. 0 or -1. */
static int
future_schedule_callbacks(PyObject *self)
{
    Future *future = FUTURE(self);
    PyObject *waiter = future->waiter;
    PyObject *context = future->waiter_context;
    PyObject *callbacks = future->callbacks;
    future->waiter = NULL;
    future->waiter_context = NULL;
    future->callbacks = NULL;

    int rc = 0;
    if (waiter != NULL) {
        if (future->waiter_is_task) {
            rc = future_schedule_task(self, waiter);
        }
        else {
            rc = future_schedule(self, waiter, context);
            Py_DECREF(waiter);
            Py_DECREF(context);
        }
    }
    if (callbacks != NULL) {
        for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(callbacks); i++) {
            PyObject *pair = PyList_GET_ITEM(callbacks, i);
            rc = future_schedule(self, PyTuple_GET_ITEM(pair, 0),
                                 PyTuple_GET_ITEM(pair, 1));
        }
        Py_DECREF(callbacks);
    }
    return rc;
}

/* Puts (callback, context) behind the inline first one. 0 or -1. */
static int
future_append_callback(Future *future, PyObject *callback, PyObject *context)
{
    PyObject *pair = PyTuple_Pack(2, callback, context);
    if (pair == NULL) {
        return -1;
    }
    if (future->callbacks == NULL) {
        future->callbacks = PyList_New(0);
    }
    int rc = future->callbacks != NULL ? PyList_Append(future->callbacks, pair) : -1;
    Py_DECREF(pair);
    return rc;
}

int
future_add_done_callback(PyObject *self, PyObject *callback, PyObject *context)
{
    Future *future = FUTURE(self);
    if (!future_is_alive(future)) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Future object");
        return -1;
    }
    if (future->phase != CL_FUTURE_PENDING) {
        return future_schedule(self, callback, context);
    }
    if (future->waiter != NULL || future->callbacks != NULL) {
        return future_append_callback(future, callback, context);
    }
    future->waiter = Py_NewRef(callback);
    future->waiter_context = Py_NewRef(context);
    future->waiter_is_task = false;
    return 0;
}

int
future_add_task_waiter(PyObject *self, PyObject *task)
{
    Future *future = FUTURE(self);
    if (CL_LIKELY(future->phase == CL_FUTURE_PENDING && future->waiter == NULL
                  && future->callbacks == NULL && future->native != NULL
                  && task_can_run_direct(task, future->native))) {
        future->waiter = Py_NewRef(task);
        future->waiter_is_task = true;
        return 0;
    }
    PyObject *callable = task_wakeup_callable(task);
    if (callable == NULL) {
        return -1;
    }
    int rc = future_add_done_callback(self, callable, TASK(task)->context);
    Py_DECREF(callable);
    return rc;
}

/* -- the outcome ------------------------------------------------------------------- */

/* InvalidStateError and -1 unless pending. */
static int
future_check_pending(const Future *future)
{
    if (CL_LIKELY(future->phase == CL_FUTURE_PENDING)) {
        return 0;
    }
    PyErr_SetString(future->state->InvalidStateError, "invalid state");
    return -1;
}

/* The future is pending. 0 or -1. */
static int
future_finish_with_result(PyObject *self, PyObject *result)
{
    Future *future = FUTURE(self);
    future->result = Py_NewRef(result);
    future->phase = CL_FUTURE_FINISHED;
    return future_schedule_callbacks(self);
}

int
future_set_result(PyObject *self, PyObject *result)
{
    Future *future = FUTURE(self);
    if (future_check_alive(future) < 0 || future_check_pending(future) < 0) {
        return -1;
    }
    return future_finish_with_result(self, result);
}

int
future_finish_result(PyObject *self, PyObject *result)
{
    if (future_is_done(self)) {
        return 0;
    }
    return future_finish_with_result(self, result) < 0 ? -1 : 1;
}

/* New ref: a RuntimeError caused by the StopIteration that nobody could raise through a
 * generator. */
static PyObject *
wrap_stop_iteration(PyObject *exception)
{
    PyObject *message = PyUnicode_FromString("StopIteration interacts badly with "
                                             "generators and cannot be raised into a "
                                             "Future");
    if (message == NULL) {
        return NULL;
    }
    PyObject *wrapped = PyObject_CallOneArg(PyExc_RuntimeError, message);
    Py_DECREF(message);
    if (wrapped != NULL) {
        PyException_SetCause(wrapped, Py_NewRef(exception));
        PyException_SetContext(wrapped, Py_NewRef(exception));
    }
    return wrapped;
}

/* New ref: what a future may hold for the object given to set_exception(), or NULL with
 * the exception that set_exception() raises. May run Python (a class is called). */
static PyObject *
usable_exception(PyObject *exception)
{
    PyObject *value = PyExceptionClass_Check(exception) ? PyObject_CallNoArgs(exception)
                                                        : Py_NewRef(exception);
    if (value == NULL) {
        return NULL;
    }
    if (!PyExceptionInstance_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "invalid exception object");
        Py_DECREF(value);
        return NULL;
    }
    if (CL_WRAP_STOP_ITERATION) {
        if (PyErr_GivenExceptionMatches(value, PyExc_StopIteration)) {
            Py_SETREF(value, wrap_stop_iteration(value));
        }
    }
    else if ((PyObject *)Py_TYPE(value) == PyExc_StopIteration) {
        PyErr_SetString(PyExc_TypeError,
                        "StopIteration interacts badly with generators and cannot be "
                        "raised into a Future");
        Py_CLEAR(value);
    }
    return value;
}

int
future_set_exception(PyObject *self, PyObject *exception)
{
    Future *future = FUTURE(self);
    if (future_check_alive(future) < 0 || future_check_pending(future) < 0) {
        return -1;
    }
    PyObject *value = usable_exception(exception);
    if (value == NULL) {
        return -1;
    }
    if (future_check_pending(future) < 0) {
        Py_DECREF(value);
        return -1;
    }
    future->exception = value;
    if (CL_KEEP_EXCEPTION_TB) {
        future->exception_tb = PyException_GetTraceback(value);
    }
    future->phase = CL_FUTURE_FINISHED;
    if (future_schedule_callbacks(self) < 0) {
        return -1;
    }
    future->log_traceback = true;
    return 0;
}

int
future_finish_exception(PyObject *self, PyObject *exception)
{
    if (future_is_done(self)) {
        return 0;
    }
    return future_set_exception(self, exception) < 0 ? -1 : 1;
}

int
future_cancel(PyObject *self, PyObject *msg)
{
    Future *future = FUTURE(self);
    future->log_traceback = false;
    if (future->phase != CL_FUTURE_PENDING) {
        return 0;
    }
    future->phase = CL_FUTURE_CANCELLED;
    Py_XSETREF(future->cancel_message, Py_XNewRef(msg));
    return future_schedule_callbacks(self) < 0 ? -1 : 1;
}

/* New ref: CancelledError(message). */
static PyObject *
new_cancelled_error(Future *future)
{
    PyObject *type = future->state->CancelledError;
    PyObject *message = future->cancel_message;
    return message == NULL || message == Py_None ? PyObject_CallNoArgs(type)
                                                 : PyObject_CallOneArg(type, message);
}

PyObject *
future_make_cancelled_error(Future *future)
{
    PyObject *cause = future->cancelled_exc;
    future->cancelled_exc = NULL;
    if (CL_REUSE_CANCELLED_ERROR && cause != NULL) {
        return cause;
    }
    PyObject *error = new_cancelled_error(future);
    if (error == NULL) {
        Py_XDECREF(cause);
        return NULL;
    }
    PyException_SetContext(error, cause);
    return error;
}

void
future_raise_cancelled(Future *future)
{
    if (CL_REUSE_CANCELLED_ERROR) {
        PyObject *error = future_make_cancelled_error(future);
        if (error != NULL) {
            PyErr_SetObject(future->state->CancelledError, error);
            Py_DECREF(error);
        }
        return;
    }
    PyObject *error = new_cancelled_error(future);
    if (error == NULL) {
        return;
    }
    PyErr_SetObject(future->state->CancelledError, error);
    if (future->cancelled_exc != NULL) {
        /* After SetObject, which puts the exception being handled there. */
        PyException_SetContext(error, Py_NewRef(future->cancelled_exc));
    }
    Py_DECREF(error);
}

int
future_take_outcome(PyObject *self, PyObject **outcome)
{
    Future *future = FUTURE(self);
    *outcome = NULL;
    if (future->phase == CL_FUTURE_CANCELLED) {
        future_raise_cancelled(future);
        return -1;
    }
    if (future->phase != CL_FUTURE_FINISHED) {
        PyErr_SetString(future->state->InvalidStateError, "Result is not set.");
        return -1;
    }
    future->log_traceback = false;
    if (CL_LIKELY(future->exception == NULL)) {
        *outcome = Py_NewRef(future->result);
        return 0;
    }
    if (CL_KEEP_EXCEPTION_TB) {
        PyObject *traceback = future->exception_tb;
        future->exception_tb = NULL;
        int rc = PyException_SetTraceback(future->exception,
                                          traceback != NULL ? traceback : Py_None);
        Py_XDECREF(traceback);
        if (rc < 0) {
            return -1;
        }
    }
    *outcome = Py_NewRef(future->exception);
    return 1;
}

PyObject *
future_get_result(PyObject *self)
{
    PyObject *outcome;
    int rc = future_take_outcome(self, &outcome);
    if (CL_LIKELY(rc == 0)) {
        return outcome;
    }
    if (rc > 0) {
        PyErr_SetObject(PyExceptionInstance_Class(outcome), outcome);
        Py_DECREF(outcome);
    }
    return NULL;
}

/* -- the end ----------------------------------------------------------------------- */

/* Fills what call_exception_handler is given. 0 or -1. */
static int
fill_report(PyObject *report, Future *future, PyObject *key, PyObject *self,
            PyObject *message, PyObject *exception)
{
    State *state = future->state;
    if (PyDict_SetItem(report, state->str_message, message) < 0
        || PyDict_SetItem(report, key, self) < 0) {
        return -1;
    }
    if (exception != NULL
        && PyDict_SetItem(report, state->str_exception, exception) < 0) {
        return -1;
    }
    return future->source_traceback == NULL
               ? 0
               : PyDict_SetItem(report, state->str_source_traceback,
                                future->source_traceback);
}

void
future_report_unfinished(PyObject *self, PyObject *key, const char *format,
                         const char *name, PyObject *exception)
{
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *message = PyUnicode_FromFormat(format, name);
    Future *future = FUTURE(self);
    PyObject *handler = NULL;
    PyObject *report = message != NULL ? PyDict_New() : NULL;
    if (report == NULL
        || fill_report(report, future, key, self, message, exception) < 0) {
        goto done;
    }
    handler = PyObject_GetAttr(future->loop, future->state->str_call_exception_handler);
    if (handler != NULL) {
        PyObject *result = PyObject_CallOneArg(handler, report);
        if (result == NULL) {
            PyErr_WriteUnraisable(handler);
        }
        Py_XDECREF(result);
    }

done:
    PyErr_Clear();
    Py_XDECREF(handler);
    Py_XDECREF(report);
    Py_XDECREF(message);
    PyErr_SetRaisedException(raised);
}

void
future_finalize(PyObject *self)
{
    Future *future = FUTURE(self);
    future->finalized = true;
    /* The names are gone when the interpreter has cleared our module before us. */
    if (!future->log_traceback || !future_is_alive(future)
        || future->state->str_future == NULL) {
        return;
    }
    future->log_traceback = false;
    const char *name = Py_TYPE(self)->tp_name;
    const char *dot = strrchr(name, '.');
    PyObject *exception = Py_XNewRef(future->exception);
    future_report_unfinished(self, future->state->str_future,
                             "%s exception was never retrieved",
                             dot != NULL ? dot + 1 : name, exception);
    Py_XDECREF(exception);
}

/* From 3.14 on asyncio's call graph functions note in the base's part who awaits us:
 * only the base can visit and clear that (with the type and the dict). NULL before. */
static PyTypeObject *
base_with_fields(const Future *future)
{
    PyObject *base = NULL;
    if (CL_HAVE_TASK_LIST && future->state != NULL) {
        base = future->state->asyncio_Future;
    }
    return (PyTypeObject *)base;
}

void
future_clear_base(PyObject *self)
{
    PyTypeObject *base = base_with_fields(FUTURE(self));
    if (base != NULL) {
        (void)base->tp_clear(self);
        return;
    }
    compat_clear_dict(self);
}

int
future_traverse(PyObject *self, visitproc visit, void *arg)
{
    Future *future = FUTURE(self);
    Py_VISIT(future->loop);
    Py_VISIT(future->waiter);
    Py_VISIT(future->waiter_context);
    Py_VISIT(future->callbacks);
    Py_VISIT(future->result);
    Py_VISIT(future->exception);
    Py_VISIT(future->exception_tb);
    Py_VISIT(future->cancel_message);
    Py_VISIT(future->cancelled_exc);
    Py_VISIT(future->source_traceback);
    PyTypeObject *base = base_with_fields(future);
    if (base != NULL) {
        return base->tp_traverse(self, visit, arg);
    }
    CL_VISIT_TYPE(self);
    return compat_visit_dict(self, visit, arg);
}

/* All at once, before anything runs that a release sets off: a future that is done but
 * has no result must not be seen. */
void
future_clear_fields(PyObject *self)
{
    Future *future = FUTURE(self);
    PyObject *taken[] = {
        future->waiter,         future->waiter_context, future->callbacks,
        future->result,         future->exception,      future->exception_tb,
        future->cancel_message, future->cancelled_exc,  future->source_traceback,
    };
    future->phase = CL_FUTURE_PENDING;
    future->log_traceback = false;
    future->waiter = NULL;
    future->waiter_context = NULL;
    future->callbacks = NULL;
    future->result = NULL;
    future->exception = NULL;
    future->exception_tb = NULL;
    future->cancel_message = NULL;
    future->cancelled_exc = NULL;
    future->source_traceback = NULL;
    for (size_t i = 0; i < CL_COUNT_OF(taken); i++) {
        Py_XDECREF(taken[i]);
    }
}

void
future_free(PyObject *self, FreeList *list, size_t struct_size)
{
    Future *future = FUTURE(self);
    PyTypeObject *type = Py_TYPE(self);
    PyObject *loop = future->loop; /* the list lies in it */
    /* An object that was finalized once would never be again. */
    bool recyclable = list != NULL && !future->finalized;
    memset(future, 0, struct_size);
    if (recyclable && freelist_give(list, self)) {
        Py_DECREF(loop);
        return;
    }
    type->tp_free(self);
    Py_XDECREF(loop);
    Py_DECREF(type);
}
