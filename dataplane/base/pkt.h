/*
 * pkt.h - one packet buffer, and queues of them
 *
 * A packet is what a port receives and sends, and it is also what a byte stream
 * is made of on its way through the gateway: TCP hands its payload up in the
 * packets it came in, TLS decrypts from packets into packets, and a body leaves
 * in the buffer it arrived in, with new headers written into its headroom.
 *
 *      head            data            data+len           end
 *       | <- headroom -> | <- the bytes -> | <- tailroom -> |
 *
 * Memory comes from a struct pkt_pool, which belongs to one worker. On a port
 * the buffer is a DPDK mbuf and this struct is its private area (drivers/);
 * in tests it is malloc, so that a sanitizer sees every use after free. Nothing
 * here knows which.
 *
 * Ownership: a packet is in exactly one place (a queue, a ring, a local
 * variable). pkt_free() gives it back. A transport that must keep bytes for
 * retransmission while the port also holds them takes a second reference; while
 * pkt_is_shared(), neither the bytes nor the headroom may be written, with one
 * exception: a packet handed to net_tx() belongs to the way out, which writes
 * headers in front and moves ->data, until that reference is dropped. ->next
 * stays with the transport: the way out keeps packets in arrays, not in queues.
 *
 * Trains: consecutive segments of one connection that differ in nothing but their
 * place and payload pass the layers as one packet. The head has the headers, for
 * itself alone or for all (who makes one says so), the others hang behind it:
 *
 *      head: headers, payload --more--> payload --more--> payload      n_more: 2
 *
 * A train belongs to who holds its head, and pkt_free() of the head frees all of
 * it. ->more, like ->data, is of the way out or the way in; what a transport holds
 * on to for itself are single packets, and it gives each back with pkt_unref(),
 * whatever train the port may still have it in.
 */
#pragma once

#include "dataplane/base/compiler.h"
#include "dataplane/base/list.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct pkt_pool;

enum pkt_flag {
    /* Receive: what the port has checked. */
    PKT_RX_IP_CSUM_GOOD = 1 << 0,
    PKT_RX_IP_CSUM_BAD = 1 << 1,
    PKT_RX_L4_CSUM_GOOD = 1 << 2,
    PKT_RX_L4_CSUM_BAD = 1 << 3,
    PKT_RX_HASH = 1 << 4, /* ->hash is the port's Toeplitz hash under our key */
    /* Transmit: what the sender leaves to the port (or to drivers/offload.c). */
    PKT_TX_IP_CSUM = 1 << 5,
    PKT_TX_TCP_CSUM = 1 << 6,
    /* The worker that owns this flow has been found already. */
    PKT_STEERED = 1 << 7,
    /* ->hash is that of its flow in net's table (not the port's). */
    PKT_FLOW_HASH = 1 << 12,
    /* ECN (RFC 3168): came with a mark of congestion; may be marked on its way. */
    PKT_RX_CE = 1 << 8,
    PKT_TX_ECT = 1 << 9,
    /* Transmit: IPv6, for whoever computes the checksum. */
    PKT_TX_IP6 = 1 << 10,
    /* Put together from fragments: must not be one itself. */
    PKT_REASSEMBLED = 1 << 11,
};

/* Packets of a train that is sent. One that is received may have more, as a port made it. */
#define PKT_TRAIN_MAX 32

struct pkt {
    struct pkt *next; /* link of the queue that holds it */
    uint8_t *data;
    uint32_t len;
    uint16_t flags; /* enum pkt_flag */
    uint8_t port;   /* index of the port: where it came in, or where it goes out */
    uint8_t l2_len; /* transmit: Ethernet and VLAN header */
    uint8_t l3_len; /* transmit: IP header */
    uint8_t l4_len; /* transmit, of a train: TCP header */
    uint8_t n_more; /* packets of a train behind this one, its head; 0: no train, or not its head */
    uint8_t _pad;
    uint32_t hash; /* if PKT_RX_HASH */
    uint8_t *head, *end;
    struct pkt_pool *pool;
    uint16_t *refs; /* number of holders, wherever the pool keeps it */

    /* For tcp/ alone, while the packet is in one of its queues (tcp/flight.h). */
    uint32_t seq;              /* of the first byte of payload */
    uint16_t pay_off, pay_len; /* the payload, from ->head, wherever ->data points */
    struct list by_time;       /* of what is in flight, the last sent last */
    uint32_t sent_us;          /* low bits of the clock, as in those below */
    uint32_t delivered, delivered_us, first_sent_us;
    uint8_t marks;

    /* Of a train. */
    uint32_t more_len; /* bytes of all those behind the head; counts if ->n_more > 0 */
    struct pkt *more;  /* the next; of the last one it means nothing */
};

/*
 * How a pool is filled. All counts are packets; refill may bring fewer than
 * asked for, and brings 0 when memory has run out.
 */
struct pkt_pool_ops {
    unsigned (*refill)(struct pkt_pool *pool, struct pkt **to, unsigned n);
    void (*drain)(struct pkt_pool *pool, struct pkt **from, unsigned n);
    /* Drops one reference of a packet that has several, or whose holder may be another thread. */
    void (*put_shared)(struct pkt_pool *pool, struct pkt *p);
};

#define PKT_POOL_CACHE 64
#define PKT_HEADROOM 128 /* Ethernet, VLAN, IPv6, TCP with options, and a TLS record header */

struct pkt_pool {
    const struct pkt_pool_ops *ops;
    uint32_t room;      /* bytes between head and end of a fresh packet */
    uint32_t n_free;    /* in cache[] */
    uint32_t cache_max; /* 0 (tests) to PKT_POOL_CACHE: packets given back that are kept at hand */
    uint64_t failed;    /* pkt_alloc() found nothing */
    bool low; /* few are left: who can do without more bytes refuses them; set by who fills the pool
               */
    struct pkt *cache[PKT_POOL_CACHE];
};

struct pkt *pkt_alloc_slow(struct pkt_pool *pool);
void pkt_free_slow(struct pkt *p);
void pkt_unref_slow(struct pkt *p);

/* Returns an empty packet with PKT_HEADROOM in front, or NULL (counted). */
static inline struct pkt *pkt_alloc(struct pkt_pool *pool)
{
    struct pkt *p;

    if (unlikely(pool->n_free == 0))
        return pkt_alloc_slow(pool);

    p = pool->cache[--pool->n_free];
    p->next = NULL;
    p->data = p->head + PKT_HEADROOM;
    p->len = 0;
    p->flags = 0;
    p->l2_len = p->l3_len = p->l4_len = p->n_more = 0;
    return p;
}

static inline bool pkt_is_shared(const struct pkt *p)
{
    return *p->refs > 1;
}

/*
 * Gives back one reference: of a head, of each packet of its train. NULL is allowed. Call on the
 * worker that owns the pool.
 */
static inline void pkt_free(struct pkt *p)
{
    if (p == NULL)
        return;
    if (unlikely(p->n_more != 0 || pkt_is_shared(p) || p->pool->n_free >= p->pool->cache_max)) {
        pkt_free_slow(p);
        return;
    }
    p->pool->cache[p->pool->n_free++] = p;
}

/* The same of @p alone: a head's train stays with who has it. */
static inline void pkt_unref(struct pkt *p)
{
    if (unlikely(pkt_is_shared(p) || p->pool->n_free >= p->pool->cache_max)) {
        pkt_unref_slow(p);
        return;
    }
    p->pool->cache[p->pool->n_free++] = p;
}

/* Packets of @p's train, or 1. */
static inline uint32_t pkt_n(const struct pkt *p)
{
    return 1u + p->n_more;
}

/* Bytes of them all. */
static inline uint32_t pkt_total_len(const struct pkt *p)
{
    return p->len + (p->n_more != 0 ? p->more_len : 0);
}

/* Hangs @p, a single packet, behind @last, the last of the train that begins with @head. */
static inline void pkt_couple(struct pkt *head, struct pkt *last, struct pkt *p)
{
    assert(p->n_more == 0 && head->n_more < UINT8_MAX);
    head->more_len = (head->n_more != 0 ? head->more_len : 0) + p->len;
    head->n_more++;
    last->more = p;
}

/* Takes the head off its train: what is left is returned, a train or a single packet. */
static inline struct pkt *pkt_uncouple(struct pkt *head)
{
    struct pkt *rest = head->more;

    assert(head->n_more > 0);
    rest->n_more = (uint8_t)(head->n_more - 1);
    rest->more_len = head->more_len - rest->len;
    head->n_more = 0;
    return rest;
}

static inline uint32_t pkt_headroom(const struct pkt *p)
{
    return (uint32_t)(p->data - p->head);
}

static inline uint32_t pkt_tailroom(const struct pkt *p)
{
    return (uint32_t)(p->end - p->data) - p->len;
}

/* Grows the front by @n bytes and returns it; the caller has checked the headroom. */
static inline uint8_t *pkt_push(struct pkt *p, uint32_t n)
{
    assert(pkt_headroom(p) >= n);
    p->data -= n;
    p->len += n;
    return p->data;
}

/* Drops @n bytes at the front. */
static inline void pkt_pull(struct pkt *p, uint32_t n)
{
    assert(p->len >= n);
    p->data += n;
    p->len -= n;
}

/* Grows the tail by @n bytes and returns where they start; the caller has checked the tailroom. */
static inline uint8_t *pkt_put(struct pkt *p, uint32_t n)
{
    uint8_t *at = p->data + p->len;

    assert(pkt_tailroom(p) >= n);
    p->len += n;
    return at;
}

static inline void pkt_trim(struct pkt *p, uint32_t len)
{
    assert(p->len >= len);
    p->len = len;
}

/* A packet of its own with the same bytes, or NULL if the pool is empty or the bytes do not fit. */
struct pkt *pkt_copy(struct pkt_pool *pool, const struct pkt *p);

/*
 * A first-in first-out queue of packets that knows how many bytes it holds. It points into
 * itself: start with pktq_init(), never copy the struct.
 */
struct pktq {
    struct pkt *head, **tail;
    uint32_t n;
    uint64_t bytes;
};

static inline void pktq_init(struct pktq *q)
{
    q->head = NULL;
    q->tail = &q->head;
    q->n = 0;
    q->bytes = 0;
}

static inline bool pktq_is_empty(const struct pktq *q)
{
    return q->head == NULL;
}

static inline void pktq_push(struct pktq *q, struct pkt *p)
{
    p->next = NULL;
    *q->tail = p;
    q->tail = &p->next;
    q->n++;
    q->bytes += p->len;
}

static inline void pktq_push_head(struct pktq *q, struct pkt *p)
{
    p->next = q->head;
    if (q->head == NULL)
        q->tail = &p->next;
    q->head = p;
    q->n++;
    q->bytes += p->len;
}

static inline struct pkt *pktq_pop(struct pktq *q)
{
    struct pkt *p = q->head;

    if (p == NULL)
        return NULL;
    q->head = p->next;
    if (q->head == NULL)
        q->tail = &q->head;
    q->n--;
    q->bytes -= p->len;
    p->next = NULL;
    return p;
}

/* The last packet, or NULL. Its length may only be changed through pktq_append(). */
static inline struct pkt *pktq_last(const struct pktq *q)
{
    return q->head == NULL ? NULL : container_of(q->tail, struct pkt, next);
}

/* Moves everything from @from to the tail of @to. */
static inline void pktq_splice(struct pktq *to, struct pktq *from)
{
    if (from->head == NULL)
        return;
    *to->tail = from->head;
    to->tail = from->tail;
    to->n += from->n;
    to->bytes += from->bytes;
    pktq_init(from);
}

/* Frees every packet. */
void pktq_clear(struct pktq *q);

/* Drops @n bytes at the front, freeing packets that become empty; @n <= q->bytes. */
void pktq_consume(struct pktq *q, uint64_t n);

/* Copies up to @n bytes from the front without consuming; returns how many. */
uint64_t pktq_peek(const struct pktq *q, void *to, uint64_t n);

/*
 * Moves the first @n bytes (@n <= from->bytes) to the tail of @to. A packet that straddles
 * the cut is split by copying its shorter half. Returns false, with whole packets moved and
 * the straddling one left in @from, if the pool is empty.
 */
bool pktq_move(struct pktq *to, struct pktq *from, uint64_t n, struct pkt_pool *pool);

/*
 * Appends @len bytes, into the tailroom of the last packet and then into fresh ones that
 * hold at most @seg bytes each. Returns false and appends nothing if the pool is empty.
 */
bool pktq_append(struct pktq *q, struct pkt_pool *pool, const void *bytes, size_t len,
                 uint32_t seg);
