#include "dataplane/route/route.h"
#include "tests/lib/test.h"

#define LIST(...)                                                                                  \
    (const char *[])                                                                               \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static struct route_conf shop_routes[] = {
    { .name = "cart", .match = PATH_EXACT, .path = "/cart", .cluster = "cart" },
    { .name = "api", .match = PATH_PREFIX, .path = "/api/", .cluster = "api" },
    { .name = "rest", .match = PATH_PREFIX, .path = "/", .cluster = "shop" },
};
static struct route_conf wild_routes[] = {
    { .name = "wild", .match = PATH_PREFIX, .path = "/", .cluster = "wild" }
};
static struct route_conf deep_routes[] = {
    { .name = "deep", .match = PATH_PREFIX, .path = "/", .cluster = "deep" }
};
static struct route_conf any_routes[] = {
    { .name = "any", .match = PATH_PREFIX, .path = "/only", .cluster = "none" }
};

static void *resolve(void *ctx, const char *cluster)
{
    return strcmp(cluster, "none") == 0 ? NULL : (void *)(uintptr_t)cluster;
}

static const struct {
    const char *authority, *path, *route;
} rows[] = {
    { "shop.example", "/cart", "cart" },
    { "shop.example", "/cart?id=1", "cart" },
    { "shop.example", "/cart/", "rest" },
    { "shop.example", "/Cart", "rest" },
    { "shop.example", "/api/v1", "api" },
    { "shop.example", "/api", "rest" },
    { "SHOP.Example:8080", "/cart", "cart" },
    { "a.wild.example", "/", "wild" },
    { "b.a.wild.example", "/", "wild" },
    { "x.deep.wild.example", "/", "deep" },
    { "deep.wild.example", "/", "wild" },
    { "wild.example", "/only", "any" },
    { ".wild.example", "/only", "any" },
    { "wild.example", "/", NULL },
    { "other", "/only/x", "any" },
    { "", "/only", "any" },
    { "[::1]:80", "/only", "any" },
};

static void hosts_and_paths_choose_as_envoy_does(void **state)
{
    struct vhost_conf vhosts[] = {
        { .name = "any",
          .n_domains = 1,
          .domains = LIST("*"),
          .n_routes = 1,
          .routes = any_routes },
        { .name = "wild",
          .n_domains = 1,
          .domains = LIST("*.wild.example"),
          .n_routes = 1,
          .routes = wild_routes },
        { .name = "deep",
          .n_domains = 1,
          .domains = LIST("*.deep.wild.example"),
          .n_routes = 1,
          .routes = deep_routes },
        { .name = "shop",
          .n_domains = 2,
          .domains = LIST("shop.example", "www.shop.example"),
          .n_routes = 3,
          .routes = shop_routes },
    };
    struct route_config_conf conf = { .name = "r",
                                      .n_vhosts = ARRAY_SIZE(vhosts),
                                      .vhosts = vhosts };
    struct route_table *t;
    struct arena a;

    arena_init(&a, 0);
    t = route_table_new(&a, &conf, resolve, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct route *r = route_find(t, slice_of(rows[i].authority), slice_of(rows[i].path));

        if (rows[i].route == NULL) {
            assert_null(r);
            continue;
        }
        assert_non_null(r);
        assert_string_equal(r->conf->name, rows[i].route);
    }
    assert_null(route_find(t, SLICE("other"), SLICE("/only"))->target);
    arena_fini(&a);
}

static void without_a_star_strangers_find_nothing(void **state)
{
    struct vhost_conf vhost = { .name = "shop",
                                .n_domains = 1,
                                .domains = LIST("shop.example"),
                                .n_routes = 3,
                                .routes = shop_routes };
    struct route_config_conf conf = { .name = "r", .n_vhosts = 1, .vhosts = &vhost };
    char long_host[300];
    struct route_table *t;
    struct arena a;

    arena_init(&a, 0);
    t = route_table_new(&a, &conf, resolve, NULL);
    assert_null(route_find(t, SLICE("shop.example.org"), SLICE("/")));
    memset(long_host, 'a', sizeof(long_host));
    assert_null(route_find(t, (struct slice){ long_host, sizeof(long_host) }, SLICE("/")));
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_and_paths_choose_as_envoy_does),
        cmocka_unit_test(without_a_star_strangers_find_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
