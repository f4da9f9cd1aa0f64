/*
 * The key schedule, against RFC 8448, 3 ("Simple 1-RTT Handshake") and OpenSSL's HKDF: secrets in,
 * the trace's records out, byte for byte.
 */
#include "tests/lib/hex.h"
#include "tests/lib/pki_group.h"
#include "tests/unit/tls/link.h"
#include "tls/inner.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>

#define CLIENT_SECRET "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
#define SERVER_SECRET "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"
#define CLIENT_DATA                                                                                \
    "1703030043 a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5"                  \
    "b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4"
#define SERVER_DATA                                                                                \
    "1703030043 2e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d"                  \
    "90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d"
#define CLIENT_ALERT "1703030013 c9872760655666b74d7ff1153efd6db6d0b0e3"
#define SERVER_ALERT "1703030013 b58fd67166ebf599d24720cfbe7efa7a8864a9"

#define AES_128 "\x13\x01"
#define AES_256 "\x13\x02"
#define CHACHA20 "\x13\x03"

/* A session that has not yet begun, of which OpenSSL believes that it has agreed on @suite. */
static void begin(struct link *l, struct side *side, bool is_server, const char *suite)
{
    struct tls_conf conf = is_server ? server_conf() : client_conf();
    SSL_SESSION *agreed = SSL_SESSION_new();
    const SSL_CIPHER *cipher;
    struct tls_session *s;

    make_ctx(side, &(struct tls_ctx_conf){ .name = "x",
                                           .is_server = is_server,
                                           .conf = &conf,
                                           .secret = is_server ? pki.server : pki.client,
                                           .trust = pki.client });
    s = side->session = tls_session_new(side->ctx, &l->core, SEG);
    cipher = SSL_CIPHER_find(s->ssl, (const uint8_t *)suite);
    assert_non_null(cipher);
    SSL_SESSION_set_protocol_version(agreed, TLS1_3_VERSION);
    SSL_SESSION_set_cipher(agreed, cipher);
    assert_int_equal(SSL_set_session(s->ssl, agreed), 1);
    SSL_SESSION_free(agreed);
}

static void tell(struct side *side, bool is_client, const char *secret)
{
    uint8_t bytes[64];

    keys_on_secret(side->session, is_client, bytes, unhex(bytes, sizeof(bytes), secret));
}

/* As the end of a handshake does it. */
static bool take_over(struct side *side)
{
    if (!keys_take_over(side->session))
        return false;
    SSL_free(side->session->ssl);
    side->session->ssl = NULL;
    side->session->state = TLS_OPEN;
    return true;
}

static void begin_trace(struct link *l, struct side *side, bool is_server)
{
    begin(l, side, is_server, AES_128);
    keys_on_record(side->session, false, SSL3_RT_APPLICATION_DATA); /* with a handshake's key */
    assert_null(side->session->keys);
    tell(side, false, SERVER_SECRET);
    tell(side, true, CLIENT_SECRET);
    /* The server's ticket is number 0 of its records. */
    keys_on_record(side->session, is_server, SSL3_RT_APPLICATION_DATA);
    keys_on_record(side->session, is_server, SSL3_RT_CHANGE_CIPHER_SPEC);
    assert_true(take_over(side));
}

static void assert_half(const struct tls_half *h, uint64_t seq, const char *key, const char *iv)
{
    uint8_t bytes[AEAD_KEY_MAX];

    assert_int_equal(h->seq, seq);
    assert_int_equal(unhex(bytes, sizeof(bytes), key), 16);
    assert_memory_equal(h->key.key, bytes, 16);
    assert_int_equal(unhex(bytes, sizeof(bytes), iv), AEAD_IV);
    assert_memory_equal(h->key.iv, bytes, AEAD_IV);
    assert_int_equal(h->key.kind, AEAD_AES_128_GCM);
}

static void the_traces_keys_come_of_its_secrets(void **state)
{
    struct link l;

    link_init(&l, 1);
    for (unsigned i = 0; i <= 1; i++) {
        struct side *side = i ? &l.server : &l.client;
        const struct tls_keys *k;

        begin_trace(&l, side, i);
        k = side->session->keys;
        assert_half(i ? &k->rx : &k->tx, 0, "17422dda596ed5d9acd890e3c63f5051",
                    "5b78923dee08579033e523d9");
        assert_half(i ? &k->tx : &k->rx, 1, "9f02283b6c9c07efc26bb9f2ac92e356",
                    "cf782b88dd83549aadf1e984");
    }
    link_fini(&l);
}

/* Moves @from's records to @to; they must be @hex. */
static void move_trace(struct side *from, struct side *to, const char *hex)
{
    uint8_t want[128], got[128];
    const size_t len = unhex(want, sizeof(want), hex);

    assert_int_equal(from->out.bytes, len);
    pktq_peek(&from->out, got, len);
    assert_memory_equal(got, want, len);
    pktq_splice(&to->in, &from->out);
    tls_read(to->session, &to->in, &to->plain, 1000, &to->out);
}

static void run_trace(struct link *l, struct side *from, struct side *to, const char *data,
                      const char *alert)
{
    uint8_t bytes[50], got[50];

    for (uint8_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = i;
    assert_int_equal(side_write(l, from, bytes, sizeof(bytes)), TLS_OPEN);
    move_trace(from, to, data);
    assert_int_equal(to->plain.bytes, sizeof(bytes));
    pktq_peek(&to->plain, got, sizeof(got));
    assert_memory_equal(got, bytes, sizeof(bytes));
    assert_int_equal(tls_state(to->session), TLS_OPEN);
    tls_close(from->session, &from->out);
    move_trace(from, to, alert);
    assert_int_equal(tls_state(to->session), TLS_CLOSED);
    assert_string_equal(tls_error(to->session), "");
}

static void the_traces_records_both_ways(void **state)
{
    for (unsigned i = 0; i <= 1; i++) {
        struct link l;

        link_init(&l, 2);
        begin_trace(&l, &l.client, false);
        begin_trace(&l, &l.server, true);
        if (i == 0)
            run_trace(&l, &l.client, &l.server, CLIENT_DATA, CLIENT_ALERT);
        else
            run_trace(&l, &l.server, &l.client, SERVER_DATA, SERVER_ALERT);
        link_fini(&l);
    }
}

/* HKDF-Expand-Label with no context. */
static void openssl_expand(const char *digest, const uint8_t *secret, size_t secret_len,
                           const char *label, uint8_t *to, size_t len)
{
    EVP_KDF *hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(hkdf);
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    uint8_t info[64];
    int n = snprintf((char *)info + 3, sizeof(info) - 3, "tls13 %s", label);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, secret_len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, (size_t)n + 4),
        OSSL_PARAM_construct_end(),
    };

    info[0] = 0;
    info[1] = (uint8_t)len;
    info[2] = (uint8_t)n;
    info[3 + n] = 0;
    assert_int_equal(EVP_KDF_derive(ctx, to, len, params), 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(hkdf);
}

/* @h is what HKDF makes of @secret, which is replaced by the next one. */
static void check_generation(const struct tls_half *h, const char *digest, uint8_t *secret,
                             size_t len)
{
    uint8_t want[AEAD_KEY_MAX], next[SCHEDULE_SECRET_MAX];
    const uint32_t key_len = aead_key_len((enum aead_kind)h->key.kind);

    assert_int_equal(h->secret_len, len);
    assert_memory_equal(h->secret, secret, len);
    openssl_expand(digest, secret, len, "key", want, key_len);
    assert_memory_equal(h->key.key, want, key_len);
    openssl_expand(digest, secret, len, "iv", want, AEAD_IV);
    assert_memory_equal(h->key.iv, want, AEAD_IV);
    openssl_expand(digest, secret, len, "traffic upd", next, len);
    memcpy(secret, next, len);
}

static const struct {
    const char *suite, *digest;
    uint8_t secret_len;
    enum aead_kind kind;
} suites[] = {
    { AES_128, "SHA256", 32, AEAD_AES_128_GCM },
    { AES_256, "SHA384", 48, AEAD_AES_256_GCM },
    { CHACHA20, "SHA256", 32, AEAD_CHACHA20_POLY1305 },
};

static const char secret_hex[2 * SCHEDULE_SECRET_MAX + 1] =
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";

static void keys_and_their_updates_are_as_hkdf_makes_them(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(suites); i++) {
        const uint8_t len = suites[i].secret_len;
        uint8_t secret[SCHEDULE_SECRET_MAX];
        char hex[2 * SCHEDULE_SECRET_MAX + 1];
        struct tls_half *h;
        struct link l;

        link_init(&l, i);
        begin(&l, &l.server, true, suites[i].suite);
        snprintf(hex, sizeof(hex), "%.*s", 2 * len, secret_hex);
        tell(&l.server, false, hex);
        tell(&l.server, true, hex);
        assert_true(take_over(&l.server));
        h = &l.server.session->keys->tx;
        assert_int_equal(h->key.kind, suites[i].kind);
        assert_int_equal(unhex(secret, sizeof(secret), hex), len);
        check_generation(h, suites[i].digest, secret, len);
        for (unsigned n = 0; n < 3; n++) {
            h->seq = 5;
            assert_true(keys_update(l.server.lib, h));
            assert_int_equal(h->seq, 0);
            assert_int_equal(h->key.kind, suites[i].kind);
            check_generation(h, suites[i].digest, secret, len);
        }
        link_fini(&l);
    }
}

/* The records stay with OpenSSL, rather than that something is made of half a secret. */
static void a_secret_that_does_not_fit_is_none(void **state)
{
    static const struct {
        const char *suite, *client, *server;
    } rows[] = {
        { AES_128, CLIENT_SECRET, NULL },
        { AES_128, NULL, SERVER_SECRET },
        { AES_128, CLIENT_SECRET, secret_hex },
        { AES_256, secret_hex, SERVER_SECRET },
        { AES_128, CLIENT_SECRET, "" },
        { AES_128, CLIENT_SECRET, "00" },
        { AES_128, "00" SERVER_SECRET, SERVER_SECRET },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct link l;

        link_init(&l, i);
        begin(&l, &l.client, false, rows[i].suite);
        if (rows[i].client != NULL)
            tell(&l.client, true, rows[i].client);
        if (rows[i].server != NULL)
            tell(&l.client, false, rows[i].server);
        if (take_over(&l.client))
            fail_msg("row %zu: was taken over", i);
        link_fini(&l);
    }
}

static void no_secrets_no_keys(void **state)
{
    struct link l;

    link_init(&l, 1);
    begin(&l, &l.client, false, AES_128);
    assert_false(take_over(&l.client));
    keys_drop(l.client.session);
    tell(&l.client, true, CLIENT_SECRET);
    assert_non_null(l.client.session->keys);
    keys_drop(l.client.session);
    assert_null(l.client.session->keys);
    keys_drop(l.client.session);
    link_fini(&l);
}

/* One wish of OpenSSL's, by the provider of @libctx. False: it was refused. */
static bool derive(OSSL_LIB_CTX *libctx, OSSL_PARAM *params, uint8_t *to, size_t len)
{
    EVP_KDF *kdf = EVP_KDF_fetch(libctx, "TLS13-KDF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    bool ok = ctx != NULL && EVP_KDF_derive(ctx, to, len, params) == 1;

    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return ok;
}

#define OCTETS(name, bytes, len) OSSL_PARAM_construct_octet_string(name, (void *)(bytes), len)

/* Key, salt and context each there or not, in both modes that TLS has. */
static void wish(OSSL_PARAM *p, int *mode, const char *digest, size_t len, unsigned which)
{
    static uint8_t key[64] = "key", salt[64] = "salt", context[64] = "context";

    *p++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, mode);
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digest, 0);
    *p++ = OCTETS(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6);
    *p++ = OCTETS(OSSL_KDF_PARAM_LABEL, which & 8 ? "derived" : "c hs traffic", which & 8 ? 7 : 12);
    if (which & 1)
        *p++ = OCTETS(OSSL_KDF_PARAM_KEY, key, len);
    if (which & 2)
        *p++ = OCTETS(OSSL_KDF_PARAM_SALT, salt, len);
    if (which & 4)
        *p++ = OCTETS(OSSL_KDF_PARAM_DATA, context, len);
    *p = OSSL_PARAM_construct_end();
}

static void the_schedule_is_as_openssls_provider_has_it(void **state)
{
    int modes[] = { EVP_KDF_HKDF_MODE_EXTRACT_ONLY, EVP_KDF_HKDF_MODE_EXPAND_ONLY };
    unsigned n_done = 0;
    struct link l;

    link_init(&l, 3);
    begin(&l, &l.server, true, AES_128);
    schedule_at_hand(l.server.session);
    for (unsigned i = 0; i < 2 * 2 * 16; i++) {
        const bool is_long = i & 1;
        const size_t len = is_long ? 48 : 32;
        uint8_t want[64], got[64];
        OSSL_PARAM params[8];

        /* To expand, there must be a key: OpenSSL's says so, too. */
        if (modes[i >> 1 & 1] == EVP_KDF_HKDF_MODE_EXPAND_ONLY && !(i >> 2 & 1))
            continue;
        wish(params, &modes[i >> 1 & 1], is_long ? "SHA2-384" : "SHA2-256", len, i >> 2);
        assert_true(derive(NULL, params, want, len));
        assert_true(derive(l.server.lib->provider.libctx, params, got, len));
        assert_memory_equal(got, want, len);
        n_done++;
    }
    assert_int_equal(n_done, 48);
    assert_null(l.server.session->keys); /* none of them was a secret for data */
    schedule_at_hand(NULL);
    link_fini(&l);
}

static void what_the_schedule_does_not_know_it_refuses(void **state)
{
    int expand = EVP_KDF_HKDF_MODE_EXPAND_ONLY, both = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND;
    OSSL_LIB_CTX *libctx;
    OSSL_PARAM params[8];
    uint8_t to[64];
    struct link l;

    link_init(&l, 4);
    begin(&l, &l.server, true, AES_128);
    libctx = l.server.lib->provider.libctx;
    wish(params, &expand, "SHA2-256", 32, 1);
    assert_false(derive(libctx, params, to, 32)); /* nobody is at hand */
    schedule_at_hand(l.server.session);
    assert_true(derive(libctx, params, to, 32));
    assert_false(derive(libctx, params, to, 33));
    wish(params, &both, "SHA2-256", 32, 1);
    assert_false(derive(libctx, params, to, 32));
    wish(params, &expand, "SHA1", 20, 1);
    assert_false(derive(libctx, params, to, 20));
    wish(params, &expand, "SHA2-256", 32, 0);
    assert_false(derive(libctx, params, to, 32));
    wish(params, &expand, "SHA2-256", 32, 1);
    params[3] = OCTETS(OSSL_KDF_PARAM_LABEL, secret_hex, 0);
    params[3].data_size = 250;
    assert_false(derive(libctx, params, to, 32));
    schedule_at_hand(NULL);
    link_fini(&l);
}

/* RFC 8448, 3: "{server} extract secret "early"", and "derived" from it. */
static void what_is_the_same_for_all_is_as_the_trace_has_it(void **state)
{
    struct schedule sch;
    uint8_t want[32];

    schedule_init(&sch);
    unhex(want, sizeof(want), "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a");
    assert_memory_equal(sch.sha256.early, want, 32);
    unhex(want, sizeof(want), "6f2615a108c702c5678f54fc9dbab69716c076189c48250cebeac3576c3611ba");
    assert_memory_equal(sch.sha256.first.key, want, 32);
    schedule_fini(&sch);
}

/* Secrets take turns, more of them than are kept: each gives what it gives alone. */
static void what_is_kept_of_a_secret_changes_nothing(void **state)
{
    struct schedule many, alone;
    char secret[2 * SCHEDULE_KEYS][32];
    uint8_t got[32], want[32];

    schedule_init(&many);
    for (unsigned i = 0; i < 500; i++) {
        const unsigned k = i * i % (2 * SCHEDULE_KEYS);
        const struct slice key = { secret[k], 16 + 16 * (k & 1) };

        memset(secret[k], (char)(k / 2 + 1), sizeof(secret[k]));
        schedule_init(&alone);
        assert_true(schedule_expand(&many.sha256, key, SLICE("tls13 x"), SLICE_NONE, got, 32));
        assert_true(schedule_expand(&alone.sha256, key, SLICE("tls13 x"), SLICE_NONE, want, 32));
        assert_memory_equal(got, want, 32);
        schedule_fini(&alone);
        if (i % 50 == 0)
            schedule_forget(&many);
    }
    schedule_fini(&many);
}

static void nothing_is_kept_when_it_is_forgotten(void **state)
{
    static const struct schedule_key none[SCHEDULE_KEYS];
    struct schedule sch;
    uint8_t to[32];

    schedule_init(&sch);
    assert_true(schedule_expand(&sch.sha256, SLICE("secret"), SLICE("x"), SLICE_NONE, to, 32));
    assert_memory_not_equal(sch.sha256.keys, none, sizeof(none));
    schedule_forget(&sch);
    assert_memory_equal(sch.sha256.keys, none, sizeof(none));
    assert_false(schedule_expand(&sch.sha256, SLICE_NONE, SLICE("x"), SLICE_NONE, to, 32));
    assert_false(schedule_expand(&sch.sha256, (struct slice){ (const char *)sch.sha256.keys, 49 },
                                 SLICE("x"), SLICE_NONE, to, 32));
    schedule_fini(&sch);
}

/* OpenSSL's key counts for the secret that it is of, and only with its IV. */
static void keys_that_openssl_derives_need_not_be_derived_again(void **state)
{
    uint8_t secret[32] = { 1 }, other[32] = { 2 }, key[AEAD_KEY_MAX] = { 3 }, iv[AEAD_IV] = { 4 };
    const struct slice ours = { (const char *)secret, 32 }, theirs = { (const char *)other, 32 };
    struct tls_keys *k;
    struct link l;

    link_init(&l, 5);
    begin(&l, &l.server, true, AES_128);
    keys_on_key(l.server.session, ours, true, key, 16);
    assert_null(l.server.session->keys);
    keys_on_secret(l.server.session, true, secret, 32);
    k = l.server.session->keys;
    keys_on_key(l.server.session, theirs, true, key, 16);
    keys_on_key(l.server.session, (struct slice){ ours.ptr, 31 }, true, key, 16);
    keys_on_key(l.server.session, ours, true, key, AEAD_KEY_MAX + 1);
    keys_on_key(l.server.session, ours, false, iv, AEAD_IV + 1);
    assert_int_equal(k->rx.key_len, 0);
    assert_false(k->rx.has_iv);
    keys_on_key(l.server.session, ours, true, key, 16);
    keys_on_key(l.server.session, ours, false, iv, AEAD_IV);
    assert_int_equal(k->rx.key_len, 16);
    assert_int_equal(k->tx.key_len, 0);

    /* The other half gets its own of its secret, as ever. */
    keys_on_secret(l.server.session, false, other, 32);
    assert_true(keys_take_over(l.server.session));
    assert_memory_equal(k->rx.key.key, key, 16);
    assert_memory_equal(k->rx.key.iv, iv, AEAD_IV);
    assert_memory_not_equal(k->tx.key.key, key, 16);
    assert_true(keys_update(l.server.lib, &k->rx));
    assert_memory_not_equal(k->rx.key.key, key, 16);
    /* A new secret: what came of the old one is none of its. */
    keys_on_key(l.server.session, theirs, true, key, 16);
    keys_on_secret(l.server.session, false, secret, 32);
    assert_int_equal(k->tx.key_len, 0);
    link_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_traces_keys_come_of_its_secrets),
        cmocka_unit_test(the_traces_records_both_ways),
        cmocka_unit_test(keys_and_their_updates_are_as_hkdf_makes_them),
        cmocka_unit_test(a_secret_that_does_not_fit_is_none),
        cmocka_unit_test(no_secrets_no_keys),
        cmocka_unit_test(the_schedule_is_as_openssls_provider_has_it),
        cmocka_unit_test(what_the_schedule_does_not_know_it_refuses),
        cmocka_unit_test(what_is_the_same_for_all_is_as_the_trace_has_it),
        cmocka_unit_test(what_is_kept_of_a_secret_changes_nothing),
        cmocka_unit_test(nothing_is_kept_when_it_is_forgotten),
        cmocka_unit_test(keys_that_openssl_derives_need_not_be_derived_again),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
