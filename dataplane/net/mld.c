/* Multicast listener discovery, version 2 (RFC 3810): that we listen to our solicited groups. */
#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/net/addr6.h"
#include "dataplane/net/eth.h"
#include "dataplane/net/nd.h"
#include "dataplane/net/net_impl.h"

enum {
    REPORT_HDR = 8,
    RECORD_LEN = 20,
    IS_EXCLUDE = 2, /* of nobody: we listen to all */
    TO_EXCLUDE = 4,
    QUERY_LEN = 24,
};

static bool is_first_of_group(const struct iface *i, uint32_t k)
{
    for (uint32_t j = 0; j < k; j++)
        if (i->addrs6[j].addr.family == IP_V6 &&
            memcmp(i->addrs6[j].addr.b + 13, i->addrs6[k].addr.b + 13, 3) == 0)
            return false;
    return true;
}

static uint16_t put_records(struct pkt *p, const struct iface *i, bool joined)
{
    uint16_t n = 0;

    for (uint32_t k = 0; k < i->n_addrs6; k++) {
        const struct ipaddr group = addr6_solicited(&i->addrs6[k].addr);
        uint8_t *at;

        if (i->addrs6[k].addr.family == IP_NONE || !is_first_of_group(i, k))
            continue;
        at = pkt_put(p, RECORD_LEN);
        memset(at, 0, 4);
        at[0] = joined ? TO_EXCLUDE : IS_EXCLUDE;
        memcpy(at + 4, group.b, 16);
        n++;
    }
    return n;
}

/* From a link-local address that is in use, or else from nobody (RFC 3810, 5.2.13). */
static struct ipaddr source(const struct iface *i)
{
    for (uint32_t k = 0; k < i->n_addrs6; k++)
        if (i->addrs6[k].state == ADDR6_IN_USE && addr6_is_link_local(&i->addrs6[k].addr))
            return i->addrs6[k].addr;
    return (struct ipaddr){ .family = IP_V6 };
}

void mld_report(struct net *net, const struct iface *i, bool joined)
{
    static const uint8_t alert[8] = { IP6_ICMP, 0, 5, 2, 0, 0, 1, 0 };
    const struct ipaddr src = source(i), dst = { .family = IP_V6, .b = { 0xff, 2, [15] = 0x16 } };
    struct pkt *p;
    uint8_t mac[6], *at;

    if (!limit_pass(&net->reports, net->core->now_us))
        return;
    p = pkt_alloc(net->core->pool);
    if (p == NULL) {
        net->counters.drops[DROP_TX_NO_PKT]++;
        return;
    }
    at = pkt_put(p, REPORT_HDR);
    memset(at, 0, REPORT_HDR);
    at[0] = ICMP6_MLD2_REPORT;
    put16(at + 6, put_records(p, i, joined));
    cksum_store(at + 2, cksum_finish(cksum_add(cksum_pseudo(&src, &dst, IP6_ICMP, p->len), p->data,
                                               p->len)));
    memcpy(pkt_push(p, sizeof(alert)), alert, sizeof(alert));
    ip6_push(p, &src, &dst, IP6_HOP_BY_HOP, 1, 0);
    addr6_group_mac(&dst, mac);
    eth_tx(net, i, mac, ETH_TYPE_IP6, p);
}

enum drop mld_rx(struct net *net, const struct iface *i, struct pkt *p, const struct ip6 *ip)
{
    if (p->data[0] != ICMP6_MLD_QUERY)
        return DROP_ICMP6_TYPE; /* the report of another listener */
    if (p->len < QUERY_LEN || ip->hop_limit != 1 || !addr6_is_link_local(&ip->src))
        return DROP_ND_BAD;
    /* Whoever gave us a copy has answered; a single host need not wait for a random time. */
    mld_report(net, i, false);
    pkt_free(p);
    return DROP_NONE;
}
