/*
 * gateway.h - one worker's proxy on a simulated wire, clients and backends played by the test
 *
 * Node 0 of the wire is the gateway, 10.0.0.1, with everything from tcp to proxy and a
 * configuration in libconfig's words; node 1, 10.0.0.2, is everybody else. A script is one
 * connection of theirs: what it received, and whether it reads at all. A runtime that a reload
 * has replaced is freed as soon as nobody pins it, so a sanitizer sees who still looks at it.
 */
#pragma once

#include "dataplane/worker/runtime.h"
#include "tests/lib/wire.h"

#define SCRIPT_MAX (2 * 1024 * 1024) /* bytes that one receives */
#define GATEWAY_OLD 64
#define GATEWAY_SESSIONS 64
#define GATEWAY_BACKENDS 256

struct script {
    struct tcp_conn *tcp; /* NULL: gone */
    bool open, eof, closed;
    bool lazy; /* leaves what comes where it is */
    int why;
    char *in;
    size_t n;
};

struct gateway {
    struct wire wire;
    struct stats *stats;
    struct logfiles *logfiles;
    struct accesslog_ring *log;
    struct tls_lib *lib;
    struct transports *transports;
    struct http *http;
    struct upstreams *upstreams;
    struct proxy *proxy;
    struct runtime *rt, *old[GATEWAY_OLD];
    struct tcp_listener *listener; /* 10.0.0.2:8080 */
    struct script backends[GATEWAY_BACKENDS];
    unsigned n_backends;
    char line[ACCESSLOG_LINE_MAX];
};

void gateway_init(struct gateway *g, const struct wire_conf *wire, const char *conf);

/* The same for @max sessions. */
void gateway_init_for(struct gateway *g, uint32_t max, const struct wire_conf *wire,
                      const char *conf);
void gateway_reload(struct gateway *g, const char *conf);

/* Aborts the program unless everything has come home. */
void gateway_fini(struct gateway *g);

/* Goes on for @ms of virtual time. */
void gateway_run(struct gateway *g, uint64_t ms);

/* The next line of the access log, "" if there is none. */
const char *gateway_log(struct gateway *g);

/* A client of 10.0.0.1:@port; open after a run. */
void script_connect(struct gateway *g, struct script *s, uint16_t port);
void script_send(struct gateway *g, struct script *s, const char *bytes, size_t len);
void script_say(struct gateway *g, struct script *s, const char *text);
void script_read(struct script *s); /* what waits, where it is lazy */
void script_shutdown(struct script *s);
void script_reset(struct script *s);
void script_free(struct script *s);
