/*
 * perf.h - `isthmusctl perf`: what a request costs, and in which layer
 *
 * Reads twice, some seconds apart, what every worker counts (worker.h, base/stage.h), and tells the
 * difference: how busy it was, cycles for a request and for a packet, and how they divide into
 * stages. The stages are those of the turns that were looked at, and stand for all. Of helpers
 * (worker/helper.h), how busy they were, and with how many operations.
 */
#pragma once

#include "dataplane/base/cmd.h"

struct daemon;
struct perfs;

/* NULL: no memory. */
struct perfs *perfs_new(struct daemon *d);
/* Answers whoever still waits; the loop must run once more. */
void perfs_close(struct perfs *p);
void perfs_free(struct perfs *p);

/* Rows for a set; their ctx is the struct perfs. */
extern const struct cmd perf_cmds[];
extern const unsigned perf_n_cmds;
