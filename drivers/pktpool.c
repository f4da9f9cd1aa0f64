#include "drivers/pktpool.h"

#include "config/model/machine.h"
#include "drivers/offload.h"

#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <string.h>

#define MEMPOOL_CACHE 256
#define PRIV_SIZE                                                                                  \
    ((sizeof(struct pkt) + RTE_MBUF_PRIV_ALIGN - 1) & ~(size_t)(RTE_MBUF_PRIV_ALIGN - 1))

_Static_assert(RTE_PKTMBUF_HEADROOM >= PKT_HEADROOM, "a received packet has our headroom");
_Static_assert(sizeof(struct pkt) <= 2 * CACHE_LINE, "two lines, as the mbuf before it");
_Static_assert(offsetof(struct pkt, seq) == CACHE_LINE, "what every packet needs is in the first");

struct pktpool {
    struct pkt_pool pool;
    struct rte_mempool *mempool;
};

static struct pkt *pkt_of(struct rte_mbuf *m)
{
    return (struct pkt *)rte_mbuf_to_priv(m);
}

static struct rte_mbuf *mbuf_of(struct pkt *p)
{
    return (struct rte_mbuf *)((char *)p - sizeof(struct rte_mbuf));
}

static unsigned refill(struct pkt_pool *pool, struct pkt **to, unsigned n)
{
    struct pktpool *pp = container_of(pool, struct pktpool, pool);
    struct rte_mbuf *m[PKT_POOL_CACHE];

    if (rte_pktmbuf_alloc_bulk(pp->mempool, m, n) < 0) {
        m[0] = rte_pktmbuf_alloc(pp->mempool);
        if (m[0] == NULL)
            return 0;
        n = 1;
    }
    for (unsigned i = 0; i < n; i++) {
        to[i] = pkt_of(m[i]);
        to[i]->pool = pool;
    }
    return n;
}

/* It is in no chain, whatever it was in when the port let go of it. */
static void unchain(struct rte_mbuf *m)
{
    m->next = NULL;
    m->nb_segs = 1;
}

static void drain(struct pkt_pool *pool, struct pkt **from, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        unchain(mbuf_of(from[i]));
        rte_mbuf_raw_free(mbuf_of(from[i]));
    }
}

static void put_shared(struct pkt_pool *pool, struct pkt *p)
{
    rte_pktmbuf_free_seg(mbuf_of(p));
}

static const struct pkt_pool_ops ops = { refill, drain, put_shared };

/* What never changes in a packet's life. */
static void init_pkt(struct rte_mempool *mp, void *opaque, void *obj, unsigned i)
{
    struct rte_mbuf *m = obj;
    struct pkt *p = pkt_of(m);

    memset(p, 0, sizeof(*p));
    p->head = m->buf_addr;
    p->end = p->head + m->buf_len;
    p->refs = &m->refcnt;
}

/*
 * May a packet lie across two pages? A NIC that is given physical addresses needs each in one page
 * and leaves the rest of the page unused; where there is none, one follows the other.
 */
static unsigned layout(const struct machine_conf *m)
{
    for (uint32_t i = 0; i < m->n_ports; i++)
        if (m->ports[i].device == PORT_PCI && rte_eal_iova_mode() == RTE_IOVA_PA)
            return 0;
    return RTE_MEMPOOL_F_NO_IOVA_CONTIG;
}

/*
 * What was freed last is taken first, and is in the caches still: DPDK's usual ring would go round
 * all packets, and find each in memory. Where the platform has a pool of its own it is that.
 */
static int choose_ops(struct rte_mempool *mp)
{
    const char *best = rte_mbuf_best_mempool_ops();

    if (strcmp(best, "ring_mp_mc") == 0 && rte_mempool_set_ops_byname(mp, "lf_stack", NULL) == 0)
        return 0;
    return rte_mempool_set_ops_byname(mp, best, NULL);
}

static struct rte_mempool *new_mempool(const struct machine_conf *m, uint32_t worker)
{
    struct rte_pktmbuf_pool_private priv = { .mbuf_data_room_size = RTE_MBUF_DEFAULT_BUF_SIZE,
                                             .mbuf_priv_size = PRIV_SIZE };
    char name[RTE_MEMPOOL_NAMESIZE];
    struct rte_mempool *mp;

    snprintf(name, sizeof(name), "packets-%u", worker);
    mp = rte_mempool_create_empty(name, m->packets,
                                  sizeof(struct rte_mbuf) + PRIV_SIZE + RTE_MBUF_DEFAULT_BUF_SIZE,
                                  MEMPOOL_CACHE, sizeof(priv), SOCKET_ID_ANY, layout(m));
    if (mp == NULL)
        return NULL;
    if (choose_ops(mp) < 0)
        goto err;
    rte_pktmbuf_pool_init(mp, &priv);
    if (rte_mempool_populate_default(mp) < 0)
        goto err;
    rte_mempool_obj_iter(mp, rte_pktmbuf_init, NULL);
    rte_mempool_obj_iter(mp, init_pkt, NULL);
    return mp;

err:
    rte_mempool_free(mp);
    return NULL;
}

struct pktpool *pktpool_new(const struct machine_conf *m, uint32_t worker)
{
    struct pktpool *pp = rte_zmalloc("pktpool", sizeof(*pp), CACHE_LINE);

    if (pp == NULL)
        return NULL;
    pp->mempool = new_mempool(m, worker);
    if (pp->mempool == NULL) {
        rte_free(pp);
        return NULL;
    }
    pp->pool = (struct pkt_pool){ .ops = &ops,
                                  .room = RTE_MBUF_DEFAULT_BUF_SIZE,
                                  .cache_max = PKT_POOL_CACHE };
    return pp;
}

void pktpool_free(struct pktpool *p)
{
    if (p == NULL)
        return;
    rte_mempool_free(p->mempool);
    rte_free(p);
}

struct pkt_pool *pktpool_pool(struct pktpool *p)
{
    return &p->pool;
}

struct rte_mempool *pktpool_mempool(struct pktpool *p)
{
    return p->mempool;
}

struct span {
    uintptr_t first, last;
};

static void widen(struct rte_mempool *mp, void *opaque, void *obj, unsigned i)
{
    struct span *s = opaque;

    s->first = MIN(s->first, (uintptr_t)obj);
    s->last = MAX(s->last, (uintptr_t)obj);
}

bool pktpool_is_dense(const struct pktpool *p)
{
    const struct rte_mempool *mp = p->mempool;
    const size_t each = mp->header_size + mp->elt_size + mp->trailer_size;
    struct span s = { UINTPTR_MAX, 0 };

    rte_mempool_obj_iter(p->mempool, widen, &s);
    return s.last - s.first == (mp->size - 1) * each;
}

int64_t pktpool_in_use(const struct pktpool *p)
{
    return (int64_t)rte_mempool_in_use_count(p->mempool) -
           __atomic_load_n(&p->pool.n_free, __ATOMIC_RELAXED);
}

void pktpool_look(struct pktpool *p)
{
    p->pool.low = rte_mempool_avail_count(p->mempool) + p->pool.n_free < p->mempool->size / 8;
}

uint32_t pktpool_size(const struct pktpool *p)
{
    return p->mempool->size;
}

/* What the port says of the checksums, in our words. */
static uint16_t rx_flags(uint64_t ol)
{
    uint16_t flags = 0;

    /* NONE: there is no checksum, but the bytes are right. From merged segments, for example. */
    switch (ol & RTE_MBUF_F_RX_IP_CKSUM_MASK) {
    case RTE_MBUF_F_RX_IP_CKSUM_GOOD:
    case RTE_MBUF_F_RX_IP_CKSUM_NONE:
        flags |= PKT_RX_IP_CSUM_GOOD;
        break;
    case RTE_MBUF_F_RX_IP_CKSUM_BAD:
        flags |= PKT_RX_IP_CSUM_BAD;
        break;
    }
    switch (ol & RTE_MBUF_F_RX_L4_CKSUM_MASK) {
    case RTE_MBUF_F_RX_L4_CKSUM_GOOD:
    case RTE_MBUF_F_RX_L4_CKSUM_NONE:
        flags |= PKT_RX_L4_CSUM_GOOD;
        break;
    case RTE_MBUF_F_RX_L4_CKSUM_BAD:
        flags |= PKT_RX_L4_CSUM_BAD;
        break;
    }
    /* A port merges what it has found right; the sum in the header is that of the first at best. */
    if ((ol & RTE_MBUF_F_RX_LRO) != 0 && (flags & PKT_RX_L4_CSUM_BAD) == 0)
        flags |= PKT_RX_L4_CSUM_GOOD;
    if (ol & RTE_MBUF_F_RX_RSS_HASH)
        flags |= PKT_RX_HASH;
    return flags;
}

/* One buffer. */
static struct pkt *pkt_of_buf(struct rte_mbuf *m, struct pkt_pool *pool, uint8_t port)
{
    struct pkt *p = pkt_of(m);

    p->next = NULL;
    p->data = rte_pktmbuf_mtod(m, uint8_t *);
    p->len = m->data_len;
    p->flags = rx_flags(m->ol_flags);
    p->port = port;
    p->l2_len = p->l3_len = p->l4_len = p->n_more = 0;
    p->hash = m->hash.rss;
    p->pool = pool;
    return p;
}

/* Those of a chain that hold anything. NULL, and all are freed, if there are too many for a train.
 */
static struct pkt *pkts_of_chain(struct rte_mbuf *m, struct pkt_pool *pool, uint8_t port)
{
    struct pkt *head = NULL, *last = NULL;

    while (m != NULL) {
        struct rte_mbuf *next = m->next;
        struct pkt *p;

        unchain(m);
        p = pkt_of_buf(m, pool, port);
        m = next;
        if (p->len == 0 && (head != NULL || m != NULL)) {
            p->pool->ops->put_shared(p->pool, p);
            continue;
        }
        if (head == NULL) {
            head = last = p;
        } else if (head->n_more < UINT8_MAX) {
            pkt_couple(head, last, p);
            last = p;
        } else {
            p->pool->ops->put_shared(p->pool, p);
            rte_pktmbuf_free(m);
            pkt_free(head);
            return NULL;
        }
    }
    return head;
}

struct pkt *pkt_of_mbuf(struct rte_mbuf *m, struct pkt_pool *pool, uint8_t port)
{
    const uint16_t flags = rx_flags(m->ol_flags);
    const uint32_t hash = m->hash.rss;
    struct pkt *p;

    if (likely(m->nb_segs == 1))
        return pkt_of_buf(m, pool, port);
    p = pkts_of_chain(m, pool, port);
    if (p == NULL)
        return NULL;
    p->flags = flags; /* those of the whole, also if the first buffer was empty */
    p->hash = hash;
    return offload_join(p);
}

static struct rte_mbuf *mbuf_of_buf(struct pkt *p)
{
    struct rte_mbuf *m = mbuf_of(p);

    m->data_off = (uint16_t)(p->data - p->head);
    m->data_len = (uint16_t)p->len;
    m->pkt_len = p->len;
    m->ol_flags = 0;
    if (p->flags & PKT_RX_HASH) { /* towards a port of this process */
        m->hash.rss = p->hash;
        m->ol_flags = RTE_MBUF_F_RX_RSS_HASH;
    }
    m->tx_offload = 0;
    unchain(m);
    return m;
}

/* What the port is to compute in @p, whose mbuf is @m. */
static void leave_to_port(const struct pkt *p, struct rte_mbuf *m)
{
    m->l2_len = p->l2_len;
    m->l3_len = p->l3_len;
    m->l4_len = p->l4_len;
    m->ol_flags |= (p->flags & PKT_TX_IP6) != 0 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
    if (p->flags & PKT_TX_IP_CSUM)
        m->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
    if (p->flags & PKT_TX_TCP_CSUM)
        m->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
}

/* The mbufs of what is behind @p, whose own is @m. */
static void chain_up(struct pkt *p, struct rte_mbuf *m)
{
    const uint32_t headers = (uint32_t)p->l2_len + p->l3_len + p->l4_len;
    struct rte_mbuf *last = m;

    m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    m->tso_segsz = (uint16_t)(p->len - headers);
    m->nb_segs = (uint16_t)pkt_n(p);
    m->pkt_len = pkt_total_len(p);
    while (p->n_more > 0) {
        p = pkt_uncouple(p);
        last->next = mbuf_of_buf(p);
        last = last->next;
    }
}

struct rte_mbuf *mbuf_of_pkt(struct pkt *p)
{
    struct rte_mbuf *m = mbuf_of_buf(p);

    if (p->flags & (PKT_TX_IP_CSUM | PKT_TX_TCP_CSUM))
        leave_to_port(p, m);
    if (p->n_more > 0)
        chain_up(p, m);
    return m;
}
