/*
 * ctx.h - what all sessions of one filter chain, or to one cluster, have in common
 *
 * A context is immutable: a new certificate, or a new configuration, is a new
 * context; sessions keep the one they began with. The control thread makes
 * contexts, one per worker, each in that worker's struct tls_lib (a private
 * OSSL_LIB_CTX, so that handshakes of two workers share no lock). References are
 * counted atomically: sessions hold one from their worker, the runtime holds one.
 *
 * Session tickets (RFC 5077, RFC 8446 4.6.1) are sealed with keys that all
 * workers share and that rotate (tls/ticket.h), and bound to the chain's name and
 * its trust bundle: a ticket never resumes on another chain, nor after the
 * bundle changed.
 */
#pragma once

#include "config/model/tls.h"
#include "tls/secret.h"

struct tls_lib;
struct tls_ctx;
struct tls_tickets;

/* One worker's OpenSSL. NULL: OpenSSL could not start (the reason is in the log). */
struct tls_lib *tls_lib_new(void);
void tls_lib_free(struct tls_lib *lib);

struct tls_ctx_conf {
    const char *name; /* of the chain or cluster; part of what tickets are bound to */
    bool is_server;
    const struct tls_conf *conf;
    struct tls_secret *secret;   /* certificate and key; NULL for a SIMPLE client */
    struct tls_secret *trust;    /* whose roots verify the peer; NULL for a SIMPLE server */
    struct tls_tickets *tickets; /* server; NULL: no tickets */
    bool resumes; /* client: by tickets that it was given; its records are OpenSSL's then */
};

/* Takes references of the secrets. NULL: @err says why. */
struct tls_ctx *tls_ctx_new(struct tls_lib *lib, const struct tls_ctx_conf *conf,
                            struct cfg_err *err);
struct tls_ctx *tls_ctx_get(struct tls_ctx *ctx);
void tls_ctx_put(struct tls_ctx *ctx); /* NULL is allowed */

/* "spiffe://..." of our own certificate; "" if it has none. */
const char *tls_ctx_local_uri(const struct tls_ctx *ctx);
uint64_t tls_ctx_handshake_timeout_us(const struct tls_ctx *ctx);
