#include "dataplane/net/nd.h"

#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/base/log.h"
#include "dataplane/net/addr6.h"
#include "dataplane/net/eth.h"
#include "dataplane/net/neigh.h"
#include "dataplane/net/net_impl.h"

#define PROBE_US UINT64_C(1000000) /* RetransTimer */

enum {
    NS_LEN = 24,
    RA_LEN = 16,
    TARGET_AT = 8,
    LINK_OPT_LEN = 8,
    NA_SOLICITED = 0x40,
    NA_OVERRIDE = 0x20,
};

/* ---- messages */

void nd_send(struct net *net, const struct iface *i, struct pkt *p, const struct ipaddr *src,
             const struct ipaddr *dst, const uint8_t mac[6])
{
    cksum_store(p->data + 2,
                cksum_finish(cksum_add(cksum_pseudo(src, dst, IP6_ICMP, p->len), p->data, p->len)));
    ip6_push(p, src, dst, IP6_ICMP, ND_HOP_LIMIT, 0);
    eth_tx(net, i, mac, ETH_TYPE_IP6, p);
}

/* A message about @target, with our MAC address as the option @opt (0: without). */
static struct pkt *message(struct net *net, const struct iface *i, uint8_t type, uint8_t flags,
                           const struct ipaddr *target, uint8_t opt)
{
    struct pkt *p = pkt_alloc(net->core->pool);
    uint8_t *at;

    if (p == NULL) {
        net->counters.drops[DROP_TX_NO_PKT]++;
        return NULL;
    }
    at = pkt_put(p, NS_LEN);
    memset(at, 0, TARGET_AT);
    at[0] = type;
    at[4] = flags;
    memcpy(at + TARGET_AT, target->b, 16);
    if (opt != 0) {
        at = pkt_put(p, LINK_OPT_LEN);
        at[0] = opt;
        at[1] = 1;
        memcpy(at + 2, i->mac, 6);
    }
    return p;
}

void nd_solicit(struct net *net, const struct iface *i, const struct ipaddr *addr,
                const uint8_t *to)
{
    const struct iface_addr6 *from = net_source6(net, i, addr, true);
    const struct ipaddr group = addr6_solicited(addr);
    uint8_t mac[6];
    struct pkt *p;

    if (from == NULL) /* none of ours is in use yet: whoever asks for it tries again */
        return;
    p = message(net, i, ICMP6_NEIGH_SOLICIT, 0, addr, ND_OPT_SOURCE);
    if (p == NULL)
        return;
    addr6_group_mac(&group, mac);
    nd_send(net, i, p, &from->addr, to != NULL ? addr : &group, to != NULL ? to : mac);
}

static void probe_for(struct net *net, const struct iface *i, const struct ipaddr *addr)
{
    const struct ipaddr nobody = { .family = IP_V6 }, group = addr6_solicited(addr);
    struct pkt *p = message(net, i, ICMP6_NEIGH_SOLICIT, 0, addr, 0);
    uint8_t mac[6];

    if (p == NULL)
        return;
    addr6_group_mac(&group, mac);
    nd_send(net, i, p, &nobody, &group, mac);
}

/* Says that @addr is ours; @to with @mac, or NULL: to all. */
static void advertise(struct net *net, const struct iface *i, const struct ipaddr *addr,
                      const struct ipaddr *to, const uint8_t *mac)
{
    const struct ipaddr all = addr6_all_nodes();
    const uint8_t flags = (uint8_t)(NA_OVERRIDE | (to != NULL ? NA_SOLICITED : 0));
    struct pkt *p = message(net, i, ICMP6_NEIGH_ADVERT, flags, addr, ND_OPT_TARGET);
    uint8_t group_mac[6];

    if (p == NULL)
        return;
    addr6_group_mac(&all, group_mac);
    nd_send(net, i, p, addr, to != NULL ? to : &all, to != NULL ? mac : group_mac);
}

bool nd_options_are_good(const uint8_t *at, uint32_t len)
{
    while (len > 0) {
        const uint32_t n = len >= 2 ? at[1] * 8u : 0;

        if (n == 0 || n > len)
            return false;
        at += n;
        len -= n;
    }
    return true;
}

const uint8_t *nd_option(const uint8_t *at, uint32_t len, uint8_t type, uint32_t *left)
{
    while (len > 0) {
        const uint32_t n = at[1] * 8u;

        if (at[0] == type) {
            *left = len;
            return at;
        }
        at += n;
        len -= n;
    }
    return NULL;
}

/* The MAC address in an option, or NULL. False: there is one that cannot be. */
static bool link_option(const uint8_t *at, uint32_t len, uint8_t type, const uint8_t **ret)
{
    static const uint8_t nobody[6];
    uint32_t left;
    const uint8_t *opt = nd_option(at, len, type, &left);

    *ret = opt != NULL ? opt + 2 : NULL;
    return opt == NULL ||
           (opt[1] == 1 && !eth_is_group(opt + 2) && memcmp(opt + 2, nobody, sizeof(nobody)) != 0);
}

/* ---- our addresses */

static struct iface *iface_of(const struct iface_addr6 *a)
{
    return &a->net->ifaces.ifaces[a->iface];
}

static void arm(struct iface_addr6 *a, uint64_t at_us)
{
    wheel_start(&a->net->core->wheel, &a->timer, at_us);
}

static void in_use(struct iface_addr6 *a)
{
    struct net *net = a->net;

    a->state = ADDR6_IN_USE;
    if (a->valid_until_us != UINT64_MAX)
        arm(a, a->valid_until_us);
    if (!net->first)
        return;
    advertise(net, iface_of(a), &a->addr, NULL, NULL);
    mld_report(net, iface_of(a), true);
    if (addr6_is_link_local(&a->addr) && iface_of(a)->believes_routers)
        routers_ask(net);
}

static void probe(struct iface_addr6 *a)
{
    a->probes++;
    if (a->net->first)
        probe_for(a->net, iface_of(a), &a->addr);
    arm(a, a->net->core->now_us + PROBE_US);
}

static void on_timer(struct wheel_timer *timer, uint64_t now_us)
{
    struct iface_addr6 *a = container_of(timer, struct iface_addr6, timer);

    switch (a->state) {
    case ADDR6_TENTATIVE:
        if (a->probes < iface_of(a)->duplicate_probes)
            probe(a);
        else
            in_use(a);
        return;
    case ADDR6_IN_USE:
    case ADDR6_DUPLICATE: /* a router's prefix that is no longer valid */
        if (a->valid_until_us > a->net->core->now_us)
            arm(a, a->valid_until_us);
        else
            a->addr = (struct ipaddr){ .family = IP_NONE };
        return;
    }
}

void nd_address_start(struct net *net, struct iface_addr6 *a)
{
    a->net = net;
    wheel_timer_init(&a->timer, on_timer);
    a->state = ADDR6_TENTATIVE;
    if (iface_of(a)->duplicate_probes == 0) {
        in_use(a);
        return;
    }
    if (net->first)
        mld_report(net, iface_of(a), true); /* or a switch would keep the answer from us */
    probe(a);
}

void nd_address_stop(struct iface_addr6 *a)
{
    if (a->net != NULL)
        wheel_stop(&a->net->core->wheel, &a->timer);
}

/* Somebody else has @a, or wants it. */
static enum drop conflict(struct net *net, const struct iface *i, struct iface_addr6 *a,
                          const uint8_t *mac)
{
    char str[IPADDR_STRLEN];

    switch (a->state) {
    case ADDR6_TENTATIVE:
        a->state = ADDR6_DUPLICATE;
        if (a->valid_until_us != UINT64_MAX)
            arm(a, a->valid_until_us);
        else
            wheel_stop(&net->core->wheel, &a->timer);
        net->counters.duplicate_addresses++;
        log_error("net",
                  "%s is a duplicate and is not used: %02x:%02x:%02x:%02x:%02x:%02x on port %u has "
                  "it",
                  ipaddr_str(&a->addr, str), mac[0], mac[1], mac[2], mac[3], mac[4], mac[5],
                  i->port);
        return DROP_ND_CONFLICT;
    case ADDR6_IN_USE:
        net->counters.nd_conflicts++;
        log_limited(LOG_LVL_WARNING, "net",
                    "%s is ours, but %02x:%02x:%02x:%02x:%02x:%02x on port %u claims it",
                    ipaddr_str(&a->addr, str), mac[0], mac[1], mac[2], mac[3], mac[4], mac[5],
                    i->port);
        return DROP_ND_CONFLICT;
    case ADDR6_DUPLICATE:
        return DROP_ND_CONFLICT;
    }
    return DROP_ND_CONFLICT;
}

/* ---- what others say */

struct nd {
    struct net *net;
    struct iface *i;
    struct pkt *p;
    const struct ip6 *ip;
    const uint8_t *mac; /* of the frame */
    struct ipaddr target;
    struct iface_addr6 *ours; /* the address of ours that is the target, or NULL */
};

/* The other workers see only what this one gives them. */
static void share(const struct nd *m)
{
    const uint32_t front = (uint32_t)(m->p->data - m->ip->hdr) + m->p->l2_len;

    if ((m->p->flags & PKT_STEERED) != 0 || m->net->ops->share == NULL ||
        !limit_pass(&m->net->shares, m->net->core->now_us))
        return;
    pkt_push(m->p, front);
    m->net->ops->share(m->net->ctx, m->p);
    pkt_pull(m->p, front);
}

static bool is_on_link(const struct nd *m, const struct ipaddr *addr)
{
    const struct router_prefix *p;

    if (iface6_on_link(m->i, addr))
        return true;
    p = router_on_link(m->net, addr);
    return p != NULL && &m->net->ifaces.ifaces[p->iface] == m->i;
}

/* Somebody looks for duplicates of an address that is ours, or would be. */
static enum drop probed(const struct nd *m)
{
    if (m->ours == NULL)
        return DROP_ND_NOT_ASKED;
    share(m);
    if (m->ours->state != ADDR6_IN_USE)
        return conflict(m->net, m->i, m->ours, m->mac);
    if ((m->p->flags & PKT_STEERED) == 0)
        advertise(m->net, m->i, &m->target, NULL, NULL);
    pkt_free(m->p);
    return DROP_NONE;
}

/* Somebody speaks with an address of ours. */
static enum drop own_address(const struct nd *m)
{
    struct iface_addr6 *a = iface6_find(m->i, &m->ip->src);

    return a != NULL ? conflict(m->net, m->i, a, m->mac) : DROP_IP6_MARTIAN;
}

static enum drop solicited(const struct nd *m, const uint8_t *opts, uint32_t len)
{
    const struct ipaddr group = addr6_solicited(&m->target);
    const uint8_t *mac;
    bool known = true;

    if (!link_option(opts, len, ND_OPT_SOURCE, &mac))
        return DROP_ND_BAD;
    if (addr6_is_unspecified(&m->ip->src)) /* RFC 4861, 7.1.1 */
        return mac == NULL && ipaddr_eq(&m->ip->dst, &group) ? probed(m) : DROP_ND_BAD;
    if (m->ip->own)
        return own_address(m);
    if (!is_on_link(m, &m->ip->src))
        return DROP_ND_STRANGER;
    if (m->ours == NULL || m->ours->state != ADDR6_IN_USE)
        return DROP_ND_NOT_ASKED;
    if (mac != NULL)
        known = neigh_heard(m->net, m->i, &m->ip->src, mac, false, true);
    /* Whoever gave us a copy has answered. */
    if ((m->p->flags & PKT_STEERED) == 0)
        advertise(m->net, m->i, &m->target, &m->ip->src, mac != NULL ? mac : m->mac);
    share(m);
    if (!known)
        return DROP_ND_TABLE_FULL;
    pkt_free(m->p);
    return DROP_NONE;
}

static enum drop advertised(const struct nd *m, const uint8_t *opts, uint32_t len)
{
    const uint8_t flags = m->p->data[4];
    const uint8_t *mac;

    if (!link_option(opts, len, ND_OPT_TARGET, &mac) || addr6_is_unspecified(&m->ip->src) ||
        (addr6_is_group(&m->ip->dst) && (flags & NA_SOLICITED) != 0))
        return DROP_ND_BAD;
    if (m->ours != NULL) {
        share(m);
        return conflict(m->net, m->i, m->ours, m->mac);
    }
    if (!is_on_link(m, &m->target))
        return DROP_ND_STRANGER;
    /* Also what this worker did not want to know: another one may have asked, or the kernel. */
    share(m);
    net_punt_copy(m->net, m->p, m->ip->hdr - m->p->l2_len);
    if (!neigh_advertised(m->net, m->i, &m->target, mac, (flags & NA_SOLICITED) != 0,
                          (flags & NA_OVERRIDE) != 0))
        return DROP_ND_NOT_ASKED;
    pkt_free(m->p);
    return DROP_NONE;
}

static enum drop about_target(struct nd *m)
{
    const uint8_t *at = m->p->data;
    const bool is_solicit = at[0] == ICMP6_NEIGH_SOLICIT;

    if (m->p->len < NS_LEN || at[1] != 0 || !nd_options_are_good(at + NS_LEN, m->p->len - NS_LEN))
        return DROP_ND_BAD;
    m->target = ipaddr_v6(at + TARGET_AT);
    if (addr6_is_group(&m->target) || addr6_is_inside(&m->target))
        return DROP_ND_BAD;
    if (addr6_is_link_local(&m->target))
        m->target.scope = (uint8_t)(m->i - m->net->ifaces.ifaces + 1);
    m->ours = iface6_find(m->i, &m->target);
    return is_solicit ? solicited(m, at + NS_LEN, m->p->len - NS_LEN)
                      : advertised(m, at + NS_LEN, m->p->len - NS_LEN);
}

static enum drop router(const struct nd *m)
{
    const uint8_t *mac, *at = m->p->data;
    enum drop why;

    if (!m->i->believes_routers)
        return DROP_ND_ROUTER_OFF;
    if (m->p->len < RA_LEN || at[1] != 0 || !addr6_is_link_local(&m->ip->src) || m->ip->own ||
        !nd_options_are_good(at + RA_LEN, m->p->len - RA_LEN) ||
        !link_option(at + RA_LEN, m->p->len - RA_LEN, ND_OPT_SOURCE, &mac))
        return DROP_ND_BAD;
    share(m);
    if (mac != NULL)
        neigh_heard(m->net, m->i, &m->ip->src, mac, false, true);
    why = router_advertised(m->net, m->i, m->p, m->ip);
    if (why == DROP_NONE)
        pkt_free(m->p);
    return why;
}

enum drop nd_rx(struct net *net, const struct iface *i, struct pkt *p, const struct ip6 *ip)
{
    struct nd m = { .net = net,
                    .i = &net->ifaces.ifaces[i - net->ifaces.ifaces],
                    .p = p,
                    .ip = ip,
                    .mac = ip->hdr - p->l2_len + 6 };

    if (ip->hop_limit != ND_HOP_LIMIT || (p->flags & PKT_REASSEMBLED) != 0 || eth_is_group(m.mac))
        return DROP_ND_BAD;
    if (memcmp(m.mac, i->mac, sizeof(i->mac)) == 0)
        return DROP_ND_OWN;
    switch (p->data[0]) {
    case ICMP6_NEIGH_SOLICIT:
    case ICMP6_NEIGH_ADVERT:
        return about_target(&m);
    case ICMP6_ROUTER_ADVERT:
        return router(&m);
    case ICMP6_ROUTER_SOLICIT:
        return DROP_ND_NOT_ROUTER;
    default:
        return DROP_ND_REDIRECT;
    }
}
