/*
 * ephemeral.h - local ports whose replies arrive at this worker
 *
 * The range of Linux' custom, searched from a random place on (RFC 6056, 3.3.1) among
 * the ports that net_port_ops.local_ports offers. A port is free if no flow of this
 * worker, TIME_WAIT included, has the same four-tuple; so one port serves many
 * destinations. When a good part of a search has found none, a tuple whose flow yields
 * (a TIME_WAIT that may be taken over, RFC 6191) is better than none.
 */
#pragma once

#include "dataplane/net/net.h"

#define EPHEMERAL_FIRST 32768
#define EPHEMERAL_LAST 60999

/* Sets local->port for a connection to @remote. 0, or -EADDRNOTAVAIL: all are taken, or nearly. */
NODISCARD int ephemeral_pick(struct net *net, uint8_t protocol, const struct ipport *remote,
                             struct ipport *local);
