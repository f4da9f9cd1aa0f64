#include "tests/lib/h1_log.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>

/* A server that has read @request and not answered. */
static struct http_msg *asked(struct h1_log *l, const char *request, struct http_msg *m)
{
    h1_log_server(l, NULL);
    l->answer_late = true;
    h1_log_give(l, request, strlen(request));
    http_msg_init(m, &l->stream->arena);
    m->status = 200;
    return m;
}

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define GET10 "GET / HTTP/1.0\r\n\r\n"
#define GET10K "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
#define HEAD "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
#define UNKNOWN HTTP_LENGTH_UNKNOWN

static void responses_are_framed(void **state)
{
    static const struct {
        const char *request;
        uint16_t status;
        uint64_t length;
        bool end;
        const char *fields; /* NULL: -EINVAL */
    } cases[] = {
        { GET, 200, 0, true, "content-length: 0\r\n" },
        { GET, 200, UNKNOWN, true, "content-length: 0\r\n" },
        { GET, 200, 5, true, NULL },
        { GET, 200, 5, false, "content-length: 5\r\n" },
        { GET, 200, UNKNOWN, false, "transfer-encoding: chunked\r\n" },
        { GET, 204, UNKNOWN, true, "" },
        { GET, 204, 5, true, "" },
        { GET, 204, 0, false, NULL },
        { GET, 304, 5, true, "content-length: 5\r\n" },
        { GET, 304, UNKNOWN, true, "" },
        { GET, 304, UNKNOWN, false, NULL },
        { GET, 199, 0, true, NULL },
        { GET, 1000, 0, true, NULL },
        { HEAD, 200, 5, true, "content-length: 5\r\n" },
        { HEAD, 200, UNKNOWN, true, "" },
        { HEAD, 200, 5, false, NULL },
        { GET10, 200, 5, false, "content-length: 5\r\nconnection: close\r\n" },
        { GET10, 200, UNKNOWN, false, "connection: close\r\n" },
        { GET10K, 200, 5, false, "content-length: 5\r\nconnection: keep-alive\r\n" },
        { GET10K, 200, UNKNOWN, false, "connection: close\r\n" },
        { GET10K, 200, 0, true, "content-length: 0\r\nconnection: keep-alive\r\n" },
        { "CONNECT b:1 HTTP/1.1\r\nHost: b\r\n\r\n", 200, 0, true, NULL },
        { "CONNECT b:1 HTTP/1.1\r\nHost: b\r\n\r\n", 405, 0, true,
          "content-length: 0\r\nconnection: close\r\n" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char expected[200];
        struct h1_log l;
        struct http_msg m;
        int rc;

        asked(&l, cases[i].request, &m);
        m.status = cases[i].status;
        m.content_length = cases[i].length;
        rc = http_stream_send_headers(l.stream, &m, cases[i].end);
        if (cases[i].fields == NULL) {
            assert_int_equal(rc, -EINVAL);
            assert_int_equal(l.n_sent, 0);
        } else {
            snprintf(expected, sizeof(expected), "HTTP/1.1 %u %s\r\n%s\r\n", m.status,
                     http_reason(m.status), cases[i].fields);
            assert_int_equal(rc, 0);
            assert_string_equal(l.sent, expected);
        }
        h1_log_fini(&l);
    }
}

static void requests_are_framed(void **state)
{
    static const struct {
        const char *method, *path, *authority;
        uint64_t length;
        bool no_body, end;
        const char *text; /* NULL: -EINVAL */
    } cases[] = {
        { "GET", "/a?b", "h:1", 0, true, true, "GET /a?b HTTP/1.1\r\nhost: h:1\r\n\r\n" },
        { "GET", "/", "h", UNKNOWN, false, true, "GET / HTTP/1.1\r\nhost: h\r\n\r\n" },
        { "GET", "/", "", 0, true, true, "GET / HTTP/1.1\r\nhost: \r\n\r\n" },
        { "OPTIONS", "*", "h", 0, true, true, "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n" },
        { "POST", "/", "h", 0, true, true,
          "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n" },
        { "DELETE", "/", "h", 0, false, true,
          "DELETE / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n" },
        { "DELETE", "/", "h", 0, true, true, "DELETE / HTTP/1.1\r\nhost: h\r\n\r\n" },
        { "PUT", "/", "h", 5, false, false,
          "PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n" },
        { "PUT", "/", "h", UNKNOWN, false, false,
          "PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n" },
        { "PUT", "/", "h", 5, false, true, NULL },
        { "GET", "/", "h", 0, true, false, NULL },
        { "CONNECT", "", "h:1", 0, true, true, NULL },
        { "GET", "", "h", 0, true, true, NULL },
        { "GET", "*", "h", 0, true, true, NULL },
        { "GET", "a", "h", 0, true, true, NULL },
        { "GET", "/a b", "h", 0, true, true, NULL },
        { "GET", "/a#b", "h", 0, true, true, NULL },
        { "GET", "/ HTTP/1.1\r\nX: y", "h", 0, true, true, NULL },
        { "GET", "/", "h\r\nx: y", 0, true, true, NULL },
        { "GET", "/", "a,b", 0, true, true, NULL },
        { "G T", "/", "h", 0, true, true, NULL },
        { "", "/", "h", 0, true, true, NULL },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct h1_log l;
        struct http_msg m;
        size_t before;
        int rc;

        h1_log_client(&l, NULL, "GET");
        h1_log_give(&l, "HTTP/1.1 204 X\r\n\r\n", 18);
        before = l.n_sent;
        l.stream = http_stream_open(l.conn);
        http_msg_init(&m, &l.stream->arena);
        m.method = slice_of(cases[i].method);
        m.path = slice_of(cases[i].path);
        m.authority = slice_of(cases[i].authority);
        m.content_length = cases[i].length;
        m.no_body = cases[i].no_body;
        rc = http_stream_send_headers(l.stream, &m, cases[i].end);
        assert_int_equal(rc, cases[i].text != NULL ? 0 : -EINVAL);
        assert_string_equal(l.sent + before, cases[i].text != NULL ? cases[i].text : "");
        http_stream_reset(l.stream);
        l.stream = NULL;
        h1_log_fini(&l);
    }
}

static void fields_are_written_or_refused(void **state)
{
    static const struct {
        const char *name, *value, *text; /* NULL: -EINVAL */
    } cases[] = {
        { "x-a", "1", "x-a: 1\r\n" },
        { "x-a", "", "x-a: \r\n" },
        { "connection", "upgrade", "" }, /* the codec's own: left out */
        { "transfer-encoding", "gzip", "" },
        { "content-length", "7", "" },
        { "host", "b", "" },
        { "te", "trailers", "" },
        { "keep-alive", "1", "" },
        { "x a", "1", NULL },
        { "x:", "1", NULL },
        { "", "1", NULL },
        { "x", "1\r\ny: 2", NULL },
        { "x", "1\n", NULL },
        { "x", "\x01", NULL },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct http_field field = { slice_of(cases[i].name), slice_of(cases[i].value) };
        char expected[200];
        struct h1_log l;
        struct http_msg m;
        int rc;

        asked(&l, GET, &m);
        m.fields = (struct http_fields){ .v = &field, .n = 1 };
        rc = http_stream_send_headers(l.stream, &m, true);
        if (cases[i].text == NULL) {
            assert_int_equal(rc, -EINVAL);
            assert_int_equal(l.n_sent, 0);
        } else {
            snprintf(expected, sizeof(expected), "HTTP/1.1 200 OK\r\n%scontent-length: 0\r\n\r\n",
                     cases[i].text);
            assert_string_equal(l.sent, expected);
        }
        h1_log_fini(&l);
    }
}

static int data(struct h1_log *l, const char *bytes, bool end)
{
    struct pktq q;

    pktq_init(&q);
    pktq_append(&q, &l->tp.pool, bytes, strlen(bytes), 3);
    return http_stream_send_data(l->stream, &q, end);
}

static void a_body_is_exactly_as_long_as_it_said(void **state)
{
    struct h1_log l;
    struct http_msg m;

    asked(&l, GET, &m)->content_length = 5;
    assert_int_equal(data(&l, "early", false), -EINVAL);
    assert_int_equal(http_stream_send_headers(l.stream, &m, false), 0);
    assert_int_equal(http_stream_send_headers(l.stream, &m, false), -EINVAL);
    assert_int_equal(data(&l, "toolong", false), -EINVAL);
    assert_int_equal(data(&l, "hel", true), -EINVAL);
    assert_int_equal(data(&l, "hel", false), 0);
    assert_int_equal(data(&l, "", true), -EINVAL);
    assert_int_equal(data(&l, "", false), 0);
    assert_int_equal(data(&l, "lo", true), 0);
    assert_int_equal(data(&l, "x", false), -EINVAL);
    assert_string_equal(l.sent, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    h1_log_fini(&l);
}

static void a_chunk_is_framed_in_place_where_there_is_room(void **state)
{
    struct h1_log l;
    struct http_msg m;
    struct pktq q;
    struct pkt *p;

    asked(&l, GET, &m);
    http_stream_send_headers(l.stream, &m, false);
    pktq_init(&q);
    p = test_pkt(&l.tp, "................................hello", 37);
    pkt_pull(p, 32); /* as it is after a head was read from it */
    pktq_push(&q, p);
    l.tp.max = l.tp.n_out; /* no packet but this one */
    assert_int_equal(http_stream_send_data(l.stream, &q, true), 0);
    assert_string_equal(l.sent, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
                                "5\r\nhello\r\n0\r\n\r\n");
    h1_log_fini(&l);
}

static void a_shared_packet_is_framed_around(void **state)
{
    struct h1_log l;
    struct http_msg m;
    struct pktq q;
    struct pkt *p;

    asked(&l, GET, &m);
    http_stream_send_headers(l.stream, &m, false);
    pktq_init(&q);
    p = test_pkt(&l.tp, "................................hello", 37);
    pkt_pull(p, 32);
    ++*p->refs;
    pktq_push(&q, p);
    assert_int_equal(http_stream_send_data(l.stream, &q, false), 0);
    assert_int_equal(p->len, 5);
    assert_int_equal(pkt_headroom(p), PKT_HEADROOM + 32);
    pkt_free(p);
    assert_non_null(strstr(l.sent, "\r\n\r\n5\r\nhello\r\n"));
    h1_log_fini(&l);
}

static void trailers_go_with_chunks_only(void **state)
{
    struct http_field v[] = { { SLICE("x-t"), SLICE("1") }, { SLICE("cookie"), SLICE("2") } };
    const struct http_fields trailers = { .v = v, .n = 2 };
    struct h1_log l;
    struct http_msg m;

    asked(&l, GET, &m);
    http_stream_send_headers(l.stream, &m, false);
    assert_int_equal(data(&l, "hi", false), 0);
    assert_int_equal(http_stream_send_trailers(l.stream, &trailers), 0);
    assert_non_null(strstr(l.sent, "\r\n\r\n2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n"));
    h1_log_fini(&l);

    asked(&l, GET, &m)->content_length = 2;
    http_stream_send_headers(l.stream, &m, false);
    assert_int_equal(http_stream_send_trailers(l.stream, &trailers), -EINVAL);
    assert_int_equal(data(&l, "hi", false), 0);
    assert_int_equal(http_stream_send_trailers(l.stream, &trailers), 0);
    assert_string_equal(l.sent, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    h1_log_run(&l);
    assert_non_null(strstr(l.text, "ok; idle;"));
    h1_log_fini(&l);
}

static void interim_responses_go_to_those_who_know_them(void **state)
{
    struct h1_log l;
    struct http_msg m;

    asked(&l, GET, &m);
    assert_int_equal(http_stream_send_info(l.stream, 101), -EINVAL);
    assert_int_equal(http_stream_send_info(l.stream, 200), -EINVAL);
    assert_int_equal(http_stream_send_info(l.stream, 100), 0);
    assert_string_equal(l.sent, "HTTP/1.1 100 Continue\r\n\r\n");
    http_stream_send_headers(l.stream, &m, false);
    assert_int_equal(http_stream_send_info(l.stream, 100), -EINVAL);
    h1_log_fini(&l);

    asked(&l, GET10, &m);
    assert_int_equal(http_stream_send_info(l.stream, 100), 0);
    assert_int_equal(l.n_sent, 0);
    h1_log_fini(&l);
}

static void a_large_head_fills_packets_to_the_segment(void **state)
{
    char value[4000];
    struct http_field field = { SLICE("x"), { value, sizeof(value) } };
    struct h1_log l;
    struct http_msg m;

    memset(value, 'v', sizeof(value));
    asked(&l, GET, &m)->fields = (struct http_fields){ .v = &field, .n = 1 };
    assert_int_equal(http_stream_send_headers(l.stream, &m, true), 0);
    assert_int_equal(l.n_sent,
                     strlen("HTTP/1.1 200 OK\r\nx: \r\ncontent-length: 0\r\n\r\n") + 4000);
    h1_log_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses_are_framed),
        cmocka_unit_test(requests_are_framed),
        cmocka_unit_test(fields_are_written_or_refused),
        cmocka_unit_test(a_body_is_exactly_as_long_as_it_said),
        cmocka_unit_test(a_chunk_is_framed_in_place_where_there_is_room),
        cmocka_unit_test(a_shared_packet_is_framed_around),
        cmocka_unit_test(trailers_go_with_chunks_only),
        cmocka_unit_test(interim_responses_go_to_those_who_know_them),
        cmocka_unit_test(a_large_head_fills_packets_to_the_segment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
