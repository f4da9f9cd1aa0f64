/*
 * load.h - what one worker of isthmus-bench counts, and the time line that all share
 *
 *    start                                                       (drain)   stop
 *      |  ramp: open  | settle |  warm-up  |   measured  |  last answers come in  |
 *      +--------------+--------+-----------+-------------+------------------------+
 *                            begin       from          until
 *
 * A request counts if the moment at which it was to begin is in the measured part,
 * whenever its answer comes: so an open loop's count is what its rate has asked for,
 * and a server that stalls towards the end is not let off. Connections that are kept
 * count from the start, as what it costs to open them is of interest and they open
 * before; with a limit of requests per connection they count as requests do.
 *
 * Moments are in cycles (eal_cycles()): of one machine, the same for all workers.
 */
#pragma once

#include "bench/load/hist.h"
#include "dataplane/base/core.h"

#include <stdatomic.h>

/* Why a request, or the connection for it, came to nothing. */
#define LOAD_ERRORS(X)                                                                             \
    X(refused, "connections refused")                                                              \
    X(connect_timeout, "connections not opened in time")                                           \
    X(connect, "connections that failed otherwise: no address, port or memory left")               \
    X(tls, "TLS handshakes or records that failed")                                                \
    X(reset, "connections reset during a request")                                                 \
    X(closed, "connections closed before the whole answer was there")                              \
    X(timeout, "requests not answered in time")                                                    \
    X(parse, "answers that are not what the protocol allows")                                      \
    X(status, "answers with a status other than 2xx")                                              \
    X(body, "answers of the wrong length")                                                         \
    X(memory, "requests that found no memory")                                                     \
    X(unanswered, "requests without an answer when everything ended")

#define LOAD_ERROR_ENUM(name, text) LOAD_ERROR_##name,
enum load_error { LOAD_ERRORS(LOAD_ERROR_ENUM) LOAD_ERROR_COUNT };

/* Written by its worker; the numbers may be read by anyone at any time, the histograms at the end.
 */
struct load_stats {
    uint64_t requests;            /* answered as they should be */
    uint64_t bytes_in, bytes_out; /* of the application, without what TLS and TCP add */
    uint64_t opened;              /* connections */
    uint64_t handshakes, resumed; /* of TLS; of those */
    uint64_t missed;              /* arrivals of an open loop that found no idle connection */
    uint64_t total_requests;      /* also those that do not count: for the line that shows life */
    uint64_t open;                /* connections, now */
    uint64_t pending;             /* requests that wait for a connection or an answer, now */
    uint64_t errors[LOAD_ERROR_COUNT];
    struct hist latency_ns, connect_ns;
};

void load_stats_init(struct load_stats *s);
void load_stats_add(struct load_stats *to, const struct load_stats *from);
uint64_t load_stats_errors(const struct load_stats *s);

/* "refused", and what that means. */
const char *load_error_name(enum load_error e);
const char *load_error_text(enum load_error e);

/* Set by the main thread, read by the workers. UINT64_MAX: not known yet. */
struct load_times {
    _Atomic uint64_t begin, from, until; /* cycles */
    _Atomic bool stop;
};

void load_times_init(struct load_times *t);

static inline uint64_t load_time(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at,
                                memory_order_relaxed); /* alone: nothing is to be seen with it */
}
