/*
 * wire.h - two whole stacks, and a link between them that does what links do
 *
 * Each node has a core, a packet pool, a net and a tcp; the link loses, delays,
 * reorders, doubles and corrupts frames as its conf says, all from one seed, and
 * time is virtual: wire_step() goes to the next moment at which anything
 * happens. So a run is the same every time.
 *
 * The link behaves like a port: it looks at a frame only at the end of the turn, and
 * may keep its reference to the packet for a while longer; nobody may change it then.
 */
#pragma once

#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp.h"
#include "tests/lib/pool.h"

#define WIRE_BURST 8192

struct wire_conf {
    uint64_t seed;
    uint32_t loss, dup, corrupt, reorder; /* in a million frames */
    uint64_t delay_us, jitter_us;
    uint64_t reorder_us;  /* how much later a reordered frame comes */
    uint64_t rate_bps;    /* 0: no limit */
    uint64_t hold_us;     /* how long the port keeps a packet after it was sent, at most */
    bool offload[2];      /* the port of this node computes checksums, both ways */
    uint8_t train_max[2]; /* it takes trains of so many packets; 0: none */
    bool tso[2];          /* and cuts them up itself, otherwise drivers/offload.c does */
    bool lro[2];          /* the port of this node merges what it has found good, if ->merge */
    bool merge[2];        /* this node receives in bursts, and merges what belongs together */
    bool whole[2];        /* and keeps a train as one until it is done with all of it */
    uint16_t mtu[2];
    uint16_t vlan;
    uint32_t max_pkts; /* of each pool; 0: no limit */
    uint64_t start_us; /* of the clock */
    /* Weather, of IP alone. */
    uint32_t burst; /* in a million frames one after which all are lost for ->burst_us */
    uint64_t burst_us;
    uint32_t ack_loss;       /* in a million segments without payload: stretch ACKs, too */
    uint32_t mark;           /* in a million of those that may be marked (ECN) */
    uint32_t shrink;         /* in a million segments of the second node: a smaller window */
    uint64_t shift_us;       /* the delay changes by up to so much, */
    uint64_t shift_every_us; /* so often at most */
    uint16_t path_mtu;       /* from ->path_mtu_at_us on; 0: as above */
    uint64_t path_mtu_at_us;
    bool path_silent; /* and nobody is told (RFC 2923) */
    struct tcp_conf tcp[2];
};

struct wire_frame;
struct wire;

struct wire_node {
    struct wire *wire;
    unsigned index;
    struct core core;
    struct test_pool pool;
    struct machine_conf machine;
    struct net_port_info port;
    struct net_port_ops ops;
    struct net *net;
    struct tcp *tcp;
    struct ipaddr addr;
    struct pkt *out[WIRE_BURST]; /* handed over in this turn */
    unsigned n_out;
    uint64_t n_trains;
    uint64_t line_free_us, burst_until_us, shift_until_us, shifted_us;
    /* The application: called in each turn, says when it wants the next one. May be NULL. */
    uint64_t (*turn)(struct wire_node *n, void *ctx);
    void *ctx;
    uint64_t next_turn_us;
};

struct wire {
    struct wire_conf conf;
    uint64_t now_us;
    uint64_t rng;
    struct wire_node nodes[2];
    struct wire_frame *frames; /* on their way, by time of arrival */
    struct wire_held *held;    /* packets that the ports still keep */
    uint64_t n_frames, n_lost;
    /* Sees every frame that leaves; false: it is lost. May be NULL. */
    bool (*filter)(struct wire *w, unsigned from, const uint8_t *frame, uint32_t len, void *ctx);
    void *filter_ctx;
};

void wire_init(struct wire *w, const struct wire_conf *conf);

/* Aborts the program unless everything has come home. */
void wire_fini(struct wire *w);

/* Goes to the next moment at which something happens, but not beyond @until_us; one turn of both
 * nodes. */
void wire_step(struct wire *w, uint64_t until_us);
void wire_run(struct wire *w, uint64_t for_us);

/* A frame for @to, at once. */
void wire_inject(struct wire *w, unsigned to, const uint8_t *frame, uint32_t len);

/* Uniform below @n, which is not 0. */
uint64_t wire_random(struct wire *w, uint64_t n);
