#include "dataplane/worker/publish.h"

#include "dataplane/base/log.h"
#include "tls/ctx.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

struct retired {
    struct retired *next;
    struct runtime *runtime;
    uint64_t token;
};

static void retire(struct gateway *g, struct runtime *rt)
{
    struct retired *r = malloc(sizeof(*r));

    if (r == NULL)
        return; /* leaked, rather than freed under a worker */
    *r = (struct retired){ g->retired, rt, quiesce_start(g->quiesce) };
    g->retired = r;
}

static int publish(struct gateway *g, struct snapshot *snapshot, const struct secrets *secrets,
                   struct cfg_err *err)
{
    struct runtime *old = atomic_load_explicit(&g->published.runtime, memory_order_relaxed);
    struct runtime_env env = g->env;
    struct runtime *rt;

    env.before = old;
    rt = runtime_build(snapshot, secrets, &env, err);
    if (rt == NULL)
        return -EINVAL;
    rt->version = ++g->version;
    /* pairs with the acquire in worker_adopt() */
    atomic_store_explicit(&g->published.runtime, rt, memory_order_release);
    for (uint32_t i = 0; i < g->n_workers; i++)
        worker_wake(g->workers[i]);
    if (old != NULL)
        retire(g, old);
    return 0;
}

int gateway_publish(struct gateway *g, struct snapshot *snapshot, struct secrets *secrets,
                    struct cfg_err *err)
{
    if (publish(g, snapshot, secrets, err) < 0)
        return -EINVAL;
    snapshot_get(snapshot);
    snapshot_put(g->snapshot);
    g->snapshot = snapshot;
    secrets_put(&g->secrets);
    g->secrets = *secrets;
    *secrets = (struct secrets){ 0 };
    g->n_reloads++;
    g->loaded_wall = (uint64_t)time(NULL);
    return 0;
}

unsigned gateway_refresh_secrets(struct gateway *g)
{
    struct cfg_err err = { "" };
    unsigned refused = 0, replaced = secrets_refresh(g->snapshot, &g->secrets, &refused);

    g->n_secret_refused += refused;
    if (replaced == 0)
        return 0;
    if (publish(g, g->snapshot, &g->secrets, &err) < 0) {
        log_error("secret", "the new certificates cannot be used: %s", err.text);
        g->n_secret_refused += replaced;
        return 0;
    }
    g->n_secret_changes += replaced;
    return replaced;
}

unsigned gateway_tick(struct gateway *g)
{
    struct retired **at = &g->retired;
    unsigned left = 0;

    while (*at != NULL) {
        struct retired *r = *at;

        if (!quiesce_is_over(g->quiesce, r->token) || !pins_are_free(&r->runtime->pins)) {
            at = &r->next;
            left++;
            continue;
        }
        *at = r->next;
        runtime_free(r->runtime);
        free(r);
    }
    for (uint32_t i = 0; i < g->n_workers; i++)
        tls_lib_sweep(g->env.libs[i]);
    return left;
}

bool gateway_is_settled(const struct gateway *g)
{
    for (uint32_t i = 0; i < g->n_workers; i++)
        if (atomic_load_explicit(&g->workers[i]->adopted, memory_order_acquire) != g->version)
            return false;
    return true;
}

void gateway_fini(struct gateway *g)
{
    struct runtime *rt = atomic_load_explicit(&g->published.runtime, memory_order_relaxed);

    while (g->retired != NULL) {
        struct retired *r = g->retired;

        g->retired = r->next;
        runtime_free(r->runtime);
        free(r);
    }
    if (rt != NULL)
        runtime_free(rt);
    secrets_put(&g->secrets);
    snapshot_put(g->snapshot);
}
