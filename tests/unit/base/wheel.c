#include "dataplane/base/wheel.h"
#include "tests/lib/test.h"

#include <string.h>

#define MS UINT64_C(1000)

static uint64_t fired_at[4096];
static unsigned n_fired;

struct alarm {
    struct wheel_timer timer;
    unsigned id;
};

static void ring(struct wheel_timer *t, uint64_t now_us)
{
    fired_at[container_of(t, struct alarm, timer)->id] = now_us;
    n_fired++;
}

static int setup(void **state)
{
    memset(fired_at, 0, sizeof(fired_at));
    n_fired = 0;
    return 0;
}

static void fires_on_its_tick_at_every_level(void **state)
{
    static const uint64_t ahead_ms[] = { 0,     1,     2,     255,   256,      257,     511,
                                         65535, 65536, 65537, 70000, 16777216, 20000000 };
    static struct wheel w;

    for (uint64_t start = 0; start < 70000; start += 6553) {
        for (size_t i = 0; i < ARRAY_SIZE(ahead_ms); i++) {
            struct alarm a = { .id = 0 };
            uint64_t due = (start + ahead_ms[i]) * MS;

            wheel_init(&w, start * MS);
            wheel_timer_init(&a.timer, ring);
            wheel_start(&w, &a.timer, due);
            setup(NULL);
            if (due > 0)
                wheel_run(&w, due - 1, 1000);
            assert_int_equal(n_fired, 0);
            assert_true(wheel_next_us(&w) <= due);
            wheel_run(&w, due, 1000);
            assert_int_equal(n_fired, 1);
            assert_false(wheel_timer_is_running(&a.timer));
        }
    }
}

static void never_early_and_at_most_a_tick_late(void **state)
{
    static struct wheel w;
    static struct alarm alarms[1000];
    uint64_t due[1000], rng = 88172645463325252ull;

    wheel_init(&w, 123456789);
    for (unsigned i = 0; i < 1000; i++) {
        rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
        due[i] = 123456789 + rng % 400000000;
        alarms[i].id = i;
        wheel_timer_init(&alarms[i].timer, ring);
        wheel_start(&w, &alarms[i].timer, due[i] + 5000000);
        wheel_start(&w, &alarms[i].timer, due[i]); /* moving is not firing twice */
    }
    for (uint64_t now = 123456789; now < 123456789 + 400002000; now += 500)
        wheel_run(&w, now, 1000);
    assert_int_equal(n_fired, 1000);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(fired_at[i] >= due[i] && fired_at[i] <= due[i] + WHEEL_TICK_US + 500);
    assert_int_equal(w.n, 0);
}

static void a_budget_leaves_the_rest_for_the_next_run(void **state)
{
    static struct wheel w;
    static struct alarm alarms[10];

    wheel_init(&w, 0);
    for (unsigned i = 0; i < 10; i++) {
        alarms[i].id = i;
        wheel_timer_init(&alarms[i].timer, ring);
        wheel_start(&w, &alarms[i].timer, (1 + i / 5) * MS);
    }
    assert_int_equal(wheel_run(&w, 50 * MS, 4), 4);
    assert_int_equal(wheel_next_us(&w), 0);
    assert_int_equal(wheel_run(&w, 50 * MS, 4), 4);
    assert_int_equal(wheel_run(&w, 50 * MS, 4), 2);
    assert_int_equal(wheel_next_us(&w), UINT64_MAX);
}

static void many_that_come_down_together_do_so_bit_by_bit(void **state)
{
    enum { MANY = 4000, BUDGET = 50 };
    static struct alarm alarms[MANY];
    static struct wheel w;
    unsigned calls = 0;

    wheel_init(&w, 0);
    for (unsigned i = 0; i < MANY; i++) {
        alarms[i].id = i;
        wheel_timer_init(&alarms[i].timer, ring);
        /* Level 2, of which some also come to a new place in level 1, and some are due at once. */
        wheel_start(&w, &alarms[i].timer, (65536 + i % 600) * MS);
    }
    assert_int_equal(wheel_run(&w, 65536 * MS, BUDGET), 0);
    assert_false(list_is_empty(&w.moving));
    assert_int_equal(wheel_next_us(&w), 0);
    wheel_stop(&w, &alarms[7].timer); /* while it waits for its place, or has it */
    wheel_stop(&w, &alarms[MANY - 1].timer);
    wheel_start(&w, &alarms[7].timer, 65540 * MS);
    wheel_start(&w, &alarms[MANY - 2].timer, 70000 * MS);
    while (n_fired < MANY - 2 && calls++ < 2 * MANY / BUDGET)
        assert_true(wheel_run(&w, 66200 * MS, BUDGET) <= BUDGET);
    assert_int_equal(n_fired, MANY - 2);
    assert_int_equal(w.n, 1);
    assert_int_equal(fired_at[MANY - 1], 0);
    wheel_run(&w, 69999 * MS, BUDGET);
    assert_int_equal(fired_at[MANY - 2], 0);
    wheel_run(&w, 70000 * MS, BUDGET);
    assert_int_equal(fired_at[MANY - 2], 70000 * MS);
    assert_int_equal(wheel_next_us(&w), UINT64_MAX);
}

static void stopped_timers_do_not_fire(void **state)
{
    static struct wheel w;
    struct alarm a = { .id = 0 };

    wheel_init(&w, 0);
    wheel_timer_init(&a.timer, ring);
    wheel_stop(&w, &a.timer);
    wheel_start(&w, &a.timer, 3 * MS);
    wheel_stop(&w, &a.timer);
    wheel_run(&w, 10 * MS, 10);
    assert_int_equal(n_fired, 0);
    assert_int_equal(w.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(fires_on_its_tick_at_every_level, setup),
        cmocka_unit_test_setup(never_early_and_at_most_a_tick_late, setup),
        cmocka_unit_test_setup(many_that_come_down_together_do_so_bit_by_bit, setup),
        cmocka_unit_test_setup(a_budget_leaves_the_rest_for_the_next_run, setup),
        cmocka_unit_test_setup(stopped_timers_do_not_fire, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
