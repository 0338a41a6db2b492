/* FutureIter: what `await future` drives (see future_impl.h).
 *
 * It gives the future itself to the task, once, and then the future's outcome. Made for
 * each await, on the loop's thread, and taken from the loop's freelist.
 *
 * Invariant: `future` is NULL once the outcome was given (up to 3.13), or after close()
 * or throw(). */
#include "../py/stop.h"
#include "future_impl.h"

typedef struct FutureIter {
    PyObject_HEAD
    PyObject *future;
    Loop *native; /* whose freelist; strong; NULL for a foreign loop */
} FutureIter;

#define FUTURE_ITER(op) ((FutureIter *)(op))

PyObject *
future_iter_new(PyObject *self)
{
    Future *future = FUTURE(self);
    if (future_check_alive(future) < 0) {
        return NULL;
    }
    PyObject *op = NULL;
    if (future->native != NULL) {
        op = freelist_take(&future->native->free_future_iters);
    }
    if (op == NULL) {
        PyTypeObject *type = future->state->FutureIterType;
        op = (PyObject *)PyObject_GC_New(FutureIter, type);
        if (op == NULL) {
            return NULL;
        }
    }
    FUTURE_ITER(op)->future = Py_NewRef(self);
    FUTURE_ITER(op)->native = (Loop *)Py_XNewRef((PyObject *)future->native);
    PyObject_GC_Track(op);
    return op;
}

/* One resumption. PYGEN_NEXT: *result is the future; PYGEN_RETURN: its result. */
static PySendResult
future_iter_resume(PyObject *op, PyObject **result)
{
    FutureIter *it = FUTURE_ITER(op);
    PyObject *self = it->future;
    *result = NULL;
    if (self == NULL) {
        return PYGEN_ERROR; /* without an exception: exhausted */
    }
    Future *future = FUTURE(self);
    if (future->phase == CL_FUTURE_PENDING) {
        if (CL_LIKELY(!future->blocking)) {
            future->blocking = true;
            *result = Py_NewRef(self);
            return PYGEN_NEXT;
        }
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        return PYGEN_ERROR;
    }
    if (CL_FUTURE_ITER_REPEATS) {
        Py_INCREF(self);
    }
    else {
        it->future = NULL;
    }
    *result = future_get_result(self);
    Py_DECREF(self);
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

static PyObject *
FutureIter_next(PyObject *op)
{
    PyObject *result;
    switch (future_iter_resume(op, &result)) {
    case PYGEN_NEXT:
        return result;
    case PYGEN_RETURN:
        if (result == Py_None) {
            Py_DECREF(result); /* an end without an exception means None */
        }
        else {
            const Loop *native = FUTURE_ITER(op)->native;
            stop_raise(native != NULL ? native->state : NULL, result);
        }
        return NULL;
    default:
        return NULL;
    }
}

#if defined(CL_HAVE_AM_SEND)
static PySendResult
FutureIter_am_send(PyObject *op, PyObject *Py_UNUSED(value), PyObject **result)
{
    PySendResult rc = future_iter_resume(op, result);
    if (CL_UNLIKELY(rc == PYGEN_ERROR && !PyErr_Occurred())) {
        *result = Py_NewRef(Py_None); /* exhausted: ends as tp_iternext would */
        return PYGEN_RETURN;
    }
    return rc;
}
#endif

PyDoc_STRVAR(FutureIter_send_doc,
             "send(value)\n--\n\n"
             "Resume, as a generator would. The value is not used.");

static PyObject *
FutureIter_send(PyObject *op, PyObject *Py_UNUSED(value))
{
    PyObject *result = FutureIter_next(op);
    if (result == NULL && !PyErr_Occurred()) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    return result;
}

/* Makes throw()'s arguments an exception, its traceback attached. New ref or NULL. */
static PyObject *
thrown_exception(PyObject *type, PyObject *value, PyObject *traceback)
{
    if (PyExceptionClass_Check(type)) {
        Py_INCREF(type);
        Py_XINCREF(value);
        Py_XINCREF(traceback);
        PyErr_Restore(type, value, traceback);
        return PyErr_GetRaisedException();
    }
    if (!PyExceptionInstance_Check(type)) {
        PyErr_SetString(PyExc_TypeError,
                        "exceptions must be classes deriving BaseException or "
                        "instances of such a class");
        return NULL;
    }
    if (value != NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "instance exception may not have a separate value");
        return NULL;
    }
    if (traceback != NULL && PyException_SetTraceback(type, traceback) < 0) {
        return NULL;
    }
    return Py_NewRef(type);
}

PyDoc_STRVAR(FutureIter_throw_doc, "throw(type[, value[, traceback]])\n--\n\n"
                                   "Raise the exception, let go of the future.");

static PyObject *
FutureIter_throw(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 3) {
        const char *format = CL_THROW_IS_FASTCALL
                                 ? "throw expected at %s argument%s, got %zd"
                                 : "function takes at %s argument%s (%zd given)";
        PyErr_Format(PyExc_TypeError, format, nargs < 1 ? "least 1" : "most 3",
                     nargs < 1 ? "" : "s", nargs);
        return NULL;
    }
#if CL_WARN_THREE_ARG_THROW
    if (nargs > 1
        && PyErr_WarnEx(PyExc_DeprecationWarning,
                        "the (type, exc, tb) signature of throw() is deprecated, use "
                        "the single-arg signature instead.",
                        1)
               < 0) {
        return NULL;
    }
#endif
    PyObject *traceback = nargs == 3 && args[2] != Py_None ? args[2] : NULL;
    if (traceback != NULL && !PyTraceBack_Check(traceback)) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback");
        return NULL;
    }
    PyObject *value = nargs >= 2 && args[1] != Py_None ? args[1] : NULL;
    PyObject *exception = thrown_exception(args[0], value, traceback);
    if (exception == NULL) {
        return NULL;
    }
    Py_CLEAR(FUTURE_ITER(op)->future);
    PyErr_SetRaisedException(exception);
    return NULL;
}

PyDoc_STRVAR(FutureIter_close_doc, "close()\n--\n\n"
                                   "Let go of the future.");

static PyObject *
FutureIter_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(FUTURE_ITER(op)->future);
    Py_RETURN_NONE;
}

static int
FutureIter_traverse(PyObject *op, visitproc visit, void *arg)
{
    CL_VISIT_TYPE(op);
    Py_VISIT(FUTURE_ITER(op)->future);
    Py_VISIT(FUTURE_ITER(op)->native);
    return 0;
}

static int
FutureIter_clear(PyObject *op)
{
    Py_CLEAR(FUTURE_ITER(op)->future);
    return 0;
}

static void
FutureIter_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    Loop *native = FUTURE_ITER(op)->native;
    Py_CLEAR(FUTURE_ITER(op)->future);
    if (native == NULL || !freelist_give(&native->free_future_iters, op)) {
        PyTypeObject *type = Py_TYPE(op);
        PyObject_GC_Del(op);
        Py_DECREF(type);
    }
    Py_XDECREF(native);
}

static PyMethodDef FutureIter_methods[] = {
    {"send", FutureIter_send, METH_O, FutureIter_send_doc},
    {"throw", (PyCFunction)(void (*)(void))FutureIter_throw, METH_FASTCALL,
     FutureIter_throw_doc},
    {"close", FutureIter_close, METH_NOARGS, FutureIter_close_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot FutureIter_slots[] = {
    {Py_tp_dealloc, FutureIter_dealloc},
    {Py_tp_traverse, FutureIter_traverse},
    {Py_tp_clear, FutureIter_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, FutureIter_next},
    {Py_tp_methods, FutureIter_methods},
#if defined(CL_HAVE_AM_SEND)
    {Py_am_send, FutureIter_am_send},
#endif
    {0, NULL},
};

PyType_Spec future_iter_spec = {
    .name = "cloop._FutureIter",
    .basicsize = sizeof(FutureIter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | CL_TPFLAGS_IMMUTABLE
             | CL_TPFLAGS_NO_NEW,
    .slots = FutureIter_slots,
};
