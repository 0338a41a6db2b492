/* ReaderOp: what the methods of native readers and writers return. It has a coroutine's
 * face; its first send() makes the attempt (reader_read.c), which answers at once when it
 * can. Driven by a task, on the loop's thread.
 *
 *   CREATED --send--> RUNNING --result, exception---------------------> OVER
 *                      ^  | nothing there yet                            ^
 *                      |  +--> WAITING --reader woken, then send-> RUNNING
 *                      |  | not plain     throw, close ------------------+
 *                      |  +--> DELEGATED --asyncio's coroutine ends------+
 *
 * Nothing happens before the first send, as with a coroutine: neither are arguments
 * checked nor is the reader looked at. While WAITING `future` is what was yielded; it is
 * the reader's _waiter, which is None again as soon as this is resumed, thrown into or
 * closed. */
#include "reader.h"

#include "../core/future.h"
#include "coroface.h"

typedef enum ReaderOpPhase {
    CL_READER_CREATED,
    CL_READER_RUNNING,
    CL_READER_WAITING,
    CL_READER_DELEGATED,
    CL_READER_OVER,
} ReaderOpPhase;

static ReaderOp *
op_of(PyObject *self)
{
    return (ReaderOp *)self;
}

/* -- asyncio's own ----------------------------------------------------------------- */

PyObject *
reader_call_stock(PyTypeObject *native, PyObject *self, const char *name,
                  PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *parent = PyObject_CallFunctionObjArgs((PyObject *)&PySuper_Type,
                                                    (PyObject *)native, self, NULL);
    PyObject *method = parent != NULL ? PyObject_GetAttrString(parent, name) : NULL;
    PyObject *result = method != NULL
                           ? PyObject_Vectorcall(method, args, (size_t)nargs, kwnames)
                           : NULL;
    Py_XDECREF(method);
    Py_XDECREF(parent);
    return result;
}

/* -- running ----------------------------------------------------------------------- */

/* The caller holds a ref. */
static void
end(ReaderOp *op)
{
    op->phase = CL_READER_OVER;
    Py_CLEAR(op->future);
    Py_CLEAR(op->delegate);
    Py_CLEAR(op->blocks);
    Py_CLEAR(op->argument);
    Py_CLEAR(op->target);
}

/* It waits no more: reader._waiter = None, whatever is raised. 0 or -1. */
static int
forget_waiter(ReaderOp *op)
{
    PyObject *raised = PyErr_Occurred() ? PyErr_GetRaisedException() : NULL;
    State *state = op->loop->state;
    PyObject *dict = reader_vars(op->target);
    int rc = dict == NULL ? -1 : 0;
    /* Who woke it has set that already. */
    if (rc == 0 && reader_field(state, dict, CL_READER_WAITER) != Py_None) {
        rc = PyDict_SetItem(dict, state->str_private_waiter, Py_None);
    }
    Py_XDECREF(dict);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    else if (dict == NULL) {
        PyErr_SetString(PyExc_AttributeError, "__dict__");
    }
    return rc;
}

/* reader._paused = False; reader._transport.resume_reading(). 0 or -1. */
static int
resume_transport(State *state, PyObject *dict)
{
    if (PyDict_SetItem(dict, state->str_paused, Py_False) < 0) {
        return -1;
    }
    PyObject *transport = Py_XNewRef(reader_field(state, dict, CL_READER_TRANSPORT));
    PyObject *result =
        transport == NULL
            ? NULL
            : PyObject_CallMethodNoArgs(transport, state->str_resume_reading);
    if (transport == NULL) {
        PyErr_SetObject(PyExc_AttributeError, state->str_private_transport);
    }
    Py_XDECREF(transport);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Waits as StreamReader._wait_for_data does. CL_READER_WAIT with *result to be yielded,
 * CL_READER_STOCK when it is for asyncio to say what is wrong, or -1. */
static int
wait_for_data(ReaderOp *op, PyObject *dict, PyObject **result)
{
    State *state = op->loop->state;
    if (reader_field(state, dict, CL_READER_WAITER) != Py_None) {
        return CL_READER_STOCK;
    }
    PyObject *paused = reader_field(state, dict, CL_READER_PAUSED);
    if (CL_UNLIKELY(paused != Py_False)) {
        if (paused != Py_True) {
            return CL_READER_STOCK;
        }
        if (resume_transport(state, dict) < 0) {
            return -1;
        }
    }
    PyObject *future = future_new(op->loop);
    if (future == NULL) {
        return -1;
    }
    if (PyDict_SetItem(dict, state->str_private_waiter, future) < 0) {
        Py_DECREF(future);
        return -1;
    }
    FUTURE(future)->blocking = true;
    op->future = future;
    op->waited = true;
    *result = Py_NewRef(future);
    return CL_READER_WAIT;
}

static PySendResult
resume_delegate(ReaderOp *op, PySendResult sent)
{
    op->phase = CL_READER_DELEGATED;
    if (sent != PYGEN_NEXT) {
        end(op);
    }
    return sent;
}

/* Hands over to asyncio's own coroutine. */
static PySendResult
delegate(ReaderOp *op, PyObject **result)
{
    State *state = op->loop->state;
    PyTypeObject *native =
        op->kind->of_writer ? state->NativeWriterType : state->NativeReaderType;
    PyObject *coro = reader_call_stock(native, op->target, op->kind->name,
                                       &op->argument, op->argument != NULL, NULL);
    if (coro != NULL && !PyCoro_CheckExact(coro)) { /* patched meanwhile */
        Py_SETREF(coro, PyObject_CallMethod(coro, "__await__", NULL));
    }
    op->delegate = coro;
    return resume_delegate(op, op->delegate == NULL
                                   ? PYGEN_ERROR
                                   : PyIter_Send(op->delegate, Py_None, result));
}

static PySendResult
run(ReaderOp *op, PyObject **result)
{
    State *state = op->loop->state;
    PyObject *target = Py_NewRef(op->target);
    PyObject *dict =
        op->kind->of_writer ? reader_vars(target) : reader_attributes(state, target);
    int rc = CL_READER_STOCK;
    op->phase = CL_READER_RUNNING;
    if (CL_LIKELY(dict != NULL)) {
        rc = op->kind->attempt(op, dict, result);
        if (rc == CL_READER_WAIT) {
            rc = wait_for_data(op, dict, result);
        }
        Py_DECREF(dict);
    }
    PySendResult sent = PYGEN_ERROR;
    switch (rc) {
    case CL_READER_WAIT:
        op->phase = CL_READER_WAITING;
        sent = PYGEN_NEXT;
        break;
    case CL_READER_STOCK:
        sent = delegate(op, result);
        break;
    default:
        sent = rc == CL_READER_DONE ? PYGEN_RETURN : PYGEN_ERROR;
        end(op);
    }
    Py_DECREF(target);
    return sent;
}

/* The reader was woken. */
static PySendResult
go_on(ReaderOp *op, PyObject **result)
{
    PyObject *future = op->future;
    op->future = NULL;
    op->phase = CL_READER_RUNNING;
    int rc = 0;
    if (CL_UNLIKELY(!future_is_done(future))) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        rc = -1;
    }
    else {
        PyObject *woken = future_get_result(future);
        rc = woken == NULL ? -1 : 0;
        Py_XDECREF(woken);
    }
    Py_DECREF(future);
    if (forget_waiter(op) < 0) {
        rc = -1;
    }
    if (rc == 0) {
        return run(op, result);
    }
    end(op);
    return PYGEN_ERROR;
}

/* Raises what a coroutine does that cannot be driven now. */
static PySendResult
refuse(const ReaderOp *op)
{
    if (op->phase == CL_READER_RUNNING) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    }
    else {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    }
    return PYGEN_ERROR;
}

static PySendResult
ReaderOp_am_send(PyObject *self, PyObject *arg, PyObject **result)
{
    ReaderOp *op = op_of(self);
    *result = NULL;
    switch ((ReaderOpPhase)op->phase) {
    case CL_READER_CREATED:
        if (CL_UNLIKELY(arg != Py_None)) {
            PyErr_SetString(PyExc_TypeError,
                            "can't send non-None value to a just-started coroutine");
            return PYGEN_ERROR;
        }
        return run(op, result);
    case CL_READER_WAITING:
        return go_on(op, result);
    case CL_READER_DELEGATED:
        op->phase = CL_READER_RUNNING;
        return resume_delegate(op, PyIter_Send(op->delegate, arg, result));
    default:
        return refuse(op);
    }
}

/* -- the coroutine's methods ------------------------------------------------------- */

static PyObject *
ReaderOp_iternext(PyObject *self)
{
    PyObject *value;
    PySendResult sent = ReaderOp_am_send(self, Py_None, &value);
    return coroface_unpack(op_of(self)->loop->state, sent, value, true);
}

PyDoc_STRVAR(ReaderOp_send_doc, "send($self, arg, /)\n--\n\n"
                                "Start or continue, as a coroutine's send().");

static PyObject *
ReaderOp_send(PyObject *self, PyObject *arg)
{
    PyObject *value;
    PySendResult sent = ReaderOp_am_send(self, arg, &value);
    return coroface_unpack(op_of(self)->loop->state, sent, value, false);
}

PyDoc_STRVAR(ReaderOp_throw_doc,
             "throw($self, type, value=None, traceback=None, /)\n--\n\n"
             "Raise the exception where it waits, as a coroutine's throw().");

static PyObject *
ReaderOp_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    ReaderOp *op = op_of(self);
    if (coroface_check_throw(nargs) < 0) {
        return NULL;
    }
    if (op->phase == CL_READER_RUNNING || op->phase == CL_READER_OVER) {
        refuse(op);
        return NULL;
    }
    if (op->phase == CL_READER_DELEGATED) {
        PyObject *value;
        op->phase = CL_READER_RUNNING;
        PySendResult sent =
            coroface_throw_into(op->loop->state, op->delegate, args, nargs, &value);
        return coroface_unpack(op->loop->state, resume_delegate(op, sent), value,
                               false);
    }
    if (op->phase == CL_READER_WAITING) {
        (void)forget_waiter(op);
        PyErr_Clear();
    }
    end(op);
    coroface_raise(args, nargs);
    return NULL;
}

PyDoc_STRVAR(ReaderOp_close_doc, "close($self, /)\n--\n\n"
                                 "End it without a result, as a coroutine's close().");

static PyObject *
ReaderOp_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    ReaderOp *op = op_of(self);
    PyObject *closed = NULL;
    switch ((ReaderOpPhase)op->phase) {
    case CL_READER_RUNNING:
        refuse(op);
        return NULL;
    case CL_READER_WAITING:
        closed = forget_waiter(op) < 0 ? NULL : Py_NewRef(Py_None);
        break;
    case CL_READER_DELEGATED:
        op->phase = CL_READER_RUNNING;
        closed = PyObject_CallMethodNoArgs(op->delegate, op->loop->state->str_close);
        break;
    default:
        closed = Py_NewRef(Py_None);
    }
    end(op);
    return closed;
}

static PyObject *
ReaderOp_await(PyObject *self)
{
    uint8_t phase = op_of(self)->phase;
    if (CL_UNLIKELY(phase == CL_READER_WAITING || phase == CL_READER_DELEGATED)) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
        return NULL;
    }
    return Py_NewRef(self);
}

/* -- attributes -------------------------------------------------------------------- */

static PyObject *
ReaderOp_get_name(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(op_of(self)->kind->name);
}

static PyObject *
ReaderOp_get_qualname(PyObject *self, void *Py_UNUSED(closure))
{
    const ReaderOpKind *kind = op_of(self)->kind;
    return PyUnicode_FromFormat("%s.%s", kind->class_name, kind->name);
}

static PyObject *
ReaderOp_get_none(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_NONE;
}

static PyObject *
ReaderOp_get_running(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(op_of(self)->phase == CL_READER_RUNNING);
}

static PyObject *
ReaderOp_get_suspended(PyObject *self, void *Py_UNUSED(closure))
{
    uint8_t phase = op_of(self)->phase;
    return PyBool_FromLong(phase == CL_READER_WAITING || phase == CL_READER_DELEGATED);
}

static PyObject *
ReaderOp_get_await(PyObject *self, void *Py_UNUSED(closure))
{
    ReaderOp *op = op_of(self);
    PyObject *awaited = op->delegate != NULL ? op->delegate : op->future;
    return Py_NewRef(awaited != NULL ? awaited : Py_None);
}

static PyObject *
ReaderOp_repr(PyObject *self)
{
    const ReaderOpKind *kind = op_of(self)->kind;
    return PyUnicode_FromFormat("<coroutine object %s.%s at %p>", kind->class_name,
                                kind->name, self);
}

static PyGetSetDef reader_op_getset[] = {
    {"__name__", ReaderOp_get_name, NULL, "Name of the method.", NULL},
    {"__qualname__", ReaderOp_get_qualname, NULL, "Qualified name.", NULL},
    {"cr_await", ReaderOp_get_await, NULL, "What it waits for, or None.", NULL},
    {"cr_code", ReaderOp_get_none, NULL, "None: it is C.", NULL},
    {"cr_frame", ReaderOp_get_none, NULL, "None: it is C.", NULL},
    {"cr_origin", ReaderOp_get_none, NULL, "None: debug mode has none of these.", NULL},
    {"cr_running", ReaderOp_get_running, NULL, "Whether it is executing.", NULL},
    {"cr_suspended", ReaderOp_get_suspended, NULL, "Whether it is waiting.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef reader_op_methods[] = {
    {"send", ReaderOp_send, METH_O, ReaderOp_send_doc},
    {"throw", (PyCFunction)(void (*)(void))ReaderOp_throw, METH_FASTCALL,
     ReaderOp_throw_doc},
    {"close", ReaderOp_close, METH_NOARGS, ReaderOp_close_doc},
    {NULL, NULL, 0, NULL},
};

/* -- life -------------------------------------------------------------------------- */

PyObject *
reader_op_new(Loop *loop, const ReaderOpKind *kind, PyObject *target,
              PyObject *argument)
{
    PyObject *self = freelist_take(&loop->free_reader_ops);
    if (self == NULL) {
        self = (PyObject *)PyObject_GC_New(ReaderOp, loop->state->ReaderOpType);
        if (self == NULL) {
            return NULL;
        }
    }
    ReaderOp *op = op_of(self);
    op->kind = kind;
    op->loop = (Loop *)Py_NewRef((PyObject *)loop);
    op->target = Py_NewRef(target);
    op->argument = Py_XNewRef(argument);
    op->future = NULL;
    op->delegate = NULL;
    op->blocks = NULL;
    op->offset = 0;
    op->phase = CL_READER_CREATED;
    op->waited = false;
    PyObject_GC_Track(self);
    return self;
}

static int
ReaderOp_traverse(PyObject *self, visitproc visit, void *arg)
{
    ReaderOp *op = op_of(self);
    CL_VISIT_TYPE(self);
    Py_VISIT(op->loop);
    Py_VISIT(op->target);
    Py_VISIT(op->argument);
    Py_VISIT(op->future);
    Py_VISIT(op->delegate);
    Py_VISIT(op->blocks);
    return 0;
}

/* Not `loop`: its freelist is asked for at the end. */
static int
ReaderOp_clear(PyObject *self)
{
    end(op_of(self));
    return 0;
}

/* As when a coroutine dies: a warning when it was never awaited, else it is closed. */
static void
ReaderOp_finalize(PyObject *self)
{
    ReaderOp *op = op_of(self);
    if (op->phase == CL_READER_CREATED) {
        coroface_warn_unawaited(self, op->kind->class_name, op->kind->name);
    }
    else if (op->phase == CL_READER_WAITING) {
        PyObject *raised = PyErr_GetRaisedException();
        if (forget_waiter(op) < 0) {
            PyErr_WriteUnraisable(self);
        }
        if (raised != NULL) {
            PyErr_SetRaisedException(raised);
        }
    }
}

static void
ReaderOp_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    ReaderOp *op = op_of(self);
    /* One that was finalised is not to be used again: it would not be another time. */
    bool finalizes = op->phase != CL_READER_OVER;
    if (CL_UNLIKELY(finalizes) && PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    end(op);
    Loop *loop = op->loop;
    op->loop = NULL;
    if (finalizes || !freelist_give(&loop->free_reader_ops, self)) {
        PyObject_GC_Del(self);
        Py_DECREF(type);
    }
    Py_DECREF(loop);
}

static PyType_Slot reader_op_slots[] = {
    {Py_tp_doc, "A method of a stream at work: a coroutine in C."},
    {Py_tp_dealloc, ReaderOp_dealloc},
    {Py_tp_traverse, ReaderOp_traverse},
    {Py_tp_clear, ReaderOp_clear},
    {Py_tp_finalize, ReaderOp_finalize},
    {Py_tp_repr, ReaderOp_repr},
    {Py_tp_iter, ReaderOp_await}, /* `yield from` in generators of the old style */
    {Py_tp_iternext, ReaderOp_iternext},
    {Py_tp_methods, reader_op_methods},
    {Py_tp_getset, reader_op_getset},
    {Py_am_await, ReaderOp_await},
#ifdef CL_HAVE_AM_SEND
    {Py_am_send, ReaderOp_am_send},
#endif
    {0, NULL},
};

PyType_Spec reader_op_spec = {
    .name = "cloop._ReaderOp",
    .basicsize = sizeof(ReaderOp),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | CL_TPFLAGS_NO_NEW,
    .slots = reader_op_slots,
};
