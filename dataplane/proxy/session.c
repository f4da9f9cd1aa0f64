/* A client's connection, from accept to close. */
#include "dataplane/proxy/proxy_priv.h"

#include "dataplane/base/log.h"
#include "tls/hello.h"

#include <stdio.h>

#define RECV_MAX (16 * 1024)
#define TURN_MAX (64 * 1024) /* bytes of one session in one go; then others have their turn */

static struct core *core_of(const struct session *s)
{
    return s->proxy->core;
}

/* --- the end --------------------------------------------------------------------------------- */

void session_forget(struct session *s)
{
    list_remove(&s->link);
    wheel_stop(&core_of(s)->wheel, &s->timer);
    slab_free(&s->proxy->sessions, s);
}

static void destroy(struct session *s)
{
    struct listener *l = s->listener;
    struct proxy *p = s->proxy;

    core_cancel(&s->work);
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
    session_forget(s);
    listener_session_gone(l);
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

/* To be parked, or to be closed. */
static void arm_idle(struct session *s)
{
    struct core *core = core_of(s);

    wheel_start(&core->wheel, &s->timer, MIN(core->now_us + PROXY_PARK_US, s->idle_at_us));
}

void session_stream_changed(struct session *s)
{
    const uint64_t idle_us = s->chain->conf->http->idle_timeout_us;

    if (s->state != SESSION_OPEN || s->http == NULL)
        return;
    if (!list_is_empty(&s->streams)) {
        arm(s, 0);
        return;
    }
    s->idle_at_us = idle_us != 0 ? core_of(s)->now_us + idle_us : UINT64_MAX;
    arm_idle(s);
}

void session_expire(struct session *s)
{
    if (s->dead)
        return;
    http_count(s, HTTP_STAT_downstream_cx_idle_timeout, 1);
    s->draining = true;
    http_conn_drain(s->http);
}

static void on_idle_timer(struct session *s)
{
    if (core_of(s)->now_us >= s->idle_at_us)
        session_expire(s);
    else if (!session_park(s))
        arm_idle(s);
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
        on_idle_timer(s);
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

/* Not under settings that are gone, nor under others. */
struct chain_rt *session_chain_now(const struct listener *l, const struct chain_rt *old)
{
    struct chain_rt *now = l->gone ? NULL : chain_by_name(l->rt, old->conf->name);

    if (now == NULL || now->conf->kind != old->conf->kind ||
        !tls_conf_eq(now->conf->tls, old->conf->tls))
        return NULL;
    return now;
}

void session_move(struct listener *l, struct listener_rt **rt, struct chain_rt **chain,
                  struct chain_rt *chain_now)
{
    const uint32_t core = l->proxy->core->id;

    if (chain_now->conf->kind == CHAIN_HTTP) {
        stat_add((*chain)->stats, core, HTTP_STAT_downstream_cx_active, -1);
        stat_add(chain_now->stats, core, HTTP_STAT_downstream_cx_active, 1);
    }
    stat_add((*rt)->stats, core, LISTENER_STAT_downstream_cx_active, -1);
    stat_add(l->rt->stats, core, LISTENER_STAT_downstream_cx_active, 1);
    pin_get(l->rt->pins, core);
    pin_put((*rt)->pins, core);
    *rt = l->rt;
    *chain = chain_now;
}

void session_renew(struct session *s)
{
    struct chain_rt *chain = session_chain_now(s->listener, s->chain);

    s->generation = s->listener->generation;
    if (chain == NULL)
        session_drain(s);
    else
        session_move(s->listener, &s->rt, &s->chain, chain);
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

/* False: no memory. */
static bool open_codec(struct session *s)
{
    const struct http_chain_conf *conf = s->chain->conf->http;
    const struct http_conf limits = { .max_header_bytes = conf->max_header_bytes,
                                      .max_fields = (uint16_t)conf->max_fields };

    s->http = http_conn_open(&http_codec_h1, s->proxy->conf.http, HTTP_SERVER, &limits, &conn_ops,
                             &io, s);
    return s->http != NULL;
}

/* The chain is chosen and the bytes are plain: who reads them from now on. */
static void start(struct session *s)
{
    s->state = SESSION_OPEN;
    wheel_stop(&core_of(s)->wheel, &s->timer);
    if (s->chain->conf->kind == CHAIN_TCP) {
        if (!tcp_proxy_start(s))
            session_finish(s, false);
        return;
    }
    if (!open_codec(s)) {
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

static struct session *new_session(struct listener *l)
{
    struct session *s = slab_alloc(&l->proxy->sessions);

    if (s == NULL)
        return NULL;
    s->listener = l;
    s->proxy = l->proxy;
    pktq_init(&s->in);
    list_init(&s->streams);
    list_push_tail(&l->sessions, &s->link);
    wheel_timer_init(&s->timer, on_timer);
    work_init(&s->work, run);
    return s;
}

static void set_transport(struct session *s, struct transport *t)
{
    s->transport = t;
    s->local = *transport_local(t);
    s->remote = *transport_remote(t);
}

struct session *session_resume(const struct parked *p, struct transport *t)
{
    struct session *s = new_session(p->listener);
    const struct tls_peer *peer;

    assert(s != NULL); /* session_accepted() has left room */
    s->state = SESSION_OPEN;
    s->rt = p->rt;
    s->chain = p->chain;
    s->generation = s->looked_at = p->generation;
    if (s->looked_at != p->listener->generation) { /* those to be looked at are in front */
        list_remove(&s->link);
        list_push_head(&p->listener->sessions, &s->link);
    }
    s->opened_us = p->opened_us;
    s->idle_at_us = wheel_timer_at_us(&p->timer);
    if (t == NULL || !open_codec(s)) {
        listener_count(s, LISTENER_STAT_downstream_cx_overflow, 1);
        if (t != NULL)
            transport_abort(t);
        die(s);
        return s;
    }
    transport_set_owner(t, &events, s);
    set_transport(s, t);
    peer = transport_tls_peer(t);
    if (peer != NULL)
        snprintf(s->sni, sizeof(s->sni), "%s", peer->sni);
    s->http->total_streams = p->requests;
    arm_idle(s);
    return s;
}

/* Those that are parked have their places, which they come back to at any time. */
static bool is_full(const struct proxy *p)
{
    return p->sessions.in_use + p->parked.in_use >= p->conf.max_sessions;
}

/* False: no memory. */
static bool admit(struct session *s, struct tcp_conn *c)
{
    struct transport *t =
        s != NULL ? transport_accept(s->proxy->conf.transports, c, &events, s) : NULL;

    if (t == NULL)
        return false;
    set_transport(s, t);
    return true;
}

const struct tcp_ops *session_accepted(void *ctx, struct tcp_conn *c, void **owner)
{
    struct listener *l = ctx;
    struct proxy *p = l->proxy;
    struct session *s = is_full(p) ? NULL : new_session(l);

    if (!admit(s, c)) {
        stat_add(l->rt->stats, p->core->id, LISTENER_STAT_downstream_cx_overflow, 1);
        if (s != NULL)
            session_forget(s);
        return NULL;
    }
    *owner = s->transport;
    s->rt = l->rt;
    s->generation = s->looked_at = l->generation;
    pin_get(s->rt->pins, p->core->id);
    l->n_sessions++;
    s->opened_us = p->core->now_us;
    listener_count(s, LISTENER_STAT_downstream_cx_total, 1);
    listener_count(s, LISTENER_STAT_downstream_cx_active, 1);
    arm(s, s->rt->conf->hello_timeout_us);
    core_defer(p->core,
               &s->work); /* where no chain has TLS: a server that speaks first must not wait */
    return transport_tcp_ops();
}
