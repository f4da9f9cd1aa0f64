#include "dataplane/net/frag.h"

#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/net/eth.h"
#include "dataplane/net/ip4.h"
#include "dataplane/net/ip6.h"
#include "dataplane/net/net_impl.h"

#define DATAGRAM_MAX UINT16_MAX

enum {
    TCP_MIN = 20,
    L4_MIN = 8,
    IP4_CE = 3,
    IP6_CE_BITS = 0x30,
    ICMP4_ECHO = 8,
    ICMP4_ECHO_REPLY = 0,
};

/* ---- one fragment */

/* Headers of IPv6 that may stand before the one of the transport. */
static bool has_whole_header(const struct frag_info *f, const uint8_t *payload, uint32_t len)
{
    uint32_t at = 0;
    uint8_t next = f->protocol;

    while (f->src.family == IP_V6 && (next == IP6_DESTINATION || next == IP6_ROUTING)) {
        if (len - at < 8 || (payload[at + 1] + 1u) * 8 > len - at)
            return false;
        next = payload[at];
        at += (payload[at + 1] + 1u) * 8;
    }
    return len - at >= (next == IP6_TCP ? TCP_MIN : L4_MIN);
}

enum drop frag_check(const struct frag_info *f, const uint8_t *payload, uint32_t len)
{
    if (len == 0 || (f->more && len % 8 != 0) || f->off + len > DATAGRAM_MAX)
        return DROP_FRAG_LENGTH;
    if (f->off == 0 && !has_whole_header(f, payload, len))
        return DROP_FRAG_TINY;
    /* The second half of a TCP header (RFC 1858, 3.2.2). */
    if (f->protocol == IP6_TCP && f->off > 0 && f->off < TCP_MIN)
        return DROP_FRAG_TINY;
    return DROP_NONE;
}

/* ---- the table */

static struct frag **bucket_of(struct frag_table *t, const struct frag_info *f)
{
    struct {
        struct ipaddr src, dst;
        uint32_t id, protocol;
    } key = { f->src, f->dst, f->id, f->src.family == IP_V4 ? f->protocol : 0 };

    return &t->buckets[hash_sip(&t->net->core->secret, &key, sizeof(key)) % FRAG_BUCKETS];
}

static bool is_same(const struct frag_info *a, const struct frag_info *b)
{
    return a->id == b->id && ipaddr_eq(&a->src, &b->src) && ipaddr_eq(&a->dst, &b->dst) &&
           (a->src.family == IP_V6 || a->protocol == b->protocol);
}

static void drop_pieces(struct frag *d, enum drop why)
{
    for (uint32_t i = 0; i < d->n_pieces; i++)
        net_drop(d->net, d->pieces[i].p, why);
    d->net->frags.n_packets -= d->n_pieces;
    d->n_pieces = 0;
}

/* Its pieces are gone. */
static void forget(struct frag *d)
{
    struct frag_table *t = &d->net->frags;
    struct frag **at = bucket_of(t, &d->key);

    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    list_remove(&d->by_age);
    t->n--;
    slab_free(&t->slab, d);
}

static void arm(struct frag_table *t)
{
    if (list_is_empty(&t->by_age))
        wheel_stop(&t->net->core->wheel, &t->timer);
    else
        wheel_start(&t->net->core->wheel, &t->timer,
                    container_of(t->by_age.next, struct frag, by_age)->until_us);
}

static void give_up_oldest(struct frag_table *t)
{
    struct frag *d = container_of(t->by_age.next, struct frag, by_age);

    drop_pieces(d, DROP_FRAG_NO_ROOM);
    forget(d);
}

/* "Time exceeded", if the first fragment is there: it says who asked for what. */
static void tell_timeout(struct frag *d)
{
    const struct pkt *p;

    if (d->n_pieces == 0 || d->pieces[0].off != 0)
        return;
    p = d->pieces[0].p;
    if (d->key.src.family == IP_V4) {
        struct ip4 ip = { .hdr = p->data - d->key.hdr_len,
                          .src = ipaddr_u32(&d->key.src),
                          .dst = ipaddr_u32(&d->key.dst),
                          .hdr_len = (uint8_t)d->key.hdr_len,
                          .protocol = d->key.protocol };

        icmp4_error(d->net, &ip, p->len, ICMP4_TIME_EXCEEDED, ICMP4_CODE_REASSEMBLY, 0);
    } else {
        struct ip6 ip = { .hdr = p->data - d->key.hdr_len, .src = d->key.src, .dst = d->key.dst };

        icmp6_error(d->net, &ip, d->key.hdr_len + p->len, ICMP6_TIME_EXCEEDED,
                    ICMP6_CODE_REASSEMBLY, 0);
    }
}

static void on_timer(struct wheel_timer *timer, uint64_t now_us)
{
    struct frag_table *t = container_of(timer, struct frag_table, timer);

    while (!list_is_empty(&t->by_age)) {
        struct frag *d = container_of(t->by_age.next, struct frag, by_age);

        if (d->until_us > t->net->core->now_us)
            break;
        tell_timeout(d);
        drop_pieces(d, DROP_FRAG_TIMEOUT);
        forget(d);
    }
    arm(t);
}

int frag_table_init(struct frag_table *t, struct net *net)
{
    list_init(&t->by_age);
    wheel_timer_init(&t->timer, on_timer);
    t->net = net;
    return slab_init(&t->slab, sizeof(struct frag), FRAG_DATAGRAMS);
}

void frag_table_fini(struct frag_table *t)
{
    while (!list_is_empty(&t->by_age))
        give_up_oldest(t);
    wheel_stop(&t->net->core->wheel, &t->timer);
    slab_fini(&t->slab);
}

static struct frag *find(struct frag_table *t, const struct frag_info *f)
{
    struct frag *d = *bucket_of(t, f);

    while (d != NULL && !is_same(&d->key, f))
        d = d->next;
    return d;
}

static struct frag *make(struct frag_table *t, const struct iface *i, const struct frag_info *f)
{
    struct frag **bucket;
    struct frag *d;

    if (t->n == FRAG_DATAGRAMS)
        give_up_oldest(t);
    d = slab_alloc(&t->slab);
    if (d == NULL)
        return NULL;
    bucket = bucket_of(t, f);
    d->net = t->net;
    d->key = *f;
    d->iface = (uint8_t)(i - t->net->ifaces.ifaces);
    d->until_us = t->net->core->now_us + FRAG_TIMEOUT_US;
    d->next = *bucket;
    *bucket = d;
    list_push_tail(&t->by_age, &d->by_age);
    t->n++;
    if (t->n == 1)
        arm(t);
    return d;
}

/* ---- a datagram that grows */

static void spoil(struct frag *d, enum drop why)
{
    drop_pieces(d, why);
    d->spoiled = true;
}

/* Where a fragment belongs among those that are there, or a reason why nowhere. */
static enum drop place(const struct frag *d, const struct frag_info *f, const struct pkt *p,
                       uint32_t *ret)
{
    const uint32_t end = f->off + p->len;
    uint32_t at = 0;

    if (d->total != 0 && (end > d->total || (!f->more && end != d->total)))
        return DROP_FRAG_LENGTH;
    if (!f->more && d->n_pieces > 0 &&
        d->pieces[d->n_pieces - 1].off + d->pieces[d->n_pieces - 1].len > end)
        return DROP_FRAG_LENGTH;
    while (at < d->n_pieces && d->pieces[at].off < f->off)
        at++;
    if (at < d->n_pieces && d->pieces[at].off == f->off && d->pieces[at].len == p->len &&
        memcmp(d->pieces[at].p->data, p->data, p->len) == 0)
        return DROP_FRAG_DUPLICATE;
    if (at < d->n_pieces && d->pieces[at].off < end)
        return DROP_FRAG_OVERLAP;
    if (at > 0 && d->pieces[at - 1].off + d->pieces[at - 1].len > f->off)
        return DROP_FRAG_OVERLAP;
    *ret = at;
    return d->n_pieces < FRAG_PIECES ? DROP_NONE : DROP_FRAG_MANY;
}

static void insert(struct frag *d, uint32_t at, struct pkt *p, const struct frag_info *f)
{
    memmove(&d->pieces[at + 1], &d->pieces[at], (d->n_pieces - at) * sizeof(d->pieces[0]));
    d->pieces[at] = (struct frag_piece){ p, f->off, p->len };
    d->n_pieces++;
    d->net->frags.n_packets++;
    d->have += p->len;
    d->ce |= f->ce;
    if (!f->more)
        d->total = f->off + p->len;
    if (f->off == 0) { /* the same datagram, so the same bucket */
        d->key.hdr_len = f->hdr_len;
        d->key.protocol = f->protocol;
    }
}

/* ---- a datagram that is whole */

static void ip4_head(struct frag *d, struct pkt *p)
{
    const uint32_t hdr_len = d->key.hdr_len;
    uint8_t *ip = pkt_push(p, hdr_len);

    memcpy(ip, d->pieces[0].p->data - hdr_len, hdr_len);
    put16(ip + 2, (uint16_t)p->len);
    put16(ip + 6, 0);
    ip[1] |= d->ce ? IP4_CE : 0;
    put16(ip + 10, 0);
    cksum_store(ip + 10, cksum_finish(cksum_add(0, ip, hdr_len)));
}

/* Extension headers before that of the fragment were read with each, and have done their work. */
static void ip6_head(struct frag *d, struct pkt *p)
{
    const uint32_t len = p->len;
    uint8_t *ip = pkt_push(p, IP6_HDR);

    memcpy(ip, d->pieces[0].p->data - d->key.hdr_len, IP6_HDR);
    put16(ip + 4, (uint16_t)len);
    ip[6] = d->key.protocol;
    ip[1] |= d->ce ? IP6_CE_BITS : 0;
}

/* One frame of all pieces, or NULL and the reason. */
static struct pkt *join(struct frag *d, enum drop *why)
{
    const struct pkt *first = d->pieces[0].p;
    const uint32_t ip_len = d->key.src.family == IP_V4 ? d->key.hdr_len : (uint32_t)IP6_HDR;
    struct pkt *p = pkt_alloc(d->net->core->pool);

    if (p == NULL || pkt_tailroom(p) < d->total || d->total + ip_len > DATAGRAM_MAX) {
        *why = p == NULL ? DROP_FRAG_NO_ROOM : DROP_FRAG_LARGE;
        pkt_free(p);
        return NULL;
    }
    for (uint32_t i = 0; i < d->n_pieces; i++)
        memcpy(pkt_put(p, d->pieces[i].len), d->pieces[i].p->data, d->pieces[i].len);
    if (d->key.src.family == IP_V4)
        ip4_head(d, p);
    else
        ip6_head(d, p);
    memcpy(pkt_push(p, first->l2_len), first->data - d->key.hdr_len - first->l2_len, first->l2_len);
    p->port = first->port;
    p->flags = PKT_REASSEMBLED;
    return p;
}

/* The way in, from the start. */
static void take_whole(struct net *net, struct pkt *p)
{
    enum drop why;

    net->counters.frags_joined++;
    if (net->ops->steer != NULL && net->ops->steer(net->ctx, p))
        return;
    why = eth_rx(net, p);
    if (why != DROP_NONE)
        net_drop(net, p, why);
}

/* ---- echo, piece by piece */

static bool is_echo(const struct frag *d)
{
    const uint8_t *l4 = d->pieces[0].p->data;

    return d->key.src.family == IP_V4 ? d->key.protocol == IP4_PROTO_ICMP && l4[0] == ICMP4_ECHO
                                      : d->key.protocol == IP6_ICMP && l4[0] == ICMP6_ECHO;
}

static bool echo_is_whole(const struct frag *d)
{
    uint64_t sum = 0;

    if (d->key.src.family == IP_V6)
        sum = cksum_pseudo(&d->key.src, &d->key.dst, IP6_ICMP, d->total);
    for (uint32_t i = 0; i < d->n_pieces; i++)
        sum = cksum_add(sum, d->pieces[i].p->data, d->pieces[i].len);
    return cksum_is_good(sum);
}

/* The request's pieces become the reply's. */
static void send_pieces(struct frag *d, const struct net_dst *dst)
{
    const bool v4 = d->key.src.family == IP_V4;
    const uint32_t id = (uint32_t)(core_random(d->net->core) >> 32);

    for (uint32_t i = 0; i < d->n_pieces; i++) {
        const struct frag_piece *piece = &d->pieces[i];
        const bool more = piece->off + piece->len < d->total;

        piece->p->flags = 0;
        if (v4)
            ip4_tx_fragment(d->net, dst, &d->key.dst, &d->key.src, IP4_PROTO_ICMP, id, piece->off,
                            more, piece->p);
        else
            ip6_tx_fragment(d->net, dst, &d->key.dst, &d->key.src, IP6_ICMP, id, piece->off, more,
                            piece->p);
    }
    d->net->frags.n_packets -= d->n_pieces;
    d->n_pieces = 0;
}

static void set_reply(struct frag *d)
{
    const bool v4 = d->key.src.family == IP_V4;
    uint8_t *icmp = d->pieces[0].p->data;
    uint16_t was, is, cksum;

    memcpy(&was, icmp, 2);
    icmp[0] = v4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY;
    memcpy(&is, icmp, 2);
    memcpy(&cksum, icmp + 2, 2);
    cksum_store(icmp + 2, cksum_update16(cksum, was, is));
}

/* Returns why it was not answered. */
static enum drop echo(struct frag *d)
{
    const bool v4 = d->key.src.family == IP_V4;
    struct ipaddr local = d->key.dst;
    struct net_dst dst;

    if (!echo_is_whole(d))
        return v4 ? DROP_ICMP4_CSUM : DROP_ICMP6_CSUM;
    if (!limit_pass(v4 ? &d->net->echo : &d->net->echo6, d->net->core->now_us))
        return v4 ? DROP_ICMP4_LIMITED : DROP_ICMP6_LIMITED;
    if (net_route(d->net, &d->key.src, &local, &dst) < 0)
        return DROP_TX_NO_ROUTE;
    set_reply(d);
    d->net->counters.frags_joined++;
    send_pieces(d, &dst);
    net_dst_put(d->net, &dst);
    return DROP_NONE;
}

static void complete(struct frag *d)
{
    struct net *net = d->net;
    enum drop why = DROP_NONE;
    struct pkt *whole = NULL;

    if (is_echo(d)) {
        why = echo(d);
        drop_pieces(d, why);
    } else {
        whole = join(d, &why);
        if (whole != NULL) { /* they live on in it: nothing was dropped */
            for (uint32_t i = 0; i < d->n_pieces; i++)
                pkt_free(d->pieces[i].p);
            net->frags.n_packets -= d->n_pieces;
            d->n_pieces = 0;
        } else {
            drop_pieces(d, why);
        }
    }
    forget(d);
    arm(&net->frags);
    if (whole != NULL)
        take_whole(net, whole); /* last: it may come back here with another datagram */
}

enum drop frag_rx(struct net *net, const struct iface *i, struct pkt *p, const struct frag_info *f)
{
    struct frag_table *t = &net->frags;
    struct frag *d = find(t, f);
    uint32_t at = 0;
    enum drop why;

    if (d != NULL && d->spoiled)
        return DROP_FRAG_REFUSED;
    if (net->core->pool->low)
        return DROP_FRAG_NO_ROOM;
    if (t->n_packets == FRAG_PACKETS) {
        give_up_oldest(t);
        d = find(t, f); /* which it may have been */
        if (t->n_packets == FRAG_PACKETS)
            return DROP_FRAG_NO_ROOM;
    }
    if (d == NULL)
        d = make(t, i, f);
    if (d == NULL)
        return DROP_FRAG_NO_ROOM;

    pkt_pull(p, f->hdr_len);
    why = place(d, f, p, &at);
    if (why == DROP_NONE) {
        insert(d, at, p, f);
        if (d->total != 0 && d->have == d->total)
            complete(d);
        return DROP_NONE;
    }
    if (why != DROP_FRAG_DUPLICATE)
        spoil(d, why);
    return why;
}
