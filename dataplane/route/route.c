#include "dataplane/route/route.h"

#define HOST_MAX 255

struct vhost {
    const struct vhost_conf *conf;
    struct route *routes;
};

struct route_table {
    struct strmap exact;    /* "a.example" -> struct vhost */
    struct strmap suffixes; /* ".example" of "*.example" */
    struct vhost *any;      /* "*" */
};

static struct vhost *new_vhost(struct arena *a, const struct vhost_conf *conf,
                               route_resolve_fn resolve, void *ctx)
{
    struct vhost *v = arena_alloc(a, sizeof(*v));

    v->conf = conf;
    v->routes = arena_alloc(a, conf->n_routes * sizeof(v->routes[0]));
    for (uint32_t i = 0; i < conf->n_routes; i++)
        v->routes[i] =
            (struct route){ &conf->routes[i], conf, resolve(ctx, conf->routes[i].cluster) };
    return v;
}

static void add_domain(struct route_table *t, const char *domain, struct vhost *v)
{
    if (strcmp(domain, "*") == 0)
        t->any = v;
    else if (domain[0] == '*')
        strmap_add(&t->suffixes, slice_of(domain + 1), v);
    else
        strmap_add(&t->exact, slice_of(domain), v);
}

struct route_table *route_table_new(struct arena *a, const struct route_config_conf *conf,
                                    route_resolve_fn resolve, void *ctx)
{
    struct route_table *t = arena_alloc(a, sizeof(*t));
    uint32_t n = 0;

    for (uint32_t i = 0; i < conf->n_vhosts; i++)
        n += conf->vhosts[i].n_domains;
    strmap_init(&t->exact, a, n);
    strmap_init(&t->suffixes, a, n);
    for (uint32_t i = 0; i < conf->n_vhosts; i++) {
        struct vhost *v = new_vhost(a, &conf->vhosts[i], resolve, ctx);

        for (uint32_t d = 0; d < conf->vhosts[i].n_domains; d++)
            add_domain(t, conf->vhosts[i].domains[d], v);
    }
    return t;
}

/* "A.Example:8080" as "a.example" in @buf. A bracketed IPv6 address keeps its brackets. */
static struct slice host_of(struct slice authority, char buf[HOST_MAX])
{
    size_t len = slice_find(authority, ':');

    if (authority.len > 0 && authority.ptr[0] == '[') {
        len = slice_find(authority, ']');
        len += len < authority.len;
    }
    if (len > HOST_MAX)
        return SLICE_NONE;
    for (size_t i = 0; i < len; i++) {
        char c = authority.ptr[i];

        buf[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    return (struct slice){ buf, len };
}

static const struct vhost *find_vhost(const struct route_table *t, struct slice host)
{
    const struct vhost *v = strmap_get(&t->exact, host);

    if (v != NULL)
        return v;
    /* From the left, so that the longest suffix is tried first; at least one byte stands for the
     * star. */
    for (size_t i = 1; i < host.len && t->suffixes.n > 0; i++) {
        if (host.ptr[i] != '.')
            continue;
        v = strmap_get(&t->suffixes, slice_skip(host, i));
        if (v != NULL)
            return v;
    }
    return t->any;
}

static bool matches(const struct route_conf *r, struct slice path)
{
    struct slice wanted = slice_of(r->path);

    switch (r->match) {
    case PATH_PREFIX:
        return slice_starts(path, wanted);
    case PATH_EXACT:
        return slice_eq(path, wanted);
    }
    return false;
}

const struct route *route_find(const struct route_table *t, struct slice authority,
                               struct slice path)
{
    char buf[HOST_MAX];
    const struct vhost *v = find_vhost(t, host_of(authority, buf));

    if (v == NULL)
        return NULL;
    path = slice_head(path, slice_find(path, '?'));
    for (uint32_t i = 0; i < v->conf->n_routes; i++)
        if (matches(v->routes[i].conf, path))
            return &v->routes[i];
    return NULL;
}
