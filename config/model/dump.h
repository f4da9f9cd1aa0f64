/*
 * dump.h - a snapshot as JSON, for `isthmusctl config` and whoever asks what is in force
 *
 * Names and units are those of the configuration file; durations are in microseconds, under names
 * that end in _us. Of secrets only the names of their files are shown: their bytes never enter
 * the model.
 */
#pragma once

#include "config/model/snapshot.h"

#include <jansson.h>

/* A new reference, or NULL: no memory. */
json_t *snapshot_dump(const struct snapshot *s);
