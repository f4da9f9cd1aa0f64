#include "dataplane/base/text.h"

/* How many bytes the character at the front has; 0: it is none. */
static size_t utf8_len(const unsigned char *b, size_t room)
{
    /* What the first byte allows the second to be: this excludes all that is not well formed. */
    static const struct {
        unsigned char first, last, low, high, len;
    } forms[] = {
        { 0x00, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
        { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
        { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        const size_t len = forms[i].len;

        if (b[0] < forms[i].first || b[0] > forms[i].last)
            continue;
        if (len > room || (len > 1 && (b[1] < forms[i].low || b[1] > forms[i].high)))
            return 0;
        for (size_t k = 2; k < len; k++)
            if ((b[k] & 0xc0) != 0x80)
                return 0;
        return len;
    }
    return 0;
}

bool text_is_utf8(struct slice s)
{
    while (s.len > 0) {
        const size_t len = utf8_len((const unsigned char *)s.ptr, s.len);

        if (len == 0)
            return false;
        s = slice_skip(s, len);
    }
    return true;
}

/* Do at most @changes letters put in, left out or changed make @b of @a? */
static bool is_near(const char *a, const char *b, unsigned changes)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    if (*a == '\0' && *b == '\0')
        return true;
    if (changes == 0)
        return false;
    return (*a != '\0' && is_near(a + 1, b, changes - 1)) ||
           (*b != '\0' && is_near(a, b + 1, changes - 1)) ||
           (*a != '\0' && *b != '\0' && is_near(a + 1, b + 1, changes - 1));
}

bool text_is_slip(const char *typed, const char *meant)
{
    return is_near(typed, meant, strlen(typed) < 5 ? 1 : 2);
}
