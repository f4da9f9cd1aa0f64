/* A client's connection, from accept to close. */
#include "dataplane/proxy/proxy_priv.h"

#include "dataplane/base/log.h"
#include "tls/hello.h"

#define RECV_MAX (16 * 1024)
#define TURN_MAX (64 * 1024) /* bytes of one session in one go; then others have their turn */

static struct core *core_of(const struct session *s)
{
    return s->proxy->core;
}

/* --- the end --------------------------------------------------------------------------------- */

static void destroy(struct session *s)
{
    struct proxy *p = s->proxy;

    core_cancel(&s->work);
    wheel_stop(&p->core->wheel, &s->timer);
    if (s->http != NULL) {
        struct http_conn *http = s->http;

        s->http = NULL;
        http_conn_close(http); /* streams get their last event */
    }
    if (s->tcp != NULL)
        tcp_proxy_free(s->tcp);
    pktq_clear(&s->in);
    if (s->chain != NULL && s->chain->conf->kind == CHAIN_HTTP)
        http_count(s, HTTP_STAT_downstream_cx_active, -1);
    listener_count(s, LISTENER_STAT_downstream_cx_active, -1);
    listener_count(s, LISTENER_STAT_downstream_cx_destroy, 1);
    pin_put(s->rt->pins, p->core->id);
    listener_forget(s->listener, s);
    slab_free(&p->sessions, s);
}

void session_kill(struct session *s)
{
    if (s->transport != NULL)
        transport_abort(s->transport);
    s->transport = NULL;
    destroy(s);
}

/* Freed at the end of the turn: for events that the session's own codec or transport is in. */
static void die(struct session *s)
{
    s->dead = true;
    core_defer(core_of(s), &s->work);
}

static void release_transport(struct session *s)
{
    if (s->transport != NULL)
        transport_release(s->transport, PROXY_LINGER_US);
    s->transport = NULL;
}

static uint32_t unsent(const struct session *s)
{
    struct tcp_conn_info info = { .send_queue = 0 };

    if (s->transport != NULL && transport_tcp(s->transport) != NULL)
        tcp_info(transport_tcp(s->transport), &info);
    return info.send_queue;
}

static void start_delayed_close(struct session *s)
{
    s->unsent = unsent(s);
    wheel_start(&core_of(s)->wheel, &s->timer,
                core_of(s)->now_us + s->chain->conf->http->delayed_close_us);
}

/* As long as the client takes something, it has time for the rest (as Envoy: delayed_close). */
static void delayed_close(struct session *s)
{
    const uint32_t now = unsent(s);

    if (now > 0 && now < s->unsent) {
        start_delayed_close(s);
        return;
    }
    release_transport(s);
    destroy(s);
}

/*
 * Says goodbye and waits for the peer's, reading on, so that what is on its way to us does not make
 * TCP reset what is on its way to the peer (RFC 9112, 9.6).
 */
static void close_orderly(struct session *s)
{
    if (s->state == SESSION_CLOSING || s->dead)
        return;
    if (s->transport == NULL) {
        die(s);
        return;
    }
    s->state = SESSION_CLOSING;
    transport_shutdown(s->transport);
    start_delayed_close(s);
    core_defer(core_of(s), &s->work);
}

static void discard(struct session *s)
{
    pktq_clear(&s->in);
    while (s->transport != NULL && transport_recv(s->transport, &s->in, RECV_MAX) > 0)
        pktq_clear(&s->in);
}

void session_finish(struct session *s, bool orderly)
{
    if (s->transport != NULL && orderly)
        release_transport(s);
    else if (s->transport != NULL)
        transport_abort(s->transport);
    s->transport = NULL;
    die(s);
}

void session_drain(struct session *s)
{
    if (s->draining)
        return;
    s->draining = true;
    switch (s->state) {
    case SESSION_HELLO:
    case SESSION_SECURING:
    case SESSION_CLOSING:
        return; /* a stream that comes yet is told "connection: close" */
    case SESSION_OPEN:
        if (s->http != NULL) {
            http_count(s, HTTP_STAT_downstream_cx_drain_close, 1);
            http_conn_drain(s->http);
        }
        return; /* a TCP proxy goes on to its end */
    }
}

/* --- timers ---------------------------------------------------------------------------------- */

static void arm(struct session *s, uint64_t after_us)
{
    if (after_us == 0)
        wheel_stop(&core_of(s)->wheel, &s->timer);
    else
        wheel_start(&core_of(s)->wheel, &s->timer, core_of(s)->now_us + after_us);
}

void session_stream_changed(struct session *s)
{
    const struct http_chain_conf *conf = s->chain->conf->http;

    if (s->state != SESSION_OPEN || s->http == NULL)
        return;
    if (!list_is_empty(&s->streams))
        arm(s, 0);
    else
        arm(s, conf->idle_timeout_us);
}

static void on_timer(struct wheel_timer *t, uint64_t now_us)
{
    struct session *s = container_of(t, struct session, timer);

    switch (s->state) {
    case SESSION_HELLO:
        listener_count(s, LISTENER_STAT_downstream_pre_cx_timeout, 1);
        session_kill(s);
        return;
    case SESSION_SECURING:
        return; /* the transport has a deadline of its own */
    case SESSION_OPEN:
        http_count(s, HTTP_STAT_downstream_cx_idle_timeout, 1);
        s->draining = true;
        http_conn_drain(s->http);
        return;
    case SESSION_CLOSING:
        delayed_close(s);
        return;
    }
}

/* --- the codec's side ------------------------------------------------------------------------ */

static void io_send(void *owner, struct pktq *q)
{
    struct session *s = owner;

    http_count(s, HTTP_STAT_downstream_cx_tx_bytes_total, (int64_t)q->bytes);
    if (s->transport != NULL)
        transport_send(s->transport, q);
    else
        pktq_clear(q);
}

static uint32_t io_room(void *owner)
{
    struct session *s = owner;

    return s->transport != NULL ? transport_room(s->transport) : 0;
}

static uint32_t io_seg(void *owner)
{
    struct session *s = owner;

    return s->transport != NULL ? transport_seg(s->transport) : 1024;
}

static const struct http_io io = { io_send, io_room, io_seg };

static void on_stream(struct http_conn *c, struct http_stream *down)
{
    struct session *s = c->owner;

    if (s->generation != s->listener->generation)
        session_renew(s);
    stream_accept(s, down);
}

/* Unless a pipelined request waits, which has its answer first. */
static void on_idle(struct http_conn *c)
{
    struct session *s = c->owner;

    session_stream_changed(s);
    if (s->generation != s->listener->generation && pktq_is_empty(&s->in))
        session_renew(s); /* last: it may be the end of the connection */
}

static void on_finished(struct http_conn *c)
{
    if (c->is_cut)
        session_finish(c->owner, false);
    else
        close_orderly(c->owner);
}

static void on_want_input(struct http_conn *c)
{
    struct session *s = c->owner;

    core_defer(core_of(s), &s->work);
}

static const struct http_conn_ops conn_ops = { on_stream, on_idle, on_finished, on_want_input };

void session_renew(struct session *s)
{
    struct listener_rt *rt = s->listener->rt;
    struct chain_rt *chain = s->listener->gone ? NULL : chain_by_name(rt, s->chain->conf->name);

    s->generation = s->listener->generation;
    if (chain == NULL || chain->conf->kind != s->chain->conf->kind ||
        !tls_conf_eq(chain->conf->tls, s->chain->conf->tls)) {
        session_drain(s); /* it may not go on under settings that are gone, nor under others */
        return;
    }
    if (chain->conf->kind == CHAIN_HTTP) {
        http_count(s, HTTP_STAT_downstream_cx_active, -1);
        stat_add(chain->stats, core_of(s)->id, HTTP_STAT_downstream_cx_active, 1);
    }
    listener_count(s, LISTENER_STAT_downstream_cx_active, -1);
    pin_get(rt->pins, core_of(s)->id);
    pin_put(s->rt->pins, core_of(s)->id);
    s->rt = rt;
    s->chain = chain;
    listener_count(s, LISTENER_STAT_downstream_cx_active, 1);
}

/* --- bytes ----------------------------------------------------------------------------------- */

/* Once, when the codec has read everything before it. */
static void tell_eof(struct session *s)
{
    if (!s->eof || s->eof_told || s->http == NULL || s->state != SESSION_OPEN)
        return;
    s->eof_told = true;
    http_conn_eof(s->http);
}

/* Reads until nothing waits, a stream is paused, or the turn is over. */
static void read_http(struct session *s)
{
    uint64_t taken = 0;

    while (s->http != NULL && s->transport != NULL && s->state == SESSION_OPEN && !s->dead) {
        uint64_t n;

        http_conn_input(s->http, &s->in); /* also without bytes: it may have an end to tell */
        if (!pktq_is_empty(&s->in))
            return; /* what waits below closes the window */
        if (taken >= TURN_MAX) {
            core_defer(core_of(s), &s->work);
            return;
        }
        n = s->transport != NULL && s->state == SESSION_OPEN
                ? transport_recv(s->transport, &s->in, RECV_MAX)
                : 0;
        if (n == 0) {
            tell_eof(s);
            return;
        }
        taken += n;
        http_count(s, HTTP_STAT_downstream_cx_rx_bytes_total, (int64_t)n);
    }
}

static void read_hello(struct session *s);

static void read_session(struct session *s)
{
    switch (s->state) {
    case SESSION_HELLO:
        read_hello(s);
        return;
    case SESSION_SECURING:
        return;
    case SESSION_OPEN:
        if (s->tcp != NULL)
            tcp_proxy_readable(s->tcp);
        else
            read_http(s);
        return;
    case SESSION_CLOSING:
        discard(s);
        return;
    }
}

static void run(struct work *w)
{
    struct session *s = container_of(w, struct session, work);

    if (s->dead)
        destroy(s);
    else
        read_session(s);
}

/* --- beginning ------------------------------------------------------------------------------- */

/* The chain is chosen and the bytes are plain: who reads them from now on. */
static void start(struct session *s)
{
    const struct chain_conf *chain = s->chain->conf;
    const struct http_chain_conf *conf = chain->http;
    struct http_conf limits = { 0 };

    s->state = SESSION_OPEN;
    wheel_stop(&core_of(s)->wheel, &s->timer);
    if (chain->kind == CHAIN_TCP) {
        if (!tcp_proxy_start(s))
            session_finish(s, false);
        return;
    }
    limits.max_header_bytes = conf->max_header_bytes;
    limits.max_fields = (uint16_t)conf->max_fields;
    s->http = http_conn_open(&http_codec_h1, s->proxy->conf.http, HTTP_SERVER, &limits, &conn_ops,
                             &io, s);
    if (s->http == NULL) {
        session_finish(s, false);
        return;
    }
    http_count(s, HTTP_STAT_downstream_cx_http1_total, 1);
    if (s->draining)
        http_conn_drain(s->http);
    session_stream_changed(s);
    core_defer(core_of(s), &s->work); /* bytes may wait already */
}

static void count_chosen(struct session *s)
{
    if (s->chain->conf->kind != CHAIN_HTTP)
        return;
    http_count(s, HTTP_STAT_downstream_cx_total, 1);
    http_count(s, HTTP_STAT_downstream_cx_active, 1);
    if (s->chain->conf->tls != NULL)
        http_count(s, HTTP_STAT_downstream_cx_ssl_total, 1);
}

static void choose(struct session *s, bool is_tls)
{
    s->chain = chain_match(s->rt, &s->local.addr, s->sni, is_tls);
    if (s->chain == NULL) {
        listener_count(s, LISTENER_STAT_no_filter_chain_match, 1);
        session_finish(s, false);
        return;
    }
    count_chosen(s);
    if (s->chain->conf->tls == NULL) {
        start(s);
        return;
    }
    s->state = SESSION_SECURING;
    wheel_stop(&core_of(s)->wheel, &s->timer);
    if (!transport_secure(s->transport, s->chain->tls[core_of(s)->id]))
        session_finish(s, false);
}

static void read_hello(struct session *s)
{
    struct tls_hello hello;

    if (!s->rt->reads_hello) {
        choose(s, false);
        return;
    }
    switch (tls_hello_read(transport_peek(s->transport, TLS_HELLO_MAX), &hello)) {
    case TLS_HELLO_MORE:
        return;
    case TLS_HELLO_OK:
        memcpy(s->sni, hello.sni, sizeof(s->sni));
        choose(s, true);
        return;
    case TLS_HELLO_NOT_TLS:
        choose(s, false);
        return;
    case TLS_HELLO_BAD:
        listener_count(s, LISTENER_STAT_ssl_connection_error, 1);
        session_finish(s, false);
        return;
    }
}

/* --- the transport's side -------------------------------------------------------------------- */

static void on_open(struct transport *t)
{
    struct session *s = transport_owner(t);
    const struct tls_peer *peer = transport_tls_peer(t);

    listener_count(s, LISTENER_STAT_ssl_handshake, 1);
    if (peer->resumed)
        listener_count(s, LISTENER_STAT_ssl_session_reused, 1);
    start(s);
}

static void on_readable(struct transport *t)
{
    read_session(transport_owner(t));
}

static void on_writable(struct transport *t)
{
    struct session *s = transport_owner(t);

    if (s->tcp != NULL)
        tcp_proxy_writable(s->tcp);
    else if (s->http != NULL)
        http_conn_writable(s->http);
}

static void on_eof(struct transport *t)
{
    struct session *s = transport_owner(t);

    s->eof = true;
    switch (s->state) {
    case SESSION_HELLO:
    case SESSION_SECURING:
        release_transport(s);
        die(s);
        return;
    case SESSION_CLOSING:
        return; /* closed from below once the client has all, or by the timer */
    case SESSION_OPEN:
        if (s->tcp != NULL)
            tcp_proxy_eof(s->tcp);
        else
            read_http(s);
        return;
    }
}

static void on_closed(struct transport *t, enum transport_end why)
{
    struct session *s = transport_owner(t);

    s->transport = NULL;
    s->eof = true;
    if (why == TRANSPORT_END_TLS || (s->state == SESSION_SECURING && why != TRANSPORT_END_OK)) {
        char from[IPPORT_STRLEN];

        listener_count(s, LISTENER_STAT_ssl_connection_error, 1);
        log_limited(LOG_LVL_DEBUG, "listener", "%s: client %s: %s", s->listener->name,
                    ipport_str(&s->remote, from), transport_reason(t));
    }
    destroy(s);
}

static const struct transport_events events = { on_open, on_readable, on_writable, on_eof,
                                                on_closed };

const struct tcp_ops *session_accepted(void *ctx, struct tcp_conn *c, void **owner)
{
    struct listener *l = ctx;
    struct proxy *p = l->proxy;
    struct session *s = slab_alloc(&p->sessions);

    if (s == NULL) {
        stat_add(l->rt->stats, p->core->id, LISTENER_STAT_downstream_cx_overflow, 1);
        return NULL;
    }
    s->transport = transport_accept(p->conf.transports, c, &events, s);
    if (s->transport == NULL) {
        stat_add(l->rt->stats, p->core->id, LISTENER_STAT_downstream_cx_overflow, 1);
        slab_free(&p->sessions, s);
        return NULL;
    }
    *owner = s->transport;
    s->listener = l;
    s->proxy = p;
    s->rt = l->rt;
    s->generation = s->looked_at = l->generation;
    pin_get(s->rt->pins, p->core->id);
    pktq_init(&s->in);
    list_init(&s->streams);
    list_push_tail(&l->sessions, &s->link);
    l->n_sessions++;
    wheel_timer_init(&s->timer, on_timer);
    work_init(&s->work, run);
    s->opened_us = p->core->now_us;
    s->local = tcp_local(c);
    s->remote = tcp_remote(c);
    listener_count(s, LISTENER_STAT_downstream_cx_total, 1);
    listener_count(s, LISTENER_STAT_downstream_cx_active, 1);
    arm(s, s->rt->conf->hello_timeout_us);
    core_defer(p->core,
               &s->work); /* where no chain has TLS: a server that speaks first must not wait */
    return transport_tcp_ops();
}
