#include "tests/lib/h1_log.h"
#include "tests/lib/test.h"

struct sample {
    const char *method, *bytes;
    size_t len;
    bool eof; /* after the bytes */
    const char *text;
};

#define S(bytes, text)                                                                             \
    {                                                                                              \
        "GET", bytes, sizeof(bytes) - 1, false, text                                               \
    }
#define E(bytes, text)                                                                             \
    {                                                                                              \
        "GET", bytes, sizeof(bytes) - 1, true, text                                                \
    }
#define H(bytes, text)                                                                             \
    {                                                                                              \
        "HEAD", bytes, sizeof(bytes) - 1, false, text                                              \
    }
#define OK(fields) "HTTP/1.1 200 OK\r\n" fields "\r\n"
#define LENGTH(n) "Content-Length: " n "\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"

#define AGAIN " . ok; idle; "
#define LAST " . ok; finished"
#define BAD " protocol-error; finished"

static const struct sample samples[] = {
    /* status line */
    S(OK(LENGTH("0")), "200 0" AGAIN),
    S("HTTP/1.1 200 \r\n" LENGTH("0") "\r\n", "200 0" AGAIN),
    S("HTTP/1.1 200\r\n" LENGTH("0") "\r\n", "200 0" AGAIN),
    S("HTTP/1.1 404 Not Found at all\r\n" LENGTH("0") "\r\n", "404 0" AGAIN),
    S("HTTP/1.1 999 \xc3\xa9\r\n" LENGTH("0") "\r\n", "999 0" AGAIN),
    S("HTTP/1.0 200 OK\r\n" LENGTH("0") "\r\n", "200 HTTP/1.0 0" LAST),
    S("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" LENGTH("0") "\r\n", "200 HTTP/1.0 0" AGAIN),
    S("HTTP/1.2 200 OK\r\n\r\n", BAD),
    S("HTTP/2.0 200 OK\r\n\r\n", BAD),
    S("HTTP/1.1 20 OK\r\n\r\n", BAD),
    S("HTTP/1.1 2000 OK\r\n\r\n", BAD),
    S("HTTP/1.1 200OK\r\n\r\n", BAD),
    S("HTTP/1.1  200 OK\r\n\r\n", BAD),
    S("HTTP/1.1 099 OK\r\n\r\n", BAD),
    S("HTTP/1.1 2x0 OK\r\n\r\n", BAD),
    S("HTTP/1.1 +20 OK\r\n\r\n", BAD),
    S("HTTP/1.1 -20 OK\r\n\r\n", BAD),
    S("HTTP/1.1\t200 OK\r\n\r\n", BAD),
    S("HTTP/1.1 200 O\rK\r\n\r\n", BAD),
    S("HTTP/1.1 200 O\0K\r\n\r\n", BAD),
    S("HTTP/1.1 200 OK\n\n", BAD),
    S("\r\nHTTP/1.1 200 OK\r\n\r\n", BAD),
    S(" HTTP/1.1 200 OK\r\n\r\n", BAD),
    S("ICY 200 OK\r\n\r\n", BAD),
    S("hello\r\n", BAD),
    S("GET / HTTP/1.1\r\n\r\n", BAD),

    /* fields */
    S(OK("Server: x\r\nDATE:\ty \r\n" LENGTH("0")), "200 0 server=x date=y" AGAIN),
    S(OK("Set-Cookie: a\r\nSet-Cookie: b\r\n" LENGTH("0")),
      "200 0 set-cookie=a set-cookie=b" AGAIN),
    S(OK("Connection: close\r\n" LENGTH("0")), "200 0" LAST),
    S(OK("Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n" LENGTH("0")), "200 0" AGAIN),
    S(OK("Upgrade: h2c\r\nConnection: upgrade\r\n" LENGTH("0")), "200 0" AGAIN),
    S(OK("Host: b\r\n" LENGTH("0")), "200 0" AGAIN),
    S(OK("Expect: 100-continue\r\n" LENGTH("0")), "200 0 expect=100-continue" AGAIN),
    S(OK("X : 1\r\n" LENGTH("0")), BAD),
    S(OK("X: 1\r\n 2\r\n" LENGTH("0")), BAD),
    S(OK("X: 1\n" LENGTH("0")), BAD),
    S(OK("X: \0\r\n" LENGTH("0")), BAD),
    S(OK(": 1\r\n" LENGTH("0")), BAD),
    S("HTTP/1.1 200 OK\r\n X: 1\r\n\r\n", BAD),

    /* framing, in the order of RFC 9112, 6.3 */
    H(OK(LENGTH("5")), "200 (5)" AGAIN),
    H(OK(CHUNKED), "200 no-body" AGAIN),
    H(OK(""), "200 no-body" AGAIN),
    H("HTTP/1.0 200 OK\r\n" LENGTH("5") "\r\n", "200 HTTP/1.0 (5)" LAST),
    H(OK(LENGTH("5")) "hello", "200 (5) . ok; finished"),
    S("HTTP/1.1 204 No Content\r\n\r\n", "204 no-body" AGAIN),
    S("HTTP/1.1 204 No Content\r\n" LENGTH("0") "\r\n", "204" AGAIN),
    S("HTTP/1.1 204 No Content\r\n" LENGTH("5") "\r\n", "204 (5)" LAST),
    S("HTTP/1.1 204 No Content\r\n" CHUNKED "\r\n", "204 no-body" LAST),
    S("HTTP/1.1 304 Not Modified\r\n" LENGTH("5") "\r\n", "304 (5)" AGAIN),
    S("HTTP/1.1 304 Not Modified\r\n" CHUNKED "\r\n", "304 no-body" AGAIN),
    S("HTTP/1.1 304 Not Modified\r\n\r\n", "304 no-body" AGAIN),
    S(OK(CHUNKED) "5\r\nhello\r\n0\r\n\r\n", "200 unknown [hello]" AGAIN),
    S(OK(CHUNKED) "5;a=b\r\nhello\r\n0\r\nX: 1\r\n\r\n", "200 unknown [hello] + x=1" AGAIN),
    S(OK(LENGTH("5")) "hello", "200 5 [hello]" AGAIN),
    E(OK("") "hello", "200 unknown [hello]" LAST),
    E(OK("Connection: keep-alive\r\n") "hello", "200 unknown [hello]" LAST),
    E(OK(""), "200 unknown" LAST),
    E("HTTP/1.0 200 OK\r\n\r\nhello", "200 HTTP/1.0 unknown [hello]" LAST),
    S("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" LENGTH("2") "\r\nhi",
      "200 HTTP/1.0 2 [hi]" AGAIN),
    S(OK(LENGTH("5") CHUNKED), BAD),
    S(OK(CHUNKED LENGTH("5")), BAD),
    S(OK(LENGTH("5") LENGTH("5")), BAD),
    S(OK(LENGTH("5, 5")), BAD),
    S(OK(LENGTH("+5")), BAD),
    S(OK(LENGTH("")), BAD),
    S(OK(LENGTH("18446744073709551616")), BAD),
    S(OK("Transfer-Encoding: gzip, chunked\r\n"), BAD),
    S(OK("Transfer-Encoding: gzip\r\n"), BAD),
    S(OK("Transfer-Encoding: identity\r\n"), BAD),
    S(OK("Transfer-Encoding: xchunked\r\n"), BAD),
    S(OK("Transfer-Encoding:\tchunked\r\n"), BAD),
    S(OK(CHUNKED CHUNKED), BAD),
    S("HTTP/1.0 200 OK\r\n" CHUNKED "\r\n0\r\n\r\n", BAD),
    S(OK(CHUNKED) "x", "200 unknown" BAD),
    S(OK(CHUNKED) "2\r\nhi\r\nx", "200 unknown [hi]" BAD),
    S(OK(CHUNKED) "2\r\nhi\n", "200 unknown [hi]" BAD),
    S(OK(CHUNKED) "0\r\nContent-Length: 1\r\n\r\n", "200 unknown" BAD),

    /* interim responses are not for the layers above; switching protocols was not asked for */
    S("HTTP/1.1 100 Continue\r\n\r\n" OK(LENGTH("0")), "200 0" AGAIN),
    S("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 P\r\n\r\n" OK(LENGTH("2")) "hi",
      "200 2 [hi]" AGAIN),
    S("HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n" OK(LENGTH("0")), "200 0" AGAIN),
    S("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", BAD),
    E("HTTP/1.1 100 Continue\r\n\r\n", " peer-reset; finished"),

    /* closed too early */
    E("", " conn-closed; finished"),
    E("H", " peer-reset; finished"),
    E("HTTP/1.1 200 OK\r\n", " peer-reset; finished"),
    E(OK(LENGTH("5")), "200 5 peer-reset; finished"),
    E(OK(LENGTH("5")) "hell", "200 5 [hell] peer-reset; finished"),
    E(OK(CHUNKED) "5\r\nhell", "200 unknown [hell] peer-reset; finished"),
    E(OK(CHUNKED) "5\r\nhello\r\n0\r\n", "200 unknown [hello] peer-reset; finished"),
    E(OK(CHUNKED) "5\r\nhello\r\n0\r\nX: 1\r\n", "200 unknown [hello] peer-reset; finished"),
};

static void run(const struct sample *s, enum h1_cut cut, uint64_t seed)
{
    struct h1_log l;

    h1_log_client(&l, NULL, s->method);
    h1_log_feed(&l, s->bytes, s->len, cut, seed);
    if (s->eof)
        h1_log_eof(&l);
    /* In pieces, what follows a response comes when the stream is over already. */
    if (cut != H1_WHOLE && l.finished && strstr(l.text, " idle; ") != NULL) {
        h1_log_fini(&l);
        return;
    }
    if (strcmp(l.text, s->text) != 0)
        print_error("%s\n", s->bytes);
    assert_string_equal(l.text, s->text);
    assert_int_equal(http_counters(l.http)->bad_responses, strstr(s->text, BAD) != NULL);
    h1_log_fini(&l);
}

static void responses_have_one_reading(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        run(&samples[i], H1_WHOLE, 0);
        run(&samples[i], H1_BYTES, 0);
        for (uint64_t seed = 1; seed <= 10; seed++)
            run(&samples[i], H1_RANDOM, seed);
    }
}

/* The classic of a response queue poisoned by one request too many. */
static void bytes_after_a_response_end_the_connection(void **state)
{
    static const char two[] = OK(LENGTH("2")) "hi" OK(LENGTH("0"));
    struct h1_log l;

    h1_log_client(&l, NULL, "GET");
    h1_log_feed(&l, two, sizeof(two) - 1, H1_WHOLE, 0);
    assert_string_equal(l.text, "200 2 [hi] . ok; finished");
    assert_false(http_conn_is_free(l.conn));
    h1_log_fini(&l);

    h1_log_client(&l, NULL, "GET");
    h1_log_feed(&l, two, sizeof(two) - 1, H1_BYTES, 0);
    assert_string_equal(l.text, "200 2 [hi] . ok; idle;  finished");
    assert_null(http_stream_open(l.conn));
    h1_log_fini(&l);
}

static void a_response_larger_than_the_limits_is_refused(void **state)
{
    const struct http_conf conf = { .max_header_bytes = 60, .max_fields = 2 };
    static const char *const large[] = {
        OK("x: 0123456789012345678901234567890123456789\r\n"),
        OK("a:\r\nb:\r\nc:\r\n"),
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
    };

    for (size_t i = 0; i < ARRAY_SIZE(large); i++) {
        struct h1_log l;

        h1_log_client(&l, &conf, "GET");
        h1_log_feed(&l, large[i], strlen(large[i]), H1_RANDOM, i);
        assert_string_equal(l.text, " overflow; finished");
        h1_log_fini(&l);
    }
}

static void a_close_while_idle_is_no_error(void **state)
{
    struct h1_log l;

    h1_log_client(&l, NULL, "GET");
    h1_log_feed(&l, OK(LENGTH("0")), sizeof(OK(LENGTH("0"))) - 1, H1_WHOLE, 0);
    h1_log_eof(&l);
    assert_string_equal(l.text, "200 0 . ok; idle;  finished");
    assert_int_equal(http_counters(l.http)->bad_responses, 0);
    h1_log_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses_have_one_reading),
        cmocka_unit_test(bytes_after_a_response_end_the_connection),
        cmocka_unit_test(a_response_larger_than_the_limits_is_refused),
        cmocka_unit_test(a_close_while_idle_is_no_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
