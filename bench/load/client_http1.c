/* HTTP/1.1 of a client: a request at a time on each connection, by the codec of the gateway. */
#include "bench/load/client.h"
#include "bench/load/payload.h"

#define PART_MAX (64 * 1024)

static struct pkt_pool *pool_of(const struct client_conn *c)
{
    return c->client->stack->core.pool;
}

/* --- the codec's side ------------------------------------------------------------------------ */

static void io_send(void *owner, struct pktq *q)
{
    client_send(owner, q);
}

static uint32_t io_room(void *owner)
{
    const struct client_conn *c = owner;

    return c->transport != NULL ? transport_room(c->transport) : 0;
}

static uint32_t io_seg(void *owner)
{
    const struct client_conn *c = owner;

    return c->transport != NULL ? transport_seg(c->transport) : 1024;
}

static const struct http_io io = { io_send, io_room, io_seg };

static void on_idle(struct http_conn *http)
{
    client_idle(http->owner);
}

static void on_finished(struct http_conn *http)
{
    client_leave(http->owner);
}

static void on_want_input(struct http_conn *http)
{
    struct client_conn *c = http->owner;

    core_defer(&c->client->stack->core, &c->work);
}

static const struct http_conn_ops conn_ops = { .on_idle = on_idle,
                                               .on_finished = on_finished,
                                               .on_want_input = on_want_input };

/* --- the request ----------------------------------------------------------------------------- */

static void send_body(struct client_conn *c)
{
    struct pktq q;

    pktq_init(&q);
    while (c->stream != NULL && c->to_send > 0 && io_room(c) > 0) {
        const uint64_t part = MIN(MIN(c->to_send, io_room(c)), PART_MAX);
        const uint64_t n = payload_append(&q, pool_of(c), part, io_seg(c));

        if (n == 0) {
            client_die(c);
            return;
        }
        c->to_send -= (uint32_t)n;
        http_stream_send_data(c->stream, &q, c->to_send == 0);
    }
}

static void on_headers(struct http_stream *s, struct http_msg *m, bool end)
{
    struct client_conn *c = s->owner;

    c->status = m->status;
}

static void on_data(struct http_stream *s, struct pktq *data, bool end)
{
    pktq_clear(data);
}

static void on_trailers(struct http_stream *s, struct http_fields *trailers)
{
}

static void on_writable(struct http_stream *s)
{
    send_body(s->owner);
}

static void on_closed(struct http_stream *s, enum http_end why)
{
    struct client_conn *c = s->owner;

    c->stream = NULL;
    switch (why) {
    case HTTP_END_OK:
        if (c->status / 100 == 2)
            client_answered(c);
        else
            client_refused(c, LOAD_ERROR_status);
        return;
    case HTTP_END_PEER_RESET:
    case HTTP_END_CONN_CLOSED:
        client_refused(c, LOAD_ERROR_closed);
        return;
    case HTTP_END_PROTOCOL_ERROR:
    case HTTP_END_OVERFLOW:
        client_refused(c, LOAD_ERROR_parse);
        return;
    case HTTP_END_ABORTED:
        client_refused(c, LOAD_ERROR_memory);
        return;
    }
}

static const struct http_stream_ops stream_ops = { .on_headers = on_headers,
                                                   .on_data = on_data,
                                                   .on_trailers = on_trailers,
                                                   .on_writable = on_writable,
                                                   .on_closed = on_closed };

/* Of the last request the header says so ("connection: close"): drained once its stream is open. */
static void ask(struct client_conn *c)
{
    const struct http_msg *m = &c->client->request;

    c->stream = http_stream_open(c->http);
    if (c->stream == NULL) {
        client_die(c);
        return;
    }
    http_stream_set_owner(c->stream, &stream_ops, c);
    if (client_is_last(c))
        http_conn_drain(c->http);
    c->to_send = c->client->conf.conf->request_body;
    if (http_stream_send_headers(c->stream, m, c->to_send == 0) < 0)
        client_die(c);
    else if (c->to_send > 0)
        send_body(c);
}

/* --- the transport's side -------------------------------------------------------------------- */

static bool is_alive(const struct client_conn *c)
{
    return c->state == CLIENT_IDLE || c->state == CLIENT_BUSY || c->state == CLIENT_ANSWERED;
}

static void read_more(struct client_conn *c)
{
    for (;;) {
        const uint64_t n = client_recv(c, &c->in);

        http_conn_input(c->http, &c->in); /* also without bytes: it may have an end to tell */
        if (!is_alive(c) || !pktq_is_empty(&c->in))
            return;
        if (n > 0)
            continue;
        if (c->eof)
            http_conn_eof(c->http);
        return;
    }
}

static void on_transport_writable(struct client_conn *c)
{
    http_conn_writable(c->http);
}

static bool open_codec(struct client_conn *c)
{
    c->http = http_conn_open(&http_codec_h1, c->client->stack->http, HTTP_CLIENT, NULL, &conn_ops,
                             &io, c);
    return c->http != NULL;
}

static void close_codec(struct client_conn *c)
{
    if (c->http != NULL)
        http_conn_close(c->http);
    c->http = NULL;
}

const struct client_proto client_http1 = { .open = open_codec,
                                           .ask = ask,
                                           .on_readable = read_more,
                                           .on_writable = on_transport_writable,
                                           .on_eof = read_more,
                                           .close = close_codec };
