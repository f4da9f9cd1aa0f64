/*
 * socket.h - the control socket: a Unix stream socket on the control thread's loop
 *
 * Who may ask: root, and the user the daemon runs as (SO_PEERCRED), whatever the
 * mode of the file lets through. At most CONTROL_CLIENTS at once; a client that
 * is silent, or that does not read its answer, is let go after a while.
 *
 * A socket file that nobody listens at is a leftover of a crash, and is replaced;
 * one that somebody listens at means that the daemon runs already.
 *
 * libuv writes to clients that may have gone: the process must ignore SIGPIPE.
 */
#pragma once

#include "config/control/dialog.h"
#include "config/model/telemetry.h"

#include <uv.h>

#define CONTROL_CLIENTS 32

struct control;

struct control_counters {
    uint64_t clients;
    uint64_t refused_uid;  /* neither root nor our own user */
    uint64_t refused_full; /* CONTROL_CLIENTS are there */
    uint64_t slow;         /* let go: silent, or did not read */
    uint64_t timed_out;    /* commands */
    struct dialog_counters dialog;
};

/* @cmds lives at least as long. NULL: @err says why. */
struct control *control_open(uv_loop_t *loop, const struct control_conf *conf,
                             const struct cmd_set *cmds, struct cfg_err *err);

/*
 * No new clients, the old ones are let go, the file is removed. The memory goes when the loop has
 * run the close callbacks; calls still being worked on may be answered even after that.
 */
void control_close(struct control *c);

const struct control_counters *control_counters(const struct control *c);

/* How long: for a silent client, a command, an unread answer. For tests; before the first client.
 */
struct control_times {
    uint64_t idle_ms, command_ms, answer_ms;
};
void control_set_times(struct control *c, const struct control_times *times);
