#include "dataplane/tcp/tcp_conn.h"

/*
 * Delivery rate, as in the drafts that BBR stands on: each packet remembers how much had been
 * delivered when it left; when it is delivered itself, the difference over the time between is
 * the rate, unless sending it took longer.
 */

#define PACE_RTT_MIN_US 2000 /* the clock that paces ticks once a millisecond */
#define PACE_TICK_US 1000

void tcp_rate_sent(struct tcp_conn *c, struct pkt *p)
{
    struct tcp_flight *fl = c->fl;
    const uint32_t now = (uint32_t)c->tcp->core->now_us;

    if (fl->out.pkts == 0)
        fl->first_sent_us = fl->delivered_us = now;
    p->first_sent_us = fl->first_sent_us;
    p->delivered_us = fl->delivered_us;
    p->delivered = fl->delivered;
    p->marks &= (uint8_t)~MARK_APP_LIMITED;
    p->marks |= fl->app_limited != 0 ? MARK_APP_LIMITED : 0;
}

void tcp_rate_delivered(struct tcp_conn *c, const struct pkt *p, struct tcp_news *news)
{
    if (news->has_rate && (int32_t)(p->sent_us - news->sent_us) < 0)
        return;
    news->has_rate = true;
    news->sent_us = p->sent_us;
    news->prior_delivered = p->delivered;
    news->prior_us = p->delivered_us;
    news->sent_span_us = p->sent_us - p->first_sent_us;
    news->app_limited = (p->marks & MARK_APP_LIMITED) != 0;
    c->fl->first_sent_us = p->sent_us;
}

static bool is_faster(const struct tcp_flight *fl, uint32_t bytes, uint32_t us)
{
    return (uint64_t)bytes * fl->rate_us >= (uint64_t)fl->rate_bytes * us;
}

void tcp_rate_sample(struct tcp_conn *c, const struct tcp_news *news)
{
    struct tcp_flight *fl = c->fl;
    const uint32_t now = (uint32_t)c->tcp->core->now_us;
    uint32_t us, bytes;

    if (fl->app_limited != 0 && (int32_t)(fl->delivered - fl->app_limited) > 0)
        fl->app_limited = 0;
    if (news->acked == 0 && news->sacked == 0)
        return;
    fl->delivered_us = now;
    if (!news->has_rate)
        return;
    us = MAX(now - news->prior_us, news->sent_span_us);
    bytes = fl->delivered - news->prior_delivered;
    /* In less than a round trip ACKs have been held back on their way, and come in a bunch. */
    if (us == 0 || us < fl->min_rtt_us)
        return;
    if (!news->app_limited || is_faster(fl, bytes, us)) {
        fl->rate_bytes = bytes;
        fl->rate_us = us;
    }
}

/* Faster than the window alone would go, so that it is the window that limits. */
uint64_t tcp_pacing_rate(const struct tcp_conn *c)
{
    const struct tcp_flight *fl = c->fl;
    uint64_t rate;

    if (!c->tcp->conf.pacing || fl == NULL || c->rtt.srtt_us < PACE_RTT_MIN_US)
        return 0;
    rate = (uint64_t)fl->cc.cwnd * TCP_SECOND / c->rtt.srtt_us;
    return fl->cc.cwnd < fl->cc.ssthresh / 2 ? rate * 2 : rate * 6 / 5;
}

/*
 * A segment may leave as much early as it takes, so that two go together: ACKs come for two, and
 * the second would find the window open and the clock against it, round trip after round trip. And
 * a tick of the clock early, or it would be late by a part of one each time.
 */
static uint64_t early_us(const struct tcp_flight *fl)
{
    return MAX(fl->pace_gap_us, PACE_TICK_US);
}

bool tcp_pace_pass(const struct tcp_conn *c, uint64_t now_us)
{
    return tcp_pace_at(c) <= now_us;
}

uint64_t tcp_pace_at(const struct tcp_conn *c)
{
    const uint64_t early = early_us(c->fl);

    return c->fl->pace_at_us > early ? c->fl->pace_at_us - early : 0;
}

void tcp_pace_sent(struct tcp_conn *c, uint32_t bytes)
{
    struct tcp_flight *fl = c->fl;
    const uint64_t rate = tcp_pacing_rate(c);

    if (rate == 0) {
        fl->pace_at_us = 0;
        return;
    }
    fl->pace_gap_us = (uint32_t)MIN(bytes * TCP_SECOND / rate, UINT32_MAX);
    fl->pace_at_us = MAX(fl->pace_at_us, c->tcp->core->now_us) + fl->pace_gap_us;
}
