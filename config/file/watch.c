#include "config/file/watch.h"

#include "dataplane/base/log.h"

#include <errno.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_MS 100
#define LOOK_MS 5000
#define MAX_DIRS 64

struct dir {
    uv_fs_event_t event;
    char *path;
    bool used;
};

struct watch {
    uv_loop_t *loop;
    void (*changed)(void *ctx);
    void *ctx;
    uv_timer_t settle, look;
    unsigned n_dirs;
    struct dir *dirs[MAX_DIRS];
};

static void on_settled(uv_timer_t *t)
{
    struct watch *w = t->data;

    w->changed(w->ctx);
}

static void on_event(uv_fs_event_t *e, const char *name, int events, int status)
{
    struct watch *w = e->data;

    uv_timer_start(&w->settle, on_settled, SETTLE_MS, 0);
}

struct watch *watch_new(uv_loop_t *loop, void (*changed)(void *ctx), void *ctx)
{
    struct watch *w = calloc(1, sizeof(*w));

    if (w == NULL)
        return NULL;
    w->loop = loop;
    w->changed = changed;
    w->ctx = ctx;
    uv_timer_init(loop, &w->settle);
    uv_timer_init(loop, &w->look);
    w->settle.data = w->look.data = w;
    uv_timer_start(&w->look, on_settled, LOOK_MS, LOOK_MS);
    return w;
}

static void free_dir(uv_handle_t *h)
{
    struct dir *d = container_of((uv_fs_event_t *)h, struct dir, event);

    free(d->path);
    free(d);
}

static void close_unused(struct watch *w)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < w->n_dirs; i++) {
        if (w->dirs[i]->used)
            w->dirs[kept++] = w->dirs[i];
        else
            uv_close((uv_handle_t *)&w->dirs[i]->event, free_dir);
    }
    w->n_dirs = kept;
}

static void free_watch(uv_handle_t *h)
{
    free(h->data);
}

void watch_free(struct watch *w)
{
    for (unsigned i = 0; i < w->n_dirs; i++)
        w->dirs[i]->used = false;
    close_unused(w);
    uv_close((uv_handle_t *)&w->settle, NULL);
    uv_close((uv_handle_t *)&w->look, free_watch); /* closed last: handles close in order */
}

static int add_dir(struct watch *w, const char *path)
{
    struct dir *d;
    int rc;

    for (unsigned i = 0; i < w->n_dirs; i++) {
        if (strcmp(w->dirs[i]->path, path) == 0) {
            w->dirs[i]->used = true;
            return 0;
        }
    }
    if (w->n_dirs == MAX_DIRS)
        return 0; /* the timer still looks */
    d = calloc(1, sizeof(*d));
    if (d == NULL)
        return -ENOMEM;
    d->path = strdup(path);
    if (d->path == NULL) {
        free(d);
        return -ENOMEM;
    }
    d->used = true;
    uv_fs_event_init(w->loop, &d->event);
    d->event.data = w;
    w->dirs[w->n_dirs++] = d;
    rc = uv_fs_event_start(&d->event, on_event, path, 0);
    if (rc < 0)
        log_warning("watch", "%s: %s; looking every %d s instead", path, uv_strerror(rc),
                    LOOK_MS / 1000);
    return 0;
}

int watch_set(struct watch *w, const char *const *paths, unsigned n)
{
    int rc = 0;

    for (unsigned i = 0; i < w->n_dirs; i++)
        w->dirs[i]->used = false;
    for (unsigned i = 0; i < n && rc == 0; i++) {
        char *copy = strdup(paths[i]);

        rc = copy != NULL ? add_dir(w, dirname(copy)) : -ENOMEM;
        free(copy);
    }
    close_unused(w);
    return rc;
}
