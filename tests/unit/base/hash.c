#include "dataplane/base/hash.h"
#include "tests/lib/test.h"

/* The first rows of vectors_sip64 of the reference implementation: key 00..0f, input 00..n-1. */
static void sip_matches_the_reference(void **state)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } rows[] = {
        { 0, UINT64_C(0x726fdb47dd0e0e31) },  { 1, UINT64_C(0x74f839c593dc67fd) },
        { 7, UINT64_C(0xab0200f58b01d137) },  { 8, UINT64_C(0x93f5f5799a932462) },
        { 15, UINT64_C(0xa129ca6149be45e5) },
    };
    struct hash_key key = { { UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908) } };
    uint8_t in[16];

    for (unsigned i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)i;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_true(hash_sip(&key, in, rows[i].len) == rows[i].hash);
}

static void random_keys_differ(void **state)
{
    struct hash_key a, b;

    hash_key_random(&a);
    hash_key_random(&b);
    assert_true(a.k[0] != b.k[0] || a.k[1] != b.k[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sip_matches_the_reference),
        cmocka_unit_test(random_keys_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
