/* SYN cookies: connections out of nothing, under a flood. */
#include "tests/lib/peer.h"

#define SEC UINT64_C(1000000)
#define FLOOD 16

static uint64_t drops(struct peer *t, enum drop why)
{
    return net_counters(t->stack.net)->drops[why];
}

/* SYNs from here and there, until every further one is answered with a cookie. */
static void flood(struct peer *t)
{
    const uint16_t port = t->their_port;

    for (unsigned i = 0; i < 12; i++) {
        t->their_port = (uint16_t)(20000 + i);
        peer_tx(t, "S", 0, 0, 0);
        stack_flush(&t->stack);
    }
    t->stack.at = t->stack.n_out;
    t->their_port = port;
    assert_int_equal(tcp_counters(t->tcp)->cookies_out, 0);
}

static void start(struct peer *t)
{
    peer_init(t, &(struct tcp_conf){ .max_half_open = FLOOD });
    flood(t);
}

/* What our SYN-ACK said, echoed, in a segment of the peer's. */
static void tx_echo(struct peer *t, uint32_t tsecr, uint32_t ack, uint32_t len)
{
    static const uint8_t zeros[64];
    const struct frame_tcp s = { .src = t->their_port,
                                 .dst = t->our_port,
                                 .seq = t->their_iss + 1,
                                 .ack = ack,
                                 .flags = 16,
                                 .wnd = 1000,
                                 .wscale = -1,
                                 .has_ts = true,
                                 .tsval = t->tsval,
                                 .tsecr = tsecr,
                                 .payload = zeros,
                                 .len = len };
    struct frame f;

    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, PEER, US, 6, NULL, 0);
    frame_tcp(&f, &s);
    frame_done(&f);
    stack_rx(&t->stack, &f);
}

static void a_flood_leaves_room_for_who_answers(void **state)
{
    struct peer t;

    start(&t);
    peer_accept(&t);
    assert_int_equal(tcp_counters(t.tcp)->cookies_out, 1);
    assert_int_equal(tcp_counters(t.tcp)->cookies_good, 1);
    assert_int_equal(tcp_n_conns(t.tcp), 1);
    peer_tx(&t, "PA", 1, 1, 100);
    peer_rx(&t, "A", 1, 101, 0);
    assert_int_equal(peer_recv(&t), 100);
    peer_fini(&t);
}

static void a_cookie_remembers_the_size_of_segments(void **state)
{
    static const struct {
        uint16_t mss, kept;
    } cases[] = { { 1460, 1460 }, { 1459, 1440 }, { 1380, 1360 }, { 600, 536 }, { 100, 536 } };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct peer t;

        start(&t);
        t.mss = cases[i].mss;
        peer_accept(&t);
        assert_int_equal(tcp_mss(t.conn), cases[i].kept);
        peer_fini(&t);
    }
}

static void a_cookie_keeps_the_window_scale_in_its_timestamp(void **state)
{
    struct peer t;
    struct tcp_conn_info info;
    struct frame_tcp s;

    start(&t);
    t.ts = true;
    t.tsval = 7000;
    t.wscale = 9;
    peer_tx(&t, "S", 0, 0, 0);
    s = peer_rx_any(&t);
    assert_true(s.has_ts);
    assert_int_equal(s.tsecr, 7000);
    tx_echo(&t, s.tsval, s.seq + 1, 10); /* with its first bytes */
    assert_non_null(t.conn);
    tcp_info(t.conn, &info);
    assert_int_equal(info.snd_shift, 9);
    assert_int_equal(info.snd_wnd, 1000 << 9);
    assert_true(info.ts_on);
    assert_false(info.sack_on);
    assert_int_equal(peer_recv(&t), 10);
    /* The clock that the peer sees must not go back for the bits that were hidden in it. */
    peer_send(&t, 10);
    assert_true((int32_t)(peer_rx_any(&t).tsval - s.tsval) >= 0);
    peer_fini(&t);
}

static void without_timestamps_nothing_is_scaled(void **state)
{
    struct peer t;
    struct tcp_conn_info info;

    start(&t);
    t.wscale = 9;
    peer_tx(&t, "S", 0, 0, 0);
    assert_int_equal(peer_rx_any(&t).wscale, -1);
    t.wscale = -1;
    stack_flush(&t.stack);
    t.stack.at = t.stack.n_out;
    peer_accept(&t);
    tcp_info(t.conn, &info);
    assert_int_equal(info.snd_shift, 0);
    peer_fini(&t);
}

static void a_cookie_that_is_not_ours_is_refused(void **state)
{
    struct peer t;
    uint32_t iss;

    start(&t);
    peer_tx(&t, "S", 0, 0, 0);
    iss = t.our_iss = peer_rx_any(&t).seq;
    for (unsigned bit = 0; bit < 32; bit++) {
        t.our_iss = iss ^ 1u << bit;
        peer_tx(&t, "A", 1, 1, 0);
        assert_int_equal(peer_rx_any(&t).flags, 4); /* RST */
    }
    t.our_iss = iss;
    t.their_iss++; /* the right cookie for another sequence number */
    peer_tx(&t, "A", 1, 1, 0);
    peer_rx_any(&t);
    t.their_iss--;
    t.their_port++; /* for another port */
    peer_tx(&t, "A", 1, 1, 0);
    peer_rx_any(&t);
    t.their_port--;
    assert_int_equal(tcp_counters(t.tcp)->cookies_bad, 34);
    assert_int_equal(drops(&t, DROP_TCP_NO_CONN), 34);
    assert_null(t.conn);
    peer_tx(&t, "A", 1, 1, 0);
    assert_non_null(t.conn);
    peer_fini(&t);
}

static void a_cookie_grows_old(void **state)
{
    struct peer t;

    start(&t);
    peer_tx(&t, "S", 0, 0, 0);
    t.our_iss = peer_rx_any(&t).seq;
    peer_run(&t, 129 * SEC);
    t.stack.at = t.stack.n_out;
    peer_tx(&t, "A", 1, 1, 0);
    peer_rx(&t, "R", 1, 0, 0);
    assert_null(t.conn);
    peer_fini(&t);
}

static void after_the_flood_everything_is_remembered_again(void **state)
{
    struct peer t;

    start(&t);
    peer_run(&t, 31 * SEC);
    t.stack.at = t.stack.n_out;
    peer_accept(&t);
    assert_int_equal(tcp_counters(t.tcp)->cookies_out, 0);
    peer_fini(&t);
}

/* Without a flood an ACK of nobody is not even compared. */
static void no_cookie_is_taken_that_was_not_given(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_tx(&t, "A", 1, 1, 0);
    peer_rx_any(&t);
    assert_int_equal(tcp_counters(t.tcp)->cookies_bad, 0);
    peer_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flood_leaves_room_for_who_answers),
        cmocka_unit_test(a_cookie_remembers_the_size_of_segments),
        cmocka_unit_test(a_cookie_keeps_the_window_scale_in_its_timestamp),
        cmocka_unit_test(without_timestamps_nothing_is_scaled),
        cmocka_unit_test(a_cookie_that_is_not_ours_is_refused),
        cmocka_unit_test(a_cookie_grows_old),
        cmocka_unit_test(after_the_flood_everything_is_remembered_again),
        cmocka_unit_test(no_cookie_is_taken_that_was_not_given),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
