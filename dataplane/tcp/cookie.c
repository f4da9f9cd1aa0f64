#include "dataplane/tcp/tcp_conn.h"

/*
 * SYN cookies (RFC 4987, 3.6): under a flood of SYNs nothing is remembered of them. What a
 * connection needs is in our initial sequence number,
 *
 *     31       27 26  24 23                                0
 *    +-----------+------+-----------------------------------+
 *    | age, 64 s | MSS  | SipHash of the tuple, ISN and these |
 *    +-----------+------+-----------------------------------+
 *
 * and, where the peer has timestamps, in the lowest bits of ours, which come back to us: window
 * scale, SACK and ECN. Without timestamps the connection does without these.
 *
 * The clock of the cookies is as old as the worker, so that a cookie is good for one to two
 * periods.
 */

#define PERIOD_US (64 * TCP_SECOND)
#define AGE_MAX 1 /* periods; a SYN-ACK is answered soon, or its peer asks again */
#define HASH_MASK UINT32_C(0xffffff)

enum {
    TS_WSCALE = 15, /* 15: no window scale */
    TS_SACK = 1 << 4,
    TS_ECN = 1 << 5,
    TS_BITS = 6,
};

/* The values that occur, from what a tunnel or a modem leaves to jumbo frames. */
static const uint16_t sizes[] = { 536, 1220, 1300, 1360, 1400, 1440, 1460, 8900 };

static uint32_t period_of(const struct tcp *tcp)
{
    return (uint32_t)(tcp->core->now_us / PERIOD_US);
}

static uint32_t mac(const struct tcp *tcp, const struct flow_key *key, uint32_t irs,
                    uint32_t period, uint32_t size)
{
    struct {
        struct flow_key key;
        uint32_t irs, period, size;
    } in;

    memset(&in, 0, sizeof(in));
    in.key = *key;
    in.irs = irs;
    in.period = period;
    in.size = size;
    return (uint32_t)hash_sip(&tcp->cookie_key, &in, sizeof(in)) & HASH_MASK;
}

static uint32_t size_index(uint16_t mss)
{
    uint32_t i = ARRAY_SIZE(sizes) - 1;

    while (i > 0 && sizes[i] > mss)
        i--;
    return i;
}

/* Our clock, with the options in its lowest bits, and never ahead of itself. */
static uint32_t bake_ts(const struct tcp *tcp, const struct flow_key *key,
                        const struct tcp_offer *o)
{
    const uint32_t now = tcp_ts_now(tcp, 0), mask = (1u << TS_BITS) - 1;
    uint32_t ts = (now & ~mask) | (o->wscale_on ? o->snd_shift : (uint32_t)TS_WSCALE) |
                  (o->sack_on ? (uint32_t)TS_SACK : 0) | (o->ecn_on ? (uint32_t)TS_ECN : 0);

    if ((int32_t)(ts - now) > 0)
        ts -= mask + 1;
    return ts + tcp_ts_offset(tcp, key);
}

uint32_t tcp_cookie_bake(struct tcp *tcp, const struct flow_key *key, struct tcp_offer *offer)
{
    const uint32_t period = period_of(tcp), size = size_index(offer->peer_mss);

    if (!offer->ts_on)
        offer->wscale_on = offer->sack_on = offer->ecn_on = false;
    offer->iss = period << 27 | size << 24 | mac(tcp, key, offer->irs, period, size);
    tcp->cookies_until_us = tcp->core->now_us + (AGE_MAX + 1) * PERIOD_US;
    tcp->counters.cookies_out++;
    return offer->ts_on ? bake_ts(tcp, key, offer) : 0;
}

static void read_ts(const struct tcp *tcp, const struct flow_key *key, const struct tcp_seg *s,
                    struct tcp_offer *o)
{
    const uint32_t ts = s->opts.tsecr - tcp_ts_offset(tcp, key);

    o->ts_on = true;
    o->ts_recent = s->opts.tsval;
    o->wscale_on = (ts & TS_WSCALE) != TS_WSCALE;
    o->snd_shift = o->wscale_on ? ts & TS_WSCALE : 0;
    o->sack_on = (ts & TS_SACK) != 0;
    o->ecn_on = (ts & TS_ECN) != 0;
}

bool tcp_cookie_read(struct tcp *tcp, const struct flow_key *key, const struct tcp_seg *s,
                     struct tcp_offer *ret)
{
    const uint32_t cookie = s->ack - 1, irs = s->seq - 1, now = period_of(tcp);
    const uint32_t age = (now - (cookie >> 27)) & 31, size = cookie >> 24 & 7;

    if (tcp->core->now_us >= tcp->cookies_until_us)
        return false;
    if (age > AGE_MAX || mac(tcp, key, irs, now - age, size) != (cookie & HASH_MASK)) {
        tcp->counters.cookies_bad++;
        return false;
    }
    *ret = (struct tcp_offer){ .iss = cookie, .irs = irs, .peer_mss = sizes[size] };
    if (s->opts.has_ts)
        read_ts(tcp, key, s, ret);
    ret->snd_wnd = (uint32_t)s->wnd << ret->snd_shift;
    tcp->counters.cookies_good++;
    return true;
}
