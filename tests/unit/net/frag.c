#include "dataplane/net/frag.h"
#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "tests/lib/stack6.h"
#include "tests/lib/test.h"

#define SEC UINT64_C(1000000)

static unsigned n_taken;
static uint32_t taken_len;
static uint16_t taken_flags;
static uint8_t taken[4096];

static uint64_t drops(struct stack *s, enum drop why)
{
    return net_counters(s->net)->drops[why];
}

static enum drop take(void *ctx, struct pkt *p, const struct ipaddr *src, const struct ipaddr *dst)
{
    n_taken++;
    taken_len = p->len;
    taken_flags = p->flags;
    memcpy(taken, p->data, p->len);
    pkt_free(p);
    return DROP_NONE;
}

static uint8_t bytes[65536];

static void start(struct stack *s)
{
    stack6_init(s);
    s->answer_arp = true;
    net_set_proto(s->net, 253, take, NULL);
    net_set_proto(s->net, 6, take, NULL);
    stack6_teach(s, PEER6);
    n_taken = 0;
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
}

/* Bytes @off to @end of the datagram @id. */
static void piece(struct stack *s, int family, uint16_t id, uint8_t protocol, uint32_t off,
                  uint32_t end, bool more)
{
    struct frame f;

    if (family == 4) {
        frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
        frame_ip4(&f, PEER, US, protocol, NULL, 0);
        put16(f.b + f.ip_at + 4, id);
        put16(f.b + f.ip_at + 6, (uint16_t)(off / 8 | (more ? 0x2000 : 0)));
        frame_bytes(&f, bytes + off, end - off);
        put16(f.b + f.ip_at + 2, (uint16_t)(f.len - f.ip_at));
        put16(f.b + f.ip_at + 10, 0);
        cksum_store(f.b + f.ip_at + 10, cksum_finish(cksum_add(0, f.b + f.ip_at, 20)));
    } else {
        stack6_frame(&f, PEER6, US6, protocol);
        frame_frag6(&f, id, off, more);
        frame_bytes(&f, bytes + off, end - off);
        put16(f.b + f.ip_at + 4, (uint16_t)(f.len - f.ip_at - 40));
    }
    stack_rx(s, &f);
}

#define BOTH(family) for (int family = 4; family <= 6; family += 2)

static void fragments_are_put_together_in_any_order(void **state)
{
    static const uint32_t orders[][3] = { { 0, 1, 2 }, { 2, 1, 0 }, { 1, 0, 2 },
                                          { 1, 2, 0 }, { 0, 2, 1 }, { 2, 0, 1 } };
    struct stack s;

    start(&s);
    BOTH(family)
    {
        for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
            const unsigned before = n_taken;

            for (unsigned k = 0; k < 3; k++) {
                const uint32_t n = orders[i][k];

                assert_int_equal(n_taken, before);
                piece(&s, family, (uint16_t)(i + 1), 253, n * 600, n == 2 ? 1501 : n * 600 + 600,
                      n < 2);
            }
            assert_int_equal(n_taken, before + 1);
            assert_int_equal(taken_len, 1501);
            assert_memory_equal(taken, bytes, 1501);
        }
    }
    assert_int_equal(net_counters(s.net)->frags_joined, 12);
    assert_null(stack_next(&s));
    stack_fini(&s);
}

static void datagrams_are_told_apart(void **state)
{
    struct stack s;

    start(&s);
    BOTH(family)
    {
        const unsigned before = n_taken;

        piece(&s, family, 1, 253, 0, 800, true);
        piece(&s, family, 2, 253, 800, 1000, false);
        assert_int_equal(n_taken, before);
        piece(&s, family, 1, 253, 800, 1000, false);
        piece(&s, family, 2, 253, 0, 800, true);
        assert_int_equal(n_taken, before + 2);
    }
    stack_fini(&s);
}

static void what_overlaps_spoils_its_datagram(void **state)
{
    static const struct {
        uint32_t off, end;
        bool more;
        enum drop why;
    } cases[] = {
        { 0, 808, true, DROP_FRAG_OVERLAP },     /* the first again, longer */
        { 0, 792, true, DROP_FRAG_OVERLAP },     /* and shorter */
        { 792, 1000, false, DROP_FRAG_OVERLAP }, /* teardrop */
        { 400, 640, true, DROP_FRAG_OVERLAP },   /* within */
        { 8, 400, false, DROP_FRAG_LENGTH },     /* an end before the end */
    };
    struct stack s;
    uint16_t id = 0;

    start(&s);
    BOTH(family)
    {
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
            const uint64_t before = drops(&s, cases[i].why), refused = drops(&s, DROP_FRAG_REFUSED);

            piece(&s, family, ++id, 253, 0, 800, true);
            piece(&s, family, id, 253, cases[i].off, cases[i].end, cases[i].more);
            assert_int_equal(drops(&s, cases[i].why), before + 2); /* it, and the one before */
            piece(&s, family, id, 253, 0, 800, true);
            piece(&s, family, id, 253, 800, 1000, false);
            assert_int_equal(drops(&s, DROP_FRAG_REFUSED), refused + 2);
        }
    }
    assert_int_equal(n_taken, 0);
    stack_fini(&s);
}

static void what_lies_beyond_the_end_spoils_it_too(void **state)
{
    struct stack s;

    start(&s);
    BOTH(family)
    {
        const uint64_t before = drops(&s, DROP_FRAG_LENGTH);

        piece(&s, family, 1, 253, 800, 1000, false);
        piece(&s, family, 1, 253, 1000, 1200, true);
        assert_int_equal(drops(&s, DROP_FRAG_LENGTH), before + 2);
    }
    stack_fini(&s);
}

static void the_same_fragment_twice_does_no_harm(void **state)
{
    struct stack s;

    start(&s);
    BOTH(family)
    {
        const unsigned before = n_taken;
        const uint64_t again = drops(&s, DROP_FRAG_DUPLICATE);

        piece(&s, family, 1, 253, 0, 800, true);
        piece(&s, family, 1, 253, 0, 800, true);
        assert_int_equal(drops(&s, DROP_FRAG_DUPLICATE), again + 1);
        piece(&s, family, 1, 253, 800, 1000, false);
        assert_int_equal(n_taken, before + 1);
    }
    stack_fini(&s);
}

static void impossible_fragments_are_refused_alone(void **state)
{
    static const struct {
        uint8_t protocol;
        uint32_t off, end;
        bool more;
        enum drop why;
        uint32_t pointer; /* of the parameter problem of IPv6; 0: first fragment */
    } cases[] = {
        { 253, 0, 801, true, DROP_FRAG_LENGTH, 4 },
        { 253, 800, 800, true, DROP_FRAG_LENGTH, 4 },
        { 253, 65528, 65536, true, DROP_FRAG_LENGTH, 42 }, /* ping of death */
        { 6, 0, 16, true, DROP_FRAG_TINY, 0 },
        { 6, 8, 800, true, DROP_FRAG_TINY, 0 },
        { 17, 0, 0, true, DROP_FRAG_LENGTH, 4 },
    };
    struct stack s;

    start(&s);
    BOTH(family)
    {
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
            const uint64_t before = drops(&s, cases[i].why);

            piece(&s, family, 9, cases[i].protocol, cases[i].off, cases[i].end, cases[i].more);
            assert_int_equal(drops(&s, cases[i].why), before + 1);
            if (family == 6) {
                const struct stack_frame *out = stack6_icmp(&s, 4);

                assert_int_equal(get32(out->b + 14 + 44), cases[i].pointer);
                assert_int_equal(out->b[14 + 41], cases[i].pointer != 0 ? 0 : 3);
            }
            assert_null(stack_next(&s));
        }
        piece(&s, family, 9, 6, 0, 24, true); /* a whole TCP header */
        piece(&s, family, 9, 6, 24, 800, false);
    }
    assert_int_equal(n_taken, 2);
    stack_fini(&s);
}

static void the_rest_does_not_come_and_the_sender_is_told(void **state)
{
    const struct stack_frame *out;
    struct stack s;

    start(&s);
    piece(&s, 4, 1, 253, 0, 800, true);
    stack_run(&s, 14 * SEC);
    assert_int_equal(drops(&s, DROP_FRAG_TIMEOUT), 0);
    stack_run(&s, 2 * SEC);
    assert_int_equal(drops(&s, DROP_FRAG_TIMEOUT), 1);
    out = stack_next(&s);
    assert_int_equal(out->b[34], 11);
    assert_int_equal(out->b[35], 1);
    piece(&s, 4, 1, 253, 800, 1000, false); /* without the first nobody knows whom to tell */
    stack_run(&s, 16 * SEC);
    assert_null(stack_next(&s));
    piece(&s, 6, 1, 253, 0, 800, true);
    stack_run(&s, 16 * SEC);
    assert_int_equal(drops(&s, DROP_FRAG_TIMEOUT), 3);
    out = stack6_icmp(&s, 3);
    assert_int_equal(out->b[14 + 41], 1);
    stack_fini(&s);
}

static void there_is_room_for_so_many(void **state)
{
    struct stack s;

    start(&s);
    for (uint32_t i = 0; i <= FRAG_PIECES; i++)
        piece(&s, 4, 1, 253, i * 64, i * 64 + 64, true);
    assert_int_equal(drops(&s, DROP_FRAG_MANY), FRAG_PIECES + 1);
    for (uint16_t id = 2; id < 2 + FRAG_DATAGRAMS; id++)
        piece(&s, 4, id, 253, 0, 64, true);
    assert_int_equal(s.pool.n_out, FRAG_DATAGRAMS);
    assert_int_equal(drops(&s, DROP_FRAG_NO_ROOM), 0); /* the spoiled one had no packets */
    piece(&s, 4, 999, 253, 0, 64, true);
    assert_int_equal(drops(&s, DROP_FRAG_NO_ROOM), 1);
    for (uint16_t id = 3; id < 2 + FRAG_DATAGRAMS; id++)
        for (uint32_t k = 1; k < 5; k++)
            piece(&s, 4, id, 253, k * 64, k * 64 + 64, true);
    assert_true(s.pool.n_out <= FRAG_PACKETS);
    stack_fini(&s);
}

static void a_datagram_larger_than_a_buffer_is_refused(void **state)
{
    struct stack s;

    start(&s);
    BOTH(family)
    {
        const uint64_t before = drops(&s, DROP_FRAG_LARGE);

        piece(&s, family, 1, 253, 0, 1200, true);
        piece(&s, family, 1, 253, 1200, 2400, false);
        assert_int_equal(drops(&s, DROP_FRAG_LARGE), before + 2);
    }
    stack_fini(&s);
}

static void a_large_echo_request_is_answered_piece_by_piece(void **state)
{
    const struct ipaddr us6 = ip6(US6), peer6 = ip6(PEER6);
    struct stack s;

    start(&s);
    BOTH(family)
    {
        const uint32_t front = family == 4 ? 34 : 14 + 48;
        uint64_t sum = 0;

        memset(bytes, 0, 8);
        bytes[0] = family == 4 ? 8 : 128;
        if (family == 6)
            sum = cksum_pseudo(&peer6, &us6, 58, 4008);
        cksum_store(bytes + 2, cksum_finish(cksum_add(sum, bytes, 4008)));
        for (uint32_t off = 0; off < 4008; off += 1400)
            piece(&s, family, 5, family == 4 ? 1 : 58, off, MIN(off + 1400, 4008u),
                  off + 1400 < 4008);
        sum = family == 6 ? cksum_pseudo(&us6, &peer6, 58, 4008) : 0;
        for (uint32_t off = 0; off < 4008; off += 1400) {
            const struct stack_frame *out = stack_next(&s);

            assert_non_null(out);
            assert_int_equal(out->len - front, MIN(1400u, 4008 - off));
            if (off == 0)
                assert_int_equal(out->b[front], family == 4 ? 0 : 129);
            else
                assert_memory_equal(out->b + front, bytes + off, out->len - front);
            assert_int_equal(family == 4 ? (get16(out->b + 20) & 0x1fff) * 8u
                                         : get16(out->b + 14 + 42) & 0xfff8u,
                             off);
            sum = cksum_add(sum, out->b + front, out->len - front);
        }
        assert_true(cksum_is_good(sum));
        assert_null(stack_next(&s));
    }
    bytes[4000] ^= 1;
    for (uint32_t off = 0; off < 4008; off += 1400)
        piece(&s, 6, 6, 58, off, MIN(off + 1400, 4008u), off + 1400 < 4008);
    assert_int_equal(drops(&s, DROP_ICMP6_CSUM), 3);
    stack_fini(&s);
}

static struct pkt *steered;

static bool steer(void *ctx, struct pkt *p)
{
    steered = p;
    return true;
}

static void what_is_whole_may_be_another_workers(void **state)
{
    struct stack s;

    stack6_defaults(&s);
    s.ops.steer = steer;
    assert_true(stack_start(&s));
    net_set_proto(s.net, 253, take, NULL);
    n_taken = 0;
    BOTH(family)
    {
        piece(&s, family, 1, 253, 0, 800, true);
        piece(&s, family, 1, 253, 800, 1000, false);
        assert_int_equal(n_taken, family == 4 ? 0 : 1);
        assert_int_equal(steered->len, 14 + (family == 4 ? 20 : 40) + 1000);
        net_rx(s.net, &steered, 1); /* there it is a frame like any other */
        assert_int_equal(n_taken, family == 4 ? 1 : 2);
    }
    stack_fini(&s);
}

static void fragments_do_not_nest(void **state)
{
    struct stack s;

    start(&s);
    memset(bytes, 0, 8);
    bytes[0] = 253;
    bytes[3] = 1; /* a fragment header, with more to come */
    piece(&s, 6, 1, 44, 0, 800, true);
    piece(&s, 6, 1, 44, 800, 1000, false);
    assert_int_equal(drops(&s, DROP_IP6_EXT_ORDER), 1);
    assert_int_equal(n_taken, 0);
    stack_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fragments_are_put_together_in_any_order),
        cmocka_unit_test(datagrams_are_told_apart),
        cmocka_unit_test(what_overlaps_spoils_its_datagram),
        cmocka_unit_test(what_lies_beyond_the_end_spoils_it_too),
        cmocka_unit_test(the_same_fragment_twice_does_no_harm),
        cmocka_unit_test(impossible_fragments_are_refused_alone),
        cmocka_unit_test(the_rest_does_not_come_and_the_sender_is_told),
        cmocka_unit_test(there_is_room_for_so_many),
        cmocka_unit_test(a_datagram_larger_than_a_buffer_is_refused),
        cmocka_unit_test(a_large_echo_request_is_answered_piece_by_piece),
        cmocka_unit_test(what_is_whole_may_be_another_workers),
        cmocka_unit_test(fragments_do_not_nest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
