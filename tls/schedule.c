#include "tls/schedule.h"

#include "dataplane/base/bytes.h"
#include "tls/inner.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <stdio.h>

#define FIELD_MAX 255 /* bytes of a label, and of a context */

static _Thread_local struct tls_session *at_hand;

void schedule_at_hand(struct tls_session *s)
{
    at_hand = s;
}

struct tls_session *schedule_whose(void)
{
    return at_hand;
}

/* --- HKDF --- */

static bool start(struct schedule_hkdf *h, OSSL_LIB_CTX *libctx, EVP_MAC *hmac, const char *name)
{
    char digest[16];
    size_t len = 0;
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    snprintf(digest, sizeof(digest), "%s", name);
    h->hmac = EVP_MAC_CTX_new(hmac);
    if (h->hmac == NULL || EVP_MAC_CTX_set_params(h->hmac, params) != 1 ||
        EVP_Q_digest(libctx, name, NULL, "", 0, h->nothing, &len) != 1)
        return false;
    h->hash_len = (uint8_t)len;
    return true;
}

bool schedule_start(struct schedule *sch, OSSL_LIB_CTX *libctx)
{
    EVP_MAC *hmac = EVP_MAC_fetch(libctx, "HMAC", NULL);
    bool ok = hmac != NULL && start(&sch->sha256, libctx, hmac, "SHA2-256") &&
              start(&sch->sha384, libctx, hmac, "SHA2-384");

    EVP_MAC_free(hmac);
    return ok;
}

void schedule_stop(struct schedule *sch)
{
    EVP_MAC_CTX_free(sch->sha256.hmac);
    EVP_MAC_CTX_free(sch->sha384.hmac);
    OPENSSL_cleanse(sch, sizeof(*sch));
}

/* ->hmac begins anew; the pads of the key that it has are worth keeping. */
static bool set_key(struct schedule_hkdf *h, struct slice key)
{
    if (key.len == h->key_len && CRYPTO_memcmp(key.ptr, h->key, key.len) == 0)
        return EVP_MAC_init(h->hmac, NULL, 0, NULL) == 1;
    h->key_len = 0;
    if (EVP_MAC_init(h->hmac, (const uint8_t *)key.ptr, key.len, NULL) != 1)
        return false;
    if (key.len <= sizeof(h->key)) {
        memcpy(h->key, key.ptr, key.len);
        h->key_len = (uint8_t)key.len;
    }
    return true;
}

/* Writes ->hash_len bytes. */
static bool hmac(struct schedule_hkdf *h, struct slice key, struct slice data, uint8_t *to)
{
    size_t n;

    return set_key(h, key) && EVP_MAC_update(h->hmac, (const uint8_t *)data.ptr, data.len) == 1 &&
           EVP_MAC_final(h->hmac, to, &n, h->hash_len) == 1;
}

static size_t put_field(uint8_t *to, struct slice s)
{
    to[0] = (uint8_t)s.len;
    if (s.len > 0)
        memcpy(to + 1, s.ptr, s.len);
    return 1 + s.len;
}

bool schedule_expand(struct schedule_hkdf *h, struct slice secret, struct slice label,
                     struct slice context, uint8_t *to, size_t len)
{
    uint8_t info[2 + 1 + FIELD_MAX + 1 + FIELD_MAX + 1], block[SCHEDULE_SECRET_MAX];
    size_t n = 2;
    bool ok;

    if (len > h->hash_len || label.len > FIELD_MAX || context.len > FIELD_MAX)
        return false;
    put16(info, (uint16_t)len);
    n += put_field(info + n, label);
    n += put_field(info + n, context);
    info[n++] = 1; /* HKDF's first block is all there is */
    ok = hmac(h, secret, (struct slice){ (const char *)info, n }, block);
    if (ok)
        memcpy(to, block, len);
    OPENSSL_cleanse(block, sizeof(block));
    return ok;
}

/* --- what OpenSSL asks for --- */

struct wish {
    int mode;
    struct schedule_hkdf *hkdf;
    struct slice key, salt, prefix, label, data; /* SLICE_NONE: none was given */
};

static struct schedule_hkdf *hkdf_named(struct schedule *sch, const OSSL_PARAM *p)
{
    const struct slice name = { p->data, strlen(p->data) };

    if (slice_eq(name, SLICE("SHA2-256")) || slice_eq(name, SLICE("SHA256")))
        return &sch->sha256;
    if (slice_eq(name, SLICE("SHA2-384")) || slice_eq(name, SLICE("SHA384")))
        return &sch->sha384;
    return NULL;
}

static bool read_param(const OSSL_PARAM *p, struct wish *w)
{
    const struct {
        const char *name;
        struct slice *to;
    } octets[] = {
        { OSSL_KDF_PARAM_KEY, &w->key },     { OSSL_KDF_PARAM_PREFIX, &w->prefix },
        { OSSL_KDF_PARAM_LABEL, &w->label }, { OSSL_KDF_PARAM_DATA, &w->data },
        { OSSL_KDF_PARAM_SALT, &w->salt },
    };

    if (strcmp(p->key, OSSL_KDF_PARAM_MODE) == 0)
        return OSSL_PARAM_get_int(p, &w->mode) == 1;
    if (strcmp(p->key, OSSL_KDF_PARAM_DIGEST) == 0) {
        w->hkdf = p->data_type == OSSL_PARAM_UTF8_STRING
                      ? hkdf_named(&at_hand->ctx->lib->schedule, p)
                      : NULL;
        return w->hkdf != NULL;
    }
    for (size_t i = 0; i < ARRAY_SIZE(octets); i++) {
        if (strcmp(p->key, octets[i].name) != 0)
            continue;
        *octets[i].to = (struct slice){ p->data, p->data_size };
        return p->data_type == OSSL_PARAM_OCTET_STRING;
    }
    return true;
}

static bool read_wish(const OSSL_PARAM *params, struct wish *w)
{
    *w = (struct wish){ .mode = -1 };
    for (; params != NULL && params->key != NULL; params++)
        if (!read_param(params, w))
            return false;
    return w->hkdf != NULL && w->prefix.ptr != NULL && w->label.ptr != NULL &&
           w->prefix.len + w->label.len <= FIELD_MAX;
}

static bool expand(const struct wish *w, struct slice secret, struct slice context, uint8_t *to,
                   size_t len)
{
    char label[FIELD_MAX];

    memcpy(label, w->prefix.ptr, w->prefix.len);
    memcpy(label + w->prefix.len, w->label.ptr, w->label.len);
    return schedule_expand(w->hkdf, secret, (struct slice){ label, w->prefix.len + w->label.len },
                           context, to, len);
}

/* "Derived", and HKDF-Extract: from one secret of the schedule to the next. */
static bool extract(const struct wish *w, uint8_t *to)
{
    static const char zeros[SCHEDULE_SECRET_MAX];
    struct schedule_hkdf *h = w->hkdf;
    const struct slice nothing = { (const char *)h->nothing, h->hash_len };
    const struct slice zero = { zeros, h->hash_len };
    uint8_t derived[SCHEDULE_SECRET_MAX];
    bool ok;

    if (w->salt.ptr == NULL)
        return hmac(h, zero, w->key.ptr != NULL ? w->key : zero, to);
    ok = expand(w, w->salt, nothing, derived, h->hash_len) &&
         hmac(h, (struct slice){ (const char *)derived, h->hash_len },
              w->key.ptr != NULL ? w->key : zero, to);
    OPENSSL_cleanse(derived, sizeof(derived));
    return ok;
}

static int derive(void *ctx, unsigned char *to, size_t len, const OSSL_PARAM params[])
{
    struct wish w;

    if (at_hand == NULL || !read_wish(params, &w))
        return 0;
    if (w.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY)
        return len == w.hkdf->hash_len && extract(&w, to);
    if (w.mode != EVP_KDF_HKDF_MODE_EXPAND_ONLY || w.key.ptr == NULL ||
        !expand(&w, w.key, w.data, to, len))
        return 0;
    if (slice_eq(w.label, SLICE("c ap traffic")) || slice_eq(w.label, SLICE("s ap traffic")))
        keys_on_secret(at_hand, *w.label.ptr == 'c', to, len);
    return 1;
}

/* OpenSSL gives all parameters when it derives: there is nothing to keep between. */
static void *new_ctx(void *provider)
{
    static char none;

    return at_hand != NULL ? &none : NULL;
}

static void free_ctx(void *ctx)
{
}

const OSSL_DISPATCH schedule_functions[] = {
    { OSSL_FUNC_KDF_NEWCTX, (void (*)(void))new_ctx },
    { OSSL_FUNC_KDF_FREECTX, (void (*)(void))free_ctx },
    { OSSL_FUNC_KDF_DERIVE, (void (*)(void))derive },
    { 0, NULL },
};
