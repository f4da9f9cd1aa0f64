#include "tls/x25519.h"

#include "dataplane/base/compiler.h"
#include "tls/inner.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <stdlib.h>

#define KEY_LEN 32
#define ROOM 32 /* functions */

static struct {
    OSSL_FUNC_keymgmt_new_fn *new;
    OSSL_FUNC_keymgmt_free_fn *free;
    OSSL_FUNC_keymgmt_import_fn *import;
    OSSL_FUNC_keymgmt_gen_init_fn *gen_init;
    OSSL_FUNC_keymgmt_gen_set_params_fn *gen_set_params;
    OSSL_FUNC_keymgmt_gen_fn *gen;
    OSSL_FUNC_keymgmt_gen_cleanup_fn *gen_cleanup;
    OSSL_FUNC_keyexch_newctx_fn *exchange_new;
    OSSL_FUNC_keyexch_freectx_fn *exchange_free;
    OSSL_FUNC_keyexch_init_fn *exchange_init;
    OSSL_FUNC_keyexch_set_peer_fn *exchange_set_peer;
    OSSL_FUNC_keyexch_derive_fn *exchange_derive;
} whole; /* the default provider's */

static OSSL_DISPATCH functions[ROOM + 1];

/* A key, or only its kind, that is about to be made. */
struct making {
    void *provider;
    bool is_pair;
    void *whole; /* the default provider's idea of it */
};

static void *gen_init(void *provider, int selection, const OSSL_PARAM params[])
{
    struct making *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return NULL;
    m->provider = provider;
    m->is_pair = (selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0;
    m->whole = whole.gen_init(provider, selection, params);
    if (m->whole != NULL)
        return m;
    free(m);
    return NULL;
}

static int gen_set_params(void *making, const OSSL_PARAM params[])
{
    return whole.gen_set_params(((struct making *)making)->whole, params);
}

static void gen_cleanup(void *making)
{
    struct making *m = making;

    if (m != NULL)
        whole.gen_cleanup(m->whole);
    free(m);
}

static bool import_secret(void *key, uint8_t *secret, uint8_t *public)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PRIV_KEY, secret, KEY_LEN),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, public, KEY_LEN),
        OSSL_PARAM_construct_end(),
    };

    return whole.import(key, OSSL_KEYMGMT_SELECT_KEYPAIR, params) == 1;
}

static bool import_public(void *key, uint8_t *public)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, public, KEY_LEN),
        OSSL_PARAM_construct_end(),
    };

    return whole.import(key, OSSL_KEYMGMT_SELECT_PUBLIC_KEY, params) == 1;
}

/* The exchange of @key's secret with its own public key. */
static bool exchange(void *provider, void *key, uint8_t *to)
{
    void *ctx = whole.exchange_new(provider);
    size_t len = KEY_LEN;
    bool ok = ctx != NULL && whole.exchange_init(ctx, key, NULL) == 1 &&
              whole.exchange_set_peer(ctx, key) == 1 &&
              whole.exchange_derive(ctx, to, &len, KEY_LEN) == 1 && len == KEY_LEN;

    if (ctx != NULL)
        whole.exchange_free(ctx);
    return ok;
}

/* Until its own is known, the base point stands for @key's public key. */
static bool fill(void *provider, void *key, OSSL_LIB_CTX *libctx)
{
    uint8_t secret[KEY_LEN], public[KEY_LEN] = { 9 };
    bool ok = RAND_priv_bytes_ex(libctx, secret, sizeof(secret), 0) == 1;

    if (ok) {
        secret[0] &= 248; /* RFC 7748, 5 */
        secret[KEY_LEN - 1] = (secret[KEY_LEN - 1] & 127) | 64;
        ok = import_secret(key, secret, public) && exchange(provider, key, public) &&
             import_public(key, public);
    }
    OPENSSL_cleanse(secret, sizeof(secret));
    return ok;
}

static void *gen(void *making, OSSL_CALLBACK *progress, void *arg)
{
    struct making *m = making;
    struct tls_session *s = schedule_whose();
    void *key;

    if (!m->is_pair || s == NULL)
        return whole.gen(m->whole, progress, arg);
    key = whole.new(m->provider);
    if (key != NULL && fill(m->provider, key, s->ctx->lib->provider.inner))
        return key;
    whole.free(key);
    return NULL;
}

static void learn_keys(const OSSL_DISPATCH *f)
{
    for (; f->function_id != 0; f++) {
        switch (f->function_id) {
        case OSSL_FUNC_KEYMGMT_NEW:
            whole.new = OSSL_FUNC_keymgmt_new(f);
            break;
        case OSSL_FUNC_KEYMGMT_FREE:
            whole.free = OSSL_FUNC_keymgmt_free(f);
            break;
        case OSSL_FUNC_KEYMGMT_IMPORT:
            whole.import = OSSL_FUNC_keymgmt_import(f);
            break;
        case OSSL_FUNC_KEYMGMT_GEN_INIT:
            whole.gen_init = OSSL_FUNC_keymgmt_gen_init(f);
            break;
        case OSSL_FUNC_KEYMGMT_GEN_SET_PARAMS:
            whole.gen_set_params = OSSL_FUNC_keymgmt_gen_set_params(f);
            break;
        case OSSL_FUNC_KEYMGMT_GEN:
            whole.gen = OSSL_FUNC_keymgmt_gen(f);
            break;
        case OSSL_FUNC_KEYMGMT_GEN_CLEANUP:
            whole.gen_cleanup = OSSL_FUNC_keymgmt_gen_cleanup(f);
            break;
        }
    }
}

static void learn_exchange(const OSSL_DISPATCH *f)
{
    for (; f->function_id != 0; f++) {
        switch (f->function_id) {
        case OSSL_FUNC_KEYEXCH_NEWCTX:
            whole.exchange_new = OSSL_FUNC_keyexch_newctx(f);
            break;
        case OSSL_FUNC_KEYEXCH_FREECTX:
            whole.exchange_free = OSSL_FUNC_keyexch_freectx(f);
            break;
        case OSSL_FUNC_KEYEXCH_INIT:
            whole.exchange_init = OSSL_FUNC_keyexch_init(f);
            break;
        case OSSL_FUNC_KEYEXCH_SET_PEER:
            whole.exchange_set_peer = OSSL_FUNC_keyexch_set_peer(f);
            break;
        case OSSL_FUNC_KEYEXCH_DERIVE:
            whole.exchange_derive = OSSL_FUNC_keyexch_derive(f);
            break;
        }
    }
}

static OSSL_DISPATCH ours(OSSL_DISPATCH f)
{
    switch (f.function_id) {
    case OSSL_FUNC_KEYMGMT_GEN_INIT:
        f.function = (void (*)(void))gen_init;
        break;
    case OSSL_FUNC_KEYMGMT_GEN_SET_PARAMS:
        f.function = (void (*)(void))gen_set_params;
        break;
    case OSSL_FUNC_KEYMGMT_GEN:
        f.function = (void (*)(void))gen;
        break;
    case OSSL_FUNC_KEYMGMT_GEN_CLEANUP:
        f.function = (void (*)(void))gen_cleanup;
        break;
    }
    return f;
}

const OSSL_DISPATCH *x25519_over(const OSSL_DISPATCH *keys, const OSSL_DISPATCH *exchanges)
{
    unsigned n = 0;

    learn_keys(keys);
    learn_exchange(exchanges);
    for (; keys[n].function_id != 0 && n < ROOM; n++) {
        /* A template would pass us by: no version of OpenSSL has one for X25519. */
        if (keys[n].function_id == OSSL_FUNC_KEYMGMT_GEN_SET_TEMPLATE)
            return keys;
        functions[n] = ours(keys[n]);
    }
    if (keys[n].function_id != 0 || whole.new == NULL || whole.free == NULL ||
        whole.import == NULL || whole.gen_init == NULL || whole.gen_set_params == NULL ||
        whole.gen == NULL || whole.gen_cleanup == NULL || whole.exchange_new == NULL ||
        whole.exchange_free == NULL || whole.exchange_init == NULL ||
        whole.exchange_set_peer == NULL || whole.exchange_derive == NULL)
        return keys;
    return functions;
}
