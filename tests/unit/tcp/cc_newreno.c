#include "dataplane/tcp/cc.h"
#include "tests/lib/test.h"

static void the_initial_window_is_that_of_rfc_6928(void **state)
{
    static const struct {
        uint32_t mss, cwnd;
    } cases[] = { { 536, 5360 }, { 1460, 14600 }, { 2000, 14600 }, { 8960, 17920 } };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cc cc;

        cc_newreno.on_open(&cc, cases[i].mss);
        assert_int_equal(cc.cwnd, cases[i].cwnd);
    }
}

static void slow_start_grows_by_what_is_acknowledged(void **state)
{
    struct cc cc;

    cc_newreno.on_open(&cc, 1000);
    cc_newreno.on_ack(&cc, 700, 1000);
    assert_int_equal(cc.cwnd, 10700);
    cc_newreno.on_ack(&cc, 9000, 1000); /* but not in one leap */
    assert_int_equal(cc.cwnd, 12700);
}

static void avoidance_grows_by_a_segment_a_window(void **state)
{
    struct cc cc = { .cwnd = 10000, .ssthresh = 10000 };

    for (unsigned i = 0; i < 9; i++)
        cc_newreno.on_ack(&cc, 1000, 1000);
    assert_int_equal(cc.cwnd, 10000);
    cc_newreno.on_ack(&cc, 1000, 1000);
    assert_int_equal(cc.cwnd, 11000);
}

static void losses_halve(void **state)
{
    struct cc cc = { .cwnd = 20000, .ssthresh = 50000 };

    cc_newreno.on_loss(&cc, 16000, 1000);
    assert_int_equal(cc.cwnd, 8000);
    assert_int_equal(cc.ssthresh, 8000);
    cc_newreno.on_timeout(&cc, 3000, 1000);
    assert_int_equal(cc.cwnd, 1000);
    assert_int_equal(cc.ssthresh, 2000);
    cc.cwnd = 90000;
    cc_newreno.on_idle(&cc, 1000);
    assert_int_equal(cc.cwnd, 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_initial_window_is_that_of_rfc_6928),
        cmocka_unit_test(slow_start_grows_by_what_is_acknowledged),
        cmocka_unit_test(avoidance_grows_by_a_segment_a_window),
        cmocka_unit_test(losses_halve),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
