/* Connections on which nothing happens, and what wakes them. */
#include "dataplane/tcp/rfc4898.h"
#include "dataplane/tcp/tcp_conn.h"
#include "tests/lib/peer.h"

#include <errno.h>

#define SEC UINT64_C(1000000)

static struct tcp_parked *try_to_park(struct peer *t)
{
    struct tcp_parked *p = tcp_park(t->conn, &peer_ops, t);

    if (p != NULL)
        t->conn = NULL;
    return p;
}

static struct tcp_parked *park(struct peer *t)
{
    struct tcp_parked *p = try_to_park(t);

    assert_non_null(p);
    assert_int_equal(t->tcp->conns.in_use, 0);
    assert_int_equal(tcp_n_parked(t->tcp), 1);
    assert_int_equal(tcp_n_conns(t->tcp), 1);
    return p;
}

/* A request of 100 bytes, which may be acknowledged first, and a response of as many. */
static void request(struct peer *t, uint32_t seq, uint32_t ack)
{
    struct frame_tcp s;

    peer_tx(t, "PA", seq, ack, 100);
    assert_int_equal(peer_recv(t), 100);
    peer_send(t, 100);
    do
        s = peer_rx_any(t);
    while (s.len == 0);
    assert_int_equal(s.seq - t->our_iss, ack);
    assert_int_equal(s.len, 100);
    peer_tx(t, "A", seq + 100, ack + 100, 0);
    peer_rx_none(t);
}

static void begin(struct peer *t, const struct tcp_conf *conf)
{
    peer_init(t, conf);
    peer_accept(t);
    request(t, 1, 1);
    peer_events(t, "readable");
}

static void data_wakes_it_and_is_answered_as_ever(void **state)
{
    struct peer t;

    begin(&t, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        peer_run(&t, 20 * SEC);
        park(&t);
        assert_int_equal(t.tcp->flights.in_use + t.tcp->estats.in_use, 0);
        peer_run(&t, 100 * SEC);
        request(&t, 101 + 100 * i, 101 + 100 * i);
        peer_events(&t, "woken readable");
        assert_int_equal(tcp_n_parked(t.tcp), 0);
    }
    assert_int_equal(tcp_counters(t.tcp)->parked, 3);
    assert_int_equal(tcp_counters(t.tcp)->woken, 3);
    peer_fini(&t);
}

static void one_that_never_carried_data_is_parked_too(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    park(&t);
    assert_int_equal(t.tcp->rests[0].in_use, 0);
    request(&t, 1, 1);
    peer_events(&t, "woken readable");
    peer_fini(&t);
}

/* Looking at it, and waking it, shows the same numbers as before. */
static void nothing_that_is_told_of_it_changes(void **state)
{
    struct tcp_estats_info before, after;
    struct tcp_conn_info was, is;
    struct tcp_parked *p;
    struct peer t;

    peer_init(&t, NULL);
    t.ts = true;
    t.tsval = 7000;
    t.wscale = 9;
    peer_accept(&t);
    t.tsval++;
    request(&t, 1, 1);
    peer_run(&t, 100000);
    tcp_flight_put(t.conn); /* without which there is no rate to tell */
    tcp_info(t.conn, &was);
    tcp_estats(t.conn, &before);
    p = park(&t);
    for (unsigned i = 0; i < 2; i++) {
        const struct tcp_conn *c = i == 0 ? tcp_parked_look(p) : tcp_unpark(p);

        tcp_info(c, &is);
        tcp_estats(c, &after);
        assert_memory_equal(&is, &was, sizeof(is));
        assert_memory_equal(&after, &before, sizeof(after));
    }
    peer_fini(&t);
}

static void its_owner_may_wake_it_to_speak(void **state)
{
    struct peer t;

    begin(&t, NULL);
    t.conn = tcp_unpark(park(&t));
    peer_events(&t, "");
    peer_send(&t, 10);
    peer_rx(&t, "PA", 101, 101, 10);
    peer_tx(&t, "A", 101, 111, 0);
    tcp_shutdown(t.conn);
    peer_rx(&t, "FA", 111, 101, 0);
    peer_fini(&t);
}

static void a_fin_wakes_it(void **state)
{
    struct peer t;

    begin(&t, NULL);
    park(&t);
    peer_tx(&t, "FA", 101, 101, 0);
    peer_events(&t, "woken peer_closed");
    peer_rx(&t, "A", 101, 102, 0);
    tcp_shutdown(t.conn);
    peer_rx(&t, "FA", 101, 102, 0);
    peer_tx(&t, "A", 102, 102, 0);
    peer_rx_none(&t);
    peer_events(&t, "closed");
    peer_fini(&t);
}

static void a_reset_ends_it(void **state)
{
    struct peer t;

    begin(&t, NULL);
    park(&t);
    peer_tx(&t, "R", 101, 0, 0);
    peer_events(&t, "woken failed");
    assert_int_equal(t.why, -ECONNRESET);
    assert_int_equal(tcp_n_conns(t.tcp), 0);
    peer_fini(&t);
}

/* What is told by RFC 5961 is told by one that was parked: no more, and no less. */
static void blind_attacks_are_challenged(void **state)
{
    static const struct {
        const char *flags;
        uint32_t seq;
    } attacks[] = { { "R", 150 }, { "S", 7 }, { "S", 101 } };
    struct peer t;

    begin(&t, NULL);
    for (unsigned i = 0; i < ARRAY_SIZE(attacks); i++) {
        peer_run(&t, 10 * SEC);
        park(&t);
        peer_tx(&t, attacks[i].flags, attacks[i].seq, 0, 0);
        peer_rx(&t, "A", 101, 101, 0);
        peer_events(&t, "woken");
        assert_null(try_to_park(&t)); /* and ten more? */
    }
    peer_fini(&t);
}

static void an_old_segment_is_acknowledged_and_no_more(void **state)
{
    struct peer t;

    begin(&t, NULL);
    park(&t);
    peer_tx(&t, "PA", 1, 1, 100);
    peer_rx(&t, "A", 101, 101, 0);
    peer_events(&t, "woken");
    assert_int_equal(peer_recv(&t), 0);
    peer_fini(&t);
}

static void what_comes_out_of_order_waits_for_the_rest(void **state)
{
    struct peer t;

    begin(&t, NULL);
    park(&t);
    peer_tx(&t, "PA", 151, 101, 50);
    peer_rx(&t, "A", 101, 101, 0);
    peer_events(&t, "woken");
    assert_null(try_to_park(&t));
    peer_tx(&t, "PA", 101, 101, 50);
    peer_events(&t, "readable");
    assert_int_equal(peer_recv(&t), 100);
    peer_fini(&t);
}

static void the_window_that_the_peer_told_last_is_kept(void **state)
{
    struct peer t;

    begin(&t, NULL);
    t.wnd = 20;
    peer_tx(&t, "A", 101, 101, 0);
    t.conn = tcp_unpark(park(&t));
    peer_send(&t, 20);
    peer_rx(&t, "PA", 101, 101, 20);
    t.wnd = 30;
    peer_tx(&t, "A", 101, 121, 0);
    t.conn = tcp_unpark(park(&t));
    t.wnd = 9; /* older: before what was acknowledged */
    peer_tx(&t, "A", 101, 101, 0);
    peer_send(&t, 30);
    peer_rx(&t, "PA", 121, 101, 30);
    peer_fini(&t);
}

static void timestamps_go_on(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    t.ts = true;
    t.tsval = 1000;
    peer_accept(&t);
    t.tsval = 2000;
    request(&t, 1, 1);
    park(&t);
    t.tsval = 1999; /* of an earlier life */
    peer_tx(&t, "PA", 101, 101, 100);
    peer_rx(&t, "A", 101, 101, 0);
    peer_events(&t, "readable woken");
    assert_int_equal(tcp_counters(t.tcp)->paws_dropped, 1);
    peer_fini(&t);
}

static void keepalives_find_out_whether_the_peer_is_there(void **state)
{
    struct peer t;

    begin(&t, &(struct tcp_conf){ .keepalive_us = 100 * SEC });
    park(&t);
    peer_run(&t, 99 * SEC);
    peer_rx_none(&t);
    peer_run(&t, 2 * SEC);
    peer_rx(&t, "A", 100, 101, 0);
    peer_events(&t, "woken");
    assert_null(try_to_park(&t)); /* the answer is to come */
    peer_tx(&t, "A", 101, 101, 0);
    park(&t);
    peer_run(&t, 99 * SEC);
    peer_rx_none(&t);
    peer_run(&t, 1000 * SEC);
    peer_events(&t, "woken failed");
    assert_int_equal(t.why, -ETIMEDOUT);
    peer_fini(&t);
}

static void nothing_is_parked_that_waits_for_something(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .keepalive_us = UINT64_MAX });
    peer_accept(&t);
    peer_tx(&t, "PA", 1, 1, 10);
    assert_null(try_to_park(&t)); /* unread */
    assert_int_equal(peer_recv(&t), 10);
    peer_rx(&t, "A", 1, 11, 0);
    peer_send(&t, 10);
    assert_null(try_to_park(&t)); /* queued */
    peer_rx(&t, "PA", 1, 11, 10);
    assert_null(try_to_park(&t)); /* in flight */
    peer_tx(&t, "A", 11, 11, 0);
    tcp_quick_ack(t.conn, false);
    peer_tx(&t, "PA", 11, 11, 10);
    assert_int_equal(peer_recv(&t), 10);
    assert_null(try_to_park(&t)); /* an ACK is owed */
    peer_run(&t, SEC);
    peer_rx(&t, "A", 11, 21, 0);
    peer_tx(&t, "FA", 21, 11, 0);
    peer_rx(&t, "A", 11, 22, 0);
    assert_null(try_to_park(&t)); /* half closed */
    peer_fini(&t);
}

static bool parks_in_event;

static void park_in_event(struct peer *t, const char *event)
{
    parks_in_event = tcp_park(t->conn, &peer_ops, t) != NULL;
}

static void nobody_is_parked_from_within_an_event(void **state)
{
    struct peer t;

    begin(&t, NULL);
    park(&t);
    t.hook = park_in_event;
    parks_in_event = true;
    peer_tx(&t, "A", 101, 101, 0);
    assert_false(parks_in_event);
    t.hook = NULL;
    peer_fini(&t);
}

static void abort_it(struct peer *t, const char *event)
{
    tcp_abort(t->conn);
    t->conn = NULL;
}

/* One that has no memory for what belongs to it, say. */
static void its_owner_may_let_go_when_it_wakes(void **state)
{
    struct peer t;

    begin(&t, NULL);
    park(&t);
    t.hook = abort_it;
    peer_tx(&t, "PA", 101, 101, 100);
    peer_rx(&t, "RA", 101, 101, 0);
    peer_events(&t, "woken");
    assert_int_equal(tcp_n_conns(t.tcp), 0);
    t.hook = NULL;
    peer_fini(&t);
}

/* So none of them finds its place taken. */
static void a_parked_one_counts_as_a_connection(void **state)
{
    struct peer t;
    uint32_t iss;

    begin(&t, &(struct tcp_conf){ .max_conns = 1 });
    park(&t);
    iss = t.our_iss;
    t.their_port++;
    peer_tx(&t, "S", 0, 0, 0);
    t.our_iss = peer_rx_any(&t).seq;
    peer_tx(&t, "A", 1, 1, 0);
    assert_int_equal(tcp_counters(t.tcp)->no_conn, 1);
    assert_int_equal(tcp_n_conns(t.tcp), 1);
    while (t.stack.at < t.stack.n_out)
        peer_rx_any(&t);
    t.our_iss = iss;
    t.their_port--;
    request(&t, 101, 101);
    peer_events(&t, "woken readable");
    peer_fini(&t);
}

static void its_port_is_in_use(void **state)
{
    const struct ipport here = { .port = OUR_PORT }, elsewhere = { .port = OUR_PORT + 1 };
    struct peer t;

    begin(&t, NULL);
    park(&t);
    assert_true(tcp_port_in_use(t.tcp, &here));
    assert_false(tcp_port_in_use(t.tcp, &elsewhere));
    peer_fini(&t);
}

static void count_log(const struct tcp_log *log, const struct tcp_log_pieces *records, void *ctx)
{
    assert_int_equal(log->remote.port, PEER_PORT);
    *(uint32_t *)ctx += records->n[0] + records->n[1];
}

static uint32_t n_records(const struct peer *t)
{
    uint32_t at = 0, n = 0;

    while (tcp_logs_each(t->tcp, &at, 1, count_log, &n))
        continue;
    return n;
}

static void its_recorder_stays_with_it(void **state)
{
    struct peer t;
    uint32_t n;

    begin(&t, &(struct tcp_conf){ .recorders = 1 });
    n = n_records(&t);
    assert_true(n > 0);
    park(&t);
    assert_int_equal(n_records(&t), n);
    request(&t, 101, 101);
    assert_true(n_records(&t) > n);
    tcp_abort(tcp_unpark(park(&t)));
    assert_int_equal(n_records(&t), 0);
    peer_fini(&t);
}

static void an_error_of_the_network_is_about_nothing_in_flight(void **state)
{
    struct peer t;

    begin(&t, NULL);
    park(&t);
    tcp_icmp_error(t.tcp, &(struct ipport){ ipaddr_v4(US), OUR_PORT },
                   &(struct ipport){ ipaddr_v4(PEER), PEER_PORT }, -EMSGSIZE, 600,
                   (const uint8_t[8]){ 0 });
    peer_events(&t, "");
    assert_int_equal(tcp_n_parked(t.tcp), 1);
    peer_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_wakes_it_and_is_answered_as_ever),
        cmocka_unit_test(one_that_never_carried_data_is_parked_too),
        cmocka_unit_test(nothing_that_is_told_of_it_changes),
        cmocka_unit_test(its_owner_may_wake_it_to_speak),
        cmocka_unit_test(a_fin_wakes_it),
        cmocka_unit_test(a_reset_ends_it),
        cmocka_unit_test(blind_attacks_are_challenged),
        cmocka_unit_test(an_old_segment_is_acknowledged_and_no_more),
        cmocka_unit_test(what_comes_out_of_order_waits_for_the_rest),
        cmocka_unit_test(the_window_that_the_peer_told_last_is_kept),
        cmocka_unit_test(timestamps_go_on),
        cmocka_unit_test(keepalives_find_out_whether_the_peer_is_there),
        cmocka_unit_test(nothing_is_parked_that_waits_for_something),
        cmocka_unit_test(nobody_is_parked_from_within_an_event),
        cmocka_unit_test(its_owner_may_let_go_when_it_wakes),
        cmocka_unit_test(a_parked_one_counts_as_a_connection),
        cmocka_unit_test(its_port_is_in_use),
        cmocka_unit_test(its_recorder_stays_with_it),
        cmocka_unit_test(an_error_of_the_network_is_about_nothing_in_flight),
    };

    return cmocka_run_group_tests_name("park", tests, NULL, NULL);
}
