/* What the C part of a Python socket object knows, without a Python call.
 *
 * Only for objects whose type is exactly socket.socket: a subclass may have changed the
 * methods that these numbers stand for. socket.family and .type are Python properties
 * that make enum members and cost more than a small recv; the C type below has the bare
 * numbers, as members of a struct whose layout is compared with the type's own answers
 * once (State.pysock_layout) and read directly when it is as expected. */
#ifndef CL_PY_PYSOCK_H
#define CL_PY_PYSOCK_H

#include "compat.h"

#include <stdbool.h>

#include "state.h"

enum {
    CL_PYSOCK_UNKNOWN, /* not yet compared */
    CL_PYSOCK_FITS,
    CL_PYSOCK_FOREIGN, /* ask by descriptors */
};

typedef struct PySockHead {
    PyObject_HEAD
    int fd; /* -1 once closed */
    int family;
    int type; /* without SOCK_NONBLOCK and SOCK_CLOEXEC */
    int proto;
} PySockHead;

/* True when the functions below may be asked about sock. */
static inline bool
pysock_check(State *state, PyObject *sock)
{
    return Py_IS_TYPE(sock, (PyTypeObject *)state->socket_socket);
}

/* Fills head's numbers by descriptors, comparing the layout. 0 or -1. */
int pysock_ask(State *state, PyObject *sock, PySockHead *head);

/* The descriptor, -1 when closed, -2 with an exception. */
static inline int
pysock_fileno(State *state, PyObject *sock)
{
    if (CL_LIKELY(state->pysock_layout == CL_PYSOCK_FITS)) {
        return ((PySockHead *)sock)->fd;
    }
    PySockHead head;
    return pysock_ask(state, sock, &head) < 0 ? -2 : head.fd;
}

/* All of the numbers. 0 or -1. */
static inline int
pysock_read(State *state, PyObject *sock, PySockHead *head)
{
    if (CL_LIKELY(state->pysock_layout == CL_PYSOCK_FITS)) {
        *head = *(PySockHead *)sock;
        return 0;
    }
    return pysock_ask(state, sock, head);
}

/* True when sock.gettimeout() == 0; any object. 1, 0 or -1. */
int pysock_is_nonblocking(State *state, PyObject *sock);

/* sock.fileno() of any object, as int(sock.fileno()) is: *fd. 0 or -1. */
int pysock_fileno_of(State *state, PyObject *sock, int *fd);

/* New ref: a non-blocking socket.socket around fd, which it then owns (fd is
 * non-blocking already, and stays the caller's on failure). */
PyObject *pysock_new(State *state, int fd, int family, int type, int proto);

/* New ref: the socket.socket that one of these numbers is once it has been closed; where
 * the layout is not known, its numbers are 0. */
PyObject *pysock_new_closed(State *state, int family, int type, int proto);

#endif
