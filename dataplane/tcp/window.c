#include "dataplane/tcp/tcp_conn.h"

/*
 * Dynamic right-sizing (Fisk and Feng, 2001): a window limits the sender if the owner reads, in one
 * round trip, as much as the window allowed. Then it doubles what was read. A buffer never shrinks,
 * as a promised window is not taken back; so it grows only for owners who read, by a budget that
 * all connections share.
 */

#define RTT_UNKNOWN_US 100000

void tcp_recv_buf_set(struct tcp_conn *c, uint32_t bytes)
{
    struct tcp *tcp = c->tcp;
    const uint32_t start = c->tuning->recv_buf;

    tcp->recv_grown -= c->recv_buf > start ? c->recv_buf - start : 0;
    c->recv_buf = bytes;
    tcp->recv_grown += c->recv_buf > start ? c->recv_buf - start : 0;
}

static uint64_t round_trip_us(const struct tcp_conn *c)
{
    const uint32_t us = MAX(c->es->recv_rtt_us, c->rtt.srtt_us);

    return us != 0 ? MAX(us, RTT_CLOCK_US) : RTT_UNKNOWN_US;
}

static void grow(struct tcp_conn *c, uint32_t taken)
{
    struct tcp *tcp = c->tcp;
    const uint64_t want = MIN(2 * (uint64_t)taken, c->tuning->recv_buf_max);
    const uint64_t left = tcp->conf.recv_grow_max - MIN(tcp->recv_grown, tcp->conf.recv_grow_max);

    if (want <= c->recv_buf || want - c->recv_buf > left || tcp->core->pool->low)
        return;
    tcp_recv_buf_set(c, (uint32_t)want);
    tcp->counters.recv_grown++;
}

void tcp_recv_buf_taken(struct tcp_conn *c, uint64_t n)
{
    struct tcp_estats *es = tcp_estats_get(c);
    const uint32_t now = (uint32_t)c->tcp->core->now_us;

    es->recv_taken = (uint32_t)MIN(es->recv_taken + n, TCP_QUEUE_MAX);
    if (now - es->recv_since_us < round_trip_us(c))
        return;
    /* The sender's window grows while this is measured: half of the buffer is a lot. */
    if (es->recv_taken >= c->recv_buf / 2)
        grow(c, es->recv_taken * 2);
    es->recv_taken = 0;
    es->recv_since_us = now;
}

/* From the echo of our timestamp: never too short, as the peer may have had nothing to send. */
void tcp_recv_buf_segment(struct tcp_conn *c, const struct tcp_seg *s)
{
    const uint32_t ms = tcp_ts_now(c->tcp, c->ts_offset) - s->opts.tsecr;
    struct tcp_estats *es = c->es; /* a segment with payload has made it */

    if (c->tuning->recv_buf == c->tuning->recv_buf_max || s->len < c->mss || ms > 10000)
        return;
    if (es->recv_rtt_us == 0 || ms * 1000 < es->recv_rtt_us)
        es->recv_rtt_us = MAX(ms * 1000, 1);
    else
        es->recv_rtt_us += (ms * 1000 - es->recv_rtt_us) / 8;
}
