#include "dataplane/net/fib.h"

#include "dataplane/base/log.h"

#include <errno.h>

/* Keeps the order: longer prefixes first; of two equal ones the first added wins. */
static void insert(struct fib *f, const struct fib_route *r)
{
    uint32_t at = f->n++;

    while (at > 0 && f->routes[at - 1].mask < r->mask) {
        f->routes[at] = f->routes[at - 1];
        at--;
    }
    f->routes[at] = *r;
}

static int port_by_name(const struct machine_conf *machine, const char *name)
{
    for (uint32_t i = 0; i < machine->n_ports; i++)
        if (machine->ports[i].name != NULL && strcmp(machine->ports[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* The interface a route leaves by: where its next hop is on link, else the first of its port. */
static int iface_for(const struct machine_conf *machine, const struct iface_table *ifaces,
                     const struct fixed_route_conf *conf)
{
    int port = conf->port != NULL ? port_by_name(machine, conf->port) : -1;

    if (conf->port != NULL && port < 0)
        return -1;
    for (uint32_t i = 0; i < ifaces->n; i++) {
        if (port >= 0 && ifaces->ifaces[i].port != port)
            continue;
        if (conf->via.family == IP_NONE)
            return port >= 0 ? (int)i : -1;
        if (iface_on_link(&ifaces->ifaces[i], ipaddr_u32(&conf->via)) != NULL)
            return (int)i;
    }
    return -1;
}

static int add_route(struct fib *f, const struct machine_conf *machine,
                     const struct iface_table *ifaces, const struct fixed_route_conf *conf)
{
    const struct ipprefix *p = &conf->prefix;
    char prefix[IPADDR_STRLEN], via[IPADDR_STRLEN];
    struct fib_route r;
    int iface;

    iface = p->addr.family == IP_V4 && p->len <= 32 &&
                    (conf->via.family == IP_NONE || conf->via.family == IP_V4)
                ? iface_for(machine, ifaces, conf)
                : -1;
    if (iface < 0) {
        log_error("net", "route %s/%u via %s: no interface leads there",
                  ipaddr_str(&p->addr, prefix), p->len,
                  conf->via.family == IP_NONE ? "link" : ipaddr_str(&conf->via, via));
        return -EINVAL;
    }
    r.mask = p->len == 0 ? 0 : UINT32_MAX << (32 - p->len);
    r.prefix = ipaddr_u32(&p->addr) & r.mask;
    r.via = conf->via.family == IP_NONE ? 0 : ipaddr_u32(&conf->via);
    r.iface = (uint8_t)iface;
    if (r.via != 0 && iface_any_has(ifaces, r.via)) {
        log_error("net", "route %s/%u: its next hop is an address of ours",
                  ipaddr_str(&p->addr, prefix), p->len);
        return -EINVAL;
    }
    insert(f, &r);
    return 0;
}

int fib_init(struct fib *f, const struct machine_conf *machine, const struct iface_table *ifaces)
{
    f->n = 0;
    for (uint32_t i = 0; i < ifaces->n; i++) {
        for (uint32_t k = 0; k < ifaces->ifaces[i].n_addrs; k++) {
            const struct iface_addr *a = &ifaces->ifaces[i].addrs[k];

            insert(f, &(struct fib_route){ a->addr & a->mask, a->mask, 0, (uint8_t)i });
        }
    }
    for (uint32_t i = 0; i < machine->n_routes; i++) {
        int rc = add_route(f, machine, ifaces, &machine->routes[i]);

        if (rc < 0)
            return rc;
    }
    return 0;
}

const struct fib_route *fib_find(const struct fib *f, uint32_t addr)
{
    for (uint32_t i = 0; i < f->n; i++)
        if ((addr & f->routes[i].mask) == f->routes[i].prefix)
            return &f->routes[i];
    return NULL;
}
