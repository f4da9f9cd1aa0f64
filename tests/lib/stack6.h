/*
 * stack6.h - the IPv6 side of stack.h
 *
 * We are 2001:db8::1/64 (and fe80::ff:fe00:1) on port 0; the peer of most tests is
 * 2001:db8::2 with 02:..:02; 2001:db8::fe is the way to everywhere else.
 */
#pragma once

#include "tests/lib/stack.h"

#define US6 "2001:db8::1"
#define PEER6 "2001:db8::2"
#define GATEWAY6 "2001:db8::fe"
#define NEAR6 "fe80::ff:fe00:1"
#define PEER_NEAR6 "fe80::2"
#define FAR6 "2001:db8:f::1"
#define GROUP6 "ff02::1:ff00:1" /* of both our addresses */
#define NODES6 "ff02::1"

struct ipaddr ip6(const char *text);

/* stack_defaults() with these addresses and routes, too. */
void stack6_defaults(struct stack *s);
void stack6_init(struct stack *s);

/* A frame of the peer's to @dst, whose MAC address follows from it; up to the IPv6 header. */
void stack6_frame(struct frame *f, const char *src, const char *dst, uint8_t next);

/* A solicitation or advertisement (@type) about @target. @mac: the option @opt, or NULL. */
void stack6_nd(struct stack *s, uint8_t type, const char *src, const char *dst, uint32_t flags,
               const char *target, uint8_t opt, const uint8_t *mac);

/* The peer says where @addr is: from now on it is known. */
void stack6_teach(struct stack *s, const char *addr);

/* The next frame that was sent, if it is IPv6 with the checksum of ICMPv6, of this type; fails the
 * test otherwise. */
const struct stack_frame *stack6_icmp(struct stack *s, uint8_t type);
