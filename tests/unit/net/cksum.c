#include "dataplane/base/cksum.h"
#include "dataplane/base/bytes.h"
#include "dataplane/net/drop.h"
#include "dataplane/net/limit.h"
#include "tests/lib/test.h"

/* The definition, word by word (RFC 1071, 4.1). */
static uint16_t by_the_book(const uint8_t *at, size_t len)
{
    uint32_t sum = 0;

    for (size_t i = 0; i + 1 < len; i += 2)
        sum = (sum & 0xffff) + (sum >> 16) + (uint32_t)(at[i] << 8 | at[i + 1]);
    if (len % 2 != 0)
        sum += (uint32_t)at[len - 1] << 8;
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void sums_are_those_of_the_book(void **state)
{
    uint8_t bytes[700], stored[2];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 251 + (i >> 3));
    for (size_t len = 0; len <= sizeof(bytes) - 3; len++) {
        for (size_t at = 0; at < 3; at++) {
            cksum_store(stored, cksum_finish(cksum_add(0, bytes + at, len)));
            assert_int_equal(get16(stored), by_the_book(bytes + at, len));
            cksum_store(stored, cksum_finish(cksum_add_short(0, bytes + at, len)));
            assert_int_equal(get16(stored), by_the_book(bytes + at, len));
        }
    }
    memset(bytes, 0xff, sizeof(bytes));
    cksum_store(stored, cksum_finish(cksum_add(0, bytes, sizeof(bytes))));
    assert_int_equal(get16(stored), by_the_book(bytes, sizeof(bytes)));
}

static void long_ones_are_as_well(void **state)
{
    static const uint8_t fills[] = { 0x00, 0x7f, 0x80, 0xff };
    const size_t len = (3 << 20) + 77;
    uint8_t *bytes = malloc(len + 1), stored[2];

    assert_non_null(bytes);
    for (unsigned i = 0; i < ARRAY_SIZE(fills); i++) {
        memset(bytes, fills[i], len + 1);
        bytes[1] = 1; /* not all zeros: a sum of none is another */
        cksum_store(stored, cksum_finish(cksum_add(0, bytes + 1, len)));
        assert_int_equal(get16(stored), by_the_book(bytes + 1, len));
        assert_int_equal(cksum_fold(cksum_long(bytes + 1, len)),
                         cksum_fold(cksum_long_plain(bytes + 1, len)));
    }
    free(bytes);
}

static void a_known_header_adds_up(void **state)
{
    /* An often printed example. */
    static const uint8_t ip[20] = { 0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                                    0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7 };

    assert_true(cksum_is_good(cksum_add(0, ip, sizeof(ip))));
    assert_false(cksum_is_good(cksum_add(0, ip, sizeof(ip) - 2)));
}

static void the_pseudo_header_is_that_of_the_rfc(void **state)
{
    const struct ipaddr src = ipaddr_v4(0xc0a80001), dst = ipaddr_v4(0x0a010203);
    static const uint8_t pseudo[12] = { 0xc0, 0xa8, 0, 1, 10, 1, 2, 3, 0, 6, 0x12, 0x34 };

    assert_int_equal(cksum_fold(cksum_pseudo(&src, &dst, 6, 0x1234)),
                     cksum_fold(cksum_add(0, pseudo, sizeof(pseudo))));
}

static void an_update_is_a_new_sum(void **state)
{
    uint8_t b[20];

    for (unsigned i = 0; i < sizeof(b); i++)
        b[i] = (uint8_t)(37 * i + 1);
    for (unsigned i = 0; i < 1000; i++) {
        const uint16_t before = cksum_finish(cksum_add(0, b, sizeof(b)));
        uint16_t old, new = (uint16_t)(i * 7919);
        uint32_t old32, new32 = i * 2654435761u;

        memcpy(&old, b + 4, 2);
        memcpy(b + 4, &new, 2);
        assert_int_equal(cksum_update16(before, old, new),
                         cksum_finish(cksum_add(0, b, sizeof(b))));
        memcpy(&old32, b + 8, 4);
        memcpy(b + 8, &new32, 4);
        assert_int_equal(cksum_update32(cksum_update16(before, old, new), old32, new32),
                         cksum_finish(cksum_add(0, b, sizeof(b))));
    }
}

static void a_bucket_empties_and_fills(void **state)
{
    struct limit l;
    uint64_t now = 5000000;

    limit_init(&l, 10, 3, now);
    for (unsigned i = 0; i < 3; i++)
        assert_true(limit_pass(&l, now));
    assert_false(limit_pass(&l, now));
    assert_false(limit_pass(&l, now += 99999));
    assert_true(limit_pass(&l, now += 1));
    assert_false(limit_pass(&l, now));
    now = UINT64_MAX; /* an age later: full, no more */
    for (unsigned i = 0; i < 3; i++)
        assert_true(limit_pass(&l, now));
    assert_false(limit_pass(&l, now));
}

static void every_reason_has_a_name_and_words(void **state)
{
    for (int i = 0; i < DROP_COUNT; i++) {
        assert_non_null(drop_name((enum drop)i));
        assert_true(strlen(drop_text((enum drop)i)) > 0);
    }
    assert_string_equal(drop_name(DROP_ETH_SHORT), "ETH_SHORT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_the_book),
        cmocka_unit_test(long_ones_are_as_well),
        cmocka_unit_test(a_known_header_adds_up),
        cmocka_unit_test(the_pseudo_header_is_that_of_the_rfc),
        cmocka_unit_test(an_update_is_a_new_sum),
        cmocka_unit_test(a_bucket_empties_and_fills),
        cmocka_unit_test(every_reason_has_a_name_and_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
