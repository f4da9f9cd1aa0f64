#include "dataplane/base/cksum.h"

#include <assert.h>

#if defined(__x86_64__)
#include <immintrin.h>

#define BLOCK 32u
/* Blocks in one go, before a sum of 32 bits could be full; and in a round of the loop. */
#define AT_ONCE (1u << 14)
#define ROUND 4u

/* Words are multiplied as signed numbers: each is made one, and what that takes off is added. */
#define BIAS 0x8000

/* All 16 of them, which are signed. */
__attribute__((target("avx2"))) static inline uint64_t sum_lanes(__m256i a, __m256i b)
{
    const __m256i wide =
        _mm256_add_epi64(_mm256_add_epi64(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(a)),
                                          _mm256_cvtepi32_epi64(_mm256_extracti128_si256(a, 1))),
                         _mm256_add_epi64(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(b)),
                                          _mm256_cvtepi32_epi64(_mm256_extracti128_si256(b, 1))));
    const __m128i two =
        _mm_add_epi64(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));

    return (uint64_t)(_mm_extract_epi64(two, 0) + _mm_extract_epi64(two, 1));
}

__attribute__((target("avx2"))) static inline __m256i load(const uint8_t *at)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

__attribute__((target("avx2"))) static inline __m256i pairs(__m256i v)
{
    return _mm256_madd_epi16(_mm256_xor_si256(v, _mm256_set1_epi16((short)BIAS)),
                             _mm256_set1_epi16(1));
}

/* The last @n bytes of the block that ends there, behind zeros. */
__attribute__((target("avx2"))) static inline __m256i load_last(const uint8_t *end, size_t n)
{
    static const uint8_t mask[2 * BLOCK] = { [BLOCK] = 255, 255, 255, 255, 255, 255, 255, 255,
                                             255,           255, 255, 255, 255, 255, 255, 255,
                                             255,           255, 255, 255, 255, 255, 255, 255,
                                             255,           255, 255, 255, 255, 255, 255, 255 };

    return _mm256_and_si256(load(end - BLOCK), load(mask + n));
}

/* An even number of bytes, a block of them at least. */
__attribute__((target("avx2"))) static uint64_t sum_avx2(const uint8_t *at, size_t len)
{
    const size_t rest = len % BLOCK;
    size_t n = len / BLOCK;
    const uint64_t bias = (n + (rest > 0)) * BLOCK / 2 * BIAS;
    __m256i a = _mm256_setzero_si256(), b = a;

    for (; n >= ROUND; n -= ROUND, at += ROUND * BLOCK) {
        a = _mm256_add_epi32(a, _mm256_add_epi32(pairs(load(at)), pairs(load(at + BLOCK))));
        b = _mm256_add_epi32(
            b, _mm256_add_epi32(pairs(load(at + 2 * BLOCK)), pairs(load(at + 3 * BLOCK))));
    }
    for (; n > 0; n--, at += BLOCK)
        a = _mm256_add_epi32(a, pairs(load(at)));
    if (rest > 0)
        b = _mm256_add_epi32(b, pairs(load_last(at + rest, rest)));
    return bias + sum_lanes(a, b);
}
#endif

uint64_t cksum_long_plain(const uint8_t *at, size_t len)
{
    return cksum_add_short(0, at, len);
}

uint64_t cksum_long(const uint8_t *at, size_t len)
{
#if defined(__x86_64__)
    const size_t most = (size_t)AT_ONCE * BLOCK;
    uint64_t sum = 0;

    assert(len >= CKSUM_LONG);
    if (__builtin_cpu_supports("avx2")) {
        for (; len >= most + BLOCK + 1; len -= most, at += most)
            sum += sum_avx2(at, most);
        if (len % 2 != 0)
            sum += at[len - 1];
        return sum + sum_avx2(at, len & ~(size_t)1);
    }
#endif
    return cksum_long_plain(at, len);
}
