/*
 * ephemeral.h - local ports whose replies arrive at this worker
 *
 * The range of IANA's and Linux' custom, searched from a random port on (RFC
 * 6056, 3.3.1). A port is free if no flow of this worker, TIME_WAIT included,
 * has the same four-tuple; so one port serves many destinations.
 */
#pragma once

#include "dataplane/net/net.h"

#define EPHEMERAL_FIRST 32768
#define EPHEMERAL_LAST 60999

/* Sets local->port for a connection to @remote. 0, or -EADDRNOTAVAIL if all are taken. */
NODISCARD int ephemeral_pick(struct net *net, uint8_t protocol, const struct ipport *remote,
                             struct ipport *local);
