/*
 * fib.h - a destination to its next hop: longest prefix first
 *
 * The prefixes of our interfaces and the routes of the configuration, sorted by
 * length when the net is built and searched in order: a gateway has a handful,
 * and a connection asks once.
 */
#pragma once

#include "dataplane/net/iface.h"

#define FIB_MAX (IFACE_MAX + MACHINE_MAX_ROUTES)

struct fib_route {
    uint32_t prefix, mask;
    uint32_t via; /* 0: on link */
    uint8_t iface;
};

struct fib {
    uint32_t n;
    struct fib_route routes[FIB_MAX];
};

/* 0 or -EINVAL, with a line in the log. */
NODISCARD int fib_init(struct fib *f, const struct machine_conf *machine,
                       const struct iface_table *ifaces);

/* The route to @addr, or NULL. */
const struct fib_route *fib_find(const struct fib *f, uint32_t addr);
