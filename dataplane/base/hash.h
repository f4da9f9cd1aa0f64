/*
 * hash.h - SipHash-2-4, and a cheap mix
 *
 * SipHash (Aumasson, Bernstein 2012; the reference vectors are in the test) is
 * for whatever a peer could choose: flow keys, initial sequence numbers (RFC
 * 6528), host names. The mix is for numbers that only we choose.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct hash_key {
    uint64_t k[2];
};

uint64_t hash_sip(const struct hash_key *key, const void *bytes, size_t len);

/* A key from the kernel's random numbers. Ends the process if there are none. */
void hash_key_random(struct hash_key *key);

/* Finaliser of SplitMix64 (Steele, Lea, Flood 2014). */
static inline uint64_t hash_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}
