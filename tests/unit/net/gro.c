#include "dataplane/net/gro.h"
#include "dataplane/base/bytes.h"
#include "dataplane/base/cksum.h"
#include "dataplane/net/net_impl.h"
#include "tests/lib/stack6.h"
#include "tests/lib/test.h"

#include <stdio.h>

#define N_FLOWS 10
#define MOST 40
#define ACK 16
#define PSH 8
#define FIN 1
#define UNIT 1000 /* bytes of a segment, which the tables count in */

/* What makes a segment differ from the others of its flow. */
enum odd {
    NOTHING,
    ACK_NUMBER,
    WINDOW,
    TIMESTAMP,
    TTL,
    SERVICE,
    CE,
    LABEL,
    DF,
    TCP_SUM,
    IP_SUM,
    FRAGMENT,
    IP_OPTION,
    URGENT,
    OTHER_MAC,
    VLAN,
    LENGTH, /* IP says more than there is */
    BARE,   /* no options, no padding: as short as a segment can be */
};

struct seg {
    char flow;   /* 'A'; '\0': the end */
    uint32_t at; /* units */
    uint32_t len;
    uint8_t flags;
    enum odd odd;
};

struct owner {
    struct flow flow;
    struct stack *stack;
    char name;
    bool takes_trains;
};

struct world {
    struct stack stack;
    struct owner owners[N_FLOWS];
    bool is_ip6;
    char log[1024]; /* "A0+2 B0": what came, and how many behind it */
};

/* The port or we: who has looked at checksums. */
static const uint16_t whose[] = { 0, PKT_RX_IP_CSUM_GOOD | PKT_RX_L4_CSUM_GOOD };

static const char *const from6[] = { "2001:db8::2", "2001:db8::1" };

static struct world *current;

static void say(const struct owner *o, const struct pkt *p)
{
    const uint32_t seq = get32(p->data + 4);
    char *at = current->log + strlen(current->log);

    at += sprintf(at, "%s%c%u", current->log[0] != '\0' ? " " : "", o->name, seq / UNIT);
    if (p->n_more > 0)
        sprintf(at, "+%u", p->n_more);
}

static uint8_t byte_at(uint32_t seq)
{
    return (uint8_t)(seq * 7 + (seq >> 8));
}

static void check_bytes(const struct pkt *p, uint32_t hdr, uint32_t seq)
{
    for (uint32_t i = hdr; i < p->len; i++)
        assert_int_equal(p->data[i], byte_at(seq + i - hdr));
}

static enum drop rx(struct flow *f, struct pkt *p)
{
    const struct owner *o = container_of(f, struct owner, flow);
    const uint32_t hdr = (uint32_t)(p->data[12] >> 4) * 4;

    assert_int_equal(p->n_more, 0);
    say(o, p);
    if ((p->flags & PKT_RX_L4_CSUM_GOOD) == 0 &&
        !cksum_is_good(
            cksum_add(cksum_pseudo(&f->key.remote, &f->key.local, 6, p->len), p->data, p->len)))
        return DROP_TCP_CSUM;
    check_bytes(p, hdr, get32(p->data + 4));
    pkt_free(p);
    return DROP_NONE;
}

static bool rx_train(struct flow *f, struct pkt *p)
{
    const struct owner *o = container_of(f, struct owner, flow);
    const uint32_t hdr = (uint32_t)(p->data[12] >> 4) * 4;
    uint32_t seq = get32(p->data + 4) + p->len - hdr;
    const struct pkt *q = p;

    if (!o->takes_trains)
        return false;
    say(o, p);
    check_bytes(p, hdr, get32(p->data + 4));
    for (unsigned i = 0; i < p->n_more; i++) {
        q = q->more;
        check_bytes(q, 0, seq);
        seq += q->len;
    }
    pkt_free(p);
    return true;
}

static const struct flow_ops ops = { rx, rx_train };

static void start(struct world *w, bool is_ip6, bool takes_trains)
{
    memset(w, 0, sizeof(*w));
    current = w;
    w->is_ip6 = is_ip6;
    stack_defaults(&w->stack);
    if (is_ip6)
        stack6_defaults(&w->stack);
    w->stack.merge = true;
    assert_true(stack_start(&w->stack));
    if (is_ip6)
        stack_run(&w->stack, 2000000); /* nobody else has our address */
    for (unsigned i = 0; i < N_FLOWS; i++) {
        struct owner *o = &w->owners[i];
        struct ipport remote = { ipaddr_v4(PEER), (uint16_t)(1000 + i) };
        struct ipport local = { ipaddr_v4(US), 80 };

        if (is_ip6) {
            assert_true(ipaddr_parse(slice_of(from6[0]), &remote.addr));
            assert_true(ipaddr_parse(slice_of(from6[1]), &local.addr));
        }
        *o = (struct owner){ .name = (char)('A' + i), .takes_trains = takes_trains };
        flow_key_init(&o->flow.key, 6, &remote, &local);
        o->flow.ops = &ops;
        assert_int_equal(flow_table_add(net_flows(w->stack.net), &o->flow), 0);
    }
}

static void end(struct world *w)
{
    for (unsigned i = 0; i < N_FLOWS; i++)
        flow_table_del(net_flows(w->stack.net), &w->owners[i].flow);
    stack_fini(&w->stack);
}

static void spoil_before(struct frame *f, enum odd odd)
{
    uint8_t *ip = f->b + f->ip_at, *tcp = f->b + f->l4_at;
    const bool is_ip6 = ip[0] >> 4 == 6;

    if (odd == ACK_NUMBER)
        tcp[11]++;
    else if (odd == WINDOW)
        tcp[15]++;
    else if (odd == TIMESTAMP)
        tcp[27]++;
    else if (odd == TTL)
        ip[is_ip6 ? 7 : 8]--;
    else if (odd == SERVICE)
        ip[1] |= is_ip6 ? 0x40 : 4;
    else if (odd == CE)
        ip[1] |= is_ip6 ? 0x30 : 3;
    else if (odd == LABEL)
        ip[is_ip6 ? 3 : 1] ^= 8;
    else if (odd == DF)
        ip[is_ip6 ? 3 : 6] ^= 0x40;
    else if (odd == FRAGMENT && !is_ip6)
        ip[6] = 0x20;
    else if (odd == URGENT)
        tcp[13] |= 32;
}

static void spoil_after(struct frame *f, enum odd odd)
{
    uint8_t *ip = f->b + f->ip_at;

    if (odd == TCP_SUM)
        f->b[f->l4_at + 17] ^= 1;
    else if (odd == IP_SUM && ip[0] >> 4 == 4)
        ip[11] ^= 1;
    else if (odd == OTHER_MAC)
        f->b[5] ^= 1;
    else if (odd == LENGTH)
        put16(ip + (ip[0] >> 4 == 4 ? 2 : 4), 3000);
}

static struct pkt *make(struct world *w, const struct seg *s, uint16_t flags)
{
    static const uint8_t nop[4] = { 1, 1, 1, 1 };
    uint8_t bytes[4 * UNIT];
    const struct frame_tcp t = { .src = (uint16_t)(1000 + s->flow - 'A'),
                                 .dst = 80,
                                 .seq = s->at * UNIT,
                                 .ack = 77,
                                 .flags = s->flags,
                                 .wnd = 5000,
                                 .wscale = -1,
                                 .has_ts = s->odd != BARE,
                                 .tsval = 9,
                                 .len = s->len,
                                 .payload = bytes };
    struct frame f;
    struct pkt *p;

    for (uint32_t i = 0; i < s->len; i++)
        bytes[i] = byte_at(t.seq + i);
    frame_eth(&f, stack_mac, peer_mac, w->is_ip6 ? 0x86dd : 0x0800, s->odd == VLAN ? 7 : 0);
    if (w->is_ip6)
        frame_ip6(&f, from6[0], from6[1], 6);
    else
        frame_ip4(&f, PEER, US, 6, nop, s->odd == IP_OPTION ? 4 : 0);
    frame_tcp(&f, &t);
    spoil_before(&f, s->odd);
    frame_done(&f);
    spoil_after(&f, s->odd);
    if (f.len < 60 && s->odd != BARE)
        frame_bytes(&f, bytes, 60 - f.len); /* as Ethernet pads */
    p = test_pkt(&w->stack.pool, f.b, f.len);
    p->flags = s->odd == TCP_SUM || s->odd == IP_SUM ? 0 : flags;
    return p;
}

static void burst(struct world *w, const struct seg *s, uint16_t flags)
{
    struct pkt *pkts[MOST];
    unsigned n = 0;

    w->log[0] = '\0';
    for (; s->flow != '\0'; s++)
        pkts[n++] = make(w, s, flags);
    net_rx(w->stack.net, pkts, n);
}

#define SEG(flow, at)                                                                              \
    {                                                                                              \
        flow, at, UNIT, ACK, NOTHING                                                               \
    }
#define ODD(flow, at, odd)                                                                         \
    {                                                                                              \
        flow, at, UNIT, ACK, odd                                                                   \
    }

static const struct {
    const char *what;
    struct seg segs[MOST];
    const char *expect, *one_by_one;
    bool not_ip6;
} cases[] = {
    { "in order", { SEG('A', 0), SEG('A', 1), SEG('A', 2) }, "A0+2", "A0 A1 A2", false },
    { "a lone one", { SEG('A', 0) }, "A0", "A0", false },
    { "a gap", { SEG('A', 0), SEG('A', 2), SEG('A', 3) }, "A0 A2+1", "A0 A2 A3", false },
    { "out of order", { SEG('A', 1), SEG('A', 0), SEG('A', 2) }, "A1 A0 A2", "A1 A0 A2", false },
    { "the same again", { SEG('A', 0), SEG('A', 0), SEG('A', 1) }, "A0 A0+1", "A0 A0 A1", false },
    { "two flows in turn",
      { SEG('A', 0), SEG('B', 5), SEG('A', 1), SEG('B', 6), SEG('A', 2) },
      "A0+2 B5+1",
      "A0 A1 A2 B5 B6",
      false },
    { "a shorter one is the last",
      { SEG('A', 0), { 'A', 1, 500, ACK, NOTHING }, SEG('A', 2), SEG('A', 3) },
      "A0+1 A2+1",
      "A0 A1 A2 A3",
      false },
    { "a longer one does not follow",
      { { 'A', 0, UNIT, ACK, NOTHING }, { 'A', 1, 1300, ACK, NOTHING } },
      "A0 A1",
      "A0 A1",
      false },
    { "PSH is the last",
      { SEG('A', 0), { 'A', 1, UNIT, ACK | PSH, NOTHING }, SEG('A', 2), SEG('A', 3) },
      "A0+1 A2+1",
      "A0 A1 A2 A3",
      false },
    { "PSH is not the first",
      { { 'A', 0, UNIT, ACK | PSH, NOTHING }, SEG('A', 1) },
      "A0 A1",
      "A0 A1",
      false },
    { "FIN",
      { SEG('A', 0), { 'A', 1, UNIT, ACK | FIN, NOTHING }, SEG('A', 2) },
      "A0 A1 A2",
      "A0 A1 A2",
      false },
    { "an ACK between stays between",
      { SEG('A', 0), { 'A', 1, 0, ACK, NOTHING }, SEG('A', 1) },
      "A0 A1 A1",
      "A0 A1 A1",
      false },
    { "ECE", { SEG('A', 0), { 'A', 1, UNIT, ACK | 64, NOTHING } }, "A0 A1", "A0 A1", false },
    { "an ACK of another flow changes nothing",
      { SEG('A', 0), { 'B', 7, 0, ACK, BARE }, SEG('A', 1) },
      "A0+1 B7",
      "A0 A1 B7",
      false },
    { "another ACK", { SEG('A', 0), ODD('A', 1, ACK_NUMBER) }, "A0 A1", "A0 A1", false },
    { "another window", { SEG('A', 0), ODD('A', 1, WINDOW) }, "A0 A1", "A0 A1", false },
    { "another timestamp", { SEG('A', 0), ODD('A', 1, TIMESTAMP) }, "A0 A1", "A0 A1", false },
    { "another TTL", { SEG('A', 0), ODD('A', 1, TTL) }, "A0 A1", "A0 A1", false },
    { "another service", { SEG('A', 0), ODD('A', 1, SERVICE) }, "A0 A1", "A0 A1", false },
    { "one is marked", { SEG('A', 0), ODD('A', 1, CE) }, "A0 A1", "A0 A1", false },
    { "all are marked", { ODD('A', 0, CE), ODD('A', 1, CE) }, "A0+1", "A0 A1", false },
    { "another label", { SEG('A', 0), ODD('A', 1, LABEL) }, "A0 A1", "A0 A1", false },
    { "one may be fragmented", { SEG('A', 0), ODD('A', 1, DF) }, "A0 A1", "A0 A1", false },
    { "urgent", { SEG('A', 0), ODD('A', 1, URGENT) }, "A0 A1", "A0 A1", false },
    { "a wrong sum in the second: TCP counts it",
      { SEG('A', 0), ODD('A', 1, TCP_SUM), SEG('A', 2) },
      "A0 A1 A2",
      "A0 A1 A2",
      false },
    { "a wrong sum in the first",
      { ODD('A', 0, TCP_SUM), SEG('A', 1), SEG('A', 2) },
      "A0 A1+1",
      "A0 A1 A2",
      false },
    { "a wrong sum of IP",
      { SEG('A', 0), ODD('A', 1, IP_SUM), SEG('A', 2) },
      "A0 A2",
      "A0 A2",
      true },
    { "an option of IP",
      { SEG('A', 0), ODD('A', 1, IP_OPTION), SEG('A', 2) },
      "A0 A1 A2",
      "A0 A1 A2",
      true },
    { "a fragment", { SEG('A', 0), ODD('A', 1, FRAGMENT), SEG('A', 1) }, "A0 A1", "A0 A1", true },
    { "for another machine",
      { SEG('A', 0), ODD('A', 1, OTHER_MAC), SEG('A', 2) },
      "A0 A2",
      "A0 A2",
      false },
    { "a length that lies",
      { SEG('A', 0), ODD('A', 1, LENGTH), SEG('A', 1) },
      "A0 A1",
      "A0 A1",
      false },
    { "of a VLAN",
      { ODD('A', 0, VLAN), ODD('A', 1, VLAN), SEG('A', 2) },
      "A0+1 A2",
      "A0 A1 A2",
      true },
    { "small ones, in frames that are padded",
      { { 'A', 0, 1, ACK, NOTHING }, { 'B', 0, 3, ACK, NOTHING } },
      "A0 B0",
      "A0 B0",
      false },
    { "more than 32",
      { SEG('A', 0),  SEG('A', 1),  SEG('A', 2),  SEG('A', 3),  SEG('A', 4),  SEG('A', 5),
        SEG('A', 6),  SEG('A', 7),  SEG('A', 8),  SEG('A', 9),  SEG('A', 10), SEG('A', 11),
        SEG('A', 12), SEG('A', 13), SEG('A', 14), SEG('A', 15), SEG('A', 16), SEG('A', 17),
        SEG('A', 18), SEG('A', 19), SEG('A', 20), SEG('A', 21), SEG('A', 22), SEG('A', 23),
        SEG('A', 24), SEG('A', 25), SEG('A', 26), SEG('A', 27), SEG('A', 28), SEG('A', 29),
        SEG('A', 30), SEG('A', 31), SEG('A', 32), SEG('A', 33) },
      "A0+31 A32+1",
      NULL,
      false },
    { "more flows than are waited for: the oldest is given up",
      { SEG('A', 0), SEG('B', 0), SEG('C', 0), SEG('D', 0), SEG('E', 0), SEG('F', 0), SEG('G', 0),
        SEG('H', 0), SEG('I', 0), SEG('A', 1), SEG('C', 1), SEG('I', 1) },
      "A0 B0 C0+1 D0 E0 F0 G0 H0 I0+1 A1",
      NULL,
      false },
};

static void run_cases(bool is_ip6, bool takes_trains)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *expect = takes_trains ? cases[i].expect : cases[i].one_by_one;

        if (expect == NULL || (is_ip6 && cases[i].not_ip6))
            continue;
        for (size_t k = 0; k < ARRAY_SIZE(whose); k++) {
            struct world w;

            start(&w, is_ip6, takes_trains);
            burst(&w, cases[i].segs, whose[k]);
            if (strcmp(w.log, expect) != 0)
                fail_msg("%s: \"%s\" instead of \"%s\"", cases[i].what, w.log, expect);
            end(&w);
        }
    }
}

static void what_belongs_together_is_merged_and_nothing_else(void **state)
{
    run_cases(false, true);
    run_cases(true, true);
}

static void who_takes_no_trains_gets_every_segment_as_it_was(void **state)
{
    run_cases(false, false);
    run_cases(true, false);
}

static void a_refused_segment_is_counted_once_and_alone(void **state)
{
    static const struct seg bad[] = {
        SEG('A', 0), ODD('A', 1, TCP_SUM), SEG('A', 2), SEG('A', 3), { 0 }
    };
    static const struct seg lost[] = {
        ODD('A', 0, OTHER_MAC), ODD('A', 1, OTHER_MAC), ODD('A', 2, OTHER_MAC), { 0 }
    };
    const struct net_counters *c;
    struct world w;

    start(&w, false, true);
    c = net_counters(w.stack.net);
    burst(&w, bad, 0);
    assert_string_equal(w.log, "A0 A1 A2+1");
    assert_int_equal(c->drops[DROP_TCP_CSUM], 1);
    assert_int_equal(c->pkts_in, 4);
    assert_int_equal(c->bytes_in, 4 * (14 + 20 + 32 + UNIT));
    burst(&w, lost, 0); /* merged before anybody has looked whom they are for */
    assert_int_equal(c->drops[DROP_ETH_NOT_OURS], 3);
    end(&w);
}

static void nothing_is_merged_when_it_is_off(void **state)
{
    static const struct seg segs[] = { SEG('A', 0), SEG('A', 1), { 0 } };
    struct world w;

    start(&w, false, true);
    ((struct net *)w.stack.net)->merge = false;
    burst(&w, segs, 0);
    assert_string_equal(w.log, "A0 A1");
    end(&w);
}

/* As a port leaves it: a header, and buffers that may be full to the brim. */
static struct pkt *train_of_port(struct world *w, uint8_t flags, uint32_t headroom, uint32_t piece)
{
    const struct seg first = { 'A', 0, UNIT, flags, NOTHING };
    struct pkt *head = make(w, &first, PKT_RX_IP_CSUM_GOOD | PKT_RX_L4_CSUM_GOOD), *last = head;
    uint32_t seq = UNIT;

    for (unsigned i = 0; i < 3; i++) {
        struct pkt *p = pkt_alloc(&w->stack.pool.pool);
        uint8_t *at;

        p->data = p->head + headroom;
        at = pkt_put(p, piece);
        for (uint32_t k = 0; k < piece; k++)
            at[k] = byte_at(seq + k);
        seq += piece;
        pkt_couple(head, last, p);
        last = p;
    }
    return head;
}

static uint32_t n_bytes, n_flags;
static struct {
    uint32_t seq, len;
    uint8_t flags;
} came[16];

static enum drop note(struct flow *f, struct pkt *p)
{
    const uint32_t hdr = (uint32_t)(p->data[12] >> 4) * 4;

    assert_int_equal(get32(p->data + 4), n_bytes);
    came[n_flags].seq = get32(p->data + 4);
    came[n_flags].len = p->len - hdr;
    came[n_flags++].flags = p->data[13];
    check_bytes(p, hdr, n_bytes);
    n_bytes += p->len - hdr;
    pkt_free(p);
    return DROP_NONE;
}

static void a_train_from_the_port_is_taken_apart_whatever_room_its_buffers_have(void **state)
{
    static const struct flow_ops no_trains = { .rx = note };
    static const uint32_t rooms[] = { 0, 1, 31, 32, 128 }, pieces[] = { 1, 20, 60, 700, 2000 };

    for (size_t r = 0; r < ARRAY_SIZE(rooms); r++) {
        for (size_t s = 0; s < ARRAY_SIZE(pieces); s++) {
            struct world w;
            struct pkt *train;

            start(&w, false, true);
            w.owners[0].flow.ops = &no_trains;
            n_bytes = n_flags = 0;
            train = train_of_port(&w, ACK | PSH | FIN | 128, rooms[r], pieces[s]);
            net_rx(w.stack.net, &train, 1);
            assert_int_equal(n_bytes, UNIT + 3 * pieces[s]);
            assert_int_equal(came[0].flags, ACK | 128); /* CWR is the first's, FIN the last's */
            for (unsigned i = 1; i + 1 < n_flags; i++)
                assert_int_equal(came[i].flags, ACK);
            assert_int_equal(came[n_flags - 1].flags, ACK | PSH | FIN);
            end(&w);
        }
    }
}

static void without_memory_the_rest_is_dropped_and_counted(void **state)
{
    static const struct flow_ops no_trains = { .rx = note };
    struct world w;
    struct pkt *train;

    start(&w, false, true);
    w.owners[0].flow.ops = &no_trains;
    n_bytes = n_flags = 0;
    train = train_of_port(&w, ACK, 0, 2000);
    w.stack.pool.max = 1;
    net_rx(w.stack.net, &train, 1);
    w.stack.pool.max = 0;
    assert_int_equal(n_bytes, UNIT);
    assert_int_equal(net_counters(w.stack.net)->drops[DROP_TCP_NO_PKT], 3);
    end(&w);
}

static void a_train_that_the_port_found_wrong_is_dropped_whole(void **state)
{
    struct world w;
    struct pkt *train;

    start(&w, false, true);
    train = train_of_port(&w, ACK, 128, 100);
    train->flags = PKT_RX_IP_CSUM_GOOD | PKT_RX_L4_CSUM_BAD;
    net_rx(w.stack.net, &train, 1);
    assert_string_equal(w.log, "");
    assert_int_equal(net_counters(w.stack.net)->drops[DROP_TCP_CSUM], 4);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_belongs_together_is_merged_and_nothing_else),
        cmocka_unit_test(who_takes_no_trains_gets_every_segment_as_it_was),
        cmocka_unit_test(a_refused_segment_is_counted_once_and_alone),
        cmocka_unit_test(nothing_is_merged_when_it_is_off),
        cmocka_unit_test(a_train_from_the_port_is_taken_apart_whatever_room_its_buffers_have),
        cmocka_unit_test(without_memory_the_rest_is_dropped_and_counted),
        cmocka_unit_test(a_train_that_the_port_found_wrong_is_dropped_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
