/* The socket operations that move bytes: recv, recv_into, recvfrom, recvfrom_into,
 * sendall, sendto.
 *
 * Called by sockops.c on the loop's thread. Each has two ways. The direct one, for an
 * object that is exactly a socket.socket and for plain arguments, makes the system call
 * itself, with MSG_DONTWAIT so that a socket left in blocking mode does not stop the
 * loop. The other calls the socket's own method as stock does, which has the subclass's
 * behaviour, and the message for every wrong argument. */
#include "sockop.h"

#include <errno.h>
#include <string.h>

#include "../os/sys.h"
#include "../py/addr.h"
#include "../py/err.h"

/* Up to here bytes are received on the C stack and copied once their number is known:
 * cheaper than to allocate for each EAGAIN, and nothing is allocated beyond need. */
#define CL_RECV_STACK 16384
/* A stream is asked for no more than this at once. */
#define CL_RECV_STREAM_MAX (1 << 20)
/* A sendall whose peer keeps up gives way to others after so much. */
#define CL_SEND_TURN_MAX (4 << 20)

int
sockop_call_method(SockOp *op, PyObject *name, PyObject *const *args, size_t count,
                   PyObject **result)
{
    PyObject *stack[1 + CL_SOCKOP_ARGS];
    stack[0] = Py_NewRef(op->sock);
    for (size_t i = 0; i < count; i++) {
        stack[1 + i] = Py_NewRef(args[i]);
    }
    *result = PyObject_VectorcallMethod(name, stack, 1 + count, NULL);
    for (size_t i = 0; i <= count; i++) {
        Py_DECREF(stack[i]);
    }
    if (*result != NULL) {
        return CL_SOCKOP_DONE;
    }
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError)
        || PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
        return CL_SOCKOP_BLOCKED;
    }
    return -1;
}

int
sockop_fail(int negative_errno)
{
    if (negative_errno == -EAGAIN || negative_errno == -EWOULDBLOCK
        || negative_errno == -EINTR) {
        return CL_SOCKOP_BLOCKED;
    }
    err_set_errno(negative_errno);
    return -1;
}

/* The plain int >= 0 that op is. False: leave it to the socket's method. */
static bool
read_size(PyObject *op, Py_ssize_t *size)
{
    if (!PyLong_CheckExact(op)) {
        return false;
    }
    *size = PyLong_AsSsize_t(op);
    if (*size == -1 && PyErr_Occurred()) {
        PyErr_Clear();
    }
    return *size >= 0;
}

/* Acquires object's bytes. False (no exception): leave it to the socket's method. */
static bool
get_buffer(PyObject *object, Py_buffer *view, int flags)
{
    if (PyObject_GetBuffer(object, view, flags) < 0) {
        PyErr_Clear();
        view->obj = NULL;
        return false;
    }
    return true;
}

/* -- receiving --------------------------------------------------------------------- */

/* Receives at most size bytes into a new bytes object; the peer's address too when addr
 * is not NULL. 0, or -errno; *result NULL with an exception when 0 is returned. */
static int
receive_bytes(int fd, Py_ssize_t size, Addr *addr, PyObject **result)
{
    char stack[CL_RECV_STACK];
    char *buffer = stack;
    PyObject *large = NULL;

    *result = NULL;
    if (size > (Py_ssize_t)sizeof(stack)) {
        large = PyBytes_FromStringAndSize(NULL, size);
        if (large == NULL) {
            return 0;
        }
        buffer = PyBytes_AS_STRING(large);
    }
    ssize_t rc = addr == NULL ? sys_recv(fd, buffer, (size_t)size, MSG_DONTWAIT)
                              : sys_recvfrom(fd, buffer, (size_t)size, MSG_DONTWAIT,
                                             &addr->u.any, &addr->length);
    if (rc < 0) {
        Py_XDECREF(large);
        return (int)rc;
    }
    if (rc <= (ssize_t)sizeof(stack)) {
        *result = PyBytes_FromStringAndSize(buffer, rc);
        Py_XDECREF(large);
    }
    else {
        if (rc != size) {
            _PyBytes_Resize(&large, rc);
        }
        *result = large;
    }
    return 0;
}

/* Fills in op->is_stream. 0 or -1. */
static int
check_stream(SockOp *op)
{
    PySockHead head;
    if (op->direct) {
        if (pysock_read(op->state, op->sock, &head) < 0) {
            return -1;
        }
        op->is_stream = head.type == SOCK_STREAM;
    }
    return 0;
}

/* A stream that gives less than asked for is empty now. */
static inline void
note_received(SockOp *op, Py_ssize_t received, Py_ssize_t asked)
{
    op->waiter.left_over = !op->is_stream || received >= asked;
}

static int
recv_attempt(SockOp *op, PyObject **result)
{
    if (!op->direct) {
        return sockop_call_method(op, op->state->str_recv, op->args, 1, result);
    }
    if (op->size == 0) {
        *result = PyBytes_FromStringAndSize(NULL, 0); /* the kernel is not asked */
        return *result != NULL ? CL_SOCKOP_DONE : -1;
    }
    sockop_read_fd(op);
    int rc = receive_bytes(op->fd, op->size, NULL, result);
    if (rc < 0) {
        return sockop_fail(rc);
    }
    if (*result == NULL) {
        return -1;
    }
    note_received(op, PyBytes_GET_SIZE(*result), op->size);
    return CL_SOCKOP_DONE;
}

static int
recv_start(SockOp *op, PyObject **result)
{
    if (op->direct && !read_size(op->args[0], &op->size)) {
        sockop_go_generic(op);
    }
    if (check_stream(op) < 0) {
        return -1;
    }
    if (op->is_stream && op->size > CL_RECV_STREAM_MAX) {
        op->size = CL_RECV_STREAM_MAX;
    }
    return recv_attempt(op, result);
}

/* The buffer is held during the call only, as on stock: the user may resize it while
 * the operation waits. */
static int
recv_into_attempt(SockOp *op, PyObject **result)
{
    Py_buffer view;
    if (op->direct && !get_buffer(op->args[0], &view, PyBUF_WRITABLE)) {
        sockop_go_generic(op);
    }
    if (!op->direct) {
        return sockop_call_method(op, op->state->str_recv_into, op->args, 1, result);
    }
    sockop_read_fd(op);
    ssize_t rc = 0;
    if (view.len > 0) {
        rc = sys_recv(op->fd, view.buf, (size_t)view.len, MSG_DONTWAIT);
    }
    note_received(op, rc, view.len);
    PyBuffer_Release(&view);
    if (rc < 0) {
        return sockop_fail((int)rc);
    }
    *result = PyLong_FromSsize_t(rc);
    return *result != NULL ? CL_SOCKOP_DONE : -1;
}

static int
recv_into_start(SockOp *op, PyObject **result)
{
    return check_stream(op) < 0 ? -1 : recv_into_attempt(op, result);
}

/* An operation that tells addresses is direct when the family's are known. 0 or -1. */
static int
check_family(SockOp *op, PySockHead *head)
{
    if (op->direct) {
        if (pysock_read(op->state, op->sock, head) < 0) {
            return -1;
        }
        if (!addr_knows_family(head->family)) {
            sockop_go_generic(op);
        }
    }
    return 0;
}

/* *result = (first, addr), first stolen. */
static int
pair_with_address(PyObject *first, const Addr *addr, PyObject **result)
{
    PyObject *address = first != NULL ? addr_to_object(addr) : NULL;
    *result = address != NULL ? PyTuple_Pack(2, first, address) : NULL;
    Py_XDECREF(address);
    Py_XDECREF(first);
    return *result != NULL ? CL_SOCKOP_DONE : -1;
}

static int
recvfrom_attempt(SockOp *op, PyObject **result)
{
    if (!op->direct) {
        return sockop_call_method(op, op->state->str_recvfrom, op->args, 1, result);
    }
    Addr addr;
    PyObject *data;
    addr_prepare(&addr);
    sockop_read_fd(op);
    int rc = receive_bytes(op->fd, op->size, &addr, &data);
    return rc < 0 ? sockop_fail(rc) : pair_with_address(data, &addr, result);
}

static int
recvfrom_start(SockOp *op, PyObject **result)
{
    PySockHead head;
    if (check_family(op, &head) < 0) {
        return -1;
    }
    if (op->direct && !read_size(op->args[0], &op->size)) {
        sockop_go_generic(op);
    }
    return recvfrom_attempt(op, result);
}

static int
recvfrom_into_attempt(SockOp *op, PyObject **result)
{
    Py_buffer view;
    if (op->direct) {
        if (!get_buffer(op->args[0], &view, PyBUF_WRITABLE)) {
            sockop_go_generic(op);
        }
        else if (op->size > view.len) {
            PyBuffer_Release(&view);
            sockop_go_generic(op);
        }
    }
    if (!op->direct) {
        return sockop_call_method(op, op->state->str_recvfrom_into, op->args, 2,
                                  result);
    }
    Addr addr;
    addr_prepare(&addr);
    sockop_read_fd(op);
    ssize_t rc = sys_recvfrom(op->fd, view.buf, (size_t)op->size, MSG_DONTWAIT,
                              &addr.u.any, &addr.length);
    PyBuffer_Release(&view);
    if (rc < 0) {
        return sockop_fail((int)rc);
    }
    return pair_with_address(PyLong_FromSsize_t(rc), &addr, result);
}

/* nbytes 0 stands for len(buf), as it is at this moment. */
static int
recvfrom_into_start(SockOp *op, PyObject **result)
{
    PySockHead head;
    int given = op->args[1] != NULL ? PyObject_IsTrue(op->args[1]) : 0;
    if (given < 0 || check_family(op, &head) < 0) {
        return -1;
    }
    if (!given) {
        Py_ssize_t length = PyObject_Size(op->args[0]);
        PyObject *number = length >= 0 ? PyLong_FromSsize_t(length) : NULL;
        if (number == NULL) {
            return -1;
        }
        Py_XSETREF(op->args[1], number);
    }
    if (op->direct && !read_size(op->args[1], &op->size)) {
        sockop_go_generic(op);
    }
    return recvfrom_into_attempt(op, result);
}

const SockOpKind sockop_recv = {
    .name = "sock_recv",
    .direction = CL_READABLE,
    .start = recv_start,
    .attempt = recv_attempt,
};
const SockOpKind sockop_recv_into = {
    .name = "sock_recv_into",
    .direction = CL_READABLE,
    .start = recv_into_start,
    .attempt = recv_into_attempt,
};
const SockOpKind sockop_recvfrom = {
    .name = "sock_recvfrom",
    .direction = CL_READABLE,
    .start = recvfrom_start,
    .attempt = recvfrom_attempt,
};
const SockOpKind sockop_recvfrom_into = {
    .name = "sock_recvfrom_into",
    .direction = CL_READABLE,
    .start = recvfrom_into_start,
    .attempt = recvfrom_into_attempt,
};

/* -- sending ----------------------------------------------------------------------- */

/* Sends until all is sent or the kernel says EAGAIN: a short count alone does not mean
 * that it will report when there is room again. */
static int
sendall_direct(SockOp *op, PyObject **result)
{
    const char *data = op->view.buf;
    Py_ssize_t first = op->done;

    sockop_read_fd(op);
    loop_poll_soon(op->loop);
    do {
        ssize_t rc =
            sys_send(op->fd, data + op->done, (size_t)(op->view.len - op->done),
                     MSG_DONTWAIT | MSG_NOSIGNAL);
        if (rc < 0) {
            return sockop_fail((int)rc);
        }
        op->done += rc;
        if (op->done >= op->view.len) {
            *result = Py_NewRef(Py_None);
            return CL_SOCKOP_DONE;
        }
    } while (op->done - first < CL_SEND_TURN_MAX);
    fdwatch_make_level(&op->waiter);
    return CL_SOCKOP_BLOCKED;
}

/* New ref: the bytes of view (acquired from an object of any format) from start on. */
static PyObject *
slice_bytes(PyObject *object, Py_ssize_t start)
{
    PyObject *whole = PyMemoryView_FromObject(object);
    PyObject *bytes = NULL;
    PyObject *rest = NULL;
    if (whole != NULL) {
        bytes = PyMemoryView_GET_BUFFER(whole)->itemsize == 1
                    ? Py_NewRef(whole)
                    : PyObject_CallMethod(whole, "cast", "s", "B");
    }
    if (bytes != NULL) {
        rest = PySequence_GetSlice(bytes, start, PY_SSIZE_T_MAX);
    }
    Py_XDECREF(bytes);
    Py_XDECREF(whole);
    return rest;
}

/* By sock.send(), with what is not sent yet. */
static int
sendall_generic(SockOp *op, PyObject *data, PyObject **result)
{
    PyObject *count;
    int rc = sockop_call_method(op, op->state->str_send, &data, 1, &count);
    if (rc == CL_SOCKOP_DONE) {
        Py_ssize_t sent = PyLong_AsSsize_t(count);
        Py_DECREF(count);
        if (sent == -1 && PyErr_Occurred()) {
            return -1;
        }
        op->done += sent;
    }
    if (rc < 0) {
        return -1;
    }
    if (op->view.obj == NULL
        && PyObject_GetBuffer(op->args[0], &op->view, PyBUF_SIMPLE) < 0) {
        op->view.obj = NULL;
        return -1;
    }
    if (op->done >= op->view.len) {
        *result = Py_NewRef(Py_None);
        return CL_SOCKOP_DONE;
    }
    return CL_SOCKOP_BLOCKED;
}

static int
sendall_attempt(SockOp *op, PyObject **result)
{
    if (op->direct) {
        return sendall_direct(op, result);
    }
    PyObject *rest = slice_bytes(op->args[0], op->done);
    if (rest == NULL) {
        return -1;
    }
    int rc = sendall_generic(op, rest, result);
    Py_DECREF(rest);
    return rc;
}

static int
sendall_start(SockOp *op, PyObject **result)
{
    if (op->direct && !get_buffer(op->args[0], &op->view, PyBUF_SIMPLE)) {
        sockop_go_generic(op);
    }
    if (op->direct) {
        return sendall_direct(op, result);
    }
    PyObject *data = Py_NewRef(op->args[0]);
    int rc = sendall_generic(op, data, result);
    Py_DECREF(data);
    return rc;
}

static int
sendto_attempt(SockOp *op, PyObject **result)
{
    PySockHead head;
    Addr addr;
    Py_buffer view = {.obj = NULL};

    if (check_family(op, &head) < 0) {
        return -1;
    }
    if (op->direct) {
        int known = addr_from_object(&addr, head.family, op->args[1]);
        if (known < 0) {
            return -1;
        }
        if (known == 0 || !get_buffer(op->args[0], &view, PyBUF_SIMPLE)) {
            sockop_go_generic(op);
        }
    }
    if (!op->direct) {
        return sockop_call_method(op, op->state->str_sendto, op->args, 2, result);
    }
    if (PySys_Audit("socket.sendto", "OO", op->sock, op->args[1]) < 0) {
        PyBuffer_Release(&view);
        return -1;
    }
    sockop_read_fd(op);
    loop_poll_soon(op->loop);
    ssize_t rc = sys_sendto(op->fd, view.buf, (size_t)view.len,
                            MSG_DONTWAIT | MSG_NOSIGNAL, &addr.u.any, addr.length);
    PyBuffer_Release(&view);
    if (rc < 0) {
        return sockop_fail((int)rc);
    }
    *result = PyLong_FromSsize_t(rc);
    return *result != NULL ? CL_SOCKOP_DONE : -1;
}

const SockOpKind sockop_sendall = {
    .name = "sock_sendall",
    .direction = CL_WRITABLE,
    .start = sendall_start,
    .attempt = sendall_attempt,
};
const SockOpKind sockop_sendto = {
    .name = "sock_sendto",
    .direction = CL_WRITABLE,
    .start = sendto_attempt,
    .attempt = sendto_attempt,
};
