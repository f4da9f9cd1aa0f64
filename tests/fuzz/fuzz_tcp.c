/*
 * Segments for listening, opening and open connections, and an owner who does what owners
 * may do. Sequence numbers are relative to what the stack expects, so that most
 * segments get somewhere; options and flags are any.
 */
#include "dataplane/net/bytes.h"
#include "dataplane/tcp/tcp.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/stack.h"

#include <stdlib.h>

#define N_CONNS 4
#define SEND_MAX 8000

struct slot {
    struct tcp_conn *conn;
    bool taken, active;
    uint16_t our_port;
    uint32_t seq, ack; /* the peer's next, and what it has seen of ours: from our segments */
};

struct run {
    struct stack stack;
    struct tcp *tcp;
    struct slot slots[N_CONNS];
    uint8_t owner; /* what the owner does within events */
};

static struct run *current;

static struct slot *slot_of(struct tcp_conn *c)
{
    return tcp_owner(c);
}

static void in_event(struct tcp_conn *c)
{
    struct slot *s = slot_of(c);

    if (s->conn != c)
        abort();
    current->owner = (uint8_t)(current->owner * 5 + 1);
    switch (current->owner >> 5) {
    case 0:
        s->conn = NULL;
        tcp_abort(c);
        break;
    case 1:
        s->conn = NULL;
        tcp_release(c, 1000000);
        break;
    case 2:
        tcp_shutdown(c);
        break;
    default:
        break;
    }
}

static void on_closed(struct tcp_conn *c, int why)
{
    struct slot *s = slot_of(c);

    if (s->conn != c)
        abort();
    s->conn = NULL;
}

static const struct tcp_ops ops = { in_event, in_event, in_event, in_event, on_closed };

static const struct tcp_ops *accept_one(void *ctx, struct tcp_conn *c, void **owner)
{
    struct run *r = ctx;
    struct slot *s = &r->slots[tcp_remote(c).port % N_CONNS];

    if (s->conn != NULL)
        return NULL;
    s->conn = c;
    *owner = s;
    return &ops;
}

/* What the stack says tells where its peer stands. */
static void look_at_output(struct run *r)
{
    const struct stack_frame *f;
    struct frame_tcp t;

    while ((f = stack_next(&r->stack)) != NULL) {
        struct slot *s;

        if (get16(f->b + 12) != 0x0800)
            continue;
        if (!frame_read_tcp(f->b, f->len, &t))
            abort();
        s = &r->slots[t.dst % N_CONNS];
        if ((t.flags & 16) != 0)
            s->seq = t.ack;
        s->ack = t.seq + t.len + ((t.flags & 3) != 0);
        s->our_port = t.src;
    }
}

static void segment(struct run *r, struct fuzz *in)
{
    static const uint8_t payload[1500];
    const uint8_t which = fuzz_u8(in);
    struct slot *s = &r->slots[which % N_CONNS];
    const uint8_t hdr_words = 5 + (which >> 4) % 11;
    uint8_t tcp[60] = { 0 }, flags = fuzz_u8(in);
    struct frame f;

    put16(tcp, (uint16_t)(4000 + which % N_CONNS));
    put16(tcp + 2, s->our_port);
    put32(tcp + 4, s->seq + (uint32_t)(int16_t)fuzz_u16(in));
    put32(tcp + 8, s->ack + (uint32_t)(int16_t)fuzz_u16(in));
    tcp[12] = (uint8_t)(hdr_words << 4);
    tcp[13] = flags;
    put16(tcp + 14, fuzz_u16(in));
    fuzz_bytes(in, tcp + 20, (hdr_words - 5) * 4u);
    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, PEER, US, 6, NULL, 0);
    frame_bytes(&f, tcp, hdr_words * 4u);
    frame_bytes(&f, payload, (flags & 64) != 0 ? fuzz_u16(in) % sizeof(payload) : 0);
    frame_done(&f);
    stack_rx(&r->stack, &f);
}

static void own(struct run *r, struct fuzz *in)
{
    const uint8_t what = fuzz_u8(in);
    struct slot *s = &r->slots[what % N_CONNS];
    struct tcp_conn *c = s->conn;
    struct pktq q;

    pktq_init(&q);
    if (c == NULL)
        return;
    switch (what >> 5) {
    case 0:
        s->conn = NULL;
        tcp_abort(c);
        break;
    case 1:
        s->conn = NULL;
        tcp_release(c, (uint64_t)fuzz_u8(in) * 100000);
        break;
    case 2:
        tcp_shutdown(c);
        break;
    case 3:
    case 4:
        tcp_recv(c, &q, fuzz_u16(in));
        pktq_clear(&q);
        break;
    default: {
        static const uint8_t bytes[SEND_MAX];

        (void)pktq_append(&q, &r->stack.pool.pool, bytes, fuzz_u16(in) % SEND_MAX, 1400);
        (void)tcp_send(c, &q);
        break;
    }
    }
}

static void connect_one(struct run *r, unsigned i)
{
    const struct ipport remote = { ipaddr_v4(PEER), (uint16_t)(4000 + i) };
    struct slot *s = &r->slots[i];
    int err;

    if (s->conn == NULL)
        s->conn = tcp_connect(r->tcp, &remote, NULL, NULL, &ops, s, &err);
}

static void icmp(struct run *r, struct fuzz *in)
{
    const uint8_t which = fuzz_u8(in);
    struct slot *s = &r->slots[which % N_CONNS];
    uint8_t quote[28] = { 0x45, [9] = 6 };
    struct frame f;

    put32(quote + 12, US);
    put32(quote + 16, PEER);
    put16(quote + 20, s->our_port);
    put16(quote + 22, (uint16_t)(4000 + which % N_CONNS));
    put32(quote + 24, s->ack - 1 - fuzz_u8(in));
    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, GATEWAY, US, 1, NULL, 0);
    frame_icmp(&f, 3, which >> 4, fuzz_u16(in), quote, sizeof(quote));
    frame_done(&f);
    stack_rx(&r->stack, &f);
}

static void flush(void *ctx)
{
    tcp_flush(((struct run *)ctx)->tcp);
}

static void start(struct run *r, struct fuzz *in)
{
    const struct ipport any = { .port = 80 };
    const struct tcp_conf conf = { .max_conns = N_CONNS,
                                   .max_half_open = 2,
                                   .max_time_wait = 2,
                                   .recv_buf = 1 + fuzz_u16(in) % 20000,
                                   .send_buf = 4000,
                                   .ooo_pkts = 4,
                                   .max_retries = 3,
                                   .keepalive_us = 20000000 };

    stack_init(&r->stack);
    r->stack.answer_arp = true;
    r->tcp = tcp_new(&r->stack.core, r->stack.net, &conf);
    r->stack.flush = flush;
    r->stack.flush_ctx = r;
    r->owner = fuzz_u8(in);
    for (unsigned i = 0; i < N_CONNS; i++)
        r->slots[i].our_port = 80;
    if (tcp_listen(r->tcp, &any, accept_one, r) == NULL)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz in = { data, size };
    struct run *r = calloc(1, sizeof(*r));

    if (r == NULL || size > 4096) {
        free(r);
        return 0;
    }
    current = r;
    start(r, &in);
    while (in.len > 0) {
        const uint8_t what = fuzz_u8(&in);

        if (what < 160)
            segment(r, &in);
        else if (what < 200)
            own(r, &in);
        else if (what < 210)
            connect_one(r, what % N_CONNS);
        else if (what < 220)
            icmp(r, &in);
        else
            stack_run(&r->stack, (uint64_t)(what - 219) * (what - 219) * 10000);
        stack_flush(&r->stack);
        look_at_output(r);
    }
    tcp_free(r->tcp);
    r->stack.flush = NULL;
    stack_fini(&r->stack);
    free(r);
    return 0;
}
