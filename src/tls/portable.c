/* The portable way to OpenSSL: the methods of the object that SSLContext.wrap_bio made,
 * between two ssl.MemoryBIOs. Called by the engine; needs nothing but the ssl module.
 *
 * Memory goes in and out through memoryviews that end with the call: nothing is copied
 * but by the MemoryBIOs themselves. */
#include "tls.h"
#include "ways.h"

/* -- shared with direct.c ---------------------------------------------------------- */

TlsAnswer
way_translate_error(Tls *tls)
{
    State *state = tls->state;
    if (PyErr_ExceptionMatches(state->SSLWantReadError)
        || PyErr_ExceptionMatches(state->SSLSyscallError)) {
        PyErr_Clear();
        return CL_TLS_AGAIN;
    }
    if (PyErr_ExceptionMatches(state->SSLZeroReturnError)) {
        PyErr_Clear();
        return CL_TLS_END;
    }
    return CL_TLS_FAILED;
}

/* inner.name(arg), arg may be NULL; inner lives until it has returned, whatever callbacks
 * of the user's context do meanwhile. New ref or NULL. */
static PyObject *
call_inner(Tls *tls, PyObject *name, PyObject *arg)
{
    if (tls->inner == NULL) {
        PyErr_SetString(PyExc_ConnectionAbortedError, "the TLS connection is closed");
        return NULL;
    }
    PyObject *inner = Py_NewRef(tls->inner);
    PyObject *result = arg == NULL ? PyObject_CallMethodNoArgs(inner, name)
                                   : PyObject_CallMethodOneArg(inner, name, arg);
    Py_DECREF(inner);
    return result;
}

/* -- into the MemoryBIO ------------------------------------------------------------ */

/* Something may be there: read and see. */
#define CL_UNKNOWN_SIZE 4096
/* A record, and what is around its cleartext. */
#define CL_HELD_SIZE (17 * 1024)

/* The number `pending` (stolen, may be NULL), or `unknown` when an exception is raised,
 * which goes: for want of memory the sizes of what is there may not be known. */
static size_t
take_count(PyObject *pending, size_t unknown)
{
    size_t count = pending == NULL ? 0 : PyLong_AsSize_t(pending);
    Py_XDECREF(pending);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return unknown;
    }
    return count;
}

/* bio.pending; 0 without a bio. */
static size_t
count_pending(Tls *tls, PyObject *bio, size_t unknown)
{
    return take_count(
        bio == NULL ? NULL : PyObject_GetAttr(bio, tls->state->str_pending), unknown);
}

/* New ref: a view that nobody can use after release_view. */
static PyObject *
make_view(const char *data, size_t size, int flags)
{
    return PyMemoryView_FromMemory((char *)data, (Py_ssize_t)size, flags);
}

static void
release_view(PyObject *view)
{
    if (view == NULL) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *result = PyObject_CallMethod(view, "release", NULL);
    if (result == NULL) {
        PyErr_WriteUnraisable(view);
    }
    Py_XDECREF(result);
    Py_DECREF(view);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

/* Moves some of what has come in into the MemoryBIO, when that holds less than a record.
 * (It never gives back the memory which it has once needed.) How many bytes, or -1. */
static Py_ssize_t
pump(Tls *tls)
{
    size_t held;
    if (tls->in_size == 0 || tls->incoming == NULL
        || (held = count_pending(tls, tls->incoming, 0)) >= CL_HELD_SIZE) {
        return 0;
    }
    size_t room = 2 * CL_HELD_SIZE - held;
    size_t size = tls->in_size < room ? tls->in_size : room;
    PyObject *view = make_view(tls->in_data, size, PyBUF_READ);
    PyObject *result =
        view == NULL
            ? NULL
            : PyObject_CallMethodOneArg(tls->incoming, tls->state->str_write, view);
    release_view(view);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    tls->in_data += size;
    tls->in_size -= size;
    return (Py_ssize_t)size;
}

/* After AGAIN: DONE when there is more to try with, AGAIN, or FAILED. */
static TlsAnswer
feed_more(Tls *tls)
{
    Py_ssize_t count = pump(tls);
    return count > 0 ? CL_TLS_DONE : count == 0 ? CL_TLS_AGAIN : CL_TLS_FAILED;
}

/* -- handshake and shutdown -------------------------------------------------------- */

/* A method without arguments, once. */
static TlsAnswer
ask_inner_once(Tls *tls, PyObject *name)
{
    PyObject *result = call_inner(tls, name, NULL);
    if (CL_UNLIKELY(tls->out_of_memory)) { /* the method took it for something else */
        tls->out_of_memory = false;
        Py_XDECREF(result);
        PyErr_Clear();
        PyErr_NoMemory();
        return CL_TLS_FAILED;
    }
    if (result == NULL) {
        return PyErr_ExceptionMatches(tls->state->SSLZeroReturnError)
                   ? CL_TLS_FAILED
                   : way_translate_error(tls);
    }
    Py_DECREF(result);
    return CL_TLS_DONE;
}

static TlsAnswer
ask_inner(Tls *tls, PyObject *name)
{
    TlsAnswer answer = pump(tls) < 0 ? CL_TLS_FAILED : CL_TLS_DONE;
    while (answer == CL_TLS_DONE) {
        answer = ask_inner_once(tls, name);
        if (answer != CL_TLS_AGAIN) {
            return answer;
        }
        answer = feed_more(tls);
    }
    return answer;
}

TlsAnswer
way_handshake(Tls *tls)
{
    return ask_inner(tls, tls->state->str_do_handshake);
}

TlsAnswer
way_shutdown(Tls *tls)
{
    return ask_inner(tls, tls->inner == tls->sslobj ? tls->state->str_unwrap
                                                    : tls->state->str_shutdown);
}

/* -- the way ----------------------------------------------------------------------- */

static int
portable_open(Tls *Py_UNUSED(tls))
{
    return 0;
}

static void
portable_close(Tls *tls)
{
    arrival_drop(tls);
}

static size_t
portable_count_in(Tls *tls)
{
    return tls->in_size + count_pending(tls, tls->incoming, 0);
}

static size_t
portable_expect(Tls *tls)
{
    if (tls->inner == NULL) {
        return 0;
    }
    return tls->in_size + count_pending(tls, tls->incoming, CL_UNKNOWN_SIZE)
           + take_count(call_inner(tls, tls->state->str_pending, NULL),
                        CL_UNKNOWN_SIZE);
}

static TlsAnswer
read_once(Tls *tls, char *data, size_t size, size_t *got)
{
    PyObject *view = make_view(data, size, PyBUF_WRITE);
    PyObject *wanted = view == NULL ? NULL : PyLong_FromSize_t(size);
    PyObject *count = NULL;
    if (wanted != NULL && tls->inner != NULL) {
        PyObject *stack[3] = {Py_NewRef(tls->inner), wanted, view};
        count = PyObject_VectorcallMethod(tls->state->str_read, stack, 3, NULL);
        Py_DECREF(stack[0]);
    }
    release_view(view);
    Py_XDECREF(wanted);
    if (count == NULL) {
        return way_translate_error(tls);
    }
    *got = PyLong_AsSize_t(count);
    Py_DECREF(count);
    if (*got > size) { /* no number: it has raised */
        return CL_TLS_FAILED;
    }
    return *got == 0 ? CL_TLS_END : CL_TLS_DONE;
}

static TlsAnswer
portable_read(Tls *tls, char *data, size_t size, size_t *got)
{
    TlsAnswer answer = pump(tls) < 0 ? CL_TLS_FAILED : CL_TLS_DONE;
    while (answer == CL_TLS_DONE) {
        answer = read_once(tls, data, size, got);
        if (answer != CL_TLS_AGAIN) {
            return answer;
        }
        answer = feed_more(tls);
    }
    return answer;
}

static TlsAnswer
write_once(Tls *tls, const char *data, size_t size, size_t *taken)
{
    PyObject *view = make_view(data, size, PyBUF_READ);
    PyObject *count =
        view == NULL ? NULL : call_inner(tls, tls->state->str_write, view);
    release_view(view);
    if (count == NULL) {
        TlsAnswer answer = way_translate_error(tls);
        return answer == CL_TLS_FAILED ? CL_TLS_FAILED : CL_TLS_AGAIN;
    }
    *taken = PyLong_AsSize_t(count);
    Py_DECREF(count);
    if (*taken > size) {
        *taken = 0;
        return CL_TLS_FAILED;
    }
    return *taken == 0 ? CL_TLS_AGAIN : CL_TLS_DONE;
}

/* (In a renegotiation it reads, too.) */
static TlsAnswer
portable_write(Tls *tls, const char *data, size_t size, size_t *taken)
{
    TlsAnswer answer = pump(tls) < 0 ? CL_TLS_FAILED : CL_TLS_DONE;
    while (answer == CL_TLS_DONE) {
        answer = write_once(tls, data, size, taken);
        if (answer != CL_TLS_AGAIN) {
            return answer;
        }
        answer = feed_more(tls);
    }
    return answer;
}

static size_t
portable_count_out(Tls *tls)
{
    return count_pending(tls, tls->outgoing, 0);
}

static int
portable_send(Tls *tls)
{
    if (tls->outgoing == NULL || count_pending(tls, tls->outgoing, 1) == 0) {
        return 0;
    }
    PyObject *bytes = PyObject_CallMethodNoArgs(tls->outgoing, tls->state->str_read);
    if (bytes == NULL) {
        return -1;
    }
    int rc = PyBytes_GET_SIZE(bytes) > 0 ? lower_write_bytes(tls, bytes) : 0;
    Py_DECREF(bytes);
    return rc;
}

static void
portable_drop(Tls *tls)
{
    arrival_drop(tls);
    PyObject *result =
        tls->outgoing == NULL
            ? NULL
            : PyObject_CallMethodNoArgs(tls->outgoing, tls->state->str_read);
    Py_XDECREF(result);
    if (PyErr_Occurred()) {
        PyErr_Clear();
    }
}

const TlsWay tls_portable = {
    .name = "portable",
    .chunk = 16 * 1024,
    .open = portable_open,
    .close = portable_close,
    .count_in = portable_count_in,
    .expect = portable_expect,
    .read = portable_read,
    .write = portable_write,
    .count_out = portable_count_out,
    .send = portable_send,
    .drop = portable_drop,
};
