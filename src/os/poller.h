/* Readiness of file descriptors, over epoll today and kqueue tomorrow: nothing above
 * this header knows which.
 *
 * A Watcher is embedded in what waits (a reader/writer pair, a transport, a wake-up).
 * One watcher at most stands for one descriptor; poller_find(fd) answers who.
 * `poller_watch` registers at once, so that a bad descriptor is reported to the caller;
 * later changes of interest (`poller_want`) are recorded and applied as net changes by
 * `poller_wait`, one system call per descriptor whose interest really differs.
 *
 * Descriptors may be closed and their numbers reused behind our back. Each registration
 * carries a generation in the kernel's event data; an event of another generation is
 * dropped. EEXIST becomes modify, ENOENT becomes add, EBADF and ENOENT on removal are
 * ignored. When stale events keep coming (a closed descriptor that lives on in a
 * duplicate cannot be removed by number) the whole set is made anew. After a fork the
 * child's first use makes its own set (the inherited one is shared with the parent and
 * must not be touched beyond closing it).
 *
 * The descriptor of the set is opened lazily, by the first watch or the first wait that
 * blocks. One thread owns a poller. */
#ifndef CL_OS_POLLER_H
#define CL_OS_POLLER_H

#include <stdbool.h>

#include "list.h"
#include "platform.h"

enum {
    CL_READABLE = 1,
    CL_WRITABLE = 2,
    CL_HANGUP = 4, /* peer is gone (EPOLLHUP); only ever reported, never asked for */
    CL_ERROR = 8,  /* EPOLLERR; only ever reported */
    CL_EDGE = 16,  /* asked for beside the first two: report each arrival once */
};

typedef struct Poller Poller;
typedef struct Watcher Watcher;

typedef struct WatcherOps {
    /* Events arrived: called by poller_dispatch_next. Only what the watcher wants at this
     * moment is reported, plus CL_HANGUP and CL_ERROR; nothing while it wants nothing.
     * CL_ERROR alone also says, once, that the kernel refused an interest recorded by
     * poller_want (the descriptor was closed behind our back): try the operation and
     * its error will tell. Runs anything, the watcher may be unwatched and its memory
     * gone on return. 0, or -1 when an exception must leave the loop (the rest of the
     * batch stays for the next dispatch). */
    int (*on_ready)(Watcher *watcher, unsigned events);
    /* The loop closes: drop everything, do not call back. The watcher is already
     * out of the poller. */
    void (*on_loop_close)(Watcher *watcher);
    /* Visits what the watcher holds, with a visitor and argument passed through (they
     * are Python's visitproc and void*, which this floor does not know). */
    int (*traverse)(Watcher *watcher, int (*visit)(void *, void *), void *arg);
    /* Somebody watches the same number while this watcher stands there: what it stood
     * for was closed behind our back. It is already out of the poller; drop everything.
     * NULL: it does not give way, and poller_watch answers -EEXIST. */
    void (*on_evicted)(Watcher *watcher);
    /* New ref to the Python object that users know the watcher by (a transport), for
     * error messages. May be NULL, and may return NULL (no exception set). */
    void *(*describe)(Watcher *watcher);
} WatcherOps;

struct Watcher {
    const WatcherOps *ops;
    int fd;             /* -1 when not watched */
    uint8_t wanted;     /* CL_READABLE | CL_WRITABLE: what the owner waits for */
    uint8_t registered; /* what the kernel was last told; 0: not in the set */
    List changed; /* in poller->changes while wanted != registered, or in ->failed */
};

typedef struct PollerSlot {
    Watcher *watcher;    /* NULL: nobody watches this number */
    uint32_t generation; /* of the registration that stands; kept when it goes */
} PollerSlot;

typedef struct PollerEvent {
    int fd;
    uint32_t generation;
    unsigned events;
} PollerEvent;

#define CL_POLLER_BATCH 256
#define CL_POLLER_STALE_MAX 8 /* waits in a row with stale events before a new set */

struct Poller {
    int fd;            /* -1 until needed */
    uint32_t fork_id;  /* platform_forks of the process the set belongs to */
    PollerSlot *slots; /* by descriptor; grown only for descriptors the kernel took */
    size_t slot_count;
    size_t watched; /* watchers in slots */
    List changes;   /* of Watcher.changed: to be told to the kernel */
    List failed;    /* of Watcher.changed: the kernel refused, the owner is to hear */
    PollerEvent *batch; /* the last wait's events; NULL until needed */
    int batch_count;
    int batch_next; /* first not yet dispatched */
    unsigned stale; /* waits in a row that brought stale events */
};

static inline void
watcher_init(Watcher *watcher, const WatcherOps *ops)
{
    watcher->ops = ops;
    watcher->fd = -1;
    watcher->wanted = 0;
    watcher->registered = 0;
    list_init(&watcher->changed);
}

void poller_init(Poller *poller);

/* Closes the set and frees everything. Watchers left are handed to on_loop_close, one
 * by one; nothing may be watched again from there. */
void poller_close(Poller *poller);

/* Calls ops->traverse of every watcher; stops at the first result that is not 0 and
 * returns it. */
int poller_traverse(const Poller *poller, int (*visit)(void *, void *), void *arg);

/* Who watches fd, or NULL. Any int may be asked. */
Watcher *poller_find(const Poller *poller, int fd);

/* Registers watcher, which watches nothing, for fd with the interest `wanted` at
 * once. Who watches fd already is evicted first (see WatcherOps.on_evicted; it may
 * run Python code). A watcher that wants nothing is known to poller_find but not in
 * the kernel's set (a hang-up would be reported without end); descriptors the kernel
 * cannot watch are refused all the same. 0 or -errno (EBADF, EPERM for a regular
 * file, EMFILE, ENOMEM, ENOSPC, EEXIST). */
int poller_watch(Poller *poller, Watcher *watcher, int fd, unsigned wanted);

/* Verifies with the kernel that the watcher's registration still stands for the open
 * file now behind its number (it may have been closed and reused) and sets the
 * interest, at once. 0 or -errno; after a failure the watcher wants nothing, and stays
 * until it is unwatched. */
int poller_rewatch(Poller *poller, Watcher *watcher, unsigned wanted);

/* Records a new interest; applied by the next poller_wait. Never fails. */
void poller_want(Poller *poller, Watcher *watcher, unsigned wanted);

/* Takes the watcher out at once: no event of it will be dispatched any more, pending
 * ones of the current batch included. Never fails. Call before close(fd). */
void poller_unwatch(Poller *poller, Watcher *watcher);

/* True when a wait could return something other than a time-out. */
static inline bool
poller_is_watching(const Poller *poller)
{
    return poller->watched > 0;
}

/* Applies changes, then waits at most timeout_ns (0: do not block; negative: forever;
 * the precision is that of the clock, never early, at most 50 us late; a day at most,
 * then it returns 0). Does not wait while events of the last batch are undispatched.
 * Returns the number of events to dispatch, 0 on time-out or EINTR, or -errno. Touches
 * no Python state: the GIL may be released around it (see poller_prepare). */
int poller_wait(Poller *poller, int64_t timeout_ns);

/* The part of poller_wait that changes shared structure (opens the set, applies
 * changes, allocates the batch): run it with the GIL held before a blocking wait.
 * 0 or -errno. poller_wait calls it itself when something is left to do. */
int poller_prepare(Poller *poller);

/* Counts waits in a row that brought events nobody is there for (see above): to be called
 * after a wait that brought events, before anything can be unwatched. */
void poller_count_stale(Poller *poller);

/* Runs on_ready for the next of the fetched events. 1, 0 when none is left, or -1 as
 * on_ready. May be called when there is nothing to dispatch. */
int poller_dispatch_next(Poller *poller);

#endif
