#include "dataplane/flightlog.h"

#include "dataplane/tcp/tcp_conn.h"
#include "tests/lib/frames.h"
#include "tests/lib/test.h"

#include <stdio.h>

#define REC(us, kind, flags) ((uint64_t)(us) | (uint64_t)(kind) << 48 | (uint64_t)(flags) << 56)

/* A segment lost, found and sent again; the clock starts at 5 s, which is 00:00:01 of Unix time. */
static const struct tcp_record records[] = {
    { .head = REC(5000000, TCP_RECORD_IN, 0x18), .seq = 1, .ack = 1, .wnd = 8192, .len = 100 },
    { .head = REC(5000100, TCP_RECORD_WRITE, 0), .seq = 3000 },
    { .head = REC(5000100, TCP_RECORD_OUT, 0x10), .seq = 1, .ack = 101, .wnd = 65536, .len = 1448 },
    { .head = REC(5040000, TCP_RECORD_IN, 0x10), .seq = 101, .ack = 1, .wnd = 0, .mark = 1 },
    { .head = REC(5040000, TCP_RECORD_BLOCK_IN, 0), .seq = 1449, .ack = 2897 },
    { .head = REC(5040000, TCP_RECORD_BLOCK_IN, 0), .seq = 4000, .ack = 5000 },
    { .head = REC(5040000, TCP_RECORD_REPAIR, 0),
      .seq = 10136,
      .ack = 10136,
      .wnd = 1448,
      .mark = CA_OPEN,
      .len = CA_RECOVERY },
    { .head = REC(5040001, TCP_RECORD_AGAIN, 0x10),
      .seq = 1,
      .ack = 101,
      .wnd = 65536,
      .len = 1448 },
    { .head = REC(7040001, TCP_RECORD_TIMEOUT, 0), .len = 2 },
};

static const char *const lines[] = {
    "00:00:01.000000   +0.000000 10.0.0.2:4000 > 10.0.0.1:80: Flags [P.], seq 1:101, ack 1, win "
    "8192, length 100",
    "00:00:01.000100   +0.000100 # 3000 octets written",
    "00:00:01.000100   +0.000000 10.0.0.1:80 > 10.0.0.2:4000: Flags [.], seq 1:1449, ack 101, win "
    "65536, length 1448",
    "00:00:01.040000   +0.039900 10.0.0.2:4000 > 10.0.0.1:80: Flags [.], seq 101, ack 1, win 0, "
    "sack {1449:2897}{4000:5000}, length 0, marked CE, zero window",
    "00:00:01.040000   +0.000000 # open -> recovery, cwnd 10136, ssthresh 10136, in flight 1448",
    "00:00:01.040001   +0.000001 10.0.0.1:80 > 10.0.0.2:4000: Flags [.], seq 1:1449, ack 101, win "
    "65536, length 1448, again",
    "00:00:03.040001   +2.000000 # retransmission timeout, 2 before it",
};

static struct tcp_log a_log(void)
{
    return (struct tcp_log){ .local = { ipaddr_v4(0x0a000001), 80 },
                             .remote = { ipaddr_v4(0x0a000002), 4000 },
                             .at_us = 9000000,
                             .wall_us = 5000000,
                             .snd_shift = 4,
                             .rcv_shift = 2,
                             .ts_on = true,
                             .n = ARRAY_SIZE(records) };
}

static unsigned n_lines;

static void check_line(const char *line, void *ctx)
{
    assert_true(n_lines < ARRAY_SIZE(lines));
    assert_string_equal(line, lines[n_lines++]);
}

static void a_line_for_each_segment_and_event(void **state)
{
    const struct tcp_log log = a_log();

    flightlog_text(&log, records, check_line, NULL);
    assert_int_equal(n_lines, ARRAY_SIZE(lines));
}

static uint32_t u32(const uint8_t *at)
{
    uint32_t n;

    memcpy(&n, at, sizeof(n));
    return n;
}

/* The nth packet block of @w. */
static const uint8_t *packet(const struct pcapng *w, unsigned n)
{
    for (size_t at = 0; at < w->len; at += u32(w->at + at + 4))
        if (u32(w->at + at) == 6 && n-- == 0)
            return w->at + at;
    return NULL;
}

static bool has_comment(const uint8_t *block, const char *text)
{
    return memmem(block, u32(block + 4), text, strlen(text)) != NULL;
}

static void a_frame_for_each_segment_and_events_as_comments(void **state)
{
    const struct tcp_log log = a_log();
    const size_t room = flightlog_pcapng_max(&log);
    uint8_t *memory = test_malloc(room);
    struct frame_tcp s;
    const uint8_t *b;
    struct pcapng w;

    pcapng_init(&w, memory, room);
    assert_true(flightlog_pcapng(&log, records, &w));
    b = packet(&w, 0); /* cut behind its header: 14 + 20 + 20 + 12 of where timestamps were */
    assert_int_equal(u32(b + 20), 66);
    assert_int_equal(u32(b + 24), 166);
    assert_int_equal(u32(b + 16), 1000000);
    assert_true(has_comment(b, "theirs by 4 bits, ours by 2"));
    b = packet(&w, 1);
    assert_true(has_comment(b, "3000 octets written"));
    b = packet(&w, 2); /* whole, checksums and all */
    assert_int_equal(u32(b + 20), 66 + 20);
    assert_true(frame_read_tcp(b + 28, u32(b + 20), &s));
    assert_true(s.seq == 101 && s.ack == 1 && s.wnd == 0 && s.n_sacks == 2);
    assert_true(s.sacks[0][0] == 1449 && s.sacks[1][1] == 5000);
    b = packet(&w, 3);
    assert_true(has_comment(b, "open -> recovery") && has_comment(b, "sent again"));
    assert_true(has_comment(b, "retransmission timeout")); /* nobody else would tell it */
    assert_int_equal((b[28 + 48] << 8 | b[28 + 49]), 65536 >> 2);
    assert_null(packet(&w, 4));
    for (size_t less = 0; less < w.len; less++) {
        struct pcapng small;

        pcapng_init(&small, memory, less);
        assert_false(flightlog_pcapng(&log, records, &small));
    }
    test_free(memory);
}

static void count_line(const char *line, void *ctx)
{
    assert_true(strlen(line) > 20 && strchr(line, '\n') == NULL);
    ++*(unsigned *)ctx;
}

/* Whatever is in a record, it is printed, and fits. */
static void any_bytes_are_printed(void **state)
{
    struct tcp_record any[64];
    struct tcp_log log = a_log();
    const size_t room = 1024 + 64 * 512;
    uint8_t *memory = test_malloc(room), *at = (uint8_t *)any;
    unsigned n_printed = 0;
    uint32_t rng = 1;

    log.n = ARRAY_SIZE(any);
    for (unsigned round = 0; round < 2000; round++) {
        struct pcapng w;

        for (size_t i = 0; i < sizeof(any); i++) {
            rng = rng * 1664525 + 1013904223;
            at[i] = (uint8_t)(rng >> 24);
        }
        for (size_t i = 0; i < ARRAY_SIZE(any); i++) /* kinds that there are, mostly */
            any[i].head = (any[i].head & ~(UINT64_C(0xff) << 48)) |
                          (any[i].head >> 7) % TCP_RECORD_COUNT << 48;
        flightlog_text(&log, any, count_line, &n_printed);
        pcapng_init(&w, memory, flightlog_pcapng_max(&log));
        assert_true(flightlog_pcapng_max(&log) <= room);
        assert_true(flightlog_pcapng(&log, any, &w));
    }
    assert_true(n_printed > 2000 * 32);
    test_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_for_each_segment_and_event),
        cmocka_unit_test(a_frame_for_each_segment_and_events_as_comments),
        cmocka_unit_test(any_bytes_are_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
