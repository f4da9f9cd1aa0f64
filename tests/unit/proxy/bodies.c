/* Bodies that must arrive whole, or be seen not to be whole. */
#include "tests/lib/gateway.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CONF                                                                                       \
    "clusters = ( { name = \"b\"; endpoints = [ \"10.0.0.2:8080\" ]; } );\n"                       \
    "route_configs = ( { name = \"r\"; virtual_hosts = ( { name = \"v\"; domains = [ \"a\" ];\n"   \
    "  routes = ( { prefix = \"/\"; cluster = \"b\"; } ); } ); } );\n"                             \
    "access_logs = ( { name = \"log\"; path = \"/dev/null\";\n"                                    \
    "  format = \"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\"; } );\n"              \
    "listeners = ( { name = \"l\"; address = \"10.0.0.1:80\";\n"                                   \
    "  filter_chains = ( { name = \"c\"; http = { route_config = \"r\"; access_log = \"log\";\n"   \
    "    }; } ); } );\n"

static const struct wire_conf wire = { .seed = 1, .delay_us = 100 };

static char *filler(size_t len)
{
    char *body = malloc(len + 1);

    for (size_t i = 0; i < len; i++)
        body[i] = (char)('a' + i % 23);
    body[len] = '\0';
    return body;
}

static size_t body_len(const struct script *s)
{
    const char *at = strstr(s->in, "\r\n\r\n");

    return at != NULL ? s->n - (size_t)(at + 4 - s->in) : 0;
}

/* A client, and its request at the backend. */
static struct script *request(struct gateway *g, struct script *client, const char *text)
{
    script_connect(g, client, 80);
    gateway_run(g, 100);
    assert_true(client->open);
    script_say(g, client, text);
    gateway_run(g, 100);
    return &g->backends[g->n_backends - 1];
}

static void read_slowly(struct gateway *g, struct script *s, unsigned times, uint64_t every_ms)
{
    for (unsigned i = 0; i < times; i++) {
        gateway_run(g, every_ms);
        script_read(s);
    }
}

/* The end is behind what a stream that is paused has not read. */
static void a_slow_client_gets_all_that_a_closing_backend_sent(void **state)
{
    char *body = filler(300000);

    /* Of any length: the last bytes may or may not be among those that wait in the codec. */
    for (unsigned i = 0; i < 40; i++) {
        const size_t len = 140000 + 3701 * (size_t)i;
        struct script client, *backend;
        struct gateway g;
        char head[128];

        if (i & 1)
            snprintf(head, sizeof(head), "HTTP/1.0 200 OK\r\n\r\n");
        else
            snprintf(head, sizeof(head),
                     "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %zu\r\n\r\n", len);
        gateway_init(&g, &wire, CONF);
        backend = request(&g, &client, "GET / HTTP/1.0\r\nhost: a\r\n\r\n");
        client.lazy = true;
        script_say(&g, backend, head);
        script_send(&g, backend, body, len);
        script_shutdown(backend);
        read_slowly(&g, &client, 40, 400);
        assert_int_equal(body_len(&client), len);
        assert_true(client.eof);
        assert_string_equal(gateway_log(&g), "200 - via_upstream\n");
        script_free(&client);
        gateway_fini(&g);
    }
    free(body);
}

/*
 * What is in TCP's buffer when the connection closes is the client's, however slowly it comes; also
 * if the client has said before that it is done.
 */
static void the_end_of_a_response_has_the_time_that_it_takes(void **state)
{
    const struct wire_conf slow = { .seed = 1, .delay_us = 100, .rate_bps = 80000 };
    char *body = filler(60000);

    for (unsigned i = 0; i < 2; i++) {
        struct script client, *backend;
        struct gateway g;

        gateway_init(&g, &slow, CONF);
        backend = request(&g, &client, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        if (i == 1)
            script_shutdown(&client);
        script_say(&g, backend, "HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n");
        script_send(&g, backend, body, 60000);
        gateway_run(&g, 60000);
        assert_int_equal(body_len(&client), 60000);
        assert_true(client.eof);
        script_free(&client);
        gateway_fini(&g);
    }
    free(body);
}

/* Who does not take it at all is not waited for. */
static void a_client_that_stops_reading_is_given_up_when_it_is_closed(void **state)
{
    struct script client, *backend;
    struct gateway g;
    char *body = filler(100000);

    gateway_init(&g, &wire, CONF);
    backend = request(&g, &client, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    client.lazy = true;
    script_say(&g, backend, "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
    script_send(&g, backend, body, 100000);
    gateway_run(&g, 5000);
    assert_int_equal(proxy_n_sessions(g.proxy), 0);
    gateway_run(&g, 60000);
    assert_true(client.closed);
    script_free(&client);
    gateway_fini(&g);
    free(body);
}

static uint64_t segments_in(const struct gateway *g)
{
    return tcp_counters(g->wire.nodes[1].tcp)->segs_in;
}

/* What is sent in one turn leaves together. The ACK of what the backend sent waits for its time. */
static void a_head_and_its_short_body_are_one_segment(void **state)
{
    struct script client, *backend;
    struct gateway g;
    char *body = filler(1024);
    char answer[2048];
    uint64_t before;

    gateway_init(&g, &wire, CONF);
    backend = request(&g, &client, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n%s", body);
    before = segments_in(&g);
    script_say(&g, backend, answer);
    gateway_run(&g, 10);
    assert_int_equal(body_len(&client), 1024);
    assert_int_equal(segments_in(&g) - before, 1);
    script_free(&client);
    gateway_fini(&g);
    free(body);
}

/* Without a length, only the way it ends says whether it is whole. */
static void a_response_until_close_that_is_cut_short_ends_in_a_reset(void **state)
{
    struct script client, *backend;
    struct gateway g;

    gateway_init(&g, &wire, CONF);
    backend = request(&g, &client, "GET / HTTP/1.0\r\nhost: a\r\n\r\n");
    script_say(&g, backend, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    gateway_run(&g, 10);
    assert_int_equal(body_len(&client), 5);
    script_reset(backend);
    gateway_run(&g, 10);
    assert_false(client.eof);
    assert_true(client.closed);
    assert_int_equal(client.why, -ECONNRESET);
    assert_string_equal(gateway_log(&g),
                        "200 UC upstream_reset_after_response_started{connection_termination}\n");
    script_free(&client);
    gateway_fini(&g);
}

/* A body with a hole in it is worse than none. */
static void a_part_that_finds_no_packet_cuts_the_message_short(void **state)
{
    const bool uploads[] = { false, true };

    for (unsigned i = 0; i < ARRAY_SIZE(uploads); i++) {
        struct script client, *backend;
        struct gateway g;
        char *piece = filler(1460);

        gateway_init(&g, &wire, CONF);
        backend =
            request(&g, &client,
                    uploads[i] ? "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
                               : "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        if (!uploads[i])
            script_say(&g, backend, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        script_say(&g, uploads[i] ? &client : backend, "ffff\r\n");
        gateway_run(&g, 100);
        for (unsigned k = 0; k < 3; k++) {
            struct script *from = uploads[i] ? &client : backend;
            struct test_pool *pool = &g.wire.nodes[0].pool;

            if (from->tcp == NULL)
                break;
            script_send(&g, from, piece, tcp_mss(from->tcp));
            /* What arrives is one full packet; the end of its chunk takes a second. */
            pool->max = k == 1 ? pool->n_out + 1 : 0;
            gateway_run(&g, 1);
            pool->max = 0;
            gateway_run(&g, 1000);
        }
        free(piece);
        if (uploads[i]) {
            assert_true(backend->eof || backend->closed);
            assert_string_equal(gateway_log(&g), "503 OM out_of_packets\n");
        } else {
            assert_true(client.eof || client.closed);
            assert_string_equal(gateway_log(&g), "200 OM out_of_packets\n");
        }
        script_free(&client);
        gateway_fini(&g);
    }
}

/* A response whose header finds no packet was not a bad one. */
static void a_header_that_finds_no_packet_is_no_protocol_error(void **state)
{
    struct script client, *backend;
    struct gateway g;

    gateway_init(&g, &wire, CONF);
    backend = request(&g, &client, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    script_say(&g, backend, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    g.wire.nodes[0].pool.fail_at = 2;
    gateway_run(&g, 10);
    assert_non_null(strstr(client.in, "HTTP/1.1 503"));
    assert_string_equal(gateway_log(&g), "503 OM out_of_packets\n");
    script_free(&client);
    gateway_fini(&g);
}

/* What an edge says about the client is not for the client to say, not even after the body. */
static void trailers_cannot_say_what_the_header_may_not(void **state)
{
    static const char *const ours[] = { "x-forwarded-client-cert", "x-forwarded-for",
                                        "x-request-id", "x-envoy-decorator-operation" };
    struct script client, *backend;
    struct gateway g;

    gateway_init(&g, &wire, CONF);
    backend =
        request(&g, &client, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    script_say(&g, &client, "3\r\nabc\r\n0\r\nchecksum: 1\r\n");
    for (unsigned i = 0; i < ARRAY_SIZE(ours); i++) {
        script_say(&g, &client, ours[i]);
        script_say(&g, &client, ": liar\r\n");
    }
    script_say(&g, &client, "\r\n");
    gateway_run(&g, 10);
    assert_non_null(strstr(backend->in, "0\r\nchecksum: 1\r\n\r\n"));
    assert_null(strstr(backend->in, "liar"));
    script_free(&client);
    gateway_fini(&g);
}

/* Want of memory is our fault, not the client's. */
static void a_request_that_finds_no_packet_is_no_protocol_error(void **state)
{
    struct script client;
    struct gateway g;
    struct test_pool *pool = &g.wire.nodes[0].pool;

    gateway_init(&g, &wire, CONF);
    request(&g, &client, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    script_say(&g, &client, "5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n");
    pool->fail_at = 2; /* the end of the body is cut from what follows: after the frame itself */
    gateway_run(&g, 2000);
    assert_non_null(strstr(client.in, "HTTP/1.1 503"));
    assert_string_equal(gateway_log(&g), "503 OM http1.no_memory\n");
    script_free(&client);
    gateway_fini(&g);
}

/* Answers are not made for somebody who does not take them. */
static void a_client_that_does_not_read_is_not_read_either(void **state)
{
    static const char ask[] = "GET /x HTTP/1.1\r\nhost: nobody\r\n\r\n";
    struct script client;
    struct gateway g;

    gateway_init(&g, &wire, CONF);
    script_connect(&g, &client, 80);
    gateway_run(&g, 10);
    client.lazy = true;
    for (unsigned i = 0; i < 30000; i++)
        script_say(&g, &client, ask);
    gateway_run(&g, 10000);
    /* 64 KiB of answers wait at the client, and as many with us. */
    assert_in_range(g.wire.nodes[0].pool.n_out, 1, 600);
    for (unsigned i = 0; i < 2000; i++) {
        gateway_run(&g, 20);
        script_read(&client);
        if (client.n > 1024 * 1024)
            break;
    }
    assert_true(client.n > 1024 * 1024); /* and then it goes on */
    script_free(&client);
    gateway_fini(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_and_its_short_body_are_one_segment),
        cmocka_unit_test(a_slow_client_gets_all_that_a_closing_backend_sent),
        cmocka_unit_test(the_end_of_a_response_has_the_time_that_it_takes),
        cmocka_unit_test(a_client_that_stops_reading_is_given_up_when_it_is_closed),
        cmocka_unit_test(a_response_until_close_that_is_cut_short_ends_in_a_reset),
        cmocka_unit_test(a_part_that_finds_no_packet_cuts_the_message_short),
        cmocka_unit_test(a_header_that_finds_no_packet_is_no_protocol_error),
        cmocka_unit_test(trailers_cannot_say_what_the_header_may_not),
        cmocka_unit_test(a_request_that_finds_no_packet_is_no_protocol_error),
        cmocka_unit_test(a_client_that_does_not_read_is_not_read_either),
    };

    return cmocka_run_group_tests_name("bodies", tests, NULL, NULL);
}
