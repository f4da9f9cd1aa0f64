/*
 * idle - what a connection costs that does nothing, and what it costs the others
 *
 *   isthmus-idle [--limit BYTES] [--wire SERVER CLIENT] [--rounds N] [CONNECTIONS...]
 *                                                                     default: 1000 200000
 *
 * One worker's stack, a client's on another core, a pair of ring ports between them; or, with
 * --wire, interfaces of the kernel (af_xdp and af_packet): the two ends of a veth, say. Through
 * rings the time is the stacks' own, a few microseconds; over a wire it is what somebody would see.
 * The client opens CONNECTIONS, waits until none of their timers runs any more, and then sends a
 * request on one of them, by chance, and waits for the answer, again and again (64 bytes each way).
 * A row for each number of connections: memory of one, packet buffers apart, and the time of a
 * request.
 *
 * The memory is what the process has grown by beyond two stacks for a few connections, with the
 * flow tables and what is prepared ahead (base/reserve.h); both sides hold the same structs, so
 * half of it is one side's. With --limit it is an error if that is more.
 */
#include "dataplane/base/log.h"
#include "dataplane/base/reserve.h"
#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp.h"
#include "drivers/eal.h"
#include "drivers/pktpool.h"
#include "drivers/port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REQUESTS 20000
#define WARM_UP 2000
#define LEN 64
#define AT_ONCE 64 /* handshakes in progress: the rings hold them */
#define PER_ADDRESS 25000
#define DEADLINE_US UINT64_C(120000000)
#define FEW 4096
#define OTHER_TIMERS 16 /* those of neighbours */

#define SERVER 0x0a090001
#define CLIENT 0x0a090100 /* and the addresses behind it */
#define PORT 7

struct side {
    struct core core;
    struct machine_conf machine;
    struct ports *ports;
    struct pktpool *pool;
    struct port_io *io;
    struct net *net;
    struct tcp *tcp;
};

static struct side server, client;
static _Atomic bool stop;

/* The client's, by its own thread; read by the main thread when it has stopped. */
static struct {
    uint32_t wanted, started, open;
    bool measuring;
    struct tcp_conn **conns;
    uint32_t n_done, got;
    uint64_t asked_cycles;
    uint32_t *cycles;
    _Atomic bool opened, done;
} run;

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "isthmus-idle: %s\n", what);
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Bytes of this process in memory, hugepages apart, which hold the packets. */
static uint64_t resident(void)
{
    unsigned long size, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    check(f != NULL && fscanf(f, "%lu %lu", &size, &pages) == 2, "/proc/self/statm cannot be read");
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- the server: what comes goes back */

static void echo(struct tcp_conn *c)
{
    struct pktq q;

    pktq_init(&q);
    while (tcp_recv(c, &q, LEN) > 0)
        tcp_send(c, &q);
}

static void server_closed(struct tcp_conn *c, int why)
{
}

static const struct tcp_ops echo_ops = { .on_readable = echo, .on_closed = server_closed };

static const struct tcp_ops *accept_one(void *ctx, struct tcp_conn *c, void **owner)
{
    *owner = NULL;
    return &echo_ops;
}

/* ---- the client */

static void ask(struct tcp_conn *c)
{
    static const uint8_t request[LEN] = { 'x' };
    struct pktq q;

    pktq_init(&q);
    check(pktq_append(&q, client.core.pool, request, LEN, LEN), "there is no packet left");
    run.got = 0;
    run.asked_cycles = eal_cycles();
    tcp_send(c, &q);
}

static void ask_somebody(void)
{
    ask(run.conns[(core_random(&client.core) >> 32) % run.wanted]);
}

static void on_open(struct tcp_conn *c)
{
    run.conns[run.open++] = c;
    run.opened = run.open == run.wanted;
}

static void on_readable(struct tcp_conn *c)
{
    struct pktq q;
    uint64_t cycles;

    pktq_init(&q);
    run.got += (uint32_t)tcp_recv(c, &q, UINT64_MAX);
    pktq_clear(&q);
    if (run.got < LEN)
        return;
    cycles = eal_cycles() - run.asked_cycles;
    if (run.n_done++ >= WARM_UP)
        run.cycles[run.n_done - 1 - WARM_UP] = (uint32_t)MIN(cycles, UINT32_MAX);
    run.done = run.n_done == WARM_UP + REQUESTS;
    if (!run.done)
        ask_somebody();
}

static void on_closed(struct tcp_conn *c, int why)
{
    check(false, "a connection was closed");
}

static const struct tcp_ops client_ops = { .on_open = on_open,
                                           .on_readable = on_readable,
                                           .on_closed = on_closed };

static void open_more(void)
{
    const struct ipport to = { ipaddr_v4(SERVER), PORT };

    while (run.started < run.wanted && run.started - run.open < AT_ONCE) {
        const struct ipport from = { .addr = ipaddr_v4(CLIENT + run.started / PER_ADDRESS) };
        int err;

        check(tcp_connect(client.tcp, &to, &from, NULL, &client_ops, NULL, &err) != NULL,
              "a connection cannot be opened");
        run.started++;
    }
}

/* ---- both */

static void turn(struct side *s)
{
    struct pkt *pkts[PORT_BURST];
    unsigned n;

    s->core.now_us = now_us();
    pktpool_look(s->pool);
    wheel_run(&s->core.wheel, s->core.now_us, 256);
    n = port_rx(s->io, 0, pkts);
    if (n > 0)
        net_rx(s->net, pkts, n);
    tcp_flush(s->tcp);
    port_flush(s->io);
}

static int server_run(void *arg)
{
    while (!stop)
        turn(&server);
    return 0;
}

static int client_run(void *arg)
{
    bool asked = false;

    while (!stop) {
        if (!run.opened)
            open_more();
        else if (run.measuring && !asked) {
            asked = true;
            ask_somebody();
        }
        turn(&client);
    }
    return 0;
}

static void tx(void *ctx, uint8_t port, struct pkt *p)
{
    p->port = port;
    port_tx(((struct side *)ctx)->io, p);
}

static const struct net_port_ops ops = { .tx = tx };

static void side_open(struct side *s, uint32_t id, uint32_t max_conns)
{
    const struct tcp_conf conf = { .max_conns = max_conns,
                                   .max_half_open = 2 * AT_ONCE,
                                   .keepalive_us = UINT64_MAX };
    const struct ipport local = { ipaddr_v4(SERVER), PORT };
    struct net_port_info info = { 0 };
    struct net_conf net = { .machine = &s->machine, .ports = &info, .ops = &ops, .ctx = s };
    struct port_info port;

    s->machine.tcp.max_connections = max_conns;
    core_init(&s->core, id, pktpool_pool(s->pool), now_us(), 0);
    s->io = port_io_new(s->ports, 0, s->core.pool);
    ports_info(s->ports, 0, &port);
    memcpy(info.mac, port.mac, 6);
    info.mtu = port.mtu;
    s->net = net_new(&s->core, &net);
    s->tcp = tcp_new(&s->core, s->net, &conf);
    check(s->io != NULL && s->net != NULL && s->tcp != NULL, "out of memory");
    if (s == &server)
        check(tcp_listen(s->tcp, &local, accept_one, NULL) != NULL, "the server does not listen");
}

static void side_close(struct side *s)
{
    tcp_free(s->tcp);
    port_flush(s->io);
    net_free(s->net);
    port_io_free(s->io);
}

/* ---- one row */

static int compare(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static double us_at(double share)
{
    return (double)run.cycles[(uint32_t)(share * REQUESTS)] * 1e6 / (double)eal_hz();
}

static void wait_until(_Atomic bool *what, const char *else_what)
{
    const uint64_t start = now_us();

    while (!*what) {
        check(now_us() - start < DEADLINE_US, else_what);
        reserves_prepare(); /* as often as isthmusd does; each time it takes a core from a side */
        usleep(10000);
    }
}

/* Opening has left timers behind, which find nothing to do when they fire. */
static void wait_for_timers(void)
{
    const uint64_t start = now_us();

    while (__atomic_load_n(&server.core.wheel.n, __ATOMIC_RELAXED) > OTHER_TIMERS ||
           __atomic_load_n(&client.core.wheel.n, __ATOMIC_RELAXED) > OTHER_TIMERS) {
        check(now_us() - start < DEADLINE_US, "timers of idle connections do not end");
        usleep(1000);
    }
}

static void start_both(void)
{
    stop = false;
    check(eal_launch(0, server_run, NULL) == 0 && eal_launch(1, client_run, NULL) == 0,
          "the threads do not start");
}

static void end_both(void)
{
    stop = true;
    eal_join(0);
    eal_join(1);
}

struct result {
    uint64_t bytes;
    double p50, p99;
};

static void print(const char *what, uint32_t n, const struct result *r, double first_p99)
{
    printf("%6s  %11u  %5lu  %7.1f  %7.1f  %5.2f\n", what, n, (unsigned long)r->bytes, r->p50,
           r->p99, r->p99 / first_p99);
    fflush(stdout);
}

/* What is there without a connection. */
static uint64_t empty_stacks(void)
{
    const uint64_t before = resident();
    uint64_t ret;

    side_open(&server, 0, FEW);
    side_open(&client, 1, FEW);
    reserves_prepare();
    ret = resident() - before;
    side_close(&client);
    side_close(&server);
    return ret;
}

static struct result measure(uint32_t n, uint64_t limit)
{
    const uint64_t empty = empty_stacks();
    struct result ret;
    uint64_t before;

    run.wanted = n;
    run.started = run.open = run.n_done = 0;
    run.opened = run.done = run.measuring = false;
    run.conns = calloc(n, sizeof(*run.conns));
    run.cycles = calloc(REQUESTS, sizeof(*run.cycles));
    check(run.conns != NULL && run.cycles != NULL, "out of memory");
    memset(run.conns, 1, n * sizeof(*run.conns));
    memset(run.cycles, 1, REQUESTS * sizeof(*run.cycles));
    before = resident();
    side_open(&server, 0, n);
    side_open(&client, 1, n);
    reserves_prepare();
    start_both();
    wait_until(&run.opened, "the connections were not all opened in time");
    wait_for_timers();
    end_both(); /* also: what has happened is visible here */
    before += MIN(empty, resident() - before);
    ret.bytes = (resident() - before) / 2 / n;

    run.measuring = true;
    start_both();
    wait_until(&run.done, "the requests were not all answered in time");
    end_both();
    qsort(run.cycles, REQUESTS, sizeof(*run.cycles), compare);
    ret.p50 = us_at(0.5);
    ret.p99 = us_at(0.99);
    check(tcp_n_conns(server.tcp) == n, "a connection is missing");
    /* Of a thousand, what is there once counts too much; of 20,000, two huge pages still do. */
    check(limit == 0 || n < 10000 || ret.bytes <= limit, "a connection costs more than the limit");
    side_close(&client);
    side_close(&server);
    free(run.conns);
    free(run.cycles);
    return ret;
}

/* ---- all rows, again and again: what a shared machine does meanwhile, it does to each of them */

#define NUMBERS_MAX 8
#define ROUNDS_MAX 99

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *of, uint32_t n)
{
    qsort(of, n, sizeof(*of), compare_doubles);
    return of[n / 2];
}

static void measure_all(const uint32_t *numbers, uint32_t n, uint32_t rounds, uint64_t limit)
{
    static double p50[NUMBERS_MAX][ROUNDS_MAX], p99[NUMBERS_MAX][ROUNDS_MAX];
    struct result r[NUMBERS_MAX];
    char what[8];

    printf(" round  connections  bytes   p50 us   p99 us  ratio\n");
    for (uint32_t round = 0; round < rounds; round++) {
        snprintf(what, sizeof(what), "%u", round + 1);
        for (uint32_t i = 0; i < n; i++) {
            r[i] = measure(numbers[i], limit);
            p50[i][round] = r[i].p50;
            p99[i][round] = r[i].p99;
            print(what, numbers[i], &r[i], p99[0][round]);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        r[i].p50 = median(p50[i], rounds);
        r[i].p99 = median(p99[i], rounds);
        print("median", numbers[i], &r[i], r[0].p99);
    }
}

/* ---- the machine */

/* @interface: NULL for a ring. @device: what it is opened with. */
static void set_machine(struct machine_conf *m, const char *port, const char *peer,
                        const char *interface, enum port_device device, uint32_t addr,
                        uint32_t n_addrs)
{
    struct port_conf *p = &m->ports[0];

    *m = (struct machine_conf){ .n_workers = 1, .memory_mb = 256, .packets = 8192, .n_ports = 1 };
    m->cores[0] = -1;
    m->hugepages = true;
    p->name = port;
    p->device = interface != NULL ? device : PORT_RING;
    p->interface = interface;
    p->ring_peer = interface != NULL ? NULL : peer;
    p->rx_descriptors = p->tx_descriptors = 1024;
    for (p->n_addrs = 0; p->n_addrs < n_addrs; p->n_addrs++)
        p->addrs[p->n_addrs] = (struct addr_conf){ ipaddr_v4(addr + p->n_addrs), 16, 0 };
}

static void start_dpdk(void)
{
    struct machine_conf eal = server.machine;
    struct cfg_err err = { "" };

    eal.n_workers = 2;
    eal.cores[0] = eal.cores[1] = -1;
    check(eal_start(&eal, &err) == 0, err.text);
    server.pool = pktpool_new(&server.machine, 0);
    client.pool = pktpool_new(&client.machine, 1);
    check(server.pool != NULL && client.pool != NULL, "no memory for packets");
    server.ports = ports_open(&server.machine, &server.pool, &err);
    check(server.ports != NULL, err.text);
    client.ports = ports_open(&client.machine, &client.pool, &err);
    check(client.ports != NULL, err.text);
}

int main(int argc, char **argv)
{
    uint32_t numbers[NUMBERS_MAX] = { 1000, 200000 }, n = 0, rounds = 1;
    const char *wire[2] = { NULL, NULL };
    uint64_t limit = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--limit") == 0 && i + 1 < argc)
            limit = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            rounds = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--wire") == 0 && i + 2 < argc)
            wire[0] = argv[++i], wire[1] = argv[++i];
        else if (n < ARRAY_SIZE(numbers))
            numbers[n++] = (uint32_t)strtoul(argv[i], NULL, 10);
    }
    n = n == 0 ? 2 : n;
    for (uint32_t i = 0; i < n; i++)
        check(numbers[i] > 0 && numbers[i] <= MACHINE_MAX_ADDRS * PER_ADDRESS && rounds > 0 &&
                  rounds <= ROUNDS_MAX,
              "usage: isthmus-idle [--limit BYTES] [--wire SERVER CLIENT] [--rounds N] "
              "[CONNECTIONS...], up to 400000 of them");
    log_set_level(LOG_LVL_WARNING);
    set_machine(&server.machine, "s", "c", wire[0], PORT_AF_XDP, SERVER, 1);
    set_machine(&client.machine, "c", "s", wire[1], PORT_AF_PACKET, CLIENT, MACHINE_MAX_ADDRS);
    start_dpdk();
    measure_all(numbers, n, rounds, limit);
    ports_close(client.ports);
    ports_close(server.ports);
    pktpool_free(client.pool);
    pktpool_free(server.pool);
    eal_stop();
    return 0;
}
