/* Handle and TimerHandle (see handle.h).
 *
 * Made by the loop for call_soon, call_at, add_reader and the like, or by the user with
 * any object as loop. __repr__, _repr_info and the comparisons are inherited: they are
 * Python methods of asyncio's classes and read our attributes.
 *
 * Invariants: `context` and `loop` are set from __init__ on; `callback` is NULL only
 * before __init__ and reads as None once cancelled; arguments are either inline
 * (nargs) or all in more_args. */

#include "handle.h"

#include <string.h>

#include "../py/args.h"
#include "../py/err.h"
#include "future.h"
#include "task.h"

/* -- making ------------------------------------------------------------------------- */

/* Sets source_traceback to the stack of the Python code that is running now. */
static int
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

/* New ref: what _context and get_context() give, or NULL with an exception. */
static PyObject *
handle_show_context(Handle *handle)
{
    if (handle->borrows_context && handle_own_context(handle) < 0) {
        return NULL;
    }
    return Py_NewRef(handle->context != NULL ? handle->context : Py_None);
}

/* New ref: an untracked object of one of our two types, its struct zeroed. */
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

PyObject *
handle_new_hidden(Loop *loop, PyObject *callback, PyObject *const *args,
                  Py_ssize_t nargs, PyObject *context)
{
    PyObject *self = handle_alloc(loop->state->HandleType, &loop->free_handles);
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

/* -- running ------------------------------------------------------------------------ */

/* New ref: the arguments as a tuple. */
static PyObject *
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

/* -- cancelling --------------------------------------------------------------------- */

/* debug mode of the handle's loop, whatever it is: 1, 0 or -1. */
static int
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

/* Tells the loop that a timer of its heap is void. 0 or -1. */
static int
timer_handle_leave_heap(PyObject *self)
{
    TimerHandle *timer = TIMER_HANDLE(self);
    Loop *loop = timer->handle.native;
    if (loop == NULL) {
        PyObject *result = PyObject_CallMethodOneArg(
            timer->handle.loop, timer->handle.state->str_timer_handle_cancelled, self);
        Py_XDECREF(result);
        return result == NULL ? -1 : 0;
    }
    if (timer->node.index != CL_HEAP_NOWHERE && !timer->node.cancelled) {
        heap_cancel(&loop->timers, &timer->node);
    }
    return 0;
}

/* -- methods ------------------------------------------------------------------------ */

/* Raises AttributeError for a handle whose __init__ has not run. */
static Handle *
handle_ready(PyObject *self)
{
    Handle *handle = HANDLE(self);
    if (handle->loop == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%s' object is not initialized",
                     Py_TYPE(self)->tp_name);
        return NULL;
    }
    return handle;
}

/* What both __init__ share, after parsing. Steals nothing. */
static int
handle_setup(PyObject *self, State *state, PyObject *callback, PyObject *args,
             PyObject *loop, PyObject *context)
{
    Handle *handle = HANDLE(self);
    if (handle->borrows_context && handle_own_context(handle) < 0) {
        return -1;
    }
    PyObject *own_args = PyTuple_Check(args) ? Py_NewRef(args) : PySequence_Tuple(args);
    if (own_args == NULL) {
        return -1;
    }
    PyObject *own_context = context == NULL || context == Py_None
                                ? PyContext_CopyCurrent()
                                : Py_NewRef(context);
    if (own_context == NULL) {
        Py_DECREF(own_args);
        return -1;
    }
    handle->state = state;
    handle->tracked = true; /* tp_alloc has done it */
    handle->cancelled = false;
    while (handle->nargs > 0) { /* __init__ once more, of one that the loop made */
        handle->nargs--;
        Py_CLEAR(handle->args[handle->nargs]);
    }
    handle->has_args = true;
    handle->native = loop_from(state, loop);
    Py_XSETREF(handle->loop, Py_NewRef(loop));
    Py_XSETREF(handle->callback, Py_NewRef(callback));
    Py_XSETREF(handle->more_args, own_args);
    Py_XSETREF(handle->context, own_context);
    Py_CLEAR(handle->repr);
    Py_CLEAR(handle->source_traceback);
    int debug = handle_loop_debug(handle);
    if (debug <= 0) {
        return debug;
    }
    return handle_trace(handle);
}

static int
Handle_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"callback", "args", "loop", "context", NULL};
    static const ArgSpec spec = {"Handle.__init__", names, 4, 3, false, false};
    PyObject *values[4];
    State *state = state_of_type(Py_TYPE(self));
    if (state == NULL || args_parse_tuple(&spec, args, kwargs, values) < 0) {
        return -1;
    }
    return handle_setup(self, state, values[0], values[1], values[2], values[3]);
}

static int
TimerHandle_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"when", "callback", "args",
                                        "loop", "context",  NULL};
    static const ArgSpec spec = {"TimerHandle.__init__", names, 5, 4, false, false};
    PyObject *values[5];
    State *state = state_of_type(Py_TYPE(self));
    if (state == NULL || args_parse_tuple(&spec, args, kwargs, values) < 0) {
        return -1;
    }
    if (CL_TIMER_ASSERTS_WHEN && values[0] == Py_None) {
        PyErr_SetNone(PyExc_AssertionError);
        return -1;
    }
    TimerHandle *timer = TIMER_HANDLE(self);
    if (timer->handle.loop != NULL && timer->node.index != CL_HEAP_NOWHERE) {
        PyErr_SetString(PyExc_RuntimeError, "the timer is scheduled");
        return -1;
    }
    if (timer->handle.loop == NULL) {
        heap_node_init(&timer->node);
    }
    Py_XSETREF(timer->when_object, Py_NewRef(values[0]));
    return handle_setup(self, state, values[1], values[2], values[3], values[4]);
}

PyDoc_STRVAR(
    Handle_cancel_doc,
    "cancel($self, /)\n--\n\n"
    "Cancel the callback: it will not run. Nothing happens when it has run or\n"
    "was cancelled. From the loop's thread. See the asyncio documentation,\n"
    "section \"Callback Handles\".");

static PyObject *
Handle_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (handle_ready(self) == NULL || handle_cancel(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
TimerHandle_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Handle *handle = handle_ready(self);
    if (handle == NULL) {
        return NULL;
    }
    if (!handle->cancelled && timer_handle_leave_heap(self) < 0) {
        return NULL;
    }
    if (handle_cancel(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(Handle_cancelled_doc,
             "cancelled($self, /)\n--\n\n"
             "True when the callback was cancelled. See the asyncio documentation,\n"
             "section \"Callback Handles\".");

static PyObject *
Handle_cancelled(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(HANDLE(self)->cancelled);
}

PyDoc_STRVAR(Handle_run_doc, "_run($self, /)\n--\n\n"
                             "Run the callback in its context; report its exception.");

static PyObject *
Handle_run(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (handle_ready(self) == NULL) {
        return NULL;
    }
    if (handle_run(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

#if CL_PY312
PyDoc_STRVAR(Handle_get_context_doc,
             "get_context($self, /)\n--\n\n"
             "The contextvars.Context that the callback runs in. See the asyncio\n"
             "documentation, section \"Callback Handles\".");

static PyObject *
Handle_get_context(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return handle_show_context(HANDLE(self));
}
#endif

PyDoc_STRVAR(TimerHandle_when_doc,
             "when($self, /)\n--\n\n"
             "The scheduled time, in seconds of loop.time(). See the asyncio\n"
             "documentation, section \"Callback Handles\".");

static PyObject *
TimerHandle_when(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    TimerHandle *timer = TIMER_HANDLE(self);
    if (timer->when_object != NULL) {
        return Py_NewRef(timer->when_object);
    }
    return PyFloat_FromDouble(timer->when);
}

/* -- attributes --------------------------------------------------------------------- */

static PyObject *
Handle_get_callback(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *callback = HANDLE(self)->callback;
    return Py_NewRef(callback != NULL ? callback : Py_None);
}

static int
Handle_set_callback(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(HANDLE(self)->callback, Py_NewRef(value != NULL ? value : Py_None));
    return 0;
}

static PyObject *
Handle_get_args(PyObject *self, void *Py_UNUSED(closure))
{
    Handle *handle = HANDLE(self);
    return handle->has_args ? handle_args_tuple(handle) : Py_NewRef(Py_None);
}

static PyObject *
Handle_get_cancelled(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(HANDLE(self)->cancelled);
}

static int
Handle_set_cancelled(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    if (truth < 0) {
        return -1;
    }
    HANDLE(self)->cancelled = truth;
    return 0;
}

static PyObject *
Handle_get_loop(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(HANDLE(self)->loop != NULL ? HANDLE(self)->loop : Py_None);
}

static PyObject *
Handle_get_context_attribute(PyObject *self, void *Py_UNUSED(closure))
{
    return handle_show_context(HANDLE(self));
}

static PyObject *
Handle_get_source_traceback(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *traceback = HANDLE(self)->source_traceback;
    return Py_NewRef(traceback != NULL ? traceback : Py_None);
}

static int
Handle_set_source_traceback(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(HANDLE(self)->source_traceback,
               value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}

static PyObject *
Handle_get_repr(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(HANDLE(self)->repr != NULL ? HANDLE(self)->repr : Py_None);
}

static PyObject *
TimerHandle_get_when(PyObject *self, void *Py_UNUSED(closure))
{
    return TimerHandle_when(self, NULL);
}

static PyObject *
TimerHandle_get_scheduled(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(TIMER_HANDLE(self)->scheduled);
}

static int
TimerHandle_set_scheduled(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    if (truth < 0) {
        return -1;
    }
    TIMER_HANDLE(self)->scheduled = truth;
    return 0;
}

/* -- life and death ----------------------------------------------------------------- */

static int
handle_traverse(Handle *handle, visitproc visit, void *arg)
{
    Py_VISIT(handle->loop);
    Py_VISIT(handle->callback);
    Py_VISIT(handle->context);
    Py_VISIT(handle->more_args);
    for (int i = 0; i < handle->nargs; i++) {
        Py_VISIT(handle->args[i]);
    }
    Py_VISIT(handle->source_traceback);
    Py_VISIT(handle->repr);
    return 0;
}

static int
Handle_traverse(PyObject *self, visitproc visit, void *arg)
{
    CL_VISIT_TYPE(self);
    return handle_traverse(HANDLE(self), visit, arg);
}

static int
TimerHandle_traverse(PyObject *self, visitproc visit, void *arg)
{
    CL_VISIT_TYPE(self);
    Py_VISIT(TIMER_HANDLE(self)->when_object);
    return handle_traverse(HANDLE(self), visit, arg);
}

/* Everything but the loop, which the freelist still needs. */
static void
handle_clear(Handle *handle)
{
    int nargs = handle->nargs;
    handle->nargs = 0;
    handle->has_args = false;
    for (int i = 0; i < nargs; i++) {
        Py_CLEAR(handle->args[i]);
    }
    Py_CLEAR(handle->callback);
    if (handle->borrows_context) {
        handle_return_context(handle, NULL);
    }
    Py_CLEAR(handle->context);
    Py_CLEAR(handle->more_args);
    Py_CLEAR(handle->source_traceback);
    Py_CLEAR(handle->repr);
}

static int
Handle_clear(PyObject *self)
{
    handle_clear(HANDLE(self));
    HANDLE(self)->native = NULL;
    Py_CLEAR(HANDLE(self)->loop);
    return 0;
}

static int
TimerHandle_clear(PyObject *self)
{
    Py_CLEAR(TIMER_HANDLE(self)->when_object);
    return Handle_clear(self);
}

/* Puts a dead handle of ours on its loop's freelist or frees it. */
static void
handle_free(PyObject *self, PyTypeObject *exact, size_t freelist)
{
    Handle *handle = HANDLE(self);
    PyTypeObject *type = Py_TYPE(self);
    PyObject *loop = handle->loop;
    Loop *native = handle->native;
    handle->loop = NULL;
    handle->native = NULL;
    if (native == NULL || type != exact
        || !freelist_give((FreeList *)((char *)native + freelist), self)) {
        type->tp_free(self);
        Py_DECREF(type);
    }
    Py_XDECREF(loop);
}

static void
Handle_dealloc(PyObject *self)
{
    Handle *handle = HANDLE(self);
    PyObject_GC_UnTrack(self);
    compat_clear_weakrefs(self);
    handle_clear(handle);
    handle_free(self, handle->state != NULL ? handle->state->HandleType : NULL,
                offsetof(Loop, free_handles));
}

static void
TimerHandle_dealloc(PyObject *self)
{
    Handle *handle = HANDLE(self);
    PyObject_GC_UnTrack(self);
    compat_clear_weakrefs(self);
    Py_CLEAR(TIMER_HANDLE(self)->when_object);
    handle_clear(handle);
    handle_free(self, handle->state != NULL ? handle->state->TimerHandleType : NULL,
                offsetof(Loop, free_timers));
}

/* -- the types ---------------------------------------------------------------------- */

#if CL_PY312
#define CL_HANDLE_GET_CONTEXT                                                          \
    {"get_context", Handle_get_context, METH_NOARGS, Handle_get_context_doc},
#else
#define CL_HANDLE_GET_CONTEXT
#endif

/* clang-format off */
#define CL_HANDLE_METHODS                                                              \
    CL_HANDLE_GET_CONTEXT                                                              \
    {"cancelled", Handle_cancelled, METH_NOARGS, Handle_cancelled_doc},                \
    {"_run", Handle_run, METH_NOARGS, Handle_run_doc}

#define CL_HANDLE_ATTRIBUTES                                                           \
    {"_callback", Handle_get_callback, Handle_set_callback, NULL, NULL},               \
    {"_args", Handle_get_args, NULL, NULL, NULL},                                      \
    {"_cancelled", Handle_get_cancelled, Handle_set_cancelled, NULL, NULL},            \
    {"_loop", Handle_get_loop, NULL, NULL, NULL},                                      \
    {"_context", Handle_get_context_attribute, NULL, NULL, NULL},                      \
    {"_source_traceback", Handle_get_source_traceback, Handle_set_source_traceback,    \
     NULL, NULL},                                                                      \
    {"_repr", Handle_get_repr, NULL, NULL, NULL}
/* clang-format on */

static PyMethodDef Handle_methods[] = {
    {"cancel", Handle_cancel, METH_NOARGS, Handle_cancel_doc},
    CL_HANDLE_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyMethodDef TimerHandle_methods[] = {
    {"cancel", TimerHandle_cancel, METH_NOARGS, Handle_cancel_doc},
    {"when", TimerHandle_when, METH_NOARGS, TimerHandle_when_doc},
    CL_HANDLE_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef Handle_getset[] = {
    CL_HANDLE_ATTRIBUTES,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef TimerHandle_getset[] = {
    CL_HANDLE_ATTRIBUTES,
    {"_when", TimerHandle_get_when, NULL, NULL, NULL},
    {"_scheduled", TimerHandle_get_scheduled, TimerHandle_set_scheduled, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(Handle_doc,
             "Handle(callback, args, loop, context=None)\n--\n\n"
             "A callback that a loop will run: what call_soon() and\n"
             "call_soon_threadsafe() return. A subclass of asyncio.Handle. See the\n"
             "asyncio documentation, section \"Callback Handles\".");

/* clang-format off */
static PyType_Slot Handle_slots[] = {
    {Py_tp_doc, (void *)Handle_doc},
    {Py_tp_init, Handle_init},
    {Py_tp_dealloc, Handle_dealloc},
    {Py_tp_traverse, Handle_traverse},
    {Py_tp_clear, Handle_clear},
    {Py_tp_methods, Handle_methods},
    {Py_tp_getset, Handle_getset},
    {0, NULL},
};
/* clang-format on */

PyType_Spec handle_spec = {
    .name = "cloop.Handle",
    .basicsize = CL_HANDLE_BASE + sizeof(Handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = Handle_slots,
};

PyDoc_STRVAR(TimerHandle_doc,
             "TimerHandle(when, callback, args, loop, context=None)\n--\n\n"
             "A callback that a loop will run at a time: what call_later() and\n"
             "call_at() return. A subclass of asyncio.TimerHandle. See the asyncio\n"
             "documentation, section \"Callback Handles\".");

/* clang-format off */
static PyType_Slot TimerHandle_slots[] = {
    {Py_tp_doc, (void *)TimerHandle_doc},
    {Py_tp_init, TimerHandle_init},
    {Py_tp_dealloc, TimerHandle_dealloc},
    {Py_tp_traverse, TimerHandle_traverse},
    {Py_tp_clear, TimerHandle_clear},
    {Py_tp_methods, TimerHandle_methods},
    {Py_tp_getset, TimerHandle_getset},
    {0, NULL},
};
/* clang-format on */

PyType_Spec timer_handle_spec = {
    .name = "cloop.TimerHandle",
    .basicsize = CL_HANDLE_BASE + sizeof(TimerHandle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = TimerHandle_slots,
};
