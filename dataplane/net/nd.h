/*
 * nd.h - IPv6 on a link: who is where, whose address is it, who is a router
 *
 * Neighbour discovery (RFC 4861) keeps the same table as ARP (neigh.h) and the same
 * discipline: we learn from those who ask for an address of ours and from
 * answers to what we asked, of the link's own addresses only. Every message
 * must have a hop limit of 255, so that it comes from the link, and no fragment
 * is one (RFC 6980). Redirects are not followed.
 *
 * Duplicate address detection (RFC 4862, 5.4): the first worker asks, all listen, as
 * every such frame is shared, and each comes to the same end at the same time.
 *
 * Routers are believed only where the port's configuration says so (router.c):
 * default routes, prefixes on link, addresses made of them, the MTU.
 */
#pragma once

#include "dataplane/net/ip6.h"

#define ND_HOP_LIMIT 255

/* Starts the life of an address whose place in its interface is final. */
void nd_address_start(struct net *net, struct iface_addr6 *a);
void nd_address_stop(struct iface_addr6 *a);

/* Asks for @addr; @to: its last known MAC address, or NULL to ask its group. */
void nd_solicit(struct net *net, const struct iface *i, const struct ipaddr *addr,
                const uint8_t *to);

/* Types 133 to 137; @p's data starts at the ICMP header, whose checksum is right. Taken only if
 * DROP_NONE. */
enum drop nd_rx(struct net *net, const struct iface *i, struct pkt *p, const struct ip6 *ip);

/* Sends @p, an ICMPv6 message without its checksum, to a MAC address. Takes @p. */
void nd_send(struct net *net, const struct iface *i, struct pkt *p, const struct ipaddr *src,
             const struct ipaddr *dst, const uint8_t mac[6]);

/* Options of a message: @at of @len bytes. The option's 2 + n bytes, or NULL; false: malformed. */
#define ND_OPT_SOURCE 1
#define ND_OPT_TARGET 2
#define ND_OPT_PREFIX 3
#define ND_OPT_MTU 5
bool nd_options_are_good(const uint8_t *at, uint32_t len);
const uint8_t *nd_option(const uint8_t *at, uint32_t len, uint8_t type, uint32_t *left);

/* mld.c: tells routers and switches which groups @i listens to (RFC 3810). */
void mld_report(struct net *net, const struct iface *i, bool joined);
enum drop mld_rx(struct net *net, const struct iface *i, struct pkt *p, const struct ip6 *ip);

/* router.c */
#define ROUTERS_MAX 8
#define ROUTER_PREFIXES_MAX 16

struct router {
    struct ipaddr addr; /* IP_NONE: this place is free */
    uint8_t iface;
    uint64_t until_us;
};

struct router_prefix {
    struct ipprefix prefix;
    uint8_t iface;
    uint64_t until_us;
};

struct routers {
    struct router routers[ROUTERS_MAX];
    struct router_prefix prefixes[ROUTER_PREFIXES_MAX];
    uint8_t asked; /* solicitations sent since the start */
    struct net *net;
    struct wheel_timer timer;
};

void routers_init(struct routers *r, struct net *net);

/* A link-local address is in use: routers can be asked for. */
void routers_ask(struct net *net);

/* A router advertisement; @p is not taken. */
enum drop router_advertised(struct net *net, struct iface *i, const struct pkt *p,
                            const struct ip6 *ip);

/* The longest prefix of @addr that a router said is on a link, or NULL. */
const struct router_prefix *router_on_link(const struct net *net, const struct ipaddr *addr);

/* The @n-th default router, counted from 0 over those that still are, or NULL. */
const struct router *router_default(const struct net *net, uint32_t n);
