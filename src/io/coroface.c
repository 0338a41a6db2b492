/* A coroutine's face: results, exceptions thrown in, the warning of one never awaited
 * (see coroface.h). Called by the types that have it, on any thread with the GIL; keeps
 * no state. */
#include "coroface.h"

#include "../py/stop.h"

PyObject *
coroface_unpack(State *state, PySendResult sent, PyObject *value, bool bare)
{
    if (sent == PYGEN_NEXT) {
        return value;
    }
    if (sent == PYGEN_RETURN) {
        if (bare && value == Py_None) {
            Py_DECREF(value);
        }
        else {
            stop_raise(state, value);
        }
    }
    return NULL;
}

int
coroface_check_throw(Py_ssize_t nargs)
{
    if (nargs >= 1 && nargs <= 3) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "throw expected at %s %d argument%s, got %zd",
                 nargs < 1 ? "least" : "most", nargs < 1 ? 1 : 3, nargs < 1 ? "" : "s",
                 nargs);
    return -1;
}

void
coroface_raise(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *type = args[0];
    PyObject *value = nargs > 1 ? args[1] : NULL;
    PyObject *traceback = nargs > 2 ? args[2] : NULL;
    PyObject *exception = NULL;

    if (traceback == Py_None) {
        traceback = NULL;
    }
    if (traceback != NULL && !PyTraceBack_Check(traceback)) {
        PyErr_SetString(PyExc_TypeError,
                        "throw() third argument must be a traceback object");
        return;
    }
    if (PyExceptionClass_Check(type)) {
        if (value != NULL && PyExceptionInstance_Check(value)) {
            exception = Py_NewRef(value);
        }
        else if (value == NULL || value == Py_None) {
            exception = PyObject_CallNoArgs(type);
        }
        else if (PyTuple_Check(value)) {
            exception = PyObject_Call(type, value, NULL);
        }
        else {
            exception = PyObject_CallOneArg(type, value);
        }
    }
    else if (PyExceptionInstance_Check(type)) {
        if (value != NULL && value != Py_None) {
            PyErr_SetString(PyExc_TypeError,
                            "instance exception may not have a separate value");
            return;
        }
        exception = Py_NewRef(type);
    }
    else {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes or instances deriving from "
                     "BaseException, not %s",
                     Py_TYPE(type)->tp_name);
        return;
    }
    if (exception != NULL && !PyExceptionInstance_Check(exception)) {
        PyErr_Format(PyExc_TypeError,
                     "calling %R should have returned an instance of BaseException, "
                     "not %s",
                     type, Py_TYPE(exception)->tp_name);
        Py_CLEAR(exception);
    }
    if (exception != NULL
        && (traceback == NULL || PyException_SetTraceback(exception, traceback) == 0)) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    }
    Py_XDECREF(exception);
}

PySendResult
coroface_throw_into(State *state, PyObject *coro, PyObject *const *args,
                    Py_ssize_t nargs, PyObject **value)
{
    PyObject *stack[4] = {coro};
    for (Py_ssize_t i = 0; i < nargs; i++) {
        stack[1 + i] = args[i];
    }
    *value =
        PyObject_VectorcallMethod(state->str_throw, stack, (size_t)(1 + nargs), NULL);
    if (*value != NULL) {
        return PYGEN_NEXT;
    }
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return PYGEN_ERROR;
    }
    return compat_fetch_stop_iteration(value) == 0 ? PYGEN_RETURN : PYGEN_ERROR;
}

void
coroface_warn_unawaited(PyObject *self, const char *class_name, const char *name)
{
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *module = PyImport_ImportModule("warnings");
    PyObject *result = NULL;
    if (module != NULL) {
        result = PyObject_CallMethod(module, "_warn_unawaited_coroutine", "O", self);
        if (result == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
            PyErr_WarnFormat(PyExc_RuntimeWarning, 1,
                             "coroutine '%s.%s' was never awaited", class_name, name);
        }
        Py_DECREF(module);
    }
    Py_XDECREF(result);
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(self);
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}
