#include "dataplane/survey.h"

#include "dataplane/daemon.h"
#include "dataplane/kernel.h"
#include "dataplane/net/neigh.h"
#include "dataplane/net/net.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUTES_PER_TURN 256
#define SLACK 64 /* what may come between counting and asking */

struct survey {
    struct cmd_call *call;
    struct daemon *daemon;
    const struct survey_kind *kind;
    uint32_t n_letters, n_out;
    struct survey_letter letters[];
};

/* --- text ------------------------------------------------------------------------------------ */

json_t *cmd_text(const char *text)
{
    json_t *value = json_string(text);
    char *copy;

    if (value != NULL || text == NULL)
        return value;
    copy = strdup(text);
    for (char *at = copy; at != NULL && *at != '\0'; at++) {
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    }
    value = json_string(copy);
    free(copy);
    return value;
}

static bool row_has(json_t *row, const char *filter)
{
    const char *key;
    json_t *v;

    json_object_foreach(row, key, v)
    {
        if (json_is_string(v) && strstr(json_string_value(v), filter) != NULL)
            return true;
    }
    return false;
}

void cmd_filter_rows(json_t *rows, const char *filter)
{
    json_t *kept = json_array(), *row;
    size_t i;

    if (filter != NULL && kept != NULL) {
        json_array_foreach(rows, i, row)
        {
            if (row_has(row, filter))
                json_array_append(kept, row);
        }
        json_array_clear(rows);
        json_array_extend(rows, kept);
    }
    json_decref(kept);
}

void survey_keep(char *to, size_t room, const char *text)
{
    size_t len = text != NULL ? strnlen(text, room - 1) : 0;

    if (len > 0)
        memcpy(to, text, len);
    to[len] = '\0';
}

json_t *survey_endpoint(const struct ipport *at)
{
    char text[IPPORT_STRLEN];

    return json_string(at->addr.family == IP_NONE ? "" : ipport_str(at, text));
}

void *survey_next_row(struct survey_letter *l)
{
    uint32_t i = l->seen++;

    return i < l->max ? l->rows + (size_t)i * l->survey->kind->row_size : NULL;
}

/* --- clusters -------------------------------------------------------------------------------- */

struct endpoint_row {
    char cluster[256];
    struct endpoint_info info;
};

static void copy_endpoint(const struct endpoint_info *e, void *ctx)
{
    struct endpoint_row *row = survey_next_row(ctx);

    if (row == NULL)
        return;
    row->info = *e;
    row->info.cluster = NULL; /* the worker's */
    SURVEY_KEEP(row->cluster, e->cluster);
}

/* In one go: as many as the configuration names, and those that are being let go. */
static bool fill_endpoints(struct worker *w, struct mail *m)
{
    struct survey_letter *l = container_of(m, struct survey_letter, mail);

    upstreams_each(w->upstreams, copy_endpoint, l);
    l->done = true;
    return true;
}

static uint32_t expected_endpoints(const struct daemon *d, uint32_t worker)
{
    const struct snapshot *s = d->gateway.snapshot;
    uint64_t n = SLACK;

    for (uint32_t i = 0; i < s->n_clusters; i++)
        n += 1 + 2 * (uint64_t)s->clusters[i].n_endpoints;
    return (uint32_t)MIN(n, SURVEY_ROWS_MAX);
}

static void add_to(json_t *row, const char *key, uint64_t n)
{
    json_int_t sum = json_integer_value(json_object_get(row, key));

    json_object_set_new(row, key, json_integer(sum + (json_int_t)n));
}

/* One row an endpoint: the workers' numbers are summed. */
static void add_endpoint(struct daemon *d, uint32_t worker, const void *of, json_t *rows,
                         json_t *index)
{
    const struct endpoint_row *r = of;
    const struct endpoint_info *e = &r->info;
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        { "cx_active", e->cx_active }, { "rq_active", e->rq_active },
        { "waiting", e->waiting },     { "cx_total", e->cx_total },
        { "rq_total", e->rq_total },   { "cx_connect_fail", e->cx_connect_fail },
        { "rq_error", e->rq_error },
    };
    const char *state = e->address.addr.family == IP_NONE ? "no endpoints"
                        : e->leaving                      ? "leaving"
                                                          : "in use";
    char at[IPPORT_STRLEN] = "", key[sizeof(r->cluster) + IPPORT_STRLEN + 16];
    json_t *row;

    if (e->address.addr.family != IP_NONE)
        ipport_str(&e->address, at);
    snprintf(key, sizeof(key), "%s %s %s", at, state, r->cluster);
    row = json_object_get(index, key);
    if (row == NULL) {
        row = json_pack("{s:o, s:s, s:s}", "cluster", cmd_text(r->cluster), "endpoint", at, "state",
                        state);
        json_array_append_new(rows, row);
        json_object_set_nocheck(index, key, row);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
        add_to(row, numbers[i].key, numbers[i].value);
}

static const struct survey_kind clusters = { "endpoints", sizeof(struct endpoint_row),
                                             expected_endpoints, fill_endpoints, add_endpoint };

/* --- listeners ------------------------------------------------------------------------------- */

struct listener_row {
    char name[256];
    struct ipport address;
    enum listener_state state;
    uint32_t sessions;
};

static void copy_listener(const struct listener_info *l, void *ctx)
{
    struct listener_row *row = survey_next_row(ctx);

    if (row == NULL)
        return;
    row->address = l->address;
    row->state = l->state;
    row->sessions = l->sessions;
    SURVEY_KEEP(row->name, l->name);
}

static bool fill_listeners(struct worker *w, struct mail *m)
{
    struct survey_letter *l = container_of(m, struct survey_letter, mail);

    proxy_each_listener(w->proxy, copy_listener, l);
    l->done = true;
    return true;
}

static uint32_t expected_listeners(const struct daemon *d, uint32_t worker)
{
    return (uint32_t)MIN(2 * (uint64_t)d->gateway.snapshot->n_listeners + SLACK, SURVEY_ROWS_MAX);
}

static const char *listener_state_name(enum listener_state state)
{
    switch (state) {
    case LISTENER_LISTENING:
        return "listening";
    case LISTENER_DRAINING:
        return "draining";
    case LISTENER_ADDRESS_TAKEN:
        return "address taken";
    }
    return "";
}

/* One row a listener; two where an old one of its name drains, or workers differ. */
static void add_listener(struct daemon *d, uint32_t worker, const void *of, json_t *rows,
                         json_t *index)
{
    const struct listener_row *r = of;
    const char *state = listener_state_name(r->state);
    char at[IPPORT_STRLEN], key[sizeof(r->name) + IPPORT_STRLEN + 16];
    json_t *row;

    snprintf(key, sizeof(key), "%s %s %s", ipport_str(&r->address, at), state, r->name);
    row = json_object_get(index, key);
    if (row == NULL) {
        row = json_pack("{s:o, s:s, s:s}", "listener", cmd_text(r->name), "address", at, "state",
                        state);
        json_array_append_new(rows, row);
        json_object_set_nocheck(index, key, row);
    }
    add_to(row, "workers", 1);
    add_to(row, "connections", r->sessions);
}

static const struct survey_kind listeners = { "listeners", sizeof(struct listener_row),
                                              expected_listeners, fill_listeners, add_listener };

/* --- neighbors ------------------------------------------------------------------------------- */

static void copy_neigh(const struct neigh_info *n, void *ctx)
{
    struct neigh_info *row = survey_next_row(ctx);

    if (row != NULL)
        *row = *n; /* ->state is a literal */
}

static bool fill_neighs(struct worker *w, struct mail *m)
{
    struct survey_letter *l = container_of(m, struct survey_letter, mail);

    net_each_neigh(w->net, copy_neigh, l);
    l->done = true;
    return true;
}

static uint32_t expected_neighs(const struct daemon *d, uint32_t worker)
{
    return NEIGH_MAX;
}

static void add_neigh(struct daemon *d, uint32_t worker, const void *of, json_t *rows,
                      json_t *index)
{
    const struct neigh_info *n = of;
    char addr[IPADDR_STRLEN], mac[18];

    snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", n->mac[0], n->mac[1], n->mac[2],
             n->mac[3], n->mac[4], n->mac[5]);
    json_array_append_new(
        rows, json_pack("{s:I, s:o, s:I, s:s, s:s, s:s, s:f}", "worker", (json_int_t)worker, "port",
                        cmd_text(d->first->machine.ports[n->port].name), "vlan",
                        (json_int_t)n->vlan, "address", ipaddr_str(&n->addr, addr), "mac", mac,
                        "state", n->state, "age_s", (double)(n->age_us / 1000) / 1e3));
}

static const struct survey_kind neighbors = { "neighbors", sizeof(struct neigh_info),
                                              expected_neighs, fill_neighs, add_neigh };

/* --- addresses ------------------------------------------------------------------------------- */

static void copy_addr(const struct net_addr_info *a, void *ctx)
{
    struct net_addr_info *row = survey_next_row(ctx);

    if (row != NULL)
        *row = *a; /* its texts are literals */
}

static bool fill_addrs(struct worker *w, struct mail *m)
{
    struct survey_letter *l = container_of(m, struct survey_letter, mail);

    net_each_addr(w->net, copy_addr, l);
    l->done = true;
    return true;
}

static uint32_t expected_addrs(const struct daemon *d, uint32_t worker)
{
    return MACHINE_MAX_PORTS * (MACHINE_MAX_ADDRS * 2 + SLACK);
}

/* One row an address, where the workers agree about it. */
static void add_addr(struct daemon *d, uint32_t worker, const void *of, json_t *rows, json_t *index)
{
    const struct net_addr_info *a = of;
    char addr[IPADDR_STRLEN], text[IPADDR_STRLEN + 8], key[128];
    json_t *row;

    snprintf(text, sizeof(text), "%s/%u", ipaddr_str(&a->addr, addr), a->prefix_len);
    snprintf(key, sizeof(key), "%u %u %s %s", a->port, a->vlan, text, a->state);
    row = json_object_get(index, key);
    if (row == NULL) {
        row = json_pack(
            "{s:o, s:I, s:s, s:s, s:s}", "port", cmd_text(d->first->machine.ports[a->port].name),
            "vlan", (json_int_t)a->vlan, "address", text, "state", a->state, "origin", a->origin);
        json_array_append_new(rows, row);
        json_object_set_nocheck(index, key, row);
    }
    add_to(row, "workers", 1);
}

static const struct survey_kind addresses = { "addresses", sizeof(struct net_addr_info),
                                              expected_addrs, fill_addrs, add_addr };

/* --- routes ---------------------------------------------------------------------------------- */

static void copy_route(const struct net_route_info *r, void *ctx)
{
    struct net_route_info *row = survey_next_row(ctx);

    if (row != NULL)
        *row = *r; /* its texts are literals */
}

static bool fill_routes(struct worker *w, struct mail *m)
{
    struct survey_letter *l = container_of(m, struct survey_letter, mail);

    l->done = net_each_route(w->net, &l->at, ROUTES_PER_TURN, copy_route, l);
    return l->done;
}

static uint32_t expected_routes(const struct daemon *d, uint32_t worker)
{
    const struct machine_conf *m = &d->first->machine;
    const uint64_t n = (uint64_t)kernel_side_hops(d->kernel) + m->n_ports * MACHINE_MAX_ADDRS +
                       m->n_routes * MACHINE_MAX_HOPS + SLACK;

    return (uint32_t)MIN(n, SURVEY_ROWS_MAX);
}

/* A next hop may be known to one worker and not to another. */
static void add_route(struct daemon *d, uint32_t worker, const void *of, json_t *rows,
                      json_t *index)
{
    const struct net_route_info *r = of;
    const bool leads = strcmp(r->kind, "forward") == 0;
    char addr[IPADDR_STRLEN], via[IPADDR_STRLEN], prefix[IPADDR_STRLEN + 8];

    snprintf(prefix, sizeof(prefix), "%s/%u", ipaddr_str(&r->prefix.addr, addr), r->prefix.len);
    json_array_append_new(
        rows, json_pack("{s:I, s:s, s:s, s:s, s:o, s:I, s:s, s:s}", "worker", (json_int_t)worker,
                        "prefix", prefix, "type", r->kind, "via",
                        r->via.family != IP_NONE ? ipaddr_str(&r->via, via) : "", "port",
                        cmd_text(leads ? d->first->machine.ports[r->port].name : ""), "vlan",
                        (json_int_t)r->vlan, "neighbor", r->state, "origin", r->origin));
}

static const struct survey_kind routes = { "routes", sizeof(struct net_route_info), expected_routes,
                                           fill_routes, add_route };

/* --- the round ------------------------------------------------------------------------------- */

static void survey_free(struct survey *s)
{
    for (uint32_t i = 0; i < s->n_letters; i++)
        free(s->letters[i].rows);
    free(s);
}

static json_t *put_together(struct survey *s)
{
    json_t *rows = json_array(), *index = json_object();
    uint64_t left_out = 0;

    for (uint32_t i = 0; i < s->n_letters; i++) {
        const struct survey_letter *l = &s->letters[i];
        uint32_t n = MIN(l->seen, l->max);

        left_out += l->seen - n;
        for (uint32_t k = 0; k < n; k++)
            s->kind->add(s->daemon, l->worker, l->rows + (size_t)k * s->kind->row_size, rows,
                         index);
    }
    json_decref(index);
    cmd_filter_rows(rows, cmd_arg_string(s->call, "filter"));
    return json_pack("{s:I, s:I, s:o}", "shown", (json_int_t)json_array_size(rows), "left_out",
                     (json_int_t)left_out, s->kind->name, rows);
}

static void finish(struct survey *s)
{
    bool all = true;

    for (uint32_t i = 0; i < s->n_letters; i++)
        all &= s->letters[i].done;
    if (all)
        cmd_reply(s->call, put_together(s));
    else
        cmd_fail(s->call, "not every worker could be asked",
                 "try again; if it goes on, see long_turns in isthmusctl stats worker");
    survey_free(s);
}

static void letter_back(struct mail *m)
{
    struct survey *s = container_of(m, struct survey_letter, mail)->survey;

    if (--s->n_out == 0)
        finish(s);
}

/* Written to already, so that the worker meets no page fault. */
static bool make_table(struct survey *s, uint32_t worker)
{
    struct survey_letter *l = &s->letters[worker];
    size_t size;

    *l = (struct survey_letter){ .mail = { s->kind->fill, letter_back },
                                 .survey = s,
                                 .worker = worker };
    l->max = s->kind->expected(s->daemon, worker);
    size = l->max * s->kind->row_size;
    l->rows = malloc(size);
    if (l->rows != NULL)
        memset(l->rows, 0xff, size);
    return l->rows != NULL;
}

static struct survey *survey_new(struct cmd_call *call, const struct survey_kind *kind)
{
    struct daemon *d = call->cmd->ctx;
    uint32_t n = d->gateway.n_workers;
    struct survey *s = calloc(1, sizeof(*s) + n * sizeof(s->letters[0]));

    if (s == NULL)
        return NULL;
    s->call = call;
    s->daemon = d;
    s->kind = kind;
    for (; s->n_letters < n; s->n_letters++) {
        if (!make_table(s, s->n_letters)) {
            survey_free(s);
            return NULL;
        }
    }
    return s;
}

void survey_start(struct cmd_call *call, const struct survey_kind *kind)
{
    struct survey *s = survey_new(call, kind);

    if (s == NULL) {
        cmd_fail(call, "no memory for the answer", "");
        return;
    }
    s->n_out = 1; /* ours, until all are sent */
    for (uint32_t i = 0; i < s->n_letters; i++)
        s->n_out += daemon_post(s->daemon, i, &s->letters[i].mail);
    if (--s->n_out == 0)
        finish(s);
}

static void run_listeners(struct cmd_call *call)
{
    survey_start(call, &listeners);
}

static void run_clusters(struct cmd_call *call)
{
    survey_start(call, &clusters);
}

static void run_neighbors(struct cmd_call *call)
{
    survey_start(call, &neighbors);
}

static void run_addresses(struct cmd_call *call)
{
    survey_start(call, &addresses);
}

static void run_routes(struct cmd_call *call)
{
    survey_start(call, &routes);
}

const struct cmd survey_cmds[] = {
    { "listeners", "listeners: do they listen, drain, or wait for their address?", run_listeners,
      NULL },
    { "clusters", "clusters and their endpoints, all workers together", run_clusters, NULL },
    { "neighbors", "link-layer addresses of next hops", run_neighbors, NULL },
    { "addresses", "addresses of ours, and are they in use", run_addresses, NULL },
    { "routes", "routes and their next hops", run_routes, NULL },
};
const unsigned survey_n_cmds = ARRAY_SIZE(survey_cmds);
