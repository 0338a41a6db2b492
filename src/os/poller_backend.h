/* What poller.c asks of the kernel's interface: one file per interface implements it
 * (poller_epoll.c). Stateless: `set` is the descriptor that backend_open gave. */
#ifndef CL_OS_POLLER_BACKEND_H
#define CL_OS_POLLER_BACKEND_H

#include "poller.h"

/* A new, empty set's descriptor, close-on-exec; or -errno. */
int backend_open(void);

/* Changes fd's interest from old to wanted (0: not in the set). What the kernel
 * turns out to have under this number may differ from old, as descriptors are closed
 * and reused behind our back: it is made right, and *generation, which travels with
 * the events of the registration, is raised when an older registration may live on
 * in a duplicate. 0 or -errno. Taking out (wanted 0) never fails. */
int backend_set(int set, int fd, unsigned old, unsigned wanted, uint32_t *generation);

/* Waits as poller_wait; fills events, at most CL_POLLER_BATCH. The number of events, 0
 * on time-out or EINTR, or -errno. Runs without the GIL. */
int backend_wait(int set, PollerEvent *events, int64_t timeout_ns);

#endif
