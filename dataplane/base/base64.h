/*
 * base64.h - bytes as text, for JSON (RFC 4648, 4)
 */
#pragma once

#include "dataplane/base/slice.h"

/* Characters that @n bytes take. */
static inline size_t base64_len(size_t n)
{
    return (n + 2) / 3 * 4;
}

/* Writes base64_len(@n) characters to @to, and no NUL. */
void base64_encode(const void *bytes, size_t n, char *to);

/*
 * Strict: with padding, without blanks or lines, no bits left over. False: it is none, or takes
 * more than @room. *@ret bytes were written to @to.
 */
bool base64_decode(struct slice text, void *to, size_t room, size_t *ret);
