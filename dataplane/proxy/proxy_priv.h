/*
 * proxy_priv.h - what the files of this folder share
 *
 *   session:  HELLO --- chain chosen, TLS ---> SECURING --- on_open ---> OPEN --- finished --->
 * CLOSING |                                                          ^                       |
 *               +--- chain chosen, plaintext ------------------------------+       peer's FIN, or
 * delayed_close | v
 *               +--- no chain, timeout, error from below ---------------------------------------->
 * gone
 *
 *   OPEN, HTTP, and nothing for PROXY_PARK_US --> parked (struct parked) --- anything ---> OPEN
 */
#pragma once

#include "dataplane/base/slab.h"
#include "dataplane/proxy/proxy.h"

#include <time.h>

struct proxy {
    struct proxy_conf conf;
    struct core *core;
    struct slab sessions, parked, streams, tcp_proxies;
    struct list listeners;
    uint64_t round;       /* of adopting: listeners bear the one that they are of */
    struct list to_renew; /* listeners with sessions that have to be looked at */
    bool draining;
    time_t date_of; /* the second that ->date says; written anew when another begins */
    char date[32];
};

struct listener {
    struct list link;
    struct proxy *proxy;
    struct listener_rt *rt; /* of the newest runtime */
    char *name;
    struct tcp_listener *tcp; /* NULL: not listening */
    struct ipport address;
    struct list sessions, parked;
    uint32_t n_sessions; /* of both */
    bool gone;
    uint64_t round;         /* of proxy->round */
    uint64_t generation;    /* of ->rt: sessions compare it with theirs */
    struct list renew_link; /* in proxy->to_renew */
};

enum session_state { SESSION_HELLO, SESSION_SECURING, SESSION_OPEN, SESSION_CLOSING };

struct tcp_proxy;
struct stream;

struct session {
    enum session_state state;
    struct list link; /* in listener->sessions */
    struct listener *listener;
    struct proxy *proxy;
    struct transport *transport; /* NULL: closed from below */
    struct listener_rt *rt;      /* pinned */
    struct chain_rt *chain;      /* in ->rt; NULL before it is chosen */
    uint64_t generation;         /* of ->rt */
    uint64_t looked_at;          /* the generation for which it was asked whether it is idle */
    struct http_conn *http;
    struct tcp_proxy *tcp;
    struct pktq in; /* received, not yet read by the codec */
    struct list streams;
    struct wheel_timer timer; /* hello, idle, delayed close */
    struct work work;
    bool eof;        /* the peer will send no more */
    bool eof_told;   /* and the codec knows */
    bool draining;   /* this connection carries no further stream */
    bool dead;       /* freed at the end of the turn */
    uint32_t unsent; /* CLOSING: what the client had not acknowledged when the timer was started */
    uint64_t opened_us;
    uint64_t idle_at_us; /* no stream until then: it is closed; UINT64_MAX: it may wait for ever */
    struct ipport local, remote;
    char sni[256];
};

/*
 * What is left of a session on which nothing happens. Streams, codec, transport and TCP connection
 * are taken anew when something does: of each there are as many as there may be sessions.
 */
struct parked {
    struct list link; /* in listener->parked */
    struct listener *listener;
    struct listener_rt *rt; /* pinned */
    struct chain_rt *chain;
    uint64_t generation;
    struct transport_parked transport;
    struct wheel_timer timer; /* when it has been idle for too long */
    uint64_t opened_us, requests;
};
_Static_assert(sizeof(struct parked) <= 128, "struct parked has grown");

/* Without a request for so long, a session is parked. It is short against what clients pause, so
 * that few are awake at once, and long against what a busy one does. */
#define PROXY_PARK_US 1000000

/*
 * What was sent when a connection is let go is delivered for so long: the buffer of a TCP
 * connection, at the speed of a bad line.
 */
#define PROXY_LINGER_US 30000000

/* --- session.c ------------------------------------------------------------------------------- */

/* A connection was accepted; what tcp's accept function returns. */
const struct tcp_ops *session_accepted(void *listener, struct tcp_conn *c, void **owner);

/* Finishes what is open, then closes. */
void session_drain(struct session *s);

/* RST; streams end; freed. Not from within an event of this session. */
void session_kill(struct session *s);

/* The newest chain of this session's name; marks it draining if there is none. */
void session_renew(struct session *s);

/* A stream began or ended: the timers of the session follow. */
void session_stream_changed(struct session *s);

/* It was parked as @p, on what is @t now: open again, and among the listener's sessions. Without
 * memory, or a transport (NULL), it is dead. */
struct session *session_resume(const struct parked *p, struct transport *t);

/* There was no request for too long. */
void session_expire(struct session *s);

/* The chain that @old has become in the newest runtime of @l. NULL: it may not go on. */
struct chain_rt *session_chain_now(const struct listener *l, const struct chain_rt *old);

/* From *@rt and *@chain to the newest runtime of @l, and @chain_now in it. */
void session_move(struct listener *l, struct listener_rt **rt, struct chain_rt **chain,
                  struct chain_rt *chain_now);

/* The TCP proxy is done: closes; @orderly: after what was sent, else by RST. */
void session_finish(struct session *s, bool orderly);

/* The memory of a session from which everything has been taken. */
void session_forget(struct session *s);

/* One of its sessions: the last one of a listener that is gone takes it along. */
void listener_session_gone(struct listener *l);

/* --- park.c ---------------------------------------------------------------------------------- */

/* False: not now. @s is gone otherwise. */
bool session_park(struct session *s);

/* It is a session again, which may be dead. */
struct session *session_wake(struct parked *p);
void session_wake_all(struct listener *l);

/* As session_renew(). */
void parked_renew(struct parked *p);

/* --- stream.c -------------------------------------------------------------------------------- */

extern const size_t stream_size, tcp_proxy_size; /* for the slabs */

void stream_accept(struct session *session, struct http_stream *down);
const struct cluster_rt *stream_cluster(const struct stream *s);
const struct ipport *stream_upstream(const struct stream *s);
/* The TCP connection that carries it upstream; NULL: none now. */
const struct tcp_conn *stream_upstream_tcp(const struct stream *s);
struct stream *stream_of_link(struct list *l);

/* --- tcp_proxy.c ----------------------------------------------------------------------------- */

/* False: no memory. The session's transport is the proxy's until session_finish(). */
bool tcp_proxy_start(struct session *s);

/* The session goes away under it. */
void tcp_proxy_free(struct tcp_proxy *p);

/* Events of the client's transport. */
void tcp_proxy_readable(struct tcp_proxy *p);
void tcp_proxy_writable(struct tcp_proxy *p);
void tcp_proxy_eof(struct tcp_proxy *p);
const struct ipport *tcp_proxy_upstream(const struct tcp_proxy *p);
/* Likewise. */
const struct tcp_conn *tcp_proxy_upstream_tcp(const struct tcp_proxy *p);

/* --- headers.c: what an edge proxy does to the fields ------------------------------------------
 */

/*
 * Whose request it is: the peer's address, or, with trusted proxies in front of us, the one that
 * the outermost of them wrote into x-forwarded-for (its port is not known: 0). Before the next
 * function.
 */
void edge_client_address(const struct session *s, struct http_msg *req, struct ipport *ret);

/* False: no room (the request is answered 431). */
bool edge_request_headers(struct session *s, struct http_msg *req);
bool edge_response_headers(struct session *s, struct http_msg *resp, uint64_t service_time_us);

/* Some recipients merge trailers into the header: takes out what must not get there so. */
void edge_request_trailers(struct http_fields *trailers);

/* x-forwarded-client-cert by the chain's mode. */
bool xfcc_apply(struct session *s, struct http_msg *req);

/* --- chain_match.c --------------------------------------------------------------------------- */

/* By destination, then server name. @sni is "" for plaintext. NULL: none. */
struct chain_rt *chain_match(const struct listener_rt *l, const struct ipaddr *destination,
                             const char *sni, bool is_tls);
struct chain_rt *chain_by_name(const struct listener_rt *l, const char *name);

/* --- accounting ------------------------------------------------------------------------------ */

static inline void listener_count(struct session *s, enum listener_stat stat, int64_t by)
{
    stat_add(s->rt->stats, s->proxy->core->id, stat, by);
}

static inline void http_count(struct session *s, enum http_stat stat, int64_t by)
{
    stat_add(s->chain->stats, s->proxy->core->id, stat, by);
}

/* Renders @r by the chain's format and hands the line to the control thread. False: lost. */
bool proxy_log(struct proxy *p, const struct chain_rt *chain, const struct accesslog_record *r);
