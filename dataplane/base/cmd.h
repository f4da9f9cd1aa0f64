/*
 * cmd.h - a command of the control socket, as a row: name, help, function
 *
 * Whoever has something to show or to do keeps its rows beside it, and whoever
 * puts the program together adds them to one set; config/control carries the
 * questions and answers. Everything here runs in the control thread.
 *
 * A command answers its call exactly once, with cmd_reply() or cmd_fail(): at once,
 * in run(), or later, when the workers have answered its letters. Until then the
 * call and its arguments stay valid, also if the client has gone or has waited too
 * long; then the answer is dropped.
 */
#pragma once

#include "dataplane/base/compiler.h"

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#define CMD_MAX 64

struct cmd_call;

struct cmd {
    const char *name;
    const char *help; /* one line for people */
    void (*run)(struct cmd_call *call);
    void *ctx;
};

struct cmd_call {
    const struct cmd *cmd;
    const json_t *args; /* an object, maybe empty */
    /* Private to whoever made the call. Exactly one of @result and @error is there. */
    void (*answer)(struct cmd_call *call, json_t *result, const char *error, const char *hint);
};

/* Takes the reference of @result; NULL (no memory, bad UTF-8) is told as an error. */
static inline void cmd_reply(struct cmd_call *call, json_t *result)
{
    if (result != NULL)
        call->answer(call, result, NULL, NULL);
    else
        call->answer(call, NULL, "the answer could not be put into words", "see the log");
}

/* @hint: what to do next, "" if there is nothing to say. */
static inline void cmd_fail(struct cmd_call *call, const char *error, const char *hint)
{
    call->answer(call, NULL, error, hint);
}

/* The argument, or NULL if it is absent or no string. */
static inline const char *cmd_arg_string(const struct cmd_call *call, const char *name)
{
    return json_string_value(json_object_get(call->args, name));
}

static inline bool cmd_arg_is_true(const struct cmd_call *call, const char *name)
{
    return json_is_true(json_object_get(call->args, name));
}

struct cmd_set {
    unsigned n;
    struct cmd rows[CMD_MAX];
};

static inline const struct cmd *cmd_find(const struct cmd_set *set, const char *name)
{
    for (unsigned i = 0; i < set->n; i++) {
        if (strcmp(set->rows[i].name, name) == 0)
            return &set->rows[i];
    }
    return NULL;
}

/* Copies the row. False: the name is taken, or the set is full. */
static inline bool cmd_add(struct cmd_set *set, const struct cmd *row)
{
    if (set->n == CMD_MAX || cmd_find(set, row->name) != NULL)
        return false;
    set->rows[set->n++] = *row;
    return true;
}
