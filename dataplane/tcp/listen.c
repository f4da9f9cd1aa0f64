#include "dataplane/net/flow_table.h"
#include "dataplane/tcp/tcp_conn.h"

#include <stdlib.h>

#define TRIES_SHIFT_MAX 6 /* a minute between two SYN-ACKs */

/* ---- listeners */

static struct list *bucket_of(struct tcp *tcp, uint16_t port)
{
    return &tcp->listeners[port % TCP_LISTENER_BUCKETS];
}

static struct tcp_listener *find_exact(struct tcp *tcp, const struct ipport *local)
{
    struct list *l;

    list_for_each(l, bucket_of(tcp, local->port))
    {
        struct tcp_listener *at = container_of(l, struct tcp_listener, link);

        if (ipport_eq(&at->local, local))
            return at;
    }
    return NULL;
}

/* The one for this address, or else the one for any of its family, or for any at all. */
static struct tcp_listener *find_listener(struct tcp *tcp, const struct flow_key *key)
{
    const struct ipport one = { key->local, key->local_port }, any = { .port = key->local_port },
                        of_family = { { .family = key->local.family }, key->local_port };
    struct tcp_listener *l = find_exact(tcp, &one);

    if (l == NULL)
        l = find_exact(tcp, &of_family);
    return l != NULL ? l : find_exact(tcp, &any);
}

struct tcp_listener *tcp_listen(struct tcp *tcp, const struct ipport *local, tcp_accept_fn accept,
                                void *ctx)
{
    struct tcp_listener *l;

    if (find_exact(tcp, local) != NULL)
        return NULL;
    l = calloc(1, sizeof(*l));
    if (l == NULL)
        return NULL;
    l->tcp = tcp;
    l->local = *local;
    l->tuning = tcp->defaults;
    l->accept = accept;
    l->ctx = ctx;
    list_init(&l->halves);
    list_push_tail(bucket_of(tcp, local->port), &l->link);
    return l;
}

void tcp_listener_tune(struct tcp_listener *l, const struct tcp_tuning *tuning)
{
    l->tuning = *tuning;
    l->tuning.recv_buf = MIN(tuning->recv_buf, TCP_RECV_BUF_MAX);
    l->tuning.recv_buf_max = MIN(MAX(tuning->recv_buf_max, l->tuning.recv_buf), TCP_RECV_BUF_MAX);
}

void tcp_listener_hold(struct tcp_listener *l, bool full)
{
    l->full = full;
}

static void half_free(struct tcp_half *h)
{
    struct tcp *tcp = h->listener->tcp;

    list_remove(&h->link);
    wheel_stop(&tcp->core->wheel, &h->timer);
    flow_table_del(net_flows(tcp->net), &h->flow);
    slab_free(&tcp->halves, h);
}

void tcp_unlisten(struct tcp_listener *l)
{
    while (!list_is_empty(&l->halves))
        half_free(container_of(l->halves.next, struct tcp_half, link));
    list_remove(&l->link);
    free(l);
}

void tcp_listeners_free(struct tcp *tcp)
{
    for (unsigned i = 0; i < TCP_LISTENER_BUCKETS; i++)
        while (!list_is_empty(&tcp->listeners[i]))
            tcp_unlisten(container_of(tcp->listeners[i].next, struct tcp_listener, link));
}

/* ---- half-open connections */

static void send_syn_ack(const struct tcp_listener *l, const struct flow_key *key,
                         const struct tcp_offer *o, uint32_t tsval)
{
    struct tcp *tcp = l->tcp;
    struct tcp_hdr hdr = { .seq = o->iss,
                           .ack = o->irs + 1,
                           .flags = TCP_SYN | TCP_ACK,
                           .wnd = tcp_syn_window(&l->tuning) };
    struct net_dst dst;

    if (net_route_flow(tcp->net, key, &dst) < 0)
        return;
    hdr.opts.mss = tcp_adv_mss(tcp, &dst, &l->tuning);
    net_dst_put(tcp->net, &dst);
    hdr.flags |= o->ecn_on ? TCP_ECE : 0;
    hdr.opts.has_wscale = o->wscale_on;
    hdr.opts.wscale = o->rcv_shift;
    hdr.opts.sack_ok = o->sack_on;
    hdr.opts.has_ts = o->ts_on;
    hdr.opts.tsval = tsval;
    hdr.opts.tsecr = o->ts_recent;
    tcp_send_ctl(tcp, key, &hdr);
}

static void answer(struct tcp_half *h)
{
    const struct tcp *tcp = h->listener->tcp;

    h->segs_out++;
    send_syn_ack(h->listener, &h->flow.key, &h->offer,
                 tcp_ts_now(tcp, tcp_ts_offset(tcp, &h->flow.key)));
}

static void arm(struct tcp_half *h)
{
    struct tcp *tcp = h->listener->tcp;
    const uint64_t at =
        tcp->core->now_us + (RTT_INITIAL_RTO_US << MIN(h->tries - 1, TRIES_SHIFT_MAX));

    wheel_start(&tcp->core->wheel, &h->timer, MIN(at, h->since_us + tcp->conf.syn_timeout_us));
}

static void on_timer(struct wheel_timer *t, uint64_t now_us)
{
    struct tcp_half *h = container_of(t, struct tcp_half, timer);
    struct tcp *tcp = h->listener->tcp;

    if (MAX(now_us, tcp->core->now_us) >= h->since_us + tcp->conf.syn_timeout_us) {
        tcp->counters.half_open_timeouts++;
        half_free(h);
        return;
    }
    tcp->counters.retrans_segs++;
    h->tries++;
    answer(h);
    arm(h);
}

static void challenge(struct tcp_half *h)
{
    struct tcp *tcp = h->listener->tcp;
    const struct tcp_offer *o = &h->offer;
    struct tcp_hdr hdr = { .seq = o->iss + 1, .ack = o->irs + 1, .flags = TCP_ACK };

    if (!tcp_challenge_pass(tcp))
        return;
    hdr.wnd = (uint16_t)(tcp_syn_window(&h->listener->tuning) >> o->rcv_shift);
    hdr.opts.has_ts = o->ts_on;
    hdr.opts.tsval = tcp_ts_now(tcp, tcp_ts_offset(tcp, &h->flow.key));
    hdr.opts.tsecr = o->ts_recent;
    h->segs_out++;
    tcp_send_ctl(tcp, &h->flow.key, &hdr);
}

/* A connection in SYN_RCVD, and busy, but not in the flow table. NULL: no memory. */
static struct tcp_conn *make_conn(struct tcp_listener *l, const struct flow_key *key,
                                  const struct tcp_offer *o)
{
    struct tcp *tcp = l->tcp;
    struct tcp_conn *c;
    struct net_dst dst;

    if (net_route_flow(tcp->net, key, &dst) < 0)
        return NULL;
    c = tcp_conn_new(tcp, key, &dst);
    if (c == NULL) {
        net_dst_put(tcp->net, &dst);
        return NULL;
    }
    tcp_conn_move(c, TCP_SYN_RCVD);
    c->iss = c->snd_una = o->iss;
    c->snd_nxt = c->snd_end = o->iss + 1;
    if (memcmp(&l->tuning, &tcp->defaults, sizeof(l->tuning)) != 0)
        tcp_conn_set_tuning(c, &l->tuning);
    c->irs = o->irs;
    c->rcv_nxt = c->last_ack_sent = o->irs + 1;
    c->rcv_adv = c->rcv_nxt + tcp_syn_window(&l->tuning);
    c->peer_mss = o->peer_mss;
    c->ts_on = o->ts_on;
    c->sack_on = o->sack_on;
    c->ecn_on = o->ecn_on;
    c->wscale_on = o->wscale_on;
    c->ts_recent = o->ts_recent;
    c->ts_recent_us = tcp->core->now_us;
    c->snd_shift = o->snd_shift;
    c->rcv_shift = o->rcv_shift;
    c->snd_wnd = c->snd_wnd_max = o->snd_wnd;
    c->snd_wl1 = o->irs;
    c->snd_wl2 = o->iss;
    tcp_conn_set_mss(c);
    return c;
}

/* How far away the peer is: an echo tells it also after a SYN-ACK was lost. False: unknown. */
static bool measure(struct tcp_conn *c, const struct tcp_seg *s, uint64_t since_us, bool lost)
{
    struct tcp *tcp = c->tcp;
    uint64_t rtt_us = tcp->core->now_us - since_us;

    if (lost) {
        if (!c->ts_on || !s->opts.has_ts)
            return false;
        rtt_us = (uint64_t)(tcp_ts_now(tcp, c->ts_offset) - s->opts.tsecr) * 1000;
    }
    rtt_sample(&c->rtt, rtt_us, tcp->conf.rto_min_us);
    return true;
}

/* What there was before the ACK that makes it a connection. */
static void note_handshake(struct tcp_conn *c, unsigned in, unsigned out, unsigned resent)
{
    c->early_in = MIN(in, (unsigned)TCP_EARLY_MAX);
    c->early_out = MIN(out, (unsigned)TCP_EARLY_MAX);
    c->early_resent = MIN(resent, (unsigned)UINT8_MAX);
}

/* A whole connection in place of @h. NULL: no memory. */
static struct tcp_conn *grow_up(struct tcp_half *h, const struct tcp_seg *s)
{
    struct tcp *tcp = h->listener->tcp;
    struct tcp_conn *c = make_conn(h->listener, &h->flow.key, &h->offer);

    if (c == NULL)
        return NULL;
    flow_table_replace(net_flows(tcp->net), &h->flow, &c->flow);
    c->syn_lost = h->tries > 1;
    c->rtt_known = measure(c, s, h->since_us, c->syn_lost);
    note_handshake(c, h->segs_in - 1u, h->segs_out, h->tries - 1u);
    list_remove(&h->link);
    wheel_stop(&tcp->core->wheel, &h->timer);
    slab_free(&tcp->halves, h);
    return c;
}

/* Hands @c to its owner, and @s to it. */
static enum drop begin(struct tcp_listener *l, struct tcp_conn *c, struct tcp_seg *s, struct pkt *p)
{
    const struct tcp_ops *ops;
    void *owner = NULL;
    enum drop why = DROP_TCP_CLOSED;

    l->tcp->counters.passive_opens++;
    ops = l->accept(l->ctx, c, &owner);
    if (ops == NULL && !c->gone) {
        tcp_abort(c);
    } else if (!c->gone) {
        tcp_set_owner(c, ops, owner);
        tcp_note_segment(c, s);
        why = tcp_segment(c, s, p);
        c->events &= (uint8_t)~TCP_EV_OPEN; /* that was the accept */
        tcp_events(c);
        if (c->state != TCP_CLOSED)
            tcp_timer_arm(c);
    }
    tcp_conn_leave(c);
    return why;
}

/* The handshake's last ACK: the connection begins, and @s may bring its first bytes. */
static enum drop accept_conn(struct tcp_half *h, struct tcp_seg *s, struct pkt *p)
{
    struct tcp_listener *l = h->listener;
    struct tcp_conn *c = grow_up(h, s);

    if (c == NULL) {
        tcp_refuse(l->tcp, &h->flow.key, s);
        half_free(h);
        return DROP_TCP_NO_MEMORY;
    }
    return begin(l, c, s, p);
}

/* The same without a struct tcp_half: everything was in the cookie. */
static enum drop accept_cookie(struct tcp_listener *l, const struct flow_key *key,
                               struct tcp_offer *o, struct tcp_seg *s, struct pkt *p)
{
    struct tcp *tcp = l->tcp;
    struct tcp_conn *c;

    o->rcv_shift = o->wscale_on ? tcp_window_shift(&l->tuning) : 0;
    c = make_conn(l, key, o);
    if (c == NULL)
        return DROP_TCP_NO_MEMORY;
    if (flow_table_add(net_flows(tcp->net), &c->flow) < 0) {
        tcp->counters.no_conn++;
        tcp_conn_unmake(c);
        return DROP_TCP_NO_MEMORY;
    }
    c->rtt_known = measure(c, s, 0, true);
    note_handshake(c, 1, 1, 0); /* nobody remembers more of it */
    return begin(l, c, s, p);
}

/* RFC 9293, 3.10.7.4, as far as it is about SYN-RECEIVED. */
static enum drop half_rx(struct flow *f, struct pkt *p)
{
    struct tcp_half *h = container_of(f, struct tcp_half, flow);
    struct tcp *tcp = h->listener->tcp;
    struct tcp_seg s;
    enum drop why = tcp_parse(p, &f->key.remote, &f->key.local, &s);

    if (why != DROP_NONE)
        return why;
    tcp->counters.segs_in++;
    h->segs_in++;
    if ((s.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && s.seq == h->offer.irs) { /* ours was lost */
        answer(h);
        pkt_free(p);
        return DROP_NONE;
    }
    if (h->offer.ts_on && (s.flags & TCP_RST) == 0 &&
        (!s.opts.has_ts || (int32_t)(s.opts.tsval - h->offer.ts_recent) < 0)) {
        tcp->counters.paws_dropped++;
        return DROP_TCP_PAWS;
    }
    if (s.seq - (h->offer.irs + 1) >= MAX(tcp_syn_window(&h->listener->tuning), 1)) {
        if ((s.flags & TCP_RST) == 0)
            challenge(h);
        return DROP_TCP_WINDOW;
    }
    if ((s.flags & TCP_RST) != 0) {
        if (s.seq != h->offer.irs + 1) {
            challenge(h);
            return DROP_TCP_RST;
        }
        tcp->counters.resets_in++;
        half_free(h);
        pkt_free(p);
        return DROP_NONE;
    }
    if ((s.flags & TCP_SYN) != 0) {
        challenge(h);
        return DROP_TCP_SYN;
    }
    if ((s.flags & TCP_ACK) == 0)
        return DROP_TCP_ACK;
    if (s.ack != h->offer.iss + 1) {
        tcp_refuse(tcp, &f->key, &s);
        return DROP_TCP_ACK;
    }
    if (h->listener->full) {
        tcp->counters.accept_held++;
        return DROP_TCP_ACCEPT_FULL;
    }
    return accept_conn(h, &s, p);
}

static const struct flow_ops half_flow_ops = { half_rx };

static struct tcp_offer offer_of(const struct tcp_listener *l, const struct flow_key *key,
                                 const struct tcp_seg *s)
{
    const struct tcp_conf *conf = &l->tcp->conf;
    struct tcp_offer o = {
        .iss = tcp_isn(l->tcp, key),
        .irs = s->seq,
        .ts_recent = s->opts.has_ts ? s->opts.tsval : 0,
        .snd_wnd = s->wnd,
        .peer_mss = s->opts.mss != 0 ? s->opts.mss : (uint16_t)TCP_MSS_DEFAULT,
        .wscale_on = s->opts.has_wscale && !conf->no_window_scale,
        .ts_on = s->opts.has_ts && !conf->no_timestamps,
        .sack_on = s->opts.sack_ok && !conf->no_sack,
        .ecn_on = (s->flags & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR),
    };

    o.snd_shift = o.wscale_on ? s->opts.wscale : 0;
    o.rcv_shift = o.wscale_on ? tcp_window_shift(&l->tuning) : 0;
    return o;
}

/* Three quarters are in use: SYNs come faster than ACKs do. */
static bool is_flooded(const struct tcp *tcp)
{
    return tcp->halves.in_use >= tcp->conf.max_half_open - tcp->conf.max_half_open / 4;
}

static enum drop open_half(struct tcp_listener *l, const struct flow_key *key,
                           const struct tcp_offer *offer)
{
    struct tcp *tcp = l->tcp;
    struct tcp_half *h = slab_alloc(&tcp->halves);

    if (h == NULL) {
        tcp->counters.half_open_dropped++;
        return DROP_TCP_HALF_OPEN_FULL;
    }
    h->flow.key = *key;
    h->flow.ops = &half_flow_ops;
    if (flow_table_add(net_flows(tcp->net), &h->flow) < 0) {
        slab_free(&tcp->halves, h);
        tcp->counters.no_conn++;
        return DROP_TCP_NO_MEMORY;
    }
    h->listener = l;
    h->since_us = tcp->core->now_us;
    h->offer = *offer;
    h->tries = 1;
    h->segs_in = 1;
    list_push_tail(&l->halves, &h->link);
    wheel_timer_init(&h->timer, on_timer);
    answer(h);
    arm(h);
    return DROP_NONE;
}

enum drop tcp_syn_rcvd(struct tcp *tcp, const struct flow_key *key, const struct tcp_seg *s,
                       bool has_min, uint32_t min_iss)
{
    struct tcp_listener *l = find_listener(tcp, key);
    struct tcp_offer offer;
    uint32_t tsval;

    if (l == NULL) {
        tcp_refuse(tcp, key, s);
        return DROP_TCP_NO_CONN;
    }
    if (l->full) {
        tcp->counters.accept_held++;
        return DROP_TCP_ACCEPT_FULL;
    }
    offer = offer_of(l, key, s);
    if (has_min && seq_le(offer.iss, min_iss))
        offer.iss = min_iss + TCP_ISS_STEP;
    if (!is_flooded(tcp) || tcp->conf.no_cookies)
        return open_half(l, key, &offer);
    tsval = tcp_cookie_bake(tcp, key, &offer);
    send_syn_ack(l, key, &offer, tsval);
    return DROP_NONE;
}

/* An ACK of no connection: to a cookie, maybe. */
static enum drop ack_of_nobody(struct tcp *tcp, const struct flow_key *key, struct tcp_seg *s,
                               struct pkt *p)
{
    struct tcp_listener *l = find_listener(tcp, key);
    struct tcp_offer offer;

    if (l != NULL && (s->flags & TCP_SYN) == 0 && tcp_cookie_read(tcp, key, s, &offer)) {
        if (!l->full)
            return accept_cookie(l, key, &offer, s, p);
        tcp->counters.accept_held++;
        return DROP_TCP_ACCEPT_FULL;
    }
    tcp_refuse(tcp, key, s);
    return DROP_TCP_NO_CONN;
}

/* Nobody has this flow: RFC 9293, 3.10.7.1 (CLOSED) and 3.10.7.2 (LISTEN). */
enum drop tcp_unknown_rx(void *ctx, struct pkt *p, const struct ipaddr *src,
                         const struct ipaddr *dst)
{
    struct tcp *tcp = ctx;
    struct ipport remote = { .addr = *src }, local = { .addr = *dst };
    struct flow_key key;
    struct tcp_seg s;
    const uint8_t *at = p->data;
    enum drop why = tcp_parse(p, src, dst, &s);

    if (why != DROP_NONE)
        return why;
    tcp->counters.segs_in++;
    remote.port = (uint16_t)(at[0] << 8 | at[1]);
    local.port = (uint16_t)(at[2] << 8 | at[3]);
    flow_key_init(&key, TCP_PROTOCOL, &remote, &local);
    if ((s.flags & TCP_RST) != 0)
        return DROP_TCP_NO_CONN;
    if ((s.flags & TCP_ACK) != 0)
        return ack_of_nobody(tcp, &key, &s, p);
    if ((s.flags & TCP_SYN) == 0 && find_listener(tcp, &key) == NULL) {
        tcp_refuse(tcp, &key, &s);
        return DROP_TCP_NO_CONN;
    }
    if ((s.flags & TCP_SYN) == 0 || remote.port == 0)
        return DROP_TCP_FLAGS;
    why = tcp_syn_rcvd(tcp, &key, &s, false, 0);
    if (why == DROP_NONE)
        pkt_free(p);
    return why;
}
