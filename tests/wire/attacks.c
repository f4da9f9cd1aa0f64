/* RFC 5961 and PAWS: segments of somebody who guesses. */
#include "tests/lib/peer.h"

#include <errno.h>

#define SEC UINT64_C(1000000)

static uint64_t drops(struct peer *t, enum drop why)
{
    return net_counters(t->stack.net)->drops[why];
}

static void a_reset_must_be_exact(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_tx(&t, "R", 70000, 0, 0); /* beyond the window: nothing */
    peer_rx_none(&t);
    peer_tx(&t, "R", 0, 0, 0); /* before it: nothing */
    peer_rx_none(&t);
    peer_tx(&t, "R", 500, 0, 0); /* inside: prove it */
    peer_rx(&t, "A", 1, 1, 0);
    assert_int_equal(tcp_counters(t.tcp)->challenge_acks, 1);
    assert_int_equal(drops(&t, DROP_TCP_RST), 1);
    peer_events(&t, "");
    peer_tx(&t, "R", 1, 0, 0);
    peer_events(&t, "failed");
    peer_fini(&t);
}

static void a_syn_on_an_open_connection_is_challenged(void **state)
{
    static const uint32_t seqs[] = { 0, 1, 500, 60000 };
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    for (size_t i = 0; i < ARRAY_SIZE(seqs); i++) {
        peer_tx(&t, i % 2 == 0 ? "S" : "SA", seqs[i], 1, 0);
        peer_rx(&t, "A", 1, 1, 0);
    }
    peer_events(&t, "");
    peer_fini(&t);
}

static void an_ack_of_the_future_or_the_far_past_is_challenged(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_tx(&t, "PA", 1, 2, 10); /* we have sent nothing */
    peer_rx(&t, "A", 1, 1, 0);
    peer_tx(&t, "PA", 1, 1u - 70000, 10);
    peer_rx(&t, "A", 1, 1, 0);
    assert_int_equal(drops(&t, DROP_TCP_ACK), 2);
    peer_tx(&t, "PA", 1, 1u - 60000, 10); /* old, and within what the window allowed */
    peer_rx(&t, "A", 1, 11, 0);
    peer_fini(&t);
}

static void a_segment_without_ack_is_dropped(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_tx(&t, "P", 1, 0, 10);
    peer_rx_none(&t);
    assert_int_equal(drops(&t, DROP_TCP_ACK), 1);
    peer_fini(&t);
}

static void data_outside_the_window_is_answered_and_dropped(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .recv_buf = 1000 });
    peer_accept(&t);
    peer_tx(&t, "PA", 1001, 1, 10);
    peer_rx(&t, "A", 1, 1, 0);
    peer_tx(&t, "PA", 991, 1, 10); /* just inside */
    peer_rx(&t, "A", 1, 1, 0);
    assert_int_equal(drops(&t, DROP_TCP_WINDOW), 1);
    assert_int_equal(tcp_counters(t.tcp)->ooo_segs, 1);
    peer_fini(&t);
}

static void skip_all(struct peer *t)
{
    while (stack_next(&t->stack) != NULL)
        continue;
}

static void one_connection_gets_ten_challenges_in_five_seconds(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    for (unsigned i = 0; i < 50; i++) {
        peer_tx(&t, "R", 500, 0, 0);
        skip_all(&t);
    }
    assert_int_equal(tcp_counters(t.tcp)->challenge_acks, 10);
    peer_run(&t, 5 * SEC);
    peer_tx(&t, "R", 500, 0, 0);
    peer_rx(&t, "A", 1, 1, 0);
    peer_fini(&t);
}

static void all_together_get_a_number_that_nobody_can_count_on(void **state)
{
    struct peer t;
    uint64_t sent;

    peer_init(&t, NULL);
    peer_tx(&t, "S", 0, 0, 0);
    t.our_iss = peer_rx_any(&t).seq;
    for (unsigned i = 0; i < 3000; i++) {
        peer_tx(&t, "R", 500, 0, 0);
        skip_all(&t);
    }
    sent = tcp_counters(t.tcp)->challenge_acks;
    assert_true(sent >= 400 && sent < 1000);
    peer_fini(&t);
}

static void paws_drops_an_old_duplicate(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    t.ts = true;
    t.tsval = 1000;
    peer_accept(&t);
    t.tsval = 2000;
    peer_tx(&t, "PA", 1, 1, 10);
    peer_rx(&t, "A", 1, 11, 0);
    t.tsval = 1999;
    peer_tx(&t, "PA", 11, 1, 10);
    peer_rx(&t, "A", 1, 11, 0);
    assert_int_equal(tcp_counters(t.tcp)->paws_dropped, 1);
    t.ts = false; /* it was agreed that every segment has one */
    peer_tx(&t, "PA", 11, 1, 10);
    peer_rx_none(&t);
    assert_int_equal(drops(&t, DROP_TCP_PAWS), 2);
    peer_tx(&t, "R", 11, 0, 0); /* but for resets */
    peer_events(&t, "readable failed");
    peer_fini(&t);
}

static void paws_forgets_after_24_days(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .keepalive_us = UINT64_MAX });
    t.ts = true;
    t.tsval = 1000;
    peer_accept(&t);
    t.stack.core.now_us += 25 * 86400 * SEC;
    t.tsval = 10;
    peer_tx(&t, "PA", 1, 1, 10);
    peer_rx(&t, "A", 1, 11, 0);
    peer_fini(&t);
}

static void the_echo_is_of_the_first_segment_that_was_not_acknowledged(void **state)
{
    struct peer t;
    struct frame_tcp s;

    peer_init(&t, NULL);
    t.ts = true;
    t.tsval = 1000;
    peer_accept(&t);
    for (unsigned i = 0; i < 16; i++) { /* past the quick ACKs */
        peer_tx(&t, "PA", 1 + i, 1, 1);
        peer_rx(&t, "A", 1, 2 + i, 0);
    }
    t.tsval = 2000;
    peer_tx(&t, "PA", 17, 1, 1000);
    peer_rx_none(&t);
    t.tsval = 3000;
    peer_tx(&t, "PA", 1017, 1, 10);
    s = peer_rx(&t, "A", 1, 1027, 0);
    assert_int_equal(s.tsecr, 2000); /* RFC 7323, 4.3 */
    peer_fini(&t);
}

static void what_came_first_stays(void **state)
{
    struct peer t;
    struct pktq q;
    char got[32] = { 0 };

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_tx_bytes(&t, "PA", 5, 1, "EFGH", 4);
    peer_tx_bytes(&t, "PA", 13, 1, "MN", 2);
    peer_tx_bytes(&t, "PA", 3, 1, "cdefghijklmnop", 14); /* over and around both */
    peer_tx_bytes(&t, "PA", 1, 1, "ABXXXX", 6);
    pktq_init(&q);
    assert_int_equal(tcp_recv(t.conn, &q, UINT64_MAX), 16);
    pktq_peek(&q, got, 16);
    pktq_clear(&q);
    assert_string_equal(got, "ABcdEFGHijklMNop");
    peer_fini(&t);
}

static void packets_out_of_order_are_bounded_and_the_nearest_stay(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .ooo_pkts = 4 });
    peer_accept(&t);
    for (uint32_t i = 10; i > 0; i--) /* the farthest first */
        peer_tx(&t, "PA", 1 + i * 20, 1, 10);
    assert_int_equal(tcp_counters(t.tcp)->ooo_dropped, 6);
    while (stack_next(&t.stack) != NULL)
        continue;
    peer_tx(&t, "PA", 1, 1, 20);
    peer_rx(&t, "A", 1, 31, 0); /* 1 to 20, and 21 to 30 of the four kept */
    peer_fini(&t);
}

static void tiny_segments_share_a_buffer(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    for (uint32_t i = 0; i < 1500; i++) {
        peer_tx(&t, "PA", 1 + i, 1, 1);
        while (stack_next(&t.stack) != NULL)
            continue;
    }
    assert_int_equal(tcp_recv_waiting(t.conn), 1500);
    assert_int_equal(t.stack.pool.n_out, 1);
    peer_fini(&t);
}

static void spoiled_segments_do_nothing(void **state)
{
    struct peer t;
    struct frame f;
    const struct frame_tcp s = { .src = PEER_PORT,
                                 .dst = OUR_PORT,
                                 .seq = PEER_ISS,
                                 .flags = 2,
                                 .wnd = 1000,
                                 .mss = 1460,
                                 .wscale = -1 };

    peer_init(&t, NULL);
    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, PEER, US, 6, NULL, 0);
    frame_tcp(&f, &s);
    frame_done(&f);
    f.b[f.len - 1] ^= 1;
    stack_rx(&t.stack, &f);
    assert_int_equal(drops(&t, DROP_TCP_CSUM), 1);
    f.b[f.len - 1] ^= 1;
    stack_rx_flags(&t.stack, &f, PKT_RX_L4_CSUM_BAD);
    assert_int_equal(drops(&t, DROP_TCP_CSUM), 2);
    f.b[f.l4_at + 12] = 4 << 4; /* a header of 16 bytes */
    frame_done(&f);
    stack_rx(&t.stack, &f);
    f.b[f.l4_at + 12] = 15 << 4; /* of 60 */
    frame_done(&f);
    stack_rx(&t.stack, &f);
    assert_int_equal(drops(&t, DROP_TCP_SHORT), 2);
    f.b[f.l4_at + 12] = 6 << 4;
    f.b[f.l4_at + 21] = 0; /* an option of no length */
    frame_done(&f);
    stack_rx(&t.stack, &f);
    assert_int_equal(drops(&t, DROP_TCP_OPTIONS), 1);
    peer_rx_none(&t);
    f.b[f.l4_at + 21] = 4;
    f.b[f.l4_at + 16] ^= 0xff; /* the port says that it is right */
    stack_rx_flags(&t.stack, &f, PKT_RX_L4_CSUM_GOOD);
    peer_rx_any(&t);
    peer_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reset_must_be_exact),
        cmocka_unit_test(a_syn_on_an_open_connection_is_challenged),
        cmocka_unit_test(an_ack_of_the_future_or_the_far_past_is_challenged),
        cmocka_unit_test(a_segment_without_ack_is_dropped),
        cmocka_unit_test(data_outside_the_window_is_answered_and_dropped),
        cmocka_unit_test(one_connection_gets_ten_challenges_in_five_seconds),
        cmocka_unit_test(all_together_get_a_number_that_nobody_can_count_on),
        cmocka_unit_test(paws_drops_an_old_duplicate),
        cmocka_unit_test(paws_forgets_after_24_days),
        cmocka_unit_test(the_echo_is_of_the_first_segment_that_was_not_acknowledged),
        cmocka_unit_test(what_came_first_stays),
        cmocka_unit_test(packets_out_of_order_are_bounded_and_the_nearest_stay),
        cmocka_unit_test(tiny_segments_share_a_buffer),
        cmocka_unit_test(spoiled_segments_do_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
