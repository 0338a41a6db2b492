/* The loop: its struct, the turn, the ready ring, the inbox, timers and reporting.
 *
 * A loop belongs to the thread that runs it. Only the inbox is shared. Everything above
 * (futures, tasks, transports) talks to it through this header. */
#ifndef CL_CORE_LOOP_H
#define CL_CORE_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "../os/heap.h"
#include "../os/poller.h"
#include "../os/ring.h"
#include "../os/wake.h"
#include "../py/state.h"
#include "freelist.h"

/* Why the loop's entries cannot be pushed straight onto the ring (Loop.guard). While
 * it is not zero everything goes through Python-visible Handles and the loop's own
 * call_soon, as on stock. */
enum {
    CL_GUARD_CLOSED = 1,
    CL_GUARD_DEBUG = 2,
    CL_GUARD_CALL_SOON = 4, /* call_soon is overridden, by a subclass or the instance */
};

/* Which methods the user has overridden (Loop.overrides). */
enum {
    CL_OVERRIDE_CALL_SOON = 1,
    CL_OVERRIDE_CALL_AT = 2,
    CL_OVERRIDE_TIME = 4,
};

/* Work to be done before the next poll, before the loop stops and before it closes:
 * transports that have gathered writes stand in Loop.before_poll. */
typedef struct BeforePoll {
    List node;
    /* Takes itself off the list first. May run anything. 0 or -1 as RingRun. */
    int (*run)(struct BeforePoll *self);
} BeforePoll;

typedef struct Loop {
    PyObject_HEAD
    State *state;
    unsigned guard;     /* CL_GUARD_*; 0: entries go straight onto the ring */
    unsigned overrides; /* CL_OVERRIDE_* */
    Ring ready;
    Heap timers; /* of TimerHandle; the heap holds a reference to each */
    Poller poller;
    Wake wake;
    List before_poll; /* of BeforePoll.node */
    int64_t now_ns;    /* the clock as last read in this turn */
    int64_t polled_ns; /* when the kernel was last asked */
    bool running;
    bool stopping;
    bool closed;
    unsigned long thread_id; /* of the running thread, 0 when not running */

    pthread_mutex_t inbox_lock;
    Ring inbox;            /* entries of other threads; under inbox_lock */
    atomic_bool has_mail;  /* inbox may be non-empty */
    atomic_bool sleeping;  /* blocked in the poller: whoever posts must wake */

    PyObject *exception_handler; /* or NULL */
    PyObject *task_factory;      /* or NULL */
    double slow_callback_duration;
    PyObject *asyncgen_firstiter; /* what run_forever installs; or NULL */
    PyObject *asyncgen_finalizer;
    PyObject *weakrefs; /* unused by us: the Python subclass brings dict and weakrefs */

    FreeList free_handles;
    FreeList free_timers;
    FreeList free_futures;
    FreeList free_tasks;
    FreeList free_future_iters;
} Loop;

/* -- finding out about a loop ------------------------------------------------------ */

/* obj as a Loop when it is one of ours (any subclass), else NULL. Borrowed. */
static inline Loop *
loop_from(State *state, PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);
    return type == state->LoopType || PyType_IsSubtype(type, state->LoopType)
               ? (Loop *)obj
               : NULL;
}

/* True when entries may be pushed with loop_push. */
static inline bool
loop_is_direct(const Loop *loop)
{
    return CL_FASTPATH && CL_LIKELY(loop->guard == 0);
}

/* -- the ready ring ---------------------------------------------------------------- */

/* Appends {run, subject, arg}. Only when loop_is_direct(loop). Steals subject and arg
 * (arg may be NULL), on failure too. 0, or -1 with MemoryError. Holder of the GIL; does
 * not wake a sleeping loop (nor does stock). */
int loop_push_failed(PyObject *subject, PyObject *arg);

static inline int
loop_push(Loop *loop, RingRun run, PyObject *subject, PyObject *arg)
{
    if (CL_LIKELY(ring_push(&loop->ready, run, subject, arg) == 0)) {
        return 0;
    }
    return loop_push_failed(subject, arg);
}

/* loop.call_soon(callback, arg, context=context) on any loop, ours or not: straight
 * when it can be, else through the loop's Python method. Steals nothing. arg may be
 * NULL (no argument), context may be NULL (a copy of the current one). 0 or -1. */
int loop_call_soon(State *state, PyObject *loop, PyObject *callback, PyObject *arg,
                   PyObject *context);

/* The entry of a Handle: subject is a Handle (ours), arg is NULL. */
int loop_run_handle(void *loop, void *handle, void *arg);

/* -- calls from the type's face (looptype.c) ---------------------------------------- */

/* New ref: a Handle on the ring. args are the callback's. Raises RuntimeError when
 * closed; in debug mode checks the thread and the callback as stock. */
PyObject *loop_schedule(Loop *loop, PyObject *callback, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *context);
/* The same through the inbox, from any thread; wakes the loop when it sleeps. */
PyObject *loop_schedule_threadsafe(Loop *loop, PyObject *callback, PyObject *const *args,
                                   Py_ssize_t nargs, PyObject *context);
/* New ref: a TimerHandle. when is what the user gave (kept for TimerHandle.when). */
PyObject *loop_schedule_at(Loop *loop, PyObject *when, PyObject *callback,
                           PyObject *const *args, Py_ssize_t nargs, PyObject *context);

/* Runs until stopped. 0, or -1 with the exception that left the loop. */
int loop_run_forever(Loop *loop);

/* Closing: entries, timers and watchers are dropped. 0 or -1. */
int loop_close(Loop *loop);

/* The clock, as time.monotonic() gives it: ns. */
int64_t loop_clock_ns(void);

int loop_check_closed(Loop *loop); /* RuntimeError "Event loop is closed" */

/* -- reporting ---------------------------------------------------------------------- */

/* loop.call_exception_handler({"message": message, "exception": the raised exception
 * (taken, cleared), key: value, ...}) on any loop. Pairs end with a NULL key; a pair
 * whose value is NULL is left out. Never raises what must not leave the loop: returns
 * 0, or -1 when SystemExit or KeyboardInterrupt is raised. */
int loop_report(State *state, PyObject *loop, const char *message, ...);
/* The same with a message object. */
int loop_report_text(State *state, PyObject *loop, PyObject *message, ...);

extern PyType_Spec loop_spec; /* looptype.c */

#endif
