/* What contexts share, what they do not, and which are none. */
#include "tests/lib/pki_group.h"
#include "tests/unit/tls/link.h"
#include "tls/inner.h"

static struct tls_conf cluster(const char *sni)
{
    return (struct tls_conf){ .mode = TLS_MODE_MUTUAL,
                              .min_version = TLS_VERSION_1_2,
                              .max_version = TLS_VERSION_1_3,
                              .trust_domain = "cluster.local",
                              .sni = sni };
}

static struct tls_ctx *make(struct tls_lib *lib, const struct tls_conf *conf, bool is_server,
                            struct tls_secret *secret)
{
    struct cfg_err err = { "" };
    struct tls_ctx *ctx = tls_ctx_new(
        lib,
        &(struct tls_ctx_conf){
            .name = "x", .is_server = is_server, .conf = conf, .secret = secret, .trust = secret },
        &err);

    if (ctx == NULL)
        fail_msg("%s", err.text);
    return ctx;
}

/* What a reload of ten thousand clusters costs is what OpenSSL's contexts cost. */
static void clusters_that_differ_in_names_alone_share_a_context(void **state)
{
    struct tls_lib *lib = tls_lib_new();
    struct tls_ctx *all[1000];

    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        char name[32];
        struct tls_conf conf;

        snprintf(name, sizeof(name), "c%u.example", i);
        conf = cluster(name);
        conf.handshake_timeout_us = i + 1;
        all[i] = make(lib, &conf, false, pki.client);
        assert_ptr_equal(all[i]->base, all[0]->base);
        assert_string_equal(all[i]->who->sni, name);
        assert_int_equal(tls_ctx_handshake_timeout_us(all[i]), i + 1);
    }
    assert_int_equal(tls_counters(lib)->contexts, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
        tls_ctx_put(all[i]);
    tls_lib_free(lib);
}

static void whatever_openssl_must_know_is_not_shared(void **state)
{
    static const char *const alpn[] = { "istio", "http/1.1" };
    const struct tls_conf plain = cluster("a.example");
    struct tls_conf confs[8];
    struct tls_lib *lib = tls_lib_new();
    struct tls_ctx *all[ARRAY_SIZE(confs) + 2];
    union {
        const char *const *in;
        const char **out;
    } names = { alpn };

    for (unsigned i = 0; i < ARRAY_SIZE(confs); i++)
        confs[i] = plain;
    confs[1].min_version = TLS_VERSION_1_3;
    confs[2].max_version = TLS_VERSION_1_2;
    confs[3].cipher_list = "ECDHE-ECDSA-AES128-GCM-SHA256";
    confs[4].cipher_list = "ECDHE-ECDSA-AES256-GCM-SHA384";
    confs[5].alpn = names.out;
    confs[5].n_alpn = 1;
    confs[6].alpn = names.out;
    confs[6].n_alpn = 2;
    confs[7].alpn = names.out + 1;
    confs[7].n_alpn = 1;
    for (unsigned i = 0; i < ARRAY_SIZE(confs); i++)
        all[i] = make(lib, &confs[i], false, pki.client);
    all[8] = make(lib, &plain, false, pki.server);
    confs[0].sni = NULL;
    all[9] = make(lib, &confs[0], true, pki.client);
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
        for (unsigned k = 0; k < i; k++)
            assert_ptr_not_equal(all[i]->base, all[k]->base);
    assert_int_equal(tls_counters(lib)->contexts, ARRAY_SIZE(all));
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
        tls_ctx_put(all[i]);
    tls_lib_free(lib);
}

/* Two clusters of one context: each accepts its own service, and not that of the other. */
static void who_is_accepted_is_each_contexts_own(void **state)
{
    struct peer_id_conf right = { "spiffe://cluster.local/ns/default/sa/server", false },
                        wrong = { "spiffe://cluster.local/ns/other/sa/other", false };
    struct tls_conf server = cluster(NULL), good = cluster("a.example"), bad = good;
    struct tls_ctx *kept;
    struct link l;

    server.mode = TLS_MODE_SIMPLE;
    good.n_peer_ids = bad.n_peer_ids = 1;
    good.peer_ids = &right;
    bad.peer_ids = &wrong;
    link_init(&l, 1);
    l.server.ctx = make(l.server.lib, &server, true, pki.server);
    kept = l.client.ctx = make(l.client.lib, &good, false, pki.client);
    link_connect(&l);
    link_run(&l);
    assert_int_equal(tls_state(l.client.session), TLS_OPEN);

    link_disconnect(&l);
    l.client.ctx = make(l.client.lib, &bad, false, pki.client);
    assert_ptr_equal(l.client.ctx->base, kept->base);
    link_connect(&l);
    link_run(&l);
    assert_int_equal(tls_state(l.client.session), TLS_FAILED);
    assert_non_null(strstr(tls_error(l.client.session), "is not accepted"));
    tls_ctx_put(kept);
    link_fini(&l);
}

/* The same cluster at another worker: nothing but OpenSSL's part is made anew. */
static void workers_share_what_a_cluster_says_for_itself(void **state)
{
    const struct tls_conf conf = cluster("a.example");
    const struct tls_ctx_conf of = {
        .name = "x", .conf = &conf, .secret = pki.client, .trust = pki.client
    };
    struct tls_lib *libs[2] = { tls_lib_new(), tls_lib_new() };
    struct cfg_err err = { "" };
    struct tls_ctx *first = tls_ctx_new(libs[0], &of, &err),
                   *second = tls_ctx_again(first, libs[1], &of, &err);

    assert_ptr_equal(first->who, second->who);
    assert_ptr_not_equal(first->base, second->base);
    assert_true(tls_ctx_is_of(second, pki.client, pki.client));
    assert_false(tls_ctx_is_of(second, pki.server, pki.client));
    tls_ctx_put(first);
    assert_string_equal(second->who->sni, "a.example");
    tls_ctx_put(second);
    for (unsigned i = 0; i < 2; i++)
        tls_lib_free(libs[i]);
}

/* Keys and roots that were replaced do not stay in memory. */
static void a_context_that_nobody_uses_is_swept(void **state)
{
    const struct tls_conf conf = cluster("a.example");
    struct tls_lib *lib = tls_lib_new();
    struct tls_ctx *used = make(lib, &conf, false, pki.client),
                   *unused = make(lib, &conf, false, pki.server);

    tls_lib_sweep(lib);
    tls_ctx_put(unused);
    tls_lib_sweep(lib);
    tls_ctx_put(make(lib, &conf, false, pki.client)); /* is there yet */
    assert_int_equal(tls_counters(lib)->contexts, 2);
    tls_ctx_put(make(lib, &conf, false, pki.server)); /* is not */
    assert_int_equal(tls_counters(lib)->contexts, 3);
    tls_ctx_put(used);
    tls_lib_free(lib);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clusters_that_differ_in_names_alone_share_a_context),
        cmocka_unit_test(whatever_openssl_must_know_is_not_shared),
        cmocka_unit_test(who_is_accepted_is_each_contexts_own),
        cmocka_unit_test(workers_share_what_a_cluster_says_for_itself),
        cmocka_unit_test(a_context_that_nobody_uses_is_swept),
        cmocka_unit_test(contexts_that_would_trust_anybody_are_refused),
    };

    return cmocka_run_group_tests_name("ctx", tests, pki_setup, pki_teardown);
}
