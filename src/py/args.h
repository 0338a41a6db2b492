/* Arguments of FASTCALL|KEYWORDS methods, parsed once for all, with the messages that
 * a Python function of the same signature gives (stock's loop methods are Python).
 *
 *     static const char *const names[] = {"delay", "callback", NULL};
 *     static const ArgSpec spec = {"Loop.call_later", names, .positional = 2,
 *                                  .required = 2, .varargs = true, ...};
 */
#ifndef CL_PY_ARGS_H
#define CL_PY_ARGS_H

#include "compat.h"

#include <stdbool.h>

typedef struct ArgSpec {
    const char *function;     /* qualified, as in "Loop.call_later" */
    const char *const *names; /* positional-or-keyword first, then keyword-only; NULL */
    int positional;           /* how many of names may be given by position */
    int required;             /* how many of the positional ones must be given */
    bool varargs;             /* further positional ones are *args */
    bool required_keywords;   /* the keyword-only ones must be given */
} ArgSpec;

#define CL_ARGS_MAX 12

/* Fills values[i] (borrowed, NULL when not given) for each of names. With varargs, the
 * rest is args[spec->positional .. nargs-1]. 0, or -1 with TypeError. */
int args_parse(const ArgSpec *spec, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames, PyObject **values);

/* The same for a tp_init's tuple and dict. Borrowed from them. */
int args_parse_tuple(const ArgSpec *spec, PyObject *args, PyObject *kwargs,
                     PyObject **values);

#endif
