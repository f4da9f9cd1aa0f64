#include "dataplane/net/bytes.h"
#include "dataplane/net/cksum.h"
#include "dataplane/tcp/tcp_conn.h"

#define IP_AND_TCP_HDR 40

/* ---- headers */

static void push_header(struct tcp *tcp, struct pkt *p, const struct flow_key *key,
                        const struct tcp_hdr *h, const struct net_dst *dst)
{
    uint8_t opts[TCP_OPTS_MAX];
    const uint32_t opts_len = tcp_opts_write(opts, &h->opts);
    uint8_t *at = pkt_push(p, TCP_HDR + opts_len);
    uint64_t pseudo;

    put16(at, key->local_port);
    put16(at + 2, key->remote_port);
    put32(at + 4, h->seq);
    put32(at + 8, h->ack);
    at[12] = (uint8_t)((TCP_HDR + opts_len) / 4 << 4);
    at[13] = h->flags;
    put16(at + 14, h->wnd);
    put32(at + 16, 0); /* checksum, urgent pointer */
    memcpy(at + TCP_HDR, opts, opts_len);

    p->flags = 0;
    pseudo = cksum_pseudo(&key->local, &key->remote, TCP_PROTOCOL, p->len);
    if (net_dst_tcp_csum(tcp->net, dst)) {
        p->flags |= PKT_TX_TCP_CSUM;
        cksum_store(at + 16, cksum_fold(pseudo));
    } else {
        cksum_store(at + 16, cksum_finish(cksum_add(pseudo, p->data, p->len)));
    }
    tcp->counters.segs_out++;
}

uint16_t tcp_our_mss(const struct net_dst *dst, const struct tcp_tuning *tuning)
{
    const uint16_t mss = (uint16_t)(dst->mtu - IP_AND_TCP_HDR);

    return tuning->mss_max != 0 ? MIN(mss, tuning->mss_max) : mss;
}

uint16_t tcp_syn_window(const struct tcp_tuning *tuning)
{
    return (uint16_t)MIN(tuning->recv_buf, (uint32_t)UINT16_MAX);
}

uint8_t tcp_window_shift(const struct tcp_tuning *tuning)
{
    uint8_t shift = 0;

    while (shift < TCP_WSCALE_MAX && ((uint32_t)UINT16_MAX << shift) < tuning->recv_buf)
        shift++;
    return shift;
}

/* Room for bytes beyond rcv_nxt. */
static uint32_t recv_room(const struct tcp_conn *c)
{
    const uint32_t buf = c->tuning->recv_buf;

    return c->rxq.bytes < buf ? buf - (uint32_t)c->rxq.bytes : 0;
}

/*
 * What the window field says. The right edge moves only in steps worth sending for (RFC 9293,
 * 3.8.6.2.2), and never back.
 */
static uint16_t advertise(struct tcp_conn *c)
{
    const uint32_t promised = c->rcv_adv - c->rcv_nxt, room = recv_room(c);
    const uint32_t step = MIN(c->tuning->recv_buf / 2, tcp_our_mss(&c->dst, c->tuning));
    uint32_t wnd = room >= promised + step ? room : promised, field;

    field = MIN(wnd >> c->rcv_shift, (uint32_t)UINT16_MAX);
    wnd = field << c->rcv_shift;
    c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt + wnd);
    if (field == 0)
        c->tcp->counters.zero_windows++;
    return (uint16_t)field;
}

static struct tcp_hdr header(struct tcp_conn *c, uint32_t seq, uint8_t flags)
{
    struct tcp_hdr h = { .seq = seq, .flags = flags };

    if ((flags & TCP_ACK) != 0) {
        h.ack = c->rcv_nxt;
        h.wnd = advertise(c);
        c->last_ack_sent = c->rcv_nxt;
        c->ack_now = false;
        c->unacked = 0;
        list_remove(&c->delayed_ack);
    }
    if (c->ts_on) {
        h.opts.has_ts = true;
        h.opts.tsval = tcp_ts_now(c->tcp, c->ts_offset);
        h.opts.tsecr = c->ts_recent;
    }
    return h;
}

static void send_packet(struct tcp_conn *c, struct pkt *p, const struct tcp_hdr *h)
{
    push_header(c->tcp, p, &c->flow.key, h, &c->dst);
    net_tx(c->tcp->net, &c->dst, &c->flow.key.local, &c->flow.key.remote, TCP_PROTOCOL, p);
}

static struct pkt *fresh(struct tcp *tcp)
{
    struct pkt *p = pkt_alloc(tcp->core->pool);

    tcp->counters.no_pkt += p == NULL;
    return p;
}

/* ---- segments without payload */

void tcp_send_ctl(struct tcp *tcp, const struct flow_key *key, const struct tcp_hdr *h)
{
    struct ipaddr local = key->local;
    struct net_dst dst;
    struct pkt *p;

    if (net_route(tcp->net, &key->remote, &local, &dst) < 0)
        return;
    p = fresh(tcp);
    if (p != NULL) {
        push_header(tcp, p, key, h, &dst);
        net_tx(tcp->net, &dst, &local, &key->remote, TCP_PROTOCOL, p);
    }
    net_dst_put(tcp->net, &dst);
}

void tcp_refuse(struct tcp *tcp, const struct flow_key *key, const struct tcp_seg *s)
{
    struct tcp_hdr h = { .flags = TCP_RST };

    if ((s->flags & TCP_RST) != 0 || !limit_pass(&tcp->resets, tcp->core->now_us))
        return;
    if ((s->flags & TCP_ACK) != 0) {
        h.seq = s->ack;
    } else {
        h.flags |= TCP_ACK;
        h.ack = s->seq + s->len + ((s->flags & TCP_SYN) != 0) + ((s->flags & TCP_FIN) != 0);
    }
    tcp->counters.resets_out++;
    tcp_send_ctl(tcp, key, &h);
}

static void send_empty(struct tcp_conn *c, uint32_t seq, uint8_t flags)
{
    struct pkt *p = fresh(c->tcp);
    struct tcp_hdr h;

    if (p == NULL)
        return;
    h = header(c, seq, flags);
    send_packet(c, p, &h);
}

/*
 * A sequence number that the peer takes: snd_max, also while something before it is sent again, as
 * anything less it may take for old; but never beyond its window, or a peer that took its window
 * back would drop every ACK of ours.
 */
static uint32_t acceptable_seq(const struct tcp_conn *c)
{
    const uint32_t edge = c->snd_una + c->snd_wnd;

    return seq_gt(c->snd_max, edge) ? edge : c->snd_max;
}

void tcp_send_ack(struct tcp_conn *c)
{
    send_empty(c, acceptable_seq(c), TCP_ACK);
}

void tcp_send_probe(struct tcp_conn *c)
{
    send_empty(c, c->snd_una - 1, TCP_ACK);
}

void tcp_send_rst(struct tcp_conn *c)
{
    if (!tcp_conn_is_synchronized(c) || c->state == TCP_TIME_WAIT)
        return;
    c->tcp->counters.resets_out++;
    send_empty(c, c->snd_max, TCP_RST | TCP_ACK);
}

bool tcp_challenge_pass(struct tcp *tcp)
{
    /* The price varies, so that nobody can count what others were sent (RFC 5961, 7;
     * CVE-2016-5696). */
    if ((core_random(tcp->core) >> 63) != 0 && !limit_pass(&tcp->challenges, tcp->core->now_us))
        return false;
    if (!limit_pass(&tcp->challenges, tcp->core->now_us))
        return false;
    tcp->counters.challenge_acks++;
    return true;
}

void tcp_challenge(struct tcp_conn *c)
{
    const uint16_t period = (uint16_t)(c->tcp->core->now_us / TCP_CHALLENGE_PERIOD_US);

    if (c->challenge_period != period) {
        c->challenge_period = period;
        c->n_challenges = 0;
    }
    if (c->n_challenges >= TCP_CHALLENGES)
        return;
    c->n_challenges++;
    if (tcp_challenge_pass(c->tcp))
        tcp_send_ack(c);
}

/* A SYN, or in SYN_RCVD (two SYNs have crossed) a SYN-ACK. */
void tcp_send_syn(struct tcp_conn *c)
{
    struct tcp *tcp = c->tcp;
    struct pkt *p = fresh(tcp);
    struct tcp_hdr h = { .seq = c->iss, .flags = TCP_SYN, .wnd = tcp_syn_window(c->tuning) };
    const bool answer = c->state == TCP_SYN_RCVD;

    c->rtx_at_us = tcp->core->now_us + rtt_backed_off(&c->rtt, c->backoff);
    if (p == NULL)
        return;
    h.opts.mss = tcp_our_mss(&c->dst, c->tuning);
    h.opts.has_wscale = !answer || c->rcv_shift > 0 || c->snd_shift > 0;
    h.opts.wscale = c->rcv_shift;
    h.opts.has_ts = !answer || c->ts_on;
    h.opts.tsval = tcp_ts_now(tcp, c->ts_offset);
    if (answer) {
        h.flags |= TCP_ACK;
        h.ack = c->rcv_nxt;
        h.opts.tsecr = c->ts_recent;
        c->rcv_adv = c->rcv_nxt + h.wnd;
        c->last_ack_sent = c->rcv_nxt;
    }
    if (!c->syn_lost && !c->timing) {
        c->timing = true;
        c->rtt_seq = c->iss + 1;
        c->rtt_at_us = tcp->core->now_us;
    }
    send_packet(c, p, &h);
}

void tcp_window_opened(struct tcp_conn *c)
{
    const uint32_t buf = c->tuning->recv_buf;
    const uint32_t step = MIN(buf / 2, 2u * tcp_our_mss(&c->dst, c->tuning));

    if (c->fin_rcvd || recv_room(c) < c->rcv_adv - c->rcv_nxt + step)
        return;
    c->ack_now = true;
    tcp_schedule(c);
}

/* ---- segments with payload */

/* Copies @len bytes of the queue, from sequence number @seq in @from on. */
static void copy_range(const struct pkt *from, uint32_t seq, uint32_t len, struct pkt *to)
{
    while (len > 0) {
        const uint32_t skip = seq - from->seq;
        const uint32_t part = MIN(len, from->pay_len - skip);

        memcpy(pkt_put(to, part), from->head + from->pay_off + skip, part);
        seq += part;
        len -= part;
        from = from->next;
    }
}

/*
 * The packet to send for [@seq, @seq + @len), which starts in @from: @from itself with a second
 * reference, if it holds exactly that and nobody else has it; else a copy. NULL: no memory.
 */
static struct pkt *segment(struct tcp_conn *c, struct pkt *from, uint32_t seq, uint32_t len)
{
    const uint32_t headers = TCP_HDR + TCP_OPT_TS_LEN + 20 + 18;
    struct pkt *p;

    if (from != NULL && from->seq == seq && from->pay_len == len && from->pay_off >= headers &&
        !pkt_is_shared(from)) {
        from->data = from->head + from->pay_off;
        from->len = len;
        ++*from->refs;
        return from;
    }
    p = fresh(c->tcp);
    if (p != NULL)
        copy_range(from, seq, len, p);
    return p;
}

static void account(struct tcp_conn *c, uint32_t seq, uint32_t end, uint32_t len)
{
    struct tcp *tcp = c->tcp;

    c->last_tx_us = tcp->core->now_us;
    if (c->snd_una == c->snd_max && !c->persisting)
        c->stalled_us = tcp->core->now_us;
    if (seq_lt(seq, c->snd_max)) {
        tcp->counters.retrans_segs++;
        c->retransmits++;
        c->timing = false; /* Karn: nobody can tell which of the two is acknowledged */
        c->rtx_ts = tcp_ts_now(tcp, c->ts_offset);
        if (seq_le(end, c->snd_max))
            return;
        len -= MIN(len, c->snd_max - seq);
    } else if (!c->timing) {
        c->timing = true;
        c->rtt_seq = end;
        c->rtt_at_us = tcp->core->now_us;
    }
    c->snd_max = end;
    c->corked_us = 0;
    if (len > 0 && len < c->mss)
        c->snd_small = end;
    c->bytes_out += len;
    tcp->counters.bytes_out += len;
}

/* Sends [@seq, @seq + @len) and, if @fin, the FIN behind it. False: no memory. */
static bool send_range(struct tcp_conn *c, struct pkt *from, uint32_t seq, uint32_t len, bool fin)
{
    struct pkt *p = segment(c, from, seq, len);
    const uint32_t end = seq + len + fin;
    uint8_t flags = TCP_ACK;
    struct tcp_hdr h;

    if (p == NULL)
        return false;
    if (fin)
        flags |= TCP_FIN;
    if (len > 0 && seq + len == c->snd_end)
        flags |= TCP_PSH;
    h = header(c, seq, flags);
    send_packet(c, p, &h);
    account(c, seq, end, len);
    if (seq_gt(end, c->snd_nxt)) {
        c->snd_nxt = end;
        while (c->tx_next != NULL && seq_le(c->tx_next->seq + c->tx_next->pay_len, end))
            c->tx_next = c->tx_next->next;
    }
    return true;
}

/* How far the congestion window reaches: with limited transmit (RFC 3042). */
static uint32_t cwnd_edge(const struct tcp_conn *c)
{
    const uint32_t extra = c->recovering ? 0 : MIN(c->dup_acks, TCP_DUP_ACKS - 1) * c->mss;

    return c->snd_una + c->cc.cwnd + extra;
}

/*
 * Does the owner want the end of the queue, less than a segment, to wait? Unless it asked for that,
 * nothing does: what was queued in one turn goes out together at its end.
 */
static bool is_held_back(struct tcp_conn *c, uint32_t len)
{
    const struct tcp_tuning *t = c->tuning;

    if (len >= c->mss || c->snd_nxt + len != c->snd_end || c->fin_queued ||
        seq_lt(c->snd_nxt, c->snd_max))
        return false;
    if (t->cork) {
        if (c->corked_us == 0)
            c->corked_us = c->tcp->core->now_us;
        return c->tcp->core->now_us - c->corked_us < TCP_CORK_US;
    }
    /* With Minshall's change: only a small one in flight holds a small one back. */
    return t->nagle && seq_gt(c->snd_small, c->snd_una);
}

/*
 * The next segment, if it may go: never more than one packet of the queue, nor than the MSS. What
 * only the peer's window keeps short waits until it is worth a segment (RFC 9293, 3.8.6.2.1).
 */
static bool send_next(struct tcp_conn *c, bool force)
{
    const int32_t room = (int32_t)(c->snd_una + c->snd_wnd - c->snd_nxt);
    const bool has_data = seq_lt(c->snd_nxt, c->snd_end);
    uint32_t len = 0;
    bool fin;

    if (has_data) {
        const uint32_t rest = c->tx_next->seq + c->tx_next->pay_len - c->snd_nxt;

        len = MIN(rest, (uint32_t)c->mss);
        if ((int32_t)(cwnd_edge(c) - c->snd_nxt) < (int32_t)len) {
            c->cwnd_full = true;
            return false;
        }
        if (room < (int32_t)len) {
            const int32_t worth = (int32_t)MIN((uint32_t)c->mss, c->snd_wnd_max / 2);

            if (room <= 0 || (!force && room < worth))
                return false;
            len = (uint32_t)room;
        } else if (!force && is_held_back(c, len)) {
            return false;
        }
    }
    fin = c->fin_queued && c->snd_nxt + len == c->snd_end && room > (int32_t)len;
    if (len == 0 && !fin)
        return false;
    return send_range(c, c->tx_next, c->snd_nxt, len, fin);
}

static bool may_send(const struct tcp_conn *c)
{
    switch (c->state) {
    case TCP_ESTABLISHED:
    case TCP_CLOSE_WAIT:
    case TCP_FIN_WAIT_1:
    case TCP_CLOSING:
    case TCP_LAST_ACK:
        return true;
    case TCP_CLOSED:
    case TCP_SYN_SENT:
    case TCP_SYN_RCVD:
    case TCP_FIN_WAIT_2:
    case TCP_TIME_WAIT:
        return false;
    }
    return false;
}

/* Something in flight: retransmission timer. Something to send, and cannot: persist timer. */
static void set_rtx(struct tcp_conn *c)
{
    const bool in_flight = seq_gt(c->snd_nxt, c->snd_una);
    const bool blocked = (seq_lt(c->snd_nxt, c->snd_end) && c->corked_us == 0) ||
                         (c->fin_queued && c->snd_nxt == c->snd_end);

    if (!in_flight && !blocked) {
        c->rtx_at_us = 0;
        c->persisting = false;
    } else if (c->rtx_at_us == 0 || c->persisting == in_flight) {
        if (!in_flight && !c->persisting)
            c->stalled_us = c->tcp->core->now_us;
        c->persisting = !in_flight;
        c->rtx_at_us = c->tcp->core->now_us + rtt_backed_off(&c->rtt, c->backoff);
    }
}

void tcp_output(struct tcp_conn *c, bool force)
{
    if (may_send(c)) {
        if (c->snd_una == c->snd_max &&
            c->tcp->core->now_us - c->last_tx_us > rtt_backed_off(&c->rtt, 0))
            c->tcp->cc->on_idle(&c->cc, c->mss);
        c->cwnd_full = false; /* and true again, if it stops the loop */
        while (send_next(c, force))
            force = false;
        set_rtx(c);
    }
    if (c->ack_now)
        tcp_send_ack(c);
}

void tcp_retransmit(struct tcp_conn *c)
{
    struct pkt *p = c->tx_head;
    const uint32_t len = p != NULL ? MIN(p->pay_len, c->mss) : 0;
    const bool fin =
        c->fin_queued && c->snd_una + len == c->snd_end && seq_gt(c->snd_max, c->snd_end);

    if (len > 0 || fin)
        (void)send_range(c, p, c->snd_una, len, fin);
}
