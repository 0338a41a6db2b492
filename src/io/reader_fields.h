/* The attributes of asyncio's readers, writers and their protocol, read quickly.
 *
 * The dicts of a class's instances share their keys (PEP 412): an attribute stands at
 * the same place in all of them. Where, is tried out on an object made for that
 * (reader_fields_learn): in the order in which they were first set, and from 3.13 on in
 * that of the class's __static_attributes__. A dict that is not so, and a Python of
 * unknown layout, are asked by name. */
#ifndef CL_IO_READER_FIELDS_H
#define CL_IO_READER_FIELDS_H

#include "../py/state.h"

typedef enum ReaderClass {
    CL_READER_CLASS,
    CL_WRITER_CLASS,
    CL_READER_PROTOCOL_CLASS,
} ReaderClass;

typedef enum ReaderField {
    CL_READER_LIMIT,
    CL_READER_LOOP,
    CL_READER_BUFFER,
    CL_READER_EOF,
    CL_READER_WAITER,
    CL_READER_EXCEPTION,
    CL_READER_TRANSPORT,
    CL_READER_PAUSED,
    CL_WRITER_TRANSPORT,
    CL_WRITER_PROTOCOL,
    CL_WRITER_READER,
    CL_WRITER_LOOP,
    CL_PROTOCOL_LOOP,
    CL_PROTOCOL_PAUSED,
    CL_PROTOCOL_DRAIN_WAITERS,
    CL_PROTOCOL_CONNECTION_LOST,
    CL_PROTOCOL_READER,
    CL_READER_FIELDS,
} ReaderField;

/* offsetof(State, the attribute's name) */
extern const size_t reader_field_names[CL_READER_FIELDS];

/* Finds out where the attributes of a class of asyncio's stand. Once; never fails. */
void reader_fields_learn(State *state, ReaderClass which);

/* Borrowed from dict; NULL (no exception) when it is not there. */
static inline PyObject *
reader_get(PyObject *dict, PyObject *name)
{
    PyObject *value = PyDict_GetItemWithError(dict, name);
    if (CL_UNLIKELY(value == NULL) && PyErr_Occurred()) {
        PyErr_Clear();
    }
    return value;
}

static inline PyObject *
reader_field_name(const State *state, ReaderField field)
{
    return *(PyObject *const *)((const char *)state + reader_field_names[field]);
}

/* Borrowed from dict, the attributes of an instance of field's class; NULL (no exception)
 * when it is not there. */
static inline PyObject *
reader_field(const State *state, PyObject *dict, ReaderField field)
{
    ReaderClass which = field < CL_WRITER_TRANSPORT ? CL_READER_CLASS
                        : field < CL_PROTOCOL_LOOP  ? CL_WRITER_CLASS
                                                    : CL_READER_PROTOCOL_CLASS;
    PyObject **values = compat_split_values(dict, state->stream_keys[which]);
    if (CL_LIKELY(values != NULL)) {
        PyObject *value = values[state->stream_places[field]];
        if (CL_LIKELY(value != NULL)) {
            return value;
        }
    }
    return reader_get(dict, reader_field_name(state, field));
}

#endif
