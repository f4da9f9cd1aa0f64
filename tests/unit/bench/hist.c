#include "bench/load/hist.h"
#include "dataplane/base/compiler.h"
#include "tests/lib/test.h"

static struct hist h, other;

static void every_value_lies_in_its_bucket(void **state)
{
    static const uint64_t around[] = {
        0,   1,    127,   128,   129,     255,      256,
        257, 1000, 65535, 65536, 1000000, 1u << 30, (UINT64_C(1) << 41) + 12345
    };

    for (size_t i = 0; i < ARRAY_SIZE(around); i++) {
        const uint64_t v = around[i];
        const uint32_t b = hist_bucket(v);

        assert_true(b < HIST_BUCKETS);
        assert_true(v <= hist_bucket_end(b));
        assert_true(b == 0 || v > hist_bucket_end(b - 1));
    }
}

static void buckets_follow_each_other_without_a_gap(void **state)
{
    for (uint32_t i = 0; i + 1 < HIST_BUCKETS; i++) {
        assert_int_equal(hist_bucket(hist_bucket_end(i)), i);
        assert_int_equal(hist_bucket(hist_bucket_end(i) + 1), i + 1);
    }
}

static void a_bucket_is_narrower_than_a_128th(void **state)
{
    for (uint32_t i = HIST_SUB; i < HIST_BUCKETS; i++) {
        const uint64_t first = hist_bucket_end(i - 1) + 1, width = hist_bucket_end(i) - first + 1;

        assert_true(width <= 1 || width * HIST_SUB <= first);
    }
}

static void what_is_too_large_counts_as_the_largest(void **state)
{
    hist_init(&h);
    hist_record(&h, UINT64_C(1) << 50);
    assert_int_equal(hist_percentile(&h, 0.5), UINT64_C(1) << 50);
    assert_int_equal(h.max, UINT64_C(1) << 50);
}

static void nothing_recorded_is_zero(void **state)
{
    hist_init(&h);
    assert_int_equal(hist_percentile(&h, 0.99), 0);
    assert_int_equal(hist_min(&h), 0);
    assert_true(hist_mean(&h) == 0);
}

static void percentiles_are_ranks(void **state)
{
    static const struct {
        double share;
        uint64_t value; /* of 1 to 100, which are buckets of their own */
    } cases[] = { { 0, 1 },      { 0.001, 1 }, { 0.01, 1 },    { 0.5, 50 },
                  { 0.501, 51 }, { 0.99, 99 }, { 0.999, 100 }, { 1, 100 } };

    hist_init(&h);
    for (uint64_t v = 100; v > 0; v--)
        hist_record(&h, v);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(hist_percentile(&h, cases[i].share), cases[i].value);
    assert_int_equal(hist_min(&h), 1);
    assert_int_equal(h.max, 100);
    assert_true(hist_mean(&h) == 50.5);
}

static void a_percentile_is_never_more_than_the_largest(void **state)
{
    hist_init(&h);
    hist_record(&h, 1000001);
    assert_int_equal(hist_percentile(&h, 0.5), 1000001);
}

static void two_added_are_as_one(void **state)
{
    static struct hist both;

    hist_init(&h);
    hist_init(&other);
    hist_init(&both);
    for (uint64_t v = 1; v < 5000000; v = v * 3 / 2 + 1) {
        hist_record(v % 2 != 0 ? &h : &other, v);
        hist_record(&both, v);
    }
    hist_add(&h, &other);
    assert_memory_equal(&h, &both, sizeof(both));
}

static void nothing_added_changes_nothing(void **state)
{
    hist_init(&h);
    hist_init(&other);
    hist_record(&h, 7);
    hist_add(&h, &other);
    assert_int_equal(h.n, 1);
    assert_int_equal(hist_min(&h), 7);
    assert_int_equal(h.max, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_lies_in_its_bucket),
        cmocka_unit_test(buckets_follow_each_other_without_a_gap),
        cmocka_unit_test(a_bucket_is_narrower_than_a_128th),
        cmocka_unit_test(what_is_too_large_counts_as_the_largest),
        cmocka_unit_test(nothing_recorded_is_zero),
        cmocka_unit_test(percentiles_are_ranks),
        cmocka_unit_test(a_percentile_is_never_more_than_the_largest),
        cmocka_unit_test(two_added_are_as_one),
        cmocka_unit_test(nothing_added_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
