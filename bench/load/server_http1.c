/* HTTP/1.1 of a server: 200 and as many bytes as the configuration, or the path, says. */
#include "bench/load/payload.h"
#include "bench/load/server.h"
#include "dataplane/base/num.h"

#define PART_MAX (64 * 1024)
#define BODY_MAX (UINT64_C(1) << 40)

static struct pkt_pool *pool_of(const struct server_conn *c)
{
    return c->server->stack->core.pool;
}

/* --- the codec's side ------------------------------------------------------------------------ */

static uint32_t io_seg(void *owner)
{
    const struct server_conn *c = owner;

    return c->transport != NULL ? transport_seg(c->transport) : 1024;
}

/* Held back until the answer is whole, or more than fits. */
static void io_send(void *owner, struct pktq *q)
{
    struct server_conn *c = owner;

    payload_join(&c->out, q, pool_of(c), io_seg(c));
}

static void flush(struct server_conn *c)
{
    if (!pktq_is_empty(&c->out))
        server_send(c, &c->out);
}

static uint32_t io_room(void *owner)
{
    const struct server_conn *c = owner;
    const uint32_t room = c->transport != NULL ? transport_room(c->transport) : 0;

    return room > c->out.bytes ? room - (uint32_t)c->out.bytes : 0;
}

static const struct http_io io = { io_send, io_room, io_seg };

/* --- the answer ------------------------------------------------------------------------------ */

static void send_body(struct server_conn *c)
{
    struct pktq q;

    pktq_init(&q);
    while (c->stream != NULL && c->to_send > 0 && io_room(c) > 0) {
        const uint64_t part = MIN(MIN(c->to_send, (uint64_t)io_room(c)), (uint64_t)PART_MAX);
        const uint64_t n = payload_append(&q, pool_of(c), part, io_seg(c));

        if (n == 0) {
            server_count_error(c, LOAD_ERROR_memory);
            server_die(c);
            return;
        }
        c->to_send -= n;
        http_stream_send_data(c->stream, &q, c->to_send == 0);
    }
    flush(c);
}

static void answer(struct server_conn *c)
{
    struct http_msg m = c->server->answer;

    m.content_length = c->to_send;
    if (c->is_head)
        c->to_send = 0;
    if (http_stream_send_headers(c->stream, &m, c->to_send == 0) < 0) {
        server_count_error(c, LOAD_ERROR_memory);
        server_die(c);
        return;
    }
    send_body(c);
}

/* "/bytes/4096" */
static uint64_t body_of(const struct server_conn *c, struct slice path)
{
    const struct slice prefix = SLICE("/bytes/");
    uint64_t n = c->server->conf.conf->body;

    path = slice_head(path, slice_find(path, '?'));
    if (slice_starts(path, prefix))
        num_u64(slice_skip(path, prefix.len), BODY_MAX, &n);
    return n;
}

/* --- the stream ------------------------------------------------------------------------------ */

static void on_headers(struct http_stream *s, struct http_msg *m, bool end)
{
    struct server_conn *c = s->owner;

    c->to_send = body_of(c, m->path);
    c->is_head = slice_eq(m->method, SLICE("HEAD"));
    if (m->expect_continue)
        http_stream_send_info(s, 100);
    if (end)
        answer(c);
    else
        flush(c);
}

static void on_data(struct http_stream *s, struct pktq *data, bool end)
{
    pktq_clear(data);
    if (end)
        answer(s->owner);
}

static void on_trailers(struct http_stream *s, struct http_fields *trailers)
{
    answer(s->owner);
}

static void on_writable(struct http_stream *s)
{
    send_body(s->owner);
}

static void on_bad_request(struct http_stream *s, uint16_t status, const char *details)
{
    struct server_conn *c = s->owner;
    struct http_msg m = c->server->answer;

    server_count_error(c, LOAD_ERROR_parse);
    m.status = status;
    m.content_length = c->to_send = 0;
    http_stream_send_headers(s, &m, true); /* or nothing, if an answer has begun */
    flush(c);
}

static void on_closed(struct http_stream *s, enum http_end why)
{
    struct server_conn *c = s->owner;

    c->stream = NULL;
    c->to_send = 0;
    if (why == HTTP_END_OK) {
        c->server->stats.total_requests++;
        c->server->stats.requests += c->server->measuring;
    } else if (why != HTTP_END_PROTOCOL_ERROR && why != HTTP_END_OVERFLOW) {
        server_count_error(c, LOAD_ERROR_closed);
    }
}

static const struct http_stream_ops stream_ops = { .on_headers = on_headers,
                                                   .on_data = on_data,
                                                   .on_trailers = on_trailers,
                                                   .on_writable = on_writable,
                                                   .on_bad_request = on_bad_request,
                                                   .on_closed = on_closed };

/* --- the connection -------------------------------------------------------------------------- */

static void on_stream(struct http_conn *http, struct http_stream *s)
{
    struct server_conn *c = http->owner;

    c->stream = s;
    c->to_send = 0;
    c->is_head = false;
    http_stream_set_owner(s, &stream_ops, c);
}

static void on_idle(struct http_conn *http)
{
}

static void on_finished(struct http_conn *http)
{
    if (http->is_cut)
        server_die(http->owner);
    else
        server_finish(http->owner);
}

static void on_want_input(struct http_conn *http)
{
    struct server_conn *c = http->owner;

    core_defer(&c->server->stack->core, &c->work);
}

static const struct http_conn_ops conn_ops = { on_stream, on_idle, on_finished, on_want_input };

/* --- the transport's side -------------------------------------------------------------------- */

static void read_more(struct server_conn *c)
{
    for (;;) {
        const uint64_t n = pktq_is_empty(&c->in) ? server_recv(c, &c->in) : 0;

        http_conn_input(c->http, &c->in); /* also without bytes: it may have an end to tell */
        if (c->state != SERVER_OPEN || !pktq_is_empty(&c->in))
            return;
        if (n > 0)
            continue;
        if (c->eof && !c->eof_told) {
            c->eof_told = true;
            http_conn_eof(c->http);
        }
        return;
    }
}

static void on_transport_writable(struct server_conn *c)
{
    http_conn_writable(c->http);
}

static bool open_codec(struct server_conn *c)
{
    c->http = http_conn_open(&http_codec_h1, c->server->stack->http, HTTP_SERVER, NULL, &conn_ops,
                             &io, c);
    return c->http != NULL;
}

static void close_codec(struct server_conn *c)
{
    if (c->http != NULL)
        http_conn_close(c->http);
    c->http = NULL;
}

const struct server_proto server_http1 = { .open = open_codec,
                                           .on_readable = read_more,
                                           .on_writable = on_transport_writable,
                                           .on_eof = read_more,
                                           .close = close_codec };
