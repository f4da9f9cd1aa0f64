#include "tests/unit/tls/pair.h"

#include <openssl/err.h>
#include <stdlib.h>

static void versions_modes_and_cuts(void **state)
{
    for (unsigned i = 0; i < 16; i++) {
        bool is_12 = i & 1, is_mutual = i & 2;
        struct tls_conf s = server_conf(), c = client_conf();
        const struct tls_peer *p;
        struct link l;

        link_init(&l, i);
        l.max_part = i & 4 ? 3 : 3000;
        if (is_12)
            (i & 8 ? &s : &c)->max_version = TLS_VERSION_1_2;
        if (!is_mutual)
            s.mode = TLS_MODE_SIMPLE;
        use_server(&l, &s);
        use_client(&l, &c, pki.client);
        both_open(&l);

        p = tls_peer(l.server.session);
        assert_string_equal(p->version, is_12 ? "TLSv1.2" : "TLSv1.3");
        assert_string_equal(p->sni, "server.example.com");
        assert_string_equal(p->alpn, "");
        assert_int_equal(p->has_cert, is_mutual);
        assert_string_equal(p->uri, is_mutual ? "spiffe://cluster.local/ns/foo/sa/client" : "");
        assert_string_equal(p->subject, is_mutual ? "CN=client,O=test" : "");
        assert_int_equal(strlen(p->hash), is_mutual ? 64 : 0);
        assert_false(p->resumed);
        p = tls_peer(l.client.session);
        assert_true(p->has_cert);
        assert_string_equal(p->cipher, is_12 ? "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
                                             : "TLS_AES_128_GCM_SHA256");
        assert_string_equal(p->dns, "server.example.com");
        assert_string_equal(p->sni, "server.example.com");
        assert_string_equal(tls_ctx_local_uri(tls_session_ctx(l.server.session)),
                            "spiffe://cluster.local/ns/default/sa/server");
        assert_int_equal(tls_counters(l.server.lib)->handshakes, 1);
        assert_int_equal(tls_counters(l.client.lib)->handshakes, 1);
        link_fini(&l);
    }
}

static void exchange(struct link *l, struct side *from, struct side *to, size_t len)
{
    uint8_t *sent = malloc(len), *got = malloc(len);

    for (size_t i = 0; i < len; i++)
        sent[i] = (uint8_t)core_random(&l->core);
    assert_int_equal(side_write(l, from, sent, len), TLS_OPEN);
    for (struct pkt *p = from->out.head; p != NULL; p = p->next) {
        assert_true(p->len <= SEG);
        assert_true(pkt_headroom(p) >= PKT_HEADROOM - 5);
    }
    link_run(l);
    assert_int_equal(to->plain.bytes, len);
    assert_int_equal(pktq_peek(&to->plain, got, len), len);
    assert_memory_equal(sent, got, len);
    pktq_clear(&to->plain);
    free(sent);
    free(got);
}

static void data_arrives_as_it_was_sent(void **state)
{
    for (unsigned i = 0; i < 4; i++) {
        struct tls_conf s = server_conf(), c = client_conf();
        struct link l;

        link_init(&l, 40 + i);
        l.max_part = i & 1 ? 50 : 4000;
        if (i & 2)
            s.max_version = TLS_VERSION_1_2;
        use_server(&l, &s);
        use_client(&l, &c, pki.client);
        both_open(&l);
        for (size_t len = 1; len < 100000; len = len * 3 + 1) {
            exchange(&l, &l.client, &l.server, len);
            exchange(&l, &l.server, &l.client, len);
        }
        exchange(&l, &l.server, &l.client, i & 1 ? 100000 : 1000000);
        link_fini(&l);
    }
}

/* A plaintext packet of the size tls_plain_seg() names becomes exactly one full segment. */
static void a_record_fills_a_segment(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        struct tls_conf s = server_conf(), c = client_conf();
        uint8_t bytes[SEG];
        struct link l;

        link_init(&l, i);
        if (i == 1)
            s.max_version = TLS_VERSION_1_2;
        use_server(&l, &s);
        use_client(&l, &c, pki.client);
        both_open(&l);
        memset(bytes, 'x', sizeof(bytes));
        side_write(&l, &l.server, bytes, tls_plain_seg(l.server.session));
        assert_int_equal(l.server.out.n, 1);
        assert_int_equal(l.server.out.bytes, SEG);
        link_fini(&l);
    }
}

static void read_stops_at_its_maximum(void **state)
{
    static const uint8_t bytes[20000];
    struct link l;
    struct pktq plain;

    link_init(&l, 1);
    use_both(&l);
    both_open(&l);
    side_write(&l, &l.client, bytes, sizeof(bytes));
    pktq_init(&plain);
    tls_read(l.server.session, &l.client.out, &plain, 1000, &l.server.out);
    assert_in_range(plain.bytes, 1000, 4000);
    assert_true(l.client.out.bytes > 10000);
    while (tls_read_pending(l.server.session, &l.client.out))
        tls_read(l.server.session, &l.client.out, &plain, UINT64_MAX, &l.server.out);
    assert_int_equal(plain.bytes, sizeof(bytes));
    pktq_clear(&plain);
    link_fini(&l);
}

/* Of OpenSSL's records a part; ours come as a whole, in the packets they came in. */
static void a_record_larger_than_the_maximum(bool is_12)
{
    static const uint8_t bytes[16000];
    SSL_CTX *stock = SSL_CTX_new(TLS_client_method());
    struct tls_conf s = server_conf();
    struct pktq plain;
    struct link l;

    link_init(&l, 1);
    s.mode = TLS_MODE_SIMPLE;
    if (is_12)
        s.max_version = TLS_VERSION_1_2;
    use_server(&l, &s);
    link_connect_raw(&l, stock, NULL);
    link_run(&l);
    assert_int_equal(SSL_write(l.raw, bytes, sizeof(bytes)), sizeof(bytes));
    char *wire;
    long len = BIO_get_mem_data(l.raw_out, &wire);
    pktq_append(&l.server.in, &l.tp.pool, wire, (size_t)len, SEG);
    pktq_init(&plain);
    tls_read(l.server.session, &l.server.in, &plain, 100, &l.server.out);
    assert_int_equal(l.server.in.bytes, 0);
    assert_int_equal(tls_read_pending(l.server.session, &l.server.in), is_12);
    assert_true(is_12 ? plain.bytes < 5000 : plain.bytes == sizeof(bytes));
    tls_read(l.server.session, &l.server.in, &plain, UINT64_MAX, &l.server.out);
    assert_int_equal(plain.bytes, sizeof(bytes));
    assert_false(tls_read_pending(l.server.session, &l.server.in));
    pktq_clear(&plain);
    link_fini(&l);
    SSL_CTX_free(stock);
}

static void a_record_larger_than_the_maximum_is_not_lost(void **state)
{
    a_record_larger_than_the_maximum(true);
    a_record_larger_than_the_maximum(false);
}

/* --- ALPN and names --- */

static void alpn_is_chosen_in_our_order(void **state)
{
    static const struct {
        const char *server[3], *client[3];
        const char *chosen; /* NULL: refused */
    } rows[] = {
        { { "h2", "http/1.1" }, { "http/1.1", "h2" }, "h2" },
        { { "h2", "http/1.1" }, { "http/1.1" }, "http/1.1" },
        { { "http/1.1" }, { NULL }, "" },
        { { NULL }, { "h2" }, "" },
        { { "http/1.1" }, { "h2", "istio" }, NULL },
        { { "h2" }, { "h2c", "h" }, NULL },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tls_conf s = server_conf(), c = client_conf();
        struct link l;

        link_init(&l, i);
        s.alpn = (const char **)rows[i].server;
        c.alpn = (const char **)rows[i].client;
        while (s.n_alpn < 3 && s.alpn[s.n_alpn] != NULL)
            s.n_alpn++;
        while (c.n_alpn < 3 && c.alpn[c.n_alpn] != NULL)
            c.n_alpn++;
        use_server(&l, &s);
        use_client(&l, &c, pki.client);
        link_connect(&l);
        link_run(&l);
        if (rows[i].chosen != NULL) {
            assert_string_equal(tls_peer(l.server.session)->alpn, rows[i].chosen);
            assert_string_equal(tls_peer(l.client.session)->alpn, rows[i].chosen);
        } else {
            assert_int_equal(tls_state(l.server.session), TLS_FAILED);
            assert_string_equal(tls_error(l.client.session),
                                "TLS error: the peer sent the alert \"no application protocol\"");
        }
        link_fini(&l);
    }
}

/* --- the end --- */

static void close_notify_ends_one_direction(void **state)
{
    for (unsigned is_12 = 0; is_12 <= 1; is_12++) {
        struct tls_conf s = server_conf(), c = client_conf();
        struct link l;

        link_init(&l, is_12);
        if (is_12)
            s.max_version = TLS_VERSION_1_2;
        use_server(&l, &s);
        use_client(&l, &c, pki.client);
        both_open(&l);
        side_write(&l, &l.client, "last", 4);
        tls_close(l.client.session, &l.client.out);
        tls_close(l.client.session, &l.client.out);
        assert_int_equal(side_write(&l, &l.client, "late", 4), TLS_FAILED);
        link_run(&l);
        assert_int_equal(tls_state(l.server.session), TLS_CLOSED);
        assert_int_equal(l.server.plain.bytes, 4);
        assert_int_equal(side_write(&l, &l.server, "answer", 6), TLS_CLOSED);
        tls_close(l.server.session, &l.server.out);
        link_run(&l);
        assert_int_equal(l.client.plain.bytes, 6);
        assert_int_equal(tls_state(l.client.session), TLS_CLOSED);
        assert_string_equal(tls_error(l.client.session), "");
        link_fini(&l);
    }
}

static void any_bit_of_a_record_matters(void **state)
{
    for (unsigned i = 0; i < 40; i++) {
        struct tls_conf s = server_conf(), c = client_conf();
        uint8_t bytes[200];
        struct link l;
        uint64_t n;

        link_init(&l, i);
        if (i & 1)
            c.max_version = TLS_VERSION_1_2;
        use_server(&l, &s);
        use_client(&l, &c, pki.client);
        both_open(&l);
        side_write(&l, &l.client, "some data that must not change", 30);
        n = pktq_peek(&l.client.out, bytes, sizeof(bytes));
        pktq_clear(&l.client.out);
        /* Not the length: a larger one only waits for bytes that never come. */
        unsigned at = core_random(&l.core) % n;
        if (at == 3 || at == 4)
            at = 5;
        bytes[at] ^= (uint8_t)(1 << core_random(&l.core) % 8);
        pktq_append(&l.client.out, &l.tp.pool, bytes, n, SEG);
        link_run(&l);
        assert_int_equal(l.server.plain.bytes, 0);
        assert_int_equal(tls_state(l.server.session), TLS_FAILED);
        assert_int_equal(tls_counters(l.server.lib)->records_failed, 1);
        assert_int_equal(tls_counters(l.server.lib)->handshake_failed, 0);
        assert_int_equal(tls_state(l.client.session), TLS_FAILED); /* an alert told it */
        assert_int_equal(tls_counters(l.client.lib)->alerts, 1);
        link_fini(&l);
    }
}

static void what_is_not_tls_fails_at_once(void **state)
{
    struct tls_conf s = server_conf();
    struct link l;

    link_init(&l, 1);
    use_server(&l, &s);
    l.server.session = tls_session_new(l.server.ctx, &l.core, SEG);
    pktq_append(&l.server.in, &l.tp.pool, "GET / HTTP/1.1\r\nhost: a\r\n\r\n", 27, SEG);
    tls_read(l.server.session, &l.server.in, &l.server.plain, 1000, &l.server.out);
    assert_int_equal(tls_state(l.server.session), TLS_FAILED);
    assert_string_equal(tls_error(l.server.session), "TLS error: http request");
    assert_true(pktq_is_empty(&l.server.in));
    link_fini(&l);
}

static void close_notify_in_a_handshake_is_an_end(void **state)
{
    struct tls_conf c = client_conf();
    struct link l;

    link_init(&l, 1);
    use_client(&l, &c, pki.client);
    l.client.session = tls_session_new(l.client.ctx, &l.core, SEG);
    tls_connect(l.client.session, &l.client.out);
    pktq_append(&l.client.in, &l.tp.pool, "\x15\x03\x03\x00\x02\x01\x00", 7, SEG);
    link_run(&l);
    assert_int_equal(tls_state(l.client.session), TLS_FAILED);
    assert_string_equal(tls_error(l.client.session),
                        "TLS error: the peer closed during the handshake");
    link_fini(&l);
}

static void old_versions_are_refused(void **state)
{
    SSL_CTX *stock = SSL_CTX_new(TLS_client_method());
    struct tls_conf s = server_conf();
    struct link l;

    SSL_CTX_set_security_level(stock, 0);
    SSL_CTX_set_min_proto_version(stock, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(stock, TLS1_1_VERSION);
    link_init(&l, 1);
    use_server(&l, &s);
    link_connect_raw(&l, stock, NULL);
    link_run(&l);
    assert_int_equal(tls_state(l.server.session), TLS_FAILED);
    assert_string_equal(tls_error(l.server.session), "TLS error: unsupported protocol");
    link_fini(&l);
    SSL_CTX_free(stock);
}

static void renegotiation_is_refused(void **state)
{
    SSL_CTX *stock = SSL_CTX_new(TLS_client_method());
    struct tls_conf s = server_conf();
    struct link l;

    s.mode = TLS_MODE_SIMPLE;
    s.max_version = TLS_VERSION_1_2;
    link_init(&l, 1);
    use_server(&l, &s);
    link_connect_raw(&l, stock, NULL);
    link_run(&l);
    assert_int_equal(tls_state(l.server.session), TLS_OPEN);
    SSL_renegotiate(l.raw);
    SSL_do_handshake(l.raw);
    link_run(&l);
    assert_false(SSL_is_init_finished(l.raw));
    link_fini(&l);
    SSL_CTX_free(stock);
}

static void key_updates_are_followed_but_not_without_end(void **state)
{
    SSL_CTX *stock = SSL_CTX_new(TLS_client_method());
    struct tls_conf s = server_conf();
    struct link l;

    s.mode = TLS_MODE_SIMPLE;
    link_init(&l, 1);
    use_server(&l, &s);
    link_connect_raw(&l, stock, NULL);
    link_run(&l);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(SSL_key_update(l.raw, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_write(l.raw, "x", 1), 1);
        link_run(&l);
        side_write(&l, &l.server, "y", 1);
        link_run(&l);
    }
    assert_int_equal(l.server.plain.bytes, 100);
    assert_int_equal(l.client.plain.bytes, 100);
    for (unsigned i = 0; i < 40; i++) {
        SSL_key_update(l.raw, SSL_KEY_UPDATE_NOT_REQUESTED);
        SSL_do_handshake(l.raw);
        if (i == 20) {
            link_run(&l);
            assert_int_equal(tls_state(l.server.session), TLS_OPEN);
        }
    }
    link_run(&l);
    assert_int_equal(tls_state(l.server.session), TLS_FAILED);
    assert_non_null(strstr(tls_error(l.server.session), "too many handshake messages"));
    link_fini(&l);
    SSL_CTX_free(stock);
}

static void empty_records_are_not_endless(void **state)
{
    struct tls_conf s = server_conf(), c = client_conf();
    struct link l;

    /* Plain change_cipher_spec records, which TLS 1.3 ignores during a handshake. */
    link_init(&l, 1);
    use_server(&l, &s);
    use_client(&l, &c, pki.client);
    link_connect(&l);
    for (unsigned i = 0; i < 2000; i++)
        pktq_append(&l.client.out, &l.tp.pool, "\x14\x03\x03\x00\x01\x01", 6, SEG);
    link_run(&l);
    assert_int_equal(tls_state(l.server.session), TLS_FAILED);
    link_fini(&l);
}

/* --- running out of packets --- */

static void an_empty_pool_ends_a_session_and_nothing_else(void **state)
{
    unsigned n_failed = 0, n_done = 0;

    for (uint32_t max = 1; max < 200; max += max < 20 ? 1 : 5) {
        static const uint8_t bytes[6000];
        const struct tls_counters *c, *s;
        struct link l;

        link_init(&l, max);
        use_both(&l);
        l.tp.max = max;
        link_connect(&l);
        link_run(&l);
        if (tls_state(l.client.session) == TLS_OPEN)
            side_write(&l, &l.client, bytes, sizeof(bytes));
        if (tls_state(l.server.session) == TLS_OPEN)
            side_write(&l, &l.server, bytes, sizeof(bytes));
        link_run(&l);
        c = tls_counters(l.client.lib);
        s = tls_counters(l.server.lib);
        if (tls_state(l.client.session) == TLS_FAILED ||
            tls_state(l.server.session) == TLS_FAILED) {
            assert_true(c->no_memory + s->no_memory > 0);
            n_failed++;
        } else if (l.server.plain.bytes == sizeof(bytes)) {
            n_done++;
        }
        if (c->no_memory > 0 && tls_state(l.client.session) == TLS_FAILED)
            assert_string_equal(tls_error(l.client.session), "TLS error: out of packet buffers");
        link_fini(&l);
    }
    assert_true(n_failed > 5);
    assert_true(n_done > 2);
}

/* Allocation number k fails, for every k: a pool that runs dry for a moment, anywhere. */
static void any_one_allocation_may_fail(void **state)
{
    for (unsigned k = 0;; k++) {
        static const uint8_t bytes[5000];
        struct link l;

        link_init(&l, k);
        use_both(&l);
        l.tp.fail_at = k + 1;
        link_connect(&l);
        link_run(&l);
        if (tls_state(l.client.session) == TLS_OPEN)
            side_write(&l, &l.client, bytes, sizeof(bytes));
        link_run(&l);
        if (tls_state(l.server.session) == TLS_OPEN)
            tls_close(l.server.session, &l.server.out);
        bool was_hit = l.tp.fail_at == 0;
        if (was_hit && tls_state(l.client.session) != TLS_FAILED &&
            tls_state(l.server.session) != TLS_FAILED)
            assert_int_equal(
                tls_counters(l.client.lib)->no_memory + tls_counters(l.server.lib)->no_memory, 0);
        link_fini(&l);
        if (!was_hit)
            break;
        assert_true(k < 10000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_modes_and_cuts),
        cmocka_unit_test(data_arrives_as_it_was_sent),
        cmocka_unit_test(a_record_fills_a_segment),
        cmocka_unit_test(read_stops_at_its_maximum),
        cmocka_unit_test(a_record_larger_than_the_maximum_is_not_lost),
        cmocka_unit_test(alpn_is_chosen_in_our_order),
        cmocka_unit_test(close_notify_ends_one_direction),
        cmocka_unit_test(any_bit_of_a_record_matters),
        cmocka_unit_test(what_is_not_tls_fails_at_once),
        cmocka_unit_test(close_notify_in_a_handshake_is_an_end),
        cmocka_unit_test(old_versions_are_refused),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(key_updates_are_followed_but_not_without_end),
        cmocka_unit_test(empty_records_are_not_endless),
        cmocka_unit_test(an_empty_pool_ends_a_session_and_nothing_else),
        cmocka_unit_test(any_one_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
