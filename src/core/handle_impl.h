/* What the files core/handle*.c tell each other. */
#ifndef CL_CORE_HANDLE_IMPL_H
#define CL_CORE_HANDLE_IMPL_H

#include "handle.h"

/* Sets source_traceback to the stack of the Python code that is running now. 0 or -1. */
int handle_trace(Handle *handle);

/* New ref: what _context and get_context() give, or NULL with an exception. */
PyObject *handle_show_context(Handle *handle);

/* New ref: the arguments as a tuple. */
PyObject *handle_args_tuple(Handle *handle);

/* Debug mode of the handle's loop, whatever it is: 1, 0 or -1. */
int handle_loop_debug(Handle *handle);

/* -- safehandle.c: the lock of a _ThreadSafeHandle --------------------------------- */

/* Taken once more by the thread that has it. Waits without the GIL, during which signal
 * handlers may run. 0, or -1 with what one of them raised. */
int safe_handle_lock(PyObject *handle);
void safe_handle_unlock(PyObject *handle);

#endif
