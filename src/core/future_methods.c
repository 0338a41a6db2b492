/* The Python face of Future, most of which Task shares (see future_impl.h): parse,
 * check, call future.c. Each docstring's first line is stock's signature.
 *
 * Argument errors are worded as the argument clinic words stock's: the usual calls are
 * taken apart here, all others are left to PyArg_ParseTupleAndKeywords. */
#include "future_impl.h"
#include "task.h"

#include <stdarg.h>

/* -- arguments --------------------------------------------------------------------- */

int
future_parse(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
             const char *format, char **names, ...)
{
    int rc = -1;
    PyObject *tuple = PyTuple_New(nargs);
    PyObject *dict = PyDict_New();
    if (tuple == NULL || dict == NULL) {
        goto done;
    }
    for (Py_ssize_t i = 0; i < nargs; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    }
    Py_ssize_t nkeywords = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < nkeywords; i++) {
        if (PyDict_SetItem(dict, PyTuple_GET_ITEM(kwnames, i), args[nargs + i]) < 0) {
            goto done;
        }
    }
    va_list values;
    va_start(values, names);
    rc = PyArg_VaParseTupleAndKeywords(tuple, dict, format, names, values) ? 0 : -1;
    va_end(values);

done:
    Py_XDECREF(dict);
    Py_XDECREF(tuple);
    return rc;
}

int
future_check_positional(const char *function, Py_ssize_t nargs, Py_ssize_t nkeywords,
                        Py_ssize_t most)
{
    if (nargs <= 1 || nargs + nkeywords > most) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "%s() takes exactly 1 positional argument (%zd given)", function,
                 nargs);
    return -1;
}

int
future_parse_cancel(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                    PyObject **msg)
{
    *msg = Py_None;
    if (CL_LIKELY(kwnames == NULL && nargs <= 1)) {
        if (nargs == 1) {
            *msg = args[0];
        }
        return 0;
    }
    static char *names[] = {"msg", NULL};
    return future_parse(args, nargs, kwnames, "|O:cancel", names, msg);
}

#if CL_ONE_ARGUMENT_BY_KEYWORDS
/* Borrowed from args: the one argument of the method that format names. */
static PyObject *
parse_one(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
          const char *format)
{
    if (CL_LIKELY(nargs == 1 && kwnames == NULL)) {
        return args[0];
    }
    static char *names[] = {"", NULL};
    PyObject *value;
    return future_parse(args, nargs, kwnames, format, names, &value) < 0 ? NULL : value;
}

/* Defines name##_face, which parses for name, a METH_O function. */
#define CL_ONE_ARGUMENT_FACE(name, format)                                             \
    static PyObject *name##_face(PyObject *self, PyObject *const *args,                \
                                 Py_ssize_t nargs, PyObject *kwnames)                  \
    {                                                                                  \
        PyObject *arg = parse_one(args, nargs, kwnames, format);                       \
        return arg != NULL ? name(self, arg) : NULL;                                   \
    }
#endif

/* -- methods ----------------------------------------------------------------------- */

PyDoc_VAR(Future_init_doc) =
    "Future(*, loop=None)\n--\n\n"
    "A result that is not there yet. loop: the event loop whose callbacks it runs,\n"
    "the current one when None. A subclass of asyncio.Future, with the same errors.\n"
    "Not thread-safe. See the asyncio documentation, section \"Futures\".";

static int
Future_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"loop", NULL};
    PyObject *loop = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$O:Future", names, &loop)) {
        return -1;
    }
    State *state = state_of_type(Py_TYPE(self));
    return state != NULL ? future_init(self, state, loop) : -1;
}

/* Like future_check_alive, with the exception that result() and exception() raise. */
static int
check_alive_for_outcome(PyObject *self)
{
    Future *future = FUTURE(self);
    if (future_is_alive(future)) {
        return 0;
    }
    State *state = state_of_type(Py_TYPE(self));
    if (state != NULL) {
        PyErr_SetString(state->InvalidStateError, "Future object is not initialized.");
    }
    return -1;
}

const char Future_result_doc[] =
    "result($self, /)\n--\n\n"
    "The result, or the exception that was set, raised; CancelledError when it was\n"
    "cancelled, InvalidStateError when it is not done. See the asyncio documentation,\n"
    "section \"Futures\".";

PyObject *
Future_result(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return check_alive_for_outcome(self) < 0 ? NULL : future_get_result(self);
}

const char Future_exception_doc[] =
    "exception($self, /)\n--\n\n"
    "The exception that was set, or None; CancelledError when it was cancelled,\n"
    "InvalidStateError when it is not done. See the asyncio documentation, section\n"
    "\"Futures\".";

PyObject *
Future_exception(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (check_alive_for_outcome(self) < 0) {
        return NULL;
    }
    Future *future = FUTURE(self);
    if (future->phase == CL_FUTURE_CANCELLED) {
        future_raise_cancelled(future);
        return NULL;
    }
    if (future->phase != CL_FUTURE_FINISHED) {
        PyErr_SetString(future->state->InvalidStateError, "Exception is not set.");
        return NULL;
    }
    if (future->exception == NULL) {
        Py_RETURN_NONE;
    }
    future->log_traceback = false;
    return Py_NewRef(future->exception);
}

PyDoc_STRVAR(
    Future_set_result_doc,
    "set_result($self, result, /)\n--\n\n"
    "Mark the future done. InvalidStateError when it is done. From the loop's\n"
    "thread. See the asyncio documentation, section \"Futures\".");

static PyObject *
Future_set_result(PyObject *self, PyObject *result)
{
    if (future_set_result(self, result) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(Future_set_exception_doc,
             "set_exception($self, exception, /)\n--\n\n"
             "Mark the future done with an exception, given as instance or class.\n"
             "InvalidStateError when it is done. From the loop's thread. See the\n"
             "asyncio documentation, section \"Futures\".");

static PyObject *
Future_set_exception(PyObject *self, PyObject *exception)
{
    if (future_set_exception(self, exception) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Whether a keyword is "context". Stock's Task in C gives one that is not interned. */
static bool
is_context(PyObject *self, PyObject *keyword)
{
    return (future_is_alive(FUTURE(self))
            && keyword == FUTURE(self)->state->str_context)
           || PyUnicode_CompareWithASCIIString(keyword, "context") == 0;
}

const char Future_add_done_callback_doc[] =
    "add_done_callback($self, fn, /, *, context=None)\n--\n\n"
    "Have the loop call fn(self), in context (default: a copy of the current one),\n"
    "soon after the future is done; soon after now when it is done already. From the\n"
    "loop's thread. See the asyncio documentation, section \"Futures\".";

PyObject *
Future_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    PyObject *callback;
    PyObject *context = NULL;
    if (CL_LIKELY(nargs == 1 && kwnames == NULL)) {
        callback = args[0];
    }
    else if (nargs == 1 && PyTuple_GET_SIZE(kwnames) == 1
             && is_context(self, PyTuple_GET_ITEM(kwnames, 0))) {
        callback = args[0];
        context = args[1];
    }
    else {
        static char *names[] = {"", "context", NULL};
        Py_ssize_t nkeywords = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
        if (future_check_positional("add_done_callback", nargs, nkeywords, 2) < 0) {
            return NULL;
        }
        if (future_parse(args, nargs, kwnames, "O|$O:add_done_callback", names,
                         &callback, &context)
            < 0) {
            return NULL;
        }
    }
    PyObject *own_context =
        context != NULL ? Py_NewRef(context) : PyContext_CopyCurrent();
    if (own_context == NULL) {
        return NULL;
    }
    int rc = future_add_done_callback(self, callback, own_context);
    Py_DECREF(own_context);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Removes the inline callback when it equals callback. 1, 0 or -1. */
static int
remove_first_callback(Future *future, PyObject *callback)
{
    if (future->waiter == NULL) {
        return 0;
    }
    PyObject *first = future->waiter_is_task ? task_wakeup_callable(future->waiter)
                                             : Py_NewRef(future->waiter);
    if (first == NULL) {
        return -1;
    }
    /* __eq__ may do anything to the future. */
    int equal = PyObject_RichCompareBool(first, callback, Py_EQ);
    Py_DECREF(first);
    if (equal > 0) {
        PyObject *waiter = future->waiter;
        PyObject *context = future->waiter_context;
        future->waiter = NULL;
        future->waiter_context = NULL;
        future->waiter_is_task = false;
        Py_XDECREF(waiter); /* may add another */
        Py_XDECREF(context);
    }
    return equal;
}

/* Removes what equals callback from the list. How many, or -1. */
static Py_ssize_t
remove_further_callbacks(Future *future, PyObject *callback)
{
    Py_ssize_t removed = 0;
    PyObject *kept = PyList_New(0);
    if (kept == NULL) {
        return -1;
    }
    /* The list, its length and its place in the future may change at each __eq__. */
    for (Py_ssize_t i = 0;
         future->callbacks != NULL && i < PyList_GET_SIZE(future->callbacks); i++) {
        PyObject *pair = Py_NewRef(PyList_GET_ITEM(future->callbacks, i));
        int equal =
            PyObject_RichCompareBool(PyTuple_GET_ITEM(pair, 0), callback, Py_EQ);
        int rc = equal == 0 ? PyList_Append(kept, pair) : 0;
        Py_DECREF(pair);
        if (equal < 0 || rc < 0) {
            Py_DECREF(kept);
            return -1;
        }
        removed += equal;
    }
    if (removed > 0 && future->callbacks != NULL) {
        PyObject *old = future->callbacks;
        if (PyList_GET_SIZE(kept) > 0) {
            future->callbacks = Py_NewRef(kept);
        }
        else {
            future->callbacks = NULL;
        }
        Py_DECREF(old);
    }
    Py_DECREF(kept);
    return removed;
}

const char Future_remove_done_callback_doc[] =
    "remove_done_callback($self, fn, /)\n--\n\n"
    "Remove all callbacks that equal fn; how many there were. From the loop's thread.\n"
    "See the asyncio documentation, section \"Futures\".";

PyObject *
Future_remove_done_callback(PyObject *self, PyObject *callback)
{
    Future *future = FUTURE(self);
    if (future_check_alive(future) < 0) {
        return NULL;
    }
    int first = remove_first_callback(future, callback);
    if (first < 0) {
        return NULL;
    }
    Py_ssize_t further = 0;
    if (future->callbacks != NULL) {
        further = remove_further_callbacks(future, callback);
        if (further < 0) {
            return NULL;
        }
    }
    return PyLong_FromSsize_t(first + further);
}

#if CL_HAVE_CANCEL_MESSAGE
PyDoc_STRVAR(Future_cancel_doc,
             "cancel($self, /, msg=None)\n--\n\n"
             "Cancel the future and schedule its callbacks: True; False when it is\n"
             "done already. " CL_CANCEL_MESSAGE_ARGUMENT
             "From the loop's thread. See the asyncio documentation, section\n"
             "\"Futures\".");

static PyObject *
Future_cancel(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
              PyObject *kwnames)
{
    PyObject *msg;
    if (future_parse_cancel(args, nargs, kwnames, &msg) < 0
        || future_check_alive(FUTURE(self)) < 0) {
        return NULL;
    }
    int rc = future_cancel(self, msg);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}
#define CL_CANCEL_FLAGS (METH_FASTCALL | METH_KEYWORDS)
#else
PyDoc_STRVAR(Future_cancel_doc,
             "cancel($self, /)\n--\n\n"
             "Cancel the future and schedule its callbacks: True; False when it is\n"
             "done already. From the loop's thread. See the asyncio documentation,\n"
             "section \"Futures\".");

static PyObject *
Future_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (future_check_alive(FUTURE(self)) < 0) {
        return NULL;
    }
    int rc = future_cancel(self, NULL);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}
#define CL_CANCEL_FLAGS METH_NOARGS
#endif

const char Future_cancelled_doc[] =
    "cancelled($self, /)\n--\n\n"
    "True when the future was cancelled. See the asyncio documentation, section\n"
    "\"Futures\".";

PyObject *
Future_cancelled(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Future *future = FUTURE(self);
    return PyBool_FromLong(future_is_alive(future)
                           && future->phase == CL_FUTURE_CANCELLED);
}

const char Future_done_doc[] =
    "done($self, /)\n--\n\n"
    "True when the future has a result or an exception or was cancelled. See the\n"
    "asyncio documentation, section \"Futures\".";

PyObject *
Future_done(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Future *future = FUTURE(self);
    return PyBool_FromLong(future_is_alive(future)
                           && future->phase != CL_FUTURE_PENDING);
}

const char Future_get_loop_doc[] =
    "get_loop($self, /)\n--\n\n"
    "The event loop of the future. See the asyncio documentation, section \"Futures\".";

PyObject *
Future_get_loop(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Future *future = FUTURE(self);
    return future_check_alive(future) < 0 ? NULL : Py_NewRef(future->loop);
}

const char Future_make_cancelled_error_doc[] =
    "_make_cancelled_error($self, /)\n--\n\n"
    "The CancelledError to be raised when the future is cancelled. Once only: the\n"
    "exception that it was cancelled by is given away with it.";

PyObject *
Future_make_cancelled_error(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Future *future = FUTURE(self);
    return future_check_alive(future) < 0 ? NULL : future_make_cancelled_error(future);
}

/* -- repr -------------------------------------------------------------------------- */

PyObject *
future_repr(PyObject *self, PyObject *function)
{
    Future *future = FUTURE(self);
    if (future_check_alive(future) < 0) {
        return NULL;
    }
    if (function != NULL) {
        return PyObject_CallOneArg(function, self);
    }
    PyObject *info = PyObject_CallMethodNoArgs(self, future->state->str_repr_info);
    PyObject *space = info != NULL ? PyUnicode_FromString(" ") : NULL;
    PyObject *text = space != NULL ? PyUnicode_Join(space, info) : NULL;
    Py_XDECREF(space);
    Py_XDECREF(info);
    if (text == NULL) {
        return NULL;
    }
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(self), "__name__");
    PyObject *repr = name != NULL ? PyUnicode_FromFormat("<%S %U>", name, text) : NULL;
    Py_XDECREF(name);
    Py_DECREF(text);
    return repr;
}

static PyObject *
Future_repr(PyObject *self)
{
    Future *future = FUTURE(self);
    return future_repr(self,
                       future_is_alive(future) ? future->state->future_repr : NULL);
}

#if !CL_HAVE_REPR_FUNCTIONS
PyDoc_STRVAR(Future_repr_info_doc, "_repr_info($self, /)\n--\n\n"
                                   "What repr() shows, as a list.");

static PyObject *
Future_repr_info(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Future *future = FUTURE(self);
    return future_check_alive(future) < 0
               ? NULL
               : PyObject_CallOneArg(future->state->future_repr_info, self);
}
#endif

/* -- attributes -------------------------------------------------------------------- */

/* New ref: value, or None for NULL; raises unless __init__ has run. */
static PyObject *
get_object(PyObject *self, PyObject *value)
{
    if (future_check_alive(FUTURE(self)) < 0) {
        return NULL;
    }
    return Py_NewRef(value != NULL ? value : Py_None);
}

PyObject *
Future_get_state(PyObject *self, void *Py_UNUSED(closure))
{
    static const char *const names[] = {"PENDING", "CANCELLED", "FINISHED"};
    Future *future = FUTURE(self);
    return future_check_alive(future) < 0
               ? NULL
               : PyUnicode_InternFromString(names[future->phase]);
}

PyObject *
Future_get_blocking(PyObject *self, void *Py_UNUSED(closure))
{
    Future *future = FUTURE(self);
    return PyBool_FromLong(future_is_alive(future) && future->blocking);
}

/* -1 with AttributeError for a deletion. */
static int
check_not_deleted(PyObject *self, const char *name, PyObject *value)
{
    if (value != NULL) {
        return 0;
    }
    compat_refuse_delete(self, name);
    return -1;
}

int
Future_set_blocking(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (future_check_alive(FUTURE(self)) < 0
        || check_not_deleted(self, "_asyncio_future_blocking", value) < 0) {
        return -1;
    }
    int is_true = PyObject_IsTrue(value);
    if (is_true < 0) {
        return -1;
    }
    FUTURE(self)->blocking = is_true;
    return 0;
}

PyObject *
Future_get_loop_attribute(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *loop = FUTURE(self)->loop;
    return Py_NewRef(loop != NULL ? loop : Py_None);
}

/* New ref: the inline callback as a pair; the future has one. */
static PyObject *
first_callback_pair(Future *future)
{
    if (!future->waiter_is_task) {
        return PyTuple_Pack(2, future->waiter, future->waiter_context);
    }
    PyObject *callable = task_wakeup_callable(future->waiter);
    if (callable == NULL) {
        return NULL;
    }
    PyObject *pair = PyTuple_Pack(2, callable, TASK(future->waiter)->context);
    Py_DECREF(callable);
    return pair;
}

PyObject *
Future_get_callbacks(PyObject *self, void *Py_UNUSED(closure))
{
    Future *future = FUTURE(self);
    if (future_check_alive(future) < 0) {
        return NULL;
    }
    if (future->waiter == NULL && future->callbacks == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *list = PyList_New(0);
    if (list == NULL) {
        return NULL;
    }
    int rc = 0;
    if (future->waiter != NULL) {
        PyObject *pair = first_callback_pair(future);
        rc = pair != NULL ? PyList_Append(list, pair) : -1;
        Py_XDECREF(pair);
    }
    Py_ssize_t size =
        future->callbacks != NULL ? PyList_GET_SIZE(future->callbacks) : 0;
    for (Py_ssize_t i = 0; rc == 0 && i < size; i++) {
        rc = PyList_Append(list, PyList_GET_ITEM(future->callbacks, i));
    }
    if (rc < 0) {
        Py_CLEAR(list);
    }
    return list;
}

PyObject *
Future_get_result_attribute(PyObject *self, void *Py_UNUSED(closure))
{
    return get_object(self, FUTURE(self)->result);
}

PyObject *
Future_get_exception_attribute(PyObject *self, void *Py_UNUSED(closure))
{
    return get_object(self, FUTURE(self)->exception);
}

PyObject *
Future_get_log_traceback(PyObject *self, void *Py_UNUSED(closure))
{
    Future *future = FUTURE(self);
    return future_check_alive(future) < 0 ? NULL
                                          : PyBool_FromLong(future->log_traceback);
}

int
Future_set_log_traceback(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (check_not_deleted(self, "_log_traceback", value) < 0) {
        return -1;
    }
    int is_true = PyObject_IsTrue(value);
    if (is_true < 0) {
        return -1;
    }
    if (is_true) {
        PyErr_SetString(PyExc_ValueError, "_log_traceback can only be set to False");
        return -1;
    }
    FUTURE(self)->log_traceback = false;
    return 0;
}

PyObject *
Future_get_source_traceback(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *traceback = FUTURE(self)->source_traceback;
    return Py_NewRef(traceback != NULL ? traceback : Py_None);
}

PyObject *
Future_get_cancel_message(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *message = FUTURE(self)->cancel_message;
    return Py_NewRef(message != NULL ? message : Py_None);
}

int
Future_set_cancel_message(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (check_not_deleted(self, "_cancel_message", value) < 0) {
        return -1;
    }
    Py_XSETREF(FUTURE(self)->cancel_message, Py_NewRef(value));
    return 0;
}

#if CL_ONE_ARGUMENT_BY_KEYWORDS
CL_ONE_ARGUMENT_FACE(Future_set_result, "O:set_result")
CL_ONE_ARGUMENT_FACE(Future_set_exception, "O:set_exception")

PyObject *
Future_remove_done_callback_face(PyObject *self, PyObject *const *args,
                                 Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *callback = parse_one(args, nargs, kwnames, "O:remove_done_callback");
    return callback != NULL ? Future_remove_done_callback(self, callback) : NULL;
}
#endif

/* -- the type ---------------------------------------------------------------------- */

static int
Future_clear(PyObject *self)
{
    Future *future = FUTURE(self);
    future_clear_fields(self);
    future->native = NULL;
    Py_CLEAR(future->loop);
    future_clear_base(self);
    return 0;
}

static void
Future_finalize(PyObject *self)
{
    future_finalize(self);
}

static void
Future_dealloc(PyObject *self)
{
    Future *future = FUTURE(self);
    State *state = future->state;
    bool exact = state != NULL && Py_IS_TYPE(self, state->FutureType);
    if (exact && CL_UNLIKELY(future->log_traceback) && !future->finalized) {
        if (PyObject_CallFinalizerFromDealloc(self) < 0) {
            return; /* resurrected */
        }
    }
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, Future_dealloc) compat_clear_weakrefs(self);
    future_clear_fields(self);
    future_clear_base(self);
    future_free(self,
                exact && future->native != NULL ? &future->native->free_futures : NULL,
                sizeof(Future));
    Py_TRASHCAN_END
}

static PyMethodDef Future_methods[] = {
    CL_FUTURE_METHODS,
#if CL_ONE_ARGUMENT_BY_KEYWORDS
    {"set_result", (PyCFunction)(void (*)(void))Future_set_result_face,
     METH_FASTCALL | METH_KEYWORDS, Future_set_result_doc},
    {"set_exception", (PyCFunction)(void (*)(void))Future_set_exception_face,
     METH_FASTCALL | METH_KEYWORDS, Future_set_exception_doc},
#else
    {"set_result", Future_set_result, METH_O, Future_set_result_doc},
    {"set_exception", Future_set_exception, METH_O, Future_set_exception_doc},
#endif
    {"cancel", (PyCFunction)(void (*)(void))Future_cancel, CL_CANCEL_FLAGS,
     Future_cancel_doc},
#if CL_HAVE_CANCEL_MESSAGE
    CL_FUTURE_METHODS_39,
#endif
#if !CL_HAVE_REPR_FUNCTIONS
    {"_repr_info", Future_repr_info, METH_NOARGS, Future_repr_info_doc},
#endif
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef Future_getset[] = {
    CL_FUTURE_GETSET,
#if CL_HAVE_CANCEL_MESSAGE
    CL_FUTURE_GETSET_39,
#endif
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot Future_slots[] = {
    {Py_tp_doc, (void *)Future_init_doc},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, Future_init},
    {Py_tp_dealloc, Future_dealloc},
    {Py_tp_traverse, future_traverse},
    {Py_tp_clear, Future_clear},
    {Py_tp_finalize, Future_finalize},
    {Py_tp_repr, Future_repr},
    {Py_tp_iter, future_iter_new},
    {Py_am_await, future_iter_new},
    {Py_tp_methods, Future_methods},
    {Py_tp_getset, Future_getset},
    {0, NULL},
};

PyType_Spec future_spec = {
    .name = "cloop.Future",
    .basicsize = CL_FUTURE_BASE + sizeof(Future),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE
             | CL_TPFLAGS_IMMUTABLE,
    .slots = Future_slots,
};
