/* System calls too long for sys.h, and the fault table of debug builds. Called from any
 * thread. Two facts are kept for the whole process: that the kernel lacks epoll_pwait2
 * (once true it stays true), and the table, which only tests write. */
#include "sys.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* -- memory ------------------------------------------------------------------------ */

bool
sys_is_mapped(const void *address, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)address / page * page;
    uintptr_t length = (uintptr_t)address + size - first;
    /* Nothing is written; where there is no page it is an error. */
    return address != NULL && msync((void *)first, length, MS_ASYNC) == 0;
}

/* -- epoll_pwait2 ------------------------------------------------------------------ */

#ifdef __linux__

/* By number: glibc knows it from 2.35 on, musl not yet. It is the same everywhere;
 * where `long` has 32 bits the layout of timespec is in doubt, so those keep to
 * epoll_wait. */
#if !defined(SYS_epoll_pwait2) && defined(__LP64__)
#define SYS_epoll_pwait2 441
#endif

#define CL_WAIT_MAX_NS (86400 * CL_NS_PER_SECOND)
#define CL_NS_PER_MS 1000000

int
sys_epoll_wait_ns(int set, struct epoll_event *events, int count, int64_t timeout_ns)
{
    if (timeout_ns <= 0) {
        return sys_epoll_wait(set, events, count, timeout_ns < 0 ? -1 : 0);
    }
    if (timeout_ns > CL_WAIT_MAX_NS) {
        timeout_ns = CL_WAIT_MAX_NS;
    }
#if defined(SYS_epoll_pwait2) && defined(__LP64__)
    static atomic_bool missing = false;
    if (CL_LIKELY(!atomic_load_explicit(&missing, memory_order_relaxed))) {
        struct timespec timeout = {
            .tv_sec = timeout_ns / CL_NS_PER_SECOND,
            .tv_nsec = timeout_ns % CL_NS_PER_SECOND,
        };
        int rc;
        CL_SYS_ONCE(epoll_pwait2, rc,
                    (int)syscall(SYS_epoll_pwait2, set, events, count, &timeout, NULL,
                                 (size_t)0));
        /* Sandboxes that do not know the call answer EPERM, which it has no use for. */
        if (CL_LIKELY(rc != -ENOSYS && rc != -EPERM)) {
            return rc;
        }
        atomic_store_explicit(&missing, true, memory_order_relaxed);
    }
#endif
    int timeout_ms = (int)((timeout_ns + CL_NS_PER_MS - 1) / CL_NS_PER_MS);
    return sys_epoll_wait(set, events, count, timeout_ms);
}

#endif

/* -- the fault table --------------------------------------------------------------- */

#ifdef CLOOP_DEBUG

typedef struct SysFault {
    atomic_ulong uses;
    atomic_ulong hits;
    atomic_ulong first; /* number of the use that fails first; 0: none does */
    atomic_ulong last;  /* and last */
    atomic_int error;
} SysFault;

static SysFault sys_faults[CL_SYS_COUNT];
static atomic_bool sys_one_byte;

static const char *const sys_names[CL_SYS_COUNT] = {
#define CL_SYS_NAME(name) #name,
    CL_SYS_CALLS(CL_SYS_NAME)
#undef CL_SYS_NAME
};

int
sys_fault_find(const char *name)
{
    for (int call = 0; call < CL_SYS_COUNT; call++) {
        if (strcmp(sys_names[call], name) == 0) {
            return call;
        }
    }
    return -1;
}

const char *
sys_fault_name(SysCall call)
{
    return sys_names[call];
}

int
sys_fault_set(SysCall call, unsigned nth, unsigned times, int error)
{
    if (nth == 0 || times == 0 || error <= 0) {
        return -EINVAL;
    }
    SysFault *fault = &sys_faults[call];
    atomic_store(&fault->first, 0); /* nothing fails while the order is half written */
    unsigned long first = atomic_load(&fault->uses) + nth;
    atomic_store(&fault->error, error);
    atomic_store(&fault->last, first + times - 1);
    atomic_store(&fault->first, first);
    return 0;
}

void
sys_fault_one_byte(bool on)
{
    atomic_store(&sys_one_byte, on);
}

void
sys_fault_clear(void)
{
    sys_fault_one_byte(false);
    for (int call = 0; call < CL_SYS_COUNT; call++) {
        SysFault *fault = &sys_faults[call];
        atomic_store(&fault->first, 0);
        atomic_store(&fault->uses, 0);
        atomic_store(&fault->hits, 0);
    }
}

unsigned long
sys_fault_uses(SysCall call)
{
    return atomic_load(&sys_faults[call].uses);
}

unsigned long
sys_fault_hits(SysCall call)
{
    return atomic_load(&sys_faults[call].hits);
}

/* Async-signal-safe, as wake_up is. */
int
sys_fault_check(SysCall call)
{
    SysFault *fault = &sys_faults[call];
    unsigned long use = atomic_fetch_add(&fault->uses, 1) + 1;
    unsigned long first = atomic_load(&fault->first);
    if (first == 0 || use < first || use > atomic_load(&fault->last)) {
        return 0;
    }
    atomic_fetch_add(&fault->hits, 1);
    return -atomic_load(&fault->error);
}

/* Event descriptors and datagrams have no single bytes. */
static bool
sys_is_stream(int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0) {
        return false;
    }
    if (S_ISSOCK(status.st_mode)) {
        int type = 0;
        socklen_t length = sizeof(type);
        return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0
               && type == SOCK_STREAM;
    }
    return S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)
           || S_ISREG(status.st_mode);
}

size_t
sys_fault_length(int fd, size_t length)
{
    if (length <= 1 || !atomic_load(&sys_one_byte)) {
        return length;
    }
    int kept = errno;
    bool is_stream = sys_is_stream(fd);
    errno = kept;
    return is_stream ? 1 : length;
}

/* Cuts copy, made from message, to its first byte when fd is a stream in one-byte mode;
 * piece is the space for it. */
static void
sys_cut_message(int fd, struct msghdr *copy, struct iovec *piece)
{
    for (size_t i = 0; i < (size_t)copy->msg_iovlen; i++) {
        *piece = copy->msg_iov[i];
        if (piece->iov_len > 0) {
            /* 2: "there is at least a byte, and more may follow" */
            if (sys_fault_length(fd, 2) == 1) {
                piece->iov_len = 1;
                copy->msg_iov = piece;
                copy->msg_iovlen = 1;
            }
            return;
        }
    }
}

ssize_t
sys_fault_recvmsg(int fd, struct msghdr *message, int flags)
{
    struct iovec piece;
    struct msghdr copy = *message;
    sys_cut_message(fd, &copy, &piece);
    ssize_t rc = recvmsg(fd, &copy, flags);
    message->msg_namelen = copy.msg_namelen;
    message->msg_controllen = copy.msg_controllen;
    message->msg_flags = copy.msg_flags;
    return rc;
}

ssize_t
sys_fault_sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct iovec piece;
    struct msghdr copy = *message;
    sys_cut_message(fd, &copy, &piece);
    return sendmsg(fd, &copy, flags);
}

#endif
