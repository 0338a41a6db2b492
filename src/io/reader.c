/* Native streams: is everything as asyncio left it, adopting a connection's reader and
 * writer, feeding (see reader.h). Called by the transports, on the loop's thread.
 *
 * A class counts as left alone when the functions in it are those of asyncio.streams;
 * that is looked up once for each version of the class, which any assignment to an
 * attribute changes. */
#include "reader.h"

#include <string.h>

#include "../core/future.h"
#include "reader_lazy.h"

/* -- is all as asyncio left it? ---------------------------------------------------- */

/* What we stand in for, or what those functions call. */
static const char *const reader_methods[] = {
    "feed_data",   "_wakeup_waiter", "_wait_for_data", "_maybe_resume_transport",
    "exception",   "read",           "readline",       "readuntil",
    "readexactly", "__anext__",
};
static const char *const writer_methods[] = {"write", "drain"};
static const char *const protocol_methods[] = {"data_received", "_stream_reader",
                                               "_drain_helper"};

/* True for a function or property that asyncio.streams has defined under that name. */
static bool
is_original(State *state, PyTypeObject *type, const char *name)
{
    PyObject *found = PyObject_GetAttrString((PyObject *)type, name);
    if (found != NULL && Py_IS_TYPE(found, &PyProperty_Type)) {
        Py_SETREF(found, PyObject_GetAttrString(found, "fget"));
    }
    PyObject *defined_as = NULL;
    bool original = false;
    if (found != NULL && PyFunction_Check(found)
        && PyFunction_GET_GLOBALS(found) == state->streams_dict) {
        defined_as = PyObject_GetAttrString(PyFunction_GET_CODE(found), "co_name");
        original = defined_as != NULL && PyUnicode_Check(defined_as)
                   && PyUnicode_CompareWithASCIIString(defined_as, name) == 0;
    }
    Py_XDECREF(defined_as);
    Py_XDECREF(found);
    PyErr_Clear();
    return original;
}

bool
reader_class_look(State *state, ReaderClass which)
{
    static const struct {
        const char *const *names;
        size_t count;
    } methods[] = {
        [CL_READER_CLASS] = {reader_methods, CL_COUNT_OF(reader_methods)},
        [CL_WRITER_CLASS] = {writer_methods, CL_COUNT_OF(writer_methods)},
        [CL_READER_PROTOCOL_CLASS] = {protocol_methods, CL_COUNT_OF(protocol_methods)},
    };
    PyTypeObject *type = reader_class(state, which);
    state->stream_versions[which] = 0;
    for (size_t i = 0; i < methods[which].count; i++) {
        if (!is_original(state, type, methods[which].names[i])) {
            return false;
        }
    }
    reader_fields_learn(state, which);
    state->stream_versions[which] = compat_type_version(type);
    return true;
}

PyObject *
reader_vars(PyObject *op)
{
    PyObject *dict = compat_instance_dict(op);
    if (CL_UNLIKELY(dict == NULL)) {
        PyErr_Clear();
    }
    return dict;
}

/* The attributes that StreamReader.__init__ makes (one more in debug mode). */
#define CL_READER_ATTRIBUTES 8

/* True when the instance has methods of its own. */
static bool
overrides_methods(State *state, PyObject *dict)
{
    PyObject *const names[] = {
        state->str_feed_data,     state->str_wakeup_waiter,
        state->str_wait_for_data, state->str_maybe_resume_transport,
        state->str_exception,     state->str_read,
        state->str_readuntil,     state->str_readline,
    };
    for (size_t i = 0; i < CL_COUNT_OF(names); i++) {
        if (reader_get(dict, names[i]) != NULL) {
            return true;
        }
    }
    return false;
}

PyObject *
reader_attributes(State *state, PyObject *reader)
{
    if (!reader_class_is_plain(state, CL_READER_CLASS)) {
        return NULL;
    }
    PyObject *dict = reader_vars(reader);
    if (dict != NULL && CL_UNLIKELY(PyDict_GET_SIZE(dict) != CL_READER_ATTRIBUTES)
        && overrides_methods(state, dict)) {
        Py_CLEAR(dict);
    }
    return dict;
}

Py_ssize_t
reader_limit(State *state, PyObject *dict)
{
    PyObject *limit = reader_field(state, dict, CL_READER_LIMIT);
    if (limit == NULL || !PyLong_CheckExact(limit)) {
        return -1;
    }
    Py_ssize_t size = PyLong_AsSsize_t(limit);
    if (size == -1 && PyErr_Occurred()) {
        PyErr_Clear();
    }
    return size < 0 ? -1 : size;
}

/* A client's writer shows itself at its first write; others write to the transport too. */
#define CL_CALLER_TRIES 3 /* the most that Stream.writer_tries can count */

/* -- adopting ---------------------------------------------------------------------- */

/* True when the loop of the reader is one of ours that makes its futures as we do. */
static bool
has_plain_loop(State *state, PyObject *dict)
{
    PyObject *loop = reader_field(state, dict, CL_READER_LOOP);
    if (loop == NULL || loop_from(state, loop) == NULL) {
        return false;
    }
    PyObject *ours =
        PyObject_GetAttr((PyObject *)state->LoopType, state->str_create_future);
    PyObject *theirs =
        PyObject_GetAttr((PyObject *)Py_TYPE(loop), state->str_create_future);
    bool plain = ours != NULL && ours == theirs;
    Py_XDECREF(theirs);
    Py_XDECREF(ours);
    PyErr_Clear();
    return plain;
}

/* op.__class__ = type, which adds nothing to the instance. A failure is no more than an
 * occasion missed. */
static void
change_class(State *state, PyObject *op, PyTypeObject *type)
{
    if (PyObject_SetAttr(op, state->str_class, (PyObject *)type) < 0) {
        PyErr_Clear();
    }
}

static void
adopt_reader(State *state, PyObject *dict)
{
    PyObject *ref = reader_field(state, dict, CL_PROTOCOL_READER);
    PyObject *reader;
    if (ref == NULL || !PyWeakref_CheckRef(ref)
        || PyWeakref_GetRef(ref, &reader) <= 0) {
        PyErr_Clear();
        return;
    }
    if ((PyObject *)Py_TYPE(reader) == state->StreamReader) {
        PyObject *attributes = reader_attributes(state, reader);
        if (attributes != NULL && has_plain_loop(state, attributes)) {
            change_class(state, reader, state->NativeReaderType);
        }
        Py_XDECREF(attributes);
    }
    Py_DECREF(reader);
}

/* writer is a StreamWriter with these attributes. */
static void
make_writer_native(State *state, PyObject *writer, PyObject *dict)
{
    change_class(state, writer, state->NativeWriterType);
    if (CL_HAVE_SHARED_KEYS && Py_IS_TYPE(writer, state->NativeWriterType)) {
        reader_lazy_drop(state, dict, CL_WRITER_CLASS);
    }
}

/* What a server's protocol calls instead of its client_connected_cb, once: self is
 * (NativeWriter, client_connected_cb). Makes the writer native, puts things back and
 * goes on. There is no other moment between the writer's making and its first use. */
static PyObject *
client_connected(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyTypeObject *native = (PyTypeObject *)PyTuple_GET_ITEM(self, 0);
    PyObject *callback = PyTuple_GET_ITEM(self, 1);
    State *state = state_of_type(native);
    if (state == NULL) {
        return NULL;
    }
    PyObject *attributes = nargs == 2 ? reader_vars(args[1]) : NULL;
    if (attributes != NULL && (PyObject *)Py_TYPE(args[1]) == state->StreamWriter
        && reader_class_is_plain(state, CL_WRITER_CLASS)) {
        make_writer_native(state, args[1], attributes);
    }
    PyObject *protocol =
        attributes != NULL ? reader_field(state, attributes, CL_WRITER_PROTOCOL) : NULL;
    PyObject *dict = protocol != NULL ? reader_vars(protocol) : NULL;
    if (dict != NULL) {
        PyObject *now = reader_get(dict, state->str_client_connected_cb);
        if (now != NULL && PyCFunction_CheckExact(now)
            && PyCFunction_GET_SELF(now) == self
            && PyDict_SetItem(dict, state->str_client_connected_cb, callback) < 0) {
            PyErr_Clear();
        }
    }
    Py_XDECREF(dict);
    Py_XDECREF(attributes);
    return PyObject_Vectorcall(callback, args, (size_t)nargs, NULL);
}

static PyMethodDef client_connected_def = {
    "client_connected_cb", (PyCFunction)(void (*)(void))client_connected, METH_FASTCALL,
    NULL};

static void
adopt_writer(State *state, PyObject *dict)
{
    PyObject *callback = reader_get(dict, state->str_client_connected_cb);
    if (callback == NULL || callback == Py_None
        || reader_get(dict, state->str_private_transport) != Py_None
        || !reader_class_is_plain(state, CL_WRITER_CLASS)) {
        return;
    }
    PyObject *self = PyTuple_Pack(2, (PyObject *)state->NativeWriterType, callback);
    PyObject *hook = self != NULL ? PyCFunction_New(&client_connected_def, self) : NULL;
    if (hook == NULL
        || PyDict_SetItem(dict, state->str_client_connected_cb, hook) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(hook);
    Py_XDECREF(self);
}

static void
adopt_protocol(State *state, PyObject *protocol, PyObject *dict)
{
    if (!CL_HAVE_SHARED_KEYS || Py_IS_TYPE(protocol, state->NativeProtocolType)) {
        return;
    }
    change_class(state, protocol, state->NativeProtocolType);
    if (Py_IS_TYPE(protocol, state->NativeProtocolType)) {
        reader_lazy_drop(state, dict, CL_READER_PROTOCOL_CLASS);
    }
}

/* New ref: the `self` of the StreamWriter.write() that is running now, or NULL. May leave
 * an exception. */
static PyObject *
find_caller(State *state)
{
    PyObject *frame = (PyObject *)PyEval_GetFrame();
    PyObject *write = PyObject_GetAttr(state->StreamWriter, state->str_write);
    PyObject *code = frame != NULL ? PyObject_GetAttrString(frame, "f_code") : NULL;
    PyObject *found = NULL;
    if (write != NULL && code != NULL && PyFunction_Check(write)
        && PyFunction_GET_CODE(write) == code) {
        PyObject *locals = PyObject_GetAttrString(frame, "f_locals");
        found = locals != NULL ? PyMapping_GetItemString(locals, "self") : NULL;
        Py_XDECREF(locals);
    }
    Py_XDECREF(code);
    Py_XDECREF(write);
    return found;
}

void
reader_adopt_caller(State *state, PyObject *transport)
{
    if (!reader_class_is_plain(state, CL_WRITER_CLASS)) {
        return;
    }
    PyObject *writer = find_caller(state);
    PyObject *dict =
        writer != NULL && (PyObject *)Py_TYPE(writer) == state->StreamWriter
            ? reader_vars(writer)
            : NULL;
    if (dict != NULL && reader_field(state, dict, CL_WRITER_TRANSPORT) == transport) {
        make_writer_native(state, writer, dict);
    }
    Py_XDECREF(dict);
    Py_XDECREF(writer);
    PyErr_Clear();
}

uint8_t
reader_count_tries(State *state, PyObject *protocol)
{
    PyObject *dict = reader_vars(protocol);
    bool is_client =
        dict != NULL && reader_get(dict, state->str_client_connected_cb) == Py_None;
    Py_XDECREF(dict);
    return is_client ? CL_CALLER_TRIES : 0;
}

bool
reader_adopt(State *state, PyObject *protocol)
{
    if (!CL_FASTPATH || !reader_is_protocol(state, protocol)
        || !reader_class_is_plain(state, CL_READER_PROTOCOL_CLASS)) {
        return false;
    }
    PyObject *dict = reader_vars(protocol);
    if (dict == NULL) {
        return false;
    }
    adopt_reader(state, dict);
    adopt_writer(state, dict);
    adopt_protocol(state, protocol, dict);
    Py_DECREF(dict);
    return true;
}

/* -- feeding ----------------------------------------------------------------------- */

/* What stock's feed_data looks at; borrowed from the reader's dict. */
typedef struct FeedView {
    PyObject *buffer;
    PyObject *waiter;
    PyObject *transport;
    bool paused;
    Py_ssize_t limit;
} FeedView;

/* False when something there is not plain. */
static bool
view_reader(State *state, PyObject *dict, FeedView *view)
{
    PyObject *eof = reader_field(state, dict, CL_READER_EOF);
    PyObject *paused = reader_field(state, dict, CL_READER_PAUSED);
    view->buffer = reader_field(state, dict, CL_READER_BUFFER);
    view->waiter = reader_field(state, dict, CL_READER_WAITER);
    view->transport = reader_field(state, dict, CL_READER_TRANSPORT);
    view->limit = reader_limit(state, dict);
    if (eof != Py_False || view->buffer == NULL || view->waiter == NULL
        || view->transport == NULL || view->limit < 0
        || !PyByteArray_CheckExact(view->buffer)) {
        return false;
    }
    view->paused = paused == Py_True;
    if (!view->paused && paused != Py_False) {
        return false;
    }
    return view->waiter == Py_None
           || (Py_IS_TYPE(view->waiter, state->FutureType)
               && FUTURE(view->waiter)->loop != NULL);
}

/* reader._wakeup_waiter(). 0 or -1. */
static int
wake_waiter(State *state, PyObject *dict, PyObject *waiter)
{
    if (waiter == Py_None) {
        return 0;
    }
    Py_INCREF(waiter);
    int rc = PyDict_SetItem(dict, state->str_private_waiter, Py_None);
    if (rc == 0 && FUTURE(waiter)->phase != CL_FUTURE_CANCELLED) {
        rc = future_finish_result(waiter, Py_None);
        if (CL_UNLIKELY(rc == 0)) { /* done already: as set_result says */
            PyObject *result =
                PyObject_CallMethodOneArg(waiter, state->str_set_result, Py_None);
            rc = result != NULL ? 0 : -1;
            Py_XDECREF(result);
        }
    }
    Py_DECREF(waiter);
    return rc < 0 ? -1 : 0;
}

/* Too much stands in the buffer: no more for now. 0 or -1. */
static int
pause_transport(State *state, PyObject *dict, PyObject *transport)
{
    PyObject *result = PyObject_CallMethodNoArgs(transport, state->str_pause_reading);
    if (result != NULL) {
        Py_DECREF(result);
        return PyDict_SetItem(dict, state->str_paused, Py_True);
    }
    if (!PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
        return -1;
    }
    PyErr_Clear();
    return PyDict_SetItem(dict, state->str_private_transport, Py_None);
}

/* reader.feed_data(data), dict being its attributes. As reader_feed. */
static int
feed(State *state, PyObject *dict, const char *data, size_t size)
{
    FeedView view;
    if (!view_reader(state, dict, &view)) {
        return 0;
    }
    PyObject *buffer = Py_NewRef(view.buffer);
    PyObject *transport = Py_NewRef(view.transport);
    int rc = spares_append(&state->spares, buffer, data, size);
    if (rc == 0) {
        rc = wake_waiter(state, dict, view.waiter);
    }
    if (rc == 0 && transport != Py_None && !view.paused
        && (size_t)PyByteArray_GET_SIZE(buffer) > 2 * (size_t)view.limit) {
        rc = pause_transport(state, dict, transport);
    }
    Py_DECREF(transport);
    Py_DECREF(buffer);
    return rc < 0 ? -1 : 1;
}

int
reader_feed(State *state, PyObject *protocol, const char *data, size_t size)
{
    if (!CL_FASTPATH || !reader_is_protocol(state, protocol)
        || !reader_class_is_plain(state, CL_READER_PROTOCOL_CLASS)) {
        return 0;
    }
    PyObject *attributes = reader_vars(protocol);
    if (attributes == NULL) {
        return 0;
    }
    PyObject *ref = reader_get(attributes, state->str_data_received) == NULL
                        ? reader_field(state, attributes, CL_PROTOCOL_READER)
                        : NULL;
    PyObject *reader = NULL;
    int rc = 0;
    if (ref == Py_None) {
        rc = 1; /* nobody is there to hear of it */
    }
    else if (ref != NULL && PyWeakref_CheckRef(ref)) {
        rc = PyWeakref_GetRef(ref, &reader) == 0;
    }
    Py_DECREF(attributes);
    if (reader == NULL) {
        return rc;
    }
    PyTypeObject *type = Py_TYPE(reader);
    PyObject *dict =
        type == state->NativeReaderType || (PyObject *)type == state->StreamReader
            ? reader_attributes(state, reader)
            : NULL;
    if (dict != NULL) {
        rc = feed(state, dict, data, size);
        Py_DECREF(dict);
    }
    Py_DECREF(reader);
    return rc;
}
