/*
 * How a session's keys come from OpenSSL to us: it has the traffic secrets of TLS 1.3 derived by
 * schedule.c when it begins to use them; from then on we count the records it reads and writes with
 * them, so that ours have the next numbers (RFC 8446, 5.3 and 7.1 to 7.3).
 */
#include "tls/inner.h"

#include <stdlib.h>

static const struct {
    uint32_t id; /* of TLS, with OpenSSL's 0x03 in front */
    enum aead_kind kind;
    bool is_sha384;
} suites[] = {
    { TLS1_3_CK_AES_128_GCM_SHA256, AEAD_AES_128_GCM, false },
    { TLS1_3_CK_AES_256_GCM_SHA384, AEAD_AES_256_GCM, true },
    { TLS1_3_CK_CHACHA20_POLY1305_SHA256, AEAD_CHACHA20_POLY1305, false },
};

static struct schedule_hkdf *hkdf_of(struct tls_lib *lib, const struct tls_half *h)
{
    return h->secret_len > 32 ? &lib->schedule.sha384 : &lib->schedule.sha256;
}

/* With no context. */
static bool expand_label(struct tls_lib *lib, const struct tls_half *h, struct slice label,
                         uint8_t *to, size_t len)
{
    const struct slice secret = { (const char *)h->secret, h->secret_len };

    return schedule_expand(hkdf_of(lib, h), secret, label, SLICE_NONE, to, len);
}

/* Key and IV from the secret; the numbers begin anew. */
static bool derive(struct tls_lib *lib, struct tls_half *h, enum aead_kind kind)
{
    uint8_t key[AEAD_KEY_MAX], iv[AEAD_IV];
    bool ok = expand_label(lib, h, SLICE("tls13 key"), key, aead_key_len(kind)) &&
              expand_label(lib, h, SLICE("tls13 iv"), iv, sizeof(iv));

    aead_key_drop(lib->aead, &h->key);
    if (ok)
        aead_key_set(&h->key, kind, key, iv);
    OPENSSL_cleanse(key, sizeof(key));
    OPENSSL_cleanse(iv, sizeof(iv));
    return ok;
}

bool keys_update(struct tls_lib *lib, struct tls_half *h)
{
    uint8_t next[SCHEDULE_SECRET_MAX];
    bool ok = expand_label(lib, h, SLICE("tls13 traffic upd"), next, h->secret_len);

    if (ok) {
        memcpy(h->secret, next, h->secret_len);
        h->seq = 0;
        h->key_len = 0;
        ok = derive(lib, h, (enum aead_kind)h->key.kind);
    }
    OPENSSL_cleanse(next, sizeof(next));
    schedule_forget(&lib->schedule);
    return ok;
}

/* --- during the handshake --- */

void keys_on_secret(struct tls_session *s, bool is_client, const uint8_t *secret, size_t len)
{
    struct tls_half *h;

    if (s->keys == NULL)
        s->keys = calloc(1, sizeof(*s->keys));
    if (s->keys == NULL)
        return;
    h = is_client == s->ctx->is_server ? &s->keys->rx : &s->keys->tx;
    h->secret_len = len <= sizeof(h->secret) ? (uint8_t)len : 0;
    h->key_len = 0;
    h->has_iv = false;
    memcpy(h->secret, secret, h->secret_len);
    h->seq = 0;
}

static bool is_of(const struct tls_half *h, struct slice secret)
{
    return h->secret_len > 0 && h->secret_len == secret.len &&
           CRYPTO_memcmp(h->secret, secret.ptr, secret.len) == 0;
}

void keys_on_key(struct tls_session *s, struct slice secret, bool is_key, const uint8_t *bytes,
                 size_t len)
{
    struct tls_half *h;

    if (s->keys == NULL)
        return;
    h = is_of(&s->keys->tx, secret) ? &s->keys->tx : &s->keys->rx;
    if (!is_of(h, secret) || len > (is_key ? AEAD_KEY_MAX : AEAD_IV))
        return;
    if (is_key) {
        memcpy(h->key.key, bytes, len);
        h->key_len = (uint8_t)len;
    } else {
        memcpy(h->key.iv, bytes, len);
        h->has_iv = len == AEAD_IV;
    }
}

void keys_on_record(struct tls_session *s, bool is_write, uint8_t type)
{
    struct tls_half *h;

    if (s->keys == NULL || type != SSL3_RT_APPLICATION_DATA)
        return;
    h = is_write ? &s->keys->tx : &s->keys->rx;
    h->seq += h->secret_len > 0;
}

/* With the key that OpenSSL has derived, if it came by. */
static bool settle(struct tls_lib *lib, struct tls_half *h, enum aead_kind kind)
{
    if (h->key_len != aead_key_len(kind) || !h->has_iv)
        return derive(lib, h, kind);
    h->key.kind = (uint8_t)kind;
    return true;
}

bool keys_take_over(struct tls_session *s)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(s->ssl);
    struct tls_lib *lib = s->ctx->lib;
    struct tls_keys *k = s->keys;

    for (size_t i = 0; k != NULL && i < ARRAY_SIZE(suites); i++) {
        const uint8_t len = suites[i].is_sha384 ? 48 : 32;

        if (SSL_CIPHER_get_id(cipher) == suites[i].id && k->tx.secret_len == len &&
            k->rx.secret_len == len)
            return settle(lib, &k->tx, suites[i].kind) && settle(lib, &k->rx, suites[i].kind);
    }
    return false;
}

void keys_drop(struct tls_session *s)
{
    if (s->keys == NULL)
        return;
    aead_key_drop(s->ctx->lib->aead, &s->keys->tx.key);
    aead_key_drop(s->ctx->lib->aead, &s->keys->rx.key);
    OPENSSL_cleanse(s->keys, sizeof(*s->keys));
    free(s->keys);
    s->keys = NULL;
}
