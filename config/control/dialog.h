/*
 * dialog.h - one client's questions and our answers, without a socket
 *
 * In:   {"cmd": "stats", "args": {"filter": "cluster."}}       a line each
 * Out:  {"ok": true, "result": ...}
 *       {"ok": false, "error": "...", "hint": "what to do next"}
 *
 * A client that is turned away at the door gets "asked": false beside that, unasked.
 *
 * One question at a time: the next line is read when the answer to the last one has
 * been sent, so answers come in order and a client that does not read cannot make
 * us hold more than one. A line longer than DIALOG_LINE_MAX ends the dialog.
 *
 *   IDLE -- a line --> ASKED -- answer --> ANSWERING -- dialog_sent() --> IDLE
 *                                          then, after an end: on_end()
 */
#pragma once

#include "dataplane/base/cmd.h"

#include <stdint.h>

#define DIALOG_LINE_MAX (64 * 1024) /* with its newline */

struct dialog;
struct call;

enum dialog_state { DIALOG_IDLE, DIALOG_ASKED, DIALOG_ANSWERING, DIALOG_ENDED };

struct dialog_ops {
    /* Takes @line, which is from malloc. Not to call dialog_sent() before it returns. */
    void (*send)(struct dialog *d, char *line, size_t len);
    /* Nothing more will come. @d may be freed here, after dialog_fini(). */
    void (*on_end)(struct dialog *d); /* last */
};

struct dialog_counters {
    uint64_t commands, failed; /* failed: answered with an error */
    uint64_t too_long;
};

struct dialog {
    enum dialog_state state;
    bool at_end; /* no more bytes will come */
    bool broken; /* to be ended after the answer */
    const struct cmd_set *cmds;
    const struct dialog_ops *ops;
    struct dialog_counters *n;
    struct call *call; /* while ASKED */
    size_t from, to;   /* bytes not yet read: bytes[from, to) */
    char bytes[DIALOG_LINE_MAX];
};

void dialog_init(struct dialog *d, const struct cmd_set *cmds, const struct dialog_ops *ops,
                 struct dialog_counters *n);

/* Leaves a call that is still running to itself. */
void dialog_fini(struct dialog *d);

/* Where the next bytes go, at most *@room of them; only while IDLE. */
char *dialog_room(struct dialog *d, size_t *room);

/* So many bytes were put there. May answer, and may end the dialog. */
void dialog_received(struct dialog *d, size_t n);

/* The client has sent all: what it asked is answered still. */
void dialog_eof(struct dialog *d);

/* The answer has left. */
void dialog_sent(struct dialog *d);

/* What is being worked on; only while ASKED. */
const char *dialog_command(const struct dialog *d);

/* The command takes too long: the client is told so, and may go on. Only while ASKED. */
void dialog_timed_out(struct dialog *d);
