/* What asyncio knows about running and existing tasks: current_task(), all_tasks().
 *
 * Called at each step and at the ends of a task's life, on its loop's thread. Up to
 * 3.13 both are Python objects of asyncio, a dict from loop to task and a WeakSet,
 * into which we reach directly: asking asyncio's own functions costs more than the rest
 * of a task's life. From 3.14 on they are private to _asyncio, whose functions are
 * called.
 *
 * A step that the ring runs leaves its task in the dict: the next step, which is most
 * often the next thing that happens, overwrites it, and before anything else that can
 * ask for the current task the turn takes it out (Loop.stale_task, loop_end_step).
 *
 * The WeakSet: its `data` set is given a weak reference without callback (the callback
 * is a Python function, called at each death), and loses it when the task dies. While
 * somebody iterates over the WeakSet the set must not shrink: the dead reference then
 * goes to the list that WeakSet itself keeps for that, and WeakSet drops it later. */
#include "task_impl.h"

/* New ref, or NULL with an exception. Calls function(a, b) or, b NULL, function(a). */
static PyObject *
call_registry(PyObject *function, PyObject *a, PyObject *b)
{
    PyObject *stack[3] = {NULL, a, b};
    size_t nargs = b != NULL ? 2 : 1;
    if (function == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the cloop module is gone");
        return NULL;
    }
    return PyObject_Vectorcall(function, stack + 1,
                               nargs | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

static int
call_registry_void(PyObject *function, PyObject *a, PyObject *b)
{
    PyObject *result = call_registry(function, a, b);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* -- the current task -------------------------------------------------------------- */

/* True when asyncio's dict is what decides. */
static bool
has_current_dict(const State *state)
{
    return !CL_HAVE_TASK_LIST && CL_LIKELY(state->current_tasks != NULL)
           && PyDict_CheckExact(state->current_tasks);
}

int
task_enter(State *state, PyObject *loop, PyObject *self)
{
    if (!has_current_dict(state)) {
        return call_registry_void(state->enter_task, loop, self);
    }
    Loop *native = TASK(self)->future.native;
    if (native != NULL && (PyObject *)native == loop && native->stale_task != NULL) {
        bool same = native->stale_task == self;
        native->stale_task = NULL;
        return same ? 0 : PyDict_SetItem(state->current_tasks, loop, self);
    }
    PyObject *current;
    int was_there = compat_dict_set_default(state->current_tasks, loop, self, &current);
    /* Even the task itself is refused when it was there before. */
    if (CL_LIKELY(was_there <= 0)) {
        return was_there;
    }
    PyErr_Format(PyExc_RuntimeError,
                 "Cannot enter into task %R while another task %R is being executed.",
                 self, current);
    return -1;
}

int
task_leave(State *state, PyObject *loop, PyObject *self)
{
    if (!has_current_dict(state)) {
        return call_registry_void(state->leave_task, loop, self);
    }
    Loop *native = TASK(self)->future.native;
    if (CL_LIKELY(CL_FASTPATH && native != NULL && (PyObject *)native == loop
                  && native->leaves_late)) {
        /* Not when the coroutine has left, or entered another: that is reported. */
        if (CL_LIKELY(PyDict_GetItemWithError(state->current_tasks, loop) == self)) {
            native->stale_task = self;
            return 0;
        }
        if (PyErr_Occurred()) {
            return -1;
        }
    }
    PyObject *current;
    if (compat_dict_pop(state->current_tasks, loop, &current) < 0) {
        return -1;
    }
    if (CL_LIKELY(current == self) && current != NULL) {
        Py_DECREF(current);
        return 0;
    }
    /* Somebody else's: it stays. */
    if (current == NULL || PyDict_SetItem(state->current_tasks, loop, current) == 0) {
        PyErr_Format(PyExc_RuntimeError,
                     "Leaving task %R does not match the current task %R.", self,
                     current != NULL ? current : Py_None);
    }
    Py_XDECREF(current);
    return -1;
}

int
loop_forget_task(Loop *loop)
{
    PyObject *current;
    loop->stale_task = NULL;
    if (compat_dict_pop(loop->state->current_tasks, (PyObject *)loop, &current) < 0) {
        return -1;
    }
    Py_XDECREF(current);
    return 0;
}

PyObject *
task_swap_current(State *state, PyObject *loop, PyObject *task)
{
    if (!has_current_dict(state)) {
        return call_registry(state->swap_current_task, loop, task);
    }
    PyObject *previous;
    if (PyDict_GetItemRef(state->current_tasks, loop, &previous) < 0) {
        return NULL;
    }
    int rc = 0;
    if (task != Py_None) {
        rc = PyDict_SetItem(state->current_tasks, loop, task);
    }
    else if (previous != NULL) {
        rc = PyDict_DelItem(state->current_tasks, loop);
    }
    if (rc < 0) {
        Py_XDECREF(previous);
        return NULL;
    }
    return previous != NULL ? previous : Py_NewRef(Py_None);
}

/* -- all tasks --------------------------------------------------------------------- */

/* True when equality and hash of the task are those of the object's address, so that
 * the set can be asked without running Python code. */
static bool
has_identity_hash(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    return type->tp_hash == PyBaseObject_Type.tp_hash
           && type->tp_richcompare == PyBaseObject_Type.tp_richcompare;
}

int
task_register(State *state, PyObject *self)
{
    Task *task = TASK(self);
    if (task->registered != NULL || task->in_task_list) {
        return 0; /* __init__ once more */
    }
    if (state->task_registry == NULL || !has_identity_hash(self)) {
        if (call_registry_void(state->register_task, self, NULL) < 0) {
            return -1;
        }
        task->in_task_list = CL_HAVE_TASK_LIST;
        return 0;
    }
    PyObject *ref = PyWeakref_NewRef(self, NULL);
    if (ref == NULL) {
        return -1;
    }
    if (PySet_Add(state->task_registry, ref) < 0) {
        Py_DECREF(ref);
        return -1;
    }
    task->registered = ref;
    return 0;
}

/* True when the set of tasks in their eager first step can be used directly. */
static bool
has_eager_set(const State *state, PyObject *self)
{
    return state->eager_tasks != NULL && Py_IS_TYPE(state->eager_tasks, &PySet_Type)
           && has_identity_hash(self);
}

int
task_register_eager(State *state, PyObject *self)
{
    return has_eager_set(state, self)
               ? PySet_Add(state->eager_tasks, self)
               : call_registry_void(state->register_eager_task, self, NULL);
}

int
task_unregister_eager(State *state, PyObject *self)
{
    if (!has_eager_set(state, self)) {
        return call_registry_void(state->unregister_eager_task, self, NULL);
    }
    return PySet_Discard(state->eager_tasks, self) < 0 ? -1 : 0;
}

/* Takes ref out of the WeakSet. */
static void
discard_from_registry(State *state, PyObject *ref)
{
    if (state->task_registry == NULL) {
        return; /* the module is gone */
    }
    int rc;
    if (CL_UNLIKELY(state->registry_iterating != NULL
                    && PySet_GET_SIZE(state->registry_iterating) > 0)) {
        rc = PyList_Append(state->registry_pending, ref);
    }
    else {
        rc = PySet_Discard(state->task_registry, ref);
    }
    if (CL_UNLIKELY(rc < 0)) {
        PyErr_WriteUnraisable(state->task_registry);
    }
}

void
task_unregister(PyObject *self)
{
    Task *task = TASK(self);
    State *state = task->future.state;
    if (task->registered != NULL) {
        PyObject *ref = task->registered;
        task->registered = NULL;
        discard_from_registry(state, ref);
        Py_DECREF(ref);
    }
    if (CL_UNLIKELY(task->in_task_list)) {
        /* The function must see a live object; nobody keeps it. */
        Py_SET_REFCNT(self, 1);
        task_leave_list(self);
        Py_SET_REFCNT(self, Py_REFCNT(self) - 1);
    }
}

void
task_leave_list(PyObject *self)
{
    if (CL_HAVE_TASK_LIST && TASK(self)->in_task_list) {
        TASK(self)->in_task_list = false;
        PyObject *raised = PyErr_GetRaisedException();
        State *state = TASK(self)->future.state;
        if (call_registry_void(state->unregister_task, self, NULL) < 0) {
            PyErr_WriteUnraisable(NULL);
        }
        PyErr_SetRaisedException(raised);
    }
}

/* -- who awaits whom --------------------------------------------------------------- */

int
task_note_await(State *state, PyObject *awaited, PyObject *self)
{
    return state->add_awaited_by == NULL
               ? 0
               : call_registry_void(state->add_awaited_by, awaited, self);
}

int
task_note_await_end(State *state, PyObject *awaited, PyObject *self)
{
    return state->discard_awaited_by == NULL
               ? 0
               : call_registry_void(state->discard_awaited_by, awaited, self);
}

/* -- what debuggers see ------------------------------------------------------------ */

/* `python -m asyncio ps` reads the memory of another process: of the tasks in the linked
 * list it takes coroutine and name from the fields of asyncio.Task's own struct. Ours
 * borrow there what our struct owns. The base never looks at them: all that would is
 * overridden. */
void
task_show(PyObject *self)
{
    if (!CL_HAVE_TASK_LIST) {
        return;
    }
    Task *task = TASK(self);
    const State *state = task->future.state;
    if (state != NULL && state->shown_is_task != 0) {
        char *base = (char *)self;
        *(PyObject **)(base + state->shown_coro) = task->coro;
        *(PyObject **)(base + state->shown_name) = task->name;
        base[state->shown_is_task] = 1;
    }
}

/* The offset of the one word of object's own struct that is value; 0 when there is none,
 * or more than one. */
static size_t
find_word(PyObject *object, const PyTypeObject *type, PyObject *value)
{
    size_t found = 0;
    for (size_t at = sizeof(PyObject); at + sizeof(value) <= (size_t)type->tp_basicsize;
         at += sizeof(value)) {
        if (memcmp((char *)object + at, &value, sizeof(value)) == 0) {
            if (found != 0) {
                return 0;
            }
            found = at;
        }
    }
    return found;
}

/* The offset of the one byte that is 1 in task and 0 in future, of the struct that both
 * begin with; 0 when they differ in anything else. */
static size_t
find_task_mark(PyObject *task, PyObject *future, const PyTypeObject *future_type)
{
    const char *ours = (char *)task;
    const char *theirs = (char *)future;
    size_t found = 0;
    for (size_t at = sizeof(PyObject); at < (size_t)future_type->tp_basicsize; at++) {
        if (ours[at] != theirs[at]) {
            if (found != 0 || ours[at] != 1 || theirs[at] != 0) {
                return 0;
            }
            found = at;
        }
    }
    return found;
}

/* Learns the layout of asyncio.Task from a new one and a new asyncio.Future of the same
 * loop. True when it was understood. */
static PyObject *
learn_task_layout(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    PyObject *task;
    PyObject *future;
    PyObject *coro;
    PyObject *name;
    if (!PyArg_ParseTuple(args, "O!O!OO:_learn_task_layout", state->asyncio_Task, &task,
                          state->asyncio_Future, &future, &coro, &name)) {
        return NULL;
    }
    const PyTypeObject *task_type = (PyTypeObject *)state->asyncio_Task;
    const PyTypeObject *future_type = (PyTypeObject *)state->asyncio_Future;
    size_t shown_coro = find_word(task, task_type, coro);
    size_t shown_name = find_word(task, task_type, name);
    size_t mark = find_task_mark(task, future, future_type);
    bool known = shown_coro != 0 && shown_name != 0 && mark != 0;
    if (known) {
        state->shown_coro = shown_coro;
        state->shown_name = shown_name;
        state->shown_is_task = mark;
    }
    return PyBool_FromLong(known);
}

PyMethodDef task_functions[] = {
    {"_learn_task_layout", learn_task_layout, METH_VARARGS,
     "_learn_task_layout(task, future, coro, name)\n--\n\n"
     "Learn where an asyncio.Task keeps what debuggers read."},
    {NULL, NULL, 0, NULL},
};
