/*
 * client.h - one worker's client: connections to the targets, and when they ask
 *
 *            dial          on_open           ask              answer
 *   (none) ------> CONNECTING ------> IDLE -------> BUSY -----------> ANSWERED
 *                      |               ^              |  failed          |  |
 *                      v               |              v                  |  |
 *                    DEAD <------------+-- next ------+------------------+  |
 *                      ^                                                    | the last one
 *                      +---------------- LEAVING <--------------------------+
 *                            peer's FIN, or a second
 *
 * Closed loop (no rate): whoever is idle asks. Open loop: requests arrive when they
 * arrive (arrivals.h); one that finds nobody idle waits, and its latency runs from
 * the moment at which it was to begin.
 *
 * A connection's struct is three lines of cache: a million of them are meant to be
 * possible. What a protocol does is behind struct client_proto: HTTP/2 and gRPC
 * are to be further rows of client_proto_of().
 *
 * Owned by its worker, made and freed by the main thread.
 */
#pragma once

#include "bench/load/arrivals.h"
#include "bench/load/conf.h"
#include "bench/load/load.h"
#include "bench/load/stack.h"
#include "dataplane/base/slab.h"

struct client;
struct client_conn;

struct client_proto {
    /* The stream is open. False: no memory. */
    bool (*open)(struct client_conn *c);
    /* Sends a request, of which client_answered() or client_refused() tells the end. */
    void (*ask)(struct client_conn *c);
    void (*on_readable)(struct client_conn *c);
    void (*on_writable)(struct client_conn *c);
    void (*on_eof)(struct client_conn *c);
    void (*close)(struct client_conn *c); /* gives back what open() took, if it was called */
};

extern const struct client_proto client_http1, client_raw;
const struct client_proto *client_proto_of(enum load_protocol p);

enum client_state {
    CLIENT_CONNECTING,
    CLIENT_IDLE,
    CLIENT_BUSY,
    CLIENT_ANSWERED, /* the protocol is about to say whether another may follow */
    CLIENT_LEAVING,
    CLIENT_DEAD, /* freed at the end of the turn */
};

struct client_conn {
    struct client *client;
    struct transport *transport;
    uint64_t began;       /* cycles: the dial's, then each request's */
    uint64_t deadline_us; /* of the request */
    uint32_t n_requests;
    uint8_t state; /* enum client_state */
    bool eof;
    struct list all, idle;
    struct work work;
    struct wheel_timer timer;

    /* The protocol's. */
    uint32_t to_send, to_come; /* bytes of the request, and of an answer whose length is known */
    uint16_t status;
    struct http_conn *http;
    struct http_stream *stream;
    struct pktq in;
};

struct client_conf {
    const struct load_client_conf *conf;
    struct tls_ctx *tls;  /* NULL: plain */
    uint32_t connections; /* of this worker */
    double rate;
    const struct load_times *times;
};

struct client {
    struct client_conf conf;
    struct stack *stack;
    const struct client_proto *proto;
    struct slab slab;
    struct list conns, idle;
    uint32_t n_conns; /* those that are meant to stay, CONNECTING among them */
    uint32_t n_connecting, n_busy;
    uint64_t next_dial_us;
    uint64_t n_dialled; /* says whose turn it is: source, target */
    bool measuring, has_begun, has_opened;
    struct arrivals arrivals;
    struct load_stats stats;
    struct arena arena;
    struct http_msg request; /* of HTTP */
};

/* NULL: no memory. */
struct client *client_new(struct stack *stack, const struct client_conf *conf);
void client_free(struct client *c); /* NULL is allowed */

/* A turn. Returns how much was done. */
unsigned client_run(struct client *c);
bool client_awaits(const struct client *c);
/* Resets every connection: the worker's last act. */
void client_stop(struct client *c);

/* What a protocol tells of a request, once for each. */
void client_answered(struct client_conn *c);
void client_refused(struct client_conn *c, enum load_error why);

/* What becomes of the connection then: another request may follow; no other may. */
void client_idle(struct client_conn *c);
void client_leave(struct client_conn *c);
/* At once, by RST. */
void client_die(struct client_conn *c);

/* Is the request that is about to be sent the connection's last? */
bool client_is_last(const struct client_conn *c);

void client_send(struct client_conn *c, struct pktq *q);
uint64_t client_recv(struct client_conn *c, struct pktq *to);
