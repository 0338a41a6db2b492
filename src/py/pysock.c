/* Python's socket objects (see pysock.h). Called with the GIL held. */
#include "pysock.h"

#include <sys/socket.h>

/* The int that a descriptor of _socket.socket gives for sock. 0 or -1. */
static int
read_member(PyObject *descriptor, PyObject *sock, int *number)
{
    descrgetfunc get = Py_TYPE(descriptor)->tp_descr_get;
    PyObject *value = get(descriptor, sock, (PyObject *)Py_TYPE(sock));
    if (value == NULL) {
        return -1;
    }
    *number = (int)PyLong_AsLong(value);
    Py_DECREF(value);
    return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

int
pysock_ask(State *state, PyObject *sock, PySockHead *head)
{
    PyObject *fileno = PyObject_CallOneArg(state->sock_fileno, sock);
    if (fileno == NULL) {
        return -1;
    }
    head->fd = (int)PyLong_AsLong(fileno);
    Py_DECREF(fileno);
    if ((head->fd == -1 && PyErr_Occurred())
        || read_member(state->sock_family, sock, &head->family) < 0
        || read_member(state->sock_type, sock, &head->type) < 0
        || read_member(state->sock_proto, sock, &head->proto) < 0) {
        return -1;
    }
    Py_ssize_t size = ((PyTypeObject *)state->socket_socket)->tp_basicsize;
    /* A closed socket's -1 proves nothing: wait for one that is open. */
    if (state->pysock_layout == CL_PYSOCK_UNKNOWN && head->fd >= 0
        && size >= (Py_ssize_t)sizeof(PySockHead)) {
        const PySockHead *seen = (const PySockHead *)sock;
        bool fits = seen->fd == head->fd && seen->family == head->family
                    && seen->type == head->type && seen->proto == head->proto;
        state->pysock_layout = fits ? CL_PYSOCK_FITS : CL_PYSOCK_FOREIGN;
    }
    return 0;
}

int
pysock_is_nonblocking(State *state, PyObject *sock)
{
    PyObject *timeout = PyObject_CallMethodNoArgs(sock, state->str_gettimeout);
    if (timeout == NULL) {
        return -1;
    }
    int result;
    if (PyFloat_CheckExact(timeout)) {
        result = PyFloat_AS_DOUBLE(timeout) == 0.0;
    }
    else if (timeout == Py_None) {
        result = 0;
    }
    else {
        result = PyObject_Not(timeout);
    }
    Py_DECREF(timeout);
    return result;
}

int
pysock_fileno_of(State *state, PyObject *sock, int *fd)
{
    if (pysock_check(state, sock)) {
        *fd = pysock_fileno(state, sock);
        return *fd == -2 ? -1 : 0;
    }
    PyObject *fileno = PyObject_CallMethodNoArgs(sock, state->str_fileno);
    if (fileno == NULL) {
        return -1;
    }
    PyObject *number = PyNumber_Long(fileno);
    Py_DECREF(fileno);
    if (number == NULL) {
        return -1;
    }
    int overflow;
    long value = PyLong_AsLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (value == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (overflow != 0 || value != (int)value) {
        PyErr_SetString(PyExc_OverflowError,
                        "Python int too large to convert to C int");
        return -1;
    }
    *fd = (int)value;
    return 0;
}

/* With SOCK_NONBLOCK in its type the object knows at once that it does not block: no
 * setblocking(False), no ioctl. */
PyObject *
pysock_new(State *state, int fd, int family, int type, int proto)
{
    PyObject *stack[4] = {PyLong_FromLong(family),
                          PyLong_FromLong(type | SOCK_NONBLOCK), PyLong_FromLong(proto),
                          PyLong_FromLong(fd)};
    PyObject *sock = NULL;
    if (stack[0] != NULL && stack[1] != NULL && stack[2] != NULL && stack[3] != NULL) {
        sock = PyObject_Vectorcall(state->socket_socket, stack, 4, NULL);
    }
    for (int i = 0; i < 4; i++) {
        Py_XDECREF(stack[i]);
    }
    return sock;
}

PyObject *
pysock_new_closed(State *state, int family, int type, int proto)
{
    PyTypeObject *class = (PyTypeObject *)state->socket_socket;
    PyObject *sock = class->tp_new(class, state->empty_tuple, NULL);
    if (sock == NULL) {
        return NULL;
    }
    if (PyObject_SetAttrString(sock, "_io_refs", Py_False) < 0
        || PyObject_SetAttrString(sock, "_closed", Py_True) < 0) {
        Py_DECREF(sock);
        return NULL;
    }
    if (state->pysock_layout == CL_PYSOCK_FITS) {
        PySockHead *head = (PySockHead *)sock;
        head->family = family;
        head->type = type;
        head->proto = proto;
    }
    return sock;
}
