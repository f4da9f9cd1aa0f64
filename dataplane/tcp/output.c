#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/tcp/tcp_conn.h"

#include <assert.h>

/* Payload of a train: with its headers it is one IP packet. */
#define TRAIN_BYTES (UINT16_MAX - 40 - TCP_HDR - TCP_OPTS_MAX)

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

    /* Who cuts up a train knows the lengths. */
    pseudo = cksum_pseudo(&key->local, &key->remote, TCP_PROTOCOL, p->n_more > 0 ? 0 : p->len);
    p->l4_len = (uint8_t)(TCP_HDR + opts_len);
    if (p->n_more > 0 || net_dst_tcp_csum(tcp->net, dst)) {
        p->flags |= PKT_TX_TCP_CSUM;
        cksum_store(at + 16, cksum_fold(pseudo));
    } else {
        cksum_store(at + 16, cksum_finish(cksum_add(pseudo, p->data, p->len)));
    }
    tcp->counters.segs_out += pkt_n(p);
}

static uint16_t mss_of(uint16_t mtu, const struct net_dst *dst, const struct tcp_tuning *tuning)
{
    const uint16_t mss = (uint16_t)(mtu - dst->ip_hdr - TCP_HDR);

    return tuning->mss_max != 0 ? MIN(mss, tuning->mss_max) : mss;
}

uint16_t tcp_our_mss(const struct net_dst *dst, const struct tcp_tuning *tuning)
{
    return mss_of(dst->mtu, dst, tuning);
}

uint16_t tcp_adv_mss(const struct tcp *tcp, const struct net_dst *dst,
                     const struct tcp_tuning *tuning)
{
    return mss_of(net_dst_link_mtu(tcp->net, dst), dst, tuning);
}

uint16_t tcp_syn_window(const struct tcp_tuning *tuning)
{
    return (uint16_t)MIN(tuning->recv_buf, (uint32_t)UINT16_MAX);
}

uint8_t tcp_window_shift(const struct tcp_tuning *tuning)
{
    uint8_t shift = 0;

    while (shift < TCP_WSCALE_MAX && ((uint32_t)UINT16_MAX << shift) < tuning->recv_buf_max)
        shift++;
    return shift;
}

/* Room for bytes beyond rcv_nxt. */
static uint32_t recv_room(const struct tcp_conn *c)
{
    const uint32_t buf = c->recv_buf;

    return c->rxq.bytes < buf ? buf - (uint32_t)c->rxq.bytes : 0;
}

static void note_window(struct tcp_conn *c, uint32_t wnd)
{
    struct tcp_estats *es = c->es;

    if (wnd == 0) {
        c->tcp->counters.zero_windows++;
        tcp_estats_get(c)->zero_rwin_sent++;
    } else if (es != NULL && wnd > es->max_rwin_sent) {
        es->max_rwin_sent = wnd;
    }
}

/*
 * What the window field says. The right edge moves only in steps worth sending for (RFC 9293,
 * 3.8.6.2.2), and never back.
 */
static uint16_t advertise(struct tcp_conn *c)
{
    const uint32_t promised = c->rcv_adv - c->rcv_nxt, room = recv_room(c);
    const uint32_t step = MIN(c->recv_buf / 2, tcp_our_mss(&c->dst, c->tuning));
    uint32_t wnd = room >= promised + step ? room : promised, field;

    field = MIN(wnd >> c->rcv_shift, (uint32_t)UINT16_MAX);
    wnd = field << c->rcv_shift;
    c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt + wnd);
    note_window(c, wnd);
    return (uint16_t)field;
}

/* Of a segment with @len bytes of payload: what of the MSS they leave is for SACK blocks. */
static struct tcp_hdr header(struct tcp_conn *c, uint32_t seq, uint8_t flags, uint32_t len)
{
    struct tcp_hdr h = { .seq = seq, .flags = flags };

    if ((flags & TCP_ACK) != 0) {
        h.ack = c->rcv_nxt;
        h.wnd = advertise(c);
        c->last_ack_sent = c->rcv_nxt;
        c->ack_now = false;
        list_remove(&c->delayed_ack);
    }
    if (c->ecn_echo) {
        h.flags |= TCP_ECE;
        tcp_estats_get(c)->ece_sent++;
    }
    if (c->ts_on) {
        h.opts.has_ts = true;
        h.opts.tsval = tcp_ts_now(c->tcp, c->ts_offset);
        h.opts.tsecr = c->ts_recent;
    }
    if (c->sack_on && (flags & TCP_ACK) != 0 && (flags & TCP_RST) == 0)
        tcp_reass_sacks(c, &h.opts, len == 0 ? TCP_OPTS_MAX : c->mss - MIN(len, c->mss));
    return h;
}

/* Every segment of a connection, with @len bytes, is counted and recorded. */
static void note_sent(struct tcp_conn *c, const struct tcp_hdr *h, uint32_t len, bool again)
{
    tcp_estats_sent(c, len);
    if (len > 0)
        tcp_recorder_want(c);
    tcp_record_out(c, h, len, again);
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
    struct net_dst dst;
    struct pkt *p;

    if (net_route_flow(tcp->net, key, &dst) < 0)
        return;
    p = fresh(tcp);
    if (p != NULL) {
        push_header(tcp, p, key, h, &dst);
        net_tx(tcp->net, &dst, &key->local, &key->remote, TCP_PROTOCOL, p);
    }
    net_dst_put(tcp->net, &dst);
}

bool tcp_refuse(struct tcp *tcp, const struct flow_key *key, const struct tcp_seg *s)
{
    struct tcp_hdr h = { .flags = TCP_RST };

    if ((s->flags & TCP_RST) != 0 || !limit_pass(&tcp->resets, tcp->core->now_us))
        return false;
    if ((s->flags & TCP_ACK) != 0) {
        h.seq = s->ack;
    } else {
        h.flags |= TCP_ACK;
        h.ack = s->seq + s->len + ((s->flags & TCP_SYN) != 0) + ((s->flags & TCP_FIN) != 0);
    }
    tcp->counters.resets_out++;
    tcp_send_ctl(tcp, key, &h);
    return true;
}

static void send_empty(struct tcp_conn *c, uint32_t seq, uint8_t flags)
{
    struct pkt *p = fresh(c->tcp);
    struct tcp_hdr h;

    if (p == NULL)
        return;
    h = header(c, seq, flags, 0);
    note_sent(c, &h, 0, false);
    send_packet(c, p, &h);
}

/*
 * A sequence number that the peer takes: snd_nxt, but never beyond its window, or a peer that took
 * its window back would drop every ACK of ours.
 */
static uint32_t acceptable_seq(const struct tcp_conn *c)
{
    const uint32_t edge = c->snd_una + c->snd_wnd;

    return seq_gt(c->snd_nxt, edge) ? edge : c->snd_nxt;
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
    send_empty(c, c->snd_nxt, TCP_RST | TCP_ACK);
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

    tcp_rtx_start(c, RTX_TIMEOUT, rtt_backed_off(&c->rtt, c->backoff));
    if (p == NULL)
        return;
    h.opts.mss = tcp_adv_mss(tcp, &c->dst, c->tuning);
    h.opts.has_wscale = answer ? c->wscale_on : !tcp->conf.no_window_scale;
    h.opts.wscale = c->rcv_shift;
    h.opts.has_ts = answer ? c->ts_on : !tcp->conf.no_timestamps;
    h.opts.tsval = tcp_ts_now(tcp, c->ts_offset);
    h.opts.sack_ok = answer ? c->sack_on : !tcp->conf.no_sack;
    if (answer) {
        h.flags |= TCP_ACK | (c->ecn_on ? TCP_ECE : 0);
        h.ack = c->rcv_nxt;
        h.opts.tsecr = c->ts_recent;
        c->rcv_adv = c->rcv_nxt + h.wnd;
        c->last_ack_sent = c->rcv_nxt;
    } else if (tcp->conf.ecn && !c->syn_lost) {
        h.flags |= TCP_ECE | TCP_CWR; /* not when one was lost: maybe because of that (6.1.1.1) */
    }
    note_sent(c, &h, 0, c->syn_lost);
    send_packet(c, p, &h);
}

void tcp_window_opened(struct tcp_conn *c)
{
    const uint32_t buf = c->recv_buf;
    const uint32_t step = MIN(buf / 2, 2u * tcp_our_mss(&c->dst, c->tuning));

    if (c->fin_rcvd || recv_room(c) < c->rcv_adv - c->rcv_nxt + step)
        return;
    c->ack_now = true;
    tcp_schedule(c);
}

/* ---- segments with payload */

/*
 * The packet that carries @from: @from itself with a second reference, unless the port still has
 * it from the last time; then a copy. NULL: no memory.
 */
static struct pkt *carrier(struct tcp_conn *c, struct pkt *from)
{
    const uint32_t headers = TCP_HDR + TCP_OPTS_MAX + 40 + 18;
    struct pkt *p;

    if (from->pay_off >= headers && !pkt_is_shared(from)) {
        assert(from->n_more == 0); /* it has returned from its last train */
        from->data = from->head + from->pay_off;
        from->len = from->pay_len;
        ++*from->refs;
        return from;
    }
    p = fresh(c->tcp);
    if (p != NULL)
        memcpy(pkt_put(p, from->pay_len), from->head + from->pay_off, from->pay_len);
    return p;
}

/* ---- trains */

static void train_leave(struct tcp_conn *c)
{
    struct tcp *tcp = c->tcp;
    struct tcp_train *t = &tcp->train;
    struct pkt *head = t->head;

    if (head == NULL)
        return;
    t->head = NULL;
    if (head->n_more > 0) {
        tcp->counters.trains_out++;
        tcp->counters.train_segs_out += pkt_n(head);
    }
    send_packet(c, head, &t->h);
}

/*
 * May @p, carried by @out, follow the train that is open? All in it are whole but the last, and
 * their headers would be the same: a shorter one has room for SACK blocks, which those before it
 * had not.
 */
static bool train_takes(const struct tcp_conn *c, const struct pkt *p, const struct pkt *out)
{
    const struct tcp_train *t = &c->tcp->train;

    if (t->head == NULL || t->closed || p->seq != t->end || p->pay_len == 0)
        return false;
    if (((out->flags ^ t->head->flags) & PKT_TX_ECT) != 0)
        return false;
    if (p->pay_len < c->mss && (c->holes != NULL || c->dsack.start != c->dsack.end))
        return false;
    return pkt_n(t->head) < t->most && t->end - t->h.seq + p->pay_len <= TRAIN_BYTES;
}

/*
 * Sends @out, which carries @p, with those that follow it in the same call of tcp_output(). A
 * segment with CWR, always the first of new ones, leaves alone, as not every port takes that off
 * the others (RFC 3168, 6.1.2).
 */
static void train_add(struct tcp_conn *c, const struct pkt *p, struct pkt *out, uint8_t flags)
{
    struct tcp_train *t = &c->tcp->train;

    if (train_takes(c, p, out)) {
        pkt_couple(t->head, t->last, out);
        t->h.flags |= flags;
        c->es->ece_sent += (t->h.flags & TCP_ECE) != 0;
    } else {
        train_leave(c);
        t->h = header(c, p->seq, flags, p->pay_len);
        t->head = out;
        t->most = net_dst_train_max(c->tcp->net, &c->dst);
    }
    t->last = out;
    t->end = p->seq + p->pay_len;
    t->closed = p->pay_len != c->mss || flags != TCP_ACK;
}

/* Each segment of a train counts as if it had left alone. */
static void train_note(struct tcp_conn *c, const struct pkt *p, uint8_t flags, bool again)
{
    struct tcp_hdr *h = &c->tcp->train.h;
    const uint32_t seq = h->seq;
    const uint8_t all = h->flags;

    if (likely(c->rec == 0 && c->tcp->recorders == NULL)) {
        tcp_estats_sent(c, p->pay_len);
        return;
    }
    h->seq = p->seq;
    h->flags = flags | (all & TCP_ECE);
    note_sent(c, h, p->pay_len, again);
    h->seq = seq;
    h->flags = all;
}

/* ---- and what is in them */

static void account_new(struct tcp_conn *c, const struct pkt *p)
{
    struct tcp *tcp = c->tcp;

    if (c->snd_una == c->snd_nxt && c->rtx != RTX_PERSIST)
        c->fl->stalled_us = tcp->core->now_us;
    c->fl->corked_us = 0;
    if (p->pay_len > 0 && tcp->core->now_us - c->last_rx_us < tcp->conf.delayed_ack_us)
        c->answering = true;
    if (p->pay_len > 0 && p->pay_len < c->mss)
        c->fl->small_end = tcp_pkt_end(p);
    c->es->bytes_out += p->pay_len;
    tcp->counters.bytes_out += p->pay_len;
}

static void account_again(struct tcp_conn *c, const struct pkt *p)
{
    struct tcp_flight *fl = c->fl;
    struct tcp *tcp = c->tcp;

    tcp->counters.retrans_segs++;
    c->es->segs_retrans++;
    c->es->octets_retrans += p->pay_len;
    c->fl->rtx_ts = tcp_ts_now(tcp, c->ts_offset);
    if (!fl->resent_ts_on) {
        fl->resent_ts_on = true;
        fl->resent_ts = c->fl->rtx_ts;
    }
    fl->undo_resent = fl->undo_resent < 0 ? 1 : fl->undo_resent + 1;
}

/* ECN: new data says that it may be marked, and once, that an echo was heard (RFC 3168, 6.1). */
static uint8_t ecn_flags(struct tcp_conn *c, struct pkt *p, bool again)
{
    struct tcp_flight *fl = c->fl;

    if (!c->ecn_on || again || p->len == 0)
        return 0;
    p->flags |= PKT_TX_ECT;
    if (!fl->cwr_owed)
        return 0;
    fl->cwr_owed = false;
    return TCP_CWR;
}

/* Sends @p, for the first time or again. False: no memory. */
static bool send_segment(struct tcp_conn *c, struct pkt *p)
{
    const bool again = (p->marks & MARK_SENT) != 0;
    struct pkt *out = carrier(c, p);
    uint8_t flags = TCP_ACK;

    if (out == NULL)
        return false;
    out->flags = 0;
    flags |= ecn_flags(c, out, again);
    if ((p->marks & MARK_FIN) != 0)
        flags |= TCP_FIN;
    if (p->pay_len > 0 && p->seq + p->pay_len == c->snd_end)
        flags |= TCP_PSH;
    train_add(c, p, out, flags);
    if (again)
        account_again(c, p);
    else
        account_new(c, p);
    c->last_tx_us = c->tcp->core->now_us;
    tcp_flight_sent(c, p);
    c->fl->prr_out += tcp_pkt_span(p);
    tcp_pace_sent(c, p->pay_len);
    train_note(c, p, flags, again);
    return true;
}

/* No larger than a segment may be now. False: no memory to cut it. */
static bool fit(struct tcp_conn *c, struct pkt *p, uint32_t max)
{
    return p->pay_len <= max || tcp_flight_split(c, p, max);
}

/* What the congestion window still lets out. */
static uint32_t cwnd_room(const struct tcp_conn *c)
{
    const uint32_t pipe = tcp_flight_pipe(c->fl), cwnd = c->fl->cc.cwnd;

    return pipe < cwnd ? cwnd - pipe : 0;
}

static bool is_paced_out(struct tcp_conn *c)
{
    return c->tcp->conf.pacing && !tcp_pace_pass(c, c->tcp->core->now_us);
}

/* The first lost segment, again. */
static bool send_lost(struct tcp_conn *c)
{
    struct pkt *p = tcp_flight_next_lost(c);

    if (p == NULL || !fit(c, p, c->mss))
        return false;
    c->fl->lim_next = TCP_LIM_CWND;
    if (cwnd_room(c) < MIN(tcp_pkt_span(p), c->mss) || is_paced_out(c))
        return false;
    c->fl->lim_next = TCP_LIM_RWIN;
    /* Beyond a window that was taken back only the first may ask for room (RFC 9293, 3.8.6). */
    if (seq_gt(tcp_pkt_end(p), c->snd_una + c->snd_wnd) && p != c->fl->head)
        return false;
    return send_segment(c, p);
}

static bool is_corked(const struct tcp_conn *c)
{
    return c->fl->corked_us > TCP_CORK_SPENT &&
           c->tcp->core->now_us - c->fl->corked_us < TCP_CORK_US;
}

/*
 * Does the owner want the end of the queue, less than a segment, to wait? Unless it asked for that,
 * nothing does: what was queued in one turn goes out together at its end.
 */
static bool is_held_back(struct tcp_conn *c, const struct pkt *p)
{
    const struct tcp_tuning *t = c->tuning;

    if (p->pay_len >= c->mss || p != c->fl->tail || c->fin_queued)
        return false;
    if (t->cork) {
        if (c->fl->corked_us == 0)
            c->fl->corked_us = c->tcp->core->now_us;
        return is_corked(c);
    }
    /* With Minshall's change: only a small one in flight holds a small one back. */
    return t->nagle && seq_gt(c->fl->small_end, c->snd_una);
}

/*
 * May @p, cut to what the peer's window takes, go? What only that window keeps short waits until it
 * is worth a segment (RFC 9293, 3.8.6.2.1).
 */
static bool fits_window(struct tcp_conn *c, struct pkt *p, bool force)
{
    const int32_t room = (int32_t)(c->snd_una + c->snd_wnd - c->snd_nxt);
    const int32_t worth = (int32_t)MIN((uint32_t)c->mss, c->snd_wnd_max / 2);

    if (room >= (int32_t)tcp_pkt_span(p))
        return true;
    if (room <= 0 || (!force && room < worth))
        return false;
    if (p->pay_len > 0 && room >= (int32_t)p->pay_len) { /* all but the FIN */
        if ((p->marks & MARK_FIN) == 0)
            return true;
        p->marks &= (uint8_t)~MARK_FIN;
        c->fin_placed = false;
        return true;
    }
    return p->pay_len > 0 && tcp_flight_split(c, p, (uint32_t)room);
}

/* The next new segment, if it may go. */
static bool send_new(struct tcp_conn *c, bool force)
{
    struct tcp_flight *fl = c->fl;
    struct pkt *p = fl->next;

    fl->lim_next = TCP_LIM_SND;
    if (p == NULL || !fit(c, p, c->mss))
        return false;
    if (cwnd_room(c) < tcp_pkt_span(p) && tcp_pipe(c) > 0) {
        fl->cwnd_limited = true;
        fl->lim_next = TCP_LIM_CWND;
        return false;
    }
    if (is_paced_out(c)) {
        fl->lim_next = TCP_LIM_CWND;
        return false;
    }
    if (!force && is_held_back(c, p))
        return false;
    if (!fits_window(c, p, force)) {
        fl->lim_next = TCP_LIM_RWIN;
        return false;
    }
    return send_segment(c, p);
}

/* Bytes of new segments that both windows let out. */
static uint32_t window_room(const struct tcp_conn *c)
{
    const int32_t room = (int32_t)(c->snd_una + c->snd_wnd - c->snd_nxt);

    return room > 0 ? MIN(cwnd_room(c), (uint32_t)room) : 0;
}

/* May whole new segments leave without a look at the clock, or at what else each may have to say?
 */
static bool may_run(struct tcp_conn *c)
{
    return !c->fl->cwr_owed && tcp_pacing_rate(c) == 0 && !is_paced_out(c);
}

/*
 * Whole new segments that nothing holds back, and that are not the end of the queue: as send_new()
 * would send them, but that windows are looked at once. What is left is for send_new(). True: there
 * were some.
 */
static bool send_run(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;
    uint32_t room = may_run(c) ? window_room(c) : 0;
    struct pkt *p = fl->next, *out = NULL;

    if (p == NULL)
        return false;
    for (; room >= c->mss && p != fl->tail && p->marks == 0 && p->pay_len == c->mss; p = p->next) {
        out = carrier(c, p);
        if (out == NULL)
            return p != fl->next;
        out->flags = c->ecn_on ? PKT_TX_ECT : 0;
        train_add(c, p, out, TCP_ACK);
        account_new(c, p);
        tcp_flight_sent(c, p);
        train_note(c, p, TCP_ACK, false);
        fl->prr_out += c->mss;
        room -= c->mss;
    }
    if (out == NULL)
        return false;
    fl->pace_at_us = 0;
    c->last_tx_us = c->tcp->core->now_us;
    return true;
}

bool tcp_send_new(struct tcp_conn *c)
{
    struct pkt *p = c->fl->next;

    if (p == NULL || !fit(c, p, c->mss) || !fits_window(c, p, false) || !send_segment(c, p))
        return false;
    train_leave(c);
    return true;
}

bool tcp_resend_last(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;
    struct pkt *p;

    if (list_is_empty(&fl->by_time))
        return false;
    p = container_of(fl->by_time.prev, struct pkt, by_time);
    while (p->pay_len > c->mss) { /* the end of it */
        if (!tcp_flight_split(c, p, c->mss))
            return false;
        p = p->next;
    }
    if (!send_segment(c, p))
        return false;
    train_leave(c);
    return true;
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

/* RFC 5681, 4.1: after a pause the window halves for each timeout that it has lasted. */
static void restart_after_idle(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;
    const uint64_t idle_us = c->tcp->core->now_us - c->last_tx_us;
    const uint64_t rto_us = rtt_backed_off(&c->rtt, 0);
    const uint32_t restart =
        MIN(cc_initial_window(c->mss, c->tcp->conf.initial_window), fl->cc.cwnd);
    uint32_t cwnd = fl->cc.cwnd;

    if (fl->out.pkts > 0 || idle_us <= rto_us)
        return;
    fl->cc.ssthresh = MAX(fl->cc.ssthresh, cwnd / 4 * 3);
    for (uint64_t us = idle_us; us > rto_us && cwnd > restart; us -= rto_us)
        cwnd /= 2;
    fl->cc.cwnd = MAX(cwnd, restart);
    cc_algorithms[c->tuning->cc]->on_idle(&fl->cc, idle_us);
}

/* RFC 7661: what of the window is used, over one window's time. True: another begins, and ends with
 * what is sent now. */
static bool begin_round(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;

    if (seq_lt(c->snd_una, fl->limited_end))
        return false;
    if (unlikely(c->wider_at_s != 0))
        tcp_conn_look_for_wider_path(c);
    fl->max_flight = 0;
    fl->cwnd_limited = false;
    return true;
}

static void note_use(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;
    struct tcp_estats *es = c->es;
    const uint32_t pipe = tcp_flight_pipe(fl);

    fl->max_flight = MAX(fl->max_flight, fl->out.bytes);
    es->max_pipe = MAX(es->max_pipe, pipe);
    if (fl->next == NULL && fl->lost.pkts == 0 && fl->cc.cwnd >= pipe + c->mss)
        fl->app_limited = MAX(fl->delivered + pipe, 1);
}

/* Something in flight: probe or timeout. Something to send, and cannot: the persist timer. */
static void set_timers(struct tcp_conn *c, bool sent)
{
    const struct tcp_flight *fl = c->fl;

    if (fl->out.pkts > 0) {
        if (c->rtx == RTX_NONE || c->rtx == RTX_PERSIST || (sent && c->rtx == RTX_PROBE))
            tcp_rtx_rearm(c);
    } else if (fl->next != NULL && !is_corked(c) && !is_paced_out(c)) {
        if (c->rtx != RTX_PERSIST)
            c->fl->stalled_us = c->tcp->core->now_us;
        if (c->rtx != RTX_PERSIST || c->rtx_at_us == 0)
            tcp_rtx_start(c, RTX_PERSIST, rtt_backed_off(&c->rtt, c->backoff));
    } else {
        c->rtx = RTX_NONE;
        c->rtx_at_us = 0;
    }
}

/* RFC 5682, 2.1, step 2b: up to two, and nothing again before their ACKs have told. */
static bool send_two_new(struct tcp_conn *c)
{
    if (!send_new(c, false))
        return false;
    (void)send_new(c, false);
    return true;
}

static void send_all(struct tcp_conn *c, bool force)
{
    bool sent_new = false, resent = false, round;

    restart_after_idle(c);
    c->fl->lim_next = TCP_LIM_SND;
    round = begin_round(c);
    note_use(c);
    if (c->new_first) {
        c->new_first = false;
        sent_new = send_two_new(c);
        c->fl->frto = sent_new;
    }
    if (!sent_new) {
        while (send_lost(c))
            resent = true;
        if (c->fl->lost_hint == NULL) {
            sent_new = send_run(c);
            force &= !sent_new;
            while (send_new(c, force)) {
                sent_new = true;
                force = false;
            }
        }
    }
    train_leave(c);
    if (round)
        c->fl->limited_end = c->snd_nxt;
    note_use(c);
    if (c->fl->lim_next != c->fl->lim)
        tcp_estats_limit(c, (enum tcp_lim)c->fl->lim_next);
    set_timers(c, sent_new || resent);
}

void tcp_output(struct tcp_conn *c, bool force)
{
    if (may_send(c)) {
        if (c->fin_queued && !c->fin_placed)
            c->fin_placed = tcp_flight_fin(c);
        if (c->fl != NULL) {
            send_all(c, force);
            tcp_note_room(c); /* of ->notsent_lowat */
        }
        if (c->fin_queued && !c->fin_placed && c->rtx == RTX_NONE) /* no memory: later */
            tcp_rtx_start(c, RTX_PERSIST, rtt_backed_off(&c->rtt, c->backoff));
    }
    if (c->ack_now)
        tcp_send_ack(c);
}
