#include "config/model/snapshot.h"

#include <stdio.h>
#include <stdlib.h>

/* So large that malloc maps it: what a reader of files leaves behind in the heap is not kept there
 * by what it has read, and goes back to the system. */
#define BLOCK (512 * 1024)

struct snapshot *snapshot_new(void)
{
    struct snapshot *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        perror("snapshot");
        abort();
    }
    arena_init_block(&s->arena, BLOCK);
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

/* The five lists differ in the type of what they hold, and in nothing else. */
#define INDEX(map, array, n)                                                                       \
    do {                                                                                           \
        strmap_init(&(map), &s->arena, (n));                                                       \
        for (uint32_t i = 0; i < (n); i++)                                                         \
            strmap_add(&(map), slice_of((array)[i].name), &(array)[i]);                            \
    } while (0)

void snapshot_index(struct snapshot *s)
{
    INDEX(s->access_log_names, s->access_logs, s->n_access_logs);
    INDEX(s->secret_names, s->secrets, s->n_secrets);
    INDEX(s->cluster_names, s->clusters, s->n_clusters);
    INDEX(s->route_config_names, s->route_configs, s->n_route_configs);
    INDEX(s->listener_names, s->listeners, s->n_listeners);
}

const struct secret_conf *snapshot_secret(const struct snapshot *s, const char *name)
{
    return strmap_get(&s->secret_names, slice_of(name));
}

const struct cluster_conf *snapshot_cluster(const struct snapshot *s, const char *name)
{
    return strmap_get(&s->cluster_names, slice_of(name));
}

const struct route_config_conf *snapshot_route_config(const struct snapshot *s, const char *name)
{
    return strmap_get(&s->route_config_names, slice_of(name));
}

const struct access_log_conf *snapshot_access_log(const struct snapshot *s, const char *name)
{
    return strmap_get(&s->access_log_names, slice_of(name));
}

const struct listener_conf *snapshot_listener(const struct snapshot *s, const char *name)
{
    return strmap_get(&s->listener_names, slice_of(name));
}
