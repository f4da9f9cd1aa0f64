#include "tests/agent/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define EPHEMERAL_LOW 32768 /* as Linux' ip_local_port_range */
#define EPHEMERAL_HIGH 60999
#define POLLED_MAX AGENT_FDS

static void wake(const struct sock *s)
{
    s->agent->woken = true;
}

/* ---- descriptors */

struct sock *sock_of(struct call *c)
{
    const int32_t fd = c->req.fd;

    if (c->sock != NULL || fd < 0 || fd >= AGENT_FDS || c->agent->fds[fd] == NULL)
        return c->sock;
    c->sock = c->agent->fds[fd];
    sock_get(c->sock);
    return c->sock;
}

/* The lowest free descriptor from @from on, or -1. */
static int free_fd(const struct agent *a, int from)
{
    for (int fd = from; fd < AGENT_FDS; fd++)
        if (a->fds[fd] == NULL)
            return fd;
    return -1;
}

/* A descriptor for @s, which gets a reference. */
static bool give_fd(struct call *c, struct sock *s, int from, bool cloexec)
{
    struct agent *a = c->agent;
    const int fd = free_fd(a, from);

    if (fd < 0)
        return call_fail(c, EMFILE);
    a->fds[fd] = s;
    a->cloexec[fd] = cloexec;
    sock_get(s);
    return call_return(c, fd);
}

/* ---- life */

static struct sock *sock_new(struct agent *a, int domain)
{
    struct sock *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->agent = a;
    s->domain = domain;
    s->opts = sock_opts_default(a);
    list_init(&s->queue);
    list_init(&s->in_queue);
    list_push_tail(&a->socks, &s->link);
    return s;
}

void sock_get(struct sock *s)
{
    s->refs++;
}

uint8_t sock_state(const struct sock *s)
{
    struct tcp_conn_info info;

    if (s->listener != NULL)
        return STATE_LISTEN;
    if (s->conn == NULL)
        return STATE_CLOSE;
    tcp_info(s->conn, &info);
    return info.state_number;
}

static void forget_left(struct sock *s)
{
    free(s->left);
    s->left = NULL;
    s->left_at = s->left_len = 0;
}

/* With the connections that nobody has accepted, which are reset. */
static void stop_listening(struct sock *s)
{
    struct list *l;

    if (s->listener == NULL)
        return;
    tcp_unlisten(s->listener);
    s->listener = NULL;
    while ((l = list_pop_head(&s->queue)) != NULL) {
        struct sock *child = container_of(l, struct sock, in_queue);

        if (child->conn != NULL)
            tcp_abort(child->conn);
        child->conn = NULL;
        sock_put(child);
    }
    s->n_queued = 0;
}

/* What is unread, SO_LINGER with no time, and a half-open connection make an RST of it. */
static void end_conn(struct sock *s)
{
    const bool abort = s->opts.linger_on && s->opts.linger_s == 0;

    if (s->conn == NULL)
        return;
    if (abort)
        tcp_abort(s->conn);
    else
        tcp_release(s->conn, s->agent->settings.fin_timeout_us);
    s->conn = NULL;
}

void sock_put(struct sock *s)
{
    if (--s->refs > 0)
        return;
    stop_listening(s);
    end_conn(s);
    forget_left(s);
    list_remove(&s->link);
    wake(s);
    free(s);
}

void socks_close(struct agent *a)
{
    for (int fd = 0; fd < AGENT_FDS; fd++) {
        if (a->fds[fd] != NULL)
            sock_put(a->fds[fd]);
        a->fds[fd] = NULL;
    }
}

/* Linux' tcp_disconnect(): as good as new, but for options and an address that was bound. */
static void disconnect(struct sock *s)
{
    if (s->conn != NULL) {
        s->err = ECONNRESET;
        tcp_abort(s->conn);
        s->conn = NULL;
    }
    stop_listening(s);
    forget_left(s);
    s->shut = 0;
    s->fin_rcvd = s->active = s->more = false;
    s->ss = SS_UNCONNECTED;
    s->remote = (struct ipport){ 0 };
    if (!s->bound)
        s->local.port = 0;
    if (!s->bound_addr)
        s->local.addr = (struct ipaddr){ 0 };
    wake(s);
}

int sock_take_err(struct sock *s)
{
    const int err = s->err;

    s->err = 0;
    return err;
}

void sock_tune(struct sock *s)
{
    const struct tcp_tuning tuning = sock_opts_tuning(s);

    if (s->listener != NULL)
        tcp_listener_tune(s->listener, &tuning);
    else if (s->conn != NULL)
        tcp_tune(s->conn, &tuning);
}

/* ---- events */

static void on_open(struct tcp_conn *c)
{
    struct sock *s = tcp_owner(c);

    s->local = tcp_local(c);
    wake(s);
}

/* Both directions are shut, and bytes have come that nobody can read (RFC 9293, 3.6.1). */
static void reset_deaf(struct sock *s)
{
    tcp_info(s->conn, &s->last);
    s->last.state_number = STATE_CLOSE;
    tcp_abort(s->conn);
    s->conn = NULL;
    s->shut = SHUT_BOTH;
    s->err = ECONNRESET;
}

static void on_readable(struct tcp_conn *c)
{
    struct sock *s = tcp_owner(c);

    s->data_us = s->agent->core.now_us;
    if (s->lingering || s->shut == SHUT_BOTH)
        reset_deaf(s);
    wake(s);
}

static void on_writable(struct tcp_conn *c)
{
    wake(tcp_owner(c));
}

static void on_peer_closed(struct tcp_conn *c)
{
    struct sock *s = tcp_owner(c);

    s->fin_rcvd = true;
    s->shut |= SHUT_READ;
    wake(s);
}

/* What came before an RST can still be read, as on Linux. */
static void keep_unread(struct sock *s, struct tcp_conn *c)
{
    const uint64_t n = tcp_recv_waiting(c);

    s->left = n > 0 ? malloc(n) : NULL;
    if (s->left != NULL)
        s->left_len = tcp_read(c, s->left, n, false);
}

static void on_closed(struct tcp_conn *c, int why)
{
    struct sock *s = tcp_owner(c);

    tcp_info(c, &s->last);
    s->last.state_number = STATE_CLOSE;
    keep_unread(s, c);
    /* The kernel's tcp_reset(): in CLOSE_WAIT it is a pipe that breaks. */
    if (why == -ECONNRESET && s->fin_rcvd && (s->shut & SHUT_WRITE) == 0)
        s->err = EPIPE;
    else
        s->err = -why;
    s->shut = SHUT_BOTH;
    s->conn = NULL;
    wake(s);
}

static const struct tcp_ops sock_ops = { on_open, on_readable, on_writable, on_peer_closed,
                                         on_closed };

/* ---- socket, bind */

bool op_socket(struct call *c)
{
    const int type = c->req.b & ~(SOCK_NONBLOCK | SOCK_CLOEXEC), proto = c->req.c;
    struct sock *s;
    bool done;

    if (c->req.a != AF_INET && c->req.a != AF_INET6)
        return call_fail(c, EAFNOSUPPORT);
    if (type < 0 || type > SOCK_PACKET)
        return call_fail(c, EINVAL);
    if (type != SOCK_STREAM)
        return call_fail(c, ESOCKTNOSUPPORT);
    if (proto != 0 && proto != 6)
        return call_fail(c, EPROTONOSUPPORT);
    s = sock_new(c->agent, c->req.a);
    if (s == NULL)
        return call_fail(c, ENOMEM);
    s->nonblock = (c->req.b & SOCK_NONBLOCK) != 0;
    sock_get(s);
    done = give_fd(c, s, 3, (c->req.b & SOCK_CLOEXEC) != 0);
    sock_put(s);
    return done;
}

static bool overlap(const struct ipaddr *a, const struct ipaddr *b)
{
    return a->family == IP_NONE || b->family == IP_NONE || ipaddr_eq(a, b);
}

/* May @s have @local? With SO_REUSEADDR on both sides all but a listener's; without, nobody's, not
 * even that of a connection in TIME_WAIT. */
static bool is_taken(const struct sock *s, const struct ipport *local)
{
    const struct list *l;

    list_for_each(l, &s->agent->socks)
    {
        const struct sock *o = container_of(l, struct sock, link);

        if (o == s || o->local.port != local->port || !overlap(&o->local.addr, &local->addr))
            continue;
        if (!o->bound && o->conn == NULL)
            continue;
        if (!s->opts.reuse_addr || !o->opts.reuse_addr || o->listener != NULL)
            return true;
    }
    return !s->opts.reuse_addr && tcp_port_in_use(s->agent->tcp, local);
}

/* A free port for bind() and listen(). */
static bool choose_port(const struct sock *s, struct ipport *local)
{
    const uint32_t n = EPHEMERAL_HIGH - EPHEMERAL_LOW + 1;
    const uint32_t start = (uint32_t)(core_random(&s->agent->core) >> 32) % n;

    for (uint32_t i = 0; i < n; i++) {
        local->port = (uint16_t)(EPHEMERAL_LOW + (start + i) % n);
        if (!is_taken(s, local))
            return true;
    }
    return false;
}

static int bind_to(struct sock *s, struct ipport local)
{
    if (local.port == 0) {
        if (!choose_port(s, &local))
            return EADDRINUSE;
    } else if (is_taken(s, &local)) {
        return EADDRINUSE;
    }
    s->local = local;
    s->bound = true;
    s->bound_addr = local.addr.family != IP_NONE;
    return 0;
}

bool op_bind(struct call *c)
{
    struct sock *s = sock_of(c);
    struct ipport local;
    int err;

    if (s == NULL)
        return call_fail(c, EBADF);
    err = addr_read(s, c->data, c->req.dlen, &local);
    if (err == ENETUNREACH) /* mapped, but for IPv6 only */
        err = EINVAL;
    if (err != 0)
        return call_fail(c, err);
    if (local.addr.family != IP_NONE && !net_is_local(c->agent->net, &local.addr))
        return call_fail(c, EADDRNOTAVAIL);
    if (sock_state(s) != STATE_CLOSE || s->bound)
        return call_fail(c, EINVAL);
    err = bind_to(s, local);
    return err != 0 ? call_fail(c, err) : call_return(c, 0);
}

/* ---- listen, accept */

static void hold(const struct sock *s)
{
    tcp_listener_hold(s->listener, s->n_queued > s->backlog);
}

/* The family that a listener was not made for is reset. */
static bool takes_family(const struct sock *s, const struct ipaddr *remote)
{
    return s->domain == AF_INET ? remote->family == IP_V4
                                : remote->family == IP_V6 || !s->opts.v6only;
}

static const struct tcp_ops *on_accept(void *ctx, struct tcp_conn *conn, void **owner)
{
    struct sock *s = ctx, *child;
    const struct ipport remote = tcp_remote(conn);

    if (!takes_family(s, &remote.addr))
        return NULL;
    child = sock_new(s->agent, s->domain);
    if (child == NULL)
        return NULL;
    child->opts = s->opts;
    child->ss = SS_CONNECTED;
    child->conn = conn;
    child->local = tcp_local(conn);
    child->remote = remote;
    sock_get(child);
    list_push_tail(&s->queue, &child->in_queue);
    s->n_queued++;
    hold(s);
    wake(s);
    *owner = child;
    return &sock_ops;
}

static int start_listening(struct sock *s)
{
    int err;

    if (!s->bound) {
        err = bind_to(s, (struct ipport){ 0 });
        if (err != 0)
            return err;
    } else if (is_taken(s, &s->local)) {
        return EADDRINUSE;
    }
    s->listener = tcp_listen(s->agent->tcp, &s->local, on_accept, s);
    if (s->listener == NULL)
        return EADDRINUSE;
    sock_tune(s);
    return 0;
}

bool op_listen(struct call *c)
{
    struct sock *s = sock_of(c);
    const uint32_t max = c->agent->settings.somaxconn;
    int err;

    if (s == NULL)
        return call_fail(c, EBADF);
    if ((sock_state(s) != STATE_CLOSE && s->listener == NULL) || s->ss != SS_UNCONNECTED)
        return call_fail(c, EINVAL);
    s->backlog = MIN((uint32_t)c->req.a, max);
    if (s->listener == NULL) {
        err = start_listening(s);
        if (err != 0)
            return call_fail(c, err);
    }
    hold(s);
    return call_return(c, 0);
}

bool op_accept(struct call *c)
{
    struct sock *s = sock_of(c), *child;
    struct list *l;
    bool done;

    if (s == NULL)
        return call_fail(c, EBADF);
    if (s->listener == NULL)
        return call_fail(c, EINVAL);
    if (free_fd(c->agent, 3) < 0)
        return call_fail(c, EMFILE);
    l = list_pop_head(&s->queue);
    if (l == NULL) {
        if (s->nonblock || c->timed_out)
            return call_fail(c, EAGAIN);
        return call_wait(c, s->opts.rcvtimeo_us);
    }
    s->n_queued--;
    hold(s);
    child = container_of(l, struct sock, in_queue);
    addr_write(c, child, &child->remote);
    done = give_fd(c, child, 3, false);
    sock_put(child); /* the queue's */
    return done;
}

/* ---- connect */

static int start_connecting(struct sock *s, const struct ipport *remote)
{
    struct agent *a = s->agent;
    const struct tcp_tuning tuning = sock_opts_tuning(s);
    const struct ipport *local = s->local.port != 0 || s->bound_addr ? &s->local : NULL;
    int err;

    if (remote->addr.family == IP_NONE || net_is_local(a->net, &remote->addr))
        return ENETUNREACH; /* there is no loopback */
    s->conn = tcp_connect(a->tcp, remote, local, &tuning, &sock_ops, s, &err);
    if (s->conn == NULL) /* no route; a neighbour that does not answer is found out later */
        return err == -EHOSTUNREACH ? ENETUNREACH : -err;
    s->local = tcp_local(s->conn);
    s->remote = *remote;
    s->active = true;
    s->ss = SS_CONNECTING;
    s->shut = 0;
    s->fin_rcvd = false;
    forget_left(s);
    return 0;
}

/* Where the handshake stands. */
static bool finish_connecting(struct call *c, struct sock *s, int meanwhile)
{
    const uint8_t state = sock_state(s);
    int err;

    if (state == STATE_SYN_SENT || state == STATE_SYN_RECV) {
        if (s->nonblock || c->timed_out)
            return call_fail(c, meanwhile);
        return call_wait(c, s->opts.sndtimeo_us);
    }
    if (state == STATE_CLOSE) {
        err = sock_take_err(s);
        disconnect(s);
        s->err = 0;
        return call_fail(c, err != 0 ? err : ECONNABORTED);
    }
    s->ss = SS_CONNECTED;
    return call_return(c, 0);
}

static bool is_unspec(const struct call *c)
{
    uint16_t family = AF_INET;

    if (c->req.dlen >= sizeof(family))
        memcpy(&family, c->data, sizeof(family));
    return family == AF_UNSPEC;
}

bool op_connect(struct call *c)
{
    struct sock *s = sock_of(c);
    struct ipport remote;
    int err;

    if (s == NULL)
        return call_fail(c, EBADF);
    if (c->again)
        return finish_connecting(c, s, EINPROGRESS);
    if (c->req.dlen < sizeof(uint16_t))
        return call_fail(c, EINVAL);
    if (is_unspec(c)) {
        disconnect(s);
        return call_return(c, 0);
    }
    switch (s->ss) {
    case SS_CONNECTED:
        return call_fail(c, EISCONN);
    case SS_CONNECTING:
        return finish_connecting(c, s, EALREADY);
    case SS_UNCONNECTED:
        break;
    }
    if (sock_state(s) != STATE_CLOSE)
        return call_fail(c, EISCONN);
    err = addr_read(s, c->data, c->req.dlen, &remote);
    if (err == 0)
        err = start_connecting(s, &remote);
    if (err != 0)
        return call_fail(c, err);
    return finish_connecting(c, s, EINPROGRESS);
}

/* ---- close, shutdown */

/* Has the peer everything, and our FIN? (tcp_close(): FIN_WAIT1, CLOSING, LAST_ACK) */
static bool is_delivered(const struct sock *s)
{
    const uint8_t state = sock_state(s);

    return state != STATE_FIN_WAIT1 && state != STATE_CLOSING && state != STATE_LAST_ACK;
}

static bool linger(struct call *c, struct sock *s)
{
    if (is_delivered(s) || c->timed_out)
        return call_return(c, 0);
    return call_wait(c, s->opts.linger_s * UINT64_C(1000000));
}

bool op_close(struct call *c)
{
    struct sock *s;

    if (c->again)
        return linger(c, c->sock);
    s = sock_of(c);
    if (s == NULL)
        return call_fail(c, EBADF);
    c->agent->fds[c->req.fd] = NULL;
    sock_put(s); /* the descriptor's; ours goes with the call */
    if (s->refs > 1 || !s->opts.linger_on || s->opts.linger_s == 0 || s->conn == NULL ||
        sock_unread(s) > 0 || sock_state(s) == STATE_SYN_SENT)
        return call_return(c, 0);
    s->lingering = true;
    s->shut = SHUT_BOTH;
    tcp_shutdown(s->conn);
    return linger(c, s);
}

bool op_shutdown(struct call *c)
{
    struct sock *s = sock_of(c);
    const uint8_t how = (uint8_t)(c->req.a + 1);
    uint8_t state;

    if (s == NULL)
        return call_fail(c, EBADF);
    if (c->req.a < SHUT_RD || c->req.a > SHUT_RDWR)
        return call_fail(c, EINVAL);
    state = sock_state(s);
    if (state == STATE_SYN_SENT || (state == STATE_LISTEN && (how & SHUT_READ) != 0)) {
        disconnect(s);
        return call_return(c, 0);
    }
    if (state == STATE_LISTEN)
        return call_return(c, 0);
    s->shut |= how;
    wake(s);
    if (state == STATE_CLOSE)
        return call_fail(c, ENOTCONN);
    if (s->ss == SS_CONNECTING && state != STATE_SYN_RECV)
        s->ss = SS_CONNECTED;
    if ((how & SHUT_WRITE) != 0)
        tcp_shutdown(s->conn);
    return call_return(c, 0);
}

/* ---- poll */

/* A third of the buffer is free, and half of TCP_NOTSENT_LOWAT (sk_stream_is_writeable()). */
static bool is_writable(const struct sock *s)
{
    struct tcp_conn_info info;
    uint32_t room;

    if (s->conn == NULL)
        return true;
    tcp_info(s->conn, &info);
    room = tcp_send_room(s->conn);
    return room > 0 && room >= MIN(info.send_queue / 2, tcp_tuning(s->conn)->notsent_lowat / 2);
}

short sock_poll(const struct sock *s)
{
    const uint8_t state = sock_state(s);
    short mask = s->err != 0 ? POLLERR : 0;

    if (state == STATE_LISTEN)
        return list_is_empty(&s->queue) ? 0 : POLLIN | POLLRDNORM;
    if (s->shut == SHUT_BOTH || state == STATE_CLOSE)
        mask |= POLLHUP;
    if ((s->shut & SHUT_READ) != 0)
        mask |= POLLIN | POLLRDNORM | POLLRDHUP;
    if (state == STATE_SYN_SENT || (state == STATE_SYN_RECV && s->active))
        return mask;
    if (sock_unread(s) >= MAX(s->opts.rcvlowat, 1))
        mask |= POLLIN | POLLRDNORM;
    if ((s->shut & SHUT_WRITE) != 0 || is_writable(s))
        mask |= POLLOUT | POLLWRNORM;
    return mask;
}

static bool prepare_poll(struct call *c)
{
    const uint32_t n = c->req.dlen / sizeof(struct pollfd);
    struct pollfd p;

    c->polled = calloc(MAX(n, 1), sizeof(struct sock *));
    if (c->polled == NULL)
        return false;
    c->n_polled = n;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(&p, c->data + i * sizeof(p), sizeof(p));
        if (p.fd < 0 || p.fd >= AGENT_FDS || c->agent->fds[p.fd] == NULL)
            continue;
        c->polled[i] = c->agent->fds[p.fd];
        sock_get(c->polled[i]);
    }
    return true;
}

static short poll_one(const struct call *c, uint32_t i, const struct pollfd *p)
{
    if (p->fd < 0)
        return 0;
    if (c->polled[i] == NULL)
        return POLLNVAL;
    return sock_poll(c->polled[i]) & (short)(p->events | POLLERR | POLLHUP);
}

bool op_poll(struct call *c)
{
    const bool once = c->req.a == 0 || c->timed_out;
    uint32_t n_ready = 0;
    struct pollfd p;
    uint8_t *out;

    if (c->req.dlen % sizeof(p) != 0 || c->req.dlen / sizeof(p) > POLLED_MAX)
        return call_fail(c, EINVAL);
    if (c->polled == NULL && !prepare_poll(c))
        return call_fail(c, ENOMEM);
    out = call_out(c, c->req.dlen);
    if (out == NULL)
        return call_fail(c, ENOMEM);
    for (uint32_t i = 0; i < c->n_polled; i++) {
        memcpy(&p, c->data + i * sizeof(p), sizeof(p));
        p.revents = poll_one(c, i, &p);
        n_ready += p.revents != 0;
        memcpy(out + i * sizeof(p), &p, sizeof(p));
    }
    if (n_ready > 0 || once)
        return call_return(c, n_ready);
    return call_wait(c, c->req.a < 0 ? UINT64_MAX : (uint64_t)c->req.a * 1000);
}

/* ---- fcntl, ioctl */

bool op_fcntl(struct call *c)
{
    struct sock *s = sock_of(c);
    const int32_t arg = c->req.b;
    bool *cloexec;

    if (s == NULL)
        return call_fail(c, EBADF);
    cloexec = &c->agent->cloexec[c->req.fd];
    switch (c->req.a) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        if (arg < 0 || arg >= AGENT_FDS)
            return call_fail(c, EINVAL);
        return give_fd(c, s, arg, c->req.a == F_DUPFD_CLOEXEC);
    case F_GETFD:
        return call_return(c, *cloexec ? FD_CLOEXEC : 0);
    case F_SETFD:
        *cloexec = (arg & FD_CLOEXEC) != 0;
        return call_return(c, 0);
    case F_GETFL:
        return call_return(c, O_RDWR | (s->nonblock ? O_NONBLOCK : 0));
    case F_SETFL:
        s->nonblock = (arg & O_NONBLOCK) != 0;
        return call_return(c, 0);
    default:
        return call_fail(c, EINVAL);
    }
}

/* Of the send queue; a FIN that is not acknowledged counts, as on Linux. */
static uint32_t not_acked(const struct sock *s, bool unsent_only)
{
    struct tcp_conn_info info;

    if (s->conn == NULL)
        return 0;
    tcp_info(s->conn, &info);
    if (info.state_number == STATE_SYN_SENT || info.state_number == STATE_SYN_RECV)
        return 0;
    if (unsent_only)
        return info.unsent;
    return info.send_queue + !is_delivered(s);
}

bool op_ioctl(struct call *c)
{
    struct sock *s = sock_of(c);
    uint32_t n;
    void *out;

    if (s == NULL)
        return call_fail(c, EBADF);
    switch ((uint32_t)c->req.a) {
    case SIOCINQ:
        n = (uint32_t)sock_unread(s);
        break;
    case SIOCOUTQ:
        n = not_acked(s, false);
        break;
    case SIOCOUTQNSD:
        n = not_acked(s, true);
        break;
    default:
        return call_fail(c, ENOTTY);
    }
    if (s->listener != NULL)
        return call_fail(c, EINVAL);
    out = call_out(c, sizeof(n));
    if (out == NULL)
        return call_fail(c, ENOMEM);
    memcpy(out, &n, sizeof(n));
    return call_return(c, 0);
}
