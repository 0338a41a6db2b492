/* The transport below a TLS connection, called as one: a Stream by C functions, any other
 * by its Python methods. Called by engine.c, flow.c and the ways to OpenSSL.
 *
 * Events come up through `sink` from a Stream, else through the protocol methods in
 * face.c. tls->stream is not NULL from connection_made until connection_lost. */
#include "tls.h"

/* -- events of a Stream ------------------------------------------------------------ */

static Tls *
tls_above(Stream *stream)
{
    return tls_of(stream->transport.protocol);
}

static int
on_data(Stream *stream, const char *data, size_t size)
{
    Tls *tls = tls_above(stream);
    Py_INCREF(tls);
    int rc = tls_data_received(tls, data, size);
    if (CL_UNLIKELY(rc < 0)) {
        rc = transport_fail(&stream->transport,
                            "Fatal error: protocol.buffer_updated() call failed.");
    }
    Py_DECREF(tls);
    return rc;
}

static int
on_eof(Stream *stream)
{
    Tls *tls = tls_above(stream);
    bool keep_open = false;
    Py_INCREF(tls);
    int rc = tls_eof_received(tls, &keep_open);
    if (CL_UNLIKELY(rc < 0)) {
        rc = transport_fail(&stream->transport,
                            "Fatal error: protocol.eof_received() call failed.");
        keep_open = true;
    }
    Py_DECREF(tls);
    return rc < 0 ? -1 : keep_open;
}

static int
on_lost(Stream *stream, PyObject *exception)
{
    Tls *tls = tls_above(stream);
    Py_INCREF(tls);
    int rc = tls_connection_lost(tls, exception);
    Py_DECREF(tls);
    return rc;
}

static int
on_pause(Stream *stream)
{
    tls_above(stream)->sending_paused = true;
    return 0;
}

static int
on_resume(Stream *stream)
{
    Tls *tls = tls_above(stream);
    Py_INCREF(tls);
    tls->sending_paused = false;
    int rc = tls_write_backlog(tls, false);
    Py_DECREF(tls);
    return rc;
}

static int
on_flush(Stream *stream)
{
    Tls *tls = tls_above(stream);
    Py_INCREF(tls);
    int rc = tls_flush(tls);
    Py_DECREF(tls);
    return rc;
}

static const StreamSink sink = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_lost = on_lost,
    .on_pause = on_pause,
    .on_resume = on_resume,
    .on_flush = on_flush,
};

int
lower_attach(Tls *tls, PyObject *lower)
{
    tls->stream = NULL;
    Py_XSETREF(tls->lower, Py_NewRef(lower));
    if (!Py_IS_TYPE(lower, tls->state->StreamTransportType)) {
        return 0;
    }
    Stream *stream = (Stream *)lower;
    if (stream->transport.finished || stream->transport.protocol != (PyObject *)tls) {
        return 0;
    }
    tls->stream = stream;
    stream_set_sink(stream, (PyObject *)tls, &sink);
    return 0;
}

bool
lower_is_lost(const Tls *tls)
{
    const State *state = tls->state;
    if (Py_IS_TYPE(tls->lower, state->StreamTransportType)) {
        return ((Stream *)tls->lower)->transport.finished;
    }
    return Py_IS_TYPE(tls->lower, state->SSLTransportType)
           && tls_of(tls->lower)->finished;
}

/* -- calls ------------------------------------------------------------------------- */

/* Calls a method of the transport below; arg may be NULL. Nothing happens without one. */
static int
call_lower(Tls *tls, PyObject *name, PyObject *arg)
{
    if (tls->lower == NULL || tls->finished) {
        return 0;
    }
    PyObject *lower = Py_NewRef(tls->lower);
    PyObject *result = arg == NULL ? PyObject_CallMethodNoArgs(lower, name)
                                   : PyObject_CallMethodOneArg(lower, name, arg);
    Py_DECREF(lower);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
lower_write(Tls *tls, const char *data, size_t size)
{
    Stream *stream = tls->stream;
    if (CL_LIKELY(stream != NULL)) {
        Transport *transport = &stream->transport;
        if (CL_UNLIKELY(transport->conn_lost != 0 || stream->eof)) {
            return transport_count_lost_write(transport);
        }
        Py_INCREF(stream);
        int rc = stream_write_raw(stream, data, size);
        Py_DECREF(stream);
        return rc;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
    if (bytes == NULL) {
        return -1;
    }
    int rc = call_lower(tls, tls->state->str_write, bytes);
    Py_DECREF(bytes);
    return rc;
}

int
lower_write_bytes(Tls *tls, PyObject *bytes)
{
    if (tls->stream != NULL) {
        return lower_write(tls, PyBytes_AS_STRING(bytes),
                           (size_t)PyBytes_GET_SIZE(bytes));
    }
    return call_lower(tls, tls->state->str_write, bytes);
}

int
lower_close_soon(Tls *tls)
{
    if (tls->lower == NULL || tls->finished) {
        return 0;
    }
    PyObject *callback = PyObject_GetAttr(tls->lower, tls->state->str_close);
    if (callback == NULL) {
        return -1;
    }
    int rc = loop_call_soon(tls->state, (PyObject *)tls->loop, callback, NULL, NULL);
    Py_DECREF(callback);
    return rc;
}

int
lower_force_close(Tls *tls, PyObject *exception)
{
    if (tls->stream != NULL) {
        Stream *stream = tls->stream;
        Py_INCREF(stream);
        int rc = transport_force_close(&stream->transport, exception);
        Py_DECREF(stream);
        return rc;
    }
    return call_lower(tls, tls->state->str_force_close, exception);
}

int
lower_abort(Tls *tls)
{
    return call_lower(tls, tls->state->str_abort, NULL);
}

int
lower_pause_reading(Tls *tls)
{
    if (tls->lower_paused) {
        return 0;
    }
    tls->lower_paused = true;
    return call_lower(tls, tls->state->str_pause_reading, NULL);
}

int
lower_resume_reading(Tls *tls)
{
    if (!tls->lower_paused) {
        return 0;
    }
    tls->lower_paused = false;
    Stream *stream = tls->stream;
    if (stream == NULL) {
        return call_lower(tls, tls->state->str_resume_reading, NULL);
    }
    /* What comes from now on is still heard in the connection's context, not in that of
     * the one who resumes: on stock it was not paused. */
    Transport *transport = &stream->transport;
    PyObject *context = Py_XNewRef(transport->read_context);
    Py_INCREF(stream);
    int rc = call_lower(tls, tls->state->str_resume_reading, NULL);
    if (transport->read_context != NULL) {
        Py_XSETREF(transport->read_context, context);
    }
    else {
        Py_XDECREF(context);
    }
    Py_DECREF(stream);
    return rc;
}
