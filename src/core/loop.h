/* The loop: its struct, the turn, the ready ring, the inbox, timers and reporting.
 *
 * A loop belongs to the thread that runs it. Only the inbox is shared. Everything above
 * (futures, tasks, transports) talks to it through this header. */
#ifndef CL_CORE_LOOP_H
#define CL_CORE_LOOP_H

#include "../py/state.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "../os/heap.h"
#include "../os/poller.h"
#include "../os/ring.h"
#include "../os/wake.h"
#include "../py/spare.h"
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
#define CL_OVERRIDABLE(X)                                                              \
    X(str_call_soon, CL_OVERRIDE_CALL_SOON)                                            \
    X(str_call_at, CL_OVERRIDE_CALL_AT)                                                \
    X(str_time, CL_OVERRIDE_TIME)

/* Work to be done before the next poll, before the loop stops and before it closes:
 * transports that have gathered writes stand in Loop.before_poll. */
typedef struct BeforePoll {
    List node;
    /* Takes itself off the list first. May run anything. 0 or -1 as RingRun. */
    int (*run)(struct BeforePoll *self);
    bool sends; /* only that: may also be run amid a callback */
} BeforePoll;

typedef struct Loop {
    PyObject_HEAD
    State *state;
    unsigned guard;         /* CL_GUARD_*; 0: entries go straight onto the ring */
    unsigned overrides;     /* CL_OVERRIDE_*: the class's and the instance's */
    unsigned own_overrides; /* the instance's */
    unsigned class_version; /* of the class, when its overrides were looked for */
    Ring ready;
    Heap timers; /* of TimerHandle; the heap holds a reference to each */
    Poller poller;
    Wake wake;
    PyObject *snapshot;    /* of the context timers were last made in, or NULL */
    size_t snapshot_users; /* handles that borrow it (snapshot.c) */
    List before_poll;      /* of BeforePoll.node */
    char *read_buffer;  /* of the streams, CL_READ_SIZE bytes; NULL until first used */
    char *write_buffer; /* what TLS sends from; NULL while lent, and until first used */
    Spare spare;        /* of what protocols receive */
    int64_t now_ns;     /* the clock as last read in this turn */
    int64_t polled_ns;  /* when the kernel was last asked though polls were quiet */
    int64_t wrote_ns;   /* when loop_should_hold last looked at the clock */
    unsigned quiet_polls; /* polls in a row that found nothing (turn.c) */
    bool acted;           /* something was sent or closed since the last poll */
    bool holding;         /* loop_should_hold said yes since the last flush */
    bool overdue;         /* a write came after a held one, and late */
    /* The task that asyncio's dict of current tasks still names although its step is
     * over; owned by the dict. The next step overwrites it, anything else removes it
     * first (loop_end_step). NULL: the dict is right. */
    PyObject *stale_task;
    bool leaves_late; /* a step run from the ring: it may leave a stale task */
    unsigned turns;   /* begun so far */
    unsigned flushes; /* of before_poll so far; one or more a turn */
    bool running;
    bool stopping;
    bool closed;
    unsigned long thread_id; /* of the running thread, 0 when not running */
    uint32_t fork_id;        /* platform_forks when the run began */

    pthread_mutex_t inbox_lock;
    Ring inbox;           /* entries of other threads; under inbox_lock */
    atomic_bool has_mail; /* inbox may be non-empty */
    atomic_bool sleeping; /* blocked in the poller: whoever posts must wake */

    PyObject *exception_handler; /* or NULL */
    PyObject *current_handle;    /* that runs, in debug mode; owned by who runs it */
    PyObject *task_factory;      /* or NULL */
    double slow_callback_duration;
    bool tracks_origins; /* of coroutines, in debug mode, while running */
    long former_origin_depth;

    FreeList free_handles;
    FreeList free_safe_handles;
    FreeList free_timers;
    FreeList free_futures;
    FreeList free_tasks;
    FreeList free_future_iters;
    FreeList free_reader_ops;
} Loop;

/* -- finding out about a loop ------------------------------------------------------ */

/* obj as a Loop when it is one of ours (any subclass), else NULL. Borrowed. */
static inline Loop *
loop_from(State *state, PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);
    return type == state->LoopType || type->tp_base == state->LoopType
                   || PyType_IsSubtype(type, state->LoopType)
               ? (Loop *)obj
               : NULL;
}

/* Looks anew for the methods that the loop must call by name. */
void loop_find_overrides(Loop *loop);

/* The same when the class is another one than last time, or has been changed: tests
 * patch it under a loop that is there already. Asked once in a turn, by
 * run_until_complete and by call_later; to ask for each task's step would cost more than
 * it is worth. */
static inline void
loop_check_class(Loop *loop)
{
    unsigned version = compat_type_version(Py_TYPE(loop));
    if (CL_UNLIKELY(version != loop->class_version || version == 0)) {
        loop_find_overrides(loop);
    }
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

/* The entry of a handle of call_soon_threadsafe (3.14 on), likewise. */
int loop_run_safe_handle(void *loop, void *handle, void *arg);

static inline bool
loop_entry_is_handle(const RingEntry *entry)
{
    return entry->run == loop_run_handle || entry->run == loop_run_safe_handle;
}

/* Puts a handle of ours on the ring, in whatever state the loop is. 0 or -1. */
int loop_push_handle(Loop *loop, PyObject *handle);

/* Moves the inbox to the ring (free-threaded builds only). 0 or -1. */
int loop_take_mail(Loop *loop);

/* Runs an entry at once, as the ring would in its turn; steals its references. 0, or -1
 * with an exception to leave the loop. */
int loop_run_entry(Loop *loop, RingEntry entry);

/* Makes a sleeping loop turn. Any thread that holds the GIL. 0 or -1. */
int loop_wake(Loop *loop);

/* -- calls from the type's face (looptype.c) --------------------------------------- */

/* New ref: a Handle on the ring. args are the callback's. Raises RuntimeError when
 * closed; in debug mode checks the thread and the callback as stock. */
PyObject *loop_schedule(Loop *loop, PyObject *callback, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *context);
/* The same through the inbox, from any thread; wakes the loop when it sleeps. */
PyObject *loop_schedule_threadsafe(Loop *loop, PyObject *callback,
                                   PyObject *const *args, Py_ssize_t nargs,
                                   PyObject *context);
/* New ref: a TimerHandle. when is what the user gave (kept for TimerHandle.when). */
PyObject *loop_schedule_at(Loop *loop, PyObject *when, PyObject *callback,
                           PyObject *const *args, Py_ssize_t nargs, PyObject *context);

/* The same for a TimerHandle that is due `delay` seconds from now by the real clock. */
PyObject *loop_schedule_after(Loop *loop, double delay, PyObject *callback,
                              PyObject *const *args, Py_ssize_t nargs,
                              PyObject *context);

/* TypeError for a coroutine, a coroutine function or what cannot be called, worded for
 * `method`. 0 or -1. */
int loop_check_callback(State *state, PyObject *callback, const char *method);

/* Runs until stopped. 0, or -1 with the exception that left the loop. */
int loop_run_forever(Loop *loop);
/* New ref: run_until_complete(future) for any awaitable. */
PyObject *loop_run_until_complete(Loop *loop, PyObject *future);
int loop_check_running(Loop *loop); /* RuntimeError when this or another loop runs */

/* Makes asyncio.current_task() say None after a step (task_registry.c). 0 or -1. */
int loop_forget_task(Loop *loop);

static inline int
loop_end_step(Loop *loop)
{
    return CL_LIKELY(loop->stale_task == NULL) ? 0 : loop_forget_task(loop);
}

/* Something has been sent or closed, whose other end may be on this loop: the next turns
 * ask the kernel even while the ring is busy. */
static inline void
loop_poll_soon(Loop *loop)
{
    loop->quiet_polls = 0;
    loop->acted = true;
}

/* The loop stops or closes: runs what stands in before_poll, and what joins it meanwhile.
 * 0, or -1 with an exception to leave the loop. */
int loop_flush_all(Loop *loop);

/* Amid a callback: sends what is held back or gathered. 0 or -1 as above. */
int loop_flush_writes(Loop *loop);

/* True on the thread that runs the loop: whatever joins before_poll has its turn soon. Not
 * in a child that was forked amid the run: it may well end without another turn. */
static inline bool
loop_is_ours(const Loop *loop)
{
    return loop->thread_id == PyThread_get_thread_ident()
           && loop->fork_id == platform_forks;
}

/* Asked for the first write of a turn, had_several: of a transport that had several in its
 * last one. Are others to be expected soon, with which it may leave? On the loop's thread. */
bool loop_should_hold(Loop *loop, bool had_several);

/* Coroutine origin tracking on (debug mode, while running) or as it was. 0 or -1. */
#define CL_ORIGIN_DEPTH 10
int loop_track_origins(Loop *loop, bool enabled);

/* New ref: tuples of Handles and TimerHandles (views.c). */
PyObject *loop_list_ready(Loop *loop);
PyObject *loop_list_scheduled(Loop *loop);

/* Life of the struct, for the type's face. */
int loop_init(Loop *loop, State *state);
int loop_traverse(Loop *loop, visitproc visit, void *arg);
void loop_clear(Loop *loop);
void loop_finish(Loop *loop);

/* Closing: entries, timers and watchers are dropped. 0 or -1. */
int loop_close(Loop *loop);

/* The clock, as time.monotonic() gives it: ns. */
int64_t loop_clock_ns(void);

/* loop.time() in ns, through the user's own time() when it is overridden. 0 or -1. */
int loop_time_ns(Loop *loop, int64_t *now_ns);

/* Seconds as a deadline in ns that is never early. */
int64_t loop_seconds_to_ns(double seconds);

int loop_check_closed(Loop *loop); /* RuntimeError "Event loop is closed" */

/* -- reporting --------------------------------------------------------------------- */

/* loop.call_exception_handler({"message": message, "exception": the raised exception
 * (taken, cleared), key: value, ...}) on any loop. Pairs end with a NULL key; a pair
 * whose value is NULL is left out. 0, or -1 with what the handler let out, which must
 * leave the loop (stock's own handler lets out SystemExit and KeyboardInterrupt). */
int loop_report(State *state, PyObject *loop, const char *message, ...);
/* The same with a message object. */
int loop_report_text(State *state, PyObject *loop, PyObject *message, ...);

extern PyType_Spec loop_spec; /* looptype.c */

#endif
