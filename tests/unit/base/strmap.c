#include "dataplane/base/strmap.h"
#include "tests/lib/test.h"

static void every_key_is_found_again(void **state)
{
    struct arena a;
    struct strmap m;

    arena_init(&a, 0);
    strmap_init(&m, &a, 1000);
    for (intptr_t i = 1; i <= 1000; i++)
        assert_true(strmap_add(&m, slice_of(arena_printf(&a, "key-%ld", (long)i)), (void *)i));
    assert_false(strmap_add(&m, SLICE("key-7"), &m));
    for (intptr_t i = 1; i <= 1000; i++)
        assert_ptr_equal(strmap_get(&m, slice_of(arena_printf(&a, "key-%ld", (long)i))), (void *)i);
    assert_null(strmap_get(&m, SLICE("key-0")));
    assert_null(strmap_get(&m, SLICE("")));
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_key_is_found_again) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
