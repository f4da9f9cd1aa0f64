#include "tls/ticket.h"

#include "dataplane/base/log.h"
#include "dataplane/base/own.h"
#include "tls/inner.h"

#include <openssl/core_names.h>
#include <stdlib.h>
#include <sys/random.h>

#define N_READERS 32 /* libraries beyond share them */
#define N_SLOTS 4    /* current, what it replaced, and room for readers that are slow */

struct ticket_key {
    unsigned char name[TICKET_NAME_LEN];
    unsigned char aes[32];
    unsigned char hmac[32];
};

/* How many are at a set. By worker, each of which has a library of its own. */
struct readers {
    CACHE_ALIGNED _Atomic uint32_t n;
};
_Static_assert(sizeof(struct readers) == CACHE_LINE, "no line is written by two threads");

struct key_set {
    struct readers readers[N_READERS];
    uint32_t n; /* keys: the newest first */
    struct ticket_key keys[2];
};

struct tls_tickets {
    _Atomic uint32_t current;
    struct key_set slots[N_SLOTS];
};

static bool random_bytes(void *to, size_t len)
{
    return getrandom(to, len, 0) == (ssize_t)len; /* up to 256 bytes always come whole */
}

static void clear(struct key_set *set)
{
    OPENSSL_cleanse(set->keys, sizeof(set->keys));
    set->n = 0;
}

struct tls_tickets *tls_tickets_new(void)
{
    struct tls_tickets *t = own_alloc(1, sizeof(*t));

    if (t == NULL)
        return NULL;
    if (!random_bytes(&t->slots[0].keys[0], sizeof(t->slots[0].keys[0]))) {
        free(t);
        return NULL;
    }
    t->slots[0].n = 1;
    return t;
}

void tls_tickets_free(struct tls_tickets *t)
{
    if (t == NULL)
        return;
    for (unsigned i = 0; i < N_SLOTS; i++)
        clear(&t->slots[i]);
    free(t);
}

/* Sequentially consistent, as in keys_get(): either we see the reader, or it sees us. */
static bool has_readers(const struct key_set *set)
{
    for (unsigned i = 0; i < N_READERS; i++)
        if (atomic_load(&set->readers[i].n) != 0)
            return true;
    return false;
}

/* A slot that is not current and has no reader: its bytes are the control thread's. */
static struct key_set *idle_slot(struct tls_tickets *t, uint32_t current)
{
    struct key_set *found = NULL;

    for (uint32_t i = 0; i < N_SLOTS; i++) {
        if (i == current || has_readers(&t->slots[i]))
            continue;
        clear(&t->slots[i]);
        found = &t->slots[i];
    }
    return found;
}

void tls_tickets_rotate(struct tls_tickets *t)
{
    uint32_t current = atomic_load_explicit(&t->current, memory_order_relaxed);
    const struct key_set *old = &t->slots[current];
    struct key_set *set = idle_slot(t, current);

    if (set == NULL || !random_bytes(&set->keys[0], sizeof(set->keys[0]))) {
        log_error("tls", "session tickets: no new key; the old one stays");
        return;
    }
    set->keys[1] = old->keys[0];
    set->n = 2;
    atomic_store(&t->current, (uint32_t)(set - t->slots)); /* pairs with keys_get() */
    idle_slot(t, (uint32_t)(set - t->slots));
}

static _Atomic uint32_t *readers_of(struct key_set *set, const struct tls_lib *lib)
{
    return &set->readers[lib->number % N_READERS].n;
}

static struct key_set *keys_get(struct tls_tickets *t, const struct tls_lib *lib)
{
    for (;;) {
        uint32_t i = atomic_load(&t->current);

        atomic_fetch_add(readers_of(&t->slots[i], lib), 1);
        if (likely(atomic_load(&t->current) == i))
            return &t->slots[i];
        /* Rotated in between, which happens every few hours: the next try finds the new one. */
        atomic_fetch_sub(readers_of(&t->slots[i], lib), 1);
    }
}

static void keys_put(struct key_set *set, const struct tls_lib *lib)
{
    atomic_fetch_sub_explicit(readers_of(set, lib), 1, memory_order_release);
}

static bool start_mac(EVP_MAC_CTX *mac, struct ticket_key *key)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof(key->hmac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){ "SHA256" }, 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int seal(const struct tls_lib *lib, struct ticket_key *key, unsigned char *name,
                unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    if (RAND_bytes_ex(lib->provider.libctx, iv, TICKET_IV_LEN, 0) != 1 ||
        EVP_EncryptInit_ex(cipher, lib->ticket_cipher, NULL, key->aes, iv) != 1 ||
        !start_mac(mac, key))
        return -1;
    memcpy(name, key->name, sizeof(key->name));
    return 1;
}

static int open_with(const struct tls_lib *lib, struct key_set *set, const unsigned char *name,
                     const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    for (uint32_t i = 0; i < set->n; i++) {
        struct ticket_key *key = &set->keys[i];

        if (memcmp(name, key->name, sizeof(key->name)) != 0)
            continue;
        if (EVP_DecryptInit_ex(cipher, lib->ticket_cipher, NULL, key->aes, iv) != 1 ||
            !start_mac(mac, key))
            return -1;
        return i == 0 ? 1 : 2; /* 2: good, and to be replaced by one of the newest key */
    }
    return 0; /* unknown: a full handshake */
}

int tickets_callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int is_sealing)
{
    const struct tls_session *s = SSL_get_app_data(ssl);
    const struct tls_lib *lib = s->ctx->lib;
    struct key_set *set = keys_get(s->ctx->base->tickets, lib);
    int rc;

    if (is_sealing)
        rc = seal(lib, &set->keys[0], name, iv, cipher, mac);
    else
        rc = open_with(lib, set, name, iv, cipher, mac);
    keys_put(set, lib);
    return rc;
}
