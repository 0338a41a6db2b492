/* Handle, TimerHandle and _ThreadSafeHandle, the Python types: methods, attributes, life
 * (see handle.h). Called from Python, on the loop's thread; a _ThreadSafeHandle's methods
 * on any.
 *
 * __repr__, _repr_info and the comparisons are inherited: they are Python methods of
 * asyncio's classes and read our attributes. */

#include "../py/args.h"
#include "handle_impl.h"

/* -- methods ----------------------------------------------------------------------- */

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

PyDoc_STRVAR(
    SafeHandle_cancel_doc,
    "cancel($self, /)\n--\n\n"
    "Cancel the callback: it will not run. One that runs in another thread is\n"
    "waited for. From any thread. See the asyncio documentation, section\n"
    "\"Callback Handles\".");

static PyObject *
SafeHandle_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (handle_ready(self) == NULL || safe_handle_lock(self) < 0) {
        return NULL;
    }
    int rc = handle_cancel(self);
    safe_handle_unlock(self);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
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

static PyObject *
SafeHandle_cancelled(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (handle_ready(self) == NULL || safe_handle_lock(self) < 0) {
        return NULL;
    }
    bool cancelled = HANDLE(self)->cancelled;
    safe_handle_unlock(self);
    return PyBool_FromLong(cancelled);
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

static PyObject *
SafeHandle_run(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (handle_ready(self) == NULL || safe_handle_run(self) < 0) {
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

/* -- attributes -------------------------------------------------------------------- */

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

/* -- life and death ---------------------------------------------------------------- */

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
SafeHandle_dealloc(PyObject *self)
{
    Handle *handle = HANDLE(self);
    PyObject_GC_UnTrack(self);
    compat_clear_weakrefs(self);
    handle_clear(handle);
    handle_free(self, handle->state != NULL ? handle->state->SafeHandleType : NULL,
                offsetof(Loop, free_safe_handles));
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

/* -- the types --------------------------------------------------------------------- */

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

static PyMethodDef SafeHandle_methods[] = {
    {"cancel", SafeHandle_cancel, METH_NOARGS, SafeHandle_cancel_doc},
    {"cancelled", SafeHandle_cancelled, METH_NOARGS, Handle_cancelled_doc},
    {"_run", SafeHandle_run, METH_NOARGS, Handle_run_doc},
    /* clang-format off */
    CL_HANDLE_GET_CONTEXT
    /* clang-format on */
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
             "A callback that a loop will run: what call_soon() and (up to 3.13)\n"
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

PyDoc_STRVAR(SafeHandle_doc,
             "_ThreadSafeHandle(callback, args, loop, context=None)\n--\n\n"
             "A callback that a loop will run and any thread may cancel: what\n"
             "call_soon_threadsafe() returns. See the asyncio documentation, section\n"
             "\"Callback Handles\".");

/* clang-format off */
static PyType_Slot SafeHandle_slots[] = {
    {Py_tp_doc, (void *)SafeHandle_doc},
    {Py_tp_init, Handle_init},
    {Py_tp_dealloc, SafeHandle_dealloc},
    {Py_tp_traverse, Handle_traverse},
    {Py_tp_clear, Handle_clear},
    {Py_tp_methods, SafeHandle_methods},
    {Py_tp_getset, Handle_getset},
    {0, NULL},
};
/* clang-format on */

PyType_Spec safe_handle_spec = {
    .name = "cloop._ThreadSafeHandle",
    .basicsize = CL_HANDLE_BASE + sizeof(SafeHandle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = SafeHandle_slots,
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
