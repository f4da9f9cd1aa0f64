/*
 * What a client that waits for its next request costs, packet buffers apart: all that is in use of
 * the slabs of each layer, the memory of its TLS session, and its share of the flow table.
 */
#include "dataplane/http/http.h"
#include "dataplane/net/flow_table.h"
#include "dataplane/proxy/proxy_priv.h"
#include "dataplane/tcp/tcp_conn.h"
#include "dataplane/transport/kind.h"
#include "tests/lib/gateway.h"
#include "tests/lib/pki.h"
#include "tests/lib/test.h"
#include "tls/inner.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CLIENTS 2000
#define CLIENTS_WITH_CERTIFICATES 200
#define PLAIN_MAX 512
#define TLS_MAX 2560
#define CHUNK 8 /* that malloc() adds */
#define REQUEST "GET / HTTP/1.1\r\nhost: nowhere\r\n\r\n"

#define CONF                                                                                       \
    "listeners = ( { name = \"l\"; address = \"10.0.0.1:80\";\n"                                   \
    "  filter_chains = ( { name = \"c\"; %s http = { route_config = \"r\"; }; } ); } );\n"         \
    "route_configs = ( { name = \"r\"; virtual_hosts = ( { name = \"v\"; domains = [ \"a\" ];\n"   \
    "  routes = ( { prefix = \"/\"; cluster = \"b\"; } ); } ); } );\n"                             \
    "clusters = ( { name = \"b\"; endpoints = [ \"10.0.0.2:8080\" ]; } );\n"

struct row {
    const char *what;
    const struct slab *slab;
};

#define ROWS 16

static unsigned slabs_of(const struct gateway *g, struct row rows[ROWS])
{
    const struct tcp *tcp = g->wire.nodes[0].tcp;
    const struct row all[] = {
        { "tcp_conn", &tcp->conns },
        { "tcp_parked", &tcp->parked },
        { "tcp_flight", &tcp->flights },
        { "tcp_holes", &tcp->holes },
        { "tcp_estats", &tcp->estats },
        { "its totals, folded", &tcp->rests[0] },
        { "its totals, folded, more", &tcp->rests[1] },
        { "tcp_tuning", &tcp->tunings },
        { "transport", &g->transports->slab },
        { "h1", &g->http->h1 },
        { "blocks of arenas", &g->http->blocks },
        { "session", &g->proxy->sessions },
        { "parked", &g->proxy->parked },
        { "stream", &g->proxy->streams },
        { "tcp_proxy", &g->proxy->tcp_proxies },
    };

    _Static_assert(ARRAY_SIZE(all) < ROWS, "room for them");
    memcpy(rows, all, sizeof(all));
    return ARRAY_SIZE(all);
}

static size_t of_malloc(void *p)
{
    return p != NULL ? malloc_usable_size(p) + CHUNK : 0;
}

/* Of all TLS sessions, OpenSSL's objects apart, of which there must not be any. */
static size_t tls_bytes(const struct gateway *g)
{
    const struct list *l, *at;
    size_t bytes = 0;

    list_for_each(l, &g->proxy->listeners)
    {
        list_for_each(at, &container_of(l, struct listener, link)->parked)
        {
            struct tls_session *tls = container_of(at, struct parked, link)->transport.tls;

            if (tls == NULL)
                continue;
            assert_null(tls->ssl);
            bytes += of_malloc(tls) + of_malloc(tls->keys) + of_malloc(tls->peer_text);
        }
    }
    return bytes;
}

static double tell(const char *what, double bytes)
{
    if (bytes > 0)
        printf("# %-26s %7.1f\n", what, bytes);
    return bytes;
}

/* Bytes of one, as a table. */
static double cost(const struct gateway *g, const char *kind, unsigned clients)
{
    const struct flow_table *flows = net_flows(g->wire.nodes[0].net);
    const double share = (double)(flows->mask + 1) * sizeof(struct flow_bucket) / flows->max;
    struct row rows[ROWS];
    const unsigned n = slabs_of(g, rows);
    double bytes = 0;

    printf("# %s, bytes of one:\n", kind);
    for (unsigned i = 0; i < n; i++)
        bytes += tell(rows[i].what, (double)rows[i].slab->in_use * rows[i].slab->size / clients);
    bytes += tell("tls_session, its keys", (double)tls_bytes(g) / clients);
    bytes += tell("a place in the flow table", share);
    return tell("all", bytes);
}

/* --- clients that ask once ------------------------------------------------------------------- */

/* It stays, and receives nothing more. */
static void answered(struct gateway *g, struct script *s, const char *text)
{
    assert_non_null(strstr(text, "HTTP/1.1 404"));
    gateway_run(g, 50); /* the last ACK */
    free(s->in);
    s->in = NULL;
}

static void ask(struct gateway *g, struct script *s, SSL_CTX *ctx)
{
    script_connect(g, s, 80);
    gateway_run(g, 2);
    script_say(g, s, REQUEST);
    gateway_run(g, 2);
    answered(g, s, s->in);
}

/* What goes out, and what has come of it. */
static void exchange(struct gateway *g, struct script *s, SSL *ssl, size_t *fed)
{
    char bytes[8192];
    int n;

    assert_true(s->tcp != NULL && !s->eof);
    while ((n = BIO_read(SSL_get_wbio(ssl), bytes, sizeof(bytes))) > 0)
        script_send(g, s, bytes, (size_t)n);
    gateway_run(g, 2);
    BIO_write(SSL_get_rbio(ssl), s->in + *fed, (int)(s->n - *fed));
    *fed = s->n;
}

static void ask_by_tls(struct gateway *g, struct script *s, SSL_CTX *ctx)
{
    SSL *ssl = SSL_new(ctx);
    char text[4096] = "";
    size_t fed = 0;

    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_tlsext_host_name(ssl, "server.example.com");
    script_connect(g, s, 80);
    gateway_run(g, 2);
    while (SSL_connect(ssl) != 1)
        exchange(g, s, ssl, &fed);
    assert_int_equal(SSL_write(ssl, REQUEST, (int)strlen(REQUEST)), strlen(REQUEST));
    while (SSL_read(ssl, text, sizeof(text) - 1) <= 0)
        exchange(g, s, ssl, &fed);
    answered(g, s, text);
    SSL_free(ssl);
}

/* All of them, one after the other; those before are asleep meanwhile. */
static double cost_of_many(const char *kind, const char *conf, unsigned n, SSL_CTX *ctx,
                           void (*open)(struct gateway *g, struct script *s, SSL_CTX *ctx))
{
    /* The present, in which certificates are good. */
    const struct wire_conf wire = { .seed = 1,
                                    .delay_us = 100,
                                    .start_us = (uint64_t)time(NULL) * 1000000 };
    struct script *clients = calloc(n, sizeof(*clients));
    struct gateway g;
    double bytes;

    gateway_init_for(&g, n, &wire, conf);
    for (unsigned i = 0; i < n; i++)
        open(&g, &clients[i], ctx);
    gateway_run(&g, 5000);
    assert_int_equal(proxy_n_parked(g.proxy), n);
    assert_int_equal(g.wire.nodes[0].pool.n_out, 0);
    bytes = cost(&g, kind, n);
    assert_true(g.proxy->sessions.n_touched < 100); /* that were ever awake at once */
    for (unsigned i = 0; i < n; i++)
        script_free(&clients[i]);
    free(clients);
    gateway_fini(&g);
    return bytes;
}

static void a_plain_client_costs_half_a_kib(void **state)
{
    char conf[2048];

    snprintf(conf, sizeof(conf), CONF, "");
    assert_true(cost_of_many("HTTP/1.1", conf, CLIENTS, NULL, ask) <= PLAIN_MAX);
}

static double cost_of_tls(const char *kind, const char *mode, bool has_cert)
{
    const struct test_cert *certs[] = { NULL, NULL, NULL };
    char conf[4096], chain[256], key[256], roots[256], listener[2048], tls[128];
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    struct test_pki pki;
    double bytes;

    test_pki_init(&pki);
    certs[0] = &pki.server_cert;
    certs[1] = &pki.inter;
    snprintf(chain, sizeof(chain), "%s", test_write_certs(&pki.dir, "g.pem", certs));
    certs[0] = &pki.root;
    certs[1] = NULL;
    snprintf(roots, sizeof(roots), "%s", test_write_certs(&pki.dir, "roots.pem", certs));
    snprintf(key, sizeof(key), "%s", test_write_key(&pki.dir, "g.key", &pki.server_cert, NULL));
    snprintf(tls, sizeof(tls), "tls = { mode = \"%s\"; secret = \"g\"; };", mode);
    snprintf(listener, sizeof(listener), CONF, tls);
    snprintf(conf, sizeof(conf),
             "secrets = ( { name = \"g\"; certificate_chain = \"%s\"; private_key = \"%s\";\n"
             "  trusted_ca = \"%s\"; } );\n%s",
             chain, key, roots, listener);
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    if (has_cert) {
        assert_int_equal(SSL_CTX_use_certificate(ctx, pki.client_cert.x509), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(ctx, pki.client_cert.key), 1);
        assert_int_equal(SSL_CTX_add1_chain_cert(ctx, pki.inter.x509), 1);
    }
    bytes =
        cost_of_many(kind, conf, has_cert ? CLIENTS_WITH_CERTIFICATES : CLIENTS, ctx, ask_by_tls);
    SSL_CTX_free(ctx);
    test_pki_fini(&pki);
    return bytes;
}

static void a_client_with_tls_costs_two_and_a_half(void **state)
{
    assert_true(cost_of_tls("HTTP/1.1 over TLS 1.3", "simple", false) <= TLS_MAX);
}

static void a_client_with_a_certificate_costs_no_more(void **state)
{
    assert_true(cost_of_tls("HTTP/1.1 over mutual TLS 1.3", "mutual", true) <= TLS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_client_costs_half_a_kib),
        cmocka_unit_test(a_client_with_tls_costs_two_and_a_half),
        cmocka_unit_test(a_client_with_a_certificate_costs_no_more),
    };

    return cmocka_run_group_tests_name("idle", tests, NULL, NULL);
}
