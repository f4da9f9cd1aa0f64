/*
 * peer.h - one connection of our stack, and a peer whose every segment the test writes
 *
 * Sequence numbers count from 0 for each side's SYN, so that a test reads like a
 * trace: peer_tx(&t, "PA", 1, 1, 100) sends bytes 1 to 100 of the peer;
 * peer_rx(&t, "A", 1, 101, 0) is the stack's next segment, and must acknowledge
 * them. Flags: S F R P A.
 */
#pragma once

#include "dataplane/tcp/tcp.h"
#include "tests/lib/stack.h"
#include "tests/lib/test.h"

#define PEER_ISS 0x7ffffff0u /* soon to pass the sign bit, the sore point of comparisons */
#define PEER_PORT 4000
#define OUR_PORT 80

struct peer {
    struct stack stack;
    struct tcp *tcp;
    struct tcp_listener *listener;
    struct tcp_conn *conn; /* NULL: not there, gone, or parked */
    uint32_t our_iss;
    uint32_t their_iss;
    uint16_t wnd;
    uint16_t mss;
    int wscale; /* in our SYN; -1: no option */
    bool ts;
    uint32_t tsval;
    uint16_t their_port, our_port;
    uint32_t peer;    /* its address: PEER, unless the test says otherwise */
    char events[256]; /* "open readable peer_closed closed:0" */
    int why;
    bool refuse;
    void (*hook)(struct peer *t, const char *event); /* from within each event */
};

/* Those of every connection; its owner is the struct peer. */
extern const struct tcp_ops peer_ops;

void peer_init(struct peer *t, const struct tcp_conf *conf);
void peer_fini(struct peer *t);

/* A handshake, ours or theirs first. */
void peer_accept(struct peer *t);
void peer_connect(struct peer *t);

/* A segment of the peer's, with zeros as payload. */
void peer_tx(struct peer *t, const char *flags, uint32_t seq, uint32_t ack, uint32_t len);
void peer_tx_bytes(struct peer *t, const char *flags, uint32_t seq, uint32_t ack, const void *bytes,
                   uint32_t len);

/* The stack's next segment; fails the test unless it is this one. */
struct frame_tcp peer_rx(struct peer *t, const char *flags, uint32_t seq, uint32_t ack,
                         uint32_t len);
void peer_rx_none(struct peer *t);
struct frame_tcp peer_rx_any(struct peer *t);

/* What the owner does. */
void peer_send(struct peer *t, uint32_t len);
uint64_t peer_recv(struct peer *t);

void peer_run(struct peer *t, uint64_t for_us);

/* What has happened since the last call. */
void peer_events(struct peer *t, const char *events);
