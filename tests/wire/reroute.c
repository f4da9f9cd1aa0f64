#include "dataplane/net/fib.h"
#include "tests/lib/peer.h"

#define SEC UINT64_C(1000000)
#define FAR 0x08080808
#define OTHER (GATEWAY - 1)
#define FIRST STACK_MAC
#define SECOND (STACK_MAC + 1)

/* A connection to somebody behind the gateway, who has answered. */
static void far_away(struct peer *t, const struct tcp_conf *conf)
{
    const struct ipport remote = { ipaddr_v4(FAR), PEER_PORT };
    int err;

    peer_init(t, conf);
    stack_teach(&t->stack, GATEWAY, FIRST);
    stack_teach(&t->stack, OTHER, SECOND);
    t->conn = tcp_connect(t->tcp, &remote, NULL, NULL, &peer_ops, t, &err);
    assert_non_null(t->conn);
    t->our_port = tcp_local(t->conn).port;
    t->peer = FAR;
    t->our_iss = peer_rx_any(t).seq;
    peer_tx(t, "SA", 0, 1, 0);
    peer_rx(t, "A", 1, 1, 0);
}

/* From now on everything far away is behind @via. */
static struct fib *behind(struct peer *t, uint32_t via)
{
    const struct fib_entry entries[] = {
        { .prefix = { ipaddr_v4(US & 0xffffff00), 24 }, .n_hops = 1, .hops = { { { 0 }, 0 } } },
        { .n_hops = 1, .prefix = { ipaddr_v4(0), 0 }, .hops = { { ipaddr_v4(via), 0 } } },
    };
    struct fib *fib;

    assert_int_equal(fib_new(entries, ARRAY_SIZE(entries), &fib), 0);
    net_set_fib(t->stack.net, fib);
    return fib;
}

/* The last byte of the MAC address that the next segment goes to. */
static uint8_t next_hop(struct peer *t)
{
    const struct stack_frame *f;

    stack_flush(&t->stack);
    f = stack_next(&t->stack);
    assert_non_null(f);
    return f->b[5];
}

static void a_connection_keeps_its_way_while_acks_come(void **state)
{
    struct peer t;
    struct fib *fib;

    far_away(&t, NULL);
    fib = behind(&t, OTHER);
    for (unsigned i = 0; i < 3; i++) {
        peer_send(&t, 100);
        assert_int_equal(next_hop(&t), FIRST);
        peer_tx(&t, "A", 1, 1 + 100 * (i + 1), 0);
    }
    assert_int_equal(tcp_counters(t.tcp)->rerouted, 0);
    peer_fini(&t);
    fib_free(fib);
}

static void after_a_timeout_it_takes_the_route_there_is_now(void **state)
{
    struct peer t;
    struct fib *fib;

    far_away(&t, NULL);
    fib = behind(&t, OTHER);
    peer_send(&t, 100);
    assert_int_equal(next_hop(&t), FIRST);
    peer_run(&t, SEC / 4);
    assert_int_equal(next_hop(&t), SECOND);
    assert_int_equal(tcp_counters(t.tcp)->rerouted, 1);
    peer_fini(&t);
    fib_free(fib);
}

static void a_keepalive_that_is_not_answered_looks_as_well(void **state)
{
    struct peer t;
    struct fib *fib;

    far_away(&t, &(struct tcp_conf){ .keepalive_us = 100 * SEC });
    fib = behind(&t, OTHER);
    peer_run(&t, 101 * SEC);
    assert_int_equal(next_hop(&t), FIRST);
    peer_run(&t, 76 * SEC);
    assert_int_equal(next_hop(&t), SECOND);
    peer_fini(&t);
    fib_free(fib);
}

static void without_a_route_the_old_way_is_better_than_none(void **state)
{
    struct peer t;
    struct fib *fib;

    far_away(&t, NULL);
    assert_int_equal(fib_new(NULL, 0, &fib), 0);
    net_set_fib(t.stack.net, fib);
    peer_send(&t, 100);
    assert_int_equal(next_hop(&t), FIRST);
    peer_run(&t, SEC / 4);
    assert_int_equal(next_hop(&t), FIRST);
    peer_fini(&t);
    fib_free(fib);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_keeps_its_way_while_acks_come),
        cmocka_unit_test(after_a_timeout_it_takes_the_route_there_is_now),
        cmocka_unit_test(a_keepalive_that_is_not_answered_looks_as_well),
        cmocka_unit_test(without_a_route_the_old_way_is_better_than_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
