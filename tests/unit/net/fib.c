#include "dataplane/net/fib.h"
#include "dataplane/base/log.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdlib.h>

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

static struct ipaddr v6(const char *text)
{
    struct ipaddr a;

    assert_true(ipaddr_parse(slice_of(text), &a));
    return a;
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
    static struct iface_table ifaces;
    struct fib *f;

    two_ports(&m);
    m.n_routes = 3;
    m.routes[0] = (struct fixed_route_conf){ .prefix = prefix(0x0b000000, 8),
                                             .via = { ipaddr_v4(0xc0a80002) } };
    m.routes[1] = (struct fixed_route_conf){ .prefix = prefix(0x0b010203, 32), .port = "b" };
    m.routes[2] = (struct fixed_route_conf){ .prefix = prefix(0x0b010000, 16),
                                             .via = { ipaddr_v4(0x0a000002) },
                                             .port = "a" };
    assert_int_equal(iface_table_init(&ifaces, &m, ports), 0);
    assert_int_equal(fib_of_machine(&m, &ifaces, NULL, 0, &f), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct ipaddr addr = ipaddr_v4(cases[i].addr);
        const struct fib_route *r = fib_find(f, &addr);

        assert_int_equal(r != NULL ? fib_hops(f, r)->iface : -1, cases[i].iface);
        if (r != NULL)
            assert_int_equal(ipaddr_u32(&fib_hops(f, r)->via), cases[i].via);
    }
    fib_free(f);
}

static void routes_that_lead_nowhere_are_refused(void **state)
{
    const struct ipaddr ip6 = v6("2001:db8::1"), near = v6("fe80::1");
    const struct fixed_route_conf cases[] = {
        { .prefix = prefix(0x0b000000, 8), .via = { ipaddr_v4(0x0c000001) } }, /* nobody is there */
        { .prefix = prefix(0x0b000000, 8), .via = { ipaddr_v4(0x0a000002) }, .port = "b" },
        { .prefix = prefix(0x0b000000, 8), .port = "c" },
        { .prefix = prefix(0x0b000000, 8) },
        { .prefix = prefix(0x0b000000, 8), .via = { ipaddr_v4(0x0a000001) } }, /* ourselves */
        { .prefix = prefix(0x0b000000, 8),
          .via = { ipaddr_v4(0x0a000002), ipaddr_v4(0x0c000001) } },
        { .prefix = { ip6, 64 }, .via = { ipaddr_v4(0x0a000002) } },
        { .prefix = prefix(0x0b000000, 8), .via = { ip6 } },
        { .prefix = { ip6, 128 }, .via = { near } }, /* on which link? */
        { .prefix = { ip6, 129 }, .port = "a" },
        { .prefix = prefix(0x0b000000, 33), .port = "a" },
    };
    static struct iface_table ifaces;
    struct machine_conf m;
    struct fib *f;

    two_ports(&m);
    assert_int_equal(iface_table_init(&ifaces, &m, ports), 0);
    m.n_routes = 1;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        m.routes[0] = cases[i];
        assert_true(fib_of_machine(&m, &ifaces, NULL, 0, &f) < 0);
    }
}

static void several_routes_to_one_prefix_are_one_with_several_hops(void **state)
{
    static struct iface_table ifaces;
    const struct ipaddr far = v6("2001:db8:9::9"), far4 = ipaddr_v4(0x08080808),
                        hole = v6("2001:db8:dead::1");
    const struct fib_route *r;
    struct machine_conf m;
    struct fib *f;

    two_ports(&m);
    m.ports[0].addrs[2] = (struct addr_conf){ v6("2001:db8::1"), 64, 0 };
    m.ports[0].n_addrs = 3;
    m.n_routes = 5;
    m.routes[0] = (struct fixed_route_conf){ .prefix = { { .family = IP_V6 }, 0 },
                                             .via = { v6("2001:db8::2"), v6("2001:db8::3") } };
    m.routes[1] =
        (struct fixed_route_conf){ .prefix = prefix(0, 0), .via = { ipaddr_v4(0x0a000002) } };
    m.routes[2] = (struct fixed_route_conf){ .prefix = { { .family = IP_V6 }, 0 },
                                             .via = { v6("fe80::9") },
                                             .port = "a" };
    m.routes[3] =
        (struct fixed_route_conf){ .prefix = prefix(0, 0), .via = { ipaddr_v4(0xc0a80002) } };
    m.routes[4] = (struct fixed_route_conf){ .prefix = { v6("2001:db8:dead::"), 48 },
                                             .type = ROUTE_BLACKHOLE };
    assert_int_equal(iface_table_init(&ifaces, &m, ports), 0);
    assert_int_equal(fib_of_machine(&m, &ifaces, NULL, 0, &f), 0);
    r = fib_find(f, &far);
    assert_int_equal(r->n_hops, 3);
    assert_int_equal(fib_hops(f, r)[2].via.scope, fib_hops(f, r)[2].iface + 1);
    r = fib_find(f, &far4);
    assert_int_equal(r->n_hops, 2);
    assert_int_equal(fib_find(f, &hole)->kind, FIB_BLACKHOLE);
    fib_free(f);
}

/* --- against a search through all prefixes ---------------------------------------------------- */

static uint64_t seed = 1;

static uint32_t chance(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

/* Crowded, so that prefixes lie within one another and end together. */
static struct ipaddr somewhere(enum ip_family family)
{
    struct ipaddr a = { .family = (uint8_t)family };

    for (unsigned i = 0; i < (family == IP_V4 ? 4u : 16u); i++)
        a.b[i] = (uint8_t)(chance(3) == 0 ? 0 : chance(3) == 0 ? 255 : chance(4));
    return a;
}

static struct ipprefix some_prefix(enum ip_family family)
{
    struct ipprefix p = { somewhere(family), (uint8_t)chance(family == IP_V4 ? 33 : 129) };

    for (unsigned bit = p.len; bit < 128; bit++)
        p.addr.b[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
    return p;
}

static int longest(const struct fib_entry *e, uint32_t n, const struct ipaddr *a)
{
    int best = -1;

    for (uint32_t i = 0; i < n; i++)
        if (ipprefix_contains(&e[i].prefix, a) &&
            (best < 0 || e[i].prefix.len > e[best].prefix.len))
            best = (int)i;
    return best;
}

static void a_lookup_finds_what_a_search_finds(void **state)
{
    enum { N = 300 };
    static struct fib_entry e[N];

    for (unsigned round = 0; round < 60; round++) {
        const uint32_t n = chance(N);
        struct fib *f;

        for (uint32_t i = 0; i < n; i++)
            e[i] = (struct fib_entry){ .prefix = some_prefix(chance(2) ? IP_V4 : IP_V6),
                                       .n_hops = 1,
                                       .hops = { { .iface = (uint8_t)i } } };
        assert_int_equal(fib_new(e, n, &f), 0);
        for (unsigned k = 0; k < 2000; k++) {
            const struct ipaddr a = somewhere(chance(2) ? IP_V4 : IP_V6);
            const struct fib_route *r = fib_find(f, &a);
            const int want = longest(e, n, &a);

            assert_int_equal(r != NULL, want >= 0);
            if (r != NULL) {
                assert_int_equal(r->prefix.len, e[want].prefix.len);
                assert_int_equal(fib_hops(f, r)->iface, e[want].hops[0].iface);
            }
        }
        fib_free(f);
    }
}

static void it_holds_sixty_five_thousand_routes_and_no_more(void **state)
{
    struct fib_entry *e = calloc(FIB_MAX + 1, sizeof(*e));
    struct ipaddr a;
    struct fib *f;

    for (uint32_t i = 0; i <= FIB_MAX; i++) {
        e[i] = (struct fib_entry){ .prefix = { v6("2001:db8::"), 64 },
                                   .n_hops = 1,
                                   .hops = { { .iface = (uint8_t)(i % 7) } } };
        e[i].prefix.addr.b[5] = (uint8_t)(i >> 16);
        e[i].prefix.addr.b[6] = (uint8_t)(i >> 8);
        e[i].prefix.addr.b[7] = (uint8_t)i;
    }
    assert_int_equal(fib_new(e, FIB_MAX + 1, &f), -E2BIG);
    assert_int_equal(fib_new(e, FIB_MAX, &f), 0);
    for (uint32_t i = 0; i < FIB_MAX; i += 13) {
        a = e[i].prefix.addr;
        a.b[15] = 1;
        assert_int_equal(fib_hops(f, fib_find(f, &a))->iface, i % 7);
    }
    fib_free(f);
    free(e);
}

static void addresses_that_make_no_sense_are_refused(void **state)
{
    const struct addr_conf cases[] = {
        { { .family = IP_V6 }, 64, 0 },
        { v6("ff02::9"), 64, 0 },
        { v6("::ffff:1.2.3.4"), 64, 0 },
        { v6("2001:db8::1"), 129, 0 },
        { v6("::1"), 128, 0 },
        { ipaddr_v4(0xe0000001), 24, 0 },
        { ipaddr_v4(0x7f000001), 8, 0 },
        { ipaddr_v4(0), 8, 0 },
        { ipaddr_v4(0x0a000002), 33, 0 },
        { ipaddr_v4(0x0a000002), 24, 4095 },
        { ipaddr_v4(0xc0a80001), 24, 0 }, /* twice */
    };
    struct machine_conf m;
    static struct iface_table ifaces;

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
    static struct iface_table ifaces;
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

static void the_configuration_wins_over_the_kernel(void **state)
{
    const struct fib_entry more[] = {
        { .prefix = prefix(0x0a000000, 24),
          .from_kernel = true,
          .n_hops = 1, /* connected */
          .hops = { { .via = ipaddr_v4(0xc0a80009), .iface = 2 } } },
        { .prefix = prefix(0x0b000000, 8),
          .from_kernel = true,
          .n_hops = 1,
          .hops = { { .via = ipaddr_v4(0xc0a80009), .iface = 2 } } },
        { .prefix = prefix(0x0b010000, 16),
          .from_kernel = true,
          .n_hops = 1,
          .hops = { { .via = ipaddr_v4(0xc0a80009), .iface = 2 } } },
        { .prefix = prefix(0x0c000000, 8), .from_kernel = true, .kind = FIB_BLACKHOLE },
    };
    static struct iface_table ifaces;
    struct machine_conf m;
    const struct fib_route *r;
    struct fib *f;

    two_ports(&m);
    m.n_routes = 1;
    m.routes[0] = (struct fixed_route_conf){ .prefix = prefix(0x0b000000, 8),
                                             .via = { ipaddr_v4(0xc0a80002) } };
    assert_int_equal(iface_table_init(&ifaces, &m, ports), 0);
    assert_int_equal(fib_of_machine(&m, &ifaces, more, ARRAY_SIZE(more), &f), 0);
    for (unsigned i = 0; i < 2; i++) {
        const struct ipaddr addr = ipaddr_v4(i == 0 ? 0x0a000009 : 0x0b000009);

        r = fib_find(f, &addr);
        assert_false(r->from_kernel);
        assert_int_equal(r->n_hops, 1);
    }
    r = fib_find(f, &(struct ipaddr){ .family = IP_V4, .b = { 0x0b, 1, 0, 9 } });
    assert_true(r->from_kernel); /* a longer prefix is another one */
    assert_int_equal(fib_hops(f, r)->via.b[3], 9);
    r = fib_find(f, &(struct ipaddr){ .family = IP_V4, .b = { 0x0c, 1, 0, 9 } });
    assert_int_equal(r->kind, FIB_BLACKHOLE);
    fib_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_prefix_wins),
        cmocka_unit_test(routes_that_lead_nowhere_are_refused),
        cmocka_unit_test(several_routes_to_one_prefix_are_one_with_several_hops),
        cmocka_unit_test(a_lookup_finds_what_a_search_finds),
        cmocka_unit_test(it_holds_sixty_five_thousand_routes_and_no_more),
        cmocka_unit_test(addresses_that_make_no_sense_are_refused),
        cmocka_unit_test(a_prefix_of_31_bits_has_no_broadcast),
        cmocka_unit_test(the_configuration_wins_over_the_kernel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
