/* Telling the user what went wrong where no caller can be told (see loop.h): the loop's
 * call_exception_handler(), whoever has written it. Called by handles, tasks, transports
 * and their like, on the loop's thread.
 *
 * Stock reports from within an except block, so the exception is being handled here too
 * while handlers run. */

#include "../py/compat.h"

#include <stdarg.h>

#include "../py/err.h"
#include "loop.h"

/* Adds exception and pairs to the context. 0 or -1. */
static int
report_fill(State *state, PyObject *context, PyObject *message, PyObject *exception,
            va_list pairs)
{
    if (PyDict_SetItem(context, state->str_message, message) < 0) {
        return -1;
    }
    if (exception != NULL
        && PyDict_SetItem(context, state->str_exception, exception) < 0) {
        return -1;
    }
    for (;;) {
        const char *key = va_arg(pairs, const char *);
        if (key == NULL) {
            return 0;
        }
        PyObject *value = va_arg(pairs, PyObject *);
        if (value != NULL && PyDict_SetItemString(context, key, value) < 0) {
            return -1;
        }
    }
}

static int
report_pairs(State *state, PyObject *loop, PyObject *message, va_list pairs)
{
    int rc = -1;
    PyObject *exception = PyErr_GetRaisedException();
    _PyErr_StackItem handled;
    compat_begin_handling(&handled, exception);
    PyObject *context = PyDict_New();
    if (context != NULL
        && report_fill(state, context, message, exception, pairs) == 0) {
        PyObject *result =
            PyObject_CallMethodOneArg(loop, state->str_call_exception_handler, context);
        if (result != NULL) {
            Py_DECREF(result);
            rc = 0;
        }
    }
    Py_XDECREF(context);
    compat_end_handling(&handled);
    Py_XDECREF(exception);
    return rc;
}

int
loop_report_text(State *state, PyObject *loop, PyObject *message, ...)
{
    va_list pairs;
    va_start(pairs, message);
    int rc = report_pairs(state, loop, message, pairs);
    va_end(pairs);
    return rc;
}

int
loop_report(State *state, PyObject *loop, const char *message, ...)
{
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *text = PyUnicode_FromString(message);
    if (text == NULL) {
        Py_XDECREF(exception);
        return -1;
    }
    PyErr_SetRaisedException(exception);
    va_list pairs;
    va_start(pairs, message);
    int rc = report_pairs(state, loop, text, pairs);
    va_end(pairs);
    Py_DECREF(text);
    return rc;
}
