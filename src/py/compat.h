/* CPython 3.8 to 3.15 made alike. The only file that looks at PY_VERSION_HEX: the rest
 * asks the CL_HAVE_* switches below, and calls the newest spelling of each function. */
#ifndef CL_PY_COMPAT_H
#define CL_PY_COMPAT_H

#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>
#include <structmember.h>

#include "../os/platform.h"

#if PY_VERSION_HEX < 0x03080000
#error "cloop needs CPython 3.8 or newer"
#endif

/* -- what the running version's asyncio does differently --------------------------- */

#define CL_PY39 (PY_VERSION_HEX >= 0x03090000)
#define CL_PY310 (PY_VERSION_HEX >= 0x030A0000)
#define CL_PY311 (PY_VERSION_HEX >= 0x030B0000)
#define CL_PY312 (PY_VERSION_HEX >= 0x030C0000)
#define CL_PY313 (PY_VERSION_HEX >= 0x030D0000)
#define CL_PY314 (PY_VERSION_HEX >= 0x030E0000)
#define CL_PY315 (PY_VERSION_HEX >= 0x030F0000)

/* Tasks are in a linked list of the interpreter, not in a WeakSet (gh-128002). */
#define CL_HAVE_TASK_LIST CL_PY314
/* asyncio.eager_task_factory, Task(eager_start=) */
#define CL_HAVE_EAGER_TASKS CL_PY312
/* Task.cancelling(), Task.uncancel() */
#define CL_HAVE_UNCANCEL CL_PY311
/* Future.cancel(msg=) */
#define CL_HAVE_CANCEL_MESSAGE CL_PY39
/* Future.exception's traceback as set is put back by each result() (gh-91351). */
#define CL_KEEP_EXCEPTION_TB CL_PY310
/* A cancelled task raises the very CancelledError that ended it; before, a new one
 * whose __context__ that is (3.9, 3.10), or a bare one (3.8). */
#define CL_REUSE_CANCELLED_ERROR CL_PY311
/* repr() by base_futures._future_repr, without a _repr_info method. */
#define CL_HAVE_REPR_FUNCTIONS CL_PY311
/* Task(context=), Task.get_context() */
#define CL_HAVE_TASK_CONTEXT CL_PY311
#define CL_HAVE_GET_CONTEXT CL_PY312
/* ... and nothing that only behaves as one. */
#define CL_TASK_WANTS_CONTEXT CL_PY315
/* A future or task whose __init__ was called refuses another. */
#define CL_INITIALIZES_ONCE CL_PY315
/* The last uncancel() takes back a cancellation not yet delivered. */
#define CL_UNCANCEL_CLEARS_MUST_CANCEL CL_PY313
/* Methods of one argument are parsed as if they had keywords, which shows in errors. */
#define CL_ONE_ARGUMENT_BY_KEYWORDS CL_PY312
/* The awaiting iterator's throw() counts its arguments itself. */
#define CL_THROW_IS_FASTCALL CL_PY311
/* throw(type, value, traceback) warns. */
#define CL_WARN_THREE_ARG_THROW CL_PY312
/* An iterator that has given the outcome gives it again. */
#define CL_FUTURE_ITER_REPEATS CL_PY314
/* call_soon_threadsafe makes handles that any thread may cancel. */
#define CL_HAVE_SAFE_HANDLES CL_PY314
/* TimerHandle(None, ...) is an AssertionError. */
#define CL_TIMER_ASSERTS_WHEN (!CL_PY311)
/* Argument errors of Python functions name them with their class. */
#define CL_HAVE_QUALNAME_IN_ERRORS CL_PY310
/* ... and an unexpected keyword comes with "Did you mean". */
#define CL_HAVE_KEYWORD_SUGGESTIONS CL_PY313
/* asyncio.Server keeps its transports (close_clients): _attach(transport) */
#define CL_HAVE_SERVER_CLIENTS CL_PY313
/* sendto() sends empty datagrams, and counts a header for what it queues. */
#define CL_HAVE_EMPTY_DATAGRAMS CL_PY313
#define CL_DATAGRAM_HEADER (CL_PY313 ? 8 : 0)
/* Transport.writelines sends views, it does not join them. */
#define CL_HAVE_VECTOR_WRITELINES CL_PY312
/* ... and leaves out what is false, whatever it is. */
#define CL_WRITELINES_SKIPS_FALSE CL_PY314
/* sock_sendfile() takes any count and sends what there is. */
#define CL_SENDFILE_TAKES_ANY_COUNT CL_PY313
/* ssl_shutdown_timeout also limits how long what is queued for the peer may take. */
#define CL_SHUTDOWN_TIMEOUT_TO_THE_END CL_PY314
/* What a task that is done says it was asked for. */
#if CL_PY314
#define CL_STEP_NAME "__step"
#else
#define CL_STEP_NAME "_step"
#endif
/* A heap type's docstring keeps the signature it begins with. */
#define CL_KEEPS_TYPE_SIGNATURE CL_PY310
/* PyType_FromModuleAndSpec; PyType_GetModuleByDef */
#define CL_HAVE_TYPE_MODULE CL_PY39
#define CL_HAVE_MODULE_BY_DEF CL_PY311
/* call_later(None) and call_at(None) are refused by name. */
#define CL_REFUSES_NO_DELAY CL_PY311
/* The signature of Loop.create_task. */
#if CL_PY314 || (PY_VERSION_HEX >> 8) == 0x030D03
#define CL_CREATE_TASK_SIGNATURE "create_task($self, coro, **kwargs)"
#elif PY_VERSION_HEX >= 0x030D0400
#define CL_CREATE_TASK_SIGNATURE                                                       \
    "create_task($self, coro, *, name=None, context=None, **kwargs)"
#elif CL_PY311
#define CL_CREATE_TASK_SIGNATURE "create_task($self, coro, *, name=None, context=None)"
#else
#define CL_CREATE_TASK_SIGNATURE "create_task($self, coro, *, name=None)"
#endif

/* asyncio's own test for coroutine functions, where the public one warns. */
#if CL_PY314
#define CL_ISCOROUTINEFUNCTION "_iscoroutinefunction"
#else
#define CL_ISCOROUTINEFUNCTION "iscoroutinefunction"
#endif
/* Where _ssl's objects keep their SSL * and SSL_CTX * (tls/library.h). */
#define CL_TLS_LAYOUT_KNOWN (PY_VERSION_HEX < 0x03100000)

/* What several threads change without a lock, where no GIL keeps them apart. */
#ifdef Py_GIL_DISABLED
#define CL_SHARED _Atomic
#else
#define CL_SHARED
#endif

/* -- where our part of an asyncio subclass begins ---------------------------------- */

/* Our Future and Task follow asyncio.Task's C struct, our handles asyncio.TimerHandle's
 * slots, both at a constant offset not smaller than any version's basicsize (checked at
 * import, state.c). The gap stays zeroed and is never touched again, so that its size
 * costs memory only. */
#ifdef Py_GIL_DISABLED
#define CL_FUTURE_BASE 304
#define CL_HANDLE_BASE 176
#else
/* 3.11, 3.12: 176 bytes, and these versions get no more than security fixes; 3.13: 144;
 * the others: at most 192. */
#if CL_PY311 && !CL_PY314 && !defined(Py_TRACE_REFS)
#define CL_FUTURE_BASE 176
#else
#define CL_FUTURE_BASE 208
#endif
#define CL_HANDLE_BASE 112
#endif

/* -- newer functions for older versions -------------------------------------------- */

#if PY_VERSION_HEX < 0x03090000
#define PyObject_Vectorcall _PyObject_Vectorcall

static inline void
compat_set_size(void *op, Py_ssize_t size)
{
    ((PyVarObject *)op)->ob_size = size;
}
#define Py_SET_SIZE(op, size) compat_set_size((op), (size))

static inline PyObject *
PyObject_CallNoArgs(PyObject *callable)
{
    return _PyObject_Vectorcall(callable, NULL, 0, NULL);
}

static inline PyObject *
PyObject_CallOneArg(PyObject *callable, PyObject *arg)
{
    PyObject *args[2] = {NULL, arg};
    return _PyObject_Vectorcall(callable, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                NULL);
}

static inline PyObject *
PyObject_VectorcallMethod(PyObject *name, PyObject *const *args, size_t nargsf,
                          PyObject *kwnames)
{
    PyObject *method = PyObject_GetAttr(args[0], name);
    if (method == NULL) {
        return NULL;
    }
    size_t nargs = PyVectorcall_NARGS(nargsf) - 1;
    PyObject *result = _PyObject_Vectorcall(method, args + 1, nargs, kwnames);
    Py_DECREF(method);
    return result;
}

static inline PyObject *
PyObject_CallMethodNoArgs(PyObject *self, PyObject *name)
{
    return PyObject_VectorcallMethod(name, &self, 1, NULL);
}

static inline PyObject *
PyObject_CallMethodOneArg(PyObject *self, PyObject *name, PyObject *arg)
{
    PyObject *args[2] = {self, arg};
    return PyObject_VectorcallMethod(name, args, 2, NULL);
}

static inline int
PyObject_GC_IsTracked(PyObject *op)
{
    return _PyObject_GC_IS_TRACKED(op);
}

#define PyCFunction_CheckExact PyCFunction_Check
#define Py_IS_TYPE(ob, type) (Py_TYPE(ob) == (type))
#define Py_SET_REFCNT(ob, refcnt) (Py_REFCNT(ob) = (refcnt))
#define PyThreadState_GetInterpreter(tstate) ((tstate)->interp)
#endif

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *
Py_NewRef(PyObject *op)
{
    Py_INCREF(op);
    return op;
}

static inline PyObject *
Py_XNewRef(PyObject *op)
{
    Py_XINCREF(op);
    return op;
}

#define Py_Is(a, b) ((a) == (b))
#define Py_IsNone(a) ((a) == Py_None)

static inline int
PyModule_AddObjectRef(PyObject *module, const char *name, PyObject *value)
{
    Py_XINCREF(value);
    if (value == NULL || PyModule_AddObject(module, name, value) < 0) {
        Py_XDECREF(value);
        return -1;
    }
    return 0;
}

typedef enum { PYGEN_RETURN = 0, PYGEN_ERROR = -1, PYGEN_NEXT = 1 } PySendResult;

/* compat.c; exact generators and coroutines by _PyGen_Send, others by their methods. */
PySendResult PyIter_Send(PyObject *iter, PyObject *arg, PyObject **result);
#else
#undef Py_NewRef
#undef Py_XNewRef
#define Py_NewRef(op) _Py_NewRef((PyObject *)(op))
#define Py_XNewRef(op) _Py_XNewRef((PyObject *)(op))
#define CL_HAVE_AM_SEND 1
#endif

/* What is raised is always an object, made at once. */
#define CL_NORMALIZES_EXCEPTIONS CL_PY312
/* The StopIteration of an iterator in C knows what was being handled. */
#define CL_STOP_HAS_CONTEXT (!CL_PY314)
#if PY_VERSION_HEX < 0x030C0000
#define CL_NEED_RAISED_EXCEPTION 1
/* The raised exception as one object, normalised, its traceback attached. */
PyObject *PyErr_GetRaisedException(void);
void PyErr_SetRaisedException(PyObject *exception);
#endif

#if PY_VERSION_HEX < 0x030D0000
static inline int
PyWeakref_GetRef(PyObject *ref, PyObject **object)
{
    PyObject *found = PyWeakref_GetObject(ref);
    if (found == NULL) {
        *object = NULL;
        return -1;
    }
    *object = found == Py_None ? NULL : Py_NewRef(found);
    return *object != NULL;
}

static inline int
PyDict_GetItemRef(PyObject *dict, PyObject *key, PyObject **value)
{
    PyObject *found = PyDict_GetItemWithError(dict, key);
    *value = Py_XNewRef(found);
    return found != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
}

static inline int
PyObject_GetOptionalAttr(PyObject *op, PyObject *name, PyObject **value)
{
    return _PyObject_LookupAttr(op, name, value);
}
#endif

/* Whether the running patch release turns a StopIteration given to set_exception() into
 * a RuntimeError (gh-112182) instead of refusing it. */
#if PY_VERSION_HEX >= 0x030D0000
#define CL_WRAP_STOP_ITERATION 1
#elif PY_VERSION_HEX >= 0x030B0000
#define CL_WRAP_STOP_ITERATION                                                         \
    (Py_Version >= 0x030C0200 || (Py_Version >= 0x030B0800 && Py_Version < 0x030C0000))
#else
#define CL_WRAP_STOP_ITERATION 0
#endif

/* Types whose attributes Python code cannot change, as stock's. */
#if PY_VERSION_HEX >= 0x030A0000
#define CL_TPFLAGS_IMMUTABLE Py_TPFLAGS_IMMUTABLETYPE
#define CL_TPFLAGS_NO_NEW Py_TPFLAGS_DISALLOW_INSTANTIATION
#else
#define CL_TPFLAGS_IMMUTABLE 0
#define CL_TPFLAGS_NO_NEW 0
#endif

#if PY_VERSION_HEX < 0x030D0000
#define Py_IsFinalizing _Py_IsFinalizing
#endif

/* compat.c; the raised StopIteration's value (New ref in *value), or None when nothing
 * is raised. 0, or -1 with the other exception that is raised. */
int compat_fetch_stop_iteration(PyObject **value);

/* AttributeError: the attribute name of self cannot be deleted. */
static inline void
compat_refuse_delete(PyObject *self, const char *name)
{
#if CL_PY314
    PyErr_Format(PyExc_AttributeError,
                 "attribute '%s' of '%.100s' objects cannot be "
                 "deleted",
                 name, Py_TYPE(self)->tp_name);
#else
    CL_UNUSED(self);
    CL_UNUSED(name);
    PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
#endif
}

/* compat.c; ends an iterator with value: raises StopIteration(value). Steals value. */
void compat_set_stop_iteration(PyObject *value);

/* compat.c; between the two exception is the one being handled, as in an except block:
 * sys.exc_info() gives it, and what is raised gets it as __context__. The caller holds a
 * ref to it and calls the second on the same thread, in reverse order. NULL: nothing
 * changes. */
void compat_begin_handling(_PyErr_StackItem *item, PyObject *exception);
void compat_end_handling(_PyErr_StackItem *item);

/* dict.setdefault(key, value). *found: Borrowed, what is in the dict now. 1 when it was
 * there before, else 0; or -1. */
static inline int
compat_dict_set_default(PyObject *dict, PyObject *key, PyObject *value,
                        PyObject **found)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *now;
    int was_there = PyDict_SetDefaultRef(dict, key, value, &now);
    if (was_there >= 0) {
        *found = now;
        Py_DECREF(now); /* the dict holds it */
    }
    return was_there;
#else
    Py_ssize_t size_before = PyDict_GET_SIZE(dict);
    *found = PyDict_SetDefault(dict, key, value);
    return *found == NULL ? -1 : PyDict_GET_SIZE(dict) == size_before;
#endif
}

/* dict.pop(key, None). *value: New ref, or NULL when it was not there. 0 or -1. */
static inline int
compat_dict_pop(PyObject *dict, PyObject *key, PyObject **value)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyDict_Pop(dict, key, value) < 0 ? -1 : 0;
#else
    PyObject *popped = _PyDict_Pop(dict, key, Py_None);
    if (popped == Py_None) {
        Py_DECREF(popped);
        popped = NULL;
    }
    else if (popped == NULL) {
        *value = NULL;
        return -1;
    }
    *value = popped;
    return 0;
#endif
}

/* An object's inherited __dict__, for traverse and clear. */
static inline int
compat_visit_dict(PyObject *self, visitproc visit, void *arg)
{
#if PY_VERSION_HEX >= 0x030D0000
    if (PyType_HasFeature(Py_TYPE(self), Py_TPFLAGS_MANAGED_DICT)) {
        return PyObject_VisitManagedDict(self, visit, arg);
    }
#endif
    Py_ssize_t offset = Py_TYPE(self)->tp_dictoffset;
    if (offset > 0) {
        Py_VISIT(*(PyObject **)((char *)self + offset));
    }
    return 0;
}

static inline void
compat_clear_dict(PyObject *self)
{
#if PY_VERSION_HEX >= 0x030D0000
    if (PyType_HasFeature(Py_TYPE(self), Py_TPFLAGS_MANAGED_DICT)) {
        PyObject_ClearManagedDict(self);
        return;
    }
#endif
    Py_ssize_t offset = Py_TYPE(self)->tp_dictoffset;
    if (offset > 0) {
        Py_CLEAR(*(PyObject **)((char *)self + offset));
    }
}

/* New ref: vars(op), or NULL with an exception. */
static inline PyObject *
compat_instance_dict(PyObject *op)
{
#ifndef Py_GIL_DISABLED
    PyObject **place = _PyObject_GetDictPtr(op);
    if (CL_LIKELY(place != NULL && *place != NULL)) {
        return Py_NewRef(*place);
    }
#endif
    return PyObject_GenericGetDict(op, NULL);
}

/* A number that changes whenever an attribute of type or of a base does; 0: unknown, until
 * an attribute has been looked up again. */
static inline unsigned
compat_type_version(PyTypeObject *type)
{
#if PY_VERSION_HEX < 0x030D0000
    if (!PyType_HasFeature(type, Py_TPFLAGS_VALID_VERSION_TAG)) {
        return 0;
    }
#endif
    return type->tp_version_tag;
}

/* Instances of a class share the keys of their dicts, and for ever the same ones. Where a
 * dict keeps its values is not public: compat_split_values is to be tried out before it
 * is believed. */
#if CL_PY311 && PY_VERSION_HEX < 0x03100000 && !defined(Py_GIL_DISABLED)
#define CL_HAVE_SHARED_KEYS 1
#define CL_VALUES_OFFSET (CL_PY313 ? sizeof(PyObject *) : 0)
#define CL_SHARED_KEYS_MAX 30 /* CPython's SHARED_KEYS_MAX_SIZE */

/* The keys of dict when they are those of type's instances, else NULL. */
static inline const void *
compat_shared_keys(PyObject *dict, PyObject *type)
{
    const void *keys = ((PyHeapTypeObject *)type)->ht_cached_keys;
    return ((PyDictObject *)dict)->ma_keys == keys ? keys : NULL;
}

/* The values of a dict with those keys, in their order, NULL for what is not there; or
 * NULL when it has others. Valid until dict changes. */
static inline PyObject **
compat_split_values(PyObject *dict, const void *keys)
{
    const PyDictObject *fields = (const PyDictObject *)dict;
    if (fields->ma_keys != keys || fields->ma_values == NULL) {
        return NULL;
    }
    return (PyObject **)((char *)fields->ma_values + CL_VALUES_OFFSET);
}

/* How many places those values have at least, `set` of which are taken. */
static inline int
compat_split_places(PyObject *dict, int set)
{
#if CL_PY313
    const uint8_t *values = (const uint8_t *)((const PyDictObject *)dict)->ma_values;
    return values[0] <= CL_SHARED_KEYS_MAX ? values[0] : set; /* its capacity */
#else
    (void)dict;
    return set;
#endif
}
#else
#define CL_HAVE_SHARED_KEYS 0

static inline const void *
compat_shared_keys(PyObject *Py_UNUSED(dict), PyObject *Py_UNUSED(type))
{
    return NULL;
}

static inline PyObject **
compat_split_values(PyObject *Py_UNUSED(dict), const void *Py_UNUSED(keys))
{
    return NULL;
}

static inline int
compat_split_places(PyObject *Py_UNUSED(dict), int set)
{
    return set;
}
#endif

/* Whether a bytearray's memory is its own (ob_bytes) as it was since 3.4. */
#define CL_BYTEARRAY_LAYOUT_KNOWN (PY_VERSION_HEX < 0x030F0000)

/* 3.13 on; what they guard has no other thread before. */
#ifndef Py_BEGIN_CRITICAL_SECTION
#define Py_BEGIN_CRITICAL_SECTION(op) {
#define Py_END_CRITICAL_SECTION() }
#endif

/* Makes an exact bytes object that nobody else holds, of more than one byte, one of `size`
 * bytes, for which it has room: as if it were new. */
static inline void
compat_bytes_renew(PyObject *op, Py_ssize_t size)
{
    PyBytesObject *bytes = (PyBytesObject *)op;
    ((PyVarObject *)op)->ob_size = size;
    bytes->ob_sval[size] = '\0';
    /* The cached hash; the field is deprecated from 3.11 on, and has no other name. */
    _Pragma("GCC diagnostic push");
    _Pragma("GCC diagnostic ignored \"-Wdeprecated-declarations\"");
    bytes->ob_shash = -1;
    _Pragma("GCC diagnostic pop");
}

/* 3.8's PyMODINIT_FUNC does not make the function visible. */
#define CL_EXPORT __attribute__((visibility("default")))

/* The struct of our own that lies behind the base's. */
#define CL_AFTER_BASE(op, offset, type) ((type *)((char *)(op) + (offset)))

/* Our heap types: a traverse visits its type from 3.9 on (bpo-40217). */
#if PY_VERSION_HEX >= 0x03090000
#define CL_VISIT_TYPE(self) Py_VISIT(Py_TYPE(self))
#else
#define CL_VISIT_TYPE(self) ((void)0)
#endif

/* Makes an object that lies in a freelist, type and base part still in place, live
 * again: reference count 1, known to the debug build's accounts. */
static inline void
compat_revive(PyObject *op)
{
    _Py_NewReference(op);
}

/* Borrowed: the running thread's current context; NULL while it has none. */
static inline PyObject *
compat_current_context(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyThreadState_GetUnchecked()->context;
#else
    return _PyThreadState_UncheckedGet()->context;
#endif
}

/* Clears what weakly refers to self; call first in every dealloc of a weakrefable. */
static inline void
compat_clear_weakrefs(PyObject *self)
{
    Py_ssize_t offset = Py_TYPE(self)->tp_weaklistoffset;
    if (offset != 0 && *(PyObject **)((char *)self + offset) != NULL) {
        PyObject_ClearWeakRefs(self);
    }
}

#endif
