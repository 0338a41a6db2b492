/* The socket operations on connections: connect and accept.
 *
 * Called by sockops.c on the loop's thread. As in sockcalls.c there is a direct way and
 * one by the socket's own methods; a socket that is in blocking mode takes the latter,
 * as these calls have no MSG_DONTWAIT. */
#include "sockop.h"

#include <errno.h>

#include "../os/sys.h"
#include "../py/addr.h"
#include "../py/err.h"

/* The direct way needs a family whose addresses are known and a socket that does not
 * block. *head is filled in for an exact socket. 0 or -1. */
static int
check_direct(SockOp *op, PySockHead *head)
{
    if (!op->direct) {
        return 0;
    }
    if (pysock_read(op->state, op->sock, head) < 0) {
        return -1;
    }
    int nonblocking = pysock_is_nonblocking(op->state, op->sock);
    if (nonblocking < 0) {
        return -1;
    }
    if (!nonblocking || !addr_knows_family(head->family)) {
        sockop_go_generic(op);
    }
    return 0;
}

/* -- connect ----------------------------------------------------------------------- */

/* The address that messages name replaces the one given. Steals address (may be NULL).
 * 0 or -1. */
static int
set_address(SockOp *op, PyObject *address)
{
    if (address == NULL) {
        return -1;
    }
    Py_XSETREF(op->args[0], address);
    return 0;
}

static int
connect_generic(SockOp *op, PyObject **result)
{
    PyObject *ignored;
    int rc = sockop_call_method(op, op->state->str_connect, op->args, 1, &ignored);
    if (rc == CL_SOCKOP_DONE) {
        Py_DECREF(ignored);
        *result = Py_NewRef(Py_None);
    }
    return rc;
}

/* Connects to what addr_from_object made of args[0]. */
static int
connect_direct(SockOp *op, const Addr *addr, PyObject **result)
{
    if (PySys_Audit("socket.connect", "OO", op->sock, op->args[0]) < 0) {
        return -1;
    }
    sockop_read_fd(op);
    loop_poll_soon(op->loop);
    int rc = sys_connect(op->fd, &addr->u.any, addr->length);
    if (rc == 0) {
        *result = Py_NewRef(Py_None);
        return CL_SOCKOP_DONE;
    }
    if (rc == -EINPROGRESS || rc == -EALREADY) {
        return CL_SOCKOP_BLOCKED;
    }
    /* EAGAIN too: an AF_UNIX peer's backlog is full, and nothing will tell when it no
     * longer is. Stock waits until the socket is writable, which it is at once, and takes
     * that for success. */
    err_set_errno(rc);
    return -1;
}

/* Names are resolved by the loop's own getaddrinfo, through asyncio's coroutine, which
 * also has the errors for what is no address. */
static int
connect_resolve(SockOp *op, PyObject *family)
{
    State *state = op->state;
    PyObject *type = PyObject_GetAttr(op->sock, state->str_type);
    PyObject *proto = PyObject_GetAttr(op->sock, state->str_proto);
    PyObject *names = PyTuple_Pack(4, state->str_family, state->str_type,
                                   state->str_proto, state->str_loop);
    if (type != NULL && proto != NULL && names != NULL) {
        PyObject *loop = (PyObject *)op->loop;
        PyObject *stack[] = {loop, op->args[0], family, type, proto, loop};
        op->resolver = PyObject_Vectorcall(state->ensure_resolved, stack, 2, names);
    }
    Py_XDECREF(names);
    Py_XDECREF(proto);
    Py_XDECREF(type);
    return op->resolver != NULL ? CL_SOCKOP_RESOLVING : -1;
}

/* For any object: asks for its family as stock does. */
static int
connect_start_generic(SockOp *op, PyObject **result)
{
    PyObject *family = PyObject_GetAttr(op->sock, op->state->str_family);
    if (family == NULL) {
        return -1;
    }
    int overflow;
    long number =
        PyLong_Check(family) ? PyLong_AsLongAndOverflow(family, &overflow) : -1;
    int rc;
    if (number == AF_INET || number == AF_INET6) {
        rc = connect_resolve(op, family);
    }
    else {
        rc = connect_generic(op, result);
    }
    Py_DECREF(family);
    return rc;
}

static int
connect_start(SockOp *op, PyObject **result)
{
    PySockHead head;
    Addr addr;

    if (check_direct(op, &head) < 0) {
        return -1;
    }
    if (!op->direct) {
        return connect_start_generic(op, result);
    }
    int known = addr_from_object(&addr, head.family, op->args[0]);
    if (known == 0) {
        return connect_start_generic(op, result);
    }
    if (known < 0
        || set_address(op, addr_resolved_object(head.family, op->args[0])) < 0) {
        return -1;
    }
    return connect_direct(op, &addr, result);
}

static int
connect_resolved(SockOp *op, PyObject *value, PyObject **result)
{
    PySockHead head;
    Addr addr;

    PyObject *info = PySequence_GetItem(value, 0);
    PyObject *address = info != NULL ? PySequence_GetItem(info, 4) : NULL;
    Py_XDECREF(info);
    if (set_address(op, address) < 0 || check_direct(op, &head) < 0) {
        return -1;
    }
    if (op->direct) {
        int known = addr_from_object(&addr, head.family, op->args[0]);
        if (known != 0) {
            return known < 0 ? -1 : connect_direct(op, &addr, result);
        }
        sockop_go_generic(op);
    }
    return connect_generic(op, result);
}

/* What became of the attempt: *error as errno has it. */
static int
connect_read_error(SockOp *op, int *error)
{
    if (op->direct) {
        sockop_read_fd(op);
        *error = -sys_socket_error(op->fd);
        return CL_SOCKOP_DONE;
    }
    PyObject *number;
    PyObject *args[2] = {PyLong_FromLong(SOL_SOCKET), PyLong_FromLong(SO_ERROR)};
    int rc = -1;
    if (args[0] != NULL && args[1] != NULL) {
        rc = sockop_call_method(op, op->state->str_getsockopt, args, 2, &number);
    }
    Py_XDECREF(args[0]);
    Py_XDECREF(args[1]);
    if (rc == CL_SOCKOP_DONE) {
        *error = (int)PyLong_AsLong(number);
        Py_DECREF(number);
        if (*error == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    return rc;
}

static int
connect_attempt(SockOp *op, PyObject **result)
{
    int error;
    int rc = connect_read_error(op, &error);
    if (rc != CL_SOCKOP_DONE) {
        return rc;
    }
    if (error == 0) {
        *result = Py_NewRef(Py_None);
        return CL_SOCKOP_DONE;
    }
    PyObject *text = PyUnicode_FromFormat("Connect call failed %S", op->args[0]);
    PyObject *exception =
        text != NULL ? PyObject_CallFunction(PyExc_OSError, "iN", error, text) : NULL;
    if (exception == NULL) {
        return -1;
    }
    /* As stock: BlockingIOError would mean to be called again. */
    if (PyObject_TypeCheck(exception, (PyTypeObject *)PyExc_BlockingIOError)
        || PyObject_TypeCheck(exception, (PyTypeObject *)PyExc_InterruptedError)) {
        Py_DECREF(exception);
        return CL_SOCKOP_BLOCKED;
    }
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
    return -1;
}

const SockOpKind sockop_connect = {
    .name = "sock_connect",
    .direction = CL_WRITABLE,
    .start = connect_start,
    .attempt = connect_attempt,
    .resolved = connect_resolved,
};

/* -- accept ------------------------------------------------------------------------ */

static int
accept_direct(SockOp *op, const PySockHead *head, PyObject **result)
{
    Addr addr;
    addr_prepare(&addr);
    sockop_read_fd(op);
    int fd = sys_accept4(op->fd, &addr.u.any, &addr.length);
    if (fd < 0) {
        return sockop_fail(fd);
    }
    PyObject *conn = pysock_new(op->state, fd, head->family, head->type, head->proto);
    if (conn == NULL) {
        sys_close(fd);
        return -1;
    }
    PyObject *address = addr_to_object(&addr);
    *result = address != NULL ? PyTuple_Pack(2, conn, address) : NULL;
    Py_XDECREF(address);
    Py_DECREF(conn);
    return *result != NULL ? CL_SOCKOP_DONE : -1;
}

/* conn, address = sock.accept(); conn.setblocking(False) */
static int
accept_generic(SockOp *op, PyObject **result)
{
    PyObject *pair;
    int rc = sockop_call_method(op, op->state->str_accept, NULL, 0, &pair);
    if (rc != CL_SOCKOP_DONE) {
        return rc;
    }
    PyObject *conn = NULL;
    PyObject *set = NULL;
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
        PyObject *tuple = PySequence_Tuple(pair);
        Py_SETREF(pair, tuple);
        if (pair != NULL && PyTuple_GET_SIZE(pair) != 2) {
            PyErr_SetString(PyExc_ValueError, "accept() did not return a pair");
            Py_CLEAR(pair);
        }
    }
    if (pair != NULL) {
        conn = PyTuple_GET_ITEM(pair, 0);
        set = PyObject_CallMethodOneArg(conn, op->state->str_setblocking, Py_False);
    }
    if (set == NULL) {
        Py_XDECREF(pair);
        return -1;
    }
    Py_DECREF(set);
    *result = pair;
    return CL_SOCKOP_DONE;
}

static int
accept_attempt(SockOp *op, PyObject **result)
{
    PySockHead head;
    if (check_direct(op, &head) < 0) {
        return -1;
    }
    return op->direct ? accept_direct(op, &head, result) : accept_generic(op, result);
}

/* What is no socket is found out by the lack of fileno(), as on stock. */
static int
accept_start(SockOp *op, PyObject **result)
{
    if (!op->direct) {
        PyObject *fd = PyObject_CallMethodNoArgs(op->sock, op->state->str_fileno);
        Py_XDECREF(fd);
        if (fd == NULL) {
            return -1;
        }
    }
    return accept_attempt(op, result);
}

const SockOpKind sockop_accept = {
    .name = "sock_accept",
    .direction = CL_READABLE,
    .start = accept_start,
    .attempt = accept_attempt,
};
