/*
 * setup.h - the settings of a machine, as the layers of one worker want them
 *
 * For whoever puts a stack together: the worker, and the load generator that is
 * measured against the same. Plain functions of their arguments; any thread.
 */
#pragma once

#include "dataplane/net/net.h"
#include "dataplane/tcp/tcp.h"
#include "drivers/port.h"

/* What net must know of each port of @ports. */
void setup_net_ports(struct net_port_info info[MACHINE_MAX_PORTS], struct ports *ports);

/* TCP's settings; @pool is the worker's, of whose packets connections may hold a share. */
struct tcp_conf setup_tcp(const struct machine_conf *m, const struct pkt_pool *pool);
