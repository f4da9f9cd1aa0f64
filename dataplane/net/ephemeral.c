#include "dataplane/net/ephemeral.h"

#include "dataplane/net/net_impl.h"

#include <errno.h>

#define N_PORTS (EPHEMERAL_LAST - EPHEMERAL_FIRST + 1)

/* A search this long means that the range is nearly used up, or that other workers own it. */
#define SEARCH_MAX 4096

static bool is_free(struct net *net, uint8_t protocol, const struct ipport *remote,
                    const struct ipport *local)
{
    struct flow_key key;

    flow_key_init(&key, protocol, remote, local);
    if (flow_table_find(&net->flows, &key) != NULL)
        return false;
    return net->ops->owns == NULL || net->ops->owns(net->ctx, remote, local);
}

int ephemeral_pick(struct net *net, uint8_t protocol, const struct ipport *remote,
                   struct ipport *local)
{
    const uint32_t start = (uint32_t)(core_random(net->core) >> 32) % N_PORTS;
    struct ipport try = *local;

    for (uint32_t i = 0; i < SEARCH_MAX; i++) {
        try.port = (uint16_t)(EPHEMERAL_FIRST + (start + i) % N_PORTS);
        if (is_free(net, protocol, remote, &try)) {
            local->port = try.port;
            return 0;
        }
    }
    return -EADDRNOTAVAIL;
}
