/*
 * quiesce.h - wait until every worker has passed a quiet point
 *
 * rte_rcu_qsbr in four calls. A worker reports once a turn that it holds no
 * pointer into shared, published data. The control thread unlinks something,
 * takes a token, and frees it once every online worker has reported since.
 */
#pragma once

#include "dataplane/base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct quiesce;

struct quiesce *quiesce_new(unsigned n_workers);
void quiesce_free(struct quiesce *q);

/* The worker itself, at its start and at its end. */
void quiesce_online(struct quiesce *q, unsigned worker);
void quiesce_offline(struct quiesce *q, unsigned worker);

/* Once a turn: one relaxed load and a store. */
void quiesce_report(struct quiesce *q, unsigned worker);

uint64_t quiesce_start(struct quiesce *q);
/* Has every online worker reported since quiesce_start() gave @token? Does not block. */
bool quiesce_is_over(struct quiesce *q, uint64_t token);
