/* ReadPipeTransport and WritePipeTransport (see pipe.h). Called from Python and by the
 * poller, on the loop's thread.
 *
 * Both ends of a terminal are often one descriptor, with a transport for each direction;
 * the poller knows one watcher by number. Who comes second works on a duplicate.
 *
 * Invariants: `sock` is the user's file object while is_open; transport.fd is its number
 * or, after own_number, `duplicate`; a write pipe's queue is empty, or the watcher waits
 * to write and write_context is set. */
#include "pipe.h"

#include "../os/sys.h"
#include "../py/args.h"
#include "../py/err.h"
#include "../py/outq.h"
#include "../py/pysock.h"
#include "stream.h"

#define CL_LOST_WRITES_WARN 5

static const char read_error[] = "Fatal read error on pipe transport";
static const char write_error[] = "Fatal write error on pipe transport";

typedef struct Pipe {
    Transport transport;
    OutQueue out;         /* of a write pipe */
    int fileno;           /* the user's number, for repr */
    int duplicate;        /* of it, ours; -1: none was needed */
    unsigned lost_writes; /* stock's _conn_lost */
    bool watches_reader;  /* a write pipe that can tell when its reader leaves */
    bool sending_file;    /* cloop/sendfile.py writes; nobody else may */
} Pipe;

static Pipe *
pipe_from(Transport *transport)
{
    return (Pipe *)transport;
}

static Pipe *
pipe_of(PyObject *self)
{
    return (Pipe *)self;
}

/* -- the descriptor ---------------------------------------------------------------- */

/* TransportOps.own_number: somebody else is watched by our number. */
static int
own_number(Transport *transport)
{
    Pipe *pipe = pipe_from(transport);
    if (pipe->duplicate < 0) {
        int fd = sys_duplicate(transport->fd);
        if (fd < 0) {
            err_set_errno(fd);
            return -1;
        }
        pipe->duplicate = fd;
        transport->fd = fd;
    }
    return 0;
}

static void
close_duplicate(Pipe *pipe)
{
    if (pipe->duplicate >= 0) {
        (void)sys_close(pipe->duplicate);
        pipe->duplicate = -1;
    }
}

static int
on_finished(Transport *transport)
{
    close_duplicate(pipe_from(transport));
    return 0;
}

static void
drop_queue(Transport *transport)
{
    outq_clear(&pipe_from(transport)->out);
}

static size_t
count_queued(Transport *transport)
{
    return pipe_from(transport)->out.bytes;
}

static const TransportOps transport_ops = {
    .count_queued = count_queued,
    .drop_queue = drop_queue,
    .tell_lost = transport_tell_lost,
    .tell_pause = transport_tell_pause,
    .tell_resume = transport_tell_resume,
    .on_finished = on_finished,
    .own_number = own_number,
};

/* logger.info("%r was closed by peer", self) in debug mode. 0 or -1. */
static int
log_closed_by_peer(Transport *transport)
{
    if (!transport_is_debug(transport)) {
        return 0;
    }
    PyObject *result = PyObject_CallMethod(transport->state->logger, "info", "sO",
                                           "%r was closed by peer", transport);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* -- reading ----------------------------------------------------------------------- */

/* The raised exception ends the pipe; it is reported unless it is EIO, which is how a
 * terminal ends. 0, or -1 when it must leave the loop. */
static int
fail_read(Transport *transport, int error)
{
    err_set_errno(error);
    if (error == -EIO) {
        return transport_fail(transport, read_error);
    }
    PyObject *exception = PyErr_GetRaisedException();
    PyErr_SetRaisedException(Py_NewRef(exception));
    int rc = loop_report(transport->state, (PyObject *)transport->loop, read_error,
                         "transport", transport, "protocol", transport->protocol, NULL);
    if (rc == 0 && transport->loop != NULL) {
        rc = transport_force_close(transport, exception);
    }
    Py_DECREF(exception);
    return rc;
}

/* The end of file: eof_received, then connection_lost, each in a turn's entry of its
 * own. What eof_received returns is not asked. 0 or -1. */
static int
take_eof(Transport *transport)
{
    if (log_closed_by_peer(transport) < 0) {
        return -1;
    }
    PyObject *callback =
        PyObject_GetAttr(transport->protocol, transport->state->str_eof_received);
    if (callback == NULL) {
        return -1;
    }
    transport->closing = true;
    transport_want_less(transport, CL_READABLE);
    int rc = transport_call_soon(transport, callback, NULL);
    Py_DECREF(callback);
    return rc < 0 ? -1 : transport_force_close(transport, Py_None);
}

/* 0, or -1 with what data_received raised. */
static int
read_ready(Transport *transport)
{
    Loop *loop = transport->loop;
    if (!(transport->watcher.wanted & CL_READABLE)) {
        return 0; /* paused or closed while the Handle of debug mode waited */
    }
    if (CL_UNLIKELY(loop->read_buffer == NULL)) {
        loop->read_buffer = PyMem_RawMalloc(CL_READ_SIZE);
        if (loop->read_buffer == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    ssize_t size = sys_read(transport->fd, loop->read_buffer, CL_READ_SIZE);
    if (size < 0) {
        return size == -EAGAIN ? 0 : fail_read(transport, (int)size);
    }
    if (size == 0) {
        return take_eof(transport);
    }
    PyObject *data = spare_make(&loop->spare, size);
    if (data == NULL) {
        return transport_fail(transport, read_error);
    }
    memcpy(PyBytes_AS_STRING(data), loop->read_buffer, (size_t)size);
    PyObject *protocol = Py_NewRef(transport->protocol);
    Py_INCREF(loop);
    PyObject *result =
        PyObject_CallMethodOneArg(protocol, transport->state->str_data_received, data);
    Py_DECREF(protocol);
    spare_give_back(&loop->spare, data);
    Py_DECREF(loop);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* TransportWork: as a Handle of stock's, which reports what the protocol raised. */
static int
take_readable(Transport *transport)
{
    Loop *loop = transport->loop;
    Py_INCREF(loop);
    int rc = read_ready(transport);
    if (rc < 0) {
        rc = transport_report_callback(transport, loop, "_read_ready");
    }
    Py_DECREF(loop);
    return rc;
}

/* After CL_ERROR: the kernel may have refused the interest. Asks for it again. */
static void
ask_again(Transport *transport)
{
    Watcher *watcher = &transport->watcher;
    if (watcher->fd >= 0) {
        poller_want(&transport->loop->poller, watcher, watcher->wanted);
    }
}

static int
on_read_ready(Watcher *watcher, unsigned events)
{
    Transport *transport = CL_CONTAINER_OF(watcher, Transport, watcher);
    Py_INCREF(transport);
    int rc =
        transport_take_event(transport, CL_READABLE, transport->state->str_read_ready,
                             transport->read_context, take_readable);
    if (CL_UNLIKELY(events & CL_ERROR)) {
        ask_again(transport);
    }
    Py_DECREF(transport);
    return rc;
}

static const WatcherOps read_watcher_ops = CL_TRANSPORT_WATCHER_OPS(on_read_ready);

/* -- writing ----------------------------------------------------------------------- */

/* The reader is gone: nothing written will ever arrive. 0 or -1. */
static int
take_reader_left(Transport *transport)
{
    if (transport->conn_lost != 0) {
        return 0;
    }
    if (log_closed_by_peer(transport) < 0) {
        return -1;
    }
    if (outq_is_empty(&pipe_from(transport)->out)) {
        return transport_force_close(transport, Py_None);
    }
    PyObject *error = PyObject_CallNoArgs(PyExc_BrokenPipeError);
    int rc = error == NULL ? -1 : transport_force_close(transport, error);
    Py_XDECREF(error);
    return rc;
}

/* The raised exception ends the pipe. 0, or -1 when it must leave the loop. */
static int
fail_write(Pipe *pipe)
{
    pipe->lost_writes++;
    drop_queue(&pipe->transport);
    return transport_fail(&pipe->transport, write_error);
}

/* Writes the queue until it is empty or the kernel takes no more. 0, or -1 with what
 * must leave the loop or what connection_lost raised. */
static int
send_queue(Pipe *pipe)
{
    Transport *transport = &pipe->transport;
    while (!outq_is_empty(&pipe->out)) {
        struct iovec piece;
        (void)outq_fill(&pipe->out, &piece, 1);
        loop_poll_soon(transport->loop);
        ssize_t sent = sys_write(transport->fd, piece.iov_base, piece.iov_len);
        if (sent == -EAGAIN) {
            return 0;
        }
        if (sent < 0) {
            err_set_errno((int)sent);
            return fail_write(pipe);
        }
        outq_consume(&pipe->out, (size_t)sent);
    }
    Py_CLEAR(transport->write_context);
    transport_want_less(transport, CL_WRITABLE);
    if (transport_maybe_resume(transport) < 0) {
        return -1;
    }
    if (transport->closing && transport->conn_lost == 0 && outq_is_empty(&pipe->out)) {
        return transport_finish(transport, Py_None);
    }
    return 0;
}

/* TransportWork. */
static int
take_writable(Transport *transport)
{
    if (transport->conn_lost != 0) {
        return 0;
    }
    Loop *loop = transport->loop;
    Py_INCREF(loop);
    int rc = send_queue(pipe_from(transport));
    if (rc < 0) {
        rc = transport_report_callback(transport, loop, "_write_ready");
    }
    Py_DECREF(loop);
    return rc;
}

static int
on_write_ready(Watcher *watcher, unsigned events)
{
    Transport *transport = CL_CONTAINER_OF(watcher, Transport, watcher);
    State *state = transport->state;
    bool left = pipe_from(transport)->watches_reader && events & ~CL_WRITABLE;
    int rc;
    Py_INCREF(transport);
    if (events & CL_ERROR) {
        left = left && sys_reader_left(transport->fd) != 0;
        ask_again(transport);
    }
    if (left) {
        /* Also while closing, when only the queue is waited for. */
        rc = transport_take_event(transport, CL_READABLE | CL_WRITABLE,
                                  state->str_read_ready, transport->read_context,
                                  take_reader_left);
    }
    else {
        rc = transport_take_event(transport, CL_WRITABLE, state->str_write_ready,
                                  transport->write_context, take_writable);
    }
    Py_DECREF(transport);
    return rc;
}

static const WatcherOps write_watcher_ops = CL_TRANSPORT_WATCHER_OPS(on_write_ready);

/* Writes at once what the kernel takes, if nothing is before it. How much, or -1 when
 * the write has failed: then *rc is write()'s answer. */
static ssize_t
write_first(Pipe *pipe, const Py_buffer *view, int *rc)
{
    if (!outq_is_empty(&pipe->out)) {
        return 0;
    }
    loop_poll_soon(pipe->transport.loop);
    ssize_t sent = sys_write(pipe->transport.fd, view->buf, (size_t)view->len);
    if (sent >= 0 || sent == -EAGAIN) {
        return Py_MAX(sent, 0);
    }
    err_set_errno((int)sent);
    *rc = fail_write(pipe);
    return -1;
}

/* 0, or -1 with an exception for the caller. */
static int
write_or_queue(Pipe *pipe, PyObject *owner, const Py_buffer *view)
{
    Transport *transport = &pipe->transport;
    int rc = 0;
    ssize_t sent = write_first(pipe, view, &rc);
    if (sent < 0 || sent == view->len) {
        return rc;
    }
    if (transport->write_context == NULL) {
        transport->write_context = PyContext_CopyCurrent();
        if (transport->write_context == NULL) {
            return -1;
        }
    }
    if (outq_append(&pipe->out, owner, view, (size_t)sent) < 0) {
        return -1;
    }
    if (transport_want_more(transport, CL_WRITABLE) < 0) {
        return -1;
    }
    return transport_maybe_pause(transport);
}

/* 0 or -1. */
static int
count_lost_write(Pipe *pipe)
{
    if (pipe->lost_writes >= CL_LOST_WRITES_WARN) {
        PyObject *result = PyObject_CallMethod(
            pipe->transport.state->logger, "warning", "s",
            "pipe closed by peer or os.write(pipe, data) raised exception.");
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    pipe->lost_writes++;
    return 0;
}

PyDoc_STRVAR(
    WritePipeTransport_write_doc,
    "write($self, data, /)\n--\n\n"
    "Send bytes, a bytearray or a memoryview, without waiting. Dropped once\n"
    "closed or once the reader has left. See the asyncio documentation, section\n"
    "\"Write-only Transports\".");

static PyObject *
WritePipeTransport_write(PyObject *self, PyObject *data)
{
    Pipe *pipe = pipe_of(self);
    Transport *transport = &pipe->transport;
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyObject *shown = PyObject_Repr(data);
        if (shown != NULL) {
            PyErr_SetObject(PyExc_AssertionError, shown);
            Py_DECREF(shown);
        }
        return NULL;
    }
    if (pipe->sending_file) {
        PyErr_SetString(PyExc_RuntimeError, "unable to write; sendfile is in progress");
        return NULL;
    }
    int rc;
    Py_buffer view;
    bool lost = transport->closing || pipe->lost_writes != 0;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        rc = transport_check_data(data);
        if (rc > 0 && !lost) {
            rc = fail_write(pipe);
        }
        else if (rc > 0) {
            PyErr_Clear();
            rc = count_lost_write(pipe);
        }
        return rc < 0 ? NULL : Py_NewRef(Py_None);
    }
    rc = view.len == 0 ? 0
         : lost        ? count_lost_write(pipe)
                       : write_or_queue(pipe, data, &view);
    PyBuffer_Release(&view);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(WritePipeTransport_write_eof_doc,
             "write_eof($self, /)\n--\n\n"
             "Close once all is sent, as close() does. See the asyncio documentation,\n"
             "section \"Write-only Transports\".");

PyDoc_STRVAR(WritePipeTransport_can_write_eof_doc,
             "can_write_eof($self, /)\n--\n\n"
             "True: write_eof() works here. See the asyncio documentation, section\n"
             "\"Write-only Transports\".");

static PyObject *
WritePipeTransport_can_write_eof(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_TRUE;
}

/* While a file is sent by the kernel; _start_reading comes back. */
static PyObject *
WritePipeTransport__leave_poller(PyObject *self, PyObject *Py_UNUSED(unused))
{
    transport_leave_poller((Transport *)self);
    Py_RETURN_NONE;
}

/* Handles call it in debug mode; what raises there is reported by them. */
static PyObject *
WritePipeTransport__write_ready(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Transport *transport = (Transport *)self;
    if (transport->conn_lost != 0) {
        Py_RETURN_NONE;
    }
    return send_queue(pipe_from(transport)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
WritePipeTransport__read_ready(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return take_reader_left((Transport *)self) < 0 ? NULL : Py_NewRef(Py_None);
}

/* -- making ------------------------------------------------------------------------ */

static PyObject *
make_pipe(PyTypeObject *type, const WatcherOps *watcher_ops)
{
    State *state = state_of_type(type);
    PyObject *self = state == NULL ? NULL : type->tp_alloc(type, 0);
    if (self != NULL) {
        Pipe *pipe = pipe_of(self);
        outq_init(&pipe->out);
        pipe->fileno = -1;
        pipe->duplicate = -1;
        transport_prepare(&pipe->transport, state, &transport_ops, watcher_ops);
    }
    return self;
}

static PyObject *
ReadPipeTransport_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                      PyObject *Py_UNUSED(kwargs))
{
    return make_pipe(type, &read_watcher_ops);
}

static PyObject *
WritePipeTransport_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                       PyObject *Py_UNUSED(kwargs))
{
    return make_pipe(type, &write_watcher_ops);
}

/* Waits for what is to be waited for from the start. A device that cannot be polled is
 * the caller's to report, and the transport stays, as on stock; want of memory or of
 * descriptors ends it. 0 or -1. */
static int
begin(Transport *transport)
{
    transport->started = true;
    bool reads = transport->watcher.ops == &read_watcher_ops
                 || pipe_from(transport)->watches_reader;
    if (!reads || transport_want_data(transport) == 0) {
        return 0;
    }
    return PyErr_ExceptionMatches(PyExc_PermissionError)
               ? -1
               : transport_fail(transport, "Fatal error on pipe transport");
}

/* RingRun: the turn after connection_made was put on the ring. */
static int
run_begin(void *loop, void *subject, void *Py_UNUSED(arg))
{
    Transport *transport = subject;
    int rc = 0;
    if (transport->loop != NULL && begin(transport) < 0) {
        rc = transport_report_callback(transport, loop, "_start_reading");
    }
    Py_DECREF(transport);
    return rc;
}

static PyObject *
Pipe__start_reading(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Transport *transport = (Transport *)self;
    if (transport->loop == NULL) {
        Py_RETURN_NONE;
    }
    return begin(transport) < 0 ? NULL : Py_NewRef(Py_None);
}

/* Checks what kind of file fd is, and makes it non-blocking. 0 or -1. */
static int
check_file(Pipe *pipe, int fd, const char *refusal)
{
    int mode = sys_file_mode(fd);
    if (mode < 0) {
        err_set_errno(mode);
        return -1;
    }
    if (!S_ISFIFO(mode) && !S_ISSOCK(mode) && !S_ISCHR(mode)) {
        PyErr_SetString(PyExc_ValueError, refusal);
        return -1;
    }
    pipe->watches_reader =
        pipe->transport.watcher.ops == &write_watcher_ops && !S_ISCHR(mode);
    int rc = sys_set_nonblocking(fd, true);
    if (rc < 0) {
        err_set_errno(rc);
        return -1;
    }
    return 0;
}

/* tp_init of both. 0 or -1. */
static int
init_pipe(PyObject *self, PyObject *args, PyObject *kwargs, const char *function,
          const char *refusal)
{
    static const char *const names[] = {"loop",   "pipe",  "protocol",
                                        "waiter", "extra", NULL};
    const ArgSpec spec = {function, names, 5, 3, false, false};
    PyObject *values[5];
    if (args_parse_tuple(&spec, args, kwargs, values) < 0) {
        return -1;
    }
    Pipe *pipe = pipe_of(self);
    Transport *transport = &pipe->transport;
    Loop *loop = loop_from(transport->state, values[0]);
    if (loop == NULL || transport->fd >= 0) {
        PyErr_SetString(PyExc_TypeError, loop == NULL ? "loop must be a cloop.Loop"
                                                      : "already initialized");
        return -1;
    }
    PyObject *given = values[4] == Py_None ? NULL : values[4];
    if (given != NULL && !PyDict_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "extra must be a dict");
        return -1;
    }
    int fd;
    if (pysock_fileno_of(transport->state, values[1], &fd) < 0
        || check_file(pipe, fd, refusal) < 0) {
        return -1;
    }
    PyObject *extra = given != NULL ? PyDict_Copy(given) : PyDict_New();
    if (extra == NULL || PyDict_SetItemString(extra, "pipe", values[1]) < 0) {
        Py_XDECREF(extra);
        return -1;
    }
    transport->extra = extra;
    transport->sock = Py_NewRef(values[1]);
    pipe->fileno = fd;
    if (transport_init(transport, loop, fd, values[2], NULL) < 0) {
        return -1;
    }
    return transport_schedule_start(transport, NULL, values[3], run_begin);
}

static int
ReadPipeTransport_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return init_pipe(self, args, kwargs, "ReadPipeTransport.__init__",
                     "Pipe transport is for pipes/sockets only.");
}

static int
WritePipeTransport_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return init_pipe(self, args, kwargs, "WritePipeTransport.__init__",
                     "Pipe transport is only for pipes, sockets and character devices");
}

/* -- the types --------------------------------------------------------------------- */

PyDoc_STRVAR(Pipe_set_protocol_doc,
             "set_protocol($self, protocol, /)\n--\n\n"
             "Another protocol hears what comes from now on. See the asyncio\n"
             "documentation, section \"Base Transport\".");

static PyObject *
Pipe_set_protocol(PyObject *self, PyObject *protocol)
{
    Py_XSETREF(((Transport *)self)->protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

static PyObject *
ReadPipeTransport__read_ready(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Transport *transport = (Transport *)self;
    if (transport->loop == NULL) {
        Py_RETURN_NONE;
    }
    return read_ready(transport) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Pipe_get__pipe(PyObject *self, void *Py_UNUSED(closure))
{
    Transport *transport = (Transport *)self;
    return Py_NewRef(transport->is_open ? transport->sock : Py_None);
}

/* repr() of both, as stock's with a selector. */
static PyObject *
Pipe_repr(PyObject *self)
{
    Transport *transport = (Transport *)self;
    const char *name = strrchr(Py_TYPE(self)->tp_name, '.');
    name = name != NULL ? name + 1 : Py_TYPE(self)->tp_name;
    const char *state = !transport->is_open  ? " closed"
                        : transport->closing ? " closing"
                                             : "";
    int fd = pipe_of(self)->fileno;
    if (!transport->is_open || transport->loop == NULL || transport->loop->closed) {
        return PyUnicode_FromFormat("<%s%s fd=%d %s>", name, state, fd,
                                    transport->is_open ? "open" : "closed");
    }
    unsigned wanted = transport->watcher.wanted;
    if (transport->watcher.ops == &read_watcher_ops) {
        return PyUnicode_FromFormat("<%s%s fd=%d %s>", name, state, fd,
                                    wanted & CL_READABLE ? "polling" : "idle");
    }
    return PyUnicode_FromFormat("<%s%s fd=%d %s bufsize=%zu>", name, state, fd,
                                wanted & CL_WRITABLE ? "polling" : "idle",
                                count_queued(transport));
}

static int
Pipe_traverse(PyObject *self, visitproc visit, void *arg)
{
    return transport_traverse((Transport *)self, visit, arg);
}

static int
Pipe_clear(PyObject *self)
{
    transport_clear((Transport *)self);
    close_duplicate(pipe_of(self));
    return 0;
}

static void
Pipe_dealloc(PyObject *self)
{
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    compat_clear_weakrefs(self);
    (void)Pipe_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

#define CL_PIPE_METHODS                                                                \
    {"close", Transport_close, METH_NOARGS, Transport_close_doc},                      \
        {"is_closing", Transport_is_closing, METH_NOARGS, Transport_is_closing_doc},   \
        {"get_protocol", Transport_get_protocol, METH_NOARGS,                          \
         Transport_get_protocol_doc},                                                  \
        {"set_protocol", Pipe_set_protocol, METH_O, Pipe_set_protocol_doc},            \
        {"get_extra_info", CL_KEYWORDS(Transport_get_extra_info),                      \
         METH_FASTCALL | METH_KEYWORDS, Transport_get_extra_info_doc},                 \
        {"_close", Transport__force_close, METH_O, NULL},                              \
        {"_call_connection_lost", Transport__call_connection_lost, METH_O, NULL},      \
    {                                                                                  \
        "_start_reading", Pipe__start_reading, METH_NOARGS, NULL                       \
    }

#define CL_PIPE_MEMBERS                                                                \
    {"__dictoffset__", T_PYSSIZET, offsetof(Transport, dict), READONLY, NULL},         \
        {"__weaklistoffset__", T_PYSSIZET, offsetof(Transport, weakrefs), READONLY,    \
         NULL},                                                                        \
        {"_closing", T_BOOL, offsetof(Transport, closing), READONLY, NULL},            \
    {                                                                                  \
        "_fileno", T_INT, offsetof(Pipe, fileno), READONLY, NULL                       \
    }

static PyMethodDef read_pipe_methods[] = {
    CL_PIPE_METHODS,
    CL_TRANSPORT_READ_METHODS,
    {"_read_ready", ReadPipeTransport__read_ready, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef write_pipe_methods[] = {
    CL_PIPE_METHODS,
    CL_TRANSPORT_WRITE_METHODS,
    {"write", WritePipeTransport_write, METH_O, WritePipeTransport_write_doc},
    {"write_eof", Transport_close, METH_NOARGS, WritePipeTransport_write_eof_doc},
    {"can_write_eof", WritePipeTransport_can_write_eof, METH_NOARGS,
     WritePipeTransport_can_write_eof_doc},
    {"_leave_poller", WritePipeTransport__leave_poller, METH_NOARGS, NULL},
    {"_read_ready", WritePipeTransport__read_ready, METH_NOARGS, NULL},
    {"_write_ready", WritePipeTransport__write_ready, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef read_pipe_members[] = {
    CL_PIPE_MEMBERS,
    {"_paused", T_BOOL, offsetof(Transport, paused), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef write_pipe_members[] = {
    CL_PIPE_MEMBERS,
    {"_conn_lost", T_UINT, offsetof(Pipe, lost_writes), READONLY, NULL},
    {"_protocol_paused", T_BOOL, offsetof(Transport, protocol_paused), READONLY, NULL},
    {"_sending_file", T_BOOL, offsetof(Pipe, sending_file), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(
    ReadPipeTransport_doc,
    "ReadPipeTransport(loop, pipe, protocol, waiter=None, extra=None)\n--\n\n"
    "The transport of a pipe's, FIFO's, socket's or terminal's reading end, whose file\n"
    "object it closes. Made by the loop. See the asyncio documentation, section\n"
    "\"Transports and Protocols\".");

PyDoc_STRVAR(
    WritePipeTransport_doc,
    "WritePipeTransport(loop, pipe, protocol, waiter=None, extra=None)\n--\n\n"
    "The transport of a pipe's, FIFO's, socket's or terminal's writing end, whose file\n"
    "object it closes. Made by the loop. See the asyncio documentation, section\n"
    "\"Transports and Protocols\".");

static PyType_Slot read_pipe_slots[] = {
    {Py_tp_doc, (void *)ReadPipeTransport_doc},
    {Py_tp_init, (void *)ReadPipeTransport_init},
    {Py_tp_new, (void *)ReadPipeTransport_new},
    {Py_tp_dealloc, (void *)Pipe_dealloc},
    {Py_tp_finalize, (void *)transport_finalize},
    {Py_tp_traverse, (void *)Pipe_traverse},
    {Py_tp_clear, (void *)Pipe_clear},
    {Py_tp_repr, (void *)Pipe_repr},
    {Py_tp_methods, (void *)read_pipe_methods},
    {Py_tp_members, (void *)read_pipe_members},
    {Py_tp_getset, (void *)transport_getset},
    {0, NULL},
};

static PyType_Slot write_pipe_slots[] = {
    {Py_tp_doc, (void *)WritePipeTransport_doc},
    {Py_tp_init, (void *)WritePipeTransport_init},
    {Py_tp_new, (void *)WritePipeTransport_new},
    {Py_tp_dealloc, (void *)Pipe_dealloc},
    {Py_tp_finalize, (void *)transport_finalize},
    {Py_tp_traverse, (void *)Pipe_traverse},
    {Py_tp_clear, (void *)Pipe_clear},
    {Py_tp_repr, (void *)Pipe_repr},
    {Py_tp_methods, (void *)write_pipe_methods},
    {Py_tp_members, (void *)write_pipe_members},
    {Py_tp_getset, (void *)transport_getset},
    {0, NULL},
};

PyType_Spec read_pipe_spec = {
    .name = "cloop.ReadPipeTransport",
    .basicsize = sizeof(Pipe),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = read_pipe_slots,
};

PyType_Spec write_pipe_spec = {
    .name = "cloop.WritePipeTransport",
    .basicsize = sizeof(Pipe),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = write_pipe_slots,
};

static PyGetSetDef pipe_getset = {"_pipe", Pipe_get__pipe, NULL,
                                  "The file object, or None once closed.", NULL};

int
pipe_complete_types(State *state)
{
    PyTypeObject *const types[] = {state->ReadPipeTransportType,
                                   state->WritePipeTransportType};
    for (size_t i = 0; i < CL_COUNT_OF(types); i++) {
        PyObject *getter = PyDescr_NewGetSet(types[i], &pipe_getset);
        if (getter == NULL) {
            return -1;
        }
        int rc = PyObject_SetAttrString((PyObject *)types[i], "_pipe", getter);
        Py_DECREF(getter);
        if (rc < 0) {
            return -1;
        }
    }
    PyObject *size = PyLong_FromLong(CL_READ_SIZE);
    int rc = size == NULL
                 ? -1
                 : PyObject_SetAttrString((PyObject *)types[0], "max_size", size);
    Py_XDECREF(size);
    return rc < 0 ? -1
                  : PyObject_SetAttrString((PyObject *)types[1], "_sendfile_compatible",
                                           state->sendfile_native);
}
