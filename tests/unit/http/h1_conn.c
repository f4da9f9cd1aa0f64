#include "tests/lib/h1_log.h"
#include "tests/lib/test.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST5 "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"

static void give(struct h1_log *l, const char *bytes)
{
    h1_log_give(l, bytes, strlen(bytes));
}

static bool was_sent(const struct h1_log *l, const char *text)
{
    return strstr(l->sent, text) != NULL;
}

static void the_next_request_waits_for_the_response(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    l.answer_late = true;
    give(&l, GET("/1") GET("/2"));
    assert_string_equal(l.text, "GET a /1 .");
    assert_int_equal(l.in.bytes, strlen(GET("/2")));
    h1_log_answer(&l);
    assert_string_equal(l.text, "GET a /1 ."); /* no event from within the owner's call */
    h1_log_run(&l);
    assert_string_equal(l.text, "GET a /1 . ok; idle; GET a /2 .");
    assert_int_equal(http_counters(l.http)->requests, 2);
    h1_log_fini(&l);
}

static void an_early_response_is_the_last(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    l.answer_early = true;
    give(&l, POST5 "he");
    assert_string_equal(l.text, "POST a / 5 ok; finished");
    assert_true(was_sent(&l, "connection: close\r\n"));
    h1_log_fini(&l);
}

static void a_response_that_began_early_goes_on(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    l.echo = true;
    give(&l, POST5);
    assert_true(was_sent(&l, "connection: close\r\n"));
    give(&l, "hello");
    assert_true(was_sent(&l, "5\r\nhello\r\n0\r\n\r\n"));
    assert_string_equal(l.text, "POST a / 5 [hello] . ok; finished");
    h1_log_fini(&l);
}

static void drain_makes_this_response_the_last(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    l.answer_late = true;
    give(&l, GET("/1") GET("/2"));
    http_conn_drain(l.conn);
    assert_false(l.finished);
    h1_log_answer(&l);
    h1_log_run(&l);
    assert_string_equal(l.text, "GET a /1 . ok; finished");
    assert_true(was_sent(&l, "connection: close\r\n"));
    h1_log_fini(&l);
}

static void drain_while_idle_finishes_at_once(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    give(&l, GET("/"));
    http_conn_drain(l.conn);
    http_conn_drain(l.conn);
    assert_string_equal(l.text, "GET a / . ok; idle;  finished");
    h1_log_fini(&l);
}

static void a_close_between_requests_finishes(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    give(&l, GET("/") "\r\n");
    h1_log_eof(&l);
    assert_string_equal(l.text, "GET a / . ok; idle;  finished");
    h1_log_fini(&l);
}

static void a_close_within_a_request_is_a_reset(void **state)
{
    static const char *const parts[] = {
        "G",
        "GET / HTTP/1.1\r\n",
        POST5 "hell",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n",
    };

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        struct h1_log l;

        h1_log_server(&l, NULL);
        give(&l, parts[i]);
        h1_log_eof(&l);
        assert_non_null(strstr(l.text, " peer-reset; finished"));
        assert_int_equal(l.n_sent, 0);
        h1_log_fini(&l);
    }
}

static void a_half_closed_client_gets_its_response(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    l.answer_late = true;
    give(&l, POST5 "hello");
    h1_log_eof(&l);
    assert_string_equal(l.text, "POST a / 5 [hello] .");
    h1_log_answer(&l);
    h1_log_run(&l);
    assert_string_equal(l.text, "POST a / 5 [hello] . ok; finished");
    assert_true(was_sent(&l, "HTTP/1.1 200 OK\r\n"));
    h1_log_fini(&l);
}

static void a_paused_stream_reads_nothing(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    give(&l, POST5);
    http_stream_pause(l.stream, true);
    http_stream_pause(l.stream, true);
    give(&l, "he");
    give(&l, "llo" GET("/"));
    assert_string_equal(l.text, "POST a / 5");
    assert_int_equal(l.in.bytes, 5 + strlen(GET("/")));
    http_stream_pause(l.stream, false);
    assert_string_equal(l.text, "POST a / 5");
    assert_true(l.want_input);
    h1_log_run(&l);
    assert_string_equal(l.text, "POST a / 5 [hello] . ok; idle; GET a / . ok; idle; ");
    h1_log_fini(&l);
}

static void a_paused_body_until_close_ends_after_the_pause(void **state)
{
    struct h1_log l;

    h1_log_client(&l, NULL, "GET");
    give(&l, "HTTP/1.1 200 OK\r\n\r\nhello");
    http_stream_pause(l.stream, true);
    h1_log_eof(&l);
    assert_string_equal(l.text, "200 unknown");
    http_stream_pause(l.stream, false);
    h1_log_run(&l);
    assert_string_equal(l.text, "200 unknown [hello] . ok; finished");
    h1_log_fini(&l);
}

static void reset_ends_the_connection_without_an_event(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    give(&l, POST5);
    http_stream_reset(l.stream);
    assert_string_equal(l.text, "POST a / 5 finished");
    assert_int_equal(http_n_streams(l.http), 0);
    give(&l, "hello");
    assert_int_equal(l.in.bytes, 5); /* nothing is read any more */
    h1_log_fini(&l);
}

static void close_aborts_the_stream(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    give(&l, POST5);
    http_conn_close(l.conn);
    assert_string_equal(l.text, "POST a / 5 aborted;");
    l.conn = NULL;
    h1_log_fini(&l);
}

static void a_bad_body_cuts_a_response_that_has_begun(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    l.echo = true;
    give(&l, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nx");
    assert_string_equal(l.text, "POST a / unknown [hi] !400 http1.invalid_chunk protocol-error; "
                                "finished");
    assert_false(was_sent(&l, "0\r\n\r\n"));
    h1_log_fini(&l);
}

static void a_refused_client_that_half_closes_gets_its_answer(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    l.echo = true; /* does not answer a bad request */
    give(&l, "x\r\n");
    h1_log_eof(&l);
    assert_false(l.finished);
    h1_log_answer(&l);
    h1_log_run(&l);
    assert_true(l.finished);
    assert_true(was_sent(&l, "connection: close\r\n"));
    h1_log_fini(&l);
}

static void running_out_of_memory_is_an_answer(void **state)
{
    struct http_conn *conns[8];
    struct h1_log l;
    unsigned n = 0;

    h1_log_server(&l, NULL); /* room for 4 connections */
    while ((conns[n] = http_conn_open(&http_codec_h1, l.http, HTTP_SERVER, NULL, l.conn->ops,
                                      l.conn->io, &l)) != NULL)
        n++;
    assert_int_equal(n, 3);
    assert_int_equal(http_counters(l.http)->no_memory, 1);
    while (n > 0)
        http_conn_close(conns[--n]);
    h1_log_fini(&l);
}

/* A packet that holds the end of a message must be cut, and the pool may be empty just then. */
static void an_empty_packet_pool_ends_the_stream(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    l.answer_late = true;
    give(&l, POST5);
    l.tp.max = 1;
    give(&l, "hello" GET("/"));
    assert_int_equal(l.status, 503);
    assert_int_equal(http_counters(l.http)->no_memory, 1);
    h1_log_fini(&l);
}

static void nothing_is_sent_when_the_pool_is_empty(void **state)
{
    struct h1_log l;
    struct http_msg m;

    h1_log_server(&l, NULL);
    l.answer_late = true;
    give(&l, GET("/"));
    l.tp.max = 1;
    pktq_push(&l.in, test_pkt(&l.tp, "x", 1));
    http_msg_init(&m, &l.stream->arena);
    m.status = 200;
    assert_int_equal(http_stream_send_headers(l.stream, &m, true), -12 /* ENOMEM */);
    l.tp.max = 0;
    assert_int_equal(http_stream_send_headers(l.stream, &m, true), 0);
    assert_false(was_sent(&l, "connection: close"));
    h1_log_fini(&l);
}

static void a_conn_carries_one_stream_at_a_time(void **state)
{
    struct h1_log l;

    h1_log_client(&l, NULL, "GET");
    assert_false(http_conn_is_free(l.conn));
    assert_null(http_stream_open(l.conn));
    give(&l, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_true(http_conn_is_free(l.conn));
    l.stream = http_stream_open(l.conn);
    assert_non_null(l.stream);
    http_stream_reset(l.stream);
    assert_false(http_conn_is_free(l.conn));
    assert_int_equal(l.conn->total_streams, 2);
    h1_log_fini(&l);
}

static void a_response_before_the_request_is_refused(void **state)
{
    const struct http_stream_ops *ops;
    struct h1_log l;

    h1_log_client(&l, NULL, "GET");
    ops = l.stream->ops;
    give(&l, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    l.stream = http_stream_open(l.conn);
    http_stream_set_owner(l.stream, ops, &l);
    give(&l, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_string_equal(l.text, "200 0 . ok; idle;  protocol-error; finished");
    h1_log_fini(&l);
}

static void an_early_response_ends_an_unfinished_request(void **state)
{
    const struct http_stream_ops *ops;
    struct h1_log l;
    struct http_msg m;

    h1_log_client(&l, NULL, "GET");
    ops = l.stream->ops;
    give(&l, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    l.stream = http_stream_open(l.conn);
    http_stream_set_owner(l.stream, ops, &l);
    http_msg_init(&m, &l.stream->arena);
    m.method = SLICE("POST");
    m.path = SLICE("/");
    m.authority = SLICE("a");
    assert_int_equal(http_stream_send_headers(l.stream, &m, false), 0);
    give(&l, "HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n");
    assert_string_equal(l.text, "200 0 . ok; idle; 413 0 . ok; finished");
    h1_log_fini(&l);
}

static void an_idle_connection_holds_no_memory(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    for (unsigned i = 0; i < 100; i++)
        give(&l, POST5 "hello");
    assert_int_equal(http_n_streams(l.http), 0);
    assert_int_equal(l.tp.n_out, 0);
    assert_int_equal(l.conn->total_streams, 100);
    h1_log_fini(&l);
}

static void a_connection_is_fresh_between_two_requests_alone(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    assert_true(http_conn_is_fresh(l.conn));
    give(&l, POST5 "hell");
    assert_false(http_conn_is_fresh(l.conn));
    give(&l, "o");
    assert_true(http_conn_is_fresh(l.conn));
    give(&l, "\r");
    assert_false(http_conn_is_fresh(l.conn));
    give(&l, "\n");
    assert_true(http_conn_is_fresh(l.conn));
    give(&l, "G");
    assert_false(http_conn_is_fresh(l.conn));
    h1_log_fini(&l);
}

static void a_connection_that_ends_is_not_fresh(void **state)
{
    struct h1_log l;

    h1_log_server(&l, NULL);
    give(&l, GET("/"));
    http_conn_drain(l.conn);
    assert_false(http_conn_is_fresh(l.conn));
    h1_log_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_request_waits_for_the_response),
        cmocka_unit_test(an_early_response_is_the_last),
        cmocka_unit_test(a_response_that_began_early_goes_on),
        cmocka_unit_test(drain_makes_this_response_the_last),
        cmocka_unit_test(drain_while_idle_finishes_at_once),
        cmocka_unit_test(a_close_between_requests_finishes),
        cmocka_unit_test(a_close_within_a_request_is_a_reset),
        cmocka_unit_test(a_half_closed_client_gets_its_response),
        cmocka_unit_test(a_paused_stream_reads_nothing),
        cmocka_unit_test(a_paused_body_until_close_ends_after_the_pause),
        cmocka_unit_test(reset_ends_the_connection_without_an_event),
        cmocka_unit_test(close_aborts_the_stream),
        cmocka_unit_test(a_bad_body_cuts_a_response_that_has_begun),
        cmocka_unit_test(a_refused_client_that_half_closes_gets_its_answer),
        cmocka_unit_test(running_out_of_memory_is_an_answer),
        cmocka_unit_test(an_empty_packet_pool_ends_the_stream),
        cmocka_unit_test(nothing_is_sent_when_the_pool_is_empty),
        cmocka_unit_test(a_conn_carries_one_stream_at_a_time),
        cmocka_unit_test(a_response_before_the_request_is_refused),
        cmocka_unit_test(an_early_response_ends_an_unfinished_request),
        cmocka_unit_test(an_idle_connection_holds_no_memory),
        cmocka_unit_test(a_connection_is_fresh_between_two_requests_alone),
        cmocka_unit_test(a_connection_that_ends_is_not_fresh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
