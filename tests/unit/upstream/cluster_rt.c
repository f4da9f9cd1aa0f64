/* What a cluster takes over from the runtime before: its slots, and what counts as a change. */
#include "dataplane/upstream/cluster.h"
#include "tests/lib/test.h"

#define N_WORKERS 3

/* A cluster of a runtime; memory is of the arena. */
static struct cluster_rt *make(struct arena *a, const struct tls_conf *tls,
                               const struct cluster_rt *was, const uint32_t *addresses, uint32_t n)
{
    struct cluster_conf *conf = arena_alloc(a, sizeof(*conf));
    struct cluster_rt *c = arena_alloc(a, sizeof(*c));

    *conf = (struct cluster_conf){ .name = "c", .n_endpoints = n };
    conf->tls = tls != NULL ? arena_alloc(a, sizeof(*tls)) : NULL;
    if (tls != NULL)
        *conf->tls = *tls;
    conf->endpoints = arena_alloc(a, n * sizeof(conf->endpoints[0]));
    for (uint32_t i = 0; i < n; i++)
        conf->endpoints[i].address = (struct ipport){ ipaddr_v4(addresses[i]), 80 };
    cluster_rt_init(c, a, conf, was, N_WORKERS);
    return c;
}

static void what_is_the_same_is_no_change(void **state)
{
    const uint32_t addresses[] = { 1, 2, 3 };
    const struct tls_conf tls = { .sni = "a" }, same = { .sni = "a" };
    struct cluster_rt *first, *second;
    struct arena a;

    arena_init(&a, 0);
    first = make(&a, &tls, NULL, addresses, 3);
    second = make(&a, &same, first, addresses, 3);
    assert_ptr_equal(first->slot, second->slot);
    for (unsigned i = 0; i < 3; i++)
        assert_ptr_equal(first->endpoints[i], second->endpoints[i]);
    assert_int_equal(first->epoch, second->epoch);
    assert_int_equal(first->tls_epoch, second->tls_epoch);
    cluster_rt_fini(first);
    assert_int_equal(second->slot->refs, 1);
    assert_int_equal(second->endpoints[2]->refs, 1);
    cluster_rt_fini(second);
    arena_fini(&a);
}

static void endpoints_are_known_by_their_addresses(void **state)
{
    const uint32_t old[] = { 1, 2, 3, 4 }, new[] = { 1, 9, 4, 2 };
    struct cluster_rt *first, *second;
    struct arena a;

    arena_init(&a, 0);
    first = make(&a, NULL, NULL, old, 4);
    second = make(&a, NULL, first, new, 4);
    assert_ptr_equal(second->endpoints[0], first->endpoints[0]);
    assert_ptr_equal(second->endpoints[2], first->endpoints[3]);
    assert_ptr_equal(second->endpoints[3], first->endpoints[1]);
    assert_int_equal(second->endpoints[1]->refs, 1);
    assert_int_equal(first->endpoints[2]->refs, 1);
    assert_int_not_equal(first->epoch, second->epoch);
    assert_int_equal(first->tls_epoch, second->tls_epoch);
    cluster_rt_fini(first);
    cluster_rt_fini(second);
    arena_fini(&a);
}

/* No slot is for two: each has connections of its own. */
static void an_address_that_is_there_twice_has_two_slots(void **state)
{
    const uint32_t old[] = { 7, 7 }, new[] = { 5, 7, 7, 7 };
    struct cluster_rt *first, *second;
    struct arena a;

    arena_init(&a, 0);
    first = make(&a, NULL, NULL, old, 2);
    second = make(&a, NULL, first, new, 4);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < i; k++)
            assert_ptr_not_equal(second->endpoints[i], second->endpoints[k]);
    cluster_rt_fini(first);
    cluster_rt_fini(second);
    arena_fini(&a);
}

static void other_tls_settings_are_a_change_of_both_kinds(void **state)
{
    const uint32_t addresses[] = { 1 };
    const struct tls_conf tls = { .sni = "a" }, other = { .sni = "b" };
    struct cluster_rt *c[4];
    struct arena a;

    arena_init(&a, 0);
    c[0] = make(&a, NULL, NULL, addresses, 1);
    c[1] = make(&a, &tls, c[0], addresses, 1);
    c[2] = make(&a, &other, c[1], addresses, 1);
    c[3] = make(&a, NULL, c[2], addresses, 1);
    for (unsigned i = 1; i < 4; i++) {
        assert_int_not_equal(c[i]->tls_epoch, c[i - 1]->tls_epoch);
        assert_int_not_equal(c[i]->epoch, c[i - 1]->epoch);
        assert_ptr_equal(c[i]->endpoints[0], c[0]->endpoints[0]);
    }
    for (unsigned i = 0; i < 4; i++)
        cluster_rt_fini(c[i]);
    arena_fini(&a);
}

static void thousands_of_endpoints_find_their_slots(void **state)
{
    enum { N = 20000 };
    static uint32_t old[N], new[N];
    struct cluster_rt *first, *second;
    struct arena a;

    for (uint32_t i = 0; i < N; i++) {
        old[i] = i;
        new[N - 1 - i] = i;
    }
    arena_init(&a, 0);
    first = make(&a, NULL, NULL, old, N);
    second = make(&a, NULL, first, new, N);
    for (uint32_t i = 0; i < N; i++)
        assert_ptr_equal(first->endpoints[i], second->endpoints[N - 1 - i]);
    cluster_rt_fini(first);
    cluster_rt_fini(second);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_the_same_is_no_change),
        cmocka_unit_test(endpoints_are_known_by_their_addresses),
        cmocka_unit_test(an_address_that_is_there_twice_has_two_slots),
        cmocka_unit_test(other_tls_settings_are_a_change_of_both_kinds),
        cmocka_unit_test(thousands_of_endpoints_find_their_slots),
    };

    return cmocka_run_group_tests_name("cluster_rt", tests, NULL, NULL);
}
