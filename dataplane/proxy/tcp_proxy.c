/*
 * Bytes from here to there: a client's transport and one of our own to an
 * endpoint, with a half-close on either side passed on, and back-pressure: what
 * the other side has no room for is not read, and closes the window.
 */
#include "dataplane/proxy/proxy_priv.h"

#include <errno.h>
#include <stdio.h>

#define PULL_MAX (16 * 1024)

struct tcp_proxy {
    struct session *session;
    struct transport *up; /* NULL: none yet, or gone */
    struct cluster_rt *cluster;
    struct ipport upstream, upstream_local;
    bool connecting;
    bool down_eof, up_eof;
    uint64_t bytes_in, bytes_out;
    uint64_t start_us, start_wall_us, active_us;
    struct wheel_timer idle;
    struct work work;
    const char *flags, *termination;
    char failure[256];
};

const size_t tcp_proxy_size = sizeof(struct tcp_proxy);

static struct core *core_of(const struct tcp_proxy *p)
{
    return p->session->proxy->core;
}

static void count(struct tcp_proxy *p, enum tcp_stat stat, int64_t by)
{
    stat_add(p->session->chain->stats, core_of(p)->id, stat, by);
}

static void count_upstream(struct tcp_proxy *p, enum cluster_stat stat, int64_t by)
{
    stat_add(p->cluster->stats, core_of(p)->id, stat, by);
}

const struct ipport *tcp_proxy_upstream(const struct tcp_proxy *p)
{
    return &p->upstream;
}

const struct tcp_conn *tcp_proxy_upstream_tcp(const struct tcp_proxy *p)
{
    return p->up != NULL ? transport_tcp(p->up) : NULL;
}

/* --- the end --------------------------------------------------------------------------------- */

static const struct ipport *if_set(const struct ipport *a)
{
    return a->addr.family != IP_NONE ? a : NULL;
}

static void log_connection(struct tcp_proxy *p)
{
    const struct session *s = p->session;
    struct accesslog_record r = {
        .start_wall_us = p->start_wall_us,
        .duration_us = core_of(p)->now_us - p->start_us,
        .response_flags = p->flags,
        .termination_details = p->termination,
        .upstream_failure = p->failure,
        .bytes_received = p->bytes_in,
        .bytes_sent = p->bytes_out,
        .upstream_host = if_set(&p->upstream),
        .upstream_local = if_set(&p->upstream_local),
        .upstream_cluster = p->cluster != NULL ? p->cluster->conf->name : NULL,
        .downstream_local = &s->local,
        .downstream_remote = &s->remote,
        .requested_server_name = s->sni,
    };

    if (!proxy_log(s->proxy, s->chain, &r))
        count(p, TCP_STAT_access_log_dropped, 1);
}

static void upstream_gone(struct tcp_proxy *p)
{
    count_upstream(p, CLUSTER_STAT_upstream_cx_active, -1);
    count_upstream(p, CLUSTER_STAT_upstream_cx_destroy, 1);
    p->up = NULL;
}

/* The session goes, or has gone, away. */
void tcp_proxy_free(struct tcp_proxy *p)
{
    struct session *s = p->session;

    if (p->up != NULL) {
        struct transport *up = p->up;

        upstream_gone(p);
        transport_abort(up);
    }
    core_cancel(&p->work);
    wheel_stop(&core_of(p)->wheel, &p->idle);
    count(p, TCP_STAT_downstream_cx_active, -1);
    log_connection(p);
    s->tcp = NULL;
    slab_free(&s->proxy->tcp_proxies, p);
}

static void finish(struct tcp_proxy *p, bool orderly)
{
    if (p->up != NULL && orderly) {
        struct transport *up = p->up;

        upstream_gone(p);
        transport_release(up, PROXY_LINGER_US);
    }
    session_finish(p->session, orderly); /* the session frees us, at the end of the turn */
}

static void on_idle(struct wheel_timer *t, uint64_t now_us)
{
    struct tcp_proxy *p = container_of(t, struct tcp_proxy, idle);
    uint64_t due = p->active_us + p->session->chain->conf->tcp->idle_timeout_us;

    if (now_us < due) {
        wheel_start(&core_of(p)->wheel, t, due);
        return;
    }
    count(p, TCP_STAT_idle_timeout, 1);
    p->termination = "idle_timeout";
    finish(p, true);
}

/* --- bytes ----------------------------------------------------------------------------------- */

/* Moves what @from has as far as @to has room. Returns the bytes. */
static uint64_t pump(struct transport *from, struct transport *to)
{
    uint64_t total = 0, n;
    struct pktq q;

    pktq_init(&q);
    while (transport_room(to) > 0 && (n = transport_recv(from, &q, PULL_MAX)) > 0) {
        transport_send(to, &q);
        total += n;
    }
    return total;
}

static void pump_both(struct tcp_proxy *p)
{
    struct transport *down = p->session->transport;
    uint64_t in, out;

    if (p->up == NULL || p->connecting || down == NULL || p->session->dead)
        return;
    in = pump(down, p->up);
    out = pump(p->up, down);
    if (in + out == 0)
        return;
    p->active_us = core_of(p)->now_us;
    p->bytes_in += in;
    p->bytes_out += out;
    count(p, TCP_STAT_downstream_cx_rx_bytes_total, (int64_t)in);
    count(p, TCP_STAT_downstream_cx_tx_bytes_total, (int64_t)out);
    count_upstream(p, CLUSTER_STAT_upstream_cx_tx_bytes_total, (int64_t)in);
    count_upstream(p, CLUSTER_STAT_upstream_cx_rx_bytes_total, (int64_t)out);
}

/* A FIN is passed on; after both, everything is said. */
static void pass_eof(struct tcp_proxy *p)
{
    if (p->connecting || p->up == NULL || p->session->transport == NULL)
        return;
    if (p->down_eof)
        transport_shutdown(p->up);
    if (p->up_eof)
        transport_shutdown(p->session->transport);
    if (p->down_eof && p->up_eof)
        finish(p, true);
}

void tcp_proxy_readable(struct tcp_proxy *p)
{
    pump_both(p);
}

void tcp_proxy_writable(struct tcp_proxy *p)
{
    pump_both(p);
}

void tcp_proxy_eof(struct tcp_proxy *p)
{
    p->down_eof = true;
    pass_eof(p);
}

/* --- upstream -------------------------------------------------------------------------------- */

static void up_on_open(struct transport *t)
{
    struct tcp_proxy *p = transport_owner(t);

    p->connecting = false;
    p->upstream_local = *transport_local(t);
    if (transport_is_secure(t))
        count_upstream(p, CLUSTER_STAT_ssl_handshake, 1);
    pump_both(p);
    pass_eof(p);
}

static void up_on_readable(struct transport *t)
{
    pump_both(transport_owner(t));
}

static void up_on_eof(struct transport *t)
{
    struct tcp_proxy *p = transport_owner(t);

    p->up_eof = true;
    pass_eof(p);
}

static void up_on_closed(struct transport *t, enum transport_end why)
{
    struct tcp_proxy *p = transport_owner(t);

    snprintf(p->failure, sizeof(p->failure), "%s", transport_reason(t));
    upstream_gone(p);
    if (p->connecting) {
        p->connecting = false;
        p->flags = "UF";
        count(p, TCP_STAT_upstream_connect_fail, 1);
        count_upstream(p, CLUSTER_STAT_upstream_cx_connect_fail, 1);
        if (why == TRANSPORT_END_TIMEOUT)
            count_upstream(p, CLUSTER_STAT_upstream_cx_connect_timeout, 1);
        if (why == TRANSPORT_END_TLS)
            count_upstream(p, CLUSTER_STAT_ssl_fail, 1);
    }
    finish(p, why == TRANSPORT_END_OK);
}

static void up_on_writable(struct transport *t)
{
    pump_both(transport_owner(t));
}

static const struct transport_events up_events = { up_on_open, up_on_readable, up_on_writable,
                                                   up_on_eof, up_on_closed };

/* Later in the turn: nothing here may close the session that is just being started. */
static void connect_upstream(struct work *w)
{
    struct tcp_proxy *p = container_of(w, struct tcp_proxy, work);
    struct proxy *proxy = p->session->proxy;
    struct cluster *c =
        p->cluster != NULL ? upstreams_find(proxy->conf.upstreams, p->cluster) : NULL;
    int err = 0;

    if (c == NULL || !cluster_pick(c, &p->upstream)) {
        p->flags = c == NULL ? "NC" : "UH";
        count(p, TCP_STAT_downstream_cx_no_route, 1);
        finish(p, false);
        return;
    }
    p->up = transport_connect(proxy->conf.transports, &p->upstream, cluster_source(c, &p->upstream),
                              cluster_rt_tls(p->cluster, core_of(p)->id),
                              p->cluster->conf->connect_timeout_us, &up_events, p, &err);
    if (p->up == NULL) {
        p->flags = "UF";
        snprintf(p->failure, sizeof(p->failure), "%s", strerror(-err));
        count(p, TCP_STAT_upstream_connect_fail, 1);
        count_upstream(p, CLUSTER_STAT_upstream_cx_connect_fail, 1);
        finish(p, false);
        return;
    }
    p->connecting = true;
    count_upstream(p, CLUSTER_STAT_upstream_cx_total, 1);
    count_upstream(p, CLUSTER_STAT_upstream_cx_active, 1);
}

bool tcp_proxy_start(struct session *s)
{
    struct tcp_proxy *p = slab_alloc(&s->proxy->tcp_proxies);

    if (p == NULL)
        return false;
    p->session = s;
    p->cluster = s->chain->cluster;
    p->start_wall_us = core_of(p)->wall_us;
    p->start_us = p->active_us = core_of(p)->now_us;
    p->flags = p->termination = "";
    work_init(&p->work, connect_upstream);
    wheel_timer_init(&p->idle, on_idle);
    if (s->chain->conf->tcp->idle_timeout_us != 0)
        wheel_start(&core_of(p)->wheel, &p->idle,
                    p->active_us + s->chain->conf->tcp->idle_timeout_us);
    s->tcp = p;
    count(p, TCP_STAT_downstream_cx_total, 1);
    count(p, TCP_STAT_downstream_cx_active, 1);
    core_defer(core_of(p), &p->work);
    return true;
}
