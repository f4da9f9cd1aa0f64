#include "tests/lib/gateway.h"

#include "config/file/file.h"

#include <stdio.h>
#include <stdlib.h>

#define WORK 100000

/* --- the other side -------------------------------------------------------------------------- */

void script_read(struct script *s)
{
    struct pktq q;

    pktq_init(&q);
    while (s->tcp != NULL && tcp_recv(s->tcp, &q, SCRIPT_MAX) > 0) {
        assert(s->n + q.bytes < SCRIPT_MAX);
        s->n += pktq_peek(&q, s->in + s->n, q.bytes);
        pktq_clear(&q);
    }
    s->in[s->n] = '\0';
}

static void on_open(struct tcp_conn *c)
{
    struct script *s = tcp_owner(c);

    s->open = true;
}

static void on_readable(struct tcp_conn *c)
{
    struct script *s = tcp_owner(c);

    if (!s->lazy)
        script_read(s);
}

static void on_peer_closed(struct tcp_conn *c)
{
    struct script *s = tcp_owner(c);

    s->eof = true;
}

static void on_closed(struct tcp_conn *c, int why)
{
    struct script *s = tcp_owner(c);

    s->tcp = NULL;
    s->closed = true;
    s->why = why;
}

static const struct tcp_ops script_ops = { .on_open = on_open,
                                           .on_readable = on_readable,
                                           .on_peer_closed = on_peer_closed,
                                           .on_closed = on_closed };

static void script_init(struct script *s)
{
    *s = (struct script){ .in = calloc(1, SCRIPT_MAX) };
    assert(s->in != NULL);
}

static const struct tcp_ops *accepted(void *ctx, struct tcp_conn *c, void **owner)
{
    struct gateway *g = ctx;
    struct script *s = &g->backends[g->n_backends++];

    assert(g->n_backends <= GATEWAY_BACKENDS);
    script_init(s);
    s->tcp = c;
    s->open = true;
    *owner = s;
    return &script_ops;
}

void script_connect(struct gateway *g, struct script *s, uint16_t port)
{
    const struct ipport to = { .addr = g->wire.nodes[0].addr, .port = port };
    int err;

    script_init(s);
    s->tcp = tcp_connect(g->wire.nodes[1].tcp, &to, NULL, NULL, &script_ops, s, &err);
    assert(s->tcp != NULL);
}

void script_send(struct gateway *g, struct script *s, const char *bytes, size_t len)
{
    struct pktq q;

    pktq_init(&q);
    if (!pktq_append(&q, &g->wire.nodes[1].pool.pool, bytes, len, tcp_mss(s->tcp)))
        abort();
    tcp_send(s->tcp, &q);
}

void script_say(struct gateway *g, struct script *s, const char *text)
{
    script_send(g, s, text, strlen(text));
}

void script_shutdown(struct script *s)
{
    tcp_shutdown(s->tcp);
}

void script_reset(struct script *s)
{
    if (s->tcp != NULL)
        tcp_abort(s->tcp);
    s->tcp = NULL;
}

void script_free(struct script *s)
{
    script_reset(s);
    free(s->in);
    s->in = NULL;
}

/* --- the gateway ----------------------------------------------------------------------------- */

static uint64_t turn(struct wire_node *n, void *ctx)
{
    struct gateway *g = ctx;

    uint32_t max = 16;
    bool more = proxy_renew_some(g->proxy, &max);

    more |= upstreams_drain_some(g->upstreams, &max);
    transports_run(g->transports, 16);
    core_run_work(&n->core, WORK);
    return more || transports_pending(g->transports) ? n->core.now_us + 1 : UINT64_MAX;
}

#define MACHINE                                                                                    \
    "machine = { ports = ( { name = \"wire\"; device = \"af_packet\"; interface = \"w\"; } ); };"

static struct runtime *build(struct gateway *g, const char *conf)
{
    char text[8192];
    struct runtime_env env = { g->rt, 1, &g->lib, NULL, g->stats, g->logfiles };
    struct cfg_err err = { "" };
    struct secrets secrets;
    struct snapshot *s;
    struct runtime *rt = NULL;

    snprintf(text, sizeof(text), "%s%s", MACHINE, conf);
    if (file_read_text("conf", text, strlen(text), &s, &err) == 0 &&
        secrets_load(s, NULL, &secrets, &err) == 0) {
        rt = runtime_build(s, &secrets, &env, &err);
        secrets_put(&secrets);
        snapshot_put(s);
    }
    if (rt == NULL) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    return rt;
}

static void free_unpinned(struct gateway *g)
{
    for (unsigned i = 0; i < GATEWAY_OLD; i++) {
        if (g->old[i] == NULL || !pins_are_free(&g->old[i]->pins))
            continue;
        runtime_free(g->old[i]);
        g->old[i] = NULL;
    }
}

void gateway_reload(struct gateway *g, const char *conf)
{
    struct runtime *rt = build(g, conf);
    uint32_t max;

    upstreams_adopt(g->upstreams, rt->clusters, rt->n_clusters);
    do /* as a worker does, turn after turn */
        max = 2;
    while (upstreams_adopt_some(g->upstreams, &max));
    if (proxy_adopt(g->proxy, rt->listeners, rt->n_listeners) < 0)
        abort();
    do
        max = 2;
    while (upstreams_retire_some(g->upstreams, &max));
    pin_get(&rt->pins, 0);
    for (unsigned i = 0; g->rt != NULL && i < GATEWAY_OLD; i++) {
        if (g->old[i] != NULL)
            continue;
        g->old[i] = g->rt;
        pin_put(&g->rt->pins, 0);
        break;
    }
    g->rt = rt;
    free_unpinned(g);
}

void gateway_init_for(struct gateway *g, uint32_t max, const struct wire_conf *wire,
                      const char *conf)
{
    struct wire_node *us = &g->wire.nodes[0];
    const struct ipport backend = { .port = 8080 };
    struct proxy_conf proxy = { .max_sessions = max };

    memset(g, 0, sizeof(*g));
    wire_init(&g->wire, wire);
    us->turn = turn;
    us->ctx = g;
    g->stats = stats_new(1);
    g->logfiles = logfiles_new();
    g->log = accesslog_ring_new();
    g->lib = tls_lib_new();
    g->transports = transports_new(&us->core, us->tcp, 2 * max);
    g->http = http_new(&us->core, 2 * max);
    g->upstreams = upstreams_new(&us->core, g->transports, g->http, max);
    proxy.core = &us->core;
    proxy.tcp = us->tcp;
    proxy.transports = g->transports;
    proxy.http = g->http;
    proxy.upstreams = g->upstreams;
    proxy.log = g->log;
    g->proxy = proxy_new(&proxy);
    g->listener = tcp_listen(g->wire.nodes[1].tcp, &backend, accepted, g);
    assert(g->proxy != NULL && g->listener != NULL);
    gateway_reload(g, conf);
}

void gateway_fini(struct gateway *g)
{
    for (unsigned i = 0; i < g->n_backends; i++)
        script_free(&g->backends[i]);
    proxy_free(g->proxy);
    upstreams_free(g->upstreams);
    http_free(g->http);
    transports_free(g->transports);
    pin_put(&g->rt->pins, 0);
    assert(pins_are_free(&g->rt->pins));
    free_unpinned(g);
    runtime_free(g->rt);
    for (unsigned i = 0; i < GATEWAY_OLD; i++)
        assert(g->old[i] == NULL);
    tls_lib_free(g->lib);
    accesslog_ring_free(g->log);
    logfiles_free(g->logfiles);
    stats_free(g->stats);
    wire_fini(&g->wire);
}

void gateway_init(struct gateway *g, const struct wire_conf *wire, const char *conf)
{
    gateway_init_for(g, GATEWAY_SESSIONS, wire, conf);
}

void gateway_run(struct gateway *g, uint64_t ms)
{
    wire_run(&g->wire, ms * 1000);
    free_unpinned(g);
}

const char *gateway_log(struct gateway *g)
{
    uint32_t file;
    size_t len = accesslog_pop(g->log, &file, g->line);

    g->line[MIN(len, sizeof(g->line) - 1)] = '\0';
    return g->line;
}
