#include "tls/hello.h"
#include "dataplane/base/slice.h"
#include "tests/lib/pool.h"
#include "tests/lib/test.h"

#include <openssl/ssl.h>

/* A ClientHello under construction: lengths are filled in when a part is closed. */
struct hello {
    uint8_t bytes[80 * 1024];
    size_t len;
};

static void put(struct hello *h, const void *bytes, size_t len)
{
    memcpy(h->bytes + h->len, bytes, len);
    h->len += len;
}

static void put_num(struct hello *h, uint32_t v, unsigned n_bytes)
{
    while (n_bytes-- > 0)
        h->bytes[h->len++] = (uint8_t)(v >> 8 * n_bytes);
}

/* Writes the length of what follows @at, in the @n_bytes before it. */
static void close_part(struct hello *h, size_t at, unsigned n_bytes)
{
    size_t end = h->len;

    h->len = at - n_bytes;
    put_num(h, (uint32_t)(end - at), n_bytes);
    h->len = end;
}

/* Up to the extensions, whose length is still to be closed: returns where they begin. */
static size_t begin(struct hello *h, unsigned type)
{
    static const uint8_t zeroes[32];

    h->len = 0;
    put_num(h, type, 1);
    put_num(h, 0, 3);
    put_num(h, 0x0303, 2);
    put(h, zeroes, 32);
    put_num(h, 0, 1);
    put(h, "\x00\x02\x13\x01\x01\x00", 6);
    put_num(h, 0, 2);
    return h->len;
}

static void put_ext(struct hello *h, unsigned type, const void *bytes, size_t len)
{
    put_num(h, type, 2);
    put_num(h, (uint32_t)len, 2);
    put(h, bytes, len);
}

static void put_sni(struct hello *h, const char *name, size_t len)
{
    put_num(h, 0, 2);
    put_num(h, (uint32_t)len + 5, 2);
    put_num(h, (uint32_t)len + 3, 2);
    put_num(h, 0, 1);
    put_num(h, (uint32_t)len, 2);
    put(h, name, len);
}

static void end(struct hello *h, size_t exts)
{
    close_part(h, exts, 2);
    close_part(h, 4, 3);
}

/* Queues the handshake message in records of at most @record bytes, packets of at most @seg. */
static enum tls_hello_result parse(const struct hello *h, size_t record, uint32_t seg,
                                   struct tls_hello *ret)
{
    enum tls_hello_result rc;
    struct test_pool tp;
    struct pktq in;

    test_pool_init(&tp, 0);
    pktq_init(&in);
    for (size_t at = 0; at < h->len; at += record) {
        size_t part = MIN(record, h->len - at);
        uint8_t header[5] = { 22, 3, 1, (uint8_t)(part >> 8), (uint8_t)part };

        pktq_append(&in, &tp.pool, header, 5, seg);
        pktq_append(&in, &tp.pool, h->bytes + at, part, seg);
    }
    rc = tls_hello_read(&in, ret);
    pktq_clear(&in);
    test_pool_fini(&tp);
    return rc;
}

static void names_come_out_of_any_packets_and_records(void **state)
{
    static struct hello h;
    struct tls_hello got;
    size_t exts = begin(&h, 1);

    put_ext(&h, 0x2a2a, "", 0); /* noise of RFC 8701 */
    put_sni(&h, "Reviews.Example.COM", 19);
    put_ext(&h, 16, "\x00\x0f\x02\x8a\x8a\x02h2\x08http/1.1", 17);
    end(&h, exts);
    for (size_t record = 3; record < 200; record += 7) {
        for (uint32_t seg = 1; seg < 300; seg += 13) {
            assert_int_equal(parse(&h, record, seg, &got), TLS_HELLO_OK);
            assert_string_equal(got.sni, "reviews.example.com");
            assert_int_equal(got.n_alpn, 2);
            assert_string_equal(got.alpn[0], "h2");
            assert_string_equal(got.alpn[1], "http/1.1");
        }
    }
}

static void records_of_a_byte_are_too_many(void **state)
{
    static struct hello h;
    struct tls_hello got;

    end(&h, begin(&h, 1));
    assert_int_equal(parse(&h, 1, 2000, &got), TLS_HELLO_OK); /* a short one: 51 records */
    size_t exts = begin(&h, 1);
    put_sni(&h, "a.example.com", 13);
    end(&h, exts);
    assert_int_equal(parse(&h, 1, 2000, &got), TLS_HELLO_BAD);
}

static void a_hello_that_is_not_all_there_wants_more(void **state)
{
    static struct hello h;
    struct tls_hello got;
    size_t exts = begin(&h, 1);
    uint8_t header[5] = { 22, 3, 1 };
    struct test_pool tp;
    struct pktq in;

    put_sni(&h, "a.example.com", 13);
    end(&h, exts);
    header[3] = (uint8_t)(h.len >> 8);
    header[4] = (uint8_t)h.len;
    test_pool_init(&tp, 0);
    pktq_init(&in);
    assert_int_equal(tls_hello_read(&in, &got), TLS_HELLO_MORE);
    for (size_t i = 0; i < 5 + h.len; i++) {
        assert_int_equal(tls_hello_read(&in, &got), TLS_HELLO_MORE);
        pktq_append(&in, &tp.pool, i < 5 ? &header[i] : &h.bytes[i - 5], 1, 9);
    }
    assert_int_equal(tls_hello_read(&in, &got), TLS_HELLO_OK);
    assert_int_equal(in.bytes, 5 + h.len); /* nothing is taken */
    pktq_clear(&in);
    test_pool_fini(&tp);
}

static enum tls_hello_result read_bytes(const void *bytes, size_t len)
{
    struct tls_hello got;
    struct test_pool tp;
    struct pktq in;
    enum tls_hello_result rc;

    test_pool_init(&tp, 0);
    pktq_init(&in);
    pktq_append(&in, &tp.pool, bytes, len, 100);
    rc = tls_hello_read(&in, &got);
    pktq_clear(&in);
    test_pool_fini(&tp);
    return rc;
}

static void other_protocols_are_not_tls(void **state)
{
    assert_int_equal(read_bytes("G", 1), TLS_HELLO_NOT_TLS);
    assert_int_equal(read_bytes("GET / HTTP/1.1\r\n", 16), TLS_HELLO_NOT_TLS);
    assert_int_equal(read_bytes("\x80\x2e\x01\x03\x01", 5), TLS_HELLO_NOT_TLS); /* SSL 2 */
    assert_int_equal(read_bytes("\x16\x02", 2), TLS_HELLO_NOT_TLS);
    assert_int_equal(read_bytes("\x17\x03\x03\x00\x10", 5), TLS_HELLO_NOT_TLS);
}

static void bad_lengths_are_bad(void **state)
{
    static struct hello h;
    struct tls_hello got;

    assert_int_equal(read_bytes("\x16\x03\x01\x00\x00", 5), TLS_HELLO_BAD);
    assert_int_equal(read_bytes("\x16\x03\x01\x40\x01", 5), TLS_HELLO_BAD);
    assert_int_equal(read_bytes("\x16\x03\x01\x00\x05\x02", 6), TLS_HELLO_BAD);
    assert_int_equal(read_bytes("\x16\x03\x01\x00\x05\x01\x00\x40\x00", 9), TLS_HELLO_BAD);

    /* Every byte of a length, made larger or smaller, is seen. */
    size_t exts = begin(&h, 1);
    put_sni(&h, "a.example.com", 13);
    put_ext(&h, 16, "\x00\x03\x02h2", 5);
    end(&h, exts);
    assert_int_equal(parse(&h, 16384, 2000, &got), TLS_HELLO_OK);
    for (size_t i = exts - 2; i < h.len; i++) {
        uint8_t was = h.bytes[i];
        bool is_length = i < exts || i == exts + 2 || i == exts + 3 || i == exts + 4 ||
                         i == exts + 5 || i == exts + 7 || i == exts + 8;

        for (int d = -1; is_length && d <= 1; d += 2) {
            h.bytes[i] = (uint8_t)(was + d);
            assert_int_equal(parse(&h, 16384, 2000, &got), TLS_HELLO_BAD);
        }
        h.bytes[i] = was;
    }
}

static void what_is_said_twice_is_refused(void **state)
{
    static struct hello h;
    struct tls_hello got;
    size_t exts = begin(&h, 1);

    put_sni(&h, "a.example.com", 13);
    put_sni(&h, "a.example.com", 13);
    end(&h, exts);
    assert_int_equal(parse(&h, 16384, 2000, &got), TLS_HELLO_BAD);
    exts = begin(&h, 1);
    put_ext(&h, 16, "\x00\x03\x02h2", 5);
    put_ext(&h, 16, "\x00\x03\x02h2", 5);
    end(&h, exts);
    assert_int_equal(parse(&h, 16384, 2000, &got), TLS_HELLO_BAD);
}

static void names_that_are_none_are_refused(void **state)
{
    static const struct slice rows[] = {
        SLICE(""), SLICE("a b"), SLICE("good.com\0.evil.com"), SLICE("a..b"), SLICE("\xff.com"),
    };
    static struct hello h;
    struct tls_hello got;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t exts = begin(&h, 1);

        put_sni(&h, rows[i].ptr, rows[i].len);
        end(&h, exts);
        assert_int_equal(parse(&h, 16384, 2000, &got), TLS_HELLO_BAD);
    }
}

static void more_alpn_names_than_fit_are_passed_over(void **state)
{
    static struct hello h;
    struct tls_hello got;
    size_t exts = begin(&h, 1), ext, list;

    put_num(&h, 16, 2);
    put_num(&h, 0, 2);
    ext = h.len;
    put_num(&h, 0, 2);
    list = h.len;
    put_num(&h, 32, 1);
    put(&h, "0123456789abcdef0123456789abcdef", 32); /* one byte too long */
    for (unsigned i = 0; i < 40; i++)
        put(&h, "\x02h2", 3);
    close_part(&h, list, 2);
    close_part(&h, ext, 2);
    end(&h, exts);
    assert_int_equal(parse(&h, 16384, 2000, &got), TLS_HELLO_OK);
    assert_int_equal(got.n_alpn, TLS_HELLO_MAX_ALPN);
    assert_string_equal(got.alpn[0], "h2");
}

/* What a stock OpenSSL sends, we read as it was meant. */
static void openssl_and_we_agree(void **state)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    struct tls_hello got;
    struct test_pool tp;
    struct pktq q;
    char *bytes;
    long len;

    SSL_set_bio(ssl, in, out);
    SSL_set_tlsext_host_name(ssl, "Echo.Default.svc.cluster.local");
    SSL_set_alpn_protos(ssl, (const unsigned char *)"\x05istio\x02h2", 9);
    assert_int_equal(SSL_connect(ssl), -1);
    len = BIO_get_mem_data(out, &bytes);
    test_pool_init(&tp, 0);
    pktq_init(&q);
    pktq_append(&q, &tp.pool, bytes, (size_t)len, 33);
    assert_int_equal(tls_hello_read(&q, &got), TLS_HELLO_OK);
    assert_string_equal(got.sni, "echo.default.svc.cluster.local");
    assert_int_equal(got.n_alpn, 2);
    assert_string_equal(got.alpn[0], "istio");
    assert_string_equal(got.alpn[1], "h2");
    pktq_clear(&q);
    test_pool_fini(&tp);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_come_out_of_any_packets_and_records),
        cmocka_unit_test(records_of_a_byte_are_too_many),
        cmocka_unit_test(a_hello_that_is_not_all_there_wants_more),
        cmocka_unit_test(other_protocols_are_not_tls),
        cmocka_unit_test(bad_lengths_are_bad),
        cmocka_unit_test(what_is_said_twice_is_refused),
        cmocka_unit_test(names_that_are_none_are_refused),
        cmocka_unit_test(more_alpn_names_than_fit_are_passed_over),
        cmocka_unit_test(openssl_and_we_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
