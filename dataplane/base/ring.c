#include "dataplane/base/ring.h"

#include <rte_ring.h>
#include <stdlib.h>

struct ring {
    struct rte_ring ring; /* last: its slots follow */
};

struct ring *ring_new(unsigned size, enum ring_producers producers)
{
    ssize_t len = rte_ring_get_memsize(size);
    struct ring *r;

    if (len < 0 || posix_memalign((void **)&r, CACHE_LINE, (size_t)len) != 0)
        return NULL;
    if (rte_ring_init(&r->ring, "ring", size,
                      RING_F_SC_DEQ | (producers == RING_ONE_PRODUCER ? RING_F_SP_ENQ : 0)) < 0) {
        free(r);
        return NULL;
    }
    return r;
}

void ring_free(struct ring *r)
{
    free(r);
}

bool ring_push(struct ring *r, void *obj)
{
    return rte_ring_enqueue(&r->ring, obj) == 0;
}

unsigned ring_push_burst(struct ring *r, void *const *objs, unsigned n)
{
    return rte_ring_enqueue_burst(&r->ring, objs, n, NULL);
}

unsigned ring_pop_burst(struct ring *r, void **objs, unsigned n)
{
    return rte_ring_dequeue_burst(&r->ring, objs, n, NULL);
}
