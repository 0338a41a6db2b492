/* Handle, TimerHandle and _ThreadSafeHandle: what call_soon, call_later, call_at and
 * (3.14 on) call_soon_threadsafe return.
 *
 * Subclasses of asyncio's classes of these names. The base's slots stay empty;
 * our struct lies CL_HANDLE_BASE bytes into the object. Internally a Handle* points at
 * our struct, HANDLE_OBJECT gives the object and HANDLE the struct. */
#ifndef CL_CORE_HANDLE_H
#define CL_CORE_HANDLE_H

#include "loop.h"

#define CL_HANDLE_INLINE_ARGS 3

typedef struct Handle {
    State *state;
    PyObject *loop;     /* strong: as given; any object for a handle the user made */
    Loop *native;       /* loop, when it is one of ours; borrowed from `loop` */
    PyObject *callback; /* None once cancelled */
    PyObject *context;
    PyObject *more_args; /* tuple of all arguments when they do not fit; else NULL */
    PyObject *args[CL_HANDLE_INLINE_ARGS];
    PyObject *source_traceback; /* list in debug mode, else NULL */
    PyObject *repr;             /* kept at cancel in debug mode, else NULL */
    uint8_t nargs;              /* used in args; 0 with more_args */
    bool cancelled;
    bool has_args;        /* false once cancelled: _args reads None */
    bool tracked;         /* known to the cyclic collector; see handle_expose */
    bool borrows_context; /* the loop's snapshot, to be copied first (snapshot.c) */
} Handle;

typedef struct TimerHandle {
    Handle handle;
    HeapNode node;
    double when;
    PyObject *when_object; /* what the user gave, when it is not a float; else NULL */
    bool scheduled;        /* _scheduled: in the loop's heap */
} TimerHandle;

/* A handle that any thread may cancel: who cancels it while it runs waits for its end,
 * and once cancel() has returned it does not run. 3.14 on (safehandle.c). */
typedef struct SafeWaiter SafeWaiter;
typedef struct SafeHandle {
    Handle handle;
    SafeWaiter *waiters; /* threads that wait for the lock, the first first */
    unsigned long owner; /* ident of the thread that has the lock, or 0 */
    unsigned depth;      /* how often it has taken it beyond the first time */
} SafeHandle;

#define HANDLE(op) CL_AFTER_BASE(op, CL_HANDLE_BASE, Handle)
#define TIMER_HANDLE(op) CL_AFTER_BASE(op, CL_HANDLE_BASE, TimerHandle)
#define SAFE_HANDLE(op) CL_AFTER_BASE(op, CL_HANDLE_BASE, SafeHandle)
#define HANDLE_OBJECT(handle) ((PyObject *)((char *)(handle)-CL_HANDLE_BASE))

/* New ref: a handle of ours for a loop of ours, not yet on any ring. context NULL: a
 * copy of the current one. */
PyObject *handle_new(Loop *loop, PyObject *callback, PyObject *const *args,
                     Py_ssize_t nargs, PyObject *context);

/* The same for the ring and the heap, which are the only owners of most handles: the
 * cyclic collector is not told of them, for that costs more than the callback of a busy
 * loop. The loop's traverse visits what such a handle holds in its stead
 * (handle_visit_owned); whoever lets go of one that somebody else still holds calls
 * handle_expose first. */
PyObject *handle_new_hidden(Loop *loop, PyObject *callback, PyObject *const *args,
                            Py_ssize_t nargs, PyObject *context);
/* (With CL_HAVE_SAFE_HANDLES.) */
PyObject *safe_handle_new_hidden(Loop *loop, PyObject *callback, PyObject *const *args,
                                 Py_ssize_t nargs, PyObject *context);
PyObject *timer_handle_new_hidden(Loop *loop, double when, PyObject *when_object,
                                  PyObject *callback, PyObject *const *args,
                                  Py_ssize_t nargs, PyObject *context);
void handle_expose(PyObject *handle);
int handle_visit_owned(PyObject *handle, visitproc visit, void *arg);

/* The context of a handle of `native`: the loop's snapshot instead of a copy of the
 * current one. The handle has none yet. 0 or -1. */
int handle_borrow_context(Handle *handle);

/* Only with borrows_context. A copy in the snapshot's place, before anybody enters or
 * sees it: 0 or -1. And own (stolen), or NULL, in its place. */
int handle_own_context(Handle *handle);
void handle_return_context(Handle *handle, PyObject *own);

/* Drops the ring's or the heap's reference. */
static inline void
handle_release(PyObject *handle)
{
    if (Py_REFCNT(handle) > 1) {
        handle_expose(handle);
    }
    Py_DECREF(handle);
}

/* Runs the callback in its context; exceptions are reported to the loop. 0, or -1 when
 * SystemExit or KeyboardInterrupt must leave the loop. The caller holds a ref. */
int handle_run(PyObject *handle);

/* The same for a handle of call_soon_threadsafe: under its lock, and not when it was
 * cancelled before the lock was had. */
int safe_handle_run(PyObject *handle);

/* Reports the raised exception as one of the handle's callback. 0, or -1 when it must
 * leave the loop. */
int handle_report(PyObject *handle);

/* What Handle.cancel() does. 0 or -1 (a repr that fails in debug mode). */
int handle_cancel(PyObject *handle);

extern PyType_Spec handle_spec;
extern PyType_Spec timer_handle_spec;
extern PyType_Spec safe_handle_spec;

#endif
