/*
 * host.h - one machine of a run: its packets, its ports and its workers
 *
 * Made and ended by the main thread, in steps, as two machines whose ports are
 * joined by rings both need their packets before either port is opened, and both
 * their ports closed before packets can be counted.
 */
#pragma once

#include "bench/load/client.h"
#include "bench/load/server.h"
#include "tls/secret.h"

struct tls_tickets;

struct host_worker {
    struct stack *stack;
    struct client *client; /* NULL: none */
    struct server *server; /* NULL: none */
    struct tls_lib *lib;
    struct tls_ctx *tls;
    const struct load_times *times;
};

struct host {
    const struct machine_conf *machine;
    const struct load_client_conf *client; /* NULL: none */
    const struct load_server_conf *server; /* NULL: none */
    const struct load_times *times;
    uint32_t first; /* number of its first worker, of all machines */
    struct tls_secret *secret;
    struct tls_tickets *tickets;
    struct ports *ports;
    struct pktpool *pools[MACHINE_MAX_WORKERS];
    struct host_worker workers[MACHINE_MAX_WORKERS];
};

/* Reads the files of its `tls`: before DPDK starts, as a mistake in them is one of configuration.
 */
int host_load_secret(struct host *h, struct cfg_err *err);

int host_open_packets(struct host *h, struct cfg_err *err);
int host_open_ports(struct host *h, struct cfg_err *err);
int host_open_workers(struct host *h, struct cfg_err *err);
int host_launch(struct host *h, struct cfg_err *err);

/* What a worker's thread does after stack_start(), for whoever gives several their turns in one:
 * turn after turn (returns how much there was to do), and its last act. */
unsigned host_worker_turn(struct host_worker *w);
void host_worker_stop(struct host_worker *w);

void host_join(struct host *h);

/* Each after the other; what was not opened is passed over. */
void host_close_workers(struct host *h);
void host_close_ports(struct host *h);
/* Returns how many packets have not come home. */
int64_t host_close_packets(struct host *h);

/* What its workers have counted so far; @hists: and their histograms, once they have stopped. */
void host_add_stats(const struct host *h, bool hists, struct load_stats *client,
                    struct load_stats *server);
