#include "dataplane/upstream/cluster_priv.h"

#include "dataplane/base/own.h"

#include <stdlib.h>

#define STALE_AT_ONCE 16 /* connections that one request closes, at most */

#define ROW(name, kind, text) { #name, STAT_##kind, text },
static const struct stat_desc descs[] = { CLUSTER_STATS(ROW) };

const struct stats_scope cluster_stats_scope = { "cluster", "envoy_cluster", "envoy_cluster_name",
                                                 descs, ARRAY_SIZE(descs) };

void cluster_count(struct cluster *c, enum cluster_stat stat, int64_t by)
{
    stat_add(c->rt->stats, c->all->core->id, stat, by);
}

const struct ipaddr *cluster_source(struct cluster *c, const struct ipport *remote)
{
    const struct cluster_conf *conf = c->rt->conf;

    for (uint32_t i = 0; i < conf->n_source_addresses; i++) {
        const struct ipaddr *a =
            &conf->source_addresses[c->next_source++ % conf->n_source_addresses];

        if (a->family == remote->addr.family)
            return a;
    }
    return NULL;
}

const struct cluster_rt *cluster_rt(const struct cluster *c)
{
    return c->rt;
}

/* --- endpoints ------------------------------------------------------------------------------- */

static struct endpoint *of_link(struct list *l)
{
    return container_of(l, struct endpoint, link);
}

static struct endpoint *new_endpoint(struct cluster *c, const struct ipport *address)
{
    struct endpoint *e = own_alloc(1, sizeof(*e)); /* when adopting, not on the packet path */

    if (e == NULL)
        return NULL;
    e->cluster = c;
    e->address = *address;
    list_init(&e->link);
    list_init(&e->conns);
    list_init(&e->idle);
    list_init(&e->waiting);
    list_init(&e->serve_link);
    list_init(&e->drain_link);
    return e;
}

/* Its connections are not for new requests: some of them, or all, if it is gone. */
static void drain_later(struct endpoint *e)
{
    if (list_is_empty(&e->conns))
        return;
    e->drain_round++;
    if (!list_is_linked(&e->drain_link))
        list_push_tail(&e->cluster->all->draining, &e->drain_link);
}

/* The next connection that it has not been decided about; false: there is none. */
static bool drain_next(struct endpoint *e)
{
    struct upconn *c;

    if (list_is_empty(&e->conns))
        return false;
    c = container_of(e->conns.next, struct upconn, link);
    if (c->drain_round == e->drain_round)
        return false;
    c->drain_round = e->drain_round;
    list_remove(&c->link);
    list_push_tail(&e->conns, &c->link);
    if (e->gone || upconn_is_stale(c))
        upconn_drain(c);
    return true;
}

bool upstreams_drain_some(struct upstreams *us, uint32_t *max)
{
    for (; *max > 0 && !list_is_empty(&us->draining); --*max) {
        struct endpoint *e = container_of(us->draining.next, struct endpoint, drain_link);

        if (!drain_next(e))
            list_remove(&e->drain_link);
    }
    return !list_is_empty(&us->draining);
}

static void free_cluster_if_over(struct cluster *c)
{
    if (!c->gone || c->n_conns > 0 || c->n_waiting > 0 || !list_is_empty(&c->endpoints) ||
        !list_is_empty(&c->retired))
        return;
    core_cancel(&c->work);
    list_remove(&c->link);
    pin_put(c->rt->pins, c->all->core->id);
    free(c);
}

/* An endpoint that left the configuration goes with its last connection and waiter. */
static void free_endpoint_if_over(struct endpoint *e)
{
    struct cluster *c = e->cluster;

    if (!e->gone || e->n_conns > 0 || e->n_waiting > 0)
        return;
    list_remove(&e->link);
    list_remove(&e->serve_link);
    list_remove(&e->drain_link);
    free(e);
    free_cluster_if_over(c);
}

static void retire_endpoint(struct endpoint *e)
{
    struct cluster *c = e->cluster;

    e->gone = true;
    e->slot->of[c->all->core->id].live = NULL;
    e->slot = NULL;
    c->n_endpoints--;
    if (c->next == e)
        c->lb->pick(c); /* on to the one behind it */
    if (c->next == e)
        c->next = NULL;
    list_remove(&e->link);
    list_push_tail(&c->retired, &e->link);
    drain_later(e);
    free_endpoint_if_over(e);
}

/* --- adopting a configuration ---------------------------------------------------------------- */

struct cluster *upstreams_find(struct upstreams *us, const struct cluster_rt *rt)
{
    return rt->slot->of[us->core->id].live;
}

static void serve(struct work *w);

static struct cluster *new_cluster(struct upstreams *us, struct cluster_rt *rt)
{
    struct cluster *c = own_alloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->all = us;
    c->rt = rt;
    c->epoch = rt->epoch - 1;
    pin_get(rt->pins, us->core->id);
    list_init(&c->link);
    list_init(&c->endpoints);
    list_init(&c->retired);
    list_init(&c->to_serve);
    list_init(&c->refused);
    work_init(&c->work, serve);
    rt->slot->of[us->core->id].live = c;
    return c;
}

static struct endpoint *add_endpoint(struct cluster *c, uint32_t i)
{
    struct endpoint *e = new_endpoint(c, &c->rt->conf->endpoints[i].address);

    if (e == NULL)
        return NULL;
    e->slot = c->rt->endpoints[i];
    e->slot->of[c->all->core->id].live = e;
    c->n_endpoints++;
    /* Workers that all began with the first endpoint would march in step. */
    if (core_random(c->all->core) % c->n_endpoints == 0)
        c->next = e;
    return e;
}

/* Endpoints move to the tail in the configuration's order: the front is left with those that go. */
static void adopt_endpoint(struct cluster *c, uint32_t i)
{
    struct endpoint *e = c->rt->endpoints[i]->of[c->all->core->id].live;

    if (e == NULL)
        e = add_endpoint(c, i);
    if (e == NULL)
        return;
    if (e->tls_epoch != c->rt->tls_epoch)
        drain_later(e);
    e->epoch = c->rt->epoch;
    e->tls_epoch = c->rt->tls_epoch;
    list_remove(&e->link);
    list_push_tail(&c->endpoints, &e->link);
}

static bool retire_first(struct cluster *c)
{
    struct endpoint *e = of_link(c->endpoints.next);

    if (list_is_empty(&c->endpoints) || (!c->gone && e->epoch == c->rt->epoch))
        return false;
    retire_endpoint(e);
    return true;
}

static void set_membership(struct cluster *c)
{
    uint64_t now = c->rt->stats->of[c->all->core->id].own[CLUSTER_STAT_membership_total];

    /* Every worker has the same endpoints: one tells. */
    if (c->all->core->id == 0)
        cluster_count(c, CLUSTER_STAT_membership_total, (int64_t)c->n_endpoints - (int64_t)now);
}

/* @rt's turn has come: its live cluster, from now on by its settings. NULL: no memory. */
static struct cluster *begin_cluster(struct upstreams *us, struct cluster_rt *rt)
{
    struct cluster *c = rt->slot->of[us->core->id].live;

    if (c == NULL)
        c = new_cluster(us, rt);
    if (c == NULL)
        return NULL; /* the slot stays empty: requests are answered as if there were no such cluster
                      */
    if (c->rt != rt) {
        pin_get(rt->pins, us->core->id);
        pin_put(c->rt->pins, us->core->id);
        c->rt = rt;
    }
    c->lb = lb_find(rt->conf->lb_policy);
    c->round = us->round;
    list_remove(&c->link);
    list_push_tail(&us->clusters, &c->link);
    return c;
}

/* True: it is done; else *@max is used up. */
static bool adopt_cluster(struct upstreams *us, struct cluster_rt *rt, uint32_t *max)
{
    struct cluster *c =
        us->at_endpoint == 0 ? begin_cluster(us, rt) : rt->slot->of[us->core->id].live;

    if (c == NULL || c->epoch == rt->epoch)
        return true;
    for (; us->at_endpoint < rt->conf->n_endpoints; us->at_endpoint++) {
        if (*max == 0)
            return false;
        --*max;
        adopt_endpoint(c, us->at_endpoint);
    }
    for (; retire_first(c); --*max)
        if (*max == 0)
            return false;
    c->epoch = rt->epoch;
    set_membership(c);
    return true;
}

void upstreams_adopt(struct upstreams *us, struct cluster_rt **rts, uint32_t n)
{
    us->rts = rts;
    us->n = n;
    us->at = us->at_endpoint = 0;
    us->round++;
}

bool upstreams_adopt_some(struct upstreams *us, uint32_t *max)
{
    while (us->at<us->n && * max> 0) {
        --*max;
        if (!adopt_cluster(us, us->rts[us->at], max))
            break;
        us->at++;
        us->at_endpoint = 0;
    }
    return us->at < us->n;
}

static void begin_retirement(struct cluster *c)
{
    if (c->gone)
        return;
    c->gone = true;
    c->rt->slot->of[c->all->core->id].live = NULL;
}

/* Endpoints one by one; then it leaves. False: *@max is used up. */
static bool retire_cluster(struct cluster *c, uint32_t *max)
{
    bool done;

    begin_retirement(c);
    c->n_waiting++; /* it stays until this is done */
    while (*max > 0 && retire_first(c))
        --*max;
    done = list_is_empty(&c->endpoints);
    if (done) {
        list_remove(&c->link);
        list_push_tail(&c->all->leaving, &c->link);
        set_membership(c);
    }
    c->n_waiting--;
    free_cluster_if_over(c);
    return done;
}

bool upstreams_retire_some(struct upstreams *us, uint32_t *max)
{
    while (!list_is_empty(&us->clusters)) {
        struct cluster *c = container_of(us->clusters.next, struct cluster, link);

        if (c->round == us->round)
            return false;
        if (*max == 0)
            return true;
        --*max;
        if (!retire_cluster(c, max))
            return true;
    }
    return false;
}

struct upstreams *upstreams_new(struct core *core, struct transports *ts, struct http *http,
                                uint32_t max_conns)
{
    struct upstreams *us = own_alloc(1, sizeof(*us));

    if (us == NULL)
        return NULL;
    us->core = core;
    us->ts = ts;
    us->http = http;
    list_init(&us->clusters);
    list_init(&us->leaving);
    list_init(&us->draining);
    if (slab_init(&us->conns, sizeof(struct upconn), max_conns) < 0) {
        free(us);
        return NULL;
    }
    return us;
}

/* Resets every connection; @e goes, if it was retired. */
static void kill_endpoint(struct endpoint *e)
{
    struct list *l, *tmp;

    e->n_waiting++; /* keeps it until the last is gone */
    list_for_each_safe(l, tmp, &e->conns) upconn_kill(container_of(l, struct upconn, link));
    e->n_waiting--;
    free_endpoint_if_over(e);
}

static void kill_cluster(struct cluster *c)
{
    struct list *l, *tmp;

    c->n_waiting++; /* keeps it, likewise */
    list_for_each_safe(l, tmp, &c->retired) kill_endpoint(of_link(l));
    c->n_waiting--;
    free_cluster_if_over(c);
}

void upstreams_free(struct upstreams *us)
{
    uint32_t all = UINT32_MAX;
    struct list *l, *tmp;

    if (us == NULL)
        return;
    us->round++;
    upstreams_retire_some(us, &all);
    list_for_each_safe(l, tmp, &us->leaving) kill_cluster(container_of(l, struct cluster, link));
    slab_fini(&us->conns);
    free(us);
}

uint32_t upstreams_n_conns(const struct upstreams *us)
{
    return us->conns.in_use;
}

/* --- asking ---------------------------------------------------------------------------------- */

void cluster_waiter_init(struct cluster_waiter *w, const struct cluster_waiter_ops *ops)
{
    *w = (struct cluster_waiter){ .ops = ops };
    list_init(&w->link);
}

static void set_pending(struct cluster *c, struct cluster_waiter *w)
{
    w->is_pending = true;
    c->n_pending++;
    cluster_count(c, CLUSTER_STAT_upstream_rq_pending_total, 1);
    cluster_count(c, CLUSTER_STAT_upstream_rq_pending_active, 1);
}

/* The waiter leaves its endpoint's queue. */
static void take_out(struct cluster *c, struct cluster_waiter *w)
{
    list_remove(&w->link);
    w->endpoint->n_waiting--;
    c->n_waiting--;
    if (!w->is_pending)
        return;
    w->is_pending = false;
    c->n_pending--;
    cluster_count(c, CLUSTER_STAT_upstream_rq_pending_active, -1);
}

void cluster_cancel(struct cluster *c, struct cluster_waiter *w)
{
    if (!list_is_linked(&w->link))
        return;
    if (w->endpoint == NULL) {
        list_remove(&w->link);
        c->n_waiting--;
        return;
    }
    take_out(c, w);
    free_endpoint_if_over(w->endpoint); /* last: the cluster may go, too */
}

static void refuse(struct cluster *c, struct cluster_waiter *w)
{
    list_push_tail(&c->refused, &w->link);
    c->n_waiting++;
    cluster_count(c, CLUSTER_STAT_upstream_cx_none_healthy, 1);
    core_defer(c->all->core, &c->work);
}

static void want_service(struct endpoint *e)
{
    if (!list_is_linked(&e->serve_link))
        list_push_tail(&e->cluster->to_serve, &e->serve_link);
    core_defer(e->cluster->all->core, &e->cluster->work);
}

void cluster_request(struct cluster *c, struct cluster_waiter *w)
{
    struct endpoint *e = c->n_endpoints > 0 ? c->lb->pick(c) : NULL;

    w->endpoint = NULL;
    if (e == NULL) {
        refuse(c, w);
        return;
    }
    w->endpoint = e;
    list_push_tail(&e->waiting, &w->link);
    e->n_waiting++;
    c->n_waiting++;
    want_service(e);
}

bool cluster_pick(struct cluster *c, struct ipport *ret)
{
    struct endpoint *e = c->n_endpoints > 0 ? c->lb->pick(c) : NULL;

    if (e == NULL)
        return false;
    *ret = e->address;
    return true;
}

/* --- answering ------------------------------------------------------------------------------- */

static void fail(struct cluster_waiter *w, enum cluster_failure why, const char *text)
{
    struct cluster *c = w->endpoint->cluster;
    struct ipport host = w->endpoint->address;

    take_out(c, w);
    cluster_count(c, CLUSTER_STAT_upstream_rq_pending_failure_eject, 1);
    w->ops->on_failed(w, why, text, &host); /* last: the owner may free @w */
}

/* A free connection for @w: the one used last, or one that was never used. */
static struct upconn *free_conn(struct endpoint *e, const struct cluster_waiter *w)
{
    unsigned n_stale = 0;
    struct list *l, *tmp;

    list_for_each_safe(l, tmp, &e->idle)
    {
        struct upconn *c = container_of(l, struct upconn, idle_link);

        if (upconn_is_stale(c)) {
            upconn_drain(c); /* its turn has not come yet */
            if (++n_stale == STALE_AT_ONCE)
                return NULL;
        } else if (!w->fresh || c->http->total_streams == 0) {
            return c;
        }
    }
    return NULL;
}

/* Gives @w a stream, if a connection is free. */
static bool serve_waiter(struct endpoint *e, struct cluster_waiter *w)
{
    struct upconn *c = free_conn(e, w);
    struct http_stream *s = c != NULL ? upconn_open_stream(c) : NULL;

    if (s == NULL)
        return false;
    take_out(e->cluster, w);
    w->ops->on_ready(w, s); /* last */
    return true;
}

/* No connection is free for @w: it waits for one, if not too many do. */
static void hold(struct endpoint *e, struct cluster_waiter *w)
{
    struct cluster *c = e->cluster;

    if (w->is_pending)
        return;
    if (c->n_pending < c->rt->conf->max_pending) {
        set_pending(c, w);
        return;
    }
    take_out(c, w);
    cluster_count(c, CLUSTER_STAT_upstream_rq_pending_overflow, 1);
    w->ops->on_failed(w, CLUSTER_OVERFLOW, "", NULL); /* last: the owner may free @w */
}

static bool may_dial(const struct endpoint *e)
{
    if (e->n_connecting >= e->n_waiting)
        return false;
    if (e->cluster->n_conns < e->cluster->rt->conf->max_connections || e->n_conns == 0)
        return true;
    cluster_count(e->cluster, CLUSTER_STAT_upstream_cx_overflow, 1);
    return false;
}

static void dial_for_the_rest(struct endpoint *e)
{
    enum cluster_failure why;
    const char *text;

    while (may_dial(e)) {
        if (upconn_dial(e, &why, &text))
            continue;
        cluster_conn_failed(e, why, text);
        return;
    }
}

static void serve_endpoint(struct endpoint *e)
{
    struct list queue = LIST_INIT(queue), *l;

    /* An answer may make its owner cancel or ask again: whoever is in @queue may leave it, and new
     * ones wait. */
    list_splice_tail(&queue, &e->waiting);
    e->n_waiting++; /* keeps the endpoint */
    while ((l = list_pop_head(&queue)) != NULL) {
        struct cluster_waiter *w = container_of(l, struct cluster_waiter, link);

        list_push_tail(&e->waiting, &w->link);
        if (!serve_waiter(e, w))
            hold(e, w);
    }
    e->n_waiting--;
    dial_for_the_rest(e);
}

static void serve(struct work *work)
{
    struct cluster *c = container_of(work, struct cluster, work);
    struct list *l;

    c->n_waiting++; /* keeps the cluster */
    while ((l = list_pop_head(&c->refused)) != NULL) {
        struct cluster_waiter *w = container_of(l, struct cluster_waiter, link);

        c->n_waiting--;
        w->ops->on_failed(w, CLUSTER_NO_ENDPOINT, "", NULL);
    }
    while ((l = list_pop_head(&c->to_serve)) != NULL) {
        struct endpoint *e = container_of(l, struct endpoint, serve_link);

        serve_endpoint(e);
        free_endpoint_if_over(e);
    }
    c->n_waiting--;
    free_cluster_if_over(c);
}

void cluster_conn_ready(struct upconn *u)
{
    struct endpoint *e = u->endpoint;

    list_remove(&u->idle_link);
    list_push_head(&e->idle, &u->idle_link);
    wheel_start(&e->cluster->all->core->wheel, &u->idle_timer,
                e->cluster->all->core->now_us + e->cluster->rt->conf->idle_timeout_us);
    if (e->n_waiting > 0)
        want_service(e);
}

void cluster_conn_failed(struct endpoint *e, enum cluster_failure why, const char *text)
{
    /* Whoever cannot hope for a connection that is still being opened fails with this one. */
    e->n_waiting++;
    while (e->n_waiting - 1 > e->n_connecting && !list_is_empty(&e->waiting))
        fail(container_of(e->waiting.next, struct cluster_waiter, link), why, text);
    e->n_waiting--;
}

void cluster_conn_closed(struct endpoint *e)
{
    e->n_conns--;
    e->cluster->n_conns--;
    if (e->n_waiting > 0)
        want_service(e);
    free_endpoint_if_over(e);
}

/* --- telling --------------------------------------------------------------------------------- */

static void tell_endpoint(const struct endpoint *e, bool leaving,
                          void (*fn)(const struct endpoint_info *e, void *ctx), void *ctx)
{
    struct endpoint_info info = {
        .cluster = e->cluster->rt->conf->name,
        .address = e->address,
        .leaving = leaving,
        .cx_active = e->n_conns,
        .waiting = e->n_waiting,
        .cx_total = e->cx_total,
        .cx_connect_fail = e->cx_connect_fail,
        .rq_total = e->rq_total,
        .rq_error = e->rq_error,
    };
    struct list *l;

    list_for_each(l, &e->conns)
    {
        const struct upconn *c = container_of(l, struct upconn, link);

        info.rq_active += c->http != NULL ? c->http->n_streams : 0;
    }
    fn(&info, ctx);
}

static void tell_clusters(const struct list *clusters,
                          void (*fn)(const struct endpoint_info *e, void *ctx), void *ctx)
{
    struct list *l, *e;

    list_for_each(l, clusters)
    {
        struct cluster *c = container_of(l, struct cluster, link);

        list_for_each(e, &c->endpoints) tell_endpoint(of_link(e), false, fn, ctx);
        list_for_each(e, &c->retired) tell_endpoint(of_link(e), true, fn, ctx);
        if (list_is_empty(&c->endpoints) && list_is_empty(&c->retired))
            fn(&(struct endpoint_info){ .cluster = c->rt->conf->name }, ctx);
    }
}

void upstreams_each(struct upstreams *us, void (*fn)(const struct endpoint_info *e, void *ctx),
                    void *ctx)
{
    tell_clusters(&us->clusters, fn, ctx);
    tell_clusters(&us->leaving, fn, ctx);
}

static const char *conn_state(const struct upconn *c)
{
    switch (c->state) {
    case UPCONN_CONNECTING:
        return "connecting";
    case UPCONN_READY:
        return c->http != NULL && c->http->n_streams > 0 ? "active" : "idle";
    case UPCONN_DRAINING:
        return "draining";
    case UPCONN_CLOSED:
        return "closing";
    }
    return "";
}

static void tell_conn(const struct upconn *c, void (*fn)(const struct upconn_info *c, void *ctx),
                      void *ctx)
{
    const struct upconn_info info = {
        .cluster = c->endpoint->cluster->rt->conf->name,
        .state = conn_state(c),
        .endpoint = c->endpoint->address,
        .streams = c->http != NULL ? c->http->n_streams : 0,
        .requests = c->http != NULL ? c->http->total_streams : 0,
        .tcp = c->transport != NULL ? transport_tcp(c->transport) : NULL,
    };

    fn(&info, ctx);
}

/* Those of the endpoints in @list. @skip: so many come before the first, @left: so many are told.
 */
static void tell_conns_of(const struct list *list, uint32_t *skip, uint32_t *left,
                          void (*fn)(const struct upconn_info *c, void *ctx), void *ctx)
{
    struct list *e, *k;

    list_for_each(e, list)
    {
        list_for_each(k, &of_link(e)->conns)
        {
            if (*skip > 0) {
                --*skip;
                continue;
            }
            if (*left == 0)
                return;
            --*left;
            tell_conn(container_of(k, struct upconn, link), fn, ctx);
        }
    }
}

static void tell_conns(const struct list *clusters, uint32_t *skip, uint32_t *left,
                       void (*fn)(const struct upconn_info *c, void *ctx), void *ctx)
{
    struct list *l;

    list_for_each(l, clusters)
    {
        const struct cluster *c = container_of(l, struct cluster, link);

        tell_conns_of(&c->endpoints, skip, left, fn, ctx);
        tell_conns_of(&c->retired, skip, left, fn, ctx);
    }
}

bool upstreams_each_conn(struct upstreams *us, uint32_t *at, uint32_t n,
                         void (*fn)(const struct upconn_info *c, void *ctx), void *ctx)
{
    uint32_t skip = *at, left = n;

    tell_conns(&us->clusters, &skip, &left, fn, ctx);
    tell_conns(&us->leaving, &skip, &left, fn, ctx);
    *at += n - left;
    return left == 0;
}
