#include "tests/lib/peer.h"

#include "dataplane/base/bytes.h"

#include <errno.h>

#define SEC UINT64_C(1000000)

static void a_listener_answers_a_syn_with_what_the_peer_offered(void **state)
{
    struct peer t;
    struct frame_tcp s;

    peer_init(&t, &(struct tcp_conf){ .recv_buf = 1 << 20 });
    t.wscale = 7;
    t.ts = true;
    t.tsval = 1000;
    peer_tx(&t, "S", 0, 0, 0);
    s = peer_rx_any(&t);
    assert_int_equal(s.flags, 0x12);
    assert_int_equal(s.ack, PEER_ISS + 1);
    assert_int_equal(s.mss, 1460);
    assert_int_equal(s.wscale, 5); /* 65535 << 5 holds a MiB */
    assert_true(s.has_ts);
    assert_int_equal(s.tsecr, 1000);
    assert_int_equal(tcp_n_conns(t.tcp), 0); /* a SYN costs the small struct only */
    t.our_iss = s.seq;
    peer_tx(&t, "A", 1, 1, 0);
    assert_int_equal(tcp_mss(t.conn), 1448);
    peer_events(&t, "accept");
    peer_fini(&t);
}

static void options_the_peer_did_not_offer_are_not_used(void **state)
{
    struct peer t;
    struct frame_tcp s;

    peer_init(&t, NULL);
    t.mss = 0;
    peer_tx(&t, "S", 0, 0, 0);
    s = peer_rx_any(&t);
    assert_int_equal(s.wscale, -1);
    assert_false(s.has_ts);
    t.our_iss = s.seq;
    peer_tx(&t, "A", 1, 1, 0);
    assert_int_equal(tcp_mss(t.conn), 536);
    peer_fini(&t);
}

static void data_may_come_with_the_last_ack_of_the_handshake(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_tx(&t, "S", 0, 0, 0);
    t.our_iss = peer_rx_any(&t).seq;
    peer_tx(&t, "PAF", 1, 1, 10);
    peer_events(&t, "accept readable peer_closed");
    peer_rx(&t, "A", 1, 12, 0);
    assert_int_equal(peer_recv(&t), 10);
    assert_true(tcp_recv_eof(t.conn));
    peer_fini(&t);
}

static void a_lost_syn_ack_is_sent_again_when_the_syn_is(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_tx(&t, "S", 0, 0, 0);
    t.our_iss = peer_rx_any(&t).seq;
    peer_tx(&t, "S", 0, 0, 0);
    peer_rx(&t, "SA", 0, 1, 0);
    assert_int_equal(net_counters(t.stack.net)->drops[DROP_TCP_SYN], 0);
    peer_fini(&t);
}

static void a_half_open_connection_asks_again_and_expires(void **state)
{
    struct peer t;
    unsigned n = 0;

    peer_init(&t, NULL);
    peer_tx(&t, "S", 0, 0, 0);
    t.our_iss = peer_rx_any(&t).seq;
    peer_run(&t, 31 * SEC);
    while (stack_next(&t.stack) != NULL)
        n++;
    assert_int_equal(n, 4); /* after 1, 2, 4 and 8 more seconds; the next would be at 31 */
    assert_int_equal(tcp_counters(t.tcp)->half_open_timeouts, 1);
    peer_tx(&t, "A", 1, 1, 0); /* too late */
    peer_rx(&t, "R", 1, 0, 0);
    peer_events(&t, "");
    peer_fini(&t);
}

static void half_open_connections_are_bounded(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .max_half_open = 3, .no_cookies = true });
    for (unsigned i = 0; i < 10; i++) {
        t.their_port = (uint16_t)(5000 + i);
        peer_tx(&t, "S", 0, 0, 0);
    }
    assert_int_equal(tcp_counters(t.tcp)->half_open_dropped, 7);
    assert_int_equal(net_counters(t.stack.net)->drops[DROP_TCP_HALF_OPEN_FULL], 7);
    peer_run(&t, 31 * SEC);
    t.their_port = 6000;
    t.stack.at = t.stack.n_out;
    peer_accept(&t);
    peer_fini(&t);
}

static void unlisten_drops_what_is_half_open_only(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    t.their_port++;
    peer_tx(&t, "S", 0, 0, 0);
    peer_rx_any(&t);
    tcp_unlisten(t.listener);
    peer_tx(&t, "A", 1, 1, 0);
    peer_rx(&t, "R", 1, 0, 0);
    t.their_port--;
    peer_tx(&t, "PA", 1, 1, 5);
    peer_rx(&t, "A", 1, 6, 0);
    peer_fini(&t);
}

static void the_same_pair_is_listened_on_once_and_the_exact_address_wins(void **state)
{
    struct peer t;
    const struct ipport any = { .port = OUR_PORT }, one = { ipaddr_v4(US), OUR_PORT };
    struct tcp_listener *l;

    peer_init(&t, NULL);
    assert_null(tcp_listen(t.tcp, &any, NULL, NULL));
    l = tcp_listen(t.tcp, &one, NULL, NULL); /* would crash if it were asked */
    assert_non_null(l);
    peer_tx(&t, "S", 0, 0, 0);
    peer_rx_any(&t);
    tcp_unlisten(l);
    peer_tx(&t, "S", 0, 0, 0); /* to the other one now */
    t.our_iss = peer_rx_any(&t).seq;
    peer_tx(&t, "A", 1, 1, 0);
    peer_events(&t, "accept");
    peer_fini(&t);
}

static void an_owner_who_refuses_resets(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    t.refuse = true;
    peer_tx(&t, "S", 0, 0, 0);
    t.our_iss = peer_rx_any(&t).seq;
    peer_tx(&t, "A", 1, 1, 0);
    peer_rx(&t, "RA", 1, 1, 0);
    assert_int_equal(tcp_n_conns(t.tcp), 0);
    peer_fini(&t);
}

static void without_memory_for_a_connection_it_is_refused(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .max_conns = 1 });
    peer_accept(&t);
    t.their_port++;
    peer_tx(&t, "S", 0, 0, 0);
    t.our_iss = peer_rx_any(&t).seq;
    peer_tx(&t, "A", 1, 1, 0);
    peer_rx(&t, "R", 1, 0, 0);
    assert_int_equal(tcp_counters(t.tcp)->no_conn, 1);
    peer_fini(&t);
}

static void connect_opens(void **state)
{
    struct peer t;
    struct tcp_conn_info info;

    peer_init(&t, NULL);
    peer_connect(&t);
    assert_true(t.our_port >= 32768 && t.our_port < 61000);
    peer_events(&t, "");
    peer_tx(&t, "SA", 0, 1, 0);
    peer_events(&t, "open");
    peer_rx(&t, "A", 1, 1, 0);
    tcp_info(t.conn, &info);
    assert_string_equal(info.state, "ESTABLISHED");
    assert_int_equal(info.cwnd, 14600);
    peer_fini(&t);
}

static void what_is_queued_before_the_open_goes_with_its_ack(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_connect(&t);
    peer_send(&t, 100);
    tcp_shutdown(t.conn);
    peer_rx_none(&t);
    peer_tx(&t, "SA", 0, 1, 0);
    peer_rx(&t, "FPA", 1, 1, 100);
    peer_events(&t, "open");
    peer_fini(&t);
}

static void connect_is_refused_by_a_reset_that_acknowledges_the_syn(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_connect(&t);
    peer_tx(&t, "R", 0, 0, 0);  /* proves nothing */
    peer_tx(&t, "RA", 0, 7, 0); /* of another time */
    peer_events(&t, "");
    peer_rx_none(&t);
    peer_tx(&t, "RA", 0, 1, 0);
    peer_events(&t, "failed");
    assert_int_equal(t.why, -ECONNREFUSED);
    peer_fini(&t);
}

static void a_wrong_ack_in_syn_sent_is_reset(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_connect(&t);
    peer_tx(&t, "SA", 0, 5, 0);
    peer_rx(&t, "R", 5, 0, 0);
    peer_events(&t, "");
    peer_tx(&t, "SA", 0, 1, 0);
    peer_events(&t, "open");
    peer_fini(&t);
}

static void connect_asks_again_and_gives_up(void **state)
{
    struct peer t;
    unsigned n = 0;

    peer_init(&t, &(struct tcp_conf){ .syn_timeout_us = 20 * SEC });
    peer_connect(&t);
    peer_run(&t, 21 * SEC);
    while (stack_next(&t.stack) != NULL)
        n++;
    assert_int_equal(n, 4);
    peer_events(&t, "failed");
    assert_int_equal(t.why, -ETIMEDOUT);
    assert_int_equal(tcp_n_conns(t.tcp), 0);
    peer_fini(&t);
}

static void closed_for_good(struct tcp_conn *c, int why)
{
    *(int *)tcp_owner(c) = why;
}

static void connect_fails_when_nobody_has_the_address(void **state)
{
    static const struct tcp_ops ops = { .on_closed = closed_for_good };
    const struct ipport nobody = { ipaddr_v4(PEER + 5), 80 };
    struct peer t;
    int err, why = 0;

    peer_init(&t, NULL);
    t.stack.answer_arp = false;
    assert_non_null(tcp_connect(t.tcp, &nobody, NULL, NULL, &ops, &why, &err));
    peer_run(&t, 4 * SEC);
    assert_int_equal(why, -EHOSTUNREACH);
    assert_int_equal(tcp_n_conns(t.tcp), 0);
    assert_int_equal(net_counters(t.stack.net)->neigh_failed, 1);
    assert_int_equal(net_counters(t.stack.net)->drops[DROP_NEIGH_UNREACHABLE], 3);
    peer_fini(&t);
}

static void errors_of_connect(void **state)
{
    struct peer t;
    const struct ipport remote = { ipaddr_v4(PEER), 80 }, us = { ipaddr_v4(US), 80 };
    const struct ipport not_ours = { ipaddr_v4(US + 50), 0 }, taken = { ipaddr_v4(US), 9 };
    static const struct tcp_ops none = { 0 };
    struct tcp_conn *c;
    int err = 0;

    peer_init(&t, &(struct tcp_conf){ .max_conns = 1 });
    assert_null(tcp_connect(t.tcp, &us, NULL, NULL, &none, NULL, &err));
    assert_int_equal(err, -EHOSTUNREACH);
    assert_null(tcp_connect(t.tcp, &remote, &not_ours, NULL, &none, NULL, &err));
    assert_int_equal(err, -EADDRNOTAVAIL);
    c = tcp_connect(t.tcp, &remote, &taken, NULL, &none, NULL, &err);
    assert_non_null(c);
    assert_int_equal(tcp_local(c).port, 9);
    assert_null(tcp_connect(t.tcp, &remote, &taken, NULL, &none, NULL, &err));
    assert_int_equal(err, -ENOMEM);
    tcp_abort(c);
    peer_fini(&t);
}

static void an_icmp_error_ends_an_attempt_but_not_a_connection(void **state)
{
    struct peer t;
    struct frame f;
    uint8_t quote[28] = { 0x45 };

    peer_init(&t, NULL);
    peer_connect(&t);
    quote[9] = 6;
    memcpy(quote + 12, (uint8_t[]){ 10, 0, 0, 1, 10, 0, 0, 2 }, 8);
    put16(quote + 20, t.our_port);
    put16(quote + 22, PEER_PORT);
    put32(quote + 24, t.our_iss + 99); /* a guess */
    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, GATEWAY, US, 1, NULL, 0);
    frame_icmp(&f, 3, 1, 0, quote, sizeof(quote));
    frame_done(&f);
    stack_rx(&t.stack, &f);
    peer_events(&t, "");

    peer_tx(&t, "SA", 0, 1, 0);
    peer_events(&t, "open");
    peer_rx(&t, "A", 1, 1, 0);
    peer_send(&t, 10);
    peer_rx(&t, "PA", 1, 1, 10);
    put32(f.b + f.l4_at + 8 + 24, t.our_iss + 1);
    frame_done(&f);
    stack_rx(&t.stack, &f);
    peer_events(&t, "");
    peer_tx(&t, "RA", 1, 11, 0);
    peer_events(&t, "failed");

    peer_connect(&t);
    put16(f.b + f.l4_at + 8 + 20, t.our_port);
    put32(f.b + f.l4_at + 8 + 24, t.our_iss);
    frame_done(&f);
    stack_rx(&t.stack, &f);
    peer_events(&t, "failed");
    assert_int_equal(t.why, -EHOSTUNREACH);
    peer_fini(&t);
}

static void both_open_at_once(void **state)
{
    struct peer t;
    struct frame_tcp s;
    struct tcp_conn_info info;

    peer_init(&t, NULL);
    t.ts = true;
    t.wscale = 2;
    peer_connect(&t);
    peer_tx(&t, "S", 0, 0, 0);
    s = peer_rx(&t, "SA", 0, 1, 0);
    assert_int_equal(s.mss, 1460);
    assert_true(s.has_ts && s.wscale >= 0);
    tcp_info(t.conn, &info);
    assert_string_equal(info.state, "SYN_RCVD");
    peer_events(&t, "");
    peer_tx(&t, "SA", 0, 1, 0);
    peer_events(&t, "open");
    peer_rx(&t, "A", 1, 1, 0);
    peer_tx(&t, "PA", 1, 1, 20);
    peer_rx(&t, "A", 1, 21, 0);
    peer_fini(&t);
}

static void both_open_at_once_and_an_ack_is_enough(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_connect(&t);
    peer_tx(&t, "S", 0, 0, 0);
    peer_rx(&t, "SA", 0, 1, 0);
    peer_run(&t, 1100000); /* lost */
    peer_rx(&t, "SA", 0, 1, 0);
    peer_tx(&t, "A", 1, 1, 0);
    peer_events(&t, "open");
    peer_fini(&t);
}

static void unknown_segments_are_reset(void **state)
{
    static const struct {
        const char *flags, *reply;
        uint32_t seq, ack, len, reply_seq, reply_ack;
    } cases[] = {
        { "A", "R", 5, 77, 0, 77, 0 },  { "PA", "R", 5, 77, 10, 77, 0 },
        { "SA", "R", 5, 77, 0, 77, 0 }, { "S", "RA", 5, 0, 0, 0, 6 },
        { "S", "RA", 5, 0, 3, 0, 9 },   { "R", NULL, 5, 0, 0, 0, 0 },
        { "RA", NULL, 5, 77, 0, 0, 0 }, { "F", "RA", 5, 0, 0, 0, 6 },
        { "", "RA", 5, 0, 0, 0, 5 },    { "SF", NULL, 5, 0, 0, 0, 0 },
        { "SR", NULL, 5, 0, 0, 0, 0 },
    };
    struct peer t;

    peer_init(&t, NULL);
    t.our_port = 81;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        peer_tx(&t, cases[i].flags, cases[i].seq, cases[i].ack, cases[i].len);
        if (cases[i].reply != NULL)
            peer_rx(&t, cases[i].reply, cases[i].reply_seq, cases[i].reply_ack, 0);
        else
            peer_rx_none(&t);
    }
    peer_fini(&t);
}

static void resets_are_rate_limited(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    t.our_port = 81;
    for (unsigned i = 0; i < 500; i++) {
        peer_tx(&t, "A", 5, 77, 0);
        while (stack_next(&t.stack) != NULL)
            continue;
    }
    assert_int_equal(tcp_counters(t.tcp)->resets_out, 200);
    peer_run(&t, SEC);
    peer_tx(&t, "A", 5, 77, 0);
    peer_rx(&t, "R", 77, 0, 0);
    peer_fini(&t);
}

static void a_half_open_connection_believes_only_what_fits(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_tx(&t, "S", 0, 0, 0);
    t.our_iss = peer_rx_any(&t).seq;
    peer_tx(&t, "R", 100000, 0, 0); /* outside the window */
    peer_rx_none(&t);
    peer_tx(&t, "R", 2, 0, 0); /* inside, not exact */
    peer_rx(&t, "A", 1, 1, 0);
    peer_tx(&t, "S", 5, 0, 0);
    peer_rx(&t, "A", 1, 1, 0);
    peer_tx(&t, "A", 1, 2, 0); /* acknowledges what was not sent */
    peer_rx(&t, "R", 2, 0, 0);
    peer_tx(&t, "", 1, 0, 1);
    peer_rx_none(&t);
    peer_tx(&t, "R", 1, 0, 0);
    peer_tx(&t, "A", 1, 1, 0); /* it is gone */
    peer_rx(&t, "R", 1, 0, 0);
    peer_events(&t, "");
    peer_fini(&t);
}

static void what_is_known_of_the_path_does_not_change_what_may_come(void **state)
{
    const struct ipaddr remote = ipaddr_v4(PEER);
    struct frame_tcp s;
    struct peer t;

    peer_init(&t, NULL);
    net_path_mtu(t.stack.net, &remote, 1000);
    peer_tx(&t, "S", 0, 0, 0);
    s = peer_rx_any(&t);
    assert_int_equal(s.mss, 1460);
    t.our_iss = s.seq;
    peer_tx(&t, "A", 1, 1, 0);
    assert_int_equal(tcp_mss(t.conn), 960);
    peer_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_answers_a_syn_with_what_the_peer_offered),
        cmocka_unit_test(options_the_peer_did_not_offer_are_not_used),
        cmocka_unit_test(data_may_come_with_the_last_ack_of_the_handshake),
        cmocka_unit_test(a_lost_syn_ack_is_sent_again_when_the_syn_is),
        cmocka_unit_test(a_half_open_connection_asks_again_and_expires),
        cmocka_unit_test(half_open_connections_are_bounded),
        cmocka_unit_test(unlisten_drops_what_is_half_open_only),
        cmocka_unit_test(the_same_pair_is_listened_on_once_and_the_exact_address_wins),
        cmocka_unit_test(an_owner_who_refuses_resets),
        cmocka_unit_test(without_memory_for_a_connection_it_is_refused),
        cmocka_unit_test(connect_opens),
        cmocka_unit_test(what_is_queued_before_the_open_goes_with_its_ack),
        cmocka_unit_test(connect_is_refused_by_a_reset_that_acknowledges_the_syn),
        cmocka_unit_test(a_wrong_ack_in_syn_sent_is_reset),
        cmocka_unit_test(connect_asks_again_and_gives_up),
        cmocka_unit_test(connect_fails_when_nobody_has_the_address),
        cmocka_unit_test(errors_of_connect),
        cmocka_unit_test(an_icmp_error_ends_an_attempt_but_not_a_connection),
        cmocka_unit_test(both_open_at_once),
        cmocka_unit_test(both_open_at_once_and_an_ack_is_enough),
        cmocka_unit_test(unknown_segments_are_reset),
        cmocka_unit_test(resets_are_rate_limited),
        cmocka_unit_test(a_half_open_connection_believes_only_what_fits),
        cmocka_unit_test(what_is_known_of_the_path_does_not_change_what_may_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
