#include "dataplane/worker/worker.h"

#include "dataplane/base/own.h"
#include "dataplane/net/net.h"
#include "dataplane/worker/loop.h"
#include "dataplane/worker/setup.h"
#include "drivers/eal.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define MAILBOX 64
#define US_PER_S UINT64_C(1000000)

/* --- what net needs from the ports ----------------------------------------------------------- */

static void net_port_tx(void *ctx, uint8_t port, struct pkt *p)
{
    struct worker *w = ctx;
    const enum stage was = stage_enter(&w->core.stages, STAGE_TX);

    p->port = port;
    port_tx(w->io, p);
    stage_leave(&w->core.stages, was);
}

static void net_port_share(void *ctx, const struct pkt *p)
{
    struct worker *w = ctx;

    port_share(w->io, p);
}

static uint32_t net_port_local_ports(void *ctx, const struct ipport *remote,
                                     const struct ipaddr *local, uint32_t from, uint16_t *ports,
                                     uint32_t n)
{
    struct worker *w = ctx;

    return steer_ports(ports_steer(w->conf.ports), w->core.id, remote, local, from, ports, n);
}

static bool net_port_steer(void *ctx, struct pkt *p)
{
    struct worker *w = ctx;

    return port_steer(w->io, p);
}

static void net_port_punt(void *ctx, struct pkt *p)
{
    struct worker *w = ctx;

    if (w->core.id == 0)
        net_to_kernel(w->net, &p, 1);
    else
        port_punt(w->io, p);
}

static void net_port_to_kernel(void *ctx, struct pkt *p)
{
    struct worker *w = ctx;

    port_kernel_tx(w->io, p);
}

static const struct net_port_ops port_ops = { .tx = net_port_tx,
                                              .share = net_port_share,
                                              .local_ports = net_port_local_ports,
                                              .steer = net_port_steer,
                                              .punt = net_port_punt,
                                              .to_kernel = net_port_to_kernel };

static struct net *new_net(struct worker *w)
{
    struct net_port_info info[MACHINE_MAX_PORTS] = { 0 };
    struct net_conf conf = { .machine = &w->conf.snapshot->machine,
                             .ports = info,
                             .ops = &port_ops,
                             .ctx = w,
                             .merge = w->conf.snapshot->machine.tcp.receive_offload,
                             .punt = w->conf.punt };

    setup_net_ports(info, w->conf.ports);
    return net_new(&w->core, &conf);
}

static struct tcp *new_tcp(struct worker *w)
{
    const struct tcp_conf conf = setup_tcp(&w->conf.snapshot->machine, w->core.pool);

    return tcp_new(&w->core, w->net, &conf);
}

static struct proxy *new_proxy(struct worker *w)
{
    struct proxy_conf conf = {
        .core = &w->core,
        .tcp = w->tcp,
        .transports = w->transports,
        .http = w->http,
        .upstreams = w->upstreams,
        .log = w->log,
        .max_sessions = w->conf.snapshot->machine.tcp.max_connections,
    };

    return proxy_new(&conf);
}

/* --- the clock ------------------------------------------------------------------------------- */

static uint64_t clock_us(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * US_PER_S + (uint64_t)t.tv_nsec / 1000;
}

static void start_clock(struct worker *w)
{
    w->hz = eal_hz();
    w->tsc_start = eal_cycles();
    w->us_start = clock_us(CLOCK_MONOTONIC);
}

/* The wall clock may be set: how far it is from ours is asked once a second. */
void read_clock(struct worker *w, uint64_t tsc)
{
    uint64_t passed = tsc - w->tsc_start;

    w->core.now_us = w->us_start + passed / w->hz * US_PER_S + passed % w->hz * US_PER_S / w->hz;
    if (w->core.now_us - w->wall_checked_us > US_PER_S) {
        w->wall_checked_us = w->core.now_us;
        w->wall_offset_us = clock_us(CLOCK_REALTIME) - w->core.now_us;
    }
    w->core.wall_us = w->core.now_us + w->wall_offset_us;
}

/* --- life ------------------------------------------------------------------------------------ */

struct worker *worker_new(const struct worker_conf *conf)
{
    uint32_t max = conf->snapshot->machine.tcp.max_connections;
    struct worker *w = own_alloc(1, sizeof(*w));

    if (w == NULL)
        return NULL;
    w->conf = *conf;
    start_clock(w);
    core_init(&w->core, conf->id, pktpool_pool(conf->pool), w->us_start, clock_us(CLOCK_REALTIME));
    read_clock(w, eal_cycles());
    w->mailbox = ring_new(MAILBOX, RING_ONE_PRODUCER);
    w->log = accesslog_ring_new();
    w->io = port_io_new(conf->ports, conf->id, w->core.pool);
    if (w->mailbox == NULL || w->log == NULL || w->io == NULL)
        goto err_worker;
    w->net = new_net(w);
    w->tcp = w->net != NULL ? new_tcp(w) : NULL;
    w->transports = w->tcp != NULL ? transports_new(&w->core, w->tcp, max) : NULL;
    if (w->transports != NULL)
        transports_use_tls(w->transports, conf->lib);
    w->http = http_new(&w->core, max);
    if (w->transports == NULL || w->http == NULL)
        goto err_worker;
    w->upstreams = upstreams_new(&w->core, w->transports, w->http, max);
    w->proxy = w->upstreams != NULL ? new_proxy(w) : NULL;
    if (w->proxy == NULL)
        goto err_worker;
    return w;

err_worker:
    worker_free(w);
    return NULL;
}

void worker_free(struct worker *w)
{
    /* Those above let go of those below. */
    proxy_free(w->proxy);
    upstreams_free(w->upstreams);
    if (w->http != NULL)
        http_free(w->http);
    transports_free(w->transports);
    if (w->tcp != NULL)
        tcp_free(w->tcp);
    if (w->io != NULL)
        port_flush(w->io);
    if (w->net != NULL)
        net_free(w->net);
    port_io_free(w->io);
    if (w->runtime != NULL)
        pin_put(&w->runtime->pins, w->core.id);
    if (w->adopting != NULL)
        pin_put(&w->adopting->pins, w->core.id);
    accesslog_ring_free(w->log);
    ring_free(w->mailbox);
    free(w);
}

void worker_stop(struct worker *w)
{
    atomic_store_explicit(&w->stop, true, memory_order_release);
    worker_wake(w);
}

void worker_wake(struct worker *w)
{
    port_wake(w->conf.ports, w->core.id);
}

bool worker_post(struct worker *w, struct mail *m)
{
    if (!ring_push(w->mailbox, m))
        return false;
    worker_wake(w);
    return true;
}

struct mail *worker_unread(struct worker *w)
{
    void *letter = w->unfinished;

    w->unfinished = NULL;
    if (letter == NULL && ring_pop_burst(w->mailbox, &letter, 1) == 0)
        return NULL;
    return letter;
}
