/*
 * mirror.h - follows the kernel's routes and neighbours
 *
 * Who wants to know what the kernel has by some interfaces is told whenever that has changed: as
 * the whole, never as a difference.
 *
 *            an event, or events were lost            50 ms
 *   RESTING ------------------------------> WAITING --------> ASKING (routes v4, v6, neighbours)
 *      ^                                                         |
 *      +----- told, if it is not the same as last time ----------+
 *
 * An event only says that there is something new; what there is, is asked for. So it does not
 * matter in which order events come, whether some are lost (ENOBUFS: counted as a resync), or how
 * this kernel tells of one hop among several. The price is a dump for each burst of changes: the
 * next one waits ten times as long as the last has taken, so that a full table costs a tenth of the
 * control thread at most.
 *
 * Lives on the control thread's loop.
 */
#pragma once

#include "config/netlink/table.h"

#include <uv.h>

struct mirror_conf {
    bool routes, neighbors;
    struct table_conf table;
    /* @view until it returns. */
    void (*changed)(void *ctx, const struct table_view *view);
    void *ctx;
};

struct mirror;

/* Starts with a first dump. NULL, with words in @err. */
struct mirror *mirror_new(uv_loop_t *loop, const struct mirror_conf *conf, struct cfg_err *err);

/* No more calls. Before the loop ends; mirror_free() after that. NULL is allowed. */
void mirror_close(struct mirror *m);
void mirror_free(struct mirror *m);

const struct mirror_counters *mirror_counters(const struct mirror *m);
