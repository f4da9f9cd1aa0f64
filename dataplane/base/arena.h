/*
 * arena.h - allocate little by little, free whole
 *
 * One arena per request and one per configuration snapshot. Memory comes in
 * blocks, from malloc or, on the packet path, from a slab of the worker (an
 * object too large for one of its blocks is the exception: malloc); nothing is
 * freed singly. An arena belongs to one thread
 * while it is written; once it is only read, any thread may read it.
 *
 * A limit makes a hostile peer's appetite an ordinary error: arena_alloc()
 * returns NULL once the limit is reached. Without one (0) running out of memory
 * ends the process, as configuration code cannot go on.
 */
#pragma once

#include "dataplane/base/compiler.h"
#include "dataplane/base/slice.h"

#include <stdarg.h>
#include <stddef.h>

struct arena_block;
struct slab;

struct arena {
    struct arena_block *blocks; /* newest first */
    char *at, *end;             /* free part of the newest block */
    size_t used, limit;         /* bytes handed out; 0: no limit */
    size_t block;               /* least size of a block from malloc */
    struct slab *slab;          /* where blocks come from; NULL: malloc */
};

void arena_init(struct arena *a, size_t limit);

/* Without a limit, in blocks of @block bytes or more: small for a small object of its own, large
 * for a whole configuration. */
void arena_init_block(struct arena *a, size_t block);

/* Blocks come from @slab, whose objects are the blocks; an empty slab is an answer (NULL). */
void arena_init_slab(struct arena *a, struct slab *slab, size_t limit);

/* Frees everything. The arena can be used again. */
void arena_fini(struct arena *a);

/* Zeroed, aligned for any type. NULL only where the arena has a limit or a slab. */
void *arena_alloc(struct arena *a, size_t len);

/* A NUL-terminated copy. */
char *arena_strdup(struct arena *a, const char *str);
char *arena_strndup(struct arena *a, const char *str, size_t len);
struct slice arena_copy(struct arena *a, struct slice s);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
