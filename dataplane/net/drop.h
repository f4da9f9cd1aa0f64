/*
 * drop.h - every reason a packet leaves early, once
 *
 * A layer that refuses a packet returns the reason; net_rx() counts it and frees
 * the packet. So each early return names its counter, and there is one place
 * that frees. The words are what an operator reads in `isthmusctl stats`, the
 * names are the stable part of a metric's name.
 *
 * The last group is the other direction: packets of ours that never left.
 */
#pragma once

#define DROP_REASONS(X)                                                                            \
    X(NONE, "accepted: the layer above owns the packet now")                                       \
    X(ETH_SHORT, "ethernet: shorter than its header")                                              \
    X(ETH_NOT_OURS, "ethernet: destination is not our address")                                    \
    X(ETH_TYPE, "ethernet: no handler for this type")                                              \
    X(ETH_VLAN, "ethernet: no interface for this port and vlan")                                   \
    X(ARP_SHORT, "arp: shorter than an arp packet")                                                \
    X(ARP_BAD, "arp: not ethernet and ipv4, or an impossible sender")                              \
    X(ARP_OWN, "arp: sent by ourselves")                                                           \
    X(ARP_CONFLICT, "arp: another machine claims an address of ours")                              \
    X(ARP_STRANGER, "arp: sender is not in a prefix of the interface")                             \
    X(ARP_NOT_ASKED, "arp: not about an address of ours or a known neighbour")                     \
    X(ARP_TABLE_FULL, "arp: no room to remember the sender")                                       \
    X(IP4_SHORT, "ipv4: shorter than its header says")                                             \
    X(IP4_VERSION, "ipv4: version is not 4")                                                       \
    X(IP4_CSUM, "ipv4: header checksum is wrong")                                                  \
    X(IP4_OPTIONS, "ipv4: malformed options")                                                      \
    X(IP4_SOURCE_ROUTE, "ipv4: source routed")                                                     \
    X(IP4_MARTIAN, "ipv4: source address that cannot be a sender")                                 \
    X(IP4_NOT_OURS, "ipv4: destination is not an address of ours")                                 \
    X(IP4_L2_BROADCAST, "ipv4: unicast destination in a broadcast frame")                          \
    X(IP4_PROTOCOL, "ipv4: no handler for this protocol")                                          \
    X(ICMP4_SHORT, "icmp: too short for its type")                                                 \
    X(ICMP4_CSUM, "icmp: checksum is wrong")                                                       \
    X(ICMP4_TYPE, "icmp: a type we do not handle")                                                 \
    X(ICMP4_LIMITED, "icmp: echo requests beyond the rate limit")                                  \
    X(ICMP4_NOT_OURS, "icmp: error about a packet we did not send")                                \
    X(ICMP4_REDIRECT, "icmp: a redirect, which we do not follow")                                  \
    X(IP6_SHORT, "ipv6: shorter than its header says")                                             \
    X(IP6_VERSION, "ipv6: version is not 6")                                                       \
    X(IP6_OFF, "ipv6: the interface has no ipv6 address")                                          \
    X(IP6_MARTIAN, "ipv6: source address that cannot be a sender")                                 \
    X(IP6_NOT_OURS, "ipv6: destination is neither an address nor a group of ours")                 \
    X(IP6_TENTATIVE, "ipv6: destination is tentative, or a duplicate")                             \
    X(IP6_L2_BROADCAST, "ipv6: unicast destination in a multicast frame")                          \
    X(IP6_EXT_SHORT, "ipv6: extension header that is cut off")                                     \
    X(IP6_EXT_LIMIT, "ipv6: too many extension headers, or too long ones")                         \
    X(IP6_EXT_ORDER, "ipv6: extension header twice, or hop-by-hop not first")                      \
    X(IP6_OPTIONS, "ipv6: malformed options, too many, or too much padding")                       \
    X(IP6_OPTION, "ipv6: unknown option that asks to be refused")                                  \
    X(IP6_ROUTING, "ipv6: source routed")                                                          \
    X(IP6_NO_NEXT, "ipv6: no next header")                                                         \
    X(IP6_PROTOCOL, "ipv6: no handler for this next header")                                       \
    X(ICMP6_SHORT, "icmpv6: too short for its type")                                               \
    X(ICMP6_CSUM, "icmpv6: checksum is wrong")                                                     \
    X(ICMP6_TYPE, "icmpv6: a type we do not handle")                                               \
    X(ICMP6_LIMITED, "icmpv6: echo requests beyond the rate limit")                                \
    X(ICMP6_NOT_OURS, "icmpv6: error about a packet we did not send")                              \
    X(ND_BAD, "neighbour discovery: malformed, or hop limit is not 255")                           \
    X(ND_OWN, "neighbour discovery: sent by ourselves")                                            \
    X(ND_CONFLICT, "neighbour discovery: another machine claims an address of ours")               \
    X(ND_STRANGER, "neighbour discovery: sender is not in a prefix of the interface")              \
    X(ND_NOT_ASKED, "neighbour discovery: not about an address of ours or a known neighbour")      \
    X(ND_TABLE_FULL, "neighbour discovery: no room to remember the sender")                        \
    X(ND_ROUTER_OFF,                                                                               \
      "neighbour discovery: router advertisement, which this port does not believe")               \
    X(ND_NOT_ROUTER, "neighbour discovery: router solicitation, and we are a host")                \
    X(ND_REDIRECT, "neighbour discovery: a redirect, which we do not follow")                      \
    X(PUNT_LIMITED, "for the kernel: beyond the rate")                                             \
    X(PUNT_FORGOTTEN, "for the kernel: of a connection that was silent for too long")              \
    X(KERNEL_SHORT, "from the kernel: shorter than its headers")                                   \
    X(KERNEL_NOT_LISTED, "from the kernel: of no rule of machine.punt")                            \
    X(FRAG_TINY, "fragment: the first one holds no whole transport header")                        \
    X(FRAG_LENGTH, "fragment: impossible length, or beyond the end of its datagram")               \
    X(FRAG_OVERLAP, "fragment: overlaps another one")                                              \
    X(FRAG_DUPLICATE, "fragment: the same again")                                                  \
    X(FRAG_REFUSED, "fragment: of a datagram that was refused")                                    \
    X(FRAG_MANY, "fragment: more than one datagram may have")                                      \
    X(FRAG_NO_ROOM, "fragment: no room, or given up for a newer one")                              \
    X(FRAG_TIMEOUT, "fragment: the rest did not come in time")                                     \
    X(FRAG_LARGE, "fragment: datagram larger than a packet buffer")                                \
    X(TCP_SHORT, "tcp: shorter than its header says")                                              \
    X(TCP_CSUM, "tcp: checksum is wrong")                                                          \
    X(TCP_OPTIONS, "tcp: malformed options")                                                       \
    X(TCP_FLAGS, "tcp: flags that make no sense together")                                         \
    X(TCP_NO_CONN, "tcp: no connection and no listener")                                           \
    X(TCP_HALF_OPEN_FULL, "tcp: SYN dropped, too many half-open connections")                      \
    X(TCP_ACCEPT_FULL, "tcp: the listener has no room for another connection")                     \
    X(TCP_NO_MEMORY, "tcp: no memory for the connection")                                          \
    X(TCP_NO_PKT, "tcp: no packet buffer to take merged segments apart")                           \
    X(TCP_WINDOW, "tcp: outside the receive window")                                               \
    X(TCP_PAWS, "tcp: timestamp too old or missing (PAWS)")                                        \
    X(TCP_RST, "tcp: RST that is not exactly in place")                                            \
    X(TCP_SYN, "tcp: SYN on an open connection")                                                   \
    X(TCP_ACK, "tcp: no ACK, or of data never sent or long acknowledged")                          \
    X(TCP_TIME_WAIT, "tcp: for a connection in TIME_WAIT")                                         \
    X(TCP_CLOSED, "tcp: data after the receiver went away")                                        \
    X(TX_NO_PKT, "send: no packet buffer")                                                         \
    X(TX_HEADROOM, "send: no room for headers")                                                    \
    X(TX_TOO_BIG, "send: larger than the interface's MTU")                                         \
    X(TX_NO_ROUTE, "send: no route")                                                               \
    X(TX_ICMP_LIMITED, "send: icmp errors beyond the rate limit")                                  \
    X(NEIGH_QUEUE_FULL, "neighbour: too many packets wait for its address")                        \
    X(NEIGH_UNREACHABLE, "neighbour: did not answer")

#define DROP_ENUM(name, text) DROP_##name,
enum drop { DROP_REASONS(DROP_ENUM) DROP_COUNT };

/* "ETH_SHORT" and its words. */
const char *drop_name(enum drop why);
const char *drop_text(enum drop why);
