/* What a worker is made of, without what is above TCP, and the loop around it. */
#include "tests/agent/agent.h"

#include "drivers/eal.h"
#include "drivers/pktpool.h"
#include "drivers/port.h"
#include "tests/agent/sock.h"

#include <errno.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>

#define TIMERS_PER_TURN 256
#define WORK_PER_TURN 512
#define LOOK_EVERY_US 1000

/* How long to sleep when nothing comes: a script in progress is answered at once. */
#define BUSY_US 200000
#define SLEEP_BUSY_US 50
#define SLEEP_US 500

static uint64_t clock_us(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void agent_read_clock(struct agent *a)
{
    a->core.now_us = clock_us(CLOCK_MONOTONIC);
    a->core.wall_us = clock_us(CLOCK_REALTIME);
}

/* ---- what net needs from the port */

static void port_ops_tx(void *ctx, uint8_t port, struct pkt *p)
{
    struct agent *a = ctx;

    p->port = port;
    port_tx(a->io, p);
}

static const struct net_port_ops port_ops = { .tx = port_ops_tx };

static struct net *make_net(struct agent *a)
{
    struct port_info port;
    struct net_port_info info = { 0 };
    struct net_conf conf = {
        .machine = &a->settings.machine, .ports = &info, .ops = &port_ops, .ctx = a
    };

    ports_info(a->ports, 0, &port);
    memcpy(info.mac, port.mac, 6);
    info.mtu = port.mtu;
    info.tx_ip_csum = port.tx_ip_csum;
    info.tx_tcp_csum = port.tx_tcp_csum;
    return net_new(&a->core, &conf);
}

static bool set_neighbors(struct agent *a)
{
    const struct settings *s = &a->settings;

    for (uint32_t i = 0; i < s->n_neighbors; i++)
        if (net_set_static_neigh(a->net, &s->neighbors[i].of, s->neighbors[i].mac) < 0)
            return false;
    return true;
}

int agent_start(struct agent *a)
{
    const struct machine_conf *m = &a->settings.machine;
    struct cfg_err err = { "" };
    int rc;

    list_init(&a->clients);
    list_init(&a->parked);
    list_init(&a->socks);
    a->epoll = a->listener = -1;
    rc = eal_start(m, &err);
    if (rc < 0)
        goto err;
    a->pool = pktpool_new(m, 0);
    if (a->pool != NULL)
        a->ports = ports_open(m, &a->pool, &err);
    if (a->ports == NULL)
        goto err;
    core_init(&a->core, 0, pktpool_pool(a->pool), clock_us(CLOCK_MONOTONIC),
              clock_us(CLOCK_REALTIME));
    a->io = port_io_new(a->ports, 0, a->core.pool);
    if (a->io == NULL)
        goto err;
    a->net = make_net(a);
    if (a->net == NULL || !set_neighbors(a)) {
        snprintf(err.text, sizeof(err.text), "an address, gateway or neighbor makes no sense");
        goto err;
    }
    a->tcp = tcp_new(&a->core, a->net, &a->settings.tcp);
    if (a->tcp == NULL)
        goto err;
    net_start(a->net, true);
    port_flush(a->io);
    return calls_open(a);

err:
    fprintf(stderr, "isthmus-agent: %s\n", err.text[0] != '\0' ? err.text : "out of memory");
    return -EIO;
}

void agent_stop(struct agent *a)
{
    if (a->epoll >= 0)
        calls_close(a);
    if (a->tcp != NULL) {
        socks_close(a);
        agent_flush(a);
        tcp_free(a->tcp);
        port_flush(a->io);
    }
    net_free(a->net);
    if (a->io != NULL)
        port_io_free(a->io);
    if (a->ports != NULL)
        ports_close(a->ports);
    if (a->pool != NULL)
        pktpool_free(a->pool);
    eal_stop();
}

/* ---- the loop */

void agent_flush(struct agent *a)
{
    core_run_work(&a->core, WORK_PER_TURN);
    tcp_flush(a->tcp);
    port_flush(a->io);
}

/* Something has happened: whoever waits for it goes on before the next thing happens. */
static void settle(struct agent *a)
{
    a->woken = true;
    agent_flush(a);
    calls_retry(a);
}

static bool receive(struct agent *a)
{
    struct pkt *pkts[PORT_BURST];
    const unsigned n = port_rx(a->io, 0, pkts);

    for (unsigned i = 0; i < n; i++) {
        agent_read_clock(a);
        net_rx(a->net, &pkts[i], 1);
        settle(a);
    }
    return n > 0;
}

static uint64_t sleep_us(const struct agent *a, uint64_t quiet_us)
{
    const uint64_t next = wheel_next_us(&a->core.wheel), now = a->core.now_us;
    const uint64_t us = quiet_us < BUSY_US ? SLEEP_BUSY_US : SLEEP_US;

    if (next == UINT64_MAX)
        return us;
    return next > now ? MIN(us, next - now) : 0;
}

void agent_run(struct agent *a, const volatile bool *stop)
{
    uint64_t busy_us = 0, looked_us = 0;
    bool busy = true;

    prctl(PR_SET_TIMERSLACK, 1000UL); /* 1 us: or a sleep of 50 us lasts 100 */
    while (!*stop) {
        agent_read_clock(a);
        if (busy)
            busy_us = a->core.now_us;
        if (a->core.now_us - looked_us > LOOK_EVERY_US) {
            looked_us = a->core.now_us;
            pktpool_look(a->pool);
        }
        if (wheel_run(&a->core.wheel, a->core.now_us, TIMERS_PER_TURN) > 0)
            settle(a);
        busy = receive(a);
        agent_read_clock(a);
        busy |= calls_run(a, busy ? 0 : sleep_us(a, a->core.now_us - busy_us));
        calls_retry(a);
    }
}
