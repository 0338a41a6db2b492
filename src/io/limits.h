/* The arguments (high=None, low=None) of set_write_buffer_limits and its like. */
#ifndef CL_IO_LIMITS_H
#define CL_IO_LIMITS_H

#include "../py/compat.h"

/* Parses them as stock does: numbers of any kind, high >= low >= 0; low is a quarter of
 * high, and high is `usual`, when not given. Sets *high and *low, and *limits to a new
 * tuple (low, high). 0, or -1 with nothing set. function: for messages. */
int limits_parse(const char *function, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames, size_t usual, size_t *high, size_t *low,
                 PyObject **limits);

#endif
