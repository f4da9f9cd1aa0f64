/*
 * link.h - two TLS sessions joined by two queues, cut at random places
 *
 * A side is one of our sessions, or (raw) a stock OpenSSL, for what our own
 * sessions would never do. link_fini() checks that every packet came home.
 *
 * With ISTHMUS_HELPER in the environment both sides have a desk, and a thread works at both: every
 * program that is made of this runs a second time so.
 */
#pragma once

#include "tests/lib/pki.h"
#include "tests/lib/pool.h"
#include "tests/lib/test.h"
#include "tls/helper.h"
#include "tls/session.h"
#include "tls/ticket.h"

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define SEG 1400

struct side {
    struct tls_lib *lib;
    struct tls_ctx *ctx;
    struct tls_session *session;
    struct tls_desk *desk;      /* NULL: without a helper */
    struct pktq in, out, plain; /* delivered, not yet delivered to the other side, decrypted */
};

struct link {
    struct test_pool tp;
    struct core core;
    struct side client, server;
    SSL *raw; /* instead of client.session, or of server.session */
    bool raw_is_server;
    BIO *raw_in, *raw_out;
    uint64_t max_part; /* bytes delivered at once: 1 to this */
    pthread_t helper;
    _Atomic bool has_helper, helper_stops;
};

void link_init(struct link *l, uint64_t seed);
void link_fini(struct link *l);

struct tls_ctx *make_ctx(struct side *side, const struct tls_ctx_conf *conf);

/* Both sides have desks, and the test is the helper: tls_desk_work(). Before there are sessions. */
void link_use_desks(struct link *l);

/* Both sessions anew; the contexts stay. */
void link_connect(struct link *l);
void link_disconnect(struct link *l);

/* A stock client instead of ours; takes @ctx's SSL. @session: to resume, or NULL. */
void link_connect_raw(struct link *l, SSL_CTX *ctx, SSL_SESSION *session);

/* A stock server, with a certificate in @ctx, for our client. */
void link_connect_raw_server(struct link *l, SSL_CTX *ctx);

/* Delivers and reads until nothing moves any more. */
void link_run(struct link *l);

/* Hands @len bytes to a side's tls_write(). */
enum tls_state side_write(struct link *l, struct side *side, const void *bytes, size_t len);

/* Conf of both sides as most tests want it: MUTUAL, 1.2 and 1.3, who is who in pki.h. */
struct tls_conf server_conf(void);
struct tls_conf client_conf(void);
