/*
 * Any bytes as requests. The first byte chooses the cuts; whole, byte by byte and cut at random
 * they must mean the same, and everything must come home.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/lib/h1_log.h"

#include <stdio.h>
#include <stdlib.h>

static void compare(const struct h1_log *a, const struct h1_log *b)
{
    if (a->n_text == b->n_text && memcmp(a->text, b->text, a->n_text) == 0 &&
        a->n_sent == b->n_sent && memcmp(a->sent, b->sent, a->n_sent) == 0)
        return;
    fprintf(stderr, "one reading:\n%s\n%s\nanother:\n%s\n%s\n", a->text, a->sent, b->text, b->sent);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const struct http_conf conf = { .max_header_bytes = 2048, .max_fields = 20 };
    struct h1_log logs[3];

    if (len == 0 || len > 20000)
        return 0;
    for (enum h1_cut cut = H1_WHOLE; cut <= H1_RANDOM; cut++) {
        h1_log_server(&logs[cut], &conf);
        h1_log_feed(&logs[cut], bytes + 1, len - 1, cut, bytes[0]);
        h1_log_eof(&logs[cut]);
    }
    compare(&logs[H1_WHOLE], &logs[H1_BYTES]);
    compare(&logs[H1_WHOLE], &logs[H1_RANDOM]);
    for (enum h1_cut cut = H1_WHOLE; cut <= H1_RANDOM; cut++)
        h1_log_fini(&logs[cut]);
    return 0;
}
