/* Stream: the transport of a connected byte-stream socket, TCP or Unix.
 *
 * What comes in goes to a sink: a table of C functions, and `protocol`, the Python object
 * they belong to. Three sinks are here, for asyncio.Protocol, BufferedProtocol and asyncio's
 * own StreamReaderProtocol, whose reader is fed in C (reader.h); a layer between the
 * stream and the user (TLS) brings its own with stream_set_sink and never costs a Python
 * call per chunk.
 *
 * What goes out: the first write of a turn is tried at once; further ones of the same turn
 * are gathered and leave with one system call before the next poll, before the loop stops
 * and before the transport closes, or as soon as they exceed the high-water mark. Where the
 * last turn with writes had several, the first is gathered too: a server that writes a head
 * and a body does so each time, and they leave together. So it is while other callbacks are
 * ready and write in quick succession (loop_should_hold): their peers are woken once. */
#ifndef CL_IO_STREAM_H
#define CL_IO_STREAM_H

#include "../py/outq.h"
#include "transport.h"

#define CL_READ_SIZE ((size_t)256 * 1024)

typedef struct Stream Stream;

/* All run on the loop's thread, in the stream's read context (on_*), and may do anything
 * to the stream; the caller holds a ref to it. They return 0, or -1 when an exception must
 * leave the loop: what else goes wrong they hand to transport_fail themselves. */
typedef struct StreamSink {
    /* Bytes came; they stand in the loop's buffer and are gone after the call. */
    int (*on_data)(Stream *stream, const char *data, size_t size);
    /* Many bytes came and were read straight into an object, which may be kept. NULL:
     * on_data is called for all. */
    int (*on_bytes)(Stream *stream, PyObject *bytes);
    /* Not NULL: used instead of the two above. Gives the memory to read into (released by
     * the stream before on_buffer). 0, 1 when the connection has failed meanwhile. */
    int (*get_buffer)(Stream *stream, Py_buffer *view);
    int (*on_buffer)(Stream *stream, size_t size);
    /* The peer will send no more. 1: stay half-open (or it was dealt with), 0: close. */
    int (*on_eof)(Stream *stream);
    /* As TransportOps.tell_*: 0, or -1 with whatever was raised. */
    int (*on_lost)(Stream *stream, PyObject *exception);
    int (*on_pause)(Stream *stream);
    int (*on_resume)(Stream *stream);
    /* Hands on what it has held back: stream_flush was called. NULL: nothing ever is. */
    int (*on_flush)(Stream *stream);
} StreamSink;

/* An event looks at the first line of it beside the transport's (see transport.h). */
struct Stream {
    Transport transport;
    const StreamSink *sink;
    PyObject *empty_waiter;   /* a future: sendfile waits for the queue to run dry */
    unsigned sent_flush;      /* Loop.flushes when something was sent: more may wait */
    uint8_t turn_writes : 2;  /* of the last turn that had any; 2: two or more */
    uint8_t writer_tries : 2; /* so many writes may be a client's writer, not native */
    bool blocked : 1;         /* the kernel takes no more now: waiting to write */
    bool large : 1;           /* the last arrival was a large one: expect another */
    bool eof;                 /* write_eof was called */
    uint8_t quiet_events;     /* so many filled buffers are taken for all there is */
    uint8_t quiet_limit;      /* what quiet_events began with */
    OutQueue out;
    BeforePoll flush_soon; /* in loop->before_poll, with a ref, while the queue waits */
};

static inline Stream *
stream_from(Transport *transport)
{
    return (Stream *)transport;
}

extern const StreamSink stream_protocol_sink;
extern const StreamSink stream_buffered_sink;
extern const StreamSink stream_reader_sink;

/* protocol hears everything from now on, through sink. Holds a ref to protocol. */
void stream_set_sink(Stream *stream, PyObject *protocol, const StreamSink *sink);

/* The sink of a user's protocol: by its type. 0 or -1. */
int stream_set_protocol(Stream *stream, PyObject *protocol);

/* Writes, as transport.write does once its arguments are known to be good. view is
 * owner's buffer, size > 0. 0, or -1 when an exception must leave the loop. */
int stream_write(Stream *stream, PyObject *owner, const Py_buffer *view);

/* transport.write(data) of a StreamTransport: New ref, None; or NULL. */
PyObject *stream_write_object(PyObject *self, PyObject *data);

/* The same for memory that is the caller's; copied where it cannot leave at once. */
int stream_write_raw(Stream *stream, const char *data, size_t size);

/* write_eof(). 0, or -1 (OSError of shutdown). */
int stream_write_eof(Stream *stream);

/* New ref: the transport of an accepted connection, whose connection_made is on the ring.
 * fd is its own from now on, on failure too. All of it happens in context, or if that is
 * NULL in copies of the current one. */
PyObject *stream_accept(Loop *loop, int fd, const Addr *peer, int proto,
                        PyObject *protocol, PyObject *server, PyObject *context);

/* -- between stream.c and stream_face.c -------------------------------------------- */

/* Makes a zeroed object a closed stream. */
void stream_prepare(Stream *stream, State *state);

/* Opens a prepared stream. fd is its own from now on, on failure too. 0 or -1. */
int stream_init(Stream *stream, Loop *loop, int fd, PyObject *protocol,
                PyObject *extra);

/* Schedules connection_made, the start of reading, and waiter's result (NULL: none). */
int stream_schedule_start(Stream *stream, PyObject *server, PyObject *waiter);

/* Reading starts unless the protocol has paused or closed. 0 or -1. */
int stream_begin(Stream *stream);

/* What is to be done when the socket is readable, writable. 0, or -1 when an exception
 * must leave the loop. */
int stream_read_ready(Stream *stream);
int stream_write_ready(Stream *stream);

/* Queues further pieces of a writelines; then sends. pieces: a list or tuple. */
int stream_writelines(Stream *stream, PyObject *pieces);

/* Sends what is gathered. 0, or -1 when an exception must leave the loop. */
int stream_flush(Transport *transport);

/* Constants of the class, once the type is made. 0 or -1. */
int stream_complete_type(State *state);

extern PyType_Spec stream_spec;

#endif
