/* asyncio's streams, fed and read in C.
 *
 * When a connection's protocol is exactly asyncio's StreamReaderProtocol and its reader
 * exactly asyncio's StreamReader, what comes in goes straight into the reader's own
 * bytearray (reader_feed), and the reader becomes an instance of NativeReader, the writer
 * of a server's connection one of NativeWriter: subclasses of asyncio's without anything
 * in the instance, whose methods answer in C when all is as asyncio left it.
 *
 * All state is where asyncio keeps it, in the attributes of the instance, and is looked
 * up there anew each time. Whatever is not plain (a patched class or instance, another
 * kind of buffer, an error to be worded, debug mode) is left to asyncio's own function.
 *
 *     reader.c         is all as asyncio left it? adopting, feeding
 *     reader_fields.c  where the attributes stand
 *     reader_face.c    NativeReader, NativeWriter, NativeProtocol
 *     reader_lazy.c    attributes of the latter two that are made when asked for
 *     reader_op.c      what their methods return: an object with a coroutine's face
 *     reader_read.c    the work of those */
#ifndef CL_IO_READER_H
#define CL_IO_READER_H

#include "../core/loop.h"
#include "reader_fields.h"

/* -- reader.c: for transports ------------------------------------------------------ */

/* protocol begins to hear of a connection: makes its reader and writer native when they
 * can be. True: reader_feed is worth being asked. Never fails. */
bool reader_adopt(State *state, PyObject *protocol);

/* asyncio.open_connection makes its writer out of our sight, and there is nothing in it
 * that calls us before its first write(). This is called by the first write of a
 * transport whose protocol was adopted, as often as reader_count_tries says, and makes
 * the writer native that is writing. Never fails. */
void reader_adopt_caller(State *state, PyObject *transport);

/* 0 for what is no client's protocol. protocol: adopted. */
uint8_t reader_count_tries(State *state, PyObject *protocol);

/* protocol.data_received(data). 1, or 0 when nothing was done and the method is to be
 * called, or -1 with what the method would raise. The caller holds a ref to protocol. */
int reader_feed(State *state, PyObject *protocol, const char *data, size_t size);

/* -- reader.c: for the other parts ------------------------------------------------- */

/* As below, when something has changed or nothing is known yet. */
bool reader_class_look(State *state, ReaderClass which);

/* Borrowed: asyncio's class. */
static inline PyTypeObject *
reader_class(const State *state, ReaderClass which)
{
    return (PyTypeObject *)(which == CL_READER_CLASS   ? state->StreamReader
                            : which == CL_WRITER_CLASS ? state->StreamWriter
                                                       : state->StreamReaderProtocol);
}

/* True when no method of asyncio's class that we stand in for was replaced. */
static inline bool
reader_class_is_plain(State *state, ReaderClass which)
{
    unsigned version = state->stream_versions[which];
    if (CL_LIKELY(version != 0
                  && version == compat_type_version(reader_class(state, which)))) {
        return true;
    }
    return reader_class_look(state, which);
}

/* True for asyncio's own protocol, no subclass, which may have become native. */
static inline bool
reader_is_protocol(const State *state, PyObject *op)
{
    return Py_IS_TYPE(op, state->NativeProtocolType)
           || (PyObject *)Py_TYPE(op) == state->StreamReaderProtocol;
}

/* New ref: the attributes of a reader whose class is plain and whose instance overrides
 * nothing either; NULL (no exception) when it does. */
PyObject *reader_attributes(State *state, PyObject *reader);

/* New ref: vars(op), or NULL (no exception). */
PyObject *reader_vars(PyObject *op);

/* reader._limit as a number >= 0; -1 (no exception) when it is none. */
Py_ssize_t reader_limit(State *state, PyObject *dict);

/* -- reader_op.c ------------------------------------------------------------------- */

/* What an attempt gives: -1 with an exception, or */
enum {
    CL_READER_DONE,  /* *result is a New ref */
    CL_READER_WAIT,  /* until something has come */
    CL_READER_STOCK, /* asyncio's own method is to do it */
};

typedef struct ReaderOp {
    PyObject_HEAD
    const struct ReaderOpKind *kind;
    Loop *loop;         /* strong */
    PyObject *target;   /* the reader or writer; NULL once over */
    PyObject *argument; /* as given; NULL: none, the default */
    PyObject *future;   /* has been yielded, and is reader._waiter */
    PyObject *delegate; /* asyncio's coroutine, while that does it */
    PyObject *blocks;   /* read(-1): the list of what was read so far */
    Py_ssize_t offset;  /* readuntil: no separator begins before it */
    uint8_t phase;
    bool waited; /* the attempt is not the first */
} ReaderOp;

typedef struct ReaderOpKind {
    const char *class_name;
    const char *name; /* of the method */
    /* dict: the target's attributes. */
    int (*attempt)(ReaderOp *op, PyObject *dict, PyObject **result);
    bool of_writer;
} ReaderOpKind;

/* New ref: target.method(argument), argument may be NULL. */
PyObject *reader_op_new(Loop *loop, const ReaderOpKind *kind, PyObject *target,
                        PyObject *argument);

/* New ref: what asyncio's own method returns, NULL with an exception. */
PyObject *reader_call_stock(PyTypeObject *native, PyObject *self, const char *name,
                            PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

extern PyType_Spec reader_op_spec;

/* -- reader_read.c ----------------------------------------------------------------- */

extern const ReaderOpKind reader_op_read;
extern const ReaderOpKind reader_op_readline;
extern const ReaderOpKind reader_op_readuntil;
extern const ReaderOpKind reader_op_readexactly;
extern const ReaderOpKind reader_op_anext;
extern const ReaderOpKind reader_op_drain;

/* -- reader_face.c ----------------------------------------------------------------- */

/* Of `__class__`. */
PyObject *reader_get_class(PyObject *self, void *closure);
int reader_set_class(PyObject *self, PyObject *value, void *closure);

/* Once the types are made. 0 or -1. */
int reader_complete_types(State *state);

extern PyType_Spec native_reader_spec;
extern PyType_Spec native_writer_spec;
extern PyType_Spec native_protocol_spec;

#endif
