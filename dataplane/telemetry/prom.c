#include "dataplane/telemetry/prom.h"

#include <inttypes.h>
#include <string.h>

struct writer {
    FILE *to;
    const struct stats *stats;
    const struct stats_scope *scope; /* the one being written; NULL: find the next */
    const struct stat_desc *desc;
    const char *filter;
    bool headed; /* HELP and TYPE of ->desc are written */
};

static void write_escaped(FILE *to, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', to);
        if (*text == '\n')
            fputs("\\n", to);
        else
            fputc(*text, to);
    }
}

static bool is_wanted(const struct stats_block *b, const struct stat_desc *d, const char *filter)
{
    char name[512];

    return filter == NULL || strstr(stats_flat_name(b, d, name, sizeof(name)), filter) != NULL;
}

static void write_head(struct writer *w)
{
    const struct stat_desc *d = w->desc;

    fprintf(w->to, "# HELP %s_%s %s\n# TYPE %s_%s %s\n", w->scope->prom, d->name, d->help,
            w->scope->prom, d->name, d->kind == STAT_COUNTER ? "counter" : "gauge");
    w->headed = true;
}

static void write_sample(const struct stats_block *b, const struct stat_desc *d, uint64_t sum,
                         void *ctx)
{
    struct writer *w = ctx;

    if (b->scope != w->scope || d != w->desc || !is_wanted(b, d, w->filter))
        return;
    if (!w->headed)
        write_head(w);
    fprintf(w->to, "%s_%s", b->scope->prom, d->name);
    if (b->scope->label != NULL) {
        fprintf(w->to, "{%s=\"", b->scope->label);
        write_escaped(w->to, b->name);
        fputs("\"}", w->to);
    }
    fprintf(w->to, " %" PRIu64 "\n", sum);
}

/* The format wants all samples of one name together: each name is written where it is first seen.
 */
static void write_name(const struct stats_block *b, const struct stat_desc *d, uint64_t sum,
                       void *ctx)
{
    struct writer *w = ctx;

    if (b->scope != w->scope) /* a scope that was written already, or a later block of this one */
        return;
    w->desc = d;
    w->headed = false;
    stats_each(w->stats, write_sample, w);
    if (d == &b->scope->descs[b->scope->n - 1])
        w->scope = NULL; /* its other blocks are in already */
}

struct scopes {
    const struct stats_scope *seen[64];
    unsigned n;
};

static void collect(const struct stats_block *b, const struct stat_desc *d, uint64_t sum, void *ctx)
{
    struct scopes *all = ctx;

    for (unsigned i = 0; i < all->n; i++)
        if (all->seen[i] == b->scope)
            return;
    if (all->n < ARRAY_SIZE(all->seen))
        all->seen[all->n++] = b->scope;
}

void prom_write(const struct stats *s, const char *filter, FILE *to)
{
    struct scopes all = { .n = 0 };

    stats_each(s, collect, &all);
    for (unsigned i = 0; i < all.n; i++) {
        struct writer w = { .to = to, .stats = s, .scope = all.seen[i], .filter = filter };

        stats_each(s, write_name, &w);
    }
}
