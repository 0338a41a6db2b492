/* The stream's work: reading, writing, and the sinks of the user's protocols (see
 * stream.h). Called by the poller, by the loop before it polls and by stream_face.c, on
 * the loop's thread.
 *
 * One recv per event; further ones only when the first filled its buffer. Small arrivals
 * come through the loop's one buffer and are copied into a bytes of their size; after a
 * large one the kernel is asked for the size of the next, which then is read straight
 * into its bytes. No stream holds memory for reading.
 *
 * Invariants: blocked == (watcher.wanted & CL_WRITABLE) except while the queue is sent;
 * the queue is empty, or blocked, or waits in loop->before_poll; write_context is set
 * while the queue is not empty. */
#include "stream.h"

#include "../os/sys.h"
#include "../py/err.h"
#include "reader.h"

#define CL_READS_PER_EVENT 2
/* Of a BufferedProtocol's buffers, of which CL_LARGE_READ bytes are enough too. */
#define CL_BUFFERS_PER_EVENT 16
/* From this size on an arrival is worth a system call to save a copy. */
#define CL_LARGE_READ (64 * 1024)
/* Entries of one sendmsg; the kernel's limit is 1024. */
#define CL_VECTOR_MAX 256

static const char read_error[] = "Fatal read error on socket transport";
static const char data_error[] = "Fatal error: protocol.data_received() call failed.";
static const char write_error[] = "Fatal write error on socket transport";

/* -- sinks: the user's protocol ---------------------------------------------------- */

void
stream_set_sink(Stream *stream, PyObject *protocol, const StreamSink *sink)
{
    stream->sink = sink;
    Py_XSETREF(stream->transport.protocol, Py_NewRef(protocol));
}

int
stream_set_protocol(Stream *stream, PyObject *protocol)
{
    int buffered =
        PyObject_IsInstance(protocol, stream->transport.state->BufferedProtocol);
    if (buffered < 0) {
        return -1;
    }
    const StreamSink *sink = &stream_protocol_sink;
    if (buffered) {
        sink = &stream_buffered_sink;
    }
    else if (reader_adopt(stream->transport.state, protocol)) {
        sink = &stream_reader_sink;
        stream->writer_tries = reader_count_tries(stream->transport.state, protocol);
    }
    stream_set_sink(stream, protocol, sink);
    return 0;
}

static int
protocol_on_bytes(Stream *stream, PyObject *bytes)
{
    Transport *transport = &stream->transport;
    PyObject *protocol = Py_NewRef(transport->protocol);
    PyObject *result =
        PyObject_CallMethodOneArg(protocol, transport->state->str_data_received, bytes);
    Py_DECREF(protocol);
    if (CL_UNLIKELY(result == NULL)) {
        return transport_fail(transport, data_error);
    }
    Py_DECREF(result);
    return 0;
}

static int
protocol_on_data(Stream *stream, const char *data, size_t size)
{
    Loop *loop = stream->transport.loop;
    PyObject *bytes = spare_make(&loop->spare, (Py_ssize_t)size);
    if (bytes == NULL) {
        return transport_fail(&stream->transport, read_error);
    }
    memcpy(PyBytes_AS_STRING(bytes), data, size);
    Py_INCREF(loop);
    int rc = protocol_on_bytes(stream, bytes);
    spare_give_back(&loop->spare, bytes);
    Py_DECREF(loop);
    return rc;
}

static int
protocol_on_eof(Stream *stream)
{
    Transport *transport = &stream->transport;
    PyObject *protocol = Py_NewRef(transport->protocol);
    PyObject *result =
        PyObject_CallMethodNoArgs(protocol, transport->state->str_eof_received);
    Py_DECREF(protocol);
    int keep_open = result == NULL ? -1 : PyObject_IsTrue(result);
    Py_XDECREF(result);
    if (keep_open < 0) {
        int rc = transport_fail(transport,
                                "Fatal error: protocol.eof_received() call failed.");
        return rc < 0 ? -1 : 1;
    }
    return keep_open;
}

static int
protocol_on_lost(Stream *stream, PyObject *exception)
{
    return transport_tell_lost(&stream->transport, exception);
}

static int
protocol_on_pause(Stream *stream)
{
    return transport_tell_pause(&stream->transport);
}

static int
protocol_on_resume(Stream *stream)
{
    return transport_tell_resume(&stream->transport);
}

const StreamSink stream_protocol_sink = {
    .on_data = protocol_on_data,
    .on_bytes = protocol_on_bytes,
    .on_eof = protocol_on_eof,
    .on_lost = protocol_on_lost,
    .on_pause = protocol_on_pause,
    .on_resume = protocol_on_resume,
};

static int
reader_on_data(Stream *stream, const char *data, size_t size)
{
    Transport *transport = &stream->transport;
    PyObject *protocol = Py_NewRef(transport->protocol);
    int rc = reader_feed(transport->state, protocol, data, size);
    Py_DECREF(protocol);
    if (CL_LIKELY(rc > 0)) {
        return 0;
    }
    return rc == 0 ? protocol_on_data(stream, data, size)
                   : transport_fail(transport, data_error);
}

/* Of asyncio's StreamReaderProtocol. A large arrival is copied into the reader's buffer
 * like any other: on_bytes would be one copy more. */
const StreamSink stream_reader_sink = {
    .on_data = reader_on_data,
    .on_eof = protocol_on_eof,
    .on_lost = protocol_on_lost,
    .on_pause = protocol_on_pause,
    .on_resume = protocol_on_resume,
};

/* Fails the connection. 1, or -1 when the exception must leave the loop. */
static int
fail_buffer(Stream *stream, const char *message)
{
    return transport_fail(&stream->transport, message) < 0 ? -1 : 1;
}

static int
buffered_get_buffer(Stream *stream, Py_buffer *view)
{
    static const char message[] = "Fatal error: protocol.get_buffer() call failed.";
    Transport *transport = &stream->transport;
    PyObject *protocol = Py_NewRef(transport->protocol);
    PyObject *hint = PyLong_FromLong(-1);
    PyObject *buffer = hint == NULL
                           ? NULL
                           : PyObject_CallMethodOneArg(
                               protocol, transport->state->str_get_buffer, hint);
    Py_XDECREF(hint);
    Py_DECREF(protocol);
    Py_ssize_t length = buffer == NULL ? -1 : PyObject_Size(buffer);
    if (length == 0) {
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
    }
    if (length <= 0) {
        Py_XDECREF(buffer);
        return fail_buffer(stream, message);
    }
    int rc = PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE);
    if (rc < 0) {
        PyErr_Format(PyExc_TypeError,
                     "recv_into() argument 1 must be read-write bytes-like object, "
                     "not %.50s",
                     Py_TYPE(buffer)->tp_name);
    }
    Py_DECREF(buffer);
    return rc < 0 ? fail_buffer(stream, read_error) : 0;
}

static int
buffered_on_buffer(Stream *stream, size_t size)
{
    Transport *transport = &stream->transport;
    PyObject *protocol = Py_NewRef(transport->protocol);
    PyObject *count = PyLong_FromSize_t(size);
    PyObject *result = count == NULL
                           ? NULL
                           : PyObject_CallMethodOneArg(
                               protocol, transport->state->str_buffer_updated, count);
    Py_XDECREF(count);
    Py_DECREF(protocol);
    if (result == NULL) {
        return transport_fail(transport,
                              "Fatal error: protocol.buffer_updated() call failed.");
    }
    Py_DECREF(result);
    return 0;
}

const StreamSink stream_buffered_sink = {
    .get_buffer = buffered_get_buffer,
    .on_buffer = buffered_on_buffer,
    .on_eof = protocol_on_eof,
    .on_lost = protocol_on_lost,
    .on_pause = protocol_on_pause,
    .on_resume = protocol_on_resume,
};

/* -- reading ----------------------------------------------------------------------- */

/* recv gave no bytes: nothing there, the end of file, or an error. 0 or -1. */
static int
read_nothing(Stream *stream, ssize_t size)
{
    Transport *transport = &stream->transport;
    if (size < 0) {
        if (size == -EAGAIN) {
            return 0;
        }
        err_set_errno((int)size);
        return transport_fail(transport, read_error);
    }
    transport_log(transport, "%r received EOF");
    int keep_open = stream->sink->on_eof(stream);
    if (keep_open < 0) {
        return -1;
    }
    if (keep_open) {
        transport_want_less(transport, CL_READABLE);
        return 0;
    }
    return transport_close(transport);
}

/* The read_* functions: 1 when there may be more to read, 0, or -1 when an exception must
 * leave the loop. */
static int
read_shared(Stream *stream)
{
    Loop *loop = stream->transport.loop;
    if (CL_UNLIKELY(loop->read_buffer == NULL)) {
        loop->read_buffer = PyMem_RawMalloc(CL_READ_SIZE);
        if (loop->read_buffer == NULL) {
            PyErr_NoMemory();
            return transport_fail(&stream->transport, read_error);
        }
    }
    ssize_t size = sys_recv(stream->transport.fd, loop->read_buffer, CL_READ_SIZE, 0);
    if (CL_UNLIKELY(size <= 0)) {
        return read_nothing(stream, size);
    }
    stream->large = size >= CL_LARGE_READ;
    int rc = stream->sink->on_data(stream, loop->read_buffer, (size_t)size);
    return rc < 0 ? -1 : size == (ssize_t)CL_READ_SIZE;
}

static int
read_large(Stream *stream)
{
    int waiting = sys_count_readable(stream->transport.fd);
    if (waiting < CL_LARGE_READ) {
        return read_shared(stream);
    }
    Py_ssize_t capacity = Py_MIN(waiting, (Py_ssize_t)CL_READ_SIZE);
    Loop *loop = stream->transport.loop;
    PyObject *bytes = spare_make(&loop->spare, capacity);
    if (bytes == NULL) {
        return transport_fail(&stream->transport, read_error);
    }
    ssize_t size =
        sys_recv(stream->transport.fd, PyBytes_AS_STRING(bytes), (size_t)capacity, 0);
    if (CL_UNLIKELY(size <= 0)) {
        Py_DECREF(bytes);
        return read_nothing(stream, size);
    }
    if (size < capacity && spare_shrink(&loop->spare, &bytes, size) < 0) {
        return transport_fail(&stream->transport, read_error);
    }
    Py_INCREF(loop);
    int rc = stream->sink->on_bytes(stream, bytes);
    spare_give_back(&loop->spare, bytes);
    Py_DECREF(loop);
    return rc < 0 ? -1 : size == (ssize_t)CL_READ_SIZE;
}

/* *size: what recv said. 1 when the buffer was filled. */
static int
read_buffered(Stream *stream, ssize_t *size)
{
    Py_buffer view;
    *size = 0;
    int rc = stream->sink->get_buffer(stream, &view);
    if (rc != 0) {
        return rc < 0 ? -1 : 0;
    }
    *size = -EBADF;
    if (stream->transport.is_open) {
        *size = sys_recv(stream->transport.fd, view.buf, (size_t)view.len, 0);
    }
    bool filled = *size == view.len;
    PyBuffer_Release(&view);
    if (CL_UNLIKELY(*size <= 0)) {
        return read_nothing(stream, *size);
    }
    /* get_buffer may have changed the protocol; whoever is there now hears of it, as on
     * stock. */
    const StreamSink *sink = stream->sink;
    rc = sink->on_buffer != NULL ? sink->on_buffer(stream, (size_t)*size) : 0;
    return rc < 0 ? -1 : filled;
}

static bool
can_read_on(const Stream *stream)
{
    return stream->transport.conn_lost == 0
           && stream->transport.watcher.wanted & CL_READABLE;
}

/* A delivery within the same event: its first write goes at once, like the one before's. */
static void
begin_delivery(Stream *stream)
{
    if (outq_is_empty(&stream->out)) {
        stream->sent_flush = stream->transport.loop->flushes - 1;
    }
}

/* A filled buffer may be the whole of a message: it is tried less and less often
 * whether there is more, until there is. */
static int
read_many_buffered(Stream *stream)
{
    ssize_t size;
    size_t total = 0;
    int rc = read_buffered(stream, &size);
    if (CL_LIKELY(rc <= 0)) {
        return rc;
    }
    if (stream->quiet_events > 0) {
        stream->quiet_events--;
        return 0;
    }
    for (int i = 1; rc > 0 && i < CL_BUFFERS_PER_EVENT; i++) {
        total += (size_t)size;
        if (total >= CL_LARGE_READ || !can_read_on(stream)
            || stream->sink->get_buffer == NULL) {
            return 0;
        }
        begin_delivery(stream);
        rc = read_buffered(stream, &size);
        if (i == 1) {
            stream->quiet_limit =
                size == -EAGAIN ? (uint8_t)Py_MIN(2 * stream->quiet_limit + 1, 63) : 0;
            stream->quiet_events = stream->quiet_limit;
        }
    }
    return rc < 0 ? -1 : 0;
}

int
stream_read_ready(Stream *stream)
{
    int rc = 1;
    for (int i = 0; rc > 0 && i < CL_READS_PER_EVENT; i++) {
        if (!can_read_on(stream)) {
            return 0;
        }
        const StreamSink *sink = stream->sink;
        if (sink->get_buffer != NULL) {
            rc = read_many_buffered(stream);
        }
        else if (stream->large && sink->on_bytes != NULL) {
            rc = read_large(stream);
        }
        else {
            rc = read_shared(stream);
        }
    }
    return rc < 0 ? -1 : 0;
}

/* -- writing ----------------------------------------------------------------------- */

/* The queue is empty: who waits for that is told. 0 or -1. */
static int
finish_empty_waiter(Stream *stream, PyObject *error)
{
    PyObject *waiter = stream->empty_waiter;
    if (waiter == NULL) {
        return 0;
    }
    PyObject *result = error == NULL
                           ? PyObject_CallMethod(waiter, "set_result", "O", Py_None)
                           : PyObject_CallMethod(waiter, "set_exception", "O", error);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static void
drop_queue(Transport *transport)
{
    Stream *stream = stream_from(transport);
    outq_clear(&stream->out);
    stream->blocked = false;
}

/* send or sendmsg has failed. 0, or -1 when an exception must leave the loop. */
static int
fail_write(Stream *stream, ssize_t error)
{
    Transport *transport = &stream->transport;
    drop_queue(transport);
    err_set_errno((int)error);
    PyObject *raised = stream->empty_waiter != NULL ? PyErr_GetRaisedException() : NULL;
    if (raised != NULL) {
        PyErr_SetRaisedException(Py_NewRef(raised));
    }
    int rc = transport_fail(transport, write_error);
    if (rc == 0 && raised != NULL) {
        rc = finish_empty_waiter(stream, raised);
    }
    Py_XDECREF(raised);
    return rc;
}

/* Sends the queue until it is empty or the kernel takes no more (`blocked` then). Fails
 * the connection on errors. 0, or -1 when an exception must leave the loop. */
static int
send_queue(Stream *stream)
{
    Transport *transport = &stream->transport;
    struct iovec vector[CL_VECTOR_MAX];
    stream->blocked = false;
    while (!outq_is_empty(&stream->out)) {
        int count = outq_fill(&stream->out, vector, CL_VECTOR_MAX);
        size_t wanted = 0;
        for (int i = 0; i < count; i++) {
            wanted += vector[i].iov_len;
        }
        loop_poll_soon(transport->loop);
        struct msghdr message = {.msg_iov = vector, .msg_iovlen = (size_t)count};
        ssize_t sent = count == 1 ? sys_send(transport->fd, vector[0].iov_base, wanted,
                                             MSG_NOSIGNAL)
                                  : sys_sendmsg(transport->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && sent != -EAGAIN) {
            transport_want_less(transport, CL_WRITABLE);
            return fail_write(stream, sent);
        }
        if (sent > 0) {
            outq_consume(&stream->out, (size_t)sent);
        }
        if (sent < (ssize_t)wanted) {
            stream->blocked = true;
            return transport_want_more(transport, CL_WRITABLE);
        }
    }
    Py_CLEAR(transport->write_context);
    transport_want_less(transport, CL_WRITABLE);
    return 0;
}

int
stream_flush(Transport *transport)
{
    Stream *stream = stream_from(transport);
    if (transport->conn_lost != 0 || transport->loop == NULL) {
        return 0;
    }
    if (stream->sink->on_flush != NULL && stream->sink->on_flush(stream) < 0) {
        return -1;
    }
    if (outq_is_empty(&stream->out) || stream->blocked || transport->conn_lost != 0) {
        return 0;
    }
    return send_queue(stream);
}

/* TransportOps. */
static void
send_rest(Transport *transport)
{
    Stream *stream = stream_from(transport);
    struct iovec vector[CL_VECTOR_MAX];
    while (!outq_is_empty(&stream->out) && !stream->blocked) {
        int count = outq_fill(&stream->out, vector, CL_VECTOR_MAX);
        struct msghdr message = {.msg_iov = vector, .msg_iovlen = (size_t)count};
        loop_poll_soon(transport->loop);
        ssize_t sent = sys_sendmsg(transport->fd, &message, MSG_NOSIGNAL);
        if (sent <= 0) {
            return;
        }
        outq_consume(&stream->out, (size_t)sent);
    }
}

/* BeforePoll.run: the turn is over. Amid a callback it may be of that very context, which
 * then cannot be entered again and need not be. */
static int
flush_turn(BeforePoll *todo)
{
    Stream *stream = CL_CONTAINER_OF(todo, Stream, flush_soon);
    int rc = 0;
    if (!outq_is_empty(&stream->out) && !stream->blocked) {
        PyObject *context = Py_XNewRef(stream->transport.write_context);
        bool entered = context != NULL && PyContext_Enter(context) == 0;
        if (!entered) {
            PyErr_Clear();
        }
        rc = send_queue(stream);
        if (entered && PyContext_Exit(context) < 0) {
            rc = -1;
        }
        Py_XDECREF(context);
    }
    Py_DECREF(stream);
    return rc;
}

static void
flush_at_end_of_turn(Stream *stream)
{
    if (list_is_empty(&stream->flush_soon.node)) {
        Py_INCREF(stream);
        list_append(&stream->transport.loop->before_poll, &stream->flush_soon.node);
    }
}

/* Something was sent: what follows in this turn may wait for the turn's end. */
static void
start_gathering(Stream *stream)
{
    stream->sent_flush = stream->transport.loop->flushes;
}

static bool
is_gathering(const Stream *stream)
{
    const Loop *loop = stream->transport.loop;
    return stream->sent_flush == loop->flushes && loop_is_ours(loop);
}

/* Takes note of who writes: resume_writing is called in that context. 0 or -1. */
static int
keep_write_context(Stream *stream)
{
    Transport *transport = &stream->transport;
    if (transport->write_context == NULL) {
        transport->write_context = transport_new_context(transport);
        return transport->write_context == NULL ? -1 : 0;
    }
    return 0;
}

/* The queue has grown: sends it unless it can wait. 0 or -1. */
static int
after_append(Stream *stream)
{
    Transport *transport = &stream->transport;
    bool may_wait = is_gathering(stream) && stream->out.bytes <= transport->high_water
                    && stream->out.count < CL_VECTOR_MAX;
    if (may_wait && !stream->blocked) {
        flush_at_end_of_turn(stream);
    }
    else if (!stream->blocked) {
        if (send_queue(stream) < 0) {
            return -1;
        }
        if (transport->conn_lost != 0) {
            return 0;
        }
        start_gathering(stream);
    }
    return transport_maybe_pause(transport);
}

/* Sends at once what the kernel takes. How much, or -1; *over: all is done, with 0 as
 * result, or the connection has failed. */
static ssize_t
send_first(Stream *stream, const char *data, size_t size, bool *over)
{
    *over = true;
    loop_poll_soon(stream->transport.loop);
    ssize_t sent = sys_send(stream->transport.fd, data, size, MSG_NOSIGNAL);
    if (CL_LIKELY(sent == (ssize_t)size)) {
        start_gathering(stream);
        return 0;
    }
    if (sent < 0 && sent != -EAGAIN) {
        return fail_write(stream, sent);
    }
    *over = false;
    stream->blocked = true;
    if (transport_want_more(&stream->transport, CL_WRITABLE) < 0) {
        return -1;
    }
    return sent < 0 ? 0 : sent;
}

static bool
can_send_first(const Stream *stream)
{
    return outq_is_empty(&stream->out) && !is_gathering(stream);
}

/* A larger first write is sent at once. */
#define CL_HELD_MAX (16 * 1024)

/* Asked once for the first write of a turn: should it wait for others? */
static bool
should_hold(Stream *stream, size_t size)
{
    Loop *loop = stream->transport.loop;
    bool had_several = stream->turn_writes > 1;
    stream->turn_writes = 1;
    return CL_FASTPATH && size <= CL_HELD_MAX && loop_is_ours(loop)
           && loop_should_hold(loop, had_several);
}

int
stream_write(Stream *stream, PyObject *owner, const Py_buffer *view)
{
    size_t skip = 0;
    if (!can_send_first(stream)) {
        stream->turn_writes = 2;
    }
    else if (should_hold(stream, (size_t)view->len)) {
        start_gathering(stream);
    }
    else {
        bool over;
        ssize_t sent = send_first(stream, view->buf, (size_t)view->len, &over);
        if (sent < 0 || over) {
            return (int)sent;
        }
        skip = (size_t)sent;
    }
    if (keep_write_context(stream) < 0
        || outq_append(&stream->out, owner, view, skip) < 0) {
        return -1;
    }
    return after_append(stream);
}

int
stream_write_raw(Stream *stream, const char *data, size_t size)
{
    size_t skip = 0;
    if (can_send_first(stream)) {
        bool over;
        ssize_t sent = send_first(stream, data, size, &over);
        if (sent < 0 || over) {
            return (int)sent;
        }
        skip = (size_t)sent;
    }
    if (keep_write_context(stream) < 0
        || outq_append_copy(&stream->out, data + skip, size - skip) < 0) {
        return -1;
    }
    return after_append(stream);
}

int
stream_writelines(Stream *stream, PyObject *pieces)
{
    bool is_first = can_send_first(stream);
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(pieces); i++) {
        PyObject *piece = Py_NewRef(PySequence_Fast_GET_ITEM(pieces, i));
        Py_buffer view;
        int rc = PyObject_GetBuffer(piece, &view, PyBUF_SIMPLE);
        if (rc == 0) {
            if (view.len > 0) {
                rc = keep_write_context(stream);
                if (rc == 0) {
                    rc = outq_append(&stream->out, piece, &view, 0);
                }
            }
            PyBuffer_Release(&view);
        }
        Py_DECREF(piece);
        if (rc < 0) {
            if (!outq_is_empty(&stream->out) && !stream->blocked) {
                flush_at_end_of_turn(stream);
            }
            return -1;
        }
    }
    if (outq_is_empty(&stream->out)) {
        return 0;
    }
    if (!is_first) {
        stream->turn_writes = 2;
    }
    else if (should_hold(stream, stream->out.bytes)) {
        start_gathering(stream);
    }
    return after_append(stream);
}

static int
shut_down(Stream *stream)
{
    loop_poll_soon(stream->transport.loop);
    int rc = sys_shutdown(stream->transport.fd, SHUT_WR);
    if (rc < 0) {
        err_set_errno(rc);
        return -1;
    }
    return 0;
}

int
stream_write_eof(Stream *stream)
{
    Transport *transport = &stream->transport;
    if (transport->closing || stream->eof) {
        return 0;
    }
    if (stream_flush(transport) < 0) {
        return -1;
    }
    if (transport->conn_lost != 0) {
        return 0;
    }
    stream->eof = true;
    if (!outq_is_empty(&stream->out)) {
        return 0;
    }
    return shut_down(stream);
}

int
stream_write_ready(Stream *stream)
{
    Transport *transport = &stream->transport;
    Loop *loop = transport->loop;
    if (transport->conn_lost != 0) {
        return 0;
    }
    if (send_queue(stream) < 0) {
        return -1;
    }
    if (transport->conn_lost != 0) {
        return 0;
    }
    if (transport_maybe_resume(transport) < 0) {
        return -1;
    }
    if (!outq_is_empty(&stream->out) || transport->conn_lost != 0) {
        return 0;
    }
    int rc = finish_empty_waiter(stream, NULL);
    if (rc == 0 && transport->closing) {
        Py_INCREF(loop);
        rc = transport_finish(transport, Py_None);
        if (rc < 0) {
            rc = transport_report_callback(transport, loop, "_write_ready");
        }
        Py_DECREF(loop);
        return rc;
    }
    if (rc == 0 && stream->eof) {
        rc = shut_down(stream);
    }
    return rc < 0 ? transport_report_callback(transport, loop, "_write_ready") : 0;
}

/* -- events ------------------------------------------------------------------------ */

/* TransportWork. */
static int
take_readable(Transport *transport)
{
    return stream_read_ready(stream_from(transport));
}

static int
take_writable(Transport *transport)
{
    return stream_write_ready(stream_from(transport));
}

static int
on_ready(Watcher *watcher, unsigned events)
{
    Stream *stream = stream_from(CL_CONTAINER_OF(watcher, Transport, watcher));
    Transport *transport = &stream->transport;
    State *state = transport->state;
    int rc = 0;
    Py_INCREF(stream);
    if (events & ~CL_WRITABLE) {
        rc = transport_take_event(transport, CL_READABLE, state->str_read_ready,
                                  transport->read_context, take_readable);
    }
    if (rc == 0 && events & ~CL_READABLE) {
        rc = transport_take_event(transport, CL_WRITABLE, state->str_write_ready,
                                  transport->write_context, take_writable);
    }
    if (CL_UNLIKELY(events & CL_ERROR) && watcher->fd >= 0) {
        /* The kernel may have refused the interest: ask for it again. */
        poller_want(&transport->loop->poller, watcher, watcher->wanted);
    }
    Py_DECREF(stream);
    return rc;
}

static const WatcherOps watcher_ops = CL_TRANSPORT_WATCHER_OPS(on_ready);

/* -- the transport below ----------------------------------------------------------- */

static size_t
count_queued(Transport *transport)
{
    return stream_from(transport)->out.bytes;
}

static int
tell_lost(Transport *transport, PyObject *exception)
{
    return stream_from(transport)->sink->on_lost(stream_from(transport), exception);
}

static int
tell_pause(Transport *transport)
{
    return stream_from(transport)->sink->on_pause(stream_from(transport));
}

static int
tell_resume(Transport *transport)
{
    return stream_from(transport)->sink->on_resume(stream_from(transport));
}

static int
on_finished(Transport *transport)
{
    Stream *stream = stream_from(transport);
    if (stream->empty_waiter == NULL) {
        return 0;
    }
    PyObject *error = PyObject_CallFunction(PyExc_ConnectionError, "s",
                                            "Connection is closed by peer");
    int rc = error == NULL ? -1 : finish_empty_waiter(stream, error);
    Py_XDECREF(error);
    return rc;
}

static const TransportOps transport_ops = {
    .sock_type = SOCK_STREAM,
    .count_queued = count_queued,
    .drop_queue = drop_queue,
    .flush = stream_flush,
    .send_rest = send_rest,
    .tell_lost = tell_lost,
    .tell_pause = tell_pause,
    .tell_resume = tell_resume,
    .on_finished = on_finished,
};

/* -- starting ---------------------------------------------------------------------- */

int
stream_begin(Stream *stream)
{
    stream->transport.started = true;
    return transport_want_data(&stream->transport) == 0
               ? 0
               : transport_fail(&stream->transport, "Fatal error on transport");
}

/* RingRun: the turn after connection_made was put on the ring. */
static int
run_begin(void *Py_UNUSED(loop), void *subject, void *Py_UNUSED(arg))
{
    Stream *stream = subject;
    int rc = stream_begin(stream);
    Py_DECREF(stream);
    return rc;
}

int
stream_schedule_start(Stream *stream, PyObject *server, PyObject *waiter)
{
    return transport_schedule_start(&stream->transport, server, waiter, run_begin);
}

void
stream_prepare(Stream *stream, State *state)
{
    outq_init(&stream->out);
    list_init(&stream->flush_soon.node);
    stream->flush_soon.run = flush_turn;
    stream->flush_soon.sends = true;
    stream->sink = &stream_protocol_sink;
    transport_prepare(&stream->transport, state, &transport_ops, &watcher_ops);
}

int
stream_init(Stream *stream, Loop *loop, int fd, PyObject *protocol, PyObject *extra)
{
    if (transport_init(&stream->transport, loop, fd, protocol, extra) < 0) {
        return -1;
    }
    return stream_set_protocol(stream, protocol);
}
