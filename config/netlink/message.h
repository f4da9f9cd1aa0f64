/*
 * message.h - what the kernel says of its routes and neighbours, read from netlink messages
 *
 * Pure: a message's bytes in, plain structs out (rtnetlink(7); the attributes by libmnl). The
 * kernel is believed, but a message that does not parse is refused, not followed.
 *
 * Of routes: table main, of the types that say something about a destination elsewhere (link-local
 * prefixes do not). A hop that is down is left out. What our IP stack has no way for (a next hop of
 * the other family, an encapsulation) is not of interest, and neither are routes with a type of
 * service.
 */
#pragma once

#include "config/model/machine.h"
#include "dataplane/base/ipaddr.h"

struct nlmsghdr;

enum kernel_route_type { KERNEL_ROUTE_FORWARD, KERNEL_ROUTE_BLACKHOLE, KERNEL_ROUTE_UNREACHABLE };

struct kernel_hop {
    struct ipaddr via; /* IP_NONE: on link */
    uint32_t ifindex;
};

struct kernel_route {
    struct ipprefix prefix;
    enum kernel_route_type type;
    uint32_t metric; /* of several to one prefix the lowest counts */
    uint32_t n_hops; /* at most MACHINE_MAX_HOPS: the first ones */
    struct kernel_hop hops[MACHINE_MAX_HOPS];
};

struct kernel_neigh {
    struct ipaddr addr;
    uint32_t ifindex;
    uint8_t mac[6];
};

/*
 * Takes the first of the messages in *@len bytes at *@at; NULL: there is none, or (*@len is not 0)
 * it is cut. (What libmnl has for this takes a length of 2 GiB and more for a negative one.)
 */
const struct nlmsghdr *message_next(const void **at, size_t *len);

/* Zeroed where nothing is said, so that two can be compared as memory. 0; -ENOENT: nothing of
 * interest; -EBADMSG: it does not parse. */
NODISCARD int message_route(const struct nlmsghdr *m, struct kernel_route *ret);

/* One that is there for good (NUD_PERMANENT), with a MAC address. The same answers. */
NODISCARD int message_neigh(const struct nlmsghdr *m, struct kernel_neigh *ret);
