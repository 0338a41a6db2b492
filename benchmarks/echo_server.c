/*
 * echo_server: the plain C epoll server that is the limit for every loop.
 *
 * Started by benchmarks/net.py as the contestant "c". Binds a free loopback port (or a
 * Unix path), prints {"ready": ADDRESS}, and serves until its stdin ends; an alarm ends
 * it in any case.
 *
 *   echo_server KIND TRANSPORT PATH REQUEST REPLY
 *
 * KIND: echo (send back what comes), reply (REPLY bytes for each REQUEST bytes),
 * http (a fixed answer for each empty line). TRANSPORT: tcp, unix, udp, tls. PATH: of the
 * Unix socket; with tls, of the file that has certificate and key (see tls_io.h).
 *
 * A connection takes 80 bytes here, and what OpenSSL takes for it.
 *
 * Invariant: while a connection has unsent output it is not read, so its output never
 * grows beyond what one read has caused.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tls_io.h"

#define BUFFER_BYTES (256 * 1024)
#define MAX_EVENTS 512
#define DATAGRAMS_A_TURN 64
#define LIFE_S 900

typedef enum { KIND_ECHO, KIND_REPLY, KIND_HTTP } Kind;

typedef struct {
    int fd;
    Tls *tls; /* NULL but with tls; owned */
    bool wants_out;
    bool more;         /* tls: there may be bytes that epoll does not know of */
    unsigned matched;  /* http: bytes of the empty line seen */
    size_t have;       /* reply: bytes of the request under way */
    uint64_t owed;     /* reply, http: bytes still to send */
    uint64_t answered; /* reply, http: bytes sent so far */
    char *unsent;      /* echo: what did not fit, owned */
    size_t unsent_at, unsent_len;
} Conn;

static const char HTTP_ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                                  "Content-Length: 13\r\n\r\nHello, World!";

static Kind kind;
static size_t request_bytes = 1, reply_bytes = 1;
static char *buffer, *answers;
static size_t answers_len;
static int epfd;

static void
die(const char *what)
{
    perror(what);
    exit(2);
}

static void
watch(int op, int fd, uint32_t events, void *ptr)
{
    struct epoll_event event = {.events = events, .data.ptr = ptr};
    if (epoll_ctl(epfd, op, fd, &event) < 0) {
        die("epoll_ctl");
    }
}

#ifdef WITH_TLS
static SSL_CTX *tls_server;

static void
tls_open(const char *path)
{
    tls_server = tls_context(TLS_server_method());
    if (tls_server == NULL || SSL_CTX_use_certificate_chain_file(tls_server, path) != 1
        || SSL_CTX_use_PrivateKey_file(tls_server, path, SSL_FILETYPE_PEM) != 1) {
        die("certificate");
    }
}

static Tls *
tls_accept(int fd)
{
    Tls *tls = SSL_new(tls_server);
    if (tls == NULL || SSL_set_fd(tls, fd) != 1) {
        die("SSL_new");
    }
    SSL_set_accept_state(tls);
    return tls;
}
#endif

static void
conn_free(Conn *conn)
{
    io_close(conn->tls);
    close(conn->fd);
    free(conn->unsent);
    free(conn);
}

static void
conn_interest(Conn *conn, bool out)
{
    if (conn->wants_out != out) {
        watch(EPOLL_CTL_MOD, conn->fd, out ? EPOLLOUT : EPOLLIN, conn);
        conn->wants_out = out;
    }
}

/* Send: the number of bytes that went, 0 when the socket is full, -1 on error. */
static ssize_t
try_send(Conn *conn, const char *data, size_t len)
{
    ssize_t n = io_send(conn->tls, conn->fd, data, len);
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
}

static bool
send_owed(Conn *conn)
{
    size_t unit = reply_bytes;
    while (conn->owed) {
        size_t at = (size_t)(conn->answered % unit);
        size_t len = answers_len - at;
        if (len > conn->owed) {
            len = (size_t)conn->owed;
        }
        ssize_t n = try_send(conn, answers + at, len);
        if (n < 0) {
            return false;
        }
        if (n == 0) {
            break;
        }
        conn->owed -= (uint64_t)n;
        conn->answered += (uint64_t)n;
    }
    conn_interest(conn, conn->owed > 0);
    return true;
}

static bool
send_unsent(Conn *conn)
{
    ssize_t n = try_send(conn, conn->unsent + conn->unsent_at,
                         conn->unsent_len - conn->unsent_at);
    if (n < 0) {
        return false;
    }
    conn->unsent_at += (size_t)n;
    if (conn->unsent_at == conn->unsent_len) {
        free(conn->unsent);
        conn->unsent = NULL;
        conn_interest(conn, false);
    }
    return true;
}

static bool
echo(Conn *conn, size_t len)
{
    ssize_t n = try_send(conn, buffer, len);
    if (n < 0) {
        return false;
    }
    if ((size_t)n < len) {
        conn->unsent_at = 0;
        conn->unsent_len = len - (size_t)n;
        conn->unsent = malloc(conn->unsent_len);
        if (conn->unsent == NULL) {
            return false;
        }
        memcpy(conn->unsent, buffer + n, conn->unsent_len);
        conn_interest(conn, true);
    }
    return true;
}

/* The number of empty lines that end in this piece. */
static unsigned
empty_lines(Conn *conn, size_t len)
{
    static const char end[] = "\r\n\r\n";
    unsigned count = 0;
    for (size_t i = 0; i < len; i++) {
        if (buffer[i] == end[conn->matched]) {
            if (++conn->matched == 4) {
                conn->matched = 0;
                count++;
            }
        }
        else {
            conn->matched = buffer[i] == '\r';
        }
    }
    return count;
}

static bool
conn_read(Conn *conn)
{
    ssize_t n = io_recv(conn->tls, conn->fd, buffer, BUFFER_BYTES);
    conn->more = conn->tls != NULL && n == BUFFER_BYTES;
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (n == 0) {
        return false;
    }
    if (kind == KIND_ECHO) {
        return echo(conn, (size_t)n);
    }
    if (kind == KIND_HTTP) {
        conn->owed += (uint64_t)empty_lines(conn, (size_t)n) * reply_bytes;
    }
    else {
        conn->have += (size_t)n;
        conn->owed += conn->have / request_bytes * reply_bytes;
        conn->have %= request_bytes;
    }
    return send_owed(conn);
}

static void
conn_event(Conn *conn, uint32_t events)
{
    bool good = true;
    if (events & EPOLLOUT) {
        good = conn->unsent ? send_unsent(conn) : send_owed(conn);
    }
    else {
        good = conn_read(conn);
    }
    while (good && conn->more && !conn->wants_out) {
        good = conn_read(conn);
    }
    if (!good) {
        conn_free(conn);
    }
}

static void
accept_all(int listener, bool local)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        Conn *conn = calloc(1, sizeof(Conn));
        if (conn == NULL) {
            die("calloc");
        }
        conn->fd = fd;
        if (!local) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        }
#ifdef WITH_TLS
        if (tls_server != NULL) {
            conn->tls = tls_accept(fd);
        }
#endif
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, conn);
    }
}

static void
echo_datagrams(int fd)
{
    struct sockaddr_storage from;
    for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
        socklen_t len = sizeof(from);
        ssize_t n = recvfrom(fd, buffer, BUFFER_BYTES, MSG_DONTWAIT,
                             (struct sockaddr *)&from, &len);
        if (n < 0) {
            return;
        }
        sendto(fd, buffer, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL,
               (struct sockaddr *)&from, len);
    }
}

static int
open_listener(const char *transport, const char *path)
{
    int on = 1, fd;
    bool udp = !strcmp(transport, "udp");
    int type = (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
    if (!strcmp(transport, "unix")) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
        fd = socket(AF_UNIX, type, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
            die("bind");
        }
    }
    else {
        struct sockaddr_in in = {.sin_family = AF_INET};
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fd = socket(AF_INET, type, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (fd < 0 || bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0) {
            die("bind");
        }
    }
    if (!udp && listen(fd, 4096) < 0) {
        die("listen");
    }
    return fd;
}

static void
announce(int fd, const char *transport, const char *path)
{
    if (!strcmp(transport, "unix")) {
        printf("{\"ready\": \"unix:%s\"}\n", path);
    }
    else {
        struct sockaddr_in in;
        socklen_t len = sizeof(in);
        getsockname(fd, (struct sockaddr *)&in, &len);
        printf("{\"ready\": \"%s:127.0.0.1:%d\"}\n", transport, ntohs(in.sin_port));
    }
    fflush(stdout);
}

static void
make_answers(void)
{
    if (kind == KIND_HTTP) {
        reply_bytes = sizeof(HTTP_ANSWER) - 1;
    }
    size_t times = reply_bytes < BUFFER_BYTES ? BUFFER_BYTES / reply_bytes : 1;
    answers_len = times * reply_bytes;
    answers = malloc(answers_len);
    buffer = malloc(BUFFER_BYTES);
    if (answers == NULL || buffer == NULL) {
        die("malloc");
    }
    memset(answers, '.', answers_len);
    for (size_t i = 0; kind == KIND_HTTP && i < times; i++) {
        memcpy(answers + i * reply_bytes, HTTP_ANSWER, reply_bytes);
    }
}

static void
serve(int listener, const char *transport)
{
    static char listener_mark, stdin_mark;
    bool udp = !strcmp(transport, "udp"), local = !strcmp(transport, "unix");
    struct epoll_event events[MAX_EVENTS];
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, &listener_mark);
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = &stdin_mark};
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, 0, &input) < 0) {
        die("stdin must be a pipe");
    }
    for (;;) {
        int n = epoll_wait(epfd, events, MAX_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            void *ptr = events[i].data.ptr;
            if (ptr == &stdin_mark) {
                return;
            }
            if (ptr != &listener_mark) {
                conn_event(ptr, events[i].events);
            }
            else if (udp) {
                echo_datagrams(listener);
            }
            else {
                accept_all(listener, local);
            }
        }
    }
}

int
main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: %s KIND TRANSPORT PATH REQUEST REPLY\n", argv[0]);
        return 2;
    }
    kind = !strcmp(argv[1], "echo")    ? KIND_ECHO
           : !strcmp(argv[1], "reply") ? KIND_REPLY
                                       : KIND_HTTP;
    request_bytes = strtoul(argv[4], NULL, 10);
    reply_bytes = strtoul(argv[5], NULL, 10);
    if (request_bytes == 0 || reply_bytes == 0) {
        fprintf(stderr, "%s: REQUEST and REPLY must be positive\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    alarm(LIFE_S);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    epfd = epoll_create1(EPOLL_CLOEXEC);
    make_answers();
    if (!strcmp(argv[2], "tls")) {
#ifdef WITH_TLS
        tls_open(argv[3]);
#else
        fprintf(stderr, "%s: built without TLS\n", argv[0]);
        return 2;
#endif
    }
    int listener = open_listener(argv[2], argv[3]);
    announce(listener, argv[2], argv[3]);
    serve(listener, argv[2]);
    return 0;
}
