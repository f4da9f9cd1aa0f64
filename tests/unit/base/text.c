#include "dataplane/base/text.h"

#include "tests/lib/test.h"

static void what_is_well_formed_is_utf8(void **state)
{
    static const char *const good[] = {
        "",
        "plain",
        "\x7f",
        "caf\xc3\xa9",
        "\xc2\x80",
        "\xdf\xbf",
        "\xe0\xa0\x80",
        "\xed\x9f\xbf",
        "\xee\x80\x80",
        "\xef\xbf\xbf",
        "\xe2\x82\xac",
        "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf",
    };

    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        if (!text_is_utf8(slice_of(good[i])))
            fail_msg("row %zu is refused", i);
    assert_true(text_is_utf8((struct slice){ "a\0b", 3 }));
}

static void what_is_not_is_none(void **state)
{
    static const char *const bad[] = {
        "caf\xe9",
        "\x80",
        "\xbf", /* Latin-1, and bytes that only continue */
        "\xc0\xaf",
        "\xc1\xbf", /* overlong */
        "\xe0\x9f\xbf",
        "\xf0\x8f\xbf\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf", /* surrogates */
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff", /* beyond */
        "\xc3",
        "\xe2\x82",
        "\xf0\x90\x80", /* cut short */
        "\xc3(",
        "\xe2\x28\xa1",
        "\xe2\x82(",
        "\xf0\x90\x80(",
        "a\xc3\xa9\xa9",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (text_is_utf8(slice_of(bad[i])))
            fail_msg("row %zu is taken", i);
    assert_false(text_is_utf8((struct slice){ "caf\xc3\xa9", 4 })); /* nothing beyond is read */
}

static void a_slip_is_recognised(void **state)
{
    assert_true(text_is_slip("status", "status"));
    assert_true(text_is_slip("stauts", "status"));
    assert_true(text_is_slip("statuses", "status"));
    assert_true(text_is_slip("stp", "stop"));
    assert_true(text_is_slip("", "x"));
}

static void what_is_far_is_not(void **state)
{
    assert_false(text_is_slip("sotp", "stop")); /* a short word forgives one letter only */
    assert_false(text_is_slip("statusesss", "status"));
    assert_false(text_is_slip("listener", "status"));
    assert_false(text_is_slip("", "stop"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_well_formed_is_utf8),
        cmocka_unit_test(what_is_not_is_none),
        cmocka_unit_test(a_slip_is_recognised),
        cmocka_unit_test(what_is_far_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
