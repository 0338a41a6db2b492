/* Bytes through a TLS connection, up and down, and flow control in both directions (see
 * tls.h). Called by engine.c, lower.c and face.c.
 *
 * Up: what one arrival holds is decrypted straight into one bytes object, or into the
 * BufferedProtocol's own memory. While the user has paused reading, the transport below is
 * paused too: nothing piles up here (stock reads up to 256 KiB ahead).
 *
 * Down: the first write of a turn is encrypted and sent at once. Further ones of the same
 * turn (and the first too, where a stream's would: io/stream.h) wait as cleartext in
 * `backlog` and leave before the next poll, in full records and one system call. While the
 * transport below is full they stay there too, small ones side by side, large ones by
 * reference.
 * Stock encrypts on and gives the transport below all that was written while that had
 * room, however much it is; a protocol is paused for what it writes after that only, and so
 * it is here (`uncounted`).
 *
 * Invariants: while phase is WRAPPED and backlog is not empty, then `gathering` or
 * sending_paused, or OpenSSL waits for the peer (renegotiation). */
#include "../py/compat.h"

#include <string.h>

#include "../io/reader.h"
#include "../py/err.h"
#include "tls.h"

/* So much may wait for the end of the turn. */
#define CL_GATHER_MAX (64 * 1024)
#define CL_GATHER_PIECES 64
#define CL_LOST_WRITES_WARN 5

/* -- flow control ------------------------------------------------------------------ */

size_t
tls_count_queued(Tls *tls)
{
    size_t out = tls->lower == NULL || tls->finished ? 0 : tls->way->count_out(tls);
    return out + tls->backlog.bytes - tls->uncounted;
}

/* Calls pause_writing or resume_writing. What it raises is reported. 0 or -1. */
static int
tell_protocol(Tls *tls, PyObject *name, const char *message)
{
    PyObject *protocol = Py_NewRef(tls->protocol);
    PyObject *result = PyObject_CallMethodNoArgs(protocol, name);
    Py_DECREF(protocol);
    if (CL_LIKELY(result != NULL)) {
        Py_DECREF(result);
        return 0;
    }
    if (err_is_exit()) {
        return -1;
    }
    return loop_report(tls->state, (PyObject *)tls->loop, message, "transport",
                       (PyObject *)tls, "protocol", (PyObject *)tls, NULL);
}

int
tls_control_writing(Tls *tls)
{
    size_t size = tls_count_queued(tls);
    if (tls->protocol == NULL) {
        return 0;
    }
    /* Nothing at all is no reason, though the limit may be 0. (Stock pauses then, and
     * resumes after the next write, for which a drain() may wait for ever.) */
    if (!tls->writing_paused && size >= tls->high_water && size > 0) {
        tls->writing_paused = true;
        return tell_protocol(tls, tls->state->str_pause_writing,
                             "protocol.pause_writing() failed");
    }
    if (tls->writing_paused && size <= tls->low_water) {
        tls->writing_paused = false;
        return tell_protocol(tls, tls->state->str_resume_writing,
                             "protocol.resume_writing() failed");
    }
    return 0;
}

int
tls_control_reading(Tls *tls)
{
    if (tls->phase == CL_TLS_HANDSHAKE || tls->phase == CL_TLS_UNWRAPPED) {
        return 0;
    }
    bool reads = !tls->reading_paused || tls->phase == CL_TLS_SHUTDOWN;
    size_t size = tls->way->count_in(tls);
    if (!tls->lower_paused && (!reads || size >= tls->read_high_water)) {
        return lower_pause_reading(tls);
    }
    if (tls->lower_paused && reads && size <= tls->read_low_water) {
        return lower_resume_reading(tls);
    }
    return 0;
}

/* May cleartext go either way? */
static bool
is_wrapped(const Tls *tls)
{
    return tls->phase == CL_TLS_WRAPPED || tls->phase == CL_TLS_FLUSHING;
}

static bool
is_readable(const Tls *tls)
{
    return is_wrapped(tls) && !tls->reading_paused && tls->protocol != NULL;
}

/* -- up ---------------------------------------------------------------------------- */

/* way->read, during which writes only join the backlog. */
static TlsAnswer
ask_read(Tls *tls, char *data, size_t size, size_t *got)
{
    bool was_busy = tls->busy;
    tls->busy = true;
    TlsAnswer answer = tls->way->read(tls, data, size, got);
    tls->busy = was_busy;
    return answer;
}

/* Decrypts into data[0..size-1] until that is full or nothing is left. How many bytes:
 * *filled. DONE: there may be more. */
static TlsAnswer
fill(Tls *tls, char *data, size_t size, size_t *filled)
{
    *filled = 0;
    for (;;) {
        size_t got = 0;
        TlsAnswer answer = ask_read(tls, data + *filled, size - *filled, &got);
        if (answer != CL_TLS_DONE) {
            return answer;
        }
        *filled += got;
        if (tls->way->expect(tls) == 0) {
            return CL_TLS_AGAIN;
        }
        if (*filled == size) {
            return CL_TLS_DONE;
        }
    }
}

/* New ref, or NULL with an exception: all that can be decrypted now. Arrivals are much
 * alike: with the last one's overhead the bytes object has the right size at once. */
static PyObject *
read_all(Tls *tls, TlsAnswer *answer)
{
    size_t expected = tls->way->expect(tls);
    size_t capacity = expected - (expected > tls->in_overhead ? tls->in_overhead : 0);
    size_t size = 0;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)capacity);
    if (bytes == NULL) {
        return NULL;
    }
    while (capacity > 0) {
        size_t filled;
        *answer = fill(tls, PyBytes_AS_STRING(bytes) + size, capacity - size, &filled);
        size += filled;
        if (*answer != CL_TLS_DONE) {
            break;
        }
        size_t more = tls->way->expect(tls);
        if (more == 0) {
            *answer = CL_TLS_AGAIN;
            break;
        }
        capacity += more;
        if (_PyBytes_Resize(&bytes, (Py_ssize_t)capacity) < 0) {
            return NULL;
        }
    }
    if (size > 0) {
        tls->in_overhead = size < expected ? expected - size : 0;
    }
    if (size < capacity) {
        PyObject *raised = *answer == CL_TLS_FAILED ? PyErr_GetRaisedException() : NULL;
        (void)_PyBytes_Resize(&bytes, (Py_ssize_t)size);
        if (raised != NULL && bytes != NULL) {
            PyErr_SetRaisedException(raised);
        }
        else {
            Py_XDECREF(raised);
        }
    }
    return bytes;
}

/* data_received(bytes), also when an error follows it, which is kept. 0 or -1. */
static int
deliver(Tls *tls, PyObject *bytes)
{
    if (PyBytes_GET_SIZE(bytes) == 0 || tls->protocol == NULL || !is_wrapped(tls)) {
        return 0;
    }
    PyObject *raised =
        CL_UNLIKELY(PyErr_Occurred() != NULL) ? PyErr_GetRaisedException() : NULL;
    PyObject *protocol = Py_NewRef(tls->protocol);
    int rc = reader_feed(tls->state, protocol, PyBytes_AS_STRING(bytes),
                         (size_t)PyBytes_GET_SIZE(bytes));
    if (rc == 0) {
        PyObject *result =
            PyObject_CallMethodOneArg(protocol, tls->state->str_data_received, bytes);
        rc = result == NULL ? -1 : 0;
        Py_XDECREF(result);
    }
    Py_DECREF(protocol);
    if (raised != NULL && rc >= 0) {
        PyErr_SetRaisedException(raised);
        raised = NULL;
    }
    Py_XDECREF(raised);
    return rc < 0 ? -1 : 0;
}

/* close_notify came: the user hears the end, and the connection closes. 0 or -1. */
static int
end_reading(Tls *tls)
{
    return tls_tell_eof(tls) < 0 ? -1 : tls_start_shutdown(tls);
}

static int
read_copied(Tls *tls)
{
    TlsAnswer answer = CL_TLS_AGAIN;
    PyObject *bytes = read_all(tls, &answer);
    if (bytes == NULL) {
        return -1;
    }
    int rc = deliver(tls, bytes);
    Py_DECREF(bytes);
    if (rc < 0 || answer == CL_TLS_FAILED) {
        return -1;
    }
    return answer == CL_TLS_END ? end_reading(tls) : 0;
}

/* Asks the user's protocol for memory. 0 or -1. */
static int
get_buffer(Tls *tls, Py_buffer *view)
{
    PyObject *protocol = Py_NewRef(tls->protocol);
    PyObject *hint = PyLong_FromSize_t(tls->way->count_in(tls));
    PyObject *buffer =
        hint == NULL
            ? NULL
            : PyObject_CallMethodOneArg(protocol, tls->state->str_get_buffer, hint);
    Py_XDECREF(hint);
    Py_DECREF(protocol);
    if (buffer == NULL) {
        return -1;
    }
    int rc = PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE);
    Py_DECREF(buffer);
    if (rc == 0 && view->len == 0) {
        PyBuffer_Release(view);
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
        return -1;
    }
    return rc;
}

/* buffer_updated(size). 0 or -1. */
static int
tell_updated(Tls *tls, size_t size)
{
    if (tls->protocol == NULL) {
        return 0;
    }
    PyObject *protocol = Py_NewRef(tls->protocol);
    PyObject *count = PyLong_FromSize_t(size);
    PyObject *result = count == NULL
                           ? NULL
                           : PyObject_CallMethodOneArg(
                               protocol, tls->state->str_buffer_updated, count);
    Py_XDECREF(count);
    Py_DECREF(protocol);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
read_buffered(Tls *tls)
{
    TlsAnswer answer = CL_TLS_DONE;
    while (answer == CL_TLS_DONE && is_readable(tls) && tls->buffered) {
        Py_buffer view;
        if (get_buffer(tls, &view) < 0) {
            return -1;
        }
        size_t filled = 0;
        answer = is_readable(tls) ? fill(tls, view.buf, (size_t)view.len, &filled)
                                  : CL_TLS_AGAIN;
        PyBuffer_Release(&view);
        PyObject *raised = answer == CL_TLS_FAILED ? PyErr_GetRaisedException() : NULL;
        int rc = filled > 0 ? tell_updated(tls, filled) : 0;
        if (raised != NULL && rc == 0) {
            PyErr_SetRaisedException(raised);
            return -1;
        }
        Py_XDECREF(raised);
        if (rc < 0) {
            return -1;
        }
    }
    if (answer == CL_TLS_DONE && is_readable(tls) && tls->way->expect(tls) > 0) {
        return read_copied(tls); /* the protocol has been changed */
    }
    return answer == CL_TLS_END ? end_reading(tls) : 0;
}

int
tls_read(Tls *tls)
{
    if (!is_wrapped(tls)) {
        return 0;
    }
    int rc = 0;
    if (is_readable(tls) && !tls->busy) {
        if (tls->way->expect(tls) > 0) {
            rc = tls->buffered ? read_buffered(tls) : read_copied(tls);
        }
        if (rc == 0) {
            rc = outq_is_empty(&tls->backlog) || tls->gathering
                     ? tls_send(tls)
                     : tls_write_backlog(tls, false);
        }
    }
    if (rc == 0) {
        rc = tls_control_reading(tls);
    }
    return rc < 0 ? tls_fail(tls, "Fatal error on SSL protocol") : 0;
}

TlsAnswer
tls_discard(Tls *tls)
{
    char scratch[4096];
    TlsAnswer answer = CL_TLS_DONE;
    while (answer == CL_TLS_DONE && tls->way->expect(tls) > 0) {
        size_t got;
        answer = ask_read(tls, scratch, sizeof(scratch), &got);
    }
    tls_wipe(scratch, sizeof(scratch));
    return answer == CL_TLS_AGAIN ? CL_TLS_DONE : answer;
}

/* -- down -------------------------------------------------------------------------- */

int
tls_send(Tls *tls)
{
    if (!tls->sending_paused && tls->way->send(tls) < 0) {
        return -1;
    }
    return tls_control_writing(tls);
}

int
tls_count_lost_write(Tls *tls)
{
    int rc = 0;
    if (tls->conn_lost >= CL_LOST_WRITES_WARN) {
        PyObject *result = PyObject_CallMethod(tls->state->logger, "warning", "s",
                                               "SSL connection is closed");
        Py_XDECREF(result);
        rc = result == NULL ? -1 : 0;
    }
    tls->conn_lost++;
    return rc;
}

static TlsAnswer
ask_write(Tls *tls, const char *data, size_t size, size_t *taken)
{
    tls->busy = true;
    TlsAnswer answer = tls->way->write(tls, data, size, taken);
    tls->busy = false;
    return answer;
}

/* Something was sent: what follows in this turn may wait for the turn's end. */
static void
start_gathering(Tls *tls)
{
    if (!tls->gathering && loop_is_ours(tls->loop)) {
        tls->gathering = true;
        Py_INCREF(tls);
        list_append(&tls->loop->before_poll, &tls->flush_soon.node);
    }
}

/* Encrypts and sends data: *done of it, the rest when the transport below has room. 0 or
 * -1. */
static int
write_now(Tls *tls, const char *data, size_t size, size_t *done)
{
    *done = 0;
    while (*done < size && !tls->sending_paused) {
        size_t left = size - *done;
        size_t taken = 0;
        TlsAnswer answer = ask_write(
            tls, data + *done, left < tls->way->chunk ? left : tls->way->chunk, &taken);
        if (answer == CL_TLS_FAILED) {
            return -1;
        }
        *done += taken;
        if (tls->way->send(tls) < 0) {
            return -1;
        }
        if (answer == CL_TLS_AGAIN) {
            break;
        }
    }
    return 0;
}

/* The next piece of the backlog to be encrypted in one go: a large one as it stands, small
 * ones side by side in scratch. */
static const char *
next_piece(Tls *tls, char *scratch, size_t *size)
{
    struct iovec vector[CL_GATHER_PIECES];
    int count = outq_fill(&tls->backlog, vector, CL_GATHER_PIECES);
    if (count == 1 || vector[0].iov_len >= CL_RECORD_SIZE) {
        size_t chunk = tls->way->chunk;
        *size = vector[0].iov_len < chunk ? vector[0].iov_len : chunk;
        return vector[0].iov_base;
    }
    size_t used = 0;
    for (int i = 0; i < count && used < CL_RECORD_SIZE; i++) {
        size_t room = CL_RECORD_SIZE - used;
        size_t part = vector[i].iov_len < room ? vector[i].iov_len : room;
        memcpy(scratch + used, vector[i].iov_base, part);
        used += part;
    }
    *size = used;
    return scratch;
}

/* Encrypts and sends the backlog, all of it or while the transport below has room. 0 or
 * -1. */
static int
encrypt_backlog(Tls *tls, bool all)
{
    char scratch[CL_RECORD_SIZE];
    int rc = 0;
    bool had_room = !tls->sending_paused;
    while (rc == 0 && is_wrapped(tls) && !tls->busy && !outq_is_empty(&tls->backlog)
           && (all || !tls->sending_paused)) {
        size_t size;
        const char *data = next_piece(tls, scratch, &size);
        size_t taken = 0;
        TlsAnswer answer = ask_write(tls, data, size, &taken);
        if (data == scratch) {
            tls_wipe(scratch, size);
        }
        if (CL_UNLIKELY(tls->finished)) { /* by a callback of the context */
            tls_drop_backlog(tls);
        }
        if (answer != CL_TLS_DONE || tls->finished) {
            rc = answer == CL_TLS_FAILED ? -1 : 0;
            break;
        }
        outq_consume(&tls->backlog, taken);
        tls->uncounted -= Py_MIN(tls->uncounted, taken);
        if (tls->way->count_out(tls) >= tls->way->chunk) {
            rc = tls->way->send(tls);
        }
    }
    if (rc == 0 && (all || !tls->sending_paused)) {
        rc = tls->way->send(tls);
    }
    if (had_room && tls->sending_paused) {
        tls->uncounted = tls->backlog.bytes;
    }
    return rc;
}

int
tls_write_backlog(Tls *tls, bool all)
{
    int rc = encrypt_backlog(tls, all);
    if (rc < 0 && !err_is_exit() && !tls->busy) {
        tls_drop_backlog(tls);
    }
    if (rc == 0) {
        rc = tls_control_writing(tls);
    }
    return rc < 0 ? tls_fail(tls, "Fatal error on SSL protocol") : 0;
}

int
tls_flush_turn(BeforePoll *todo)
{
    Tls *tls = CL_CONTAINER_OF(todo, Tls, flush_soon);
    if (CL_UNLIKELY(tls->busy)) { /* amid a callback of the context: the next flush */
        list_append(&tls->loop->before_poll, &todo->node);
        return 0;
    }
    tls->gathering = false;
    int rc = outq_is_empty(&tls->backlog) ? 0 : tls_write_backlog(tls, false);
    Py_DECREF(tls);
    return rc;
}

int
tls_flush(Tls *tls)
{
    bool gathered = tls->gathering && is_wrapped(tls) && !tls->busy
                    && !outq_is_empty(&tls->backlog);
    return gathered ? tls_write_backlog(tls, false) : 0;
}

int
tls_flush_last(Tls *tls)
{
    if (!tls->gathering || outq_is_empty(&tls->backlog)
        || encrypt_backlog(tls, false) == 0) {
        return 0;
    }
    if (err_is_exit()) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

/* True when the next write may leave at once. */
static bool
can_write_now(const Tls *tls)
{
    return tls->phase == CL_TLS_WRAPPED && outq_is_empty(&tls->backlog)
           && !tls->sending_paused && !tls->busy
           && !(tls->gathering && loop_is_ours(tls->loop));
}

/* The backlog has grown: sends it, now or when it can wait no longer. 0 or -1. */
static int
after_append(Tls *tls, bool now)
{
    bool may_wait = tls->gathering && loop_is_ours(tls->loop)
                    && tls->backlog.bytes <= CL_GATHER_MAX
                    && tls->backlog.bytes < tls->high_water;
    if (tls->phase != CL_TLS_WRAPPED || tls->sending_paused || (may_wait && !now)) {
        return tls_control_writing(tls);
    }
    if (tls_write_backlog(tls, false) < 0) {
        return -1;
    }
    start_gathering(tls);
    return 0;
}

/* Asked once for the first write of a turn: should it wait for others? */
static bool
should_hold(Tls *tls, size_t size)
{
    bool had_several = tls->turn_writes > 1;
    tls->turn_writes = 1;
    return CL_FASTPATH && size <= CL_RECORD_SIZE && loop_is_ours(tls->loop)
           && loop_should_hold(tls->loop, had_several);
}

int
tls_write(Tls *tls, PyObject *owner, const Py_buffer *view)
{
    size_t done = 0;
    if (!can_write_now(tls)) {
        tls->turn_writes = 2;
    }
    else if (should_hold(tls, (size_t)view->len)) {
        start_gathering(tls);
    }
    else {
        if (write_now(tls, view->buf, (size_t)view->len, &done) < 0) {
            return tls_fail(tls, "Fatal error on SSL protocol");
        }
        start_gathering(tls);
        if (done == (size_t)view->len || tls->phase == CL_TLS_UNWRAPPED) {
            return tls_control_writing(tls);
        }
    }
    if (outq_append(&tls->backlog, owner, view, done) < 0) {
        return -1;
    }
    if (done > 0 && tls->sending_paused) {
        tls->uncounted = tls->backlog.bytes;
    }
    return after_append(tls, false);
}

int
tls_writelines(Tls *tls, PyObject *pieces)
{
    bool is_first = can_write_now(tls);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pieces); i++) {
        /* A __buffer__ of the user's may find the list, with gc, and empty it. */
        PyObject *piece = Py_NewRef(PyList_GET_ITEM(pieces, i));
        Py_buffer view;
        int rc = PyObject_GetBuffer(piece, &view, PyBUF_SIMPLE);
        if (rc == 0) {
            rc = view.len > 0 ? outq_append(&tls->backlog, piece, &view, 0) : 0;
            PyBuffer_Release(&view);
        }
        Py_DECREF(piece);
        if (rc < 0) {
            return -1;
        }
    }
    if (outq_is_empty(&tls->backlog)) {
        return 0;
    }
    bool now = is_first;
    if (!is_first) {
        tls->turn_writes = 2;
    }
    else if (should_hold(tls, tls->backlog.bytes)) {
        start_gathering(tls);
        now = false;
    }
    return after_append(tls, now);
}
