#include "dataplane/base/ipaddr.h"

#include "dataplane/base/compiler.h"
#include "dataplane/base/num.h"

#include <arpa/inet.h>
#include <string.h>

struct ipaddr ipaddr_v4(uint32_t host_order)
{
    return (struct ipaddr){
        .family = IP_V4,
        .b = { (uint8_t)(host_order >> 24), (uint8_t)(host_order >> 16), (uint8_t)(host_order >> 8),
               (uint8_t)host_order },
    };
}

bool ipaddr_parse(struct slice s, struct ipaddr *ret)
{
    struct ipaddr a = { 0 };
    char text[IPADDR_STRLEN];

    if (s.len == 0 || s.len >= sizeof(text) || memchr(s.ptr, '\0', s.len) != NULL)
        return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';

    a.family = strchr(text, ':') != NULL ? IP_V6 : IP_V4;
    if (inet_pton(a.family == IP_V4 ? AF_INET : AF_INET6, text, a.b) != 1)
        return false;
    *ret = a;
    return true;
}

/* Zeroes the bits beyond the prefix; returns whether any was set. */
static bool mask(struct ipprefix *p)
{
    bool changed = false;

    for (unsigned i = 0; i < sizeof(p->addr.b); i++) {
        unsigned keep = p->len <= i * 8 ? 0 : MIN(8u, p->len - i * 8u);
        uint8_t bits = (uint8_t)(0xff00u >> keep);

        if ((p->addr.b[i] & bits) != p->addr.b[i])
            changed = true;
        p->addr.b[i] &= bits;
    }
    return changed;
}

bool ipprefix_parse(struct slice s, bool strict, struct ipprefix *ret)
{
    size_t slash = slice_find(s, '/');
    struct ipprefix p = { 0 };
    uint64_t len;

    if (!ipaddr_parse(slice_head(s, slash), &p.addr))
        return false;
    len = p.addr.family == IP_V4 ? 32 : 128;
    if (slash < s.len && !num_u64(slice_skip(s, slash + 1), len, &len))
        return false;
    p.len = (uint8_t)len;
    if (mask(&p) && strict)
        return false;
    *ret = p;
    return true;
}

bool ipprefix_contains(const struct ipprefix *p, const struct ipaddr *a)
{
    struct ipprefix other = { *a, p->len };

    if (a->family != p->addr.family)
        return false;
    mask(&other);
    return ipaddr_eq(&other.addr, &p->addr);
}

/* The C library's takes a microsecond, and an access log has four of a line. */
static void v4_str(const uint8_t b[4], char *to)
{
    for (unsigned i = 0; i < 4; i++) {
        to += num_str(b[i], to);
        if (i < 3)
            *to++ = '.';
    }
}

char *ipaddr_str(const struct ipaddr *a, char buf[IPADDR_STRLEN])
{
    if (a->family == IP_V4)
        v4_str(a->b, buf);
    else if (a->family == IP_NONE || inet_ntop(AF_INET6, a->b, buf, IPADDR_STRLEN) == NULL)
        memcpy(buf, "-", 2);
    return buf;
}

char *ipport_str(const struct ipport *a, char buf[IPPORT_STRLEN])
{
    const bool v6 = a->addr.family == IP_V6;
    char *to = buf;

    if (v6)
        *to++ = '[';
    ipaddr_str(&a->addr, to);
    to += strlen(to);
    if (v6)
        *to++ = ']';
    *to++ = ':';
    num_str(a->port, to);
    return buf;
}
