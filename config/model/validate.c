#include "config/model/validate.h"

#include "dataplane/base/strmap.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        int try_rc_ = (call);                                                                      \
        if (try_rc_ < 0)                                                                           \
            return try_rc_;                                                                        \
    } while (0)

/* Names seen so far, in memory of their own: a file may hold thousands. */
struct names {
    struct arena arena;
    struct strmap map;
};

static void names_init(struct names *n, uint32_t max)
{
    arena_init(&n->arena, 0);
    strmap_init(&n->map, &n->arena, max);
}

static int names_add(struct names *n, const char *what, const char *name,
                     const struct cfg_where *where, struct cfg_err *err)
{
    const struct cfg_where *first = strmap_get(&n->map, slice_of(name));
    union {
        const struct cfg_where *in;
        void *out;
    } value = { where };

    if (first != NULL && first->file != NULL)
        return cfg_err_set(err, where, "%s \"%s\" is there twice (first in %s:%u)", what, name,
                           first->file, first->line);
    if (!strmap_add(&n->map, slice_of(name), value.out))
        return cfg_err_set(err, where, "%s \"%s\" is there twice", what, name);
    return 0;
}

#define UNIQUE(what, array, n)                                                                     \
    do {                                                                                           \
        struct names names_;                                                                       \
        int rc_ = 0;                                                                               \
        names_init(&names_, (n));                                                                  \
        for (uint32_t i_ = 0; i_ < (n) && rc_ == 0; i_++)                                          \
            rc_ = names_add(&names_, (what), (array)[i_].name, &(array)[i_].where, err);           \
        arena_fini(&names_.arena);                                                                 \
        TRY(rc_);                                                                                  \
    } while (0)

/* Letters, digits and dashes between dots, in lower case. */
static bool is_domain(struct slice s)
{
    if (s.len == 0 || s.len > 253 || s.ptr[0] == '.' || s.ptr[s.len - 1] == '.')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        const char c = s.ptr[i];

        if (!islower((unsigned char)c) && !isdigit((unsigned char)c) && c != '-' && c != '_' &&
            (c != '.' || s.ptr[i - 1] == '.'))
            return false;
    }
    return true;
}

/* "a.example" or "*.example" */
static bool is_name_or_suffix(struct slice s)
{
    return is_domain(slice_starts(s, SLICE("*.")) ? slice_skip(s, 2) : s);
}

/* A part of a device's arguments: nothing that begins another argument. */
static bool is_plain(const char *s)
{
    return s[strcspn(s, ", =\"'\\")] == '\0';
}

/* The machine */

static bool is_mac(const char *s)
{
    for (unsigned i = 0; i < 17; i++)
        if (i % 3 == 2 ? s[i] != ':' : !isxdigit((unsigned char)s[i]))
            return false;
    return s[17] == '\0';
}

/* What each device needs, and nothing that belongs to another. */
static int check_device(const struct port_conf *p, struct cfg_err *err)
{
    const struct {
        const char *name, *value;
        enum port_device a, b, c; /* the devices it belongs to */
        bool required;
    } settings[] = {
        { "interface", p->interface, PORT_AF_XDP, PORT_AF_PACKET, PORT_TAP, true },
        { "pci", p->pci, PORT_PCI, PORT_PCI, PORT_PCI, true },
        { "socket", p->socket, PORT_MEMIF, PORT_MEMIF, PORT_MEMIF, true },
        { "ring_peer", p->ring_peer, PORT_RING, PORT_RING, PORT_RING, true },
        { "pcap_rx", p->pcap_rx, PORT_PCAP, PORT_PCAP, PORT_PCAP, true },
        { "pcap_tx", p->pcap_tx, PORT_PCAP, PORT_PCAP, PORT_PCAP, true },
        { "mac", p->mac, PORT_TAP, PORT_MEMIF, PORT_MEMIF, false },
    };

    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        const bool belongs =
            p->device == settings[i].a || p->device == settings[i].b || p->device == settings[i].c;

        if (belongs && settings[i].required && settings[i].value == NULL)
            return cfg_err_set(err, &p->where, "port %s: this device needs %s", p->name,
                               settings[i].name);
        if (!belongs && settings[i].value != NULL)
            return cfg_err_set(err, &p->where, "port %s: this device has no %s", p->name,
                               settings[i].name);
        if (settings[i].value != NULL && !is_plain(settings[i].value))
            return cfg_err_set(err, &p->where, "port %s: \"%s\" cannot be a %s", p->name,
                               settings[i].value, settings[i].name);
    }
    if (p->interface != NULL && (strlen(p->interface) > 15 || strchr(p->interface, '/') != NULL))
        return cfg_err_set(err, &p->where, "port %s: \"%s\" cannot be an interface", p->name,
                           p->interface);
    if (p->mac != NULL && (!is_mac(p->mac) || (strtoul(p->mac, NULL, 16) & 1) != 0))
        return cfg_err_set(err, &p->where,
                           "port %s: \"%s\" is not an Ethernet address of one station", p->name,
                           p->mac);
    return 0;
}

static const struct port_conf *find_port(const struct machine_conf *m, const char *name)
{
    for (uint32_t i = 0; i < m->n_ports; i++)
        if (strcmp(m->ports[i].name, name) == 0)
            return &m->ports[i];
    return NULL;
}

/* The same one may be there on every link. */
static bool is_link_local(const struct ipaddr *a)
{
    return a->family == IP_V6 && a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

static int check_addresses(const struct machine_conf *m, const struct port_conf *p,
                           struct cfg_err *err)
{
    char text[IPADDR_STRLEN];

    for (uint32_t i = 0; i < p->n_addrs; i++) {
        for (const struct port_conf *q = m->ports; q <= p; q++)
            for (uint32_t k = 0; k < (q == p ? i : q->n_addrs); k++)
                if (ipaddr_eq(&q->addrs[k].addr, &p->addrs[i].addr) &&
                    (!is_link_local(&p->addrs[i].addr) ||
                     (q == p && q->addrs[k].vlan == p->addrs[i].vlan)))
                    return cfg_err_set(err, &p->where, "port %s: address %s is there twice",
                                       p->name, ipaddr_str(&p->addrs[i].addr, text));
    }
    return 0;
}

static bool has_v6(const struct port_conf *p)
{
    for (uint32_t i = 0; i < p->n_addrs; i++)
        if (p->addrs[i].addr.family == IP_V6)
            return true;
    return false;
}

static int check_port(const struct machine_conf *m, const struct port_conf *p, struct cfg_err *err)
{
    const struct port_conf *peer;

    if (strlen(p->name) > 31 || !is_plain(p->name))
        return cfg_err_set(err, &p->where,
                           "port \"%s\": a name has no blanks and at most 31 letters", p->name);
    TRY(check_device(p, err));
    TRY(check_addresses(m, p, err));
    if (p->mtu != 0 && p->mtu < 576)
        return cfg_err_set(err, &p->where, "port %s: an mtu below 576 carries no TCP", p->name);
    if (p->mtu != 0 && p->mtu < 1280 && (has_v6(p) || p->router_advertisements))
        return cfg_err_set(err, &p->where, "port %s: IPv6 needs an mtu of 1280", p->name);
    if (p->mss != 0 && p->mss < 536)
        return cfg_err_set(err, &p->where, "port %s: an mss below 536 is not for TCP", p->name);
    if (p->device != PORT_RING)
        return 0;
    peer = find_port(m, p->ring_peer);
    if (peer == NULL || peer->device != PORT_RING)
        return cfg_err_set(err, &p->where, "port %s: there is no ring port \"%s\"", p->name,
                           p->ring_peer);
    if (peer->ring_peer == NULL || strcmp(peer->ring_peer, p->name) != 0)
        return cfg_err_set(err, &p->where, "port %s: its peer %s is joined to another", p->name,
                           peer->name);
    return 0;
}

static bool same_prefix(const struct ipaddr *a, const struct ipaddr *b, unsigned len)
{
    const unsigned bytes = len / 8, bits = len % 8;

    return a->family == b->family && memcmp(a->b, b->b, bytes) == 0 &&
           (bits == 0 || (a->b[bytes] ^ b->b[bytes]) >> (8 - bits) == 0);
}

static bool is_on_link(const struct machine_conf *m, const struct ipaddr *via)
{
    for (uint32_t i = 0; i < m->n_ports; i++) {
        const struct port_conf *p = &m->ports[i];

        for (uint32_t k = 0; k < p->n_addrs; k++)
            if (same_prefix(&p->addrs[k].addr, via, p->addrs[k].prefix_len))
                return true;
    }
    return false;
}

static int check_hop(const struct machine_conf *m, const struct fixed_route_conf *r,
                     const struct ipaddr *hop, struct cfg_err *err)
{
    char via[IPADDR_STRLEN];

    if (hop->family != r->prefix.addr.family)
        return cfg_err_set(err, &r->where, "via is of another IP version than the prefix");
    if (is_link_local(hop) && r->port == NULL)
        return cfg_err_set(err, &r->where, "via %s is link-local: the route needs its port",
                           ipaddr_str(hop, via));
    if (r->port == NULL && !is_on_link(m, hop))
        return cfg_err_set(err, &r->where, "via %s is in the prefix of no port",
                           ipaddr_str(hop, via));
    for (const struct ipaddr *other = r->via; other < hop; other++)
        if (ipaddr_eq(other, hop))
            return cfg_err_set(err, &r->where, "via %s is there twice", ipaddr_str(hop, via));
    return 0;
}

static int check_fixed_route(const struct machine_conf *m, const struct fixed_route_conf *r,
                             struct cfg_err *err)
{
    if (r->type != ROUTE_FORWARD && (r->port != NULL || r->via[0].family != IP_NONE))
        return cfg_err_set(err, &r->where, "a route that refuses has neither via nor port");
    if (r->type != ROUTE_FORWARD)
        return 0;
    if (r->port != NULL && find_port(m, r->port) == NULL)
        return cfg_err_set(err, &r->where, "there is no port \"%s\"", r->port);
    if (r->via[0].family == IP_NONE)
        return r->port != NULL ? 0
                               : cfg_err_set(err, &r->where, "the route has no via and no port");
    for (uint32_t i = 0; i < MACHINE_MAX_HOPS && r->via[i].family != IP_NONE; i++)
        TRY(check_hop(m, r, &r->via[i], err));
    return 0;
}

/* The kernel's share */

static bool is_interface_name(const char *s)
{
    for (const char *c = s; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~' || strchr("/:%", *c) != NULL)
            return false;
    return strlen(s) <= 15 && strcmp(s, ".") != 0 && strcmp(s, "..") != 0 && is_plain(s);
}

static int check_kernel_interface(const struct machine_conf *m, const struct port_conf *p,
                                  struct cfg_err *err)
{
    if (!is_interface_name(p->kernel_interface))
        return cfg_err_set(err, &p->where, "port %s: \"%s\" cannot be a kernel_interface", p->name,
                           p->kernel_interface);
    for (const struct port_conf *q = m->ports; q < m->ports + m->n_ports; q++) {
        if (q->interface != NULL && strcmp(q->interface, p->kernel_interface) == 0)
            return cfg_err_set(err, &p->where,
                               "port %s: %s is the interface of port %s and cannot be a "
                               "kernel_interface",
                               p->name, p->kernel_interface, q->name);
        if (q < p && q->kernel_interface != NULL &&
            strcmp(q->kernel_interface, p->kernel_interface) == 0)
            return cfg_err_set(err, &p->where, "port %s: kernel_interface %s is port %s's already",
                               p->name, p->kernel_interface, q->name);
    }
    return 0;
}

/* Those that the gateway itself answers, and headers that others follow. */
static bool is_ours(uint8_t protocol)
{
    static const uint8_t ours[] = { 1, 43, 44, 58, 59, 60 };

    return memchr(ours, protocol, sizeof(ours)) != NULL;
}

static int check_punt_kind(const struct punt_conf *u, struct cfg_err *err)
{
    const bool has_ports = u->protocol == 6 || u->protocol == 17;

    if ((u->protocol != 0) == (u->ethertype != 0))
        return cfg_err_set(err, &u->where, "a rule has a protocol or an ethertype, one of the two");
    if (u->ethertype == 0x0800 || u->ethertype == 0x0806 || u->ethertype == 0x86dd ||
        u->ethertype == 0x8100)
        return cfg_err_set(err, &u->where,
                           "ethertype 0x%04x is the gateway's own (IP, ARP, VLAN tags)",
                           u->ethertype);
    if (is_ours(u->protocol))
        return cfg_err_set(err, &u->where, "protocol %u is answered by the gateway itself",
                           u->protocol);
    if (has_ports && u->n_ports == 0)
        return cfg_err_set(err, &u->where,
                           "all of TCP or UDP cannot be the kernel's: which ports?");
    if (!has_ports && u->n_ports > 0)
        return cfg_err_set(err, &u->where, "only tcp and udp have ports");
    return 0;
}

static int check_punt(const struct machine_conf *m, const struct punt_conf *u, struct cfg_err *err)
{
    TRY(check_punt_kind(u, err));
    if (u->port != NULL && find_port(m, u->port) == NULL)
        return cfg_err_set(err, &u->where, "there is no port \"%s\"", u->port);
    for (uint32_t i = 0; i < m->n_ports; i++)
        if (punt_conf_is_for(u, &m->ports[i]))
            return 0;
    return cfg_err_set(err, &u->where,
                       u->port != NULL ? "port %s has no kernel_interface"
                                       : "no port has a kernel_interface%s",
                       u->port != NULL ? u->port : "");
}

static int check_kernel(const struct machine_conf *m, struct cfg_err *err)
{
    for (uint32_t i = 0; i < m->n_ports; i++)
        if (m->ports[i].kernel_interface != NULL)
            TRY(check_kernel_interface(m, &m->ports[i], err));
    for (uint32_t i = 0; i < m->n_punts; i++)
        TRY(check_punt(m, &m->punts[i], err));
    if ((m->mirror_routes || m->mirror_neighbors) && !machine_has_kernel_interface(m))
        return cfg_err_set(err, &m->where, "%s: no port has a kernel_interface",
                           m->mirror_routes ? "mirror_routes" : "mirror_neighbors");
    return 0;
}

/* Is one of the @n of @cores the core @core? */
static bool has_core(const int32_t *cores, uint32_t n, int32_t core)
{
    for (uint32_t i = 0; core >= 0 && i < n; i++)
        if (cores[i] == core)
            return true;
    return false;
}

static int check_cores(const struct machine_conf *m, struct cfg_err *err)
{
    for (uint32_t i = 0; i < m->n_workers; i++)
        if (has_core(m->cores, i, m->cores[i]))
            return cfg_err_set(err, &m->where, "core %d is given to two workers", m->cores[i]);
    if (m->n_helpers > m->n_workers)
        return cfg_err_set(err, &m->where, "more helpers (%u) than workers to help (%u)",
                           m->n_helpers, m->n_workers);
    for (uint32_t i = 0; i < m->n_helpers; i++) {
        const int32_t core = m->helper_cores[i];

        if (has_core(m->cores, m->n_workers, core))
            return cfg_err_set(err, &m->where, "core %d is given to a worker and to a helper",
                               core);
        if (has_core(m->helper_cores, i, core))
            return cfg_err_set(err, &m->where, "core %d is given to two helpers", core);
    }
    return 0;
}

static int check_machine(const struct machine_conf *m, struct cfg_err *err)
{
    UNIQUE("port", m->ports, m->n_ports);
    TRY(check_cores(m, err));
    for (uint32_t i = 0; i < m->n_ports; i++)
        TRY(check_port(m, &m->ports[i], err));
    for (uint32_t i = 0; i < m->n_routes; i++)
        TRY(check_fixed_route(m, &m->routes[i], err));
    return check_kernel(m, err);
}

/* Secrets and TLS */

static int check_secret(const struct secret_conf *x, struct cfg_err *err)
{
    if ((x->certificate_chain == NULL) != (x->private_key == NULL))
        return cfg_err_set(err, &x->where, "secret %s: %s is missing", x->name,
                           x->private_key == NULL ? "private_key" : "certificate_chain");
    if (x->certificate_chain == NULL && x->trusted_ca == NULL)
        return cfg_err_set(err, &x->where, "secret %s: holds nothing", x->name);
    return 0;
}

static int check_peer_ids(const struct tls_conf *t, const char *whose, struct cfg_err *err)
{
    for (uint32_t i = 0; i < t->n_peer_ids; i++) {
        const char *id = t->peer_ids[i].text;
        const struct slice rest = slice_of(id);
        size_t slash;

        if (!slice_starts(rest, SLICE("spiffe://")))
            return cfg_err_set(err, &t->where, "%s: peer id \"%s\" does not begin with spiffe://",
                               whose, id);
        /* A star within the trust domain would trust domains that nobody has named. */
        slash = slice_find(slice_skip(rest, strlen("spiffe://")), '/');
        if (slash == 0 || slash == rest.len - strlen("spiffe://"))
            return cfg_err_set(err, &t->where, "%s: peer id \"%s\" names no whole trust domain",
                               whose, id);
    }
    return 0;
}

/* What server and client have in common. */
static int check_tls(const struct snapshot *s, const struct tls_conf *t, const char *whose,
                     struct cfg_err *err)
{
    const struct secret_conf *secret;

    if (t->secret != NULL) {
        secret = snapshot_secret(s, t->secret);
        if (secret == NULL)
            return cfg_err_set(err, &t->where, "%s: there is no secret \"%s\"", whose, t->secret);
        if (secret->certificate_chain == NULL)
            return cfg_err_set(err, &t->where, "%s: secret %s holds no certificate", whose,
                               t->secret);
    }
    if (t->trust != NULL) {
        secret = snapshot_secret(s, t->trust);
        if (secret == NULL)
            return cfg_err_set(err, &t->where, "%s: there is no secret \"%s\"", whose, t->trust);
        if (secret->trusted_ca == NULL)
            return cfg_err_set(err, &t->where, "%s: secret %s holds no trusted_ca", whose,
                               t->trust);
    }
    if (t->min_version > t->max_version)
        return cfg_err_set(err, &t->where, "%s: min_version is newer than max_version", whose);
    if (!is_domain(slice_of(t->trust_domain)))
        return cfg_err_set(err, &t->where, "%s: \"%s\" is not a trust domain", whose,
                           t->trust_domain);
    for (uint32_t i = 0; i < t->n_trust_domain_aliases; i++)
        if (!is_domain(slice_of(t->trust_domain_aliases[i])))
            return cfg_err_set(err, &t->where, "%s: \"%s\" is not a trust domain", whose,
                               t->trust_domain_aliases[i]);
    for (uint32_t i = 0; i < t->n_alpn; i++) {
        if (strlen(t->alpn[i]) == 0 || strlen(t->alpn[i]) > 255)
            return cfg_err_set(err, &t->where, "%s: an ALPN name has 1 to 255 bytes", whose);
        if (strcmp(t->alpn[i], "h2") == 0)
            return cfg_err_set(err, &t->where, "%s: HTTP/2 (\"h2\") is not spoken yet", whose);
    }
    return check_peer_ids(t, whose, err);
}

/* Are there roots to verify the peer against? */
static bool has_roots(const struct snapshot *s, const struct tls_conf *t)
{
    const char *name = t->trust != NULL ? t->trust : t->secret;
    const struct secret_conf *secret = name != NULL ? snapshot_secret(s, name) : NULL;

    return secret != NULL && secret->trusted_ca != NULL;
}

static int check_server_tls(const struct snapshot *s, const struct tls_conf *t, const char *whose,
                            struct cfg_err *err)
{
    TRY(check_tls(s, t, whose, err));
    if (t->secret == NULL)
        return cfg_err_set(err, &t->where, "%s: a server needs a secret", whose);
    if (t->sni != NULL || t->n_dns_names > 0)
        return cfg_err_set(err, &t->where, "%s: %s is for clusters", whose,
                           t->sni != NULL ? "sni" : "dns_names");
    if (t->mode == TLS_MODE_MUTUAL && !has_roots(s, t))
        return cfg_err_set(err, &t->where,
                           "%s: no trusted_ca to verify clients with (trust, or in the secret)",
                           whose);
    /* Else one would believe that clients are verified. */
    if (t->mode == TLS_MODE_SIMPLE && (t->n_peer_ids > 0 || t->trust != NULL))
        return cfg_err_set(err, &t->where, "%s: with mode \"simple\" no client is asked for %s",
                           whose, t->n_peer_ids > 0 ? "an identity" : "a certificate");
    return 0;
}

static int check_client_tls(const struct snapshot *s, const struct tls_conf *t, const char *whose,
                            struct cfg_err *err)
{
    TRY(check_tls(s, t, whose, err));
    if (t->mode == TLS_MODE_SIMPLE && t->secret != NULL)
        return cfg_err_set(err, &t->where,
                           "%s: with mode \"simple\" no certificate of ours is shown (use trust)",
                           whose);
    if (!has_roots(s, t))
        return cfg_err_set(err, &t->where,
                           "%s: no trusted_ca to verify the server with (trust, or in the secret)",
                           whose);
    if (t->mode == TLS_MODE_MUTUAL && t->secret == NULL)
        return cfg_err_set(err, &t->where, "%s: mode \"mutual\" needs a secret", whose);
    if (t->sni == NULL && t->n_dns_names == 0 && t->n_peer_ids == 0)
        return cfg_err_set(err, &t->where, "%s: who is the server? (peer_ids, dns_names or sni)",
                           whose);
    if (t->sni != NULL && !is_domain(slice_of(t->sni)))
        return cfg_err_set(err, &t->where, "%s: \"%s\" is not a server name", whose, t->sni);
    return 0;
}

/* Clusters */

static int check_endpoint(const struct cluster_conf *c, const struct endpoint_conf *e,
                          struct cfg_err *err)
{
    static const struct ipaddr any4 = { .family = IP_V4 }, any6 = { .family = IP_V6 };
    char text[IPPORT_STRLEN];

    if (e->address.port == 0 || ipaddr_eq(&e->address.addr, &any4) ||
        ipaddr_eq(&e->address.addr, &any6))
        return cfg_err_set(err, &e->where, "cluster %s: nobody can serve at %s", c->name,
                           ipport_str(&e->address, text));
    return 0;
}

static bool is_address_of_ours(const struct machine_conf *m, const struct ipaddr *a)
{
    for (uint32_t i = 0; i < m->n_ports; i++)
        for (uint32_t k = 0; k < m->ports[i].n_addrs; k++)
            if (ipaddr_eq(&m->ports[i].addrs[k].addr, a))
                return true;
    return false;
}

/* Each must be ours; and there must be one for every endpoint, of its family. */
static int check_sources(const struct snapshot *s, const struct cluster_conf *c,
                         struct cfg_err *err)
{
    bool has[7] = { false };
    char text[IPPORT_STRLEN];

    for (uint32_t i = 0; i < c->n_source_addresses; i++) {
        const struct ipaddr *a = &c->source_addresses[i];

        has[a->family] = true;
        if (!is_address_of_ours(&s->machine, a))
            return cfg_err_set(err, &c->where, "cluster %s: source address %s is of no port",
                               c->name, ipaddr_str(a, text));
    }
    for (uint32_t i = 0; c->n_source_addresses > 0 && i < c->n_endpoints; i++)
        if (!has[c->endpoints[i].address.addr.family])
            return cfg_err_set(err, &c->endpoints[i].where,
                               "cluster %s: no source address is of the IP version of %s", c->name,
                               ipport_str(&c->endpoints[i].address, text));
    return 0;
}

static int check_cluster(const struct snapshot *s, const struct cluster_conf *c,
                         struct cfg_err *err)
{
    char whose[300];

    snprintf(whose, sizeof(whose), "cluster %s", c->name);
    if (c->tls != NULL)
        TRY(check_client_tls(s, c->tls, whose, err));
    for (uint32_t i = 0; i < c->n_endpoints; i++)
        TRY(check_endpoint(c, &c->endpoints[i], err));
    return check_sources(s, c, err);
}

/* Routes */

static int check_route(const struct snapshot *s, const struct route_conf *r, struct cfg_err *err)
{
    if (r->path[0] != '/' || strpbrk(r->path, "?# ") != NULL)
        return cfg_err_set(err, &r->where,
                           "\"%s\" cannot match: a path begins with / and ends before ? and #",
                           r->path);
    if (snapshot_cluster(s, r->cluster) == NULL)
        return cfg_err_set(err, &r->where, "there is no cluster \"%s\"", r->cluster);
    return 0;
}

static int check_route_config(const struct snapshot *s, const struct route_config_conf *c,
                              struct names *domains, struct cfg_err *err)
{
    UNIQUE("virtual host", c->vhosts, c->n_vhosts);
    for (uint32_t i = 0; i < c->n_vhosts; i++) {
        const struct vhost_conf *v = &c->vhosts[i];

        for (uint32_t k = 0; k < v->n_domains; k++) {
            const struct slice domain = slice_of(v->domains[k]);
            struct ipaddr addr;

            if (!slice_eq(domain, SLICE("*")) && !is_name_or_suffix(domain) &&
                !ipaddr_parse(domain, &addr))
                return cfg_err_set(err, &v->where,
                                   "virtual host %s: \"%s\" is not a domain (lower case, no port; "
                                   "\"*.suffix\" or \"*\")",
                                   v->name, v->domains[k]);
            TRY(names_add(domains, "domain", v->domains[k], &v->where, err));
        }
        for (uint32_t k = 0; k < v->n_routes; k++)
            TRY(check_route(s, &v->routes[k], err));
    }
    return 0;
}

static uint32_t count_domains(const struct route_config_conf *c)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->n_vhosts; i++)
        n += c->vhosts[i].n_domains;
    return n;
}

/* Listeners */

static int check_log(const struct snapshot *s, const char *name, const struct cfg_where *where,
                     struct cfg_err *err)
{
    if (name != NULL && snapshot_access_log(s, name) == NULL)
        return cfg_err_set(err, where, "there is no access log \"%s\"", name);
    return 0;
}

/*
 * Every pair of a destination and a server name that leads to this chain, as one text. Two chains
 * with the same pair, both with TLS or both without, contradict each other.
 */
static int claim_matches(const struct chain_conf *c, struct names *claimed, struct cfg_err *err)
{
    const uint32_t n_dst = MAX(c->n_destinations, 1), n_name = MAX(c->n_server_names, 1);

    for (uint32_t i = 0; i < n_dst; i++) {
        char prefix[IPADDR_STRLEN + 8] = "any address";

        if (c->n_destinations > 0) {
            char addr[IPADDR_STRLEN];

            snprintf(prefix, sizeof(prefix), "%s/%u", ipaddr_str(&c->destinations[i].addr, addr),
                     c->destinations[i].len);
        }
        for (uint32_t k = 0; k < n_name; k++)
            TRY(names_add(claimed, "the match of filter chain",
                          arena_printf(&claimed->arena, "%s, %s, %s", prefix,
                                       c->n_server_names > 0 ? c->server_names[k] : "any name",
                                       c->tls != NULL ? "TLS" : "plaintext"),
                          &c->where, err));
    }
    return 0;
}

static int check_chain(const struct snapshot *s, const struct chain_conf *c, struct cfg_err *err)
{
    char whose[300];

    snprintf(whose, sizeof(whose), "filter chain %s", c->name);
    for (uint32_t i = 0; i < c->n_server_names; i++)
        if (!is_name_or_suffix(slice_of(c->server_names[i])))
            return cfg_err_set(err, &c->where,
                               "%s: \"%s\" is not a server name (lower case; or \"*.suffix\")",
                               whose, c->server_names[i]);
    if (c->tls != NULL)
        TRY(check_server_tls(s, c->tls, whose, err));

    switch (c->kind) {
    case CHAIN_HTTP:
        if (c->tls == NULL && c->n_server_names > 0)
            return cfg_err_set(err, &c->where, "%s: plain HTTP has no TLS server name to match",
                               whose);
        if (snapshot_route_config(s, c->http->route_config) == NULL)
            return cfg_err_set(err, &c->http->where, "%s: there is no route config \"%s\"", whose,
                               c->http->route_config);
        return check_log(s, c->http->access_log, &c->http->where, err);
    case CHAIN_TCP:
        if (snapshot_cluster(s, c->tcp->cluster) == NULL)
            return cfg_err_set(err, &c->tcp->where, "%s: there is no cluster \"%s\"", whose,
                               c->tcp->cluster);
        return check_log(s, c->tcp->access_log, &c->tcp->where, err);
    }
    return 0;
}

static int check_listener(const struct snapshot *s, const struct listener_conf *l,
                          struct cfg_err *err)
{
    struct names claimed;
    uint32_t n = 0;
    int rc = 0;

    UNIQUE("filter chain", l->chains, l->n_chains);
    for (uint32_t i = 0; i < l->n_chains; i++)
        n += MAX(l->chains[i].n_destinations, 1) * MAX(l->chains[i].n_server_names, 1);
    names_init(&claimed, n);
    for (uint32_t i = 0; i < l->n_chains && rc == 0; i++)
        rc = check_chain(s, &l->chains[i], err);
    for (uint32_t i = 0; i < l->n_chains && rc == 0; i++)
        rc = claim_matches(&l->chains[i], &claimed, err);
    arena_fini(&claimed.arena);
    return rc;
}

/* Whose is the port? Two answers would be one too many. */
static int check_not_punted(const struct machine_conf *m, const struct listener_conf *l,
                            struct cfg_err *err)
{
    for (uint32_t i = 0; i < m->n_punts; i++)
        for (uint32_t k = 0; m->punts[i].protocol == 6 && k < m->punts[i].n_ports; k++)
            if (m->punts[i].ports[k] == l->address.port)
                return cfg_err_set(err, &m->punts[i].where,
                                   "TCP port %u cannot be the kernel's: listener %s has it",
                                   l->address.port, l->name);
    return 0;
}

/* Every address and port once. */
static int check_addresses_of(const struct snapshot *s, struct strmap *taken, struct cfg_err *err)
{
    for (uint32_t i = 0; i < s->n_listeners; i++) {
        struct listener_conf *l = &s->listeners[i];
        const struct slice address = { (const char *)&l->address, sizeof(l->address) };
        const struct listener_conf *other = strmap_get(taken, address);

        if (other != NULL)
            return cfg_err_set(err, &l->where,
                               "listener %s: %s listens on the same address and port", l->name,
                               other->name);
        strmap_add(taken, address, l);
    }
    return 0;
}

static int check_bindings(const struct snapshot *s, struct cfg_err *err)
{
    struct strmap taken;
    struct arena a;
    int rc;

    for (uint32_t i = 0; i < s->n_listeners; i++)
        TRY(check_not_punted(&s->machine, &s->listeners[i], err));
    arena_init(&a, 0);
    strmap_init(&taken, &a, s->n_listeners);
    rc = check_addresses_of(s, &taken, err);
    arena_fini(&a);
    return rc;
}

int snapshot_validate(struct snapshot *s, struct cfg_err *err)
{
    snapshot_index(s);
    TRY(check_machine(&s->machine, err));
    UNIQUE("access log", s->access_logs, s->n_access_logs);
    UNIQUE("secret", s->secrets, s->n_secrets);
    UNIQUE("cluster", s->clusters, s->n_clusters);
    UNIQUE("route config", s->route_configs, s->n_route_configs);
    UNIQUE("listener", s->listeners, s->n_listeners);

    for (uint32_t i = 0; i < s->n_secrets; i++)
        TRY(check_secret(&s->secrets[i], err));
    for (uint32_t i = 0; i < s->n_clusters; i++)
        TRY(check_cluster(s, &s->clusters[i], err));
    for (uint32_t i = 0; i < s->n_route_configs; i++) {
        struct names domains;
        int rc;

        names_init(&domains, count_domains(&s->route_configs[i]));
        rc = check_route_config(s, &s->route_configs[i], &domains, err);
        arena_fini(&domains.arena);
        TRY(rc);
    }
    for (uint32_t i = 0; i < s->n_listeners; i++)
        TRY(check_listener(s, &s->listeners[i], err));
    return check_bindings(s, err);
}
