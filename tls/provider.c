#include "tls/provider.h"

#include "dataplane/base/compiler.h"

#include <assert.h>
#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#define NAME "isthmus"
#define ROOM 64 /* algorithms that are left of a kind */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct provider *all; /* and which is whose: OpenSSL tells us only what algorithms need */
static OSSL_ALGORITHM decoders[ROOM + 1], key_kinds[ROOM + 1];

static bool is_one_of(const char *const *list, const char *names)
{
    const size_t len = strcspn(names, ":");

    for (; *list != NULL; list++)
        if (strlen(*list) == len && strncasecmp(*list, names, len) == 0)
            return true;
    return false;
}

static bool is_key_kind(const OSSL_ALGORITHM *a)
{
    static const char *const list[] = { "RSA",      "RSA-PSS", "EC",   "ED25519", "X25519",
                                        "TLS1-PRF", "HKDF",    "HMAC", NULL };

    return is_one_of(list, a->algorithm_names);
}

/* Of keys in certificates, and of private keys in files. */
static bool is_decoder(const OSSL_ALGORITHM *a)
{
    static const char *const list[] = { "RSA", "RSA-PSS", "EC", "ED25519", NULL };
    static const char *const formats[] = { "structure=SubjectPublicKeyInfo",
                                           "structure=PrivateKeyInfo", "structure=type-specific" };
    bool known = false;

    for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
        known |= strstr(a->property_definition, formats[i]) != NULL;
    return known && is_one_of(list, a->algorithm_names);
}

static void sift(OSSL_ALGORITHM *to, const OSSL_ALGORITHM *from,
                 bool (*wanted)(const OSSL_ALGORITHM *a))
{
    unsigned n = 0;

    for (; from != NULL && from->algorithm_names != NULL; from++)
        if (wanted(from) && n < ROOM)
            to[n++] = *from;
    memset(&to[n], 0, sizeof(to[n]));
}

/* The default provider's tables are the same for all. Under ->lock. */
static void sift_once(OSSL_PROVIDER *whole)
{
    int no_cache;

    if (decoders[0].algorithm_names != NULL)
        return;
    sift(decoders, OSSL_PROVIDER_query_operation(whole, OSSL_OP_DECODER, &no_cache), is_decoder);
    sift(key_kinds, OSSL_PROVIDER_query_operation(whole, OSSL_OP_KEYMGMT, &no_cache), is_key_kind);
}

/* The default provider with this context. */
static OSSL_PROVIDER *whole_of(const void *ctx)
{
    OSSL_PROVIDER *found = NULL;

    pthread_mutex_lock(&lock);
    for (const struct provider *p = all; p != NULL && found == NULL; p = p->next)
        if (p->whole != NULL && OSSL_PROVIDER_get0_provider_ctx(p->whole) == ctx)
            found = p->whole;
    pthread_mutex_unlock(&lock);
    return found;
}

static const OSSL_ALGORITHM *query(void *ctx, int operation, int *no_cache)
{
    *no_cache = 0;
    if (operation == OSSL_OP_DECODER)
        return decoders;
    if (operation == OSSL_OP_KEYMGMT)
        return key_kinds;
    return OSSL_PROVIDER_query_operation(whole_of(ctx), operation, no_cache);
}

/* Of groups for TLS. */
static int capabilities(void *ctx, const char *name, OSSL_CALLBACK *fn, void *arg)
{
    return OSSL_PROVIDER_get_capabilities(whole_of(ctx), name, fn, arg);
}

static const OSSL_DISPATCH functions[] = {
    { OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query },
    { OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))capabilities },
    { 0, NULL },
};

/* For the length of a load: OpenSSL hands nothing of ours to init(). */
static _Thread_local struct provider *starting;

static int init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                void **ctx)
{
    *out = functions;
    *ctx = OSSL_PROVIDER_get0_provider_ctx(starting->whole);
    return 1;
}

bool provider_start(struct provider *p)
{
    p->inner = OSSL_LIB_CTX_new();
    p->libctx = OSSL_LIB_CTX_new();
    if (p->inner == NULL || p->libctx == NULL)
        return false;
    p->whole = OSSL_PROVIDER_load(p->inner, "default");
    if (p->whole == NULL || OSSL_PROVIDER_add_builtin(p->libctx, NAME, init) != 1)
        return false;
    pthread_mutex_lock(&lock);
    sift_once(p->whole);
    p->next = all;
    all = p;
    pthread_mutex_unlock(&lock);
    starting = p;
    p->ours = OSSL_PROVIDER_load(p->libctx, NAME);
    starting = NULL;
    return p->ours != NULL;
}

void provider_stop(struct provider *p)
{
    if (p->ours != NULL)
        OSSL_PROVIDER_unload(p->ours);
    OSSL_LIB_CTX_free(p->libctx); /* before what its algorithms live on */
    pthread_mutex_lock(&lock);
    for (struct provider **at = &all; *at != NULL; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    if (p->whole != NULL)
        OSSL_PROVIDER_unload(p->whole);
    OSSL_LIB_CTX_free(p->inner);
}
