/* How much memory a connection may hold, and when it may hold more. */
#include "tests/lib/peer.h"
#include "tests/lib/wire.h"

#define MS UINT64_C(1000)
#define SEC UINT64_C(1000000)
#define MSS 1460

/* ---- a bulk transfer between two stacks */

struct bulk {
    struct wire wire;
    struct tcp_conn *from, *to;
    uint64_t left, got;
    bool reads;
};

static void on_closed(struct tcp_conn *c, int why)
{
}

static void send_more(struct tcp_conn *c)
{
    struct bulk *b = tcp_owner(c);
    struct pkt_pool *pool = &b->wire.nodes[0].pool.pool;
    struct pktq q;

    pktq_init(&q);
    for (uint32_t room = tcp_send_room(c); room > 0 && b->left > 0;) {
        const uint32_t part = (uint32_t)MIN(MIN(room, tcp_mss(c)), b->left);
        struct pkt *p = pkt_alloc(pool);

        memset(pkt_put(p, part), 'x', part);
        pktq_push(&q, p);
        room -= part;
        b->left -= part;
    }
    if (!pktq_is_empty(&q))
        assert_int_equal(tcp_send(c, &q), 0);
}

static void on_readable(struct tcp_conn *c)
{
    struct bulk *b = tcp_owner(c);
    struct pktq q;

    if (!b->reads)
        return;
    pktq_init(&q);
    b->got += tcp_recv(c, &q, UINT64_MAX);
    pktq_clear(&q);
}

static const struct tcp_ops ops = { .on_open = send_more,
                                    .on_readable = on_readable,
                                    .on_writable = send_more,
                                    .on_closed = on_closed };

static const struct tcp_ops *accept_one(void *ctx, struct tcp_conn *c, void **owner)
{
    struct bulk *b = ctx;

    b->to = c;
    *owner = b;
    return &ops;
}

static void start(struct bulk *b, const struct wire_conf *conf, uint64_t bytes)
{
    const struct ipport any = { .port = 80 };
    struct ipport remote;
    int err;

    memset(b, 0, sizeof(*b));
    b->left = bytes;
    b->reads = true;
    wire_init(&b->wire, conf);
    remote = (struct ipport){ b->wire.nodes[1].addr, 80 };
    assert_non_null(tcp_listen(b->wire.nodes[1].tcp, &any, accept_one, b));
    b->from = tcp_connect(b->wire.nodes[0].tcp, &remote, NULL, NULL, &ops, b, &err);
    assert_non_null(b->from);
}

static struct wire_conf long_fat(void)
{
    struct wire_conf conf = { .seed = 1, .delay_us = 50 * MS, .mtu = { 1500, 1500 } };

    for (unsigned i = 0; i < 2; i++)
        conf.tcp[i] = (struct tcp_conf){ .recv_buf_max = 8 << 20, .send_buf_max = 8 << 20 };
    return conf;
}

static void a_reader_that_keeps_up_gets_a_larger_window(void **state)
{
    const struct wire_conf conf = long_fat();
    struct bulk b;
    struct tcp_conn_info info;

    start(&b, &conf, 64 << 20);
    wire_run(&b.wire, 4 * SEC); /* 64 KiB a round trip would be 2.5 MB */
    assert_true(b.got > 40 << 20);
    assert_true(tcp_counters(b.wire.nodes[1].tcp)->recv_grown > 3);
    tcp_info(b.to, &info);
    assert_in_range(info.rcv_wnd, 2 << 20, 8 << 20);
    wire_fini(&b.wire);
}

static void a_reader_that_stops_holds_what_it_has_promised(void **state)
{
    struct wire_conf conf = long_fat();
    struct bulk b;

    start(&b, &conf, 64 << 20);
    b.reads = false;
    wire_run(&b.wire, 4 * SEC);
    assert_int_equal(tcp_counters(b.wire.nodes[1].tcp)->recv_grown, 0);
    assert_in_range(tcp_recv_waiting(b.to), 60000, 65536);
    wire_fini(&b.wire);
}

static void buffers_grow_within_what_all_may_have(void **state)
{
    struct wire_conf conf = long_fat();
    struct bulk b;
    struct tcp_conn_info info;

    conf.tcp[1].recv_grow_max = 200000;
    start(&b, &conf, 64 << 20);
    wire_run(&b.wire, 4 * SEC);
    tcp_info(b.to, &info);
    assert_in_range(info.rcv_wnd, 100000, 265536);
    wire_fini(&b.wire);
}

static void what_is_not_sent_stays_small_however_large_the_window(void **state)
{
    struct wire_conf conf = long_fat();
    struct bulk b;
    struct tcp_conn_info info;

    conf.tcp[0].notsent_lowat = 65536;
    start(&b, &conf, 64 << 20);
    wire_run(&b.wire, 3 * SEC);
    b.reads = false;
    wire_run(&b.wire, 2 * SEC);
    tcp_info(b.from, &info);
    assert_int_equal(info.unacked, 0);
    assert_true(info.send_queue <= 65536 + MSS);
    wire_fini(&b.wire);
}

/* ---- small segments */

static void small_segments_do_not_pin_a_buffer_each(void **state)
{
    struct peer t;
    uint32_t at = 1;

    peer_init(&t, NULL);
    peer_accept(&t);
    for (unsigned i = 0; i < 200; i++, at += 300)
        peer_tx(&t, "A", at, 1, 300);
    t.stack.at = t.stack.n_out;
    assert_int_equal(tcp_recv_waiting(t.conn), 60000);
    assert_true(tcp_counters(t.tcp)->merged > 0);
    assert_true(t.stack.pool.n_out < 120);
    assert_int_equal(peer_recv(&t), 60000);
    peer_fini(&t);
}

static void out_of_order_packets_of_all_connections_are_bounded(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .ooo_pkts_all = 5 });
    peer_accept(&t);
    for (unsigned i = 0; i < 20; i++)
        peer_tx(&t, "A", 1001 + 200 * i, 1, 100);
    assert_int_equal(tcp_counters(t.tcp)->ooo_dropped, 15);
    peer_tx(&t, "A", 1, 1, 1000);
    assert_int_equal(peer_recv(&t), 1100); /* the nearest were kept */
    t.stack.at = t.stack.n_out;
    peer_fini(&t);
}

/* Bytes, whose ACK is of no interest. */
static void peer_tx_unheard(struct peer *t, uint32_t seq, uint32_t len)
{
    peer_tx(t, "A", seq, 1, len);
    t->stack.at = t->stack.n_out;
}

static void all_that_is_behind_one_loss_on_a_long_path_is_kept(void **state)
{
    const uint32_t n = 600;
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .recv_buf = 1 << 20, .recv_buf_max = 1 << 20 });
    t.wscale = 7;
    peer_accept(&t);
    for (uint32_t i = 1; i < n; i++)
        peer_tx_unheard(&t, 1 + i * MSS, MSS);
    assert_int_equal(tcp_counters(t.tcp)->ooo_dropped, 0);
    assert_int_equal(tcp_recv_waiting(t.conn), 0);
    peer_tx(&t, "A", 1, 1, MSS);
    assert_int_equal(peer_recv(&t), n * MSS);
    t.stack.at = t.stack.n_out;
    peer_fini(&t);
}

/* Others have much: what one may have is half of what is left, and a little in any case. */
static void one_connection_may_have_half_of_what_is_left(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .ooo_pkts_all = 100 });
    peer_accept(&t);
    for (uint32_t i = 0; i < 200; i++)
        peer_tx_unheard(&t, 3 + i * 300, 300);
    assert_int_equal(tcp_counters(t.tcp)->ooo_dropped, 150);
    peer_tx(&t, "A", 1, 1, 2);
    assert_int_equal(peer_recv(&t), 2 + 50 * 300);
    t.stack.at = t.stack.n_out;
    peer_fini(&t);
}

static void there_are_no_more_than_so_many_holes(void **state)
{
    const uint32_t runs = 128, len = 10;
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    for (uint32_t i = 0; i < runs + 20; i++)
        peer_tx_unheard(&t, 1 + (2 * i + 1) * len, len);
    assert_int_equal(tcp_counters(t.tcp)->ooo_dropped, 20);
    /* The next bytes are taken all the same, */
    peer_tx_unheard(&t, 1, len / 2);
    assert_int_equal(peer_recv(&t), len / 2);
    peer_tx_unheard(&t, 1 + len / 2, len / 2);
    assert_int_equal(peer_recv(&t), len / 2 + len);
    /* and so is what joins two runs, or goes on with one: from the middle out. */
    for (uint32_t i = runs / 2; i < runs; i++)
        peer_tx_unheard(&t, 1 + 2 * i * len, len);
    for (uint32_t i = runs / 2; i-- > 1;)
        peer_tx_unheard(&t, 1 + 2 * i * len, len);
    assert_int_equal(peer_recv(&t), 2 * (runs - 1) * len);
    assert_int_equal(tcp_counters(t.tcp)->ooo_dropped, 20);
    t.stack.at = t.stack.n_out;
    peer_fini(&t);
}

/* ---- a path that swallows large packets */

static void a_black_hole_is_left_by_smaller_segments(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 2 * MSS);
    peer_rx(&t, "A", 1, 1, MSS);
    peer_rx(&t, "PA", 1 + MSS, 1, MSS);
    peer_run(&t, 250 * MS);
    peer_rx(&t, "A", 1, 1, MSS);
    peer_run(&t, 450 * MS);
    peer_rx(&t, "A", 1, 1, MSS);
    peer_run(&t, 850 * MS);
    peer_rx(&t, "A", 1, 1, 1240); /* of an MTU of 1280 */
    assert_int_equal(tcp_counters(t.tcp)->black_holes, 1);
    assert_int_equal(net_counters(t.stack.net)->path_mtus, 0); /* it may have been bad luck */
    peer_tx(&t, "A", 1, 1241, 0);
    assert_int_equal(net_counters(t.stack.net)->path_mtus, 1);
    peer_rx(&t, "A", 1241, 1, MSS - 1240);
    peer_rx(&t, "A", 1 + MSS, 1, 1240);
    peer_fini(&t);
}

static void little_segments_are_not_lost_for_their_size(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 100);
    peer_run(&t, 10 * SEC);
    t.stack.at = t.stack.n_out;
    assert_int_equal(tcp_counters(t.tcp)->black_holes, 0);
    assert_int_equal(tcp_mss(t.conn), MSS);
    peer_fini(&t);
}

/* Bytes come in by and by, until so many wait; from then on only on_writable moves anything. */
#define WAITING_MAX 60000

struct trickle {
    struct bulk bulk; /* ->left of it is what waits */
    uint64_t to_come;
};

static uint64_t more_comes(struct wire_node *n, void *ctx)
{
    struct trickle *t = ctx;
    const uint64_t part = MIN(t->to_come, 3000);

    if (t->bulk.left + part > WAITING_MAX)
        return n->core.now_us + MS;
    t->bulk.left += part;
    t->to_come -= part;
    if (part > 0)
        send_more(t->bulk.from);
    return t->to_come > 0 ? n->core.now_us + MS : UINT64_MAX;
}

/*
 * A loss makes the window smaller, and with it what may be queued: who finds no room then must be
 * told when there is some, although there was plenty when he sent last.
 */
static void room_that_a_loss_has_taken_is_told_of_again(void **state)
{
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct wire_conf conf = { .seed = seed,
                                  .loss = 20000,
                                  .delay_us = 5 * MS,
                                  .reorder = 250000,
                                  .reorder_us = 8 * MS,
                                  .jitter_us = 5000,
                                  .burst = 1000,
                                  .burst_us = 3 * MS };
        struct trickle t;

        for (unsigned i = 0; i < 2; i++) {
            conf.mtu[i] = 1500;
            conf.tcp[i] = (struct tcp_conf){ .recv_buf_max = 1 << 20,
                                             .send_buf = 4 * MSS,
                                             .send_buf_max = 1 << 20 };
        }
        start(&t.bulk, &conf, 0);
        t.to_come = 4 << 20;
        wire_run(&t.bulk.wire, SEC);
        t.bulk.wire.nodes[0].turn = more_comes;
        t.bulk.wire.nodes[0].ctx = &t;
        t.bulk.wire.nodes[0].next_turn_us = 0;
        wire_run(&t.bulk.wire, 120 * SEC);
        assert_int_equal(t.bulk.got, 4 << 20);
        wire_fini(&t.bulk.wire);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_that_keeps_up_gets_a_larger_window),
        cmocka_unit_test(a_reader_that_stops_holds_what_it_has_promised),
        cmocka_unit_test(buffers_grow_within_what_all_may_have),
        cmocka_unit_test(what_is_not_sent_stays_small_however_large_the_window),
        cmocka_unit_test(small_segments_do_not_pin_a_buffer_each),
        cmocka_unit_test(out_of_order_packets_of_all_connections_are_bounded),
        cmocka_unit_test(all_that_is_behind_one_loss_on_a_long_path_is_kept),
        cmocka_unit_test(one_connection_may_have_half_of_what_is_left),
        cmocka_unit_test(there_are_no_more_than_so_many_holes),
        cmocka_unit_test(a_black_hole_is_left_by_smaller_segments),
        cmocka_unit_test(little_segments_are_not_lost_for_their_size),
        cmocka_unit_test(room_that_a_loss_has_taken_is_told_of_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
