#include "dataplane/net/punt.h"
#include "dataplane/base/bytes.h"
#include "dataplane/net/flow_table.h"
#include "dataplane/net/neigh.h"
#include "tests/lib/stack6.h"
#include "tests/lib/test.h"

#define SEC UINT64_C(1000000)
#define TCP 6
#define UDP 17
#define OSPF 89
#define GROUP4 0xe0000005 /* 224.0.0.5 */

static uint64_t drops(struct stack *s, enum drop why)
{
    return net_counters(s->net)->drops[why];
}

/* 22 and 179 of TCP, 3784 of UDP (five a second), OSPF, LLDP. */
static void rules(struct machine_conf *m)
{
    m->ports[0].kernel_interface = "k0";
    m->punt_rate = 1000;
    m->punt_burst = 100;
    m->n_punts = 4;
    m->punts[0] = (struct punt_conf){ .protocol = TCP, .n_ports = 2, .ports = { 22, 179 } };
    m->punts[1] = (struct punt_conf){ .protocol = UDP, .n_ports = 1, .ports = { 3784 }, .rate = 5 };
    m->punts[2] = (struct punt_conf){ .protocol = OSPF };
    m->punts[3] = (struct punt_conf){ .ethertype = 0x88cc };
}

static unsigned n_taken;

static enum drop take(void *ctx, struct pkt *p, const struct ipaddr *src, const struct ipaddr *dst)
{
    n_taken++;
    pkt_free(p);
    return DROP_NONE;
}

static void start(struct stack *s)
{
    struct frame f;

    stack6_defaults(s);
    rules(&s->machine);
    s->machine.ports[0].duplicate_probes = 0;
    assert_true(stack_start(s));
    s->answer_arp = true;
    net_set_proto(s->net, TCP, take, NULL);
    n_taken = 0;
    /* Known from now on: whom we answer needs no question, whose answer would be the kernel's, too.
     */
    frame_eth(&f, frame_broadcast, peer_mac, 0x0806, 0);
    frame_arp(&f, 1, peer_mac, PEER, peer_mac, US);
    stack_rx(s, &f);
    stack6_nd(s, 135, PEER6, US6, 0, US6, 1, peer_mac);
    s->at = s->n_out;
}

/* Ports and some bytes, whatever the protocol. */
static void with_ports(struct frame *f, uint16_t from, uint16_t to)
{
    uint8_t l4[24] = { 0 };

    put16(l4, from);
    put16(l4 + 2, to);
    l4[12] = 0x50; /* of TCP: the length of its header */
    l4[13] = 0x10;
    frame_bytes(f, l4, sizeof(l4));
    frame_done(f);
}

static void packet4(struct frame *f, uint8_t protocol, uint16_t from, uint16_t to)
{
    frame_eth(f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(f, PEER, US, protocol, NULL, 0);
    with_ports(f, from, to);
}

static void packet6(struct frame *f, uint8_t protocol, uint16_t from, uint16_t to)
{
    stack6_frame(f, PEER6, US6, protocol);
    with_ports(f, from, to);
}

/* The same from us to the peer. */
static void kernel4(struct frame *f, uint8_t protocol, uint16_t from, uint16_t to)
{
    frame_eth(f, peer_mac, stack_mac, 0x0800, 0);
    frame_ip4(f, US, PEER, protocol, NULL, 0);
    with_ports(f, from, to);
}

static bool reaches_kernel(struct stack *s, const struct frame *f)
{
    const unsigned before = s->n_to_kernel;

    stack_rx(s, f);
    return s->n_to_kernel == before + 1;
}

static bool leaves(struct stack *s, const struct frame *f)
{
    const uint64_t before = net_counters(s->net)->pkts_out;

    stack_from_kernel(s, f);
    s->at = s->n_out;
    return net_counters(s->net)->pkts_out == before + 1;
}

/* --- the list -------------------------------------------------------------------------------- */

static uint64_t seed = 1;

static uint32_t any(uint32_t n)
{
    return (uint32_t)(hash_mix(seed++) % n);
}

/* Few numbers, so that they meet. */
static void random_machine(struct machine_conf *m)
{
    static const char *const names[] = { "a", "b", "c" };
    static const uint8_t protocols[] = { TCP, UDP, OSPF, 112, 0 };

    *m = (struct machine_conf){ .n_ports = 3, .punt_rate = 10, .punt_burst = 10 };
    for (uint32_t i = 0; i < m->n_ports; i++) {
        m->ports[i].name = names[i];
        m->ports[i].kernel_interface = any(4) != 0 ? names[i] : NULL;
    }
    m->n_punts = any(MACHINE_MAX_PUNTS + 1);
    for (uint32_t i = 0; i < m->n_punts; i++) {
        struct punt_conf *u = &m->punts[i];

        u->protocol = protocols[any(5)];
        u->ethertype = u->protocol == 0 ? (uint16_t)(0x8800 + any(3)) : 0;
        u->n_ports = u->protocol == TCP || u->protocol == UDP ? 1 + any(MACHINE_MAX_PUNT_PORTS) : 0;
        for (uint32_t k = 0; k < u->n_ports; k++)
            u->ports[k] = (uint16_t)(1 + any(60));
        u->port = any(2) != 0 ? names[any(3)] : NULL;
    }
}

static bool has_port(const struct punt_conf *u, uint16_t number)
{
    for (uint32_t i = 0; i < u->n_ports; i++)
        if (u->ports[i] == number)
            return true;
    return u->n_ports == 0;
}

/* One rule after the other. */
static uint32_t plainly(const struct machine_conf *m, uint8_t port, uint8_t protocol, uint16_t type,
                        uint16_t number)
{
    for (uint32_t i = 0; i < m->n_punts; i++)
        if (punt_conf_is_for(&m->punts[i], &m->ports[port]) && m->punts[i].protocol == protocol &&
            m->punts[i].ethertype == type && has_port(&m->punts[i], number))
            return i;
    return PUNT_NO;
}

static void rules_are_found_as_a_plain_search_finds_them(void **state)
{
    static const uint8_t protocols[] = { TCP, UDP, OSPF, 112, 47 };
    static struct machine_conf m;

    for (unsigned round = 0; round < 200; round++) {
        struct punt *u;

        random_machine(&m);
        u = punt_new(&m, 1);
        for (unsigned i = 0; i < 500; i++) {
            const uint8_t port = (uint8_t)any(3), protocol = protocols[any(5)];
            const uint16_t number = (uint16_t)any(64), type = (uint16_t)(0x8800 + any(4));
            const struct flow_key key = { .remote = ipaddr_v4(PEER),
                                          .local = ipaddr_v4(US),
                                          .remote_port = (uint16_t)any(64),
                                          .local_port = number,
                                          .protocol = protocol };

            assert_int_equal(punt_find(u, port, &key), plainly(&m, port, protocol, 0, number));
            assert_int_equal(punt_find_type(u, port, type), plainly(&m, port, 0, type, 0));
        }
        punt_free(u);
    }
}

/* --- what arrives ---------------------------------------------------------------------------- */

static void what_is_listed_goes_to_the_kernel_as_it_came(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    packet4(&f, TCP, 40000, 22);
    assert_true(reaches_kernel(&s, &f));
    assert_int_equal(s.to_kernel.len, f.len);
    assert_memory_equal(s.to_kernel.b, f.b, f.len);
    packet4(&f, OSPF, 0, 0);
    assert_true(reaches_kernel(&s, &f));
    packet6(&f, TCP, 40000, 179);
    assert_true(reaches_kernel(&s, &f));
    assert_memory_equal(s.to_kernel.b, f.b, f.len);
    packet6(&f, UDP, 40000, 3784);
    assert_true(reaches_kernel(&s, &f));
    frame_eth(&f, stack_mac, peer_mac, 0x0800, 7); /* with its tag */
    frame_ip4(&f, 0x0a000702, US_VLAN, TCP, NULL, 0);
    with_ports(&f, 40000, 22);
    assert_true(reaches_kernel(&s, &f));
    assert_memory_equal(s.to_kernel.b, f.b, f.len);
    assert_int_equal(n_taken, 0);
    stack_fini(&s);
}

static void what_is_not_listed_stays_ours(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    packet4(&f, TCP, 40000, 23);
    assert_false(reaches_kernel(&s, &f));
    packet6(&f, TCP, 22, 80); /* its own port says nothing */
    assert_false(reaches_kernel(&s, &f));
    assert_int_equal(n_taken, 2);
    packet4(&f, UDP, 40000, 53);
    assert_false(reaches_kernel(&s, &f));
    packet4(&f, 112, 0, 0);
    assert_false(reaches_kernel(&s, &f));
    assert_int_equal(drops(&s, DROP_IP4_PROTOCOL), 2);
    packet6(&f, 112, 0, 0);
    assert_false(reaches_kernel(&s, &f));
    assert_int_equal(drops(&s, DROP_IP6_PROTOCOL), 1);
    stack_fini(&s);
}

static void what_is_wrong_is_dropped_before_it_is_the_kernels(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    packet4(&f, TCP, 40000, 22);
    f.b[24] ^= 1; /* the header's checksum */
    assert_false(reaches_kernel(&s, &f));
    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, PEER, GATEWAY, TCP, NULL, 0); /* not to us */
    with_ports(&f, 40000, 22);
    assert_false(reaches_kernel(&s, &f));
    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, US, US, TCP, NULL, 0); /* from us */
    with_ports(&f, 40000, 22);
    assert_false(reaches_kernel(&s, &f));
    stack_fini(&s);
}

static enum drop flow_rx(struct flow *f, struct pkt *p)
{
    n_taken++;
    pkt_free(p);
    return DROP_NONE;
}

static void a_flow_of_ours_wins(void **state)
{
    static const struct flow_ops ops = { flow_rx };
    struct flow flow = { .key = { .remote = ipaddr_v4(PEER),
                                  .local = ipaddr_v4(US),
                                  .remote_port = 40000,
                                  .local_port = 22,
                                  .protocol = TCP },
                         .ops = &ops };
    struct stack s;
    struct frame f;

    start(&s);
    assert_int_equal(flow_table_add(net_flows(s.net), &flow), 0);
    packet4(&f, TCP, 40000, 22);
    assert_false(reaches_kernel(&s, &f));
    assert_int_equal(n_taken, 1);
    flow_table_del(net_flows(s.net), &flow);
    assert_true(reaches_kernel(&s, &f));
    stack_fini(&s);
}

static void groups_that_a_rule_is_for_are_the_kernels(void **state)
{
    static const uint8_t group_mac[6] = { 1, 0, 0x5e, 0, 0, 5 };
    static const uint8_t group6_mac[6] = { 0x33, 0x33, 0, 0, 0, 5 };
    struct stack s;
    struct frame f;

    start(&s);
    frame_eth(&f, group_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, PEER, GROUP4, OSPF, NULL, 0);
    with_ports(&f, 0, 0);
    assert_true(reaches_kernel(&s, &f));
    frame_eth(&f, group_mac, peer_mac, 0x0800, 0);
    frame_ip4(&f, PEER, GROUP4, 112, NULL, 0);
    with_ports(&f, 0, 0);
    assert_false(reaches_kernel(&s, &f));
    frame_eth(&f, stack_mac, peer_mac, 0x0800, 0); /* to a group, in a frame for one */
    frame_ip4(&f, PEER, GROUP4, OSPF, NULL, 0);
    with_ports(&f, 0, 0);
    assert_false(reaches_kernel(&s, &f));
    assert_int_equal(drops(&s, DROP_IP4_NOT_OURS), 2);
    frame_eth(&f, group6_mac, peer_mac, 0x86dd, 0);
    frame_ip6(&f, PEER_NEAR6, "ff02::5", OSPF);
    with_ports(&f, 0, 0);
    assert_true(reaches_kernel(&s, &f));
    stack_fini(&s);
}

static void frames_of_a_listed_type_are_the_kernels(void **state)
{
    static const uint8_t lldp_mac[6] = { 1, 0x80, 0xc2, 0, 0, 0x0e };
    struct stack s;
    struct frame f;

    start(&s);
    frame_eth(&f, lldp_mac, peer_mac, 0x88cc, 0);
    frame_bytes(&f, "\x02\x07", 2);
    assert_true(reaches_kernel(&s, &f));
    assert_memory_equal(s.to_kernel.b, f.b, f.len);
    frame_eth(&f, lldp_mac, peer_mac, 0x8809, 0);
    assert_false(reaches_kernel(&s, &f));
    frame_eth(&f, peer_mac, peer_mac, 0x88cc, 0); /* for another machine */
    assert_false(reaches_kernel(&s, &f));
    stack_fini(&s);
}

static void answers_about_neighbours_are_copied_and_questions_are_not(void **state)
{
    static const uint8_t zero[6];
    struct stack s;
    struct frame f;

    start(&s);
    frame_eth(&f, frame_broadcast, peer_mac, 0x0806, 0);
    frame_arp(&f, 1, peer_mac, PEER, zero, US);
    assert_false(reaches_kernel(&s, &f));
    frame_eth(&f, stack_mac, peer_mac, 0x0806, 0);
    frame_arp(&f, 2, peer_mac, PEER, stack_mac, US);
    assert_true(reaches_kernel(&s, &f));
    assert_memory_equal(s.to_kernel.b, f.b, f.len);
    frame_eth(&f, frame_broadcast, peer_mac, 0x0806, 0); /* gratuitous */
    frame_arp(&f, 1, peer_mac, PEER, zero, PEER);
    assert_true(reaches_kernel(&s, &f));

    s.n_to_kernel = 0;
    stack6_nd(&s, 135, PEER6, US6, 0, US6, 1, peer_mac);
    assert_int_equal(s.n_to_kernel, 0);
    stack6_nd(&s, 136, PEER6, US6, 0x60000000, PEER6, 2, peer_mac);
    assert_int_equal(s.n_to_kernel, 1);
    stack_fini(&s);
}

static void a_copy_that_another_worker_made_is_not_copied(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    frame_eth(&f, stack_mac, peer_mac, 0x0806, 0);
    frame_arp(&f, 2, peer_mac, PEER, stack_mac, US);
    stack_rx_flags(&s, &f, PKT_STEERED);
    assert_int_equal(s.n_to_kernel, 0);
    stack_fini(&s);
}

/* An ICMP error about a TCP segment from @from to @to of the peer's. */
static void error4(struct frame *f, uint16_t from, uint16_t to)
{
    struct frame quoted;

    kernel4(&quoted, TCP, from, to);
    frame_eth(f, stack_mac, peer_mac, 0x0800, 0);
    frame_ip4(f, PEER, US, 1, NULL, 0);
    frame_icmp(f, 3, 3, 0, quoted.b + 14, 28);
    frame_done(f);
}

static unsigned n_errors;

static void on_error(void *ctx, const struct ipport *local, const struct ipport *remote, int err,
                     uint16_t mtu, const uint8_t payload[8])
{
    n_errors++;
}

static void an_error_goes_to_who_sent_what_it_is_about(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    net_set_error(s.net, TCP, on_error, NULL);
    n_errors = 0;
    error4(&f, 179, 40000);
    assert_true(reaches_kernel(&s, &f));
    error4(&f, 40000, 80);
    assert_false(reaches_kernel(&s, &f));
    assert_int_equal(n_errors, 1);
    error4(&f, 40000, 179); /* nobody has opened that */
    assert_false(reaches_kernel(&s, &f));
    assert_int_equal(n_errors, 2);
    kernel4(&f, TCP, 40000, 179);
    assert_true(leaves(&s, &f));
    error4(&f, 40000, 179);
    assert_true(reaches_kernel(&s, &f));
    stack_fini(&s);
}

static void echo_replies_are_the_kernels_and_requests_are_ours(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    for (unsigned type = 0; type <= 8; type += 8) {
        frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
        frame_ip4(&f, PEER, US, 1, NULL, 0);
        frame_icmp(&f, (uint8_t)type, 0, 0x10001, "ping", 4);
        frame_done(&f);
        assert_int_equal(reaches_kernel(&s, &f), type == 0);
    }
    for (uint8_t type = 128; type <= 129; type++) {
        stack6_frame(&f, PEER6, US6, 58);
        frame_icmp(&f, type, 0, 0x10001, "ping", 4);
        frame_done(&f);
        assert_int_equal(reaches_kernel(&s, &f), type == 129);
    }
    stack_fini(&s);
}

static void a_rule_of_another_port_is_not_for_this_one(void **state)
{
    struct stack s;
    struct frame f;

    stack6_defaults(&s);
    rules(&s.machine);
    s.machine.punts[0].port = "another";
    assert_true(stack_start(&s));
    net_set_proto(s.net, TCP, take, NULL);
    packet4(&f, TCP, 40000, 22);
    assert_false(reaches_kernel(&s, &f));
    packet4(&f, OSPF, 0, 0);
    assert_true(reaches_kernel(&s, &f));
    stack_fini(&s);
}

/* --- what the kernel sends ------------------------------------------------------------------- */

static void only_what_is_listed_leaves(void **state)
{
    static const struct {
        uint8_t protocol;
        uint16_t from, to;
        bool leaves;
    } cases[] = {
        { TCP, 22, 40000, true },    { TCP, 40000, 179, true },  { TCP, 40000, 80, false },
        { TCP, 3784, 40000, false }, { UDP, 49152, 3784, true }, { UDP, 3784, 49152, true },
        { UDP, 53, 53, false },      { OSPF, 0, 0, true },       { 112, 0, 0, false },
        { 2, 0, 0, true },
    };
    struct stack s;
    struct frame f;

    start(&s);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        kernel4(&f, cases[i].protocol, cases[i].from, cases[i].to);
        assert_int_equal(leaves(&s, &f), cases[i].leaves);
    }
    assert_int_equal(drops(&s, DROP_KERNEL_NOT_LISTED), 4);
    frame_eth(&f, frame_broadcast, stack_mac, 0x0806, 0);
    frame_arp(&f, 1, stack_mac, US, stack_mac, PEER);
    assert_true(leaves(&s, &f));
    frame_eth(&f, frame_broadcast, stack_mac, 0x88cc, 0);
    assert_true(leaves(&s, &f));
    frame_eth(&f, frame_broadcast, stack_mac, 0x8809, 0);
    assert_false(leaves(&s, &f));
    stack_fini(&s);
}

static void of_icmp_leaves_what_the_kernel_needs(void **state)
{
    static const uint8_t yes4[] = { 3, 8, 11, 12 },
                         yes6[] = { 1, 2, 3, 4, 128, 131, 132, 135, 136, 143 };
    struct stack s;
    struct frame f;

    start(&s);
    for (unsigned type = 0; type < 256; type++) {
        frame_eth(&f, peer_mac, stack_mac, 0x0800, 0);
        frame_ip4(&f, US, PEER, 1, NULL, 0);
        frame_icmp(&f, (uint8_t)type, 0, 0, "", 0);
        frame_done(&f);
        assert_int_equal(leaves(&s, &f), memchr(yes4, (int)type, sizeof(yes4)) != NULL);
        frame_eth(&f, peer_mac, stack_mac, 0x86dd, 0);
        frame_ip6(&f, US6, PEER6, 58);
        frame_icmp(&f, (uint8_t)type, 0, 0, "", 0);
        frame_done(&f);
        assert_int_equal(leaves(&s, &f), memchr(yes6, (int)type, sizeof(yes6)) != NULL);
    }
    stack_fini(&s);
}

static void frames_of_any_length_are_judged_within_their_bytes(void **state)
{
    struct stack s;
    struct frame f, part;

    start(&s);
    for (unsigned family = 4; family <= 6; family += 2) {
        if (family == 4) {
            kernel4(&f, TCP, 22, 40000);
        } else {
            frame_eth(&f, peer_mac, stack_mac, 0x86dd, 0);
            frame_ip6(&f, US6, PEER6, TCP);
            with_ports(&f, 22, 40000);
        }
        for (uint32_t len = 0; len <= f.len; len++) {
            part = f;
            part.len = len;
            assert_int_equal(leaves(&s, &part), len >= f.l4_at + 4 || len >= f.len - 20);
        }
    }
    assert_true(drops(&s, DROP_KERNEL_SHORT) > 60);
    stack_fini(&s);
}

static void a_connection_of_the_kernels_is_let_in(void **state)
{
    struct stack s;
    struct frame out, in, other;

    start(&s);
    kernel4(&out, TCP, 40000, 179);
    packet4(&in, TCP, 179, 40000);
    packet4(&other, TCP, 179, 40001);
    assert_false(reaches_kernel(&s, &in));
    assert_true(leaves(&s, &out));
    assert_true(reaches_kernel(&s, &in));
    assert_false(reaches_kernel(&s, &other));
    assert_int_equal(punt_n_flows(s.punt), 1);

    s.core.now_us += PUNT_IDLE_US - SEC; /* heard of, it lives on */
    assert_true(reaches_kernel(&s, &in));
    s.core.now_us += PUNT_IDLE_US;
    assert_false(reaches_kernel(&s, &in));
    assert_int_equal(drops(&s, DROP_PUNT_FORGOTTEN), 1);
    assert_int_equal(punt_n_flows(s.punt), 0);
    stack_fini(&s);
}

static void link_local_connections_of_the_kernels_are_let_in_too(void **state)
{
    struct stack s;
    struct frame f;

    start(&s);
    frame_eth(&f, peer_mac, stack_mac, 0x86dd, 0);
    frame_ip6(&f, NEAR6, PEER_NEAR6, TCP);
    with_ports(&f, 40000, 179);
    assert_true(leaves(&s, &f));
    stack6_frame(&f, PEER_NEAR6, NEAR6, TCP);
    with_ports(&f, 179, 40000);
    assert_true(reaches_kernel(&s, &f));
    stack_fini(&s);
}

static void of_too_many_connections_the_latest_are_remembered(void **state)
{
    const uint32_t n = 3 * PUNT_BUCKETS * PUNT_BUCKET;
    static struct machine_conf m;
    struct punt *u;
    struct frame f;
    unsigned known = 0;

    m.n_ports = 1;
    m.ports[0].name = "a";
    rules(&m);
    u = punt_new(&m, 1);
    for (uint32_t i = 1; i <= n; i++) {
        kernel4(&f, TCP, (uint16_t)(10000 + i), 179);
        assert_int_equal(punt_may_leave(u, 0, f.b, f.len, SEC + i), DROP_NONE);
    }
    assert_in_range(punt_n_flows(u), PUNT_BUCKETS * PUNT_BUCKET - 8, PUNT_BUCKETS * PUNT_BUCKET);
    for (uint32_t i = n; i > 0; i--) {
        const struct flow_key key = { .remote = ipaddr_v4(PEER),
                                      .local = ipaddr_v4(US),
                                      .remote_port = 179,
                                      .local_port = (uint16_t)(10000 + i),
                                      .protocol = TCP };
        const bool is_known = punt_find(u, 0, &key) != PUNT_NO;

        known += is_known;
        if (i > n - PUNT_BUCKETS) /* a bucket's eight last ones are far newer than the rest */
            assert_true(is_known);
    }
    assert_int_equal(known, punt_n_flows(u));
    punt_free(u);
}

static struct stack *first_worker;

/* What a ring does between two workers. */
static void hand_over(void *ctx, struct pkt *p)
{
    struct stack *s = ctx;
    struct pkt *there = test_pkt(&first_worker->pool, p->data, p->len);

    there->hash = p->hash;
    assert_ptr_equal(s->punt, first_worker->punt);
    pkt_free(p);
    net_to_kernel(first_worker->net, &there, 1);
}

static void the_second_worker_knows_what_the_first_has_let_out(void **state)
{
    static struct stack first, second;
    struct frame out, in, syn;

    start(&first);
    stack_defaults(&second);
    rules(&second.machine);
    second.punt = first.punt;
    second.ops.punt = hand_over;
    assert_true(stack_start(&second));
    net_set_proto(second.net, TCP, take, NULL);
    first_worker = &first;

    kernel4(&out, TCP, 40000, 179);
    packet4(&in, TCP, 179, 40000);
    packet4(&syn, TCP, 50000, 22);
    stack_rx(&second, &in);
    assert_int_equal(n_taken, 1);
    assert_true(leaves(&first, &out));
    stack_rx(&second, &in);
    stack_rx(&second, &syn);
    assert_int_equal(n_taken, 1);
    assert_int_equal(first.n_to_kernel, 2);
    assert_int_equal(second.n_to_kernel, 0);
    assert_memory_equal(first.to_kernel.b, syn.b, syn.len);
    stack_fini(&second);
    stack_fini(&first);
}

/* --- how much -------------------------------------------------------------------------------- */

static unsigned send_many(struct stack *s, const struct frame *f, unsigned n)
{
    unsigned passed = 0;

    for (unsigned i = 0; i < n; i++)
        passed += reaches_kernel(s, f);
    return passed;
}

static void a_rule_has_its_own_rate_and_all_have_one(void **state)
{
    struct stack s;
    struct frame tcp, bfd;

    start(&s);
    packet4(&bfd, UDP, 49152, 3784);
    packet4(&tcp, TCP, 40000, 22);
    assert_int_equal(send_many(&s, &bfd, 50), 5);
    assert_int_equal(send_many(&s, &tcp, 200), 95); /* of a burst of 100 */
    assert_int_equal(s.punt->counters[0].to_kernel, 95);
    assert_int_equal(s.punt->counters[0].limited, 105);
    assert_int_equal(s.punt->counters[1].limited, 45);
    assert_int_equal(drops(&s, DROP_PUNT_LIMITED), 150);
    s.core.now_us += SEC / 100;
    assert_int_equal(send_many(&s, &tcp, 200), 10);
    s.core.now_us += 1000 * SEC;
    assert_int_equal(send_many(&s, &bfd, 50), 5);
    assert_int_equal(send_many(&s, &tcp, 200), 95);
    stack_fini(&s);
}

static void a_flood_of_answers_about_neighbours_leaves_room_for_rules(void **state)
{
    struct stack s;
    struct frame arp, tcp;

    start(&s);
    s.punt->all.tokens = UINT64_MAX / 2; /* only the own rates count here */
    s.punt->all.burst = UINT32_MAX;
    frame_eth(&arp, stack_mac, peer_mac, 0x0806, 0);
    frame_arp(&arp, 2, peer_mac, PEER, stack_mac, US);
    packet4(&tcp, TCP, 40000, 22);
    assert_int_equal(send_many(&s, &arp, 1000), 100);
    assert_int_equal(send_many(&s, &tcp, 10), 10);
    stack_fini(&s);
}

/* --- what is taken over ---------------------------------------------------------------------- */

static enum neigh_state state_of(struct stack *s, uint32_t addr)
{
    const struct ipaddr a = ipaddr_v4(addr);
    const char *name = neigh_state_of(s->net, 0, &a);

    for (unsigned i = 0; i <= NEIGH_PERMANENT; i++)
        if (strcmp(name, neigh_state_name((enum neigh_state)i)) == 0)
            return (enum neigh_state)i;
    fail_msg("no neighbour: \"%s\"", name);
    return NEIGH_FAILED;
}

static void neighbours_of_the_kernels_are_permanent_until_it_lets_go_of_them(void **state)
{
    struct net_mirror_neigh given[] = { { .addr = ipaddr_v4(PEER), .mac = { 2, 0, 0, 0, 0, 0x77 } },
                                        { .addr = ipaddr_v4(PEER + 1), .mac = { 2, 7 } } };
    struct stack s;
    struct frame f;

    start(&s);
    frame_eth(&f, frame_broadcast, peer_mac, 0x0806, 0); /* PEER is known already */
    frame_arp(&f, 1, peer_mac, PEER, stack_mac, US);
    stack_rx(&s, &f);
    assert_int_equal(state_of(&s, PEER), NEIGH_STALE);
    neigh_give(s.net, given, 2);
    assert_int_equal(state_of(&s, PEER), NEIGH_PERMANENT);
    assert_int_equal(state_of(&s, PEER + 1), NEIGH_PERMANENT);
    stack_rx(&s, &f); /* which claims it in vain */
    assert_int_equal(state_of(&s, PEER), NEIGH_PERMANENT);
    stack_run(&s, 3600 * SEC); /* unused, it stays */
    neigh_give(s.net, given + 1, 1);
    assert_int_equal(state_of(&s, PEER), NEIGH_STALE);
    assert_int_equal(state_of(&s, PEER + 1), NEIGH_PERMANENT);
    neigh_give(s.net, NULL, 0);
    assert_int_equal(state_of(&s, PEER + 1), NEIGH_STALE);
    stack_fini(&s);
}

/* What would be one packet for us are two frames for the kernel. */
static void its_segments_are_not_merged(void **state)
{
    static const uint8_t bytes[200] = { 0 };
    struct pkt *pkts[4];
    struct stack s;

    stack6_defaults(&s);
    rules(&s.machine);
    s.merge = true;
    assert_true(stack_start(&s));
    net_set_proto(s.net, TCP, take, NULL);
    n_taken = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct frame_tcp t = { .src = 5000,
                               .dst = i < 2 ? 179 : 80,
                               .seq = 1000 + i % 2 * 100,
                               .flags = 0x10,
                               .wscale = -1,
                               .payload = bytes,
                               .len = 100 };
        struct frame f;

        frame_eth(&f, stack_mac, peer_mac, 0x0800, 0);
        frame_ip4(&f, PEER, US, TCP, NULL, 0);
        frame_tcp(&f, &t);
        frame_done(&f);
        pkts[i] = test_pkt(&s.pool, f.b, f.len);
        pkts[i]->flags = PKT_RX_IP_CSUM_GOOD | PKT_RX_L4_CSUM_GOOD;
    }
    net_rx(s.net, pkts, 4);
    stack_flush(&s);
    assert_int_equal(s.n_to_kernel, 2);
    assert_int_equal(n_taken, 2); /* merged, and one by one again: nobody has this flow */
    stack_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_found_as_a_plain_search_finds_them),
        cmocka_unit_test(what_is_listed_goes_to_the_kernel_as_it_came),
        cmocka_unit_test(what_is_not_listed_stays_ours),
        cmocka_unit_test(what_is_wrong_is_dropped_before_it_is_the_kernels),
        cmocka_unit_test(a_flow_of_ours_wins),
        cmocka_unit_test(groups_that_a_rule_is_for_are_the_kernels),
        cmocka_unit_test(frames_of_a_listed_type_are_the_kernels),
        cmocka_unit_test(answers_about_neighbours_are_copied_and_questions_are_not),
        cmocka_unit_test(a_copy_that_another_worker_made_is_not_copied),
        cmocka_unit_test(an_error_goes_to_who_sent_what_it_is_about),
        cmocka_unit_test(echo_replies_are_the_kernels_and_requests_are_ours),
        cmocka_unit_test(a_rule_of_another_port_is_not_for_this_one),
        cmocka_unit_test(only_what_is_listed_leaves),
        cmocka_unit_test(of_icmp_leaves_what_the_kernel_needs),
        cmocka_unit_test(frames_of_any_length_are_judged_within_their_bytes),
        cmocka_unit_test(a_connection_of_the_kernels_is_let_in),
        cmocka_unit_test(link_local_connections_of_the_kernels_are_let_in_too),
        cmocka_unit_test(the_second_worker_knows_what_the_first_has_let_out),
        cmocka_unit_test(of_too_many_connections_the_latest_are_remembered),
        cmocka_unit_test(a_rule_has_its_own_rate_and_all_have_one),
        cmocka_unit_test(a_flood_of_answers_about_neighbours_leaves_room_for_rules),
        cmocka_unit_test(neighbours_of_the_kernels_are_permanent_until_it_lets_go_of_them),
        cmocka_unit_test(its_segments_are_not_merged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
