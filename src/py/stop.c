/* One StopIteration for many results (see stop.h). Called by the iterators' types, on
 * any thread with the GIL. State.spare_stop is NULL or a StopIteration. */
#include "stop.h"

#include "../os/platform.h"

#if CL_NORMALIZES_EXCEPTIONS

/* A result stays alive in the spare until the next one: no large ones. */
#define CL_KEPT_SIZE (16 * 1024)
/* Up to this size the interpreter's own allocator is as fast. */
#define CL_REUSED_SIZE 512

/* True for values which nobody notices being kept: nothing refers to them weakly, they
 * refer to nothing, nothing happens when they die. */
static bool
may_be_kept(PyObject *value)
{
    if (PyBytes_CheckExact(value)) {
        return PyBytes_GET_SIZE(value) <= CL_KEPT_SIZE;
    }
    if (PyLong_CheckExact(value)) {
        return PyUnstable_Long_IsCompact((PyLongObject *)value);
    }
    if (PyUnicode_CheckExact(value)) {
        return PyUnicode_GET_LENGTH(value) <= CL_KEPT_SIZE / 4;
    }
    return PyBool_Check(value) || PyFloat_CheckExact(value);
}

/* True when nobody can tell it from a new one. */
static bool
is_as_new(PyObject *stop)
{
    PyStopIterationObject *fields = (PyStopIterationObject *)stop;
    return Py_REFCNT(stop) == 1 && Py_IS_TYPE(stop, (PyTypeObject *)PyExc_StopIteration)
           && fields->dict == NULL && fields->notes == NULL && fields->traceback == NULL
           && fields->context == NULL && fields->cause == NULL
           && !fields->suppress_context && fields->args != NULL
           && PyTuple_CheckExact(fields->args) && PyTuple_GET_SIZE(fields->args) == 1
           && Py_REFCNT(fields->args) == 1;
}

/* True in an except block, in which what is raised has a context. */
static bool
has_context(void)
{
    if (!CL_STOP_HAS_CONTEXT) {
        return false;
    }
    PyObject *handled = PyErr_GetHandledException();
    Py_XDECREF(handled);
    return handled != NULL;
}

PyObject *
stop_reuse_bytes(State *state, Py_ssize_t size)
{
    PyObject *stop = state->spare_stop;
    if (stop == NULL || size < CL_REUSED_SIZE || !is_as_new(stop)) {
        return NULL;
    }
    PyStopIterationObject *fields = (PyStopIterationObject *)stop;
    PyObject *value = fields->value;
    if (!PyBytes_CheckExact(value) || PyBytes_GET_SIZE(value) != size
        || PyTuple_GET_ITEM(fields->args, 0) != value || Py_REFCNT(value) != 2) {
        return NULL;
    }
    PyTuple_SET_ITEM(fields->args, 0, Py_NewRef(Py_None));
    fields->value = Py_NewRef(Py_None);
    Py_DECREF(value); /* one of its two refs; the other is the caller's */
    compat_bytes_renew(value, size);
    return value;
}

void
stop_raise(State *state, PyObject *value)
{
    if (!CL_FREELIST || state == NULL || !may_be_kept(value) || has_context()) {
        compat_set_stop_iteration(value);
        return;
    }
    PyObject *stop = state->spare_stop;
    if (CL_LIKELY(stop != NULL && is_as_new(stop))) {
        PyStopIterationObject *fields = (PyStopIterationObject *)stop;
        PyObject *in_args = PyTuple_GET_ITEM(fields->args, 0);
        PyObject *was = fields->value;
        PyTuple_SET_ITEM(fields->args, 0, Py_NewRef(value));
        fields->value = value;
        PyErr_SetRaisedException(Py_NewRef(stop));
        Py_XDECREF(in_args);
        Py_XDECREF(was);
        return;
    }
    stop = PyObject_CallOneArg(PyExc_StopIteration, value);
    Py_DECREF(value);
    if (stop != NULL) {
        Py_XSETREF(state->spare_stop, Py_NewRef(stop));
        PyErr_SetRaisedException(stop);
    }
}

#else

PyObject *
stop_reuse_bytes(State *Py_UNUSED(state), Py_ssize_t Py_UNUSED(size))
{
    return NULL;
}

void
stop_raise(State *Py_UNUSED(state), PyObject *value)
{
    compat_set_stop_iteration(value);
}

#endif
