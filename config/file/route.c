#include "config/model/route.h"
#include "config/file/objects.h"

static int read_match(struct reader *r, const config_setting_t *s, struct route_conf *to,
                      enum path_match match)
{
    if (to->path != NULL)
        return field_err(r, s, "a route has a prefix or a path, not both");
    to->match = match;
    return field_text(r, s, &to->path);
}

static int read_prefix(struct reader *r, const config_setting_t *s, void *obj)
{
    return read_match(r, s, obj, PATH_PREFIX);
}

static int read_path(struct reader *r, const config_setting_t *s, void *obj)
{
    return read_match(r, s, obj, PATH_EXACT);
}

static int check_route(struct reader *r, const config_setting_t *s, void *obj)
{
    const struct route_conf *route = obj;

    return route->path != NULL ? 0 : field_err(r, s, "prefix is missing (or path)");
}

#define R struct route_conf
static const struct field route_fields[] = {
    FIELD(FIELD_TEXT, R, name, .help = "What the access log calls it."),
    FIELD_AS("prefix", FIELD_CUSTOM, R, path, .read = read_prefix, .form = "text, such as \"/\"",
             .help = "Paths that begin so, the query not counted. Either this or `path`."),
    FIELD_AS("path", FIELD_CUSTOM, R, path, .read = read_path, .form = "text, such as \"/health\"",
             .help = "This path exactly, the query not counted."),
    FIELD(FIELD_TEXT, R, cluster, .required = true, .help = "Cluster the request goes to."),
    FIELD_AS("timeout", FIELD_DURATION, R, timeout_us, .max = 30 * DAYS, .def = 15 * SECONDS,
             .help = "From the end of the request to the end of the response. 0s: none."),
    FIELD_AS("idle_timeout", FIELD_DURATION, R, idle_timeout_us, .max = 30 * DAYS,
             .def_text = "the chain's `stream_idle_timeout`",
             .help = "How long nothing may move on a stream of this route."),
};
static const struct object route_object =
    OBJECT("routes", R, route_fields, .where_at = offsetof(R, where), .check = check_route,
           .help = "The first route that matches is taken, in the order written.");
#undef R

#define V struct vhost_conf
static const struct field vhost_fields[] = {
    FIELD(FIELD_TEXT, V, name, .required = true, .help = "For logs."),
    FIELD_MANY("domains", FIELD_EACH, V, domains, n_domains, .required = true, .pointer = true,
               .max = 4096, .each = field_each_text,
               .form = "texts: \"a.example\", \"*.example\" or \"*\"",
               .help = "Authorities (without port) it is for. The longest match wins."),
    FIELD_MANY("routes", FIELD_LIST, V, routes, n_routes, .pointer = true, .may_be_empty = true,
               .max = 65536, .object = &route_object,
               .help = "Its routes. A request that matches none is answered with 404."),
};
static const struct object vhost_object =
    OBJECT("virtual_hosts", V, vhost_fields, .where_at = offsetof(V, where),
           .help = "The routes of some authorities.");
#undef V

#define C struct route_config_conf
static const struct field route_config_fields[] = {
    FIELD(FIELD_TEXT, C, name, .required = true, .help = "What an `http` group calls it."),
    FIELD_MANY("virtual_hosts", FIELD_LIST, C, vhosts, n_vhosts, .pointer = true,
               .may_be_empty = true, .max = 65536, .object = &vhost_object,
               .help = "A request that belongs to none is answered with 404."),
};
const struct object object_route_config =
    OBJECT("route_configs", C, route_config_fields, .where_at = offsetof(C, where),
           .help = "From a request to a cluster.");
