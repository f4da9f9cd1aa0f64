#include "bench/load/arrivals.h"
#include "tests/lib/test.h"

#include <math.h>

#define HZ 1e9

static void the_rate_is_kept_in_the_mean(void **state)
{
    struct arrivals a;
    uint64_t at = 0, n = 0, last = 0;
    double squares = 0;

    arrivals_init(&a, 50000, HZ, 1000, 42);
    while (arrivals_next(&a, 1000 + 4 * (uint64_t)HZ, &at)) {
        const double gap = (double)(at - (n > 0 ? last : 1000)) / HZ * 50000;

        assert_true(at >= last);
        squares += gap * gap;
        last = at;
        n++;
    }
    /* 200,000 +- 5 standard deviations; of an exponential distribution E(x^2) is twice E(x)^2. */
    assert_true(n > 197700 && n < 202300);
    assert_true(fabs(squares / (double)n - 2) < 0.1);
}

static void those_that_wait_are_served_at_their_moments_in_order(void **state)
{
    static uint64_t moments[5000];
    struct arrivals a;
    unsigned n = 0;

    arrivals_init(&a, 1000, HZ, 7, 3);
    while (n < 5000 && arrivals_next(&a, UINT64_MAX, &moments[n]))
        n++;
    assert_int_equal(a.waiting, 5000);
    for (unsigned i = 0; i < 5000; i++)
        assert_int_equal(arrivals_serve(&a), moments[i]);
    assert_int_equal(a.waiting, 0);
}

static void nothing_arrives_before_its_time(void **state)
{
    struct arrivals a;
    uint64_t at = 0;

    arrivals_init(&a, 1, HZ, 1000, 3);
    assert_false(arrivals_next(&a, 1000, &at));
    assert_int_equal(a.waiting, 0);
    assert_true(arrivals_next(&a, UINT64_MAX, &at));
    assert_true(at > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rate_is_kept_in_the_mean),
        cmocka_unit_test(those_that_wait_are_served_at_their_moments_in_order),
        cmocka_unit_test(nothing_arrives_before_its_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
