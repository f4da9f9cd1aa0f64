#include "tls/verify.h"

#include "tls/certinfo.h"
#include "tls/inner.h"
#include "tls/ticket_data.h"

#include <stdio.h>

/* --- what is accepted --- */

static bool is_our_domain(const struct tls_policy *p, struct slice domain)
{
    for (uint32_t i = 0; i < p->n_domains; i++) {
        if (slice_eq(p->domains[i], domain))
            return true;
    }
    return false;
}

static int add_domain(struct tls_policy *p, struct arena *a, const struct tls_conf *conf,
                      const char *name, struct cfg_err *err)
{
    if (!spiffe_domain_ok(slice_of(name)))
        return cfg_err_set(err, &conf->where, "tls: \"%s\" is not a trust domain", name);
    p->domains[p->n_domains++] = arena_copy(a, slice_of(name));
    return 0;
}

static int init_domains(struct tls_policy *p, struct arena *a, const struct tls_conf *conf,
                        struct cfg_err *err)
{
    int rc = 0;

    if (conf->trust_domain == NULL)
        return 0;
    p->domains = arena_alloc(a, (1 + conf->n_trust_domain_aliases) * sizeof(*p->domains));
    rc = add_domain(p, a, conf, conf->trust_domain, err);
    for (uint32_t i = 0; rc == 0 && i < conf->n_trust_domain_aliases; i++)
        rc = add_domain(p, a, conf, conf->trust_domain_aliases[i], err);
    return rc;
}

static int init_ids(struct tls_policy *p, struct arena *a, const struct tls_conf *conf,
                    struct cfg_err *err)
{
    p->ids = arena_alloc(a, conf->n_peer_ids * sizeof(*p->ids));
    for (uint32_t i = 0; i < conf->n_peer_ids; i++) {
        const struct peer_id_conf *from = &conf->peer_ids[i];
        struct accepted_id *to = &p->ids[p->n_ids++];
        struct slice text = arena_copy(a, slice_of(from->text));

        to->is_prefix = from->is_prefix;
        if (!(from->is_prefix ? spiffe_parse_prefix : spiffe_parse)(text, &to->id))
            return cfg_err_set(err, &conf->where, "tls: \"%s%s\" is not a SPIFFE identity%s",
                               from->text, from->is_prefix ? "*" : "",
                               from->is_prefix ? " with a whole trust domain" : "");
        to->is_ours = p->n_domains > 0 && (is_our_domain(p, to->id.domain) ||
                                           slice_eq(to->id.domain, SLICE("cluster.local")));
    }
    return 0;
}

static int add_dns(struct tls_policy *p, struct arena *a, const struct tls_conf *conf,
                   const char *name, struct cfg_err *err)
{
    char plain[HOSTNAME_MAX + 1];

    if (!hostname_copy(slice_of(name), plain))
        return cfg_err_set(err, &conf->where, "tls: \"%s\" is not a host name", name);
    p->dns[p->n_dns++] = arena_strdup(a, plain);
    return 0;
}

static int init_dns(struct tls_policy *p, struct arena *a, const struct tls_conf *conf,
                    struct cfg_err *err)
{
    int rc = 0;

    p->dns = arena_alloc(a, (1 + conf->n_dns_names) * sizeof(*p->dns));
    for (uint32_t i = 0; rc == 0 && i < conf->n_dns_names; i++)
        rc = add_dns(p, a, conf, conf->dns_names[i], err);
    if (rc == 0 && conf->n_dns_names == 0 && conf->n_peer_ids == 0 && conf->sni != NULL)
        rc = add_dns(p, a, conf, conf->sni, err);
    return rc;
}

int policy_init(struct tls_policy *p, struct arena *a, const struct tls_conf *conf, bool is_server,
                struct cfg_err *err)
{
    int rc;

    *p = (struct tls_policy){ .is_server = is_server };
    p->demands_cert = !is_server || conf->mode == TLS_MODE_MUTUAL;
    if (!p->demands_cert)
        return 0;
    rc = init_domains(p, a, conf, err);
    if (rc == 0)
        rc = init_ids(p, a, conf, err);
    if (rc == 0 && !is_server)
        rc = init_dns(p, a, conf, err);
    if (rc < 0)
        return rc;
    p->any_of_ours = is_server && p->n_ids == 0;
    if (p->any_of_ours && p->n_domains == 0)
        return cfg_err_set(err, &conf->where,
                           "tls: mode MUTUAL needs a trust_domain, or peer_ids to accept");
    if (!is_server && p->n_ids == 0 && p->n_dns == 0)
        return cfg_err_set(err, &conf->where,
                           "tls: nothing says who the server may be: give peer_ids, dns_names or "
                           "sni");
    return 0;
}

static bool digest_slice(EVP_MD_CTX *md, struct slice s)
{
    uint64_t len = s.len;

    return EVP_DigestUpdate(md, &len, sizeof(len)) == 1 && EVP_DigestUpdate(md, s.ptr, s.len) == 1;
}

static bool digest_u32(EVP_MD_CTX *md, uint32_t v)
{
    return EVP_DigestUpdate(md, &v, sizeof(v)) == 1;
}

bool policy_digest(const struct tls_policy *p, EVP_MD_CTX *md)
{
    bool ok = digest_u32(md, p->demands_cert) && digest_u32(md, p->n_domains);

    for (uint32_t i = 0; ok && i < p->n_domains; i++)
        ok = digest_slice(md, p->domains[i]);
    ok = ok && digest_u32(md, p->n_ids);
    for (uint32_t i = 0; ok && i < p->n_ids; i++)
        ok = digest_u32(md, p->ids[i].is_prefix) && digest_slice(md, p->ids[i].id.domain) &&
             digest_slice(md, p->ids[i].id.path);
    return ok;
}

/* --- who it is --- */

static bool id_matches(const struct tls_policy *p, const struct accepted_id *accepted,
                       const struct spiffe_id *peer)
{
    if (accepted->is_ours ? !is_our_domain(p, peer->domain)
                          : !slice_eq(accepted->id.domain, peer->domain))
        return false;
    return accepted->is_prefix ? slice_starts(peer->path, accepted->id.path)
                               : slice_eq(peer->path, accepted->id.path);
}

static bool spiffe_is_accepted(const struct tls_policy *p, const struct spiffe_id *peer)
{
    if (p->any_of_ours)
        return is_our_domain(p, peer->domain);
    for (uint32_t i = 0; i < p->n_ids; i++) {
        if (id_matches(p, &p->ids[i], peer))
            return true;
    }
    return false;
}

/* X.509-SVID section 4 and 5.2: a workload's certificate is no CA's. */
static bool is_workload_cert(X509 *leaf)
{
    uint32_t flags = X509_get_extension_flags(leaf);

    if (flags & EXFLAG_CA)
        return false;
    return !(flags & EXFLAG_KUSAGE) ||
           (X509_get_key_usage(leaf) & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) == 0;
}

/* The one URI among the names; SLICE_NONE: there are none, or several. */
static struct slice only_uri(GENERAL_NAMES *names, unsigned *n)
{
    struct slice uri = SLICE_NONE;

    *n = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        struct slice s = cert_san(sk_GENERAL_NAME_value(names, i), GEN_URI);

        if (s.ptr != NULL && (*n)++ == 0)
            uri = s;
    }
    return *n == 1 ? uri : SLICE_NONE;
}

static bool accepts_spiffe(const struct tls_policy *p, X509 *leaf, GENERAL_NAMES *names, char *why)
{
    struct spiffe_id id;
    struct slice uri;
    unsigned n;

    uri = only_uri(names, &n);
    if (n == 0)
        snprintf(why, POLICY_WHY_LEN, "the certificate has no SPIFFE identity");
    else if (n > 1)
        snprintf(why, POLICY_WHY_LEN, "the certificate has more than one URI name");
    else if (!spiffe_parse(uri, &id) || id.path.len == 0)
        snprintf(why, POLICY_WHY_LEN, "the certificate's URI is no SPIFFE identity of a workload");
    else if (!is_workload_cert(leaf))
        snprintf(why, POLICY_WHY_LEN, "the certificate is that of a CA");
    else if (!spiffe_is_accepted(p, &id))
        snprintf(why, POLICY_WHY_LEN, "SPIFFE identity %.*s is not accepted", SLICE_ARG(uri));
    else
        return true;
    return false;
}

static bool accepts_dns(const struct tls_policy *p, GENERAL_NAMES *names, char *why)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        struct slice pattern = cert_san(sk_GENERAL_NAME_value(names, i), GEN_DNS);

        for (uint32_t k = 0; pattern.ptr != NULL && k < p->n_dns; k++) {
            if (hostname_matches(pattern, p->dns[k]))
                return true;
        }
    }
    snprintf(why, POLICY_WHY_LEN, "the certificate is not for %.64s%s", p->dns[0],
             p->n_dns > 1 ? " or another accepted name" : "");
    return false;
}

bool policy_accepts(const struct tls_policy *p, X509 *leaf, char why[POLICY_WHY_LEN])
{
    const struct cert_facts *f = cert_facts(leaf);
    GENERAL_NAMES *names;
    bool ok = false;

    if (f != NULL) {
        names = f->names;
    } else if (!cert_sans(leaf, &names)) {
        snprintf(why, POLICY_WHY_LEN, "the certificate's names cannot be read");
        return false;
    }
    if (p->n_dns > 0)
        ok = accepts_dns(p, names, why);
    if (!ok && (p->n_ids > 0 || p->any_of_ours))
        ok = accepts_spiffe(p, leaf, names, why);
    if (f == NULL)
        GENERAL_NAMES_free(names);
    return ok;
}

/* --- the chain --- */

/* When all of the chain is valid. What has no time that can be read, is never. */
static void validity(X509_STORE_CTX *store, int64_t *from, int64_t *until)
{
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(store);

    *from = INT64_MIN;
    *until = INT64_MAX;
    for (int i = 0; i < sk_X509_num(chain); i++) {
        int64_t begin = INT64_MAX, end = INT64_MIN;

        (void)cert_time(X509_get0_notBefore(sk_X509_value(chain, i)), &begin);
        (void)cert_time(X509_get0_notAfter(sk_X509_value(chain, i)), &end);
        *from = MAX(*from, begin);
        *until = MIN(*until, end);
    }
}

static bool hash_cert(const struct tls_lib *lib, X509 *cert, uint8_t to[CHAIN_ID_LEN])
{
    const struct cert_facts *f = cert_facts(cert);

    if (f == NULL)
        return X509_digest(cert, lib->sha256, to, NULL) == 1;
    memcpy(to, f->hash, CHAIN_ID_LEN);
    return true;
}

/* Names what the peer has presented, certificate by certificate. False: no memory. */
static bool identify(const struct tls_lib *lib, X509_STORE_CTX *store, uint8_t id[CHAIN_ID_LEN])
{
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(store);
    uint8_t hashes[TLS_CHAIN_MAX][CHAIN_ID_LEN];
    const int n = sk_X509_num(chain);

    if (n < 1 || n > TLS_CHAIN_MAX ||
        X509_cmp(sk_X509_value(chain, 0), X509_STORE_CTX_get0_cert(store)) != 0)
        return false;
    for (int i = 0; i < n; i++)
        if (!hash_cert(lib, sk_X509_value(chain, i), hashes[i]))
            return false;
    return EVP_Digest(hashes, (size_t)n * CHAIN_ID_LEN, id, NULL, lib->sha256, NULL) == 1;
}

static int refuse_chain(struct tls_session *s, X509_STORE_CTX *store)
{
    int code = X509_STORE_CTX_get_error(store), depth = X509_STORE_CTX_get_error_depth(store);

    s->was_refused = true;
    session_counters(s)->fail_verify_error++;
    snprintf(s->error, sizeof(s->error), "TLS error: %s%s", X509_verify_cert_error_string(code),
             depth > 0 ? " (not of the peer itself, but above it in the chain)" : "");
    return 0;
}

static int refuse_identity(struct tls_session *s, const char *why)
{
    s->was_refused = true;
    session_counters(s)->fail_verify_san++;
    snprintf(s->error, sizeof(s->error), "TLS error: %s", why);
    return 0;
}

/* Is the chain what it should be? Sets ->valid_until. False: refused. */
static bool verify_chain(struct tls_session *s, X509_STORE_CTX *store)
{
    const int64_t now = (int64_t)(s->core->wall_us / 1000000);
    uint8_t id[CHAIN_ID_LEN];
    const bool has_id = identify(s->ctx->lib, store, id);
    int64_t from;

    if (has_id && chains_know(s->ctx->base->chains, id, now, &s->valid_until)) {
        session_counters(s)->chains_known++;
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return true;
    }
    X509_STORE_CTX_set_time(store, 0, (time_t)now);
    if (X509_verify_cert(store) != 1) {
        if (X509_STORE_CTX_get_error(store) == X509_V_OK)
            X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED);
        return false;
    }
    validity(store, &from, &s->valid_until);
    if (has_id)
        chains_add(&s->ctx->base->chains, id, from, s->valid_until);
    return true;
}

/* Its holder is accepted: who comes again need not have it decoded again. */
static void remember(struct tls_lib *lib, X509 *cert)
{
    if (cert_facts(cert) == NULL)
        certs_add(&lib->certs, cert);
}

static void remember_chain(struct tls_lib *lib, X509_STORE_CTX *store)
{
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(store);
    const int n = MIN(sk_X509_num(chain), TLS_CHAIN_MAX);

    for (int i = 0; i < n; i++)
        remember(lib, sk_X509_value(chain, i));
}

int verify_callback(X509_STORE_CTX *store, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *s = SSL_get_app_data(ssl);
    char why[POLICY_WHY_LEN];

    if (!verify_chain(s, store))
        return refuse_chain(s, store);
    if (!policy_accepts(&s->ctx->who->policy, X509_STORE_CTX_get0_cert(store), why)) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED); /* alert: bad_certificate */
        return refuse_identity(s, why);
    }
    remember_chain(s->ctx->lib, store);
    return 1;
}

/* --- resumption --- */

int verify_ticket_sealed(SSL *ssl, void *arg)
{
    const struct tls_session *s = SSL_get_app_data(ssl);

    /* Of a client that has resumed nobody has verified anything: what its ticket said stays. */
    if (SSL_session_reused(ssl) == 1)
        return 1;
    return ticket_data_put(SSL_get_session(ssl), s->valid_until, SSL_get0_peer_certificate(ssl));
}

SSL_TICKET_RETURN verify_ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                       size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
    struct tls_session *s = SSL_get_app_data(ssl);
    struct ticket_data d;

    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    /* A peer whose chain has run out since begins from the start, and is told why it fails. */
    if (!ticket_data_get(session, &d) || d.valid_until < (int64_t)(s->core->wall_us / 1000000))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    /* A TLS 1.3 client uses a ticket once, so that nobody can link its visits (RFC 8446 C.4). */
    if (status == SSL_TICKET_SUCCESS_RENEW || SSL_version(ssl) == TLS1_3_VERSION)
        return SSL_TICKET_RETURN_USE_RENEW;
    return SSL_TICKET_RETURN_USE;
}

/* A reference of the certificate in a ticket; NULL: it cannot be read. */
static X509 *ticket_cert(struct tls_session *s, struct slice der)
{
    X509 *known = certs_find(s->ctx->lib->certs, der);
    const unsigned char *at = (const unsigned char *)der.ptr;

    session_counters(s)->certs_known += known != NULL;
    return known != NULL ? known : d2i_X509(NULL, &at, (long)der.len);
}

X509 *verify_peer(struct tls_session *s)
{
    struct ticket_data d;

    if (!s->ctx->is_server || SSL_session_reused(s->ssl) != 1)
        return SSL_get1_peer_certificate(s->ssl);
    if (!ticket_data_get(SSL_get_session(s->ssl), &d) || d.cert.len == 0)
        return NULL;
    return ticket_cert(s, d.cert);
}

bool verify_resumed(struct tls_session *s, X509 *leaf, char why[POLICY_WHY_LEN])
{
    if (leaf == NULL) {
        snprintf(why, POLICY_WHY_LEN, "a resumed session without a certificate");
        return false;
    }
    if (!policy_accepts(&s->ctx->who->policy, leaf, why))
        return false;
    remember(s->ctx->lib, leaf); /* it was verified when the ticket was given, perhaps by another */
    return true;
}
