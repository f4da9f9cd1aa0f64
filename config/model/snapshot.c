#include "config/model/snapshot.h"

#include <stdio.h>
#include <stdlib.h>

struct snapshot *snapshot_new(void)
{
    struct snapshot *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        perror("snapshot");
        abort();
    }
    arena_init(&s->arena, 0);
    s->refs = 1;
    return s;
}

struct snapshot *snapshot_get(struct snapshot *s)
{
    s->refs++;
    return s;
}

void snapshot_put(struct snapshot *s)
{
    if (s == NULL || --s->refs > 0)
        return;
    arena_fini(&s->arena);
    free(s);
}

/* The five look-ups differ in the array they search, and in nothing else. */
#define FIND(array, n, wanted)                                                                     \
    for (uint32_t i = 0; i < (n); i++)                                                             \
        if (strcmp((array)[i].name, (wanted)) == 0)                                                \
            return &(array)[i];                                                                    \
    return NULL

const struct secret_conf *snapshot_secret(const struct snapshot *s, const char *name)
{
    FIND(s->secrets, s->n_secrets, name);
}

const struct cluster_conf *snapshot_cluster(const struct snapshot *s, const char *name)
{
    FIND(s->clusters, s->n_clusters, name);
}

const struct route_config_conf *snapshot_route_config(const struct snapshot *s, const char *name)
{
    FIND(s->route_configs, s->n_route_configs, name);
}

const struct access_log_conf *snapshot_access_log(const struct snapshot *s, const char *name)
{
    FIND(s->access_logs, s->n_access_logs, name);
}

const struct listener_conf *snapshot_listener(const struct snapshot *s, const char *name)
{
    FIND(s->listeners, s->n_listeners, name);
}
