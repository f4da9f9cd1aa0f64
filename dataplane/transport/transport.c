/*
 * The struct, and what is the same for every kind: life and death. plain.c and
 * secure.c are the kinds.
 */
#include "dataplane/transport/kind.h"

#include "dataplane/base/own.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- TCP's events ---------------------------------------------------------------------------- */

static struct transport *of(const struct tcp_conn *c)
{
    return tcp_owner(c);
}

static void on_open(struct tcp_conn *c)
{
    of(c)->kind->on_open(of(c));
}

static void on_readable(struct tcp_conn *c)
{
    of(c)->kind->on_readable(of(c));
}

static void on_writable(struct tcp_conn *c)
{
    struct transport *t = of(c);

    if (t->state == TRANSPORT_OPEN)
        t->ev->on_writable(t);
}

static void on_peer_closed(struct tcp_conn *c)
{
    of(c)->kind->on_eof(of(c));
}

static enum transport_end end_of(int why)
{
    switch (why) {
    case 0:
        return TRANSPORT_END_OK;
    case -ETIMEDOUT:
        return TRANSPORT_END_TIMEOUT;
    case -ECONNREFUSED:
    case -EHOSTUNREACH:
    case -ENETUNREACH:
        return TRANSPORT_END_REFUSED;
    case -ENOMEM:
    case -ENOBUFS:
        return TRANSPORT_END_MEMORY;
    default:
        return TRANSPORT_END_RESET;
    }
}

static void on_closed(struct tcp_conn *c, int why)
{
    struct transport *t = of(c);

    t->tcp = NULL;
    if (why == 0 && t->kind->outlives(t))
        return;
    if (why != 0 && t->reason == NULL) {
        snprintf(t->all->words, sizeof(t->all->words), "%s%s",
                 t->state == TRANSPORT_CONNECTING ? "delayed connect error: " : "", strerror(-why));
        t->reason = t->all->words;
    }
    transport_end(t, end_of(why));
}

static const struct tcp_ops tcp_events = { .on_open = on_open,
                                           .on_readable = on_readable,
                                           .on_writable = on_writable,
                                           .on_peer_closed = on_peer_closed,
                                           .on_closed = on_closed };

const struct tcp_ops *transport_tcp_ops(void)
{
    return &tcp_events;
}

/* --- life and death -------------------------------------------------------------------------- */

struct transports *transports_new(struct core *core, struct tcp *tcp, uint32_t max)
{
    struct transports *ts = own_alloc(1, sizeof(*ts));

    if (ts == NULL)
        return NULL;
    ts->core = core;
    ts->tcp = tcp;
    list_init(&ts->handshakes);
    list_init(&ts->records);
    if (slab_init(&ts->slab, sizeof(struct transport), max) < 0) {
        free(ts);
        return NULL;
    }
    return ts;
}

void transports_use_tls(struct transports *ts, struct tls_lib *lib)
{
    ts->lib = lib;
}

void transports_free(struct transports *ts)
{
    if (ts == NULL)
        return;
    slab_fini(&ts->slab);
    free(ts);
}

uint32_t transports_count(const struct transports *ts)
{
    return ts->slab.in_use;
}

static void destroy(struct transport *t)
{
    wheel_stop(&t->all->core->wheel, &t->deadline);
    list_remove(&t->work);
    core_cancel(&t->later);
    core_cancel(&t->sending);
    tls_session_free(t->tls);
    tls_ctx_put(t->ctx);
    pktq_clear(&t->in);
    pktq_clear(&t->plain);
    pktq_clear(&t->unsent);
    slab_free(&t->all->slab, t);
}

void transport_end(struct transport *t, enum transport_end why)
{
    if (t->tcp != NULL) {
        tcp_abort(t->tcp);
        t->tcp = NULL;
    }
    wheel_stop(&t->all->core->wheel, &t->deadline);
    t->state = TRANSPORT_ENDED;
    t->ev->on_closed(t, why);
    destroy(t);
}

/* What was found out while the owner was calling us. */
static void tell_later(struct work *w)
{
    struct transport *t = container_of(w, struct transport, later);

    if (t->state == TRANSPORT_ENDED)
        transport_end(t, t->why);
    else
        transport_check_eof(t);
}

void transport_fail(struct transport *t, enum transport_end why)
{
    if (t->state == TRANSPORT_ENDED)
        return;
    t->why = why;
    t->state = TRANSPORT_ENDED;
    core_defer(t->all->core, &t->later);
}

static bool eof_is_due(const struct transport *t)
{
    return t->state == TRANSPORT_OPEN && !t->eof_told && (t->tcp_eof || t->tls_eof) &&
           t->kind->drained(t);
}

void transport_check_eof(struct transport *t)
{
    if (!eof_is_due(t))
        return;
    t->eof_told = true;
    if (t->tcp == NULL) /* it was only waited for this */
        transport_fail(t, TRANSPORT_END_OK);
    t->ev->on_eof(t); /* last: the owner may let go */
}

void transport_check_eof_later(struct transport *t)
{
    if (eof_is_due(t))
        core_defer(t->all->core, &t->later);
}

static void on_deadline(struct wheel_timer *timer, uint64_t now_us)
{
    struct transport *t = container_of(timer, struct transport, deadline);

    t->reason =
        t->state == TRANSPORT_CONNECTING ? "connection timeout" : "TLS error: handshake timeout";
    transport_end(t, TRANSPORT_END_TIMEOUT);
}

/* What was sent in this turn, together: a head and its body make one record, and one packet. */
static void flush(struct transport *t)
{
    core_cancel(&t->sending);
    if (pktq_is_empty(&t->unsent))
        return;
    if (t->tcp == NULL || t->state == TRANSPORT_ENDED)
        pktq_clear(&t->unsent);
    else
        t->kind->send(t, &t->unsent);
}

static void send_now(struct work *w)
{
    struct transport *t = container_of(w, struct transport, sending);
    const bool asked = t->room_asked;

    flush(t);
    t->room_asked = false;
    if (asked && transport_room(t) > 0)
        t->ev->on_writable(t); /* last: the owner may let go */
}

static struct transport *new_transport(struct transports *ts, const struct transport_events *ev,
                                       void *owner)
{
    struct transport *t = slab_alloc(&ts->slab);

    if (t == NULL)
        return NULL;
    t->all = ts;
    t->ev = ev;
    t->owner = owner;
    t->kind = &transport_plain;
    pktq_init(&t->in);
    pktq_init(&t->plain);
    list_init(&t->work);
    pktq_init(&t->unsent);
    work_init(&t->sending, send_now);
    work_init(&t->later, tell_later);
    wheel_timer_init(&t->deadline, on_deadline);
    return t;
}

static void accepted(struct transport *t, struct tcp_conn *c)
{
    t->tcp = c;
    t->state = TRANSPORT_OPEN;
    t->is_server = true;
    t->local = tcp_local(c);
    t->remote = tcp_remote(c);
}

struct transport *transport_accept(struct transports *ts, struct tcp_conn *c,
                                   const struct transport_events *ev, void *owner)
{
    struct transport *t = new_transport(ts, ev, owner);

    if (t == NULL)
        return NULL;
    accepted(t, c);
    return t;
}

struct transport *transport_connect(struct transports *ts, const struct ipport *remote,
                                    const struct ipaddr *source, struct tls_ctx *ctx,
                                    uint64_t timeout_us, const struct transport_events *ev,
                                    void *owner, int *err)
{
    const struct ipport local = { .addr = source != NULL ? *source : (struct ipaddr){ 0 } };
    struct transport *t = new_transport(ts, ev, owner);

    if (t == NULL) {
        *err = -ENOMEM;
        return NULL;
    }
    t->state = TRANSPORT_CONNECTING;
    t->tcp = tcp_connect(ts->tcp, remote, &local, NULL, &tcp_events, t, err);
    if (t->tcp == NULL) {
        destroy(t);
        return NULL;
    }
    t->local = tcp_local(t->tcp);
    t->remote = *remote;
    if (ctx != NULL) {
        t->kind = &transport_secure_kind;
        t->ctx = tls_ctx_get(ctx);
    }
    wheel_start(&ts->core->wheel, &t->deadline, ts->core->now_us + timeout_us);
    return t;
}

void transport_set_owner(struct transport *t, const struct transport_events *ev, void *owner)
{
    t->ev = ev;
    t->owner = owner;
}

void *transport_owner(const struct transport *t)
{
    return t->owner;
}

void transport_release(struct transport *t, uint64_t linger_us)
{
    flush(t);
    if (t->tcp != NULL) {
        t->kind->close(t);
        tcp_release(t->tcp, linger_us);
    }
    destroy(t);
}

void transport_abort(struct transport *t)
{
    if (t->tcp != NULL)
        tcp_abort(t->tcp);
    destroy(t);
}

void transport_shutdown(struct transport *t)
{
    if (t->tcp == NULL || t->state == TRANSPORT_ENDED)
        return;
    flush(t);
    t->kind->close(t);
    tcp_shutdown(t->tcp);
}

/* --- parked ---------------------------------------------------------------------------------- */

static bool is_quiet(const struct transport *t)
{
    return t->state == TRANSPORT_OPEN && t->is_server && t->tcp != NULL && pktq_is_empty(&t->in) &&
           pktq_is_empty(&t->plain) && pktq_is_empty(&t->unsent) && !t->tcp_eof && !t->tls_eof &&
           !list_is_linked(&t->work) && !list_is_linked(&t->later.link) &&
           (t->tls == NULL || !tls_read_pending(t->tls, &t->in));
}

/* @c is open again: what it belongs to is a transport again. NULL: no memory, and both are gone. */
static struct transport *revive(struct transport_parked *p, struct tcp_conn *c)
{
    struct transport *t = new_transport(p->all, NULL, NULL);

    if (t == NULL) {
        tcp_abort(c);
        tls_session_free(p->tls);
        return NULL;
    }
    accepted(t, c);
    if (p->tls == NULL)
        return t;
    t->kind = &transport_secure_kind;
    t->tls = p->tls;
    t->ctx = tls_ctx_get(tls_session_ctx(p->tls));
    t->was_open = true;
    return t;
}

static void on_woken(struct tcp_conn *c)
{
    struct transport_parked *p = tcp_owner(c);
    struct transport *t = revive(p, c);

    if (t != NULL)
        tcp_set_owner(c, &tcp_events, t);
    p->ev->on_woken(p, t); /* last: @p is its owner's */
}

/* The first event, after which they are those of a transport. */
static const struct tcp_ops parked_events = { .on_woken = on_woken };

bool transport_park(struct transport *t, const struct transport_events *ev,
                    struct transport_parked *ret)
{
    struct tcp_parked *tcp = is_quiet(t) ? tcp_park(t->tcp, &parked_events, ret) : NULL;

    if (tcp == NULL)
        return false;
    *ret = (struct transport_parked){ .all = t->all, .ev = ev, .tcp = tcp, .tls = t->tls };
    t->tls = NULL;
    destroy(t);
    return true;
}

struct transport *transport_unpark(struct transport_parked *p)
{
    struct tcp_conn *c = tcp_unpark(p->tcp);
    struct transport *t = revive(p, c);

    if (t != NULL)
        tcp_set_owner(c, &tcp_events, t);
    return t;
}

const struct tls_peer *transport_parked_tls_peer(const struct transport_parked *p)
{
    return p->tls != NULL ? tls_peer(p->tls) : NULL;
}

const struct tcp_conn *transport_parked_tcp(const struct transport_parked *p)
{
    return tcp_parked_look(p->tcp);
}

/* --- bytes ----------------------------------------------------------------------------------- */

const struct pktq *transport_peek(struct transport *t, uint64_t max)
{
    assert(t->kind == &transport_plain);
    if (t->tcp != NULL && t->in.bytes < max)
        tcp_recv(t->tcp, &t->in, max - t->in.bytes);
    return &t->in;
}

uint64_t transport_recv(struct transport *t, struct pktq *to, uint64_t max)
{
    return t->state == TRANSPORT_ENDED ? 0 : t->kind->recv(t, to, max);
}

void transport_send(struct transport *t, struct pktq *q)
{
    if (t->tcp == NULL || t->state == TRANSPORT_ENDED) {
        pktq_clear(q);
        return;
    }
    pktq_splice(&t->unsent, q);
    core_defer(t->all->core, &t->sending);
}

uint32_t transport_room(struct transport *t)
{
    const uint32_t room = t->tcp == NULL || t->state != TRANSPORT_OPEN ? 0 : tcp_send_room(t->tcp);

    if (room > t->unsent.bytes)
        return room - (uint32_t)t->unsent.bytes;
    t->room_asked = !pktq_is_empty(&t->unsent);
    return 0;
}

uint32_t transport_seg(const struct transport *t)
{
    return t->kind->seg(t);
}

/* --- facts ----------------------------------------------------------------------------------- */

const struct tls_peer *transport_tls_peer(const struct transport *t)
{
    return t->tls != NULL && t->was_open ? tls_peer(t->tls) : NULL;
}

const struct tls_ctx *transport_tls_ctx(const struct transport *t)
{
    return t->ctx;
}

bool transport_is_secure(const struct transport *t)
{
    return t->ctx != NULL;
}

const struct ipport *transport_local(const struct transport *t)
{
    return &t->local;
}

const struct ipport *transport_remote(const struct transport *t)
{
    return &t->remote;
}

struct tcp_conn *transport_tcp(const struct transport *t)
{
    return t->tcp;
}

const char *transport_reason(const struct transport *t)
{
    return t->reason != NULL ? t->reason : "";
}
