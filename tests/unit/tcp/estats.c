#include "dataplane/tcp/estats.h"

#include "dataplane/tcp/rfc4898.h"
#include "dataplane/tcp/tcp_conn.h"
#include "tests/lib/test.h"

#include <string.h>

static uint64_t rng = 88172645463325252u;

static uint64_t dice(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng % n;
}

#define FILL(type, name) es->name = dice(odds) == 0 ? (type)(dice(UINT64_MAX) >> dice(64)) : 0;
static void fill(struct tcp_estats *es, uint64_t odds)
{
    *es = (struct tcp_estats){ 0 };
    TCP_ESTATS_KEPT(FILL)
}

#define SAME(type, name) assert_int_equal(a->name, b->name);
static void check_same(const struct tcp_estats *a, const struct tcp_estats *b)
{
    TCP_ESTATS_KEPT(SAME)
}

static void what_is_folded_is_unfolded_as_it_was(void **state)
{
    struct tcp_estats es, back;
    uint8_t cell[512];

    for (unsigned i = 0; i < 20000; i++) {
        uint32_t len;

        fill(&es, 1 + dice(8));
        memset(cell, 0xa5, sizeof(cell));
        len = tcp_estats_fold(&es, cell, sizeof(cell));
        assert_true(len > 0 && cell[len] == 0xa5);
        tcp_estats_unfold(cell, &back);
        check_same(&es, &back);
    }
}

static void zeros_take_a_bit_each(void **state)
{
    struct tcp_estats es = { 0 };
    uint8_t cell[16];

    assert_int_equal(tcp_estats_fold(&es, cell, sizeof(cell)), 7);
    assert_int_equal(tcp_estats_fold(&es, cell, 6), 0);
    es.segs_in = 127;
    assert_int_equal(tcp_estats_fold(&es, cell, sizeof(cell)), 8);
    es.segs_in = 128;
    assert_int_equal(tcp_estats_fold(&es, cell, sizeof(cell)), 9);
}

/* What does not fit is told, and nothing is written beyond. */
static void it_never_writes_beyond_its_cell(void **state)
{
    struct tcp_estats es;
    uint8_t cell[TCP_REST_LARGE + 1];

    for (unsigned i = 0; i < 20000; i++) {
        const uint32_t max = (uint32_t)dice(TCP_REST_LARGE + 1);
        uint32_t len;

        fill(&es, 1 + dice(4));
        memset(cell, 0xa5, sizeof(cell));
        len = tcp_estats_fold(&es, cell, max);
        assert_true(len <= max);
        assert_int_equal(cell[max], 0xa5);
    }
    memset(&es, 0xff, sizeof(es));
    assert_int_equal(tcp_estats_fold(&es, cell, TCP_REST_LARGE), 0);
}

/* A keep-alive connection of a browser, after a minute of it: the small cell does. */
static void a_usual_connection_rests_in_64_bytes(void **state)
{
    const struct tcp_estats es = {
        .segs_in = 900,
        .segs_out = 1500,
        .data_segs_in = 12,
        .data_segs_out = 1400,
        .octets_in = 6000,
        .bytes_in = 6000,
        .bytes_out = 2000000,
        .max_rwin_sent = 65536,
        .max_app_w_queue = 65536,
        .max_app_r_queue = 700,
        .max_pipe = 120000,
        .sum_rtt_us = 20000000,
        .count_rtt = 700,
        .sample_rtt_us = 30000,
        .max_rtt_us = 90000,
        .min_rtt_us = 20000,
        .max_rto_us = 400000,
        .min_rto_us = 230000,
        .max_ss_cwnd = 200000,
        .lim_cwnd_us = 300000,
        .lim_trans_snd = 12,
        .lim_trans_cwnd = 12,
        .delivered_pkts = 1400,
    };
    uint8_t cell[TCP_REST_SMALL];

    assert_true(tcp_estats_fold(&es, cell, sizeof(cell)) > 0);
}

static void the_sizes_are_those_that_are_told(void **state)
{
    assert_true(sizeof(struct tcp_conn) <= 448);
    assert_true(sizeof(struct tcp_estats) <= 256);
    assert_int_equal(sizeof(struct tcp_record), 24);
}

/* Keys are the names of the RFC in snake case: what a reader may rely on. */
static void keys_follow_from_the_names_of_the_rfc(void **state)
{
    for (unsigned i = 0; i < TCP_ESTATS_ROWS; i++) {
        const struct tcp_estats_row *row = &tcp_estats_rows[i];
        const char *rfc = strncmp(row->rfc, "HC", 2) == 0 ? row->rfc + 2 : row->rfc;
        const char *key = row->key;

        for (; *key != '\0'; key++) {
            if (*key == '_')
                continue;
            assert_int_equal(*key | 0x20, *rfc | 0x20);
            rfc++;
        }
        assert_int_equal(*rfc, '\0');
        for (unsigned k = 0; k < i; k++)
            assert_false(strcmp(tcp_estats_rows[k].group, row->group) == 0 &&
                         strcmp(tcp_estats_rows[k].key, row->key) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_folded_is_unfolded_as_it_was),
        cmocka_unit_test(zeros_take_a_bit_each),
        cmocka_unit_test(it_never_writes_beyond_its_cell),
        cmocka_unit_test(a_usual_connection_rests_in_64_bytes),
        cmocka_unit_test(the_sizes_are_those_that_are_told),
        cmocka_unit_test(keys_follow_from_the_names_of_the_rfc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
