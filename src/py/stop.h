/* StopIteration(value), with which an iterator in C gives an `await` its result.
 *
 * From 3.12 on a raised exception is always an object, and the interpreter throws it away
 * as soon as it has taken the value out: a quarter of what it costs to read a line. So
 * one is kept for the next time, unless somebody else has got hold of it. */
#ifndef CL_PY_STOP_H
#define CL_PY_STOP_H

#include "state.h"

/* Raises StopIteration(value) out of an iterator's send() or __next__(). Steals value.
 * state: NULL when it is not at hand. */
void stop_raise(State *state, PyObject *value);

/* New ref: bytes of this size, to be filled by the caller, made out of the last result if
 * nobody else holds that any more; else NULL (no exception). */
PyObject *stop_reuse_bytes(State *state, Py_ssize_t size);

#endif
