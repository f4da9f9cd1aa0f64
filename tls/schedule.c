#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_Init() and its like, which need no context */
#include "tls/schedule.h"

#include "dataplane/base/bytes.h"
#include "tls/inner.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>

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

/* --- SHA-2 --- */

static bool is_sha384(const struct schedule_hkdf *h)
{
    return h->hash_len == SHA384_DIGEST_LENGTH;
}

static void hash_begin(const struct schedule_hkdf *h, union schedule_hash *st)
{
    if (is_sha384(h))
        SHA384_Init(&st->sha512);
    else
        SHA256_Init(&st->sha256);
}

static void hash_add(const struct schedule_hkdf *h, union schedule_hash *st, const void *data,
                     size_t len)
{
    if (is_sha384(h))
        SHA384_Update(&st->sha512, data, len);
    else
        SHA256_Update(&st->sha256, data, len);
}

/* Writes ->hash_len bytes, and clears @st. */
static void hash_end(const struct schedule_hkdf *h, union schedule_hash *st, uint8_t *to)
{
    if (is_sha384(h)) {
        SHA384_Final(to, &st->sha512);
        OPENSSL_cleanse(&st->sha512, sizeof(st->sha512));
    } else {
        SHA256_Final(to, &st->sha256);
        OPENSSL_cleanse(&st->sha256, sizeof(st->sha256));
    }
}

/* --- HMAC (RFC 2104) and HKDF (RFC 5869) --- */

static void set_key(const struct schedule_hkdf *h, struct schedule_key *k,
                    const uint64_t key[SCHEDULE_SECRET_MAX / 8])
{
    const size_t block = is_sha384(h) ? SHA512_CBLOCK : SHA256_CBLOCK;
    uint64_t pad[SHA512_CBLOCK / 8] = { 0 };

    memcpy(pad, key, sizeof(k->key));
    memcpy(k->key, key, sizeof(k->key));
    k->is_set = true;
    for (size_t i = 0; i < ARRAY_SIZE(pad); i++)
        pad[i] ^= UINT64_C(0x3636363636363636);
    hash_begin(h, &k->inner);
    hash_add(h, &k->inner, pad, block);
    for (size_t i = 0; i < ARRAY_SIZE(pad); i++)
        pad[i] ^= UINT64_C(0x3636363636363636) ^ UINT64_C(0x5c5c5c5c5c5c5c5c);
    hash_begin(h, &k->outer);
    hash_add(h, &k->outer, pad, block);
    OPENSSL_cleanse(pad, sizeof(pad));
}

/* In constant time. */
static bool has_key(const struct schedule_key *k, const uint64_t key[SCHEDULE_SECRET_MAX / 8])
{
    uint64_t differ = 0;

    for (size_t i = 0; i < ARRAY_SIZE(k->key); i++)
        differ |= k->key[i] ^ key[i];
    return k->is_set && differ == 0;
}

/* One that is there, or in the place of the oldest. */
static const struct schedule_key *find_key(struct schedule_hkdf *h,
                                           const uint64_t key[SCHEDULE_SECRET_MAX / 8])
{
    struct schedule_key *k;

    if (has_key(&h->first, key))
        return &h->first;
    for (unsigned i = 0; i < SCHEDULE_KEYS; i++)
        if (has_key(&h->keys[i], key))
            return &h->keys[i];
    k = &h->keys[h->next++ % SCHEDULE_KEYS];
    set_key(h, k, key);
    return k;
}

/* NULL: longer than a secret of TLS is, or none. */
static const struct schedule_key *key_of(struct schedule_hkdf *h, struct slice key)
{
    uint64_t whole[SCHEDULE_SECRET_MAX / 8] = { 0 };
    const struct schedule_key *k;

    if (key.len == 0 || key.len > sizeof(whole))
        return NULL;
    memcpy(whole, key.ptr, key.len);
    k = find_key(h, whole);
    OPENSSL_cleanse(whole, sizeof(whole));
    return k;
}

/* Writes ->hash_len bytes; false: a key that is none of TLS. */
static bool hmac(struct schedule_hkdf *h, struct slice key, struct slice data, uint8_t *to)
{
    const struct schedule_key *k = key_of(h, key);
    union schedule_hash st;

    if (k == NULL)
        return false;
    st = k->inner;
    hash_add(h, &st, data.ptr, data.len);
    hash_end(h, &st, to);
    st = k->outer;
    hash_add(h, &st, to, h->hash_len);
    hash_end(h, &st, to);
    return true;
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

/* --- a worker's --- */

static void init(struct schedule_hkdf *h, uint8_t hash_len)
{
    static const char zeros[SCHEDULE_SECRET_MAX];
    const struct slice zero = { zeros, hash_len };
    uint64_t derived[SCHEDULE_SECRET_MAX / 8] = { 0 };
    union schedule_hash st;

    *h = (struct schedule_hkdf){ .hash_len = hash_len };
    hash_begin(h, &st);
    hash_end(h, &st, h->nothing);
    hmac(h, zero, zero, h->early);
    schedule_expand(h, (struct slice){ (const char *)h->early, hash_len }, SLICE("tls13 derived"),
                    (struct slice){ (const char *)h->nothing, hash_len }, (uint8_t *)derived,
                    hash_len);
    set_key(h, &h->first, derived);
}

void schedule_init(struct schedule *sch)
{
    init(&sch->sha256, SHA256_DIGEST_LENGTH);
    init(&sch->sha384, SHA384_DIGEST_LENGTH);
}

void schedule_fini(struct schedule *sch)
{
    OPENSSL_cleanse(sch, sizeof(*sch));
}

static void forget(struct schedule_hkdf *h)
{
    for (unsigned i = 0; i < SCHEDULE_KEYS; i++)
        if (h->keys[i].is_set)
            OPENSSL_cleanse(&h->keys[i], sizeof(h->keys[i]));
}

void schedule_forget(struct schedule *sch)
{
    forget(&sch->sha256);
    forget(&sch->sha384);
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

/* Where an octet string of this name goes; NULL: nowhere. Its first letter is its own. */
static struct slice *octets_of(struct wish *w, const char *name)
{
    static const struct {
        const char *name;
        size_t at;
    } rows[] = {
        ['k' - 'a'] = { OSSL_KDF_PARAM_KEY, offsetof(struct wish, key) },
        ['p' - 'a'] = { OSSL_KDF_PARAM_PREFIX, offsetof(struct wish, prefix) },
        ['l' - 'a'] = { OSSL_KDF_PARAM_LABEL, offsetof(struct wish, label) },
        ['d' - 'a'] = { OSSL_KDF_PARAM_DATA, offsetof(struct wish, data) },
        ['s' - 'a'] = { OSSL_KDF_PARAM_SALT, offsetof(struct wish, salt) },
    };
    const size_t row = (size_t)(unsigned char)*name - 'a';

    if (row >= ARRAY_SIZE(rows) || rows[row].name == NULL || strcmp(name, rows[row].name) != 0)
        return NULL;
    return (struct slice *)((char *)w + rows[row].at);
}

static bool read_param(const OSSL_PARAM *p, struct wish *w)
{
    struct slice *octets = octets_of(w, p->key);

    if (octets != NULL) {
        *octets = (struct slice){ p->data, p->data_size };
        return p->data_type == OSSL_PARAM_OCTET_STRING;
    }
    if (strcmp(p->key, OSSL_KDF_PARAM_MODE) == 0)
        return OSSL_PARAM_get_int(p, &w->mode) == 1;
    if (strcmp(p->key, OSSL_KDF_PARAM_DIGEST) == 0) {
        w->hkdf = p->data_type == OSSL_PARAM_UTF8_STRING
                      ? hkdf_named(&at_hand->ctx->lib->schedule, p)
                      : NULL;
        return w->hkdf != NULL;
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

/* The step from the early secret of who has no ticket, which is the same for all. */
static bool is_first(const struct wish *w)
{
    const struct slice early = { (const char *)w->hkdf->early, w->hkdf->hash_len };

    return slice_eq(w->salt, early) && slice_eq(w->prefix, SLICE("tls13 ")) &&
           slice_eq(w->label, SLICE("derived"));
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

    if (w->salt.ptr == NULL && w->key.ptr == NULL) {
        memcpy(to, h->early, h->hash_len);
        return true;
    }
    if (w->salt.ptr == NULL)
        return hmac(h, zero, w->key, to);
    if (is_first(w))
        return hmac(h, (struct slice){ (const char *)h->first.key, h->hash_len },
                    w->key.ptr != NULL ? w->key : zero, to);
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
    else if (slice_eq(w.label, SLICE("key")) || slice_eq(w.label, SLICE("iv")))
        keys_on_key(at_hand, w.key, *w.label.ptr == 'k', to, len);
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
