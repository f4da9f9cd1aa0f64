/*
 * iface.h - our interfaces: one per port and VLAN that has an address
 *
 * Set when the net is built, read-only afterwards. Addresses are in host order,
 * as the checks of ip4.c want them.
 */
#pragma once

#include "config/model/machine.h"
#include "dataplane/net/net.h"

#define IFACE_MAX (MACHINE_MAX_PORTS * MACHINE_MAX_ADDRS)

struct iface_addr {
    uint32_t addr, mask;
};

struct iface {
    uint8_t port;
    uint8_t mac[6];
    bool ip_csum, tcp_csum; /* the port computes them */
    uint16_t vlan;          /* 0: untagged */
    uint16_t mtu;           /* of an IP packet */
    uint32_t n_addrs;
    struct iface_addr addrs[MACHINE_MAX_ADDRS];
};

struct iface_table {
    uint32_t n;
    struct iface ifaces[IFACE_MAX];
};

/* 0 or -EINVAL, with a line in the log. */
NODISCARD int iface_table_init(struct iface_table *t, const struct machine_conf *machine,
                               const struct net_port_info *ports);

const struct iface *iface_find(const struct iface_table *t, uint8_t port, uint16_t vlan);

/* The address of @i in whose prefix @addr lies, or NULL. */
const struct iface_addr *iface_on_link(const struct iface *i, uint32_t addr);

bool iface_has(const struct iface *i, uint32_t addr);
bool iface_any_has(const struct iface_table *t, uint32_t addr);

/* Is @addr the broadcast address (or the all-zero one) of a prefix of ours? */
bool iface_is_broadcast(const struct iface *i, uint32_t addr);
