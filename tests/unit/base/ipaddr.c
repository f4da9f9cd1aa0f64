#include "dataplane/base/ipaddr.h"
#include "tests/lib/test.h"

static void addresses_print_as_they_were_written(void **state)
{
    static const char *const good[] = { "0.0.0.0", "10.1.2.3", "255.255.255.255", "::1",
                                        "fe80::1" };
    static const char *const bad[] = { "",           "10.1.2",    "10.1.2.256",
                                       "10.1.2.3.4", " 10.1.2.3", "10.1.2.3/8",
                                       "x",          ":::",       "0x0a000001" };
    struct ipaddr a;
    char buf[IPADDR_STRLEN];

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(ipaddr_parse(slice_of(good[i]), &a));
        assert_string_equal(ipaddr_str(&a, buf), good[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(ipaddr_parse(slice_of(bad[i]), &a));
}

static void prefixes_contain(void **state)
{
    static const struct {
        const char *prefix, *addr;
        bool inside;
    } rows[] = {
        { "10.0.0.0/8", "10.255.0.1", true },
        { "10.0.0.0/8", "11.0.0.0", false },
        { "0.0.0.0/0", "192.0.2.1", true },
        { "192.0.2.1", "192.0.2.1", true },
        { "192.0.2.0/31", "192.0.2.1", true },
        { "192.0.2.0/31", "192.0.2.2", false },
        { "2001:db8::/33", "2001:db8::1", true },
        { "2001:db8::/33", "2001:db8:8000::1", false },
        { "0.0.0.0/0", "::1", false },
    };
    struct ipprefix p;
    struct ipaddr a;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_true(ipprefix_parse(slice_of(rows[i].prefix), true, &p));
        assert_true(ipaddr_parse(slice_of(rows[i].addr), &a));
        assert_int_equal(ipprefix_contains(&p, &a), rows[i].inside);
    }
    assert_false(ipprefix_parse(SLICE("10.0.0.1/8"), true, &p));
    assert_true(ipprefix_parse(SLICE("10.0.0.1/8"), false, &p));
    assert_false(ipprefix_parse(SLICE("10.0.0.0/33"), true, &p));
    assert_false(ipprefix_parse(SLICE("10.0.0.0/"), true, &p));
}

static void endpoints_print_with_brackets_for_v6(void **state)
{
    struct ipport p = { .port = 8080 };
    char buf[IPPORT_STRLEN];

    p.addr = ipaddr_v4(0x0a000001);
    assert_int_equal(ipaddr_u32(&p.addr), 0x0a000001);
    assert_string_equal(ipport_str(&p, buf), "10.0.0.1:8080");
    assert_true(ipaddr_parse(SLICE("::1"), &p.addr));
    assert_string_equal(ipport_str(&p, buf), "[::1]:8080");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_print_as_they_were_written),
        cmocka_unit_test(prefixes_contain),
        cmocka_unit_test(endpoints_print_with_brackets_for_v6),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
