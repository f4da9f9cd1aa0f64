#include "dataplane/base/slab.h"
#include "tests/lib/test.h"

#include <string.h>

static void objects_are_zeroed_and_reused(void **state)
{
    struct slab s;
    char *a, *b;

    assert_int_equal(slab_init(&s, 100, 2), 0);
    a = slab_alloc(&s);
    b = slab_alloc(&s);
    assert_null(slab_alloc(&s));
    assert_int_equal(s.failed, 1);
    memset(a, 0xff, 100);
    slab_free(&s, a);
    assert_int_equal(s.in_use, 1);
    assert_ptr_equal(slab_alloc(&s), a);
    for (int i = 0; i < 100; i++)
        assert_int_equal(a[i], 0);
    slab_free(&s, a);
    slab_free(&s, b);
    assert_int_equal(s.in_use, 0);
    slab_fini(&s);
}

static void those_of_a_raw_one_are_as_they_were(void **state)
{
    struct slab s;
    char *a;

    assert_int_equal(slab_init_raw(&s, 100, 2), 0);
    a = slab_alloc(&s);
    for (int i = 0; i < 100; i++)
        assert_int_equal(a[i], 0);
    memset(a, 7, 100);
    slab_free(&s, a);
    assert_ptr_equal(slab_alloc(&s), a);
    assert_int_equal(a[99], 7);
    slab_free(&s, a);
    slab_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(objects_are_zeroed_and_reused),
                                        cmocka_unit_test(those_of_a_raw_one_are_as_they_were) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
