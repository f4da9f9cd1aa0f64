#include "config/netlink/table.h"
#include "dataplane/base/hash.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>

#define OURS 7
#define OTHER 8

static char buf[4096] __attribute__((aligned(8)));

static struct ipaddr ip(const char *text)
{
    struct ipaddr a;

    assert_true(ipaddr_parse(slice_of(text), &a));
    return a;
}

static void put_addr(struct nlmsghdr *m, uint16_t type, const char *text)
{
    const struct ipaddr a = ip(text);

    mnl_attr_put(m, type, a.family == IP_V4 ? 4 : 16, a.b);
}

/* A route to @prefix, without a hop. */
static struct nlmsghdr *route(const char *prefix, uint8_t type, uint32_t metric)
{
    struct nlmsghdr *m = mnl_nlmsg_put_header(buf);
    struct rtmsg *rtm = mnl_nlmsg_put_extra_header(m, sizeof(*rtm));
    struct ipprefix p;

    assert_true(ipprefix_parse(slice_of(prefix), true, &p));
    m->nlmsg_type = RTM_NEWROUTE;
    rtm->rtm_family = p.addr.family == IP_V4 ? AF_INET : AF_INET6;
    rtm->rtm_dst_len = p.len;
    rtm->rtm_table = RT_TABLE_MAIN;
    rtm->rtm_type = type;
    if (p.len > 0)
        mnl_attr_put(m, RTA_DST, p.addr.family == IP_V4 ? 4 : 16, p.addr.b);
    if (metric != 0)
        mnl_attr_put_u32(m, RTA_PRIORITY, metric);
    return m;
}

static struct nlmsghdr *route_via(const char *prefix, const char *via, uint32_t ifindex,
                                  uint32_t metric)
{
    struct nlmsghdr *m = route(prefix, RTN_UNICAST, metric);

    if (via != NULL)
        put_addr(m, RTA_GATEWAY, via);
    mnl_attr_put_u32(m, RTA_OIF, ifindex);
    return m;
}

static void put_hop(struct nlmsghdr *m, const char *via, int ifindex, uint8_t flags)
{
    struct rtnexthop *nh = mnl_nlmsg_get_payload_tail(m);
    const uint32_t before = m->nlmsg_len;

    *nh = (struct rtnexthop){ .rtnh_ifindex = ifindex, .rtnh_flags = flags };
    m->nlmsg_len += (uint32_t)sizeof(*nh);
    if (via != NULL)
        put_addr(m, RTA_GATEWAY, via);
    nh->rtnh_len = (uint16_t)(m->nlmsg_len - before);
}

static struct nlmsghdr *neigh(const char *addr, uint16_t state, int ifindex)
{
    static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 9 };
    struct nlmsghdr *m = mnl_nlmsg_put_header(buf);
    struct ndmsg *ndm = mnl_nlmsg_put_extra_header(m, sizeof(*ndm));

    m->nlmsg_type = RTM_NEWNEIGH;
    ndm->ndm_family = ip(addr).family == IP_V4 ? AF_INET : AF_INET6;
    ndm->ndm_state = state;
    ndm->ndm_ifindex = ifindex;
    put_addr(m, NDA_DST, addr);
    mnl_attr_put(m, NDA_LLADDR, sizeof(mac), mac);
    return m;
}

static struct rtmsg *rtm_of(struct nlmsghdr *m)
{
    return mnl_nlmsg_get_payload(m);
}

/* --- messages -------------------------------------------------------------------------------- */

static void a_route_is_read(void **state)
{
    struct kernel_route r;
    const struct ipaddr via = ip("10.0.0.1"), dst = ip("10.9.0.0");

    assert_int_equal(message_route(route_via("10.9.0.0/16", "10.0.0.1", OURS, 32), &r), 0);
    assert_memory_equal(&r.prefix.addr, &dst, sizeof(dst));
    assert_int_equal(r.prefix.len, 16);
    assert_int_equal(r.metric, 32);
    assert_int_equal(r.n_hops, 1);
    assert_memory_equal(&r.hops[0].via, &via, sizeof(via));
    assert_int_equal(r.hops[0].ifindex, OURS);
    assert_int_equal(message_route(route_via("::/0", "fe80::1", OURS, 0), &r), 0);
    assert_int_equal(r.prefix.addr.family, IP_V6);
    assert_int_equal(r.prefix.len, 0);
    assert_int_equal(message_route(route_via("10.1.0.0/24", NULL, OURS, 0), &r), 0);
    assert_int_equal(r.hops[0].via.family, IP_NONE);
}

static void several_hops_are_read_but_not_those_that_are_down(void **state)
{
    struct nlmsghdr *m = route("10.9.0.0/16", RTN_UNICAST, 0);
    struct nlattr *nest = mnl_attr_nest_start(m, RTA_MULTIPATH);
    struct kernel_route r;

    put_hop(m, "10.0.0.1", OURS, 0);
    put_hop(m, "10.0.0.2", OURS, RTNH_F_DEAD);
    put_hop(m, "10.0.0.3", OTHER, 0);
    for (int i = 0; i < MACHINE_MAX_HOPS; i++)
        put_hop(m, "10.0.0.4", OURS, 0);
    mnl_attr_nest_end(m, nest);
    assert_int_equal(message_route(m, &r), 0);
    assert_int_equal(r.n_hops, MACHINE_MAX_HOPS);
    assert_int_equal(r.hops[0].via.b[3], 1);
    assert_int_equal(r.hops[1].via.b[3], 3);
}

static void routes_that_say_nothing_to_us_are_left(void **state)
{
    static const uint8_t types[] = { RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST, RTN_THROW, RTN_NAT };
    struct kernel_route r;
    struct nlmsghdr *m;

    for (size_t i = 0; i < sizeof(types); i++)
        assert_int_equal(message_route(route("10.9.0.0/16", types[i], 0), &r), -ENOENT);
    m = route_via("10.9.0.0/16", "10.0.0.1", OURS, 0);
    rtm_of(m)->rtm_table = 100;
    assert_int_equal(message_route(m, &r), -ENOENT);
    m = route_via("10.9.0.0/16", "10.0.0.1", OURS, 0);
    mnl_attr_put_u32(m, RTA_TABLE, 1000); /* counts more than the header's byte */
    assert_int_equal(message_route(m, &r), -ENOENT);
    m = route_via("10.9.0.0/16", "10.0.0.1", OURS, 0);
    rtm_of(m)->rtm_tos = 8;
    assert_int_equal(message_route(m, &r), -ENOENT);
    m = route_via("10.9.0.0/16", "10.0.0.1", OURS, 0);
    rtm_of(m)->rtm_flags |= RTM_F_CLONED;
    assert_int_equal(message_route(m, &r), -ENOENT);
    m = route_via("10.9.0.0/16", NULL, OURS, 0);
    mnl_attr_put_u32(m, RTA_VIA, 0);
    assert_int_equal(message_route(m, &r), -ENOENT);
    assert_int_equal(message_route(route_via("fe80::/64", NULL, OURS, 0), &r), -ENOENT);
    assert_int_equal(message_route(route("10.9.0.0/16", RTN_UNICAST, 0), &r), -ENOENT);
    m = route_via("10.9.0.0/16", "10.0.0.1", OURS, 0);
    rtm_of(m)->rtm_family = AF_MPLS;
    assert_int_equal(message_route(m, &r), -ENOENT);
}

static void routes_that_refuse_have_no_hops(void **state)
{
    struct kernel_route r;

    assert_int_equal(message_route(route("10.9.0.0/16", RTN_BLACKHOLE, 0), &r), 0);
    assert_int_equal(r.type, KERNEL_ROUTE_BLACKHOLE);
    assert_int_equal(message_route(route("2001:db8::/32", RTN_PROHIBIT, 0), &r), 0);
    assert_int_equal(r.type, KERNEL_ROUTE_UNREACHABLE);
    assert_int_equal(r.n_hops, 0);
}

static void neighbours_that_are_there_for_good_are_read(void **state)
{
    struct kernel_neigh n;

    assert_int_equal(message_neigh(neigh("10.0.0.9", NUD_PERMANENT, OURS), &n), 0);
    assert_int_equal(n.addr.b[3], 9);
    assert_int_equal(n.mac[5], 9);
    assert_int_equal(message_neigh(neigh("2001:db8::9", NUD_PERMANENT, OURS), &n), 0);
    assert_int_equal(message_neigh(neigh("10.0.0.9", NUD_REACHABLE, OURS), &n), -ENOENT);
    assert_int_equal(message_neigh(neigh("10.0.0.9", NUD_STALE, OURS), &n), -ENOENT);
}

static void wrong_sizes_are_refused(void **state)
{
    struct kernel_route r;
    struct kernel_neigh n;
    struct nlmsghdr *m = route("10.9.0.0/16", RTN_UNICAST, 0);

    mnl_attr_put_u16(m, RTA_OIF, OURS);
    assert_int_equal(message_route(m, &r), -EBADMSG);
    m = route_via("10.9.0.0/16", NULL, OURS, 0);
    put_addr(m, RTA_GATEWAY, "::1"); /* of the other family */
    assert_int_equal(message_route(m, &r), -EBADMSG);
    m = route_via("10.9.0.0/16", NULL, OURS, 0);
    rtm_of(m)->rtm_dst_len = 33;
    assert_int_equal(message_route(m, &r), -EBADMSG);
    m = route_via("10.9.0.0/16", NULL, OURS, 0);
    rtm_of(m)->rtm_dst_len = 8; /* bits beyond */
    assert_int_equal(message_route(m, &r), -EBADMSG);
    m = neigh("10.0.0.9", NUD_PERMANENT, OURS);
    mnl_attr_put(m, NDA_LLADDR, 8, "12345678"); /* the last one counts */
    assert_int_equal(message_neigh(m, &n), -EBADMSG);
    m = mnl_nlmsg_put_header(buf);
    assert_int_equal(message_route(m, &r), -EBADMSG);
    assert_int_equal(message_neigh(m, &n), -EBADMSG);
}

static void hops_that_reach_beyond_their_attribute_are_refused(void **state)
{
    static const uint16_t lens[] = { 0, 1, 7, 200, 65535 };

    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        struct nlmsghdr *m = route("10.9.0.0/16", RTN_UNICAST, 0);
        struct nlattr *nest = mnl_attr_nest_start(m, RTA_MULTIPATH);
        struct rtnexthop *nh = mnl_nlmsg_get_payload_tail(m);
        struct kernel_route r;

        put_hop(m, "10.0.0.1", OURS, 0);
        nh->rtnh_len = lens[i];
        mnl_attr_nest_end(m, nest);
        assert_int_equal(message_route(m, &r), -EBADMSG);
    }
}

/* In memory of its own, so that a sanitizer sees a byte too far. */
static void add_bytes(struct table *t, const void *bytes, size_t len, struct mirror_counters *c)
{
    void *copy = malloc(len != 0 ? len : 1);

    memcpy(copy, bytes, len);
    table_add(t, copy, len, c);
    free(copy);
}

static void cut_and_damaged_messages_are_counted_and_do_no_harm(void **state)
{
    const struct table_conf conf = { .max_routes = 1000, .n_ifs = 1, .ifs = { OURS } };
    struct mirror_counters c = { 0 };
    struct table t;

    table_init(&t, &conf);
    for (unsigned kind = 0; kind < 3; kind++) {
        struct nlmsghdr *m = kind == 0   ? route_via("10.9.0.0/16", "10.0.0.1", OURS, 5)
                             : kind == 1 ? route("10.9.0.0/16", RTN_UNICAST, 5)
                                         : neigh("10.0.0.9", NUD_PERMANENT, OURS);
        const uint32_t len = m->nlmsg_len;
        struct nlattr *nest;

        if (kind == 1) {
            nest = mnl_attr_nest_start(m, RTA_MULTIPATH);
            put_hop(m, "10.0.0.1", OURS, 0);
            put_hop(m, "10.0.0.2", OURS, 0);
            mnl_attr_nest_end(m, nest);
        }
        for (uint32_t cut = 1; cut < m->nlmsg_len; cut++) {
            const uint64_t before = c.malformed;

            add_bytes(&t, buf, cut, &c);
            assert_int_equal(c.malformed, before + 1);
        }
        for (uint32_t bit = 0; bit < len * 8; bit++) {
            buf[bit / 8] ^= (char)(1 << bit % 8);
            add_bytes(&t, buf, len, &c);
            buf[bit / 8] ^= (char)(1 << bit % 8);
        }
    }
    table_settle(&t);
    table_fini(&t);
}

/* --- the table ------------------------------------------------------------------------------- */

static void add(struct table *t, const struct nlmsghdr *m)
{
    struct mirror_counters c = { 0 };

    add_bytes(t, m, m->nlmsg_len, &c);
    assert_int_equal(c.malformed, 0);
}

static void start(struct table *t, uint32_t max)
{
    const struct table_conf conf = { .max_routes = max, .n_ifs = 1, .ifs = { OURS } };

    table_init(t, &conf);
}

static void only_hops_by_our_interfaces_are_kept(void **state)
{
    struct nlmsghdr *m;
    struct nlattr *nest;
    struct table t;

    start(&t, 100);
    add(&t, route_via("10.1.0.0/16", "10.0.0.1", OTHER, 0));
    m = route("10.2.0.0/16", RTN_UNICAST, 0);
    nest = mnl_attr_nest_start(m, RTA_MULTIPATH);
    put_hop(m, "10.0.0.1", OTHER, 0);
    put_hop(m, "10.0.0.2", OURS, 0);
    mnl_attr_nest_end(m, nest);
    add(&t, m);
    add(&t, neigh("10.0.0.9", NUD_PERMANENT, OTHER));
    add(&t, neigh("10.0.0.8", NUD_PERMANENT, OURS));
    table_settle(&t);
    assert_int_equal(t.view.n_routes, 1);
    assert_int_equal(t.view.routes[0].n_hops, 1);
    assert_int_equal(t.view.routes[0].hops[0].via.b[3], 2);
    assert_int_equal(t.view.n_neighs, 1);
    assert_int_equal(t.view.neighs[0].addr.b[3], 8);
    table_fini(&t);
}

static void the_lowest_metric_counts_and_equals_are_joined(void **state)
{
    struct table t;

    start(&t, 100);
    add(&t, route_via("10.1.0.0/16", "10.0.0.1", OURS, 20));
    add(&t, route_via("10.1.0.0/16", "10.0.0.2", OURS, 10));
    add(&t, route_via("10.1.0.0/16", "10.0.0.3", OURS, 10));
    add(&t, route_via("10.1.0.0/16", "10.0.0.2", OURS, 10));
    add(&t, route_via("10.1.0.0/24", "10.0.0.4", OURS, 30)); /* another prefix */
    table_settle(&t);
    assert_int_equal(t.view.n_routes, 2);
    for (unsigned i = 0; i < 2; i++) {
        const struct kernel_route *r = &t.view.routes[i];

        assert_int_equal(r->metric, r->prefix.len == 16 ? 10 : 30);
        assert_int_equal(r->n_hops, r->prefix.len == 16 ? 2 : 1);
    }
    table_fini(&t);
}

/* The same routes in any order are the same view. */
static void order_does_not_matter(void **state)
{
    uint64_t seed = 1;

    for (unsigned round = 0; round < 100; round++) {
        struct table t[2];
        unsigned order[20];

        for (unsigned i = 0; i < 20; i++)
            order[i] = i;
        for (unsigned pass = 0; pass < 2; pass++) {
            start(&t[pass], 100);
            for (unsigned i = 0; i < 20; i++) {
                const unsigned k = order[i];
                char prefix[32], via[32];

                snprintf(prefix, sizeof(prefix), "10.%u.0.0/16", k % 5);
                snprintf(via, sizeof(via), "10.0.0.%u", k);
                add(&t[pass], route_via(prefix, via, OURS, 1 + (k * 7 + round) % 3));
            }
            table_settle(&t[pass]);
            for (unsigned i = 19; i > 0; i--) {
                const unsigned k = (unsigned)(hash_mix(seed++) % (i + 1)), was = order[i];

                order[i] = order[k];
                order[k] = was;
            }
        }
        assert_int_equal(t[0].view.n_routes, 5);
        assert_true(table_view_eq(&t[0].view, &t[1].view));
        table_fini(&t[0]);
        table_fini(&t[1]);
    }
}

static void what_there_is_no_room_for_is_counted(void **state)
{
    struct mirror_counters c = { 0 };
    struct table t;

    start(&t, 100);
    for (unsigned i = 0; i < 300; i++) {
        char prefix[32], addr[32];
        struct nlmsghdr *m;

        snprintf(prefix, sizeof(prefix), "10.%u.%u.0/24", i / 256, i % 256);
        m = route_via(prefix, "10.0.0.1", OURS, 0);
        add_bytes(&t, m, m->nlmsg_len, &c);
        snprintf(addr, sizeof(addr), "10.0.%u.%u", i / 256, i % 256);
        m = neigh(addr, NUD_PERMANENT, OURS);
        add_bytes(&t, m, m->nlmsg_len, &c);
    }
    table_settle(&t);
    assert_int_equal(t.view.n_routes, 100);
    assert_int_equal(c.refused_routes, 200);
    assert_int_equal(t.view.n_neighs, TABLE_NEIGHS_MAX);
    assert_int_equal(c.refused_neighbors, 300 - TABLE_NEIGHS_MAX);
    table_clear(&t);
    table_settle(&t);
    assert_int_equal(t.view.n_routes, 0);
    table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_is_read),
        cmocka_unit_test(several_hops_are_read_but_not_those_that_are_down),
        cmocka_unit_test(routes_that_say_nothing_to_us_are_left),
        cmocka_unit_test(routes_that_refuse_have_no_hops),
        cmocka_unit_test(neighbours_that_are_there_for_good_are_read),
        cmocka_unit_test(wrong_sizes_are_refused),
        cmocka_unit_test(hops_that_reach_beyond_their_attribute_are_refused),
        cmocka_unit_test(cut_and_damaged_messages_are_counted_and_do_no_harm),
        cmocka_unit_test(only_hops_by_our_interfaces_are_kept),
        cmocka_unit_test(the_lowest_metric_counts_and_equals_are_joined),
        cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(what_there_is_no_room_for_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
