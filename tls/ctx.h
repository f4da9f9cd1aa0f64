/*
 * ctx.h - what all sessions of one filter chain, or to one cluster, have in common
 *
 * A context is immutable: a new certificate, or a new configuration, is a new
 * context; sessions keep the one they began with. The control thread makes
 * contexts, one per worker, each in that worker's struct tls_lib (a private
 * OSSL_LIB_CTX, so that handshakes of two workers share no lock). References are
 * counted atomically: sessions hold one from their worker, the runtime holds one.
 *
 * A context is small. OpenSSL's own, which takes a millisecond and 20 KiB, is shared
 * by all contexts of a worker that agree in what it knows: certificate, roots,
 * versions, suites, ALPN. What differs between ten thousand clusters (server name,
 * accepted identities, timeouts) is kept beside it, once for all workers.
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

/* Frees what no context uses any more: keys and roots that were replaced. Control thread, now and
 * then. */
void tls_lib_sweep(struct tls_lib *lib);

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
/* The same for another worker. @conf: as for @ctx. */
struct tls_ctx *tls_ctx_again(const struct tls_ctx *ctx, struct tls_lib *lib,
                              const struct tls_ctx_conf *conf, struct cfg_err *err);
struct tls_ctx *tls_ctx_get(struct tls_ctx *ctx);
void tls_ctx_put(struct tls_ctx *ctx); /* NULL is allowed */

/* Does it present the certificate of @secret, and verify by the roots of @trust? */
bool tls_ctx_is_of(const struct tls_ctx *ctx, const struct tls_secret *secret,
                   const struct tls_secret *trust);

/* "spiffe://..." of our own certificate; "" if it has none. */
const char *tls_ctx_local_uri(const struct tls_ctx *ctx);
uint64_t tls_ctx_handshake_timeout_us(const struct tls_ctx *ctx);
