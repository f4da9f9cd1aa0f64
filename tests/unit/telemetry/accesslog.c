#include "dataplane/telemetry/accesslog.h"
#include "dataplane/base/num.h"
#include "tests/lib/test.h"

#include <stdlib.h>

struct field {
    const char *name, *value;
};

static struct slice look_up(const void *ctx, struct slice name)
{
    for (const struct field *f = ctx; f->name != NULL; f++)
        if (slice_eq(name, slice_of(f->name)))
            return slice_of(f->value);
    return SLICE_NONE;
}

static struct ipport address(const char *text)
{
    const struct slice all = slice_of(text);
    const size_t colon = slice_find(all, ':');
    struct ipport a;
    uint64_t port;

    assert_true(ipaddr_parse(slice_head(all, colon), &a.addr));
    assert_true(num_u64(slice_skip(all, colon + 1), UINT16_MAX, &port));
    a.port = (uint16_t)port;
    return a;
}

/* @format, rendered into a buffer of @room bytes exactly, so that a sanitizer sees one too many. */
static void expect(const char *format, const struct accesslog_record *r, size_t room,
                   const char *line)
{
    char *buf = malloc(room), err[200] = "";
    struct accesslog_format *f;
    struct arena a;
    size_t len;

    arena_init(&a, 0);
    f = accesslog_compile(&a, format, err, sizeof(err));
    assert_string_equal(err, "");
    assert_non_null(f);
    len = accesslog_render(f, r, buf, room);
    assert_int_equal(len, strlen(line));
    assert_memory_equal(buf, line, len);
    arena_fini(&a);
    free(buf);
}

/* The example of Istio's documentation, task "Envoy access logs". */
static void a_request_is_told_as_istio_tells_it(void **state)
{
    static const struct field request[] = { { ":method", "GET" },
                                            { ":path", "/status/418" },
                                            { ":authority", "httpbin:8000" },
                                            { "user-agent", "curl/7.73.0-DEV" },
                                            { "x-request-id",
                                              "84961386-6d84-929d-98bd-c5aee93b5c88" },
                                            { NULL, NULL } };
    static const struct field response[] = { { "x-envoy-upstream-service-time", "4" },
                                             { NULL, NULL } };
    struct ipport host = address("10.44.1.27:80"), local = address("10.44.1.23:37652");
    struct ipport down_local = address("10.0.45.184:8000"), peer = address("10.44.1.23:46520");
    struct accesslog_record r = {
        .start_wall_us = UINT64_C(1606339578409999),
        .duration_us = 4999,
        .is_http = true,
        .request = request,
        .response = response,
        .request_header = look_up,
        .response_header = look_up,
        .protocol = "HTTP/1.1",
        .response_code = 418,
        .response_flags = "",
        .response_code_details = "via_upstream",
        .bytes_sent = 135,
        .upstream_host = &host,
        .upstream_local = &local,
        .upstream_cluster = "outbound|8000||httpbin.foo.svc.cluster.local",
        .downstream_local = &down_local,
        .downstream_remote = &peer,
        .route_name = "default",
    };

    expect(accesslog_default_format, &r, ACCESSLOG_LINE_MAX,
           "[2020-11-25T21:26:18.409Z] \"GET /status/418 HTTP/1.1\" 418 - via_upstream - \"-\" 0 "
           "135 4 4 \"-\" \"curl/7.73.0-DEV\" \"84961386-6d84-929d-98bd-c5aee93b5c88\" "
           "\"httpbin:8000\" \"10.44.1.27:80\" outbound|8000||httpbin.foo.svc.cluster.local "
           "10.44.1.23:37652 10.0.45.184:8000 10.44.1.23:46520 - default\n");
}

static void of_a_connection_what_http_knows_is_absent(void **state)
{
    struct ipport host = address("10.2.0.1:5432"), local = address("10.2.0.2:40000");
    struct ipport down_local = address("10.1.0.2:443"), peer = address("10.1.0.1:50000");
    struct accesslog_record r = {
        .duration_us = 12000,
        .bytes_received = 17,
        .bytes_sent = 18446744073709551615u,
        .upstream_host = &host,
        .upstream_local = &local,
        .upstream_cluster = "db",
        .downstream_local = &down_local,
        .downstream_remote = &peer,
        .requested_server_name = "db.example.com",
    };

    expect(accesslog_default_format, &r, ACCESSLOG_LINE_MAX,
           "[1970-01-01T00:00:00.000Z] \"- - -\" 0 - - - \"-\" 17 18446744073709551615 12 - \"-\" "
           "\"-\" \"-\" \"-\" \"10.2.0.1:5432\" db 10.2.0.2:40000 10.1.0.2:443 10.1.0.1:50000 "
           "db.example.com -\n");
}

static void no_peer_can_forge_a_line(void **state)
{
    static const struct field request[] = { { "user-agent", "a\"b\\c\n\x7f\xff\t" },
                                            { NULL, NULL } };
    struct accesslog_record r = {
        .request = request,
        .request_header = look_up,
        .upstream_failure = "tls: \"\n",
        .requested_server_name = "a\nb",
    };

    expect("%REQ(User-Agent)%|%UPSTREAM_TRANSPORT_FAILURE_REASON%|%REQUESTED_SERVER_NAME%", &r, 200,
           "a\\x22b\\x5cc\\x0a\\x7f\\xff\\x09|tls: \\x22\\x0a|a\\x0ab\n");
}

static void a_second_header_stands_in_and_a_length_cuts(void **state)
{
    static const struct field request[] = { { ":path", "/abcdef" }, { NULL, NULL } };
    struct accesslog_record r = { .request = request, .request_header = look_up };

    expect("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):4%", &r, 100, "/abc\n");
    expect("%REQ(X-NOT-THERE)% %RESP(ANY?OTHER)%", &r, 100, "- -\n");
    expect("100%%", &r, 100, "100%\n");
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
    struct accesslog_record r = { .route_name = "default" };

    expect("%ROUTE_NAME%", &r, 8, "default\n");
    expect("%ROUTE_NAME%", &r, 7, "defaul\n");
    expect("%ROUTE_NAME%\n", &r, 7, "defaul\n");
    expect("%ROUTE_NAME%\n", &r, 1, "\n");
}

static void a_wrong_format_is_refused_with_its_operator(void **state)
{
    static const char *const bad[] = {
        "%",         "%NOTHING%",   "%REQ%",
        "%REQ()%",   "%REQ(A%",     "%REQ(A):%",
        "%REQ(A)x%", "%REQ(A):x%",  "%PROTOCOL(A)%",
        "%PROTOCOL", "%REQ(A):-1%", "%REQ(A):99999999999%",
    };
    struct arena a;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char err[200] = "";

        arena_init(&a, 0);
        assert_null(accesslog_compile(&a, bad[i], err, sizeof(err)));
        assert_non_null(strstr(err, "operator"));
        arena_fini(&a);
    }
}

static void a_format_has_so_many_parts_and_no_more(void **state)
{
    char text[1000] = "", err[200] = "";
    struct arena a;

    arena_init(&a, 0);
    for (unsigned i = 0; i < 128; i++)
        strcat(text, "%%");
    assert_non_null(accesslog_compile(&a, text, err, sizeof(err)));
    strcat(text, "x");
    assert_null(accesslog_compile(&a, text, err, sizeof(err)));
    assert_non_null(strstr(err, "128"));
    arena_fini(&a);
}

static void the_ring_keeps_order_and_refuses_when_full(void **state)
{
    struct accesslog_ring *r = accesslog_ring_new();
    char line[ACCESSLOG_LINE_MAX], got[ACCESSLOG_LINE_MAX];
    uint32_t pushed = 0, popped = 0, file;

    assert_non_null(r);
    assert_int_equal(accesslog_pop(r, &file, got), 0);
    for (unsigned round = 0; round < 50; round++) {
        size_t len;

        for (;; pushed++) {
            len = 1 + pushed * 37u % ACCESSLOG_LINE_MAX;
            memset(line, (int)(pushed % 251), len);
            if (!accesslog_push(r, pushed, line, len))
                break;
        }
        for (unsigned i = 0; i < 5 + round % 3 && popped < pushed; i++, popped++) {
            len = 1 + popped * 37u % ACCESSLOG_LINE_MAX;
            memset(line, (int)(popped % 251), len);
            assert_int_equal(accesslog_pop(r, &file, got), len);
            assert_int_equal(file, popped);
            assert_memory_equal(got, line, len);
        }
    }
    while (accesslog_pop(r, &file, got) > 0)
        assert_int_equal(file, popped++);
    assert_int_equal(popped, pushed);
    accesslog_ring_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_told_as_istio_tells_it),
        cmocka_unit_test(of_a_connection_what_http_knows_is_absent),
        cmocka_unit_test(no_peer_can_forge_a_line),
        cmocka_unit_test(a_second_header_stands_in_and_a_length_cuts),
        cmocka_unit_test(a_long_line_is_cut_and_still_ends),
        cmocka_unit_test(a_wrong_format_is_refused_with_its_operator),
        cmocka_unit_test(a_format_has_so_many_parts_and_no_more),
        cmocka_unit_test(the_ring_keeps_order_and_refuses_when_full),
    };

    return cmocka_run_group_tests_name("accesslog", tests, NULL, NULL);
}
