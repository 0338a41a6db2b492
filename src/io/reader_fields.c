/* Where the attributes of asyncio's stream classes stand (see reader_fields.h). Called
 * by reader.c when it first looks at a class, on the loop's thread. */
#include "reader_fields.h"

#include "stream.h"

const size_t reader_field_names[CL_READER_FIELDS] = {
    [CL_READER_LIMIT] = offsetof(State, str_limit),
    [CL_READER_LOOP] = offsetof(State, str_private_loop),
    [CL_READER_BUFFER] = offsetof(State, str_buffer),
    [CL_READER_EOF] = offsetof(State, str_private_eof),
    [CL_READER_WAITER] = offsetof(State, str_private_waiter),
    [CL_READER_EXCEPTION] = offsetof(State, str_private_exception),
    [CL_READER_TRANSPORT] = offsetof(State, str_private_transport),
    [CL_READER_PAUSED] = offsetof(State, str_paused),
    [CL_WRITER_TRANSPORT] = offsetof(State, str_private_transport),
    [CL_WRITER_PROTOCOL] = offsetof(State, str_private_protocol),
    [CL_WRITER_READER] = offsetof(State, str_private_reader),
    [CL_WRITER_LOOP] = offsetof(State, str_private_loop),
    [CL_PROTOCOL_LOOP] = offsetof(State, str_private_loop),
    [CL_PROTOCOL_PAUSED] = offsetof(State, str_paused),
    [CL_PROTOCOL_DRAIN_WAITERS] = offsetof(State, str_drain_waiters),
    [CL_PROTOCOL_CONNECTION_LOST] = offsetof(State, str_connection_lost_flag),
    [CL_PROTOCOL_READER] = offsetof(State, str_stream_reader_wr),
};

_Static_assert(sizeof(((State *)NULL)->stream_places) == CL_READER_FIELDS,
               "one place for each field");

/* Where value stands among count values, or -1. */
static int
find_place(PyObject *const *values, int count, const PyObject *value)
{
    for (int place = 0; place < count; place++) {
        if (values[place] == value) {
            return place;
        }
    }
    return -1;
}

/* Gives a new object the attributes, each of them its own name as the value, and looks
 * where they have gone. The keys they share when all were found, else NULL (perhaps with
 * an exception). */
static const void *
try_keys(State *state, PyObject *probe, ReaderField first, ReaderField end)
{
    for (ReaderField field = first; field < end; field++) {
        PyObject *name = reader_field_name(state, field);
        if (PyObject_GenericSetAttr(probe, name, name) < 0) {
            return NULL;
        }
    }
    PyObject *dict = PyObject_GenericGetDict(probe, NULL);
    const void *keys =
        dict != NULL ? compat_shared_keys(dict, (PyObject *)Py_TYPE(probe)) : NULL;
    PyObject **values = keys != NULL ? compat_split_values(dict, keys) : NULL;
    int count = values != NULL ? compat_split_places(dict, (int)(end - first)) : 0;
    bool found = count > 0;
    for (ReaderField field = first; found && field < end; field++) {
        int place = find_place(values, count, reader_field_name(state, field));
        found = place >= 0;
        state->stream_places[field] = (uint8_t)place;
    }
    Py_XDECREF(dict);
    return found ? keys : NULL;
}

/* A writer's __del__ asks its transport, from 3.11.5 on: gives it a closed one. */
static void
calm_writer(State *state, PyObject *probe)
{
    PyTypeObject *type = state->StreamTransportType;
    PyObject *closed = type->tp_new(type, state->empty_tuple, NULL);
    if (closed != NULL) {
        (void)PyObject_GenericSetAttr(probe, state->str_private_transport, closed);
        Py_DECREF(closed);
    }
}

void
reader_fields_learn(State *state, ReaderClass which)
{
    PyObject *const classes[] = {state->StreamReader, state->StreamWriter,
                                 state->StreamReaderProtocol};
    static const ReaderField firsts[] = {CL_READER_LIMIT, CL_WRITER_TRANSPORT,
                                         CL_PROTOCOL_LOOP, CL_READER_FIELDS};
    if (!CL_HAVE_SHARED_KEYS || state->knows_stream_keys[which]) {
        return;
    }
    state->knows_stream_keys[which] = true;
    PyObject *probe = PyBaseObject_Type.tp_new((PyTypeObject *)classes[which],
                                               state->empty_tuple, NULL);
    if (probe != NULL) {
        state->stream_keys[which] =
            try_keys(state, probe, firsts[which], firsts[which + 1]);
        if (which == CL_WRITER_CLASS) {
            calm_writer(state, probe);
        }
        Py_DECREF(probe);
    }
    PyErr_Clear();
}
