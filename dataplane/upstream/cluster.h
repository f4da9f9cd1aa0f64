/*
 * cluster.h - a service upstream, as one worker knows it
 *
 * Two structs. struct cluster_rt is the configuration made ready: immutable, part
 * of a runtime, shared by all workers. struct cluster is alive: one per worker
 * and name, with the connections and waiting streams of that worker; it outlives
 * reloads. The two meet in slots: each cluster, and each of its endpoints, has one,
 * which the cluster_rts of a name hand on, runtime after runtime; so nobody looks
 * for a name. A worker moves its live clusters to a new runtime bit by bit:
 *
 *   upstreams_adopt()           these are the clusters from now on
 *   upstreams_adopt_some()      a few of them, turn after turn: until all are there
 *   (the proxy adopts: requests go by the new routes)
 *   upstreams_retire_some()     those that are not among them, and connections
 *
 *   endpoint still there         its connections stay
 *   endpoint gone                idle connections close, busy ones finish their stream
 *   TLS settings changed         the same, for all of them (a replaced certificate is no such
 *                                change)
 *   cluster gone                 the same, and the cluster goes with its last connection
 *
 * A stream asks by cluster_request() and gets an HTTP stream on a pooled
 * connection, now or later; a TCP proxy asks cluster_pick() for an address and
 * opens its own. Owned by one worker.
 */
#pragma once

#include "config/model/cluster.h"
#include "dataplane/base/pin.h"
#include "dataplane/base/slot.h"
#include "dataplane/http/codec.h"
#include "dataplane/telemetry/stats.h"
#include "dataplane/transport/transport.h"

struct cluster;
struct endpoint;
struct upstreams;

struct cluster_rt {
    const struct cluster_conf *conf;
    struct pins *pins; /* of the runtime */
    struct stats_block *stats;
    struct tls_ctx **tls;    /* of each worker; NULL: plaintext */
    struct slot *slot;       /* of struct cluster */
    struct slot **endpoints; /* of struct endpoint, as in ->conf */
    /* Of one slot: others than before mean other TLS settings; those, or other endpoints. */
    uint32_t tls_epoch, epoch;
};

/*
 * Sets ->conf, slots and epochs; @was: the cluster of this name in the runtime before, or NULL. The
 * rest is up to the caller. Memory is of @a, slots of their own. Control thread.
 */
void cluster_rt_init(struct cluster_rt *c, struct arena *a, const struct cluster_conf *conf,
                     const struct cluster_rt *was, uint32_t n_workers);
void cluster_rt_fini(struct cluster_rt *c);

static inline struct tls_ctx *cluster_rt_tls(const struct cluster_rt *c, uint32_t worker)
{
    return c->tls != NULL ? c->tls[worker] : NULL;
}

/* The names are Envoy's, so that its dashboards work. */
#define CLUSTER_STATS(X)                                                                           \
    X(upstream_cx_total, COUNTER, "connections opened")                                            \
    X(upstream_cx_active, GAUGE, "connections now")                                                \
    X(upstream_cx_connect_fail, COUNTER, "connections that could not be opened")                   \
    X(upstream_cx_connect_timeout, COUNTER, "connections not opened within connect_timeout")       \
    X(upstream_cx_destroy, COUNTER, "connections closed")                                          \
    X(upstream_cx_destroy_with_active_rq, COUNTER, "connections closed with a stream open")        \
    X(upstream_cx_idle_timeout, COUNTER, "connections closed because they were idle")              \
    X(upstream_cx_max_requests, COUNTER, "connections closed after max_requests_per_connection")   \
    X(upstream_cx_overflow, COUNTER, "times max_connections kept a connection from being opened")  \
    X(upstream_cx_none_healthy, COUNTER, "requests that found no endpoint")                        \
    X(upstream_cx_rx_bytes_total, COUNTER, "bytes received")                                       \
    X(upstream_cx_tx_bytes_total, COUNTER, "bytes sent")                                           \
    X(upstream_rq_total, COUNTER, "requests")                                                      \
    X(upstream_rq_active, GAUGE, "requests now")                                                   \
    X(upstream_rq_pending_total, COUNTER, "requests that waited for a connection")                 \
    X(upstream_rq_pending_active, GAUGE, "requests waiting now")                                   \
    X(upstream_rq_pending_overflow, COUNTER, "requests refused by max_pending")                    \
    X(upstream_rq_pending_failure_eject, COUNTER, "requests that failed with their connection")    \
    X(upstream_rq_timeout, COUNTER, "requests that took longer than the route allows")             \
    X(upstream_rq_retry, COUNTER, "requests sent again on a fresh connection")                     \
    X(upstream_rq_rx_reset, COUNTER, "requests reset by the endpoint")                             \
    X(upstream_rq_tx_reset, COUNTER, "requests reset by us")                                       \
    X(upstream_rq_completed, COUNTER, "responses complete")                                        \
    X(upstream_rq_1xx, COUNTER, "interim responses")                                               \
    X(upstream_rq_2xx, COUNTER, "responses of class 2xx")                                          \
    X(upstream_rq_3xx, COUNTER, "responses of class 3xx")                                          \
    X(upstream_rq_4xx, COUNTER, "responses of class 4xx")                                          \
    X(upstream_rq_5xx, COUNTER, "responses of class 5xx")                                          \
    X(membership_total, GAUGE, "endpoints")                                                        \
    X(ssl_handshake, COUNTER, "TLS handshakes completed")                                          \
    X(ssl_fail, COUNTER, "TLS handshakes failed")

#define CLUSTER_STAT_ENUM(name, kind, text) CLUSTER_STAT_##name,
enum cluster_stat { CLUSTER_STATS(CLUSTER_STAT_ENUM) CLUSTER_STAT_COUNT };
extern const struct stats_scope cluster_stats_scope;

struct upstreams *upstreams_new(struct core *core, struct transports *ts, struct http *http,
                                uint32_t max_conns);

/* Every connection is reset. Streams get their last event. */
void upstreams_free(struct upstreams *us);

/*
 * From now on the clusters are those @rts, of a runtime that stays pinned, as the one before does,
 * until both functions below have said false. Not before they have.
 */
void upstreams_adopt(struct upstreams *us, struct cluster_rt **rts, uint32_t n);

/* The next of them, as far as *@max goes: clusters and endpoints count. True: there are more. */
bool upstreams_adopt_some(struct upstreams *us, uint32_t *max);

/* Lets go of those that are no longer among them, likewise. */
bool upstreams_retire_some(struct upstreams *us, uint32_t *max);

/* Drains connections that are left behind, likewise. Whenever a worker has time for it. */
bool upstreams_drain_some(struct upstreams *us, uint32_t *max);

uint32_t upstreams_n_conns(const struct upstreams *us);

/*
 * The live cluster of @rt, also where @rt is of an older runtime that a connection still goes by;
 * NULL: there is none any more.
 */
struct cluster *upstreams_find(struct upstreams *us, const struct cluster_rt *rt);

/* --- asking ---------------------------------------------------------------------------------- */

enum cluster_failure {
    CLUSTER_NO_ENDPOINT,     /* none to choose from: UH */
    CLUSTER_OVERFLOW,        /* max_pending: UO */
    CLUSTER_CONNECT_FAILURE, /* UF */
    CLUSTER_CONNECT_TIMEOUT, /* UF */
    CLUSTER_GONE,            /* the worker stops */
};

struct cluster_waiter;

struct cluster_waiter_ops {
    /* An HTTP stream is @w's: set its owner. */
    void (*on_ready)(struct cluster_waiter *w, struct http_stream *s);
    /* @text: the transport's words, "" if it has none. @host: who was asked, NULL if nobody. */
    void (*on_failed)(struct cluster_waiter *w, enum cluster_failure why, const char *text,
                      const struct ipport *host);
};

/* In the object that asks. */
struct cluster_waiter {
    struct list link;
    const struct cluster_waiter_ops *ops;
    struct endpoint *endpoint;
    bool is_pending; /* it waits for a connection: none was free */
    bool fresh;      /* only a connection that has not carried a stream before will do */
};

void cluster_waiter_init(struct cluster_waiter *w, const struct cluster_waiter_ops *ops);

/* Exactly one of the ops follows, outside this call, unless cluster_cancel() comes first. */
void cluster_request(struct cluster *c, struct cluster_waiter *w);
void cluster_cancel(struct cluster *c, struct cluster_waiter *w);

/* The next endpoint by the cluster's policy, for a connection of one's own; false: there is none.
 */
bool cluster_pick(struct cluster *c, struct ipport *ret);

/* Where connections to @remote come from: the next of the cluster's source addresses that is of its
 * family; NULL: as the route has it. */
const struct ipaddr *cluster_source(struct cluster *c, const struct ipport *remote);

const struct cluster_rt *cluster_rt(const struct cluster *c);
void cluster_count(struct cluster *c, enum cluster_stat stat, int64_t by);

/* About the connection that carries @s, an upstream stream. */
const struct ipport *upconn_host(const struct http_stream *s);
const struct ipport *upconn_local(const struct http_stream *s);
const struct tcp_conn *upconn_tcp(const struct http_stream *s);
/* Counts an error of the endpoint, for `isthmusctl clusters`. */
void upconn_count_error(const struct http_stream *s);
/* Did it carry another stream before this one? */
bool upconn_is_reused(const struct http_stream *s);

/* For `isthmusctl clusters`: one line per endpoint, and one for a cluster that has none. */
struct endpoint_info {
    const char *cluster;
    struct ipport address; /* IP_NONE: the cluster has no endpoint */
    bool leaving;          /* no longer of the configuration: it finishes what it carries */
    uint32_t cx_active, rq_active, waiting;
    uint64_t cx_total, cx_connect_fail, rq_total, rq_error;
};
void upstreams_each(struct upstreams *us, void (*fn)(const struct endpoint_info *e, void *ctx),
                    void *ctx);

/* For `isthmusctl conns --upstream`: one line per pooled connection, from position *@at (start with
 * 0) on, at most @n; false when all were told. */
struct upconn_info {
    const char *cluster, *state;
    struct ipport endpoint;
    uint32_t streams; /* that it carries now */
    uint64_t requests;
    const struct tcp_conn *tcp; /* while it is told; NULL: it has gone */
};
bool upstreams_each_conn(struct upstreams *us, uint32_t *at, uint32_t n,
                         void (*fn)(const struct upconn_info *c, void *ctx), void *ctx);
