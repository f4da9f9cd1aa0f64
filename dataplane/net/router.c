/* What routers advertise (RFC 4861, 6.3; RFC 4862, 5.5), on ports that believe it. */
#include "dataplane/base/bytes.h"
#include "dataplane/base/log.h"
#include "dataplane/net/addr6.h"
#include "dataplane/net/eth.h"
#include "dataplane/net/nd.h"
#include "dataplane/net/net_impl.h"

#define SECOND UINT64_C(1000000)
#define ASK_US (4 * SECOND)
#define ASK_TRIES 3
#define TWO_HOURS (7200 * SECOND)

enum {
    RA_LEN = 16,
    RS_LEN = 8,
    LIFETIME_AT = 6,
    PREFIX_OPT = 4, /* eights of bytes */
    MTU_OPT = 1,
    ON_LINK = 0x80,
    AUTONOMOUS = 0x40,
    OWN_PREFIX_LEN = 64,
};

static uint64_t until(const struct net *net, uint32_t lifetime_s)
{
    return lifetime_s == UINT32_MAX ? UINT64_MAX : net->core->now_us + lifetime_s * SECOND;
}

/* ---- asking */

static bool has_router(const struct net *net, uint8_t iface)
{
    for (unsigned k = 0; k < ROUTERS_MAX; k++) {
        const struct router *r = &net->routers.routers[k];

        if (r->addr.family == IP_V6 && r->iface == iface && r->until_us > net->core->now_us)
            return true;
    }
    return false;
}

static void solicit(struct net *net, const struct iface *i)
{
    const struct ipaddr all = addr6_all_routers();
    const struct iface_addr6 *from = net_source6(net, i, &all, true);
    struct pkt *p;
    uint8_t mac[6], *at;

    if (from == NULL)
        return;
    p = pkt_alloc(net->core->pool);
    if (p == NULL) {
        net->counters.drops[DROP_TX_NO_PKT]++;
        return;
    }
    at = pkt_put(p, RS_LEN + 8);
    memset(at, 0, RS_LEN);
    at[0] = ICMP6_ROUTER_SOLICIT;
    at[RS_LEN] = ND_OPT_SOURCE;
    at[RS_LEN + 1] = 1;
    memcpy(at + RS_LEN + 2, i->mac, 6);
    addr6_group_mac(&all, mac);
    nd_send(net, i, p, &from->addr, &all, mac);
}

static void on_timer(struct wheel_timer *timer, uint64_t now_us)
{
    struct routers *r = container_of(timer, struct routers, timer);
    bool missing = false;

    for (uint32_t k = 0; k < r->net->ifaces.n; k++) {
        const struct iface *i = &r->net->ifaces.ifaces[k];

        if (!i->believes_routers || has_router(r->net, (uint8_t)k))
            continue;
        missing = true;
        solicit(r->net, i);
    }
    if (missing && ++r->asked < ASK_TRIES)
        wheel_start(&r->net->core->wheel, &r->timer, r->net->core->now_us + ASK_US);
}

void routers_init(struct routers *r, struct net *net)
{
    r->net = net;
    wheel_timer_init(&r->timer, on_timer);
}

void routers_ask(struct net *net)
{
    net->routers.asked = 0;
    wheel_start(&net->core->wheel, &net->routers.timer, net->core->now_us);
}

/* ---- listening */

static void set_router(struct net *net, uint8_t iface, const struct ipaddr *addr,
                       uint32_t lifetime_s)
{
    struct router *r = NULL;
    char str[IPADDR_STRLEN];

    for (unsigned k = 0; k < ROUTERS_MAX; k++) {
        struct router *other = &net->routers.routers[k];

        if (ipaddr_eq(&other->addr, addr)) {
            r = other;
            break;
        }
        if (r == NULL && other->until_us <= net->core->now_us)
            r = other;
    }
    if (r == NULL || (lifetime_s == 0 && !ipaddr_eq(&r->addr, addr)))
        return;
    if (!ipaddr_eq(&r->addr, addr))
        log_info("net", "%s on port %u is a default router", ipaddr_str(addr, str),
                 net->ifaces.ifaces[iface].port);
    *r = (struct router){ .addr = *addr, .iface = iface, .until_us = until(net, lifetime_s) };
    if (lifetime_s == 0)
        *r = (struct router){ .addr = { .family = IP_NONE } };
}

static void set_on_link(struct net *net, uint8_t iface, const struct ipprefix *prefix,
                        uint32_t lifetime_s)
{
    struct router_prefix *to = NULL;

    for (unsigned k = 0; k < ROUTER_PREFIXES_MAX; k++) {
        struct router_prefix *p = &net->routers.prefixes[k];

        if (p->iface == iface && p->prefix.len == prefix->len &&
            ipaddr_eq(&p->prefix.addr, &prefix->addr)) {
            to = p;
            break;
        }
        if (to == NULL && p->until_us <= net->core->now_us)
            to = p;
    }
    if (to != NULL)
        *to = (struct router_prefix){ *prefix, iface, until(net, lifetime_s) };
}

/* RFC 4862, 5.5.3 (e): nobody may end an address at once by a forged advertisement. */
static uint64_t new_validity(const struct net *net, const struct iface_addr6 *a, uint32_t valid_s)
{
    const uint64_t now = net->core->now_us, said = until(net, valid_s);

    if (said >= a->valid_until_us || (said > now && said - now > TWO_HOURS))
        return said;
    return a->valid_until_us - now <= TWO_HOURS ? a->valid_until_us : now + TWO_HOURS;
}

static void set_address(struct net *net, struct iface *i, const struct ipaddr *prefix,
                        uint32_t valid_s, uint32_t preferred_s)
{
    const uint8_t index = (uint8_t)(i - net->ifaces.ifaces);
    const struct ipaddr own = iface6_own(i, index, prefix);
    struct iface_addr6 *a = iface6_find(i, &own);
    uint32_t learned = 0;

    if (a != NULL && a->learned) {
        a->valid_until_us = new_validity(net, a, valid_s);
        a->preferred_until_us = until(net, preferred_s);
        if (a->state != ADDR6_TENTATIVE && a->valid_until_us != UINT64_MAX)
            wheel_start(&net->core->wheel, &a->timer, a->valid_until_us);
        return;
    }
    for (uint32_t k = 0; k < i->n_addrs6; k++)
        learned += i->addrs6[k].learned && i->addrs6[k].addr.family == IP_V6;
    if (a != NULL || valid_s == 0 || learned == IFACE_LEARNED_MAX)
        return;
    a = iface6_add(i, index, &own, OWN_PREFIX_LEN);
    if (a == NULL)
        return;
    a->learned = true;
    a->valid_until_us = until(net, valid_s);
    a->preferred_until_us = until(net, preferred_s);
    nd_address_start(net, a);
}

static void take_prefix(struct net *net, struct iface *i, const uint8_t *opt)
{
    const uint32_t valid_s = get32(opt + 4), preferred_s = get32(opt + 8);
    struct ipprefix prefix = { ipaddr_v6(opt + 16), opt[2] };

    if (opt[1] != PREFIX_OPT || prefix.len > 128 || preferred_s > valid_s ||
        addr6_is_link_local(&prefix.addr) || addr6_is_group(&prefix.addr) ||
        addr6_is_inside(&prefix.addr))
        return;
    for (unsigned b = prefix.len; b < 128; b++)
        prefix.addr.b[b / 8] &= (uint8_t) ~(0x80u >> b % 8);
    if ((opt[3] & ON_LINK) != 0)
        set_on_link(net, (uint8_t)(i - net->ifaces.ifaces), &prefix, valid_s);
    if ((opt[3] & AUTONOMOUS) != 0 && prefix.len == OWN_PREFIX_LEN)
        set_address(net, i, &prefix.addr, valid_s, preferred_s);
}

static void take_mtu(struct iface *i, const uint8_t *opt)
{
    const uint32_t mtu = get32(opt + 4);

    if (opt[1] == MTU_OPT && mtu >= IP6_MTU_MIN && mtu <= i->mtu)
        i->mtu6 = (uint16_t)mtu;
}

enum drop router_advertised(struct net *net, struct iface *i, const struct pkt *p,
                            const struct ip6 *ip)
{
    const uint8_t *opt = p->data + RA_LEN;
    uint32_t left = p->len - RA_LEN;

    set_router(net, (uint8_t)(i - net->ifaces.ifaces), &ip->src, get16(p->data + LIFETIME_AT));
    for (; left > 0; left -= opt[1] * 8u, opt += opt[1] * 8u) {
        if (opt[0] == ND_OPT_PREFIX)
            take_prefix(net, i, opt);
        else if (opt[0] == ND_OPT_MTU)
            take_mtu(i, opt);
    }
    return DROP_NONE;
}

const struct router_prefix *router_on_link(const struct net *net, const struct ipaddr *addr)
{
    const struct router_prefix *best = NULL;

    for (unsigned k = 0; k < ROUTER_PREFIXES_MAX; k++) {
        const struct router_prefix *p = &net->routers.prefixes[k];

        if (p->until_us > net->core->now_us &&
            addr6_common(&p->prefix.addr, addr) >= p->prefix.len &&
            (best == NULL || p->prefix.len > best->prefix.len))
            best = p;
    }
    return best;
}

const struct router *router_default(const struct net *net, uint32_t n)
{
    for (unsigned k = 0; k < ROUTERS_MAX; k++) {
        const struct router *r = &net->routers.routers[k];

        if (r->addr.family == IP_V6 && r->until_us > net->core->now_us && n-- == 0)
            return r;
    }
    return NULL;
}
