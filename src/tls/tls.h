/* Tls: one TLS connection. It is the protocol of the transport below and the transport of
 * the protocol above (what stock splits into SSLProtocol and _SSLProtocolTransport).
 *
 *     the user's protocol      data_received ...          \
 *     Tls, engine.c, flow.c    states, flow control        } one object
 *     TlsWay                   OpenSSL, one of two ways   /
 *     Stream (C calls), or any transport (Python calls): another Tls, somebody's own
 *
 * The engine asks OpenSSL through TlsWay, of which there are two. `direct` takes the SSL *
 * out of the object that SSLContext.wrap_bio made and gives it a BIO of ours, which reads
 * what has come in where it stands and collects what is to go out. `portable` calls the
 * methods of that object, and ssl.MemoryBIO. Handshake and shutdown, where callbacks of
 * the user's context run, go through the Python object in both.
 *
 * All functions run on the loop's thread, with the GIL held (but for the BIO's, see
 * direct.c), may run Python code, and expect the caller to hold a ref. */
#ifndef CL_TLS_TLS_H
#define CL_TLS_TLS_H

#include "../io/stream.h"

/* What one record carries, at most. */
#define CL_RECORD_SIZE (16 * 1024)

#define CL_TLS_READ_HIGH (256 * 1024)
#define CL_TLS_WRITE_HIGH (512 * 1024)

/* Drawn at the head of engine.c. */
typedef enum TlsPhase {
    CL_TLS_UNWRAPPED,
    CL_TLS_HANDSHAKE,
    CL_TLS_WRAPPED,
    CL_TLS_FLUSHING,
    CL_TLS_SHUTDOWN,
} TlsPhase;

/* What the user's protocol has been told last. */
typedef enum TlsTold {
    CL_TLS_TOLD_NOTHING,
    CL_TLS_TOLD_MADE,
    CL_TLS_TOLD_EOF,
    CL_TLS_TOLD_LOST,
} TlsTold;

/* What a question to OpenSSL gave. */
typedef enum TlsAnswer {
    CL_TLS_FAILED = -1, /* with an exception */
    CL_TLS_DONE,
    CL_TLS_AGAIN, /* after the peer has sent more */
    CL_TLS_END,   /* the peer has sent close_notify */
} TlsAnswer;

typedef struct Tls Tls;

typedef struct TlsWay {
    const char *name;
    /* So much cleartext is encrypted before ciphertext is sent. */
    size_t chunk;
    /* Once, when sslobj and both MemoryBIOs stand in tls. 0 or -1. */
    int (*open)(Tls *tls);
    /* Lets go of what the way has; never fails, runs no Python code of the user's. */
    void (*close)(Tls *tls);
    /* How many bytes of ciphertext wait to be decrypted. */
    size_t (*count_in)(Tls *tls);
    /* How many bytes decryption can give, at a guess; 0: surely none. */
    size_t (*expect)(Tls *tls);
    /* size > 0. DONE: *got > 0. */
    TlsAnswer (*read)(Tls *tls, char *data, size_t size, size_t *got);
    /* size > 0. DONE: *taken > 0; AGAIN: nothing was taken, ask with the same again. */
    TlsAnswer (*write)(Tls *tls, const char *data, size_t size, size_t *taken);
    /* How many bytes of ciphertext wait to be sent. */
    size_t (*count_out)(Tls *tls);
    /* Gives them to the transport below. 0 or -1. */
    int (*send)(Tls *tls);
    /* Forgets them, and what came in. */
    void (*drop)(Tls *tls);
} TlsWay;

extern const TlsWay tls_direct;
extern const TlsWay tls_portable;

struct Tls {
    PyObject_HEAD
    PyObject *base_slots[5]; /* asyncio's transports._FlowControlMixin; NULL */
    PyObject *dict;
    PyObject *weakrefs;
    State *state;
    Loop *loop;         /* NULL: not initialised */
    PyObject *protocol; /* NULL once the connection is lost (reads as None) */
    PyObject *lower;    /* the transport below; NULL before connection_made */
    Stream *stream;     /* `lower`, when it is one and not lost; else NULL */
    PyObject *context;  /* the SSLContext */
    PyObject *sslobj;   /* the SSLObject of wrap_bio */
    PyObject *inner;    /* its _ssl._SSLSocket; sslobj if that is a subclass's */
    PyObject *incoming; /* MemoryBIOs; NULL with tls_direct */
    PyObject *outgoing;
    PyObject *waiter;            /* a future: the handshake is over; or NULL */
    PyObject *handshake_timeout; /* numbers, as given */
    PyObject *shutdown_timeout;
    PyObject *timer;  /* TimerHandle of handshake or shutdown, or NULL */
    PyObject *extra;  /* dict of what was asked for, or NULL */
    PyObject *limits; /* (low, high) of writing as given, or NULL: the default */
    PyObject *read_limits;

    const TlsWay *way;
    void *ssl;           /* tls_direct's: SSL * */
    void *bio;           /* BIO *, ours; holds a ref */
    const char *in_data; /* what has come in and is not read yet */
    size_t in_size;
    size_t in_overhead; /* what of the last arrival was not cleartext: a guess */
    char *in_kept;      /* its memory when it is ours */
    char *out_data;
    size_t out_size;
    size_t out_capacity;
    size_t out_hint; /* so much is about to be written */

    OutQueue backlog; /* cleartext that was written */
    size_t uncounted; /* so much of it, at its head, is not the user's to wait for */
    BeforePoll
        flush_soon;    /* in loop->before_poll while `gathering`; holds a ref then */
    size_t high_water; /* of writing */
    size_t low_water;
    size_t read_high_water;
    size_t read_low_water;
    double started; /* loop.time() at the handshake's start, in debug mode */
    unsigned conn_lost;
    uint8_t phase;        /* TlsPhase */
    uint8_t writer_tries; /* as Stream's */
    uint8_t turn_writes;  /* as Stream's */
    uint8_t told;         /* TlsTold */
    bool buffered;        /* protocol is a BufferedProtocol */
    bool let_go;          /* closed twice: nothing more is wanted once finished */
    bool closed;          /* _closed: close, abort or the loss of the connection */
    bool finished;        /* connection_lost came from below */
    bool eof;             /* eof_received came from below */
    bool gathering;       /* something was sent in this turn: the rest may wait */
    bool reading_paused;  /* by the user */
    bool lower_paused;    /* reading from below is paused, by us */
    bool writing_paused;  /* the user's protocol was told pause_writing */
    bool sending_paused;  /* we were told pause_writing from below */
    bool out_of_memory;   /* in a BIO function */
    bool established;     /* the handshake has succeeded */
    bool busy;            /* OpenSSL is being asked: writes join the backlog */
};

/* Empties the backlog. */
static inline void
tls_drop_backlog(Tls *tls)
{
    outq_clear(&tls->backlog);
    tls->uncounted = 0;
}

/* Clears memory that held cleartext, though nobody reads it any more. */
static inline void
tls_wipe(void *data, size_t size)
{
    memset(data, 0, size);
    __asm__ volatile("" : : "r"(data) : "memory");
}

static inline Tls *
tls_of(PyObject *self)
{
    return (Tls *)self;
}

/* -- engine.c: what comes from below, and the states ------------------------------- */

/* The protocol's methods as the transport below calls them. 0 or -1. */
int tls_connection_made(Tls *tls, PyObject *lower);
int tls_connection_lost(Tls *tls, PyObject *exception);
int tls_data_received(Tls *tls, const char *data, size_t size);
int tls_eof_received(Tls *tls, bool *keep_open);

/* The timers. 0 or -1. */
int tls_check_handshake_timeout(Tls *tls);
int tls_check_shutdown_timeout(Tls *tls);

/* Lets go of what belongs to OpenSSL. Once finished. */
void tls_release(Tls *tls);

/* close(), abort() or _force_close(exception). 0 or -1. */
int tls_start_shutdown(Tls *tls);
int tls_abort(Tls *tls, PyObject *exception);

/* The peer has ended the stream: eof_received, once. 0 or -1. */
int tls_tell_eof(Tls *tls);

/* The raised exception ends the connection; it is reported unless it is an OSError, and
 * raised no more. 0, or -1 with what must go on (BaseException, or of a handler). */
int tls_fail(Tls *tls, const char *message);

/* Goes on after the user's pause, at once or in the next turn. 0 or -1. */
int tls_resume(Tls *tls);
int tls_resume_soon(Tls *tls);

/* -- flow.c: bytes up and down ----------------------------------------------------- */

/* Decrypts what has come and gives it to the user's protocol. What fails ends the
 * connection. 0, or -1 with what must go on. */
int tls_read(Tls *tls);

/* write(): owner's buffer. 0 or -1. */
int tls_write(Tls *tls, PyObject *owner, const Py_buffer *view);

/* writelines(): pieces, a list. 0 or -1. */
int tls_writelines(Tls *tls, PyObject *pieces);

/* Encrypts the backlog and sends it, all of it or (not `all`) until the transport below
 * takes no more. 0 or -1. */
int tls_write_backlog(Tls *tls, bool all);

/* Sends what OpenSSL has to say unless the transport below is full; then pauses or
 * resumes the user's writing. 0 or -1. */
int tls_send(Tls *tls);

/* Reads and drops what the peer still sends. DONE: nothing is left, END, or FAILED. */
TlsAnswer tls_discard(Tls *tls);

/* Pauses or resumes the user's writing. 0 or -1. */
int tls_control_writing(Tls *tls);
/* ... or reading from the transport below. 0 or -1. */
int tls_control_reading(Tls *tls);

size_t tls_count_queued(Tls *tls);

/* A write after the end: counted, warned about from the fifth on. 0 or -1. */
int tls_count_lost_write(Tls *tls);

/* What is gathered leaves now. 0 or -1. */
int tls_flush(Tls *tls);

/* The same before the connection is given up: other errors are nobody's concern any more.
 * 0, or -1 when an exception must leave the loop. */
int tls_flush_last(Tls *tls);

/* BeforePoll.run of Tls.flush_soon. */
int tls_flush_turn(BeforePoll *todo);

/* -- arrival.c: ciphertext that waits to be decrypted ------------------------------ */

/* Bytes that came from below, which stand where they are until arrival_settle. 0 or -1. */
int arrival_add(Tls *tls, const char *data, size_t size);

/* Takes a copy of what is left of them. 0 or -1. */
int arrival_settle(Tls *tls);

/* Moves at most size of them into data. How many. */
size_t arrival_take(Tls *tls, char *data, size_t size);

void arrival_drop(Tls *tls);

/* -- lower.c: the transport below -------------------------------------------------- */

/* True when it told of its loss before it was ours, as far as one can know. */
bool lower_is_lost(const Tls *tls);

/* All 0 or -1. exception is None or one. */
int lower_attach(Tls *tls, PyObject *lower);
int lower_write(Tls *tls, const char *data, size_t size);
int lower_write_bytes(Tls *tls, PyObject *bytes);
int lower_close_soon(Tls *tls);
int lower_force_close(Tls *tls, PyObject *exception);
int lower_abort(Tls *tls);
int lower_pause_reading(Tls *tls);
int lower_resume_reading(Tls *tls);

/* -- extra.c: methods -------------------------------------------------------------- */

PyObject *SSLTransport_get_extra_info(PyObject *self, PyObject *const *args,
                                      Py_ssize_t nargs, PyObject *kwnames);
PyObject *SSLTransport_get__extra(PyObject *self, void *closure);
extern const char SSLTransport_get_extra_info_doc[];

/* -- the rest ---------------------------------------------------------------------- */

/* Protocol by type. 0 or -1. */
int tls_set_protocol(Tls *tls, PyObject *protocol);

/* Borrowed: the way for new connections; NULL with an exception. *why: Borrowed from
 * state, a str. */
const TlsWay *tls_choose_way(State *state, PyObject **why);

extern PyType_Spec tls_spec;
extern PyMethodDef tls_functions[];
int tls_complete_type(State *state);

#endif
