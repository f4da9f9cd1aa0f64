/* Sessions that wait for their next request, in little: asleep, and awake again. */
#include "dataplane/proxy/proxy_priv.h"

static struct session *resume(struct parked *p, struct transport *t)
{
    struct session *s = session_resume(p, t);
    struct proxy *proxy = p->listener->proxy;

    list_remove(&p->link);
    wheel_stop(&proxy->core->wheel, &p->timer);
    slab_free(&proxy->parked, p);
    return s;
}

struct session *session_wake(struct parked *p)
{
    return resume(p, transport_unpark(&p->transport));
}

void session_wake_all(struct listener *l)
{
    while (!list_is_empty(&l->parked))
        (void)session_wake(container_of(l->parked.next, struct parked, link));
}

/* The client has said something, or its connection ends. */
static void on_woken(struct transport_parked *parked, struct transport *t)
{
    (void)resume(container_of(parked, struct parked, transport), t);
}

static const struct transport_events events = { .on_woken = on_woken };

static void on_timer(struct wheel_timer *t, uint64_t now_us)
{
    session_expire(session_wake(container_of(t, struct parked, timer)));
}

/* The server's name is kept in the TLS session alone. */
static bool is_named_there(const struct session *s)
{
    const struct tls_peer *peer = transport_tls_peer(s->transport);

    return strcmp(s->sni, peer != NULL ? peer->sni : "") == 0;
}

static bool is_quiet(const struct session *s)
{
    return s->state == SESSION_OPEN && s->http != NULL && http_conn_is_fresh(s->http) &&
           list_is_empty(&s->streams) && pktq_is_empty(&s->in) && s->transport != NULL && !s->eof &&
           !s->draining && !s->dead && s->generation == s->listener->generation &&
           !list_is_linked(&s->work.link) && is_named_there(s);
}

bool session_park(struct session *s)
{
    struct proxy *proxy = s->proxy;
    struct parked *p = is_quiet(s) ? slab_alloc(&proxy->parked) : NULL;

    if (p == NULL)
        return false;
    if (!transport_park(s->transport, &events, &p->transport)) {
        slab_free(&proxy->parked, p);
        return false;
    }
    p->listener = s->listener;
    p->rt = s->rt;
    p->chain = s->chain;
    p->generation = s->generation;
    p->opened_us = s->opened_us;
    p->requests = s->http->total_streams;
    wheel_timer_init(&p->timer, on_timer);
    if (s->idle_at_us != UINT64_MAX)
        wheel_start(&proxy->core->wheel, &p->timer, s->idle_at_us);
    list_push_tail(&s->listener->parked, &p->link);
    http_conn_close(s->http);
    session_forget(s);
    return true;
}

void parked_renew(struct parked *p)
{
    struct listener *l = p->listener;
    struct chain_rt *chain = l->proxy->draining ? NULL : session_chain_now(l, p->chain);

    p->generation = l->generation;
    if (chain == NULL)
        session_drain(session_wake(p));
    else
        session_move(l, &p->rt, &p->chain, chain);
}
