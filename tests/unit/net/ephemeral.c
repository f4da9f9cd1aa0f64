#include "dataplane/net/ephemeral.h"
#include "dataplane/net/flow_table.h"
#include "tests/lib/stack.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdlib.h>

static bool owns_every_fourth(void *ctx, const struct ipport *remote, const struct ipport *local)
{
    return local->port % 4 == 1;
}

static bool owns_none(void *ctx, const struct ipport *remote, const struct ipport *local)
{
    return false;
}

static void ports_are_of_the_range_and_free(void **state)
{
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
    s.ops.owns = owns_every_fourth;
    assert_true(stack_start(&s));
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(ephemeral_pick(s.net, 6, &remote, &local), 0);
        assert_int_equal(local.port % 4, 1);
    }
    stack_fini(&s);
}

static void no_port_is_an_error(void **state)
{
    const struct ipport remote = { ipaddr_v4(PEER), 80 };
    struct ipport local = { ipaddr_v4(US), 77 };
    struct stack s;

    stack_defaults(&s);
    s.ops.owns = owns_none;
    assert_true(stack_start(&s));
    assert_int_equal(ephemeral_pick(s.net, 6, &remote, &local), -EADDRNOTAVAIL);
    assert_int_equal(local.port, 77);
    stack_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ports_are_of_the_range_and_free),
        cmocka_unit_test(replies_must_reach_this_worker),
        cmocka_unit_test(no_port_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
