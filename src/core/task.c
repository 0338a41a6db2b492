/* Task: its life, cancellation and Python face (see task.h). What a step does is in
 * task_step.c, what asyncio knows about tasks in task_registry.c.
 *
 * Called by the loop (create_task), by user code and by the steps, on the thread of the
 * task's loop.
 *
 * Invariants: a Task begins with a Future and all of future.c's hold; `coro` and
 * `context` are set by __init__; a pending task is on the ring, or scheduled with a
 * foreign loop, or a callback of `fut_waiter`, or running. */
#include "task_impl.h"

#include <string.h>

/* -- making ------------------------------------------------------------------------ */

/* TypeError and -1 unless coro is a coroutine as asyncio sees it. */
static int
check_coroutine(State *state, PyObject *coro)
{
    if (CL_LIKELY(PyCoro_CheckExact(coro))) {
        return 0;
    }
    PyObject *answer = PyObject_CallOneArg(state->iscoroutine, coro);
    if (answer == NULL) {
        return -1;
    }
    int is_coroutine = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    if (is_coroutine == 0) {
        PyErr_Format(PyExc_TypeError, "a coroutine was expected, got %R", coro, NULL);
    }
    return is_coroutine > 0 ? 0 : -1;
}

/* Sets the name: NULL or None for a number. 0 or -1. */
static int
task_set_name(Task *task, PyObject *name)
{
    if (name == NULL || name == Py_None) {
        task->name_number = task->future.state->next_task_name++;
        if (!CL_HAVE_TASK_LIST) {
            Py_CLEAR(task->name);
            return 0;
        }
        PyObject *number = PyLong_FromUnsignedLongLong(task->name_number);
        Py_XSETREF(task->name, number);
        return number != NULL ? 0 : -1;
    }
    PyObject *text = PyUnicode_CheckExact(name) ? Py_NewRef(name) : PyObject_Str(name);
    if (text == NULL) {
        return -1;
    }
    Py_XSETREF(task->name, text);
    return 0;
}

/* The task's own part, its Future being made. 0 or -1. */
static int
task_fill(PyObject *self, PyObject *coro, PyObject *name, PyObject *context)
{
    Task *task = TASK(self);
    if (CL_TASK_WANTS_CONTEXT && context != NULL && context != Py_None
        && !PyContext_CheckExact(context)) {
        task->log_destroy_pending = false;
        PyErr_Format(PyExc_TypeError, "a contextvars.Context was expected, got %T",
                     context);
        return -1;
    }
    PyObject *own_context = context == NULL || context == Py_None
                                ? PyContext_CopyCurrent()
                                : Py_NewRef(context);
    if (own_context == NULL) {
        return -1;
    }
    Py_XSETREF(task->context, own_context);
    Py_CLEAR(task->fut_waiter);
    task->must_cancel = false;
    task->log_destroy_pending = true;
    task->cancels_requested = 0;
    Py_XSETREF(task->coro, Py_NewRef(coro));
    int rc = task_set_name(task, name);
    task_show(self);
    return rc;
}

/* Has the task run, now or soon, and be known. 0 or -1. */
static int
task_start(PyObject *self, bool eager)
{
    if (eager) {
        return task_start_eagerly(self);
    }
    if (task_call_step_soon(self, NULL) < 0) {
        return -1;
    }
    return task_register(TASK(self)->future.state, self);
}

PyObject *
task_new(Loop *loop, PyObject *coro, PyObject *name, PyObject *context,
         bool eager_start)
{
    State *state = loop->state;
    if (check_coroutine(state, coro) < 0) {
        return NULL;
    }
    PyObject *self = freelist_take(&loop->free_tasks);
    if (CL_LIKELY(self != NULL)) {
        PyObject_GC_Track(self);
    }
    else {
        self = state->TaskType->tp_alloc(state->TaskType, 0);
        if (self == NULL) {
            return NULL;
        }
    }
    if (future_fill(self, loop, true) < 0 || task_fill(self, coro, name, context) < 0
        || task_start(self, eager_start && loop->running) < 0) {
        TASK(self)->log_destroy_pending = false;
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

/* loop.is_running(): 1, 0 or -1. */
static int
loop_is_running(State *state, PyObject *loop)
{
    PyObject *answer = PyObject_CallMethodNoArgs(loop, state->str_is_running);
    if (answer == NULL) {
        return -1;
    }
    int running = answer == Py_True;
    Py_DECREF(answer);
    return running;
}

static int
task_init(PyObject *self, PyObject *coro, PyObject *loop, PyObject *name,
          PyObject *context, int eager_start)
{
    State *state = state_of_type(Py_TYPE(self));
    if (state == NULL || future_init(self, state, loop) < 0) {
        return -1;
    }
    TASK(self)->future.is_task = true;
    if (check_coroutine(state, coro) < 0) {
        TASK(self)->log_destroy_pending = false;
        return -1;
    }
    if (task_fill(self, coro, name, context) < 0) {
        return -1;
    }
    if (eager_start) {
        eager_start = loop_is_running(state, TASK(self)->future.loop);
        if (eager_start < 0) {
            return -1;
        }
    }
    return task_start(self, eager_start);
}

#define CL_TASK_DOC                                                                      \
    "A coroutine that a loop drives to its end, and a future of its result. loop: the\n" \
    "current one when None. A subclass of asyncio.Task, with the same errors. Not\n"     \
    "thread-safe. See the asyncio documentation, section \"Task Object\"."

#if CL_HAVE_EAGER_TASKS
PyDoc_STRVAR(Task_init_doc,
             "Task(coro, *, loop=None, name=None, context=None, eager_start=False)"
             "\n--\n\n" CL_TASK_DOC);
#elif CL_HAVE_TASK_CONTEXT
PyDoc_STRVAR(Task_init_doc,
             "Task(coro, *, loop=None, name=None, context=None)\n--\n\n" CL_TASK_DOC);
#else
PyDoc_STRVAR(Task_init_doc, "Task(coro, *, loop=None, name=None)\n--\n\n" CL_TASK_DOC);
#endif

static int
Task_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *coro;
    PyObject *loop = Py_None;
    PyObject *name = Py_None;
    PyObject *context = Py_None;
    int eager_start = 0;
#if CL_HAVE_EAGER_TASKS
    static char *names[] = {"coro", "loop", "name", "context", "eager_start", NULL};
    const char *format = "O|$OOOp:Task";
#elif CL_HAVE_TASK_CONTEXT
    static char *names[] = {"coro", "loop", "name", "context", NULL};
    const char *format = "O|$OOO:Task";
#else
    static char *names[] = {"coro", "loop", "name", NULL};
    const char *format = "O|$OO:Task";
#endif
    Py_ssize_t nkeywords = kwargs != NULL ? PyDict_GET_SIZE(kwargs) : 0;
    Py_ssize_t most = CL_COUNT_OF(names) - 1;
    if (future_check_positional("Task", PyTuple_GET_SIZE(args), nkeywords, most) < 0) {
        return -1;
    }
    /* A format takes as many of the pointers as it has letters. */
    int parsed = PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &coro, &loop,
                                             &name, &context, &eager_start);
    return parsed ? task_init(self, coro, loop, name, context, eager_start) : -1;
}

/* -- cancelling -------------------------------------------------------------------- */

int
task_cancel_waiter(State *state, PyObject *waiter, PyObject *msg)
{
    if (Py_IS_TYPE(waiter, state->FutureType)) {
        return future_cancel(waiter, msg);
    }
    if (Py_IS_TYPE(waiter, state->TaskType)) {
        return task_cancel(waiter, msg);
    }
    PyObject *result = msg != NULL
                           ? PyObject_CallMethodOneArg(waiter, state->str_cancel, msg)
                           : PyObject_CallMethodNoArgs(waiter, state->str_cancel);
    if (result == NULL) {
        return -1;
    }
    int is_true = PyObject_IsTrue(result);
    Py_DECREF(result);
    return is_true;
}

/* Follows a chain of tasks of ours, each awaiting the next, without recursion: what
 * counts is what the last one awaits. */
int
task_cancel(PyObject *self, PyObject *msg)
{
    State *state = TASK(self)->future.state;
    if (future_is_done(self)) {
        TASK(self)->future.log_traceback = false;
        return 0;
    }
    PyObject *current = Py_NewRef(self);
    PyObject *waiter;
    /* Tasks that await each other in a circle: a mark that follows at growing distances
     * (Brent) is met again then. Stock's recursion ends with this exception. */
    PyObject *mark = self;
    size_t steps = 0;
    size_t limit = 1;
    for (;;) {
        Task *task = TASK(current);
        task->future.log_traceback = false;
        task->cancels_requested++;
        waiter = Py_XNewRef(task->fut_waiter);
        if (waiter == NULL || !Py_IS_TYPE(waiter, state->TaskType)
            || future_is_done(waiter)) {
            break;
        }
        Py_SETREF(current, waiter);
        if (CL_UNLIKELY(current == mark)) {
            Py_DECREF(current);
            PyErr_SetString(PyExc_RecursionError,
                            "maximum recursion depth exceeded while cancelling tasks "
                            "that await each other");
            return -1;
        }
        if (++steps == limit) {
            mark = current;
            limit *= 2;
            steps = 0;
        }
    }
    int rc = 0;
    if (waiter != NULL) {
        rc = task_cancel_waiter(state, waiter, msg);
        Py_DECREF(waiter);
    }
    if (rc == 0) {
        /* Its step is scheduled already, and will see this. */
        TASK(current)->must_cancel = true;
        Py_XSETREF(TASK(current)->future.cancel_message, Py_XNewRef(msg));
        rc = 1;
    }
    Py_DECREF(current);
    return rc;
}

#define CL_TASK_CANCEL_TEXT                                                            \
    "Have CancelledError thrown into the coroutine in the loop's next turn: True;\n"   \
    "False when the task is done. The coroutine may catch it.\n"
#define CL_TASK_CANCEL_END                                                             \
    "From the loop's thread. See the asyncio documentation, section \"Task Object\"."

#if CL_HAVE_CANCEL_MESSAGE
PyDoc_STRVAR(Task_cancel_doc, "cancel($self, /, msg=None)\n--\n\n" CL_TASK_CANCEL_TEXT
                                  CL_CANCEL_MESSAGE_ARGUMENT CL_TASK_CANCEL_END);

static PyObject *
Task_cancel(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *msg;
    if (future_parse_cancel(args, nargs, kwnames, &msg) < 0
        || future_check_alive(FUTURE(self)) < 0) {
        return NULL;
    }
    int rc = task_cancel(self, msg);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}
#define CL_TASK_CANCEL_FLAGS (METH_FASTCALL | METH_KEYWORDS)
#else
PyDoc_STRVAR(Task_cancel_doc,
             "cancel($self, /)\n--\n\n" CL_TASK_CANCEL_TEXT CL_TASK_CANCEL_END);

static PyObject *
Task_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (future_check_alive(FUTURE(self)) < 0) {
        return NULL;
    }
    int rc = task_cancel(self, NULL);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}
#define CL_TASK_CANCEL_FLAGS METH_NOARGS
#endif

#if CL_HAVE_UNCANCEL
PyDoc_STRVAR(Task_cancelling_doc,
             "cancelling($self, /)\n--\n\n"
             "How many cancel() calls uncancel() has not taken back. See the asyncio\n"
             "documentation, section \"Task Object\".");

static PyObject *
Task_cancelling(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(TASK(self)->cancels_requested);
}

PyDoc_STRVAR(Task_uncancel_doc,
             "uncancel($self, /)\n--\n\n"
             "Take back one cancel(); how many are left. See the asyncio\n"
             "documentation, section \"Task Object\".");

static PyObject *
Task_uncancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Task *task = TASK(self);
    if (task->cancels_requested > 0) {
        task->cancels_requested--;
        if (CL_UNCANCEL_CLEARS_MUST_CANCEL && task->cancels_requested == 0) {
            task->must_cancel = false;
        }
    }
    return PyLong_FromLong(task->cancels_requested);
}
#endif

/* -- methods ----------------------------------------------------------------------- */

PyDoc_STRVAR(Task_set_result_doc,
             "set_result($self, result, /)\n--\n\n"
             "RuntimeError: only its coroutine gives a task a result.");

static PyObject *
Task_set_result(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(result))
{
    PyErr_SetString(PyExc_RuntimeError, "Task does not support set_result operation");
    return NULL;
}

PyDoc_STRVAR(Task_set_exception_doc,
             "set_exception($self, exception, /)\n--\n\n"
             "RuntimeError: only its coroutine gives a task an exception.");

static PyObject *
Task_set_exception(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(exception))
{
    PyErr_SetString(PyExc_RuntimeError,
                    "Task does not support set_exception operation");
    return NULL;
}

PyDoc_STRVAR(Task_get_coro_doc,
             "get_coro($self, /)\n--\n\n"
             "The coroutine. See the asyncio documentation, section \"Task Object\".");

static PyObject *
Task_get_coro(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *coro = TASK(self)->coro;
    return Py_NewRef(coro != NULL ? coro : Py_None);
}

#if CL_HAVE_GET_CONTEXT
PyDoc_STRVAR(Task_get_context_doc,
             "get_context($self, /)\n--\n\n"
             "The contextvars.Context in which the coroutine runs. See the asyncio\n"
             "documentation, section \"Task Object\".");

static PyObject *
Task_get_context(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *context = TASK(self)->context;
    return Py_NewRef(context != NULL ? context : Py_None);
}
#endif

PyDoc_STRVAR(Task_get_name_doc,
             "get_name($self, /)\n--\n\n"
             "The name. See the asyncio documentation, section \"Task Object\".");

static PyObject *
Task_get_name(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Task *task = TASK(self);
    if (task->name == NULL || (CL_HAVE_TASK_LIST && PyLong_CheckExact(task->name))) {
        if (task->name_number == 0) {
            Py_RETURN_NONE; /* __init__ has not run */
        }
        PyObject *text =
            PyUnicode_FromFormat("Task-%llu", (unsigned long long)task->name_number);
        if (text == NULL) {
            return NULL;
        }
        Py_XSETREF(task->name, text);
        task_show(self);
    }
    return Py_XNewRef(task->name);
}

PyDoc_STRVAR(Task_set_name_doc,
             "set_name($self, value, /)\n--\n\n"
             "Set the name to str(value). See the asyncio documentation, section\n"
             "\"Task Object\".");

static PyObject *
Task_set_name(PyObject *self, PyObject *value)
{
    PyObject *text =
        PyUnicode_CheckExact(value) ? Py_NewRef(value) : PyObject_Str(value);
    if (text == NULL) {
        return NULL;
    }
    Py_XSETREF(TASK(self)->name, text);
    task_show(self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(Task_get_stack_doc,
             "get_stack($self, /, *, limit=None)\n--\n\n"
             "The frames of the suspended coroutine, or of the traceback it ended\n"
             "with; at most limit. See the asyncio documentation, section\n"
             "\"Task Object\".");

static PyObject *
Task_get_stack(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames)
{
    static char *names[] = {"limit", NULL};
    PyObject *limit = Py_None;
    if (future_parse(args, nargs, kwnames, "|$O:get_stack", names, &limit) < 0
        || future_check_alive(FUTURE(self)) < 0) {
        return NULL;
    }
    return PyObject_CallFunctionObjArgs(FUTURE(self)->state->task_get_stack, self,
                                        limit, NULL);
}

PyDoc_STRVAR(
    Task_print_stack_doc,
    "print_stack($self, /, *, limit=None, file=None)\n--\n\n"
    "Write what get_stack(limit) gives to file, sys.stderr when None. See the\n"
    "asyncio documentation, section \"Task Object\".");

static PyObject *
Task_print_stack(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    static char *names[] = {"limit", "file", NULL};
    PyObject *limit = Py_None;
    PyObject *file = Py_None;
    if (future_parse(args, nargs, kwnames, "|$OO:print_stack", names, &limit, &file) < 0
        || future_check_alive(FUTURE(self)) < 0) {
        return NULL;
    }
    return PyObject_CallFunctionObjArgs(FUTURE(self)->state->task_print_stack, self,
                                        limit, file, NULL);
}

static PyObject *
Task_repr(PyObject *self)
{
    Future *future = FUTURE(self);
    return future_repr(self, future_is_alive(future) ? future->state->task_repr : NULL);
}

#if !CL_HAVE_REPR_FUNCTIONS
PyDoc_STRVAR(Task_repr_info_doc, "_repr_info($self, /)\n--\n\n"
                                 "What repr() shows, as a list.");

static PyObject *
Task_repr_info(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Future *future = FUTURE(self);
    return future_check_alive(future) < 0
               ? NULL
               : PyObject_CallOneArg(future->state->task_repr_info, self);
}
#endif

/* -- attributes -------------------------------------------------------------------- */

static PyObject *
Task_get_log_destroy_pending(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(TASK(self)->log_destroy_pending);
}

static int
Task_set_log_destroy_pending(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        compat_refuse_delete(self, "_log_destroy_pending");
        return -1;
    }
    int is_true = PyObject_IsTrue(value);
    if (is_true < 0) {
        return -1;
    }
    TASK(self)->log_destroy_pending = is_true;
    return 0;
}

static PyObject *
Task_get_must_cancel(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(TASK(self)->must_cancel);
}

static PyObject *
Task_get_coro_attribute(PyObject *self, void *Py_UNUSED(closure))
{
    return Task_get_coro(self, NULL);
}

static PyObject *
Task_get_fut_waiter(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *waiter = TASK(self)->fut_waiter;
    return Py_NewRef(waiter != NULL ? waiter : Py_None);
}

/* -- the type ---------------------------------------------------------------------- */

static int
Task_traverse(PyObject *self, visitproc visit, void *arg)
{
    Task *task = TASK(self);
    Py_VISIT(task->coro);
    Py_VISIT(task->context);
    Py_VISIT(task->name);
    Py_VISIT(task->fut_waiter);
    return future_traverse(self, visit, arg);
}

/* All but what the end of a dealloc needs. */
static void
task_clear_fields(PyObject *self)
{
    Task *task = TASK(self);
    future_clear_fields(self);
    Py_CLEAR(task->fut_waiter);
    Py_CLEAR(task->coro);
    Py_CLEAR(task->context);
    Py_CLEAR(task->name);
    task_show(self);
}

static int
Task_clear(PyObject *self)
{
    task_clear_fields(self);
    future_clear_base(self);
    FUTURE(self)->native = NULL;
    Py_CLEAR(FUTURE(self)->loop);
    return 0;
}

static void
Task_finalize(PyObject *self)
{
    Task *task = TASK(self);
    if (task->future.phase == CL_FUTURE_PENDING && task->log_destroy_pending
        && future_is_alive(&task->future) && task->future.state->str_task != NULL) {
        future_report_unfinished(self, task->future.state->str_task,
                                 "%s was destroyed but it is pending!", "Task", NULL);
    }
    future_finalize(self);
}

static void
Task_dealloc(PyObject *self)
{
    Task *task = TASK(self);
    Future *future = &task->future;
    State *state = future->state;
    bool exact = state != NULL && Py_IS_TYPE(self, state->TaskType);
    if (exact && !future->finalized
        && (future->log_traceback
            || CL_UNLIKELY(future->phase == CL_FUTURE_PENDING
                           && task->log_destroy_pending))) {
        if (PyObject_CallFinalizerFromDealloc(self) < 0) {
            return; /* resurrected */
        }
    }
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, Task_dealloc) if (state != NULL)
    {
        task_unregister(self);
    }
    compat_clear_weakrefs(self);
    task_clear_fields(self);
    future_clear_base(self);
    future_free(self,
                exact && future->native != NULL ? &future->native->free_tasks : NULL,
                sizeof(Task));
    Py_TRASHCAN_END
}

static PyMethodDef Task_methods[] = {
    CL_FUTURE_METHODS,
    {"set_result", Task_set_result, METH_O, Task_set_result_doc},
    {"set_exception", Task_set_exception, METH_O, Task_set_exception_doc},
    {"cancel", (PyCFunction)(void (*)(void))Task_cancel, CL_TASK_CANCEL_FLAGS,
     Task_cancel_doc},
#if CL_HAVE_UNCANCEL
    {"cancelling", Task_cancelling, METH_NOARGS, Task_cancelling_doc},
    {"uncancel", Task_uncancel, METH_NOARGS, Task_uncancel_doc},
#endif
    {"get_coro", Task_get_coro, METH_NOARGS, Task_get_coro_doc},
#if CL_HAVE_GET_CONTEXT
    {"get_context", Task_get_context, METH_NOARGS, Task_get_context_doc},
#endif
    {"get_name", Task_get_name, METH_NOARGS, Task_get_name_doc},
    {"set_name", Task_set_name, METH_O, Task_set_name_doc},
    {"get_stack", (PyCFunction)(void (*)(void))Task_get_stack,
     METH_FASTCALL | METH_KEYWORDS, Task_get_stack_doc},
    {"print_stack", (PyCFunction)(void (*)(void))Task_print_stack,
     METH_FASTCALL | METH_KEYWORDS, Task_print_stack_doc},
#if CL_HAVE_CANCEL_MESSAGE
    CL_FUTURE_METHODS_39,
#endif
#if !CL_HAVE_REPR_FUNCTIONS
    {"_repr_info", Task_repr_info, METH_NOARGS, Task_repr_info_doc},
#endif
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef Task_getset[] = {
    CL_FUTURE_GETSET,
#if CL_HAVE_CANCEL_MESSAGE
    CL_FUTURE_GETSET_39,
#endif
    {"_log_destroy_pending", Task_get_log_destroy_pending, Task_set_log_destroy_pending,
     NULL, NULL},
    {"_must_cancel", Task_get_must_cancel, NULL, NULL, NULL},
    {"_coro", Task_get_coro_attribute, NULL, NULL, NULL},
    {"_fut_waiter", Task_get_fut_waiter, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot Task_slots[] = {
    {Py_tp_doc, (void *)Task_init_doc},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, Task_init},
    {Py_tp_dealloc, Task_dealloc},
    {Py_tp_traverse, Task_traverse},
    {Py_tp_clear, Task_clear},
    {Py_tp_finalize, Task_finalize},
    {Py_tp_repr, Task_repr},
    {Py_tp_iter, future_iter_new},
    {Py_am_await, future_iter_new},
    {Py_tp_methods, Task_methods},
    {Py_tp_getset, Task_getset},
    {0, NULL},
};

PyType_Spec task_spec = {
    .name = "cloop.Task",
    .basicsize = CL_FUTURE_BASE + sizeof(Task),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE
             | CL_TPFLAGS_IMMUTABLE,
    .slots = Task_slots,
};

/* As asyncio.Task is an asyncio.Future, cloop.Task is a cloop.Future: isinstance() holds
 * and Future.set_result(task, result) works. type() refuses these two as bases for their
 * layouts, which it takes to be unrelated, while ours have our struct at one offset by
 * design. So the class is put into the method resolution order by hand, before anybody
 * sees the type. Nothing is inherited from it: Task has all of its methods. */
int
task_type_adopt_future(State *state)
{
    PyTypeObject *type = state->TaskType;
    PyObject *old = type->tp_mro;
    Py_ssize_t size = PyTuple_GET_SIZE(old);
    PyObject *mro = PyTuple_New(size + 1);
    if (mro == NULL) {
        return -1;
    }
    /* Task, asyncio.Task; Future; asyncio.Future, object. */
    for (Py_ssize_t from = 0, to = 0; from < size; from++, to++) {
        if (from == 2) {
            PyTuple_SET_ITEM(mro, to++, Py_NewRef((PyObject *)state->FutureType));
        }
        PyTuple_SET_ITEM(mro, to, Py_NewRef(PyTuple_GET_ITEM(old, from)));
    }
    type->tp_mro = mro;
    PyType_Modified(type);
    Py_DECREF(old);
    return 0;
}
