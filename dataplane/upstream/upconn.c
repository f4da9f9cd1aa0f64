/* One connection to an endpoint, from dial to close. */
#include "dataplane/upstream/cluster_priv.h"

#include <errno.h>

#define RECV_MAX (16 * 1024)
#define LINGER_US 1000000

static void count(const struct upconn *c, enum cluster_stat stat, int64_t by)
{
    cluster_count(c->endpoint->cluster, stat, by);
}

static struct core *core_of(const struct upconn *c)
{
    return c->endpoint->cluster->all->core;
}

/* --- closing --------------------------------------------------------------------------------- */

static void reap(struct upconn *c)
{
    struct endpoint *e = c->endpoint;
    struct upstreams *all = e->cluster->all;

    core_cancel(&c->work);
    wheel_stop(&all->core->wheel, &c->idle_timer);
    list_remove(&c->link);
    list_remove(&c->idle_link);
    if (c->http != NULL)
        http_conn_close(c->http);
    pktq_clear(&c->in);
    if (c->state == UPCONN_CONNECTING)
        e->n_connecting--;
    count(c, CLUSTER_STAT_upstream_cx_active, -1);
    count(c, CLUSTER_STAT_upstream_cx_destroy, 1);
    slab_free(&all->conns, c);
    cluster_conn_closed(e); /* last: endpoint and cluster may go, too */
}

/* The one place the state changes, apart from upconn_dial(). */
static void close_later(struct upconn *c)
{
    if (c->state == UPCONN_CLOSED)
        return;
    if (c->state == UPCONN_CONNECTING)
        c->endpoint->n_connecting--;
    c->state = UPCONN_CLOSED;
    list_remove(&c->idle_link);
    core_defer(core_of(c), &c->work);
}

static void drop_transport(struct upconn *c, bool orderly)
{
    if (c->transport == NULL)
        return;
    if (orderly)
        transport_release(c->transport, LINGER_US);
    else
        transport_abort(c->transport);
    c->transport = NULL;
}

static void read_more(struct upconn *c);

/* Deferred: what a codec's event may not do itself. */
static void run(struct work *w)
{
    struct upconn *c = container_of(w, struct upconn, work);

    if (c->state != UPCONN_CLOSED) {
        read_more(c);
        return;
    }
    drop_transport(c, true);
    reap(c);
}

void upconn_drain(struct upconn *c)
{
    switch (c->state) {
    case UPCONN_CONNECTING:
        return; /* somebody waits for it; it drains with its first stream */
    case UPCONN_READY:
        if (c->http->n_streams == 0) {
            close_later(c);
            return;
        }
        c->state = UPCONN_DRAINING;
        http_conn_drain(c->http);
        return;
    case UPCONN_DRAINING:
    case UPCONN_CLOSED:
        return;
    }
}

void upconn_kill(struct upconn *c)
{
    drop_transport(c, false);
    reap(c);
}

static void on_idle_timeout(struct wheel_timer *t, uint64_t now_us)
{
    struct upconn *c = container_of(t, struct upconn, idle_timer);

    count(c, CLUSTER_STAT_upstream_cx_idle_timeout, 1);
    close_later(c);
}

/* --- the codec's side ------------------------------------------------------------------------ */

static void io_send(void *owner, struct pktq *q)
{
    struct upconn *c = owner;

    count(c, CLUSTER_STAT_upstream_cx_tx_bytes_total, (int64_t)q->bytes);
    if (c->transport != NULL)
        transport_send(c->transport, q);
    else
        pktq_clear(q);
}

static uint32_t io_room(void *owner)
{
    struct upconn *c = owner;

    return c->transport != NULL ? transport_room(c->transport) : 0;
}

static uint32_t io_seg(void *owner)
{
    struct upconn *c = owner;

    return c->transport != NULL ? transport_seg(c->transport) : 1024;
}

static const struct http_io io = { io_send, io_room, io_seg };

static void on_idle(struct http_conn *http)
{
    struct upconn *c = http->owner;
    uint32_t max = c->endpoint->cluster->rt->conf->max_requests_per_connection;

    if (c->state == UPCONN_READY && max != 0 && http->total_streams >= max) {
        count(c, CLUSTER_STAT_upstream_cx_max_requests, 1);
        close_later(c);
    } else if (c->state == UPCONN_READY && !c->endpoint->gone && !c->endpoint->cluster->gone &&
               !upconn_is_stale(c)) {
        cluster_conn_ready(c);
    } else {
        close_later(c);
    }
}

static void on_finished(struct http_conn *http)
{
    close_later(http->owner);
}

static void on_want_input(struct http_conn *http)
{
    struct upconn *c = http->owner;

    core_defer(core_of(c), &c->work);
}

static const struct http_conn_ops conn_ops = { .on_idle = on_idle,
                                               .on_finished = on_finished,
                                               .on_want_input = on_want_input };

struct http_stream *upconn_open_stream(struct upconn *c)
{
    struct http_stream *s = http_stream_open(c->http);

    if (s == NULL)
        return NULL;
    wheel_stop(&core_of(c)->wheel, &c->idle_timer);
    list_remove(&c->idle_link);
    c->endpoint->rq_total++;
    return s;
}

/* --- the transport's side -------------------------------------------------------------------- */

/* The codec has read everything before the end. A stream that is paused hears of it later. */
static void tell_eof(struct upconn *c)
{
    const bool was_active = c->http->n_streams > 0;

    http_conn_eof(c->http);
    if (c->http->n_streams > 0)
        return;
    if (was_active)
        count(c, CLUSTER_STAT_upstream_cx_destroy_with_active_rq, 1);
    close_later(c);
}

static void read_more(struct upconn *c)
{
    while (c->state != UPCONN_CLOSED && c->http != NULL) {
        uint64_t n = 0;

        http_conn_input(c->http, &c->in); /* also without bytes: it may have an end to tell */
        if (!pktq_is_empty(&c->in) || c->state == UPCONN_CLOSED)
            return; /* paused: what waits below closes the window */
        if (c->transport != NULL)
            n = transport_recv(c->transport, &c->in, RECV_MAX);
        if (n == 0 && c->eof)
            tell_eof(c);
        if (n == 0)
            return;
        count(c, CLUSTER_STAT_upstream_cx_rx_bytes_total, (int64_t)n);
    }
}

static void on_open(struct transport *t)
{
    struct upconn *c = transport_owner(t);
    struct http_conf conf = { 0 };

    if (upconn_is_stale(c)) {
        close_later(c); /* and another is dialled, if somebody waits */
        return;
    }
    c->endpoint->n_connecting--;
    c->state = UPCONN_READY;
    c->local = *transport_local(t);
    if (transport_is_secure(t))
        count(c, CLUSTER_STAT_ssl_handshake, 1);
    c->http = http_conn_open(&http_codec_h1, c->endpoint->cluster->all->http, HTTP_CLIENT, &conf,
                             &conn_ops, &io, c);
    if (c->http == NULL) {
        cluster_conn_failed(c->endpoint, CLUSTER_CONNECT_FAILURE, "no memory");
        close_later(c);
        return;
    }
    if (c->endpoint->gone && c->endpoint->n_waiting == 0)
        close_later(c); /* nobody will ever ask for it */
    else
        cluster_conn_ready(c);
}

static void on_readable(struct transport *t)
{
    read_more(transport_owner(t));
}

static void on_writable(struct transport *t)
{
    struct upconn *c = transport_owner(t);

    if (c->http != NULL && c->state != UPCONN_CLOSED)
        http_conn_writable(c->http);
}

static void on_eof(struct transport *t)
{
    struct upconn *c = transport_owner(t);

    c->eof = true;
    read_more(c);
}

static void count_failure(struct endpoint *e)
{
    e->cx_connect_fail++;
    cluster_count(e->cluster, CLUSTER_STAT_upstream_cx_connect_fail, 1);
}

static enum cluster_failure failure_of(enum transport_end why)
{
    return why == TRANSPORT_END_TIMEOUT ? CLUSTER_CONNECT_TIMEOUT : CLUSTER_CONNECT_FAILURE;
}

static void on_closed(struct transport *t, enum transport_end why)
{
    struct upconn *c = transport_owner(t);
    bool was_connecting = c->state == UPCONN_CONNECTING;

    c->transport = NULL;
    if (c->eof && c->http != NULL && c->http->n_streams > 0 && c->state != UPCONN_CLOSED)
        return; /* all of the response is here: its stream is paused */
    if (c->http != NULL && c->http->n_streams > 0)
        count(c, CLUSTER_STAT_upstream_cx_destroy_with_active_rq, 1);
    if (was_connecting) {
        count_failure(c->endpoint);
        if (why == TRANSPORT_END_TIMEOUT)
            count(c, CLUSTER_STAT_upstream_cx_connect_timeout, 1);
        if (why == TRANSPORT_END_TLS)
            count(c, CLUSTER_STAT_ssl_fail, 1);
        c->endpoint->n_connecting--;
        c->state = UPCONN_CLOSED;
        cluster_conn_failed(c->endpoint, failure_of(why), transport_reason(t));
    }
    c->state = UPCONN_CLOSED;
    reap(c);
}

static const struct transport_events events = { on_open, on_readable, on_writable, on_eof,
                                                on_closed };

bool upconn_dial(struct endpoint *e, enum cluster_failure *why, const char **text)
{
    struct upstreams *all = e->cluster->all;
    const struct cluster_rt *rt = e->cluster->rt;
    struct upconn *c = slab_alloc(&all->conns);
    int err = 0;

    *why = CLUSTER_CONNECT_FAILURE;
    *text = "no memory";
    if (c == NULL) {
        count_failure(e);
        return false;
    }
    c->endpoint = e;
    c->state = UPCONN_CONNECTING;
    c->tls_epoch = rt->tls_epoch;
    c->drain_round = e->drain_round;
    c->transport = transport_connect(all->ts, &e->address, cluster_source(e->cluster, &e->address),
                                     cluster_rt_tls(rt, all->core->id),
                                     rt->conf->connect_timeout_us, &events, c, &err);
    if (c->transport == NULL) {
        *text = strerror(-err);
        count_failure(e);
        slab_free(&all->conns, c);
        return false;
    }
    pktq_init(&c->in);
    work_init(&c->work, run);
    wheel_timer_init(&c->idle_timer, on_idle_timeout);
    list_init(&c->idle_link);
    list_push_tail(&e->conns, &c->link);
    e->n_conns++;
    e->n_connecting++;
    e->cx_total++;
    e->cluster->n_conns++;
    count(c, CLUSTER_STAT_upstream_cx_total, 1);
    count(c, CLUSTER_STAT_upstream_cx_active, 1);
    return true;
}

/* --- facts ----------------------------------------------------------------------------------- */

static const struct upconn *conn_of(const struct http_stream *s)
{
    return s->conn->owner;
}

const struct ipport *upconn_host(const struct http_stream *s)
{
    return &conn_of(s)->endpoint->address;
}

const struct ipport *upconn_local(const struct http_stream *s)
{
    return &conn_of(s)->local;
}

const struct tcp_conn *upconn_tcp(const struct http_stream *s)
{
    const struct upconn *c = conn_of(s);

    return c->transport != NULL ? transport_tcp(c->transport) : NULL;
}

bool upconn_is_reused(const struct http_stream *s)
{
    return s->conn->total_streams > 1;
}

void upconn_count_error(const struct http_stream *s)
{
    conn_of(s)->endpoint->rq_error++;
}
