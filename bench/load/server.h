/*
 * server.h - one worker's server: it answers everybody, at once, with as many bytes as asked for
 *
 * What stands behind a gateway that is measured, and costs as little as possible
 * itself. Bodies of requests are read and dropped. What a protocol does is behind
 * struct server_proto, as on the client's side.
 *
 * Owned by its worker, made and freed by the main thread.
 */
#pragma once

#include "bench/load/conf.h"
#include "bench/load/load.h"
#include "bench/load/stack.h"
#include "dataplane/base/slab.h"

struct server;
struct server_conn;

struct server_proto {
    /* The stream is open. False: no memory. */
    bool (*open)(struct server_conn *c);
    void (*on_readable)(struct server_conn *c);
    void (*on_writable)(struct server_conn *c);
    void (*on_eof)(struct server_conn *c);
    void (*close)(struct server_conn *c); /* gives back what open() took, if it was called */
};

extern const struct server_proto server_http1, server_raw;
const struct server_proto *server_proto_of(enum load_protocol p);

enum server_state {
    SERVER_SECURING,
    SERVER_OPEN,
    SERVER_CLOSING, /* we have said goodbye, and wait for the peer's */
    SERVER_DEAD,    /* freed at the end of the turn */
};

struct server_conn {
    struct server *server;
    struct transport *transport;
    enum server_state state;
    bool eof, eof_told;
    struct list all;
    struct work work;
    struct wheel_timer timer;

    /* The protocol's. */
    struct http_conn *http;
    struct http_stream *stream;
    struct pktq in, out;
    uint64_t to_send; /* bytes of the answer */
    bool is_head;
};

struct server_conf {
    const struct load_server_conf *conf;
    struct tls_ctx *tls; /* NULL: plain */
    const struct load_times *times;
};

struct server {
    struct server_conf conf;
    struct stack *stack;
    const struct server_proto *proto;
    struct tcp_listener *listener;
    struct slab slab;
    struct list conns;
    bool measuring;
    struct load_stats stats;
    struct arena arena;
    struct http_msg answer; /* of HTTP */
};

/* NULL: no memory. */
struct server *server_new(struct stack *stack, const struct server_conf *conf);
void server_free(struct server *s); /* NULL is allowed */

/* On the worker: once a turn; and its last act, which resets every connection. */
void server_run(struct server *s);
void server_stop(struct server *s);

/* What a protocol says: no more from us; or, at once, by RST. */
void server_finish(struct server_conn *c);
void server_die(struct server_conn *c);
void server_count_error(struct server_conn *c, enum load_error why);

void server_send(struct server_conn *c, struct pktq *q);
uint64_t server_recv(struct server_conn *c, struct pktq *to);
