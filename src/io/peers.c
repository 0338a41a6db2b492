/* The peers of a datagram socket (see peers.h). Called by datagram.c, on the loop's
 * thread; runs no Python code: the objects are tuples of a str and ints.
 *
 * A peer's place follows from its port alone, so that it is found from either form. Two
 * with places alike take turns. */
#include "peers.h"

#include <string.h>

static Peer *
place_of(const Peers *peers, unsigned port)
{
    return &peers->places[(port ^ port >> 6) & (CL_PEERS - 1)];
}

/* The port of an Internet address that fits a place, or -1. */
static int
port_of(const Addr *addr)
{
    /* Both kinds have it at the same offset. */
    switch (addr->u.any.sa_family) {
    case AF_INET:
        return addr->length == sizeof(addr->u.inet) ? ntohs(addr->u.inet.sin_port) : -1;
    case AF_INET6:
        return addr->length == sizeof(addr->u.inet6) ? ntohs(addr->u.inet6.sin6_port)
                                                     : -1;
    default:
        return -1;
    }
}

PyObject *
peers_object(Peers *peers, const Addr *addr)
{
    int port = port_of(addr);
    if (!CL_FASTPATH || port < 0) {
        return addr_to_object(addr);
    }
    if (peers->places == NULL) {
        peers->places = PyMem_Calloc(CL_PEERS, sizeof(Peer));
        if (peers->places == NULL) {
            return PyErr_NoMemory();
        }
    }
    Peer *peer = place_of(peers, (unsigned)port);
    if (CL_LIKELY(peer->object != NULL
                  && memcmp(&peer->address, &addr->u, addr->length) == 0)) {
        return Py_NewRef(peer->object);
    }
    PyObject *object = addr_to_object(addr);
    if (object != NULL) {
        PyObject *former = peer->object;
        memset(&peer->address, 0, sizeof(peer->address));
        memcpy(&peer->address, &addr->u, addr->length);
        peer->object = Py_NewRef(object);
        Py_XDECREF(former);
    }
    return object;
}

bool
peers_find(const Peers *peers, PyObject *object, Addr *addr)
{
    if (peers->places == NULL || !PyTuple_CheckExact(object)
        || PyTuple_GET_SIZE(object) < 2
        || !PyLong_CheckExact(PyTuple_GET_ITEM(object, 1))) {
        return false;
    }
    int overflow;
    long port = PyLong_AsLongAndOverflow(PyTuple_GET_ITEM(object, 1), &overflow);
    const Peer *peer = place_of(peers, (unsigned)port);
    if (peer->object != object) {
        return false;
    }
    addr->length = peer->address.sin6_family == AF_INET ? sizeof(addr->u.inet)
                                                        : sizeof(addr->u.inet6);
    memcpy(&addr->u, &peer->address, addr->length);
    return true;
}

int
peers_traverse(const Peers *peers, visitproc visit, void *arg)
{
    for (int i = 0; peers->places != NULL && i < CL_PEERS; i++) {
        Py_VISIT(peers->places[i].object);
    }
    return 0;
}

void
peers_clear(Peers *peers)
{
    Peer *places = peers->places;
    peers->places = NULL;
    for (int i = 0; places != NULL && i < CL_PEERS; i++) {
        Py_XDECREF(places[i].object);
    }
    PyMem_Free(places);
}
