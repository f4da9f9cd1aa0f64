/*
 * Any bytes as the response to a request. The first byte chooses HEAD or GET, and the cuts; the
 * response must be the same however it is cut. What follows it ends the connection: at once if it
 * came with the response, else later, so the comparison goes as far as the stream.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/lib/h1_log.h"

#include <stdio.h>
#include <stdlib.h>

static void compare(const struct h1_log *a, const struct h1_log *b)
{
    if (a->n_until_closed == b->n_until_closed && memcmp(a->text, b->text, a->n_until_closed) == 0)
        return;
    fprintf(stderr, "one reading:\n%s\nanother:\n%s\n", a->text, b->text);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const struct http_conf conf = { .max_header_bytes = 2048, .max_fields = 20 };
    struct h1_log logs[3];

    if (len == 0 || len > 20000)
        return 0;
    for (enum h1_cut cut = H1_WHOLE; cut <= H1_RANDOM; cut++) {
        h1_log_client(&logs[cut], &conf, bytes[0] & 1 ? "HEAD" : "GET");
        h1_log_feed(&logs[cut], bytes + 1, len - 1, cut, bytes[0]);
        h1_log_eof(&logs[cut]);
    }
    compare(&logs[H1_WHOLE], &logs[H1_BYTES]);
    compare(&logs[H1_WHOLE], &logs[H1_RANDOM]);
    for (enum h1_cut cut = H1_WHOLE; cut <= H1_RANDOM; cut++)
        h1_log_fini(&logs[cut]);
    return 0;
}
