/* loop.sock_*: each is a SockOp, an object with a coroutine's face (send, throw, close,
 * __await__) and a C state machine inside: on its first send it tries the system call;
 * when that would block it waits on the descriptor's FdWatch and yields a future. */
#ifndef CL_IO_SOCKOPS_H
#define CL_IO_SOCKOPS_H

#include "fdwatch.h"

extern PyMethodDef sockops_methods[]; /* for the Loop type: sock_recv ... */
extern PyType_Spec sockop_spec;

#endif
