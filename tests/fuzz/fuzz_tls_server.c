/*
 * Any bytes to a server session that demands certificates. The first byte chooses the versions,
 * the second the size of the packets. It may fail, but it may not open, and everything comes home.
 */
#include "dataplane/base/core.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/pki.h"
#include "tests/lib/pool.h"
#include "tls/session.h"
#include "tls/ticket.h"

#include <stdio.h>
#include <stdlib.h>

static struct {
    struct tls_lib *lib;
    struct tls_tickets *tickets;
    struct tls_ctx *ctx[2];
} world;

static void make_world(void)
{
    struct tls_conf conf = {
        .mode = TLS_MODE_MUTUAL,
        .trust_domain = "cluster.local",
        .session_tickets = true,
        .n_alpn = 1,
        .alpn = (const char *[]){ "http/1.1" },
    };
    struct cfg_err err = { "" };
    struct test_pki pki;

    test_pki_init(&pki);
    world.lib = tls_lib_new();
    world.tickets = tls_tickets_new();
    for (unsigned i = 0; i < 2; i++) {
        conf.max_version = i == 0 ? TLS_VERSION_1_3 : TLS_VERSION_1_2;
        world.ctx[i] = tls_ctx_new(world.lib,
                                   &(struct tls_ctx_conf){ .name = "chain",
                                                           .is_server = true,
                                                           .conf = &conf,
                                                           .secret = pki.server,
                                                           .trust = pki.server,
                                                           .tickets = world.tickets },
                                   &err);
    }
    test_pki_fini(&pki);
    if (world.ctx[0] == NULL || world.ctx[1] == NULL)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct core core = { .wall_us = UINT64_C(1900000000000000), .rng = 1 };
    struct pktq in, plain, out;
    struct tls_session *s;
    struct test_pool tp;

    if (len < 2)
        return 0;
    if (world.lib == NULL)
        make_world();
    test_pool_init(&tp, 0);
    core.pool = &tp.pool;
    pktq_init(&in);
    pktq_init(&plain);
    pktq_init(&out);
    s = tls_session_new(world.ctx[bytes[0] & 1], &core, 1400);
    for (size_t at = 2; at < len && tls_state(s) == TLS_HANDSHAKING;) {
        size_t part = MIN(len - at, (size_t)1 + bytes[1] * 8u);

        pktq_append(&in, &tp.pool, bytes + at, part, 1400);
        tls_read(s, &in, &plain, 4096, &out);
        at += part;
    }
    if (tls_state(s) == TLS_OPEN || (tls_state(s) == TLS_FAILED) != (tls_error(s)[0] != '\0'))
        abort();
    tls_session_free(s);
    pktq_clear(&in);
    pktq_clear(&plain);
    pktq_clear(&out);
    test_pool_fini(&tp);
    return 0;
}
