#include "dataplane/net/ip4.h"

#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/net/frag.h"
#include "dataplane/net/net_impl.h"

#include <errno.h>

enum {
    IP4_VERSION_IHL = 0x45,
    IP4_DF = 0x4000,
    IP4_MF = 0x2000,
    IP4_OFFSET = 0x1fff, /* in eights of bytes */
    IP4_MF_OFFSET = 0x3fff,
    IP4_ECN = 3,
    IP4_ECT0 = 2,
    IP4_CE = 3,
    OPT_END = 0,
    OPT_NOP = 1,
    OPT_LSRR = 131,
    OPT_SSRR = 137,
};

/* Options are skipped; source routing (RFC 7126, 4.3) and what does not parse are refused. */
static enum drop check_options(const uint8_t *opt, unsigned len)
{
    while (len > 0 && opt[0] != OPT_END) {
        unsigned n = 1;

        if (opt[0] == OPT_LSRR || opt[0] == OPT_SSRR)
            return DROP_IP4_SOURCE_ROUTE;
        if (opt[0] != OPT_NOP) {
            if (len < 2 || opt[1] < 2 || opt[1] > len)
                return DROP_IP4_OPTIONS;
            n = opt[1];
        }
        opt += n;
        len -= n;
    }
    return DROP_NONE;
}

bool ip4_is_host(const struct net *net, uint32_t addr)
{
    /* This net, loopback, multicast, reserved, broadcast (RFC 6890). */
    if (addr >> 24 == 0 || addr >> 24 == 127 || addr >= 0xe0000000)
        return false;
    return !iface_any_has(&net->ifaces, addr);
}

static enum drop check_header(const struct net *net, const struct pkt *p, struct ip4 *ip,
                              uint32_t *total_len)
{
    ip->hdr = p->data;
    if (unlikely(p->len < IP4_HDR))
        return DROP_IP4_SHORT;
    if (unlikely(ip->hdr[0] >> 4 != 4))
        return DROP_IP4_VERSION;
    ip->hdr_len = (uint8_t)((ip->hdr[0] & 0xf) * 4);
    *total_len = get16(ip->hdr + 2);
    if (unlikely(ip->hdr_len < IP4_HDR || *total_len < ip->hdr_len || *total_len > p->len))
        return DROP_IP4_SHORT;
    if (unlikely((p->flags & PKT_RX_IP_CSUM_BAD) != 0))
        return DROP_IP4_CSUM;
    if ((p->flags & PKT_RX_IP_CSUM_GOOD) == 0 &&
        unlikely(!cksum_is_good(cksum_add(0, ip->hdr, ip->hdr_len))))
        return DROP_IP4_CSUM;
    ip->src = get32(ip->hdr + 12);
    ip->dst = get32(ip->hdr + 16);
    ip->protocol = ip->hdr[9];
    return DROP_NONE;
}

/* Who it is from and for. The TTL does not matter to a receiver (RFC 1122, 3.2.1.7). */
static enum drop check_addresses(const struct net *net, const struct iface *i, const struct ip4 *ip)
{
    if (unlikely(!iface_any_has(&net->ifaces, ip->dst)))
        return DROP_IP4_NOT_OURS;
    if (unlikely(ip->group))
        return DROP_IP4_L2_BROADCAST;
    if (unlikely(!ip4_is_host(net, ip->src) || iface_is_broadcast(i, ip->src)))
        return DROP_IP4_MARTIAN;
    return DROP_NONE;
}

/* TCP and UDP, whose header is at @l4 with @len bytes behind it: the ports; of others none. */
static struct flow_key key_of(const struct ip4 *ip, const uint8_t *l4, uint32_t len)
{
    const bool has_ports =
        (ip->protocol == IP4_PROTO_TCP || ip->protocol == IP4_PROTO_UDP) && len >= 4;

    return (struct flow_key){ .remote = ipaddr_v4(ip->src),
                              .local = ipaddr_v4(ip->dst),
                              .remote_port = has_ports ? get16(l4) : 0,
                              .local_port = has_ports ? get16(l4 + 2) : 0,
                              .protocol = ip->protocol };
}

/* Of no flow of ours: is it the kernel's? @l4 of @len bytes is behind the IP header. */
static bool punt(struct net *net, struct pkt *p, const struct ip4 *ip, const uint8_t *l4,
                 uint32_t len)
{
    struct flow_key key;

    if (net->punt == NULL)
        return false;
    key = key_of(ip, l4, len);
    return net_punt(net, p, ip4_frame(p, ip), punt_find(net->punt, p->port, &key));
}

/* To a group: no fragment, from a machine. */
static bool punt_group(struct net *net, struct pkt *p, const struct ip4 *ip)
{
    return ip->group && ip->dst >> 28 == 0xe && (get16(ip->hdr + 6) & IP4_MF_OFFSET) == 0 &&
           ip4_is_host(net, ip->src) &&
           punt(net, p, ip, p->data + ip->hdr_len, p->len - ip->hdr_len);
}

/* To its flow, or to whoever handles the protocol. */
static enum drop deliver(struct net *net, const struct iface *i, struct pkt *p,
                         const struct ip4 *ip)
{
    const struct net_proto *proto = &net->protos[ip->protocol];
    const struct ipaddr src = ipaddr_v4(ip->src), dst = ipaddr_v4(ip->dst);
    enum drop why;

    if (ip->protocol == IP4_PROTO_TCP && net_to_flow(net, &src, &dst, ip->protocol, p, &why))
        return why;
    if (ip->protocol == IP4_PROTO_ICMP)
        return icmp4_rx(net, i, p, ip);
    if (punt(net, p, ip, p->data, p->len))
        return DROP_NONE;
    if (likely(proto->fn != NULL))
        return proto->fn(proto->ctx, p, &src, &dst);
    icmp4_error(net, ip, p->len, ICMP4_UNREACHABLE,
                ip->protocol == IP4_PROTO_UDP ? ICMP4_CODE_PORT : ICMP4_CODE_PROTOCOL, 0);
    return DROP_IP4_PROTOCOL;
}

static enum drop fragment(struct net *net, const struct iface *i, struct pkt *p,
                          const struct ip4 *ip)
{
    const uint16_t field = get16(ip->hdr + 6);
    const struct frag_info f = { .src = ipaddr_v4(ip->src),
                                 .dst = ipaddr_v4(ip->dst),
                                 .id = get16(ip->hdr + 4),
                                 .protocol = ip->protocol,
                                 .off = (field & IP4_OFFSET) * 8u,
                                 .more = (field & IP4_MF) != 0,
                                 .ce = (ip->hdr[1] & IP4_ECN) == IP4_CE,
                                 .hdr_len = ip->hdr_len };
    const enum drop why = frag_check(&f, p->data + f.hdr_len, p->len - f.hdr_len);

    return why != DROP_NONE ? why : frag_rx(net, i, p, &f);
}

enum drop ip4_rx(struct net *net, const struct iface *i, struct pkt *p, bool group)
{
    struct ip4 ip = { .group = group };
    uint32_t total_len;
    enum drop why;

    why = check_header(net, p, &ip, &total_len);
    if (unlikely(why != DROP_NONE))
        return why;
    why = check_addresses(net, i, &ip);
    if (unlikely(why != DROP_NONE))
        return why == DROP_IP4_NOT_OURS && punt_group(net, p, &ip) ? DROP_NONE : why;
    if (unlikely(ip.hdr_len > IP4_HDR)) {
        why = check_options(ip.hdr + IP4_HDR, ip.hdr_len - (unsigned)IP4_HDR);
        if (why != DROP_NONE)
            return why;
    }
    /* Ethernet pads short frames: the length that counts is the one in the header. */
    pkt_trim(p, total_len);
    if (unlikely((get16(ip.hdr + 6) & IP4_MF_OFFSET) != 0))
        return fragment(net, i, p, &ip);

    if ((ip.hdr[1] & IP4_ECN) == IP4_CE)
        p->flags |= PKT_RX_CE;
    pkt_pull(p, ip.hdr_len);
    return deliver(net, i, p, &ip);
}

/* @id is for fragments alone (RFC 6864, 4.1), @frag are flags and offset. */
static inline void tx(struct net *net, const struct net_dst *dst, const struct ipaddr *local,
                      const struct ipaddr *remote, uint8_t protocol, uint16_t id, uint16_t frag,
                      struct pkt *p)
{
    const struct iface *i = &net->ifaces.ifaces[dst->iface];
    uint8_t *ip;

    if (unlikely(pkt_headroom(p) < IP4_HDR)) {
        net_drop(net, p, DROP_TX_HEADROOM);
        return;
    }
    if (unlikely(p->len + IP4_HDR > i->mtu)) { /* of a train, the head is as long as any */
        net_drop(net, p, DROP_TX_TOO_BIG);
        return;
    }
    ip = pkt_push(p, IP4_HDR);
    ip[0] = IP4_VERSION_IHL;
    ip[1] = (p->flags & PKT_TX_ECT) != 0 ? IP4_ECT0 : 0;
    put16(ip + 2, (uint16_t)pkt_total_len(p));
    put16(ip + 4, id);
    put16(ip + 6, frag);
    ip[8] = IP4_TTL;
    ip[9] = protocol;
    put16(ip + 10, 0);
    memcpy(ip + 12, local->b, 4);
    memcpy(ip + 16, remote->b, 4);
    if (i->ip_csum)
        p->flags |= PKT_TX_IP_CSUM;
    else
        cksum_store(ip + 10, cksum_finish(cksum_add(0, ip, IP4_HDR)));
    p->l3_len = IP4_HDR;
    neigh_tx(net, dst->neigh, p);
}

void ip4_tx(struct net *net, const struct net_dst *dst, const struct ipaddr *local,
            const struct ipaddr *remote, uint8_t protocol, struct pkt *p)
{
    tx(net, dst, local, remote, protocol, 0, IP4_DF, p);
}

void ip4_tx_fragment(struct net *net, const struct net_dst *dst, const struct ipaddr *local,
                     const struct ipaddr *remote, uint8_t protocol, uint32_t id, uint32_t off,
                     bool more, struct pkt *p)
{
    tx(net, dst, local, remote, protocol, (uint16_t)id, (uint16_t)((more ? IP4_MF : 0) | off / 8),
       p);
}

void ip4_undeliverable(struct net *net, const struct pkt *p)
{
    const uint8_t *ip = p->data, *l4 = ip + IP4_HDR;
    const struct net_proto *proto = &net->protos[ip[9]];
    struct ipport local, remote;

    if (proto->error == NULL || p->len < IP4_HDR + 8)
        return;
    local = (struct ipport){ ipaddr_v4(get32(ip + 12)), get16(l4) };
    remote = (struct ipport){ ipaddr_v4(get32(ip + 16)), get16(l4 + 2) };
    proto->error(proto->error_ctx, &local, &remote, -EHOSTUNREACH, 0, l4);
}
