/*
 * iface.h - our interfaces: one per port and VLAN that has an address
 *
 * IPv4 addresses are in host order, as the checks of ip4.c want them, and never
 * change. IPv6 addresses have a life of their own:
 *
 *                 nobody minds                    a router gives up on it
 *   TENTATIVE ----------------------> IN_USE --------------------------> (gone)
 *       | somebody has it                            only one that it gave us
 *       v
 *   DUPLICATE, until an operator looks after it
 *
 * An interface with an IPv6 address also has a link-local one, made from its MAC
 * address (RFC 4291, appendix A) unless the configuration has one.
 *
 * The table belongs to the worker; nd.c alone moves addresses after the start.
 */
#pragma once

#include "config/model/machine.h"
#include "dataplane/base/wheel.h"
#include "dataplane/net/net.h"

#define IFACE_MAX (MACHINE_MAX_PORTS * (MACHINE_MAX_ADDRS + 1))
#define IFACE_LEARNED_MAX 4 /* addresses from router advertisements */
#define IFACE_ADDRS6_MAX (MACHINE_MAX_ADDRS + 1 + IFACE_LEARNED_MAX)

struct iface_addr {
    uint32_t addr, mask;
};

enum addr6_state { ADDR6_TENTATIVE, ADDR6_IN_USE, ADDR6_DUPLICATE };

struct iface_addr6 {
    struct ipaddr addr; /* IP_NONE: this place is free */
    uint8_t prefix_len;
    uint8_t iface;
    uint8_t probes; /* sent so far */
    bool learned;   /* from a router advertisement */
    enum addr6_state state;
    uint64_t preferred_until_us, valid_until_us; /* if learned; UINT64_MAX: for ever */
    struct net *net;
    struct wheel_timer timer;
};

struct iface {
    uint8_t port;
    uint8_t mac[6];
    bool ip_csum, tcp_csum; /* the port computes them */
    uint8_t train_max;      /* packets of a train that the port takes */
    uint16_t vlan;          /* 0: untagged */
    uint16_t mtu, mtu6;     /* of an IP packet; a router may have lowered ->mtu6 */
    uint16_t mss;           /* 0: what the MTU allows */
    uint8_t duplicate_probes;
    bool believes_routers;
    uint32_t n_addrs, n_addrs6;
    struct iface_addr addrs[MACHINE_MAX_ADDRS];
    struct iface_addr6 addrs6[IFACE_ADDRS6_MAX];
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

/* IPv6. @addr has its scope, if it is link-local. */
struct iface_addr6 *iface6_find(struct iface *i, const struct ipaddr *addr);
const struct iface_addr6 *iface6_any_find(const struct iface_table *t, const struct ipaddr *addr);

/* Is @addr link-local, or in a prefix that the configuration gives to @i? */
bool iface6_on_link(const struct iface *i, const struct ipaddr *addr);

/* Does @i listen to the group @addr: all nodes, or those who may have an address of ours? */
bool iface6_in_group(const struct iface *i, const struct ipaddr *addr);

/* A place for a new address, or NULL. */
struct iface_addr6 *iface6_add(struct iface *i, uint8_t index, const struct ipaddr *addr,
                               uint8_t prefix_len);

/* @prefix (its first 64 bits) with the interface's own identifier. */
struct ipaddr iface6_own(const struct iface *i, uint8_t index, const struct ipaddr *prefix);
