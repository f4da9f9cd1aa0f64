/*
 * isthmus-micro - nanoseconds per operation of the pieces that every request passes
 *
 * usage: isthmus-micro [--ops N] [NAME]
 *
 * --ops: N of each, once, for a tool that counts instructions (tests/cost).
 */
#include "dataplane/base/core.h"
#include "dataplane/http/codec.h"
#include "dataplane/route/route.h"
#include "dataplane/telemetry/accesslog.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 7
#define OPS 100000u

/* --- a pool without a port ---------------------------------------------------------------------
 */

struct buf {
    struct pkt pkt;
    uint16_t refs;
    uint8_t bytes[PKT_HEADROOM + 2048];
};

static unsigned refill(struct pkt_pool *pool, struct pkt **to, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct buf *b = calloc(1, sizeof(*b));

        if (b == NULL)
            return i;
        b->refs = 1;
        b->pkt = (struct pkt){
            .head = b->bytes, .end = b->bytes + sizeof(b->bytes), .pool = pool, .refs = &b->refs
        };
        to[i] = &b->pkt;
    }
    return n;
}

static void drain(struct pkt_pool *pool, struct pkt **from, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        free(container_of(from[i], struct buf, pkt));
}

static void put_shared(struct pkt_pool *pool, struct pkt *p)
{
    --*p->refs;
}

static const struct pkt_pool_ops pool_ops = { refill, drain, put_shared };
static struct pkt_pool pool = { .ops = &pool_ops,
                                .room = PKT_HEADROOM + 2048,
                                .cache_max = PKT_POOL_CACHE };
static struct core core;
static volatile uint64_t sink;

/* --- operations --------------------------------------------------------------------------------
 */

static void pkt_op(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        pkt_free(pkt_alloc(&pool));
}

static void never(struct wheel_timer *t, uint64_t now_us)
{
    abort();
}

static void wheel_op(unsigned n)
{
    struct wheel_timer t;

    wheel_timer_init(&t, never);
    for (unsigned i = 0; i < n; i++)
        wheel_start(&core.wheel, &t, core.now_us + 200000 + i * 1000);
    wheel_stop(&core.wheel, &t);
}

static void siphash_op(unsigned n)
{
    uint32_t tuple[3] = { 0x0a000001, 0x0a000002, 0 };

    for (unsigned i = 0; i < n; i++) {
        tuple[2] = i;
        sink += hash_sip(&core.secret, tuple, sizeof(tuple));
    }
}

static void *resolve(void *ctx, const char *cluster)
{
    return ctx;
}

static const struct route_table *thousand_hosts(void)
{
    static const struct route_table *table;
    static struct arena a;
    struct route_config_conf *conf;

    if (table != NULL)
        return table;
    arena_init(&a, 0);
    conf = arena_alloc(&a, sizeof(*conf));
    conf->n_vhosts = 1000;
    conf->vhosts = arena_alloc(&a, conf->n_vhosts * sizeof(conf->vhosts[0]));
    for (uint32_t i = 0; i < conf->n_vhosts; i++) {
        struct vhost_conf *v = &conf->vhosts[i];

        v->n_domains = 1;
        v->domains = arena_alloc(&a, sizeof(*v->domains));
        v->domains[0] = arena_printf(&a, "host-%u.example.com", i);
        v->n_routes = 10;
        v->routes = arena_alloc(&a, v->n_routes * sizeof(v->routes[0]));
        for (uint32_t r = 0; r < v->n_routes; r++)
            v->routes[r] =
                (struct route_conf){ .match = PATH_PREFIX,
                                     .path = r == 9 ? "/" : arena_printf(&a, "/service-%u/", r),
                                     .cluster = "c" };
    }
    table = route_table_new(&a, conf, resolve, conf);
    return table;
}

static void route_op(unsigned n)
{
    const struct route_table *t = thousand_hosts();

    char host[] = "host-100.example.com:443";

    /* Many of them: how long a chain of the table is differs from start to start. */
    for (unsigned i = 0; i < n; i++) {
        host[5] = (char)('1' + i % 9);
        host[6] = (char)('0' + i / 9 % 10);
        host[7] = (char)('0' + i / 90 % 10);
        sink += route_find(t, slice_of(host), SLICE("/other/path?x=1")) != NULL;
    }
}

/* A server that answers every request with 200 and no body. */
static void on_headers(struct http_stream *s, struct http_msg *m, bool end)
{
    struct http_msg answer;

    http_msg_init(&answer, &s->arena);
    answer.status = 200;
    answer.content_length = 0;
    http_fields_add(&answer.fields, &s->arena, SLICE("server"), SLICE("istio-envoy"));
    http_stream_send_headers(s, &answer, true);
}

static void on_stream_closed(struct http_stream *s, enum http_end why)
{
}

static const struct http_stream_ops stream_ops = { .on_headers = on_headers,
                                                   .on_closed = on_stream_closed };

static void on_stream(struct http_conn *c, struct http_stream *s)
{
    http_stream_set_owner(s, &stream_ops, NULL);
}

static void ignore(struct http_conn *c)
{
}

static void io_send(void *ctx, struct pktq *q)
{
    pktq_clear(q);
}

static uint32_t io_room(void *ctx)
{
    return 65536;
}

static uint32_t io_seg(void *ctx)
{
    return 1448;
}

static void h1_op(unsigned n)
{
    static const char request[] =
        "GET /service-7/items?page=2 HTTP/1.1\r\nHost: host-777.example.com\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101\r\n"
        "Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\n"
        "Accept-Encoding: gzip, deflate, br\r\nCookie: session=0123456789abcdef\r\n\r\n";
    static const struct http_conn_ops ops = { on_stream, ignore, ignore, ignore };
    static const struct http_io io = { io_send, io_room, io_seg };
    struct http *http = http_new(&core, 16);
    struct http_conf conf = { 0 };
    struct http_conn *c = http_conn_open(&http_codec_h1, http, HTTP_SERVER, &conf, &ops, &io, NULL);

    for (unsigned i = 0; i < n; i++) {
        struct pktq in;

        pktq_init(&in);
        pktq_append(&in, &pool, request, sizeof(request) - 1, 2048);
        do
            http_conn_input(c, &in);
        while (!pktq_is_empty(&in));
        http_conn_input(c, &in); /* the end of the stream is told here */
        core_run_work(&core, 16);
    }
    if (http_counters(http)->requests != n)
        abort();
    http_conn_close(c);
    http_free(http);
}

static struct slice header(const void *msg, struct slice name)
{
    return SLICE("value-of-a-field");
}

static void accesslog_op(unsigned n)
{
    struct ipport a = { ipaddr_v4(0x0a000001), 443 };
    struct accesslog_record r = {
        .start_wall_us = 1700000000000000,
        .is_http = true,
        .request = &a,
        .response = &a,
        .request_header = header,
        .response_header = header,
        .protocol = "HTTP/1.1",
        .response_code = 200,
        .response_code_details = "via_upstream",
        .bytes_sent = 1024,
        .upstream_host = &a,
        .upstream_local = &a,
        .downstream_local = &a,
        .downstream_remote = &a,
        .upstream_cluster = "outbound|8000||httpbin.foo.svc.cluster.local",
    };
    struct accesslog_format *f;
    char err[128], line[ACCESSLOG_LINE_MAX];
    struct arena arena;

    arena_init(&arena, 0);
    f = accesslog_compile(&arena, accesslog_default_format, err, sizeof(err));
    for (unsigned i = 0; i < n; i++)
        sink += accesslog_render(f, &r, line, sizeof(line));
    arena_fini(&arena);
}

/* --- the table ---------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    void (*run)(unsigned n);
} rows[] = {
    { "pkt", pkt_op },     { "wheel", wheel_op }, { "siphash", siphash_op },
    { "route", route_op }, { "h1", h1_op },       { "accesslog", accesslog_op },
};

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    unsigned ops = OPS, rounds = ROUNDS;
    bool found = false;

    if (argc > 2 && strcmp(argv[1], "--ops") == 0) {
        ops = (unsigned)strtoul(argv[2], NULL, 10);
        rounds = 1;
        argc -= 2;
        argv += 2;
    }
    core_init(&core, 0, &pool, 1000000, 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        double best = 1e18;

        if (argc > 1 && strcmp(argv[1], rows[i].name) != 0)
            continue;
        found = true;
        for (unsigned k = 0; k < rounds; k++) {
            double start = now_ns();

            rows[i].run(ops);
            best = MIN(best, now_ns() - start);
        }
        printf("%-10s %8.1f ns\n", rows[i].name, best / ops);
    }
    return found ? 0 : 2;
}
