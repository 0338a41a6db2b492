/* The turn: what run_forever does again and again (see loop.h and DESIGN's section on
 * it). On the loop's thread.
 *
 *   flush     writes gathered in the last turn leave (in a long one, now and then)
 *   poll      blocks (GIL released) only when the ring is empty; while the ring stays
 *             busy the kernel is asked at most every CL_POLL_INTERVAL_NS, but always in
 *             the first turn of a run, so that a run of one turn sees its I/O, and
 *             after a turn that has sent or closed something: on stock the loop's own
 *             other end sees that in the next turn, and programs that end just then
 *             rely on it
 *   timers    those due go to the ring
 *   drain     what the ring held before them
 *   dispatch  I/O handlers run straight from the poll, Handles of add_reader too
 *   drain     the timers; then, if there was nothing else and nothing has been sent, what
 *             the handlers brought: the poll that is saved could find nothing new of ours
 *
 * That is stock's order: what was scheduled before the poll, the events, the timers; and
 * in the next turn what all those have scheduled. A coroutine that create_connection has
 * woken, say, sets up its protocol before the first data arrives. */

#include "../py/compat.h"

#include "../os/sys.h"
#include "../py/err.h"
#include "handle.h"
#include "loop.h"
#include "task.h"

/* A write waits for others while so many callbacks stand behind its own, if the write
 * before it is not longer ago than this: each waking of a peer costs as much as some
 * hundred lines of Python. What is held leaves when none has joined it for that long, and
 * after so many callbacks of a turn (a power of two). */
#define CL_HOLD_CALLBACKS 3
#define CL_HOLD_PACE_NS 200000
#define CL_HOLD_DRAIN 32

/* What is flushed may be gathered again by the layer below, as TLS's is. */
#define CL_FLUSH_LAYERS 8

#define CL_QUIET_POLLS 64
#define CL_POLL_INTERVAL_NS 250000
#define CL_POLL_TURNS 63 /* less one: a mask */
/* The longest sleep of a loop that has no descriptor left to be woken by. */
#define CL_DEAF_SLEEP_NS 5000000

/* Python code looks for signals itself; for turns of C code alone it is enough to look
 * once in so many of them (less one: a mask), and after each blocking poll. */
#define CL_SIGNAL_TURNS 31

/* Runs what stands in before_poll, or only what sends. 0, or -1 with an exception to leave
 * the loop. */
static int
loop_flush_some(Loop *loop, bool sends)
{
    loop->holding = loop->overdue = false;
    loop->flushes++; /* what is sent from now on is the first again */
    if (list_is_empty(&loop->before_poll)) {
        return 0;
    }
    if (loop_end_step(loop) < 0) {
        return -1;
    }
    /* What joins the list meanwhile waits for the next flush: no endless loop here. What
     * has not run yet stays in it, for a flush amid this one. */
    size_t count = 0;
    for (List *each = loop->before_poll.next; each != &loop->before_poll;
         each = each->next) {
        count++;
    }
    List *node;
    int rc = 0;
    while (rc == 0 && count-- > 0 && (node = list_pop(&loop->before_poll)) != NULL) {
        BeforePoll *todo = CL_CONTAINER_OF(node, BeforePoll, node);
        if (CL_UNLIKELY(sends && !todo->sends)) {
            list_append(&loop->before_poll, node);
            continue;
        }
        rc = todo->run(todo);
    }
    return rc;
}

static int
loop_flush(Loop *loop)
{
    return loop_flush_some(loop, false);
}

int
loop_flush_all(Loop *loop)
{
    int rc = 0;
    for (int i = 0;
         rc == 0 && i < CL_FLUSH_LAYERS && !list_is_empty(&loop->before_poll); i++) {
        rc = loop_flush(loop);
    }
    return rc;
}

int
loop_flush_writes(Loop *loop)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < CL_FLUSH_LAYERS; i++) {
        rc = loop_flush_some(loop, true);
    }
    return rc;
}

/* An exception leaves the loop: what was written before it leaves too. Keeps the raised
 * exception. */
static void
loop_flush_on_error(Loop *loop)
{
    PyObject *exception = PyErr_GetRaisedException();
    if (loop_flush_all(loop) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    PyErr_SetRaisedException(exception);
}

bool
loop_should_hold(Loop *loop, bool had_several)
{
    if (!had_several && loop->ready.count < CL_HOLD_CALLBACKS) {
        return false;
    }
    int64_t now_ns = loop_clock_ns();
    bool late = now_ns - loop->wrote_ns >= CL_HOLD_PACE_NS;
    bool hold = had_several || !late;
    loop->overdue |= loop->holding && late;
    loop->wrote_ns = now_ns;
    loop->holding |= hold;
    if (hold) {
        loop_poll_soon(loop); /* as if it had been sent */
    }
    return hold;
}

/* Between callbacks, `count` of them more or less: sends what has been held long enough.
 * 0 or -1. */
static int
loop_flush_held(Loop *loop, size_t count)
{
    bool enough = loop->overdue || count % CL_HOLD_DRAIN == 0
                  || loop_clock_ns() - loop->wrote_ns >= CL_HOLD_PACE_NS;
    return enough ? loop_flush(loop) : 0;
}

/* -- polling ----------------------------------------------------------------------- */

static bool
loop_has_watchers(const Loop *loop)
{
    return loop->poller.watched > (size_t)(loop->wake.read_fd >= 0);
}

/* What a burst has left behind is given back bit by bit while the loop has time. */
static void
loop_give_back(Loop *loop)
{
    FreeList *lists[] = {&loop->free_handles,   &loop->free_safe_handles,
                         &loop->free_timers,    &loop->free_futures,
                         &loop->free_tasks,     &loop->free_future_iters,
                         &loop->free_reader_ops};
    for (size_t i = 0; i < CL_COUNT_OF(lists); i++) {
        freelist_trim(lists[i], CL_FREELIST_IDLE, CL_FREELIST_TRIM);
    }
    ring_trim(&loop->ready);
}

/* Blocks for at most timeout_ns (negative: for ever). Number of events or -1. */
static int
loop_sleep(Loop *loop, int64_t timeout_ns)
{
    bool can_wake = wake_open(&loop->wake) >= 0;
    int rc = poller_prepare(&loop->poller);
    if (rc < 0) {
        err_set_errno(rc);
        return -1;
    }
    if (!can_wake && (timeout_ns < 0 || timeout_ns > CL_DEAF_SLEEP_NS)) {
        timeout_ns = CL_DEAF_SLEEP_NS;
    }
    if (loop_end_step(loop) < 0) {
        return -1;
    }
    loop_give_back(loop);
    /* A signal that C code alone has seen must not wait for the end of the sleep. */
    if (PyErr_CheckSignals() < 0) {
        return -1;
    }
    if (loop->ready.count != 0 || loop->stopping
        || !list_is_empty(&loop->before_poll)) {
        timeout_ns = 0;
    }
    atomic_store(&loop->sleeping, can_wake);
    if (atomic_load(&loop->has_mail)) {
        timeout_ns = 0;
    }
    Py_BEGIN_ALLOW_THREADS
    rc = poller_wait(&loop->poller, timeout_ns);
    Py_END_ALLOW_THREADS
    atomic_store(&loop->sleeping, false);
    if (rc < 0) {
        err_set_errno(rc);
        return -1;
    }
    return PyErr_CheckSignals() < 0 ? -1 : rc;
}

/* Polls as the state of the ring demands. Number of events to be dispatched, or -1. */
static int
loop_poll(Loop *loop, bool first)
{
    int rc = 0;
    int64_t timeout_ns = 0;
    bool quiet = false;
    if (loop->ready.count == 0 && !loop->stopping) {
        int64_t next_ns = heap_next_ns(&loop->timers);
        if (loop->ready.count != 0) {
            timeout_ns = 0; /* a dropped timer's callback has called call_soon */
        }
        else if (next_ns == CL_NEVER_NS) {
            timeout_ns = -1;
        }
        else {
            if (loop_time_ns(loop, &loop->now_ns) < 0) {
                return -1;
            }
            timeout_ns = next_ns > loop->now_ns ? next_ns - loop->now_ns : 0;
        }
    }
    if (timeout_ns != 0) {
        rc = loop_sleep(loop, timeout_ns);
    }
    else if (loop_has_watchers(loop)) {
        if (!first && loop->quiet_polls >= CL_QUIET_POLLS && loop->ready.count != 0
            && (loop->turns & CL_POLL_TURNS) != 0) {
            int64_t now_ns = loop_clock_ns();
            if (now_ns - loop->polled_ns < CL_POLL_INTERVAL_NS) {
                return 0;
            }
            loop->polled_ns = now_ns;
        }
        rc = poller_wait(&loop->poller, 0);
        if (rc < 0) {
            err_set_errno(rc);
            return -1;
        }
        quiet = rc == 0 && !first;
    }
    loop->quiet_polls = quiet ? loop->quiet_polls + 1 : 0;
    loop->acted = false;
    if (rc > 0) {
        poller_count_stale(&loop->poller);
    }
    return rc;
}

int
loop_take_mail(Loop *loop)
{
    if (CL_LIKELY(!atomic_load_explicit(&loop->has_mail, memory_order_relaxed))) {
        return 0;
    }
    int rc = 0;
    pthread_mutex_lock(&loop->inbox_lock);
    while (rc == 0 && loop->inbox.count > 0) {
        RingEntry *entry = ring_at(&loop->inbox, 0);
        rc = ring_push(&loop->ready, entry->run, entry->subject, entry->arg);
        if (rc == 0) {
            (void)ring_pop(&loop->inbox);
        }
    }
    atomic_store(&loop->has_mail, loop->inbox.count > 0);
    pthread_mutex_unlock(&loop->inbox_lock);
    if (rc < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* Moves the timers that are due to the ring. 0 or -1. */
static int
loop_fire_timers(Loop *loop)
{
    if (CL_LIKELY(loop->timers.count == 0)) {
        return 0;
    }
    if (loop_time_ns(loop, &loop->now_ns) < 0) {
        return -1;
    }
    HeapNode *node;
    while ((node = heap_pop_due(&loop->timers, loop->now_ns)) != NULL) {
        TimerHandle *timer = CL_CONTAINER_OF(node, TimerHandle, node);
        timer->scheduled = false;
        if (loop_push(loop, loop_run_handle, HANDLE_OBJECT(timer), NULL) < 0) {
            return -1;
        }
    }
    return 0;
}

/* -- draining ---------------------------------------------------------------------- */

/* New ref: what a slow entry is called in the log: its Handle, or the task itself. */
static PyObject *
loop_describe_entry(Loop *loop, const RingEntry *entry)
{
    PyObject *subject = entry->subject;
    if (loop_entry_is_handle(entry)) {
        PyObject *owner = NULL;
        PyObject *callback = HANDLE(subject)->callback;
        if (callback != NULL) {
            Py_INCREF(callback);
            int rc = PyObject_GetOptionalAttr(callback, loop->state->str_self, &owner);
            Py_DECREF(callback);
            if (rc < 0) {
                return NULL;
            }
        }
        int is_task =
            owner == NULL ? 0 : PyObject_IsInstance(owner, loop->state->asyncio_Task);
        PyObject *text = is_task < 0 ? NULL : PyObject_Repr(is_task ? owner : subject);
        Py_XDECREF(owner);
        return text;
    }
    return PyObject_Repr(subject);
}

/* Runs an entry of debug mode and logs it when it is slow. 0 or -1. */
static int
loop_run_timed(Loop *loop, RingEntry entry)
{
    PyObject *subject = Py_NewRef((PyObject *)entry.subject);
    bool is_handle = loop_entry_is_handle(&entry);
    bool skip = is_handle && HANDLE(subject)->cancelled;
    loop->current_handle = is_handle ? subject : NULL;
    int64_t start_ns = loop_clock_ns();
    int rc = entry.run(loop, entry.subject, entry.arg);
    double seconds = (double)(loop_clock_ns() - start_ns) / 1e9;
    if (rc == 0 && !skip && seconds >= loop->slow_callback_duration) {
        PyObject *text = loop_describe_entry(loop, &entry);
        PyObject *result =
            text == NULL
                ? NULL
                : PyObject_CallMethod(loop->state->logger, "warning", "sOd",
                                      "Executing %s took %.3f seconds", text, seconds);
        rc = result == NULL ? -1 : 0;
        Py_XDECREF(result);
        Py_XDECREF(text);
    }
    loop->current_handle = NULL;
    Py_DECREF(subject);
    return rc;
}

int
loop_run_entry(Loop *loop, RingEntry entry)
{
    if (CL_UNLIKELY(loop->stale_task != NULL && entry.run != task_run_step
                    && entry.run != task_run_wakeup && loop_forget_task(loop) < 0)) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    return CL_LIKELY(!(loop->guard & CL_GUARD_DEBUG))
               ? entry.run(loop, entry.subject, entry.arg)
               : loop_run_timed(loop, entry);
}

/* Runs the ring's `todo` oldest entries. 0 or -1. */
static int
loop_drain(Loop *loop, size_t todo)
{
    while (todo-- > 0 && loop->ready.count > 0) {
        if (CL_UNLIKELY(loop_run_entry(loop, ring_pop(&loop->ready)) < 0)) {
            return -1;
        }
        if (CL_UNLIKELY(loop->holding) && todo != 0
            && loop_flush_held(loop, todo) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Tells the watchers of the batch. 0 or -1. */
static int
loop_dispatch(Loop *loop)
{
    int rc;
    size_t told = 0;
    while ((rc = poller_dispatch_next(&loop->poller)) > 0) {
        if (CL_UNLIKELY(loop->holding) && loop_flush_held(loop, ++told) < 0) {
            return -1;
        }
    }
    return rc;
}

static int
loop_turn(Loop *loop, bool first)
{
    loop->turns++;
    loop_check_class(loop);
    if (loop_flush(loop) < 0) {
        return -1;
    }
    if (loop_take_mail(loop) < 0) {
        return -1;
    }
    int events = loop_poll(loop, first);
    if (events < 0) {
        return -1;
    }
    if ((loop->turns & CL_SIGNAL_TURNS) == 0 && PyErr_CheckSignals() < 0) {
        return -1;
    }
    size_t earlier = loop->ready.count;
    if (loop_fire_timers(loop) < 0) {
        return -1;
    }
    size_t timers = loop->ready.count - earlier;
    if (events == 0) {
        return loop_drain(loop, earlier + timers);
    }
    if (loop_drain(loop, earlier) < 0 || loop_end_step(loop) < 0
        || loop_dispatch(loop) < 0) {
        return -1;
    }
    if (earlier + timers == 0 && !loop->acted && !loop->stopping) {
        return loop_drain(loop, loop->ready.count);
    }
    return loop_drain(loop, timers);
}

/* -- running ----------------------------------------------------------------------- */

int
loop_check_running(Loop *loop)
{
    if (loop->running) {
        PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        return -1;
    }
    PyObject *other = PyObject_CallNoArgs(loop->state->get_running_loop);
    if (other == NULL) {
        return -1;
    }
    Py_DECREF(other);
    if (other != Py_None) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Cannot run the event loop while another loop is running");
        return -1;
    }
    return 0;
}

/* Puts our asyncgen hooks in place. New ref: the former ones, or NULL. */
static PyObject *
loop_install_asyncgen_hooks(Loop *loop)
{
    State *state = loop->state;
    PyObject *self = (PyObject *)loop;
    PyObject *firstiter = NULL, *finalizer = NULL, *result = NULL;
    PyObject *former = PyObject_CallNoArgs(state->get_asyncgen_hooks);
    if (former == NULL) {
        return NULL;
    }
    firstiter = PyObject_GetAttr(self, state->str_asyncgen_firstiter_hook);
    finalizer = firstiter == NULL
                    ? NULL
                    : PyObject_GetAttr(self, state->str_asyncgen_finalizer_hook);
    if (finalizer != NULL) {
        PyObject *stack[2] = {firstiter, finalizer};
        result = PyObject_Vectorcall(state->set_asyncgen_hooks, stack, 2, NULL);
    }
    if (result == NULL) {
        Py_CLEAR(former);
    }
    Py_XDECREF(result);
    Py_XDECREF(finalizer);
    Py_XDECREF(firstiter);
    return former;
}

static int
loop_set_running(Loop *loop, PyObject *value)
{
    PyObject *result = PyObject_CallOneArg(loop->state->set_running_loop, value);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
loop_track_origins(Loop *loop, bool enabled)
{
    State *state = loop->state;
    if (loop->tracks_origins == enabled) {
        return 0;
    }
    PyObject *result;
    if (enabled) {
        PyObject *former = PyObject_CallNoArgs(state->get_origin_depth);
        if (former == NULL) {
            return -1;
        }
        loop->former_origin_depth = PyLong_AsLong(former);
        Py_DECREF(former);
        result = PyObject_CallFunction(state->set_origin_depth, "i", CL_ORIGIN_DEPTH);
    }
    else {
        result = PyObject_CallFunction(state->set_origin_depth, "l",
                                       loop->former_origin_depth);
    }
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    loop->tracks_origins = enabled;
    return 0;
}

/* Undoes what a run has set up, whatever is raised meanwhile. Keeps the raised
 * exception; its own come second. former may be NULL. */
static void
loop_restore(Loop *loop, PyObject *former)
{
    PyObject *exception = PyErr_GetRaisedException();
    if (loop_end_step(loop) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    loop->running = false;
    loop->stopping = false;
    loop->thread_id = 0;
    if (loop_set_running(loop, Py_None) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
        /* It takes memory up to 3.11; without it no loop could run in this thread. */
        if (loop_set_running(loop, Py_None) < 0) {
            PyErr_Clear();
        }
    }
    if (loop_track_origins(loop, false) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    if (former != NULL) {
        PyObject *result = PyObject_Call(loop->state->set_asyncgen_hooks, former, NULL);
        if (result == NULL) {
            PyErr_WriteUnraisable((PyObject *)loop);
        }
        Py_XDECREF(result);
        Py_DECREF(former);
    }
    if (exception != NULL) {
        PyErr_SetRaisedException(exception);
    }
}

int
loop_run_forever(Loop *loop)
{
    if (loop_check_closed(loop) < 0 || loop_check_running(loop) < 0) {
        return -1;
    }
    int rc = -1;
    Py_INCREF(loop);
    loop->running = true;
    loop->thread_id = PyThread_get_thread_ident();
    loop->fork_id = platform_forks;
    PyObject *former = NULL;
    if (loop_track_origins(loop, (loop->guard & CL_GUARD_DEBUG) != 0) < 0) {
        goto done;
    }
    former = loop_install_asyncgen_hooks(loop);
    if (former == NULL || loop_set_running(loop, (PyObject *)loop) < 0) {
        goto done;
    }
    bool first = true;
    do {
        rc = loop_turn(loop, first);
        first = false;
    } while (rc == 0 && !loop->stopping);
    if (rc == 0) {
        rc = loop_flush_all(loop);
    }
    else {
        loop_flush_on_error(loop);
    }
done:
    loop_restore(loop, former);
    Py_DECREF(loop);
    return rc;
}

/* What ends a run_until_complete by an exception: the coroutine's own exception is
 * marked as seen, for the caller has no task to ask. Keeps the raised exception. */
static void
loop_consume_exception(State *state, PyObject *future)
{
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *done = PyObject_CallMethod(future, "done", NULL);
    PyObject *cancelled =
        done == Py_True ? PyObject_CallMethod(future, "cancelled", NULL) : NULL;
    if (cancelled == Py_False) {
        Py_XDECREF(PyObject_CallMethodNoArgs(future, state->str_exception));
    }
    Py_XDECREF(cancelled);
    Py_XDECREF(done);
    PyErr_Clear();
    PyErr_SetRaisedException(exception);
}

/* Runs until `future` (anything with a Future's methods) is done. 0 or -1. */
static int
loop_run_until_done(Loop *loop, PyObject *future, bool is_new)
{
    State *state = loop->state;
    PyObject *result = PyObject_CallMethodOneArg(future, state->str_add_done_callback,
                                                 state->run_until_complete_cb);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    result = PyObject_CallMethodNoArgs((PyObject *)loop, state->str_run_forever);
    if (result == NULL && is_new) {
        loop_consume_exception(state, future);
    }
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *removed = PyObject_CallMethodOneArg(
        future, state->str_remove_done_callback, state->run_until_complete_cb);
    if (exception != NULL) {
        PyErr_Clear();
        PyErr_SetRaisedException(exception);
    }
    int rc = result != NULL && removed != NULL ? 0 : -1;
    Py_XDECREF(removed);
    Py_XDECREF(result);
    return rc;
}

/* New ref: ensure_future(future, loop=loop). *is_new: a task was made for it. */
static PyObject *
loop_ensure_future(Loop *loop, PyObject *future, bool *is_new)
{
    State *state = loop->state;
    if (PyCoro_CheckExact(future)) {
        *is_new = true;
        return PyObject_CallMethodOneArg((PyObject *)loop, state->str_create_task,
                                         future);
    }
    PyObject *answer = PyObject_CallOneArg(state->isfuture, future);
    int is_future = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    if (is_future < 0) {
        return NULL;
    }
    *is_new = !is_future;
    PyObject *stack[2] = {future, (PyObject *)loop};
    return PyObject_Vectorcall(state->ensure_future, stack, 1, state->names_loop);
}

/* task.done(): 1, 0 or -1. */
static int
loop_is_future_done(State *state, PyObject *task)
{
    if (Py_IS_TYPE(task, state->TaskType)) {
        return future_is_done(task);
    }
    PyObject *answer = PyObject_CallMethod(task, "done", NULL);
    int is_done = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return is_done;
}

PyObject *
loop_run_until_complete(Loop *loop, PyObject *future)
{
    State *state = loop->state;
    if (loop_check_closed(loop) < 0 || loop_check_running(loop) < 0) {
        return NULL;
    }
    loop_check_class(loop);
    bool is_new;
    PyObject *result = NULL;
    PyObject *task = loop_ensure_future(loop, future, &is_new);
    if (task == NULL) {
        return NULL;
    }
    if (is_new && Py_IS_TYPE(task, state->TaskType)) {
        TASK(task)->log_destroy_pending = false;
    }
    else if (is_new
             && PyObject_SetAttr(task, state->str_log_destroy_pending, Py_False) < 0) {
        goto done;
    }
    if (loop_run_until_done(loop, task, is_new) < 0) {
        goto done;
    }
    int is_done = loop_is_future_done(state, task);
    if (is_done > 0) {
        result = PyObject_CallMethodNoArgs(task, state->str_result);
    }
    else if (is_done == 0) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Event loop stopped before Future completed.");
    }
done:
    Py_DECREF(task);
    return result;
}
