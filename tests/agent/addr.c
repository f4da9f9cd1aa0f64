/* Linux' sockaddrs and ours. An IPv6 socket sees IPv4 as ::ffff:a.b.c.d (RFC 3493, 3.7). */
#include "tests/agent/sock.h"

#include <errno.h>
#include <netinet/in.h>

#define V6_LEN_MIN 24 /* without the scope, as in RFC 2133 */

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static struct ipaddr v4(const void *bytes)
{
    static const uint8_t any[4];
    struct ipaddr a = { .family = IP_V4 };

    if (memcmp(bytes, any, sizeof(any)) == 0)
        a.family = IP_NONE;
    memcpy(a.b, bytes, 4);
    return a;
}

static struct ipaddr v6(const struct in6_addr *from)
{
    struct ipaddr a = { .family = IP_V6 };

    if (memcmp(from, mapped, sizeof(mapped)) == 0)
        return v4((const uint8_t *)from + sizeof(mapped));
    memcpy(a.b, from, 16);
    if (IN6_IS_ADDR_UNSPECIFIED(from))
        a.family = IP_NONE;
    return a;
}

static int read_v6(const struct sock *s, const uint8_t *data, uint32_t len, struct ipport *ret)
{
    struct sockaddr_in6 sin6 = { 0 };

    if (len < V6_LEN_MIN)
        return EINVAL;
    memcpy(&sin6, data, MIN(len, sizeof(sin6)));
    if (sin6.sin6_family != AF_INET6)
        return EAFNOSUPPORT;
    ret->addr = v6(&sin6.sin6_addr);
    ret->port = ntohs(sin6.sin6_port);
    if (ret->addr.family == IP_V4 && s->opts.v6only)
        return ENETUNREACH;
    return 0;
}

int addr_read(const struct sock *s, const uint8_t *data, uint32_t len, struct ipport *ret)
{
    struct sockaddr_in sin;

    *ret = (struct ipport){ 0 };
    if (s->domain == AF_INET6)
        return read_v6(s, data, len, ret);
    if (len < sizeof(sin))
        return EINVAL;
    memcpy(&sin, data, sizeof(sin));
    if (sin.sin_family != AF_INET)
        return EAFNOSUPPORT;
    ret->addr = v4(&sin.sin_addr);
    ret->port = ntohs(sin.sin_port);
    return 0;
}

void addr_write(struct call *c, const struct sock *s, const struct ipport *addr)
{
    struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_port = htons(addr->port) };
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(addr->port) };
    const bool wide = s->domain == AF_INET6;
    void *to = call_out(c, wide ? sizeof(sin6) : sizeof(sin));

    if (to == NULL)
        return;
    memcpy(&sin.sin_addr, addr->addr.b, 4);
    if (addr->addr.family == IP_V6) {
        memcpy(&sin6.sin6_addr, addr->addr.b, 16);
    } else {
        memcpy(&sin6.sin6_addr, mapped, sizeof(mapped));
        memcpy((uint8_t *)&sin6.sin6_addr + sizeof(mapped), addr->addr.b, 4);
    }
    if (wide)
        memcpy(to, &sin6, sizeof(sin6));
    else
        memcpy(to, &sin, sizeof(sin));
}
