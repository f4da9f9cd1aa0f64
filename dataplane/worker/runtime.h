/*
 * runtime.h - a configuration made ready for the packet path
 *
 * A snapshot is data; a runtime is the same with names resolved, routes
 * indexed, access-log formats compiled and a TLS context per worker for every
 * filter chain and cluster. The control thread builds it, whole or not at all,
 * publishes it (worker/publish.h), and frees it when nobody pins it any more.
 * Read-only in between.
 */
#pragma once

#include "config/model/snapshot.h"
#include "dataplane/proxy/proxy.h"
#include "dataplane/telemetry/logfiles.h"

struct tls_lib;
struct tls_tickets;

/* Certificates and keys of one snapshot, in its order. */
struct secrets {
    uint32_t n;
    struct tls_secret **v;
};

/*
 * Loads all of them. Those that hold what the secret of the same name held @before (or NULL) are
 * the same objects again, and are not read where their files have not been touched. 0, or -EINVAL
 * with the first reason.
 */
struct secrets_before {
    const struct snapshot *snapshot;
    const struct secrets *secrets;
};
NODISCARD int secrets_load(const struct snapshot *s, const struct secrets_before *before,
                           struct secrets *ret, struct cfg_err *err);
void secrets_put(struct secrets *s);

/*
 * Reads the files again. Returns how many secrets were replaced; one that cannot be loaded stays as
 * it is, and its reason is logged. @refused counts those.
 */
unsigned secrets_refresh(const struct snapshot *s, struct secrets *secrets, unsigned *refused);

/*
 * What the model's own rules cannot see: do the certificates load, do the log formats compile, is
 * every address one that net/ can serve? Nothing is kept. 0, or -EINVAL with the first reason.
 */
NODISCARD int runtime_check(const struct snapshot *s, struct cfg_err *err);

struct runtime {
    struct arena arena;
    struct snapshot *snapshot; /* referenced */
    struct pins pins;
    uint64_t version;    /* counts what was published */
    uint64_t built_wall; /* Unix time */
    uint32_t n_workers;
    uint32_t n_clusters, n_listeners;
    struct cluster_rt **clusters;
    struct listener_rt **listeners;
};

struct runtime_env {
    const struct runtime *before; /* what it follows, and shares what is the same with; or NULL */
    uint32_t n_workers;
    struct tls_lib **libs; /* one per worker */
    struct tls_tickets *tickets;
    struct stats *stats;
    struct logfiles *logfiles;
};

/* References @snapshot. NULL: @err says why, and nothing is left. */
struct runtime *runtime_build(struct snapshot *snapshot, const struct secrets *secrets,
                              const struct runtime_env *env, struct cfg_err *err);
void runtime_free(struct runtime *rt);
