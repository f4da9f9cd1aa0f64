#include "dataplane/telemetry/pcapng.h"

#include "tests/lib/test.h"

#include <string.h>

static uint8_t memory[1024];

/* Written by hand from draft-ietf-opsawg-pcapng, 4.1, 4.2, 4.3 and 4.6; little endian. */
static const uint8_t file[] = {
    /* section */
    0x0a, 0x0d, 0x0d, 0x0a, 40, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, /* version 1.0 */
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,                           /* length unknown */
    4, 0, 3, 0, 'a', 'p', 'p', 0,                                             /* application */
    0, 0, 0, 0, 40, 0, 0, 0,
    /* interface */
    1, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 96, 0, 0, 0, /* Ethernet, 96 bytes */
    2, 0, 4, 0, 'e', 'd', 'g', 'e',                   /* name */
    9, 0, 1, 0, 6, 0, 0, 0,                           /* microseconds */
    0, 0, 0, 0, 40, 0, 0, 0,
    /* packet, cut, received, with a comment */
    6, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, /* 2 * 2^32 + 1 us */
    5, 0, 0, 0, 9, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0,              /* five bytes of nine */
    1, 0, 2, 0, 'h', 'i', 0, 0,                                  /* comment */
    2, 0, 4, 0, 1, 0, 0, 0,                                      /* inbound */
    0, 0, 0, 0, 60, 0, 0, 0,
    /* packet without anything */
    6, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0,
    4, 0, 0, 0, 4, 0, 0, 0, 9, 9, 9, 9, 36, 0, 0, 0,
    /* statistics */
    5, 0, 0, 0, 52, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0,
    4, 0, 8, 0, 12, 0, 0, 0, 0, 0, 0, 0, /* received */
    5, 0, 8, 0, 10, 0, 0, 0, 0, 0, 0, 0, /* dropped */
    0, 0, 0, 0, 52, 0, 0, 0,
};

static bool write_all(struct pcapng *w)
{
    static const char *const comments[] = { "hi" };
    const struct pcapng_packet cut = { .direction = PCAPNG_IN,
                                       .us = UINT64_C(2) << 32 | 1,
                                       .cap_len = 5,
                                       .orig_len = 9,
                                       .bytes = "\1\2\3\4\5" };
    const struct pcapng_packet plain = {
        .us = 7, .cap_len = 4, .orig_len = 4, .bytes = "\x9\x9\x9\x9"
    };

    return pcapng_section(w, "app") && pcapng_interface(w, "edge", 96) &&
           pcapng_packet(w, &cut, comments, 1) && pcapng_packet(w, &plain, NULL, 0) &&
           pcapng_statistics(w, 0, 8, 12, 10);
}

static void every_byte_is_as_the_draft_says(void **state)
{
    struct pcapng w;

    pcapng_init(&w, memory, sizeof(memory));
    assert_true(write_all(&w));
    assert_int_equal(w.len, sizeof(file));
    assert_memory_equal(memory, file, sizeof(file));
}

/* Whatever the room: whole blocks, and nothing behind them. */
static void a_block_is_written_whole_or_not_at_all(void **state)
{
    for (size_t room = 0; room < sizeof(file); room++) {
        size_t at = 0;
        struct pcapng w;

        memset(memory, 0xa5, sizeof(memory));
        pcapng_init(&w, memory, room);
        assert_false(write_all(&w));
        assert_true(w.len <= room);
        assert_memory_equal(memory, file, w.len);
        while (at < w.len) {
            uint32_t len;

            memcpy(&len, memory + at + 4, sizeof(len));
            at += len;
        }
        assert_int_equal(at, w.len);
        for (size_t i = room; i < sizeof(memory); i++)
            assert_int_equal(memory[i], 0xa5);
    }
}

static void a_packets_room_is_as_told(void **state)
{
    const struct pcapng_packet p = {
        .direction = PCAPNG_OUT, .cap_len = 65, .orig_len = 65, .bytes = memory + 512
    };
    struct pcapng w;

    pcapng_init(&w, memory, 65 + PCAPNG_PACKET_MAX);
    assert_true(pcapng_packet(&w, &p, NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_as_the_draft_says),
        cmocka_unit_test(a_block_is_written_whole_or_not_at_all),
        cmocka_unit_test(a_packets_room_is_as_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
