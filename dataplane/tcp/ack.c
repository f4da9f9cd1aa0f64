#include "dataplane/tcp/tcp_conn.h"

#define MIN_RTT_WINDOW_S 300

static void note_min_rtt(struct tcp_conn *c, uint32_t rtt_us)
{
    struct tcp_flight *fl = c->fl;
    const uint32_t now_s = (uint32_t)(c->tcp->core->now_us / TCP_SECOND);

    if (rtt_us > fl->min_rtt_us && now_s - fl->min_rtt_at_s <= MIN_RTT_WINDOW_S)
        return;
    fl->min_rtt_us = rtt_us;
    fl->min_rtt_at_s = now_s;
}

/* A sample is worth a record if it is a quarter off what was expected. */
static void note_sample(struct tcp_conn *c, uint32_t rtt_us)
{
    struct tcp_estats *es = c->es;

    es->sample_rtt_us = rtt_us;
    es->sum_rtt_us += rtt_us;
    if (es->count_rtt++ == 0)
        es->min_rtt_us = rtt_us;
    es->min_rtt_us = MIN(es->min_rtt_us, rtt_us);
    es->max_rtt_us = MAX(es->max_rtt_us, rtt_us);
    if (rtt_us - c->rtt.srtt_us / 4 * 3 > c->rtt.srtt_us / 2)
        tcp_record(c, TCP_RECORD_RTT, .wnd = rtt_us, .seq = c->rtt.srtt_us, .ack = c->rtt.rto_us);
}

static void note_rto(struct tcp_estats *es, uint32_t rto_us)
{
    if (es->count_rtt == 1)
        es->min_rto_us = rto_us;
    es->min_rto_us = MIN(es->min_rto_us, rto_us);
    es->max_rto_us = MAX(es->max_rto_us, rto_us);
}

/*
 * Karn's algorithm: only what was sent once says how far away the peer is, and until something
 * does, the timeout stays backed off. After a retransmission an echoed timestamp will do (RFC 7323,
 * 4), if it is that of the last one or a later: when a segment arrived and its ACK was lost, the
 * ACK of the second copy echoes the first, and the time between them is not a round trip.
 */
static void measure(struct tcp_conn *c, const struct tcp_seg *s, const struct tcp_news *news)
{
    const struct tcp *tcp = c->tcp;
    uint64_t rtt_us = news->rtt_us != 0 ? news->rtt_us : news->sack_rtt_us;

    if (rtt_us == 0) {
        if (!news->advanced || !c->ts_on || (int32_t)(s->opts.tsecr - c->fl->rtx_ts) < 0)
            return;
        rtt_us = (uint64_t)(tcp_ts_now(tcp, c->ts_offset) - s->opts.tsecr) * 1000;
    } else {
        note_min_rtt(c, (uint32_t)rtt_us);
    }
    c->backoff = 0;
    note_sample(c, (uint32_t)MIN(rtt_us, RTT_MAX_RTO_US));
    rtt_sample(&c->rtt, rtt_us, tcp->conf.rto_min_us);
    note_rto(c->es, c->rtt.rto_us);
}

/* RFC 5681, 2: five signs of a duplicate ACK. */
static bool is_duplicate(const struct tcp_conn *c, const struct tcp_seg *s)
{
    return s->ack == c->snd_una && seq_gt(c->snd_nxt, c->snd_una) && s->len == 0 &&
           (s->flags & (TCP_SYN | TCP_FIN)) == 0 && (uint32_t)s->wnd << c->snd_shift == c->snd_wnd;
}

/* RFC 9293, 3.10.7.4: only from segments that are newer than the one that set it. */
static void window_rcvd(struct tcp_conn *c, const struct tcp_seg *s)
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
        if (wnd > c->snd_wnd && c->rtx == RTX_PERSIST)
            c->backoff = 0;
        if (wnd == 0)
            tcp_estats_get(c)->zero_rwin_rcvd++;
        tcp_schedule(c);
    }
    c->snd_wnd = wnd;
    c->snd_wnd_max = MAX(c->snd_wnd_max, wnd);
    c->snd_wl1 = s->seq;
    c->snd_wl2 = s->ack;
}

void tcp_note_room(struct tcp_conn *c)
{
    if (!c->room_low || tcp_send_room(c) < tcp_send_limit(c) / 2)
        return;
    c->room_low = false;
    c->events |= TCP_EV_WRITABLE;
}

static void progress(struct tcp_conn *c)
{
    struct tcp *tcp = c->tcp;

    c->retries = 0;
    c->fl->stalled_us = tcp->core->now_us;
    net_dst_confirm(tcp->net, &c->dst);
    if (unlikely(c->hole_suspected)) { /* and there it was */
        c->hole_suspected = false;
        tcp_conn_path_is_narrow(c, c->dst.mtu);
        c->wider_at_s = UINT32_MAX; /* nobody would tell, and to find out again costs seconds */
    }
    tcp_note_room(c);
}

/* What an ACK says of what is in flight. */
static void digest(struct tcp_conn *c, const struct tcp_seg *s, struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;
    const uint32_t before = fl->delivered;

    news->prior_fack = fl->fack;
    news->has_tsecr = c->ts_on && s->opts.has_ts;
    news->tsecr = s->opts.tsecr;
    news->ece = c->ecn_on && (s->flags & TCP_ECE) != 0;
    if (c->sack_on && s->opts.n_sacks > 0) {
        c->tcp->counters.sacks_in++;
        c->es->sacks_rcvd++;
        c->es->sack_blocks_rcvd += s->opts.n_sacks;
        tcp_flight_sacked(c, &s->opts, s->ack, news);
    }
    if (seq_gt(s->ack, c->snd_una))
        tcp_flight_acked(c, s->ack, news);
    news->delivered = fl->delivered - before;
    measure(c, s, news);
    tcp_rate_sample(c, news);
}

static void note_duplicate(struct tcp_conn *c, bool dup)
{
    if (likely(!dup)) {
        c->fl->dup_run = false;
        return;
    }
    c->tcp->counters.dup_acks++;
    c->es->dup_acks_in++;
    c->es->dup_ack_episodes += !c->fl->dup_run;
    c->fl->dup_run = true;
}

void tcp_ack_rcvd(struct tcp_conn *c, const struct tcp_seg *s)
{
    struct tcp_news news = { 0 };
    const uint32_t prior_una = c->snd_una;

    if (c->rtx == RTX_PERSIST)
        c->retries = 0; /* it lives, it only has no room */
    if (c->fl == NULL || (c->fl->out.pkts == 0 && s->opts.n_sacks == 0)) {
        c->snd_una = seq_max(c->snd_una, s->ack);
        if (s->ack == c->snd_una)
            window_rcvd(c, s);
        return;
    }
    news.dup = is_duplicate(c, s);
    note_duplicate(c, news.dup);
    if (seq_lt(s->ack, prior_una) && s->opts.n_sacks == 0)
        return;
    digest(c, s, &news);
    if (seq_ge(s->ack, prior_una))
        window_rcvd(c, s);
    if (news.advanced)
        progress(c);
    tcp_recovery_on_ack(c, &news);
    if (news.advanced && !news.waiting)
        tcp_rtx_rearm(c);
    tcp_schedule(c);
}
