#include "dataplane/base/own.h"

#include "tests/lib/test.h"

static uintptr_t line_of(const void *p)
{
    return (uintptr_t)p / CACHE_LINE;
}

static void two_share_no_line(void **state)
{
    static const size_t sizes[] = { 1, 8, 63, 64, 65, 1000 };

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char *a = own_alloc(1, sizes[i]), *b = own_alloc(1, sizes[i]);
        char *low = a < b ? a : b, *high = a < b ? b : a;

        assert_int_equal((uintptr_t)a % CACHE_LINE, 0);
        assert_true(line_of(low + sizes[i] - 1) < line_of(high));
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(a[k], 0);
        memset(a, 0xff, sizes[i]);
        free(a);
        free(b);
    }
}

static void what_is_too_large_is_refused(void **state)
{
    char *none = own_alloc(0, 100);

    assert_null(own_alloc(SIZE_MAX / 2, 3));
    assert_null(own_alloc(1, SIZE_MAX - 1));
    assert_non_null(none);
    free(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_share_no_line),
        cmocka_unit_test(what_is_too_large_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
