/* Peers: whom a datagram socket has lately heard, by the kernel's address and by Python's.
 *
 * A server hears the same clients again and again and answers them with the address
 * that it was given: neither has to be written out, or read, each time. */
#ifndef CL_IO_PEERS_H
#define CL_IO_PEERS_H

#include "../py/addr.h"

#define CL_PEERS 64 /* a power of two */

typedef struct Peer {
    PyObject *object;            /* a tuple (host, port ...); NULL: nobody */
    struct sockaddr_in6 address; /* or sockaddr_in, the rest of it zero */
} Peer;

typedef struct Peers {
    Peer *places; /* CL_PEERS of them, by the port; NULL until somebody was heard */
} Peers;

/* New ref: as addr_to_object. */
PyObject *peers_object(Peers *peers, const Addr *addr);

/* The kernel's form of an object that peers_object has given, into addr. False: not (or
 * no more) known. */
bool peers_find(const Peers *peers, PyObject *object, Addr *addr);

int peers_traverse(const Peers *peers, visitproc visit, void *arg);
void peers_clear(Peers *peers);

#endif
