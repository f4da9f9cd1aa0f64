/*
 * snapshot.h - the root of one configuration: the desired state, whole
 *
 * Plain data in one arena. A source (config/file, later config/xds) fills it,
 * validate.h checks it, the control thread builds a runtime from it and
 * publishes that. From then on it is read-only. Counted references: the control
 * thread holds them, workers never touch the count.
 *
 * Names are found through indexes, which snapshot_index() makes once the lists
 * are filled: routes of ten thousand hosts ask for ten thousand clusters.
 */
#pragma once

#include "config/model/cluster.h"
#include "config/model/listener.h"
#include "config/model/machine.h"
#include "config/model/route.h"
#include "config/model/secret.h"
#include "config/model/telemetry.h"
#include "dataplane/base/strmap.h"

struct snapshot {
    struct arena arena;
    uint32_t refs;
    const char *source; /* file it was read from */

    struct machine_conf machine;
    struct control_conf control;

    uint32_t n_access_logs;
    struct access_log_conf *access_logs;
    uint32_t n_secrets;
    struct secret_conf *secrets;
    uint32_t n_clusters;
    struct cluster_conf *clusters;
    uint32_t n_route_configs;
    struct route_config_conf *route_configs;
    uint32_t n_listeners;
    struct listener_conf *listeners;

    struct strmap access_log_names, secret_names, cluster_names, route_config_names,
        listener_names; /* to the structs above */
};

/* An empty snapshot with one reference. */
struct snapshot *snapshot_new(void);
struct snapshot *snapshot_get(struct snapshot *s);
void snapshot_put(struct snapshot *s); /* NULL is allowed */

/* After the lists are filled; of two of the same name the first is found. snapshot_validate() calls
 * it. */
void snapshot_index(struct snapshot *s);

/* By name; NULL: there is none, or the snapshot has no index yet. */
const struct secret_conf *snapshot_secret(const struct snapshot *s, const char *name);
const struct cluster_conf *snapshot_cluster(const struct snapshot *s, const char *name);
const struct route_config_conf *snapshot_route_config(const struct snapshot *s, const char *name);
const struct access_log_conf *snapshot_access_log(const struct snapshot *s, const char *name);
const struct listener_conf *snapshot_listener(const struct snapshot *s, const char *name);
