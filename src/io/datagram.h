/* Datagram: the transport of a datagram socket, UDP or Unix.
 *
 * What comes in is received in batches and handed to datagram_received one by one; what
 * goes out is tried at once and queued when the kernel takes no more. An error of the
 * socket goes to error_received and ends nothing. */
#ifndef CL_IO_DATAGRAM_H
#define CL_IO_DATAGRAM_H

#include "transport.h"

extern PyType_Spec datagram_spec;

/* Constants of the class, once the type is made. 0 or -1. */
int datagram_complete_type(State *state);

#endif
