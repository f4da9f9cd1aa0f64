#include "drivers/steer.h"

#include <rte_thash.h>

#define ETH_LEN 14
#define VLAN_LEN 4
#define IP4_MIN 20
#define PROTO_ICMP 1
#define PROTO_TCP 6

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

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint32_t owner(const struct steer *s, uint32_t src, uint32_t dst, uint16_t sport,
                      uint16_t dport)
{
    uint32_t tuple[3] = { src, dst, (uint32_t)sport << 16 | dport };
    uint32_t hash = rte_softrss_be(tuple, 3, s->key_be);

    return s->reta[hash & (STEER_RETA - 1)];
}

uint32_t steer_tuple(const struct steer *s, const struct ipport *remote, const struct ipport *local)
{
    if (remote->addr.family != IP_V4)
        return STEER_ANY;
    return owner(s, ipaddr_u32(&remote->addr), ipaddr_u32(&local->addr), remote->port, local->port);
}

/* The TCP segment quoted by an ICMP error is one of ours: its source is our side. */
static uint32_t owner_of_quoted(const struct steer *s, const uint8_t *icmp, uint32_t len)
{
    const uint8_t *ip = icmp + 8;
    uint32_t hdr_len;

    if (len < 8 + IP4_MIN + 4 || ip[0] >> 4 != 4 || ip[9] != PROTO_TCP)
        return STEER_ANY;
    hdr_len = (ip[0] & 15u) * 4;
    if (hdr_len < IP4_MIN || len < 8 + hdr_len + 4)
        return STEER_ANY;
    return owner(s, get32(ip + 16), get32(ip + 12), get16(ip + hdr_len + 2), get16(ip + hdr_len));
}

uint32_t steer_frame(const struct steer *s, const struct pkt *p)
{
    const uint8_t *at = p->data;
    uint32_t len = p->len, hdr_len;

    if (len < ETH_LEN)
        return STEER_ANY;
    if (get16(at + 12) == 0x8100) {
        at += VLAN_LEN;
        len -= VLAN_LEN;
    }
    if (len < ETH_LEN + IP4_MIN || get16(at + 12) != 0x0800)
        return STEER_ANY;
    at += ETH_LEN;
    len -= ETH_LEN;
    hdr_len = (at[0] & 15u) * 4;
    if (at[0] >> 4 != 4 || hdr_len < IP4_MIN || len < hdr_len + 8 || (get16(at + 6) & 0x3fff) != 0)
        return STEER_ANY;
    if (at[9] == PROTO_ICMP)
        return owner_of_quoted(s, at + hdr_len, len - hdr_len);
    if (at[9] != PROTO_TCP)
        return STEER_ANY;
    return owner(s, get32(at + 12), get32(at + 16), get16(at + hdr_len), get16(at + hdr_len + 2));
}
