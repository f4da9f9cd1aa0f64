#include "dataplane/kernel.h"

#include "config/netlink/addresses.h"
#include "config/netlink/mirror.h"
#include "dataplane/base/log.h"
#include "dataplane/daemon.h"
#include "dataplane/net/addr6.h"
#include "dataplane/net/fib.h"
#include "dataplane/net/net.h"
#include "dataplane/survey.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct kernel_side {
    struct daemon *daemon;
    const struct machine_conf *machine;
    struct punt *punt;
    struct iface_table ifaces; /* as the workers' at their start */
    uint32_t ifindex[MACHINE_MAX_PORTS];
    struct mirror *mirror;               /* NULL: nothing is mirrored */
    struct net_mirror *now, *old, *next; /* published; not seen any more after @token; to come */
    uint64_t token;
    uint64_t n_routes, n_neighbors, n_unusable; /* as of the last view */
};

/* --- what is counted ------------------------------------------------------------------------- */

#define ROW(name, text) { #name, STAT_COUNTER, text },
static const struct stat_desc punt_descs[] = { PUNT_COUNTERS(ROW) };
static const struct stats_scope punt_scope = { "punt", "isthmus_punt", "rule", punt_descs,
                                               ARRAY_SIZE(punt_descs) };
static const struct stat_desc mirror_descs[] = { MIRROR_COUNTERS(ROW) };
static const struct stats_scope mirror_scope = { "mirror", "isthmus_mirror", NULL, mirror_descs,
                                                 ARRAY_SIZE(mirror_descs) };
static const struct stat_desc mirrored_descs[] = {
    { "routes", STAT_GAUGE, "routes of the kernel in use" },
    { "neighbors", STAT_GAUGE, "neighbours of the kernel in use" },
    { "unusable", STAT_GAUGE, "routes and neighbours of the kernel that lead nowhere for us" },
};
static const struct stats_scope mirrored_scope = { "mirrored", "isthmus_mirrored", NULL,
                                                   mirrored_descs, ARRAY_SIZE(mirrored_descs) };

static const char *rule_text(const struct machine_conf *m, uint32_t rule, char buf[PUNT_TEXT])
{
    if (rule == PUNT_NEIGHBORS)
        return "neighbors";
    return rule == PUNT_ECHO_REPLIES ? "echo" : punt_conf_text(&m->punts[rule], buf);
}

static bool is_rule(const struct machine_conf *m, uint32_t rule)
{
    return rule < m->n_punts || rule >= MACHINE_MAX_PUNTS;
}

static void show_counters(struct kernel_side *k)
{
    for (uint32_t i = 0; i < PUNT_RULES; i++) {
        char text[PUNT_TEXT];

        if (is_rule(k->machine, i))
            stats_show(k->daemon->stats, &punt_scope, rule_text(k->machine, i, text), 0,
                       (const uint64_t *)&k->punt->counters[i]);
    }
}

static uint64_t load(const uint64_t *v)
{
    return __atomic_load_n(v, __ATOMIC_RELAXED);
}

/* --- start ----------------------------------------------------------------------------------- */

static int make_ifaces(struct kernel_side *k, struct cfg_err *err)
{
    struct net_port_info info[MACHINE_MAX_PORTS] = { 0 };

    for (uint32_t i = 0; i < k->machine->n_ports; i++) {
        struct port_info port;

        ports_info(k->daemon->ports, i, &port);
        memcpy(info[i].mac, port.mac, 6);
        info[i].mtu = port.mtu;
    }
    if (iface_table_init(&k->ifaces, k->machine, info) < 0)
        return cfg_err_set(err, NULL, "the ports' addresses make no sense (see the log)");
    return 0;
}

/* An interface has one of its own, if it has IPv6. */
static const struct ipaddr *link_local_of(const struct kernel_side *k, uint32_t port)
{
    const struct iface *i = iface_find(&k->ifaces, (uint8_t)port, 0);

    for (uint32_t n = 0; i != NULL && n < i->n_addrs6; n++)
        if (addr6_is_link_local(&i->addrs6[n].addr))
            return &i->addrs6[n].addr;
    return NULL;
}

/* On an interface of the kernel's it would answer as well. As a port of a bridge that is down it
 * hears nothing, and we do. */
static void warn_of_two(const struct port_conf *p)
{
    char master[64];

    if (p->device != PORT_AF_PACKET)
        return;
    snprintf(master, sizeof(master), "/sys/class/net/%s/master", p->interface);
    if (access(master, F_OK) != 0)
        log_warning("kernel",
                    "port %s: the kernel must not hear what arrives at %s, or it answers, too: ip "
                    "link add deaf0 type bridge; ip link set %s master deaf0",
                    p->name, p->interface, p->interface);
}

static int open_port(struct kernel_side *k, uint32_t i, struct cfg_err *err)
{
    const struct port_conf *p = &k->machine->ports[i];

    if (p->kernel_interface == NULL)
        return 0;
    k->ifindex[i] = if_nametoindex(p->kernel_interface);
    warn_of_two(p);
    return p->kernel_addresses ? addresses_give(p, link_local_of(k, i), err) : 0;
}

int kernel_side_start(struct daemon *d, struct kernel_side **ret, struct cfg_err *err)
{
    struct kernel_side *k;
    int rc;

    if (!machine_has_kernel_interface(&d->first->machine))
        return 0;
    k = calloc(1, sizeof(*k));
    if (k == NULL)
        return cfg_err_set(err, NULL, "no memory");
    *ret = k;
    k->daemon = d;
    k->machine = &d->first->machine;
    k->punt = punt_new(k->machine, 0);
    if (k->punt == NULL)
        return cfg_err_set(err, NULL, "no memory");
    show_counters(k);
    rc = make_ifaces(k, err);
    for (uint32_t i = 0; rc == 0 && i < k->machine->n_ports; i++)
        rc = open_port(k, i, err);
    return rc;
}

struct punt *kernel_side_punt(struct kernel_side *k)
{
    return k != NULL ? k->punt : NULL;
}

/* --- from the kernel's view to ours ---------------------------------------------------------- */

/* The (untagged) interface of the port beside which @ifindex is, or -1. */
static int iface_of(const struct kernel_side *k, uint32_t ifindex)
{
    for (uint32_t i = 0; i < k->machine->n_ports; i++) {
        const struct iface *iface;

        if (k->ifindex[i] == 0 || k->ifindex[i] != ifindex)
            continue;
        iface = iface_find(&k->ifaces, (uint8_t)i, 0);
        return iface != NULL ? (int)(iface - k->ifaces.ifaces) : -1;
    }
    return -1;
}

static bool is_ours(const struct kernel_side *k, const struct ipaddr *a)
{
    return a->family == IP_V4 ? iface_any_has(&k->ifaces, ipaddr_u32(a))
                              : iface6_any_find(&k->ifaces, a) != NULL;
}

static struct ipaddr with_scope(const struct ipaddr *a, int iface)
{
    struct ipaddr scoped = *a;

    if (a->family == IP_V6 && addr6_is_link_local(a))
        scoped.scope = (uint8_t)(iface + 1);
    return scoped;
}

static void add_hop(const struct kernel_side *k, struct fib_entry *e, const struct kernel_hop *h)
{
    const int iface = iface_of(k, h->ifindex);
    const struct ipaddr via = with_scope(&h->via, iface);

    if (iface >= 0 && (via.family == IP_NONE || !is_ours(k, &via)))
        e->hops[e->n_hops++] = (struct fib_hop){ via, (uint8_t)iface };
}

/* False: it leads nowhere for us. */
static bool entry_of(const struct kernel_side *k, const struct kernel_route *r, struct fib_entry *e)
{
    static const enum fib_kind kinds[] = { [KERNEL_ROUTE_FORWARD] = FIB_FORWARD,
                                           [KERNEL_ROUTE_BLACKHOLE] = FIB_BLACKHOLE,
                                           [KERNEL_ROUTE_UNREACHABLE] = FIB_UNREACHABLE };

    *e = (struct fib_entry){ .prefix = r->prefix, .kind = kinds[r->type], .from_kernel = true };
    for (uint32_t i = 0; i < r->n_hops; i++)
        add_hop(k, e, &r->hops[i]);
    return e->kind != FIB_FORWARD || e->n_hops > 0;
}

static struct fib *fib_of(struct kernel_side *k, const struct table_view *view)
{
    struct fib_entry *entries = calloc(view->n_routes + 1, sizeof(*entries));
    struct fib *fib = NULL;
    uint32_t n = 0;

    if (entries == NULL)
        return NULL;
    for (uint32_t i = 0; i < view->n_routes; i++)
        n += entry_of(k, &view->routes[i], &entries[n]);
    k->n_unusable += view->n_routes - n;
    if (fib_of_machine(k->machine, &k->ifaces, entries, n, &fib) < 0)
        fib = NULL;
    free(entries);
    return fib;
}

static void add_neigh(struct kernel_side *k, struct net_mirror *m, const struct kernel_neigh *n)
{
    const int iface = iface_of(k, n->ifindex);
    struct net_mirror_neigh *to = &m->neighs[m->n_neighs];

    if (iface < 0 || is_ours(k, &n->addr)) {
        k->n_unusable++;
        return;
    }
    to->addr = with_scope(&n->addr, iface);
    to->iface = (uint8_t)iface;
    memcpy(to->mac, n->mac, sizeof(to->mac));
    m->n_neighs++;
}

static void mirror_fini(struct net_mirror *m)
{
    if (m != NULL)
        fib_free(m->fib);
    free(m);
}

static struct net_mirror *make_mirror(struct kernel_side *k, const struct table_view *view)
{
    struct net_mirror *m = calloc(1, sizeof(*m) + view->n_neighs * sizeof(m->neighs[0]));

    k->n_unusable = 0;
    if (m == NULL)
        return NULL;
    for (uint32_t i = 0; i < view->n_neighs; i++)
        add_neigh(k, m, &view->neighs[i]);
    m->fib = fib_of(k, view);
    if (m->fib != NULL)
        return m;
    free(m);
    return NULL;
}

/* --- publishing ------------------------------------------------------------------------------ */

static void publish_mirror(struct kernel_side *k)
{
    struct gateway *g = &k->daemon->gateway;

    /* pairs with the acquire in check_mirror() */
    atomic_store_explicit(&g->published.mirror, k->next, memory_order_release);
    k->old = k->now;
    k->now = k->next;
    k->next = NULL;
    if (k->old != NULL)
        k->token = quiesce_start(g->quiesce);
}

void kernel_side_tick(struct kernel_side *k)
{
    if (k == NULL)
        return;
    if (k->old != NULL && quiesce_is_over(k->daemon->gateway.quiesce, k->token)) {
        mirror_fini(k->old);
        k->old = NULL;
    }
    if (k->old == NULL && k->next != NULL)
        publish_mirror(k);
}

static void on_changed(void *ctx, const struct table_view *view)
{
    struct kernel_side *k = ctx;
    struct net_mirror *m = make_mirror(k, view);

    if (m == NULL) {
        log_error("kernel", "no memory for %u routes of the kernel: the last ones stay",
                  view->n_routes);
        return;
    }
    k->n_routes = view->n_routes;
    k->n_neighbors = m->n_neighs;
    log_info("kernel", "%u route%s and %u neighbour%s of the kernel, %lu of no use", view->n_routes,
             view->n_routes == 1 ? "" : "s", m->n_neighs, m->n_neighs == 1 ? "" : "s",
             (unsigned long)k->n_unusable);
    mirror_fini(k->next);
    k->next = m;
    kernel_side_tick(k);
}

uint32_t kernel_side_hops(const struct kernel_side *k)
{
    return k != NULL && k->now != NULL ? k->now->fib->n_hops : 0;
}

int kernel_side_follow(struct kernel_side *k, struct cfg_err *err)
{
    struct mirror_conf conf = { .changed = on_changed, .ctx = k };

    if (k == NULL || !(k->machine->mirror_routes || k->machine->mirror_neighbors))
        return 0;
    conf.routes = k->machine->mirror_routes;
    conf.neighbors = k->machine->mirror_neighbors;
    conf.table.max_routes =
        FIB_MAX - MACHINE_MAX_ROUTES - MACHINE_MAX_PORTS * (MACHINE_MAX_ADDRS + 1);
    for (uint32_t i = 0; i < k->machine->n_ports; i++)
        if (k->ifindex[i] != 0)
            conf.table.ifs[conf.table.n_ifs++] = k->ifindex[i];
    k->mirror = mirror_new(&k->daemon->loop, &conf, err);
    if (k->mirror == NULL)
        return -EINVAL;
    stats_show(k->daemon->stats, &mirror_scope, "", 0,
               (const uint64_t *)mirror_counters(k->mirror));
    stats_show(k->daemon->stats, &mirrored_scope, "", 0, &k->n_routes);
    return 0;
}

void kernel_side_close(struct kernel_side *k)
{
    if (k != NULL)
        mirror_close(k->mirror);
}

void kernel_side_free(struct kernel_side *k)
{
    if (k == NULL)
        return;
    mirror_free(k->mirror);
    mirror_fini(k->now);
    mirror_fini(k->old);
    mirror_fini(k->next);
    punt_free(k->punt);
    free(k);
}

/* --- for people ------------------------------------------------------------------------------ */

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *interface_rows(const struct kernel_side *k)
{
    json_t *rows = json_array();

    for (uint32_t i = 0; i < k->machine->n_ports; i++) {
        const struct port_conf *p = &k->machine->ports[i];

        if (p->kernel_interface != NULL)
            json_array_append_new(
                rows, json_pack("{s:o, s:o, s:s}", "interface", cmd_text(p->kernel_interface),
                                "port", cmd_text(p->name), "addresses",
                                p->kernel_addresses ? "given" : "left to the kernel"));
    }
    return rows;
}

static json_t *rule_rows(const struct kernel_side *k)
{
    json_t *rows = json_array();

    for (uint32_t i = 0; i < PUNT_RULES; i++) {
        const struct punt_counters *c = &k->punt->counters[i];
        char text[PUNT_TEXT];

        if (is_rule(k->machine, i))
            json_array_append_new(rows, json_pack("{s:o, s:o, s:o, s:o}", "rule",
                                                  cmd_text(rule_text(k->machine, i, text)),
                                                  "to_kernel", number(load(&c->to_kernel)),
                                                  "limited", number(load(&c->limited)),
                                                  "from_kernel", number(load(&c->from_kernel))));
    }
    return rows;
}

static json_t *mirror_object(const struct kernel_side *k)
{
    const struct mirror_counters *c = mirror_counters(k->mirror);

    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "routes", number(k->n_routes), "neighbors",
                     number(k->n_neighbors), "unusable", number(k->n_unusable), "dumps",
                     number(c->dumps), "resyncs", number(c->resyncs), "malformed",
                     number(c->malformed));
}

static void run_punt(struct cmd_call *call)
{
    const struct daemon *d = call->cmd->ctx;
    const struct kernel_side *k = d->kernel;
    json_t *answer;

    if (k == NULL) {
        cmd_fail(call, "no port has a kernel_interface",
                 "see machine.ports and machine.punt in the reference");
        return;
    }
    answer = json_pack("{s:o, s:o, s:o}", "connections", number(punt_n_flows(k->punt)),
                       "interfaces", interface_rows(k), "rules", rule_rows(k));
    if (answer != NULL && k->mirror != NULL)
        json_object_set_new(answer, "mirror", mirror_object(k));
    cmd_reply(call, answer);
}

const struct cmd kernel_side_cmd = { "punt",
                                     "what the kernel is given, and what is taken over from it",
                                     run_punt, NULL };
