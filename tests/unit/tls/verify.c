/* Who is accepted, and how often a certificate is looked at for that. */
#include "tests/unit/tls/pair.h"

struct identity_case {
    const char *what;
    struct test_cert_conf cert; /* of the client */
    const char *error;          /* part of the server's; NULL: accepted */
};

static void run_identity(const struct identity_case *row, const struct tls_conf *s, bool is_12,
                         bool chain)
{
    struct tls_conf c = client_conf();
    struct tls_secret *secret = test_pki_issue(&pki, &row->cert);
    const struct tls_counters *n;
    struct link l;

    link_init(&l, 7);
    if (is_12)
        c.max_version = TLS_VERSION_1_2;
    use_server(&l, s);
    use_client(&l, &c, secret);
    link_connect(&l);
    link_run(&l);
    n = tls_counters(l.server.lib);
    if (row->error == NULL && tls_state(l.server.session) != TLS_OPEN)
        fail_msg("%s: %s", row->what, tls_error(l.server.session));
    if (row->error != NULL && tls_state(l.server.session) != TLS_FAILED)
        fail_msg("%s: was accepted", row->what);
    if (row->error != NULL && strstr(tls_error(l.server.session), row->error) == NULL)
        fail_msg("%s: %s", row->what, tls_error(l.server.session));
    /* The client learns of it, if only after it thought it was done. */
    assert_int_equal(tls_state(l.client.session), row->error == NULL ? TLS_OPEN : TLS_FAILED);
    assert_int_equal(n->handshakes, row->error == NULL);
    assert_int_equal(n->handshake_failed, row->error != NULL);
    assert_int_equal(n->fail_verify_error, row->error != NULL && chain);
    assert_int_equal(n->fail_verify_san, row->error != NULL && !chain);
    link_fini(&l);
    tls_secret_put(secret);
}

/* @chain: those refused are refused for their chain, not for who they are. */
static void run_identities(const struct identity_case *rows, size_t n, const struct tls_conf *s,
                           bool chain)
{
    for (size_t i = 0; i < n; i++)
        run_identity(&rows[i], s, i % 2, chain);
}

static void chains_must_verify(void **state)
{
    struct test_cert weak_ca;
    struct tls_conf s = server_conf();

    test_cert_make(&weak_ca, &(struct test_cert_conf){ .cn = "no ca", .issuer = &pki.inter });
    const struct identity_case rows[] = {
        { "another CA",
          { .cn = "c", .uri = { "spiffe://cluster.local/a" }, .issuer = &pki.other },
          "unable to get local issuer certificate" },
        { "signed by what is no CA",
          { .cn = "c", .uri = { "spiffe://cluster.local/a" }, .issuer = &weak_ca },
          "unable to get local issuer certificate" },
        { "expired",
          { .cn = "c",
            .uri = { "spiffe://cluster.local/a" },
            .from = time(NULL) - 5000,
            .until = time(NULL) - 60 },
          "certificate has expired" },
        { "not yet valid",
          { .cn = "c",
            .uri = { "spiffe://cluster.local/a" },
            .from = time(NULL) + 5000,
            .until = time(NULL) + 9000 },
          "certificate is not yet valid" },
        { "for servers only",
          { .cn = "c", .uri = { "spiffe://cluster.local/a" }, .eku = "serverAuth" },
          "unsuitable certificate purpose" },
        { "for clients only",
          { .cn = "c", .uri = { "spiffe://cluster.local/a" }, .eku = "clientAuth" },
          NULL },
        { "for any purpose",
          { .cn = "c", .uri = { "spiffe://cluster.local/a" }, .eku = "" },
          NULL },
    };

    run_identities(rows, ARRAY_SIZE(rows), &s, true);
    test_cert_free(&weak_ca);
}

/* What was verified is not verified again: but for its time, and for who it is. */
static void a_chain_is_verified_once(void **state)
{
    const uint64_t year_us = UINT64_C(366) * 24 * 3600 * 1000000;
    struct tls_conf other = server_conf();
    const struct tls_counters *n;
    struct link l;

    link_init(&l, 1);
    use_both(&l);
    n = tls_counters(l.server.lib);
    for (unsigned i = 0; i < 3; i++) {
        both_open(&l);
        assert_int_equal(n->chains_known, i);
        assert_string_equal(tls_peer(l.server.session)->uri,
                            "spiffe://cluster.local/ns/foo/sa/client");
    }
    /* The next context of the same certificates knows it, too; one that asks for more does not. */
    use_both(&l);
    both_open(&l);
    assert_int_equal(n->chains_known, 3);
    other.min_version = TLS_VERSION_1_3;
    use_server(&l, &other);
    both_open(&l);
    assert_int_equal(n->chains_known, 3);
    /* It has run out: both are told so, although both knew the other. */
    l.core.wall_us += 100 * year_us;
    link_connect(&l);
    link_run(&l);
    assert_int_equal(tls_state(l.client.session), TLS_FAILED);
    assert_non_null(strstr(tls_error(l.client.session), "certificate has expired"));
    l.core.wall_us = UINT64_C(946684800) * 1000000; /* the year 2000 */
    link_connect(&l);
    link_run(&l);
    assert_int_equal(tls_state(l.client.session), TLS_FAILED);
    assert_non_null(strstr(tls_error(l.client.session), "certificate is not yet valid"));
    assert_int_equal(n->chains_known, 3);
    link_fini(&l);
}

/* Leaf and intermediate are the same objects as before, for whoever was accepted. */
static void a_certificate_is_decoded_once(void **state)
{
    struct tls_conf s = server_conf(), c = client_conf();
    const struct test_cert *const roots[] = { &pki.other, NULL };
    struct tls_secret *others = test_pki_trust(&pki, roots);
    const struct tls_counters *n;
    struct link l;

    link_init(&l, 1);
    use_both(&l);
    n = tls_counters(l.server.lib);
    for (unsigned i = 0; i < 3; i++) {
        both_open(&l);
        assert_int_equal(n->certs_known, 2 * i);
        assert_int_equal(tls_counters(l.client.lib)->certs_known, 2 * i);
        assert_string_equal(tls_peer(l.server.session)->subject, "CN=client,O=test");
        assert_string_equal(tls_peer(l.client.session)->dns, "server.example.com");
        assert_int_equal(strlen(tls_peer(l.server.session)->hash), 64);
    }
    /* What other contexts trust is asked of each: they find it decoded, and no more. */
    make_ctx(&l.server, &(struct tls_ctx_conf){ .name = "chain",
                                                .is_server = true,
                                                .conf = &s,
                                                .secret = pki.server,
                                                .trust = others });
    use_client(&l, &c, pki.client);
    link_connect(&l);
    link_run(&l);
    assert_int_equal(tls_state(l.server.session), TLS_FAILED);
    assert_int_equal(n->certs_known, 6);
    assert_int_equal(n->fail_verify_error, 1);
    link_fini(&l);
    tls_secret_put(others);
}

/* Else they could wash away those who are known. */
static void a_strangers_certificate_is_decoded_each_time(void **state)
{
    struct tls_conf s = server_conf(), c = client_conf();
    struct link l;

    link_init(&l, 1);
    use_server(&l, &s);
    use_client(&l, &c, pki.stranger);
    for (unsigned i = 0; i < 3; i++) {
        link_connect(&l);
        link_run(&l);
        assert_int_equal(tls_state(l.server.session), TLS_FAILED);
    }
    assert_int_equal(tls_counters(l.server.lib)->certs_known, 0);
    assert_int_equal(tls_counters(l.server.lib)->fail_verify_error, 3);
    link_fini(&l);
}

static void every_identity_of_our_trust_domains_and_no_other(void **state)
{
    const char *aliases[] = { "old-td" };
    struct tls_conf s = server_conf();
    const struct identity_case rows[] = {
        { "ours", { .cn = "c", .uri = { "spiffe://cluster.local/ns/a/sa/b" } }, NULL },
        { "an alias", { .cn = "c", .uri = { "spiffe://old-td/ns/a/sa/b" } }, NULL },
        { "a foreign trust domain",
          { .cn = "c", .uri = { "spiffe://cluster.local.evil/ns/a/sa/b" } },
          "SPIFFE identity spiffe://cluster.local.evil/ns/a/sa/b is not accepted" },
        { "no path", { .cn = "c", .uri = { "spiffe://cluster.local" } }, "no SPIFFE identity" },
        { "no URI", { .cn = "c", .dns = { "a.example.com" } }, "has no SPIFFE identity" },
        { "a DNS name that looks like one",
          { .cn = "c", .dns = { "spiffe://cluster.local/ns/a/sa/b" } },
          "has no SPIFFE identity" },
        { "an e-mail that looks like one",
          { .cn = "c", .email = "spiffe://cluster.local/ns/a/sa/b" },
          "has no SPIFFE identity" },
        { "a subject that looks like one",
          { .cn = "spiffe://cluster.local/ns/a/sa/b" },
          "has no SPIFFE identity" },
        { "two identities",
          { .cn = "c", .uri = { "spiffe://cluster.local/a", "spiffe://cluster.local/b" } },
          "more than one URI" },
        { "an identity and another URI",
          { .cn = "c", .uri = { "https://a.example", "spiffe://cluster.local/b" } },
          "more than one URI" },
        { "a NUL byte",
          { .cn = "c", .raw_uri = SLICE("spiffe://cluster.local/ns/a\0/sa/b") },
          "no SPIFFE identity" },
        { "a NUL byte at the end",
          { .cn = "c", .raw_uri = SLICE("spiffe://cluster.local/ns/a/sa/b\0") },
          "no SPIFFE identity" },
        { "not ASCII",
          { .cn = "c", .raw_uri = SLICE("spiffe://cluster.local/ns/\xc3\xa4") },
          "no SPIFFE identity" },
        { "a key for signing certificates",
          { .cn = "c",
            .uri = { "spiffe://cluster.local/a" },
            .key_usage = "digitalSignature,keyCertSign" },
          "that of a CA" },
        { "a CA",
          { .cn = "c",
            .is_ca = true,
            .uri = { "spiffe://cluster.local/a" },
            .key_usage = "digitalSignature" },
          "that of a CA" },
    };

    s.n_trust_domain_aliases = 1;
    s.trust_domain_aliases = aliases;
    run_identities(rows, ARRAY_SIZE(rows), &s, false);
}

static void only_the_identities_listed(void **state)
{
    const char *aliases[] = { "old-td" };
    struct peer_id_conf ids[] = {
        { "spiffe://old-td/ns/a/sa/exact", false },
        { "spiffe://new-td/ns/foo/", true },
        { "spiffe://cluster.local/ns/b/sa/pointer", false },
        { "spiffe://partner/ns/c/sa/d", false },
    };
    struct tls_conf s = server_conf();
#define REFUSED(uri) "SPIFFE identity " uri " is not accepted"
#define ROW(name, ...)                                                                             \
    {                                                                                              \
        name, { .cn = "c", .uri = { name } }, __VA_ARGS__                                          \
    }
    const struct identity_case rows[] = {
        ROW("spiffe://old-td/ns/a/sa/exact", NULL),
        ROW("spiffe://new-td/ns/a/sa/exact", NULL), /* AZ-19 */
        ROW("spiffe://new-td/ns/a/sa/exactly", REFUSED("spiffe://new-td/ns/a/sa/exactly")),
        ROW("spiffe://new-td/ns/a/sa/exac", REFUSED("spiffe://new-td/ns/a/sa/exac")),
        ROW("spiffe://old-td/ns/foo/sa/any", NULL),
        ROW("spiffe://old-td/ns/fo/sa/any", REFUSED("spiffe://old-td/ns/fo/sa/any")),
        ROW("spiffe://old-td/ns/foo", REFUSED("spiffe://old-td/ns/foo")),
        ROW("spiffe://new-td/ns/b/sa/pointer", NULL), /* AZ-20 */
        ROW("spiffe://cluster.local/ns/b/sa/pointer",
            REFUSED("spiffe://cluster.local/ns/b/sa/pointer")),
        ROW("spiffe://partner/ns/c/sa/d", NULL),
        ROW("spiffe://new-td/ns/c/sa/d", REFUSED("spiffe://new-td/ns/c/sa/d")), /* not ours */
        ROW("spiffe://partner/ns/foo/sa/a", REFUSED("spiffe://partner/ns/foo/sa/a")),
    };

    s.trust_domain = "new-td";
    s.n_trust_domain_aliases = 1;
    s.trust_domain_aliases = aliases;
    s.n_peer_ids = ARRAY_SIZE(ids);
    s.peer_ids = ids;
    run_identities(rows, ARRAY_SIZE(rows), &s, false);
}

static void a_client_without_a_certificate_is_refused_by_name(void **state)
{
    for (unsigned is_12 = 0; is_12 <= 1; is_12++) {
        struct tls_conf s = server_conf(), c = client_conf();
        struct link l;

        link_init(&l, is_12);
        c.mode = TLS_MODE_SIMPLE;
        if (is_12)
            c.max_version = TLS_VERSION_1_2;
        use_server(&l, &s);
        use_client(&l, &c, NULL);
        link_connect(&l);
        link_run(&l);
        assert_int_equal(tls_state(l.server.session), TLS_FAILED);
        assert_string_equal(tls_error(l.server.session), "TLS error: no client certificate");
        assert_int_equal(tls_counters(l.server.lib)->fail_verify_no_cert, 1);
        assert_int_equal(tls_state(l.client.session), TLS_FAILED);
        /* CA-3: the flight was complete, so the client has seen and verified the server. */
        if (!is_12)
            assert_true(tls_peer(l.client.session)->has_cert);
        link_fini(&l);
    }
}

/* CA-1: what is in the file is what is sent: leaf, intermediate, root. */
static void the_whole_chain_is_presented(void **state)
{
    const struct test_cert *const chain[] = { &pki.server_cert, &pki.inter, &pki.root, NULL };
    struct secret_conf conf = {
        .name = "full",
        .certificate_chain = test_write_certs(&pki.dir, "full.pem", chain),
        .private_key = test_write_key(&pki.dir, "full.key", &pki.server_cert, NULL),
    };
    SSL_CTX *stock = SSL_CTX_new(TLS_client_method());
    struct tls_conf s = server_conf();
    struct cfg_err err = { "" };
    struct tls_secret *full = tls_secret_load(&conf, &err);
    STACK_OF(X509) * got;
    struct link l;

    link_init(&l, 3);
    s.mode = TLS_MODE_SIMPLE;
    make_ctx(&l.server, &(struct tls_ctx_conf){
                            .name = "chain", .is_server = true, .conf = &s, .secret = full });
    link_connect_raw(&l, stock, NULL);
    link_run(&l);
    got = SSL_get_peer_cert_chain(l.raw);
    assert_int_equal(sk_X509_num(got), 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(X509_cmp(sk_X509_value(got, i), chain[i]->x509), 0);
    link_fini(&l);
    tls_secret_put(full);
    SSL_CTX_free(stock);
}

struct server_case {
    const char *what;
    struct tls_conf conf;       /* of the client */
    struct test_cert_conf cert; /* of the server */
    const char *error;
};

static void clients_know_whom_they_call(void **state)
{
    const char *two[] = { "b.example.com", "c.example.com" };
    struct peer_id_conf id = { "spiffe://cluster.local/ns/default/sa/server", false };
    const char *uri = "spiffe://cluster.local/ns/default/sa/server";
    const struct server_case rows[] = {
        { "the name asked for", { .sni = "a.example.com" }, { .dns = { "a.example.com" } }, NULL },
        { "another name",
          { .sni = "b.example.com" },
          { .dns = { "a.example.com" } },
          "not for b.example.com" },
        { "the name in the subject alone", { .sni = "a" }, { .cn = "a" }, "not for a" },
        { "a star", { .sni = "x.example.com" }, { .dns = { "*.example.com" } }, NULL },
        { "a star over two labels",
          { .sni = "x.y.example.com" },
          { .dns = { "*.example.com" } },
          "not for x.y.example.com" },
        { "a name as a URI",
          { .sni = "a.example.com" },
          { .uri = { "a.example.com" } },
          "not for" },
        { "a name with a NUL",
          { .sni = "a.example.com" },
          { .raw_dns = SLICE("a.example.com\0.evil.com") },
          "not for" },
        { "one of two names",
          { .sni = "a.example.com", .n_dns_names = 2, .dns_names = two },
          { .dns = { "c.example.com" } },
          NULL },
        { "dns_names instead of the sni",
          { .sni = "a.example.com", .n_dns_names = 2, .dns_names = two },
          { .dns = { "a.example.com" } },
          "not for b.example.com or another accepted name" },
        { "an identity, whatever the sni",
          { .sni = "outbound_.80_._.server.default.svc.cluster.local",
            .n_peer_ids = 1,
            .peer_ids = &id },
          { .uri = { uri } },
          NULL },
        { "the sni does not stand in for an identity",
          { .sni = "a.example.com", .n_peer_ids = 1, .peer_ids = &id },
          { .dns = { "a.example.com" } },
          "no SPIFFE identity" },
        { "an identity as a DNS name",
          { .n_peer_ids = 1, .peer_ids = &id },
          { .dns = { uri } },
          "no SPIFFE identity" },
        { "of a client",
          { .sni = "a.example.com" },
          { .dns = { "a.example.com" }, .eku = "clientAuth" },
          "unsuitable certificate purpose" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tls_conf s = server_conf(), c = rows[i].conf;
        struct test_cert_conf cert = rows[i].cert;
        struct tls_secret *secret;
        struct link l;

        s.mode = c.mode = TLS_MODE_SIMPLE;
        c.max_version = i % 2 ? TLS_VERSION_1_2 : TLS_VERSION_1_3;
        if (cert.cn == NULL)
            cert.cn = "server";
        secret = test_pki_issue(&pki, &cert);
        link_init(&l, i);
        make_ctx(&l.server, &(struct tls_ctx_conf){
                                .name = "chain", .is_server = true, .conf = &s, .secret = secret });
        use_client(&l, &c, NULL);
        link_connect(&l);
        link_run(&l);
        if ((tls_state(l.client.session) == TLS_OPEN) != (rows[i].error == NULL) ||
            (rows[i].error != NULL && strstr(tls_error(l.client.session), rows[i].error) == NULL))
            fail_msg("%s: \"%s\"", rows[i].what, tls_error(l.client.session));
        link_fini(&l);
        tls_secret_put(secret);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_must_verify),
        cmocka_unit_test(a_chain_is_verified_once),
        cmocka_unit_test(a_certificate_is_decoded_once),
        cmocka_unit_test(a_strangers_certificate_is_decoded_each_time),
        cmocka_unit_test(every_identity_of_our_trust_domains_and_no_other),
        cmocka_unit_test(only_the_identities_listed),
        cmocka_unit_test(a_client_without_a_certificate_is_refused_by_name),
        cmocka_unit_test(the_whole_chain_is_presented),
        cmocka_unit_test(clients_know_whom_they_call),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
