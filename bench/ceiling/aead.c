/*
 * aead.c - what ipsec-mb alone can do: records sealed and opened by tls/aead.h
 *
 * The best of several rounds: a busy machine only ever adds to the truth.
 */
#include "tls/aead.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 9
#define BYTES_A_ROUND (64u << 20)

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

typedef void work_fn(struct aead *a, uint8_t *to, const uint8_t *from, size_t len);

/* Nanoseconds of one record of @len bytes, from one buffer to another. */
static double measure(struct aead *a, struct aead_key *k, work_fn *work, uint8_t *to,
                      const uint8_t *from, size_t len)
{
    const uint8_t header[5] = { 23, 3, 3, (uint8_t)((len + AEAD_TAG) >> 8), (uint8_t)len };
    const uint64_t n = BYTES_A_ROUND / len;
    double best = 1e12;

    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t began = now_ns();

        for (uint64_t i = 0; i < n; i++) {
            uint8_t tag[AEAD_TAG];

            aead_begin(a, k, i, header, sizeof(header));
            work(a, to, from, len);
            aead_end(a, tag);
        }
        const double ns = (double)(now_ns() - began) / (double)n;

        if (ns < best)
            best = ns;
    }
    return best;
}

int main(void)
{
    static const size_t sizes[] = { 1350, 16384 };
    static const uint8_t key[16], iv[AEAD_IV];
    static uint8_t from[16384], to[16384];
    struct aead *a = aead_new(16);
    struct aead_key k = { 0 };

    if (a == NULL)
        return EXIT_FAILURE;
    memset(from, 'x', sizeof(from));
    aead_key_set(&k, AEAD_AES_128_GCM, key, iv);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const double seal = measure(a, &k, aead_seal, to, from, sizes[i]);
        const double open = measure(a, &k, aead_open, to, from, sizes[i]);

        printf("seal %zu bytes: %.0f ns, %.2f GB/s\n", sizes[i], seal, (double)sizes[i] / seal);
        printf("open %zu bytes: %.0f ns, %.2f GB/s\n", sizes[i], open, (double)sizes[i] / open);
    }
    aead_key_drop(a, &k);
    aead_free(a);
    return EXIT_SUCCESS;
}
