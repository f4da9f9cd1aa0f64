/*
 * aead.h - sealing and opening of records, straight from packets into packets
 *
 * AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305 (RFC 5116, RFC 8439) by
 * intel-ipsec-mb, which picks the best instructions the CPU has. A key is as small
 * as its connection can afford: key and IV. What GCM computes from the key, a
 * kilobyte, lies in a cache of the worker: a connection that is in use has it, one
 * that has been idle for long has lost it to another, and pays a fraction of a
 * microsecond when it speaks again.
 *
 *   struct aead (worker)   [ slot | slot | slot ... ]     CLOCK: the hand passes over
 *                             ^                            those used since it came by
 *   struct aead_key (connection, direction) -- ->slot
 *
 * The bytes of one record may lie in several pieces, in place or from one buffer to
 * another:
 *
 *   aead_begin(); aead_seal() or aead_open() for each piece; aead_end() gives the tag
 *
 * One worker's; no two records at a time. Keys are cleared when dropped, and so are
 * slots when they change hands.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEAD_KEY_MAX 32
#define AEAD_IV 12
#define AEAD_TAG 16

enum aead_kind {
    AEAD_AES_128_GCM,
    AEAD_AES_256_GCM,
    AEAD_CHACHA20_POLY1305,
};

struct aead;

struct aead_key {
    uint8_t key[AEAD_KEY_MAX];
    uint8_t iv[AEAD_IV];
    uint16_t slot; /* of the cache, from 1; 0: none */
    uint8_t kind;  /* enum aead_kind */
};

/* @n_slots: keys that are kept ready, at most UINT16_MAX. NULL: no memory. */
struct aead *aead_new(uint32_t n_slots);
/* All keys have been dropped. */
void aead_free(struct aead *a);

uint32_t aead_key_len(enum aead_kind kind);

/* Sets @k, which stays where it is until aead_key_drop(): a slot points to it. */
void aead_key_set(struct aead_key *k, enum aead_kind kind, const uint8_t *key, const uint8_t *iv);
/* Clears it. Twice is allowed, and so is one that was never set (all zero). */
void aead_key_drop(struct aead *a, struct aead_key *k);

/* The record with number @seq (RFC 8446, 5.3), and @aad_len bytes that are authenticated only. */
void aead_begin(struct aead *a, struct aead_key *k, uint64_t seq, const uint8_t *aad,
                size_t aad_len);
/* @to may be @from, but they may not overlap otherwise. */
void aead_seal(struct aead *a, uint8_t *to, const uint8_t *from, size_t len);
void aead_open(struct aead *a, uint8_t *to, const uint8_t *from, size_t len);
void aead_end(struct aead *a, uint8_t tag[AEAD_TAG]);

/* In constant time. */
bool aead_tag_eq(const uint8_t a[AEAD_TAG], const uint8_t b[AEAD_TAG]);

/* How many keys had to be expanded (again): for who chooses the number of slots. */
uint64_t aead_expansions(const struct aead *a);
