/*
 * isthmus-micro-tcp - cycles a packet costs TCP, with few connections and with many
 *
 * One net and one tcp, a port that swallows what is sent, and peers that are nothing but the
 * segments written here. Connections take turns in a random order, 32 at a time as in a burst, so
 * that with many of them each packet finds its connection outside the caches, as it does in life.
 * The last two rows are four connections of a burst with eight whole segments each, out and in.
 *
 * usage: isthmus-micro-tcp [--software] [--no-trains] [--recorders N] [--rounds N] [CONNECTIONS...]
 *
 * --software: the port computes and cuts nothing itself; --no-trains: each segment is a packet;
 * --recorders: flight recorders of TCP; --rounds: bursts, 4,000 if not told.
 */
#include "dataplane/tcp/tcp.h"
#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/base/reserve.h"
#include "dataplane/net/net.h"
#include "drivers/offload.h"

#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>

#define BATCH 32u
#define ROUNDS 4000u
#define PAYLOAD 1000u
#define HEADERS (14 + 20 + 32)
#define ISS 1000u

#define BULK 8u /* segments of one connection, one after the other */

enum row { RECEIVE, DATA, ACK, TRANSMIT, TIMERS, BULK_OUT, BULK_IN, ROWS };
static const char *const names[ROWS] = {
    [RECEIVE] = "receive",    [DATA] = "data in order", [ACK] = "acknowledgement",
    [TRANSMIT] = "transmit",  [TIMERS] = "timers",      [BULK_OUT] = "8 out, each",
    [BULK_IN] = "8 in, each",
};

struct buf {
    struct pkt pkt;
    uint16_t refs;
    uint8_t bytes[PKT_HEADROOM + 2048];
};

struct conn {
    struct tcp_conn *tcp;
    uint32_t n; /* which peer */
    uint32_t seq, ack;
};

static bool software, no_trains;
static struct core core;
static struct net *net;
static struct tcp *tcp;
static struct conn *conns;
static uint32_t n_conns, recorders, n_rounds = ROUNDS;
static const uint8_t us[6] = { 2, 0, 0, 0, 0, 1 }, router[6] = { 2, 0, 0, 0, 0, 2 };

/* ---- packets from malloc, kept in a list when they are given back */

static struct pkt *spare;

static unsigned refill(struct pkt_pool *pool, struct pkt **to, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct buf *b;

        if (spare != NULL) {
            to[i] = spare;
            spare = spare->next;
            continue;
        }
        b = calloc(1, sizeof(*b));
        if (b == NULL)
            return i;
        b->refs = 1;
        b->pkt = (struct pkt){
            .head = b->bytes, .end = b->bytes + sizeof(b->bytes), .pool = pool, .refs = &b->refs
        };
        to[i] = &b->pkt;
    }
    return n;
}

static void drain(struct pkt_pool *pool, struct pkt **from, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        from[i]->next = spare;
        spare = from[i];
    }
}

static void put_shared(struct pkt_pool *pool, struct pkt *p)
{
    if (--*p->refs == 0) {
        *p->refs = 1;
        drain(pool, &p, 1);
    }
}

static const struct pkt_pool_ops pool_ops = { refill, drain, put_shared };
static struct pkt_pool pool = { .ops = &pool_ops,
                                .room = PKT_HEADROOM + 2048,
                                .cache_max = PKT_POOL_CACHE };

/* ---- the peers */

/* The last segment sent is what a handshake needs to know of. */
static uint32_t last_seq, last_ts;

static void swallow(void *ctx, uint8_t port, struct pkt *p)
{
    const uint8_t *at = p->data + 14 + 20;
    struct pkt *frames[PKT_TRAIN_MAX];

    if (p->len >= HEADERS && at[-20] == 0x45) {
        last_seq = get32(at + 4);
        last_ts = get32(at + 24);
    }
    if (software && p->n_more > 0) {
        const unsigned n = offload_split(p, false, frames);

        for (unsigned i = 0; i < n; i++)
            pkt_free(frames[i]);
        return;
    }
    pkt_free(p);
}

static uint32_t ms(void)
{
    return (uint32_t)(core.now_us / 1000);
}

static struct pkt *segment(const struct conn *c, uint8_t flags, uint32_t len)
{
    struct pkt *p = pkt_alloc(&pool);
    uint8_t *eth = pkt_put(p, HEADERS + len), *ip = eth + 14, *at = ip + 20;

    memcpy(eth, us, 6);
    memcpy(eth + 6, router, 6);
    put16(eth + 12, 0x0800);
    ip[0] = 0x45;
    ip[1] = 0;
    put16(ip + 2, (uint16_t)(20 + 32 + len));
    put32(ip + 4, 0x4000);
    ip[8] = 64;
    ip[9] = 6;
    put16(ip + 10, 0);
    put32(ip + 12, 0x0b000000 + (c->n >> 14));
    put32(ip + 16, 0x0a000001);
    put16(at, (uint16_t)(1024 + (c->n & 0x3fff)));
    put16(at + 2, 80);
    put32(at + 4, c->seq);
    put32(at + 8, c->ack);
    at[12] = 0x80;
    at[13] = flags;
    put16(at + 14, 65535);
    put32(at + 16, 0);
    at[20] = at[21] = 1;
    at[22] = 8;
    at[23] = 10;
    put32(at + 24, ms());
    put32(at + 28, last_ts);
    p->flags = PKT_RX_IP_CSUM_GOOD | PKT_RX_L4_CSUM_GOOD;
    return p;
}

/* The same without the port's word for it. */
static void uncheck(struct pkt *p)
{
    uint8_t *ip = p->data + 14, *at = ip + 20;
    const uint32_t len = p->len - 14 - 20;
    const struct ipaddr src = ipaddr_v4(get32(ip + 12)), dst = ipaddr_v4(get32(ip + 16));

    cksum_store(ip + 10, cksum_finish(cksum_add(0, ip, 20)));
    cksum_store(at + 16, cksum_finish(cksum_add(cksum_pseudo(&src, &dst, 6, len), at, len)));
    p->flags = 0;
}

static void on_readable(struct tcp_conn *c)
{
    struct pktq q;

    pktq_init(&q);
    tcp_recv(c, &q, UINT64_MAX);
    pktq_clear(&q);
}

static void on_closed(struct tcp_conn *c, int why)
{
    fprintf(stderr, "a connection has ended: %d\n", why);
    abort();
}

static const struct tcp_ops ops = { .on_readable = on_readable, .on_closed = on_closed };

static const struct tcp_ops *accept_one(void *ctx, struct tcp_conn *c, void **owner)
{
    conns[n_conns].tcp = c;
    return &ops;
}

static void rx_one(struct pkt *p)
{
    net_rx(net, &p, 1);
    tcp_flush(tcp);
}

static void open_one(uint32_t n)
{
    struct conn *c = &conns[n_conns];

    *c = (struct conn){ .n = n, .seq = ISS };
    rx_one(segment(c, 2, 0));
    c->seq++;
    c->ack = last_seq + 1;
    rx_one(segment(c, 16, 0));
    if (c->tcp == NULL)
        abort();
    n_conns++;
}

/* ---- what is measured */

struct burst {
    struct conn *c[BATCH];
    struct pkt *p[BATCH];
};

static void write_all(struct burst *b, uint32_t len)
{
    for (unsigned i = 0; i < BATCH; i++)
        b->p[i] = segment(b->c[i], 16, len);
}

static uint64_t rx_all(struct burst *b)
{
    const uint64_t start = __rdtsc();

    net_rx(net, b->p, BATCH);
    tcp_flush(tcp);
    return __rdtsc() - start;
}

static uint64_t send_all(struct burst *b)
{
    struct pktq q;
    uint64_t start;

    for (unsigned i = 0; i < BATCH; i++) {
        b->p[i] = pkt_alloc(&pool);
        pkt_put(b->p[i], PAYLOAD);
    }
    start = __rdtsc();
    for (unsigned i = 0; i < BATCH; i++) {
        pktq_init(&q);
        pktq_push(&q, b->p[i]);
        (void)tcp_send(b->c[i]->tcp, &q);
    }
    tcp_flush(tcp);
    return __rdtsc() - start;
}

static void turn(uint64_t for_us)
{
    core.now_us += for_us;
    wheel_run(&core.wheel, core.now_us, UINT32_MAX);
    tcp_flush(tcp);
}

/* The first @n connections of @b send BULK whole segments each. */
static uint64_t bulk_out(struct burst *b, unsigned n)
{
    struct pktq q[BATCH / BULK];
    uint64_t start;

    for (unsigned i = 0; i < n; i++) {
        pktq_init(&q[i]);
        for (unsigned k = 0; k < BULK; k++) {
            struct pkt *p = pkt_alloc(&pool);

            pkt_put(p, tcp_mss(b->c[i]->tcp));
            pktq_push(&q[i], p);
            b->c[i]->ack += p->len;
        }
    }
    start = __rdtsc();
    for (unsigned i = 0; i < n; i++)
        (void)tcp_send(b->c[i]->tcp, &q[i]);
    tcp_flush(tcp);
    return __rdtsc() - start;
}

static uint64_t bulk_in(struct burst *b, unsigned n)
{
    struct pkt *pkts[BATCH];
    uint64_t start;

    for (unsigned i = 0; i < n * BULK; i++) {
        struct conn *c = b->c[i / BULK];

        pkts[i] = segment(c, 16, PAYLOAD);
        if (software)
            uncheck(pkts[i]);
        c->seq += PAYLOAD;
    }
    start = __rdtsc();
    net_rx(net, pkts, n * BULK);
    tcp_flush(tcp);
    return __rdtsc() - start;
}

static void bulk(struct burst *b, unsigned n, uint64_t sums[ROWS])
{
    sums[BULK_OUT] += bulk_out(b, n);
    turn(100);
    for (unsigned i = 0; i < n; i++)
        rx_one(segment(b->c[i], 16, 0));
    turn(100);
    sums[BULK_IN] += bulk_in(b, n);
    turn(45000);
}

/* Delayed ACKs fall due, and connections look whether anything else has. */
static uint64_t expire(void)
{
    uint64_t start;

    core.now_us += 45000;
    start = __rdtsc();
    wheel_run(&core.wheel, core.now_us, UINT32_MAX);
    tcp_flush(tcp);
    return __rdtsc() - start;
}

static void round_on(struct burst *b, uint64_t sums[ROWS])
{
    write_all(b, 0);
    sums[RECEIVE] += rx_all(b);
    turn(100);
    sums[TRANSMIT] += send_all(b);
    for (unsigned i = 0; i < BATCH; i++)
        b->c[i]->ack += PAYLOAD;
    turn(100);
    write_all(b, 0);
    sums[ACK] += rx_all(b);
    turn(100);
    write_all(b, PAYLOAD);
    for (unsigned i = 0; i < BATCH; i++)
        b->c[i]->seq += PAYLOAD;
    sums[DATA] += rx_all(b);
    sums[TIMERS] += expire();
    bulk(b, BATCH / BULK, sums);
}

/* Every one once: from then on no page of memory is new. */
static void touch_all(void)
{
    uint64_t unused[ROWS] = { 0 };
    struct burst b;

    for (uint32_t at = 0; at + BATCH <= n_conns; at += BATCH) {
        for (unsigned i = 0; i < BATCH; i++)
            b.c[i] = &conns[at + i];
        round_on(&b, unused);
    }
}

/* Different ones: a connection may not have two packets in one burst here. */
static void choose(struct burst *b)
{
    const uint64_t start = core_random(&core) % n_conns;
    const uint64_t step = n_conns > BATCH ? 1 + 2 * (core_random(&core) % (n_conns / 3)) : 1;

    for (unsigned i = 0; i < BATCH; i++)
        b->c[i] = &conns[(start + i * step) % n_conns];
}

static void round_of_many(uint64_t sums[ROWS])
{
    struct burst b;

    choose(&b);
    round_on(&b, sums);
}

/* With less than 32 connections the same one must not be twice in a burst: one at a time. */
static void round_of_one(uint64_t sums[ROWS])
{
    struct conn *c = &conns[0];

    for (unsigned i = 0; i < BATCH; i++) {
        struct burst b = { .c = { c } };
        struct pktq q;
        uint64_t start;

        b.p[0] = segment(c, 16, 0);
        start = __rdtsc();
        rx_one(b.p[0]);
        sums[RECEIVE] += __rdtsc() - start;
        b.p[0] = pkt_alloc(&pool);
        pkt_put(b.p[0], PAYLOAD);
        pktq_init(&q);
        pktq_push(&q, b.p[0]);
        start = __rdtsc();
        (void)tcp_send(c->tcp, &q);
        tcp_flush(tcp);
        sums[TRANSMIT] += __rdtsc() - start;
        c->ack += PAYLOAD;
        b.p[0] = segment(c, 16, 0);
        start = __rdtsc();
        rx_one(b.p[0]);
        sums[ACK] += __rdtsc() - start;
        b.p[0] = segment(c, 16, PAYLOAD);
        c->seq += PAYLOAD;
        start = __rdtsc();
        rx_one(b.p[0]);
        sums[DATA] += __rdtsc() - start;
        sums[TIMERS] += expire();
        if (i % BULK == 0)
            bulk(&b, 1, sums);
    }
}

static void start_stack(uint32_t max)
{
    static const struct net_port_ops port_ops = { .tx = swallow };
    static struct net_port_info info = { .mtu = 1500, .tx_ip_csum = true, .tx_tcp_csum = true };
    static struct machine_conf machine;
    const struct tcp_conf conf = { .max_conns = max + 1,
                                   .keepalive_us = UINT64_MAX,
                                   .recorders = recorders };
    const struct ipport any = { .port = 80 };
    struct pkt *arp;
    uint8_t *at;

    memcpy(info.mac, us, 6);
    info.tx_ip_csum = info.tx_tcp_csum = !software;
    info.train_max = no_trains ? 0 : PKT_TRAIN_MAX;
    machine.n_ports = 1;
    machine.ports[0].name = "p";
    machine.ports[0].n_addrs = 1;
    machine.ports[0].addrs[0] = (struct addr_conf){ ipaddr_v4(0x0a000001), 24, 0 };
    machine.n_routes = 1;
    machine.routes[0].prefix.addr = ipaddr_v4(0);
    machine.routes[0].via[0] = ipaddr_v4(0x0a0000fe);
    core_init(&core, 0, &pool, 1000000, 0);
    net = net_new(&core, &(struct net_conf){ .machine = &machine,
                                             .ports = &info,
                                             .ops = &port_ops,
                                             .max_flows = 2 * max + 1024,
                                             .merge = !no_trains });
    tcp = net != NULL ? tcp_new(&core, net, &conf) : NULL;
    reserves_prepare();
    conns = calloc(max, sizeof(*conns));
    if (tcp == NULL || conns == NULL || tcp_listen(tcp, &any, accept_one, NULL) == NULL)
        abort();
    /* The router asks for us, and is known from then on. */
    arp = pkt_alloc(&pool);
    at = pkt_put(arp, 42);
    memcpy(at, us, 6);
    memcpy(at + 6, router, 6);
    put16(at + 12, 0x0806);
    put16(at + 14, 1);
    put16(at + 16, 0x0800);
    at[18] = 6;
    at[19] = 4;
    put16(at + 20, 1);
    memcpy(at + 22, router, 6);
    put32(at + 28, 0x0a0000fe);
    memset(at + 32, 0, 6);
    put32(at + 38, 0x0a000001);
    net_rx(net, &arp, 1);
}

static void measure(uint32_t n, double ret[ROWS])
{
    const unsigned rounds = n == 1 ? n_rounds / 8 : n_rounds;
    uint64_t sums[ROWS] = { 0 };

    n_conns = 0;
    start_stack(n);
    for (uint32_t i = 0; i < n; i++) {
        open_one(i);
        if (i % 1024 == 0) {
            turn(1000);
            reserves_prepare();
        }
    }
    touch_all();
    for (unsigned i = 0; i < rounds; i++) {
        if (i == rounds / 4)
            memset(sums, 0, sizeof(sums)); /* it is warm now */
        if (n == 1)
            round_of_one(sums);
        else
            round_of_many(sums);
    }
    for (unsigned row = 0; row < ROWS; row++)
        ret[row] = (double)sums[row] / ((rounds - rounds / 4) * BATCH);
    tcp_free(tcp);
    net_free(net);
    free(conns);
}

int main(int argc, char **argv)
{
    static const char *const usual[] = { "1", "1000", "100000" };
    double all[8][ROWS];
    int n;

    for (; argc > 1 && argv[1][0] == '-'; argc--, argv++) {
        software = software || strcmp(argv[1], "--software") == 0;
        no_trains = no_trains || strcmp(argv[1], "--no-trains") == 0;
        if (strcmp(argv[1], "--recorders") == 0 && argc > 2) {
            recorders = (uint32_t)strtoul(argv[2], NULL, 10);
            argc--;
            argv++;
        } else if (strcmp(argv[1], "--rounds") == 0 && argc > 2) {
            n_rounds = (uint32_t)strtoul(argv[2], NULL, 10);
            argc--;
            argv++;
        }
    }
    n = argc > 1 ? argc - 1 : 3;
    if (n > 8)
        return 2;
    printf("%-16s", "cycles");
    for (int i = 0; i < n; i++) {
        const char *text = argc > 1 ? argv[i + 1] : usual[i];
        const uint32_t many = (uint32_t)strtoul(text, NULL, 10);

        if (many != 1 && many < BATCH) {
            fprintf(stderr, "1, or %u and more\n", BATCH);
            return 2;
        }
        measure(many, all[i]);
        printf("%12s", text);
    }
    printf("\n");
    for (unsigned row = 0; row < ROWS; row++) {
        printf("%-16s", names[row]);
        for (int i = 0; i < n; i++)
            printf("%12.0f", all[i][row]);
        printf("\n");
    }
    printf("%-16s", "together");
    for (int i = 0; i < n; i++) {
        double sum = 0;

        for (unsigned row = 0; row < BULK_OUT; row++)
            sum += all[i][row];
        printf("%12.0f", sum);
    }
    printf("\n");
    return 0;
}
