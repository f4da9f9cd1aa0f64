/*
 * Any bytes as the beginning of a connection. The first byte chooses the size of the packets;
 * whole and in pieces they must mean the same, and what more bytes can still change is only
 * "there is not enough yet".
 */
#include "tests/fuzz/fuzz.h"
#include "tests/lib/pool.h"
#include "tls/hello.h"

#include <stdlib.h>

static enum tls_hello_result read_in_pieces(const uint8_t *bytes, size_t len, uint32_t seg,
                                            struct tls_hello *ret)
{
    enum tls_hello_result rc;
    struct test_pool tp;
    struct pktq in;

    test_pool_init(&tp, 0);
    pktq_init(&in);
    pktq_append(&in, &tp.pool, bytes, len, seg);
    rc = tls_hello_read(&in, ret);
    if (in.bytes != len)
        abort();
    pktq_clear(&in);
    test_pool_fini(&tp);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct tls_hello whole = { .n_alpn = 0 }, pieces = { .n_alpn = 0 }, front;
    enum tls_hello_result rc;

    if (len == 0)
        return 0;
    rc = read_in_pieces(bytes + 1, len - 1, 2000, &whole);
    if (read_in_pieces(bytes + 1, len - 1, 1u + bytes[0], &pieces) != rc)
        abort();
    if (rc == TLS_HELLO_OK && memcmp(&whole, &pieces, sizeof(whole)) != 0)
        abort();
    if (rc == TLS_HELLO_OK &&
        (strnlen(whole.sni, sizeof(whole.sni)) > 253 || whole.n_alpn > TLS_HELLO_MAX_ALPN))
        abort();
    if (rc == TLS_HELLO_MORE && len > 1 &&
        read_in_pieces(bytes + 1, (len - 1) / 2, 2000, &front) != TLS_HELLO_MORE)
        abort();
    return 0;
}
