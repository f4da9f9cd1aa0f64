/*
 * schedule.h - TLS 1.3's key schedule (RFC 8446, 7.1), as OpenSSL asks its provider for it
 *
 * A handshake derives some twenty secrets and keys, and OpenSSL 3.0's own provider looks for
 * the hash by its name and makes new contexts for each. Here is the same algorithm,
 * EVP_KDF-TLS13_KDF(7), over HMACs that a worker keeps; OpenSSL computes them. And as every
 * secret passes here, the session learns those of its records (keys.c) without a key log,
 * which would spell them in hexadecimal.
 *
 * OpenSSL hands nothing of ours to a provider's algorithm. So a session says before it calls
 * OpenSSL that it is at hand, in this thread; without one nothing is derived.
 */
#pragma once

#include "dataplane/base/slice.h"

#include <openssl/core.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#define SCHEDULE_SECRET_MAX 48 /* SHA-384 */

struct tls_session;

/* HKDF with one hash. */
struct schedule_hkdf {
    EVP_MAC_CTX *hmac;
    uint8_t hash_len;
    uint8_t nothing[SCHEDULE_SECRET_MAX]; /* the hash of no bytes */
    uint8_t key_len;                      /* 0: ->hmac has no key yet */
    uint8_t key[SCHEDULE_SECRET_MAX];     /* ->hmac's: the next secret often comes of the same */
};

struct schedule {
    struct schedule_hkdf sha256, sha384;
};

/* False: OpenSSL's error queue says why; schedule_stop() clears up. */
bool schedule_start(struct schedule *sch, OSSL_LIB_CTX *libctx);
/* Also of what is all zero. */
void schedule_stop(struct schedule *sch);

/* HKDF-Expand-Label, for no more than one hash's length. @label: with "tls13 " in front. */
bool schedule_expand(struct schedule_hkdf *h, struct slice secret, struct slice label,
                     struct slice context, uint8_t *to, size_t len);

/* What OpenSSL does in this thread, it does for @s; NULL: for none. */
void schedule_at_hand(struct tls_session *s);
struct tls_session *schedule_whose(void);

/* TLS13-KDF, for the provider's table. */
extern const OSSL_DISPATCH schedule_functions[];
