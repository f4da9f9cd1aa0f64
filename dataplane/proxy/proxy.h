/*
 * proxy.h - where the pieces meet: one worker's listeners, sessions and streams
 *
 *   listener   an address and port: accepts
 *   session    a client's connection: chooses its filter chain by the first bytes, ends TLS,
 *              and is HTTP (a codec and its streams) or TCP (a tcp_proxy). One that waits for its
 *              next request is parked after a while, which costs a tenth (park.c)
 *   stream     one request and its response: route, cluster, both directions, access log
 *
 * struct listener_rt and chain_rt are the configuration made ready: immutable,
 * part of a runtime, shared by workers. struct listener is alive: one per worker
 * and name. A session stays on its listener; with every request it takes the
 * chain of that name in the newest runtime, so a reload reaches connections that
 * are kept alive. A chain or listener that is gone drains its sessions: the
 * request in progress is finished, with "connection: close".
 *
 * Owned by one worker.
 */
#pragma once

#include "config/model/listener.h"
#include "dataplane/route/route.h"
#include "dataplane/telemetry/accesslog.h"
#include "dataplane/upstream/cluster.h"

struct proxy;
struct listener;

struct chain_rt {
    const struct chain_conf *conf;
    struct tls_ctx **tls;               /* of each worker; NULL: plaintext */
    const struct route_table *routes;   /* HTTP; targets are struct cluster_rt */
    struct cluster_rt *cluster;         /* TCP; NULL: there is no such cluster */
    const struct accesslog_format *log; /* NULL: none */
    uint32_t log_file;                  /* for the control thread */
    struct stats_block *stats; /* of the stat prefix: http_stats_scope or tcp_stats_scope */
};

struct listener_rt {
    const struct listener_conf *conf;
    struct pins *pins; /* of the runtime */
    struct slot *slot; /* of struct listener; that of the listener of this name before */
    struct chain_rt *chains;
    struct strmap chain_names; /* to ->chains */
    struct stats_block *stats;
    bool reads_hello; /* a chain ends TLS, or is chosen by its server name */
};

#define HTTP_STATS(X)                                                                              \
    X(downstream_cx_total, COUNTER, "connections")                                                 \
    X(downstream_cx_active, GAUGE, "connections now")                                              \
    X(downstream_cx_ssl_total, COUNTER, "connections with TLS")                                    \
    X(downstream_cx_http1_total, COUNTER, "connections of HTTP/1.1")                               \
    X(downstream_cx_idle_timeout, COUNTER, "connections closed because they were idle")            \
    X(downstream_cx_drain_close, COUNTER, "connections closed because of a drain")                 \
    X(downstream_cx_protocol_error, COUNTER, "connections closed because of what they sent")       \
    X(downstream_cx_rx_bytes_total, COUNTER, "bytes received")                                     \
    X(downstream_cx_tx_bytes_total, COUNTER, "bytes sent")                                         \
    X(downstream_rq_total, COUNTER, "requests")                                                    \
    X(downstream_rq_active, GAUGE, "requests now")                                                 \
    X(downstream_rq_completed, COUNTER, "responses sent")                                          \
    X(downstream_rq_1xx, COUNTER, "interim responses")                                             \
    X(downstream_rq_2xx, COUNTER, "responses of class 2xx")                                        \
    X(downstream_rq_3xx, COUNTER, "responses of class 3xx")                                        \
    X(downstream_rq_4xx, COUNTER, "responses of class 4xx")                                        \
    X(downstream_rq_5xx, COUNTER, "responses of class 5xx")                                        \
    X(downstream_rq_rx_reset, COUNTER, "requests given up by the client")                          \
    X(downstream_rq_tx_reset, COUNTER, "responses cut short by us")                                \
    X(downstream_rq_too_large, COUNTER, "requests with a header beyond the limits")                \
    X(downstream_rq_timeout, COUNTER, "requests not received in time")                             \
    X(downstream_rq_idle_timeout, COUNTER, "streams on which nothing moved")                       \
    X(no_route, COUNTER, "requests without a route")                                               \
    X(no_cluster, COUNTER, "requests whose route leads to no cluster")                             \
    X(access_log_dropped, COUNTER, "access log lines lost: the disk is too slow")

#define TCP_STATS(X)                                                                               \
    X(downstream_cx_total, COUNTER, "connections")                                                 \
    X(downstream_cx_active, GAUGE, "connections now")                                              \
    X(downstream_cx_no_route, COUNTER, "connections without a cluster or an endpoint")             \
    X(downstream_cx_rx_bytes_total, COUNTER, "bytes received")                                     \
    X(downstream_cx_tx_bytes_total, COUNTER, "bytes sent")                                         \
    X(idle_timeout, COUNTER, "connections closed because they were idle")                          \
    X(upstream_connect_fail, COUNTER, "connections whose endpoint could not be reached")           \
    X(access_log_dropped, COUNTER, "access log lines lost: the disk is too slow")

#define LISTENER_STATS(X)                                                                          \
    X(downstream_cx_total, COUNTER, "connections accepted")                                        \
    X(downstream_cx_active, GAUGE, "connections now")                                              \
    X(downstream_cx_destroy, COUNTER, "connections closed")                                        \
    X(downstream_cx_overflow, COUNTER, "connections refused for want of memory")                   \
    X(downstream_pre_cx_timeout, COUNTER, "connections closed before a filter chain was chosen")   \
    X(no_filter_chain_match, COUNTER, "connections for which there is no filter chain")            \
    X(ssl_handshake, COUNTER, "TLS handshakes completed")                                          \
    X(ssl_session_reused, COUNTER, "TLS handshakes resumed")                                       \
    X(ssl_connection_error, COUNTER, "TLS handshakes failed")

#define HTTP_STAT_ENUM(name, kind, text) HTTP_STAT_##name,
enum http_stat { HTTP_STATS(HTTP_STAT_ENUM) HTTP_STAT_COUNT };
#define TCP_STAT_ENUM(name, kind, text) TCP_STAT_##name,
enum tcp_stat { TCP_STATS(TCP_STAT_ENUM) TCP_STAT_COUNT };
#define LISTENER_STAT_ENUM(name, kind, text) LISTENER_STAT_##name,
enum listener_stat { LISTENER_STATS(LISTENER_STAT_ENUM) LISTENER_STAT_COUNT };

extern const struct stats_scope http_stats_scope, tcp_stats_scope, listener_stats_scope;

struct proxy_conf {
    struct core *core;
    struct tcp *tcp;
    struct transports *transports;
    struct http *http;
    struct upstreams *upstreams;
    struct accesslog_ring *log;
    uint32_t max_sessions;
};

struct proxy *proxy_new(const struct proxy_conf *conf);

/* Resets what is open. */
void proxy_free(struct proxy *p);

/*
 * From now on the listeners are those @rts. 0, or -EADDRINUSE if an address is taken (that listener
 * does not listen; the others do).
 */
int proxy_adopt(struct proxy *p, struct listener_rt **rts, uint32_t n);

/* No new connections; streams in progress finish, with "connection: close". */
void proxy_drain(struct proxy *p);

/*
 * After both of these: looks at the next sessions that were there before, as far as *@max goes.
 * Idle ones take the new configuration, or close if there is nothing for them any more. True: there
 * are more.
 */
bool proxy_renew_some(struct proxy *p, uint32_t *max);

/* Those that are parked are among the sessions. */
uint32_t proxy_n_sessions(const struct proxy *p);
uint32_t proxy_n_parked(const struct proxy *p);
uint32_t proxy_n_streams(const struct proxy *p);

/* For `isthmusctl listeners`: one line per listener, those that are gone but have sessions too. */
enum listener_state {
    LISTENER_LISTENING,
    LISTENER_DRAINING, /* nobody comes in: it is gone, or the process drains */
    LISTENER_ADDRESS_TAKEN,
};
struct listener_info {
    const char *name;
    struct ipport address;
    enum listener_state state;
    uint32_t sessions;
};
void proxy_each_listener(struct proxy *p, void (*fn)(const struct listener_info *l, void *ctx),
                         void *ctx);

/* For `isthmusctl conns`: one line per session, from position *@at on, at most @n; false when all
 * were told. */
struct session_info {
    struct ipport remote, local;
    const char *listener, *chain, *state, *tls, *sni, *peer;
    const char *cluster;    /* of the stream or TCP proxy in progress, "" */
    struct ipport upstream; /* likewise */
    uint64_t age_us, requests;
    struct tcp_conn_info tcp;
    /* For more of the same, while it is told; NULL: there is none now. */
    const struct tcp_conn *client_tcp, *upstream_tcp;
};
bool proxy_each(struct proxy *p, uint32_t *at, uint32_t n,
                void (*fn)(const struct session_info *s, void *ctx), void *ctx);
