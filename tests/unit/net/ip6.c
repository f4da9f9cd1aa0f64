#include "dataplane/net/ip6.h"
#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/net/flow.h"
#include "tests/lib/stack6.h"
#include "tests/lib/test.h"

#include <errno.h>

#define SEC UINT64_C(1000000)

static unsigned n_taken;
static uint32_t taken_len;
static uint16_t taken_flags;

static uint64_t drops(struct stack *s, enum drop why)
{
    return net_counters(s->net)->drops[why];
}

static enum drop take(void *ctx, struct pkt *p, const struct ipaddr *src, const struct ipaddr *dst)
{
    n_taken++;
    taken_len = p->len;
    taken_flags = p->flags;
    pkt_free(p);
    return DROP_NONE;
}

static void start(struct stack *s)
{
    stack6_init(s);
    net_set_proto(s->net, 253, take, NULL);
    net_set_proto(s->net, 6, take, NULL);
    stack6_teach(s, PEER6);
    n_taken = 0;
}

static void packet(struct frame *f, const char *src, const char *dst)
{
    stack6_frame(f, src, dst, 253);
    frame_bytes(f, "0123456789", 10);
    frame_done(f);
}

static void a_packet_for_us_is_delivered_without_its_padding(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    packet(&f, PEER6, US6);
    frame_bytes(&f, "padding", 7);
    f.b[f.ip_at + 1] = 0x30; /* congestion experienced */
    stack_rx(&s, &f);
    assert_int_equal(n_taken, 1);
    assert_int_equal(taken_len, 10);
    assert_true((taken_flags & PKT_RX_CE) != 0);
    packet(&f, PEER_NEAR6, NEAR6);
    stack_rx(&s, &f);
    assert_int_equal(n_taken, 2);
    stack_fini(&s);
}

static void packets_that_cannot_be_are_dropped(void **state)
{
    static const struct {
        const char *src, *dst;
        enum drop why;
    } cases[] = {
        { "ff02::9", US6, DROP_IP6_MARTIAN },
        { "::1", US6, DROP_IP6_MARTIAN },
        { "::ffff:10.0.0.2", US6, DROP_IP6_MARTIAN },
        { "::", US6, DROP_IP6_MARTIAN },
        { US6, US6, DROP_IP6_MARTIAN }, /* land */
        { PEER6, "2001:db8::9", DROP_IP6_NOT_OURS },
        { PEER6, "ff02::9", DROP_IP6_NOT_OURS },
        { PEER6, NODES6, DROP_IP6_NOT_OURS }, /* nothing but ICMP is for all */
        { PEER6, "::1", DROP_IP6_NOT_OURS },
    };
    struct stack s;
    struct frame f;

    start(&s);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const uint64_t before = drops(&s, cases[i].why);

        packet(&f, cases[i].src, cases[i].dst);
        stack_rx(&s, &f);
        assert_int_equal(drops(&s, cases[i].why), before + 1);
        assert_null(stack_next(&s));
    }
    packet(&f, PEER6, US6);
    memcpy(f.b, frame_broadcast, 6);
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_IP6_L2_BROADCAST), 1);
    packet(&f, PEER6, US6);
    f.b[f.ip_at] = 0x50;
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_IP6_VERSION), 1);
    packet(&f, PEER6, US6);
    for (; f.len > f.ip_at; f.len--) {
        if (f.len == f.ip_at + 50)
            continue; /* the whole */
        stack_rx(&s, &f);
    }
    assert_int_equal(drops(&s, DROP_IP6_SHORT), 49);
    assert_int_equal(n_taken, 0);
    stack_fini(&s);
}

/* ---- extension headers */

struct header {
    uint8_t kind, len;
    uint8_t body[22];
};

static void extension_headers_are_walked_within_limits(void **state)
{
    static const struct {
        struct header h[8];
        enum drop why;
        int code; /* of the parameter problem; -1: none */
        uint32_t at;
    } cases[] = {
        { { { 0, 6, { 1, 4 } } }, DROP_NONE, -1, 0 },
        { { { 0, 6, { 5, 2, 0, 0, 1, 0 } }, { 60, 6, { 1, 4 } } }, DROP_NONE, -1, 0 },
        { { { 60, 6, { 0x1e, 4, 9, 9, 9, 9 } } }, DROP_NONE, -1, 0 },      /* unknown: skip */
        { { { 60, 6, { 0x5e, 4 } } }, DROP_IP6_OPTION, -1, 0 },            /* drop */
        { { { 60, 6, { 0x9e, 4 } } }, DROP_IP6_OPTION, 2, 42 },            /* and tell */
        { { { 0, 6, { 0xc2, 4, 0, 1, 0, 0 } } }, DROP_IP6_OPTION, 2, 42 }, /* a jumbogram */
        { { { 60, 6, { 1, 9 } } }, DROP_IP6_OPTIONS, -1, 0 },
        { { { 60, 6, { 1, 4, 0, 0, 7, 0 } } }, DROP_IP6_OPTIONS, -1, 0 }, /* a hidden channel */
        { { { 60, 14, { 1, 12 } } }, DROP_IP6_OPTIONS, -1, 0 },
        { { { 60, 22, { 5, 0, 5, 0, 5, 0, 5, 0, 5, 0, 5, 0, 5, 0, 5, 0, 5, 0, 1, 2 } } },
          DROP_IP6_OPTIONS,
          -1,
          0 },
        { { { 60, 6, { 1, 4 } }, { 0, 6, { 1, 4 } } }, DROP_IP6_EXT_ORDER, 1, 40 },
        { { { 60, 6, { 1, 4 } }, { 60, 6, { 1, 4 } }, { 60, 6, { 1, 4 } } },
          DROP_IP6_EXT_ORDER,
          -1,
          0 },
        { { { 43, 6, { 0, 1 } } }, DROP_IP6_ROUTING, 0, 42 },
        { { { 43, 6, { 0, 0 } } }, DROP_IP6_ROUTING, -1, 0 },
        { { { 43, 6, { 4, 1 } } }, DROP_IP6_ROUTING, 0, 42 },
        { { { 43, 6, { 4, 0 } } }, DROP_NONE, -1, 0 }, /* nothing left to do */
        { { { 43, 6, { 4, 0 } }, { 43, 6, { 4, 0 } } }, DROP_IP6_EXT_ORDER, -1, 0 },
    };
    struct stack s;
    struct frame f;

    start(&s);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const uint64_t before = drops(&s, cases[i].why);
        const unsigned taken = n_taken;

        stack6_frame(&f, PEER6, US6, 253);
        for (const struct header *h = cases[i].h; h->len != 0; h++)
            frame_ext6(&f, h->kind, h->body, h->len);
        frame_bytes(&f, "0123456789", 10);
        frame_done(&f);
        stack_rx(&s, &f);
        assert_int_equal(n_taken - taken, cases[i].why == DROP_NONE);
        if (cases[i].why != DROP_NONE)
            assert_int_equal(drops(&s, cases[i].why), before + 1);
        if (cases[i].code >= 0) {
            const struct stack_frame *out = stack6_icmp(&s, 4);

            assert_int_equal(out->b[14 + 41], cases[i].code);
            assert_int_equal(get32(out->b + 14 + 44), cases[i].at);
            assert_memory_equal(out->b + 14 + 48, f.b + 14, f.len - 14);
        }
        assert_null(stack_next(&s));
    }
    stack_fini(&s);
}

static void a_long_chain_is_refused_and_a_short_one_not_read_beyond(void **state)
{
    static const uint8_t long_body[254] = { 0x1e, 252 }, routing[6] = { 4, 0 };
    struct stack s;
    struct frame f;

    start(&s);
    stack6_frame(&f, PEER6, US6, 253);
    frame_ext6(&f, 60, long_body, 254);
    frame_done(&f);
    stack_rx(&s, &f); /* 256 bytes: just allowed */
    assert_int_equal(n_taken, 1);
    stack6_frame(&f, PEER6, US6, 253);
    frame_ext6(&f, 60, long_body, 254);
    frame_ext6(&f, 43, routing, 6);
    frame_done(&f);
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_IP6_EXT_LIMIT), 1);

    for (uint32_t cut = 1; cut <= 16; cut++) {
        stack6_frame(&f, PEER6, US6, 253);
        frame_ext6(&f, 43, routing, 6);
        frame_ext6(&f, 60, (const uint8_t[6]){ 1, 4 }, 6);
        f.len -= cut;
        put16(f.b + f.ip_at + 4, (uint16_t)(16 - cut));
        stack_rx(&s, &f);
    }
    assert_int_equal(drops(&s, DROP_IP6_EXT_SHORT), 16);
    assert_int_equal(n_taken, 1);
    stack_fini(&s);
}

static void an_atomic_fragment_is_none(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    stack6_frame(&f, PEER6, US6, 253);
    frame_frag6(&f, 1, 0, false);
    frame_bytes(&f, "0123456789", 10);
    frame_done(&f);
    stack_rx(&s, &f);
    assert_int_equal(n_taken, 1);
    assert_int_equal(taken_len, 10);
    stack_fini(&s);
}

static void nobody_handles_it_and_the_sender_is_told(void **state)
{
    const struct stack_frame *out;
    struct stack s;
    struct frame f;

    start(&s);
    stack6_frame(&f, PEER6, US6, 17);
    frame_bytes(&f, "01234567", 8);
    frame_done(&f);
    stack_rx(&s, &f);
    out = stack6_icmp(&s, 1);
    assert_int_equal(out->b[14 + 41], 4);
    stack6_frame(&f, PEER6, US6, 132);
    frame_bytes(&f, "01234567", 8);
    frame_done(&f);
    stack_rx(&s, &f);
    out = stack6_icmp(&s, 4);
    assert_int_equal(out->b[14 + 41], 1);
    assert_int_equal(get32(out->b + 14 + 44), 6);
    stack6_frame(&f, PEER6, US6, 59);
    frame_done(&f);
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_IP6_NO_NEXT), 1);
    assert_null(stack_next(&s));
    stack6_frame(&f, PEER6, US6, 17);
    frame_done(&f);
    for (unsigned i = 0; i < 100; i++) {
        stack_rx(&s, &f);
        s.at = s.n_out;
    }
    assert_int_equal(net_counters(s.net)->icmp_errors_out, 50);
    assert_int_equal(drops(&s, DROP_TX_ICMP_LIMITED), 52);
    stack_fini(&s);
}

/* ---- ICMPv6 */

static void icmp(struct stack *s, const char *dst, uint8_t type, uint8_t code, uint32_t word,
                 const void *bytes, uint32_t len)
{
    struct frame f;

    stack6_frame(&f, PEER6, dst, 58);
    frame_icmp(&f, type, code, word, bytes, len);
    frame_done(&f);
    stack_rx(s, &f);
}

static void echo_requests_are_answered(void **state)
{
    const struct ipaddr us = ip6(US6), peer = ip6(PEER6);
    const struct stack_frame *out;
    struct stack s;

    start(&s);
    icmp(&s, US6, 128, 0, 0x12345678, "hello", 5);
    out = stack6_icmp(&s, 129);
    assert_memory_equal(out->b + 14 + 8, us.b, 16);
    assert_memory_equal(out->b + 14 + 24, peer.b, 16);
    assert_int_equal(get32(out->b + 14 + 44), 0x12345678);
    assert_memory_equal(out->b + 14 + 48, "hello", 5);
    icmp(&s, NODES6, 128, 0, 1, "hello", 5); /* to all: from an address of ours */
    out = stack6_icmp(&s, 129);
    assert_memory_equal(out->b + 14 + 8, us.b, 16);
    icmp(&s, US6, 129, 0, 0, "hello", 5);
    assert_int_equal(drops(&s, DROP_ICMP6_TYPE), 1);
    for (unsigned i = 0; i < 200; i++) {
        icmp(&s, US6, 128, 0, i, "hello", 5);
        s.at = s.n_out;
    }
    assert_int_equal(drops(&s, DROP_ICMP6_LIMITED), 102);
    stack_fini(&s);
}

static struct {
    unsigned n;
    int err;
    uint16_t mtu;
} told;

static void on_error(void *ctx, const struct ipport *local, const struct ipport *remote, int err,
                     uint16_t mtu, const uint8_t payload[8])
{
    const struct ipaddr us = ip6(US6), far = ip6(FAR6);

    told.n++;
    told.err = err;
    told.mtu = mtu;
    assert_int_equal(local->port, 1111);
    assert_int_equal(remote->port, 80);
    assert_true(ipaddr_eq(&local->addr, &us));
    assert_true(ipaddr_eq(&remote->addr, &far));
    assert_int_equal(get32(payload + 4), 77);
}

static void errors_are_told_to_the_protocol(void **state)
{
    static const struct {
        uint8_t type, code;
        uint32_t word;
        int err;
        uint16_t mtu;
    } cases[] = {
        { 1, 0, 0, -ENETUNREACH, 0 },   { 1, 1, 0, -EACCES, 0 },
        { 1, 3, 0, -EHOSTUNREACH, 0 },  { 1, 4, 0, -ECONNREFUSED, 0 },
        { 1, 99, 0, -EHOSTUNREACH, 0 }, { 2, 0, 1400, -EMSGSIZE, 1400 },
        { 2, 0, 68, -EMSGSIZE, 1280 },  { 2, 0, 1u << 31, -EMSGSIZE, UINT16_MAX },
        { 3, 0, 0, -EHOSTUNREACH, 0 },  { 4, 1, 0, -EPROTO, 0 },
    };
    struct frame sent = { .len = 14 };
    struct stack s;

    start(&s);
    net_set_error(s.net, 6, on_error, NULL);
    told.n = 0;
    frame_ip6(&sent, US6, FAR6, 6);
    frame_tcp(&sent, &(struct frame_tcp){ .src = 1111, .dst = 80, .seq = 77, .wscale = -1 });
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        icmp(&s, US6, cases[i].type, cases[i].code, cases[i].word, sent.b + 14, 48);
        assert_int_equal(told.n, i + 1);
        assert_int_equal(told.err, cases[i].err);
        assert_int_equal(told.mtu, cases[i].mtu);
        assert_null(stack_next(&s)); /* no error about an error */
    }
    icmp(&s, US6, 1, 0, 0, sent.b + 14, 47);
    assert_int_equal(drops(&s, DROP_ICMP6_SHORT), 1);
    sent.b[14 + 8 + 15] ^= 7; /* not a packet of ours */
    icmp(&s, US6, 1, 0, 0, sent.b + 14, 48);
    assert_int_equal(drops(&s, DROP_ICMP6_NOT_OURS), 1);
    assert_int_equal(told.n, ARRAY_SIZE(cases));
    stack_fini(&s);
}

static void spoiled_icmp_is_dropped(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    stack6_frame(&f, PEER6, US6, 58);
    frame_icmp(&f, 128, 0, 1, "hello", 5);
    frame_done(&f);
    f.b[f.len - 1] ^= 1;
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_ICMP6_CSUM), 1);
    stack6_frame(&f, PEER6, US6, 58);
    frame_bytes(&f, "0123456", 7);
    frame_done(&f);
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_ICMP6_SHORT), 1);
    stack_fini(&s);
}

/* ---- out */

static void what_we_send_has_a_valid_header_and_the_flows_label(void **state)
{
    const struct ipaddr us = ip6(US6), far = ip6(FAR6);
    const struct flow_key key = {
        .remote = ip6(FAR6), .local = ip6(US6), .remote_port = 80, .local_port = 9, .protocol = 6
    };
    const struct stack_frame *out;
    uint32_t labels[2];
    struct net_dst dst;
    struct stack s;
    struct pkt *p;

    start(&s);
    stack6_teach(&s, GATEWAY6);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(net_route_flow(s.net, &key, &dst), 0);
        assert_int_equal(dst.mtu, 1500);
        assert_int_equal(dst.ip_hdr, 40);
        p = test_pkt(&s.pool, "0123456789", 10);
        p->flags = PKT_TX_ECT;
        net_tx(s.net, &dst, &us, &far, 253, p);
        net_dst_put(s.net, &dst);
        stack_flush(&s);
        out = stack_next(&s);
        assert_int_equal(out->len, 14 + 40 + 10);
        assert_int_equal(out->b[14] >> 4, 6);
        assert_int_equal(out->b[15] >> 4 & 3, 2); /* may be marked */
        assert_int_equal(get16(out->b + 18), 10);
        assert_int_equal(out->b[20], 253);
        assert_int_equal(out->b[21], 64);
        assert_memory_equal(out->b + 22, us.b, 16);
        assert_memory_equal(out->b + 38, far.b, 16);
        assert_true((out->flags & PKT_TX_IP6) != 0);
        labels[i] = get32(out->b + 14) & 0xfffff;
    }
    assert_int_equal(labels[0], labels[1]);
    assert_int_not_equal(labels[0], 0);
    stack_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_packet_for_us_is_delivered_without_its_padding),
        cmocka_unit_test(packets_that_cannot_be_are_dropped),
        cmocka_unit_test(extension_headers_are_walked_within_limits),
        cmocka_unit_test(a_long_chain_is_refused_and_a_short_one_not_read_beyond),
        cmocka_unit_test(an_atomic_fragment_is_none),
        cmocka_unit_test(nobody_handles_it_and_the_sender_is_told),
        cmocka_unit_test(echo_requests_are_answered),
        cmocka_unit_test(errors_are_told_to_the_protocol),
        cmocka_unit_test(spoiled_icmp_is_dropped),
        cmocka_unit_test(what_we_send_has_a_valid_header_and_the_flows_label),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
