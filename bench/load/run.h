/*
 * run.h - machines, threads and the time line of one run
 *
 * One process, one DPDK, one or two machines: `machine` has the client or the
 * server, or, with `server_machine`, the client alone. Each worker is a thread with
 * a stack of its own. The main thread sets the moments of the time line (load.h),
 * prints the line that shows life, and adds up what the workers have counted when
 * they have stopped.
 */
#pragma once

#include "bench/load/conf.h"
#include "bench/load/load.h"

#include <stdio.h>

struct load_result {
    bool has_client, has_server;
    uint32_t workers; /* of the client, or of the server if there is no client */
    double seconds;   /* that were measured */
    double opening;   /* seconds until the client's connections were open, or it waited no longer */
    struct load_stats client, server;
};

struct load_run_conf {
    const struct load_conf *conf;
    FILE *progress;           /* a line each second; NULL: none */
    volatile bool *interrupt; /* true: end early */
};

/* Once per process. 0, or -EINVAL and words in @err. */
NODISCARD int load_run(const struct load_run_conf *conf, struct load_result *ret,
                       struct cfg_err *err);
