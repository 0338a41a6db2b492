/* What newer CPythons offer, made from what older ones have. Called like the functions
 * whose names they bear, with the GIL held; keeps no state. */
#include "compat.h"

#if !defined(CL_HAVE_AM_SEND)
/* The result of a finished send: the raised StopIteration's value, or the exception. */
static PySendResult
take_send_result(PyObject *yielded, PyObject **result)
{
    if (yielded != NULL) {
        *result = yielded;
        return PYGEN_NEXT;
    }
    if (_PyGen_FetchStopIterationValue(result) == 0) {
        return PYGEN_RETURN;
    }
    return PYGEN_ERROR;
}

PySendResult
PyIter_Send(PyObject *iter, PyObject *arg, PyObject **result)
{
    *result = NULL;
    PyObject *yielded;
    if (PyGen_CheckExact(iter) || PyCoro_CheckExact(iter)) {
        yielded = _PyGen_Send((PyGenObject *)iter, arg);
    }
    else if (arg == Py_None && Py_TYPE(iter)->tp_iternext != NULL
             && Py_TYPE(iter)->tp_iternext != &_PyObject_NextNotImplemented) {
        yielded = Py_TYPE(iter)->tp_iternext(iter);
    }
    else {
        yielded = PyObject_CallMethod(iter, "send", "(O)", arg);
    }
    return take_send_result(yielded, result);
}
#endif

#if defined(CL_NEED_RAISED_EXCEPTION)
PyObject *
PyErr_GetRaisedException(void)
{
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        /* Fails for what is not a traceback only: not what Fetch gives. */
        if (PyException_SetTraceback(value, traceback) < 0) {
            PyErr_Clear();
        }
        Py_DECREF(traceback);
    }
    Py_DECREF(type);
    return value;
}

void
PyErr_SetRaisedException(PyObject *exception)
{
    if (exception == NULL) {
        PyErr_Clear();
        return;
    }
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exception)), exception,
                  PyException_GetTraceback(exception));
}
#endif

/* An item of its own, as each generator has one: what is handled further out stays
 * untouched below it. */
void
compat_begin_handling(_PyErr_StackItem *item, PyObject *exception)
{
    PyThreadState *thread = PyThreadState_Get();
    memset(item, 0, sizeof(*item));
    item->exc_value = Py_XNewRef(exception);
#if !CL_PY311
    if (exception != NULL) {
        item->exc_type = Py_NewRef((PyObject *)Py_TYPE(exception));
        item->exc_traceback = PyException_GetTraceback(exception);
    }
#endif
    item->previous_item = thread->exc_info;
    thread->exc_info = item;
}

void
compat_end_handling(_PyErr_StackItem *item)
{
    PyThreadState_Get()->exc_info = item->previous_item;
    Py_CLEAR(item->exc_value);
#if !CL_PY311
    Py_CLEAR(item->exc_type);
    Py_CLEAR(item->exc_traceback);
#endif
}

int
compat_fetch_stop_iteration(PyObject **value)
{
    if (!PyErr_Occurred()) {
        *value = Py_NewRef(Py_None);
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        *value = NULL;
        return -1;
    }
    PyObject *exception = PyErr_GetRaisedException();
    *value = Py_XNewRef(((PyStopIterationObject *)exception)->value);
    Py_DECREF(exception);
    if (*value == NULL) {
        *value = Py_NewRef(Py_None);
    }
    return 0;
}

void
compat_set_stop_iteration(PyObject *value)
{
    if (CL_STOP_HAS_CONTEXT && !PyTuple_Check(value)
        && !PyExceptionInstance_Check(value)) {
        PyErr_SetObject(PyExc_StopIteration, value);
    }
    else {
        /* PyErr_SetObject would take these apart, or for the exception itself. */
        PyObject *exception = PyObject_CallOneArg(PyExc_StopIteration, value);
        if (exception != NULL && CL_STOP_HAS_CONTEXT) {
            PyErr_SetObject(PyExc_StopIteration, exception);
            Py_DECREF(exception);
        }
        else if (exception != NULL) {
            PyErr_SetRaisedException(exception);
        }
    }
    Py_DECREF(value);
}
