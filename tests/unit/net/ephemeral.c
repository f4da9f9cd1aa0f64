#include "dataplane/net/ephemeral.h"
#include "dataplane/net/flow_table.h"
#include "tests/lib/stack.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdlib.h>

/* What steer offers: some ports, also some that are out of the range. */
static uint32_t every_fourth(void *ctx, const struct ipport *remote, const struct ipaddr *local,
                             uint32_t from, uint16_t *ports, uint32_t n)
{
    const uint32_t all = 0x8000 / 4;

    for (uint32_t k = 0; k < n; k++)
        ports[k] = (uint16_t)(0x8000 + ((uint64_t)from + k) * 7919 % all * 4 + 1);
    return all;
}

static uint32_t only_two(void *ctx, const struct ipport *remote, const struct ipaddr *local,
                         uint32_t from, uint16_t *ports, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++)
        ports[k] = (uint16_t)(40000 + (from + k) % 2);
    return 2;
}

static uint32_t out_of_range(void *ctx, const struct ipport *remote, const struct ipaddr *local,
                             uint32_t from, uint16_t *ports, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++)
        ports[k] = EPHEMERAL_LAST + 1;
    return 1;
}

static void ports_are_of_the_range_and_free(void **state)
{
    static const struct flow_ops none = { 0 };
    const struct ipport remote = { ipaddr_v4(PEER), 80 };
    struct flow *flows = calloc(1000, sizeof(*flows));
    struct stack s;

    stack_defaults(&s);
    s.machine.tcp.max_connections = 1000;
    assert_true(stack_start(&s));
    for (unsigned i = 0; i < 1000; i++) {
        struct ipport local = { ipaddr_v4(US), 0 };

        assert_int_equal(ephemeral_pick(s.net, 6, &remote, &local), 0);
        assert_in_range(local.port, EPHEMERAL_FIRST, EPHEMERAL_LAST);
        flows[i].ops = &none;
        flow_key_init(&flows[i].key, 6, &remote, &local);
        assert_int_equal(flow_table_add(net_flows(s.net), &flows[i]), 0); /* taken once only */
    }
    stack_fini(&s);
    free(flows);
}

static void replies_must_reach_this_worker(void **state)
{
    const struct ipport remote = { ipaddr_v4(PEER), 80 };
    struct ipport local = { ipaddr_v4(US), 0 };
    struct stack s;

    stack_defaults(&s);
    s.ops.local_ports = every_fourth;
    assert_true(stack_start(&s));
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(ephemeral_pick(s.net, 6, &remote, &local), 0);
        assert_int_equal(local.port % 4, 1);
        assert_in_range(local.port, EPHEMERAL_FIRST, EPHEMERAL_LAST);
    }
    stack_fini(&s);
}

static void no_port_is_an_error_that_is_counted(void **state)
{
    const struct ipport remote = { ipaddr_v4(PEER), 80 };
    struct ipport local = { ipaddr_v4(US), 77 };
    struct stack s;

    stack_defaults(&s);
    s.ops.local_ports = out_of_range;
    assert_true(stack_start(&s));
    assert_int_equal(ephemeral_pick(s.net, 6, &remote, &local), -EADDRNOTAVAIL);
    assert_int_equal(local.port, 77);
    assert_int_equal(net_counters(s.net)->ports_exhausted, 1);
    stack_fini(&s);
}

static bool yes(const struct flow *f)
{
    return true;
}

static bool no(const struct flow *f)
{
    return false;
}

static void what_yields_is_taken_only_when_nothing_is_free(void **state)
{
    static const struct flow_ops yielding = { .yields = yes }, stubborn = { .yields = no };
    const struct ipport remote = { ipaddr_v4(PEER), 80 };
    struct ipport local = { ipaddr_v4(US), 40000 };
    struct flow a = { .ops = &yielding }, b = { .ops = &stubborn };
    struct stack s;

    stack_defaults(&s);
    s.ops.local_ports = only_two;
    assert_true(stack_start(&s));
    flow_key_init(&a.key, 6, &remote, &local);
    assert_int_equal(flow_table_add(net_flows(s.net), &a), 0);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(ephemeral_pick(s.net, 6, &remote, &local), 0);
        assert_int_equal(local.port, 40001);
    }
    flow_key_init(&b.key, 6, &remote, &local);
    assert_int_equal(flow_table_add(net_flows(s.net), &b), 0);
    assert_int_equal(ephemeral_pick(s.net, 6, &remote, &local), 0);
    assert_int_equal(local.port, 40000);
    a.ops = &stubborn;
    assert_int_equal(ephemeral_pick(s.net, 6, &remote, &local), -EADDRNOTAVAIL);
    flow_table_del(net_flows(s.net), &a);
    flow_table_del(net_flows(s.net), &b);
    stack_fini(&s);
}

/* A worker may have few ports: then all of them are looked at. */
static void the_last_free_port_is_found(void **state)
{
    const struct ipport remote = { ipaddr_v4(PEER), 80 };
    static const struct flow_ops stubborn = { 0 };
    struct flow *flows = calloc(EPHEMERAL_LAST, sizeof(*flows));
    struct ipport local = { ipaddr_v4(US), 0 };
    unsigned n = 0;
    struct stack s;

    stack_defaults(&s);
    s.machine.tcp.max_connections = 10000;
    s.ops.local_ports = every_fourth;
    assert_true(stack_start(&s));
    for (; ephemeral_pick(s.net, 6, &remote, &local) == 0; n++) {
        flows[n].ops = &stubborn;
        flow_key_init(&flows[n].key, 6, &remote, &local);
        assert_int_equal(flow_table_add(net_flows(s.net), &flows[n]), 0);
    }
    assert_in_range(n, 6900, 7057); /* a quarter of the range, or nearly */
    stack_fini(&s);
    free(flows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ports_are_of_the_range_and_free),
        cmocka_unit_test(replies_must_reach_this_worker),
        cmocka_unit_test(no_port_is_an_error_that_is_counted),
        cmocka_unit_test(what_yields_is_taken_only_when_nothing_is_free),
        cmocka_unit_test(the_last_free_port_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
