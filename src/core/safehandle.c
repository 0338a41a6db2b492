/* _ThreadSafeHandle: what call_soon_threadsafe returns from Python 3.14 on. Its lock is
 * held while the callback runs, while it is cancelled and while it is asked whether it
 * was, by whichever thread (see handle.h).
 *
 * The lock may be taken again by the thread that has it: a callback may cancel its own
 * handle. It is two fields that only a holder of the GIL looks at (of the object's
 * critical section, in free-threaded builds), for nearly always nobody waits; who does
 * brings a real lock and is woken through that. Invariant: owner is 0 and nobody is left
 * asleep, or the owner wakes the first of the queue. */

#include "handle_impl.h"

/* A thread that waits for the lock, on its own stack. */
struct SafeWaiter {
    SafeWaiter *next;
    PyThread_type_lock wake; /* held until somebody wakes it */
    bool queued;
};

static void
queue_append(SafeHandle *safe, SafeWaiter *waiter)
{
    SafeWaiter **end = &safe->waiters;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = waiter;
    waiter->queued = true;
}

static void
queue_remove(SafeHandle *safe, SafeWaiter *waiter)
{
    SafeWaiter **place = &safe->waiters;
    while (*place != waiter) {
        place = &(*place)->next;
    }
    *place = waiter->next;
    waiter->queued = false;
}

/* Sleeps until the owner leaves; signal handlers run meanwhile. 0, perhaps with another
 * owner by then, or -1. */
static int
wait_for_owner(SafeHandle *safe)
{
    SafeWaiter waiter = {.wake = PyThread_allocate_lock()};
    if (waiter.wake == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    (void)PyThread_acquire_lock(waiter.wake, NOWAIT_LOCK);
    queue_append(safe, &waiter);
    int rc = 0;
    while (rc == 0 && waiter.queued) {
        Py_BEGIN_ALLOW_THREADS(void)
        PyThread_acquire_lock_timed(waiter.wake, -1, 1);
        Py_END_ALLOW_THREADS
        if (waiter.queued) {
            rc = Py_MakePendingCalls(); /* not woken but interrupted */
        }
    }
    if (waiter.queued) {
        queue_remove(safe, &waiter);
    }
    PyThread_free_lock(waiter.wake);
    return rc;
}

static void
wake_first(SafeHandle *safe)
{
    SafeWaiter *first = safe->waiters;
    if (CL_UNLIKELY(first != NULL)) {
        queue_remove(safe, first);
        PyThread_release_lock(first->wake);
    }
}

int
safe_handle_lock(PyObject *self)
{
    SafeHandle *safe = SAFE_HANDLE(self);
    unsigned long thread = PyThread_get_thread_ident();
    int rc = 0;
    Py_BEGIN_CRITICAL_SECTION(self);
    if (safe->owner == thread) {
        safe->depth++;
    }
    else {
        while (rc == 0 && CL_UNLIKELY(safe->owner != 0)) {
            rc = wait_for_owner(safe);
        }
        if (rc == 0) {
            safe->owner = thread;
        }
        else if (safe->owner == 0) {
            wake_first(safe); /* the waking was for us, who give up */
        }
    }
    Py_END_CRITICAL_SECTION();
    return rc;
}

void
safe_handle_unlock(PyObject *self)
{
    SafeHandle *safe = SAFE_HANDLE(self);
    Py_BEGIN_CRITICAL_SECTION(self);
    if (safe->depth > 0) {
        safe->depth--;
    }
    else {
        safe->owner = 0;
        wake_first(safe);
    }
    Py_END_CRITICAL_SECTION();
}

int
safe_handle_run(PyObject *self)
{
    if (safe_handle_lock(self) < 0) {
        return -1;
    }
    int rc = HANDLE(self)->cancelled ? 0 : handle_run(self);
    safe_handle_unlock(self);
    return rc;
}
