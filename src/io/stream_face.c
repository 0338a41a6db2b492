/* StreamTransport, the Python type of a Stream: making, methods, life (see stream.h).
 * Called from Python and by the listener, on the loop's thread. */
#include "../py/compat.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "../os/sys.h"
#include "../py/args.h"
#include "../py/pysock.h"
#include "reader.h"
#include "stream.h"

static Stream *
stream_of(PyObject *self)
{
    return (Stream *)self;
}

/* A fresh object is as good as closed until stream_init. */
static PyObject *
StreamTransport_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                    PyObject *Py_UNUSED(kwargs))
{
    State *state = state_of_type(type);
    PyObject *self = state == NULL ? NULL : type->tp_alloc(type, 0);
    if (self != NULL) {
        stream_prepare(stream_of(self), state);
    }
    return self;
}

/* -- making ------------------------------------------------------------------------ */

/* Small writes leave at once. An error is no reason to give the connection up: another
 * kind of stream (MPTCP, SCTP) may not know the option. */
static void
set_nodelay(Transport *transport)
{
    if (transport->sock_family == AF_INET || transport->sock_family == AF_INET6) {
        int on = 1;
        (void)sys_setsockopt(transport->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
}

PyObject *
stream_accept(Loop *loop, int fd, const Addr *peer, int proto, PyObject *protocol,
              PyObject *server, PyObject *context)
{
    PyTypeObject *type = loop->state->StreamTransportType;
    PyObject *self = type->tp_alloc(type, 0);
    if (self == NULL) {
        (void)sys_close(fd);
        return NULL;
    }
    stream_prepare(stream_of(self), loop->state);
    Transport *transport = (Transport *)self;
    transport->sock_proto = (uint16_t)proto;
    if (stream_init(stream_of(self), loop, fd, protocol, NULL) < 0
        || transport_set_names(transport, peer) < 0) {
        goto error;
    }
    set_nodelay(transport);
    transport->context = Py_XNewRef(context);
    if (stream_schedule_start(stream_of(self), server, NULL) < 0) {
        goto error;
    }
    return self;
error:
    /* Nobody has seen it: no warning about an unclosed transport. */
    if (transport->is_open) {
        transport->is_open = false;
        if (transport->sock == NULL) {
            (void)sys_close(fd);
        }
    }
    Py_DECREF(self);
    return NULL;
}

static int
StreamTransport_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"loop",  "sock",   "protocol", "waiter",
                                        "extra", "server", "context",  NULL};
    static const ArgSpec spec = {"StreamTransport.__init__", names, 7, 3, false, false};
    PyObject *values[7];
    if (args_parse_tuple(&spec, args, kwargs, values) < 0) {
        return -1;
    }
    State *state = state_of_type(Py_TYPE(self));
    if (state == NULL) {
        return -1;
    }
    Stream *stream = stream_of(self);
    Transport *transport = &stream->transport;
    Loop *loop = loop_from(state, values[0]);
    int fd;
    if (loop == NULL || transport->fd >= 0) {
        PyErr_SetString(PyExc_TypeError, loop == NULL ? "loop must be a cloop.Loop"
                                                      : "already initialized");
        return -1;
    }
    if (values[4] == Py_None) {
        values[4] = NULL;
    }
    if (values[4] != NULL && !PyDict_Check(values[4])) {
        PyErr_SetString(PyExc_TypeError, "extra must be a dict");
        return -1;
    }
    if (pysock_fileno_of(state, values[1], &fd) < 0
        || transport_check_unused(loop, fd, values[1]) < 0) {
        return -1;
    }
    transport->sock = Py_NewRef(values[1]);
    if (stream_init(stream, loop, fd, values[2], values[4]) < 0
        || transport_set_names(transport, NULL) < 0) {
        return -1;
    }
    set_nodelay(transport);
    if (values[6] != NULL && values[6] != Py_None) {
        if (!PyContext_CheckExact(values[6])) {
            PyErr_SetString(PyExc_TypeError, "context must be a Context");
            return -1;
        }
        transport->context = Py_NewRef(values[6]);
    }
    return stream_schedule_start(stream, values[5], values[3]);
}

/* -- writing ----------------------------------------------------------------------- */

/* Stock's checks at the head of write and writelines. 0 or -1 with RuntimeError. */
static int
check_writable(Stream *stream, const char *method, const char *gerund)
{
    if (CL_UNLIKELY(stream->eof)) {
        PyErr_Format(PyExc_RuntimeError, "Cannot call %s() after write_eof()", method);
        return -1;
    }
    if (CL_UNLIKELY(stream->empty_waiter != NULL)) {
        PyErr_Format(PyExc_RuntimeError, "unable to %s; sendfile is in progress",
                     gerund);
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(
    StreamTransport_write_doc,
    "write($self, data, /)\n--\n\n"
    "Send bytes, a bytearray or a memoryview, without waiting. Dropped once the\n"
    "connection is lost. See the asyncio documentation, section \"Write-only\n"
    "Transports\".");

PyObject *
stream_write_object(PyObject *self, PyObject *data)
{
    Stream *stream = stream_of(self);
    Transport *transport = &stream->transport;
    Py_buffer view;
    bool is_bytes = PyBytes_Check(data);
    if (!is_bytes && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        /* What is wrong with it, in the words of the running patch release. */
        PyObject *arguments[] = {self, data};
        return PyObject_Vectorcall(transport->state->stock_write, arguments, 2, NULL);
    }
    if (check_writable(stream, "write", "write") < 0) {
        return NULL;
    }
    if (CL_UNLIKELY(stream->writer_tries > 0)) {
        stream->writer_tries--;
        reader_adopt_caller(transport->state, self);
    }
    int rc = 0;
    if (CL_LIKELY(is_bytes)) {
        view.buf = PyBytes_AS_STRING(data);
        view.len = PyBytes_GET_SIZE(data);
    }
    else if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        rc = transport_check_data(data);
        if (rc > 0 && transport->conn_lost != 0) {
            PyErr_Clear();
            rc = transport_count_lost_write(transport);
        }
        else if (rc > 0) {
            rc = transport_fail(transport, "Fatal write error on socket transport");
        }
        return rc < 0 ? NULL : Py_NewRef(Py_None);
    }
    if (CL_UNLIKELY(view.len == 0)) {
        rc = 0;
    }
    else if (CL_UNLIKELY(transport->conn_lost != 0 || transport->finished)) {
        rc = transport_count_lost_write(transport);
    }
    else {
        rc = stream_write(stream, data, &view);
    }
    if (!is_bytes) {
        PyBuffer_Release(&view);
    }
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(StreamTransport_writelines_doc,
             "writelines($self, list_of_data, /)\n--\n\n"
             "Send an iterable of bytes-like objects. See the asyncio documentation,\n"
             "section \"Write-only Transports\".");

#if CL_HAVE_VECTOR_WRITELINES
static PyObject *
StreamTransport_writelines(PyObject *self, PyObject *list_of_data)
{
    Stream *stream = stream_of(self);
    Transport *transport = &stream->transport;
    if (check_writable(stream, "writelines", "writelines") < 0) {
        return NULL;
    }
    int truth = PyObject_IsTrue(list_of_data);
    if (truth <= 0) {
        return truth < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyObject *pieces = PySequence_List(list_of_data);
    if (pieces == NULL) {
        return NULL;
    }
    /* As views, so that nothing is sent when one of them is no such thing. A __buffer__
     * of the user's may find the list, with gc, and change it. */
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pieces); i++) {
        PyObject *piece = PyList_GET_ITEM(pieces, i);
        if (PyBytes_CheckExact(piece)) {
            continue;
        }
        Py_INCREF(piece);
        int is_true = CL_WRITELINES_SKIPS_FALSE ? PyObject_IsTrue(piece) : 1;
        PyObject *view = NULL;
        if (is_true > 0) {
            view = PyMemoryView_FromObject(piece);
        }
        else if (is_true == 0) {
            view = PyBytes_FromStringAndSize(NULL, 0);
        }
        Py_DECREF(piece);
        if (view == NULL || PyList_SetItem(pieces, i, view) < 0) {
            Py_DECREF(pieces);
            return NULL;
        }
    }
    int rc = transport->conn_lost != 0 || transport->finished
                 ? transport_count_lost_write(transport)
                 : stream_writelines(stream, pieces);
    Py_DECREF(pieces);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}
#else
static PyObject *
StreamTransport_writelines(PyObject *self, PyObject *list_of_data)
{
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *data =
        empty == NULL ? NULL : PyObject_CallMethod(empty, "join", "(O)", list_of_data);
    Py_XDECREF(empty);
    if (data == NULL) {
        return NULL;
    }
    PyObject *result = stream_write_object(self, data);
    Py_DECREF(data);
    return result;
}
#endif

PyDoc_STRVAR(
    StreamTransport_write_eof_doc,
    "write_eof($self, /)\n--\n\n"
    "Close the sending side once all is sent; data may still be received. See\n"
    "the asyncio documentation, section \"Write-only Transports\".");

static PyObject *
StreamTransport_write_eof(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return stream_write_eof(stream_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(StreamTransport_can_write_eof_doc,
             "can_write_eof($self, /)\n--\n\n"
             "True: write_eof() works here. See the asyncio documentation, section\n"
             "\"Write-only Transports\".");

static PyObject *
StreamTransport_can_write_eof(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_TRUE;
}

/* -- sendfile waits for the queue to run dry --------------------------------------- */

static PyObject *
StreamTransport__make_empty_waiter(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Stream *stream = stream_of(self);
    if (stream->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    if (stream->transport.loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Transport is closed");
        return NULL;
    }
    if (stream_flush(&stream->transport) < 0) {
        return NULL;
    }
    PyObject *waiter =
        PyObject_CallMethod((PyObject *)stream->transport.loop, "create_future", NULL);
    if (waiter == NULL) {
        return NULL;
    }
    stream->empty_waiter = Py_NewRef(waiter);
    if (outq_is_empty(&stream->out)) {
        PyObject *result = PyObject_CallMethod(waiter, "set_result", "O", Py_None);
        if (result == NULL) {
            Py_CLEAR(waiter);
        }
        Py_XDECREF(result);
    }
    return waiter;
}

static PyObject *
StreamTransport__leave_poller(PyObject *self, PyObject *Py_UNUSED(unused))
{
    transport_leave_poller((Transport *)self);
    Py_RETURN_NONE;
}

static PyObject *
StreamTransport__reset_empty_waiter(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Py_CLEAR(stream_of(self)->empty_waiter);
    Py_RETURN_NONE;
}

/* -- the rest ---------------------------------------------------------------------- */

PyDoc_STRVAR(StreamTransport_set_protocol_doc,
             "set_protocol($self, protocol, /)\n--\n\n"
             "Another protocol hears what comes from now on. See the asyncio\n"
             "documentation, section \"Base Transport\".");

static PyObject *
StreamTransport_set_protocol(PyObject *self, PyObject *protocol)
{
    return stream_set_protocol(stream_of(self), protocol) < 0 ? NULL
                                                              : Py_NewRef(Py_None);
}

static PyObject *
StreamTransport__start_reading(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return stream_begin(stream_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

/* Handles call these in debug mode; what raises there is reported by them. */
static PyObject *
StreamTransport__read_ready(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Stream *stream = stream_of(self);
    if (stream->transport.loop == NULL) {
        Py_RETURN_NONE;
    }
    return stream_read_ready(stream) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
StreamTransport__write_ready(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Stream *stream = stream_of(self);
    if (stream->transport.loop == NULL || !stream->blocked) {
        Py_RETURN_NONE;
    }
    return stream_write_ready(stream) < 0 ? NULL : Py_NewRef(Py_None);
}

static int
StreamTransport_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(stream_of(self)->empty_waiter);
    return transport_traverse((Transport *)self, visit, arg);
}

static int
StreamTransport_clear(PyObject *self)
{
    Py_CLEAR(stream_of(self)->empty_waiter);
    transport_clear((Transport *)self);
    return 0;
}

static void
StreamTransport_dealloc(PyObject *self)
{
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    compat_clear_weakrefs(self);
    (void)StreamTransport_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef StreamTransport_methods[] = {
    CL_TRANSPORT_METHODS,
    CL_TRANSPORT_READ_METHODS,
    CL_TRANSPORT_WRITE_METHODS,
    {"write", stream_write_object, METH_O, StreamTransport_write_doc},
    {"writelines", StreamTransport_writelines, METH_O, StreamTransport_writelines_doc},
    {"write_eof", StreamTransport_write_eof, METH_NOARGS,
     StreamTransport_write_eof_doc},
    {"can_write_eof", StreamTransport_can_write_eof, METH_NOARGS,
     StreamTransport_can_write_eof_doc},
    {"set_protocol", StreamTransport_set_protocol, METH_O,
     StreamTransport_set_protocol_doc},
    {"_make_empty_waiter", StreamTransport__make_empty_waiter, METH_NOARGS, NULL},
    {"_leave_poller", StreamTransport__leave_poller, METH_NOARGS, NULL},
    {"_reset_empty_waiter", StreamTransport__reset_empty_waiter, METH_NOARGS, NULL},
    {"_start_reading", StreamTransport__start_reading, METH_NOARGS, NULL},
    {"_read_ready", StreamTransport__read_ready, METH_NOARGS, NULL},
    {"_write_ready", StreamTransport__write_ready, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef StreamTransport_members[] = {
    CL_TRANSPORT_MEMBERS,
    {"_empty_waiter", T_OBJECT, offsetof(Stream, empty_waiter), READONLY, NULL},
    {"_eof", T_BOOL, offsetof(Stream, eof), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(
    StreamTransport_doc,
    "StreamTransport(loop, sock, protocol, waiter=None, extra=None, "
    "server=None)\n--\n\n"
    "The transport of a connected TCP or Unix socket, which it owns. Made by the\n"
    "loop. See the asyncio documentation, section \"Transports and Protocols\".");

static PyType_Slot StreamTransport_slots[] = {
    {Py_tp_doc, (void *)StreamTransport_doc},
    {Py_tp_init, (void *)StreamTransport_init},
    {Py_tp_new, (void *)StreamTransport_new},
    {Py_tp_dealloc, (void *)StreamTransport_dealloc},
    {Py_tp_finalize, (void *)transport_finalize},
    {Py_tp_traverse, (void *)StreamTransport_traverse},
    {Py_tp_clear, (void *)StreamTransport_clear},
    {Py_tp_repr, (void *)Transport_repr},
    {Py_tp_methods, (void *)StreamTransport_methods},
    {Py_tp_members, (void *)StreamTransport_members},
    {Py_tp_getset, (void *)transport_getset},
    {0, NULL},
};

PyType_Spec stream_spec = {
    .name = "cloop.StreamTransport",
    .basicsize = sizeof(Stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = StreamTransport_slots,
};

int
stream_complete_type(State *state)
{
    PyObject *type = (PyObject *)state->StreamTransportType;
    PyObject *size = PyLong_FromLong(CL_READ_SIZE);
    int rc = size == NULL ? -1 : PyObject_SetAttrString(type, "max_size", size);
    Py_XDECREF(size);
    if (rc == 0) {
        rc = PyObject_SetAttrString(type, "_start_tls_compatible", Py_True);
    }
    if (rc == 0) {
        rc = PyObject_SetAttrString(type, "_sendfile_compatible",
                                    state->sendfile_native);
    }
    return rc;
}
