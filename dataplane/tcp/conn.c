#include "dataplane/base/own.h"
#include "dataplane/net/ephemeral.h"
#include "dataplane/net/flow_table.h"
#include "dataplane/net/pmtu.h"
#include "dataplane/tcp/tcp_conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define CHALLENGE_RATE 1000, 1000
#define RESET_RATE 1000, 200

#define TO(name) (1u << TCP_##name)

#define ALLOWED(name, next) [TCP_##name] = (next),
static const unsigned allowed[] = { TCP_STATES(ALLOWED) };

#define NAME(name, next) [TCP_##name] = #name,
static const char *const names[] = { TCP_STATES(NAME) };

void tcp_conn_move(struct tcp_conn *c, enum tcp_state next)
{
    assert(allowed[c->state] & (1u << next));

    tcp_record(c, TCP_RECORD_STATE, .mark = (uint16_t)c->state, .len = (uint16_t)next);
    c->state = next;
}

bool tcp_conn_is_synchronized(const struct tcp_conn *c)
{
    return c->state != TCP_CLOSED && c->state != TCP_SYN_SENT;
}

/* ---- one worker's TCP */

static void set_defaults(struct tcp_conf *conf)
{
#define DEFAULT(field, value) conf->field = conf->field != 0 ? conf->field : (value)
    DEFAULT(max_conns, 65536);
    DEFAULT(recorder_records, 256);
    DEFAULT(recorder_episodes, 64);
    DEFAULT(max_half_open, 4096);
    DEFAULT(max_time_wait, 65536);
    DEFAULT(recv_buf, 64 * 1024);
    DEFAULT(send_buf, 64 * 1024);
    DEFAULT(notsent_lowat, UINT32_MAX);
    DEFAULT(recv_grow_max, UINT64_C(64) << 20);
    DEFAULT(ooo_pkts, UINT32_MAX);
    DEFAULT(ooo_pkts_all, 8192);
    DEFAULT(time_wait_us, 60 * TCP_SECOND);
    DEFAULT(syn_timeout_us, 30 * TCP_SECOND);
    DEFAULT(max_retries, 15);
    DEFAULT(rto_min_us, 200000);
    DEFAULT(keepalive_us, 7200 * TCP_SECOND);
    DEFAULT(delayed_ack_us, TCP_DELAYED_ACK_US);
#undef DEFAULT
    conf->recv_buf = MIN(conf->recv_buf, TCP_RECV_BUF_MAX);
    conf->recv_buf_max = MIN(MAX(conf->recv_buf_max, conf->recv_buf), TCP_RECV_BUF_MAX);
    conf->send_buf_max = MAX(conf->send_buf_max, conf->send_buf);
    conf->max_retries = MIN(conf->max_retries, UINT8_MAX - 1);
    conf->recorders = MIN(conf->recorders, UINT16_MAX - 1); /* c->rec */
}

static struct tcp_tuning tuning_of(const struct tcp_conf *conf)
{
    return (struct tcp_tuning){
        .recv_buf = conf->recv_buf,
        .recv_buf_max = conf->recv_buf_max,
        .send_buf = conf->send_buf,
        .send_buf_max = conf->send_buf_max,
        .notsent_lowat = conf->notsent_lowat,
        .cc = conf->cc,
        .keepalive = conf->keepalive_us != UINT64_MAX,
        .keepalive_probes = TCP_KEEPALIVE_PROBES,
        .keepalive_us = conf->keepalive_us,
        .keepalive_interval_us = TCP_KEEPALIVE_INTERVAL_US,
        .user_timeout_us = conf->user_timeout_us,
    };
}

/* A key of its own for each use, so that one gives nothing away about another. */
static struct hash_key derive(const struct hash_key *secret, const char *use)
{
    char half[8] = { 0 };
    struct hash_key key;

    strncpy(half, use, sizeof(half) - 1);
    for (unsigned i = 0; i < ARRAY_SIZE(key.k); i++) {
        half[7] = (char)i;
        key.k[i] = hash_sip(secret, half, sizeof(half));
    }
    return key;
}

static size_t live_words(const struct tcp *tcp)
{
    return ((size_t)tcp->conf.max_conns + 63) / 64;
}

static int init_memory(struct tcp *tcp)
{
    const struct tcp_conf *conf = &tcp->conf;

    tcp->live = own_alloc(2 * live_words(tcp), sizeof(tcp->live[0]));
    if (tcp->live == NULL)
        return -ENOMEM;
    tcp->live_parked = tcp->live + live_words(tcp);
    if (slab_init(&tcp->conns, sizeof(struct tcp_conn), conf->max_conns) < 0)
        goto err_live;
    if (slab_init(&tcp->parked, sizeof(struct tcp_parked), conf->max_conns) < 0)
        goto err_conns;
    if (slab_init(&tcp->halves, sizeof(struct tcp_half), conf->max_half_open) < 0)
        goto err_parked;
    if (slab_init(&tcp->tws, sizeof(struct tcp_tw), conf->max_time_wait) < 0)
        goto err_halves;
    if (slab_init(&tcp->tunings, sizeof(struct tcp_tuning), conf->max_conns) < 0)
        goto err_tws;
    if (slab_init(&tcp->flights, sizeof(struct tcp_flight), conf->max_conns) < 0)
        goto err_tunings;
    if (slab_init(&tcp->holes, sizeof(struct tcp_holes), conf->max_conns) < 0)
        goto err_flights;
    if (slab_init(&tcp->estats, sizeof(struct tcp_estats), conf->max_conns) < 0)
        goto err_holes;
    if (slab_init(&tcp->rests[0], TCP_REST_SMALL, conf->max_conns) < 0)
        goto err_estats;
    if (slab_init(&tcp->rests[1], TCP_REST_LARGE, conf->max_conns) < 0)
        goto err_rests;
    return 0;

err_rests:
    slab_fini(&tcp->rests[0]);
err_estats:
    slab_fini(&tcp->estats);
err_holes:
    slab_fini(&tcp->holes);
err_flights:
    slab_fini(&tcp->flights);
err_tunings:
    slab_fini(&tcp->tunings);
err_tws:
    slab_fini(&tcp->tws);
err_halves:
    slab_fini(&tcp->halves);
err_parked:
    slab_fini(&tcp->parked);
err_conns:
    slab_fini(&tcp->conns);
err_live:
    free(tcp->live);
    return -ENOMEM;
}

static void fini_memory(struct tcp *tcp)
{
    slab_fini(&tcp->rests[1]);
    slab_fini(&tcp->rests[0]);
    slab_fini(&tcp->estats);
    slab_fini(&tcp->holes);
    slab_fini(&tcp->flights);
    slab_fini(&tcp->tunings);
    slab_fini(&tcp->tws);
    slab_fini(&tcp->halves);
    slab_fini(&tcp->parked);
    slab_fini(&tcp->conns);
    free(tcp->live);
}

struct tcp *tcp_new(struct core *core, struct net *net, const struct tcp_conf *conf)
{
    struct tcp *tcp = own_alloc(1, sizeof(*tcp));
    int err;

    if (tcp == NULL)
        return NULL;
    tcp->core = core;
    tcp->net = net;
    tcp->conf = *conf;
    set_defaults(&tcp->conf);
    if (init_memory(tcp) < 0) {
        free(tcp);
        return NULL;
    }
    tcp->recorders = tcp_recorders_new(tcp, &err);
    if (err < 0) {
        fini_memory(tcp);
        free(tcp);
        return NULL;
    }
    tcp->defaults = tuning_of(&tcp->conf);
    tcp->isn_key = derive(&core->secret, "isn");
    tcp->ts_key = derive(&core->secret, "tstamp");
    tcp->cookie_key = derive(&core->secret, "cookie");
    limit_init(&tcp->challenges, CHALLENGE_RATE, core->now_us);
    limit_init(&tcp->resets, RESET_RATE, core->now_us);
    list_init(&tcp->pending);
    list_init(&tcp->delayed_acks);
    wheel_timer_init(&tcp->delayed_ack_timer, tcp_on_delayed_acks);
    for (unsigned i = 0; i < TCP_LISTENER_BUCKETS; i++)
        list_init(&tcp->listeners[i]);
    tcp_tw_init(tcp);
    net_set_proto(net, TCP_PROTOCOL, tcp_unknown_rx, tcp);
    net_set_error(net, TCP_PROTOCOL, tcp_icmp_error, tcp);
    return tcp;
}

static void abort_one(struct tcp_conn *c, void *ctx)
{
    tcp_abort(c);
}

void tcp_free(struct tcp *tcp)
{
    uint32_t at = 0;

    if (tcp == NULL)
        return;
    while (tcp_each(tcp, &at, UINT32_MAX, abort_one, NULL))
        continue;
    tcp_parked_free_all(tcp);
    tcp_listeners_free(tcp);
    tcp_tw_free_all(tcp);
    wheel_stop(&tcp->core->wheel, &tcp->delayed_ack_timer);
    net_set_proto(tcp->net, TCP_PROTOCOL, NULL, NULL);
    net_set_error(tcp->net, TCP_PROTOCOL, NULL, NULL);
    tcp_recorders_free(tcp->recorders);
    fini_memory(tcp);
    free(tcp);
}

/* ---- numbers nobody can guess */

uint32_t tcp_isn(const struct tcp *tcp, const struct flow_key *key)
{
    return (uint32_t)(tcp->core->now_us / 4) + (uint32_t)hash_sip(&tcp->isn_key, key, sizeof(*key));
}

uint32_t tcp_ts_offset(const struct tcp *tcp, const struct flow_key *key)
{
    const struct ipaddr hosts[2] = { key->remote, key->local };

    return (uint32_t)hash_sip(&tcp->ts_key, hosts, sizeof(hosts));
}

/* ---- one connection */

static uint32_t place_of(const struct tcp_conn *c)
{
    return slab_index(&c->tcp->conns, c);
}

struct tcp_conn *tcp_conn_alloc(struct tcp *tcp)
{
    struct tcp_conn *c = slab_alloc(&tcp->conns);
    uint32_t place;

    if (c == NULL)
        return NULL;
    c->tcp = tcp;
    place = place_of(c);
    tcp->live[place / 64] |= UINT64_C(1) << (place % 64);
    return c;
}

void tcp_conn_dealloc(struct tcp_conn *c)
{
    const uint32_t place = place_of(c);

    c->tcp->live[place / 64] &= ~(UINT64_C(1) << (place % 64));
    slab_free(&c->tcp->conns, c);
}

/* Those that are parked have their places, which they come back to at any time. */
static bool is_full(const struct tcp *tcp)
{
    return tcp->conns.in_use + tcp->parked.in_use >= tcp->conf.max_conns;
}

struct tcp_conn *tcp_conn_new(struct tcp *tcp, const struct flow_key *key,
                              const struct net_dst *dst)
{
    struct tcp_conn *c = is_full(tcp) ? NULL : tcp_conn_alloc(tcp);

    if (c == NULL) {
        tcp->counters.no_conn++;
        return NULL;
    }
    c->flow.key = *key;
    c->flow.ops = &tcp_conn_flow_ops;
    c->state = TCP_CLOSED;
    c->busy = 1;
    c->dst = *dst;
    c->tuning = &tcp->defaults;
    c->recv_buf = c->tuning->recv_buf;
    c->peer_mss = TCP_MSS_DEFAULT;
    c->ts_offset = tcp_ts_offset(tcp, key);
    c->quick_acks = TCP_QUICK_ACKS;
    c->rcv_mss = TCP_MSS_DEFAULT;
    c->opened_us = c->last_rx_us = c->last_tx_us = tcp->core->now_us;
    rtt_init(&c->rtt);
    pktq_init(&c->rxq);
    list_init(&c->pending);
    list_init(&c->delayed_ack);
    tcp_timer_init(c);
    return c;
}

/* What is known of a path ends, and all that it costs is another message of a router. */
static uint32_t wider_at_s(const struct tcp *tcp)
{
    return (uint32_t)((tcp->core->now_us + PMTU_AGE_US) / TCP_SECOND) + 1;
}

void tcp_conn_set_mss(struct tcp_conn *c)
{
    const struct pkt_pool *pool = c->tcp->core->pool;
    uint32_t mss = MIN(c->peer_mss, tcp_our_mss(&c->dst, c->tuning));

    mss = MAX(mss, TCP_MSS_MIN);
    mss -= c->ts_on ? (uint32_t)TCP_OPT_TS_LEN : 0;
    c->mss = (uint16_t)MIN(mss, pool->room - PKT_HEADROOM);
    if (c->wider_at_s == 0 && c->dst.mtu < net_dst_link_mtu(c->tcp->net, &c->dst))
        c->wider_at_s = wider_at_s(c->tcp);
}

void tcp_conn_path_is_narrow(struct tcp_conn *c, uint16_t mtu)
{
    c->dst.mtu = mtu;
    c->wider_at_s = 0;
    net_path_mtu(c->tcp->net, &c->flow.key.remote, mtu);
    tcp_conn_set_mss(c);
}

void tcp_conn_look_for_wider_path(struct tcp_conn *c)
{
    struct tcp *tcp = c->tcp;

    if (tcp->core->now_us / TCP_SECOND < c->wider_at_s)
        return;
    c->wider_at_s = 0;
    /* Another connection may have asked before, and had its answer. */
    c->dst.mtu = net_dst_path_mtu(tcp->net, &c->dst, &c->flow.key.remote);
    tcp_conn_set_mss(c);
}

/* Everything but what waits unread and the memory itself. */
static void dismantle(struct tcp_conn *c)
{
    struct tcp *tcp = c->tcp;

    if (c->state != TCP_TIME_WAIT)
        flow_table_del(net_flows(tcp->net), &c->flow);
    tcp_conn_move(c, TCP_CLOSED);
    wheel_stop(&tcp->core->wheel, &c->timer);
    list_remove(&c->pending);
    list_remove(&c->delayed_ack);
    tcp_flight_put(c);
    tcp_reass_clear(c);
    tcp_recv_buf_set(c, c->tuning->recv_buf);
    net_dst_put(tcp->net, &c->dst);
}

void tcp_conn_end(struct tcp_conn *c, int why)
{
    if (why == -ECONNRESET && seq_gt(c->snd_nxt, c->snd_una))
        tcp_recorder_keep(c, TCP_LOG_RESET);
    dismantle(c);
    c->ended = true;
    c->why = (int16_t)why;
    if (c->released)
        tcp_conn_drop(c);
    else
        tcp_schedule(c);
}

void tcp_conn_unmake(struct tcp_conn *c)
{
    net_dst_put(c->tcp->net, &c->dst);
    c->gone = true;
    tcp_conn_leave(c);
}

void tcp_conn_drop(struct tcp_conn *c)
{
    if (c->state != TCP_CLOSED)
        dismantle(c);
    list_remove(&c->pending);
    pktq_clear(&c->rxq);
    c->gone = true;
    c->events = 0;
    if (c->busy == 0)
        tcp_conn_leave(c);
}

void tcp_conn_leave(struct tcp_conn *c)
{
    struct tcp *tcp = c->tcp;

    if (c->busy > 0)
        c->busy--;
    if (c->busy > 0 || !c->gone)
        return;
    if (c->tuning != &tcp->defaults)
        slab_free(&tcp->tunings, (struct tcp_tuning *)(uintptr_t)c->tuning);
    tcp_recorder_leave(c);
    tcp_estats_put(c);
    tcp_conn_dealloc(c);
}

static void tell(struct tcp_conn *c, enum tcp_event ev, void (*fn)(struct tcp_conn *c))
{
    if ((c->events & ev) == 0)
        return;
    c->events &= (uint8_t)~ev;
    if (fn != NULL)
        fn(c);
}

/*
 * Who finds no room is told when there is some: also if it was not he who took it, but a loss,
 * which makes the window smaller and with it what may be queued. ->room_low was cleared while it
 * was large.
 */
static void owe_room(struct tcp_conn *c)
{
    if (c->room_low || c->fin_queued || tcp_send_room(c) > 0)
        return;
    c->room_low = true;
    c->events &= (uint8_t)~TCP_EV_WRITABLE;
}

/* The owner, and with it ->ops, may change in any of them; dropping clears ->events. */
void tcp_events(struct tcp_conn *c)
{
    if (c->released)
        c->events = 0;
    else
        owe_room(c);
    if (c->events != 0 && !(c->ended && c->why != 0)) {
        struct stages *st = &c->tcp->core->stages;
        const enum stage was = stage_enter(st, STAGE_PROXY);

        tell(c, TCP_EV_OPEN, c->ops->on_open);
        tell(c, TCP_EV_READABLE, c->ops->on_readable);
        tell(c, TCP_EV_PEER_CLOSED, c->ops->on_peer_closed);
        tell(c, TCP_EV_WRITABLE, c->ops->on_writable);
        stage_leave(st, was);
    }
    if (!c->ended || c->gone || (c->why == 0 && !pktq_is_empty(&c->rxq)))
        return;
    c->released = true; /* the owner has nothing to say any more */
    c->ops->on_closed(c, c->why);
    tcp_conn_drop(c);
}

/* ---- what owners call */

/* A port of our choice; and if @local has none left, of the addresses beside it. */
static int pick_port(struct tcp *tcp, const struct ipport *remote, const struct net_dst *dst,
                     bool fixed, struct ipport *local)
{
    const struct ipaddr first = local->addr;

    do {
        if (ephemeral_pick(tcp->net, TCP_PROTOCOL, remote, local) == 0)
            return 0;
    } while (!fixed && net_other_source(tcp->net, dst, &remote->addr, &local->addr) &&
             !ipaddr_eq(&local->addr, &first));
    return -EADDRNOTAVAIL;
}

/* Takes the place of a TIME_WAIT that yields. True: *@min is the end of its sequence numbers. */
static bool take_over(struct tcp *tcp, const struct flow_key *key, uint32_t *min)
{
    struct flow *f = flow_table_find(net_flows(tcp->net), key);

    if (f == NULL || f->ops->yields == NULL || !f->ops->yields(f))
        return false;
    *min = tcp_tw_take(f);
    return true;
}

static struct tcp_conn *open_conn(struct tcp *tcp, const struct ipport *remote, bool fixed,
                                  struct ipport *local, struct net_dst *dst, int *err)
{
    struct flow_key key;
    struct tcp_conn *c;
    uint32_t min;
    bool again;

    if (local->port == 0 && pick_port(tcp, remote, dst, fixed, local) < 0) {
        *err = -EADDRNOTAVAIL;
        return NULL;
    }
    flow_key_init(&key, TCP_PROTOCOL, remote, local);
    *err = -ENOMEM;
    c = tcp_conn_new(tcp, &key, dst);
    if (c == NULL)
        return NULL;
    again = take_over(tcp, &key, &min);
    c->iss = tcp_isn(tcp, &key);
    if (again && seq_le(c->iss, min))
        c->iss = min + TCP_ISS_STEP;
    *err = flow_table_add(net_flows(tcp->net), &c->flow);
    if (*err == 0) {
        tcp_conn_move(c, TCP_SYN_SENT);
        return c;
    }
    *err = *err == -EEXIST ? -EADDRNOTAVAIL : *err;
    tcp_conn_drop(c);
    tcp_conn_leave(c);
    return NULL;
}

struct tcp_conn *tcp_connect(struct tcp *tcp, const struct ipport *remote,
                             const struct ipport *local, const struct tcp_tuning *tuning,
                             const struct tcp_ops *ops, void *owner, int *err)
{
    struct ipport from = { 0 };
    struct tcp_conn *c;
    struct net_dst dst;

    if (local != NULL)
        from = *local;
    *err = net_route(tcp->net, &remote->addr, &from.addr, &dst);
    if (*err < 0)
        return NULL;
    c = open_conn(tcp, remote, local != NULL && local->addr.family != IP_NONE, &from, &dst, err);
    if (c == NULL) {
        net_dst_put(tcp->net, &dst);
        return NULL;
    }
    c->ops = ops;
    c->owner = owner;
    c->active = true;
    c->snd_una = c->iss;
    c->snd_nxt = c->snd_end = c->iss + 1;
    if (tuning != NULL)
        tcp_conn_set_tuning(c, tuning);
    c->rcv_shift = tcp->conf.no_window_scale ? 0 : tcp_window_shift(c->tuning);
    tcp_conn_set_mss(c);
    if (c->tuning->syn_retries == 0)
        c->give_up_at_us = tcp->core->now_us + tcp->conf.syn_timeout_us;
    tcp->counters.active_opens++;
    tcp_send_syn(c);
    tcp_timer_arm(c);
    tcp_conn_leave(c);
    return c;
}

void *tcp_owner(const struct tcp_conn *c)
{
    return c->owner;
}

void tcp_set_owner(struct tcp_conn *c, const struct tcp_ops *ops, void *owner)
{
    c->ops = ops;
    c->owner = owner;
}

const struct tcp_tuning *tcp_defaults(const struct tcp *tcp)
{
    return &tcp->defaults;
}

const struct tcp_tuning *tcp_tuning(const struct tcp_conn *c)
{
    return c->tuning;
}

void tcp_conn_set_tuning(struct tcp_conn *c, const struct tcp_tuning *tuning)
{
    struct tcp *tcp = c->tcp;
    struct tcp_tuning *own = (struct tcp_tuning *)(uintptr_t)c->tuning;

    tcp_recv_buf_set(c, c->tuning->recv_buf); /* what it has grown by goes back */
    if (own == &tcp->defaults)
        own = slab_alloc(&tcp->tunings); /* there is one for every connection */
    *own = *tuning;
    own->recv_buf = MIN(own->recv_buf, TCP_RECV_BUF_MAX);
    own->recv_buf_max = MIN(MAX(own->recv_buf_max, own->recv_buf), TCP_RECV_BUF_MAX);
    own->send_buf_max = MAX(own->send_buf_max, own->send_buf);
    c->tuning = own;
    c->recv_buf = own->recv_buf;
}

void tcp_tune(struct tcp_conn *c, const struct tcp_tuning *tuning)
{
    tcp_conn_set_tuning(c, tuning);
    if (!tcp_conn_is_synchronized(c))
        return;
    tcp_conn_set_mss(c);
    tcp_window_opened(c);
    tcp_schedule(c); /* what was held back may go, and the timers are looked at */
}

void tcp_quick_ack(struct tcp_conn *c, bool on)
{
    c->quick_acks = on ? TCP_QUICK_ACKS : 0;
    c->answering = !on;
    if (!on || c->rcv_nxt == c->last_ack_sent)
        return;
    c->ack_now = true;
    tcp_schedule(c);
}

uint32_t tcp_mss(const struct tcp_conn *c)
{
    return c->mss;
}

static uint32_t queued(const struct tcp_conn *c)
{
    return seq_gt(c->snd_una, c->snd_end) ? 0 : c->snd_end - c->snd_una;
}

static uint32_t unsent_of(const struct tcp_conn *c)
{
    return seq_gt(c->snd_end, c->snd_nxt) ? c->snd_end - c->snd_nxt : 0;
}

uint32_t tcp_send_room(const struct tcp_conn *c)
{
    const uint32_t used = queued(c), limit = tcp_send_buf(c);
    const uint32_t unsent = unsent_of(c), lowat = c->tuning->notsent_lowat;

    if (c->fin_queued || c->state == TCP_CLOSED || used >= limit || unsent >= lowat)
        return 0;
    return MIN(limit - used, lowat - unsent);
}

/*
 * How much of @p moves into the last packet: what fits, as a packet costs more than to copy it; and
 * all that would be held back.
 */
static uint32_t fits_into_last(const struct tcp_conn *c, const struct pkt *p)
{
    const struct pkt *last = c->fl != NULL && c->fl->next != NULL ? c->fl->tail : NULL;
    uint32_t room;

    if (last == NULL || pkt_is_shared(last) || last->pay_len >= c->mss)
        return 0;
    room = (uint32_t)(last->end - (last->head + last->pay_off + last->pay_len));
    room = MIN(room, (uint32_t)c->mss - last->pay_len);
    if (c->tuning->nagle || c->tuning->cork)
        return MIN(room, p->len);
    return p->len <= room ? p->len : 0;
}

static void queue(struct tcp_conn *c, struct pkt *p)
{
    const uint32_t n = fits_into_last(c, p);

    if (n > 0) {
        struct pkt *last = c->fl->tail;

        memcpy(last->head + last->pay_off + last->pay_len, p->data, n);
        last->pay_len += (uint16_t)n;
        c->snd_end += n;
        pkt_pull(p, n);
    }
    if (p->len == 0)
        pkt_free(p);
    else
        tcp_flight_queue(c, p);
}

static void note_queue(struct tcp_conn *c)
{
    const uint32_t unsent = unsent_of(c);
    struct tcp_estats *es = tcp_estats_get(c);

    es->max_app_w_queue = MAX(es->max_app_w_queue, unsent);
}

int tcp_send(struct tcp_conn *c, struct pktq *q)
{
    enum stage was;
    struct pkt *p;

    if (c->fin_queued || c->state == TCP_CLOSED || q->bytes > TCP_QUEUE_MAX - queued(c)) {
        const bool closed = c->fin_queued || c->state == TCP_CLOSED;

        pktq_clear(q);
        return closed ? -EPIPE : -ENOBUFS;
    }
    was = stage_enter(&c->tcp->core->stages, STAGE_TCP);
    tcp_record_bytes(c, TCP_RECORD_WRITE, q->bytes);
    while ((p = pktq_pop(q)) != NULL)
        queue(c, p);
    note_queue(c);
    if (tcp_send_room(c) < tcp_send_limit(c) / 2)
        c->room_low = true;
    tcp_schedule(c);
    stage_leave(&c->tcp->core->stages, was);
    return 0;
}

/* The owner has read. */
static void taken(struct tcp_conn *c, uint64_t n)
{
    tcp_record_bytes(c, TCP_RECORD_READ, n);
    tcp_recv_buf_taken(c, n);
    if (c->state != TCP_CLOSED)
        tcp_window_opened(c);
    else if (pktq_is_empty(&c->rxq))
        tcp_schedule(c); /* on_closed has waited for this */
}

uint64_t tcp_recv(struct tcp_conn *c, struct pktq *to, uint64_t max)
{
    uint64_t moved = 0;

    while (!pktq_is_empty(&c->rxq) && (moved == 0 || moved + c->rxq.head->len <= max)) {
        struct pkt *p = pktq_pop(&c->rxq);

        moved += p->len;
        pktq_push(to, p);
    }
    if (moved > 0)
        taken(c, moved);
    return moved;
}

uint64_t tcp_read(struct tcp_conn *c, void *to, uint64_t max, bool peek)
{
    const uint64_t n = pktq_peek(&c->rxq, to, max);

    if (peek || n == 0)
        return n;
    pktq_consume(&c->rxq, n);
    taken(c, n);
    return n;
}

uint64_t tcp_recv_waiting(const struct tcp_conn *c)
{
    return c->rxq.bytes;
}

bool tcp_recv_eof(const struct tcp_conn *c)
{
    return c->fin_rcvd && pktq_is_empty(&c->rxq);
}

static void finish_sending(struct tcp_conn *c)
{
    switch (c->state) {
    case TCP_ESTABLISHED:
        tcp_conn_move(c, TCP_FIN_WAIT_1);
        break;
    case TCP_CLOSE_WAIT:
        tcp_conn_move(c, TCP_LAST_ACK);
        break;
    case TCP_SYN_SENT:
    case TCP_SYN_RCVD: /* the move follows the handshake */
    case TCP_FIN_WAIT_1:
    case TCP_FIN_WAIT_2:
    case TCP_CLOSING:
    case TCP_LAST_ACK:
    case TCP_TIME_WAIT:
    case TCP_CLOSED:
        break;
    }
}

void tcp_shutdown(struct tcp_conn *c)
{
    if (c->fin_queued || c->state == TCP_CLOSED)
        return;
    c->fin_queued = true;
    c->room_low = false;
    finish_sending(c);
    tcp_schedule(c);
}

void tcp_abort(struct tcp_conn *c)
{
    if (tcp_conn_is_synchronized(c))
        tcp_send_rst(c);
    c->released = true;
    tcp_conn_drop(c);
}

void tcp_release(struct tcp_conn *c, uint64_t linger_us)
{
    const bool open = c->state != TCP_CLOSED && c->state != TCP_SYN_SENT;

    if (!open || linger_us == 0 || !pktq_is_empty(&c->rxq)) {
        tcp_abort(c);
        return;
    }
    c->released = true;
    c->events = 0;
    c->give_up_at_us = c->tcp->core->now_us + MIN(linger_us, UINT64_MAX / 2);
    tcp_shutdown(c);
    tcp_schedule(c);
    tcp_timer_arm(c);
}

/* Linux' numbers of the states. */
static uint8_t state_number(enum tcp_state state)
{
    static const uint8_t numbers[] = {
        [TCP_ESTABLISHED] = 1, [TCP_SYN_SENT] = 2,  [TCP_SYN_RCVD] = 3, [TCP_FIN_WAIT_1] = 4,
        [TCP_FIN_WAIT_2] = 5,  [TCP_TIME_WAIT] = 6, [TCP_CLOSED] = 7,   [TCP_CLOSE_WAIT] = 8,
        [TCP_LAST_ACK] = 9,    [TCP_CLOSING] = 11,
    };

    return numbers[state];
}

/* A FIN of ours that is in flight is no byte. */
static uint64_t bytes_acked(const struct tcp_conn *c, uint64_t bytes_out)
{
    const uint32_t end = seq_gt(c->snd_nxt, c->snd_end) ? c->snd_end : c->snd_nxt;

    return seq_gt(end, c->snd_una) ? bytes_out - (end - c->snd_una) : bytes_out;
}

static void flight_info(const struct tcp_conn *c, struct tcp_conn_info *ret)
{
    const struct tcp_flight *fl = c->fl;

    ret->cwnd = fl->cc.cwnd;
    ret->ssthresh = fl->cc.ssthresh;
    ret->min_rtt_us = fl->min_rtt_us != UINT32_MAX ? fl->min_rtt_us : 0;
    ret->ca_state = fl->state;
    ret->unacked = fl->out.pkts;
    ret->sacked = fl->sacked.pkts;
    ret->lost = fl->lost.pkts;
    ret->resent = fl->resent.pkts;
    ret->reordering = fl->reordering;
    ret->delivered = fl->delivered_pkts;
    ret->pacing_rate = tcp_pacing_rate(c);
    ret->delivery_app_limited = fl->app_limited != 0;
    if (fl->rate_us != 0)
        ret->delivery_rate = fl->rate_bytes * TCP_SECOND / fl->rate_us;
}

void tcp_info(const struct tcp_conn *c, struct tcp_conn_info *ret)
{
    struct tcp_estats es;

    tcp_estats_copy(c, &es);
    *ret = (struct tcp_conn_info){
        .local = tcp_local(c),
        .remote = tcp_remote(c),
        .state = names[c->state],
        .state_number = state_number(c->state),
        .bytes_in = es.bytes_in,
        .bytes_out = es.bytes_out,
        .bytes_acked = tcp_conn_is_synchronized(c) ? bytes_acked(c, es.bytes_out) : 0,
        .path_mtu = c->dst.mtu,
        .rcv_mss = c->rcv_mss,
        .adv_mss = tcp_adv_mss(c->tcp, &c->dst, c->tuning),
        .retransmits = es.segs_retrans,
        .total_resent = es.segs_retrans,
        .dsacks = es.dsacks,
        .cwnd = c->cwnd,
        .ssthresh = c->ssthresh,
        .reordering = TCP_DUP_ACKS,
        .delivered = es.delivered_pkts,
        .srtt_us = c->rtt.srtt_us,
        .min_rtt_us = c->min_rtt_us,
        .rttvar_us = c->rtt.var_us,
        .rto_us = (uint32_t)rtt_backed_off(&c->rtt, c->backoff),
        .retries = c->rtx == RTX_PERSIST ? 0 : c->retries,
        .probes = c->rtx == RTX_PERSIST ? c->retries : c->keepalives,
        .backoff = c->backoff,
        .mss = c->mss,
        .peer_mss = c->peer_mss,
        .snd_wnd = c->snd_wnd,
        .rcv_wnd = c->rcv_adv - c->rcv_nxt,
        .snd_shift = c->snd_shift,
        .rcv_shift = c->rcv_shift,
        .sack_on = c->sack_on,
        .ts_on = c->ts_on,
        .wscale_on = c->wscale_on,
        .ecn_on = c->ecn_on,
        .ecn_seen = c->ecn_seen,
        .send_queue = queued(c),
        .unsent = unsent_of(c),
        .recv_queue = (uint32_t)c->rxq.bytes,
        .opened_us = c->opened_us,
        .last_rx_us = c->last_rx_us,
        .last_tx_us = c->last_tx_us,
    };
    if (c->fl != NULL)
        flight_info(c, ret);
}

struct ipport tcp_local(const struct tcp_conn *c)
{
    return (struct ipport){ c->flow.key.local, c->flow.key.local_port };
}

struct ipport tcp_remote(const struct tcp_conn *c)
{
    return (struct ipport){ c->flow.key.remote, c->flow.key.remote_port };
}

/* After a burst the next connection is in the caches; after timers have fired it need not be. */
static void look_ahead(const struct tcp *tcp)
{
    const char *next = (const char *)container_of(tcp->pending.next, struct tcp_conn, pending);

    if (list_is_empty(&tcp->pending))
        return;
    for (size_t at = 0; at < sizeof(struct tcp_conn); at += CACHE_LINE)
        __builtin_prefetch(next + at);
}

void tcp_flush(struct tcp *tcp)
{
    struct list *l;

    while ((l = list_pop_head(&tcp->pending)) != NULL) {
        struct tcp_conn *c = container_of(l, struct tcp_conn, pending);

        look_ahead(tcp);
        tcp_conn_enter(c);
        if (c->state != TCP_CLOSED)
            tcp_output(c, false);
        tcp_events(c);
        if (c->state != TCP_CLOSED)
            tcp_timer_arm(c);
        tcp_conn_leave(c);
    }
}

bool tcp_port_in_use(const struct tcp *tcp, const struct ipport *local)
{
    const struct list *l;

    list_for_each(l, &tcp->tw_list)
    {
        if (tcp_key_is_at(&container_of(l, struct tcp_tw, link)->flow.key, local))
            return true;
    }
    for (uint32_t place = 0; place < tcp->conns.n_touched; place++) {
        const struct tcp_conn *c = slab_at(&tcp->conns, place);

        if ((tcp->live[place / 64] >> (place % 64) & 1) != 0 && c->state != TCP_CLOSED &&
            tcp_key_is_at(&c->flow.key, local))
            return true;
    }
    return tcp_parked_at(tcp, local);
}

uint32_t tcp_n_conns(const struct tcp *tcp)
{
    return tcp->conns.in_use + tcp->parked.in_use;
}

uint32_t tcp_n_parked(const struct tcp *tcp)
{
    return tcp->parked.in_use;
}

uint32_t tcp_n_time_wait(const struct tcp *tcp)
{
    return tcp->tws.in_use;
}

bool tcp_each(struct tcp *tcp, uint32_t *at, uint32_t n, void (*fn)(struct tcp_conn *c, void *ctx),
              void *ctx)
{
    while (*at < tcp->conns.n_touched) {
        const uint32_t place = (*at)++;

        if ((tcp->live[place / 64] >> (place % 64) & 1) == 0)
            continue;
        fn(slab_at(&tcp->conns, place), ctx);
        if (--n == 0)
            return true;
    }
    return false;
}

const struct tcp_counters *tcp_counters(const struct tcp *tcp)
{
    return &tcp->counters;
}
