/*
 * Two whole machines in one process, joined by a pair of ring ports whose
 * demultiplexer does what RSS does in a NIC: a gateway of two workers (the real
 * worker loop, a TCP proxy), and a machine of two workers that is both its
 * clients and its origin, an echo. Random data goes round and is compared.
 *
 * What it shows: every packet of a connection reaches the worker that has it
 * (one that does not would be answered with RST, and the bytes would not come),
 * upstream ports are chosen so that replies reach the opener (no redirect on a
 * port that steers), and everything comes home.
 *
 *   clients  --- 10.9.0.2:7 ---> gateway --- 10.9.0.1:7 ---> echo, on the clients' machine
 */
#include "config/file/file.h"
#include "dataplane/base/log.h"
#include "dataplane/net/net.h"
#include "dataplane/worker/publish.h"
#include "drivers/eal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define N_WORKERS 2
#define N_CONNS 16 /* of each client worker: their windows fit the rings, so nothing is lost */
#define BYTES (1024 * 1024)
#define DEADLINE_S 60 /* it takes one; a hang is told */

static const char gateway_text[] =
    "machine = { workers = 2; memory = \"256MiB\"; packets = 8192; ports = ("
    "  { name = \"g\"; device = \"ring\"; ring_peer = \"c\"; addresses = [\"10.9.0.2/24\"]; },"
    "  { name = \"c\"; device = \"ring\"; ring_peer = \"g\"; addresses = [\"10.9.0.1/24\"]; } ); };"
    "clusters = ( { name = \"echo\"; endpoints = [\"10.9.0.1:7\"]; } );"
    "listeners = ( { name = \"in\"; address = \"10.9.0.2:7\"; filter_chains = ( { tcp = { cluster "
    "= \"echo\"; }; } ); } );";

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
}

/* --- the clients' machine --------------------------------------------------------------------- */

struct client {
    struct core core;
    struct ports *ports;
    struct pktpool *pool;
    struct port_io *io;
    struct net *net;
    struct tcp *tcp;
    uint32_t started;
    _Atomic uint32_t done, echoes;
    _Atomic bool stop;
};

struct call {
    struct client *client;
    uint64_t sent, got; /* bytes */
    uint64_t seed;
};

static struct client clients[N_WORKERS];
static struct call calls[N_WORKERS][N_CONNS];

static uint8_t byte_at(uint64_t seed, uint64_t at)
{
    return (uint8_t)(hash_mix(seed + at / 8) >> (at % 8 * 8));
}

static void send_more(struct tcp_conn *c, struct call *call)
{
    struct pktq q;

    pktq_init(&q);
    while (call->sent < BYTES && tcp_send_room(c) > q.bytes) {
        uint8_t part[1000];
        size_t len = MIN(sizeof(part), BYTES - call->sent);

        for (size_t i = 0; i < len; i++)
            part[i] = byte_at(call->seed, call->sent + i);
        if (!pktq_append(&q, call->client->core.pool, part, len, tcp_mss(c)))
            break;
        call->sent += len;
    }
    if (q.bytes > 0)
        tcp_send(c, &q);
    if (call->sent == BYTES)
        tcp_shutdown(c);
}

static void on_writable(struct tcp_conn *c)
{
    send_more(c, tcp_owner(c));
}

static void on_readable(struct tcp_conn *c)
{
    struct call *call = tcp_owner(c);
    struct pktq q;
    struct pkt *p;

    pktq_init(&q);
    while (tcp_recv(c, &q, 65536) > 0)
        continue;
    while ((p = pktq_pop(&q)) != NULL) {
        for (uint32_t i = 0; i < p->len; i++)
            check(p->data[i] == byte_at(call->seed, call->got + i),
                  "the bytes come back as they were sent");
        call->got += p->len;
        pkt_free(p);
    }
}

static void on_closed(struct tcp_conn *c, int why)
{
    struct call *call = tcp_owner(c);

    check(why == 0, "connections end in order");
    check(call->got == BYTES, "every byte comes back");
    call->client->done++;
}

static const struct tcp_ops call_ops = { .on_open = on_writable,
                                         .on_readable = on_readable,
                                         .on_writable = on_writable,
                                         .on_closed = on_closed };

static void echo_readable(struct tcp_conn *c)
{
    struct pktq q;

    pktq_init(&q);
    while (tcp_send_room(c) > 0 && tcp_recv(c, &q, 16384) > 0)
        tcp_send(c, &q);
}

static void echo_peer_closed(struct tcp_conn *c)
{
    echo_readable(c);
    if (tcp_recv_eof(c))
        tcp_shutdown(c);
}

static void echo_writable(struct tcp_conn *c)
{
    echo_readable(c);
    if (tcp_recv_eof(c))
        tcp_shutdown(c);
}

static void echo_closed(struct tcp_conn *c, int why)
{
    struct client *client = tcp_owner(c);

    client->echoes--;
}

static const struct tcp_ops echo_ops = { .on_readable = echo_readable,
                                         .on_writable = echo_writable,
                                         .on_peer_closed = echo_peer_closed,
                                         .on_closed = echo_closed };

static const struct tcp_ops *echo_accept(void *ctx, struct tcp_conn *c, void **owner)
{
    struct client *client = ctx;

    client->echoes++;
    *owner = client;
    return &echo_ops;
}

static void tx(void *ctx, uint8_t port, struct pkt *p)
{
    p->port = port;
    port_tx(((struct client *)ctx)->io, p);
}

static void share(void *ctx, const struct pkt *p)
{
    port_share(((struct client *)ctx)->io, p);
}

static bool owns(void *ctx, const struct ipport *remote, const struct ipport *local)
{
    struct client *client = ctx;

    return steer_tuple(ports_steer(client->ports), remote, local) == client->core.id;
}

static const struct net_port_ops ops = { tx, share, owns, NULL };

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void client_open(struct client *c, uint32_t id, const struct machine_conf *machine,
                        struct ports *ports, struct pktpool *pool)
{
    struct net_port_info info = { 0 };
    struct net_conf conf = { .machine = machine, .ports = &info, .ops = &ops, .ctx = c };
    struct tcp_conf tcp = { .max_conns = 1024 };
    struct ipport echo = { ipaddr_v4(0x0a090001), 7 };
    struct port_info port;

    c->ports = ports;
    c->pool = pool;
    core_init(&c->core, id, pktpool_pool(pool), now_us(), 0);
    c->io = port_io_new(ports, id, c->core.pool);
    ports_info(ports, 0, &port);
    memcpy(info.mac, port.mac, 6);
    info.mtu = port.mtu;
    c->net = net_new(&c->core, &conf);
    c->tcp = tcp_new(&c->core, c->net, &tcp);
    check(c->io != NULL && c->net != NULL && c->tcp != NULL, "the clients' machine starts");
    check(tcp_listen(c->tcp, &echo, echo_accept, c) != NULL, "the echo listens");
}

static void start_call(struct client *c)
{
    struct ipport gateway = { ipaddr_v4(0x0a090002), 7 };
    struct call *call = &calls[c->core.id][c->started++];
    int err = 0;

    *call = (struct call){ .client = c, .seed = c->core.id * 1000 + c->started };
    check(tcp_connect(c->tcp, &gateway, NULL, NULL, &call_ops, call, &err) != NULL,
          "a connection can be opened");
}

static int client_run(void *arg)
{
    struct client *c = arg;

    while (!c->stop) {
        struct pkt *pkts[PORT_BURST];

        c->core.now_us = now_us();
        pktpool_look(c->pool);
        if (c->started < N_CONNS)
            start_call(c);
        wheel_run(&c->core.wheel, c->core.now_us, 256);
        for (uint32_t i = 0; i <= ports_count(c->ports); i++) {
            unsigned n = port_rx(c->io, i, pkts);

            if (n > 0)
                net_rx(c->net, pkts, n);
        }
        core_run_work(&c->core, 256);
        tcp_flush(c->tcp);
        port_flush(c->io);
        usleep(20); /* four threads on two cores */
    }
    return 0;
}

/* --- the gateway ------------------------------------------------------------------------------ */

static struct gateway gateway;
static struct ring *answers;
static struct tls_lib *libs[N_WORKERS];

static void gateway_open(struct snapshot *s, struct ports *ports, struct pktpool **pools)
{
    struct cfg_err err = { "" };
    struct secrets secrets;

    gateway.quiesce = quiesce_new(N_WORKERS);
    answers = ring_new(64, RING_MANY_PRODUCERS);
    gateway.env = (struct runtime_env){ .n_workers = N_WORKERS,
                                        .libs = libs,
                                        .stats = stats_new(N_WORKERS),
                                        .logfiles = logfiles_new() };
    check(secrets_load(s, &secrets, &err) == 0 && gateway_publish(&gateway, s, &secrets, &err) == 0,
          err.text);
    for (uint32_t i = 0; i < N_WORKERS; i++) {
        struct worker_conf conf = { .id = i,
                                    .snapshot = s,
                                    .ports = ports,
                                    .pool = pools[i],
                                    .quiesce = gateway.quiesce,
                                    .published = &gateway.published,
                                    .answers = answers };

        gateway.workers[i] = worker_new(&conf);
        check(gateway.workers[i] != NULL, "the gateway's workers start");
        gateway.n_workers++;
    }
}

static uint64_t in_use(void)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < N_WORKERS; i++)
        n += gateway.workers[i]->gauges.sessions + clients[i].echoes;
    return n;
}

/* What a connection that does not get on is waiting for. */
static void show_conn(struct tcp_conn *c, void *who)
{
    struct tcp_conn_info i;
    char local[IPPORT_STRLEN], remote[IPPORT_STRLEN];

    tcp_info(c, &i);
    fprintf(
        stderr,
        "%s: %s -> %s %s in %lu out %lu retransmits %lu cwnd %u rto %u us wnd %u/%u queues %u/%u\n",
        (const char *)who, ipport_str(&i.local, local), ipport_str(&i.remote, remote), i.state,
        (unsigned long)i.bytes_in, (unsigned long)i.bytes_out, (unsigned long)i.retransmits, i.cwnd,
        i.rto_us, i.snd_wnd, i.rcv_wnd, i.send_queue, i.recv_queue);
}

#define SHOW(name, text)                                                                           \
    if (t->name != 0)                                                                              \
        fprintf(stderr, #name " %lu ", (unsigned long)t->name);

static void show_stack(struct tcp *tcp, const struct port_counters *p, const char *who)
{
    const struct tcp_counters *t = tcp_counters(tcp);
    uint32_t at = 0;

    fprintf(stderr, "%s: received %lu sent %lu dropped %lu; ", who, (unsigned long)p->rx,
            (unsigned long)p->tx, (unsigned long)p->tx_dropped);
    TCP_COUNTERS(SHOW)
    fputc('\n', stderr);
    while (tcp_each(tcp, &at, 64, show_conn, (void *)(uintptr_t)who))
        continue;
}

static void show_what_hangs(void)
{
    for (uint32_t i = 0; i < N_WORKERS; i++) {
        show_stack(gateway.workers[i]->tcp, port_counters(gateway.workers[i]->io),
                   i == 0 ? "gateway 0" : "gateway 1");
        show_stack(clients[i].tcp, port_counters(clients[i].io), i == 0 ? "client 0" : "client 1");
    }
}

static void look_at_counters(void)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < N_WORKERS; i++) {
        const struct port_counters *g = port_counters(gateway.workers[i]->io),
                                   *c = port_counters(clients[i].io);
        const struct tcp_counters *t = tcp_counters(gateway.workers[i]->tcp);

        printf("gateway worker %u: %lu received, %lu redirected, %lu accepted, %lu opened\n", i,
               (unsigned long)g->rx, (unsigned long)g->redirect_out,
               (unsigned long)t->passive_opens, (unsigned long)t->active_opens);
        check(g->redirect_out == 0 && c->redirect_out == 0,
              "a port that steers leaves nothing to redirect");
        check(t->passive_opens > 0, "every worker has its share");
        check(t->resets_in == 0 && t->resets_out == 0,
              "no packet reached a worker that did not know it");
        total += t->passive_opens;
    }
    check(total == N_WORKERS * N_CONNS, "every connection was accepted once");
}

int main(void)
{
    struct cfg_err err = { "" };
    struct snapshot *s;
    struct machine_conf both, gm, cm, eal;
    struct pktpool *pools[2 * N_WORKERS];
    struct ports *gp, *cp;
    uint64_t start = now_us();
    int64_t held = 0;

    log_set_level(LOG_LVL_WARNING);
    check(file_read_text("ring", gateway_text, sizeof(gateway_text) - 1, &s, &err) == 0, err.text);
    both = s->machine;
    gm = cm = eal = both;
    gm.n_ports = cm.n_ports = 1;
    cm.ports[0] = both.ports[1];
    eal.n_workers = 2 * N_WORKERS; /* lcores of both machines */
    for (unsigned i = 0; i < eal.n_workers; i++)
        eal.cores[i] = -1;
    s->machine = gm;

    check(eal_start(&eal, &err) == 0, err.text);
    for (uint32_t i = 0; i < 2 * N_WORKERS; i++) {
        pools[i] = pktpool_new(i, 8192);
        check(pools[i] != NULL, "packets");
    }
    gp = ports_open(&gm, pools, &err);
    cp = ports_open(&cm, pools + N_WORKERS, &err);
    check(gp != NULL && cp != NULL, err.text);
    gateway_open(s, gp, pools);
    for (uint32_t i = 0; i < N_WORKERS; i++)
        client_open(&clients[i], i, &cm, cp, pools[N_WORKERS + i]);

    for (uint32_t i = 0; i < N_WORKERS; i++) {
        check(eal_launch(i, worker_run, gateway.workers[i]) == 0, "launch");
        check(eal_launch(N_WORKERS + i, client_run, &clients[i]) == 0, "launch");
    }
    while ((clients[0].done < N_CONNS || clients[1].done < N_CONNS || in_use() > 0) &&
           now_us() - start < DEADLINE_S * UINT64_C(1000000))
        usleep(1000);
    for (uint32_t i = 0; i < N_WORKERS; i++) {
        clients[i].stop = true;
        worker_stop(gateway.workers[i]);
    }
    for (uint32_t i = 0; i < 2 * N_WORKERS; i++)
        eal_join(i);

    if (clients[0].done < N_CONNS || clients[1].done < N_CONNS || in_use() > 0)
        show_what_hangs();
    check(clients[0].done == N_CONNS && clients[1].done == N_CONNS, "all is done in time");
    check(in_use() == 0, "sessions come home");
    look_at_counters();
    for (uint32_t i = 0; i < N_WORKERS; i++) {
        worker_free(gateway.workers[i]);
        tcp_free(clients[i].tcp);
        port_flush(clients[i].io);
        net_free(clients[i].net);
        port_io_free(clients[i].io);
    }
    gateway_fini(&gateway);
    quiesce_free(gateway.quiesce);
    ring_free(answers);
    stats_free(gateway.env.stats);
    logfiles_free(gateway.env.logfiles);
    ports_close(gp);
    ports_close(cp);
    snapshot_put(s);
    for (uint32_t i = 0; i < 2 * N_WORKERS; i++)
        held += pktpool_in_use(pools[i]);
    check(held == 0, "packets come home");
    puts("ok");
    return 0;
}
