#include "tests/lib/pool.h"

#include <stdio.h>
#include <stdlib.h>

#define ROOM (PKT_HEADROOM + 2048)

struct test_buf {
    struct pkt pkt;
    uint16_t refs;
    uint8_t bytes[ROOM];
};

static unsigned refill(struct pkt_pool *pool, struct pkt **to, unsigned n)
{
    struct test_pool *tp = container_of(pool, struct test_pool, pool);
    struct test_buf *b;

    if (tp->max != 0 && tp->n_out >= tp->max)
        return 0;
    if (tp->fail_at != 0 && --tp->fail_at == 0)
        return 0;
    b = calloc(1, sizeof(*b));
    if (b == NULL)
        return 0;
    b->refs = 1;
    b->pkt =
        (struct pkt){ .head = b->bytes, .end = b->bytes + ROOM, .pool = pool, .refs = &b->refs };
    tp->n_out++;
    to[0] = &b->pkt;
    return 1;
}

static void release(struct test_pool *tp, struct pkt *p)
{
    tp->n_out--;
    free(container_of(p, struct test_buf, pkt));
}

static void drain(struct pkt_pool *pool, struct pkt **from, unsigned n)
{
    struct test_pool *tp = container_of(pool, struct test_pool, pool);

    for (unsigned i = 0; i < n; i++)
        release(tp, from[i]);
}

static void put_shared(struct pkt_pool *pool, struct pkt *p)
{
    struct test_pool *tp = container_of(pool, struct test_pool, pool);

    if (--*p->refs == 0)
        release(tp, p);
}

static const struct pkt_pool_ops ops = { refill, drain, put_shared };

void test_pool_init(struct test_pool *tp, uint32_t max)
{
    *tp = (struct test_pool){ .pool = { .ops = &ops, .room = ROOM }, .max = max };
}

void test_pool_fini(struct test_pool *tp)
{
    if (tp->n_out != 0) {
        fprintf(stderr, "%u packets did not come home\n", tp->n_out);
        abort();
    }
}

struct pkt *test_pkt(struct test_pool *tp, const void *bytes, size_t len)
{
    struct pkt *p = pkt_alloc(&tp->pool);

    assert(p != NULL && len <= pkt_tailroom(p));
    memcpy(pkt_put(p, (uint32_t)len), bytes, len);
    return p;
}
