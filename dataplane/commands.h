/*
 * commands.h - what the control socket offers, and the daemon behind each command
 *
 * Every command is a row (base/cmd.h) and runs in the control thread. What only a
 * worker knows is asked by mail (survey.h). Nothing here waits: an answer that
 * takes time is given later, and a client that has gone by then is no matter.
 */
#pragma once

#include "config/model/where.h"

#include <stdbool.h>

struct commands;
struct daemon;

/* Opens the control socket of the daemon's configuration. NULL: @err says why. */
struct commands *commands_open(struct daemon *d, struct cfg_err *err);

/* Does a client still fetch what ends with the daemon? NULL is allowed. */
bool commands_are_awaited(const struct commands *c);

/* No more questions: the clients are let go. Before the workers stop; NULL is allowed. */
void commands_close(struct commands *c);

/* After every letter has come back, and the loop has run once more; NULL is allowed. */
void commands_free(struct commands *c);
