/*
 * verify.h - who may be on the other end
 *
 * OpenSSL builds and checks the chain: signatures, validity, depth, and the
 * purpose (extended key usage: clientAuth of clients, serverAuth of servers).
 * Then we ask who it is. A SPIFFE identity counts only as the one URI name of the
 * certificate, a host name only as a DNS name; the subject counts for nothing.
 *
 * A trust domain of ours (trust_domain or an alias; and "cluster.local", which
 * policies use for "the local one") in an accepted identity stands for every
 * trust domain of ours.
 *
 * What is accepted and what was asked for is hashed into the context of sessions,
 * so that a ticket only resumes where the same verification would take place; the
 * end of validity of the chain and the certificate travel in the ticket.
 */
#pragma once

#include "config/model/tls.h"
#include "dataplane/base/arena.h"
#include "tls/spiffe.h"

#include <openssl/ssl.h>

struct accepted_id {
    struct spiffe_id id;
    bool is_prefix; /* ->id.path is the front of a path */
    bool is_ours;   /* its trust domain stands for all of ours */
};

struct tls_policy {
    bool is_server;    /* the peer is a client */
    bool demands_cert; /* false: SIMPLE server, peers stay anonymous */
    uint32_t n_domains;
    struct slice *domains; /* ours: trust_domain, then its aliases */
    uint32_t n_ids;
    struct accepted_id *ids;
    bool any_of_ours; /* every workload of our trust domains is accepted */
    uint32_t n_dns;
    const char **dns;
};

/* Copies what it needs into @a. Returns 0, or -EINVAL with words. */
int policy_init(struct tls_policy *p, struct arena *a, const struct tls_conf *conf, bool is_server,
                struct cfg_err *err);

#define POLICY_WHY_LEN 160

/* Is the holder of this certificate accepted? False: @why says why not. */
bool policy_accepts(const struct tls_policy *p, X509 *leaf, char why[POLICY_WHY_LEN]);

/* Adds to @md all that decides whom @p accepts. */
bool policy_digest(const struct tls_policy *p, EVP_MD_CTX *md);

/* SSL_CTX_set_cert_verify_callback() */
int verify_callback(X509_STORE_CTX *store, void *arg);

struct tls_session;

/*
 * A reference of the peer's certificate, once the handshake is over; NULL: it has shown none. Of a
 * client that has resumed it is the ticket's.
 */
X509 *verify_peer(struct tls_session *s);

/* A session resumed: may @leaf's holder, verified in the past, still come in? */
bool verify_resumed(struct tls_session *s, X509 *leaf, char why[POLICY_WHY_LEN]);

/* SSL_CTX_set_session_ticket_cb(): ticket_data.h into a ticket, and back. */
int verify_ticket_sealed(SSL *ssl, void *arg);
SSL_TICKET_RETURN verify_ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                       size_t name_len, SSL_TICKET_STATUS status, void *arg);
