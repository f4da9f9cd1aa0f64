#include "tests/lib/stack6.h"

#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "tests/lib/test.h"

struct ipaddr ip6(const char *text)
{
    struct ipaddr a;

    assert_true(ipaddr_parse(slice_of(text), &a));
    return a;
}

void stack6_defaults(struct stack *s)
{
    struct port_conf *port = &s->machine.ports[0];

    stack_defaults(s);
    port->addrs[port->n_addrs++] = (struct addr_conf){ ip6(US6), 64, 0 };
    s->machine.routes[s->machine.n_routes++] =
        (struct fixed_route_conf){ .prefix = { { .family = IP_V6 }, 0 }, .via = { ip6(GATEWAY6) } };
}

void stack6_init(struct stack *s)
{
    stack6_defaults(s);
    assert_true(stack_start(s));
}

void stack6_frame(struct frame *f, const char *src, const char *dst, uint8_t next)
{
    const struct ipaddr to = ip6(dst);
    uint8_t mac[6] = { 0x33, 0x33 };

    memcpy(mac + 2, to.b + 12, 4);
    frame_eth(f, to.b[0] == 0xff ? mac : stack_mac, peer_mac, 0x86dd, 0);
    frame_ip6(f, src, dst, next);
}

void stack6_nd(struct stack *s, uint8_t type, const char *src, const char *dst, uint32_t flags,
               const char *target, uint8_t opt, const uint8_t *mac)
{
    const struct ipaddr about = ip6(target);
    uint8_t body[24] = { 0 };
    struct frame f;

    memcpy(body, about.b, 16);
    body[16] = opt;
    body[17] = 1;
    if (mac != NULL)
        memcpy(body + 18, mac, 6);
    stack6_frame(&f, src, dst, 58);
    f.b[f.ip_at + 7] = 255;
    frame_icmp(&f, type, 0, flags, body, mac != NULL ? 24 : 16);
    frame_done(&f);
    stack_rx(s, &f);
}

void stack6_teach(struct stack *s, const char *addr)
{
    stack6_nd(s, 135, addr, GROUP6, 0, US6, 1, peer_mac);
    s->at = s->n_out;
}

const struct stack_frame *stack6_icmp(struct stack *s, uint8_t type)
{
    const struct stack_frame *f = stack_next(s);
    const uint8_t *ip = f != NULL ? f->b + 14 : NULL;
    struct ipaddr src, dst;
    uint32_t at = 40;

    assert_non_null(f);
    assert_int_equal(get16(f->b + 12), 0x86dd);
    src = ipaddr_v6(ip + 8);
    dst = ipaddr_v6(ip + 24);
    if (ip[6] == 0)
        at += 8;
    assert_int_equal(at > 40 ? ip[40] : ip[6], 58);
    assert_int_equal(get16(ip + 4), f->len - 14 - 40);
    assert_true(cksum_is_good(
        cksum_add(cksum_pseudo(&src, &dst, 58, f->len - 14 - at), ip + at, f->len - 14 - at)));
    assert_int_equal(ip[at], type);
    return f;
}
