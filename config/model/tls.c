#include "config/model/tls.h"

#include <string.h>

static bool str_eq(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool strs_eq(uint32_t n_a, const char *const *a, uint32_t n_b, const char *const *b)
{
    if (n_a != n_b)
        return false;
    for (uint32_t i = 0; i < n_a; i++)
        if (!str_eq(a[i], b[i]))
            return false;
    return true;
}

static bool peer_ids_eq(const struct tls_conf *a, const struct tls_conf *b)
{
    if (a->n_peer_ids != b->n_peer_ids)
        return false;
    for (uint32_t i = 0; i < a->n_peer_ids; i++)
        if (!str_eq(a->peer_ids[i].text, b->peer_ids[i].text) ||
            a->peer_ids[i].is_prefix != b->peer_ids[i].is_prefix)
            return false;
    return true;
}

bool tls_conf_eq(const struct tls_conf *a, const struct tls_conf *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return a->mode == b->mode && str_eq(a->secret, b->secret) && str_eq(a->trust, b->trust) &&
           str_eq(a->sni, b->sni) && strs_eq(a->n_alpn, a->alpn, b->n_alpn, b->alpn) &&
           a->min_version == b->min_version && a->max_version == b->max_version &&
           str_eq(a->cipher_list, b->cipher_list) && str_eq(a->trust_domain, b->trust_domain) &&
           strs_eq(a->n_trust_domain_aliases, a->trust_domain_aliases, b->n_trust_domain_aliases,
                   b->trust_domain_aliases) &&
           peer_ids_eq(a, b) &&
           strs_eq(a->n_dns_names, a->dns_names, b->n_dns_names, b->dns_names) &&
           a->session_tickets == b->session_tickets &&
           a->handshake_timeout_us == b->handshake_timeout_us;
}
