#include "dataplane/telemetry/stats.h"
#include "dataplane/telemetry/prom.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct stat_desc descs[] = { { "cx_total", STAT_COUNTER, "connections" },
                                          { "cx_active", STAT_GAUGE, "connections now" } };
static const struct stats_scope clusters = {
    .name = "cluster",
    .prom = "envoy_cluster",
    .label = "envoy_cluster_name",
    .descs = descs,
    .n = 2,
};
static const struct stats_scope plain = {
    .name = "tcp", .prom = "isthmus_tcp", .descs = descs, .n = 1
};

struct wanted {
    const char *name;
    uint64_t sum;
    unsigned n_found;
};

static void find(const struct stats_block *b, const struct stat_desc *d, uint64_t sum, void *ctx)
{
    struct wanted *w = ctx;
    char name[100];

    if (strcmp(stats_flat_name(b, d, name, sizeof(name)), w->name) != 0)
        return;
    assert_true(sum == w->sum);
    w->n_found++;
}

static void expect(const struct stats *s, const char *name, uint64_t sum)
{
    struct wanted w = { name, sum, 0 };

    stats_each(s, find, &w);
    assert_int_equal(w.n_found, 1);
}

static void the_reader_sums_over_the_workers(void **state)
{
    struct stats *s = stats_new(3);
    struct stats_block *a = stats_block(s, &clusters, "a"), *b = stats_block(s, &clusters, "b");

    stat_add(a, 0, 0, 5);
    stat_add(a, 2, 0, 7);
    stat_add(a, 0, 1, 1);  /* opened by one worker, ... */
    stat_add(a, 1, 1, -1); /* ... a gauge may be below zero in a part of the sum */
    stat_add(b, 1, 0, 1);
    expect(s, "cluster.a.cx_total", 12);
    expect(s, "cluster.a.cx_active", 0);
    expect(s, "cluster.b.cx_total", 1);
    stats_free(s);
}

static void a_block_asked_for_again_is_the_same(void **state)
{
    struct stats *s = stats_new(1);
    struct stats_block *a = stats_block(s, &clusters, "a");

    stat_add(a, 0, 0, 1);
    for (unsigned i = 0; i < 100; i++) {
        char name[20];

        snprintf(name, sizeof(name), "other%u", i);
        stats_block(s, &clusters, name);
    }
    assert_ptr_equal(stats_block(s, &clusters, "a"), a);
    assert_ptr_not_equal(stats_block(s, &plain, "a"), a);
    expect(s, "cluster.a.cx_total", 1);
    stats_free(s);
}

/* As a gateway with thousands of clusters has; and names that two scopes share are two blocks. */
static void thousands_of_blocks_are_found_again(void **state)
{
    static struct stats_block *blocks[2][5000];
    struct stats *s = stats_new(1);

    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < 5000; i++) {
            struct stats_block *of[2];
            char name[20];

            snprintf(name, sizeof(name), "%u", i);
            of[0] = stats_block(s, &clusters, name);
            of[1] = stats_block(s, &plain, name);
            assert_ptr_not_equal(of[0], of[1]);
            for (unsigned k = 0; k < 2; k++) {
                if (pass == 0)
                    blocks[k][i] = of[k];
                assert_ptr_equal(blocks[k][i], of[k]);
                assert_string_equal(of[k]->name, name);
            }
        }
    }
    stats_free(s);
}

static void numbers_of_others_are_shown_where_they_are(void **state)
{
    const uint64_t first[] = { 3 }, second[] = { 4 };
    struct stats *s = stats_new(2);

    stats_show(s, &plain, "", 0, first);
    stats_show(s, &plain, "", 1, second);
    expect(s, "tcp.cx_total", 7);
    stats_free(s);
}

/* Each name once, with all its samples together; a block's name cannot leave its quotes. */
static void prometheus_gets_its_text(void **state)
{
    const uint64_t tcp[] = { 9 };
    struct stats *s = stats_new(1);
    char *text;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    stat_add(stats_block(s, &clusters, "a"), 0, 0, 1);
    stats_show(s, &plain, "", 0, tcp);
    stat_add(stats_block(s, &clusters, "q\"\\\nx"), 0, 1, 2);
    prom_write(s, NULL, f);
    fclose(f);
    assert_string_equal(text, "# HELP envoy_cluster_cx_total connections\n"
                              "# TYPE envoy_cluster_cx_total counter\n"
                              "envoy_cluster_cx_total{envoy_cluster_name=\"a\"} 1\n"
                              "envoy_cluster_cx_total{envoy_cluster_name=\"q\\\"\\\\\\nx\"} 0\n"
                              "# HELP envoy_cluster_cx_active connections now\n"
                              "# TYPE envoy_cluster_cx_active gauge\n"
                              "envoy_cluster_cx_active{envoy_cluster_name=\"a\"} 0\n"
                              "envoy_cluster_cx_active{envoy_cluster_name=\"q\\\"\\\\\\nx\"} 2\n"
                              "# HELP isthmus_tcp_cx_total connections\n"
                              "# TYPE isthmus_tcp_cx_total counter\n"
                              "isthmus_tcp_cx_total 9\n");
    free(text);
    stats_free(s);
}

/* By the names that `stats` tells; what is left has its HELP and TYPE, and nothing else has. */
static void prometheus_can_ask_for_a_part(void **state)
{
    const uint64_t tcp[] = { 9 };
    struct stats *s = stats_new(1);
    char *text;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    stats_show(s, &plain, "", 0, tcp);
    stats_block(s, &clusters, "a");
    stat_add(stats_block(s, &clusters, "b"), 0, 1, 3);
    prom_write(s, "cluster.b.cx_active", f);
    fclose(f);
    assert_string_equal(text, "# HELP envoy_cluster_cx_active connections now\n"
                              "# TYPE envoy_cluster_cx_active gauge\n"
                              "envoy_cluster_cx_active{envoy_cluster_name=\"b\"} 3\n");
    free(text);
    stats_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reader_sums_over_the_workers),
        cmocka_unit_test(a_block_asked_for_again_is_the_same),
        cmocka_unit_test(thousands_of_blocks_are_found_again),
        cmocka_unit_test(numbers_of_others_are_shown_where_they_are),
        cmocka_unit_test(prometheus_gets_its_text),
        cmocka_unit_test(prometheus_can_ask_for_a_part),
    };

    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
