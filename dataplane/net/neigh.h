/*
 * neigh.h - the machines next to us: IP address to MAC address
 *
 *           asked             answered              30 s
 *   (new) --------> INCOMPLETE ----------> REACHABLE -----> STALE
 *                       | 3 tries             ^               | used
 *                       v          answered,  |               v   5 s
 *                     FAILED <---- confirmed -+------------ DELAY -----> PROBE
 *                       ^                                                  | 3 tries
 *                       +--------------------------------------------------+
 *
 * The states and times of RFC 4861, 7.3, for ARP (RFC 826) too: one table for both
 * families. A connection holds a reference, so that a new MAC address is used by all at once.
 * Entries that nobody holds may be thrown out when the table is full, unanswered ones first, and go
 * by themselves after ten idle minutes.
 *
 * We learn only from those who ask for an address of ours and from answers to
 * what we asked, and only addresses of the interface's own prefixes. Anything
 * else may refresh what we know, not add to it.
 *
 * A next hop that did not answer is passed over by routes that have another
 * (neigh_is_dead()), and asked again from time to time until it does.
 *
 * What net_set_static_neigh() has said is PERMANENT: it is never asked for, and nobody on
 * the wire can change it. So is what the kernel has for good (neigh_give()), until it has not.
 */
#pragma once

#include "dataplane/base/slab.h"
#include "dataplane/base/wheel.h"
#include "dataplane/net/iface.h"

#define NEIGH_MAX 4096
#define NEIGH_BUCKETS 1024
#define NEIGH_WAITING 8 /* packets or trains, per neighbour */
#define NEIGH_STATICS 64

/* State, then the states it may move to. */
#define NEIGH_STATES(X)                                                                            \
    X(INCOMPLETE, TO(REACHABLE) | TO(STALE) | TO(FAILED) | TO(PERMANENT))                          \
    X(REACHABLE, TO(STALE) | TO(PERMANENT))                                                        \
    X(STALE, TO(REACHABLE) | TO(DELAY) | TO(PERMANENT))                                            \
    X(DELAY, TO(REACHABLE) | TO(STALE) | TO(PROBE) | TO(PERMANENT))                                \
    X(PROBE, TO(REACHABLE) | TO(STALE) | TO(FAILED) | TO(PERMANENT))                               \
    X(FAILED, TO(INCOMPLETE) | TO(REACHABLE) | TO(STALE) | TO(PERMANENT))                          \
    X(PERMANENT, TO(STALE))

#define NEIGH_ENUM(name, next) NEIGH_##name,
enum neigh_state { NEIGH_STATES(NEIGH_ENUM) };

struct neigh {
    struct neigh *next; /* of its bucket */
    struct ipaddr addr;
    enum neigh_state state;
    uint32_t refs;
    uint8_t iface;
    uint8_t mac[6];
    uint8_t tries; /* requests sent in this state */
    uint8_t n_waiting;
    uint32_t given;    /* the round of neigh_give() that named it; 0: none did */
    bool dead;         /* it failed, and has not been heard of since */
    uint64_t heard_us; /* when it last showed that it is there */
    uint64_t used_us;  /* when we last sent to it, or looked it up */
    struct net *net;
    struct wheel_timer timer;
    uint64_t failed_us;
    struct pkt *waiting[NEIGH_WAITING]; /* from the IP header on; an array: see base/pkt.h */
};

/* Every address of @of is at @mac. */
struct neigh_static {
    struct ipprefix of;
    uint8_t mac[6];
};

struct neigh_table {
    struct slab slab;
    uint32_t n_statics;
    struct neigh_static statics[NEIGH_STATICS];
    uint32_t round;   /* of neigh_give() */
    uint32_t n, hand; /* @hand: bucket where the search for room goes on */
    struct neigh *buckets[NEIGH_BUCKETS];
};

NODISCARD int neigh_table_init(struct neigh_table *t, struct net *net);
void neigh_table_fini(struct neigh_table *t);

/* The neighbour, made if need be, with one more reference; NULL if there is no room. */
struct neigh *neigh_get(struct net *net, uint8_t iface, const struct ipaddr *addr);
void neigh_put(struct neigh *n);

/* Sends @p, whose data starts at the IP header, once the address is known. Takes @p. */
void neigh_tx(struct net *net, struct neigh *n, struct pkt *p);

/* Did it fail when it was last asked? If that was a while ago it is asked again. */
bool neigh_is_dead(struct net *net, uint8_t iface, const struct ipaddr *addr);

/* These are PERMANENT from now on, and those named the last time no more. At most 256. */
void neigh_give(struct net *net, const struct net_mirror_neigh *neighs, uint32_t n);

/* What is above has seen an answer from @n. */
void neigh_confirm(struct neigh *n);

/*
 * @addr said that it has @mac. @answer: as the answer to a question of ours, so that it has proven
 * to hear us. @learn: remember it even if it is new. False if it was not known and is not now.
 */
bool neigh_heard(struct net *net, const struct iface *i, const struct ipaddr *addr,
                 const uint8_t mac[6], bool answer, bool learn);

/* A neighbour advertisement (RFC 4861, 7.2.5); @mac may be NULL. False if it was not known. */
bool neigh_advertised(struct net *net, const struct iface *i, const struct ipaddr *addr,
                      const uint8_t *mac, bool solicited, bool override);

/* The state of a neighbour's entry, or "". */
const char *neigh_state_of(struct net *net, uint8_t iface, const struct ipaddr *addr);

const char *neigh_state_name(enum neigh_state state);

/* arp.c: a packet whose data starts at the ARP header; taken only if DROP_NONE. */
enum drop arp_rx(struct net *net, const struct iface *i, struct pkt *p);

/* Asks for @addr; @to: its last known MAC address, or NULL to ask everybody. */
void arp_request(struct net *net, const struct iface *i, uint32_t addr, const uint8_t *to);

/* Tells everybody that @addr is ours. */
void arp_announce(struct net *net, const struct iface *i, uint32_t addr);
