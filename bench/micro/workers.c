/*
 * isthmus-micro-workers - what a request costs a gateway of one worker, or of two
 *
 * usage: isthmus-micro-workers [--requests N] [--connections N] [--body BYTES] [--upload] WORKERS
 *
 * A gateway of real workers (dataplane/worker) between the client and the server of isthmus-bench,
 * each on a machine of its own with as many workers. Ring ports join them, whose demultiplexer does
 * what RSS does in a NIC. TLS 1.3 in, mutual TLS 1.3 out, HTTP/1.1 keep-alive, bodies of 1 KiB: the
 * main scenario of bench/README.md.
 *
 *   client --- 10.1.0.2:443 ---> gateway --- 10.2.0.1:9000 ---> server
 *
 * With --body it is so large instead, and with --upload it is the request that has one. A large
 * body is on its way for many rounds: requests are counted as they end, and come from each
 * connection as fast as windows let them.
 *
 * All take turns in one thread, by a clock that goes on by so much a round: nothing here depends on
 * how fast it goes. Each worker of the gateway has the same number of connections, and each of them
 * one request a round, so no turn is empty, and all have the same to do (of small bodies).
 *
 * A tool that counts instructions is to count counted_turn(), the workers' turns once connections
 * are open. What a NIC would do, and a ring port does in its place (a hash and, of what TCP holds,
 * a copy), is in it: the same for one worker and for two.
 *
 *   valgrind --tool=callgrind --instr-atstart=no --toggle-collect=counted_turn \
 *       isthmus-micro-workers 2
 */
#include "bench/load/host.h"
#include "config/file/file.h"
#include "dataplane/base/log.h"
#include "dataplane/base/reserve.h"
#include "dataplane/worker/loop.h"
#include "dataplane/worker/publish.h"
#include "drivers/eal.h"
#include "tests/lib/certs.h"

#include <stdlib.h>
#include <time.h>
#ifdef HAVE_CALLGRIND
#include <valgrind/callgrind.h>
#else /* it counts from the start, and takes longer for it */
#define CALLGRIND_START_INSTRUMENTATION (void)0
#endif

#define MOST_WORKERS 2
#define MOST_CONNECTIONS 32 /* of each worker: what comes in a turn is a burst */
/* Rounds that answer all, before those that count: the first hashes of a port are checked
 * (steer.h). */
#define WARM_UP 64
#define ROUNDS_MOST 3000         /* until there is a connection for each request */
#define BULK_ROUNDS_MOST 1000000 /* until large bodies have gone through */
#define BULK_WARM_UP 2           /* bodies of each connection: its windows have grown */
#define SMALL 1024               /* no larger body is answered in its round by all */
#define ROUND_US 100
#define US_PER_S UINT64_C(1000000)
#define ID "spiffe://cluster.local/ns/bench/sa/bench"

static uint32_t n_workers, n_connections = 8; /* of each worker */
static uint64_t n_requests = 2048;            /* of each worker */
static uint32_t body = SMALL;
static bool is_upload;

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
}

/* --- the clock: the linker gives these in the place of what they are named for ---------------- */

static uint64_t now_us = US_PER_S, round_us = ROUND_US;

uint64_t __wrap_eal_cycles(void);
uint64_t __wrap_eal_hz(void);
int __wrap_clock_gettime(clockid_t id, struct timespec *t);

uint64_t __wrap_eal_cycles(void)
{
    return now_us;
}

uint64_t __wrap_eal_hz(void)
{
    return US_PER_S;
}

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
    static time_t began;

    if (began == 0)
        began = time(NULL); /* certificates are of our days */
    t->tv_sec = (time_t)(now_us / US_PER_S) + (id == CLOCK_REALTIME ? began : 0);
    t->tv_nsec = (long)(now_us % US_PER_S * 1000);
    return 0;
}

/* --- the gateway ------------------------------------------------------------------------------ */

/* The ports of all three machines. */
static const char conf_machine[] =
    "machine = { workers = %u; memory = \"256MiB\"; packets = 16384; ports = ("
    "  { name = \"down\"; device = \"ring\"; ring_peer = \"client\"; addresses = [ \"10.1.0.2/24\" "
    "]; },"
    "  { name = \"up\"; device = \"ring\"; ring_peer = \"server\"; addresses = [ \"10.2.0.2/24\" "
    "]; },"
    "  { name = \"client\"; device = \"ring\"; ring_peer = \"down\"; addresses = [ \"10.1.0.1/24\" "
    "]; },"
    "  { name = \"server\"; device = \"ring\"; ring_peer = \"up\"; addresses = [ \"10.2.0.1/24\" "
    "]; } );"
    "  tcp = { max_connections = 1024; }; };";

/* %s: the folder of the certificates. */
static const char conf_gateway[] =
    "secrets = ( { name = \"edge\"; certificate_chain = \"%s/cert.pem\"; "
    "  private_key = \"%s/key.pem\"; trusted_ca = \"%s/ca.pem\"; } );"
    "clusters = ( { name = \"backend\"; endpoints = [ \"10.2.0.1:9000\" ]; "
    "  max_connections = 1024; max_pending = 1024; tls = { mode = \"mutual\"; secret = \"edge\"; "
    "  min_version = \"1.3\"; peer_ids = [ \"" ID "\" ]; }; } );"
    "route_configs = ( { name = \"r\"; virtual_hosts = ( { name = \"backend\"; domains = [ \"*\" "
    "]; "
    "  routes = ( { prefix = \"/\"; cluster = \"backend\"; } ); } ); } );"
    "listeners = ( { name = \"tls\"; address = \"10.1.0.2:443\"; filter_chains = ( { "
    "  tls = { mode = \"simple\"; secret = \"edge\"; min_version = \"1.3\"; "
    "  session_tickets = false; }; http = { route_config = \"r\"; }; } ); } );";

static struct gateway gateway;
static struct ports *ports;
static struct pktpool *pools[MOST_WORKERS];
static struct tls_lib *libs[MOST_WORKERS];
static struct ring *answers;

static void gateway_publish_first(struct snapshot *s)
{
    struct cfg_err err = { "" };
    struct secrets secrets;

    gateway.env = (struct runtime_env){ .n_workers = n_workers,
                                        .libs = libs,
                                        .stats = stats_new(n_workers),
                                        .logfiles = logfiles_new() };
    check(secrets_load(s, NULL, &secrets, &err) == 0 &&
              gateway_publish(&gateway, s, &secrets, &err) == 0,
          err.text);
}

static void gateway_open(struct snapshot *s)
{
    gateway.quiesce = quiesce_new(n_workers);
    answers = ring_new(64, RING_MANY_PRODUCERS);
    for (uint32_t i = 0; i < n_workers; i++) {
        libs[i] = tls_lib_new();
        check(libs[i] != NULL, "OpenSSL starts");
    }
    gateway_publish_first(s);
    for (uint32_t i = 0; i < n_workers; i++) {
        const struct worker_conf conf = { .id = i,
                                          .snapshot = s,
                                          .ports = ports,
                                          .pool = pools[i],
                                          .lib = libs[i],
                                          .quiesce = gateway.quiesce,
                                          .published = &gateway.published,
                                          .answers = answers };

        gateway.workers[i] = worker_new(&conf);
        check(gateway.workers[i] != NULL, "the gateway's workers start");
        gateway.n_workers++;
        worker_begin(gateway.workers[i]);
    }
}

static void gateway_close(void)
{
    for (uint32_t i = 0; i < n_workers; i++) {
        worker_end(gateway.workers[i]);
        worker_free(gateway.workers[i]);
    }
    gateway_fini(&gateway);
    quiesce_free(gateway.quiesce);
    ring_free(answers);
    stats_free(gateway.env.stats);
    logfiles_free(gateway.env.logfiles);
    for (uint32_t i = 0; i < n_workers; i++)
        tls_lib_free(libs[i]);
}

/* --- the other machines ----------------------------------------------------------------------- */

static struct load_times times;
static struct peer_id_conf anybody = { .text = ID };
static struct load_tls_conf client_tls = { .conf = { .mode = TLS_MODE_SIMPLE,
                                                     .sni = "bench.example",
                                                     .trust = "client",
                                                     .min_version = TLS_VERSION_1_3,
                                                     .max_version = TLS_VERSION_1_3,
                                                     .trust_domain = "cluster.local" } };
static struct load_tls_conf server_tls = { .conf = { .mode = TLS_MODE_MUTUAL,
                                                     .secret = "server",
                                                     .min_version = TLS_VERSION_1_3,
                                                     .max_version = TLS_VERSION_1_3,
                                                     .trust_domain = "cluster.local",
                                                     .n_peer_ids = 1,
                                                     .peer_ids = &anybody } };
static struct load_client_conf client_conf = { .n_targets = 1,
                                               .targets = { { .port = 443 } },
                                               .protocol = LOAD_HTTP1,
                                               .method = "GET",
                                               .path = "/",
                                               .host = "bench.example",
                                               .timeout_us = 3600 * US_PER_S,
                                               .connect_timeout_us = 3600 * US_PER_S,
                                               .tls = &client_tls };
static struct load_server_conf server_conf = {
    .listen = { .port = 9000 }, .protocol = LOAD_HTTP1, .body = SMALL, .tls = &server_tls
};
static struct host client = { .client = &client_conf, .times = &times };
static struct host server = { .server = &server_conf, .times = &times };

static void make_certs(struct test_dir *dir)
{
    struct test_cert root, leaf;

    test_dir_init(dir);
    test_cert_make(&root, &(struct test_cert_conf){ .cn = "root", .is_ca = true });
    test_cert_make(&leaf,
                   &(struct test_cert_conf){
                       .cn = "bench", .issuer = &root, .uri = { ID }, .dns = { "bench.example" } });
    test_write_certs(dir, "ca.pem", (const struct test_cert *const[]){ &root, NULL });
    test_write_certs(dir, "cert.pem", (const struct test_cert *const[]){ &leaf, NULL });
    test_write_key(dir, "key.pem", &leaf, NULL);
    test_cert_free(&root);
    test_cert_free(&leaf);
}

static void configure_hosts(const struct test_dir *dir)
{
    const struct secret_conf all = { .name = "server",
                                     .certificate_chain = strdup(test_path(dir, "cert.pem")),
                                     .private_key = strdup(test_path(dir, "key.pem")),
                                     .trusted_ca = strdup(test_path(dir, "ca.pem")) };

    server_tls.secret = all;
    client_tls.secret = (struct secret_conf){ .name = "client", .trusted_ca = all.trusted_ca };
    client_conf.targets[0].addr = ipaddr_v4(0x0a010002);
    client_conf.connections = n_workers * n_connections;
    if (is_upload) {
        client_conf.method = "PUT";
        client_conf.request_body = body;
    } else {
        server_conf.body = body;
    }
    server_conf.listen.addr = ipaddr_v4(0x0a020001);
}

static void host_open(struct host *h)
{
    struct cfg_err err = { "" };

    check(host_load_secret(h, &err) == 0 && host_open_packets(h, &err) == 0 &&
              host_open_ports(h, &err) == 0 && host_open_workers(h, &err) == 0,
          err.text);
    for (uint32_t i = 0; i < n_workers; i++)
        stack_start(h->workers[i].stack);
}

/* --- turns ------------------------------------------------------------------------------------ */

struct seen {
    uint64_t turns, empty, requests;
};

static struct seen seen[MOST_WORKERS];

__attribute__((noinline)) static void counted_turn(struct worker *w)
{
    struct seen *s = &seen[w->core.id];

    s->turns++;
    s->empty += worker_turn(w) == 0;
}

static void plain_turn(struct worker *w)
{
    (void)worker_turn(w);
}

static void host_turns(struct host *h)
{
    for (uint32_t i = 0; i < n_workers; i++)
        host_worker_turn(&h->workers[i]);
}

static void gateway_turns(void (*turn)(struct worker *w))
{
    for (uint32_t i = 0; i < n_workers; i++)
        turn(gateway.workers[i]);
}

/* Clients read answers and ask again; requests go through, are answered, and answers go back. */
static void take_turns(void (*turn)(struct worker *w))
{
    now_us += round_us;
    reserves_prepare();
    host_turns(&client);
    gateway_turns(turn);
    host_turns(&server);
    gateway_turns(turn);
}

/* --- the same number of connections for each worker ------------------------------------------- */

/* RSS decides whose a connection is: those that a worker has too many of end, and others come. */
static void share_out(struct client *c, uint32_t *n)
{
    struct list *pos;

    list_for_each(pos, &c->conns)
    {
        struct client_conn *conn = container_of(pos, struct client_conn, all);
        uint32_t owner;

        if (conn->state != CLIENT_IDLE)
            continue;
        owner = steer_tuple(ports_steer(ports), transport_local(conn->transport),
                            &client_conf.targets[0]);
        if (n[owner] == n_connections)
            client_die(conn);
        else
            n[owner]++;
    }
}

static bool all_are_open(void)
{
    uint32_t n[MOST_WORKERS] = { 0 };
    bool all = true;

    for (uint32_t i = 0; i < n_workers; i++)
        share_out(client.workers[i].client, n);
    for (uint32_t i = 0; i < n_workers; i++)
        all &= n[i] == n_connections;
    return all;
}

static void open_connections(void)
{
    unsigned left = ROUNDS_MOST;

    while (!all_are_open() && left-- > 0)
        take_turns(plain_turn);
    check(left > 0, "connections are open before long");
}

/* --- what was done ---------------------------------------------------------------------------- */

static uint64_t answered(void)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < n_workers; i++) {
        check(load_stats_errors(&client.workers[i].client->stats) == 0, "there is no error");
        n += client.workers[i].client->stats.requests;
    }
    return n;
}

/* Did a round answer a request of every connection? */
static bool round_is_full(void)
{
    const uint64_t before = answered();

    take_turns(plain_turn);
    return answered() - before == n_workers * n_connections;
}

/* Rounds until @n more requests are answered. */
static void answer(uint64_t n, void (*turn)(struct worker *w))
{
    const uint64_t before = answered();
    unsigned left = BULK_ROUNDS_MOST;

    while (answered() - before < n && left-- > 0)
        take_turns(turn);
    check(left > 0, "requests are answered before long");
}

static bool is_bulk(void)
{
    return body > SMALL;
}

/* SYNs beyond those that wait for the neighbour's address are lost, and sent again after a second.
 */
static void begin_load(void)
{
    unsigned full = 0, left = ROUNDS_MOST;

    atomic_store(&times.from, now_us);
    atomic_store(&times.begin, now_us);
    round_us = 10 * ROUND_US;
    if (is_bulk()) {
        answer(BULK_WARM_UP * n_workers * n_connections, plain_turn);
        round_us = ROUND_US;
        return;
    }
    while (full < WARM_UP && left-- > 0)
        full = round_is_full() ? full + 1 : 0;
    check(full == WARM_UP, "each round answers all before long");
    round_us = ROUND_US;
}

static uint64_t read_by(uint32_t worker)
{
    return http_counters(gateway.workers[worker]->http)->requests;
}

/* A round for each request of a connection. */
static void answer_in_rounds(void)
{
    const uint64_t rounds = (n_requests + n_connections - 1) / n_connections;
    const uint64_t before = answered();

    for (uint64_t i = 0; i < rounds; i++)
        take_turns(counted_turn);
    check(answered() - before == rounds * n_connections * n_workers, "each round answers all");
}

/* Bytes of the client's, both ways. */
static uint64_t carried(void)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < n_workers; i++)
        n += client.workers[i].client->stats.bytes_in + client.workers[i].client->stats.bytes_out;
    return n;
}

static void run_load(void)
{
    const uint64_t before = answered(), carried_before = carried();

    for (uint32_t i = 0; i < n_workers; i++)
        seen[i].requests = read_by(i);
    CALLGRIND_START_INSTRUMENTATION;
    if (is_bulk())
        answer(n_requests * n_workers, counted_turn);
    else
        answer_in_rounds();
    for (uint32_t i = 0; i < n_workers; i++)
        seen[i].requests = read_by(i) - seen[i].requests;
    printf("%lu requests, %.1f MiB\n", (unsigned long)(answered() - before),
           (double)(carried() - carried_before) / (1 << 20));
}

static void show(const struct worker *w)
{
    const struct seen *s = &seen[w->core.id];
    const struct port_counters *p = port_counters(w->io);

    printf("worker %u: %lu requests, %lu connections in, %lu out, %lu turns, %lu of them empty; "
           "%lu packets redirected, %lu at the wrong worker, %lu dropped\n",
           w->core.id, (unsigned long)s->requests, (unsigned long)w->gauges.sessions,
           (unsigned long)w->gauges.upstream_connections, (unsigned long)s->turns,
           (unsigned long)s->empty, (unsigned long)p->redirect_out, (unsigned long)p->misdirected,
           (unsigned long)p->tx_dropped);
    check(is_bulk() || s->requests == seen[0].requests, "each worker has the same to do");
    check(w->gauges.sessions == n_connections, "of as many connections");
    check(w->gauges.upstream_connections == n_connections, "and as many connections out");
    check(p->redirect_out == 0 && p->misdirected == 0 && p->tx_dropped == 0,
          "each packet comes to the worker that has its connection");
}

/* --- start and end ---------------------------------------------------------------------------- */

static struct snapshot *read_conf(const struct test_dir *dir)
{
    struct cfg_err err = { "" };
    struct snapshot *s;
    char text[4096];
    int n;

    n = snprintf(text, sizeof(text), conf_machine, n_workers);
    snprintf(text + n, sizeof(text) - (size_t)n, conf_gateway, dir->path, dir->path, dir->path);
    check(file_read_text("workers", text, strlen(text), &s, &err) == 0, err.text);
    return s;
}

/* Machines of @all's ports: two are the gateway's, one is the client's, one the server's. */
static void split(const struct machine_conf *all, struct machine_conf machines[3])
{
    static const uint32_t first[] = { 0, 2, 3 }, n[] = { 2, 1, 1 };

    for (unsigned i = 0; i < 3; i++) {
        machines[i] = *all;
        machines[i].n_ports = n[i];
        memmove(machines[i].ports, all->ports + first[i], n[i] * sizeof(all->ports[0]));
    }
}

static void start(struct snapshot *s, struct machine_conf machines[3])
{
    struct cfg_err err = { "" };

    check(eal_start(&s->machine, &err) == 0, err.text);
    split(&s->machine, machines);
    s->machine = machines[0];
    for (uint32_t i = 0; i < n_workers; i++) {
        pools[i] = pktpool_new(&s->machine, i);
        check(pools[i] != NULL, "packets");
    }
    ports = ports_open(&s->machine, pools, &err);
    check(ports != NULL, err.text);
    gateway_open(s);
    client.machine = &machines[1];
    client.first = n_workers;
    server.machine = &machines[2];
    server.first = 2 * n_workers;
    host_open(&server);
    host_open(&client);
}

static void stop(void)
{
    int64_t held = 0;

    for (uint32_t i = 0; i < n_workers; i++)
        host_worker_stop(&client.workers[i]);
    gateway_turns(plain_turn);
    for (uint32_t i = 0; i < n_workers; i++)
        host_worker_stop(&server.workers[i]);
    gateway_close();
    host_close_workers(&client);
    host_close_workers(&server);
    ports_close(ports);
    host_close_ports(&client);
    host_close_ports(&server);
    for (uint32_t i = 0; i < n_workers; i++)
        held += pktpool_in_use(pools[i]);
    for (uint32_t i = 0; i < n_workers; i++)
        pktpool_free(pools[i]);
    held += host_close_packets(&client) + host_close_packets(&server);
    check(held == 0, "packets come home");
    eal_stop();
}

static bool read_args(int argc, char **argv)
{
    int i = 1;

    for (; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--upload") == 0)
            is_upload = true;
        else if (strcmp(argv[i], "--requests") == 0)
            n_requests = strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--connections") == 0)
            n_connections = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--body") == 0)
            body = (uint32_t)strtoul(argv[++i], NULL, 10);
        else
            return false;
    }
    n_workers = i < argc ? (uint32_t)strtoul(argv[i], NULL, 10) : 0;
    return i + 1 == argc && n_workers > 0 && n_workers <= MOST_WORKERS && n_connections > 0 &&
           n_connections <= MOST_CONNECTIONS && n_requests > 0;
}

int main(int argc, char **argv)
{
    struct machine_conf machines[3];
    struct test_dir dir;
    struct snapshot *s;

    if (!read_args(argc, argv)) {
        fprintf(stderr,
                "usage: isthmus-micro-workers [--requests N] [--connections N] [--body BYTES] "
                "[--upload] WORKERS (1 or 2)\n");
        return 2;
    }
    log_set_level(LOG_LVL_WARNING);
    load_times_init(&times);
    make_certs(&dir);
    configure_hosts(&dir);
    s = read_conf(&dir);
    start(s, machines);
    test_dir_fini(&dir);

    open_connections();
    begin_load();
    run_load();
    for (uint32_t i = 0; i < n_workers; i++)
        show(gateway.workers[i]);

    stop();
    snapshot_put(s);
    return 0;
}
