/*
 * prom.h - the registry as Prometheus text (exposition format 0.0.4)
 */
#pragma once

#include "dataplane/telemetry/stats.h"

#include <stdio.h>

/*
 * Names: "PREFIX_name"; HELP and TYPE once a name; the block's name as a label, escaped.
 * @filter: a part of the flat name (stats_flat_name()); NULL: all.
 */
void prom_write(const struct stats *s, const char *filter, FILE *to);
