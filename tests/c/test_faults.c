/* The fault table, and what this floor makes of failing calls. Debug builds only. */
#include <netinet/in.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "check.h"
#include "dispatch.h"
#include "os/sys.h"
#include "os/wake.h"

#define MS INT64_C(1000000)

typedef struct Probe {
    Watcher watcher;
    int calls;
    unsigned events;
} Probe;

static int
probe_on_ready(Watcher *watcher, unsigned events)
{
    Probe *probe = CL_CONTAINER_OF(watcher, Probe, watcher);
    probe->calls++;
    probe->events = events;
    return 0;
}

static void
probe_on_loop_close(Watcher *watcher)
{
    CL_UNUSED(watcher);
}

static const WatcherOps probe_ops = {
    .on_ready = probe_on_ready,
    .on_loop_close = probe_on_loop_close,
};

static void
setup(Poller *poller, Probe *probe, int fds[2])
{
    sys_fault_clear();
    poller_init(poller);
    memset(probe, 0, sizeof(*probe));
    watcher_init(&probe->watcher, &probe_ops);
    CHECK_EQ(sys_socketpair(AF_UNIX, SOCK_STREAM, fds), 0);
}

static void
teardown(Poller *poller, int fds[2])
{
    sys_fault_clear();
    poller_close(poller);
    CHECK_EQ(sys_close(fds[0]), 0);
    CHECK_EQ(sys_close(fds[1]), 0);
}

static void
test_names(void)
{
    CHECK_EQ(sys_fault_find("read"), CL_SYS_read);
    CHECK_EQ(sys_fault_find("epoll_pwait2"), CL_SYS_epoll_pwait2);
    CHECK_EQ(sys_fault_find("reboot"), -1);
    CHECK(strcmp(sys_fault_name(CL_SYS_accept4), "accept4") == 0);
    CHECK_EQ(sys_fault_set(CL_SYS_read, 0, 1, EIO), -EINVAL);
    CHECK_EQ(sys_fault_set(CL_SYS_read, 1, 0, EIO), -EINVAL);
    CHECK_EQ(sys_fault_set(CL_SYS_read, 1, 1, 0), -EINVAL);
}

static void
test_nth_use_fails(void)
{
    int fds[2];
    char c;
    sys_fault_clear();
    CHECK_EQ(sys_pipe2(fds), 0);
    CHECK_EQ(sys_fault_set(CL_SYS_read, 3, 2, EIO), 0);
    CHECK_EQ(sys_write(fds[1], "abcd", 4), 4);
    CHECK_EQ(sys_read(fds[0], &c, 1), 1);
    CHECK_EQ(sys_read(fds[0], &c, 1), 1);
    CHECK_EQ(sys_read(fds[0], &c, 1), -EIO);
    CHECK_EQ(sys_read(fds[0], &c, 1), -EIO);
    CHECK_EQ(sys_read(fds[0], &c, 1), 1);
    CHECK_EQ(c, 'c'); /* nothing was lost to the faults */
    CHECK_EQ(sys_fault_uses(CL_SYS_read), 5);
    CHECK_EQ(sys_fault_hits(CL_SYS_read), 2);
    CHECK_EQ(sys_fault_uses(CL_SYS_write), 1);
    CHECK_EQ(sys_fault_set(CL_SYS_read, 1, 100, EIO), 0);
    CHECK_EQ(sys_read(fds[0], &c, 1), -EIO);
    sys_fault_clear();
    CHECK_EQ(sys_read(fds[0], &c, 1), 1);
    CHECK_EQ(sys_fault_uses(CL_SYS_read), 1);
    CHECK_EQ(sys_fault_set(CL_SYS_close, 1, 1, EIO), 0);
    CHECK_EQ(sys_close(fds[0]), -EIO);
    CHECK_EQ(sys_close(fds[0]), -EBADF); /* it was closed all the same */
    CHECK_EQ(sys_close(fds[1]), 0);
}

static void
test_interrupted_calls_are_repeated(void)
{
    int fds[2];
    char c;
    sys_fault_clear();
    CHECK_EQ(sys_socketpair(AF_UNIX, SOCK_STREAM, fds), 0);
    CHECK_EQ(sys_fault_set(CL_SYS_send, 1, 3, EINTR), 0);
    CHECK_EQ(sys_send(fds[0], "x", 1, 0), 1);
    CHECK_EQ(sys_fault_uses(CL_SYS_send), 4);
    CHECK_EQ(sys_fault_set(CL_SYS_recv, 1, 1, EINTR), 0);
    CHECK_EQ(sys_recv(fds[1], &c, 1, 0), 1);
    CHECK_EQ(sys_recv(fds[1], &c, 1, 0), -EAGAIN);
    CHECK_EQ(sys_fault_set(CL_SYS_close, 1, 1, EINTR), 0);
    CHECK_EQ(sys_close(fds[0]), 0);
    CHECK_EQ(sys_fault_uses(CL_SYS_close), 1);
    CHECK_EQ(sys_close(fds[1]), 0);
}

static void
test_sockets(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    sys_fault_clear();
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(server >= 0 && client >= 0);
    CHECK_EQ(sys_get_nonblocking(client), 0);
    CHECK_EQ(sys_set_nonblocking(client, true), 0);
    CHECK_EQ(sys_get_nonblocking(client), 1);
    CHECK_EQ(sys_set_nonblocking(client, false), 0);
    CHECK_EQ(sys_get_nonblocking(client), 0);
    CHECK_EQ(bind(server, (struct sockaddr *)&address, length), 0);
    CHECK_EQ(listen(server, 5), 0);
    CHECK_EQ(sys_getsockname(server, (struct sockaddr *)&address, &length), 0);
    CHECK_EQ(sys_accept4(server, NULL, NULL), -EAGAIN);

    CHECK_EQ(sys_fault_set(CL_SYS_connect, 1, 1, EINTR), 0);
    CHECK_EQ(sys_connect(client, (struct sockaddr *)&address, length), -EINPROGRESS);
    CHECK_EQ(sys_connect(client, (struct sockaddr *)&address, length), 0);
    CHECK_EQ(sys_socket_error(client), 0);
    CHECK_EQ(sys_fault_set(CL_SYS_getsockopt, 1, 1, ENOBUFS), 0);
    CHECK_EQ(sys_socket_error(client), -ENOBUFS);
    CHECK_EQ(sys_fault_set(CL_SYS_accept4, 1, 2, EMFILE), 0);
    CHECK_EQ(sys_accept4(server, NULL, NULL), -EMFILE);
    CHECK_EQ(sys_accept4(server, NULL, NULL), -EMFILE);
    int accepted = sys_accept4(server, NULL, NULL);
    CHECK(accepted >= 0);
    CHECK_EQ(sys_get_nonblocking(accepted), 1);
    int on = 1;
    CHECK_EQ(sys_setsockopt(accepted, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)), 0);
    length = sizeof(address);
    CHECK_EQ(sys_getpeername(accepted, (struct sockaddr *)&address, &length), 0);
    CHECK_EQ(sys_shutdown(accepted, SHUT_WR), 0);
    CHECK_EQ(sys_shutdown(server, 99), -EINVAL);
    sys_close(accepted);
    sys_close(server);
    sys_close(client);
}

static void
test_one_byte_streams(void)
{
    int fds[2];
    char buffer[16], other[16];
    struct iovec pieces[3] = {{"", 0}, {"ab", 2}, {"cd", 2}};
    struct iovec targets[2] = {{buffer, 4}, {other, 4}};
    struct msghdr out = {.msg_iov = pieces, .msg_iovlen = 3};
    struct msghdr in = {.msg_iov = targets, .msg_iovlen = 2};

    sys_fault_clear();
    sys_fault_one_byte(true);
    CHECK_EQ(sys_socketpair(AF_UNIX, SOCK_STREAM, fds), 0);
    CHECK_EQ(sys_sendmsg(fds[0], &out, 0), 1);
    CHECK_EQ(out.msg_iovlen, 3);
    CHECK_EQ(sys_send(fds[0], "xyz", 3, 0), 1);
    CHECK_EQ(sys_write(fds[0], "12", 2), 1);
    CHECK_EQ(sys_recvmsg(fds[1], &in, 0), 1);
    CHECK_EQ(buffer[0], 'a');
    CHECK_EQ(sys_recv(fds[1], buffer, 16, 0), 1);
    CHECK_EQ(buffer[0], 'x');
    CHECK_EQ(sys_read(fds[1], buffer, 16), 1);
    CHECK_EQ(buffer[0], '1');
    CHECK_EQ(sys_recv(fds[1], buffer, 16, 0), -EAGAIN);
    CHECK_EQ(sys_send(fds[0], "", 0, 0), 0);
    sys_fault_one_byte(false);
    CHECK_EQ(sys_sendmsg(fds[0], &out, 0), 4);
    CHECK_EQ(sys_recvmsg(fds[1], &in, 0), 4);
    sys_close(fds[0]);
    sys_close(fds[1]);
}

static void
test_one_byte_leaves_datagrams_and_events_alone(void)
{
    int fds[2];
    uint64_t value = 3;
    char buffer[16];
    sys_fault_clear();
    sys_fault_one_byte(true);
    CHECK_EQ(sys_socketpair(AF_UNIX, SOCK_DGRAM, fds), 0);
    CHECK_EQ(sys_send(fds[0], "xyz", 3, 0), 3);
    CHECK_EQ(sys_recvfrom(fds[1], buffer, 16, 0, NULL, NULL), 3);
    struct iovec piece = {"abcd", 4};
    struct mmsghdr many[2] = {
        {.msg_hdr = {.msg_iov = &piece, .msg_iovlen = 1}},
        {.msg_hdr = {.msg_iov = &piece, .msg_iovlen = 1}},
    };
    CHECK_EQ(sys_sendmmsg(fds[0], many, 2, 0), 2);
    CHECK_EQ(many[1].msg_len, 4);
    struct iovec target = {buffer, 16};
    many[0].msg_hdr.msg_iov = &target;
    CHECK_EQ(sys_recvmmsg(fds[1], many, 1, 0), 1);
    CHECK_EQ(many[0].msg_len, 4);
    CHECK_EQ(sys_sendto(fds[0], "xyz", 3, 0, NULL, 0), 3);
    sys_close(fds[0]);
    sys_close(fds[1]);
    int event = sys_eventfd(0);
    CHECK_EQ(sys_write(event, &value, 8), 8);
    CHECK_EQ(sys_read(event, &value, 8), 8);
    CHECK_EQ(value, 3);
    sys_close(event);
    sys_fault_clear();
}

static void
test_poller_without_descriptors(void)
{
    Poller poller;
    Probe probe;
    int fds[2];
    setup(&poller, &probe, fds);
    CHECK_EQ(sys_fault_set(CL_SYS_epoll_create1, 1, 3, EMFILE), 0);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, fds[0], CL_READABLE), -EMFILE);
    CHECK_EQ(poller_prepare(&poller), -EMFILE);
    CHECK_EQ(poller_wait(&poller, 1), -EMFILE);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, fds[0], CL_READABLE), 0);
    teardown(&poller, fds);
}

static void
test_registration_refused(void)
{
    Poller poller;
    Probe probe;
    int fds[2];
    setup(&poller, &probe, fds);
    CHECK_EQ(sys_fault_set(CL_SYS_epoll_ctl, 1, 1, ENOSPC), 0);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, fds[0], CL_WRITABLE), -ENOSPC);
    CHECK(poller_find(&poller, fds[0]) == NULL);
    CHECK_EQ(probe.watcher.fd, -1);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, fds[0], CL_READABLE), 0);
    CHECK_EQ(sys_fault_set(CL_SYS_epoll_ctl, 1, 1, ENOMEM), 0);
    CHECK_EQ(poller_rewatch(&poller, &probe.watcher, CL_WRITABLE), -ENOMEM);
    CHECK(poller_find(&poller, fds[0]) == &probe.watcher);
    CHECK_EQ(poller_rewatch(&poller, &probe.watcher, CL_WRITABLE), 0);
    CHECK_EQ(poller_wait(&poller, -1), 1);
    CHECK_EQ(poller_dispatch(&poller), 0);
    CHECK_EQ(probe.events, CL_WRITABLE);
    teardown(&poller, fds);
}

static void
test_recorded_change_refused(void)
{
    Poller poller;
    Probe probe;
    int fds[2];
    setup(&poller, &probe, fds);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, fds[0], CL_READABLE), 0);
    CHECK_EQ(sys_fault_set(CL_SYS_epoll_ctl, 1, 1, ENOMEM), 0);
    poller_want(&poller, &probe.watcher, CL_WRITABLE);
    CHECK_EQ(poller_wait(&poller, -1), 1);
    CHECK_EQ(poller_dispatch(&poller), 0);
    CHECK_EQ(probe.events, CL_ERROR); /* the owner hears of it, and may try again */
    poller_want(&poller, &probe.watcher, CL_WRITABLE);
    CHECK_EQ(poller_wait(&poller, -1), 1);
    CHECK_EQ(poller_dispatch(&poller), 0);
    CHECK_EQ(probe.events, CL_WRITABLE);
    teardown(&poller, fds);
}

static void
test_wait_fails(void)
{
    Poller poller;
    Probe probe;
    int fds[2];
    setup(&poller, &probe, fds);
    CHECK_EQ(poller_watch(&poller, &probe.watcher, fds[0], CL_WRITABLE), 0);
    CHECK_EQ(sys_fault_set(CL_SYS_epoll_wait, 1, 1, EINTR), 0);
    CHECK_EQ(poller_wait(&poller, -1), 0);
    CHECK_EQ(sys_fault_set(CL_SYS_epoll_pwait2, 1, 1, EINTR), 0);
    CHECK_EQ(poller_wait(&poller, MS), 0);
    CHECK_EQ(sys_fault_set(CL_SYS_epoll_wait, 1, 1, EINVAL), 0);
    CHECK_EQ(poller_wait(&poller, 0), -EINVAL);
    CHECK_EQ(poller_dispatch(&poller), 0);
    CHECK_EQ(poller_wait(&poller, 0), 1);
    teardown(&poller, fds);
}

/* No descriptor for a new set: the old one goes on, and is replaced later. */
static void
test_rebuild_without_descriptors(void)
{
    Poller poller;
    Probe zombie, other;
    int fds[2], b[2];
    setup(&poller, &zombie, fds);
    memset(&other, 0, sizeof(other));
    watcher_init(&other.watcher, &probe_ops);
    CHECK_EQ(sys_socketpair(AF_UNIX, SOCK_STREAM, b), 0);
    CHECK_EQ(poller_watch(&poller, &zombie.watcher, fds[0], CL_WRITABLE), 0);
    CHECK_EQ(poller_watch(&poller, &other.watcher, b[0], CL_READABLE), 0);
    int copy = dup(fds[0]);
    sys_close(fds[0]);
    poller_unwatch(&poller, &zombie.watcher);
    CHECK_EQ(sys_fault_set(CL_SYS_epoll_create1, 1, 1, EMFILE), 0);
    int waits = 0;
    while (poller_wait(&poller, 0) > 0) {
        poller_count_stale(&poller);
        CHECK_EQ(poller_dispatch(&poller), 0);
        CHECK(++waits < 50);
        if (waits == CL_POLLER_STALE_MAX + 2) {
            CHECK_EQ(sys_write(b[1], "x", 1), 1);
            CHECK_EQ(poller_wait(&poller, 0), 2);
            CHECK_EQ(poller_dispatch(&poller), 0);
            CHECK_EQ(other.calls, 1);
            poller_want(&poller, &other.watcher, 0);
        }
    }
    CHECK(waits > CL_POLLER_STALE_MAX + 2);
    CHECK_EQ(zombie.calls, 0);
    fds[0] = copy;
    sys_close(b[0]);
    sys_close(b[1]);
    teardown(&poller, fds);
}

static void
test_wake_without_eventfd(void)
{
    Poller poller;
    Wake wake;
    sys_fault_clear();
    poller_init(&poller);
    wake_init(&wake, &poller);
    CHECK_EQ(sys_fault_set(CL_SYS_eventfd, 1, 2, ENOSYS), 0);
    CHECK_EQ(sys_fault_set(CL_SYS_pipe2, 1, 1, EMFILE), 0);
    CHECK_EQ(wake_open(&wake), -EMFILE);
    CHECK_EQ(wake_open(&wake), 0);
    CHECK(wake.read_fd != wake.write_fd);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(wake_up(&wake), 0);
        CHECK_EQ(wake_up(&wake), 0);
        CHECK_EQ(poller_wait(&poller, -1), 1);
        CHECK_EQ(poller_dispatch(&poller), 0);
        CHECK_EQ(poller_wait(&poller, 0), 0);
    }
    wake_close(&wake);
    CHECK_EQ(sys_fault_set(CL_SYS_epoll_ctl, 1, 1, ENOSPC), 0);
    CHECK_EQ(wake_open(&wake), -ENOSPC);
    CHECK_EQ(wake.read_fd, -1);
    CHECK_EQ(sys_fault_set(CL_SYS_write, 1, 1, EINTR), 0);
    CHECK_EQ(wake_open(&wake), 0);
    CHECK_EQ(wake_up(&wake), 0);
    CHECK_EQ(sys_fault_set(CL_SYS_write, 1, 1, EIO), 0);
    CHECK_EQ(wake_up(&wake), -EIO);
    wake_close(&wake);
    poller_close(&poller);
    sys_fault_clear();
}

/* In a child, as the answer is remembered. */
static void
test_kernel_without_epoll_pwait2(void)
{
    static const int errors[] = {ENOSYS, EPERM};
    for (int i = 0; i < 2; i++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            Poller poller;
            Probe probe;
            int fds[2];
            setup(&poller, &probe, fds);
            CHECK_EQ(sys_fault_set(CL_SYS_epoll_pwait2, 1, 1, errors[i]), 0);
            for (int64_t timeout_ns = 1; timeout_ns < 5 * MS; timeout_ns *= 7) {
                int64_t before_ns = sys_clock_ns();
                CHECK_EQ(poller_wait(&poller, timeout_ns), 0);
                CHECK(sys_clock_ns() - before_ns >= timeout_ns);
            }
            CHECK_EQ(sys_fault_uses(CL_SYS_epoll_pwait2), 1);
            CHECK(sys_fault_uses(CL_SYS_epoll_wait) > 5);
            CHECK_EQ(poller_watch(&poller, &probe.watcher, fds[0], CL_WRITABLE), 0);
            CHECK_EQ(poller_wait(&poller, CL_NEVER_NS), 1);
            teardown(&poller, fds);
            _exit(0);
        }
        int status;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

int
main(void)
{
    RUN(test_names);
    RUN(test_nth_use_fails);
    RUN(test_interrupted_calls_are_repeated);
    RUN(test_sockets);
    RUN(test_one_byte_streams);
    RUN(test_one_byte_leaves_datagrams_and_events_alone);
    RUN(test_poller_without_descriptors);
    RUN(test_registration_refused);
    RUN(test_recorded_change_refused);
    RUN(test_wait_fails);
    RUN(test_rebuild_without_descriptors);
    RUN(test_wake_without_eventfd);
    RUN(test_kernel_without_epoll_pwait2);
    return check_done();
}
