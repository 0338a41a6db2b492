/* DatagramTransport (see datagram.h). Called from Python and by the poller, on the
 * loop's thread.
 *
 * The addresses of who was heard lately, and of the last sendto, are kept in both forms,
 * Python's and the kernel's, for most programs answer, or send to few peers; an address
 * that takes a resolver goes through the Python socket's own sendto, which has the
 * resolver and the messages. So does all of a family that addr.h does not know.
 *
 * Invariants: while the queue is not empty the watcher waits to write (and, when an error
 * has emptied it, until the next event, which finishes as on stock); each entry owns its
 * bytes and its address (NULL: the connected peer). */
#include "datagram.h"

#include "../os/sys.h"
#include "../py/args.h"
#include "../py/err.h"
#include "../py/pysock.h"
#include "peers.h"
#include "stream.h"

/* One datagram of UDP fits into a slot; the loop's read buffer has room for so many. */
#define CL_DATAGRAM_SLOT ((size_t)64 * 1024)
#define CL_DATAGRAM_BATCH ((int)(CL_READ_SIZE / CL_DATAGRAM_SLOT))
#define CL_BATCHES_PER_EVENT 4

typedef struct OutDatagram {
    PyObject *data;    /* exact bytes */
    PyObject *address; /* as the user gave it, or NULL */
} OutDatagram;

typedef struct Datagram {
    Transport transport;
    PyObject *remote;   /* _address: the only one that may be sent to; or NULL */
    OutDatagram *queue; /* a circle; NULL while empty */
    uint32_t capacity;  /* 0 or a power of two */
    uint32_t head;
    uint32_t count;
    size_t bytes;         /* what get_write_buffer_size says */
    Peers peers;          /* who was heard */
    PyObject *known_peer; /* the address of the last sendto; or NULL */
    Addr known_addr;      /* ... as the kernel wants it */
    bool connected;
} Datagram;

static Datagram *
datagram_from(Transport *transport)
{
    return (Datagram *)transport;
}

/* -- the queue --------------------------------------------------------------------- */

static int
queue_grow(Datagram *datagram)
{
    uint32_t capacity = datagram->capacity == 0 ? 8 : datagram->capacity * 2;
    OutDatagram *queue = PyMem_Malloc(capacity * sizeof(*queue));
    if (queue == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < datagram->count; i++) {
        queue[i] = datagram->queue[(datagram->head + i) & (datagram->capacity - 1)];
    }
    PyMem_Free(datagram->queue);
    datagram->queue = queue;
    datagram->capacity = capacity;
    datagram->head = 0;
    return 0;
}

/* Appends. Steals data; holds a ref to address (or NULL). 0 or -1. */
static int
queue_append(Datagram *datagram, PyObject *data, PyObject *address)
{
    if (datagram->count == datagram->capacity && queue_grow(datagram) < 0) {
        Py_DECREF(data);
        return -1;
    }
    uint32_t at = (datagram->head + datagram->count) & (datagram->capacity - 1);
    datagram->queue[at].data = data;
    datagram->queue[at].address = Py_XNewRef(address);
    datagram->count++;
    datagram->bytes += (size_t)PyBytes_GET_SIZE(data) + CL_DATAGRAM_HEADER;
    return 0;
}

/* The oldest entry, taken out; its references are the caller's. */
static OutDatagram
queue_pop(Datagram *datagram)
{
    OutDatagram entry = datagram->queue[datagram->head];
    datagram->head = (datagram->head + 1) & (datagram->capacity - 1);
    datagram->count--;
    datagram->bytes -= (size_t)PyBytes_GET_SIZE(entry.data) + CL_DATAGRAM_HEADER;
    if (datagram->count == 0) {
        PyMem_Free(datagram->queue);
        datagram->queue = NULL;
        datagram->capacity = 0;
        datagram->head = 0;
    }
    return entry;
}

/* TransportOps.drop_queue. An address is a tuple or bytes of plain things in practice,
 * but may be the user's: entries leave one by one. */
static void
drop_queue(Transport *transport)
{
    Datagram *datagram = datagram_from(transport);
    while (datagram->count > 0) {
        OutDatagram entry = queue_pop(datagram);
        Py_DECREF(entry.data);
        Py_XDECREF(entry.address);
    }
}

static size_t
count_queued(Transport *transport)
{
    return datagram_from(transport)->bytes;
}

/* -- errors ------------------------------------------------------------------------ */

/* The raised exception goes to error_received when it is an OSError, else it ends the
 * transport. 0, or -1 with what error_received raised or what must leave the loop. */
static int
take_error(Datagram *datagram, const char *message)
{
    Transport *transport = &datagram->transport;
    if (!PyErr_ExceptionMatches(PyExc_OSError)) {
        return transport_fail(transport, message);
    }
    PyObject *error = PyErr_GetRaisedException();
    PyObject *protocol = Py_NewRef(transport->protocol);
    PyObject *result = PyObject_CallMethodOneArg(
        protocol, transport->state->str_error_received, error);
    Py_DECREF(protocol);
    Py_DECREF(error);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* -- receiving --------------------------------------------------------------------- */

static const char read_error[] = "Fatal read error on datagram transport";

/* datagram_received(data, address). 0, or -1 with what it raised. */
static int
call_received(Transport *transport, PyObject *data, PyObject *address)
{
    PyObject *stack[3] = {Py_NewRef(transport->protocol), data, address};
    PyObject *result = PyObject_VectorcallMethod(
        transport->state->str_datagram_received, stack, 3, NULL);
    Py_DECREF(stack[0]);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* The same for what lies in a buffer. */
static int
deliver(Datagram *datagram, const char *data, size_t size, const Addr *from)
{
    Transport *transport = &datagram->transport;
    Loop *loop = transport->loop;
    PyObject *bytes = spare_make(&loop->spare, (Py_ssize_t)size);
    PyObject *address = bytes == NULL ? NULL : peers_object(&datagram->peers, from);
    if (address == NULL) {
        Py_XDECREF(bytes);
        return transport_fail(transport, read_error);
    }
    memcpy(PyBytes_AS_STRING(bytes), data, size);
    Py_INCREF(loop);
    int rc = call_received(transport, bytes, address);
    spare_give_back(&loop->spare, bytes);
    Py_DECREF(address);
    Py_DECREF(loop);
    return rc;
}

/* data, address = self._sock.recvfrom(...), as receive_batch. Only the descriptor's own
 * socket knows the addresses of its family. */
static int
receive_by_socket(Datagram *datagram)
{
    Transport *transport = &datagram->transport;
    PyObject *sock = Py_NewRef(transport->sock);
    PyObject *pair =
        PyObject_CallMethod(sock, "recvfrom", "n", (Py_ssize_t)CL_READ_SIZE);
    Py_DECREF(sock);
    PyObject *data, *address;
    int rc;
    if (pair != NULL && PyArg_ParseTuple(pair, "OO", &data, &address)) {
        rc = call_received(transport, data, address);
    }
    else if (PyErr_ExceptionMatches(PyExc_BlockingIOError)
             || PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
        rc = 0;
    }
    else {
        rc = take_error(datagram, read_error);
    }
    Py_XDECREF(pair);
    return -rc;
}

/* Receives one datagram of any size: Unix sockets have no limit of 64 KiB. As
 * receive_batch. */
static int
receive_one(Datagram *datagram)
{
    Addr from;
    addr_prepare(&from);
    char *buffer = datagram->transport.loop->read_buffer;
    ssize_t size = sys_recvfrom(datagram->transport.fd, buffer, CL_READ_SIZE, 0,
                                &from.u.any, &from.length);
    if (size < 0) {
        return (int)size;
    }
    return deliver(datagram, buffer, (size_t)size, &from) < 0 ? 1 : 0;
}

/* Receives what is there, up to a batch; *more: it was a whole one. 0, 1 with an exception
 * of the protocol, or -errno. */
static int
receive_batch(Datagram *datagram, bool *more)
{
    Transport *transport = &datagram->transport;
    char *buffer = transport->loop->read_buffer;
    Addr from[CL_DATAGRAM_BATCH];
    struct iovec pieces[CL_DATAGRAM_BATCH];
    struct mmsghdr messages[CL_DATAGRAM_BATCH];
    for (int i = 0; i < CL_DATAGRAM_BATCH; i++) {
        addr_prepare(&from[i]);
        pieces[i].iov_base = buffer + (size_t)i * CL_DATAGRAM_SLOT;
        pieces[i].iov_len = CL_DATAGRAM_SLOT;
        memset(&messages[i], 0, sizeof(messages[i]));
        messages[i].msg_hdr.msg_name = &from[i].u;
        messages[i].msg_hdr.msg_namelen = from[i].length;
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int count = sys_recvmmsg(transport->fd, messages, CL_DATAGRAM_BATCH, MSG_DONTWAIT);
    *more = count == CL_DATAGRAM_BATCH;
    if (count < 0) {
        return count;
    }
    for (int i = 0; i < count && !transport->closing; i++) {
        from[i].length = messages[i].msg_hdr.msg_namelen;
        if (deliver(datagram, pieces[i].iov_base, messages[i].msg_len, &from[i]) < 0) {
            /* The rest of the batch has arrived all the same. */
            if (i + 1 == count || err_is_exit()
                || transport_report_callback(transport, transport->loop, "_read_ready")
                       < 0) {
                return 1;
            }
        }
    }
    return 0;
}

/* Receives batches until one is not full. As receive_batch. */
static int
receive_batches(Datagram *datagram)
{
    bool more;
    int batches = 0;
    int rc;
    do {
        rc = receive_batch(datagram, &more);
    } while (rc == 0 && more && !datagram->transport.closing
             && ++batches < CL_BATCHES_PER_EVENT);
    return rc;
}

/* 0, or -1 with what the protocol raised. */
static int
receive(Datagram *datagram)
{
    Transport *transport = &datagram->transport;
    Loop *loop = transport->loop;
    if (transport->conn_lost != 0) {
        return 0;
    }
    if (CL_UNLIKELY(loop->read_buffer == NULL)) {
        loop->read_buffer = PyMem_RawMalloc(CL_READ_SIZE);
        if (loop->read_buffer == NULL) {
            PyErr_NoMemory();
            return transport_fail(transport, read_error);
        }
    }
    int family = transport->sock_family;
    int rc = !addr_knows_family(family) ? receive_by_socket(datagram)
             : family == AF_UNIX        ? receive_one(datagram)
                                        : receive_batches(datagram);
    if (rc >= 0) {
        return -rc;
    }
    if (rc == -EAGAIN) {
        return 0;
    }
    err_set_errno(rc);
    return take_error(datagram, read_error);
}

/* TransportWork. */
static int
take_readable(Transport *transport)
{
    Loop *loop = transport->loop;
    Py_INCREF(loop);
    int rc = receive(datagram_from(transport));
    if (rc < 0) {
        rc = transport_report_callback(transport, loop, "_read_ready");
    }
    Py_DECREF(loop);
    return rc;
}

/* -- sending ----------------------------------------------------------------------- */

/* self._sock.sendto(data, address), which resolves names and has the messages. 0, -EAGAIN,
 * or 1 with an exception. */
static int
send_by_socket(Datagram *datagram, PyObject *data, PyObject *address)
{
    PyObject *sock =
        PyObject_GetAttr((PyObject *)datagram, datagram->transport.state->str_sock);
    PyObject *result =
        sock == NULL ? NULL : PyObject_CallMethod(sock, "sendto", "OO", data, address);
    Py_XDECREF(sock);
    Py_XDECREF(result);
    if (result != NULL) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError)) {
        PyErr_Clear();
        return -EAGAIN;
    }
    return 1;
}

/* The kernel's form of address, from the last call's when it is the same. 1, 0 when the
 * Python socket must be asked, -1. */
static int
find_address(Datagram *datagram, PyObject *address)
{
    if (address == datagram->known_peer) {
        return 1;
    }
    if (peers_find(&datagram->peers, address, &datagram->known_addr)) {
        Py_XSETREF(datagram->known_peer, Py_NewRef(address));
        return 1;
    }
    int rc = addr_from_object(&datagram->known_addr, datagram->transport.sock_family,
                              address);
    Py_CLEAR(datagram->known_peer);
    if (rc == 1 && PyTuple_CheckExact(address)) {
        datagram->known_peer = Py_NewRef(address);
    }
    return rc;
}

/* Sends one datagram now. data is owner's buffer. 0, -errno, or 1 with an exception. */
static int
send_now(Datagram *datagram, PyObject *owner, const void *data, size_t size,
         PyObject *address)
{
    int fd = datagram->transport.fd;
    ssize_t sent;
    loop_poll_soon(datagram->transport.loop);
    if (datagram->connected) {
        sent = sys_send(fd, data, size, MSG_NOSIGNAL);
    }
    else if (address == NULL) {
        return send_by_socket(datagram, owner, Py_None);
    }
    else {
        int found = find_address(datagram, address);
        if (found <= 0) {
            return found < 0 ? 1 : send_by_socket(datagram, owner, address);
        }
        sent = sys_sendto(fd, data, size, MSG_NOSIGNAL, &datagram->known_addr.u.any,
                          datagram->known_addr.length);
    }
    return sent < 0 ? (int)sent : 0;
}

static const char write_error[] = "Fatal write error on datagram transport";

/* Sends the queue until the kernel takes no more. 0, or -1 with an exception. */
static int
send_queue(Datagram *datagram)
{
    Transport *transport = &datagram->transport;
    while (datagram->count > 0) {
        OutDatagram *first = &datagram->queue[datagram->head];
        int rc = send_now(datagram, first->data, PyBytes_AS_STRING(first->data),
                          (size_t)PyBytes_GET_SIZE(first->data), first->address);
        if (rc == -EAGAIN) {
            break;
        }
        if (datagram->count > 0) {
            OutDatagram sent = queue_pop(datagram);
            Py_DECREF(sent.data);
            Py_XDECREF(sent.address);
        }
        if (rc < 0) {
            err_set_errno(rc);
        }
        if (rc != 0) {
            /* The rest goes with the next event, as on stock. */
            return take_error(datagram, write_error);
        }
    }
    if (transport_maybe_resume(transport) < 0) {
        return -1;
    }
    if (datagram->count == 0 && transport->conn_lost == 0) {
        Py_CLEAR(transport->write_context);
        transport_want_less(transport, CL_WRITABLE);
        if (transport->closing) {
            return transport_finish(transport, Py_None);
        }
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
    int rc = send_queue(datagram_from(transport));
    if (rc < 0) {
        rc = transport_report_callback(transport, loop, "_sendto_ready");
    }
    Py_DECREF(loop);
    return rc;
}

static int
on_ready(Watcher *watcher, unsigned events)
{
    Transport *transport = CL_CONTAINER_OF(watcher, Transport, watcher);
    State *state = transport->state;
    int rc = 0;
    Py_INCREF(transport);
    if (events & ~CL_WRITABLE) {
        rc = transport_take_event(transport, CL_READABLE, state->str_read_ready,
                                  transport->read_context, take_readable);
    }
    if (rc == 0 && events & ~CL_READABLE) {
        rc = transport_take_event(transport, CL_WRITABLE, state->str_sendto_ready,
                                  transport->write_context, take_writable);
    }
    Py_DECREF(transport);
    return rc;
}

static const WatcherOps watcher_ops = CL_TRANSPORT_WATCHER_OPS(on_ready);

static const TransportOps transport_ops = {
    .sock_type = SOCK_DGRAM,
    .count_queued = count_queued,
    .drop_queue = drop_queue,
    .tell_lost = transport_tell_lost,
    .tell_pause = transport_tell_pause,
    .tell_resume = transport_tell_resume,
};

/* -- sendto ------------------------------------------------------------------------ */

/* *address becomes the one to be used (NULL: none). 0, or -1 with ValueError. */
static int
check_address(Datagram *datagram, PyObject **address)
{
    if (datagram->remote != NULL) {
        if (*address != NULL) {
            int same = PyObject_RichCompareBool(*address, datagram->remote, Py_EQ);
            if (same == 0) {
                PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %S",
                             datagram->remote);
            }
            if (same <= 0) {
                return -1;
            }
        }
        *address = datagram->remote;
    }
    return 0;
}

/* Queues a copy of the data. 0 or -1. */
static int
queue_datagram(Datagram *datagram, const Py_buffer *view, PyObject *address)
{
    Transport *transport = &datagram->transport;
    PyObject *data = PyBytes_FromStringAndSize(view->buf, view->len);
    if (data == NULL) {
        return -1;
    }
    if (transport->write_context == NULL) {
        transport->write_context = PyContext_CopyCurrent();
        if (transport->write_context == NULL) {
            Py_DECREF(data);
            return -1;
        }
    }
    if (queue_append(datagram, data, address) < 0) {
        return -1;
    }
    if (transport_want_more(transport, CL_WRITABLE) < 0) {
        return -1;
    }
    return transport_maybe_pause(transport);
}

/* 0, or -1 with an exception for the caller. */
static int
send_or_queue(Datagram *datagram, PyObject *owner, const Py_buffer *view,
              PyObject *address)
{
    Transport *transport = &datagram->transport;
    /* Without a remote address stock still sends until connection_lost is called. */
    if (transport->finished
        || (transport->conn_lost != 0 && datagram->remote != NULL)) {
        return transport_count_lost_write(transport);
    }
    if (datagram->count == 0) {
        int rc = send_now(datagram, owner, view->buf, (size_t)view->len, address);
        if (rc == 0) {
            return 0;
        }
        if (rc != -EAGAIN) {
            if (rc < 0) {
                err_set_errno(rc);
            }
            return take_error(datagram, write_error);
        }
    }
    if (transport->conn_lost != 0) {
        return transport_count_lost_write(transport); /* nobody would send it later */
    }
    return queue_datagram(datagram, view, address);
}

/* Data that gives no buffer, as a strided memoryview; the reason is raised. The kernel
 * cannot send it, which is fatal on stock; but a queue takes a copy. 0 or -1. */
static int
send_without_buffer(Datagram *datagram, PyObject *data, PyObject *address)
{
    Transport *transport = &datagram->transport;
    PyObject *error = PyErr_GetRaisedException();
    if (check_address(datagram, &address) < 0) {
        Py_DECREF(error);
        return -1;
    }
    if (datagram->count == 0 && transport->conn_lost == 0) {
        PyErr_SetRaisedException(error);
        return transport_fail(transport, write_error);
    }
    Py_DECREF(error);
    PyObject *copy = PyBytes_FromObject(data);
    if (copy == NULL) {
        return -1;
    }
    Py_buffer view = {.buf = PyBytes_AS_STRING(copy), .len = PyBytes_GET_SIZE(copy)};
    int rc = send_or_queue(datagram, copy, &view, address);
    Py_DECREF(copy);
    return rc;
}

PyDoc_STRVAR(
    DatagramTransport_sendto_doc,
    "sendto($self, data, addr=None)\n--\n\n"
    "Send a datagram of bytes, a bytearray or a memoryview to addr, or to the peer\n"
    "the socket is connected to, without waiting. ValueError for an addr other than\n"
    "that one's. See the asyncio documentation, section \"Datagram Transports\".");

static PyObject *
DatagramTransport_sendto(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    static const char *const names[] = {"data", "addr", NULL};
    static const ArgSpec spec = {"DatagramTransport.sendto", names, 2, 1, false, false};
    PyObject *values[2];
    if (args_parse(&spec, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    PyObject *data = values[0];
    Datagram *datagram = (Datagram *)self;
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(data), "__name__");
        if (name != NULL) {
            PyErr_Format(PyExc_TypeError,
                         "data argument must be a bytes-like object, not %R", name);
            Py_DECREF(name);
        }
        return NULL;
    }
    Py_buffer view;
    int rc = 0;
    PyObject *address = values[1] == Py_None ? NULL : values[1];
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        rc = CL_HAVE_EMPTY_DATAGRAMS ? 1 : transport_check_data(data);
        if (rc > 0) {
            rc = send_without_buffer(datagram, data, address);
        }
        return rc < 0 ? NULL : Py_NewRef(Py_None);
    }
    if (view.len > 0 || CL_HAVE_EMPTY_DATAGRAMS) {
        rc = check_address(datagram, &address);
        if (rc == 0) {
            rc = send_or_queue(datagram, data, &view, address);
        }
    }
    PyBuffer_Release(&view);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

/* -- making ------------------------------------------------------------------------ */

static PyObject *
DatagramTransport_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                      PyObject *Py_UNUSED(kwargs))
{
    State *state = state_of_type(type);
    PyObject *self = state == NULL ? NULL : type->tp_alloc(type, 0);
    if (self != NULL) {
        transport_prepare((Transport *)self, state, &transport_ops, &watcher_ops);
    }
    return self;
}

/* Reading begins; the endpoint fails when it cannot. 0, or -1 when an exception must
 * leave the loop. */
static int
begin(Transport *transport)
{
    transport->started = true;
    return transport_want_data(transport) == 0
               ? 0
               : transport_fail(transport, "Fatal error on transport");
}

/* RingRun: the turn after connection_made was put on the ring. */
static int
run_begin(void *Py_UNUSED(loop), void *subject, void *Py_UNUSED(arg))
{
    Transport *transport = subject;
    int rc = begin(transport);
    Py_DECREF(transport);
    return rc;
}

/* True when get_extra_info('peername') is: send() is used then. 1, 0 or -1. */
static int
has_peer(PyObject *self)
{
    PyObject *peer = PyObject_CallMethod(self, "get_extra_info", "s", "peername");
    int truth = peer == NULL ? -1 : PyObject_IsTrue(peer);
    Py_XDECREF(peer);
    return truth;
}

static int
DatagramTransport_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"loop",   "sock",  "protocol", "address",
                                        "waiter", "extra", NULL};
    static const ArgSpec spec = {
        "DatagramTransport.__init__", names, 6, 3, false, false};
    PyObject *values[6];
    if (args_parse_tuple(&spec, args, kwargs, values) < 0) {
        return -1;
    }
    Datagram *datagram = (Datagram *)self;
    Transport *transport = &datagram->transport;
    State *state = transport->state;
    Loop *loop = loop_from(state, values[0]);
    int fd;
    if (loop == NULL || transport->fd >= 0) {
        PyErr_SetString(PyExc_TypeError, loop == NULL ? "loop must be a cloop.Loop"
                                                      : "already initialized");
        return -1;
    }
    PyObject *extra = values[5] == Py_None ? NULL : values[5];
    if (extra != NULL && !PyDict_Check(extra)) {
        PyErr_SetString(PyExc_TypeError, "extra must be a dict");
        return -1;
    }
    if (pysock_fileno_of(state, values[1], &fd) < 0
        || transport_check_unused(loop, fd, values[1]) < 0) {
        return -1;
    }
    transport->sock = Py_NewRef(values[1]);
    if (transport_init(transport, loop, fd, values[2], extra) < 0
        || transport_set_names(transport, NULL) < 0) {
        return -1;
    }
    if (values[3] != NULL && values[3] != Py_None) {
        int truth = PyObject_IsTrue(values[3]);
        if (truth < 0) {
            return -1;
        }
        datagram->remote = truth ? Py_NewRef(values[3]) : NULL;
    }
    int connected = has_peer(self);
    if (connected < 0) {
        return -1;
    }
    datagram->connected = connected;
    return transport_schedule_start(transport, NULL, values[4], run_begin);
}

/* -- the type ---------------------------------------------------------------------- */

PyDoc_STRVAR(DatagramTransport_set_protocol_doc,
             "set_protocol($self, protocol, /)\n--\n\n"
             "Another protocol hears what comes from now on. See the asyncio\n"
             "documentation, section \"Base Transport\".");

static PyObject *
DatagramTransport_set_protocol(PyObject *self, PyObject *protocol)
{
    Py_XSETREF(((Transport *)self)->protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

static PyObject *
DatagramTransport__start_reading(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Transport *transport = (Transport *)self;
    if (transport->loop == NULL) {
        Py_RETURN_NONE;
    }
    return begin(transport) < 0 ? NULL : Py_NewRef(Py_None);
}

/* Handles call these in debug mode; what raises there is reported by them. */
static PyObject *
DatagramTransport__read_ready(PyObject *self, PyObject *Py_UNUSED(unused))
{
    if (((Transport *)self)->loop == NULL) {
        Py_RETURN_NONE;
    }
    return receive((Datagram *)self) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
DatagramTransport__sendto_ready(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Transport *transport = (Transport *)self;
    if (transport->loop == NULL || transport->conn_lost != 0) {
        Py_RETURN_NONE;
    }
    return send_queue((Datagram *)self) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
DatagramTransport_get_address(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *remote = ((Datagram *)self)->remote;
    return Py_NewRef(remote != NULL ? remote : Py_None);
}

static int
DatagramTransport_traverse(PyObject *self, visitproc visit, void *arg)
{
    Datagram *datagram = (Datagram *)self;
    Py_VISIT(datagram->remote);
    Py_VISIT(datagram->known_peer);
    int rc = peers_traverse(&datagram->peers, visit, arg);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < datagram->count; i++) {
        uint32_t at = (datagram->head + i) & (datagram->capacity - 1);
        Py_VISIT(datagram->queue[at].address);
    }
    return transport_traverse(&datagram->transport, visit, arg);
}

static int
DatagramTransport_clear(PyObject *self)
{
    Py_CLEAR(((Datagram *)self)->remote);
    Py_CLEAR(((Datagram *)self)->known_peer);
    peers_clear(&((Datagram *)self)->peers);
    transport_clear((Transport *)self);
    return 0;
}

static void
DatagramTransport_dealloc(PyObject *self)
{
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    compat_clear_weakrefs(self);
    (void)DatagramTransport_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef DatagramTransport_methods[] = {
    CL_TRANSPORT_METHODS,
    CL_TRANSPORT_WRITE_METHODS,
    {"sendto", CL_KEYWORDS(DatagramTransport_sendto), METH_FASTCALL | METH_KEYWORDS,
     DatagramTransport_sendto_doc},
    {"set_protocol", DatagramTransport_set_protocol, METH_O,
     DatagramTransport_set_protocol_doc},
    {"_start_reading", DatagramTransport__start_reading, METH_NOARGS, NULL},
    {"_read_ready", DatagramTransport__read_ready, METH_NOARGS, NULL},
    {"_sendto_ready", DatagramTransport__sendto_ready, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef DatagramTransport_members[] = {
    CL_TRANSPORT_MEMBERS,
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(
    DatagramTransport_doc,
    "DatagramTransport(loop, sock, protocol, address=None, waiter=None, "
    "extra=None)\n--\n\n"
    "The transport of a datagram socket, which it owns. Made by the loop. See\n"
    "the asyncio documentation, section \"Transports and Protocols\".");

static PyType_Slot DatagramTransport_slots[] = {
    {Py_tp_doc, (void *)DatagramTransport_doc},
    {Py_tp_init, (void *)DatagramTransport_init},
    {Py_tp_new, (void *)DatagramTransport_new},
    {Py_tp_dealloc, (void *)DatagramTransport_dealloc},
    {Py_tp_finalize, (void *)transport_finalize},
    {Py_tp_traverse, (void *)DatagramTransport_traverse},
    {Py_tp_clear, (void *)DatagramTransport_clear},
    {Py_tp_repr, (void *)Transport_repr},
    {Py_tp_methods, (void *)DatagramTransport_methods},
    {Py_tp_members, (void *)DatagramTransport_members},
    {Py_tp_getset, (void *)transport_getset},
    {0, NULL},
};

PyType_Spec datagram_spec = {
    .name = "cloop.DatagramTransport",
    .basicsize = sizeof(Datagram),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = DatagramTransport_slots,
};

static PyGetSetDef address_getset = {"_address", DatagramTransport_get_address, NULL,
                                     "The only address that may be sent to, or None.",
                                     NULL};

int
datagram_complete_type(State *state)
{
    PyTypeObject *type = state->DatagramTransportType;
    PyObject *size = PyLong_FromLong(CL_READ_SIZE);
    int rc =
        size == NULL ? -1 : PyObject_SetAttrString((PyObject *)type, "max_size", size);
    Py_XDECREF(size);
    PyObject *address = rc < 0 ? NULL : PyDescr_NewGetSet(type, &address_getset);
    rc = address == NULL
             ? -1
             : PyObject_SetAttrString((PyObject *)type, "_address", address);
    Py_XDECREF(address);
    return rc;
}
