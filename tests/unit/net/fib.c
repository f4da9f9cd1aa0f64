#include "dataplane/net/fib.h"
#include "dataplane/base/log.h"
#include "tests/lib/test.h"

static const struct net_port_info ports[2] = { { .mtu = 1500 }, { .mtu = 9000 } };

static struct ipprefix prefix(uint32_t addr, uint8_t len)
{
    return (struct ipprefix){ ipaddr_v4(addr), len };
}

static void two_ports(struct machine_conf *m)
{
    *m = (struct machine_conf){ .n_ports = 2 };
    m->ports[0].name = "a";
    m->ports[0].n_addrs = 2;
    m->ports[0].addrs[0] = (struct addr_conf){ ipaddr_v4(0x0a000001), 24, 0 };
    m->ports[0].addrs[1] = (struct addr_conf){ ipaddr_v4(0x0a000101), 30, 5 };
    m->ports[1].name = "b";
    m->ports[1].n_addrs = 1;
    m->ports[1].addrs[0] = (struct addr_conf){ ipaddr_v4(0xc0a80001), 16, 0 };
}

static void the_longest_prefix_wins(void **state)
{
    static const struct {
        uint32_t addr, via;
        int iface; /* -1: no route */
    } cases[] = {
        { 0x0a000009, 0, 0 },          { 0x0a000102, 0, 1 },          { 0xc0a8ffff, 0, 2 },
        { 0x0b000001, 0xc0a80002, 2 }, { 0x0b010001, 0x0a000002, 0 }, { 0x0b010203, 0, 2 },
        { 0x0c000001, 0, -1 },
    };
    struct machine_conf m;
    struct iface_table ifaces;
    struct fib f;

    two_ports(&m);
    m.n_routes = 3;
    m.routes[0] = (struct fixed_route_conf){ prefix(0x0b000000, 8), ipaddr_v4(0xc0a80002), NULL };
    m.routes[1] = (struct fixed_route_conf){ prefix(0x0b010203, 32), { 0 }, "b" };
    m.routes[2] = (struct fixed_route_conf){ prefix(0x0b010000, 16), ipaddr_v4(0x0a000002), "a" };
    assert_int_equal(iface_table_init(&ifaces, &m, ports), 0);
    assert_int_equal(fib_init(&f, &m, &ifaces), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct fib_route *r = fib_find(&f, cases[i].addr);

        assert_int_equal(r != NULL ? r->iface : -1, cases[i].iface);
        if (r != NULL)
            assert_int_equal(r->via, cases[i].via);
    }
}

static void routes_that_lead_nowhere_are_refused(void **state)
{
    struct ipaddr v6 = { .family = IP_V6 };
    const struct fixed_route_conf cases[] = {
        { prefix(0x0b000000, 8), ipaddr_v4(0x0c000001), NULL }, /* no such neighbour */
        { prefix(0x0b000000, 8), ipaddr_v4(0x0a000002), "b" },  /* not on that port */
        { prefix(0x0b000000, 8), { 0 }, "c" },
        { prefix(0x0b000000, 8), { 0 }, NULL },
        { prefix(0x0b000000, 8), ipaddr_v4(0x0a000001), NULL }, /* ourselves */
        { { v6, 64 }, ipaddr_v4(0x0a000002), NULL },
        { prefix(0x0b000000, 8), v6, NULL },
    };
    struct machine_conf m;
    struct iface_table ifaces;
    struct fib f;

    two_ports(&m);
    assert_int_equal(iface_table_init(&ifaces, &m, ports), 0);
    m.n_routes = 1;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        m.routes[0] = cases[i];
        assert_true(fib_init(&f, &m, &ifaces) < 0);
    }
}

static void addresses_that_make_no_sense_are_refused(void **state)
{
    const struct addr_conf cases[] = {
        { { .family = IP_V6 }, 64, 0 },   { ipaddr_v4(0xe0000001), 24, 0 },
        { ipaddr_v4(0x7f000001), 8, 0 },  { ipaddr_v4(0), 8, 0 },
        { ipaddr_v4(0x0a000002), 33, 0 }, { ipaddr_v4(0x0a000002), 24, 4095 },
        { ipaddr_v4(0xc0a80001), 24, 0 }, /* twice */
    };
    struct machine_conf m;
    struct iface_table ifaces;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        two_ports(&m);
        m.ports[0].addrs[1] = cases[i];
        assert_true(iface_table_init(&ifaces, &m, ports) < 0);
    }
    {
        const struct net_port_info small[2] = { { .mtu = 1500 }, { .mtu = 500 } };

        two_ports(&m);
        assert_true(iface_table_init(&ifaces, &m, small) < 0);
    }
}

static void a_prefix_of_31_bits_has_no_broadcast(void **state)
{
    struct machine_conf m;
    struct iface_table ifaces;
    const struct iface *i;

    two_ports(&m);
    m.ports[0].addrs[0].prefix_len = 31;
    m.ports[0].addrs[0].addr = ipaddr_v4(0x0a000000);
    assert_int_equal(iface_table_init(&ifaces, &m, ports), 0);
    i = iface_find(&ifaces, 0, 0);
    assert_false(iface_is_broadcast(i, 0x0a000000));
    assert_false(iface_is_broadcast(i, 0x0a000001));
    assert_true(iface_is_broadcast(iface_find(&ifaces, 0, 5), 0x0a000103));
    assert_null(iface_find(&ifaces, 1, 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_prefix_wins),
        cmocka_unit_test(routes_that_lead_nowhere_are_refused),
        cmocka_unit_test(addresses_that_make_no_sense_are_refused),
        cmocka_unit_test(a_prefix_of_31_bits_has_no_broadcast),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
