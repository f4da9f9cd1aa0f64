#include "dataplane/perf.h"

#include "dataplane/daemon.h"
#include "dataplane/http/codec.h"
#include "dataplane/net/net.h"
#include "dataplane/worker/helper.h"
#include "drivers/eal.h"

#include <stdlib.h>

#define SECONDS 1
#define SECONDS_MAX 10

/* What one worker had counted at an instant. */
struct reading {
    uint64_t tsc, busy, turns, requests, pkts;
    uint64_t stage[N_STAGES];
};

/* And one helper. */
struct helper_reading {
    uint64_t tsc, busy, operations;
};

struct perfs {
    struct daemon *daemon;
    struct list waiting;
};

struct perf {
    struct list link;
    uv_timer_t timer;
    struct cmd_call *call;
    struct reading before[MACHINE_MAX_WORKERS];
    struct helper_reading helpers_before[MACHINE_MAX_WORKERS];
};

static uint64_t load(const uint64_t *v)
{
    return __atomic_load_n(v, __ATOMIC_RELAXED);
}

static void read_worker(const struct worker *w, struct reading *r)
{
    const struct net_counters *net = net_counters(w->net);

    r->tsc = eal_cycles();
    r->busy = load(&w->counters.busy_cycles);
    r->turns = load(&w->counters.turns);
    r->requests = load(&http_counters(w->http)->requests);
    r->pkts = load(&net->pkts_in) + load(&net->pkts_out);
    for (unsigned i = 0; i < N_STAGES; i++)
        r->stage[i] = load(&w->core.stages.cycles[i]);
}

static void read_helper(const struct helper *h, struct helper_reading *r)
{
    const struct helper_counters *c = helper_counters(h);

    r->tsc = eal_cycles();
    r->busy = load(&c->busy_cycles);
    r->operations = load(&c->operations);
}

static double ratio(uint64_t a, uint64_t b)
{
    return b != 0 ? (double)a / (double)b : 0;
}

/* Two digits behind the point: more is noise. */
static json_t *rounded(double x)
{
    return json_real((double)(int64_t)(x * 100 + 0.5) / 100);
}

static json_t *worker_row(const struct worker *w, const struct reading *a, const struct reading *b)
{
    const uint64_t busy = b->busy - a->busy, requests = b->requests - a->requests;

    return json_pack("{s:i, s:o, s:I, s:I, s:I, s:I, s:o, s:o}", "worker", (int)w->core.id,
                     "busy_percent", rounded(100 * ratio(busy, b->tsc - a->tsc)), "turns",
                     (json_int_t)(b->turns - a->turns), "requests", (json_int_t)requests, "packets",
                     (json_int_t)(b->pkts - a->pkts), "cycles", (json_int_t)busy,
                     "cycles_per_request", rounded(ratio(busy, requests)), "cycles_per_packet",
                     rounded(ratio(busy, b->pkts - a->pkts)));
}

static json_t *helper_row(uint32_t i, const struct helper_reading *a,
                          const struct helper_reading *b)
{
    const uint64_t busy = b->busy - a->busy, operations = b->operations - a->operations;

    return json_pack("{s:i, s:o, s:I, s:o}", "helper", (int)i, "busy_percent",
                     rounded(100 * ratio(busy, b->tsc - a->tsc)), "operations",
                     (json_int_t)operations, "cycles_per_operation",
                     rounded(ratio(busy, operations)));
}

static json_t *helper_rows(const struct daemon *d, const struct perf *p)
{
    json_t *rows = json_array();

    for (uint32_t i = 0; i < d->n_helpers; i++) {
        struct helper_reading now;

        read_helper(d->helpers[i], &now);
        json_array_append_new(rows, helper_row(i, &p->helpers_before[i], &now));
    }
    return rows;
}

static const char *const names[] = {
#define STAGE_ROW_NAME(upper, lower, text) #lower,
    STAGES(STAGE_ROW_NAME)
};
static const char *const words[] = {
#define STAGE_ROW_WORDS(upper, lower, text) text,
    STAGES(STAGE_ROW_WORDS)
};

/* Of all workers together: shares of the turns looked at, times the cycles of all busy turns. */
static json_t *stage_rows(const struct reading *sum)
{
    json_t *rows = json_array();
    uint64_t all = 0;

    for (unsigned i = 0; i < N_STAGES; i++)
        all += sum->stage[i];
    for (unsigned i = 0; i < N_STAGES; i++) {
        const double share = ratio(sum->stage[i], all);

        json_array_append_new(
            rows, json_pack("{s:s, s:o, s:o, s:o, s:s}", "stage", names[i], "percent",
                            rounded(100 * share), "cycles_per_request",
                            rounded(share * ratio(sum->busy, sum->requests)), "cycles_per_packet",
                            rounded(share * ratio(sum->busy, sum->pkts)), "what", words[i]));
    }
    return rows;
}

static void add_difference(struct reading *sum, const struct reading *a, const struct reading *b)
{
    sum->busy += b->busy - a->busy;
    sum->requests += b->requests - a->requests;
    sum->pkts += b->pkts - a->pkts;
    for (unsigned i = 0; i < N_STAGES; i++)
        sum->stage[i] += b->stage[i] - a->stage[i];
}

static void forget(uv_handle_t *h)
{
    free(container_of(h, struct perf, timer));
}

static void tell(uv_timer_t *t)
{
    struct perf *p = container_of(t, struct perf, timer);
    const struct perfs *all = p->call->cmd->ctx;
    struct daemon *d = all->daemon;
    json_t *workers = json_array();
    struct reading sum = { 0 };

    for (uint32_t i = 0; i < d->gateway.n_workers; i++) {
        const struct worker *w = d->gateway.workers[i];
        struct reading now;

        read_worker(w, &now);
        add_difference(&sum, &p->before[i], &now);
        json_array_append_new(workers, worker_row(w, &p->before[i], &now));
    }
    cmd_reply(p->call,
              json_pack("{s:I, s:o, s:o, s:o}", "hz", (json_int_t)eal_hz(), "workers", workers,
                        "helpers", helper_rows(d, p), "stages", stage_rows(&sum)));
    list_remove(&p->link);
    uv_close((uv_handle_t *)t, forget);
}

static void run_perf(struct cmd_call *call)
{
    const char *text = cmd_arg_string(call, "seconds");
    struct perfs *all = call->cmd->ctx;
    struct daemon *d = all->daemon;
    unsigned long seconds = SECONDS;
    char *end = NULL;
    struct perf *p;

    if (text != NULL)
        seconds = strtoul(text, &end, 10);
    if (seconds == 0 || seconds > SECONDS_MAX || (end != NULL && *end != '\0')) {
        cmd_fail(call, "seconds is a number from 1 to 10", "isthmusctl perf 5");
        return;
    }
    p = calloc(1, sizeof(*p));
    if (p == NULL) {
        cmd_fail(call, "no memory", "");
        return;
    }
    p->call = call;
    list_push_tail(&all->waiting, &p->link);
    for (uint32_t i = 0; i < d->gateway.n_workers; i++)
        read_worker(d->gateway.workers[i], &p->before[i]);
    for (uint32_t i = 0; i < d->n_helpers; i++)
        read_helper(d->helpers[i], &p->helpers_before[i]);
    uv_timer_init(&d->loop, &p->timer);
    uv_timer_start(&p->timer, tell, seconds * 1000, 0);
}

struct perfs *perfs_new(struct daemon *d)
{
    struct perfs *all = calloc(1, sizeof(*all));

    if (all == NULL)
        return NULL;
    all->daemon = d;
    list_init(&all->waiting);
    return all;
}

void perfs_close(struct perfs *all)
{
    struct list *l;

    while ((l = list_pop_head(&all->waiting)) != NULL) {
        struct perf *p = container_of(l, struct perf, link);

        cmd_fail(p->call, "the daemon ends", "");
        uv_close((uv_handle_t *)&p->timer, forget);
    }
}

void perfs_free(struct perfs *all)
{
    free(all);
}

const struct cmd perf_cmds[] = {
    { "perf", "cycles for a request, by stage; args.seconds: how long to look", run_perf, NULL },
};
const unsigned perf_n_cmds = ARRAY_SIZE(perf_cmds);
