/* Listener: a listening socket that accepts connections for a server.
 *
 * A Python object, _cloop.Listener(loop, sock, protocol_factory, server, backlog), which
 * accepts from the moment it is made until stop(); the loop keeps it alive meanwhile (and
 * it the server). The socket stays its owner's to close. */
#ifndef CL_IO_LISTENER_H
#define CL_IO_LISTENER_H

#include "../core/loop.h"

extern PyType_Spec listener_spec;

#endif
