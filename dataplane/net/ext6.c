/* Extension headers. */
#include "dataplane/base/bytes.h"
#include "dataplane/net/ip6.h"
#include "dataplane/net/net_impl.h"

enum {
    OPT_PAD1 = 0,
    OPT_PADN = 1,
    OPT_ROUTER_ALERT = 5,
    ACTION_SKIP = 0, /* the two highest bits of an option's type */
    ACTION_DROP = 1,
    ACTION_TELL = 2,
    ACTION_TELL_UNLESS_GROUP = 3,
    ROUTING_SEGMENTS_LEFT = 3,
};

struct walk {
    struct net *net;
    const struct pkt *p;
    struct ip6 *ip;
    unsigned n_headers, n_options, padding;
    uint8_t seen; /* kinds of headers; those to the destination may come twice */
};

enum { SEEN_HOP = 1, SEEN_ROUTING = 2, SEEN_DESTINATION = 4, SEEN_AGAIN = 8, SEEN_FRAGMENT = 16 };

static void tell(const struct walk *w, uint8_t code, uint32_t at)
{
    icmp6_error(w->net, w->ip, w->p->len, ICMP6_PARAMETER, code, at);
}

/* An option that we do not know. @at: its offset in the packet. */
static enum drop unknown_option(const struct walk *w, uint32_t at)
{
    switch (w->ip->hdr[at] >> 6) {
    case ACTION_SKIP:
        return DROP_NONE;
    case ACTION_TELL:
        tell(w, ICMP6_CODE_OPTION, at);
        return DROP_IP6_OPTION;
    case ACTION_TELL_UNLESS_GROUP:
        if (w->ip->dst.b[0] != 0xff)
            tell(w, ICMP6_CODE_OPTION, at);
        return DROP_IP6_OPTION;
    case ACTION_DROP:
    default: /* two bits */
        return DROP_IP6_OPTION;
    }
}

/* Padding is zeros (RFC 4942, 2.1.9.5), and short. */
static enum drop padding(struct walk *w, const uint8_t *opt, uint32_t len)
{
    w->padding += len;
    if (w->padding > IP6_PADDING_MAX)
        return DROP_IP6_OPTIONS;
    for (uint32_t i = 2; i < len; i++)
        if (opt[i] != 0)
            return DROP_IP6_OPTIONS;
    return DROP_NONE;
}

/* The options of a header, from @at to @end. */
static enum drop options(struct walk *w, uint32_t at, uint32_t end)
{
    const uint8_t *hdr = w->ip->hdr;
    enum drop why = DROP_NONE;

    w->n_options = w->padding = 0;
    while (at < end && why == DROP_NONE) {
        uint32_t len = 1;

        if (hdr[at] != OPT_PAD1) {
            if (end - at < 2 || end - at < 2u + hdr[at + 1])
                return DROP_IP6_OPTIONS;
            len = 2u + hdr[at + 1];
        }
        if (hdr[at] == OPT_PAD1 || hdr[at] == OPT_PADN) {
            why = padding(w, hdr + at, len);
        } else {
            w->padding = 0;
            if (++w->n_options > IP6_OPTIONS_MAX)
                return DROP_IP6_OPTIONS;
            if (hdr[at] != OPT_ROUTER_ALERT)
                why = unknown_option(w, at);
        }
        at += len;
    }
    return why;
}

/* RFC 5095 for type 0; of the others we know none, and are no router either. */
static enum drop routing(const struct walk *w, uint32_t at)
{
    const uint8_t *hdr = w->ip->hdr + at;

    if (hdr[ROUTING_SEGMENTS_LEFT] != 0)
        tell(w, ICMP6_CODE_HEADER, at + 2);
    else if (hdr[2] != 0)
        return DROP_NONE;
    return DROP_IP6_ROUTING;
}

static bool again(struct walk *w, uint8_t kind)
{
    const bool was = (w->seen & kind) != 0;

    w->seen |= kind;
    return was;
}

/* The header @kind at @at of @len bytes, which are there. */
static enum drop header(struct walk *w, uint8_t kind, uint32_t at, uint32_t len)
{
    switch ((enum ip6_next)kind) {
    case IP6_HOP_BY_HOP: /* is for the first place alone (RFC 8200, 4.3) */
        if (again(w, SEEN_HOP) || at != IP6_HDR) {
            tell(w, ICMP6_CODE_NEXT, w->ip->next_at);
            return DROP_IP6_EXT_ORDER;
        }
        return options(w, at + 2, at + len);
    case IP6_DESTINATION:
        if (again(w, SEEN_DESTINATION) && again(w, SEEN_AGAIN))
            return DROP_IP6_EXT_ORDER;
        return options(w, at + 2, at + len);
    case IP6_ROUTING:
        return again(w, SEEN_ROUTING) ? DROP_IP6_EXT_ORDER : routing(w, at);
    case IP6_FRAGMENT: /* an atomic one: nothing to put together (RFC 6946) */
        return again(w, SEEN_FRAGMENT) ? DROP_IP6_EXT_ORDER : DROP_NONE;
    case IP6_TCP:
    case IP6_UDP:
    case IP6_ICMP:
    case IP6_NONE:
        break;
    }
    return DROP_NONE;
}

static bool is_extension(uint8_t next)
{
    return next == IP6_HOP_BY_HOP || next == IP6_ROUTING || next == IP6_FRAGMENT ||
           next == IP6_DESTINATION;
}

/* Offset and flag; two bits between them are reserved. */
static bool is_atomic(const uint8_t *fragment)
{
    return (get16(fragment + 2) & 0xfff9) == 0;
}

enum drop ext6_walk(struct net *net, const struct pkt *p, struct ip6 *ip)
{
    struct walk w = { .net = net, .p = p, .ip = ip };

    while (is_extension(ip->protocol)) {
        const uint8_t *hdr = ip->hdr + ip->hdr_len, kind = ip->protocol;
        uint32_t len;
        enum drop why;

        if (p->len - ip->hdr_len < 8)
            return DROP_IP6_EXT_SHORT;
        if (kind == IP6_FRAGMENT && !is_atomic(hdr))
            return w.seen & SEEN_FRAGMENT ? DROP_IP6_EXT_ORDER : DROP_NONE;
        len = kind == IP6_FRAGMENT ? 8 : (hdr[1] + 1u) * 8;
        if (len > p->len - ip->hdr_len)
            return DROP_IP6_EXT_SHORT;
        if (++w.n_headers > IP6_HEADERS_MAX || ip->hdr_len + len > IP6_HDR + IP6_HEADERS_LEN)
            return DROP_IP6_EXT_LIMIT;
        why = header(&w, kind, ip->hdr_len, len);
        if (why != DROP_NONE)
            return why;
        ip->next_at = ip->hdr_len;
        ip->protocol = hdr[0];
        ip->hdr_len += len;
    }
    return DROP_NONE;
}

bool ext6_find(const uint8_t *ip, uint32_t len, uint8_t *protocol, uint32_t *at)
{
    uint32_t here = IP6_HDR;
    uint8_t next;

    if (len < IP6_HDR)
        return false;
    next = ip[6];
    for (unsigned i = 0; is_extension(next); i++) {
        uint32_t step;

        if (i == IP6_HEADERS_MAX || len - here < 8)
            return false;
        if (next == IP6_FRAGMENT && (get16(ip + here + 2) & 0xfff8) != 0)
            return false;
        step = next == IP6_FRAGMENT ? 8 : (ip[here + 1] + 1u) * 8;
        if (step > len - here)
            return false;
        next = ip[here];
        here += step;
    }
    *protocol = next;
    *at = here;
    return true;
}
