/*
 * route.h - from a request to a cluster
 *
 * Envoy's shape: the authority (without its port) chooses a virtual host: exact
 * domain, then "*.suffix" longest first, then "*". In it the first route whose
 * match holds is taken, in the order written. No virtual host, or no route: 404.
 */
#pragma once

#include "config/model/where.h"

#include <stdbool.h>
#include <stdint.h>

enum path_match { PATH_PREFIX, PATH_EXACT };

struct route_conf {
    const char *name; /* %ROUTE_NAME%; NULL: "-" */
    enum path_match match;
    const char *path;    /* without the query */
    const char *cluster; /* by name */
    uint64_t timeout_us; /* from the end of the request to the end of the response; default 15 s; 0:
                            none */
    uint64_t idle_timeout_us; /* overrides the connection manager's; 0: not set */
    struct cfg_where where;
};

struct vhost_conf {
    const char *name;
    uint32_t n_domains;
    const char **domains; /* lower case */
    uint32_t n_routes;
    struct route_conf *routes;
    struct cfg_where where;
};

struct route_config_conf {
    const char *name;
    uint32_t n_vhosts;
    struct vhost_conf *vhosts;
    struct cfg_where where;
};
