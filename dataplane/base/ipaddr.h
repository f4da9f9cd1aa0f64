/*
 * ipaddr.h - IP addresses, prefixes and endpoints: parse, print, compare
 *
 * An address is a family and its bytes in network order, IPv4 in the first
 * four, the rest zero, so that two addresses are equal if their memory is.
 * The same link-local address (fe80::/10) may be there on several links: ->scope
 * tells which one is meant (RFC 4007).
 */
#pragma once

#include "dataplane/base/slice.h"

enum ip_family { IP_NONE = 0, IP_V4 = 4, IP_V6 = 6 };

struct ipaddr {
    uint8_t family; /* enum ip_family */
    uint8_t scope;  /* of a link-local IPv6 address: an interface of net/, from 1; else 0 */
    uint8_t _pad[2];
    uint8_t b[16];
};

struct ipprefix {
    struct ipaddr addr; /* bits beyond ->len are zero */
    uint8_t len;
};

/* An address and a port in host order. */
struct ipport {
    struct ipaddr addr;
    uint16_t port;
};

#define IPADDR_STRLEN 46
#define IPPORT_STRLEN 56 /* [v6]:65535 */

struct ipaddr ipaddr_v4(uint32_t host_order);

static inline struct ipaddr ipaddr_v6(const uint8_t b[16])
{
    struct ipaddr a = { .family = IP_V6 };

    memcpy(a.b, b, sizeof(a.b));
    return a;
}

/* IPv4 in host order; only for family IP_V4. */
static inline uint32_t ipaddr_u32(const struct ipaddr *a)
{
    return (uint32_t)a->b[0] << 24 | (uint32_t)a->b[1] << 16 | (uint32_t)a->b[2] << 8 | a->b[3];
}

static inline bool ipaddr_eq(const struct ipaddr *a, const struct ipaddr *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static inline bool ipport_eq(const struct ipport *a, const struct ipport *b)
{
    return a->port == b->port && ipaddr_eq(&a->addr, &b->addr);
}

bool ipaddr_parse(struct slice s, struct ipaddr *ret);

/* "10.0.0.0/8". A bare address is a prefix of full length. Set host bits are an error if @strict.
 */
bool ipprefix_parse(struct slice s, bool strict, struct ipprefix *ret);
bool ipprefix_contains(const struct ipprefix *p, const struct ipaddr *a);

/* Both return @buf. */
char *ipaddr_str(const struct ipaddr *a, char buf[IPADDR_STRLEN]);
char *ipport_str(const struct ipport *a, char buf[IPPORT_STRLEN]);
