#include "dataplane/base/pkt.h"
#include "tests/lib/pool.h"
#include "tests/lib/test.h"

static void append_fills_tails_first(void **state)
{
    struct test_pool tp;
    struct pktq q;
    char back[32];

    test_pool_init(&tp, 0);
    pktq_init(&q);
    assert_true(pktq_append(&q, &tp.pool, "abc", 3, 8));
    assert_true(pktq_append(&q, &tp.pool, "defghijkl", 9, 8));
    assert_int_equal(q.n, 2);
    assert_int_equal(q.bytes, 12);
    assert_int_equal(q.head->len, 8);
    assert_int_equal(pktq_peek(&q, back, sizeof(back)), 12);
    assert_memory_equal(back, "abcdefghijkl", 12);
    pktq_clear(&q);
    test_pool_fini(&tp);
}

static void a_shared_tail_is_not_written(void **state)
{
    struct test_pool tp;
    struct pktq q;

    test_pool_init(&tp, 0);
    pktq_init(&q);
    pktq_append(&q, &tp.pool, "abc", 3, 8);
    ++*q.head->refs;
    pktq_append(&q, &tp.pool, "d", 1, 8);
    assert_int_equal(q.n, 2);
    pkt_free(q.head); /* the second reference */
    pktq_clear(&q);
    test_pool_fini(&tp);
}

static void move_cuts_anywhere(void **state)
{
    for (uint64_t cut = 0; cut <= 20; cut++) {
        struct test_pool tp;
        struct pktq from, to;
        char back[20];

        test_pool_init(&tp, 0);
        pktq_init(&from);
        pktq_init(&to);
        pktq_append(&from, &tp.pool, "0123456789abcdefghij", 20, 7);
        assert_true(pktq_move(&to, &from, cut, &tp.pool));
        assert_int_equal(to.bytes, cut);
        assert_int_equal(from.bytes, 20 - cut);
        pktq_splice(&to, &from);
        assert_int_equal(pktq_peek(&to, back, 20), 20);
        assert_memory_equal(back, "0123456789abcdefghij", 20);
        pktq_consume(&to, 13);
        assert_int_equal(pktq_peek(&to, back, 20), 7);
        assert_memory_equal(back, "defghij", 7);
        pktq_clear(&to);
        test_pool_fini(&tp);
    }
}

static void an_empty_pool_is_an_answer(void **state)
{
    struct test_pool tp;
    struct pktq q, to;

    test_pool_init(&tp, 2);
    pktq_init(&q);
    pktq_init(&to);
    assert_false(pktq_append(&q, &tp.pool, "0123456789", 10, 4));
    assert_int_equal(q.bytes, 0);
    assert_true(pktq_append(&q, &tp.pool, "01234567", 8, 4));
    assert_false(pktq_move(&to, &q, 2, &tp.pool));
    assert_int_equal(q.bytes + to.bytes, 8);
    assert_true(tp.pool.failed > 0);
    pktq_clear(&q);
    pktq_clear(&to);
    test_pool_fini(&tp);
}

static void a_train_is_freed_by_its_head_and_what_tcp_holds_stays(void **state)
{
    struct pkt *held[3], *head;
    struct test_pool tp;

    test_pool_init(&tp, 0);
    for (unsigned i = 0; i < 3; i++) {
        held[i] = test_pkt(&tp, "bytes", 5);
        ++*held[i]->refs;
        if (i > 0)
            pkt_couple(held[0], held[i - 1], held[i]);
    }
    head = held[0];
    pkt_unref(held[0]); /* acknowledged: TCP's reference, of one packet */
    assert_int_equal(tp.n_out, 3);
    assert_int_equal(head->n_more, 2);
    assert_int_equal(pkt_total_len(head), 15);
    pkt_free(head); /* the port's */
    assert_int_equal(tp.n_out, 2);
    pkt_unref(held[1]);
    pkt_unref(held[2]);
    test_pool_fini(&tp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_fills_tails_first),
        cmocka_unit_test(a_shared_tail_is_not_written),
        cmocka_unit_test(move_cuts_anywhere),
        cmocka_unit_test(an_empty_pool_is_an_answer),
        cmocka_unit_test(a_train_is_freed_by_its_head_and_what_tcp_holds_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
