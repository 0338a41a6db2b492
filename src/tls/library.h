/* The functions of the libssl and libcrypto that Python's own ssl module has loaded. */
#ifndef CL_TLS_LIBRARY_H
#define CL_TLS_LIBRARY_H

#include "../py/compat.h"

#include <stddef.h>

#include "../py/state.h"

/* X(name, result, arguments) */
#define CL_TLS_FUNCTIONS(X)                                                            \
    X(SSL_read_ex, int, (void *, void *, size_t, size_t *))                            \
    X(SSL_write_ex, int, (void *, const void *, size_t, size_t *))                     \
    X(SSL_get_error, int, (const void *, int))                                         \
    X(SSL_pending, int, (const void *))                                                \
    X(SSL_set_bio, void, (void *, void *, void *))                                     \
    X(SSL_get_SSL_CTX, void *, (const void *))                                         \
    X(SSL_get_verify_result, long, (const void *))                                     \
    X(X509_verify_cert_error_string, const char *, (long))                             \
    X(ERR_clear_error, void, (void))                                                   \
    X(ERR_peek_last_error, unsigned long, (void))                                      \
    X(ERR_reason_error_string, const char *, (unsigned long))                          \
    X(BIO_meth_new, void *, (int, const char *))                                       \
    X(BIO_meth_set_write, int, (void *, int (*)(void *, const char *, int)))           \
    X(BIO_meth_set_read, int, (void *, int (*)(void *, char *, int)))                  \
    X(BIO_meth_set_ctrl, int, (void *, long (*)(void *, int, long, void *)))           \
    X(BIO_new, void *, (const void *))                                                 \
    X(BIO_free, int, (void *))                                                         \
    X(BIO_up_ref, int, (void *))                                                       \
    X(BIO_set_data, void, (void *, void *))                                            \
    X(BIO_get_data, void *, (void *))                                                  \
    X(BIO_set_init, void, (void *, int))                                               \
    X(BIO_set_flags, void, (void *, int))                                              \
    X(BIO_clear_flags, void, (void *, int))                                            \
    X(OpenSSL_version_num, unsigned long, (void))

typedef struct TlsLibrary {
#define CL_MEMBER(name, result, arguments) result(*name) arguments;
    CL_TLS_FUNCTIONS(CL_MEMBER)
#undef CL_MEMBER
    void *method; /* BIO_METHOD * of our BIO; never freed: an SSL * may outlive us */
} TlsLibrary;

/* The table, NULL until library_load has succeeded. It is the process's, as the library
 * is, and never changes again: BIO functions get no other argument to find it by. */
extern const TlsLibrary *tls_library;

/* Finds the functions. New ref: None when all are there, else a str that says why they
 * cannot be used; NULL with an exception. */
PyObject *library_load(State *state);

/* The SSL * in an _ssl._SSLSocket, the SSL_CTX * in an _ssl._SSLContext. */
static inline void *
library_ssl_of(PyObject *inner)
{
    return *(void **)((char *)inner + sizeof(PyObject) + sizeof(PyObject *));
}

static inline void *
library_context_of(PyObject *context)
{
    return *(void **)((char *)context + sizeof(PyObject));
}

/* Our BIO's functions (direct.c). */
int direct_bio_read(void *bio, char *data, int size);
int direct_bio_write(void *bio, const char *data, int size);
long direct_bio_ctrl(void *bio, int command, long number, void *pointer);

#endif
