#include "dataplane/base/bytes.h"
#include "dataplane/net/eth.h"
#include "dataplane/net/net_impl.h"

#include "dataplane/base/log.h"

/* RFC 826, for Ethernet and IPv4. */
enum {
    ARP_LEN = 28,
    ARP_HTYPE_ETHERNET = 1,
    ARP_OP_REQUEST = 1,
    ARP_OP_REPLY = 2,
    ARP_AT_HTYPE = 0,
    ARP_AT_PTYPE = 2,
    ARP_AT_HLEN = 4,
    ARP_AT_PLEN = 5,
    ARP_AT_OP = 6,
    ARP_AT_SHA = 8,
    ARP_AT_SPA = 14,
    ARP_AT_THA = 18,
    ARP_AT_TPA = 24,
};

static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static const uint8_t nobody[6];

struct arp {
    uint16_t op;
    const uint8_t *sha;
    uint32_t spa, tpa;
};

static void send(struct net *net, const struct iface *i, const uint8_t to[6], uint16_t op,
                 uint32_t spa, const uint8_t tha[6], uint32_t tpa)
{
    struct pkt *p = pkt_alloc(net->core->pool);
    uint8_t *arp;

    if (p == NULL) {
        net->counters.drops[DROP_TX_NO_PKT]++;
        return;
    }
    arp = pkt_put(p, ARP_LEN);
    put16(arp + ARP_AT_HTYPE, ARP_HTYPE_ETHERNET);
    put16(arp + ARP_AT_PTYPE, ETH_TYPE_IP4);
    arp[ARP_AT_HLEN] = 6;
    arp[ARP_AT_PLEN] = 4;
    put16(arp + ARP_AT_OP, op);
    memcpy(arp + ARP_AT_SHA, i->mac, 6);
    put32(arp + ARP_AT_SPA, spa);
    memcpy(arp + ARP_AT_THA, tha, 6);
    put32(arp + ARP_AT_TPA, tpa);
    eth_tx(net, i, to, ETH_TYPE_ARP, p);
}

void arp_request(struct net *net, const struct iface *i, uint32_t addr, const uint8_t *to)
{
    const struct iface_addr *from = iface_on_link(i, addr);

    /* By a route without a next hop an address may be next to us that is in no prefix of ours. */
    if (from == NULL)
        from = i->n_addrs > 0 ? &i->addrs[0] : net_any_addr4(net);
    if (from != NULL)
        send(net, i, to != NULL ? to : everybody, ARP_OP_REQUEST, from->addr, nobody, addr);
}

void arp_announce(struct net *net, const struct iface *i, uint32_t addr)
{
    send(net, i, everybody, ARP_OP_REQUEST, addr, nobody, addr);
}

static enum drop parse(const struct pkt *p, struct arp *arp)
{
    const uint8_t *at = p->data;

    if (p->len < ARP_LEN)
        return DROP_ARP_SHORT;
    if (get16(at + ARP_AT_HTYPE) != ARP_HTYPE_ETHERNET ||
        get16(at + ARP_AT_PTYPE) != ETH_TYPE_IP4 || at[ARP_AT_HLEN] != 6 || at[ARP_AT_PLEN] != 4)
        return DROP_ARP_BAD;
    arp->op = get16(at + ARP_AT_OP);
    arp->sha = at + ARP_AT_SHA;
    arp->spa = get32(at + ARP_AT_SPA);
    arp->tpa = get32(at + ARP_AT_TPA);
    if ((arp->op != ARP_OP_REQUEST && arp->op != ARP_OP_REPLY) || eth_is_group(arp->sha) ||
        memcmp(arp->sha, nobody, sizeof(nobody)) == 0)
        return DROP_ARP_BAD;
    return DROP_NONE;
}

/* The other workers see only what this one gives them. */
static void share(struct net *net, struct pkt *p)
{
    const uint32_t hdr_len = p->l2_len;

    if ((p->flags & PKT_STEERED) != 0 || net->ops->share == NULL ||
        !limit_pass(&net->shares, net->core->now_us))
        return;
    pkt_push(p, hdr_len);
    net->ops->share(net->ctx, p);
    pkt_pull(p, hdr_len);
}

static enum drop conflict(struct net *net, const struct iface *i, const struct arp *arp)
{
    const struct ipaddr addr = ipaddr_v4(arp->spa);
    char str[IPADDR_STRLEN];

    net->counters.arp_conflicts++;
    log_limited(LOG_LVL_WARNING, "net",
                "%s is ours, but %02x:%02x:%02x:%02x:%02x:%02x on port %u claims it",
                ipaddr_str(&addr, str), arp->sha[0], arp->sha[1], arp->sha[2], arp->sha[3],
                arp->sha[4], arp->sha[5], i->port);
    return DROP_ARP_CONFLICT;
}

static void answer(struct net *net, const struct iface *i, const struct arp *arp,
                   const struct pkt *p)
{
    /* Whoever gave us a copy has answered. */
    if (arp->op == ARP_OP_REQUEST && iface_has(i, arp->tpa) && (p->flags & PKT_STEERED) == 0)
        send(net, i, arp->sha, ARP_OP_REPLY, arp->tpa, arp->sha, arp->spa);
}

enum drop arp_rx(struct net *net, const struct iface *i, struct pkt *p)
{
    struct arp arp;
    enum drop why = parse(p, &arp);
    struct ipaddr from;
    bool for_us, gratuitous, known;

    if (why != DROP_NONE)
        return why;
    if (memcmp(arp.sha, i->mac, sizeof(i->mac)) == 0)
        return DROP_ARP_OWN;
    if (iface_any_has(&net->ifaces, arp.spa))
        return conflict(net, i, &arp);
    for_us = iface_has(i, arp.tpa);
    if (arp.spa == 0) { /* somebody wonders whether an address is free (RFC 5227) */
        if (!for_us)
            return DROP_ARP_NOT_ASKED;
        answer(net, i, &arp, p);
        pkt_free(p);
        return DROP_NONE;
    }
    if (iface_on_link(i, arp.spa) == NULL || iface_is_broadcast(i, arp.spa))
        return DROP_ARP_STRANGER;
    gratuitous = arp.spa == arp.tpa;
    if (!for_us && !gratuitous)
        return DROP_ARP_NOT_ASKED;

    from = ipaddr_v4(arp.spa);
    known = neigh_heard(net, i, &from, arp.sha, for_us && arp.op == ARP_OP_REPLY,
                        for_us && arp.op == ARP_OP_REQUEST);
    answer(net, i, &arp, p);
    /* Also what this worker did not want to know: another one may have asked. */
    share(net, p);
    if (arp.op == ARP_OP_REPLY || gratuitous)
        net_punt_copy(net, p, p->data - p->l2_len);
    if (!known)
        return arp.op == ARP_OP_REQUEST && for_us ? DROP_ARP_TABLE_FULL : DROP_ARP_NOT_ASKED;
    pkt_free(p);
    return DROP_NONE;
}
