/*
 * capture.h - `isthmusctl capture PORT FILTER FILE`
 *
 * The file is this process's, with its user's rights; the daemon only sends bytes, piece by piece.
 * Ctrl-C ends it in order: what was captured until then is fetched, as with tcpdump.
 */
#pragma once

#include "config/control/ask.h"

#include <jansson.h>

/* Returns the exit status. */
int capture_run(const struct ask_conf *conf, json_t *args);
