/* The Python face that transports share: methods and attributes (see transport.h). Called
 * from Python, on the loop's thread. */
#include "../py/compat.h"

#include <netinet/in.h>

#include "../py/args.h"
#include "../py/err.h"
#include "../py/pysock.h"
#include "limits.h"
#include "transport.h"

static Transport *
transport_from(PyObject *self)
{
    return (Transport *)self;
}

/* -- extra info -------------------------------------------------------------------- */

/* New ref: the address as the socket's methods give it; NULL (no exception) when the
 * dict has it. */
static PyObject *
name_object(const ShortAddr *name)
{
    if (name->size == 0) {
        return NULL;
    }
    Addr addr;
    addr.length = name->size;
    memcpy(&addr.u, name->bytes, name->size);
    return addr_to_object(&addr);
}

/* What was written before is with the kernel on stock: it is sent now, for the socket may
 * be shut down next, or the connection be given up. 0 or -1. */
static int
flush_first(Transport *transport)
{
    bool may_hold = transport->loop != NULL && transport->conn_lost == 0
                    && transport->ops->flush != NULL && loop_is_ours(transport->loop);
    return may_hold ? transport->ops->flush(transport) : 0;
}

/* New ref: the TransportSocket, the same at each call. */
static PyObject *
shown_socket(Transport *transport)
{
    if (flush_first(transport) < 0) {
        return NULL;
    }
    if (transport->shown_sock == NULL) {
        PyObject *sock =
            transport->is_open
                ? Py_XNewRef(transport_socket(transport))
                : pysock_new_closed(transport->state, transport->sock_family,
                                    transport->ops->sock_type, transport->sock_proto);
        if (sock == NULL) {
            return NULL;
        }
        transport->shown_sock =
            PyObject_CallOneArg(transport->state->TransportSocket, sock);
        Py_DECREF(sock);
    }
    return Py_XNewRef(transport->shown_sock);
}

/* New ref, or NULL, without an exception when there is no such name. */
static PyObject *
find_extra(Transport *transport, PyObject *name)
{
    if (transport->extra != NULL) {
        PyObject *value = PyDict_GetItemWithError(transport->extra, name);
        if (value != NULL || PyErr_Occurred()) {
            return Py_XNewRef(value);
        }
    }
    if (!PyUnicode_Check(name)) {
        return NULL;
    }
    if (PyUnicode_CompareWithASCIIString(name, "peername") == 0) {
        return name_object(&transport->peername);
    }
    if (PyUnicode_CompareWithASCIIString(name, "socket") == 0
        && transport->ops->sock_type != 0) {
        return shown_socket(transport);
    }
    if (PyUnicode_CompareWithASCIIString(name, "sockname") == 0) {
        return name_object(&transport->sockname);
    }
    return NULL;
}

const char Transport_get_extra_info_doc[] =
    "get_extra_info($self, /, name, default=None)\n--\n\n"
    "What is known about the transport under a name: 'socket', 'sockname', 'peername'\n"
    "...; default when nothing is. See the asyncio documentation, section \"Base\n"
    "Transport\".";

PyObject *
Transport_get_extra_info(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    static const char *const names[] = {"name", "default", NULL};
    static const ArgSpec spec = {
        "BaseTransport.get_extra_info", names, 2, 1, false, false};
    PyObject *values[2];
    if (args_parse(&spec, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    PyObject *found = find_extra(transport_from(self), values[0]);
    if (found != NULL || PyErr_Occurred()) {
        return found;
    }
    return Py_NewRef(values[1] != NULL ? values[1] : Py_None);
}

/* From now on the dict has everything: the user may change it. */
static PyObject *
Transport_get__extra(PyObject *self, void *Py_UNUSED(closure))
{
    static const char *const names[] = {"socket", "sockname", "peername"};
    Transport *transport = transport_from(self);
    PyObject *extra =
        transport->extra != NULL ? Py_NewRef(transport->extra) : PyDict_New();
    for (size_t i = 0; extra != NULL && i < CL_COUNT_OF(names); i++) {
        PyObject *name = PyUnicode_FromString(names[i]);
        PyObject *value = name == NULL ? NULL : find_extra(transport, name);
        if ((value == NULL && PyErr_Occurred())
            || (value != NULL && PyDict_SetItem(extra, name, value) < 0)) {
            Py_CLEAR(extra);
        }
        Py_XDECREF(value);
        Py_XDECREF(name);
    }
    if (extra != NULL && transport->extra == NULL) {
        transport->extra = Py_NewRef(extra);
    }
    return extra;
}

static int
Transport_set__extra(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL || !PyDict_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "_extra must be a dict");
        return -1;
    }
    Py_XSETREF(transport_from(self)->extra, Py_NewRef(value));
    return 0;
}

/* -- reading ----------------------------------------------------------------------- */

const char Transport_is_reading_doc[] =
    "is_reading($self, /)\n--\n\n"
    "True unless paused or closing. See the asyncio documentation, section \"Read-only\n"
    "Transports\".";

PyObject *
Transport_is_reading(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Transport *transport = transport_from(self);
    return PyBool_FromLong(!transport->closing && !transport->paused);
}

const char Transport_pause_reading_doc[] =
    "pause_reading($self, /)\n--\n\n"
    "Hand nothing more to the protocol until resume_reading(). See the asyncio\n"
    "documentation, section \"Read-only Transports\".";

PyObject *
Transport_pause_reading(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Transport *transport = transport_from(self);
    if (!transport->closing && !transport->paused) {
        transport->paused = true;
        transport_want_less(transport, CL_READABLE);
        transport_log(transport, "%r pauses reading");
    }
    Py_RETURN_NONE;
}

const char Transport_resume_reading_doc[] =
    "resume_reading($self, /)\n--\n\n"
    "Read on after pause_reading(); the protocol hears it in the caller's context. See\n"
    "the asyncio documentation, section \"Read-only Transports\".";

PyObject *
Transport_resume_reading(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Transport *transport = transport_from(self);
    if (transport->closing || !transport->paused) {
        Py_RETURN_NONE;
    }
    PyObject *context = transport_new_context(transport);
    if (context == NULL) {
        return NULL;
    }
    transport->paused = false;
    Py_XSETREF(transport->read_context, context);
    if (transport_want_data(transport) < 0) {
        return NULL;
    }
    transport_log(transport, "%r resumes reading");
    Py_RETURN_NONE;
}

/* -- writing ----------------------------------------------------------------------- */

const char Transport_get_write_buffer_size_doc[] =
    "get_write_buffer_size($self, /)\n--\n\n"
    "How many bytes wait to be sent. See the asyncio documentation, section\n"
    "\"Write-only Transports\".";

PyObject *
Transport_get_write_buffer_size(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Transport *transport = transport_from(self);
    /* What is gathered is with the kernel on stock. */
    if (transport->ops->flush != NULL && transport->ops->flush(transport) < 0) {
        return NULL;
    }
    return PyLong_FromSize_t(transport->ops->count_queued(transport));
}

const char Transport_get_write_buffer_limits_doc[] =
    "get_write_buffer_limits($self, /)\n--\n\n"
    "The limits as a tuple (low, high), in bytes. See the asyncio documentation, section\n"
    "\"Write-only Transports\".";

PyObject *
Transport_get_write_buffer_limits(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Transport *transport = transport_from(self);
    if (transport->limits != NULL) {
        return Py_NewRef(transport->limits);
    }
    return Py_BuildValue("(ii)", CL_LOW_WATER, CL_HIGH_WATER);
}

const char Transport_set_write_buffer_limits_doc[] =
    "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
    "Above how many bytes the protocol is told to pause writing, and at how many to\n"
    "resume. ValueError unless high >= low >= 0. See the asyncio documentation, section\n"
    "\"Write-only Transports\".";

PyObject *
Transport_set_write_buffer_limits(PyObject *self, PyObject *const *args,
                                  Py_ssize_t nargs, PyObject *kwnames)
{
    Transport *transport = transport_from(self);
    if (limits_parse("_FlowControlMixin.set_write_buffer_limits", args, nargs, kwnames,
                     CL_HIGH_WATER, &transport->high_water, &transport->low_water,
                     &transport->limits)
        < 0) {
        return NULL;
    }
    /* What was written before is with the kernel on stock: no reason to pause. (Who is
     * paused for what waits for the turn's end only would never be resumed.) */
    if (transport->loop != NULL && transport->conn_lost == 0
        && transport->ops->flush != NULL && transport->ops->flush(transport) < 0) {
        return NULL;
    }
    if (transport->loop != NULL && transport_maybe_pause(transport) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- closing ----------------------------------------------------------------------- */

const char Transport_is_closing_doc[] =
    "is_closing($self, /)\n--\n\n"
    "True once closed or being closed. See the asyncio documentation, section \"Base\n"
    "Transport\".";

PyObject *
Transport_is_closing(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(transport_from(self)->closing);
}

const char Transport_close_doc[] =
    "close($self, /)\n--\n\n"
    "Send what is queued, then close; the protocol hears connection_lost(None). See the\n"
    "asyncio documentation, section \"Base Transport\".";

PyObject *
Transport_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return transport_close(transport_from(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

const char Transport_abort_doc[] =
    "abort($self, /)\n--\n\n"
    "Close at once; what the kernel has not taken yet is lost. The protocol hears\n"
    "connection_lost(None). See the asyncio documentation, section \"Write-only\n"
    "Transports\".";

PyObject *
Transport_abort(PyObject *self, PyObject *Py_UNUSED(unused))
{
    Transport *transport = transport_from(self);
    /* What was written before is with the kernel on stock. */
    if (transport->conn_lost == 0 && transport->ops->flush != NULL
        && transport->ops->flush(transport) < 0) {
        return NULL;
    }
    return transport_force_close(transport, Py_None) < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
Transport__force_close(PyObject *self, PyObject *exception)
{
    Transport *transport = transport_from(self);
    return flush_first(transport) < 0 || transport_force_close(transport, exception) < 0
               ? NULL
               : Py_NewRef(Py_None);
}

PyObject *
Transport__fatal_error(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames)
{
    static const char *const names[] = {"exc", "message", NULL};
    static const ArgSpec spec = {
        "_SelectorTransport._fatal_error", names, 2, 1, false, false};
    PyObject *values[2];
    if (args_parse(&spec, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    const char *message = "Fatal error on transport";
    if (values[1] != NULL) {
        message = PyUnicode_AsUTF8(values[1]);
        if (message == NULL) {
            return NULL;
        }
    }
    if (!PyExceptionInstance_Check(values[0])) {
        PyErr_SetString(PyExc_TypeError, "exc must be an exception");
        return NULL;
    }
    if (flush_first(transport_from(self)) < 0) {
        return NULL;
    }
    PyErr_SetRaisedException(Py_NewRef(values[0]));
    return transport_fail(transport_from(self), message) < 0 ? NULL
                                                             : Py_NewRef(Py_None);
}

PyObject *
Transport__call_connection_lost(PyObject *self, PyObject *exception)
{
    return transport_finish(transport_from(self), exception) < 0 ? NULL
                                                                 : Py_NewRef(Py_None);
}

/* -- the rest ---------------------------------------------------------------------- */

const char Transport_get_protocol_doc[] =
    "get_protocol($self, /)\n--\n\n"
    "The protocol; None once the connection is lost. See the asyncio documentation,\n"
    "section \"Base Transport\".";

PyObject *
Transport_get_protocol(PyObject *self, PyObject *Py_UNUSED(unused))
{
    PyObject *protocol = transport_from(self)->protocol;
    return Py_NewRef(protocol != NULL ? protocol : Py_None);
}

PyObject *
Transport_repr(PyObject *self)
{
    Transport *transport = transport_from(self);
    const char *name = strrchr(Py_TYPE(self)->tp_name, '.');
    name = name != NULL ? name + 1 : Py_TYPE(self)->tp_name;
    const char *state = !transport->is_open  ? " closed"
                        : transport->closing ? " closing"
                                             : "";
    if (transport->loop == NULL || transport->loop->closed) {
        return PyUnicode_FromFormat("<%s%s fd=%d>", name, state, transport->fd);
    }
    unsigned wanted = transport->watcher.wanted;
    return PyUnicode_FromFormat("<%s%s fd=%d read=%s write=<%s, bufsize=%zu>>", name,
                                state, transport->fd,
                                wanted & CL_READABLE ? "polling" : "idle",
                                wanted & CL_WRITABLE ? "polling" : "idle",
                                transport->ops->count_queued(transport));
}

static PyObject *
Transport_get__protocol(PyObject *self, void *Py_UNUSED(closure))
{
    return Transport_get_protocol(self, NULL);
}

static PyObject *
Transport_get__loop(PyObject *self, void *Py_UNUSED(closure))
{
    Loop *loop = transport_from(self)->loop;
    return Py_NewRef(loop != NULL ? (PyObject *)loop : Py_None);
}

static PyObject *
Transport_get__sock(PyObject *self, void *Py_UNUSED(closure))
{
    Transport *transport = transport_from(self);
    if (!transport->is_open || transport->ops->sock_type == 0) {
        Py_RETURN_NONE;
    }
    return Py_XNewRef(transport_socket(transport));
}

static PyObject *
Transport_get_limit(PyObject *self, void *closure)
{
    PyObject *limits = Transport_get_write_buffer_limits(self, NULL);
    if (limits == NULL) {
        return NULL;
    }
    PyObject *limit = Py_NewRef(PyTuple_GET_ITEM(limits, closure != NULL ? 1 : 0));
    Py_DECREF(limits);
    return limit;
}

PyGetSetDef transport_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_extra", Transport_get__extra, Transport_set__extra, NULL, NULL},
    {"_high_water", Transport_get_limit, NULL, NULL, "high"},
    {"_loop", Transport_get__loop, NULL, NULL, NULL},
    {"_low_water", Transport_get_limit, NULL, NULL, NULL},
    {"_protocol", Transport_get__protocol, NULL, NULL, NULL},
    {"_sock", Transport_get__sock, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
