/*
 * steer.h - which worker a packet belongs to
 *
 * One Toeplitz key and one indirection table for the whole gateway, ours and
 * known: a NIC that can be told gets both, and every other port is steered by
 * the same function in software, so that a flow has the same owner on every
 * port. (Toeplitz hash and RETA as in the RSS of NICs: Microsoft, "RSS hashing
 * types".) Upstream source ports are chosen by steer_tuple() so that replies
 * arrive at the core that opened the connection.
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

struct steer {
    uint32_t n_workers;
    uint8_t key[STEER_KEY_LEN];
    uint8_t key_be[STEER_KEY_LEN]; /* as rte_softrss_be() wants it */
    uint8_t reta[STEER_RETA];      /* low bits of the hash -> worker */
};

void steer_init(struct steer *s, uint32_t n_workers);

/* Owner of what arrives from @remote for @local (TCP). */
uint32_t steer_tuple(const struct steer *s, const struct ipport *remote,
                     const struct ipport *local);

/* Owner of a received frame, or STEER_ANY. Reads only what lies within the packet. */
uint32_t steer_frame(const struct steer *s, const struct pkt *p);
