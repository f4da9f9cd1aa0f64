/*
 * flights.h - `isthmusctl flight`: one recording of a flight recorder, as text and as pcapng
 *
 * Asked for as "WORKER-NUMBER", as `flights` lists them, or by an address and port of either end:
 * then it is the newest there is. The workers copy, the control thread writes (flightlog.h).
 */
#pragma once

#include "dataplane/base/cmd.h"

/* Rows for a set; their ctx is the struct daemon. */
extern const struct cmd flights_cmds[];
extern const unsigned flights_n_cmds;
