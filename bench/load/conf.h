/*
 * conf.h - what isthmus-bench is to do: a file in isthmusd's language
 *
 * Plain data in one arena, filled by the tables of conf_tables.c with isthmusd's
 * own reader (config/file/field.h), so a `machine` is written here as there, and a
 * mistake is refused with file, line and words. --set PATH=VALUE is put into the
 * file's settings before they are read: it obeys the same rules.
 *
 * A client is held to the rules of a cluster, a server to those of a listener
 * (config/model/validate.h): TLS verifies who the peer is.
 */
#pragma once

#include "config/model/machine.h"
#include "config/model/secret.h"
#include "config/model/tls.h"
#include "dataplane/base/arena.h"

#define LOAD_MAX_TARGETS 64

enum load_protocol { LOAD_HTTP1, LOAD_RAW };

/* "http1", "raw" */
const char *load_protocol_name(enum load_protocol p);

/* What a cluster or a listener says in `tls`, and its secret's files in the same place. */
struct load_tls_conf {
    struct tls_conf conf; /* first: rows of isthmusd's table point into it */
    struct secret_conf secret;
    bool resume; /* client */
};

struct load_client_conf {
    uint32_t n_targets;
    struct ipport targets[LOAD_MAX_TARGETS]; /* taken in turn */
    enum load_protocol protocol;
    uint32_t n_source_addresses;
    struct ipaddr *source_addresses;  /* of ours, taken in turn; none: as the route has it */
    uint32_t connections;             /* of all workers */
    double rate;                      /* requests a second of all workers; 0: closed loop */
    uint32_t requests_per_connection; /* 0: no limit */
    const char *method, *path, *host; /* NULL host: the first target */
    uint32_t request_body;            /* bytes */
    uint64_t duration_us, warmup_us, ramp_us, settle_us;
    uint64_t timeout_us, connect_timeout_us;
    struct load_tls_conf *tls; /* NULL: plain */
    struct cfg_where where;
};

struct load_server_conf {
    struct ipport listen;
    enum load_protocol protocol;
    uint32_t body;             /* bytes of every answer */
    struct load_tls_conf *tls; /* NULL: plain */
    struct cfg_where where;
};

struct load_conf {
    struct arena arena;
    struct machine_conf machine;
    struct machine_conf *server_machine; /* NULL: the server, if there is one, is on ->machine */
    struct load_client_conf *client;     /* one of the two, or both, are there */
    struct load_server_conf *server;
    /* Both machines as one, as DPDK and the rules between ports see them. */
    struct machine_conf all;
};

/* NULL: @err says why. @sets: "PATH=VALUE" each. */
struct load_conf *load_conf_read(const char *path, const char *const *sets, unsigned n_sets,
                                 struct cfg_err *err);
/* The same for a text in memory; @name stands for its file. */
struct load_conf *load_conf_read_text(const char *name, const char *text, const char *const *sets,
                                      unsigned n_sets, struct cfg_err *err);
void load_conf_free(struct load_conf *c); /* NULL is allowed */

/* Where the server is. */
static inline const struct machine_conf *load_conf_server_machine(const struct load_conf *c)
{
    return c->server_machine != NULL ? c->server_machine : &c->machine;
}
