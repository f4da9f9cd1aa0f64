/* What one connection may have of its own: struct tcp_tuning. */
#include "tests/lib/peer.h"

#include <errno.h>

#define SEC UINT64_C(1000000)
#define MSS 1460

static struct tcp_tuning defaults(struct peer *t)
{
    return *tcp_defaults(t->tcp);
}

static void nagle_lets_one_small_segment_out_at_a_time(void **state)
{
    struct peer t;
    struct tcp_tuning tuning;

    peer_init(&t, NULL);
    tuning = defaults(&t);
    tuning.nagle = true;
    peer_accept(&t);
    tcp_tune(t.conn, &tuning);
    peer_send(&t, 100);
    peer_rx(&t, "PA", 1, 1, 100);
    peer_send(&t, 100);
    peer_rx_none(&t);
    peer_send(&t, 50);
    peer_rx_none(&t);
    peer_send(&t, MSS); /* fills up what waits: a whole segment goes, the rest stays */
    peer_rx(&t, "A", 101, 1, MSS);
    peer_rx_none(&t);
    peer_tx(&t, "A", 1, 101, 0);
    peer_rx(&t, "PA", 101 + MSS, 1, 150);
    peer_fini(&t);
}

static void nagle_does_not_hold_a_fin_back(void **state)
{
    struct peer t;
    struct tcp_tuning tuning;

    peer_init(&t, NULL);
    tuning = defaults(&t);
    tuning.nagle = true;
    peer_accept(&t);
    tcp_tune(t.conn, &tuning);
    peer_send(&t, 100);
    peer_rx(&t, "PA", 1, 1, 100);
    peer_send(&t, 10);
    tcp_shutdown(t.conn);
    peer_rx(&t, "FPA", 101, 1, 10);
    peer_fini(&t);
}

static void without_nagle_every_turn_sends(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 100);
    peer_rx(&t, "PA", 1, 1, 100);
    peer_send(&t, 100);
    peer_rx(&t, "PA", 101, 1, 100);
    peer_fini(&t);
}

static void a_cork_holds_what_is_less_than_a_segment(void **state)
{
    struct peer t;
    struct tcp_tuning tuning;

    peer_init(&t, NULL);
    tuning = defaults(&t);
    tuning.cork = true;
    peer_accept(&t);
    tcp_tune(t.conn, &tuning);
    peer_send(&t, 1000);
    peer_rx_none(&t);
    peer_send(&t, 1000);
    peer_rx(&t, "A", 1, 1, MSS);
    peer_rx_none(&t);
    tuning.cork = false;
    tcp_tune(t.conn, &tuning);
    peer_rx(&t, "PA", 1 + MSS, 1, 540);
    peer_fini(&t);
}

static void a_cork_holds_for_200_ms_at_most(void **state)
{
    struct peer t;
    struct tcp_tuning tuning;

    peer_init(&t, NULL);
    tuning = defaults(&t);
    tuning.cork = true;
    peer_accept(&t);
    tcp_tune(t.conn, &tuning);
    peer_send(&t, 100);
    peer_run(&t, 150000);
    peer_send(&t, 100); /* does not begin the time anew */
    peer_rx_none(&t);
    peer_run(&t, 60000);
    peer_rx(&t, "PA", 1, 1, 200);
    peer_tx(&t, "A", 1, 201, 0);
    peer_send(&t, 100);
    peer_run(&t, 190000);
    peer_rx_none(&t);
    peer_fini(&t);
}

static void the_largest_segment_is_clamped_both_ways(void **state)
{
    struct peer t;
    struct tcp_tuning tuning;
    struct frame_tcp s;

    peer_init(&t, NULL);
    tuning = defaults(&t);
    tuning.mss_max = 1000;
    tcp_listener_tune(t.listener, &tuning);
    peer_tx(&t, "S", 0, 0, 0);
    s = peer_rx_any(&t);
    t.our_iss = s.seq;
    assert_int_equal(s.mss, 1000);
    peer_tx(&t, "A", 1, 1, 0);
    assert_int_equal(tcp_mss(t.conn), 1000);
    peer_send(&t, 2000);
    peer_rx(&t, "A", 1, 1, 1000);
    peer_rx(&t, "PA", 1001, 1, 1000);
    peer_fini(&t);
}

static void the_receive_buffer_of_a_listener_is_that_of_its_connections(void **state)
{
    struct peer t;
    struct tcp_tuning tuning;
    struct frame_tcp s;

    peer_init(&t, NULL);
    tuning = defaults(&t);
    tuning.recv_buf = 1 << 20;
    tcp_listener_tune(t.listener, &tuning);
    t.wscale = 0;
    peer_tx(&t, "S", 0, 0, 0);
    s = peer_rx_any(&t);
    t.our_iss = s.seq;
    t.wscale = -1;
    assert_int_equal(s.wscale, 5);
    assert_int_equal(s.wnd, 65535);
    peer_tx(&t, "A", 1, 1, 0);
    peer_tx(&t, "PA", 1, 1, 100);
    s = peer_rx_any(&t);
    assert_int_equal(s.wnd << 5, (1 << 20) - 128); /* what is left of it, in steps of 32 */
    peer_fini(&t);
}

static void what_is_not_sent_yet_has_a_limit_of_its_own(void **state)
{
    struct peer t;
    struct tcp_tuning tuning;

    peer_init(&t, NULL);
    tuning = defaults(&t);
    tuning.notsent_lowat = 4000;
    peer_accept(&t);
    tcp_tune(t.conn, &tuning);
    assert_int_equal(tcp_send_room(t.conn), 4000);
    peer_send(&t, 14 * MSS);
    assert_int_equal(tcp_send_room(t.conn), 0);
    for (unsigned i = 0; i < 10; i++)
        peer_rx(&t, "A", 1 + i * MSS, 1, MSS);
    assert_int_equal(tcp_send_room(t.conn), 0); /* four segments wait for the window */
    peer_events(&t, "");
    peer_tx(&t, "A", 1, 1 + 2 * MSS, 0);
    for (unsigned i = 10; i < 14; i++)
        peer_rx_any(&t);
    peer_tx(&t, "A", 1, 1 + 4 * MSS, 0);
    assert_int_equal(tcp_send_room(t.conn), 4000);
    peer_events(&t, "writable");
    peer_fini(&t);
}

static void the_user_timeout_ends_a_connection_whose_bytes_nobody_acknowledges(void **state)
{
    struct peer t;
    struct tcp_tuning tuning;

    peer_init(&t, NULL);
    tuning = defaults(&t);
    tuning.user_timeout_us = 3 * SEC;
    peer_accept(&t);
    tcp_tune(t.conn, &tuning);
    peer_run(&t, 10 * SEC); /* nothing is out: nothing times out */
    peer_events(&t, "");
    peer_send(&t, 100);
    peer_run(&t, 2 * SEC);
    peer_tx(&t, "A", 1, 51, 0); /* some of it: the time begins anew */
    peer_run(&t, 2900000);
    assert_non_null(t.conn);
    peer_run(&t, 110000);
    peer_events(&t, "failed");
    assert_int_equal(t.why, -ETIMEDOUT);
    peer_fini(&t);
}

static void the_user_timeout_counts_a_closed_window_too(void **state)
{
    struct peer t;
    struct tcp_tuning tuning;

    peer_init(&t, NULL);
    tuning = defaults(&t);
    tuning.user_timeout_us = 5 * SEC;
    t.wnd = 0;
    peer_accept(&t);
    tcp_tune(t.conn, &tuning);
    peer_send(&t, 100);
    for (unsigned i = 0; i < 24; i++) {
        peer_run(&t, SEC / 5);
        peer_tx(&t, "A", 1, 1, 0); /* it answers, but takes nothing */
    }
    assert_non_null(t.conn);
    peer_run(&t, SEC / 2);
    assert_int_equal(t.why, -ETIMEDOUT);
    peer_fini(&t);
}

static void keepalive_is_a_connections_own(void **state)
{
    struct peer t;
    struct tcp_tuning tuning;

    peer_init(&t, NULL);
    tuning = defaults(&t);
    tuning.keepalive_us = 5 * SEC;
    tuning.keepalive_interval_us = SEC;
    tuning.keepalive_probes = 2;
    peer_accept(&t);
    tcp_tune(t.conn, &tuning);
    peer_run(&t, 4900000);
    peer_rx_none(&t);
    peer_run(&t, SEC);
    peer_rx(&t, "A", 0, 1, 0);
    peer_run(&t, SEC);
    peer_rx(&t, "A", 0, 1, 0);
    peer_run(&t, SEC);
    peer_rx(&t, "RA", 1, 1, 0);
    assert_int_equal(t.why, -ETIMEDOUT);
    peer_fini(&t);
}

static void without_keepalive_silence_is_no_reason(void **state)
{
    struct peer t;
    struct tcp_tuning tuning;

    peer_init(&t, NULL);
    tuning = defaults(&t);
    tuning.keepalive = false;
    peer_accept(&t);
    tcp_tune(t.conn, &tuning);
    peer_run(&t, 5 * 86400 * SEC);
    peer_rx_none(&t);
    assert_non_null(t.conn);
    peer_fini(&t);
}

static void quick_acks_are_switched_off_and_on(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    tcp_quick_ack(t.conn, false);
    peer_tx(&t, "PA", 1, 1, 10);
    peer_rx_none(&t);
    tcp_quick_ack(t.conn, true); /* what is owed goes at once */
    peer_rx(&t, "A", 1, 11, 0);
    peer_tx(&t, "PA", 11, 1, 10);
    peer_rx(&t, "A", 1, 21, 0);
    peer_fini(&t);
}

static void bytes_are_looked_at_and_taken(void **state)
{
    struct peer t;
    char got[8] = "";

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_tx_bytes(&t, "PA", 1, 1, "abcdefg", 7);
    assert_int_equal(tcp_read(t.conn, got, 3, true), 3);
    assert_memory_equal(got, "abc", 3);
    assert_int_equal(tcp_read(t.conn, got, 3, false), 3);
    assert_int_equal(tcp_recv_waiting(t.conn), 4);
    assert_int_equal(tcp_read(t.conn, got, sizeof(got), false), 4);
    assert_memory_equal(got, "defg", 4);
    assert_int_equal(tcp_read(t.conn, got, sizeof(got), false), 0);
    peer_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nagle_lets_one_small_segment_out_at_a_time),
        cmocka_unit_test(nagle_does_not_hold_a_fin_back),
        cmocka_unit_test(without_nagle_every_turn_sends),
        cmocka_unit_test(a_cork_holds_what_is_less_than_a_segment),
        cmocka_unit_test(a_cork_holds_for_200_ms_at_most),
        cmocka_unit_test(the_largest_segment_is_clamped_both_ways),
        cmocka_unit_test(the_receive_buffer_of_a_listener_is_that_of_its_connections),
        cmocka_unit_test(what_is_not_sent_yet_has_a_limit_of_its_own),
        cmocka_unit_test(the_user_timeout_ends_a_connection_whose_bytes_nobody_acknowledges),
        cmocka_unit_test(the_user_timeout_counts_a_closed_window_too),
        cmocka_unit_test(keepalive_is_a_connections_own),
        cmocka_unit_test(without_keepalive_silence_is_no_reason),
        cmocka_unit_test(quick_acks_are_switched_off_and_on),
        cmocka_unit_test(bytes_are_looked_at_and_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
