/* Every system call of the project, once. sys_NAME returns what the call returns, or
 * -errno; errno itself is never looked at above this header.
 *
 * EINTR: calls on descriptors that do not block are tried again (a handler's signal is
 * looked at by the loop, not here); a wait is not, so that signals are looked at; close
 * is not, as Linux has closed by then; a connect goes on in the background, which is
 * -EINPROGRESS.
 *
 * In a release build these are the calls themselves. With CLOOP_DEBUG each goes through
 * a table in sys.c in which a test can order the n-th use of a call to fail, and byte
 * streams to be read and written one byte at a time. */
#ifndef CL_OS_SYS_H
#define CL_OS_SYS_H

#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#endif

/* The calls that can be made to fail, in the table's order. Add freely. */
#define CL_SYS_CALLS(X)                                                                \
    X(read)                                                                            \
    X(write)                                                                           \
    X(recv)                                                                            \
    X(recvfrom)                                                                        \
    X(recvmsg)                                                                         \
    X(recvmmsg)                                                                        \
    X(send)                                                                            \
    X(sendto)                                                                          \
    X(sendmsg)                                                                         \
    X(sendmmsg)                                                                        \
    X(sendfile)                                                                        \
    X(ioctl)                                                                           \
    X(accept4)                                                                         \
    X(connect)                                                                         \
    X(shutdown)                                                                        \
    X(close)                                                                           \
    X(getsockopt)                                                                      \
    X(setsockopt)                                                                      \
    X(getsockname)                                                                     \
    X(getpeername)                                                                     \
    X(socketpair)                                                                      \
    X(pipe2)                                                                           \
    X(fcntl)                                                                           \
    X(poll)                                                                            \
    X(pidfd_open)                                                                      \
    X(pidfd_send_signal)                                                               \
    X(eventfd)                                                                         \
    X(epoll_create1)                                                                   \
    X(epoll_ctl)                                                                       \
    X(epoll_wait)                                                                      \
    X(epoll_pwait2)

typedef enum SysCall {
#define CL_SYS_ENUM(name) CL_SYS_##name,
    CL_SYS_CALLS(CL_SYS_ENUM)
#undef CL_SYS_ENUM
    /* clang-format off */
    CL_SYS_COUNT
    /* clang-format on */
} SysCall;

/* -- faults (debug builds) --------------------------------------------------------- */

#ifdef CLOOP_DEBUG

/* The call's number, or -1 when there is none of that name. */
int sys_fault_find(const char *name);
const char *sys_fault_name(SysCall call);

/* Lets the nth use of call from now (1: the next), and times - 1 further ones in a
 * row, fail with error instead of reaching the kernel. Replaces an earlier order for
 * the same call. From any thread. 0, or -EINVAL (nth or times 0, error not
 * positive). */
int sys_fault_set(SysCall call, unsigned nth, unsigned times, int error);

/* Streams (pipes, terminals, SOCK_STREAM) are read and written by single bytes. */
void sys_fault_one_byte(bool on);

/* No call fails any more, no one-byte mode, all counters 0. */
void sys_fault_clear(void);

/* How often call was used since the last clear; how often it was made to fail. */
unsigned long sys_fault_uses(SysCall call);
unsigned long sys_fault_hits(SysCall call);

/* For the wrappers below. Counts a use; 0, or -errno when it is to fail. */
int sys_fault_check(SysCall call);
/* length, or 1 in one-byte mode when fd is a stream. */
size_t sys_fault_length(int fd, size_t length);
ssize_t sys_fault_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t sys_fault_sendmsg(int fd, const struct msghdr *message, int flags);

#define CL_SYS_CHECK(name) sys_fault_check(CL_SYS_##name)
#define CL_SYS_LENGTH(fd, length) sys_fault_length(fd, length)
#define CL_SYS_RECVMSG sys_fault_recvmsg
#define CL_SYS_SENDMSG sys_fault_sendmsg

#else

#define CL_SYS_CHECK(name) 0
#define CL_SYS_LENGTH(fd, length) (length)
#define CL_SYS_RECVMSG recvmsg
#define CL_SYS_SENDMSG sendmsg

#endif

/* rc = expr's value, or -errno. */
#define CL_SYS_ONCE(name, rc, expr)                                                    \
    do {                                                                               \
        (rc) = CL_SYS_CHECK(name);                                                     \
        if ((rc) == 0) {                                                               \
            (rc) = (expr);                                                             \
            if (CL_UNLIKELY((rc) < 0)) {                                               \
                (rc) = -errno;                                                         \
            }                                                                          \
        }                                                                              \
    } while (0)

#define CL_SYS_RETRY(name, rc, expr)                                                   \
    do {                                                                               \
        CL_SYS_ONCE(name, rc, expr);                                                   \
    } while (CL_UNLIKELY((rc) == -EINTR))

/* -- bytes ------------------------------------------------------------------------- */

static inline ssize_t
sys_read(int fd, void *buffer, size_t length)
{
    ssize_t rc;
    CL_SYS_RETRY(read, rc, read(fd, buffer, CL_SYS_LENGTH(fd, length)));
    return rc;
}

static inline ssize_t
sys_write(int fd, const void *data, size_t length)
{
    ssize_t rc;
    CL_SYS_RETRY(write, rc, write(fd, data, CL_SYS_LENGTH(fd, length)));
    return rc;
}

static inline ssize_t
sys_recv(int fd, void *buffer, size_t length, int flags)
{
    ssize_t rc;
    CL_SYS_RETRY(recv, rc, recv(fd, buffer, CL_SYS_LENGTH(fd, length), flags));
    return rc;
}

static inline ssize_t
sys_recvfrom(int fd, void *buffer, size_t length, int flags, struct sockaddr *address,
             socklen_t *address_length)
{
    ssize_t rc;
    CL_SYS_RETRY(recvfrom, rc,
                 recvfrom(fd, buffer, CL_SYS_LENGTH(fd, length), flags, address,
                          address_length));
    return rc;
}

static inline ssize_t
sys_recvmsg(int fd, struct msghdr *message, int flags)
{
    ssize_t rc;
    CL_SYS_RETRY(recvmsg, rc, CL_SYS_RECVMSG(fd, message, flags));
    return rc;
}

static inline ssize_t
sys_send(int fd, const void *data, size_t length, int flags)
{
    ssize_t rc;
    CL_SYS_RETRY(send, rc, send(fd, data, CL_SYS_LENGTH(fd, length), flags));
    return rc;
}

static inline ssize_t
sys_sendto(int fd, const void *data, size_t length, int flags,
           const struct sockaddr *address, socklen_t address_length)
{
    ssize_t rc;
    CL_SYS_RETRY(
        sendto, rc,
        sendto(fd, data, CL_SYS_LENGTH(fd, length), flags, address, address_length));
    return rc;
}

static inline ssize_t
sys_sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t rc;
    CL_SYS_RETRY(sendmsg, rc, CL_SYS_SENDMSG(fd, message, flags));
    return rc;
}

#ifdef __linux__

/* Datagrams received, at most count; for sockets that do not block. */
static inline int
sys_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    int rc;
    CL_SYS_RETRY(recvmmsg, rc, recvmmsg(fd, messages, count, flags, NULL));
    return rc;
}

/* Datagrams sent; an error comes only when the first could not be. */
static inline int
sys_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    int rc;
    CL_SYS_RETRY(sendmmsg, rc, sendmmsg(fd, messages, count, flags));
    return rc;
}

/* offset may be NULL: the file's own position. */
static inline ssize_t
sys_sendfile(int out_fd, int in_fd, off_t *offset, size_t length)
{
    ssize_t rc;
    CL_SYS_RETRY(sendfile, rc,
                 sendfile(out_fd, in_fd, offset, CL_SYS_LENGTH(out_fd, length)));
    return rc;
}

#endif

/* The size of the file behind fd, in bytes. */
static inline int64_t
sys_file_size(int fd)
{
    struct stat status;
    return fstat(fd, &status) < 0 ? -errno : (int64_t)status.st_size;
}

/* st_mode of the file behind fd. */
static inline int
sys_file_mode(int fd)
{
    struct stat status;
    return fstat(fd, &status) < 0 ? -errno : (int)status.st_mode;
}

/* Moves the file's own position, from its beginning. */
static inline int
sys_seek(int fd, off_t offset)
{
    return lseek(fd, offset, SEEK_SET) < 0 ? -errno : 0;
}

/* -- sockets ----------------------------------------------------------------------- */

/* A connection, non-blocking and close-on-exec. address may be NULL. */
static inline int
sys_accept4(int fd, struct sockaddr *address, socklen_t *address_length)
{
    int rc;
    CL_SYS_RETRY(accept4, rc,
                 accept4(fd, address, address_length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    return rc;
}

/* -EINPROGRESS: wait until writable, then ask sys_socket_error. */
static inline int
sys_connect(int fd, const struct sockaddr *address, socklen_t address_length)
{
    int rc;
    CL_SYS_ONCE(connect, rc, connect(fd, address, address_length));
    return rc == -EINTR ? -EINPROGRESS : rc;
}

static inline int
sys_getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    int rc;
    CL_SYS_RETRY(getsockopt, rc, getsockopt(fd, level, name, value, length));
    return rc;
}

static inline int
sys_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    int rc;
    CL_SYS_RETRY(setsockopt, rc, setsockopt(fd, level, name, value, length));
    return rc;
}

/* Is there memory at all of these addresses? Not in the fault table: asked once. */
bool sys_is_mapped(const void *address, size_t size);

/* How many bytes wait in a stream socket's or pipe's buffer. */
static inline int
sys_count_readable(int fd)
{
    int count = 0;
    int rc;
    CL_SYS_RETRY(ioctl, rc, ioctl(fd, FIONREAD, &count));
    return rc < 0 ? rc : count;
}

/* The pending SO_ERROR as 0 or -errno, and clears it; a failure to ask, likewise. */
static inline int
sys_socket_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof(error);
    int rc = sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    return rc < 0 ? rc : -error;
}

/* AF_INET ... */
static inline int
sys_socket_family(int fd)
{
    int family = AF_UNSPEC;
    socklen_t length = sizeof(family);
    int rc = sys_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length);
    return rc < 0 ? rc : family;
}

static inline int
sys_getsockname(int fd, struct sockaddr *address, socklen_t *address_length)
{
    int rc;
    CL_SYS_RETRY(getsockname, rc, getsockname(fd, address, address_length));
    return rc;
}

static inline int
sys_getpeername(int fd, struct sockaddr *address, socklen_t *address_length)
{
    int rc;
    CL_SYS_RETRY(getpeername, rc, getpeername(fd, address, address_length));
    return rc;
}

static inline int
sys_shutdown(int fd, int how)
{
    int rc;
    CL_SYS_RETRY(shutdown, rc, shutdown(fd, how));
    return rc;
}

/* Both ends non-blocking and close-on-exec. type: SOCK_STREAM ... */
static inline int
sys_socketpair(int domain, int type, int fds[2])
{
    int rc;
    CL_SYS_RETRY(socketpair, rc,
                 socketpair(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds));
    return rc;
}

/* -- descriptors ------------------------------------------------------------------- */

/* The descriptor is gone whatever this returns (a fault injected here leaks none). */
static inline int
sys_close(int fd)
{
    int fault = CL_SYS_CHECK(close);
    int rc = close(fd) < 0 ? -errno : 0;
    if (fault < 0 && rc == 0) {
        rc = fault;
    }
    return rc == -EINTR ? 0 : rc;
}

/* Both ends non-blocking and close-on-exec. */
static inline int
sys_pipe2(int fds[2])
{
    int rc;
    CL_SYS_RETRY(pipe2, rc, pipe2(fds, O_NONBLOCK | O_CLOEXEC));
    return rc;
}

/* 1 when fd does not block, 0 when it does. */
static inline int
sys_get_nonblocking(int fd)
{
    int rc;
    CL_SYS_RETRY(fcntl, rc, fcntl(fd, F_GETFL));
    return rc < 0 ? rc : (rc & O_NONBLOCK) != 0;
}

static inline int
sys_set_nonblocking(int fd, bool on)
{
    int flags;
    CL_SYS_RETRY(fcntl, flags, fcntl(fd, F_GETFL));
    if (flags < 0) {
        return flags;
    }
    int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    if (wanted == flags) {
        return 0;
    }
    int rc;
    CL_SYS_RETRY(fcntl, rc, fcntl(fd, F_SETFL, wanted));
    return rc;
}

/* 1 when nobody reads from the pipe or socket behind fd any more, or something can be
 * read from it, which is how others say the same; 0 when not. */
static inline int
sys_reader_left(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    int rc;
    CL_SYS_RETRY(poll, rc, poll(&poll_fd, 1, 0));
    return rc;
}

/* Another number for the same file, close-on-exec. */
static inline int
sys_duplicate(int fd)
{
    int rc;
    CL_SYS_RETRY(fcntl, rc, fcntl(fd, F_DUPFD_CLOEXEC, 0));
    return rc;
}

/* -- waiting ----------------------------------------------------------------------- */

#ifdef __linux__

/* Non-blocking and close-on-exec. */
static inline int
sys_eventfd(unsigned value)
{
    int rc;
    CL_SYS_RETRY(eventfd, rc, eventfd(value, EFD_NONBLOCK | EFD_CLOEXEC));
    return rc;
}

static inline int
sys_epoll_create1(void)
{
    int rc;
    CL_SYS_ONCE(epoll_create1, rc, epoll_create1(EPOLL_CLOEXEC));
    return rc;
}

static inline int
sys_epoll_ctl(int set, int operation, int fd, struct epoll_event *event)
{
    int rc;
    CL_SYS_RETRY(epoll_ctl, rc, epoll_ctl(set, operation, fd, event));
    return rc;
}

/* timeout_ms: -1 forever. EINTR is reported. */
static inline int
sys_epoll_wait(int set, struct epoll_event *events, int count, int timeout_ms)
{
    int rc;
    CL_SYS_ONCE(epoll_wait, rc, epoll_wait(set, events, count, timeout_ms));
    return rc;
}

/* The same in nanoseconds: by epoll_pwait2 where the kernel has it (5.11), else by
 * epoll_wait, rounded up. Negative: forever; more than a day is cut to a day. */
int sys_epoll_wait_ns(int set, struct epoll_event *events, int count,
                      int64_t timeout_ns);

#endif

/* -- processes --------------------------------------------------------------------- */

#ifdef __linux__

/* By number: glibc knows the functions from 2.36 on. They are the same everywhere. */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

/* A descriptor of the process, close-on-exec, readable once it has ended. */
static inline int
sys_pidfd_open(pid_t pid)
{
    int rc;
    CL_SYS_ONCE(pidfd_open, rc, (int)syscall(SYS_pidfd_open, pid, 0));
    return rc;
}

static inline int
sys_pidfd_send_signal(int pidfd, int signum)
{
    int rc;
    CL_SYS_ONCE(pidfd_send_signal, rc,
                (int)syscall(SYS_pidfd_send_signal, pidfd, signum, NULL, 0));
    return rc;
}

#endif

/* CLOCK_MONOTONIC; cannot fail. */
static inline int64_t
sys_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * CL_NS_PER_SECOND + now.tv_nsec;
}

#endif
