#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/net/addr6.h"
#include "dataplane/net/ip6.h"
#include "dataplane/net/nd.h"
#include "dataplane/net/net_impl.h"

#include <errno.h>

enum {
    ICMP_HDR = 8,
    QUOTE = 8, /* bytes of the offending transport header that we look at */
    QUOTE_MAX = IP6_MTU_MIN - IP6_HDR - ICMP_HDR,
    INFORMATIONAL = 128, /* the types from here on are no errors */
};

/* Sends @p, an ICMP message whose checksum is still 0, to @to. Takes @p. */
static void send(struct net *net, struct pkt *p, const struct ipaddr *from, const struct ipaddr *to)
{
    struct ipaddr local = *from;
    struct net_dst dst;

    if (net_route(net, to, &local, &dst) < 0) {
        net_drop(net, p, DROP_TX_NO_ROUTE);
        return;
    }
    cksum_store(p->data + 2, cksum_finish(cksum_add(cksum_pseudo(&local, to, IP6_ICMP, p->len),
                                                    p->data, p->len)));
    net_tx(net, &dst, &local, to, IP6_ICMP, p);
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

/* Ours for an answer to @ip: where it was sent to, if that is one machine. */
static struct ipaddr answer_from(const struct ip6 *ip)
{
    return addr6_is_group(&ip->dst) ? (struct ipaddr){ .family = IP_NONE } : ip->dst;
}

static enum drop echo(struct net *net, struct pkt *p, const struct ip6 *ip)
{
    const struct ipaddr from = answer_from(ip);
    struct pkt *reply;
    uint8_t *icmp;

    if (!limit_pass(&net->echo6, net->core->now_us))
        return DROP_ICMP6_LIMITED;
    reply = message(net, p->len);
    if (reply != NULL) {
        icmp = pkt_put(reply, p->len);
        memcpy(icmp, p->data, p->len);
        icmp[0] = ICMP6_ECHO_REPLY;
        icmp[1] = 0;
        put16(icmp + 2, 0);
        send(net, reply, &from, &ip->src);
    }
    pkt_free(p);
    return DROP_NONE;
}

static int error_of(uint8_t type, uint8_t code)
{
    static const int unreachable[] = { -ENETUNREACH,  -EACCES, -EHOSTUNREACH, -EHOSTUNREACH,
                                       -ECONNREFUSED, -EACCES, -EACCES };

    switch ((enum icmp6_type)type) {
    case ICMP6_TOO_BIG:
        return -EMSGSIZE;
    case ICMP6_PARAMETER:
        return -EPROTO;
    case ICMP6_UNREACHABLE:
        return code < ARRAY_SIZE(unreachable) ? unreachable[code] : -EHOSTUNREACH;
    default:
        return -EHOSTUNREACH;
    }
}

/* An error quotes the packet it is about: ours, if anything is true about it. */
static enum drop error(struct net *net, struct pkt *p, const struct ip6 *outer)
{
    const uint8_t *icmp = p->data, *ip = icmp + ICMP_HDR;
    const uint32_t len = p->len - ICMP_HDR;
    struct ipport local, remote;
    const struct net_proto *proto;
    struct flow_key key;
    uint8_t protocol;
    uint16_t mtu = 0;
    uint32_t at;
    int err;

    if (len < IP6_HDR + QUOTE || ip[0] >> 4 != 6 || !ext6_find(ip, len, &protocol, &at) ||
        len - at < QUOTE)
        return DROP_ICMP6_SHORT;
    local = (struct ipport){ ipaddr_v6(ip + 8), get16(ip + at) };
    remote = (struct ipport){ ipaddr_v6(ip + 24), get16(ip + at + 2) };
    net_set_scopes(outer->dst.scope, &local.addr, &remote.addr);
    if (iface6_any_find(&net->ifaces, &local.addr) == NULL)
        return DROP_ICMP6_NOT_OURS;
    flow_key_init(&key, protocol, &remote, &local);
    if (net_punt_quoted(net, p, ip6_frame(p, outer), &key))
        return DROP_NONE;
    proto = &net->protos[protocol];
    if (proto->error == NULL)
        return DROP_ICMP6_NOT_OURS;

    err = error_of(icmp[0], icmp[1]);
    if (err == -EMSGSIZE) /* RFC 8201, 4: never less than every link must carry */
        mtu = (uint16_t)MIN(MAX(get32(icmp + 4), (uint32_t)IP6_MTU_MIN), (uint32_t)UINT16_MAX);
    net->counters.icmp_errors_in++;
    proto->error(proto->error_ctx, &local, &remote, err, mtu, ip + at);
    pkt_free(p);
    return DROP_NONE;
}

/* We never ask: the kernel may have. */
static enum drop echo_reply(struct net *net, struct pkt *p, const struct ip6 *ip)
{
    if (net->punt != NULL &&
        net_punt(net, p, ip6_frame(p, ip), punt_other(net->punt, p->port, PUNT_ECHO_REPLIES)))
        return DROP_NONE;
    return DROP_ICMP6_TYPE;
}

static enum drop from_one(struct net *net, struct pkt *p, const struct ip6 *ip)
{
    if (ip->own || addr6_is_unspecified(&ip->src))
        return DROP_IP6_MARTIAN;
    if (ip->tentative)
        return DROP_IP6_TENTATIVE;
    if (p->data[0] == ICMP6_ECHO)
        return echo(net, p, ip);
    if (addr6_is_group(&ip->dst))
        return DROP_ICMP6_NOT_OURS;
    return p->data[0] == ICMP6_ECHO_REPLY ? echo_reply(net, p, ip) : error(net, p, ip);
}

enum drop icmp6_rx(struct net *net, const struct iface *i, struct pkt *p, const struct ip6 *ip)
{
    if (p->len < ICMP_HDR)
        return DROP_ICMP6_SHORT;
    if (!cksum_is_good(
            cksum_add(cksum_pseudo(&ip->src, &ip->dst, IP6_ICMP, p->len), p->data, p->len)))
        return DROP_ICMP6_CSUM;

    switch ((enum icmp6_type)p->data[0]) {
    case ICMP6_ECHO:
    case ICMP6_ECHO_REPLY:
    case ICMP6_UNREACHABLE:
    case ICMP6_TOO_BIG:
    case ICMP6_TIME_EXCEEDED:
    case ICMP6_PARAMETER:
        return from_one(net, p, ip);
    case ICMP6_ROUTER_SOLICIT:
    case ICMP6_ROUTER_ADVERT:
    case ICMP6_NEIGH_SOLICIT:
    case ICMP6_NEIGH_ADVERT:
    case ICMP6_REDIRECT:
        return nd_rx(net, i, p, ip);
    case ICMP6_MLD_QUERY:
        return mld_rx(net, i, p, ip);
    case ICMP6_MLD_REPORT:
    case ICMP6_MLD_DONE:
    case ICMP6_MLD2_REPORT:
        break;
    }
    return DROP_ICMP6_TYPE;
}

/* An error about an error, or about a redirect, would be answered for ever. */
static bool is_about_error(const struct ip6 *ip, uint32_t len)
{
    uint8_t protocol;
    uint32_t at;

    if (!ext6_find(ip->hdr, len, &protocol, &at) || protocol != IP6_ICMP)
        return false;
    return at == len || ip->hdr[at] < INFORMATIONAL || ip->hdr[at] == ICMP6_REDIRECT;
}

void icmp6_error(struct net *net, const struct ip6 *ip, uint32_t len, uint8_t type, uint8_t code,
                 uint32_t word)
{
    const bool may_be_group = type == ICMP6_PARAMETER && code == ICMP6_CODE_OPTION;
    const uint32_t quote = MIN(len, (uint32_t)QUOTE_MAX);
    const struct ipaddr from = answer_from(ip);
    struct pkt *msg;
    uint8_t *icmp;

    if (ip->own || ip->tentative || addr6_is_unspecified(&ip->src) || addr6_is_group(&ip->src) ||
        ((ip->group || addr6_is_group(&ip->dst)) && !may_be_group) || is_about_error(ip, len))
        return;
    if (!limit_pass(&net->errors6, net->core->now_us)) {
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
    send(net, msg, &from, &ip->src);
}
