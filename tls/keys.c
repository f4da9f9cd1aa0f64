/*
 * How a session's keys come from OpenSSL to us: it tells the traffic secrets of TLS 1.3 as it would
 * write them to a key log, when it begins to use them; from then on we count the records it reads
 * and writes with them, so that ours have the next numbers (RFC 8446, 5.3 and 7.1 to 7.3).
 */
#include "tls/inner.h"

#include "dataplane/base/bytes.h"

#include <openssl/core_names.h>
#include <stdio.h>
#include <stdlib.h>

#define LABEL_MAX 18 /* "tls13 " and the longest label here */

static const struct {
    uint32_t id; /* of TLS, with OpenSSL's 0x03 in front */
    enum aead_kind kind;
    bool is_sha384;
} suites[] = {
    { TLS1_3_CK_AES_128_GCM_SHA256, AEAD_AES_128_GCM, false },
    { TLS1_3_CK_AES_256_GCM_SHA384, AEAD_AES_256_GCM, true },
    { TLS1_3_CK_CHACHA20_POLY1305_SHA256, AEAD_CHACHA20_POLY1305, false },
};

static EVP_MAC_CTX *hmac_new(EVP_MAC *hmac, const char *name)
{
    char digest[8];
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(hmac);
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    snprintf(digest, sizeof(digest), "%s", name);
    if (ctx != NULL && EVP_MAC_CTX_set_params(ctx, params) == 1)
        return ctx;
    EVP_MAC_CTX_free(ctx);
    return NULL;
}

bool keys_start(struct tls_lib *lib)
{
    EVP_MAC *hmac = EVP_MAC_fetch(lib->provider.libctx, "HMAC", NULL);

    if (hmac == NULL)
        return false;
    lib->hmac[0] = hmac_new(hmac, "SHA256");
    lib->hmac[1] = hmac_new(hmac, "SHA384");
    EVP_MAC_free(hmac);
    return lib->hmac[0] != NULL && lib->hmac[1] != NULL;
}

void keys_stop(struct tls_lib *lib)
{
    EVP_MAC_CTX_free(lib->hmac[0]);
    EVP_MAC_CTX_free(lib->hmac[1]);
}

/* HKDF-Expand-Label (RFC 8446, 7.1) with no context, for no more than one hash's length. */
static bool expand_label(struct tls_lib *lib, const struct tls_half *h, const char *label,
                         uint8_t *to, size_t len)
{
    EVP_MAC_CTX *hmac = lib->hmac[h->secret_len > 32];
    uint8_t info[2 + 1 + LABEL_MAX + 1 + 1], block[EVP_MAX_MD_SIZE];
    const size_t label_len = strlen("tls13 ") + strlen(label);
    size_t n;
    bool ok;

    assert(label_len <= LABEL_MAX && len <= h->secret_len);
    put16(info, (uint16_t)len);
    info[2] = (uint8_t)label_len;
    memcpy(info + 3, "tls13 ", 6);
    memcpy(info + 9, label, label_len - 6);
    info[3 + label_len] = 0; /* the context's length */
    info[4 + label_len] = 1; /* HKDF's first block is all there is */
    ok = EVP_MAC_init(hmac, h->secret, h->secret_len, NULL) == 1 &&
         EVP_MAC_update(hmac, info, 5 + label_len) == 1 &&
         EVP_MAC_final(hmac, block, &n, sizeof(block)) == 1;
    if (ok)
        memcpy(to, block, len);
    OPENSSL_cleanse(block, sizeof(block));
    return ok;
}

/* Key and IV from the secret; the numbers begin anew. */
static bool derive(struct tls_lib *lib, struct tls_half *h, enum aead_kind kind)
{
    uint8_t key[AEAD_KEY_MAX], iv[AEAD_IV];
    bool ok = expand_label(lib, h, "key", key, aead_key_len(kind)) &&
              expand_label(lib, h, "iv", iv, sizeof(iv));

    aead_key_drop(lib->aead, &h->key);
    if (ok)
        aead_key_set(&h->key, kind, key, iv);
    OPENSSL_cleanse(key, sizeof(key));
    OPENSSL_cleanse(iv, sizeof(iv));
    return ok;
}

bool keys_update(struct tls_lib *lib, struct tls_half *h)
{
    uint8_t next[TLS_SECRET_MAX];
    bool ok = expand_label(lib, h, "traffic upd", next, h->secret_len);

    if (ok) {
        memcpy(h->secret, next, h->secret_len);
        h->seq = 0;
        ok = derive(lib, h, (enum aead_kind)h->key.kind);
    }
    OPENSSL_cleanse(next, sizeof(next));
    return ok;
}

/* --- during the handshake --- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void take_secret(struct tls_half *h, const char *hex)
{
    uint8_t n = 0;

    for (; n < TLS_SECRET_MAX && hex_digit(hex[0]) >= 0 && hex_digit(hex[1]) >= 0; hex += 2)
        h->secret[n++] = (uint8_t)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
    h->secret_len = *hex == '\0' ? n : 0;
    h->seq = 0;
}

/* "LABEL random secret" */
void keys_on_secret(const SSL *ssl, const char *line)
{
    struct tls_session *s = SSL_get_app_data(ssl);
    const char *secret = strrchr(line, ' ');
    bool is_client = strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0;

    if (!is_client && strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24) != 0)
        return;
    if (s->keys == NULL)
        s->keys = calloc(1, sizeof(*s->keys));
    if (s->keys != NULL && secret != NULL)
        take_secret(is_client == s->ctx->is_server ? &s->keys->rx : &s->keys->tx, secret + 1);
}

void keys_on_record(struct tls_session *s, bool is_write, uint8_t type)
{
    struct tls_half *h;

    if (s->keys == NULL || type != SSL3_RT_APPLICATION_DATA)
        return;
    h = is_write ? &s->keys->tx : &s->keys->rx;
    h->seq += h->secret_len > 0;
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
            return derive(lib, &k->tx, suites[i].kind) && derive(lib, &k->rx, suites[i].kind);
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
