#include "dataplane/net/ip6.h"

#include "dataplane/base/bytes.h"
#include "dataplane/net/addr6.h"
#include "dataplane/net/frag.h"
#include "dataplane/net/net_impl.h"

#include <errno.h>

enum {
    IP6_VERSION = 6,
    IP6_ECN_SHIFT = 4, /* in the second byte */
    IP6_ECT0 = 2,
    IP6_CE = 3,
    LABEL_MASK = 0xfffff,
};

bool ip6_is_host(const struct net *net, const struct ipaddr *addr)
{
    if (addr6_is_group(addr) || addr6_is_inside(addr))
        return false;
    return iface6_any_find(&net->ifaces, addr) == NULL;
}

static enum drop check_header(const struct iface *i, struct pkt *p, struct ip6 *ip)
{
    uint32_t total_len;

    ip->hdr = p->data;
    if (unlikely(i->n_addrs6 == 0))
        return DROP_IP6_OFF;
    if (unlikely(p->len < IP6_HDR))
        return DROP_IP6_SHORT;
    if (unlikely(ip->hdr[0] >> 4 != IP6_VERSION))
        return DROP_IP6_VERSION;
    /* A jumbogram says 0 here and more in an option (RFC 2675): no port of ours takes one. */
    total_len = IP6_HDR + get16(ip->hdr + 4);
    if (unlikely(total_len > p->len))
        return DROP_IP6_SHORT;
    pkt_trim(p, total_len); /* Ethernet pads short frames */
    ip->src = ipaddr_v6(ip->hdr + 8);
    ip->dst = ipaddr_v6(ip->hdr + 24);
    ip->hdr_len = IP6_HDR;
    ip->next_at = 6;
    ip->protocol = ip->hdr[6];
    ip->hop_limit = ip->hdr[7];
    return DROP_NONE;
}

/* An address is told apart by the link it came by, if it is of the link. */
static void set_scopes(const struct net *net, const struct iface *i, struct ip6 *ip)
{
    const uint8_t scope = (uint8_t)(i - net->ifaces.ifaces + 1);

    if (addr6_is_link_local(&ip->src))
        ip->src.scope = scope;
    if (addr6_is_link_local(&ip->dst))
        ip->dst.scope = scope;
}

static enum drop check_addresses(const struct net *net, const struct iface *i, struct ip6 *ip)
{
    const struct iface_addr6 *to;

    set_scopes(net, i, ip);
    if (unlikely(addr6_is_group(&ip->dst))) {
        if (!iface6_in_group(i, &ip->dst))
            return DROP_IP6_NOT_OURS;
    } else {
        to = iface6_any_find(&net->ifaces, &ip->dst);
        if (unlikely(to == NULL))
            return DROP_IP6_NOT_OURS;
        if (unlikely(ip->group))
            return DROP_IP6_L2_BROADCAST;
        ip->tentative = to->state != ADDR6_IN_USE;
    }
    /* From nobody (::) or ourselves comes only what looks for duplicates: icmp6_rx() sees to it. */
    if (unlikely(addr6_is_group(&ip->src) ||
                 (addr6_is_inside(&ip->src) && !addr6_is_unspecified(&ip->src))))
        return DROP_IP6_MARTIAN;
    ip->own = iface6_any_find(&net->ifaces, &ip->src) != NULL;
    return DROP_NONE;
}

static enum drop fragment(struct net *net, const struct iface *i, struct pkt *p, struct ip6 *ip)
{
    const uint8_t *hdr = ip->hdr + ip->hdr_len;
    struct frag_info f = { .src = ip->src,
                           .dst = ip->dst,
                           .id = get32(hdr + 4),
                           .protocol = hdr[0],
                           .off = get16(hdr + 2) & 0xfff8,
                           .more = (hdr[3] & 1) != 0,
                           .ce = (ip->hdr[1] >> IP6_ECN_SHIFT & 3) == IP6_CE,
                           .hdr_len = (uint16_t)(ip->hdr_len + IP6_FRAGMENT_HDR) };
    enum drop why;

    if (ip->own || addr6_is_unspecified(&ip->src) || addr6_is_group(&ip->dst))
        return DROP_IP6_MARTIAN;
    if (ip->tentative)
        return DROP_IP6_TENTATIVE;
    if ((p->flags & PKT_REASSEMBLED) != 0)
        return DROP_IP6_EXT_ORDER;
    why = frag_check(&f, p->data + f.hdr_len, p->len - f.hdr_len);
    if (why == DROP_FRAG_LENGTH) /* RFC 8200, 4.5 */
        icmp6_error(net, ip, p->len, ICMP6_PARAMETER, ICMP6_CODE_HEADER,
                    f.off + p->len - f.hdr_len > UINT16_MAX ? ip->hdr_len + 2 : 4);
    else if (why == DROP_FRAG_TINY)
        icmp6_error(net, ip, p->len, ICMP6_PARAMETER, ICMP6_CODE_FIRST, 0);
    if (why != DROP_NONE)
        return why;
    return frag_rx(net, i, p, &f);
}

/* Of no flow of ours: is it the kernel's? @l4 of @len bytes is behind the headers. */
static bool punt(struct net *net, struct pkt *p, const struct ip6 *ip, const uint8_t *l4,
                 uint32_t len)
{
    const bool has_ports = (ip->protocol == IP6_TCP || ip->protocol == IP6_UDP) && len >= 4;
    struct flow_key key;

    if (net->punt == NULL)
        return false;
    key = (struct flow_key){ .remote = ip->src,
                             .local = ip->dst,
                             .remote_port = has_ports ? get16(l4) : 0,
                             .local_port = has_ports ? get16(l4 + 2) : 0,
                             .protocol = ip->protocol };
    return net_punt(net, p, ip6_frame(p, ip), punt_find(net->punt, p->port, &key));
}

/* To a group that is none of ours: whole, from a machine. */
static bool punt_group(struct net *net, struct pkt *p, const struct ip6 *ip)
{
    return ip->group && addr6_is_group(&ip->dst) && ip6_is_host(net, &ip->src) &&
           ip->protocol != IP6_ICMP && punt(net, p, ip, p->data + IP6_HDR, p->len - IP6_HDR);
}

static enum drop nobody(struct net *net, const struct pkt *p, const struct ip6 *ip)
{
    if (ip->protocol == IP6_NONE)
        return DROP_IP6_NO_NEXT;
    if (ip->protocol == IP6_UDP)
        icmp6_error(net, ip, p->len, ICMP6_UNREACHABLE, ICMP6_CODE_PORT, 0);
    else
        icmp6_error(net, ip, p->len, ICMP6_PARAMETER, ICMP6_CODE_NEXT, ip->next_at);
    return DROP_IP6_PROTOCOL;
}

/* To its flow, or to whoever handles the protocol. */
static enum drop deliver(struct net *net, const struct iface *i, struct pkt *p,
                         const struct ip6 *ip)
{
    const struct net_proto *proto = &net->protos[ip->protocol];
    enum drop why;

    if (ip->protocol == IP6_ICMP) {
        pkt_pull(p, ip->hdr_len);
        return icmp6_rx(net, i, p, ip);
    }
    if (unlikely(ip->own || addr6_is_unspecified(&ip->src)))
        return DROP_IP6_MARTIAN;
    if (unlikely(ip->tentative))
        return DROP_IP6_TENTATIVE;
    if (unlikely(addr6_is_group(&ip->dst)))
        return DROP_IP6_NOT_OURS;
    if (unlikely(ip->protocol != IP6_TCP && proto->fn == NULL)) {
        if (punt(net, p, ip, p->data + ip->hdr_len, p->len - ip->hdr_len))
            return DROP_NONE;
        return nobody(net, p, ip);
    }

    if ((ip->hdr[1] >> IP6_ECN_SHIFT & 3) == IP6_CE)
        p->flags |= PKT_RX_CE;
    pkt_pull(p, ip->hdr_len);
    if (ip->protocol == IP6_TCP && net_to_flow(net, &ip->src, &ip->dst, ip->protocol, p, &why))
        return why;
    if (punt(net, p, ip, p->data, p->len))
        return DROP_NONE;
    if (unlikely(proto->fn == NULL))
        return DROP_IP6_PROTOCOL;
    return proto->fn(proto->ctx, p, &ip->src, &ip->dst);
}

enum drop ip6_rx(struct net *net, const struct iface *i, struct pkt *p, bool group)
{
    struct ip6 ip = { .group = group };
    enum drop why;

    why = check_header(i, p, &ip);
    if (unlikely(why != DROP_NONE))
        return why;
    why = check_addresses(net, i, &ip);
    if (unlikely(why != DROP_NONE))
        return why == DROP_IP6_NOT_OURS && punt_group(net, p, &ip) ? DROP_NONE : why;
    if (unlikely(ip.protocol != IP6_TCP && ip.protocol != IP6_ICMP)) {
        why = ext6_walk(net, p, &ip);
        if (why != DROP_NONE)
            return why;
        if (ip.protocol == IP6_FRAGMENT)
            return fragment(net, i, p, &ip);
    }
    return deliver(net, i, p, &ip);
}

void ip6_push(struct pkt *p, const struct ipaddr *src, const struct ipaddr *dst, uint8_t protocol,
              uint8_t hop_limit, uint32_t label)
{
    const uint32_t len = pkt_total_len(p);
    uint8_t *ip = pkt_push(p, IP6_HDR);

    put32(ip, (uint32_t)IP6_VERSION << 28 | (label & LABEL_MASK));
    put16(ip + 4, (uint16_t)len);
    ip[6] = protocol;
    ip[7] = hop_limit;
    memcpy(ip + 8, src->b, 16);
    memcpy(ip + 24, dst->b, 16);
    p->l3_len = IP6_HDR;
    p->flags |= PKT_TX_IP6;
}

void ip6_tx(struct net *net, const struct net_dst *dst, const struct ipaddr *local,
            const struct ipaddr *remote, uint8_t protocol, struct pkt *p)
{
    const struct iface *i = &net->ifaces.ifaces[dst->iface];

    if (unlikely(pkt_headroom(p) < IP6_HDR)) {
        net_drop(net, p, DROP_TX_HEADROOM);
        return;
    }
    if (unlikely(p->len + IP6_HDR > i->mtu6)) {
        net_drop(net, p, DROP_TX_TOO_BIG);
        return;
    }
    ip6_push(p, local, remote, protocol, IP6_HOP_LIMIT, dst->label);
    if ((p->flags & PKT_TX_ECT) != 0)
        p->data[1] |= IP6_ECT0 << IP6_ECN_SHIFT;
    neigh_tx(net, dst->neigh, p);
}

void ip6_tx_fragment(struct net *net, const struct net_dst *dst, const struct ipaddr *local,
                     const struct ipaddr *remote, uint8_t protocol, uint32_t id, uint32_t off,
                     bool more, struct pkt *p)
{
    uint8_t *hdr;

    if (pkt_headroom(p) < IP6_FRAGMENT_HDR) {
        net_drop(net, p, DROP_TX_HEADROOM);
        return;
    }
    hdr = pkt_push(p, IP6_FRAGMENT_HDR);
    hdr[0] = protocol;
    hdr[1] = 0;
    put16(hdr + 2, (uint16_t)(off | more));
    put32(hdr + 4, id);
    ip6_tx(net, dst, local, remote, IP6_FRAGMENT, p);
}

void ip6_undeliverable(struct net *net, uint8_t iface, const struct pkt *p)
{
    const uint8_t *ip = p->data;
    struct ipport local, remote;
    const struct net_proto *proto;
    uint8_t protocol;
    uint32_t at;

    if (!ext6_find(ip, p->len, &protocol, &at) || p->len - at < 8)
        return;
    proto = &net->protos[protocol];
    if (proto->error == NULL)
        return;
    local = (struct ipport){ ipaddr_v6(ip + 8), get16(ip + at) };
    remote = (struct ipport){ ipaddr_v6(ip + 24), get16(ip + at + 2) };
    net_set_scopes((uint8_t)(iface + 1), &local.addr, &remote.addr);
    proto->error(proto->error_ctx, &local, &remote, -EHOSTUNREACH, 0, ip + at);
}
