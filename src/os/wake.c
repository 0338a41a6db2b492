/* Waking the loop. wake_up runs on any thread and in signal handlers; the rest on
 * the loop's thread. Whoever calls wake_up sees to it that wake_close and a
 * reopening do not happen meanwhile (the loop's inbox lock). */
#include "wake.h"

#include "sys.h"

static inline bool
wake_is_eventfd(const Wake *wake)
{
    return wake->read_fd == wake->write_fd;
}

/* An eventfd watched edge-triggered reports every write anew without being read. */
static int
wake_on_ready(Watcher *watcher, unsigned events)
{
    Wake *wake = CL_CONTAINER_OF(watcher, Wake, watcher);
    char buffer[512];

    CL_UNUSED(events);
    if (!wake_is_eventfd(wake)) {
        while (sys_read(wake->read_fd, buffer, sizeof(buffer)) > 0) {
        }
    }
    return 0;
}

static void
wake_on_loop_close(Watcher *watcher)
{
    CL_UNUSED(watcher);
}

static const WatcherOps wake_ops = {
    .on_ready = wake_on_ready,
    .on_loop_close = wake_on_loop_close,
    .traverse = NULL,
};

void
wake_init(Wake *wake, Poller *poller)
{
    watcher_init(&wake->watcher, &wake_ops);
    wake->poller = poller;
    wake->read_fd = -1;
    wake->write_fd = -1;
    platform_watch_forks();
    wake->fork_id = platform_forks;
}

int
wake_open(Wake *wake)
{
    if (CL_LIKELY(wake->read_fd >= 0)) {
        if (CL_LIKELY(wake->fork_id == platform_forks)) {
            return 0;
        }
        wake_close(wake); /* the parent's: what is ours is only these copies */
    }
    int fds[2];
    int rc = sys_eventfd(0);
    if (rc >= 0) {
        fds[0] = rc;
        fds[1] = rc;
    }
    else {
        rc = sys_pipe2(fds);
        if (rc < 0) {
            return rc;
        }
    }
    wake->read_fd = fds[0];
    wake->write_fd = fds[1];
    wake->fork_id = platform_forks;
    unsigned wanted = wake_is_eventfd(wake) ? CL_READABLE | CL_EDGE : CL_READABLE;
    rc = poller_watch(wake->poller, &wake->watcher, fds[0], wanted);
    if (rc < 0) {
        wake_close(wake);
    }
    return rc;
}

void
wake_close(Wake *wake)
{
    poller_unwatch(wake->poller, &wake->watcher);
    if (wake->read_fd >= 0) {
        sys_close(wake->read_fd);
        if (!wake_is_eventfd(wake)) {
            sys_close(wake->write_fd);
        }
    }
    wake->read_fd = -1;
    wake->write_fd = -1;
}

int
wake_up(Wake *wake)
{
    static const uint64_t one = 1;
    int kept = errno;
    size_t length = wake_is_eventfd(wake) ? sizeof(one) : 1;

    ssize_t rc = sys_write(wake->write_fd, &one, length);
    if (rc == -EAGAIN && wake_is_eventfd(wake)) {
        /* 2**64 wake-ups without a read. Begin at 0: the next write is an edge
         * again. */
        uint64_t count;
        (void)sys_read(wake->read_fd, &count, sizeof(count));
        rc = sys_write(wake->write_fd, &one, length);
    }
    errno = kept;
    return rc < 0 && rc != -EAGAIN ? (int)rc : 0; /* a full pipe wakes as well */
}
