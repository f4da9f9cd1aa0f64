/*
 * fib.h - a destination to its next hops: longest prefix first, both families
 *
 * Immutable: built whole from a list, by whichever thread, and then only read; so
 * a worker changes its routes by changing a pointer (net_set_fib()).
 *
 * The prefixes cut the space of addresses into ranges, each of which has one
 * longest prefix; there are at most twice as many ranges as prefixes, and one
 * more. A lookup is a binary search among their first addresses (Lampson,
 * Srinivasan, Varghese, 1998): 17 steps for 65,536 routes, whatever they are.
 */
#pragma once

#include "dataplane/net/iface.h"

#define FIB_MAX 65536
#define FIB_HOPS_MAX MACHINE_MAX_HOPS

enum fib_kind { FIB_FORWARD, FIB_BLACKHOLE, FIB_UNREACHABLE };

struct fib_hop {
    struct ipaddr via; /* IP_NONE: on link */
    uint8_t iface;
};

/* A route as whoever builds a fib says it. */
struct fib_entry {
    struct ipprefix prefix;
    enum fib_kind kind;
    bool from_kernel;
    uint32_t n_hops; /* of equal worth; 0 unless FIB_FORWARD */
    struct fib_hop hops[FIB_HOPS_MAX];
};

struct fib_route {
    struct ipprefix prefix;
    enum fib_kind kind;
    bool from_kernel;
    uint32_t n_hops, first_hop; /* in fib->hops */
};

/* An address of either family, its first bit the highest. */
struct fib_key {
    uint64_t hi, lo;
};

/* Ranges: where each begins, and the route it has (FIB_NONE: none). */
#define FIB_NONE UINT32_MAX
struct fib_ranges {
    uint32_t n;
    struct fib_key *starts;
    uint32_t *routes;
};

struct fib {
    struct fib_ranges v4, v6;
    uint32_t n_routes, n_hops;
    struct fib_route *routes;
    struct fib_hop *hops;
};

/*
 * Of two routes to the same prefix that both have next hops, the hops are put together, as far as
 * there is room; otherwise the first one wins, and always over one of the kernel's. 0, -ENOMEM, or
 * -E2BIG beyond FIB_MAX.
 */
NODISCARD int fib_new(const struct fib_entry *entries, uint32_t n, struct fib **ret);

/* The prefixes of our interfaces and the routes of the configuration; then @more, which may say the
 * same and lose. 0 or negative, with a line in the log. */
NODISCARD int fib_of_machine(const struct machine_conf *machine, const struct iface_table *ifaces,
                             const struct fib_entry *more, uint32_t n_more, struct fib **ret);
void fib_free(struct fib *f);

/* The route to @addr, or NULL. */
const struct fib_route *fib_find(const struct fib *f, const struct ipaddr *addr);

static inline const struct fib_hop *fib_hops(const struct fib *f, const struct fib_route *r)
{
    return f->hops + r->first_hop;
}
