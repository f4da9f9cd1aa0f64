#include "dataplane/net/ephemeral.h"

#include "dataplane/net/net_impl.h"

#include <errno.h>

#define N_PORTS (EPHEMERAL_LAST - EPHEMERAL_FIRST + 1)
#define BATCH 16

/*
 * A search this long means that the range is nearly used up. It jumps about, or ports in use would
 * grow together into long runs; only where there are no more than that it looks at each of them.
 */
#define SEARCH_MAX 1024

/* After so many that are taken, one that yields will do. */
#define PATIENCE 64

static uint32_t all_ports(uint32_t from, uint16_t *ports, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++)
        ports[k] = (uint16_t)(EPHEMERAL_FIRST + (from + k) % N_PORTS);
    return N_PORTS;
}

static uint32_t offered(const struct net *net, const struct ipport *remote,
                        const struct ipaddr *local, uint32_t from, uint16_t *ports)
{
    if (net->ops->local_ports == NULL)
        return all_ports(from, ports, BATCH);
    return net->ops->local_ports(net->ctx, remote, local, from, ports, BATCH);
}

static struct flow *holder(const struct net *net, uint8_t protocol, const struct ipport *remote,
                           const struct ipport *local)
{
    struct flow_key key;

    flow_key_init(&key, protocol, remote, local);
    return flow_table_find(&net->flows, &key);
}

int ephemeral_pick(struct net *net, uint8_t protocol, const struct ipport *remote,
                   struct ipport *local)
{
    uint32_t from = (uint32_t)(core_random(net->core) >> 32), all = UINT32_MAX;
    struct ipport try = *local;
    uint16_t ports[BATCH], yielding = 0;

    for (uint32_t i = 0; i < MIN(all, (uint32_t)SEARCH_MAX); i++) {
        const struct flow *f;

        if (i % BATCH == 0) {
            all = offered(net, remote, &local->addr, from, ports);
            from = all <= SEARCH_MAX ? from + BATCH : (uint32_t)(core_random(net->core) >> 32);
        }
        try.port = ports[i % BATCH];
        if (try.port < EPHEMERAL_FIRST || try.port > EPHEMERAL_LAST)
            continue;
        f = holder(net, protocol, remote, &try);
        if (f == NULL) {
            local->port = try.port;
            return 0;
        }
        if (yielding == 0 && f->ops->yields != NULL && f->ops->yields(f))
            yielding = try.port;
        if (yielding != 0 && i >= PATIENCE)
            break;
    }
    if (yielding == 0) {
        net->counters.ports_exhausted++;
        return -EADDRNOTAVAIL;
    }
    local->port = yielding;
    return 0;
}
