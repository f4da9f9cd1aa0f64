/*
 * watch.h - tell when files changed, by content or by a replaced link
 *
 * Watches the directories that hold the files (a new certificate usually comes
 * as a rename, or as a link that leads elsewhere) by inotify, through libuv, and
 * as a fallback looks every few seconds. Several changes within a moment are told
 * once, after they have settled: a key and its chain are two writes.
 *
 * Control thread.
 */
#pragma once

#include "dataplane/base/compiler.h"

#include <uv.h>

struct watch;

/* @changed is called on @loop. NULL: no memory. */
struct watch *watch_new(uv_loop_t *loop, void (*changed)(void *ctx), void *ctx);

/* Also closes what it has on the loop: run the loop once more before it is closed. */
void watch_free(struct watch *w);

/* Forgets what was watched, and watches these. 0 or -errno. */
NODISCARD int watch_set(struct watch *w, const char *const *paths, unsigned n);
