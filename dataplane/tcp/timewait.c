#include "dataplane/net/flow_table.h"
#include "dataplane/tcp/tcp_conn.h"

/* The oldest first; all wait equally long, so the list is in order and needs one timer. */
static void set_timer(struct tcp *tcp)
{
    if (list_is_empty(&tcp->tw_list) || wheel_timer_is_running(&tcp->tw_timer))
        return;
    wheel_start(&tcp->core->wheel, &tcp->tw_timer,
                container_of(tcp->tw_list.next, struct tcp_tw, link)->until_us);
}

static void start_waiting(struct tcp_tw *t)
{
    t->until_us = t->tcp->core->now_us + t->tcp->conf.time_wait_us;
    list_remove(&t->link);
    list_push_tail(&t->tcp->tw_list, &t->link);
    set_timer(t->tcp);
}

static void tw_free(struct tcp_tw *t)
{
    struct tcp *tcp = t->tcp;

    list_remove(&t->link);
    flow_table_del(net_flows(tcp->net), &t->flow);
    slab_free(&tcp->tws, t);
}

static void on_timer(struct wheel_timer *timer, uint64_t wheel_now_us)
{
    struct tcp *tcp = container_of(timer, struct tcp, tw_timer);
    const uint64_t now_us = MAX(wheel_now_us, tcp->core->now_us);

    while (!list_is_empty(&tcp->tw_list)) {
        struct tcp_tw *t = container_of(tcp->tw_list.next, struct tcp_tw, link);

        if (t->until_us > now_us)
            break;
        tw_free(t);
    }
    set_timer(tcp);
}

static void send_ack(struct tcp_tw *t)
{
    struct tcp *tcp = t->tcp;
    struct tcp_hdr h = { .seq = t->snd_nxt, .ack = t->rcv_nxt, .flags = TCP_ACK };

    h.opts.has_ts = t->ts_on;
    h.opts.tsval = tcp_ts_now(tcp, t->ts_offset);
    h.opts.tsecr = t->ts_recent;
    tcp_send_ctl(tcp, &t->flow.key, &h);
}

/*
 * RFC 6191, 2: may this SYN begin a new life? With timestamps on both sides, if its clock has moved
 * on; else if its sequence numbers have.
 */
static bool is_new_life(const struct tcp_tw *t, const struct tcp_seg *s)
{
    if ((s->flags & (TCP_SYN | TCP_ACK)) != TCP_SYN)
        return false;
    if (t->ts_on && s->opts.has_ts && s->opts.tsval != t->ts_recent)
        return (int32_t)(s->opts.tsval - t->ts_recent) > 0;
    return seq_gt(s->seq, t->rcv_nxt);
}

static enum drop begin_again(struct tcp_tw *t, const struct tcp_seg *s, struct pkt *p)
{
    struct tcp *tcp = t->tcp;
    const struct flow_key key = t->flow.key;
    const uint32_t snd_nxt = t->snd_nxt;
    enum drop why;

    tcp->counters.time_wait_reused++;
    tw_free(t);
    why = tcp_syn_rcvd(tcp, &key, s, true, snd_nxt);
    if (why == DROP_NONE)
        pkt_free(p);
    return why;
}

static enum drop tw_rx(struct flow *f, struct pkt *p)
{
    struct tcp_tw *t = container_of(f, struct tcp_tw, flow);
    struct tcp *tcp = t->tcp;
    struct tcp_seg s;
    enum drop why = tcp_parse(p, &f->key.remote, &f->key.local, &s);

    if (why != DROP_NONE)
        return why;
    tcp->counters.segs_in++;
    if ((s.flags & TCP_RST) != 0)
        return DROP_TCP_TIME_WAIT; /* RFC 1337: it may be an old one */
    if (is_new_life(t, &s))
        return begin_again(t, &s, p);
    if (t->ts_on && s.opts.has_ts &&
        tcp_ts_is_old(s.opts.tsval, t->ts_recent, t->ts_recent_us, tcp->core->now_us)) {
        tcp->counters.paws_dropped++;
        if (tcp_challenge_pass(tcp))
            send_ack(t);
        return DROP_TCP_PAWS;
    }
    /* The peer has not seen our last ACK: the only thing it can repeat is its FIN. */
    if ((s.flags & TCP_FIN) != 0 && s.seq + s.len + 1 == t->rcv_nxt) {
        send_ack(t);
        start_waiting(t);
        return DROP_TCP_TIME_WAIT;
    }
    /* Anything but the ACK that belongs here is answered, within limits (RFC 5961, 4.2). */
    if ((s.seq != t->rcv_nxt || s.len > 0 || (s.flags & (TCP_SYN | TCP_FIN)) != 0) &&
        tcp_challenge_pass(tcp))
        send_ack(t);
    return DROP_TCP_TIME_WAIT;
}

/*
 * As for a SYN that comes (RFC 6191): with timestamps, whose clock has moved on, nothing of the old
 * life can be taken for the new one. A second is what Linux waits, too.
 */
static bool tw_yields(const struct flow *f)
{
    const struct tcp_tw *t = container_of(f, struct tcp_tw, flow);

    return t->ts_on && t->tcp->core->now_us - t->ts_recent_us > TCP_SECOND;
}

static const struct flow_ops tw_flow_ops = { .rx = tw_rx, .yields = tw_yields };

uint32_t tcp_tw_take(struct flow *f)
{
    struct tcp_tw *t = container_of(f, struct tcp_tw, flow);
    const uint32_t snd_nxt = t->snd_nxt;

    t->tcp->counters.time_wait_reused++;
    tw_free(t);
    return snd_nxt;
}

void tcp_tw_init(struct tcp *tcp)
{
    list_init(&tcp->tw_list);
    wheel_timer_init(&tcp->tw_timer, on_timer);
}

bool tcp_tw_enter(struct tcp_conn *c)
{
    struct tcp *tcp = c->tcp;
    struct tcp_tw *t;

    if (tcp->tws.in_use == tcp->conf.max_time_wait)
        tw_free(container_of(tcp->tw_list.next, struct tcp_tw, link));
    t = slab_alloc(&tcp->tws);
    if (t == NULL)
        return false;
    t->flow.key = c->flow.key;
    t->flow.ops = &tw_flow_ops;
    t->tcp = tcp;
    t->snd_nxt = c->snd_nxt;
    t->rcv_nxt = c->rcv_nxt;
    t->ts_on = c->ts_on;
    t->ts_recent = c->ts_recent;
    t->ts_recent_us = c->ts_recent_us;
    t->ts_offset = c->ts_offset;
    list_init(&t->link);
    flow_table_replace(net_flows(tcp->net), &c->flow, &t->flow);
    start_waiting(t);
    return true;
}

void tcp_tw_free_all(struct tcp *tcp)
{
    while (!list_is_empty(&tcp->tw_list))
        tw_free(container_of(tcp->tw_list.next, struct tcp_tw, link));
    wheel_stop(&tcp->core->wheel, &tcp->tw_timer);
}
