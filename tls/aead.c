#include "tls/aead.h"

#include "dataplane/base/bytes.h"
#include "dataplane/base/compiler.h"
#include "dataplane/base/own.h"

#include <assert.h>
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

struct slot {
    struct gcm_key_data expanded;
    struct aead_key *owner; /* NULL: free */
    bool used;              /* since the hand came by */
};

struct aead {
    IMB_MGR *mb;
    struct slot *slots;
    uint32_t n_slots, hand;
    uint64_t n_expansions;

    /* Of the record between begin and end. */
    struct aead_key *key;
    struct gcm_key_data *expanded;
    union {
        struct gcm_context_data gcm;
        struct chacha20_poly1305_context_data chacha;
    } ctx;
};

struct aead *aead_new(uint32_t n_slots)
{
    struct aead *a = own_alloc(1, sizeof(*a));
    IMB_ARCH arch;

    assert(n_slots > 0 && n_slots <= UINT16_MAX);
    if (a == NULL)
        return NULL;
    a->n_slots = n_slots;
    /* Pages that no connection has needed yet are none. */
    a->slots = aligned_alloc(_Alignof(struct slot), n_slots * sizeof(struct slot));
    a->mb = alloc_mb_mgr(0);
    if (a->slots == NULL || a->mb == NULL) {
        aead_free(a);
        return NULL;
    }
    for (uint32_t i = 0; i < n_slots; i++)
        a->slots[i].owner = NULL;
    init_mb_mgr_auto(a->mb, &arch);
    if (imb_get_errno(a->mb) != 0) {
        aead_free(a);
        return NULL;
    }
    return a;
}

void aead_free(struct aead *a)
{
    if (a == NULL)
        return;
    for (uint32_t i = 0; a->slots != NULL && i < a->n_slots; i++)
        assert(a->slots[i].owner == NULL);
    free(a->slots);
    if (a->mb != NULL)
        free_mb_mgr(a->mb);
    OPENSSL_cleanse(&a->ctx, sizeof(a->ctx));
    free(a);
}

uint32_t aead_key_len(enum aead_kind kind)
{
    return kind == AEAD_AES_128_GCM ? 16 : 32;
}

void aead_key_set(struct aead_key *k, enum aead_kind kind, const uint8_t *key, const uint8_t *iv)
{
    assert(k->slot == 0);
    memcpy(k->key, key, aead_key_len(kind));
    memcpy(k->iv, iv, AEAD_IV);
    k->kind = (uint8_t)kind;
}

static void vacate(struct slot *s)
{
    OPENSSL_cleanse(&s->expanded, sizeof(s->expanded));
    s->owner->slot = 0;
    s->owner = NULL;
}

void aead_key_drop(struct aead *a, struct aead_key *k)
{
    if (k->slot != 0)
        vacate(&a->slots[k->slot - 1]);
    OPENSSL_cleanse(k, sizeof(*k));
}

/* A slot that nobody has used since the hand was here last. */
static struct slot *take_slot(struct aead *a)
{
    for (;;) {
        struct slot *s = &a->slots[a->hand];

        a->hand = a->hand + 1 < a->n_slots ? a->hand + 1 : 0;
        if (s->owner == NULL)
            return s;
        if (!s->used) {
            vacate(s);
            return s;
        }
        s->used = false;
    }
}

static struct gcm_key_data *expand(struct aead *a, struct aead_key *k)
{
    struct slot *s;

    if (likely(k->slot != 0)) {
        s = &a->slots[k->slot - 1];
        s->used = true;
        return &s->expanded;
    }
    s = take_slot(a);
    a->n_expansions++;
    s->owner = k;
    s->used = true;
    k->slot = (uint16_t)(s - a->slots + 1);
    if (k->kind == AEAD_AES_128_GCM)
        IMB_AES128_GCM_PRE(a->mb, k->key, &s->expanded);
    else
        IMB_AES256_GCM_PRE(a->mb, k->key, &s->expanded);
    return &s->expanded;
}

void aead_begin(struct aead *a, struct aead_key *k, uint64_t seq, const uint8_t *aad,
                size_t aad_len)
{
    uint8_t nonce[AEAD_IV];

    memcpy(nonce, k->iv, AEAD_IV);
    put32(nonce + 4, get32(nonce + 4) ^ (uint32_t)(seq >> 32));
    put32(nonce + 8, get32(nonce + 8) ^ (uint32_t)seq);
    a->key = k;
    switch ((enum aead_kind)k->kind) {
    case AEAD_AES_128_GCM:
        a->expanded = expand(a, k);
        IMB_AES128_GCM_INIT(a->mb, a->expanded, &a->ctx.gcm, nonce, aad, aad_len);
        return;
    case AEAD_AES_256_GCM:
        a->expanded = expand(a, k);
        IMB_AES256_GCM_INIT(a->mb, a->expanded, &a->ctx.gcm, nonce, aad, aad_len);
        return;
    case AEAD_CHACHA20_POLY1305:
        IMB_CHACHA20_POLY1305_INIT(a->mb, k->key, &a->ctx.chacha, nonce, aad, aad_len);
        return;
    }
}

void aead_seal(struct aead *a, uint8_t *to, const uint8_t *from, size_t len)
{
    if (len == 0)
        return;
    switch ((enum aead_kind)a->key->kind) {
    case AEAD_AES_128_GCM:
        IMB_AES128_GCM_ENC_UPDATE(a->mb, a->expanded, &a->ctx.gcm, to, from, len);
        return;
    case AEAD_AES_256_GCM:
        IMB_AES256_GCM_ENC_UPDATE(a->mb, a->expanded, &a->ctx.gcm, to, from, len);
        return;
    case AEAD_CHACHA20_POLY1305:
        IMB_CHACHA20_POLY1305_ENC_UPDATE(a->mb, a->key->key, &a->ctx.chacha, to, from, len);
        return;
    }
}

void aead_open(struct aead *a, uint8_t *to, const uint8_t *from, size_t len)
{
    if (len == 0)
        return;
    switch ((enum aead_kind)a->key->kind) {
    case AEAD_AES_128_GCM:
        IMB_AES128_GCM_DEC_UPDATE(a->mb, a->expanded, &a->ctx.gcm, to, from, len);
        return;
    case AEAD_AES_256_GCM:
        IMB_AES256_GCM_DEC_UPDATE(a->mb, a->expanded, &a->ctx.gcm, to, from, len);
        return;
    case AEAD_CHACHA20_POLY1305:
        IMB_CHACHA20_POLY1305_DEC_UPDATE(a->mb, a->key->key, &a->ctx.chacha, to, from, len);
        return;
    }
}

void aead_end(struct aead *a, uint8_t tag[AEAD_TAG])
{
    switch ((enum aead_kind)a->key->kind) {
    case AEAD_AES_128_GCM: /* the same for both directions: the tag is over the ciphertext */
        IMB_AES128_GCM_ENC_FINALIZE(a->mb, a->expanded, &a->ctx.gcm, tag, AEAD_TAG);
        return;
    case AEAD_AES_256_GCM:
        IMB_AES256_GCM_ENC_FINALIZE(a->mb, a->expanded, &a->ctx.gcm, tag, AEAD_TAG);
        return;
    case AEAD_CHACHA20_POLY1305:
        IMB_CHACHA20_POLY1305_ENC_FINALIZE(a->mb, &a->ctx.chacha, tag, AEAD_TAG);
        return;
    }
}

bool aead_tag_eq(const uint8_t a[AEAD_TAG], const uint8_t b[AEAD_TAG])
{
    return CRYPTO_memcmp(a, b, AEAD_TAG) == 0;
}

uint64_t aead_expansions(const struct aead *a)
{
    return a->n_expansions;
}
