#include "dataplane/proxy/proxy_priv.h"

#include "dataplane/base/log.h"
#include "dataplane/base/own.h"

#include <errno.h>
#include <stdlib.h>

#define ROW(name, kind, text) { #name, STAT_##kind, text },
static const struct stat_desc http_descs[] = { HTTP_STATS(ROW) };
static const struct stat_desc tcp_descs[] = { TCP_STATS(ROW) };
static const struct stat_desc listener_descs[] = { LISTENER_STATS(ROW) };

const struct stats_scope http_stats_scope = { "http", "envoy_http",
                                              "envoy_http_conn_manager_prefix", http_descs,
                                              ARRAY_SIZE(http_descs) };
const struct stats_scope tcp_stats_scope = { "tcp_proxy", "envoy_tcp", "envoy_tcp_prefix",
                                             tcp_descs, ARRAY_SIZE(tcp_descs) };
const struct stats_scope listener_stats_scope = { "listener", "envoy_listener",
                                                  "envoy_listener_address", listener_descs,
                                                  ARRAY_SIZE(listener_descs) };

/* --- life ------------------------------------------------------------------------------------ */

struct proxy *proxy_new(const struct proxy_conf *conf)
{
    struct proxy *p = own_alloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    p->conf = *conf;
    p->core = conf->core;
    list_init(&p->listeners);
    list_init(&p->to_renew);
    if (slab_init(&p->sessions, sizeof(struct session), conf->max_sessions) == 0 &&
        slab_init(&p->parked, sizeof(struct parked), conf->max_sessions) == 0 &&
        slab_init(&p->streams, (uint32_t)stream_size, conf->max_sessions) == 0 &&
        slab_init(&p->tcp_proxies, (uint32_t)tcp_proxy_size, conf->max_sessions) == 0)
        return p;
    proxy_free(p);
    return NULL;
}

static void free_listener(struct listener *l)
{
    struct list *at, *tmp;

    if (l->tcp != NULL)
        tcp_unlisten(l->tcp);
    l->gone = false; /* not a second time, by its last session */
    session_wake_all(l);
    list_for_each_safe(at, tmp, &l->sessions) session_kill(container_of(at, struct session, link));
    list_remove(&l->link);
    list_remove(&l->renew_link);
    free(l->name);
    free(l);
}

void proxy_free(struct proxy *p)
{
    struct list *l, *tmp;

    if (p == NULL)
        return;
    list_for_each_safe(l, tmp, &p->listeners) free_listener(container_of(l, struct listener, link));
    slab_fini(&p->sessions);
    slab_fini(&p->parked);
    slab_fini(&p->streams);
    slab_fini(&p->tcp_proxies);
    free(p);
}

uint32_t proxy_n_sessions(const struct proxy *p)
{
    return p->sessions.in_use + p->parked.in_use;
}

uint32_t proxy_n_parked(const struct proxy *p)
{
    return p->parked.in_use;
}

uint32_t proxy_n_streams(const struct proxy *p)
{
    return p->streams.in_use;
}

/* --- adopting a configuration ---------------------------------------------------------------- */

static struct listener *live(const struct proxy *p, const struct listener_rt *rt)
{
    return rt->slot->of[p->core->id].live;
}

static struct listener *new_listener(struct proxy *p, const char *name)
{
    struct listener *l = own_alloc(1, sizeof(*l)); /* when adopting, not on the packet path */

    if (l == NULL)
        return NULL;
    l->name = strdup(name);
    if (l->name == NULL) {
        free(l);
        return NULL;
    }
    l->proxy = p;
    list_init(&l->sessions);
    list_init(&l->parked);
    list_init(&l->renew_link);
    list_push_tail(&p->listeners, &l->link);
    return l;
}

/* Something is new for its sessions: each is looked at, a few in a turn. */
static void renew_later(struct listener *l)
{
    l->generation++;
    if (l->n_sessions > 0 && !list_is_linked(&l->renew_link))
        list_push_tail(&l->proxy->to_renew, &l->renew_link);
}

/*
 * Which chains are left is for each session to find out, with its next request or now if it is
 * idle. A TCP proxy has no next request: it ends under the runtime that it began with.
 */
static void look_at(struct session *s)
{
    if (s->listener->gone || s->proxy->draining)
        session_drain(s);
    else if (s->state == SESSION_OPEN && s->http != NULL && list_is_empty(&s->streams))
        session_renew(s);
}

/* The next that was not looked at since; false: there is none. It may be the end of @l. */
static bool renew_next_awake(struct listener *l)
{
    struct session *s = container_of(l->sessions.next, struct session, link);

    if (list_is_empty(&l->sessions) || s->looked_at == l->generation)
        return false;
    s->looked_at = l->generation;
    list_remove(&s->link);
    list_push_tail(&l->sessions, &s->link);
    look_at(s);
    return true;
}

static bool renew_next_parked(struct listener *l)
{
    struct parked *p = container_of(l->parked.next, struct parked, link);

    if (list_is_empty(&l->parked) || p->generation == l->generation)
        return false;
    list_remove(&p->link);
    list_push_tail(&l->parked, &p->link);
    parked_renew(p);
    return true;
}

static bool renew_next(struct listener *l)
{
    return renew_next_awake(l) || renew_next_parked(l);
}

bool proxy_renew_some(struct proxy *p, uint32_t *max)
{
    for (; *max > 0 && !list_is_empty(&p->to_renew); --*max) {
        struct listener *l = container_of(p->to_renew.next, struct listener, renew_link);

        if (!renew_next(l))
            list_remove(&l->renew_link);
    }
    return !list_is_empty(&p->to_renew);
}

void listener_session_gone(struct listener *l)
{
    l->n_sessions--;
    if (l->gone && l->n_sessions == 0)
        free_listener(l);
}

/* Nobody comes in any more. The struct stays while it has sessions. */
static void retire_listener(struct listener *l)
{
    l->gone = true;
    l->rt->slot->of[l->proxy->core->id].live = NULL;
    if (l->tcp != NULL)
        tcp_unlisten(l->tcp);
    l->tcp = NULL;
    renew_later(l);
    if (l->n_sessions == 0)
        free_listener(l);
}

static bool address_moved(const struct listener *l, const struct listener_rt *rt)
{
    return !ipport_eq(&l->address, &rt->conf->address);
}

static int adopt_listener(struct proxy *p, struct listener_rt *rt)
{
    struct listener *l = live(p, rt);

    if (l != NULL && address_moved(l, rt)) {
        retire_listener(l);
        l = NULL;
    }
    if (l == NULL)
        l = new_listener(p, rt->conf->name);
    if (l == NULL)
        return -ENOMEM;
    rt->slot->of[p->core->id].live = l;
    l->rt = rt;
    l->round = p->round;
    l->address = rt->conf->address;
    renew_later(l);
    if (l->tcp != NULL || p->draining)
        return 0;
    l->tcp = tcp_listen(p->conf.tcp, &l->address, session_accepted, l);
    return l->tcp != NULL ? 0 : -EADDRINUSE;
}

static void retire_others(struct proxy *p, struct listener_rt **rts, uint32_t n)
{
    struct list *l, *tmp;

    p->round++;
    for (uint32_t i = 0; i < n; i++)
        if (live(p, rts[i]) != NULL)
            live(p, rts[i])->round = p->round;
    list_for_each_safe(l, tmp, &p->listeners)
    {
        struct listener *listener = container_of(l, struct listener, link);

        if (!listener->gone && listener->round != p->round)
            retire_listener(listener);
    }
}

int proxy_adopt(struct proxy *p, struct listener_rt **rts, uint32_t n)
{
    int rc = 0;

    retire_others(p, rts, n); /* first, so that another may take their address */
    for (uint32_t i = 0; i < n; i++) {
        int err = adopt_listener(p, rts[i]);

        if (err < 0 && rc == 0)
            rc = err;
    }
    return rc;
}

void proxy_drain(struct proxy *p)
{
    struct list *l, *tmp;

    p->draining = true;
    list_for_each_safe(l, tmp, &p->listeners)
    {
        struct listener *listener = container_of(l, struct listener, link);

        if (listener->tcp != NULL)
            tcp_unlisten(listener->tcp);
        listener->tcp = NULL;
        renew_later(listener);
    }
}

/* --- telling --------------------------------------------------------------------------------- */

bool proxy_log(struct proxy *p, const struct chain_rt *chain, const struct accesslog_record *r)
{
    char line[ACCESSLOG_LINE_MAX];
    size_t len;

    if (chain->log == NULL)
        return true;
    len = accesslog_render(chain->log, r, line, sizeof(line));
    return accesslog_push(p->conf.log, chain->log_file, line, len);
}

void proxy_each_listener(struct proxy *p, void (*fn)(const struct listener_info *l, void *ctx),
                         void *ctx)
{
    struct list *at;

    list_for_each(at, &p->listeners)
    {
        const struct listener *l = container_of(at, struct listener, link);
        struct listener_info info = {
            .name = l->name,
            .address = l->address,
            .state = l->tcp != NULL           ? LISTENER_LISTENING
                     : l->gone || p->draining ? LISTENER_DRAINING
                                              : LISTENER_ADDRESS_TAKEN,
            .sessions = l->n_sessions,
        };

        fn(&info, ctx);
    }
}

static const char *state_name(const struct session *s)
{
    switch (s->state) {
    case SESSION_HELLO:
        return "hello";
    case SESSION_SECURING:
        return "handshake";
    case SESSION_OPEN:
        return s->draining                                     ? "draining"
               : s->http != NULL && list_is_empty(&s->streams) ? "idle"
                                                               : "active";
    case SESSION_CLOSING:
        return "closing";
    }
    return "";
}

static void tell_parked(const struct parked *p, void (*fn)(const struct session_info *s, void *ctx),
                        void *ctx)
{
    const struct tls_peer *peer = transport_parked_tls_peer(&p->transport);
    const struct tcp_conn *tcp = transport_parked_tcp(&p->transport);
    struct session_info info = {
        .remote = tcp_remote(tcp),
        .local = tcp_local(tcp),
        .listener = p->listener->name,
        .chain = p->chain->conf->name,
        .state = "idle",
        .tls = peer != NULL ? peer->version : "",
        .sni = peer != NULL ? peer->sni : "",
        .peer = peer != NULL ? peer->uri : "",
        .cluster = "",
        .age_us = p->listener->proxy->core->now_us - p->opened_us,
        .requests = p->requests,
        .client_tcp = tcp,
    };

    tcp_info(tcp, &info.tcp);
    fn(&info, ctx);
}

static void tell(struct session *s, void (*fn)(const struct session_info *s, void *ctx), void *ctx)
{
    const struct tls_peer *peer = s->transport != NULL ? transport_tls_peer(s->transport) : NULL;
    struct session_info info = {
        .remote = s->remote,
        .local = s->local,
        .listener = s->listener->name,
        .chain = s->chain != NULL ? s->chain->conf->name : "",
        .state = state_name(s),
        .tls = peer != NULL ? peer->version : "",
        .sni = s->sni,
        .peer = peer != NULL ? peer->uri : "",
        .cluster = "",
        .age_us = s->proxy->core->now_us - s->opened_us,
        .requests = s->http != NULL ? s->http->total_streams : 0,
    };

    if (s->transport != NULL)
        info.client_tcp = transport_tcp(s->transport);
    if (info.client_tcp != NULL)
        tcp_info(info.client_tcp, &info.tcp);
    if (s->tcp != NULL) {
        info.cluster = s->chain->cluster != NULL ? s->chain->cluster->conf->name : "";
        info.upstream = *tcp_proxy_upstream(s->tcp);
        info.upstream_tcp = tcp_proxy_upstream_tcp(s->tcp);
    } else if (!list_is_empty(&s->streams)) {
        const struct stream *stream = stream_of_link(s->streams.next);

        if (stream_cluster(stream) != NULL)
            info.cluster = stream_cluster(stream)->conf->name;
        info.upstream = *stream_upstream(stream);
        info.upstream_tcp = stream_upstream_tcp(stream);
    }
    fn(&info, ctx);
}

struct telling {
    uint32_t i, start, end; /* those from ->start up to ->end are told */
    void (*fn)(const struct session_info *s, void *ctx);
    void *ctx;
};

/* Is the next one told? */
static bool is_next(struct telling *t)
{
    const uint32_t i = t->i++;

    return i >= t->start && i < t->end;
}

static void tell_those_of(struct listener *l, struct telling *t)
{
    struct list *at;

    for (at = l->sessions.next; at != &l->sessions && t->i <= t->end; at = at->next)
        if (is_next(t))
            tell(container_of(at, struct session, link), t->fn, t->ctx);
    for (at = l->parked.next; at != &l->parked && t->i <= t->end; at = at->next)
        if (is_next(t))
            tell_parked(container_of(at, struct parked, link), t->fn, t->ctx);
}

bool proxy_each(struct proxy *p, uint32_t *at, uint32_t n,
                void (*fn)(const struct session_info *s, void *ctx), void *ctx)
{
    struct telling t = { 0, *at, *at + n, fn, ctx };
    struct list *l;

    list_for_each(l, &p->listeners) tell_those_of(container_of(l, struct listener, link), &t);
    if (t.i <= t.end)
        return false;
    *at = t.end;
    return true;
}
