/*
 * schedule.h - TLS 1.3's key schedule (RFC 8446, 7.1), as OpenSSL asks its provider for it
 *
 * A handshake derives some twenty secrets and keys, and OpenSSL 3.0's own provider looks for
 * the hash by its name and makes new contexts for each. Here is the same algorithm,
 * EVP_KDF-TLS13_KDF(7), over OpenSSL's SHA-2 without a context around each: an HMAC's key is two
 * blocks hashed, and those of the last few secrets are kept until the handshake is over. And as
 * every secret passes here, the session learns those of its records, and their keys (keys.c),
 * without a key log, which would spell them in hexadecimal.
 *
 * OpenSSL hands nothing of ours to a provider's algorithm. So a session says before it calls
 * OpenSSL that it is at hand, in this thread; without one nothing is derived.
 */
#pragma once

#include "dataplane/base/slice.h"

#include <openssl/core.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdint.h>

#define SCHEDULE_SECRET_MAX 48 /* SHA-384 */
#define SCHEDULE_KEYS 4        /* handshake, master and traffic secrets take turns */

struct tls_session;

union schedule_hash {
    SHA256_CTX sha256;
    SHA512_CTX sha512; /* and SHA-384 */
};

/* A key of HMAC, hashed so far that the data may follow. */
struct schedule_key {
    bool is_set;
    uint64_t key[SCHEDULE_SECRET_MAX / 8]; /* with zeros behind it: for HMAC the same key */
    union schedule_hash inner, outer;
};

/* HKDF with one hash. */
struct schedule_hkdf {
    uint8_t hash_len;
    uint8_t next;                         /* the oldest of ->keys */
    uint8_t nothing[SCHEDULE_SECRET_MAX]; /* the hash of no bytes */
    uint8_t early[SCHEDULE_SECRET_MAX];   /* the early secret of who has no ticket */
    struct schedule_key first;            /* "derived" from it: the handshake secret's salt */
    struct schedule_key keys[SCHEDULE_KEYS];
};

struct schedule {
    struct schedule_hkdf sha256, sha384;
};

void schedule_init(struct schedule *sch);
/* Clears it. */
void schedule_fini(struct schedule *sch);
/* Clears the keys that were kept. */
void schedule_forget(struct schedule *sch);

/*
 * HKDF-Expand-Label, for no more than one hash's length. @label: with "tls13 " in front. False:
 * more, or a longer secret, label or context than TLS has.
 */
bool schedule_expand(struct schedule_hkdf *h, struct slice secret, struct slice label,
                     struct slice context, uint8_t *to, size_t len);

/* What OpenSSL does in this thread, it does for @s; NULL: for none. */
void schedule_at_hand(struct tls_session *s);
struct tls_session *schedule_whose(void);

/* TLS13-KDF, for the provider's table. */
extern const OSSL_DISPATCH schedule_functions[];
