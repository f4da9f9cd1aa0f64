#include "tls/spiffe.h"

static bool is_domain_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

static bool is_path_char(char c)
{
    return is_domain_char(c) || (c >= 'A' && c <= 'Z');
}

bool spiffe_domain_ok(struct slice domain)
{
    if (domain.len == 0 || domain.len > SPIFFE_DOMAIN_MAX)
        return false;
    for (size_t i = 0; i < domain.len; i++) {
        if (!is_domain_char(domain.ptr[i]))
            return false;
    }
    return true;
}

static bool segment_ok(struct slice s)
{
    if (s.len == 0 || slice_eq(s, SLICE(".")) || slice_eq(s, SLICE("..")))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!is_path_char(s.ptr[i]))
            return false;
    }
    return true;
}

/* With @is_prefix, the last segment may be cut short, even to nothing. */
static bool path_ok(struct slice path, bool is_prefix)
{
    while (path.len > 0) {
        size_t len;

        if (path.ptr[0] != '/')
            return false;
        path = slice_skip(path, 1);
        len = slice_find(path, '/');
        if (is_prefix && len == path.len)
            return len == 0 || segment_ok(path) || slice_eq(path, SLICE("."));
        if (!segment_ok(slice_head(path, len)))
            return false;
        path = slice_skip(path, len);
    }
    return true;
}

static bool parse(struct slice text, bool is_prefix, struct spiffe_id *ret)
{
    struct slice scheme = SLICE("spiffe://"), rest;
    struct spiffe_id id;

    if (text.len > SPIFFE_ID_MAX || !slice_starts(text, scheme))
        return false;
    rest = slice_skip(text, scheme.len);
    id.domain = slice_head(rest, slice_find(rest, '/'));
    id.path = slice_skip(rest, id.domain.len);
    if (!spiffe_domain_ok(id.domain) || !path_ok(id.path, is_prefix))
        return false;
    *ret = id;
    return true;
}

bool spiffe_parse(struct slice uri, struct spiffe_id *ret)
{
    return parse(uri, false, ret);
}

bool spiffe_parse_prefix(struct slice text, struct spiffe_id *ret)
{
    struct spiffe_id id;

    /* "spiffe://clust" and a star would take in trust domains of other people. */
    if (!parse(text, true, &id) || id.path.len == 0)
        return false;
    *ret = id;
    return true;
}
