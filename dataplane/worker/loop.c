/* One turn, and what lies between two turns. */
#include "dataplane/worker/worker.h"

#include "dataplane/net/net.h"
#include "dataplane/worker/loop.h"
#include "drivers/eal.h"
#include "tls/helper.h"

#include <sys/prctl.h>

#define TIMERS_PER_TURN 256
#define HANDSHAKES_PER_TURN 2
#define WORK_PER_TURN 512
#define LONG_TURN_US 200
#define GAUGES_EVERY 1024 /* idle turns; busy ones always */

#define LOOK_EVERY_US 1000

/*
 * Where whatever comes wakes the worker. To sleep and be woken takes some 20 us, as long as
 * WAIT_TURNS turns: it looks as long where the next packet is likely to come meanwhile, or hardly
 * at all.
 */
#define WAIT_TURNS 100
#define WAIT_TURNS_LEAST 4
#define WAIT_GAP_US 50 /* of late, from which on it is not likely */
#define WAIT_US 5000

/* Where it has to look: the same before the first sleep. */
#define SPIN_TURNS 512
#define SLEEP_MIN_US 20
#define SLEEP_MAX_US 1000
#define SLEEP_STEP 64 /* sleeps before the next length */
#define SLEEP_LONG_US 2000
#define LONG_IDLE_TURNS 6000 /* then of this length: about five seconds */

static void check_mirror(struct worker *w)
{
    /* pairs with the release in publish_mirror(): it is complete */
    const struct net_mirror *m =
        atomic_load_explicit(&w->conf.published->mirror, memory_order_acquire);

    if (likely(m == w->mirror))
        return;
    net_set_mirror(w->net, m);
    w->mirror = m;
}

static unsigned read_mail(struct worker *w)
{
    void *letter = w->unfinished;

    if (letter == NULL && ring_pop_burst(w->mailbox, &letter, 1) == 0)
        return 0;
    w->unfinished = letter;
    if (((struct mail *)letter)->fn(w, letter)) {
        w->unfinished = NULL;
        ring_push(w->conf.answers, letter);
    }
    return 1;
}

static unsigned receive(struct worker *w)
{
    struct pkt *pkts[PORT_BURST];
    uint32_t n_ports = ports_count(w->conf.ports);
    unsigned total = 0;

    for (uint32_t i = 0; i <= n_ports; i++) { /* the last: what other workers handed over */
        enum stage was = stage_enter(&w->core.stages, STAGE_RX);
        unsigned n = port_rx(w->io, i, pkts);

        stage_leave(&w->core.stages, was);
        if (n == 0)
            continue;
        was = stage_enter(&w->core.stages, STAGE_NET);
        net_rx(w->net, pkts, n);
        stage_leave(&w->core.stages, was);
        total += n;
    }
    return total;
}

/* What others have for the kernel, and what the kernel has sent. */
static unsigned exchange_with_kernel(struct worker *w)
{
    struct pkt *pkts[PORT_BURST];
    unsigned total = port_punted(w->io, pkts);

    net_to_kernel(w->net, pkts, total);
    for (uint32_t i = 0; i < ports_count(w->conf.ports); i++) {
        const unsigned n = port_kernel_rx(w->io, i, pkts);

        net_from_kernel(w->net, pkts, n);
        total += n;
    }
    return total;
}

static void read_gauges(struct worker *w)
{
    w->gauges.connections = tcp_n_conns(w->tcp);
    w->gauges.time_wait = tcp_n_time_wait(w->tcp);
    w->gauges.sessions = proxy_n_sessions(w->proxy);
    w->gauges.streams = proxy_n_streams(w->proxy);
    w->gauges.upstream_connections = upstreams_n_conns(w->upstreams);
}

static void look_at_pool(struct worker *w)
{
    if (w->core.now_us - w->pool_looked_us < LOOK_EVERY_US)
        return;
    w->pool_looked_us = w->core.now_us;
    pktpool_look(w->conf.pool);
}

static unsigned run_streams(struct worker *w)
{
    return transports_run(w->transports, HANDSHAKES_PER_TURN) +
           core_run_work(&w->core, WORK_PER_TURN);
}

static unsigned flush_tcp(struct worker *w)
{
    tcp_flush(w->tcp);
    return 0;
}

static unsigned flush_ports(struct worker *w)
{
    port_flush(w->io);
    return 0;
}

static inline unsigned in_stage(struct worker *w, enum stage stage,
                                unsigned (*fn)(struct worker *w))
{
    const enum stage was = stage_enter(&w->core.stages, stage);
    const unsigned n = fn(w);

    stage_leave(&w->core.stages, was);
    return n;
}

/* Returns how much there was to do, apart from the timers that fired. */
static unsigned turn(struct worker *w, unsigned *timers)
{
    unsigned n = worker_adopt(w);

    check_mirror(w);
    look_at_pool(w);
    n += read_mail(w);
    *timers = wheel_run(&w->core.wheel, w->core.now_us, TIMERS_PER_TURN);
    n += receive(w);
    if (w->conf.punt != NULL && w->core.id == 0)
        n += exchange_with_kernel(w);
    n += in_stage(w, STAGE_PROXY, run_streams);
    in_stage(w, STAGE_TCP, flush_tcp);
    in_stage(w, STAGE_TX, flush_ports);
    quiesce_report(w->conf.quiesce, w->core.id);
    return n;
}

static void account(struct worker *w, uint64_t cycles, bool busy)
{
    uint64_t us = cycles * 1000000 / w->hz;

    w->counters.turns++;
    if (!busy) {
        w->counters.idle_cycles += cycles;
        if (w->counters.turns % GAUGES_EVERY == 0)
            read_gauges(w);
        return;
    }
    w->counters.busy_cycles += cycles;
    w->counters.long_turns += us > LONG_TURN_US;
    w->counters.longest_turn_us = MAX(w->counters.longest_turn_us, us);
    read_gauges(w);
}

uint64_t loop_wait_us(uint64_t idle_turns, uint64_t gap_us)
{
    return idle_turns < (gap_us < WAIT_GAP_US ? WAIT_TURNS : WAIT_TURNS_LEAST) ? 0 : WAIT_US;
}

/* A long silence counts no more than a short one, or a burst after it would find it asleep again
 * and again. */
uint64_t loop_gap_us(uint64_t gap_us, uint64_t us)
{
    return (7 * gap_us + MIN(us, 4 * WAIT_GAP_US)) / 8;
}

uint64_t loop_sleep_us(uint64_t idle_turns)
{
    uint64_t step, us = SLEEP_MIN_US;

    if (idle_turns < SPIN_TURNS)
        return 0;
    if (idle_turns >= LONG_IDLE_TURNS)
        return SLEEP_LONG_US;
    for (step = (idle_turns - SPIN_TURNS) / SLEEP_STEP; step > 0 && us < SLEEP_MAX_US; step--)
        us *= 2;
    return MIN(us, SLEEP_MAX_US);
}

static void rest(struct worker *w, uint64_t idle_turns)
{
    uint64_t next = wheel_next_us(&w->core.wheel), before;
    uint64_t us =
        port_can_wait(w->io) ? loop_wait_us(idle_turns, w->gap_us) : loop_sleep_us(idle_turns);

    if (next != UINT64_MAX)
        us = next > w->core.now_us ? MIN(us, next - w->core.now_us) : 0;
    before = eal_cycles();
    if (!port_rest(w->io, us))
        return;
    w->counters.sleeps++;
    w->counters.sleep_us += (eal_cycles() - before) * 1000000 / w->hz;
}

static void learn_gap(struct worker *w, bool busy)
{
    if (!busy) {
        w->idle_since_us = w->idle_since_us != 0 ? w->idle_since_us : w->core.now_us;
    } else if (w->idle_since_us != 0) {
        w->gap_us = loop_gap_us(w->gap_us, w->core.now_us - w->idle_since_us);
        w->idle_since_us = 0;
    }
}

void worker_begin(struct worker *w)
{
    quiesce_online(w->conf.quiesce, w->core.id);
    read_clock(w, eal_cycles());
    net_start(w->net, w->core.id == 0); /* one speaks for all */
}

unsigned worker_turn(struct worker *w)
{
    const uint64_t before = eal_cycles();
    unsigned n, timers;

    read_clock(w, before);
    stages_begin(&w->core.stages, w->counters.turns % STAGE_EVERY == 0);
    n = turn(w, &timers);
    stages_end(&w->core.stages, n + timers > 0);
    account(w, eal_cycles() - before, n + timers > 0);
    return n;
}

void worker_end(struct worker *w)
{
    if (w->conf.lib != NULL)
        tls_lib_settle(w->conf.lib);
    quiesce_offline(w->conf.quiesce, w->core.id);
}

int worker_run(void *arg)
{
    struct worker *w = arg;
    bool adaptive = w->conf.snapshot->machine.idle == IDLE_ADAPTIVE;
    uint64_t idle_turns = 0;

    prctl(PR_SET_TIMERSLACK, 1000UL); /* 1 us: or a sleep of 20 us lasts 70 */
    worker_begin(w);
    while (!atomic_load_explicit(&w->stop, memory_order_acquire)) {
        const unsigned n = worker_turn(w);

        /* A timer alone is no sign that packets will come: it does not keep the worker awake. */
        idle_turns = n > 0 || transports_pending(w->transports) || !list_is_empty(&w->core.work)
                         ? 0
                         : idle_turns + 1;
        learn_gap(w, idle_turns == 0);
        if (adaptive)
            rest(w, idle_turns);
    }
    worker_end(w);
    return 0;
}
