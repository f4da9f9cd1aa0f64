#include "dataplane/net/iface.h"

#include "dataplane/base/log.h"

#include <errno.h>

#define MTU_MIN 576 /* what every host must take (RFC 791) */
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

static int add_addr(struct iface_table *t, const struct port_conf *conf,
                    const struct net_port_info *info, uint8_t port, const struct addr_conf *addr)
{
    struct iface *i = find_or_null(t, port, addr->vlan);
    char str[IPADDR_STRLEN];
    uint32_t a;

    if (addr->addr.family != IP_V4 || addr->prefix_len > 32 || addr->vlan > VLAN_MAX ||
        !is_usable(ipaddr_u32(&addr->addr))) {
        log_error("net", "port %s: %s/%u vlan %u is not an IPv4 address for an interface",
                  conf->name, ipaddr_str(&addr->addr, str), addr->prefix_len, addr->vlan);
        return -EINVAL;
    }
    a = ipaddr_u32(&addr->addr);
    if (iface_any_has(t, a)) {
        log_error("net", "port %s: %s is configured twice", conf->name,
                  ipaddr_str(&addr->addr, str));
        return -EINVAL;
    }
    if (i == NULL) {
        i = &t->ifaces[t->n++];
        *i = (struct iface){ .port = port,
                             .vlan = addr->vlan,
                             .mtu = info->mtu,
                             .ip_csum = info->tx_ip_csum,
                             .tcp_csum = info->tx_tcp_csum };
        memcpy(i->mac, info->mac, sizeof(i->mac));
    }
    i->addrs[i->n_addrs++] = (struct iface_addr){ a, mask_of(addr->prefix_len) };
    return 0;
}

int iface_table_init(struct iface_table *t, const struct machine_conf *machine,
                     const struct net_port_info *ports)
{
    t->n = 0;
    for (uint32_t port = 0; port < machine->n_ports; port++) {
        const struct port_conf *conf = &machine->ports[port];

        if (ports[port].mtu < MTU_MIN) {
            log_error("net", "port %s: an MTU of %u is less than %u", conf->name, ports[port].mtu,
                      MTU_MIN);
            return -EINVAL;
        }
        for (uint32_t i = 0; i < conf->n_addrs; i++) {
            int rc = add_addr(t, conf, &ports[port], (uint8_t)port, &conf->addrs[i]);

            if (rc < 0)
                return rc;
        }
    }
    return 0;
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
