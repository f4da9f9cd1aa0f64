#include "tests/lib/peer.h"

#include "dataplane/base/bytes.h"

#include <errno.h>

#define SEC UINT64_C(1000000)
#define MSS 1460

static void skip_all(struct peer *t)
{
    stack_flush(&t->stack);
    while (stack_next(&t->stack) != NULL)
        continue;
}

static void three_duplicate_acks_bring_the_segment_back(void **state)
{
    struct peer t;
    struct tcp_conn_info info;

    peer_init(&t, &(struct tcp_conf){ .cc = CC_NEWRENO });
    peer_accept(&t);
    peer_send(&t, 8 * MSS);
    skip_all(&t);
    peer_tx(&t, "A", 1, 1, 0);
    peer_tx(&t, "A", 1, 1, 0);
    peer_rx_none(&t);
    peer_tx(&t, "A", 1, 1, 0);
    peer_rx(&t, "A", 1, 1, MSS);
    tcp_info(t.conn, &info);
    assert_int_equal(info.ssthresh, 5 * MSS);
    assert_int_equal(info.ca_state, 3);
    assert_int_equal(info.cwnd, 5 * MSS); /* four in flight, one that is sent again */
    assert_int_equal(tcp_counters(t.tcp)->fast_retrans, 1);
    /* The next hole is told by a partial ACK: at once, not after three more. */
    peer_tx(&t, "A", 1, 1 + 2 * MSS, 0);
    peer_rx(&t, "A", 1 + 2 * MSS, 1, MSS);
    peer_tx(&t, "A", 1, 1 + 8 * MSS, 0);
    tcp_info(t.conn, &info);
    assert_int_equal(info.cwnd, 5 * MSS);
    /* Without SACK it is not over before something beyond has arrived (RFC 6582). */
    assert_int_equal(info.ca_state, 3);
    peer_send(&t, MSS);
    peer_rx_any(&t);
    peer_tx(&t, "A", 1, 1 + 9 * MSS, 0);
    tcp_info(t.conn, &info);
    assert_int_equal(info.ca_state, 0);
    peer_fini(&t);
}

static void the_first_two_duplicates_let_new_data_out(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 20 * MSS);
    skip_all(&t);
    peer_tx(&t, "A", 1, 1, 0);
    peer_rx(&t, "A", 1 + 10 * MSS, 1, MSS);
    peer_tx(&t, "A", 1, 1, 0);
    peer_rx(&t, "A", 1 + 11 * MSS, 1, MSS);
    peer_tx(&t, "A", 1, 1, 0);
    peer_rx(&t, "A", 1, 1, MSS);
    peer_fini(&t);
}

static void segments_with_data_are_no_duplicate_acks(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 4 * MSS);
    skip_all(&t);
    for (uint32_t i = 0; i < 5; i++)
        peer_tx(&t, "PA", 1 + 10 * i, 1, 10);
    for (uint32_t i = 0; i < 5; i++) { /* nor are window updates */
        t.wnd--;
        peer_tx(&t, "A", 51, 1, 0);
    }
    assert_int_equal(tcp_counters(t.tcp)->fast_retrans, 0);
    assert_int_equal(tcp_counters(t.tcp)->dup_acks, 0);
    peer_fini(&t);
}

static void a_timeout_starts_again_from_one_segment_and_backs_off(void **state)
{
    struct peer t;
    struct tcp_conn_info info;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 5 * MSS);
    skip_all(&t);
    peer_run(&t, 210000);
    peer_rx(&t, "A", 1, 1, MSS);
    peer_rx_none(&t);
    tcp_info(t.conn, &info);
    assert_int_equal(info.cwnd, MSS);
    peer_run(&t, 380000);
    peer_rx_none(&t);
    peer_run(&t, 20000);
    peer_rx(&t, "A", 1, 1, MSS);
    assert_int_equal(tcp_counters(t.tcp)->retrans_timeouts, 2);
    peer_tx(&t, "A", 1, 1 + MSS, 0); /* go on from there */
    peer_rx(&t, "A", 1 + MSS, 1, MSS);
    peer_rx(&t, "A", 1 + 2 * MSS, 1, MSS); /* in slow start */
    peer_rx_none(&t);
    peer_tx(&t, "A", 1, 1 + 5 * MSS, 0); /* it had arrived after all */
    peer_run(&t, 10 * SEC);
    peer_rx_none(&t);
    peer_fini(&t);
}

/* What the peer has got may reach up to snd_max: an ACK that starts before it looks old. */
static void an_ack_in_the_midst_of_a_retransmission_starts_at_the_end(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 5 * MSS);
    skip_all(&t);
    peer_run(&t, 210000);
    peer_rx(&t, "A", 1, 1, MSS);
    tcp_quick_ack(t.conn, true);
    peer_tx(&t, "PA", 1, 1, 10);
    peer_rx(&t, "A", 1 + 5 * MSS, 11, 0);
    peer_fini(&t);
}

static void ack_echoing(struct peer *t, uint32_t ack, uint32_t tsecr)
{
    const struct frame_tcp s = { .src = PEER_PORT,
                                 .dst = OUR_PORT,
                                 .seq = t->their_iss + 1,
                                 .ack = t->our_iss + ack,
                                 .flags = 16,
                                 .wnd = 65535,
                                 .wscale = -1,
                                 .has_ts = true,
                                 .tsval = t->tsval,
                                 .tsecr = tsecr };
    struct frame f;

    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, PEER, US, 6, NULL, 0);
    frame_tcp(&f, &s);
    frame_done(&f);
    stack_rx(&t->stack, &f);
}

static void only_the_last_echo_is_a_round_trip(void **state)
{
    for (unsigned last = 0; last < 2; last++) {
        struct peer t;
        struct tcp_conn_info info;
        uint32_t first_ts, last_ts;

        peer_init(&t, NULL);
        t.ts = true;
        peer_accept(&t);
        peer_send(&t, 10);
        first_ts = peer_rx(&t, "PA", 1, 1, 10).tsval;
        peer_run(&t, 1600000); /* sent again after 200, 600 and 1400 ms */
        peer_rx(&t, "PA", 1, 1, 10);
        peer_rx(&t, "PA", 1, 1, 10);
        last_ts = peer_rx(&t, "PA", 1, 1, 10).tsval;
        ack_echoing(&t, 11, last ? last_ts : first_ts);
        tcp_info(t.conn, &info);
        if (last) { /* 200 ms: the timeout is measured anew */
            assert_in_range(info.srtt_us, 20000, 30000);
            assert_in_range(info.rto_us, 220000, 420000);
        } else { /* 1600 ms are no round trip: the timeout was a mistake (RFC 3522) */
            assert_true(info.srtt_us < 1000);
            assert_in_range(info.rto_us, 200000, 201000);
            assert_int_equal(tcp_counters(t.tcp)->undone, 1);
        }
        peer_fini(&t);
    }
}

static void too_many_timeouts_end_it(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .max_retries = 4 });
    peer_accept(&t);
    peer_send(&t, 10);
    skip_all(&t);
    peer_run(&t, 10 * SEC);
    for (unsigned i = 0; i < 4; i++)
        peer_rx(&t, "PA", 1, 1, 10);
    peer_rx(&t, "RA", 11, 1, 0);
    peer_events(&t, "failed");
    assert_int_equal(t.why, -ETIMEDOUT);
    assert_int_equal(tcp_counters(t.tcp)->timeouts, 1);
    peer_fini(&t);
}

static void part_of_a_packet_may_be_acknowledged(void **state)
{
    struct peer t;
    struct frame_tcp s;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 1000);
    skip_all(&t);
    peer_tx(&t, "A", 1, 401, 0);
    peer_run(&t, 210000);
    s = peer_rx(&t, "PA", 401, 1, 600);
    assert_int_equal(s.payload[0], 'x');
    peer_fini(&t);
}

/* The port still has the packet: it may not be written. */
static void a_packet_that_the_port_keeps_is_sent_again_as_a_copy(void **state)
{
    struct peer t;
    struct pkt *kept;
    const uint8_t *data;
    uint8_t bytes[256];

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 100);
    tcp_flush(t.tcp);
    assert_int_equal(t.stack.n_sending, 1);
    kept = t.stack.sending[0];
    t.stack.n_sending = 0;
    assert_true(pkt_is_shared(kept));
    data = kept->data;
    memcpy(bytes, data, kept->len);
    tcp_quick_ack(t.conn, true);
    peer_tx(&t, "PA", 1, 1, 10); /* so that the next header is another one */
    peer_rx(&t, "A", 101, 11, 0);
    peer_run(&t, 210000);
    peer_rx(&t, "PA", 1, 11, 100);
    assert_ptr_equal(kept->data, data);
    assert_memory_equal(data, bytes, kept->len);
    peer_tx(&t, "A", 11, 101, 0);
    assert_false(pkt_is_shared(kept));
    pkt_free(kept);
    peer_fini(&t);
}

static void what_the_port_has_sent_is_sent_again_in_place(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 100);
    skip_all(&t);
    peer_run(&t, 210000);
    peer_rx(&t, "PA", 1, 1, 100);
    assert_int_equal(t.stack.pool.n_out, 1); /* one packet, all along */
    peer_fini(&t);
}

static void little_packets_go_out_as_one(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    for (unsigned i = 0; i < 20; i++)
        peer_send(&t, 50);
    peer_rx(&t, "PA", 1, 1, 1000);
    peer_rx_none(&t);
    peer_fini(&t);
}

static void a_packet_too_long_is_cut(void **state)
{
    struct peer t;
    struct pktq q;
    struct pkt *p;

    peer_init(&t, NULL);
    t.mss = 500;
    peer_accept(&t);
    p = pkt_alloc(&t.stack.pool.pool);
    memset(pkt_put(p, 1200), 'y', 1200);
    pktq_init(&q);
    pktq_push(&q, p);
    tcp_send(t.conn, &q);
    peer_rx(&t, "A", 1, 1, 500);
    peer_rx(&t, "A", 501, 1, 500);
    peer_rx(&t, "PA", 1001, 1, 200);
    peer_fini(&t);
}

static void too_big(struct peer *t, struct frame *f, uint16_t mtu, uint32_t seq)
{
    uint8_t quote[28] = { 0x45 };

    quote[9] = 6;
    memcpy(quote + 12, (uint8_t[]){ 10, 0, 0, 1, 10, 0, 0, 2 }, 8);
    put16(quote + 20, t->our_port);
    put16(quote + 22, PEER_PORT);
    put32(quote + 24, t->our_iss + seq);
    frame_eth(f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(f, GATEWAY, US, 1, NULL, 0);
    frame_icmp(f, 3, 4, mtu, quote, sizeof(quote));
    frame_done(f);
}

static void a_narrow_path_lowers_the_mss(void **state)
{
    struct peer t;
    struct frame f;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 2 * MSS);
    skip_all(&t);
    too_big(&t, &f, 1000, 1 + 3 * MSS); /* not in flight: a guess */
    stack_rx(&t.stack, &f);
    peer_rx_none(&t);
    assert_int_equal(tcp_mss(t.conn), MSS);
    too_big(&t, &f, 1000, 1);
    stack_rx(&t.stack, &f);
    assert_int_equal(tcp_mss(t.conn), 960);
    peer_rx(&t, "A", 1, 1, 960);
    peer_rx(&t, "A", 961, 1, 500);
    skip_all(&t);
    too_big(&t, &f, 68, 1); /* an attacker's */
    stack_rx(&t.stack, &f);
    assert_int_equal(tcp_mss(t.conn), 512);
    too_big(&t, &f, 1400, 1); /* never up */
    stack_rx(&t.stack, &f);
    assert_int_equal(tcp_mss(t.conn), 512);
    peer_fini(&t);
}

static void slow_start_doubles_and_then_grows_by_one(void **state)
{
    struct peer t;
    struct tcp_conn_info info;

    peer_init(&t, &(struct tcp_conf){ .send_buf = 1 << 20 });
    t.wscale = 4;
    peer_accept(&t);
    peer_send(&t, 100 * MSS);
    skip_all(&t);
    for (uint32_t i = 2; i <= 10; i += 2)
        peer_tx(&t, "A", 1, 1 + i * MSS, 0);
    tcp_info(t.conn, &info);
    assert_int_equal(info.cwnd, 20 * MSS);
    peer_fini(&t);
}

static void without_packets_nothing_is_lost(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    t.mss = 100;
    peer_send(&t, 1000);
    t.stack.pool.max = t.stack.pool.n_out; /* no ACK can be built, but data in place can */
    peer_rx(&t, "PA", 1, 1, 1000);
    t.stack.pool.max = t.stack.pool.n_out + 1;
    tcp_quick_ack(t.conn, true);
    peer_tx(&t, "PA", 1, 1, 300); /* the ACK of this cannot */
    peer_rx_none(&t);
    assert_true(tcp_counters(t.tcp)->no_pkt > 0);
    t.stack.pool.max = 0;
    peer_tx(&t, "PA", 1, 1, 300); /* it comes again */
    peer_rx(&t, "A", 1001, 301, 0);
    peer_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_duplicate_acks_bring_the_segment_back),
        cmocka_unit_test(the_first_two_duplicates_let_new_data_out),
        cmocka_unit_test(segments_with_data_are_no_duplicate_acks),
        cmocka_unit_test(a_timeout_starts_again_from_one_segment_and_backs_off),
        cmocka_unit_test(an_ack_in_the_midst_of_a_retransmission_starts_at_the_end),
        cmocka_unit_test(only_the_last_echo_is_a_round_trip),
        cmocka_unit_test(too_many_timeouts_end_it),
        cmocka_unit_test(part_of_a_packet_may_be_acknowledged),
        cmocka_unit_test(a_packet_that_the_port_keeps_is_sent_again_as_a_copy),
        cmocka_unit_test(what_the_port_has_sent_is_sent_again_in_place),
        cmocka_unit_test(little_packets_go_out_as_one),
        cmocka_unit_test(a_packet_too_long_is_cut),
        cmocka_unit_test(a_narrow_path_lowers_the_mss),
        cmocka_unit_test(slow_start_doubles_and_then_grows_by_one),
        cmocka_unit_test(without_packets_nothing_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
