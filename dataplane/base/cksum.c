#include "dataplane/base/cksum.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* Blocks in one go, before a sum of 32 bits could be full; and in a round of the loop. */
#define AT_ONCE (1u << 14)
#define ROUND 4

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

__attribute__((target("avx2"))) static inline __m256i pairs(const uint8_t *at)
{
    const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)at);

    return _mm256_madd_epi16(_mm256_xor_si256(v, _mm256_set1_epi16((short)BIAS)),
                             _mm256_set1_epi16(1));
}

__attribute__((target("avx2"))) static uint64_t sum_avx2(const uint8_t *at, size_t n)
{
    const uint64_t bias = (uint64_t)n * CKSUM_LONG_BLOCK / 2 * BIAS;
    __m256i a = _mm256_setzero_si256(), b = a;

    for (; n >= ROUND; n -= ROUND, at += ROUND * CKSUM_LONG_BLOCK) {
        a = _mm256_add_epi32(a, _mm256_add_epi32(pairs(at), pairs(at + 32)));
        b = _mm256_add_epi32(b, _mm256_add_epi32(pairs(at + 64), pairs(at + 96)));
    }
    for (; n > 0; n--, at += CKSUM_LONG_BLOCK)
        a = _mm256_add_epi32(a, pairs(at));
    return bias + sum_lanes(a, b);
}
#endif

uint64_t cksum_long_plain(const uint8_t *at, size_t n)
{
    uint64_t sum = 0;

    for (; n > 0; n--, at += CKSUM_LONG_BLOCK)
        sum = cksum_add(sum, at, CKSUM_LONG_BLOCK);
    return sum;
}

uint64_t cksum_long(const uint8_t *at, size_t n)
{
#if defined(__x86_64__)
    uint64_t sum = 0;

    if (__builtin_cpu_supports("avx2")) {
        for (; n > AT_ONCE; n -= AT_ONCE, at += (size_t)AT_ONCE * CKSUM_LONG_BLOCK)
            sum += sum_avx2(at, AT_ONCE);
        return sum + sum_avx2(at, n);
    }
#endif
    return cksum_long_plain(at, n);
}
