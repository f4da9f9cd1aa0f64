/* What holds between the settings of isthmus-bench, with isthmusd's rules for what it shares. */
#include "bench/load/conf_impl.h"
#include "config/model/snapshot.h"
#include "config/model/validate.h"

#include <stdio.h>

/* --- the machines ------------------------------------------------------------------------------
 */

/* A ring joins queue to queue: one that the other machine does not read would lose what is sent. */
static int check_rings(const struct machine_conf *m, const struct machine_conf *s,
                       struct cfg_err *err)
{
    for (uint32_t i = 0; i < s->n_ports; i++)
        if (s->ports[i].device == PORT_RING && s->n_workers != m->n_workers)
            return cfg_err_set(err, &s->ports[i].where,
                               "port %s: machines that a ring joins have as many workers, not %u "
                               "and %u",
                               s->ports[i].name, m->n_workers, s->n_workers);
    return 0;
}

/* Ring ports of the two are joined to each other, and no two ports have one name. */
static int join_machines(struct load_conf *c, struct cfg_err *err)
{
    const struct machine_conf *s = c->server_machine;
    struct machine_conf *all = &c->all;

    *all = c->machine;
    if (s == NULL)
        return 0;
    if (all->n_ports + s->n_ports > MACHINE_MAX_PORTS)
        return cfg_err_set(err, &s->where, "the two machines have more than %d ports",
                           MACHINE_MAX_PORTS);
    if (all->n_workers + s->n_workers > MACHINE_MAX_WORKERS)
        return cfg_err_set(err, &s->where, "the two machines have more than %d workers",
                           MACHINE_MAX_WORKERS);
    if (all->n_routes + s->n_routes > MACHINE_MAX_ROUTES)
        return cfg_err_set(err, &s->where, "the two machines have more than %d routes",
                           MACHINE_MAX_ROUTES);
    if (all->hugepages != s->hugepages)
        return cfg_err_set(err, &s->where, "hugepages: one process has them or has not");
    for (uint32_t i = 0; i < s->n_workers; i++)
        all->cores[all->n_workers++] = s->cores[i];
    for (uint32_t i = 0; i < s->n_ports; i++)
        all->ports[all->n_ports++] = s->ports[i];
    for (uint32_t i = 0; i < s->n_routes; i++)
        all->routes[all->n_routes++] = s->routes[i];
    all->memory_mb += s->memory_mb;
    return check_rings(&c->machine, s, err);
}

static int check_machine(const struct machine_conf *m, struct cfg_err *err)
{
    if (machine_has_kernel_interface(m) || m->n_punts > 0)
        return cfg_err_set(err, &m->where,
                           "nothing is given to the kernel here: leave out "
                           "kernel_interface and punt");
    if (m->n_helpers > 0)
        return cfg_err_set(err, &m->where, "helpers are a gateway's: leave out helpers");
    return 0;
}

static int check_parts(const struct load_conf *c, struct cfg_err *err)
{
    if (c->client == NULL && c->server == NULL)
        return cfg_err_set(err, &c->machine.where, "there is neither a client nor a server");
    if (c->client != NULL && c->server != NULL && c->server_machine == NULL)
        return cfg_err_set(err, &c->server->where,
                           "a client and a server take two machines: server_machine is missing");
    if (c->server_machine != NULL && (c->client == NULL || c->server == NULL))
        return cfg_err_set(err, &c->server_machine->where,
                           "server_machine is for a client and a server in one file");
    return 0;
}

/* --- client and server -------------------------------------------------------------------------
 */

/* The secret's own words: here it has no name. */
static int check_client_tls(struct load_tls_conf *t, struct cfg_err *err)
{
    const bool has_cert = t->secret.certificate_chain != NULL;

    if (t->secret.trusted_ca == NULL)
        return cfg_err_set(err, &t->conf.where,
                           "client.tls: trusted_ca is missing: the server is verified");
    if (t->conf.mode == TLS_MODE_SIMPLE && has_cert)
        return cfg_err_set(err, &t->conf.where,
                           "client.tls: with mode \"simple\" no certificate of ours is shown");
    if (t->conf.mode == TLS_MODE_MUTUAL && !has_cert)
        return cfg_err_set(err, &t->conf.where,
                           "client.tls: mode \"mutual\" needs certificate and private_key");
    t->secret.name = "client";
    t->conf.secret = has_cert ? "client" : NULL;
    t->conf.trust = "client";
    return 0;
}

static int check_server_tls(struct load_tls_conf *t, struct cfg_err *err)
{
    const bool has_roots = t->secret.trusted_ca != NULL;

    if (t->resume)
        return cfg_err_set(err, &t->conf.where, "server.tls.resume: it is a client that resumes");
    if (t->secret.certificate_chain == NULL)
        return cfg_err_set(err, &t->conf.where,
                           "server.tls: a server needs certificate and private_key");
    if (t->conf.mode == TLS_MODE_SIMPLE && has_roots)
        return cfg_err_set(err, &t->conf.where,
                           "server.tls: with mode \"simple\" no client is asked for a certificate: "
                           "leave out trusted_ca");
    if (t->conf.mode == TLS_MODE_MUTUAL && !has_roots)
        return cfg_err_set(err, &t->conf.where,
                           "server.tls: mode \"mutual\" needs trusted_ca to verify clients with");
    t->secret.name = t->conf.secret = "server";
    return 0;
}

static bool is_of_prefix(const struct addr_conf *a, const struct addr_conf *first)
{
    const unsigned bytes = first->prefix_len / 8, bits = first->prefix_len % 8;

    return a->vlan == first->vlan && memcmp(a->addr.b, first->addr.b, bytes) == 0 &&
           (bits == 0 || (a->addr.b[bytes] ^ first->addr.b[bytes]) >> (8 - bits) == 0);
}

/* TCP would find other addresses itself, but only after it has looked at every port of the first.
 */
static void find_sources(struct load_conf *c)
{
    const struct port_conf *p = &c->machine.ports[0];
    struct load_client_conf *x = c->client;
    const struct addr_conf *first = NULL;

    if (x->n_source_addresses > 0 || c->machine.n_ports > 1)
        return;
    x->source_addresses = arena_alloc(&c->arena, MACHINE_MAX_ADDRS * sizeof(struct ipaddr));
    for (uint32_t i = 0; i < p->n_addrs; i++) {
        if (p->addrs[i].addr.family != x->targets[0].addr.family)
            continue;
        first = first != NULL ? first : &p->addrs[i];
        if (is_of_prefix(&p->addrs[i], first))
            x->source_addresses[x->n_source_addresses++] = p->addrs[i].addr;
    }
    if (x->n_source_addresses < 2)
        x->n_source_addresses = 0; /* the route knows better */
}

static int check_client(struct load_conf *c, struct cfg_err *err)
{
    struct load_client_conf *x = c->client;
    const uint32_t share = (x->connections + c->machine.n_workers - 1) / c->machine.n_workers;
    char target[IPPORT_STRLEN];

    if (x->connections < c->machine.n_workers)
        return cfg_err_set(err, &x->where, "client: %u connections are too few for %u workers",
                           x->connections, c->machine.n_workers);
    /* A connection that is being closed and the one that takes its place. */
    if (share > c->machine.tcp.max_connections)
        return cfg_err_set(err, &x->where,
                           "client: %u connections of one worker are more than "
                           "machine.tcp.max_connections, %u",
                           share, c->machine.tcp.max_connections);
    if (x->protocol == LOAD_RAW && x->request_body == 0)
        return cfg_err_set(err, &x->where, "client: raw needs a request_body of one byte or more");
    if (x->path[0] != '/' || strpbrk(x->path, " #") != NULL)
        return cfg_err_set(err, &x->where,
                           "client: path \"%s\" is not one that begins with / and "
                           "has neither blanks nor #",
                           x->path);
    if (x->host == NULL)
        x->host = arena_strdup(&c->arena, ipport_str(&x->targets[0], target));
    find_sources(c);
    return x->tls != NULL ? check_client_tls(x->tls, err) : 0;
}

/* --- isthmusd's rules --------------------------------------------------------------------------
 */

static void add_cluster(const struct load_conf *c, struct snapshot *s)
{
    struct cluster_conf *to = &s->clusters[s->n_clusters++];

    *to = (struct cluster_conf){ .name = c->client != NULL ? "client" : "none" };
    if (c->client == NULL)
        return;
    s->secrets[s->n_secrets] =
        c->client->tls != NULL ? c->client->tls->secret : (struct secret_conf){ 0 };
    s->n_secrets += c->client->tls != NULL;
    to->tls = c->client->tls != NULL ? &c->client->tls->conf : NULL;
    to->endpoints = arena_alloc(&s->arena, c->client->n_targets * sizeof(to->endpoints[0]));
    for (uint32_t i = 0; i < c->client->n_targets; i++)
        to->endpoints[to->n_endpoints++] =
            (struct endpoint_conf){ .address = c->client->targets[i], .where = c->client->where };
    to->n_source_addresses = c->client->n_source_addresses;
    to->source_addresses = c->client->source_addresses;
    to->where = c->client->where;
}

static void add_listener(const struct load_conf *c, struct snapshot *s)
{
    struct listener_conf *l = &s->listeners[s->n_listeners++];
    struct tcp_chain_conf *tcp = arena_alloc(&s->arena, sizeof(*tcp));
    struct chain_conf *chain = arena_alloc(&s->arena, sizeof(*chain));

    if (c->server->tls != NULL)
        s->secrets[s->n_secrets++] = c->server->tls->secret;
    *tcp = (struct tcp_chain_conf){ .cluster = s->clusters[0].name };
    *chain = (struct chain_conf){ .name = "server",
                                  .tls = c->server->tls != NULL ? &c->server->tls->conf : NULL,
                                  .kind = CHAIN_TCP,
                                  .tcp = tcp,
                                  .where = c->server->where };
    *l = (struct listener_conf){ .name = "server",
                                 .address = c->server->listen,
                                 .n_chains = 1,
                                 .chains = chain,
                                 .where = c->server->where };
}

/* A client is a cluster, a server is a listener: isthmusd's rules for both are these. */
static int check_as_gateway(const struct load_conf *c, struct cfg_err *err)
{
    struct snapshot *s = snapshot_new();
    int rc;

    s->machine = c->all;
    s->secrets = arena_alloc(&s->arena, 2 * sizeof(s->secrets[0]));
    s->clusters = arena_alloc(&s->arena, sizeof(s->clusters[0]));
    s->listeners = arena_alloc(&s->arena, sizeof(s->listeners[0]));
    add_cluster(c, s);
    if (c->server != NULL)
        add_listener(c, s);
    rc = snapshot_validate(s, err);
    snapshot_put(s);
    return rc;
}

int load_conf_check(struct load_conf *c, struct cfg_err *err)
{
    int rc = check_parts(c, err);

    if (rc == 0)
        rc = join_machines(c, err);
    if (rc == 0)
        rc = check_machine(&c->all, err);
    if (rc == 0 && c->client != NULL)
        rc = check_client(c, err);
    if (rc == 0 && c->server != NULL && c->server->tls != NULL)
        rc = check_server_tls(c->server->tls, err);
    return rc < 0 ? rc : check_as_gateway(c, err);
}
