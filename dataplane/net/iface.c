#include "dataplane/net/iface.h"

#include "dataplane/base/log.h"
#include "dataplane/base/pkt.h"
#include "dataplane/net/addr6.h"

#include <errno.h>

#define MTU_MIN 576   /* what every host must take (RFC 791) */
#define MTU6_MIN 1280 /* RFC 8200, 5 */
#define VLAN_MAX 4094

static uint32_t mask_of(uint8_t len)
{
    return len == 0 ? 0 : UINT32_MAX << (32 - len);
}

static bool is_usable(uint32_t addr)
{
    return addr >> 24 != 0 && addr >> 24 != 127 && addr < 0xe0000000;
}

static struct iface *find_or_null(struct iface_table *t, uint8_t port, uint16_t vlan)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (t->ifaces[i].port == port && t->ifaces[i].vlan == vlan)
            return &t->ifaces[i];
    return NULL;
}

static bool is_usable6(const struct ipaddr *a)
{
    return !addr6_is_group(a) && !addr6_is_inside(a);
}

static bool is_good(const struct addr_conf *addr)
{
    if (addr->vlan > VLAN_MAX)
        return false;
    switch ((enum ip_family)addr->addr.family) {
    case IP_V4:
        return addr->prefix_len <= 32 && is_usable(ipaddr_u32(&addr->addr));
    case IP_V6:
        return addr->prefix_len <= 128 && is_usable6(&addr->addr);
    case IP_NONE:
        return false;
    }
    return false;
}

/* The interface of @port and @vlan, made if need be. */
static struct iface *interface(struct iface_table *t, const struct port_conf *conf,
                               const struct net_port_info *info, uint8_t port, uint16_t vlan)
{
    struct iface *i = find_or_null(t, port, vlan);

    if (i != NULL)
        return i;
    i = &t->ifaces[t->n++];
    *i = (struct iface){ .port = port,
                         .vlan = vlan,
                         .mtu = info->mtu,
                         .mtu6 = info->mtu,
                         .mss = conf->mss,
                         .duplicate_probes = (uint8_t)conf->duplicate_probes,
                         .believes_routers = conf->router_advertisements && vlan == 0,
                         .ip_csum = info->tx_ip_csum,
                         .tcp_csum = info->tx_tcp_csum,
                         .train_max = MIN(info->train_max, PKT_TRAIN_MAX) };
    memcpy(i->mac, info->mac, sizeof(i->mac));
    return i;
}

static uint8_t index_of(const struct iface_table *t, const struct iface *i)
{
    return (uint8_t)(i - t->ifaces);
}

static bool is_there(const struct iface_table *t, const struct ipaddr *a)
{
    return a->family == IP_V4 ? iface_any_has(t, ipaddr_u32(a)) : iface6_any_find(t, a) != NULL;
}

static int add_addr(struct iface_table *t, const struct port_conf *conf,
                    const struct net_port_info *info, uint8_t port, const struct addr_conf *addr)
{
    struct ipaddr a = addr->addr;
    char str[IPADDR_STRLEN];
    struct iface *i;

    if (!is_good(addr)) {
        log_error("net", "port %s: %s/%u vlan %u is not an address for an interface", conf->name,
                  ipaddr_str(&a, str), addr->prefix_len, addr->vlan);
        return -EINVAL;
    }
    i = interface(t, conf, info, port, addr->vlan);
    if (a.family == IP_V6 && addr6_is_link_local(&a))
        a.scope = (uint8_t)(index_of(t, i) + 1);
    if (is_there(t, &a)) {
        log_error("net", "port %s: %s is configured twice", conf->name, ipaddr_str(&a, str));
        return -EINVAL;
    }
    if (a.family == IP_V4)
        i->addrs[i->n_addrs++] = (struct iface_addr){ ipaddr_u32(&a), mask_of(addr->prefix_len) };
    else
        iface6_add(i, index_of(t, i), &a, addr->prefix_len);
    return 0;
}

static bool has_link_local(const struct iface *i)
{
    for (uint32_t k = 0; k < i->n_addrs6; k++)
        if (addr6_is_link_local(&i->addrs6[k].addr))
            return true;
    return false;
}

static int finish(struct iface_table *t, const struct port_conf *conf, struct iface *i)
{
    const struct ipaddr link_local = { .family = IP_V6, .b = { 0xfe, 0x80 } };
    struct ipaddr own;

    if (i->n_addrs6 == 0 && !i->believes_routers)
        return 0;
    if (i->mtu < MTU6_MIN) {
        log_error("net", "port %s: IPv6 needs an MTU of %u, not %u", conf->name, MTU6_MIN, i->mtu);
        return -EINVAL;
    }
    if (has_link_local(i))
        return 0;
    own = iface6_own(i, index_of(t, i), &link_local);
    iface6_add(i, index_of(t, i), &own, 64);
    return 0;
}

static int add_port(struct iface_table *t, const struct port_conf *conf,
                    const struct net_port_info *info, uint8_t port)
{
    if (info->mtu < MTU_MIN) {
        log_error("net", "port %s: an MTU of %u is less than %u", conf->name, info->mtu, MTU_MIN);
        return -EINVAL;
    }
    for (uint32_t i = 0; i < conf->n_addrs; i++) {
        int rc = add_addr(t, conf, info, port, &conf->addrs[i]);

        if (rc < 0)
            return rc;
    }
    if (conf->router_advertisements)
        interface(t, conf, info, port, 0);
    return 0;
}

int iface_table_init(struct iface_table *t, const struct machine_conf *machine,
                     const struct net_port_info *ports)
{
    int rc = 0;

    t->n = 0;
    for (uint32_t port = 0; port < machine->n_ports && rc == 0; port++)
        rc = add_port(t, &machine->ports[port], &ports[port], (uint8_t)port);
    for (uint32_t i = 0; i < t->n && rc == 0; i++)
        rc = finish(t, &machine->ports[t->ifaces[i].port], &t->ifaces[i]);
    return rc;
}

const struct iface *iface_find(const struct iface_table *t, uint8_t port, uint16_t vlan)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (t->ifaces[i].port == port && t->ifaces[i].vlan == vlan)
            return &t->ifaces[i];
    return NULL;
}

const struct iface_addr *iface_on_link(const struct iface *i, uint32_t addr)
{
    for (uint32_t k = 0; k < i->n_addrs; k++)
        if (((addr ^ i->addrs[k].addr) & i->addrs[k].mask) == 0)
            return &i->addrs[k];
    return NULL;
}

bool iface_has(const struct iface *i, uint32_t addr)
{
    for (uint32_t k = 0; k < i->n_addrs; k++)
        if (i->addrs[k].addr == addr)
            return true;
    return false;
}

bool iface_any_has(const struct iface_table *t, uint32_t addr)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (iface_has(&t->ifaces[i], addr))
            return true;
    return false;
}

bool iface_is_broadcast(const struct iface *i, uint32_t addr)
{
    for (uint32_t k = 0; k < i->n_addrs; k++) {
        const struct iface_addr *a = &i->addrs[k];

        /* A prefix of 31 or 32 bits has no broadcast address (RFC 3021). */
        if (((addr ^ a->addr) & a->mask) != 0 || a->mask >= 0xfffffffe)
            continue;
        if ((addr & ~a->mask) == 0 || (addr & ~a->mask) == ~a->mask)
            return true;
    }
    return false;
}

struct iface_addr6 *iface6_find(struct iface *i, const struct ipaddr *addr)
{
    for (uint32_t k = 0; k < i->n_addrs6; k++)
        if (ipaddr_eq(&i->addrs6[k].addr, addr))
            return &i->addrs6[k];
    return NULL;
}

const struct iface_addr6 *iface6_any_find(const struct iface_table *t, const struct ipaddr *addr)
{
    for (uint32_t i = 0; i < t->n; i++)
        for (uint32_t k = 0; k < t->ifaces[i].n_addrs6; k++)
            if (ipaddr_eq(&t->ifaces[i].addrs6[k].addr, addr))
                return &t->ifaces[i].addrs6[k];
    return NULL;
}

bool iface6_on_link(const struct iface *i, const struct ipaddr *addr)
{
    if (addr6_is_link_local(addr))
        return true;
    for (uint32_t k = 0; k < i->n_addrs6; k++) {
        const struct iface_addr6 *a = &i->addrs6[k];

        /* That a router lets us make addresses of a prefix does not mean that it is on link. */
        if (a->addr.family == IP_V6 && !a->learned && addr6_common(&a->addr, addr) >= a->prefix_len)
            return true;
    }
    return false;
}

bool iface6_in_group(const struct iface *i, const struct ipaddr *addr)
{
    const struct ipaddr all = addr6_all_nodes();

    if (memcmp(addr->b, all.b, sizeof(all.b)) == 0)
        return true;
    for (uint32_t k = 0; k < i->n_addrs6; k++) {
        const struct ipaddr group = addr6_solicited(&i->addrs6[k].addr);

        if (i->addrs6[k].addr.family == IP_V6 && memcmp(addr->b, group.b, sizeof(group.b)) == 0)
            return true;
    }
    return false;
}

struct iface_addr6 *iface6_add(struct iface *i, uint8_t index, const struct ipaddr *addr,
                               uint8_t prefix_len)
{
    struct iface_addr6 *a = NULL;

    for (uint32_t k = 0; k < i->n_addrs6 && a == NULL; k++)
        if (i->addrs6[k].addr.family == IP_NONE)
            a = &i->addrs6[k];
    if (a == NULL && i->n_addrs6 < IFACE_ADDRS6_MAX)
        a = &i->addrs6[i->n_addrs6++];
    if (a == NULL)
        return NULL;
    *a = (struct iface_addr6){ .addr = *addr,
                               .prefix_len = prefix_len,
                               .iface = index,
                               .preferred_until_us = UINT64_MAX,
                               .valid_until_us = UINT64_MAX };
    return a;
}

struct ipaddr iface6_own(const struct iface *i, uint8_t index, const struct ipaddr *prefix)
{
    struct ipaddr a = *prefix;

    memcpy(a.b + 8, i->mac, 3);
    a.b[8] ^= 2; /* universal becomes 1 */
    a.b[11] = 0xff;
    a.b[12] = 0xfe;
    memcpy(a.b + 13, i->mac + 3, 3);
    a.scope = addr6_is_link_local(&a) ? (uint8_t)(index + 1) : 0;
    return a;
}
