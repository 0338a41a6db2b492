/* Handle and TimerHandle (see handle.h).
 *
 * Made by the loop for call_soon, call_at, add_reader and the like, or by the user with
 * any object as loop. The types are in handle_face.c.
 *
 * Invariants: `context` and `loop` are set from __init__ on; `callback` is NULL only
 * before __init__ and reads as None once cancelled; arguments are either inline
 * (nargs) or all in more_args. */

#include "handle_impl.h"

#include <string.h>

#include "../py/args.h"
#include "../py/err.h"
#include "future.h"
#include "task.h"

/* -- making ------------------------------------------------------------------------ */

int
handle_trace(Handle *handle)
{
    PyObject *frame = (PyObject *)PyEval_GetFrame();
    if (frame == NULL) {
        return 0;
    }
    handle->source_traceback = PyObject_CallOneArg(handle->state->extract_stack, frame);
    return handle->source_traceback == NULL ? -1 : 0;
}

/* Fills a fresh (zeroed) handle. borrows: a context of its own can wait. 0 or -1; the
 * caller releases the object then. */
static inline int
handle_fill(Handle *handle, Loop *loop, PyObject *callback, PyObject *const *args,
            Py_ssize_t nargs, PyObject *context, bool borrows)
{
    handle->state = loop->state;
    handle->tracked = false;
    handle->loop = Py_NewRef((PyObject *)loop);
    handle->native = loop;
    handle->callback = Py_NewRef(callback);
    handle->cancelled = false;
    handle->has_args = true;
    handle->borrows_context = false;
    if (context != NULL) {
        handle->context = Py_NewRef(context);
    }
    else if (borrows) {
        if (handle_borrow_context(handle) < 0) {
            return -1;
        }
    }
    else {
        handle->context = PyContext_CopyCurrent();
        if (handle->context == NULL) {
            return -1;
        }
    }
    if (nargs <= CL_HANDLE_INLINE_ARGS) {
        handle->nargs = (uint8_t)nargs;
        for (Py_ssize_t i = 0; i < nargs; i++) {
            handle->args[i] = Py_NewRef(args[i]);
        }
    }
    else {
        handle->more_args = PyTuple_New(nargs);
        if (handle->more_args == NULL) {
            return -1;
        }
        for (Py_ssize_t i = 0; i < nargs; i++) {
            PyTuple_SET_ITEM(handle->more_args, i, Py_NewRef(args[i]));
        }
    }
    return CL_UNLIKELY(loop->guard & CL_GUARD_DEBUG) ? handle_trace(handle) : 0;
}

PyObject *
handle_show_context(Handle *handle)
{
    if (handle->borrows_context && handle_own_context(handle) < 0) {
        return NULL;
    }
    return Py_NewRef(handle->context != NULL ? handle->context : Py_None);
}

/* New ref: an untracked object of one of our types, its struct zeroed. */
static PyObject *
handle_alloc(PyTypeObject *type, FreeList *list)
{
    PyObject *self = freelist_take(list);
    if (self == NULL) {
        self = PyObject_GC_New(PyObject, type); /* tp_alloc would track it */
        if (self != NULL) {
            memset(self + 1, 0, type->tp_basicsize - sizeof(PyObject));
        }
    }
    return self;
}

/* As handle_new_hidden, of one of our types that add nothing to be filled. */
static inline PyObject *
handle_new_of(Loop *loop, PyTypeObject *type, FreeList *list, PyObject *callback,
              PyObject *const *args, Py_ssize_t nargs, PyObject *context)
{
    PyObject *self = handle_alloc(type, list);
    if (self == NULL) {
        return NULL;
    }
    if (handle_fill(HANDLE(self), loop, callback, args, nargs, context, false) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

PyObject *
handle_new_hidden(Loop *loop, PyObject *callback, PyObject *const *args,
                  Py_ssize_t nargs, PyObject *context)
{
    return handle_new_of(loop, loop->state->HandleType, &loop->free_handles, callback,
                         args, nargs, context);
}

PyObject *
safe_handle_new_hidden(Loop *loop, PyObject *callback, PyObject *const *args,
                       Py_ssize_t nargs, PyObject *context)
{
    return handle_new_of(loop, loop->state->SafeHandleType, &loop->free_safe_handles,
                         callback, args, nargs, context);
}

PyObject *
handle_new(Loop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
           PyObject *context)
{
    PyObject *self = handle_new_hidden(loop, callback, args, nargs, context);
    if (self != NULL) {
        handle_expose(self);
    }
    return self;
}

void
handle_expose(PyObject *self)
{
    if (!HANDLE(self)->tracked) {
        HANDLE(self)->tracked = true;
        PyObject_GC_Track(self);
    }
}

PyObject *
timer_handle_new_hidden(Loop *loop, double when, PyObject *when_object,
                        PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *context)
{
    PyObject *self = handle_alloc(loop->state->TimerHandleType, &loop->free_timers);
    if (self == NULL) {
        return NULL;
    }
    TimerHandle *timer = TIMER_HANDLE(self);
    heap_node_init(&timer->node);
    timer->when = when;
    timer->when_object = Py_XNewRef(when_object);
    timer->scheduled = false;
    if (handle_fill(&timer->handle, loop, callback, args, nargs, context, true) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

int
handle_visit_owned(PyObject *self, visitproc visit, void *arg)
{
    if (HANDLE(self)->tracked || Py_REFCNT(self) != 1) {
        Py_VISIT(self);
        return 0;
    }
    return Py_TYPE(self)->tp_traverse(self, visit, arg);
}

/* -- running ----------------------------------------------------------------------- */

PyObject *
handle_args_tuple(Handle *handle)
{
    if (handle->more_args != NULL) {
        return Py_NewRef(handle->more_args);
    }
    PyObject *tuple = PyTuple_New(handle->nargs);
    if (tuple == NULL) {
        return NULL;
    }
    for (int i = 0; i < handle->nargs; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(handle->args[i]));
    }
    return tuple;
}

/* New ref: callback and arguments as text, as stock's messages name them. */
static PyObject *
handle_describe_callback(Handle *handle)
{
    PyObject *callback = handle->has_args ? handle->callback : Py_None;
    PyObject *args = handle->has_args ? handle_args_tuple(handle) : Py_NewRef(Py_None);
    if (args == NULL) {
        return NULL;
    }
    PyObject *text;
#if CL_PY313
    PyObject *debug =
        PyObject_CallMethodNoArgs(handle->loop, handle->state->str_get_debug);
    if (debug == NULL) {
        Py_DECREF(args);
        return NULL;
    }
    PyObject *stack[3] = {callback, args, debug};
    PyObject *names = PyTuple_Pack(1, handle->state->str_debug);
    text = names == NULL ? NULL
                         : PyObject_Vectorcall(handle->state->format_callback_source,
                                               stack, 2, names);
    Py_XDECREF(names);
    Py_DECREF(debug);
#else
    text = PyObject_CallFunctionObjArgs(handle->state->format_callback_source, callback,
                                        args, NULL);
#endif
    Py_DECREF(args);
    return text;
}

int
handle_report(PyObject *self)
{
    Handle *handle = HANDLE(self);
    if (err_is_exit()
        || (PyErr_ExceptionMatches(PyExc_MemoryError) && handle->callback != NULL
            && task_is_entry(handle->callback))) {
        return -1;
    }
    PyObject *exception = PyErr_GetRaisedException();
    _PyErr_StackItem handled;
    compat_begin_handling(&handled, exception);
    PyObject *text = handle_describe_callback(handle);
    compat_end_handling(&handled);
    PyObject *message =
        text == NULL ? NULL : PyUnicode_FromFormat("Exception in callback %U", text);
    Py_XDECREF(text);
    if (message == NULL) {
        /* A repr that fails replaces the report, as stock's f-string would. */
        Py_XDECREF(exception);
        return -1;
    }
    PyErr_SetRaisedException(exception);
    int rc = loop_report_text(handle->state, handle->loop, message, "handle", self,
                              "source_traceback", handle->source_traceback, NULL);
    Py_DECREF(message);
    return rc;
}

/* futures._set_result_unless_cancelled(future, result), which asyncio.sleep() gives to
 * call_later. As handle_run_known. */
static int
handle_set_result(PyObject *future, PyObject *result)
{
    if (FUTURE(future)->phase == CL_FUTURE_FINISHED) {
        return 0; /* an InvalidStateError is due */
    }
    Py_INCREF(future);
    Py_INCREF(result);
    int rc = future_finish_result(future, result);
    Py_DECREF(result);
    Py_DECREF(future);
    return rc < 0 ? -1 : 1;
}

/* base_events._run_until_complete_cb(future). As handle_run_known. */
static int
handle_end_run(State *state, PyObject *op)
{
    Future *future = FUTURE(op);
    if (future->phase == CL_FUTURE_PENDING) {
        return 0;
    }
    if (future->phase == CL_FUTURE_FINISHED) {
        PyObject *exception = future->exception;
        future->log_traceback = false;
        if (exception != NULL
            && (PyErr_GivenExceptionMatches(exception, PyExc_SystemExit)
                || PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt))) {
            return 1;
        }
    }
    PyObject *loop = Py_NewRef(future->loop);
    PyObject *stopped = PyObject_CallMethodNoArgs(loop, state->str_stop);
    Py_DECREF(loop);
    Py_XDECREF(stopped);
    return stopped == NULL ? -1 : 1;
}

/* Callbacks of asyncio's own that need no Python frame, when their future is exactly
 * ours. 1 when it was one and is done, 0 when the ordinary call must be made, -1 with an
 * exception. */
static int
handle_run_known(Handle *handle)
{
    State *state = handle->state;
    PyObject *callback = handle->callback;
    if (!CL_FASTPATH || handle->nargs == 0
        || (callback != state->set_result_unless_cancelled
            && callback != state->run_until_complete_cb)) {
        return 0;
    }
    PyObject *future = handle->args[0];
    if ((!Py_IS_TYPE(future, state->FutureType) && !Py_IS_TYPE(future, state->TaskType))
        || FUTURE(future)->state == NULL) {
        return 0;
    }
    if (callback == state->run_until_complete_cb) {
        return handle->nargs == 1 ? handle_end_run(state, future) : 0;
    }
    return handle->nargs == 2 && Py_IS_TYPE(future, state->FutureType)
               ? handle_set_result(future, handle->args[1])
               : 0;
}

/* What a sleep() that has ended comes to: no code of the user's runs, so the context
 * that the timer has not even made yet need not be entered. As handle_run_known. */
static int
handle_wake_sleeper(Handle *handle)
{
    return handle->callback == handle->state->set_result_unless_cancelled
                   && loop_is_direct(handle->native)
               ? handle_run_known(handle)
               : 0;
}

/* Calls the callback in the entered context. New ref or NULL. */
static PyObject *
handle_call(Handle *handle)
{
    PyObject *result;
    PyObject *callback = Py_NewRef(handle->callback);
    if (handle->more_args != NULL) {
        PyObject *args = Py_NewRef(handle->more_args);
        result = PyObject_Call(callback, args, NULL);
        Py_DECREF(args);
    }
    else {
        /* The callback may cancel its own handle, which lets go of the arguments. */
        PyObject *stack[1 + CL_HANDLE_INLINE_ARGS];
        size_t nargs = handle->nargs;
        stack[0] = NULL;
        for (size_t i = 0; i < nargs; i++) {
            stack[1 + i] = Py_NewRef(handle->args[i]);
        }
        result = PyObject_Vectorcall(callback, stack + 1,
                                     nargs | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        for (size_t i = 0; i < nargs; i++) {
            Py_DECREF(stack[1 + i]);
        }
    }
    Py_DECREF(callback);
    return result;
}

/* context.run(callback, *args) by its method, for a context that is not a Context. */
static PyObject *
handle_call_foreign(Handle *handle)
{
    PyObject *run = PyObject_GetAttrString(handle->context, "run");
    PyObject *args = run == NULL ? NULL : handle_args_tuple(handle);
    PyObject *head = args == NULL ? NULL : PyTuple_Pack(1, handle->callback);
    PyObject *all = head == NULL ? NULL : PySequence_Concat(head, args);
    PyObject *result = all == NULL ? NULL : PyObject_Call(run, all, NULL);
    Py_XDECREF(all);
    Py_XDECREF(head);
    Py_XDECREF(args);
    Py_XDECREF(run);
    return result;
}

int
handle_run(PyObject *self)
{
    Handle *handle = HANDLE(self);
    PyObject *result = NULL;
    if (handle->borrows_context) {
        int known = handle_wake_sleeper(handle);
        if (known > 0) {
            return 0;
        }
        if (known < 0 || handle_own_context(handle) < 0) {
            return handle_report(self);
        }
    }
    PyObject *context = handle->context;
    if (CL_UNLIKELY(!PyContext_CheckExact(context))) {
        result = handle_call_foreign(handle);
    }
    else {
        Py_INCREF(context);
        if (PyContext_Enter(context) == 0) {
            int known = handle_run_known(handle);
            if (known == 0) {
                result = handle_call(handle);
            }
            else if (known > 0) {
                result = Py_NewRef(Py_None);
            }
            if (CL_UNLIKELY(PyContext_Exit(context) < 0)) {
                Py_CLEAR(result);
            }
        }
        Py_DECREF(context);
    }
    if (CL_LIKELY(result != NULL)) {
        Py_DECREF(result);
        return 0;
    }
    return handle_report(self);
}

/* -- cancelling -------------------------------------------------------------------- */

int
handle_loop_debug(Handle *handle)
{
    if (handle->native != NULL) {
        return (handle->native->guard & CL_GUARD_DEBUG) != 0;
    }
    PyObject *debug =
        PyObject_CallMethodNoArgs(handle->loop, handle->state->str_get_debug);
    if (debug == NULL) {
        return -1;
    }
    int rc = PyObject_IsTrue(debug);
    Py_DECREF(debug);
    return rc;
}

/* Lets go of callback and arguments. Anything may run. */
static void
handle_release_callback(Handle *handle)
{
    PyObject *callback = handle->callback;
    PyObject *more_args = handle->more_args;
    PyObject *args[CL_HANDLE_INLINE_ARGS];
    int nargs = handle->nargs;
    for (int i = 0; i < nargs; i++) {
        args[i] = handle->args[i];
        handle->args[i] = NULL;
    }
    handle->nargs = 0;
    handle->has_args = false;
    handle->more_args = NULL;
    handle->callback = Py_NewRef(Py_None);
    for (int i = 0; i < nargs; i++) {
        Py_DECREF(args[i]);
    }
    Py_XDECREF(more_args);
    Py_XDECREF(callback);
}

int
handle_cancel(PyObject *self)
{
    Handle *handle = HANDLE(self);
    if (handle->cancelled) {
        return 0;
    }
    handle->cancelled = true;
    int debug = handle_loop_debug(handle);
    if (debug < 0) {
        return -1;
    }
    if (debug) {
        PyObject *repr = PyObject_Repr(self);
        if (repr == NULL) {
            return -1;
        }
        Py_XSETREF(handle->repr, repr);
    }
    handle_release_callback(handle);
    return 0;
}
