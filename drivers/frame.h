/*
 * frame.h - where things are in an Ethernet frame, for the files of this folder
 *
 * drivers may not look into dataplane/net, which has the same numbers for what it reads.
 */
#pragma once

#define ETH_LEN 14
#define VLAN_LEN 4
#define TYPE_VLAN 0x8100
#define TYPE_IP4 0x0800
#define TYPE_IP6 0x86dd
#define IP4_MIN 20
#define IP6_LEN 40
#define PROTO_TCP 6
