/*
 * loadgen: the load of the network benchmarks. One thread, one epoll.
 *
 * Started by benchmarks/net.py; prints one line of JSON and ends by itself: every mode
 * is bounded by --duration, and an alarm ends the process if all else fails. It talks
 * to loopback and Unix addresses only and refuses any other. Over TLS (an address that
 * begins with tls:) it asks for no certificate; see tls_io.h.
 *
 * Modes:
 *   echo     N connections, each with `depth` requests under way; a request is
 *            `request` bytes and is answered when `reply` bytes have come
 *   connect  N at a time: connect, one request, its answer, close; with --resume each
 *            TLS handshake but the first resumes the latest session
 *   hold     N connections, one request each, then silence until stdin ends
 *   http     as echo; the request is a GET, the length of the answer is learned from
 *            the first one's header, and every later one must have the same
 *
 * Invariants: all requests of a run are the same bytes, so the position in the stream
 * modulo the request's size says what to send next; a connection's answers come in the
 * order of its requests, so a ring of `depth` times is enough for the latencies.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tls_io.h"

#define NS_PER_S 1000000000ULL
#define MAX_DEPTH 1024
#define MAX_EVENTS 512
#define MAX_PENDING 64 /* connects under way at once while ramping up */
#define SCRATCH_BYTES (256 * 1024)
#define LOST_AFTER_NS (200 * 1000000ULL)
#define SOURCE_ADDRESSES 200 /* 127.0.1.1 .. : each has its own 28k ports */
#define SUB_BITS 6           /* histogram: 64 steps in each power of two */
#define SUB_STEPS (1 << SUB_BITS)
#define HIST_SIZE (64 * SUB_STEPS)

typedef enum { MODE_ECHO, MODE_CONNECT, MODE_HOLD, MODE_HTTP } Mode;
typedef enum {
    CONN_NONE,
    CONN_CONNECTING,
    CONN_HANDSHAKE,
    CONN_OPEN,
    CONN_RETRY,
} ConnState;

typedef struct {
    int fd;
    Tls *tls; /* NULL before the handshake, and without TLS; owned */
    ConnState state;
    bool wants_out;
    unsigned outstanding; /* requests queued and not yet answered */
    unsigned head;        /* oldest entry of sent_at */
    uint64_t to_send;     /* bytes of queued requests not yet sent */
    uint64_t sent;        /* bytes sent so far */
    uint64_t answered;    /* bytes of the answer under way */
    uint64_t progress_ns;
    uint64_t *sent_at; /* ring of `depth` times */
} Conn;

static struct {
    Mode mode;
    bool udp, tls, resume;
    struct sockaddr_storage to;
    socklen_t to_len;
    unsigned connections, depth;
    size_t request, reply, line;
    double warmup_s, duration_s;
    int server_pid;
    bool verify;
    int epfd;
    Conn *conns;
    char *out; /* requests one after another */
    size_t out_len;
    char *scratch;
    unsigned started, open, pending, retrying, next_source;
    bool loaded; /* connections may send */
    bool measuring;
    uint64_t requests, bytes_in, bytes_out, errors, lost, resumed;
    uint64_t hist[HIST_SIZE], latency_max;
} G;

static void
die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

static uint64_t
now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* ---- latency histogram: 64 linear steps within each power of two ---- */

static unsigned
hist_slot(uint64_t value)
{
    if (value < SUB_STEPS) {
        return (unsigned)value;
    }
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - SUB_BITS;
    return (shift + 1) * SUB_STEPS + (unsigned)((value >> shift) - SUB_STEPS);
}

static uint64_t
hist_value(unsigned slot)
{
    if (slot < SUB_STEPS) {
        return slot;
    }
    unsigned shift = slot / SUB_STEPS - 1;
    return ((uint64_t)(slot % SUB_STEPS) + SUB_STEPS) << shift;
}

static void
hist_add(uint64_t value)
{
    G.hist[hist_slot(value)]++;
    if (value > G.latency_max) {
        G.latency_max = value;
    }
}

static double
hist_us(double share)
{
    uint64_t total = 0, seen = 0;
    for (unsigned i = 0; i < HIST_SIZE; i++) {
        total += G.hist[i];
    }
    for (unsigned i = 0; i < HIST_SIZE; i++) {
        seen += G.hist[i];
        if (total && (double)seen >= share * (double)total) {
            return (double)hist_value(i) / 1000.0;
        }
    }
    return 0.0;
}

/* ---- the server's CPU time, all threads ---- */

static bool
read_schedstat(const char *path, uint64_t *ran, uint64_t *waited)
{
    unsigned long long r, w;
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return false;
    }
    bool good = fscanf(file, "%llu %llu", &r, &w) == 2;
    fclose(file);
    if (good) {
        *ran += r;
        *waited += w;
    }
    return good;
}

static void
server_times(uint64_t *ran, uint64_t *waited)
{
    char path[320];
    *ran = *waited = 0;
    if (G.server_pid <= 0) {
        return;
    }
    snprintf(path, sizeof(path), "/proc/%d/task", G.server_pid);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        die("server %d is gone", G.server_pid);
    }
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", G.server_pid,
                     entry->d_name);
            read_schedstat(path, ran, waited);
        }
    }
    closedir(dir);
}

/* ---- addresses ---- */

static void
parse_address(const char *text)
{
    if (strncmp(text, "unix:", 5) == 0) {
        struct sockaddr_un *un = (struct sockaddr_un *)&G.to;
        un->sun_family = AF_UNIX;
        if (strlen(text + 5) >= sizeof(un->sun_path)) {
            die("path too long: %s", text);
        }
        strcpy(un->sun_path, text + 5);
        G.to_len = sizeof(*un);
        return;
    }
    if (strncmp(text, "tcp:", 4) != 0 && strncmp(text, "udp:", 4) != 0
        && strncmp(text, "tls:", 4) != 0) {
        die("address must be tcp:HOST:PORT, tls:HOST:PORT, udp:HOST:PORT or unix:PATH");
    }
    G.udp = text[0] == 'u';
    G.tls = strncmp(text, "tls", 3) == 0;
    char host[64];
    const char *colon = strrchr(text, ':');
    size_t len = (size_t)(colon - (text + 4));
    if (colon <= text + 4 || len >= sizeof(host)) {
        die("bad address: %s", text);
    }
    memcpy(host, text + 4, len);
    host[len] = '\0';
    uint16_t port = htons((uint16_t)atoi(colon + 1));
    struct sockaddr_in *in = (struct sockaddr_in *)&G.to;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&G.to;
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        if ((ntohl(in->sin_addr.s_addr) >> 24) != 127) {
            die("%s is not loopback", host);
        }
        in->sin_family = AF_INET;
        in->sin_port = port;
        G.to_len = sizeof(*in);
    }
    else if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
        if (!IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr)) {
            die("%s is not loopback", host);
        }
        in6->sin6_family = AF_INET6;
        in6->sin6_port = port;
        G.to_len = sizeof(*in6);
    }
    else {
        die("bad address: %s", text);
    }
}

/* ---- TLS ---- */

#ifdef WITH_TLS
static SSL_CTX *tls_client;
static SSL_SESSION *latest_session; /* owned */

static int
keep_session(SSL *tls, SSL_SESSION *session)
{
    (void)tls;
    SSL_SESSION_free(latest_session);
    latest_session = SSL_SESSION_dup(session);
    return 0; /* that one remains OpenSSL's */
}

static void
tls_open(void)
{
    tls_client = tls_context(TLS_client_method());
    if (tls_client == NULL) {
        die("no TLS context");
    }
    if (G.resume) {
        SSL_CTX_set_session_cache_mode(tls_client, SSL_SESS_CACHE_CLIENT
                                                       | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(tls_client, keep_session);
    }
}

static Tls *
tls_connect(int fd)
{
    SSL *tls = SSL_new(tls_client);
    if (tls == NULL || SSL_set_fd(tls, fd) != 1) {
        die("SSL_new");
    }
    if (latest_session != NULL) {
        /* A copy: OpenSSL marks the session of some connections as never to be resumed
           when it lets go of them. */
        SSL_SESSION *session = SSL_SESSION_dup(latest_session);
        if (session == NULL || SSL_set_session(tls, session) != 1) {
            die("SSL_set_session");
        }
        SSL_SESSION_free(session);
    }
    SSL_set_connect_state(tls);
    return tls;
}

/* 1 when the handshake is done, 0 when more has to come, -1 when it failed. */
static int
tls_handshake(Tls *tls)
{
    int rc = SSL_do_handshake(tls);
    if (rc != 1) {
        return tls_failure(tls, rc) < 0 && errno == EAGAIN ? 0 : -1;
    }
    return 1;
}

static bool
tls_resumed(Tls *tls)
{
    return tls != NULL && SSL_session_reused(tls);
}
#else
static void
tls_open(void)
{
    die("built without TLS");
}

static Tls *
tls_connect(int fd)
{
    (void)fd;
    return NULL;
}

static int
tls_handshake(Tls *tls)
{
    (void)tls;
    return -1;
}

static bool
tls_resumed(Tls *tls)
{
    (void)tls;
    return false;
}
#endif

/* ---- one connection ---- */

static void conn_start(Conn *conn);

static void
conn_interest(Conn *conn, bool out)
{
    if (conn->wants_out == out) {
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0)};
    event.data.ptr = conn;
    epoll_ctl(G.epfd, EPOLL_CTL_MOD, conn->fd, &event);
    conn->wants_out = out;
}

/* Give up the descriptor; in connect mode the slot begins again. */
static void
conn_close(Conn *conn, bool failed)
{
    io_close(conn->tls);
    conn->tls = NULL;
    close(conn->fd);
    conn->fd = -1;
    if (conn->state == CONN_CONNECTING || conn->state == CONN_HANDSHAKE) {
        G.pending--;
    }
    else if (conn->state == CONN_OPEN) {
        G.open--;
    }
    conn->state = CONN_NONE;
    if (failed) {
        G.errors++;
    }
    if (G.mode == MODE_CONNECT) {
        conn->state = CONN_RETRY;
        G.retrying++;
    }
}

static void
conn_queue(Conn *conn, unsigned count, uint64_t now)
{
    for (unsigned i = 0; i < count; i++) {
        conn->sent_at[(conn->head + conn->outstanding) % G.depth] = now;
        conn->outstanding++;
        conn->to_send += G.request;
    }
    conn->progress_ns = now;
}

/* Send what is queued; false when the connection had to be closed. */
static bool
conn_flush(Conn *conn)
{
    while (conn->to_send) {
        size_t at = (size_t)(conn->sent % G.request);
        size_t len = G.udp ? G.request : G.out_len - at;
        if (len > conn->to_send) {
            len = (size_t)conn->to_send;
        }
        ssize_t n = io_send(conn->tls, conn->fd, G.out + at, len);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno == EAGAIN || errno == ENOBUFS) {
                conn_interest(conn, true);
                return true;
            }
            conn_close(conn, true);
            return false;
        }
        conn->sent += (uint64_t)n;
        conn->to_send -= (uint64_t)n;
        if (G.measuring) {
            G.bytes_out += (uint64_t)n;
        }
    }
    conn_interest(conn, false);
    return true;
}

static void
answer_complete(Conn *conn, uint64_t now)
{
    if (G.measuring) {
        G.requests++;
        G.resumed += tls_resumed(conn->tls);
        hist_add(now - conn->sent_at[conn->head]);
    }
    conn->head = (conn->head + 1) % G.depth;
    conn->outstanding--;
}

/* Compare echoed bytes with what was sent (the tests ask for this). */
static void
verify_echo(const Conn *conn, const char *data, size_t len)
{
    size_t at = (size_t)(conn->answered % G.request);
    for (size_t done = 0; done < len;) {
        size_t part = G.request - at;
        if (part > len - done) {
            part = len - done;
        }
        if (memcmp(data + done, G.out + at, part) != 0) {
            die("the echo differs from what was sent");
        }
        done += part;
        at = 0;
    }
}

/* Read what is there: the number of answers completed, or -1 when closed. */
static int
conn_receive(Conn *conn, uint64_t now)
{
    int complete = 0;
    for (;;) {
        ssize_t n = io_recv(conn->tls, conn->fd, G.scratch, SCRATCH_BYTES);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno == EAGAIN || (G.udp && errno == ECONNREFUSED)) {
                return complete;
            }
            conn_close(conn, true);
            return -1;
        }
        if (n == 0 && !G.udp) {
            conn_close(conn, true);
            return -1;
        }
        if (G.verify) {
            verify_echo(conn, G.scratch, (size_t)n);
        }
        if (G.measuring) {
            G.bytes_in += (uint64_t)n;
        }
        if (G.udp) {
            if (conn->outstanding) {
                answer_complete(conn, now);
                complete++;
            }
            if (complete == (int)G.depth) {
                return complete;
            }
            continue;
        }
        conn->answered += (uint64_t)n;
        while (conn->answered >= G.reply && conn->outstanding) {
            conn->answered -= G.reply;
            answer_complete(conn, now);
            complete++;
        }
        if (n < SCRATCH_BYTES) {
            return complete;
        }
    }
}

static void
conn_opened(Conn *conn, uint64_t now)
{
    conn->state = CONN_OPEN;
    G.open++;
    if (G.loaded) {
        conn_queue(conn, G.depth, now);
        conn_flush(conn);
    }
    else {
        conn_interest(conn, false);
    }
}

/* The connection is made, or another part of the handshake has come. */
static void
conn_handshake(Conn *conn, uint64_t now)
{
    if (conn->state == CONN_CONNECTING) {
        conn->state = CONN_HANDSHAKE;
        conn->tls = tls_connect(conn->fd);
        conn_interest(conn, false);
    }
    int done = tls_handshake(conn->tls);
    if (done < 0) {
        conn_close(conn, true);
    }
    else if (done) {
        G.pending--;
        conn_opened(conn, now);
    }
}

static void
conn_event(Conn *conn, uint32_t events)
{
    uint64_t now = now_ns();
    if (conn->state == CONN_HANDSHAKE) {
        conn_handshake(conn, now);
        return;
    }
    if (conn->state == CONN_CONNECTING) {
        int error = 0;
        socklen_t len = sizeof(error);
        getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) {
            conn_close(conn, true);
            return;
        }
        if (!(events & EPOLLOUT)) {
            return;
        }
        if (G.tls) {
            conn_handshake(conn, now);
            return;
        }
        G.pending--;
        conn_opened(conn, now);
        return;
    }
    if ((events & EPOLLOUT) && !conn_flush(conn)) {
        return;
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        return;
    }
    int complete = conn_receive(conn, now);
    if (complete <= 0) {
        return;
    }
    if (G.mode == MODE_CONNECT) {
        conn_close(conn, false);
    }
    else if (G.mode != MODE_HOLD) {
        conn_queue(conn, (unsigned)complete, now);
        conn_flush(conn);
    }
}

/* Each connection of connect mode comes from another loopback address in turn, or the
   28k ports of one would all be in TIME_WAIT within seconds. */
static void
bind_source(int fd)
{
    int on = 1;
    struct sockaddr_in source = {.sin_family = AF_INET};
    uint32_t host = 0x7f000101u + G.next_source++ % SOURCE_ADDRESSES;
    source.sin_addr.s_addr = htonl(host);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&source, sizeof(source)) < 0) {
        die("bind: %s", strerror(errno));
    }
}

static void
conn_start(Conn *conn)
{
    int family = G.to.ss_family;
    int type = (G.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int fd = socket(family, type, 0);
    if (fd < 0) {
        die("socket: %s", strerror(errno));
    }
    if (G.mode == MODE_CONNECT && family == AF_INET) {
        bind_source(fd);
    }
    if (!G.udp && family != AF_UNIX) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    conn->fd = fd;
    conn->outstanding = conn->head = 0;
    conn->to_send = conn->sent = conn->answered = 0;
    conn->state = CONN_NONE;
    int rc = connect(fd, (struct sockaddr *)&G.to, G.to_len);
    if (rc < 0 && errno == EAGAIN) { /* a Unix listener's queue is full */
        close(fd);
        conn->fd = -1;
        conn->state = CONN_RETRY;
        G.retrying++;
        return;
    }
    if (rc < 0 && errno != EINPROGRESS) {
        die("connect: %s", strerror(errno));
    }
    bool wait = rc < 0 || G.tls;
    struct epoll_event event = {.events = EPOLLIN | (wait ? EPOLLOUT : 0)};
    event.data.ptr = conn;
    conn->wants_out = wait;
    if (epoll_ctl(G.epfd, EPOLL_CTL_ADD, fd, &event) < 0) {
        die("epoll_ctl: %s", strerror(errno));
    }
    if (wait) {
        conn->state = CONN_CONNECTING;
        G.pending++;
    }
    else {
        conn_opened(conn, now_ns());
    }
}

/* ---- the run ---- */

/* Start more connections, and those that had to wait. */
static void
ramp(void)
{
    while (G.started < G.connections && G.pending < MAX_PENDING) {
        conn_start(&G.conns[G.started++]);
    }
    if (G.retrying == 0) {
        return;
    }
    unsigned left = G.retrying;
    for (unsigned i = 0; i < G.started && left; i++) {
        if (G.conns[i].state == CONN_RETRY) {
            left--;
            G.retrying--;
            conn_start(&G.conns[i]);
        }
    }
}

/* Datagrams may be lost: after a while without an answer, send anew. */
static void
resend_lost(uint64_t now)
{
    for (unsigned i = 0; i < G.started; i++) {
        Conn *conn = &G.conns[i];
        if (conn->outstanding && now - conn->progress_ns > LOST_AFTER_NS) {
            G.lost += conn->outstanding;
            conn->outstanding = 0;
            conn->to_send = 0;
            conn_queue(conn, G.depth, now);
            conn_flush(conn);
        }
    }
}

static void
turn(int timeout_ms)
{
    struct epoll_event events[MAX_EVENTS];
    int n = epoll_wait(G.epfd, events, MAX_EVENTS, timeout_ms);
    for (int i = 0; i < n; i++) {
        Conn *conn = events[i].data.ptr;
        if (conn->fd >= 0) {
            conn_event(conn, events[i].events);
        }
    }
    ramp();
    static uint64_t checked_ns;
    if (G.udp) {
        uint64_t now = now_ns();
        if (now - checked_ns > LOST_AFTER_NS / 4) {
            checked_ns = now;
            resend_lost(now);
        }
    }
}

static void
run_until(uint64_t end_ns)
{
    for (;;) {
        uint64_t now = now_ns();
        if (now >= end_ns) {
            return;
        }
        if (G.mode != MODE_CONNECT && G.started == G.connections && !G.open
            && !G.pending && !G.retrying) {
            die("the server closed every connection");
        }
        uint64_t left_ms = (end_ns - now) / 1000000 + 1;
        turn(left_ms > 50 ? 50 : (int)left_ms);
    }
}

/* Open all connections before the first request: a server that is busy with the load
   of the first ones would let the last ones wait for long. */
static void
connect_all(void)
{
    uint64_t end = now_ns() + 30 * NS_PER_S;
    G.loaded = G.mode == MODE_CONNECT;
    ramp();
    while (G.mode != MODE_CONNECT && G.open < G.connections) {
        if (now_ns() > end) {
            die("only %u of %u connections in 30 s", G.open, G.connections);
        }
        if (G.errors > G.connections / 10 + 10) {
            die("%llu connections failed", (unsigned long long)G.errors);
        }
        turn(50);
    }
    uint64_t now = now_ns();
    G.loaded = true;
    for (unsigned i = 0; i < G.started; i++) {
        if (G.mode != MODE_CONNECT && G.conns[i].state == CONN_OPEN) {
            conn_queue(&G.conns[i], G.depth, now);
            conn_flush(&G.conns[i]);
        }
    }
}

static void
hold(void)
{
    uint64_t end = now_ns() + (uint64_t)(G.duration_s * 1e9);
    for (;;) {
        unsigned busy = 0;
        for (unsigned i = 0; i < G.connections; i++) {
            busy += G.conns[i].outstanding;
        }
        if (busy == 0) {
            break;
        }
        if (now_ns() > end) {
            die("%u requests were not answered", busy);
        }
        turn(50);
    }
    printf("{\"held\": %u}\n", G.open);
    fflush(stdout);
    struct pollfd input = {.fd = 0, .events = POLLIN};
    uint64_t now = now_ns();
    if (now < end) {
        poll(&input, 1, (int)((end - now) / 1000000) + 1);
    }
}

static uint64_t
own_cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void
measure(void)
{
    uint64_t ran[2], waited[2], cpu[2], wall[2];
    run_until(now_ns() + (uint64_t)(G.warmup_s * 1e9));
    server_times(&ran[0], &waited[0]);
    cpu[0] = own_cpu_ns();
    wall[0] = now_ns();
    G.lost = 0;
    G.measuring = true;
    run_until(wall[0] + (uint64_t)(G.duration_s * 1e9));
    G.measuring = false;
    wall[1] = now_ns();
    cpu[1] = own_cpu_ns();
    server_times(&ran[1], &waited[1]);
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"bytes_in\": %llu, "
           "\"bytes_out\": %llu, \"errors\": %llu, \"lost\": %llu, \"resumed\": %llu, "
           "\"connections\": %u, \"reply\": %zu, \"server_cpu_ns\": %llu, "
           "\"server_wait_ns\": %llu, \"load_cpu_ns\": %llu, "
           "\"latency_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, "
           "\"p999\": %.1f, \"max\": %.1f}}\n",
           (unsigned long long)G.requests, (double)(wall[1] - wall[0]) / 1e9,
           (unsigned long long)G.bytes_in, (unsigned long long)G.bytes_out,
           (unsigned long long)G.errors, (unsigned long long)G.lost,
           (unsigned long long)G.resumed, G.open, G.reply,
           (unsigned long long)(ran[1] - ran[0]),
           (unsigned long long)(waited[1] - waited[0]),
           (unsigned long long)(cpu[1] - cpu[0]), hist_us(0.5), hist_us(0.9),
           hist_us(0.99), hist_us(0.999), (double)G.latency_max / 1000.0);
}

/* Ask once, and learn how long the server's answers are. */
static void
learn_http_reply(void)
{
    static char answer[65536];
    size_t have = 0;
    int fd = socket(G.to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&G.to, G.to_len) < 0) {
        die("first connection: %s", strerror(errno));
    }
    Tls *tls = G.tls ? tls_connect(fd) : NULL;
    if (io_send(tls, fd, G.out, G.request) != (ssize_t)G.request) {
        die("first request: %s", strerror(errno));
    }
    for (;;) {
        struct pollfd input = {.fd = fd, .events = POLLIN};
        if (tls == NULL) {
            poll(&input, 1, -1);
        }
        ssize_t n = io_recv(tls, fd, answer + have, sizeof(answer) - 1 - have);
        if (n <= 0) {
            die("the first answer ended after %zu bytes", have);
        }
        have += (size_t)n;
        answer[have] = '\0';
        char *body = strstr(answer, "\r\n\r\n");
        if (body == NULL) {
            continue;
        }
        if (strncmp(answer, "HTTP/1.1 200", 12) != 0) {
            die("the first answer is %.40s", answer);
        }
        char *length = strcasestr(answer, "\r\ncontent-length:");
        if (length == NULL || length > body) {
            die("the first answer has no content-length");
        }
        G.reply = (size_t)(body + 4 - answer) + strtoul(length + 17, NULL, 10);
        if (have >= G.reply) {
            break;
        }
    }
    io_close(tls);
    close(fd);
}

static void
make_requests(void)
{
    static const char get[] = "GET / HTTP/1.1\r\nHost: localhost\r\n"
                              "User-Agent: loadgen\r\nAccept: */*\r\n\r\n";
    if (G.mode == MODE_HTTP) {
        G.request = sizeof(get) - 1;
    }
    size_t times = G.udp ? 1 : G.depth;
    G.out_len = G.request * times;
    G.out = malloc(G.out_len);
    G.scratch = malloc(SCRATCH_BYTES);
    G.conns = calloc(G.connections, sizeof(Conn));
    uint64_t *rings = calloc((size_t)G.connections * G.depth, sizeof(uint64_t));
    if (!G.out || !G.scratch || !G.conns || !rings) {
        die("out of memory");
    }
    for (size_t i = 0; i < G.request; i++) {
        bool newline = i + 1 == G.request || (G.line && (i + 1) % G.line == 0);
        G.out[i] = newline ? '\n' : (char)('a' + i % 26);
    }
    if (G.mode == MODE_HTTP) {
        memcpy(G.out, get, G.request);
    }
    for (size_t i = 1; i < times; i++) {
        memcpy(G.out + i * G.request, G.out, G.request);
    }
    for (unsigned i = 0; i < G.connections; i++) {
        G.conns[i].fd = -1;
        G.conns[i].sent_at = rings + (size_t)i * G.depth;
    }
}

static Mode
parse_mode(const char *text)
{
    static const char *const names[] = {"echo", "connect", "hold", "http"};
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            return (Mode)i;
        }
    }
    die("unknown mode %s", text);
    return MODE_ECHO;
}

static void
parse_arguments(int argc, char **argv)
{
    G.connections = G.depth = 1;
    G.request = 1024;
    G.warmup_s = 0.2;
    G.duration_s = 1.0;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--verify") == 0) {
            G.verify = true;
            continue;
        }
        if (strcmp(name, "--resume") == 0) {
            G.resume = true;
            continue;
        }
        if (i + 1 == argc) {
            die("%s needs a value", name);
        }
        const char *value = argv[++i];
        if (!strcmp(name, "--to")) {
            parse_address(value);
        }
        else if (!strcmp(name, "--mode")) {
            G.mode = parse_mode(value);
        }
        else if (!strcmp(name, "--connections")) {
            G.connections = (unsigned)atoi(value);
        }
        else if (!strcmp(name, "--depth")) {
            G.depth = (unsigned)atoi(value);
        }
        else if (!strcmp(name, "--request")) {
            G.request = strtoul(value, NULL, 10);
        }
        else if (!strcmp(name, "--reply")) {
            G.reply = strtoul(value, NULL, 10);
        }
        else if (!strcmp(name, "--line")) {
            G.line = strtoul(value, NULL, 10);
        }
        else if (!strcmp(name, "--warmup")) {
            G.warmup_s = atof(value);
        }
        else if (!strcmp(name, "--duration")) {
            G.duration_s = atof(value);
        }
        else if (!strcmp(name, "--server-pid")) {
            G.server_pid = atoi(value);
        }
        else {
            die("unknown option %s", name);
        }
    }
    if (G.to_len == 0) {
        die("--to is missing");
    }
    if (G.connections < 1 || G.depth < 1 || G.depth > MAX_DEPTH || G.request < 1
        || G.duration_s <= 0 || G.duration_s > 600 || G.warmup_s < 0
        || G.warmup_s > 60) {
        die("a number is out of range");
    }
    if (G.mode == MODE_CONNECT || G.mode == MODE_HOLD) {
        G.depth = 1;
    }
    if (G.reply == 0) {
        G.reply = G.request;
    }
}

int
main(int argc, char **argv)
{
    parse_arguments(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    alarm((unsigned)(G.warmup_s + G.duration_s) + 60);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    G.epfd = epoll_create1(EPOLL_CLOEXEC);
    make_requests();
    if (G.tls) {
        tls_open();
    }
    if (G.mode == MODE_HTTP) {
        learn_http_reply();
    }
    connect_all();
    if (G.mode == MODE_HOLD) {
        hold();
    }
    else {
        measure();
    }
    return 0;
}
