#include "tests/lib/peer.h"

#include <errno.h>

#define SEC UINT64_C(1000000)

static void skip_all(struct peer *t)
{
    stack_flush(&t->stack);
    while (stack_next(&t->stack) != NULL)
        continue;
}

static void we_send_no_more_than_the_window(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    t.wnd = 2000;
    peer_accept(&t);
    peer_send(&t, 5000);
    peer_rx(&t, "A", 1, 1, 1460);
    peer_rx_none(&t); /* 540 more would be silly */
    peer_tx(&t, "A", 1, 1461, 0);
    peer_rx(&t, "A", 1461, 1, 1460);
    peer_fini(&t);
}

static void a_small_window_is_used_by_half_of_its_largest(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    t.wnd = 200;
    peer_accept(&t);
    peer_send(&t, 1000);
    peer_rx(&t, "A", 1, 1, 200);
    peer_tx(&t, "A", 1, 201, 0);
    peer_rx(&t, "A", 201, 1, 200);
    t.wnd = 50; /* under half: wait */
    peer_tx(&t, "A", 1, 401, 0);
    peer_rx_none(&t);
    peer_run(&t, 2 * SEC); /* until the persist timer overrides */
    peer_rx(&t, "A", 401, 1, 50);
    peer_fini(&t);
}

static void a_closed_window_is_probed_for_as_long_as_it_is_answered(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .max_retries = 3 });
    t.wnd = 0;
    peer_accept(&t);
    peer_send(&t, 100);
    peer_rx_none(&t);
    for (unsigned i = 0; i < 10; i++) {
        while (t.stack.at == t.stack.n_out)
            peer_run(&t, 100000);
        peer_rx(&t, "A", 0, 1, 0);
        peer_tx(&t, "A", 1, 1, 0);
    }
    peer_events(&t, "");
    assert_true(tcp_counters(t.tcp)->zero_window_probes >= 10);
    t.wnd = 1000;
    peer_tx(&t, "A", 1, 1, 0);
    peer_rx(&t, "PA", 1, 1, 100);
    peer_fini(&t);
}

static void probes_without_an_answer_end(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .max_retries = 3 });
    t.wnd = 0;
    peer_accept(&t);
    peer_send(&t, 100);
    peer_run(&t, 60 * SEC);
    peer_events(&t, "failed");
    assert_int_equal(t.why, -ETIMEDOUT);
    peer_fini(&t);
}

static void not_reading_closes_our_window(void **state)
{
    struct peer t;
    struct frame_tcp s;

    peer_init(&t, &(struct tcp_conf){ .recv_buf = 2000 });
    peer_accept(&t);
    peer_tx(&t, "PA", 1, 1, 1000);
    s = peer_rx(&t, "A", 1, 1001, 0);
    assert_int_equal(s.wnd, 1000);
    peer_tx(&t, "PA", 1001, 1, 1000);
    s = peer_rx(&t, "A", 1, 2001, 0);
    assert_int_equal(s.wnd, 0);
    assert_int_equal(tcp_counters(t.tcp)->zero_windows, 1);
    peer_tx(&t, "PA", 2001, 1, 1); /* a probe */
    s = peer_rx(&t, "A", 1, 2001, 0);
    assert_int_equal(s.wnd, 0);
    peer_tx(&t, "A", 2000, 1, 0); /* the other kind of probe */
    peer_rx(&t, "A", 1, 2001, 0);
    assert_int_equal(peer_recv(&t), 2000);
    s = peer_rx(&t, "A", 1, 2001, 0); /* of its own accord */
    assert_int_equal(s.wnd, 2000);
    peer_fini(&t);
}

static void a_window_does_not_open_by_crumbs(void **state)
{
    struct peer t;
    char got[400];

    peer_init(&t, &(struct tcp_conf){ .recv_buf = 2000 });
    peer_accept(&t);
    for (uint32_t i = 0; i < 5; i++)
        peer_tx(&t, "PA", 1 + 400 * i, 1, 400);
    skip_all(&t);
    assert_int_equal(tcp_read(t.conn, got, 400, false), 400);
    assert_int_equal(tcp_read(t.conn, got, 400, false), 400);
    peer_rx_none(&t);
    assert_int_equal(tcp_read(t.conn, got, 400, false), 400);
    assert_int_equal(peer_rx(&t, "A", 1, 2001, 0).wnd, 1200);
    peer_fini(&t);
}

static void an_ack_gets_through_a_closed_window(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .recv_buf = 1000 });
    peer_accept(&t);
    peer_tx(&t, "PA", 1, 1, 1000);
    skip_all(&t);
    peer_send(&t, 100);
    peer_rx(&t, "PA", 1, 1001, 100);
    peer_tx(&t, "PA", 1001, 101, 10); /* no room for the ten, but the ACK counts */
    peer_rx(&t, "A", 101, 1001, 0);
    peer_run(&t, 5 * SEC);
    peer_rx_none(&t);
    peer_tx(&t, "FA", 1001, 101, 0); /* and so does a FIN */
    peer_events(&t, "readable peer_closed");
    peer_fini(&t);
}

static void windows_are_scaled_both_ways(void **state)
{
    struct peer t;
    struct tcp_conn_info info;

    peer_init(&t, &(struct tcp_conf){ .recv_buf = 1 << 20 });
    t.wscale = 3;
    t.wnd = 1000; /* in the SYN: not scaled */
    peer_tx(&t, "S", 0, 0, 0);
    assert_int_equal(peer_rx_any(&t).wnd, 65535);
    t.stack.at = 0;
    t.our_iss = peer_rx_any(&t).seq;
    peer_tx(&t, "A", 1, 1, 0);
    tcp_info(t.conn, &info);
    assert_int_equal(info.snd_wnd, 8000);
    peer_tx(&t, "PA", 1, 1, 100);
    assert_int_equal(peer_rx(&t, "A", 1, 101, 0).wnd, ((1 << 20) - 100) >> 5);
    peer_fini(&t);
}

static void a_scale_beyond_14_is_taken_as_14(void **state)
{
    struct peer t;
    struct tcp_conn_info info;

    peer_init(&t, NULL);
    t.wscale = 200;
    t.wnd = 1;
    peer_accept(&t);
    tcp_info(t.conn, &info);
    assert_int_equal(info.snd_wnd, 1 << 14);
    peer_fini(&t);
}

static void an_old_segment_does_not_set_the_window(void **state)
{
    struct peer t;
    struct tcp_conn_info info;

    peer_init(&t, NULL);
    peer_accept(&t);
    t.wnd = 5000;
    peer_tx(&t, "PA", 1, 1, 100);
    t.wnd = 70;
    peer_tx(&t, "PA", 1, 1, 10); /* a duplicate from before */
    tcp_info(t.conn, &info);
    assert_int_equal(info.snd_wnd, 5000);
    peer_fini(&t);
}

static void the_owner_is_told_when_half_of_the_room_is_back(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .send_buf = 4000 });
    peer_accept(&t);
    assert_int_equal(tcp_send_room(t.conn), 4000);
    peer_send(&t, 1460);
    skip_all(&t);
    peer_tx(&t, "A", 1, 1461, 0);
    peer_events(&t, ""); /* it never was under half */
    peer_send(&t, 4 * 1460);
    assert_int_equal(tcp_send_room(t.conn), 0);
    skip_all(&t);
    peer_tx(&t, "A", 1, 1461 + 2 * 1460, 0);
    peer_events(&t, "");
    peer_tx(&t, "A", 1, 1461 + 3 * 1460, 0);
    peer_events(&t, "writable");
    peer_tx(&t, "A", 1, 1461 + 4 * 1460, 0);
    peer_events(&t, "");
    peer_fini(&t);
}

static void more_than_a_segment_is_acknowledged_and_the_last_after_40_ms(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    for (uint32_t i = 0; i < 16; i++) { /* the peer's slow start: each one */
        peer_tx(&t, "PA", 1 + i * 1000, 1, 1000);
        peer_rx(&t, "A", 1, 1001 + i * 1000, 0);
    }
    peer_tx(&t, "PA", 16001, 1, 1000);
    peer_rx_none(&t);
    peer_tx(&t, "PA", 17001, 1, 1); /* more than one full segment */
    peer_rx(&t, "A", 1, 17002, 0);
    peer_tx(&t, "PA", 17002, 1, 1000);
    peer_run(&t, 39000);
    peer_rx_none(&t);
    peer_run(&t, 2000);
    peer_rx(&t, "A", 1, 18002, 0);
    peer_tx(&t, "PA", 18002, 1, 100);
    peer_send(&t, 10); /* takes the ACK along */
    peer_rx(&t, "PA", 1, 18102, 10);
    peer_tx(&t, "A", 18102, 11, 0);
    peer_run(&t, SEC);
    peer_rx_none(&t);
    peer_fini(&t);
}

static void a_dead_peer_is_found_by_keepalive(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .keepalive_us = 10 * SEC });
    peer_accept(&t);
    peer_run(&t, 11 * SEC);
    peer_rx(&t, "A", 0, 1, 0);
    peer_tx(&t, "A", 1, 1, 0); /* alive */
    peer_run(&t, 9 * SEC);
    peer_rx_none(&t);
    peer_run(&t, 2 * SEC);
    peer_rx(&t, "A", 0, 1, 0);
    peer_run(&t, 9 * 75 * SEC);
    peer_events(&t, "failed");
    assert_int_equal(t.why, -ETIMEDOUT);
    assert_int_equal(tcp_counters(t.tcp)->keepalive_probes, 10);
    peer_fini(&t);
}

/*
 * What the peer sends again has an older sequence number than its last ACK, and acknowledges more.
 * Its window is the newest: 1000 bytes from 2921.
 */
static void the_window_of_a_retransmission_counts_if_it_acknowledges_more(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    t.wnd = 10000;
    peer_accept(&t);
    peer_tx(&t, "A", 1461, 1, 0); /* 1 to 1460 were lost */
    peer_send(&t, 2920);
    peer_rx(&t, "A", 1, 1, 1460);
    peer_rx(&t, "PA", 1461, 1, 1460);
    t.wnd = 2000;
    tcp_quick_ack(t.conn, true);
    peer_tx(&t, "PA", 1, 2921, 1460);
    peer_rx(&t, "A", 2921, 1461, 0);
    peer_send(&t, 4000);
    peer_rx(&t, "A", 2921, 1461, 1460);
    peer_rx_none(&t);
    peer_fini(&t);
}

static void acks_stay_within_a_window_that_was_taken_back(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    t.wnd = 10000;
    peer_accept(&t);
    peer_send(&t, 2920);
    peer_rx(&t, "A", 1, 1, 1460);
    peer_rx(&t, "PA", 1461, 1, 1460);
    t.wnd = 0;
    tcp_quick_ack(t.conn, true);
    peer_tx(&t, "PA", 1, 1461, 10); /* no room for the second one any more */
    peer_rx(&t, "A", 1461, 11, 0);  /* not 2921 */
    peer_fini(&t);
}

/* Or all workers' packets end up in queues, and the ACKs that would free them find none to arrive
 * in. */
static void with_few_packets_left_acks_count_and_bytes_do_not(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    t.wnd = 65535;
    peer_accept(&t);
    peer_send(&t, 1000);
    peer_rx(&t, "PA", 1, 1, 1000);
    peer_tx(&t, "A", 501, 1, 200); /* out of order: kept so far */
    peer_rx(&t, "A", 1001, 1, 0);
    t.stack.pool.pool.low = true;
    peer_tx(&t, "A", 1, 1001, 500);
    peer_rx_none(&t);
    assert_int_equal(tcp_counters(t.tcp)->low_pool_dropped, 1);
    assert_int_equal(peer_recv(&t), 0);
    assert_int_equal(t.stack.pool.n_out,
                     0); /* what we sent was acknowledged, what waited was shed */
    t.stack.pool.pool.low = false;
    peer_tx(&t, "PA", 1, 1001, 700);
    assert_int_equal(peer_recv(&t), 700);
    peer_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(we_send_no_more_than_the_window),
        cmocka_unit_test(a_small_window_is_used_by_half_of_its_largest),
        cmocka_unit_test(a_closed_window_is_probed_for_as_long_as_it_is_answered),
        cmocka_unit_test(probes_without_an_answer_end),
        cmocka_unit_test(not_reading_closes_our_window),
        cmocka_unit_test(a_window_does_not_open_by_crumbs),
        cmocka_unit_test(an_ack_gets_through_a_closed_window),
        cmocka_unit_test(windows_are_scaled_both_ways),
        cmocka_unit_test(a_scale_beyond_14_is_taken_as_14),
        cmocka_unit_test(an_old_segment_does_not_set_the_window),
        cmocka_unit_test(the_owner_is_told_when_half_of_the_room_is_back),
        cmocka_unit_test(more_than_a_segment_is_acknowledged_and_the_last_after_40_ms),
        cmocka_unit_test(a_dead_peer_is_found_by_keepalive),
        cmocka_unit_test(with_few_packets_left_acks_count_and_bytes_do_not),
        cmocka_unit_test(the_window_of_a_retransmission_counts_if_it_acknowledges_more),
        cmocka_unit_test(acks_stay_within_a_window_that_was_taken_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
