/* Chains that were verified, by their hash. */
#include "tls/chains.h"
#include "tests/lib/test.h"

#include <string.h>

static void name(uint8_t id[CHAIN_ID_LEN], uint8_t set, uint8_t n)
{
    memset(id, 0, CHAIN_ID_LEN);
    id[0] = set;
    id[1] = n;
}

static void nothing_is_known_at_first(void **state)
{
    uint8_t id[CHAIN_ID_LEN];
    int64_t until;

    name(id, 1, 1);
    assert_false(chains_know(NULL, id, 0, &until));
}

static void a_chain_is_known_while_it_is_valid(void **state)
{
    struct chains *c = NULL;
    uint8_t id[CHAIN_ID_LEN], other[CHAIN_ID_LEN];
    int64_t until = 0;

    name(id, 1, 1);
    name(other, 1, 2);
    chains_add(&c, id, 100, 200);
    assert_false(chains_know(c, id, 99, &until));
    assert_true(chains_know(c, id, 100, &until));
    assert_int_equal(until, 200);
    assert_true(chains_know(c, id, 200, &until));
    assert_false(chains_know(c, id, 201, &until));
    assert_false(chains_know(c, other, 150, &until));
    chains_free(c);
}

static void the_oldest_gives_way(void **state)
{
    struct chains *c = NULL;
    uint8_t id[CHAIN_ID_LEN];
    int64_t until;

    for (uint8_t n = 1; n <= 5; n++) {
        name(id, 3, n);
        chains_add(&c, id, 0, 100 + n);
    }
    name(id, 3, 1);
    assert_false(chains_know(c, id, 50, &until));
    for (uint8_t n = 2; n <= 5; n++) {
        name(id, 3, n);
        assert_true(chains_know(c, id, 50, &until));
        assert_int_equal(until, 100 + n);
    }
    chains_free(c);
}

static void the_same_chain_twice_takes_one_place(void **state)
{
    struct chains *c = NULL;
    uint8_t id[CHAIN_ID_LEN];
    int64_t until;

    name(id, 7, 9);
    chains_add(&c, id, 0, 100);
    for (unsigned i = 0; i < 10; i++) {
        name(id, 7, 8);
        chains_add(&c, id, 0, 200 + i);
    }
    assert_true(chains_know(c, id, 50, &until));
    assert_int_equal(until, 209);
    name(id, 7, 9);
    assert_true(chains_know(c, id, 50, &until));
    chains_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(a_chain_is_known_while_it_is_valid),
        cmocka_unit_test(the_oldest_gives_way),
        cmocka_unit_test(the_same_chain_twice_takes_one_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
