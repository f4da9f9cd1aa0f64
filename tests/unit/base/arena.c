#include "dataplane/base/arena.h"
#include "dataplane/base/slab.h"
#include "tests/lib/test.h"

#include <string.h>

static void memory_is_zeroed_and_aligned(void **state)
{
    struct arena a;

    arena_init(&a, 0);
    for (size_t len = 1; len < 5000; len += 37) {
        char *p = arena_alloc(&a, len);

        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < len; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, len);
    }
    arena_fini(&a);
}

static void the_limit_is_an_answer(void **state)
{
    struct arena a;

    arena_init(&a, 64);
    assert_non_null(arena_alloc(&a, 48));
    assert_null(arena_alloc(&a, 17));
    assert_non_null(arena_alloc(&a, 16));
    assert_null(arena_alloc(&a, 1));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_strdup(&a, "x"));
    arena_fini(&a);
    assert_non_null(arena_alloc(&a, 64));
    arena_fini(&a);
}

static void strings_are_copies(void **state)
{
    struct arena a;
    char text[] = "north";
    char *copy;

    arena_init(&a, 0);
    copy = arena_strndup(&a, text, 3);
    text[0] = 'x';
    assert_string_equal(copy, "nor");
    assert_string_equal(arena_printf(&a, "%s-%d", copy, 7), "nor-7");
    assert_true(slice_eq(arena_copy(&a, SLICE("bytes")), SLICE("bytes")));
    arena_fini(&a);
}

static void blocks_of_a_slab_go_back_to_it(void **state)
{
    struct slab blocks;
    struct arena a;

    assert_int_equal(slab_init(&blocks, 1024, 2), 0);
    arena_init_slab(&a, &blocks, 0);
    assert_non_null(arena_alloc(&a, 900));
    assert_non_null(arena_alloc(&a, 900));
    assert_int_equal(blocks.in_use, 2);
    assert_null(arena_alloc(&a, 900));
    assert_non_null(arena_alloc(&a, 5000)); /* larger than a block */
    arena_fini(&a);
    assert_int_equal(blocks.in_use, 0);
    slab_fini(&blocks);
}

static void nothing_is_still_something_to_point_at(void **state)
{
    struct arena a;

    arena_init(&a, 0);
    assert_non_null(arena_alloc(&a, 0));
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_and_aligned),
        cmocka_unit_test(the_limit_is_an_answer),
        cmocka_unit_test(strings_are_copies),
        cmocka_unit_test(blocks_of_a_slab_go_back_to_it),
        cmocka_unit_test(nothing_is_still_something_to_point_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
