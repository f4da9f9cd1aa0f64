#include "dataplane/net/flow_table.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdlib.h>

#define N 5000

static void set_key(struct flow *f, uint32_t i)
{
    const struct ipport remote = { ipaddr_v4(0x0a000000 + i / 1000), (uint16_t)(i % 1000) };
    const struct ipport local = { ipaddr_v4(0x0a000001), 80 };

    flow_key_init(&f->key, 6, &remote, &local);
}

static void every_flow_is_found_until_it_is_deleted(void **state)
{
    const struct hash_key secret = { { 3, 4 } };
    struct flow *flows = calloc(N, sizeof(*flows));
    struct flow_table t;
    struct flow other;

    assert_int_equal(flow_table_init(&t, N, &secret), 0);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < N; i++) {
            set_key(&flows[i], i);
            assert_int_equal(flow_table_add(&t, &flows[i]), 0);
        }
        set_key(&other, N);
        assert_int_equal(flow_table_add(&t, &other), -ENOMEM);
        for (uint32_t i = 0; i < N; i++)
            assert_ptr_equal(flow_table_find(&t, &flows[i].key), &flows[i]);
        assert_null(flow_table_find(&t, &other.key));
        for (uint32_t i = 0; i < N; i += 2)
            flow_table_del(&t, &flows[i]);
        for (uint32_t i = 0; i < N; i++)
            assert_ptr_equal(flow_table_find(&t, &flows[i].key), i % 2 == 0 ? NULL : &flows[i]);
        for (uint32_t i = 1; i < N; i += 2)
            flow_table_del(&t, &flows[i]);
        assert_int_equal(t.n, 0);
    }
    for (uint32_t i = 0; i <= t.mask; i++) /* nobody is thought to have passed */
        assert_int_equal(t.buckets[i].passed, 0);
    flow_table_fini(&t);
    free(flows);
}

static void a_full_bucket_overflows_into_the_next(void **state)
{
    const struct hash_key secret = { { 3, 4 } };
    struct flow flows[32];
    struct flow_table t;

    assert_int_equal(flow_table_init(&t, 32, &secret), 0);
    assert_int_equal(t.mask, 7);
    for (uint32_t i = 0; i < 32; i++) { /* far more than chance would allow: some bucket is full */
        set_key(&flows[i], i);
        assert_int_equal(flow_table_add(&t, &flows[i]), 0);
    }
    for (uint32_t i = 0; i < 32; i++)
        assert_ptr_equal(flow_table_find(&t, &flows[i].key), &flows[i]);
    flow_table_fini(&t);
}

static void the_same_key_is_refused_and_can_be_replaced(void **state)
{
    const struct hash_key secret = { { 3, 4 } };
    struct flow a, b;
    struct flow_table t;

    assert_int_equal(flow_table_init(&t, 8, &secret), 0);
    set_key(&a, 1);
    set_key(&b, 1);
    assert_int_equal(flow_table_add(&t, &a), 0);
    assert_int_equal(flow_table_add(&t, &b), -EEXIST);
    flow_table_replace(&t, &a, &b);
    assert_ptr_equal(flow_table_find(&t, &a.key), &b);
    flow_table_del(&t, &b);
    assert_null(flow_table_find(&t, &a.key));
    flow_table_fini(&t);
}

static void every_part_of_the_key_counts(void **state)
{
    const struct hash_key secret = { { 3, 4 } };
    struct flow a;
    struct flow_key k;
    struct flow_table t;

    assert_int_equal(flow_table_init(&t, 8, &secret), 0);
    set_key(&a, 1);
    assert_int_equal(flow_table_add(&t, &a), 0);
    k = a.key;
    k.protocol = 17;
    assert_null(flow_table_find(&t, &k));
    k = a.key;
    k.local_port++;
    assert_null(flow_table_find(&t, &k));
    k = a.key;
    k.remote_port++;
    assert_null(flow_table_find(&t, &k));
    k = a.key;
    k.local.b[3]++;
    assert_null(flow_table_find(&t, &k));
    k = a.key;
    k.remote.family = k.local.family = IP_V6;
    assert_null(flow_table_find(&t, &k));
    flow_table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flow_is_found_until_it_is_deleted),
        cmocka_unit_test(a_full_bucket_overflows_into_the_next),
        cmocka_unit_test(the_same_key_is_refused_and_can_be_replaced),
        cmocka_unit_test(every_part_of_the_key_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
