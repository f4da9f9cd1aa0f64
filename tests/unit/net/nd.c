#include "dataplane/base/bytes.h"
#include "dataplane/net/ip6.h"
#include "dataplane/net/neigh.h"
#include "tests/lib/stack6.h"
#include "tests/lib/test.h"

#define SEC UINT64_C(1000000)
#define SOLICIT 135
#define ADVERT 136
#define SOLICITED 0x40000000u
#define OVERRIDE 0x20000000u
#define SOURCE 1
#define TARGET 2

static const uint8_t other_mac[6] = { 2, 0, 0, 0, 0, 9 };

static uint64_t drops(struct stack *s, enum drop why)
{
    return net_counters(s->net)->drops[why];
}

static void find_state(const struct neigh_info *n, void *ctx)
{
    const char **at = ctx;

    *at = n->state;
}

static const char *state_of_one(struct stack *s)
{
    const char *state = "";

    net_each_neigh(s->net, find_state, &state);
    return state;
}

static void send_to(struct stack *s, const char *addr)
{
    const struct ipaddr remote = ip6(addr);
    struct ipaddr from = { 0 };
    struct net_dst dst;

    assert_int_equal(net_route(s->net, &remote, &from, &dst), 0);
    net_tx(s->net, &dst, &from, &remote, 253, test_pkt(&s->pool, "0123456789", 10));
    net_dst_put(s->net, &dst);
    stack_flush(s);
}

static void expect_packet(struct stack *s, const uint8_t mac[6])
{
    const struct stack_frame *f = stack_next(s);

    assert_non_null(f);
    assert_memory_equal(f->b, mac, 6);
    assert_int_equal(get16(f->b + 12), 0x86dd);
    assert_int_equal(f->b[20], 253);
}

static void solicitations_for_our_addresses_are_answered_and_teach(void **state)
{
    const struct ipaddr us = ip6(US6), peer = ip6(PEER6);
    const struct stack_frame *out;
    struct stack s;

    stack6_init(&s);
    stack6_nd(&s, SOLICIT, PEER6, GROUP6, 0, US6, SOURCE, peer_mac);
    out = stack6_icmp(&s, ADVERT);
    assert_memory_equal(out->b, peer_mac, 6);
    assert_int_equal(out->b[21], 255);
    assert_memory_equal(out->b + 22, us.b, 16);
    assert_memory_equal(out->b + 38, peer.b, 16);
    assert_int_equal(get32(out->b + 58), SOLICITED | OVERRIDE);
    assert_memory_equal(out->b + 62, us.b, 16);
    assert_int_equal(out->b[78], TARGET);
    assert_memory_equal(out->b + 80, stack_mac, 6);
    assert_string_equal(state_of_one(&s), "STALE");
    assert_int_equal(s.n_shared, 1);
    send_to(&s, PEER6); /* no need to ask */
    expect_packet(&s, peer_mac);
    stack_fini(&s);
}

static void nothing_is_learned_from_strangers(void **state)
{
    static const struct {
        uint8_t type;
        const char *src, *dst, *target;
        uint32_t flags;
        enum drop why;
    } cases[] = {
        { SOLICIT, "2001:db8:9::1", GROUP6, US6, 0, DROP_ND_STRANGER },
        { SOLICIT, PEER6, NODES6, "2001:db8::7", 0, DROP_ND_NOT_ASKED },
        { SOLICIT, US6, GROUP6, US6, 0, DROP_ND_CONFLICT },
        { ADVERT, PEER6, NODES6, PEER6, OVERRIDE, DROP_ND_NOT_ASKED },
        { ADVERT, PEER6, US6, PEER6, SOLICITED, DROP_ND_NOT_ASKED },
        { ADVERT, PEER6, NODES6, PEER6, SOLICITED, DROP_ND_BAD }, /* to all, as an answer? */
        { ADVERT, PEER6, NODES6, "2001:db8:9::1", OVERRIDE, DROP_ND_STRANGER },
        { ADVERT, PEER6, NODES6, US6, OVERRIDE, DROP_ND_CONFLICT },
        { ADVERT, PEER6, NODES6, "ff02::5", OVERRIDE, DROP_ND_BAD },
        { 133, PEER_NEAR6, NODES6, US6, 0, DROP_ND_NOT_ROUTER },
        { 134, PEER_NEAR6, NODES6, US6, 0, DROP_ND_ROUTER_OFF },
        { 137, PEER_NEAR6, US6, US6, 0, DROP_ND_REDIRECT },
    };
    struct stack s;

    stack6_init(&s);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const uint64_t before = drops(&s, cases[i].why);

        stack6_nd(&s, cases[i].type, cases[i].src, cases[i].dst, cases[i].flags, cases[i].target,
                  cases[i].type == SOLICIT ? SOURCE : TARGET, peer_mac);
        assert_int_equal(drops(&s, cases[i].why), before + 1);
        assert_null(stack_next(&s));
        assert_string_equal(state_of_one(&s), "");
    }
    assert_int_equal(net_counters(s.net)->nd_conflicts, 2);
    stack_fini(&s);
}

static void what_did_not_come_from_the_link_is_refused(void **state)
{
    static const struct {
        uint32_t at; /* from the IP header */
        uint8_t value;
    } cases[] = {
        { 7, 254 },   /* hop limit: it was forwarded */
        { 41, 1 },    /* code */
        { 48, 0xff }, /* target: a group */
        { 65, 0 },    /* an option without length */
        { 65, 2 },    /* and one that is too long */
        { 66, 0x33 }, /* a group as a MAC address */
    };
    struct stack s;
    struct frame f;

    stack6_init(&s);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct ipaddr us = ip6(US6);
        uint8_t body[24];

        memcpy(body, us.b, 16);
        body[16] = SOURCE;
        body[17] = 1;
        memcpy(body + 18, peer_mac, 6);
        stack6_frame(&f, PEER6, GROUP6, 58);
        f.b[f.ip_at + 7] = 255;
        frame_icmp(&f, SOLICIT, 0, 0, body, 24);
        f.b[f.ip_at + cases[i].at] = cases[i].value;
        frame_done(&f);
        stack_rx(&s, &f);
        assert_int_equal(drops(&s, DROP_ND_BAD), i + 1);
        assert_null(stack_next(&s));
    }
    assert_string_equal(state_of_one(&s), "");
    stack_fini(&s);
}

static void packets_wait_for_the_answer(void **state)
{
    const struct ipaddr group = ip6("ff02::1:ff00:2");
    const struct stack_frame *out;
    struct stack s;

    stack6_init(&s);
    send_to(&s, PEER6);
    out = stack6_icmp(&s, SOLICIT);
    assert_memory_equal(out->b, ((const uint8_t[6]){ 0x33, 0x33, 0xff, 0, 0, 2 }), 6);
    assert_memory_equal(out->b + 38, group.b, 16);
    assert_string_equal(state_of_one(&s), "INCOMPLETE");
    stack6_nd(&s, ADVERT, PEER6, US6, SOLICITED | OVERRIDE, PEER6, TARGET, peer_mac);
    expect_packet(&s, peer_mac);
    assert_string_equal(state_of_one(&s), "REACHABLE");
    stack_run(&s, 31 * SEC);
    assert_string_equal(state_of_one(&s), "STALE");
    send_to(&s, PEER6);
    expect_packet(&s, peer_mac);
    stack_run(&s, 5 * SEC + 1000);
    out = stack6_icmp(&s, SOLICIT);
    assert_memory_equal(out->b, peer_mac, 6); /* it alone is asked */
    stack6_nd(&s, ADVERT, PEER6, US6, SOLICITED, PEER6, 0, NULL);
    assert_string_equal(state_of_one(&s), "REACHABLE");
    stack_fini(&s);
}

static void only_what_says_so_replaces_a_known_mac_address(void **state)
{
    struct stack s;

    stack6_init(&s);
    send_to(&s, PEER6);
    stack6_nd(&s, ADVERT, PEER6, US6, SOLICITED | OVERRIDE, PEER6, TARGET, peer_mac);
    s.at = s.n_out;
    stack6_nd(&s, ADVERT, PEER6, US6, SOLICITED, PEER6, TARGET, other_mac);
    assert_string_equal(state_of_one(&s), "STALE"); /* but it is in doubt */
    send_to(&s, PEER6);
    expect_packet(&s, peer_mac);
    stack6_nd(&s, ADVERT, PEER6, NODES6, OVERRIDE, PEER6, TARGET, other_mac);
    send_to(&s, PEER6);
    expect_packet(&s, other_mac);
    stack_fini(&s);
}

/* ---- our own addresses */

struct wanted {
    struct ipaddr addr;
    const char *state;
};

static void find_addr(const struct net_addr_info *a, void *ctx)
{
    struct wanted *w = ctx;

    if (ipaddr_eq(&a->addr, &w->addr))
        w->state = a->state;
}

static const char *state_of(struct stack *s, const char *addr)
{
    struct wanted w = { ip6(addr), "" };

    net_each_addr(s->net, find_addr, &w);
    return w.state;
}

static void start_tentative(struct stack *s)
{
    stack6_defaults(s);
    s->machine.ports[0].duplicate_probes = 2;
    s->first = true;
    assert_true(stack_start(s));
    stack_flush(s);
}

static unsigned count_solicitations(struct stack *s)
{
    const struct stack_frame *f;
    unsigned n = 0;

    while ((f = stack_next(s)) != NULL)
        n += get16(f->b + 12) == 0x86dd && f->b[20] == 58 && f->b[54] == SOLICIT;
    return n;
}

static void an_address_is_asked_for_before_it_is_used(void **state)
{
    const struct ipaddr far = ip6(FAR6);
    struct ipaddr from = { 0 }, us = ip6(US6);
    struct net_dst dst;
    struct stack s;
    struct frame f;

    start_tentative(&s);
    assert_int_equal(count_solicitations(&s), 2); /* it, and the link-local one */
    assert_string_equal(state_of(&s, US6), "tentative");
    assert_true(net_route(s.net, &far, &from, &dst) < 0);
    assert_true(net_route(s.net, &far, &us, &dst) < 0);
    stack6_frame(&f, PEER6, US6, 253);
    frame_done(&f);
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_IP6_TENTATIVE), 1);
    stack6_nd(&s, SOLICIT, PEER6, GROUP6, 0, US6, SOURCE, peer_mac);
    assert_null(stack_next(&s));
    stack_run(&s, SEC + 2000);
    assert_int_equal(count_solicitations(&s), 2);
    assert_string_equal(state_of(&s, US6), "tentative");
    stack_run(&s, SEC + 2000);
    assert_string_equal(state_of(&s, US6), "in use");
    assert_int_equal(net_route(s.net, &far, &from, &dst), 0);
    assert_true(ipaddr_eq(&from, &us));
    net_dst_put(s.net, &dst);
    stack_fini(&s);
}

static void a_duplicate_is_not_used(void **state)
{
    struct stack s;

    start_tentative(&s);
    s.at = s.n_out;
    stack6_nd(&s, ADVERT, US6, NODES6, OVERRIDE, US6, TARGET, other_mac);
    assert_string_equal(state_of(&s, US6), "duplicate");
    assert_int_equal(net_counters(s.net)->duplicate_addresses, 1);
    assert_int_equal(s.n_shared, 1); /* the other workers must know */
    stack_run(&s, 60 * SEC);
    assert_string_equal(state_of(&s, US6), "duplicate");
    stack6_nd(&s, SOLICIT, PEER6, GROUP6, 0, US6, SOURCE, peer_mac);
    s.at = s.n_out;
    assert_int_equal(drops(&s, DROP_ND_NOT_ASKED), 1);
    stack_fini(&s);

    start_tentative(&s); /* two that start at once */
    s.at = s.n_out;
    stack6_nd(&s, SOLICIT, "::", GROUP6, 0, US6, 0, NULL);
    assert_string_equal(state_of(&s, US6), "duplicate");
    stack_fini(&s);
}

static void a_probe_for_our_address_is_answered_to_all(void **state)
{
    const struct stack_frame *out;
    struct stack s;

    stack6_init(&s);
    stack6_nd(&s, SOLICIT, "::", GROUP6, 0, US6, 0, NULL);
    out = stack6_icmp(&s, ADVERT);
    assert_int_equal(out->b[0], 0x33);
    assert_int_equal(get32(out->b + 58), OVERRIDE);
    stack6_nd(&s, SOLICIT, "::", GROUP6, 0, US6, SOURCE, peer_mac); /* RFC 4861, 7.1.1 */
    assert_int_equal(drops(&s, DROP_ND_BAD), 1);
    stack_fini(&s);
}

/* ---- routers */

static void router(struct stack *s, uint16_t lifetime, uint8_t flags, uint32_t valid,
                   uint32_t preferred)
{
    const struct ipaddr prefix = ip6("2001:db8:5::");
    uint8_t body[8 + 32 + 8] = { 0 };
    struct frame f;

    body[8] = 3;
    body[9] = 4;
    body[10] = 64;
    body[11] = flags;
    put32(body + 12, valid);
    put32(body + 16, preferred);
    memcpy(body + 24, prefix.b, 16);
    body[40] = 5;
    body[41] = 1;
    put32(body + 44, 1400);
    stack6_frame(&f, "fe80::99", NODES6, 58);
    f.b[f.ip_at + 7] = 255;
    frame_icmp(&f, 134, 0, lifetime, body, sizeof(body));
    frame_done(&f);
    stack_rx(s, &f);
}

static void a_router_is_believed_only_where_we_are_told_to(void **state)
{
    const struct ipaddr far = ip6("2a00::1"), near = ip6("2001:db8:5::77");
    const struct stack_frame *out;
    struct ipaddr from = { 0 };
    struct net_dst dst;
    struct stack s;

    stack_defaults(&s);
    s.machine.ports[0].router_advertisements = true;
    s.first = true;
    assert_true(stack_start(&s));
    assert_true(net_route(s.net, &far, &from, &dst) < 0);
    stack_run(&s, 2000);
    while ((out = stack_next(&s)) != NULL && !(out->b[20] == 58 && out->b[54] == 133))
        ;
    assert_non_null(out); /* routers are asked for */

    router(&s, 1800, 0xc0, 7200, 3600);
    assert_string_equal(state_of(&s, "2001:db8:5::ff:fe00:1"), "in use");
    from = (struct ipaddr){ 0 };
    assert_int_equal(net_route(s.net, &far, &from, &dst), 0);
    assert_int_equal(dst.mtu, 1400);
    net_dst_put(s.net, &dst);
    from = (struct ipaddr){ 0 };
    assert_int_equal(net_route(s.net, &near, &from, &dst), 0); /* on link */
    net_dst_put(s.net, &dst);
    router(&s, 1800, 0xc0, 0, 0); /* forged: it may not end at once (RFC 4862, 5.5.3) */
    assert_string_equal(state_of(&s, "2001:db8:5::ff:fe00:1"), "deprecated");
    stack_run(&s, 7201 * SEC);
    assert_string_equal(state_of(&s, "2001:db8:5::ff:fe00:1"), "");
    from = (struct ipaddr){ 0 };
    assert_true(net_route(s.net, &far, &from, &dst) < 0); /* and the router has not spoken again */
    stack_fini(&s);
}

static void a_query_is_answered_with_our_groups(void **state)
{
    static const uint8_t alert[6] = { 5, 2, 0, 0, 1, 0 };
    const struct ipaddr group = ip6(GROUP6);
    const struct stack_frame *out;
    uint8_t body[16] = { 0 };
    struct stack s;
    struct frame f;

    stack6_init(&s);
    stack6_frame(&f, PEER_NEAR6, NODES6, 58);
    f.b[f.ip_at + 7] = 1;
    frame_ext6(&f, 0, alert, 6);
    frame_icmp(&f, 130, 0, 0, body, 16);
    frame_done(&f);
    stack_rx(&s, &f);
    out = stack6_icmp(&s, 143);
    assert_int_equal(get16(out->b + 14 + 48 + 6), 1); /* both addresses have one group */
    assert_memory_equal(out->b + 14 + 48 + 8 + 4, group.b, 16);
    assert_int_equal(out->b[21], 1);
    stack_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(solicitations_for_our_addresses_are_answered_and_teach),
        cmocka_unit_test(nothing_is_learned_from_strangers),
        cmocka_unit_test(what_did_not_come_from_the_link_is_refused),
        cmocka_unit_test(packets_wait_for_the_answer),
        cmocka_unit_test(only_what_says_so_replaces_a_known_mac_address),
        cmocka_unit_test(an_address_is_asked_for_before_it_is_used),
        cmocka_unit_test(a_duplicate_is_not_used),
        cmocka_unit_test(a_probe_for_our_address_is_answered_to_all),
        cmocka_unit_test(a_router_is_believed_only_where_we_are_told_to),
        cmocka_unit_test(a_query_is_answered_with_our_groups),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
