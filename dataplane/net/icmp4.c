#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/net/ip4.h"
#include "dataplane/net/net_impl.h"

#include <errno.h>

/* RFC 792, 1191, 1812. */
enum {
    ICMP_HDR = 8,
    ICMP_ECHO_REPLY = 0,
    ICMP_REDIRECT = 5,
    ICMP_ECHO = 8,
    CODE_NET = 0,
    CODE_HOST = 1,
    CODE_TOO_BIG = 4,
    CODE_ADMIN_NET = 9,
    CODE_ADMIN_HOST = 10,
    CODE_ADMIN = 13,
    QUOTE = 8, /* bytes of the offending transport header that every host sends */
};

/* Sends @p, an ICMP message whose checksum is still 0, to @to. Takes @p. */
static void send(struct net *net, struct pkt *p, uint32_t from, uint32_t to)
{
    const struct ipaddr remote = ipaddr_v4(to);
    struct ipaddr local = ipaddr_v4(from);
    struct net_dst dst;

    if (net_route(net, &remote, &local, &dst) < 0) {
        net_drop(net, p, DROP_TX_NO_ROUTE);
        return;
    }
    cksum_store(p->data + 2, cksum_finish(cksum_add(0, p->data, p->len)));
    net_tx(net, &dst, &local, &remote, IP4_PROTO_ICMP, p);
    net_dst_put(net, &dst);
}

static struct pkt *message(struct net *net, uint32_t len)
{
    struct pkt *p = pkt_alloc(net->core->pool);

    if (p != NULL && pkt_tailroom(p) >= len)
        return p;
    net->counters.drops[DROP_TX_NO_PKT]++;
    pkt_free(p);
    return NULL;
}

static enum drop echo(struct net *net, struct pkt *p, const struct ip4 *ip)
{
    struct pkt *reply;
    uint8_t *icmp;

    if (!limit_pass(&net->echo, net->core->now_us))
        return DROP_ICMP4_LIMITED;
    reply = message(net, p->len);
    if (reply != NULL) {
        icmp = pkt_put(reply, p->len);
        memcpy(icmp, p->data, p->len);
        icmp[0] = ICMP_ECHO_REPLY;
        icmp[1] = 0;
        put16(icmp + 2, 0);
        send(net, reply, ip->dst, ip->src);
    }
    pkt_free(p);
    return DROP_NONE;
}

static int error_of(uint8_t type, uint8_t code)
{
    if (type == ICMP4_TIME_EXCEEDED)
        return -EHOSTUNREACH;
    if (type == ICMP4_PARAMETER)
        return -EPROTO;
    switch (code) {
    case CODE_NET:
        return -ENETUNREACH;
    case ICMP4_CODE_PROTOCOL:
    case ICMP4_CODE_PORT:
        return -ECONNREFUSED;
    case CODE_TOO_BIG:
        return -EMSGSIZE;
    case CODE_ADMIN_NET:
    case CODE_ADMIN_HOST:
    case CODE_ADMIN:
        return -EACCES;
    default:
        return -EHOSTUNREACH;
    }
}

/* A router from before RFC 1191 does not say what would fit: the next size that is in use (7.1). */
static uint16_t next_plateau(uint16_t total_len)
{
    static const uint16_t sizes[] = { 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68 };

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        if (sizes[i] < total_len)
            return sizes[i];
    return sizes[ARRAY_SIZE(sizes) - 1];
}

/* An error quotes the packet it is about: ours, if anything is true about it. */
static enum drop error(struct net *net, struct pkt *p, const struct ip4 *outer)
{
    const uint8_t *icmp = p->data, *ip = icmp + ICMP_HDR, *l4;
    struct ipport local, remote;
    const struct net_proto *proto;
    struct flow_key key;
    uint32_t hdr_len;
    uint16_t mtu = 0;
    int err;

    if (p->len < ICMP_HDR + IP4_HDR + QUOTE)
        return DROP_ICMP4_SHORT;
    hdr_len = (ip[0] & 0xfu) * 4;
    if (ip[0] >> 4 != 4 || hdr_len < IP4_HDR || p->len < ICMP_HDR + hdr_len + QUOTE)
        return DROP_ICMP4_SHORT;
    if (!iface_any_has(&net->ifaces, get32(ip + 12)))
        return DROP_ICMP4_NOT_OURS;

    l4 = ip + hdr_len;
    local = (struct ipport){ ipaddr_v4(get32(ip + 12)), get16(l4) };
    remote = (struct ipport){ ipaddr_v4(get32(ip + 16)), get16(l4 + 2) };
    flow_key_init(&key, ip[9], &remote, &local);
    if (net_punt_quoted(net, p, ip4_frame(p, outer), &key))
        return DROP_NONE;
    proto = &net->protos[ip[9]];
    if (proto->error == NULL)
        return DROP_ICMP4_NOT_OURS;
    err = error_of(icmp[0], icmp[1]);
    if (err == -EMSGSIZE)
        mtu = get16(icmp + 6) != 0 ? get16(icmp + 6) : next_plateau(get16(ip + 2));
    net->counters.icmp_errors_in++;
    proto->error(proto->error_ctx, &local, &remote, err, mtu, l4);
    pkt_free(p);
    return DROP_NONE;
}

enum drop icmp4_rx(struct net *net, const struct iface *i, struct pkt *p, const struct ip4 *ip)
{
    if (p->len < ICMP_HDR)
        return DROP_ICMP4_SHORT;
    if (!cksum_is_good(cksum_add(0, p->data, p->len)))
        return DROP_ICMP4_CSUM;

    switch (p->data[0]) {
    case ICMP_ECHO:
        return echo(net, p, ip);
    case ICMP4_UNREACHABLE:
    case ICMP4_TIME_EXCEEDED:
    case ICMP4_PARAMETER:
        return error(net, p, ip);
    case ICMP_ECHO_REPLY: /* we never ask */
        if (net->punt != NULL &&
            net_punt(net, p, ip4_frame(p, ip), punt_other(net->punt, p->port, PUNT_ECHO_REPLIES)))
            return DROP_NONE;
        return DROP_ICMP4_TYPE;
    case ICMP_REDIRECT:
        return DROP_ICMP4_REDIRECT;
    default:
        return DROP_ICMP4_TYPE;
    }
}

/*
 * RFC 1122, 3.2.2: never about an ICMP error, a broadcast, a fragment but the first, or a source
 * that is not one host. Callers have sorted out all but the first.
 */
static bool is_about_error(const struct ip4 *ip, uint32_t len)
{
    const uint8_t *l4 = ip->hdr + ip->hdr_len;

    return ip->protocol == IP4_PROTO_ICMP &&
           (len == 0 || (l4[0] != ICMP_ECHO && l4[0] != ICMP_ECHO_REPLY));
}

void icmp4_error(struct net *net, const struct ip4 *ip, uint32_t len, uint8_t type, uint8_t code,
                 uint32_t word)
{
    const uint32_t quote = ip->hdr_len + MIN(len, (uint32_t)QUOTE);
    struct pkt *msg;
    uint8_t *icmp;

    if (is_about_error(ip, len))
        return;
    if (!limit_pass(&net->errors, net->core->now_us)) {
        net->counters.drops[DROP_TX_ICMP_LIMITED]++;
        return;
    }
    msg = message(net, ICMP_HDR + quote);
    if (msg == NULL)
        return;
    icmp = pkt_put(msg, ICMP_HDR + quote);
    icmp[0] = type;
    icmp[1] = code;
    put16(icmp + 2, 0);
    put32(icmp + 4, word);
    memcpy(icmp + ICMP_HDR, ip->hdr, quote);
    net->counters.icmp_errors_out++;
    send(net, msg, ip->dst, ip->src);
}
