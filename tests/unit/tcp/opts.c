#include "dataplane/tcp/opts.h"
#include "tests/lib/test.h"

#include <string.h>

static void options_are_read(void **state)
{
    static const struct {
        uint8_t bytes[40];
        uint32_t len;
        bool ok;
        uint16_t mss;
        int wscale;
        bool ts;
    } cases[] = {
        { { 0 }, 0, true, 0, -1, false },
        { { 2, 4, 5, 0xb4 }, 4, true, 1460, -1, false },
        { { 2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2 },
          20,
          true,
          1460,
          7,
          true },
        { { 3, 3, 15 }, 3, true, 0, 14, false },
        { { 254, 6, 1, 2, 3, 4, 2, 4, 2, 0 }, 10, true, 512, -1, false }, /* unknown: skipped */
        { { 0, 2, 4, 5 }, 4, true, 0, -1, false },                        /* END ends */
        { { 2, 3, 5 }, 3, true, 0, -1, false }, /* an MSS of the wrong length is none */
        { { 8, 8, 0, 0, 0, 1, 0, 0 }, 8, true, 0, -1, false },
        { { 2, 0, 5, 0xb4 }, 4, false, 0, -1, false },
        { { 2, 1, 5, 0xb4 }, 4, false, 0, -1, false },
        { { 2, 5, 5, 0xb4 }, 4, false, 0, -1, false },
        { { 1, 1, 1, 2 }, 4, false, 0, -1, false },
        { { 254, 41, 1 }, 40, false, 0, -1, false },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tcp_opts o;

        assert_int_equal(tcp_opts_parse(cases[i].bytes, cases[i].len, &o), cases[i].ok);
        if (!cases[i].ok)
            continue;
        assert_int_equal(o.mss, cases[i].mss);
        assert_int_equal(o.has_wscale ? o.wscale : -1, cases[i].wscale);
        assert_int_equal(o.has_ts, cases[i].ts);
    }
}

static void what_is_written_is_read_back(void **state)
{
    for (unsigned i = 0; i < 8; i++) {
        const struct tcp_opts o = { .mss = (i & 1) != 0 ? 1460 : 0,
                                    .has_wscale = (i & 2) != 0,
                                    .wscale = (i & 2) != 0 ? 9 : 0,
                                    .has_ts = (i & 4) != 0,
                                    .tsval = (i & 4) != 0 ? 0x01020304 : 0,
                                    .tsecr = (i & 4) != 0 ? 0xfffffffe : 0 };
        uint8_t bytes[TCP_OPTS_MAX];
        struct tcp_opts back;
        uint32_t len = tcp_opts_write(bytes, &o);

        assert_int_equal(len % 4, 0);
        assert_true(tcp_opts_parse(bytes, len, &back));
        assert_int_equal(back.mss, o.mss);
        assert_int_equal(back.has_wscale, o.has_wscale);
        assert_int_equal(back.wscale, o.wscale);
        assert_int_equal(back.has_ts, o.has_ts);
        assert_int_equal(back.tsval, o.tsval);
        assert_int_equal(back.tsecr, o.tsecr);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(options_are_read),
                                        cmocka_unit_test(what_is_written_is_read_back) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
