#include "drivers/steer.h"

#include "dataplane/base/bytes.h"
#include "drivers/frame.h"

#include <rte_thash.h>

#define ICMP_HDR 8
#define PROTO_ICMP 1
#define PROTO_ICMP6 58
#define EXT_HOP 0
#define EXT_ROUTING 43
#define EXT_FRAGMENT 44
#define EXT_DESTINATION 60
#define HEADERS_MAX 6
#define ADDR_WORDS_MAX 4
#define SCATTER 7919 /* a prime: one port is not like the next, and still each comes once */

/*
 * Any key of good spread serves. This one is the well-known example of the RSS
 * specification, which drivers and captures of other tools know as well.
 */
static const uint8_t default_key[STEER_KEY_LEN] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

/* @src and @dst: addresses of @n_words words, as they are in a packet. */
static uint32_t hash(const struct steer *s, const uint8_t *src, const uint8_t *dst,
                     uint32_t n_words, uint32_t ports)
{
    uint32_t tuple[2 * ADDR_WORDS_MAX + 1];

    for (uint32_t i = 0; i < n_words; i++) {
        tuple[i] = get32(src + 4 * i);
        tuple[n_words + i] = get32(dst + 4 * i);
    }
    tuple[2 * n_words] = ports;
    return rte_softrss_be(tuple, 2 * n_words + 1, s->key_be);
}

static uint32_t owner(const struct steer *s, const uint8_t *src, const uint8_t *dst,
                      uint32_t n_words, uint32_t ports)
{
    return s->reta[hash(s, src, dst, n_words, ports) & (STEER_RETA - 1)];
}

static uint32_t hash_of(const struct steer *s, const struct ipport *remote,
                        const struct ipaddr *local, uint16_t local_port)
{
    const uint32_t n_words = remote->addr.family == IP_V4 ? 1 : ADDR_WORDS_MAX;

    return hash(s, remote->addr.b, local->b, n_words, (uint32_t)remote->port << 16 | local_port);
}

uint32_t steer_tuple(const struct steer *s, const struct ipport *remote, const struct ipport *local)
{
    return s->reta[hash_of(s, remote, &local->addr, local->port) & (STEER_RETA - 1)];
}

/* ---- local ports */

/* What the hash has from the local port alone: all of it, if every other bit is zero. */
static uint32_t slot_change(const struct steer *s, uint8_t family, uint32_t port)
{
    const struct ipport nobody = { .addr = { .family = family } };

    return hash_of(s, &nobody, &nobody.addr, (uint16_t)port) & (STEER_RETA - 1);
}

static void init_ports(const struct steer *s, uint8_t family, struct steer_ports *ret)
{
    bool known[STEER_RETA] = { false };
    uint32_t n = 0;

    for (uint32_t port = 0; port < STEER_PORT_FIRST; port++) {
        const uint32_t slot = slot_change(s, family, port);

        if (!known[slot])
            ret->flip[slot] = (uint16_t)port;
        known[slot] = true;
        if (slot == 0 && n < STEER_SLOT_PORTS)
            ret->stay[n++] = (uint16_t)port;
    }
}

static void init_slots(struct steer *s)
{
    uint8_t n = 0;

    for (uint32_t w = 0; w < s->n_workers; w++) {
        s->first[w] = n;
        for (unsigned slot = 0; slot < STEER_RETA; slot++)
            if (s->reta[slot] == w)
                s->slots[n++] = (uint8_t)slot;
    }
    s->first[s->n_workers] = n;
}

void steer_init(struct steer *s, uint32_t n_workers)
{
    *s = (struct steer){ .n_workers = n_workers };
    memcpy(s->key, default_key, sizeof(s->key));
    rte_convert_rss_key((const uint32_t *)(const void *)default_key, (uint32_t *)(void *)s->key_be,
                        STEER_KEY_LEN);
    for (unsigned i = 0; i < STEER_RETA; i++)
        s->reta[i] = (uint8_t)(i % n_workers);
    init_slots(s);
    init_ports(s, IP_V4, &s->by_port[0]);
    init_ports(s, IP_V6, &s->by_port[1]);
}

uint32_t steer_ports(const struct steer *s, uint32_t worker, const struct ipport *remote,
                     const struct ipaddr *local, uint32_t from, uint16_t *ports, uint32_t n)
{
    const struct steer_ports *by_port = &s->by_port[remote->addr.family == IP_V4 ? 0 : 1];
    const uint8_t *slots = &s->slots[s->first[worker]];
    const uint32_t n_slots = s->first[worker + 1] - s->first[worker];
    const uint32_t all = n_slots * STEER_SLOT_PORTS;
    const uint32_t slot = hash_of(s, remote, local, STEER_PORT_FIRST) & (STEER_RETA - 1);

    for (uint32_t k = 0; k < n; k++) {
        const uint32_t i = (uint32_t)(((uint64_t)from + k) * SCATTER % all);

        ports[k] = STEER_PORT_FIRST |
                   (by_port->flip[slots[i % n_slots] ^ slot] ^ by_port->stay[i / n_slots]);
    }
    return all;
}

/* ---- self-test */

/* Microsoft, "Verifying the RSS Hash Calculation": with TCP ports. */
static const struct {
    const char *remote, *local;
    uint16_t remote_port, local_port;
    uint32_t hash;
} known[] = {
    { "66.9.149.187", "161.142.100.80", 2794, 1766, 0x51ccc178 },
    { "199.92.111.2", "65.69.140.83", 14230, 4739, 0xc626b0ea },
    { "24.19.198.95", "12.22.207.184", 12898, 38024, 0x5c2b394a },
    { "3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766, 0x40207d3d },
    { "3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739, 0xdde51bbf },
    { "3ffe:1900:4545:3:200:f8ff:fe21:67cf", "fe80::200:f8ff:fe21:67cf", 44251, 38024, 0x02d1feef },
};

static bool is_known(const struct steer *s, size_t i)
{
    struct ipport remote = { .port = known[i].remote_port };
    struct ipaddr local;

    return ipaddr_parse(slice_of(known[i].remote), &remote.addr) &&
           ipaddr_parse(slice_of(known[i].local), &local) &&
           hash_of(s, &remote, &local, known[i].local_port) == known[i].hash;
}

/* Every port that @worker would use for the @i-th tuple leads back to it, and none comes twice. */
static bool leads_back(const struct steer *s, uint32_t worker, size_t i)
{
    struct ipport remote = { .port = known[i].remote_port }, local;
    uint64_t seen[(UINT16_MAX + 1) / 64] = { 0 };
    uint32_t all;

    if (!ipaddr_parse(slice_of(known[i].remote), &remote.addr) ||
        !ipaddr_parse(slice_of(known[i].local), &local.addr))
        return false;
    all = steer_ports(s, worker, &remote, &local.addr, 0, &local.port, 1);
    for (uint32_t k = 0; k < all; k++) {
        steer_ports(s, worker, &remote, &local.addr, k, &local.port, 1);
        if (steer_tuple(s, &remote, &local) != worker || local.port < STEER_PORT_FIRST ||
            (seen[local.port / 64] >> local.port % 64 & 1) != 0)
            return false;
        seen[local.port / 64] |= UINT64_C(1) << local.port % 64;
    }
    return true;
}

const char *steer_self_test(const struct steer *s)
{
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (!is_known(s, i))
            return "the Toeplitz hash is not that of the RSS document";
    for (uint32_t w = 0; w < s->n_workers; w++) {
        if (s->first[w + 1] == s->first[w])
            return "a worker has no part of the table";
        for (size_t i = 0; i < ARRAY_SIZE(known); i++)
            if (!leads_back(s, w, i))
                return "a local port does not lead back to its worker";
    }
    return NULL;
}

/* A packet, as far as it matters here. */
struct view {
    const uint8_t *src, *dst, *l4;
    uint32_t n_words, l4_len;
    uint8_t protocol;
    bool fragment;
    uint32_t id; /* of the datagram, if it is a fragment */
};

static bool view4(const uint8_t *ip, uint32_t len, struct view *v)
{
    const uint32_t hdr_len = len >= IP4_MIN ? (ip[0] & 15u) * 4 : 0;

    if (hdr_len < IP4_MIN || ip[0] >> 4 != 4 || len < hdr_len)
        return false;
    *v = (struct view){ .src = ip + 12,
                        .dst = ip + 16,
                        .l4 = ip + hdr_len,
                        .n_words = 1,
                        .l4_len = len - hdr_len,
                        .protocol = ip[9],
                        .fragment = (get16(ip + 6) & 0x3fff) != 0,
                        .id = (uint32_t)get16(ip + 4) << 16 | ip[9] };
    return true;
}

/* Walks a few extension headers: only to find the owner, net/ judges them. */
static bool view6(const uint8_t *ip, uint32_t len, struct view *v)
{
    uint32_t at = IP6_LEN;

    if (len < IP6_LEN || ip[0] >> 4 != 6)
        return false;
    *v = (struct view){
        .src = ip + 8, .dst = ip + 24, .n_words = ADDR_WORDS_MAX, .protocol = ip[6]
    };
    for (unsigned i = 0; i < HEADERS_MAX; i++) {
        const uint8_t *hdr = ip + at;
        uint32_t step;

        if (v->protocol != EXT_HOP && v->protocol != EXT_ROUTING && v->protocol != EXT_FRAGMENT &&
            v->protocol != EXT_DESTINATION)
            break;
        if (len - at < 8)
            return false;
        if (v->protocol == EXT_FRAGMENT && (get16(hdr + 2) & 0xfff9) != 0) {
            v->fragment = true;
            v->id = get32(hdr + 4);
            return true;
        }
        step = v->protocol == EXT_FRAGMENT ? 8 : (hdr[1] + 1u) * 8;
        if (len - at < step)
            return false;
        v->protocol = hdr[0];
        at += step;
    }
    v->l4 = ip + at;
    v->l4_len = len - at;
    return true;
}

static bool view_of(const uint8_t *ip, uint32_t len, struct view *v)
{
    return len > 0 && (ip[0] >> 4 == 4 ? view4(ip, len, v) : view6(ip, len, v));
}

/* The TCP segment quoted by an ICMP error is one of ours: its source is our side. */
static uint32_t owner_of_quoted(const struct steer *s, const uint8_t *icmp, uint32_t len)
{
    struct view v;

    if (len < ICMP_HDR || !view_of(icmp + ICMP_HDR, len - ICMP_HDR, &v) || v.fragment ||
        v.protocol != PROTO_TCP || v.l4_len < 4)
        return STEER_ANY;
    return owner(s, v.dst, v.src, v.n_words, (uint32_t)get16(v.l4 + 2) << 16 | get16(v.l4));
}

/* Is it one that quotes? What merely looks so (echo, neighbours) must not travel. */
static bool is_error(const struct view *v)
{
    return v->n_words == 1 ? v->l4[0] == 3 || v->l4[0] == 11 || v->l4[0] == 12 : v->l4[0] < 128;
}

static bool view_frame(const struct pkt *p, struct view *v)
{
    const uint8_t *at = p->data;
    uint32_t len = p->len;
    uint16_t type;

    if (len < ETH_LEN + VLAN_LEN)
        return false;
    type = get16(at + 12);
    if (type == TYPE_VLAN) {
        at += VLAN_LEN;
        len -= VLAN_LEN;
        type = get16(at + 12);
    }
    at += ETH_LEN;
    len -= ETH_LEN;
    return (type == TYPE_IP4 && view4(at, len, v)) || (type == TYPE_IP6 && view6(at, len, v));
}

static bool is_tcp(const struct view *v)
{
    return !v->fragment && v->protocol == PROTO_TCP && v->l4_len >= 8;
}

static uint32_t hash_of_view(const struct steer *s, const struct view *v)
{
    return hash(s, v->src, v->dst, v->n_words, (uint32_t)get16(v->l4) << 16 | get16(v->l4 + 2));
}

/* Of a TCP segment: the port's, if there is one that we believe. */
static uint32_t believed_hash(const struct steer *s, const struct pkt *p, const struct view *v,
                              struct steer_check *c)
{
    uint32_t h;

    if (c == NULL || c->wrong || (p->flags & PKT_RX_HASH) == 0)
        return hash_of_view(s, v);
    c->n++;
    if (c->n > STEER_CHECKS && c->n % STEER_CHECKS != 0)
        return p->hash;
    h = hash_of_view(s, v);
    c->wrong = h != p->hash;
    return h;
}

uint32_t steer_frame(const struct steer *s, const struct pkt *p, struct steer_check *c)
{
    struct view v;

    if (!view_frame(p, &v))
        return STEER_ANY;
    if (v.fragment)
        return owner(s, v.src, v.dst, v.n_words, v.id);
    if (is_tcp(&v))
        return s->reta[believed_hash(s, p, &v, c) & (STEER_RETA - 1)];
    if (v.l4_len < 8 || v.protocol != (v.n_words == 1 ? PROTO_ICMP : PROTO_ICMP6) || !is_error(&v))
        return STEER_ANY;
    return owner_of_quoted(s, v.l4, v.l4_len);
}

bool steer_hash(const struct steer *s, const struct pkt *p, uint32_t *ret)
{
    struct view v;

    if (!view_frame(p, &v) || !is_tcp(&v))
        return false;
    *ret = hash_of_view(s, &v);
    return true;
}
