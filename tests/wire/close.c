#include "tests/lib/peer.h"

#include <errno.h>

#define SEC UINT64_C(1000000)

static const char *state_of(struct peer *t)
{
    struct tcp_conn_info info;

    tcp_info(t->conn, &info);
    return info.state;
}

static void we_close_first(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    tcp_shutdown(t.conn);
    tcp_shutdown(t.conn);
    peer_rx(&t, "FA", 1, 1, 0);
    assert_string_equal(state_of(&t), "FIN_WAIT_1");
    peer_tx(&t, "A", 1, 2, 0);
    assert_string_equal(state_of(&t), "FIN_WAIT_2");
    peer_tx(&t, "FA", 1, 2, 0);
    peer_rx(&t, "A", 2, 2, 0);
    peer_events(&t, "peer_closed closed");
    assert_int_equal(tcp_n_conns(t.tcp), 0);
    assert_int_equal(tcp_n_time_wait(t.tcp), 1);
    peer_run(&t, 61 * SEC);
    assert_int_equal(tcp_n_time_wait(t.tcp), 0);
    peer_fini(&t);
}

static void they_close_first(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_tx(&t, "FA", 1, 1, 0);
    peer_rx(&t, "A", 1, 2, 0);
    peer_events(&t, "peer_closed");
    assert_string_equal(state_of(&t), "CLOSE_WAIT");
    peer_send(&t, 10); /* half of it is still open */
    peer_rx(&t, "PA", 1, 2, 10);
    peer_tx(&t, "A", 2, 11, 0);
    tcp_shutdown(t.conn);
    peer_rx(&t, "FA", 11, 2, 0);
    assert_string_equal(state_of(&t), "LAST_ACK");
    peer_tx(&t, "A", 2, 12, 0);
    peer_events(&t, "closed");
    assert_int_equal(tcp_n_time_wait(t.tcp), 0);
    peer_fini(&t);
}

static void both_close_at_once(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    tcp_shutdown(t.conn);
    peer_rx(&t, "FA", 1, 1, 0);
    peer_tx(&t, "FA", 1, 1, 0);
    peer_rx(&t, "A", 2, 2, 0);
    assert_string_equal(state_of(&t), "CLOSING");
    peer_tx(&t, "A", 2, 2, 0);
    peer_events(&t, "peer_closed closed");
    assert_int_equal(tcp_n_time_wait(t.tcp), 1);
    peer_fini(&t);
}

static void a_fin_that_acknowledges_ours_ends_it_at_once(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    tcp_shutdown(t.conn);
    peer_rx(&t, "FA", 1, 1, 0);
    peer_tx(&t, "FA", 1, 2, 0);
    peer_rx(&t, "A", 2, 2, 0);
    peer_events(&t, "peer_closed closed");
    assert_int_equal(tcp_n_time_wait(t.tcp), 1);
    peer_fini(&t);
}

static void data_flows_to_the_half_that_is_open(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    tcp_shutdown(t.conn);
    peer_rx(&t, "FA", 1, 1, 0);
    peer_tx(&t, "A", 1, 2, 0);
    peer_run(&t, 1000 * SEC); /* as long as it takes */
    peer_tx(&t, "PA", 1, 2, 100);
    peer_rx(&t, "A", 2, 101, 0);
    peer_events(&t, "readable");
    assert_int_equal(peer_recv(&t), 100);
    assert_int_equal(tcp_send(t.conn, &(struct pktq){ .tail = NULL }), -EPIPE);
    peer_tx(&t, "FA", 101, 2, 0);
    peer_events(&t, "peer_closed closed");
    peer_fini(&t);
}

static void the_end_waits_until_everything_is_read(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    tcp_shutdown(t.conn);
    peer_rx(&t, "FA", 1, 1, 0);
    peer_tx(&t, "FPA", 1, 2, 100);
    peer_rx(&t, "A", 2, 102, 0);
    peer_events(&t, "readable peer_closed");
    assert_int_equal(tcp_n_time_wait(t.tcp), 1);
    peer_run(&t, 100 * SEC);
    peer_events(&t, "");
    assert_string_equal(state_of(&t), "CLOSED");
    assert_false(tcp_recv_eof(t.conn));
    assert_int_equal(peer_recv(&t), 100);
    assert_true(tcp_recv_eof(t.conn));
    peer_events(&t, ""); /* never from within a call of the owner */
    stack_flush(&t.stack);
    peer_events(&t, "closed");
    peer_fini(&t);
}

static void a_fin_ahead_of_its_data_waits(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_tx(&t, "FA", 101, 1, 0);
    peer_rx(&t, "A", 1, 1, 0);
    peer_events(&t, "");
    peer_tx(&t, "PA", 51, 1, 50);
    peer_rx(&t, "A", 1, 1, 0);
    peer_tx(&t, "PA", 1, 1, 50);
    peer_rx(&t, "A", 1, 102, 0);
    peer_events(&t, "readable peer_closed");
    assert_int_equal(peer_recv(&t), 100);
    peer_fini(&t);
}

static void nothing_follows_a_fin(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_tx(&t, "FA", 11, 1, 0);
    peer_rx(&t, "A", 1, 1, 0);
    peer_tx(&t, "PA", 1, 1, 50); /* contradicts itself: the first FIN counts */
    peer_rx(&t, "A", 1, 12, 0);
    assert_int_equal(peer_recv(&t), 10);
    assert_true(tcp_recv_eof(t.conn));
    peer_tx(&t, "PA", 12, 1, 50);
    peer_rx_none(&t);
    assert_int_equal(tcp_recv_waiting(t.conn), 0);
    peer_fini(&t);
}

static void a_fin_is_sent_again(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 10);
    tcp_shutdown(t.conn);
    peer_rx(&t, "FPA", 1, 1, 10);
    peer_tx(&t, "A", 1, 11, 0); /* without the FIN */
    peer_run(&t, 3 * SEC);
    peer_rx(&t, "FA", 11, 1, 0);
    peer_fini(&t);
}

static void abort_resets_at_once(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 10);
    tcp_abort(t.conn);
    peer_rx(&t, "RA", 1, 1, 0);
    assert_int_equal(tcp_n_conns(t.tcp), 0);
    peer_tx(&t, "PA", 1, 1, 10);
    peer_rx(&t, "R", 1, 0, 0);
    peer_events(&t, "");
    peer_fini(&t);
}

static void release_delivers_what_is_queued(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_send(&t, 3000);
    tcp_release(t.conn, 60 * SEC);
    peer_rx(&t, "A", 1, 1, 1460);
    peer_rx(&t, "A", 1461, 1, 1460);
    peer_rx(&t, "FPA", 2921, 1, 80);
    peer_tx(&t, "FA", 1, 3002, 0);
    peer_rx(&t, "A", 3002, 2, 0);
    assert_int_equal(tcp_n_conns(t.tcp), 0);
    assert_int_equal(tcp_n_time_wait(t.tcp), 1);
    peer_events(&t, "");
    peer_fini(&t);
}

static void input_after_release_is_reset(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    tcp_release(t.conn, 60 * SEC);
    peer_rx(&t, "FA", 1, 1, 0);
    peer_tx(&t, "PA", 1, 2, 10);
    peer_rx(&t, "RA", 2, 1, 0);
    assert_int_equal(tcp_n_conns(t.tcp), 0);
    peer_fini(&t);
}

static void release_with_unread_input_resets(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_tx(&t, "PA", 1, 1, 10);
    peer_rx(&t, "A", 1, 11, 0);
    tcp_release(t.conn, 60 * SEC);
    peer_rx(&t, "RA", 1, 11, 0);
    assert_int_equal(tcp_n_conns(t.tcp), 0);
    peer_fini(&t);
}

static void lingering_ends(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    tcp_release(t.conn, 5 * SEC);
    peer_rx(&t, "FA", 1, 1, 0);
    peer_tx(&t, "A", 1, 2, 0);
    peer_run(&t, 4 * SEC);
    assert_int_equal(tcp_n_conns(t.tcp), 1);
    peer_run(&t, 2 * SEC);
    peer_rx(&t, "RA", 2, 1, 0);
    assert_int_equal(tcp_n_conns(t.tcp), 0);
    peer_fini(&t);
}

static void abort_now(struct peer *t, const char *event)
{
    if (t->conn != NULL)
        tcp_abort(t->conn);
    t->conn = NULL;
}

static void release_now(struct peer *t, const char *event)
{
    if (t->conn != NULL)
        tcp_release(t->conn, SEC);
    t->conn = NULL;
}

static void an_owner_may_go_away_in_any_event(void **state)
{
    static void (*const hooks[])(struct peer *, const char *) = { abort_now, release_now };

    for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
        for (unsigned event = 0; event < 4; event++) {
            struct peer t;

            peer_init(&t, &(struct tcp_conf){ .send_buf = 2000 });
            if (event == 0) {
                peer_connect(&t);
                t.hook = hooks[i];
                peer_tx(&t, "SA", 0, 1, 0);
                peer_events(&t, "open");
            } else {
                peer_accept(&t);
                t.hook = hooks[i];
                if (event == 1) {
                    peer_tx(&t, "FPA", 1, 1, 10);
                    peer_events(&t, "readable"); /* and not "peer_closed" */
                } else if (event == 2) {
                    peer_tx(&t, "FA", 1, 1, 0);
                    peer_events(&t, "peer_closed");
                } else {
                    peer_send(&t, 2000);
                    stack_flush(&t.stack);
                    peer_tx(&t, "A", 1, 2001, 0);
                    peer_events(&t, "writable");
                }
            }
            peer_run(&t, 2 * SEC);
            assert_int_equal(tcp_n_conns(t.tcp), 0);
            peer_fini(&t);
        }
    }
}

static void an_owner_may_abort_while_accepting(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    t.hook = abort_now;
    peer_tx(&t, "S", 0, 0, 0);
    t.our_iss = peer_rx_any(&t).seq;
    peer_tx(&t, "PA", 1, 1, 10);
    peer_rx(&t, "RA", 1, 1, 0);
    peer_events(&t, "accept");
    assert_int_equal(tcp_n_conns(t.tcp), 0);
    peer_fini(&t);
}

static void a_reset_drops_what_waits(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_tx(&t, "PA", 1, 1, 10);
    peer_events(&t, "readable");
    peer_tx(&t, "RA", 11, 1, 0);
    peer_events(&t, "failed");
    assert_int_equal(t.why, -ECONNRESET);
    peer_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(we_close_first),
        cmocka_unit_test(they_close_first),
        cmocka_unit_test(both_close_at_once),
        cmocka_unit_test(a_fin_that_acknowledges_ours_ends_it_at_once),
        cmocka_unit_test(data_flows_to_the_half_that_is_open),
        cmocka_unit_test(the_end_waits_until_everything_is_read),
        cmocka_unit_test(a_fin_ahead_of_its_data_waits),
        cmocka_unit_test(nothing_follows_a_fin),
        cmocka_unit_test(a_fin_is_sent_again),
        cmocka_unit_test(abort_resets_at_once),
        cmocka_unit_test(release_delivers_what_is_queued),
        cmocka_unit_test(input_after_release_is_reset),
        cmocka_unit_test(release_with_unread_input_resets),
        cmocka_unit_test(lingering_ends),
        cmocka_unit_test(an_owner_may_go_away_in_any_event),
        cmocka_unit_test(an_owner_may_abort_while_accepting),
        cmocka_unit_test(a_reset_drops_what_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
