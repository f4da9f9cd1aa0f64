/*
 * steer.h - which worker a packet belongs to
 *
 * One Toeplitz key and one indirection table for the whole gateway, ours and
 * known: a NIC that can be told gets both, and every other port is steered by
 * the same function in software, so that a flow has the same owner on every
 * port. (Toeplitz hash and RETA as in the RSS of NICs: Microsoft, "RSS hashing
 * types".)
 *
 * Upstream source ports are chosen so that replies arrive at the core that opened
 * the connection. The hash is linear: what a bit of the port changes in it does
 * not depend on the rest of the tuple. So two small tables turn the question round,
 * from the slot of the indirection table that we want to the ports that lead there:
 * 128 changes of the port, one for every change of the slot, and 256 that leave the
 * slot as it is. A worker that has m of the 128 slots has m * 256 ports of the upper
 * half of all, towards every peer, each found by one hash and two loads.
 *
 * What has no owner of its own (ARP, neighbour discovery, echo) stays where it arrived.
 * An ICMP error belongs to the owner of the segment it quotes. All fragments of a
 * datagram go to one worker, which puts it together and then asks again.
 * Immutable after steer_init().
 */
#pragma once

#include "dataplane/base/ipaddr.h"
#include "dataplane/base/pkt.h"

#define STEER_RETA 128
#define STEER_KEY_LEN 40
#define STEER_ANY UINT32_MAX

#define STEER_PORT_FIRST 0x8000 /* of the upper half, in which local ports are chosen */
#define STEER_SLOT_PORTS 256    /* of its ports, how many lead to one slot */

/* What changes of the local port do to the slot. */
struct steer_ports {
    uint16_t flip[STEER_RETA];       /* a change of the slot -> one of the port that makes it */
    uint16_t stay[STEER_SLOT_PORTS]; /* those that leave the slot as it is */
};

struct steer {
    uint32_t n_workers;
    uint8_t key[STEER_KEY_LEN];
    uint8_t key_be[STEER_KEY_LEN]; /* as rte_softrss_be() wants it */
    uint8_t reta[STEER_RETA];      /* low bits of the hash (the slot) -> worker */
    uint8_t slots[STEER_RETA];     /* by worker: those of worker w begin at ->first[w] */
    uint8_t first[STEER_RETA + 1];
    struct steer_ports by_port[2]; /* IPv4, IPv6: the port is at another place of the tuple */
};

void steer_init(struct steer *s, uint32_t n_workers);

/* Known answers, and every worker's ports for some tuples, there and back. NULL, or what is wrong:
 * then nothing may be steered by it. */
const char *steer_self_test(const struct steer *s);

/* Owner of what arrives from @remote for @local (TCP). */
uint32_t steer_tuple(const struct steer *s, const struct ipport *remote,
                     const struct ipport *local);

/*
 * Local ports for connections of @worker to @remote from @local, so that replies arrive at it:
 * fills @ports with @n of them, from the @from-th on and round again. Returns how many there are.
 */
uint32_t steer_ports(const struct steer *s, uint32_t worker, const struct ipport *remote,
                     const struct ipaddr *local, uint32_t from, uint16_t *ports, uint32_t n);

/*
 * A port that has our key may hash for us: the first STEER_CHECKS of its hashes are compared with
 * ours, and then one of as many. One that differs ends it: from then on we hash, as for any other
 * port.
 */
#define STEER_CHECKS 256
struct steer_check {
    uint32_t n; /* hashes of this port so far */
    bool wrong;
};

/*
 * Owner of a received frame, or STEER_ANY. Reads only what lies within the packet. @c: of the port
 * that it comes from, for one worker; NULL: that port's hash does not count.
 */
uint32_t steer_frame(const struct steer *s, const struct pkt *p, struct steer_check *c);

/* Is it TCP, and no fragment? Then *@ret is its hash. */
bool steer_hash(const struct steer *s, const struct pkt *p, uint32_t *ret);
