/* sock_sendfile's native part: os.sendfile in a state machine.
 *
 * Called by sockops.c on the loop's thread; cloop/sendfile.py checks the arguments and
 * falls back to reading and sending when this raises SendfileNotAvailableError. The GIL
 * is released during the call, which may read from a disk. The file's own position is
 * not used; at the end it is set behind what was sent, as stock does, also when the
 * operation is cancelled. */
#include "sockop.h"

#include <errno.h>

#include "../os/sys.h"
#include "../py/err.h"

/* After so many calls in a row others have their turn. */
#define CL_SENDFILE_TURN_MAX 16
/* Linux sends no more than this in one call. */
#define CL_SENDFILE_MAX 0x7ffff000

static int
not_available(SockOp *op, const char *message)
{
    PyErr_SetString(op->state->SendfileNotAvailableError, message);
    return -1;
}

/* Puts the file where sending has come to. In newer patch releases stock does so when
 * nothing was sent too: its function takes (self, fileno, offset), and no total_sent. */
static void
update_position(SockOp *op)
{
    if (op->done > 0 || PyLong_AsLong(op->state->update_position_arity) == 3) {
        (void)sys_seek(op->file_fd, op->file_offset);
    }
}

/* The file's descriptor; os.fstat() has the last word on what is one. 0 or -1. */
static int
read_file_fd(SockOp *op, PyObject *file)
{
    PyObject *number = PyObject_CallMethodNoArgs(file, op->state->str_fileno);
    if (number == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)
            || PyErr_ExceptionMatches(op->state->UnsupportedOperation)) {
            PyErr_Clear();
            return not_available(op, "not a regular file");
        }
        return -1;
    }
    int overflow;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (fd == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (overflow != 0 || fd != (int)fd) {
        PyErr_SetString(PyExc_OverflowError,
                        overflow < 0 || (overflow == 0 && fd < 0)
                            ? "Python int too small to convert to C int"
                            : "Python int too large to convert to C int");
        return -1;
    }
    op->file_fd = (int)fd;
    return 0;
}

static int
sendfile_failed(SockOp *op, int rc)
{
    update_position(op);
    if (op->done == 0) {
        return not_available(op, "os.sendfile call failed");
    }
    if (rc == -ENOTCONN) {
        /* Closed in the middle: stock makes it the same on all systems. */
        PyObject *cause = err_new_errno(rc);
        PyObject *error =
            cause == NULL ? NULL
                          : PyObject_CallFunction(PyExc_ConnectionError, "si",
                                                  "socket is not connected", ENOTCONN);
        if (error == NULL) {
            Py_XDECREF(cause);
            return -1;
        }
        PyException_SetCause(error, cause);
        PyErr_SetObject(PyExc_ConnectionError, error);
        Py_DECREF(error);
        return -1;
    }
    err_set_errno(rc);
    return -1;
}

static int
sendfile_finish(SockOp *op, PyObject **result)
{
    update_position(op);
    *result = PyLong_FromSsize_t(op->done);
    return *result != NULL ? CL_SOCKOP_DONE : -1;
}

static int
sendfile_attempt(SockOp *op, PyObject **result)
{
    if (pysock_fileno_of(op->state, op->sock, &op->fd) < 0) {
        update_position(op);
        return -1;
    }
    for (int i = 0; i < CL_SENDFILE_TURN_MAX; i++) {
        int64_t length = op->file_limit;
        if (op->file_count != 0) {
            length = op->file_count - op->done;
            if (length <= 0) {
                return sendfile_finish(op, result);
            }
        }
        if (length > CL_SENDFILE_MAX) {
            length = CL_SENDFILE_MAX;
        }
        off_t offset = op->file_offset;
        ssize_t rc;
        loop_poll_soon(op->loop);
        Py_BEGIN_ALLOW_THREADS
        rc = sys_sendfile(op->fd, op->file_fd, &offset, (size_t)length);
        Py_END_ALLOW_THREADS
        if (rc == -EAGAIN || rc == -EINTR) {
            return CL_SOCKOP_BLOCKED;
        }
        if (rc < 0) {
            return sendfile_failed(op, (int)rc);
        }
        if (rc == 0) {
            return sendfile_finish(op, result);
        }
        op->file_offset += rc;
        op->done += rc;
    }
    return CL_SOCKOP_BLOCKED;
}

static int
sendfile_start(SockOp *op, PyObject **result)
{
    PyObject *count = op->args[2];

    fdwatch_make_level(&op->waiter); /* it may pause without EAGAIN */
    if (read_file_fd(op, op->args[0]) < 0) {
        return -1;
    }
    int64_t size = sys_file_size(op->file_fd);
    if (size < 0) {
        return not_available(op, "not a regular file");
    }
    op->file_offset = (off_t)PyLong_AsLong(op->args[1]);
    if (op->file_offset == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (count != NULL && count != Py_None) {
        op->file_count = PyLong_AsSsize_t(count);
        if (op->file_count == -1 && PyErr_Occurred()) {
            if (!CL_SENDFILE_TAKES_ANY_COUNT) {
                return -1;
            }
            PyErr_Clear();
            op->file_count = PY_SSIZE_T_MAX;
        }
    }
    op->file_limit = op->file_count != 0 ? op->file_count : size;
    if (op->file_limit == 0) {
        *result = PyLong_FromLong(0); /* an empty file */
        return *result != NULL ? CL_SOCKOP_DONE : -1;
    }
    return sendfile_attempt(op, result);
}

const SockOpKind sockop_sendfile = {
    .name = "_sock_sendfile_native",
    .direction = CL_WRITABLE,
    .start = sendfile_start,
    .attempt = sendfile_attempt,
    .abandon = update_position,
};
