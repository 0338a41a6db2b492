/* Transport: what all transports share. A struct that streams, datagrams and pipes begin
 * with; flow control, closing, the protocol's last call, extra info, and the Python face
 * of these.
 *
 * The types are subclasses of asyncio.Transport, DatagramTransport, ReadTransport or
 * WriteTransport, whose instances have one slot and no more (`base_extra`, which stays
 * empty: ours overrides _extra).
 *
 * Life: made with an open descriptor (`fd`) that it owns, by number alone or with the
 * Python socket that has it. The first of close, abort, end of file or an error sets
 * `closing`; `conn_lost` counts from the moment connection_lost is on its way; once that
 * has run the transport is `finished`: descriptor closed; loop, protocol and server let
 * go.
 *
 * While the watcher waits for something (`wanted` != 0) the poller keeps the transport
 * alive: one reference, `held`. One with nothing to wait for lives by its users alone and
 * warns when it dies unclosed.
 *
 * Functions that can run Python code expect the caller to hold a reference. */
#ifndef CL_IO_TRANSPORT_H
#define CL_IO_TRANSPORT_H

#include "../core/loop.h"
#include "../py/addr.h"

#define CL_HIGH_WATER ((size_t)64 * 1024)
#define CL_LOW_WATER ((size_t)16 * 1024)

typedef struct Transport Transport;

typedef struct TransportOps {
    int sock_type; /* SOCK_STREAM ...; 0: no socket */
    size_t (*count_queued)(Transport *transport);
    /* Forgets what is queued to be written. Runs no Python code. */
    void (*drop_queue)(Transport *transport);
    /* Sends now what was held back only to go out with more. Errors end the connection.
     * 0, or -1 when an exception must leave the loop. NULL: nothing is ever held back. */
    int (*flush)(Transport *transport);
    /* The same before the connection is given up: what the kernel takes at once leaves,
     * errors are nobody's concern any more. Runs no Python code. NULL: as flush. */
    void (*send_rest)(Transport *transport);
    /* connection_lost, pause_writing and resume_writing of who is above. 0, or -1 with
     * what it raised. exception is None or an exception. */
    int (*tell_lost)(Transport *transport, PyObject *exception);
    int (*tell_pause)(Transport *transport);
    int (*tell_resume)(Transport *transport);
    /* The descriptor is closed and the last call was made. NULL: nothing to do.
     * 0 or -1. */
    int (*on_finished)(Transport *transport);
    /* Before the descriptor is watched, when somebody is watched under its number: puts
     * another one into `fd`. NULL: whoever is there is a leftover and has to go.
     * 0 or -1. */
    int (*own_number)(Transport *transport);
} TransportOps;

/* An Internet address as the kernel gave it; size 0: ask `extra`. */
typedef struct ShortAddr {
    uint8_t size;
    unsigned char bytes[sizeof(struct sockaddr_in6)];
} ShortAddr;

/* What an event looks at stands in front, within two cache lines: among ten thousand
 * connections each line is one of the third-level cache. */
struct Transport {
    PyObject_HEAD
    PyObject *base_extra; /* asyncio.BaseTransport's slot; NULL */
    PyObject *dict;
    Loop *loop;             /* NULL once finished */
    PyObject *protocol;     /* NULL once finished (reads as None) */
    PyObject *read_context; /* in which the protocol hears what comes; or NULL */
    Watcher watcher;
    State *state;
    PyObject *write_context; /* ... and that it can be written again; or NULL */
    int fd;                  /* stays after the close, for repr */
    unsigned conn_lost; /* connection_lost was scheduled; later: writes after that */
    bool is_open;       /* fd is ours and open */
    bool held;
    bool started; /* reading has begun: connection_made was called */
    bool paused;
    bool closing;
    bool finished;
    bool protocol_paused;
    bool at_eof; /* the peer sends no more, and we stay half-open */
    const TransportOps *ops;
    PyObject *weakrefs;
    PyObject *sock; /* what owns the descriptor; NULL: fd itself does, or finished */
    PyObject *shown_sock; /* get_extra_info('socket'), or NULL: not asked for yet */
    PyObject *extra;      /* dict, or NULL: nothing but what the other fields say */
    PyObject *limits;     /* (low, high) as the user gave them, or NULL: the default */
    PyObject *server;     /* has been told of us (_attach); or NULL */
    PyObject *context;    /* in which all of it happens, from 3.15 on; or NULL */
    size_t high_water;
    size_t low_water;
    uint16_t sock_family;
    uint16_t sock_proto; /* 0 until the close when sock is the user's */
    ShortAddr sockname;
    ShortAddr peername;
};

/* -- making and unmaking (for the types) ------------------------------------------- */

/* 0, or -1 with an ImportError when asyncio's transports are not what this header
 * says. base: the class to be extended. */
int transport_check_base(PyObject *base);

/* Makes a zeroed transport a closed one, which it is until transport_init. */
void transport_prepare(Transport *transport, State *state, const TransportOps *ops,
                       const WatcherOps *watcher_ops);

/* Opens a prepared transport: for fd, which it owns from now on (also when this fails).
 * extra (a dict or NULL) and protocol get a ref of their own. 0 or -1. */
int transport_init(Transport *transport, Loop *loop, int fd, PyObject *protocol,
                   PyObject *extra);

/* Borrowed from the transport: its socket.socket, made now when it has none yet; NULL with
 * an exception. Only while is_open. */
PyObject *transport_socket(Transport *transport);

/* Takes note of our and the peer's address: peer as accept gave it, or NULL: ask the
 * kernel. Sets sock_family. 0 or -1. */
int transport_set_names(Transport *transport, const Addr *peer);

/* Tells the server of this connection (Server._attach). 0 or -1. */
int transport_attach(Transport *transport, PyObject *server);

/* For tp_traverse, tp_clear, tp_finalize and tp_dealloc of the types. */
int transport_traverse(Transport *transport, visitproc visit, void *arg);
void transport_clear(Transport *transport);
void transport_finalize(PyObject *self);

/* For WatcherOps. */
void transport_on_loop_close(Watcher *watcher);
int transport_on_traverse(Watcher *watcher, int (*visit)(void *, void *), void *arg);
void transport_on_evicted(Watcher *watcher);
void *transport_on_describe(Watcher *watcher);

#define CL_TRANSPORT_WATCHER_OPS(function)                                             \
    {                                                                                  \
        .on_ready = (function), .on_loop_close = transport_on_loop_close,              \
        .traverse = transport_on_traverse, .on_evicted = transport_on_evicted,         \
        .describe = transport_on_describe,                                             \
    }

/* RuntimeError "File descriptor N is used by transport T" when one that is not closing
 * stands on fd. shown: what the user gave. 0 or -1. */
int transport_check_unused(Loop *loop, int fd, PyObject *shown);

/* -- waiting ----------------------------------------------------------------------- */

/* Sets what the watcher waits for. 0 or -1 (loop closed, no memory in the kernel). */
int transport_want(Transport *transport, unsigned wanted);

static inline int
transport_want_more(Transport *transport, unsigned direction)
{
    return transport_want(transport, transport->watcher.wanted | direction);
}

/* Never fails. */
static inline void
transport_want_less(Transport *transport, unsigned direction)
{
    if (transport->watcher.wanted & direction) {
        (void)transport_want(transport, transport->watcher.wanted & ~direction);
    }
}

/* Leaves the poller, so that a sock_* operation can wait on the descriptor; the next
 * transport_want comes back. The caller holds a ref. */
void transport_leave_poller(Transport *transport);

/* Waits for data unless paused, closing or not started yet. 0 or -1. */
int transport_want_data(Transport *transport);

/* -- flow control ------------------------------------------------------------------ */

/* After the queue has grown, after it has shrunk. 0, or -1 when an exception must leave
 * the loop; what else the protocol raises is reported. */
int transport_maybe_pause(Transport *transport);
int transport_maybe_resume(Transport *transport);

/* TransportOps.tell_*: the methods of transport->protocol. */
int transport_tell_lost(Transport *transport, PyObject *exception);
int transport_tell_pause(Transport *transport);
int transport_tell_resume(Transport *transport);

/* -- the end ----------------------------------------------------------------------- */

/* close(): no more reading; connection_lost(None) once all is written. 0 or -1. */
int transport_close(Transport *transport);

/* Drops the queue; connection_lost(exception) is on its way. Nothing happens when it was
 * already. exception is None or an exception. 0, or -1 (loop closed). */
int transport_force_close(Transport *transport, PyObject *exception);

/* The raised exception ends the connection; it is reported unless it is an OSError, and
 * raised no more. 0, or -1 when it must leave the loop (it is raised still then). */
int transport_fail(Transport *transport, const char *message);

/* Calls connection_lost now, closes the descriptor and lets go of everything. Once.
 * 0, or -1 with what connection_lost raised. */
int transport_finish(Transport *transport, PyObject *exception);

/* Schedules callback(arg) as loop.call_soon does. arg may be NULL. 0 or -1. */
int transport_call_soon(Transport *transport, PyObject *callback, PyObject *arg);

/* -- events ------------------------------------------------------------------------ */

/* The work of an event: 0, or -1 when an exception must leave the loop. */
typedef int (*TransportWork)(Transport *transport);

/* New ref: the context in which what begins now goes on. */
PyObject *transport_new_context(Transport *transport);

/* Does work in context (NULL: in whichever is current). 0 or -1. */
int transport_call_in_context(Transport *transport, PyObject *context,
                              TransportWork work);

/* Does work because the descriptor is ready in `direction`, which the watcher waits
 * for. In debug mode a Handle does it, by the method `name`, as on stock, so that a slow
 * one is logged under its name. 0 or -1. */
int transport_take_event(Transport *transport, unsigned direction, PyObject *name,
                         PyObject *context, TransportWork work);

/* Puts on the loop what follows a transport's making, in this order: connection_made,
 * then _start_reading (or `begin` straight from the ring), then the waiter's result
 * (NULL or None: no waiter). server (NULL or None: none) is told first. 0 or -1. */
int transport_schedule_start(Transport *transport, PyObject *server, PyObject *waiter,
                             RingRun begin);

/* -- telling ----------------------------------------------------------------------- */

static inline bool
transport_is_debug(const Transport *transport)
{
    return transport->loop != NULL && transport->loop->guard & CL_GUARD_DEBUG;
}

/* logger.debug(format, self) in debug mode. Keeps a raised exception, raises none. */
void transport_log(Transport *transport, const char *format);

/* Reports the raised exception as a Handle whose callback raised it: "Exception in
 * callback TYPE.NAME()". For what no Python-visible handle runs; the transport may be
 * finished. 0, or -1 when it must leave the loop. */
int transport_report_callback(Transport *transport, Loop *loop, const char *name);

/* What stock's `if not data` does for bytes-like data that gives no buffer (a BufferError
 * or the like is raised): 1 and that stays, 0 and it is cleared: there is nothing in it,
 * or -1: it is a released memoryview, which is the caller's to hear. */
int transport_check_data(PyObject *data);

/* "logger.warning('socket.send() raised exception.')" from the fifth write after the
 * connection was lost on. 0 or -1. */
int transport_count_lost_write(Transport *transport);

/* -- the Python face --------------------------------------------------------------- */

PyObject *Transport_abort(PyObject *self, PyObject *unused);
PyObject *Transport_close(PyObject *self, PyObject *unused);
PyObject *Transport_is_closing(PyObject *self, PyObject *unused);
PyObject *Transport_is_reading(PyObject *self, PyObject *unused);
PyObject *Transport_pause_reading(PyObject *self, PyObject *unused);
PyObject *Transport_resume_reading(PyObject *self, PyObject *unused);
PyObject *Transport_get_protocol(PyObject *self, PyObject *unused);
PyObject *Transport_get_extra_info(PyObject *self, PyObject *const *args,
                                   Py_ssize_t nargs, PyObject *kwnames);
PyObject *Transport_get_write_buffer_size(PyObject *self, PyObject *unused);
PyObject *Transport_get_write_buffer_limits(PyObject *self, PyObject *unused);
PyObject *Transport_set_write_buffer_limits(PyObject *self, PyObject *const *args,
                                            Py_ssize_t nargs, PyObject *kwnames);
PyObject *Transport__call_connection_lost(PyObject *self, PyObject *exception);
PyObject *Transport__fatal_error(PyObject *self, PyObject *const *args,
                                 Py_ssize_t nargs, PyObject *kwnames);
PyObject *Transport__force_close(PyObject *self, PyObject *exception);
PyObject *Transport_repr(PyObject *self);

extern const char Transport_abort_doc[];
extern const char Transport_close_doc[];
extern const char Transport_is_closing_doc[];
extern const char Transport_is_reading_doc[];
extern const char Transport_pause_reading_doc[];
extern const char Transport_resume_reading_doc[];
extern const char Transport_get_protocol_doc[];
extern const char Transport_get_extra_info_doc[];
extern const char Transport_get_write_buffer_size_doc[];
extern const char Transport_get_write_buffer_limits_doc[];
extern const char Transport_set_write_buffer_limits_doc[];

#define CL_KEYWORDS(function) (PyCFunction)(void (*)(void))(function)

/* For every transport. */
#define CL_TRANSPORT_METHODS                                                           \
    {"close", Transport_close, METH_NOARGS, Transport_close_doc},                      \
        {"is_closing", Transport_is_closing, METH_NOARGS, Transport_is_closing_doc},   \
        {"get_protocol", Transport_get_protocol, METH_NOARGS,                          \
         Transport_get_protocol_doc},                                                  \
        {"get_extra_info", CL_KEYWORDS(Transport_get_extra_info),                      \
         METH_FASTCALL | METH_KEYWORDS, Transport_get_extra_info_doc},                 \
        {"_call_connection_lost", Transport__call_connection_lost, METH_O, NULL},      \
        {"_fatal_error", CL_KEYWORDS(Transport__fatal_error),                          \
         METH_FASTCALL | METH_KEYWORDS, NULL},                                         \
    {                                                                                  \
        "_force_close", Transport__force_close, METH_O, NULL                           \
    }

/* For those that are read. */
#define CL_TRANSPORT_READ_METHODS                                                      \
    {"is_reading", Transport_is_reading, METH_NOARGS, Transport_is_reading_doc},       \
        {"pause_reading", Transport_pause_reading, METH_NOARGS,                        \
         Transport_pause_reading_doc},                                                 \
    {                                                                                  \
        "resume_reading", Transport_resume_reading, METH_NOARGS,                       \
            Transport_resume_reading_doc                                               \
    }

/* For those that are written to. */
#define CL_TRANSPORT_WRITE_METHODS                                                     \
    {"abort", Transport_abort, METH_NOARGS, Transport_abort_doc},                      \
        {"get_write_buffer_size", Transport_get_write_buffer_size, METH_NOARGS,        \
         Transport_get_write_buffer_size_doc},                                         \
        {"get_write_buffer_limits", Transport_get_write_buffer_limits, METH_NOARGS,    \
         Transport_get_write_buffer_limits_doc},                                       \
    {                                                                                  \
        "set_write_buffer_limits", CL_KEYWORDS(Transport_set_write_buffer_limits),     \
            METH_FASTCALL | METH_KEYWORDS, Transport_set_write_buffer_limits_doc       \
    }

/* The attributes of stock's that programs look at (transport_face.c). */
extern PyGetSetDef transport_getset[];

#define CL_TRANSPORT_MEMBERS                                                           \
    {"__dictoffset__", T_PYSSIZET, offsetof(Transport, dict), READONLY, NULL},         \
        {"__weaklistoffset__", T_PYSSIZET, offsetof(Transport, weakrefs), READONLY,    \
         NULL},                                                                        \
        {"_closing", T_BOOL, offsetof(Transport, closing), READONLY, NULL},            \
        {"_conn_lost", T_UINT, offsetof(Transport, conn_lost), READONLY, NULL},        \
        {"_paused", T_BOOL, offsetof(Transport, paused), READONLY, NULL},              \
        {"_protocol_paused", T_BOOL, offsetof(Transport, protocol_paused), READONLY,   \
         NULL},                                                                        \
        {"_server", T_OBJECT, offsetof(Transport, server), READONLY, NULL},            \
    {                                                                                  \
        "_sock_fd", T_INT, offsetof(Transport, fd), READONLY, NULL                     \
    }

#endif
