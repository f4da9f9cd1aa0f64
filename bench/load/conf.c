#include "bench/load/conf_impl.h"

#include <stdio.h>
#include <stdlib.h>

/* A mistake in what --set has brought has no line: the words begin with its path instead. */
static void blame_set(struct cfg_err *err, const char *const *sets, unsigned n_sets)
{
    char path[CFG_ERR_LEN], words[CFG_ERR_LEN];

    for (unsigned i = 0; i < n_sets; i++) {
        const char *at;

        snprintf(path, sizeof(path), " %.*s: ", (int)strcspn(sets[i], "="), sets[i]);
        at = strstr(err->text, path);
        if (at == NULL)
            continue;
        snprintf(words, sizeof(words), "--set%s", at);
        *err = (struct cfg_err){ "" };
        snprintf(err->text, sizeof(err->text), "%s", words);
        return;
    }
}

static int parse(config_t *config, const struct source *src, struct cfg_err *err)
{
    struct cfg_where where;

    if (config_read_string(config, src->text) == CONFIG_TRUE)
        return 0;
    where = source_where(src, (unsigned)config_error_line(config));
    return cfg_err_set(err, &where, "%s", config_error_text(config));
}

static int read_source(struct load_conf *c, const struct source *src, const char *const *sets,
                       unsigned n_sets, struct cfg_err *err)
{
    struct reader r = { .arena = &c->arena, .source = src, .err = err };
    config_t config;
    int rc;

    config_init(&config);
    rc = parse(&config, src, err);
    for (unsigned i = 0; i < n_sets && rc == 0; i++)
        rc = load_conf_set(&config, sets[i], err);
    if (rc == 0) {
        rc = object_read(&r, config_root_setting(&config), load_conf_object(), c);
        if (rc == 0)
            rc = load_conf_check(c, err);
        if (rc < 0)
            blame_set(err, sets, n_sets);
    }
    config_destroy(&config);
    return rc;
}

static struct load_conf *new_conf(void)
{
    struct load_conf *c = calloc(1, sizeof(*c));

    if (c == NULL)
        abort(); /* as an arena does */
    arena_init(&c->arena, 0);
    return c;
}

/* Takes @src, if @rc says that it is there. */
static struct load_conf *finish(struct load_conf *c, int rc, struct source *src,
                                const char *const *sets, unsigned n_sets, struct cfg_err *err)
{
    if (rc == 0) {
        rc = read_source(c, src, sets, n_sets, err);
        source_fini(src);
    }
    if (rc == 0)
        return c;
    load_conf_free(c);
    return NULL;
}

struct load_conf *load_conf_read(const char *path, const char *const *sets, unsigned n_sets,
                                 struct cfg_err *err)
{
    struct load_conf *c = new_conf();
    struct source src;

    err->text[0] = '\0';
    return finish(c, source_read(&src, path, &c->arena, err), &src, sets, n_sets, err);
}

struct load_conf *load_conf_read_text(const char *name, const char *text, const char *const *sets,
                                      unsigned n_sets, struct cfg_err *err)
{
    struct load_conf *c = new_conf();
    struct source src;

    err->text[0] = '\0';
    return finish(c, source_from_text(&src, name, text, strlen(text), &c->arena, err), &src, sets,
                  n_sets, err);
}

void load_conf_free(struct load_conf *c)
{
    if (c == NULL)
        return;
    arena_fini(&c->arena);
    free(c);
}
