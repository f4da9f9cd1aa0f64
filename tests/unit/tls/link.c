#include "tests/unit/tls/link.h"

#include <sched.h>
#include <stdlib.h>

static void side_init(struct side *s)
{
    s->lib = tls_lib_new();
    assert_non_null(s->lib);
    pktq_init(&s->in);
    pktq_init(&s->out);
    pktq_init(&s->plain);
}

static void side_clear(struct side *s)
{
    tls_session_free(s->session);
    s->session = NULL;
    pktq_clear(&s->in);
    pktq_clear(&s->out);
    pktq_clear(&s->plain);
}

/* --- the helper --- */

static void nothing(void *unused)
{
}

static void *help(void *arg)
{
    struct link *l = arg;

    while (!l->helper_stops) {
        const bool client = tls_desk_work(l->client.desk), server = tls_desk_work(l->server.desk);

        if (!client && !server)
            sched_yield();
    }
    return NULL;
}

static void side_use_desk(struct side *s)
{
    s->desk = tls_desk_new(&(struct tls_desk_conf){ .on_asked = nothing, .on_answered = nothing });
    assert_non_null(s->desk);
    tls_lib_use_desk(s->lib, s->desk);
}

void link_use_desks(struct link *l)
{
    side_use_desk(&l->client);
    side_use_desk(&l->server);
}

static void helper_start(struct link *l)
{
    link_use_desks(l);
    assert_int_equal(pthread_create(&l->helper, NULL, help, l), 0);
    l->has_helper = true;
}

static void side_clear_desk(struct link *l, struct side *s)
{
    while (!l->has_helper && tls_desk_work(s->desk))
        ;
    tls_lib_settle(s->lib);
}

static void helper_stop(struct link *l)
{
    if (l->client.desk == NULL)
        return;
    side_clear_desk(l, &l->client);
    side_clear_desk(l, &l->server);
    if (l->has_helper) {
        l->helper_stops = true;
        pthread_join(l->helper, NULL);
    }
    tls_desk_free(l->client.desk);
    tls_desk_free(l->server.desk);
}

/* Is it worth while to look again? */
static bool is_helped(struct link *l, struct side *s)
{
    const bool waits = tls_lib_n_asked(s->lib) > 0;

    return tls_lib_answered(s->lib) != NULL || (waits && l->has_helper);
}

void link_init(struct link *l, uint64_t seed)
{
    *l = (struct link){ .max_part = 700 };
    test_pool_init(&l->tp, 0);
    l->core.pool = &l->tp.pool;
    l->core.wall_us = (uint64_t)time(NULL) * 1000000;
    l->core.rng = seed * 2 + 1;
    side_init(&l->client);
    side_init(&l->server);
    if (getenv("ISTHMUS_HELPER") != NULL)
        helper_start(l);
}

void link_disconnect(struct link *l)
{
    side_clear(&l->client);
    side_clear(&l->server);
    if (l->raw != NULL) /* else OpenSSL thinks little of its session, and never resumes it */
        SSL_set_shutdown(l->raw, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(l->raw);
    l->raw = NULL;
}

void link_fini(struct link *l)
{
    link_disconnect(l);
    helper_stop(l);
    assert_int_equal(tls_n_sessions(l->client.lib), 0);
    assert_int_equal(tls_n_sessions(l->server.lib), 0);
    tls_ctx_put(l->client.ctx);
    tls_ctx_put(l->server.ctx);
    tls_lib_free(l->client.lib);
    tls_lib_free(l->server.lib);
    test_pool_fini(&l->tp);
}

struct tls_ctx *make_ctx(struct side *side, const struct tls_ctx_conf *conf)
{
    struct cfg_err err = { "" };

    tls_ctx_put(side->ctx);
    side->ctx = tls_ctx_new(side->lib, conf, &err);
    if (side->ctx == NULL)
        fail_msg("%s", err.text);
    return side->ctx;
}

void link_connect(struct link *l)
{
    link_disconnect(l);
    l->client.session = tls_session_new(l->client.ctx, &l->core, SEG);
    l->server.session = tls_session_new(l->server.ctx, &l->core, SEG);
    assert_non_null(l->client.session);
    assert_non_null(l->server.session);
    tls_connect(l->client.session, &l->client.out);
}

static void raw_new(struct link *l, SSL_CTX *ctx, bool is_server)
{
    l->raw = SSL_new(ctx);
    l->raw_is_server = is_server;
    l->raw_in = BIO_new(BIO_s_mem());
    l->raw_out = BIO_new(BIO_s_mem());
    SSL_set_bio(l->raw, l->raw_in, l->raw_out);
}

void link_connect_raw(struct link *l, SSL_CTX *ctx, SSL_SESSION *session)
{
    link_disconnect(l);
    l->server.session = tls_session_new(l->server.ctx, &l->core, SEG);
    raw_new(l, ctx, false);
    SSL_set_connect_state(l->raw);
    if (session != NULL)
        assert_int_equal(SSL_set_session(l->raw, session), 1);
    SSL_do_handshake(l->raw);
}

void link_connect_raw_server(struct link *l, SSL_CTX *ctx)
{
    link_disconnect(l);
    l->client.session = tls_session_new(l->client.ctx, &l->core, SEG);
    raw_new(l, ctx, true);
    SSL_set_accept_state(l->raw);
    tls_connect(l->client.session, &l->client.out);
}

/* Moves 1 to max_part bytes by copy, so that a pool without packets still delivers. */
static bool deliver(struct link *l, struct pktq *from, struct pktq *to)
{
    uint8_t bytes[4096];
    uint32_t max = l->tp.max, fail_at = l->tp.fail_at;
    uint64_t n;

    if (pktq_is_empty(from))
        return false;
    n = pktq_peek(from, bytes, 1 + core_random(&l->core) % MIN(l->max_part, sizeof(bytes)));
    pktq_consume(from, n);
    l->tp.max = l->tp.fail_at = 0;
    assert_true(pktq_append(to, &l->tp.pool, bytes, n, 1 + core_random(&l->core) % SEG));
    l->tp.max = max;
    l->tp.fail_at = fail_at;
    return true;
}

static bool read_side(struct link *l, struct side *s)
{
    const uint64_t before = s->in.bytes + s->plain.bytes, out = s->out.bytes;

    for (;;) {
        enum tls_state was = tls_state(s->session);
        uint64_t n = s->in.bytes;

        tls_read(s->session, &s->in, &s->plain, s->plain.bytes + 3000, &s->out);
        if (!tls_read_pending(s->session, &s->in) && s->in.bytes == n &&
            tls_state(s->session) == was)
            break;
    }
    return s->in.bytes + s->plain.bytes != before || s->out.bytes != out;
}

static bool run_raw(struct link *l)
{
    struct side *ours = l->raw_is_server ? &l->client : &l->server;
    struct side *theirs = l->raw_is_server ? &l->server : &l->client;
    uint8_t bytes[2000];
    uint32_t max = l->tp.max, fail_at = l->tp.fail_at;
    bool moved = false;
    uint64_t n;
    int got;

    while ((n = pktq_peek(&ours->out, bytes, sizeof(bytes))) > 0) {
        pktq_consume(&ours->out, n);
        BIO_write(l->raw_in, bytes, (int)n);
        moved = true;
    }
    if (!SSL_is_init_finished(l->raw))
        SSL_do_handshake(l->raw);
    l->tp.max = l->tp.fail_at = 0;
    while ((got = SSL_read(l->raw, bytes, sizeof(bytes))) > 0)
        pktq_append(&theirs->plain, &l->tp.pool, bytes, (size_t)got, SEG);
    while ((got = BIO_read(l->raw_out, bytes, sizeof(bytes))) > 0) {
        pktq_append(&theirs->out, &l->tp.pool, bytes, (size_t)got, SEG);
        moved = true;
    }
    l->tp.max = max;
    l->tp.fail_at = fail_at;
    return moved;
}

void link_run(struct link *l)
{
    bool moved = true;

    for (unsigned turns = 0; moved; turns++) {
        moved = l->raw != NULL && run_raw(l);
        assert_true(turns < 1000000);
        if (l->client.session != NULL)
            moved |= deliver(l, &l->server.out, &l->client.in);
        if (l->server.session != NULL)
            moved |= deliver(l, &l->client.out, &l->server.in);
        if (l->client.session != NULL)
            moved |= read_side(l, &l->client);
        if (l->server.session != NULL)
            moved |= read_side(l, &l->server);
        moved |= is_helped(l, &l->client);
        moved |= is_helped(l, &l->server);
    }
}

enum tls_state side_write(struct link *l, struct side *side, const void *bytes, size_t len)
{
    uint32_t max = l->tp.max, fail_at = l->tp.fail_at;
    struct pktq plain;

    pktq_init(&plain);
    l->tp.max = l->tp.fail_at = 0;
    pktq_append(&plain, &l->tp.pool, bytes, len, tls_plain_seg(side->session));
    l->tp.max = max;
    l->tp.fail_at = fail_at;
    return tls_write(side->session, &plain, &side->out);
}

struct tls_conf server_conf(void)
{
    return (struct tls_conf){
        .mode = TLS_MODE_MUTUAL,
        .min_version = TLS_VERSION_1_2,
        .max_version = TLS_VERSION_1_3,
        .trust_domain = "cluster.local",
        .session_tickets = true,
    };
}

struct tls_conf client_conf(void)
{
    return (struct tls_conf){
        .mode = TLS_MODE_MUTUAL,
        .min_version = TLS_VERSION_1_2,
        .max_version = TLS_VERSION_1_3,
        .sni = "server.example.com",
    };
}
