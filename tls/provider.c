#include "tls/provider.h"

#include "dataplane/base/compiler.h"
#include "tls/schedule.h"
#include "tls/x25519.h"

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

/* What is left of the default provider's algorithms, by the first of their names. */
static const char *const ciphers[] = { "AES-128-GCM",
                                       "AES-256-GCM",
                                       "ChaCha20-Poly1305",
                                       "AES-128-CCM",
                                       "AES-256-CCM",
                                       "AES-128-CBC",
                                       "AES-256-CBC",
                                       "AES-128-CBC-HMAC-SHA1",
                                       "AES-256-CBC-HMAC-SHA1",
                                       "AES-128-CBC-HMAC-SHA256",
                                       "AES-256-CBC-HMAC-SHA256",
                                       NULL };
static const char *const digests[] = {
    "SHA1", "SHA2-224", "SHA2-256", "SHA2-384", "SHA2-512", NULL
};
static const char *const macs[] = { "HMAC", NULL };
static const char *const kdfs[] = { "TLS13-KDF", "TLS1-PRF", "HKDF", NULL };
static const char *const key_kinds[] = { "RSA",      "RSA-PSS", "EC",   "ED25519", "X25519",
                                         "TLS1-PRF", "HKDF",    "HMAC", NULL };
static const char *const exchanges[] = { "X25519", "ECDH", NULL };
static const char *const signatures[] = { "RSA", "ECDSA", "ED25519", "HMAC", NULL };
/* Of keys in certificates, and of private keys in files. */
static const char *const decoders[] = { "RSA", "RSA-PSS", "EC", "ED25519", NULL };

static const struct {
    int operation;
    const char *const *names;
} wanted[] = {
    { OSSL_OP_CIPHER, ciphers },
    { OSSL_OP_DIGEST, digests },
    { OSSL_OP_MAC, macs },
    { OSSL_OP_KDF, kdfs },
    { OSSL_OP_KEYMGMT, key_kinds },
    { OSSL_OP_KEYEXCH, exchanges },
    { OSSL_OP_SIGNATURE, signatures },
    { OSSL_OP_DECODER, decoders },
};

static OSSL_ALGORITHM sifted[ARRAY_SIZE(wanted)][ROOM + 1];

static bool is_one_of(const char *const *list, const char *names)
{
    const size_t len = strcspn(names, ":");

    for (; *list != NULL; list++)
        if (strlen(*list) == len && strncasecmp(*list, names, len) == 0)
            return true;
    return false;
}

static bool is_decoder_of_tls(const OSSL_ALGORITHM *a)
{
    static const char *const formats[] = { "structure=SubjectPublicKeyInfo",
                                           "structure=PrivateKeyInfo", "structure=type-specific" };
    bool known = false;

    for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
        known |= strstr(a->property_definition, formats[i]) != NULL;
    return known;
}

static void sift(OSSL_ALGORITHM *to, const OSSL_ALGORITHM *from, int operation,
                 const char *const *names)
{
    unsigned n = 0;

    for (; from != NULL && from->algorithm_names != NULL; from++)
        if (is_one_of(names, from->algorithm_names) && n < ROOM &&
            (operation != OSSL_OP_DECODER || is_decoder_of_tls(from)))
            to[n++] = *from;
    memset(&to[n], 0, sizeof(to[n]));
}

/* Where the functions of one that is left stand. */
static const OSSL_DISPATCH **functions_of(int operation, const char *name)
{
    const char *const list[] = { name, NULL };

    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        for (OSSL_ALGORITHM *a = sifted[i]; a->algorithm_names != NULL; a++)
            if (wanted[i].operation == operation && is_one_of(list, a->algorithm_names))
                return &a->implementation;
    return NULL;
}

/* Some are ours, under the default provider's names. */
static void replace(void)
{
    const OSSL_DISPATCH **schedule = functions_of(OSSL_OP_KDF, "TLS13-KDF");
    const OSSL_DISPATCH **keys = functions_of(OSSL_OP_KEYMGMT, "X25519");
    const OSSL_DISPATCH **exchange = functions_of(OSSL_OP_KEYEXCH, "X25519");

    if (schedule != NULL)
        *schedule = schedule_functions;
    if (keys != NULL && exchange != NULL)
        *keys = x25519_over(*keys, *exchange);
}

/* The default provider's tables are the same for all. Under ->lock. */
static void sift_once(OSSL_PROVIDER *whole)
{
    int no_cache;

    if (sifted[0][0].algorithm_names != NULL)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        sift(sifted[i], OSSL_PROVIDER_query_operation(whole, wanted[i].operation, &no_cache),
             wanted[i].operation, wanted[i].names);
    replace();
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
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        if (wanted[i].operation == operation)
            return sifted[i];
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
