/* The steps of a Task: drive the coroutine until it awaits something, arrange for the
 * next step, take its end (see task.h).
 *
 * Run by the ready ring (task_run_step, task_run_wakeup), or through Python-visible
 * callables by foreign futures, foreign loops and debug mode; on the thread of the
 * task's loop. A step is in three layers: the ring's entry enters the context, the task
 * becomes the current one, the coroutine runs.
 *
 * The coroutine may do anything, with the task too: after it has run the task is looked
 * at anew. The caller of each function here holds a reference to the task. */
#include "../py/err.h"
#include "handle.h"
#include "task_impl.h"

#include <stdarg.h>

static int task_step(PyObject *self, PyObject *exception);

/* -- callables shown to Python ----------------------------------------------------- */

PyDoc_STRVAR(task_step_doc, "task_step($self, exception=None, /)\n--\n\n"
                            "Run the task's next step.");

static PyObject *
Task_step(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs > 1) {
        PyErr_Format(PyExc_TypeError, "task_step expected at most 1 argument, got %zd",
                     nargs);
        return NULL;
    }
    if (task_step(self, nargs == 1 ? args[0] : NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(task_wakeup_doc, "task_wakeup($self, future, /)\n--\n\n"
                              "Resume the task: what it awaited is done.");

/* The step that the end of future calls for. 0 or -1. */
static int
task_wakeup(PyObject *self, PyObject *future)
{
    State *state = TASK(self)->future.state;
    PyObject *outcome;
    int rc;
    if (Py_IS_TYPE(future, state->FutureType) || Py_IS_TYPE(future, state->TaskType)) {
        rc = future_take_outcome(future, &outcome);
    }
    else {
        outcome = PyObject_CallMethodNoArgs(future, state->str_result);
        rc = outcome != NULL ? 0 : -1;
    }
    if (CL_UNLIKELY(CL_HAVE_TASK_LIST && TASK(self)->fut_waiter == future)) {
        PyObject *raised = rc < 0 ? PyErr_GetRaisedException() : NULL;
        if (task_note_await_end(state, future, self) < 0) {
            Py_XDECREF(raised);
            Py_XDECREF(outcome);
            return -1;
        }
        if (rc < 0) {
            PyErr_SetRaisedException(raised);
        }
    }
    if (rc < 0) {
        outcome = PyErr_GetRaisedException();
        rc = 1;
    }
    if (rc == 0) {
        Py_CLEAR(outcome); /* the coroutine will fetch it itself */
    }
    rc = task_step(self, outcome);
    Py_XDECREF(outcome);
    return rc;
}

static PyObject *
Task_wakeup(PyObject *self, PyObject *future)
{
    if (task_wakeup(self, future) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef task_step_def = {"task_step", (PyCFunction)(void (*)(void))Task_step,
                                    METH_FASTCALL, task_step_doc};

static PyMethodDef task_wakeup_def = {"task_wakeup", Task_wakeup, METH_O,
                                      task_wakeup_doc};

PyObject *
task_wakeup_callable(PyObject *self)
{
    return PyCFunction_New(&task_wakeup_def, self);
}

PyObject *
task_of_wakeup(PyObject *callable)
{
    return PyCFunction_CheckExact(callable)
                   && PyCFunction_GET_FUNCTION(callable) == Task_wakeup
               ? PyCFunction_GET_SELF(callable)
               : NULL;
}

bool
task_is_entry(PyObject *callable)
{
    return PyCFunction_CheckExact(callable)
           && (PyCFunction_GET_FUNCTION(callable) == Task_wakeup
               || PyCFunction_GET_FUNCTION(callable)
                      == (PyCFunction)(void (*)(void))Task_step);
}

/* -- scheduling -------------------------------------------------------------------- */

int
task_call_step_soon(PyObject *self, PyObject *exception)
{
    Task *task = TASK(self);
    Loop *native = task->future.native;
    if (CL_LIKELY(native != NULL && task_can_run_direct(self, native))) {
        return loop_push(native, task_run_step, Py_NewRef(self), Py_XNewRef(exception));
    }
    PyObject *callable = PyCFunction_New(&task_step_def, self);
    if (callable == NULL) {
        return -1;
    }
    if (future_check_alive(&task->future) < 0) {
        Py_DECREF(callable);
        return -1;
    }
    PyObject *loop = Py_NewRef(task->future.loop);
    int rc =
        loop_call_soon(task->future.state, loop, callable, exception, task->context);
    Py_DECREF(loop);
    Py_DECREF(callable);
    return rc;
}

/* Has RuntimeError(format % ...) thrown into the coroutine soon. 0 or -1. */
static int
task_throw_soon(PyObject *self, const char *format, ...)
{
    va_list vargs;
    va_start(vargs, format);
    PyObject *message = PyUnicode_FromFormatV(format, vargs);
    va_end(vargs);
    if (message == NULL) {
        return -1;
    }
    PyObject *error = PyObject_CallOneArg(PyExc_RuntimeError, message);
    Py_DECREF(message);
    if (error == NULL) {
        return -1;
    }
    int rc = task_call_step_soon(self, error);
    Py_DECREF(error);
    return rc;
}

/* -- what the coroutine awaits ----------------------------------------------------- */

/* A cancel() came while the coroutine was about to await waiter. 0 or -1. */
static int
task_pass_cancel_on(PyObject *self, PyObject *waiter)
{
    Task *task = TASK(self);
    PyObject *message = Py_XNewRef(task->future.cancel_message);
    Py_INCREF(waiter);
    int rc = task_cancel_waiter(task->future.state, waiter, message);
    Py_DECREF(waiter);
    Py_XDECREF(message);
    if (rc < 0) {
        return -1;
    }
    if (rc > 0) {
        task->must_cancel = false;
    }
    return 0;
}

/* waiter's done-callback will wake the task. Steals waiter. 0 or -1. */
static int
task_wait_for(PyObject *self, PyObject *waiter)
{
    Task *task = TASK(self);
    Py_XSETREF(task->fut_waiter, waiter);
    if (CL_HAVE_TASK_LIST && task_note_await(task->future.state, waiter, self) < 0) {
        return -1;
    }
    return CL_LIKELY(!task->must_cancel) ? 0 : task_pass_cancel_on(self, waiter);
}

static int
task_refuse_plain_yield(PyObject *self, PyObject *result)
{
    return task_throw_soon(
        self, "yield was used instead of yield from in task %R with %R", self, result);
}

static int
task_refuse_loop(PyObject *self, PyObject *result)
{
    return task_throw_soon(self, "Task %R got Future %R attached to a different loop",
                           self, result);
}

/* New ref: the loop of a future-like object: get_loop(), else _loop. */
static PyObject *
loop_of_foreign(State *state, PyObject *future)
{
    PyObject *method;
    if (PyObject_GetOptionalAttr(future, state->str_get_loop, &method) < 0) {
        return NULL;
    }
    if (method != NULL) {
        PyObject *loop = PyObject_CallNoArgs(method);
        Py_DECREF(method);
        return loop;
    }
    return PyObject_GetAttr(future, state->str_private_loop);
}

/* future.add_done_callback(wakeup, context=...) by its method. 0 or -1. */
static int
task_add_to_foreign(PyObject *self, PyObject *future)
{
    Task *task = TASK(self);
    State *state = task->future.state;
    PyObject *method = PyObject_GetAttr(future, state->str_add_done_callback);
    PyObject *callable = method != NULL ? task_wakeup_callable(self) : NULL;
    PyObject *result = NULL;
    if (callable != NULL) {
        PyObject *stack[2] = {callable, task->context};
        result = PyObject_Vectorcall(method, stack, 1, state->names_context);
        Py_DECREF(callable);
    }
    Py_XDECREF(method);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* result has a true-ish or false `blocking`: a future of somebody else's, or a subclass
 * of ours. Steals result. 0 or -1. */
static int
task_await_foreign(PyObject *self, PyObject *result, PyObject *blocking)
{
    Task *task = TASK(self);
    State *state = task->future.state;
    int rc = -1;
    int is_blocking = PyObject_IsTrue(blocking);
    if (is_blocking < 0) {
        goto done;
    }
    PyObject *loop = loop_of_foreign(state, result);
    if (loop == NULL) {
        goto done;
    }
    Py_DECREF(loop); /* compared only */
    if (loop != task->future.loop) {
        rc = task_refuse_loop(self, result);
        goto done;
    }
    if (!is_blocking) {
        rc = task_refuse_plain_yield(self, result);
        goto done;
    }
    if (PyObject_SetAttr(result, state->str_asyncio_future_blocking, Py_False) < 0
        || task_add_to_foreign(self, result) < 0) {
        goto done;
    }
    return task_wait_for(self, result);

done:
    Py_DECREF(result);
    return rc;
}

/* result is an exact Future or Task of ours. Steals result. 0 or -1. */
static int
task_await_own(PyObject *self, PyObject *result)
{
    Future *future = FUTURE(result);
    int rc;
    if (CL_UNLIKELY(future->loop != TASK(self)->future.loop)) {
        rc = task_refuse_loop(self, result);
    }
    else if (CL_UNLIKELY(!future->blocking)) {
        rc = task_refuse_plain_yield(self, result);
    }
    else {
        future->blocking = false;
        rc = future_add_task_waiter(result, self);
        if (CL_LIKELY(rc == 0)) {
            return task_wait_for(self, result);
        }
    }
    Py_DECREF(result);
    return rc;
}

/* result is nothing that can be awaited. Steals result. 0 or -1. */
static int
task_refuse(PyObject *self, PyObject *result)
{
    int rc;
    if (PyObject_TypeCheck(result, &PyGen_Type)) {
        rc = task_throw_soon(self,
                             "yield was used instead of yield from for generator in "
                             "task %R with %R",
                             self, result);
    }
    else {
        rc = task_throw_soon(self, "Task got bad yield: %R", result);
    }
    Py_DECREF(result);
    return rc;
}

/* The coroutine has yielded result. Steals result. 0 or -1. */
static int
task_await(PyObject *self, PyObject *result)
{
    State *state = TASK(self)->future.state;
    int rc;
    if (CL_UNLIKELY(result == self)) {
        rc = task_throw_soon(self, "Task cannot await on itself: %R", self);
        Py_DECREF(result);
        return rc;
    }
    if (Py_IS_TYPE(result, state->FutureType) || Py_IS_TYPE(result, state->TaskType)) {
        return task_await_own(self, result);
    }
    if (result == Py_None) {
        Py_DECREF(result);
        return task_call_step_soon(self, NULL);
    }
    PyObject *blocking;
    if (PyObject_GetOptionalAttr(result, state->str_asyncio_future_blocking, &blocking)
        < 0) {
        Py_DECREF(result);
        return -1;
    }
    rc = blocking != NULL && blocking != Py_None
             ? task_await_foreign(self, result, blocking)
             : task_refuse(self, result);
    Py_XDECREF(blocking);
    return rc;
}

/* -- the step ---------------------------------------------------------------------- */

/* The coroutine has returned result. Steals result. 0 or -1. */
static int
task_take_return(PyObject *self, PyObject *result)
{
    Task *task = TASK(self);
    int rc;
    if (CL_UNLIKELY(task->must_cancel)) {
        /* Cancelled just before its end. */
        task->must_cancel = false;
        PyObject *message = Py_XNewRef(task->future.cancel_message);
        rc = future_cancel(self, message);
        Py_XDECREF(message);
    }
    else {
        rc = future_set_result(self, result);
    }
    Py_DECREF(result);
    return rc < 0 ? -1 : 0;
}

/* The coroutine has raised. 0 or -1. */
static int
task_take_exception(PyObject *self)
{
    Task *task = TASK(self);
    bool cancelled = PyErr_ExceptionMatches(task->future.state->CancelledError);
    PyObject *exception = PyErr_GetRaisedException();
    if (cancelled) {
        if (CL_HAVE_CANCEL_MESSAGE) {
            Py_XSETREF(task->future.cancelled_exc, exception);
        }
        else {
            Py_DECREF(exception);
        }
        return future_cancel(self, NULL) < 0 ? -1 : 0;
    }
    int rc = future_set_exception(self, exception);
    if (rc == 0
        && (PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt)
            || PyErr_GivenExceptionMatches(exception, PyExc_SystemExit))) {
        PyErr_SetRaisedException(exception);
        return -1;
    }
    Py_DECREF(exception);
    return rc;
}

/* What is to be thrown in when a cancel() is due, given what was to be thrown in anyway.
 * New ref, or NULL with an exception. */
static PyObject *
task_due_cancel(PyObject *self, PyObject *exception)
{
    Task *task = TASK(self);
    if (exception != NULL) {
        int is_cancel =
            PyObject_IsInstance(exception, task->future.state->CancelledError);
        if (is_cancel < 0) {
            return NULL;
        }
        if (is_cancel) {
            task->must_cancel = false;
            return Py_NewRef(exception);
        }
    }
    PyObject *error = future_make_cancelled_error(&task->future);
    if (error != NULL) {
        task->must_cancel = false;
    }
    return error;
}

/* coro.throw(exception). As PyIter_Send. */
static PySendResult
throw_into(State *state, PyObject *coro, PyObject *exception, PyObject **result)
{
    *result = PyObject_CallMethodOneArg(coro, state->str_throw, exception);
    if (*result != NULL) {
        return PYGEN_NEXT;
    }
    return compat_fetch_stop_iteration(result) == 0 ? PYGEN_RETURN : PYGEN_ERROR;
}

/* Runs the coroutine to its next await, exception (or NULL) thrown in. 0, or -1 with an
 * exception that is not the coroutine's business. */
static int
task_run_coroutine(PyObject *self, PyObject *exception)
{
    Task *task = TASK(self);
    State *state = task->future.state;
    if (CL_UNLIKELY(task->future.phase != CL_FUTURE_PENDING)) {
        PyErr_Format(state->InvalidStateError, CL_STEP_NAME "(): already done: %R %R",
                     self, exception != NULL ? exception : Py_None);
        return -1;
    }
    PyObject *due = NULL;
    if (CL_UNLIKELY(task->must_cancel)) {
        due = task_due_cancel(self, exception);
        if (due == NULL) {
            return -1;
        }
        exception = due;
    }
    Py_CLEAR(task->fut_waiter);

    PyObject *coro = Py_XNewRef(task->coro);
    if (coro == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        Py_XDECREF(due);
        return -1;
    }
    PyObject *result;
    PySendResult sent;
    if (CL_LIKELY(exception == NULL)) {
        sent = PyIter_Send(coro, Py_None, &result);
    }
    else {
        sent = throw_into(state, coro, exception, &result);
        Py_XDECREF(due);
    }
    Py_DECREF(coro);
    if (sent == PYGEN_NEXT) {
        return task_await(self, result);
    }
    int rc = sent == PYGEN_RETURN ? task_take_return(self, result)
                                  : task_take_exception(self);
    task_leave_list(self);
    return rc;
}

/* After a failure: what is raised now comes from cleaning up after raised. Steals. */
static void
chain_exceptions(PyObject *raised)
{
    if (!PyErr_Occurred()) {
        PyErr_SetRaisedException(raised);
        return;
    }
    PyObject *later = PyErr_GetRaisedException();
    PyException_SetContext(later, raised);
    PyErr_SetRaisedException(later);
}

/* A step in the task's context: the task is the current one. 0 or -1. */
static int
task_step(PyObject *self, PyObject *exception)
{
    State *state = TASK(self)->future.state;
    if (CL_UNLIKELY(future_check_alive(FUTURE(self)) < 0)) {
        return -1; /* cleared, or being made anew */
    }
    PyObject *loop = Py_NewRef(TASK(self)->future.loop);
    int rc = task_enter(state, loop, self);
    if (CL_LIKELY(rc == 0)) {
        rc = task_run_coroutine(self, exception);
        if (CL_LIKELY(rc == 0)) {
            rc = task_leave(state, loop, self);
        }
        else {
            PyObject *raised = PyErr_GetRaisedException();
            (void)task_leave(state, loop, self);
            chain_exceptions(raised);
        }
    }
    Py_DECREF(loop);
    return rc;
}

/* -- entries of the ready ring ----------------------------------------------------- */

/* Reports the raised exception as a Handle's would be: one is made for that. 0, or -1
 * when it must leave the loop, as a MemoryError must (see task_is_entry). */
static int
task_report(Loop *loop, PyObject *self, PyMethodDef *def, PyObject *arg)
{
    if (err_is_exit() || PyErr_ExceptionMatches(PyExc_MemoryError)) {
        return -1;
    }
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *handle = NULL;
    PyObject *callable = NULL;
    if (loop_end_step(loop) == 0) {
        callable = PyCFunction_New(def, self);
    }
    if (callable != NULL) {
        handle =
            handle_new(loop, callable, &arg, arg != NULL ? 1 : 0, TASK(self)->context);
        Py_DECREF(callable);
    }
    if (handle == NULL) {
        chain_exceptions(raised);
        return -1;
    }
    PyErr_SetRaisedException(raised);
    int rc = handle_report(handle);
    Py_DECREF(handle);
    return rc;
}

typedef int (*TaskRun)(PyObject *self, PyObject *arg);

/* Runs run(self, arg) in the task's context, for the loop whose ring had the entry: the
 * task may have been made anew for another one since. Steals self and arg. As RingRun. */
static int
task_run_entry(Loop *loop, PyObject *self, PyObject *arg, TaskRun run, PyMethodDef *def)
{
    PyObject *context = TASK(self)->context;
    if (CL_UNLIKELY(context == NULL)) {
        Py_XDECREF(arg); /* cleared */
        Py_DECREF(self);
        return 0;
    }
    Py_INCREF(context);
    int rc = PyContext_Enter(context);
    if (CL_LIKELY(rc == 0)) {
        loop->leaves_late = TASK(self)->future.native == loop;
        rc = run(self, arg);
        loop->leaves_late = false;
        if (CL_LIKELY(rc == 0)) {
            rc = PyContext_Exit(context);
        }
        else {
            PyObject *raised = PyErr_GetRaisedException();
            (void)PyContext_Exit(context);
            chain_exceptions(raised);
        }
    }
    Py_DECREF(context);
    if (CL_UNLIKELY(rc < 0)) {
        rc = task_report(loop, self, def, arg);
    }
    Py_XDECREF(arg);
    Py_DECREF(self);
    return rc;
}

int
task_run_step(void *loop, void *task, void *exception)
{
    return task_run_entry(loop, task, exception, task_step, &task_step_def);
}

int
task_run_wakeup(void *loop, void *task, void *future)
{
    return task_run_entry(loop, task, future, task_wakeup, &task_wakeup_def);
}

/* -- eager tasks ------------------------------------------------------------------- */

/* The eager step proper: registered as eager, in the task's context. 0 or -1. */
static int
task_run_eagerly(PyObject *self)
{
    PyObject *context = Py_NewRef(TASK(self)->context);
    int rc = PyContext_Enter(context);
    if (rc == 0) {
        rc = task_run_coroutine(self, NULL);
        PyObject *raised = rc < 0 ? PyErr_GetRaisedException() : NULL;
        int exited = PyContext_Exit(context);
        if (raised != NULL) {
            chain_exceptions(raised);
        }
        rc = rc < 0 ? rc : exited;
    }
    Py_DECREF(context);
    PyObject *raised = rc < 0 ? PyErr_GetRaisedException() : NULL;
    if (!CL_HAVE_TASK_LIST
        && task_unregister_eager(TASK(self)->future.state, self) < 0) {
        rc = -1;
    }
    if (raised != NULL) {
        chain_exceptions(raised);
    }
    return rc;
}

int
task_start_eagerly(PyObject *self)
{
    Task *task = TASK(self);
    State *state = task->future.state;
    PyObject *loop = Py_NewRef(task->future.loop);
    PyObject *previous = task_swap_current(state, loop, self);
    if (previous == NULL) {
        Py_DECREF(loop);
        return -1;
    }
    int rc = CL_HAVE_TASK_LIST ? task_register(state, self)
                               : task_register_eager(state, self);
    if (rc == 0) {
        rc = task_run_eagerly(self);
    }
    PyObject *raised = rc < 0 ? PyErr_GetRaisedException() : NULL;
    PyObject *current = task_swap_current(state, loop, previous);
    if (current == NULL) {
        rc = -1;
    }
    Py_XDECREF(current);
    if (raised != NULL) {
        chain_exceptions(raised);
    }
    Py_DECREF(previous);
    Py_DECREF(loop);
    if (task->future.phase == CL_FUTURE_PENDING) {
        if (rc == 0 && !CL_HAVE_TASK_LIST) {
            rc = task_register(state, self);
        }
    }
    else {
        Py_CLEAR(task->coro);
        task_show(self);
    }
    return rc;
}
