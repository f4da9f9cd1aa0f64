/*
 * hex.h - bytes as RFCs print them
 */
#pragma once

#include <assert.h>
#include <ctype.h>
#include <stddef.h>
#include <stdint.h>

static inline uint8_t hex_value(char c)
{
    assert(isxdigit((unsigned char)c));
    return (uint8_t)(isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10);
}

/* The bytes of @hex, whose blanks mean nothing, at most @max. Returns how many. */
static inline size_t unhex(uint8_t *to, size_t max, const char *hex)
{
    size_t n = 0;

    for (; *hex != '\0'; hex++) {
        if (*hex == ' ')
            continue;
        assert(n < max);
        to[n++] = (uint8_t)(hex_value(hex[0]) << 4 | hex_value(hex[1]));
        hex++;
    }
    return n;
}
