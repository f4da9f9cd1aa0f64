#include "dataplane/worker/loop.h"

#include "tests/lib/test.h"

static void a_worker_that_was_just_busy_does_not_sleep(void **state)
{
    assert_int_equal(loop_sleep_us(0), 0);
    assert_int_equal(loop_sleep_us(500), 0);
}

static void the_longer_it_is_idle_the_longer_it_sleeps(void **state)
{
    uint64_t last = 0, slept_us = 0;

    for (uint64_t turns = 0; turns < 20000; turns++) {
        uint64_t us = loop_sleep_us(turns);

        assert_true(us >= last);
        if (us > 1000 && last <= 1000) /* the long sleep, after seconds only */
            assert_in_range(slept_us, 4000000, 6000000);
        slept_us += us;
        last = us;
    }
    assert_int_equal(last, 2000);
}

/* As long as a nap is short, a burst that comes now is no later than its packets' own gaps. */
static void the_first_sleeps_are_short(void **state)
{
    uint64_t turns = 0, slept_us = 0;

    while (loop_sleep_us(turns) < 100)
        slept_us += loop_sleep_us(turns++);
    assert_in_range(slept_us, 5000, 20000);
}

static void no_number_of_turns_is_too_large(void **state)
{
    assert_int_equal(loop_sleep_us(UINT64_MAX), 2000);
    assert_int_equal(loop_wait_us(UINT64_MAX, 0), 5000);
}

static uint64_t gap_after(uint64_t gap_us, uint64_t us, unsigned times)
{
    while (times-- > 0)
        gap_us = loop_gap_us(gap_us, us);
    return gap_us;
}

static void one_that_is_woken_looks_as_long_as_something_is_likely_to_come(void **state)
{
    uint64_t gap_us = gap_after(0, 10, 100);

    assert_int_equal(loop_wait_us(0, gap_us), 0);
    assert_int_equal(loop_wait_us(99, gap_us), 0);
    assert_int_equal(loop_wait_us(100, gap_us), 5000);
    gap_us = gap_after(gap_us, 1000, 100);
    assert_int_equal(loop_wait_us(0, gap_us), 0);
    assert_int_equal(loop_wait_us(4, gap_us), 5000);
}

/* Hours count no more than a fraction of a millisecond. */
static void after_a_long_silence_it_soon_knows_better(void **state)
{
    const uint64_t gap_us = gap_after(0, 3600 * UINT64_C(1000000), 100);

    assert_int_equal(loop_wait_us(50, gap_after(gap_us, 10, 5)), 5000);
    assert_int_equal(loop_wait_us(50, gap_after(gap_us, 10, 15)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_that_was_just_busy_does_not_sleep),
        cmocka_unit_test(the_longer_it_is_idle_the_longer_it_sleeps),
        cmocka_unit_test(the_first_sleeps_are_short),
        cmocka_unit_test(no_number_of_turns_is_too_large),
        cmocka_unit_test(one_that_is_woken_looks_as_long_as_something_is_likely_to_come),
        cmocka_unit_test(after_a_long_silence_it_soon_knows_better),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
