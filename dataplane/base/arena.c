#include "dataplane/base/arena.h"

#include "dataplane/base/slab.h"

#include <stdio.h>
#include <stdlib.h>

#define ALIGN 16
#define BLOCK 2048

struct arena_block {
    struct arena_block *next;
    struct slab *slab; /* where it came from; NULL: malloc */
    _Alignas(ALIGN) char bytes[];
};

void arena_init(struct arena *a, size_t limit)
{
    *a = (struct arena){ .limit = limit, .block = BLOCK };
}

void arena_init_block(struct arena *a, size_t block)
{
    *a = (struct arena){ .block = block };
}

void arena_init_slab(struct arena *a, struct slab *slab, size_t limit)
{
    *a = (struct arena){ .limit = limit, .block = BLOCK, .slab = slab };
}

void arena_fini(struct arena *a)
{
    struct arena_block *b = a->blocks;

    while (b != NULL) {
        struct arena_block *next = b->next;

        if (b->slab != NULL)
            slab_free(b->slab, b);
        else
            free(b);
        b = next;
    }
    *a = (struct arena){ .limit = a->limit, .block = a->block, .slab = a->slab };
}

static struct arena_block *new_block(struct arena *a, size_t *size)
{
    struct arena_block *b;

    if (a->slab != NULL && *size <= a->slab->size - sizeof(*b)) {
        b = slab_alloc(a->slab);
        *size = a->slab->size - sizeof(*b);
        if (b != NULL)
            b->slab = a->slab;
        return b;
    }
    *size = MAX(*size, a->block);
    b = malloc(sizeof(*b) + *size);
    if (b != NULL)
        b->slab = NULL;
    return b;
}

static bool grow(struct arena *a, size_t len)
{
    size_t size = len;
    struct arena_block *b = new_block(a, &size);

    if (b == NULL && a->limit == 0 && a->slab == NULL) {
        fprintf(stderr, "out of memory: %zu bytes\n", size);
        abort();
    }
    if (b == NULL)
        return false;
    b->next = a->blocks;
    a->blocks = b;
    a->at = b->bytes;
    a->end = b->bytes + size;
    return true;
}

void *arena_alloc(struct arena *a, size_t len)
{
    size_t need = (len + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    void *p;

    if (need < len || (a->limit != 0 && (need > a->limit || a->used > a->limit - need)))
        return NULL;
    if ((a->at == NULL || (size_t)(a->end - a->at) < need) && !grow(a, need))
        return NULL;
    p = a->at;
    a->at += need;
    a->used += need;
    return memset(p, 0, need);
}

char *arena_strndup(struct arena *a, const char *str, size_t len)
{
    char *copy = arena_alloc(a, len + 1);

    if (copy != NULL && len > 0)
        memcpy(copy, str, len);
    return copy;
}

char *arena_strdup(struct arena *a, const char *str)
{
    return arena_strndup(a, str, strlen(str));
}

struct slice arena_copy(struct arena *a, struct slice s)
{
    char *copy = arena_strndup(a, s.ptr, s.len);

    return copy != NULL ? (struct slice){ copy, s.len } : SLICE_NONE;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args;
    char *text;
    int len;

    va_start(args, fmt);
    len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);

    text = len >= 0 ? arena_alloc(a, (size_t)len + 1) : NULL;
    if (text == NULL)
        return NULL;
    va_start(args, fmt);
    vsnprintf(text, (size_t)len + 1, fmt, args);
    va_end(args);
    return text;
}
