/* Waking a sleeping loop from another thread or a signal handler: an eventfd where
 * there is one, else a pipe. Opened lazily.
 *
 * The eventfd is watched edge-triggered and its counter left to grow, so that a wake-up
 * costs one write and no read. A forked child shares the descriptor with its parent and
 * must open its own (wake_open sees to it), or each would swallow the other's calls. */
#ifndef CL_OS_WAKE_H
#define CL_OS_WAKE_H

#include "poller.h"

typedef struct Wake {
    Watcher
        watcher; /* drains itself when readable (a pipe), or need not (an eventfd) */
    Poller *poller;
    int read_fd;      /* -1 until opened */
    int write_fd;     /* the same as read_fd for an eventfd */
    uint32_t fork_id; /* platform_forks when opened */
} Wake;

void wake_init(Wake *wake, Poller *poller);

/* Opens and watches. 0 or -errno; nothing happens when already open in this process.
 * Cheap enough to be called before every wait that blocks. Owner's thread only. */
int wake_open(Wake *wake);

/* Before or after poller_close. */
void wake_close(Wake *wake);

/* Makes the wait return, or the next one when none is going on. From any thread,
 * async-signal-safe. 0 or -errno (EBADF when not open); errno is kept. */
int wake_up(Wake *wake);

#endif
