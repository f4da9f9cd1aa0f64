/* Connections to backends: who gets one, and which. */
#include "tests/lib/certs.h"
#include "tests/lib/gateway.h"
#include "tests/lib/test.h"

#include <stdio.h>

#define GET "GET / HTTP/1.1\r\nhost: a\r\n\r\n"
#define EMPTY "HTTP/1.1 204 No Content\r\n\r\n"

static const struct wire_conf wire = { .seed = 1, .delay_us = 100 };

/* @secrets come first, @cluster is more of the cluster's settings. */
static const char *conf(const char *secrets, const char *cluster)
{
    static char text[2048];

    snprintf(text, sizeof(text),
             "%s clusters = ( { name = \"b\"; endpoints = [ \"10.0.0.2:8080\" ]; %s } );\n"
             "route_configs = ( { name = \"r\"; virtual_hosts = ( { name = \"v\";\n"
             "  domains = [ \"a\" ]; routes = ( { prefix = \"/\"; cluster = \"b\"; } ); } ); } );\n"
             "listeners = ( { name = \"l\"; address = \"10.0.0.1:80\";\n"
             "  filter_chains = ( { name = \"c\"; http = { route_config = \"r\"; }; } ); } );\n",
             secrets, cluster);
    return text;
}

static bool is_not_ours(struct wire *w, unsigned from, const uint8_t *frame, uint32_t len,
                        void *ctx)
{
    return from != 0;
}

#define SECRETS_LEN 256

/* A CA in @dir, as a secret of a configuration. */
static void write_ca(struct test_dir *dir, char secrets[SECRETS_LEN])
{
    struct test_cert ca;
    const struct test_cert *const certs[] = { &ca, NULL };

    test_cert_make(&ca, &(struct test_cert_conf){ .cn = "root", .is_ca = true });
    snprintf(secrets, SECRETS_LEN, "secrets = ( { name = \"ca\"; trusted_ca = \"%s\"; } );",
             test_write_certs(dir, "ca.pem", certs));
    test_cert_free(&ca);
}

/* Whoever asks after the reload must not be served in plaintext, nor under other identities. */
static void a_connection_dialled_under_other_tls_settings_is_not_used(void **state)
{
    struct script client;
    struct test_dir dir;
    struct gateway g;
    char secrets[SECRETS_LEN];

    test_dir_init(&dir);
    write_ca(&dir, secrets);
    gateway_init(&g, &wire, conf(secrets, ""));
    script_connect(&g, &client, 80);
    gateway_run(&g, 10);
    g.wire.filter = is_not_ours; /* while it dials */
    script_say(&g, &client, GET);
    gateway_run(&g, 100);
    assert_int_equal(g.n_backends, 0);
    gateway_reload(&g, conf(secrets, "tls = { mode = \"simple\"; trust = \"ca\"; sni = \"a\"; };"));
    g.wire.filter = NULL;
    gateway_run(&g, 3000);
    assert_true(g.n_backends > 0);
    for (unsigned i = 0; i < g.n_backends; i++)
        if (g.backends[i].n > 0)
            assert_int_equal(g.backends[i].in[0], 22); /* a TLS handshake */
    assert_true(g.backends[g.n_backends - 1].n > 0);
    script_free(&client);
    gateway_fini(&g);
    test_dir_fini(&dir);
}

/* Nor on one that is free: it may not have been closed yet, as there are many. */
static void a_free_connection_of_other_tls_settings_is_not_used(void **state)
{
    enum { N = 40 };
    struct script clients[N];
    struct test_dir dir;
    struct gateway g;
    char secrets[SECRETS_LEN];

    test_dir_init(&dir);
    write_ca(&dir, secrets);
    gateway_init(&g, &wire, conf(secrets, ""));
    for (unsigned i = 0; i < N; i++) {
        script_connect(&g, &clients[i], 80);
        gateway_run(&g, 10);
        script_say(&g, &clients[i], GET);
        gateway_run(&g, 10);
    }
    for (unsigned i = 0; i < N; i++)
        script_say(&g, &g.backends[i], EMPTY);
    gateway_run(&g, 10);
    assert_int_equal(g.n_backends, N);
    for (unsigned i = 0; i < N; i++) {
        g.backends[i].n = 0;
        script_say(&g, &clients[i], GET);
    }
    wire_run(&g.wire, wire.delay_us - 1); /* they arrive before all are closed */
    gateway_reload(&g, conf(secrets, "tls = { mode = \"simple\"; trust = \"ca\"; sni = \"a\"; };"));
    gateway_run(&g, 100);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(g.backends[i].n, 0);
        assert_true(g.backends[i].eof);
        script_free(&clients[i]);
    }
    assert_true(g.n_backends > N);
    gateway_fini(&g);
    test_dir_fini(&dir);
}

/* max_pending is about those who wait, not about those who need not. */
static void a_request_for_which_a_connection_is_free_is_not_pending(void **state)
{
    struct script clients[2];
    struct gateway g;

    gateway_init(&g, &wire, conf("", "max_pending = 1;"));
    for (unsigned i = 0; i < 2; i++)
        script_connect(&g, &clients[i], 80);
    gateway_run(&g, 10);
    for (unsigned i = 0; i < 2; i++) { /* one after the other: a connection for each */
        script_say(&g, &clients[i], GET);
        gateway_run(&g, 10);
    }
    assert_int_equal(g.n_backends, 2);
    for (unsigned i = 0; i < 2; i++)
        script_say(&g, &g.backends[i], EMPTY);
    gateway_run(&g, 10);
    for (unsigned i = 0; i < 2; i++) { /* at once: both are free */
        clients[i].n = 0;
        script_say(&g, &clients[i], GET);
    }
    gateway_run(&g, 10);
    for (unsigned i = 0; i < 2; i++)
        script_say(&g, &g.backends[i], EMPTY);
    gateway_run(&g, 10);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(strncmp(clients[i].in, "HTTP/1.1 204", 12), 0);
        script_free(&clients[i]);
    }
    gateway_fini(&g);
}

static void who_waits_beyond_max_pending_is_refused(void **state)
{
    struct script clients[3];
    unsigned n_refused = 0;
    struct gateway g;

    gateway_init(&g, &wire, conf("", "max_pending = 1; max_connections = 1;"));
    for (unsigned i = 0; i < 3; i++)
        script_connect(&g, &clients[i], 80);
    gateway_run(&g, 10);
    for (unsigned i = 0; i < 3; i++)
        script_say(&g, &clients[i], GET);
    gateway_run(&g, 10);
    for (unsigned i = 0; i < 3; i++)
        n_refused += strstr(clients[i].in, "reset reason: overflow") != NULL;
    assert_int_equal(n_refused, 2);
    for (unsigned i = 0; i < 3; i++)
        script_free(&clients[i]);
    gateway_fini(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_dialled_under_other_tls_settings_is_not_used),
        cmocka_unit_test(a_free_connection_of_other_tls_settings_is_not_used),
        cmocka_unit_test(a_request_for_which_a_connection_is_free_is_not_pending),
        cmocka_unit_test(who_waits_beyond_max_pending_is_refused),
    };

    return cmocka_run_group_tests_name("upstream", tests, NULL, NULL);
}
