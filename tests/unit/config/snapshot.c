#include "config/model/snapshot.h"
#include "tests/lib/test.h"

#define N 1000

/* As many as a gateway of thousands of hosts has, each by its own name. */
static void every_name_leads_to_its_own(void **state)
{
    struct snapshot *s = snapshot_new();

    s->n_clusters = s->n_secrets = N;
    s->clusters = arena_alloc(&s->arena, N * sizeof(s->clusters[0]));
    s->secrets = arena_alloc(&s->arena, N * sizeof(s->secrets[0]));
    for (unsigned i = 0; i < N; i++)
        s->clusters[i].name = s->secrets[i].name = arena_printf(&s->arena, "name-%u", i);
    snapshot_index(s);
    for (unsigned i = 0; i < N; i++) {
        assert_ptr_equal(snapshot_cluster(s, s->clusters[i].name), &s->clusters[i]);
        assert_ptr_equal(snapshot_secret(s, s->secrets[i].name), &s->secrets[i]);
    }
    assert_null(snapshot_cluster(s, "name-1000"));
    assert_null(snapshot_listener(s, "name-0"));
    snapshot_put(s);
}

static void of_two_of_one_name_the_first_is_found(void **state)
{
    struct snapshot *s = snapshot_new();

    s->n_listeners = 2;
    s->listeners = arena_alloc(&s->arena, 2 * sizeof(s->listeners[0]));
    s->listeners[0].name = s->listeners[1].name = "twin";
    snapshot_index(s);
    assert_ptr_equal(snapshot_listener(s, "twin"), &s->listeners[0]);
    snapshot_put(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_leads_to_its_own),
        cmocka_unit_test(of_two_of_one_name_the_first_is_found),
    };

    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
