/* Task: a subclass of asyncio.Task whose step is a C function run straight from the
 * ready ring. Its struct begins with a Future, at the same offset. */
#ifndef CL_CORE_TASK_H
#define CL_CORE_TASK_H

#include "future.h"

typedef struct Task {
    Future future;
    PyObject *coro; /* NULL once an eager first step has finished it, as on stock */
    PyObject *context;
    PyObject *name; /* NULL, or from 3.14 on an int: "Task-<name_number>", if asked */
    uint64_t name_number;
    PyObject *fut_waiter; /* what it awaits, or NULL */
    PyObject *registered; /* the weakref that stands in the registry's set, or NULL */
    int cancels_requested;
    bool must_cancel;
    bool log_destroy_pending;
    bool in_task_list; /* of the interpreter (3.14 on) */
} Task;

#define TASK(op) CL_AFTER_BASE(op, CL_FUTURE_BASE, Task)

/* New ref: a task of loop that is scheduled to start (or has run its first step when
 * eager_start is true). name NULL: numbered; context NULL: a copy of the current one. */
PyObject *task_new(Loop *loop, PyObject *coro, PyObject *name, PyObject *context,
                   bool eager_start);

/* Entries of the ready ring. subject: the task. arg: the exception to throw in or NULL
 * (step), the future awaited (wakeup). */
int task_run_step(void *loop, void *task, void *exception);
int task_run_wakeup(void *loop, void *task, void *future);

/* New ref: the Python-visible callable that future._callbacks shows for a waiting task,
 * and that foreign futures and loops are given. Equal for equal tasks. */
PyObject *task_wakeup_callable(PyObject *task);

/* True for the Python-visible callables of a task's step and wakeup. A MemoryError that
 * leaves one is no coroutine's (that is its task's): somebody's wakeup is lost by it, and
 * a program that got a report only, as on stock, would wait for ever. It leaves the
 * loop. */
bool task_is_entry(PyObject *callable);

/* Functions of the module. */
extern PyMethodDef task_functions[];

extern PyType_Spec task_spec;

/* Once both types are made, before they are seen. 0 or -1. */
int task_type_adopt_future(State *state);

#endif
