/*
 * cluster.h - a service upstream, and the addresses that serve it
 */
#pragma once

#include "config/model/tls.h"
#include "dataplane/base/ipaddr.h"

enum lb_policy { LB_ROUND_ROBIN };

struct endpoint_conf {
    struct ipport address;
    struct cfg_where where;
};

struct cluster_conf {
    const char *name; /* "outbound|8000||httpbin.foo.svc.cluster.local" */
    enum lb_policy lb_policy;
    struct tls_conf *tls;        /* NULL: plaintext */
    uint64_t connect_timeout_us; /* TCP and TLS together, default 5 s */
    uint64_t idle_timeout_us;    /* a pooled connection without a stream, default 1 h */
    uint32_t max_connections;    /* of one worker, default 1024 */
    uint32_t max_pending;        /* streams waiting for a connection, of one worker, default 1024 */
    uint32_t max_requests_per_connection; /* 0: no limit */
    uint32_t n_source_addresses;
    struct ipaddr *source_addresses; /* of ours, taken in turn; none: as the route has it */
    uint32_t n_endpoints;
    struct endpoint_conf *endpoints;
    struct cfg_where where;
};
