/* The work of StreamReader.read and its like: attempts to answer out of the reader's
 * buffer (see reader.h). Called by reader_op.c, on the loop's thread, at the first send()
 * and each time that something has come.
 *
 * An attempt follows asyncio's code step by step. Its exception is looked at before the
 * first wait only, as there: later ones come through the waiter. */
#include "reader.h"

#include <string.h>

#include "../py/stop.h"
#include "stream.h"

/* Borrowed: the reader's buffer, or NULL (no exception) when it is not a bytearray. */
static PyObject *
get_buffer(State *state, PyObject *dict)
{
    PyObject *buffer = reader_field(state, dict, CL_READER_BUFFER);
    return buffer != NULL && PyByteArray_CheckExact(buffer) ? buffer : NULL;
}

/* 1 when no more will come, 0, or -1 (no exception): not plain. */
static int
is_eof(State *state, PyObject *dict)
{
    PyObject *eof = reader_field(state, dict, CL_READER_EOF);
    return eof == Py_True ? 1 : eof == Py_False ? 0 : -1;
}

/* False when the first attempt is to be asyncio's: it has an exception to raise. */
static bool
may_begin(const ReaderOp *op, PyObject *dict)
{
    return op->waited
           || reader_field(op->loop->state, dict, CL_READER_EXCEPTION) == Py_None;
}

/* New ref: the first size bytes of the buffer as bytes, which leave it. */
static PyObject *
take(State *state, PyObject *reader, PyObject *dict, PyObject *buffer, Py_ssize_t size)
{
    PyObject *bytes = stop_reuse_bytes(state, size);
    if (bytes != NULL) {
        memcpy(PyBytes_AS_STRING(bytes), PyByteArray_AS_STRING(buffer), (size_t)size);
    }
    else {
        bytes = PyBytes_FromStringAndSize(PyByteArray_AS_STRING(buffer), size);
    }
    if (bytes == NULL || spares_drop(&state->spares, buffer, size) < 0) {
        Py_XDECREF(bytes);
        return NULL;
    }
    if (CL_UNLIKELY(reader_field(state, dict, CL_READER_PAUSED) != Py_False)) {
        PyObject *resumed =
            PyObject_CallMethodNoArgs(reader, state->str_maybe_resume_transport);
        if (resumed == NULL) {
            Py_CLEAR(bytes);
        }
        Py_XDECREF(resumed);
    }
    return bytes;
}

static int
answer(ReaderOp *op, PyObject *dict, PyObject *buffer, Py_ssize_t size,
       PyObject **result)
{
    *result = take(op->loop->state, op->target, dict, buffer, size);
    return *result != NULL ? CL_READER_DONE : -1;
}

/* New ref: all that is left, the end having come too early. */
static PyObject *
take_rest(State *state, PyObject *buffer)
{
    Py_ssize_t size = PyByteArray_GET_SIZE(buffer);
    PyObject *rest = PyBytes_FromStringAndSize(PyByteArray_AS_STRING(buffer), size);
    if (rest != NULL && spares_drop(&state->spares, buffer, size) < 0) {
        Py_CLEAR(rest);
    }
    return rest;
}

/* Raises IncompleteReadError(what is left, expected). */
static int
raise_incomplete(State *state, PyObject *buffer, PyObject *expected)
{
    PyObject *rest = take_rest(state, buffer);
    PyObject *error = rest == NULL
                          ? NULL
                          : PyObject_CallFunctionObjArgs(state->IncompleteReadError,
                                                         rest, expected, NULL);
    if (error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
    Py_XDECREF(rest);
    return -1;
}

/* *size: the argument as a number; false when it is not a plain one. */
static bool
get_size(const ReaderOp *op, Py_ssize_t *size)
{
    if (op->argument == NULL) {
        *size = -1;
        return true;
    }
    if (!PyLong_CheckExact(op->argument)) {
        return false;
    }
    *size = PyLong_AsSsize_t(op->argument);
    if (*size == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    return true;
}

/* -- read -------------------------------------------------------------------------- */

/* All that came, joined. */
static int
join_blocks(ReaderOp *op, PyObject **result)
{
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    *result =
        empty == NULL ? NULL : PyObject_CallMethod(empty, "join", "(O)", op->blocks);
    Py_XDECREF(empty);
    return *result != NULL ? CL_READER_DONE : -1;
}

/* read(-1): as read(limit) again and again until the end. */
static int
read_all(ReaderOp *op, PyObject *dict, PyObject **result)
{
    State *state = op->loop->state;
    bool woken = op->waited;
    if (op->blocks == NULL) {
        op->blocks = PyList_New(0);
        if (op->blocks == NULL) {
            return -1;
        }
    }
    for (;;) {
        PyObject *exception = reader_field(state, dict, CL_READER_EXCEPTION);
        PyObject *buffer = get_buffer(state, dict);
        Py_ssize_t limit = reader_limit(state, dict);
        int eof = is_eof(state, dict);
        bool plain = buffer != NULL && limit > 0 && eof >= 0 && exception != NULL;
        if (!plain && PyList_GET_SIZE(op->blocks) == 0) {
            return CL_READER_STOCK;
        }
        if (!plain) {
            PyErr_SetString(PyExc_RuntimeError,
                            "the reader's attributes were changed in the middle");
            return -1;
        }
        if (!woken && exception != Py_None) {
            if (!PyExceptionInstance_Check(exception)) {
                return CL_READER_STOCK;
            }
            PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
            return -1;
        }
        Py_ssize_t size = PyByteArray_GET_SIZE(buffer);
        if (!woken && size == 0 && eof == 0) {
            return CL_READER_WAIT;
        }
        woken = false;
        if (size == 0) {
            return join_blocks(op, result);
        }
        PyObject *block =
            take(state, op->target, dict, buffer, size < limit ? size : limit);
        int rc = block == NULL ? -1 : PyList_Append(op->blocks, block);
        Py_XDECREF(block);
        if (rc < 0) {
            return -1;
        }
    }
}

static int
attempt_read(ReaderOp *op, PyObject *dict, PyObject **result)
{
    State *state = op->loop->state;
    PyObject *buffer = get_buffer(state, dict);
    int eof = is_eof(state, dict);
    Py_ssize_t wanted;
    if (buffer == NULL || eof < 0 || !get_size(op, &wanted)) {
        return CL_READER_STOCK;
    }
    if (wanted < 0) {
        return read_all(op, dict, result);
    }
    if (!may_begin(op, dict)) {
        return CL_READER_STOCK;
    }
    Py_ssize_t size = PyByteArray_GET_SIZE(buffer);
    if (wanted == 0) {
        *result = PyBytes_FromStringAndSize(NULL, 0);
        return *result != NULL ? CL_READER_DONE : -1;
    }
    if (size == 0 && !eof && !op->waited) {
        return CL_READER_WAIT;
    }
    return answer(op, dict, buffer, size < wanted ? size : wanted, result);
}

/* -- readexactly ------------------------------------------------------------------- */

static int
attempt_readexactly(ReaderOp *op, PyObject *dict, PyObject **result)
{
    State *state = op->loop->state;
    PyObject *buffer = get_buffer(state, dict);
    Py_ssize_t wanted;
    if (buffer == NULL || !get_size(op, &wanted) || wanted < 0
        || !may_begin(op, dict)) {
        return CL_READER_STOCK;
    }
    if (wanted == 0) {
        *result = PyBytes_FromStringAndSize(NULL, 0);
        return *result != NULL ? CL_READER_DONE : -1;
    }
    if (PyByteArray_GET_SIZE(buffer) < wanted) {
        int eof = is_eof(state, dict);
        return eof > 0    ? raise_incomplete(state, buffer, op->argument)
               : eof == 0 ? CL_READER_WAIT
                          : CL_READER_STOCK;
    }
    return answer(op, dict, buffer, wanted, result);
}

/* -- readuntil, readline ----------------------------------------------------------- */

/* Where the separator begins, from offset on; -1: nowhere. */
static Py_ssize_t
find(PyObject *buffer, Py_ssize_t offset, const char *separator, size_t length)
{
    const char *data = PyByteArray_AS_STRING(buffer);
    size_t size = (size_t)(PyByteArray_GET_SIZE(buffer) - offset);
    const char *found = length == 1 ? memchr(data + offset, separator[0], size)
                                    : memmem(data + offset, size, separator, length);
    return found == NULL ? -1 : found - data;
}

/* What readuntil and readline share. CL_READER_DONE; CL_READER_WAIT; CL_READER_STOCK;
 * or CL_AT_END: the end has come first. */
#define CL_AT_END 10

static int
search(ReaderOp *op, PyObject *dict, const char *separator, Py_ssize_t length,
       PyObject **result)
{
    State *state = op->loop->state;
    PyObject *buffer = get_buffer(state, dict);
    Py_ssize_t limit = reader_limit(state, dict);
    if (buffer == NULL || limit < 0 || !may_begin(op, dict)) {
        return CL_READER_STOCK;
    }
    Py_ssize_t size = PyByteArray_GET_SIZE(buffer);
    if (size - op->offset >= length) {
        Py_ssize_t found = find(buffer, op->offset, separator, (size_t)length);
        if (found >= 0) {
            return found > limit ? CL_READER_STOCK
                                 : answer(op, dict, buffer, found + length, result);
        }
        op->offset = size + 1 - length;
        if (op->offset > limit) {
            return CL_READER_STOCK;
        }
    }
    int eof = is_eof(state, dict);
    return eof > 0 ? CL_AT_END : eof == 0 ? CL_READER_WAIT : CL_READER_STOCK;
}

static int
attempt_readuntil(ReaderOp *op, PyObject *dict, PyObject **result)
{
    const char *separator = "\n";
    Py_ssize_t length = 1;
    if (op->argument != NULL) {
        if (!PyBytes_CheckExact(op->argument) || PyBytes_GET_SIZE(op->argument) == 0) {
            return CL_READER_STOCK;
        }
        separator = PyBytes_AS_STRING(op->argument);
        length = PyBytes_GET_SIZE(op->argument);
    }
    int rc = search(op, dict, separator, length, result);
    return rc == CL_AT_END ? raise_incomplete(
               op->loop->state, get_buffer(op->loop->state, dict), Py_None)
                           : rc;
}

static int
attempt_readline(ReaderOp *op, PyObject *dict, PyObject **result)
{
    int rc = search(op, dict, "\n", 1, result);
    if (rc != CL_AT_END) {
        return rc;
    }
    *result = take_rest(op->loop->state, get_buffer(op->loop->state, dict));
    return *result != NULL ? CL_READER_DONE : -1;
}

static int
attempt_anext(ReaderOp *op, PyObject *dict, PyObject **result)
{
    int rc = attempt_readline(op, dict, result);
    if (rc == CL_READER_DONE && PyBytes_GET_SIZE(*result) == 0) {
        Py_CLEAR(*result);
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return -1;
    }
    return rc;
}

/* -- drain ------------------------------------------------------------------------- */

/* True when transport.is_closing() is False. */
static bool
is_open(State *state, PyObject *transport)
{
    if (CL_LIKELY(Py_IS_TYPE(transport, state->StreamTransportType))) {
        return !((Transport *)transport)->closing;
    }
    PyObject *closing = PyObject_CallMethodNoArgs(transport, state->str_is_closing);
    PyErr_Clear();
    Py_XDECREF(closing);
    return closing == Py_False;
}

/* True when the protocol's _drain_helper() has nothing to wait for. */
static bool
is_writable(State *state, PyObject *protocol)
{
    if (!reader_is_protocol(state, protocol)
        || !reader_class_is_plain(state, CL_READER_PROTOCOL_CLASS)) {
        return false;
    }
    PyObject *dict = reader_vars(protocol);
    bool writable =
        dict != NULL
        && reader_field(state, dict, CL_PROTOCOL_CONNECTION_LOST) == Py_False
        && reader_field(state, dict, CL_PROTOCOL_PAUSED) == Py_False
        && reader_get(dict, state->str_drain_helper) == NULL;
    Py_XDECREF(dict);
    return writable;
}

/* True when reader.exception() is None. */
static bool
has_no_exception(State *state, PyObject *reader)
{
    if (reader == Py_None) {
        return true;
    }
    if (!Py_IS_TYPE(reader, state->NativeReaderType)) {
        return false;
    }
    PyObject *dict = reader_attributes(state, reader);
    bool none =
        dict != NULL && reader_field(state, dict, CL_READER_EXCEPTION) == Py_None;
    Py_XDECREF(dict);
    return none;
}

static int
attempt_drain(ReaderOp *op, PyObject *dict, PyObject **result)
{
    State *state = op->loop->state;
    PyObject *reader = reader_field(state, dict, CL_WRITER_READER);
    PyObject *transport = reader_field(state, dict, CL_WRITER_TRANSPORT);
    PyObject *protocol = reader_field(state, dict, CL_WRITER_PROTOCOL);
    if (reader == NULL || transport == NULL || protocol == NULL
        || !has_no_exception(state, reader) || !is_writable(state, protocol)
        || !is_open(state, transport)) {
        return CL_READER_STOCK;
    }
    *result = Py_NewRef(Py_None);
    return CL_READER_DONE;
}

#define CL_READER_KIND(name)                                                           \
    const ReaderOpKind reader_op_##name = {"StreamReader", #name, attempt_##name, false}

CL_READER_KIND(read);
CL_READER_KIND(readline);
CL_READER_KIND(readuntil);
CL_READER_KIND(readexactly);
const ReaderOpKind reader_op_anext = {"StreamReader", "__anext__", attempt_anext,
                                      false};
const ReaderOpKind reader_op_drain = {"StreamWriter", "drain", attempt_drain, true};
