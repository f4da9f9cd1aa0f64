/*
 * fuzz.h - the bytes of one run, read from the front
 *
 * Reading past the end gives zeros, so that a target needs no checks of its own
 * and every input means something.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    const uint8_t *at;
    size_t len;
};

static inline uint8_t fuzz_u8(struct fuzz *f)
{
    if (f->len == 0)
        return 0;
    f->len--;
    return *f->at++;
}

static inline uint16_t fuzz_u16(struct fuzz *f)
{
    const uint8_t high = fuzz_u8(f);

    return (uint16_t)(high << 8 | fuzz_u8(f));
}

static inline uint32_t fuzz_u32(struct fuzz *f)
{
    const uint32_t high = fuzz_u16(f);

    return high << 16 | fuzz_u16(f);
}

/* Copies up to @n bytes; returns how many there were. */
static inline uint32_t fuzz_bytes(struct fuzz *f, void *to, uint32_t n)
{
    if (n > f->len)
        n = (uint32_t)f->len;
    if (n > 0)
        memcpy(to, f->at, n);
    f->at += n;
    f->len -= n;
    return n;
}
