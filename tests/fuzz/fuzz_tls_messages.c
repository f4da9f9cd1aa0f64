/*
 * Any contents of sealed records to a session whose records are ours, and any bytes between them:
 * the keys are known, so that what is inside is read. No handshake: the session is made as the end
 * of one leaves it. What it answers goes to its peer, another session of ours, which must
 * understand it.
 *
 * The first byte chooses role and suite, the second how packets are cut, and which packet cannot be
 * had; then come records.
 */
#include "dataplane/base/bytes.h"
#include "dataplane/base/core.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/pki.h"
#include "tests/lib/pool.h"
#include "tls/inner.h"

#include <stdio.h>
#include <stdlib.h>

#define INNER_MAX 20000u
#define TOTAL_MAX 100000u

static struct {
    struct tls_lib *lib;
    struct tls_ctx *ctx[2]; /* of a client, of a server */
} world;

static void require(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "not so: %s\n", what);
    abort();
}

static void make_world(void)
{
    struct test_pki pki;

    test_pki_init(&pki);
    world.lib = tls_lib_new();
    for (unsigned i = 0; i < 2; i++) {
        const struct tls_conf conf = { .mode = TLS_MODE_SIMPLE,
                                       .max_version = TLS_VERSION_1_3,
                                       .sni = i == 1 ? NULL : "server.example.com" };
        struct cfg_err err = { "" };

        world.ctx[i] = tls_ctx_new(world.lib,
                                   &(struct tls_ctx_conf){ .name = "x",
                                                           .is_server = i == 1,
                                                           .conf = &conf,
                                                           .secret = i == 1 ? pki.server : NULL,
                                                           .trust = pki.client },
                                   &err);
        require(world.ctx[i] != NULL, "contexts");
    }
    test_pki_fini(&pki);
}

static void half_init(struct tls_half *h, enum aead_kind kind, uint8_t seed)
{
    uint8_t key[AEAD_KEY_MAX], iv[AEAD_IV];

    memset(key, seed, sizeof(key));
    memset(iv, seed + 1, sizeof(iv));
    h->secret_len = kind == AEAD_AES_256_GCM ? 48 : 32;
    memset(h->secret, seed + 2, h->secret_len);
    aead_key_set(&h->key, kind, key, iv);
}

static struct tls_session *open_session(struct core *core, bool is_server, enum aead_kind kind)
{
    struct tls_session *s = tls_session_new(world.ctx[is_server], core, 1400);

    SSL_free(s->ssl);
    s->ssl = NULL;
    s->state = TLS_OPEN;
    s->keys = calloc(1, sizeof(*s->keys));
    half_init(&s->keys->rx, kind, is_server ? 10 : 20);
    half_init(&s->keys->tx, kind, is_server ? 20 : 10);
    return s;
}

struct run {
    struct test_pool tp;
    struct core core;
    struct tls_session *s, *peer;
    struct pktq in, out, plain;
    uint8_t *data; /* of all records of data, in turn */
    size_t n_data, n_got;
    bool lacks;  /* a packet cannot be had */
    bool shares; /* somebody else holds what has come */
    struct fuzz f;
};

/* A packet for every part, however short. */
static void come(struct run *r, const uint8_t *bytes, size_t len, uint32_t part)
{
    const uint32_t fail_at = r->tp.fail_at;

    r->tp.fail_at = 0;
    for (size_t at = 0; at < len; at += part) {
        const size_t n = MIN(len - at, part);
        struct pkt *p = test_pkt(&r->tp, bytes + at, n);

        pktq_push(&r->in, p);
    }
    r->tp.fail_at = fail_at;
}

/* Seals @len bytes, inner type and padding among them. */
static void come_sealed(struct run *r, const uint8_t *inner, uint32_t len, uint32_t part)
{
    static uint8_t wire[5 + INNER_MAX + AEAD_TAG];
    const struct tls_half *rx = &r->s->keys->rx;
    struct aead_key key = { 0 };

    wire[0] = SSL3_RT_APPLICATION_DATA;
    put16(wire + 1, TLS1_2_VERSION);
    put16(wire + 3, (uint16_t)(len + AEAD_TAG));
    aead_key_set(&key, (enum aead_kind)rx->key.kind, rx->key.key, rx->key.iv);
    aead_begin(world.lib->aead, &key, rx->seq, wire, 5);
    aead_seal(world.lib->aead, wire + 5, inner, len);
    aead_end(world.lib->aead, wire + 5 + len);
    aead_key_drop(world.lib->aead, &key);
    come(r, wire, 5 + len + AEAD_TAG, part);
}

/* What is read is the data that was sealed, in its order. */
static void check_plain(struct run *r)
{
    struct pkt *p;

    while ((p = pktq_pop(&r->plain)) != NULL) {
        require(p->len > 0, "no empty packets are delivered");
        require(r->n_got + p->len <= r->n_data, "no more is delivered than has come");
        require(memcmp(r->data + r->n_got, p->data, p->len) == 0, "it is what has come");
        r->n_got += p->len;
        pkt_free(p);
    }
}

/* The peer understands every answer. */
static void check_out(struct run *r)
{
    const uint32_t fail_at = r->tp.fail_at;

    r->tp.fail_at = 0;
    while (tls_read_pending(r->peer, &r->out) && tls_state(r->peer) == TLS_OPEN)
        tls_read(r->peer, &r->out, &r->plain, 1, &r->plain);
    r->tp.fail_at = fail_at;
    require(pktq_is_empty(&r->plain), "an answer is no data");
    require(pktq_is_empty(&r->out), "an answer is a whole record");
    if (tls_state(r->peer) == TLS_FAILED)
        require(tls_state(r->s) == TLS_FAILED && tls_counters(world.lib)->alerts > 0 &&
                    strstr(tls_error(r->peer), "the peer sent the alert") != NULL,
                "the peer fails for an alert only");
}

static void read_all(struct run *r)
{
    struct pkt *held[512];
    unsigned n = 0;

    for (struct pkt *p = r->in.head; r->shares && p != NULL && n < ARRAY_SIZE(held); p = p->next) {
        (*p->refs)++;
        held[n++] = p;
    }
    while (tls_read_pending(r->s, &r->in) && tls_state(r->s) == TLS_OPEN)
        tls_read(r->s, &r->in, &r->plain, r->plain.bytes + 1, &r->out);
    check_plain(r);
    check_out(r);
    while (n > 0)
        pkt_free(held[--n]);
    require((tls_state(r->s) == TLS_FAILED) == (tls_error(r->s)[0] != '\0'),
            "a failure has a reason");
}

/* Where the inner type would be, if there is one. */
static uint32_t type_at(const uint8_t *inner, uint32_t len)
{
    while (len > 0 && inner[len - 1] == 0)
        len--;
    return len;
}

enum verdict {
    ANYTHING, /* it depends on what was before */
    GOES_ON,
    CLOSES,
    FAILS,
};

/* What a record with @len bytes of content must do, where that is plain. */
static enum verdict judge(uint8_t type, const uint8_t *content, uint32_t len)
{
    if (type == 23)
        return len > 0 ? GOES_ON : ANYTHING;
    if (type == 21 && len == 2 && content[1] != SSL_AD_USER_CANCELLED)
        return content[1] == SSL_AD_CLOSE_NOTIFY ? CLOSES : FAILS;
    if (type == 22 && len == 5 && memcmp(content, "\x18\0\0\1", 4) == 0)
        return content[4] <= 1 ? ANYTHING : FAILS; /* there may have been too many */
    if (type == 22 && len > 0)
        return ANYTHING;
    return type == 21 && len == 2 ? ANYTHING : FAILS;
}

static enum verdict verdict(const struct run *r, const uint8_t *inner, uint32_t len, uint32_t end)
{
    if (r->in.bytes > 0 || r->lacks || r->s->keys->n_msg > 0 || r->s->keys->msg_skip > 0)
        return ANYTHING;
    if (len > SSL3_RT_MAX_PLAIN_LENGTH + 1 || end == 0)
        return FAILS;
    return judge(inner[end - 1], inner, end - 1);
}

static void check_verdict(const struct run *r, enum verdict v)
{
    const enum tls_state state = tls_state(r->s);

    require(v != GOES_ON || (state == TLS_OPEN && r->n_got == r->n_data), "data is delivered");
    require(v != CLOSES || state == TLS_CLOSED, "close_notify closes");
    require(v != FAILS || state == TLS_FAILED, "what may not be is refused");
}

static enum verdict sealed(struct run *r, uint8_t how)
{
    enum verdict v;
    static uint8_t inner[INNER_MAX];
    const uint32_t want = how & 0x20 ? fuzz_u16(&r->f) % INNER_MAX : fuzz_u8(&r->f);
    static const uint8_t types[] = { 22, 22, 22, 23, 21, 0, 20, 24 };
    uint32_t len = fuzz_bytes(&r->f, inner, want), end;

    if (how & 0x20 && len < want) { /* more than an input has */
        memset(inner + len, how, want - len);
        len = want;
    }
    if (how & 0x10 && len + 1 < INNER_MAX)
        inner[len++] = types[how & 7];
    end = type_at(inner, len);
    v = verdict(r, inner, len, end);
    if (len <= SSL3_RT_MAX_PLAIN_LENGTH + 1 && end > 0 && inner[end - 1] == 23 &&
        r->n_data + end <= TOTAL_MAX) {
        memcpy(r->data + r->n_data, inner, end - 1);
        r->n_data += end - 1;
    } else if (len <= SSL3_RT_MAX_PLAIN_LENGTH + 1 && end > 0 && inner[end - 1] == 23) {
        return ANYTHING; /* it is enough */
    }
    come_sealed(r, inner, len, how & 0x40 ? 1 + (how & 7) * 100 : 2048);
    return v;
}

static void raw(struct run *r)
{
    uint8_t bytes[256];

    come(r, bytes, fuzz_bytes(&r->f, bytes, fuzz_u8(&r->f)), 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct run r = { .f = { bytes, len } };
    const uint8_t first = fuzz_u8(&r.f), second = fuzz_u8(&r.f);

    if (world.lib == NULL)
        make_world();
    test_pool_init(&r.tp, 0);
    r.core = (struct core){ .pool = &r.tp.pool, .rng = 1 };
    r.data = malloc(TOTAL_MAX);
    r.shares = first & 8;
    r.lacks = second != 0;
    pktq_init(&r.in);
    pktq_init(&r.out);
    pktq_init(&r.plain);
    r.s = open_session(&r.core, first & 1, (enum aead_kind)((first >> 1 & 3) % 3));
    r.peer = open_session(&r.core, !(first & 1), (enum aead_kind)((first >> 1 & 3) % 3));
    r.tp.fail_at = second;
    for (unsigned n = 0; r.f.len > 0 && n < 200 && tls_state(r.s) == TLS_OPEN; n++) {
        const uint8_t how = fuzz_u8(&r.f);
        enum verdict v = ANYTHING;

        if (how & 0x80)
            raw(&r);
        else
            v = sealed(&r, how);
        read_all(&r);
        check_verdict(&r, v);
    }
    require(tls_state(r.s) != TLS_OPEN || r.in.bytes > 0 || r.n_got == r.n_data,
            "all data is delivered");
    tls_session_free(r.s);
    tls_session_free(r.peer);
    pktq_clear(&r.in);
    free(r.data);
    test_pool_fini(&r.tp);
    return 0;
}
