#include "dataplane/tcp/tcp_conn.h"

/*
 * Each packet of a train as if it had come alone, but for the ACK in it, which was the same, and
 * the one that is owed for all of them.
 */
static void deliver_all(struct tcp_conn *c, struct tcp_seg *s, struct pkt *p)
{
    uint32_t longest = p->len;

    s->len = longest;
    tcp_recv_buf_segment(c, s);
    while (unlikely(p->n_more > 0)) {
        struct pkt *rest = pkt_uncouple(p);

        tcp_deliver(c, p);
        p = rest;
        if (c->snd_wl2 == s->ack)
            c->snd_wl1 = seq_max(c->snd_wl1, c->rcv_nxt);
        s->seq = c->rcv_nxt;
        s->len = p->len;
        longest = MAX(longest, s->len);
        tcp_note_segment(c, s);
    }
    tcp_deliver(c, p);
    tcp_ack_owed(c, longest);
}

/*
 * Header prediction (Van Jacobson): nearly every segment of an open connection is either the next
 * data in order or an ACK of what we sent. What is checked here is exactly what lets
 * tcp_segment() reach the same result without a detour; anything else goes there.
 */
bool tcp_fast(struct tcp_conn *c, struct tcp_seg *s, struct pkt *p)
{
    const uint32_t len = pkt_total_len(p);

    if (c->state != TCP_ESTABLISHED || (s->flags & ~TCP_PSH) != TCP_ACK || s->seq != c->rcv_nxt ||
        c->holes != NULL || c->fin_seen || c->released || c->ts_on != s->opts.has_ts)
        return false;
    if (seq_lt(s->ack, c->snd_una) || seq_gt(s->ack, c->snd_nxt) || s->ce)
        return false;
    if (c->ts_on && (int32_t)(s->opts.tsval - c->ts_recent) < 0)
        return false;
    if (len > c->rcv_adv - c->rcv_nxt)
        return false;
    if (len > 0 && c->tcp->core->pool->low)
        return false; /* the long way refuses the bytes */
    if (unlikely(p->n_more > 0))
        tcp_note_segment(c, s); /* the first; a packet alone has been counted before */
    if (c->ts_on && seq_le(s->seq, c->last_ack_sent)) {
        c->ts_recent = s->opts.tsval;
        c->ts_recent_us = c->tcp->core->now_us;
    }
    c->last_rx_us = c->tcp->core->now_us;
    c->keepalives = 0;
    tcp_ack_rcvd(c, s);
    if (len == 0) {
        pkt_free(p);
        return true;
    }
    deliver_all(c, s, p);
    c->events |= TCP_EV_READABLE;
    return true;
}
