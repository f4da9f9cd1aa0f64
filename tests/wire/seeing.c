/*
 * What a connection tells of itself (tcp/rfc4898.h) and what its recorder keeps (tcp/recorder.h),
 * against a tap on the wire that sees every frame, and decides which are lost.
 */
#include "tests/lib/wire.h"

#include "dataplane/tcp/rfc4898.h"
#include "dataplane/tcp/tcp_conn.h"
#include "tests/lib/frames.h"
#include "tests/lib/peer.h"

#include <errno.h>

#define SEC UINT64_C(1000000)
#define TAP_MAX 20000

/* ---- two stacks, a tap between them, and connections that only send */

struct tapped {
    struct frame_tcp s;
    unsigned from;
    bool lost;
    uint64_t at_us;
};

static struct {
    struct wire wire;
    struct tapped tap[TAP_MAX];
    unsigned n_tap;
    uint32_t lose;     /* in a million segments */
    unsigned lose_one; /* the nth segment with payload of node 0; 0: none */
    struct tcp_conn *accepted[16];
    unsigned n_accepted;
} w;

static bool tap(struct wire *wire, unsigned from, const uint8_t *frame, uint32_t len, void *ctx)
{
    struct tapped *t = &w.tap[w.n_tap];

    if (!frame_read_tcp(frame, len, &t->s))
        return true;
    assert_true(w.n_tap < TAP_MAX);
    t->from = from;
    t->at_us = wire->now_us;
    t->lost = wire_random(wire, 1000000) < w.lose;
    if (from == 0 && t->s.len > 0 && w.lose_one > 0 && --w.lose_one == 0)
        t->lost = true;
    w.n_tap++;
    return !t->lost;
}

static void on_readable(struct tcp_conn *c)
{
    struct pktq q;

    pktq_init(&q);
    tcp_recv(c, &q, UINT64_MAX);
    pktq_clear(&q);
}

static void on_closed(struct tcp_conn *c, int why)
{
}

static const struct tcp_ops ops = { .on_readable = on_readable, .on_closed = on_closed };

static const struct tcp_ops *accept_one(void *ctx, struct tcp_conn *c, void **owner)
{
    w.accepted[w.n_accepted++ % ARRAY_SIZE(w.accepted)] = c;
    return &ops;
}

static void start(uint64_t seed, const struct tcp_conf *conf)
{
    const struct wire_conf wire = { .seed = seed, .delay_us = 5000, .tcp = { *conf, *conf } };
    const struct ipport any = { .port = 80 };

    memset(&w, 0, sizeof(w));
    wire_init(&w.wire, &wire);
    w.wire.filter = tap;
    assert_non_null(tcp_listen(w.wire.nodes[1].tcp, &any, accept_one, NULL));
}

static struct tcp_conn *open_one(void)
{
    const struct ipport to = { w.wire.nodes[1].addr, 80 };
    int err;
    struct tcp_conn *c = tcp_connect(w.wire.nodes[0].tcp, &to, NULL, NULL, &ops, NULL, &err);
    const unsigned before = w.n_accepted;

    assert_non_null(c);
    for (unsigned i = 0; i < 100 && w.n_accepted == before; i++)
        wire_run(&w.wire, SEC);
    assert_true(w.n_accepted > before);
    return c;
}

static void write_bytes(struct tcp_conn *c, uint64_t n)
{
    struct wire_node *node = &w.wire.nodes[c->tcp == w.wire.nodes[1].tcp];
    struct pktq q;

    pktq_init(&q);
    while (n > 0) {
        struct pkt *p = pkt_alloc(&node->pool.pool);
        const uint32_t part = (uint32_t)MIN(n, 1000);

        memset(pkt_put(p, part), 'x', part);
        pktq_push(&q, p);
        n -= part;
    }
    assert_int_equal(tcp_send(c, &q), 0);
}

/* ---- counters */

struct sums {
    uint64_t segs_out, data_segs_out, octets_out, segs_in, data_segs_in, octets_in, again,
        octets_again, zero_out, syns;
};

/* Of node @me, by what was on the wire. */
static struct sums count(unsigned me)
{
    struct sums n = { 0 };
    uint32_t end = 0;
    bool any = false;

    for (unsigned i = 0; i < w.n_tap; i++) {
        const struct tapped *t = &w.tap[i];

        if (t->from != me) {
            n.segs_in += !t->lost;
            n.data_segs_in += !t->lost && t->s.len > 0;
            n.octets_in += t->lost ? 0 : t->s.len;
            continue;
        }
        n.segs_out++;
        n.data_segs_out += t->s.len > 0;
        n.octets_out += t->s.len;
        n.zero_out += t->s.wnd == 0 && (t->s.flags & TCP_SYN) == 0;
        n.syns += (t->s.flags & TCP_SYN) != 0;
        if (t->s.len == 0)
            continue;
        if (any && seq_lt(t->s.seq, end)) {
            n.again++;
            n.octets_again += t->s.len;
        }
        end = any ? seq_max(end, t->s.seq + t->s.len) : t->s.seq + t->s.len;
        any = true;
    }
    return n;
}

static void check(const struct tcp_conn *c, unsigned me)
{
    const struct sums n = count(me);
    const struct tcp_counters *all = tcp_counters(c->tcp);
    struct tcp_estats_info e;

    tcp_estats(c, &e);
    assert_int_equal(e.segs_out, n.segs_out);
    assert_int_equal(e.segs_in, n.segs_in);
    assert_int_equal(e.data_segs_out, n.data_segs_out);
    assert_int_equal(e.data_segs_in, n.data_segs_in);
    assert_int_equal(e.data_octets_out, n.octets_out);
    assert_int_equal(e.data_octets_in, n.octets_in);
    /* A SYN-ACK that answers a SYN which came again is none. */
    assert_in_range(e.segs_retrans, n.again, n.again + n.syns - 1);
    assert_int_equal(e.octets_retrans, n.octets_again);
    assert_int_equal(e.zero_rwin_sent, n.zero_out);
    assert_int_equal(e.snd_lim_time_rwin + e.snd_lim_time_cwnd + e.snd_lim_time_snd,
                     e.elapsed_micro_secs);
    /* It is the only one of its worker. */
    assert_int_equal(e.segs_out, all->segs_out);
    assert_int_equal(e.segs_in, all->segs_in);
    assert_int_equal(e.segs_retrans, all->retrans_segs);
    assert_int_equal(e.thru_octets_received, all->bytes_in);
    assert_int_equal(e.dup_acks_in, all->dup_acks);
    assert_int_equal(e.sacks_rcvd, all->sacks_in);
    assert_int_equal(e.dup_acks_out, all->ooo_segs);
    assert_int_equal(e.fast_retran, all->fast_retrans);
    assert_int_equal(e.dsack_dups, all->dsacks_in);
    assert_true(e.spurious_fr_detected + e.spurious_rto_detected <= all->undone);
    assert_true(e.count_rtt == 0 ||
                (e.min_rtt <= e.max_rtt && e.min_rto <= e.max_rto &&
                 e.sum_rtt >= e.min_rtt * e.count_rtt && e.sum_rtt <= e.max_rtt * e.count_rtt));
}

static void counters_are_what_a_tap_on_the_wire_counts(void **state)
{
    uint64_t again = 0;

    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct tcp_conf conf = { .no_sack = seed % 3 == 0, .no_timestamps = seed % 5 == 0 };
        struct tcp_conn *a, *b;

        start(seed, &conf);
        w.lose = (uint32_t)wire_random(&w.wire, 150000);
        a = open_one();
        b = w.accepted[0];
        for (unsigned i = 0; i < 4; i++) {
            write_bytes(a, 1 + wire_random(&w.wire, 60000));
            if (wire_random(&w.wire, 2) == 0)
                write_bytes(b, 1 + wire_random(&w.wire, 20000));
            wire_run(&w.wire, wire_random(&w.wire, SEC));
        }
        w.lose = 0;
        wire_run(&w.wire, 100 * SEC); /* everything has arrived, and what is counted is folded */
        assert_true(a->es == NULL && a->rests && b->es == NULL && b->rests);
        check(a, 0);
        check(b, 1);
        write_bytes(a, 5000); /* and goes on after the rest */
        wire_run(&w.wire, 5 * SEC);
        check(a, 0);
        check(b, 1);
        again += count(0).again;
        wire_fini(&w.wire);
    }
    assert_true(again > 1000);
}

static void a_connection_without_data_has_only_its_two_small_numbers(void **state)
{
    struct tcp_estats_info e;
    struct tcp_conn *a;

    start(1, &(struct tcp_conf){ .keepalive_us = 10 * SEC });
    a = open_one();
    wire_run(&w.wire, 100 * SEC);
    assert_true(a->es == NULL && !a->rests);
    tcp_estats(a, &e);
    assert_true(e.segs_out > 5);
    check(a, 0);
    check(w.accepted[0], 1);
    wire_fini(&w.wire);
}

/* ---- what limits the sender */

static uint64_t lim(const struct tcp_conn *c, enum tcp_lim which)
{
    struct tcp_estats_info e;

    tcp_estats(c, &e);
    assert_int_equal(e.snd_lim_time_rwin + e.snd_lim_time_cwnd + e.snd_lim_time_snd,
                     e.elapsed_micro_secs);
    return which == TCP_LIM_RWIN   ? e.snd_lim_time_rwin
           : which == TCP_LIM_CWND ? e.snd_lim_time_cwnd
                                   : e.snd_lim_time_snd;
}

static void skip_all(struct peer *t)
{
    stack_flush(&t->stack);
    while (stack_next(&t->stack) != NULL)
        continue;
}

static void time_is_told_by_what_limited_the_sender(void **state)
{
    struct peer t;

    peer_init(&t, NULL);
    peer_accept(&t);
    peer_run(&t, 2 * SEC);
    assert_int_equal(lim(t.conn, TCP_LIM_SND), 2 * SEC); /* there is nothing to send */
    peer_send(&t, 20 * 1460);
    skip_all(&t);
    peer_run(&t, 100000); /* ten are out, and ten wait for the congestion window */
    assert_int_equal(lim(t.conn, TCP_LIM_CWND), 100000);
    t.wnd = 0;
    peer_tx(&t, "A", 1, 1 + 10 * 1460, 0);
    peer_run(&t, 3 * SEC); /* and then for the peer's */
    assert_int_equal(lim(t.conn, TCP_LIM_CWND), 100000);
    assert_int_equal(lim(t.conn, TCP_LIM_RWIN), 3 * SEC);
    skip_all(&t);
    t.wnd = 65535;
    peer_tx(&t, "A", 1, 1 + 10 * 1460, 0);
    skip_all(&t);
    peer_tx(&t, "A", 1, 1 + 20 * 1460, 0);
    peer_run(&t, SEC);
    assert_int_equal(lim(t.conn, TCP_LIM_RWIN), 3 * SEC);
    assert_int_equal(lim(t.conn, TCP_LIM_SND), 3 * SEC);
    peer_fini(&t);
}

/* ---- recordings */

struct copy {
    unsigned n;
    struct tcp_log log[8];
    struct tcp_record records[8][512];
};

static void keep_copy(const struct tcp_log *log, const struct tcp_log_pieces *p, void *ctx)
{
    struct copy *c = ctx;

    assert_true(c->n < ARRAY_SIZE(c->log));
    c->log[c->n] = *log;
    memcpy(c->records[c->n], p->v[0], p->n[0] * sizeof(struct tcp_record));
    if (p->n[1] > 0)
        memcpy(c->records[c->n] + p->n[0], p->v[1], p->n[1] * sizeof(struct tcp_record));
    assert_int_equal(p->n[0] + p->n[1], log->n);
    c->n++;
}

static struct copy copy;

static const struct copy *logs(const struct tcp *tcp)
{
    uint32_t at = 0;

    copy.n = 0;
    while (tcp_logs_each(tcp, &at, 1, keep_copy, &copy))
        continue;
    return &copy;
}

static bool is_segment(const struct tcp_record *r)
{
    return tcp_record_kind(r) <= TCP_RECORD_AGAIN;
}

/* Is record @r what the tap saw? Sequence numbers from the SYN of each side. */
static bool is_same(const struct tcp_record *r, const struct tapped *t, const struct tcp_conn *c)
{
    const bool out = tcp_record_kind(r) != TCP_RECORD_IN;
    const uint32_t iss = out ? c->iss : c->irs, irs = out ? c->irs : c->iss;
    const uint8_t shift = out ? c->rcv_shift : c->snd_shift;

    return out == (t->from == 0) && r->seq == t->s.seq - iss && r->ack == t->s.ack - irs &&
           r->len == t->s.len && tcp_record_flags(r) == t->s.flags &&
           r->wnd == (uint32_t)t->s.wnd << shift && tcp_record_us(r) == t->at_us + (out ? 0 : 5000);
}

static void the_end_of_an_episode_keeps_what_the_wire_saw(void **state)
{
    const struct copy *kept;
    const struct tcp_record *r, *end;
    unsigned again = 0, blocks = 0, repairs = 0, n = 0;
    struct tcp_conn *a;

    start(7, &(struct tcp_conf){ .recorders = 4, .recorder_records = 512 });
    a = open_one();
    w.n_tap = 0; /* recorders are taken with the first data */
    w.lose_one = 5;
    write_bytes(a, 30000);
    wire_run(&w.wire, 5 * SEC);
    kept = logs(w.wire.nodes[0].tcp);
    assert_int_equal(kept->n, 2); /* the episode, and the recorder as it is now */
    assert_int_equal(kept->log[0].id, 1);
    assert_int_equal(kept->log[0].why, TCP_LOG_REPAIRED);
    assert_int_equal(kept->log[1].why, TCP_LOG_LIVE);
    assert_true(kept->log[0].n < kept->log[1].n && kept->log[0].overwritten == 0);
    assert_true(kept->log[0].active && kept->log[0].sack_on);
    assert_int_equal(tcp_counters(a->tcp)->episodes_kept, 1);

    r = kept->records[1];
    end = r + kept->log[1].n;
    /* What was sent, and what has come, each in order. */
    for (unsigned from = 0; from < 2; from++) {
        r = kept->records[1];
        for (unsigned i = 0; i < w.n_tap; i++) {
            if (w.tap[i].from != from || (from == 1 && w.tap[i].lost))
                continue;
            while (r < end &&
                   !(is_segment(r) && (tcp_record_kind(r) == TCP_RECORD_IN) == (from == 1)))
                r++;
            assert_true(r < end && is_same(r, &w.tap[i], a));
            r++;
            n++;
        }
        for (; r < end; r++)
            assert_false(is_segment(r) && (tcp_record_kind(r) == TCP_RECORD_IN) == (from == 1));
    }
    assert_true(n > 30);
    for (r = kept->records[0]; r < kept->records[0] + kept->log[0].n; r++) {
        again += tcp_record_kind(r) == TCP_RECORD_AGAIN;
        blocks += tcp_record_kind(r) == TCP_RECORD_BLOCK_IN;
        repairs += tcp_record_kind(r) == TCP_RECORD_REPAIR;
        assert_int_equal(memcmp(r, kept->records[1] + (r - kept->records[0]), sizeof(*r)), 0);
    }
    assert_int_equal(again, 1);
    assert_int_equal(again, tcp_counters(a->tcp)->retrans_segs);
    assert_true(blocks > 0 && repairs >= 2);
    r = kept->records[0] + kept->log[0].n - 1;
    assert_int_equal(tcp_record_kind(r), TCP_RECORD_REPAIR); /* the last word */
    assert_true(r->mark == CA_RECOVERY && r->len == CA_OPEN);
    wire_fini(&w.wire);
}

static void a_recorder_keeps_only_the_newest(void **state)
{
    static struct tcp_record records[16];
    struct ipport local;
    struct tcp_conn *a;
    struct tcp_log log;

    start(1, &(struct tcp_conf){ .recorders = 1, .recorder_records = 16 });
    a = open_one();
    local = tcp_local(a);
    for (unsigned i = 0; i < 10; i++) {
        write_bytes(a, 3000);
        wire_run(&w.wire, SEC / 10);
    }
    assert_true(tcp_log_find(a->tcp, 0, &local, &log, records, 16));
    assert_int_equal(log.n, 16);
    assert_true(log.overwritten > 30);
    for (unsigned i = 1; i < 16; i++)
        assert_true(tcp_record_us(&records[i]) >= tcp_record_us(&records[i - 1]));
    assert_true(tcp_log_find(a->tcp, 0, &local, &log, records, 3));
    assert_int_equal(log.n, 3);
    assert_false(tcp_log_find(a->tcp, 1, &local, &log, records, 16));
    local.port++;
    assert_false(tcp_log_find(a->tcp, 0, &local, &log, records, 16));
    wire_fini(&w.wire);
}

static void the_quietest_connection_gives_its_recorder(void **state)
{
    struct tcp_conn *c[4];
    const struct tcp_counters *n;

    start(1, &(struct tcp_conf){ .recorders = 2, .recorder_records = 32 });
    for (unsigned i = 0; i < 4; i++)
        c[i] = open_one();
    n = tcp_counters(c[0]->tcp);
    write_bytes(c[0], 100);
    wire_run(&w.wire, 100000);
    write_bytes(c[1], 100);
    wire_run(&w.wire, 100000);
    assert_true(c[0]->rec != 0 && c[1]->rec != 0 && c[0]->rec != c[1]->rec);
    write_bytes(c[2], 100); /* both have been used lately */
    wire_run(&w.wire, 2 * SEC);
    assert_int_equal(c[2]->rec, 0);
    assert_int_equal(n->unrecorded, 1);
    write_bytes(c[2], 100);
    wire_run(&w.wire, 100000);
    assert_true(c[2]->rec != 0 && c[0]->rec == 0 && c[1]->rec != 0);
    assert_int_equal(n->recorders_taken, 1);
    /* Where losses are being repaired, quiet is no sign. */
    w.lose = 1000000;
    write_bytes(c[1], 100);
    wire_run(&w.wire, 20 * SEC);
    assert_int_equal(c[1]->fl->state, CA_LOSS);
    write_bytes(c[3], 100);
    wire_run(&w.wire, 100000);
    assert_true(c[3]->rec != 0 && c[1]->rec != 0 && c[2]->rec == 0);
    /* One that ends gives it back at once. */
    tcp_abort(c[1]);
    write_bytes(c[0], 100);
    wire_run(&w.wire, 1000);
    assert_true(c[0]->rec != 0 && c[3]->rec != 0);
    assert_int_equal(n->recorders_taken, 2);
    wire_fini(&w.wire);
}

/* However many episodes a peer brings about: so many are kept, and so many copied. */
static void the_archive_and_the_work_for_it_are_bounded(void **state)
{
    const struct tcp_counters *n;
    const struct copy *kept;
    struct tcp_conn *a;

    start(1, &(struct tcp_conf){ .recorders = 1, .recorder_records = 16, .recorder_episodes = 4 });
    a = open_one();
    n = tcp_counters(a->tcp);
    tcp_recorder_keep(a, TCP_LOG_REPAIRED); /* it has none */
    assert_int_equal(n->episodes_kept + n->episodes_skipped, 0);
    write_bytes(a, 100);
    wire_run(&w.wire, SEC);
    for (unsigned i = 0; i < 60; i++)
        tcp_recorder_keep(a, TCP_LOG_REPAIRED);
    assert_int_equal(n->episodes_kept, 50);
    assert_int_equal(n->episodes_skipped, 10);
    assert_int_equal(n->episodes_dropped, 46);
    kept = logs(a->tcp);
    assert_int_equal(kept->n, 5);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(kept->log[i].id, 47 + i);
    assert_int_equal(kept->log[4].id, 0);
    wire_run(&w.wire, SEC);
    tcp_recorder_keep(a, TCP_LOG_REPAIRED); /* time lets one in again */
    assert_int_equal(n->episodes_kept, 51);
    wire_fini(&w.wire);
}

static void ends_by_a_timeout_or_in_the_midst_of_data_are_kept(void **state)
{
    struct peer t;

    peer_init(&t, &(struct tcp_conf){ .recorders = 2, .max_retries = 2 });
    peer_accept(&t);
    peer_send(&t, 1000);
    skip_all(&t);
    peer_tx(&t, "RA", 1, 1, 0);
    assert_int_equal(logs(t.tcp)->n, 1);
    assert_int_equal(copy.log[0].why, TCP_LOG_RESET);
    t.their_port++;
    peer_events(&t, "failed");
    peer_accept(&t);
    peer_send(&t, 1000);
    skip_all(&t);
    peer_tx(&t, "A", 1, 1001, 0);
    peer_tx(&t, "RA", 1, 1001, 0); /* nothing was lost by that */
    peer_events(&t, "failed");
    assert_int_equal(logs(t.tcp)->n, 1);
    t.their_port++;
    peer_accept(&t);
    peer_send(&t, 1000);
    peer_run(&t, 30 * SEC);
    assert_int_equal(logs(t.tcp)->n, 2);
    assert_int_equal(copy.log[1].why, TCP_LOG_TIMED_OUT);
    skip_all(&t);
    peer_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_are_what_a_tap_on_the_wire_counts),
        cmocka_unit_test(a_connection_without_data_has_only_its_two_small_numbers),
        cmocka_unit_test(time_is_told_by_what_limited_the_sender),
        cmocka_unit_test(the_end_of_an_episode_keeps_what_the_wire_saw),
        cmocka_unit_test(a_recorder_keeps_only_the_newest),
        cmocka_unit_test(the_quietest_connection_gives_its_recorder),
        cmocka_unit_test(the_archive_and_the_work_for_it_are_bounded),
        cmocka_unit_test(ends_by_a_timeout_or_in_the_midst_of_data_are_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
