/*
 * stats.h - counters and gauges: written by workers, summed by the reader
 *
 * A block is a row of 64-bit numbers under one name ("cluster.NAME", "tcp"). Each
 * worker writes its own copy with plain stores; the control thread reads all
 * copies, relaxed, and sums. Nothing is ever reset: readers take differences.
 *
 * The registry belongs to the control thread. Blocks with a name of the
 * configuration (clusters, listeners) live as long as the process, so that a
 * counter survives reloads; there are as many as distinct names were ever used.
 */
#pragma once

#include "dataplane/base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

enum stat_kind { STAT_COUNTER, STAT_GAUGE };

struct stat_desc {
    const char *name; /* "upstream_cx_total" */
    enum stat_kind kind;
    const char *help;
};

/* From an X-macro list X(name, help) to rows of counters. */
#define STAT_DESC_ROW(field, text) { #field, STAT_COUNTER, text },

struct stats;

/* What a set of blocks of one sort has in common. */
struct stats_scope {
    const char *name;  /* first part of the flat name: "cluster" */
    const char *prom;  /* Prometheus prefix: "envoy_cluster" */
    const char *label; /* label that holds the block's name: "envoy_cluster_name"; NULL: blocks have
                          no name */
    const struct stat_desc *descs;
    unsigned n;
};

struct stats_block {
    const struct stats_scope *scope;
    const char *name; /* "" if the scope has no label */
    struct {
        const uint64_t *values; /* NULL: this worker has none */
        uint64_t *own;          /* the same, where the block owns them */
    } of[];                     /* of each worker */
};

struct stats *stats_new(unsigned n_workers);
void stats_free(struct stats *s);

/* The block of that name, made if it is new, with zeroed values for every worker. Control thread.
 */
struct stats_block *stats_block(struct stats *s, const struct stats_scope *scope, const char *name);

/* Shows numbers that somebody else owns as worker @worker's part of a block. Before workers start.
 */
void stats_show(struct stats *s, const struct stats_scope *scope, const char *name, unsigned worker,
                const uint64_t *values);

/* Calls @fn for every number, summed over the workers, in the order the blocks were made. */
typedef void (*stats_fn)(const struct stats_block *b, const struct stat_desc *d, uint64_t sum,
                         void *ctx);
void stats_each(const struct stats *s, stats_fn fn, void *ctx);

/* "cluster.NAME.upstream_cx_total" into @buf; returns @buf. */
char *stats_flat_name(const struct stats_block *b, const struct stat_desc *d, char *buf,
                      unsigned len);

/* The number @i of worker @worker's own part. Hot path: one load, one add, one store. */
static inline void stat_add(struct stats_block *b, unsigned worker, unsigned i, int64_t by)
{
    uint64_t *v = &b->of[worker].own[i];

    __atomic_store_n(v, *v + (uint64_t)by, __ATOMIC_RELAXED);
}
