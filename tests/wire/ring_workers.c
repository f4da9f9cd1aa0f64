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
 * What is for the kernel (segments to port 22) reaches the first worker, whichever got it. There is
 * no interface of the kernel's behind it here: it is dropped there, and counted.
 *
 *   clients  --- 10.9.0.2:7 ---> gateway --- 10.9.0.1:7 ---> echo, on the clients' machine
 *
 * With --bad-wire a third machine stands in between, which relays every frame and
 * does to it what a bad wire does: 1 % loss, 20 ms for a round trip, 1 % reordered.
 */
#include "config/file/file.h"
#include "dataplane/base/bytes.h"
#include "dataplane/base/log.h"
#include "dataplane/net/net.h"
#include "dataplane/net/punt.h"
#include "dataplane/worker/publish.h"
#include "drivers/eal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define N_WORKERS 2
#define N_CONNS 16 /* of each client worker: their windows fit the rings, so nothing is lost */
#define N_PUNTS 32 /* of each client worker, from as many ports */
#define BYTES (1024 * 1024)
#define DEADLINE_S 60 /* it takes one, over a bad wire ten; a hang is told */
#define N_MACHINES 3  /* the gateway, the clients', and the wire if it is bad */

#define MACHINE(ports)                                                                             \
    "machine = { file_prefix = \"isthmus-ring\"; workers = 2; memory = \"256MiB\"; packets = "     \
    "8192; ports = (" ports ");  };"
#define PORT(name, peer, address)                                                                  \
    "{ name = \"" name "\"; device = \"ring\"; ring_peer = \"" peer "\"; addresses = [\"" address  \
    "\"]; }"
#define PROXY                                                                                      \
    "clusters = ( { name = \"echo\"; endpoints = [\"10.9.0.1:7\"]; } );"                           \
    "listeners = ( { name = \"in\"; address = \"10.9.0.2:7\"; filter_chains = ( { tcp = { "        \
    "cluster = \"echo\"; }; } ); } );"

/* The gateway's port, the clients', and those of the wire (which has addresses as ports must). */
static const char good_text[] =
    MACHINE(PORT("g", "c", "10.9.0.2/24") "," PORT("c", "g", "10.9.0.1/24")) PROXY;
static const char bad_text[] =
    MACHINE(PORT("g", "wg", "10.9.0.2/24") "," PORT("c", "wc", "10.9.0.1/24") "," PORT(
        "wg", "g", "10.9.1.1/24") "," PORT("wc", "c", "10.9.2.1/24")) PROXY;

/* Of the threads that only play a part, so that the gateway's have a core: there may be but two. */
#define PAUSE_US 20

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
    uint32_t started, n_punts;
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

static uint32_t local_ports(void *ctx, const struct ipport *remote, const struct ipaddr *local,
                            uint32_t from, uint16_t *ports, uint32_t n)
{
    struct client *client = ctx;

    return steer_ports(ports_steer(client->ports), client->core.id, remote, local, from, ports, n);
}

static const struct net_port_ops ops = { tx, share, local_ports, NULL };

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

/* A lone SYN to a port that is the kernel's: nobody will answer. */
static void send_punt(struct client *c)
{
    const struct ipaddr gateway = ipaddr_v4(0x0a090002);
    struct ipaddr local = { .family = IP_NONE };
    struct pkt *p = pkt_alloc(c->core.pool);
    struct net_dst dst;
    uint8_t *tcp;

    check(p != NULL && net_route(c->net, &gateway, &local, &dst) == 0, "there is a way");
    tcp = memset(pkt_put(p, 20), 0, 20);
    put16(tcp, (uint16_t)(1024 + c->n_punts++));
    put16(tcp + 2, 22);
    tcp[12] = 0x50;
    tcp[13] = 2;
    net_tx(c->net, &dst, &local, &gateway, 6, p);
    net_dst_put(c->net, &dst);
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
        else if (c->done > 0 && c->n_punts < N_PUNTS) /* the neighbour is known */
            send_punt(c);
        wheel_run(&c->core.wheel, c->core.now_us, 256);
        for (uint32_t i = 0; i <= ports_count(c->ports); i++) {
            unsigned n = port_rx(c->io, i, pkts);

            if (n > 0)
                net_rx(c->net, pkts, n);
        }
        core_run_work(&c->core, 256);
        tcp_flush(c->tcp);
        port_flush(c->io);
        usleep(PAUSE_US);
    }
    return 0;
}

/* --- the wire --------------------------------------------------------------------------------- */

#define DELAY_US 10000
#define LOSS 100 /* one in so many */
#define REORDER 100
#define MOST_ON_WIRE 4096 /* packets: half of the wire's pool */

/* Frames of one queue on their way in one direction, in the order in which they are due. */
struct cable {
    uint32_t head, n;
    uint64_t due[MOST_ON_WIRE];
    struct pkt *pkts[MOST_ON_WIRE];
};

/* One thread has both queues: a frame leaves by the queue that it came in on, as its hash is the
 * same on both sides. */
static struct wire {
    struct port_io *ios[N_WORKERS];
    struct cable cables[N_WORKERS][2]; /* by the port that it leads to */
    uint64_t rng;
    uint64_t n_frames, n_lost, n_reordered, n_full;
    _Atomic bool stop;
} wire = { .rng = 7 };

static bool one_in(uint32_t n)
{
    return hash_mix(wire.rng++) % n == 0;
}

/* A frame comes in. ARP is asked three times, and then the neighbour is not there: not what is
 * tested here. */
static void wire_take(struct port_io *io, struct cable *c, struct pkt *p, uint64_t now)
{
    bool is_ip = p->len > 14 && p->data[12] == 0x08 && p->data[13] == 0x00;

    wire.n_frames++;
    if (is_ip && one_in(LOSS)) {
        wire.n_lost++;
        pkt_free(p);
    } else if (is_ip && one_in(REORDER)) { /* overtakes all that waits */
        wire.n_reordered++;
        port_tx(io, p);
    } else if (c->n == MOST_ON_WIRE) {
        wire.n_full++;
        pkt_free(p);
    } else {
        uint32_t at = (c->head + c->n++) % MOST_ON_WIRE;

        c->pkts[at] = p;
        c->due[at] = now + DELAY_US;
    }
}

static void wire_relay(uint32_t w, uint8_t from, uint64_t now)
{
    struct cable *c = &wire.cables[w][!from];
    struct port_io *io = wire.ios[w];
    struct pkt *pkts[PORT_BURST];
    unsigned n = port_rx(io, from, pkts);

    for (unsigned i = 0; i < n; i++) {
        pkts[i]->port = !from;
        wire_take(io, c, pkts[i], now);
    }
    while (c->n > 0 && c->due[c->head] <= now) {
        port_tx(io, c->pkts[c->head]);
        c->head = (c->head + 1) % MOST_ON_WIRE;
        c->n--;
    }
}

static int wire_run(void *arg)
{
    while (!wire.stop) {
        uint64_t now = now_us();

        for (uint32_t w = 0; w < N_WORKERS; w++) {
            wire_relay(w, 0, now);
            wire_relay(w, 1, now);
            port_flush(wire.ios[w]);
        }
        usleep(PAUSE_US);
    }
    return 0;
}

static void wire_open(struct ports *ports, struct pktpool **pools)
{
    for (uint32_t w = 0; w < N_WORKERS; w++) {
        wire.ios[w] = port_io_new(ports, w, pktpool_pool(pools[w]));
        check(wire.ios[w] != NULL, "the wire starts");
    }
}

static void wire_close(void)
{
    for (uint32_t w = 0; w < N_WORKERS; w++) {
        for (unsigned to = 0; to < 2; to++) {
            struct cable *c = &wire.cables[w][to];

            for (; c->n > 0; c->n--, c->head = (c->head + 1) % MOST_ON_WIRE)
                pkt_free(c->pkts[c->head]);
        }
        port_flush(wire.ios[w]);
        port_io_free(wire.ios[w]);
    }
}

static void look_at_wire(void)
{
    printf("the wire: %lu frames, %lu lost, %lu reordered, %lu beyond its length\n",
           (unsigned long)wire.n_frames, (unsigned long)wire.n_lost,
           (unsigned long)wire.n_reordered, (unsigned long)wire.n_full);
    check(wire.n_lost > wire.n_frames / 200 && wire.n_reordered > wire.n_frames / 200,
          "the wire was as bad as it should be");
}

/* --- the gateway ------------------------------------------------------------------------------ */

static struct gateway gateway;
static struct ring *answers;
static struct tls_lib *libs[N_WORKERS];

static struct punt *punt;

/* As if the gateway's port had an interface of the kernel's. */
static void punt_open(const struct machine_conf *gateway_conf)
{
    struct machine_conf m = *gateway_conf;

    m.ports[0].kernel_interface = "none";
    m.punt_rate = m.punt_burst = 1000000;
    m.n_punts = 1;
    m.punts[0] = (struct punt_conf){ .protocol = 6, .n_ports = 1, .ports = { 22 } };
    punt = punt_new(&m, 0);
    check(punt != NULL, "a punt");
}

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
    check(secrets_load(s, NULL, &secrets, &err) == 0 &&
              gateway_publish(&gateway, s, &secrets, &err) == 0,
          err.text);
    for (uint32_t i = 0; i < N_WORKERS; i++) {
        struct worker_conf conf = { .id = i,
                                    .snapshot = s,
                                    .ports = ports,
                                    .pool = pools[i],
                                    .quiesce = gateway.quiesce,
                                    .published = &gateway.published,
                                    .punt = punt,
                                    .answers = answers };

        gateway.workers[i] = worker_new(&conf);
        check(gateway.workers[i] != NULL, "the gateway's workers start");
        gateway.n_workers++;
    }
}

/* By the rule, without copies of what is said about neighbours. The first worker counts. */
static uint64_t punted(void)
{
    return __atomic_load_n(&punt->counters[0].to_kernel, __ATOMIC_RELAXED);
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

/*
 * On a bad wire a RST is no proof of a packet at the wrong worker: the acknowledgement that ends a
 * connection may overtake others, and what comes after the end is answered with RST. One before
 * the end would break the connection, and on_closed() tells.
 */
static void look_at_counters(bool bad)
{
    uint64_t total = 0, resets = 0, resent = 0;

    for (uint32_t i = 0; i < N_WORKERS; i++) {
        const struct port_counters *g = port_counters(gateway.workers[i]->io),
                                   *c = port_counters(clients[i].io);
        const struct tcp_counters *t = tcp_counters(gateway.workers[i]->tcp);

        printf("gateway worker %u: %lu received, %lu redirected, %lu accepted, %lu opened\n", i,
               (unsigned long)g->rx, (unsigned long)g->redirect_out,
               (unsigned long)t->passive_opens, (unsigned long)t->active_opens);
        check(g->redirect_out == 0 && c->redirect_out == 0,
              "a port that steers leaves nothing to redirect");
        check(g->misdirected == 0 && g->hash_wrong == 0 && c->hash_wrong == 0,
              "a port with our key hashes as we do");
        check(t->passive_opens > 0, "every worker has its share");
        resets += t->resets_in + t->resets_out;
        resent += t->retrans_segs + tcp_counters(clients[i].tcp)->retrans_segs;
        total += t->passive_opens;
    }
    /* A late copy, such as a tail loss probe, may find its connection closed. Nothing else may. */
    check(bad || resets <= resent, "no packet reached a worker that did not know it");
    check(total == N_WORKERS * N_CONNS, "every connection was accepted once");
    check(port_counters(gateway.workers[1]->io)->punt_out > 0 &&
              port_counters(gateway.workers[1]->io)->kernel_tx == 0,
          "the second worker punts to the first");
    check(bad || punted() == N_WORKERS * N_PUNTS, "all that is the kernel's reaches the first");
}

/* Machine @i of the test: @n of @all's ports, from @first. */
static struct ports *open_machine(struct machine_conf *m, const struct machine_conf *all,
                                  uint32_t first, uint32_t n, struct pktpool **pools)
{
    struct cfg_err err = { "" };
    struct ports *p;

    *m = *all;
    m->n_ports = n;
    memmove(m->ports, all->ports + first, n * sizeof(m->ports[0]));
    p = ports_open(m, pools, &err);
    check(p != NULL, err.text);
    return p;
}

static void start_dpdk(const struct machine_conf *all, struct pktpool **pools)
{
    struct machine_conf eal = *all;
    struct cfg_err err = { "" };

    eal.n_workers = N_MACHINES * N_WORKERS; /* lcores of every machine */
    for (uint32_t i = 0; i < eal.n_workers; i++)
        eal.cores[i] = -1;
    check(eal_start(&eal, &err) == 0, err.text);
    for (uint32_t i = 0; i < eal.n_workers; i++) {
        pools[i] = pktpool_new(all, i);
        check(pools[i] != NULL, "packets");
    }
}

static bool all_done(bool bad)
{
    return (bad || punted() == N_WORKERS * N_PUNTS) && clients[0].done == N_CONNS &&
           clients[1].done == N_CONNS && in_use() == 0;
}

static void run_all(bool bad)
{
    uint64_t start = now_us();

    for (uint32_t i = 0; i < N_WORKERS; i++) {
        check(eal_launch(i, worker_run, gateway.workers[i]) == 0, "launch");
        check(eal_launch(N_WORKERS + i, client_run, &clients[i]) == 0, "launch");
    }
    if (bad)
        check(eal_launch(2 * N_WORKERS, wire_run, NULL) == 0, "launch");
    while (!all_done(bad) && now_us() - start < DEADLINE_S * UINT64_C(1000000))
        usleep(1000);
    for (uint32_t i = 0; i < N_WORKERS; i++) {
        clients[i].stop = true;
        worker_stop(gateway.workers[i]);
    }
    wire.stop = true;
    for (uint32_t i = 0; i <= 2 * N_WORKERS; i++)
        eal_join(i);
    printf("after %lu ms\n", (unsigned long)(now_us() - start) / 1000);

    if (!all_done(bad))
        show_what_hangs();
    check(clients[0].done == N_CONNS && clients[1].done == N_CONNS, "all is done in time");
    check(in_use() == 0, "sessions come home");
}

static void close_all(struct pktpool **pools, struct ports **ports, uint32_t n_ports)
{
    int64_t held = 0;

    for (uint32_t i = 0; i < N_WORKERS; i++) {
        worker_free(gateway.workers[i]);
        tcp_free(clients[i].tcp);
        port_flush(clients[i].io);
        net_free(clients[i].net);
        port_io_free(clients[i].io);
    }
    punt_free(punt);
    gateway_fini(&gateway);
    quiesce_free(gateway.quiesce);
    ring_free(answers);
    stats_free(gateway.env.stats);
    logfiles_free(gateway.env.logfiles);
    for (uint32_t i = 0; i < n_ports; i++)
        ports_close(ports[i]);
    for (uint32_t i = 0; i < N_MACHINES * N_WORKERS; i++)
        held += pktpool_in_use(pools[i]);
    check(held == 0, "packets come home");
    for (uint32_t i = 0; i < N_MACHINES * N_WORKERS; i++)
        pktpool_free(pools[i]);
    eal_stop();
}

int main(int argc, char **argv)
{
    bool bad = argc > 1 && strcmp(argv[1], "--bad-wire") == 0;
    const char *text = bad ? bad_text : good_text;
    struct pktpool *pools[N_MACHINES * N_WORKERS];
    struct machine_conf all, machines[N_MACHINES];
    struct ports *ports[N_MACHINES];
    struct cfg_err err = { "" };
    struct snapshot *s;

    log_set_level(LOG_LVL_WARNING);
    check(file_read_text("ring", text, strlen(text), &s, &err) == 0, err.text);
    all = s->machine;
    start_dpdk(&all, pools);
    ports[0] = open_machine(&machines[0], &all, 0, 1, pools);
    ports[1] = open_machine(&machines[1], &all, 1, 1, pools + N_WORKERS);
    if (bad) {
        ports[2] = open_machine(&machines[2], &all, 2, 2, pools + 2 * N_WORKERS);
        wire_open(ports[2], pools + 2 * N_WORKERS);
    }
    s->machine = machines[0];
    punt_open(&machines[0]);
    gateway_open(s, ports[0], pools);
    for (uint32_t i = 0; i < N_WORKERS; i++)
        client_open(&clients[i], i, &machines[1], ports[1], pools[N_WORKERS + i]);

    run_all(bad);
    look_at_counters(bad);
    if (bad) {
        look_at_wire();
        wire_close();
    }
    close_all(pools, ports, bad ? 3 : 2);
    snapshot_put(s);
    puts("ok");
    return 0;
}
