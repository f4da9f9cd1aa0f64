/*
 * captures.h - `isthmusctl capture`: frames of the ports, as pcapng, while they pass
 *
 * One capture at a time. Three commands of the control socket, which isthmusctl calls in turn:
 *
 *   capture        args: port, program (classic BPF, base64), direction, snaplen, count, seconds
 *                  -> {"capture": ID}
 *   capture-read   args: capture -> {"data": base64, "done": false}; waits for something to come
 *   capture-stop   args: capture; what is there can still be read, unless discard is true
 *
 *            attach: a letter to each worker       detach
 *   IDLE --> STARTING ------------> RUNNING ------------> ENDING ------> DONE --> IDLE
 *                                      count, seconds, stop,    all letters    all was read
 *                                      drain, nobody reads      are back
 *
 * Workers fill taps (drivers/capture.h); a timer takes frames out, in the order of their times, and
 * writes them into a buffer of fixed size, which a reader empties. If it does not, buffer and taps
 * fill up, and frames are dropped and counted: nothing else is held up. A client that has not read
 * for CAPTURE_LEASE_MS is gone, and its capture with it.
 *
 * Control thread.
 */
#pragma once

#include "dataplane/base/cmd.h"

struct captures;
struct daemon;

/* NULL: no memory. */
struct captures *captures_new(struct daemon *d);

/* Rows for a set; their ctx is the struct captures. */
extern const struct cmd captures_cmds[];
extern const unsigned captures_n_cmds;

/* Does somebody still read one? It ends when the daemon drains; what it has is still to be fetched.
 */
bool captures_are_read(const struct captures *c);

/* No more questions. Before the workers stop. */
void captures_close(struct captures *c);

/* After the workers were freed; NULL is allowed. */
void captures_free(struct captures *c);
