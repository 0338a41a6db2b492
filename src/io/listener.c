/* Accepting connections (see listener.h). Called by the poller when connections wait, and
 * by the loop's _start_serving and _stop_serving; on the loop's thread.
 *
 * At most `backlog` connections are accepted per event, and not more than
 * CL_ACCEPTS_PER_EVENT, each with one system call that tells the peer's address too. The
 * protocol factory runs straight away, in a copy of the context in which serving began;
 * stock makes a task for it, which a program can only notice by asking for the current
 * task in the factory.
 *
 * Out of descriptors or memory: reported, and tried again after CL_RETRY_SECONDS (stock
 * waits a second, but reports up to `backlog` times in a row).
 *
 * Invariants: held == (watcher.fd >= 0); a stopped listener refers to nothing. */
#include "listener.h"

#include "../core/handle.h"
#include "../os/sys.h"
#include "../py/addr.h"
#include "../py/args.h"
#include "../py/err.h"
#include "../py/pysock.h"
#include "stream.h"

/* What is made for a connection until its protocol has heard of it takes half as much
 * memory as what stays: a crowd comes in by groups, which are larger than the usual
 * backlog of 100. */
#define CL_ACCEPTS_PER_EVENT 128
/* Two reports a second at most, and back within a second. */
#define CL_RETRY_SECONDS 0.6

typedef struct Listener {
    PyObject_HEAD
    State *state;
    Loop *loop; /* NULL once stopped */
    PyObject *sock;
    PyObject *factory;
    PyObject *server;
    PyObject *context; /* in which serving began, or was said to */
    bool is_shared;    /* all of a connection happens in one copy of it (3.15 on) */
    PyObject *retry;   /* TimerHandle while out of resources, or NULL */
    Watcher watcher;
    int fd;
    int limit; /* of accepts per event */
    int proto;
    bool held;
} Listener;

/* -- watching ---------------------------------------------------------------------- */

static const WatcherOps watcher_ops;

static Listener *
listener_of(Watcher *watcher)
{
    return CL_CONTAINER_OF(watcher, Listener, watcher);
}

static int
watch(Listener *listener)
{
    int rc = poller_watch(&listener->loop->poller, &listener->watcher, listener->fd,
                          CL_READABLE);
    if (rc < 0) {
        err_set_errno(rc);
        return -1;
    }
    listener->held = true;
    Py_INCREF(listener);
    return 0;
}

/* The poller's reference. The caller holds one. */
static void
release_hold(Listener *listener)
{
    if (listener->held) {
        listener->held = false;
        Py_DECREF(listener);
    }
}

static void
unwatch(Listener *listener)
{
    poller_unwatch(&listener->loop->poller, &listener->watcher);
    release_hold(listener);
}

static void
on_loop_close(Watcher *watcher)
{
    release_hold(listener_of(watcher));
}

static int
on_traverse(Watcher *watcher, int (*visit)(void *, void *), void *arg)
{
    return listener_of(watcher)->held ? visit(listener_of(watcher), arg) : 0;
}

/* -- out of resources -------------------------------------------------------------- */

/* Reports the error of accept. 0 or -1. */
static int
report(Listener *listener, int error, const char *message)
{
    PyObject *shown =
        PyObject_CallOneArg(listener->state->TransportSocket, listener->sock);
    if (shown == NULL) {
        return -1;
    }
    err_set_errno(error);
    int rc = loop_report(listener->state, (PyObject *)listener->loop, message, "socket",
                         shown, NULL);
    Py_DECREF(shown);
    return rc;
}

/* Stops watching and comes back after a while. 0 or -1. */
static int
back_off(Listener *listener)
{
    unwatch(listener);
    PyObject *callback =
        PyObject_GetAttr((PyObject *)listener, listener->state->str_resume);
    if (callback == NULL) {
        return -1;
    }
    listener->retry = loop_schedule_after(listener->loop, CL_RETRY_SECONDS, callback,
                                          NULL, 0, listener->context);
    Py_DECREF(callback);
    return listener->retry == NULL ? -1 : 0;
}

/* What accept has failed with: 1: try the next one, 0: enough for now, -1. */
static int
handle_error(Listener *listener, int error)
{
    switch (-error) {
    case EAGAIN:
        return 0;
    case ECONNABORTED:
        return 1;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        if (back_off(listener) < 0) {
            return -1;
        }
        return report(listener, error, "socket.accept() out of system resource");
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
        /* It will not get better soon: do not spin. */
        if (back_off(listener) < 0) {
            return -1;
        }
        return report(listener, error, "socket.accept() failed");
    default:
        /* An error of the connection itself (accept(2)), which is gone with it. */
        return report(listener, error, "socket.accept() failed") < 0 ? -1 : 1;
    }
}

/* -- accepting --------------------------------------------------------------------- */

/* logger.debug(...) of the new connection. 0 or -1. */
static int
log_connection(Listener *listener, PyObject *transport)
{
    PyObject *address =
        PyObject_CallMethod(transport, "get_extra_info", "s", "peername");
    PyObject *sock = PyObject_GetAttrString(transport, "_sock");
    PyObject *result = NULL;
    if (address != NULL && sock != NULL) {
        result = PyObject_CallMethod(listener->state->logger, "debug", "sOOO",
                                     "%r got a new connection from %r: %r",
                                     listener->server, address, sock);
    }
    Py_XDECREF(sock);
    Py_XDECREF(address);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* The factory or the transport has failed: the connection is dropped, which stock tells
 * in debug mode only. 0, or -1 when the exception must leave the loop. */
static int
drop_connection(Listener *listener, PyObject *protocol)
{
    if (err_is_exit()) {
        return -1;
    }
    if (listener->loop == NULL || !(listener->loop->guard & CL_GUARD_DEBUG)) {
        PyErr_Clear();
        return 0;
    }
    return loop_report(listener->state, (PyObject *)listener->loop,
                       "Error on transport creation for incoming connection",
                       "protocol", protocol, NULL);
}

/* In the connection's context: makes protocol and transport. Takes fd. 0 or -1. */
static int
set_up(Listener *listener, int fd, const Addr *peer, PyObject *context)
{
    Loop *loop = listener->loop;
    PyObject *server = Py_NewRef(listener->server);
    PyObject *protocol = PyObject_CallNoArgs(listener->factory);
    PyObject *transport = NULL;
    int rc = 0;
    Py_INCREF(loop);
    if (protocol == NULL) {
        (void)sys_close(fd);
    }
    else {
        transport = stream_accept(loop, fd, peer, listener->proto, protocol, server,
                                  listener->is_shared ? context : NULL);
    }
    if (transport == NULL) {
        rc = drop_connection(listener, protocol);
    }
    else if (CL_UNLIKELY(loop->guard & CL_GUARD_DEBUG) && listener->loop != NULL) {
        rc = log_connection(listener, transport);
    }
    Py_XDECREF(transport);
    Py_XDECREF(protocol);
    Py_DECREF(server);
    Py_DECREF(loop);
    return rc;
}

/* Takes fd. 0, or -1 when an exception must leave the loop. */
static int
accept_one(Listener *listener, int fd, const Addr *peer)
{
    PyObject *context = PyContext_Copy(listener->context);
    if (context == NULL || PyContext_Enter(context) < 0) {
        (void)sys_close(fd);
        Py_XDECREF(context);
        return drop_connection(listener, NULL);
    }
    int rc = set_up(listener, fd, peer, context);
    if (PyContext_Exit(context) < 0) {
        rc = -1;
    }
    Py_DECREF(context);
    return rc;
}

static int
on_ready(Watcher *watcher, unsigned Py_UNUSED(events))
{
    Listener *listener = listener_of(watcher);
    int rc = 1;
    Py_INCREF(listener);
    for (int i = 0; rc > 0 && i < listener->limit && listener->held; i++) {
        Addr peer;
        addr_prepare(&peer);
        int fd = sys_accept4(listener->fd, &peer.u.any, &peer.length);
        rc = fd < 0 ? handle_error(listener, fd) : accept_one(listener, fd, &peer);
        if (fd >= 0 && rc == 0) {
            rc = 1;
        }
    }
    Py_DECREF(listener);
    return rc < 0 ? -1 : 0;
}

static const WatcherOps watcher_ops = {
    .on_ready = on_ready,
    .on_loop_close = on_loop_close,
    .traverse = on_traverse,
    .on_evicted = on_loop_close,
};

/* -- the Python face --------------------------------------------------------------- */

static int
read_proto(Listener *listener)
{
    PyObject *proto = PyObject_GetAttr(listener->sock, listener->state->str_proto);
    if (proto == NULL) {
        return -1;
    }
    listener->proto = (int)PyLong_AsLong(proto);
    Py_DECREF(proto);
    return PyErr_Occurred() ? -1 : 0;
}

static int
Listener_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {
        "loop", "sock", "protocol_factory", "server", "backlog", "context", NULL};
    static const ArgSpec spec = {"Listener.__init__", names, 6, 5, false, false};
    Listener *listener = (Listener *)self;
    PyObject *values[6];
    if (args_parse_tuple(&spec, args, kwargs, values) < 0) {
        return -1;
    }
    State *state = state_of_type(Py_TYPE(self));
    Loop *loop = state == NULL ? NULL : loop_from(state, values[0]);
    if (loop == NULL || listener->state != NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "loop must be a cloop.Loop");
        }
        return -1;
    }
    long backlog = PyLong_AsLong(values[4]);
    if ((backlog == -1 && PyErr_Occurred()) || loop_check_closed(loop) < 0) {
        return -1;
    }
    watcher_init(&listener->watcher, &watcher_ops);
    listener->state = state;
    listener->loop = (Loop *)Py_NewRef((PyObject *)loop);
    listener->sock = Py_NewRef(values[1]);
    listener->factory = Py_NewRef(values[2]);
    listener->server = Py_NewRef(values[3]);
    listener->limit = (int)Py_MIN(Py_MAX(backlog, 1), CL_ACCEPTS_PER_EVENT);
    listener->is_shared = values[5] != NULL && PyContext_CheckExact(values[5]);
    listener->context =
        listener->is_shared ? Py_NewRef(values[5]) : PyContext_CopyCurrent();
    if (listener->context == NULL || read_proto(listener) < 0
        || pysock_fileno_of(state, listener->sock, &listener->fd) < 0) {
        return -1;
    }
    return watch(listener);
}

static int
Listener_clear(PyObject *self)
{
    Listener *listener = (Listener *)self;
    Loop *loop = listener->loop;
    if (loop != NULL) {
        unwatch(listener);
        listener->loop = NULL;
    }
    Py_CLEAR(listener->retry);
    Py_CLEAR(listener->context);
    Py_CLEAR(listener->server);
    Py_CLEAR(listener->factory);
    Py_CLEAR(listener->sock);
    Py_XDECREF(loop);
    return 0;
}

PyDoc_STRVAR(Listener_stop_doc,
             "stop($self, /)\n--\n\n"
             "Accept no more; the socket stays open. A second call does nothing.");

static PyObject *
Listener_stop(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Listener *listener = (Listener *)self;
    if (listener->retry != NULL && handle_cancel(listener->retry) < 0) {
        return NULL;
    }
    (void)Listener_clear(self);
    Py_RETURN_NONE;
}

/* The timer's callback after back_off. */
static PyObject *
Listener__resume(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Listener *listener = (Listener *)self;
    if (listener->loop == NULL || listener->held) {
        Py_RETURN_NONE;
    }
    Py_CLEAR(listener->retry);
    return watch(listener) < 0 ? NULL : Py_NewRef(Py_None);
}

static int
Listener_traverse(PyObject *self, visitproc visit, void *arg)
{
    Listener *listener = (Listener *)self;
    CL_VISIT_TYPE(self);
    Py_VISIT((PyObject *)listener->loop);
    Py_VISIT(listener->sock);
    Py_VISIT(listener->factory);
    Py_VISIT(listener->server);
    Py_VISIT(listener->context);
    Py_VISIT(listener->retry);
    return 0;
}

static void
Listener_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)Listener_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef Listener_methods[] = {
    {"stop", Listener_stop, METH_NOARGS, Listener_stop_doc},
    {"_resume", Listener__resume, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(Listener_doc,
             "Listener(loop, sock, protocol_factory, server, backlog)\n--\n\n"
             "Accepts connections on a listening socket from now on, until stop().");

static PyType_Slot Listener_slots[] = {
    {Py_tp_doc, (void *)Listener_doc},
    {Py_tp_init, (void *)Listener_init},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_dealloc, (void *)Listener_dealloc},
    {Py_tp_traverse, (void *)Listener_traverse},
    {Py_tp_clear, (void *)Listener_clear},
    {Py_tp_methods, (void *)Listener_methods},
    {0, NULL},
};

PyType_Spec listener_spec = {
    .name = "cloop.Listener",
    .basicsize = sizeof(Listener),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = Listener_slots,
};
