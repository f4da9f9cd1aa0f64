/* Packets and trains as the mbufs that a port sees, on a mempool of its own. */
#include "dataplane/base/bytes.h"
#include "drivers/eal.h"
#include "drivers/pktpool.h"
#include "tests/lib/frames.h"
#include "tests/lib/test.h"

#include <assert.h>
#include <rte_mbuf.h>

#define N_PKTS 1024
#define US 0x0a000001
#define PEER 0x0a000002
#define ACK 16
#define HEADERS (14 + 20 + 20)

static const uint8_t us[6] = { 2, 0, 0, 0, 0, 1 }, peer[6] = { 2, 0, 0, 0, 0, 2 };

static struct pktpool *packets;
static struct pkt_pool *pool;

static int start(void **state)
{
    static const struct machine_conf conf = {
        .n_workers = 1, .cores = { -1 }, .memory_mb = 64, .packets = N_PKTS
    };
    struct cfg_err err = { "" };

    if (eal_start(&conf, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    packets = pktpool_new(&conf, 0);
    pool = packets != NULL ? pktpool_pool(packets) : NULL;
    return packets != NULL ? 0 : -1;
}

static int stop(void **state)
{
    pktpool_free(packets);
    eal_stop();
    return 0;
}

/* Every buffer of the pool, one after the other, is as drivers must find it. */
static int all_home(void **state)
{
    static struct rte_mbuf *all[N_PKTS];
    struct pkt *cached[PKT_POOL_CACHE];
    unsigned n = 0, ok = 0, n_cached = 0;

    assert_int_equal(pktpool_in_use(packets), 0);
    while (pool->n_free > 0)
        cached[n_cached++] = pkt_alloc(pool);
    pool->ops->drain(pool, cached, n_cached);
    while (n < N_PKTS && rte_mempool_get(pktpool_mempool(packets), (void **)&all[n]) == 0) {
        ok += all[n]->next == NULL && all[n]->nb_segs == 1 && rte_mbuf_refcnt_read(all[n]) == 1;
        n++;
    }
    for (unsigned i = 0; i < n; i++)
        rte_mempool_put(pktpool_mempool(packets), all[i]);
    assert_int_equal(n, N_PKTS);
    assert_int_equal(ok, N_PKTS);
    return 0;
}

/* ---- out */

static struct pkt *out(uint32_t len, uint8_t fill)
{
    struct pkt *p = pkt_alloc(pool);

    memset(pkt_put(p, len), fill, len);
    return p;
}

/* Four segments, each with a second holder, as TCP's flight is. */
static struct pkt *a_train(struct pkt *held[4])
{
    struct pkt *head = NULL, *last = NULL;

    for (unsigned i = 0; i < 4; i++) {
        struct pkt *p = held[i] = out(i == 0 ? HEADERS + 1000 : i < 3 ? 1000 : 400, (uint8_t)i);

        ++*p->refs;
        if (head == NULL)
            head = p;
        else
            pkt_couple(head, last, p);
        last = p;
    }
    head->l2_len = 14;
    head->l3_len = 20;
    head->l4_len = 20;
    head->flags = PKT_TX_IP_CSUM | PKT_TX_TCP_CSUM;
    return head;
}

static void a_train_is_a_chain_for_the_port_to_cut_up(void **state)
{
    struct pkt *held[4];
    struct rte_mbuf *m = mbuf_of_pkt(a_train(held));
    unsigned n = 0;

    assert_int_equal(m->nb_segs, 4);
    assert_int_equal(m->pkt_len, HEADERS + 3400);
    assert_int_equal(m->data_len, HEADERS + 1000);
    assert_int_equal(m->tso_segsz, 1000);
    assert_int_equal(m->l2_len, 14);
    assert_int_equal(m->l3_len, 20);
    assert_int_equal(m->l4_len, 20);
    assert_true((m->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0);
    assert_true((m->ol_flags & RTE_MBUF_F_TX_IPV4) != 0);
    assert_true((m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM) != 0);
    rte_mbuf_sanity_check(m, 1);
    for (const struct rte_mbuf *at = m; at != NULL; at = at->next, n++)
        assert_int_equal(*rte_pktmbuf_mtod_offset(at, const uint8_t *, at->data_len - 1), n);
    assert_int_equal(n, 4);
    rte_pktmbuf_free(m);
    for (unsigned i = 0; i < 4; i++)
        pkt_unref(held[i]);
}

static void a_single_packet_is_no_chain_and_nothing_of_the_last_time_is_left(void **state)
{
    struct pkt *held[4];
    struct rte_mbuf *m;

    rte_pktmbuf_free(mbuf_of_pkt(a_train(held)));
    /* TCP sends the first one again, alone: its mbuf is still linked. */
    held[0]->flags = 0;
    ++*held[0]->refs;
    m = mbuf_of_pkt(held[0]);
    assert_int_equal(m->nb_segs, 1);
    assert_null(m->next);
    assert_int_equal(m->ol_flags, 0);
    assert_int_equal(m->tso_segsz, 0);
    assert_int_equal(m->pkt_len, HEADERS + 1000);
    rte_pktmbuf_free(m);
    for (unsigned i = 0; i < 4; i++)
        pkt_unref(held[i]);
}

/* ACKed first, then returned by the port: until both, the bytes stay. */
static void the_port_has_its_bytes_until_it_returns_them(void **state)
{
    struct pkt *held[4], *others[N_PKTS];
    struct rte_mbuf *m = mbuf_of_pkt(a_train(held));
    unsigned n = 0, i = 0;

    for (unsigned k = 0; k < 4; k++)
        pkt_unref(held[k]);
    assert_int_equal(pktpool_in_use(packets), 4);
    while ((others[n] = pkt_alloc(pool)) != NULL) { /* whoever writes now, writes elsewhere */
        memset(pkt_put(others[n], 2000), 0xff, 2000);
        n++;
    }
    assert_int_equal(n, N_PKTS - 4);
    for (const struct rte_mbuf *at = m; at != NULL; at = at->next, i++)
        for (unsigned k = 0; k < at->data_len; k++)
            assert_int_equal(*rte_pktmbuf_mtod_offset(at, const uint8_t *, k), i);
    assert_int_equal(i, 4);
    rte_pktmbuf_free(m);
    while (n > 0)
        pkt_free(others[--n]);
}

/* A port returns the buffers of a chain as it likes: the last first, some later. */
static void a_port_may_return_a_chain_piece_by_piece(void **state)
{
    struct rte_mbuf *pieces[4], *m;
    struct pkt *held[4];

    m = mbuf_of_pkt(a_train(held));
    for (unsigned i = 0; i < 4; i++, m = m->next)
        pieces[i] = m;
    rte_pktmbuf_free_seg(pieces[3]);
    pkt_unref(held[0]);
    pkt_unref(held[3]);
    rte_pktmbuf_free_seg(pieces[0]);
    rte_pktmbuf_free_seg(pieces[1]);
    pkt_unref(held[2]);
    rte_pktmbuf_free_seg(pieces[2]);
    pkt_unref(held[1]);
}

/* ---- in */

static void frame_of(struct frame *f, uint32_t len)
{
    static uint8_t bytes[3000];
    const struct frame_tcp t = { .src = 1000,
                                 .dst = 80,
                                 .seq = 5,
                                 .flags = ACK,
                                 .wnd = 500,
                                 .wscale = -1,
                                 .len = len,
                                 .payload = bytes };

    for (uint32_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 3);
    frame_eth(f, us, peer, 0x0800, 0);
    frame_ip4(f, PEER, US, 6, NULL, 0);
    frame_tcp(f, &t);
    frame_done(f);
}

/* @sizes: of the buffers, 0 for an empty one; up to UINT32_MAX, which repeats the one before. */
static struct rte_mbuf *chain(const struct frame *f, const uint32_t *sizes)
{
    struct rte_mbuf *head = NULL, **at = &head;
    uint32_t done = 0, n = 0;

    while (done < f->len || *sizes == 0) {
        struct rte_mbuf *m = rte_pktmbuf_alloc(pktpool_mempool(packets));
        const uint32_t part = MIN(*sizes == UINT32_MAX ? sizes[-1] : *sizes, f->len - done);

        if (head != NULL)
            m->data_off = 0;
        memcpy(rte_pktmbuf_mtod(m, void *), f->b + done, part);
        m->data_len = (uint16_t)part;
        done += part;
        *at = m;
        at = &m->next;
        n++;
        sizes += *sizes != UINT32_MAX;
    }
    head->nb_segs = (uint16_t)n;
    head->pkt_len = f->len;
    return head;
}

static struct pkt *receive(const struct frame *f, const uint32_t *sizes, uint64_t ol_flags)
{
    struct rte_mbuf *m = chain(f, sizes);

    m->ol_flags = ol_flags;
    return pkt_of_mbuf(m, pool, 2);
}

static void a_received_chain_becomes_a_train_of_packets(void **state)
{
    static const uint32_t sizes[] = { 1000, 1000, 500, UINT32_MAX };
    struct frame f;
    struct pkt *p;

    frame_of(&f, 2600);
    p = receive(&f, sizes, RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_IP_CKSUM_GOOD);
    assert_int_equal(p->port, 2);
    assert_int_equal(p->n_more, 3);
    assert_int_equal(p->more_len, f.len - 1000);
    assert_int_equal(get16(p->data + 16), 1000 - 14);
    assert_int_equal(p->flags, PKT_RX_IP_CSUM_GOOD | PKT_RX_L4_CSUM_GOOD);
    pkt_free(p);
}

static void what_a_port_has_merged_it_has_checked(void **state)
{
    static const uint32_t one[] = { 2000, 1 }, tiny[] = { 60, UINT32_MAX };
    struct frame f;
    struct pkt *p;

    frame_of(&f, 50); /* few bytes: they end up in one buffer */
    f.b[f.len - 1] ^= 1;
    p = receive(&f, one, RTE_MBUF_F_RX_LRO);
    assert_int_equal(p->flags, PKT_RX_L4_CSUM_GOOD);
    pkt_free(p);
    p = receive(&f, tiny, RTE_MBUF_F_RX_LRO);
    assert_int_equal(p->n_more, 0);
    assert_int_equal(p->flags, PKT_RX_L4_CSUM_GOOD);
    pkt_free(p);
    p = receive(&f, tiny, RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_BAD);
    assert_int_equal(p->flags, PKT_RX_L4_CSUM_BAD);
    pkt_free(p);
}

static void empty_buffers_are_left_out(void **state)
{
    static const uint32_t first[] = { 0, 1000, 0, 0, 700, UINT32_MAX };
    static const uint32_t last[] = { 1000, 3000, 0, 0, 1 };
    static const uint32_t all_in_one[] = { 0, 1300, 0, 1 };
    struct frame f;
    struct pkt *p;

    frame_of(&f, 2000);
    p = receive(&f, first, RTE_MBUF_F_RX_L4_CKSUM_GOOD);
    assert_int_equal(p->n_more, 2);
    assert_int_equal(pkt_total_len(p), f.len);
    assert_true((p->flags & PKT_RX_L4_CSUM_GOOD) != 0);
    pkt_free(p);
    p = receive(&f, last, 0);
    assert_int_equal(p->n_more, 1);
    pkt_free(p);
    frame_of(&f, 1200);
    p = receive(&f, all_in_one, RTE_MBUF_F_RX_L4_CKSUM_GOOD);
    assert_int_equal(p->n_more, 0);
    assert_int_equal(p->len, f.len);
    assert_int_equal(p->flags, PKT_RX_L4_CSUM_GOOD);
    pkt_free(p);
}

static void a_chain_of_nothing_is_an_empty_packet(void **state)
{
    static const uint32_t sizes[] = { 0, 0, 0, 1 };
    struct frame f = { .len = 0 };
    struct pkt *p = receive(&f, sizes, 0);

    assert_int_equal(p->len, 0); /* which net refuses */
    assert_int_equal(p->n_more, 0);
    pkt_free(p);
}

static void a_chain_too_long_for_a_train_is_dropped(void **state)
{
    static const uint32_t sizes[] = { 60, 8, UINT32_MAX };
    struct frame f;

    frame_of(&f, 2600);
    assert_null(receive(&f, sizes, 0));
}

static void what_is_not_tcp_and_does_not_fit_is_dropped(void **state)
{
    static const uint32_t sizes[] = { 1000, UINT32_MAX };
    struct frame f;

    frame_of(&f, 2600);
    f.b[23] = 17;
    assert_null(receive(&f, sizes, 0));
}

static void no_checksum_is_needed_where_the_port_vouches_for_the_bytes(void **state)
{
    static const uint32_t sizes[] = { 2000, 1 };
    struct frame f;
    struct pkt *p;

    frame_of(&f, 1000);
    p = receive(&f, sizes, RTE_MBUF_F_RX_IP_CKSUM_NONE | RTE_MBUF_F_RX_L4_CKSUM_NONE);
    assert_int_equal(p->flags, PKT_RX_IP_CSUM_GOOD | PKT_RX_L4_CSUM_GOOD);
    pkt_free(p);
    p = receive(&f, sizes, RTE_MBUF_F_RX_IP_CKSUM_BAD | RTE_MBUF_F_RX_L4_CKSUM_BAD);
    assert_int_equal(p->flags, PKT_RX_IP_CSUM_BAD | PKT_RX_L4_CSUM_BAD);
    pkt_free(p);
    p = receive(&f, sizes, 0);
    assert_int_equal(p->flags, 0);
    pkt_free(p);
}

/* The kernel is shown as much memory as they are long together (AF_XDP). */
static void there_is_no_gap_between_packets(void **state)
{
    assert_true(pktpool_is_dense(packets));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, NULL, all_home)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_train_is_a_chain_for_the_port_to_cut_up),
        TEST(there_is_no_gap_between_packets),
        TEST(a_single_packet_is_no_chain_and_nothing_of_the_last_time_is_left),
        TEST(the_port_has_its_bytes_until_it_returns_them),
        TEST(a_port_may_return_a_chain_piece_by_piece),
        TEST(a_received_chain_becomes_a_train_of_packets),
        TEST(what_a_port_has_merged_it_has_checked),
        TEST(empty_buffers_are_left_out),
        TEST(a_chain_of_nothing_is_an_empty_packet),
        TEST(a_chain_too_long_for_a_train_is_dropped),
        TEST(what_is_not_tcp_and_does_not_fit_is_dropped),
        TEST(no_checksum_is_needed_where_the_port_vouches_for_the_bytes),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
