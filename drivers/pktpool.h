/*
 * pktpool.h - packets that are mbufs
 *
 * One mempool per worker. A packet's struct pkt is the private area of its
 * mbuf, so that a received burst becomes packets by a few stores each, and a
 * packet becomes an mbuf again when it is sent. Both count references in the
 * mbuf's own counter.
 *
 * A packet may move to another worker (the redirect): pkt_adopt() makes it the
 * new worker's, and when freed it goes into that worker's cache; mempools are
 * safe for any thread.
 */
#pragma once

#include "dataplane/base/pkt.h"

#include <stdbool.h>

struct machine_conf;
struct pktpool;
struct rte_mempool;
struct rte_mbuf;

/* The @m->packets of worker @worker, for the ports of @m. NULL: no memory. */
struct pktpool *pktpool_new(const struct machine_conf *m, uint32_t worker);
void pktpool_free(struct pktpool *p);

/* For struct core. */
struct pkt_pool *pktpool_pool(struct pktpool *p);
struct rte_mempool *pktpool_mempool(struct pktpool *p);
/*
 * Does one packet follow the other, without a gap? DPDK's af_xdp driver counts on it: it shows the
 * kernel as much memory as the packets are long together, and one beyond is refused by the kernel,
 * silently and for good, when it is sent or is to receive.
 */
bool pktpool_is_dense(const struct pktpool *p);

/*
 * Packets held by anybody: queues, connections, descriptors of ports. Only the sum over all pools
 * is exact, as a worker's cache may hold another's packets; one pool alone may even be below zero.
 * Any thread.
 */
int64_t pktpool_in_use(const struct pktpool *p);
/* The worker itself, every millisecond or so: sets ->low of its pool when less than an eighth is
 * left. */
void pktpool_look(struct pktpool *p);
uint32_t pktpool_size(const struct pktpool *p);

/* The packet, or train, comes from another worker's pool: it is @pool's from now on. */
static inline void pkt_adopt(struct pkt *p, struct pkt_pool *pool)
{
    unsigned left = p->n_more;

    p->pool = pool;
    for (; left > 0; left--) {
        p = p->more;
        p->pool = pool;
    }
}

/*
 * A received mbuf as a packet; one of several buffers as a train, or in one buffer (offload.h), or
 * NULL if it can be neither.
 */
struct pkt *pkt_of_mbuf(struct rte_mbuf *m, struct pkt_pool *pool, uint8_t port);

/*
 * An outgoing packet as an mbuf, which takes the reference; a train as a chain of them that the
 * port is to cut up. A buffer that TCP holds on to keeps its links when the port returns it: they
 * mean nothing, and are reset before anybody else gets it.
 */
struct rte_mbuf *mbuf_of_pkt(struct pkt *p);
