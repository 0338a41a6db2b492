/* What asyncio's streams make for each connection and hardly any program asks for: made
 * when it is asked for (see reader.h). Called when a protocol or a writer becomes native,
 * and by their attributes; on the loop's thread.
 *
 * A deque with a block of 64 places for those who wait in drain(), a future for
 * wait_closed(), one that drain() no longer uses: a kilobyte and a half. They are taken
 * out of the instance's dict while nobody else knows them, and the class's attributes of
 * the same names put them back. `__dict__` puts all of them back.
 *
 * Not before 3.11, whose dicts would grow when something is taken out. */
#include "reader_lazy.h"

#include "../core/future.h"

typedef struct LazyField {
    ReaderClass of;
    size_t name; /* offsetof(State, ...) */
    /* True when it is as asyncio has made it and nobody else holds it. */
    bool (*is_unused)(State *state, PyObject *value);
    /* New ref: a new one, for the instance whose attributes are in dict; or NULL,
     * without an exception when the instance has no loop of ours. */
    PyObject *(*make)(State *state, PyObject *dict);
} LazyField;

static PyObject *
name_of(const State *state, const LazyField *lazy)
{
    return *(PyObject *const *)((const char *)state + lazy->name);
}

/* -- each of them ------------------------------------------------------------------ */

static bool
is_untouched(State *state, PyObject *value, FutureState phase)
{
    if (!Py_IS_TYPE(value, state->FutureType) || Py_REFCNT(value) != 1) {
        return false;
    }
    const Future *future = FUTURE(value);
    return future->native != NULL && future->phase == phase && future->waiter == NULL
           && future->callbacks == NULL && future->source_traceback == NULL;
}

/* Borrowed: the loop of an instance, if ours; or NULL (no exception). */
static Loop *
find_loop(State *state, PyObject *dict)
{
    PyObject *loop = reader_get(dict, state->str_private_loop);
    return loop != NULL ? loop_from(state, loop) : NULL;
}

static bool
is_pending(State *state, PyObject *value)
{
    return is_untouched(state, value, CL_FUTURE_PENDING);
}

static PyObject *
make_pending(State *state, PyObject *dict)
{
    Loop *loop = find_loop(state, dict);
    return loop != NULL ? future_new(loop) : NULL;
}

static bool
is_complete(State *state, PyObject *value)
{
    return is_untouched(state, value, CL_FUTURE_FINISHED)
           && FUTURE(value)->result == Py_None;
}

static PyObject *
make_complete(State *state, PyObject *dict)
{
    PyObject *future = make_pending(state, dict);
    if (future != NULL && future_finish_result(future, Py_None) < 0) {
        Py_CLEAR(future);
    }
    return future;
}

static bool
is_empty_deque(State *state, PyObject *value)
{
    return Py_IS_TYPE(value, (PyTypeObject *)state->deque) && Py_REFCNT(value) == 1
           && PyObject_Size(value) == 0;
}

static PyObject *
make_deque(State *state, PyObject *Py_UNUSED(dict))
{
    return PyObject_CallNoArgs(state->deque);
}

static const LazyField closed = {CL_READER_PROTOCOL_CLASS, offsetof(State, str_closed),
                                 is_pending, make_pending};
static const LazyField drain_waiters = {CL_READER_PROTOCOL_CLASS,
                                        offsetof(State, str_drain_waiters),
                                        is_empty_deque, make_deque};
static const LazyField complete_fut = {
    CL_WRITER_CLASS, offsetof(State, str_complete_fut), is_complete, make_complete};

static const LazyField *const lazy_fields[] = {&closed, &drain_waiters, &complete_fut};

/* -- taking out and putting back --------------------------------------------------- */

void
reader_lazy_drop(State *state, PyObject *dict, ReaderClass which)
{
    const Loop *loop = find_loop(state, dict);
    if (loop == NULL || loop->guard & CL_GUARD_DEBUG) {
        return;
    }
    for (size_t i = 0; i < CL_COUNT_OF(lazy_fields); i++) {
        const LazyField *lazy = lazy_fields[i];
        PyObject *value =
            lazy->of == which ? reader_get(dict, name_of(state, lazy)) : NULL;
        if (value != NULL && lazy->is_unused(state, value)) {
            (void)PyDict_DelItem(dict, name_of(state, lazy));
        }
        PyErr_Clear();
    }
}

/* New ref: what is in the dict under the name, made now when it is not; NULL with an
 * exception or, without one, when it cannot be. */
static PyObject *
get_or_make(State *state, PyObject *dict, const LazyField *lazy)
{
    PyObject *name = name_of(state, lazy);
    PyObject *value = PyDict_GetItemWithError(dict, name);
    if (value != NULL || PyErr_Occurred()) {
        return Py_XNewRef(value);
    }
    value = lazy->make(state, dict);
    if (value != NULL && PyDict_SetItem(dict, name, value) < 0) {
        Py_CLEAR(value);
    }
    return value;
}

int
reader_lazy_fill(State *state, PyObject *op)
{
    ReaderClass which = Py_IS_TYPE(op, state->NativeWriterType)
                            ? CL_WRITER_CLASS
                            : CL_READER_PROTOCOL_CLASS;
    PyObject *dict = PyObject_GenericGetDict(op, NULL);
    int rc = dict == NULL ? -1 : 0;
    for (size_t i = 0; rc == 0 && i < CL_COUNT_OF(lazy_fields); i++) {
        if (lazy_fields[i]->of == which) {
            PyObject *value = get_or_make(state, dict, lazy_fields[i]);
            Py_XDECREF(value);
            rc = value == NULL && PyErr_Occurred() ? -1 : 0;
        }
    }
    Py_XDECREF(dict);
    return rc;
}

/* -- the attributes ---------------------------------------------------------------- */

static PyObject *
get_lazy(PyObject *self, void *closure)
{
    const LazyField *lazy = closure;
    State *state = state_of_type(Py_TYPE(self));
    PyObject *dict = state != NULL ? PyObject_GenericGetDict(self, NULL) : NULL;
    if (dict == NULL) {
        return NULL;
    }
    PyObject *value = get_or_make(state, dict, lazy);
    if (value == NULL && !PyErr_Occurred()) {
        PyErr_SetObject(PyExc_AttributeError, name_of(state, lazy));
    }
    Py_DECREF(dict);
    return value;
}

static int
set_lazy(PyObject *self, PyObject *value, void *closure)
{
    const LazyField *lazy = closure;
    State *state = state_of_type(Py_TYPE(self));
    PyObject *dict = state != NULL ? PyObject_GenericGetDict(self, NULL) : NULL;
    if (dict == NULL) {
        return -1;
    }
    PyObject *name = name_of(state, lazy);
    int rc =
        value != NULL ? PyDict_SetItem(dict, name, value) : PyDict_DelItem(dict, name);
    if (rc < 0 && value == NULL && PyErr_ExceptionMatches(PyExc_KeyError)) {
        PyErr_SetObject(PyExc_AttributeError, name);
    }
    Py_DECREF(dict);
    return rc;
}

static PyObject *
get_dict(PyObject *self, void *Py_UNUSED(closure))
{
    State *state = state_of_type(Py_TYPE(self));
    return state == NULL || reader_lazy_fill(state, self) < 0
               ? NULL
               : PyObject_GenericGetDict(self, NULL);
}

#define CL_LAZY(name, field)                                                           \
    {                                                                                  \
        name, get_lazy, set_lazy, NULL, (void *)&(field)                               \
    }
#define CL_DICT                                                                        \
    {                                                                                  \
        "__dict__", get_dict, PyObject_GenericSetDict, NULL, NULL                      \
    }
#define CL_CLASS                                                                       \
    {                                                                                  \
        "__class__", reader_get_class, reader_set_class, NULL, NULL                    \
    }

PyGetSetDef reader_lazy_protocol[] = {
    CL_CLASS,
    CL_DICT,
    CL_LAZY("_closed", closed),
    CL_LAZY("_drain_waiters", drain_waiters),
    {NULL, NULL, NULL, NULL, NULL},
};

PyGetSetDef reader_lazy_writer[] = {
    CL_CLASS,
#if CL_HAVE_SHARED_KEYS
    CL_DICT,
    CL_LAZY("_complete_fut", complete_fut),
#endif
    {NULL, NULL, NULL, NULL, NULL},
};
