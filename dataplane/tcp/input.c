#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/net/flow_table.h"
#include "dataplane/tcp/tcp_conn.h"

#include <errno.h>

/* ---- reading a segment */

enum drop tcp_parse(struct pkt *p, const struct ipaddr *src, const struct ipaddr *dst,
                    struct tcp_seg *ret)
{
    const uint8_t *at = p->data;
    uint32_t hdr_len;

    if (unlikely(p->len < TCP_HDR))
        return DROP_TCP_SHORT;
    hdr_len = (uint32_t)(at[12] >> 4) * 4;
    if (unlikely(hdr_len < TCP_HDR || hdr_len > p->len))
        return DROP_TCP_SHORT;
    if (unlikely((p->flags & PKT_RX_L4_CSUM_BAD) != 0))
        return DROP_TCP_CSUM;
    if ((p->flags & PKT_RX_L4_CSUM_GOOD) == 0 &&
        unlikely(!cksum_is_good(
            cksum_add(cksum_pseudo(src, dst, TCP_PROTOCOL, p->len), p->data, p->len))))
        return DROP_TCP_CSUM;

    ret->seq = get32(at + 4);
    ret->ack = get32(at + 8);
    ret->flags = at[13] & (TCP_FIN | TCP_SYN | TCP_RST | TCP_PSH | TCP_ACK | TCP_ECE | TCP_CWR);
    ret->ce = (p->flags & PKT_RX_CE) != 0;
    ret->wnd = get16(at + 14);
    if (unlikely((ret->flags & TCP_SYN) != 0 && (ret->flags & (TCP_FIN | TCP_RST)) != 0))
        return DROP_TCP_FLAGS;
    if (unlikely(!tcp_opts_parse(at + TCP_HDR, hdr_len - TCP_HDR, &ret->opts)))
        return DROP_TCP_OPTIONS;
    pkt_pull(p, hdr_len);
    ret->len = p->len;
    return DROP_NONE;
}

/* Every segment for a connection is counted and recorded here, whatever becomes of it. */
void tcp_note_segment(struct tcp_conn *c, const struct tcp_seg *s)
{
    tcp_estats_rcvd(c, s->len);
    if (s->len > 0)
        tcp_recorder_want(c);
    tcp_record_in(c, s);
}

static enum drop conn_rx(struct flow *f, struct pkt *p)
{
    struct tcp_conn *c = container_of(f, struct tcp_conn, flow);
    struct stages *st = &c->tcp->core->stages;
    struct tcp_seg s;
    enum stage was;
    enum drop why;

    why = tcp_parse(p, &f->key.remote, &f->key.local, &s);
    if (unlikely(why != DROP_NONE))
        return why;
    was = stage_enter(st, STAGE_TCP);
    c->tcp->counters.segs_in++;
    tcp_conn_enter(c);
    tcp_note_segment(c, &s);
    if (!tcp_fast(c, &s, p))
        why = tcp_segment(c, &s, p);
    tcp_events(c);
    if (c->state != TCP_CLOSED)
        tcp_timer_arm(c);
    tcp_conn_leave(c);
    stage_leave(st, was);
    return why;
}

/* As conn_rx(), if nothing is out of the ordinary. */
static bool conn_rx_train(struct flow *f, struct pkt *train)
{
    struct tcp_conn *c = container_of(f, struct tcp_conn, flow);
    const uint32_t n = pkt_n(train), len = train->len;
    struct tcp *tcp = c->tcp;
    struct stages *st = &tcp->core->stages;
    struct tcp_seg s;
    enum stage was;
    bool taken;

    tcp->counters.trains_in++;
    tcp->counters.train_segs_in += n;
    if (unlikely(tcp_parse(train, &f->key.remote, &f->key.local, &s) != DROP_NONE))
        return false;
    was = stage_enter(st, STAGE_TCP);
    tcp_conn_enter(c);
    taken = tcp_fast(c, &s, train);
    if (taken)
        tcp->counters.segs_in += n;
    else
        pkt_push(train, len - train->len); /* its header */
    tcp_events(c);
    if (c->state != TCP_CLOSED)
        tcp_timer_arm(c);
    tcp_conn_leave(c);
    stage_leave(st, was);
    return taken;
}

/* What an ACK reads, and data in order. */
static void conn_prefetch(const struct flow *f)
{
    const struct tcp_conn *c = container_of(f, const struct tcp_conn, flow);
    const char *fl = (const char *)c->fl;

    if (c->es != NULL || c->rests)
        tcp_estats_prefetch(c);
    if (fl == NULL)
        return;
    for (unsigned at = 0; at < sizeof(*c->fl); at += CACHE_LINE)
        __builtin_prefetch(fl + at);
}

const struct flow_ops tcp_conn_flow_ops = { .rx = conn_rx,
                                            .rx_train = conn_rx_train,
                                            .prefetch = conn_prefetch };

/* ---- pieces that several states share */

bool tcp_ts_is_old(uint32_t tsval, uint32_t ts_recent, uint64_t ts_recent_us, uint64_t now_us)
{
    return (int32_t)(tsval - ts_recent) < 0 && now_us - ts_recent_us < TCP_PAWS_IDLE_US;
}

static void remember_ts(struct tcp_conn *c, uint32_t tsval)
{
    c->ts_recent = tsval;
    c->ts_recent_us = c->tcp->core->now_us;
}

/* A little payload moves into the buffer before it, so that it does not keep 2 KiB of its own. */
void tcp_deliver(struct tcp_conn *c, struct pkt *p)
{
    struct pkt *last = pktq_last(&c->rxq);
    /* Every packet costs a whole buffer: twice as many as full ones would be is enough. */
    const bool crowded = (uint64_t)c->rxq.n * p->pool->room > 2 * (uint64_t)c->recv_buf;
    struct tcp_estats *es = c->es; /* a segment with payload has made it */

    c->rcv_nxt += p->len;
    es->bytes_in += p->len;
    es->max_app_r_queue = MAX(es->max_app_r_queue, (uint32_t)c->rxq.bytes + p->len);
    c->tcp->counters.bytes_in += p->len;
    if (last != NULL && (p->len < TCP_COPY_BELOW || crowded) && pkt_tailroom(last) >= p->len &&
        !pkt_is_shared(last)) {
        c->tcp->counters.merged += crowded;
        memcpy(pkt_put(last, p->len), p->data, p->len);
        c->rxq.bytes += p->len;
        pkt_free(p);
        return;
    }
    pktq_push(&c->rxq, p);
}

/*
 * At once for more than one full segment (RFC 9293, 3.8.6.3); at the start, and when something went
 * wrong, for every one, as the peer's window may wait for it. Where answers go the other way soon
 * after, the ACK goes with them.
 */
void tcp_ack_owed(struct tcp_conn *c, uint32_t len)
{
    struct tcp *tcp = c->tcp;

    c->rcv_mss = MAX(c->rcv_mss, (uint16_t)MIN(len, UINT16_MAX));
    if ((c->quick_acks > 0 && !c->answering) || c->rcv_nxt - c->last_ack_sent > c->rcv_mss) {
        c->quick_acks -= c->quick_acks > 0;
        c->ack_now = true;
        tcp_schedule(c);
    } else if (!list_is_linked(&c->delayed_ack)) {
        const uint64_t at_us = tcp->core->now_us + tcp->conf.delayed_ack_us;

        c->delayed_at_us = (uint32_t)at_us;
        list_push_tail(&tcp->delayed_acks, &c->delayed_ack);
        if (!wheel_timer_is_running(&tcp->delayed_ack_timer))
            wheel_start(&tcp->core->wheel, &tcp->delayed_ack_timer, at_us);
    }
}

static void quicken(struct tcp_conn *c)
{
    c->quick_acks = TCP_QUICK_ACKS;
    c->answering = false;
}

static void ack_at_once(struct tcp_conn *c)
{
    c->ack_now = true;
    tcp_schedule(c);
}

static void refuse(struct tcp_conn *c, const struct tcp_seg *s)
{
    if (tcp_refuse(c->tcp, &c->flow.key, s))
        tcp_estats_sent(c, 0);
}

static enum drop reset_by_peer(struct tcp_conn *c, struct pkt *p, int why)
{
    c->tcp->counters.resets_in++;
    tcp_conn_end(c, why);
    pkt_free(p);
    return DROP_NONE;
}

/* The handshake is done: what a SYN cannot know is set here. */
static void established(struct tcp_conn *c)
{
    struct tcp *tcp = c->tcp;

    tcp_conn_move(c, TCP_ESTABLISHED);
    c->retries = c->backoff = 0;
    c->rtx = RTX_NONE;
    c->rtx_at_us = 0;
    if (!c->released)
        c->give_up_at_us = 0;
    tcp_conn_set_mss(c);
    c->snd_una = c->iss + 1;
    c->ssthresh = UINT32_MAX;
    c->cwnd = cc_initial_window(c->mss, tcp->conf.initial_window);
    if (c->syn_lost) /* RFC 5681, 3.1 */
        c->cwnd = c->mss;
    if (c->syn_lost && !c->rtt_known) /* RFC 6298, 5.7 */
        c->rtt.rto_us = (uint32_t)MAX(c->rtt.rto_us, RTT_AFTER_SYN_LOSS_US);
    c->min_rtt_us = c->rtt.srtt_us; /* the handshake's, or not known */
    if (c->fl != NULL) {            /* the owner did not wait */
        cc_init(&c->fl->cc, c->cwnd, c->ssthresh);
        c->fl->min_rtt_us = c->min_rtt_us != 0 ? c->min_rtt_us : UINT32_MAX;
    }
    c->last_tx_us = tcp->core->now_us;
    c->events |= TCP_EV_OPEN;
    if (c->fin_queued)
        tcp_conn_move(c, TCP_FIN_WAIT_1);
    tcp_schedule(c);
}

/* ---- SYN_SENT: RFC 9293, 3.10.7.3 */

/* RFC 3168, 6.1.1: of a SYN-ACK to a SYN that asked, and of a SYN that asks. */
static bool is_ecn_agreed(const struct tcp_conn *c, const struct tcp_seg *s)
{
    const uint8_t both = TCP_ECE | TCP_CWR;

    if ((s->flags & TCP_ACK) == 0)
        return (s->flags & both) == both;
    return c->tcp->conf.ecn && !c->syn_lost && (s->flags & both) == TCP_ECE;
}

static void take_syn(struct tcp_conn *c, const struct tcp_seg *s)
{
    c->irs = s->seq;
    c->rcv_nxt = s->seq + 1;
    c->rcv_adv = c->rcv_nxt + tcp_syn_window(c->tuning);
    c->last_ack_sent = c->rcv_nxt;
    if (s->opts.mss != 0)
        c->peer_mss = s->opts.mss;
    c->ts_on = s->opts.has_ts && !c->tcp->conf.no_timestamps;
    c->sack_on = s->opts.sack_ok && !c->tcp->conf.no_sack;
    c->ecn_on = is_ecn_agreed(c, s);
    if (c->ts_on)
        remember_ts(c, s->opts.tsval);
    c->wscale_on = s->opts.has_wscale && !c->tcp->conf.no_window_scale;
    if (c->wscale_on) {
        c->snd_shift = s->opts.wscale;
    } else {
        c->snd_shift = c->rcv_shift = 0;
    }
    c->snd_wnd = c->snd_wnd_max = s->wnd; /* of a SYN: not scaled */
    c->snd_wl1 = s->seq;
    c->snd_wl2 = s->ack;
}

/* The echo of a timestamp tells which of several SYNs was answered. */
static void measure_syn(struct tcp_conn *c, const struct tcp_seg *s)
{
    const struct tcp *tcp = c->tcp;
    uint64_t rtt_us = tcp->core->now_us - c->opened_us;

    if (c->syn_lost) {
        if (!c->ts_on)
            return;
        rtt_us = (uint64_t)(tcp_ts_now(tcp, c->ts_offset) - s->opts.tsecr) * 1000;
    }
    rtt_sample(&c->rtt, rtt_us, tcp->conf.rto_min_us);
    c->rtt_known = true;
}

static enum drop syn_sent(struct tcp_conn *c, struct tcp_seg *s, struct pkt *p)
{
    const bool has_ack = (s->flags & TCP_ACK) != 0;

    /* First, the ACK. */
    if (has_ack && (seq_le(s->ack, c->iss) || seq_gt(s->ack, c->snd_nxt))) {
        refuse(c, s);
        return DROP_TCP_ACK;
    }
    /* Second, the RST: believed if it acknowledges our SYN. */
    if ((s->flags & TCP_RST) != 0) {
        if (!has_ack)
            return DROP_TCP_RST;
        c->tcp->counters.open_failed++;
        return reset_by_peer(c, p, -ECONNREFUSED);
    }
    /* Third, security: nothing of it is left. Fourth, the SYN. */
    if ((s->flags & TCP_SYN) == 0)
        return DROP_TCP_FLAGS;
    take_syn(c, s);
    c->last_rx_us = c->tcp->core->now_us;
    if (!has_ack) { /* ours and theirs have crossed */
        tcp_conn_move(c, TCP_SYN_RCVD);
        tcp_conn_set_mss(c);
        tcp_send_syn(c);
        pkt_free(p);
        return DROP_NONE;
    }
    measure_syn(c, s);
    established(c);
    ack_at_once(c);
    /* Fifth: what came with the SYN is taken when it is sent again. */
    pkt_free(p);
    return DROP_NONE;
}

/* ---- the other states: RFC 9293, 3.10.7.4 */

static uint32_t seg_len(const struct tcp_seg *s)
{
    return s->len + ((s->flags & TCP_SYN) != 0) + ((s->flags & TCP_FIN) != 0);
}

/*
 * First, the sequence number. A closed window still lets ACKs and RSTs in at its left edge, also
 * with payload: trim() takes that off.
 */
static bool in_window(const struct tcp_conn *c, const struct tcp_seg *s)
{
    const uint32_t len = seg_len(s), wnd = c->rcv_adv - c->rcv_nxt;

    if (s->seq == c->rcv_nxt)
        return true;
    if (seq_ge(s->seq, c->rcv_nxt))
        return seq_lt(s->seq, c->rcv_adv) || (len == 0 && wnd > 0 && s->seq == c->rcv_adv);
    return seq_gt(s->seq + len, c->rcv_nxt);
}

/* Takes off what we have already and what is beyond the window. */
static void trim(struct tcp_conn *c, struct tcp_seg *s, struct pkt *p)
{
    uint32_t room;

    if (seq_lt(s->seq, c->rcv_nxt)) {
        const uint32_t old = MIN(s->len, c->rcv_nxt - s->seq);

        if (old > 0)
            tcp_reass_twice(c, s->seq, s->seq + old);
        pkt_pull(p, old);
        s->seq += old;
        s->len -= old;
    }
    room = c->rcv_adv - s->seq;
    if (s->len > room) {
        pkt_trim(p, room);
        s->len = room;
        s->flags &= (uint8_t)~TCP_FIN;
        ack_at_once(c);
    }
}

/*
 * An ACK that was overtaken and says nothing new of ->snd_una: PAWS would drop it, though it has no
 * sequence numbers that could be from an earlier life, and on a path that reorders its SACK blocks
 * are what keeps us from sending needlessly. By less than a timeout, as Linux has it. Its window is
 * not believed: later ones have come.
 */
static bool is_overtaken(const struct tcp_conn *c, const struct tcp_seg *s)
{
    const uint32_t late_ms = c->ts_recent - s->opts.tsval;

    return s->len == 0 && (s->flags & (TCP_ACK | TCP_SYN | TCP_FIN)) == TCP_ACK &&
           s->seq == c->rcv_nxt && s->ack == c->snd_una &&
           late_ms * UINT64_C(1000) <= c->rtt.rto_us;
}

/* RFC 7323, 5.3, R1 and R3. */
static enum drop check_ts(struct tcp_conn *c, struct tcp_seg *s)
{
    if (!c->ts_on || (s->flags & TCP_RST) != 0)
        return DROP_NONE;
    if (!s->opts.has_ts) {
        c->tcp->counters.paws_dropped++;
        return DROP_TCP_PAWS;
    }
    if (tcp_ts_is_old(s->opts.tsval, c->ts_recent, c->ts_recent_us, c->tcp->core->now_us)) {
        if (is_overtaken(c, s)) {
            s->wnd = (uint16_t)(c->snd_wnd >> c->snd_shift);
            return DROP_NONE;
        }
        c->tcp->counters.paws_dropped++;
        tcp_challenge(c);
        return DROP_TCP_PAWS;
    }
    return DROP_NONE;
}

/* The connection is over, and this end of it must stay quiet for two minutes. */
static void time_wait(struct tcp_conn *c)
{
    if (tcp_tw_enter(c))
        tcp_conn_move(c, TCP_TIME_WAIT);
    tcp_conn_end(c, 0);
}

/* What an ACK of our FIN changes. */
static void fin_acked(struct tcp_conn *c)
{
    switch (c->state) {
    case TCP_FIN_WAIT_1:
        tcp_conn_move(c, TCP_FIN_WAIT_2);
        return;
    case TCP_CLOSING:
        time_wait(c);
        return;
    case TCP_LAST_ACK:
        tcp_conn_end(c, 0);
        return;
    case TCP_CLOSED:
    case TCP_SYN_SENT:
    case TCP_SYN_RCVD:
    case TCP_ESTABLISHED:
    case TCP_FIN_WAIT_2:
    case TCP_CLOSE_WAIT:
    case TCP_TIME_WAIT:
        return;
    }
}

/*
 * Does a segment that is old acknowledge what is new? One whose window was taken back speaks from
 * its right edge, which is behind what we have had of it. Two of that kind, each with something in
 * flight that the other has, would drop each other's ACKs until one gives up.
 */
static bool acks_more(const struct tcp_conn *c, const struct tcp_seg *s)
{
    return c->state != TCP_SYN_RCVD && (s->flags & (TCP_ACK | TCP_SYN | TCP_RST)) == TCP_ACK &&
           seq_lt(s->seq, c->rcv_nxt) && c->rcv_nxt - s->seq <= c->recv_buf &&
           seq_gt(s->ack, c->snd_una) && seq_le(s->ack, c->snd_nxt);
}

static void take_ack(struct tcp_conn *c, const struct tcp_seg *s)
{
    c->last_rx_us = c->tcp->core->now_us;
    c->keepalives = 0;
    tcp_ack_rcvd(c, s);
    if (tcp_fin_acked(c))
        fin_acked(c);
}

static enum drop not_in_window(struct tcp_conn *c, const struct tcp_seg *s)
{
    if ((s->flags & TCP_RST) != 0)
        return DROP_TCP_WINDOW;
    if (acks_more(c, s)) {
        take_ack(c, s);
        if (s->len == 0 || c->state == TCP_CLOSED || c->state == TCP_TIME_WAIT)
            return DROP_TCP_WINDOW;
    }
    /* Our ACK was lost, or it is a probe; an endless echo of two confused ends has no payload. */
    if (s->len > 0 && seq_lt(s->seq, c->rcv_nxt)) {
        quicken(c);
        tcp_reass_twice(c, s->seq, s->seq + s->len);
    }
    if (s->len > 0 || (s->flags & TCP_FIN) != 0)
        tcp_send_ack(c);
    else
        tcp_challenge(c);
    return DROP_TCP_WINDOW;
}

/* Fifth, the ACK, as far as it says whether the segment is to be believed (RFC 5961, 5.2). */
static enum drop check_ack(struct tcp_conn *c, const struct tcp_seg *s)
{
    if ((s->flags & TCP_ACK) == 0)
        return DROP_TCP_ACK;
    if (c->state == TCP_SYN_RCVD) {
        if (seq_gt(s->ack, c->snd_una) && seq_le(s->ack, c->snd_nxt))
            return DROP_NONE;
        refuse(c, s);
        return DROP_TCP_ACK;
    }
    if (seq_le(s->ack, c->snd_nxt) && seq_ge(s->ack, c->snd_una - c->snd_wnd_max))
        return DROP_NONE;
    tcp_challenge(c);
    return DROP_TCP_ACK;
}

/* Steps one to four, and the checks of the fifth: is this segment to be listened to? */
static enum drop check(struct tcp_conn *c, struct tcp_seg *s)
{
    enum drop why = check_ts(c, s);

    if (why != DROP_NONE)
        return why;
    if (!in_window(c, s))
        return not_in_window(c, s);
    if ((s->flags & TCP_RST) != 0) {
        /* Second. Exactly in place it is believed; nearly, it must be proven (RFC 5961, 3.2). */
        if (s->seq != c->rcv_nxt)
            tcp_challenge(c);
        return s->seq == c->rcv_nxt ? DROP_NONE : DROP_TCP_RST;
    }
    if ((s->flags & TCP_SYN) != 0) { /* fourth: RFC 5961, 4.2 */
        tcp_challenge(c);
        return DROP_TCP_SYN;
    }
    return check_ack(c, s);
}

/* Eighth, the FIN: everything before it has come. */
static void fin_rcvd(struct tcp_conn *c)
{
    c->rcv_nxt++;
    c->fin_rcvd = true;
    c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt);
    c->events |= TCP_EV_PEER_CLOSED;
    switch (c->state) {
    case TCP_ESTABLISHED:
        tcp_conn_move(c, TCP_CLOSE_WAIT);
        break;
    case TCP_FIN_WAIT_1:
        tcp_conn_move(c, TCP_CLOSING);
        break;
    case TCP_FIN_WAIT_2:
        tcp_send_ack(c);
        time_wait(c);
        return;
    case TCP_CLOSED:
    case TCP_SYN_SENT:
    case TCP_SYN_RCVD:
    case TCP_CLOSE_WAIT:
    case TCP_CLOSING:
    case TCP_LAST_ACK:
    case TCP_TIME_WAIT:
        return;
    }
    ack_at_once(c);
}

static bool may_receive(const struct tcp_conn *c)
{
    return !c->fin_rcvd && (c->state == TCP_ESTABLISHED || c->state == TCP_FIN_WAIT_1 ||
                            c->state == TCP_FIN_WAIT_2);
}

/* RFC 3168, 6.1.3: a mark is echoed until the sender says that it has heard. */
static void note_ecn(struct tcp_conn *c, const struct tcp_seg *s)
{
    if (!c->ecn_on)
        return;
    if ((s->flags & TCP_CWR) != 0)
        c->ecn_echo = false;
    if (!s->ce)
        return;
    c->tcp->counters.ecn_ce_in++;
    c->es->ce_rcvd++;
    c->ecn_seen = true;
    if (!c->ecn_echo) {
        quicken(c);
        ack_at_once(c);
    }
    c->ecn_echo = true;
}

/* Seventh, the payload. Takes @p. */
static void text(struct tcp_conn *c, const struct tcp_seg *s, struct pkt *p)
{
    if (s->len == 0) {
        pkt_free(p);
        return;
    }
    note_ecn(c, s);
    if (unlikely(c->tcp->core->pool->low)) {
        /*
         * What the segment acknowledges has been taken, and frees what we hold; its bytes would
         * hold more. The peer sends them again. What lies out of order goes first, as nobody was
         * promised it.
         */
        c->tcp->counters.low_pool_dropped++;
        tcp_reass_clear(c);
        pkt_free(p);
        return;
    }
    if (s->seq != c->rcv_nxt) {
        c->tcp->counters.ooo_segs++;
        quicken(c);
        tcp_reass_add(c, p, s->seq);
        c->es->dup_acks_out++;
        tcp_send_ack(c); /* each one: the peer counts them */
        return;
    }
    if (c->holes == NULL) {
        tcp_recv_buf_segment(c, s);
        tcp_deliver(c, p);
        tcp_ack_owed(c, s->len);
    } else { /* what came first stays, also where this segment overlaps it */
        tcp_reass_add(c, p, s->seq);
        ack_at_once(c); /* RFC 5681, 4.2 */
        if (!tcp_reass_drain(c))
            return;
    }
    c->events |= TCP_EV_READABLE;
}

static void text_and_fin(struct tcp_conn *c, struct tcp_seg *s, struct pkt *p)
{
    trim(c, s, p);
    if ((s->flags & TCP_FIN) != 0 && !c->fin_seen) {
        c->fin_seen = true;
        c->rcv_fin = s->seq + s->len;
    }
    if (c->fin_seen && seq_gt(s->seq + s->len, c->rcv_fin)) { /* nothing follows a FIN */
        const uint32_t keep = seq_lt(s->seq, c->rcv_fin) ? c->rcv_fin - s->seq : 0;

        pkt_trim(p, keep);
        s->len = keep;
    }
    if (s->len == 0 && s->seq != c->rcv_nxt && (s->flags & TCP_FIN) != 0)
        tcp_send_ack(c); /* a FIN ahead of its data */
    text(c, s, p);
    if (c->fin_seen && !c->fin_rcvd && c->rcv_nxt == c->rcv_fin)
        fin_rcvd(c);
}

/* Two SYNs have crossed, and this is the SYN-ACK: it counts as the ACK that it carries. */
static bool is_crossed_syn_ack(const struct tcp_conn *c, const struct tcp_seg *s)
{
    return c->state == TCP_SYN_RCVD && (s->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK) &&
           s->seq == c->irs && s->ack == c->iss + 1;
}

enum drop tcp_segment(struct tcp_conn *c, struct tcp_seg *s, struct pkt *p)
{
    struct tcp *tcp = c->tcp;
    enum drop why;

    if (c->state == TCP_SYN_SENT)
        return syn_sent(c, s, p);
    if (is_crossed_syn_ack(c, s)) {
        s->seq++;
        s->flags &= (uint8_t)~TCP_SYN;
        /* A SYN's window is not scaled; an ACK's is. */
        s->wnd = (uint16_t)(s->wnd >> c->snd_shift);
        ack_at_once(c);
    }
    why = check(c, s);
    if (why != DROP_NONE)
        return why;
    if ((s->flags & TCP_RST) != 0)
        return reset_by_peer(c, p, c->state == TCP_SYN_RCVD ? -ECONNREFUSED : -ECONNRESET);

    if (c->ts_on && seq_le(s->seq, c->last_ack_sent) &&
        !tcp_ts_is_old(s->opts.tsval, c->ts_recent, c->ts_recent_us, tcp->core->now_us))
        remember_ts(c, s->opts.tsval);

    if (c->state == TCP_SYN_RCVD)
        established(c);
    take_ack(c, s);
    if (c->state == TCP_CLOSED) {
        pkt_free(p);
        return DROP_NONE;
    }
    /* Sixth, urgent data: is data (RFC 6093). */
    if (c->released && s->len > 0 && seq_gt(s->seq + s->len, c->rcv_nxt)) {
        tcp_send_rst(c); /* RFC 9293, 3.6.1: it can go nowhere */
        tcp_conn_end(c, -ECONNRESET);
        return DROP_TCP_CLOSED;
    }
    if (may_receive(c)) {
        text_and_fin(c, s, p);
        return DROP_NONE;
    }
    pkt_free(p);
    return DROP_NONE;
}

/* ---- ICMP */

/* The path takes less than we thought (RFC 1191): what is out is cut anew. */
static void path_is_narrower(struct tcp_conn *c, uint16_t mtu)
{
    const uint16_t next = MAX(mtu, (uint16_t)TCP_MTU_MIN);

    if (next >= c->dst.mtu)
        return;
    tcp_conn_path_is_narrow(c, next);
    tcp_recovery_on_narrower_path(c);
    tcp_schedule(c);
}

void tcp_icmp_error(void *ctx, const struct ipport *local, const struct ipport *remote, int err,
                    uint16_t mtu, const uint8_t payload[8])
{
    struct tcp *tcp = ctx;
    const uint32_t seq = get32(payload + 4);
    struct flow_key key;
    struct flow *f;
    struct tcp_conn *c;

    flow_key_init(&key, TCP_PROTOCOL, remote, local);
    f = flow_table_find(net_flows(tcp->net), &key);
    if (f == NULL || f->ops != &tcp_conn_flow_ops)
        return;
    c = container_of(f, struct tcp_conn, flow);
    /* RFC 5927, 4.1: only about something that is in flight. */
    if (seq_lt(seq, c->snd_una) || seq_ge(seq, c->snd_nxt))
        return;

    tcp_conn_enter(c);
    if (c->state != TCP_SYN_SENT) {
        struct tcp_estats *es = tcp_estats_get(c);

        es->soft_errors += es->soft_errors < UINT16_MAX;
    }
    if (err == -EMSGSIZE) {
        if (tcp_conn_is_synchronized(c) && c->state != TCP_SYN_RCVD)
            path_is_narrower(c, mtu);
    } else if (c->state == TCP_SYN_SENT) {
        /* Once open, errors pass or a timer ends it (RFC 5461, 4.1). */
        tcp->counters.open_failed++;
        tcp_conn_end(c, err);
    }
    tcp_events(c);
    if (c->state != TCP_CLOSED)
        tcp_timer_arm(c);
    tcp_conn_leave(c);
}
