#include "dataplane/worker/loop.h"

#include "tests/lib/test.h"

static void a_worker_that_was_just_busy_does_not_sleep(void **state)
{
    assert_int_equal(loop_sleep_us(0, false), 0);
    assert_int_equal(loop_sleep_us(500, false), 0);
    assert_int_equal(loop_sleep_us(99, true), 0);
}

static void the_longer_it_is_idle_the_longer_it_sleeps(void **state)
{
    uint64_t last = 0, slept_us = 0;

    for (uint64_t turns = 0; turns < 20000; turns++) {
        uint64_t us = loop_sleep_us(turns, false);

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

    while (loop_sleep_us(turns, false) < 100)
        slept_us += loop_sleep_us(turns++, false);
    assert_in_range(slept_us, 5000, 20000);
}

static void no_number_of_turns_is_too_large(void **state)
{
    assert_int_equal(loop_sleep_us(UINT64_MAX, false), 2000);
    assert_int_equal(loop_sleep_us(UINT64_MAX, true), 5000);
}

/* It need not look before something comes. */
static void one_that_is_woken_sleeps_soon_and_long(void **state)
{
    assert_int_equal(loop_sleep_us(100, true), 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_that_was_just_busy_does_not_sleep),
        cmocka_unit_test(the_longer_it_is_idle_the_longer_it_sleeps),
        cmocka_unit_test(the_first_sleeps_are_short),
        cmocka_unit_test(no_number_of_turns_is_too_large),
        cmocka_unit_test(one_that_is_woken_sleeps_soon_and_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
