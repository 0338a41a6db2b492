/*
 * tls_io: recv and send of loadgen.c and echo_server.c, over TLS where a connection has
 * a Tls; it answers as the system calls do. With WITH_TLS it needs OpenSSL's headers and
 * libraries; without it there is no Tls and no OpenSSL.
 *
 * Invariant: a socket may be silent while its Tls still holds bytes that came. That can
 * be only after an io_recv that filled all of the caller's buffer: so call it once more.
 * OpenSSL's queue of errors is empty between calls.
 */
#ifndef TLS_IO_H
#define TLS_IO_H

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

typedef struct ssl_st Tls; /* OpenSSL's SSL */

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

/* Options that any careful program takes: one read for a record's header and body, no
   buffers in idle connections, and writes that may be taken up again from elsewhere. */
static SSL_CTX *
tls_context(const SSL_METHOD *method)
{
    SSL_CTX *context = SSL_CTX_new(method);
    if (context != NULL) {
        SSL_CTX_set_read_ahead(context, 1);
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS
                                      | SSL_MODE_ENABLE_PARTIAL_WRITE
                                      | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    return context;
}

/* What OpenSSL's failure is as recv's or send's; a peer's close_notify is an end. */
static ssize_t
tls_failure(Tls *tls, int rc)
{
    switch (SSL_get_error(tls, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        ERR_clear_error();
        errno = ECONNRESET;
        return -1;
    }
}

static ssize_t
tls_recv(Tls *tls, char *data, size_t len)
{
    size_t have = 0;
    do {
        size_t n = 0;
        int rc = SSL_read_ex(tls, data + have, len - have, &n);
        if (rc != 1) {
            return have ? (ssize_t)have : tls_failure(tls, rc);
        }
        have += n;
    } while (have < len && SSL_has_pending(tls));
    return (ssize_t)have;
}

static ssize_t
tls_send(Tls *tls, const char *data, size_t len)
{
    size_t sent = 0;
    while (sent < len) {
        size_t n = 0;
        int rc = SSL_write_ex(tls, data + sent, len - sent, &n);
        if (rc != 1) {
            return sent ? (ssize_t)sent : tls_failure(tls, rc);
        }
        sent += n;
    }
    return (ssize_t)sent;
}
#endif

static inline ssize_t
io_recv(Tls *tls, int fd, char *data, size_t len)
{
#ifdef WITH_TLS
    if (tls != NULL) {
        return tls_recv(tls, data, len);
    }
#endif
    (void)tls;
    return recv(fd, data, len, MSG_DONTWAIT);
}

static inline ssize_t
io_send(Tls *tls, int fd, const char *data, size_t len)
{
#ifdef WITH_TLS
    if (tls != NULL) {
        return tls_send(tls, data, len);
    }
#endif
    (void)tls;
    return send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Tells the peer that it is over, without waiting for its word; frees the Tls. */
static inline void
io_close(Tls *tls)
{
#ifdef WITH_TLS
    if (tls != NULL) {
        if (SSL_is_init_finished(tls)) {
            SSL_shutdown(tls);
        }
        SSL_free(tls);
        ERR_clear_error();
    }
#else
    (void)tls;
#endif
}

#endif
