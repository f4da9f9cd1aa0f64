/*
 * frames.h - Ethernet frames for tests: written with all their checksums, and read back
 *
 * A struct frame grows from the outside in: frame_eth(), then frame_arp() or
 * frame_ip4(), then what is inside; frame_done() sets lengths and checksums. So a
 * test can spoil any byte, before that or after.
 */
#pragma once

#include "dataplane/base/ipaddr.h"

#include <stdint.h>

#define FRAME_MAX 4096

struct frame {
    uint8_t b[FRAME_MAX];
    uint32_t len, ip_at, l4_at; /* 0: not there */
};

extern const uint8_t frame_broadcast[6];

/* @vlan 0: no tag. */
void frame_eth(struct frame *f, const uint8_t dst[6], const uint8_t src[6], uint16_t type,
               uint16_t vlan);
void frame_arp(struct frame *f, uint16_t op, const uint8_t sha[6], uint32_t spa,
               const uint8_t tha[6], uint32_t tpa);
void frame_ip4(struct frame *f, uint32_t src, uint32_t dst, uint8_t protocol, const void *opts,
               uint32_t opts_len);
void frame_bytes(struct frame *f, const void *bytes, uint32_t len);

/* What a TCP segment says. */
struct frame_tcp {
    uint16_t src, dst;
    uint32_t seq, ack;
    uint8_t flags;
    uint16_t wnd;
    uint16_t mss; /* 0: no option */
    int wscale;   /* -1: no option */
    bool has_ts, sack_ok;
    uint32_t tsval, tsecr;
    unsigned n_sacks;
    uint32_t sacks[4][2];
    const uint8_t *opts; /* bytes behind the others, as they are; written alone */
    uint32_t opts_len;
    uint8_t ecn; /* of the IP header: 2 may be marked, 3 is; read alone */
    uint32_t len;
    const uint8_t *payload;
};

void frame_tcp(struct frame *f, const struct frame_tcp *t);

/* ICMP: type and code, the second word, then @bytes. */
void frame_icmp(struct frame *f, uint8_t type, uint8_t code, uint32_t word, const void *bytes,
                uint32_t len);

/* Lengths and checksums of IP, TCP and ICMP. */
void frame_done(struct frame *f);

/* False if @bytes are no valid (untagged or tagged) IPv4 TCP frame, checksums included. */
bool frame_read_tcp(const uint8_t *bytes, uint32_t len, struct frame_tcp *ret);
