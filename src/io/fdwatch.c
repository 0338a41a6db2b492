/* add_reader, add_writer and the waiting of socket operations (see fdwatch.h).
 *
 * Called as methods of the Loop and by sockops, and by the poller when a descriptor
 * is ready; always on the loop's thread.
 *
 * A FdWatch exists while the poller knows it: from the first wait on its number until
 * nobody wants it any more, another watcher takes the number, or the loop closes.
 *
 * Callbacks are level-triggered, as on stock. Most operations try first and wait only
 * after the kernel said EAGAIN, so that for them an arrival needs to be reported only
 * once (CL_EDGE): the registration can then stay when nobody waits, and neither waiting
 * nor completing costs a system call. Such a watch remembers its socket by a weak reference,
 * `socket`; while the same object has the same number the kernel need not be asked again
 * whether the registration stands for the same file. All others are asked each time
 * (poller_rewatch), since numbers are reused.
 *
 * EAGAIN is trusted only as far as it must be (a fault may have been injected, a
 * duplicate of the socket read in another process): who would wait while a report has
 * been used up that may still hold (`unsure`) has the kernel report anew, and so does who
 * waits to write; and an operation that gets EAGAIN right after a report waits
 * level-triggered from then on. A stream that is read until it is empty costs none of
 * this.
 *
 * A watch with no interest and no socket stays until the next poll (loop->before_poll),
 * so that add_reader after remove_reader finds it again.
 *
 * Invariants: watcher.fd is the number while the watch is in the poller; `dead` once it
 * is out, and the memory goes when the last pin does. Each waiter in a list has
 * waiter->watch == this and a ref to waiter->object is held for it. */
#include "fdwatch.h"

#include <errno.h>

#include "../py/args.h"
#include "../py/err.h"
#include "../py/pysock.h"

/* So many reports in a row that nobody waited for, and the registration goes: the socket
 * is used by somebody else now. */
#define CL_FDWATCH_UNWANTED_MAX 16

struct FdWatch {
    Watcher watcher;
    BeforePoll sweep; /* in loop->before_poll while it may have to go */
    Loop *loop;       /* borrowed: it owns the poller that owns us */
    PyObject *reader; /* Handle, or NULL */
    PyObject *writer;
    PyObject *fileobj; /* what add_reader was first given, unless an int; or NULL */
    PyObject *socket;  /* weakref to the socket that is registered, or NULL */
    List readers;      /* of FdWaiter.node */
    List writers;
    unsigned levels;   /* waiters with `level` */
    unsigned pins;     /* calls that still use the memory */
    unsigned unwanted; /* reports in a row that nobody waited for */
    bool unsure;       /* it may be readable although that was reported already */
    bool dead;
};

static const WatcherOps fdwatch_ops;

/* -- life -------------------------------------------------------------------------- */

/* Borrowed from the poller: the watch that stands for fd, or NULL. */
static FdWatch *
fdwatch_find(Loop *loop, int fd)
{
    Watcher *watcher = poller_find(&loop->poller, fd);
    if (watcher == NULL || watcher->ops != &fdwatch_ops) {
        return NULL;
    }
    return CL_CONTAINER_OF(watcher, FdWatch, watcher);
}

static int fdwatch_sweep(BeforePoll *before_poll);

/* A watch that is not in the poller yet; NULL with MemoryError. */
static FdWatch *
fdwatch_new(Loop *loop)
{
    FdWatch *watch = PyMem_Calloc(1, sizeof(FdWatch));
    if (watch == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    watcher_init(&watch->watcher, &fdwatch_ops);
    list_init(&watch->sweep.node);
    watch->sweep.run = fdwatch_sweep;
    watch->loop = loop;
    list_init(&watch->readers);
    list_init(&watch->writers);
    return watch;
}

static void
fdwatch_unpin(FdWatch *watch)
{
    if (--watch->pins == 0 && watch->dead) {
        PyMem_Free(watch);
    }
}

/* Takes the waiter out of its watch. New ref: its object, which the watch held. */
static PyObject *
fdwatch_detach(FdWaiter *waiter)
{
    list_remove(&waiter->node);
    waiter->watch->levels -= waiter->level;
    waiter->watch = NULL;
    return waiter->object;
}

static void
fdwatch_drop_waiters(List *waiters, bool lost)
{
    List *node;
    while (!list_is_empty(waiters)) {
        node = waiters->next;
        FdWaiter *waiter = CL_CONTAINER_OF(node, FdWaiter, node);
        PyObject *object = fdwatch_detach(waiter);
        waiter->on_drop(waiter, lost);
        Py_DECREF(object);
    }
}

/* The watch is out of the poller: lets go of everything, and of the memory when nobody
 * is in the middle of using it. May run Python code, which no longer finds the watch. */
static void
fdwatch_release(FdWatch *watch, bool lost)
{
    watch->pins++;
    watch->dead = true;
    list_remove(&watch->sweep.node);
    fdwatch_drop_waiters(&watch->readers, lost);
    fdwatch_drop_waiters(&watch->writers, lost);
    PyObject *reader = watch->reader;
    PyObject *writer = watch->writer;
    watch->reader = NULL;
    watch->writer = NULL;
    Py_XDECREF(reader);
    Py_XDECREF(writer);
    Py_CLEAR(watch->fileobj);
    Py_CLEAR(watch->socket);
    fdwatch_unpin(watch);
}

static void
fdwatch_remove_and_release(FdWatch *watch, bool lost)
{
    poller_unwatch(&watch->loop->poller, &watch->watcher);
    fdwatch_release(watch, lost);
}

/* -- interest ---------------------------------------------------------------------- */

/* What somebody waits for now, and how the kernel is to report it. */
static unsigned
fdwatch_interest(const FdWatch *watch)
{
    unsigned callbacks = (watch->reader != NULL ? CL_READABLE : 0u)
                         | (watch->writer != NULL ? CL_WRITABLE : 0u);
    unsigned waiters = (list_is_empty(&watch->readers) ? 0u : CL_READABLE)
                       | (list_is_empty(&watch->writers) ? 0u : CL_WRITABLE);
    bool edge = waiters != 0 && callbacks == 0 && watch->levels == 0;
    return callbacks | waiters | (edge ? CL_EDGE : 0u);
}

void
fdwatch_make_level(FdWaiter *waiter)
{
    FdWatch *watch = waiter->watch;
    if (watch != NULL && !waiter->level) {
        watch->levels++;
        poller_want(&watch->loop->poller, &watch->watcher, fdwatch_interest(watch));
    }
    waiter->level = true;
}

/* Called whenever somebody stopped waiting. May run anything: the caller is done with the
 * watch, or has it pinned. */
static void
fdwatch_settle(FdWatch *watch)
{
    PyObject *fileobj = NULL;
    if (watch->dead) {
        return;
    }
    if (watch->reader == NULL && watch->writer == NULL) {
        fileobj = watch->fileobj;
        watch->fileobj = NULL;
    }
    unsigned wanted = fdwatch_interest(watch);
    unsigned current = watch->watcher.wanted;
    bool level = wanted != 0 && !(wanted & CL_EDGE);
    if (watch->socket != NULL && !level && (current & CL_EDGE)) {
        /* What is registered may stay: it is reported once and costs nothing. */
        wanted = current;
    }
    else if (wanted == 0 && watch->socket == NULL
             && list_is_empty(&watch->sweep.node)) {
        list_append(&watch->loop->before_poll, &watch->sweep.node);
    }
    if (wanted != current) {
        poller_want(&watch->loop->poller, &watch->watcher, wanted);
    }
    Py_XDECREF(fileobj);
}

/* BeforePoll.run: nobody has come back to it in this turn. */
static int
fdwatch_sweep(BeforePoll *before_poll)
{
    FdWatch *watch = CL_CONTAINER_OF(before_poll, FdWatch, sweep);
    list_remove(&before_poll->node);
    if (fdwatch_interest(watch) == 0 && watch->socket == NULL && watch->pins == 0) {
        fdwatch_remove_and_release(watch, false);
    }
    return 0;
}

/* Tells the kernel at once what is wanted. It says whether the registration still stands
 * for the file behind the number, and reports anew what is ready. 0 or -errno. */
static int
fdwatch_verify(FdWatch *watch)
{
    unsigned wanted = fdwatch_interest(watch);
    if (wanted & CL_EDGE) {
        wanted |= watch->watcher.wanted;
    }
    watch->unsure = false;
    return poller_rewatch(&watch->loop->poller, &watch->watcher, wanted);
}

/* Registers a new watch, with who waits already in place. 0 or -errno.
 *
 * The loop's own descriptor is opened right after it: opened by the first sleep, it could
 * be given the number of one that the user has closed and not yet removed; opened before,
 * that of fd, when fd is none. (Without it the loop does what it can: loop_sleep.) */
static int
fdwatch_register(FdWatch *watch, int fd)
{
    Loop *loop = watch->loop;
    int rc = poller_watch(&loop->poller, &watch->watcher, fd, fdwatch_interest(watch));
    if (rc == 0) {
        (void)wake_open(&loop->wake);
    }
    return rc;
}

/* -- events ------------------------------------------------------------------------ */

/* Lets the waiters of one direction try, in order, until one would block. 0 or -1. The
 * caller has pinned the watch. */
static int
fdwatch_serve(FdWatch *watch, List *waiters)
{
    while (!list_is_empty(waiters)) {
        FdWaiter *waiter = CL_CONTAINER_OF(waiters->next, FdWaiter, node);
        PyObject *object = Py_NewRef(waiter->object);
        int rc = waiter->on_ready(waiter);
        if (rc > 0) {
            watch->unsure |= waiter->left_over;
        }
        Py_DECREF(object);
        if (rc <= 0) {
            return rc;
        }
    }
    return 0;
}

/* The kernel has refused what poller_want recorded, and told by an event with CL_ERROR
 * alone. Who then still waits would do so forever: ask once more, or give up. */
static void
fdwatch_on_refused(FdWatch *watch)
{
    if (fdwatch_interest(watch) != 0 && fdwatch_verify(watch) < 0) {
        fdwatch_remove_and_release(watch, true);
    }
}

/* Calls back who gave add_reader or add_writer the Handle, which may be NULL. 0 or -1. */
static int
fdwatch_call(FdWatch *watch, PyObject *handle)
{
    if (handle == NULL) {
        return 0;
    }
    return loop_run_entry(watch->loop,
                          (RingEntry){loop_run_handle, Py_NewRef(handle), NULL});
}

static int
fdwatch_on_ready(Watcher *watcher, unsigned events)
{
    FdWatch *watch = CL_CONTAINER_OF(watcher, FdWatch, watcher);
    unsigned either = events & (CL_HANGUP | CL_ERROR);
    int rc = 0;

    if (CL_UNLIKELY(fdwatch_interest(watch) == 0)) {
        watch->unsure = true;
        if (++watch->unwanted >= CL_FDWATCH_UNWANTED_MAX) {
            watch->unwanted = 0;
            poller_want(&watch->loop->poller, watcher, 0);
        }
        return 0;
    }
    watch->unwanted = 0;
    watch->pins++;
    if (events & CL_READABLE || either) {
        rc = fdwatch_serve(watch, &watch->readers);
        if (rc == 0) {
            rc = fdwatch_call(watch, watch->reader);
        }
    }
    if (rc == 0 && (events & CL_WRITABLE || either)) {
        rc = fdwatch_serve(watch, &watch->writers);
        if (rc == 0) {
            rc = fdwatch_call(watch, watch->writer);
        }
    }
    if (CL_UNLIKELY(rc == 0 && !watch->dead && watcher->registered == 0
                    && events == CL_ERROR)) {
        fdwatch_on_refused(watch);
    }
    fdwatch_unpin(watch);
    return rc;
}

static void
fdwatch_on_loop_close(Watcher *watcher)
{
    fdwatch_release(CL_CONTAINER_OF(watcher, FdWatch, watcher), false);
}

static void
fdwatch_on_evicted(Watcher *watcher)
{
    fdwatch_release(CL_CONTAINER_OF(watcher, FdWatch, watcher), true);
}

static int
fdwatch_traverse_waiters(List *waiters, int (*visit)(void *, void *), void *arg)
{
    for (List *node = waiters->next; node != waiters; node = node->next) {
        int rc = visit(CL_CONTAINER_OF(node, FdWaiter, node)->object, arg);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int
fdwatch_traverse(Watcher *watcher, int (*visit)(void *, void *), void *arg)
{
    FdWatch *watch = CL_CONTAINER_OF(watcher, FdWatch, watcher);
    PyObject *objects[] = {watch->reader, watch->writer, watch->fileobj, watch->socket};
    for (size_t i = 0; i < CL_COUNT_OF(objects); i++) {
        int rc = objects[i] != NULL ? visit(objects[i], arg) : 0;
        if (rc != 0) {
            return rc;
        }
    }
    int rc = fdwatch_traverse_waiters(&watch->readers, visit, arg);
    return rc != 0 ? rc : fdwatch_traverse_waiters(&watch->writers, visit, arg);
}

static const WatcherOps fdwatch_ops = {
    .on_ready = fdwatch_on_ready,
    .on_loop_close = fdwatch_on_loop_close,
    .traverse = fdwatch_traverse,
    .on_evicted = fdwatch_on_evicted,
};

/* -- waiting ----------------------------------------------------------------------- */

/* Raises when a transport stands on fd, or, unless it is for a removal, the loop itself: a
 * forked child's loop may have been given a number that was closed and is removed now.
 * shown: what the user gave for fd, or NULL for the number. 0 or -1. */
static int
fdwatch_check_transport(Loop *loop, int fd, PyObject *shown, bool removing)
{
    Watcher *watcher = poller_find(&loop->poller, fd);
    if (CL_LIKELY(watcher == NULL || watcher->ops == &fdwatch_ops)) {
        return 0;
    }
    PyObject *user = NULL;
    if (watcher->ops->describe != NULL) {
        user = watcher->ops->describe(watcher);
    }
    else if (removing) {
        return 0;
    }
    shown = shown != NULL ? Py_NewRef(shown) : PyLong_FromLong(fd);
    if (shown == NULL) {
        Py_XDECREF(user);
        return -1;
    }
    if (user != NULL) {
        PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by transport %R",
                     shown, user);
        Py_DECREF(user);
    }
    else {
        PyErr_Format(PyExc_RuntimeError,
                     "File descriptor %R is used by the event loop itself", shown);
    }
    Py_DECREF(shown);
    return -1;
}

/* True when sock is the object that the watch is registered for. */
static bool
fdwatch_is_of(FdWatch *watch, PyObject *sock)
{
    if (watch->socket == NULL) {
        return false;
    }
    PyObject *registered;
    if (PyWeakref_GetRef(watch->socket, &registered) <= 0) {
        return false;
    }
    /* The caller holds sock: when it is this one it does not die here. */
    bool same = registered == sock;
    Py_DECREF(registered);
    return same;
}

/* Another socket has come: operations of one that has gone can never end. */
static void
fdwatch_drop_lost(List *waiters)
{
    List *node = waiters->next;
    while (node != waiters) {
        FdWaiter *waiter = CL_CONTAINER_OF(node, FdWaiter, node);
        node = node->next;
        if (waiter->is_lost(waiter)) {
            PyObject *object = fdwatch_detach(waiter);
            waiter->on_drop(waiter, true);
            Py_DECREF(object);
            node = waiters->next; /* that may have run anything: start again */
        }
    }
}

/* Makes sock the one that the watch stands for. 0 or -1 (MemoryError). */
static int
fdwatch_adopt(FdWatch *watch, PyObject *sock)
{
    PyObject *reference = NULL;
    if (PyType_SUPPORTS_WEAKREFS(Py_TYPE(sock))) {
        reference = PyWeakref_NewRef(sock, NULL);
        if (reference == NULL) {
            return -1;
        }
    }
    Py_XSETREF(watch->socket, reference);
    return 0;
}

static void
fdwatch_enlist(FdWatch *watch, FdWaiter *waiter, unsigned direction)
{
    waiter->watch = watch;
    watch->levels += waiter->level;
    Py_INCREF(waiter->object);
    list_append(direction == CL_READABLE ? &watch->readers : &watch->writers,
                &waiter->node);
}

/* The slow part of fdwatch_wait: the kernel has to be told at once. 0 or -1. */
static int
fdwatch_wait_anew(FdWatch *watch, bool is_new, FdWaiter *waiter, int fd,
                  unsigned direction, PyObject *sock)
{
    int rc = is_new || !fdwatch_is_of(watch, sock) ? fdwatch_adopt(watch, sock) : 0;
    if (rc < 0) {
        if (is_new) {
            fdwatch_release(watch, false);
        }
        return -1;
    }
    fdwatch_enlist(watch, waiter, direction);
    rc = is_new ? fdwatch_register(watch, fd) : fdwatch_verify(watch);
    if (rc < 0) {
        Py_DECREF(fdwatch_detach(waiter)); /* the caller holds it too */
        fdwatch_remove_and_release(watch, true);
        err_set_errno(rc);
        return -1;
    }
    return 0;
}

int
fdwatch_wait(Loop *loop, FdWaiter *waiter, int fd, unsigned direction, PyObject *sock)
{
    FdWatch *watch = fdwatch_find(loop, fd);
    bool same = watch != NULL && fdwatch_is_of(watch, sock);
    if (same) {
        watch->unwanted = 0;
        if (CL_LIKELY(direction == CL_READABLE && !watch->unsure)) {
            fdwatch_enlist(watch, waiter, direction);
            unsigned wanted = fdwatch_interest(watch);
            if (wanted & CL_EDGE) {
                wanted |= watch->watcher.wanted;
            }
            if (wanted != watch->watcher.wanted) {
                poller_want(&loop->poller, &watch->watcher, wanted);
            }
            return 0;
        }
    }
    if (fdwatch_check_transport(loop, fd, NULL, false) < 0
        || loop_check_closed(loop) < 0) {
        return -1;
    }
    if (fd < 0) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %d", fd);
        return -1;
    }
    if (watch == NULL) {
        watch = fdwatch_new(loop);
        return watch == NULL
                   ? -1
                   : fdwatch_wait_anew(watch, true, waiter, fd, direction, sock);
    }
    if (!same) {
        watch->pins++;
        fdwatch_drop_lost(&watch->readers);
        fdwatch_drop_lost(&watch->writers);
        bool dead = watch->dead;
        fdwatch_unpin(watch);
        if (dead) {
            return fdwatch_wait(loop, waiter, fd, direction, sock);
        }
    }
    return fdwatch_wait_anew(watch, false, waiter, fd, direction, sock);
}

void
fdwatch_forget(FdWaiter *waiter)
{
    FdWatch *watch = waiter->watch;
    if (watch == NULL) {
        return;
    }
    PyObject *object = fdwatch_detach(waiter);
    fdwatch_settle(watch);
    Py_DECREF(object);
}

/* -- add_reader and the like ------------------------------------------------------- */

/* The number that fileobj stands for: *fd, -1 for any negative one. *too_large: it is no
 * C int. 0, or -1 with stock's ValueError. */
static int
fdwatch_resolve(State *state, PyObject *fileobj, int *fd, bool *too_large)
{
    int overflow = 0;
    long number;

    *too_large = false;
    if (!PyLong_Check(fileobj)) {
        if (pysock_fileno_of(state, fileobj, fd) == 0) {
            return 0;
        }
        if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
            PyErr_Clear();
            *too_large = true;
            return 0;
        }
        if (PyErr_ExceptionMatches(PyExc_AttributeError)
            || PyErr_ExceptionMatches(PyExc_TypeError)
            || PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Clear();
            PyErr_Format(PyExc_ValueError, "Invalid file object: %R", fileobj);
        }
        return -1;
    }
    number = PyLong_AsLongAndOverflow(fileobj, &overflow);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    *too_large = overflow > 0 || number > INT_MAX;
    *fd = overflow < 0 || number < INT_MIN ? -1 : (int)number;
    return 0;
}

/* ValueError for a negative descriptor, which may be too small for an int. */
static void
refuse_negative(PyObject *fileobj, int fd)
{
    if (PyLong_Check(fileobj)) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %S", fileobj);
    }
    else {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %d", fd);
    }
}

/* A descriptor that add_reader is given need not be that of the socket for which the
 * watch was kept. */
static void
fdwatch_disown_gone(FdWatch *watch)
{
    State *state = watch->loop->state;
    PyObject *sock;
    if (watch->socket == NULL) {
        return;
    }
    bool gone = PyWeakref_GetRef(watch->socket, &sock) <= 0;
    if (!gone) {
        gone = pysock_check(state, sock)
               && pysock_fileno(state, sock) != watch->watcher.fd;
        Py_DECREF(sock);
    }
    if (gone) {
        Py_CLEAR(watch->socket);
    }
}

/* Puts handle (stolen) in place. *former: the one that was there. 0, or -1. */
static int
fdwatch_set_handle(Loop *loop, int fd, unsigned direction, PyObject *fileobj,
                   PyObject *handle, PyObject **former)
{
    FdWatch *watch = fdwatch_find(loop, fd);
    bool is_new = watch == NULL;
    if (is_new) {
        watch = fdwatch_new(loop);
        if (watch == NULL) {
            Py_DECREF(handle);
            return -1;
        }
    }
    else {
        fdwatch_disown_gone(watch);
    }
    PyObject **place = direction == CL_READABLE ? &watch->reader : &watch->writer;
    *former = *place;
    *place = handle;
    if (watch->fileobj == NULL && !PyLong_Check(fileobj)) {
        watch->fileobj = Py_NewRef(fileobj);
    }
    int rc = is_new ? fdwatch_register(watch, fd) : fdwatch_verify(watch);
    if (rc < 0) {
        fdwatch_remove_and_release(watch, true);
        err_set_errno(rc);
        return -1;
    }
    return 0;
}

/* fileobj: an int or an object with fileno(); errors as selectors gives them. */
static PyObject *
fdwatch_add(Loop *loop, unsigned direction, PyObject *fileobj, PyObject *callback,
            PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *former = NULL;
    bool too_large;
    int fd;

    if (fdwatch_resolve(loop->state, fileobj, &fd, &too_large) < 0
        || (!too_large && fdwatch_check_transport(loop, fd, fileobj, false) < 0)
        || loop_check_closed(loop) < 0) {
        return NULL;
    }
    if (too_large) {
        PyErr_SetString(PyExc_OverflowError,
                        "Python int too large to convert to C int");
        return NULL;
    }
    if (fd < 0) {
        refuse_negative(fileobj, fd);
        return NULL;
    }
    PyObject *handle = handle_new(loop, callback, args, nargs, NULL);
    if (handle == NULL) {
        return NULL;
    }
    int rc = fdwatch_set_handle(loop, fd, direction, fileobj, handle, &former);
    if (former != NULL) {
        if (rc == 0) {
            rc = handle_cancel(former);
        }
        Py_DECREF(former);
    }
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The watch that was given this very object, whose number may be gone; or NULL. */
static FdWatch *
fdwatch_find_object(Loop *loop, PyObject *fileobj)
{
    for (size_t fd = 0; fd < loop->poller.slot_count; fd++) {
        FdWatch *watch = fdwatch_find(loop, (int)fd);
        if (watch != NULL && watch->fileobj == fileobj) {
            return watch;
        }
    }
    return NULL;
}

static PyObject *
fdwatch_remove(Loop *loop, unsigned direction, PyObject *fileobj)
{
    FdWatch *watch = NULL;
    bool too_large;
    int fd;

    if (fdwatch_resolve(loop->state, fileobj, &fd, &too_large) < 0
        || (!too_large && fdwatch_check_transport(loop, fd, fileobj, true) < 0)) {
        return NULL;
    }
    if (loop->closed || too_large) {
        Py_RETURN_FALSE;
    }
    if (fd >= 0) {
        watch = fdwatch_find(loop, fd);
    }
    else {
        watch = fdwatch_find_object(loop, fileobj);
        if (watch == NULL) {
            refuse_negative(fileobj, fd);
            return NULL;
        }
    }
    if (watch == NULL) {
        Py_RETURN_FALSE;
    }
    PyObject **place = direction == CL_READABLE ? &watch->reader : &watch->writer;
    PyObject *handle = *place;
    if (handle == NULL) {
        Py_RETURN_FALSE;
    }
    *place = NULL;
    fdwatch_settle(watch);
    int rc = handle_cancel(handle);
    Py_DECREF(handle);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

/* -- the loop's methods ------------------------------------------------------------ */

PyDoc_STRVAR(
    Loop_add_reader_doc,
    "add_reader($self, fd, callback, *args)\n--\n\n"
    "Call callback(*args) whenever fd (a descriptor or an object with fileno())\n"
    "is readable, in place of the former reader. Raises RuntimeError when a\n"
    "transport uses fd. From the loop's thread. See the asyncio documentation,\n"
    "section \"Watching file descriptors\".");

PyDoc_STRVAR(
    Loop_add_writer_doc,
    "add_writer($self, fd, callback, *args)\n--\n\n"
    "Call callback(*args) whenever fd (a descriptor or an object with fileno())\n"
    "is writable, in place of the former writer. Raises RuntimeError when a\n"
    "transport uses fd. From the loop's thread. See the asyncio documentation,\n"
    "section \"Watching file descriptors\".");

static PyObject *
add_watch(PyObject *self, unsigned direction, const ArgSpec *spec,
          PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *values[2];
    if (args_parse(spec, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    return fdwatch_add((Loop *)self, direction, values[0], values[1], args + 2,
                       nargs > 2 ? nargs - 2 : 0);
}

static PyObject *
remove_watch(PyObject *self, unsigned direction, const ArgSpec *spec,
             PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *fileobj;
    if (args_parse(spec, args, nargs, kwnames, &fileobj) < 0) {
        return NULL;
    }
    return fdwatch_remove((Loop *)self, direction, fileobj);
}

static const char *const add_names[] = {"fd", "callback", NULL};
static const char *const remove_names[] = {"fd", NULL};

static PyObject *
Loop_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    static const ArgSpec spec = {"Loop.add_reader", add_names, 2, 2, true, false};
    return add_watch(self, CL_READABLE, &spec, args, nargs, kwnames);
}

static PyObject *
Loop_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    static const ArgSpec spec = {"Loop.add_writer", add_names, 2, 2, true, false};
    return add_watch(self, CL_WRITABLE, &spec, args, nargs, kwnames);
}

PyDoc_STRVAR(Loop_remove_reader_doc,
             "remove_reader($self, fd)\n--\n\n"
             "Stop watching fd for reading; True when it was watched. From the loop's\n"
             "thread. See the asyncio documentation, section \"Watching file\n"
             "descriptors\".");

static PyObject *
Loop_remove_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames)
{
    static const ArgSpec spec = {
        "Loop.remove_reader", remove_names, 1, 1, false, false};
    return remove_watch(self, CL_READABLE, &spec, args, nargs, kwnames);
}

PyDoc_STRVAR(Loop_remove_writer_doc,
             "remove_writer($self, fd)\n--\n\n"
             "Stop watching fd for writing; True when it was watched. From the loop's\n"
             "thread. See the asyncio documentation, section \"Watching file\n"
             "descriptors\".");

static PyObject *
Loop_remove_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames)
{
    static const ArgSpec spec = {
        "Loop.remove_writer", remove_names, 1, 1, false, false};
    return remove_watch(self, CL_WRITABLE, &spec, args, nargs, kwnames);
}

#define FASTCALL(function)                                                             \
    (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

PyMethodDef fdwatch_methods[] = {
    {"add_reader", FASTCALL(Loop_add_reader), Loop_add_reader_doc},
    {"add_writer", FASTCALL(Loop_add_writer), Loop_add_writer_doc},
    {"remove_reader", FASTCALL(Loop_remove_reader), Loop_remove_reader_doc},
    {"remove_writer", FASTCALL(Loop_remove_writer), Loop_remove_writer_doc},
    {NULL, NULL, 0, NULL},
};
