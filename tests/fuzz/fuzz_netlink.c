/*
 * Netlink messages, as the kernel's routes and neighbours come in: several, from a dump.
 */
#include "config/netlink/table.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static void check_route(const struct kernel_route *r, const struct kernel_route *last)
{
    const unsigned bits = r->prefix.addr.family == IP_V4 ? 32 : 128;

    if (r->prefix.addr.family == IP_NONE || r->prefix.len > bits || r->n_hops > MACHINE_MAX_HOPS ||
        (r->type == KERNEL_ROUTE_FORWARD) != (r->n_hops > 0))
        abort();
    if (last != NULL && memcmp(&last->prefix, &r->prefix, sizeof(r->prefix)) >= 0)
        abort(); /* sorted, each prefix once */
    for (uint32_t i = 0; i < r->n_hops; i++)
        if (r->hops[i].ifindex > 2 ||
            (r->hops[i].via.family != IP_NONE && r->hops[i].via.family != r->prefix.addr.family))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct table_conf conf = { .max_routes = 70, .n_ifs = 2, .ifs = { 1, 2 } };
    struct mirror_counters counters = { 0 };
    struct table t;
    void *copy = malloc(size + 1); /* aligned, as what the kernel fills */

    if (copy == NULL)
        abort();
    memcpy(copy, data, size);
    table_init(&t, &conf);
    table_add(&t, copy, size, &counters);
    free(copy);
    table_settle(&t);
    for (uint32_t i = 0; i < t.view.n_routes; i++)
        check_route(&t.view.routes[i], i > 0 ? &t.view.routes[i - 1] : NULL);
    for (uint32_t i = 0; i < t.view.n_neighs; i++)
        if (t.view.neighs[i].addr.family == IP_NONE || (t.view.neighs[i].mac[0] & 1) != 0)
            abort();
    table_fini(&t);
    return 0;
}
