#include "tests/unit/tls/opened.h"

#include "dataplane/base/bytes.h"

#include <stdlib.h>

static const char *const suites[N_SUITES] = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
};

static void on_info(const SSL *ssl, int where, int ret)
{
    struct opened *o = SSL_get_app_data(ssl);

    if (where == SSL_CB_READ_ALERT) {
        o->n_alerts++;
        o->alert = ret;
    }
}

static void make_sides(struct opened *o, const struct test_pki *pki)
{
    struct tls_conf s = server_conf(), c = client_conf();

    s.mode = TLS_MODE_SIMPLE;
    make_ctx(&o->l.server, &(struct tls_ctx_conf){ .name = "chain",
                                                   .is_server = true,
                                                   .conf = &s,
                                                   .secret = pki->server,
                                                   .trust = pki->server });
    make_ctx(&o->l.client,
             &(struct tls_ctx_conf){
                 .name = "cluster", .conf = &c, .secret = pki->client, .trust = pki->client });
}

static void make_stock(struct opened *o, const char *suite, const struct test_pki *pki)
{
    o->stock = SSL_CTX_new(TLS_method());
    assert_int_equal(SSL_CTX_set_ciphersuites(o->stock, suite), 1);
    assert_int_equal(SSL_CTX_use_certificate(o->stock, pki->server_cert.x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(o->stock, pki->server_cert.key), 1);
    assert_int_equal(SSL_CTX_add1_chain_cert(o->stock, pki->inter.x509), 1);
    SSL_CTX_set_info_callback(o->stock, on_info);
}

void opened_init(struct opened *o, enum who who, unsigned suite, const struct test_pki *pki)
{
    struct link *l = &o->l;
    bool is_server = who == STOCK_CLIENT || who == OUR_CLIENT;

    *o = (struct opened){ .ours = is_server ? &l->server : &l->client,
                          .theirs = is_server ? &l->client : &l->server };
    link_init(l, suite + 1);
    make_sides(o, pki);
    make_stock(o, suites[suite], pki);
    assert_int_equal(SSL_CTX_set_ciphersuites(l->client.ctx->base->ssl, suites[suite]), 1);
    if (who == STOCK_CLIENT)
        link_connect_raw(l, o->stock, NULL);
    else if (who == STOCK_SERVER)
        link_connect_raw_server(l, o->stock);
    else
        link_connect(l);
    if (l->raw != NULL)
        SSL_set_app_data(l->raw, o);
    link_run(l);
    if (tls_state(o->ours->session) != TLS_OPEN)
        fail_msg("%s", tls_error(o->ours->session));
    assert_string_equal(tls_peer(o->ours->session)->cipher, suites[suite]);
    assert_null(o->ours->session->ssl);
}

void opened_fini(struct opened *o)
{
    link_fini(&o->l);
    SSL_CTX_free(o->stock);
}

void peer_write(struct opened *o, const void *bytes, size_t len)
{
    if (o->l.raw != NULL)
        assert_int_equal(SSL_write(o->l.raw, bytes, (int)len), (int)len);
    else
        assert_int_not_equal(side_write(&o->l, o->theirs, bytes, len), TLS_FAILED);
}

static void exchange(struct opened *o, bool from_ours, size_t len)
{
    uint8_t *sent = malloc(len), *got = malloc(len);
    struct side *to = from_ours ? o->theirs : o->ours;

    for (size_t i = 0; i < len; i++)
        sent[i] = (uint8_t)core_random(&o->l.core);
    if (from_ours)
        assert_int_not_equal(side_write(&o->l, o->ours, sent, len), TLS_FAILED);
    else
        peer_write(o, sent, len);
    link_run(&o->l);
    assert_int_equal(to->plain.bytes, len);
    pktq_peek(&to->plain, got, len);
    assert_memory_equal(sent, got, len);
    pktq_clear(&to->plain);
    free(sent);
    free(got);
}

void ours_to_peer(struct opened *o, size_t len)
{
    exchange(o, true, len);
}

void peer_to_ours(struct opened *o, size_t len)
{
    exchange(o, false, len);
}

void forge_inner(struct opened *o, uint8_t outer_type, const void *inner, size_t len)
{
    static uint8_t wire[RECORD_HEADER + RECORD_TEXT_MAX + AEAD_TAG];
    const struct tls_half *rx = &o->ours->session->keys->rx;
    struct aead *aead = o->ours->lib->aead;
    struct aead_key key = { 0 };

    assert_true(len <= RECORD_TEXT_MAX);
    wire[0] = outer_type;
    put16(wire + 1, TLS1_2_VERSION);
    put16(wire + 3, (uint16_t)(len + AEAD_TAG));
    aead_key_set(&key, (enum aead_kind)rx->key.kind, rx->key.key, rx->key.iv);
    aead_begin(aead, &key, rx->seq + o->n_forged++, wire, RECORD_HEADER);
    aead_seal(aead, wire + RECORD_HEADER, inner, len);
    aead_end(aead, wire + RECORD_HEADER + len);
    aead_key_drop(aead, &key);
    assert_true(
        pktq_append(&o->ours->in, &o->l.tp.pool, wire, RECORD_HEADER + len + AEAD_TAG, SEG));
}

void forge(struct opened *o, uint8_t type, const void *bytes, size_t len)
{
    static uint8_t inner[RECORD_TEXT_MAX];

    assert_true(len < sizeof(inner));
    memcpy(inner, bytes, len);
    inner[len] = type;
    forge_inner(o, SSL3_RT_APPLICATION_DATA, inner, len + 1);
}

enum tls_state read_forged(struct opened *o)
{
    struct side *s = o->ours;

    while (tls_read_pending(s->session, &s->in))
        tls_read(s->session, &s->in, &s->plain, s->plain.bytes + 1, &s->out);
    o->n_forged = 0;
    return tls_state(s->session);
}

void assert_refused(struct opened *o, int alert, const char *words)
{
    struct side *s = o->ours;
    char error[256];

    snprintf(error, sizeof(error), "TLS error: %s", words);
    assert_string_equal(tls_error(s->session), error);
    assert_int_equal(tls_state(s->session), TLS_FAILED);
    assert_int_equal(tls_counters(s->lib)->records_failed, 1);
    assert_int_equal(tls_counters(s->lib)->handshake_failed, 0);
    assert_true(pktq_is_empty(&s->in));
    assert_int_equal(s->out.n, 1);
    assert_int_equal(s->out.bytes, RECORD_HEADER + 2 + RECORD_TRAILER);
    link_run(&o->l);
    if (o->l.raw != NULL) {
        assert_int_equal(o->n_alerts, 1);
        assert_int_equal(o->alert, SSL3_AL_FATAL << 8 | alert);
    } else {
        assert_non_null(strstr(tls_error(o->theirs->session), SSL_alert_desc_string_long(alert)));
        assert_int_equal(tls_counters(o->theirs->lib)->alerts, 1);
    }
}

void assert_delivered(struct opened *o, const void *bytes, size_t len)
{
    static uint8_t got[RECORD_TEXT_MAX];

    assert_int_equal(tls_state(o->ours->session), TLS_OPEN);
    assert_string_equal(tls_error(o->ours->session), "");
    assert_int_equal(o->ours->plain.bytes, len);
    assert_int_equal(pktq_peek(&o->ours->plain, got, sizeof(got)), len);
    assert_memory_equal(got, bytes, len);
    pktq_clear(&o->ours->plain);
}
