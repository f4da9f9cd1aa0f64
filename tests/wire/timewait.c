#include "tests/lib/peer.h"

#include <errno.h>

#define SEC UINT64_C(1000000)

/* A connection that we have closed first, as it goes into TIME_WAIT: ours is at 2, theirs too. */
static void into_time_wait(struct peer *t)
{
    peer_accept(t);
    tcp_shutdown(t->conn);
    peer_rx(t, "FA", 1, 1, 0);
    peer_tx(t, "FA", 1, 2, 0);
    peer_rx(t, "A", 2, 2, 0);
    peer_events(t, "peer_closed closed");
    assert_int_equal(tcp_n_time_wait(t->tcp), 1);
}

static void a_fin_that_comes_again_is_acknowledged_and_starts_the_time_again(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    into_time_wait(&t);
    peer_run(&t, 50 * SEC);
    peer_tx(&t, "FA", 1, 2, 0);
    peer_rx(&t, "A", 2, 2, 0);
    peer_run(&t, 50 * SEC);
    assert_int_equal(tcp_n_time_wait(t.tcp), 1);
    peer_run(&t, 11 * SEC);
    assert_int_equal(tcp_n_time_wait(t.tcp), 0);
    peer_fini(&t);
}

static void a_reset_does_not_end_it(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    into_time_wait(&t);
    peer_tx(&t, "R", 2, 0, 0);
    peer_rx_none(&t);
    assert_int_equal(tcp_n_time_wait(t.tcp), 1);
    peer_fini(&t);
}

static void old_data_is_answered_and_the_right_ack_is_not(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    into_time_wait(&t);
    peer_tx(&t, "PA", 1, 1, 0);
    peer_rx(&t, "A", 2, 2, 0);
    peer_tx(&t, "A", 2, 2, 0);
    peer_rx_none(&t);
    peer_fini(&t);
}

static void a_newer_syn_begins_a_new_life(void **state)
{
    struct peer t;
    uint32_t old_end;
    struct frame_tcp s;

    peer_init(&t, NULL);
    into_time_wait(&t);
    old_end = t.our_iss + 2;
    peer_tx(&t, "S", 1, 0, 0); /* not newer */
    peer_rx(&t, "A", 2, 2, 0);
    t.their_iss += 1000;
    peer_tx(&t, "S", 0, 0, 0);
    s = peer_rx_any(&t);
    assert_int_equal(s.flags, 0x12);
    assert_true((int32_t)(s.seq - old_end) > 0);
    assert_int_equal(tcp_counters(t.tcp)->time_wait_reused, 1);
    assert_int_equal(tcp_n_time_wait(t.tcp), 0);
    t.our_iss = s.seq;
    peer_tx(&t, "A", 1, 1, 0);
    peer_events(&t, "accept");
    peer_fini(&t);
}

static void with_timestamps_a_newer_clock_is_enough(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    t.ts = true;
    t.tsval = 1000;
    into_time_wait(&t);
    t.their_iss -= 5000; /* and an older number does not matter */
    t.tsval = 999;
    peer_tx(&t, "S", 0, 0, 0);
    peer_rx_any(&t);
    assert_int_equal(tcp_counters(t.tcp)->time_wait_reused, 0);
    t.tsval = 1001;
    peer_tx(&t, "S", 0, 0, 0);
    assert_int_equal(peer_rx_any(&t).flags, 0x12);
    assert_int_equal(tcp_counters(t.tcp)->time_wait_reused, 1);
    peer_fini(&t);
}

static void nobody_listens_any_more(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    into_time_wait(&t);
    tcp_unlisten(t.listener);
    t.their_iss += 1000;
    peer_tx(&t, "S", 0, 0, 0);
    assert_int_equal(peer_rx_any(&t).flags, 0x14);
    peer_fini(&t);
}

static void the_oldest_makes_room(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .max_time_wait = 1 });
    into_time_wait(&t);
    t.their_port++;
    into_time_wait(&t);
    t.their_port--;
    peer_tx(&t, "FA", 1, 2, 0);
    peer_rx(&t, "R", 2, 0, 0);
    peer_fini(&t);
}

static void its_port_is_not_chosen_for_a_new_connection(void **state)
{
    struct peer t;
    const struct ipport remote = { ipaddr_v4(PEER), PEER_PORT };
    static const struct tcp_ops none = { 0 };
    struct ipport local;
    int err;

    peer_init(&t, NULL);
    peer_connect(&t);
    peer_tx(&t, "SA", 0, 1, 0);
    peer_rx(&t, "A", 1, 1, 0);
    tcp_shutdown(t.conn);
    local = tcp_local(t.conn);
    peer_rx(&t, "FA", 1, 1, 0);
    peer_tx(&t, "FA", 1, 2, 0);
    assert_int_equal(tcp_n_time_wait(t.tcp), 1);
    assert_null(tcp_connect(t.tcp, &remote, &local, NULL, &none, NULL, &err));
    peer_fini(&t);
}

/* With what is left of connection number @i of ours in TIME_WAIT. */
static struct ipport waiting(struct peer *t)
{
    struct ipport local;

    peer_connect(t);
    peer_tx(t, "SA", 0, 1, 0);
    peer_rx(t, "A", 1, 1, 0);
    tcp_shutdown(t->conn);
    local = tcp_local(t->conn);
    peer_rx(t, "FA", 1, 1, 0);
    peer_tx(t, "FA", 1, 2, 0);
    peer_rx(t, "A", 2, 2, 0);
    return local;
}

static struct tcp_conn *connect_from(struct peer *t, const struct ipport *local, int *err)
{
    const struct ipport remote = { ipaddr_v4(PEER), PEER_PORT };
    static const struct tcp_ops none = { 0 };

    return tcp_connect(t->tcp, &remote, local, NULL, &none, NULL, err);
}

static void with_timestamps_a_connection_of_ours_may_begin_again_after_a_second(void **state)
{
    struct ipport local;
    struct frame_tcp s;
    uint32_t old_end;
    struct peer t;
    int err;

    peer_init(&t, NULL);
    t.ts = true;
    t.tsval = 77;
    local = waiting(&t);
    old_end = t.our_iss + 2;
    peer_run(&t, SEC);
    assert_null(connect_from(&t, &local, &err)); /* not yet */
    assert_int_equal(err, -EADDRNOTAVAIL);
    peer_run(&t, 1000);
    assert_non_null(connect_from(&t, &local, &err));
    s = peer_rx_any(&t);
    assert_int_equal(s.flags, 2);
    assert_true((int32_t)(s.seq - old_end) > 0);
    assert_int_equal(tcp_n_time_wait(t.tcp), 0);
    assert_int_equal(tcp_counters(t.tcp)->time_wait_reused, 1);
    peer_fini(&t);
}

static void without_timestamps_it_may_not(void **state)
{
    struct ipport local;
    struct peer t;
    int err;

    peer_init(&t, NULL);
    local = waiting(&t);
    peer_run(&t, 59 * SEC);
    assert_null(connect_from(&t, &local, &err));
    peer_run(&t, 2 * SEC);
    assert_non_null(connect_from(&t, &local, &err));
    peer_rx_any(&t);
    peer_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fin_that_comes_again_is_acknowledged_and_starts_the_time_again),
        cmocka_unit_test(a_reset_does_not_end_it),
        cmocka_unit_test(old_data_is_answered_and_the_right_ack_is_not),
        cmocka_unit_test(a_newer_syn_begins_a_new_life),
        cmocka_unit_test(with_timestamps_a_newer_clock_is_enough),
        cmocka_unit_test(nobody_listens_any_more),
        cmocka_unit_test(the_oldest_makes_room),
        cmocka_unit_test(its_port_is_not_chosen_for_a_new_connection),
        cmocka_unit_test(with_timestamps_a_connection_of_ours_may_begin_again_after_a_second),
        cmocka_unit_test(without_timestamps_it_may_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
