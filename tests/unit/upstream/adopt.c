/* Live clusters move from runtime to runtime, a few at a time. */
#include "dataplane/upstream/cluster.h"
#include "tests/lib/test.h"

#include <stdio.h>

#define N 1000

static const struct stats_scope scope = { "cluster", "cluster", "name", NULL, CLUSTER_STAT_COUNT };

/* As much of a runtime as clusters see. */
struct version {
    struct arena arena;
    struct pins pins;
    struct cluster_rt *rts[N];
    uint32_t n;
};

struct world {
    struct core core;
    struct upstreams *us;
    struct stats *stats;
    struct version versions[4];
    struct version *now; /* adopted */
};

static void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    core_init(&w->core, 0, NULL, 1, 1);
    w->us = upstreams_new(&w->core, NULL, NULL, 16);
    w->stats = stats_new(1);
}

static struct cluster_rt *find(const struct version *v, const char *name)
{
    for (uint32_t i = 0; v != NULL && i < v->n; i++)
        if (strcmp(v->rts[i]->conf->name, name) == 0)
            return v->rts[i];
    return NULL;
}

/* Adds a cluster: its name, and endpoints 10.0.0.(@first .. @first + @n - 1). */
static struct cluster_rt *add(struct world *w, struct version *v, const char *name, uint32_t first,
                              uint32_t n)
{
    struct cluster_conf *conf = arena_alloc(&v->arena, sizeof(*conf));
    struct cluster_rt *c = arena_alloc(&v->arena, sizeof(*c));

    *conf = (struct cluster_conf){ .name = arena_strdup(&v->arena, name), .n_endpoints = n };
    conf->endpoints = arena_alloc(&v->arena, n * sizeof(conf->endpoints[0]));
    for (uint32_t i = 0; i < n; i++)
        conf->endpoints[i].address = (struct ipport){ ipaddr_v4(0x0a000000 + first + i), 80 };
    cluster_rt_init(c, &v->arena, conf, find(w->now, name), 1);
    c->pins = &v->pins;
    c->stats = stats_block(w->stats, &scope, name);
    return v->rts[v->n++] = c;
}

/* Returns in how many turns. */
static unsigned adopt(struct world *w, struct version *v, uint32_t per_turn)
{
    unsigned turns = 0;
    bool more;

    pin_get(&v->pins, 0);
    upstreams_adopt(w->us, v->rts, v->n);
    do {
        uint32_t max = per_turn;

        more = upstreams_adopt_some(w->us, &max);
        assert_true(max <= per_turn);
        turns++;
    } while (more);
    do {
        uint32_t max = per_turn;

        more = upstreams_retire_some(w->us, &max);
        assert_true(max <= per_turn);
        turns++;
    } while (more);
    if (w->now != NULL)
        pin_put(&w->now->pins, 0);
    w->now = v;
    return turns;
}

static void version_fini(struct version *v)
{
    assert_true(pins_are_free(&v->pins));
    for (uint32_t i = 0; i < v->n; i++)
        cluster_rt_fini(v->rts[i]);
    arena_fini(&v->arena);
    v->n = 0;
}

static void world_fini(struct world *w)
{
    upstreams_free(w->us);
    pin_put(&w->now->pins, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(w->versions); i++)
        version_fini(&w->versions[i]);
    stats_free(w->stats);
}

struct told {
    uint32_t n;
    const char *clusters[2 * N];
    uint32_t addresses[2 * N];
};

static void tell(const struct endpoint_info *e, void *ctx)
{
    struct told *t = ctx;

    assert_false(e->leaving);
    t->clusters[t->n] = e->cluster;
    t->addresses[t->n++] = ipaddr_u32(&e->address.addr) & 0xffff;
}

static uint64_t members(const struct cluster_rt *c)
{
    return c->stats->of[0].own[CLUSTER_STAT_membership_total];
}

/* A turn has no more to do however many clusters there are. */
static void a_thousand_clusters_take_many_turns(void **state)
{
    static struct world w;
    struct version *v = w.versions;
    struct cluster *live[N];

    world_init(&w);
    for (unsigned i = 0; i < 2; i++) {
        for (uint32_t k = 0; k < N; k++) {
            char name[20];

            snprintf(name, sizeof(name), "c%u", k);
            add(&w, &v[i], name, 1, 1);
        }
        if (i == 0) {
            assert_true(adopt(&w, &v[0], 64) >= 2 * N / 64);
            for (uint32_t k = 0; k < N; k++)
                live[k] = upstreams_find(w.us, v[0].rts[k]);
        }
    }
    assert_true(adopt(&w, &v[1], 64) >= N / 64);
    for (uint32_t k = 0; k < N; k++) {
        assert_non_null(live[k]);
        assert_ptr_equal(upstreams_find(w.us, v[1].rts[k]), live[k]);
        assert_ptr_equal(upstreams_find(w.us, v[0].rts[k]), live[k]); /* who goes by the old one */
        assert_ptr_equal(cluster_rt(live[k]), v[1].rts[k]);
    }
    version_fini(&v[0]); /* nobody pins it */
    world_fini(&w);
}

static void one_cluster_of_many_endpoints_takes_many_turns(void **state)
{
    static struct world w;
    struct version *v = w.versions;
    static struct told told;

    world_init(&w);
    add(&w, &v[0], "big", 1, N);
    assert_true(adopt(&w, &v[0], 10) >= N / 10);
    assert_int_equal(members(v[0].rts[0]), N);
    add(&w, &v[1], "big", N / 2, N); /* one half goes, another comes */
    assert_true(adopt(&w, &v[1], 10) >= 3 * N / 2 / 10);
    assert_int_equal(members(v[1].rts[0]), N);
    told.n = 0;
    upstreams_each(w.us, tell, &told);
    assert_int_equal(told.n, N);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(told.addresses[i], N / 2 + i);
    world_fini(&w);
}

static void clusters_come_and_go_and_stand_in_the_order_of_the_configuration(void **state)
{
    static const char *const wanted[] = { "new", "d", "b" };
    static struct world w;
    struct version *v = w.versions;
    static struct told told;
    struct cluster_rt *gone;
    struct cluster *b;

    world_init(&w);
    gone = add(&w, &v[0], "a", 1, 3);
    add(&w, &v[0], "b", 1, 1);
    add(&w, &v[0], "c", 1, 0);
    add(&w, &v[0], "d", 1, 1);
    adopt(&w, &v[0], 2);
    b = upstreams_find(w.us, v[0].rts[1]);
    assert_int_equal(members(gone), 3);
    for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++)
        add(&w, &v[1], wanted[i], 1, 1);
    adopt(&w, &v[1], 2);
    assert_null(upstreams_find(w.us, gone));
    assert_int_equal(members(gone), 0);
    assert_ptr_equal(upstreams_find(w.us, v[1].rts[2]), b);
    told.n = 0;
    upstreams_each(w.us, tell, &told);
    assert_int_equal(told.n, ARRAY_SIZE(wanted));
    for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++)
        assert_string_equal(told.clusters[i], wanted[i]);
    version_fini(&v[0]);
    world_fini(&w);
}

/* Two reloads, of which this worker has seen the second alone. */
static void a_version_may_be_skipped(void **state)
{
    static struct world w;
    struct version *v = w.versions, *first;
    struct ipport address;

    world_init(&w);
    add(&w, &v[0], "stays", 1, 1);
    add(&w, &v[0], "comes again", 1, 1);
    adopt(&w, &v[0], 2);
    add(&w, &v[1], "stays", 2, 1);
    first = w.now;
    w.now = &v[1]; /* the control thread's newest */
    add(&w, &v[2], "stays", 3, 1);
    add(&w, &v[2], "comes again", 4, 1);
    w.now = first;
    adopt(&w, &v[2], 2);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(cluster_pick(upstreams_find(w.us, v[2].rts[i / 2]), &address));
        assert_int_equal(ipaddr_u32(&address.addr) & 0xffff, 3 + i / 2);
    }
    assert_null(upstreams_find(w.us, v[0].rts[1]));
    world_fini(&w);
}

/* Round robin goes over what is there, whatever has come and gone. */
static void every_endpoint_is_picked_in_turn(void **state)
{
    static const struct {
        uint32_t first, n;
    } steps[] = { { 1, 5 }, { 3, 5 }, { 20, 3 }, { 20, 1 } };
    static struct world w;

    world_init(&w);
    for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
        struct cluster_rt *rt = add(&w, &w.versions[i], "c", steps[i].first, steps[i].n);
        unsigned seen[32] = { 0 };

        adopt(&w, &w.versions[i], 2);
        for (unsigned k = 0; k < 3 * steps[i].n; k++) {
            struct ipport address;

            assert_true(cluster_pick(upstreams_find(w.us, rt), &address));
            seen[ipaddr_u32(&address.addr) & 0x1f]++;
        }
        for (unsigned k = 0; k < 32; k++)
            assert_int_equal(seen[k],
                             k >= steps[i].first && k < steps[i].first + steps[i].n ? 3 : 0);
    }
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thousand_clusters_take_many_turns),
        cmocka_unit_test(one_cluster_of_many_endpoints_takes_many_turns),
        cmocka_unit_test(clusters_come_and_go_and_stand_in_the_order_of_the_configuration),
        cmocka_unit_test(a_version_may_be_skipped),
        cmocka_unit_test(every_endpoint_is_picked_in_turn),
    };

    return cmocka_run_group_tests_name("adopt", tests, NULL, NULL);
}
