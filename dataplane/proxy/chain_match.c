/*
 * Which filter chain takes a connection: Envoy's FilterChainMatch, the criteria
 * that are built here, in its order: destination prefix (longest first), server
 * name (exact, longest suffix, none). Of two that are left, the one that ends TLS
 * takes what is TLS.
 *
 *                        TLS          plaintext
 *   with tls             ends it      -
 *   http without tls     -            requests
 *   tcp without tls      passes on    passes on, unless it has server names
 */
#include "dataplane/proxy/proxy_priv.h"

/* How well a chain fits, larger is better; -1: not at all. */
static int destination_rank(const struct chain_conf *c, const struct ipaddr *destination)
{
    int best = c->n_destinations == 0 ? 0 : -1;

    for (uint32_t i = 0; i < c->n_destinations; i++)
        if (ipprefix_contains(&c->destinations[i], destination))
            best = MAX(best, c->destinations[i].len + 1);
    return best;
}

static int name_rank(const char *pattern, struct slice sni)
{
    struct slice p = slice_of(pattern);

    if (p.len > 1 && p.ptr[0] == '*')
        return sni.len >= p.len && slice_ends(sni, slice_skip(p, 1)) ? (int)p.len : -1;
    return slice_eq(p, sni) ? 1000 : -1;
}

static int server_name_rank(const struct chain_conf *c, struct slice sni)
{
    int best = c->n_server_names == 0 ? 0 : -1;

    for (uint32_t i = 0; i < c->n_server_names; i++)
        best = MAX(best, name_rank(c->server_names[i], sni));
    return best;
}

static bool takes(const struct chain_conf *c, bool is_tls)
{
    return is_tls ? c->tls != NULL || c->kind == CHAIN_TCP : c->tls == NULL;
}

struct chain_rt *chain_match(const struct listener_rt *l, const struct ipaddr *destination,
                             const char *sni, bool is_tls)
{
    struct chain_rt *best = NULL;
    int best_rank = -1;

    for (uint32_t i = 0; i < l->conf->n_chains; i++) {
        const struct chain_conf *c = l->chains[i].conf;
        int d = destination_rank(c, destination), n = server_name_rank(c, slice_of(sni));
        int rank = d * 4096 + n * 2 + (c->tls != NULL);

        if (d < 0 || n < 0 || !takes(c, is_tls) || rank <= best_rank)
            continue;
        best = &l->chains[i];
        best_rank = rank;
    }
    return best;
}

struct chain_rt *chain_by_name(const struct listener_rt *l, const char *name)
{
    return strmap_get(&l->chain_names, slice_of(name));
}
