#include "dataplane/tcp/tcp_conn.h"

/* What has arrived is not needed any more; the port may still hold it. */
static void release_acked(struct tcp_conn *c, uint32_t ack)
{
    struct pkt *p;

    while ((p = c->tx_head) != NULL && seq_le(p->seq + p->pay_len, ack)) {
        if (c->tx_next == p)
            c->tx_next = p->next;
        c->tx_head = p->next;
        pkt_free(p);
    }
    if (p == NULL) {
        c->tx_tail = NULL;
    } else if (seq_lt(p->seq, ack)) {
        const uint16_t part = (uint16_t)(ack - p->seq);

        p->seq += part;
        p->pay_off += part;
        p->pay_len -= part;
    }
}

/*
 * Karn's algorithm: only what was sent once says how far away the peer is, and until something
 * does, the timeout stays backed off. After a retransmission an echoed timestamp will do (RFC 7323,
 * 4), if it is that of the last one or a later: when a segment arrived and its ACK was lost, the
 * ACK of the second copy echoes the first, and the time between them is not a round trip.
 */
static void measure(struct tcp_conn *c, const struct tcp_seg *s)
{
    const struct tcp *tcp = c->tcp;
    uint64_t rtt_us;

    if (c->timing && seq_ge(s->ack, c->rtt_seq)) {
        rtt_us = tcp->core->now_us - c->rtt_at_us;
        c->timing = false;
    } else if (c->backoff > 0 && c->ts_on && (int32_t)(s->opts.tsecr - c->rtx_ts) >= 0) {
        rtt_us = (uint64_t)(tcp_ts_now(tcp, c->ts_offset) - s->opts.tsecr) * 1000;
    } else {
        return;
    }
    c->backoff = 0;
    rtt_sample(&c->rtt, rtt_us, tcp->conf.rto_min_us);
}

/* RFC 6582, 3.2, step 3: an ACK of new data while repairing. */
static void recover_more(struct tcp_conn *c, uint32_t acked)
{
    const uint32_t mss = c->mss;

    if (seq_ge(c->snd_una, c->recover)) { /* full: everything sent before the loss has arrived */
        const uint32_t flight = c->snd_max - c->snd_una;

        c->cc.cwnd = MIN(c->cc.ssthresh, MAX(flight, mss) + mss);
        c->recovering = false;
        c->dup_acks = 0;
        return;
    }
    tcp_retransmit(c);
    c->cc.cwnd -= MIN(acked, c->cc.cwnd);
    c->cc.cwnd += acked >= mss ? mss : 0;
    c->cc.cwnd = MAX(c->cc.cwnd, mss);
}

static void restart_rtx(struct tcp_conn *c)
{
    const bool first_partial = c->recovering && !c->partial_ack;

    if (seq_ge(c->snd_una, c->snd_nxt)) {
        c->rtx_at_us = 0; /* tcp_output() starts it again if there is more */
        c->persisting = false;
        return;
    }
    /* RFC 6582 restarts it for the first partial ACK only. */
    if (c->recovering && !first_partial)
        return;
    c->partial_ack = c->recovering;
    c->persisting = false;
    c->rtx_at_us = c->tcp->core->now_us + rtt_backed_off(&c->rtt, c->backoff);
}

void tcp_ack_advance(struct tcp_conn *c, const struct tcp_seg *s)
{
    struct tcp *tcp = c->tcp;
    const uint32_t acked = s->ack - c->snd_una;

    measure(c, s);
    release_acked(c, s->ack);
    c->snd_una = s->ack;
    if (seq_lt(c->snd_nxt, c->snd_una)) {
        c->snd_nxt = c->snd_una;
        c->tx_next = c->tx_head;
    }
    c->retries = 0;
    c->rto_lost = false;
    net_dst_confirm(tcp->net, &c->dst);

    if (c->recovering) {
        recover_more(c, acked);
    } else {
        c->dup_acks = 0;
        if (c->cwnd_full)
            tcp->cc->on_ack(&c->cc, acked, c->mss);
    }
    restart_rtx(c);

    c->stalled_us = tcp->core->now_us;
    if (c->room_low && tcp_send_room(c) >= tcp_send_limit(c) / 2) {
        c->room_low = false;
        c->events |= TCP_EV_WRITABLE;
    }
    tcp_schedule(c);
}

/* RFC 6582, 3.2, steps 2 and 4. */
static void duplicate(struct tcp_conn *c)
{
    struct tcp *tcp = c->tcp;

    tcp->counters.dup_acks++;
    if (c->recovering) {
        c->cc.cwnd += c->mss; /* one more has left the network */
        tcp_schedule(c);
        return;
    }
    c->dup_acks += c->dup_acks < UINT8_MAX;
    if (c->dup_acks < TCP_DUP_ACKS) {
        tcp_schedule(c); /* limited transmit */
        return;
    }
    if (c->dup_acks > TCP_DUP_ACKS || seq_lt(c->snd_una, c->recover))
        return; /* these are echoes of what a timeout has sent again */

    tcp->counters.fast_retrans++;
    tcp->cc->on_loss(&c->cc, c->snd_max - c->snd_una, c->mss);
    c->cc.cwnd += TCP_DUP_ACKS * c->mss;
    c->recover = c->snd_max;
    c->recovering = true;
    c->partial_ack = false;
    tcp_retransmit(c);
    tcp_schedule(c);
}

/* RFC 9293, 3.10.7.4: only from segments that are newer than the one that set it. */
void tcp_window_rcvd(struct tcp_conn *c, const struct tcp_seg *s)
{
    const uint32_t wnd = (uint32_t)s->wnd << c->snd_shift;

    /*
     * Which of two segments was sent later (RFC 9293, 3.10.7.4): the one that acknowledges more,
     * then the one further on. The ACK goes first, as a retransmission has an old sequence number
     * and the newest of windows; to move snd_una by it and keep the window would move the right
     * edge.
     */
    if (seq_gt(c->snd_wl2, s->ack) || (c->snd_wl2 == s->ack && seq_gt(c->snd_wl1, s->seq)))
        return;
    if (wnd != c->snd_wnd) {
        if (wnd > c->snd_wnd && c->persisting)
            c->backoff = 0;
        tcp_schedule(c);
    }
    c->snd_wnd = wnd;
    c->snd_wnd_max = MAX(c->snd_wnd_max, wnd);
    c->snd_wl1 = s->seq;
    c->snd_wl2 = s->ack;
}

/* RFC 5681, 2: five signs of a duplicate ACK. */
static bool is_duplicate(const struct tcp_conn *c, const struct tcp_seg *s)
{
    return s->ack == c->snd_una && seq_gt(c->snd_max, c->snd_una) && s->len == 0 &&
           (s->flags & (TCP_SYN | TCP_FIN)) == 0 && (uint32_t)s->wnd << c->snd_shift == c->snd_wnd;
}

void tcp_ack_rcvd(struct tcp_conn *c, const struct tcp_seg *s)
{
    if (c->persisting)
        c->retries = 0; /* it lives, it only has no room */
    if (seq_gt(s->ack, c->snd_una)) {
        tcp_ack_advance(c, s);
        tcp_window_rcvd(c, s);
    } else if (is_duplicate(c, s)) {
        duplicate(c);
    } else if (s->ack == c->snd_una) {
        tcp_window_rcvd(c, s);
    }
}
