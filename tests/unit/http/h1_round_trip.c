/* A client codec and a server codec, joined by two queues: what one says, the other hears. */
#include "dataplane/http/codec.h"
#include "tests/lib/pool.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#define N_REQUESTS 40
#define MAX_BODY 20000

/* A body on its way: bytes are a function of their place, so both ends can check them. */
struct body {
    uint64_t size, done;
    bool chunked, trailers, ended;
};

struct side {
    struct world *w;
    struct http_conn *conn;
    struct http_stream *stream;
    struct pktq in; /* from the other side */
    struct body sends, receives;
    bool wants_input, began, closed, got_trailers, finished;
};

struct world {
    struct test_pool tp;
    struct core core;
    struct http *http;
    struct side client, server;
};

static uint64_t pick(struct world *w, uint64_t n)
{
    return core_random(&w->core) % n;
}

static uint8_t byte_at(uint64_t at)
{
    return (uint8_t)(at * 31 + (at >> 8));
}

static struct side *other(struct side *s)
{
    return s == &s->w->client ? &s->w->server : &s->w->client;
}

static void pick_body(struct world *w, struct body *b)
{
    *b = (struct body){ .chunked = pick(w, 2) != 0 };
    b->size = pick(w, 4) == 0 ? 0 : 1 + pick(w, MAX_BODY);
    b->trailers = b->chunked && pick(w, 2) != 0;
}

/* Sends a piece of the body, if the mood is right. */
static void pump(struct side *s)
{
    struct body *b = &s->sends;
    uint8_t bytes[3000];
    struct pktq q;
    uint64_t n;

    if (s->stream == NULL || !s->began || b->ended || http_stream_room(s->stream) == 0)
        return;
    pktq_init(&q);
    n = 1 + pick(s->w, sizeof(bytes));
    n = MIN(n, b->size - b->done);
    for (uint64_t i = 0; i < n; i++)
        bytes[i] = byte_at(b->done + i);
    pktq_append(&q, &s->w->tp.pool, bytes, n, 1 + (uint32_t)pick(s->w, 1400));
    b->done += n;
    b->ended = b->done == b->size && !b->trailers;
    assert_int_equal(http_stream_send_data(s->stream, &q, b->ended), 0);

    if (b->done == b->size && b->trailers && s->stream != NULL) {
        struct http_field v = { SLICE("x-sum"), SLICE("42") };
        const struct http_fields trailers = { .v = &v, .n = 1 };

        b->ended = true;
        assert_int_equal(http_stream_send_trailers(s->stream, &trailers), 0);
    }
}

static void begin(struct side *s, struct http_msg *m)
{
    const struct body *b = &s->sends;
    const bool end = b->size == 0 && !b->chunked;

    m->content_length = b->chunked ? HTTP_LENGTH_UNKNOWN : b->size;
    assert_true(http_fields_add(&m->fields, m->arena, SLICE("x-test"), SLICE("yes")));
    s->began = true;
    s->sends.ended = end;
    assert_int_equal(http_stream_send_headers(s->stream, m, end), 0);
}

static void on_headers(struct http_stream *stream, struct http_msg *m, bool end)
{
    struct side *s = stream->owner;
    const struct body *expected = &other(s)->sends;

    assert_true(slice_eq(http_fields_value(&m->fields, SLICE("x-test")), SLICE("yes")));
    assert_int_equal(m->content_length, expected->chunked ? HTTP_LENGTH_UNKNOWN : expected->size);
    s->receives.ended = end;
    if (pick(s->w, 3) == 0)
        http_stream_pause(stream, true);
}

static void on_data(struct http_stream *stream, struct pktq *data, bool end)
{
    struct side *s = stream->owner;
    struct pkt *p;

    while ((p = pktq_pop(data)) != NULL) {
        for (uint32_t i = 0; i < p->len; i++)
            if (p->data[i] != byte_at(s->receives.done++))
                fail_msg("byte %llu is another", (unsigned long long)s->receives.done - 1);
        pkt_free(p);
    }
    s->receives.ended = end;
    if (!end && pick(s->w, 4) == 0)
        http_stream_pause(stream, true);
}

static void on_trailers(struct http_stream *stream, struct http_fields *trailers)
{
    struct side *s = stream->owner;

    assert_true(slice_eq(http_fields_value(trailers, SLICE("x-sum")), SLICE("42")));
    s->receives.ended = s->got_trailers = true;
}

static void on_writable(struct http_stream *stream)
{
}

static void on_bad_request(struct http_stream *stream, uint16_t status, const char *details)
{
    fail_msg("%u %s", status, details);
}

static void on_closed(struct http_stream *stream, enum http_end why)
{
    struct side *s = stream->owner;

    assert_int_equal(why, HTTP_END_OK);
    s->stream = NULL;
    s->closed = true;
}

static const struct http_stream_ops stream_ops = {
    on_headers, on_data, on_trailers, on_writable, on_bad_request, on_closed,
};

static void on_stream(struct http_conn *c, struct http_stream *stream)
{
    struct side *s = c->owner;

    s->stream = stream;
    http_stream_set_owner(stream, &stream_ops, s);
}

static void on_idle(struct http_conn *c)
{
}

static void on_finished(struct http_conn *c)
{
    ((struct side *)c->owner)->finished = true;
}

static void on_want_input(struct http_conn *c)
{
    ((struct side *)c->owner)->wants_input = true;
}

static const struct http_conn_ops conn_ops = { on_stream, on_idle, on_finished, on_want_input };

/* The wire cuts where it likes. */
static void io_send(void *ctx, struct pktq *q)
{
    struct side *s = ctx;
    struct pktq *to = &other(s)->in;

    while (!pktq_is_empty(q)) {
        assert_in_range(q->head->len, 1, 1460 + 40);
        assert_true(pktq_move(to, q, 1 + pick(s->w, q->bytes), &s->w->tp.pool));
    }
}

static uint32_t io_room(void *ctx)
{
    const struct side *s = ctx;
    const uint64_t queued = other(ctx)->in.bytes;

    return s->w != NULL && queued < 8192 ? (uint32_t)(8192 - queued) : 0;
}

static uint32_t io_seg(void *ctx)
{
    return 1460;
}

static const struct http_io io = { io_send, io_room, io_seg };

/* Gives a side some of what waits for it. */
static void feed(struct side *s)
{
    struct pktq part;

    pktq_init(&part);
    if (s->in.bytes > 0)
        assert_true(pktq_move(&part, &s->in, 1 + pick(s->w, s->in.bytes), &s->w->tp.pool));
    s->wants_input = false;
    http_conn_input(s->conn, &part);
    pktq_splice(&part, &s->in); /* what it left comes first */
    pktq_splice(&s->in, &part);
}

static void turn(struct world *w)
{
    struct side *s = pick(w, 2) ? &w->client : &w->server;

    if (s->in.bytes > 0 || s->wants_input)
        feed(s);
    if (s->stream != NULL && pick(w, 2))
        http_stream_pause(s->stream, false);
    pump(s);

    /* The server answers when it has the request, as a proxy's upstream usually does. */
    s = &w->server;
    if (s->stream != NULL && s->receives.ended && !s->began) {
        struct http_msg m;

        http_msg_init(&m, &s->stream->arena);
        m.status = 200;
        begin(s, &m);
    }
}

static void check_received(const struct side *s)
{
    const struct body *sent = &other((struct side *)(uintptr_t)s)->sends;

    assert_true(s->receives.ended);
    assert_int_equal(s->receives.done, sent->size);
    assert_int_equal(s->got_trailers, sent->trailers);
}

static void exchange(struct world *w)
{
    struct side *c = &w->client, *s = &w->server;
    struct http_msg m;

    c->began = c->closed = c->got_trailers = s->began = s->closed = s->got_trailers = false;
    c->receives = s->receives = (struct body){ 0 };
    pick_body(w, &c->sends);
    pick_body(w, &s->sends);

    c->stream = http_stream_open(c->conn);
    assert_non_null(c->stream);
    http_stream_set_owner(c->stream, &stream_ops, c);
    http_msg_init(&m, &c->stream->arena);
    m.method = SLICE("POST");
    m.path = SLICE("/echo?x=y");
    m.authority = SLICE("test");
    begin(c, &m);

    for (unsigned i = 0; !c->closed || !s->closed; i++) {
        assert_true(i < 1000000);
        turn(w);
    }
    check_received(c);
    check_received(s);
}

static void open_side(struct world *w, struct side *s, enum http_side which)
{
    s->w = w;
    pktq_init(&s->in);
    s->conn = http_conn_open(&http_codec_h1, w->http, which, NULL, &conn_ops, &io, s);
}

static void what_one_says_the_other_hears(void **state)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world w = { 0 };

        print_message("# seed %llu\n", (unsigned long long)seed);
        test_pool_init(&w.tp, 0);
        w.core.pool = &w.tp.pool;
        w.core.rng = seed * UINT64_C(0x9e3779b97f4a7c15);
        w.http = http_new(&w.core, 2);
        open_side(&w, &w.client, HTTP_CLIENT);
        open_side(&w, &w.server, HTTP_SERVER);

        for (unsigned i = 0; i < N_REQUESTS; i++)
            exchange(&w);
        assert_false(w.client.finished || w.server.finished);
        assert_int_equal(http_counters(w.http)->requests, N_REQUESTS);
        assert_int_equal(http_counters(w.http)->responses, N_REQUESTS);

        http_conn_close(w.client.conn);
        http_conn_close(w.server.conn);
        assert_int_equal(http_n_conns(w.http), 0);
        assert_int_equal(http_n_streams(w.http), 0);
        http_free(w.http);
        pktq_clear(&w.client.in);
        pktq_clear(&w.server.in);
        test_pool_fini(&w.tp);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_one_says_the_other_hears),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
