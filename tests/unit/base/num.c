#include "dataplane/base/num.h"
#include "tests/lib/test.h"

static void numbers_are_digits_and_nothing_else(void **state)
{
    static const char *const bad[] = { "",   "+5",  "-5",  " 5",
                                       "5 ", "0x5", "5,5", "18446744073709551616" };
    uint64_t v = 99;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(num_u64(slice_of(bad[i]), UINT64_MAX, &v));
    assert_false(num_u64(SLICE("65536"), 65535, &v));
    assert_int_equal(v, 99);
    assert_true(num_u64(SLICE("18446744073709551615"), UINT64_MAX, &v));
    assert_true(v == UINT64_MAX);
    assert_true(num_hex_u64(SLICE("fF"), UINT64_MAX, &v));
    assert_int_equal(v, 255);
    assert_false(num_hex_u64(SLICE("10000000000000000"), UINT64_MAX, &v));
    assert_false(num_hex_u64(SLICE("g"), UINT64_MAX, &v));
}

static void durations_need_a_unit(void **state)
{
    static const struct {
        const char *text;
        uint64_t us;
    } rows[] = { { "30us", 30 }, { "250ms", 250000 }, { "15s", 15000000 },  { "1.5s", 1500000 },
                 { "0s", 0 },    { "5m", 300000000 }, { "1h", 3600000000 }, { "0.25ms", 250 } };
    static const char *const bad[] = {
        "15", "s", "1.s", "1e3s", "-1s", "15 s", "99999999999999999h", "1.1234567s"
    };
    uint64_t us;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_true(num_duration_us(slice_of(rows[i].text), &us));
        assert_true(us == rows[i].us);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(num_duration_us(slice_of(bad[i]), &us));
}

static void sizes_are_powers_of_two(void **state)
{
    uint64_t v;

    assert_true(num_size(SLICE("64KiB"), &v));
    assert_int_equal(v, 65536);
    assert_true(num_size(SLICE("4096"), &v));
    assert_int_equal(v, 4096);
    assert_true(num_size(SLICE("1.5MiB"), &v));
    assert_int_equal(v, 1572864);
    assert_false(num_size(SLICE("64kb"), &v));
}

static void numbers_are_written(void **state)
{
    static const struct {
        uint64_t n;
        const char *dec, *hex;
    } cases[] = { { 0, "0", "0" },
                  { 9, "9", "9" },
                  { 10, "10", "a" },
                  { 1448, "1448", "5a8" },
                  { UINT64_MAX, "18446744073709551615", "ffffffffffffffff" } };
    char text[NUM_STRLEN];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(num_str(cases[i].n, text), strlen(cases[i].dec));
        assert_string_equal(text, cases[i].dec);
        assert_int_equal(num_hex_str(cases[i].n, text), strlen(cases[i].hex));
        assert_string_equal(text, cases[i].hex);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_written),
        cmocka_unit_test(numbers_are_digits_and_nothing_else),
        cmocka_unit_test(durations_need_a_unit),
        cmocka_unit_test(sizes_are_powers_of_two),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
