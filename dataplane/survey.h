/*
 * survey.h - commands whose answer lies with the workers: listeners, clusters, neighbors, ...
 *
 * The same letter goes to every worker. It carries an empty table, which the
 * worker fills with copies, a few rows a turn; when the last letter is back, the
 * control thread puts the tables together and answers. Workers allocate nothing,
 * and no pointer of theirs leaves them. A worker that stops before it has read its
 * letter gives it back empty, and the question fails.
 */
#pragma once

#include "dataplane/base/cmd.h"
#include "dataplane/worker/worker.h"

struct daemon;
struct survey;

/* One worker's table holds at most so many rows; the answer says how many there would have been. */
#define SURVEY_ROWS_MAX 10000

/* Rows for a set; their ctx is the struct daemon. Each takes args.filter, a part of any cell. */
extern const struct cmd survey_cmds[];
extern const unsigned survey_n_cmds;
/* conns, flights */
extern const struct cmd survey_tcp_cmds[];
extern const unsigned survey_tcp_n_cmds;

/* ---- for other files that ask in this way (survey_tcp.c) */

struct survey_letter {
    struct mail mail;
    struct survey *survey;
    uint32_t worker;
    bool done;     /* the worker has seen it through */
    uint32_t at;   /* where it goes on next turn */
    uint32_t max;  /* rows that have room */
    uint32_t seen; /* rows there were: more than @max are not kept */
    char *rows;
};

struct survey_kind {
    const char *name; /* of the table */
    size_t row_size;
    uint32_t (*expected)(const struct daemon *d, uint32_t worker);
    bool (*fill)(struct worker *w, struct mail *m);
    /* Adds a row to the array @rows, or to one that is there; @index: scratch, an object. */
    void (*add)(struct daemon *d, uint32_t worker, const void *row, json_t *rows, json_t *index);
};

/* Asks, and answers @call, whose command's ctx is the daemon. */
void survey_start(struct cmd_call *call, const struct survey_kind *kind);

/* The next row, or NULL: there is no room. */
void *survey_next_row(struct survey_letter *l);

/* Copies a text, cut to what fits; NULL is "". */
void survey_keep(char *to, size_t room, const char *text);
#define SURVEY_KEEP(to, text) survey_keep(to, sizeof(to), text)

/* "" where there is none. */
json_t *survey_endpoint(const struct ipport *at);

/* ---- what commands put their answers together with */

/* @text as a JSON string; bytes that are no UTF-8 become '?'. */
json_t *cmd_text(const char *text);

/* Takes rows without @filter in any of their texts out of @rows; NULL: none. */
void cmd_filter_rows(json_t *rows, const char *filter);
