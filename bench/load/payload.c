#include "bench/load/payload.h"

uint64_t payload_append(struct pktq *to, struct pkt_pool *pool, uint64_t n, uint32_t seg)
{
    uint64_t done = 0;

    while (done < n) {
        struct pkt *p = pkt_alloc(pool);
        uint32_t len;

        if (p == NULL)
            break;
        len = (uint32_t)MIN(n - done, (uint64_t)MIN(seg, pkt_tailroom(p)));
        memset(pkt_put(p, len), 'x', len);
        pktq_push(to, p);
        done += len;
    }
    return done;
}

void payload_join(struct pktq *to, struct pktq *from, struct pkt_pool *pool, uint32_t seg)
{
    struct pkt *p;

    while ((p = pktq_pop(from)) != NULL) {
        const struct pkt *last = pktq_last(to);

        if (last != NULL && last->len + p->len <= seg && pkt_tailroom(last) >= p->len &&
            pktq_append(to, pool, p->data, p->len, seg))
            pkt_free(p);
        else
            pktq_push(to, p);
    }
}
