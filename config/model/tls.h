/*
 * tls.h - how one side of TLS behaves: of a filter chain (server) or a cluster (client)
 *
 *          server                                   client
 * SIMPLE   presents its certificate                 verifies the server: chain, and a name
 *                                                   (dns_names, or the SNI) or a SPIFFE identity
 * MUTUAL   demands a client certificate, verifies   presents its certificate, verifies as SIMPLE
 *          chain and SPIFFE identity
 *
 * A peer is accepted for who it is: a valid chain is never enough. With
 * peer_ids, its URI SAN must match one of them, where a trust domain in
 * trust_domain or its aliases stands for all of them. Without peer_ids, MUTUAL
 * servers accept every identity of trust_domain and its aliases.
 */
#pragma once

#include "config/model/where.h"

#include <stdbool.h>
#include <stdint.h>

enum tls_mode { TLS_MODE_SIMPLE, TLS_MODE_MUTUAL };
enum tls_version { TLS_VERSION_1_2, TLS_VERSION_1_3 };

/* "spiffe://td/ns/foo/sa/bar": exactly. With a star at its end: every identity that begins so. */
struct peer_id_conf {
    const char *text; /* without the star */
    bool is_prefix;
};

struct tls_conf {
    enum tls_mode mode;
    const char *secret; /* certificate and key; NULL for a SIMPLE client */
    const char *trust;  /* secret whose trusted_ca verifies the peer; NULL: that of ->secret */
    const char *sni;    /* client: server name to send; NULL: none */
    uint32_t n_alpn;
    const char **alpn; /* in order of preference; server: chosen by ours; none: no ALPN */
    enum tls_version min_version, max_version;
    const char *cipher_list;  /* TLS 1.2, OpenSSL's syntax; NULL: forward-secret AEAD suites */
    const char *trust_domain; /* "cluster.local" */
    uint32_t n_trust_domain_aliases;
    const char **trust_domain_aliases;
    uint32_t n_peer_ids;
    struct peer_id_conf *peer_ids;
    uint32_t n_dns_names; /* client: accepted DNS SANs; none: ->sni, unless peer_ids are given */
    const char **dns_names;
    bool session_tickets;          /* server; default true */
    uint64_t handshake_timeout_us; /* default 15 s */
    struct cfg_where where;
};

/* Do both say the same, whatever their certificates hold now? NULL (plaintext) equals NULL. */
bool tls_conf_eq(const struct tls_conf *a, const struct tls_conf *b);
