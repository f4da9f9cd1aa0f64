/*
 * source.h - a configuration file with what it includes, as one text
 *
 * libconfig's own @include is not used: its scanner ends the process when a file
 * cannot be read (a directory, say), looks for every file beside the first one
 * instead of beside the file that names it, and stops silently at a NUL. So the
 * text is put together here, and each of its lines remembers where it stood.
 *
 * An include is a line of its own, outside comments and strings:
 *
 *     @include "listeners.conf"
 */
#pragma once

#include "config/model/where.h"
#include "dataplane/base/arena.h"

#include <stdint.h>

#define SOURCE_MAX_BYTES (64 * 1024 * 1024) /* all files together: some 100,000 clusters */
#define SOURCE_MAX_DEPTH 8                  /* of includes */

struct source {
    char *text; /* NUL-terminated */
    size_t len;
    uint32_t n_lines;
    struct cfg_where *lines; /* of line i + 1 of the text; file names are in the arena */
};

/* Memory of the names is in @a; that of the text is given back by source_fini(). */
int source_read(struct source *src, const char *path, struct arena *a, struct cfg_err *err);

/* The same for a text that is in memory, and may include nothing. @name stands for its file. */
int source_from_text(struct source *src, const char *name, const char *text, size_t len,
                     struct arena *a, struct cfg_err *err);
void source_fini(struct source *src);

/* Where line @line of the text (1 is the first) was written. */
struct cfg_where source_where(const struct source *src, unsigned line);
