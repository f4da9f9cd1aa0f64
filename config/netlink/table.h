/*
 * table.h - what the kernel has by some of its interfaces, put together from its messages
 *
 * Messages of a dump go in, in any order; the view comes out: sorted, one route for each prefix (of
 * several those with the lowest metric, whose hops are equals), hops by the interfaces of interest
 * only. No socket: a test fills it from bytes.
 */
#pragma once

#include "config/netlink/message.h"

#include <stddef.h>

#define TABLE_NEIGHS_MAX 256

#define MIRROR_COUNTERS(X)                                                                         \
    X(dumps, "times that the kernel's tables were read")                                           \
    X(resyncs, "times that events of the kernel were lost, or a table changed while it was read")  \
    X(malformed, "messages of the kernel that do not parse")                                       \
    X(refused_routes, "routes of the kernel left out: more than there is room for")                \
    X(refused_neighbors, "neighbours of the kernel left out: more than there is room for")

#define MIRROR_COUNTER_FIELD(name, text) uint64_t name;
struct mirror_counters {
    MIRROR_COUNTERS(MIRROR_COUNTER_FIELD)
};

struct table_view {
    uint32_t n_routes, n_neighs;
    struct kernel_route *routes;
    struct kernel_neigh *neighs;
};

struct table_conf {
    uint32_t max_routes;
    uint32_t n_ifs;
    uint32_t ifs[MACHINE_MAX_PORTS]; /* indexes of the interfaces of interest */
};

/* Zero it before the first use. */
struct table {
    struct table_conf conf;
    struct table_view view;
    uint32_t room; /* routes that there is memory for */
};

void table_init(struct table *t, const struct table_conf *conf);
void table_fini(struct table *t);
void table_clear(struct table *t);

/* The messages in @len bytes. What ends a dump is found by the caller. */
void table_add(struct table *t, const void *bytes, size_t len, struct mirror_counters *counters);

/* After the last: sorts and joins. */
void table_settle(struct table *t);

bool table_view_eq(const struct table_view *a, const struct table_view *b);
