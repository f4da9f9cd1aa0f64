#include "tls/secret.h"
#include "tests/lib/certs.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct test_dir dir;
static struct test_cert root, inter, leaf, other;

static int setup(void **state)
{
    test_dir_init(&dir);
    test_cert_make(&root, &(struct test_cert_conf){ .cn = "root", .is_ca = true });
    test_cert_make(&inter,
                   &(struct test_cert_conf){ .cn = "inter", .is_ca = true, .issuer = &root });
    test_cert_make(&leaf, &(struct test_cert_conf){
                              .cn = "leaf",
                              .issuer = &inter,
                              .uri = { "spiffe://cluster.local/ns/foo/sa/bar" },
                              .dns = { "a.example.com", "*.b.example.com" },
                              .raw_dns = SLICE("evil.com\0,x"),
                          });
    test_cert_make(&other, &(struct test_cert_conf){ .cn = "other" });
    return 0;
}

static int teardown(void **state)
{
    test_cert_free(&root);
    test_cert_free(&inter);
    test_cert_free(&leaf);
    test_cert_free(&other);
    test_dir_fini(&dir);
    return 0;
}

#define CERTS(...) ((const struct test_cert *const[]){ __VA_ARGS__, NULL })

static void refused(const struct secret_conf *conf, const char *words)
{
    struct cfg_err err = { "" };

    assert_null(tls_secret_load(conf, &err));
    if (strstr(err.text, words) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", words, err.text);
}

static void a_set_loads_and_describes_itself(void **state)
{
    struct secret_conf conf = {
        .name = "default",
        .certificate_chain = test_write_certs(&dir, "chain", CERTS(&leaf, &inter, &root)),
        .private_key = test_write_key(&dir, "key", &leaf, NULL),
        .trusted_ca = test_write_certs(&dir, "ca", CERTS(&root)),
    };
    struct cfg_err err = { "" };
    struct tls_secret *s = tls_secret_load(&conf, &err);
    struct tls_cert_info info;
    bool is_root;

    assert_non_null(s);
    assert_string_equal(err.text, "");
    assert_true(tls_secret_cert(s, 0, &info, &is_root));
    assert_false(is_root);
    assert_string_equal(info.subject, "CN=leaf,O=test");
    assert_string_equal(info.uri, "spiffe://cluster.local/ns/foo/sa/bar");
    assert_string_equal(info.dns, "a.example.com,*.b.example.com"); /* without the forged one */
    assert_int_equal(strlen(info.fingerprint), 64);
    assert_true(strlen(info.serial) > 0);
    assert_true(info.not_after - info.not_before == 11 * 86400);
    assert_true(tls_secret_cert(s, 3, &info, &is_root));
    assert_true(is_root);
    assert_string_equal(info.subject, "CN=root,O=test");
    assert_false(tls_secret_cert(s, 4, &info, &is_root));
    tls_secret_put(tls_secret_get(s));
    tls_secret_put(s);
}

static void equal_means_the_same_bytes(void **state)
{
    struct secret_conf a = {
        .name = "a",
        .certificate_chain = test_write_certs(&dir, "chain", CERTS(&leaf, &inter)),
        .private_key = test_write_key(&dir, "key", &leaf, NULL),
    };
    struct secret_conf b = a;
    struct cfg_err err = { "" };
    struct tls_secret *first = tls_secret_load(&a, &err), *again = tls_secret_load(&a, &err);
    struct tls_secret *longer;

    b.certificate_chain = test_write_certs(&dir, "chain2", CERTS(&leaf, &inter, &root));
    longer = tls_secret_load(&b, &err);
    assert_true(tls_secret_eq(first, again));
    assert_false(tls_secret_eq(first, longer));
    tls_secret_put(first);
    tls_secret_put(again);
    tls_secret_put(longer);
}

static void a_key_of_another_certificate_is_refused(void **state)
{
    refused(
        &(struct secret_conf){
            .name = "s",
            .certificate_chain = test_write_certs(&dir, "chain", CERTS(&leaf, &inter)),
            .private_key = test_write_key(&dir, "key", &other, NULL),
        },
        "does not fit");
}

static void an_encrypted_key_is_refused_without_asking(void **state)
{
    refused(
        &(struct secret_conf){
            .name = "s",
            .certificate_chain = test_write_certs(&dir, "chain", CERTS(&leaf, &inter)),
            .private_key = test_write_key(&dir, "key", &leaf, "secret"),
        },
        "encrypted");
}

static void a_chain_out_of_order_is_refused(void **state)
{
    const char *key = test_write_key(&dir, "key", &leaf, NULL);

    refused(
        &(struct secret_conf){
            .name = "s",
            .certificate_chain = test_write_certs(&dir, "chain", CERTS(&leaf, &root)),
            .private_key = key,
        },
        "not issued by");
    refused(
        &(struct secret_conf){
            .name = "s",
            .certificate_chain = test_write_certs(&dir, "chain", CERTS(&leaf, &other)),
            .private_key = key,
        },
        "not issued by");
    refused(
        &(struct secret_conf){
            .name = "s",
            .certificate_chain = test_write_certs(&dir, "chain", CERTS(&inter, &leaf)),
            .private_key = key,
        },
        "not issued by");
}

static void roots_must_be_cas(void **state)
{
    refused(
        &(struct secret_conf){
            .name = "s",
            .trusted_ca = test_write_certs(&dir, "ca", CERTS(&root, &leaf)),
        },
        "not that of a CA");
}

static void bad_files_say_which_and_why(void **state)
{
    static char big[1024 * 1024 + 2];
    const char *chain = test_write_certs(&dir, "chain", CERTS(&leaf, &inter));
    const char *key = test_write_key(&dir, "key", &leaf, NULL);
    const char *garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    const char *cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";

    memset(big, '\n', sizeof(big));
    refused(&(struct secret_conf){ .name = "s" }, "names no file");
    refused(&(struct secret_conf){ .name = "s", .certificate_chain = chain }, "need each other");
    refused(&(struct secret_conf){ .name = "s", .private_key = key }, "need each other");
    refused(&(struct secret_conf){ .name = "s", .trusted_ca = test_path(&dir, "absent") },
            "absent: No such file");
    refused(&(struct secret_conf){ .name = "s", .trusted_ca = dir.path }, "not a regular file");
    refused(&(struct secret_conf){ .name = "s", .trusted_ca = test_write_file(&dir, "f", "x", 1) },
            "holds no certificate");
    refused(&(struct secret_conf){ .name = "s", .trusted_ca = key }, "holds no certificate");
    refused(
        &(struct secret_conf){ .name = "s",
                               .trusted_ca = test_write_file(&dir, "f", garbled, strlen(garbled)) },
        "not a certificate");
    refused(&(struct secret_conf){ .name = "s",
                                   .trusted_ca = test_write_file(&dir, "f", cut, strlen(cut)) },
            "bad PEM");
    refused(&(struct secret_conf){ .name = "s",
                                   .trusted_ca = test_write_file(&dir, "f", big, sizeof(big)) },
            "longer than");
    refused(&(struct secret_conf){ .name = "s", .certificate_chain = chain, .private_key = chain },
            "holds no private key");
}

static void a_fifo_does_not_hang(void **state)
{
    const char *path = test_path(&dir, "fifo");

    assert_int_equal(mkfifo(path, 0600), 0);
    refused(&(struct secret_conf){ .name = "s", .trusted_ca = path }, "not a regular file");
}

static void an_expired_certificate_loads(void **state)
{
    struct test_cert old;
    struct cfg_err err = { "" };
    struct tls_secret *s;

    test_cert_make(&old, &(struct test_cert_conf){
                             .cn = "old", .from = time(NULL) - 1000, .until = time(NULL) - 10 });
    s = tls_secret_load(
        &(struct secret_conf){
            .name = "s",
            .certificate_chain = test_write_certs(&dir, "chain", CERTS(&old)),
            .private_key = test_write_key(&dir, "key", &old, NULL),
        },
        &err);
    assert_non_null(s);
    tls_secret_put(s);
    test_cert_free(&old);
}

/* Reads it again until time tells that nothing was written since: two seconds, or three. */
static void go_on(struct tls_secret *s, const struct secret_conf *conf)
{
    struct cfg_err err = { "" };

    while (!tls_secret_is_current(s, conf)) {
        struct tls_secret *again;

        usleep(100000);
        again = tls_secret_load(conf, &err);
        assert_non_null(again);
        tls_secret_go_on(s, again);
        tls_secret_put(again);
    }
}

static void a_file_that_was_touched_is_read_again(void **state)
{
    struct secret_conf conf = {
        .name = "default",
        .certificate_chain = test_write_certs(&dir, "cur-chain", CERTS(&leaf, &inter)),
        .private_key = test_write_key(&dir, "cur-key", &leaf, NULL),
        .trusted_ca = test_write_certs(&dir, "cur-ca", CERTS(&root)),
    };
    struct cfg_err err = { "" };
    struct tls_secret *s = tls_secret_load(&conf, &err);
    const char *ca = conf.trusted_ca;

    assert_non_null(s);
    assert_false(tls_secret_is_current(s, &conf)); /* written and read in the same second */
    go_on(s, &conf);

    conf.trusted_ca = NULL;
    assert_false(tls_secret_is_current(s, &conf));
    conf.trusted_ca = "/nowhere/at/all";
    assert_false(tls_secret_is_current(s, &conf));
    conf.trusted_ca = conf.certificate_chain;
    assert_false(tls_secret_is_current(s, &conf));
    conf.trusted_ca = ca;
    assert_true(tls_secret_is_current(s, &conf));

    test_write_certs(&dir, "cur-ca", CERTS(&root, &inter)); /* the same name */
    assert_false(tls_secret_is_current(s, &conf));
    tls_secret_put(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_loads_and_describes_itself),
        cmocka_unit_test(equal_means_the_same_bytes),
        cmocka_unit_test(a_key_of_another_certificate_is_refused),
        cmocka_unit_test(an_encrypted_key_is_refused_without_asking),
        cmocka_unit_test(a_chain_out_of_order_is_refused),
        cmocka_unit_test(roots_must_be_cas),
        cmocka_unit_test(bad_files_say_which_and_why),
        cmocka_unit_test(a_fifo_does_not_hang),
        cmocka_unit_test(an_expired_certificate_loads),
        cmocka_unit_test(a_file_that_was_touched_is_read_again),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
