#include "dataplane/telemetry/stats.h"

#include "dataplane/base/hash.h"
#include "dataplane/base/own.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stats {
    unsigned n_workers, n, room;
    struct stats_block **blocks; /* in the order they were made */
    struct hash_key seed;        /* the index: names are as long as somebody else likes */
    unsigned mask;
    struct stats_block **index; /* open addressing, at most half full */
};

static void *must(void *p)
{
    if (p == NULL) {
        perror("stats");
        abort();
    }
    return p;
}

struct stats *stats_new(unsigned n_workers)
{
    struct stats *s = must(calloc(1, sizeof(*s)));

    s->n_workers = n_workers;
    hash_key_random(&s->seed);
    return s;
}

void stats_free(struct stats *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        for (unsigned w = 0; w < s->n_workers; w++)
            free(s->blocks[i]->of[w].own);
        free((char *)(uintptr_t)s->blocks[i]->name);
        free(s->blocks[i]);
    }
    free(s->blocks);
    free(s->index);
    free(s);
}

/* Where the block is, or would be. */
static struct stats_block **place_of(const struct stats *s, const struct stats_scope *scope,
                                     const char *name)
{
    unsigned at = (unsigned)hash_sip(&s->seed, name, strlen(name)) & s->mask;

    while (s->index[at] != NULL &&
           (s->index[at]->scope != scope || strcmp(s->index[at]->name, name) != 0))
        at = (at + 1) & s->mask;
    return &s->index[at];
}

static void make_room(struct stats *s)
{
    if (s->n < s->room)
        return;
    s->room = MAX(s->room * 2, 32);
    s->blocks = must(realloc(s->blocks, s->room * sizeof(s->blocks[0])));
    free(s->index);
    s->mask = 2 * s->room - 1;
    s->index = must(calloc(2 * s->room, sizeof(s->index[0])));
    for (unsigned i = 0; i < s->n; i++)
        *place_of(s, s->blocks[i]->scope, s->blocks[i]->name) = s->blocks[i];
}

static struct stats_block *find(struct stats *s, const struct stats_scope *scope, const char *name)
{
    struct stats_block **place, *b;

    make_room(s);
    place = place_of(s, scope, name);
    if (*place != NULL)
        return *place;
    b = must(calloc(1, sizeof(*b) + s->n_workers * sizeof(b->of[0])));
    b->scope = scope;
    b->name = must(strdup(name));
    s->blocks[s->n++] = *place = b;
    return b;
}

struct stats_block *stats_block(struct stats *s, const struct stats_scope *scope, const char *name)
{
    struct stats_block *b = find(s, scope, name);

    for (unsigned w = 0; w < s->n_workers; w++) {
        if (b->of[w].own != NULL)
            continue;
        b->of[w].own = must(own_alloc(scope->n, sizeof(uint64_t)));
        b->of[w].values = b->of[w].own;
    }
    return b;
}

void stats_show(struct stats *s, const struct stats_scope *scope, const char *name, unsigned worker,
                const uint64_t *values)
{
    find(s, scope, name)->of[worker].values = values;
}

void stats_each(const struct stats *s, stats_fn fn, void *ctx)
{
    for (unsigned i = 0; i < s->n; i++) {
        const struct stats_block *b = s->blocks[i];

        for (unsigned k = 0; k < b->scope->n; k++) {
            uint64_t sum = 0;

            for (unsigned w = 0; w < s->n_workers; w++)
                if (b->of[w].values != NULL)
                    sum += __atomic_load_n(&b->of[w].values[k], __ATOMIC_RELAXED);
            fn(b, &b->scope->descs[k], sum, ctx);
        }
    }
}

char *stats_flat_name(const struct stats_block *b, const struct stat_desc *d, char *buf,
                      unsigned len)
{
    if (b->name[0] != '\0')
        snprintf(buf, len, "%s.%s.%s", b->scope->name, b->name, d->name);
    else
        snprintf(buf, len, "%s.%s", b->scope->name, d->name);
    return buf;
}
