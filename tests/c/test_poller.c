#include "os/poller.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "check.h"
#include "dispatch.h"
#include "os/sys.h"

#define MS INT64_C(1000000)

/* -- fixtures ------------------------------------------------------------------- */

typedef struct Probe {
    Watcher watcher;
    int calls;
    unsigned events; /* of the last call */
    int closed;
    int result; /* what on_ready returns */
    Poller *poller;
    struct Probe *victim; /* unwatched by on_ready */
    void (*action)(struct Probe *self);
} Probe;

static int
probe_on_ready(Watcher *watcher, unsigned events)
{
    Probe *probe = CL_CONTAINER_OF(watcher, Probe, watcher);
    probe->calls++;
    probe->events = events;
    if (probe->victim != NULL) {
        poller_unwatch(probe->poller, &probe->victim->watcher);
    }
    if (probe->action != NULL) {
        probe->action(probe);
    }
    return probe->result;
}

static void
probe_on_loop_close(Watcher *watcher)
{
    CHECK_EQ(watcher->fd, -1);
    CL_CONTAINER_OF(watcher, Probe, watcher)->closed++;
}

static int
probe_traverse(Watcher *watcher, int (*visit)(void *, void *), void *arg)
{
    return visit(watcher, arg);
}

static const WatcherOps probe_ops = {
    .on_ready = probe_on_ready,
    .on_loop_close = probe_on_loop_close,
    .traverse = probe_traverse,
};

static void
probe_init(Probe *probe, Poller *poller)
{
    memset(probe, 0, sizeof(*probe));
    watcher_init(&probe->watcher, &probe_ops);
    probe->poller = poller;
}

static void
make_pair(int fds[2])
{
    CHECK_EQ(sys_socketpair(AF_UNIX, SOCK_STREAM, fds), 0);
}

static void
put(int fd)
{
    CHECK_EQ(sys_write(fd, "x", 1), 1);
}

static void
take(int fd)
{
    char c;
    CHECK_EQ(sys_read(fd, &c, 1), 1);
}

static int
turn(Poller *poller, int64_t timeout_ns)
{
    int rc = poller_wait(poller, timeout_ns);
    CHECK(rc >= 0);
    poller_count_stale(poller);
    CHECK_EQ(poller_dispatch(poller), 0);
    return rc;
}

static void
close_pair(int fds[2])
{
    sys_close(fds[0]);
    sys_close(fds[1]);
}

/* -- watching ------------------------------------------------------------------- */

static void
test_nothing_opened_before_needed(void)
{
    Poller poller;
    poller_init(&poller);
    CHECK_EQ(poller_wait(&poller, 0), 0);
    CHECK_EQ(poller_dispatch(&poller), 0);
    CHECK_EQ(poller.fd, -1);
    CHECK(!poller_is_watching(&poller));
    CHECK_EQ(poller_wait(&poller, 1), 0);
    CHECK(poller.fd >= 0);
    poller_close(&poller);
    CHECK_EQ(poller.fd, -1);
    poller_close(&poller);
}

static void
test_watch_want_unwatch(void)
{
    Poller poller;
    Probe probe;
    int fds[2];
    poller_init(&poller);
    probe_init(&probe, &poller);
    make_pair(fds);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, fds[0], CL_READABLE), 0);
    CHECK(poller_find(&poller, fds[0]) == &probe.watcher);
    CHECK(poller_is_watching(&poller));
    CHECK_EQ(turn(&poller, 0), 0);
    put(fds[1]);
    CHECK_EQ(turn(&poller, -1), 1);
    CHECK_EQ(probe.calls, 1);
    CHECK_EQ(probe.events, CL_READABLE);

    poller_want(&poller, &probe.watcher, CL_READABLE | CL_WRITABLE);
    turn(&poller, -1);
    CHECK_EQ(probe.events, CL_READABLE | CL_WRITABLE);
    poller_want(&poller, &probe.watcher, CL_WRITABLE);
    turn(&poller, -1);
    CHECK_EQ(probe.events, CL_WRITABLE);
    poller_want(&poller, &probe.watcher, 0);
    CHECK_EQ(turn(&poller, 0), 0);
    poller_want(&poller, &probe.watcher, CL_READABLE);
    turn(&poller, -1);
    CHECK_EQ(probe.events, CL_READABLE);

    poller_unwatch(&poller, &probe.watcher);
    CHECK_EQ(probe.watcher.fd, -1);
    CHECK(poller_find(&poller, fds[0]) == NULL);
    CHECK(!poller_is_watching(&poller));
    CHECK_EQ(turn(&poller, 0), 0);
    poller_unwatch(&poller, &probe.watcher);
    close_pair(fds);
    poller_close(&poller);
    CHECK_EQ(probe.closed, 0);
}

static void
test_changes_are_net(void)
{
    Poller poller;
    Probe probe;
    int fds[2];
    poller_init(&poller);
    probe_init(&probe, &poller);
    make_pair(fds);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, fds[0], CL_READABLE), 0);
    poller_want(&poller, &probe.watcher, CL_WRITABLE);
    CHECK(!list_is_empty(&poller.changes));
    poller_want(&poller, &probe.watcher, CL_WRITABLE);
    poller_want(&poller, &probe.watcher, CL_READABLE);
    CHECK(list_is_empty(&poller.changes));
    poller_want(&poller, &probe.watcher, 0);
    poller_unwatch(&poller, &probe.watcher);
    CHECK(list_is_empty(&poller.changes));
    close_pair(fds);
    poller_close(&poller);
}

static void
test_bad_descriptors(void)
{
    Poller poller;
    Probe probe;
    poller_init(&poller);
    probe_init(&probe, &poller);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, -1, CL_READABLE), -EBADF);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, 1000000000, CL_READABLE), -EBADF);
    CHECK_EQ(poller.slot_count, 0); /* no array of that size */
    FILE *file = tmpfile();
    CHECK(file != NULL);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, fileno(file), CL_READABLE), -EPERM);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, fileno(file), 0), -EPERM);
    CHECK_EQ(probe.watcher.fd, -1);
    CHECK(poller_find(&poller, fileno(file)) == NULL);
    CHECK(poller_find(&poller, -1) == NULL);
    CHECK(poller_find(&poller, INT32_MAX) == NULL);
    fclose(file);
    poller_close(&poller);
}

static void
test_high_descriptor(void)
{
    Poller poller;
    Probe low, high;
    int fds[2];
    poller_init(&poller);
    probe_init(&low, &poller);
    probe_init(&high, &poller);
    make_pair(fds);
    CHECK_EQ(poller_watch(&poller, &low.watcher, fds[1], CL_READABLE), 0);
    int number = fcntl(fds[0], F_DUPFD_CLOEXEC, 700);
    CHECK(number >= 700);
    CHECK_EQ(poller_watch(&poller, &high.watcher, number, CL_WRITABLE), 0);
    CHECK(poller.slot_count > (size_t)number);
    CHECK_EQ(turn(&poller, -1), 1);
    CHECK_EQ(high.calls, 1);
    CHECK(poller_find(&poller, fds[1]) == &low.watcher);
    poller_unwatch(&poller, &high.watcher);
    poller_unwatch(&poller, &low.watcher);
    sys_close(number);
    close_pair(fds);
    poller_close(&poller);
}

static void
test_wanting_nothing_is_silent(void)
{
    Poller poller;
    Probe probe;
    int fds[2];
    poller_init(&poller);
    probe_init(&probe, &poller);
    make_pair(fds);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, fds[0], 0), 0);
    CHECK(poller_find(&poller, fds[0]) == &probe.watcher);
    sys_close(fds[1]); /* a hang-up, which epoll reports unasked */
    CHECK_EQ(turn(&poller, 2 * MS), 0);
    CHECK_EQ(probe.calls, 0);
    poller_want(&poller, &probe.watcher, CL_READABLE);
    turn(&poller, -1);
    CHECK_EQ(probe.events, CL_READABLE | CL_HANGUP);
    poller_want(&poller, &probe.watcher, CL_WRITABLE);
    turn(&poller, -1);
    CHECK_EQ(probe.events, CL_WRITABLE | CL_HANGUP);
    poller_want(&poller, &probe.watcher, 0);
    CHECK_EQ(turn(&poller, 2 * MS), 0);
    CHECK_EQ(probe.calls, 2);
    poller_unwatch(&poller, &probe.watcher);
    sys_close(fds[0]);
    poller_close(&poller);
}

static void
test_write_pipe_without_reader(void)
{
    Poller poller;
    Probe probe;
    int fds[2];
    poller_init(&poller);
    probe_init(&probe, &poller);
    CHECK_EQ(sys_pipe2(fds), 0);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, fds[1], CL_READABLE), 0);
    CHECK_EQ(turn(&poller, 0), 0);
    sys_close(fds[0]);
    turn(&poller, -1);
    CHECK_EQ(probe.events, CL_ERROR);
    poller_unwatch(&poller, &probe.watcher);
    sys_close(fds[1]);
    poller_close(&poller);
}

static int
count_visit(void *object, void *arg)
{
    CHECK(object != NULL);
    return ++*(int *)arg == 3 ? 7 : 0;
}

static void
test_close_hands_over_watchers(void)
{
    Poller poller;
    Probe probes[4];
    int fds[4][2];
    poller_init(&poller);
    for (int i = 0; i < 4; i++) {
        probe_init(&probes[i], &poller);
        make_pair(fds[i]);
        CHECK_EQ(poller_watch(&poller, &probes[i].watcher, fds[i][0], CL_READABLE), 0);
    }
    poller_want(&poller, &probes[1].watcher, CL_WRITABLE);
    int visited = 0;
    CHECK_EQ(poller_traverse(&poller, count_visit, &visited), 7);
    CHECK_EQ(visited, 3);
    poller_close(&poller);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(probes[i].closed, 1);
        CHECK_EQ(probes[i].watcher.fd, -1);
        poller_unwatch(&poller, &probes[i].watcher);
        close_pair(fds[i]);
    }
}

/* -- batches -------------------------------------------------------------------- */

static void
test_unwatch_in_the_middle_of_a_batch(void)
{
    Poller poller;
    Probe probes[2];
    int fds[2][2];
    poller_init(&poller);
    for (int i = 0; i < 2; i++) {
        probe_init(&probes[i], &poller);
        make_pair(fds[i]);
        put(fds[i][1]);
        CHECK_EQ(poller_watch(&poller, &probes[i].watcher, fds[i][0], CL_READABLE), 0);
    }
    probes[0].victim = &probes[1];
    probes[1].victim = &probes[0];
    CHECK_EQ(turn(&poller, -1), 2);
    CHECK_EQ(probes[0].calls + probes[1].calls, 1);
    CHECK_EQ(poller.stale, 0); /* that was no stale event of the kernel's */
    poller_close(&poller);
    close_pair(fds[0]);
    close_pair(fds[1]);
}

static int rewatch_fd;

/* The other watcher goes, its descriptor is closed and the number watched anew. */
static void
replace_victim(Probe *self)
{
    static int keep[2];
    Probe *other = self->victim;
    int fd = rewatch_fd;
    sys_close(fd);
    CHECK_EQ(sys_socketpair(AF_UNIX, SOCK_STREAM, keep), 0);
    CHECK_EQ(keep[0], fd);
    CHECK_EQ(poller_watch(self->poller, &other->watcher, fd, CL_READABLE), 0);
    rewatch_fd = keep[1];
    self->victim = NULL;
    self->action = NULL;
}

static void
test_reuse_in_the_middle_of_a_batch(void)
{
    Poller poller;
    Probe first, second;
    int a[2], b[2];
    poller_init(&poller);
    probe_init(&first, &poller);
    probe_init(&second, &poller);
    make_pair(a);
    make_pair(b);
    put(a[1]);
    CHECK_EQ(poller_watch(&poller, &first.watcher, a[0], CL_READABLE), 0);
    CHECK_EQ(turn(&poller, 0), 1); /* first stands first in the kernel's list now */
    put(b[1]);
    CHECK_EQ(poller_watch(&poller, &second.watcher, b[0], CL_READABLE), 0);
    first.victim = &second;
    first.action = replace_victim;
    rewatch_fd = b[0];
    CHECK_EQ(turn(&poller, -1), 2);
    CHECK_EQ(first.calls, 2);
    CHECK_EQ(second.calls, 0); /* the event was the old file's */
    take(a[0]);
    CHECK_EQ(turn(&poller, 0), 0);
    put(rewatch_fd);
    turn(&poller, -1);
    CHECK_EQ(second.calls, 1);
    sys_close(second.watcher.fd);
    sys_close(rewatch_fd);
    poller_close(&poller);
    close_pair(a);
    sys_close(b[1]);
}

static void
test_exception_leaves_the_rest_of_the_batch(void)
{
    Poller poller;
    Probe probes[3];
    int fds[3][2];
    poller_init(&poller);
    for (int i = 0; i < 3; i++) {
        probe_init(&probes[i], &poller);
        make_pair(fds[i]);
        put(fds[i][1]);
        CHECK_EQ(poller_watch(&poller, &probes[i].watcher, fds[i][0], CL_READABLE), 0);
        probes[i].result = -1;
    }
    CHECK_EQ(poller_wait(&poller, -1), 3);
    CHECK_EQ(poller_dispatch(&poller), -1);
    CHECK_EQ(poller_wait(&poller, -1), 2); /* no new wait over the rest */
    CHECK_EQ(poller_dispatch(&poller), -1);
    CHECK_EQ(poller_dispatch(&poller), -1);
    CHECK_EQ(poller_dispatch(&poller), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(probes[i].calls, 1);
        close_pair(fds[i]);
    }
    poller_close(&poller);
}

static void
want_nothing(Probe *self)
{
    for (int i = 0; i < 2; i++) {
        poller_want(self->poller, &self[i].watcher, 0);
    }
}

static void
test_interest_lost_in_the_middle_of_a_batch(void)
{
    Poller poller;
    Probe probes[2];
    int fds[2][2];
    poller_init(&poller);
    for (int i = 0; i < 2; i++) {
        probe_init(&probes[i], &poller);
        make_pair(fds[i]);
        put(fds[i][1]);
        CHECK_EQ(poller_watch(&poller, &probes[i].watcher, fds[i][0], CL_READABLE), 0);
    }
    probes[0].action =
        want_nothing; /* the first in the batch, as it was watched first */
    CHECK_EQ(turn(&poller, -1), 2);
    CHECK_EQ(probes[0].calls, 1);
    CHECK_EQ(probes[1].calls, 0);
    CHECK_EQ(turn(&poller, 0), 0);
    poller_close(&poller);
    close_pair(fds[0]);
    close_pair(fds[1]);
}

static void
close_poller(Probe *self)
{
    poller_close(self->poller);
}

static void
test_close_in_the_middle_of_a_batch(void)
{
    Poller poller;
    Probe probes[2];
    int fds[2][2];
    poller_init(&poller);
    for (int i = 0; i < 2; i++) {
        probe_init(&probes[i], &poller);
        make_pair(fds[i]);
        put(fds[i][1]);
        CHECK_EQ(poller_watch(&poller, &probes[i].watcher, fds[i][0], CL_READABLE), 0);
        probes[i].action = close_poller;
    }
    CHECK_EQ(turn(&poller, -1), 2);
    CHECK_EQ(probes[0].calls + probes[1].calls, 1);
    close_pair(fds[0]);
    close_pair(fds[1]);
}

static void
test_more_ready_than_a_batch(void)
{
    enum { PAIRS = 300 };
    static Probe probes[PAIRS];
    static int fds[PAIRS][2];
    struct rlimit limit;
    Poller poller;

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < PAIRS * 2 + 50) {
        limit.rlim_cur = PAIRS * 2 + 50;
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    poller_init(&poller);
    for (int i = 0; i < PAIRS; i++) {
        probe_init(&probes[i], &poller);
        make_pair(fds[i]);
        put(fds[i][1]);
        CHECK_EQ(poller_watch(&poller, &probes[i].watcher, fds[i][0], CL_READABLE), 0);
    }
    CHECK_EQ(turn(&poller, 0), CL_POLLER_BATCH);
    CHECK_EQ(turn(&poller, 0), CL_POLLER_BATCH);
    for (int i = 0; i < PAIRS; i++) {
        CHECK(probes[i].calls >= 1); /* the kernel takes turns */
        close_pair(fds[i]);
    }
    poller_close(&poller);
}

/* -- descriptors closed and reused behind our back ------------------------------ */

static void
test_reused_number_is_rewatched(void)
{
    Poller poller;
    Probe probe;
    int a[2], b[2];
    poller_init(&poller);
    probe_init(&probe, &poller);
    make_pair(a);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, a[0], CL_READABLE), 0);
    int fd = a[0];
    sys_close(a[0]);
    make_pair(b);
    CHECK_EQ(b[0], fd);
    /* The owner's next interest goes to the file that is there now. */
    CHECK_EQ(poller_rewatch(&poller, &probe.watcher, CL_READABLE), 0);
    CHECK_EQ(turn(&poller, 0), 0);
    put(b[1]);
    CHECK_EQ(turn(&poller, -1), 1);
    CHECK_EQ(probe.events, CL_READABLE);
    CHECK_EQ(poller_rewatch(&poller, &probe.watcher, CL_WRITABLE), 0);
    turn(&poller, -1);
    CHECK_EQ(probe.events, CL_WRITABLE);
    CHECK_EQ(poller_rewatch(&poller, &probe.watcher, 0), 0);
    CHECK_EQ(turn(&poller, 0), 0);
    poller_unwatch(&poller, &probe.watcher);
    close_pair(b);
    sys_close(a[1]);
    poller_close(&poller);
}

static void
test_recorded_change_on_reused_number(void)
{
    Poller poller;
    Probe probe;
    int a[2], b[2];
    poller_init(&poller);
    probe_init(&probe, &poller);
    make_pair(a);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, a[0], CL_READABLE), 0);
    sys_close(a[0]);
    make_pair(b);
    poller_want(&poller, &probe.watcher, CL_WRITABLE);
    CHECK_EQ(turn(&poller, -1), 1);
    CHECK_EQ(probe.events, CL_WRITABLE);
    poller_unwatch(&poller, &probe.watcher);
    close_pair(b);
    sys_close(a[1]);
    poller_close(&poller);
}

static void
test_closed_descriptor(void)
{
    Poller poller;
    Probe probe;
    int a[2];
    poller_init(&poller);
    probe_init(&probe, &poller);
    make_pair(a);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, a[0], CL_READABLE), 0);
    sys_close(a[0]);
    CHECK_EQ(poller_rewatch(&poller, &probe.watcher, CL_WRITABLE), -EBADF);
    CHECK_EQ(probe.watcher.wanted, 0);
    CHECK_EQ(turn(&poller, 0), 0);
    /* A recorded interest that cannot be told is reported, once, without waiting. */
    poller_want(&poller, &probe.watcher, CL_READABLE);
    CHECK_EQ(turn(&poller, -1), 1);
    CHECK_EQ(probe.calls, 1);
    CHECK_EQ(probe.events, CL_ERROR);
    CHECK_EQ(turn(&poller, MS), 0);
    CHECK_EQ(probe.calls, 1);
    /* And not when the owner has left meanwhile. */
    poller_want(&poller, &probe.watcher, CL_WRITABLE);
    CHECK_EQ(poller_wait(&poller, -1), 1);
    poller_unwatch(&poller, &probe.watcher);
    CHECK_EQ(poller_dispatch(&poller), 0);
    CHECK_EQ(probe.calls, 1);
    sys_close(a[1]);
    poller_close(&poller);
}

/* A closed descriptor that lives on in a duplicate goes on to be reported, and nobody
 * can take it out by its number. */
static void
check_zombie(bool reuse)
{
    Poller poller;
    Probe zombie, other, fresh;
    int a[2], b[2], c[2];
    poller_init(&poller);
    probe_init(&zombie, &poller);
    probe_init(&other, &poller);
    probe_init(&fresh, &poller);
    make_pair(a);
    make_pair(b);
    CHECK_EQ(poller_watch(&poller, &zombie.watcher, a[0], CL_READABLE), 0);
    CHECK_EQ(poller_watch(&poller, &other.watcher, b[0], CL_READABLE), 0);
    int copy = dup(a[0]);
    int number = a[0];
    sys_close(a[0]);
    poller_unwatch(&poller, &zombie.watcher);
    put(a[1]);
    if (reuse) {
        make_pair(c);
        CHECK_EQ(c[0], number);
        CHECK_EQ(poller_watch(&poller, &fresh.watcher, number, CL_READABLE), 0);
    }
    int waits = 0;
    while (turn(&poller, 0) > 0) {
        waits++;
        CHECK(waits < 20);
    }
    CHECK_EQ(waits, CL_POLLER_STALE_MAX);
    CHECK_EQ(zombie.calls + other.calls + fresh.calls, 0);
    /* The new set knows all that live. */
    put(b[1]);
    turn(&poller, -1);
    CHECK_EQ(other.calls, 1);
    take(b[0]);
    if (reuse) {
        put(c[1]);
        turn(&poller, -1);
        CHECK_EQ(fresh.calls, 1);
        poller_unwatch(&poller, &fresh.watcher);
        close_pair(c);
    }
    poller_unwatch(&poller, &other.watcher);
    sys_close(copy);
    sys_close(a[1]);
    close_pair(b);
    poller_close(&poller);
}

static void
test_zombie_registration(void)
{
    check_zombie(false);
}

static void
test_zombie_registration_with_reused_number(void)
{
    check_zombie(true);
}

static void
test_returned_duplicate(void)
{
    Poller poller;
    Probe first, second;
    int a[2];
    poller_init(&poller);
    probe_init(&first, &poller);
    probe_init(&second, &poller);
    make_pair(a);
    CHECK_EQ(poller_watch(&poller, &first.watcher, a[0], CL_READABLE), 0);
    int copy = dup(a[0]);
    int number = a[0];
    sys_close(number);
    poller_unwatch(&poller, &first.watcher); /* cannot be taken out */
    CHECK_EQ(dup2(copy, number), number);    /* and is back: EEXIST becomes modify */
    CHECK_EQ(poller_watch(&poller, &second.watcher, number, CL_READABLE), 0);
    put(a[1]);
    CHECK_EQ(turn(&poller, -1), 1);
    CHECK_EQ(first.calls, 0);
    CHECK_EQ(second.calls, 1);
    poller_unwatch(&poller, &second.watcher);
    CHECK_EQ(turn(&poller, 0), 0);
    sys_close(copy);
    close_pair(a);
    poller_close(&poller);
}

static int evictions;

static void
probe_on_evicted(Watcher *watcher)
{
    CHECK_EQ(watcher->fd, -1);
    evictions++;
}

static void
test_eviction(void)
{
    static const WatcherOps yielding_ops = {
        .on_ready = probe_on_ready,
        .on_loop_close = probe_on_loop_close,
        .on_evicted = probe_on_evicted,
    };
    Poller poller;
    Probe old, fresh, third;
    int a[2], b[2];
    poller_init(&poller);
    probe_init(&old, &poller);
    probe_init(&fresh, &poller);
    probe_init(&third, &poller);
    old.watcher.ops = &yielding_ops;
    make_pair(a);
    CHECK_EQ(poller_watch(&poller, &old.watcher, a[0], CL_READABLE), 0);
    int fd = a[0];
    sys_close(a[0]);
    make_pair(b);
    CHECK_EQ(b[0], fd);
    CHECK_EQ(poller_watch(&poller, &fresh.watcher, fd, CL_READABLE), 0);
    CHECK_EQ(evictions, 1);
    CHECK(poller_find(&poller, fd) == &fresh.watcher);
    CHECK_EQ(poller_watch(&poller, &third.watcher, fd, CL_READABLE), -EEXIST);
    CHECK_EQ(third.watcher.fd, -1);
    put(b[1]);
    CHECK_EQ(turn(&poller, -1), 1);
    CHECK_EQ(fresh.calls, 1);
    CHECK_EQ(old.calls, 0);
    poller_close(&poller);
    CHECK_EQ(old.closed, 0);
    CHECK_EQ(fresh.closed, 1);
    close_pair(b);
    sys_close(a[1]);
}

/* -- time ----------------------------------------------------------------------- */

static void
test_timeouts_are_never_early(void)
{
    static const int64_t timeouts[] = {1, 999, 20000, 300000, MS, MS + 1, 3 * MS};
    Poller poller;
    poller_init(&poller);
    CHECK_EQ(poller_prepare(&poller), 0);
    for (size_t i = 0; i < CL_COUNT_OF(timeouts); i++) {
        int64_t shortest = CL_NEVER_NS;
        for (int round = 0; round < 20; round++) {
            int64_t before_ns = sys_clock_ns();
            CHECK_EQ(poller_wait(&poller, timeouts[i]), 0);
            int64_t took_ns = sys_clock_ns() - before_ns;
            CHECK(took_ns >= timeouts[i]);
            if (took_ns < shortest) {
                shortest = took_ns;
            }
        }
        /* The best of twenty tells the precision on a busy machine, too. */
        CHECK(shortest < timeouts[i] + MS);
    }
    poller_close(&poller);
}

static void *
put_later(void *arg)
{
    struct timespec pause = {.tv_nsec = 5 * MS};
    nanosleep(&pause, NULL);
    put(*(int *)arg);
    return NULL;
}

static void
test_huge_timeout(void)
{
    Poller poller;
    Probe probe;
    int fds[2];
    pthread_t thread;
    poller_init(&poller);
    probe_init(&probe, &poller);
    make_pair(fds);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, fds[0], CL_READABLE), 0);
    CHECK_EQ(pthread_create(&thread, NULL, put_later, &fds[1]), 0);
    CHECK_EQ(turn(&poller, CL_NEVER_NS), 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    poller_close(&poller);
    close_pair(fds);
}

static void
on_alarm(int number)
{
    CL_UNUSED(number);
}

static void
test_a_signal_ends_the_wait(void)
{
    Poller poller;
    struct sigaction action = {.sa_handler = on_alarm}, old;
    timer_t timer;
    struct itimerspec when = {.it_value = {.tv_nsec = 5 * MS}};

    poller_init(&poller);
    CHECK_EQ(sigaction(SIGALRM, &action, &old), 0);
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
    CHECK_EQ(timer_settime(timer, 0, &when, NULL), 0);
    CHECK_EQ(poller_wait(&poller, -1), 0);
    CHECK_EQ(timer_delete(timer), 0);
    CHECK_EQ(sigaction(SIGALRM, &old, NULL), 0);
    poller_close(&poller);
}

/* -- fork ----------------------------------------------------------------------- */

static void
finish_child(pid_t child)
{
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

static void
test_child_leaves_the_parents_set_alone(void)
{
    for (int variant = 0; variant < 4; variant++) {
        Poller poller;
        Probe probe, other;
        int a[2], b[2];
        poller_init(&poller);
        probe_init(&probe, &poller);
        probe_init(&other, &poller);
        make_pair(a);
        make_pair(b);
        CHECK_EQ(poller_watch(&poller, &probe.watcher, a[0], CL_READABLE), 0);
        CHECK_EQ(poller_watch(&poller, &other.watcher, b[0], CL_READABLE), 0);
        poller_want(&poller, &other.watcher, CL_READABLE | CL_WRITABLE);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            switch (variant) {
            case 0:
                poller_unwatch(&poller, &probe.watcher);
                poller_unwatch(&poller, &other.watcher);
                break;
            case 1:
                poller_want(&poller, &probe.watcher, CL_WRITABLE);
                CHECK_EQ(turn(&poller, -1), 2);
                CHECK_EQ(probe.events, CL_WRITABLE);
                CHECK_EQ(other.events, CL_WRITABLE);
                break;
            case 2:
                CHECK_EQ(poller_rewatch(&poller, &probe.watcher, CL_WRITABLE), 0);
                break;
            default:
                break;
            }
            poller_close(&poller);
            _exit(0);
        }
        finish_child(child);
        put(a[1]);
        CHECK(turn(&poller, -1) > 0);
        turn(&poller, 0);
        CHECK(probe.calls > 0);
        CHECK_EQ(probe.events, CL_READABLE);
        CHECK_EQ(other.events, CL_WRITABLE);
        poller_close(&poller);
        close_pair(a);
        close_pair(b);
    }
}

static void
fork_here(Probe *self)
{
    static pid_t child;
    self->action = NULL;
    fflush(NULL);
    child = fork();
    if (child > 0) {
        finish_child(child);
    }
}

/* The child gets the turn's remaining events no more: they are the parent's. */
static void
test_fork_in_the_middle_of_a_batch(void)
{
    Poller poller;
    Probe probes[2];
    int fds[2][2];
    pid_t parent = getpid();
    poller_init(&poller);
    for (int i = 0; i < 2; i++) {
        probe_init(&probes[i], &poller);
        make_pair(fds[i]);
        put(fds[i][1]);
        CHECK_EQ(poller_watch(&poller, &probes[i].watcher, fds[i][0], CL_READABLE), 0);
    }
    probes[0].action = fork_here;
    CHECK_EQ(poller_wait(&poller, -1), 2);
    CHECK_EQ(poller_dispatch(&poller), 0);
    if (getpid() != parent) {
        CHECK_EQ(poller_dispatch(&poller), 0);
        CHECK_EQ(turn(&poller, 0), 2);
        poller_close(&poller);
        _exit(0);
    }
    CHECK_EQ(probes[0].calls, 1);
    CHECK_EQ(probes[1].calls, 1);
    CHECK_EQ(turn(&poller, 0), 2);
    poller_close(&poller);
    close_pair(fds[0]);
    close_pair(fds[1]);
}

int
main(void)
{
    RUN(test_nothing_opened_before_needed);
    RUN(test_watch_want_unwatch);
    RUN(test_changes_are_net);
    RUN(test_bad_descriptors);
    RUN(test_high_descriptor);
    RUN(test_wanting_nothing_is_silent);
    RUN(test_write_pipe_without_reader);
    RUN(test_close_hands_over_watchers);
    RUN(test_unwatch_in_the_middle_of_a_batch);
    RUN(test_reuse_in_the_middle_of_a_batch);
    RUN(test_exception_leaves_the_rest_of_the_batch);
    RUN(test_interest_lost_in_the_middle_of_a_batch);
    RUN(test_close_in_the_middle_of_a_batch);
    RUN(test_more_ready_than_a_batch);
    RUN(test_reused_number_is_rewatched);
    RUN(test_recorded_change_on_reused_number);
    RUN(test_closed_descriptor);
    RUN(test_zombie_registration);
    RUN(test_zombie_registration_with_reused_number);
    RUN(test_returned_duplicate);
    RUN(test_eviction);
    RUN(test_timeouts_are_never_early);
    RUN(test_huge_timeout);
    RUN(test_a_signal_ends_the_wait);
    RUN(test_child_leaves_the_parents_set_alone);
    RUN(test_fork_in_the_middle_of_a_batch);
    return check_done();
}
