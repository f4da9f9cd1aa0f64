/*
 * daemon.h - the control thread: what isthmusd is, apart from its workers
 *
 * Owns everything that is started once (DPDK, ports, workers) and everything that
 * is replaced while it runs (the snapshot, the certificates). Lives on a libuv
 * loop: signals, timers, file changes, the control socket.
 *
 *   SIGHUP            reload            SIGTERM, SIGINT   drain, then stop; again: stop now
 *   SIGUSR1           reopen the access logs
 */
#pragma once

#include "dataplane/telemetry/logfiles.h"
#include "dataplane/telemetry/stats.h"
#include "dataplane/worker/publish.h"

#include <uv.h>

struct watch;
struct file_rest;
struct commands;
struct helper;
struct kernel_side;
struct tls_desk;

enum daemon_state { DAEMON_RUNNING, DAEMON_DRAINING, DAEMON_STOPPING };

struct daemon {
    enum daemon_state state;
    bool reload_asked, reopen_asked; /* by signals, to be done by the next tick */
    const char *conf_path;
    uv_loop_t loop;
    uv_timer_t tick;
    uv_signal_t signals[4];
    struct gateway gateway;
    struct snapshot *first; /* the machine's settings: those the process was started with */
    struct ports *ports;
    struct kernel_side *kernel; /* NULL: no port has a kernel_interface */
    struct pktpool *pools[MACHINE_MAX_WORKERS];
    struct tls_lib *libs[MACHINE_MAX_WORKERS];
    uint32_t n_helpers;
    struct helper *helpers[MACHINE_MAX_WORKERS];
    struct tls_desk *desks[MACHINE_MAX_WORKERS]; /* of each worker that has a helper */
    struct tls_tickets *tickets;
    struct stats *stats;
    struct logfiles *logfiles;
    struct watch *watch;
    struct commands *commands;
    uint64_t packets_in_use[MACHINE_MAX_WORKERS]; /* of each pool */
    struct ring *answers;                         /* mail coming back */
    unsigned n_letters; /* out: never more than find room on their way back */
    struct mail drain_letters[MACHINE_MAX_WORKERS];
    uint32_t n_drain_letters; /* workers that were told to drain: those below */
    uint64_t started_wall;
    uint64_t drain_until_ms; /* of uv_now() */
    uint64_t rotate_at_ms;   /* ticket keys */
    struct file_rest *rest;  /* of the file that was read last, to be freed at rest_until_ms */
    uint64_t rest_until_ms;
    struct cfg_err last_error; /* of the last reload, "" if it succeeded */
};

/* In order; on failure everything is walked back and @err says why. */
NODISCARD int daemon_start(struct daemon *d, const char *conf_path, struct cfg_err *err);

/* Until it was told to stop. Signals interrupt it here alone: what comes while it starts waits,
 * what comes while it stops is too late. */
void daemon_run(struct daemon *d);
void daemon_stop(struct daemon *d);

/* Reads the configuration again and publishes it. On failure nothing changes. */
int daemon_reload(struct daemon *d, struct cfg_err *err);

/* Does @s change what only a start applies? Then @setting names it. */
bool daemon_needs_restart(const struct daemon *d, const struct snapshot *s, char *setting,
                          size_t len);

/* Lines written from now on are in files opened from now on; those before are in the old ones. */
void daemon_reopen_logs(struct daemon *d);

/* No new connections; then, with @stop, the end once all are done, or when drain_time is over. */
void daemon_drain(struct daemon *d, bool stop);

/*
 * Sends a letter to worker @i; false: its mailbox is full, or too many letters are out. It comes
 * back also if the worker stops before it has read it; then its function was not called.
 */
bool daemon_post(struct daemon *d, uint32_t i, struct mail *m);
