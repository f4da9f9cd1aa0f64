/*
 * cluster_priv.h - what the files of this folder share: the live cluster, its
 * endpoints and its connections
 *
 *            dial               transport open
 *   upconn: CONNECTING ---------------------> READY -- drain, finished --> DRAINING
 *               | refused, timeout, bad peer    | closed                      | last stream done
 *               +-------------------------------+-----------------------------+--> CLOSED (reaped
 * this turn)
 */
#pragma once

#include "dataplane/base/slab.h"
#include "dataplane/upstream/cluster.h"
#include "dataplane/upstream/lb.h"

struct upstreams {
    struct core *core;
    struct transports *ts;
    struct http *http;
    struct slab conns;
    struct list
        clusters;        /* of the configuration; while one is adopted, the rest of the old first */
    struct list leaving; /* gone, until their last connection is */
    struct list draining;    /* endpoints with connections to be drained */
    uint64_t round;          /* of adopting: clusters bear the one that they are of */
    struct cluster_rt **rts; /* what is being adopted; how far */
    uint32_t n, at, at_endpoint;
};

struct endpoint {
    struct list link; /* in cluster->endpoints, in the order of the configuration */
    struct cluster *cluster;
    struct ipport address;
    bool gone;                 /* not in the configuration any more */
    struct slot *slot;         /* of the cluster's runtime; NULL once it is gone */
    uint32_t epoch, tls_epoch; /* of the cluster_rt that it is of */
    struct list drain_link;    /* in upstreams->draining */
    uint32_t drain_round;      /* connections bear the one they have gone through */
    struct list conns;         /* all of them */
    struct list idle;          /* free ones, last used first */
    struct list waiting;       /* struct cluster_waiter */
    struct list serve_link;    /* in cluster->to_serve */
    uint32_t n_conns, n_connecting, n_waiting;
    uint64_t cx_total, cx_connect_fail, rq_total, rq_error;
};

struct cluster {
    struct list link; /* in upstreams->clusters, or ->leaving */
    struct upstreams *all;
    struct cluster_rt *rt; /* of the newest runtime, pinned */
    uint32_t epoch;        /* of ->rt, once its endpoints are ours */
    const struct lb_ops *lb;
    uint64_t round;        /* of upstreams->round */
    bool gone;             /* not in the configuration any more */
    struct list endpoints; /* of the configuration */
    struct list retired;   /* endpoints that left it, until their last connection is gone */
    struct endpoint *next; /* round robin */
    uint32_t next_source;
    uint32_t n_endpoints, n_conns, n_waiting;
    uint32_t n_pending;   /* of those who wait: no connection was free for them */
    struct work work;     /* answers that are due */
    struct list to_serve; /* endpoints where somebody waits and something changed */
    struct list refused;  /* waiters for whom there is no endpoint */
};

enum upconn_state { UPCONN_CONNECTING, UPCONN_READY, UPCONN_DRAINING, UPCONN_CLOSED };

struct upconn {
    enum upconn_state state;
    struct list link;      /* in endpoint->conns */
    struct list idle_link; /* in endpoint->idle */
    struct endpoint *endpoint;
    struct transport *transport; /* NULL: closed from below */
    struct http_conn *http;
    struct pktq in;       /* received, not yet read */
    bool eof;             /* the endpoint will send no more */
    uint32_t tls_epoch;   /* of the cluster_rt that it was dialled by */
    uint32_t drain_round; /* of endpoint->drain_round */
    struct work work;
    struct wheel_timer idle_timer;
    struct ipport local;
};

/* Opens one more connection to @e. False, and @text filled in, if it fails at once. */
bool upconn_dial(struct endpoint *e, enum cluster_failure *why, const char **text);

/* No further streams: closes now if idle, else after the last. One that is CONNECTING goes on. */
void upconn_drain(struct upconn *c);

/* Have the TLS settings changed since? Then it carries nothing new, and one that is CONNECTING
 * nothing at all. */
static inline bool upconn_is_stale(const struct upconn *c)
{
    return c->tls_epoch != c->endpoint->cluster->rt->tls_epoch;
}

/* RST, now; streams end. */
void upconn_kill(struct upconn *c);

/* A stream on a free connection; NULL: no memory. */
struct http_stream *upconn_open_stream(struct upconn *c);

/* What connections tell their cluster. */
void cluster_conn_ready(struct upconn *c); /* can carry a stream */
void cluster_conn_failed(struct endpoint *e, enum cluster_failure why,
                         const char *text);   /* was never ready */
void cluster_conn_closed(struct endpoint *e); /* one less */
