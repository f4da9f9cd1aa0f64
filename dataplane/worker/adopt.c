/*
 * A worker takes over a runtime, bit by bit: what would be ten thousand clusters in one turn is a
 * few of them in each. Requests go by the old routes until every cluster is there.
 *
 *   clusters --> listeners and routes, at once --> the clusters that are gone --> adopted
 *
 * Sessions that have to be looked at and connections to be drained follow, whenever there is time.
 */
#include "dataplane/base/log.h"
#include "dataplane/worker/loop.h"
#include "dataplane/worker/worker.h"

#include <string.h>

#define ADOPT_PER_TURN 64 /* clusters, endpoints, sessions, connections: some 20 us */

static void begin(struct worker *w, struct runtime *rt)
{
    pin_get(&rt->pins, w->core.id);
    w->adopting = rt;
    w->routes_adopted = false;
    upstreams_adopt(w->upstreams, rt->clusters, rt->n_clusters);
}

static void adopt_routes(struct worker *w)
{
    int rc = proxy_adopt(w->proxy, w->adopting->listeners, w->adopting->n_listeners);

    if (rc < 0)
        log_error("worker", "%u: not every listener of configuration %lu listens: %s", w->core.id,
                  (unsigned long)w->adopting->version, strerror(-rc));
    w->routes_adopted = true;
}

static void finish(struct worker *w)
{
    if (w->runtime != NULL)
        pin_put(&w->runtime->pins, w->core.id);
    w->runtime = w->adopting;
    w->adopting = NULL;
    atomic_store_explicit(&w->adopted, w->runtime->version, memory_order_release);
}

static void adopt_some(struct worker *w, uint32_t *max)
{
    if (!w->routes_adopted) {
        if (upstreams_adopt_some(w->upstreams, max))
            return;
        adopt_routes(w);
    }
    if (!upstreams_retire_some(w->upstreams, max))
        finish(w);
}

unsigned worker_adopt(struct worker *w)
{
    /* pairs with the release in publish(): the runtime is complete */
    struct runtime *rt = atomic_load_explicit(&w->conf.published->runtime, memory_order_acquire);
    uint32_t max = ADOPT_PER_TURN;
    const bool is_new = w->adopting != NULL || (rt != w->runtime && rt != NULL);

    if (unlikely(is_new)) {
        if (w->adopting == NULL)
            begin(w, rt);
        adopt_some(w, &max);
    }
    proxy_renew_some(w->proxy, &max);
    upstreams_drain_some(w->upstreams, &max);
    return is_new || max < ADOPT_PER_TURN;
}
