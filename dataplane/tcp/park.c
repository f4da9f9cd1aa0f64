/* A connection on which nothing happens, in a smaller struct, and back again. */
#include "dataplane/net/flow_table.h"
#include "dataplane/tcp/tcp_conn.h"

#include <assert.h>

static const struct flow_ops parked_flow_ops;

/* ---- what is kept of it */

static bool is_open(const struct tcp_conn *c)
{
    return c->state == TCP_ESTABLISHED && c->busy == 0 && c->events == 0 && !c->fin_queued &&
           !c->fin_seen && !c->released && !c->ended && !list_is_linked(&c->pending);
}

static bool has_said_all(const struct tcp_conn *c)
{
    return c->snd_una == c->snd_end && c->snd_nxt == c->snd_end && c->rtx_at_us == 0 &&
           c->backoff == 0 && c->retries == 0 && c->keepalives == 0 && !c->room_low &&
           !c->new_first && !c->hole_suspected;
}

static bool has_heard_all(const struct tcp_conn *c)
{
    return pktq_is_empty(&c->rxq) && c->holes == NULL && c->last_ack_sent == c->rcv_nxt &&
           !c->ack_now && c->dsack.start == c->dsack.end && !list_is_linked(&c->delayed_ack);
}

/* Or waking would give a peer as many challenges again. */
static bool was_challenged(const struct tcp_conn *c)
{
    return c->n_challenges > 0 &&
           c->challenge_period == (uint16_t)(c->tcp->core->now_us / TCP_CHALLENGE_PERIOD_US);
}

#define PACK(type, name) p->name = c->name;
#define PACK_BITS(name, width) p->name = c->name;

static void pack(struct tcp_conn *c, struct tcp_parked *p)
{
    p->flow.key = c->flow.key;
    p->flow.ops = &parked_flow_ops;
    TCP_PARKED_KEPT(PACK)
    TCP_PARKED_BITS(PACK_BITS)
    if (c->es == NULL)
        return;
    p->es_stays = true;
    p->rest = slab_index(&c->tcp->estats, c->es);
}

#define UNPACK(type, name) c->name = p->name;
#define UNPACK_BITS(name, width) c->name = p->name;

/* Into @c, which is zero. Old windows are told by numbers that are as good as those they came with:
 * only what is older than everything that was acknowledged is refused. */
static void unpack(const struct tcp_parked *p, struct tcp_conn *c)
{
    c->flow = p->flow;
    c->flow.ops = &tcp_conn_flow_ops;
    TCP_PARKED_KEPT(UNPACK)
    TCP_PARKED_BITS(UNPACK_BITS)
    if (p->es_stays) {
        c->es = slab_at(&p->tcp->estats, p->rest);
        c->rest = 0;
    }
    c->state = TCP_ESTABLISHED;
    c->snd_una = c->snd_end = c->snd_wl2 = p->snd_nxt;
    c->snd_wl1 = c->last_ack_sent = p->rcv_nxt;
    c->ts_offset = tcp_ts_offset(p->tcp, &p->flow.key);
    pktq_init(&c->rxq);
    list_init(&c->pending);
    list_init(&c->delayed_ack);
    tcp_timer_init(c);
}

/* ---- awake again */

static void forget(struct tcp_parked *p)
{
    struct tcp *tcp = p->tcp;
    const uint32_t place = slab_index(&tcp->parked, p);

    tcp->live_parked[place / 64] &= ~(UINT64_C(1) << (place % 64));
    wheel_stop(&tcp->core->wheel, &p->timer);
    slab_free(&tcp->parked, p);
}

struct tcp_conn *tcp_unpark(struct tcp_parked *p)
{
    struct tcp *tcp = p->tcp;
    struct tcp_conn *c = tcp_conn_alloc(tcp);

    assert(c != NULL); /* tcp_conn_new() has left room */
    unpack(p, c);
    flow_table_replace(net_flows(tcp->net), &p->flow, &c->flow);
    tcp_recorder_follow(tcp, c->rec, c, NULL);
    forget(p);
    tcp->counters.woken++;
    tcp_timer_arm(c);
    return c;
}

/* For a reason that its owner does not know. It is busy once, and may be gone. */
static struct tcp_conn *wake(struct tcp_parked *p)
{
    struct tcp_conn *c = tcp_unpark(p);

    tcp_conn_enter(c);
    c->ops->on_woken(c);
    return c;
}

static enum drop parked_rx(struct flow *f, struct pkt *p)
{
    struct tcp_conn *c = wake(container_of(f, struct tcp_parked, flow));
    const enum drop why = c->gone ? DROP_TCP_CLOSED : c->flow.ops->rx(&c->flow, p);

    tcp_conn_leave(c);
    return why;
}

static bool parked_rx_train(struct flow *f, struct pkt *train)
{
    struct tcp_conn *c = wake(container_of(f, struct tcp_parked, flow));
    const bool taken = !c->gone && c->flow.ops->rx_train(&c->flow, train);

    tcp_conn_leave(c);
    return taken;
}

/* What waking reads: its totals, and what its owner keeps. */
static void parked_prefetch(const struct flow *f)
{
    const struct tcp_parked *p = container_of(f, const struct tcp_parked, flow);

    if (p->rests)
        tcp_estats_prefetch_cell(p->tcp, p->rest);
    __builtin_prefetch(p->owner);
}

static const struct flow_ops parked_flow_ops = { .rx = parked_rx,
                                                 .rx_train = parked_rx_train,
                                                 .prefetch = parked_prefetch };

/* The connection's own timer is due as well. */
static void on_timer(struct wheel_timer *t, uint64_t now_us)
{
    tcp_conn_leave(wake(container_of(t, struct tcp_parked, timer)));
}

/* ---- asleep */

static struct tcp_parked *new_parked(struct tcp *tcp)
{
    struct tcp_parked *p = slab_alloc(&tcp->parked);
    uint32_t place;

    assert(p != NULL); /* there is one for every connection */
    place = slab_index(&tcp->parked, p);
    tcp->live_parked[place / 64] |= UINT64_C(1) << (place % 64);
    wheel_timer_init(&p->timer, on_timer);
    return p;
}

struct tcp_parked *tcp_park(struct tcp_conn *c, const struct tcp_ops *ops, void *owner)
{
    const uint64_t keepalive_at = tcp_keepalive_at(c);
    struct tcp *tcp = c->tcp;
    struct tcp_parked *p;

    if (!is_open(c) || !has_said_all(c) || !has_heard_all(c) || was_challenged(c))
        return NULL;
    tcp_flight_put(c);
    if (c->es != NULL)
        tcp_estats_rest(c);
    tcp_set_owner(c, ops, owner);
    p = new_parked(tcp);
    pack(c, p);
    flow_table_replace(net_flows(tcp->net), &c->flow, &p->flow);
    tcp_recorder_follow(tcp, p->rec, NULL, p);
    if (keepalive_at != UINT64_MAX)
        wheel_start(&tcp->core->wheel, &p->timer, keepalive_at);
    wheel_stop(&tcp->core->wheel, &c->timer);
    tcp_conn_dealloc(c);
    tcp->counters.parked++;
    return p;
}

/* ---- looking */

const struct tcp_conn *tcp_parked_look(const struct tcp_parked *p)
{
    struct tcp_conn *c = &p->tcp->look;

    *c = (struct tcp_conn){ 0 };
    unpack(p, c);
    return c;
}

/* The next one from position *@at on; NULL: there is none. */
static struct tcp_parked *next(const struct tcp *tcp, uint32_t *at)
{
    while (*at < tcp->parked.n_touched) {
        const uint32_t place = (*at)++;

        if ((tcp->live_parked[place / 64] >> (place % 64) & 1) != 0)
            return slab_at(&tcp->parked, place);
    }
    return NULL;
}

bool tcp_parked_at(const struct tcp *tcp, const struct ipport *local)
{
    const struct tcp_parked *p;
    uint32_t at = 0;

    while ((p = next(tcp, &at)) != NULL)
        if (tcp_key_is_at(&p->flow.key, local))
            return true;
    return false;
}

void tcp_parked_free_all(struct tcp *tcp)
{
    struct tcp_parked *p;
    uint32_t at = 0;

    while ((p = next(tcp, &at)) != NULL)
        tcp_abort(tcp_unpark(p));
}
