/*
 * drop.h - every reason a packet leaves early, once
 *
 * A layer that refuses a packet returns the reason; net_rx() counts it and frees
 * the packet. So each early return names its counter, and there is one place
 * that frees. The words are what an operator reads in `isthmusctl stats`.
 */
#pragma once

#define DROP_REASONS(X)                                                                            \
    X(NONE, "accepted: the layer above owns the packet now")                                       \
    X(ETH_SHORT, "ethernet: shorter than its header")                                              \
    X(ETH_NOT_OURS, "ethernet: destination is not our address")                                    \
    X(ETH_TYPE, "ethernet: no handler for this type")                                              \
    X(ETH_VLAN, "ethernet: no interface for this vlan")

#define DROP_ENUM(name, text) DROP_##name,
enum drop { DROP_REASONS(DROP_ENUM) DROP_COUNT };

/* "ETH_SHORT" and its words. */
const char *drop_name(enum drop why);
const char *drop_text(enum drop why);
