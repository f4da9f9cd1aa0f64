#include "tls/hostname.h"
#include "tests/lib/test.h"

static void only_host_names_are_copied(void **state)
{
    static const struct {
        struct slice from;
        const char *to; /* NULL: refused */
    } rows[] = {
        { SLICE("example.com"), "example.com" },
        { SLICE("EXAMPLE.com"), "example.com" },
        { SLICE("example.com."), "example.com" },
        { SLICE("outbound_.8000_._.httpbin.foo.svc.cluster.local"),
          "outbound_.8000_._.httpbin.foo.svc.cluster.local" },
        { SLICE("xn--bcher-kva.example"), "xn--bcher-kva.example" },
        { SLICE(""), NULL },
        { SLICE("."), NULL },
        { SLICE("a..b"), NULL },
        { SLICE(".a"), NULL },
        { SLICE("a.."), NULL },
        { SLICE("good.com\0.evil.com"), NULL },
        { SLICE("b\xc3\xbc"
                "cher.example"),
          NULL },
        { SLICE("a b"), NULL },
        { SLICE("*.example.com"), NULL },
        { SLICE("[::1]"), NULL },
        { SLICE("a,b"), NULL },
        { SLICE("a/b"), NULL },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char to[HOSTNAME_MAX + 1];

        assert_int_equal(hostname_copy(rows[i].from, to), rows[i].to != NULL);
        if (rows[i].to != NULL)
            assert_string_equal(to, rows[i].to);
    }
}

static void labels_and_names_have_their_longest(void **state)
{
    char text[260], to[HOSTNAME_MAX + 1];

    memset(text, 'a', sizeof(text));
    assert_true(hostname_copy((struct slice){ text, 63 }, to));
    assert_false(hostname_copy((struct slice){ text, 64 }, to));
    for (unsigned i = 1; i < sizeof(text); i += 2)
        text[i] = '.';
    assert_true(hostname_copy((struct slice){ text, 253 }, to));
    assert_true(hostname_copy((struct slice){ text, 254 }, to)); /* with the dot at the end */
    assert_false(hostname_copy((struct slice){ text, 255 }, to));
}

static void a_star_is_one_whole_first_label(void **state)
{
    static const struct {
        struct slice pattern;
        const char *name;
        bool fits;
    } rows[] = {
        { SLICE("a.example.com"), "a.example.com", true },
        { SLICE("A.Example.com"), "a.example.com", true },
        { SLICE("b.example.com"), "a.example.com", false },
        { SLICE("*.example.com"), "a.example.com", true },
        { SLICE("*.example.com"), "example.com", false },
        { SLICE("*.example.com"), "a.b.example.com", false },
        { SLICE("*.com"), "example.com", false },
        { SLICE("*"), "example", false },
        { SLICE("a*.example.com"), "ab.example.com", false },
        { SLICE("*.*.com"), "a.b.com", false },
        { SLICE("a.*.com"), "a.b.com", false },
        { SLICE("a.example.com\0.evil.com"), "a.example.com", false },
        { SLICE("*.example.com\0"), "a.example.com", false },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(hostname_matches(rows[i].pattern, rows[i].name), rows[i].fits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_host_names_are_copied),
        cmocka_unit_test(labels_and_names_have_their_longest),
        cmocka_unit_test(a_star_is_one_whole_first_label),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
