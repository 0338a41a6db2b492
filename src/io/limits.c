/* Flow-control limits as transports take them (see limits.h). Called by the transports'
 * faces, on the loop's thread; keeps no state. */
#include "limits.h"

#include "../py/args.h"

/* New ref: (low, high) with what is None filled in; ValueError as stock. */
static PyObject *
complete_limits(PyObject *high, PyObject *low, size_t usual)
{
    PyObject *four = PyLong_FromLong(4);
    PyObject *zero = PyLong_FromLong(0);
    PyObject *limits = NULL;
    high = high != Py_None  ? Py_NewRef(high)
           : low == Py_None ? PyLong_FromSize_t(usual)
                            : PyNumber_Multiply(four, low);
    low = low != Py_None ? Py_NewRef(low)
          : high == NULL ? NULL
                         : PyNumber_FloorDivide(high, four);
    if (high != NULL && low != NULL && zero != NULL) {
        int in_order = PyObject_RichCompareBool(high, low, Py_GE);
        if (in_order > 0) {
            in_order = PyObject_RichCompareBool(low, zero, Py_GE);
        }
        if (in_order > 0) {
            limits = PyTuple_Pack(2, low, high);
        }
        else if (in_order == 0) {
            PyErr_Format(PyExc_ValueError, "high (%R) must be >= low (%R) must be >= 0",
                         high, low);
        }
    }
    Py_XDECREF(low);
    Py_XDECREF(high);
    Py_XDECREF(zero);
    Py_XDECREF(four);
    return limits;
}

/* The largest size that is <= limit, a number >= 0 of any kind. 0 or -1. */
static int
limit_to_size(PyObject *limit, size_t *size)
{
    double number = PyFloat_AsDouble(limit);
    if (number == -1.0 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) {
            return -1;
        }
        PyErr_Clear();
        number = 1e18;
    }
    *size = number >= 1e18 ? (size_t)PY_SSIZE_T_MAX : (size_t)number;
    return 0;
}

int
limits_parse(const char *function, PyObject *const *args, Py_ssize_t nargs,
             PyObject *kwnames, size_t usual, size_t *high, size_t *low,
             PyObject **limits)
{
    static const char *const names[] = {"high", "low", NULL};
    const ArgSpec spec = {function, names, 2, 0, false, false};
    PyObject *values[2];
    if (args_parse(&spec, args, nargs, kwnames, values) < 0) {
        return -1;
    }
    PyObject *pair = complete_limits(values[0] != NULL ? values[0] : Py_None,
                                     values[1] != NULL ? values[1] : Py_None, usual);
    size_t sizes[2];
    if (pair == NULL || limit_to_size(PyTuple_GET_ITEM(pair, 0), &sizes[0]) < 0
        || limit_to_size(PyTuple_GET_ITEM(pair, 1), &sizes[1]) < 0) {
        Py_XDECREF(pair);
        return -1;
    }
    *low = sizes[0];
    *high = sizes[1];
    Py_XSETREF(*limits, pair);
    return 0;
}
