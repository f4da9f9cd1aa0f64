#include "tls/hostname.h"

#define LABEL_MAX 63

static bool is_host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool hostname_copy(struct slice from, char to[HOSTNAME_MAX + 1])
{
    size_t label = 0;

    if (from.len > 0 && from.ptr[from.len - 1] == '.')
        from.len--;
    if (from.len == 0 || from.len > HOSTNAME_MAX)
        return false;
    for (size_t i = 0; i < from.len; i++) {
        char c = from.ptr[i];

        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        to[i] = c;
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if (!is_host_char(c) || ++label > LABEL_MAX) {
            return false;
        }
    }
    to[from.len] = '\0';
    return label > 0;
}

bool hostname_matches(struct slice pattern, const char *name)
{
    bool has_star = slice_starts(pattern, SLICE("*."));
    char plain[HOSTNAME_MAX + 1];
    const char *rest = name;

    if (!hostname_copy(has_star ? slice_skip(pattern, 2) : pattern, plain))
        return false;
    if (has_star) {
        rest = strchr(name, '.');
        if (rest == NULL || strchr(plain, '.') == NULL)
            return false;
        rest++;
    }
    return strcmp(rest, plain) == 0;
}
