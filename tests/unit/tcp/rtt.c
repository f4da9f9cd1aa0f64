#include "dataplane/tcp/rtt.h"
#include "dataplane/tcp/seq.h"
#include "tests/lib/test.h"

#define MS 1000u

static void the_first_measurement_sets_both(void **state)
{
    struct rtt r;

    rtt_init(&r);
    assert_int_equal(r.rto_us, 1000 * MS);
    rtt_sample(&r, 100 * MS, 1);
    assert_int_equal(r.srtt_us, 100 * MS);
    assert_int_equal(r.var_us, 50 * MS);
    assert_int_equal(r.rto_us, 300 * MS);
}

static void later_ones_are_smoothed(void **state)
{
    struct rtt r;

    rtt_init(&r);
    rtt_sample(&r, 100 * MS, 1);
    rtt_sample(&r, 180 * MS, 1);
    assert_int_equal(r.srtt_us, 110 * MS);
    assert_int_equal(r.var_us, (3 * 50 * MS + 80 * MS) / 4);
    for (unsigned i = 0; i < 200; i++)
        rtt_sample(&r, 10 * MS, 1);
    assert_in_range(r.rto_us, 11 * MS, 12 * MS); /* the clock's tick is in it */
}

static void the_timeout_has_bounds(void **state)
{
    struct rtt r;

    rtt_init(&r);
    rtt_sample(&r, 0, 200 * MS);
    assert_int_equal(r.rto_us, 200 * MS + 1);
    assert_int_equal(rtt_backed_off(&r, 0), 200 * MS + 1);
    assert_int_equal(rtt_backed_off(&r, 3), 1600 * MS + 8);
    assert_int_equal(rtt_backed_off(&r, 255), RTT_MAX_RTO_US);
    rtt_sample(&r, UINT64_MAX, 200 * MS); /* the echo of a clock that is not ours */
    assert_true(r.rto_us <= RTT_MAX_RTO_US);
}

static void sequence_numbers_wrap(void **state)
{
    assert_true(seq_lt(0xfffffff0, 5));
    assert_true(seq_gt(5, 0xfffffff0));
    assert_true(seq_le(7, 7) && seq_ge(7, 7));
    assert_false(seq_lt(7, 7) || seq_gt(7, 7));
    assert_int_equal(seq_max(0xfffffff0, 5), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_measurement_sets_both),
        cmocka_unit_test(later_ones_are_smoothed),
        cmocka_unit_test(the_timeout_has_bounds),
        cmocka_unit_test(sequence_numbers_wrap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
