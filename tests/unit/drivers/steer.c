#include "drivers/steer.h"
#include "config/model/machine.h"
#include "dataplane/base/num.h"
#include "tests/lib/frames.h"
#include "tests/lib/pool.h"
#include "tests/lib/test.h"

#define TYPE_IP4 0x0800
#define SYN 0x02

static const uint8_t ours[6] = { 2, 0, 0, 0, 0, 1 }, theirs[6] = { 2, 0, 0, 0, 0, 2 };

static struct ipport address(const char *text)
{
    const struct slice all = slice_of(text);
    const size_t colon = slice_find(all, ':');
    struct ipport a;
    uint64_t port;

    assert_true(ipaddr_parse(slice_head(all, colon), &a.addr));
    assert_true(num_u64(slice_skip(all, colon + 1), UINT16_MAX, &port));
    a.port = (uint16_t)port;
    return a;
}

/* "Verifying the RSS Hash Calculation": IPv4 with TCP. */
static const struct {
    const char *remote, *local;
    uint32_t hash;
} known[] = {
    { "66.9.149.187:2794", "161.142.100.80:1766", 0x51ccc178 },
    { "199.92.111.2:14230", "65.69.140.83:4739", 0xc626b0ea },
    { "24.19.198.95:12898", "12.22.207.184:38024", 0x5c2b394a },
    { "38.27.205.30:48228", "209.142.163.6:2217", 0xafc7327f },
    { "153.39.163.191:44251", "202.188.127.2:1303", 0x10e828a2 },
};

static void the_hash_is_that_of_the_rss_document(void **state)
{
    struct steer s;

    steer_init(&s, STEER_RETA); /* so the owner is the low bits of the hash */
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        struct ipport remote = address(known[i].remote), local = address(known[i].local);

        assert_int_equal(steer_tuple(&s, &remote, &local), known[i].hash & (STEER_RETA - 1));
    }
}

static uint32_t owner_of(const struct steer *s, const uint8_t *bytes, uint32_t len)
{
    struct test_pool tp;
    struct pkt *p;
    uint32_t owner;

    test_pool_init(&tp, 0);
    p = test_pkt(&tp, bytes, len);
    owner = steer_frame(s, p, NULL);
    pkt_free(p);
    test_pool_fini(&tp);
    return owner;
}

static void segment(struct frame *f, uint16_t vlan, uint32_t opts_len, const struct ipport *from,
                    const struct ipport *to)
{
    static const uint8_t nops[40] = { 1, 1, 1, 1 };
    struct frame_tcp t = { .src = from->port, .dst = to->port, .flags = SYN, .wscale = -1 };

    frame_eth(f, ours, theirs, TYPE_IP4, vlan);
    frame_ip4(f, ipaddr_u32(&from->addr), ipaddr_u32(&to->addr), 6, nops, opts_len);
    frame_tcp(f, &t);
    frame_done(f);
}

static void a_frame_goes_where_its_tuple_does(void **state)
{
    struct steer s;

    steer_init(&s, STEER_RETA);
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        struct ipport remote = address(known[i].remote), local = address(known[i].local);
        static const struct {
            uint16_t vlan;
            uint32_t opts_len;
        } shapes[] = { { 0, 0 }, { 5, 0 }, { 0, 4 }, { 5, 8 } };

        for (size_t k = 0; k < ARRAY_SIZE(shapes); k++) {
            struct frame f = { .len = 0 };

            segment(&f, shapes[k].vlan, shapes[k].opts_len, &remote, &local);
            assert_int_equal(owner_of(&s, f.b, f.len), known[i].hash & (STEER_RETA - 1));
        }
    }
}

static void an_error_goes_to_the_owner_of_what_it_quotes(void **state)
{
    struct ipport remote = address(known[0].remote), local = address(known[0].local);
    struct frame sent = { .len = 0 }, f = { .len = 0 };
    struct steer s;

    steer_init(&s, STEER_RETA);
    segment(&sent, 0, 0, &local, &remote);
    frame_eth(&f, ours, theirs, TYPE_IP4, 0);
    frame_ip4(&f, 0x0a000001, ipaddr_u32(&local.addr), 1, NULL, 0);
    frame_icmp(&f, 3, 1, 0, sent.b + sent.ip_at, 28);
    frame_done(&f);
    assert_int_equal(owner_of(&s, f.b, f.len), known[0].hash & (STEER_RETA - 1));
    /* 24 bytes hold the ports; less do not. */
    assert_int_equal(owner_of(&s, f.b, f.len - 4), known[0].hash & (STEER_RETA - 1));
    assert_int_equal(owner_of(&s, f.b, f.len - 5), STEER_ANY);
}

static void what_is_cut_short_has_no_owner_and_is_not_read_beyond(void **state)
{
    struct ipport remote = address(known[0].remote), local = address(known[0].local);
    struct steer s;

    steer_init(&s, STEER_RETA);
    for (unsigned vlan = 0; vlan <= 5; vlan += 5) {
        struct frame f = { .len = 0 };
        uint32_t need;

        segment(&f, (uint16_t)vlan, 8, &remote, &local);
        need = f.ip_at + 28 + 8;
        for (uint32_t len = 0; len < f.len; len++) {
            uint32_t owner = owner_of(&s, f.b, len); /* of an allocation just so long */

            assert_int_equal(owner, len < need ? STEER_ANY : (known[0].hash & (STEER_RETA - 1)));
        }
    }
}

static void strangers_stay_where_they_arrive(void **state)
{
    struct ipport remote = address(known[0].remote), local = address(known[0].local);
    struct frame f = { .len = 0 }, arp = { .len = 0 };
    struct steer s;

    steer_init(&s, STEER_RETA);
    segment(&f, 0, 0, &remote, &local);
    f.b[f.ip_at + 6] = 0x40; /* don't fragment */
    assert_int_not_equal(owner_of(&s, f.b, f.len), STEER_ANY);
    f.b[f.ip_at + 9] = 17; /* UDP */
    assert_int_equal(owner_of(&s, f.b, f.len), STEER_ANY);
    f.b[f.ip_at + 9] = 6;
    f.b[f.ip_at] = 0x44; /* a header of 16 bytes */
    assert_int_equal(owner_of(&s, f.b, f.len), STEER_ANY);
    f.b[f.ip_at] = 0x65; /* IPv6, it says */
    assert_int_equal(owner_of(&s, f.b, f.len), STEER_ANY);
    frame_eth(&arp, frame_broadcast, theirs, 0x0806, 0);
    frame_arp(&arp, 1, theirs, 0x0a000001, ours, 0x0a000002);
    assert_int_equal(owner_of(&s, arp.b, arp.len), STEER_ANY);
}

static void all_fragments_of_a_datagram_go_to_one_worker(void **state)
{
    struct ipport remote = address(known[0].remote), local = address(known[0].local);
    struct frame f = { .len = 0 };
    struct steer s;
    uint32_t first, differ = 0;

    steer_init(&s, STEER_RETA);
    segment(&f, 0, 0, &remote, &local);
    f.b[f.ip_at + 6] = 0x20; /* more fragments */
    first = owner_of(&s, f.b, f.len);
    assert_int_not_equal(first, STEER_ANY);
    f.b[f.ip_at + 6] = 0;
    f.b[f.ip_at + 7] = 9; /* a later one, whose ports are no ports */
    f.b[f.l4_at] ^= 0xff;
    assert_int_equal(owner_of(&s, f.b, f.len), first);
    for (unsigned id = 1; id < 16; id++) {
        f.b[f.ip_at + 5] = (uint8_t)id;
        differ += owner_of(&s, f.b, f.len) != first;
    }
    assert_true(differ > 8);

    frame_eth(&f, ours, theirs, 0x86dd, 0);
    frame_ip6(&f, "2001:db8::1", "2001:db8::2", 17);
    frame_frag6(&f, 77, 0, true);
    frame_bytes(&f, "01234567", 8);
    frame_done(&f);
    first = owner_of(&s, f.b, f.len);
    assert_int_not_equal(first, STEER_ANY);
    f.b[f.ip_at + 40 + 3] = 8; /* the next and last */
    assert_int_equal(owner_of(&s, f.b, f.len), first);
}

/* "Verifying the RSS Hash Calculation": IPv6 with TCP. */
static const struct {
    const char *remote, *local;
    uint16_t remote_port, local_port;
    uint32_t hash;
} known6[] = {
    { "3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766, 0x40207d3d },
    { "3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739, 0xdde51bbf },
    { "3ffe:1900:4545:3:200:f8ff:fe21:67cf", "fe80::200:f8ff:fe21:67cf", 44251, 38024, 0x02d1feef },
};

static void ipv6_is_steered_by_the_same_function(void **state)
{
    static const uint8_t padding[6] = { 1, 4 };
    struct steer s;

    steer_init(&s, STEER_RETA);
    for (size_t i = 0; i < ARRAY_SIZE(known6); i++) {
        struct ipport remote = { .port = known6[i].remote_port },
                      local = { .port = known6[i].local_port };
        struct frame_tcp t = { .src = remote.port, .dst = local.port, .flags = SYN, .wscale = -1 };
        const uint32_t owner = known6[i].hash & (STEER_RETA - 1);

        assert_true(ipaddr_parse(slice_of(known6[i].remote), &remote.addr));
        assert_true(ipaddr_parse(slice_of(known6[i].local), &local.addr));
        assert_int_equal(steer_tuple(&s, &remote, &local), owner);
        for (unsigned shape = 0; shape < 4; shape++) {
            struct frame f = { .len = 0 }, quoting = { .len = 0 };

            frame_eth(&f, ours, theirs, 0x86dd, shape == 1 ? 5 : 0);
            frame_ip6(&f, known6[i].remote, known6[i].local, 6);
            if (shape >= 2)
                frame_ext6(&f, 60, padding, 6);
            if (shape == 3)
                frame_frag6(&f, 1, 0, false); /* atomic: no fragment at all */
            frame_tcp(&f, &t);
            frame_done(&f);
            assert_int_equal(owner_of(&s, f.b, f.len), owner);
            for (uint32_t len = 0; len < f.l4_at + 8; len++)
                assert_int_equal(owner_of(&s, f.b, len), STEER_ANY);

            /* We sent it the other way, and a router complains. */
            frame_eth(&f, ours, theirs, 0x86dd, 0);
            frame_ip6(&f, known6[i].local, known6[i].remote, 6);
            t.src = local.port;
            t.dst = remote.port;
            frame_tcp(&f, &t);
            frame_done(&f);
            frame_eth(&quoting, ours, theirs, 0x86dd, 0);
            frame_ip6(&quoting, "2001:db8::1", known6[i].local, 58);
            frame_icmp(&quoting, 2, 0, 1300, f.b + 14, 48);
            frame_done(&quoting);
            assert_int_equal(owner_of(&s, quoting.b, quoting.len), owner);
            quoting.b[quoting.l4_at] = 135; /* a solicitation quotes nothing */
            assert_int_equal(owner_of(&s, quoting.b, quoting.len), STEER_ANY);
            t.src = remote.port;
            t.dst = local.port;
        }
    }
}

static void every_worker_gets_its_share(void **state)
{
    for (uint32_t n = 1; n <= 32; n++) {
        unsigned owned[32] = { 0 };
        struct steer s;

        steer_init(&s, n);
        for (unsigned i = 0; i < STEER_RETA; i++) {
            assert_true(s.reta[i] < n);
            owned[s.reta[i]]++;
        }
        for (uint32_t w = 0; w < n; w++)
            assert_in_range(owned[w], STEER_RETA / n, STEER_RETA / n + 1);
    }
}

static void the_self_test_passes_and_finds_what_is_wrong(void **state)
{
    struct steer s;

    for (uint32_t n = 1; n <= MACHINE_MAX_WORKERS; n += n < 8 ? 1 : 7) {
        steer_init(&s, n);
        assert_null(steer_self_test(&s));
    }
    steer_init(&s, 4);
    s.key_be[7] ^= 1;
    assert_non_null(steer_self_test(&s));
    steer_init(&s, 4);
    s.reta[5] ^= 1; /* what a NIC might do, which keeps a table of its own */
    assert_non_null(steer_self_test(&s));
    steer_init(&s, 4);
    s.by_port[1].stay[3] ^= 4;
    assert_non_null(steer_self_test(&s));
}

static void local_ports_lead_back_to_who_chose_them(void **state)
{
    struct ipport remote = address(known[0].remote), local = address(known[0].local);
    uint32_t n_workers = 3, seen = 0;
    struct steer s;

    steer_init(&s, n_workers);
    for (uint32_t w = 0; w < n_workers; w++) {
        uint16_t ports[100];
        const uint32_t all = steer_ports(&s, w, &remote, &local.addr, 4000000000u, ports, 100);

        seen += all;
        for (unsigned k = 0; k < ARRAY_SIZE(ports); k++) {
            local.port = ports[k];
            assert_int_equal(steer_tuple(&s, &remote, &local), w);
            for (unsigned i = 0; i < k; i++)
                assert_int_not_equal(ports[i], ports[k]);
        }
    }
    assert_int_equal(seen, 0x8000); /* each port of the upper half is somebody's */
}

static uint32_t checked_owner(const struct steer *s, const struct frame *f, uint32_t port_hash,
                              uint16_t flags, struct steer_check *c)
{
    struct test_pool tp;
    struct pkt *p;
    uint32_t owner;

    test_pool_init(&tp, 0);
    p = test_pkt(&tp, f->b, f->len);
    p->flags = flags;
    p->hash = port_hash;
    owner = steer_frame(s, p, c);
    pkt_free(p);
    test_pool_fini(&tp);
    return owner;
}

static void a_port_whose_hash_is_ours_is_believed_in_time(void **state)
{
    struct ipport remote = address(known[0].remote), local = address(known[0].local);
    const uint32_t ours_is = known[0].hash & (STEER_RETA - 1);
    struct frame f = { .len = 0 };
    struct steer_check c = { 0 };
    struct steer s;
    unsigned believed = 0;

    steer_init(&s, STEER_RETA);
    segment(&f, 0, 0, &remote, &local);
    for (unsigned i = 0; i < STEER_CHECKS; i++) {
        assert_int_equal(checked_owner(&s, &f, known[0].hash, PKT_RX_HASH, &c), ours_is);
        assert_int_equal(checked_owner(&s, &f, 1, 0, &c), ours_is); /* says nothing */
    }
    /* Now it is: a lie is told for what it is only when it is looked at again. */
    for (unsigned i = 0; i < 2 * STEER_CHECKS; i++)
        believed += checked_owner(&s, &f, known[0].hash ^ 1, PKT_RX_HASH, &c) == (ours_is ^ 1);
    assert_int_equal(believed, STEER_CHECKS - 1);
    assert_true(c.wrong);
    assert_int_equal(checked_owner(&s, &f, known[0].hash ^ 1, PKT_RX_HASH, &c), ours_is);
}

static void a_port_whose_hash_is_another_is_found_out_at_once(void **state)
{
    struct ipport remote = address(known[0].remote), local = address(known[0].local);
    struct frame f = { .len = 0 };
    struct steer_check c = { 0 };
    struct steer s;

    steer_init(&s, STEER_RETA);
    segment(&f, 0, 0, &remote, &local);
    assert_int_equal(checked_owner(&s, &f, ~known[0].hash, PKT_RX_HASH, &c),
                     known[0].hash & (STEER_RETA - 1));
    assert_true(c.wrong);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hash_is_that_of_the_rss_document),
        cmocka_unit_test(a_frame_goes_where_its_tuple_does),
        cmocka_unit_test(an_error_goes_to_the_owner_of_what_it_quotes),
        cmocka_unit_test(what_is_cut_short_has_no_owner_and_is_not_read_beyond),
        cmocka_unit_test(strangers_stay_where_they_arrive),
        cmocka_unit_test(all_fragments_of_a_datagram_go_to_one_worker),
        cmocka_unit_test(ipv6_is_steered_by_the_same_function),
        cmocka_unit_test(every_worker_gets_its_share),
        cmocka_unit_test(the_self_test_passes_and_finds_what_is_wrong),
        cmocka_unit_test(local_ports_lead_back_to_who_chose_them),
        cmocka_unit_test(a_port_whose_hash_is_ours_is_believed_in_time),
        cmocka_unit_test(a_port_whose_hash_is_another_is_found_out_at_once),
    };

    return cmocka_run_group_tests_name("steer", tests, NULL, NULL);
}
