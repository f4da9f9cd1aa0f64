/*
 * A client that resumes: the tickets that a context's connections were given are for its next ones
 * (RFC 8446 2.2, 4.6.1), the newest first; of TLS 1.3, each for one (C.4). It reads its records by
 * OpenSSL, as what a ticket is worth is a secret of OpenSSL's object, which comes after the
 * handshake.
 */
#include "tls/inner.h"

#include "dataplane/base/own.h"

#include <stdlib.h>

#define TICKETS 64 /* what is more pushes out the oldest */

struct resumption {
    uint32_t n;
    struct {
        SSL_SESSION *session;
        int64_t valid_until; /* the peer's chain */
    } tickets[TICKETS];
};

static void drop(struct resumption *r, uint32_t i)
{
    SSL_SESSION_free(r->tickets[i].session);
    r->n--;
    memmove(&r->tickets[i], &r->tickets[i + 1], (r->n - i) * sizeof(r->tickets[0]));
}

static int keep_ticket(SSL *ssl, SSL_SESSION *session)
{
    const struct tls_session *s = SSL_get_app_data(ssl);
    struct resumption *r = s->ctx->resumption;

    if (r->n == TICKETS)
        drop(r, 0);
    r->tickets[r->n].session = session;
    r->tickets[r->n++].valid_until = s->valid_until;
    return 1; /* its reference is ours */
}

void resume_prepare(SSL_CTX *ssl)
{
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ssl, keep_ticket);
}

bool resume_begin(struct tls_ctx *ctx)
{
    ctx->resumption = own_alloc(1, sizeof(*ctx->resumption));
    return ctx->resumption != NULL;
}

bool resume_start(struct tls_session *s)
{
    struct resumption *r = s->ctx->resumption;

    while (r->n > 0) {
        SSL_SESSION *ticket = r->tickets[r->n - 1].session;
        bool ok;

        if (SSL_SESSION_is_resumable(ticket) != 1 ||
            r->tickets[r->n - 1].valid_until < (int64_t)(s->core->wall_us / 1000000)) {
            drop(r, r->n - 1);
            continue;
        }
        s->valid_until = r->tickets[r->n - 1].valid_until;
        ok = SSL_set_session(s->ssl, ticket) == 1;
        if (SSL_SESSION_get_protocol_version(ticket) == TLS1_3_VERSION)
            drop(r, r->n - 1);
        return ok;
    }
    return true;
}

/* OpenSSL would not resume what did not end by close_notify; since TLS 1.1 one may (RFC
 * 5246 7.2.1). */
void resume_end(struct tls_session *s)
{
    if (s->ctx->resumption != NULL && s->state != TLS_FAILED && s->ssl != NULL)
        SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

void resume_drop(struct tls_ctx *ctx)
{
    struct resumption *r = ctx->resumption;

    while (r != NULL && r->n > 0)
        drop(r, r->n - 1);
    free(r);
}
