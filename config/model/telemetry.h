/*
 * telemetry.h - access logs, and the control socket
 */
#pragma once

#include "config/model/where.h"

#include <stdbool.h>
#include <stdint.h>

struct access_log_conf {
    const char *name;
    const char *path;   /* a file that is appended to, or "/dev/stdout" */
    const char *format; /* NULL: Istio's default */
    struct cfg_where where;
};

struct control_conf {
    const char *socket;     /* default "/run/isthmus/control.sock" */
    uint32_t mode;          /* of the socket, default 0600 */
    uint64_t drain_time_us; /* `drain` and `stop`: how long open streams may go on; default 45 s */
    struct cfg_where where;
};
