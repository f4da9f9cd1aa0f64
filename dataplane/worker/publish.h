/*
 * publish.h - build, publish, retire
 *
 * The control thread's half of a configuration change. A new runtime is
 * published with one pointer store; each worker adopts it, bit by bit (adopt.c). The
 * old one is retired: once every worker has passed a quiet point since, and
 * nobody pins it any more, it is freed. gateway_tick() looks, a few times a
 * second; nothing waits.
 */
#pragma once

#include "dataplane/worker/worker.h"

struct gateway {
    struct snapshot *snapshot; /* what runs, referenced */
    struct secrets secrets;
    struct runtime_env env;
    struct published published;
    struct quiesce *quiesce;
    uint32_t n_workers;
    struct worker *workers[MACHINE_MAX_WORKERS];
    struct retired *retired;
    uint64_t version;
    uint64_t n_reloads, n_refused, n_secret_changes, n_secret_refused;
    uint64_t loaded_wall;
};

/* Builds and publishes @snapshot with @secrets, which it takes over on success. 0 or -EINVAL. */
NODISCARD int gateway_publish(struct gateway *g, struct snapshot *snapshot, struct secrets *secrets,
                              struct cfg_err *err);

/*
 * The files of the secrets may have changed: builds anew with the running snapshot where they have.
 * Returns how many were replaced.
 */
unsigned gateway_refresh_secrets(struct gateway *g);

/* Frees what is over. Returns how many runtimes still wait. */
unsigned gateway_tick(struct gateway *g);

/* Has every worker adopted what was published last? */
bool gateway_is_settled(const struct gateway *g);

/* After the workers were freed. */
void gateway_fini(struct gateway *g);
