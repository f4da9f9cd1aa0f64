/* Options of a segment: whatever is read can be written and read again. */
#include "dataplane/tcp/opts.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tcp_opts o, back;
    uint8_t bytes[TCP_OPTS_MAX];
    uint32_t len;

    if (size > TCP_OPTS_MAX || !tcp_opts_parse(data, (uint32_t)size, &o))
        return 0;
    if (o.wscale > TCP_WSCALE_MAX)
        abort();
    len = tcp_opts_write(bytes, &o);
    if (len > TCP_OPTS_MAX || !tcp_opts_parse(bytes, len, &back))
        abort();
    if (back.mss != o.mss || back.has_ts != o.has_ts || back.has_wscale != o.has_wscale ||
        back.tsval != o.tsval || back.tsecr != o.tsecr || back.wscale != o.wscale)
        abort();
    return 0;
}
