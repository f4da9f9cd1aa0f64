#include "bench/load/stack.h"

#include "dataplane/net/net.h"
#include "dataplane/worker/setup.h"
#include "drivers/eal.h"

#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#define TIMERS_PER_TURN 256
#define HANDSHAKES_PER_TURN 4
#define WORK_PER_TURN 512
#define LOOK_EVERY_US 1000
#define US_PER_S UINT64_C(1000000)

/* Turns without work before the first sleep; the second where whatever comes ends it. */
#define SPIN_TURNS 512
#define WAIT_TURNS 100
#define SLEEP_MIN_US 20
#define SLEEP_MAX_US 1000

/* --- what net needs from the ports ----------------------------------------------------------- */

static void net_port_tx(void *ctx, uint8_t port, struct pkt *p)
{
    struct stack *s = ctx;

    p->port = port;
    port_tx(s->io, p);
}

static void net_port_share(void *ctx, const struct pkt *p)
{
    struct stack *s = ctx;

    port_share(s->io, p);
}

static uint32_t net_port_local_ports(void *ctx, const struct ipport *remote,
                                     const struct ipaddr *local, uint32_t from, uint16_t *ports,
                                     uint32_t n)
{
    struct stack *s = ctx;

    return steer_ports(ports_steer(s->conf.ports), s->core.id, remote, local, from, ports, n);
}

static bool net_port_steer(void *ctx, struct pkt *p)
{
    struct stack *s = ctx;

    return port_steer(s->io, p);
}

static const struct net_port_ops port_ops = { .tx = net_port_tx,
                                              .share = net_port_share,
                                              .local_ports = net_port_local_ports,
                                              .steer = net_port_steer };

static struct net *new_net(struct stack *s)
{
    struct net_port_info info[MACHINE_MAX_PORTS] = { 0 };
    struct net_conf conf = { .machine = s->conf.machine,
                             .ports = info,
                             .ops = &port_ops,
                             .ctx = s,
                             .merge = s->conf.machine->tcp.receive_offload };

    setup_net_ports(info, s->conf.ports);
    return net_new(&s->core, &conf);
}

/* As in dataplane/worker: what is measured with is tuned as what is measured. No flight recorders:
 * nobody would read them. */
static struct tcp *new_tcp(struct stack *s)
{
    struct tcp_conf conf = setup_tcp(s->conf.machine, s->core.pool);

    conf.recorders = 0;
    return tcp_new(&s->core, s->net, &conf);
}

/* --- the clock ------------------------------------------------------------------------------- */

static uint64_t clock_us(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * US_PER_S + (uint64_t)t.tv_nsec / 1000;
}

/* The wall clock may be set: how far it is from ours is asked once a second. */
static void read_clock(struct stack *s)
{
    const uint64_t passed = eal_cycles() - s->tsc_start;

    s->core.now_us = s->us_start + passed / s->hz * US_PER_S + passed % s->hz * US_PER_S / s->hz;
    if (s->core.now_us - s->wall_checked_us > US_PER_S) {
        s->wall_checked_us = s->core.now_us;
        s->wall_offset_us = clock_us(CLOCK_REALTIME) - s->core.now_us;
    }
    s->core.wall_us = s->core.now_us + s->wall_offset_us;
}

/* --- life ------------------------------------------------------------------------------------ */

struct stack *stack_new(const struct stack_conf *conf)
{
    const uint32_t max = conf->machine->tcp.max_connections;
    struct stack *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->conf = *conf;
    s->hz = eal_hz();
    s->tsc_start = eal_cycles();
    s->us_start = clock_us(CLOCK_MONOTONIC);
    core_init(&s->core, conf->id, pktpool_pool(conf->pool), s->us_start, clock_us(CLOCK_REALTIME));
    read_clock(s);
    s->io = port_io_new(conf->ports, conf->id, s->core.pool);
    s->net = s->io != NULL ? new_net(s) : NULL;
    s->tcp = s->net != NULL ? new_tcp(s) : NULL;
    s->transports = s->tcp != NULL ? transports_new(&s->core, s->tcp, max) : NULL;
    s->http = s->transports != NULL ? http_new(&s->core, max) : NULL;
    if (s->http != NULL)
        return s;
    stack_free(s);
    return NULL;
}

void stack_free(struct stack *s)
{
    if (s == NULL)
        return;
    if (s->http != NULL)
        http_free(s->http);
    transports_free(s->transports);
    if (s->tcp != NULL)
        tcp_free(s->tcp);
    if (s->io != NULL)
        port_flush(s->io);
    if (s->net != NULL)
        net_free(s->net);
    port_io_free(s->io);
    free(s);
}

void stack_start(struct stack *s)
{
    prctl(PR_SET_TIMERSLACK, 1000UL); /* 1 us: or a sleep of 20 us lasts 70 */
    read_clock(s);
    net_start(s->net, s->core.id == 0); /* one speaks for all */
}

/* --- a turn ---------------------------------------------------------------------------------- */

static unsigned receive(struct stack *s)
{
    struct pkt *pkts[PORT_BURST];
    const uint32_t n_ports = ports_count(s->conf.ports);
    unsigned total = 0;

    for (uint32_t i = 0; i <= n_ports; i++) { /* the last: what other workers handed over */
        unsigned n = port_rx(s->io, i, pkts);

        if (n == 0)
            continue;
        net_rx(s->net, pkts, n);
        total += n;
    }
    return total;
}

unsigned stack_receive(struct stack *s)
{
    unsigned n;

    read_clock(s);
    if (s->core.now_us - s->pool_looked_us >= LOOK_EVERY_US) {
        s->pool_looked_us = s->core.now_us;
        pktpool_look(s->conf.pool);
    }
    wheel_run(&s->core.wheel, s->core.now_us, TIMERS_PER_TURN);
    n = receive(s);
    return n + transports_run(s->transports, HANDSHAKES_PER_TURN);
}

unsigned stack_send(struct stack *s)
{
    const unsigned n = core_run_work(&s->core, WORK_PER_TURN);

    tcp_flush(s->tcp);
    port_flush(s->io);
    return n;
}

static uint64_t sleep_us(const struct stack *s, bool awaited)
{
    const uint64_t next = wheel_next_us(&s->core.wheel);
    const bool woken = port_can_wait(s->io);
    uint64_t us = SLEEP_MIN_US;

    if (s->idle_turns < (woken ? WAIT_TURNS : SPIN_TURNS))
        return 0;
    if (!awaited)
        us = woken ? SLEEP_MAX_US : MIN(us * (s->idle_turns / SPIN_TURNS), SLEEP_MAX_US);
    if (next == UINT64_MAX)
        return us;
    return next > s->core.now_us ? MIN(us, next - s->core.now_us) : 0;
}

void stack_rest(struct stack *s, bool busy, bool awaited)
{
    s->idle_turns = busy || transports_pending(s->transports) || !list_is_empty(&s->core.work)
                        ? 0
                        : s->idle_turns + 1;
    if (s->conf.machine->idle == IDLE_ADAPTIVE)
        port_rest(s->io, sleep_us(s, awaited));
}
