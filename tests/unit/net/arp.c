#include "dataplane/base/bytes.h"
#include "dataplane/net/neigh.h"
#include "tests/lib/stack.h"
#include "tests/lib/test.h"

#include <errno.h>

#define SEC UINT64_C(1000000)
#define REQUEST 1
#define REPLY 2

static const uint8_t zero_mac[6], other_mac[6] = { 2, 0, 0, 0, 0, 9 };

static uint64_t drops(struct stack *s, enum drop why)
{
    return net_counters(s->net)->drops[why];
}

static void arp_from(struct stack *s, const uint8_t mac[6], uint16_t op, uint32_t spa, uint32_t tpa)
{
    struct frame f;

    frame_eth(&f, op == REQUEST ? frame_broadcast : stack_mac, mac, 0x0806, 0);
    frame_arp(&f, op, mac, spa, op == REQUEST ? zero_mac : stack_mac, tpa);
    stack_rx(s, &f);
}

static void expect_arp(struct stack *s, uint16_t op, const uint8_t to[6], uint32_t spa,
                       uint32_t tpa)
{
    const struct stack_frame *f = stack_next(s);

    assert_non_null(f);
    assert_memory_equal(f->b, to, 6);
    assert_int_equal(get16(f->b + 12), 0x0806);
    assert_int_equal(get16(f->b + 14 + 6), op);
    assert_int_equal(get32(f->b + 14 + 14), spa);
    assert_int_equal(get32(f->b + 14 + 24), tpa);
}

/* Sends ten bytes to @addr. */
static void send_to(struct stack *s, uint32_t addr)
{
    const struct ipaddr remote = ipaddr_v4(addr);
    struct ipaddr from = { 0 };
    struct net_dst dst;

    assert_int_equal(net_route(s->net, &remote, &from, &dst), 0);
    net_tx(s->net, &dst, &from, &remote, 253, test_pkt(&s->pool, "0123456789", 10));
    net_dst_put(s->net, &dst);
    stack_flush(s);
}

static void expect_ip(struct stack *s, const uint8_t to[6])
{
    const struct stack_frame *f = stack_next(s);

    assert_non_null(f);
    assert_memory_equal(f->b, to, 6);
    assert_memory_equal(f->b + 6, stack_mac, 6);
    assert_int_equal(get16(f->b + 12), 0x0800);
}

static void find_state(const struct neigh_info *n, void *ctx)
{
    const char **at = ctx;

    *at = n->state;
}

/* Of the only neighbour; "" if there is none. */
static const char *state_of_one(struct stack *s)
{
    const char *state = "";

    net_each_neigh(s->net, find_state, &state);
    return state;
}

static void requests_for_our_addresses_are_answered_and_teach(void **state)
{
    struct stack s;

    stack_init(&s);
    arp_from(&s, peer_mac, REQUEST, PEER, US);
    expect_arp(&s, REPLY, peer_mac, US, PEER);
    assert_string_equal(state_of_one(&s), "STALE");
    assert_int_equal(s.n_shared, 1);
    send_to(&s, PEER); /* no need to ask */
    expect_ip(&s, peer_mac);
    stack_fini(&s);
}

static void nothing_is_learned_from_strangers(void **state)
{
    static const struct {
        uint16_t op;
        uint32_t spa, tpa;
        enum drop why;
    } cases[] = {
        { REQUEST, PEER, PEER + 1, DROP_ARP_NOT_ASKED }, /* for somebody else */
        { REPLY, PEER, US, DROP_ARP_NOT_ASKED },         /* to what we did not ask */
        { REQUEST, PEER, PEER, DROP_ARP_NOT_ASKED },     /* gratuitous, of an unknown */
        { REQUEST, 0x0b000001, US, DROP_ARP_STRANGER },  /* not of this network */
        { REQUEST, 0x0a0000ff, US, DROP_ARP_STRANGER },  /* its broadcast address */
        { REQUEST, US, US, DROP_ARP_CONFLICT },          /* ours */
        { REPLY, US_VLAN, US, DROP_ARP_CONFLICT },       /* ours, elsewhere */
        { REQUEST, PEER, US_VLAN, DROP_ARP_NOT_ASKED },  /* ours, but in another VLAN */
        { 3, PEER, US, DROP_ARP_BAD },
    };
    struct stack s;

    stack_init(&s);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const uint64_t before = drops(&s, cases[i].why);

        arp_from(&s, peer_mac, cases[i].op, cases[i].spa, cases[i].tpa);
        assert_int_equal(drops(&s, cases[i].why), before + 1);
        assert_null(stack_next(&s));
        assert_string_equal(state_of_one(&s), "");
    }
    assert_int_equal(net_counters(s.net)->arp_conflicts, 2);
    arp_from(&s, stack_mac, REQUEST, US, PEER); /* a loop in the network */
    assert_int_equal(drops(&s, DROP_ARP_OWN), 1);
    stack_fini(&s);
}

static void bad_frames_are_dropped(void **state)
{
    static const struct {
        uint32_t at;
        uint8_t xor ;
        enum drop why;
    } cases[] = {
        { 15, 2, DROP_ARP_BAD },  { 16, 1, DROP_ARP_BAD }, { 18, 1, DROP_ARP_BAD },
        { 19, 16, DROP_ARP_BAD }, { 22, 1, DROP_ARP_BAD }, /* a group as the sender */
    };
    struct stack s;
    struct frame f;

    stack_init(&s);
    frame_eth(&f, stack_mac, peer_mac, 0x0806, 0);
    frame_arp(&f, REQUEST, peer_mac, PEER, zero_mac, US);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const uint64_t before = drops(&s, cases[i].why);

        f.b[cases[i].at] ^= cases[i].xor ;
        stack_rx(&s, &f);
        f.b[cases[i].at] ^= cases[i].xor ;
        assert_int_equal(drops(&s, cases[i].why), before + 1);
    }
    f.len--;
    stack_rx(&s, &f);
    assert_int_equal(drops(&s, DROP_ARP_SHORT), 1);
    assert_string_equal(state_of_one(&s), "");
    stack_fini(&s);
}

static void a_probe_for_our_address_is_answered(void **state)
{
    struct stack s;

    stack_init(&s);
    arp_from(&s, peer_mac, REQUEST, 0, US);
    expect_arp(&s, REPLY, peer_mac, US, 0);
    assert_string_equal(state_of_one(&s), "");
    stack_fini(&s);
}

static void a_shared_frame_teaches_but_is_not_answered(void **state)
{
    struct stack s;
    struct frame f;

    stack_init(&s);
    frame_eth(&f, frame_broadcast, peer_mac, 0x0806, 0);
    frame_arp(&f, REQUEST, peer_mac, PEER, zero_mac, US);
    stack_rx_flags(&s, &f, PKT_STEERED);
    assert_null(stack_next(&s));
    assert_int_equal(s.n_shared, 0);
    assert_string_equal(state_of_one(&s), "STALE");
    stack_fini(&s);
}

static void an_answer_that_another_worker_waits_for_is_shared(void **state)
{
    struct stack s;

    stack_init(&s);
    arp_from(&s, peer_mac, REPLY, PEER, US);
    assert_int_equal(s.n_shared, 1);
    assert_int_equal(drops(&s, DROP_ARP_NOT_ASKED), 1);
    stack_fini(&s);
}

static void packets_wait_for_the_answer(void **state)
{
    struct stack s;

    stack_init(&s);
    send_to(&s, PEER);
    expect_arp(&s, REQUEST, frame_broadcast, US, PEER);
    send_to(&s, PEER);
    assert_null(stack_next(&s));
    assert_string_equal(state_of_one(&s), "INCOMPLETE");
    arp_from(&s, peer_mac, REPLY, PEER, US);
    expect_ip(&s, peer_mac);
    expect_ip(&s, peer_mac);
    assert_null(stack_next(&s));
    assert_string_equal(state_of_one(&s), "REACHABLE");
    stack_fini(&s);
}

static void only_a_few_wait(void **state)
{
    struct stack s;

    stack_init(&s);
    for (unsigned i = 0; i < NEIGH_WAITING + 3; i++)
        send_to(&s, PEER);
    assert_int_equal(drops(&s, DROP_NEIGH_QUEUE_FULL), 3);
    stack_fini(&s);
}

static int last_error;

static void on_error(void *ctx, const struct ipport *local, const struct ipport *remote, int err,
                     uint16_t mtu, const uint8_t payload[8])
{
    assert_int_equal(ipaddr_u32(&local->addr), US);
    assert_int_equal(ipaddr_u32(&remote->addr), PEER);
    assert_memory_equal(payload, "01234567", 8);
    assert_int_equal(local->port, '0' << 8 | '1');
    last_error = err;
}

static void nobody_answers_and_those_who_wait_are_told(void **state)
{
    struct stack s;

    stack_init(&s);
    net_set_error(s.net, 253, on_error, NULL);
    send_to(&s, PEER);
    stack_run(&s, 4 * SEC);
    for (unsigned i = 0; i < 3; i++)
        expect_arp(&s, REQUEST, frame_broadcast, US, PEER);
    assert_null(stack_next(&s));
    assert_int_equal(last_error, -EHOSTUNREACH);
    assert_string_equal(state_of_one(&s), "FAILED");
    assert_int_equal(net_counters(s.net)->neigh_failed, 1);
    send_to(&s, PEER); /* another try */
    expect_arp(&s, REQUEST, frame_broadcast, US, PEER);
    stack_fini(&s);
}

static void a_neighbour_goes_stale_is_probed_and_fails(void **state)
{
    struct stack s;

    stack_init(&s);
    send_to(&s, PEER);
    arp_from(&s, peer_mac, REPLY, PEER, US);
    s.at = s.n_out;
    stack_run(&s, 31 * SEC);
    assert_string_equal(state_of_one(&s), "STALE");
    send_to(&s, PEER);
    expect_ip(&s, peer_mac);
    assert_string_equal(state_of_one(&s), "DELAY");
    stack_run(&s, 5 * SEC + 1000);
    assert_string_equal(state_of_one(&s), "PROBE");
    expect_arp(&s, REQUEST, peer_mac, US, PEER); /* to it alone */
    send_to(&s, PEER);
    expect_ip(&s, peer_mac);
    stack_run(&s, 4 * SEC);
    assert_string_equal(state_of_one(&s), "FAILED");
    stack_fini(&s);
}

static void what_is_above_can_confirm_a_neighbour(void **state)
{
    const struct ipaddr remote = ipaddr_v4(PEER);
    struct ipaddr from = { 0 };
    struct net_dst dst;
    struct stack s;

    stack_init(&s);
    send_to(&s, PEER);
    arp_from(&s, peer_mac, REPLY, PEER, US);
    assert_int_equal(net_route(s.net, &remote, &from, &dst), 0);
    s.at = s.n_out;
    for (unsigned i = 0; i < 100; i++) {
        stack_run(&s, SEC);
        net_dst_confirm(s.net, &dst);
    }
    assert_string_equal(state_of_one(&s), "REACHABLE");
    assert_null(stack_next(&s));
    net_dst_put(s.net, &dst);
    stack_fini(&s);
}

static void a_new_mac_address_is_used_by_all_who_hold_the_neighbour(void **state)
{
    const struct ipaddr remote = ipaddr_v4(PEER);
    struct ipaddr from = { 0 };
    struct net_dst dst;
    struct stack s;

    stack_init(&s);
    arp_from(&s, peer_mac, REQUEST, PEER, US);
    s.at = s.n_out;
    assert_int_equal(net_route(s.net, &remote, &from, &dst), 0);
    arp_from(&s, other_mac, REQUEST, PEER, PEER); /* gratuitous */
    net_tx(s.net, &dst, &from, &remote, 253, test_pkt(&s.pool, "x", 1));
    stack_flush(&s);
    expect_ip(&s, other_mac);
    net_dst_put(s.net, &dst);
    stack_fini(&s);
}

static void idle_neighbours_go_but_not_those_in_use(void **state)
{
    const struct ipaddr remote = ipaddr_v4(PEER);
    struct ipaddr from = { 0 };
    struct net_dst dst;
    struct stack s;

    stack_init(&s);
    arp_from(&s, peer_mac, REQUEST, PEER, US);
    assert_int_equal(net_route(s.net, &remote, &from, &dst), 0);
    stack_run(&s, 1500 * SEC);
    assert_string_equal(state_of_one(&s), "STALE");
    net_dst_put(s.net, &dst);
    stack_run(&s, 700 * SEC);
    assert_string_equal(state_of_one(&s), "");
    stack_fini(&s);
}

static void count(const struct neigh_info *n, void *ctx)
{
    ++*(unsigned *)ctx;
}

static void the_table_is_bounded_and_what_is_in_use_stays(void **state)
{
    const struct ipaddr remote = ipaddr_v4(PEER);
    struct ipaddr from = { 0 };
    struct net_dst dst;
    struct stack s;
    unsigned n = 0;

    stack_defaults(&s);
    s.machine.ports[0].addrs[0].prefix_len = 8;
    assert_true(stack_start(&s));
    assert_int_equal(net_route(s.net, &remote, &from, &dst), 0);
    for (uint32_t i = 0; i < NEIGH_MAX + 500; i++) {
        arp_from(&s, peer_mac, REQUEST, 0x0a100000 + i, US);
        s.at = s.n_out;
    }
    net_each_neigh(s.net, count, &n);
    assert_int_equal(n, NEIGH_MAX);
    assert_string_equal(neigh_state_name(NEIGH_PROBE), "PROBE");
    net_tx(s.net, &dst, &from, &remote, 253,
           test_pkt(&s.pool, "x", 1)); /* a use after free, if not */
    net_dst_put(s.net, &dst);
    stack_fini(&s);
}

static void our_addresses_are_announced(void **state)
{
    struct stack s;
    const struct stack_frame *f;

    stack_defaults(&s);
    s.first = true;
    assert_true(stack_start(&s));
    stack_flush(&s);
    expect_arp(&s, REQUEST, frame_broadcast, US, US);
    f = stack_next(&s);
    assert_int_equal(get16(f->b + 12), 0x8100);
    assert_int_equal(get16(f->b + 14), 7);
    assert_int_equal(get32(f->b + 18 + 14), US_VLAN);
    stack_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_for_our_addresses_are_answered_and_teach),
        cmocka_unit_test(nothing_is_learned_from_strangers),
        cmocka_unit_test(bad_frames_are_dropped),
        cmocka_unit_test(a_probe_for_our_address_is_answered),
        cmocka_unit_test(a_shared_frame_teaches_but_is_not_answered),
        cmocka_unit_test(an_answer_that_another_worker_waits_for_is_shared),
        cmocka_unit_test(packets_wait_for_the_answer),
        cmocka_unit_test(only_a_few_wait),
        cmocka_unit_test(nobody_answers_and_those_who_wait_are_told),
        cmocka_unit_test(a_neighbour_goes_stale_is_probed_and_fails),
        cmocka_unit_test(what_is_above_can_confirm_a_neighbour),
        cmocka_unit_test(a_new_mac_address_is_used_by_all_who_hold_the_neighbour),
        cmocka_unit_test(idle_neighbours_go_but_not_those_in_use),
        cmocka_unit_test(the_table_is_bounded_and_what_is_in_use_stays),
        cmocka_unit_test(our_addresses_are_announced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
