/* Sessions that wait for their next request: what wakes them, and that nobody can tell. */
#include "dataplane/http/http.h"
#include "dataplane/proxy/proxy_priv.h"
#include "dataplane/transport/kind.h"
#include "tests/lib/gateway.h"
#include "tests/lib/pki_group.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_SESSIONS GATEWAY_SESSIONS
#define PARKED_MS 1100 /* after so long it is */
#define GET(path) "GET " path " HTTP/1.1\r\nhost: a\r\n\r\n"
#define EMPTY "HTTP/1.1 204 No Content\r\n\r\n"

static const struct wire_conf wire = { .seed = 1, .delay_us = 100 };

/* @chain: the name of the filter chain, and more of it; @http: of its connection manager. */
static const char *conf_named(const char *cluster, const char *chain, const char *http)
{
    static char text[4096];

    snprintf(
        text, sizeof(text),
        "clusters = ( { name = \"%s\"; endpoints = [ \"10.0.0.2:8080\" ]; } );\n"
        "route_configs = ( { name = \"r\"; virtual_hosts = ( { name = \"v\";\n"
        "  domains = [ \"a\" ]; routes = ( { prefix = \"/\"; cluster = \"%s\"; } ); } ); } );\n"
        "access_logs = ( { name = \"log\"; path = \"/dev/null\"; format = \"%%REQ(:PATH)%% "
        "%%RESPONSE_CODE%% %%RESPONSE_FLAGS%% "
        "%%DOWNSTREAM_LOCAL_ADDRESS%% %%UPSTREAM_CLUSTER%% %%REQUESTED_SERVER_NAME%%\"; } );\n"
        "listeners = ( { name = \"l\"; address = \"10.0.0.1:80\"; filter_chains = ( {\n"
        "  name = %s http = { route_config = \"r\"; access_log = \"log\"; %s };\n"
        "} ); } );\n",
        cluster, cluster, chain, http);
    return text;
}

static const char *conf_of(const char *cluster, const char *chain, const char *http)
{
    char named[512];

    snprintf(named, sizeof(named), "\"c\"; %s", chain);
    return conf_named(cluster, named, http);
}

struct wanted {
    const struct stat_desc *desc;
    uint64_t n;
};

static void add_wanted(const struct stats_block *b, const struct stat_desc *d, uint64_t sum,
                       void *ctx)
{
    struct wanted *w = ctx;

    w->n += d == w->desc ? sum : 0;
}

static uint64_t sum_of(const struct gateway *g, const struct stat_desc *desc)
{
    struct wanted w = { desc, 0 };

    stats_each(g->stats, add_wanted, &w);
    return w.n;
}

static uint64_t counted(const struct gateway *g, enum http_stat stat)
{
    return sum_of(g, &http_stats_scope.descs[stat]);
}

static uint64_t listener_counted(const struct gateway *g, enum listener_stat stat)
{
    return sum_of(g, &listener_stats_scope.descs[stat]);
}

static void assert_parked(const struct gateway *g, uint32_t n)
{
    assert_int_equal(proxy_n_parked(g->proxy), n);
    assert_int_equal(tcp_n_parked(g->wire.nodes[0].tcp), n);
    assert_int_equal(proxy_n_sessions(g->proxy), n);
    assert_int_equal(counted(g, HTTP_STAT_downstream_cx_active), n);
    assert_int_equal(listener_counted(g, LISTENER_STAT_downstream_cx_active), n);
}

/* The request came in full, is answered, and is logged as any other. */
static void answer(struct gateway *g, struct script *client, const char *log)
{
    const size_t before = client->n;
    struct script *backend;

    gateway_run(g, 10);
    assert_true(g->n_backends > 0);
    backend = &g->backends[g->n_backends - 1];
    assert_true(backend->n > 0);
    backend->n = 0;
    script_say(g, backend, EMPTY);
    gateway_run(g, 10);
    assert_non_null(strstr(client->in + before, "HTTP/1.1 204"));
    assert_string_equal(gateway_log(g), log);
}

/* A client that has had an answer, and nothing since. */
static void begin(struct gateway *g, struct script *client, const char *conf)
{
    gateway_init(g, &wire, conf);
    script_connect(g, client, 80);
    gateway_run(g, 10);
    script_say(g, client, GET("/1"));
    answer(g, client, "/1 204 - 10.0.0.1:80 b -\n");
    assert_int_equal(proxy_n_parked(g->proxy), 0);
    gateway_run(g, PARKED_MS);
    assert_parked(g, 1);
}

static void end(struct gateway *g, struct script *client)
{
    script_free(client);
    gateway_fini(g);
}

static void a_request_wakes_it(void **state)
{
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", ""));
    assert_int_equal(http_n_conns(g.http), 1); /* that to the backend */
    assert_int_equal(transports_count(g.transports), 1);
    for (unsigned i = 0; i < 3; i++) {
        gateway_run(&g, 60000);
        assert_parked(&g, 1);
        script_say(&g, &client, GET("/2"));
        answer(&g, &client, "/2 204 - 10.0.0.1:80 b -\n");
        gateway_run(&g, PARKED_MS);
    }
    assert_int_equal(counted(&g, HTTP_STAT_downstream_rq_total), 4);
    assert_int_equal(counted(&g, HTTP_STAT_downstream_cx_total), 1);
    assert_int_equal(counted(&g, HTTP_STAT_downstream_cx_http1_total), 1);
    end(&g, &client);
}

static void a_request_in_pieces_wakes_it(void **state)
{
    static const char request[] = GET("/2");
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", ""));
    for (size_t i = 0; i + 1 < sizeof(request); i++) {
        script_send(&g, &client, request + i, 1);
        gateway_run(&g, 1500);
        assert_int_equal(proxy_n_parked(g.proxy), 0);
    }
    answer(&g, &client, "/2 204 - 10.0.0.1:80 b -\n");
    end(&g, &client);
}

/* Half an empty line is the beginning of something; a whole one is nothing. */
static void empty_lines_before_a_request_are_passed_over(void **state)
{
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", ""));
    script_say(&g, &client, "\r");
    gateway_run(&g, 5000);
    assert_int_equal(proxy_n_parked(g.proxy), 0);
    script_say(&g, &client, "\n");
    gateway_run(&g, 5000);
    assert_parked(&g, 1);
    script_say(&g, &client, GET("/2"));
    answer(&g, &client, "/2 204 - 10.0.0.1:80 b -\n");
    end(&g, &client);
}

static void pipelined_requests_wake_it(void **state)
{
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", ""));
    script_say(&g, &client, GET("/2") GET("/3"));
    answer(&g, &client, "/2 204 - 10.0.0.1:80 b -\n");
    answer(&g, &client, "/3 204 - 10.0.0.1:80 b -\n");
    end(&g, &client);
}

static void one_that_never_asked_is_parked_too(void **state)
{
    struct script client;
    struct gateway g;

    gateway_init(&g, &wire, conf_of("b", "", ""));
    script_connect(&g, &client, 80);
    gateway_run(&g, PARKED_MS);
    assert_parked(&g, 1);
    script_say(&g, &client, GET("/1"));
    answer(&g, &client, "/1 204 - 10.0.0.1:80 b -\n");
    end(&g, &client);
}

static void what_is_no_request_is_refused(void **state)
{
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", ""));
    script_say(&g, &client, "nonsense\r\n\r\n");
    gateway_run(&g, 10);
    assert_non_null(strstr(client.in, "HTTP/1.1 400"));
    assert_true(client.eof);
    end(&g, &client);
}

static void it_is_closed_when_it_was_idle_for_too_long(void **state)
{
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", "idle_timeout = \"10s\";"));
    gateway_run(&g, 9900 - PARKED_MS);
    assert_parked(&g, 1);
    gateway_run(&g, 200);
    assert_true(client.eof);
    assert_int_equal(counted(&g, HTTP_STAT_downstream_cx_idle_timeout), 1);
    script_shutdown(&client);
    gateway_run(&g, 10);
    assert_true(client.closed);
    assert_parked(&g, 0);
    end(&g, &client);
}

/* Only requests count as life: the time goes on, whoever wakes it. */
static void what_is_no_request_does_not_make_it_wait_longer(void **state)
{
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", "idle_timeout = \"10s\";"));
    for (unsigned i = 0; i < 2; i++) {
        gateway_run(&g, 1000);
        script_say(&g, &client, "\r\n");
        gateway_run(&g, 10);
        assert_int_equal(proxy_n_parked(g.proxy), 0);
        gateway_run(&g, PARKED_MS);
        assert_parked(&g, 1);
    }
    gateway_run(&g, 4000);
    assert_parked(&g, 1);
    gateway_run(&g, 1000);
    assert_true(client.eof);
    assert_int_equal(counted(&g, HTTP_STAT_downstream_cx_idle_timeout), 1);
    end(&g, &client);
}

static void a_reset_ends_it(void **state)
{
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", ""));
    script_reset(&client);
    gateway_run(&g, 10);
    assert_parked(&g, 0);
    assert_int_equal(listener_counted(&g, LISTENER_STAT_downstream_cx_destroy), 1);
    end(&g, &client);
}

static void a_fin_closes_it(void **state)
{
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", ""));
    script_shutdown(&client);
    gateway_run(&g, 10);
    assert_true(client.closed);
    assert_int_equal(client.why, 0);
    assert_parked(&g, 0);
    end(&g, &client);
}

static void a_client_may_ask_and_close_its_half(void **state)
{
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", ""));
    script_say(&g, &client, GET("/2"));
    script_shutdown(&client);
    answer(&g, &client, "/2 204 - 10.0.0.1:80 b -\n");
    assert_true(client.closed);
    end(&g, &client);
}

/* --- reload and drain ------------------------------------------------------------------------ */

static void its_next_request_goes_by_the_newest_configuration(void **state)
{
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", ""));
    gateway_reload(&g, conf_of("new", "", ""));
    gateway_run(&g, 10);
    assert_null(g.old[0]); /* nobody pins it */
    assert_parked(&g, 1);
    script_say(&g, &client, GET("/2"));
    answer(&g, &client, "/2 204 - 10.0.0.1:80 new -\n");
    end(&g, &client);
}

static void it_closes_when_its_chain_is_gone(void **state)
{
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", ""));
    gateway_reload(&g, conf_named("b", "\"other\";", ""));
    gateway_run(&g, 10);
    assert_true(client.eof);
    gateway_run(&g, 5000);
    assert_null(g.old[0]);
    end(&g, &client);
}

static void it_closes_when_its_listener_is_gone(void **state)
{
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", ""));
    gateway_reload(&g, "");
    gateway_run(&g, 10);
    assert_true(client.eof);
    script_shutdown(&client);
    gateway_run(&g, 10);
    assert_int_equal(proxy_n_sessions(g.proxy), 0);
    end(&g, &client);
}

static void it_closes_when_the_gateway_drains(void **state)
{
    struct script client;
    struct gateway g;

    begin(&g, &client, conf_of("b", "", ""));
    proxy_drain(g.proxy);
    gateway_run(&g, 10);
    assert_true(client.eof);
    assert_int_equal(counted(&g, HTTP_STAT_downstream_cx_drain_close), 1);
    script_shutdown(&client);
    gateway_run(&g, 10);
    assert_parked(&g, 0);
    end(&g, &client);
}

/* --- telling --------------------------------------------------------------------------------- */

static void look(const struct session_info *s, void *ctx)
{
    *(struct session_info *)ctx = *s;
}

static struct session_info told(struct gateway *g)
{
    struct session_info info = { .requests = 0 };
    uint32_t at = 0;

    assert_false(proxy_each(g->proxy, &at, 10, look, &info));
    return info;
}

static void it_is_told_of_as_before(void **state)
{
    struct session_info before, after;
    struct script client;
    struct gateway g;

    gateway_init(&g, &wire, conf_of("b", "", ""));
    script_connect(&g, &client, 80);
    gateway_run(&g, 10);
    script_say(&g, &client, GET("/1"));
    answer(&g, &client, "/1 204 - 10.0.0.1:80 b -\n");
    gateway_run(&g, 1000);
    before = told(&g);
    gateway_run(&g, PARKED_MS);
    assert_parked(&g, 1);
    after = told(&g);
    assert_string_equal(after.state, "idle");
    assert_string_equal(after.state, before.state);
    assert_string_equal(after.listener, "l");
    assert_string_equal(after.chain, "c");
    assert_string_equal(after.tls, "");
    assert_true(ipport_eq(&after.remote, &before.remote));
    assert_true(ipport_eq(&after.local, &before.local));
    assert_int_equal(after.requests, 1);
    assert_int_equal(after.age_us - before.age_us, PARKED_MS * 1000);
    assert_int_equal(after.tcp.bytes_in, strlen(GET("/1")));
    assert_int_equal(after.tcp.bytes_out, before.tcp.bytes_out);
    assert_non_null(after.client_tcp);
    end(&g, &client);
}

/* One after the other: of SYNs that wait for ARP, few do. */
static void connect_all(struct gateway *g, struct script *clients, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        script_connect(g, &clients[i], 80);
        gateway_run(g, 1);
    }
    gateway_run(g, PARKED_MS);
}

static void count_one(const struct session_info *s, void *ctx)
{
    ++*(unsigned *)ctx;
}

/* Some asleep, some awake: each is told once, whatever the steps. */
static void each_is_told_once(void **state)
{
    struct script clients[9];
    struct gateway g;

    gateway_init(&g, &wire, conf_of("b", "", ""));
    connect_all(&g, clients, 9);
    for (unsigned i = 0; i < 4; i++)
        script_say(&g, &clients[2 * i], "G");
    gateway_run(&g, 10);
    assert_int_equal(proxy_n_parked(g.proxy), 5);
    for (uint32_t step = 1; step < 11; step++) {
        unsigned n = 0;
        uint32_t at = 0;

        while (proxy_each(g.proxy, &at, step, count_one, &n))
            continue;
        assert_int_equal(n, 9);
    }
    for (unsigned i = 0; i < 9; i++)
        script_free(&clients[i]);
    gateway_fini(&g);
}

/* --- memory ---------------------------------------------------------------------------------- */

static void those_that_are_parked_find_their_places_again(void **state)
{
    struct script clients[MAX_SESSIONS], late;
    struct gateway g;

    gateway_init(&g, &wire, conf_of("b", "", ""));
    connect_all(&g, clients, MAX_SESSIONS);
    assert_parked(&g, MAX_SESSIONS);
    script_connect(&g, &late, 80);
    gateway_run(&g, 10);
    assert_true(late.closed);
    assert_int_equal(listener_counted(&g, LISTENER_STAT_downstream_cx_overflow), 1);
    for (unsigned i = 0; i < MAX_SESSIONS; i++)
        script_say(&g, &clients[i], "GET / HTTP/1.1\r\nhost: nowhere\r\n\r\n");
    gateway_run(&g, 100);
    for (unsigned i = 0; i < MAX_SESSIONS; i++) {
        assert_non_null(strstr(clients[i].in, "HTTP/1.1 404"));
        script_free(&clients[i]);
    }
    end(&g, &late);
}

/* By the worker's sizes it does not happen; but it would be an answer. */
static void without_memory_for_its_parts_it_is_reset(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        struct script client;
        struct gateway g;
        struct slab *s;
        void *taken[4 * MAX_SESSIONS];
        unsigned n = 0;

        begin(&g, &client, conf_of("b", "", ""));
        s = i == 0 ? &g.transports->slab : &g.http->h1;
        while ((taken[n] = slab_alloc(s)) != NULL)
            n++;
        script_say(&g, &client, GET("/2"));
        gateway_run(&g, 10);
        assert_true(client.closed);
        assert_int_equal(client.why, -ECONNRESET);
        assert_int_equal(listener_counted(&g, LISTENER_STAT_downstream_cx_overflow), 1);
        assert_parked(&g, 0);
        while (n > 0)
            slab_free(s, taken[--n]);
        end(&g, &client);
    }
}

/* --- TLS ------------------------------------------------------------------------------------- */

/* A stock client at the end of a script. */
struct tls_client {
    struct script script;
    SSL_CTX *ctx;
    SSL *ssl;
    size_t fed; /* bytes of script.in */
    char text[8192];
    size_t n;
};

static const char *tls_conf(void)
{
    static const char text[] =
        "secrets = ( { name = \"g\"; certificate_chain = \"%s\"; private_key = \"%s\"; } );\n%s";
    static char all[8192];
    const struct test_cert *const certs[] = { &pki.server_cert, &pki.inter, NULL };
    char chain[256], key[256];

    snprintf(chain, sizeof(chain), "%s", test_write_certs(&pki.dir, "g.pem", certs));
    snprintf(key, sizeof(key), "%s", test_write_key(&pki.dir, "g.key", &pki.server_cert, NULL));
    snprintf(all, sizeof(all), text, chain, key,
             conf_of("b", "tls = { mode = \"simple\"; secret = \"g\"; };", ""));
    return all;
}

/* What has come goes in, what is to go goes out, and time passes. */
static void tls_run(struct gateway *g, struct tls_client *c, uint64_t ms)
{
    for (unsigned i = 0; i < 4; i++) {
        char bytes[4096];
        int n;

        BIO_write(SSL_get_rbio(c->ssl), c->script.in + c->fed, (int)(c->script.n - c->fed));
        c->fed = c->script.n;
        while ((n = SSL_read(c->ssl, bytes, sizeof(bytes))) > 0) {
            assert_true(c->n + (size_t)n < sizeof(c->text));
            memcpy(c->text + c->n, bytes, (size_t)n);
            c->n += (size_t)n;
        }
        while (c->script.tcp != NULL &&
               (n = BIO_read(SSL_get_wbio(c->ssl), bytes, sizeof(bytes))) > 0)
            script_send(g, &c->script, bytes, (size_t)n);
        gateway_run(g, i == 0 ? ms : 5);
    }
    c->text[c->n] = '\0';
}

static void tls_say(struct gateway *g, struct tls_client *c, const char *text)
{
    assert_int_equal(SSL_write(c->ssl, text, (int)strlen(text)), strlen(text));
    tls_run(g, c, 5);
}

static void tls_answer(struct gateway *g, struct tls_client *c, const char *log)
{
    c->n = 0;
    script_say(g, &g->backends[g->n_backends - 1], EMPTY);
    tls_run(g, c, 5);
    assert_non_null(strstr(c->text, "HTTP/1.1 204"));
    assert_string_equal(gateway_log(g), log);
}

/* As begin(). */
static void tls_begin(struct gateway *g, struct tls_client *c, int version)
{
    *c = (struct tls_client){ .ctx = SSL_CTX_new(TLS_client_method()) };
    gateway_init(g, &wire, tls_conf());
    SSL_CTX_set_min_proto_version(c->ctx, version);
    SSL_CTX_set_max_proto_version(c->ctx, version);
    c->ssl = SSL_new(c->ctx);
    SSL_set_bio(c->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_tlsext_host_name(c->ssl, "server.example.com");
    SSL_set_connect_state(c->ssl);
    script_connect(g, &c->script, 80);
    gateway_run(g, 10);
    while (!SSL_is_init_finished(c->ssl))
        tls_run(g, c, 5);
    tls_say(g, c, GET("/1"));
    tls_answer(g, c, "/1 204 - 10.0.0.1:80 b server.example.com\n");
    gateway_run(g, PARKED_MS);
    assert_parked(g, 1);
}

static void tls_end(struct gateway *g, struct tls_client *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    end(g, &c->script);
}

static void a_request_over_tls_wakes_it(void **state)
{
    static const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };

    for (unsigned i = 0; i < ARRAY_SIZE(versions); i++) {
        struct tls_client client;
        struct gateway g;

        tls_begin(&g, &client, versions[i]);
        for (unsigned k = 0; k < 3; k++) {
            struct session_info info = told(&g);

            assert_string_equal(info.tls, i == 0 ? "TLSv1.3" : "TLSv1.2");
            assert_string_equal(info.sni, "server.example.com");
            tls_say(&g, &client, GET("/2"));
            tls_answer(&g, &client, "/2 204 - 10.0.0.1:80 b server.example.com\n");
            tls_run(&g, &client, PARKED_MS);
            assert_parked(&g, 1);
        }
        assert_int_equal(tls_counters(g.lib)->handshakes, 1);
        tls_end(&g, &client);
    }
}

static void a_record_in_pieces_wakes_it(void **state)
{
    struct tls_client client;
    struct gateway g;
    char record[256];
    int n;

    tls_begin(&g, &client, TLS1_3_VERSION);
    SSL_write(client.ssl, GET("/2"), (int)strlen(GET("/2")));
    n = BIO_read(SSL_get_wbio(client.ssl), record, sizeof(record));
    for (int i = 0; i < n; i++) {
        script_send(&g, &client.script, record + i, 1);
        gateway_run(&g, 3000);
        assert_int_equal(proxy_n_parked(g.proxy),
                         0); /* even of a header of which a byte has come */
    }
    tls_answer(&g, &client, "/2 204 - 10.0.0.1:80 b server.example.com\n");
    tls_end(&g, &client);
}

static void new_keys_while_it_is_parked_are_used_after(void **state)
{
    struct tls_client client;
    struct gateway g;

    tls_begin(&g, &client, TLS1_3_VERSION);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(SSL_key_update(client.ssl, i & 1 ? SSL_KEY_UPDATE_REQUESTED
                                                          : SSL_KEY_UPDATE_NOT_REQUESTED),
                         1);
        assert_int_equal(SSL_do_handshake(client.ssl), 1);
        tls_run(&g, &client, 10);
        assert_int_equal(proxy_n_parked(g.proxy), 0);
        tls_run(&g, &client, PARKED_MS);
        assert_parked(&g, 1); /* an update of ours may be owed: with the next data */
    }
    tls_say(&g, &client, GET("/2"));
    tls_answer(&g, &client, "/2 204 - 10.0.0.1:80 b server.example.com\n");
    tls_end(&g, &client);
}

static void close_notify_closes_it(void **state)
{
    struct tls_client client;
    struct gateway g;

    tls_begin(&g, &client, TLS1_3_VERSION);
    SSL_shutdown(client.ssl);
    tls_run(&g, &client, 5);
    assert_int_equal(SSL_get_shutdown(client.ssl), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    assert_true(client.script.eof);
    script_shutdown(&client.script);
    gateway_run(&g, 10);
    assert_parked(&g, 0);
    assert_int_equal(listener_counted(&g, LISTENER_STAT_ssl_connection_error), 0);
    tls_end(&g, &client);
}

/* 23, version 3.3, 17 bytes: no record of its keys. */
static void what_is_no_record_ends_it(void **state)
{
    static const char bad[22] = "\x17\x03\x03\x00\x11";
    struct tls_client client;
    struct gateway g;

    tls_begin(&g, &client, TLS1_3_VERSION);
    script_send(&g, &client.script, bad, sizeof(bad));
    tls_run(&g, &client, 5);
    assert_int_equal(tls_counters(g.lib)->records_failed, 1);
    assert_int_equal(listener_counted(&g, LISTENER_STAT_ssl_connection_error), 1);
    assert_parked(&g, 0);
    tls_end(&g, &client);
}

static void a_fin_without_close_notify_ends_it(void **state)
{
    struct tls_client client;
    struct gateway g;

    tls_begin(&g, &client, TLS1_3_VERSION);
    script_shutdown(&client.script);
    gateway_run(&g, 10);
    assert_parked(&g, 0);
    tls_end(&g, &client);
}

/* It says goodbye, in order. */
static void a_drain_says_close_notify(void **state)
{
    struct tls_client client;
    struct gateway g;

    tls_begin(&g, &client, TLS1_3_VERSION);
    proxy_drain(g.proxy);
    gateway_run(&g, 10);
    tls_run(&g, &client, 5);
    assert_int_equal(SSL_get_shutdown(client.ssl), SSL_RECEIVED_SHUTDOWN);
    assert_true(client.script.eof);
    tls_end(&g, &client);
}

static void without_memory_a_tls_session_is_freed(void **state)
{
    struct tls_client client;
    struct gateway g;
    void *taken[4 * MAX_SESSIONS];
    unsigned n = 0;

    tls_begin(&g, &client, TLS1_3_VERSION);
    while ((taken[n] = slab_alloc(&g.transports->slab)) != NULL)
        n++;
    script_reset(&client.script);
    gateway_run(&g, 10);
    assert_parked(&g, 0);
    assert_int_equal(tls_n_sessions(g.lib), 0);
    while (n > 0)
        slab_free(&g.transports->slab, taken[--n]);
    tls_end(&g, &client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_wakes_it),
        cmocka_unit_test(a_request_in_pieces_wakes_it),
        cmocka_unit_test(empty_lines_before_a_request_are_passed_over),
        cmocka_unit_test(pipelined_requests_wake_it),
        cmocka_unit_test(one_that_never_asked_is_parked_too),
        cmocka_unit_test(what_is_no_request_is_refused),
        cmocka_unit_test(it_is_closed_when_it_was_idle_for_too_long),
        cmocka_unit_test(what_is_no_request_does_not_make_it_wait_longer),
        cmocka_unit_test(a_reset_ends_it),
        cmocka_unit_test(a_fin_closes_it),
        cmocka_unit_test(a_client_may_ask_and_close_its_half),
        cmocka_unit_test(its_next_request_goes_by_the_newest_configuration),
        cmocka_unit_test(it_closes_when_its_chain_is_gone),
        cmocka_unit_test(it_closes_when_its_listener_is_gone),
        cmocka_unit_test(it_closes_when_the_gateway_drains),
        cmocka_unit_test(it_is_told_of_as_before),
        cmocka_unit_test(each_is_told_once),
        cmocka_unit_test(those_that_are_parked_find_their_places_again),
        cmocka_unit_test(without_memory_for_its_parts_it_is_reset),
        cmocka_unit_test(a_request_over_tls_wakes_it),
        cmocka_unit_test(a_record_in_pieces_wakes_it),
        cmocka_unit_test(new_keys_while_it_is_parked_are_used_after),
        cmocka_unit_test(close_notify_closes_it),
        cmocka_unit_test(what_is_no_record_ends_it),
        cmocka_unit_test(a_fin_without_close_notify_ends_it),
        cmocka_unit_test(a_drain_says_close_notify),
        cmocka_unit_test(without_memory_a_tls_session_is_freed),
    };

    return cmocka_run_group_tests_name("park", tests, pki_setup, pki_teardown);
}
