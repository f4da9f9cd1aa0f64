/*
 * addr6.h - what kinds of IPv6 addresses there are (RFC 4291)
 */
#pragma once

#include "dataplane/base/ipaddr.h"

static inline bool addr6_is_group(const struct ipaddr *a)
{
    return a->b[0] == 0xff;
}

static inline bool addr6_is_link_local(const struct ipaddr *a)
{
    return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

static inline bool addr6_is_unspecified(const struct ipaddr *a)
{
    static const uint8_t none[16];

    return memcmp(a->b, none, sizeof(none)) == 0;
}

/* Addresses that never are on a wire as one machine's: ::/96 and ::ffff:0:0/96. */
static inline bool addr6_is_inside(const struct ipaddr *a)
{
    static const uint8_t zero[10];

    return memcmp(a->b, zero, sizeof(zero)) == 0 &&
           ((a->b[10] == 0 && a->b[11] == 0) || (a->b[10] == 0xff && a->b[11] == 0xff));
}

/* How many leading bits are the same. */
static inline unsigned addr6_common(const struct ipaddr *a, const struct ipaddr *b)
{
    for (unsigned i = 0; i < 16; i++) {
        const unsigned diff = a->b[i] ^ (unsigned)b->b[i];

        if (diff != 0)
            return i * 8 + (unsigned)__builtin_clz(diff) - 24;
    }
    return 128;
}

static inline struct ipaddr addr6_all_nodes(void)
{
    return (struct ipaddr){ .family = IP_V6, .b = { 0xff, 2, [15] = 1 } };
}

static inline struct ipaddr addr6_all_routers(void)
{
    return (struct ipaddr){ .family = IP_V6, .b = { 0xff, 2, [15] = 2 } };
}

/* The group of those who may have @a (RFC 4291, 2.7.1). */
static inline struct ipaddr addr6_solicited(const struct ipaddr *a)
{
    return (struct ipaddr){
        .family = IP_V6,
        .b = { 0xff, 2, [11] = 1, [12] = 0xff, a->b[13], a->b[14], a->b[15] },
    };
}

/* The MAC address that frames for the group @a go to (RFC 2464, 7). */
static inline void addr6_group_mac(const struct ipaddr *a, uint8_t mac[6])
{
    mac[0] = mac[1] = 0x33;
    memcpy(mac + 2, a->b + 12, 4);
}
