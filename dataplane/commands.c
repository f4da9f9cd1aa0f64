#include "dataplane/commands.h"

#include "config/control/socket.h"
#include "config/file/file.h"
#include "config/model/dump.h"
#include "dataplane/base/log.h"
#include "dataplane/captures.h"
#include "dataplane/daemon.h"
#include "dataplane/flights.h"
#include "dataplane/kernel.h"
#include "dataplane/perf.h"
#include "dataplane/survey.h"
#include "dataplane/telemetry/prom.h"
#include "drivers/eal.h"
#include "tls/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ADOPTED_POLL_MS 2

struct commands {
    struct daemon *daemon;
    struct control *control;
    struct cmd_set set;
    uv_timer_t poll;     /* runs while reloads wait */
    struct list reloads; /* answered once every worker has adopted */
    struct captures *captures;
    struct perfs *perfs;
};

struct reload {
    struct list link;
    struct cmd_call *call;
};

static struct daemon *daemon_of(const struct cmd_call *call)
{
    struct commands *c = call->cmd->ctx;

    return c->daemon;
}

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

/* "2024-03-01T12:00:00Z" */
static json_t *iso_time(int64_t unix_time)
{
    time_t t = (time_t)unix_time;
    struct tm tm;
    char text[64];

    if (gmtime_r(&t, &tm) == NULL || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return json_null();
    return json_string(text);
}

static uint64_t load(const uint64_t *v)
{
    return __atomic_load_n(v, __ATOMIC_RELAXED);
}

/* --- status ---------------------------------------------------------------------------------- */

static const char *state_name(enum daemon_state state)
{
    switch (state) {
    case DAEMON_RUNNING:
        return "running";
    case DAEMON_DRAINING:
        return "draining";
    case DAEMON_STOPPING:
        return "stopping";
    }
    return "";
}

static json_t *configuration(struct daemon *d)
{
    const struct gateway *g = &d->gateway;

    return json_pack("{s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "version",
                     number(g->version), "file", cmd_text(d->conf_path), "loaded",
                     iso_time((int64_t)g->loaded_wall), "adopted", gateway_is_settled(g),
                     "last_error", cmd_text(d->last_error.text), "reloads",
                     number(g->n_reloads - 1), "refused", number(g->n_refused), "secrets_replaced",
                     number(g->n_secret_changes), "secrets_refused", number(g->n_secret_refused),
                     "runtimes_waiting", number(gateway_tick(&d->gateway)));
}

static json_t *worker_row(struct daemon *d, const struct worker *w)
{
    const struct worker_counters *c = &w->counters;
    const struct worker_gauges *g = &w->gauges;
    uint64_t passed = eal_cycles() - w->tsc_start;
    double busy = passed > 0 ? (double)load(&c->busy_cycles) / (double)passed : 0;

    return json_pack(
        "{s:o, s:i, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "worker",
        number(w->core.id), "core", d->first->machine.cores[w->core.id], "busy_percent",
        (double)(uint64_t)(busy * 1e4) / 1e2, "turns", number(load(&c->turns)), "sleeps",
        number(load(&c->sleeps)), "connections", number(load(&g->connections)), "sessions",
        number(load(&g->sessions)), "streams", number(load(&g->streams)), "upstream",
        number(load(&g->upstream_connections)), "time_wait", number(load(&g->time_wait)), "packets",
        number(pktpool_in_use(d->pools[w->core.id])), "of",
        number(pktpool_size(d->pools[w->core.id])), "longest_turn_us",
        number(load(&c->longest_turn_us)));
}

static json_t *capabilities(const struct port_info *info)
{
    char text[96] = "";

    if (info->rss)
        strcat(text, " rss");
    if (info->rx_csum)
        strcat(text, " rx-checksum");
    if (info->tx_ip_csum)
        strcat(text, " tx-ip-checksum");
    if (info->tx_tcp_csum)
        strcat(text, " tx-tcp-checksum");
    if (info->tx_tso)
        strcat(text, " tso");
    if (info->rx_lro)
        strcat(text, " lro");
    return json_string(text[0] != '\0' ? text + 1 : "");
}

static json_t *port_row(struct daemon *d, uint32_t i)
{
    struct port_stats stats = { 0 };
    struct port_info info;
    char mac[18];

    ports_info(d->ports, i, &info);
    ports_stats(d->ports, i, &stats);
    snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", info.mac[0], info.mac[1],
             info.mac[2], info.mac[3], info.mac[4], info.mac[5]);
    return json_pack("{s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "port", cmd_text(info.name), "driver", cmd_text(info.driver), "mac", mac,
                     "link", info.link_up ? "up" : "down", "mtu", number(info.mtu), "queues",
                     number(info.n_queues), "capabilities", capabilities(&info), "rx_packets",
                     number(stats.rx_pkts), "rx_bytes", number(stats.rx_bytes), "rx_missed",
                     number(stats.rx_missed), "rx_errors", number(stats.rx_errors), "rx_no_buffer",
                     number(stats.rx_no_mbuf), "tx_packets", number(stats.tx_pkts), "tx_bytes",
                     number(stats.tx_bytes), "tx_errors", number(stats.tx_errors));
}

static void run_status(struct cmd_call *call)
{
    struct daemon *d = daemon_of(call);
    json_t *workers = json_array(), *ports = json_array();

    for (uint32_t i = 0; i < d->gateway.n_workers; i++)
        json_array_append_new(workers, worker_row(d, d->gateway.workers[i]));
    for (uint32_t i = 0; i < ports_count(d->ports); i++)
        json_array_append_new(ports, port_row(d, i));
    cmd_reply(call, json_pack("{s:s, s:s, s:i, s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "version",
                              ISTHMUS_VERSION, "state", state_name(d->state), "pid", (int)getpid(),
                              "started", iso_time((int64_t)d->started_wall), "uptime_s",
                              number((uint64_t)time(NULL) - d->started_wall), "log_level",
                              log_level_name(log_level()), "access_log_lines_lost",
                              number(logfiles_lost(d->logfiles)), "configuration", configuration(d),
                              "workers", workers, "ports", ports));
}

/* --- configuration --------------------------------------------------------------------------- */

static void answer_reloads(struct commands *c)
{
    while (!list_is_empty(&c->reloads)) {
        struct reload *r = container_of(c->reloads.next, struct reload, link);
        struct cmd_call *call = r->call;

        list_remove(&r->link);
        free(r);
        cmd_reply(call, configuration(c->daemon));
    }
}

static void poll_adopted(uv_timer_t *t)
{
    struct commands *c = t->data;

    if (!gateway_is_settled(&c->daemon->gateway))
        return;
    uv_timer_stop(t);
    answer_reloads(c);
}

static void run_reload(struct cmd_call *call)
{
    struct commands *c = call->cmd->ctx;
    struct cfg_err err = { "" };
    struct reload *r = malloc(sizeof(*r));

    if (r == NULL) {
        cmd_fail(call, "no memory", "");
        return;
    }
    if (c->daemon->state != DAEMON_RUNNING) {
        free(r);
        cmd_fail(call, "the daemon is draining", "start it again with the new configuration");
        return;
    }
    if (daemon_reload(c->daemon, &err) < 0) {
        free(r);
        cmd_fail(call, err.text,
                 "the running configuration stays; correct the file, then reload again");
        return;
    }
    r->call = call;
    list_push_tail(&c->reloads, &r->link);
    uv_timer_start(&c->poll, poll_adopted, 0, ADOPTED_POLL_MS);
}

static void run_check(struct cmd_call *call)
{
    struct daemon *d = daemon_of(call);
    const char *path = cmd_arg_string(call, "file");
    struct cfg_err err = { "" };
    struct snapshot *s;
    char setting[64];
    bool restart;

    if (path == NULL)
        path = d->conf_path;
    if (file_read(path, &s, &err) < 0) {
        cmd_fail(call, err.text, "a reload would refuse it");
        return;
    }
    if (runtime_check(s, &err) < 0) {
        snapshot_put(s);
        cmd_fail(call, err.text, "a reload would refuse it");
        return;
    }
    restart = daemon_needs_restart(d, s, setting, sizeof(setting));
    cmd_reply(call, json_pack("{s:o, s:s, s:o, s:o, s:o, s:s?}", "file", cmd_text(path), "verdict",
                              restart ? "right, but needs a restart" : "right", "listeners",
                              number(s->n_listeners), "clusters", number(s->n_clusters), "secrets",
                              number(s->n_secrets), "restart_for", restart ? setting : NULL));
    snapshot_put(s);
}

static void run_config(struct cmd_call *call)
{
    json_t *dump = snapshot_dump(daemon_of(call)->gateway.snapshot), *inner;
    const char *filter = cmd_arg_string(call, "filter"), *key;
    void *next;

    json_object_foreach_safe(dump, next, key, inner)
    {
        if (filter != NULL && strstr(key, filter) == NULL)
            json_object_del(dump, key);
    }
    cmd_reply(call, dump);
}

static json_t *cert_row(const struct secret_conf *conf, unsigned i,
                        const struct tls_cert_info *info, bool is_root)
{
    int64_t left = info->not_after - (int64_t)time(NULL);

    return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o}", "secret",
                     cmd_text(conf->name), "kind",
                     is_root  ? "root"
                     : i == 0 ? "leaf"
                              : "chain",
                     "subject", cmd_text(info->subject), "uri", cmd_text(info->uri), "dns",
                     cmd_text(info->dns), "not_before", iso_time(info->not_before), "not_after",
                     iso_time(info->not_after), "days_left",
                     (json_int_t)(left / 86400 - (left % 86400 < 0)), "serial",
                     cmd_text(info->serial), "fingerprint", cmd_text(info->fingerprint));
}

static void run_certs(struct cmd_call *call)
{
    const struct gateway *g = &daemon_of(call)->gateway;
    json_t *rows = json_array();

    for (uint32_t i = 0; i < g->secrets.n; i++) {
        struct tls_cert_info info;
        bool is_root;

        for (unsigned k = 0; tls_secret_cert(g->secrets.v[i], k, &info, &is_root); k++)
            json_array_append_new(rows, cert_row(&g->snapshot->secrets[i], k, &info, is_root));
    }
    cmd_filter_rows(rows, cmd_arg_string(call, "filter"));
    cmd_reply(call, rows);
}

/* --- statistics ------------------------------------------------------------------------------ */

struct stats_answer {
    json_t *object;
    const char *filter;
};

static void add_stat(const struct stats_block *b, const struct stat_desc *desc, uint64_t sum,
                     void *ctx)
{
    struct stats_answer *a = ctx;
    char name[512];

    stats_flat_name(b, desc, name, sizeof(name));
    if (a->filter == NULL || strstr(name, a->filter) != NULL)
        json_object_set_new(a->object, name, number(sum));
}

static void reply_prometheus(struct cmd_call *call)
{
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);

    if (to == NULL) {
        cmd_fail(call, "no memory", "");
        return;
    }
    prom_write(daemon_of(call)->stats, cmd_arg_string(call, "filter"), to);
    cmd_reply(call, fclose(to) == 0 ? cmd_text(text) : NULL);
    free(text);
}

static void run_stats(struct cmd_call *call)
{
    struct stats_answer a = { NULL, cmd_arg_string(call, "filter") };

    if (cmd_arg_is_true(call, "prometheus")) {
        reply_prometheus(call);
        return;
    }
    a.object = json_object();
    stats_each(daemon_of(call)->stats, add_stat, &a);
    cmd_reply(call, a.object);
}

/* --- orders ---------------------------------------------------------------------------------- */

static void run_reopen(struct cmd_call *call)
{
    struct daemon *d = daemon_of(call);

    daemon_reopen_logs(d);
    cmd_reply(call,
              json_pack("{s:o}", "access_log_lines_lost", number(logfiles_lost(d->logfiles))));
}

static void run_drain(struct cmd_call *call)
{
    struct daemon *d = daemon_of(call);

    daemon_drain(d, false);
    cmd_reply(call, json_pack("{s:s}", "state", state_name(d->state)));
}

static void run_stop(struct cmd_call *call)
{
    struct daemon *d = daemon_of(call);

    daemon_drain(d, true);
    cmd_reply(call, json_pack("{s:s, s:I}", "state", state_name(d->state), "at_most_s",
                              (json_int_t)(d->gateway.snapshot->control.drain_time_us / 1000000)));
}

static void run_log(struct cmd_call *call)
{
    const char *name = cmd_arg_string(call, "level");
    enum log_level level, was = log_level();

    if (name != NULL) {
        if (!log_level_parse(name, &level)) {
            cmd_fail(call, "there is no such level", "error, warning, info or debug");
            return;
        }
        log_set_level(level);
        log_info("daemon", "log level %s, was %s", log_level_name(level), log_level_name(was));
    }
    cmd_reply(call, json_pack("{s:s, s:s}", "level", log_level_name(log_level()), "was",
                              log_level_name(was)));
}

/* --- the socket ------------------------------------------------------------------------------ */

static const struct cmd cmds[] = {
    { "status", "version, state, configuration, workers, ports", run_status, NULL },
    { "reload", "read the configuration again; answers when every worker has it", run_reload,
      NULL },
    { "check", "would a reload accept it? args.file, or the daemon's own", run_check, NULL },
    { "stats", "counters; args.filter, args.prometheus", run_stats, NULL },
    { "certs", "certificates in force", run_certs, NULL },
    { "config", "configuration in force; args.filter: sections", run_config, NULL },
    { "reopen", "open the access logs again, after they were moved", run_reopen, NULL },
    { "drain", "no new connections; the open ones go on", run_drain, NULL },
    { "stop", "drain, then end the daemon", run_stop, NULL },
    { "log", "tell or set the log level; args.level", run_log, NULL },
};

static const struct stat_desc control_descs[] = {
    { "clients", STAT_COUNTER, "clients of the control socket" },
    { "refused_uid", STAT_COUNTER, "clients refused: neither root nor the daemon's user" },
    { "refused_full", STAT_COUNTER, "clients refused: too many at once" },
    { "slow", STAT_COUNTER, "clients let go: silent, or they did not read" },
    { "timed_out", STAT_COUNTER, "commands not answered in time" },
    { "commands", STAT_COUNTER, "lines read" },
    { "failed", STAT_COUNTER, "lines answered with an error" },
    { "too_long", STAT_COUNTER, "lines beyond the limit" },
};
_Static_assert(sizeof(struct control_counters) ==
                   sizeof(control_descs) / sizeof(control_descs[0]) * sizeof(uint64_t),
               "a row for every counter");
static const struct stats_scope control_scope = { "control", "isthmus_control", NULL, control_descs,
                                                  ARRAY_SIZE(control_descs) };

static const struct stat_desc config_descs[] = {
    { "version", STAT_GAUGE, "of the configuration in force" },
    { "loads", STAT_COUNTER, "configurations accepted, the first included" },
    { "refused", STAT_COUNTER, "configurations refused" },
    { "secret_changes", STAT_COUNTER, "certificates replaced" },
    { "secret_refused", STAT_COUNTER, "certificates not replaced: the new files are wrong" },
};
_Static_assert(offsetof(struct gateway, n_secret_refused) - offsetof(struct gateway, version) ==
                   4 * sizeof(uint64_t),
               "in this order");
static const struct stats_scope config_scope = { "config", "isthmus_config", NULL, config_descs,
                                                 ARRAY_SIZE(config_descs) };

static void show_counters(struct commands *c)
{
    struct daemon *d = c->daemon;

    stats_show(d->stats, &control_scope, "", 0, (const uint64_t *)control_counters(c->control));
    stats_show(d->stats, &config_scope, "", 0, &d->gateway.version);
}

static void add_rows(struct commands *c, const struct cmd *rows, unsigned n, void *ctx)
{
    for (unsigned i = 0; i < n; i++) {
        struct cmd row = rows[i];

        row.ctx = ctx;
        if (!cmd_add(&c->set, &row))
            abort(); /* two commands of one name */
    }
}

struct commands *commands_open(struct daemon *d, struct cfg_err *err)
{
    struct commands *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        cfg_err_set(err, NULL, "no memory for the control socket");
        return NULL;
    }
    c->daemon = d;
    c->perfs = perfs_new(d);
    c->captures = captures_new(d);
    if (c->captures == NULL || c->perfs == NULL) {
        cfg_err_set(err, NULL, "no memory for the control socket");
        goto err_captures;
    }
    list_init(&c->reloads);
    add_rows(c, cmds, ARRAY_SIZE(cmds), c);
    add_rows(c, survey_cmds, survey_n_cmds, d);
    add_rows(c, survey_tcp_cmds, survey_tcp_n_cmds, d);
    add_rows(c, flights_cmds, flights_n_cmds, d);
    add_rows(c, perf_cmds, perf_n_cmds, c->perfs);
    add_rows(c, captures_cmds, captures_n_cmds, c->captures);
    add_rows(c, &kernel_side_cmd, 1, d);
    c->control = control_open(&d->loop, &d->gateway.snapshot->control, &c->set, err);
    if (c->control == NULL)
        goto err_captures;
    uv_timer_init(&d->loop, &c->poll);
    c->poll.data = c;
    show_counters(c);
    return c;

err_captures:
    if (c->captures != NULL)
        captures_close(c->captures); /* the loop closes its timer */
    uv_run(&d->loop, UV_RUN_NOWAIT);
    commands_free(c);
    return NULL;
}

bool commands_are_awaited(const struct commands *c)
{
    return c != NULL && captures_are_read(c->captures);
}

void commands_close(struct commands *c)
{
    if (c == NULL)
        return;
    control_close(c->control);
    answer_reloads(c); /* into the void: their clients are gone */
    captures_close(c->captures);
    perfs_close(c->perfs);
    uv_close((uv_handle_t *)&c->poll, NULL);
}

void commands_free(struct commands *c)
{
    if (c == NULL)
        return;
    perfs_free(c->perfs);
    if (c->captures != NULL)
        captures_free(c->captures);
    free(c);
}
