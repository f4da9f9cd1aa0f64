/*
 * kind.h - the struct behind transport.h, for the files of this folder
 */
#pragma once

#include "dataplane/base/slab.h"
#include "dataplane/transport/transport.h"

enum transport_state {
    TRANSPORT_CONNECTING, /* TCP's handshake */
    TRANSPORT_SECURING,   /* TLS's handshake */
    TRANSPORT_OPEN,
    TRANSPORT_ENDED, /* nothing passes any more; on_closed was given or is queued */
};

/* What differs between plain TCP and TLS. */
struct transport_kind {
    void (*on_open)(struct transport *t);     /* TCP is open */
    void (*on_readable)(struct transport *t); /* TCP has bytes */
    void (*on_eof)(struct transport *t);      /* TCP's FIN */
    /* TCP has ended in order, and is gone: is there something yet to read? Then that goes on. */
    bool (*outlives)(struct transport *t);
    bool (*drained)(const struct transport *t); /* the peer's last byte was taken */
    uint64_t (*recv)(struct transport *t, struct pktq *to, uint64_t max);
    void (*send)(struct transport *t, struct pktq *q);
    void (*close)(struct transport *t); /* says goodbye, before the FIN */
    uint32_t (*seg)(const struct transport *t);
};

extern const struct transport_kind transport_plain;
extern const struct transport_kind transport_secure_kind;

struct transport {
    const struct transport_kind *kind;
    const struct transport_events *ev;
    void *owner;
    struct tcp_conn *tcp; /* NULL once TCP has given its last event */
    struct transports *all;
    enum transport_state state;
    bool is_server, was_open, eof_told;
    bool tcp_eof, tls_eof; /* FIN, close_notify */

    struct tls_session *tls;
    struct tls_ctx *ctx;
    struct pktq in;    /* pulled from TCP, not yet read: ciphertext, or what was peeked at */
    struct pktq plain; /* decrypted, not yet taken */
    struct list work;  /* in all->handshakes or all->records */

    struct pktq unsent; /* what the owner sent in this turn */
    struct work sending;
    bool room_asked; /* the owner was told that there is no room, for what is in ->unsent */

    struct work later; /* on_eof or on_closed, found out while the owner was calling us */
    enum transport_end why;
    struct wheel_timer deadline; /* of connecting and securing */
    struct ipport local, remote;
    const char *reason; /* of on_closed; NULL: there is nothing to say */
};

struct transports {
    struct core *core;
    struct tcp *tcp;
    struct tls_lib *lib; /* NULL: none of its handshakes waits for a helper */
    struct slab slab;
    struct list handshakes; /* transports with a handshake step to do */
    struct list records;    /* open ones with ciphertext to read */
    char words[128];        /* a reason that had to be put together, while it is told */
};

/* Gives on_closed and frees @t. Only from events from below, never from a call of the owner. */
void transport_end(struct transport *t, enum transport_end why);

/* The same, later in this turn: from within a call of the owner. */
void transport_fail(struct transport *t, enum transport_end why);

/* Gives on_eof if it is time; the second is for calls of the owner, and gives it later in this
 * turn. */
void transport_check_eof(struct transport *t);
void transport_check_eof_later(struct transport *t);
