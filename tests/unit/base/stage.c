/* Time by stage: what counts, and what does not. */
#include "dataplane/base/stage.h"
#include "tests/lib/test.h"

static uint64_t sum(const struct stages *st)
{
    uint64_t all = 0;

    for (unsigned i = 0; i < N_STAGES; i++)
        all += st->cycles[i];
    return all;
}

/* Until the counter has moved: it may be coarse. */
static void pass_time(void)
{
    const uint64_t start = stage_clock();

    while (stage_clock() == start)
        ;
}

static void turn(struct stages *st, bool on, bool busy)
{
    enum stage was;

    stages_begin(st, on);
    was = stage_enter(st, STAGE_TCP);
    pass_time();
    stage_leave(st, was);
    pass_time();
    stages_end(st, busy);
}

static void time_belongs_to_the_innermost_stage(void **state)
{
    struct stages st = { 0 };
    uint64_t start = stage_clock();
    enum stage outer, inner;

    stages_begin(&st, true);
    outer = stage_enter(&st, STAGE_PROXY);
    inner = stage_enter(&st, STAGE_TLS);
    assert_int_equal(outer, STAGE_OTHER);
    assert_int_equal(inner, STAGE_PROXY);
    pass_time();
    stage_leave(&st, inner);
    stage_leave(&st, outer);
    stages_end(&st, true);
    assert_true(st.cycles[STAGE_TLS] > 0);
    assert_int_equal(st.cycles[STAGE_TCP], 0);
    assert_true(sum(&st) <= stage_clock() - start);
    assert_int_equal(st.turns, 1);
}

static void a_turn_that_is_not_looked_at_costs_and_counts_nothing(void **state)
{
    struct stages st = { 0 };

    turn(&st, false, true);
    assert_int_equal(sum(&st), 0);
    assert_int_equal(st.turns, 0);
}

static void a_turn_without_work_does_not_count(void **state)
{
    struct stages st = { 0 };
    uint64_t before;

    turn(&st, true, false);
    assert_int_equal(sum(&st), 0);
    turn(&st, true, true);
    before = sum(&st);
    assert_true(st.cycles[STAGE_TCP] > 0 && st.cycles[STAGE_OTHER] > 0);
    turn(&st, true, false);
    assert_int_equal(sum(&st), before);
    assert_int_equal(st.turns, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_belongs_to_the_innermost_stage),
        cmocka_unit_test(a_turn_that_is_not_looked_at_costs_and_counts_nothing),
        cmocka_unit_test(a_turn_without_work_does_not_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
