#include "dataplane/tcp/opts.h"

#include "dataplane/net/bytes.h"

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
    default: /* of somebody else's specification */
        break;
    }
}

bool tcp_opts_parse(const uint8_t *at, uint32_t len, struct tcp_opts *ret)
{
    struct tcp_opts o = { 0 };

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
    *ret = o;
    return true;
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
    if (o->has_wscale) {
        at[0] = TCP_OPT_NOP;
        at[1] = TCP_OPT_WSCALE;
        at[2] = 3;
        at[3] = o->wscale;
        at += 4;
    }
    if (o->has_ts) {
        at[0] = at[1] = TCP_OPT_NOP;
        at[2] = TCP_OPT_TS;
        at[3] = 10;
        put32(at + 4, o->tsval);
        put32(at + 8, o->tsecr);
        at += TCP_OPT_TS_LEN;
    }
    return (uint32_t)(at - start);
}
