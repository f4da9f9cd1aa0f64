/*
 * settings.h - the command line of the agent
 *
 * --set takes what scripts assume of the machine they run on, what Linux has as sysctls. The names
 * are a table in settings.c, which --help prints with the defaults: those of Linux, where it has
 * them.
 */
#pragma once

#include "config/model/machine.h"
#include "dataplane/tcp/tcp.h"

#define SETTINGS_NEIGHBORS 64

struct settings_neighbor {
    struct ipprefix of;
    uint8_t mac[6];
};

struct settings {
    const char *socket;
    struct machine_conf machine; /* one port, one worker */
    struct tcp_conf tcp;
    bool nagle, keepalive;
    uint8_t keepalive_probes, syn_retries;
    uint64_t keepalive_interval_us, fin_timeout_us, user_timeout_us;
    uint32_t somaxconn;
    uint32_t n_neighbors;
    struct settings_neighbor neighbors[SETTINGS_NEIGHBORS];
};

enum settings_next { SETTINGS_RUN, SETTINGS_HELP, SETTINGS_WRONG };

/* Reads the command line. SETTINGS_HELP: --help was printed. SETTINGS_WRONG: said so on stderr. */
enum settings_next settings_read(struct settings *ret, int argc, char **argv);

/* What a socket has before anybody sets an option. */
struct tcp_tuning settings_tuning(const struct settings *s);
