#include "dataplane/tcp/tcp_conn.h"

#include <assert.h>

/* ---- life */

struct tcp_flight *tcp_flight_get(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;

    if (likely(fl != NULL))
        return fl;
    fl = slab_alloc(&c->tcp->flights);
    assert(fl != NULL); /* there is one for every connection */
    list_init(&fl->by_time);
    cc_init(&fl->cc, c->cwnd, c->ssthresh);
    fl->reo_steps = 1;
    fl->high = fl->fack = fl->limited_end = fl->small_end = c->snd_una;
    fl->stalled_us = c->tcp->core->now_us;
    fl->reordering = TCP_DUP_ACKS;
    fl->delivered_pkts = tcp_estats_get(c)->delivered_pkts;
    fl->min_rtt_us = c->min_rtt_us != 0 ? c->min_rtt_us : UINT32_MAX;
    fl->min_rtt_at_s = (uint32_t)(c->tcp->core->now_us / TCP_SECOND);
    c->fl = fl;
    return fl;
}

void tcp_flight_put(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;

    if (fl == NULL)
        return;
    while (fl->head != NULL) {
        struct pkt *p = fl->head;

        fl->head = p->next;
        list_remove(&p->by_time);
        pkt_unref(p);
    }
    c->cwnd = fl->cc.cwnd;
    c->ssthresh = fl->cc.ssthresh;
    if (fl->lim != TCP_LIM_SND)
        tcp_estats_limit(c, TCP_LIM_SND);
    tcp_estats_get(c)->delivered_pkts = fl->delivered_pkts;
    c->min_rtt_us = fl->min_rtt_us != UINT32_MAX ? fl->min_rtt_us : 0;
    slab_free(&c->tcp->flights, fl);
    c->fl = NULL;
}

/* ---- one packet */

static void count(struct tally *t, const struct pkt *p)
{
    t->bytes += tcp_pkt_span(p);
    t->pkts++;
}

static void discount(struct tally *t, const struct pkt *p)
{
    assert(t->bytes >= tcp_pkt_span(p) && t->pkts > 0);
    t->bytes -= tcp_pkt_span(p);
    t->pkts--;
}

/* Everything the scoreboard says of @p, undone. */
static void unmark(struct tcp_flight *fl, struct pkt *p)
{
    if ((p->marks & MARK_SACKED) != 0)
        discount(&fl->sacked, p);
    if ((p->marks & MARK_LOST) != 0)
        discount(&fl->lost, p);
    if ((p->marks & MARK_RESENT) != 0)
        discount(&fl->resent, p);
    p->marks &= (uint8_t) ~(MARK_SACKED | MARK_LOST | MARK_RESENT);
    list_remove(&p->by_time);
}

/* ---- the queue */

uint32_t tcp_pipe(const struct tcp_conn *c)
{
    return c->fl != NULL ? tcp_flight_pipe(c->fl) : 0;
}

static void link_tail(struct tcp_flight *fl, struct pkt *p)
{
    p->marks = 0;
    p->next = NULL;
    list_init(&p->by_time);
    if (fl->tail != NULL)
        fl->tail->next = p;
    else
        fl->head = p;
    fl->tail = p;
    if (fl->next == NULL)
        fl->next = p;
}

void tcp_flight_queue(struct tcp_conn *c, struct pkt *p)
{
    struct tcp_flight *fl = tcp_flight_get(c);

    assert(p->len <= UINT16_MAX && pkt_headroom(p) <= UINT16_MAX);
    p->seq = c->snd_end;
    p->pay_off = (uint16_t)pkt_headroom(p);
    p->pay_len = (uint16_t)p->len;
    c->snd_end += p->len;
    link_tail(fl, p);
}

bool tcp_flight_fin(struct tcp_conn *c)
{
    struct tcp_flight *fl = tcp_flight_get(c);
    struct pkt *p = fl->tail;

    if (p == NULL || fl->next == NULL) {
        p = pkt_alloc(c->tcp->core->pool);
        if (p == NULL) {
            c->tcp->counters.no_pkt++;
            return false;
        }
        tcp_flight_queue(c, p);
    }
    p->marks |= MARK_FIN;
    return true;
}

/* What was said of the whole is said of both halves. */
static void split_marks(struct tcp_flight *fl, struct pkt *p, struct pkt *rest)
{
    rest->sent_us = p->sent_us;
    rest->delivered = p->delivered;
    rest->delivered_us = p->delivered_us;
    rest->first_sent_us = p->first_sent_us;
    rest->marks = p->marks;
    p->marks &= (uint8_t)~MARK_FIN;
    if ((p->marks & MARK_SENT) == 0)
        return;
    fl->out.pkts++;
    fl->sacked.pkts += (p->marks & MARK_SACKED) != 0;
    fl->lost.pkts += (p->marks & MARK_LOST) != 0;
    fl->resent.pkts += (p->marks & MARK_RESENT) != 0;
    if (list_is_linked(&p->by_time))
        list_push_head(&p->by_time, &rest->by_time); /* right behind it */
}

bool tcp_flight_split(struct tcp_conn *c, struct pkt *p, uint32_t len)
{
    struct tcp_flight *fl = c->fl;
    struct pkt *rest = pkt_alloc(c->tcp->core->pool);
    const uint32_t rest_len = p->pay_len - len;

    assert(len > 0 && len < p->pay_len);
    if (rest == NULL || pkt_tailroom(rest) < rest_len) {
        c->tcp->counters.no_pkt++;
        pkt_free(rest);
        return false;
    }
    memcpy(pkt_put(rest, rest_len), p->head + p->pay_off + len, rest_len);
    rest->seq = p->seq + len;
    rest->pay_off = (uint16_t)pkt_headroom(rest);
    rest->pay_len = (uint16_t)rest_len;
    list_init(&rest->by_time);
    split_marks(fl, p, rest);
    p->pay_len = (uint16_t)len;
    rest->next = p->next;
    p->next = rest;
    if (fl->tail == p)
        fl->tail = rest;
    return true;
}

void tcp_flight_sent(struct tcp_conn *c, struct pkt *p)
{
    struct tcp_flight *fl = c->fl;

    tcp_rate_sent(c, p);
    p->sent_us = (uint32_t)c->tcp->core->now_us;
    if ((p->marks & MARK_SENT) == 0) {
        p->marks |= MARK_SENT;
        count(&fl->out, p);
        fl->next = p->next;
        c->snd_nxt = tcp_pkt_end(p);
    } else {
        if ((p->marks & MARK_RESENT) == 0)
            count(&fl->resent, p);
        p->marks |= MARK_RESENT | MARK_EVER_RESENT;
    }
    list_remove(&p->by_time);
    list_push_tail(&fl->by_time, &p->by_time);
}

/* ---- what arrives */

/* RFC 8985, 6.2, step 2: the packet that was sent last, of all that have arrived. */
static void note_rack(struct tcp_conn *c, const struct pkt *p)
{
    struct tcp_flight *fl = c->fl;
    const uint32_t rtt_us = (uint32_t)c->tcp->core->now_us - p->sent_us;
    const int32_t later = (int32_t)(p->sent_us - fl->rack_sent_us);

    if ((p->marks & MARK_EVER_RESENT) != 0 && fl->min_rtt_us != UINT32_MAX &&
        rtt_us < fl->min_rtt_us)
        return; /* the first copy has arrived, not the second */
    if (fl->rack_rtt_us != 0 && (later < 0 || (later == 0 && seq_le(tcp_pkt_end(p), fl->rack_end))))
        return;
    fl->rack_sent_us = p->sent_us;
    fl->rack_end = tcp_pkt_end(p);
    fl->rack_rtt_us = MAX(rtt_us, 1);
}

/*
 * Step 3: it arrived after one with a higher sequence number, and was not sent again. How late it
 * was is how long the next one may be waited for.
 */
static void note_order(struct tcp_conn *c, const struct pkt *p, uint32_t prior_fack)
{
    struct tcp_flight *fl = c->fl;
    const uint32_t end = tcp_pkt_end(p);
    const uint32_t took_us = (uint32_t)c->tcp->core->now_us - p->sent_us;

    fl->fack = seq_max(fl->fack, end);
    if (seq_ge(end, prior_fack) || (p->marks & MARK_EVER_RESENT) != 0)
        return;
    fl->reordering_seen = true;
    fl->reordering = MAX(fl->reordering, MIN((prior_fack - end + c->mss - 1) / c->mss + 1, 300));
    if (took_us > fl->rack_rtt_us)
        fl->late_us = MAX(fl->late_us, took_us - fl->rack_rtt_us);
    fl->reo_persist = 16;
}

/* @p has been delivered, which was not known before. */
static void delivered(struct tcp_conn *c, const struct pkt *p, struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;

    fl->delivered += tcp_pkt_span(p);
    fl->delivered_pkts++;
    if ((p->marks & MARK_EVER_RESENT) == 0 && seq_le(tcp_pkt_end(p), fl->high))
        news->original = true;
    tcp_rate_delivered(c, p, news);
    note_rack(c, p);
    note_order(c, p, news->prior_fack);
}

/* Nothing in the queue may point at @p any more. */
static void forget(struct tcp_flight *fl, struct pkt *p)
{
    if (fl->lost_hint == p)
        fl->lost_hint = p->next;
    if (fl->sack_hint == p)
        fl->sack_hint = p->next;
    if (fl->tail == p)
        fl->tail = NULL;
}

/* The round trip of the first that was sent once only: a delayed ACK waited for it. */
static void note_rtt(const struct tcp_conn *c, const struct pkt *p, uint32_t *rtt_us)
{
    if ((p->marks & MARK_EVER_RESENT) == 0 && *rtt_us == 0)
        *rtt_us = MAX((uint32_t)c->tcp->core->now_us - p->sent_us, 1);
}

static void part_acked(struct tcp_conn *c, struct pkt *p, uint32_t ack)
{
    struct tcp_flight *fl = c->fl;
    const uint32_t part = MIN(ack - p->seq, p->pay_len);

    fl->out.bytes -= part;
    if ((p->marks & MARK_SACKED) != 0)
        fl->sacked.bytes -= part;
    else
        fl->delivered += part;
    if ((p->marks & MARK_LOST) != 0)
        fl->lost.bytes -= part;
    if ((p->marks & MARK_RESENT) != 0)
        fl->resent.bytes -= part;
    p->seq += part;
    p->pay_off += (uint16_t)part;
    p->pay_len -= (uint16_t)part;
}

/* Was @p sent once, and is nothing else known of it? */
static bool is_plain(const struct pkt *p)
{
    return (p->marks & ~MARK_APP_LIMITED) == MARK_SENT;
}

/*
 * Plain packets at the front, where nothing behind them has arrived before: they were sent one
 * after the other, so that what the last of them says of the path covers them all.
 */
static void run_acked(struct tcp_conn *c, uint32_t ack, struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;
    struct pkt *p = fl->head, *last;
    struct tally run = { 0 };

    if (p == NULL || !is_plain(p) || seq_gt(tcp_pkt_end(p), ack) ||
        seq_gt(news->prior_fack, p->seq))
        return;
    note_rtt(c, p, &news->rtt_us);
    news->original = news->original || seq_le(tcp_pkt_end(p), fl->high);
    for (last = p; (p = last->next) != NULL && is_plain(p) && seq_le(tcp_pkt_end(p), ack); last = p)
        ;
    tcp_rate_delivered(c, last, news);
    note_rack(c, last);
    note_order(c, last, news->prior_fack);
    while (fl->head != p) {
        struct pkt *gone = fl->head;

        count(&run, gone);
        list_remove(&gone->by_time);
        forget(fl, gone);
        fl->head = gone->next;
        pkt_unref(gone);
    }
    fl->delivered += run.bytes;
    fl->delivered_pkts += run.pkts;
    assert(fl->out.bytes >= run.bytes && fl->out.pkts >= run.pkts);
    fl->out.bytes -= run.bytes;
    fl->out.pkts -= run.pkts;
}

void tcp_flight_acked(struct tcp_conn *c, uint32_t ack, struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;
    bool resent = false;
    struct pkt *p;

    news->acked = ack - c->snd_una;
    news->advanced = true;
    run_acked(c, ack, news);
    while ((p = fl->head) != NULL && (p->marks & MARK_SENT) != 0 && seq_le(tcp_pkt_end(p), ack)) {
        if ((p->marks & MARK_SACKED) == 0) {
            delivered(c, p, news);
            note_rtt(c, p, &news->rtt_us);
        }
        resent = resent || (p->marks & MARK_EVER_RESENT) != 0;
        unmark(fl, p);
        discount(&fl->out, p);
        forget(fl, p);
        fl->head = p->next;
        pkt_unref(p);
    }
    if (p != NULL && seq_lt(p->seq, ack))
        part_acked(c, p, ack);
    /* Without SACK the second copy may have filled a hole before originals that had arrived. */
    if (resent && !c->sack_on)
        news->original = false;
    c->snd_una = ack;
}

static void mark_sacked(struct tcp_conn *c, struct pkt *p, struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;

    news->sacked += tcp_pkt_span(p);
    delivered(c, p, news);
    note_rtt(c, p, &news->sack_rtt_us);
    unmark(fl, p);
    p->marks |= MARK_SACKED;
    count(&fl->sacked, p);
}

/* A block acknowledges whole packets; the peer knows no halves of ours. */
static void take_block(struct tcp_conn *c, const struct tcp_sack *b, struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;
    struct pkt *p = fl->sack_hint;

    if (p == NULL || seq_lt(b->start, p->seq))
        p = fl->head;
    for (; p != NULL && p != fl->next && seq_lt(p->seq, b->end); p = p->next) {
        if (seq_lt(p->seq, b->start) || seq_gt(tcp_pkt_end(p), b->end))
            continue;
        if ((p->marks & MARK_SACKED) == 0)
            mark_sacked(c, p, news);
        if (fl->sack_hint == NULL || seq_gt(tcp_pkt_end(p), fl->sack_hint->seq))
            fl->sack_hint = p->next != fl->next ? p->next : NULL;
    }
}

/* RFC 2883: the first block tells of something that has come twice. */
static bool is_dsack(const struct tcp_opts *o, uint32_t ack)
{
    const struct tcp_sack *b = o->sacks;

    if (seq_lt(b->start, ack))
        return true;
    return o->n_sacks > 1 && seq_le(b[1].start, b->start) && seq_le(b->end, b[1].end);
}

static void take_dsack(struct tcp_conn *c, const struct tcp_sack *b, struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;

    news->dsack = true;
    c->es->dsacks++;
    c->tcp->counters.dsacks_in++;
    if (fl->undo_on && seq_gt(b->end, fl->undo_una) && fl->undo_resent > 0)
        fl->undo_resent -= (int32_t)MAX((b->end - b->start + c->mss - 1) / c->mss, 1);
    fl->undo_resent = MAX(fl->undo_resent, 0);
    /* RFC 8985, 6.2, step 4: reordering takes longer than we thought. Once in a round trip. */
    if (!fl->dsack_seen || seq_gt(c->snd_una, fl->dsack_round)) {
        fl->dsack_seen = true;
        fl->dsack_round = c->snd_nxt;
        fl->reo_steps += fl->reo_steps < 64;
        fl->reo_persist = 16;
    }
}

void tcp_flight_sacked(struct tcp_conn *c, const struct tcp_opts *o, uint32_t ack,
                       struct tcp_news *news)
{
    const bool dsack = o->n_sacks > 0 && is_dsack(o, ack);

    for (unsigned i = 0; i < o->n_sacks; i++) {
        const struct tcp_sack *b = &o->sacks[i];

        if (seq_ge(b->start, b->end) || seq_gt(b->end, c->snd_nxt) ||
            b->end - b->start > TCP_QUEUE_MAX) {
            c->tcp->counters.bad_sacks++;
            continue;
        }
        if (i == 0 && dsack)
            take_dsack(c, b, news);
        else if (seq_gt(b->start, ack))
            take_block(c, b, news);
    }
}

/* ---- what does not */

void tcp_flight_mark_lost(struct tcp_conn *c, struct pkt *p)
{
    struct tcp_flight *fl = c->fl;

    if ((p->marks & MARK_SACKED) != 0)
        return;
    if ((p->marks & MARK_RESENT) != 0) { /* that copy is lost as well */
        discount(&fl->resent, p);
        p->marks &= (uint8_t)~MARK_RESENT;
    }
    if ((p->marks & MARK_LOST) == 0) {
        p->marks |= MARK_LOST;
        count(&fl->lost, p);
    }
    list_remove(&p->by_time);
    if (fl->lost_hint == NULL || seq_lt(p->seq, fl->lost_hint->seq))
        fl->lost_hint = p;
}

struct pkt *tcp_flight_next_lost(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;
    struct pkt *p = fl->lost_hint;

    while (p != NULL && p != fl->next && (p->marks & (MARK_LOST | MARK_RESENT)) != MARK_LOST)
        p = p->next;
    fl->lost_hint = p != fl->next ? p : NULL;
    return fl->lost_hint;
}

void tcp_flight_renege(struct tcp_conn *c)
{
    struct tcp_flight *fl = c->fl;

    c->tcp->counters.reneged++;
    for (struct pkt *p = fl->head; p != NULL && p != fl->next; p = p->next) {
        if ((p->marks & MARK_SACKED) == 0)
            continue;
        discount(&fl->sacked, p);
        p->marks &= (uint8_t)~MARK_SACKED;
        tcp_flight_mark_lost(c, p);
    }
    fl->sack_hint = NULL;
    fl->fack = c->snd_una;
}
