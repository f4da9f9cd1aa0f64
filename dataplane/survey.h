/*
 * survey.h - commands whose answer lies with the workers: conns, listeners, clusters,
 * neighbors
 *
 * The same letter goes to every worker. It carries an empty table, which the
 * worker fills with copies, a few rows a turn; when the last letter is back, the
 * control thread puts the tables together and answers. Workers allocate nothing,
 * and no pointer of theirs leaves them. A worker that stops before it has read its
 * letter gives it back empty, and the question fails.
 */
#pragma once

#include "dataplane/base/cmd.h"

/* One worker's table holds at most so many rows; the answer says how many there would have been. */
#define SURVEY_ROWS_MAX 10000

/* Rows for a set; their ctx is the struct daemon. Each takes args.filter, a part of any cell. */
extern const struct cmd survey_cmds[];
extern const unsigned survey_n_cmds;

/* What the commands put their answers together with. */

/* @text as a JSON string; bytes that are no UTF-8 become '?'. */
json_t *cmd_text(const char *text);

/* Takes rows without @filter in any of their texts out of @rows; NULL: none. */
void cmd_filter_rows(json_t *rows, const char *filter);
