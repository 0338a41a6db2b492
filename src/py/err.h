/* From -errno to Python exceptions, and exceptions put aside. */
#ifndef CL_PY_ERR_H
#define CL_PY_ERR_H

#include "compat.h"

/* Raises the OSError subclass for -errno; returns NULL. */
PyObject *err_set_errno(int negative_errno);

/* New ref: an OSError instance for -errno with os.strerror's text; NULL on failure. */
PyObject *err_new_errno(int negative_errno);

/* True when the raised exception must leave the loop: SystemExit or
 * KeyboardInterrupt, and nothing else (stock's rule for callbacks and tasks). */
int err_is_exit(void);

#endif
