/* The Python face of a TLS connection: the type cloop.SSLTransport, which has the methods
 * of a transport for the user and those of a protocol for a transport below that is no
 * Stream (see tls.h). Called from Python, on the loop's thread; parses and calls down.
 *
 * Objects are made by cloop/tls.py, which checks what the user gave. */
#include "../io/limits.h"
#include "../io/reader.h"
#include "../py/args.h"
#include "library.h"
#include "tls.h"

#define CL_NONE_OR_NULL(rc) ((rc) < 0 ? NULL : Py_NewRef(Py_None))

/* -- making ------------------------------------------------------------------------ */

const TlsWay *
tls_choose_way(State *state, PyObject **why)
{
    if (state->tls_why == NULL) {
        state->tls_why = library_load(state);
        if (state->tls_why == NULL) {
            return NULL;
        }
    }
    *why = state->tls_why;
    return state->tls_why == Py_None ? &tls_direct : &tls_portable;
}

int
tls_set_protocol(Tls *tls, PyObject *protocol)
{
    int buffered = PyObject_IsInstance(protocol, tls->state->BufferedProtocol);
    if (buffered < 0) {
        return -1;
    }
    tls->buffered = buffered;
    tls->writer_tries = reader_adopt(tls->state, protocol)
                            ? reader_count_tries(tls->state, protocol)
                            : 0;
    Py_XSETREF(tls->protocol, Py_NewRef(protocol));
    return 0;
}

/* True when context wants to see what goes on inside of OpenSSL: the exceptions of such
 * callbacks are picked up by _ssl's own methods only. 1, 0 or -1. */
static int
is_watched(PyObject *context)
{
    static const char *const names[] = {"_msg_callback", "keylog_filename"};
    for (size_t i = 0; i < CL_COUNT_OF(names); i++) {
        PyObject *value = PyObject_GetAttrString(context, names[i]);
        if (value == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
                return -1;
            }
            PyErr_Clear();
            continue;
        }
        bool watched = value != Py_None;
        Py_DECREF(value);
        if (watched) {
            return 1;
        }
    }
    return 0;
}

/* Sets inner and way. 0 or -1. */
static int
choose_way(Tls *tls)
{
    State *state = tls->state;
    PyObject *why;
    tls->inner = Py_NewRef(tls->sslobj);
    tls->way = &tls_portable;
    if (!Py_IS_TYPE(tls->sslobj, (PyTypeObject *)state->SSLObject)) {
        return 0; /* a subclass may have changed the methods */
    }
    PyObject *inner = PyObject_GetAttrString(tls->sslobj, "_sslobj");
    if (inner == NULL) {
        return -1;
    }
    Py_SETREF(tls->inner, inner);
    const TlsWay *way = tls_choose_way(state, &why);
    int watched = way == NULL ? -1 : is_watched(tls->context);
    if (watched < 0) {
        return -1;
    }
    if (!watched && Py_IS_TYPE(inner, (PyTypeObject *)state->SSLSocketType)) {
        tls->way = way;
    }
    return 0;
}

static PyObject *
SSLTransport_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                 PyObject *Py_UNUSED(kwargs))
{
    State *state = state_of_type(type);
    PyObject *self = state == NULL ? NULL : type->tp_alloc(type, 0);
    if (self != NULL) {
        Tls *tls = tls_of(self);
        tls->state = state;
        tls->way = &tls_portable;
        tls->closed = true;
        tls->high_water = CL_TLS_WRITE_HIGH;
        tls->low_water = CL_TLS_WRITE_HIGH / 4;
        tls->read_high_water = CL_TLS_READ_HIGH;
        tls->read_low_water = CL_TLS_READ_HIGH / 4;
        outq_init(&tls->backlog);
        tls->backlog.secret = true;
        list_init(&tls->flush_soon.node);
        tls->flush_soon.run = tls_flush_turn;
        tls->flush_soon.sends = true;
    }
    return self;
}

static int
SSLTransport_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {
        "loop",     "protocol", "context", "sslobj",
        "incoming", "outgoing", "waiter",  "call_connection_made",
        "timeouts", NULL};
    static const ArgSpec spec = {"SSLTransport.__init__", names, 9, 9, false, false};
    PyObject *values[9];
    Tls *tls = tls_of(self);
    State *state = tls->state;
    if (args_parse_tuple(&spec, args, kwargs, values) < 0) {
        return -1;
    }
    Loop *loop = loop_from(state, values[0]);
    if (loop == NULL || tls->loop != NULL || state->SSLObject == NULL) {
        PyErr_SetString(PyExc_TypeError, loop == NULL ? "loop must be a cloop.Loop"
                                                      : "already initialized");
        return -1;
    }
    if (!PyTuple_Check(values[8]) || PyTuple_GET_SIZE(values[8]) != 2) {
        PyErr_SetString(PyExc_TypeError, "timeouts must be a tuple of two numbers");
        return -1;
    }
    int calls = PyObject_IsTrue(values[7]);
    if (calls < 0) {
        return -1;
    }
    tls->loop = (Loop *)Py_NewRef((PyObject *)loop);
    tls->context = Py_NewRef(values[2]);
    tls->sslobj = Py_NewRef(values[3]);
    tls->incoming = Py_NewRef(values[4]);
    tls->outgoing = Py_NewRef(values[5]);
    tls->waiter = values[6] == Py_None ? NULL : Py_NewRef(values[6]);
    tls->told = calls ? CL_TLS_TOLD_NOTHING : CL_TLS_TOLD_MADE;
    tls->handshake_timeout = Py_NewRef(PyTuple_GET_ITEM(values[8], 0));
    tls->shutdown_timeout = Py_NewRef(PyTuple_GET_ITEM(values[8], 1));
    if (tls_set_protocol(tls, values[1]) < 0 || choose_way(tls) < 0
        || tls->way->open(tls) < 0) {
        return -1;
    }
    tls->closed = false;
    return 0;
}

static int
SSLTransport_traverse(PyObject *self, visitproc visit, void *arg)
{
    Tls *tls = tls_of(self);
    CL_VISIT_TYPE(self);
    Py_VISIT(tls->dict);
    Py_VISIT((PyObject *)tls->loop);
    Py_VISIT(tls->protocol);
    Py_VISIT(tls->lower);
    Py_VISIT(tls->context);
    Py_VISIT(tls->sslobj);
    Py_VISIT(tls->inner);
    Py_VISIT(tls->incoming);
    Py_VISIT(tls->outgoing);
    Py_VISIT(tls->waiter);
    Py_VISIT(tls->handshake_timeout);
    Py_VISIT(tls->shutdown_timeout);
    Py_VISIT(tls->timer);
    Py_VISIT(tls->extra);
    Py_VISIT(tls->limits);
    Py_VISIT(tls->read_limits);
    return 0;
}

static int
SSLTransport_clear(PyObject *self)
{
    Tls *tls = tls_of(self);
    tls->stream = NULL;
    tls->phase = CL_TLS_UNWRAPPED;
    tls->finished = true;
    tls_release(tls);
    tls_drop_backlog(tls);
    Py_CLEAR(tls->dict);
    Py_CLEAR(tls->protocol);
    Py_CLEAR(tls->lower);
    Py_CLEAR(tls->waiter);
    Py_CLEAR(tls->handshake_timeout);
    Py_CLEAR(tls->shutdown_timeout);
    Py_CLEAR(tls->timer);
    Py_CLEAR(tls->extra);
    Py_CLEAR(tls->limits);
    Py_CLEAR(tls->read_limits);
    Py_CLEAR(tls->loop);
    return 0;
}

static void
SSLTransport_finalize(PyObject *self)
{
    Tls *tls = tls_of(self);
    if (tls->closed) {
        return;
    }
    tls->closed = true;
    PyObject *raised = PyErr_GetRaisedException();
    if (PyErr_ResourceWarning(self, 1, "unclosed transport %R", self) < 0) {
        if (PyErr_ExceptionMatches(PyExc_Warning)) {
            PyErr_WriteUnraisable(self);
        }
        else {
            PyErr_Clear();
        }
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

static void
SSLTransport_dealloc(PyObject *self)
{
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    compat_clear_weakrefs(self);
    (void)SSLTransport_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* -- reading ----------------------------------------------------------------------- */

PyDoc_STRVAR(SSLTransport_is_reading_doc,
             "is_reading($self, /)\n--\n\n"
             "True unless paused. See the asyncio documentation, section \"Read-only\n"
             "Transports\".");

static PyObject *
SSLTransport_is_reading(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(!tls_of(self)->reading_paused);
}

PyDoc_STRVAR(
    SSLTransport_pause_reading_doc,
    "pause_reading($self, /)\n--\n\n"
    "Hand nothing more to the protocol until resume_reading(). See the asyncio\n"
    "documentation, section \"Read-only Transports\".");

static PyObject *
SSLTransport_pause_reading(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Tls *tls = tls_of(self);
    tls->reading_paused = true;
    return CL_NONE_OR_NULL(tls_control_reading(tls));
}

PyDoc_STRVAR(SSLTransport_resume_reading_doc,
             "resume_reading($self, /)\n--\n\n"
             "Read on after pause_reading(). See the asyncio documentation, section\n"
             "\"Read-only Transports\".");

static PyObject *
SSLTransport_resume_reading(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Tls *tls = tls_of(self);
    if (!tls->reading_paused) {
        Py_RETURN_NONE;
    }
    tls->reading_paused = false;
    return CL_NONE_OR_NULL(tls_resume_soon(tls));
}

/* -- writing ----------------------------------------------------------------------- */

static bool
takes_writes(const Tls *tls)
{
    return tls->phase == CL_TLS_WRAPPED || tls->phase == CL_TLS_HANDSHAKE;
}

PyDoc_STRVAR(
    SSLTransport_write_doc,
    "write($self, data, /)\n--\n\n"
    "Send bytes, a bytearray or a memoryview, encrypted, without waiting. Dropped\n"
    "once the transport is closed. See the asyncio documentation, section\n"
    "\"Write-only Transports\".");

static PyObject *
SSLTransport_write(PyObject *self, PyObject *data)
{
    Tls *tls = tls_of(self);
    Py_buffer view;
    bool is_bytes = PyBytes_Check(data);
    if (!is_bytes && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(data), "__name__");
        if (name != NULL) {
            PyErr_Format(PyExc_TypeError,
                         "data: expecting a bytes-like instance, got %U", name);
            Py_DECREF(name);
        }
        return NULL;
    }
    if (CL_LIKELY(is_bytes)) {
        view.buf = PyBytes_AS_STRING(data);
        view.len = PyBytes_GET_SIZE(data);
    }
    else if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (CL_UNLIKELY(tls->writer_tries > 0)) {
        tls->writer_tries--;
        reader_adopt_caller(tls->state, self);
    }
    int rc = 0;
    if (CL_LIKELY(view.len > 0)) {
        rc = CL_LIKELY(takes_writes(tls)) ? tls_write(tls, data, &view)
                                          : tls_count_lost_write(tls);
    }
    if (!is_bytes) {
        PyBuffer_Release(&view);
    }
    return CL_NONE_OR_NULL(rc);
}

PyDoc_STRVAR(SSLTransport_writelines_doc,
             "writelines($self, list_of_data, /)\n--\n\n"
             "Send an iterable of bytes-like objects. See the asyncio documentation,\n"
             "section \"Write-only Transports\".");

static PyObject *
SSLTransport_writelines(PyObject *self, PyObject *list_of_data)
{
    Tls *tls = tls_of(self);
    if (!takes_writes(tls)) {
        return CL_NONE_OR_NULL(tls_count_lost_write(tls));
    }
    PyObject *pieces = PySequence_List(list_of_data);
    if (pieces == NULL) {
        return NULL;
    }
    int rc = tls_writelines(tls, pieces);
    Py_DECREF(pieces);
    return CL_NONE_OR_NULL(rc);
}

PyDoc_STRVAR(SSLTransport_write_eof_doc,
             "write_eof($self, /)\n--\n\n"
             "Not supported over TLS: NotImplementedError.");

static PyObject *
SSLTransport_write_eof(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    PyErr_SetNone(PyExc_NotImplementedError);
    return NULL;
}

PyDoc_STRVAR(SSLTransport_can_write_eof_doc,
             "can_write_eof($self, /)\n--\n\n"
             "False: there is no half-closed TLS here.");

static PyObject *
SSLTransport_can_write_eof(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_FALSE;
}

/* -- limits ------------------------------------------------------------------------ */

PyDoc_STRVAR(
    SSLTransport_set_write_buffer_limits_doc,
    "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
    "From how many bytes on the protocol is told to pause writing, and at how many\n"
    "to resume. ValueError unless high >= low >= 0. See the asyncio documentation,\n"
    "section \"Write-only Transports\".");

static PyObject *
SSLTransport_set_write_buffer_limits(PyObject *self, PyObject *const *args,
                                     Py_ssize_t nargs, PyObject *kwnames)
{
    Tls *tls = tls_of(self);
    if (limits_parse("_SSLProtocolTransport.set_write_buffer_limits", args, nargs,
                     kwnames, CL_TLS_WRITE_HIGH, &tls->high_water, &tls->low_water,
                     &tls->limits)
        < 0) {
        return NULL;
    }
    /* What was written before is below on stock: no reason to pause. */
    return tls_flush(tls) < 0 ? NULL : CL_NONE_OR_NULL(tls_control_writing(tls));
}

PyDoc_STRVAR(SSLTransport_get_write_buffer_limits_doc,
             "get_write_buffer_limits($self, /)\n--\n\n"
             "The limits as a tuple (low, high), in bytes.");

static PyObject *
SSLTransport_get_write_buffer_limits(PyObject *self, PyObject *Py_UNUSED(unused))
{
    PyObject *limits = tls_of(self)->limits;
    return limits != NULL
               ? Py_NewRef(limits)
               : Py_BuildValue("(ii)", CL_TLS_WRITE_HIGH / 4, CL_TLS_WRITE_HIGH);
}

PyDoc_STRVAR(SSLTransport_get_write_buffer_size_doc,
             "get_write_buffer_size($self, /)\n--\n\n"
             "How many bytes wait for the transport below to have room.");

static PyObject *
SSLTransport_get_write_buffer_size(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Tls *tls = tls_of(self);
    return tls_flush(tls) < 0 ? NULL : PyLong_FromSize_t(tls_count_queued(tls));
}

PyDoc_STRVAR(
    SSLTransport_set_read_buffer_limits_doc,
    "set_read_buffer_limits($self, /, high=None, low=None)\n--\n\n"
    "From how many undecrypted bytes on the transport below is paused, and at how\n"
    "many it is resumed. ValueError unless high >= low >= 0.");

static PyObject *
SSLTransport_set_read_buffer_limits(PyObject *self, PyObject *const *args,
                                    Py_ssize_t nargs, PyObject *kwnames)
{
    Tls *tls = tls_of(self);
    if (limits_parse("_SSLProtocolTransport.set_read_buffer_limits", args, nargs,
                     kwnames, CL_TLS_READ_HIGH, &tls->read_high_water,
                     &tls->read_low_water, &tls->read_limits)
        < 0) {
        return NULL;
    }
    return CL_NONE_OR_NULL(tls_control_reading(tls));
}

PyDoc_STRVAR(SSLTransport_get_read_buffer_limits_doc,
             "get_read_buffer_limits($self, /)\n--\n\n"
             "The limits as a tuple (low, high), in bytes.");

static PyObject *
SSLTransport_get_read_buffer_limits(PyObject *self, PyObject *Py_UNUSED(unused))
{
    PyObject *limits = tls_of(self)->read_limits;
    return limits != NULL
               ? Py_NewRef(limits)
               : Py_BuildValue("(ii)", CL_TLS_READ_HIGH / 4, CL_TLS_READ_HIGH);
}

PyDoc_STRVAR(SSLTransport_get_read_buffer_size_doc,
             "get_read_buffer_size($self, /)\n--\n\n"
             "How many bytes that came in are not decrypted yet.");

static PyObject *
SSLTransport_get_read_buffer_size(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Tls *tls = tls_of(self);
    return PyLong_FromSize_t(tls->way->count_in(tls));
}

/* -- closing ----------------------------------------------------------------------- */

PyDoc_STRVAR(
    SSLTransport_is_closing_doc,
    "is_closing($self, /)\n--\n\n"
    "True once closed or being closed. See the asyncio documentation, section\n"
    "\"Base Transport\".");

static PyObject *
SSLTransport_is_closing(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(tls_of(self)->closed);
}

PyDoc_STRVAR(
    SSLTransport_close_doc,
    "close($self, /)\n--\n\n"
    "Send what is queued, then close_notify, wait for the peer's (no longer than\n"
    "ssl_shutdown_timeout) and close; the protocol hears connection_lost(). See the\n"
    "asyncio documentation, section \"Base Transport\".");

static PyObject *
SSLTransport_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Tls *tls = tls_of(self);
    if (tls->loop == NULL) {
        Py_RETURN_NONE;
    }
    if (tls->closed) {
        /* As on stock: who closes twice asks for no extra info, and a protocol that
         * keeps its transport keeps no context. */
        tls->let_go = true;
    }
    if (tls->finished) {
        tls_release(tls);
        Py_RETURN_NONE;
    }
    int rc = tls_start_shutdown(tls);
    tls->closed = true;
    return CL_NONE_OR_NULL(rc);
}

PyDoc_STRVAR(SSLTransport_abort_doc,
             "abort($self, /)\n--\n\n"
             "Close at once, without close_notify; what is queued is lost. See the\n"
             "asyncio documentation, section \"Write-only Transports\".");

static PyObject *
SSLTransport_abort(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return CL_NONE_OR_NULL(tls_abort(tls_of(self), Py_None));
}

static PyObject *
SSLTransport__force_close(PyObject *self, PyObject *exception)
{
    return CL_NONE_OR_NULL(tls_abort(tls_of(self), exception));
}

/* -- the protocol's side ----------------------------------------------------------- */

PyDoc_STRVAR(SSLTransport_connection_made_doc,
             "connection_made($self, transport, /)\n--\n\n"
             "Protocol: begin the handshake over this transport.");

static PyObject *
SSLTransport_connection_made(PyObject *self, PyObject *transport)
{
    return CL_NONE_OR_NULL(tls_connection_made(tls_of(self), transport));
}

PyDoc_STRVAR(SSLTransport_connection_lost_doc,
             "connection_lost($self, exc, /)\n--\n\n"
             "Protocol: the transport below is closed.");

static PyObject *
SSLTransport_connection_lost(PyObject *self, PyObject *exception)
{
    return CL_NONE_OR_NULL(tls_connection_lost(tls_of(self), exception));
}

PyDoc_STRVAR(SSLTransport_data_received_doc, "data_received($self, data, /)\n--\n\n"
                                             "Protocol: decrypt these bytes.");

static PyObject *
SSLTransport_data_received(PyObject *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int rc = tls_data_received(tls_of(self), view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return CL_NONE_OR_NULL(rc);
}

PyDoc_STRVAR(SSLTransport__feed_doc, "_feed($self, data, /)\n--\n\n"
                                     "Keep these bytes for the handshake's begin.");

static PyObject *
SSLTransport__feed(PyObject *self, PyObject *data)
{
    Tls *tls = tls_of(self);
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int rc = 0;
    if (view.len > 0 && tls->lower == NULL) {
        rc = arrival_add(tls, view.buf, (size_t)view.len);
        rc = rc < 0 ? rc : arrival_settle(tls);
    }
    PyBuffer_Release(&view);
    return CL_NONE_OR_NULL(rc);
}

/* Stock's start_tls moves what a StreamReader has read already to the MemoryBIO that has
 * this name there (gh-142352). */
static PyObject *
SSLTransport_get__incoming(PyObject *self, void *Py_UNUSED(closure))
{
    State *state = tls_of(self)->state;
    PyObject *feed = PyObject_GetAttrString(self, "_feed");
    PyObject *members = feed == NULL ? NULL : Py_BuildValue("{sO}", "write", feed);
    PyObject *bio = members == NULL ? NULL
                                    : PyObject_Call(state->SimpleNamespace,
                                                    state->empty_tuple, members);
    Py_XDECREF(members);
    Py_XDECREF(feed);
    return bio;
}

PyDoc_STRVAR(SSLTransport_eof_received_doc, "eof_received($self, /)\n--\n\n"
                                            "Protocol: the peer sends no more.");

static PyObject *
SSLTransport_eof_received(PyObject *self, PyObject *Py_UNUSED(unused))
{
    bool keep_open = false;
    if (tls_eof_received(tls_of(self), &keep_open) < 0) {
        return NULL;
    }
    return Py_NewRef(keep_open ? Py_True : Py_None);
}

PyDoc_STRVAR(SSLTransport_pause_writing_doc, "pause_writing($self, /)\n--\n\n"
                                             "Protocol: the transport below is full.");

static PyObject *
SSLTransport_pause_writing(PyObject *self, PyObject *Py_UNUSED(unused))
{
    tls_of(self)->sending_paused = true;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(SSLTransport_resume_writing_doc,
             "resume_writing($self, /)\n--\n\n"
             "Protocol: the transport below has room again.");

static PyObject *
SSLTransport_resume_writing(PyObject *self, PyObject *Py_UNUSED(unused))
{
    tls_of(self)->sending_paused = false;
    return CL_NONE_OR_NULL(tls_write_backlog(tls_of(self), false));
}

/* -- the rest ---------------------------------------------------------------------- */

static PyObject *
SSLTransport__check_handshake_timeout(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return CL_NONE_OR_NULL(tls_check_handshake_timeout(tls_of(self)));
}

static PyObject *
SSLTransport__check_shutdown_timeout(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return CL_NONE_OR_NULL(tls_check_shutdown_timeout(tls_of(self)));
}

static PyObject *
SSLTransport__resume(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return CL_NONE_OR_NULL(tls_resume(tls_of(self)));
}

PyDoc_STRVAR(SSLTransport_set_protocol_doc,
             "set_protocol($self, protocol, /)\n--\n\n"
             "Another protocol hears what comes from now on. See the asyncio\n"
             "documentation, section \"Base Transport\".");

static PyObject *
SSLTransport_set_protocol(PyObject *self, PyObject *protocol)
{
    Tls *tls = tls_of(self);
    if (tls->finished) {
        Py_RETURN_NONE;
    }
    return CL_NONE_OR_NULL(tls_set_protocol(tls, protocol));
}

PyDoc_STRVAR(SSLTransport_get_protocol_doc,
             "get_protocol($self, /)\n--\n\n"
             "The protocol; None once the connection is lost. See the asyncio\n"
             "documentation, section \"Base Transport\".");

static PyObject *
SSLTransport_get_protocol(PyObject *self, PyObject *Py_UNUSED(unused))
{
    PyObject *protocol = tls_of(self)->protocol;
    return Py_NewRef(protocol != NULL ? protocol : Py_None);
}

static PyObject *
get_object(PyObject *object)
{
    return Py_NewRef(object != NULL ? object : Py_None);
}

static PyObject *
SSLTransport_get__loop(PyObject *self, void *Py_UNUSED(closure))
{
    return get_object((PyObject *)tls_of(self)->loop);
}

static PyObject *
SSLTransport_get__protocol(PyObject *self, void *Py_UNUSED(closure))
{
    return get_object(tls_of(self)->protocol);
}

static PyObject *
SSLTransport_get__ssl_protocol(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self);
}

static PyObject *
SSLTransport_get__transport(PyObject *self, void *Py_UNUSED(closure))
{
    Tls *tls = tls_of(self);
    return get_object(tls->finished ? NULL : tls->lower);
}

static PyObject *
SSLTransport_get__way(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(tls_of(self)->way->name);
}

static PyMethodDef SSLTransport_methods[] = {
    {"abort", SSLTransport_abort, METH_NOARGS, SSLTransport_abort_doc},
    {"can_write_eof", SSLTransport_can_write_eof, METH_NOARGS,
     SSLTransport_can_write_eof_doc},
    {"close", SSLTransport_close, METH_NOARGS, SSLTransport_close_doc},
    {"get_extra_info", CL_KEYWORDS(SSLTransport_get_extra_info),
     METH_FASTCALL | METH_KEYWORDS, SSLTransport_get_extra_info_doc},
    {"get_protocol", SSLTransport_get_protocol, METH_NOARGS,
     SSLTransport_get_protocol_doc},
    {"get_read_buffer_limits", SSLTransport_get_read_buffer_limits, METH_NOARGS,
     SSLTransport_get_read_buffer_limits_doc},
    {"get_read_buffer_size", SSLTransport_get_read_buffer_size, METH_NOARGS,
     SSLTransport_get_read_buffer_size_doc},
    {"get_write_buffer_limits", SSLTransport_get_write_buffer_limits, METH_NOARGS,
     SSLTransport_get_write_buffer_limits_doc},
    {"get_write_buffer_size", SSLTransport_get_write_buffer_size, METH_NOARGS,
     SSLTransport_get_write_buffer_size_doc},
    {"is_closing", SSLTransport_is_closing, METH_NOARGS, SSLTransport_is_closing_doc},
    {"is_reading", SSLTransport_is_reading, METH_NOARGS, SSLTransport_is_reading_doc},
    {"pause_reading", SSLTransport_pause_reading, METH_NOARGS,
     SSLTransport_pause_reading_doc},
    {"resume_reading", SSLTransport_resume_reading, METH_NOARGS,
     SSLTransport_resume_reading_doc},
    {"set_protocol", SSLTransport_set_protocol, METH_O, SSLTransport_set_protocol_doc},
    {"set_read_buffer_limits", CL_KEYWORDS(SSLTransport_set_read_buffer_limits),
     METH_FASTCALL | METH_KEYWORDS, SSLTransport_set_read_buffer_limits_doc},
    {"set_write_buffer_limits", CL_KEYWORDS(SSLTransport_set_write_buffer_limits),
     METH_FASTCALL | METH_KEYWORDS, SSLTransport_set_write_buffer_limits_doc},
    {"write", SSLTransport_write, METH_O, SSLTransport_write_doc},
    {"write_eof", SSLTransport_write_eof, METH_NOARGS, SSLTransport_write_eof_doc},
    {"writelines", SSLTransport_writelines, METH_O, SSLTransport_writelines_doc},

    {"connection_made", SSLTransport_connection_made, METH_O,
     SSLTransport_connection_made_doc},
    {"connection_lost", SSLTransport_connection_lost, METH_O,
     SSLTransport_connection_lost_doc},
    {"data_received", SSLTransport_data_received, METH_O,
     SSLTransport_data_received_doc},
    {"eof_received", SSLTransport_eof_received, METH_NOARGS,
     SSLTransport_eof_received_doc},
    {"pause_writing", SSLTransport_pause_writing, METH_NOARGS,
     SSLTransport_pause_writing_doc},
    {"resume_writing", SSLTransport_resume_writing, METH_NOARGS,
     SSLTransport_resume_writing_doc},

    {"_check_handshake_timeout", SSLTransport__check_handshake_timeout, METH_NOARGS,
     NULL},
    {"_check_shutdown_timeout", SSLTransport__check_shutdown_timeout, METH_NOARGS,
     NULL},
    {"_do_read", SSLTransport__resume, METH_NOARGS, NULL},
    {"_feed", SSLTransport__feed, METH_O, SSLTransport__feed_doc},
    {"_force_close", SSLTransport__force_close, METH_O, NULL},
    {"_resume", SSLTransport__resume, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* What start_tls returns: None when the connection was lost meanwhile. */
static PyObject *
SSLTransport_get__app_transport(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(tls_of(self)->finished ? Py_None : self);
}

static PyGetSetDef SSLTransport_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_app_protocol", SSLTransport_get__protocol, NULL, NULL, NULL},
    {"_app_transport", SSLTransport_get__app_transport, NULL, NULL, NULL},
    {"_extra", SSLTransport_get__extra, NULL, NULL, NULL},
    {"_incoming", SSLTransport_get__incoming, NULL, NULL, NULL},
    {"_loop", SSLTransport_get__loop, NULL, NULL, NULL},
    {"_protocol", SSLTransport_get__protocol, NULL, NULL, NULL},
    {"_ssl_protocol", SSLTransport_get__ssl_protocol, NULL, NULL, NULL},
    {"_transport", SSLTransport_get__transport, NULL, NULL, NULL},
    {"_way", SSLTransport_get__way, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef SSLTransport_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(Tls, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Tls, weakrefs), READONLY, NULL},
    {"_app_reading_paused", T_BOOL, offsetof(Tls, reading_paused), READONLY, NULL},
    {"_closed", T_BOOL, offsetof(Tls, closed), READONLY, NULL},
    {"_closing", T_BOOL, offsetof(Tls, closed), READONLY, NULL},
    {"_conn_lost", T_UINT, offsetof(Tls, conn_lost), READONLY, NULL},
    {"_paused", T_BOOL, offsetof(Tls, reading_paused), READONLY, NULL},
    {"_protocol_paused", T_BOOL, offsetof(Tls, writing_paused), READONLY, NULL},
    {"_sslcontext", T_OBJECT, offsetof(Tls, context), READONLY, NULL},
    {"_sslobj", T_OBJECT, offsetof(Tls, sslobj), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(SSLTransport_doc,
             "The transport of a TLS connection. Made by the loop. See the asyncio\n"
             "documentation, section \"Transports and Protocols\".");

static PyType_Slot SSLTransport_slots[] = {
    {Py_tp_doc, (void *)SSLTransport_doc},
    {Py_tp_init, (void *)SSLTransport_init},
    {Py_tp_new, (void *)SSLTransport_new},
    {Py_tp_dealloc, (void *)SSLTransport_dealloc},
    {Py_tp_finalize, (void *)SSLTransport_finalize},
    {Py_tp_traverse, (void *)SSLTransport_traverse},
    {Py_tp_clear, (void *)SSLTransport_clear},
    {Py_tp_methods, (void *)SSLTransport_methods},
    {Py_tp_members, (void *)SSLTransport_members},
    {Py_tp_getset, (void *)SSLTransport_getset},
    {0, NULL},
};

PyType_Spec tls_spec = {
    .name = "cloop.SSLTransport",
    .basicsize = sizeof(Tls),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = SSLTransport_slots,
};

/* -- the module -------------------------------------------------------------------- */

/* _tls_backend(wanted=None): ("direct" or "portable", why not direct or None) for new
 * connections. For tests: wanted says which it must be from now on. */
static PyObject *
module_tls_backend(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    const char *wanted = NULL;
    PyObject *why;
    if (!PyArg_ParseTuple(args, "|z", &wanted)) {
        return NULL;
    }
    if (wanted != NULL) {
        Py_CLEAR(state->tls_why);
        if (strcmp(wanted, "portable") == 0) {
            state->tls_why = PyUnicode_FromString("as asked for");
        }
    }
    const TlsWay *way = tls_choose_way(state, &why);
    return way == NULL ? NULL : Py_BuildValue("sO", way->name, why);
}

PyMethodDef tls_functions[] = {
    {"_tls_backend", module_tls_backend, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int
tls_complete_type(State *state)
{
    if (((PyTypeObject *)state->FlowControlMixin)->tp_basicsize
        > (Py_ssize_t)offsetof(Tls, dict)) {
        PyErr_Format(PyExc_ImportError, "cloop cannot extend %R of this Python",
                     state->FlowControlMixin);
        return -1;
    }
    PyObject *type = (PyObject *)state->SSLTransportType;
    if (PyObject_SetAttrString(type, "_start_tls_compatible", Py_True) < 0) {
        return -1;
    }
    return PyObject_SetAttrString(type, "_sendfile_compatible",
                                  state->sendfile_fallback);
}
