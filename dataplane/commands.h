/*
 * commands.h - what the control socket offers, and the daemon behind each command
 */
#pragma once

#include "config/model/where.h"

struct control;
struct daemon;

/* Opens the control socket of the daemon's configuration with every command. NULL: @err says why. */
struct control *commands_open(struct daemon *d, struct cfg_err *err);

/* Closes it; calls that wait are dropped. Run the daemon's loop once more afterwards. */
void commands_close(struct control *c);
