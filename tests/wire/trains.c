/* Segments that leave, or come in, as one packet: nobody on the wire can tell. */
#include "dataplane/base/bytes.h"
#include "tests/lib/peer.h"
#include "tests/lib/wire.h"

#define MS UINT64_C(1000)
#define SEC UINT64_C(1000000)

struct end {
    struct tcp_conn *conn;
    struct pkt_pool *pool;
    uint64_t left, sent, got;
    uint8_t first; /* of the bytes it sends */
};

struct world {
    struct wire wire;
    struct end ends[2];
    uint64_t hash; /* of every frame that leaves, and when */
    uint64_t n_frames;
};

static uint8_t byte_at(uint8_t first, uint64_t at)
{
    return (uint8_t)(first + at * 7 + (at >> 8));
}

static void on_closed(struct tcp_conn *c, int why)
{
    struct end *e = tcp_owner(c);

    e->conn = NULL;
}

/* Whole segments mostly, a shorter one now and then. */
static void send_more(struct tcp_conn *c)
{
    struct end *e = tcp_owner(c);
    struct pktq q;

    pktq_init(&q);
    for (uint32_t room = tcp_send_room(c); room > 0 && e->left > 0;) {
        const uint32_t most = e->sent % 11 == 0 ? 900 : tcp_mss(c);
        const uint32_t part = (uint32_t)MIN(MIN(room, most), e->left);
        struct pkt *p = pkt_alloc(e->pool);
        uint8_t *at = pkt_put(p, part);

        for (uint32_t i = 0; i < part; i++)
            at[i] = byte_at(e->first, e->sent + i);
        pktq_push(&q, p);
        room -= part;
        e->sent += part;
        e->left -= part;
    }
    if (q.bytes > 0)
        assert_int_equal(tcp_send(c, &q), 0);
    if (e->left == 0)
        tcp_shutdown(c);
}

static void on_readable(struct tcp_conn *c)
{
    struct end *e = tcp_owner(c);
    const uint8_t first = e->first ^ 0x80;
    struct pktq q;
    struct pkt *p;

    pktq_init(&q);
    tcp_recv(c, &q, UINT64_MAX);
    while ((p = pktq_pop(&q)) != NULL) {
        for (uint32_t i = 0; i < p->len; i++)
            assert_int_equal(p->data[i], byte_at(first, e->got + i));
        e->got += p->len;
        pkt_free(p);
    }
}

static const struct tcp_ops ops = { .on_open = send_more,
                                    .on_readable = on_readable,
                                    .on_writable = send_more,
                                    .on_closed = on_closed };

static const struct tcp_ops *accept_one(void *ctx, struct tcp_conn *c, void **owner)
{
    struct world *w = ctx;

    w->ends[1].conn = c;
    *owner = &w->ends[1];
    return &ops;
}

/* Owners of accepted connections hear of nothing before there is something to read. */
static uint64_t start_server(struct wire_node *n, void *ctx)
{
    struct world *w = ctx;

    if (w->ends[1].conn == NULL)
        return n->core.now_us + 100;
    send_more(w->ends[1].conn);
    n->turn = NULL;
    return UINT64_MAX;
}

static bool note(struct wire *wire, unsigned from, const uint8_t *frame, uint32_t len, void *ctx)
{
    struct world *w = ctx;

    w->n_frames++;
    w->hash = hash_mix(w->hash ^ wire->now_us ^ (uint64_t)from << 60);
    for (uint32_t i = 0; i < len; i++)
        w->hash = w->hash * 31 + frame[i];
    return true;
}

static void start(struct world *w, const struct wire_conf *conf, uint64_t bytes)
{
    const struct ipport any = { .port = 80 };
    struct ipport remote;
    int err;

    memset(w, 0, sizeof(*w));
    wire_init(&w->wire, conf);
    w->wire.filter = note;
    w->wire.filter_ctx = w;
    for (unsigned i = 0; i < 2; i++)
        w->ends[i] = (struct end){ .pool = &w->wire.nodes[i].pool.pool,
                                   .left = bytes,
                                   .first = (uint8_t)(3 | i << 7) };
    remote = (struct ipport){ w->wire.nodes[1].addr, 80 };
    assert_non_null(tcp_listen(w->wire.nodes[1].tcp, &any, accept_one, w));
    w->ends[0].conn =
        tcp_connect(w->wire.nodes[0].tcp, &remote, NULL, NULL, &ops, &w->ends[0], &err);
    assert_non_null(w->ends[0].conn);
    w->wire.nodes[1].turn = start_server;
    w->wire.nodes[1].ctx = w;
    w->wire.nodes[1].next_turn_us = 0;
}

static void run(struct world *w, const struct wire_conf *conf, uint64_t bytes)
{
    start(w, conf, bytes);
    wire_run(&w->wire, 600 * SEC);
    assert_null(w->ends[0].conn);
    assert_null(w->ends[1].conn);
    assert_int_equal(w->ends[0].got, bytes);
    assert_int_equal(w->ends[1].got, bytes);
    wire_fini(&w->wire);
}

static struct wire_conf a_link(uint64_t seed)
{
    const uint64_t bits = hash_mix(seed);
    struct wire_conf conf = { .seed = seed,
                              .delay_us = (bits & 1) != 0 ? 20 * MS : 200,
                              .vlan = (bits & 2) != 0 ? 7 : 0,
                              .rate_bps = (bits & 4) != 0 ? 50000000 : 0,
                              .mtu = { 1500, (uint16_t)(576 + bits % 925) } };

    for (unsigned i = 0; i < 2; i++) {
        const uint64_t mine = bits >> (8 + 8 * i);

        conf.offload[i] = (mine & 1) != 0;
        conf.tcp[i] = (struct tcp_conf){ .ecn = (mine & 2) != 0,
                                         .pacing = (mine & 4) != 0,
                                         .no_timestamps = (mine & 8) != 0,
                                         .no_sack = (mine & 16) != 0,
                                         .recv_buf = 200000,
                                         .send_buf = 300000,
                                         .send_buf_max = 300000,
                                         .max_half_open = 16 };
    }
    return conf;
}

static void make_it_bad(struct wire_conf *conf, uint64_t seed)
{
    const uint64_t bits = hash_mix(~seed);

    conf->loss = (bits & 1) != 0 ? 20000 : 0;
    conf->dup = (bits & 2) != 0 ? 10000 : 0;
    conf->reorder = (bits & 4) != 0 ? 50000 : 0;
    conf->reorder_us = 3 * MS;
    conf->corrupt = (bits & 8) != 0 ? 5000 : 0;
    conf->mark = (bits & 16) != 0 ? 50000 : 0;
    conf->ack_loss = (bits & 32) != 0 ? 50000 : 0;
    conf->hold_us = (bits & 64) != 0 ? 50 * MS : 0;
    if ((bits & 128) != 0) {
        conf->path_mtu = 700;
        conf->path_mtu_at_us = 1 * SEC + 100 * MS;
    }
}

static void no_frame_differs(const struct wire_conf *conf, uint64_t bytes, uint64_t *n_trains)
{
    static struct world without, with;

    run(&without, conf, bytes);
    for (unsigned way = 0; way < 4; way++) {
        struct wire_conf trains = *conf;

        for (unsigned i = 0; i < 2; i++) {
            trains.train_max[i] = way == 2 ? 5 : PKT_TRAIN_MAX;
            trains.tso[i] = way == 1;
            trains.whole[i] = way == 3;
        }
        run(&with, &trains, bytes);
        assert_int_equal(with.n_frames, without.n_frames);
        assert_true(with.hash == without.hash);
        *n_trains += with.wire.nodes[0].n_trains + with.wire.nodes[1].n_trains;
    }
}

static void what_leaves_is_the_same_without_trains(void **state)
{
    uint64_t n_trains = 0;

    for (uint64_t seed = 1; seed <= 30; seed++) {
        const struct wire_conf conf = a_link(seed);

        no_frame_differs(&conf, 150000 + seed, &n_trains);
    }
    assert_true(n_trains > 1000);
}

static void and_so_it_is_on_a_bad_link(void **state)
{
    uint64_t n_trains = 0;

    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct wire_conf conf = a_link(seed);

        make_it_bad(&conf, seed);
        no_frame_differs(&conf, 100000 + seed, &n_trains);
    }
    assert_true(n_trains > 1000);
}

static void answers_are_the_same(bool by_port)
{
    static struct world without, with;
    uint64_t trains_in = 0;

    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct wire_conf conf = a_link(seed);

        conf.offload[0] = conf.offload[0] || by_port;
        conf.offload[1] = conf.offload[1] || by_port;
        run(&without, &conf, 150000 + seed);
        conf.merge[0] = conf.merge[1] = true;
        conf.lro[0] = conf.lro[1] = by_port;
        start(&with, &conf, 150000 + seed);
        wire_run(&with.wire, 600 * SEC);
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(with.ends[i].got, 150000 + seed);
            trains_in += tcp_counters(with.wire.nodes[i].tcp)->trains_in;
        }
        wire_fini(&with.wire);
        assert_int_equal(with.n_frames, without.n_frames);
        assert_true(with.hash == without.hash);
    }
    assert_true(trains_in > 300);
}

static void what_is_merged_is_answered_alike(void **state)
{
    answers_are_the_same(false);
}

static void so_is_what_the_port_has_merged(void **state)
{
    answers_are_the_same(true);
}

/* ---- two holders: TCP until the ACK, the port until it has sent */

static void bytes_stay_until_they_are_acknowledged_and_the_port_has_let_go(void **state)
{
    for (unsigned way = 0; way < 3; way++) {
        static struct world w;
        struct wire_conf conf = { .seed = 1, .delay_us = 100, .hold_us = 2 * SEC };
        struct tcp_conn_info info;

        conf.train_max[0] = PKT_TRAIN_MAX;
        conf.tso[0] = way == 1;
        conf.whole[0] = way == 2;
        start(&w, &conf, 30000);
        wire_run(&w.wire, 20 * MS);
        assert_true(w.wire.nodes[0].n_trains > 0);
        assert_int_equal(w.ends[1].got, 30000);
        if (w.ends[0].conn != NULL) {
            tcp_info(w.ends[0].conn, &info);
            assert_int_equal(info.unacked, 0); /* TCP has none of them any more, */
        }
        assert_true(w.wire.nodes[0].pool.n_out >= 20); /* but the port has, */
        wire_run(&w.wire, 3 * SEC);                    /* which looks at each when it is done */
        assert_int_equal(w.wire.nodes[0].pool.n_out, 0);
        wire_fini(&w.wire);
    }
}

/* The other way round: what the port has still is sent again as a copy. */
static void what_the_port_still_has_is_sent_again_as_a_copy(void **state)
{
    static struct world w;
    struct wire_conf conf = { .seed = 3, .delay_us = 100, .hold_us = 2 * SEC, .loss = 100000 };

    conf.train_max[0] = conf.train_max[1] = PKT_TRAIN_MAX;
    run(&w, &conf, 200000);
    assert_true(w.wire.nodes[0].n_trains > 0);
}

/* ---- what is in a train */

static void a_train_is_no_longer_than_the_port_takes(void **state)
{
    static struct world w;
    struct wire_conf conf = { .seed = 1, .delay_us = 100 };
    const struct tcp_counters *c;

    conf.train_max[0] = 4;
    start(&w, &conf, 400000);
    wire_run(&w.wire, 10 * SEC);
    c = tcp_counters(w.wire.nodes[0].tcp);
    assert_true(c->trains_out > 50);
    assert_true(c->train_segs_out <= 4 * c->trains_out);
    assert_true(c->train_segs_out > 2 * c->trains_out);
    wire_fini(&w.wire);
}

static void a_port_that_takes_none_gets_none(void **state)
{
    static struct world w;
    const struct wire_conf conf = { .seed = 1, .delay_us = 100, .train_max = { 1, 0 } };

    start(&w, &conf, 100000);
    wire_run(&w.wire, 10 * SEC);
    assert_int_equal(tcp_counters(w.wire.nodes[0].tcp)->trains_out, 0);
    assert_int_equal(tcp_counters(w.wire.nodes[1].tcp)->trains_out, 0);
    wire_fini(&w.wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_leaves_is_the_same_without_trains),
        cmocka_unit_test(and_so_it_is_on_a_bad_link),
        cmocka_unit_test(what_is_merged_is_answered_alike),
        cmocka_unit_test(so_is_what_the_port_has_merged),
        cmocka_unit_test(bytes_stay_until_they_are_acknowledged_and_the_port_has_let_go),
        cmocka_unit_test(what_the_port_still_has_is_sent_again_as_a_copy),
        cmocka_unit_test(a_train_is_no_longer_than_the_port_takes),
        cmocka_unit_test(a_port_that_takes_none_gets_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
