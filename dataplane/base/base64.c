#include "dataplane/base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *bytes, size_t n, char *to)
{
    const uint8_t *at = bytes;

    for (; n >= 3; n -= 3, at += 3, to += 4) {
        const uint32_t v = (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];

        to[0] = digits[v >> 18];
        to[1] = digits[v >> 12 & 63];
        to[2] = digits[v >> 6 & 63];
        to[3] = digits[v & 63];
    }
    if (n == 0)
        return;
    to[0] = digits[at[0] >> 2];
    to[1] = digits[(at[0] & 3) << 4 | (n == 2 ? at[1] >> 4 : 0)];
    to[2] = n == 2 ? digits[(at[1] & 15) << 2] : '=';
    to[3] = '=';
}

/* Or -1. */
static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters, of which the last @pad are padding. */
static bool decode_group(const char *at, unsigned pad, uint8_t to[3])
{
    uint32_t v = 0;

    for (unsigned i = 0; i < 4; i++) {
        const int n = i < 4 - pad ? value_of(at[i]) : 0;

        if (n < 0)
            return false;
        v = v << 6 | (uint32_t)n;
    }
    to[0] = (uint8_t)(v >> 16);
    to[1] = (uint8_t)(v >> 8);
    to[2] = (uint8_t)v;
    return pad == 0 || (pad == 1 ? to[2] == 0 : to[1] == 0 && to[2] == 0);
}

static unsigned padding_of(struct slice text)
{
    if (text.len == 0 || text.ptr[text.len - 1] != '=')
        return 0;
    return text.ptr[text.len - 2] == '=' ? 2 : 1;
}

bool base64_decode(struct slice text, void *to, size_t room, size_t *ret)
{
    const unsigned pad = text.len % 4 == 0 ? padding_of(text) : 0;
    uint8_t *at = to, group[3];

    if (text.len % 4 != 0 || text.len / 4 * 3 - pad > room)
        return false;
    for (size_t i = 0; i < text.len; i += 4) {
        const unsigned here = i + 4 == text.len ? pad : 0;

        if (!decode_group((const char *)text.ptr + i, here, group))
            return false;
        memcpy(at, group, 3 - here);
        at += 3 - here;
    }
    *ret = (size_t)(at - (uint8_t *)to);
    return true;
}
