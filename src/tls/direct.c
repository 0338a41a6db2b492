/* The direct way to OpenSSL: SSL_read_ex and SSL_write_ex on the SSL * that stands in the
 * object which SSLContext.wrap_bio made, and a BIO of ours (see tls.h and library.h).
 * Called by the engine.
 *
 * The BIO reads what has come in where it stands (arrival.c). What OpenSSL writes is
 * collected in `out_data` and leaves with one call of the transport below.
 *
 * The BIO functions run within calls into OpenSSL: of ours, with the GIL, or of _ssl's
 * (handshake, shutdown), which has released it; they touch no Python object. The BIO may
 * outlive the Tls, in an SSLObject of the user's: it refers to nothing then.
 *
 * Invariant: ssl and bio are both set or both NULL. */
#include "../py/compat.h"

#include <string.h>

#include "library.h"
#include "tls.h"
#include "ways.h"

enum {
    SSL_ERROR_SSL = 1,
    SSL_ERROR_WANT_READ = 2,
    SSL_ERROR_SYSCALL = 5,
    SSL_ERROR_ZERO_RETURN = 6,

    BIO_FLAGS_READ = 1,
    BIO_FLAGS_RWS = 7,
    BIO_FLAGS_SHOULD_RETRY = 8,

    BIO_CTRL_PENDING = 10,
    BIO_CTRL_FLUSH = 11,
    BIO_CTRL_DUP = 12,
    BIO_CTRL_WPENDING = 13,

    ERR_LIB_SSL = 20,
    SSL_R_CERTIFICATE_VERIFY_FAILED = 134,
    SSL_R_UNEXPECTED_EOF_WHILE_READING = 294,
};

/* What a record is larger than its cleartext, at most, for the sizes of buffers. */
#define CL_RECORD_OVERHEAD 64
#define CL_COUNT_RECORDS(size) ((size) / CL_RECORD_SIZE + 1)
/* What one direct_write takes, and room for its records. With 64 KiB, which stay in the
 * core's cache, a large answer cost 1.2 times as much: the calls of send do. */
#define CL_WRITE_CHUNK (512 * 1024)
#define CL_WRITE_SIZE                                                                  \
    (CL_WRITE_CHUNK + CL_COUNT_RECORDS(CL_WRITE_CHUNK) * CL_RECORD_OVERHEAD)

/* -- the BIO ----------------------------------------------------------------------- */

int
direct_bio_read(void *bio, char *data, int size)
{
    Tls *tls = tls_library->BIO_get_data(bio);
    tls_library->BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
    if (tls == NULL || size <= 0) {
        return -1;
    }
    if (tls->in_size == 0) {
        tls_library->BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
        return -1;
    }
    return (int)arrival_take(tls, data, (size_t)size);
}

/* Room for size more bytes to go out. 0 or -1. */
static int
make_room(Tls *tls, size_t size)
{
    size_t needed = tls->out_size + size;
    if (needed <= tls->out_capacity) {
        return 0;
    }
    size_t capacity = tls->out_capacity * 2;
    if (capacity < tls->out_hint) {
        capacity = tls->out_hint;
    }
    if (capacity < needed) {
        capacity = needed;
    }
    char *data = PyMem_RawRealloc(tls->out_data, capacity);
    if (data == NULL) {
        return -1;
    }
    tls->out_data = data;
    tls->out_capacity = capacity;
    return 0;
}

int
direct_bio_write(void *bio, const char *data, int size)
{
    Tls *tls = tls_library->BIO_get_data(bio);
    tls_library->BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
    if (tls == NULL || size <= 0) {
        return -1;
    }
    if (make_room(tls, (size_t)size) < 0) {
        tls->out_of_memory = true;
        return -1;
    }
    memcpy(tls->out_data + tls->out_size, data, (size_t)size);
    tls->out_size += (size_t)size;
    return size;
}

long
direct_bio_ctrl(void *bio, int command, long Py_UNUSED(number),
                void *Py_UNUSED(pointer))
{
    Tls *tls = tls_library->BIO_get_data(bio);
    switch (command) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
        return 1;
    case BIO_CTRL_PENDING:
        return tls == NULL ? 0 : (long)tls->in_size;
    case BIO_CTRL_WPENDING:
        return tls == NULL ? 0 : (long)tls->out_size;
    default:
        return 0;
    }
}

static int
direct_open(Tls *tls)
{
    const TlsLibrary *library = tls_library;
    void *bio = library->BIO_new(library->method);
    if (bio == NULL) {
        library->ERR_clear_error();
        PyErr_NoMemory();
        return -1;
    }
    library->BIO_set_data(bio, tls);
    library->BIO_set_init(bio, 1);
    (void)library->BIO_up_ref(bio);
    tls->bio = bio;
    tls->ssl = library_ssl_of(tls->inner);
    /* Takes one reference; those to the MemoryBIOs go. */
    library->SSL_set_bio(tls->ssl, bio, bio);
    Py_CLEAR(tls->incoming);
    Py_CLEAR(tls->outgoing);
    return 0;
}

/* Lends the loop's buffer to a connection that has none, from direct_write to
 * direct_send: an idle one holds no memory, and malloc is not called for each message. */
static void
lend_out(Tls *tls)
{
    Loop *loop = tls->loop;
    if (loop->write_buffer == NULL) {
        loop->write_buffer = PyMem_RawMalloc(CL_WRITE_SIZE);
    }
    tls->out_data = loop->write_buffer;
    tls->out_capacity = tls->out_data == NULL ? 0 : CL_WRITE_SIZE;
    loop->write_buffer = NULL;
}

static void
give_back_out(Tls *tls, char *data, size_t capacity)
{
    if (CL_LIKELY(capacity == CL_WRITE_SIZE && tls->loop->write_buffer == NULL)) {
        tls->loop->write_buffer = data;
    }
    else {
        PyMem_RawFree(data);
    }
}

static void
free_out(Tls *tls)
{
    PyMem_RawFree(tls->out_data);
    tls->out_data = NULL;
    tls->out_size = 0;
    tls->out_capacity = 0;
}

static void
direct_close(Tls *tls)
{
    if (tls->bio != NULL) {
        tls_library->BIO_set_data(tls->bio, NULL);
        (void)tls_library->BIO_free(tls->bio);
        tls->bio = NULL;
        tls->ssl = NULL;
    }
    arrival_drop(tls);
    free_out(tls);
}

/* -- bytes ------------------------------------------------------------------------- */

static size_t
direct_count_in(Tls *tls)
{
    return tls->in_size;
}

static size_t
direct_expect(Tls *tls)
{
    int inside = tls_library->SSL_pending(tls->ssl);
    return tls->in_size + (inside > 0 ? (size_t)inside : 0);
}

static size_t
direct_count_out(Tls *tls)
{
    return tls->out_size;
}

static int
direct_send(Tls *tls)
{
    if (tls->out_data == NULL) {
        return 0;
    }
    char *data = tls->out_data;
    size_t size = tls->out_size;
    size_t capacity = tls->out_capacity;
    tls->out_data = NULL;
    tls->out_size = 0;
    tls->out_capacity = 0;
    int rc = size == 0 ? 0 : lower_write(tls, data, size);
    give_back_out(tls, data, capacity);
    return rc;
}

static void
direct_drop(Tls *tls)
{
    arrival_drop(tls);
    free_out(tls);
}

/* -- errors ------------------------------------------------------------------------ */

/* New ref: the name that the ssl module gives to a reason, which is OpenSSL's macro
 * without its head: the text in capitals. None when there is no text. */
static PyObject *
name_reason(const char *text)
{
    if (text == NULL) {
        return Py_NewRef(Py_None);
    }
    char name[128];
    size_t i = 0;
    for (; text[i] != '\0' && i < sizeof(name) - 1; i++) {
        char c = text[i];
        name[i] = c >= 'a' && c <= 'z'   ? (char)(c - 'a' + 'A')
                  : c == ' ' || c == '-' ? '_'
                                         : c;
    }
    name[i] = '\0';
    return PyUnicode_FromString(name);
}

/* New ref: "[SSL: REASON] reason" and so on, as the ssl module words it. */
static PyObject *
word_error(PyObject *library, PyObject *reason, const char *text, const char *detail)
{
    if (reason == Py_None) {
        return PyUnicode_FromString(text != NULL ? text : "unknown error");
    }
    if (library == Py_None) {
        return PyUnicode_FromFormat("[%U] %s", reason, text);
    }
    return detail == NULL
               ? PyUnicode_FromFormat("[%U: %U] %s", library, reason, text)
               : PyUnicode_FromFormat("[%U: %U] %s: %s", library, reason, text, detail);
}

/* Sets verify_code and verify_message. 0 or -1. */
static int
add_verification(const void *ssl, PyObject *error, const char **detail)
{
    long code = tls_library->SSL_get_verify_result(ssl);
    *detail = tls_library->X509_verify_cert_error_string(code);
    PyObject *number = PyLong_FromLong(code);
    PyObject *message = PyUnicode_FromString(*detail != NULL ? *detail : "");
    int rc = number == NULL || message == NULL
                     || PyObject_SetAttrString(error, "verify_code", number) < 0
                     || PyObject_SetAttrString(error, "verify_message", message) < 0
                 ? -1
                 : 0;
    Py_XDECREF(message);
    Py_XDECREF(number);
    return rc;
}

/* Raises what stands in OpenSSL's error queue, and clears that. Always FAILED. */
static TlsAnswer
raise_error(State *state, const void *ssl, int ssl_error)
{
    unsigned long code = tls_library->ERR_peek_last_error();
    const char *text = code != 0 ? tls_library->ERR_reason_error_string(code) : NULL;
    /* Bits of OpenSSL 3 and of 1.1.1. */
    bool is_three = tls_library->OpenSSL_version_num() >= 0x30000000UL;
    int lib = (int)(is_three ? code >> 23 & 0xFF : code >> 24 & 0xFF);
    int why = (int)(is_three ? code & 0x7FFFFF : code & 0xFFF);
    bool of_ssl = lib == ERR_LIB_SSL;
    PyObject *type = state->SSLError;
    const char *detail = NULL;
    if (of_ssl && why == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        type = state->SSLCertVerificationError;
    }
    else if (of_ssl && why == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        type = state->SSLEOFError;
    }
    if (code == 0) {
        text = ssl_error == SSL_ERROR_SSL ? "A failure in the SSL library occurred"
                                          : "Invalid error code";
    }
    PyObject *library = of_ssl ? PyUnicode_FromString("SSL") : Py_NewRef(Py_None);
    PyObject *reason = code == 0 ? Py_NewRef(Py_None) : name_reason(text);
    PyObject *error = library == NULL || reason == NULL
                          ? NULL
                          : PyObject_CallFunction(type, "is", ssl_error, "");
    PyObject *message = NULL;
    if (error != NULL
        && (type != state->SSLCertVerificationError
            || add_verification(ssl, error, &detail) == 0)) {
        message = word_error(library, reason, text, detail);
    }
    PyObject *args = message == NULL ? NULL : Py_BuildValue("(iO)", ssl_error, message);
    if (args != NULL && PyObject_SetAttrString(error, "args", args) == 0
        && PyObject_SetAttrString(error, "strerror", message) == 0
        && PyObject_SetAttrString(error, "library", library) == 0
        && PyObject_SetAttrString(error, "reason", reason) == 0) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    }
    Py_XDECREF(args);
    Py_XDECREF(message);
    Py_XDECREF(error);
    Py_XDECREF(reason);
    Py_XDECREF(library);
    tls_library->ERR_clear_error();
    return CL_TLS_FAILED;
}

/* What it means that a call of OpenSSL has not succeeded. */
static TlsAnswer
explain(Tls *tls, const void *ssl)
{
    int error = tls_library->SSL_get_error(ssl, 0);
    if (CL_LIKELY(error == SSL_ERROR_WANT_READ)) {
        return CL_TLS_AGAIN;
    }
    if (error == SSL_ERROR_ZERO_RETURN) {
        return CL_TLS_END;
    }
    if (tls->out_of_memory) {
        tls->out_of_memory = false;
        tls_library->ERR_clear_error();
        PyErr_NoMemory();
        return CL_TLS_FAILED;
    }
    if (error == SSL_ERROR_SYSCALL && tls_library->ERR_peek_last_error() == 0) {
        return CL_TLS_AGAIN; /* as stock takes it */
    }
    return raise_error(tls->state, ssl, error);
}

/* ERR_clear_error walks over all of the queue's places, also when it is empty. */
static void
clear_errors(void)
{
    if (CL_UNLIKELY(tls_library->ERR_peek_last_error() != 0)) {
        tls_library->ERR_clear_error();
    }
}

/* Both keep the SSL * alive themselves: in a renegotiation OpenSSL calls the user's
 * Python code (SNI, PSK), which may end the connection and let go of it. */

static TlsAnswer
direct_read(Tls *tls, char *data, size_t size, size_t *got)
{
    PyObject *inner = Py_NewRef(tls->inner);
    void *ssl = tls->ssl;
    TlsAnswer answer = CL_TLS_DONE;
    clear_errors();
    if (!tls_library->SSL_read_ex(ssl, data, size, got)) {
        answer = explain(tls, ssl);
    }
    Py_DECREF(inner);
    return answer;
}

static TlsAnswer
direct_write(Tls *tls, const char *data, size_t size, size_t *taken)
{
    PyObject *inner = Py_NewRef(tls->inner);
    void *ssl = tls->ssl;
    TlsAnswer answer = CL_TLS_DONE;
    if (CL_LIKELY(tls->out_data == NULL)) {
        lend_out(tls);
    }
    tls->out_hint = tls->out_size + size + CL_COUNT_RECORDS(size) * CL_RECORD_OVERHEAD;
    clear_errors();
    if (!tls_library->SSL_write_ex(ssl, data, size, taken)) {
        answer = explain(tls, ssl);
        answer = answer == CL_TLS_END ? CL_TLS_AGAIN : answer;
    }
    tls->out_hint = 0;
    Py_DECREF(inner);
    return answer;
}

const TlsWay tls_direct = {
    .name = "direct",
    .chunk = CL_WRITE_CHUNK,
    .open = direct_open,
    .close = direct_close,
    .count_in = direct_count_in,
    .expect = direct_expect,
    .read = direct_read,
    .write = direct_write,
    .count_out = direct_count_out,
    .send = direct_send,
    .drop = direct_drop,
};
