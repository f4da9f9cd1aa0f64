/*
 * cksum.h - the Internet checksum (RFC 1071, 1624)
 *
 * A partial sum is a uint64_t of 16-bit words as they lie in memory; the one's
 * complement sum does not care about byte order (RFC 1071, 2(B)), so nothing
 * is swapped and results are stored as they are. Pieces that are summed one
 * after the other must have even lengths, except the last.
 */
#pragma once

#include "dataplane/base/compiler.h"
#include "dataplane/base/ipaddr.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#ifdef __SSE2__
#define CKSUM_BLOCK 32
#define CKSUM_BLOCKS_MAX (1u << 14) /* before one of the four sums could be full */

static inline __m128i cksum_load(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

/* Of whole blocks: their words, to four sums of 32 bits. */
static inline uint64_t cksum_blocks(const uint8_t *at, size_t n)
{
    const __m128i zero = _mm_setzero_si128();
    __m128i a = zero, b = zero;
    uint64_t half[2];

    for (; n > 0; n--, at += CKSUM_BLOCK) {
        const __m128i v = cksum_load(at), w = cksum_load(at + 16);

        a = _mm_add_epi32(a,
                          _mm_add_epi32(_mm_unpacklo_epi16(v, zero), _mm_unpackhi_epi16(v, zero)));
        b = _mm_add_epi32(b,
                          _mm_add_epi32(_mm_unpacklo_epi16(w, zero), _mm_unpackhi_epi16(w, zero)));
    }
    a = _mm_add_epi64(_mm_add_epi64(_mm_unpacklo_epi32(a, zero), _mm_unpackhi_epi32(a, zero)),
                      _mm_add_epi64(_mm_unpacklo_epi32(b, zero), _mm_unpackhi_epi32(b, zero)));
    _mm_storeu_si128((__m128i *)(void *)half, a);
    return half[0] + half[1];
}
#endif

/* From so many bytes on it is worth a call. */
#define CKSUM_LONG 256

/* The sum of so many, by the widest instructions that there are. */
uint64_t cksum_long(const uint8_t *at, size_t len);
/* The same by those that every processor has. */
uint64_t cksum_long_plain(const uint8_t *at, size_t len);

/* Of any number, by those. */
static inline uint64_t cksum_add_short(uint64_t sum, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    uint64_t word;
    uint16_t half;

#ifdef __SSE2__
    while (len >= CKSUM_BLOCK) {
        const size_t n = MIN(len / CKSUM_BLOCK, CKSUM_BLOCKS_MAX);

        sum += cksum_blocks(at, n);
        at += n * CKSUM_BLOCK;
        len -= n * CKSUM_BLOCK;
    }
#endif

    /* Two 32-bit halves into 64 bits: no carry is lost before 2^31 words. */
    for (; len >= sizeof(word); at += sizeof(word), len -= sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        sum += (word & UINT32_MAX) + (word >> 32);
    }
    for (; len >= sizeof(half); at += sizeof(half), len -= sizeof(half)) {
        memcpy(&half, at, sizeof(half));
        sum += half;
    }
    if (len > 0) {
        half = 0;
        memcpy(&half, at, 1);
        sum += half;
    }
    return sum;
}

static inline uint64_t cksum_add(uint64_t sum, const void *bytes, size_t len)
{
    return len >= CKSUM_LONG ? sum + cksum_long(bytes, len) : cksum_add_short(sum, bytes, len);
}

static inline uint16_t cksum_fold(uint64_t sum)
{
    sum = (sum & UINT32_MAX) + (sum >> 32);
    sum = (sum & UINT32_MAX) + (sum >> 32);
    sum = (sum & UINT16_MAX) + (sum >> 16);
    sum = (sum & UINT16_MAX) + (sum >> 16);
    return (uint16_t)sum;
}

/* What goes into the header, to be stored with cksum_store(). */
static inline uint16_t cksum_finish(uint64_t sum)
{
    return (uint16_t)~cksum_fold(sum);
}

static inline void cksum_store(uint8_t *field, uint16_t cksum)
{
    memcpy(field, &cksum, sizeof(cksum));
}

/* True if bytes that contain their own checksum add up. */
static inline bool cksum_is_good(uint64_t sum)
{
    return cksum_fold(sum) == UINT16_MAX;
}

/* The pseudo header of TCP and UDP (RFC 9293, 3.1); @len: transport header and payload. */
static inline uint64_t cksum_pseudo(const struct ipaddr *src, const struct ipaddr *dst,
                                    uint8_t protocol, uint32_t len)
{
    const size_t n = src->family == IP_V4 ? 4 : 16;
    const uint8_t tail[8] = { (uint8_t)(len >> 24),
                              (uint8_t)(len >> 16),
                              (uint8_t)(len >> 8),
                              (uint8_t)len,
                              0,
                              0,
                              0,
                              protocol };

    return cksum_add(cksum_add(cksum_add(0, src->b, n), dst->b, n), tail, sizeof(tail));
}

/* The same of the addresses as they lie in an IP header, @n bytes of both; @len fits 16 bits. */
static inline uint64_t cksum_pseudo_at(const uint8_t *addrs, size_t n, uint8_t protocol,
                                       uint16_t len)
{
    const uint8_t tail[4] = { (uint8_t)(len >> 8), (uint8_t)len, 0, protocol };
    uint32_t word;

    memcpy(&word, tail, sizeof(word));
    return cksum_add(word, addrs, n);
}

/* The checksum after one 16-bit word changed (RFC 1624, eqn. 3); all as they lie in memory. */
static inline uint16_t cksum_update16(uint16_t cksum, uint16_t old, uint16_t new)
{
    return (uint16_t)~cksum_fold((uint64_t)(uint16_t)~cksum + (uint16_t)~old + new);
}

static inline uint16_t cksum_update32(uint16_t cksum, uint32_t old, uint32_t new)
{
    return (uint16_t)~cksum_fold((uint64_t)(uint16_t)~cksum + (uint32_t)~old + new);
}
