#include "dataplane/net/fib.h"
#include "dataplane/net/flow.h"
#include "dataplane/net/pmtu.h"
#include "tests/lib/stack6.h"
#include "tests/lib/test.h"

#include <errno.h>

#define SEC UINT64_C(1000000)
#define HOPS 4
#define FLOWS 400

static void four_ways(struct stack *s)
{
    stack6_defaults(s);
    for (uint32_t i = 0; i < HOPS; i++) {
        s->machine.routes[0].via[i] = ipaddr_v4(GATEWAY - i);
        s->machine.routes[1].via[i] = ip6(GATEWAY6);
        s->machine.routes[1].via[i].b[15] = (uint8_t)(0xfe - i);
    }
    assert_true(stack_start(s));
}

static struct flow_key flow(int family, uint16_t port)
{
    return (struct flow_key){ .remote = family == 4 ? ipaddr_v4(0x08080808) : ip6(FAR6),
                              .local = family == 4 ? ipaddr_v4(US) : ip6(US6),
                              .remote_port = port,
                              .local_port = 80,
                              .protocol = 6 };
}

struct which {
    const struct neigh *of[FLOWS];
    unsigned n[FLOWS]; /* flows that use the same neighbour as this one, if it is the first */
    unsigned distinct;
};

static void route_all(struct stack *s, int family, struct which *w)
{
    *w = (struct which){ .distinct = 0 };
    for (uint16_t i = 0; i < FLOWS; i++) {
        const struct flow_key key = flow(family, (uint16_t)(1000 + i));
        struct net_dst dst;
        unsigned k = 0;

        assert_int_equal(net_route_flow(s->net, &key, &dst), 0);
        w->of[i] = dst.neigh;
        while (w->of[k] != dst.neigh)
            k++;
        w->distinct += w->n[k]++ == 0;
        net_dst_put(s->net, &dst);
    }
}

static void flows_are_spread_over_equal_next_hops_and_stay(void **state)
{
    static struct which first, again;
    struct stack s;

    four_ways(&s);
    for (int family = 4; family <= 6; family += 2) {
        route_all(&s, family, &first);
        assert_int_equal(first.distinct, HOPS);
        for (unsigned i = 0; i < FLOWS; i++)
            if (first.n[i] != 0)
                assert_in_range(first.n[i], FLOWS / HOPS / 2, FLOWS / HOPS * 2);
        route_all(&s, family, &again);
        assert_memory_equal(first.of, again.of, sizeof(first.of));
    }
    stack_fini(&s);
}

static void a_next_hop_that_does_not_answer_is_passed_over(void **state)
{
    static struct which before, after;
    const struct flow_key key = flow(6, 1000);
    const struct ipaddr from = ip6(US6), to = ip6(FAR6);
    struct net_dst dst;
    struct stack s;

    four_ways(&s);
    route_all(&s, 6, &before);
    assert_int_equal(net_route_flow(s.net, &key, &dst), 0);
    net_tx(s.net, &dst, &from, &to, 253, test_pkt(&s.pool, "0123456789", 10));
    net_dst_put(s.net, &dst);
    stack_run(&s, 4 * SEC);
    s.at = s.n_out;
    route_all(&s, 6, &after);
    assert_int_equal(after.distinct, HOPS - 1);
    for (unsigned i = 0; i < FLOWS; i++)
        if (before.of[i] != before.of[0])
            assert_ptr_equal(after.of[i], before.of[i]); /* the others stay where they were */
    assert_true(net_counters(s.net)->dead_hops > 0);

    stack_run(&s, 6 * SEC);
    route_all(&s, 6, &after); /* it is asked again */
    stack_flush(&s);
    assert_non_null(stack_next(&s));
    for (unsigned i = 0; i < HOPS; i++) { /* whichever it was */
        static const char *const hops[] = { "2001:db8::fe", "2001:db8::fd", "2001:db8::fc",
                                            "2001:db8::fb" };

        stack6_nd(&s, 136, hops[i], US6, 0x60000000, hops[i], 2, peer_mac);
    }
    route_all(&s, 6, &after);
    assert_memory_equal(after.of, before.of, sizeof(before.of));
    stack_fini(&s);
}

static void routes_may_refuse(void **state)
{
    const struct ipaddr hole = ipaddr_v4(0x0b000001), wall = ip6("2001:db8:bad::1");
    struct ipaddr from = { 0 };
    struct net_dst dst;
    struct stack s;

    stack6_defaults(&s);
    s.machine.routes[2] = (struct fixed_route_conf){ .prefix = { ipaddr_v4(0x0b000000), 8 },
                                                     .type = ROUTE_BLACKHOLE };
    s.machine.routes[3] = (struct fixed_route_conf){ .prefix = { ip6("2001:db8:bad::"), 48 },
                                                     .type = ROUTE_UNREACHABLE };
    s.machine.n_routes = 4;
    assert_true(stack_start(&s));
    assert_int_equal(net_route(s.net, &hole, &from, &dst), -ENETUNREACH);
    assert_int_equal(net_route(s.net, &wall, &from, &dst), -EHOSTUNREACH);
    assert_int_equal(net_counters(s.net)->refused_routes, 2);
    stack_fini(&s);
}

static void routes_are_replaced_as_a_whole(void **state)
{
    const struct ipaddr far = ip6("2a00::1"), back = ipaddr_v4(0x08080808);
    const struct fib_entry one = { .prefix = { ip6("2a00::"), 16 },
                                   .n_hops = 1,
                                   .hops = { { ip6(PEER6), 0 } } };
    struct ipaddr from = { 0 };
    struct net_dst dst;
    struct fib *fib;
    struct stack s;

    stack6_init(&s);
    assert_int_equal(fib_new(&one, 1, &fib), 0);
    net_set_fib(s.net, fib);
    assert_int_equal(net_route(s.net, &far, &from, &dst), 0);
    net_dst_put(s.net, &dst);
    from = (struct ipaddr){ 0 };
    assert_int_equal(net_route(s.net, &back, &from, &dst), -EHOSTUNREACH);
    net_set_fib(s.net, NULL);
    fib_free(fib);
    assert_int_equal(net_route(s.net, &back, &from, &dst), 0);
    net_dst_put(s.net, &dst);
    stack_fini(&s);
}

static void link_local_addresses_are_of_one_link(void **state)
{
    struct ipaddr near = ip6(PEER_NEAR6), from = { 0 };
    struct net_dst dst;
    struct stack s;

    stack6_init(&s);
    assert_int_equal(net_route(s.net, &near, &from, &dst), 0); /* there is but one with IPv6 */
    assert_int_equal(from.b[0], 0xfe);
    assert_int_equal(from.scope, 1);
    net_dst_put(s.net, &dst);
    stack_fini(&s);

    stack6_defaults(&s);
    s.machine.ports[0].addrs[s.machine.ports[0].n_addrs++] =
        (struct addr_conf){ ip6("2001:db8:7::1"), 64, 7 };
    assert_true(stack_start(&s));
    from = (struct ipaddr){ 0 };
    assert_int_equal(net_route(s.net, &near, &from, &dst), -EHOSTUNREACH);
    near.scope = 2;
    assert_int_equal(net_route(s.net, &near, &from, &dst), 0);
    assert_int_equal(from.scope, 2);
    net_dst_put(s.net, &dst);
    near.scope = 99;
    from = (struct ipaddr){ 0 };
    assert_int_equal(net_route(s.net, &near, &from, &dst), -EHOSTUNREACH);
    stack_fini(&s);
}

static uint16_t mtu_to(struct stack *s, const struct ipaddr *remote)
{
    struct ipaddr from = { 0 };
    struct net_dst dst;

    assert_int_equal(net_route(s->net, remote, &from, &dst), 0);
    net_dst_put(s->net, &dst);
    return dst.mtu;
}

static void the_mtu_of_a_path_is_remembered_for_ten_minutes(void **state)
{
    const struct ipaddr far4 = ipaddr_v4(0x08080808), other = ipaddr_v4(0x08080809),
                        far6 = ip6(FAR6);
    struct stack s;

    stack6_init(&s);
    net_path_mtu(s.net, &far4, 1300);
    net_path_mtu(s.net, &far6, 1400);
    assert_int_equal(mtu_to(&s, &far4), 1300);
    assert_int_equal(mtu_to(&s, &far6), 1400);
    assert_int_equal(mtu_to(&s, &other), 1500);
    net_path_mtu(s.net, &far4, 100);
    net_path_mtu(s.net, &far6, 100);
    assert_int_equal(mtu_to(&s, &far4), PMTU_MIN4);
    assert_int_equal(mtu_to(&s, &far6), PMTU_MIN6);
    stack_run(&s, 599 * SEC);
    assert_int_equal(mtu_to(&s, &far6), PMTU_MIN6);
    stack_run(&s, 2 * SEC);
    assert_int_equal(mtu_to(&s, &far6), 1500);
    for (uint32_t i = 0; i < 100000; i++) { /* strangers may not fill it */
        const struct ipaddr a = ipaddr_v4(0x0c000000 + i);

        net_path_mtu(s.net, &a, 1300);
    }
    stack_fini(&s);
}

static void a_port_may_clamp_the_mss(void **state)
{
    const struct ipaddr far4 = ipaddr_v4(0x08080808), far6 = ip6(FAR6);
    struct stack s;

    stack6_defaults(&s);
    s.machine.ports[0].mss = 1300;
    assert_true(stack_start(&s));
    assert_int_equal(mtu_to(&s, &far4), 1340);
    assert_int_equal(mtu_to(&s, &far6), 1360);
    net_path_mtu(s.net, &far6, 1300);
    assert_int_equal(mtu_to(&s, &far6), 1300);
    stack_fini(&s);
}

static void the_addresses_of_a_prefix_stand_in_for_each_other(void **state)
{
    const struct ipaddr remote = ipaddr_v4(PEER), remote6 = ip6(PEER6);
    struct ipaddr local = { 0 }, other;
    struct port_conf *port;
    struct net_dst dst;
    struct stack s;

    stack6_defaults(&s);
    port = &s.machine.ports[0];
    port->addrs[port->n_addrs++] = (struct addr_conf){ ipaddr_v4(US + 0x100), 24, 0 };
    port->addrs[port->n_addrs++] = (struct addr_conf){ ipaddr_v4(US + 8), 24, 0 };
    port->addrs[port->n_addrs] = (struct addr_conf){ ip6(US6), 64, 0 };
    port->addrs[port->n_addrs++].addr.b[15] ^= 0x40;
    assert_true(stack_start(&s));

    assert_int_equal(net_route(s.net, &remote, &local, &dst), 0);
    assert_int_equal(ipaddr_u32(&local), US);
    assert_true(net_other_source(s.net, &dst, &remote, &local));
    assert_int_equal(ipaddr_u32(&local), US + 8); /* not that of another prefix, or VLAN */
    assert_true(net_other_source(s.net, &dst, &remote, &local));
    assert_int_equal(ipaddr_u32(&local), US); /* and round */
    net_dst_put(s.net, &dst);

    local = other = (struct ipaddr){ 0 };
    assert_int_equal(net_route(s.net, &remote6, &local, &dst), 0);
    other = local;
    assert_true(net_other_source(s.net, &dst, &remote6, &other));
    assert_int_equal(other.b[15], local.b[15] ^ 0x40);
    assert_true(net_other_source(s.net, &dst, &remote6, &other));
    assert_true(ipaddr_eq(&other, &local));
    net_dst_put(s.net, &dst);
    stack_fini(&s);
}

static void an_address_alone_has_no_other(void **state)
{
    const struct ipaddr remote = ipaddr_v4(PEER);
    struct ipaddr local = { 0 };
    struct net_dst dst;
    struct stack s;

    stack_init(&s);
    assert_int_equal(net_route(s.net, &remote, &local, &dst), 0);
    assert_false(net_other_source(s.net, &dst, &remote, &local));
    assert_int_equal(ipaddr_u32(&local), US);
    net_dst_put(s.net, &dst);
    stack_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flows_are_spread_over_equal_next_hops_and_stay),
        cmocka_unit_test(a_next_hop_that_does_not_answer_is_passed_over),
        cmocka_unit_test(routes_may_refuse),
        cmocka_unit_test(routes_are_replaced_as_a_whole),
        cmocka_unit_test(link_local_addresses_are_of_one_link),
        cmocka_unit_test(the_mtu_of_a_path_is_remembered_for_ten_minutes),
        cmocka_unit_test(a_port_may_clamp_the_mss),
        cmocka_unit_test(the_addresses_of_a_prefix_stand_in_for_each_other),
        cmocka_unit_test(an_address_alone_has_no_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
