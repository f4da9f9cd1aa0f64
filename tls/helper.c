#include "tls/helper.h"

#include "dataplane/base/own.h"
#include "dataplane/base/ring.h"
#include "tls/inner.h"
#include "tls/next.h"

#include <openssl/async.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <sched.h>

struct tls_desk {
    struct tls_desk_conf conf;
    struct ring *asked, *answered; /* struct op, on the stacks of their jobs: room for all */
    uint32_t n_asked;              /* the worker's: not back yet, TLS_DESK at most */
};

/* One operation: what it is done with stays untouched until it comes back. */
struct op {
    struct tls_session *session;
    int (*compute)(const struct op *op);
    void *ctx; /* EVP_MD_CTX or EVP_PKEY_CTX */
    void *to;  /* a buffer, or where the new key goes */
    size_t *to_len;
    const void *from, *data;
    size_t from_len, data_len;
    int rc;
};

struct tls_desk *tls_desk_new(const struct tls_desk_conf *conf)
{
    struct tls_desk *d = own_alloc(1, sizeof(*d));

    if (d == NULL)
        return NULL;
    d->conf = *conf;
    d->asked = ring_new(2 * TLS_DESK, RING_ONE_PRODUCER);
    d->answered = ring_new(2 * TLS_DESK, RING_ONE_PRODUCER);
    if (d->asked != NULL && d->answered != NULL)
        return d;
    tls_desk_free(d);
    return NULL;
}

void tls_desk_free(struct tls_desk *d)
{
    if (d == NULL)
        return;
    assert(d->n_asked == 0);
    ring_free(d->asked);
    ring_free(d->answered);
    free(d);
}

/* --- the helper ------------------------------------------------------------------------------ */

bool tls_desk_work(struct tls_desk *d)
{
    struct op *op;
    bool is_taken;

    if (ring_pop_burst(d->asked, (void **)&op, 1) == 0)
        return false;
    schedule_at_hand(op->session); /* for x25519.c */
    op->rc = op->compute(op);
    schedule_at_hand(NULL);
    ERR_clear_error(); /* its worker says why a handshake has failed */
    is_taken = ring_push(d->answered, op);
    assert(is_taken);
    (void)is_taken;
    d->conf.on_answered(d->conf.worker);
    return true;
}

/* --- the worker ------------------------------------------------------------------------------ */

void tls_lib_use_desk(struct tls_lib *lib, struct tls_desk *d)
{
    lib->desk = d;
}

uint32_t tls_lib_n_asked(const struct tls_lib *lib)
{
    return lib->desk != NULL ? lib->desk->n_asked : 0;
}

struct tls_session *tls_lib_answered(struct tls_lib *lib)
{
    struct tls_desk *d = lib->desk;
    struct op *op;

    while (d != NULL && d->n_asked > 0 && ring_pop_burst(d->answered, (void **)&op, 1) == 1) {
        struct tls_session *s = op->session;

        d->n_asked--;
        s->waits = false;
        s->is_answered = true;
        if (!s->is_abandoned)
            return s;
        tls_session_free(s);
    }
    return NULL;
}

void tls_lib_settle(struct tls_lib *lib)
{
    while (tls_lib_n_asked(lib) > 0) {
        struct tls_session *s = tls_lib_answered(lib);

        if (s != NULL)
            session_break_off(s);
        else
            sched_yield();
    }
}

enum outcome {
    NOT_ASKED,
    COMPUTED,
    ABANDONED, /* the handshake is to end */
};

/* Within a handshake's job. */
static enum outcome ask(struct op *op)
{
    struct tls_session *s = schedule_whose();
    struct tls_desk *d = s != NULL ? s->ctx->lib->desk : NULL;
    int was_paused;

    if (d == NULL || ASYNC_get_current_job() == NULL)
        return NOT_ASKED;
    if (s->is_abandoned)
        return ABANDONED;
    op->session = s;
    if (d->n_asked == TLS_DESK || !ring_push(d->asked, op)) {
        session_counters(s)->not_helped++;
        return NOT_ASKED;
    }
    session_counters(s)->helped++;
    d->n_asked++;
    s->waits = true;
    d->conf.on_asked(d->conf.helper);
    was_paused = ASYNC_pause_job();
    assert(was_paused == 1 && !s->waits); /* handshake_step() does not touch it before */
    (void)was_paused;
    return s->is_abandoned ? ABANDONED : COMPUTED;
}

/* --- in the place of libcrypto's ------------------------------------------------------------- */

typedef int sign_fn(EVP_MD_CTX *ctx, unsigned char *sig, size_t *len, const unsigned char *data,
                    size_t data_len);
typedef int verify_fn(EVP_MD_CTX *ctx, const unsigned char *sig, size_t len,
                      const unsigned char *data, size_t data_len);
typedef int derive_fn(EVP_PKEY_CTX *ctx, unsigned char *to, size_t *len);
typedef int keygen_fn(EVP_PKEY_CTX *ctx, EVP_PKEY **to);

static _Atomic(void *) next_sign, next_verify, next_derive, next_keygen;

static int sign(const struct op *op)
{
    sign_fn *fn = (sign_fn *)next_function(&next_sign, "EVP_DigestSign");

    return fn != NULL ? fn(op->ctx, op->to, op->to_len, op->data, op->data_len) : 0;
}

static int verify(const struct op *op)
{
    verify_fn *fn = (verify_fn *)next_function(&next_verify, "EVP_DigestVerify");

    return fn != NULL ? fn(op->ctx, op->from, op->from_len, op->data, op->data_len) : 0;
}

static int derive(const struct op *op)
{
    derive_fn *fn = (derive_fn *)next_function(&next_derive, "EVP_PKEY_derive");

    return fn != NULL ? fn(op->ctx, op->to, op->to_len) : 0;
}

static int keygen(const struct op *op)
{
    keygen_fn *fn = (keygen_fn *)next_function(&next_keygen, "EVP_PKEY_keygen");

    return fn != NULL ? fn(op->ctx, op->to) : 0;
}

/* 0, a failure, where the handshake is to end. @is_work: not only a question for a length. */
static int by_helper_or_here(struct op *op, bool is_work)
{
    switch (is_work ? ask(op) : NOT_ASKED) {
    case NOT_ASKED:
        return op->compute(op);
    case COMPUTED:
        return op->rc;
    case ABANDONED:
        break;
    }
    return 0;
}

NEXT_EXPORT int EVP_DigestSign(EVP_MD_CTX *ctx, unsigned char *sig, size_t *len,
                               const unsigned char *data, size_t data_len)
{
    struct op op = {
        .compute = sign, .ctx = ctx, .to = sig, .to_len = len, .data = data, .data_len = data_len
    };

    return by_helper_or_here(&op, sig != NULL);
}

NEXT_EXPORT int EVP_DigestVerify(EVP_MD_CTX *ctx, const unsigned char *sig, size_t len,
                                 const unsigned char *data, size_t data_len)
{
    struct op op = { .compute = verify,
                     .ctx = ctx,
                     .from = sig,
                     .from_len = len,
                     .data = data,
                     .data_len = data_len };

    return by_helper_or_here(&op, true);
}

NEXT_EXPORT int EVP_PKEY_derive(EVP_PKEY_CTX *ctx, unsigned char *to, size_t *len)
{
    struct op op = { .compute = derive, .ctx = ctx, .to = to, .to_len = len };

    return by_helper_or_here(&op, to != NULL);
}

NEXT_EXPORT int EVP_PKEY_keygen(EVP_PKEY_CTX *ctx, EVP_PKEY **to)
{
    struct op op = { .compute = keygen, .ctx = ctx, .to = to };

    return by_helper_or_here(&op, true);
}
