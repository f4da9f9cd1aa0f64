/*
 * objects.h - the tables of this folder, one per object
 */
#pragma once

#include "config/file/field.h"

extern const struct object object_machine;      /* struct machine_conf */
extern const struct object object_control;      /* struct control_conf */
extern const struct object object_access_log;   /* struct access_log_conf */
extern const struct object object_secret;       /* struct secret_conf */
extern const struct object object_tls;          /* struct tls_conf */
extern const struct object object_cluster;      /* struct cluster_conf */
extern const struct object object_route_config; /* struct route_config_conf */
extern const struct object object_listener;     /* struct listener_conf */
extern const struct object object_snapshot;     /* struct snapshot: the whole file */
