/* Pipes: the transports of connect_read_pipe and connect_write_pipe.
 *
 * What they stand on is a file object of the user's around a pipe, a FIFO, a socket or a
 * character device (a terminal); the transport closes it at the end. A write pipe notices
 * that its reader has left by its descriptor becoming readable or hanging up. */
#ifndef CL_IO_PIPE_H
#define CL_IO_PIPE_H

#include "transport.h"

extern PyType_Spec read_pipe_spec;
extern PyType_Spec write_pipe_spec;

/* Constants of the classes, once the types are made. 0 or -1. */
int pipe_complete_types(State *state);

#endif
