#include "dataplane/base/num.h"

#include "dataplane/base/compiler.h"

#include <string.h>

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 99;
}

static bool parse(struct slice s, unsigned base, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;

    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned d = (unsigned)digit(s.ptr[i]);

        if (d >= base || v > (UINT64_MAX - d) / base)
            return false;
        v = v * base + d;
    }
    if (v > max)
        return false;
    *ret = v;
    return true;
}

bool num_u64(struct slice s, uint64_t max, uint64_t *ret)
{
    return parse(s, 10, max, ret);
}

bool num_hex_u64(struct slice s, uint64_t max, uint64_t *ret)
{
    return parse(s, 16, max, ret);
}

struct unit {
    struct slice name;
    uint64_t factor;
};

static const struct unit durations[] = {
    { { "us", 2 }, 1 },       { { "ms", 2 }, 1000 },         { { "s", 1 }, 1000000 },
    { { "m", 1 }, 60000000 }, { { "h", 1 }, 3600000000ull },
};

static const struct unit sizes[] = {
    { { "", 0 }, 1 },
    { { "KiB", 3 }, 1ull << 10 },
    { { "MiB", 3 }, 1ull << 20 },
    { { "GiB", 3 }, 1ull << 30 },
};

/* A decimal number with an optional fraction of up to six digits, and one of @units. */
static bool scaled(struct slice s, const struct unit *units, size_t n, uint64_t *ret)
{
    size_t whole_len = 0, fraction_len = 0;
    uint64_t whole, fraction = 0, scale = 1;
    struct slice rest;

    while (whole_len < s.len && digit(s.ptr[whole_len]) < 10)
        whole_len++;
    if (!num_u64(slice_head(s, whole_len), UINT64_MAX, &whole))
        return false;
    rest = slice_skip(s, whole_len);
    if (rest.len > 0 && rest.ptr[0] == '.') {
        rest = slice_skip(rest, 1);
        while (fraction_len < rest.len && digit(rest.ptr[fraction_len]) < 10) {
            fraction_len++;
            scale *= 10;
        }
        if (fraction_len > 6 || !num_u64(slice_head(rest, fraction_len), UINT64_MAX, &fraction))
            return false;
        rest = slice_skip(rest, fraction_len);
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t v;

        if (!slice_eq(rest, units[i].name))
            continue;
        if (__builtin_mul_overflow(whole, units[i].factor, &v) ||
            __builtin_add_overflow(v, fraction * units[i].factor / scale, &v))
            return false;
        *ret = v;
        return true;
    }
    return false;
}

bool num_duration_us(struct slice s, uint64_t *ret_us)
{
    return scaled(s, durations, ARRAY_SIZE(durations), ret_us);
}

bool num_size(struct slice s, uint64_t *ret)
{
    return scaled(s, sizes, ARRAY_SIZE(sizes), ret);
}

static unsigned digits(uint64_t n, unsigned base, char to[NUM_STRLEN])
{
    char text[NUM_STRLEN];
    unsigned at = NUM_STRLEN;

    do
        text[--at] = "0123456789abcdef"[n % base];
    while ((n /= base) > 0);
    memcpy(to, text + at, NUM_STRLEN - at);
    to[NUM_STRLEN - at] = '\0';
    return NUM_STRLEN - at;
}

unsigned num_str(uint64_t n, char to[NUM_STRLEN])
{
    return digits(n, 10, to);
}

unsigned num_hex_str(uint64_t n, char to[NUM_STRLEN])
{
    return digits(n, 16, to);
}
