/* What all transports share: life, waiting, flow control, the end (see transport.h).
 *
 * Called by the types' own files and by transport_face.c, on the loop's thread; the
 * Watcher functions by the poller.
 *
 * Invariants: held == (watcher.wanted != 0) while the loop is open; `loop` is not NULL
 * until finished; `is_open` until the descriptor is closed, which happens once, in
 * transport_finish or when an unclosed transport dies. */
#include "transport.h"

#include <netinet/in.h>

#include "../core/handle.h"
#include "../os/sys.h"
#include "../py/err.h"
#include "../py/pysock.h"

#define CL_LOST_WRITES_WARN 5

/* -- making and unmaking ----------------------------------------------------------- */

int
transport_check_base(PyObject *base)
{
    if (!PyType_Check(base)
        || ((PyTypeObject *)base)->tp_basicsize
               > (Py_ssize_t)offsetof(Transport, dict)) {
        PyErr_Format(PyExc_ImportError, "cloop cannot extend %R of this Python", base);
        return -1;
    }
    return 0;
}

void
transport_prepare(Transport *transport, State *state, const TransportOps *ops,
                  const WatcherOps *watcher_ops)
{
    transport->ops = ops;
    transport->state = state;
    transport->fd = -1;
    transport->closing = true;
    transport->finished = true;
    transport->conn_lost = 1;
    transport->high_water = CL_HIGH_WATER;
    transport->low_water = CL_LOW_WATER;
    watcher_init(&transport->watcher, watcher_ops);
}

int
transport_init(Transport *transport, Loop *loop, int fd, PyObject *protocol,
               PyObject *extra)
{
    transport->loop = (Loop *)Py_NewRef((PyObject *)loop);
    transport->protocol = Py_NewRef(protocol);
    transport->fd = fd;
    transport->is_open = true;
    transport->closing = false;
    transport->finished = false;
    transport->conn_lost = 0;
    if (extra != NULL) {
        transport->extra = PyDict_Copy(extra);
        if (transport->extra == NULL) {
            return -1;
        }
    }
    return 0;
}

PyObject *
transport_socket(Transport *transport)
{
    if (transport->sock == NULL) {
        transport->sock =
            pysock_new(transport->state, transport->fd, transport->sock_family,
                       transport->ops->sock_type, transport->sock_proto);
    }
    return transport->sock;
}

/* New ref: what the method of the socket says, which knows the addresses of its family;
 * None when it cannot. */
static PyObject *
ask_socket(Transport *transport, const char *method)
{
    PyObject *sock = transport_socket(transport);
    PyObject *name = sock == NULL ? NULL : PyObject_CallMethod(sock, method, NULL);
    if (name == NULL && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear();
        return Py_NewRef(Py_None);
    }
    return name;
}

/* Keeps addr, in short when it is an Internet address, else as an object in `extra`
 * unless the user has put one there. method: the socket's, which tells the same. */
static int
keep_name(Transport *transport, const Addr *addr, ShortAddr *place, const char *key,
          const char *method)
{
    int family = addr->u.any.sa_family;
    if ((family == AF_INET || family == AF_INET6)
        && addr->length <= sizeof(place->bytes)) {
        place->size = (uint8_t)addr->length;
        memcpy(place->bytes, &addr->u, addr->length);
        return 0;
    }
    if (transport->extra == NULL) {
        transport->extra = PyDict_New();
        if (transport->extra == NULL) {
            return -1;
        }
    }
    else if (PyDict_GetItemString(transport->extra, key) != NULL) {
        return 0;
    }
    PyObject *name = addr->length == 0           ? Py_NewRef(Py_None)
                     : addr_knows_family(family) ? addr_to_object(addr)
                                                 : ask_socket(transport, method);
    if (name == NULL) {
        return -1;
    }
    int rc = PyDict_SetItemString(transport->extra, key, name);
    Py_DECREF(name);
    return rc;
}

int
transport_set_names(Transport *transport, const Addr *peer)
{
    Addr addr;
    addr_prepare(&addr);
    if (sys_getsockname(transport->fd, &addr.u.any, &addr.length) < 0) {
        int family = sys_socket_family(transport->fd);
        addr.length = 0;
        addr.u.any.sa_family = (sa_family_t)Py_MAX(family, AF_UNSPEC);
    }
    transport->sock_family = addr.u.any.sa_family;
    if (keep_name(transport, &addr, &transport->sockname, "sockname", "getsockname")
        < 0) {
        return -1;
    }
    if (peer == NULL) {
        addr_prepare(&addr);
        if (sys_getpeername(transport->fd, &addr.u.any, &addr.length) < 0) {
            addr.length = 0;
            addr.u.any.sa_family = AF_UNSPEC;
        }
        peer = &addr;
    }
    return keep_name(transport, peer, &transport->peername, "peername", "getpeername");
}

int
transport_attach(Transport *transport, PyObject *server)
{
    PyObject *self = (PyObject *)transport;
    PyObject *stack[2] = {server, self};
    PyObject *result = PyObject_VectorcallMethod(transport->state->str_attach, stack,
                                                 CL_HAVE_SERVER_CLIENTS ? 2 : 1, NULL);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    transport->server = Py_NewRef(server);
    return 0;
}

/* Keeps a raised exception; an own one is written out. */
static void
detach_server(Transport *transport)
{
    PyObject *server = transport->server;
    if (server == NULL) {
        return;
    }
    transport->server = NULL;
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *stack[2] = {server, (PyObject *)transport};
    PyObject *result = PyObject_VectorcallMethod(transport->state->str_detach, stack,
                                                 CL_HAVE_SERVER_CLIENTS ? 2 : 1, NULL);
    if (result == NULL) {
        PyErr_WriteUnraisable(server);
    }
    Py_XDECREF(result);
    Py_DECREF(server);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

/* Gives back the poller's reference. */
static void
release_hold(Transport *transport)
{
    if (transport->held) {
        transport->held = false;
        Py_DECREF(transport);
    }
}

int
transport_traverse(Transport *transport, visitproc visit, void *arg)
{
    CL_VISIT_TYPE((PyObject *)transport);
    Py_VISIT(transport->dict);
    Py_VISIT((PyObject *)transport->loop);
    Py_VISIT(transport->protocol);
    Py_VISIT(transport->sock);
    Py_VISIT(transport->shown_sock);
    Py_VISIT(transport->extra);
    Py_VISIT(transport->limits);
    Py_VISIT(transport->server);
    Py_VISIT(transport->context);
    Py_VISIT(transport->read_context);
    Py_VISIT(transport->write_context);
    return 0;
}

/* The finalizer has run, or the transport was never whole: nothing is called back. */
void
transport_clear(Transport *transport)
{
    if (transport->loop != NULL) {
        poller_unwatch(&transport->loop->poller, &transport->watcher);
        release_hold(transport);
    }
    if (transport->ops != NULL) {
        transport->ops->drop_queue(transport);
    }
    if (transport->is_open && transport->sock == NULL) {
        transport->is_open = false;
        (void)sys_close(transport->fd);
    }
    Py_CLEAR(transport->dict);
    Py_CLEAR(transport->protocol);
    Py_CLEAR(transport->sock);
    Py_CLEAR(transport->shown_sock);
    Py_CLEAR(transport->extra);
    Py_CLEAR(transport->limits);
    Py_CLEAR(transport->server);
    Py_CLEAR(transport->context);
    Py_CLEAR(transport->read_context);
    Py_CLEAR(transport->write_context);
    Py_CLEAR(transport->loop);
}

/* Closes the descriptor, through the Python socket when that has it. Keeps a raised
 * exception and raises none. */
static void
close_descriptor(Transport *transport)
{
    if (!transport->is_open) {
        return;
    }
    transport->is_open = false;
    if (transport->loop != NULL) {
        loop_poll_soon(transport->loop);
    }
    PyObject *sock = transport->sock;
    if (sock == NULL) {
        (void)sys_close(transport->fd);
        return;
    }
    transport->sock = NULL;
    PyObject *raised = PyErr_GetRaisedException();
    if (transport->state->pysock_layout == CL_PYSOCK_FITS
        && pysock_check(transport->state, sock)) {
        transport->sock_proto = (uint16_t)((PySockHead *)sock)->proto;
    }
    PyObject *result = PyObject_CallMethodNoArgs(sock, transport->state->str_close);
    if (result == NULL) {
        PyErr_WriteUnraisable(sock);
    }
    Py_XDECREF(result);
    Py_DECREF(sock);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

void
transport_finalize(PyObject *self)
{
    Transport *transport = (Transport *)self;
    if (!transport->is_open) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    if (PyErr_ResourceWarning(self, 1, "unclosed transport %R", self) < 0) {
        if (PyErr_ExceptionMatches(PyExc_Warning)) {
            PyErr_WriteUnraisable(self);
        }
        else {
            PyErr_Clear();
        }
    }
    if (transport->loop != NULL) {
        poller_unwatch(&transport->loop->poller, &transport->watcher);
        release_hold(transport);
    }
    close_descriptor(transport);
    detach_server(transport);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

/* -- waiting ----------------------------------------------------------------------- */

static Transport *
transport_of(Watcher *watcher)
{
    return CL_CONTAINER_OF(watcher, Transport, watcher);
}

void
transport_on_loop_close(Watcher *watcher)
{
    release_hold(transport_of(watcher));
}

int
transport_on_traverse(Watcher *watcher, int (*visit)(void *, void *), void *arg)
{
    Transport *transport = transport_of(watcher);
    return transport->held ? visit(transport, arg) : 0;
}

/* Our number was closed and given out again: it is not ours to close any more. */
void
transport_on_evicted(Watcher *watcher)
{
    Transport *transport = transport_of(watcher);
    PyObject *raised = PyErr_GetRaisedException();
    Py_INCREF(transport);
    release_hold(transport);
    if (transport->sock == NULL) {
        transport->is_open = false;
    }
    transport->ops->drop_queue(transport);
    PyObject *error = err_new_errno(-EBADF);
    if (error == NULL || transport_force_close(transport, error) < 0) {
        PyErr_WriteUnraisable((PyObject *)transport);
    }
    Py_XDECREF(error);
    Py_DECREF(transport);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

void *
transport_on_describe(Watcher *watcher)
{
    Transport *transport = transport_of(watcher);
    return transport->closing || Py_REFCNT(transport) == 0
               ? NULL
               : Py_NewRef((PyObject *)transport);
}

int
transport_check_unused(Loop *loop, int fd, PyObject *shown)
{
    Watcher *watcher = poller_find(&loop->poller, fd);
    if (watcher == NULL || watcher->ops->describe == NULL) {
        return 0;
    }
    PyObject *owner = watcher->ops->describe(watcher);
    if (owner == NULL) {
        return 0;
    }
    PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by transport %R",
                 shown, owner);
    Py_DECREF(owner);
    return -1;
}

int
transport_want(Transport *transport, unsigned wanted)
{
    Loop *loop = transport->loop;
    if (wanted == transport->watcher.wanted) {
        return 0;
    }
    if (loop->closed) {
        return wanted == 0 ? 0 : loop_check_closed(loop);
    }
    if (transport->watcher.fd >= 0) {
        poller_want(&loop->poller, &transport->watcher, wanted);
    }
    else {
        if (transport->ops->own_number != NULL
            && poller_find(&loop->poller, transport->fd) != NULL
            && transport->ops->own_number(transport) < 0) {
            return -1;
        }
        int rc =
            poller_watch(&loop->poller, &transport->watcher, transport->fd, wanted);
        if (rc < 0) {
            err_set_errno(rc);
            return -1;
        }
    }
    if (wanted != 0 && !transport->held) {
        transport->held = true;
        Py_INCREF(transport);
    }
    else if (wanted == 0) {
        release_hold(transport);
    }
    return 0;
}

void
transport_leave_poller(Transport *transport)
{
    if (transport->loop != NULL) {
        poller_unwatch(&transport->loop->poller, &transport->watcher);
        release_hold(transport);
    }
}

int
transport_want_data(Transport *transport)
{
    if (!transport->started || transport->paused || transport->closing) {
        return 0;
    }
    return transport_want_more(transport, CL_READABLE);
}

/* -- flow control ------------------------------------------------------------------ */

int
transport_tell_pause(Transport *transport)
{
    PyObject *result = PyObject_CallMethodNoArgs(transport->protocol,
                                                 transport->state->str_pause_writing);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
transport_tell_resume(Transport *transport)
{
    PyObject *result = PyObject_CallMethodNoArgs(transport->protocol,
                                                 transport->state->str_resume_writing);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Reports what pause_writing or resume_writing has raised. */
static int
report_flow_error(Transport *transport, PyObject *protocol, const char *message)
{
    if (err_is_exit()) {
        return -1;
    }
    return loop_report(transport->state, (PyObject *)transport->loop, message,
                       "transport", (PyObject *)transport, "protocol", protocol, NULL);
}

int
transport_maybe_pause(Transport *transport)
{
    if (transport->protocol_paused || transport->protocol == NULL
        || transport->ops->count_queued(transport) <= transport->high_water) {
        return 0;
    }
    transport->protocol_paused = true;
    PyObject *protocol = Py_NewRef(transport->protocol);
    int rc = transport->ops->tell_pause(transport);
    if (rc < 0) {
        rc = report_flow_error(transport, protocol, "protocol.pause_writing() failed");
    }
    Py_DECREF(protocol);
    return rc;
}

int
transport_maybe_resume(Transport *transport)
{
    if (!transport->protocol_paused || transport->protocol == NULL
        || transport->ops->count_queued(transport) > transport->low_water) {
        return 0;
    }
    transport->protocol_paused = false;
    PyObject *protocol = Py_NewRef(transport->protocol);
    int rc = transport->ops->tell_resume(transport);
    if (rc < 0) {
        rc = report_flow_error(transport, protocol, "protocol.resume_writing() failed");
    }
    Py_DECREF(protocol);
    return rc;
}

/* -- the end ----------------------------------------------------------------------- */

int
transport_call_soon(Transport *transport, PyObject *callback, PyObject *arg)
{
    return loop_call_soon(transport->state, (PyObject *)transport->loop, callback, arg,
                          transport->context);
}

/* Puts _call_connection_lost(exception) on the loop. 0 or -1. */
static int
schedule_lost(Transport *transport, PyObject *exception)
{
    transport->conn_lost++;
    PyObject *callback = PyObject_GetAttr((PyObject *)transport,
                                          transport->state->str_call_connection_lost);
    if (callback == NULL) {
        return -1;
    }
    int rc = transport_call_soon(transport, callback, exception);
    Py_DECREF(callback);
    return rc;
}

int
transport_close(Transport *transport)
{
    if (transport->closing) {
        return 0;
    }
    transport->closing = true;
    transport_want_less(transport, CL_READABLE);
    if (transport->ops->flush != NULL && transport->ops->flush(transport) < 0) {
        return -1;
    }
    if (transport->conn_lost != 0 || transport->ops->count_queued(transport) != 0) {
        return 0;
    }
    transport_want_less(transport, CL_WRITABLE);
    return schedule_lost(transport, Py_None);
}

int
transport_force_close(Transport *transport, PyObject *exception)
{
    if (transport->conn_lost != 0 || transport->finished) {
        return 0;
    }
    if (transport->ops->send_rest != NULL) {
        transport->ops->send_rest(transport);
    }
    transport->ops->drop_queue(transport);
    transport->closing = true;
    transport_want_less(transport, CL_READABLE | CL_WRITABLE);
    return schedule_lost(transport, exception);
}

int
transport_fail(Transport *transport, const char *message)
{
    if (err_is_exit()) {
        return -1;
    }
    PyObject *error = PyErr_GetRaisedException();
    int rc = 0;
    if (PyObject_TypeCheck(error, (PyTypeObject *)PyExc_OSError)) {
        if (transport_is_debug(transport)) {
            PyObject *keywords = Py_BuildValue("{sO}", "exc_info", error);
            PyObject *args = Py_BuildValue("sOs", "%r: %s", transport, message);
            PyObject *log =
                PyObject_GetAttr(transport->state->logger, transport->state->str_debug);
            PyObject *result = keywords == NULL || args == NULL || log == NULL
                                   ? NULL
                                   : PyObject_Call(log, args, keywords);
            if (result == NULL) {
                PyErr_WriteUnraisable((PyObject *)transport);
            }
            Py_XDECREF(result);
            Py_XDECREF(log);
            Py_XDECREF(args);
            Py_XDECREF(keywords);
        }
    }
    else if (transport->loop != NULL) {
        PyErr_SetRaisedException(Py_NewRef(error));
        rc = loop_report(transport->state, (PyObject *)transport->loop, message,
                         "transport", (PyObject *)transport, "protocol",
                         transport->protocol, NULL);
    }
    if (rc == 0 && transport->loop != NULL) {
        rc = transport_force_close(transport, error);
    }
    Py_DECREF(error);
    return rc;
}

int
transport_tell_lost(Transport *transport, PyObject *exception)
{
    PyObject *result = PyObject_CallMethodOneArg(
        transport->protocol, transport->state->str_connection_lost, exception);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
transport_finish(Transport *transport, PyObject *exception)
{
    if (transport->finished) {
        return 0;
    }
    transport->finished = true;
    transport->closing = true;
    int rc = transport->ops->tell_lost(transport, exception);
    PyObject *raised = rc < 0 ? PyErr_GetRaisedException() : NULL;
    Loop *loop = transport->loop;
    transport->ops->drop_queue(transport);
    poller_unwatch(&loop->poller, &transport->watcher);
    release_hold(transport);
    close_descriptor(transport);
    Py_CLEAR(transport->protocol);
    Py_CLEAR(transport->context);
    Py_CLEAR(transport->read_context);
    Py_CLEAR(transport->write_context);
    if (transport->ops->on_finished != NULL
        && transport->ops->on_finished(transport) < 0) {
        if (raised != NULL) {
            PyErr_Clear();
        }
        rc = -1;
    }
    detach_server(transport);
    transport->loop = NULL;
    Py_DECREF(loop);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    return rc;
}

/* -- events ------------------------------------------------------------------------ */

PyObject *
transport_new_context(Transport *transport)
{
    return transport->context != NULL ? Py_NewRef(transport->context)
                                      : PyContext_CopyCurrent();
}

int
transport_call_in_context(Transport *transport, PyObject *context, TransportWork work)
{
    if (context == NULL) {
        return work(transport);
    }
    Py_INCREF(context);
    int rc = PyContext_Enter(context);
    if (rc == 0) {
        rc = work(transport);
        if (PyContext_Exit(context) < 0) {
            rc = -1;
        }
    }
    else {
        rc = transport_report_callback(transport, transport->loop, "_ready");
    }
    Py_DECREF(context);
    return rc;
}

int
transport_take_event(Transport *transport, unsigned direction, PyObject *name,
                     PyObject *context, TransportWork work)
{
    if (!(transport->watcher.wanted & direction)) {
        return 0;
    }
    if (CL_LIKELY(!transport_is_debug(transport))) {
        return transport_call_in_context(transport, context, work);
    }
    PyObject *callback = PyObject_GetAttr((PyObject *)transport, name);
    if (callback == NULL) {
        return -1;
    }
    /* A Handle as of stock's, run here and now: on the ring it would be a turn late. */
    PyObject *handle = handle_new(transport->loop, callback, NULL, 0, context);
    Py_DECREF(callback);
    return handle == NULL ? -1
                          : loop_run_entry(transport->loop,
                                           (RingEntry){loop_run_handle, handle, NULL});
}

/* Puts the start of reading on the loop. 0 or -1. */
static int
schedule_begin(Transport *transport, RingRun begin)
{
    transport->read_context = transport_new_context(transport);
    if (transport->read_context == NULL) {
        return -1;
    }
    if (loop_is_direct(transport->loop)) {
        return loop_push(transport->loop, begin, Py_NewRef((PyObject *)transport),
                         NULL);
    }
    PyObject *callback =
        PyObject_GetAttr((PyObject *)transport, transport->state->str_start_reading);
    if (callback == NULL) {
        return -1;
    }
    int rc = transport_call_soon(transport, callback, NULL);
    Py_DECREF(callback);
    return rc;
}

/* Puts the waiter's result on the loop. 0 or -1. */
static int
schedule_waiter(Transport *transport, PyObject *waiter)
{
    State *state = transport->state;
    PyObject *stack[4] = {(PyObject *)transport->loop,
                          state->set_result_unless_cancelled, waiter, Py_None};
    PyObject *handle =
        loop_is_direct(transport->loop)
            ? loop_schedule(transport->loop, stack[1], stack + 2, 2, NULL)
            : PyObject_VectorcallMethod(state->str_call_soon, stack, 4, NULL);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

int
transport_schedule_start(Transport *transport, PyObject *server, PyObject *waiter,
                         RingRun begin)
{
    PyObject *made =
        PyObject_GetAttr(transport->protocol, transport->state->str_connection_made);
    if (made == NULL) {
        return -1;
    }
    int rc =
        server != NULL && server != Py_None ? transport_attach(transport, server) : 0;
    if (rc == 0) {
        rc = transport_call_soon(transport, made, (PyObject *)transport);
    }
    Py_DECREF(made);
    if (rc < 0 || schedule_begin(transport, begin) < 0) {
        return -1;
    }
    return waiter == NULL || waiter == Py_None ? 0 : schedule_waiter(transport, waiter);
}

/* -- telling ----------------------------------------------------------------------- */

void
transport_log(Transport *transport, const char *format)
{
    if (CL_LIKELY(!transport_is_debug(transport))) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *result = PyObject_CallMethod(transport->state->logger, "debug", "sO",
                                           format, (PyObject *)transport);
    if (result == NULL) {
        PyErr_WriteUnraisable((PyObject *)transport);
    }
    Py_XDECREF(result);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

int
transport_report_callback(Transport *transport, Loop *loop, const char *name)
{
    if (err_is_exit()) {
        return -1;
    }
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *message = PyUnicode_FromFormat("Exception in callback %s.%s()",
                                             Py_TYPE(transport)->tp_name, name);
    if (message == NULL) {
        Py_XDECREF(raised);
        return -1;
    }
    PyErr_SetRaisedException(raised);
    int rc = loop_report_text(transport->state, (PyObject *)loop, message, "transport",
                              (PyObject *)transport, NULL);
    Py_DECREF(message);
    return rc;
}

int
transport_check_data(PyObject *data)
{
    PyObject *error = PyErr_GetRaisedException();
    int truth = PyObject_IsTrue(data);
    if (truth > 0) {
        PyErr_SetRaisedException(error);
    }
    else {
        Py_DECREF(error);
    }
    return truth;
}

int
transport_count_lost_write(Transport *transport)
{
    int rc = 0;
    if (transport->conn_lost >= CL_LOST_WRITES_WARN) {
        PyObject *result = PyObject_CallMethod(transport->state->logger, "warning", "s",
                                               "socket.send() raised exception.");
        Py_XDECREF(result);
        rc = result == NULL ? -1 : 0;
    }
    transport->conn_lost++;
    return rc;
}
