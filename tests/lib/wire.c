#include "tests/lib/wire.h"

#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"

#include "drivers/offload.h"
#include "tests/lib/frames.h"

#include <stdio.h>
#include <stdlib.h>

#define MILLION 1000000
#define ETH_HDR 14
#define VLAN_TAG 4
#define TIMERS 1000
#define BURST 64

struct wire_frame {
    struct wire_frame *next;
    uint64_t at_us;
    unsigned to;
    uint16_t flags; /* what the receiving port says about it */
    uint32_t len;
    uint8_t bytes[];
};

struct wire_held {
    struct wire_held *next;
    uint64_t until_us;
    bool last; /* of what is given back together */
    struct pkt *p;
    const uint8_t *data;
    uint32_t len;
    uint8_t bytes[];
};

uint64_t wire_random(struct wire *w, uint64_t n)
{
    w->rng = w->rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return hash_mix(w->rng) % n;
}

static bool happens(struct wire *w, uint32_t ppm)
{
    return ppm > 0 && wire_random(w, MILLION) < ppm;
}

static void tx(void *ctx, uint8_t port, struct pkt *p)
{
    struct wire_node *n = ctx;

    assert(port == 0 && n->n_out < WIRE_BURST);
    n->out[n->n_out++] = p;
}

static void node_init(struct wire *w, unsigned i)
{
    struct wire_node *n = &w->nodes[i];
    struct port_conf *port = &n->machine.ports[0];
    struct net_conf conf;

    n->wire = w;
    n->index = i;
    test_pool_init(&n->pool, w->conf.max_pkts);
    n->core = (struct core){ .now_us = w->now_us, .id = i, .pool = &n->pool.pool };
    n->core.secret.k[0] = wire_random(w, UINT64_MAX);
    n->core.secret.k[1] = wire_random(w, UINT64_MAX);
    n->core.rng = 1 + wire_random(w, UINT64_MAX - 1);
    wheel_init(&n->core.wheel, w->now_us);
    list_init(&n->core.work);
    n->addr = ipaddr_v4(0x0a000001 + i);
    n->machine.n_ports = 1;
    n->machine.tcp.max_connections = 1024;
    n->machine.tcp.max_half_open = 256;
    port->name = "wire";
    port->n_addrs = 1;
    port->addrs[0] = (struct addr_conf){ .addr = n->addr, .prefix_len = 24, .vlan = w->conf.vlan };
    n->port = (struct net_port_info){ .mac = { 2, 0, 0, 0, 0, (uint8_t)(1 + i) },
                                      .mtu = w->conf.mtu[i] != 0 ? w->conf.mtu[i] : 1500,
                                      .tx_ip_csum = w->conf.offload[i],
                                      .tx_tcp_csum = w->conf.offload[i],
                                      .train_max = w->conf.train_max[i] };
    n->ops = (struct net_port_ops){ .tx = tx };
    conf = (struct net_conf){ .machine = &n->machine,
                              .ports = &n->port,
                              .ops = &n->ops,
                              .ctx = n,
                              .merge = w->conf.merge[i] };
    n->net = net_new(&n->core, &conf);
    assert(n->net != NULL);
    net_start(n->net, false);
    n->tcp = tcp_new(&n->core, n->net, &w->conf.tcp[i]);
    assert(n->tcp != NULL);
    n->next_turn_us = UINT64_MAX;
}

void wire_init(struct wire *w, const struct wire_conf *conf)
{
    *w = (struct wire){ .conf = *conf, .rng = conf->seed };
    w->now_us = conf->start_us != 0 ? conf->start_us : UINT64_C(1000000);
    for (unsigned i = 0; i < 2; i++)
        node_init(w, i);
}

static void release_held(struct wire *w, uint64_t now_us)
{
    struct wire_held **at = &w->held;

    while (*at != NULL) {
        struct wire_held *h = *at;

        if (h->until_us > now_us) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        if (h->p->data != h->data || h->p->len != h->len ||
            memcmp(h->data, h->bytes, h->len) != 0) {
            fprintf(stderr, "a packet was changed while the port had it\n");
            abort();
        }
        if (h->last)
            pkt_free(h->p);
        free(h);
    }
}

static void drop_frames(struct wire *w)
{
    while (w->frames != NULL) {
        struct wire_frame *f = w->frames;

        w->frames = f->next;
        free(f);
    }
}

void wire_fini(struct wire *w)
{
    for (unsigned i = 0; i < 2; i++) {
        struct wire_node *n = &w->nodes[i];

        tcp_free(n->tcp);
        for (unsigned k = 0; k < n->n_out; k++)
            pkt_free(n->out[k]);
    }
    release_held(w, UINT64_MAX);
    drop_frames(w);
    for (unsigned i = 0; i < 2; i++) {
        net_free(w->nodes[i].net);
        if (w->nodes[i].core.wheel.n != 0) {
            fprintf(stderr, "%u timers still run\n", w->nodes[i].core.wheel.n);
            abort();
        }
        test_pool_fini(&w->nodes[i].pool);
    }
}

static void enqueue(struct wire *w, struct wire_frame *f)
{
    struct wire_frame **at = &w->frames;

    while (*at != NULL && (*at)->at_us <= f->at_us)
        at = &(*at)->next;
    f->next = *at;
    *at = f;
}

static void deliver_at(struct wire *w, unsigned to, const uint8_t *bytes, uint32_t len,
                       uint16_t flags, uint64_t at_us)
{
    struct wire_frame *f = malloc(sizeof(*f) + len);

    assert(f != NULL);
    *f = (struct wire_frame){ .at_us = at_us, .to = to, .flags = flags, .len = len };
    memcpy(f->bytes, bytes, len);
    enqueue(w, f);
}

void wire_inject(struct wire *w, unsigned to, const uint8_t *frame, uint32_t len)
{
    deliver_at(w, to, frame, len, 0, w->now_us);
}

/* What drivers/offload.c or the NIC would do. */
static void finish_checksums(const struct pkt *p, uint8_t *frame)
{
    uint8_t *ip = frame + p->l2_len, *l4 = ip + p->l3_len;

    if ((p->flags & PKT_TX_IP_CSUM) != 0)
        cksum_store(ip + 10, cksum_finish(cksum_add(0, ip, p->l3_len)));
    if ((p->flags & PKT_TX_TCP_CSUM) != 0)
        cksum_store(l4 + 16, cksum_finish(cksum_add(0, l4, p->len - p->l2_len - p->l3_len)));
}

static uint64_t arrival(struct wire *w, struct wire_node *n, uint32_t len)
{
    const struct wire_conf *c = &w->conf;
    uint64_t at = w->now_us;

    if (c->rate_bps != 0) {
        at = MAX(at, n->line_free_us) + (uint64_t)len * 8 * MILLION / c->rate_bps;
        n->line_free_us = at;
    }
    at += c->delay_us + (c->jitter_us > 0 ? wire_random(w, c->jitter_us) : 0);
    if (happens(w, c->reorder))
        at += 1 + wire_random(w, MAX(c->reorder_us, 1));
    return at;
}

/* ---- weather: a segment of TCP over IPv4 on its way */

struct way {
    uint8_t *ip, *tcp;
    uint32_t payload;
};

static bool is_tcp(const struct pkt *p, uint8_t *frame, struct way *ret)
{
    uint32_t headers;

    if (get16(frame + p->l2_len - 2) != 0x0800 || frame[p->l2_len + 9] != 6)
        return false;
    ret->ip = frame + p->l2_len;
    ret->tcp = ret->ip + p->l3_len;
    headers = p->l3_len + (uint32_t)(ret->tcp[12] >> 4) * 4;
    ret->payload = get16(ret->ip + 2) - headers;
    return true;
}

/* A 16-bit word changes under a checksum (RFC 1624). */
static void rewrite(uint8_t *at, uint16_t word, uint8_t *sum)
{
    uint32_t s = (uint16_t)~get16(sum) + (uint32_t)(uint16_t)~get16(at) + word;

    s = (s & 0xffff) + (s >> 16);
    s = (s & 0xffff) + (s >> 16);
    put16(sum, (uint16_t)~s);
    put16(at, word);
}

/* The way has become longer or shorter. */
static uint64_t detour(struct wire *w, struct wire_node *n)
{
    const struct wire_conf *c = &w->conf;

    if (c->shift_us > 0 && w->now_us >= n->shift_until_us) {
        n->shifted_us = wire_random(w, c->shift_us);
        n->shift_until_us = w->now_us + wire_random(w, c->shift_every_us);
    }
    return n->shifted_us;
}

static bool is_in_burst(struct wire *w, struct wire_node *n)
{
    if (happens(w, w->conf.burst))
        n->burst_until_us = w->now_us + 1 + wire_random(w, w->conf.burst_us);
    return w->now_us < n->burst_until_us;
}

/* A router on the way: RFC 792 as of RFC 1191. */
static void tell_too_big(struct wire *w, struct wire_node *n, const struct way *at)
{
    const uint32_t src = get32(at->ip + 12);
    struct frame f;

    frame_eth(&f, n->port.mac, w->nodes[!n->index].port.mac, 0x0800, w->conf.vlan);
    frame_ip4(&f, get32(at->ip + 16), src, 1, NULL, 0);
    frame_icmp(&f, 3, 4, w->conf.path_mtu, at->ip, 28);
    frame_done(&f);
    deliver_at(w, n->index, f.b, f.len, 0, w->now_us + w->conf.delay_us);
}

static bool is_too_big(struct wire *w, struct wire_node *n, const struct way *at)
{
    const struct wire_conf *c = &w->conf;

    if (c->path_mtu == 0 || w->now_us < c->path_mtu_at_us || get16(at->ip + 2) <= c->path_mtu)
        return false;
    if (!c->path_silent)
        tell_too_big(w, n, at);
    return true;
}

/* False: it is lost. */
static bool weather(struct wire *w, struct wire_node *n, const struct pkt *p, uint8_t *frame)
{
    const struct wire_conf *c = &w->conf;
    struct way at;

    if (!is_tcp(p, frame, &at))
        return true;
    if (is_in_burst(w, n) || is_too_big(w, n, &at))
        return false;
    if (at.payload == 0 && (at.tcp[13] & 7) == 0 && happens(w, c->ack_loss))
        return false;
    if ((at.ip[1] & 3) == 2 && happens(w, c->mark))
        rewrite(at.ip, get16(at.ip) | 3, at.ip + 10);
    if (n->index == 1 && (at.tcp[13] & 6) == 0 && happens(w, c->shrink))
        rewrite(at.tcp + 14, (uint16_t)wire_random(w, get16(at.tcp + 14) + 1u), at.tcp + 16);
    return true;
}

static void send_frame(struct wire *w, struct wire_node *n, const struct pkt *p)
{
    uint8_t frame[4096];
    uint16_t flags = 0, type;
    uint64_t late_us;

    assert(p->len <= sizeof(frame));
    memcpy(frame, p->data, p->len);
    finish_checksums(p, frame);
    w->n_frames++;
    if (w->filter != NULL && !w->filter(w, n->index, frame, p->len, w->filter_ctx))
        return;
    type = get16(frame + p->l2_len - 2);
    /* ARP is asked three times, and then the neighbour is not there: not what is tested here. */
    if (!weather(w, n, p, frame) || (type == 0x0800 && happens(w, w->conf.loss))) {
        w->n_lost++;
        return;
    }
    if (w->conf.offload[!n->index] && type == 0x0800)
        flags = PKT_RX_IP_CSUM_GOOD | PKT_RX_L4_CSUM_GOOD;
    /* Only what has a checksum of its own: Ethernet's would have caught the rest. */
    if (type == 0x0800 && happens(w, w->conf.corrupt)) {
        frame[wire_random(w, p->len)] ^= (uint8_t)(1 << wire_random(w, 8));
        flags = 0;
    }
    late_us = type == 0x0800 ? detour(w, n) : 0;
    deliver_at(w, !n->index, frame, p->len, flags, arrival(w, n, p->len) + late_us);
    if (happens(w, w->conf.dup))
        deliver_at(w, !n->index, frame, p->len, flags, arrival(w, n, p->len) + late_us);
}

/* The port lets go of a packet some time after it was sent. */
static void hold(struct wire *w, struct pkt *p)
{
    struct wire_held *h;

    if (w->conf.hold_us == 0) {
        pkt_free(p);
        return;
    }
    h = malloc(sizeof(*h) + p->len);
    assert(h != NULL);
    *h = (struct wire_held){ w->held, w->now_us + wire_random(w, w->conf.hold_us), true, p, p->data,
                             p->len };
    memcpy(h->bytes, p->data, p->len);
    w->held = h;
}

/*
 * Packet @i of @n of a train as a frame of its own, as hardware would make it: from the headers of
 * the @head, which is left as it is, and bytes that are fetched from where they lie.
 */
static void cut_frame(const struct pkt *head, const struct pkt *p, uint32_t off, bool first,
                      bool last, uint8_t *frame, struct pkt *ret)
{
    const uint32_t ip_at = head->l2_len, at = ip_at + head->l3_len, headers = at + head->l4_len;
    const uint32_t len = first ? p->len : headers + p->len;
    uint32_t sum;

    memcpy(frame, head->data, headers);
    memcpy(frame + headers, first ? p->data + headers : p->data, len - headers);
    put16(frame + ip_at + 2, (uint16_t)(len - ip_at)); /* of IPv4, as all here */
    put16(frame + ip_at + 10, 0);
    put32(frame + at + 4, get32(frame + at + 4) + off);
    if (!first)
        frame[at + 13] &= 0x7f;
    if (!last)
        frame[at + 13] &= (uint8_t)~9;
    sum = get16(frame + at + 16) + len - at; /* of the pseudo header */
    put16(frame + at + 16, (uint16_t)((sum & 0xffff) + (sum >> 16)));
    *ret = *head;
    ret->data = frame;
    ret->len = len;
    ret->flags |= PKT_TX_IP_CSUM | PKT_TX_TCP_CSUM;
}

/* A port that cuts up trains: it has each buffer for as long as it likes. */
static void cut_and_send(struct wire *w, struct wire_node *n, struct pkt *train)
{
    const struct pkt head = *train;
    const uint32_t headers = (uint32_t)head.l2_len + head.l3_len + head.l4_len;
    uint8_t copy[PKT_HEADROOM + 4096], frame[4096];
    struct pkt first = head, cut;
    uint32_t off = 0;

    assert(head.len <= sizeof(copy));
    memcpy(copy, head.data, head.len); /* the buffer itself may be gone before the last is cut */
    first.data = copy;
    for (unsigned i = 0; i <= head.n_more; i++) {
        struct pkt *p = train;

        if (i < head.n_more)
            train = pkt_uncouple(p);
        cut_frame(&first, p, off, i == 0, i == head.n_more, frame, &cut);
        off += i == 0 ? p->len - headers : p->len;
        send_frame(w, n, &cut);
        hold(w, p);
    }
}

/* All that is coupled to @train: looked at when its head is given back, which is done last. */
static void hold_whole(struct wire *w, struct pkt *train, uint64_t until_us)
{
    struct pkt *p = train;

    for (unsigned i = 0; i <= train->n_more; i++, p = p->more) {
        struct wire_held *h = malloc(sizeof(*h) + p->len);

        assert(h != NULL);
        *h = (struct wire_held){ w->held, until_us, i == 0, p, p->data, p->len };
        memcpy(h->bytes, p->data, p->len);
        w->held = h;
    }
}

/* The same, but the port gives back everything together. */
static void cut_and_keep(struct wire *w, struct wire_node *n, struct pkt *train)
{
    const uint32_t headers = (uint32_t)train->l2_len + train->l3_len + train->l4_len;
    const unsigned more = train->n_more;
    uint64_t until_us = w->now_us;
    const struct pkt *p = train;
    uint8_t frame[4096];
    uint32_t off = 0;
    struct pkt cut;

    for (unsigned i = 0; i <= more; i++, p = p->more) {
        cut_frame(train, p, off, i == 0, i == more, frame, &cut);
        off += i == 0 ? p->len - headers : p->len;
        send_frame(w, n, &cut);
        if (w->conf.hold_us > 0) {
            const uint64_t until = w->now_us + wire_random(w, w->conf.hold_us);

            until_us = MAX(until_us, until);
        }
    }
    hold_whole(w, train, until_us);
}

static void split_and_send(struct wire *w, struct wire_node *n, struct pkt *train)
{
    struct pkt *frames[PKT_TRAIN_MAX];
    const unsigned n_frames = offload_split(train, n->port.tx_tcp_csum, frames);

    for (unsigned i = 0; i < n_frames; i++) {
        send_frame(w, n, frames[i]);
        hold(w, frames[i]);
    }
}

static void transmit(struct wire *w, struct wire_node *n)
{
    for (unsigned i = 0; i < n->n_out; i++) {
        n->n_trains += n->out[i]->n_more > 0;
        if (n->out[i]->n_more > 0 && w->conf.whole[n->index])
            cut_and_keep(w, n, n->out[i]);
        else if (n->out[i]->n_more > 0 && w->conf.tso[n->index])
            cut_and_send(w, n, n->out[i]);
        else
            split_and_send(w, n, n->out[i]);
    }
    n->n_out = 0;
}

/* ---- a port that merges segments, as hardware does: without a thought for what comes of it */

struct seg {
    uint8_t *ip, *tcp;
    uint32_t headers, payload;
};

/* Does @p hold data that the port has found good? */
static bool find_seg(const struct pkt *p, struct seg *ret)
{
    const uint16_t good = PKT_RX_IP_CSUM_GOOD | PKT_RX_L4_CSUM_GOOD;
    const uint32_t ip_at = get16(p->data + 12) == 0x8100 ? ETH_HDR + VLAN_TAG : ETH_HDR;

    ret->ip = p->data + ip_at;
    ret->tcp = ret->ip + 20;
    if ((p->flags & good) != good || ret->ip[0] != 0x45 || ret->ip[9] != 6 ||
        (ret->tcp[13] & ~8) != 16)
        return false;
    ret->headers = ip_at + 20 + (uint32_t)(ret->tcp[12] >> 4) * 4;
    ret->payload = ip_at + get16(ret->ip + 2) - ret->headers;
    return ret->payload > 0;
}

static bool follows(const struct pkt *head, const struct seg *a, const struct seg *b)
{
    const uint32_t payload = pkt_total_len(head) - a->headers;

    return (a->tcp[13] & 8) == 0 && a->headers == b->headers &&
           memcmp(a->ip + 12, b->ip + 12, 8) == 0 && a->ip[1] == b->ip[1] &&
           memcmp(a->tcp, b->tcp, 4) == 0 && memcmp(a->tcp + 8, b->tcp + 8, 5) == 0 &&
           memcmp(a->tcp + 14, b->tcp + 14, 2) == 0 &&
           memcmp(a->tcp + 20, b->tcp + 20, (a->tcp[12] >> 4) * 4u - 20) == 0 &&
           get32(b->tcp + 4) == get32(a->tcp + 4) + payload && payload + b->payload < 60000;
}

/* @p without its headers, in a buffer that has no headroom, or some. */
static void append(struct wire *w, struct pkt *head, struct pkt *last, struct pkt *p,
                   const struct seg *a, const struct seg *b)
{
    const uint32_t room = wire_random(w, 2) != 0 ? 0 : PKT_HEADROOM;

    a->tcp[13] |= b->tcp[13] & 8;
    memmove(p->head + room, p->data + b->headers, b->payload);
    p->data = p->head + room;
    p->len = b->payload;
    pkt_couple(head, last, p);
}

static void say_length(const struct pkt *head, const struct seg *s)
{
    put16(s->ip + 2, (uint16_t)(pkt_total_len(head) - (uint32_t)(s->ip - head->data)));
    put16(s->ip + 10, 0);
    cksum_store(s->ip + 10, cksum_finish(cksum_add(0, s->ip, 20)));
}

static unsigned merge_by_port(struct wire *w, struct pkt **pkts, unsigned n)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < n;) {
        struct pkt *head = pkts[i++], *last = head;
        struct seg a, b;
        const bool is_data = find_seg(head, &a);

        while (is_data && i < n && find_seg(pkts[i], &b) && follows(head, &a, &b)) {
            append(w, head, last, pkts[i], &a, &b);
            last = pkts[i++];
        }
        if (head->n_more > 0) {
            say_length(head, &a);
            head = offload_join(head);
            assert(head != NULL);
        }
        pkts[kept++] = head;
    }
    return kept;
}

static void hand_over(struct wire *w, struct wire_node *n, struct pkt **pkts, unsigned n_pkts)
{
    if (w->conf.lro[n->index])
        n_pkts = merge_by_port(w, pkts, n_pkts);
    net_rx(n->net, pkts, n_pkts);
}

static void receive(struct wire *w, struct wire_node *n)
{
    const unsigned burst = w->conf.merge[n->index] ? BURST : 1;
    struct wire_frame **at = &w->frames;
    struct pkt *pkts[BURST];
    unsigned n_pkts = 0;

    while (*at != NULL && (*at)->at_us <= w->now_us) {
        struct wire_frame *f = *at;
        struct pkt *p;

        if (f->to != n->index) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        p = pkt_alloc(&n->pool.pool);
        if (p != NULL) {
            memcpy(pkt_put(p, f->len), f->bytes, f->len);
            p->flags = f->flags;
            p->port = 0;
            pkts[n_pkts++] = p;
        }
        free(f);
        if (n_pkts == burst) {
            hand_over(w, n, pkts, n_pkts);
            n_pkts = 0;
        }
    }
    hand_over(w, n, pkts, n_pkts);
}

static void turn(struct wire *w, struct wire_node *n)
{
    n->core.now_us = n->core.wall_us = w->now_us;
    wheel_run(&n->core.wheel, w->now_us, TIMERS);
    receive(w, n);
    if (n->turn != NULL)
        n->next_turn_us = n->turn(n, n->ctx);
    tcp_flush(n->tcp);
    transmit(w, n);
}

static uint64_t next_event(const struct wire *w)
{
    uint64_t at = w->frames != NULL ? w->frames->at_us : UINT64_MAX;

    for (unsigned i = 0; i < 2; i++) {
        at = MIN(at, wheel_next_us(&w->nodes[i].core.wheel));
        at = MIN(at, w->nodes[i].next_turn_us);
    }
    return at;
}

void wire_step(struct wire *w, uint64_t until_us)
{
    const uint64_t at = MIN(next_event(w), until_us);

    w->now_us = MAX(at, MIN(w->now_us + 1, until_us));
    release_held(w, w->now_us);
    for (unsigned i = 0; i < 2; i++)
        turn(w, &w->nodes[i]);
}

void wire_run(struct wire *w, uint64_t for_us)
{
    const uint64_t until = w->now_us + for_us;

    for (unsigned i = 0; i < 2; i++) /* what the test has just asked for */
        turn(w, &w->nodes[i]);
    while (w->now_us < until)
        wire_step(w, until);
}
