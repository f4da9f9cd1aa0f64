#include "tls/inner.h"

#include <openssl/err.h>

/* Bytes a record of @len bytes of plaintext grows by: header, explicit IV, type, padding, tag. */
static uint32_t record_overhead(const SSL *ssl)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);

    if (SSL_version(ssl) == TLS1_3_VERSION)
        return SSL3_RT_HEADER_LENGTH + 1 + 16;
    if (!SSL_CIPHER_is_aead(cipher))
        return SSL3_RT_HEADER_LENGTH + 16 + 16 + 48; /* IV, padding, HMAC-SHA-384 */
    return SSL3_RT_HEADER_LENGTH + 8 + 16;
}

/*
 * OpenSSL has verified the chain and asked us (verify.c), unless the session was resumed: then we
 * ask again, in the present. False: refused.
 */
static bool admit(struct tls_session *s, X509 *leaf)
{
    const bool demands_cert = s->ctx->who->policy.demands_cert;
    char why[POLICY_WHY_LEN];

    if (demands_cert && SSL_session_reused(s->ssl) == 1 && !verify_resumed(s, leaf, why)) {
        session_counters(s)->fail_verify_san++;
        session_refuse(s, why);
        return false;
    }
    if (demands_cert && leaf == NULL) {
        session_counters(s)->fail_verify_no_cert++;
        session_refuse(s, "no peer certificate");
        return false;
    }
    if (!session_describe_peer(s, leaf)) {
        session_counters(s)->no_memory++;
        session_refuse(s, "out of memory, or names of the peer that cannot be read");
        return false;
    }
    return true;
}

/* OpenSSL says it is done. */
static enum tls_state completed(struct tls_session *s)
{
    X509 *leaf = verify_peer(s);
    bool ok = admit(s, leaf);

    X509_free(leaf);
    if (!ok)
        return TLS_FAILED;
    s->overhead = record_overhead(s->ssl);
    s->n_idle = 0;
    session_counters(s)->handshakes++;
    session_counters(s)->resumed += s->peer.resumed;
    s->state = TLS_OPEN;
    if (s->ctx->resumption == NULL && keys_take_over(s)) {
        SSL_free(s->ssl);
        s->ssl = NULL;
    } else {
        keys_drop(s);
    }
    if (s->ssl != NULL)
        SSL_clear_mode(s->ssl, SSL_MODE_ASYNC); /* records need no helper */
    schedule_forget(&s->ctx->lib->schedule);
    return TLS_OPEN;
}

enum tls_state handshake_step(struct tls_session *s)
{
    int rc, why;

    if (s->waits)
        return TLS_HANDSHAKING;
    s->is_answered = false;
    ERR_clear_error();
    rc = SSL_do_handshake(s->ssl);
    if (rc == 1 && !s->no_memory)
        return completed(s);
    why = SSL_get_error(s->ssl, rc);
    if (why == SSL_ERROR_WANT_ASYNC && s->waits)
        return TLS_HANDSHAKING;
    if (why == SSL_ERROR_ZERO_RETURN && !s->no_memory)
        return session_refuse(s, "the peer closed during the handshake");
    if (why != SSL_ERROR_WANT_READ || s->no_memory)
        return session_failed(s);
    if (s->n_read > TLS_HANDSHAKE_BYTES)
        return session_refuse(s, "the handshake is too long");
    return TLS_HANDSHAKING;
}

void on_message(int is_write, int version, int type, const void *bytes, size_t len, SSL *ssl,
                void *arg)
{
    struct tls_session *s = arg;

    if (type == SSL3_RT_HEADER && len > 0)
        keys_on_record(s, is_write, *(const uint8_t *)bytes);
    if (!is_write && type == SSL3_RT_HANDSHAKE && s->n_idle < UINT16_MAX)
        s->n_idle++;
}
