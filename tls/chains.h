/*
 * chains.h - chains of certificates that one context has verified
 *
 * Peers in a mesh come again and again with the same certificates: what was verified is
 * remembered by its SHA-256, until a certificate of it runs out. Signatures, depth,
 * purpose and trust are what they were, as OpenSSL's context is immutable: another bundle
 * is another context. Clusters that share one (ctx.h) share this, too. Time is looked at
 * each time, and who the peer is, is asked each time (verify.c).
 *
 * Four places for each hash, of which the oldest gives way. Only what has verified comes
 * in, so that strangers cannot wash it away. One worker's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CHAIN_ID_LEN 32

struct chains; /* NULL: empty */

/* Is it known, and good at @now (Unix time)? Then *@valid_until is when it ends. */
bool chains_know(const struct chains *c, const uint8_t id[CHAIN_ID_LEN], int64_t now,
                 int64_t *valid_until);

/* It has verified. Without memory it is not remembered. */
void chains_add(struct chains **c, const uint8_t id[CHAIN_ID_LEN], int64_t valid_from,
                int64_t valid_until);

void chains_free(struct chains *c);
