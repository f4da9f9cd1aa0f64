#include "tls/inner.h"

#include "dataplane/base/log.h"

#include <openssl/err.h>
#include <stdlib.h>

#define CIPHERS_1_2                                                                                \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384"
#define ASKED_CAS_MAX 32 /* a longer list of CAs only fattens the request for a certificate */
#define ALPN_NAME_MAX 255
#define HANDSHAKE_TIMEOUT_US 15000000

static const char *openssl_words(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    return reason != NULL ? reason : "no memory";
}

/* --- one worker's OpenSSL --- */

struct tls_lib *tls_lib_new(void)
{
    struct tls_lib *lib = calloc(1, sizeof(*lib));

    if (lib == NULL)
        return NULL;
    ERR_clear_error();
    if (provider_start(&lib->provider)) {
        lib->ticket_cipher = EVP_CIPHER_fetch(lib->provider.libctx, "AES-256-CBC", NULL);
        lib->sha256 = EVP_MD_fetch(lib->provider.libctx, "SHA2-256", NULL);
    }
    lib->bio = bio_method_new();
    lib->aead = aead_new(TLS_READY_KEYS);
    if (lib->ticket_cipher != NULL && lib->sha256 != NULL && lib->bio != NULL &&
        lib->aead != NULL && keys_start(lib))
        return lib;
    log_error("tls", "OpenSSL did not start: %s", openssl_words());
    tls_lib_free(lib);
    return NULL;
}

void tls_lib_free(struct tls_lib *lib)
{
    if (lib == NULL)
        return;
    assert(lib->n_sessions == 0 && atomic_load(&lib->n_ctx) == 0);
    keys_stop(lib);
    aead_free(lib->aead);
    BIO_meth_free(lib->bio);
    EVP_CIPHER_free(lib->ticket_cipher);
    EVP_MD_free(lib->sha256);
    provider_stop(&lib->provider);
    free(lib);
}

const struct tls_counters *tls_counters(const struct tls_lib *lib)
{
    return &lib->counters;
}

uint32_t tls_n_sessions(const struct tls_lib *lib)
{
    return lib->n_sessions;
}

/* --- parts of a context: each returns 0, or -EINVAL with words in @err --- */

struct making {
    struct tls_ctx *ctx;
    const struct tls_ctx_conf *conf;
    struct cfg_err *err;
};

static int refuse(const struct making *m, const char *what)
{
    return cfg_err_set(m->err, &m->conf->conf->where, "tls of %s: %s", m->conf->name, what);
}

static int refuse_openssl(const struct making *m, const char *what)
{
    return cfg_err_set(m->err, &m->conf->conf->where, "tls of %s: %s: %s", m->conf->name, what,
                       openssl_words());
}

static X509 *copy_cert(const struct tls_ctx *ctx, const struct tls_cert *from)
{
    const unsigned char *der = (const unsigned char *)from->der.ptr;
    X509 *cert = X509_new_ex(ctx->lib->provider.libctx, NULL);

    /* d2i_X509() frees what it cannot fill. */
    return cert != NULL ? d2i_X509(&cert, &der, (long)from->der.len) : NULL;
}

static int use_chain(const struct making *m, const struct tls_cert *certs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        X509 *cert = copy_cert(m->ctx, &certs[i]);
        bool ok;

        if (cert == NULL)
            return refuse_openssl(m, "certificate");
        if (i == 0) {
            ok = SSL_CTX_use_certificate(m->ctx->ssl, cert) == 1;
            X509_free(cert);
        } else {
            ok = SSL_CTX_add0_chain_cert(m->ctx->ssl, cert) == 1;
            if (!ok)
                X509_free(cert);
        }
        if (!ok)
            return refuse_openssl(m, "certificate");
    }
    return 0;
}

static int use_key(const struct making *m)
{
    struct slice der = tls_secret_key(m->conf->secret);
    const unsigned char *at = (const unsigned char *)der.ptr;
    EVP_PKEY *key;
    bool ok;

    key = d2i_AutoPrivateKey_ex(NULL, &at, (long)der.len, m->ctx->lib->provider.libctx, NULL);
    ok = key != NULL && SSL_CTX_use_PrivateKey(m->ctx->ssl, key) == 1;
    EVP_PKEY_free(key);
    return ok ? 0 : refuse_openssl(m, "private key");
}

static int use_secret(const struct making *m)
{
    const struct tls_cert *chain = NULL;
    uint32_t n = m->conf->secret != NULL ? tls_secret_chain(m->conf->secret, &chain) : 0;
    int rc;

    m->ctx->local_uri = n > 0 ? arena_strdup(&m->ctx->arena, chain[0].info.uri) : "";
    if (n == 0) {
        if (!m->conf->is_server && m->conf->conf->mode == TLS_MODE_SIMPLE)
            return 0;
        return refuse(m, "there is no certificate to present");
    }
    rc = use_chain(m, chain, n);
    return rc == 0 ? use_key(m) : rc;
}

/* Names of our roots, so that a client with several certificates knows which to present. */
static int ask_for(const struct making *m, X509 *root)
{
    return SSL_CTX_add_client_CA(m->ctx->ssl, root) == 1 ? 0 : refuse_openssl(m, "trusted_ca");
}

static int use_trust(const struct making *m)
{
    const struct tls_cert *roots = NULL;
    uint32_t n = m->conf->trust != NULL ? tls_secret_roots(m->conf->trust, &roots) : 0;
    X509_STORE *store = SSL_CTX_get_cert_store(m->ctx->ssl);

    if (!m->ctx->policy.demands_cert)
        return 0;
    if (n == 0)
        return refuse(m, "there is no trusted_ca to verify peers with");
    for (uint32_t i = 0; i < n; i++) {
        X509 *root = copy_cert(m->ctx, &roots[i]);
        int rc = 0;

        if (root == NULL || X509_STORE_add_cert(store, root) != 1)
            rc = refuse_openssl(m, "trusted_ca");
        else if (m->conf->is_server && n <= ASKED_CAS_MAX)
            rc = ask_for(m, root);
        X509_free(root);
        if (rc < 0)
            return rc;
    }
    /* What the operator lists is trusted, also an intermediate CA without its root. */
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_verify(m->ctx->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(m->ctx->ssl, verify_callback, NULL);
    return 0;
}

static int openssl_version(enum tls_version v)
{
    switch (v) {
    case TLS_VERSION_1_2:
        return TLS1_2_VERSION;
    case TLS_VERSION_1_3:
        return TLS1_3_VERSION;
    }
    return 0;
}

static int use_suites(const struct making *m)
{
    const struct tls_conf *conf = m->conf->conf;
    const char *list = conf->cipher_list != NULL ? conf->cipher_list : CIPHERS_1_2;
    SSL_CTX *ssl = m->ctx->ssl;

    if (conf->min_version > conf->max_version)
        return refuse(m, "min_version is above max_version");
    if (SSL_CTX_set_min_proto_version(ssl, openssl_version(conf->min_version)) != 1 ||
        SSL_CTX_set_max_proto_version(ssl, openssl_version(conf->max_version)) != 1 ||
        SSL_CTX_set_ciphersuites(ssl, CIPHERS_1_3) != 1 ||
        SSL_CTX_set1_groups_list(ssl, GROUPS) != 1)
        return refuse_openssl(m, "versions and suites");
    /* An anonymous suite would go round all verification. */
    list = arena_printf(&m->ctx->arena, "%s:!aNULL:!eNULL:!PSK:!SRP", list);
    if (SSL_CTX_set_cipher_list(ssl, list) != 1)
        return refuse_openssl(m, "cipher_list");
    return 0;
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *offer, unsigned offer_len, void *arg)
{
    const struct tls_ctx *ctx = arg;

    for (size_t i = 0; i < ctx->alpn.len; i += 1u + (unsigned char)ctx->alpn.ptr[i]) {
        struct slice ours = { ctx->alpn.ptr + i, 1u + (unsigned char)ctx->alpn.ptr[i] };

        for (unsigned k = 0; k < offer_len && offer_len - k > offer[k]; k += 1u + offer[k]) {
            if (!slice_eq(ours, (struct slice){ (const char *)offer + k, 1u + offer[k] }))
                continue;
            *out = offer + k + 1;
            *out_len = offer[k];
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL; /* no_application_protocol, RFC 7301 3.2 */
}

static int use_alpn(const struct making *m)
{
    const struct tls_conf *conf = m->conf->conf;
    struct tls_ctx *ctx = m->ctx;
    size_t room = 0;
    char *at;

    for (uint32_t i = 0; i < conf->n_alpn; i++) {
        size_t len = strlen(conf->alpn[i]);

        if (len == 0 || len > ALPN_NAME_MAX)
            return refuse(m, "an ALPN name has 1 to 255 bytes");
        room += 1 + len;
    }
    if (room == 0)
        return 0;
    at = arena_alloc(&ctx->arena, room);
    ctx->alpn = (struct slice){ at, room };
    for (uint32_t i = 0; i < conf->n_alpn; i++) {
        size_t len = strlen(conf->alpn[i]);

        *at++ = (char)len;
        memcpy(at, conf->alpn[i], len);
        at += len;
    }
    if (ctx->is_server)
        SSL_CTX_set_alpn_select_cb(ctx->ssl, choose_alpn, ctx);
    else if (SSL_CTX_set_alpn_protos(ctx->ssl, (const unsigned char *)ctx->alpn.ptr,
                                     (unsigned)room) != 0)
        return refuse_openssl(m, "alpn");
    return 0;
}

/* The listener has read the name before (tls/hello.h): here only what is no name is refused. */
static int check_server_name(SSL *ssl, int *alert, void *arg)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    char plain[HOSTNAME_MAX + 1];

    if (name == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    if (hostname_copy(slice_of(name), plain))
        return SSL_TLSEXT_ERR_OK;
    *alert = SSL_AD_ILLEGAL_PARAMETER;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int use_server_name(const struct making *m)
{
    char plain[HOSTNAME_MAX + 1];

    if (m->ctx->is_server) {
        SSL_CTX_set_tlsext_servername_callback(m->ctx->ssl, check_server_name);
        return 0;
    }
    if (m->conf->conf->sni == NULL)
        return 0;
    if (!hostname_copy(slice_of(m->conf->conf->sni), plain))
        return refuse(m, "sni is not a host name");
    m->ctx->sni = arena_strdup(&m->ctx->arena, plain);
    return 0;
}

/* What a ticket is bound to: it resumes only where these are the same. */
static bool digest_context(const struct making *m, EVP_MD_CTX *md)
{
    const struct tls_cert *roots = NULL;
    uint32_t n = m->conf->trust != NULL ? tls_secret_roots(m->conf->trust, &roots) : 0;
    bool ok = EVP_DigestUpdate(md, m->conf->name, strlen(m->conf->name) + 1) == 1 &&
              policy_digest(&m->ctx->policy, md) && EVP_DigestUpdate(md, &n, sizeof(n)) == 1;

    for (uint32_t i = 0; ok && i < n; i++)
        ok =
            EVP_DigestUpdate(md, roots[i].info.fingerprint, strlen(roots[i].info.fingerprint)) == 1;
    return ok;
}

static int bind_tickets(const struct making *m)
{
    unsigned char id[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned len = 0;
    bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
              digest_context(m, md) && EVP_DigestFinal_ex(md, id, &len) == 1 &&
              SSL_CTX_set_session_id_context(m->ctx->ssl, id, len) == 1;

    EVP_MD_CTX_free(md);
    return ok ? 0 : refuse_openssl(m, "session id context");
}

static int use_tickets(const struct making *m)
{
    SSL_CTX *ssl = m->ctx->ssl;

    /* No sessions are kept by us, on either side, unless a client is told to. */
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    if (!m->ctx->is_server && m->conf->resumes) {
        return resume_prepare(m->ctx) ? 0 : refuse(m, "no memory");
    }
    if (!m->ctx->is_server || !m->conf->conf->session_tickets || m->conf->tickets == NULL) {
        SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ssl, 0);
        return 0;
    }
    m->ctx->tickets = m->conf->tickets;
    SSL_CTX_set_num_tickets(ssl, 1);
    SSL_CTX_set_timeout(ssl, TLS_TICKET_SECONDS);
    if (SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, tickets_callback) != 1 ||
        SSL_CTX_set_session_ticket_cb(ssl, verify_ticket_sealed, verify_ticket_opened, NULL) != 1)
        return refuse_openssl(m, "session tickets");
    return bind_tickets(m);
}

static int fill(const struct making *m)
{
    struct tls_ctx *ctx = m->ctx;
    const struct tls_conf *conf = m->conf->conf;
    int rc;

    ctx->ssl = SSL_CTX_new_ex(ctx->lib->provider.libctx, NULL,
                              ctx->is_server ? TLS_server_method() : TLS_client_method());
    if (ctx->ssl == NULL)
        return refuse_openssl(m, "context");
    SSL_CTX_set_security_level(ctx->ssl, 2);
    SSL_CTX_set_options(ctx->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                      SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_clear_mode(ctx->ssl, SSL_MODE_AUTO_RETRY); /* come back after each message */
    SSL_CTX_set_max_cert_list(ctx->ssl, TLS_PEER_CHAIN_BYTES);
    SSL_CTX_set_verify_depth(ctx->ssl, TLS_CHAIN_DEPTH);
    SSL_CTX_set_msg_callback(ctx->ssl, on_message);
    SSL_CTX_set_keylog_callback(ctx->ssl, keys_on_secret);
    ctx->handshake_timeout_us =
        conf->handshake_timeout_us > 0 ? conf->handshake_timeout_us : HANDSHAKE_TIMEOUT_US;

    rc = policy_init(&ctx->policy, &ctx->arena, conf, ctx->is_server, m->err);
    if (rc == 0)
        rc = use_suites(m);
    if (rc == 0)
        rc = use_secret(m);
    if (rc == 0)
        rc = use_trust(m);
    if (rc == 0)
        rc = use_alpn(m);
    if (rc == 0)
        rc = use_server_name(m);
    return rc == 0 ? use_tickets(m) : rc;
}

/* --- its life --- */

static void destroy(struct tls_ctx *ctx)
{
    resume_drop(ctx);
    SSL_CTX_free(ctx->ssl);
    chains_free(ctx->chains);
    tls_secret_put(ctx->secret);
    tls_secret_put(ctx->trust);
    arena_fini(&ctx->arena);
    atomic_fetch_sub_explicit(&ctx->lib->n_ctx, 1, memory_order_relaxed);
    free(ctx);
}

struct tls_ctx *tls_ctx_new(struct tls_lib *lib, const struct tls_ctx_conf *conf,
                            struct cfg_err *err)
{
    struct making m = { .conf = conf, .err = err, .ctx = calloc(1, sizeof(*m.ctx)) };

    if (m.ctx == NULL) {
        refuse(&m, "no memory");
        return NULL;
    }
    atomic_init(&m.ctx->refs, 1);
    atomic_fetch_add_explicit(&lib->n_ctx, 1, memory_order_relaxed);
    m.ctx->lib = lib;
    m.ctx->is_server = conf->is_server;
    arena_init(&m.ctx->arena, 0);
    m.ctx->secret = conf->secret != NULL ? tls_secret_get(conf->secret) : NULL;
    m.ctx->trust = conf->trust != NULL ? tls_secret_get(conf->trust) : NULL;
    ERR_clear_error();
    if (fill(&m) == 0)
        return m.ctx;
    ERR_clear_error();
    destroy(m.ctx);
    return NULL;
}

struct tls_ctx *tls_ctx_get(struct tls_ctx *ctx)
{
    atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
    return ctx;
}

void tls_ctx_put(struct tls_ctx *ctx)
{
    /* Releases what this holder did with it; acquires what all others did before the free. */
    if (ctx != NULL && atomic_fetch_sub_explicit(&ctx->refs, 1, memory_order_acq_rel) == 1)
        destroy(ctx);
}

const char *tls_ctx_local_uri(const struct tls_ctx *ctx)
{
    return ctx->local_uri;
}

uint64_t tls_ctx_handshake_timeout_us(const struct tls_ctx *ctx)
{
    return ctx->handshake_timeout_us;
}
