#include "dataplane/net/flow_table.h"
#include "dataplane/tcp/tcp_conn.h"

#include <stdlib.h>

#define TRIES_SHIFT_MAX 6 /* a minute between two SYN-ACKs */
#define ISS_STEP 0x10000  /* beyond the last life's numbers (RFC 6191) */

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

/* The one for this address, or else the one for any. */
static struct tcp_listener *find_listener(struct tcp *tcp, const struct flow_key *key)
{
    const struct ipport one = { key->local, key->local_port }, any = { .port = key->local_port };
    struct tcp_listener *l = find_exact(tcp, &one);

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

static void send_syn_ack(struct tcp_half *h)
{
    struct tcp *tcp = h->listener->tcp;
    const struct tcp_tuning *tuning = &h->listener->tuning;
    const struct flow_key *key = &h->flow.key;
    struct tcp_hdr hdr = {
        .seq = h->iss, .ack = h->irs + 1, .flags = TCP_SYN | TCP_ACK, .wnd = tcp_syn_window(tuning)
    };
    struct ipaddr local = key->local;
    struct net_dst dst;

    if (net_route(tcp->net, &key->remote, &local, &dst) < 0)
        return;
    hdr.opts.mss = tcp_our_mss(&dst, tuning);
    net_dst_put(tcp->net, &dst);
    hdr.opts.has_wscale = h->wscale_on;
    hdr.opts.wscale = h->rcv_shift;
    hdr.opts.has_ts = h->ts_on;
    hdr.opts.sack_ok = h->sack_on;
    hdr.flags |= h->ecn_on ? TCP_ECE : 0;
    hdr.opts.tsval = tcp_ts_now(tcp, tcp_ts_offset(tcp, key));
    hdr.opts.tsecr = h->ts_recent;
    tcp_send_ctl(tcp, key, &hdr);
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
    send_syn_ack(h);
    arm(h);
}

static void challenge(struct tcp_half *h)
{
    struct tcp *tcp = h->listener->tcp;
    struct tcp_hdr hdr = { .seq = h->iss + 1, .ack = h->irs + 1, .flags = TCP_ACK };

    if (!tcp_challenge_pass(tcp))
        return;
    hdr.wnd = (uint16_t)(tcp_syn_window(&h->listener->tuning) >> h->rcv_shift);
    hdr.opts.has_ts = h->ts_on;
    hdr.opts.tsval = tcp_ts_now(tcp, tcp_ts_offset(tcp, &h->flow.key));
    hdr.opts.tsecr = h->ts_recent;
    tcp_send_ctl(tcp, &h->flow.key, &hdr);
}

/* A whole connection in place of @h, in SYN_RCVD and busy. NULL: no memory. */
static struct tcp_conn *grow_up(struct tcp_half *h)
{
    struct tcp *tcp = h->listener->tcp;
    const struct tcp_tuning *tuning = &h->listener->tuning;
    const struct flow_key *key = &h->flow.key;
    struct ipaddr local = key->local;
    struct tcp_conn *c;
    struct net_dst dst;

    if (net_route(tcp->net, &key->remote, &local, &dst) < 0)
        return NULL;
    c = tcp_conn_new(tcp, key, &dst);
    if (c == NULL) {
        net_dst_put(tcp->net, &dst);
        return NULL;
    }
    flow_table_replace(net_flows(tcp->net), &h->flow, &c->flow);
    tcp_conn_move(c, TCP_SYN_RCVD);
    c->iss = c->snd_una = h->iss;
    c->snd_nxt = c->snd_end = h->iss + 1;
    c->snd_small = h->iss;
    if (memcmp(tuning, &tcp->defaults, sizeof(*tuning)) != 0)
        tcp_conn_set_tuning(c, tuning);
    c->irs = h->irs;
    c->rcv_nxt = c->last_ack_sent = h->irs + 1;
    c->rcv_adv = c->rcv_nxt + tcp_syn_window(tuning);
    c->peer_mss = h->peer_mss;
    c->ts_on = h->ts_on;
    c->sack_on = h->sack_on;
    c->ecn_on = h->ecn_on;
    c->wscale_on = h->wscale_on;
    c->ts_recent = h->ts_recent;
    c->ts_recent_us = tcp->core->now_us;
    c->snd_shift = h->snd_shift;
    c->rcv_shift = h->rcv_shift;
    c->snd_wnd = c->snd_wnd_max = h->snd_wnd;
    c->snd_wl1 = h->irs;
    c->snd_wl2 = h->iss;
    c->syn_lost = h->tries > 1;
    if (!c->syn_lost)
        rtt_sample(&c->rtt, tcp->core->now_us - h->since_us, tcp->conf.rto_min_us);
    tcp_conn_set_mss(c);

    list_remove(&h->link);
    wheel_stop(&tcp->core->wheel, &h->timer);
    slab_free(&tcp->halves, h);
    return c;
}

/* The handshake's last ACK: the connection begins, and @s may bring its first bytes. */
static enum drop accept_conn(struct tcp_half *h, struct tcp_seg *s, struct pkt *p)
{
    struct tcp_listener *l = h->listener;
    struct tcp *tcp = l->tcp;
    struct tcp_conn *c = grow_up(h);
    const struct tcp_ops *ops;
    void *owner = NULL;
    enum drop why = DROP_TCP_CLOSED;

    if (c == NULL) {
        tcp_refuse(tcp, &h->flow.key, s);
        half_free(h);
        return DROP_TCP_NO_MEMORY;
    }
    tcp->counters.passive_opens++;
    ops = l->accept(l->ctx, c, &owner);
    if (ops == NULL && !c->gone) {
        tcp_abort(c);
    } else if (!c->gone) {
        tcp_set_owner(c, ops, owner);
        why = tcp_segment(c, s, p);
        c->events &= (uint8_t)~TCP_EV_OPEN; /* that was the accept */
        tcp_events(c);
        if (c->state != TCP_CLOSED)
            tcp_timer_arm(c);
    }
    tcp_conn_leave(c);
    return why;
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
    if ((s.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && s.seq == h->irs) { /* ours was lost */
        send_syn_ack(h);
        pkt_free(p);
        return DROP_NONE;
    }
    if (h->ts_on && (s.flags & TCP_RST) == 0 &&
        (!s.opts.has_ts || (int32_t)(s.opts.tsval - h->ts_recent) < 0)) {
        tcp->counters.paws_dropped++;
        return DROP_TCP_PAWS;
    }
    if (s.seq - (h->irs + 1) >= MAX(tcp_syn_window(&h->listener->tuning), 1)) {
        if ((s.flags & TCP_RST) == 0)
            challenge(h);
        return DROP_TCP_WINDOW;
    }
    if ((s.flags & TCP_RST) != 0) {
        if (s.seq != h->irs + 1) {
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
    if (s.ack != h->iss + 1) {
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

static enum drop open_half(struct tcp_listener *l, const struct flow_key *key,
                           const struct tcp_seg *s, bool has_min, uint32_t min_iss)
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
    h->irs = s->seq;
    h->iss = tcp_isn(tcp, key);
    if (has_min && seq_le(h->iss, min_iss))
        h->iss = min_iss + ISS_STEP;
    h->snd_wnd = s->wnd;
    h->peer_mss = s->opts.mss != 0 ? s->opts.mss : (uint16_t)TCP_MSS_DEFAULT;
    h->wscale_on = s->opts.has_wscale && !tcp->conf.no_window_scale;
    h->rcv_shift = h->wscale_on ? tcp_window_shift(&l->tuning) : 0;
    h->snd_shift = h->wscale_on ? s->opts.wscale : 0;
    h->ts_on = s->opts.has_ts && !tcp->conf.no_timestamps;
    h->sack_on = s->opts.sack_ok && !tcp->conf.no_sack;
    h->ecn_on = (s->flags & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR);
    h->ts_recent = s->opts.tsval;
    h->tries = 1;
    list_push_tail(&l->halves, &h->link);
    wheel_timer_init(&h->timer, on_timer);
    send_syn_ack(h);
    arm(h);
    return DROP_NONE;
}

enum drop tcp_syn_rcvd(struct tcp *tcp, const struct flow_key *key, const struct tcp_seg *s,
                       bool has_min, uint32_t min_iss)
{
    struct tcp_listener *l = find_listener(tcp, key);

    if (l == NULL) {
        tcp_refuse(tcp, key, s);
        return DROP_TCP_NO_CONN;
    }
    if (l->full) {
        tcp->counters.accept_held++;
        return DROP_TCP_ACCEPT_FULL;
    }
    return open_half(l, key, s, has_min, min_iss);
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
    if ((s.flags & TCP_ACK) != 0) {
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
