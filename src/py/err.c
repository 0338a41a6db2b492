/* From -errno to Python exceptions. Called by every floor above os/, with the GIL held;
 * keeps no state. */
#include "err.h"

#include <string.h>

PyObject *
err_new_errno(int negative_errno)
{
    int number = -negative_errno;
    PyObject *text = PyUnicode_DecodeLocale(strerror(number), "surrogateescape");
    if (text == NULL) {
        return NULL;
    }
    /* OSError.__new__ picks the subclass by the number. */
    PyObject *exception = PyObject_CallFunction(PyExc_OSError, "iO", number, text);
    Py_DECREF(text);
    return exception;
}

PyObject *
err_set_errno(int negative_errno)
{
    /* Not PyErr_SetFromErrno: that runs signal handlers for EINTR. */
    PyObject *exception = err_new_errno(negative_errno);
    if (exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
    return NULL;
}

int
err_is_exit(void)
{
    return PyErr_ExceptionMatches(PyExc_SystemExit)
           || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
}
