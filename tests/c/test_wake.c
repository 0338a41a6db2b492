#include "os/wake.h"

#include <pthread.h>
#include <string.h>
#include <sys/wait.h>

#include "check.h"
#include "dispatch.h"
#include "os/sys.h"

#define MS INT64_C(1000000)

static void
setup(Poller *poller, Wake *wake)
{
    poller_init(poller);
    wake_init(wake, poller);
    CHECK_EQ(wake->read_fd, -1);
    CHECK_EQ(wake_up(wake), -EBADF);
    CHECK_EQ(wake_open(wake), 0);
    CHECK(wake->read_fd >= 0);
}

static void
teardown(Poller *poller, Wake *wake)
{
    wake_close(wake);
    CHECK_EQ(wake->read_fd, -1);
    wake_close(wake);
    poller_close(poller);
}

/* The descriptor goes on a second descriptor's number: a pipe, as where there is no
 * eventfd. */
static void
setup_pipe(Poller *poller, Wake *wake)
{
    setup(poller, wake);
    wake_close(wake);
    int fds[2];
    CHECK_EQ(sys_pipe2(fds), 0);
    wake->read_fd = fds[0];
    wake->write_fd = fds[1];
    CHECK_EQ(poller_watch(poller, &wake->watcher, fds[0], CL_READABLE), 0);
}

static void
check_wakes(Poller *poller, Wake *wake)
{
    CHECK_EQ(wake_open(wake), 0); /* already open: nothing */
    CHECK_EQ(poller_wait(poller, MS), 0);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i <= round % 3; i++) {
            CHECK_EQ(wake_up(wake), 0);
        }
        CHECK_EQ(poller_wait(poller, -1), 1);
        CHECK_EQ(poller_dispatch(poller), 0);
        CHECK_EQ(poller_wait(poller, 0), 0); /* once, not for ever */
    }
}

static void
test_wakes_eventfd(void)
{
    Poller poller;
    Wake wake;
    setup(&poller, &wake);
    check_wakes(&poller, &wake);
    teardown(&poller, &wake);
}

static void
test_wakes_pipe(void)
{
    Poller poller;
    Wake wake;
    setup_pipe(&poller, &wake);
    check_wakes(&poller, &wake);
    for (int i = 0; i < 100000; i++) {
        CHECK_EQ(wake_up(&wake), 0); /* a full pipe is no error */
    }
    CHECK_EQ(poller_wait(&poller, -1), 1);
    CHECK_EQ(poller_dispatch(&poller), 0);
    CHECK_EQ(poller_wait(&poller, 0), 0);
    teardown(&poller, &wake);
}

static void
test_full_counter(void)
{
    Poller poller;
    Wake wake;
    uint64_t most = UINT64_MAX - 1;
    setup(&poller, &wake);
    CHECK_EQ(sys_write(wake.write_fd, &most, sizeof(most)), sizeof(most));
    CHECK_EQ(poller_wait(&poller, -1), 1);
    CHECK_EQ(poller_dispatch(&poller), 0);
    CHECK_EQ(wake_up(&wake), 0);
    CHECK_EQ(poller_wait(&poller, 100 * MS), 1);
    CHECK_EQ(poller_dispatch(&poller), 0);
    CHECK_EQ(poller_wait(&poller, 0), 0);
    teardown(&poller, &wake);
}

static void
test_poller_closed_first(void)
{
    Poller poller;
    Wake wake;
    setup(&poller, &wake);
    poller_close(&poller);
    CHECK_EQ(wake_up(&wake), 0); /* harmless: the descriptor is still ours */
    wake_close(&wake);
    CHECK_EQ(wake_up(&wake), -EBADF);
}

static void *
wake_often(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        CHECK_EQ(wake_up(arg), 0);
        if (i % 50 == 0) {
            struct timespec pause = {.tv_nsec = 20000};
            nanosleep(&pause, NULL);
        }
    }
    return NULL;
}

static void
test_wakes_from_threads(void)
{
    Poller poller;
    Wake wake;
    pthread_t threads[3];
    setup(&poller, &wake);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, wake_often, &wake), 0);
    }
    CHECK_EQ(poller_wait(&poller, -1), 1);
    CHECK_EQ(poller_dispatch(&poller), 0);
    while (poller_wait(&poller, 20 * MS) > 0) {
        CHECK_EQ(poller_dispatch(&poller), 0);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    teardown(&poller, &wake);
}

/* No wake-up is lost: each is answered before the next is sent. */
typedef struct PingPong {
    Wake *wake;
    Wake answer;
    Poller poller;
} PingPong;

static void *
answer(void *arg)
{
    PingPong *game = arg;
    for (int i = 0; i < 2000; i++) {
        CHECK(poller_wait(&game->poller, -1) == 1);
        CHECK_EQ(poller_dispatch(&game->poller), 0);
        CHECK_EQ(wake_up(game->wake), 0);
    }
    return NULL;
}

static void
test_none_is_lost(void)
{
    Poller poller;
    Wake wake;
    PingPong game = {.wake = &wake};
    pthread_t thread;
    setup(&poller, &wake);
    setup(&game.poller, &game.answer);
    CHECK_EQ(pthread_create(&thread, NULL, answer, &game), 0);
    for (int i = 0; i < 2000; i++) {
        CHECK_EQ(wake_up(&game.answer), 0);
        CHECK_EQ(poller_wait(&poller, -1), 1);
        CHECK_EQ(poller_dispatch(&poller), 0);
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
    teardown(&poller, &wake);
    teardown(&game.poller, &game.answer);
}

static void
test_child_has_its_own(void)
{
    Poller poller;
    Wake wake;
    setup(&poller, &wake);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        CHECK_EQ(wake_open(&wake), 0);
        check_wakes(&poller, &wake);
        CHECK_EQ(wake_up(&wake), 0);
        teardown(&poller, &wake);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_EQ(poller_wait(&poller, MS), 0); /* the child's calls woke nobody here */
    check_wakes(&poller, &wake);
    teardown(&poller, &wake);
}

int
main(void)
{
    RUN(test_wakes_eventfd);
    RUN(test_wakes_pipe);
    RUN(test_full_counter);
    RUN(test_poller_closed_first);
    RUN(test_wakes_from_threads);
    RUN(test_none_is_lost);
    RUN(test_child_has_its_own);
    return check_done();
}
