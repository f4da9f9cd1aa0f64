/*
 * gateway_seeds.c - clients, backends and an operator who do anything at any time
 *
 * Each seed is a run of its own: requests in pieces, good, bad and pipelined; responses of every
 * framing, early, late, short, long and cut; half-closes and resets on either side; readers that
 * stop; packet pools that run dry; reloads under it all. What is asserted is that everything comes
 * home: packets, timers, pins, connections. The rest is for the sanitizers.
 *
 *   gateway_seeds --seeds N [--from SEED]
 */
#include "tests/lib/gateway.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLIENTS 4
#define STEPS 150

static const char *const confs[] = {
    "clusters = ( { name = \"b\"; endpoints = [ \"10.0.0.2:8080\" ]; max_connections = 2; } );\n"
    "route_configs = ( { name = \"r\"; virtual_hosts = ( { name = \"v\"; domains = [ \"*\" ];\n"
    "  routes = ( { prefix = \"/\"; cluster = \"b\"; timeout = \"2s\"; } ); } ); } );\n"
    "access_logs = ( { name = \"log\"; path = \"/dev/null\"; } );\n"
    "listeners = ( { name = \"l\"; address = \"10.0.0.1:80\"; filter_chains = ( { name = \"c\";\n"
    "  http = { route_config = \"r\"; access_log = \"log\"; idle_timeout = \"3s\"; }; } ); },\n"
    " { name = \"t\"; address = \"10.0.0.1:81\"; filter_chains = ( { name = \"c\";\n"
    "  tcp = { cluster = \"b\"; access_log = \"log\"; }; } ); } );\n",
    "clusters = ( { name = \"x\"; endpoints = [ \"10.0.0.2:8080\", \"10.0.0.2:8080\" ];\n"
    "  max_pending = 1; max_requests_per_connection = 2; } );\n"
    "route_configs = ( { name = \"r\"; virtual_hosts = ( { name = \"v\"; domains = [ \"*\" ];\n"
    "  routes = ( { prefix = \"/\"; cluster = \"x\"; } ); } ); } );\n"
    "listeners = ( { name = \"l\"; address = \"10.0.0.1:80\"; filter_chains = ( { name = \"d\";\n"
    "  http = { route_config = \"r\"; }; } ); },\n"
    " { name = \"t\"; address = \"10.0.0.1:81\"; filter_chains = ( { name = \"c\";\n"
    "  tcp = { cluster = \"x\"; }; } ); } );\n",
    "clusters = ( { name = \"b\"; endpoints = [ \"10.0.0.2:8080\", \"10.0.0.2:9\" ]; } );\n"
    "route_configs = ( { name = \"r\"; virtual_hosts = ( { name = \"v\"; domains = [ \"*\" ];\n"
    "  routes = ( { prefix = \"/\"; cluster = \"b\"; } ); } ); } );\n"
    "listeners = ( { name = \"l\"; address = \"10.0.0.1:80\"; filter_chains = ( { name = \"c\";\n"
    "  http = { route_config = \"r\"; stream_idle_timeout = \"1s\"; headers_timeout = \"1s\"; };\n"
    "  } ); } );\n",
};

static const char *const client_words[] = {
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\nexpect: 100-continue\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "4\r\nwxyz\r\n0\r\n\r\n",
    "0\r\nx: y\r\n\r\n",
    "GET / HT",
    "TP/1.1\r\nhost: a\r\n\r\n",
    "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n",
    "nonsense\r\n\r\n",
};

static const char *const backend_words[] = {
    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "4\r\nwxyz\r\n0\r\n\r\n",
    "0\r\nx: y\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\nuntil close",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc",
    "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
    "rubbish\r\n\r\n",
};

static void act(struct gateway *g, struct script *s, const char *const *words, unsigned n_words)
{
    static const char filler[9000];
    uint64_t what = wire_random(&g->wire, 100);

    if (s->tcp == NULL || !s->open)
        return;
    if (what < 60)
        script_say(g, s, words[wire_random(&g->wire, n_words)]);
    else if (what < 75)
        script_send(g, s, filler, 1 + wire_random(&g->wire, sizeof(filler)));
    else if (what < 80)
        script_shutdown(s);
    else if (what < 84)
        script_reset(s);
    else if (what < 90)
        s->lazy = !s->lazy;
    else
        script_read(s);
    if (s->n > SCRIPT_MAX / 2)
        s->n = 0;
}

static void operate(struct gateway *g)
{
    struct test_pool *pool = &g->wire.nodes[0].pool;
    uint64_t what = wire_random(&g->wire, 100);

    if (what < 6)
        gateway_reload(g, confs[wire_random(&g->wire, ARRAY_SIZE(confs))]);
    else if (what < 16)
        pool->fail_at = 1 + (uint32_t)wire_random(&g->wire, 8);
    else if (what < 18)
        pool->max = pool->n_out + (uint32_t)wire_random(&g->wire, 6);
    else if (what < 40)
        pool->max = 0;
    while (gateway_log(g)[0] != '\0')
        ;
}

static void run(uint64_t seed)
{
    struct script clients[CLIENTS] = { 0 };
    struct wire_conf conf = { .seed = seed, .delay_us = 50, .jitter_us = 200 };
    struct gateway g;

    gateway_init(&g, &conf, confs[0]);
    if (wire_random(&g.wire, 3) == 0)
        g.wire.conf.loss = 20000;
    for (unsigned i = 0; i < STEPS; i++) {
        struct script *c = &clients[wire_random(&g.wire, CLIENTS)];

        if (c->tcp == NULL) {
            script_free(c);
            script_connect(&g, c, wire_random(&g.wire, 5) == 0 ? 81 : 80);
        }
        act(&g, c, client_words, ARRAY_SIZE(client_words));
        if (g.n_backends > 0)
            act(&g, &g.backends[wire_random(&g.wire, g.n_backends)], backend_words,
                ARRAY_SIZE(backend_words));
        operate(&g);
        gateway_run(&g, wire_random(&g.wire, 8) == 0 ? wire_random(&g.wire, 4000)
                                                     : wire_random(&g.wire, 3));
    }
    g.wire.nodes[0].pool.max = 0;
    for (unsigned i = 0; i < CLIENTS; i++)
        script_free(&clients[i]);
    gateway_run(&g, wire_random(&g.wire, 2) * 100000);
    gateway_fini(&g);
}

/* An assertion or a sanitizer ends the program: the seed is the last thing it says. */
static uint64_t running;

static void on_abort(int sig)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "--seeds 1 --from %" PRIu64 "\n", running);

    (void)!write(STDERR_FILENO, text, (size_t)n);
    signal(sig, SIG_DFL);
    raise(sig);
}

int main(int argc, char **argv)
{
    uint64_t n = 100, from = 1;

    signal(SIGABRT, on_abort);
    signal(SIGSEGV, on_abort);

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seeds") == 0)
            n = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--from") == 0)
            from = strtoull(argv[i + 1], NULL, 10);
    }
    for (uint64_t seed = from; seed < from + n; seed++) {
        running = seed;
        run(seed);
    }
    return 0;
}
