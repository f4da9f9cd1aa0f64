#include "drivers/capture.h"

#include "tests/lib/pool.h"
#include "tests/lib/test.h"

#include <pcap/pcap.h>
#include <stdlib.h>

static struct test_pool pool;

/* Of @len bytes, whose first four are @n. */
static struct pkt *packet(uint32_t n, uint32_t len, uint8_t port)
{
    uint8_t bytes[2048] = { 0 };
    struct pkt *p;

    memcpy(bytes, &n, sizeof(n));
    p = test_pkt(&pool, bytes, len);
    p->port = port;
    return p;
}

static struct capture_filter *filter(const char *text)
{
    struct bpf_program program;
    pcap_t *dead = pcap_open_dead(DLT_EN10MB, 65535);
    struct capture_filter *f;
    const char *why;

    assert_int_equal(pcap_compile(dead, &program, text, 1, PCAP_NETMASK_UNKNOWN), 0);
    f = capture_filter_new(program.bf_insns, program.bf_len * sizeof(program.bf_insns[0]), &why);
    pcap_freecode(&program);
    pcap_close(dead);
    return f;
}

static struct capture_filter *everything(void)
{
    const char *why;

    return capture_filter_new(NULL, 0, &why);
}

static uint32_t number_of(const struct capture_frame *f)
{
    uint32_t n;

    memcpy(&n, f->bytes, sizeof(n));
    return n;
}

/* ---- filters */

static void what_libpcap_compiles_is_run(void **state)
{
    static const uint8_t arp[42] = { [12] = 0x08, [13] = 0x06 };
    static const uint8_t tcp[54] = { [12] = 0x08, [14] = 0x45, [23] = 6, [36] = 0, [37] = 80 };
    static const struct {
        const char *text;
        bool arp, tcp;
    } cases[] = {
        { "", true, true },
        { "arp", true, false },
        { "tcp", false, true },
        { "tcp port 80", false, true },
        { "tcp port 81", false, false },
        { "not tcp and greater 40", true, false },
        { "ether[0] = 0", true, true },
        { "ip[100] = 0", false, false }, /* beyond the frame */
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct capture_filter *f = filter(cases[i].text);

        assert_non_null(f);
        assert_int_equal(capture_filter_match(f, arp, sizeof(arp)), cases[i].arp);
        assert_int_equal(capture_filter_match(f, tcp, sizeof(tcp)), cases[i].tcp);
        assert_int_equal(capture_filter_match(f, tcp, 0), cases[i].text[0] == '\0');
        capture_filter_free(f);
    }
}

static bool is_taken(const struct bpf_insn *insns, size_t n)
{
    const char *why = NULL;
    struct capture_filter *f = capture_filter_new(insns, n * sizeof(*insns), &why);
    const bool taken = f != NULL;

    assert_true(taken || why != NULL);
    capture_filter_free(f);
    return taken;
}

static void what_could_run_for_ever_or_anywhere_is_refused(void **state)
{
    const struct bpf_insn ret = BPF_STMT(BPF_RET | BPF_K, 1);
    const struct bpf_insn bad[][2] = {
        { BPF_STMT(BPF_JMP | BPF_JA, 1), ret },              /* beyond the end */
        { BPF_STMT(BPF_JMP | BPF_JA, UINT32_MAX), ret },     /* to itself */
        { BPF_STMT(BPF_JMP | BPF_JA, UINT32_MAX - 1), ret }, /* before the beginning */
        { BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), ret },
        { BPF_STMT(BPF_LD | BPF_MEM, BPF_MEMWORDS), ret },
        { BPF_STMT(BPF_ST, BPF_MEMWORDS), ret },
        { BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), ret },
        { ret, BPF_STMT(BPF_LD | BPF_IMM, 0) }, /* no return at the end */
        { BPF_STMT(0xffff, 0), ret },
    };
    struct bpf_insn back[] = { BPF_STMT(BPF_LD | BPF_IMM, 0), BPF_STMT(BPF_JMP | BPF_JA, (u_int)-2),
                               ret };
    struct bpf_insn *many = calloc(CAPTURE_INSNS_MAX + 1, sizeof(*many));

    assert_true(is_taken(&ret, 1));
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        if (is_taken(bad[i], 2))
            fail_msg("%u", i);
    assert_false(is_taken(back, 3));
    back[1].k = 0; /* forward, by nothing */
    assert_true(is_taken(back, 3));
    for (unsigned i = 0; i <= CAPTURE_INSNS_MAX; i++)
        many[i] = ret;
    assert_true(is_taken(many, CAPTURE_INSNS_MAX));
    assert_false(is_taken(many, CAPTURE_INSNS_MAX + 1));
    free(many);
    assert_null(filter("ip6 protochain 6")); /* a loop, as libpcap compiles it */
}

/* ---- the ring */

static struct capture_tap *tap(const struct capture_filter *f, uint32_t snaplen, int port, bool in,
                               bool out)
{
    const struct capture_conf conf = {
        .filter = f, .snaplen = snaplen, .port = port, .in = in, .out = out
    };
    struct capture_tap *t = capture_tap_new(&conf);

    assert_non_null(t);
    return t;
}

static void frames_come_out_as_they_went_in(void **state)
{
    struct capture_filter *f = everything();
    struct capture_tap *t = tap(f, 100, -1, true, true);
    struct pkt *p[3] = { packet(1, 60, 0), packet(2, 1500, 2), packet(3, 100, 1) };
    struct capture_frame got;

    assert_false(capture_front(t, &got));
    capture_received(t, 77, p, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(capture_front(t, &got));
        assert_int_equal(number_of(&got), i + 1);
        assert_int_equal(got.us, 77);
        assert_int_equal(got.orig_len, p[i]->len);
        assert_int_equal(got.cap_len, MIN(p[i]->len, 100u));
        assert_int_equal(got.port, p[i]->port);
        assert_false(got.out);
        assert_memory_equal(got.bytes, p[i]->data, got.cap_len);
        capture_pop(t);
        pkt_free(p[i]);
    }
    assert_false(capture_front(t, &got));
    capture_tap_free(t);
    capture_filter_free(f);
}

static void only_what_has_left_is_sent(void **state)
{
    struct capture_filter *f = everything();
    struct capture_tap *t = tap(f, 100, -1, true, true);
    struct pkt *p[3] = { packet(1, 60, 0), packet(2, 60, 0), packet(3, 60, 0) };
    struct capture_frame got;
    uint64_t ends[3];

    capture_stage(t, 5, p, 3, ends);
    assert_false(capture_front(t, &got));
    capture_commit(t, ends, 0);
    assert_false(capture_front(t, &got));
    capture_stage(t, 6, p, 3, ends);
    capture_commit(t, ends, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(capture_front(t, &got) && got.out && got.us == 6);
        assert_int_equal(number_of(&got), i + 1);
        capture_pop(t);
    }
    assert_false(capture_front(t, &got));
    for (unsigned i = 0; i < 3; i++)
        pkt_free(p[i]);
    capture_tap_free(t);
    capture_filter_free(f);
}

static void another_port_or_direction_is_left_out(void **state)
{
    struct capture_filter *f = everything();
    struct capture_tap *in = tap(f, 100, 1, true, false), *out = tap(f, 100, -1, false, true);
    struct pkt *p[2] = { packet(1, 60, 0), packet(2, 60, 1) };
    struct capture_frame got;
    uint64_t ends[2];

    capture_received(in, 1, p, 2);
    capture_stage(in, 1, p, 2, ends);
    capture_commit(in, ends, 2);
    assert_true(capture_front(in, &got) && number_of(&got) == 2);
    capture_pop(in);
    assert_false(capture_front(in, &got));
    capture_received(out, 1, p, 2);
    assert_false(capture_front(out, &got));
    pkt_free(p[0]);
    pkt_free(p[1]);
    capture_tap_free(in);
    capture_tap_free(out);
    capture_filter_free(f);
}

/* A full ring drops, counts, and goes on when there is room; many times round, nothing is torn. */
static void a_full_ring_drops_and_counts(void **state)
{
    struct capture_filter *f = everything();
    struct capture_tap *t = tap(f, 65535, -1, true, true);
    uint64_t sent = 0, got = 0, dropped = 0, next = 0, rng = 1;
    struct capture_frame frame;

    for (unsigned round = 0; round < 60; round++) {
        for (unsigned i = 0; i < 1000 + 3000 * (round % 3); i++) {
            struct pkt *p;

            rng = rng * 6364136223846793005u + 1442695040888963407u;
            p = packet((uint32_t)sent++, 4 + (uint32_t)(rng >> 33) % 2000, 0);
            capture_received(t, sent, &p, 1);
            pkt_free(p);
        }
        while (capture_front(t, &frame)) {
            assert_true(number_of(&frame) >= next && frame.us == number_of(&frame) + 1u);
            next = number_of(&frame) + 1;
            got++;
            capture_pop(t);
        }
    }
    dropped = capture_dropped(t);
    assert_int_equal(got + dropped, sent);
    assert_true(dropped > 1000 && got > 10 * CAPTURE_RING / 2000);
    capture_tap_free(t);
    capture_filter_free(f);
}

static int setup(void **state)
{
    test_pool_init(&pool, 0);
    return 0;
}

static int teardown(void **state)
{
    test_pool_fini(&pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_libpcap_compiles_is_run),
        cmocka_unit_test(what_could_run_for_ever_or_anywhere_is_refused),
        cmocka_unit_test(frames_come_out_as_they_went_in),
        cmocka_unit_test(only_what_has_left_is_sent),
        cmocka_unit_test(another_port_or_direction_is_left_out),
        cmocka_unit_test(a_full_ring_drops_and_counts),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
