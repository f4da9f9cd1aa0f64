/*
 * bytes.h - numbers in network order, at any alignment
 */
#pragma once

#include <stdint.h>
#include <string.h>

static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
    uint32_t x;

    memcpy(&x, p, sizeof(x));
    return __builtin_bswap32(x);
}

static inline void put16(uint8_t *p, uint16_t x)
{
    p[0] = (uint8_t)(x >> 8);
    p[1] = (uint8_t)x;
}

static inline void put32(uint8_t *p, uint32_t x)
{
    x = __builtin_bswap32(x);
    memcpy(p, &x, sizeof(x));
}
