#include "tests/lib/h1_log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void add(char **text, size_t *n, const void *bytes, size_t len)
{
    *text = realloc(*text, *n + len + 1);
    if (*text == NULL)
        abort();
    if (len > 0)
        memcpy(*text + *n, bytes, len);
    *n += len;
    (*text)[*n] = '\0';
}

static void say(struct h1_log *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct h1_log *l, const char *fmt, ...)
{
    char line[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    add(&l->text, &l->n_text, line, strlen(line));
}

static void say_slice(struct h1_log *l, struct slice s)
{
    add(&l->text, &l->n_text, s.ptr, s.len);
}

static void say_fields(struct h1_log *l, const struct http_fields *f)
{
    for (uint16_t i = 0; i < f->n; i++) {
        say(l, " ");
        say_slice(l, f->v[i].name);
        say(l, "=");
        say_slice(l, f->v[i].value);
    }
}

static void say_body(struct h1_log *l)
{
    if (l->n_body > 0) {
        say(l, " [");
        add(&l->text, &l->n_text, l->body, l->n_body);
        say(l, "]");
    }
    l->n_body = 0;
}

static void answer(struct h1_log *l, uint16_t status, uint64_t length, bool end)
{
    struct http_msg m;

    http_msg_init(&m, &l->stream->arena);
    m.status = status;
    m.content_length = length;
    (void)http_stream_send_headers(l->stream, &m, end);
}

void h1_log_answer(struct h1_log *l)
{
    answer(l, l->connect ? 405 : 200, 0, true);
}

static void on_end(struct h1_log *l)
{
    struct pktq none;

    say_body(l);
    say(l, " .");
    if (l->conn->side == HTTP_CLIENT || l->answer_late || l->answer_early)
        return;
    if (l->echo) {
        pktq_init(&none);
        (void)http_stream_send_data(l->stream, &none, true);
    } else {
        h1_log_answer(l);
    }
}

static void say_message(struct h1_log *l, const struct http_msg *m)
{
    if (l->conn->side == HTTP_SERVER) {
        say_slice(l, m->method);
        say(l, " ");
        if (m->scheme.len > 0) {
            say_slice(l, m->scheme);
            say(l, "://");
        }
        say_slice(l, m->authority);
        say(l, " ");
        say_slice(l, m->path);
    } else {
        say(l, "%u", m->status);
    }
    if (m->version != HTTP_1_1)
        say(l, " %s", http_version_name(m->version));
    if (m->content_length == HTTP_LENGTH_UNKNOWN)
        say(l, m->no_body ? " no-body" : " unknown");
    else if (!m->no_body)
        say(l, " %llu", (unsigned long long)m->content_length);
    else if (m->content_length > 0)
        say(l, " (%llu)", (unsigned long long)m->content_length);
    if (m->expect_continue)
        say(l, " 100?");
    say_fields(l, &m->fields);
}

static void on_headers(struct http_stream *s, struct http_msg *m, bool end)
{
    struct h1_log *l = s->owner;

    say_message(l, m);
    l->connect = l->conn->side == HTTP_SERVER && slice_eq(m->method, SLICE("CONNECT"));
    if (l->answer_early)
        h1_log_answer(l);
    else if (l->echo && !slice_eq(m->method, SLICE("HEAD")))
        answer(l, 200, HTTP_LENGTH_UNKNOWN, false);
    if (end)
        on_end(l);
}

static void on_data(struct http_stream *s, struct pktq *data, bool end)
{
    struct h1_log *l = s->owner;

    for (struct pkt *p = data->head; p != NULL; p = p->next)
        add(&l->body, &l->n_body, p->data, p->len);
    if (l->echo)
        (void)http_stream_send_data(s, data, false);
    pktq_clear(data);
    if (end)
        on_end(l);
}

static void on_trailers(struct http_stream *s, struct http_fields *trailers)
{
    struct h1_log *l = s->owner;

    say_body(l);
    say(l, " +");
    say_fields(l, trailers);
    on_end(l);
}

static void on_writable(struct http_stream *s)
{
}

static void on_bad_request(struct http_stream *s, uint16_t status, const char *details)
{
    struct h1_log *l = s->owner;

    l->status = status;
    l->details = details;
    say_body(l);
    say(l, " !%u %s", status, details);
    if (!l->answer_early && !l->echo)
        answer(l, status, 0, true);
}

static void on_closed(struct http_stream *s, enum http_end why)
{
    static const char *const words[] = {
        [HTTP_END_OK] = "ok",
        [HTTP_END_PEER_RESET] = "peer-reset",
        [HTTP_END_CONN_CLOSED] = "conn-closed",
        [HTTP_END_PROTOCOL_ERROR] = "protocol-error",
        [HTTP_END_OVERFLOW] = "overflow",
        [HTTP_END_ABORTED] = "aborted",
    };
    struct h1_log *l = s->owner;

    say_body(l);
    say(l, " %s;", words[why]);
    if (l->n_until_closed == 0)
        l->n_until_closed = l->n_text;
    l->stream = NULL;
}

static const struct http_stream_ops stream_ops = {
    on_headers, on_data, on_trailers, on_writable, on_bad_request, on_closed,
};

static void on_stream(struct http_conn *c, struct http_stream *s)
{
    struct h1_log *l = c->owner;

    l->stream = s;
    http_stream_set_owner(s, &stream_ops, l);
}

static void on_idle(struct http_conn *c)
{
    say(c->owner, " idle; ");
}

static void on_finished(struct http_conn *c)
{
    struct h1_log *l = c->owner;

    say(l, " finished");
    l->finished = true;
}

static void on_want_input(struct http_conn *c)
{
    struct h1_log *l = c->owner;

    l->want_input = true;
}

static const struct http_conn_ops conn_ops = { on_stream, on_idle, on_finished, on_want_input };

static void io_send(void *ctx, struct pktq *q)
{
    struct h1_log *l = ctx;

    for (struct pkt *p = q->head; p != NULL; p = p->next)
        add(&l->sent, &l->n_sent, p->data, p->len);
    pktq_clear(q);
}

static uint32_t io_room(void *ctx)
{
    return 65536;
}

static uint32_t io_seg(void *ctx)
{
    return 1460;
}

static const struct http_io io = { io_send, io_room, io_seg };

static void init(struct h1_log *l, enum http_side side, const struct http_conf *conf)
{
    *l = (struct h1_log){ 0 };
    test_pool_init(&l->tp, 0);
    l->core.pool = &l->tp.pool;
    l->core.rng = 1;
    pktq_init(&l->in);
    l->http = http_new(&l->core, 4);
    l->conn = http_conn_open(&http_codec_h1, l->http, side, conf, &conn_ops, &io, l);
    add(&l->text, &l->n_text, "", 0);
    add(&l->sent, &l->n_sent, "", 0);
}

void h1_log_server(struct h1_log *l, const struct http_conf *conf)
{
    init(l, HTTP_SERVER, conf);
}

void h1_log_client(struct h1_log *l, const struct http_conf *conf, const char *method)
{
    struct http_msg m;

    init(l, HTTP_CLIENT, conf);
    l->stream = http_stream_open(l->conn);
    http_stream_set_owner(l->stream, &stream_ops, l);
    http_msg_init(&m, &l->stream->arena);
    m.method = slice_of(method);
    m.path = SLICE("/");
    m.authority = SLICE("a");
    m.content_length = 0;
    m.no_body = true;
    (void)http_stream_send_headers(l->stream, &m, true);
}

void h1_log_run(struct h1_log *l)
{
    while (l->want_input) {
        l->want_input = false;
        http_conn_input(l->conn, &l->in);
    }
}

void h1_log_give(struct h1_log *l, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;

    while (len > 0) {
        size_t n = MIN(len, 2048);

        pktq_push(&l->in, test_pkt(&l->tp, at, n));
        at += n;
        len -= n;
    }
    http_conn_input(l->conn, &l->in);
    h1_log_run(l);
}

void h1_log_feed(struct h1_log *l, const void *bytes, size_t len, enum h1_cut cut, uint64_t seed)
{
    const char *at = bytes;

    l->core.rng = seed * 2 + 1;
    while (len > 0) {
        size_t n = len;

        if (cut == H1_BYTES)
            n = 1;
        else if (cut == H1_RANDOM)
            n = 1 + core_random(&l->core) % (1 + core_random(&l->core) % 40);
        n = MIN(n, len);
        h1_log_give(l, at, n);
        at += n;
        len -= n;
    }
}

void h1_log_eof(struct h1_log *l)
{
    if (pktq_is_empty(&l->in))
        http_conn_eof(l->conn);
    h1_log_run(l);
}

void h1_log_fini(struct h1_log *l)
{
    if (l->conn != NULL)
        http_conn_close(l->conn);
    pktq_clear(&l->in);
    if (http_n_conns(l->http) != 0 || http_n_streams(l->http) != 0)
        abort();
    http_free(l->http);
    test_pool_fini(&l->tp);
    free(l->text);
    free(l->sent);
    free(l->body);
}
