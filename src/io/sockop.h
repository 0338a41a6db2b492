/* A socket operation from the inside: what sockops.c (the coroutine's face) and
 * sockcalls.c, sockconn.c and sockfile.c (the system calls) share. */
#ifndef CL_IO_SOCKOP_H
#define CL_IO_SOCKOP_H

#include "../py/compat.h"

#include <sys/types.h>

#include "../py/pysock.h"
#include "fdwatch.h"
#include "sockops.h"

typedef struct SockOp SockOp;

/* What trying gives: -1 with an exception, or */
enum {
    CL_SOCKOP_BLOCKED,   /* wait for SockOp.fd; EAGAIN was seen unless waiter.level */
    CL_SOCKOP_DONE,      /* *result is a New ref */
    CL_SOCKOP_RESOLVING, /* SockOp.resolver is to be awaited, then kind->resolved runs */
};

typedef struct SockOpKind {
    const char *name; /* of the method */
    unsigned direction;
    /* The first attempt, from the first send(). Has checked arguments that need it. */
    int (*start)(SockOp *op, PyObject **result);
    /* A further one, when the descriptor is ready. NULL: start again. */
    int (*attempt)(SockOp *op, PyObject **result);
    /* With what the resolver returned (borrowed). May be NULL. */
    int (*resolved)(SockOp *op, PyObject *value, PyObject **result);
    /* It ends without a result, by an exception thrown in. May be NULL. */
    void (*abandon)(SockOp *op);
} SockOpKind;

typedef enum SockOpPhase {
    CL_SOCKOP_CREATED,
    CL_SOCKOP_RUNNING,  /* inside send() */
    CL_SOCKOP_AWAITING, /* `resolver` runs */
    CL_SOCKOP_WAITING,  /* `future` has been yielded */
    CL_SOCKOP_OVER,
} SockOpPhase;

#define CL_SOCKOP_ARGS 3

struct SockOp {
    PyObject_HEAD
    State *state;
    const SockOpKind *kind;
    Loop *loop;     /* strong */
    PyObject *sock; /* as given; NULL once over, like the next two */
    PyObject *args[CL_SOCKOP_ARGS];
    Py_buffer view;     /* what sendall sends; view.obj is NULL when there is none */
    PyObject *future;   /* while and after waiting; taken by the send() that follows */
    PyObject *resolver; /* a coroutine, while CL_SOCKOP_AWAITING */
    PyObject *origin;   /* cr_origin, in debug mode; or NULL */
    FdWaiter waiter;
    int fd;          /* the descriptor that the last attempt used */
    uint8_t phase;   /* SockOpPhase */
    bool direct;     /* by system calls of ours; else by the socket's own methods */
    bool is_stream;  /* and the kernel's count tells whether it is empty */
    Py_ssize_t size; /* how much to receive at most */
    Py_ssize_t done; /* bytes sent so far */
    int file_fd;     /* sendfile's source ... */
    off_t file_offset;
    int64_t file_count; /* ... and how much of it; 0: all */
    int64_t file_limit; /* most for one call */
};

extern const SockOpKind sockop_recv;
extern const SockOpKind sockop_recv_into;
extern const SockOpKind sockop_recvfrom;
extern const SockOpKind sockop_recvfrom_into;
extern const SockOpKind sockop_sendall;
extern const SockOpKind sockop_sendto;
extern const SockOpKind sockop_connect;
extern const SockOpKind sockop_accept;
extern const SockOpKind sockop_sendfile;

/* sock.name(args...) as stock calls it; BlockingIOError and InterruptedError mean
 * CL_SOCKOP_BLOCKED. count at most CL_SOCKOP_ARGS; args borrowed. */
int sockop_call_method(SockOp *op, PyObject *name, PyObject *const *args, size_t count,
                       PyObject **result);

/* What a system call's -errno comes to: CL_SOCKOP_BLOCKED, or -1 with the OSError. */
int sockop_fail(int negative_errno);

/* From now on by the socket's own methods. These may raise BlockingIOError for reasons
 * of their own, so the descriptor's state is all there is to go by. */
static inline void
sockop_go_generic(SockOp *op)
{
    op->direct = false;
    fdwatch_make_level(&op->waiter);
}

/* SockOp.fd for a direct call: -1 when the socket is closed. */
static inline void
sockop_read_fd(SockOp *op)
{
    op->fd = pysock_fileno(op->state, op->sock);
}

#endif
