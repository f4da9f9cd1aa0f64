#include "dataplane/worker/helper.h"

#include "dataplane/base/own.h"
#include "drivers/eal.h"
#include "drivers/wake.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#define LOOK_US 100 /* it looks on for want of work: a worker that wakes it pays a system call */
#define SLEEP_US 1000000

struct helper {
    uint32_t id;
    int32_t core; /* -1: any */
    bool spins, has_started;
    uint32_t n_desks;
    struct tls_desk *desks[MACHINE_MAX_WORKERS];
    pthread_t thread;
    struct helper_counters counters;
    struct wake wake; /* what workers write is in a line of its own */
    CACHE_ALIGNED _Atomic bool stop;
};
_Static_assert(offsetof(struct helper, stop) % CACHE_LINE == 0 &&
                   sizeof(struct helper) == offsetof(struct helper, stop) + CACHE_LINE,
               "no line is written by two threads");

struct helper *helper_new(const struct machine_conf *m, uint32_t id)
{
    struct helper *h = own_alloc(1, sizeof(*h));

    if (h == NULL)
        return NULL;
    h->id = id;
    h->core = m->helper_cores[id];
    h->spins = m->idle == IDLE_SPIN;
    if (wake_init(&h->wake) == 0)
        return h;
    free(h);
    return NULL;
}

void helper_free(struct helper *h)
{
    if (h == NULL)
        return;
    wake_close(&h->wake);
    free(h);
}

static void on_asked(void *helper)
{
    wake_up(&((struct helper *)helper)->wake);
}

struct tls_desk *helper_desk(struct helper *h, void (*wake)(void *worker), void *worker)
{
    const struct tls_desk_conf conf = {
        .on_asked = on_asked, .helper = h, .on_answered = wake, .worker = worker
    };
    struct tls_desk *d = tls_desk_new(&conf);

    if (d != NULL)
        h->desks[h->n_desks++] = d;
    return d;
}

/* --- its thread ------------------------------------------------------------------------------ */

static unsigned work(struct helper *h)
{
    const uint64_t before = eal_cycles();
    unsigned n = 0;

    for (uint32_t i = 0; i < h->n_desks; i++)
        n += tls_desk_work(h->desks[i]);
    if (n > 0) {
        h->counters.operations += n;
        h->counters.busy_cycles += eal_cycles() - before;
    }
    return n;
}

static bool is_stopped(const struct helper *h)
{
    return atomic_load_explicit(&h->stop, memory_order_acquire);
}

/* What comes from now on wakes it; what has come before is looked for once more. */
static void sleep_for_work(struct helper *h)
{
    wake_expect(&h->wake);
    if (work(h) > 0 || is_stopped(h)) {
        wake_cancel(&h->wake);
        return;
    }
    h->counters.sleeps++;
    wake_sleep(&h->wake, SLEEP_US);
}

static void *run(void *arg)
{
    struct helper *h = arg;
    const uint64_t look = eal_hz() / 1000000 * LOOK_US;
    uint64_t last = eal_cycles();

    while (!is_stopped(h)) {
        if (work(h) > 0)
            last = eal_cycles();
        else if (!h->spins && eal_cycles() - last > look)
            sleep_for_work(h);
    }
    return NULL;
}

/* Elsewhere it may still start, and then be moved: so it is asked for from the beginning. */
static int start_on(struct helper *h, pthread_attr_t *attr)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    if (h->core >= 0) {
        CPU_SET(h->core, &set);
        if (pthread_attr_setaffinity_np(attr, sizeof(set), &set) != 0)
            return EINVAL;
    }
    return pthread_create(&h->thread, attr, run, h);
}

int helper_start(struct helper *h)
{
    char name[16]; /* as many as a thread's name may have */
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);

    if (rc != 0)
        return -rc;
    rc = start_on(h, &attr);
    pthread_attr_destroy(&attr);
    if (rc != 0)
        return -rc;
    h->has_started = true;
    snprintf(name, sizeof(name), "helper-%u", h->id);
    (void)pthread_setname_np(h->thread, name);
    return 0;
}

void helper_stop(struct helper *h)
{
    if (!h->has_started)
        return;
    atomic_store_explicit(&h->stop, true, memory_order_release);
    wake_up(&h->wake);
    pthread_join(h->thread, NULL);
    h->has_started = false;
}

const struct helper_counters *helper_counters(const struct helper *h)
{
    return &h->counters;
}
