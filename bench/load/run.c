#include "bench/load/run.h"

#include "bench/load/host.h"
#include "dataplane/base/reserve.h"
#include "drivers/eal.h"

#include <unistd.h>

#define TICK_US 5000
#define GRACE_US 500000 /* after the last request has timed out */

struct run {
    const struct load_run_conf *conf;
    struct load_times times;
    struct host hosts[2];
    uint32_t n_hosts;
    uint64_t hz, shown_at, shown_requests;
    uint64_t opening; /* cycles */
    bool started;
};

/* --- the line that shows life ---------------------------------------------------------------- */

static void read_stats(const struct run *r, struct load_stats *client, struct load_stats *server)
{
    load_stats_init(client);
    load_stats_init(server);
    for (uint32_t i = 0; i < r->n_hosts; i++)
        host_add_stats(&r->hosts[i], false, client, server);
}

static void show(struct run *r, const char *phase, const struct load_stats *s)
{
    const uint64_t now = eal_cycles();
    double seconds = (double)(now - r->shown_at) / (double)r->hz;

    if (r->conf->progress == NULL || seconds < 1)
        return;
    fprintf(r->conf->progress,
            "%-8s %9.0f requests/s  %8lu connections  %6lu pending  %6lu errors\n", phase,
            (double)(s->total_requests - r->shown_requests) / seconds, (unsigned long)s->open,
            (unsigned long)s->pending, (unsigned long)load_stats_errors(s));
    fflush(r->conf->progress);
    r->shown_at = now;
    r->shown_requests = s->total_requests;
}

/* A tick of waiting. Returns what the client has counted, or the server if there is none. */
static const struct load_stats *tick(struct run *r, const char *phase)
{
    static struct load_stats client, server;
    const struct load_stats *s = r->conf->conf->client != NULL ? &client : &server;

    usleep(TICK_US);
    reserves_prepare();
    read_stats(r, &client, &server);
    show(r, phase, s);
    return s;
}

/* --- the time line --------------------------------------------------------------------------- */

static uint64_t cycles(const struct run *r, uint64_t us)
{
    return (uint64_t)((double)us * (double)r->hz / 1e6);
}

static bool is_interrupted(const struct run *r)
{
    return r->conf->interrupt != NULL && *r->conf->interrupt;
}

static void wait_for_connections(struct run *r)
{
    const struct load_client_conf *c = r->conf->conf->client;
    const uint64_t start = eal_cycles(), end = start + cycles(r, c->ramp_us);

    while (!is_interrupted(r) && eal_cycles() < end && tick(r, "opening")->open < c->connections)
        continue;
    r->opening = eal_cycles() - start;
}

/* They do nothing: until a gateway has them for idle, and somebody has looked at its memory. */
static void settle(struct run *r)
{
    const uint64_t end = eal_cycles() + cycles(r, r->conf->conf->client->settle_us);

    while (!is_interrupted(r) && eal_cycles() < end)
        tick(r, "settling");
}

static void set(_Atomic uint64_t *moment, uint64_t at)
{
    atomic_store_explicit(moment, at, memory_order_relaxed);
}

/* The end before the beginning: who sees that it has begun knows how long it lasts. */
static void begin(struct run *r)
{
    const struct load_client_conf *c = r->conf->conf->client;
    const uint64_t now = eal_cycles();

    if (c != NULL) {
        const uint64_t from = now + cycles(r, c->warmup_us);

        set(&r->times.until, from + cycles(r, c->duration_us));
        set(&r->times.from, from);
    } else {
        set(&r->times.from, now);
    }
    atomic_store_explicit(&r->times.begin, now, memory_order_release);
}

static void wait_for_end(struct run *r)
{
    while (!is_interrupted(r) && eal_cycles() < load_time(&r->times.until))
        tick(r, eal_cycles() < load_time(&r->times.from) ? "warm-up" : "running");
    if (eal_cycles() < load_time(&r->times.until))
        set(&r->times.until, eal_cycles());
    if (load_time(&r->times.from) > load_time(&r->times.until))
        set(&r->times.from, load_time(&r->times.until));
}

/* Requests that were to begin before the end have their time for an answer. */
static void wait_for_answers(struct run *r)
{
    const struct load_client_conf *c = r->conf->conf->client;
    const uint64_t end = eal_cycles() + cycles(r, c->timeout_us + GRACE_US);
    unsigned quiet = 0;

    while (eal_cycles() < end && quiet < 3)
        quiet = tick(r, "ending")->pending == 0 ? quiet + 1 : 0;
}

static void follow_time_line(struct run *r)
{
    const bool has_client = r->conf->conf->client != NULL;

    r->shown_at = eal_cycles();
    if (has_client) {
        wait_for_connections(r);
        settle(r);
    }
    begin(r);
    wait_for_end(r);
    if (has_client)
        wait_for_answers(r);
}

/* --- start and stop -------------------------------------------------------------------------- */

static void set_hosts(struct run *r)
{
    const struct load_conf *c = r->conf->conf;

    r->hosts[r->n_hosts++] = (struct host){ .machine = &c->machine,
                                            .client = c->client,
                                            .server = c->client == NULL ? c->server : NULL,
                                            .times = &r->times };
    if (c->server_machine != NULL)
        r->hosts[r->n_hosts++] = (struct host){ .machine = c->server_machine,
                                                .server = c->server,
                                                .times = &r->times,
                                                .first = c->machine.n_workers };
}

static int each_host(struct run *r, int (*step)(struct host *h, struct cfg_err *err),
                     struct cfg_err *err)
{
    int rc = 0;

    for (uint32_t i = 0; i < r->n_hosts && rc == 0; i++)
        rc = step(&r->hosts[i], err);
    return rc;
}

static int start(struct run *r, struct cfg_err *err)
{
    int rc = each_host(r, host_load_secret, err);

    if (rc == 0)
        rc = eal_start(&r->conf->conf->all, err);
    if (rc < 0)
        return rc;
    r->started = true;
    r->hz = eal_hz();
    rc = each_host(r, host_open_packets, err);
    if (rc == 0)
        rc = each_host(r, host_open_ports, err);
    if (rc == 0)
        rc = each_host(r, host_open_workers, err);
    if (rc == 0) {
        reserves_prepare();
        for (uint32_t i = r->n_hosts; i > 0 && rc == 0; i--) /* the server first */
            rc = host_launch(&r->hosts[i - 1], err);
    }
    return rc;
}

static void stop(struct run *r)
{
    atomic_store_explicit(&r->times.stop, true, memory_order_release);
    for (uint32_t i = 0; r->started && i < r->n_hosts; i++)
        host_join(&r->hosts[i]);
}

static void read_result(struct run *r, struct load_result *ret)
{
    const struct load_conf *c = r->conf->conf;

    ret->has_client = c->client != NULL;
    ret->has_server = c->server != NULL;
    ret->workers = c->machine.n_workers;
    ret->seconds = (double)(load_time(&r->times.until) - load_time(&r->times.from)) / (double)r->hz;
    ret->opening = (double)r->opening / (double)r->hz;
    load_stats_init(&ret->client);
    load_stats_init(&ret->server);
    for (uint32_t i = 0; i < r->n_hosts; i++)
        host_add_stats(&r->hosts[i], true, &ret->client, &ret->server);
}

/* Only rings give back all that they hold: drivers of the kernel's interfaces keep what waits to be
 * filled. */
static bool gives_back(const struct machine_conf *all)
{
    for (uint32_t i = 0; i < all->n_ports; i++)
        if (all->ports[i].device != PORT_RING)
            return false;
    return true;
}

static int close_all(struct run *r, struct cfg_err *err)
{
    int64_t held = 0;

    for (uint32_t i = 0; i < r->n_hosts; i++)
        host_close_workers(&r->hosts[i]);
    if (!r->started)
        return 0;
    for (uint32_t i = 0; i < r->n_hosts; i++)
        host_close_ports(&r->hosts[i]);
    for (uint32_t i = 0; i < r->n_hosts; i++)
        held += host_close_packets(&r->hosts[i]);
    eal_stop();
    return held == 0 || !gives_back(&r->conf->conf->all)
               ? 0
               : cfg_err_set(err, NULL, "%ld packets did not come home", (long)held);
}

int load_run(const struct load_run_conf *conf, struct load_result *ret, struct cfg_err *err)
{
    static struct run r;
    int rc, closed;

    r.conf = conf;
    load_times_init(&r.times);
    set_hosts(&r);
    rc = start(&r, err);
    if (rc == 0)
        follow_time_line(&r);
    stop(&r);
    if (rc == 0)
        read_result(&r, ret);
    closed = close_all(&r, err);
    return rc < 0 ? rc : closed;
}
