#include "dataplane/net/eth.h"

#include "dataplane/base/bytes.h"
#include "dataplane/net/ip4.h"
#include "dataplane/net/ip6.h"
#include "dataplane/net/net_impl.h"

#define VID_MASK 0xfff

/* Not for IP: is it the kernel's all the same? */
static enum drop other_type(struct net *net, struct pkt *p, const uint8_t *eth, uint16_t type,
                            enum drop why)
{
    if (net->punt != NULL && net_punt(net, p, eth, punt_find_type(net->punt, p->port, type)))
        return DROP_NONE;
    return why;
}

enum drop eth_rx(struct net *net, struct pkt *p)
{
    const uint8_t *eth = p->data;
    const struct iface *i;
    bool group;
    uint16_t type, vlan = 0;
    uint8_t hdr_len = ETH_HDR;

    if (unlikely(p->len < ETH_HDR))
        return DROP_ETH_SHORT;
    type = get16(eth + 12);
    if (type == ETH_TYPE_VLAN) {
        if (unlikely(p->len < ETH_HDR + ETH_VLAN_TAG))
            return DROP_ETH_SHORT;
        vlan = get16(eth + 14) & VID_MASK; /* 0: a priority tag, no VLAN */
        type = get16(eth + 16);
        hdr_len = ETH_HDR + ETH_VLAN_TAG;
    }
    group = eth_is_group(eth);
    i = iface_find(&net->ifaces, p->port, vlan);
    if (unlikely(i == NULL))
        return group ? other_type(net, p, eth, type, DROP_ETH_VLAN) : DROP_ETH_VLAN;
    if (unlikely(!group && memcmp(eth, i->mac, sizeof(i->mac)) != 0))
        return DROP_ETH_NOT_OURS;

    p->l2_len = hdr_len;
    pkt_pull(p, hdr_len);
    switch (type) {
    case ETH_TYPE_IP4:
        return ip4_rx(net, i, p, group);
    case ETH_TYPE_IP6:
        return ip6_rx(net, i, p, group);
    case ETH_TYPE_ARP:
        return arp_rx(net, i, p);
    default:
        return other_type(net, p, eth, type, DROP_ETH_TYPE);
    }
}

void eth_tx(struct net *net, const struct iface *i, const uint8_t to[6], uint16_t type,
            struct pkt *p)
{
    const uint8_t len = i->vlan != 0 ? ETH_HDR + ETH_VLAN_TAG : ETH_HDR;
    uint8_t *eth;

    if (unlikely(pkt_headroom(p) < len)) {
        net_drop(net, p, DROP_TX_HEADROOM);
        return;
    }
    eth = pkt_push(p, len);
    memcpy(eth, to, 6);
    memcpy(eth + 6, i->mac, 6);
    if (i->vlan != 0) {
        put16(eth + 12, ETH_TYPE_VLAN);
        put16(eth + 14, i->vlan);
    }
    put16(eth + len - 2, type);
    p->l2_len = len;
    p->port = i->port;
    net->counters.pkts_out += pkt_n(p);
    net->counters.bytes_out +=
        pkt_total_len(p) + p->n_more * (uint32_t)(len + p->l3_len + p->l4_len);
    net->ops->tx(net->ctx, i->port, p);
}
