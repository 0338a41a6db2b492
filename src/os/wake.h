/* Waking a sleeping loop from another thread or a signal handler: an eventfd where
 * there is one, else a pipe. Opened lazily. */
#ifndef CL_OS_WAKE_H
#define CL_OS_WAKE_H

#include "poller.h"

typedef struct Wake {
    Watcher watcher; /* drains itself when readable */
    Poller *poller;
    int read_fd;  /* -1 until opened */
    int write_fd; /* the same as read_fd for an eventfd */
} Wake;

void wake_init(Wake *wake, Poller *poller);

/* Opens and watches. 0 or -errno; nothing happens when already open. */
int wake_open(Wake *wake);
void wake_close(Wake *wake);

/* Makes the wait return. From any thread, async-signal-safe. 0 or -errno. */
int wake_up(Wake *wake);

#endif
