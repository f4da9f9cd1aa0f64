#include "tests/unit/tls/link.h"

#include <openssl/err.h>
#include <stdlib.h>

static struct test_pki pki;

static int setup(void **state)
{
    test_pki_init(&pki);
    return 0;
}

static int teardown(void **state)
{
    test_pki_fini(&pki);
    return 0;
}

static void use_server(struct link *l, const struct tls_conf *conf)
{
    make_ctx(&l->server, &(struct tls_ctx_conf){ .name = "chain",
                                                 .is_server = true,
                                                 .conf = conf,
                                                 .secret = pki.server,
                                                 .trust = pki.server });
}

static void use_client(struct link *l, const struct tls_conf *conf, struct tls_secret *secret)
{
    make_ctx(&l->client,
             &(struct tls_ctx_conf){
                 .name = "cluster", .conf = conf, .secret = secret, .trust = pki.client });
}

static void use_both(struct link *l)
{
    struct tls_conf s = server_conf(), c = client_conf();

    use_server(l, &s);
    use_client(l, &c, pki.client);
}

static void both_open(struct link *l)
{
    link_connect(l);
    link_run(l);
    if (tls_state(l->client.session) != TLS_OPEN || tls_state(l->server.session) != TLS_OPEN)
        fail_msg("client: %s; server: %s", tls_error(l->client.session),
                 tls_error(l->server.session));
}

static void versions_modes_and_cuts(void **state)
{
    for (unsigned i = 0; i < 16; i++) {
        bool is_12 = i & 1, is_mutual = i & 2;
        struct tls_conf s = server_conf(), c = client_conf();
        const struct tls_peer *p;
        struct link l;

        link_init(&l, i);
        l.max_part = i & 4 ? 3 : 3000;
        if (is_12)
            (i & 8 ? &s : &c)->max_version = TLS_VERSION_1_2;
        if (!is_mutual)
            s.mode = TLS_MODE_SIMPLE;
        use_server(&l, &s);
        use_client(&l, &c, pki.client);
        both_open(&l);

        p = tls_peer(l.server.session);
        assert_string_equal(p->version, is_12 ? "TLSv1.2" : "TLSv1.3");
        assert_string_equal(p->sni, "server.example.com");
        assert_string_equal(p->alpn, "");
        assert_int_equal(p->has_cert, is_mutual);
        assert_string_equal(p->uri, is_mutual ? "spiffe://cluster.local/ns/foo/sa/client" : "");
        assert_string_equal(p->subject, is_mutual ? "CN=client,O=test" : "");
        assert_int_equal(strlen(p->hash), is_mutual ? 64 : 0);
        assert_false(p->resumed);
        p = tls_peer(l.client.session);
        assert_true(p->has_cert);
        assert_string_equal(p->cipher, is_12 ? "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
                                             : "TLS_AES_128_GCM_SHA256");
        assert_string_equal(p->dns, "server.example.com");
        assert_string_equal(p->sni, "server.example.com");
        assert_string_equal(tls_ctx_local_uri(tls_session_ctx(l.server.session)),
                            "spiffe://cluster.local/ns/default/sa/server");
        assert_int_equal(tls_counters(l.server.lib)->handshakes, 1);
        assert_int_equal(tls_counters(l.client.lib)->handshakes, 1);
        link_fini(&l);
    }
}

static void exchange(struct link *l, struct side *from, struct side *to, size_t len)
{
    uint8_t *sent = malloc(len), *got = malloc(len);

    for (size_t i = 0; i < len; i++)
        sent[i] = (uint8_t)core_random(&l->core);
    assert_int_equal(side_write(l, from, sent, len), TLS_OPEN);
    for (struct pkt *p = from->out.head; p != NULL; p = p->next) {
        assert_true(p->len <= SEG);
        assert_true(pkt_headroom(p) >= PKT_HEADROOM - 5);
    }
    link_run(l);
    assert_int_equal(to->plain.bytes, len);
    assert_int_equal(pktq_peek(&to->plain, got, len), len);
    assert_memory_equal(sent, got, len);
    pktq_clear(&to->plain);
    free(sent);
    free(got);
}

static void data_arrives_as_it_was_sent(void **state)
{
    for (unsigned i = 0; i < 4; i++) {
        struct tls_conf s = server_conf(), c = client_conf();
        struct link l;

        link_init(&l, 40 + i);
        l.max_part = i & 1 ? 50 : 4000;
        if (i & 2)
            s.max_version = TLS_VERSION_1_2;
        use_server(&l, &s);
        use_client(&l, &c, pki.client);
        both_open(&l);
        for (size_t len = 1; len < 100000; len = len * 3 + 1) {
            exchange(&l, &l.client, &l.server, len);
            exchange(&l, &l.server, &l.client, len);
        }
        exchange(&l, &l.server, &l.client, i & 1 ? 100000 : 1000000);
        link_fini(&l);
    }
}

/* A plaintext packet of the size tls_plain_seg() names becomes exactly one full segment. */
static void a_record_fills_a_segment(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        struct tls_conf s = server_conf(), c = client_conf();
        uint8_t bytes[SEG];
        struct link l;

        link_init(&l, i);
        if (i == 1)
            s.max_version = TLS_VERSION_1_2;
        use_server(&l, &s);
        use_client(&l, &c, pki.client);
        both_open(&l);
        memset(bytes, 'x', sizeof(bytes));
        side_write(&l, &l.server, bytes, tls_plain_seg(l.server.session));
        assert_int_equal(l.server.out.n, 1);
        assert_int_equal(l.server.out.bytes, SEG);
        link_fini(&l);
    }
}

static void read_stops_at_its_maximum(void **state)
{
    static const uint8_t bytes[20000];
    struct link l;
    struct pktq plain;

    link_init(&l, 1);
    use_both(&l);
    both_open(&l);
    side_write(&l, &l.client, bytes, sizeof(bytes));
    pktq_init(&plain);
    tls_read(l.server.session, &l.client.out, &plain, 1000, &l.server.out);
    assert_in_range(plain.bytes, 1000, 4000);
    assert_true(l.client.out.bytes > 10000);
    while (tls_read_pending(l.server.session, &l.client.out))
        tls_read(l.server.session, &l.client.out, &plain, UINT64_MAX, &l.server.out);
    assert_int_equal(plain.bytes, sizeof(bytes));
    pktq_clear(&plain);
    link_fini(&l);
}

/* Of OpenSSL's records a part; ours come as a whole, in the packets they came in. */
static void a_record_larger_than_the_maximum(bool is_12)
{
    static const uint8_t bytes[16000];
    SSL_CTX *stock = SSL_CTX_new(TLS_client_method());
    struct tls_conf s = server_conf();
    struct pktq plain;
    struct link l;

    link_init(&l, 1);
    s.mode = TLS_MODE_SIMPLE;
    if (is_12)
        s.max_version = TLS_VERSION_1_2;
    use_server(&l, &s);
    link_connect_raw(&l, stock, NULL);
    link_run(&l);
    assert_int_equal(SSL_write(l.raw, bytes, sizeof(bytes)), sizeof(bytes));
    char *wire;
    long len = BIO_get_mem_data(l.raw_out, &wire);
    pktq_append(&l.server.in, &l.tp.pool, wire, (size_t)len, SEG);
    pktq_init(&plain);
    tls_read(l.server.session, &l.server.in, &plain, 100, &l.server.out);
    assert_int_equal(l.server.in.bytes, 0);
    assert_int_equal(tls_read_pending(l.server.session, &l.server.in), is_12);
    assert_true(is_12 ? plain.bytes < 5000 : plain.bytes == sizeof(bytes));
    tls_read(l.server.session, &l.server.in, &plain, UINT64_MAX, &l.server.out);
    assert_int_equal(plain.bytes, sizeof(bytes));
    assert_false(tls_read_pending(l.server.session, &l.server.in));
    pktq_clear(&plain);
    link_fini(&l);
    SSL_CTX_free(stock);
}

static void a_record_larger_than_the_maximum_is_not_lost(void **state)
{
    a_record_larger_than_the_maximum(true);
    a_record_larger_than_the_maximum(false);
}

/* --- ALPN and names --- */

static void alpn_is_chosen_in_our_order(void **state)
{
    static const struct {
        const char *server[3], *client[3];
        const char *chosen; /* NULL: refused */
    } rows[] = {
        { { "h2", "http/1.1" }, { "http/1.1", "h2" }, "h2" },
        { { "h2", "http/1.1" }, { "http/1.1" }, "http/1.1" },
        { { "http/1.1" }, { NULL }, "" },
        { { NULL }, { "h2" }, "" },
        { { "http/1.1" }, { "h2", "istio" }, NULL },
        { { "h2" }, { "h2c", "h" }, NULL },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tls_conf s = server_conf(), c = client_conf();
        struct link l;

        link_init(&l, i);
        s.alpn = (const char **)rows[i].server;
        c.alpn = (const char **)rows[i].client;
        while (s.n_alpn < 3 && s.alpn[s.n_alpn] != NULL)
            s.n_alpn++;
        while (c.n_alpn < 3 && c.alpn[c.n_alpn] != NULL)
            c.n_alpn++;
        use_server(&l, &s);
        use_client(&l, &c, pki.client);
        link_connect(&l);
        link_run(&l);
        if (rows[i].chosen != NULL) {
            assert_string_equal(tls_peer(l.server.session)->alpn, rows[i].chosen);
            assert_string_equal(tls_peer(l.client.session)->alpn, rows[i].chosen);
        } else {
            assert_int_equal(tls_state(l.server.session), TLS_FAILED);
            assert_string_equal(tls_error(l.client.session),
                                "TLS error: the peer sent the alert \"no application protocol\"");
        }
        link_fini(&l);
    }
}

/* --- who is accepted --- */

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

static void contexts_that_would_trust_anybody_are_refused(void **state)
{
    struct peer_id_conf bad_id = { "spiffe://clust", true };
    const struct {
        const char *words;
        bool is_server;
        struct tls_conf conf;
        bool no_secret, no_trust;
    } rows[] = {
        { "trust_domain", true, { .mode = TLS_MODE_MUTUAL, .max_version = 1 }, false, false },
        { "nothing says who", false, { .max_version = 1 }, false, false },
        { "no trusted_ca", false, { .sni = "a", .max_version = 1 }, false, true },
        { "no certificate to present", true, { .max_version = 1 }, true, false },
        { "no certificate to present",
          false,
          { .mode = TLS_MODE_MUTUAL, .sni = "a", .max_version = 1 },
          true,
          false },
        { "whole trust domain",
          false,
          { .n_peer_ids = 1, .peer_ids = &bad_id, .max_version = 1 },
          false,
          false },
        { "not a host name", false, { .sni = "10.0.0.1:80", .max_version = 1 }, false, false },
        { "cipher_list",
          false,
          { .sni = "a", .cipher_list = "NONSENSE", .max_version = 1 },
          false,
          false },
        { "cipher_list",
          false,
          { .sni = "a", .cipher_list = "aNULL", .max_version = 1 },
          false,
          false },
        { "cipher_list",
          false,
          { .sni = "a", .cipher_list = "ECDHE-ECDSA-ARIA128-GCM-SHA256", .max_version = 1 },
          false,
          false },
        { "cipher_list",
          false,
          { .sni = "a", .cipher_list = "ECDHE-ECDSA-CAMELLIA128-SHA256", .max_version = 1 },
          false,
          false },
        { "cipher_list",
          false,
          { .sni = "a", .cipher_list = "DHE-RSA-AES128-GCM-SHA256", .max_version = 1 },
          false,
          false },
        { "min_version is above", false, { .sni = "a", .min_version = 1 }, false, false },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tls_lib *lib = tls_lib_new();
        struct cfg_err err = { "" };

        assert_null(tls_ctx_new(lib,
                                &(struct tls_ctx_conf){
                                    .name = "x",
                                    .is_server = rows[i].is_server,
                                    .conf = &rows[i].conf,
                                    .secret = rows[i].no_secret ? NULL : pki.server,
                                    .trust = rows[i].no_trust ? NULL : pki.server,
                                },
                                &err));
        if (strstr(err.text, rows[i].words) == NULL)
            fail_msg("row %zu: %s", i, err.text);
        tls_lib_free(lib);
    }
}

/* --- the end --- */

static void close_notify_ends_one_direction(void **state)
{
    for (unsigned is_12 = 0; is_12 <= 1; is_12++) {
        struct tls_conf s = server_conf(), c = client_conf();
        struct link l;

        link_init(&l, is_12);
        if (is_12)
            s.max_version = TLS_VERSION_1_2;
        use_server(&l, &s);
        use_client(&l, &c, pki.client);
        both_open(&l);
        side_write(&l, &l.client, "last", 4);
        tls_close(l.client.session, &l.client.out);
        tls_close(l.client.session, &l.client.out);
        assert_int_equal(side_write(&l, &l.client, "late", 4), TLS_FAILED);
        link_run(&l);
        assert_int_equal(tls_state(l.server.session), TLS_CLOSED);
        assert_int_equal(l.server.plain.bytes, 4);
        assert_int_equal(side_write(&l, &l.server, "answer", 6), TLS_CLOSED);
        tls_close(l.server.session, &l.server.out);
        link_run(&l);
        assert_int_equal(l.client.plain.bytes, 6);
        assert_int_equal(tls_state(l.client.session), TLS_CLOSED);
        assert_string_equal(tls_error(l.client.session), "");
        link_fini(&l);
    }
}

static void any_bit_of_a_record_matters(void **state)
{
    for (unsigned i = 0; i < 40; i++) {
        struct tls_conf s = server_conf(), c = client_conf();
        uint8_t bytes[200];
        struct link l;
        uint64_t n;

        link_init(&l, i);
        if (i & 1)
            c.max_version = TLS_VERSION_1_2;
        use_server(&l, &s);
        use_client(&l, &c, pki.client);
        both_open(&l);
        side_write(&l, &l.client, "some data that must not change", 30);
        n = pktq_peek(&l.client.out, bytes, sizeof(bytes));
        pktq_clear(&l.client.out);
        /* Not the length: a larger one only waits for bytes that never come. */
        unsigned at = core_random(&l.core) % n;
        if (at == 3 || at == 4)
            at = 5;
        bytes[at] ^= (uint8_t)(1 << core_random(&l.core) % 8);
        pktq_append(&l.client.out, &l.tp.pool, bytes, n, SEG);
        link_run(&l);
        assert_int_equal(l.server.plain.bytes, 0);
        assert_int_equal(tls_state(l.server.session), TLS_FAILED);
        assert_int_equal(tls_counters(l.server.lib)->records_failed, 1);
        assert_int_equal(tls_counters(l.server.lib)->handshake_failed, 0);
        assert_int_equal(tls_state(l.client.session), TLS_FAILED); /* an alert told it */
        assert_int_equal(tls_counters(l.client.lib)->alerts, 1);
        link_fini(&l);
    }
}

static void what_is_not_tls_fails_at_once(void **state)
{
    struct tls_conf s = server_conf();
    struct link l;

    link_init(&l, 1);
    use_server(&l, &s);
    l.server.session = tls_session_new(l.server.ctx, &l.core, SEG);
    pktq_append(&l.server.in, &l.tp.pool, "GET / HTTP/1.1\r\nhost: a\r\n\r\n", 27, SEG);
    tls_read(l.server.session, &l.server.in, &l.server.plain, 1000, &l.server.out);
    assert_int_equal(tls_state(l.server.session), TLS_FAILED);
    assert_string_equal(tls_error(l.server.session), "TLS error: http request");
    assert_true(pktq_is_empty(&l.server.in));
    link_fini(&l);
}

static void close_notify_in_a_handshake_is_an_end(void **state)
{
    struct tls_conf c = client_conf();
    struct link l;

    link_init(&l, 1);
    use_client(&l, &c, pki.client);
    l.client.session = tls_session_new(l.client.ctx, &l.core, SEG);
    tls_connect(l.client.session, &l.client.out);
    pktq_append(&l.client.in, &l.tp.pool, "\x15\x03\x03\x00\x02\x01\x00", 7, SEG);
    tls_read(l.client.session, &l.client.in, &l.client.plain, 1000, &l.client.out);
    assert_int_equal(tls_state(l.client.session), TLS_FAILED);
    assert_string_equal(tls_error(l.client.session),
                        "TLS error: the peer closed during the handshake");
    link_fini(&l);
}

static void old_versions_are_refused(void **state)
{
    SSL_CTX *stock = SSL_CTX_new(TLS_client_method());
    struct tls_conf s = server_conf();
    struct link l;

    SSL_CTX_set_security_level(stock, 0);
    SSL_CTX_set_min_proto_version(stock, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(stock, TLS1_1_VERSION);
    link_init(&l, 1);
    use_server(&l, &s);
    link_connect_raw(&l, stock, NULL);
    link_run(&l);
    assert_int_equal(tls_state(l.server.session), TLS_FAILED);
    assert_string_equal(tls_error(l.server.session), "TLS error: unsupported protocol");
    link_fini(&l);
    SSL_CTX_free(stock);
}

static void renegotiation_is_refused(void **state)
{
    SSL_CTX *stock = SSL_CTX_new(TLS_client_method());
    struct tls_conf s = server_conf();
    struct link l;

    s.mode = TLS_MODE_SIMPLE;
    s.max_version = TLS_VERSION_1_2;
    link_init(&l, 1);
    use_server(&l, &s);
    link_connect_raw(&l, stock, NULL);
    link_run(&l);
    assert_int_equal(tls_state(l.server.session), TLS_OPEN);
    SSL_renegotiate(l.raw);
    SSL_do_handshake(l.raw);
    link_run(&l);
    assert_false(SSL_is_init_finished(l.raw));
    link_fini(&l);
    SSL_CTX_free(stock);
}

static void key_updates_are_followed_but_not_without_end(void **state)
{
    SSL_CTX *stock = SSL_CTX_new(TLS_client_method());
    struct tls_conf s = server_conf();
    struct link l;

    s.mode = TLS_MODE_SIMPLE;
    link_init(&l, 1);
    use_server(&l, &s);
    link_connect_raw(&l, stock, NULL);
    link_run(&l);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(SSL_key_update(l.raw, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_write(l.raw, "x", 1), 1);
        link_run(&l);
        side_write(&l, &l.server, "y", 1);
        link_run(&l);
    }
    assert_int_equal(l.server.plain.bytes, 100);
    assert_int_equal(l.client.plain.bytes, 100);
    for (unsigned i = 0; i < 40; i++) {
        SSL_key_update(l.raw, SSL_KEY_UPDATE_NOT_REQUESTED);
        SSL_do_handshake(l.raw);
        if (i == 20) {
            link_run(&l);
            assert_int_equal(tls_state(l.server.session), TLS_OPEN);
        }
    }
    link_run(&l);
    assert_int_equal(tls_state(l.server.session), TLS_FAILED);
    assert_non_null(strstr(tls_error(l.server.session), "too many handshake messages"));
    link_fini(&l);
    SSL_CTX_free(stock);
}

static void empty_records_are_not_endless(void **state)
{
    struct tls_conf s = server_conf(), c = client_conf();
    struct link l;

    /* Plain change_cipher_spec records, which TLS 1.3 ignores during a handshake. */
    link_init(&l, 1);
    use_server(&l, &s);
    use_client(&l, &c, pki.client);
    link_connect(&l);
    for (unsigned i = 0; i < 2000; i++)
        pktq_append(&l.client.out, &l.tp.pool, "\x14\x03\x03\x00\x01\x01", 6, SEG);
    link_run(&l);
    assert_int_equal(tls_state(l.server.session), TLS_FAILED);
    link_fini(&l);
}

/* --- running out of packets --- */

static void an_empty_pool_ends_a_session_and_nothing_else(void **state)
{
    unsigned n_failed = 0, n_done = 0;

    for (uint32_t max = 1; max < 60; max += max < 20 ? 1 : 5) {
        static const uint8_t bytes[6000];
        const struct tls_counters *c, *s;
        struct link l;

        link_init(&l, max);
        use_both(&l);
        l.tp.max = max;
        link_connect(&l);
        link_run(&l);
        if (tls_state(l.client.session) == TLS_OPEN)
            side_write(&l, &l.client, bytes, sizeof(bytes));
        if (tls_state(l.server.session) == TLS_OPEN)
            side_write(&l, &l.server, bytes, sizeof(bytes));
        link_run(&l);
        c = tls_counters(l.client.lib);
        s = tls_counters(l.server.lib);
        if (tls_state(l.client.session) == TLS_FAILED ||
            tls_state(l.server.session) == TLS_FAILED) {
            assert_true(c->no_memory + s->no_memory > 0);
            n_failed++;
        } else if (l.server.plain.bytes == sizeof(bytes)) {
            n_done++;
        }
        if (c->no_memory > 0 && tls_state(l.client.session) == TLS_FAILED)
            assert_string_equal(tls_error(l.client.session), "TLS error: out of packet buffers");
        link_fini(&l);
    }
    assert_true(n_failed > 5);
    assert_true(n_done > 2);
}

/* Allocation number k fails, for every k: a pool that runs dry for a moment, anywhere. */
static void any_one_allocation_may_fail(void **state)
{
    for (unsigned k = 0;; k++) {
        static const uint8_t bytes[5000];
        struct link l;

        link_init(&l, k);
        use_both(&l);
        l.tp.fail_at = k + 1;
        link_connect(&l);
        link_run(&l);
        if (tls_state(l.client.session) == TLS_OPEN)
            side_write(&l, &l.client, bytes, sizeof(bytes));
        link_run(&l);
        if (tls_state(l.server.session) == TLS_OPEN)
            tls_close(l.server.session, &l.server.out);
        bool was_hit = l.tp.fail_at == 0;
        if (was_hit && tls_state(l.client.session) != TLS_FAILED &&
            tls_state(l.server.session) != TLS_FAILED)
            assert_int_equal(
                tls_counters(l.client.lib)->no_memory + tls_counters(l.server.lib)->no_memory, 0);
        link_fini(&l);
        if (!was_hit)
            break;
        assert_true(k < 10000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_modes_and_cuts),
        cmocka_unit_test(data_arrives_as_it_was_sent),
        cmocka_unit_test(a_record_fills_a_segment),
        cmocka_unit_test(read_stops_at_its_maximum),
        cmocka_unit_test(a_record_larger_than_the_maximum_is_not_lost),
        cmocka_unit_test(alpn_is_chosen_in_our_order),
        cmocka_unit_test(chains_must_verify),
        cmocka_unit_test(a_chain_is_verified_once),
        cmocka_unit_test(a_certificate_is_decoded_once),
        cmocka_unit_test(a_strangers_certificate_is_decoded_each_time),
        cmocka_unit_test(every_identity_of_our_trust_domains_and_no_other),
        cmocka_unit_test(only_the_identities_listed),
        cmocka_unit_test(a_client_without_a_certificate_is_refused_by_name),
        cmocka_unit_test(the_whole_chain_is_presented),
        cmocka_unit_test(clients_know_whom_they_call),
        cmocka_unit_test(contexts_that_would_trust_anybody_are_refused),
        cmocka_unit_test(close_notify_ends_one_direction),
        cmocka_unit_test(any_bit_of_a_record_matters),
        cmocka_unit_test(what_is_not_tls_fails_at_once),
        cmocka_unit_test(close_notify_in_a_handshake_is_an_end),
        cmocka_unit_test(old_versions_are_refused),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(key_updates_are_followed_but_not_without_end),
        cmocka_unit_test(empty_records_are_not_endless),
        cmocka_unit_test(an_empty_pool_ends_a_session_and_nothing_else),
        cmocka_unit_test(any_one_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
