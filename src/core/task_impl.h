/* What the files core/task*.c and core/future.c tell each other about tasks. */
#ifndef CL_CORE_TASK_IMPL_H
#define CL_CORE_TASK_IMPL_H

#include "future_impl.h"
#include "task.h"

/* True when the task's entries can be pushed onto the ring of loop: it is the task's
 * loop, the context is a real one (a user may give anything), no guard is up. */
static inline bool
task_can_run_direct(PyObject *task, Loop *loop)
{
    return TASK(task)->future.native == loop && loop_is_direct(loop)
           && CL_LIKELY(TASK(task)->context != NULL
                        && PyContext_CheckExact(TASK(task)->context));
}

/* Borrowed: the task that callable (as task_wakeup_callable made it) wakes, or NULL. */
PyObject *task_of_wakeup(PyObject *callable);

/* Schedules the task's next step, which throws exception in when that is not NULL.
 * Steals nothing. 0 or -1. */
int task_call_step_soon(PyObject *self, PyObject *exception);

/* The first step, at once, in the task's context (3.12 on). 0 or -1. */
int task_start_eagerly(PyObject *self);

/* What Task.cancel(msg) does. 1 cancelled or requested, 0 was done, -1. */
int task_cancel(PyObject *self, PyObject *msg);

/* cancel(msg) of what a task awaits: straight for our own, else by its method. 1, 0 or
 * -1. The caller owns a reference to waiter. */
int task_cancel_waiter(State *state, PyObject *waiter, PyObject *msg);

/* -- task_registry.c: current_task(), all_tasks() ---------------------------------- */

/* Make self the loop's current task; the end of that. RuntimeError when another one is
 * current. 0 or -1. */
int task_enter(State *state, PyObject *loop, PyObject *self);
int task_leave(State *state, PyObject *loop, PyObject *self);

/* New ref: what was the current task before (or None); task may be None. */
PyObject *task_swap_current(State *state, PyObject *loop, PyObject *task);

/* Makes self seen by all_tasks(). 0 or -1. */
int task_register(State *state, PyObject *self);

/* The same for the time of an eager first step. 0 or -1. */
int task_register_eager(State *state, PyObject *self);
int task_unregister_eager(State *state, PyObject *self);

/* For the dealloc of a task: before the weak references are cleared. */
void task_unregister(PyObject *self);

/* The task is done: debuggers do not see it any more (3.14 on). */
void task_leave_list(PyObject *self);

/* Copies coroutine and name to where debuggers look for them (3.14 on); after each change
 * of either. */
void task_show(PyObject *self);

/* The call graph's accounts: self awaits awaited, no more awaits it (3.14 on). 0 or -1. */
int task_note_await(State *state, PyObject *awaited, PyObject *self);
int task_note_await_end(State *state, PyObject *awaited, PyObject *self);

#endif
