/* The TLS engine: states, handshake, shutdown and errors (see tls.h). Called by lower.c
 * with what comes from the transport below, by face.c with what the user's side asks
 * for, and by timers.
 *
 *     UNWRAPPED ---connection_made---> HANDSHAKE ---OpenSSL is content---> WRAPPED
 *         ^                              |                                    |
 *         |        it fails, times out,  |       close(), close_notify came,  |
 *         |        the peer hangs up     |       the peer's FIN came          |
 *         |                              v                                    v
 *         +<-----------------------------+                                FLUSHING
 *         |    abort(), an error, connection_lost: from any state             |
 *         |                                          the backlog is encrypted |
 *         |     close_notify of both sides, or FIN,                           v
 *         +<--- or the shutdown's timeout --------------------------------SHUTDOWN
 *
 *     state      what comes from below is     a write is      timer
 *     UNWRAPPED  dropped                      dropped         -
 *     HANDSHAKE  the handshake's              kept            handshake
 *     WRAPPED    the user's                   encrypted       -
 *     FLUSHING   the user's                   dropped         shutdown, unless by FIN
 *     SHUTDOWN   dropped up to close_notify   dropped         the same
 *
 * FLUSHING lasts longer than a call only when the user has paused reading as FIN came
 * (what is left here is delivered first), or in the middle of a renegotiation.
 *
 * The protocol hears, whatever the state: connection_made, data, eof_received at most
 * once, connection_lost once and last (`told`). Nothing of it when the handshake fails.
 *
 * Otherwise than stock: close() drops what the peer still sends where stock gives up with
 * an error and loses what was not sent yet; a failed handshake tells the peer why (the
 * alert is sent before the connection is aborted); what came with the last flight of a
 * start_tls handshake is delivered after start_tls has returned. Before 3.11 stock had
 * another engine, without a shutdown timeout; ours is the newer one everywhere. */
#include "../py/err.h"
#include "tls.h"
#include "ways.h"

/* -- small parts ------------------------------------------------------------------- */

static bool
is_debug(const Tls *tls)
{
    return tls->loop != NULL && (tls->loop->guard & CL_GUARD_DEBUG) != 0;
}

/* logger.debug(format, self). 0 or -1. */
static int
log_debug(Tls *tls, const char *format)
{
    if (CL_LIKELY(!is_debug(tls))) {
        return 0;
    }
    PyObject *result =
        PyObject_CallMethod(tls->state->logger, "debug", "sO", format, (PyObject *)tls);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* *seconds: loop.time(). 0 or -1. */
static int
read_time(Tls *tls, double *seconds)
{
    PyObject *now =
        PyObject_CallMethodNoArgs((PyObject *)tls->loop, tls->state->str_time);
    *seconds = now == NULL ? -1.0 : PyFloat_AsDouble(now);
    Py_XDECREF(now);
    return PyErr_Occurred() ? -1 : 0;
}

/* Stops the timer that runs. Keeps a raised exception; its own are written out. */
static void
cancel_timer(Tls *tls)
{
    PyObject *timer = tls->timer;
    if (timer == NULL) {
        return;
    }
    tls->timer = NULL;
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *result = PyObject_CallMethodNoArgs(timer, tls->state->str_cancel);
    if (result == NULL) {
        PyErr_WriteUnraisable(timer);
    }
    Py_XDECREF(result);
    Py_DECREF(timer);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

/* loop.call_later(delay, self.name). 0 or -1. */
static int
start_timer(Tls *tls, PyObject *delay, PyObject *name)
{
    PyObject *callback = PyObject_GetAttr((PyObject *)tls, name);
    if (callback == NULL) {
        return -1;
    }
    PyObject *stack[3] = {(PyObject *)tls->loop, delay, callback};
    PyObject *timer =
        PyObject_VectorcallMethod(tls->state->str_call_later, stack, 3, NULL);
    Py_DECREF(callback);
    cancel_timer(tls);
    tls->timer = timer;
    return timer == NULL ? -1 : 0;
}

/* loop.call_soon(self.name). 0 or -1. */
static int
call_soon(Tls *tls, PyObject *name)
{
    if (tls->loop == NULL) {
        return 0;
    }
    PyObject *callback = PyObject_GetAttr((PyObject *)tls, name);
    if (callback == NULL) {
        return -1;
    }
    int rc = loop_call_soon(tls->state, (PyObject *)tls->loop, callback, NULL, NULL);
    Py_DECREF(callback);
    return rc;
}

int
tls_resume_soon(Tls *tls)
{
    return call_soon(tls, tls->state->str_resume);
}

/* way_handshake or way_shutdown. What callbacks of the user's context do meanwhile asks
 * OpenSSL nothing: it would not know what to answer. */
static TlsAnswer
ask_way(Tls *tls, TlsAnswer (*ask)(Tls *tls))
{
    tls->busy = true;
    TlsAnswer answer = ask(tls);
    tls->busy = false;
    return answer;
}

/* The one who waits for the handshake is told; exception may be None. 0 or -1. */
static int
wake_waiter(Tls *tls, PyObject *exception)
{
    PyObject *waiter = tls->waiter;
    if (waiter == NULL) {
        return 0;
    }
    tls->waiter = NULL;
    PyObject *result = PyObject_CallMethod(waiter, "cancelled", NULL);
    int cancelled = result == NULL ? -1 : PyObject_IsTrue(result);
    Py_XDECREF(result);
    if (cancelled == 0) {
        result = PyObject_CallMethod(
            waiter, exception == Py_None ? "set_result" : "set_exception", "O",
            exception);
        cancelled = result == NULL ? -1 : 0;
        Py_XDECREF(result);
    }
    Py_DECREF(waiter);
    return cancelled < 0 ? -1 : 0;
}

/* logger.debug("%r: %s", self, message, exc_info=error). 0 or -1. */
static int
log_error(Tls *tls, PyObject *error, const char *message)
{
    PyObject *keywords = Py_BuildValue("{sO}", "exc_info", error);
    PyObject *args = Py_BuildValue("sOs", "%r: %s", (PyObject *)tls, message);
    PyObject *log = PyObject_GetAttr(tls->state->logger, tls->state->str_debug);
    PyObject *result = keywords == NULL || args == NULL || log == NULL
                           ? NULL
                           : PyObject_Call(log, args, keywords);
    Py_XDECREF(log);
    Py_XDECREF(args);
    Py_XDECREF(keywords);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Ends the connection because of error. 0 or -1. */
static int
fail_with(Tls *tls, PyObject *error, const char *message)
{
    if (tls_flush_last(tls) < 0 || lower_force_close(tls, error) < 0) {
        return -1;
    }
    if (PyObject_TypeCheck(error, (PyTypeObject *)PyExc_OSError)) {
        return is_debug(tls) ? log_error(tls, error, message) : 0;
    }
    PyErr_SetRaisedException(Py_NewRef(error));
    return loop_report(tls->state, (PyObject *)tls->loop, message, "transport",
                       tls->lower != NULL ? tls->lower : Py_None, "protocol",
                       (PyObject *)tls, NULL);
}

int
tls_fail(Tls *tls, const char *message)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyObject *error = PyErr_GetRaisedException();
    int rc = fail_with(tls, error, message);
    Py_DECREF(error);
    return rc;
}

/* -- handshake --------------------------------------------------------------------- */

/* The raised exception has ended the handshake. 0 or -1. */
static int
fail_handshake(Tls *tls)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyObject *error = PyErr_GetRaisedException();
    cancel_timer(tls);
    tls->phase = CL_TLS_UNWRAPPED;
    /* The alert, if any. */
    int rc = tls->way->send(tls);
    if (rc == 0) {
        bool of_certificate = PyObject_TypeCheck(
            error, (PyTypeObject *)tls->state->SSLCertVerificationError);
        rc = fail_with(tls, error,
                       of_certificate
                           ? "SSL handshake failed on verifying the certificate"
                           : "SSL handshake failed");
    }
    if (rc == 0) {
        rc = wake_waiter(tls, error);
    }
    Py_DECREF(error);
    return rc;
}

/* Debug mode: how long it took. 0 or -1. */
static int
log_handshake(Tls *tls)
{
    double now;
    if (CL_LIKELY(!is_debug(tls))) {
        return 0;
    }
    if (read_time(tls, &now) < 0) {
        return -1;
    }
    PyObject *result = PyObject_CallMethod(
        tls->state->logger, "debug", "sOd", "%r: SSL handshake took %.1f ms",
        (PyObject *)tls, tls->started < 0 ? 0.0 : (now - tls->started) * 1e3);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Both sides are content. 0 or -1. */
static int
finish_handshake(Tls *tls)
{
    if (tls->phase != CL_TLS_HANDSHAKE) {
        return 0; /* a callback of the context has aborted */
    }
    cancel_timer(tls);
    tls->phase = CL_TLS_WRAPPED;
    tls->established = true;
    if (log_handshake(tls) < 0) {
        return -1;
    }
    if (tls->told == CL_TLS_TOLD_MADE) { /* start_tls */
        if (tls_write_backlog(tls, false) < 0 || wake_waiter(tls, Py_None) < 0) {
            return -1;
        }
        return call_soon(tls, tls->state->str_do_read);
    }
    if (tls->told == CL_TLS_TOLD_NOTHING && tls->protocol != NULL) {
        tls->told = CL_TLS_TOLD_MADE;
        PyObject *protocol = Py_NewRef(tls->protocol);
        PyObject *result = PyObject_CallMethodOneArg(
            protocol, tls->state->str_connection_made, (PyObject *)tls);
        Py_DECREF(protocol);
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    if (wake_waiter(tls, Py_None) < 0 || tls_read(tls) < 0) {
        return -1;
    }
    return tls_send(tls); /* also when reading is paused */
}

/* Goes on with the handshake. 0 or -1. */
static int
do_handshake(Tls *tls)
{
    if (tls->phase != CL_TLS_HANDSHAKE || tls->busy) {
        return 0;
    }
    switch (ask_way(tls, way_handshake)) {
    case CL_TLS_DONE:
        return finish_handshake(tls);
    case CL_TLS_AGAIN:
        return tls_send(tls);
    default:
        return PyErr_ExceptionMatches(tls->state->SSLError) ? fail_handshake(tls) : -1;
    }
}

/* start_tls on a connection that is lost: nothing else will come from below. (Stock waits
 * for the handshake's timeout.) 0 or -1. */
static int
lose_before_handshake(Tls *tls)
{
    PyObject *error = PyObject_CallNoArgs(PyExc_ConnectionResetError);
    int rc = error == NULL ? -1 : tls_connection_lost(tls, error);
    Py_XDECREF(error);
    return rc;
}

int
tls_connection_made(Tls *tls, PyObject *lower)
{
    if (lower_attach(tls, lower) < 0) {
        return -1;
    }
    if (tls->closed) { /* before it began */
        return lower_abort(tls);
    }
    tls->started = -1.0;
    if (is_debug(tls)
        && (log_debug(tls, "%r starts SSL handshake") < 0
            || read_time(tls, &tls->started) < 0)) {
        return -1;
    }
    tls->phase = CL_TLS_HANDSHAKE;
    if (lower_is_lost(tls)) {
        return lose_before_handshake(tls);
    }
    if (start_timer(tls, tls->handshake_timeout, tls->state->str_check_handshake) < 0) {
        return -1;
    }
    return do_handshake(tls);
}

int
tls_check_handshake_timeout(Tls *tls)
{
    if (tls->phase != CL_TLS_HANDSHAKE) {
        return 0;
    }
    PyObject *text =
        PyUnicode_FromFormat("SSL handshake is taking longer than %S seconds: "
                             "aborting the connection",
                             tls->handshake_timeout);
    PyObject *error =
        text == NULL ? NULL : PyObject_CallOneArg(PyExc_ConnectionAbortedError, text);
    Py_XDECREF(text);
    if (error == NULL) {
        return -1;
    }
    int rc = fail_with(tls, error, "Fatal error on transport");
    Py_DECREF(error);
    return rc;
}

/* -- shutdown ---------------------------------------------------------------------- */

/* The raised exception has ended the shutdown. 0 or -1. */
static int
fail_shutdown(Tls *tls)
{
    if (!PyErr_ExceptionMatches(tls->state->SSLError)) {
        return -1;
    }
    cancel_timer(tls);
    return tls_fail(tls, "Fatal error on transport");
}

/* Goes on with the exchange of close_notify. 0 or -1. */
static int
do_shutdown(Tls *tls)
{
    if (tls->busy) {
        return tls_resume_soon(tls);
    }
    if (!tls->eof) {
        if (tls_control_reading(tls) < 0) {
            return -1;
        }
        if (tls->phase != CL_TLS_SHUTDOWN) {
            return 0;
        }
        TlsAnswer answer = tls_discard(tls);
        if (answer != CL_TLS_FAILED) {
            answer = ask_way(tls, way_shutdown);
        }
        if (answer == CL_TLS_FAILED) {
            return fail_shutdown(tls);
        }
        if (tls->way->send(tls) < 0) {
            return -1;
        }
        if (answer == CL_TLS_AGAIN) {
            return tls_control_writing(tls);
        }
    }
    else if (tls->way->send(tls) < 0) {
        return -1;
    }
    if (tls_tell_eof(tls) < 0) {
        return -1;
    }
    if (!CL_SHUTDOWN_TIMEOUT_TO_THE_END) {
        cancel_timer(tls);
    }
    else if (tls->timer == NULL
             && start_timer(tls, tls->shutdown_timeout, tls->state->str_check_shutdown)
                    < 0) {
        return -1;
    }
    return lower_close_soon(tls);
}

/* Hands up and sends down what is left, then begins the shutdown. 0 or -1. */
static int
do_flush(Tls *tls)
{
    if (tls->busy) { /* close() by a callback of the context, in a renegotiation */
        return tls_resume_soon(tls);
    }
    if (tls_read(tls) < 0) {
        return -1;
    }
    if (tls->phase != CL_TLS_FLUSHING) {
        return 0;
    }
    if (tls_write_backlog(tls, true) < 0) {
        return -1;
    }
    if (tls->phase != CL_TLS_FLUSHING
        || (!outq_is_empty(&tls->backlog) && !tls->eof && !tls->finished)) {
        return 0;
    }
    tls->phase = CL_TLS_SHUTDOWN;
    return do_shutdown(tls);
}

int
tls_start_shutdown(Tls *tls)
{
    switch (tls->phase) {
    case CL_TLS_WRAPPED:
        break;
    case CL_TLS_HANDSHAKE:
        return tls_abort(tls, Py_None);
    case CL_TLS_FLUSHING:
        if (tls->eof && tls->reading_paused) {
            /* It waited for the user to read on, who never will now. */
            tls->closed = true;
            tls->phase = CL_TLS_SHUTDOWN;
            return do_shutdown(tls);
        }
        return 0;
    default:
        tls->closed = tls->closed || tls->lower == NULL;
        return 0;
    }
    tls->closed = true;
    tls->phase = CL_TLS_FLUSHING;
    if (start_timer(tls, tls->shutdown_timeout, tls->state->str_check_shutdown) < 0) {
        return -1;
    }
    return do_flush(tls);
}

int
tls_check_shutdown_timeout(Tls *tls)
{
    if (tls->phase != CL_TLS_FLUSHING && tls->phase != CL_TLS_SHUTDOWN) {
        return 0;
    }
    PyObject *error = PyObject_CallFunction(tls->state->asyncio_TimeoutError, "s",
                                            "SSL shutdown timed out");
    if (error == NULL) {
        return -1;
    }
    int rc = lower_force_close(tls, error);
    Py_DECREF(error);
    return rc;
}

int
tls_abort(Tls *tls, PyObject *exception)
{
    tls->closed = true;
    /* What was written before is with the kernel on stock. */
    if (exception == Py_None ? tls_flush(tls) < 0 : tls_flush_last(tls) < 0) {
        return -1;
    }
    tls->phase = CL_TLS_UNWRAPPED;
    return exception == Py_None ? lower_abort(tls) : lower_force_close(tls, exception);
}

int
tls_tell_eof(Tls *tls)
{
    if (tls->told != CL_TLS_TOLD_MADE || tls->protocol == NULL) {
        return 0;
    }
    tls->told = CL_TLS_TOLD_EOF;
    PyObject *protocol = Py_NewRef(tls->protocol);
    PyObject *result =
        PyObject_CallMethodNoArgs(protocol, tls->state->str_eof_received);
    Py_DECREF(protocol);
    int keep_open = result == NULL ? -1 : PyObject_IsTrue(result);
    Py_XDECREF(result);
    if (keep_open > 0) {
        result = PyObject_CallMethod(tls->state->logger, "warning", "s",
                                     "returning true from eof_received() has no "
                                     "effect when using ssl");
        keep_open = result == NULL ? -1 : 0;
        Py_XDECREF(result);
    }
    if (keep_open < 0) {
        if (err_is_exit()) {
            return -1;
        }
        PyObject *error = PyErr_GetRaisedException();
        int rc = fail_with(tls, error, "Error calling eof_received()");
        Py_DECREF(error);
        return rc;
    }
    return 0;
}

/* -- from below -------------------------------------------------------------------- */

static int
advance(Tls *tls)
{
    if (CL_UNLIKELY(tls->busy)) {
        return 0; /* who asks OpenSSL now reads on */
    }
    switch (tls->phase) {
    case CL_TLS_HANDSHAKE:
        return do_handshake(tls);
    case CL_TLS_WRAPPED:
        return tls_read(tls);
    case CL_TLS_FLUSHING:
        return do_flush(tls);
    case CL_TLS_SHUTDOWN:
        return do_shutdown(tls);
    default:
        return 0;
    }
}

int
tls_resume(Tls *tls)
{
    return tls->phase == CL_TLS_HANDSHAKE ? 0 : advance(tls);
}

int
tls_data_received(Tls *tls, const char *data, size_t size)
{
    if (tls->phase == CL_TLS_UNWRAPPED || size == 0) {
        return 0;
    }
    /* What was written before is with the kernel on stock; OpenSSL sends no more once it
     * has read what it cannot take. */
    if (tls_flush(tls) < 0) {
        return -1;
    }
    if (tls->phase == CL_TLS_UNWRAPPED) {
        return 0; /* that has failed */
    }
    if (arrival_add(tls, data, size) < 0) {
        return -1;
    }
    int rc = advance(tls);
    if (CL_UNLIKELY(rc < 0)) {
        PyObject *raised = PyErr_GetRaisedException();
        if (arrival_settle(tls) < 0) {
            PyErr_Clear();
        }
        PyErr_SetRaisedException(raised);
        return -1;
    }
    return arrival_settle(tls);
}

static int
end_of_file(Tls *tls, bool *keep_open)
{
    tls->eof = true;
    if (log_debug(tls, "%r received EOF") < 0) {
        return -1;
    }
    switch (tls->phase) {
    case CL_TLS_HANDSHAKE:
        PyErr_SetNone(PyExc_ConnectionResetError);
        return fail_handshake(tls);
    case CL_TLS_WRAPPED:
        tls->phase = CL_TLS_FLUSHING;
        if (tls->reading_paused) {
            *keep_open = true;
            return 0;
        }
        return do_flush(tls);
    case CL_TLS_FLUSHING:
        if (tls_write_backlog(tls, true) < 0) {
            return -1;
        }
        if (tls->phase != CL_TLS_FLUSHING) {
            return 0;
        }
        tls->phase = CL_TLS_SHUTDOWN;
        return do_shutdown(tls);
    case CL_TLS_SHUTDOWN:
        return do_shutdown(tls);
    default:
        return 0;
    }
}

int
tls_eof_received(Tls *tls, bool *keep_open)
{
    int rc = end_of_file(tls, keep_open);
    if (rc == 0 || !PyErr_ExceptionMatches(PyExc_Exception)) {
        return rc;
    }
    PyObject *raised = PyErr_GetRaisedException();
    if (lower_close_soon(tls) < 0) {
        PyErr_Clear();
    }
    PyErr_SetRaisedException(raised);
    return -1;
}

void
tls_release(Tls *tls)
{
    tls->way->close(tls);
    tls->way = &tls_portable; /* which asks for nothing without its objects */
    Py_CLEAR(tls->incoming);
    Py_CLEAR(tls->outgoing);
    Py_CLEAR(tls->inner);
    Py_CLEAR(tls->sslobj);
    Py_CLEAR(tls->context);
}

int
tls_connection_lost(Tls *tls, PyObject *exception)
{
    if (tls->finished) {
        return 0;
    }
    TlsPhase phase = tls->phase;
    PyObject *protocol = tls->protocol;
    int rc = 0;
    tls->finished = true;
    tls->closed = true;
    tls->stream = NULL;
    tls->phase = CL_TLS_UNWRAPPED;
    tls->protocol = NULL;
    tls->conn_lost++;
    if (!tls->busy) { /* else OpenSSL may read it: tls_write_backlog drops it then */
        tls_drop_backlog(tls);
    }
    tls->way->drop(tls);
    cancel_timer(tls);
    if (phase != CL_TLS_HANDSHAKE
        && (tls->told == CL_TLS_TOLD_MADE || tls->told == CL_TLS_TOLD_EOF)) {
        tls->told = CL_TLS_TOLD_LOST;
        PyObject *lost = PyObject_GetAttr(protocol, tls->state->str_connection_lost);
        rc = lost == NULL ? -1
                          : loop_call_soon(tls->state, (PyObject *)tls->loop, lost,
                                           exception, NULL);
        Py_XDECREF(lost);
    }
    Py_XDECREF(protocol);
    if (rc == 0) {
        rc = wake_waiter(tls, exception);
    }
    if (tls->let_go) {
        tls_release(tls);
    }
    return rc;
}
