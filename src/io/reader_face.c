/* NativeReader, NativeWriter and NativeProtocol: subclasses of asyncio's StreamReader,
 * StreamWriter and StreamReaderProtocol with nothing in the instance, to which objects
 * are switched by __class__ (see reader.h). Called from Python, on the loop's thread.
 *
 * `__class__` says asyncio's own class, so that reprs, mocks and comparisons by it are as
 * ever; only type() sees the difference. */
#include "reader.h"
#include "reader_lazy.h"
#include "stream.h"

/* Borrowed: the loop whose operations may do the work of self's methods, found in the
 * field `_loop`; or NULL (no exception): asyncio's own are to be called. In debug mode
 * that is always so: where a coroutine was made, how long its step took and the like is
 * stock's then. */
static Loop *
ready_loop(State *state, PyObject *dict, ReaderField field)
{
    PyObject *found = reader_field(state, dict, field);
    Loop *loop = found != NULL ? loop_from(state, found) : NULL;
    return loop != NULL && !(loop->guard & CL_GUARD_DEBUG) ? loop : NULL;
}

/* self.name(*args) of at most one argument, which is needed or not. */
static PyObject *
call_reader(PyObject *self, const ReaderOpKind *kind, PyObject *const *args,
            Py_ssize_t nargs, PyObject *kwnames, bool needed)
{
    State *state = state_of_type(Py_TYPE(self));
    if (state == NULL) {
        return NULL;
    }
    PyObject *op = NULL;
    if (CL_LIKELY(kwnames == NULL && nargs <= 1 && nargs >= needed)) {
        PyObject *dict = reader_attributes(state, self);
        Loop *loop = dict != NULL ? ready_loop(state, dict, CL_READER_LOOP) : NULL;
        if (CL_LIKELY(loop != NULL)) {
            op = reader_op_new(loop, kind, self, nargs > 0 ? args[0] : NULL);
            Py_DECREF(dict);
            return op;
        }
        Py_XDECREF(dict);
    }
    return reader_call_stock(state->NativeReaderType, self, kind->name, args, nargs,
                             kwnames);
}

#define CL_READER_METHOD(name, needed)                                                 \
    static PyObject *StreamReader_##name(PyObject *self, PyObject *const *args,        \
                                         Py_ssize_t nargs, PyObject *kwnames)          \
    {                                                                                  \
        return call_reader(self, &reader_op_##name, args, nargs, kwnames, needed);     \
    }

CL_READER_METHOD(read, false)
CL_READER_METHOD(readuntil, false)
CL_READER_METHOD(readexactly, true)

/* No argument at all: one is asyncio's to refuse. */
static PyObject *
StreamReader_readline(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    if (CL_LIKELY(nargs == 0 && kwnames == NULL)) {
        return call_reader(self, &reader_op_readline, NULL, 0, NULL, false);
    }
    State *state = state_of_type(Py_TYPE(self));
    return state == NULL ? NULL
                         : reader_call_stock(state->NativeReaderType, self, "readline",
                                             args, nargs, kwnames);
}

static PyObject *
StreamReader_anext(PyObject *self)
{
    return call_reader(self, &reader_op_anext, NULL, 0, NULL, false);
}

/* -- the writer -------------------------------------------------------------------- */

/* New ref: the attributes of a writer whose class is plain, or NULL (no exception). */
static PyObject *
writer_attributes(State *state, PyObject *self)
{
    return reader_class_is_plain(state, CL_WRITER_CLASS) ? reader_vars(self) : NULL;
}

static PyObject *
StreamWriter_write(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames)
{
    State *state = state_of_type(Py_TYPE(self));
    if (state == NULL) {
        return NULL;
    }
    if (CL_LIKELY(nargs == 1 && kwnames == NULL)) {
        PyObject *dict = writer_attributes(state, self);
        PyObject *transport =
            dict != NULL ? reader_field(state, dict, CL_WRITER_TRANSPORT) : NULL;
        if (CL_LIKELY(transport != NULL)) {
            Py_INCREF(transport);
            Py_DECREF(dict);
            PyObject *result =
                Py_IS_TYPE(transport, state->StreamTransportType)
                    ? stream_write_object(transport, args[0])
                    : PyObject_CallMethodOneArg(transport, state->str_write, args[0]);
            Py_DECREF(transport);
            Py_XDECREF(result);
            return result != NULL ? Py_NewRef(Py_None) : NULL;
        }
        Py_XDECREF(dict);
    }
    return reader_call_stock(state->NativeWriterType, self, "write", args, nargs,
                             kwnames);
}

static PyObject *
StreamWriter_drain(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames)
{
    State *state = state_of_type(Py_TYPE(self));
    if (state == NULL) {
        return NULL;
    }
    if (CL_LIKELY(nargs == 0 && kwnames == NULL)) {
        PyObject *dict = writer_attributes(state, self);
        Loop *loop = dict != NULL ? ready_loop(state, dict, CL_WRITER_LOOP) : NULL;
        if (CL_LIKELY(loop != NULL)) {
            PyObject *op = reader_op_new(loop, &reader_op_drain, self, NULL);
            Py_DECREF(dict);
            return op;
        }
        Py_XDECREF(dict);
    }
    return reader_call_stock(state->NativeWriterType, self, "drain", args, nargs,
                             kwnames);
}

/* -- __class__ --------------------------------------------------------------------- */

PyObject *
reader_get_class(PyObject *self, void *Py_UNUSED(closure))
{
    State *state = state_of_type(Py_TYPE(self));
    if (state == NULL) {
        return NULL;
    }
    PyTypeObject *type = Py_TYPE(self);
    bool native = type == state->NativeReaderType || type == state->NativeWriterType
                  || type == state->NativeProtocolType;
    return Py_NewRef((PyObject *)(native ? type->tp_base : type));
}

/* As object.__class__ does it. Another class knows nothing of what is made when asked
 * for. */
int
reader_set_class(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    State *state = state_of_type(Py_TYPE(self));
    if (state == NULL
        || (!Py_IS_TYPE(self, state->NativeReaderType)
            && reader_lazy_fill(state, self) < 0)) {
        return -1;
    }
    PyObject *descriptor = _PyType_Lookup(&PyBaseObject_Type, state->str_class);
    if (descriptor == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_AttributeError, "__class__");
        }
        return -1;
    }
    return Py_TYPE(descriptor)->tp_descr_set(descriptor, self, value);
}

/* -- the types --------------------------------------------------------------------- */

#define CL_FASTCALL(function) (PyCFunction)(void (*)(void))(function)

PyDoc_STRVAR(StreamReader_read_doc,
             "read($self, /, n=-1)\n--\n\n"
             "Coroutine: at most n bytes, as soon as there are any; all up to the end\n"
             "when n is negative. See the asyncio documentation, section \"Streams\".");
PyDoc_STRVAR(StreamReader_readline_doc,
             "readline($self, /)\n--\n\n"
             "Coroutine: a line with its newline, or what is left at the end. See the\n"
             "asyncio documentation, section \"Streams\".");
PyDoc_STRVAR(StreamReader_readuntil_doc,
             "readuntil($self, /, separator=b'\\n')\n--\n\n"
             "Coroutine: what comes up to and with the separator. See the asyncio\n"
             "documentation, section \"Streams\".");
PyDoc_STRVAR(
    StreamReader_readexactly_doc,
    "readexactly($self, /, n)\n--\n\n"
    "Coroutine: n bytes, or IncompleteReadError. See the asyncio documentation,\n"
    "section \"Streams\".");
PyDoc_STRVAR(StreamWriter_write_doc,
             "write($self, /, data)\n--\n\n"
             "Send data without waiting. See the asyncio documentation, section\n"
             "\"Streams\".");
PyDoc_STRVAR(StreamWriter_drain_doc,
             "drain($self, /)\n--\n\n"
             "Coroutine: wait until it is right to write on. See the asyncio\n"
             "documentation, section \"Streams\".");

static PyMethodDef reader_methods[] = {
    {"read", CL_FASTCALL(StreamReader_read), METH_FASTCALL | METH_KEYWORDS,
     StreamReader_read_doc},
    {"readline", CL_FASTCALL(StreamReader_readline), METH_FASTCALL | METH_KEYWORDS,
     StreamReader_readline_doc},
    {"readuntil", CL_FASTCALL(StreamReader_readuntil), METH_FASTCALL | METH_KEYWORDS,
     StreamReader_readuntil_doc},
    {"readexactly", CL_FASTCALL(StreamReader_readexactly),
     METH_FASTCALL | METH_KEYWORDS, StreamReader_readexactly_doc},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef writer_methods[] = {
    {"write", CL_FASTCALL(StreamWriter_write), METH_FASTCALL | METH_KEYWORDS,
     StreamWriter_write_doc},
    {"drain", CL_FASTCALL(StreamWriter_drain), METH_FASTCALL | METH_KEYWORDS,
     StreamWriter_drain_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef reader_getset[] = {
    {"__class__", reader_get_class, reader_set_class, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, "asyncio.StreamReader, whose methods answer in C when they can."},
    {Py_tp_methods, reader_methods},
    {Py_tp_getset, reader_getset},
    {Py_am_anext, StreamReader_anext},
    {0, NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, "asyncio.StreamWriter, whose methods answer in C when they can."},
    {Py_tp_methods, writer_methods},
    {Py_tp_getset, reader_lazy_writer},
    {0, NULL},
};

static PyType_Slot protocol_slots[] = {
    {Py_tp_doc, "asyncio.StreamReaderProtocol, of whose attributes some come late."},
    {Py_tp_getset, reader_lazy_protocol},
    {0, NULL},
};

/* A size of 0 is the base's: __class__ can be assigned then. */
PyType_Spec native_reader_spec = {
    .name = "cloop._StreamReader",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = reader_slots,
};

PyType_Spec native_writer_spec = {
    .name = "cloop._StreamWriter",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = writer_slots,
};

PyType_Spec native_protocol_spec = {
    .name = "cloop._StreamReaderProtocol",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = protocol_slots,
};

/* asyncio's protocol has object's repr, which says what type() does. */
int
reader_complete_types(State *state)
{
    static const char *const names[] = {"__module__", "__qualname__"};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < CL_COUNT_OF(names); i++) {
        PyObject *value = PyObject_GetAttrString(state->StreamReaderProtocol, names[i]);
        rc = value == NULL ? -1
                           : PyObject_SetAttrString(
                               (PyObject *)state->NativeProtocolType, names[i], value);
        Py_XDECREF(value);
    }
    return rc;
}
