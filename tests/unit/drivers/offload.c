#include "drivers/offload.h"
#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/base/hash.h"
#include "tests/lib/frames.h"
#include "tests/lib/pool.h"
#include "tests/lib/test.h"

#define US 0x0a000001
#define PEER 0x0a000002
#define ACK 16
#define PSH 8
#define FIN 1
#define SYN 2
#define CWR 128
#define LONG 3500

static const uint8_t us[6] = { 2, 0, 0, 0, 0, 1 }, peer[6] = { 2, 0, 0, 0, 0, 2 };

static uint64_t dice;

static uint32_t roll(uint32_t n)
{
    dice++;
    return (uint32_t)(hash_mix(dice) % n);
}

/* ---- a frame in pieces */

struct way {
    bool is_ip6;
    uint16_t vlan;
    uint8_t flags;
};

static void segment(struct frame *f, const struct way *w, uint32_t seq, const uint8_t *bytes,
                    uint32_t len)
{
    const struct frame_tcp t = { .src = 1000,
                                 .dst = 80,
                                 .seq = seq,
                                 .ack = 5,
                                 .flags = w->flags,
                                 .wnd = 500,
                                 .wscale = -1,
                                 .has_ts = true,
                                 .tsval = 7,
                                 .len = len,
                                 .payload = bytes };

    frame_eth(f, us, peer, w->is_ip6 ? 0x86dd : 0x0800, w->vlan);
    if (w->is_ip6)
        frame_ip6(f, "2001:db8::2", "2001:db8::1", 6);
    else
        frame_ip4(f, PEER, US, 6, NULL, 0);
    frame_tcp(f, &t);
    frame_done(f);
}

static void fill(uint8_t *bytes, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 5 + (i >> 8));
}

/* As a port leaves it: only the first buffer has headroom. @sizes: of the pieces; the last repeats.
 */
static struct pkt *pieces(struct test_pool *tp, const uint8_t *bytes, uint32_t len,
                          const uint32_t *sizes, unsigned n_sizes)
{
    struct pkt *head = NULL, *last = NULL;

    for (unsigned i = 0; len > 0; i++) {
        const uint32_t part = MIN(sizes[MIN(i, n_sizes - 1)], len);
        struct pkt *p = pkt_alloc(&tp->pool);

        if (head != NULL)
            p->data = p->head;
        memcpy(pkt_put(p, part), bytes, part);
        if (head == NULL)
            head = p;
        else
            pkt_couple(head, last, p);
        last = p;
        bytes += part;
        len -= part;
    }
    return head;
}

/* Everything behind the headers, in order. */
static void check_payload(const struct pkt *p, uint32_t hdr, const uint8_t *bytes, uint32_t len)
{
    const struct pkt *q = p;
    uint32_t at = p->len - hdr, more = 0;

    assert_true(p->len >= hdr && at <= len);
    assert_memory_equal(p->data + hdr, bytes, at);
    for (unsigned i = 0; i < p->n_more; i++) {
        q = q->more;
        assert_true(q->len > 0 && at + q->len <= len);
        assert_memory_equal(q->data, bytes + at, q->len);
        at += q->len;
        more += q->len;
    }
    assert_int_equal(at, len);
    if (p->n_more > 0)
        assert_int_equal(p->more_len, more);
}

/* IP says how long the head is, and what it says of itself is right. */
static void check_head(const struct pkt *p, const struct frame *f, bool is_ip6)
{
    const uint8_t *ip = p->data + f->ip_at;

    if (is_ip6) {
        assert_int_equal(get16(ip + 4), p->len - f->ip_at - 40);
    } else {
        assert_int_equal(get16(ip + 2), p->len - f->ip_at);
        assert_true(cksum_is_good(cksum_add(0, ip, 20)));
    }
}

static void a_segment_in_several_buffers_becomes_a_train(void **state)
{
    static const uint32_t cuts[][3] = { { 2000, 1000, 500 }, { 66, 1999, 11 }, { 135, 1, 777 },
                                        { 1, 1, 1800 },      { 15, 20, 1001 }, { 60, 2, 1500 },
                                        { 1777, 3, 1001 } };
    uint8_t bytes[LONG];

    fill(bytes, LONG);
    for (unsigned i = 0; i < 4 * ARRAY_SIZE(cuts); i++) {
        const struct way w = { (i & 1) != 0, (i & 2) != 0 ? 7 : 0, ACK | PSH };
        struct test_pool tp;
        struct frame f;
        struct pkt *p;

        test_pool_init(&tp, 0);
        segment(&f, &w, 100, bytes, LONG);
        p = offload_join(pieces(&tp, f.b, f.len, cuts[i / 4], 3));
        assert_non_null(p);
        assert_int_equal(p->flags & (PKT_RX_L4_CSUM_GOOD | PKT_RX_L4_CSUM_BAD),
                         PKT_RX_L4_CSUM_GOOD);
        check_head(p, &f, w.is_ip6);
        assert_true(p->len > f.l4_at + 32); /* not without payload, as an ACK alone */
        check_payload(p, f.l4_at + 32, bytes, LONG);
        pkt_free(p);
        test_pool_fini(&tp);
    }
}

static void a_wrong_checksum_is_found_unless_the_port_has_looked(void **state)
{
    static const uint32_t sizes[] = { 1001, 999 };
    const struct way w = { .flags = ACK };
    uint8_t bytes[LONG];
    struct test_pool tp;
    struct frame f;
    struct pkt *p;

    fill(bytes, LONG);
    test_pool_init(&tp, 0);
    segment(&f, &w, 100, bytes, LONG);
    f.b[2500] ^= 1;
    p = offload_join(pieces(&tp, f.b, f.len, sizes, 2));
    assert_int_equal(p->flags, PKT_RX_L4_CSUM_BAD);
    pkt_free(p);
    p = pieces(&tp, f.b, f.len, sizes, 2);
    p->flags = PKT_RX_L4_CSUM_GOOD;
    p = offload_join(p); /* the sum is of no segment, as when a port has merged several */
    assert_int_equal(p->flags, PKT_RX_L4_CSUM_GOOD);
    pkt_free(p);
    p = pieces(&tp, f.b, f.len, sizes, 2);
    p->flags = PKT_RX_L4_CSUM_BAD;
    p = offload_join(p);
    assert_int_equal(p->flags, PKT_RX_L4_CSUM_BAD);
    pkt_free(p);
    /* A wrong one of IP stays wrong when the length changes. */
    f.b[f.ip_at + 11] ^= 1;
    p = offload_join(pieces(&tp, f.b, f.len, sizes, 2));
    assert_false(cksum_is_good(cksum_add(0, p->data + f.ip_at, 20)));
    pkt_free(p);
    test_pool_fini(&tp);
}

static void a_frame_that_ip_knows_to_be_shorter_is_cut(void **state)
{
    static const uint32_t sizes[] = { 500 };
    const struct way w = { .flags = ACK };
    uint8_t bytes[LONG];

    fill(bytes, LONG);
    for (uint32_t len = 0; len < 1600; len += 97) {
        struct test_pool tp;
        struct frame f;
        struct pkt *p;

        test_pool_init(&tp, 0);
        segment(&f, &w, 100, bytes, len);
        frame_bytes(&f, bytes, 1300); /* behind its end */
        p = offload_join(pieces(&tp, f.b, f.len, sizes, 1));
        assert_non_null(p);
        if (p->n_more > 0) {
            check_head(p, &f, false);
            check_payload(p, f.l4_at + 32, bytes, len);
            assert_true((p->flags & PKT_RX_L4_CSUM_GOOD) != 0);
        } else {
            assert_true(p->len >= f.l4_at + 32 + len); /* net trims it */
        }
        pkt_free(p);
        test_pool_fini(&tp);
    }
}

static void a_frame_shorter_than_ip_says_is_left_to_net_to_refuse(void **state)
{
    static const uint32_t sizes[] = { 500 };
    const struct way w = { .flags = ACK };
    uint8_t bytes[LONG];
    struct test_pool tp;
    struct frame f;
    struct pkt *p;

    fill(bytes, LONG);
    test_pool_init(&tp, 0);
    segment(&f, &w, 100, bytes, LONG);
    p = offload_join(pieces(&tp, f.b, f.len - 1, sizes, 1));
    assert_int_equal(p->n_more, 0);
    assert_true(get16(p->data + f.ip_at + 2) > p->len - f.ip_at);
    pkt_free(p);
    test_pool_fini(&tp);
}

static void what_is_not_plain_tcp_goes_into_one_buffer_or_away(void **state)
{
    static const uint32_t sizes[] = { 300, 700 };
    uint8_t bytes[LONG];

    fill(bytes, LONG);
    for (unsigned i = 0; i < 10; i++) {
        const bool fits = (i & 1) == 0;
        const uint32_t len = fits ? 1500 : LONG;
        const struct way w = { .is_ip6 = i == 4 || i == 5, .flags = i >= 8 ? SYN | ACK : ACK };
        struct test_pool tp;
        struct frame f;
        struct pkt *p;

        test_pool_init(&tp, 0);
        segment(&f, &w, 100, bytes, len);
        if (i < 2)
            f.b[f.ip_at + 9] = 17; /* UDP */
        else if (i < 4)
            f.b[f.ip_at + 6] = 0x20; /* a fragment */
        else if (i < 6)
            f.b[f.ip_at + 6] = 60; /* an extension header */
        else if (i < 8)
            f.b[f.ip_at] = 0x46; /* an option */
        p = offload_join(pieces(&tp, f.b, f.len, sizes, 2));
        if (fits) {
            assert_int_equal(p->n_more, 0);
            assert_int_equal(p->len, f.len);
            assert_memory_equal(p->data, f.b, f.len);
            pkt_free(p);
        } else {
            assert_null(p);
        }
        test_pool_fini(&tp);
    }
}

static void any_bytes_in_any_pieces_do_no_harm(void **state)
{
    uint8_t bytes[LONG];

    fill(bytes, LONG);
    for (dice = 0; dice < 400000;) {
        const struct way w = { roll(2) != 0, roll(2) != 0 ? 7 : 0,
                               (uint8_t)(roll(4) ? ACK : roll(256)) };
        uint32_t sizes[5];
        struct test_pool tp;
        struct frame f;
        struct pkt *p;

        test_pool_init(&tp, 0);
        segment(&f, &w, 100, bytes, roll(3) != 0 ? roll(LONG) : roll(100));
        for (unsigned i = 0; i < 5; i++)
            sizes[i] = 1 + roll(roll(2) != 0 ? 20 : 1500);
        sizes[4] += 64;
        for (unsigned i = roll(4); i > 0; i--)
            f.b[roll(MIN(f.len, 80u))] = (uint8_t)roll(256);
        p = offload_join(pieces(&tp, f.b, 1 + roll(f.len), sizes, 5));
        if (p != NULL && p->n_more > 0) {
            uint32_t more = 0;

            assert_int_not_equal(p->flags & (PKT_RX_L4_CSUM_GOOD | PKT_RX_L4_CSUM_BAD), 0);
            for (struct pkt *q = p; q != NULL;) {
                struct pkt *rest = q->n_more > 0 ? pkt_uncouple(q) : NULL;

                more += q->len;
                assert_true(q->len > 0);
                pkt_free(q);
                q = rest;
            }
            assert_true(more <= f.len);
        } else {
            pkt_free(p);
        }
        test_pool_fini(&tp);
    }
}

/* ---- a train to frames */

/* The pseudo header without its length, where the checksum goes. */
static void as_net_writes_it(const struct frame *f, const struct way *w, struct pkt *head)
{
    const struct ipaddr src = w->is_ip6 ? ipaddr_v6(f->b + f->ip_at + 8) : ipaddr_v4(PEER);
    const struct ipaddr dst = w->is_ip6 ? ipaddr_v6(f->b + f->ip_at + 24) : ipaddr_v4(US);

    cksum_store(head->data + f->l4_at + 16, cksum_fold(cksum_pseudo(&src, &dst, 6, 0)));
    head->l2_len = (uint8_t)f->ip_at;
    head->l3_len = (uint8_t)(f->l4_at - f->ip_at);
    head->l4_len = 32;
    head->port = 3;
    head->flags |= PKT_TX_TCP_CSUM | (w->is_ip6 ? PKT_TX_IP6 : 0);
}

static struct pkt *a_train(struct test_pool *tp, const struct way *w, const uint8_t *bytes,
                           uint32_t len, uint32_t mss)
{
    struct frame f;
    struct pkt *head, *last;

    segment(&f, w, 0xffffff00, bytes, mss); /* numbers wrap */
    head = last = test_pkt(tp, f.b, f.len);
    as_net_writes_it(&f, w, head);
    for (uint32_t at = mss; at < len; at += mss) {
        struct pkt *p = test_pkt(tp, bytes + at, MIN(mss, len - at));

        pkt_couple(head, last, p);
        last = p;
    }
    put16(head->data + f.ip_at + (w->is_ip6 ? 4 : 2),
          (uint16_t)(pkt_total_len(head) - f.ip_at - (w->is_ip6 ? 40 : 0)));
    return head;
}

static void finish(struct pkt *p)
{
    uint8_t *tcp = p->data + p->l2_len + p->l3_len;

    if ((p->flags & PKT_TX_TCP_CSUM) != 0)
        cksum_store(tcp + 16, cksum_finish(cksum_add(0, tcp, p->len - p->l2_len - p->l3_len)));
}

static void a_train_is_cut_into_what_tcp_would_have_sent(void **state)
{
    uint8_t bytes[8 * 1428];

    fill(bytes, sizeof(bytes));
    for (unsigned i = 0; i < 16; i++) {
        const struct way w = { (i & 1) != 0, (i & 2) != 0 ? 7 : 0, ACK | PSH | FIN | CWR };
        const bool tcp_csum = (i & 4) != 0;
        const uint32_t mss = (i & 8) != 0 ? 999 : 1428, len = 7 * mss + ((i & 8) != 0 ? 1 : mss);
        struct pkt *frames[PKT_TRAIN_MAX];
        struct test_pool tp;
        unsigned n;

        test_pool_init(&tp, 0);
        n = offload_split(a_train(&tp, &w, bytes, len, mss), tcp_csum, frames);
        assert_true(n == 8);
        for (unsigned k = 0; k < n; k++) {
            struct way one = w;
            struct frame f;

            if (k > 0)
                one.flags &= (uint8_t)~CWR;
            if (k + 1 < n)
                one.flags &= (uint8_t) ~(PSH | FIN);
            segment(&f, &one, 0xffffff00 + k * mss, bytes + k * mss, MIN(mss, len - k * mss));
            assert_int_equal((frames[k]->flags & PKT_TX_TCP_CSUM) != 0, tcp_csum);
            finish(frames[k]);
            assert_int_equal(frames[k]->n_more, 0);
            assert_int_equal(frames[k]->port, 3);
            assert_int_equal(frames[k]->len, f.len);
            assert_memory_equal(frames[k]->data, f.b, f.len);
            pkt_free(frames[k]);
        }
        test_pool_fini(&tp);
    }
}

static void a_single_packet_is_left_as_it_is(void **state)
{
    struct pkt *frames[PKT_TRAIN_MAX], *p;
    struct test_pool tp;

    test_pool_init(&tp, 0);
    p = test_pkt(&tp, "anything", 8);
    assert_int_equal(offload_split(p, false, frames), 1);
    assert_ptr_equal(frames[0], p);
    assert_memory_equal(p->data, "anything", 8);
    pkt_free(p);
    test_pool_fini(&tp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_in_several_buffers_becomes_a_train),
        cmocka_unit_test(a_wrong_checksum_is_found_unless_the_port_has_looked),
        cmocka_unit_test(a_frame_that_ip_knows_to_be_shorter_is_cut),
        cmocka_unit_test(a_frame_shorter_than_ip_says_is_left_to_net_to_refuse),
        cmocka_unit_test(what_is_not_plain_tcp_goes_into_one_buffer_or_away),
        cmocka_unit_test(any_bytes_in_any_pieces_do_no_harm),
        cmocka_unit_test(a_train_is_cut_into_what_tcp_would_have_sent),
        cmocka_unit_test(a_single_packet_is_left_as_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
