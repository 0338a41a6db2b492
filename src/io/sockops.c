/* loop.sock_*: the coroutine's face of a socket operation, and the loop's methods that
 * make one.
 *
 * A SockOp is made by a method below, driven by a task (send, throw, close) and finished
 * by the poller (sockop_on_ready), all on the loop's thread. What is done to the socket
 * is its kind's business (sockcalls.c, sockconn.c, sockfile.c).
 *
 *   CREATED --send--> RUNNING --result--------------------------------> OVER
 *                        | would block                                   ^
 *                        +-----------> WAITING --future done, then send--+
 *                        | a name                 throw, close ----------+
 *                        +-----------> AWAITING --name resolved--> RUNNING
 *
 * While WAITING the descriptor's FdWatch holds a reference to the operation, as stock's
 * selector does through the registered callback: a task that nobody else holds goes on.
 * `future` is then pending or has just been done; whoever finishes it has taken the
 * operation out of the FdWatch and released socket, arguments and buffers before.
 * It may be cancelled by anybody: the next event or the throw() that follows takes the
 * operation out then. */
#include "sockop.h"

#include <errno.h>

#include "../core/future.h"
#include "../py/args.h"
#include "../py/err.h"
#include "coroface.h"

#define SOCKOP(self) ((SockOp *)(self))
#define CL_ORIGIN_FRAMES 10 /* asyncio.constants.DEBUG_STACK_DEPTH */

/* -- ending ------------------------------------------------------------------------ */

/* Lets go of all that only a further attempt would need. */
static void
sockop_release(SockOp *op)
{
    if (op->view.obj != NULL) {
        PyBuffer_Release(&op->view);
    }
    Py_CLEAR(op->sock);
    for (int i = 0; i < CL_SOCKOP_ARGS; i++) {
        Py_CLEAR(op->args[i]);
    }
}

/* Ends without looking at the future. The caller holds a ref. */
static void
sockop_end(SockOp *op)
{
    PyObject *future = op->future;
    op->future = NULL;
    op->phase = CL_SOCKOP_OVER;
    fdwatch_forget(&op->waiter);
    Py_CLEAR(op->resolver);
    Py_CLEAR(op->origin);
    sockop_release(op);
    Py_XDECREF(future);
}

/* -- completion from the poller ---------------------------------------------------- */

/* Finishes the future with result (stolen), or with the raised exception when it is
 * NULL. 0 or -1 as RingRun. */
static int
sockop_complete(SockOp *op, PyObject *result)
{
    PyObject *exception = result == NULL ? PyErr_GetRaisedException() : NULL;
    PyObject *future = Py_NewRef(op->future);
    int rc;

    op->phase = CL_SOCKOP_WAITING;
    fdwatch_forget(&op->waiter);
    sockop_release(op);
    if (result != NULL) {
        rc = future_finish_result(future, result);
    }
    else {
        rc = future_finish_exception(future, exception);
    }
    if (rc < 0 && !err_is_exit()) {
        rc = loop_report(op->state, (PyObject *)op->loop,
                         "Exception while completing a socket operation", NULL);
    }
    Py_XDECREF(result);
    Py_XDECREF(exception);
    Py_DECREF(future);
    return rc < 0 ? -1 : 0;
}

static bool
sockop_is_lost(FdWaiter *waiter)
{
    SockOp *op = CL_CONTAINER_OF(waiter, SockOp, waiter);
    State *state = op->state;
    return op->sock != NULL && pysock_check(state, op->sock)
           && state->pysock_layout == CL_PYSOCK_FITS
           && pysock_fileno(state, op->sock) != op->fd;
}

/* FdWaiter.on_ready: the descriptor is ready. */
static int
sockop_on_ready(FdWaiter *waiter)
{
    SockOp *op = CL_CONTAINER_OF(waiter, SockOp, waiter);
    PyObject *result = NULL;
    int rc;

    if (op->phase != CL_SOCKOP_WAITING) {
        return 0; /* a turn of the loop inside the attempt of another */
    }
    if (future_is_done(op->future)) {
        fdwatch_forget(waiter); /* cancelled: throw() is on its way */
        sockop_release(op);
        return 1;
    }
    Py_ssize_t done = op->done;
    op->phase = CL_SOCKOP_RUNNING;
    if (CL_UNLIKELY(sockop_is_lost(waiter))) {
        err_set_errno(-EBADF);
        rc = -1;
    }
    else {
        rc = op->kind->attempt(op, &result);
    }
    op->phase = CL_SOCKOP_WAITING;
    if (rc == CL_SOCKOP_BLOCKED) {
        if (waiter->watch != NULL) {
            if (op->done == done) {
                fdwatch_make_level(waiter); /* EAGAIN, where a report says ready */
            }
            return 0;
        }
        /* Dropped meanwhile by what the attempt has run. */
        if (op->loop->closed) {
            return 1;
        }
        err_set_errno(-EBADF);
    }
    else if (rc < 0 && err_is_exit()) {
        return -1;
    }
    return sockop_complete(op, rc == CL_SOCKOP_DONE ? result : NULL) < 0 ? -1 : 1;
}

/* FdWaiter.on_drop. When the loop closes the future stays pending, as on stock. */
static void
sockop_on_drop(FdWaiter *waiter, bool lost)
{
    SockOp *op = CL_CONTAINER_OF(waiter, SockOp, waiter);
    if (op->phase != CL_SOCKOP_WAITING) {
        return; /* the attempt that runs now will see it */
    }
    if (!lost) {
        sockop_release(op);
        return;
    }
    err_set_errno(-EBADF);
    if (sockop_complete(op, NULL) < 0) {
        PyErr_WriteUnraisable((PyObject *)op);
    }
}

/* -- driving ----------------------------------------------------------------------- */

/* What every operation checks before it begins, in stock's order. 0 or -1. */
static int
sockop_check(SockOp *op)
{
    State *state = op->state;
    if (!pysock_check(state, op->sock)) {
        PyObject *check = state->check_ssl_socket != NULL ? state->check_ssl_socket
                                                          : state->check_ssl_socket_38;
        PyObject *ignored =
            check != NULL ? PyObject_CallOneArg(check, op->sock) : Py_NewRef(Py_None);
        if (ignored == NULL) {
            return -1;
        }
        Py_DECREF(ignored);
    }
    if (CL_UNLIKELY(op->loop->guard & CL_GUARD_DEBUG)) {
        int nonblocking = pysock_is_nonblocking(state, op->sock);
        if (nonblocking == 0) {
            PyErr_SetString(PyExc_ValueError, "the socket must be non-blocking");
        }
        return nonblocking == 1 ? 0 : -1;
    }
    return 0;
}

/* Yields a future for the descriptor. PYGEN_NEXT or PYGEN_ERROR. */
static PySendResult
sockop_wait(SockOp *op, PyObject **result)
{
    if (!op->direct && pysock_fileno_of(op->state, op->sock, &op->fd) < 0) {
        return PYGEN_ERROR;
    }
    op->future = future_new(op->loop);
    if (op->future == NULL) {
        return PYGEN_ERROR;
    }
    FdWaiter *waiter = &op->waiter;
    waiter->object = (PyObject *)op;
    waiter->on_ready = sockop_on_ready;
    waiter->is_lost = sockop_is_lost;
    waiter->on_drop = sockop_on_drop;
    if (fdwatch_wait(op->loop, waiter, op->fd, op->kind->direction, op->sock) < 0) {
        return PYGEN_ERROR;
    }
    op->phase = CL_SOCKOP_WAITING;
    FUTURE(op->future)->blocking = true;
    *result = Py_NewRef(op->future);
    return PYGEN_NEXT;
}

static PySendResult sockop_resume(SockOp *op, PyObject *arg, PyObject **result);

/* Goes on as the attempt's rc demands. */
static PySendResult
sockop_proceed(SockOp *op, int rc, PyObject **result)
{
    if (rc == CL_SOCKOP_RESOLVING) {
        op->phase = CL_SOCKOP_AWAITING;
        return sockop_resume(op, Py_None, result);
    }
    PySendResult sent = rc == CL_SOCKOP_DONE ? PYGEN_RETURN : PYGEN_ERROR;
    if (rc == CL_SOCKOP_BLOCKED) {
        sent = sockop_wait(op, result);
    }
    if (sent != PYGEN_NEXT) {
        sockop_end(op);
    }
    return sent;
}

/* The resolver has answered: yielded value, returned it or raised. */
static PySendResult
sockop_resolved(SockOp *op, PySendResult sent, PyObject *value, PyObject **result)
{
    if (sent == PYGEN_NEXT) {
        op->phase = CL_SOCKOP_AWAITING;
        *result = value;
        return PYGEN_NEXT;
    }
    int rc = -1;
    if (sent == PYGEN_RETURN) {
        Py_CLEAR(op->resolver);
        rc = op->kind->resolved(op, value, result);
        Py_DECREF(value);
    }
    return sockop_proceed(op, rc, result);
}

/* Sends arg on to the resolver. */
static PySendResult
sockop_resume(SockOp *op, PyObject *arg, PyObject **result)
{
    PyObject *value = NULL;
    op->phase = CL_SOCKOP_RUNNING;
    PySendResult sent = PyIter_Send(op->resolver, arg, &value);
    return sockop_resolved(op, sent, value, result);
}

/* The future that was yielded is to be done by now. */
static PySendResult
sockop_take_result(SockOp *op, PyObject **result)
{
    if (!future_is_done(op->future)) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        sockop_end(op);
        return PYGEN_ERROR;
    }
    PyObject *future = Py_NewRef(op->future);
    sockop_end(op);
    *result = future_get_result(future);
    Py_DECREF(future);
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

/* Raises what a coroutine does that cannot be driven now. */
static PySendResult
sockop_refuse(const SockOp *op)
{
    if (op->phase == CL_SOCKOP_RUNNING) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    }
    else {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    }
    return PYGEN_ERROR;
}

/* Not static: am_send's signature. */
static PySendResult
SockOp_am_send(PyObject *self, PyObject *arg, PyObject **result)
{
    SockOp *op = SOCKOP(self);
    *result = NULL;
    switch ((SockOpPhase)op->phase) {
    case CL_SOCKOP_CREATED:
        if (arg != Py_None) {
            PyErr_SetString(PyExc_TypeError,
                            "can't send non-None value to a just-started coroutine");
            return PYGEN_ERROR;
        }
        op->phase = CL_SOCKOP_RUNNING;
        return sockop_proceed(
            op, sockop_check(op) < 0 ? -1 : op->kind->start(op, result), result);
    case CL_SOCKOP_AWAITING:
        return sockop_resume(op, arg, result);
    case CL_SOCKOP_WAITING:
        return sockop_take_result(op, result);
    default:
        return sockop_refuse(op);
    }
}

/* -- the coroutine's methods ------------------------------------------------------- */

static PyObject *
SockOp_iternext(PyObject *self)
{
    PyObject *value;
    PySendResult sent = SockOp_am_send(self, Py_None, &value);
    return coroface_unpack(((SockOp *)self)->state, sent, value, true);
}

PyDoc_STRVAR(SockOp_send_doc,
             "send($self, arg, /)\n--\n\n"
             "Start or continue the operation, as a coroutine's send().");

static PyObject *
SockOp_send(PyObject *self, PyObject *arg)
{
    PyObject *value;
    PySendResult sent = SockOp_am_send(self, arg, &value);
    return coroface_unpack(((SockOp *)self)->state, sent, value, false);
}

/* Throws into the resolver, which may go on, return or raise. */
static PyObject *
sockop_throw_into_resolver(SockOp *op, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *value;
    PyObject *result = NULL;

    op->phase = CL_SOCKOP_RUNNING;
    PySendResult sent =
        coroface_throw_into(op->state, op->resolver, args, nargs, &value);
    sent = sockop_resolved(op, sent, value, &result);
    return coroface_unpack(op->state, sent, result, false);
}

PyDoc_STRVAR(
    SockOp_throw_doc,
    "throw($self, type, value=None, traceback=None, /)\n--\n\n"
    "End the operation with an exception, as a coroutine's throw(). The socket\n"
    "is no longer waited on and can be used again.");

static PyObject *
SockOp_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    SockOp *op = SOCKOP(self);
    if (coroface_check_throw(nargs) < 0) {
        return NULL;
    }
    if (op->phase == CL_SOCKOP_RUNNING || op->phase == CL_SOCKOP_OVER) {
        sockop_refuse(op);
        return NULL;
    }
    if (op->phase == CL_SOCKOP_AWAITING) {
        return sockop_throw_into_resolver(op, args, nargs);
    }
    if (op->phase == CL_SOCKOP_WAITING && op->kind->abandon != NULL) {
        op->kind->abandon(op);
    }
    sockop_end(op);
    coroface_raise(args, nargs);
    return NULL;
}

PyDoc_STRVAR(SockOp_close_doc,
             "close($self, /)\n--\n\n"
             "End the operation without a result, as a coroutine's close().");

static PyObject *
SockOp_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    SockOp *op = SOCKOP(self);
    if (op->phase == CL_SOCKOP_RUNNING) {
        sockop_refuse(op);
        return NULL;
    }
    if (op->phase == CL_SOCKOP_OVER) {
        Py_RETURN_NONE;
    }
    if (op->phase == CL_SOCKOP_AWAITING) {
        op->phase = CL_SOCKOP_RUNNING;
        PyObject *closed =
            PyObject_CallMethodNoArgs(op->resolver, op->state->str_close);
        sockop_end(op);
        return closed;
    }
    if (op->phase == CL_SOCKOP_WAITING && op->kind->abandon != NULL) {
        op->kind->abandon(op);
    }
    sockop_end(op);
    Py_RETURN_NONE;
}

static PyObject *
SockOp_await(PyObject *self)
{
    uint8_t phase = SOCKOP(self)->phase;
    if (phase == CL_SOCKOP_WAITING || phase == CL_SOCKOP_AWAITING) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
        return NULL;
    }
    return Py_NewRef(self);
}

/* -- attributes -------------------------------------------------------------------- */

static PyObject *
SockOp_get_name(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(SOCKOP(self)->kind->name);
}

static PyObject *
SockOp_get_qualname(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromFormat("Loop.%s", SOCKOP(self)->kind->name);
}

static PyObject *
SockOp_get_none(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_NONE;
}

static PyObject *
SockOp_get_running(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SOCKOP(self)->phase == CL_SOCKOP_RUNNING);
}

static PyObject *
SockOp_get_suspended(PyObject *self, void *Py_UNUSED(closure))
{
    uint8_t phase = SOCKOP(self)->phase;
    return PyBool_FromLong(phase == CL_SOCKOP_WAITING || phase == CL_SOCKOP_AWAITING);
}

static PyObject *
SockOp_get_await(PyObject *self, void *Py_UNUSED(closure))
{
    SockOp *op = SOCKOP(self);
    PyObject *awaited = op->resolver != NULL ? op->resolver : op->future;
    return Py_NewRef(awaited != NULL ? awaited : Py_None);
}

static PyObject *
SockOp_get_origin(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *origin = SOCKOP(self)->origin;
    return Py_NewRef(origin != NULL ? origin : Py_None);
}

static PyObject *
SockOp_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<coroutine object Loop.%s at %p>",
                                SOCKOP(self)->kind->name, self);
}

static PyGetSetDef sockop_getset[] = {
    {"__name__", SockOp_get_name, NULL, "Name of the loop's method.", NULL},
    {"__qualname__", SockOp_get_qualname, NULL, "Qualified name.", NULL},
    {"cr_await", SockOp_get_await, NULL, "What it waits for, or None.", NULL},
    {"cr_code", SockOp_get_none, NULL, "None: it is C.", NULL},
    {"cr_frame", SockOp_get_none, NULL, "None: it is C.", NULL},
    {"cr_origin", SockOp_get_origin, NULL, "Where it was made, in debug mode.", NULL},
    {"cr_running", SockOp_get_running, NULL, "Whether it is executing.", NULL},
    {"cr_suspended", SockOp_get_suspended, NULL, "Whether it is waiting.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef sockop_methods[] = {
    {"send", SockOp_send, METH_O, SockOp_send_doc},
    {"throw", (PyCFunction)(void (*)(void))SockOp_throw, METH_FASTCALL,
     SockOp_throw_doc},
    {"close", SockOp_close, METH_NOARGS, SockOp_close_doc},
    {NULL, NULL, 0, NULL},
};

/* -- life -------------------------------------------------------------------------- */

static int
SockOp_traverse(PyObject *self, visitproc visit, void *arg)
{
    SockOp *op = SOCKOP(self);
    CL_VISIT_TYPE(self);
    Py_VISIT(op->loop);
    Py_VISIT(op->sock);
    for (int i = 0; i < CL_SOCKOP_ARGS; i++) {
        Py_VISIT(op->args[i]);
    }
    Py_VISIT(op->view.obj);
    Py_VISIT(op->future);
    Py_VISIT(op->resolver);
    Py_VISIT(op->origin);
    return 0;
}

/* Not `loop`: an FdWatch of its poller may still have to be told. */
static int
SockOp_clear(PyObject *self)
{
    SockOp *op = SOCKOP(self);
    PyObject *future = op->future;
    op->future = NULL;
    op->phase = CL_SOCKOP_OVER;
    fdwatch_forget(&op->waiter);
    Py_CLEAR(op->resolver);
    Py_CLEAR(op->origin);
    sockop_release(op);
    Py_XDECREF(future);
    return 0;
}

static void
SockOp_finalize(PyObject *self)
{
    if (SOCKOP(self)->phase != CL_SOCKOP_CREATED) {
        return;
    }
    coroface_warn_unawaited(self, "Loop", SOCKOP(self)->kind->name);
}

static void
SockOp_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    SockOp *op = SOCKOP(self);
    if (CL_UNLIKELY(op->phase == CL_SOCKOP_CREATED)
        && PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    SockOp_clear(self);
    Py_CLEAR(op->loop);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* Where the operation is made, as cr_origin has it: ((file, line, function), ...), the
 * innermost first. NULL (no exception) when there is no Python code. */
static PyObject *
sockop_trace(void)
{
    PyObject *frames = PyList_New(0);
    PyObject *frame = Py_XNewRef((PyObject *)PyEval_GetFrame());
    for (int i = 0; i < CL_ORIGIN_FRAMES && frames != NULL && frame != NULL; i++) {
        PyObject *entry = NULL;
        PyObject *code = PyObject_GetAttrString(frame, "f_code");
        PyObject *line = PyObject_GetAttrString(frame, "f_lineno");
        PyObject *file =
            code != NULL ? PyObject_GetAttrString(code, "co_filename") : NULL;
        PyObject *name = code != NULL ? PyObject_GetAttrString(code, "co_name") : NULL;
        if (file != NULL && line != NULL && name != NULL) {
            entry = PyTuple_Pack(3, file, line, name);
        }
        if (entry == NULL || PyList_Append(frames, entry) < 0) {
            Py_CLEAR(frames);
        }
        Py_XDECREF(entry);
        Py_XDECREF(name);
        Py_XDECREF(file);
        Py_XDECREF(line);
        Py_XDECREF(code);
        PyObject *back = PyObject_GetAttrString(frame, "f_back");
        Py_SETREF(frame, back);
        if (frame == Py_None) {
            Py_CLEAR(frame);
        }
    }
    PyObject *origin = NULL;
    if (frames != NULL && PyList_GET_SIZE(frames) > 0) {
        origin = PyList_AsTuple(frames);
    }
    Py_XDECREF(frame);
    Py_XDECREF(frames);
    PyErr_Clear();
    return origin;
}

/* New ref: an operation of the kind on values[0], with the rest as its arguments. */
static PyObject *
sockop_new(Loop *loop, const SockOpKind *kind, PyObject *const *values, int count)
{
    State *state = loop->state;
    SockOp *op = PyObject_GC_New(SockOp, state->SockOpType);
    if (op == NULL) {
        return NULL;
    }
    op->state = state;
    op->kind = kind;
    op->loop = (Loop *)Py_NewRef((PyObject *)loop);
    op->sock = Py_NewRef(values[0]);
    for (int i = 0; i < CL_SOCKOP_ARGS; i++) {
        op->args[i] = i + 1 < count ? Py_XNewRef(values[i + 1]) : NULL;
    }
    op->view.obj = NULL;
    op->future = NULL;
    op->resolver = NULL;
    op->origin = NULL;
    fdwatch_init_waiter(&op->waiter);
    op->fd = -1;
    op->phase = CL_SOCKOP_CREATED;
    op->is_stream = false;
    op->size = 0;
    op->done = 0;
    op->file_fd = -1;
    op->file_count = 0;
    op->direct = pysock_check(state, values[0]);
    op->waiter.level = !op->direct;
    if (CL_UNLIKELY(loop->guard & CL_GUARD_DEBUG)) {
        op->origin = sockop_trace();
    }
    PyObject_GC_Track((PyObject *)op);
    return (PyObject *)op;
}

static PyType_Slot sockop_slots[] = {
    {Py_tp_doc, "A socket operation of the loop: a coroutine in C."},
    {Py_tp_dealloc, SockOp_dealloc},
    {Py_tp_traverse, SockOp_traverse},
    {Py_tp_clear, SockOp_clear},
    {Py_tp_finalize, SockOp_finalize},
    {Py_tp_repr, SockOp_repr},
    {Py_tp_iter, SockOp_await}, /* `yield from` in generators of the old style */
    {Py_tp_iternext, SockOp_iternext},
    {Py_tp_methods, sockop_methods},
    {Py_tp_getset, sockop_getset},
    {Py_am_await, SockOp_await},
#ifdef CL_HAVE_AM_SEND
    {Py_am_send, SockOp_am_send},
#endif
    {0, NULL},
};

PyType_Spec sockop_spec = {
    .name = "cloop._SockOp",
    .basicsize = sizeof(SockOp),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = sockop_slots,
};

/* -- the loop's methods ------------------------------------------------------------ */

/* Expands to Loop_NAME: parses, makes an operation of the kind. */
/* clang-format off */
#define CL_SOCK_METHOD(method, kind, positional, needed, ...)                          \
    static PyObject *Loop_##method(                                                    \
        PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)    \
    {                                                                                  \
        static const char *const names[] = {__VA_ARGS__, NULL};                        \
        static const ArgSpec spec = {                                                  \
            "Loop." #method, names, positional, needed, false, false};                 \
        PyObject *values[positional];                                                  \
        if (args_parse(&spec, args, nargs, kwnames, values) < 0) {                     \
            return NULL;                                                               \
        }                                                                              \
        return sockop_new((Loop *)self, &kind, values, positional);                    \
    }

/* clang-format on */
CL_SOCK_METHOD(sock_recv, sockop_recv, 2, 2, "sock", "n")
CL_SOCK_METHOD(sock_recv_into, sockop_recv_into, 2, 2, "sock", "buf")
CL_SOCK_METHOD(sock_recvfrom, sockop_recvfrom, 2, 2, "sock", "bufsize")
CL_SOCK_METHOD(sock_recvfrom_into, sockop_recvfrom_into, 3, 2, "sock", "buf", "nbytes")
CL_SOCK_METHOD(sock_sendall, sockop_sendall, 2, 2, "sock", "data")
CL_SOCK_METHOD(sock_sendto, sockop_sendto, 3, 3, "sock", "data", "address")
CL_SOCK_METHOD(sock_connect, sockop_connect, 2, 2, "sock", "address")
CL_SOCK_METHOD(sock_accept, sockop_accept, 1, 1, "sock")
CL_SOCK_METHOD(_sock_sendfile_native, sockop_sendfile, 4, 4, "sock", "file", "offset",
               "count")

#define CL_SOCK_DOC_END                                                                \
    " From the loop's\nthread only. See the asyncio documentation, section \"Working " \
    "with socket\nobjects directly\"."

PyDoc_STRVAR(
    Loop_sock_recv_doc,
    "sock_recv($self, sock, n)\n--\n\n"
    "Coroutine: receive at most n bytes from sock; b'' at the end of the stream.\n"
    "Raises what sock.recv() raises." CL_SOCK_DOC_END);
PyDoc_STRVAR(
    Loop_sock_recv_into_doc,
    "sock_recv_into($self, sock, buf)\n--\n\n"
    "Coroutine: receive from sock into the writable buffer buf; the number of bytes.\n"
    "Raises what sock.recv_into() raises." CL_SOCK_DOC_END);
PyDoc_STRVAR(
    Loop_sock_recvfrom_doc,
    "sock_recvfrom($self, sock, bufsize)\n--\n\n"
    "Coroutine: receive a datagram of at most bufsize bytes; (bytes, address).\n"
    "Raises what sock.recvfrom() raises." CL_SOCK_DOC_END);
PyDoc_STRVAR(
    Loop_sock_recvfrom_into_doc,
    "sock_recvfrom_into($self, sock, buf, nbytes=0)\n--\n\n"
    "Coroutine: receive a datagram of at most nbytes bytes (0: len(buf)) into buf;\n"
    "(number of bytes, address). Raises what sock.recvfrom_into()\n"
    "raises." CL_SOCK_DOC_END);
PyDoc_STRVAR(
    Loop_sock_sendall_doc,
    "sock_sendall($self, sock, data)\n--\n\n"
    "Coroutine: send all of data to sock; None. After an error there is no telling how\n"
    "much was sent. Raises what sock.send() raises." CL_SOCK_DOC_END);
PyDoc_STRVAR(Loop_sock_sendto_doc,
             "sock_sendto($self, sock, data, address)\n--\n\n"
             "Coroutine: send a datagram to address; the number of bytes sent.\n"
             "Raises what sock.sendto() raises." CL_SOCK_DOC_END);
PyDoc_STRVAR(
    Loop_sock_connect_doc,
    "sock_connect($self, sock, address)\n--\n\n"
    "Coroutine: connect sock to address; None. A host that is a name is resolved by\n"
    "getaddrinfo(). Raises OSError." CL_SOCK_DOC_END);
PyDoc_STRVAR(
    Loop_sock_accept_doc,
    "sock_accept($self, sock)\n--\n\n"
    "Coroutine: accept a connection; (conn, address), conn being a non-blocking socket.\n"
    "Raises OSError." CL_SOCK_DOC_END);
PyDoc_STRVAR(
    Loop__sock_sendfile_native_doc,
    "_sock_sendfile_native($self, sock, file, offset, count)\n--\n\n"
    "Coroutine: the part of sock_sendfile() that uses os.sendfile(); the number of\n"
    "bytes sent. Raises asyncio.SendfileNotAvailableError when it cannot be used for\n"
    "this file and socket." CL_SOCK_DOC_END);

/* clang-format off */
#define CL_SOCK_ENTRY(method)                                                          \
    {#method,                                                                          \
     (PyCFunction)(void (*)(void))Loop_##method,                                       \
     METH_FASTCALL | METH_KEYWORDS,                                                    \
     Loop_##method##_doc}
/* clang-format on */

PyMethodDef sockops_methods[] = {
    CL_SOCK_ENTRY(sock_recv),
    CL_SOCK_ENTRY(sock_recv_into),
    CL_SOCK_ENTRY(sock_recvfrom),
    CL_SOCK_ENTRY(sock_recvfrom_into),
    CL_SOCK_ENTRY(sock_sendall),
    CL_SOCK_ENTRY(sock_sendto),
    CL_SOCK_ENTRY(sock_connect),
    CL_SOCK_ENTRY(sock_accept),
    CL_SOCK_ENTRY(_sock_sendfile_native),
    {NULL, NULL, 0, NULL},
};
