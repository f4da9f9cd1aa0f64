/* Key pairs that the worker's OpenSSL makes, against the default provider. */
#include "tests/lib/pki_group.h"
#include "tests/unit/tls/link.h"
#include "tls/inner.h"

#include <openssl/core_names.h>

#define KEY_LEN 32
#define PAIRS 32

static void begin(struct link *l, struct side *side)
{
    struct tls_conf conf = server_conf();

    make_ctx(side, &(struct tls_ctx_conf){ .name = "x",
                                           .is_server = true,
                                           .conf = &conf,
                                           .secret = pki.server,
                                           .trust = pki.client });
    side->session = tls_session_new(side->ctx, &l->core, SEG);
}

struct pair {
    uint8_t secret[KEY_LEN], public[KEY_LEN];
};

static void make_pair(OSSL_LIB_CTX *libctx, struct pair *ret)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(libctx, NULL, "X25519");
    size_t len = KEY_LEN;

    assert_non_null(key);
    assert_int_equal(EVP_PKEY_get_raw_private_key(key, ret->secret, &len), 1);
    assert_int_equal(EVP_PKEY_get_raw_public_key(key, ret->public, &len), 1);
    assert_int_equal(len, KEY_LEN);
    EVP_PKEY_free(key);
}

/* The default provider makes the public key from the secret one. */
static void assert_fits(const struct pair *p)
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, p->secret, KEY_LEN);
    uint8_t public[KEY_LEN];
    size_t len = KEY_LEN;

    assert_non_null(key);
    assert_int_equal(EVP_PKEY_get_raw_public_key(key, public, &len), 1);
    assert_memory_equal(p->public, public, KEY_LEN);
    EVP_PKEY_free(key);
}

static void public_keys_fit_their_secrets(void **state)
{
    struct pair pairs[PAIRS];
    struct link l;

    link_init(&l, 1);
    begin(&l, &l.server);
    schedule_at_hand(l.server.session);
    for (unsigned i = 0; i < PAIRS; i++) {
        make_pair(l.server.lib->provider.libctx, &pairs[i]);
        assert_fits(&pairs[i]);
        /* RFC 7748, 5: a multiple of eight, and of 255 bits. */
        assert_int_equal(pairs[i].secret[0] & 7, 0);
        assert_int_equal(pairs[i].secret[KEY_LEN - 1] >> 6, 1);
        for (unsigned k = 0; k < i; k++)
            assert_memory_not_equal(pairs[i].secret, pairs[k].secret, KEY_LEN);
    }
    schedule_at_hand(NULL);
    link_fini(&l);
}

static void without_a_session_they_are_the_default_providers(void **state)
{
    struct pair p;
    struct link l;

    link_init(&l, 2);
    begin(&l, &l.server);
    make_pair(l.server.lib->provider.libctx, &p);
    assert_fits(&p);
    link_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(public_keys_fit_their_secrets),
        cmocka_unit_test(without_a_session_they_are_the_default_providers),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
