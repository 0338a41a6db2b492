/* What objects in C with a coroutine's face have in common: sockops.c (loop.sock_*) and
 * reader_op.c (StreamReader.read and its like). */
#ifndef CL_IO_COROFACE_H
#define CL_IO_COROFACE_H

#include "../py/state.h"

/* What send() and __next__() make of a step: New ref to what was yielded, or NULL with
 * StopIteration or what was raised. `bare`: NULL alone may stand for StopIteration().
 * Steals value. */
PyObject *coroface_unpack(State *state, PySendResult sent, PyObject *value, bool bare);

/* TypeError unless throw() was given 1 to 3 arguments. 0 or -1. */
int coroface_check_throw(Py_ssize_t nargs);

/* Raises what generator.throw(*args) would, args being checked. Returns with it set. */
void coroface_raise(PyObject *const *args, Py_ssize_t nargs);

/* coro.throw(*args), args being checked. As PyIter_Send. */
PySendResult coroface_throw_into(State *state, PyObject *coro, PyObject *const *args,
                                 Py_ssize_t nargs, PyObject **value);

/* Warns that the coroutine `class_name.name` was never awaited, by the function that
 * does it for coroutines. For finalizers: what is raised stays so. */
void coroface_warn_unawaited(PyObject *self, const char *class_name, const char *name);

#endif
