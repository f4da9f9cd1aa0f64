#include "tls/inner.h"

#include "dataplane/base/hash.h"
#include "dataplane/base/log.h"
#include "dataplane/base/own.h"

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
#define WHO_BLOCK 256 /* bytes: an identity or two, and a server name */

static const char *openssl_words(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    return reason != NULL ? reason : "no memory";
}

/* --- one worker's OpenSSL --- */

struct tls_lib *tls_lib_new(void)
{
    static _Atomic uint32_t n;
    struct tls_lib *lib = own_alloc(1, sizeof(*lib));

    if (lib == NULL)
        return NULL;
    lib->number = atomic_fetch_add_explicit(&n, 1, memory_order_relaxed);
    ERR_clear_error();
    if (provider_start(&lib->provider)) {
        lib->ticket_cipher = EVP_CIPHER_fetch(lib->provider.libctx, "AES-256-CBC", NULL);
        lib->sha256 = EVP_MD_fetch(lib->provider.libctx, "SHA2-256", NULL);
    }
    schedule_init(&lib->schedule);
    lib->bio = bio_method_new();
    lib->aead = aead_new(TLS_READY_KEYS);
    if (lib->ticket_cipher != NULL && lib->sha256 != NULL && lib->bio != NULL && lib->aead != NULL)
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
    tls_lib_sweep(lib);
    certs_free(lib->certs);
    schedule_fini(&lib->schedule);
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
    struct tls_lib *lib;
    struct tls_base *base; /* being made */
    struct tls_who *who;   /* being made */
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

static X509 *copy_cert(const struct tls_lib *lib, const struct tls_cert *from)
{
    const unsigned char *der = (const unsigned char *)from->der.ptr;
    X509 *cert = X509_new_ex(lib->provider.libctx, NULL);

    /* d2i_X509() frees what it cannot fill. */
    return cert != NULL ? d2i_X509(&cert, &der, (long)from->der.len) : NULL;
}

static int use_chain(const struct making *m, const struct tls_cert *certs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        X509 *cert = copy_cert(m->lib, &certs[i]);
        bool ok;

        if (cert == NULL)
            return refuse_openssl(m, "certificate");
        if (i == 0) {
            ok = SSL_CTX_use_certificate(m->base->ssl, cert) == 1;
            X509_free(cert);
        } else {
            ok = SSL_CTX_add0_chain_cert(m->base->ssl, cert) == 1;
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

    key = d2i_AutoPrivateKey_ex(NULL, &at, (long)der.len, m->lib->provider.libctx, NULL);
    ok = key != NULL && SSL_CTX_use_PrivateKey(m->base->ssl, key) == 1;
    EVP_PKEY_free(key);
    return ok ? 0 : refuse_openssl(m, "private key");
}

static int use_secret(const struct making *m)
{
    const struct tls_cert *chain = NULL;
    uint32_t n = m->conf->secret != NULL ? tls_secret_chain(m->conf->secret, &chain) : 0;
    int rc;

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
    return SSL_CTX_add_client_CA(m->base->ssl, root) == 1 ? 0 : refuse_openssl(m, "trusted_ca");
}

static int use_trust(const struct making *m)
{
    const struct tls_cert *roots = NULL;
    uint32_t n = m->conf->trust != NULL ? tls_secret_roots(m->conf->trust, &roots) : 0;
    X509_STORE *store = SSL_CTX_get_cert_store(m->base->ssl);

    if (!m->base->demands_cert)
        return 0;
    if (n == 0)
        return refuse(m, "there is no trusted_ca to verify peers with");
    for (uint32_t i = 0; i < n; i++) {
        X509 *root = copy_cert(m->lib, &roots[i]);
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
    SSL_CTX_set_verify(m->base->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(m->base->ssl, verify_callback, NULL);
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
    SSL_CTX *ssl = m->base->ssl;

    if (conf->min_version > conf->max_version)
        return refuse(m, "min_version is above max_version");
    if (SSL_CTX_set_min_proto_version(ssl, openssl_version(conf->min_version)) != 1 ||
        SSL_CTX_set_max_proto_version(ssl, openssl_version(conf->max_version)) != 1 ||
        SSL_CTX_set_ciphersuites(ssl, CIPHERS_1_3) != 1 ||
        SSL_CTX_set1_groups_list(ssl, GROUPS) != 1)
        return refuse_openssl(m, "versions and suites");
    /* An anonymous suite would go round all verification. */
    list = arena_printf(&m->base->arena, "%s:!aNULL:!eNULL:!PSK:!SRP", list);
    if (SSL_CTX_set_cipher_list(ssl, list) != 1)
        return refuse_openssl(m, "cipher_list");
    return 0;
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *offer, unsigned offer_len, void *arg)
{
    const struct slice alpn = ((const struct tls_base *)arg)->alpn;

    for (size_t i = 0; i < alpn.len; i += 1u + (unsigned char)alpn.ptr[i]) {
        struct slice ours = { alpn.ptr + i, 1u + (unsigned char)alpn.ptr[i] };

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
    struct tls_base *base = m->base;
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
    at = arena_alloc(&base->arena, room);
    base->alpn = (struct slice){ at, room };
    for (uint32_t i = 0; i < conf->n_alpn; i++) {
        size_t len = strlen(conf->alpn[i]);

        *at++ = (char)len;
        memcpy(at, conf->alpn[i], len);
        at += len;
    }
    if (base->is_server)
        SSL_CTX_set_alpn_select_cb(base->ssl, choose_alpn, base);
    else if (SSL_CTX_set_alpn_protos(base->ssl, (const unsigned char *)base->alpn.ptr,
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

static int use_tickets(const struct making *m)
{
    SSL_CTX *ssl = m->base->ssl;

    if (m->base->resumes) {
        resume_prepare(ssl);
        return 0;
    }
    /* No sessions are kept by us, on either side. */
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    if (m->base->tickets == NULL) {
        SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ssl, 0);
        return 0;
    }
    SSL_CTX_set_num_tickets(ssl, 1);
    SSL_CTX_set_timeout(ssl, TLS_TICKET_SECONDS);
    if (SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, tickets_callback) != 1 ||
        SSL_CTX_set_session_ticket_cb(ssl, verify_ticket_sealed, verify_ticket_opened, NULL) != 1)
        return refuse_openssl(m, "session tickets");
    return 0;
}

static int fill_base(const struct making *m)
{
    SSL_CTX *ssl = SSL_CTX_new_ex(m->lib->provider.libctx, NULL,
                                  m->base->is_server ? TLS_server_method() : TLS_client_method());
    int rc;

    m->base->ssl = ssl;
    if (ssl == NULL)
        return refuse_openssl(m, "context");
    SSL_CTX_set_security_level(ssl, 2);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_clear_mode(ssl, SSL_MODE_AUTO_RETRY); /* come back after each message */
    SSL_CTX_set_max_cert_list(ssl, TLS_PEER_CHAIN_BYTES);
    SSL_CTX_set_verify_depth(ssl, TLS_CHAIN_DEPTH);
    SSL_CTX_set_msg_callback(ssl, on_message);
    if (m->base->is_server)
        SSL_CTX_set_tlsext_servername_callback(ssl, check_server_name);

    rc = use_suites(m);
    if (rc == 0)
        rc = use_secret(m);
    if (rc == 0)
        rc = use_trust(m);
    if (rc == 0)
        rc = use_alpn(m);
    return rc == 0 ? use_tickets(m) : rc;
}

/* --- what contexts share --- */

static void free_base(struct tls_base *b)
{
    SSL_CTX_free(b->ssl);
    chains_free(b->chains);
    tls_secret_put(b->secret);
    tls_secret_put(b->trust);
    arena_fini(&b->arena);
    free(b);
}

static bool demands_cert(const struct tls_ctx_conf *conf)
{
    return !conf->is_server || conf->conf->mode == TLS_MODE_MUTUAL;
}

static struct tls_tickets *tickets_of(const struct tls_ctx_conf *conf)
{
    return conf->is_server && conf->conf->session_tickets ? conf->tickets : NULL;
}

static bool resumes(const struct tls_ctx_conf *conf)
{
    return !conf->is_server && conf->resumes;
}

static bool alpn_is(const struct tls_base *b, const struct tls_conf *conf)
{
    size_t at = 0;

    for (uint32_t i = 0; i < conf->n_alpn; i++) {
        const struct slice name = slice_of(conf->alpn[i]);

        if (at >= b->alpn.len || (unsigned char)b->alpn.ptr[at] != name.len ||
            memcmp(b->alpn.ptr + at + 1, name.ptr, name.len) != 0)
            return false;
        at += 1 + name.len;
    }
    return at == b->alpn.len;
}

static bool str_eq(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool base_is_for(const struct tls_base *b, const struct tls_ctx_conf *c)
{
    return b->secret == c->secret && b->trust == c->trust && b->is_server == c->is_server &&
           b->demands_cert == demands_cert(c) && b->min_version == c->conf->min_version &&
           b->max_version == c->conf->max_version && b->tickets == tickets_of(c) &&
           b->resumes == resumes(c) && str_eq(b->cipher_list, c->conf->cipher_list) &&
           alpn_is(b, c->conf);
}

static struct tls_base **bucket_of(struct tls_lib *lib, const struct tls_ctx_conf *conf)
{
    const uint64_t h = hash_mix((uintptr_t)conf->secret) ^
                       hash_mix((uintptr_t)conf->trust + (conf->is_server ? 1 : 0));

    return &lib->bases[h % TLS_BASE_BUCKETS];
}

static struct tls_base *make_base(struct tls_lib *lib, const struct tls_ctx_conf *conf,
                                  struct cfg_err *err)
{
    struct tls_base *b = own_alloc(1, sizeof(*b));
    struct making m = { .lib = lib, .conf = conf, .err = err, .base = b };

    if (b == NULL) {
        refuse(&m, "no memory");
        return NULL;
    }
    b->is_server = conf->is_server;
    b->demands_cert = demands_cert(conf);
    b->min_version = conf->conf->min_version;
    b->max_version = conf->conf->max_version;
    b->tickets = tickets_of(conf);
    b->resumes = resumes(conf);
    b->secret = conf->secret != NULL ? tls_secret_get(conf->secret) : NULL;
    b->trust = conf->trust != NULL ? tls_secret_get(conf->trust) : NULL;
    arena_init(&b->arena, 0);
    if (conf->conf->cipher_list != NULL)
        b->cipher_list = arena_strdup(&b->arena, conf->conf->cipher_list);
    ERR_clear_error();
    if (fill_base(&m) == 0) {
        lib->counters.contexts++;
        return b;
    }
    ERR_clear_error();
    free_base(b);
    return NULL;
}

/* The one that is there, or a new one. */
static struct tls_base *get_base(struct tls_lib *lib, const struct tls_ctx_conf *conf,
                                 struct cfg_err *err)
{
    struct tls_base **bucket = bucket_of(lib, conf), *b = *bucket;

    while (b != NULL && !base_is_for(b, conf))
        b = b->next;
    if (b == NULL) {
        b = make_base(lib, conf, err);
        if (b == NULL)
            return NULL;
        atomic_init(&b->refs, 1); /* the library's */
        b->next = *bucket;
        *bucket = b;
    }
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

static void put_base(struct tls_lib *lib, struct tls_base *b)
{
    /* Releases what this holder did with it, for the sweep that frees it. */
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 2)
        atomic_store_explicit(&lib->has_unused, true, memory_order_release);
}

void tls_lib_sweep(struct tls_lib *lib)
{
    if (!atomic_exchange_explicit(&lib->has_unused, false, memory_order_acquire))
        return;
    for (unsigned i = 0; i < TLS_BASE_BUCKETS; i++) {
        for (struct tls_base **at = &lib->bases[i], *b; (b = *at) != NULL;) {
            if (atomic_load_explicit(&b->refs, memory_order_acquire) > 1) {
                at = &b->next;
                continue;
            }
            *at = b->next;
            free_base(b);
        }
    }
}

/* --- what a chain or cluster says for itself --- */

static int set_server_name(const struct making *m)
{
    char plain[HOSTNAME_MAX + 1];

    if (m->conf->is_server || m->conf->conf->sni == NULL)
        return 0;
    if (!hostname_copy(slice_of(m->conf->conf->sni), plain))
        return refuse(m, "sni is not a host name");
    m->who->sni = arena_strdup(&m->who->arena, plain);
    return 0;
}

/* What a ticket is bound to: it resumes only where these are the same. */
static bool digest_context(const struct making *m, EVP_MD_CTX *md)
{
    const struct tls_cert *roots = NULL;
    uint32_t n = m->conf->trust != NULL ? tls_secret_roots(m->conf->trust, &roots) : 0;
    bool ok = EVP_DigestUpdate(md, m->conf->name, strlen(m->conf->name) + 1) == 1 &&
              policy_digest(&m->who->policy, md) && EVP_DigestUpdate(md, &n, sizeof(n)) == 1;

    for (uint32_t i = 0; ok && i < n; i++)
        ok =
            EVP_DigestUpdate(md, roots[i].info.fingerprint, strlen(roots[i].info.fingerprint)) == 1;
    return ok;
}

static int bind_tickets(const struct making *m)
{
    unsigned char id[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *md;
    unsigned len = 0;
    bool ok;

    if (tickets_of(m->conf) == NULL)
        return 0;
    md = EVP_MD_CTX_new();
    ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 && digest_context(m, md) &&
         EVP_DigestFinal_ex(md, id, &len) == 1 && len <= sizeof(m->who->binding);
    EVP_MD_CTX_free(md);
    if (!ok)
        return refuse_openssl(m, "session id context");
    memcpy(m->who->binding, id, len);
    m->who->n_binding = len;
    return 0;
}

static void put_who(struct tls_who *who)
{
    if (atomic_fetch_sub_explicit(&who->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_fini(&who->arena);
    free(who);
}

static int fill_who(const struct making *m)
{
    const struct tls_conf *conf = m->conf->conf;
    const struct tls_cert *chain = NULL;
    uint32_t n = m->conf->secret != NULL ? tls_secret_chain(m->conf->secret, &chain) : 0;
    int rc;

    m->who->local_uri = n > 0 ? arena_strdup(&m->who->arena, chain[0].info.uri) : "";
    m->who->handshake_timeout_us =
        conf->handshake_timeout_us > 0 ? conf->handshake_timeout_us : HANDSHAKE_TIMEOUT_US;
    rc = policy_init(&m->who->policy, &m->who->arena, conf, m->conf->is_server, m->err);
    if (rc == 0)
        rc = set_server_name(m);
    return rc == 0 ? bind_tickets(m) : rc;
}

static struct tls_who *make_who(const struct tls_ctx_conf *conf, struct cfg_err *err)
{
    struct making m = { .conf = conf, .err = err, .who = calloc(1, sizeof(*m.who)) };

    if (m.who == NULL) {
        refuse(&m, "no memory");
        return NULL;
    }
    atomic_init(&m.who->refs, 1);
    arena_init_block(&m.who->arena, WHO_BLOCK);
    if (fill_who(&m) == 0)
        return m.who;
    put_who(m.who);
    return NULL;
}

/* --- a context's life --- */

static void destroy(struct tls_ctx *ctx)
{
    resume_drop(ctx);
    put_base(ctx->lib, ctx->base);
    put_who(ctx->who);
    atomic_fetch_sub_explicit(&ctx->lib->n_ctx, 1, memory_order_relaxed);
    free(ctx);
}

/* Takes @who, and lets it go if it fails. */
static struct tls_ctx *join(struct tls_lib *lib, struct tls_who *who,
                            const struct tls_ctx_conf *conf, struct cfg_err *err)
{
    const struct making m = { .conf = conf, .err = err };
    struct tls_base *base = get_base(lib, conf, err);
    struct tls_ctx *ctx = base != NULL ? own_alloc(1, sizeof(*ctx)) : NULL;

    if (ctx == NULL) {
        if (base != NULL) {
            refuse(&m, "no memory");
            put_base(lib, base);
        }
        put_who(who);
        return NULL;
    }
    *ctx = (struct tls_ctx){ .is_server = conf->is_server, .lib = lib, .base = base, .who = who };
    atomic_init(&ctx->refs, 1);
    atomic_fetch_add_explicit(&lib->n_ctx, 1, memory_order_relaxed);
    if (!resumes(conf) || resume_begin(ctx))
        return ctx;
    refuse(&m, "no memory");
    destroy(ctx);
    return NULL;
}

struct tls_ctx *tls_ctx_new(struct tls_lib *lib, const struct tls_ctx_conf *conf,
                            struct cfg_err *err)
{
    struct tls_who *who = make_who(conf, err);

    return who != NULL ? join(lib, who, conf, err) : NULL;
}

struct tls_ctx *tls_ctx_again(const struct tls_ctx *ctx, struct tls_lib *lib,
                              const struct tls_ctx_conf *conf, struct cfg_err *err)
{
    atomic_fetch_add_explicit(&ctx->who->refs, 1, memory_order_relaxed);
    return join(lib, ctx->who, conf, err);
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

bool tls_ctx_is_of(const struct tls_ctx *ctx, const struct tls_secret *secret,
                   const struct tls_secret *trust)
{
    return ctx->base->secret == secret && ctx->base->trust == trust;
}

const char *tls_ctx_local_uri(const struct tls_ctx *ctx)
{
    return ctx->who->local_uri;
}

uint64_t tls_ctx_handshake_timeout_us(const struct tls_ctx *ctx)
{
    return ctx->who->handshake_timeout_us;
}
