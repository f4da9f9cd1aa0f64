/*
 * secret.h - a certificate with its key and trusted roots, loaded and checked
 *
 * Loaded by the control thread from the files of a secret_conf, as one set: the
 * key fits the leaf, the chain is in order, every file parses; otherwise nothing
 * changes and the error says which file and why. Immutable afterwards and counted
 * atomically. Private keys live in memory that is kept out of core dumps and
 * cleared when it is freed; no function prints them. (Each context also holds
 * OpenSSL's own parsed copy, on its heap and cleared by it: a process with keys
 * should not dump core at all.) A certificate that has expired loads, and the log
 * says so: better an error at the peer than no gateway.
 */
#pragma once

#include "config/model/secret.h"

#include <stdbool.h>
#include <stdint.h>

struct tls_secret;

/* NULL: @err says why. */
struct tls_secret *tls_secret_load(const struct secret_conf *conf, struct cfg_err *err);
struct tls_secret *tls_secret_get(struct tls_secret *s);
void tls_secret_put(struct tls_secret *s); /* NULL is allowed */

/* True if both hold the same bytes: nothing to replace. */
bool tls_secret_eq(const struct tls_secret *a, const struct tls_secret *b);

/*
 * Are the files those that were read, and not written to since? Then there is no need to read them
 * again. Control thread. False where time is too coarse to tell.
 */
bool tls_secret_is_current(const struct tls_secret *s, const struct secret_conf *conf);

/* @fresh was read, and holds the same: @s goes on, as if it had been read then. Control thread. */
void tls_secret_go_on(struct tls_secret *s, const struct tls_secret *fresh);

/* For `isthmusctl certs`. Strings live as long as the secret. */
struct tls_cert_info {
    const char *subject;           /* RFC 2253 */
    const char *uri;               /* the first URI SAN, "" if none */
    const char *dns;               /* DNS SANs, comma separated */
    const char *serial;            /* hex */
    const char *fingerprint;       /* SHA-256, hex */
    int64_t not_before, not_after; /* Unix time */
};

/* The leaf (i = 0), the rest of the chain, then the roots. False: there is no such certificate. */
bool tls_secret_cert(const struct tls_secret *s, unsigned i, struct tls_cert_info *ret,
                     bool *is_root);
