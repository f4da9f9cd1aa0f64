/*
 * flight.h - `isthmusctl flight`, where its answer is a file
 */
#pragma once

#include "config/control/ask.h"

#include <jansson.h>
#include <stddef.h>

#define RUN_AS_USUAL (-1) /* ask once, and show the answer */

/* With args.pcapng, the recording goes to that file. Returns the exit status, or RUN_AS_USUAL. */
int flight_run(const struct ask_conf *conf, json_t *args);

/* What the commands that write files share. */

/* Asks @cmd on @fd. Returns the result, or NULL: *@status is what to exit with, and it was said
 * why. Takes @args. */
json_t *ask_json(int fd, const struct ask_conf *conf, const char *cmd, json_t *args, int *status);

/* The bytes of a result's base64, from malloc; NULL: it is none. */
void *bytes_of(const json_t *text, size_t *len);
