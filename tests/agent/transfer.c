/* read, recv, write, send: as in the kernel's tcp_recvmsg() and tcp_sendmsg(). */
#include "tests/agent/sock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

/* ---- receiving */

uint64_t sock_unread(const struct sock *s)
{
    return s->conn != NULL ? tcp_recv_waiting(s->conn) : s->left_len - s->left_at;
}

/* Up to @max unread bytes to @to, which may be NULL: thrown away. */
static uint64_t take(struct sock *s, uint8_t *to, uint64_t max, bool peek)
{
    uint8_t nowhere[4096];
    uint64_t n = MIN(max, sock_unread(s));

    if (s->conn == NULL) {
        if (to != NULL && n > 0)
            memcpy(to, s->left + s->left_at, n);
        s->left_at += peek ? 0 : n;
        return n;
    }
    if (to != NULL)
        return tcp_read(s->conn, to, n, peek);
    for (uint64_t at = 0; at < n;)
        at += tcp_read(s->conn, nowhere, MIN(n - at, sizeof(nowhere)), peek);
    return n;
}

/* The reply data grows by up to @want bytes of what is unread. False: no memory. */
static bool take_more(struct call *c, uint64_t want, int flags)
{
    struct sock *s = c->sock;
    const bool peek = (flags & MSG_PEEK) != 0;
    const uint64_t n = MIN(want, sock_unread(s));
    uint8_t *out;

    if ((flags & MSG_TRUNC) != 0) {
        c->progress += peek ? n : take(s, NULL, n, false);
        return true;
    }
    out = realloc(c->out, MAX(c->progress + n, 1));
    if (out == NULL)
        return false;
    c->out = out;
    c->progress += take(s, out + c->progress, n, peek);
    c->out_len = (uint32_t)c->progress;
    return true;
}

/* Nothing has come: why not, and is it worth waiting? */
static bool nothing(struct call *c, bool nonblock)
{
    struct sock *s = c->sock;

    if (s->err != 0)
        return call_fail(c, sock_take_err(s));
    if ((s->shut & SHUT_READ) != 0)
        return call_return(c, 0);
    if (sock_state(s) == STATE_CLOSE)
        return call_fail(c, ENOTCONN);
    if (nonblock || c->timed_out)
        return call_fail(c, EAGAIN);
    return call_wait(c, s->opts.rcvtimeo_us);
}

static bool receive(struct call *c, int flags)
{
    struct sock *s = c->sock;
    const bool nonblock = s->nonblock || (flags & MSG_DONTWAIT) != 0;
    const bool peek = (flags & MSG_PEEK) != 0;
    const uint64_t len = MIN((uint32_t)c->req.a, AGENT_DATA_MAX);
    const uint64_t least = (flags & MSG_WAITALL) != 0 ? len : MIN(s->opts.rcvlowat, len);

    if (c->req.a < 0)
        return call_fail(c, EINVAL);
    if (s->listener != NULL)
        return call_fail(c, ENOTCONN);
    if (peek)
        c->progress = 0; /* from the start each time */
    if (len == 0 && sock_unread(s) > 0)
        return call_return(c, 0);
    if (!take_more(c, len - c->progress, flags))
        return call_fail(c, ENOMEM);
    if (c->progress > 0 && (c->progress >= least || nonblock || c->timed_out || s->err != 0 ||
                            (s->shut & SHUT_READ) != 0 || sock_state(s) == STATE_CLOSE))
        return call_return(c, (int64_t)c->progress);
    if (c->progress > 0)
        return call_wait(c, s->opts.rcvtimeo_us);
    return nothing(c, nonblock);
}

/* ---- sending */

static bool broken(struct call *c)
{
    const int err = sock_take_err(c->sock);

    return call_fail(c, err != 0 ? err : EPIPE);
}

/* As many of the bytes left as there is room for now. 0 or -EPIPE. */
static int push(struct call *c)
{
    struct sock *s = c->sock;
    struct agent *a = c->agent;
    const uint64_t left = c->req.dlen - c->progress;
    const uint64_t n = MIN(left, tcp_send_room(s->conn));
    struct pktq q;

    if (n == 0)
        return 0;
    pktq_init(&q);
    if (!pktq_append(&q, a->core.pool, c->data + c->progress, n, tcp_mss(s->conn)))
        return 0; /* no packets: as if there were no room */
    if (tcp_send(s->conn, &q) < 0)
        return -EPIPE;
    c->progress += n;
    return 0;
}

/* Bytes that leave make room for others where TCP_NOTSENT_LOWAT is the limit. */
static int push_all(struct call *c)
{
    struct sock *s = c->sock;
    uint64_t before;
    int rc;

    do {
        before = c->progress;
        rc = push(c);
        if (rc < 0 || c->progress == c->req.dlen)
            return rc;
        agent_flush(s->agent);
    } while (c->progress > before && s->conn != NULL);
    return 0;
}

/* MSG_MORE is a cork for one call. */
static void set_more(struct sock *s, bool more)
{
    if (s->more == more)
        return;
    s->more = more;
    sock_tune(s);
}

static bool wait_to_send(struct call *c, bool nonblock)
{
    if (!nonblock && !c->timed_out)
        return call_wait(c, c->sock->opts.sndtimeo_us);
    if (c->progress > 0)
        return call_return(c, (int64_t)c->progress);
    return call_fail(c, EAGAIN);
}

static bool transmit(struct call *c, int flags)
{
    struct sock *s = c->sock;
    const bool nonblock = s->nonblock || (flags & MSG_DONTWAIT) != 0;
    const uint8_t state = sock_state(s);

    if (c->progress > 0 && (s->err != 0 || (s->shut & SHUT_WRITE) != 0 || s->conn == NULL))
        return call_return(c, (int64_t)c->progress); /* the next call tells why */
    if (s->err != 0 || (s->shut & SHUT_WRITE) != 0)
        return broken(c);
    if (state == STATE_SYN_SENT || state == STATE_SYN_RECV)
        return wait_to_send(c, nonblock);
    if (state != STATE_ESTABLISHED && state != STATE_CLOSE_WAIT)
        return broken(c);
    if (c->req.dlen > 0)
        set_more(s, (flags & MSG_MORE) != 0);
    if (c->again && (sock_poll(s) & POLLOUT) == 0)
        return wait_to_send(c, nonblock);
    if (push_all(c) < 0)
        return broken(c);
    if (c->progress < c->req.dlen)
        return wait_to_send(c, nonblock);
    return call_return(c, (int64_t)c->progress);
}

/* ---- operations */

bool op_read(struct call *c)
{
    if (sock_of(c) == NULL)
        return call_fail(c, EBADF);
    return c->req.a == 0 ? call_return(c, 0) : receive(c, 0);
}

bool op_recv(struct call *c)
{
    if (sock_of(c) == NULL)
        return call_fail(c, EBADF);
    if ((c->req.b & MSG_OOB) != 0)
        return call_fail(c, EINVAL); /* there is no urgent data */
    if ((c->req.b & MSG_ERRQUEUE) != 0)
        return call_fail(c, EAGAIN); /* nor an error queue */
    return receive(c, c->req.b);
}

bool op_write(struct call *c)
{
    return sock_of(c) != NULL ? transmit(c, 0) : call_fail(c, EBADF);
}

bool op_send(struct call *c)
{
    if (sock_of(c) == NULL)
        return call_fail(c, EBADF);
    if ((c->req.b & (MSG_OOB | MSG_FASTOPEN | MSG_ZEROCOPY)) != 0)
        return call_fail(c, EOPNOTSUPP);
    return transmit(c, c->req.b);
}
