#include "dataplane/base/reserve.h"
#include "tests/lib/test.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* Bytes from @from on that are memory. */
static size_t in_memory(const struct reserve *r, size_t from)
{
    const size_t n = (r->size - from) / 4096;
    static unsigned char pages[16384];
    size_t i = 0;

    assert_true(n <= sizeof(pages));
    assert_int_equal(mincore(r->base + from, n * 4096, pages), 0);
    while (i < n && (pages[i] & 1) != 0)
        i++;
    return i * 4096;
}

static void nothing_is_memory_before_it_is_prepared(void **state)
{
    struct reserve r;

    assert_int_equal(reserve_init(&r, 64 * MIB), 0);
    assert_int_equal((uintptr_t)r.base % (2 * MIB), 0);
    assert_int_equal(in_memory(&r, 0), 0);
    reserve_fini(&r);
    reserve_fini(&r);
}

static void memory_is_ahead_of_what_is_used(void **state)
{
    static const size_t used[] = { 0, 4 * KIB, 512 * KIB, 3 * MIB, 9 * MIB, 40 * MIB, 63 * MIB };
    struct reserve r;

    assert_int_equal(reserve_init(&r, 64 * MIB), 0);
    for (size_t i = 0; i < ARRAY_SIZE(used); i++) {
        const size_t ahead = MIN(MAX(used[i] / 4, 512 * KIB), 2 * MIB);
        const size_t want = MIN(used[i] + ahead, r.size);

        memset(r.base, 0xab, used[i]);
        reserve_use(&r, used[i]);
        assert_true(reserves_prepare() > 0);
        assert_int_equal(reserves_prepare(), 0);
        assert_true(in_memory(&r, 0) >= want);
        /* And not much more: a page of whichever size there is. */
        assert_true(in_memory(&r, 0) < want + 2 * MIB);
        assert_true(want > 2 * MIB || in_memory(&r, 0) < want + 4096);
        /* What the owner has written is still there, and what comes is zero. */
        for (size_t at = 0; at < used[i]; at += 4096)
            assert_int_equal((uint8_t)r.base[at], 0xab);
        for (size_t at = used[i]; at < want; at += 512)
            assert_int_equal(r.base[at], 0);
    }
    reserve_fini(&r);
}

/* Where the kernel gives no huge pages, for want of them or as it is told so. */
static void without_huge_pages_no_more_is_prepared(void **state)
{
    struct reserve r;

    assert_int_equal(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
    assert_int_equal(reserve_init(&r, 64 * MIB), 0);
    for (size_t used = 0; used < 16 * MIB; used += 700 * KIB) {
        const size_t want = used + MIN(MAX(used / 4, 512 * KIB), 2 * MIB);

        reserve_use(&r, used);
        assert_true(reserves_prepare() > 0);
        assert_true(in_memory(&r, 0) >= want && in_memory(&r, 0) < want + 4096);
    }
    reserve_fini(&r);
    assert_int_equal(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
}

static void a_small_one_is_prepared_to_its_end(void **state)
{
    struct reserve r, s;

    assert_int_equal(reserve_init(&r, 100), 0);
    assert_int_equal(reserve_init(&s, 2 * MIB), 0);
    assert_int_equal(r.size, 4096);
    reserve_use(&r, 100);
    reserve_use(&s, 2 * MIB); /* any of it may be used at any time */
    assert_int_equal(reserves_prepare(), 4096 + 2 * MIB);
    assert_int_equal(in_memory(&r, 0), 4096);
    assert_int_equal(in_memory(&s, 0), 2 * MIB);
    reserve_fini(&s);
    assert_int_equal(reserves_prepare(), 0);
    reserve_fini(&r);
}

static void too_much_is_refused(void **state)
{
    struct reserve r;

    assert_true(reserve_init(&r, (size_t)1 << 60) < 0);
    reserve_fini(&r);
    assert_int_equal(reserves_prepare(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_memory_before_it_is_prepared),
        cmocka_unit_test(memory_is_ahead_of_what_is_used),
        cmocka_unit_test(without_huge_pages_no_more_is_prepared),
        cmocka_unit_test(a_small_one_is_prepared_to_its_end),
        cmocka_unit_test(too_much_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
