#include "dataplane/tcp/opts.h"

#include "dataplane/base/bytes.h"

#include <stddef.h>
#include <string.h>

static void read_sacks(const uint8_t *at, struct tcp_opts *o)
{
    if (at[1] < 10 || (at[1] - 2) % 8 != 0)
        return;
    o->n_sacks = 0; /* of two such options the last counts */
    for (uint32_t i = 2; i < at[1] && o->n_sacks < TCP_SACKS_MAX; i += 8)
        o->sacks[o->n_sacks++] = (struct tcp_sack){ get32(at + i), get32(at + i + 4) };
}

static void read_one(const uint8_t *at, struct tcp_opts *o)
{
    switch (at[0]) {
    case TCP_OPT_MSS:
        if (at[1] == 4)
            o->mss = get16(at + 2);
        break;
    case TCP_OPT_WSCALE:
        if (at[1] == 3) {
            o->has_wscale = true;
            o->wscale = at[2] < TCP_WSCALE_MAX ? at[2] : TCP_WSCALE_MAX;
        }
        break;
    case TCP_OPT_TS:
        if (at[1] == 10) {
            o->has_ts = true;
            o->tsval = get32(at + 2);
            o->tsecr = get32(at + 6);
        }
        break;
    case TCP_OPT_SACK_OK:
        o->sack_ok = o->sack_ok || at[1] == 2;
        break;
    case TCP_OPT_SACK:
        read_sacks(at, o);
        break;
    default: /* of somebody else's specification */
        break;
    }
}

bool tcp_opts_parse(const uint8_t *at, uint32_t len, struct tcp_opts *ret)
{
    struct tcp_opts o;

    /* The blocks themselves need no zeroes. */
    memset(&o, 0, offsetof(struct tcp_opts, sacks));
    while (len > 0 && at[0] != TCP_OPT_END) {
        uint32_t n = 1;

        if (at[0] != TCP_OPT_NOP) {
            if (len < 2 || at[1] < 2 || at[1] > len)
                return false;
            n = at[1];
            read_one(at, &o);
        }
        at += n;
        len -= n;
    }
    memcpy(ret, &o, offsetof(struct tcp_opts, sacks) + o.n_sacks * sizeof(o.sacks[0]));
    return true;
}

/* As many blocks as @room bytes hold. */
static uint8_t *write_sacks(uint8_t *at, const struct tcp_opts *o, uint32_t room)
{
    const uint32_t fit = room < 12 ? 0 : (room - 4) / 8;
    const uint32_t n = o->n_sacks < fit ? o->n_sacks : fit;

    if (n == 0)
        return at;
    at[0] = at[1] = TCP_OPT_NOP;
    at[2] = TCP_OPT_SACK;
    at[3] = (uint8_t)(2 + 8 * n);
    at += 4;
    for (uint32_t i = 0; i < n; i++, at += 8) {
        put32(at, o->sacks[i].start);
        put32(at + 4, o->sacks[i].end);
    }
    return at;
}

uint32_t tcp_opts_write(uint8_t *at, const struct tcp_opts *o)
{
    const uint8_t *start = at;

    if (o->mss != 0) {
        at[0] = TCP_OPT_MSS;
        at[1] = 4;
        put16(at + 2, o->mss);
        at += 4;
    }
    if (o->sack_ok || o->has_ts) {
        /* "SACK permitted" stands where the padding of the timestamps would. */
        at[0] = o->sack_ok && o->has_ts ? TCP_OPT_SACK_OK : TCP_OPT_NOP;
        at[1] = o->sack_ok && o->has_ts ? 2 : TCP_OPT_NOP;
        at[2] = o->has_ts ? TCP_OPT_TS : TCP_OPT_SACK_OK;
        at[3] = o->has_ts ? 10 : 2;
        at += 4;
    }
    if (o->has_ts) {
        put32(at, o->tsval);
        put32(at + 4, o->tsecr);
        at += 8;
    }
    if (o->has_wscale) {
        at[0] = TCP_OPT_NOP;
        at[1] = TCP_OPT_WSCALE;
        at[2] = 3;
        at[3] = o->wscale;
        at += 4;
    }
    at = write_sacks(at, o, TCP_OPTS_MAX - (uint32_t)(at - start));
    return (uint32_t)(at - start);
}
