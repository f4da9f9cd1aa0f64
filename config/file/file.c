#include "config/file/file.h"

#include "config/file/objects.h"
#include "config/model/validate.h"

#include <errno.h>
#include <stdlib.h>

#define S struct snapshot
#define LIST_OF(member, count, of, text)                                                           \
    FIELD_MANY(#member, FIELD_LIST, S, member, count, .pointer = true, .may_be_empty = true,       \
               .object = &(of), .help = text)

static const struct field snapshot_fields[] = {
    FIELD(FIELD_GROUP, S, machine, .required = true, .object = &object_machine,
          .help = "Cores, ports and addresses."),
    FIELD(FIELD_GROUP, S, control, .object = &object_control, .help = "The control socket."),
    LIST_OF(access_logs, n_access_logs, object_access_log, "Where requests are written down."),
    LIST_OF(secrets, n_secrets, object_secret, "Certificates, keys and trusted roots."),
    LIST_OF(clusters, n_clusters, object_cluster, "Services upstream."),
    LIST_OF(route_configs, n_route_configs, object_route_config, "From requests to clusters."),
    LIST_OF(listeners, n_listeners, object_listener, "Where clients come in."),
};
const struct object object_snapshot =
    OBJECT("", S, snapshot_fields, .where_at = -1, .help = "A configuration file.");

static int parse(config_t *config, const struct source *src, struct cfg_err *err)
{
    struct cfg_where where;

    if (config_read_string(config, src->text) == CONFIG_TRUE)
        return 0;
    where = source_where(src, (unsigned)config_error_line(config));
    return cfg_err_set(err, &where, "%s", config_error_text(config));
}

struct file_rest {
    config_t config;
};

void file_rest_free(struct file_rest *rest)
{
    if (rest != NULL)
        config_destroy(&rest->config);
    free(rest);
}

/* Takes @s. */
static int read_source(struct snapshot *s, const struct source *src, struct snapshot **ret,
                       struct file_rest **rest, struct cfg_err *err)
{
    struct reader r = { .arena = &s->arena, .source = src, .err = err };
    int rc;

    *rest = calloc(1, sizeof(**rest));
    if (*rest == NULL)
        abort(); /* as an arena does */
    config_init(&(*rest)->config);
    rc = parse(&(*rest)->config, src, err);
    if (rc == 0)
        rc = object_read(&r, config_root_setting(&(*rest)->config), &object_snapshot, s);
    if (rc == 0)
        rc = snapshot_validate(s, err);
    if (rc < 0)
        snapshot_put(s);
    else
        *ret = s;
    return rc;
}

int file_read_first(const char *path, struct snapshot **ret, struct file_rest **rest,
                    struct cfg_err *err)
{
    struct snapshot *s = snapshot_new();
    struct source src;
    int rc;

    *rest = NULL;
    err->text[0] = '\0';
    s->source = arena_strdup(&s->arena, path);
    rc = source_read(&src, path, &s->arena, err);
    if (rc < 0) {
        snapshot_put(s);
        return rc;
    }
    rc = read_source(s, &src, ret, rest, err);
    source_fini(&src);
    return rc;
}

int file_read(const char *path, struct snapshot **ret, struct cfg_err *err)
{
    struct file_rest *rest;
    int rc = file_read_first(path, ret, &rest, err);

    file_rest_free(rest);
    return rc;
}

int file_read_text(const char *name, const char *text, size_t len, struct snapshot **ret,
                   struct cfg_err *err)
{
    struct snapshot *s = snapshot_new();
    struct file_rest *rest;
    struct source src;
    int rc;

    err->text[0] = '\0';
    s->source = arena_strdup(&s->arena, name);
    rc = source_from_text(&src, name, text, len, &s->arena, err);
    if (rc < 0) {
        snapshot_put(s);
        return rc;
    }
    rc = read_source(s, &src, ret, &rest, err);
    source_fini(&src);
    file_rest_free(rest);
    return rc;
}
