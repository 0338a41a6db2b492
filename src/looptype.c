/* The Loop type's Python face: parse, docstring, call down. No logic lives here; it is
 * in core/loop.c (scheduling) and core/turn.c (running). The methods on descriptors and
 * sockets are in io/fdwatch.c and io/sockops.c. cloop/loop.py subclasses this type and
 * adds what runs once per loop, connection or process. */

#include "core/handle.h"
#include "core/loop.h"
#include "core/task.h"
#include "py/args.h"
#include "py/err.h"

#define LOOP(op) ((Loop *)(op))

/* -- scheduling -------------------------------------------------------------------- */

/* The context given, or NULL for the current one. */
static PyObject *
given(PyObject *value)
{
    return value == Py_None ? NULL : value;
}

PyDoc_STRVAR(
    Loop_call_soon_doc,
    "call_soon($self, callback, *args, context=None)\n--\n\n"
    "Run callback(*args) in the next turn of the loop, in context or a copy of\n"
    "the current one; return a Handle. Callbacks run in the order in which they\n"
    "were registered. Raises RuntimeError when the loop is closed. From the\n"
    "loop's thread only. See the asyncio documentation, section \"Scheduling\n"
    "callbacks\".");

static PyObject *
Loop_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames)
{
    static const char *const names[] = {"callback", "context", NULL};
    static const ArgSpec spec = {"Loop.call_soon", names, 1, 1, true, false};
    PyObject *values[2];
    if (args_parse(&spec, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    return loop_schedule(LOOP(self), values[0], args + 1, nargs > 1 ? nargs - 1 : 0,
                         given(values[1]));
}

PyDoc_STRVAR(
    Loop_call_soon_threadsafe_doc,
    "call_soon_threadsafe($self, callback, *args, context=None)\n--\n\n"
    "As call_soon(), from any thread: wakes the loop when it sleeps. Raises\n"
    "RuntimeError when the loop is closed. See the asyncio documentation, section\n"
    "\"Scheduling callbacks\".");

static PyObject *
Loop_call_soon_threadsafe(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kwnames)
{
    static const char *const names[] = {"callback", "context", NULL};
    static const ArgSpec spec = {"Loop.call_soon_threadsafe", names, 1, 1, true, false};
    PyObject *values[2];
    if (args_parse(&spec, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    return loop_schedule_threadsafe(LOOP(self), values[0], args + 1,
                                    nargs > 1 ? nargs - 1 : 0, given(values[1]));
}

/* call_at through the method that the user has overridden. */
static PyObject *
loop_call_at_overridden(PyObject *self, PyObject *when, PyObject *callback,
                        PyObject *const *args, Py_ssize_t nargs, PyObject *context)
{
    PyObject *method = PyObject_GetAttr(self, LOOP(self)->state->str_call_at);
    PyObject *all = method == NULL ? NULL : PyTuple_New(2 + nargs);
    PyObject *keywords = all == NULL ? NULL : PyDict_New();
    PyObject *result = NULL;
    if (keywords != NULL) {
        PyTuple_SET_ITEM(all, 0, Py_NewRef(when));
        PyTuple_SET_ITEM(all, 1, Py_NewRef(callback));
        for (Py_ssize_t i = 0; i < nargs; i++) {
            PyTuple_SET_ITEM(all, 2 + i, Py_NewRef(args[i]));
        }
        if (PyDict_SetItem(keywords, LOOP(self)->state->str_context,
                           context != NULL ? context : Py_None)
            == 0) {
            result = PyObject_Call(method, all, keywords);
        }
    }
    Py_XDECREF(keywords);
    Py_XDECREF(all);
    Py_XDECREF(method);
    return result;
}

/* call_later when the delay is no float or int, or time() or call_at() is the user's. */
static PyObject *
loop_call_later_generic(PyObject *self, PyObject *delay, PyObject *callback,
                        PyObject *const *args, Py_ssize_t nargs, PyObject *context)
{
    Loop *loop = LOOP(self);
    PyObject *result = NULL;
    PyObject *now = loop->overrides & CL_OVERRIDE_TIME
                        ? PyObject_CallMethodNoArgs(self, loop->state->str_time)
                        : PyFloat_FromDouble((double)loop_clock_ns() / 1e9);
    PyObject *when = now == NULL ? NULL : PyNumber_Add(now, delay);
    if (when != NULL) {
        result =
            loop->overrides & CL_OVERRIDE_CALL_AT
                ? loop_call_at_overridden(self, when, callback, args, nargs, context)
                : loop_schedule_at(loop, when, callback, args, nargs, context);
    }
    Py_XDECREF(when);
    Py_XDECREF(now);
    return result;
}

PyDoc_STRVAR(
    Loop_call_later_doc,
    "call_later($self, delay, callback, *args, context=None)\n--\n\n"
    "Run callback(*args) after delay seconds (int or float; not before); return a\n"
    "TimerHandle. A delay of zero or less is due in the next turn. Raises RuntimeError\n"
    "when the loop is closed. From the loop's thread only. See the asyncio\n"
    "documentation, section \"Scheduling delayed callbacks\".");

static PyObject *
Loop_call_later(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    static const char *const names[] = {"delay", "callback", "context", NULL};
    static const ArgSpec spec = {"Loop.call_later", names, 2, 2, true, false};
    PyObject *values[3];
    if (args_parse(&spec, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    PyObject *delay = values[0], *context = given(values[2]);
    PyObject *const *rest = args + 2;
    Py_ssize_t count = nargs > 2 ? nargs - 2 : 0;
    loop_check_class(LOOP(self));
    if (CL_REFUSES_NO_DELAY && delay == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        return NULL;
    }
    if (CL_LIKELY(
            !(LOOP(self)->overrides & (CL_OVERRIDE_TIME | CL_OVERRIDE_CALL_AT)))) {
        if (PyFloat_CheckExact(delay)) {
            return loop_schedule_after(LOOP(self), PyFloat_AS_DOUBLE(delay), values[1],
                                       rest, count, context);
        }
        if (PyLong_CheckExact(delay)) {
            double seconds = PyLong_AsDouble(delay);
            if (seconds == -1.0 && PyErr_Occurred()) {
                return NULL;
            }
            return loop_schedule_after(LOOP(self), seconds, values[1], rest, count,
                                       context);
        }
    }
    return loop_call_later_generic(self, delay, values[1], rest, count, context);
}

PyDoc_STRVAR(
    Loop_call_at_doc,
    "call_at($self, when, callback, *args, context=None)\n--\n\n"
    "Run callback(*args) at the time `when`, in seconds of loop.time() (not before);\n"
    "return a TimerHandle. Raises RuntimeError when the loop is closed. From the loop's\n"
    "thread only. See the asyncio documentation, section \"Scheduling delayed\n"
    "callbacks\".");

static PyObject *
Loop_call_at(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"when", "callback", "context", NULL};
    static const ArgSpec spec = {"Loop.call_at", names, 2, 2, true, false};
    PyObject *values[3];
    if (args_parse(&spec, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    if (CL_REFUSES_NO_DELAY && values[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
        return NULL;
    }
    return loop_schedule_at(LOOP(self), values[0], values[1], args + 2,
                            nargs > 2 ? nargs - 2 : 0, given(values[2]));
}

PyDoc_STRVAR(
    Loop_time_doc,
    "time($self, /)\n--\n\n"
    "The loop's clock in seconds: time.monotonic(). Any thread. See the asyncio\n"
    "documentation, section \"Scheduling delayed callbacks\".");

static PyObject *
Loop_time(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    return PyFloat_FromDouble((double)loop_clock_ns() / 1e9);
}

PyDoc_STRVAR(
    Loop_add_callback_doc,
    "_add_callback($self, handle, /)\n--\n\n"
    "Put a Handle of cloop on the ready ring, unless it is cancelled; wake the\n"
    "loop when it sleeps. For signal handlers.");

static PyObject *
Loop_add_callback(PyObject *self, PyObject *handle)
{
    State *state = LOOP(self)->state;
    if (!Py_IS_TYPE(handle, state->HandleType)) {
        PyErr_Format(PyExc_TypeError, "a cloop.Handle was expected, got %R", handle);
        return NULL;
    }
    if (!HANDLE(handle)->cancelled
        && (loop_push_handle(LOOP(self), handle) < 0 || loop_wake(LOOP(self)) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- running ----------------------------------------------------------------------- */

PyDoc_STRVAR(
    Loop_run_forever_doc,
    "run_forever($self, /)\n--\n\n"
    "Run the loop until stop() is called. Raises RuntimeError when it is closed\n"
    "or a loop runs in this thread already. See the asyncio documentation,\n"
    "section \"Running and stopping the loop\".");

static PyObject *
Loop_run_forever(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (loop_run_forever(LOOP(self)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    Loop_run_until_complete_doc,
    "run_until_complete($self, future)\n--\n\n"
    "Run until the future is done; return its result or raise its exception. A\n"
    "coroutine is made a task first. Raises RuntimeError when the loop is closed, runs\n"
    "already, or is stopped before the future is done. See the asyncio documentation,\n"
    "section \"Running and stopping the loop\".");

static PyObject *
Loop_run_until_complete(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames)
{
    static const char *const names[] = {"future", NULL};
    static const ArgSpec spec = {"Loop.run_until_complete", names, 1, 1, false, false};
    PyObject *values[1];
    if (args_parse(&spec, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    return loop_run_until_complete(LOOP(self), values[0]);
}

PyDoc_STRVAR(Loop_stop_doc,
             "stop($self, /)\n--\n\n"
             "Leave run_forever() at the end of the current turn, or of the first one\n"
             "when the loop does not run yet. From the loop's thread. See the asyncio\n"
             "documentation, section \"Running and stopping the loop\".");

static PyObject *
Loop_stop(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    LOOP(self)->stopping = true;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    Loop_close_doc,
    "close($self, /)\n--\n\n"
    "Close the loop; what is still scheduled is dropped. Nothing happens when it\n"
    "is closed already. Raises RuntimeError when it runs. See the asyncio\n"
    "documentation, section \"Running and stopping the loop\".");

static PyObject *
Loop_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (loop_close(LOOP(self)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(Loop_is_running_doc,
             "is_running($self, /)\n--\n\n"
             "True while the loop runs. Any thread. See the asyncio documentation,\n"
             "section \"Running and stopping the loop\".");

static PyObject *
Loop_is_running(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(LOOP(self)->running);
}

PyDoc_STRVAR(
    Loop_is_closed_doc,
    "is_closed($self, /)\n--\n\n"
    "True once the loop is closed. Any thread. See the asyncio documentation,\n"
    "section \"Running and stopping the loop\".");

static PyObject *
Loop_is_closed(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(LOOP(self)->closed);
}

PyDoc_STRVAR(Loop_check_closed_doc, "_check_closed($self, /)\n--\n\n"
                                    "Raise RuntimeError when the loop is closed.");

static PyObject *
Loop_check_closed(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (loop_check_closed(LOOP(self)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(Loop_check_running_doc,
             "_check_running($self, /)\n--\n\n"
             "Raise RuntimeError when this loop, or another in this thread, runs.");

static PyObject *
Loop_check_running(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (loop_check_running(LOOP(self)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(Loop_flush_writes_doc,
             "_flush_writes($self, /)\n--\n\n"
             "Send now what transports have held back to the end of the turn.");

static PyObject *
Loop_flush_writes(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return loop_flush_writes(LOOP(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(
    Loop_check_callback_doc,
    "_check_callback($self, callback, method)\n--\n\n"
    "Raise TypeError when callback is a coroutine (function) or not callable.");

static PyObject *
Loop_check_callback(PyObject *self, PyObject *args)
{
    PyObject *callback;
    const char *method;
    if (!PyArg_ParseTuple(args, "Os:_check_callback", &callback, &method)
        || loop_check_callback(LOOP(self)->state, callback, method) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(Loop_timer_handle_cancelled_doc,
             "_timer_handle_cancelled($self, handle, /)\n--\n\n"
             "What asyncio.TimerHandle calls; cloop's own timers need it not.");

static PyObject *
Loop_timer_handle_cancelled(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(handle))
{
    Py_RETURN_NONE;
}

/* -- futures and tasks ------------------------------------------------------------- */

PyDoc_STRVAR(Loop_create_future_doc,
             "create_future($self, /)\n--\n\n"
             "A new cloop.Future of this loop. See the asyncio documentation, section\n"
             "\"Creating Futures and Tasks\".");

static PyObject *
Loop_create_future(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return future_new(LOOP(self));
}

PyDoc_STRVAR(
    Loop_create_task_doc, CL_CREATE_TASK_SIGNATURE
    "\n--\n\n"
    "Schedule the coroutine coro and return its Task (or what the task factory makes\n"
    "of it). Raises RuntimeError when the loop is closed, TypeError when coro is no\n"
    "coroutine. From the loop's thread. See the asyncio documentation, section\n"
    "\"Creating Futures and Tasks\".");

/* True when the keywords are only those that task_new takes. */
static bool
create_task_is_plain(State *state, PyObject *kwnames, PyObject *const *values,
                     PyObject **name, PyObject **context, PyObject **eager_start)
{
    Py_ssize_t count = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *key = PyTuple_GET_ITEM(kwnames, i);
        if (key == state->str_name) {
            *name = values[i];
        }
        else if (CL_PY311 && key == state->str_context) {
            *context = values[i];
        }
        else if (CL_PY314 && key == state->str_eager_start) {
            *eager_start = values[i];
        }
        else {
            return false;
        }
    }
    return true;
}

static PyObject *
Loop_create_task(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    Loop *loop = LOOP(self);
    PyObject *name = Py_None, *context = Py_None, *eager_start = Py_False;
    if (CL_LIKELY(nargs == 1 && loop->task_factory == NULL
                  && create_task_is_plain(loop->state, kwnames, args + nargs, &name,
                                          &context, &eager_start))) {
        int eager = eager_start == Py_False ? 0 : PyObject_IsTrue(eager_start);
        if (eager < 0 || loop_check_closed(loop) < 0) {
            return NULL;
        }
        return task_new(loop, args[0], given(name), given(context), eager);
    }
    /* A factory gets exactly the arguments that the running Python gives it, and wrong
     * arguments its errors: by asyncio's own function. */
    PyObject *stack[CL_ARGS_MAX + 1];
    Py_ssize_t total = nargs + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    if (total > CL_ARGS_MAX) {
        PyErr_SetString(PyExc_TypeError, "create_task() takes too many arguments");
        return NULL;
    }
    stack[0] = self;
    for (Py_ssize_t i = 0; i < total; i++) {
        stack[i + 1] = args[i];
    }
    return PyObject_Vectorcall(loop->state->base_create_task, stack, nargs + 1,
                               kwnames);
}

/* Loop_method for a method of one argument, which stock takes by its name as well: a
 * static method(self, argument) does the work. */
#define CL_ONE_ARGUMENT(method, argument)                                              \
    static PyObject *Loop_##method(PyObject *self, PyObject *const *args,              \
                                   Py_ssize_t nargs, PyObject *kwnames)                \
    {                                                                                  \
        static const char *const names[] = {argument, NULL};                           \
        static const ArgSpec spec = {"Loop." #method, names, 1, 1, false, false};      \
        PyObject *value;                                                               \
        if (args_parse(&spec, args, nargs, kwnames, &value) < 0) {                     \
            return NULL;                                                               \
        }                                                                              \
        return method(self, value);                                                    \
    }

PyDoc_STRVAR(
    Loop_set_task_factory_doc,
    "set_task_factory($self, factory)\n--\n\n"
    "Set the callable (loop, coro, **kwargs) that create_task() uses, or None.\n"
    "Raises TypeError for anything else. See the asyncio documentation, section\n"
    "\"Creating Futures and Tasks\".");

static PyObject *
set_task_factory(PyObject *self, PyObject *factory)
{
    if (factory != Py_None && !PyCallable_Check(factory)) {
        PyErr_SetString(PyExc_TypeError, "task factory must be a callable or None");
        return NULL;
    }
    Py_XSETREF(LOOP(self)->task_factory, Py_XNewRef(given(factory)));
    Py_RETURN_NONE;
}

CL_ONE_ARGUMENT(set_task_factory, "factory")

PyDoc_STRVAR(Loop_get_task_factory_doc,
             "get_task_factory($self, /)\n--\n\n"
             "The task factory, or None. See the asyncio documentation, section\n"
             "\"Creating Futures and Tasks\".");

static PyObject *
Loop_get_task_factory(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *factory = LOOP(self)->task_factory;
    return Py_NewRef(factory != NULL ? factory : Py_None);
}

/* -- errors and debug mode --------------------------------------------------------- */

PyDoc_STRVAR(
    Loop_set_exception_handler_doc,
    "set_exception_handler($self, handler)\n--\n\n"
    "Set the callable (loop, context) that gets what no one caught, or None for\n"
    "the default one. Raises TypeError for anything else. See the asyncio\n"
    "documentation, section \"Error Handling API\".");

static PyObject *
set_exception_handler(PyObject *self, PyObject *handler)
{
    if (handler != Py_None && !PyCallable_Check(handler)) {
        PyErr_Format(PyExc_TypeError, "A callable object or None is expected, got %R",
                     handler);
        return NULL;
    }
    Py_XSETREF(LOOP(self)->exception_handler, Py_XNewRef(given(handler)));
    Py_RETURN_NONE;
}

CL_ONE_ARGUMENT(set_exception_handler, "handler")

PyDoc_STRVAR(Loop_get_exception_handler_doc,
             "get_exception_handler($self, /)\n--\n\n"
             "The exception handler, or None when the default one is in use. See the\n"
             "asyncio documentation, section \"Error Handling API\".");

static PyObject *
Loop_get_exception_handler(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *handler = LOOP(self)->exception_handler;
    return Py_NewRef(handler != NULL ? handler : Py_None);
}

PyDoc_STRVAR(Loop_get_debug_doc,
             "get_debug($self, /)\n--\n\n"
             "True in debug mode. Any thread. See the asyncio documentation, section\n"
             "\"Enabling debug mode\".");

static PyObject *
Loop_get_debug(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(LOOP(self)->guard & CL_GUARD_DEBUG);
}

PyDoc_STRVAR(Loop_set_debug_doc,
             "set_debug($self, enabled)\n--\n\n"
             "Turn debug mode on or off. See the asyncio documentation, section\n"
             "\"Enabling debug mode\".");

/* The origins of coroutines are tracked by thread: the running loop's has to be told. */
static PyObject *
set_debug_in_thread(PyObject *self, PyObject *enabled)
{
    PyObject *method =
        PyObject_GetAttrString((PyObject *)LOOP(self)->state->LoopType, "set_debug");
    if (method == NULL) {
        return NULL;
    }
    PyObject *handle =
        PyObject_CallMethod(self, "call_soon_threadsafe", "NOO", method, self, enabled);
    if (handle == NULL) {
        return NULL;
    }
    Py_DECREF(handle);
    Py_RETURN_NONE;
}

static PyObject *
set_debug(PyObject *self, PyObject *enabled)
{
    Loop *loop = LOOP(self);
    int truth = PyObject_IsTrue(enabled);
    if (truth < 0) {
        return NULL;
    }
    loop->guard = truth ? loop->guard | CL_GUARD_DEBUG : loop->guard & ~CL_GUARD_DEBUG;
    if (!loop->running) {
        Py_RETURN_NONE;
    }
    if (loop->thread_id != PyThread_get_thread_ident()) {
        return set_debug_in_thread(self, enabled);
    }
    if (loop_track_origins(loop, truth) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

CL_ONE_ARGUMENT(set_debug, "enabled")

/* -- attributes -------------------------------------------------------------------- */

static PyObject *
Loop_get_ready(PyObject *self, void *Py_UNUSED(closure))
{
    return loop_list_ready(LOOP(self));
}

static PyObject *
Loop_get_scheduled(PyObject *self, void *Py_UNUSED(closure))
{
    return loop_list_scheduled(LOOP(self));
}

static PyObject *
Loop_get_thread_id(PyObject *self, void *Py_UNUSED(closure))
{
    unsigned long id = LOOP(self)->thread_id;
    return id != 0 ? PyLong_FromUnsignedLong(id) : Py_NewRef(Py_None);
}

static PyObject *
Loop_get_flag(PyObject *self, void *offset)
{
    return PyBool_FromLong(*(bool *)((char *)self + (size_t)offset));
}

/* Sanic clears it, to run its last coroutines on a loop that was told to stop. */
static int
Loop_set_stopping(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_stopping");
        return -1;
    }
    int stopping = PyObject_IsTrue(value);
    if (stopping < 0) {
        return -1;
    }
    LOOP(self)->stopping = stopping;
    return 0;
}

static PyObject *
Loop_get_current_handle(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *handle = LOOP(self)->current_handle;
    return Py_NewRef(handle != NULL ? handle : Py_None);
}

static PyObject *
Loop_get_clock_resolution(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyFloat_FromDouble(1e-9);
}

/* An attribute _name that reads and is set as by get_name() and set_name(). */
#define CL_ATTRIBUTE(name)                                                             \
    static PyObject *Loop_get_##name##_attribute(PyObject *self,                       \
                                                 void *Py_UNUSED(closure))             \
    {                                                                                  \
        return Loop_get_##name(self, NULL);                                            \
    }                                                                                  \
                                                                                       \
    static int Loop_set_##name##_attribute(PyObject *self, PyObject *value,            \
                                           void *Py_UNUSED(closure))                   \
    {                                                                                  \
        if (value == NULL) {                                                           \
            PyErr_SetString(PyExc_AttributeError, "_" #name);                          \
            return -1;                                                                 \
        }                                                                              \
        PyObject *result = set_##name(self, value);                                    \
        Py_XDECREF(result);                                                            \
        return result == NULL ? -1 : 0;                                                \
    }

CL_ATTRIBUTE(debug)
CL_ATTRIBUTE(task_factory)
CL_ATTRIBUTE(exception_handler)

/* -- the user's own methods -------------------------------------------------------- */

/* The CL_OVERRIDE_* that an attribute's name stands for; 0: none. */
static unsigned
override_of_name(State *state, PyObject *name)
{
#define CL_COMPARE(member, flag)                                                       \
    if (PyUnicode_Compare(name, state->member) == 0) {                                 \
        return (flag);                                                                 \
    }
    CL_OVERRIDABLE(CL_COMPARE)
#undef CL_COMPARE
    return 0;
}

static int
Loop_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    if (PyObject_GenericSetAttr(self, name, value) < 0) {
        return -1;
    }
    Loop *loop = LOOP(self);
    unsigned flag = PyUnicode_Check(name) ? override_of_name(loop->state, name) : 0;
    if (flag != 0) {
        loop->own_overrides =
            value != NULL ? loop->own_overrides | flag : loop->own_overrides & ~flag;
        loop_find_overrides(loop);
    }
    return 0;
}

/* -- life -------------------------------------------------------------------------- */

/* As asyncio.coroutines._is_debug_mode(): os.environ keeps the C environment in step. */
static bool
is_debug_wanted(State *state)
{
    if (state->is_dev_mode) {
        return true;
    }
    const char *value =
        state->ignores_environment ? NULL : getenv("PYTHONASYNCIODEBUG");
    return value != NULL && *value != '\0';
}

static PyObject *
Loop_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    State *state = state_of_type(type);
    if (state == NULL) {
        return NULL;
    }
    PyObject *self = type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    Loop *loop = LOOP(self);
    if (loop_init(loop, state) < 0) {
        loop->state = NULL;
        Py_DECREF(self);
        return NULL;
    }
    loop_find_overrides(loop);
    if (is_debug_wanted(state)) {
        loop->guard |= CL_GUARD_DEBUG;
    }
    return self;
}

static int
Loop_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) != 0
        || (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0)) {
        PyErr_Format(PyExc_TypeError, "%.200s() takes no arguments",
                     Py_TYPE(self)->tp_name);
        return -1;
    }
    return 0;
}

static int
Loop_traverse(PyObject *self, visitproc visit, void *arg)
{
    CL_VISIT_TYPE(self);
    return LOOP(self)->state == NULL ? 0 : loop_traverse(LOOP(self), visit, arg);
}

static int
Loop_clear(PyObject *self)
{
    if (LOOP(self)->state != NULL) {
        loop_clear(LOOP(self));
    }
    return 0;
}

static void
Loop_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (LOOP(self)->state != NULL) {
        loop_finish(LOOP(self));
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
Loop_repr(PyObject *self)
{
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(self), "__name__");
    if (name == NULL) {
        return NULL;
    }
    Loop *loop = LOOP(self);
    PyObject *text = PyUnicode_FromFormat(
        "<%U running=%s closed=%s debug=%s>", name, loop->running ? "True" : "False",
        loop->closed ? "True" : "False",
        loop->guard & CL_GUARD_DEBUG ? "True" : "False");
    Py_DECREF(name);
    return text;
}

/* Loop_method_checked for a method without arguments: what is given too much gets the
 * message of stock's methods, which are Python functions. */
#define CL_NO_ARGUMENTS(method)                                                        \
    static PyObject *Loop_##method##_checked(PyObject *self, PyObject *const *args,    \
                                             Py_ssize_t nargs, PyObject *kwnames)      \
    {                                                                                  \
        if (CL_UNLIKELY(nargs != 0 || kwnames != NULL)) {                              \
            static const char *const names[] = {NULL};                                 \
            static const ArgSpec spec = {"Loop." #method, names, 0, 0, false, false};  \
            PyObject *none;                                                            \
            if (args_parse(&spec, args, nargs, kwnames, &none) < 0) {                  \
                return NULL;                                                           \
            }                                                                          \
        }                                                                              \
        return Loop_##method(self, NULL);                                              \
    }

CL_NO_ARGUMENTS(time)
CL_NO_ARGUMENTS(run_forever)
CL_NO_ARGUMENTS(stop)
CL_NO_ARGUMENTS(close)
CL_NO_ARGUMENTS(is_running)
CL_NO_ARGUMENTS(is_closed)
CL_NO_ARGUMENTS(create_future)
CL_NO_ARGUMENTS(get_task_factory)
CL_NO_ARGUMENTS(get_exception_handler)
CL_NO_ARGUMENTS(get_debug)

#define FASTCALL(function)                                                             \
    (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef Loop_methods[] = {
    {"call_soon", FASTCALL(Loop_call_soon), Loop_call_soon_doc},
    {"call_soon_threadsafe", FASTCALL(Loop_call_soon_threadsafe),
     Loop_call_soon_threadsafe_doc},
    {"call_later", FASTCALL(Loop_call_later), Loop_call_later_doc},
    {"call_at", FASTCALL(Loop_call_at), Loop_call_at_doc},
    {"time", FASTCALL(Loop_time_checked), Loop_time_doc},
    {"_add_callback", Loop_add_callback, METH_O, Loop_add_callback_doc},
    {"run_forever", FASTCALL(Loop_run_forever_checked), Loop_run_forever_doc},
    {"run_until_complete", FASTCALL(Loop_run_until_complete),
     Loop_run_until_complete_doc},
    {"stop", FASTCALL(Loop_stop_checked), Loop_stop_doc},
    {"close", FASTCALL(Loop_close_checked), Loop_close_doc},
    {"is_running", FASTCALL(Loop_is_running_checked), Loop_is_running_doc},
    {"is_closed", FASTCALL(Loop_is_closed_checked), Loop_is_closed_doc},
    {"_check_closed", Loop_check_closed, METH_NOARGS, Loop_check_closed_doc},
    {"_check_running", Loop_check_running, METH_NOARGS, Loop_check_running_doc},
    {"_flush_writes", Loop_flush_writes, METH_NOARGS, Loop_flush_writes_doc},
    {"_check_callback", Loop_check_callback, METH_VARARGS, Loop_check_callback_doc},
    {"_timer_handle_cancelled", Loop_timer_handle_cancelled, METH_O,
     Loop_timer_handle_cancelled_doc},
    {"create_future", FASTCALL(Loop_create_future_checked), Loop_create_future_doc},
    {"create_task", FASTCALL(Loop_create_task), Loop_create_task_doc},
    {"set_task_factory", FASTCALL(Loop_set_task_factory), Loop_set_task_factory_doc},
    {"get_task_factory", FASTCALL(Loop_get_task_factory_checked),
     Loop_get_task_factory_doc},
    {"set_exception_handler", FASTCALL(Loop_set_exception_handler),
     Loop_set_exception_handler_doc},
    {"get_exception_handler", FASTCALL(Loop_get_exception_handler_checked),
     Loop_get_exception_handler_doc},
    {"get_debug", FASTCALL(Loop_get_debug_checked), Loop_get_debug_doc},
    {"set_debug", FASTCALL(Loop_set_debug), Loop_set_debug_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef Loop_members[] = {
    {"slow_callback_duration", T_DOUBLE, offsetof(Loop, slow_callback_duration), 0,
     "Seconds from which debug mode logs a callback as slow."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef Loop_getset[] = {
    {"_ready", Loop_get_ready, NULL, "The Handles that run next, as a tuple.", NULL},
    {"_scheduled", Loop_get_scheduled, NULL, "The TimerHandles, as a tuple.", NULL},
    {"_thread_id", Loop_get_thread_id, NULL, "The running thread's id or None.", NULL},
    {"_closed", Loop_get_flag, NULL, NULL, (void *)offsetof(Loop, closed)},
    {"_stopping", Loop_get_flag, Loop_set_stopping, NULL,
     (void *)offsetof(Loop, stopping)},
    {"_debug", Loop_get_debug_attribute, Loop_set_debug_attribute, NULL, NULL},
    {"_current_handle", Loop_get_current_handle, NULL,
     "The Handle that runs, in debug mode, or None.", NULL},
    {"_clock_resolution", Loop_get_clock_resolution, NULL, NULL, NULL},
    {"_task_factory", Loop_get_task_factory_attribute, Loop_set_task_factory_attribute,
     NULL, NULL},
    {"_exception_handler", Loop_get_exception_handler_attribute,
     Loop_set_exception_handler_attribute, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(Loop_doc, "The C part of cloop.Loop, which see.");

/* clang-format off */
static PyType_Slot Loop_slots[] = {
    {Py_tp_doc, (void *)Loop_doc},
    {Py_tp_new, Loop_new},
    {Py_tp_init, Loop_init},
    {Py_tp_dealloc, Loop_dealloc},
    {Py_tp_traverse, Loop_traverse},
    {Py_tp_clear, Loop_clear},
    {Py_tp_repr, Loop_repr},
    {Py_tp_setattro, Loop_setattro},
    {Py_tp_methods, Loop_methods},
    {Py_tp_members, Loop_members},
    {Py_tp_getset, Loop_getset},
    {0, NULL},
};
/* clang-format on */

PyType_Spec loop_spec = {
    .name = "cloop._cloop.Loop",
    .basicsize = sizeof(Loop),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = Loop_slots,
};
