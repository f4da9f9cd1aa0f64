#include "dataplane/worker/runtime.h"

#include "dataplane/base/log.h"
#include "dataplane/base/own.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define BLOCK (128 * 1024) /* of a runtime's memory */

/* --- secrets --------------------------------------------------------------------------------- */

static struct tls_secret *secret_before(const struct secrets_before *before, const char *name)
{
    const struct secret_conf *was = before != NULL ? snapshot_secret(before->snapshot, name) : NULL;

    return was != NULL ? before->secrets->v[was - before->snapshot->secrets] : NULL;
}

/* @was again, if it is the same. */
static struct tls_secret *load_or_keep(const struct secret_conf *conf, struct tls_secret *was,
                                       struct cfg_err *err)
{
    struct tls_secret *fresh;

    if (was != NULL && tls_secret_is_current(was, conf))
        return tls_secret_get(was);
    fresh = tls_secret_load(conf, err);
    if (fresh == NULL || was == NULL || !tls_secret_eq(fresh, was))
        return fresh;
    tls_secret_go_on(was, fresh);
    tls_secret_put(fresh);
    return tls_secret_get(was);
}

int secrets_load(const struct snapshot *s, const struct secrets_before *before, struct secrets *ret,
                 struct cfg_err *err)
{
    struct secrets all = { .v = calloc(s->n_secrets + 1, sizeof(all.v[0])) };

    if (all.v == NULL)
        return -ENOMEM;
    for (; all.n < s->n_secrets; all.n++) {
        const struct secret_conf *conf = &s->secrets[all.n];

        all.v[all.n] = load_or_keep(conf, secret_before(before, conf->name), err);
        if (all.v[all.n] == NULL) {
            secrets_put(&all);
            return cfg_err_set(err, &conf->where, "secret %s cannot be loaded", conf->name);
        }
    }
    *ret = all;
    return 0;
}

void secrets_put(struct secrets *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        tls_secret_put(s->v[i]);
    free(s->v);
    *s = (struct secrets){ 0 };
}

unsigned secrets_refresh(const struct snapshot *s, struct secrets *secrets, unsigned *refused)
{
    unsigned replaced = 0;

    for (uint32_t i = 0; i < secrets->n; i++) {
        struct cfg_err err = { "" };
        struct tls_secret *fresh = load_or_keep(&s->secrets[i], secrets->v[i], &err);

        if (fresh == NULL) {
            ++*refused;
            log_warning("secret", "%s: not replaced: %s", s->secrets[i].name, err.text);
        } else if (fresh == secrets->v[i]) {
            tls_secret_put(fresh);
        } else {
            log_info("secret", "%s: replaced", s->secrets[i].name);
            tls_secret_put(secrets->v[i]);
            secrets->v[i] = fresh;
            replaced++;
        }
    }
    return replaced;
}

/* --- building -------------------------------------------------------------------------------- */

struct build {
    struct runtime *rt;
    const struct snapshot *snapshot;
    const struct secrets *secrets;
    const struct runtime_env *env;
    struct cfg_err *err;
};

static struct tls_secret *find_secret(const struct build *b, const char *name)
{
    const struct secret_conf *conf = name != NULL ? snapshot_secret(b->snapshot, name) : NULL;

    return conf != NULL ? b->secrets->v[conf - b->snapshot->secrets] : NULL;
}

static void put_tls(struct tls_ctx **tls, uint32_t n)
{
    for (uint32_t w = 0; tls != NULL && w < n; w++)
        tls_ctx_put(tls[w]);
}

static struct tls_ctx_conf ctx_conf(const struct build *b, const char *name, bool is_server,
                                    const struct tls_conf *conf)
{
    struct tls_ctx_conf ctx = {
        .name = name,
        .is_server = is_server,
        .conf = conf,
        .secret = find_secret(b, conf->secret),
        .trust = find_secret(b, conf->trust != NULL ? conf->trust : conf->secret),
        .tickets = is_server && conf->session_tickets ? b->env->tickets : NULL,
    };

    if (is_server && conf->mode == TLS_MODE_SIMPLE)
        ctx.trust = NULL;
    return ctx;
}

/* One context per worker, each in that worker's OpenSSL. Those of @was, where they are the same. */
static struct tls_ctx **build_tls(const struct build *b, const struct tls_ctx_conf *conf,
                                  struct tls_ctx **was)
{
    struct tls_ctx **to = arena_alloc(&b->rt->arena, b->env->n_workers * sizeof(to[0]));
    const bool is_same = was != NULL && tls_ctx_is_of(was[0], conf->secret, conf->trust);

    for (uint32_t w = 0; w < b->env->n_workers; w++) {
        if (is_same)
            to[w] = tls_ctx_get(was[w]);
        else if (w == 0)
            to[w] = tls_ctx_new(b->env->libs[w], conf, b->err);
        else
            to[w] = tls_ctx_again(to[0], b->env->libs[w], conf, b->err);
        if (to[w] != NULL)
            continue;
        cfg_err_set(b->err, &conf->conf->where, "TLS of %s cannot be set up", conf->name);
        put_tls(to, w);
        return NULL;
    }
    return to;
}

static struct cluster_rt *find_cluster(const struct runtime *rt, const char *name)
{
    const struct cluster_conf *conf = snapshot_cluster(rt->snapshot, name);

    return conf != NULL ? rt->clusters[conf - rt->snapshot->clusters] : NULL;
}

static int build_cluster(const struct build *b, const struct cluster_conf *conf)
{
    struct runtime *rt = b->rt;
    struct cluster_rt *c = arena_alloc(&rt->arena, sizeof(*c)),
                      *was =
                          b->env->before != NULL ? find_cluster(b->env->before, conf->name) : NULL;
    struct tls_ctx_conf ctx;

    cluster_rt_init(c, &rt->arena, conf, was, b->env->n_workers);
    c->pins = &rt->pins;
    c->stats =
        was != NULL ? was->stats : stats_block(b->env->stats, &cluster_stats_scope, conf->name);
    rt->clusters[rt->n_clusters++] = c;
    if (conf->tls == NULL)
        return 0;
    ctx = ctx_conf(b, conf->name, false, conf->tls);
    c->tls = build_tls(b, &ctx, was != NULL && was->tls_epoch == c->tls_epoch ? was->tls : NULL);
    return c->tls != NULL ? 0 : -EINVAL;
}

static int build_clusters(const struct build *b)
{
    struct runtime *rt = b->rt;

    rt->clusters = arena_alloc(&rt->arena, b->snapshot->n_clusters * sizeof(rt->clusters[0]));
    for (uint32_t i = 0; i < b->snapshot->n_clusters; i++)
        if (build_cluster(b, &b->snapshot->clusters[i]) < 0)
            return -EINVAL;
    return 0;
}

static void *resolve(void *ctx, const char *cluster)
{
    return find_cluster(ctx, cluster);
}

static int build_log(const struct build *b, const char *name, struct chain_rt *chain)
{
    const struct access_log_conf *conf =
        name != NULL ? snapshot_access_log(b->snapshot, name) : NULL;
    const char *format;
    char why[256];
    int id;

    if (conf == NULL)
        return 0;
    id = logfiles_id(b->env->logfiles, conf->path);
    if (id < 0)
        return cfg_err_set(b->err, &conf->where, "access log %s: %s cannot be opened: %s",
                           conf->name, conf->path, strerror(-id));
    chain->log_file = (uint32_t)id;
    format = conf->format != NULL ? conf->format : accesslog_default_format;
    chain->log = accesslog_compile(&b->rt->arena, format, why, sizeof(why));
    return chain->log != NULL
               ? 0
               : cfg_err_set(b->err, &conf->where, "access log %s: %s", conf->name, why);
}

int runtime_check(const struct snapshot *s, struct cfg_err *err)
{
    struct secrets secrets;
    struct arena a;
    char why[200];
    int rc;

    rc = secrets_load(s, NULL, &secrets, err);
    if (rc < 0)
        return rc;
    secrets_put(&secrets);

    arena_init(&a, 0);
    for (uint32_t i = 0; i < s->n_access_logs && rc == 0; i++) {
        const struct access_log_conf *log = &s->access_logs[i];

        if (log->format != NULL && accesslog_compile(&a, log->format, why, sizeof(why)) == NULL)
            rc = cfg_err_set(err, &log->where, "access log %s: %s", log->name, why);
    }
    arena_fini(&a);
    return rc;
}

static int build_chain(const struct build *b, const struct listener_conf *l,
                       const struct chain_conf *conf, struct chain_rt *chain)
{
    struct runtime *rt = b->rt;
    const struct route_config_conf *routes;
    struct tls_ctx_conf ctx;

    chain->conf = conf;
    if (conf->tls != NULL) {
        ctx = ctx_conf(b, arena_printf(&rt->arena, "%s/%s", l->name, conf->name), true, conf->tls);
        chain->tls = build_tls(b, &ctx, NULL);
        if (chain->tls == NULL)
            return -EINVAL;
    }
    if (conf->kind == CHAIN_TCP) {
        chain->cluster = find_cluster(rt, conf->tcp->cluster);
        chain->stats = stats_block(b->env->stats, &tcp_stats_scope, conf->tcp->stat_prefix);
        return build_log(b, conf->tcp->access_log, chain);
    }
    routes = snapshot_route_config(b->snapshot, conf->http->route_config);
    if (routes == NULL)
        return cfg_err_set(b->err, &conf->http->where, "there is no route_config %s",
                           conf->http->route_config);
    chain->routes = route_table_new(&rt->arena, routes, resolve, rt);
    chain->stats = stats_block(b->env->stats, &http_stats_scope, conf->http->stat_prefix);
    return build_log(b, conf->http->access_log, chain);
}

static struct slot *listener_slot(const struct build *b, const char *name)
{
    const struct runtime *before = b->env->before;
    const struct listener_conf *was =
        before != NULL ? snapshot_listener(before->snapshot, name) : NULL;

    return was != NULL ? slot_get(before->listeners[was - before->snapshot->listeners]->slot)
                       : slot_new(b->env->n_workers);
}

static int build_listener(const struct build *b, const struct listener_conf *conf)
{
    struct runtime *rt = b->rt;
    struct listener_rt *l = arena_alloc(&rt->arena, sizeof(*l));

    l->slot = listener_slot(b, conf->name);
    l->conf = conf;
    l->pins = &rt->pins;
    l->stats = stats_block(b->env->stats, &listener_stats_scope, conf->name);
    l->chains = arena_alloc(&rt->arena, conf->n_chains * sizeof(l->chains[0]));
    rt->listeners[rt->n_listeners++] = l;
    strmap_init(&l->chain_names, &rt->arena, conf->n_chains);
    for (uint32_t i = 0; i < conf->n_chains; i++) {
        strmap_add(&l->chain_names, slice_of(conf->chains[i].name), &l->chains[i]);
        l->reads_hello |= conf->chains[i].tls != NULL || conf->chains[i].n_server_names > 0;
        if (build_chain(b, conf, &conf->chains[i], &l->chains[i]) < 0)
            return -EINVAL;
    }
    return 0;
}

struct runtime *runtime_build(struct snapshot *snapshot, const struct secrets *secrets,
                              const struct runtime_env *env, struct cfg_err *err)
{
    struct build b = { .snapshot = snapshot, .secrets = secrets, .env = env, .err = err };
    struct runtime *rt = own_alloc(1, sizeof(*rt));

    if (rt == NULL) {
        cfg_err_set(err, NULL, "no memory");
        return NULL;
    }
    arena_init_block(&rt->arena, BLOCK);
    rt->snapshot = snapshot_get(snapshot);
    rt->n_workers = env->n_workers;
    rt->built_wall = (uint64_t)time(NULL);
    rt->listeners = arena_alloc(&rt->arena, snapshot->n_listeners * sizeof(rt->listeners[0]));
    b.rt = rt;

    if (build_clusters(&b) < 0)
        goto err_rt;
    for (uint32_t i = 0; i < snapshot->n_listeners; i++)
        if (build_listener(&b, &snapshot->listeners[i]) < 0)
            goto err_rt;
    return rt;

err_rt:
    runtime_free(rt);
    return NULL;
}

void runtime_free(struct runtime *rt)
{
    for (uint32_t i = 0; i < rt->n_clusters; i++) {
        put_tls(rt->clusters[i]->tls, rt->n_workers);
        cluster_rt_fini(rt->clusters[i]);
    }
    for (uint32_t i = 0; i < rt->n_listeners; i++) {
        for (uint32_t k = 0; k < rt->listeners[i]->conf->n_chains; k++)
            put_tls(rt->listeners[i]->chains[k].tls, rt->n_workers);
        slot_put(rt->listeners[i]->slot);
    }
    arena_fini(&rt->arena);
    snapshot_put(rt->snapshot);
    free(rt);
}
