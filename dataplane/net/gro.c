#include "dataplane/net/gro.h"

#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/net/eth.h"
#include "dataplane/net/ip4.h"
#include "dataplane/net/ip6.h"
#include "dataplane/net/net_impl.h"
#include "dataplane/net/punt.h"

enum {
    TCP_MIN = 20,
    TCP_MAX = 60,
    TCP_FIN = 1,
    TCP_PSH = 8,
    TCP_ACK = 16,
    TCP_CWR = 128,
    IP4_FRAGMENT = 0x3fff,
    AHEAD = 8, /* packets */
};

/* Where things are in a plain TCP frame. */
struct place {
    const uint8_t *ip, *tcp;
    uint32_t ip_at, hdr_len, payload;
    bool is_ip6;
};

/* A train that may go on, or a packet that may become one. */
struct open {
    struct pkt *head, *last;
    struct place at; /* of the head */
    uint32_t next;   /* sequence number */
};

/* The last frame whose hash was computed: that of the next one is the same, as a rule. */
struct seen {
    const uint8_t *frame; /* its headers; NULL: there is none */
    uint32_t hash, ip_at;
    bool is_ip6;
};

struct burst {
    struct seen seen;
    unsigned n;
    struct open open[GRO_FLOWS]; /* the newest replaces the oldest */
    unsigned oldest;
    struct open *last; /* that was added to last; NULL: none */
};

/* ---- reading frames */

/* net_peek() has seen that this is TCP without options of IP and without extension headers. False:
 * it is not whole, or a fragment. */
static bool find(const struct pkt *p, struct place *ret)
{
    uint32_t total, headers;

    ret->ip_at = get16(p->data + 12) == ETH_TYPE_VLAN ? ETH_HDR + ETH_VLAN_TAG : ETH_HDR;
    ret->ip = p->data + ret->ip_at;
    ret->is_ip6 = ret->ip[0] >> 4 == 6;
    if (ret->is_ip6) {
        total = IP6_HDR + get16(ret->ip + 4);
        headers = IP6_HDR;
    } else {
        total = get16(ret->ip + 2);
        headers = IP4_HDR;
        if ((get16(ret->ip + 6) & IP4_FRAGMENT) != 0)
            return false;
    }
    if (total > p->len - ret->ip_at || total < headers + TCP_MIN)
        return false;
    ret->tcp = ret->ip + headers;
    headers += (uint32_t)(ret->tcp[12] >> 4) * 4;
    if (total < headers || ret->tcp[12] < TCP_MIN / 4 << 4)
        return false;
    ret->hdr_len = ret->ip_at + headers;
    ret->payload = total - headers;
    return true;
}

/* Is @p of the flow of the frame that was seen, as net_peek() would find? */
static bool is_of_seen(const struct seen *s, const struct pkt *p)
{
    const uint8_t *a = s->frame, *b = p->data;

    if (a == NULL || p->len < ETH_HDR + ETH_VLAN_TAG + IP6_HDR + 4 ||
        memcmp(a + 12, b + 12, 2) != 0)
        return false;
    if (s->ip_at != ETH_HDR && memcmp(a + 16, b + 16, 2) != 0)
        return false;
    a += s->ip_at;
    b += s->ip_at;
    if (s->is_ip6)
        return b[0] >> 4 == 6 && b[6] == a[6] && memcmp(a + 8, b + 8, 36) == 0;
    return b[0] == a[0] && b[9] == a[9] && memcmp(a + 12, b + 12, 12) == 0;
}

static void peek(struct net *net, struct seen *s, struct pkt *p)
{
    if (is_of_seen(s, p)) {
        p->hash = s->hash;
        p->flags |= PKT_FLOW_HASH;
        return;
    }
    net_peek(net, p);
    if ((p->flags & PKT_FLOW_HASH) == 0)
        return;
    s->frame = p->data;
    s->hash = p->hash;
    s->ip_at = get16(p->data + 12) == ETH_TYPE_VLAN ? ETH_HDR + ETH_VLAN_TAG : ETH_HDR;
    s->is_ip6 = p->data[s->ip_at] >> 4 == 6;
}

static bool same_ip(const struct place *a, const struct place *b)
{
    if (a->is_ip6) /* version, class, label; next header, hop limit; addresses */
        return memcmp(a->ip, b->ip, 4) == 0 && memcmp(a->ip + 6, b->ip + 6, 34) == 0;
    /* version, service; flags; TTL, protocol; addresses */
    return memcmp(a->ip, b->ip, 2) == 0 && memcmp(a->ip + 6, b->ip + 6, 4) == 0 &&
           memcmp(a->ip + 12, b->ip + 12, 8) == 0;
}

static bool same_flow(const struct open *o, const struct pkt *p, const struct place *at)
{
    return o->head->hash == p->hash && o->head->port == p->port && o->at.ip_at == at->ip_at &&
           o->at.is_ip6 == at->is_ip6 && memcmp(o->at.tcp, at->tcp, 4) == 0 &&
           (at->is_ip6 ? memcmp(o->at.ip + 8, at->ip + 8, 32)
                       : memcmp(o->at.ip + 12, at->ip + 12, 8)) == 0;
}

/* From the Ethernet header to the flags of TCP, with an IPv4 header between them, but for its
 * length, identification and checksum, the sequence number and PSH. */
static bool same_front(const uint8_t *a, const uint8_t *b)
{
    static const uint8_t mask[] = {
        255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, /* Ethernet */
        255, 255, 0,   0,   0,   0,   255, 255, 255, 255, 0,   0,             /* IP, */
        255, 255, 255, 255, 255, 255, 255, 255,                               /* addresses */
        255, 255, 255, 255, 0,   0,   0,   0,   255, 255, 255, 255, 255, (uint8_t)~TCP_PSH,
    };
    uint64_t differ = 0;

    for (unsigned i = 0; i < sizeof(mask); i += sizeof(uint64_t)) {
        uint64_t x, y, m;

        memcpy(&x, a + i, sizeof(x));
        memcpy(&y, b + i, sizeof(y));
        memcpy(&m, mask + i, sizeof(m));
        differ |= (x ^ y) & m;
    }
    return differ == 0;
}

/* All but sequence number, PSH and checksum. */
static bool same_headers(const struct open *o, const struct pkt *p, const struct place *at)
{
    const uint8_t *a = o->at.tcp, *b = at->tcp;

    return o->at.hdr_len == at->hdr_len && memcmp(o->head->data, p->data, at->ip_at) == 0 &&
           same_ip(&o->at, at) && memcmp(a + 8, b + 8, 5) == 0 && (b[13] & ~TCP_PSH) == TCP_ACK &&
           memcmp(a + 14, b + 14, 2) == 0 &&
           memcmp(a + TCP_MIN, b + TCP_MIN,
                  at->hdr_len - at->ip_at - (uint32_t)(b - at->ip) - TCP_MIN) == 0;
}

/*
 * The same at a glance, of the frames that are most: IPv4 without a tag. All of the headers, but
 * for what may differ, is equal to that of @o's head. True: and @ret says where things are in @p.
 */
static bool is_alike(const struct open *o, const struct pkt *p, struct place *ret)
{
    enum { TCP_AT = ETH_HDR + IP4_HDR, WINDOW_AT = TCP_AT + 14, OPTIONS_AT = TCP_AT + TCP_MIN };
    const uint8_t *a = o->head->data, *b = p->data;
    const uint32_t hdr_len = o->at.hdr_len;
    uint32_t total;

    if (o->at.is_ip6 || o->at.ip_at != ETH_HDR || o->head->port != p->port || p->len <= hdr_len ||
        !same_front(a, b) || memcmp(a + WINDOW_AT, b + WINDOW_AT, 2) != 0 ||
        memcmp(a + OPTIONS_AT, b + OPTIONS_AT, hdr_len - OPTIONS_AT) != 0)
        return false;
    total = ETH_HDR + get16(b + ETH_HDR + 2);
    if (total > p->len || total < hdr_len)
        return false;
    *ret = o->at;
    ret->ip = b + ETH_HDR;
    ret->tcp = b + TCP_AT;
    ret->payload = total - hdr_len;
    return true;
}

/* Sees to it that the port's word on the checksums is there, or ours. True: both are right. */
static bool is_good(struct pkt *p, const struct place *at)
{
    const uint16_t both = PKT_RX_IP_CSUM_GOOD | PKT_RX_L4_CSUM_GOOD;
    const uint32_t len = at->hdr_len - at->ip_at - (uint32_t)(at->tcp - at->ip) + at->payload;
    const size_t at_src = at->is_ip6 ? 8 : 12, n_addrs = at->is_ip6 ? 32 : 8;
    uint64_t pseudo;

    if ((p->flags & (PKT_RX_IP_CSUM_BAD | PKT_RX_L4_CSUM_BAD)) != 0)
        return false;
    if (at->is_ip6)
        p->flags |= PKT_RX_IP_CSUM_GOOD;
    if ((p->flags & both) == both)
        return true;
    if ((p->flags & PKT_RX_IP_CSUM_GOOD) == 0) {
        if (!cksum_is_good(cksum_add(0, at->ip, IP4_HDR)))
            return false;
        p->flags |= PKT_RX_IP_CSUM_GOOD;
    }
    if ((p->flags & PKT_RX_L4_CSUM_GOOD) != 0)
        return true;
    pseudo = cksum_pseudo_at(at->ip + at_src, n_addrs, IP4_PROTO_TCP, (uint16_t)len);
    p->flags |=
        cksum_is_good(cksum_add(pseudo, at->tcp, len)) ? PKT_RX_L4_CSUM_GOOD : PKT_RX_L4_CSUM_BAD;
    return (p->flags & PKT_RX_L4_CSUM_GOOD) != 0;
}

/* ---- merging */

static struct open *find_open(struct burst *b, const struct pkt *p, const struct place *at)
{
    for (unsigned i = 0; i < b->n; i++)
        if (b->open[i].head != NULL && same_flow(&b->open[i], p, at))
            return &b->open[i];
    return NULL;
}

/* Its headers are the same. */
static bool goes_on(const struct open *o, struct pkt *p, const struct place *at)
{
    const uint32_t before = o->next - get32(o->at.tcp + 4);

    return get32(at->tcp + 4) == o->next && at->payload > 0 && at->payload <= o->at.payload &&
           pkt_n(o->head) < PKT_TRAIN_MAX &&
           before + at->payload <= UINT16_MAX - IP6_HDR - TCP_MAX && is_good(o->head, &o->at) &&
           is_good(p, at);
}

static void couple(struct open *o, struct pkt *p, const struct place *at)
{
    const uint8_t push = at->tcp[13] & TCP_PSH;
    const bool last = push != 0 || at->payload < o->at.payload;

    o->head->data[o->at.tcp - o->head->data + 13] |= push;
    o->next += at->payload;
    pkt_pull(p, at->hdr_len);
    pkt_trim(p, at->payload);
    pkt_couple(o->head, o->last, p);
    o->last = p;
    if (last)
        o->head = NULL;
}

static void wait_for_more(struct burst *b, struct pkt *p, const struct place *at)
{
    struct open *o;

    b->last = NULL;
    if (at->tcp[13] != TCP_ACK || at->payload == 0 || p->n_more > 0)
        return;
    o = b->n < GRO_FLOWS ? &b->open[b->n++] : &b->open[b->oldest++ % GRO_FLOWS];
    *o = (struct open){ p, p, *at, get32(at->tcp + 4) + at->payload };
    b->last = o;
}

/* True: @p is in the train that was added to last. Otherwise nothing is known of it yet. */
static bool take_next(struct burst *b, struct pkt *p)
{
    struct place at;

    if (b->last == NULL || b->last->head == NULL || p->n_more > 0 || !is_alike(b->last, p, &at) ||
        !goes_on(b->last, p, &at))
        return false;
    couple(b->last, p, &at);
    return true;
}

/* True: it is in a train now. */
static bool take(struct burst *b, const struct punt *punt, struct pkt *p)
{
    struct place at;
    struct open *o;

    if ((p->flags & PKT_FLOW_HASH) == 0 || !find(p, &at)) {
        b->n = 0; /* of whichever flow it is */
        b->last = NULL;
        return false;
    }
    if (punt != NULL && punt_may_have_tcp(punt, get16(at.tcp + 2), get16(at.tcp)))
        return false;
    o = find_open(b, p, &at);
    if (o != NULL && p->n_more == 0 && same_headers(o, p, &at) && goes_on(o, p, &at)) {
        b->last = o;
        couple(o, p, &at);
        return true;
    }
    if (o != NULL)
        o->head = NULL;
    wait_for_more(b, p, &at);
    return false;
}

unsigned gro_merge(struct net *net, struct pkt **pkts, unsigned n)
{
    struct burst b;
    unsigned kept = 0;

    b.n = b.oldest = 0;
    b.seen.frame = NULL;
    b.last = NULL;
    for (unsigned i = 0; i < MIN(n, AHEAD); i++)
        __builtin_prefetch(pkts[i]->data);
    for (unsigned i = 0; i < n; i++) {
        if (i + AHEAD < n)
            __builtin_prefetch(pkts[i + AHEAD]->data);
        if (take_next(&b, pkts[i]))
            continue;
        peek(net, &b.seen, pkts[i]);
        if (!take(&b, net->punt, pkts[i]))
            pkts[kept++] = pkts[i];
    }
    return kept;
}

/* ---- and one by one again */

struct header {
    uint8_t bytes[TCP_MAX];
    uint32_t len;
};

/*
 * A packet in front of @rest, which has no room for a header: it takes so many of its bytes that
 * there is some. NULL: no memory.
 */
static struct pkt *make_room(struct net *net, struct pkt *rest)
{
    struct pkt *front = pkt_alloc(net->core->pool);
    const uint32_t part = MIN(rest->len, TCP_MAX);

    if (front == NULL)
        return NULL;
    memcpy(pkt_put(front, part), rest->data, part);
    front->n_more = (uint8_t)(rest->n_more + 1);
    front->more = rest;
    front->more_len = pkt_total_len(rest) - part;
    pkt_pull(rest, part);
    rest->n_more = 0;
    if (rest->len > 0)
        return front;
    front->more = rest->more;
    front->n_more--;
    pkt_unref(rest);
    return front;
}

/* What is behind @p, as a packet from its TCP header on. NULL: no memory, and it is dropped. */
static struct pkt *next_of(struct net *net, struct pkt *p, const struct header *h)
{
    const uint32_t seq = get32(h->bytes + 4) + p->len - h->len;
    struct pkt *rest = pkt_uncouple(p), *front;
    uint8_t *tcp;

    if (pkt_headroom(rest) < h->len) {
        front = rest->n_more < UINT8_MAX ? make_room(net, rest) : NULL;
        if (front == NULL) {
            net_drop(net, rest, DROP_TCP_NO_PKT);
            return NULL;
        }
        rest = front;
    }
    tcp = pkt_push(rest, h->len);
    memcpy(tcp, h->bytes, h->len);
    put32(tcp + 4, seq);
    tcp[13] &= (uint8_t)~TCP_CWR;
    rest->flags = p->flags;
    rest->port = p->port;
    rest->l2_len = p->l2_len;
    return rest;
}

static void deliver_one(struct net *net, const struct flow_key *key, struct pkt *p)
{
    struct flow *f = flow_table_find(&net->flows, key);
    const struct net_proto *proto = &net->protos[key->protocol];
    enum drop why = DROP_IP4_PROTOCOL;

    if (f != NULL)
        why = f->ops->rx(f, p);
    else if (proto->fn != NULL)
        why = proto->fn(proto->ctx, p, &key->remote, &key->local);
    if (why != DROP_NONE)
        net_drop(net, p, why);
}

static void deliver_each(struct net *net, const struct flow_key *key, struct pkt *p)
{
    struct header h = { .len = MIN((uint32_t)(p->data[12] >> 4) * 4, p->len) };

    memcpy(h.bytes, p->data, h.len);
    while (p != NULL) {
        struct pkt *rest = NULL;

        if (p->n_more > 0) {
            rest = next_of(net, p, &h);
            p->data[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
        }
        if (rest != NULL)
            memcpy(h.bytes, rest->data, h.len);
        deliver_one(net, key, p);
        p = rest;
    }
}

enum drop gro_deliver(struct net *net, const struct flow_key *key, struct pkt *train)
{
    struct flow *f;

    if (unlikely((train->flags & PKT_RX_L4_CSUM_GOOD) == 0))
        return DROP_TCP_CSUM;
    if (unlikely(train->len < TCP_MIN || train->data[12] < TCP_MIN / 4 << 4))
        return DROP_TCP_SHORT;
    f = net_flow_of(net, key, train);
    if (f == NULL || f->ops->rx_train == NULL || !f->ops->rx_train(f, train))
        deliver_each(net, key, train);
    return DROP_NONE;
}
