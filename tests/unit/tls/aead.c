/*
 * What aead_new() picks on this CPU, against the specifications and against OpenSSL.
 */
#include "tls/aead.h"

#include "dataplane/base/core.h"
#include "tests/lib/hex.h"
#include "tests/lib/test.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define LEN_MAX 16385

static struct core core = { .rng = 1 };

static uint32_t below(uint32_t n)
{
    return (uint32_t)(core_random(&core) % n);
}

static void random_bytes(uint8_t *to, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)core_random(&core);
}

typedef void (*pass_fn)(struct aead *a, uint8_t *to, const uint8_t *from, size_t len);

/* All of it through @pass, @n_parts pieces of any size; some may be empty. */
static void pass_in_parts(struct aead *a, pass_fn pass, uint8_t *to, const uint8_t *from,
                          size_t len, unsigned n_parts)
{
    size_t at = 0;

    for (unsigned i = 1; i < n_parts; i++) {
        /* Short ones too, where a block is begun by one and ended by another. */
        const size_t most = i % 2 == 0 ? MIN(len - at, 40) : len - at;
        const size_t n = below((uint32_t)most + 1);

        pass(a, to + at, from + at, n);
        at += n;
    }
    pass(a, to + at, from + at, len - at);
}

/* --- known answers --- */

struct vector {
    const char *what;
    enum aead_kind kind;
    const char *key, *iv, *aad, *plain, *sealed, *tag;
};

#define GCM_KEY "feffe9928665731c6d6a8f9467308308"
#define GCM_PLAIN                                                                                  \
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"                             \
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
#define ZERO_16 "00000000000000000000000000000000"
#define ZERO_12 "000000000000000000000000"

static const struct vector vectors[] = {
    { "GCM specification, case 1", AEAD_AES_128_GCM, ZERO_16, ZERO_12, "", "", "",
      "58e2fccefa7e3061367f1d57a4e7455a" },
    { "GCM specification, case 2", AEAD_AES_128_GCM, ZERO_16, ZERO_12, "", ZERO_16,
      "0388dace60b6a392f328c2b971b2fe78", "ab6e47d42cec13bdf53a67b21257bddf" },
    { "GCM specification, case 4", AEAD_AES_128_GCM, GCM_KEY, "cafebabefacedbaddecaf888",
      "feedfacedeadbeeffeedfacedeadbeefabaddad2", GCM_PLAIN,
      "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
      "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
      "5bc94fbc3221a5db94fae95ae7121a47" },
    { "GCM specification, case 13", AEAD_AES_256_GCM, ZERO_16 ZERO_16, ZERO_12, "", "", "",
      "530f8afbc74536b9a963b4f1c4cb738b" },
    { "GCM specification, case 14", AEAD_AES_256_GCM, ZERO_16 ZERO_16, ZERO_12, "", ZERO_16,
      "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919" },
    { "GCM specification, case 16", AEAD_AES_256_GCM, GCM_KEY GCM_KEY, "cafebabefacedbaddecaf888",
      "feedfacedeadbeeffeedfacedeadbeefabaddad2", GCM_PLAIN,
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
      "76fc6ece0f4e1768cddf8853bb2d551b" },
    { "RFC 8439, 2.8.2", AEAD_CHACHA20_POLY1305,
      "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
      "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7",
      "4c616469657320616e642047656e746c656d656e206f662074686520636c6173"
      "73206f66202739393a204966204920636f756c64206f6666657220796f75206f"
      "6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73"
      "637265656e20776f756c642062652069742e",
      "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
      "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
      "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
      "3ff4def08e4b7a9de576d26586cec64b6116",
      "1ae10b594f09e26a7e902ecbd0600691" },
};

static void run_vector(struct aead *a, const struct vector *v, unsigned n_parts, bool in_place)
{
    uint8_t key[32], iv[12], aad[32], plain[256], sealed[256], tag[16], to[256], got[16];
    const size_t aad_len = unhex(aad, sizeof(aad), v->aad);
    const size_t len = unhex(plain, sizeof(plain), v->plain);
    struct aead_key k = { 0 };

    assert_int_equal(unhex(key, sizeof(key), v->key), aead_key_len(v->kind));
    assert_int_equal(unhex(iv, sizeof(iv), v->iv), AEAD_IV);
    assert_int_equal(unhex(sealed, sizeof(sealed), v->sealed), len);
    assert_int_equal(unhex(tag, sizeof(tag), v->tag), AEAD_TAG);
    aead_key_set(&k, v->kind, key, iv);

    memcpy(to, plain, len);
    aead_begin(a, &k, 0, aad, aad_len);
    pass_in_parts(a, aead_seal, to, in_place ? to : plain, len, n_parts);
    aead_end(a, got);
    if (memcmp(to, sealed, len) != 0 || memcmp(got, tag, AEAD_TAG) != 0)
        fail_msg("%s: sealed in %u parts it is another", v->what, n_parts);

    memcpy(to, sealed, len);
    aead_begin(a, &k, 0, aad, aad_len);
    pass_in_parts(a, aead_open, to, in_place ? to : sealed, len, n_parts);
    aead_end(a, got);
    if (memcmp(to, plain, len) != 0 || memcmp(got, tag, AEAD_TAG) != 0)
        fail_msg("%s: opened in %u parts it is another", v->what, n_parts);
    aead_key_drop(a, &k);
}

static void known_answers_in_whole_and_in_parts(void **state)
{
    struct aead *a = aead_new(2);

    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++)
        for (unsigned n_parts = 1; n_parts < 40; n_parts++)
            for (unsigned in_place = 0; in_place <= 1; in_place++)
                run_vector(a, &vectors[i], n_parts, in_place);
    aead_free(a);
}

/* --- the same as OpenSSL's --- */

static void openssl_seal(enum aead_kind kind, const uint8_t *key, const uint8_t *nonce,
                         const uint8_t *aad, int aad_len, const uint8_t *plain, size_t len,
                         uint8_t *sealed)
{
    const EVP_CIPHER *cipher = kind == AEAD_AES_128_GCM   ? EVP_aes_128_gcm()
                               : kind == AEAD_AES_256_GCM ? EVP_aes_256_gcm()
                                                          : EVP_chacha20_poly1305();
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n;

    assert_int_equal(EVP_EncryptInit_ex(ctx, cipher, NULL, key, nonce), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &n, aad, aad_len), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, sealed, &n, plain, (int)len), 1);
    assert_int_equal(EVP_EncryptFinal_ex(ctx, sealed + n, &n), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG, sealed + len), 1);
    EVP_CIPHER_CTX_free(ctx);
}

/* Key, numbers and bytes of one record, and what OpenSSL makes of them. */
struct sample {
    enum aead_kind kind;
    uint8_t key[AEAD_KEY_MAX], iv[AEAD_IV], aad[5];
    uint64_t seq;
    size_t len;
    uint8_t plain[LEN_MAX], sealed[LEN_MAX + AEAD_TAG];
};

static void sample_init(struct sample *s, enum aead_kind kind, size_t len)
{
    uint8_t nonce[AEAD_IV];

    s->kind = kind;
    s->len = len;
    s->seq = core_random(&core) >> below(64);
    random_bytes(s->key, sizeof(s->key));
    random_bytes(s->iv, sizeof(s->iv));
    random_bytes(s->aad, sizeof(s->aad));
    random_bytes(s->plain, len);
    memcpy(nonce, s->iv, AEAD_IV);
    for (unsigned i = 0; i < 8; i++)
        nonce[AEAD_IV - 1 - i] ^= (uint8_t)(s->seq >> 8 * i);
    openssl_seal(kind, s->key, nonce, s->aad, sizeof(s->aad), s->plain, len, s->sealed);
}

/*
 * One pass from a buffer to another, or in place, both at any address: the result, and that nothing
 * is written before or behind it.
 */
static void run_sample(struct aead *a, struct aead_key *k, const struct sample *s, bool seals,
                       bool in_place)
{
    const size_t before = below(20), behind = 64;
    const uint8_t *given = seals ? s->plain : s->sealed, *wanted = seals ? s->sealed : s->plain;
    uint8_t *to = malloc(before + s->len + behind), *from = malloc(s->len + 1), tag[AEAD_TAG];

    memset(to, 0xa5, before + s->len + behind);
    memcpy(in_place ? to + before : from, given, s->len);
    aead_begin(a, k, s->seq, s->aad, sizeof(s->aad));
    pass_in_parts(a, seals ? aead_seal : aead_open, to + before, in_place ? to + before : from,
                  s->len, 1 + below(8));
    aead_end(a, tag);
    if (memcmp(to + before, wanted, s->len) != 0 || !aead_tag_eq(tag, s->sealed + s->len))
        fail_msg("kind %d, %zu bytes, %s: not as OpenSSL", s->kind, s->len,
                 seals ? "sealed" : "opened");
    for (size_t i = 0; i < before; i++)
        assert_int_equal(to[i], 0xa5);
    for (size_t i = 0; i < behind; i++)
        assert_int_equal(to[before + s->len + i], 0xa5);
    free(from);
    free(to);
}

static void run_len(struct aead *a, enum aead_kind kind, size_t len)
{
    struct sample *s = malloc(sizeof(*s));
    struct aead_key k = { 0 };

    sample_init(s, kind, len);
    aead_key_set(&k, kind, s->key, s->iv);
    for (unsigned i = 0; i < 4; i++)
        run_sample(a, &k, s, i & 1, i & 2);
    aead_key_drop(a, &k);
    free(s);
}

static void every_length_is_as_openssl_does_it(void **state)
{
    static const size_t longer[] = {
        1023, 1024, 1025, 1378, 4095, 4096, 8192, 16383, 16384, 16385
    };
    struct aead *a = aead_new(3);

    for (unsigned kind = 0; kind < 3; kind++) {
        for (size_t len = 0; len <= 600; len++)
            run_len(a, (enum aead_kind)kind, len);
        for (size_t i = 0; i < ARRAY_SIZE(longer); i++)
            run_len(a, (enum aead_kind)kind, longer[i]);
        for (unsigned i = 0; i < 100; i++)
            run_len(a, (enum aead_kind)kind, below(LEN_MAX + 1));
    }
    aead_free(a);
}

static void any_bit_of_a_tag_matters(void **state)
{
    uint8_t a[AEAD_TAG], b[AEAD_TAG];

    random_bytes(a, sizeof(a));
    memcpy(b, a, sizeof(b));
    assert_true(aead_tag_eq(a, b));
    for (unsigned bit = 0; bit < 8 * AEAD_TAG; bit++) {
        b[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(aead_tag_eq(a, b));
        b[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* --- the cache of expanded keys --- */

#define N_KEYS 40

/* Sets @n keys of AES; the samples know what they make. */
static void many(struct aead_key *keys, struct sample *samples, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        sample_init(&samples[i], i % 2 ? AEAD_AES_128_GCM : AEAD_AES_256_GCM, 1 + below(100));
        keys[i] = (struct aead_key){ 0 };
        aead_key_set(&keys[i], samples[i].kind, samples[i].key, samples[i].iv);
    }
}

static void use(struct aead *a, struct aead_key *keys, struct sample *samples, unsigned i)
{
    run_sample(a, &keys[i], &samples[i], below(2), below(2));
}

static void drop_all(struct aead *a, struct aead_key *keys, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        aead_key_drop(a, &keys[i]);
}

static void many_keys_share_few_slots(void **state)
{
    struct sample *samples = calloc(N_KEYS, sizeof(*samples));
    struct aead_key keys[N_KEYS];

    for (uint32_t n_slots = 1; n_slots <= 8; n_slots++) {
        struct aead *a = aead_new(n_slots);

        many(keys, samples, N_KEYS);
        for (unsigned turn = 0; turn < 1000; turn++) {
            const unsigned i = below(N_KEYS);

            use(a, keys, samples, i);
            assert_in_range(keys[i].slot, 1, n_slots);
            if (turn % 10 == 0) { /* a connection ends, another begins */
                aead_key_drop(a, &keys[i]);
                aead_key_set(&keys[i], samples[i].kind, samples[i].key, samples[i].iv);
            }
        }
        assert_in_range(aead_expansions(a), N_KEYS - n_slots, 1000);
        drop_all(a, keys, N_KEYS);
        aead_free(a);
    }
    free(samples);
}

static void a_key_is_expanded_once_as_long_as_there_are_slots(void **state)
{
    struct sample *samples = calloc(4, sizeof(*samples));
    struct aead *a = aead_new(4);
    struct aead_key keys[4];

    many(keys, samples, 4);
    assert_int_equal(aead_expansions(a), 0);
    for (unsigned turn = 0; turn < 5; turn++)
        for (unsigned i = 0; i < 4; i++)
            use(a, keys, samples, i);
    assert_int_equal(aead_expansions(a), 4);
    drop_all(a, keys, 4);
    aead_free(a);
    free(samples);
}

static void a_slot_that_is_given_back_is_taken_before_another_is_taken_away(void **state)
{
    struct sample *samples = calloc(5, sizeof(*samples));
    struct aead *a = aead_new(4);
    struct aead_key keys[5];

    many(keys, samples, 5);
    for (unsigned i = 0; i < 4; i++)
        use(a, keys, samples, i);
    aead_key_drop(a, &keys[0]);
    use(a, keys, samples, 4);
    assert_int_equal(aead_expansions(a), 5);
    for (unsigned i = 1; i < 5; i++)
        use(a, keys, samples, i); /* they all are still there */
    assert_int_equal(aead_expansions(a), 5);
    drop_all(a, keys, 5);
    aead_free(a);
    free(samples);
}

static void a_key_in_use_outlasts_those_that_are_idle(void **state)
{
    struct sample *samples = calloc(N_KEYS, sizeof(*samples));
    struct aead *a = aead_new(4);
    struct aead_key keys[N_KEYS];

    many(keys, samples, N_KEYS);
    for (unsigned i = 0; i < N_KEYS; i++) {
        use(a, keys, samples, 0);
        use(a, keys, samples, i);
    }
    /* The hand came round and took it away at most once, when all had just been used. */
    assert_in_range(aead_expansions(a), N_KEYS, N_KEYS + 1);
    drop_all(a, keys, N_KEYS);
    aead_free(a);
    free(samples);
}

static void chacha20_needs_no_slot(void **state)
{
    struct sample *s = malloc(sizeof(*s));
    struct aead *a = aead_new(1);
    struct aead_key k = { 0 };

    sample_init(s, AEAD_CHACHA20_POLY1305, 100);
    aead_key_set(&k, s->kind, s->key, s->iv);
    run_sample(a, &k, s, true, true);
    assert_int_equal(k.slot, 0);
    assert_int_equal(aead_expansions(a), 0);
    aead_key_drop(a, &k);
    aead_free(a);
    free(s);
}

static void a_dropped_key_is_all_zero(void **state)
{
    static const struct aead_key zero;
    struct sample *s = malloc(sizeof(*s));
    struct aead *a = aead_new(1);
    struct aead_key k = { 0 };

    aead_key_drop(a, &k); /* never set */
    for (unsigned kind = 0; kind < 3; kind++) {
        sample_init(s, (enum aead_kind)kind, 100);
        aead_key_set(&k, s->kind, s->key, s->iv);
        run_sample(a, &k, s, true, false);
        assert_memory_not_equal(&k, &zero, sizeof(k));
        aead_key_drop(a, &k);
        assert_memory_equal(&k, &zero, sizeof(k));
        aead_key_drop(a, &k);
    }
    aead_free(a);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers_in_whole_and_in_parts),
        cmocka_unit_test(every_length_is_as_openssl_does_it),
        cmocka_unit_test(any_bit_of_a_tag_matters),
        cmocka_unit_test(many_keys_share_few_slots),
        cmocka_unit_test(a_key_is_expanded_once_as_long_as_there_are_slots),
        cmocka_unit_test(a_slot_that_is_given_back_is_taken_before_another_is_taken_away),
        cmocka_unit_test(a_key_in_use_outlasts_those_that_are_idle),
        cmocka_unit_test(chacha20_needs_no_slot),
        cmocka_unit_test(a_dropped_key_is_all_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
