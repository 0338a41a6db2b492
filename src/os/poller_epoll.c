/* The poller's backend over epoll, level-triggered. Called by poller.c, on the
 * thread of the poller's owner; backend_wait without the GIL. The event data is
 * generation << 32 | descriptor. */
#include "poller_backend.h"

#include "sys.h"

int
backend_open(void)
{
    return sys_epoll_create1();
}

/* EPOLLRDHUP is not asked for: a half-closed stream is readable, and says so by its end
 * of file in due order. */
static int
epoll_set(int set, int operation, int fd, unsigned wanted, uint32_t generation)
{
    struct epoll_event event = {
        .events = ((wanted & CL_READABLE) ? (uint32_t)EPOLLIN : 0)
                  | ((wanted & CL_WRITABLE) ? (uint32_t)EPOLLOUT : 0)
                  | ((wanted & CL_EDGE) ? (uint32_t)EPOLLET : 0),
        .data.u64 = (uint64_t)generation << 32 | (uint32_t)fd,
    };
    return sys_epoll_ctl(set, operation, fd, &event);
}

int
backend_set(int set, int fd, unsigned old, unsigned wanted, uint32_t *generation)
{
    int rc;

    if (wanted == 0) {
        if (old != 0 && epoll_set(set, EPOLL_CTL_DEL, fd, 0, 0) < 0) {
            /* EBADF or ENOENT: closed behind our back, perhaps alive elsewhere. */
            (*generation)++;
        }
        return 0;
    }
    if (old != 0) {
        rc = epoll_set(set, EPOLL_CTL_MOD, fd, wanted, *generation);
        if (rc != -ENOENT) {
            return rc;
        }
        (*generation)++; /* another file has the number now */
    }
    rc = epoll_set(set, EPOLL_CTL_ADD, fd, wanted, *generation);
    if (rc == -EEXIST) {
        rc = epoll_set(set, EPOLL_CTL_MOD, fd, wanted, *generation);
    }
    return rc;
}

int
backend_wait(int set, PollerEvent *events, int64_t timeout_ns)
{
    struct epoll_event fetched[CL_POLLER_BATCH];

    int count = sys_epoll_wait_ns(set, fetched, CL_POLLER_BATCH, timeout_ns);
    if (count < 0) {
        return count == -EINTR ? 0 : count;
    }
    for (int i = 0; i < count; i++) {
        uint32_t flags = fetched[i].events;
        uint64_t data = fetched[i].data.u64;
        events[i].fd = (int)(uint32_t)data;
        events[i].generation = (uint32_t)(data >> 32);
        events[i].events = ((flags & EPOLLIN) ? CL_READABLE : 0u)
                           | ((flags & EPOLLOUT) ? CL_WRITABLE : 0u)
                           | ((flags & EPOLLHUP) ? CL_HANGUP : 0u)
                           | ((flags & EPOLLERR) ? CL_ERROR : 0u);
    }
    return count;
}
