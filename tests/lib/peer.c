#include "tests/lib/peer.h"

#include <stdio.h>
#include <stdlib.h>

static void note(struct peer *t, const char *event)
{
    const size_t used = strlen(t->events);

    snprintf(t->events + used, sizeof(t->events) - used, "%s%s", used > 0 ? " " : "", event);
    if (t->hook != NULL)
        t->hook(t, event);
}

static void on_open(struct tcp_conn *c)
{
    note(tcp_owner(c), "open");
}

static void on_readable(struct tcp_conn *c)
{
    note(tcp_owner(c), "readable");
}

static void on_writable(struct tcp_conn *c)
{
    note(tcp_owner(c), "writable");
}

static void on_peer_closed(struct tcp_conn *c)
{
    note(tcp_owner(c), "peer_closed");
}

static void on_closed(struct tcp_conn *c, int why)
{
    struct peer *t = tcp_owner(c);

    t->conn = NULL;
    t->why = why;
    note(t, why == 0 ? "closed" : "failed");
}

static void on_woken(struct tcp_conn *c)
{
    struct peer *t = tcp_owner(c);

    t->conn = c;
    note(t, "woken");
}

const struct tcp_ops peer_ops = { on_open,        on_readable, on_writable,
                                  on_peer_closed, on_closed,   on_woken };

static const struct tcp_ops *accept_one(void *ctx, struct tcp_conn *c, void **owner)
{
    struct peer *t = ctx;

    if (t->refuse)
        return NULL;
    assert_null(t->conn);
    t->conn = c;
    *owner = t;
    note(t, "accept");
    return &peer_ops;
}

static void flush(void *ctx)
{
    struct peer *t = ctx;

    tcp_flush(t->tcp);
}

void peer_init(struct peer *t, const struct tcp_conf *conf)
{
    const struct tcp_conf none = { 0 };
    const struct ipport local = { .port = OUR_PORT };

    memset(t, 0, sizeof(*t));
    stack_init(&t->stack);
    t->tcp = tcp_new(&t->stack.core, t->stack.net, conf != NULL ? conf : &none);
    assert_non_null(t->tcp);
    t->stack.flush = flush;
    t->stack.flush_ctx = t;
    t->stack.answer_arp = true;
    t->their_iss = PEER_ISS;
    t->wnd = 65535;
    t->mss = 1460;
    t->wscale = -1;
    t->their_port = PEER_PORT;
    t->peer = PEER;
    t->our_port = OUR_PORT;
    t->listener = tcp_listen(t->tcp, &local, accept_one, t);
    assert_non_null(t->listener);
}

void peer_fini(struct peer *t)
{
    tcp_free(t->tcp);
    t->stack.flush = NULL;
    stack_fini(&t->stack);
}

static uint8_t flags_of(const char *flags)
{
    static const char names[] = "FSRPA";
    uint8_t f = 0;

    for (; *flags != '\0'; flags++)
        f |= (uint8_t)(1 << (strchr(names, *flags) - names));
    return f;
}

void peer_tx_bytes(struct peer *t, const char *flags, uint32_t seq, uint32_t ack, const void *bytes,
                   uint32_t len)
{
    struct frame_tcp s = { .src = t->their_port,
                           .dst = t->our_port,
                           .seq = t->their_iss + seq,
                           .flags = flags_of(flags),
                           .wnd = t->wnd,
                           .wscale = t->wscale,
                           .has_ts = t->ts,
                           .tsval = t->tsval,
                           .payload = bytes,
                           .len = len };
    struct frame f;

    if (strchr(flags, 'A') != NULL)
        s.ack = t->our_iss + ack;
    if (strchr(flags, 'S') != NULL)
        s.mss = t->mss;
    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, t->peer, US, 6, NULL, 0);
    frame_tcp(&f, &s);
    frame_done(&f);
    stack_rx(&t->stack, &f);
}

void peer_tx(struct peer *t, const char *flags, uint32_t seq, uint32_t ack, uint32_t len)
{
    static const uint8_t zeros[2048];

    peer_tx_bytes(t, flags, seq, ack, zeros, len);
}

struct frame_tcp peer_rx_any(struct peer *t)
{
    const struct stack_frame *f;
    struct frame_tcp s;

    stack_flush(&t->stack);
    f = stack_next(&t->stack);
    assert_non_null(f);
    assert_true(frame_read_tcp(f->b, f->len, &s));
    assert_int_equal(s.dst, t->their_port);
    return s;
}

struct frame_tcp peer_rx(struct peer *t, const char *flags, uint32_t seq, uint32_t ack,
                         uint32_t len)
{
    struct frame_tcp s = peer_rx_any(t);

    assert_int_equal(s.flags, flags_of(flags));
    assert_int_equal(s.seq - t->our_iss, seq);
    if (strchr(flags, 'A') != NULL)
        assert_int_equal(s.ack - t->their_iss, ack);
    assert_int_equal(s.len, len);
    return s;
}

void peer_rx_none(struct peer *t)
{
    stack_flush(&t->stack);
    assert_null(stack_next(&t->stack));
}

void peer_accept(struct peer *t)
{
    struct frame_tcp s;

    peer_tx(t, "S", 0, 0, 0);
    s = peer_rx_any(t);
    t->our_iss = s.seq;
    assert_int_equal(s.flags, flags_of("SA"));
    assert_int_equal(s.ack, t->their_iss + 1);
    peer_tx(t, "A", 1, 1, 0);
    peer_rx_none(t);
    peer_events(t, "accept");
}

void peer_connect(struct peer *t)
{
    const struct ipport remote = { ipaddr_v4(PEER), t->their_port };
    int err;

    t->conn = tcp_connect(t->tcp, &remote, NULL, NULL, &peer_ops, t, &err);
    assert_non_null(t->conn);
    t->our_port = tcp_local(t->conn).port;
    t->our_iss = 0;
    t->our_iss = peer_rx_any(t).seq;
}

void peer_send(struct peer *t, uint32_t len)
{
    struct pktq q;

    pktq_init(&q);
    while (len > 0) {
        struct pkt *p = pkt_alloc(&t->stack.pool.pool);
        const uint32_t part = MIN(len, tcp_mss(t->conn));

        memset(pkt_put(p, part), 'x', part);
        pktq_push(&q, p);
        len -= part;
    }
    assert_int_equal(tcp_send(t->conn, &q), 0);
}

uint64_t peer_recv(struct peer *t)
{
    struct pktq q;
    uint64_t n;

    pktq_init(&q);
    n = tcp_recv(t->conn, &q, UINT64_MAX);
    pktq_clear(&q);
    return n;
}

void peer_run(struct peer *t, uint64_t for_us)
{
    stack_run(&t->stack, for_us);
}

void peer_events(struct peer *t, const char *events)
{
    assert_string_equal(t->events, events);
    t->events[0] = '\0';
}
