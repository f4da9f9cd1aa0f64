#include "drivers/steer.h"

#include "dataplane/base/bytes.h"

#include <rte_thash.h>

#define ETH_LEN 14
#define VLAN_LEN 4
#define TYPE_VLAN 0x8100
#define TYPE_IP4 0x0800
#define TYPE_IP6 0x86dd
#define IP4_MIN 20
#define IP6_HDR 40
#define ICMP_HDR 8
#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_ICMP6 58
#define EXT_HOP 0
#define EXT_ROUTING 43
#define EXT_FRAGMENT 44
#define EXT_DESTINATION 60
#define HEADERS_MAX 6
#define ADDR_WORDS_MAX 4

/*
 * Any key of good spread serves. This one is the well-known example of the RSS
 * specification, which drivers and captures of other tools know as well.
 */
static const uint8_t default_key[STEER_KEY_LEN] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

void steer_init(struct steer *s, uint32_t n_workers)
{
    s->n_workers = n_workers;
    memcpy(s->key, default_key, sizeof(s->key));
    rte_convert_rss_key((const uint32_t *)(const void *)default_key, (uint32_t *)(void *)s->key_be,
                        STEER_KEY_LEN);
    for (unsigned i = 0; i < STEER_RETA; i++)
        s->reta[i] = (uint8_t)(i % n_workers);
}

static uint32_t worker_of(const struct steer *s, uint32_t *tuple, uint32_t n_words)
{
    return s->reta[rte_softrss_be(tuple, n_words, s->key_be) & (STEER_RETA - 1)];
}

/* @src and @dst: addresses of @n_words words, as they are in a packet. */
static uint32_t owner(const struct steer *s, const uint8_t *src, const uint8_t *dst,
                      uint32_t n_words, uint32_t ports)
{
    uint32_t tuple[2 * ADDR_WORDS_MAX + 1];

    for (uint32_t i = 0; i < n_words; i++) {
        tuple[i] = get32(src + 4 * i);
        tuple[n_words + i] = get32(dst + 4 * i);
    }
    tuple[2 * n_words] = ports;
    return worker_of(s, tuple, 2 * n_words + 1);
}

uint32_t steer_tuple(const struct steer *s, const struct ipport *remote, const struct ipport *local)
{
    const uint32_t n_words = remote->addr.family == IP_V4 ? 1 : ADDR_WORDS_MAX;

    return owner(s, remote->addr.b, local->addr.b, n_words,
                 (uint32_t)remote->port << 16 | local->port);
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
    uint32_t at = IP6_HDR;

    if (len < IP6_HDR || ip[0] >> 4 != 6)
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

uint32_t steer_frame(const struct steer *s, const struct pkt *p)
{
    const uint8_t *at = p->data;
    uint32_t len = p->len;
    uint16_t type;
    struct view v;

    if (len < ETH_LEN + VLAN_LEN)
        return STEER_ANY;
    type = get16(at + 12);
    if (type == TYPE_VLAN) {
        at += VLAN_LEN;
        len -= VLAN_LEN;
        type = get16(at + 12);
    }
    at += ETH_LEN;
    len -= ETH_LEN;
    if (!(type == TYPE_IP4 && view4(at, len, &v)) && !(type == TYPE_IP6 && view6(at, len, &v)))
        return STEER_ANY;
    if (v.fragment)
        return owner(s, v.src, v.dst, v.n_words, v.id);
    if (v.l4_len < 8)
        return STEER_ANY;
    if (v.protocol == PROTO_TCP)
        return owner(s, v.src, v.dst, v.n_words, (uint32_t)get16(v.l4) << 16 | get16(v.l4 + 2));
    if (v.protocol != (v.n_words == 1 ? PROTO_ICMP : PROTO_ICMP6) || !is_error(&v))
        return STEER_ANY;
    return owner_of_quoted(s, v.l4, v.l4_len);
}
