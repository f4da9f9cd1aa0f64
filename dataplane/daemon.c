#include "dataplane/daemon.h"

#include "config/file/file.h"
#include "config/file/watch.h"
#include "dataplane/base/log.h"
#include "dataplane/base/reserve.h"
#include "dataplane/commands.h"
#include "dataplane/kernel.h"
#include "dataplane/net/net.h"
#include "dataplane/worker/helper.h"
#include "drivers/eal.h"
#include "tls/ticket.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 10
#define LETTERS_MAX 255 /* the ring of answers holds one less than its size */
#define LINES_PER_TICK 20000
#define REST_MS 100 /* after a reload: then it has been answered */
#define ROTATE_MS (6u * 3600u * 1000u)

/* --- configuration --------------------------------------------------------------------------- */

static int watch_secrets(struct daemon *d)
{
    const struct snapshot *s = d->gateway.snapshot;
    const char **paths = calloc(s->n_secrets * 3 + 1, sizeof(*paths));
    unsigned n = 0;
    int rc;

    if (paths == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->n_secrets; i++) {
        const char *const of[] = { s->secrets[i].certificate_chain, s->secrets[i].private_key,
                                   s->secrets[i].trusted_ca };

        for (unsigned k = 0; k < ARRAY_SIZE(of); k++)
            if (of[k] != NULL)
                paths[n++] = of[k];
    }
    rc = watch_set(d->watch, paths, n);
    free(paths);
    return rc;
}

static int publish(struct daemon *d, struct snapshot *s, struct cfg_err *err)
{
    const struct secrets_before before = { d->gateway.snapshot, &d->gateway.secrets };
    struct secrets secrets;

    if (secrets_load(s, d->gateway.snapshot != NULL ? &before : NULL, &secrets, err) < 0)
        return -EINVAL;
    if (gateway_publish(&d->gateway, s, &secrets, err) < 0) {
        secrets_put(&secrets);
        return -EINVAL;
    }
    /* It is in force already: what fails now is only that changed files are noticed. */
    if (watch_secrets(d) < 0)
        log_error("config", "the files of the secrets are not watched: reload after a change");
    return 0;
}

bool daemon_needs_restart(const struct daemon *d, const struct snapshot *s, char *setting,
                          size_t len)
{
    const char *machine = machine_conf_diff(&d->first->machine, &s->machine);

    if (machine != NULL)
        snprintf(setting, len, "machine.%s", machine);
    else if (strcmp(d->first->control.socket, s->control.socket) != 0)
        snprintf(setting, len, "control.socket");
    else if (d->first->control.mode != s->control.mode)
        snprintf(setting, len, "control.mode");
    else
        return false;
    return true;
}

static void free_rest(struct daemon *d)
{
    file_rest_free(d->rest);
    d->rest = NULL;
}

static int reload(struct daemon *d, struct cfg_err *err)
{
    char setting[64];
    struct snapshot *s;
    int rc;

    free_rest(d);
    if (file_read_first(d->conf_path, &s, &d->rest, err) < 0)
        return -EINVAL;
    if (daemon_needs_restart(d, s, setting, sizeof(setting)))
        rc = cfg_err_set(err, NULL, "%s: %s changed: that takes a restart", d->conf_path, setting);
    else
        rc = publish(d, s, err);
    snapshot_put(s);
    return rc;
}

int daemon_reload(struct daemon *d, struct cfg_err *err)
{
    int rc = reload(d, err);

    uv_update_time(&d->loop);
    d->rest_until_ms = uv_now(&d->loop) + REST_MS;
    d->last_error = *err;
    if (rc < 0) {
        d->gateway.n_refused++;
        log_error("config", "refused, the running configuration stays: %s", err->text);
        return rc;
    }
    log_info("config", "version %lu of %s is published", (unsigned long)d->gateway.version,
             d->conf_path);
    return 0;
}

static void on_secrets_changed(void *ctx)
{
    struct daemon *d = ctx;

    gateway_refresh_secrets(&d->gateway);
}

/* --- time and signals ------------------------------------------------------------------------ */

bool daemon_post(struct daemon *d, uint32_t i, struct mail *m)
{
    if (d->n_letters == LETTERS_MAX || !worker_post(d->gateway.workers[i], m))
        return false;
    d->n_letters++;
    return true;
}

static void read_answers(struct daemon *d)
{
    void *letter;

    while (d->n_letters > 0 && ring_pop_burst(d->answers, &letter, 1) == 1) {
        d->n_letters--;
        ((struct mail *)letter)->answered(letter);
    }
}

static uint64_t sessions_left(const struct daemon *d)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < d->gateway.n_workers; i++)
        n += __atomic_load_n(&d->gateway.workers[i]->gauges.sessions, __ATOMIC_RELAXED);
    return n;
}

static void read_packets_in_use(struct daemon *d)
{
    for (uint32_t i = 0; i < d->gateway.n_workers; i++)
        d->packets_in_use[i] = (uint64_t)pktpool_in_use(d->pools[i]);
}

static bool drain_worker(struct worker *w, struct mail *m)
{
    proxy_drain(w->proxy);
    return true;
}

static void drain_answered(struct mail *m)
{
}

/* A worker whose mailbox is full is told at the next tick. */
static void tell_to_drain(struct daemon *d)
{
    while (d->n_drain_letters < d->gateway.n_workers) {
        struct mail *letter = &d->drain_letters[d->n_drain_letters];

        *letter = (struct mail){ drain_worker, drain_answered };
        if (!daemon_post(d, d->n_drain_letters, letter))
            return;
        d->n_drain_letters++;
    }
}

void daemon_drain(struct daemon *d, bool stop)
{
    if (d->state == DAEMON_RUNNING) {
        log_info("daemon", "draining: no new connections");
        d->state = DAEMON_DRAINING;
        tell_to_drain(d);
    }
    if (stop && d->state == DAEMON_DRAINING) {
        d->state = DAEMON_STOPPING;
        d->drain_until_ms = uv_now(&d->loop) + d->gateway.snapshot->control.drain_time_us / 1000;
    }
}

static void write_logs(struct daemon *d)
{
    for (uint32_t i = 0; i < d->gateway.n_workers; i++)
        logfiles_drain(d->logfiles, d->gateway.workers[i]->log, LINES_PER_TICK);
}

void daemon_reopen_logs(struct daemon *d)
{
    write_logs(d);
    logfiles_reopen(d->logfiles);
    log_info("daemon", "the access logs are opened again");
}

/* What signals have asked for since the last tick, once: they may come faster than it is done. */
static void do_asked(struct daemon *d)
{
    struct cfg_err err = { "" };

    if (d->reload_asked)
        daemon_reload(d, &err);
    if (d->reopen_asked)
        daemon_reopen_logs(d);
    d->reload_asked = d->reopen_asked = false;
}

static void on_tick(uv_timer_t *t)
{
    struct daemon *d = t->data;

    do_asked(d);
    reserves_prepare();
    write_logs(d);
    read_answers(d);
    if (d->state != DAEMON_RUNNING)
        tell_to_drain(d);
    read_packets_in_use(d);
    gateway_tick(&d->gateway);
    kernel_side_tick(d->kernel);
    if (uv_now(&d->loop) >= d->rest_until_ms)
        free_rest(d);
    if (uv_now(&d->loop) >= d->rotate_at_ms) {
        d->rotate_at_ms = uv_now(&d->loop) + ROTATE_MS;
        tls_tickets_rotate(d->tickets);
    }
    if (d->state == DAEMON_STOPPING &&
        ((sessions_left(d) == 0 && !commands_are_awaited(d->commands)) ||
         uv_now(&d->loop) >= d->drain_until_ms))
        uv_stop(&d->loop);
}

static void on_signal(uv_signal_t *s, int number)
{
    struct daemon *d = s->data;

    switch (number) {
    case SIGHUP:
        d->reload_asked = true;
        return;
    case SIGUSR1:
        d->reopen_asked = true;
        return;
    default:
        if (d->state == DAEMON_STOPPING)
            uv_stop(&d->loop);
        else
            daemon_drain(d, true);
    }
}

/* Type=notify of systemd: sd_notify(3) is one datagram. */
static void notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int fd;

    if (path == NULL || strlen(path) >= sizeof(to.sun_path))
        return;
    memcpy(to.sun_path, path, strlen(path));
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (sendto(fd, text, strlen(text), 0, (struct sockaddr *)&to,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))) < 0)
        log_warning("daemon", "systemd was not told: %s", strerror(errno));
    close(fd);
}

/* --- what is counted ------------------------------------------------------------------------- */

#define ROW(name, text) { #name, STAT_COUNTER, text },
#define GAUGE_ROW(name, text) { #name, STAT_GAUGE, text },
/* Counted by the control thread, and so not beside what a worker writes. */
#define POOL_GAUGES(X)                                                                             \
    X(packets, "packet buffers in use, those that wait in the ports' queues included")

#define SCOPE(var, list, row, scope_name, prom_name)                                               \
    static const struct stat_desc var##_descs[] = { list(row) };                                   \
    static const struct stats_scope var = { scope_name, prom_name, NULL, var##_descs,              \
                                            ARRAY_SIZE(var##_descs) }

SCOPE(worker_scope, WORKER_COUNTERS, ROW, "worker", "isthmus_worker");
SCOPE(use_scope, WORKER_GAUGES, GAUGE_ROW, "use", "isthmus_use");
SCOPE(pool_scope, POOL_GAUGES, GAUGE_ROW, "use", "isthmus_use");
SCOPE(tcp_scope, TCP_COUNTERS, ROW, "tcp", "isthmus_tcp");
SCOPE(tls_scope, TLS_COUNTERS, ROW, "tls", "isthmus_tls");
SCOPE(helper_scope, HELPER_COUNTERS, ROW, "helper", "isthmus_helper");
SCOPE(http_scope, HTTP_COUNTERS, ROW, "http_codec", "isthmus_http_codec");
SCOPE(port_scope, PORT_COUNTERS, ROW, "port", "isthmus_port");

static struct stat_desc drop_descs[DROP_COUNT];
static struct stats_scope drop_scope = { "drop", "isthmus_drop", NULL, drop_descs, DROP_COUNT };

SCOPE(net_scope, NET_COUNTERS, ROW, "net", "isthmus_net");

static void show_counters(struct daemon *d, const struct worker *w)
{
    uint32_t i = w->core.id;

    for (unsigned k = 0; k < DROP_COUNT; k++)
        drop_descs[k] =
            (struct stat_desc){ drop_name((enum drop)k), STAT_COUNTER, drop_text((enum drop)k) };
    stats_show(d->stats, &worker_scope, "", i, (const uint64_t *)&w->counters);
    stats_show(d->stats, &use_scope, "", i, (const uint64_t *)&w->gauges);
    stats_show(d->stats, &pool_scope, "", i, &d->packets_in_use[i]);
    stats_show(d->stats, &port_scope, "", i, (const uint64_t *)port_counters(w->io));
    stats_show(d->stats, &net_scope, "", i, &net_counters(w->net)->pkts_in);
    stats_show(d->stats, &drop_scope, "", i, net_counters(w->net)->drops);
    stats_show(d->stats, &tcp_scope, "", i, (const uint64_t *)tcp_counters(w->tcp));
    stats_show(d->stats, &tls_scope, "", i, (const uint64_t *)tls_counters(d->libs[i]));
    stats_show(d->stats, &http_scope, "", i, (const uint64_t *)http_counters(w->http));
}

/* --- start and stop -------------------------------------------------------------------------- */

static int start_pools(struct daemon *d, struct cfg_err *err)
{
    const struct machine_conf *m = &d->first->machine;

    for (uint32_t i = 0; i < m->n_workers; i++) {
        d->pools[i] = pktpool_new(m, i);
        if (d->pools[i] == NULL)
            return cfg_err_set(
                err, NULL,
                "no memory for %u packets of worker %u: raise machine.memory_mb (now %u) or lower "
                "machine.packets",
                m->packets, i, m->memory_mb);
        d->libs[i] = tls_lib_new();
        if (d->libs[i] == NULL)
            return cfg_err_set(err, NULL, "OpenSSL does not start");
    }
    return 0;
}

static int start_workers(struct daemon *d, struct cfg_err *err)
{
    const struct machine_conf *m = &d->first->machine;
    struct gateway *g = &d->gateway;

    for (uint32_t i = 0; i < m->n_workers; i++) {
        struct worker_conf conf = {
            .id = i,
            .snapshot = d->first,
            .ports = d->ports,
            .pool = d->pools[i],
            .lib = d->libs[i],
            .quiesce = g->quiesce,
            .published = &g->published,
            .punt = kernel_side_punt(d->kernel),
            .answers = d->answers,
        };

        g->workers[i] = worker_new(&conf);
        if (g->workers[i] == NULL)
            return cfg_err_set(err, NULL, "no memory for worker %u", i);
        show_counters(d, g->workers[i]);
        g->n_workers++;
    }
    return 0;
}

static void wake_worker(void *w)
{
    worker_wake(w);
}

static int start_helpers(struct daemon *d, struct cfg_err *err)
{
    const struct machine_conf *m = &d->first->machine;

    for (uint32_t i = 0; i < m->n_helpers; i++) {
        d->helpers[i] = helper_new(m, i);
        if (d->helpers[i] == NULL)
            return cfg_err_set(err, &m->where, "no memory for helper %u", i);
        stats_show(d->stats, &helper_scope, "", i,
                   (const uint64_t *)helper_counters(d->helpers[i]));
        d->n_helpers++;
    }
    for (uint32_t i = 0; d->n_helpers > 0 && i < m->n_workers; i++) {
        d->desks[i] = helper_desk(d->helpers[helper_of(m, i)], wake_worker, d->gateway.workers[i]);
        if (d->desks[i] == NULL)
            return cfg_err_set(err, &m->where, "no memory for a helper of worker %u", i);
        tls_lib_use_desk(d->libs[i], d->desks[i]);
    }
    for (uint32_t i = 0; i < d->n_helpers; i++) {
        const int rc = helper_start(d->helpers[i]);

        if (rc < 0)
            return cfg_err_set(err, &m->where, "helper %u does not start: %s", i, strerror(-rc));
    }
    return 0;
}

static const int signal_numbers[] = { SIGHUP, SIGUSR1, SIGTERM, SIGINT };

/*
 * Threads inherit what is blocked when they are made: a worker is never interrupted. The control
 * thread is while it runs; who has asked for the end can ask again, and it still comes in order.
 */
static void mask_signals(int how)
{
    sigset_t set;

    sigemptyset(&set);
    for (unsigned i = 0; i < ARRAY_SIZE(signal_numbers); i++)
        sigaddset(&set, signal_numbers[i]);
    (void)pthread_sigmask(how, &set, NULL);
}

static void start_loop(struct daemon *d)
{
    uv_loop_init(&d->loop);
    uv_timer_init(&d->loop, &d->tick);
    d->tick.data = d;
    uv_timer_start(&d->tick, on_tick, TICK_MS, TICK_MS);
    for (unsigned i = 0; i < ARRAY_SIZE(signal_numbers); i++) {
        uv_signal_init(&d->loop, &d->signals[i]);
        d->signals[i].data = d;
        uv_signal_start(&d->signals[i], on_signal, signal_numbers[i]);
    }
    d->watch = watch_new(&d->loop, on_secrets_changed, d);
    d->rotate_at_ms = uv_now(&d->loop) + ROTATE_MS;
}

static int start_configuration(struct daemon *d, struct cfg_err *err)
{
    d->gateway.env = (struct runtime_env){
        .n_workers = d->first->machine.n_workers,
        .libs = d->libs,
        .tickets = d->tickets,
        .stats = d->stats,
        .logfiles = d->logfiles,
    };
    if (publish(d, d->first, err) < 0)
        return -EINVAL;
    d->commands = commands_open(d, err);
    return d->commands != NULL ? 0 : -EINVAL;
}

int daemon_start(struct daemon *d, const char *conf_path, struct cfg_err *err)
{
    struct machine_conf *m;

    *d = (struct daemon){ .conf_path = conf_path, .started_wall = (uint64_t)time(NULL) };
    if (file_read(conf_path, &d->first, err) < 0)
        return -EINVAL;
    m = &d->first->machine;
    mask_signals(SIG_BLOCK);
    start_loop(d);
    d->stats = stats_new(m->n_workers);
    d->logfiles = logfiles_new();
    d->tickets = tls_tickets_new();
    d->answers = ring_new(LETTERS_MAX + 1, RING_MANY_PRODUCERS);
    d->gateway.quiesce = quiesce_new(m->n_workers);
    if (d->watch == NULL || d->logfiles == NULL || d->tickets == NULL || d->answers == NULL ||
        d->gateway.quiesce == NULL) {
        cfg_err_set(err, NULL, "no memory");
        goto err_daemon;
    }
    if (eal_start(m, err) < 0 || start_pools(d, err) < 0)
        goto err_daemon;
    d->ports = ports_open(m, d->pools, err);
    if (d->ports == NULL || kernel_side_start(d, &d->kernel, err) < 0 ||
        start_workers(d, err) < 0 || start_helpers(d, err) < 0 || start_configuration(d, err) < 0 ||
        kernel_side_follow(d->kernel, err) < 0)
        goto err_daemon;

    reserves_prepare();
    for (uint32_t i = 0; i < m->n_workers; i++) {
        if (eal_launch(i, worker_run, d->gateway.workers[i]) < 0) {
            cfg_err_set(err, NULL, "worker %u does not start", i);
            goto err_daemon;
        }
    }
    log_info("daemon", "%u worker%s, %u port%s, %u listener%s: running", m->n_workers,
             m->n_workers == 1 ? "" : "s", m->n_ports, m->n_ports == 1 ? "" : "s",
             d->first->n_listeners, d->first->n_listeners == 1 ? "" : "s");
    notify("READY=1");
    return 0;

err_daemon:
    daemon_stop(d);
    return -EINVAL;
}

void daemon_run(struct daemon *d)
{
    mask_signals(SIG_UNBLOCK);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    mask_signals(SIG_BLOCK);
}

/* Answered or not: every letter comes back to who sent it. */
static void collect_letters(struct daemon *d)
{
    struct mail *letter;

    read_answers(d);
    for (uint32_t i = 0; i < d->gateway.n_workers; i++) {
        while ((letter = worker_unread(d->gateway.workers[i])) != NULL) {
            d->n_letters--;
            letter->answered(letter);
        }
    }
}

static void stop_workers(struct daemon *d)
{
    struct gateway *g = &d->gateway;

    for (uint32_t i = 0; i < g->n_workers; i++)
        worker_stop(g->workers[i]);
    for (uint32_t i = 0; i < g->n_workers; i++)
        eal_join(i);
    collect_letters(d);
    for (uint32_t i = 0; i < g->n_workers; i++) {
        /* Streams that end now still have their line. */
        proxy_free(g->workers[i]->proxy);
        g->workers[i]->proxy = NULL;
        logfiles_drain(d->logfiles, g->workers[i]->log, UINT32_MAX);
        worker_free(g->workers[i]);
    }
}

/* After the workers, which have waited for what was on their desks. */
static void stop_helpers(struct daemon *d)
{
    for (uint32_t i = 0; i < d->n_helpers; i++)
        helper_stop(d->helpers[i]);
    for (uint32_t i = 0; i < MACHINE_MAX_WORKERS; i++)
        tls_desk_free(d->desks[i]);
    for (uint32_t i = 0; i < d->n_helpers; i++)
        helper_free(d->helpers[i]);
}

static void close_handle(uv_handle_t *h, void *unused)
{
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

/* Backwards. Also of what was only half started. */
void daemon_stop(struct daemon *d)
{
    notify("STOPPING=1");
    commands_close(d->commands); /* first: what it shows goes now */
    kernel_side_close(d->kernel);
    stop_workers(d);
    stop_helpers(d);
    if (d->gateway.quiesce != NULL)
        gateway_fini(&d->gateway);
    if (d->ports != NULL)
        ports_close(d->ports);
    for (uint32_t i = 0; i < MACHINE_MAX_WORKERS; i++) {
        pktpool_free(d->pools[i]);
        if (d->libs[i] != NULL)
            tls_lib_free(d->libs[i]);
    }
    quiesce_free(d->gateway.quiesce);
    ring_free(d->answers);
    if (d->tickets != NULL)
        tls_tickets_free(d->tickets);
    if (d->logfiles != NULL)
        logfiles_free(d->logfiles);
    if (d->stats != NULL)
        stats_free(d->stats);
    if (d->watch != NULL)
        watch_free(d->watch);
    uv_walk(&d->loop, close_handle, NULL);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_loop_close(&d->loop);
    kernel_side_free(d->kernel);
    commands_free(d->commands);
    free_rest(d);
    snapshot_put(d->first);
    eal_stop();
    log_info("daemon", "stopped");
}
