/* The loop's store of work: entries, timers, the inbox; and its closing (see loop.h).
 *
 * On GIL builds every holder of the GIL may append to the ready ring, so that callbacks
 * of other threads keep stock's order; the GIL is the one lock that a
 * call_soon_threadsafe takes. On free-threaded builds other threads post to the inbox,
 * which the turn empties into the ring.
 *
 * Invariants: entries on the ring and in the inbox own their references; the heap owns
 * one reference to each TimerHandle in it; `closed` never becomes false again. */

#include "loop.h"

#include <math.h>

#include "../os/sys.h"
#include "../py/err.h"
#include "handle.h"

/* -- small questions --------------------------------------------------------------- */

int64_t
loop_clock_ns(void)
{
    return sys_clock_ns();
}

int
loop_check_closed(Loop *loop)
{
    if (CL_UNLIKELY(loop->closed)) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return -1;
    }
    return 0;
}

void
loop_find_overrides(Loop *loop)
{
    State *state = loop->state;
    PyTypeObject *type = Py_TYPE(loop);
    unsigned overrides = loop->own_overrides;
#define CL_FIND(name, flag)                                                            \
    if (_PyType_Lookup(type, state->name)                                              \
        != _PyType_Lookup(state->LoopType, state->name)) {                             \
        overrides |= (flag);                                                           \
    }
    CL_OVERRIDABLE(CL_FIND)
#undef CL_FIND
    loop->class_version = compat_type_version(type);
    loop->overrides = overrides;
    loop->guard = overrides & CL_OVERRIDE_CALL_SOON ? loop->guard | CL_GUARD_CALL_SOON
                                                    : loop->guard & ~CL_GUARD_CALL_SOON;
}

int
loop_time_ns(Loop *loop, int64_t *now_ns)
{
    if (CL_LIKELY(!(loop->overrides & CL_OVERRIDE_TIME))) {
        *now_ns = loop_clock_ns();
        return 0;
    }
    PyObject *now = PyObject_CallMethodNoArgs((PyObject *)loop, loop->state->str_time);
    if (now == NULL) {
        return -1;
    }
    double seconds = PyFloat_AsDouble(now);
    Py_DECREF(now);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    *now_ns = loop_seconds_to_ns(seconds);
    return 0;
}

/* Rounded up, and up again where the nearest double is earlier than asked for, so that
 * a timer never fires before time() has reached `when`. NaN is due at once, as on
 * stock, where every comparison with it is false. */
int64_t
loop_seconds_to_ns(double seconds)
{
    if (isnan(seconds) || seconds <= -9.2e9) {
        return INT64_MIN;
    }
    if (seconds >= 9.2e9) {
        return CL_NEVER_NS - 1;
    }
    int64_t ns = (int64_t)ceil(seconds * 1e9);
    return (double)ns / 1e9 < seconds ? ns + 1 : ns;
}

/* Debug mode's checks on a thing to be called. method as in stock's messages. */
static int
loop_check_debug(Loop *loop, PyObject *callback, const char *method, bool check_thread)
{
    State *state = loop->state;
    if (check_thread && loop->thread_id != 0
        && loop->thread_id != PyThread_get_thread_ident()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Non-thread-safe operation invoked on an event loop other "
                        "than the current one");
        return -1;
    }
    return loop_check_callback(state, callback, method);
}

int
loop_check_callback(State *state, PyObject *callback, const char *method)
{
    PyObject *const tests[] = {state->iscoroutine, state->iscoroutinefunction};
    for (size_t i = 0; i < CL_COUNT_OF(tests); i++) {
        PyObject *answer = PyObject_CallOneArg(tests[i], callback);
        int truth = answer == NULL ? -1 : PyObject_IsTrue(answer);
        Py_XDECREF(answer);
        if (truth < 0) {
            return -1;
        }
        if (truth) {
            PyErr_Format(PyExc_TypeError, "coroutines cannot be used with %s()",
                         method);
            return -1;
        }
    }
    if (!PyCallable_Check(callback)) {
        PyErr_Format(PyExc_TypeError, "a callable object was expected by %s(), got %R",
                     method, callback);
        return -1;
    }
    return 0;
}

/* -- the ready ring ---------------------------------------------------------------- */

int
loop_push_failed(PyObject *subject, PyObject *arg)
{
    Py_DECREF(subject);
    Py_XDECREF(arg);
    PyErr_NoMemory();
    return -1;
}

int
loop_run_handle(void *Py_UNUSED(loop), void *subject, void *Py_UNUSED(arg))
{
    PyObject *handle = subject;
    int rc = HANDLE(handle)->cancelled ? 0 : handle_run(handle);
    handle_release(handle);
    return rc;
}

int
loop_run_safe_handle(void *Py_UNUSED(loop), void *subject, void *Py_UNUSED(arg))
{
    PyObject *handle = subject;
    int rc = HANDLE(handle)->cancelled ? 0 : safe_handle_run(handle);
    handle_release(handle);
    return rc;
}

int
loop_push_handle(Loop *loop, PyObject *handle)
{
    return loop_push(loop, loop_run_handle, Py_NewRef(handle), NULL);
}

PyObject *
loop_schedule(Loop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
              PyObject *context)
{
    if (CL_UNLIKELY(loop->guard & (CL_GUARD_CLOSED | CL_GUARD_DEBUG))) {
        if (loop_check_closed(loop) < 0) {
            return NULL;
        }
        if (loop_check_debug(loop, callback, "call_soon", true) < 0) {
            return NULL;
        }
    }
#ifdef Py_GIL_DISABLED
    /* What this thread has posted while the loop did not run comes before this. */
    if (loop_take_mail(loop) < 0) {
        return NULL;
    }
#endif
    PyObject *handle = handle_new_hidden(loop, callback, args, nargs, context);
    if (handle != NULL && loop_push_handle(loop, handle) < 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

/* Appends a handle from any thread. 0 or -1. */
static int
loop_post(Loop *loop, PyObject *handle)
{
    RingRun run = CL_HAVE_SAFE_HANDLES ? loop_run_safe_handle : loop_run_handle;
#ifdef Py_GIL_DISABLED
    if (loop->thread_id != PyThread_get_thread_ident()) {
        pthread_mutex_lock(&loop->inbox_lock);
        int rc = ring_push(&loop->inbox, run, Py_NewRef(handle), NULL);
        atomic_store(&loop->has_mail, true);
        pthread_mutex_unlock(&loop->inbox_lock);
        return rc < 0 ? loop_push_failed(handle, NULL) : 0;
    }
#endif
    return loop_push(loop, run, Py_NewRef(handle), NULL);
}

int
loop_wake(Loop *loop)
{
    if (!atomic_exchange(&loop->sleeping, false)) {
        return 0;
    }
    int rc = wake_up(&loop->wake);
    if (rc < 0) {
        err_set_errno(rc);
        return -1;
    }
    return 0;
}

PyObject *
loop_schedule_threadsafe(Loop *loop, PyObject *callback, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *context)
{
    if (CL_UNLIKELY(loop->guard & (CL_GUARD_CLOSED | CL_GUARD_DEBUG))) {
        if (loop_check_closed(loop) < 0) {
            return NULL;
        }
        if (loop_check_debug(loop, callback, "call_soon_threadsafe", false) < 0) {
            return NULL;
        }
    }
    PyObject *handle =
        CL_HAVE_SAFE_HANDLES
            ? safe_handle_new_hidden(loop, callback, args, nargs, context)
            : handle_new_hidden(loop, callback, args, nargs, context);
    if (handle != NULL && (loop_post(loop, handle) < 0 || loop_wake(loop) < 0)) {
        Py_CLEAR(handle);
    }
    return handle;
}

int
loop_call_soon(State *state, PyObject *loop, PyObject *callback, PyObject *arg,
               PyObject *context)
{
    Loop *native = loop_from(state, loop);
    PyObject *handle;
    if (context == Py_None) {
        context = NULL; /* add_done_callback(context=None) */
    }
    if (native != NULL && loop_is_direct(native)) {
        handle = loop_schedule(native, callback, &arg, arg != NULL, context);
    }
    else {
        PyObject *stack[4] = {loop, callback};
        size_t nargs = 2;
        if (arg != NULL) {
            stack[nargs++] = arg;
        }
        PyObject *names = NULL;
        if (context != NULL) {
            stack[nargs] = context;
            names = state->names_context;
        }
        handle = PyObject_VectorcallMethod(state->str_call_soon, stack, nargs, names);
    }
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

/* -- timers ------------------------------------------------------------------------ */

/* HeapDrop: a cancelled timer has left the heap. */
static void
loop_drop_timer(void *Py_UNUSED(owner), HeapNode *node)
{
    TimerHandle *timer = CL_CONTAINER_OF(node, TimerHandle, node);
    timer->scheduled = false;
    handle_release(HANDLE_OBJECT(timer));
}

static PyObject *
loop_add_timer(Loop *loop, double when, PyObject *when_object, PyObject *callback,
               PyObject *const *args, Py_ssize_t nargs, PyObject *context)
{
    if (CL_UNLIKELY(loop->guard & (CL_GUARD_CLOSED | CL_GUARD_DEBUG))) {
        if (loop_check_closed(loop) < 0) {
            return NULL;
        }
        if (loop_check_debug(loop, callback, "call_at", true) < 0) {
            return NULL;
        }
    }
    PyObject *handle = timer_handle_new_hidden(loop, when, when_object, callback, args,
                                               nargs, context);
    if (handle == NULL) {
        return NULL;
    }
    TimerHandle *timer = TIMER_HANDLE(handle);
    if (heap_push(&loop->timers, &timer->node, loop_seconds_to_ns(when)) < 0) {
        Py_DECREF(handle);
        return PyErr_NoMemory();
    }
    timer->scheduled = true;
    return Py_NewRef(handle); /* the heap has the other */
}

PyObject *
loop_schedule_at(Loop *loop, PyObject *when, PyObject *callback, PyObject *const *args,
                 Py_ssize_t nargs, PyObject *context)
{
    if (PyFloat_CheckExact(when)) {
        return loop_add_timer(loop, PyFloat_AS_DOUBLE(when), NULL, callback, args,
                              nargs, context);
    }
    if (CL_TIMER_ASSERTS_WHEN && when == Py_None && !loop->closed) {
        PyErr_SetNone(PyExc_AssertionError);
        return NULL;
    }
    double seconds = PyFloat_AsDouble(when);
    if (seconds == -1.0 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) {
            return NULL;
        }
        PyErr_Clear();
        int sign = PyObject_RichCompareBool(when, Py_False, Py_LT);
        if (sign < 0) {
            return NULL;
        }
        seconds = sign ? -INFINITY : INFINITY;
    }
    return loop_add_timer(loop, seconds, when, callback, args, nargs, context);
}

PyObject *
loop_schedule_after(Loop *loop, double delay, PyObject *callback, PyObject *const *args,
                    Py_ssize_t nargs, PyObject *context)
{
    double now = (double)loop_clock_ns() / 1e9;
    return loop_add_timer(loop, now + delay, NULL, callback, args, nargs, context);
}

/* -- life -------------------------------------------------------------------------- */

int
loop_init(Loop *loop, State *state)
{
    loop->state = state;
    ring_init(&loop->ready);
    ring_init(&loop->inbox);
    heap_init(&loop->timers, loop_drop_timer, loop);
    poller_init(&loop->poller);
    wake_init(&loop->wake, &loop->poller);
    list_init(&loop->before_poll);
    atomic_init(&loop->has_mail, false);
    atomic_init(&loop->sleeping, false);
    loop->slow_callback_duration = 0.1;
    if (pthread_mutex_init(&loop->inbox_lock, NULL) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* Releases what a ring holds; anything may run, so the ring is emptied one by one. */
static void
loop_drop_entries(Ring *ring)
{
    while (ring->count > 0) {
        RingEntry entry = ring_pop(ring);
        if (loop_entry_is_handle(&entry)) {
            handle_release(entry.subject);
        }
        else {
            Py_DECREF((PyObject *)entry.subject);
        }
        Py_XDECREF((PyObject *)entry.arg);
    }
    ring_free(ring);
}

void
loop_drop_work(Loop *loop)
{
    loop_drop_entries(&loop->ready);
    loop_drop_entries(&loop->inbox);
    HeapNode *node;
    while ((node = heap_pop_any(&loop->timers)) != NULL) {
        loop_drop_timer(NULL, node);
    }
    heap_free(&loop->timers);
}

int
loop_close(Loop *loop)
{
    if (loop->running) {
        PyErr_SetString(PyExc_RuntimeError, "Cannot close a running event loop");
        return -1;
    }
    if (loop->closed) {
        return 0;
    }
    int rc = loop_flush_all(loop);
    if (loop->closed) {
        return rc; /* a flush has closed us */
    }
    loop->closed = true;
    loop->guard |= CL_GUARD_CLOSED;
    wake_close(&loop->wake);
    loop_drop_work(loop);
    poller_close(&loop->poller);
    return rc;
}

int
loop_traverse(Loop *loop, visitproc visit, void *arg)
{
    const Ring *rings[] = {&loop->ready, &loop->inbox};
    for (size_t r = 0; r < CL_COUNT_OF(rings); r++) {
        for (size_t i = 0; i < rings[r]->count; i++) {
            RingEntry *entry = ring_at(rings[r], i);
            int rc = loop_entry_is_handle(entry)
                         ? handle_visit_owned(entry->subject, visit, arg)
                         : visit(entry->subject, arg);
            if (rc != 0) {
                return rc;
            }
            Py_VISIT((PyObject *)entry->arg);
        }
    }
    for (size_t i = 0; i < loop->timers.count; i++) {
        TimerHandle *timer =
            CL_CONTAINER_OF(loop->timers.slots[i].node, TimerHandle, node);
        int rc = handle_visit_owned(HANDLE_OBJECT(timer), visit, arg);
        if (rc != 0) {
            return rc;
        }
    }
    int rc =
        poller_traverse(&loop->poller, (int (*)(void *, void *))(void *)visit, arg);
    if (rc != 0) {
        return rc;
    }
    Py_VISIT(loop->snapshot);
    Py_VISIT(loop->exception_handler);
    Py_VISIT(loop->task_factory);
    return 0;
}

void
loop_clear(Loop *loop)
{
    Py_CLEAR(loop->exception_handler);
    Py_CLEAR(loop->task_factory);
    loop_drop_work(loop);
    Py_CLEAR(loop->snapshot);
}

/* The last of a loop: its struct is about to go. */
void
loop_finish(Loop *loop)
{
    loop_clear(loop);
    wake_close(&loop->wake);
    poller_close(&loop->poller);
    freelist_clear(&loop->free_handles);
    freelist_clear(&loop->free_safe_handles);
    freelist_clear(&loop->free_timers);
    freelist_clear(&loop->free_futures);
    freelist_clear(&loop->free_tasks);
    freelist_clear(&loop->free_future_iters);
    freelist_clear(&loop->free_reader_ops);
    PyMem_RawFree(loop->read_buffer);
    loop->read_buffer = NULL;
    PyMem_RawFree(loop->write_buffer);
    loop->write_buffer = NULL;
    spare_clear(&loop->spare);
    pthread_mutex_destroy(&loop->inbox_lock);
}
