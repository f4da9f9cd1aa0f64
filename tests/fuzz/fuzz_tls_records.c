/*
 * Records of TLS 1.3, ours against OpenSSL's: a stock peer speaks to a session of ours, and another
 * one, in the same way, to a stock OpenSSL. What the peers write is damaged on the wire, or not:
 * what both readers deliver, and whether they fail, must be the same; and what they write arrives.
 *
 * The first byte chooses who is the server, and the suite; then come operations.
 */
#include "dataplane/base/core.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/pki.h"
#include "tests/lib/pool.h"
#include "tls/inner.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WIRE_MAX                                                                                   \
    120000u            /* bytes that wait between a peer and its reader; and that are delivered    \
                        */
#define UPDATES_MAX 10 /* that we accept without data is less than what OpenSSL does */

static struct {
    struct tls_lib *lib;
    struct tls_ctx *client, *server;
    SSL_CTX *stock;
    unsigned suite;
} world;

static const char *const suites[] = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
};

static void require(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "not so: %s\n", what);
    abort();
}

/* The handshake is that of a key both know (RFC 8446, 2.2): no certificates, which cost most of it.
 */
static SSL_SESSION *known(SSL *ssl)
{
    static const uint8_t ids[][2] = { { 0x13, 1 }, { 0x13, 2 }, { 0x13, 3 } };
    static const uint8_t key[SCHEDULE_SECRET_MAX] = { 1 };
    SSL_SESSION *session = SSL_SESSION_new();

    SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, ids[world.suite]));
    SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION);
    SSL_SESSION_set1_master_key(session, key, world.suite == 1 ? 48 : 32);
    return session;
}

static int on_use(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *id_len,
                  SSL_SESSION **session)
{
    *id = (const unsigned char *)"known";
    *id_len = 5;
    *session = known(ssl);
    return 1;
}

static int on_find(SSL *ssl, const unsigned char *id, size_t id_len, SSL_SESSION **session)
{
    *session = known(ssl);
    return 1;
}

static void know(SSL_CTX *ctx)
{
    SSL_CTX_set_psk_use_session_callback(ctx, on_use);
    SSL_CTX_set_psk_find_session_callback(ctx, on_find);
}

static struct tls_ctx *make_ctx(const struct test_pki *pki, bool is_server)
{
    const struct tls_conf conf = { .mode = TLS_MODE_SIMPLE,
                                   .max_version = TLS_VERSION_1_3,
                                   .sni = is_server ? NULL : "server.example.com" };
    struct cfg_err err = { "" };

    return tls_ctx_new(world.lib,
                       &(struct tls_ctx_conf){ .name = "x",
                                               .is_server = is_server,
                                               .conf = &conf,
                                               .secret = is_server ? pki->server : NULL,
                                               .trust = pki->client },
                       &err);
}

static void make_world(void)
{
    struct test_pki pki;

    test_pki_init(&pki);
    world.lib = tls_lib_new();
    world.client = make_ctx(&pki, false);
    world.server = make_ctx(&pki, true);
    require(world.client != NULL && world.server != NULL, "contexts");
    world.stock = SSL_CTX_new(TLS_method());
    know(world.stock);
    know(world.client->base->ssl);
    know(world.server->base->ssl);
    world.client->who->policy.demands_cert = false;
    test_pki_fini(&pki);
}

/* --- one end of a connection: ours, or a stock OpenSSL --- */

struct end {
    struct tls_session *ours; /* or: */
    SSL *ssl;
    struct core *core;
    struct pktq in, out, plain;
    uint8_t *got; /* what was delivered */
    size_t n_got;
    bool is_closed, has_failed;
};

static void end_init(struct end *e, struct core *core, bool is_ours, bool is_server,
                     const char *suite)
{
    *e = (struct end){ .core = core, .got = malloc(WIRE_MAX) };
    pktq_init(&e->in);
    pktq_init(&e->out);
    pktq_init(&e->plain);
    if (is_ours) {
        e->ours = tls_session_new(is_server ? world.server : world.client, core, 1400);
        if (!is_server)
            tls_connect(e->ours, &e->out);
        return;
    }
    e->ssl = SSL_new(world.stock);
    SSL_set_ciphersuites(e->ssl, suite);
    SSL_set_bio(e->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    if (is_server)
        SSL_set_accept_state(e->ssl);
    else
        SSL_set_connect_state(e->ssl);
    SSL_do_handshake(e->ssl);
}

static void end_fini(struct end *e)
{
    tls_session_free(e->ours);
    SSL_free(e->ssl);
    pktq_clear(&e->in);
    pktq_clear(&e->out);
    pktq_clear(&e->plain);
    free(e->got);
}

static void keep(struct end *e, const void *bytes, size_t n)
{
    require(e->n_got + n <= WIRE_MAX, "no more is delivered than was written");
    memcpy(e->got + e->n_got, bytes, n);
    e->n_got += n;
}

static void read_ours(struct end *e)
{
    struct pkt *p;

    while (tls_read_pending(e->ours, &e->in))
        tls_read(e->ours, &e->in, &e->plain, e->plain.bytes + 3000, &e->out);
    while ((p = pktq_pop(&e->plain)) != NULL) {
        keep(e, p->data, p->len);
        pkt_free(p);
    }
    e->is_closed = tls_state(e->ours) == TLS_CLOSED;
    e->has_failed = tls_state(e->ours) == TLS_FAILED;
    require(e->has_failed == (tls_error(e->ours)[0] != '\0'), "a failure has a reason");
}

static void read_stock(struct end *e)
{
    uint8_t bytes[4096];
    int n, why;

    ERR_clear_error();
    while ((n = SSL_read(e->ssl, bytes, sizeof(bytes))) > 0)
        keep(e, bytes, (size_t)n);
    why = SSL_get_error(e->ssl, n);
    e->is_closed = why == SSL_ERROR_ZERO_RETURN;
    e->has_failed = !e->is_closed && why != SSL_ERROR_WANT_READ;
}

/* @bytes have come. Ours come in packets of at most @seg bytes. */
static void end_feed(struct end *e, const uint8_t *bytes, size_t n, uint32_t seg)
{
    if (e->has_failed)
        return;
    if (e->ours != NULL) {
        pktq_append(&e->in, e->core->pool, bytes, n, seg);
        read_ours(e);
    } else {
        BIO_write(SSL_get_rbio(e->ssl), bytes, (int)n);
        read_stock(e);
    }
}

/* Ours in packets of @seg bytes; @large: as if much had been written before. */
static void end_write(struct end *e, const uint8_t *bytes, size_t n, uint32_t seg, bool large)
{
    struct pktq plain;

    if (e->ours == NULL) {
        ERR_clear_error();
        require(SSL_write(e->ssl, bytes, (int)n) == (int)n, "OpenSSL writes");
        return;
    }
    pktq_init(&plain);
    pktq_append(&plain, e->core->pool, bytes, n, seg);
    if (large && e->ours->keys != NULL)
        e->ours->keys->n_small = TLS_SMALL_BYTES;
    require(tls_write(e->ours, &plain, &e->out) != TLS_FAILED, "we write");
}

static void end_close(struct end *e)
{
    ERR_clear_error();
    if (e->ours != NULL)
        tls_close(e->ours, &e->out);
    else
        SSL_shutdown(e->ssl);
}

/* Takes what it wants to send. */
static size_t end_take(struct end *e, uint8_t *to, size_t max)
{
    size_t n;
    int got;

    if (e->ours == NULL) {
        got = BIO_read(SSL_get_wbio(e->ssl), to, (int)max);
        return got > 0 ? (size_t)got : 0;
    }
    for (const struct pkt *p = e->out.head; p != NULL; p = p->next)
        require(p->len <= 1400, "nothing is longer than a segment");
    n = pktq_peek(&e->out, to, max);
    pktq_consume(&e->out, n);
    return n;
}

/* --- a peer, a wire, a reader --- */

struct pair {
    struct end peer, reader;
    uint8_t *wire; /* from the peer to the reader */
    size_t n_wire;
};

/* What the reader says reaches the peer at once. */
static void answer(struct pair *p)
{
    uint8_t bytes[4096];
    size_t n;

    while ((n = end_take(&p->reader, bytes, sizeof(bytes))) > 0)
        end_feed(&p->peer, bytes, n, 1400);
    p->n_wire += end_take(&p->peer, p->wire + p->n_wire, WIRE_MAX - p->n_wire);
}

static void carry(struct pair *p, size_t n, uint32_t seg)
{
    n = MIN(n, p->n_wire);
    end_feed(&p->reader, p->wire, n, seg);
    memmove(p->wire, p->wire + n, p->n_wire - n);
    p->n_wire -= n;
    answer(p);
}

static void pair_init(struct pair *p, struct core *core, bool is_ours, bool serves,
                      const char *suite)
{
    end_init(&p->peer, core, false, !serves, suite);
    end_init(&p->reader, core, is_ours, serves, suite);
    p->wire = malloc(WIRE_MAX);
    p->n_wire = 0;
    do {
        answer(p);
        carry(p, p->n_wire, 1400);
    } while (p->n_wire > 0);
    require(SSL_is_init_finished(p->peer.ssl), "the peer's handshake");
    require(is_ours ? tls_state(p->reader.ours) == TLS_OPEN && p->reader.ours->ssl == NULL
                    : SSL_is_init_finished(p->reader.ssl) == 1,
            "the reader's handshake");
}

static void pair_fini(struct pair *p)
{
    end_fini(&p->peer);
    end_fini(&p->reader);
    free(p->wire);
}

/* --- operations, done to both --- */

struct run {
    struct pair pair[2];
    size_t n_written[2]; /* by peer, by reader */
    unsigned n_updates;
    bool peer_closed, reader_closed;
    bool has_moved; /* bytes of the wires, for one that was lost or came */
};

static const uint8_t *text(void)
{
    static uint8_t bytes[20000];

    for (size_t i = 0; bytes[1] == 0 && i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    return bytes;
}

static void op_write(struct run *r, bool by_peer, uint32_t n, uint32_t seg, bool large)
{
    n = 1 + n % 17000;
    if (r->n_written[!by_peer] + n > WIRE_MAX / 2 || (by_peer ? r->peer_closed : r->reader_closed))
        return;
    r->n_written[!by_peer] += n;
    r->n_updates = 0;
    for (unsigned i = 0; i < 2; i++) {
        end_write(by_peer ? &r->pair[i].peer : &r->pair[i].reader, text() + n % 1000, n, seg,
                  large);
        answer(&r->pair[i]);
    }
}

static void op_update(struct run *r, bool asks)
{
    if (r->n_updates++ >= UPDATES_MAX || r->peer_closed)
        return;
    for (unsigned i = 0; i < 2; i++) {
        SSL_key_update(r->pair[i].peer.ssl,
                       asks ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
        SSL_do_handshake(r->pair[i].peer.ssl);
        answer(&r->pair[i]);
    }
}

static void op_close(struct run *r, bool by_peer)
{
    *(by_peer ? &r->peer_closed : &r->reader_closed) = true;
    for (unsigned i = 0; i < 2; i++) {
        end_close(by_peer ? &r->pair[i].peer : &r->pair[i].reader);
        answer(&r->pair[i]);
    }
}

/*
 * What waits on the wire, bytes of another key apart, is the same on both: so is a place in it.
 * What stands there afterwards is another byte on both, too: one that is lost before its like, or
 * comes before it, at the end of a record does no damage, once in 256 times, on one of them. For
 * the same reason the last byte is not lost (one that comes later may be its like), and when bytes
 * have moved there is no more damage, which could mend it.
 */
static void op_damage(struct run *r, uint32_t at, uint8_t with, uint32_t how)
{
    const size_t n_wire = r->pair[0].n_wire;

    require(r->pair[1].n_wire == n_wire, "as much waits on both wires");
    if (r->has_moved || n_wire == 0 || n_wire + 64 > WIRE_MAX)
        return;
    at %= n_wire;
    if (at == n_wire - 1)
        how = 0;
    r->has_moved = how != 0;
    for (unsigned i = 0; i < 2; i++) {
        struct pair *p = &r->pair[i];
        uint8_t *place = p->wire + at;
        const uint8_t was = *place;

        if (how == 0) {
            *place ^= with;
        } else if (how == 1) { /* lost */
            memmove(place, place + 1, n_wire - at - 1);
            p->n_wire--;
        } else { /* come from nowhere */
            memmove(place + 1, place, n_wire - at);
            *place = with;
            p->n_wire++;
        }
        if (how != 0 && *place == was)
            *place ^= 1;
    }
}

static void op_insert(struct run *r, struct fuzz *f)
{
    uint8_t bytes[32];
    const uint32_t n = fuzz_bytes(f, bytes, fuzz_u8(f) % sizeof(bytes));

    for (unsigned i = 0; i < 2; i++) {
        struct pair *p = &r->pair[i];

        if (p->n_wire + n > WIRE_MAX)
            return;
        memcpy(p->wire + p->n_wire, bytes, n);
        p->n_wire += n;
    }
}

static void op(struct run *r, struct fuzz *f)
{
    const uint8_t what = fuzz_u8(f);
    const uint32_t n = fuzz_u16(f);

    switch (what % 12) {
    case 0:
    case 1:
        op_write(r, true, what & 0x10 ? n : n % 300, 1400, false);
        break;
    case 2:
        op_write(r, false, what & 0x10 ? n : n % 300, 1378 - (what >> 6) * 450u, what & 0x20);
        break;
    case 3:
    case 4:
    case 5:
        for (unsigned i = 0; i < 2; i++)
            carry(&r->pair[i], n, 1 + (what >> 4) * 90u);
        break;
    case 6:
        op_update(r, what & 0x10);
        break;
    case 7:
        for (unsigned i = 0; i < 2; i++)
            SSL_set_block_padding(r->pair[i].peer.ssl, n % 5000);
        break;
    case 8:
        op_damage(r, n, fuzz_u8(f), 0);
        break;
    case 9:
        op_damage(r, n, fuzz_u8(f), 1 + n % 2);
        break;
    case 10:
        op_insert(r, f);
        break;
    case 11:
        op_close(r, what & 0x10);
        break;
    }
}

static bool has_failed(const struct run *r)
{
    return r->pair[0].reader.has_failed || r->pair[1].reader.has_failed ||
           r->pair[0].peer.has_failed || r->pair[1].peer.has_failed;
}

/*
 * One may see earlier than the other that a record is bad, from its header alone: then more bytes
 * make both see it.
 */
static void compare(struct run *r)
{
    static const uint8_t more[SSL3_RT_MAX_ENCRYPTED_LENGTH + 1000];
    struct end *ours = &r->pair[0].reader, *stock = &r->pair[1].reader;

    for (unsigned i = 0; i < 2; i++)
        carry(&r->pair[i], r->pair[i].n_wire, 1400);
    if (ours->has_failed != stock->has_failed)
        for (unsigned i = 0; i < 2; i++)
            end_feed(&r->pair[i].reader, more, sizeof(more), 1400);
    require(ours->has_failed == stock->has_failed, "both readers fail, or none does");
    require(ours->is_closed == stock->is_closed, "both readers are closed, or none is");
    require(ours->n_got == stock->n_got, "both deliver as much");
    require(memcmp(ours->got, stock->got, ours->n_got) == 0, "both deliver the same");
    for (unsigned i = 0; i < 2; i++) {
        answer(&r->pair[i]);
        require(r->pair[i].peer.n_got == r->n_written[1], "what a reader writes arrives");
        if (!ours->has_failed)
            require(!r->pair[i].peer.has_failed, "no peer has a reason to fail");
    }
    require(memcmp(r->pair[0].peer.got, r->pair[1].peer.got, r->n_written[1]) == 0,
            "and it is the same");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz f = { bytes, len };
    struct core core = { .rng = 1 };
    const uint8_t first = fuzz_u8(&f);
    struct test_pool tp;
    struct run r = { .n_updates = 0 };

    if (world.lib == NULL)
        make_world();
    core.wall_us = (uint64_t)time(NULL) * 1000000; /* the certificates are of today */
    test_pool_init(&tp, 0);
    core.pool = &tp.pool;
    world.suite = (first >> 1) % 3;
    for (unsigned i = 0; i < 2; i++)
        pair_init(&r.pair[i], &core, i == 0, first & 1, suites[world.suite]);
    for (unsigned n = 0; f.len > 0 && n < 200 && !has_failed(&r); n++)
        op(&r, &f);
    compare(&r);
    for (unsigned i = 0; i < 2; i++)
        pair_fini(&r.pair[i]);
    test_pool_fini(&tp);
    return 0;
}
