/*
 * fuzz_net.h - what stands behind the IP of a fuzzed stack, in both families
 *
 * Part of the traffic is the kernel's, and whoever handles a protocol aborts if it is given what it
 * must not see: packets to others or from ourselves, errors that are none of ours.
 */
#pragma once

#include "dataplane/base/bytes.h"
#include "tests/lib/stack.h"

#include <stdlib.h>

/* Some of it is the kernel's. */
static inline void fuzz_net_share(struct machine_conf *m)
{
    m->ports[0].kernel_interface = "k0";
    m->punt_rate = 1000000;
    m->punt_burst = 1000;
    m->n_punts = 3;
    m->punts[0] = (struct punt_conf){ .protocol = 6, .n_ports = 2, .ports = { 22, 179 } };
    m->punts[1] = (struct punt_conf){ .protocol = 17, .n_ports = 1, .ports = { 3784 }, .rate = 9 };
    m->punts[2] = (struct punt_conf){ .protocol = 89 };
}

static inline enum drop fuzz_net_take(void *ctx, struct pkt *p, const struct ipaddr *src,
                                      const struct ipaddr *dst)
{
    struct stack *s = ctx;

    if (!net_is_local(s->net, dst) || net_is_local(s->net, src))
        abort();
    pkt_free(p);
    return DROP_NONE;
}

static inline void fuzz_net_error(void *ctx, const struct ipport *local,
                                  const struct ipport *remote, int err, uint16_t mtu,
                                  const uint8_t payload[8])
{
    struct stack *s = ctx;

    if (!net_is_local(s->net, &local->addr) || err >= 0 || get16(payload) != local->port)
        abort();
}
