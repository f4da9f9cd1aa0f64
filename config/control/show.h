/*
 * show.h - JSON for people: tables, lines, words
 *
 * An array of objects is a table, a column for each key; an object is a line for
 * each key, and tables below for those that hold arrays of objects; a string is
 * itself. Bytes that could move a terminal's cursor are escaped: names in here
 * may come from a peer.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/*
 * @columns: keys that come first, in this order, separated by blanks; NULL: none. A key that no
 * row has is left out, unless there are no rows at all; further keys follow as they appear.
 */
void show(FILE *to, json_t *value, const char *columns);

/* An object with tables, in whose rows objects of groups of numbers stand: they go below the row.
 */
void show_verbose(FILE *to, json_t *value, const char *columns);

/* On stderr, why the daemon says no, and what to do. False: it did not even ask what was wanted. */
bool show_error(const json_t *answer);
