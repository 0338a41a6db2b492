/* Socket addresses: between Python's tuples and the kernel's structs, without names
 * being resolved and without a thread. What is not plain (a host name, a port that is no
 * int, another family) is left to Python's own socket methods, which have the messages.
 */
#ifndef CL_PY_ADDR_H
#define CL_PY_ADDR_H

#include "compat.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

typedef struct Addr {
    socklen_t length;
    union {
        struct sockaddr any;
        struct sockaddr_in inet;
        struct sockaddr_in6 inet6;
        struct sockaddr_un local;
        struct sockaddr_storage storage;
    } u;
} Addr;

/* True for the families that addr_from_object and addr_to_object speak as Python's
 * socket does: AF_INET, AF_INET6, AF_UNIX. */
static inline bool
addr_knows_family(int family)
{
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

/* Makes room for the kernel to write an address. */
static inline void
addr_prepare(Addr *addr)
{
    addr->length = sizeof(addr->u);
    memset(&addr->u.any, 0, sizeof(addr->u.any));
}

/* Fills addr from what socket.connect() and the like take for this family: (host, port),
 * (host, port, flowinfo, scope_id), a path. 1; 0 when it takes a resolver or is wrong
 * (no exception: hand it to Python's socket, which resolves it or raises); -1 with an
 * exception. */
int addr_from_object(Addr *addr, int family, PyObject *object);

/* New ref: what socket.getpeername() and the like give for addr. None when the length is
 * 0; (family, bytes) for a family that is not known. */
PyObject *addr_to_object(const Addr *addr);

/* New ref: the (host, port) or (host, port, flowinfo, scope_id) that
 * socket.getaddrinfo() has for an address that addr_from_object took; another family's
 * object as it is. For messages: stock names the resolved address. */
PyObject *addr_resolved_object(int family, PyObject *object);

#endif
