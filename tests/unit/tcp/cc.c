#include "dataplane/tcp/cc.h"
#include "tests/lib/test.h"

#define SEC UINT64_C(1000000)
#define MSS 1000u

static const struct cc_ops *reno, *cubic;

static int find(void **state)
{
    reno = cc_algorithms[CC_NEWRENO];
    cubic = cc_algorithms[CC_CUBIC];
    return 0;
}

static void the_initial_window_is_that_of_rfc_6928(void **state)
{
    static const struct {
        uint32_t mss, cwnd;
    } cases[] = { { 536, 5360 }, { 1460, 14600 }, { 2000, 14600 }, { 8960, 17920 } };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(cc_initial_window(cases[i].mss, 0), cases[i].cwnd);
    assert_int_equal(cc_initial_window(1460, 3), 4380);
}

static void slow_start_grows_by_what_is_acknowledged_and_stops_at_the_threshold(void **state)
{
    const struct cc_ops *both[] = { reno, cubic };

    for (unsigned i = 0; i < 2; i++) {
        struct cc cc;
        struct cc_ack a = { .now_us = SEC, .acked = 700, .mss = MSS, .rtt_us = 10000 };

        cc_init(&cc, 10 * MSS, 12 * MSS);
        both[i]->on_ack(&cc, &a);
        assert_int_equal(cc.cwnd, 10700);
        a.acked = 2000;
        both[i]->on_ack(&cc, &a);
        assert_in_range(cc.cwnd, 12 * MSS, 12 * MSS + 300);
    }
}

static void reno_grows_by_a_segment_a_window(void **state)
{
    struct cc cc;
    const struct cc_ack a = { .now_us = SEC, .acked = MSS, .mss = MSS };

    cc_init(&cc, 10 * MSS, 10 * MSS);
    for (unsigned i = 0; i < 9; i++)
        reno->on_ack(&cc, &a);
    assert_int_equal(cc.cwnd, 10 * MSS);
    reno->on_ack(&cc, &a);
    assert_int_equal(cc.cwnd, 11 * MSS);
}

static void congestion_halves_reno_and_takes_three_tenths_from_cubic(void **state)
{
    struct cc cc;

    cc_init(&cc, 100 * MSS, UINT32_MAX);
    reno->on_congestion(&cc, MSS);
    assert_int_equal(cc.ssthresh, 50 * MSS);
    cubic->on_congestion(&cc, MSS);
    assert_int_equal(cc.ssthresh, 70 * MSS);
    assert_int_equal(cc.cwnd, 100 * MSS); /* coming down is PRR's task */
    cc_init(&cc, 2 * MSS, UINT32_MAX);
    cubic->on_congestion(&cc, MSS);
    assert_int_equal(cc.ssthresh, 2 * MSS);
}

/* A window's worth of ACKs every round trip, for @us. */
static void run(struct cc *cc, uint64_t *now_us, uint64_t us, uint32_t rtt_us)
{
    for (uint64_t end = *now_us + us; *now_us < end; *now_us += rtt_us) {
        for (uint32_t left = cc->cwnd; left >= MSS; left -= MSS) {
            const struct cc_ack a = {
                .now_us = *now_us, .acked = MSS, .mss = MSS, .rtt_us = rtt_us
            };

            cubic->on_ack(cc, &a);
        }
    }
}

/* RFC 9438, figure 2: K is the cube root of W_max (1 - beta) / C. 1000 segments: 9.09 s. */
static void cubic_is_back_after_k_and_goes_beyond(void **state)
{
    struct cc cc;
    uint64_t now_us = SEC;

    cc_init(&cc, 1000 * MSS, 1000 * MSS);
    cubic->on_congestion(&cc, MSS);
    cc.cwnd = cc.ssthresh;
    assert_int_equal(cc.cwnd, 700 * MSS);
    run(&cc, &now_us, SEC, 100000);
    assert_in_range(cc.cwnd, 770 * MSS, 815 * MSS); /* 1000 - 0.4 * 8.09^3 = 788, a round trip on */
    run(&cc, &now_us, 5 * SEC, 100000);
    assert_in_range(cc.cwnd, 985 * MSS, 995 * MSS);
    run(&cc, &now_us, 3 * SEC, 100000);
    assert_in_range(cc.cwnd, 999 * MSS, 1001 * MSS);
    run(&cc, &now_us, 5 * SEC, 100000);
    assert_in_range(cc.cwnd, 1035 * MSS, 1060 * MSS); /* 0.4 * 4.9^3 = 47 */
}

/* In short round trips Reno grows faster than the curve: cubic is no slower (4.3). */
static void cubic_is_never_slower_than_reno(void **state)
{
    struct cc cc;
    uint64_t now_us = SEC;

    cc_init(&cc, 20 * MSS, 20 * MSS);
    cubic->on_congestion(&cc, MSS);
    cc.cwnd = cc.ssthresh;
    run(&cc, &now_us, SEC / 10, 1000); /* 100 round trips: alpha is 0.53, then 1 */
    assert_in_range(cc.cwnd, 70 * MSS, 115 * MSS);
}

static void a_window_that_did_not_come_back_leaves_room(void **state)
{
    struct cc cc;

    cc_init(&cc, 100 * MSS, 100 * MSS);
    cubic->on_congestion(&cc, MSS);
    assert_int_equal(cc.w_max, 100 * MSS);
    cc.cwnd = 80 * MSS;
    cubic->on_congestion(&cc, MSS);
    assert_int_equal(cc.w_max, 68 * MSS); /* (1 + beta) / 2 of it */
    cubic->on_undo(&cc);
    assert_int_equal(cc.w_max, 100 * MSS);
}

static void cubic_does_not_count_idle_time(void **state)
{
    struct cc a, b;
    uint64_t at = SEC, later;

    cc_init(&a, 100 * MSS, 100 * MSS);
    cubic->on_congestion(&a, MSS);
    a.cwnd = a.ssthresh;
    run(&a, &at, SEC, 50000);
    b = a;
    later = at + 100 * SEC;
    cubic->on_idle(&b, 100 * SEC);
    run(&a, &at, SEC, 50000);
    run(&b, &later, SEC, 50000);
    assert_int_equal(a.cwnd, b.cwnd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_initial_window_is_that_of_rfc_6928),
        cmocka_unit_test(slow_start_grows_by_what_is_acknowledged_and_stops_at_the_threshold),
        cmocka_unit_test(reno_grows_by_a_segment_a_window),
        cmocka_unit_test(congestion_halves_reno_and_takes_three_tenths_from_cubic),
        cmocka_unit_test(cubic_is_back_after_k_and_goes_beyond),
        cmocka_unit_test(cubic_is_never_slower_than_reno),
        cmocka_unit_test(a_window_that_did_not_come_back_leaves_room),
        cmocka_unit_test(cubic_does_not_count_idle_time),
    };

    return cmocka_run_group_tests(tests, find, NULL);
}
