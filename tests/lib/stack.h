/*
 * stack.h - one net with a port that only remembers what was sent
 *
 * For tests that play the other machine themselves: frames go in with
 * stack_rx(), what comes out waits in out[]. Time moves with stack_run().
 * The port keeps every packet until the end of the turn, as a real one does.
 *
 * We are 10.0.0.1/24 with 02:..:01 on port 0 (and 10.0.7.1/24 in VLAN 7); 10.0.0.254
 * is the way to everywhere else; the peer of most tests is 10.0.0.2 with 02:..:02.
 */
#pragma once

#include "dataplane/net/net.h"
#include "dataplane/net/punt.h"
#include "tests/lib/frames.h"
#include "tests/lib/pool.h"

#define STACK_OUT 256
#define STACK_MAC 0x10
#define US 0x0a000001
#define US_VLAN 0x0a000701
#define PEER 0x0a000002
#define GATEWAY 0x0a0000fe

struct stack_frame {
    uint8_t b[FRAME_MAX];
    uint32_t len;
    uint16_t flags;
    uint64_t at_us; /* when it was sent */
};

struct stack {
    struct core core;
    struct test_pool pool;
    struct machine_conf machine;
    struct net_port_info port;
    struct net_port_ops ops;
    struct net *net;
    struct pkt *sending[STACK_OUT];
    unsigned n_sending;
    struct stack_frame out[STACK_OUT];
    unsigned n_out, at; /* those before ->at have been looked at */
    unsigned n_shared;  /* calls of ops.share */
    /* Of a machine with a kernel_interface: what the kernel was given, and the last of it. */
    struct punt *punt; /* set before the start: another worker's, which frees it */
    bool punt_is_others;
    unsigned n_to_kernel;
    struct stack_frame to_kernel;
    bool answer_arp;    /* be everybody who is asked for, at peer_mac or where stack_teach() says */
    uint32_t taught[4]; /* by the last byte of the MAC address, from STACK_MAC on */
    bool first;         /* of the workers: speaks to the network at the start */
    bool merge;         /* segments of a burst (net/gro.h); counts at the start */
    /* What is above net, at the end of each turn. May be NULL. */
    void (*flush)(void *ctx);
    void *flush_ctx;
};

extern const uint8_t stack_mac[6], peer_mac[6];

void stack_init(struct stack *s);

/* In two steps, for a machine of the test's own. False if net_new() refuses it. */
void stack_defaults(struct stack *s);
bool stack_start(struct stack *s);

/* Aborts the program unless everything has come home. */
void stack_fini(struct stack *s);

/* Whoever asks for @addr is told 02:..:@mac, one of the four from STACK_MAC on. */
void stack_teach(struct stack *s, uint32_t addr, uint8_t mac);

/* Ends the turn: what is above sends, and then the port does. */
void stack_flush(struct stack *s);
void stack_rx(struct stack *s, const struct frame *f);
void stack_rx_flags(struct stack *s, const struct frame *f, uint16_t flags);
/* The kernel sends it by port 0. */
void stack_from_kernel(struct stack *s, const struct frame *f);
void stack_run(struct stack *s, uint64_t for_us);

/* The next frame that was sent, or NULL. */
const struct stack_frame *stack_next(struct stack *s);
