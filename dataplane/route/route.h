/*
 * route.h - from a request to the route that serves it
 *
 * Built once from a route_config_conf, in the arena of its runtime, and read-only
 * from then on. The authority, without its port and in lower case, chooses the
 * virtual host: an exact domain, then "*.suffix" with the longest suffix first,
 * then "*". In it the first route whose path matches wins, in the order written
 * (as Envoy: RouteMatch).
 *
 * No allocation, no lock: one hash look-up for an exact host, one per label of
 * the host for suffixes, and a walk over the routes of the virtual host.
 */
#pragma once

#include "config/model/route.h"
#include "dataplane/base/strmap.h"

struct route_table;

/*
 * What a route leads to. @target is whatever the caller's @resolve made of the cluster's name (NULL
 * is kept: the request is answered 503 NC).
 */
struct route {
    const struct route_conf *conf;
    const struct vhost_conf *vhost;
    void *target;
};

typedef void *(*route_resolve_fn)(void *ctx, const char *cluster);

struct route_table *route_table_new(struct arena *a, const struct route_config_conf *conf,
                                    route_resolve_fn resolve, void *ctx);

/* NULL: no virtual host, or none of its routes. @path may have a query. */
const struct route *route_find(const struct route_table *t, struct slice authority,
                               struct slice path);
