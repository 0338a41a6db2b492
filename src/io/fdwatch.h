/* FdWatch: one per descriptor that add_reader/add_writer or a sock_* operation waits on.
 * It lives in the loop's poller (poller_find gives the Watcher embedded in it) and stays
 * registered between operations on the same socket, so that a message costs no
 * epoll_ctl. A watcher of another kind on the descriptor is a transport's: the user gets
 * stock's "File descriptor N is used by transport T". */
#ifndef CL_IO_FDWATCH_H
#define CL_IO_FDWATCH_H

#include "../core/handle.h"

typedef struct FdWatch FdWatch;
typedef struct FdWaiter FdWaiter;

/* Embedded in an operation that waits until its descriptor is ready. */
struct FdWaiter {
    List node;
    FdWatch *watch; /* NULL while not waiting */
    bool left_over; /* to be set before on_ready answers 1: there may be more to read */
    bool level; /* be called as long as the descriptor is ready; else once per arrival,
                 * which is cheaper: then on_ready answers 0 only after EAGAIN */
    PyObject *object; /* what it is embedded in: the watch holds a ref while waiting */
    /* Tries again. 1: over, it has taken itself out (fdwatch_forget); 0: it waits on;
     * -1: an exception must leave the loop. May run anything. */
    int (*on_ready)(FdWaiter *waiter);
    /* Its socket does no longer stand behind the number. Only asked for sockets that
     * have been closed or replaced; runs no Python code. */
    bool (*is_lost)(FdWaiter *waiter);
    /* It no longer waits, and nobody will call it: its socket was closed and the number
     * is somebody else's (lost), or the loop closes. May run anything. */
    void (*on_drop)(FdWaiter *waiter, bool lost);
};

static inline void
fdwatch_init_waiter(FdWaiter *waiter)
{
    list_init(&waiter->node);
    waiter->watch = NULL;
    waiter->left_over = true;
    waiter->level = false;
}

/* Waits until fd is readable or writable. sock is the socket object whose descriptor fd
 * is at this moment. Unless waiter->level, the operation has just got EAGAIN: only what
 * comes later is reported. Fill in object, level and the functions first.
 * 0, or -1 with an exception (transport on fd, loop closed, bad descriptor). */
int fdwatch_wait(Loop *loop, FdWaiter *waiter, int fd, unsigned direction,
                 PyObject *sock);

/* Sets waiter->level, also while it waits. */
void fdwatch_make_level(FdWaiter *waiter);

/* Takes the waiter out; releases the watch's ref to its object. Nothing happens when it
 * does not wait. */
void fdwatch_forget(FdWaiter *waiter);

extern PyMethodDef fdwatch_methods[]; /* for the Loop type: add_reader ... */

#endif
