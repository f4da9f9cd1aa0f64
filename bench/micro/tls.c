/*
 * isthmus-micro-tls - what TLS costs one core, without a network: both ends of each connection
 *
 * usage: isthmus-micro-tls [--ops N] [NAME]
 *
 * A handshake's row is both sides together, then each of them; a record's is one sealed and one
 * opened. With "helped" the server's public-key operations are a helper's, and not in its part. The
 * first three public-key operations below are OpenSSL's alone: the floor of a handshake. --ops: N
 * of each, once, for a tool that counts instructions (tests/cost).
 */
#include "tests/lib/pki.h"
#include "tests/lib/pool.h"
#include "tls/helper.h"
#include "tls/memory.h"
#include "tls/session.h"
#include "tls/ticket.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SEG 1448
#define NOINLINE __attribute__((noinline))

static unsigned rounds = 5, ops; /* 0: as many as are usual */

static struct test_pool tp;
static struct core core;
static struct test_pki pki;

struct end {
    struct tls_lib *lib;
    struct tls_desk *desk; /* NULL: without a helper */
    struct tls_ctx *ctx;
    struct tls_session *session;
    double ns; /* of its work in a handshake */
};

static struct end client, server;

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void open_end(struct end *e, const struct tls_ctx_conf *conf)
{
    struct cfg_err err = { "" };

    e->lib = tls_lib_new();
    e->ctx = e->lib != NULL ? tls_ctx_new(e->lib, conf, &err) : NULL;
    if (e->ctx == NULL) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
}

/* @tickets: the server gives them; NULL: it gives none. @resumes: the client uses them. */
static void open_ends(bool mutual, struct tls_tickets *tickets, bool resumes)
{
    const enum tls_mode mode = mutual ? TLS_MODE_MUTUAL : TLS_MODE_SIMPLE;
    struct tls_conf s = { .mode = mode,
                          .session_tickets = tickets != NULL,
                          .trust_domain = "cluster.local",
                          .min_version = TLS_VERSION_1_3,
                          .max_version = TLS_VERSION_1_3 };
    struct tls_conf c = { .mode = TLS_MODE_MUTUAL,
                          .sni = "server.example.com",
                          .trust_domain = "cluster.local",
                          .min_version = TLS_VERSION_1_3,
                          .max_version = TLS_VERSION_1_3 };

    open_end(&server, &(struct tls_ctx_conf){ .name = "chain",
                                              .is_server = true,
                                              .conf = &s,
                                              .secret = pki.server,
                                              .trust = pki.server,
                                              .tickets = tickets });
    open_end(&client, &(struct tls_ctx_conf){ .name = "cluster",
                                              .conf = &c,
                                              .secret = pki.client,
                                              .trust = pki.client,
                                              .resumes = resumes });
}

static void close_end(struct end *e)
{
    tls_ctx_put(e->ctx);
    tls_lib_free(e->lib);
    tls_desk_free(e->desk);
    e->desk = NULL;
}

static void close_ends(void)
{
    close_end(&client);
    close_end(&server);
}

static void nobody_waits(void *unused)
{
}

static void open_desk(struct end *e)
{
    const struct tls_desk_conf conf = { .on_asked = nobody_waits, .on_answered = nobody_waits };

    e->desk = tls_desk_new(&conf);
    if (e->desk == NULL)
        abort();
    tls_lib_use_desk(e->lib, e->desk);
}

/* The helper's part, which is nobody's here. */
static void help(struct end *e)
{
    if (e->desk == NULL)
        return;
    while (tls_desk_work(e->desk))
        ;
    while (tls_lib_answered(e->lib) != NULL)
        ;
}

/*
 * --- one end's part of a handshake: a tool that counts by function (callgrind's
 * --toggle-collect=client_part* or server_part*) sees the two apart ---
 */

enum part { BEGIN, READ, END };

static void take_part(struct end *e, enum part part, struct pktq *in, struct pktq *out)
{
    struct pktq plain;

    switch (part) {
    case BEGIN:
        e->session = tls_session_new(e->ctx, &core, SEG);
        if (out != NULL)
            tls_connect(e->session, out);
        return;
    case READ:
        pktq_init(&plain);
        tls_read(e->session, in, &plain, UINT64_MAX, out);
        pktq_clear(&plain);
        return;
    case END:
        tls_session_free(e->session);
        return;
    }
}

static void NOINLINE client_part(enum part part, struct pktq *in, struct pktq *out)
{
    double start = now_ns();

    take_part(&client, part, in, out);
    client.ns += now_ns() - start;
}

static void NOINLINE server_part(enum part part, struct pktq *in, struct pktq *out)
{
    double start = now_ns();

    take_part(&server, part, in, out);
    server.ns += now_ns() - start;
}

static void shake_hands(void)
{
    struct pktq to_server, to_client;

    pktq_init(&to_server);
    pktq_init(&to_client);
    client_part(BEGIN, NULL, &to_server);
    server_part(BEGIN, NULL, NULL);
    for (;;) {
        help(&client);
        help(&server);
        if (!tls_read_pending(server.session, &to_server) &&
            !tls_read_pending(client.session, &to_client))
            break;
        server_part(READ, &to_server, &to_client);
        client_part(READ, &to_client, &to_server);
    }
    if (tls_state(client.session) != TLS_OPEN || tls_state(server.session) != TLS_OPEN) {
        fprintf(stderr, "no handshake: %s %s\n", tls_error(client.session),
                tls_error(server.session));
        exit(1);
    }
}

static void hang_up(void)
{
    client_part(END, NULL, NULL);
    server_part(END, NULL, NULL);
}

enum with { NO_TICKETS, TICKETS, RESUMED, HELPED };

static void handshakes(const char *name, bool mutual, enum with with)
{
    const unsigned n = ops > 0 ? ops : 300;
    const bool resumed = with == RESUMED;
    struct tls_tickets *tickets = with == TICKETS || resumed ? tls_tickets_new() : NULL;
    double best_c = 1e18, best_s = 1e18;

    open_ends(mutual, tickets, resumed);
    if (with == HELPED)
        open_desk(&server);
    for (unsigned r = 0; r < rounds; r++) {
        client.ns = server.ns = 0;
        for (unsigned i = 0; i < n; i++) {
            shake_hands();
            if (resumed && r + i > 0 && !tls_peer(server.session)->resumed) {
                fprintf(stderr, "%s: a full handshake\n", name);
                exit(1);
            }
            hang_up();
        }
        best_c = MIN(best_c, client.ns / n);
        best_s = MIN(best_s, server.ns / n);
    }
    printf("%-12s %9.1f us   server %.1f us, client %.1f us\n", name, (best_c + best_s) / 1000,
           best_s / 1000, best_c / 1000);
    close_ends();
    tls_tickets_free(tickets);
}

/* @len bytes from one end to the other, in packets as a body has them. */
static void carry(uint32_t len)
{
    const uint32_t seg = tls_plain_seg(client.session);
    struct pktq plain, wire, got;

    pktq_init(&plain);
    pktq_init(&wire);
    pktq_init(&got);
    for (uint32_t left = len; left > 0;) {
        struct pkt *p = pkt_alloc(core.pool);

        left -= MIN(left, seg);
        pkt_put(p, left > 0 ? seg : (len - 1) % seg + 1);
        pktq_push(&plain, p);
    }
    tls_write(client.session, &plain, &wire);
    tls_read(server.session, &wire, &got, UINT64_MAX, &wire);
    if (got.bytes != len)
        abort();
    pktq_clear(&got);
}

static void records(const char *name, uint32_t len)
{
    const unsigned n = ops > 0 ? ops : len > 4096 ? 20000 : 100000;
    double best = 1e18;

    open_ends(false, NULL, false);
    shake_hands();
    for (unsigned r = 0; r < rounds; r++) {
        double start = now_ns();

        for (unsigned i = 0; i < n; i++)
            carry(len);
        best = MIN(best, (now_ns() - start) / n);
    }
    printf("%-12s %9.1f ns   %.2f GB/s\n", name, best, len / best);
    hang_up();
    close_ends();
}

/* --- OpenSSL alone --- */

static void operation(const char *name, void (*op)(EVP_PKEY *key), EVP_PKEY *key)
{
    const unsigned n = ops > 0 ? ops : 500;
    double best = 1e18;

    for (unsigned r = 0; r < rounds; r++) {
        double start = now_ns();

        for (unsigned i = 0; i < n; i++)
            op(key);
        best = MIN(best, (now_ns() - start) / n);
    }
    printf("%-12s %9.1f us\n", name, best / 1000);
    EVP_PKEY_free(key);
}

static uint8_t hash[32], sig[128];
static size_t sig_len;

static void sign(EVP_PKEY *key)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);

    sig_len = sizeof(sig);
    if (EVP_PKEY_sign_init(ctx) != 1 || EVP_PKEY_sign(ctx, sig, &sig_len, hash, 32) != 1)
        abort();
    EVP_PKEY_CTX_free(ctx);
}

static void verify(EVP_PKEY *key)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);

    if (sig_len == 0)
        sign(key);
    if (EVP_PKEY_verify_init(ctx) != 1 || EVP_PKEY_verify(ctx, sig, sig_len, hash, 32) != 1)
        abort();
    EVP_PKEY_CTX_free(ctx);
}

static void exchange(EVP_PKEY *theirs)
{
    EVP_PKEY *ours = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(ours, NULL);
    uint8_t secret[32];
    size_t len = sizeof(secret);

    if (EVP_PKEY_derive_init(ctx) != 1 || EVP_PKEY_derive_set_peer(ctx, theirs) != 1 ||
        EVP_PKEY_derive(ctx, secret, &len) != 1)
        abort();
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(ours);
}

static const struct {
    const char *name;
    bool mutual;
    enum with with;
} kinds[] = {
    { "tls", false, NO_TICKETS },      { "mtls", true, NO_TICKETS },
    { "tls-ticket", false, TICKETS },  { "mtls-ticket", true, TICKETS },
    { "tls-resumed", false, RESUMED }, { "mtls-resumed", true, RESUMED },
    { "tls-helped", false, HELPED },   { "mtls-helped", true, HELPED },
};

int main(int argc, char **argv)
{
    const char *only;
#define WANTED(name) (only == NULL || strcmp(only, name) == 0)

    if (argc > 2 && strcmp(argv[1], "--ops") == 0) {
        ops = (unsigned)strtoul(argv[2], NULL, 10);
        rounds = 1;
        argc -= 2;
        argv += 2;
    }
    only = argc > 1 ? argv[1] : NULL;

    (void)tls_memory_start();
    test_pki_init(&pki);
    test_pool_init(&tp, 0);
    core_init(&core, 0, &tp.pool, 1000000, (uint64_t)time(NULL) * 1000000);
    if (WANTED("p256-sign"))
        operation("p256-sign", sign, EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"));
    if (WANTED("p256-verify")) {
        sig_len = 0;
        operation("p256-verify", verify, EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"));
    }
    if (WANTED("x25519"))
        operation("x25519", exchange, EVP_PKEY_Q_keygen(NULL, NULL, "X25519"));
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (WANTED(kinds[i].name))
            handshakes(kinds[i].name, kinds[i].mutual, kinds[i].with);
    if (WANTED("record-256"))
        records("record-256", 256);
    if (WANTED("record-1426"))
        records("record-1426", 1426);
    if (WANTED("bulk-64k"))
        records("bulk-64k", 65536);
    test_pki_fini(&pki);
    return 0;
}
