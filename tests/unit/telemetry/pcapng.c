#include "dataplane/telemetry/pcapng.h"

#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

static uint8_t memory[1024];

/* Written by hand from draft-ietf-opsawg-pcapng, 4.1, 4.2, 4.3 and 4.6; little endian. */
static const char *const hex[] = {
    "0a0d0d0a 28000000 4d3c2b1a 01000000", /* section, version 1.0 */
    "ffffffff ffffffff",                   /* length unknown */
    "04000300 61707000",                   /* application "app" */
    "00000000 28000000",
    "01000000 28000000 01000000 60000000", /* interface: Ethernet, 96 bytes */
    "02000400 65646765",                   /* name "edge" */
    "09000100 06000000",                   /* microseconds */
    "00000000 28000000",
    "06000000 3c000000 00000000",          /* packet of interface 0 */
    "02000000 01000000",                   /* 2 * 2^32 + 1 us */
    "05000000 09000000 01020304 05000000", /* five bytes of nine */
    "01000200 68690000",                   /* comment "hi" */
    "02000400 01000000",                   /* inbound */
    "00000000 3c000000",
    "06000000 24000000 00000000", /* packet without anything */
    "00000000 07000000",
    "04000000 04000000 09090909 24000000",
    "05000000 34000000 00000000", /* statistics of interface 0 */
    "00000000 08000000",
    "04000800 0c000000 00000000", /* received */
    "05000800 0a000000 00000000", /* dropped */
    "00000000 34000000",
};

static uint8_t file[512];
static size_t file_len;

static int read_file(void **state)
{
    for (unsigned i = 0; i < ARRAY_SIZE(hex); i++) {
        for (const char *at = hex[i]; *at != '\0'; at += 2) {
            unsigned byte;

            at += *at == ' ';
            assert_int_equal(sscanf(at, "%2x", &byte), 1);
            file[file_len++] = (uint8_t)byte;
        }
    }
    return 0;
}

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
    assert_int_equal(w.len, file_len);
    assert_memory_equal(memory, file, file_len);
}

/* Whatever the room: whole blocks, and nothing behind them. */
static void a_block_is_written_whole_or_not_at_all(void **state)
{
    for (size_t room = 0; room < file_len; room++) {
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

    return cmocka_run_group_tests(tests, read_file, NULL);
}
