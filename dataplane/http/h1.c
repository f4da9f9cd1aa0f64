/*
 * h1.c - one HTTP/1.1 connection (RFC 9112), either side
 *
 * Reading is a small machine; writing needs none, as its order is the owner's.
 *
 *   START ----> HEAD ----> BODY ----> TRAILERS
 *     ^          |  \        |           |
 *     |          |   +-----> DONE <------+      the message is read
 *     +----------|-----------+                  the response is complete: next one
 *                +--> STOPPED                   nothing more is read, whatever comes
 *
 * A stream ends in settle(), which is reached from h1_input() and h1_eof() alone:
 * that is what keeps events out of calls that a stream's owner makes.
 */
#include "dataplane/http/h1_body.h"
#include "dataplane/http/h1_write.h"
#include "dataplane/http/http.h"

#include <assert.h>
#include <errno.h>

#define MAX_BLANK 2 /* empty lines before a request (RFC 9112, 2.2) */

/* State, then the states it may move to. */
#define READ_STATES(X)                                                                             \
    X(START, TO(HEAD))                                                                             \
    X(HEAD, TO(BODY) | TO(DONE) | TO(STOPPED))                                                     \
    X(BODY, TO(TRAILERS) | TO(DONE) | TO(STOPPED))                                                 \
    X(TRAILERS, TO(DONE) | TO(STOPPED))                                                            \
    X(DONE, TO(START) | TO(STOPPED))                                                               \
    X(STOPPED, TO(STOPPED))

#define READ_ENUM(name, next) READ_##name,
enum read_state { READ_STATES(READ_ENUM) };

#define TO(name) (1u << READ_##name)
#define ALLOWED(name, next) [READ_##name] = (next),
static const unsigned allowed[] = { READ_STATES(ALLOWED) };

struct h1 {
    struct http_conn conn;
    struct http_stream stream; /* while ->open */
    struct http_conf conf;

    /* reading */
    enum read_state read;
    uint8_t n_blank; /* bytes of empty lines before this request */
    bool paused;
    bool eof;
    struct h1_head *head; /* in the stream's arena */
    struct h1_body body;

    /* writing */
    struct {
        enum h1_framing framing;
        uint64_t left; /* of the length announced */
        bool begun, done;
    } send;

    /* the stream */
    bool open;
    bool given_up;    /* it ends now, with ->why */
    bool to_head;     /* the request is HEAD */
    bool peer_is_1_0; /* the request is HTTP/1.0 */
    bool keep_alive;  /* as far as we know, another may follow */
    enum http_end why;

    /* the connection */
    bool busy;     /* inside h1_input() */
    bool draining; /* this stream is the last */
    bool over;     /* on_finished is due, or was called */
    bool told;     /* on_finished was called */
};

const uint32_t h1_size = sizeof(struct h1);

static struct h1 *of_conn(struct http_conn *conn)
{
    return container_of(conn, struct h1, conn);
}

static struct h1 *of_stream(struct http_stream *s)
{
    return container_of(s, struct h1, stream);
}

static bool is_server(const struct h1 *c)
{
    return c->conn.side == HTTP_SERVER;
}

static struct http_counters *counters(const struct h1 *c)
{
    return &c->conn.http->counters;
}

static struct pkt_pool *pool(const struct h1 *c)
{
    return c->conn.http->core->pool;
}

/* The one place the reading state changes. */
static void move(struct h1 *c, enum read_state next)
{
    assert(allowed[c->read] & (1u << next));
    c->read = next;
}

/* May free @c: last in every function that calls it. */
static void tell_finished(struct h1 *c)
{
    if (c->told)
        return;
    c->told = true;
    c->conn.ops->on_finished(&c->conn); /* last */
}

/* Nothing more will be carried. on_finished comes now, or at the end of h1_input(). */
static void finish(struct h1 *c)
{
    c->over = c->conn.finished = true;
    if (!c->busy)
        tell_finished(c);
}

/* The stream's memory and place are free; no event. */
static void forget_stream(struct h1 *c)
{
    if (c->send.begun && !c->send.done && c->send.framing == H1_UNTIL_CLOSE)
        c->conn.is_cut = true;
    arena_fini(&c->stream.arena);
    c->stream.ops = NULL;
    c->stream.owner = NULL;
    c->head = NULL;
    c->open = c->given_up = c->paused = c->to_head = c->peer_is_1_0 = false;
    c->send.begun = c->send.done = false;
    c->n_blank = 0;
    c->why = HTTP_END_OK;
    c->conn.n_streams = 0;
    c->conn.http->n_streams--;
}

static void begin_stream(struct h1 *c)
{
    c->stream.conn = &c->conn;
    arena_init_slab(&c->stream.arena, &c->conn.http->blocks, h1_arena_limit(&c->conf));
    c->open = c->keep_alive = true;
    c->conn.n_streams = 1;
    c->conn.total_streams++;
    c->conn.http->n_streams++;
}

/* The stream ends with @why as soon as we are back in step(). */
static void give_up(struct h1 *c, enum http_end why)
{
    c->given_up = true;
    c->keep_alive = false;
    c->why = why;
    if (c->read != READ_START)
        move(c, READ_STOPPED);
}

/* The peer's bytes are refused. */
static void refuse(struct h1 *c, struct h1_refusal r)
{
    struct http_counters *n = counters(c);
    const bool too_late = c->send.begun;
    const enum http_end why = r.status == 431   ? HTTP_END_OVERFLOW
                              : r.status == 503 ? HTTP_END_ABORTED
                                                : HTTP_END_PROTOCOL_ERROR;

    if (r.status == 503)
        n->no_memory++;
    else if (!is_server(c))
        n->bad_responses++;
    else if (r.status == 431)
        n->too_large++;
    else
        n->bad_requests++;

    if (!is_server(c)) {
        give_up(c, why);
        return;
    }
    move(c, READ_STOPPED);
    c->keep_alive = false;
    c->why = why;
    c->stream.ops->on_bad_request(&c->stream, r.status, r.details);
    if (c->open && too_late)
        give_up(c, why);
}

static void refuse_no_memory(struct h1 *c)
{
    refuse(c, (struct h1_refusal){ 503, "http1.no_memory" });
}

/* Events. After each the stream may be gone: reset by its owner. */

static void deliver(struct h1 *c, struct pktq *data, bool end)
{
    struct stages *st = &c->conn.http->core->stages;

    if (end)
        move(c, READ_DONE);
    if (end || !pktq_is_empty(data)) {
        const enum stage was = stage_enter(st, STAGE_PROXY);

        c->stream.ops->on_data(&c->stream, data, end);
        stage_leave(st, was);
    }
    pktq_clear(data);
}

static void deliver_head(struct h1 *c)
{
    struct http_msg *m = &c->head->msg;
    const bool end = c->head->framing == H1_NO_BODY;
    struct stages *st = &c->conn.http->core->stages;
    enum stage was;

    if (is_server(c)) {
        counters(c)->requests++;
        c->to_head = slice_eq(m->method, SLICE("HEAD"));
        c->peer_is_1_0 = m->version == HTTP_1_0;
        if (m->path.len == 0)
            c->keep_alive = false; /* CONNECT: what follows is for a tunnel that we do not open */
    } else {
        counters(c)->responses++;
    }
    if (!c->head->keep_alive)
        c->keep_alive = false;
    if (end)
        m->expect_continue = false;
    h1_body_init(&c->body, c->head->framing, m->content_length);
    move(c, end ? READ_DONE : READ_BODY);
    was = stage_enter(st, STAGE_PROXY);
    c->stream.ops->on_headers(&c->stream, m, end);
    stage_leave(st, was);
}

/* Steps. Each consumes something, or changes state, or returns false. */

static void drop_empty(struct pktq *in)
{
    while (in->head != NULL && in->head->len == 0)
        pkt_free(pktq_pop(in));
}

static bool skip_blank(struct h1 *c, struct pktq *in)
{
    drop_empty(in);
    if (pktq_is_empty(in) || c->n_blank == 2 * MAX_BLANK ||
        in->head->data[0] != "\r\n"[c->n_blank & 1])
        return false;
    pktq_consume(in, 1);
    c->n_blank++;
    return true;
}

/* Not for a client that does not take its answers: they would fill our memory. */
static bool may_start(const struct h1 *c)
{
    return !is_server(c) || c->conn.io->room(c->conn.owner) > 0;
}

static bool step_start(struct h1 *c, struct pktq *in)
{
    if (!may_start(c))
        return false; /* h1_writable() comes back */
    if (is_server(c)) {
        while (skip_blank(c, in))
            ;
        if (pktq_is_empty(in))
            return false;
        begin_stream(c);
        move(c, READ_HEAD);
        c->conn.ops->on_stream(&c->conn, &c->stream);
        if (!c->open)
            return true;
        assert(c->stream.ops != NULL);
    } else if (c->open) {
        move(c, READ_HEAD);
        if (!c->send.begun) {
            refuse(c, (struct h1_refusal){ 502, "http1.unexpected_response" });
            return true;
        }
    } else {
        finish(c); /* a response that nobody asked for */
        return false;
    }

    c->head = h1_head_new(&c->stream.arena, is_server(c), &c->conf);
    if (c->head == NULL) {
        refuse_no_memory(c);
        return true;
    }
    c->head->to_head = c->to_head;
    if (c->n_blank & 1)
        refuse(c, (struct h1_refusal){ 400, "http1.bare_cr" });
    return true;
}

static bool step_head(struct h1 *c, struct pktq *in)
{
    switch (h1_head_read(c->head, in)) {
    case H1_MORE:
        return false;
    case H1_ERROR:
        refuse(c, c->head->refusal);
        return true;
    case H1_END:
        break;
    }
    if (!is_server(c) && c->head->msg.status < 200) {
        h1_head_again(c->head); /* interim: not for the layers above */
        return true;
    }
    deliver_head(c);
    return true;
}

/* "0 CRLF CRLF" is how most chunked bodies end: then the last data and the end are one event. */
static bool no_trailers(struct pktq *in)
{
    char next[2];

    if (pktq_peek(in, next, 2) < 2 || memcmp(next, "\r\n", 2) != 0)
        return false;
    pktq_consume(in, 2);
    return true;
}

static bool step_body(struct h1 *c, struct pktq *in)
{
    enum h1_body_result result;
    struct pktq data;

    pktq_init(&data);
    result = h1_body_read(&c->body, in, &data, pool(c));
    switch (result) {
    case H1_BODY_MORE:
        deliver(c, &data, false);
        return true;
    case H1_BODY_END:
        deliver(c, &data, true);
        return true;
    case H1_BODY_TRAILERS:
        if (no_trailers(in)) {
            deliver(c, &data, true);
            return true;
        }
        h1_head_trailers(c->head);
        move(c, READ_TRAILERS);
        deliver(c, &data, false);
        return true;
    case H1_BODY_BAD:
    case H1_BODY_NO_PKT:
        deliver(c, &data, false);
        if (c->open && result == H1_BODY_BAD)
            refuse(c, (struct h1_refusal){ 400, "http1.invalid_chunk" });
        else if (c->open)
            refuse_no_memory(c);
        return true;
    }
    return false;
}

static bool step_trailers(struct h1 *c, struct pktq *in)
{
    struct pktq none;

    switch (h1_head_read(c->head, in)) {
    case H1_MORE:
        return false;
    case H1_ERROR:
        refuse(c, c->head->refusal);
        return true;
    case H1_END:
        break;
    }
    if (c->head->trailers.n == 0) {
        pktq_init(&none);
        deliver(c, &none, true);
        return true;
    }
    move(c, READ_DONE);
    c->stream.ops->on_trailers(&c->stream, &c->head->trailers);
    return true;
}

/* All input is read and no more will come. */
static bool step_eof(struct h1 *c)
{
    struct pktq none;

    switch (c->read) {
    case READ_START:
        if (!c->open)
            finish(c);
        else
            give_up(c, HTTP_END_CONN_CLOSED);
        return c->open;
    case READ_HEAD:
        give_up(c, HTTP_END_PEER_RESET);
        return true;
    case READ_BODY:
        if (c->head->framing != H1_UNTIL_CLOSE) {
            give_up(c, HTTP_END_PEER_RESET);
            return true;
        }
        if (c->paused)
            return false;
        pktq_init(&none);
        deliver(c, &none, true);
        return true;
    case READ_TRAILERS:
        give_up(c, HTTP_END_PEER_RESET);
        return true;
    case READ_DONE: /* half-closed: the response can still be written */
    case READ_STOPPED:
        return false;
    }
    return false;
}

static bool stream_is_over(const struct h1 *c)
{
    return c->open && (c->given_up || (is_server(c) ? c->send.done : c->read == READ_DONE));
}

/*
 * The stream has ended; may another follow? Only if both messages are complete and both sides
 * agree, and, on the client side, if not a byte came after the response.
 */
static void settle(struct h1 *c, const struct pktq *in)
{
    const bool reusable = c->keep_alive && c->read == READ_DONE && c->send.done && !c->draining &&
                          !c->eof && (is_server(c) || in->bytes == 0);

    if (!reusable)
        c->conn.finished = true; /* before the event: nobody may lease it there */
    c->stream.ops->on_closed(&c->stream, c->why);
    if (c->open) /* or the owner reset it in its last event, which is harmless */
        forget_stream(c);
    if (!reusable || c->over) {
        finish(c);
        return;
    }
    move(c, READ_START);
    c->conn.ops->on_idle(&c->conn);
}

static bool step(struct h1 *c, struct pktq *in)
{
    if (c->over)
        return false;
    if (stream_is_over(c)) {
        settle(c, in);
        return true;
    }
    drop_empty(in);
    if (pktq_is_empty(in))
        return c->eof && step_eof(c);

    switch (c->read) {
    case READ_START:
        return step_start(c, in);
    case READ_HEAD:
        return step_head(c, in);
    case READ_BODY:
        return !c->paused && step_body(c, in);
    case READ_TRAILERS:
        return !c->paused && step_trailers(c, in);
    case READ_DONE: /* pipelined: its turn comes after this response */
    case READ_STOPPED:
        return false;
    }
    return false;
}

static void h1_input(struct http_conn *conn, struct pktq *in)
{
    struct h1 *c = of_conn(conn);

    assert(!c->busy);
    c->busy = true;
    while (step(c, in))
        ;
    c->busy = false;
    if (c->over)
        tell_finished(c); /* last */
}

static void h1_eof(struct http_conn *conn)
{
    struct pktq none;

    of_conn(conn)->eof = true;
    pktq_init(&none);
    h1_input(conn, &none);
}

static void h1_writable(struct http_conn *conn)
{
    struct h1 *c = of_conn(conn);

    if (c->open && !c->given_up && !c->send.done)
        c->stream.ops->on_writable(&c->stream); /* last */
    else if (!c->open && !c->over && is_server(c))
        c->conn.ops->on_want_input(&c->conn);
}

static void h1_drain(struct http_conn *conn)
{
    struct h1 *c = of_conn(conn);

    c->draining = conn->finished = true;
    if (!c->open && !c->over)
        finish(c); /* last */
}

/* Whole empty lines before a request say nothing; half of one may be the beginning of a refusal. */
static bool h1_is_fresh(const struct http_conn *conn)
{
    const struct h1 *c = container_of(conn, const struct h1, conn);

    return c->read == READ_START && !c->open && (c->n_blank & 1) == 0 && !c->eof && !c->draining &&
           !c->over && !c->busy;
}

static struct http_conn *h1_open(struct http *h, enum http_side side, const struct http_conf *conf,
                                 const struct http_conn_ops *ops, const struct http_io *io,
                                 void *owner)
{
    struct h1 *c = slab_alloc(&h->h1);

    if (c == NULL) {
        h->counters.no_memory++;
        return NULL;
    }
    c->conn = (struct http_conn){
        .codec = &http_codec_h1,
        .http = h,
        .ops = ops,
        .io = io,
        .owner = owner,
        .side = side,
        .max_streams = 1,
    };
    if (conf != NULL)
        c->conf = *conf;
    return &c->conn;
}

static void h1_close(struct http_conn *conn)
{
    struct h1 *c = of_conn(conn);

    assert(!c->busy);
    if (c->open) {
        c->over = c->told = conn->finished = true;
        c->stream.ops->on_closed(&c->stream, HTTP_END_ABORTED);
        if (c->open)
            forget_stream(c);
    }
    slab_free(&conn->http->h1, c);
}

static struct http_stream *h1_open_stream(struct http_conn *conn)
{
    struct h1 *c = of_conn(conn);

    if (is_server(c) || !http_conn_is_free(conn))
        return NULL;
    begin_stream(c);
    return &c->stream;
}

static void h1_reset(struct http_stream *s)
{
    struct h1 *c = of_stream(s);

    forget_stream(c);
    if (!c->over)
        finish(c); /* last */
}

static void h1_pause(struct http_stream *s, bool paused)
{
    struct h1 *c = of_stream(s);
    const bool resumed = c->paused && !paused;

    c->paused = paused;
    if (resumed && !c->busy)
        c->conn.ops->on_want_input(&c->conn);
}

/* Writing */

static uint32_t seg(const struct h1 *c)
{
    return c->conn.io->seg(c->conn.owner);
}

static void out(struct h1 *c, struct pktq *q)
{
    c->conn.io->send(c->conn.owner, q);
}

/* Our message is complete. On the server that ends the stream, from input(). */
static void sent(struct h1 *c)
{
    c->send.done = true;
    if (is_server(c) && !c->busy)
        c->conn.ops->on_want_input(&c->conn);
}

static int request_framing(const struct http_msg *m, bool end, struct h1_framing_fields *f)
{
    const bool known = m->content_length != HTTP_LENGTH_UNKNOWN;

    if (slice_eq(m->method, SLICE("CONNECT")))
        return -EINVAL; /* there is no tunnel here */
    if (end) {
        f->framing = H1_NO_BODY;
        /* RFC 9110, 8.6: a method that may have content says that it has none. */
        f->write_length = (known && !m->no_body) || slice_eq(m->method, SLICE("POST")) ||
                          slice_eq(m->method, SLICE("PUT")) || slice_eq(m->method, SLICE("PATCH"));
        return known && m->content_length > 0 ? -EINVAL : 0;
    }
    if (m->no_body)
        return -EINVAL;
    f->framing = known ? H1_LENGTH : H1_CHUNKED;
    f->write_length = known;
    f->length = known ? m->content_length : 0;
    return 0;
}

static int response_framing(const struct h1 *c, const struct http_msg *m, bool end,
                            struct h1_framing_fields *f)
{
    const bool bodiless = c->to_head || m->status == 204 || m->status == 304;
    const bool known = m->content_length != HTTP_LENGTH_UNKNOWN;

    if (m->status < 200 || m->status > 999)
        return -EINVAL;
    if (c->head != NULL && c->head->msg.path.len == 0 && m->status < 300 &&
        slice_eq(c->head->msg.method, SLICE("CONNECT")))
        return -EINVAL; /* would open a tunnel */
    if (bodiless) {
        f->framing = H1_NO_BODY;
        f->write_length = known && m->status != 204;
        f->length = m->content_length;
        return end ? 0 : -EINVAL;
    }
    if (end) {
        f->framing = H1_NO_BODY;
        f->write_length = true;
        return known && m->content_length > 0 ? -EINVAL : 0;
    }
    if (m->no_body)
        return -EINVAL;
    f->framing = known ? H1_LENGTH : c->peer_is_1_0 ? H1_UNTIL_CLOSE : H1_CHUNKED;
    f->write_length = known;
    f->length = known ? m->content_length : 0;
    return 0;
}

/*
 * A response that comes before its request is complete is the last one: what is left of the
 * request would have to be read first, and may never come.
 */
static void response_connection(struct h1 *c, struct h1_framing_fields *f)
{
    f->close = !c->keep_alive || c->draining || c->eof || c->read != READ_DONE ||
               f->framing == H1_UNTIL_CLOSE;
    f->keep_alive = !f->close && c->peer_is_1_0;
    if (f->close)
        c->keep_alive = false;
}

static int h1_send_headers(struct http_stream *s, const struct http_msg *m, bool end)
{
    struct h1 *c = of_stream(s);
    struct h1_framing_fields f = { 0 };
    const bool kept = c->keep_alive;
    struct h1_writer w;
    struct pktq q;
    int rc;

    if (!c->open || c->given_up)
        return -EPIPE;
    if (c->send.begun)
        return -EINVAL;
    rc = is_server(c) ? response_framing(c, m, end, &f) : request_framing(m, end, &f);
    if (rc < 0)
        return rc;

    pktq_init(&q);
    h1_writer_init(&w, pool(c), seg(c));
    if (is_server(c)) {
        response_connection(c, &f);
        h1_write_response(&w, m, &f);
    } else {
        f.close = c->draining;
        h1_write_request(&w, m, &f);
    }
    rc = h1_writer_finish(&w, &q);
    if (rc < 0) {
        c->keep_alive = kept;
        return rc;
    }

    if (!is_server(c))
        c->to_head = slice_eq(m->method, SLICE("HEAD"));
    c->send.begun = true;
    c->send.framing = f.framing;
    c->send.left = f.length;
    out(c, &q);
    if (end)
        sent(c);
    return 0;
}

static int h1_send_info(struct http_stream *s, uint16_t status)
{
    struct h1 *c = of_stream(s);
    struct h1_writer w;
    struct pktq q;
    int rc;

    if (!c->open || c->given_up)
        return -EPIPE;
    if (!is_server(c) || c->send.begun || status < 100 || status > 199 || status == 101)
        return -EINVAL;
    if (c->peer_is_1_0)
        return 0; /* does not know them (RFC 9110, 15.2) */

    pktq_init(&q);
    h1_writer_init(&w, pool(c), seg(c));
    h1_write_info(&w, status);
    rc = h1_writer_finish(&w, &q);
    if (rc == 0)
        out(c, &q);
    return rc;
}

static int put_end(struct h1 *c, const struct http_fields *trailers)
{
    struct h1_writer w;
    struct pktq q;
    int rc;

    if (c->send.framing == H1_LENGTH && c->send.left > 0)
        return -EINVAL;
    if (c->send.framing == H1_CHUNKED) {
        pktq_init(&q);
        h1_writer_init(&w, pool(c), seg(c));
        h1_write_last_chunk(&w, trailers);
        rc = h1_writer_finish(&w, &q);
        if (rc < 0)
            return rc;
        out(c, &q);
    }
    sent(c);
    return 0;
}

static int put_data(struct h1 *c, struct pktq *data, bool end)
{
    int rc;

    if (!c->open || c->given_up)
        return -EPIPE;
    if (!c->send.begun || c->send.done)
        return -EINVAL;
    if (data->bytes == 0)
        return end ? put_end(c, NULL) : 0;

    switch (c->send.framing) {
    case H1_NO_BODY:
        return -EINVAL;
    case H1_LENGTH:
        if (data->bytes > c->send.left || (end && data->bytes < c->send.left))
            return -EINVAL;
        c->send.left -= data->bytes;
        break;
    case H1_CHUNKED:
        rc = h1_frame_chunk(data, end, pool(c), seg(c));
        if (rc < 0)
            return rc;
        break;
    case H1_UNTIL_CLOSE:
        break;
    }
    out(c, data);
    if (end)
        sent(c);
    return 0;
}

static int h1_send_data(struct http_stream *s, struct pktq *data, bool end)
{
    int rc = put_data(of_stream(s), data, end);

    pktq_clear(data);
    return rc;
}

/* Only chunks carry trailers; elsewhere the body ends without them (RFC 9110, 6.5.1). */
static int h1_send_trailers(struct http_stream *s, const struct http_fields *trailers)
{
    struct h1 *c = of_stream(s);

    if (!c->open || c->given_up)
        return -EPIPE;
    if (!c->send.begun || c->send.done)
        return -EINVAL;
    return put_end(c, trailers);
}

const struct http_codec http_codec_h1 = {
    .name = "h1",
    .alpn = "http/1.1",
    .open = h1_open,
    .close = h1_close,
    .input = h1_input,
    .eof = h1_eof,
    .writable = h1_writable,
    .drain = h1_drain,
    .is_fresh = h1_is_fresh,
    .open_stream = h1_open_stream,
    .send_headers = h1_send_headers,
    .send_info = h1_send_info,
    .send_data = h1_send_data,
    .send_trailers = h1_send_trailers,
    .reset = h1_reset,
    .pause = h1_pause,
};
