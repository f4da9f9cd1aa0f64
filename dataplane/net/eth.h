/*
 * eth.h - Ethernet frames and 802.1Q tags, in and out
 */
#pragma once

#include "dataplane/net/iface.h"

#define ETH_HDR 14
#define ETH_VLAN_TAG 4
#define ETH_TYPE_IP4 0x0800
#define ETH_TYPE_ARP 0x0806
#define ETH_TYPE_VLAN 0x8100
#define ETH_TYPE_IP6 0x86dd

/* A frame that came in by p->port. Taken only if DROP_NONE. */
enum drop eth_rx(struct net *net, struct pkt *p);

/* Writes the header for @to in front of @p and gives it to the port. Takes @p. */
void eth_tx(struct net *net, const struct iface *i, const uint8_t to[6], uint16_t type,
            struct pkt *p);

static inline bool eth_is_group(const uint8_t mac[6])
{
    return (mac[0] & 1) != 0;
}
