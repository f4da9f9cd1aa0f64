#include "tests/lib/frames.h"

#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"

#include <assert.h>

const uint8_t frame_broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static uint8_t *grow(struct frame *f, uint32_t n)
{
    uint8_t *at = f->b + f->len;

    assert(f->len + n <= FRAME_MAX);
    f->len += n;
    memset(at, 0, n);
    return at;
}

void frame_bytes(struct frame *f, const void *bytes, uint32_t len)
{
    uint8_t *at = grow(f, len);

    if (len > 0)
        memcpy(at, bytes, len);
}

void frame_eth(struct frame *f, const uint8_t dst[6], const uint8_t src[6], uint16_t type,
               uint16_t vlan)
{
    uint8_t *at;

    f->len = f->ip_at = f->l4_at = 0;
    at = grow(f, vlan != 0 ? 18 : 14);
    memcpy(at, dst, 6);
    memcpy(at + 6, src, 6);
    if (vlan != 0) {
        put16(at + 12, 0x8100);
        put16(at + 14, vlan);
        put16(at + 16, type);
    } else {
        put16(at + 12, type);
    }
}

void frame_arp(struct frame *f, uint16_t op, const uint8_t sha[6], uint32_t spa,
               const uint8_t tha[6], uint32_t tpa)
{
    uint8_t *at = grow(f, 28);

    put16(at, 1);
    put16(at + 2, 0x0800);
    at[4] = 6;
    at[5] = 4;
    put16(at + 6, op);
    memcpy(at + 8, sha, 6);
    put32(at + 14, spa);
    memcpy(at + 18, tha, 6);
    put32(at + 24, tpa);
}

void frame_ip4(struct frame *f, uint32_t src, uint32_t dst, uint8_t protocol, const void *opts,
               uint32_t opts_len)
{
    uint8_t *at;

    f->ip_at = f->len;
    at = grow(f, 20);
    at[0] = (uint8_t)(0x45 + opts_len / 4);
    at[8] = 64;
    at[9] = protocol;
    put32(at + 12, src);
    put32(at + 16, dst);
    frame_bytes(f, opts, opts_len);
    f->l4_at = f->len;
}

static struct ipaddr parse6(const char *text)
{
    struct ipaddr a;
    bool good = ipaddr_parse(slice_of(text), &a);

    assert(good && a.family == IP_V6);
    (void)good;
    return a;
}

void frame_ip6(struct frame *f, const char *src, const char *dst, uint8_t next)
{
    const struct ipaddr from = parse6(src), to = parse6(dst);
    uint8_t *at;

    f->ip_at = f->len;
    at = grow(f, 40);
    at[0] = 0x60;
    at[6] = next;
    at[7] = 64;
    memcpy(at + 8, from.b, 16);
    memcpy(at + 24, to.b, 16);
    f->l4_at = f->len;
    f->next_at = f->ip_at + 6;
}

static uint8_t *extension(struct frame *f, uint8_t kind, uint32_t len)
{
    uint8_t *at = grow(f, len);

    at[0] = f->b[f->next_at];
    f->b[f->next_at] = kind;
    f->next_at = f->l4_at;
    f->l4_at = f->len;
    return at;
}

void frame_ext6(struct frame *f, uint8_t kind, const void *body, uint32_t len)
{
    uint8_t *at = extension(f, kind, len + 2);

    assert((len + 2) % 8 == 0);
    at[1] = (uint8_t)((len + 2) / 8 - 1);
    memcpy(at + 2, body, len);
}

void frame_frag6(struct frame *f, uint32_t id, uint32_t off, bool more)
{
    uint8_t *at = extension(f, 44, 8);

    put16(at + 2, (uint16_t)(off | more));
    put32(at + 4, id);
}

/* The options of @t, in no particular order but ours. Returns their length, in whole words. */
static uint32_t write_opts(uint8_t opts[40], const struct frame_tcp *t)
{
    uint32_t n = 0;

    if (t->mss != 0) {
        opts[n++] = 2;
        opts[n++] = 4;
        put16(opts + n, t->mss);
        n += 2;
    }
    if (t->wscale >= 0 && (t->flags & 2) != 0) {
        memcpy(opts + n, (uint8_t[]){ 1, 3, 3, (uint8_t)t->wscale }, 4);
        n += 4;
    }
    if (t->sack_ok) {
        memcpy(opts + n, (uint8_t[]){ 1, 1, 4, 2 }, 4);
        n += 4;
    }
    if (t->has_ts) {
        memcpy(opts + n, (uint8_t[]){ 1, 1, 8, 10 }, 4);
        put32(opts + n + 4, t->tsval);
        put32(opts + n + 8, t->tsecr);
        n += 12;
    }
    if (t->n_sacks > 0) {
        memcpy(opts + n, (uint8_t[]){ 1, 1, 5, (uint8_t)(2 + 8 * t->n_sacks) }, 4);
        n += 4;
        for (unsigned i = 0; i < t->n_sacks; i++, n += 8) {
            put32(opts + n, t->sacks[i][0]);
            put32(opts + n + 4, t->sacks[i][1]);
        }
    }
    assert(n + t->opts_len <= 40);
    for (uint32_t i = 0; i < t->opts_len; i++)
        opts[n++] = t->opts[i];
    while (n % 4 != 0)
        opts[n++] = 0;
    return n;
}

void frame_tcp(struct frame *f, const struct frame_tcp *t)
{
    uint8_t opts[40];
    const uint32_t n = write_opts(opts, t);
    uint8_t *at = grow(f, 20);

    put16(at, t->src);
    put16(at + 2, t->dst);
    put32(at + 4, t->seq);
    put32(at + 8, t->ack);
    at[12] = (uint8_t)((20 + n) / 4 << 4);
    at[13] = t->flags;
    put16(at + 14, t->wnd);
    frame_bytes(f, opts, n);
    frame_bytes(f, t->payload, t->len);
}

void frame_icmp(struct frame *f, uint8_t type, uint8_t code, uint32_t word, const void *bytes,
                uint32_t len)
{
    uint8_t *at = grow(f, 8);

    at[0] = type;
    at[1] = code;
    put32(at + 4, word);
    frame_bytes(f, bytes, len);
}

static uint64_t pseudo(const uint8_t *ip, uint8_t protocol, uint32_t len)
{
    const bool v4 = ip[0] >> 4 == 4;
    const struct ipaddr src = v4 ? ipaddr_v4(get32(ip + 12)) : ipaddr_v6(ip + 8),
                        dst = v4 ? ipaddr_v4(get32(ip + 16)) : ipaddr_v6(ip + 24);

    return cksum_pseudo(&src, &dst, protocol, len);
}

static void done6(struct frame *f)
{
    const uint8_t *ip = f->b + f->ip_at, protocol = f->b[f->next_at];
    const uint32_t len = f->len - f->l4_at, at = protocol == 6 ? 16 : 2;
    uint8_t *l4 = f->b + f->l4_at;

    put16(f->b + f->ip_at + 4, (uint16_t)(f->len - f->ip_at - 40));
    if ((protocol == 6 && len >= 20) || (protocol == 58 && len >= 4)) {
        put16(l4 + at, 0);
        cksum_store(l4 + at, cksum_finish(cksum_add(pseudo(ip, protocol, len), l4, len)));
    }
}

void frame_done(struct frame *f)
{
    uint8_t *ip = f->b + f->ip_at, *l4 = f->b + f->l4_at;
    const uint32_t len = f->len - f->l4_at;

    if (ip[0] >> 4 == 6) {
        done6(f);
        return;
    }
    put16(ip + 2, (uint16_t)(f->len - f->ip_at));
    put16(ip + 10, 0);
    cksum_store(ip + 10, cksum_finish(cksum_add(0, ip, f->l4_at - f->ip_at)));
    if (ip[9] == 6 && len >= 20) {
        put16(l4 + 16, 0);
        cksum_store(l4 + 16, cksum_finish(cksum_add(pseudo(ip, 6, len), l4, len)));
    } else if (ip[9] == 1 && len >= 8) {
        put16(l4 + 2, 0);
        cksum_store(l4 + 2, cksum_finish(cksum_add(0, l4, len)));
    }
}

static void read_opts(const uint8_t *at, uint32_t len, struct frame_tcp *t)
{
    for (uint32_t i = 0; i < len && at[i] != 0;) {
        if (at[i] == 1) {
            i++;
            continue;
        }
        if (at[i] == 2) {
            t->mss = get16(at + i + 2);
        } else if (at[i] == 3) {
            t->wscale = at[i + 2];
        } else if (at[i] == 8) {
            t->has_ts = true;
            t->tsval = get32(at + i + 2);
            t->tsecr = get32(at + i + 6);
        } else if (at[i] == 4) {
            t->sack_ok = true;
        } else if (at[i] == 5) {
            for (t->n_sacks = 0; t->n_sacks < (at[i + 1] - 2u) / 8; t->n_sacks++) {
                t->sacks[t->n_sacks][0] = get32(at + i + 2 + 8 * t->n_sacks);
                t->sacks[t->n_sacks][1] = get32(at + i + 6 + 8 * t->n_sacks);
            }
        }
        i += at[i + 1];
    }
}

/* The length of a header that is right, or 0. */
static uint32_t good_header(const uint8_t *ip, uint32_t len)
{
    if (get16(ip - 2) == 0x86dd)
        return len >= 60 && ip[0] >> 4 == 6 && ip[6] == 6 && get16(ip + 4) == len - 40 ? 40 : 0;
    return len >= 40 && get16(ip - 2) == 0x0800 && ip[0] == 0x45 && ip[9] == 6 &&
                   cksum_is_good(cksum_add(0, ip, 20)) && get16(ip + 2) == len
               ? 20
               : 0;
}

bool frame_read_tcp(const uint8_t *bytes, uint32_t len, struct frame_tcp *ret)
{
    const uint32_t eth = len >= 18 && get16(bytes + 12) == 0x8100 ? 18 : 14;
    const uint8_t *ip = bytes + eth, *tcp;
    uint32_t tcp_len, hdr_len, ip_len = len > eth ? good_header(ip, len - eth) : 0;

    if (ip_len == 0)
        return false;
    tcp = ip + ip_len;
    tcp_len = len - eth - ip_len;
    if (!cksum_is_good(cksum_add(pseudo(ip, 6, tcp_len), tcp, tcp_len)))
        return false;
    hdr_len = (uint32_t)(tcp[12] >> 4) * 4;
    *ret = (struct frame_tcp){ .src = get16(tcp),
                               .dst = get16(tcp + 2),
                               .seq = get32(tcp + 4),
                               .ack = get32(tcp + 8),
                               .flags = tcp[13],
                               .wnd = get16(tcp + 14),
                               .wscale = -1,
                               .ecn = ip[1] & 3,
                               .len = tcp_len - hdr_len,
                               .payload = tcp + hdr_len };
    read_opts(tcp + 20, hdr_len - 20, ret);
    return true;
}
