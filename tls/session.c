#include "tls/session.h"

#include "tls/certinfo.h"
#include "tls/inner.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

#define SEG_MIN 32 /* of the caller's mistakes only: no path has smaller segments */

static const struct tls_peer nobody = { "", "", "", "", false, false, "", "", "", "" };

/* --- its life --- */

static bool start(struct tls_session *s)
{
    BIO *bio;

    ERR_clear_error();
    s->ssl = SSL_new(s->ctx->base->ssl);
    bio = s->ssl != NULL ? bio_of_session(s) : NULL;
    if (bio == NULL)
        return false;
    SSL_set_bio(s->ssl, bio, bio);
    SSL_set_app_data(s->ssl, s);
    SSL_set_msg_callback_arg(s->ssl, s);
    if (s->ctx->lib->desk != NULL)
        SSL_set_mode(s->ssl, SSL_MODE_ASYNC);
    if (s->ctx->is_server)
        SSL_set_accept_state(s->ssl);
    else
        SSL_set_connect_state(s->ssl);
    if (s->ctx->resumption != NULL && !resume_start(s))
        return false;
    if (s->ctx->who->n_binding > 0 &&
        SSL_set_session_id_context(s->ssl, s->ctx->who->binding, s->ctx->who->n_binding) != 1)
        return false;
    return s->ctx->who->sni == NULL || SSL_set_tlsext_host_name(s->ssl, s->ctx->who->sni) == 1;
}

struct tls_session *tls_session_new(struct tls_ctx *ctx, struct core *core, uint32_t seg)
{
    struct tls_session *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        ctx->lib->counters.no_memory++;
        return NULL;
    }
    s->ctx = tls_ctx_get(ctx);
    s->core = core;
    s->seg = MAX(seg, SEG_MIN);
    s->state = TLS_HANDSHAKING;
    s->valid_until = INT64_MAX; /* an anonymous peer has nothing that could run out */
    s->peer = nobody;
    ctx->lib->n_sessions++;
    if (start(s))
        return s;
    ctx->lib->counters.no_memory++;
    tls_session_free(s);
    return NULL;
}

void tls_session_free(struct tls_session *s)
{
    if (s == NULL)
        return;
    if (s->waits) { /* what the helper has of it is in use */
        s->is_abandoned = true;
        return;
    }
    if (s->is_answered) /* its job has not ended, and would stay for ever */
        session_break_off(s);
    resume_end(s);
    SSL_free(s->ssl);
    keys_drop(s);
    s->ctx->lib->n_sessions--;
    tls_ctx_put(s->ctx);
    free(s->peer_text);
    free(s);
}

/* --- its end, in words --- */

static void PRINTF_LIKE(2, 3) say(struct tls_session *s, const char *fmt, ...)
{
    va_list args;
    int n = snprintf(s->error, sizeof(s->error), "TLS error: ");

    va_start(args, fmt);
    vsnprintf(s->error + n, sizeof(s->error) - (size_t)n, fmt, args);
    va_end(args);
}

static enum tls_state fail(struct tls_session *s)
{
    if (s->state == TLS_HANDSHAKING)
        session_counters(s)->handshake_failed++;
    s->state = TLS_FAILED;
    ERR_clear_error();
    return TLS_FAILED;
}

enum tls_state session_refuse(struct tls_session *s, const char *why)
{
    say(s, "%s", why);
    return fail(s);
}

static enum tls_state fail_for_memory(struct tls_session *s, const char *what)
{
    session_counters(s)->no_memory++;
    say(s, "out of %s", what);
    return fail(s);
}

enum tls_state session_alerted(struct tls_session *s, int alert)
{
    session_counters(s)->alerts++;
    say(s, "the peer sent the alert \"%s\"", SSL_alert_desc_string_long(alert));
    return fail(s);
}

enum tls_state session_failed(struct tls_session *s)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);

    if (s->no_memory)
        return fail_for_memory(s, "packet buffers");
    if (s->was_refused)
        return fail(s); /* verify.c has said why */
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
        session_counters(s)->fail_verify_no_cert++;
        say(s, "no client certificate");
        return fail(s);
    }
    if (reason == ERR_R_MALLOC_FAILURE)
        return fail_for_memory(s, "memory");
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET)
        return session_alerted(s, reason - SSL_AD_REASON_OFFSET);
    if (s->state != TLS_HANDSHAKING)
        session_counters(s)->records_failed++;
    say(s, "%s", code != 0 ? ERR_reason_error_string(code) : "unknown error");
    return fail(s);
}

void session_break_off(struct tls_session *s)
{
    s->is_abandoned = true;
    s->is_answered = false;
    ERR_clear_error();
    schedule_at_hand(s);
    (void)SSL_do_handshake(s->ssl); /* its operations fail (helper.c), and so its job ends */
    schedule_at_hand(NULL);
    say(s, "broken off");
    s->state = TLS_FAILED;
    ERR_clear_error();
}

const char *tls_error(const struct tls_session *s)
{
    return s->error;
}

/* --- what it is --- */

enum tls_state tls_state(const struct tls_session *s)
{
    return s->state;
}

bool tls_waits(const struct tls_session *s)
{
    return s->waits;
}

void tls_set_owner(struct tls_session *s, void *owner)
{
    s->owner = owner;
}

void *tls_owner(const struct tls_session *s)
{
    return s->owner;
}

struct tls_ctx *tls_session_ctx(const struct tls_session *s)
{
    return s->ctx;
}

uint32_t tls_plain_seg(const struct tls_session *s)
{
    uint32_t room = s->core->pool->room - PKT_HEADROOM;
    uint32_t overhead = s->overhead > 0 ? s->overhead : SSL3_RT_HEADER_LENGTH + 48;
    uint32_t seg = MIN(s->seg, room);

    /* On a path of tiny segments a record takes several. */
    return seg > 2 * overhead ? seg - overhead : seg;
}

/* Appends @text to the block at *@at, and returns where it stands. */
static const char *put(char **at, const char *text)
{
    size_t len = strlen(text) + 1;
    char *to = memcpy(*at, text, len);

    *at += len;
    return to;
}

/* @cert, or NULL: its names, which may stand in @room. False: they cannot be read. */
static bool describe_cert(X509 *cert, struct cert_text *room, struct cert_facts *ret)
{
    static const struct cert_facts anonymous = {
        .uri = "", .dns = "", .subject = "", .fingerprint = ""
    };
    const struct cert_facts *known = cert != NULL ? cert_facts(cert) : &anonymous;

    if (known != NULL) {
        *ret = *known;
        return true;
    }
    if (!cert_text(cert, room))
        return false;
    *ret = (struct cert_facts){ .uri = room->uri,
                                .dns = room->dns,
                                .subject = room->subject,
                                .fingerprint = room->fingerprint };
    return true;
}

bool session_describe_peer(struct tls_session *s, X509 *cert)
{
    const char *sni = SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name);
    char name[HOSTNAME_MAX + 1] = "", alpn[256] = "";
    const unsigned char *chosen;
    struct cert_facts facts;
    struct cert_text text;
    unsigned chosen_len;
    char *at;

    if (s->ctx->is_server ? sni != NULL : s->ctx->who->sni != NULL)
        hostname_copy(slice_of(s->ctx->is_server ? sni : s->ctx->who->sni), name);
    SSL_get0_alpn_selected(s->ssl, &chosen, &chosen_len);
    memcpy(alpn, chosen != NULL ? chosen : (const unsigned char *)"", chosen_len);
    if (!describe_cert(cert, &text, &facts))
        return false;
    at = malloc(strlen(name) + strlen(alpn) + strlen(facts.uri) + strlen(facts.dns) +
                strlen(facts.subject) + strlen(facts.fingerprint) + 6);
    if (at == NULL)
        return false;
    s->peer_text = at;
    s->peer = (struct tls_peer){
        .version = SSL_get_version(s->ssl),
        .cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(s->ssl)),
        .alpn = put(&at, alpn),
        .sni = put(&at, name),
        .resumed = SSL_session_reused(s->ssl) == 1,
        .has_cert = cert != NULL,
        .uri = put(&at, facts.uri),
        .dns = put(&at, facts.dns),
        .subject = put(&at, facts.subject),
        .hash = put(&at, facts.fingerprint),
    };
    return true;
}

const struct tls_peer *tls_peer(struct tls_session *s)
{
    return &s->peer;
}

/* --- what a caller does with it --- */

/* The caller's queues are there until leave(). */
static void enter(struct tls_session *s, struct pktq *in, struct pktq *out)
{
    s->in = in;
    s->out = out;
    schedule_at_hand(s);
}

static void leave(struct tls_session *s)
{
    s->in = s->out = NULL;
    schedule_at_hand(NULL);
}

enum tls_state tls_connect(struct tls_session *s, struct pktq *out)
{
    enum tls_state state;

    assert(!s->ctx->is_server && s->state == TLS_HANDSHAKING);
    enter(s, NULL, out);
    state = handshake_step(s);
    leave(s);
    return state;
}

enum tls_state tls_read(struct tls_session *s, struct pktq *in, struct pktq *plain, uint64_t max,
                        struct pktq *out)
{
    enter(s, in, out);
    if (s->state == TLS_HANDSHAKING)
        handshake_step(s);
    else if (s->state == TLS_OPEN)
        (s->ssl != NULL ? openssl_read : record_read)(s, plain, max);
    leave(s);
    /* Nothing that comes after the end is read: it must not fill the transport. */
    if (s->state == TLS_CLOSED || s->state == TLS_FAILED)
        pktq_clear(in);
    return s->state;
}

bool tls_read_pending(const struct tls_session *s, const struct pktq *in)
{
    if (s->state != TLS_OPEN)
        return !s->waits && (s->is_answered || !pktq_is_empty(in));
    return s->ssl == NULL ? record_waits(in) : !pktq_is_empty(in) || SSL_pending(s->ssl) > 0;
}

enum tls_state tls_write(struct tls_session *s, struct pktq *plain, struct pktq *out)
{
    if (s->state == TLS_HANDSHAKING || s->state == TLS_FAILED || s->close_sent) {
        pktq_clear(plain);
        return TLS_FAILED;
    }
    enter(s, NULL, out);
    (s->ssl != NULL ? openssl_write : record_write)(s, plain);
    leave(s);
    pktq_clear(plain);
    return s->state;
}

void tls_close(struct tls_session *s, struct pktq *out)
{
    if (s->close_sent || (s->state != TLS_OPEN && s->state != TLS_CLOSED))
        return;
    s->close_sent = true;
    enter(s, NULL, out);
    (s->ssl != NULL ? openssl_close : record_close)(s);
    leave(s);
}
