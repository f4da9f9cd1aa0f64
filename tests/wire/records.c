/*
 * Large records of TLS on links that lose, reorder, narrow, and let little through at once: all
 * that was sent is read, in either direction, and no record waits for ever for its end.
 */
#include "dataplane/transport/kind.h"
#include "tests/lib/pki_group.h"
#include "tests/lib/test.h"
#include "tests/lib/wire.h"
#include "tls/inner.h"

#include <stdlib.h>
#include <time.h>

#define SEC UINT64_C(1000000)
#define BYTES 1500000u
#define PART 30000u
#define PORT 443

struct end {
    struct wire_node *node;
    struct transports *ts;
    struct tls_lib *lib;
    struct tls_ctx *ctx;
    struct transport *t; /* NULL: not there, or gone */
    uint64_t to_send, sent, received, leave_at;
    uint64_t n_records; /* sent, after the last byte */
    bool open, eof, closed;
    enum transport_end why;
};

struct run {
    struct wire wire;
    struct end ends[2]; /* the server's, the client's */
};

static uint8_t byte_at(uint64_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

/* --- an end --- */

static void send_part(struct end *e)
{
    uint8_t bytes[PART];
    struct pktq q;
    const uint64_t n = MIN(e->to_send - e->sent, MIN(PART, transport_room(e->t)));

    pktq_init(&q);
    for (uint64_t i = 0; i < n; i++)
        bytes[i] = byte_at(e->sent + i);
    assert_true(pktq_append(&q, e->node->core.pool, bytes, n, transport_seg(e->t)));
    transport_send(e->t, &q);
    e->sent += n;
}

static void send_more(struct end *e)
{
    if (e->t == NULL || !e->open || e->sent == e->to_send)
        return;
    while (e->sent < e->to_send && transport_room(e->t) > 0)
        send_part(e);
    if (e->sent < e->to_send)
        return;
    e->n_records = e->t->tls->keys->tx.seq;
    transport_shutdown(e->t);
}

static void read_all(struct end *e)
{
    struct pktq q;
    struct pkt *p;

    pktq_init(&q);
    while (e->t != NULL && transport_recv(e->t, &q, 100000) > 0) {
        while ((p = pktq_pop(&q)) != NULL) {
            for (uint32_t i = 0; i < p->len; i++)
                assert_int_equal(p->data[i], byte_at(e->received + i));
            e->received += p->len;
            pkt_free(p);
        }
    }
}

static void on_open(struct transport *t)
{
    ((struct end *)transport_owner(t))->open = true;
}

static void on_readable(struct transport *t)
{
    read_all(transport_owner(t));
}

static void on_writable(struct transport *t)
{
    send_more(transport_owner(t));
}

static void on_eof(struct transport *t)
{
    ((struct end *)transport_owner(t))->eof = true;
}

static void on_closed(struct transport *t, enum transport_end why)
{
    struct end *e = transport_owner(t);

    e->closed = true;
    e->why = why;
    e->t = NULL;
}

static const struct transport_events events = {
    .on_open = on_open,
    .on_readable = on_readable,
    .on_writable = on_writable,
    .on_eof = on_eof,
    .on_closed = on_closed,
};

static uint64_t turn(struct wire_node *n, void *ctx)
{
    struct end *e = ctx;

    transports_run(e->ts, 2);
    core_run_work(&n->core, 1000);
    send_more(e);
    if (e->t != NULL && e->received >= e->leave_at) {
        transport_abort(e->t);
        e->t = NULL;
    }
    return transports_pending(e->ts) || !list_is_empty(&n->core.work) ? n->core.now_us : UINT64_MAX;
}

static const struct tcp_ops *accept_one(void *ctx, struct tcp_conn *c, void **owner)
{
    struct end *e = ctx;

    e->t = transport_accept(e->ts, c, &events, e);
    assert_non_null(e->t);
    assert_true(transport_secure(e->t, e->ctx));
    *owner = e->t;
    return transport_tcp_ops();
}

/* --- both --- */

static void end_init(struct run *r, unsigned i)
{
    static const struct tls_conf server = { .mode = TLS_MODE_SIMPLE,
                                            .min_version = TLS_VERSION_1_3,
                                            .max_version = TLS_VERSION_1_3,
                                            .trust_domain = "cluster.local" };
    struct tls_conf conf = server;
    struct end *e = &r->ends[i];
    struct cfg_err err = { "" };

    if (i == 1)
        conf.sni = "server.example.com";
    *e = (struct end){ .node = &r->wire.nodes[i], .to_send = BYTES, .leave_at = UINT64_MAX };
    e->lib = tls_lib_new();
    e->ctx = tls_ctx_new(e->lib,
                         &(struct tls_ctx_conf){ .name = "x",
                                                 .is_server = i == 0,
                                                 .conf = &conf,
                                                 .secret = i == 0 ? pki.server : NULL,
                                                 .trust = pki.client },
                         &err);
    if (e->ctx == NULL)
        fail_msg("%s", err.text);
    e->ts = transports_new(&e->node->core, e->node->tcp, 4);
    e->node->turn = turn;
    e->node->ctx = e;
}

static void end_fini(struct end *e)
{
    if (e->t != NULL)
        transport_abort(e->t);
    e->node->turn = NULL;
    core_run_work(&e->node->core, 1000);
    transports_free(e->ts);
    tls_ctx_put(e->ctx);
    tls_lib_free(e->lib);
}

static void run_init(struct run *r, struct wire_conf conf)
{
    struct ipport to;
    int err = 0;

    conf.start_us = (uint64_t)time(NULL) * SEC; /* of certificates */
    wire_init(&r->wire, &conf);
    end_init(r, 0);
    end_init(r, 1);
    to = (struct ipport){ r->wire.nodes[0].addr, PORT };
    assert_non_null(tcp_listen(r->wire.nodes[0].tcp, &to, accept_one, &r->ends[0]));
    r->ends[1].t = transport_connect(r->ends[1].ts, &to, NULL, r->ends[1].ctx, 60 * SEC, &events,
                                     &r->ends[1], &err);
    assert_non_null(r->ends[1].t);
}

static void run_fini(struct run *r)
{
    end_fini(&r->ends[0]);
    end_fini(&r->ends[1]);
    wire_fini(&r->wire);
}

static bool is_done(const struct end *e)
{
    return e->received == BYTES && e->eof;
}

/* @are_small: windows, or queues. */
static void run_until_done(struct run *r, bool are_small)
{
    for (unsigned s = 0; s < 3600 && !(is_done(&r->ends[0]) && is_done(&r->ends[1])); s++)
        wire_run(&r->wire, SEC);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(is_done(&r->ends[i]));
        if (!are_small) /* nor are the records */
            assert_true(r->ends[i].n_records < TLS_SMALL_BYTES / 400 + BYTES / 4000);
    }
}

static const struct wire_conf links[] = {
    { .delay_us = 2000 },
    { .delay_us = 100, .train_max = { 32, 32 }, .merge = { true, true } },
    { .delay_us = 5000, .loss = 20000 },
    { .delay_us = 5000, .loss = 100000, .ack_loss = 100000, .train_max = { 32, 8 } },
    { .delay_us = 3000,
      .reorder = 50000,
      .reorder_us = 4000,
      .dup = 20000,
      .merge = { true, true } },
    { .delay_us = 1000, .corrupt = 10000, .offload = { true, false }, .tso = { true, false } },
    { .delay_us = 2000, .mark = 100000, .tcp = { { .ecn = true }, { .ecn = true } } },
    /* Windows that no large record fits in. */
    { .delay_us = 1000,
      .tcp = { { .recv_buf = 4096, .recv_buf_max = 4096 },
               { .recv_buf = 6000, .recv_buf_max = 6000 } } },
    { .delay_us = 1000, .loss = 20000, .shrink = 20000, .tcp = { { .send_buf = 4096 } } },
    /* It becomes narrower when much is under way, and says so, or does not. */
    { .delay_us = 3000, .path_mtu = 1000, .path_mtu_at_us = 40000 },
    { .delay_us = 3000, .path_mtu = 1000, .path_mtu_at_us = 40000, .path_silent = true },
    { .delay_us = 1000, .mtu = { 1500, 1280 } },
    { .delay_us = 1000, .mtu = { 576, 1500 } },
};

static void all_that_is_sent_is_read(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
        struct wire_conf conf = links[i];
        struct run r;

        conf.seed = i + 1;
        if (conf.path_mtu != 0)
            conf.path_mtu_at_us += (uint64_t)time(NULL) * SEC;
        run_init(&r, conf);
        run_until_done(&r, conf.tcp[0].recv_buf != 0 || conf.tcp[0].send_buf != 0);
        run_fini(&r);
    }
}

/* The reader goes away amid a record, at any place of it. */
static void an_end_amid_a_record(void **state)
{
    for (uint64_t at = 200000; at < 220000; at += 3001) {
        struct run r;

        run_init(&r, (struct wire_conf){ .seed = at, .delay_us = 1000, .hold_us = 500 });
        r.ends[1].leave_at = at;
        for (unsigned s = 0; s < 60 && !r.ends[0].closed; s++)
            wire_run(&r.wire, SEC);
        assert_true(r.ends[0].closed);
        assert_int_equal(r.ends[0].why, TRANSPORT_END_RESET);
        run_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_is_sent_is_read),
        cmocka_unit_test(an_end_amid_a_record),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
