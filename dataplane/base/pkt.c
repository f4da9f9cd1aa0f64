#include "dataplane/base/pkt.h"

struct pkt *pkt_alloc_slow(struct pkt_pool *pool)
{
    pool->n_free = pool->ops->refill(pool, pool->cache, MAX(1u, pool->cache_max / 2));
    if (pool->n_free == 0) {
        pool->failed++;
        return NULL;
    }
    return pkt_alloc(pool);
}

void pkt_free_slow(struct pkt *p)
{
    while (p->n_more != 0) {
        struct pkt *rest = pkt_uncouple(p);

        pkt_unref(p);
        p = rest;
    }
    pkt_unref(p);
}

void pkt_unref_slow(struct pkt *p)
{
    struct pkt_pool *pool = p->pool;
    const unsigned n = pool->cache_max / 2;

    if (pkt_is_shared(p)) {
        pool->ops->put_shared(pool, p);
        return;
    }
    if (pool->cache_max == 0) {
        pool->ops->drain(pool, &p, 1);
        return;
    }
    /* The upper half of the cache is the half that was touched last: keep it. */
    pool->ops->drain(pool, pool->cache, n);
    memmove(pool->cache, pool->cache + n, (pool->n_free - n) * sizeof(pool->cache[0]));
    pool->n_free -= n;
    pool->cache[pool->n_free++] = p;
}

struct pkt *pkt_copy(struct pkt_pool *pool, const struct pkt *p)
{
    struct pkt *copy = pkt_alloc(pool);

    if (copy == NULL)
        return NULL;
    if (pkt_tailroom(copy) < p->len) {
        pkt_free(copy);
        return NULL;
    }
    memcpy(pkt_put(copy, p->len), p->data, p->len);
    copy->flags = p->flags;
    copy->port = p->port;
    copy->l2_len = p->l2_len;
    copy->l3_len = p->l3_len;
    copy->l4_len = p->l4_len;
    copy->hash = p->hash;
    copy->seq = p->seq;
    return copy;
}

void pktq_clear(struct pktq *q)
{
    struct pkt *p;

    while ((p = pktq_pop(q)) != NULL)
        pkt_free(p);
}

void pktq_consume(struct pktq *q, uint64_t n)
{
    assert(n <= q->bytes);
    while (q->head != NULL && n >= q->head->len) {
        n -= q->head->len;
        pkt_free(pktq_pop(q));
    }
    if (n > 0) {
        pkt_pull(q->head, (uint32_t)n);
        q->bytes -= n;
    }
}

uint64_t pktq_peek(const struct pktq *q, void *to, uint64_t n)
{
    uint8_t *at = to;

    for (const struct pkt *p = q->head; p != NULL && n > 0; p = p->next) {
        uint64_t part = MIN(n, p->len);

        memcpy(at, p->data, part);
        at += part;
        n -= part;
    }
    return (uint64_t)(at - (uint8_t *)to);
}

/* Cuts @p after its first @n bytes; the shorter half is copied. Returns the front half. */
static struct pkt *cut(struct pkt *p, uint32_t n, struct pkt_pool *pool, struct pkt **rest)
{
    struct pkt *half = pkt_alloc(pool);
    uint32_t tail = p->len - n;

    if (half == NULL)
        return NULL;
    if (n <= tail && pkt_tailroom(half) >= n) {
        memcpy(pkt_put(half, n), p->data, n);
        pkt_pull(p, n);
        *rest = p;
        return half;
    }
    if (pkt_tailroom(half) < tail) {
        pkt_free(half);
        return NULL;
    }
    memcpy(pkt_put(half, tail), p->data + n, tail);
    pkt_trim(p, n);
    *rest = half;
    return p;
}

bool pktq_move(struct pktq *to, struct pktq *from, uint64_t n, struct pkt_pool *pool)
{
    struct pkt *front, *rest;

    assert(n <= from->bytes);
    if (n == from->bytes) {
        pktq_splice(to, from);
        return true;
    }
    while (from->head != NULL && from->head->len <= n) {
        n -= from->head->len;
        pktq_push(to, pktq_pop(from));
    }
    if (n == 0)
        return true;

    rest = pktq_pop(from);
    front = cut(rest, (uint32_t)n, pool, &rest);
    pktq_push_head(from, rest);
    if (front == NULL)
        return false;
    pktq_push(to, front);
    return true;
}

static struct pkt *fresh(struct pktq *chain, struct pkt_pool *pool)
{
    struct pkt *p = pkt_alloc(pool);

    if (p != NULL)
        pktq_push(chain, p);
    return p;
}

bool pktq_append(struct pktq *q, struct pkt_pool *pool, const void *bytes, size_t len, uint32_t seg)
{
    struct pkt *last = pktq_last(q);
    const uint8_t *from = bytes;
    size_t first = 0;
    struct pktq more;

    if (last != NULL && !pkt_is_shared(last) && last->len < seg)
        first = MIN(len, MIN(pkt_tailroom(last), seg - last->len));

    pktq_init(&more);
    for (size_t at = first; at < len;) {
        struct pkt *p = fresh(&more, pool);
        uint32_t part;

        if (p == NULL) {
            pktq_clear(&more);
            return false;
        }
        part = (uint32_t)MIN(len - at, MIN(seg, pkt_tailroom(p)));
        memcpy(pkt_put(p, part), from + at, part);
        more.bytes += part;
        at += part;
    }
    if (first > 0) {
        memcpy(pkt_put(last, (uint32_t)first), from, first);
        q->bytes += first;
    }
    pktq_splice(q, &more);
    return true;
}
