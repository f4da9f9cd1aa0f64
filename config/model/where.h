/*
 * where.h - where a setting was written, and what is wrong with it
 *
 * Every object of the model remembers its place, so that a mistake that only shows
 * when several objects are put side by side still names file and line.
 */
#pragma once

#include "dataplane/base/compiler.h"

struct cfg_where {
    const char *file; /* NULL: not from a file */
    unsigned line;
};

#define CFG_ERR_LEN 512

/* The first mistake found: "gateway.conf:12: listeners[0].port: 70000 is not between 1 and 65535"
 */
struct cfg_err {
    char text[CFG_ERR_LEN];
};

/* Writes "FILE:LINE: " and the words, unless an error stands there already. Returns -EINVAL. */
int cfg_err_set(struct cfg_err *err, const struct cfg_where *where, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
