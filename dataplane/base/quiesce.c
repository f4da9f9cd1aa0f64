#include "dataplane/base/quiesce.h"

#include <rte_rcu_qsbr.h>
#include <stdlib.h>

struct quiesce {
    struct rte_rcu_qsbr qsbr; /* last: its counters follow */
};

struct quiesce *quiesce_new(unsigned n_workers)
{
    size_t len = rte_rcu_qsbr_get_memsize(n_workers);
    struct quiesce *q;

    if (posix_memalign((void **)&q, CACHE_LINE, len) != 0)
        return NULL;
    if (rte_rcu_qsbr_init(&q->qsbr, n_workers) != 0) {
        free(q);
        return NULL;
    }
    return q;
}

void quiesce_free(struct quiesce *q)
{
    free(q);
}

void quiesce_online(struct quiesce *q, unsigned worker)
{
    rte_rcu_qsbr_thread_register(&q->qsbr, worker);
    rte_rcu_qsbr_thread_online(&q->qsbr, worker);
}

void quiesce_offline(struct quiesce *q, unsigned worker)
{
    rte_rcu_qsbr_thread_offline(&q->qsbr, worker);
    rte_rcu_qsbr_thread_unregister(&q->qsbr, worker);
}

void quiesce_report(struct quiesce *q, unsigned worker)
{
    rte_rcu_qsbr_quiescent(&q->qsbr, worker);
}

uint64_t quiesce_start(struct quiesce *q)
{
    return rte_rcu_qsbr_start(&q->qsbr);
}

bool quiesce_is_over(struct quiesce *q, uint64_t token)
{
    return rte_rcu_qsbr_check(&q->qsbr, token, false) == 1;
}
