#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "tests/lib/stack.h"
#include "tests/lib/test.h"

#include <errno.h>

#define SEC UINT64_C(1000000)

static uint64_t drops(struct stack *s, enum drop why)
{
    return net_counters(s->net)->drops[why];
}

static unsigned n_taken;
static uint32_t taken_len, taken_src, taken_dst;

static enum drop take(void *ctx, struct pkt *p, const struct ipaddr *src, const struct ipaddr *dst)
{
    n_taken++;
    taken_len = p->len;
    taken_src = ipaddr_u32(src);
    taken_dst = ipaddr_u32(dst);
    pkt_free(p);
    return DROP_NONE;
}

static void start(struct stack *s)
{
    stack_init(s);
    s->answer_arp = true;
    net_set_proto(s->net, 253, take, NULL);
    n_taken = 0;
}

static void packet(struct frame *f, uint32_t src, uint32_t dst, uint8_t protocol)
{
    frame_eth(f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(f, src, dst, protocol, NULL, 0);
    frame_bytes(f, "0123456789", 10);
    frame_done(f);
}

static void a_packet_for_us_is_delivered_without_its_padding(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    packet(&f, PEER, US, 253);
    frame_bytes(&f, "padding", 7);
    stack_rx(&s, &f);
    assert_int_equal(n_taken, 1);
    assert_int_equal(taken_len, 10);
    assert_int_equal(taken_src, PEER);
    assert_int_equal(taken_dst, US);
    packet(&f, PEER, US_VLAN, 253); /* another address of ours: the weak model */
    stack_rx(&s, &f);
    assert_int_equal(n_taken, 2);
    stack_fini(&s);
}

static void frames_not_for_us_are_dropped(void **state)
{
    static const uint8_t other[6] = { 2, 0, 0, 0, 0, 7 };
    struct stack s;
    struct frame f;

    start(&s);
    packet(&f, PEER, US, 253);
    memcpy(f.b, other, 6);
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_ETH_NOT_OURS), 1);
    memcpy(f.b, frame_broadcast, 6);
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_IP4_L2_BROADCAST), 1);
    memcpy(f.b, stack_mac, 6);
    put16(f.b + 12, 0x88cc);
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_ETH_TYPE), 1);
    put16(f.b + 12, 0x86dd);
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_IP6_OFF), 1);
    put16(f.b + 12, 0x8100);
    put16(f.b + 14, 9);
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_ETH_VLAN), 1);
    for (f.len = 0; f.len < 18; f.len++)
        stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_ETH_SHORT), 18);
    assert_int_equal(n_taken, 0);
    stack_fini(&s);
}

static void a_vlan_is_an_interface_of_its_own(void **state)
{
    const struct ipaddr remote = ipaddr_v4(US_VLAN + 1);
    const struct stack_frame *out;
    struct ipaddr from = { 0 };
    struct net_dst dst;
    struct stack s;
    struct frame f;

    start(&s);
    frame_eth(&f, stack_mac, peer_mac, 0x0800, 7);
    frame_ip4(&f, US_VLAN + 1, US_VLAN, 253, NULL, 0);
    frame_bytes(&f, "x", 1);
    frame_done(&f);
    stack_rx(&s, &f);
    assert_int_equal(n_taken, 1);
    f.b[14] = 0x60; /* a priority does not matter */
    stack_rx(&s, &f);
    assert_int_equal(n_taken, 2);

    s.answer_arp = false;
    assert_int_equal(net_route(s.net, &remote, &from, &dst), 0);
    assert_int_equal(ipaddr_u32(&from), US_VLAN);
    net_tx(s.net, &dst, &from, &remote, 253, test_pkt(&s.pool, "x", 1));
    net_dst_put(s.net, &dst);
    stack_flush(&s);
    out = stack_next(&s);
    assert_int_equal(get16(out->b + 12), 0x8100);
    assert_int_equal(get16(out->b + 14), 7);
    assert_int_equal(get16(out->b + 16), 0x0806);
    stack_fini(&s);
}

static void bad_headers_are_dropped(void **state)
{
    static const struct {
        uint32_t at; /* in the IP header */
        uint8_t value;
        bool fix_cksum;
        enum drop why;
    } cases[] = {
        { 0, 0x65, true, DROP_IP4_VERSION }, { 0, 0x44, true, DROP_IP4_SHORT },
        { 3, 19, true, DROP_IP4_SHORT },     { 3, 31, true, DROP_IP4_SHORT },
        { 8, 1, false, DROP_IP4_CSUM },      { 6, 0x20, true, DROP_FRAG_LENGTH }, /* 10 bytes */
        { 12, 224, true, DROP_IP4_MARTIAN }, { 12, 255, true, DROP_IP4_MARTIAN },
        { 12, 127, true, DROP_IP4_MARTIAN }, { 12, 0, true, DROP_IP4_MARTIAN },
        { 15, 255, true, DROP_IP4_MARTIAN }, { 15, 0, true, DROP_IP4_MARTIAN },
        { 15, 1, true, DROP_IP4_MARTIAN }, /* our own */
        { 19, 9, true, DROP_IP4_NOT_OURS },  { 16, 224, true, DROP_IP4_NOT_OURS },
    };
    struct stack s;
    struct frame f;

    start(&s);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const uint64_t before = drops(&s, cases[i].why);
        uint8_t *ip = f.b + 14;

        packet(&f, PEER, US, 253);
        ip[cases[i].at] = cases[i].value;
        if (cases[i].fix_cksum) {
            put16(ip + 10, 0);
            cksum_store(ip + 10, cksum_finish(cksum_add(0, ip, 20)));
        }
        stack_rx(&s, &f);
        assert_int_equal(drops(&s, cases[i].why), before + 1);
        assert_null(stack_next(&s));
    }
    assert_int_equal(n_taken, 0);
    packet(&f, PEER, US, 253);
    f.b[14 + 8] = 0; /* a TTL of 0 has arrived: RFC 1122, 3.2.1.7 */
    put16(f.b + 14 + 10, 0);
    cksum_store(f.b + 14 + 10, cksum_finish(cksum_add(0, f.b + 14, 20)));
    stack_rx(&s, &f);
    assert_int_equal(n_taken, 1);
    for (uint32_t len = 14; len < 44; len++) {
        packet(&f, PEER, US, 253);
        f.len = len;
        stack_rx(&s, &f);
    }
    assert_int_equal(n_taken, 1);
    stack_fini(&s);
}

static void the_ports_verdict_about_checksums_counts(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    packet(&f, PEER, US, 253);
    f.b[14 + 10] ^= 1;
    stack_rx_flags(&s, &f, PKT_RX_IP_CSUM_GOOD);
    assert_int_equal(n_taken, 1);
    f.b[14 + 10] ^= 1;
    stack_rx_flags(&s, &f, PKT_RX_IP_CSUM_BAD);
    assert_int_equal(drops(&s, DROP_IP4_CSUM), 1);
    stack_fini(&s);
}

static void options_are_skipped_but_not_all(void **state)
{
    static const struct {
        uint8_t opts[8];
        enum drop why;
    } cases[] = {
        { { 1, 1, 1, 0 }, DROP_NONE },
        { { 7, 7, 4, 0, 0, 0, 0, 0 }, DROP_NONE },   /* record route */
        { { 148, 4, 0, 0, 1, 1, 1, 1 }, DROP_NONE }, /* router alert */
        { { 131, 7, 4, 10, 0, 0, 9, 0 }, DROP_IP4_SOURCE_ROUTE },
        { { 1, 137, 7, 4, 10, 0, 0, 9 }, DROP_IP4_SOURCE_ROUTE },
        { { 7, 1, 4, 0 }, DROP_IP4_OPTIONS },
        { { 7, 9, 4, 0, 0, 0, 0, 0 }, DROP_IP4_OPTIONS },
        { { 1, 1, 1, 1, 1, 1, 1, 7 }, DROP_IP4_OPTIONS },
    };
    struct stack s;
    struct frame f;

    start(&s);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const uint64_t before = drops(&s, cases[i].why);
        const unsigned taken = n_taken;

        frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
        frame_ip4(&f, PEER, US, 253, cases[i].opts, 8);
        frame_bytes(&f, "0123456789", 10);
        frame_done(&f);
        stack_rx(&s, &f);
        assert_int_equal(n_taken, taken + (cases[i].why == DROP_NONE));
        if (cases[i].why != DROP_NONE)
            assert_int_equal(drops(&s, cases[i].why), before + 1);
        else
            assert_int_equal(taken_len, 10);
    }
    stack_fini(&s);
}

static void what_we_send_has_a_valid_header(void **state)
{
    const struct ipaddr remote = ipaddr_v4(0x08080808);
    const struct stack_frame *out;
    struct ipaddr from = { 0 };
    struct net_dst dst;
    struct stack s;

    for (unsigned offload = 0; offload < 2; offload++) {
        stack_defaults(&s);
        s.answer_arp = true;
        s.port.tx_ip_csum = offload;
        assert_true(stack_start(&s));
        assert_int_equal(net_route(s.net, &remote, &from, &dst), 0);
        assert_int_equal(dst.mtu, 1500);
        net_tx(s.net, &dst, &from, &remote, 253, test_pkt(&s.pool, "0123456789", 10));
        net_dst_put(s.net, &dst);
        stack_flush(&s);
        out = stack_next(&s);
        assert_int_equal(out->len, 14 + 20 + 10);
        assert_int_equal(get16(out->b + 16), 30);
        assert_int_equal(get16(out->b + 20), 0x4000);
        assert_int_equal(out->b[22], 64);
        assert_int_equal(out->b[23], 253);
        assert_int_equal(get32(out->b + 26), US);
        assert_int_equal(get32(out->b + 30), 0x08080808);
        if (offload) {
            assert_int_equal(out->flags & PKT_TX_IP_CSUM, PKT_TX_IP_CSUM);
            assert_int_equal(get16(out->b + 24), 0);
        } else {
            assert_true(cksum_is_good(cksum_add(0, out->b + 14, 20)));
        }
        assert_int_equal(net_counters(s.net)->pkts_out, 2); /* and the ARP request */
        stack_fini(&s);
    }
}

static void what_cannot_be_sent_is_dropped(void **state)
{
    static uint8_t big[1481];
    const struct ipaddr remote = ipaddr_v4(PEER);
    struct ipaddr from = { 0 };
    struct net_dst dst;
    struct stack s;
    struct pkt *p;

    start(&s);
    assert_int_equal(net_route(s.net, &remote, &from, &dst), 0);
    net_tx(s.net, &dst, &from, &remote, 253, test_pkt(&s.pool, big, sizeof(big)));
    assert_int_equal(drops(&s, DROP_TX_TOO_BIG), 1);
    net_tx(s.net, &dst, &from, &remote, 253, test_pkt(&s.pool, big, sizeof(big) - 1));
    assert_int_equal(drops(&s, DROP_TX_TOO_BIG), 1);
    stack_flush(&s);
    p = test_pkt(&s.pool, big, 10);
    p->data = p->head + 19;
    net_tx(s.net, &dst, &from, &remote, 253, p);
    p = test_pkt(&s.pool, big, 10);
    p->data = p->head + 33;
    net_tx(s.net, &dst, &from, &remote, 253, p);
    assert_int_equal(drops(&s, DROP_TX_HEADROOM), 2);
    net_dst_put(s.net, &dst);
    stack_fini(&s);
}

static void routes(void **state)
{
    static const struct {
        uint32_t remote, local;
        int rc;
        uint32_t source;
    } cases[] = {
        { PEER, 0, 0, US },
        { 0x08080808, 0, 0, US },
        { US_VLAN + 1, 0, 0, US_VLAN },
        { PEER, US_VLAN, 0, US_VLAN },
        { PEER, US + 7, -EADDRNOTAVAIL, 0 },
        { US, 0, -EHOSTUNREACH, 0 },
        { 0x0a0000ff, 0, -EHOSTUNREACH, 0 },
        { 0x0a000000, 0, -EHOSTUNREACH, 0 },
        { 0xe0000001, 0, -EHOSTUNREACH, 0 },
        { 0x7f000001, 0, -EHOSTUNREACH, 0 },
        { 0, 0, -EHOSTUNREACH, 0 },
        { 0xffffffff, 0, -EHOSTUNREACH, 0 },
    };
    struct stack s;

    start(&s);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct ipaddr remote = ipaddr_v4(cases[i].remote);
        struct ipaddr from = { 0 };
        struct net_dst dst = { 0 };

        if (cases[i].local != 0)
            from = ipaddr_v4(cases[i].local);
        assert_int_equal(net_route(s.net, &remote, &from, &dst), cases[i].rc);
        if (cases[i].rc == 0)
            assert_int_equal(ipaddr_u32(&from), cases[i].source);
        net_dst_put(s.net, &dst);
    }
    {
        struct ipaddr v6 = { .family = IP_V6 };
        struct ipaddr from = { 0 };
        struct net_dst dst;

        assert_int_equal(net_route(s.net, &v6, &from, &dst), -EHOSTUNREACH);
    }
    stack_fini(&s);
}

/* ---- ICMP */

static const struct stack_frame *icmp(struct stack *s, uint8_t type, uint8_t code, uint32_t word,
                                      const void *bytes, uint32_t len)
{
    struct frame f;

    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, PEER, US, 1, NULL, 0);
    frame_icmp(&f, type, code, word, bytes, len);
    frame_done(&f);
    stack_rx(s, &f);
    return stack_next(s);
}

static void echo_requests_are_answered(void **state)
{
    const struct stack_frame *out;
    struct stack s;

    start(&s);
    out = icmp(&s, 8, 0, 0x12345678, "hello", 5);
    assert_non_null(out);
    assert_int_equal(out->len, 14 + 20 + 8 + 5);
    assert_int_equal(get32(out->b + 26), US);
    assert_int_equal(get32(out->b + 30), PEER);
    assert_int_equal(out->b[34], 0);
    assert_int_equal(get32(out->b + 38), 0x12345678);
    assert_memory_equal(out->b + 42, "hello", 5);
    assert_true(cksum_is_good(cksum_add(0, out->b + 34, 13)));
    assert_null(icmp(&s, 0, 0, 0, "reply", 5));
    assert_int_equal(drops(&s, DROP_ICMP4_TYPE), 1);
    stack_fini(&s);
}

static void echo_is_rate_limited(void **state)
{
    unsigned n = 0;
    struct stack s;

    start(&s);
    for (unsigned i = 0; i < 300; i++)
        n += icmp(&s, 8, 0, i, "hello", 5) != NULL;
    assert_int_equal(n, 100);
    assert_int_equal(drops(&s, DROP_ICMP4_LIMITED), 200);
    stack_run(&s, SEC);
    assert_non_null(icmp(&s, 8, 0, 0, "hello", 5));
    stack_fini(&s);
}

static void spoiled_icmp_is_dropped(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, PEER, US, 1, NULL, 0);
    frame_icmp(&f, 8, 0, 1, "hello", 5);
    frame_done(&f);
    f.b[f.len - 1] ^= 1;
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_ICMP4_CSUM), 1);
    f.len = f.l4_at + 7;
    frame_done(&f);
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_ICMP4_SHORT), 1);
    assert_null(stack_next(&s));
    stack_fini(&s);
}

static struct {
    unsigned n;
    int err;
    uint16_t mtu, local, remote;
} told;

static void on_error(void *ctx, const struct ipport *local, const struct ipport *remote, int err,
                     uint16_t mtu, const uint8_t payload[8])
{
    told.n++;
    told.err = err;
    told.mtu = mtu;
    told.local = local->port;
    told.remote = remote->port;
    assert_int_equal(ipaddr_u32(&local->addr), US);
    assert_int_equal(ipaddr_u32(&remote->addr), 0x08080808);
    assert_int_equal(get32(payload + 4), 77);
}

static void icmp_errors_are_told_to_the_protocol(void **state)
{
    static const struct {
        uint8_t type, code;
        int err;
        uint16_t mtu;
    } cases[] = {
        { 3, 0, -ENETUNREACH, 0 },   { 3, 1, -EHOSTUNREACH, 0 }, { 3, 2, -ECONNREFUSED, 0 },
        { 3, 3, -ECONNREFUSED, 0 },  { 3, 4, -EMSGSIZE, 1300 },  { 3, 13, -EACCES, 0 },
        { 11, 0, -EHOSTUNREACH, 0 }, { 12, 0, -EPROTO, 0 },
    };
    uint8_t quote[28] = { 0x45 };
    struct stack s;

    start(&s);
    net_set_error(s.net, 6, on_error, NULL);
    told.n = 0;
    quote[9] = 6;
    put32(quote + 12, US);
    put32(quote + 16, 0x08080808);
    put16(quote + 20, 1111);
    put16(quote + 22, 80);
    put32(quote + 24, 77);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_null(icmp(&s, cases[i].type, cases[i].code, 1300, quote, sizeof(quote)));
        assert_int_equal(told.n, i + 1);
        assert_int_equal(told.err, cases[i].err);
        assert_int_equal(told.mtu, cases[i].mtu);
        assert_int_equal(told.local, 1111);
        assert_int_equal(told.remote, 80);
    }
    icmp(&s, 3, 1, 0, quote, sizeof(quote) - 1);
    assert_int_equal(drops(&s, DROP_ICMP4_SHORT), 1);
    quote[0] = 0x4f; /* says that there are options, which are not there */
    icmp(&s, 3, 1, 0, quote, sizeof(quote));
    assert_int_equal(drops(&s, DROP_ICMP4_SHORT), 2);
    quote[0] = 0x45;
    put32(quote + 12, PEER); /* not a packet of ours */
    icmp(&s, 3, 1, 0, quote, sizeof(quote));
    assert_int_equal(drops(&s, DROP_ICMP4_NOT_OURS), 1);
    assert_int_equal(told.n, ARRAY_SIZE(cases));
    stack_fini(&s);
}

static void nobody_handles_it_and_the_sender_is_told(void **state)
{
    static const struct {
        uint8_t protocol, code;
    } cases[] = { { 17, 3 }, { 132, 2 } };
    const struct stack_frame *out;
    struct stack s;
    struct frame f;

    start(&s);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        packet(&f, PEER, US, cases[i].protocol);
        stack_rx(&s, &f);
        out = stack_next(&s);
        assert_non_null(out);
        assert_int_equal(out->b[34], 3);
        assert_int_equal(out->b[35], cases[i].code);
        assert_true(cksum_is_good(cksum_add(0, out->b + 34, out->len - 34)));
        assert_memory_equal(out->b + 42, f.b + 14, 28);
    }
    for (unsigned i = 0; i < 100; i++) {
        stack_rx(&s, &f);
        s.at = s.n_out;
    }
    assert_int_equal(net_counters(s.net)->icmp_errors_out, 50);
    assert_int_equal(drops(&s, DROP_TX_ICMP_LIMITED), 52);
    memcpy(f.b, frame_broadcast, 6); /* never about these */
    stack_run(&s, SEC);
    stack_rx(&s, &f);
    packet(&f, PEER, US, 17);
    f.b[14 + 6] = 0x20;
    frame_done(&f);
    stack_rx(&s, &f);
    packet(&f, 0xe0000001, US, 17);
    stack_rx(&s, &f);
    assert_int_equal(net_counters(s.net)->icmp_errors_out, 50);
    stack_fini(&s);
}

static void without_packets_nothing_is_answered(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    icmp(&s, 8, 0, 0, "hello", 5);
    s.pool.max = 1;
    assert_null(icmp(&s, 8, 0, 0, "hello", 5));
    assert_int_equal(drops(&s, DROP_TX_NO_PKT), 1);
    packet(&f, PEER, US, 17);
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_TX_NO_PKT), 2);
    stack_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_packet_for_us_is_delivered_without_its_padding),
        cmocka_unit_test(frames_not_for_us_are_dropped),
        cmocka_unit_test(a_vlan_is_an_interface_of_its_own),
        cmocka_unit_test(bad_headers_are_dropped),
        cmocka_unit_test(the_ports_verdict_about_checksums_counts),
        cmocka_unit_test(options_are_skipped_but_not_all),
        cmocka_unit_test(what_we_send_has_a_valid_header),
        cmocka_unit_test(what_cannot_be_sent_is_dropped),
        cmocka_unit_test(routes),
        cmocka_unit_test(echo_requests_are_answered),
        cmocka_unit_test(echo_is_rate_limited),
        cmocka_unit_test(spoiled_icmp_is_dropped),
        cmocka_unit_test(icmp_errors_are_told_to_the_protocol),
        cmocka_unit_test(nobody_handles_it_and_the_sender_is_told),
        cmocka_unit_test(without_packets_nothing_is_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
