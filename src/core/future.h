/* Future: a subclass of asyncio.Future with state and callbacks of its own.
 *
 * Our struct lies CL_FUTURE_BASE bytes into the object (behind what asyncio.Task's
 * struct needs, so that one offset serves Future and Task). FUTURE gives the struct,
 * FUTURE_OBJECT the object. The first done-callback is kept inline; when it is a Task of
 * ours that awaits this future, only the Task is kept and no callable is made. */
#ifndef CL_CORE_FUTURE_H
#define CL_CORE_FUTURE_H

#include "loop.h"

typedef enum FutureState {
    CL_FUTURE_PENDING,
    CL_FUTURE_CANCELLED,
    CL_FUTURE_FINISHED,
} FutureState;

typedef struct Future {
    State *state; /* NULL until __init__ has run */
    PyObject *loop;
    Loop *native;             /* loop, when it is one of ours; borrowed from `loop` */
    PyObject *waiter;         /* inline first callback: a Task of ours, or a callable */
    PyObject *waiter_context; /* NULL when waiter is a Task */
    PyObject *callbacks;      /* list of (callback, context) after the first, or NULL */
    PyObject *result;
    PyObject *exception;
    PyObject *exception_tb;
    PyObject *cancel_message;
    PyObject *cancelled_exc; /* what a task was really cancelled with */
    PyObject *source_traceback;
    uint8_t phase; /* FutureState */
    bool waiter_is_task;
    bool log_traceback;
    bool blocking; /* _asyncio_future_blocking */
    bool is_task;
    bool finalized; /* tp_finalize has run: not to be recycled */
} Future;

#define FUTURE(op) CL_AFTER_BASE(op, CL_FUTURE_BASE, Future)
#define FUTURE_OBJECT(future) ((PyObject *)((char *)(future)-CL_FUTURE_BASE))

/* True when op is a Future or Task of ours (any subclass). */
static inline bool
future_check(State *state, PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    return type == state->FutureType || type == state->TaskType
           || PyType_IsSubtype(type, state->FutureType); /* Task's too: task.c */
}

/* New ref: a pending future of loop, exact type. */
PyObject *future_new(Loop *loop);

static inline bool
future_is_done(PyObject *op)
{
    return FUTURE(op)->phase != CL_FUTURE_PENDING;
}

/* Finish a future of ours that may be done already (then nothing happens and 0 is
 * returned: the caller lost a race with a cancel). Steal nothing. 1 when finished
 * by this call, -1 with an exception (a callback could not be scheduled). */
int future_finish_result(PyObject *op, PyObject *result);
int future_finish_exception(PyObject *op, PyObject *exception);

/* What Future.cancel(msg) does; msg may be NULL. 1 cancelled, 0 was done, -1. */
int future_cancel(PyObject *op, PyObject *msg);

/* Makes task (a Task of ours, of the same loop) the future's next done-callback. 0/-1 */
int future_add_task_waiter(PyObject *op, PyObject *task);

/* add_done_callback(callback, context=context). Steals nothing. 0 or -1. */
int future_add_done_callback(PyObject *op, PyObject *callback, PyObject *context);

/* New ref: result() of a done or pending future (InvalidStateError, CancelledError). */
PyObject *future_get_result(PyObject *op);

extern PyType_Spec future_spec;
extern PyType_Spec future_iter_spec;

#endif
