/*
 * logfiles.h - the files behind access logs
 *
 * Control thread. A path has a number for as long as the process lives, so that a
 * line rendered under an older configuration still finds its file. Files are
 * opened when the first configuration names them, appended to, and opened again
 * by logfiles_reopen() (for logrotate). A file that cannot be opened or written
 * loses its lines, counted and logged once.
 */
#pragma once

#include "dataplane/base/compiler.h"
#include "dataplane/telemetry/accesslog.h"

struct logfiles;

struct logfiles *logfiles_new(void);
void logfiles_free(struct logfiles *f);

/* The number of @path, opened if it is new. -errno if it cannot be opened. "/dev/stdout" is
 * standard output. */
NODISCARD int logfiles_id(struct logfiles *f, const char *path);

/* Writes what @ring holds, at most @max lines. Returns how many. */
unsigned logfiles_drain(struct logfiles *f, struct accesslog_ring *ring, unsigned max);

void logfiles_reopen(struct logfiles *f);
uint64_t logfiles_lost(const struct logfiles *f);
